package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/image/lifecycle"
)

func newImagesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "images",
		Aliases: []string{"image"},
		Short:   "Look at a repository's images, who uses them, and what its lifecycle policy does with them",
	}
	cmd.AddCommand(newImagesListCommand(), newImagesUsageCommand(), newImagesShowCommand(), newImagesPreviewCommand(), newImagesLintCommand(), newImagesPruneCommand(), newImagesProtectCommand())
	return cmd
}

func newImagesPreviewCommand() *cobra.Command {
	var policyFile, imagesFile, usesFile, nowText string
	var asJSON bool
	var live stockFlags
	cmd := &cobra.Command{
		Use:   "preview [--policy policy.json] [--images images.json | --repository NAME]",
		Short: "Tell what an ECR lifecycle policy would do with images, and why",
		Long: `Evaluates an ECR lifecycle policy on images: on those of a live repository, or offline on what
'aws ecr describe-images' prints ("-" reads standard input). With a repository, who uses its images
is asked too, and without --policy it is the repository's own that is evaluated. If an image that is
in use would go, the exit code is 6. Nothing is changed.`,
		Example: `  aws ecr describe-images --repository-name iplookup > images.json
  slipway images preview --policy policy.json --images images.json
  slipway images preview --repository iplookup
  slipway images preview --repository iplookup --policy new.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			now := time.Now()
			if nowText != "" {
				t, err := time.Parse(time.RFC3339, nowText)
				if err != nil {
					return exitWith(ExitBadInput, fmt.Errorf("--now %q is not RFC 3339, as 2026-01-31T00:00:00Z", nowText))
				}
				now = t
			}
			if imagesFile == "" && live.given(cmd) {
				return live.preview(cmd, policyFile, usesFile, now, asJSON)
			}
			policy, err := readPolicy(cmd, policyFile, asJSON)
			if err != nil {
				return err
			}
			data, err := readInput(cmd.InOrStdin(), imagesFile)
			if err != nil {
				return err
			}
			images, err := lifecycle.DecodeImages(data)
			if err != nil {
				return exitWith(ExitBadInput, fmt.Errorf("%s: %w", imagesFile, err))
			}
			uses, err := readUses(cmd.InOrStdin(), usesFile)
			if err != nil {
				return err
			}
			return showPreview(cmd, policy, images, uses, now, asJSON)
		},
	}
	f := cmd.Flags()
	live.add(cmd)
	f.StringVar(&policyFile, "policy", "", "lifecycle policy (JSON, or what get-lifecycle-policy prints)")
	f.StringVar(&imagesFile, "images", "", "images, as 'aws ecr describe-images' prints them")
	f.StringVar(&usesFile, "in-use", "", `images that are needed, [{"image":"digest, tag or reference","by":"who"}]: fail if one would go`)
	f.StringVar(&nowText, "now", "", "the time to evaluate at, RFC 3339 (default: the present)")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// showPreview evaluates, prints, and fails if a needed image would go.
func showPreview(cmd *cobra.Command, policy lifecycle.Policy, images []lifecycle.Image, uses []lifecycle.Use, now time.Time, asJSON bool) error {
	result := lifecycle.Evaluate(policy, images, now)
	var err error
	if asJSON {
		err = writeJSON(cmd.OutOrStdout(), result.Preview())
	} else {
		err = printPreview(cmd.OutOrStdout(), result)
	}
	if err != nil {
		return err
	}
	if !asJSON {
		for _, o := range lifecycle.Ahead(result, policy, images, uses) {
			fmt.Fprintf(cmd.OutOrStdout(), "in use: %s (%s) %s; used by %s\n", shortDigest(o.Image.Digest), strings.Join(o.Image.Tags, ", "), o, strings.Join(o.By, ", "))
		}
	}
	return refuseInUse(lifecycle.InUse(result, policy, images, uses))
}

func newImagesLintCommand() *cobra.Command {
	var policyFile string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "lint --policy policy.json",
		Short: "Find lifecycle policies that cannot do what they say",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			policy, err := readPolicy(cmd, policyFile, asJSON)
			if err != nil {
				return err
			}
			findings := lifecycle.Lint(policy)
			if asJSON {
				return writeFindings(cmd.OutOrStdout(), findings)
			}
			for _, f := range findings {
				fmt.Fprintln(cmd.OutOrStdout(), f)
			}
			if len(findings) > 0 {
				return exitWith(ExitFailed, fmt.Errorf("%s does not do what it says in %d places", policyFile, len(findings)))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&policyFile, "policy", "", "lifecycle policy (JSON, or what get-lifecycle-policy prints)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// readPolicy reads and checks a policy. All violations are in the error, each with its rule; with
// --json they are printed as well.
func readPolicy(cmd *cobra.Command, file string, asJSON bool) (lifecycle.Policy, error) {
	if file == "" {
		return lifecycle.Policy{}, exitWith(ExitBadInput, errors.New("--policy is required"))
	}
	data, err := readInput(cmd.InOrStdin(), file)
	if err != nil {
		return lifecycle.Policy{}, err
	}
	return parsePolicy(cmd, file, lifecycle.PolicyText(data), asJSON)
}

// parsePolicy checks a policy's text, which is from a place called name.
func parsePolicy(cmd *cobra.Command, name, text string, asJSON bool) (lifecycle.Policy, error) {
	policy, violations := lifecycle.Parse(text)
	if len(violations) == 0 {
		return policy, nil
	}
	if asJSON {
		if err := writeViolations(cmd.OutOrStdout(), violations); err != nil {
			return policy, err
		}
	}
	lines := []string{name + " is not a valid ECR lifecycle policy:"}
	for _, v := range violations {
		lines = append(lines, "  "+v.String())
	}
	return policy, exitWith(ExitBadInput, errors.New(strings.Join(lines, "\n")))
}

func writeViolations(w io.Writer, violations []lifecycle.Violation) error {
	type violation struct {
		Rule         int    `json:"rule"` // position in the policy, from 1; 0: the policy
		RulePriority int    `json:"rulePriority,omitempty"`
		Field        string `json:"field,omitempty"`
		Message      string `json:"message"`
	}
	out := make([]violation, len(violations))
	for i, v := range violations {
		out[i] = violation{v.Rule, v.Priority, v.Field, v.Message}
	}
	return writeJSON(w, map[string]any{"violations": out})
}

// readUses reads who needs which images; no file is nobody.
func readUses(stdin io.Reader, file string) ([]lifecycle.Use, error) {
	if file == "" {
		return nil, nil
	}
	data, err := readInput(stdin, file)
	if err != nil {
		return nil, err
	}
	var uses []lifecycle.Use
	if err := json.Unmarshal(data, &uses); err != nil {
		return nil, exitWith(ExitBadInput, fmt.Errorf("%s: %w", file, err))
	}
	return uses, nil
}

// refuseInUse is the error of a policy under which needed images would go.
func refuseInUse(list []lifecycle.Endangered) error {
	if len(list) == 0 {
		return nil
	}
	lines := []string{"images in use would go:"}
	for _, e := range list {
		what := "expired"
		if e.Action == lifecycle.Transition {
			what = "archived"
		}
		lines = append(lines, fmt.Sprintf("  %s (%s) would be %s by rule %d; used by %s",
			shortDigest(e.Image.Digest), strings.Join(e.Image.Tags, ", "), what, e.RulePriority, strings.Join(e.By, ", ")))
	}
	return exitWith(ExitRefused, errors.New(strings.Join(lines, "\n")))
}

// readInput reads a file, or standard input for "-".
func readInput(stdin io.Reader, file string) ([]byte, error) {
	if file == "" {
		return nil, exitWith(ExitBadInput, errors.New("--images is required"))
	}
	if file == "-" {
		data, err := io.ReadAll(stdin)
		if err != nil {
			return nil, fmt.Errorf("reading standard input: %w", err)
		}
		return data, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, exitWith(ExitBadInput, err)
	}
	return data, nil
}

func writeJSON(w io.Writer, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding JSON: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s\n", data)
	return err
}

// writeFindings prints findings as JSON; with any, the command fails without further words.
func writeFindings(w io.Writer, findings []lifecycle.Finding) error {
	type finding struct {
		RulePriority int    `json:"rulePriority"`
		Code         string `json:"code"`
		Message      string `json:"message"`
	}
	out := []finding{}
	for _, f := range findings {
		out = append(out, finding{f.Rule, f.Code, f.Message})
	}
	if err := writeJSON(w, map[string]any{"findings": out}); err != nil {
		return err
	}
	if len(out) > 0 {
		return exitWith(ExitFailed, &silentError{fmt.Errorf("%d findings", len(out))})
	}
	return nil
}

func printPreview(w io.Writer, r lifecycle.Result) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(what string, im *lifecycle.Image, why string) {
		tags := strings.Join(im.Tags, ",")
		if tags == "" {
			tags = "-"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", what, shortDigest(im.Digest), tags, why)
	}
	for _, m := range r.Expired {
		row("expire", m.Image, m.Why())
	}
	for _, m := range r.Transitioned {
		row("archive", m.Image, m.Why())
	}
	for _, c := range r.Cascaded {
		row("follows", c.Image, c.Why())
	}
	for _, x := range r.Refused {
		row("refused", x.Image, fmt.Sprintf("rule %d: %s %s stays", x.RulePriority, x.Code, shortDigest(x.By)))
	}
	for _, k := range r.Kept {
		row("keep", k.Image, k.Why())
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%d expire, %d are archived, %d follow their subject, %d refused, %d stay\n",
		len(r.Expired), len(r.Transitioned), len(r.Cascaded), len(r.Refused), len(r.Kept))
	return err
}

// shortDigest is enough of a digest to tell images of one repository apart.
func shortDigest(d string) string {
	if algo, hex, ok := strings.Cut(d, ":"); ok && len(hex) > 12 {
		return algo + ":" + hex[:12]
	}
	return d
}
