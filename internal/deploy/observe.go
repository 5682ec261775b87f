package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// observed is what AWS has of a service. Every resource may be missing.
type observed struct {
	service       *Service
	definition    *TaskDefinition // what the service runs
	reusable      *TaskDefinition // an active revision with the wanted content
	targetGroups  []TargetGroup   // made for the service
	rules         []Rule          // that forward to one of them, on whatever listener
	live          []Rule          // of the wanted listener
	logGroup      *LogGroup
	executionRole *Role
	taskRole      *Role
	trafficRole   *Role
	volumeRole    *Role
	schedule      *Schedule
	scheduleRole  *Role
	registries    []Registry // of this service, in Cloud Map
	scaling       *ServiceScaling
	alarms        []Alarm
	churn         *EventRule
	deployments   []string // ARNs of the newest service deployments
}

// found makes nil of what is not there.
func found[T any](v T, err error) (*T, error) {
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &v, nil
}

// observe reads everything a service of this name may have.
func (e *Engine) observe(ctx context.Context, ref Ref) (o observed, err error) {
	if o.service, err = found(e.ports.Services.Service(ctx, ref)); err != nil {
		return o, fmt.Errorf("reading service %s: %w", ref.Service, err)
	}
	if o.service != nil && o.service.TaskDefinition != "" {
		if o.definition, err = found(e.ports.TaskDefinitions.TaskDefinition(ctx, o.service.TaskDefinition)); err != nil {
			return o, fmt.Errorf("reading task definition %s: %w", o.service.TaskDefinition, err)
		}
	}
	if o.service != nil {
		list, err := e.ports.Deployments.Deployments(ctx, ref, 10)
		if err != nil {
			return o, fmt.Errorf("listing service deployments: %w", err)
		}
		for _, d := range list {
			o.deployments = append(o.deployments, d.ARN)
		}
	}
	if o.targetGroups, err = e.ports.TargetGroups.TargetGroups(ctx, ref.targetGroupMarker()); err != nil {
		return o, fmt.Errorf("reading target groups: %w", err)
	}
	for _, tg := range o.targetGroups {
		rules, err := e.ports.Rules.RulesOf(ctx, tg.ARN, tg.LoadBalancers)
		if err != nil {
			return o, fmt.Errorf("reading the rules of target group %s: %w", tg.Name, err)
		}
		for _, r := range rules {
			if !slices.ContainsFunc(o.rules, func(x Rule) bool { return x.ARN == r.ARN }) {
				o.rules = append(o.rules, r)
			}
		}
	}
	if o.executionRole, err = found(e.ports.Roles.Role(ctx, ref.executionRoleName())); err != nil {
		return o, fmt.Errorf("reading the execution role: %w", err)
	}
	if o.taskRole, err = found(e.ports.Roles.Role(ctx, ref.taskRoleName())); err != nil {
		return o, fmt.Errorf("reading the task role: %w", err)
	}
	if o.trafficRole, err = found(e.ports.Roles.Role(ctx, ref.trafficRoleName())); err != nil {
		return o, fmt.Errorf("reading the role that shifts traffic: %w", err)
	}
	if o.volumeRole, err = found(e.ports.Roles.Role(ctx, ref.volumeRoleName())); err != nil {
		return o, fmt.Errorf("reading the role that makes volumes: %w", err)
	}
	if o.scaling, err = found(e.ports.Scaling.ServiceScaling(ctx, ref)); err != nil {
		return o, fmt.Errorf("reading the scaling of %s: %w", ref.Service, err)
	}
	if o.alarms, err = e.ports.Alarms.Alarms(ctx, ref.alarmPrefix()); err != nil {
		return o, fmt.Errorf("reading the alarms of %s: %w", ref.Service, err)
	}
	if err := e.observeChurn(ctx, ref, &o); err != nil {
		return o, err
	}
	if o.service != nil && o.service.Registry != nil {
		err = e.observeRegistries(ctx, ref, &o)
	}
	return o, err
}

// lookback is how many revisions of a family are searched for one with the wanted content: enough
// for a change that is taken back, few enough for the read quota.
const lookback = 10

// observeFor reads, beside the service, what the plan for d needs.
func (e *Engine) observeFor(ctx context.Context, d desired) (observed, error) {
	o, err := e.observe(ctx, d.ref)
	if err != nil {
		return o, err
	}
	if d.logGroup != nil {
		if o.logGroup, err = found(e.ports.Logs.LogGroup(ctx, d.logGroup.Name)); err != nil {
			return o, fmt.Errorf("reading log group %s: %w", d.logGroup.Name, err)
		}
	}
	if d.rule != nil {
		if o.live, err = e.ports.Rules.Rules(ctx, d.rule.Listener); err != nil {
			return o, fmt.Errorf("reading the listener's rules: %w", err)
		}
		for _, r := range o.live { // one that somebody points elsewhere is still the service's
			if r.Owner == d.ref.owner() && !slices.ContainsFunc(o.rules, func(x Rule) bool { return x.ARN == r.ARN }) && o.rule(r.Listener) == nil {
				o.rules = append(o.rules, r)
			}
		}
	}
	if d.registry != nil && o.registries == nil {
		if err := e.observeRegistries(ctx, d.ref, &o); err != nil {
			return o, err
		}
	}
	if d.service == nil {
		if err := e.observeSchedule(ctx, d.ref, &o); err != nil {
			return o, err
		}
	}
	o.reusable, err = e.reusable(ctx, d, o)
	return o, err
}

// reusable finds a revision with the wanted content, so that nothing is registered for nothing.
func (e *Engine) reusable(ctx context.Context, d desired, o observed) (*TaskDefinition, error) {
	want := d.definition.Tags[tagContent]
	current := o.definition
	stranger := current != nil && o.stranger()
	if current != nil && !stranger && current.Tags[tagContent] == want && current.Status != "INACTIVE" {
		return current, nil
	}
	arns, err := e.ports.TaskDefinitions.Revisions(ctx, d.definition.Family)
	if err != nil {
		return nil, fmt.Errorf("listing revisions of %s: %w", d.definition.Family, err)
	}
	for _, arn := range arns[:min(len(arns), lookback)] {
		td, err := found(e.ports.TaskDefinitions.TaskDefinition(ctx, arn))
		if err != nil {
			return nil, fmt.Errorf("reading task definition %s: %w", arn, err)
		}
		if stranger && arn == current.ARN {
			continue
		}
		if td != nil && td.Tags[tagContent] == want && td.Tags[tagOwner] == d.ref.owner() {
			return td, nil
		}
	}
	return nil, nil
}

// stranger says that the service runs a revision somebody else registered after the one Slipway had it
// run: its tags may be copied from that one and say nothing of its content. An older revision is one
// that ECS or somebody went back to.
func (o observed) stranger() bool {
	number := func(name string) (string, int) {
		family, n, _ := strings.Cut(revisionName(name), ":")
		revision, err := strconv.Atoi(n)
		if err != nil {
			return family, 0
		}
		return family, revision
	}
	if o.service == nil || o.service.Tags[tagRevision] == "" {
		return false
	}
	family, ours := number(o.service.Tags[tagRevision])
	runs, theirs := number(o.service.TaskDefinition)
	return family != runs || theirs > ours
}

func (o observed) targetGroup(name string) *TargetGroup {
	for i := range o.targetGroups {
		if o.targetGroups[i].Name == name {
			return &o.targetGroups[i]
		}
	}
	return nil
}

// rule is the service's rule on a listener.
func (o observed) rule(listener string) *Rule {
	for i := range o.rules {
		if o.rules[i].Listener == listener {
			return &o.rules[i]
		}
	}
	return nil
}
