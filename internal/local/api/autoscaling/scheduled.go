package autoscaling

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/autoscalingapi"
)

// Scheduled is a scheduled action of a group. Key: group + "/" + name.
type Scheduled struct {
	API  autoscalingapi.ScheduledUpdateGroupAction
	Next time.Time // zero: never again
}

func (s *Service) registerScheduled(svc *wire.Service) {
	wire.Handle(svc, "PutScheduledUpdateGroupAction", s.putScheduled)
	wire.Handle(svc, "DescribeScheduledActions", s.describeScheduled)
	wire.Handle(svc, "DeleteScheduledAction", s.deleteScheduled)
}

// nextRun is the first time from start that a recurrence names: five fields of cron in a time zone
// (https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-scheduled-scaling.html).
func nextRun(a *autoscalingapi.ScheduledUpdateGroupAction, after time.Time) (time.Time, error) {
	start := wire.TimeOf(a.StartTime)
	if a.Recurrence == nil {
		if start.After(after) {
			return start, nil
		}
		return time.Time{}, nil
	}
	loc, err := time.LoadLocation(wire.Value(a.TimeZone))
	if err != nil {
		return time.Time{}, wire.Errorf("ValidationError", "The time zone %s is not known", *a.TimeZone)
	}
	spec, err := cron.ParseStandard(*a.Recurrence)
	if err != nil {
		return time.Time{}, wire.Errorf("ValidationError", "Given recurrence string:%s is invalid", *a.Recurrence)
	}
	if start.After(after) {
		after = start.Add(-time.Second)
	}
	at := spec.Next(after.In(loc))
	if end := wire.TimeOf(a.EndTime); !end.IsZero() && at.After(end) {
		return time.Time{}, nil
	}
	return at, nil
}

func (s *Service) putScheduled(_ context.Context, in *autoscalingapi.PutScheduledUpdateGroupActionInput) (*autoscalingapi.PutScheduledUpdateGroupActionOutput, error) {
	group, name, now := *in.AutoScalingGroupName, *in.ScheduledActionName, s.clock.Now()
	a := &Scheduled{API: autoscalingapi.ScheduledUpdateGroupAction{AutoScalingGroupName: &group, ScheduledActionName: &name, DesiredCapacity: in.DesiredCapacity, MinSize: in.MinSize, MaxSize: in.MaxSize,
		StartTime: or(in.StartTime, in.Time), EndTime: in.EndTime, Recurrence: in.Recurrence, TimeZone: in.TimeZone}}
	switch {
	case in.DesiredCapacity == nil && in.MinSize == nil && in.MaxSize == nil:
		return nil, wire.Errorf("ValidationError", "At least one of MinSize, MaxSize and DesiredCapacity must be specified.")
	case a.API.StartTime == nil && in.Recurrence == nil:
		return nil, wire.Errorf("ValidationError", "Either a start time or a recurrence must be specified.")
	case a.API.StartTime != nil && a.API.StartTime.Before(now):
		return nil, wire.Errorf("ValidationError", "Given start time is in the past")
	}
	var err error
	if a.Next, err = nextRun(&a.API, now); err != nil {
		return nil, err
	}
	if !a.Next.IsZero() {
		a.API.StartTime, a.API.Time = wire.Timestamp(a.Next), wire.Timestamp(a.Next)
	}
	a.API.ScheduledActionARN = wire.Ptr(fmt.Sprintf("arn:aws:autoscaling:%s:%s:scheduledUpdateGroupAction:%s:autoScalingGroupName/%s:scheduledActionName/%s", s.region, s.account, newID(), group, name))
	return &autoscalingapi.PutScheduledUpdateGroupActionOutput{}, s.db.Update(func(tx *state.Tx) error {
		if _, ok := s.groups.Get(tx, group); !ok {
			return noGroup(group)
		}
		s.scheduled.Put(tx, policyKey(group, name), a)
		s.groups.Modify(tx, group, func(*Group) {}) // wakes the loop
		return nil
	})
}

func (s *Service) describeScheduled(_ context.Context, in *autoscalingapi.DescribeScheduledActionsInput) (*autoscalingapi.DescribeScheduledActionsOutput, error) {
	out := &autoscalingapi.DescribeScheduledActionsOutput{ScheduledUpdateGroupActions: []autoscalingapi.ScheduledUpdateGroupAction{}}
	limit := int(cmp.Or(wire.Value(in.MaxRecords), 50))
	return out, s.db.View(func(tx *state.Tx) error {
		for key, a := range s.scheduled.From(tx, wire.Value(in.NextToken)) {
			at := wire.TimeOf(a.API.StartTime)
			if in.AutoScalingGroupName != nil && *in.AutoScalingGroupName != *a.API.AutoScalingGroupName || len(in.ScheduledActionNames) > 0 && !slices.Contains(in.ScheduledActionNames, *a.API.ScheduledActionName) ||
				in.StartTime != nil && at.Before(in.StartTime.Time) || in.EndTime != nil && at.After(in.EndTime.Time) {
				continue
			}
			if len(out.ScheduledUpdateGroupActions) == limit {
				out.NextToken = wire.Ptr(key)
				break
			}
			out.ScheduledUpdateGroupActions = append(out.ScheduledUpdateGroupActions, a.API)
		}
		return nil
	})
}

func (s *Service) deleteScheduled(_ context.Context, in *autoscalingapi.DeleteScheduledActionInput) (*autoscalingapi.DeleteScheduledActionOutput, error) {
	return &autoscalingapi.DeleteScheduledActionOutput{}, s.db.Update(func(tx *state.Tx) error {
		if !s.scheduled.Delete(tx, policyKey(*in.AutoScalingGroupName, *in.ScheduledActionName)) {
			return wire.Errorf("ValidationError", "Scheduled action name not found")
		}
		return nil
	})
}

// runScheduled carries out the actions that are due and returns when the next one is; zero if none is.
func (s *Service) runScheduled() (next time.Time, err error) {
	now := s.clock.Now()
	err = s.db.Update(func(tx *state.Tx) error {
		var due []string
		for key, a := range s.scheduled.All(tx) {
			switch {
			case a.Next.IsZero():
			case !a.Next.After(now):
				due = append(due, key)
			case next.IsZero() || a.Next.Before(next):
				next = a.Next
			}
		}
		for _, key := range due {
			a, _ := s.scheduled.Get(tx, key)
			if g, ok := s.groups.Get(tx, *a.API.AutoScalingGroupName); ok && !s.suspended(g, "ScheduledActions") {
				s.apply(tx, g, a)
			}
			at, err := nextRun(&a.API, now)
			if err != nil || a.API.Recurrence == nil {
				s.scheduled.Delete(tx, key) // an action without a recurrence runs once and is gone
				continue
			}
			s.scheduled.Modify(tx, key, func(a *Scheduled) { a.Next, a.API.StartTime, a.API.Time = at, wire.Timestamp(at), wire.Timestamp(at) })
			if !at.IsZero() && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
		return nil
	})
	return next, err
}

func (s *Service) apply(tx *state.Tx, g *Group, a *Scheduled) {
	lo, hi := or(a.API.MinSize, g.Spec.MinSize), or(a.API.MaxSize, g.Spec.MaxSize)
	want := min(max(*or(a.API.DesiredCapacity, g.Spec.DesiredCapacity), *lo), max(*hi, *lo))
	s.groups.Modify(tx, *g.Spec.AutoScalingGroupName, func(g *Group) {
		g.Spec.MinSize, g.Spec.MaxSize, g.Spec.DesiredCapacity = lo, wire.Ptr(max(*hi, *lo)), &want
		g.Reason = fmt.Sprintf("At %s a scheduled action update of AutoScalingGroup constraints to min: %d, max: %d, desired: %d. ", s.stamp(), *lo, *hi, want)
	})
}

// forget removes what belongs to a group that is gone.
func (s *Service) forget(tx *state.Tx, group string) {
	var policies, actions, refreshes []string
	for _, p := range s.policies.Prefix(tx, group+"/") {
		policies = append(policies, *p.API.PolicyName)
	}
	for key := range s.scheduled.Prefix(tx, group+"/") {
		actions = append(actions, key)
	}
	for key := range s.refreshes.Prefix(tx, group+"/") {
		refreshes = append(refreshes, key)
	}
	for _, name := range policies {
		s.DropPolicyIn(tx, group, name)
	}
	for _, key := range actions {
		s.scheduled.Delete(tx, key)
	}
	for _, key := range refreshes {
		s.refreshes.Delete(tx, key)
	}
	s.groups.Delete(tx, group)
}
