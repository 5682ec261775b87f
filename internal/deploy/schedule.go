package deploy

import (
	"context"
	"fmt"
	"strings"

	"github.com/slipway-ecs/slipway/internal/service"
)

const (
	resSchedule     = "schedule"
	resScheduleRole = "schedule role"
)

// Schedules are EventBridge Scheduler's schedules, which start jobs.
type Schedules interface {
	// Schedule returns ErrNotFound for one that is not there.
	Schedule(ctx context.Context, name string) (Schedule, error)
	// PutSchedule creates it or replaces it whole.
	PutSchedule(ctx context.Context, want Schedule) error
	DeleteSchedule(ctx context.Context, name string) error
}

// Schedule starts one task of a definition at its times, which are UTC.
// https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html
type Schedule struct {
	Name           string // at most 64 characters, unique in its account and region
	Expression     string // rate(…), cron(…) or at(…)
	Cluster        string // ARN
	TaskDefinition string // ARN with revision
	Role           string // ARN of the role the scheduler takes
	Service        Service
}

func (r Ref) scheduleName() string     { return trimmed(r.Service, 64-9, "") + "-" + r.mark() }
func (r Ref) scheduleRoleName() string { return r.roleName("schedule") }

// schedule is a job's, nil for one that is started on demand.
func schedule(t Target, d desired, tags map[string]string) *Schedule {
	if t.Spec.Schedule == "" {
		return nil
	}
	return &Schedule{Name: d.ref.scheduleName(), Expression: t.Spec.Schedule, Cluster: t.Infra.arn("ecs", "cluster/"+d.ref.Cluster),
		Role: t.Infra.arn("iam", "role/"+d.ref.scheduleRoleName()), Service: *ecsService(t, d.ref, tags)}
}

// scheduleRole lets the scheduler start this job's tasks in this cluster, and nothing else.
// https://docs.aws.amazon.com/scheduler/latest/UserGuide/setting-up.html#setting-up-execution-role
func scheduleRole(in Infra, d desired, tags map[string]string) *Role {
	name := d.ref.scheduleRoleName()
	trust := policyDocument{Statement: []policyStatement{{Effect: "Allow", Principal: map[string]string{"Service": "scheduler.amazonaws.com"}, Action: []string{"sts:AssumeRole"},
		Condition: map[string]map[string]string{"StringEquals": {"aws:SourceAccount": in.Account}}}}}
	pass := []string{}
	for _, role := range []string{d.definition.ExecutionRole, d.definition.TaskRole} {
		if role != "" {
			pass = append(pass, role)
		}
	}
	policy := policyDocument{Statement: []policyStatement{
		{Sid: "Run", Effect: "Allow", Action: []string{"ecs:RunTask"}, Resource: []string{in.arn("ecs", "task-definition/"+d.definition.Family+":*")},
			Condition: map[string]map[string]string{"ArnLike": {"ecs:cluster": in.arn("ecs", "cluster/"+d.ref.Cluster)}}},
		{Sid: "Tag", Effect: "Allow", Action: []string{"ecs:TagResource"}, Resource: []string{in.arn("ecs", "task/"+d.ref.Cluster+"/*")},
			Condition: map[string]map[string]string{"StringEquals": {"ecs:CreateAction": "RunTask"}}},
	}}
	if len(pass) > 0 {
		policy.Statement = append(policy.Statement, policyStatement{Sid: "Pass", Effect: "Allow", Action: []string{"iam:PassRole"}, Resource: pass,
			Condition: map[string]map[string]string{"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}})
	}
	return &Role{Name: name, ARN: in.arn("iam", "role/"+name), Trust: trust.String(), Policy: policy.String(), Tags: tags}
}

func scheduleChange(d desired, o observed) (Change, bool) {
	switch {
	case d.schedule == nil && o.schedule == nil:
		return Change{}, false
	case d.schedule == nil:
		return Change{Resource: resSchedule, Name: o.schedule.Name, Action: Delete}, true
	case o.schedule == nil:
		return Change{Resource: resSchedule, Name: d.schedule.Name, Action: Create, Fields: []Field{{Path: "expression", To: d.schedule.Expression}}}, true
	}
	c := Change{Resource: resSchedule, Name: d.schedule.Name}
	have, want := o.schedule, d.schedule
	c.field("expression", have.Expression, want.Expression)
	to := d.definition.Family + " (new revision)"
	if o.reusable != nil {
		to = revisionName(o.reusable.ARN)
	}
	c.field("task_definition", revisionName(have.TaskDefinition), to)
	c.field("role", have.Role, want.Role)
	c.field("launch_type", have.Service.LaunchType, want.Service.LaunchType)
	c.field("capacity_provider_strategy", have.Service.CapacityProvider, want.Service.CapacityProvider)
	c.field("subnets", have.Service.Subnets, want.Service.Subnets)
	c.field("security_groups", have.Service.SecurityGroups, want.Service.SecurityGroups)
	return c, true
}

// schedule comes after the one-off tasks that go before: a job must not start what they prepare.
func (r *run) schedule(ctx context.Context) error {
	if r.d.schedule == nil {
		return nil
	}
	a := r.action(resSchedule, r.d.schedule.Name)
	if a != Keep {
		want := *r.d.schedule
		want.TaskDefinition = r.d.definition.ARN
		if r.ports.Schedules == nil {
			return refuse("not supported: schedules from here")
		}
		if err := r.ports.Schedules.PutSchedule(ctx, want); err != nil {
			return fmt.Errorf("putting schedule %s: %w", want.Name, err)
		}
	}
	r.step(resSchedule, a, "schedule %s: %s", r.d.schedule.Name, r.d.schedule.Expression)
	return nil
}

// observeSchedule reads the schedule that a job of this name may have, and its role.
func (e *Engine) observeSchedule(ctx context.Context, ref Ref, o *observed) (err error) {
	if e.ports.Schedules == nil {
		return nil
	}
	if o.schedule, err = found(e.ports.Schedules.Schedule(ctx, ref.scheduleName())); err != nil {
		return fmt.Errorf("reading schedule %s: %w", ref.scheduleName(), err)
	}
	if o.scheduleRole, err = found(e.ports.Roles.Role(ctx, ref.scheduleRoleName())); err != nil {
		return fmt.Errorf("reading the schedule's role: %w", err)
	}
	return nil
}

// checkSchedule refuses what the scheduler cannot start.
func checkSchedule(spec service.Spec) error {
	if spec.Schedule != "" && spec.Kind != service.KindJob {
		return refuse("only jobs have a schedule; %s is a %s", spec.Name, spec.Kind)
	}
	if spec.Schedule != "" && strings.EqualFold(spec.LaunchType, "EXTERNAL") {
		return refuse("not supported: schedules on external instances; run the job where they are")
	}
	return nil
}
