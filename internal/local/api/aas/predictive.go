package aas

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/predict"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/aasapi"
	"github.com/slipway-ecs/slipway/internal/scaling"
)

// checkPredictive says what is wrong with a predictive policy, and fills in AWS's defaults.
func (s *Service) checkPredictive(resource string, c *aasapi.PredictiveScalingPolicyConfiguration) error {
	if c == nil {
		return wire.Errorf("ValidationException", "The configuration of the policy type PredictiveScaling is missing")
	}
	c.Mode, c.MaxCapacityBreachBehavior = first(c.Mode, wire.Ptr("ForecastOnly")), first(c.MaxCapacityBreachBehavior, wire.Ptr("HonorMaxCapacity"))
	c.SchedulingBufferTime = first(c.SchedulingBufferTime, wire.Ptr[int32](300))
	buffer := wire.Value(c.MaxCapacityBuffer)
	switch {
	case *c.Mode != "ForecastOnly" && *c.Mode != "ForecastAndScale":
		return wire.Errorf("ValidationException", "The mode must be ForecastOnly or ForecastAndScale, not %q", *c.Mode)
	case *c.SchedulingBufferTime < 0 || *c.SchedulingBufferTime >= 3600:
		return wire.Errorf("ValidationException", "SchedulingBufferTime must be at least 0 and less than 3600 seconds")
	case *c.MaxCapacityBreachBehavior != "HonorMaxCapacity" && *c.MaxCapacityBreachBehavior != "IncreaseMaxCapacity":
		return wire.Errorf("ValidationException", "MaxCapacityBreachBehavior must be HonorMaxCapacity or IncreaseMaxCapacity, not %q", *c.MaxCapacityBreachBehavior)
	case (*c.MaxCapacityBreachBehavior == "IncreaseMaxCapacity") != (c.MaxCapacityBuffer != nil):
		return wire.Errorf("ValidationException", "MaxCapacityBuffer is required with IncreaseMaxCapacity, and must not be specified otherwise")
	case buffer < 0 || buffer > 100:
		return wire.Errorf("ValidationException", "MaxCapacityBuffer must be between 0 and 100")
	}
	spec, err := predictive(resource, c)
	if err != nil {
		return err
	}
	// Queries that cannot be evaluated are refused now, not each hour.
	now := s.clock.Now()
	if _, err := predict.Make(s.cw, spec, nil, now); err != nil && !errors.Is(err, predict.ErrTooLittle) {
		return wire.Errorf("ValidationException", "%v", err)
	}
	return nil
}

// buffer is the percentage by which the maximum may be exceeded; -1: it may not.
func buffer(c *aasapi.PredictiveScalingPolicyConfiguration) int {
	if wire.Value(c.MaxCapacityBreachBehavior) != "IncreaseMaxCapacity" {
		return -1
	}
	return int(wire.Value(c.MaxCapacityBuffer))
}

// refreshForecast makes the policy's forecast anew if it has none or an old one. It returns nil while
// there is too little data.
func (s *Service) refreshForecast(key string) (*predict.Forecast, error) {
	now := s.clock.Now()
	var p *Policy
	var old *predict.Forecast
	_ = s.db.View(func(tx *state.Tx) error {
		p, _ = s.policies.Get(tx, key)
		old, _ = s.forecasts.Get(tx, key)
		return nil
	})
	if p == nil || p.API.PredictiveScalingPolicyConfiguration == nil || old != nil && now.Sub(old.At) < predict.Every {
		return old, nil
	}
	spec, err := predictive(wire.Value(p.API.ResourceId), p.API.PredictiveScalingPolicyConfiguration)
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

// forecast is GetPredictiveScalingForecast
// (https://docs.aws.amazon.com/autoscaling/application/APIReference/API_GetPredictiveScalingForecast.html).
func (s *Service) forecast(_ context.Context, in *aasapi.GetPredictiveScalingForecastInput) (*aasapi.GetPredictiveScalingForecastOutput, error) {
	if err := checkKind(in.ServiceNamespace, in.ScalableDimension); err != nil {
		return nil, err
	}
	start, end, now := wire.TimeOf(in.StartTime), wire.TimeOf(in.EndTime), s.clock.Now()
	switch {
	case !start.Before(end):
		return nil, wire.Errorf("ValidationException", "The start time must be before the end time")
	case end.Sub(start) > 30*24*time.Hour:
		return nil, wire.Errorf("ValidationException", "The time between the start time and the end time must not be more than 30 days")
	case start.Before(now.AddDate(-1, 0, 0)):
		return nil, wire.Errorf("ValidationException", "The start time must not be more than a year before the present time")
	}
	id, name := wire.Value(in.ResourceId), wire.Value(in.PolicyName)
	var c *aasapi.PredictiveScalingPolicyConfiguration
	var target *Target
	err := s.db.View(func(tx *state.Tx) error {
		p, ok := s.policies.Get(tx, policyKey(id, name))
		if !ok {
			return wire.Errorf("ValidationException", "No scaling policy found for service namespace: ecs, resource ID: %s, scalable dimension: ecs:service:DesiredCount: %s", id, name)
		}
		if c = p.API.PredictiveScalingPolicyConfiguration; c == nil {
			return wire.Errorf("ValidationException", "The policy %s is not a predictive scaling policy", name)
		}
		if target, ok = s.targets.Get(tx, id); !ok {
			return noTarget(id)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	f, err := s.refreshForecast(policyKey(id, name))
	if err != nil {
		return nil, err
	}
	if f == nil {
		return nil, wire.Errorf("ValidationException", "%v", predict.ErrTooLittle)
	}
	load := aasapi.LoadForecast{MetricSpecification: &c.MetricSpecifications[0], Timestamps: []wire.Time{}, Values: []float64{}}
	capacity := &aasapi.CapacityForecast{Timestamps: []wire.Time{}, Values: []float64{}}
	at, hours := f.Between(start, end)
	for i, h := range hours {
		n, _ := scaling.PredictedWithin(h.Capacity, int(target.Min), int(target.Max), buffer(c))
		load.Timestamps, load.Values = append(load.Timestamps, wire.Time{Time: at[i]}), append(load.Values, h.Load)
		capacity.Timestamps, capacity.Values = append(capacity.Timestamps, wire.Time{Time: at[i]}), append(capacity.Values, float64(n))
	}
	return &aasapi.GetPredictiveScalingForecastOutput{LoadForecast: []aasapi.LoadForecast{load}, CapacityForecast: capacity, UpdateTime: wire.Timestamp(f.At)}, nil
}

// runPredictive keeps forecasts fresh, and raises services to what is forecast for the hour, a little
// before it begins.
func (s *Service) runPredictive() error {
	var keys []string
	_ = s.db.View(func(tx *state.Tx) error {
		for key, p := range s.policies.All(tx) {
			if p.API.PredictiveScalingPolicyConfiguration != nil {
				keys = append(keys, key)
			}
		}
		return nil
	})
	for _, key := range keys {
		if _, err := s.refreshForecast(key); err != nil {
			s.log.Warn("making a forecast", "policy", key, "error", err)
		}
	}
	return s.db.Update(func(tx *state.Tx) error {
		predicted := map[string]prediction{}
		for _, key := range keys {
			p, ok := s.policies.Get(tx, key)
			f, made := s.forecasts.Get(tx, key)
			if !ok || !made {
				continue
			}
			c := p.API.PredictiveScalingPolicyConfiguration
			h, known := f.Hour(s.clock.Now().Add(time.Duration(wire.Value(c.SchedulingBufferTime)) * time.Second))
			id, name := splitKey(key)
			if t, ok := s.targets.Get(tx, id); known && ok && wire.Value(c.Mode) == "ForecastAndScale" {
				n, top := scaling.PredictedWithin(h.Capacity, int(t.Min), int(t.Max), buffer(c))
				if old, ok := predicted[id]; !ok || n > old.capacity {
					predicted[id] = prediction{n, top, name}
				}
			}
		}
		for id, t := range s.targets.All(tx) {
			var want *int32
			p, ok := predicted[id]
			if ok {
				want = wire.Int32(p.capacity)
			}
			if wire.Value(want) != wire.Value(t.Predicted) || (want == nil) != (t.Predicted == nil) || ok && t.PredictedMax != int32(p.top) {
				s.targets.Modify(tx, id, func(t *Target) { t.Predicted, t.PredictedMax = want, int32(p.top) })
			}
		}
		for id, p := range predicted {
			t, _ := s.targets.Get(tx, id)
			key, _ := serviceKey(id)
			svc, ok := s.ecs.Services.Get(tx, key)
			if ok && svc.Status == "ACTIVE" && svc.DesiredCount < p.capacity && !s.suspended(t, true) {
				s.setDesired(tx, id, p.capacity, fmt.Sprintf("predictive scaling policy %s forecast a capacity of %d", p.policy, p.capacity))
			}
		}
		return nil
	})
}

type prediction struct {
	capacity, top int
	policy        string
}

// bounds are within what the target's capacity may be now: a forecast raises the lower one.
func (t *Target) bounds() (lo, hi int) {
	return max(int(t.Min), int(wire.Value(t.Predicted))), cmp.Or(max(int(t.Max), int(t.PredictedMax)), int(t.Max))
}
