package cli

import "github.com/spf13/cobra"

// Command is the tree of commands, for the reference that is generated from it.
func Command() *cobra.Command { return newRootCommand() }
