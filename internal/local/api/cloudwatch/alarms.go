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

// TableAlarms is the table of alarms, for watches.
const TableAlarms = "cloudwatch.alarms"

// Alarm is a metric alarm. Key: name, which no composite alarm has.
type Alarm struct {
	// API is the alarm as DescribeAlarms shows it, state included.
	API     cloudwatchapi.MetricAlarm
	Tags    map[string]string
	History []Entry // newest last; at most 100
}

// Entry is one line of an alarm's history.
type Entry struct {
	At                  time.Time
	Kind, Summary, Data string
}

// Name is the alarm's name.
func (a Alarm) Name() string { return wire.Value(a.API.AlarmName) }

// State is OK, ALARM or INSUFFICIENT_DATA.
func (a Alarm) State() string { return wire.Value(a.API.StateValue) }

func (a *Alarm) note(at time.Time, kind, summary string) {
	a.History = append(slices.Clone(a.History), Entry{At: at, Kind: kind, Summary: summary, Data: "{}"})
	if extra := len(a.History) - 100; extra > 0 {
		a.History = a.History[extra:]
	}
}

// PutAlarm creates or replaces an alarm: for the services that make alarms of their own.
func (s *Service) PutAlarm(in *cloudwatchapi.PutMetricAlarmInput) error {
	return s.db.Update(func(tx *state.Tx) error { return s.PutAlarmIn(tx, in) })
}

// PutAlarmIn is PutAlarm inside a transaction.
func (s *Service) PutAlarmIn(tx *state.Tx, in *cloudwatchapi.PutMetricAlarmInput) error {
	name, now := wire.Value(in.AlarmName), s.clock.Now()
	a := Alarm{API: cloudwatchapi.MetricAlarm{StateValue: wire.Ptr("INSUFFICIENT_DATA"), StateReason: wire.Ptr("Unchecked: Initial alarm creation"), StateUpdatedTimestamp: wire.Timestamp(now), StateTransitionedTimestamp: wire.Timestamp(now)}}
	kind, said := "ConfigurationUpdate", fmt.Sprintf("Alarm %q created", name)
	if _, ok := s.composites.Get(tx, name); ok {
		return wire.Errorf("ValidationError", "A composite alarm named %s exists.", name)
	}
	if old, ok := s.alarms.Get(tx, name); ok {
		a, said = *old, fmt.Sprintf("Alarm %q updated", name)
	} else {
		a.Tags = map[string]string{}
		for _, t := range in.Tags {
			a.Tags[wire.Value(t.Key)] = wire.Value(t.Value)
		}
	}
	api := &a.API
	api.AlarmName, api.AlarmArn, api.AlarmDescription = &name, wire.Ptr(s.arn(name)), in.AlarmDescription
	api.MetricName, api.Namespace, api.Dimensions, api.Statistic, api.ExtendedStatistic, api.Unit = in.MetricName, in.Namespace, append([]cloudwatchapi.Dimension{}, in.Dimensions...), in.Statistic, in.ExtendedStatistic, in.Unit
	api.Metrics, api.EvaluateLowSampleCountPercentile = in.Metrics, in.EvaluateLowSampleCountPercentile
	api.Period, api.EvaluationPeriods, api.DatapointsToAlarm, api.Threshold, api.ComparisonOperator = in.Period, in.EvaluationPeriods, in.DatapointsToAlarm, in.Threshold, in.ComparisonOperator
	api.TreatMissingData = wire.Ptr(cmp.Or(wire.Value(in.TreatMissingData), "missing"))
	api.ActionsEnabled = wire.Ptr(in.ActionsEnabled == nil || *in.ActionsEnabled)
	api.AlarmActions, api.OKActions, api.InsufficientDataActions = append([]string{}, in.AlarmActions...), append([]string{}, in.OKActions...), append([]string{}, in.InsufficientDataActions...)
	api.AlarmConfigurationUpdatedTimestamp = wire.Timestamp(now)
	a.note(now, kind, said)
	s.alarms.Put(tx, name, &a)
	return nil
}

// DeleteAlarmIn removes an alarm inside a transaction.
func (s *Service) DeleteAlarmIn(tx *state.Tx, name string) { s.alarms.Delete(tx, name) }

func (s *Service) arn(name string) string {
	return "arn:aws:cloudwatch:" + s.region + ":" + s.account + ":alarm:" + name
}

func (s *Service) putAlarm(_ context.Context, in *cloudwatchapi.PutMetricAlarmInput) (*cloudwatchapi.PutMetricAlarmOutput, error) {
	stat := cmp.Or(wire.Value(in.Statistic), wire.Value(in.ExtendedStatistic))
	n, m := wire.Value(in.EvaluationPeriods), wire.Value(in.DatapointsToAlarm)
	length := wire.Value(in.Period)
	math := len(in.Metrics) > 0
	switch op := wire.Value(in.ComparisonOperator); {
	case in.ThresholdMetricId != nil || in.EvaluationCriteria != nil:
		return nil, wire.Errorf("ValidationError", "not supported: alarms on anomaly detection and queries")
	case !math && (in.MetricName == nil || in.Namespace == nil || stat == ""):
		return nil, wire.Errorf("ValidationError", "The parameters MetricName, Namespace and one of Statistic and ExtendedStatistic are required.")
	case in.Threshold == nil:
		return nil, wire.Errorf("ValidationError", "The parameter Threshold is required.")
	case !math && (length < 60 || length%60 != 0):
		return nil, wire.Errorf("ValidationError", "not supported: a Period of %d; it must be a multiple of 60", length)
	case n < 1 || m < 0 || m > n:
		return nil, wire.Errorf("ValidationError", "DatapointsToAlarm must be between 1 and EvaluationPeriods")
	case !slices.Contains([]string{"GreaterThanThreshold", "GreaterThanOrEqualToThreshold", "LessThanThreshold", "LessThanOrEqualToThreshold"}, op):
		return nil, wire.Errorf("ValidationError", "not supported: the comparison %s", op)
	}
	if math {
		if err := s.CheckMath(in); err != nil {
			return nil, err
		}
	} else if err := checkStat(stat); err != nil {
		return nil, err
	}
	return &cloudwatchapi.PutMetricAlarmOutput{}, s.PutAlarm(in)
}

// listed is an alarm of either kind, as the Describe calls choose and page them.
type listed struct {
	name, state string
	actions     []string
	metric      *Alarm
	composite   *Composite
}

// all lists the alarms of the kinds by name; without a kind, metric alarms.
func (s *Service) all(tx *state.Tx, kinds []string) []listed {
	var out []listed
	if len(kinds) == 0 || slices.Contains(kinds, "MetricAlarm") {
		for name, a := range s.alarms.All(tx) {
			out = append(out, listed{name, a.State(), slices.Concat(a.API.AlarmActions, a.API.OKActions, a.API.InsufficientDataActions), a, nil})
		}
	}
	if slices.Contains(kinds, "CompositeAlarm") {
		for name, c := range s.composites.All(tx) {
			out = append(out, listed{name, c.State(), slices.Concat(c.API.AlarmActions, c.API.OKActions, c.API.InsufficientDataActions), nil, c})
		}
	}
	slices.SortFunc(out, func(a, b listed) int { return strings.Compare(a.name, b.name) })
	return out
}

func (s *Service) describe(_ context.Context, in *cloudwatchapi.DescribeAlarmsInput) (*cloudwatchapi.DescribeAlarmsOutput, error) {
	limit := int(cmp.Or(wire.Value(in.MaxRecords), 50))
	filtered := in.AlarmNames != nil || in.AlarmNamePrefix != nil || in.ActionPrefix != nil || in.StateValue != nil || in.AlarmTypes != nil
	switch {
	case in.ChildrenOfAlarmName != nil && (filtered || in.ParentsOfAlarmName != nil), in.ParentsOfAlarmName != nil && filtered:
		return nil, wire.Errorf("ValidationError", "ChildrenOfAlarmName and ParentsOfAlarmName must not be specified with other parameters than MaxRecords and NextToken.")
	case len(in.AlarmNames) > 0 && in.AlarmNamePrefix != nil:
		return nil, wire.Errorf("ValidationError", "AlarmNames and AlarmNamePrefix must not be specified together.")
	case limit < 1 || limit > 100:
		return nil, wire.Errorf("ValidationError", "MaxRecords must be between 1 and 100.")
	}
	out := &cloudwatchapi.DescribeAlarmsOutput{MetricAlarms: []cloudwatchapi.MetricAlarm{}, CompositeAlarms: []cloudwatchapi.CompositeAlarm{}}
	return out, s.db.View(func(tx *state.Tx) error {
		kinds, names, family := in.AlarmTypes, in.AlarmNames, in.ChildrenOfAlarmName != nil || in.ParentsOfAlarmName != nil
		if family {
			kinds = []string{"MetricAlarm", "CompositeAlarm"}
			if in.ParentsOfAlarmName != nil {
				names = s.parents(tx, *in.ParentsOfAlarmName)
			} else if c, ok := s.composites.Get(tx, *in.ChildrenOfAlarmName); ok {
				if r, err := parseRule(wire.Value(c.API.AlarmRule)); err == nil {
					names = r.children()
				}
			}
		}
		n := 0
		for _, a := range s.all(tx, kinds) {
			if a.name < wire.Value(in.NextToken) || (len(names) > 0 || family) && !slices.Contains(names, a.name) || !strings.HasPrefix(a.name, wire.Value(in.AlarmNamePrefix)) || in.StateValue != nil && *in.StateValue != a.state ||
				in.ActionPrefix != nil && !slices.ContainsFunc(a.actions, func(arn string) bool { return strings.HasPrefix(arn, *in.ActionPrefix) }) {
				continue
			}
			if n++; n > limit {
				out.NextToken = wire.Ptr(a.name)
				break
			}
			switch { // of a family only what AWS tells of it
			case a.metric != nil && in.ChildrenOfAlarmName != nil:
				m := a.metric.API
				out.MetricAlarms = append(out.MetricAlarms, cloudwatchapi.MetricAlarm{AlarmName: m.AlarmName, AlarmArn: m.AlarmArn, StateValue: m.StateValue, StateUpdatedTimestamp: m.StateUpdatedTimestamp})
			case a.metric != nil:
				out.MetricAlarms = append(out.MetricAlarms, a.metric.API)
			case in.ChildrenOfAlarmName != nil:
				c := a.composite.API
				out.CompositeAlarms = append(out.CompositeAlarms, cloudwatchapi.CompositeAlarm{AlarmName: c.AlarmName, AlarmArn: c.AlarmArn, StateValue: c.StateValue, StateUpdatedTimestamp: c.StateUpdatedTimestamp})
			case family:
				out.CompositeAlarms = append(out.CompositeAlarms, cloudwatchapi.CompositeAlarm{AlarmName: a.composite.API.AlarmName, AlarmArn: a.composite.API.AlarmArn})
			default:
				out.CompositeAlarms = append(out.CompositeAlarms, a.composite.API)
			}
		}
		return nil
	})
}

func (s *Service) forMetric(_ context.Context, in *cloudwatchapi.DescribeAlarmsForMetricInput) (*cloudwatchapi.DescribeAlarmsForMetricOutput, error) {
	out := &cloudwatchapi.DescribeAlarmsForMetricOutput{MetricAlarms: []cloudwatchapi.MetricAlarm{}}
	return out, s.db.View(func(tx *state.Tx) error {
		for _, a := range s.alarms.All(tx) {
			if wire.Value(a.API.MetricName) == wire.Value(in.MetricName) && wire.Value(a.API.Namespace) == wire.Value(in.Namespace) && slices.Equal(fromAPI(a.API.Dimensions), fromAPI(in.Dimensions)) {
				out.MetricAlarms = append(out.MetricAlarms, a.API)
			}
		}
		return nil
	})
}

func (s *Service) history(_ context.Context, in *cloudwatchapi.DescribeAlarmHistoryInput) (*cloudwatchapi.DescribeAlarmHistoryOutput, error) {
	out := &cloudwatchapi.DescribeAlarmHistoryOutput{AlarmHistoryItems: []cloudwatchapi.AlarmHistoryItem{}}
	limit := int(cmp.Or(wire.Value(in.MaxRecords), 100))
	kinds := in.AlarmTypes
	if in.AlarmName != nil && len(kinds) == 0 { // of an alarm that is named, whatever it is
		kinds = []string{"MetricAlarm", "CompositeAlarm"}
	}
	err := s.db.View(func(tx *state.Tx) error {
		for _, a := range s.all(tx, kinds) {
			name, kind, entries := a.name, "MetricAlarm", []Entry(nil)
			if a.metric != nil {
				entries = a.metric.History
			} else {
				kind, entries = "CompositeAlarm", a.composite.History
			}
			for _, e := range entries {
				if in.AlarmName != nil && *in.AlarmName != name || in.HistoryItemType != nil && *in.HistoryItemType != e.Kind || in.StartDate != nil && e.At.Before(in.StartDate.Time) || in.EndDate != nil && e.At.After(in.EndDate.Time) {
					continue
				}
				out.AlarmHistoryItems = append(out.AlarmHistoryItems, cloudwatchapi.AlarmHistoryItem{AlarmName: wire.Ptr(name), AlarmType: wire.Ptr(kind), Timestamp: wire.Timestamp(e.At), HistoryItemType: wire.Ptr(e.Kind), HistorySummary: wire.Ptr(e.Summary), HistoryData: wire.Ptr(e.Data)})
			}
		}
		return nil
	})
	slices.SortStableFunc(out.AlarmHistoryItems, func(a, b cloudwatchapi.AlarmHistoryItem) int {
		if wire.Value(in.ScanBy) == "TimestampAscending" {
			return a.Timestamp.Compare(b.Timestamp.Time)
		}
		return b.Timestamp.Compare(a.Timestamp.Time)
	})
	out.AlarmHistoryItems = out.AlarmHistoryItems[:min(limit, len(out.AlarmHistoryItems))]
	return out, err
}

// delete deletes the alarms there are; of composite alarms one at a time, and none that another one
// depends on (https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DeleteAlarms.html).
func (s *Service) delete(_ context.Context, in *cloudwatchapi.DeleteAlarmsInput) (*cloudwatchapi.DeleteAlarmsOutput, error) {
	if len(in.AlarmNames) > 100 {
		return nil, wire.Errorf("ValidationError", "AlarmNames must not have more than 100 members.")
	}
	err := s.db.Update(func(tx *state.Tx) error {
		var composites []string
		for _, name := range in.AlarmNames {
			if _, ok := s.composites.Get(tx, name); ok && !slices.Contains(composites, name) {
				composites = append(composites, name)
			}
		}
		if len(composites) > 1 {
			return wire.Errorf("ValidationError", "Only one composite alarm can be deleted per request. Composite alarms found in request: %s", strings.Join(composites, ", "))
		}
		for _, name := range composites {
			if parents := s.parents(tx, name); len(parents) > 0 {
				return wire.Errorf("ValidationError", "Could not delete composite alarm %s as other alarm(s) depend on it: [%s]", name, strings.Join(parents, ", "))
			}
		}
		for _, name := range in.AlarmNames {
			if !s.alarms.Delete(tx, name) && !s.composites.Delete(tx, name) && len(in.AlarmNames) == 1 {
				return wire.Errorf("ResourceNotFound", "Alarm %s does not exist", name)
			}
		}
		return nil
	})
	if err == nil {
		err = s.evaluateComposites()
	}
	return &cloudwatchapi.DeleteAlarmsOutput{}, err
}

func (s *Service) setState(_ context.Context, in *cloudwatchapi.SetAlarmStateInput) (*cloudwatchapi.SetAlarmStateOutput, error) {
	value := wire.Value(in.StateValue)
	if value != "OK" && value != "ALARM" && value != "INSUFFICIENT_DATA" {
		return nil, wire.Errorf("ValidationError", "Value '%s' at 'stateValue' failed to satisfy constraint: Member must satisfy enum value set: [INSUFFICIENT_DATA, ALARM, OK]", value)
	}
	found, err := s.transition(wire.Value(in.AlarmName), value, wire.Value(in.StateReason))
	if err == nil && !found {
		found, err = s.setCompositeState(wire.Value(in.AlarmName), value, wire.Value(in.StateReason), wire.Value(in.StateReasonData))
	}
	if err == nil && found {
		err = s.evaluateComposites()
	}
	if err == nil && !found {
		err = wire.Errorf("ResourceNotFound", "Alarm %s does not exist", wire.Value(in.AlarmName))
	}
	return &cloudwatchapi.SetAlarmStateOutput{}, err
}

// transition sets an alarm's state and, if that is a change, runs its actions.
func (s *Service) transition(name, value, reason string) (found bool, err error) {
	var changed *Alarm
	err = s.db.Update(func(tx *state.Tx) error {
		old, ok := s.alarms.Get(tx, name)
		if found = ok; !ok {
			return nil
		}
		now := s.clock.Now()
		a := *old
		a.API.StateReason, a.API.StateUpdatedTimestamp = &reason, wire.Timestamp(now)
		if was := a.State(); was != value {
			a.API.StateValue, a.API.StateTransitionedTimestamp = &value, wire.Timestamp(now)
			a.note(now, "StateUpdate", fmt.Sprintf("Alarm updated from %s to %s", was, value))
			data, err := json.Marshal(map[string]any{"version": "1.0", "oldState": map[string]string{"stateValue": was}, "newState": map[string]string{"stateValue": value, "stateReason": reason}})
			if err != nil {
				return err
			}
			a.History[len(a.History)-1].Data = string(data)
			changed = &a
		}
		s.alarms.Put(tx, name, &a)
		return nil
	})
	if err == nil && changed != nil {
		s.act(*changed)
	}
	return found, err
}

func (s *Service) act(a Alarm) {
	if !wire.Value(a.API.ActionsEnabled) {
		return
	}
	arns := map[string][]string{"ALARM": a.API.AlarmActions, "OK": a.API.OKActions, "INSUFFICIENT_DATA": a.API.InsufficientDataActions}[a.State()]
	for _, f := range s.actions {
		f(a, arns)
	}
}

func (s *Service) enable(_ context.Context, in *cloudwatchapi.EnableAlarmActionsInput) (*cloudwatchapi.EnableAlarmActionsOutput, error) {
	return &cloudwatchapi.EnableAlarmActionsOutput{}, s.switchActions(in.AlarmNames, true)
}

func (s *Service) disable(_ context.Context, in *cloudwatchapi.DisableAlarmActionsInput) (*cloudwatchapi.DisableAlarmActionsOutput, error) {
	return &cloudwatchapi.DisableAlarmActionsOutput{}, s.switchActions(in.AlarmNames, false)
}

func (s *Service) switchActions(names []string, on bool) error {
	return s.db.Update(func(tx *state.Tx) error {
		for _, n := range names {
			s.alarms.Modify(tx, n, func(a *Alarm) { a.API.ActionsEnabled = &on })
			s.composites.Modify(tx, n, func(c *Composite) { c.API.ActionsEnabled = &on })
		}
		return nil
	})
}

func (s *Service) retag(arn *string, f func(map[string]string)) error {
	_, name, _ := strings.Cut(wire.Value(arn), ":alarm:")
	return s.db.Update(func(tx *state.Tx) error {
		if !s.alarms.Modify(tx, name, func(a *Alarm) {
			a.Tags = maps.Clone(a.Tags)
			f(a.Tags)
		}) && !s.composites.Modify(tx, name, func(c *Composite) {
			c.Tags = maps.Clone(c.Tags)
			f(c.Tags)
		}) {
			return wire.Errorf("ResourceNotFoundException", "Unknown")
		}
		return nil
	})
}

func (s *Service) tag(_ context.Context, in *cloudwatchapi.TagResourceInput) (*cloudwatchapi.TagResourceOutput, error) {
	return &cloudwatchapi.TagResourceOutput{}, s.retag(in.ResourceARN, func(tags map[string]string) {
		for _, t := range in.Tags {
			tags[wire.Value(t.Key)] = wire.Value(t.Value)
		}
	})
}

func (s *Service) untag(_ context.Context, in *cloudwatchapi.UntagResourceInput) (*cloudwatchapi.UntagResourceOutput, error) {
	return &cloudwatchapi.UntagResourceOutput{}, s.retag(in.ResourceARN, func(tags map[string]string) {
		for _, k := range in.TagKeys {
			delete(tags, k)
		}
	})
}

func (s *Service) tags(_ context.Context, in *cloudwatchapi.ListTagsForResourceInput) (*cloudwatchapi.ListTagsForResourceOutput, error) {
	out := &cloudwatchapi.ListTagsForResourceOutput{Tags: []cloudwatchapi.Tag{}}
	_, name, _ := strings.Cut(wire.Value(in.ResourceARN), ":alarm:")
	return out, s.db.View(func(tx *state.Tx) error {
		var tags map[string]string
		if a, ok := s.alarms.Get(tx, name); ok {
			tags = a.Tags
		} else if c, ok := s.composites.Get(tx, name); ok {
			tags = c.Tags
		} else {
			return wire.Errorf("ResourceNotFoundException", "Unknown")
		}
		for _, k := range slices.Sorted(maps.Keys(tags)) {
			out.Tags = append(out.Tags, cloudwatchapi.Tag{Key: wire.Ptr(k), Value: wire.Ptr(tags[k])})
		}
		return nil
	})
}

// StateIn is the state of the alarm with the name, metric or composite; empty if there is none.
func (s *Service) StateIn(tx *state.Tx, name string) string {
	if a, ok := s.alarms.Get(tx, name); ok {
		return a.State()
	}
	if c, ok := s.composites.Get(tx, name); ok {
		return c.State()
	}
	return ""
}

// Firing tells whether the alarm with the name is in ALARM.
func (s *Service) Firing(tx *state.Tx, name string) bool { return s.StateIn(tx, name) == "ALARM" }
