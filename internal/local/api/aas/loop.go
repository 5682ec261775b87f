package aas

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/api/cloudwatch"
	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/schedule"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/aasapi"
	"github.com/slipway-ecs/slipway/internal/scaling"
)

// onAlarm runs the policies among an alarm's actions.
func (s *Service) onAlarm(a cloudwatch.Alarm, arns []string) {
	for _, arn := range arns {
		if !strings.Contains(arn, ":scalingPolicy:") || !strings.Contains(arn, ":resource/ecs/") {
			continue
		}
		if err := s.db.Update(func(tx *state.Tx) error { s.run(tx, arn, a); return nil }); err != nil {
			s.log.Error("running a scaling policy", "policy", arn, "error", err)
		}
	}
}

func (s *Service) run(tx *state.Tx, arn string, a cloudwatch.Alarm) {
	for key, p := range s.policies.All(tx) {
		if wire.Value(p.API.PolicyARN) != arn {
			continue
		}
		id, _ := splitKey(key)
		target, ok := s.targets.Get(tx, id)
		svcKey, _ := serviceKey(id)
		svc, there := s.ecs.Services.Get(tx, svcKey)
		if !ok || !there || svc.Status != "ACTIVE" {
			return
		}
		value, known := s.cw.Newest(a)
		if !known {
			return // never on missing data
		}
		to, cooldown := s.decide(tx, p, target, svc, a, value)
		wanted := to
		lo, hi := target.bounds()
		to = min(max(to, lo), hi)
		out := to > svc.DesiredCount
		cause := fmt.Sprintf("monitor alarm %s in state ALARM triggered policy %s", a.Name(), wire.Value(p.API.PolicyName))
		if current := wire.Int32(svc.DesiredCount); to == svc.DesiredCount {
			switch {
			case wanted > to:
				s.notScaled(tx, id, cause, aasapi.NotScaledReason{Code: wire.Ptr("AlreadyAtMaxCapacity"), MaxCapacity: wire.Int32(hi), CurrentCapacity: current})
			case wanted < to:
				s.notScaled(tx, id, cause, aasapi.NotScaledReason{Code: wire.Ptr("AlreadyAtMinCapacity"), MinCapacity: wire.Int32(lo), CurrentCapacity: current})
			}
		}
		if to == svc.DesiredCount || s.suspended(target, out) || !out && s.holdsBack(tx, p, svcKey) {
			return
		}
		now := s.clock.Now()
		last := p.LastIn
		if out {
			last = p.LastOut
		}
		if now.Sub(last) < cooldown || !out && now.Sub(p.LastOut) < cooldown {
			return
		}
		s.policies.Modify(tx, key, func(p *Policy) {
			if out {
				p.LastOut = now
			} else {
				p.LastIn = now
			}
		})
		s.setDesired(tx, id, to, cause)
		return
	}
}

func (s *Service) suspended(t *Target, out bool) bool {
	if out {
		return wire.Value(t.Suspended.DynamicScalingOutSuspended)
	}
	return wire.Value(t.Suspended.DynamicScalingInSuspended)
}

func (s *Service) decide(tx *state.Tx, p *Policy, _ *Target, svc *state.Service, a cloudwatch.Alarm, value float64) (to int, cooldown time.Duration) {
	if c := p.API.StepScalingPolicyConfiguration; c != nil {
		var steps []scaling.Step
		for _, st := range c.StepAdjustments {
			steps = append(steps, scaling.Step{Lower: st.MetricIntervalLowerBound, Upper: st.MetricIntervalUpperBound, Adjustment: int(wire.Value(st.ScalingAdjustment))})
		}
		to, _ = scaling.StepTo(wire.Value(c.AdjustmentType), steps, int(wire.Value(c.MinAdjustmentMagnitude)), svc.DesiredCount, value-wire.Value(a.API.Threshold))
		return to, time.Duration(wire.Value(c.Cooldown)) * time.Second
	}
	c := p.API.TargetTrackingScalingPolicyConfiguration
	running := 0
	for _, t := range s.ecs.TasksByService.Get(tx, state.ServiceKey(svc.ClusterName, svc.Name)) {
		if t.LastStatus == "RUNNING" {
			running++
		}
	}
	seconds := func(v *int32) time.Duration {
		if v == nil {
			return scaling.CooldownSecs * time.Second
		}
		return time.Duration(*v) * time.Second
	}
	if strings.Contains(a.Name(), "-AlarmHigh-") {
		return scaling.TrackOut(running, svc.DesiredCount, value, wire.Value(c.TargetValue)), seconds(c.ScaleOutCooldown)
	}
	if wire.Value(c.DisableScaleIn) {
		return svc.DesiredCount, 0
	}
	return scaling.TrackIn(running, svc.DesiredCount, value, wire.Value(c.TargetValue)), seconds(c.ScaleInCooldown)
}

// holdsBack says whether a scale-in must not happen now: a deployment is on its way, or another
// target-tracking policy of the service does not agree (out when any says so, in when all agree).
func (s *Service) holdsBack(tx *state.Tx, p *Policy, service string) bool {
	for _, d := range s.ecs.Deployments.Prefix(tx, service+"/") {
		if d.Status == "PRIMARY" && d.RolloutState == "IN_PROGRESS" {
			return true
		}
	}
	for _, other := range s.policies.Prefix(tx, wire.Value(p.API.ResourceId)+"\x00") {
		c := other.API.TargetTrackingScalingPolicyConfiguration
		if c == nil || wire.Value(c.DisableScaleIn) || wire.Value(other.API.PolicyARN) == wire.Value(p.API.PolicyARN) {
			continue
		}
		if len(other.API.Alarms) == 2 && s.cw.StateIn(tx, wire.Value(other.API.Alarms[1].AlarmName)) != "ALARM" {
			return true
		}
	}
	return false
}

// Run carries out scheduled actions and forecasts until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	for {
		if err := clock.Sleep(ctx, s.clock, 15*time.Second); err != nil {
			return nil // the context ended
		}
		if err := s.db.Update(s.runScheduled); err != nil {
			return fmt.Errorf("running scheduled actions: %w", err)
		}
		if err := s.runPredictive(); err != nil {
			return fmt.Errorf("running predictive scaling: %w", err)
		}
	}
}

func (s *Service) runScheduled(tx *state.Tx) error {
	now := s.clock.Now()
	var due []string
	for key, a := range s.scheduled.All(tx) {
		next, err := schedule.Parse(wire.Value(a.API.Schedule), wire.Value(a.API.Timezone))
		if err != nil {
			continue // it was checked when it was put
		}
		at := next(a.LastRun)
		if at.IsZero() || at.After(now) || a.API.StartTime != nil && at.Before(a.API.StartTime.Time) || a.API.EndTime != nil && at.After(a.API.EndTime.Time) {
			continue
		}
		due = append(due, key)
	}
	slices.Sort(due)
	for _, key := range due {
		s.scheduled.Modify(tx, key, func(a *Scheduled) { a.LastRun = now })
		a, _ := s.scheduled.Get(tx, key)
		id, name := splitKey(key)
		act := a.API.ScalableTargetAction
		s.targets.Modify(tx, id, func(t *Target) {
			if act != nil && act.MinCapacity != nil {
				t.Min = *act.MinCapacity
			}
			if act != nil && act.MaxCapacity != nil {
				t.Max = *act.MaxCapacity
			}
		})
		if t, ok := s.targets.Get(tx, id); ok {
			s.clamp(tx, *t, "scheduled action name "+name+" was triggered")
		}
	}
	return nil
}
