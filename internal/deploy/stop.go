package deploy

import (
	"context"
	"errors"
	"fmt"
)

// StopOptions say how a deployment is stopped.
type StopOptions struct {
	Abort bool // leave the tasks as they are: no rollback
}

// Stop ends a deployment that is going on, whoever started it: with rollback to what ran before, which it
// waits for, or where it stands. The holder of the service's lease sees the end and gives it back.
func (e *Engine) Stop(ctx context.Context, ref Ref, opt StopOptions, report func(Event)) (Outcome, error) {
	list, err := e.ports.Deployments.Deployments(ctx, ref, 1)
	if err != nil {
		return Outcome{}, fmt.Errorf("listing service deployments: %w", err)
	}
	if len(list) == 0 || !list[0].Open() {
		return Outcome{}, refuse("no deployment of %s is going on", ref.Service)
	}
	d := list[0]
	how := "rolled back to what ran before"
	if opt.Abort {
		how = "left where it stands"
	}
	switch d.Status {
	case "PENDING", "IN_PROGRESS":
		if err := e.ports.Deployments.StopDeployment(ctx, d.ARN, !opt.Abort); err != nil {
			return Outcome{}, fmt.Errorf("stopping the deployment: %w", err)
		}
		e.event(report, Event{Kind: EventStep, Resource: resService, Action: string(Update), Message: fmt.Sprintf("the deployment of %s since %s is stopped and %s", ref.Service, stamp(d.CreatedAt), how)})
	default:
		e.event(report, Event{Kind: EventStep, Resource: resService, Action: string(Keep), Message: fmt.Sprintf("the deployment of %s since %s is being stopped already (%s)", ref.Service, stamp(d.CreatedAt), d.Status)})
	}
	out, err := e.watchNewest(ctx, ref, report)
	var f *Failure
	if errors.As(err, &f) && (f.RolledBack || f.Status == "STOPPED") {
		return out, nil // as asked for
	}
	return out, err
}
