// Package predict makes the forecasts of predictive scaling from what CloudWatch has recorded, for both
// scaling services
// (https://docs.aws.amazon.com/autoscaling/application/userguide/aas-predictive-scaling-how-it-works.html).
package predict

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/metricmath"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/cloudwatchapi"
	"github.com/slipway-ecs/slipway/internal/scaling"
)

// Every is how old a forecast gets, and keep how long what was forecast is kept.
const (
	Every = 6 * time.Hour
	keep  = 60 * 24 * time.Hour
)

// ErrTooLittle says that there is less than a day of data.
var ErrTooLittle = errors.New("there is not enough data to make a forecast: at least 24 hours of the load metric are needed")

// CloudWatch is where metrics are read.
type CloudWatch interface {
	Evaluate(queries []cloudwatchapi.MetricDataQuery, start, end time.Time, searching bool) (map[string]metricmath.Value, error)
}

// Spec is what is forecast: queries of which one returns data. Scaling and Capacity may be empty: then a
// unit of load over a unit of capacity is a unit of the scaling metric.
type Spec struct {
	Target                  float64
	Load, Scaling, Capacity []cloudwatchapi.MetricDataQuery
}

// Hour is a forecast for one hour.
type Hour struct {
	Load     float64
	Capacity int // before any bounds
}

// Forecast is what was forecast, by the Unix second at which the hour begins. Past hours stay.
type Forecast struct {
	At    time.Time // when it was made
	Hours map[int64]Hour
}

// Make forecasts the present hour and the 48 after it, and keeps what was forecast for the past.
func Make(cw CloudWatch, spec Spec, old *Forecast, now time.Time) (*Forecast, error) {
	end := now.UTC().Truncate(time.Hour)
	start := end.Add(-scaling.ForecastLooksHours * time.Hour)
	load, err := hourly(cw, spec.Load, start, end)
	if err != nil {
		return nil, fmt.Errorf("reading the load metric: %w", err)
	}
	future, ok := scaling.Forecast(load, scaling.ForecastHours+1)
	if !ok {
		return nil, ErrTooLittle
	}
	share := 1.0
	if len(spec.Scaling) > 0 && len(spec.Capacity) > 0 {
		metric, err := hourly(cw, spec.Scaling, start, end)
		if err != nil {
			return nil, fmt.Errorf("reading the scaling metric: %w", err)
		}
		capacity, err := hourly(cw, spec.Capacity, start, end)
		if err != nil {
			return nil, fmt.Errorf("reading the capacity metric: %w", err)
		}
		share = scaling.LoadShare(load, metric, capacity)
	}
	out := &Forecast{At: now, Hours: map[int64]Hour{}}
	if old != nil {
		for at, h := range old.Hours {
			if at < end.Unix() && at > now.Add(-keep).Unix() {
				out.Hours[at] = h
			}
		}
	}
	for i, v := range future {
		out.Hours[end.Add(time.Duration(i)*time.Hour).Unix()] = Hour{Load: v, Capacity: scaling.CapacityFor(v, share, spec.Target)}
	}
	return out, nil
}

// Between are the hours that begin from start to before end, in order.
func (f *Forecast) Between(start, end time.Time) (at []time.Time, hours []Hour) {
	if f == nil {
		return nil, nil
	}
	for _, s := range slices.Sorted(maps.Keys(f.Hours)) {
		if t := time.Unix(s, 0).UTC(); !t.Before(start) && t.Before(end) {
			at, hours = append(at, t), append(hours, f.Hours[s])
		}
	}
	return at, hours
}

// Hour is the forecast for the hour that holds the time.
func (f *Forecast) Hour(t time.Time) (Hour, bool) {
	if f == nil {
		return Hour{}, false
	}
	h, ok := f.Hours[t.UTC().Truncate(time.Hour).Unix()]
	return h, ok
}

// hourly is the mean of each hour of what the queries return; NaN where there is nothing.
func hourly(cw CloudWatch, queries []cloudwatchapi.MetricDataQuery, start, end time.Time) ([]float64, error) {
	values, err := cw.Evaluate(queries, start, end, true)
	if err != nil {
		return nil, err
	}
	out := make([]float64, int(end.Sub(start)/time.Hour))
	count := make([]int, len(out))
	for _, q := range queries {
		if q.ReturnData != nil && !*q.ReturnData {
			continue
		}
		v := values[wire.Value(q.Id)]
		if v.Kind != metricmath.One {
			return nil, fmt.Errorf("query %s does not return a single time series", wire.Value(q.Id))
		}
		for _, p := range v.List[0].Points {
			if i := (p.At - start.Unix()) / 3600; i >= 0 && i < int64(len(out)) {
				out[i], count[i] = out[i]+p.Value, count[i]+1
			}
		}
		break
	}
	for i, n := range count {
		if n == 0 {
			out[i] = math.NaN()
		} else {
			out[i] /= float64(n)
		}
	}
	return out, nil
}

// Metric is a query for one metric.
func Metric(id, namespace, name, stat string, period int32, dims ...string) []cloudwatchapi.MetricDataQuery {
	m := &cloudwatchapi.Metric{Namespace: &namespace, MetricName: &name}
	for i := 0; i+1 < len(dims); i += 2 {
		m.Dimensions = append(m.Dimensions, cloudwatchapi.Dimension{Name: &dims[i], Value: &dims[i+1]})
	}
	return []cloudwatchapi.MetricDataQuery{{Id: &id, MetricStat: &cloudwatchapi.MetricStat{Metric: m, Stat: &stat, Period: &period}}}
}
