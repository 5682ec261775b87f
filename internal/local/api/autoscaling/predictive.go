package autoscaling

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/predict"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/autoscalingapi"
	"github.com/slipway-ecs/slipway/internal/local/wire/cloudwatchapi"
	"github.com/slipway-ecs/slipway/internal/scaling"
)

// asQueries makes CloudWatch's queries of a policy's, which have the same members; period is for those
// that name none.
func asQueries[T any](in []T, period int32) ([]cloudwatchapi.MetricDataQuery, error) {
	data, err := json.Marshal(in)
	if err != nil {
		return nil, wire.Errorf("ValidationError", "reading the metric queries: %v", err)
	}
	var out []cloudwatchapi.MetricDataQuery
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, wire.Errorf("ValidationError", "reading the metric queries: %v", err)
	}
	for i := range out {
		if m := out[i].MetricStat; m != nil && m.Period == nil {
			m.Period = &period
		}
	}
	return out, nil
}

// The predefined metrics: pairs and scaling metrics, with the load metric that belongs to each
// (https://docs.aws.amazon.com/autoscaling/ec2/userguide/predictive-scaling-create-policy.html).
var (
	pairs = map[string]string{"ASGCPUUtilization": "ASGTotalCPUUtilization", "ASGNetworkIn": "ASGTotalNetworkIn", "ASGNetworkOut": "ASGTotalNetworkOut", "ALBRequestCount": "ALBTargetGroupRequestCount"}
	metrs = map[string]string{"ASGAverageCPUUtilization": "ASGTotalCPUUtilization", "ASGAverageNetworkIn": "ASGTotalNetworkIn", "ASGAverageNetworkOut": "ASGTotalNetworkOut", "ALBRequestCountPerTarget": "ALBTargetGroupRequestCount"}
)

// predictive is what a predictive policy forecasts.
func predictive(group string, c *autoscalingapi.PredictiveScalingConfiguration) (predict.Spec, error) {
	if len(c.MetricSpecifications) != 1 {
		return predict.Spec{}, wire.Errorf("ValidationError", "Exactly one metric specification is supported.")
	}
	m := c.MetricSpecifications[0]
	out := predict.Spec{Target: wire.Value(m.TargetValue)}
	pair, load, metric := m.PredefinedMetricPairSpecification, m.PredefinedLoadMetricSpecification, m.PredefinedScalingMetricSpecification
	customLoad, customMetric := m.CustomizedLoadMetricSpecification, m.CustomizedScalingMetricSpecification
	switch {
	case out.Target <= 0:
		return out, wire.Errorf("ValidationError", "The target value must be positive.")
	case pair != nil && (load != nil || metric != nil || customLoad != nil || customMetric != nil || m.CustomizedCapacityMetricSpecification != nil):
		return out, wire.Errorf("ValidationError", "A metric pair must not be specified together with load, scaling and capacity metrics.")
	case pair == nil && ((load == nil) == (customLoad == nil) || (metric == nil) == (customMetric == nil)):
		return out, wire.Errorf("ValidationError", "A metric pair, or one load metric and one scaling metric, must be specified.")
	case m.CustomizedCapacityMetricSpecification != nil && customMetric == nil:
		return out, wire.Errorf("ValidationError", "A customized capacity metric needs a customized scaling metric.")
	}
	predefined := func(kind string, label *string) ([]cloudwatchapi.MetricDataQuery, error) {
		switch kind {
		case "ASGTotalCPUUtilization", "ASGTotalNetworkIn", "ASGTotalNetworkOut":
			return predict.Metric("load", "AWS/EC2", strings.TrimPrefix(kind, "ASGTotal"), "Sum", 60, "AutoScalingGroupName", group), nil
		case "ALBTargetGroupRequestCount":
			lb, tg, ok := strings.Cut(wire.Value(label), "/targetgroup/")
			if !ok {
				return nil, wire.Errorf("ValidationError", "The resource label must be app/<load balancer>/<id>/targetgroup/<target group>/<id>")
			}
			return predict.Metric("load", "AWS/ApplicationELB", "RequestCount", "Sum", 60, "LoadBalancer", lb, "TargetGroup", "targetgroup/"+tg), nil
		}
		return nil, wire.Errorf("ValidationError", "The predefined metric type %q is not valid for predictive scaling.", kind)
	}
	var err error
	if pair != nil {
		kind, ok := pairs[wire.Value(pair.PredefinedMetricType)]
		if !ok {
			return out, wire.Errorf("ValidationError", "The metric pair %q is not valid.", wire.Value(pair.PredefinedMetricType))
		}
		out.Load, err = predefined(kind, pair.ResourceLabel)
		return out, err
	}
	if load != nil {
		out.Load, err = predefined(wire.Value(load.PredefinedMetricType), load.ResourceLabel)
	} else {
		out.Load, err = asQueries(customLoad.MetricDataQueries, 3600)
	}
	switch {
	case err != nil:
		return out, err
	case metric != nil:
		if metrs[wire.Value(metric.PredefinedMetricType)] == "" {
			err = wire.Errorf("ValidationError", "The predefined metric type %q is not valid for predictive scaling.", wire.Value(metric.PredefinedMetricType))
		}
		return out, err
	}
	if out.Scaling, err = asQueries(customMetric.MetricDataQueries, 3600); err != nil {
		return out, err
	}
	if cm := m.CustomizedCapacityMetricSpecification; cm != nil {
		out.Capacity, err = asQueries(cm.MetricDataQueries, 3600)
	}
	return out, err
}

// checkPredictive says what is wrong with a predictive policy, and fills in AWS's defaults.
func (s *Service) checkPredictive(group string, c *autoscalingapi.PredictiveScalingConfiguration) error {
	if c == nil {
		return wire.Errorf("ValidationError", "PredictiveScalingConfiguration is required for policies of type PredictiveScaling.")
	}
	c.Mode, c.MaxCapacityBreachBehavior = or(c.Mode, wire.Ptr("ForecastOnly")), or(c.MaxCapacityBreachBehavior, wire.Ptr("HonorMaxCapacity"))
	c.SchedulingBufferTime = or(c.SchedulingBufferTime, wire.Ptr[int32](300))
	raise := *c.MaxCapacityBreachBehavior == "IncreaseMaxCapacity"
	switch b := wire.Value(c.MaxCapacityBuffer); {
	case *c.Mode != "ForecastOnly" && *c.Mode != "ForecastAndScale":
		return wire.Errorf("ValidationError", "Mode must be ForecastOnly or ForecastAndScale.")
	case *c.SchedulingBufferTime < 0 || *c.SchedulingBufferTime >= 3600:
		return wire.Errorf("ValidationError", "SchedulingBufferTime must be at least 0 and less than 3600 seconds.")
	case !raise && *c.MaxCapacityBreachBehavior != "HonorMaxCapacity":
		return wire.Errorf("ValidationError", "MaxCapacityBreachBehavior must be HonorMaxCapacity or IncreaseMaxCapacity.")
	case raise != (c.MaxCapacityBuffer != nil) || b < 0 || b > 100:
		return wire.Errorf("ValidationError", "MaxCapacityBuffer, between 0 and 100, is required with IncreaseMaxCapacity, and must not be specified otherwise.")
	}
	spec, err := predictive(group, c)
	if err != nil {
		return err
	}
	if _, err := predict.Make(s.cw, spec, nil, s.clock.Now()); err != nil && !errors.Is(err, predict.ErrTooLittle) {
		return wire.Errorf("ValidationError", "%v", err)
	}
	return nil
}

// refreshForecast makes the policy's forecast anew if it has none or an old one; nil while there is too
// little data.
func (s *Service) refreshForecast(key string) (*predict.Forecast, error) {
	now := s.clock.Now()
	var p *Policy
	var old *predict.Forecast
	_ = s.db.View(func(tx *state.Tx) error {
		p, _ = s.policies.Get(tx, key)
		old, _ = s.forecasts.Get(tx, key)
		return nil
	})
	if p == nil || p.API.PredictiveScalingConfiguration == nil || old != nil && now.Sub(old.At) < predict.Every {
		return old, nil
	}
	spec, err := predictive(*p.API.AutoScalingGroupName, p.API.PredictiveScalingConfiguration)
	if err != nil {
		return old, err
	}
	made, err := predict.Make(s.cw, spec, old, now)
	if errors.Is(err, predict.ErrTooLittle) {
		return old, nil // an old one serves until there is data again
	}
	if err != nil {
		return old, err
	}
	return made, s.db.Update(func(tx *state.Tx) error {
		if _, ok := s.policies.Get(tx, key); ok {
			s.forecasts.Put(tx, key, made)
		}
		return nil
	})
}

func within(g *Group, c *autoscalingapi.PredictiveScalingConfiguration, capacity int) int {
	buffer := -1
	if wire.Value(c.MaxCapacityBreachBehavior) == "IncreaseMaxCapacity" {
		buffer = int(wire.Value(c.MaxCapacityBuffer))
	}
	n, _ := scaling.PredictedWithin(capacity, int(*g.Spec.MinSize), int(*g.Spec.MaxSize), buffer)
	return n
}

// forecast is GetPredictiveScalingForecast
// (https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_GetPredictiveScalingForecast.html).
func (s *Service) forecast(_ context.Context, in *autoscalingapi.GetPredictiveScalingForecastInput) (*autoscalingapi.GetPredictiveScalingForecastOutput, error) {
	start, end := wire.TimeOf(in.StartTime), wire.TimeOf(in.EndTime)
	if !start.Before(end) || end.Sub(start) > 30*24*time.Hour {
		return nil, wire.Errorf("ValidationError", "The start time must be before the end time, and not more than 30 days before it.")
	}
	var p *Policy
	var g *Group
	err := s.db.View(func(tx *state.Tx) (err error) {
		if p, err = s.findPolicy(tx, wire.Value(in.AutoScalingGroupName), wire.Value(in.PolicyName)); err != nil {
			return err
		}
		g, _ = s.groups.Get(tx, *p.API.AutoScalingGroupName)
		return nil
	})
	if err != nil {
		return nil, err
	}
	c := p.API.PredictiveScalingConfiguration
	if c == nil || g == nil {
		return nil, wire.Errorf("ValidationError", "The policy %s is not a predictive scaling policy.", wire.Value(in.PolicyName))
	}
	f, err := s.refreshForecast(policyKey(*p.API.AutoScalingGroupName, *p.API.PolicyName))
	if err != nil {
		return nil, err
	}
	if f == nil {
		return nil, wire.Errorf("ValidationError", "%v", predict.ErrTooLittle)
	}
	load := autoscalingapi.LoadForecast{MetricSpecification: &c.MetricSpecifications[0], Timestamps: []wire.Time{}, Values: []float64{}}
	capacity := &autoscalingapi.CapacityForecast{Timestamps: []wire.Time{}, Values: []float64{}}
	at, hours := f.Between(start, end)
	for i, h := range hours {
		load.Timestamps, load.Values = append(load.Timestamps, wire.Time{Time: at[i]}), append(load.Values, h.Load)
		capacity.Timestamps, capacity.Values = append(capacity.Timestamps, wire.Time{Time: at[i]}), append(capacity.Values, float64(within(g, c, h.Capacity)))
	}
	return &autoscalingapi.GetPredictiveScalingForecastOutput{LoadForecast: []autoscalingapi.LoadForecast{load}, CapacityForecast: capacity, UpdateTime: wire.Timestamp(f.At)}, nil
}

// predictEachMinute keeps forecasts fresh, and raises groups to what is forecast for the hour, a little
// before it begins. It never scales in: other policies do.
func (s *Service) predictEachMinute(ctx context.Context) {
	for clock.Sleep(ctx, s.clock, time.Minute) == nil {
		var keys []string
		_ = s.db.View(func(tx *state.Tx) error {
			for key, p := range s.policies.All(tx) {
				if p.API.PredictiveScalingConfiguration != nil && wire.Value(p.API.Enabled) {
					keys = append(keys, key)
				}
			}
			return nil
		})
		for _, key := range keys {
			f, err := s.refreshForecast(key)
			if err == nil && f != nil {
				err = s.db.Update(func(tx *state.Tx) error { s.raise(tx, key, f); return nil })
			}
			if err != nil {
				s.log.Warn("making a forecast", "policy", key, "error", err)
			}
		}
	}
}

func (s *Service) raise(tx *state.Tx, key string, f *predict.Forecast) {
	p, ok := s.policies.Get(tx, key)
	if !ok {
		return
	}
	c := p.API.PredictiveScalingConfiguration
	g, ok := s.groups.Get(tx, *p.API.AutoScalingGroupName)
	if c == nil || !ok || *c.Mode != "ForecastAndScale" || s.suspended(g, "ScheduledActions") { // which predictive scaling is part of
		return
	}
	h, known := f.Hour(s.clock.Now().Add(time.Duration(wire.Value(c.SchedulingBufferTime)) * time.Second))
	to, desired := within(g, c, h.Capacity), int(*g.Spec.DesiredCapacity)
	if !known || to <= desired {
		return
	}
	s.groups.Modify(tx, *p.API.AutoScalingGroupName, func(g *Group) {
		g.Spec.DesiredCapacity = wire.Int32(to)
		g.Spec.MaxSize = wire.Ptr(max(*g.Spec.MaxSize, int32(to)))
		g.Reason = fmt.Sprintf("At %s a predictive scaling policy %s changed the desired capacity from %d to %d. ", s.stamp(), *p.API.PolicyName, desired, to)
	})
}
