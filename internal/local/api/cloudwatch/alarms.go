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

// Alarm is a metric alarm. Key: name.
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
	switch op := wire.Value(in.ComparisonOperator); {
	case len(in.Metrics) > 0 || in.ThresholdMetricId != nil || in.EvaluationCriteria != nil:
		return nil, wire.Errorf("ValidationError", "not supported: alarms on metric math, anomaly detection and queries")
	case in.MetricName == nil || in.Namespace == nil || stat == "":
		return nil, wire.Errorf("ValidationError", "The parameters MetricName, Namespace and one of Statistic and ExtendedStatistic are required.")
	case in.Threshold == nil:
		return nil, wire.Errorf("ValidationError", "The parameter Threshold is required.")
	case length < 60 || length%60 != 0:
		return nil, wire.Errorf("ValidationError", "not supported: a Period of %d; it must be a multiple of 60", length)
	case n < 1 || m < 0 || m > n:
		return nil, wire.Errorf("ValidationError", "DatapointsToAlarm must be between 1 and EvaluationPeriods")
	case !slices.Contains([]string{"GreaterThanThreshold", "GreaterThanOrEqualToThreshold", "LessThanThreshold", "LessThanOrEqualToThreshold"}, op):
		return nil, wire.Errorf("ValidationError", "not supported: the comparison %s", op)
	}
	if err := checkStat(stat); err != nil {
		return nil, err
	}
	return &cloudwatchapi.PutMetricAlarmOutput{}, s.PutAlarm(in)
}

func (s *Service) describe(_ context.Context, in *cloudwatchapi.DescribeAlarmsInput) (*cloudwatchapi.DescribeAlarmsOutput, error) {
	out := &cloudwatchapi.DescribeAlarmsOutput{MetricAlarms: []cloudwatchapi.MetricAlarm{}, CompositeAlarms: []cloudwatchapi.CompositeAlarm{}}
	limit := int(cmp.Or(wire.Value(in.MaxRecords), 50))
	return out, s.db.View(func(tx *state.Tx) error {
		for name, a := range s.alarms.From(tx, wire.Value(in.NextToken)) {
			if len(in.AlarmNames) > 0 && !slices.Contains(in.AlarmNames, name) || !strings.HasPrefix(name, wire.Value(in.AlarmNamePrefix)) || in.StateValue != nil && *in.StateValue != a.State() ||
				in.ActionPrefix != nil && !slices.ContainsFunc(a.API.AlarmActions, func(arn string) bool { return strings.HasPrefix(arn, *in.ActionPrefix) }) {
				continue
			}
			if len(out.MetricAlarms) == limit {
				out.NextToken = wire.Ptr(name)
				break
			}
			out.MetricAlarms = append(out.MetricAlarms, a.API)
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
	err := s.db.View(func(tx *state.Tx) error {
		for name, a := range s.alarms.All(tx) {
			for _, e := range a.History {
				if in.AlarmName != nil && *in.AlarmName != name || in.HistoryItemType != nil && *in.HistoryItemType != e.Kind || in.StartDate != nil && e.At.Before(in.StartDate.Time) || in.EndDate != nil && e.At.After(in.EndDate.Time) {
					continue
				}
				out.AlarmHistoryItems = append(out.AlarmHistoryItems, cloudwatchapi.AlarmHistoryItem{AlarmName: wire.Ptr(name), AlarmType: wire.Ptr("MetricAlarm"), Timestamp: wire.Timestamp(e.At), HistoryItemType: wire.Ptr(e.Kind), HistorySummary: wire.Ptr(e.Summary), HistoryData: wire.Ptr(e.Data)})
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

func (s *Service) delete(_ context.Context, in *cloudwatchapi.DeleteAlarmsInput) (*cloudwatchapi.DeleteAlarmsOutput, error) {
	return &cloudwatchapi.DeleteAlarmsOutput{}, s.db.Update(func(tx *state.Tx) error {
		for _, name := range in.AlarmNames {
			if !s.alarms.Delete(tx, name) && len(in.AlarmNames) == 1 {
				return wire.Errorf("ResourceNotFound", "Alarm %s does not exist", name)
			}
		}
		return nil
	})
}

func (s *Service) setState(_ context.Context, in *cloudwatchapi.SetAlarmStateInput) (*cloudwatchapi.SetAlarmStateOutput, error) {
	value := wire.Value(in.StateValue)
	if value != "OK" && value != "ALARM" && value != "INSUFFICIENT_DATA" {
		return nil, wire.Errorf("ValidationError", "Value '%s' at 'stateValue' failed to satisfy constraint: Member must satisfy enum value set: [INSUFFICIENT_DATA, ALARM, OK]", value)
	}
	found, err := s.transition(wire.Value(in.AlarmName), value, wire.Value(in.StateReason))
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
		a, ok := s.alarms.Get(tx, name)
		if !ok {
			return wire.Errorf("ResourceNotFoundException", "Unknown")
		}
		for _, k := range slices.Sorted(maps.Keys(a.Tags)) {
			out.Tags = append(out.Tags, cloudwatchapi.Tag{Key: wire.Ptr(k), Value: wire.Ptr(a.Tags[k])})
		}
		return nil
	})
}

// StateIn is the state of the alarm with the name; empty if there is none.
func (s *Service) StateIn(tx *state.Tx, name string) string {
	a, ok := s.alarms.Get(tx, name)
	if !ok {
		return ""
	}
	return a.State()
}

// Firing tells whether the alarm with the name is in ALARM.
func (s *Service) Firing(tx *state.Tx, name string) bool { return s.StateIn(tx, name) == "ALARM" }
