package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/deploy"
)

// sessionPlugin is AWS's program for the data channel of a session.
// https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-working-with-install-plugin.html
const sessionPlugin = "session-manager-plugin"

func newExecCommand() *cobra.Command {
	var f shipFlags
	var id, container string
	var plugin bool
	cmd := &cobra.Command{
		Use:   "exec ENVIRONMENT [-- COMMAND ARG…]",
		Short: "Open a shell, or run a command, in a running container (ECS Exec)",
		Long: `Asks ECS for a session in a container of a running task, the newest one unless --task names another,
and joins this terminal to it. The service has to say exec: true in slipway.yaml; a task role that is
not its own has to allow the actions ssmmessages:*Channel. The command ends with the exit code of what it ran where that is known: the
local AWS tells it, ECS does not. Sessions encrypted with a key of KMS need --plugin and AWS's
session-manager-plugin.`,
		Args: cobra.MinimumNArgs(1),
		Example: `  slipway exec qa
  slipway exec prod --task 0a1b2c --container web -- ls -l /data
  slipway exec qa -- sh -c 'ps aux | head' > processes.txt`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := f.reach(cmd, args[0])
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			task, err := s.runningTask(ctx, id)
			if err != nil {
				return err
			}
			if container == "" {
				container = s.spec.Containers[0].Name
			}
			command := "/bin/sh"
			if len(args) > 1 {
				command = oneLine(args[1:])
			}
			session, err := s.cloud.Execute(ctx, s.ref, task.ARN, container, command)
			if err != nil {
				return execRefused(err, s.env, container)
			}
			if plugin {
				return attach(ctx, cmd, session, s.cloud.Region())
			}
			return join(cmd, session)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&id, "task", "", "of the task whose id begins so")
	cmd.Flags().StringVar(&container, "container", "", "default: the main container")
	cmd.Flags().BoolVar(&plugin, "plugin", false, "hand the session to AWS's session-manager-plugin")
	return cmd
}

// runningTask is the newest task that runs, or the one whose id begins as given.
func (s inAWS) runningTask(ctx context.Context, id string) (deploy.Task, error) {
	all, err := s.cloud.Tasks(ctx, s.ref)
	if err != nil {
		return deploy.Task{}, s.told(err)
	}
	all = slices.DeleteFunc(all, func(t deploy.Task) bool { return t.LastStatus != "RUNNING" || !strings.HasPrefix(t.ID, id) })
	if len(all) == 0 {
		return deploy.Task{}, fmt.Errorf("no task of %s%s runs; see slipway status %s", s.ref.Service, map[bool]string{true: " that begins with " + id}[id != ""], s.env)
	}
	return slices.MaxFunc(all, func(a, b deploy.Task) int { return a.StartedAt.Compare(b.StartedAt) }), nil
}

// execRefused says what to change where AWS does not give a session.
func execRefused(err error, env, container string) error {
	switch said := err.Error(); {
	case errors.Is(err, awscloud.ErrNotSupported):
		return fmt.Errorf("not supported: ECS Exec on this endpoint (%w)", err)
	case strings.Contains(said, "execute command was not enabled"):
		return exitWith(ExitRefused, fmt.Errorf("the task was started without ECS Exec: say exec: true in slipway.yaml, then: slipway deploy %s", env))
	case strings.Contains(said, "TargetNotConnected"):
		return fmt.Errorf("the agent in %s is not connected: the task role needs ssmmessages:CreateControlChannel, CreateDataChannel, OpenControlChannel and OpenDataChannel, and a way to Systems Manager: %w", container, err)
	}
	return err
}

// attach gives the session to the plugin. Its token is in the plugin's environment: arguments can be
// read by everybody on this machine.
func attach(ctx context.Context, cmd *cobra.Command, session awscloud.Session, region string) error {
	path, err := exec.LookPath(sessionPlugin)
	if err != nil {
		return fmt.Errorf("ECS has opened session %s, and %s, which is needed to use it, is not installed: https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-working-with-install-plugin.html", session.ID, sessionPlugin)
	}
	response, err := json.Marshal(map[string]string{"SessionId": session.ID, "StreamUrl": session.URL, "TokenValue": session.Token})
	if err != nil {
		return err
	}
	const variable = "AWS_SSM_START_SESSION_RESPONSE"
	plugin := exec.CommandContext(context.WithoutCancel(ctx), path, variable, region, "StartSession", "", fmt.Sprintf(`{"Target":%q}`, session.Target), session.Endpoint)
	plugin.Env = append(os.Environ(), variable+"="+string(response))
	plugin.Stdin, plugin.Stdout, plugin.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
	// Ctrl-C is for the program in the container.
	keys := make(chan os.Signal, 1)
	signal.Notify(keys, os.Interrupt)
	defer signal.Stop(keys)
	err = plugin.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exitWith(exit.ExitCode(), &silentError{err})
	}
	return err
}
