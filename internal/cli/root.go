// Package cli is the command line: it reads flags, wires adapters to engines and prints. No policy
// is decided here.
package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Version is the version of this build; releases set it with -ldflags.
var Version = "0.1.0"

// Run executes the command line and returns the exit code.
func Run(ctx context.Context, args []string, stdio Stdio) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(stdio.In)
	root.SetOut(stdio.Out)
	root.SetErr(stdio.Err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	var silent *silentError
	if !errors.As(err, &silent) {
		fmt.Fprintf(stdio.Err, "slipway: %s\n%s", strings.TrimRight(err.Error(), "\n"), hint(err, os.Getenv("AWS_ENDPOINT_URL")))
	}
	return exitCode(err)
}

// hint is what to do about an error whose text cannot know it.
func hint(err error, endpoint string) string {
	if u, bad := url.Parse(endpoint); bad == nil && u.Host != "" && errors.Is(err, syscall.ECONNREFUSED) && strings.Contains(err.Error(), u.Host) {
		return fmt.Sprintf("Nothing listens at %s (AWS_ENDPOINT_URL): start a local AWS with 'slipway local up', or unset the variable to reach AWS.\n", endpoint)
	}
	switch text := err.Error(); {
	case strings.Contains(text, "get credentials:"), strings.Contains(text, "get identity:"):
		return "There are no AWS credentials that work: log in (aws sso login, aws configure), set AWS_PROFILE, or use a local AWS: eval \"$(slipway local env)\".\n"
	case strings.Contains(text, "Missing Region"):
		return "No AWS region is set: set AWS_REGION, or region in the profile.\n"
	}
	return ""
}

// silentError is an error the command has already shown.
type silentError struct{ err error }

func (e *silentError) Error() string { return e.err.Error() }
func (e *silentError) Unwrap() error { return e.err }

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "slipway",
		Short: "Services to production on Amazon ECS, and a cluster of the right size under them",
		Long: `Slipway takes a service from commit to production on Amazon ECS and keeps the cluster under it
the right size. It carries a local AWS that really runs containers, balances traffic, scales and
drains, so all of it works on this machine without an account.`,
		Example: `  slipway demo                     the whole way from commit to production, on this machine
  slipway local up                 a local AWS that stays
  slipway deploy qa                build what is needed and deploy it to qa
  slipway promote --from qa --to prod
  slipway status prod`,
		Version:       Version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate("slipway {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return badInput("%w\nRun '%s --help' for what it takes", err, cmd.CommandPath())
	})
	root.AddGroup(
		&cobra.Group{ID: "ship", Title: "Ship a service:"},
		&cobra.Group{ID: "size", Title: "Size a cluster:"},
		&cobra.Group{ID: "local", Title: "On this machine:"},
	)
	for _, group := range []struct {
		id       string
		commands []*cobra.Command
	}{
		{"ship", shipCommands()},
		{"size", sizeCommands()},
		{"local", localCommands()},
	} {
		for _, c := range group.commands {
			c.GroupID = group.id
			root.AddCommand(c)
		}
	}
	root.InitDefaultCompletionCmd() // now, so that its arguments are checked as well
	strictArgs(root)
	return root
}

// strictArgs makes wrong arguments of every command bad input, with the usage line to correct them.
func strictArgs(cmd *cobra.Command) {
	check := cmd.Args
	if cmd.HasSubCommands() && !cmd.Runnable() {
		check = cobra.ArbitraryArgs
		cmd.RunE = func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			return badInput("%s has no command %q%s", c.CommandPath(), args[0], didYouMean(c, args[0]))
		}
	}
	if check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return badInput("%w\nUsage: %s", err, c.UseLine())
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		strictArgs(sub)
	}
}

func didYouMean(c *cobra.Command, arg string) string {
	c.SuggestionsMinimumDistance = 2
	if s := c.SuggestionsFor(arg); len(s) > 0 {
		return fmt.Sprintf("; did you mean \"%s\"?", strings.Join(s, `" or "`))
	}
	return fmt.Sprintf("\nRun '%s --help' for the commands it has", c.CommandPath())
}
