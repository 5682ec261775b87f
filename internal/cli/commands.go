package cli

import "github.com/spf13/cobra"

// The commands by group, in the order the help shows them.

func shipCommands() []*cobra.Command {
	return []*cobra.Command{newImagesCommand()}
}

func sizeCommands() []*cobra.Command {
	return []*cobra.Command{}
}

func localCommands() []*cobra.Command {
	return []*cobra.Command{newLocalCommand()}
}
