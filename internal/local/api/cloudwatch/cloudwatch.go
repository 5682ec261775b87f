// Package cloudwatch is CloudWatch of the local AWS: metrics by the minute, and alarms that judge them
// by AWS's rules and act.
package cloudwatch

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/cloudwatchapi"
)

// Service is CloudWatch. Its loop is Run.
type Service struct {
	db         *state.DB
	alarms     *state.Table[Alarm]
	composites *state.Table[Composite]
	metrics    metrics
	clock      clock.Clock
	log        *slog.Logger
	region     string
	account    string
	actions    []Action

	compositeActions []CompositeAction
	compositeChanges []func(alarm Composite, previous string)
	wake             chan struct{} // the loop's, when an action begins to be held back
}

// Action is told when an alarm has changed its state, with the ARNs listed for the new state. It
// acts on those it knows.
type Action func(alarm Alarm, arns []string)

// Config is what the service needs to know.
type Config struct {
	DB              *state.DB
	Clock           clock.Clock
	Log             *slog.Logger
	Region, Account string
}

// Register adds the operations to svc and the table to the store.
func Register(svc *wire.Service, c Config) (*Service, error) {
	s := &Service{db: c.DB, clock: c.Clock, log: c.Log, region: c.Region, account: c.Account, metrics: metrics{series: map[string]*series{}}, wake: make(chan struct{}, 1)}
	var err error
	if s.alarms, err = state.NewTable[Alarm](c.DB, TableAlarms); err != nil {
		return nil, err
	}
	if s.composites, err = state.NewTable[Composite](c.DB, "cloudwatch.composites"); err != nil {
		return nil, err
	}
	wire.Handle(svc, "PutMetricData", s.putData)
	wire.Handle(svc, "GetMetricStatistics", s.statistics)
	wire.Handle(svc, "GetMetricData", s.data, wire.Partly("Metrics Insights queries and anomaly detection"))
	wire.Handle(svc, "ListMetrics", s.list)
	wire.Handle(svc, "PutMetricAlarm", s.putAlarm, wire.Partly("anomaly detection, Metrics Insights queries and periods below a minute"))
	wire.Handle(svc, "PutCompositeAlarm", s.putComposite)
	wire.Handle(svc, "DescribeAlarms", s.describe)
	wire.Handle(svc, "DescribeAlarmsForMetric", s.forMetric)
	wire.Handle(svc, "DescribeAlarmHistory", s.history)
	wire.Handle(svc, "DeleteAlarms", s.delete)
	wire.Handle(svc, "SetAlarmState", s.setState)
	wire.Handle(svc, "EnableAlarmActions", s.enable)
	wire.Handle(svc, "DisableAlarmActions", s.disable)
	wire.Handle(svc, "TagResource", s.tag)
	wire.Handle(svc, "UntagResource", s.untag)
	wire.Handle(svc, "ListTagsForResource", s.tags)
	return s, nil
}

// OnAlarm adds an action; call it before Run.
func (s *Service) OnAlarm(a Action) { s.actions = append(s.actions, a) }

// Put records one value of a metric now: what the local AWS measures itself.
func (s *Service) Put(namespace, name, unit string, dims []Dimension, value float64) {
	now := s.clock.Now()
	s.metrics.put(namespace, name, dims, unit, now, now, func(st *set) { st.add(value, 1) })
}

// Read returns a statistic of a metric by period, oldest first; missing periods are left out.
func (s *Service) Read(namespace, name string, dims []Dimension, stat string, start, end time.Time, length time.Duration) map[time.Time]float64 {
	out := map[time.Time]float64{}
	for _, p := range s.metrics.read(namespace, name, dims, start, end, length) {
		if v, ok := p.set.stat(stat); ok {
			out[p.start] = v
		}
	}
	return out
}

func (s *Service) putData(_ context.Context, in *cloudwatchapi.PutMetricDataInput) (*cloudwatchapi.PutMetricDataOutput, error) {
	ns := wire.Value(in.Namespace)
	if strings.HasPrefix(ns, "AWS/") {
		return nil, wire.Errorf("InvalidParameterValue", "The value AWS/ for parameter Namespace is invalid.")
	}
	if len(in.MetricData) > 1000 {
		return nil, wire.Errorf("InvalidParameterValue", "The collection MetricData must not have a size greater than 1000.")
	}
	now := s.clock.Now()
	for _, d := range in.MetricData {
		at := now
		if d.Timestamp != nil {
			at = d.Timestamp.Time
		}
		if at.After(now.Add(2*time.Hour)) || at.Before(now.Add(-14*24*time.Hour)) {
			return nil, wire.Errorf("InvalidParameterValue", "The parameter MetricData.member.1.Timestamp must specify a time no more than two weeks in the past and no more than two hours in the future.")
		}
		if len(d.Counts) > 0 && len(d.Counts) != len(d.Values) {
			return nil, wire.Errorf("InvalidParameterValue", "The parameters MetricData.member.1.Values and MetricData.member.1.Counts must be of the same size.")
		}
		s.metrics.put(ns, wire.Value(d.MetricName), fromAPI(d.Dimensions), wire.Value(d.Unit), at, now, func(st *set) {
			if d.Value != nil {
				st.add(*d.Value, 1)
			}
			for i, v := range d.Values {
				n := 1.0
				if len(d.Counts) > 0 {
					n = d.Counts[i]
				}
				st.add(v, n)
			}
			if v := d.StatisticValues; v != nil {
				st.merge(&set{count: wire.Value(v.SampleCount), sum: wire.Value(v.Sum), min: wire.Value(v.Minimum), max: wire.Value(v.Maximum)})
			}
		})
	}
	return &cloudwatchapi.PutMetricDataOutput{}, nil
}

func percentile(name string) (float64, bool) {
	p, ok := strings.CutPrefix(name, "p")
	v, err := strconv.ParseFloat(p, 64)
	return v, ok && err == nil && v >= 0 && v <= 100
}

func checkStat(name string) error {
	if _, ok := (&set{count: 1}).stat(name); !ok {
		return wire.Errorf("InvalidParameterValue", "not supported: the statistic %s", name)
	}
	return nil
}

func (s *Service) statistics(_ context.Context, in *cloudwatchapi.GetMetricStatisticsInput) (*cloudwatchapi.GetMetricStatisticsOutput, error) {
	length := wire.Value(in.Period)
	if length < 60 || length%60 != 0 {
		return nil, wire.Errorf("InvalidParameterValue", "The parameter Period must be a multiple of 60 seconds")
	}
	if len(in.Statistics)+len(in.ExtendedStatistics) == 0 {
		return nil, wire.Errorf("MissingParameter", "Must specify either Statistics or ExtendedStatistics")
	}
	for _, st := range append(slices.Clone(in.Statistics), in.ExtendedStatistics...) {
		if err := checkStat(st); err != nil {
			return nil, err
		}
	}
	ns, name, dims := wire.Value(in.Namespace), wire.Value(in.MetricName), fromAPI(in.Dimensions)
	out := &cloudwatchapi.GetMetricStatisticsOutput{Label: &name, Datapoints: []cloudwatchapi.Datapoint{}}
	unit := s.metrics.unit(ns, name, dims)
	for _, p := range s.metrics.read(ns, name, dims, wire.TimeOf(in.StartTime), wire.TimeOf(in.EndTime), time.Duration(length)*time.Second) {
		d := cloudwatchapi.Datapoint{Timestamp: wire.Timestamp(p.start), Unit: wire.Ptr(unit)}
		for _, st := range in.Statistics {
			v, _ := p.set.stat(st)
			switch st {
			case "Average":
				d.Average = &v
			case "Sum":
				d.Sum = &v
			case "Minimum":
				d.Minimum = &v
			case "Maximum":
				d.Maximum = &v
			case "SampleCount":
				d.SampleCount = &v
			}
		}
		for _, st := range in.ExtendedStatistics {
			v, _ := p.set.stat(st)
			if d.ExtendedStatistics == nil {
				d.ExtendedStatistics = map[string]float64{}
			}
			d.ExtendedStatistics[st] = v
		}
		out.Datapoints = append(out.Datapoints, d)
	}
	return out, nil
}

func (s *Service) list(_ context.Context, in *cloudwatchapi.ListMetricsInput) (*cloudwatchapi.ListMetricsOutput, error) {
	var all []cloudwatchapi.Metric
	recent := s.clock.Now().Add(-3 * time.Hour)
	s.metrics.list(func(m *series) {
		if in.Namespace != nil && *in.Namespace != m.namespace || in.MetricName != nil && *in.MetricName != m.name || in.RecentlyActive != nil && m.updated.Before(recent) {
			return
		}
		for _, f := range in.Dimensions {
			if !slices.ContainsFunc(m.dims, func(d Dimension) bool { return d.Name == wire.Value(f.Name) && (f.Value == nil || *f.Value == d.Value) }) {
				return
			}
		}
		all = append(all, cloudwatchapi.Metric{Namespace: wire.Ptr(m.namespace), MetricName: wire.Ptr(m.name), Dimensions: toAPI(m.dims)})
	})
	from, _ := strconv.Atoi(wire.Value(in.NextToken)) // absent: from the first
	to := min(from+500, len(all))
	out := &cloudwatchapi.ListMetricsOutput{Metrics: append([]cloudwatchapi.Metric{}, all[min(from, to):to]...)}
	if to < len(all) {
		out.NextToken = wire.Ptr(strconv.Itoa(to))
	}
	return out, nil
}

// Statistics is what is known of several values when the values themselves are not.
type Statistics struct{ Count, Sum, Minimum, Maximum float64 }

// PutStatistics records values of a metric now that were only counted.
func (s *Service) PutStatistics(namespace, name, unit string, dims []Dimension, v Statistics) {
	now := s.clock.Now()
	s.metrics.put(namespace, name, dims, unit, now, now, func(st *set) {
		st.merge(&set{count: v.Count, sum: v.Sum, min: v.Minimum, max: v.Maximum})
	})
}
