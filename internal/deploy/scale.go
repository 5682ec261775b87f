package deploy

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Scaled is what a Scale changed.
type Scaled struct {
	From, To int  // desired count
	Min, Max int  // bounds of Application Auto Scaling; 0 without it
	Bounds   bool // they were moved, so that the count is inside
}

// Scale sets the desired count and waits until so many tasks run. Where Application Auto Scaling owns
// the count, its bounds are widened just so far that the count is between them; inside them it goes on
// moving it.
func (e *Engine) Scale(ctx context.Context, ref Ref, count int, report func(Event)) (out Scaled, err error) {
	if count < 0 {
		return out, refuse("a service has no %d tasks", count)
	}
	err = e.alone(ctx, ref, "scale", false, report, func(e *Engine) error {
		out, err = e.scale(ctx, ref, count, report)
		return err
	})
	return out, err
}

func (e *Engine) scale(ctx context.Context, ref Ref, count int, report func(Event)) (Scaled, error) {
	o, err := e.observe(ctx, ref)
	switch {
	case err != nil:
		return Scaled{}, err
	case o.service == nil:
		return Scaled{}, fmt.Errorf("service %s: %w", ref.Service, ErrNotFound)
	case o.service.Daemon:
		return Scaled{}, refuse("%s is a daemon: it runs once on each instance", ref.Service)
	}
	out := Scaled{From: o.service.Desired, To: count}
	if o.scaling != nil {
		want := *o.scaling
		want.Min, want.Max = min(want.Min, count), max(want.Max, count)
		out.Min, out.Max, out.Bounds = want.Min, want.Max, want.Min != o.scaling.Min || want.Max != o.scaling.Max
		if out.Bounds {
			if err := e.ports.Scaling.PutServiceScaling(ctx, ref, want); err != nil {
				return out, fmt.Errorf("setting the scaling of %s: %w", ref.Service, err)
			}
			e.event(report, Event{Kind: EventStep, Resource: resScaling, Action: string(Update), Message: fmt.Sprintf("scaling from %d to %d tasks (was %d to %d)", want.Min, want.Max, o.scaling.Min, o.scaling.Max)})
		}
	}
	if count == o.service.Desired {
		return out, nil
	}
	send := *o.service
	send.Desired = count
	if _, err := e.ports.Services.UpdateService(ctx, send, false); err != nil {
		return out, fmt.Errorf("scaling service %s: %w", ref.Service, err)
	}
	e.event(report, Event{Kind: EventStep, Resource: resService, Action: string(Update), Message: fmt.Sprintf("service %s goes from %d to %s", ref.Service, o.service.Desired, tasks(count))})
	return out, e.awaitCount(ctx, ref, count, defaultTimeout, report)
}

// awaitCount waits until so many tasks run.
func (e *Engine) awaitCount(ctx context.Context, ref Ref, want int, timeout time.Duration, report func(Event)) error {
	started, shown := e.clock.Now(), -1
	for {
		svc, err := e.ports.Services.Service(ctx, ref)
		if err != nil {
			return fmt.Errorf("watching service %s: %w", ref.Service, err)
		}
		if svc.Running != shown {
			shown = svc.Running
			e.event(report, Event{Kind: EventProgress, Resource: ref.Service, Desired: want, Running: shown, Message: fmt.Sprintf("%d of %d tasks run", shown, want)})
		}
		if svc.Running == want || svc.Desired != want && svc.Running == svc.Desired {
			return nil // or somebody, such as the service's scaling, wants another count by now
		}
		age := e.clock.Now().Sub(started)
		if age > timeout {
			ev := Evidence{Service: ref.Service, Desired: want, TimedOut: true, Waited: age}
			ev.Events = append(ev.Events, svc.Events...)
			slices.Reverse(ev.Events)
			return &Failure{Status: "TIMED_OUT", StillGoing: true, Outcome: Outcome{Service: ref.Service}, Diagnosis: Diagnose(ev)}
		}
		if err := e.clock.Wait(ctx, interval(age)); err != nil {
			return err
		}
	}
}
