package deploy

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/slipway-ecs/slipway/internal/service"
)

// tagOneOff marks a revision that was registered for one task alone; no service runs it.
const tagOneOff = "slipway:one-off"

// OneOff is a task that is run once beside a service, as the service's tasks are.
type OneOff struct {
	Image     string            // instead of the main container's
	Container string            // whose command and environment are given; empty: the main one
	Command   []string          // instead of its own
	Env       map[string]string // beside its own
	ID        string            // marks the task among all of the cluster, at most 100 characters
	Placed    Service           // how it is placed where there is no service (jobs)
}

// Run starts a task with what the service runs now, or for a job with its newest revision, and returns
// at once: Ended waits for it.
func (e *Engine) Run(ctx context.Context, ref Ref, want OneOff) (Task, TaskDefinition, error) {
	svc, err := found(e.ports.Services.Service(ctx, ref))
	if err != nil {
		return Task{}, TaskDefinition{}, fmt.Errorf("reading service %s: %w", ref.Service, err)
	}
	run := TaskRun{Cluster: ref.Cluster, Container: want.Container, Command: want.Command, Env: want.Env, StartedBy: "slipway/run/" + want.ID, Service: want.Placed}
	var td *TaskDefinition
	if svc != nil {
		run.Service = *svc
		td, err = found(e.ports.TaskDefinitions.TaskDefinition(ctx, svc.TaskDefinition))
	} else {
		td, err = e.newest(ctx, ref)
	}
	if err != nil {
		return Task{}, TaskDefinition{}, fmt.Errorf("reading the task definition of %s: %w", ref.Service, err)
	}
	if td == nil || len(td.Containers) == 0 {
		return Task{}, TaskDefinition{}, fmt.Errorf("%s is not deployed: %w", ref.Service, ErrNotFound)
	}
	if run.Container == "" {
		run.Container = td.Containers[0].Name
	}
	if !slices.ContainsFunc(td.Containers, func(c service.Container) bool { return c.Name == run.Container }) {
		return Task{}, *td, refuse("%s has no container %q", revisionName(td.ARN), run.Container)
	}
	run.TaskDefinition, run.Tags = td.ARN, map[string]string{tagOwner: ref.owner(), tagOneOff: "yes"}
	if want.Image != "" && want.Image != td.Containers[0].Image {
		other := *td
		other.Containers = slices.Clone(td.Containers)
		other.Containers[0].Image = want.Image
		other.Tags = merged(td.Tags, map[string]string{tagOneOff: "yes"})
		delete(other.Tags, tagContent)
		made, err := e.ports.TaskDefinitions.RegisterTaskDefinition(ctx, other)
		if err != nil {
			return Task{}, *td, fmt.Errorf("registering a revision with %s: %w", want.Image, err)
		}
		run.TaskDefinition, td = made.ARN, &made
	}
	task, err := e.ports.Tasks.RunTask(ctx, run)
	if td.Tags[tagOneOff] != "" {
		// Tasks of an inactive revision go on; nothing else should start from it.
		// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeregisterTaskDefinition.html
		if err := e.ports.TaskDefinitions.DeregisterTaskDefinition(context.WithoutCancel(ctx), td.ARN); err != nil {
			return task, *td, fmt.Errorf("deregistering %s: %w", revisionName(td.ARN), err)
		}
	}
	if err != nil {
		return task, *td, fmt.Errorf("starting a task of %s: %w", revisionName(td.ARN), err)
	}
	return task, *td, nil
}

// newest is the newest revision of a job that was not registered for one task alone.
func (e *Engine) newest(ctx context.Context, ref Ref) (*TaskDefinition, error) {
	arns, err := e.ports.TaskDefinitions.Revisions(ctx, ref.Service)
	if err != nil {
		return nil, err
	}
	for _, arn := range arns[:min(len(arns), lookback)] {
		td, err := found(e.ports.TaskDefinitions.TaskDefinition(ctx, arn))
		if err != nil || td != nil && td.Tags[tagOneOff] == "" {
			return td, err
		}
	}
	return nil, nil
}

// Ended waits until a task has stopped, and says why it did not run to its end where it did not.
// report is told each state once.
func (e *Engine) Ended(ctx context.Context, ref Ref, td TaskDefinition, task Task, report func(Event)) (Task, error) {
	started, shown := e.clock.Now(), ""
	for {
		all, err := e.ports.Tasks.StartedBy(ctx, ref.Cluster, task.StartedBy)
		if err != nil {
			return task, fmt.Errorf("watching task %s: %w", task.ID, err)
		}
		for _, t := range all {
			if t.ARN == task.ARN {
				task = t
			}
		}
		if task.LastStatus != shown {
			shown = task.LastStatus
			e.event(report, Event{Kind: EventTask, Resource: task.ID, Status: task.LastStatus, Message: taskLine(task)})
		}
		if task.LastStatus == "STOPPED" {
			return task, nil
		}
		if err := e.clock.Wait(ctx, min(interval(e.clock.Now().Sub(started)), time.Second)); err != nil {
			return task, err
		}
	}
}

// ExitCode is the exit code of a task's container; false where it never ran to its end.
func (t Task) ExitCode(container string) (int, bool) {
	for _, c := range t.Containers {
		if c.Name == container && c.ExitCode != nil {
			return *c.ExitCode, true
		}
	}
	return 0, false
}

// WhyStopped names, in one sentence, why a one-off task did not run to its end, and what to change.
func WhyStopped(td TaskDefinition, t Task) Diagnosis {
	ev := evidenceOf(following{definition: td})
	ev.Stopped = []Task{t}
	return Diagnose(ev)
}

// StopTask ends one task; reason is kept beside it.
func (e *Engine) StopTask(ctx context.Context, ref Ref, task Task, reason string) error {
	if err := e.ports.Tasks.StopTask(ctx, ref.Cluster, task.ARN, reason); err != nil {
		return fmt.Errorf("stopping task %s: %w", task.ID, err)
	}
	return nil
}

// PlacedAs is how a target's tasks are launched, connected and placed: for jobs, which have no service.
func PlacedAs(t Target) Service { return *ecsService(t, t.Ref(), nil) }
