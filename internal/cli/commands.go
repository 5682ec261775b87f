package cli

import "github.com/spf13/cobra"

// The commands by group, in the order the help shows them.

func shipCommands() []*cobra.Command {
	return completeEnvironments([]*cobra.Command{newCheckCommand(), newSchemaCommand(), newTestCommand(), newBuildCommand(), newPushCommand(), newPlanCommand(), newDeployCommand(), newApproveCommand(), newPromoteCommand(), newPipelineCommand(), newCICommand(),
		newRollbackCommand(), newStatusCommand(), newLogsCommand(), newHistoryCommand(), newWhyCommand(), newDashboardCommand(), newImagesCommand(), newIAMCommand(),
		newRunCommand(), newExecCommand(), newScaleCommand(), newStopCommand(), newRestartCommand(), newDriftCommand(), newDiffCommand(), newDeleteCommand()})
}

func sizeCommands() []*cobra.Command {
	return []*cobra.Command{newCapacityCommand(), newClusterCommand(), newControllerCommand()}
}

func localCommands() []*cobra.Command {
	return []*cobra.Command{newDemoCommand(), newLocalCommand(), newProviderCommand()}
}
