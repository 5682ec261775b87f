package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/service"
)

// completeEnvironments lets the shell complete the names of environments, from slipway.yaml.
func completeEnvironments(cmds []*cobra.Command) []*cobra.Command {
	for _, cmd := range cmds {
		most := strings.Count(cmd.Use, "ENVIRONMENT")
		if most > 0 && cmd.ValidArgsFunction == nil {
			cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
				if len(args) >= most {
					return nil, cobra.ShellCompDirectiveNoFileComp
				}
				return environments(cmd, args), cobra.ShellCompDirectiveNoFileComp
			}
		}
		for _, name := range []string{"from", "to"} {
			if cmd.Name() == "promote" && cmd.Flags().Lookup(name) != nil {
				_ = cmd.RegisterFlagCompletionFunc(name, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
					return environments(cmd, nil), cobra.ShellCompDirectiveNoFileComp
				})
			}
		}
	}
	return cmds
}

// environments are those of the definition the command line names, but those given already. While
// somebody types, faults are nobody's concern.
func environments(cmd *cobra.Command, given []string) []string {
	file := "slipway.yaml"
	if f := cmd.Flags().Lookup("file"); f != nil {
		file = f.Value.String()
	}
	f, err := readDefinition(file)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(named(f), func(e string) bool { return slices.Contains(given, e) })
}

func named(f *service.File) []string { return f.Environments() }
