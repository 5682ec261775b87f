package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Delete takes the service and all that was made for it away, in the order AWS allows: scaling,
// service, tasks, rules, target groups, task definitions, roles, copies of secrets, log group. What is gone already is
// not an error, so a killed Delete is continued by the next.
func (e *Engine) Delete(ctx context.Context, ref Ref, opt DeleteOptions, report func(Event)) error {
	if opt.Timeout == 0 {
		opt.Timeout = 10 * time.Minute
	}
	return e.alone(ctx, ref, "delete", false, report, func(e *Engine) error { return e.delete(ctx, ref, opt, report) })
}

func (e *Engine) delete(ctx context.Context, ref Ref, opt DeleteOptions, report func(Event)) error {
	x := &removal{Engine: e, ref: ref, opt: opt, report: report, deadline: e.clock.Now().Add(opt.Timeout)}
	if err := x.look(ctx); err != nil {
		return err
	}
	for _, part := range []func(context.Context) error{x.scaling, x.schedule, x.alarms, x.churn, x.service, x.registries, x.traffic, x.definitions, x.roles, x.secrets, x.logs} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	e.event(report, Event{Kind: EventDone, Resource: ref.Service, Message: ref.Service + " is deleted"})
	return nil
}

type removal struct {
	*Engine
	ref      Ref
	opt      DeleteOptions
	o        observed
	report   func(Event)
	deadline time.Time
}

func (x *removal) gone(resource, format string, args ...any) {
	x.event(x.report, Event{Kind: EventStep, Resource: resource, Action: string(Delete), Message: fmt.Sprintf(format, args...)})
}

func (x *removal) scaling(ctx context.Context) error {
	if x.o.scaling == nil {
		return nil
	}
	if err := x.ports.Scaling.DeleteServiceScaling(ctx, x.ref); err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("deleting the scaling of %s: %w", x.ref.Service, err)
	}
	x.gone(resScaling, "scaling of %s", x.ref.Service)
	return nil
}

// schedule goes first of all: nothing more is to be started.
func (x *removal) schedule(ctx context.Context) error {
	if x.o.schedule == nil {
		return nil
	}
	if err := x.ports.Schedules.DeleteSchedule(ctx, x.o.schedule.Name); err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("deleting schedule %s: %w", x.o.schedule.Name, err)
	}
	x.gone(resSchedule, "schedule %s", x.o.schedule.Name)
	return nil
}

func (x *removal) alarms(ctx context.Context) error {
	if len(x.o.alarms) == 0 {
		return nil
	}
	var names []string
	for _, a := range x.o.alarms {
		names = append(names, a.Name)
	}
	if err := x.ports.Alarms.DeleteAlarms(ctx, names); err != nil {
		return fmt.Errorf("deleting the alarms of %s: %w", x.ref.Service, err)
	}
	x.gone(resAlarm, "%d alarms of %s", len(names), x.ref.Service)
	return nil
}

// service scales to nothing, deletes, and waits until no task is left: targets drain first, and
// what is deleted below them would cut requests off.
func (x *removal) service(ctx context.Context) error {
	if s := x.o.service; s != nil && s.Status != "DRAINING" {
		if !s.Daemon && s.Desired > 0 {
			send := *s
			send.Desired = 0
			if _, err := x.ports.Services.UpdateService(ctx, send, false); err != nil && !errors.Is(err, ErrNotFound) {
				return fmt.Errorf("scaling %s to 0: %w", x.ref.Service, err)
			}
		}
		if err := x.ports.Services.DeleteService(ctx, x.ref); err != nil && !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("deleting service %s: %w", x.ref.Service, err)
		}
		x.gone(resService, "service %s", x.ref.Service)
	}
	started, stopped, shown := x.clock.Now(), map[string]bool{}, -1
	for {
		all, err := x.ports.Tasks.ServiceTasks(ctx, x.ref)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading tasks: %w", err)
		}
		live := slices.DeleteFunc(all, func(t Task) bool { return t.LastStatus == "STOPPED" })
		_, err = x.ports.Services.Service(ctx, x.ref)
		if len(live) == 0 && errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("reading service %s: %w", x.ref.Service, err)
		}
		for _, t := range live { // a protected task stops only when it is told to
			if t.DesiredStatus != "STOPPED" && !stopped[t.ARN] {
				stopped[t.ARN] = true
				if err := x.ports.Tasks.StopTask(ctx, x.ref.Cluster, t.ARN, "the service is deleted"); err != nil && !errors.Is(err, ErrNotFound) {
					return fmt.Errorf("stopping task %s: %w", t.ID, err)
				}
			}
		}
		if len(live) != shown && (len(live) > 0 || shown > 0) {
			shown = len(live)
			x.event(x.report, Event{Kind: EventProgress, Resource: x.ref.Service, Status: "DRAINING", Running: shown,
				Message: fmt.Sprintf("%s still to stop", tasks(shown))})
		}
		now := x.clock.Now()
		if now.After(x.deadline) {
			return fmt.Errorf("%s of %s still stopping after %s; delete again to go on", tasks(shown), x.ref.Service, x.opt.Timeout)
		}
		if err := x.clock.Wait(ctx, interval(now.Sub(started))); err != nil {
			return err
		}
	}
}

func (x *removal) traffic(ctx context.Context) error {
	for _, r := range x.o.rules {
		if err := x.ports.Rules.DeleteRule(ctx, r.ARN); err != nil && !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("deleting listener rule %d: %w", r.Priority, err)
		}
		x.gone(resRule, "listener rule %d: %s", r.Priority, r.Conditions.Canonical())
	}
	for _, tg := range x.o.targetGroups {
		for {
			err := x.ports.TargetGroups.DeleteTargetGroup(ctx, tg.ARN)
			if err == nil || errors.Is(err, ErrNotFound) {
				break
			}
			if !errors.Is(err, ErrInUse) || x.clock.Now().After(x.deadline) {
				return fmt.Errorf("deleting target group %s: %w", tg.Name, err)
			}
			if err := x.release(ctx, tg); err != nil {
				return err
			}
			if err := x.clock.Wait(ctx, time.Second); err != nil {
				return err
			}
		}
		x.gone(resTargetGroup, "target group %s", tg.Name)
	}
	return nil
}

// release takes a target group out of a default action (TCP listeners) and of rules that came later.
func (x *removal) release(ctx context.Context, tg TargetGroup) error {
	rules, err := x.ports.Rules.RulesOf(ctx, tg.ARN, tg.LoadBalancers)
	if err != nil {
		return fmt.Errorf("reading the rules of target group %s: %w", tg.Name, err)
	}
	for _, r := range rules {
		if err := x.ports.Rules.DeleteRule(ctx, r.ARN); err != nil && !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("deleting listener rule %d: %w", r.Priority, err)
		}
	}
	listeners, err := x.ports.Listeners.DefaultsTo(ctx, tg.ARN, tg.LoadBalancers)
	if err != nil {
		return fmt.Errorf("reading the listeners of target group %s: %w", tg.Name, err)
	}
	for _, arn := range listeners {
		if err := x.ports.Listeners.SetDefault(ctx, arn, ""); err != nil {
			return fmt.Errorf("freeing listener %s: %w", arn, err)
		}
	}
	return nil
}

func (x *removal) definitions(ctx context.Context) error {
	own, err := x.ownRevisions(ctx)
	if err != nil {
		return err
	}
	for _, arn := range own {
		if err := x.ports.TaskDefinitions.DeregisterTaskDefinition(ctx, arn); err != nil {
			return fmt.Errorf("deregistering task definition %s: %w", revisionName(arn), err)
		}
	}
	if len(own) > 0 {
		x.gone(resDefinition, "%d revisions of task definition %s", len(own), x.ref.Service)
	}
	return nil
}

func (x *removal) roles(ctx context.Context) error {
	for _, role := range x.o.roles() {
		if err := x.ports.Roles.DeleteRole(ctx, role.Name); err != nil && !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("deleting role %s: %w", role.Name, err)
		}
		x.gone("role", "role %s", role.Name)
	}
	return nil
}

func (x *removal) logs(ctx context.Context) error {
	own, err := x.ownLogGroups(ctx)
	if err != nil {
		return err
	}
	for _, name := range own {
		if err := x.ports.Logs.DeleteLogGroup(ctx, name); err != nil && !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("deleting log group %s: %w", name, err)
		}
		x.gone(resLogGroup, "log group %s", name)
	}
	return nil
}
