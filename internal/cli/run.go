package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/service"
)

// ExitNoRun is the exit code of a one-off task whose container never came to an exit code of its own.
const ExitNoRun = 125

func newRunCommand() *cobra.Command {
	var f shipFlags
	var ref, container, shell string
	var env []string
	var detach bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "run ENVIRONMENT [-- COMMAND ARG…]",
		Short: "Run a one-off task with what the service runs now",
		Long: `Starts one task of the service's present task definition: same image, variables, secrets, role and
network. Its logs are shown as they come. Ctrl-C stops the task.

The exit code is the container's; 125 if it never ran to its end, with the cause.`,
		Args: cobra.MinimumNArgs(1),
		Example: `  slipway run qa -- /app migrate --dry-run
  slipway run prod --command "rake db:seed" --env BATCH=100 --env TOKEN
  slipway run prod --image v1.4.2 --detach`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := f.reach(cmd, args[0])
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			want := deploy.OneOff{Container: container, Command: args[1:], ID: strings.ToLower(rand.Text()[:16])}
			if shell != "" {
				if len(want.Command) > 0 {
					return badInput("give the command after -- or with --command, not both")
				}
				want.Command = strings.Fields(shell)
			}
			if want.Env, err = s.variables(env); err != nil {
				return err
			}
			if ref != "" {
				repo, err := s.repositoryOf(ctx, s.env)
				if err != nil {
					return err
				}
				digest, err := s.resolve(ctx, repo, ref)
				if err != nil {
					return err
				}
				want.Image = repo + "@" + string(digest)
			}
			if s.spec.Kind == service.KindJob {
				t, err := s.target(ctx, "")
				if err != nil {
					return err
				}
				want.Placed = deploy.PlacedAs(t)
			}
			return s.run(ctx, want, detach, timeout)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&shell, "command", "", "the command, its words separated by spaces")
	cmd.Flags().StringVar(&ref, "image", "", "tag or digest instead of the image that runs")
	cmd.Flags().StringVar(&container, "container", "", "whose command it is (default: the main container)")
	cmd.Flags().StringArrayVar(&env, "env", nil, "NAME=VALUE; NAME alone takes the value of this shell")
	cmd.Flags().BoolVar(&detach, "detach", false, "do not wait for its end")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "stop it after so long (default: never)")
	return cmd
}

// variables reads NAME=VALUE, and NAME from the environment, which keeps values off the command line.
func (s inAWS) variables(given []string) (map[string]string, error) {
	out := map[string]string{}
	for _, kv := range given {
		name, value, ok := strings.Cut(kv, "=")
		if name == "" {
			return nil, badInput("--env %q has no name", kv)
		}
		if !ok {
			if value = s.getenv(name); value == "" {
				return nil, badInput("--env %s: there is no such variable in this shell", name)
			}
		}
		out[name] = value
	}
	return out, nil
}

func (s inAWS) run(ctx context.Context, want deploy.OneOff, detach bool, timeout time.Duration) error {
	began := s.now()
	task, td, err := s.engine.Run(ctx, s.ref, want)
	if err != nil {
		return s.told(err)
	}
	container := want.Container
	if container == "" {
		container = td.Containers[0].Name
	}
	s.p.Data("task", fmt.Sprintf("task %s of %s", task.ID, nameOf(td.ARN)), map[string]any{"task": task.ID, "arn": task.ARN, "task_definition": td.ARN, "container": container})
	if detach {
		s.p.Line("slipway logs %s --task %s -f", s.env, task.ID)
		return nil
	}
	until, logged := make(chan struct{}), make(chan error, 1)
	go func() { logged <- s.followLogs(context.WithoutCancel(ctx), td, task.ID, began, until) }()
	waiting, cancel := context.WithCancel(ctx)
	if timeout > 0 {
		waiting, cancel = context.WithTimeout(ctx, timeout)
	}
	defer cancel()
	ended, err := s.engine.Ended(waiting, s.ref, td, task, func(e deploy.Event) {
		if s.p.json || e.Status != "RUNNING" && e.Status != "STOPPED" {
			s.p.Data("task", s.p.paint(dim, e.Message), map[string]any{"task": task.ID, "status": e.Status, "message": e.Message})
		}
	})
	if err != nil && waiting.Err() != nil {
		why := "interrupted"
		if ctx.Err() == nil {
			why = "not done after " + timeout.String()
		}
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if err := s.engine.StopTask(stop, s.ref, task, "slipway run: "+why); err != nil {
			close(until)
			return err
		}
		s.p.Line("%s: task %s is stopped", why, task.ID)
		_, err = s.engine.Ended(stop, s.ref, td, task, nil)
		close(until)
		return exitWith(ExitNoRun, errors.Join(fmt.Errorf("the task was stopped: %s", why), err, <-logged))
	}
	close(until)
	if err := errors.Join(err, <-logged); err != nil {
		return err
	}
	code, ran := ended.ExitCode(container)
	s.p.Data("ended", "", map[string]any{"task": task.ID, "exit_code": code, "ran": ran, "reason": ended.StoppedReason})
	switch {
	case !ran:
		d := deploy.WhyStopped(td, ended)
		return exitWith(ExitNoRun, fmt.Errorf("the task did not run: %s. %s", strings.TrimRight(d.Sentence, "."), d.Fix))
	case code != 0:
		return exitWith(code, fmt.Errorf("%s ended with exit code %d", container, code))
	}
	s.p.Done("%s ended with exit code 0", container)
	return nil
}

// followLogs shows what a task writes until its end.
func (s inAWS) followLogs(ctx context.Context, td deploy.TaskDefinition, task string, since time.Time, until <-chan struct{}) error {
	group := td.LogOptions["awslogs-group"]
	if group == "" {
		s.p.Line("its logs go to %s, not to CloudWatch Logs: they are not shown here", td.LogDriver)
		return nil
	}
	return s.cloud.Logs(ctx, awscloud.LogQuery{Group: group, Task: task, Since: since.Add(-time.Minute), Follow: true, Until: until}, s.showLog)
}

// showLog shows a line of a container's log; a one-off task needs no colours to be told apart.
func (s inAWS) showLog(l awscloud.LogLine) {
	s.p.Data("log", l.Message, map[string]any{"at": l.At, "task": l.Task, "container": l.Container, "message": l.Message})
}
