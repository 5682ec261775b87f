// Package scheduler is EventBridge Scheduler of the local AWS: schedules at a time, at a rate and by
// cron in a time zone, with flexible windows, whose targets are really invoked.
package scheduler

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/delivery"
	"github.com/slipway-ecs/slipway/internal/local/schedule"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/schedulerapi"
)

// Schedule is a schedule. Key: group, a slash, name.
type Schedule struct {
	API    schedulerapi.GetScheduleOutput
	NextAt time.Time // the scheduled time; zero: never again
	FireAt time.Time // when it is invoked, in the flexible window behind NextAt
}

// Group is a schedule group. Key: name.
type Group struct {
	API  schedulerapi.GetScheduleGroupOutput
	Tags []schedulerapi.Tag
}

// Config is what the service needs to know.
type Config struct {
	DB              *state.DB
	Clock           clock.Clock
	Log             *slog.Logger
	Deliverer       *delivery.Deliverer
	Region, Account string
}

// Service is Scheduler. Its loop is Run.
type Service struct {
	c         Config
	schedules *state.Table[Schedule]
	groups    *state.Table[Group]
}

const (
	tableSchedules = "scheduler.schedules"
	defaultGroup   = "default"
)

// Register adds the operations to svc and the tables to the store.
func Register(svc *wire.Service, c Config) (*Service, error) {
	s := &Service{c: c}
	var err error
	if s.schedules, err = state.NewTable[Schedule](c.DB, tableSchedules); err != nil {
		return nil, err
	}
	if s.groups, err = state.NewTable[Group](c.DB, "scheduler.groups"); err != nil {
		return nil, err
	}
	if err := c.DB.Update(func(tx *state.Tx) error {
		if _, ok := s.groups.Get(tx, defaultGroup); !ok {
			s.groups.Put(tx, defaultGroup, s.newGroup(defaultGroup, nil))
		}
		return nil
	}); err != nil {
		return nil, err
	}
	const targets = "targets are ECS, SQS, SNS, CloudWatch Logs and event buses"
	wire.Handle(svc, "CreateSchedule", s.create, wire.Partly(targets))
	wire.Handle(svc, "UpdateSchedule", s.update, wire.Partly(targets))
	wire.Handle(svc, "GetSchedule", s.get)
	wire.Handle(svc, "DeleteSchedule", s.delete)
	wire.Handle(svc, "ListSchedules", s.list)
	wire.Handle(svc, "CreateScheduleGroup", s.createGroup)
	wire.Handle(svc, "GetScheduleGroup", s.getGroup)
	wire.Handle(svc, "DeleteScheduleGroup", s.deleteGroup)
	wire.Handle(svc, "ListScheduleGroups", s.listGroups)
	wire.Handle(svc, "TagResource", s.tag)
	wire.Handle(svc, "UntagResource", s.untag)
	wire.Handle(svc, "ListTagsForResource", s.tags)
	return s, nil
}

var validName = regexp.MustCompile(`^[0-9a-zA-Z-_.]{1,64}$`)

func invalid(format string, args ...any) error {
	return wire.Errorf("ValidationException", format, args...)
}

func missing(format string, args ...any) error {
	return wire.Errorf("ResourceNotFoundException", format, args...)
}

func (s *Service) arn(kind, name string) *string {
	return wire.Ptr(fmt.Sprintf("arn:aws:scheduler:%s:%s:%s/%s", s.c.Region, s.c.Account, kind, name))
}

func check(api *schedulerapi.GetScheduleOutput) (func(time.Time) time.Time, error) {
	next, err := schedule.Parse(wire.Value(api.ScheduleExpression), cmp.Or(wire.Value(api.ScheduleExpressionTimezone), "UTC"))
	t, w := api.Target, api.FlexibleTimeWindow
	switch {
	case err != nil && strings.Contains(err.Error(), "time zone"):
		return nil, invalid("Invalid Schedule Expression Timezone %s.", wire.Value(api.ScheduleExpressionTimezone))
	case err != nil:
		return nil, invalid("Invalid Schedule Expression %s.", wire.Value(api.ScheduleExpression))
	case wire.Value(w.Mode) != "OFF" && wire.Value(w.Mode) != "FLEXIBLE":
		return nil, invalid("1 validation error detected: Value '%s' at 'flexibleTimeWindow.mode' failed to satisfy constraint: Member must satisfy enum value set: [OFF, FLEXIBLE]", wire.Value(w.Mode))
	case wire.Value(w.Mode) == "FLEXIBLE" && (wire.Value(w.MaximumWindowInMinutes) < 1 || wire.Value(w.MaximumWindowInMinutes) > 1440):
		return nil, invalid("MaximumWindowInMinutes must be between 1 and 1440 for the mode FLEXIBLE.")
	case wire.Value(w.Mode) == "OFF" && w.MaximumWindowInMinutes != nil:
		return nil, invalid("MaximumWindowInMinutes cannot be set for the mode OFF.")
	case !strings.HasPrefix(wire.Value(t.RoleArn), "arn:aws:iam::"):
		return nil, invalid("1 validation error detected: Value '%s' at 'target.roleArn' failed to satisfy constraint: Member must be the ARN of a role", wire.Value(t.RoleArn))
	case strings.Contains(wire.Value(t.Arn), ":ecs:") && t.EcsParameters == nil:
		return nil, invalid("EcsParameters must be specified for the target %s.", wire.Value(t.Arn))
	case strings.Contains(wire.Value(t.Arn), ":event-bus/") && t.EventBridgeParameters == nil:
		return nil, invalid("EventBridgeParameters must be specified for the target %s.", wire.Value(t.Arn))
	}
	if err := delivery.Supported(wire.Value(t.Arn)); err != nil {
		return nil, invalid("%s", err)
	}
	return next, nil
}

// plan sets when a schedule is next due, strictly after a time.
func plan(sc *Schedule, next func(time.Time) time.Time, after time.Time) {
	if start := wire.TimeOf(sc.API.StartDate); start.After(after) {
		after = start.Add(-time.Second)
	}
	sc.NextAt = next(after)
	if end := wire.TimeOf(sc.API.EndDate); !end.IsZero() && sc.NextAt.After(end) {
		sc.NextAt = time.Time{}
	}
	sc.FireAt = sc.NextAt
	if n := wire.Value(sc.API.FlexibleTimeWindow.MaximumWindowInMinutes); n > 0 && !sc.NextAt.IsZero() {
		// Somewhere in the window: the same place for the same schedule and time, so that it can be foretold.
		h := fnv.New64a()
		_, _ = h.Write([]byte(wire.Value(sc.API.Arn) + sc.NextAt.String())) // never fails
		sc.FireAt = sc.NextAt.Add(time.Duration(h.Sum64() % uint64(time.Duration(n)*time.Minute)))
	}
}

func (s *Service) create(_ context.Context, in *schedulerapi.CreateScheduleInput) (*schedulerapi.CreateScheduleOutput, error) {
	api := schedulerapi.GetScheduleOutput{Name: in.Name, GroupName: in.GroupName, ActionAfterCompletion: in.ActionAfterCompletion, Description: in.Description, StartDate: in.StartDate, EndDate: in.EndDate,
		FlexibleTimeWindow: in.FlexibleTimeWindow, KmsKeyArn: in.KmsKeyArn, ScheduleExpression: in.ScheduleExpression, ScheduleExpressionTimezone: in.ScheduleExpressionTimezone, State: in.State, Target: in.Target}
	arn, err := s.put(api, true)
	return &schedulerapi.CreateScheduleOutput{ScheduleArn: arn}, err
}

func (s *Service) update(_ context.Context, in *schedulerapi.UpdateScheduleInput) (*schedulerapi.UpdateScheduleOutput, error) {
	api := schedulerapi.GetScheduleOutput{Name: in.Name, GroupName: in.GroupName, ActionAfterCompletion: in.ActionAfterCompletion, Description: in.Description, StartDate: in.StartDate, EndDate: in.EndDate,
		FlexibleTimeWindow: in.FlexibleTimeWindow, KmsKeyArn: in.KmsKeyArn, ScheduleExpression: in.ScheduleExpression, ScheduleExpressionTimezone: in.ScheduleExpressionTimezone, State: in.State, Target: in.Target}
	arn, err := s.put(api, false)
	return &schedulerapi.UpdateScheduleOutput{ScheduleArn: arn}, err
}

func (s *Service) put(api schedulerapi.GetScheduleOutput, create bool) (*string, error) {
	group, name := cmp.Or(wire.Value(api.GroupName), defaultGroup), wire.Value(api.Name)
	if !validName.MatchString(name) {
		return nil, invalid("1 validation error detected: Value '%s' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[0-9a-zA-Z-_.]+$", name)
	}
	next, err := check(&api)
	if err != nil {
		return nil, err
	}
	now := s.c.Clock.Now()
	api.GroupName, api.Arn, api.State = &group, s.arn("schedule", group+"/"+name), wire.Ptr(cmp.Or(wire.Value(api.State), "ENABLED"))
	api.ActionAfterCompletion, api.ScheduleExpressionTimezone = wire.Ptr(cmp.Or(wire.Value(api.ActionAfterCompletion), "NONE")), wire.Ptr(cmp.Or(wire.Value(api.ScheduleExpressionTimezone), "UTC"))
	if api.Target.RetryPolicy == nil {
		t := *api.Target
		t.RetryPolicy = &schedulerapi.RetryPolicy{MaximumEventAgeInSeconds: wire.Int32(86400), MaximumRetryAttempts: wire.Int32(delivery.DefaultRetries)}
		api.Target = &t
	}
	api.CreationDate, api.LastModificationDate = wire.Timestamp(now), wire.Timestamp(now)
	sc := &Schedule{API: api}
	plan(sc, next, now)
	return api.Arn, s.c.DB.Update(func(tx *state.Tx) error {
		if _, ok := s.groups.Get(tx, group); !ok {
			return missing("Schedule group %s does not exist.", group)
		}
		old, there := s.schedules.Get(tx, group+"/"+name)
		switch {
		case create && there:
			return wire.Errorf("ConflictException", "Schedule %s already exists.", name)
		case !create && !there:
			return missing("Schedule %s does not exist.", name)
		case there:
			sc.API.CreationDate = old.API.CreationDate
		}
		s.schedules.Put(tx, group+"/"+name, sc)
		return nil
	})
}

func (s *Service) get(_ context.Context, in *schedulerapi.GetScheduleInput) (*schedulerapi.GetScheduleOutput, error) {
	out := &schedulerapi.GetScheduleOutput{}
	return out, s.c.DB.View(func(tx *state.Tx) error {
		sc, ok := s.schedules.Get(tx, cmp.Or(wire.Value(in.GroupName), defaultGroup)+"/"+*in.Name)
		if !ok {
			return missing("Schedule %s does not exist.", *in.Name)
		}
		*out = sc.API
		return nil
	})
}

func (s *Service) delete(_ context.Context, in *schedulerapi.DeleteScheduleInput) (*schedulerapi.DeleteScheduleOutput, error) {
	return &schedulerapi.DeleteScheduleOutput{}, s.c.DB.Update(func(tx *state.Tx) error {
		if !s.schedules.Delete(tx, cmp.Or(wire.Value(in.GroupName), defaultGroup)+"/"+*in.Name) {
			return missing("Schedule %s does not exist.", *in.Name)
		}
		return nil
	})
}

func limit(n *int32) int { return int(cmp.Or(wire.Value(n), 100)) }

func (s *Service) list(_ context.Context, in *schedulerapi.ListSchedulesInput) (*schedulerapi.ListSchedulesOutput, error) {
	out := &schedulerapi.ListSchedulesOutput{Schedules: []schedulerapi.ScheduleSummary{}}
	return out, s.c.DB.View(func(tx *state.Tx) error {
		for key, sc := range s.schedules.From(tx, wire.Value(in.NextToken)) {
			a := sc.API
			if in.GroupName != nil && *in.GroupName != *a.GroupName || !strings.HasPrefix(*a.Name, wire.Value(in.NamePrefix)) || in.State != nil && *in.State != *a.State {
				continue
			}
			if len(out.Schedules) == limit(in.MaxResults) {
				out.NextToken = wire.Ptr(key)
				break
			}
			out.Schedules = append(out.Schedules, schedulerapi.ScheduleSummary{Arn: a.Arn, Name: a.Name, GroupName: a.GroupName, State: a.State, CreationDate: a.CreationDate,
				LastModificationDate: a.LastModificationDate, Target: &schedulerapi.TargetSummary{Arn: a.Target.Arn}})
		}
		return nil
	})
}

func (s *Service) newGroup(name string, tags []schedulerapi.Tag) *Group {
	now := wire.Timestamp(s.c.Clock.Now())
	return &Group{API: schedulerapi.GetScheduleGroupOutput{Name: &name, Arn: s.arn("schedule-group", name), State: wire.String("ACTIVE"), CreationDate: now, LastModificationDate: now}, Tags: tags}
}

func (s *Service) createGroup(_ context.Context, in *schedulerapi.CreateScheduleGroupInput) (*schedulerapi.CreateScheduleGroupOutput, error) {
	if !validName.MatchString(*in.Name) {
		return nil, invalid("1 validation error detected: Value '%s' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[0-9a-zA-Z-_.]+$", *in.Name)
	}
	g := s.newGroup(*in.Name, in.Tags)
	return &schedulerapi.CreateScheduleGroupOutput{ScheduleGroupArn: g.API.Arn}, s.c.DB.Update(func(tx *state.Tx) error {
		if _, ok := s.groups.Get(tx, *in.Name); ok {
			return wire.Errorf("ConflictException", "Schedule group %s already exists.", *in.Name)
		}
		s.groups.Put(tx, *in.Name, g)
		return nil
	})
}

func (s *Service) getGroup(_ context.Context, in *schedulerapi.GetScheduleGroupInput) (*schedulerapi.GetScheduleGroupOutput, error) {
	out := &schedulerapi.GetScheduleGroupOutput{}
	return out, s.c.DB.View(func(tx *state.Tx) error {
		g, ok := s.groups.Get(tx, *in.Name)
		if !ok {
			return missing("Schedule group %s does not exist.", *in.Name)
		}
		*out = g.API
		return nil
	})
}

func (s *Service) deleteGroup(_ context.Context, in *schedulerapi.DeleteScheduleGroupInput) (*schedulerapi.DeleteScheduleGroupOutput, error) {
	if *in.Name == defaultGroup {
		return nil, invalid("Cannot delete default schedule group.")
	}
	return &schedulerapi.DeleteScheduleGroupOutput{}, s.c.DB.Update(func(tx *state.Tx) error {
		if !s.groups.Delete(tx, *in.Name) {
			return missing("Schedule group %s does not exist.", *in.Name)
		}
		var keys []string
		for k := range s.schedules.Prefix(tx, *in.Name+"/") {
			keys = append(keys, k)
		}
		for _, k := range keys {
			s.schedules.Delete(tx, k)
		}
		return nil
	})
}

func (s *Service) listGroups(_ context.Context, in *schedulerapi.ListScheduleGroupsInput) (*schedulerapi.ListScheduleGroupsOutput, error) {
	out := &schedulerapi.ListScheduleGroupsOutput{ScheduleGroups: []schedulerapi.ScheduleGroupSummary{}}
	return out, s.c.DB.View(func(tx *state.Tx) error {
		for name, g := range s.groups.Prefix(tx, wire.Value(in.NamePrefix)) {
			if name < wire.Value(in.NextToken) {
				continue
			}
			if len(out.ScheduleGroups) == limit(in.MaxResults) {
				out.NextToken = wire.Ptr(name)
				break
			}
			out.ScheduleGroups = append(out.ScheduleGroups, schedulerapi.ScheduleGroupSummary(g.API))
		}
		return nil
	})
}

func (s *Service) retag(arn *string, f func([]schedulerapi.Tag) []schedulerapi.Tag) error {
	_, name, _ := strings.Cut(wire.Value(arn), ":schedule-group/")
	return s.c.DB.Update(func(tx *state.Tx) error {
		if !s.groups.Modify(tx, name, func(g *Group) { g.Tags = f(slices.Clone(g.Tags)) }) {
			return missing("Resource %s does not exist.", wire.Value(arn))
		}
		return nil
	})
}

func (s *Service) tag(_ context.Context, in *schedulerapi.TagResourceInput) (*schedulerapi.TagResourceOutput, error) {
	return &schedulerapi.TagResourceOutput{}, s.retag(in.ResourceArn, func(tags []schedulerapi.Tag) []schedulerapi.Tag {
		for _, t := range in.Tags {
			tags = append(slices.DeleteFunc(tags, func(o schedulerapi.Tag) bool { return *o.Key == *t.Key }), t)
		}
		return tags
	})
}

func (s *Service) untag(_ context.Context, in *schedulerapi.UntagResourceInput) (*schedulerapi.UntagResourceOutput, error) {
	return &schedulerapi.UntagResourceOutput{}, s.retag(in.ResourceArn, func(tags []schedulerapi.Tag) []schedulerapi.Tag {
		return slices.DeleteFunc(tags, func(o schedulerapi.Tag) bool { return slices.Contains(in.TagKeys, *o.Key) })
	})
}

func (s *Service) tags(_ context.Context, in *schedulerapi.ListTagsForResourceInput) (*schedulerapi.ListTagsForResourceOutput, error) {
	out := &schedulerapi.ListTagsForResourceOutput{Tags: []schedulerapi.Tag{}}
	_, name, _ := strings.Cut(wire.Value(in.ResourceArn), ":schedule-group/")
	return out, s.c.DB.View(func(tx *state.Tx) error {
		g, ok := s.groups.Get(tx, name)
		if !ok {
			return missing("Resource %s does not exist.", wire.Value(in.ResourceArn))
		}
		out.Tags = append(out.Tags, g.Tags...)
		return nil
	})
}

// Run invokes the targets of schedules until ctx ends. Of the times that passed while nothing ran, one
// is made up for.
func (s *Service) Run(ctx context.Context) error {
	l := schedule.Loop[Schedule]{DB: s.c.DB, Table: s.schedules, Name: tableSchedules, Clock: s.c.Clock, Fire: s.fire, At: func(sc *Schedule) time.Time {
		if *sc.API.State != "ENABLED" || sc.NextAt.IsZero() {
			return time.Time{}
		}
		return sc.FireAt
	}}
	return l.Run(ctx)
}

func (s *Service) fire(tx *state.Tx, key string, old *Schedule, now time.Time) error {
	next, err := check(&old.API)
	if err != nil {
		return err // it was checked when it was put
	}
	d, err := s.delivery(old)
	if err != nil {
		s.c.Log.Warn("a schedule's target cannot be invoked", "schedule", *old.API.Arn, "error", err)
	} else {
		s.c.Deliverer.Add(tx, d)
	}
	sc := *old
	plan(&sc, next, old.NextAt)
	if !sc.NextAt.IsZero() && !sc.FireAt.After(now) {
		plan(&sc, next, now)
	}
	if sc.NextAt.IsZero() && *sc.API.ActionAfterCompletion == "DELETE" {
		s.schedules.Delete(tx, key)
		return nil
	}
	s.schedules.Put(tx, key, &sc)
	return nil
}

// delivery is the invocation of a schedule's target, with the context attributes of
// https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html filled in.
func (s *Service) delivery(sc *Schedule) (delivery.Delivery, error) {
	t := sc.API.Target
	at := sc.NextAt.UTC().Format("2006-01-02T15:04:05Z")
	id := strconv.FormatInt(sc.NextAt.UnixNano(), 36)
	body := strings.NewReplacer("<aws.scheduler.schedule-arn>", *sc.API.Arn, "<aws.scheduler.scheduled-time>", at, "<aws.scheduler.execution-id>", id, "<aws.scheduler.attempt-number>", "1").Replace(wire.Value(t.Input))
	d := delivery.Delivery{Source: *sc.API.Arn, TargetARN: *t.Arn, Body: body, Retries: int(wire.Value(t.RetryPolicy.MaximumRetryAttempts)), MaxAge: time.Duration(wire.Value(t.RetryPolicy.MaximumEventAgeInSeconds)) * time.Second}
	if t.DeadLetterConfig != nil {
		d.DLQ = wire.Value(t.DeadLetterConfig.Arn)
	}
	if t.SqsParameters != nil {
		d.GroupID = wire.Value(t.SqsParameters.MessageGroupId)
	}
	switch {
	case t.EcsParameters != nil:
		var err error
		d.Run, err = delivery.RunTask(*t.Arn, t.EcsParameters, body, "chronos-schedule/"+*sc.API.Name)
		return d, err
	case t.EventBridgeParameters != nil:
		detail := any(map[string]any{})
		if body != "" {
			if err := json.Unmarshal([]byte(body), &detail); err != nil {
				return d, fmt.Errorf("the input is not JSON: %w", err)
			}
		}
		raw, err := json.Marshal(map[string]any{"version": "0", "id": id, "detail-type": wire.Value(t.EventBridgeParameters.DetailType), "source": wire.Value(t.EventBridgeParameters.Source),
			"account": s.c.Account, "time": at, "region": s.c.Region, "resources": []string{*sc.API.Arn}, "detail": detail})
		d.Body = string(raw)
		return d, err
	}
	d.Body = cmp.Or(d.Body, "{}")
	return d, nil
}
