package events

import (
	"cmp"
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/delivery"
	pattern "github.com/slipway-ecs/slipway/internal/local/events"
	"github.com/slipway-ecs/slipway/internal/local/schedule"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/eventsapi"
)

var validName = regexp.MustCompile(`^[./\-_A-Za-z0-9]{1,256}$`)

func (s *Service) putRule(_ context.Context, in *eventsapi.PutRuleInput) (*eventsapi.PutRuleOutput, error) {
	name, bus := wire.Value(in.Name), busName(in.EventBusName)
	status := cmp.Or(wire.Value(in.State), "ENABLED")
	switch {
	case !validName.MatchString(name) || len(name) > 64:
		return nil, invalid("1 validation error detected: Value '%s' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\.\\-_A-Za-z0-9]+", name)
	case in.EventPattern == nil && in.ScheduleExpression == nil:
		return nil, invalid("Parameter(s) EventPattern or ScheduleExpression must be specified.")
	case in.ScheduleExpression != nil && bus != defaultBus:
		return nil, invalid("ScheduleExpression is supported only on the default event bus.")
	}
	if in.EventPattern != nil {
		if _, err := pattern.Parse(*in.EventPattern); err != nil {
			return nil, wire.Errorf("InvalidEventPatternException", "Event pattern is not valid. Reason: %s", err)
		}
	}
	now := s.c.Clock.Now()
	var next time.Time
	if in.ScheduleExpression != nil {
		f, err := schedule.Parse(*in.ScheduleExpression, "")
		if err != nil || strings.HasPrefix(*in.ScheduleExpression, "at(") {
			return nil, invalid("Parameter ScheduleExpression is not valid.")
		}
		next = f(now)
	}
	arn := s.arn("rule/" + name)
	if bus != defaultBus {
		arn = s.arn("rule/" + bus + "/" + name)
	}
	return &eventsapi.PutRuleOutput{RuleArn: &arn}, s.c.DB.Update(func(tx *state.Tx) error {
		if _, ok := s.buses.Get(tx, bus); !ok {
			return missing("Event bus %s does not exist.", bus)
		}
		r := Rule{Tags: in.Tags}
		if old, ok := s.rules.Get(tx, bus+"/"+name); ok {
			r = *old
		}
		r.API = eventsapi.Rule{Name: &name, Arn: &arn, EventBusName: &bus, Description: in.Description, EventPattern: in.EventPattern, RoleArn: in.RoleArn, ScheduleExpression: in.ScheduleExpression, State: &status}
		r.NextAt = next
		s.rules.Put(tx, bus+"/"+name, &r)
		return nil
	})
}

func (s *Service) rule(tx *state.Tx, name, bus *string) (*Rule, string, error) {
	key := busName(bus) + "/" + wire.Value(name)
	r, ok := s.rules.Get(tx, key)
	if !ok {
		return nil, "", missing("Rule %s does not exist on EventBus %s.", wire.Value(name), busName(bus))
	}
	return r, key, nil
}

func (s *Service) deleteRule(_ context.Context, in *eventsapi.DeleteRuleInput) (*eventsapi.DeleteRuleOutput, error) {
	return &eventsapi.DeleteRuleOutput{}, s.c.DB.Update(func(tx *state.Tx) error {
		r, key, err := s.rule(tx, in.Name, in.EventBusName)
		if err != nil {
			return nil // deleting what is not there succeeds
		}
		if len(r.Targets) > 0 {
			return invalid("Rule can't be deleted since it has targets.")
		}
		s.rules.Delete(tx, key)
		return nil
	})
}

func (s *Service) describeRule(_ context.Context, in *eventsapi.DescribeRuleInput) (*eventsapi.DescribeRuleOutput, error) {
	out := &eventsapi.DescribeRuleOutput{}
	return out, s.c.DB.View(func(tx *state.Tx) error {
		r, _, err := s.rule(tx, in.Name, in.EventBusName)
		if err == nil {
			*out = eventsapi.DescribeRuleOutput{Name: r.API.Name, Arn: r.API.Arn, EventBusName: r.API.EventBusName, Description: r.API.Description, EventPattern: r.API.EventPattern,
				RoleArn: r.API.RoleArn, ScheduleExpression: r.API.ScheduleExpression, State: r.API.State, CreatedBy: &s.c.Account}
		}
		return err
	})
}

func limitOf(n *int32) int { return int(cmp.Or(wire.Value(n), 100)) }

func (s *Service) listRules(_ context.Context, in *eventsapi.ListRulesInput) (*eventsapi.ListRulesOutput, error) {
	out := &eventsapi.ListRulesOutput{Rules: []eventsapi.Rule{}}
	bus := busName(in.EventBusName)
	return out, s.c.DB.View(func(tx *state.Tx) error {
		if _, ok := s.buses.Get(tx, bus); !ok {
			return missing("Event bus %s does not exist.", bus)
		}
		for key, r := range s.rules.Prefix(tx, bus+"/"+wire.Value(in.NamePrefix)) {
			if key < wire.Value(in.NextToken) {
				continue
			}
			if len(out.Rules) == limitOf(in.Limit) {
				out.NextToken = wire.Ptr(key)
				break
			}
			out.Rules = append(out.Rules, r.API)
		}
		return nil
	})
}

func (s *Service) rulesByTarget(_ context.Context, in *eventsapi.ListRuleNamesByTargetInput) (*eventsapi.ListRuleNamesByTargetOutput, error) {
	out := &eventsapi.ListRuleNamesByTargetOutput{RuleNames: []string{}}
	return out, s.c.DB.View(func(tx *state.Tx) error {
		for key, r := range s.rules.Prefix(tx, busName(in.EventBusName)+"/") {
			if key < wire.Value(in.NextToken) || !slices.ContainsFunc(r.Targets, func(t eventsapi.Target) bool { return wire.Value(t.Arn) == wire.Value(in.TargetArn) }) {
				continue
			}
			if len(out.RuleNames) == limitOf(in.Limit) {
				out.NextToken = wire.Ptr(key)
				break
			}
			out.RuleNames = append(out.RuleNames, *r.API.Name)
		}
		return nil
	})
}

func (s *Service) turn(name, bus *string, to string) error {
	return s.c.DB.Update(func(tx *state.Tx) error {
		r, key, err := s.rule(tx, name, bus)
		if err != nil {
			return err
		}
		n := *r
		n.API.State = &to
		if f, err := schedule.Parse(wire.Value(r.API.ScheduleExpression), ""); err == nil {
			n.NextAt = f(s.c.Clock.Now())
		}
		s.rules.Put(tx, key, &n)
		return nil
	})
}

func (s *Service) enable(_ context.Context, in *eventsapi.EnableRuleInput) (*eventsapi.EnableRuleOutput, error) {
	return &eventsapi.EnableRuleOutput{}, s.turn(in.Name, in.EventBusName, "ENABLED")
}

func (s *Service) disable(_ context.Context, in *eventsapi.DisableRuleInput) (*eventsapi.DisableRuleOutput, error) {
	return &eventsapi.DisableRuleOutput{}, s.turn(in.Name, in.EventBusName, "DISABLED")
}

const mostTargets = 5 // a rule: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html

func (s *Service) putTargets(_ context.Context, in *eventsapi.PutTargetsInput) (*eventsapi.PutTargetsOutput, error) {
	out := &eventsapi.PutTargetsOutput{FailedEntries: []eventsapi.PutTargetsResultEntry{}, FailedEntryCount: wire.Int32(0)}
	return out, s.c.DB.Update(func(tx *state.Tx) error {
		r, key, err := s.rule(tx, in.Rule, in.EventBusName)
		if err != nil {
			return err
		}
		targets := slices.Clone(r.Targets)
		for _, t := range in.Targets {
			if err := checkTarget(t); err != nil {
				return err
			}
			same := func(o eventsapi.Target) bool { return *o.Id == *t.Id }
			if i := slices.IndexFunc(targets, same); i >= 0 {
				targets[i] = t
			} else {
				targets = append(targets, t)
			}
		}
		if len(targets) > mostTargets {
			return wire.Errorf("LimitExceededException", "The requested resource exceeds the maximum number allowed.")
		}
		s.rules.Modify(tx, key, func(r *Rule) { r.Targets = targets })
		return nil
	})
}

func checkTarget(t eventsapi.Target) error {
	arn := wire.Value(t.Arn)
	ways := 0
	for _, set := range []bool{t.Input != nil, t.InputPath != nil, t.InputTransformer != nil} {
		if set {
			ways++
		}
	}
	switch {
	case !strings.HasPrefix(arn, "arn:"):
		return invalid("Parameter %s is not valid. Reason: Provided Arn is not in correct format.", arn)
	case ways > 1:
		return invalid("Only one of Input, InputPath, or InputTransformer must be provided for target %s.", *t.Id)
	case t.Input != nil && !json.Valid([]byte(*t.Input)):
		return invalid("JSON syntax error in input for target %s.", *t.Id)
	case strings.Contains(arn, ":ecs:") && t.EcsParameters == nil:
		return invalid("Parameter(s) EcsParameters must be specified for target: %s.", *t.Id)
	case strings.HasSuffix(arn, ".fifo") && strings.Contains(arn, ":sqs:") && (t.SqsParameters == nil || wire.Value(t.SqsParameters.MessageGroupId) == ""):
		return invalid("Parameter(s) MessageGroupId must be specified for target: %s.", *t.Id)
	}
	if t.InputTransformer != nil {
		if err := pattern.CheckTemplate(t.InputTransformer.InputPathsMap, wire.Value(t.InputTransformer.InputTemplate)); err != nil {
			return invalid("%s", err)
		}
	}
	if err := delivery.Supported(arn); err != nil {
		return invalid("%s", err)
	}
	return nil
}

func (s *Service) removeTargets(_ context.Context, in *eventsapi.RemoveTargetsInput) (*eventsapi.RemoveTargetsOutput, error) {
	out := &eventsapi.RemoveTargetsOutput{FailedEntries: []eventsapi.RemoveTargetsResultEntry{}, FailedEntryCount: wire.Int32(0)}
	return out, s.c.DB.Update(func(tx *state.Tx) error {
		_, key, err := s.rule(tx, in.Rule, in.EventBusName)
		if err != nil {
			return err
		}
		s.rules.Modify(tx, key, func(r *Rule) {
			r.Targets = slices.DeleteFunc(slices.Clone(r.Targets), func(t eventsapi.Target) bool { return slices.Contains(in.Ids, *t.Id) })
		})
		return nil
	})
}

func (s *Service) listTargets(_ context.Context, in *eventsapi.ListTargetsByRuleInput) (*eventsapi.ListTargetsByRuleOutput, error) {
	out := &eventsapi.ListTargetsByRuleOutput{Targets: []eventsapi.Target{}}
	return out, s.c.DB.View(func(tx *state.Tx) error {
		r, _, err := s.rule(tx, in.Rule, in.EventBusName)
		if err == nil {
			out.Targets = append(out.Targets, r.Targets...)
		}
		return err
	})
}

func (s *Service) test(_ context.Context, in *eventsapi.TestEventPatternInput) (*eventsapi.TestEventPatternOutput, error) {
	p, err := pattern.Parse(wire.Value(in.EventPattern))
	if err != nil {
		return nil, wire.Errorf("InvalidEventPatternException", "Event pattern is not valid. Reason: %s", err)
	}
	var e map[string]any
	if err := json.Unmarshal([]byte(wire.Value(in.Event)), &e); err != nil {
		return nil, invalid("Parameter Event is not valid.")
	}
	for _, k := range []string{"id", "account", "source", "time", "region", "resources", "detail-type"} {
		if _, ok := e[k]; !ok {
			return nil, invalid("Parameter Event is not valid. Reason: the member %s is missing.", k)
		}
	}
	return &eventsapi.TestEventPatternOutput{Result: wire.Bool(p.Match(e))}, nil
}

// Run triggers the rules with a schedule until ctx ends. A time that passed while nothing ran is made
// up for once.
func (s *Service) Run(ctx context.Context) error {
	l := schedule.Loop[Rule]{DB: s.c.DB, Table: s.rules, Name: tableRules, Clock: s.c.Clock, Fire: s.scheduled, At: func(r *Rule) time.Time {
		if r.API.ScheduleExpression == nil || !enabled(r) {
			return time.Time{}
		}
		return r.NextAt
	}}
	return l.Run(ctx)
}

// scheduled sends the event of a rule with a schedule.
func (s *Service) scheduled(tx *state.Tx, key string, r *Rule, now time.Time) error {
	f, err := schedule.Parse(*r.API.ScheduleExpression, "")
	if err != nil {
		return err // it was checked when it was put
	}
	e := s.event("aws.events", "Scheduled Event", []string{*r.API.Arn}, map[string]any{}, r.NextAt)
	raw, err := json.Marshal(e)
	if err != nil {
		return err
	}
	var seen any
	if err := json.Unmarshal(raw, &seen); err != nil {
		return err
	}
	s.trigger(tx, r, e, raw, seen)
	at := f(r.NextAt)
	if !at.IsZero() && !at.After(now) {
		at = f(now)
	}
	s.rules.Modify(tx, key, func(r *Rule) { r.NextAt = at })
	return nil
}
