package autoscaling

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/api/cloudwatch"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/scaling"
)

// trigger is why a policy runs.
type trigger struct {
	value, threshold float64
	low              bool // the low alarm of target tracking
	cause            string
	ignoreCooldown   bool
}

// onAlarm runs the policies among an alarm's actions.
func (s *Service) onAlarm(a cloudwatch.Alarm, arns []string) {
	for _, arn := range arns {
		if !strings.Contains(arn, ":scalingPolicy:") || !strings.Contains(arn, ":autoScalingGroupName/") {
			continue
		}
		value, known := s.cw.Newest(a)
		if !known {
			continue // never on missing data
		}
		err := s.db.Update(func(tx *state.Tx) error {
			p, err := s.findPolicy(tx, "", arn)
			if err != nil {
				return nil // it was deleted and its alarm was not
			}
			low := p.API.TargetTrackingConfiguration != nil && len(p.API.Alarms) == 2 && wire.Value(p.API.Alarms[1].AlarmName) == a.Name()
			return s.scale(tx, p, trigger{value: value, threshold: wire.Value(a.API.Threshold), low: low, cause: fmt.Sprintf("a monitor alarm %s in state ALARM triggered policy %s", a.Name(), *p.API.PolicyName)})
		})
		if err != nil {
			s.log.Error("running a scaling policy", "policy", arn, "error", err)
		}
	}
}

// scale changes the desired capacity of a policy's group as the policy wants it.
func (s *Service) scale(tx *state.Tx, p *Policy, why trigger) error {
	g, ok := s.groups.Get(tx, *p.API.AutoScalingGroupName)
	if !ok || g.Deleting || !wire.Value(p.API.Enabled) || s.suspended(g, "AlarmNotification") {
		return nil
	}
	now, desired := s.clock.Now(), int(*g.Spec.DesiredCapacity)
	warmup := time.Duration(cmp.Or(wire.Value(p.API.EstimatedInstanceWarmup), wire.Value(g.Spec.DefaultInstanceWarmup), wire.Value(g.Spec.DefaultCooldown))) * time.Second
	warm, warming := 0, desired // what is not in service yet warms up too
	for _, m := range g.Members {
		if m.State == "InService" && now.Sub(m.Since) >= warmup {
			warm, warming = warm+1, warming-1
		}
	}
	var steps []scaling.Step
	for _, st := range p.API.StepAdjustments {
		steps = append(steps, scaling.Step{Lower: st.MetricIntervalLowerBound, Upper: st.MetricIntervalUpperBound, Adjustment: int(wire.Value(st.ScalingAdjustment))})
	}
	to := desired
	switch {
	case p.API.TargetTrackingConfiguration != nil:
		c := p.API.TargetTrackingConfiguration
		if warming > 0 {
			return nil // the metric does not show yet what the last step did
		}
		if !why.low {
			to = scaling.TrackOut(max(1, warm), desired, why.value, *c.TargetValue) // from zero as from one
		} else if !wire.Value(c.DisableScaleIn) {
			to = scaling.InStep(desired, scaling.TrackIn(warm, desired, why.value, *c.TargetValue))
		}
	case *p.API.PolicyType == "StepScaling":
		to, _ = scaling.StepTo(*p.API.AdjustmentType, steps, int(wire.Value(p.API.MinAdjustmentMagnitude)), min(desired, max(warm, int(*g.Spec.MinSize))), why.value-why.threshold)
		if to < desired && warming > 0 {
			return nil // warming instances are added to, not taken from
		}
	default:
		cooldown := time.Duration(cmp.Or(wire.Value(p.API.Cooldown), wire.Value(g.Spec.DefaultCooldown))) * time.Second
		if !why.ignoreCooldown && now.Sub(g.ScaledAt) < cooldown {
			return nil
		}
		to, _ = scaling.StepTo(*p.API.AdjustmentType, []scaling.Step{{Adjustment: int(wire.Value(p.API.ScalingAdjustment))}}, int(wire.Value(p.API.MinAdjustmentMagnitude)), desired, 0)
	}
	to = min(max(to, int(*g.Spec.MinSize)), int(*g.Spec.MaxSize))
	if to == desired {
		return nil
	}
	s.groups.Modify(tx, *p.API.AutoScalingGroupName, func(g *Group) {
		g.Spec.DesiredCapacity, g.ScaledAt = wire.Int32(to), now
		g.Reason = fmt.Sprintf("At %s %s changing the desired capacity from %d to %d. ", s.stamp(), why.cause, desired, to)
	})
	return nil
}
