// Package docs writes the pages of docs/ that say what the program itself knows best: its commands,
// the operations of the local AWS, and the picture of the demo.
//
//	go generate ./internal/docs
//
// writes them anew; the tests fail where a committed page is not what the code says.
package docs

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-ecs/slipway/internal/cli"
	"github.com/slipway-ecs/slipway/internal/local"
)

//go:generate go test . -run TestPages -update

const generated = "<!-- Generated: go generate ./internal/docs -->\n\n"

// Commands is the reference of the command line.
func Commands() string {
	var b strings.Builder
	b.WriteString("# Command line\n\n" + generated)
	root := cli.Command()
	fmt.Fprintf(&b, "%s\n\n| command | |\n|---|---|\n", root.Long)
	list := commands(root, nil)
	for _, c := range list {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s |\n", c.CommandPath(), strings.ReplaceAll(c.CommandPath(), " ", "-"), c.Short)
	}
	b.WriteString(exitCodes)
	for _, c := range list {
		command(&b, c)
	}
	return b.String()
}

var exitCodes = fmt.Sprintf(`
Exit codes: %d good; %d failed; %d bad input; %d a deployment failed and was rolled back; %d it failed and was not rolled back;
%d it is still going; %d refused by a rule.
`, cli.ExitOK, cli.ExitFailed, cli.ExitBadInput, cli.ExitRolledBack, cli.ExitNotRolledBack, cli.ExitStillGoing, cli.ExitRefused)

// commands are those that do something, in the order of their paths.
func commands(c *cobra.Command, out []*cobra.Command) []*cobra.Command {
	for _, sub := range c.Commands() {
		switch {
		case sub.Hidden || sub.Name() == "help" || sub.Name() == "completion":
		case sub.HasSubCommands():
			out = commands(sub, out)
		default:
			out = append(out, sub)
		}
	}
	return out
}

func command(b *strings.Builder, c *cobra.Command) {
	fmt.Fprintf(b, "\n## %s\n\n%s.\n", c.CommandPath(), strings.TrimSuffix(c.Short, "."))
	fmt.Fprintf(b, "\n```\n%s\n```\n", c.UseLine())
	if c.Long != "" {
		fmt.Fprintf(b, "\n```text\n%s\n```\n", strings.TrimSpace(c.Long))
	}
	first := true
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		if first {
			b.WriteString("\n| flag | | default |\n|---|---|---|\n")
			first = false
		}
		name := "`--" + f.Name
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		kind, usage := pflag.UnquoteUsage(f)
		if kind != "" {
			name += " " + kind
		}
		fmt.Fprintf(b, "| %s` | %s | %s |\n", name, cell(usage), cell(defaultOf(f)))
	})
	if c.Example != "" {
		fmt.Fprintf(b, "\n```sh\n%s\n```\n", unindent(c.Example))
	}
}

func defaultOf(f *pflag.Flag) string {
	switch f.DefValue {
	case "", "false", "[]", "0":
		return ""
	}
	return "`" + f.DefValue + "`"
}

func cell(s string) string { return strings.NewReplacer("|", `\|`, "\n", " ").Replace(s) }

func unindent(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimPrefix(l, "  ")
	}
	return strings.Join(lines, "\n")
}

// LocalAWS is the reference of the operations of the local AWS, from one that is put together as
// always, but runs nothing.
func LocalAWS(ctx context.Context) (page string, err error) {
	l, err := local.New(ctx, local.Config{Address: "127.0.0.1:4566", Runtime: "virtual"})
	if err != nil {
		return "", err
	}
	defer func() {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		err = errors.Join(err, l.Run(ended)) // Run is what closes it
	}()
	var b strings.Builder
	b.WriteString("# What the local AWS does\n\n" + generated)
	b.WriteString("Every operation of the services it knows. *Not supported*: the client gets the service's own answer to an unknown\n" +
		"operation, and `slipway local status` names what was asked for. *Partly*: with what is said.\n\n")
	if err := l.WriteReference(&b); err != nil {
		return "", err
	}
	return b.String(), nil
}
