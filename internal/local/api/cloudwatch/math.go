package cloudwatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/metricmath"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/cloudwatchapi"
)

// maxQueries and maxPoints bound one GetMetricData
// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html).
const (
	maxQueries = 500
	maxPoints  = 100_800
)

var queryID = regexp.MustCompile(`^[a-z][a-zA-Z0-9_]*$`)

// checkQueries says what is wrong with the form of queries. The parameter's name is part of what AWS says.
func checkQueries(parameter string, queries []cloudwatchapi.MetricDataQuery) error {
	seen := map[string]bool{}
	for i, q := range queries {
		id, where := wire.Value(q.Id), fmt.Sprintf("%s.member.%d", parameter, i+1)
		switch {
		case !queryID.MatchString(id):
			return wire.Errorf("ValidationError", "The value %s for parameter %s.Id is not matching the expected pattern %s.", id, where, queryID)
		case seen[id]:
			return wire.Errorf("ValidationError", "The values for parameter id in %s are not unique.", parameter)
		case q.MetricStat == nil && q.Expression == nil:
			return wire.Errorf("ValidationError", "The parameter %s.MetricStat or the parameter %s.Expression must be specified.", where, where)
		case q.MetricStat != nil && q.Expression != nil:
			return wire.Errorf("ValidationError", "The parameters %s.MetricStat and %s.Expression are mutually exclusive and you have specified both.", where, where)
		}
		seen[id] = true
		if q.Expression != nil {
			if strings.HasPrefix(strings.ToUpper(strings.TrimSpace(*q.Expression)), "SELECT") {
				return wire.Errorf("ValidationError", "not supported: Metrics Insights queries (query %s)", id)
			}
			continue
		}
		if q.MetricStat.Metric == nil || wire.Value(q.MetricStat.Metric.MetricName) == "" {
			return wire.Errorf("ValidationError", "The parameter %s.MetricStat.Metric.MetricName is required.", where)
		}
		if p := wire.Value(q.MetricStat.Period); p != 1 && p != 5 && p != 10 && p != 20 && p != 30 && (p < 60 || p%60 != 0) {
			return wire.Errorf("ValidationError", "The value %d for parameter %s.MetricStat.Period is invalid: it must be 1, 5, 10, 20, 30 or a multiple of 60.", p, where)
		}
		if err := checkStat(wire.Value(q.MetricStat.Stat)); err != nil {
			return wire.Errorf("ValidationError", "%v", errorText(err))
		}
	}
	return nil
}

func errorText(err error) string {
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return e.Message
	}
	return err.Error()
}

// Evaluate reads the metrics of queries between two times and evaluates their expressions, by the ids
// of the queries. SEARCH may be used where searching is true.
func (s *Service) Evaluate(queries []cloudwatchapi.MetricDataQuery, start, end time.Time, searching bool) (map[string]metricmath.Value, error) {
	var list []metricmath.Query
	for _, q := range queries {
		out := metricmath.Query{ID: wire.Value(q.Id), Label: wire.Value(q.Label), Period: time.Duration(wire.Value(q.Period)) * time.Second}
		if q.Expression != nil {
			out.Expression = *q.Expression
		} else {
			m := q.MetricStat
			length := time.Duration(max(60, wire.Value(m.Period))) * time.Second // nothing is finer than a minute here
			out.Metric = s.series(wire.Value(m.Metric.Namespace), wire.Value(m.Metric.MetricName), fromAPI(m.Metric.Dimensions), wire.Value(m.Stat), start, end, length)
			out.Metric.ID, out.Metric.Label = out.ID, cmp.Or(out.Label, wire.Value(m.Metric.MetricName))
		}
		list = append(list, out)
	}
	var search metricmath.Search
	if searching {
		search = func(expression, stat string, period time.Duration) ([]metricmath.Series, error) {
			return s.search(expression, stat, start, end, period)
		}
	}
	out, err := metricmath.Evaluate(list, metricmath.Range{Start: start, End: end}, search)
	if err != nil {
		return nil, wire.Errorf("ValidationError", "%v", err)
	}
	return out, nil
}

func (s *Service) series(namespace, name string, dims []Dimension, stat string, start, end time.Time, length time.Duration) metricmath.Series {
	out := metricmath.Series{Label: name, Period: length}
	for _, p := range s.metrics.read(namespace, name, dims, start, end, length) {
		if v, ok := p.set.stat(stat); ok {
			out.Points = append(out.Points, metricmath.Point{At: p.start.Unix(), Value: v})
		}
	}
	return out
}

func (s *Service) data(_ context.Context, in *cloudwatchapi.GetMetricDataInput) (*cloudwatchapi.GetMetricDataOutput, error) {
	start, end := wire.TimeOf(in.StartTime), wire.TimeOf(in.EndTime)
	limit := int(cmp.Or(wire.Value(in.MaxDatapoints), maxPoints))
	switch {
	case !start.Before(end):
		return nil, wire.Errorf("ValidationError", "The parameter StartTime must be less than the parameter EndTime.")
	case len(in.MetricDataQueries) > maxQueries:
		return nil, wire.Errorf("ValidationError", "The collection MetricDataQueries must not have a size greater than %d.", maxQueries)
	case limit < 1 || limit > maxPoints:
		return nil, wire.Errorf("ValidationError", "The parameter MaxDatapoints must be between 1 and %d.", maxPoints)
	}
	if err := checkQueries("MetricDataQueries", in.MetricDataQueries); err != nil {
		return nil, err
	}
	values, err := s.Evaluate(in.MetricDataQueries, start, end, true)
	if err != nil {
		return nil, err
	}
	out := &cloudwatchapi.GetMetricDataOutput{MetricDataResults: []cloudwatchapi.MetricDataResult{}, Messages: []cloudwatchapi.MessageData{}}
	skip := 0
	if in.NextToken != nil {
		if skip, err = strconv.Atoi(*in.NextToken); err != nil || skip < 1 {
			return nil, wire.Errorf("InvalidNextToken", "The next token is not valid.")
		}
	}
	at, left := 0, limit // points before this one, and room on this page
	for _, q := range in.MetricDataQueries {
		if q.ReturnData != nil && !*q.ReturnData {
			continue
		}
		v := values[wire.Value(q.Id)]
		if v.Kind != metricmath.One && v.Kind != metricmath.Many {
			return nil, wire.Errorf("ValidationError", "Error in expression '%s' [The result must be a time series or an array of time series]", wire.Value(q.Id))
		}
		for _, x := range v.List {
			r := cloudwatchapi.MetricDataResult{Id: q.Id, Label: wire.Ptr(label(q, v, x)), StatusCode: wire.Ptr("Complete"), Timestamps: []wire.Time{}, Values: []float64{}}
			points := x.Points
			if wire.Value(in.ScanBy) != "TimestampAscending" {
				points = slices.Clone(points)
				slices.Reverse(points)
			}
			for _, p := range points {
				if at++; at <= skip {
					continue
				}
				if left == 0 {
					r.StatusCode, out.NextToken = wire.Ptr("PartialData"), wire.Ptr(strconv.Itoa(skip+limit))
					break
				}
				left--
				r.Timestamps, r.Values = append(r.Timestamps, wire.Time{Time: time.Unix(p.At, 0).UTC()}), append(r.Values, p.Value)
			}
			out.MetricDataResults = append(out.MetricDataResults, r)
		}
	}
	return out, nil
}

// label is what a line is called: as the query says, else the metric's name or the expression's id; a
// member of an array is called by both names.
func label(q cloudwatchapi.MetricDataQuery, v metricmath.Value, x metricmath.Series) string {
	switch {
	case q.Expression == nil:
		return x.Label
	case v.Kind == metricmath.Many && x.Label != "":
		return strings.TrimSpace(wire.Value(q.Label) + " " + x.Label)
	}
	return cmp.Or(wire.Value(q.Label), wire.Value(q.Id))
}

// watched are the points of what an alarm watches, by the beginning of their periods.
func (s *Service) watched(api cloudwatchapi.MetricAlarm, start, end time.Time, length time.Duration) map[time.Time]float64 {
	if len(api.Metrics) == 0 {
		return s.Read(wire.Value(api.Namespace), wire.Value(api.MetricName), fromAPI(api.Dimensions), cmp.Or(wire.Value(api.Statistic), wire.Value(api.ExtendedStatistic)), start, end, length)
	}
	out := map[time.Time]float64{}
	values, err := s.Evaluate(api.Metrics, start, end, false)
	if err != nil {
		return out // checked when it was put: a fault now is missing data
	}
	if v := values[returned(api.Metrics)]; v.Kind == metricmath.One {
		for _, p := range v.List[0].Points {
			out[time.Unix(p.At, 0).UTC()] = p.Value
		}
	}
	return out
}

// returned is the id of the query whose result an alarm watches.
func returned(queries []cloudwatchapi.MetricDataQuery) string {
	for _, q := range queries {
		if q.ReturnData == nil || *q.ReturnData {
			return wire.Value(q.Id)
		}
	}
	return ""
}

// periodOf is the period of an alarm: that of its metrics, the longest of several.
func periodOf(api cloudwatchapi.MetricAlarm) time.Duration {
	longest := wire.Value(api.Period)
	for _, q := range api.Metrics {
		if q.MetricStat != nil {
			longest = max(longest, wire.Value(q.MetricStat.Period))
		}
		longest = max(longest, wire.Value(q.Period))
	}
	return time.Duration(max(60, longest)) * time.Second
}

// CheckMath says what is wrong with an alarm on metric math
// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html).
func (s *Service) CheckMath(in *cloudwatchapi.PutMetricAlarmInput) error {
	if in.MetricName != nil || in.Namespace != nil || in.Statistic != nil || in.ExtendedStatistic != nil || in.Period != nil || len(in.Dimensions) > 0 {
		return wire.Errorf("ValidationError", "The parameters MetricName, Namespace, Dimensions, Period, Unit, Statistic and ExtendedStatistic must not be specified with Metrics.")
	}
	if err := checkQueries("Metrics", in.Metrics); err != nil {
		return err
	}
	shown, metrics, expressions := 0, 0, 0
	for _, q := range in.Metrics {
		if q.ReturnData == nil || *q.ReturnData {
			shown++
		}
		if q.MetricStat != nil {
			metrics++
			if p := wire.Value(q.MetricStat.Period); p < 60 {
				return wire.Errorf("ValidationError", "not supported: a Period of %d; it must be a multiple of 60", p)
			}
		} else {
			expressions++
		}
	}
	switch {
	case shown != 1:
		return wire.Errorf("ValidationError", "Exactly one element of the metrics list should return data.")
	case metrics > 10 || expressions > 10:
		return wire.Errorf("ValidationError", "Metrics must not have more than 10 metrics and 10 expressions.")
	case metrics == 0:
		return wire.Errorf("ValidationError", "Metrics list must contain at least one metric.")
	}
	now := s.clock.Now()
	values, err := s.Evaluate(in.Metrics, now.Add(-time.Hour), now, false)
	if err != nil {
		return err
	}
	if id := returned(in.Metrics); values[id].Kind != metricmath.One {
		return wire.Errorf("ValidationError", "Error in expression '%s' [An alarm can watch a single time series only]", id)
	}
	return nil
}
