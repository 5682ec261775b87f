package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Apply makes AWS what the target says and waits for the truth. A deployment that did not succeed
// is a *Failure; a target that cannot be deployed as written is a *RefusedError. report may be nil;
// it is called from one goroutine. When ctx ends, AWS goes on deploying: Apply again, or Watch.
//
// While it works, it holds the service's lease: who else has it is named by a *LeaseError.
func (e *Engine) Apply(ctx context.Context, t Target, report func(Event)) (out Outcome, err error) {
	if err := check(t); err != nil {
		return Outcome{}, err
	}
	err = e.alone(ctx, t.Ref(), "deploy", false, report, func(e *Engine) error {
		out, err = e.apply(ctx, t, report)
		return err
	})
	return out, err
}

func (e *Engine) apply(ctx context.Context, t Target, report func(Event)) (Outcome, error) {
	started := e.clock.Now()
	d, o, lb, err := e.look(ctx, t)
	if err != nil {
		return Outcome{}, err
	}
	p, err := plan(d, o)
	if err != nil {
		return Outcome{}, err
	}
	r := &run{Engine: e, d: d, o: o, plan: p, report: report}
	r.out = Outcome{Service: d.ref.Service, Image: d.definition.Containers[0].Image, Changed: !p.Empty(),
		ExecutionRole: d.definition.ExecutionRole, TaskRole: d.definition.TaskRole}
	if d.definition.LogDriver == "awslogs" {
		r.out.LogGroup = d.definition.LogOptions["awslogs-group"]
	}
	if lb != nil {
		r.out.URL = lb.URL()
	}
	err = r.do(ctx)
	r.out.Took = e.clock.Now().Sub(started)
	var f *Failure
	if errors.As(err, &f) {
		f.Outcome = r.out
	}
	return r.out, err
}

// run is one Apply.
type run struct {
	*Engine
	d      desired
	o      observed
	plan   Plan
	report func(Event)
	out    Outcome
}

func (r *run) do(ctx context.Context) error {
	for _, part := range []func(context.Context) error{
		r.logGroup, r.roles, r.targetGroup, r.rule, r.registry, r.definition, r.before, r.schedule, r.churn, r.alarms, r.service, r.scaling, r.rollout, r.after, r.tidy,
	} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

// action is what the plan says of a resource.
func (r *run) action(resource, name string) Action {
	for _, c := range r.plan.Changes {
		if c.Resource == resource && (name == "" || c.Name == name) && c.Action != Delete {
			return c.Action
		}
	}
	return Keep
}

func (e *Engine) event(report func(Event), ev Event) {
	if report == nil {
		return
	}
	ev.At = e.clock.Now()
	report(ev)
}

func (r *run) step(resource string, a Action, format string, args ...any) {
	r.event(r.report, Event{Kind: EventStep, Resource: resource, Action: string(a), Message: fmt.Sprintf(format, args...)})
}

func (r *run) logGroup(ctx context.Context) error {
	if r.d.logGroup == nil {
		return nil
	}
	a := r.action(resLogGroup, "")
	if a != Keep {
		if err := r.ports.Logs.PutLogGroup(ctx, *r.d.logGroup); err != nil {
			return fmt.Errorf("keeping log group %s: %w", r.d.logGroup.Name, err)
		}
	}
	r.step(resLogGroup, a, "log group %s", r.d.logGroup.Name)
	return nil
}

func (r *run) roles(ctx context.Context) error {
	for _, x := range []struct {
		resource   string
		want, have *Role
	}{{resExecutionRole, r.d.executionRole, r.o.executionRole}, {resTaskRole, r.d.taskRole, r.o.taskRole}, {resTrafficRole, r.d.trafficRole, r.o.trafficRole}, {resVolumeRole, r.d.volumeRole, r.o.volumeRole}, {resScheduleRole, r.d.scheduleRole, r.o.scheduleRole}} {
		if x.want == nil {
			continue
		}
		a := r.action(x.resource, x.want.Name)
		if a != Keep {
			put := *x.want
			if x.have != nil && r.plan.Rollout {
				put.Policy = unionPolicy(x.have.Policy, put.Policy) // until tidy
			}
			if _, err := r.ports.Roles.PutRole(ctx, put); err != nil {
				return fmt.Errorf("keeping %s %s: %w", x.resource, x.want.Name, err)
			}
		}
		r.step(x.resource, a, "%s %s", x.resource, x.want.Name)
	}
	return nil
}

func (r *run) targetGroup(ctx context.Context) error {
	for _, want := range r.d.groups() {
		a := r.action(resTargetGroup, want.Name)
		if a != Keep {
			tg, err := r.ports.TargetGroups.PutTargetGroup(ctx, *want)
			if errors.Is(err, ErrNoRoom) {
				return refuse("the account's quota of target groups is reached, so %s has no place: delete unused ones or have the quota raised (Service Quotas, Elastic Load Balancing)", want.Name)
			}
			if err != nil {
				return fmt.Errorf("keeping target group %s: %w", want.Name, err)
			}
			want.ARN = tg.ARN
		}
		r.step(resTargetGroup, a, "target group %s (%s %s, health %s %s)", want.Name, want.Protocol, want.TargetType, want.HealthProtocol, want.Health.Path)
	}
	want := r.d.targetGroup
	if want == nil {
		return nil
	}
	if r.d.service != nil && len(r.d.service.LoadBalancers) > 0 {
		r.d.service.LoadBalancers[0].TargetGroup = want.ARN
	}
	if r.d.alternate != nil {
		r.d.service.LoadBalancers[0].Alternate = r.d.alternate.ARN
	}
	r.out.TargetGroup = want.ARN
	return nil
}

// priorityTries is how often a rule is placed anew when another deployment was quicker.
const priorityTries = 20

func (r *run) rule(ctx context.Context) error {
	if r.d.targetGroup == nil {
		return nil
	}
	if r.d.rule == nil {
		return r.defaultAction(ctx)
	}
	want := *r.d.rule
	want.TargetGroup = r.d.targetGroup.ARN
	if r.d.alternate != nil {
		want.Standby = r.d.alternate.ARN
	}
	have := r.o.rule(want.Listener)
	if have != nil {
		want.ARN, want.Priority = have.ARN, have.Priority
		switch {
		case r.d.alternate != nil && have.TargetGroup == want.Standby:
			want.TargetGroup, want.Standby = want.Standby, want.TargetGroup
		case have.TargetGroup != want.TargetGroup && r.o.service != nil && slices.ContainsFunc(r.o.targetGroups, func(tg TargetGroup) bool { return tg.ARN == have.TargetGroup }):
			// Traffic stays where the tasks are until the new group has some; see tidy.
			want.TargetGroup, want.Standby = have.TargetGroup, r.d.targetGroup.ARN
		}
	}
	a := r.action(resRule, want.Conditions.Canonical())
	if a == Keep {
		r.out.Rule, r.out.Priority = want.ARN, want.Priority
		r.step(resRule, a, "listener rule %d: %s", want.Priority, want.Conditions.Canonical())
		return nil
	}
	live := r.o.live
	for try := 1; ; try++ {
		priority, err := allocate(live, want, have)
		if err != nil {
			return err
		}
		want.Priority = priority
		put, err := r.ports.Rules.PutRule(ctx, want)
		switch {
		case err == nil:
			r.out.Rule, r.out.Priority = put.ARN, put.Priority
			r.step(resRule, a, "listener rule %d: %s", put.Priority, want.Conditions.Canonical())
			return nil
		case errors.Is(err, ErrNoRoom):
			return refuse("the load balancer takes no more rules: use another listener's balancer or have the quota raised")
		case !errors.Is(err, ErrPriorityInUse) || try == priorityTries:
			return fmt.Errorf("placing the listener rule: %w", err)
		}
		if live, err = r.ports.Rules.Rules(ctx, want.Listener); err != nil {
			return fmt.Errorf("reading the listener's rules again: %w", err)
		}
	}
}

// defaultAction gives a TCP listener, which has no rules, to the service.
func (r *run) defaultAction(ctx context.Context) error {
	arn := r.d.target.Infra.Listener
	l, err := r.ports.Listeners.Listener(ctx, arn)
	if err != nil {
		return fmt.Errorf("reading listener %s: %w", arn, err)
	}
	if l.Default == r.d.targetGroup.ARN {
		r.step(resDefault, Keep, "listener %d forwards to the service", l.Port)
		return nil
	}
	mine := slices.ContainsFunc(r.o.targetGroups, func(tg TargetGroup) bool { return tg.ARN == l.Default })
	if l.Default != "" && !mine {
		return refuse("listener %s forwards to %s already: a TCP listener serves one service", arn, l.Default)
	}
	if err := r.ports.Listeners.SetDefault(ctx, arn, r.d.targetGroup.ARN); err != nil {
		return fmt.Errorf("pointing listener %s to the service: %w", arn, err)
	}
	r.step(resDefault, Update, "listener %d forwards to the service", l.Port)
	return nil
}

func (r *run) definition(ctx context.Context) error {
	td := r.o.reusable
	a := Keep
	if td == nil {
		a = Create
		made, err := r.ports.TaskDefinitions.RegisterTaskDefinition(ctx, r.d.definition)
		if err != nil {
			return fmt.Errorf("registering task definition %s: %w", r.d.definition.Family, err)
		}
		td = &made
	}
	r.d.definition.ARN, r.d.definition.Revision = td.ARN, td.Revision
	r.d.definition.Tags = merged(r.d.definition.Tags, td.Tags)
	r.out.TaskDefinition = td.ARN
	r.step(resDefinition, a, "task definition %s", revisionName(td.ARN))
	return nil
}

func (r *run) service(ctx context.Context) error {
	want := r.d.service
	if want == nil {
		return nil
	}
	want.TaskDefinition = r.d.definition.ARN
	want.Tags = merged(want.Tags, map[string]string{tagRevision: revisionName(want.TaskDefinition)})
	if r.d.alternate != nil {
		want.LoadBalancers[0].Rule = r.out.Rule
	}
	a := r.action(resService, r.d.ref.Service)
	var got Service
	var err error
	switch {
	case r.o.service == nil:
		got, err = r.create(ctx)
	case a == Keep:
		got = *r.o.service
	default:
		send := *want
		if r.d.scaling != nil {
			send.Desired = -1 // Application Auto Scaling owns it
		}
		// Only where nothing else would start one is a new deployment forced.
		force := r.plan.Rollout && r.o.service.TaskDefinition == want.TaskDefinition
		got, err = r.ports.Services.UpdateService(ctx, send, force)
	}
	if err != nil {
		return r.rejected(fmt.Errorf("keeping service %s: %w", r.d.ref.Service, err))
	}
	r.out.ServiceARN = got.ARN
	r.step(resService, a, "service %s runs %s", r.d.ref.Service, revisionName(want.TaskDefinition))
	return nil
}

// rejected turns ECS's refusal of the network that is asked for into a diagnosis.
func (r *run) rejected(err error) error {
	_, said, ok := strings.Cut(err.Error(), "InvalidParameterException: ")
	if !ok || !strings.Contains(said, "subnet") && !strings.Contains(said, "security group") {
		return err
	}
	return &Failure{Status: "NOT_STARTED", RolledBack: r.o.service != nil, Diagnosis: Diagnosis{Cause: CauseNetwork,
		Sentence: "ECS cannot use the network of the service: " + short(firstLine(said)),
		Fix:      "Correct network.subnets or network.security_groups: they must exist in the cluster's VPC. Nothing was rolled out."}}
}

// create makes the service. A service of that name that is still draining is waited for.
func (r *run) create(ctx context.Context) (Service, error) {
	for deadline := r.clock.Now().Add(2 * time.Minute); ; {
		got, err := r.ports.Services.CreateService(ctx, *r.d.service)
		if !errors.Is(err, ErrInUse) || r.clock.Now().After(deadline) {
			return got, err
		}
		if err := r.clock.Wait(ctx, 2*time.Second); err != nil {
			return Service{}, err
		}
	}
}

func (r *run) scaling(ctx context.Context) error {
	if r.d.scaling == nil {
		if r.o.scaling == nil || r.d.service == nil {
			return nil
		}
		if err := r.ports.Scaling.DeleteServiceScaling(ctx, r.d.ref); err != nil {
			return fmt.Errorf("taking the scaling of %s away: %w", r.d.ref.Service, err)
		}
		r.step(resScaling, Delete, "no scaling: the count is %d", r.d.service.Desired)
		return nil
	}
	a := r.action(resScaling, "")
	if a != Keep {
		want := *r.d.scaling
		if r.d.targetGroup != nil && r.d.rule != nil {
			l, err := r.ports.Listeners.Listener(ctx, r.d.rule.Listener)
			if err != nil {
				return fmt.Errorf("reading listener %s: %w", r.d.rule.Listener, err)
			}
			want.Label = resourceLabel(l.LoadBalancer, r.d.targetGroup.ARN)
		}
		if err := r.ports.Scaling.PutServiceScaling(ctx, r.d.ref, want); err != nil {
			return fmt.Errorf("setting the scaling of %s: %w", r.d.ref.Service, err)
		}
	}
	r.step(resScaling, a, "scaling from %d to %d tasks", r.d.scaling.Min, r.d.scaling.Max)
	return nil
}

// primary is the id of the rollout that is the service's present one.
func (s Service) primary() string {
	for _, r := range s.Rollouts {
		if r.Status == "PRIMARY" {
			return r.ID
		}
	}
	return ""
}

// settled says that nothing is being rolled out.
func (s Service) settled() bool {
	for _, r := range s.Rollouts {
		if r.Status == "PRIMARY" {
			return r.State == "COMPLETED"
		}
	}
	return false
}

// counted waits, where only the count was changed, until so many tasks run.
func (r *run) counted(ctx context.Context) error {
	want := r.d.service.Desired
	if r.d.scaling != nil || r.d.service.Daemon || want == r.o.service.Desired {
		return nil
	}
	return r.awaitCount(ctx, r.d.ref, want, cmp.Or(r.d.target.Spec.Deployment.Timeout, defaultTimeout), r.report)
}

// rollout follows the service's deployment, whoever started it, if one goes on.
func (r *run) rollout(ctx context.Context) error {
	if r.d.service == nil {
		return nil
	}
	f := following{ref: r.d.ref, definition: r.d.definition, targetGroup: r.d.targetGroup, alternate: r.d.alternate, report: r.report,
		grace: r.d.service.GracePeriod, timeout: cmp.Or(r.d.target.Spec.Deployment.Timeout, defaultTimeout) + shiftTime(r.d.target.Spec.Deployment), rollback: r.d.service.Rollback}
	if r.o.service != nil && !r.plan.Rollout && r.o.service.settled() {
		if len(r.o.deployments) > 0 {
			r.out.Deployment = r.o.deployments[0]
		}
		return r.counted(ctx)
	}
	if r.o.service != nil && r.plan.Rollout {
		f.before, f.old, f.events = r.o.service.primary(), r.o.deployments, r.o.service.Events
	}
	dep, err := r.follow(ctx, f)
	r.out.Deployment, r.out.Revision, r.out.Status = dep.ARN, dep.Target, dep.Status
	return err
}
