package elbv2

import (
	"github.com/slipway-ecs/slipway/internal/local/state"
)

// AttachIn registers an instance at the target group's own port, as Auto Scaling does. One that is
// registered stays as it is.
func (s *Service) AttachIn(tx *state.Tx, arn, instance string) {
	g, ok := s.groups.Get(tx, arn)
	if !ok {
		return
	}
	key := state.TargetKey(arn, instance, int(*g.API.Port))
	if old, ok := s.ecs.Targets.Get(tx, key); !ok || !old.DrainingSince.IsZero() {
		s.ecs.Targets.Put(tx, key, &state.Target{TargetGroupARN: arn, ID: instance, Port: int(*g.API.Port), RegisteredAt: s.now()})
	}
}

// DetachIn begins the draining of an instance's target.
func (s *Service) DetachIn(tx *state.Tx, arn, instance string) {
	g, ok := s.groups.Get(tx, arn)
	if !ok {
		return
	}
	key := state.TargetKey(arn, instance, int(*g.API.Port))
	if old, ok := s.ecs.Targets.Get(tx, key); ok && old.DrainingSince.IsZero() {
		s.ecs.Targets.Modify(tx, key, func(t *state.Target) { t.DrainingSince = s.now() })
	}
}

// HealthIn is the state of an instance's target; empty where it is not registered.
func (s *Service) HealthIn(tx *state.Tx, arn, instance string) string {
	g, ok := s.groups.Get(tx, arn)
	if !ok {
		return ""
	}
	key := state.TargetKey(arn, instance, int(*g.API.Port))
	t, ok := s.ecs.Targets.Get(tx, key)
	switch {
	case !ok:
		return ""
	case !t.DrainingSince.IsZero():
		return "draining"
	}
	if h, ok := s.ecs.TargetHealth.Get(tx, key); ok {
		return h.State
	}
	return "initial"
}
