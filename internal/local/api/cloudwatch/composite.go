package cloudwatch

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/cloudwatchapi"
)

// Composite is a composite alarm. Key: name, which no metric alarm has.
type Composite struct {
	// API is the alarm as DescribeAlarms shows it, state included.
	API     cloudwatchapi.CompositeAlarm
	Tags    map[string]string
	History []Entry // newest last; at most 100
	// Seen are the states of the children when it was last evaluated: it is evaluated when one changes.
	Seen map[string]string
	// Acted is the state for which it last acted, and Held why it does not act yet for the present one,
	// until HeldUntil (zero: as long as the suppressor is in ALARM).
	Acted, Held string
	HeldUntil   time.Time
}

// CompositeAction is told when a composite alarm acts, with the ARNs listed for its state.
type CompositeAction func(alarm Composite, previous string, arns []string)

// OnComposite adds an action; call it before Run. Topics and functions are all that composite alarms can
// tell.
func (s *Service) OnComposite(a CompositeAction) { s.compositeActions = append(s.compositeActions, a) }

// OnCompositeChange adds someone who is told of every change of state of a composite alarm, whether it
// acts or not; call it before Run.
func (s *Service) OnCompositeChange(f func(alarm Composite, previous string)) {
	s.compositeChanges = append(s.compositeChanges, f)
}

// Name is the alarm's name.
func (c Composite) Name() string { return wire.Value(c.API.AlarmName) }

// State is OK, ALARM or, before it was first evaluated, INSUFFICIENT_DATA.
func (c Composite) State() string { return wire.Value(c.API.StateValue) }

func noteIn(history []Entry, e Entry) []Entry {
	history = append(slices.Clone(history), e)
	return history[max(0, len(history)-100):]
}

func alarmName(ref string) string {
	if _, name, ok := strings.Cut(ref, ":alarm:"); ok {
		return name
	}
	return ref
}

// putComposite creates or replaces a composite alarm
// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutCompositeAlarm.html).
func (s *Service) putComposite(_ context.Context, in *cloudwatchapi.PutCompositeAlarmInput) (*cloudwatchapi.PutCompositeAlarmOutput, error) {
	name := wire.Value(in.AlarmName)
	r, err := parseRule(wire.Value(in.AlarmRule))
	if err != nil {
		return nil, wire.Errorf("ValidationError", "Invalid AlarmRule expression: %v", err)
	}
	suppressor := alarmName(wire.Value(in.ActionsSuppressor))
	switch {
	case suppressor != "" && (in.ActionsSuppressorWaitPeriod == nil || in.ActionsSuppressorExtensionPeriod == nil):
		return nil, wire.Errorf("ValidationError", "ActionsSuppressorWaitPeriod and ActionsSuppressorExtensionPeriod are required when ActionsSuppressor is specified.")
	case suppressor == "" && (in.ActionsSuppressorWaitPeriod != nil || in.ActionsSuppressorExtensionPeriod != nil):
		return nil, wire.Errorf("ValidationError", "ActionsSuppressorWaitPeriod and ActionsSuppressorExtensionPeriod must not be specified without ActionsSuppressor.")
	case suppressor == name || slices.Contains(r.children(), name):
		return nil, wire.Errorf("ValidationError", "The composite alarm %s must not refer to itself.", name)
	}
	for _, arn := range slices.Concat(in.AlarmActions, in.OKActions, in.InsufficientDataActions) {
		if !slices.ContainsFunc([]string{"arn:aws:sns:", "arn:aws:lambda:", "arn:aws:ssm:", "arn:aws:ssm-incidents:", "arn:aws:aiops:"}, func(p string) bool { return strings.HasPrefix(arn, p) }) {
			return nil, wire.Errorf("ValidationError", "Invalid action %s: composite alarms notify SNS topics, invoke Lambda functions, and create OpsItems and incidents.", arn)
		}
	}
	err = s.db.Update(func(tx *state.Tx) error {
		if _, ok := s.alarms.Get(tx, name); ok {
			return wire.Errorf("ValidationError", "A metric alarm named %s exists.", name)
		}
		var missing []string
		for _, child := range append(r.children(), suppressor) {
			if child != "" && s.StateIn(tx, child) == "" {
				missing = append(missing, child)
			}
		}
		if len(missing) > 0 {
			return wire.Errorf("ValidationError", "Could not save the composite alarm as alarms [%s] in the alarm rule do not exist", strings.Join(missing, ", "))
		}
		now := s.clock.Now()
		c := Composite{API: cloudwatchapi.CompositeAlarm{StateValue: wire.Ptr("INSUFFICIENT_DATA"), StateReason: wire.Ptr("Unchecked: Initial alarm creation"), StateUpdatedTimestamp: wire.Timestamp(now), StateTransitionedTimestamp: wire.Timestamp(now)}, Tags: map[string]string{}, Acted: "INSUFFICIENT_DATA"}
		said := fmt.Sprintf("Alarm %q created", name)
		if old, ok := s.composites.Get(tx, name); ok {
			c, said = *old, fmt.Sprintf("Alarm %q updated", name)
		} else {
			for _, t := range in.Tags {
				c.Tags[wire.Value(t.Key)] = wire.Value(t.Value)
			}
		}
		c.Seen = nil
		api := &c.API
		api.AlarmName, api.AlarmArn, api.AlarmDescription, api.AlarmRule = &name, wire.Ptr(s.arn(name)), in.AlarmDescription, in.AlarmRule
		api.ActionsEnabled = wire.Ptr(in.ActionsEnabled == nil || *in.ActionsEnabled)
		api.AlarmActions, api.OKActions, api.InsufficientDataActions = append([]string{}, in.AlarmActions...), append([]string{}, in.OKActions...), append([]string{}, in.InsufficientDataActions...)
		api.ActionsSuppressor, api.ActionsSuppressorWaitPeriod, api.ActionsSuppressorExtensionPeriod = in.ActionsSuppressor, in.ActionsSuppressorWaitPeriod, in.ActionsSuppressorExtensionPeriod
		api.AlarmConfigurationUpdatedTimestamp = wire.Timestamp(now)
		c.History = noteIn(c.History, Entry{At: now, Kind: "ConfigurationUpdate", Summary: said, Data: "{}"})
		s.composites.Put(tx, name, &c)
		return nil
	})
	if err == nil {
		err = s.evaluateComposites()
	}
	return &cloudwatchapi.PutCompositeAlarmOutput{}, err
}

// acting is what a composite alarm does once its state is written.
type acting struct {
	alarm    Composite
	previous string
	act      bool
}

// evaluateComposites brings every composite alarm to the state of its rule, and lets those act that are
// due. Alarms in a circle are left as they are.
func (s *Service) evaluateComposites() error {
	var told []acting
	err := s.db.Update(func(tx *state.Tx) error {
		told = told[:0]
		rules := map[string]*rule{}
		for name, c := range s.composites.All(tx) {
			if r, err := parseRule(wire.Value(c.API.AlarmRule)); err == nil { // it was checked when it was put
				rules[name] = r
			}
		}
		for _, name := range inOrder(rules) {
			c, _ := s.composites.Get(tx, name)
			next := *c
			changed, previous := s.evaluateOne(tx, &next, rules[name])
			acts := s.hold(tx, &next, changed)
			if changed || acts || next.Held != c.Held || !next.HeldUntil.Equal(c.HeldUntil) || !maps.Equal(next.Seen, c.Seen) {
				s.composites.Put(tx, name, &next)
			}
			if changed || acts {
				told = append(told, acting{next, previous, acts})
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("evaluating composite alarms: %w", err)
	}
	s.tellComposites(told)
	select {
	case s.wake <- struct{}{}: // the loop may have to wait for less long now
	default:
	}
	return nil
}

// tellComposites tells of changes, and runs the actions.
func (s *Service) tellComposites(told []acting) {
	for _, a := range told {
		if a.previous != "" {
			for _, f := range s.compositeChanges {
				f(a.alarm, a.previous)
			}
		}
		if !a.act || !wire.Value(a.alarm.API.ActionsEnabled) {
			continue
		}
		arns := map[string][]string{"ALARM": a.alarm.API.AlarmActions, "OK": a.alarm.API.OKActions, "INSUFFICIENT_DATA": a.alarm.API.InsufficientDataActions}[a.alarm.State()]
		for _, f := range s.compositeActions {
			f(a.alarm, a.previous, arns)
		}
	}
}

// inOrder names the alarms, children before their parents, without those that are part of a circle or
// above one.
func inOrder(rules map[string]*rule) []string {
	var out []string
	mark := map[string]int{} // 1: under way, 2: fine, 3: depends on itself
	var visit func(string) bool
	visit = func(name string) bool {
		r, ok := rules[name]
		switch {
		case !ok, mark[name] == 2:
			return true
		case mark[name] > 0:
			return false
		}
		mark[name] = 1
		fine := true
		for _, child := range r.children() {
			fine = visit(child) && fine
		}
		if !fine {
			mark[name] = 3
			return false
		}
		mark[name] = 2
		out = append(out, name)
		return true
	}
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		visit(name)
	}
	return out
}

// evaluateOne sets the state of the alarm if a child has changed since the last time.
func (s *Service) evaluateOne(tx *state.Tx, c *Composite, r *rule) (changed bool, previous string) {
	states := map[string]string{}
	for _, child := range r.children() {
		states[child] = cmp.Or(s.StateIn(tx, child), "INSUFFICIENT_DATA") // of one that was deleted nothing is known
	}
	if c.Seen != nil && maps.Equal(states, c.Seen) {
		return false, ""
	}
	var moved []string
	for _, child := range r.children() {
		if c.Seen[child] != states[child] {
			moved = append(moved, child)
		}
	}
	c.Seen = states
	value := "OK"
	if r.holds(func(name string) string { return states[name] }) {
		value = "ALARM"
	}
	if value == c.State() {
		return false, ""
	}
	now := s.clock.Now()
	reason, triggering := "The rule is "+map[string]string{"ALARM": "true", "OK": "false"}[value]+" whatever the alarms are", []any{}
	for _, child := range moved {
		at := s.since(tx, child)
		if len(triggering) == 0 {
			reason = fmt.Sprintf("%s transitioned to %s at %s", s.arn(child), states[child], at.UTC().Format("Monday 02 January, 2006 15:04:05 UTC"))
		}
		triggering = append(triggering, map[string]any{"arn": s.arn(child), "state": map[string]string{"value": states[child], "timestamp": at.UTC().Format("2006-01-02T15:04:05.000+0000")}})
	}
	data, err := json.Marshal(map[string]any{"triggeringAlarms": triggering})
	if err != nil {
		return false, ""
	}
	return true, s.setComposite(c, value, reason, string(data), now)
}

// setComposite writes a new state; it returns the one before.
func (s *Service) setComposite(c *Composite, value, reason, data string, now time.Time) string {
	was := c.State()
	c.API.StateValue, c.API.StateReason, c.API.StateReasonData = &value, &reason, wire.NonEmpty(data)
	c.API.StateUpdatedTimestamp, c.API.StateTransitionedTimestamp = wire.Timestamp(now), wire.Timestamp(now)
	told := map[string]any{"stateValue": value, "stateReason": reason}
	if data != "" {
		told["stateReasonData"] = json.RawMessage(data)
	}
	history, err := json.Marshal(map[string]any{"version": "1.0", "type": "Composite", "oldState": map[string]string{"stateValue": was}, "newState": told})
	if err != nil {
		history = []byte("{}")
	}
	c.History = noteIn(c.History, Entry{At: now, Kind: "StateUpdate", Summary: fmt.Sprintf("Alarm updated from %s to %s", was, value), Data: string(history)})
	return was
}

func (s *Service) since(tx *state.Tx, name string) time.Time {
	if a, ok := s.alarms.Get(tx, name); ok {
		return wire.TimeOf(a.API.StateTransitionedTimestamp)
	}
	if c, ok := s.composites.Get(tx, name); ok {
		return wire.TimeOf(c.API.StateTransitionedTimestamp)
	}
	return s.clock.Now()
}

// hold says whether the alarm acts now. A suppressor in ALARM holds its actions back; after a change
// it waits for the suppressor to go off, and after the suppressor has ended, a while longer
// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Create_Composite_Alarm_Suppression.html).
func (s *Service) hold(tx *state.Tx, c *Composite, changed bool) bool {
	now := s.clock.Now()
	suppressor := alarmName(wire.Value(c.API.ActionsSuppressor))
	release := func() bool {
		c.Held, c.HeldUntil = "", time.Time{}
		c.API.ActionsSuppressedBy, c.API.ActionsSuppressedReason = nil, nil
		acts := c.State() != c.Acted
		c.Acted = c.State()
		return acts
	}
	keep := func(by, why string, until time.Time) bool {
		if c.Held != by {
			c.History = noteIn(c.History, Entry{At: now, Kind: "Action", Summary: "Actions are suppressed by " + by, Data: "{}"})
		}
		c.Held, c.HeldUntil = by, until
		c.API.ActionsSuppressedBy, c.API.ActionsSuppressedReason = &by, &why
		return false
	}
	if suppressor == "" {
		return release()
	}
	firing := s.StateIn(tx, suppressor) == "ALARM"
	wait := time.Duration(wire.Value(c.API.ActionsSuppressorWaitPeriod)) * time.Second
	longer := time.Duration(wire.Value(c.API.ActionsSuppressorExtensionPeriod)) * time.Second
	switch {
	case firing && (c.Held != "" || c.State() != c.Acted):
		return keep("Alarm", "Actions suppressed by "+s.arn(suppressor), time.Time{})
	case c.Held == "Alarm" && longer > 0:
		return keep("ExtensionPeriod", "Actions suppressed by the extension period after "+s.arn(suppressor), now.Add(longer))
	case c.Held == "" && changed && c.State() != c.Acted && wait > 0:
		return keep("WaitPeriod", "Actions suppressed by the wait period for "+s.arn(suppressor), now.Add(wait))
	case c.Held != "" && now.Before(c.HeldUntil):
		return false
	}
	return release()
}

// nextHeld is when the next held-back action is due; zero if none is.
func (s *Service) nextHeld() time.Time {
	var next time.Time
	_ = s.db.View(func(tx *state.Tx) error {
		for _, c := range s.composites.All(tx) {
			if !c.HeldUntil.IsZero() && (next.IsZero() || c.HeldUntil.Before(next)) {
				next = c.HeldUntil
			}
		}
		return nil
	})
	return next
}

// parents are the composite alarms whose rules name the alarm.
func (s *Service) parents(tx *state.Tx, name string) []string {
	var out []string
	for parent, c := range s.composites.All(tx) {
		if r, err := parseRule(wire.Value(c.API.AlarmRule)); err == nil && slices.Contains(r.children(), name) {
			out = append(out, parent)
		}
	}
	return out
}

// setCompositeState sets the state by hand. It stays until a child changes or the rule does.
func (s *Service) setCompositeState(name, value, reason, data string) (found bool, err error) {
	var told []acting
	err = s.db.Update(func(tx *state.Tx) error {
		old, ok := s.composites.Get(tx, name)
		if found = ok; !ok {
			return nil
		}
		c := *old
		if c.State() == value {
			return nil
		}
		previous := s.setComposite(&c, value, reason, data, s.clock.Now())
		told = []acting{{alarm: c, previous: previous, act: s.hold(tx, &c, true)}}
		told[0].alarm = c
		s.composites.Put(tx, name, &c)
		return nil
	})
	if err == nil {
		s.tellComposites(told)
	}
	return found, err
}
