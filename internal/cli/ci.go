package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/ci"
)

func newCICommand() *cobra.Command {
	cmd := &cobra.Command{Use: "ci", Short: "Write the definition of a CI system"}
	cmd.AddCommand(newCIInitCommand())
	return cmd
}

func newCIInitCommand() *cobra.Command {
	var f shipFlags
	var stdout, force, library bool
	var label string
	cmd := &cobra.Command{
		Use:   "init jenkins|github|gitlab",
		Short: "Write the Jenkinsfile, workflow or .gitlab-ci.yml of a service",
		Long: `Writes a definition with one stage for each of "slipway pipeline stages": every one is a command that
finds what came before in the registry and in AWS, so each may run on another machine. Approvals are
asked for by the CI system and recorded beside the image. A file that was changed by hand is not
written over without --force.

--library writes the Jenkins shared library's step slipwayPipeline instead, with which a team's
Jenkinsfile is one line.`,
		Example: `  slipway ci init jenkins
  slipway ci init jenkins --label slipway
  slipway ci init github --stdout
  slipway ci init jenkins --library`,
		Args: cobra.ExactArgs(1), ValidArgs: []string{"jenkins", "github", "gitlab"},
		RunE: func(cmd *cobra.Command, args []string) error {
			system, err := ci.Find(args[0])
			if err != nil {
				return exitWith(ExitBadInput, err)
			}
			if library && system.Name != "jenkins" {
				return badInput("--library is for jenkins")
			}
			pr, err := f.open(cmd)
			if err != nil {
				return err
			}
			root, err := gitRoot(pr.dir)
			if err != nil {
				return err
			}
			folder, err := filepath.Rel(root, pr.dir)
			if err != nil {
				return err
			}
			if label != "" && (system.Name != "jenkins" || library) {
				return badInput("--label is for a Jenkinsfile; slipwayPipeline takes it as slipwayPipeline(label: '…')")
			}
			if strings.ContainsAny(label, "'\\\n") {
				return badInput("--label %q: a label expression has no quotes", label)
			}
			d := ci.Delivery{Service: pr.file.Service, Label: label, Folder: filepath.ToSlash(folder), Branch: "main"}
			if b := pr.file.ImageTags.Branches; len(b) > 0 {
				d.Branch = b[0]
			}
			for _, s := range stagesOf(pr.file) {
				d.Stages = append(d.Stages, ci.Stage{Name: s.Name(), Kind: string(s.Kind), Environment: s.Environment, Approvals: pr.file.Promotion[s.Environment].Approvals, Approvers: pr.file.Promotion[s.Environment].Approvers})
			}
			path, text := filepath.Join(root, filepath.FromSlash(system.Path)), []byte(nil)
			if library {
				path = filepath.Join(root, "vars", "slipwayPipeline.groovy")
				text, err = ci.Library()
			} else {
				text, err = system.Definition(d)
			}
			if err != nil {
				return err
			}
			if stdout {
				_, err = cmd.OutOrStdout().Write(text)
				return err
			}
			return writeDefinition(pr.p, path, text, force)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&stdout, "stdout", false, "print it instead of writing it")
	cmd.Flags().BoolVar(&force, "force", false, "write over a file that differs")
	cmd.Flags().StringVar(&label, "label", "", "label of the Jenkins agents that have slipway; default: any agent")
	cmd.Flags().BoolVar(&library, "library", false, "the Jenkins shared library's step slipwayPipeline")
	return cmd
}

// writeDefinition does not take away what somebody wrote.
func writeDefinition(p *printer, path string, text []byte, force bool) error {
	old, err := os.ReadFile(path)
	switch {
	case err == nil && bytes.Equal(old, text):
		p.Line("%s is as it should be", path)
		return nil
	case err == nil && !force:
		return badInput("%s is there and differs; look with --stdout, or write over it with --force", path)
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("making its folder: %w", err)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return fmt.Errorf("writing the definition: %w", err)
	}
	p.Line("wrote %s", path)
	return nil
}

// gitRoot is the root of the repository a folder is in: that is where CI systems look.
func gitRoot(dir string) (string, error) {
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, ".git")); err == nil {
			return d, nil
		}
		if strings.TrimSuffix(d, string(filepath.Separator)) == "" || d == filepath.Dir(d) {
			return "", badInput("%s is in no git repository; CI systems deliver commits", dir)
		}
	}
}
