package deploy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/service"
)

// before runs the one-off tasks that precede a rollout, with the new revision, each once: one that
// succeeded is marked on the revision, one that is running is joined.
func (r *run) before(ctx context.Context) error {
	if r.plan.Rollout {
		return r.steps(ctx, r.d.target.Spec.Deployment.Before)
	}
	return nil
}

// after makes the smoke test and runs the one-off tasks that follow a rollout.
func (r *run) after(ctx context.Context) error {
	if !r.plan.Rollout {
		return nil
	}
	if s := r.d.target.Spec.Deployment.Smoke; s != nil && r.out.URL != "" {
		if err := r.smoke(ctx, *s); err != nil {
			return r.undo(ctx, err)
		}
	}
	return r.steps(ctx, r.d.target.Spec.Deployment.After)
}

func (r *run) steps(ctx context.Context, steps []service.Step) error {
	for _, s := range steps {
		if _, done := r.d.definition.Tags[tagDone+s.Name]; done {
			r.step(resStep, Keep, "%s ran with this revision already", s.Name)
			continue
		}
		if err := r.oneOff(ctx, s); err != nil {
			return err
		}
		if err := r.ports.TaskDefinitions.TagTaskDefinition(ctx, r.d.definition.ARN, map[string]string{tagDone + s.Name: "yes"}); err != nil {
			return fmt.Errorf("marking step %s as done: %w", s.Name, err)
		}
	}
	return nil
}

func (r *run) oneOff(ctx context.Context, s service.Step) error {
	sum := sha256.Sum256([]byte(r.d.definition.ARN + "\x00" + s.Name))
	mark := "slipway/" + hex.EncodeToString(sum[:8])
	timeout := s.Timeout
	if timeout == 0 {
		timeout = 10 * time.Minute
	}
	tasks, err := r.ports.Tasks.StartedBy(ctx, r.d.ref.Cluster, mark)
	if err != nil {
		return fmt.Errorf("looking for step %s: %w", s.Name, err)
	}
	var task Task
	main := r.d.definition.Containers[0].Name
	for _, t := range tasks {
		if t.LastStatus != "STOPPED" || t.succeeded(main) {
			task = t
		}
	}
	if task.ARN == "" {
		run := TaskRun{Cluster: r.d.ref.Cluster, TaskDefinition: r.d.definition.ARN, Container: main,
			Command: s.Command, StartedBy: mark, Tags: ownTags(r.d.target)}
		if r.d.service != nil {
			run.Service = *r.d.service
		}
		if task, err = r.ports.Tasks.RunTask(ctx, run); err != nil {
			return fmt.Errorf("starting step %s: %w", s.Name, err)
		}
		r.step(resStep, Create, "%s started (task %s)", s.Name, task.ID)
	}
	started := r.clock.Now()
	for task.LastStatus != "STOPPED" {
		if r.clock.Now().Sub(started) > timeout {
			if err := r.ports.Tasks.StopTask(ctx, r.d.ref.Cluster, task.ARN, "step "+s.Name+" took longer than "+timeout.String()); err != nil {
				return fmt.Errorf("stopping step %s: %w", s.Name, err)
			}
			return r.stepFailed(ctx, s, task, fmt.Sprintf("step %s took longer than %s", s.Name, timeout))
		}
		if err := r.clock.Wait(ctx, interval(r.clock.Now().Sub(started))); err != nil {
			return err
		}
		if tasks, err = r.ports.Tasks.StartedBy(ctx, r.d.ref.Cluster, mark); err != nil {
			return fmt.Errorf("watching step %s: %w", s.Name, err)
		}
		for _, t := range tasks {
			if t.ARN == task.ARN {
				task = t
			}
		}
	}
	if !task.succeeded(main) {
		what := task.StoppedReason
		for _, c := range task.Containers {
			if c.ExitCode != nil && *c.ExitCode != 0 {
				what = fmt.Sprintf("exited with code %d", *c.ExitCode)
			} else if c.Reason != "" {
				what = c.Reason
			}
			if c.Name == main && c.ExitCode != nil {
				break // what became of the others follows from it
			}
		}
		if cause, _ := classify(task); cause != CauseCrash && cause != CauseExited && cause != CauseUnknown {
			ev := evidenceOf(following{ref: r.d.ref, definition: r.d.definition})
			ev.Stopped = []Task{task}
			return &Failure{Status: "NOT_STARTED", RolledBack: r.o.service != nil, Diagnosis: prefixed(Diagnose(ev), "step "+s.Name+" failed: ")}
		}
		return r.stepFailed(ctx, s, task, fmt.Sprintf("step %s failed: %s", s.Name, what))
	}
	r.step(resStep, Create, "%s succeeded", s.Name)
	return nil
}

func prefixed(d Diagnosis, with string) Diagnosis {
	d.Sentence = with + d.Sentence
	return d
}

// succeeded says that the step's own container ended with code 0. The others end because it did: a sidecar
// that had not begun to listen for SIGTERM is killed.
func (t Task) succeeded(main string) bool {
	return t.LastStatus == "STOPPED" && slices.ContainsFunc(t.Containers, func(c TaskContainer) bool {
		return c.Name == main && c.ExitCode != nil && *c.ExitCode == 0
	})
}

func (r *run) stepFailed(ctx context.Context, s service.Step, task Task, sentence string) error {
	logs := r.tail(ctx, r.d.definition, r.d.definition.Containers[0].Name, task.ID)
	if line := telling(logs); line != "" {
		sentence += ": " + line
	}
	return &Failure{Status: "NOT_STARTED", RolledBack: r.o.service != nil, Diagnosis: Diagnosis{Cause: CauseStep, Sentence: sentence,
		Fix: "Run " + strings.Join(s.Command, " ") + " with the new image by hand to see it fail; nothing was rolled out.", Logs: logs}}
}

// smokeTries is how often the smoke test's request is made, a second apart.
const smokeTries = 5

func (r *run) smoke(ctx context.Context, s service.Smoke) error {
	if r.ports.Probe == nil {
		return refuse("not supported: smoke tests from here")
	}
	want := s.Status
	if want == 0 {
		want = 200
	}
	url := r.out.URL + "/" + strings.TrimPrefix(s.Path, "/")
	var said string
	for try := range smokeTries {
		if try > 0 {
			if err := r.clock.Wait(ctx, time.Second); err != nil {
				return err
			}
		}
		var host string
		if r.d.rule != nil && len(r.d.rule.Conditions.Hosts) > 0 {
			host = strings.NewReplacer("*", "smoke", "?", "x").Replace(r.d.rule.Conditions.Hosts[0])
		}
		status, body, err := r.ports.Probe.Get(ctx, url, host)
		switch {
		case err != nil:
			said = err.Error()
		case status != want:
			said = fmt.Sprintf("status %d, wanted %d", status, want)
		case !strings.Contains(body, s.Contains):
			said = fmt.Sprintf("the answer does not contain %q", s.Contains)
		default:
			r.step("smoke test", Keep, "smoke test of %s passed (%d)", url, status)
			return nil
		}
	}
	return &Failure{Deployment: r.out.Deployment, Status: "SMOKE_TEST_FAILED", Diagnosis: Diagnosis{Cause: CauseSmoke,
		Sentence: fmt.Sprintf("the smoke test of %s failed %d times: %s", url, smokeTries, said),
		Fix:      "Make the path answer as the smoke test expects, or correct deployment.smoke."}}
}

// undo goes back to the earlier task definition after a deployment that was good for ECS.
func (r *run) undo(ctx context.Context, why error) error {
	var f *Failure
	if !errors.As(why, &f) || r.o.service == nil || !r.d.service.Rollback || r.o.service.TaskDefinition == r.d.definition.ARN {
		return why
	}
	r.event(r.report, Event{Kind: EventWarning, Message: f.Diagnosis.Sentence + "; going back to " + revisionName(r.o.service.TaskDefinition)})
	if _, err := r.Engine.to(ctx, r.d.ref, r.o.service.TaskDefinition, r.report); err != nil {
		f.Diagnosis.Fix += " Going back failed too: " + err.Error()
		return f
	}
	f.RolledBack = true
	return f
}
