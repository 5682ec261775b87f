package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/service"
)

// inAWS is a service of the project as AWS knows it.
type inAWS struct {
	*project
	env    string
	cloud  *awscloud.Cloud
	engine *deploy.Engine
	spec   service.Spec
	ref    deploy.Ref
}

// reach opens the project and finds the environment's service.
func (f *shipFlags) reach(cmd *cobra.Command, env string) (inAWS, error) {
	pr, err := f.open(cmd)
	if err != nil {
		return inAWS{}, err
	}
	spec, _, err := pr.spec(env)
	if err != nil {
		return inAWS{}, err
	}
	cloud, err := pr.cloudOf(env)
	if err != nil {
		return inAWS{}, err
	}
	return inAWS{pr, env, cloud, cloud.Deploy(), spec, deploy.Ref{Cluster: spec.Cluster, Service: deploy.ServiceName(spec)}}, nil
}

// told makes an engine's error one of the command line: what it means, and the exit code.
func (s inAWS) told(err error) error {
	var refused *deploy.RefusedError
	var other *deploy.LeaseError
	var failed *deploy.Failure
	switch {
	case err == nil:
		return nil
	case errors.Is(err, deploy.ErrNotFound):
		return fmt.Errorf("%s is not deployed (service %s in cluster %s); deploy it with: slipway deploy %s", s.env, s.ref.Service, s.ref.Cluster, s.env)
	case errors.As(err, &refused), errors.As(err, &other):
		return exitWith(ExitRefused, err)
	case errors.As(err, &failed) && failed.StillGoing:
		return exitWith(ExitStillGoing, err)
	case errors.As(err, &failed) && failed.RolledBack:
		return exitWith(ExitRolledBack, err)
	case errors.As(err, &failed):
		return exitWith(ExitNotRolledBack, err)
	case errors.Is(err, context.Canceled):
		return exitWith(ExitStillGoing, fmt.Errorf("%w\nFollow it with: slipway status %s --follow\nStop it with:   slipway stop %s", err, s.env, s.env))
	}
	return err
}

func newScaleCommand() *cobra.Command {
	var f shipFlags
	cmd := &cobra.Command{
		Use:   "scale ENVIRONMENT COUNT",
		Short: "Run so many tasks, until the next deployment",
		Long: `Sets the desired count and waits until so many tasks run. Where Application Auto Scaling owns the
count, its bounds are widened just so far that the count is between them, and it goes on moving
the count inside them. slipway.yaml is not changed: the next deployment brings back what it says.`,
		Args: cobra.ExactArgs(2),
		Example: `  slipway scale prod 6
  slipway scale qa 0                # until the next deploy`,
		RunE: func(cmd *cobra.Command, args []string) error {
			count, err := strconv.Atoi(args[1])
			if err != nil || count < 0 {
				return badInput("%q is no number of tasks", args[1])
			}
			s, err := f.reach(cmd, args[0])
			if err != nil {
				return err
			}
			report, done := s.p.progress()
			got, err := s.engine.Scale(cmd.Context(), s.ref, count, report)
			done()
			if err != nil {
				return s.told(err)
			}
			s.p.Done("%s runs %d tasks (was %d)", args[0], got.To, got.From)
			for _, note := range s.scaleNotes(got) {
				s.p.Line("%s", note)
			}
			s.p.Data("scaled", "", map[string]any{"environment": args[0], "from": got.From, "to": got.To, "min": got.Min, "max": got.Max, "bounds_moved": got.Bounds})
			return nil
		},
	}
	f.add(cmd)
	return cmd
}

// scaleNotes say what becomes of the count.
func (s inAWS) scaleNotes(got deploy.Scaled) (notes []string) {
	switch {
	case got.Max > 0 && got.Bounds:
		notes = append(notes, fmt.Sprintf("Auto Scaling now moves it between %d and %d; the next deployment sets the bounds of slipway.yaml again", got.Min, got.Max))
	case got.Max > 0:
		notes = append(notes, fmt.Sprintf("Auto Scaling goes on moving it between %d and %d", got.Min, got.Max))
	case s.spec.Count != got.To:
		notes = append(notes, fmt.Sprintf("slipway.yaml says count: %d, and the next deployment brings that back; to keep %d, write it there", s.spec.Count, got.To))
	}
	return notes
}

func newRestartCommand() *cobra.Command {
	var f shipFlags
	cmd := &cobra.Command{
		Use:   "restart ENVIRONMENT",
		Short: "Replace every task by one of the same release, with the deployment's rules",
		Long: `Forces a new deployment of what runs, such as to read changed secrets, and follows it to its end.

Exit codes: 0 all tasks are new and serve; 3 failed and rolled back; 4 failed and not rolled back;
5 still going; 6 somebody else deploys.`,
		Args:    cobra.ExactArgs(1),
		Example: "  slipway restart prod",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := f.reach(cmd, args[0])
			if err != nil {
				return err
			}
			report, done := s.p.progress()
			out, err := s.engine.Restart(cmd.Context(), s.ref, report)
			done()
			if err != nil {
				return s.told(err)
			}
			s.p.Done("%s has new tasks of %s", args[0], nameOf(out.TaskDefinition))
			s.p.Data("restarted", "", map[string]any{"environment": args[0], "deployment": out.Deployment, "task_definition": out.TaskDefinition, "seconds": out.Took.Seconds()})
			return nil
		},
	}
	f.add(cmd)
	return cmd
}

func newStopCommand() *cobra.Command {
	var f shipFlags
	var abort bool
	cmd := &cobra.Command{
		Use:   "stop ENVIRONMENT",
		Short: "Stop a deployment that is going on, whoever started it",
		Long: `Asks ECS to stop the service deployment and to roll back to what ran before, and waits for that.
With --abort the tasks stay as they are, old and new, until the next deployment. Who started the
deployment sees its end, and the lease is free.

Exit codes: 0 stopped; 4 the rollback failed; 6 no deployment is going on.`,
		Args: cobra.ExactArgs(1),
		Example: `  slipway stop prod
  slipway stop qa --abort`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := f.reach(cmd, args[0])
			if err != nil {
				return err
			}
			report, done := s.p.progress()
			out, err := s.engine.Stop(cmd.Context(), s.ref, deploy.StopOptions{Abort: abort}, report)
			done()
			if err != nil {
				return s.told(err)
			}
			seen, err := s.engine.Read(cmd.Context(), s.ref)
			if err != nil {
				return s.told(err)
			}
			s.p.Done("the deployment has ended (%s); %s runs %s", out.Status, args[0], seen.Image)
			s.p.Data("stopped", "", map[string]any{"environment": args[0], "deployment": out.Deployment, "status": out.Status, "image": seen.Image})
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&abort, "abort", false, "leave the tasks as they are instead of rolling back")
	return cmd
}

// nameOf is what follows the last slash of an ARN.
func nameOf(arn string) string {
	for i := len(arn) - 1; i >= 0; i-- {
		if arn[i] == '/' {
			return arn[i+1:]
		}
	}
	return arn
}
