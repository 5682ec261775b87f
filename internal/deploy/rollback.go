package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/service"
)

// Watch follows the newest deployment of a service to its end, as Apply does.
func (e *Engine) Watch(ctx context.Context, ref Ref, report func(Event)) (Outcome, error) {
	return e.watchNewest(ctx, ref, report)
}

func (e *Engine) watchNewest(ctx context.Context, ref Ref, report func(Event)) (Outcome, error) {
	list, err := e.ports.Deployments.Deployments(ctx, ref, 1)
	if err != nil {
		return Outcome{}, fmt.Errorf("listing service deployments: %w", err)
	}
	if len(list) == 0 {
		return Outcome{}, fmt.Errorf("%s has no deployment: %w", ref.Service, ErrNotFound)
	}
	rev, err := e.ports.Deployments.Revision(ctx, list[0].Target)
	if err != nil {
		return Outcome{}, fmt.Errorf("reading service revision %s: %w", list[0].Target, err)
	}
	return e.await(ctx, ref, rev.TaskDefinition, "", nil, report)
}

// await follows a deployment of a known task definition.
func (e *Engine) await(ctx context.Context, ref Ref, definition, before string, old []string, report func(Event)) (Outcome, error) {
	o, err := e.observe(ctx, ref)
	if err != nil {
		return Outcome{}, err
	}
	if o.service == nil {
		return Outcome{}, fmt.Errorf("service %s: %w", ref.Service, ErrNotFound)
	}
	td, err := e.ports.TaskDefinitions.TaskDefinition(ctx, definition)
	if err != nil {
		return Outcome{}, fmt.Errorf("reading task definition %s: %w", definition, err)
	}
	f := following{ref: ref, definition: td, targetGroup: o.serving(), alternate: o.alternate(), before: before, old: old,
		grace: o.service.GracePeriod, report: report}
	f.timeout = defaultTimeout + shiftTime(service.Deployment{Strategy: o.service.Strategy, BakeTime: o.service.BakeTime, StepPercent: o.service.StepPercent, StepBake: o.service.StepBake})
	started := e.clock.Now()
	out := Outcome{ServiceARN: o.service.ARN, Service: ref.Service, TaskDefinition: definition, LogGroup: td.LogOptions["awslogs-group"]}
	if len(td.Containers) > 0 {
		out.Image = td.Containers[0].Image
	}
	if f.targetGroup != nil {
		out.TargetGroup = f.targetGroup.ARN
	}
	dep, err := e.follow(ctx, f)
	out.Deployment, out.Revision, out.Status, out.Took = dep.ARN, dep.Target, dep.Status, e.clock.Now().Sub(started)
	var failure *Failure
	if errors.As(err, &failure) {
		failure.Outcome = out
	}
	return out, err
}

// serving is the target group the service's tasks register in.
func (o observed) serving() *TargetGroup {
	for _, lb := range o.service.LoadBalancers {
		for i := range o.targetGroups {
			if o.targetGroups[i].ARN == lb.TargetGroup {
				return &o.targetGroups[i]
			}
		}
	}
	return nil
}

// alternate is the second target group of a service whose traffic ECS shifts.
func (o observed) alternate() *TargetGroup {
	for i := range o.targetGroups {
		if slices.ContainsFunc(o.service.LoadBalancers, func(lb LoadBalancer) bool { return lb.Alternate == o.targetGroups[i].ARN }) {
			return &o.targetGroups[i]
		}
	}
	return nil
}

// Rollback goes back to what a service revision or task definition ran (to: an ARN or
// family:revision), or with an empty to the last that succeeded before the present one. A deployment
// that is going on is taken over: stopped and rolled back by ECS.
func (e *Engine) Rollback(ctx context.Context, ref Ref, to string, report func(Event)) (Outcome, error) {
	stopped, err := e.Stop(ctx, ref, StopOptions{}, report)
	var none *RefusedError
	switch {
	case errors.As(err, &none): // nothing goes on
	case err != nil:
		return stopped, err
	case to == "" && stopped.Status == "ROLLBACK_SUCCESSFUL":
		return stopped, nil
	}
	var out Outcome
	// Who deployed what was stopped has nothing more to do.
	err = e.alone(ctx, ref, "roll back", none == nil, report, func(e *Engine) (err error) {
		out, err = e.rollback(ctx, ref, to, report)
		return err
	})
	return out, err
}

func (e *Engine) rollback(ctx context.Context, ref Ref, to string, report func(Event)) (Outcome, error) {
	svc, err := e.ports.Services.Service(ctx, ref)
	if err != nil {
		return Outcome{}, fmt.Errorf("reading service %s: %w", ref.Service, err)
	}
	if to != "" {
		if strings.Contains(to, ":service-revision/") {
			rev, err := e.ports.Deployments.Revision(ctx, to)
			if err != nil {
				return Outcome{}, fmt.Errorf("reading service revision %s: %w", to, err)
			}
			to = rev.TaskDefinition
		}
		return e.to(ctx, ref, to, report)
	}
	list, err := e.ports.Deployments.Deployments(ctx, ref, 50)
	if err != nil {
		return Outcome{}, fmt.Errorf("listing service deployments: %w", err)
	}
	for _, d := range list {
		if d.Status != "SUCCESSFUL" {
			continue
		}
		rev, err := found(e.ports.Deployments.Revision(ctx, d.Target))
		if err != nil {
			return Outcome{}, fmt.Errorf("reading service revision %s: %w", d.Target, err)
		}
		if rev != nil && rev.TaskDefinition != svc.TaskDefinition {
			return e.to(ctx, ref, rev.TaskDefinition, report)
		}
	}
	return Outcome{}, refuse("%s has no earlier deployment that succeeded to go back to", ref.Service)
}

// to deploys a task definition that is registered already.
func (e *Engine) to(ctx context.Context, ref Ref, definition string, report func(Event)) (Outcome, error) {
	td, err := e.ports.TaskDefinitions.TaskDefinition(ctx, definition)
	if err != nil {
		return Outcome{}, fmt.Errorf("reading task definition %s: %w", definition, err)
	}
	return e.redeploy(ctx, ref, td.ARN, report)
}

// Restart replaces every task by one of the same task definition.
func (e *Engine) Restart(ctx context.Context, ref Ref, report func(Event)) (Outcome, error) {
	var out Outcome
	err := e.alone(ctx, ref, "restart", false, report, func(e *Engine) (err error) {
		out, err = e.redeploy(ctx, ref, "", report)
		return err
	})
	return out, err
}

// redeploy rolls a task definition out without changing anything else; empty: the present one.
func (e *Engine) redeploy(ctx context.Context, ref Ref, definition string, report func(Event)) (Outcome, error) {
	o, err := e.observe(ctx, ref)
	if err != nil {
		return Outcome{}, err
	}
	if o.service == nil {
		return Outcome{}, fmt.Errorf("service %s: %w", ref.Service, ErrNotFound)
	}
	if definition != "" {
		if err := e.permit(ctx, o, definition); err != nil {
			return Outcome{}, err
		}
	}
	send := *o.service
	force := definition == "" || definition == send.TaskDefinition
	if definition != "" {
		send.TaskDefinition = definition
	}
	send.Desired = -1
	if _, err := e.ports.Services.UpdateService(ctx, send, force); err != nil {
		return Outcome{}, fmt.Errorf("updating service %s: %w", ref.Service, err)
	}
	e.event(report, Event{Kind: EventStep, Resource: resService, Action: string(Update), Message: "service " + ref.Service + " goes to " + revisionName(send.TaskDefinition)})
	return e.await(ctx, ref, send.TaskDefinition, o.service.primary(), o.deployments, report)
}

// permit lets the execution role do what an earlier version needs beside what the present one does.
func (e *Engine) permit(ctx context.Context, o observed, definition string) error {
	role := o.executionRole
	td, err := e.ports.TaskDefinitions.TaskDefinition(ctx, definition)
	if err != nil {
		return fmt.Errorf("reading task definition %s: %w", definition, err)
	}
	if role == nil || td.ExecutionRole != role.ARN {
		return nil
	}
	// arn:partition:iam::account:role/name
	part := strings.Split(role.ARN, ":")
	if len(part) < 6 {
		return nil
	}
	in := Infra{Partition: part[1], Account: part[4], Region: td.LogOptions["awslogs-region"]}
	if in.Region == "" {
		if arn := strings.Split(td.ARN, ":"); len(arn) > 3 {
			in.Region = arn[3]
		}
	}
	want := *role
	want.Policy = unionPolicy(role.Policy, executionPolicy(in, td, td.LogOptions["awslogs-group"]))
	if canonicalJSON(want.Policy) == canonicalJSON(role.Policy) || len(want.Policy) == len(role.Policy) {
		return nil
	}
	if _, err := e.ports.Roles.PutRole(ctx, want); err != nil {
		return fmt.Errorf("letting role %s do what %s needs: %w", role.Name, revisionName(td.ARN), err)
	}
	return nil
}
