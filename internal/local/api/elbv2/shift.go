package elbv2

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/elbv2api"
)

// Shift has a rule, or the default action of a listener (named by its own ARN or by that of its
// default rule), forward by these weights (0–999) by target group ARN: what ECS does to the rules of
// a service with a blue/green, linear or canary deployment.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/alb-resources-for-blue-green.html
func (s *Service) Shift(tx *state.Tx, rule string, weights map[string]int) error {
	for arn := range weights {
		if _, ok := s.groups.Get(tx, arn); !ok {
			return noGroup(arn)
		}
	}
	listener := rule
	if base, ok := strings.CutSuffix(rule, "/default"); ok {
		listener = strings.Replace(base, ":listener-rule/", ":listener/", 1)
	}
	if old, ok := s.listeners.Get(tx, listener); ok {
		shifted, err := shiftActions(rule, old.API.DefaultActions, weights)
		if err != nil {
			return err
		}
		s.listeners.Modify(tx, listener, func(l *Listener) { l.API.DefaultActions = shifted })
		return s.checkGroupLimit(tx, wire.Value(old.API.LoadBalancerArn))
	}
	old, ok := s.rules.Get(tx, rule)
	if !ok {
		return noRule(rule)
	}
	shifted, err := shiftActions(rule, old.API.Actions, weights)
	if err != nil {
		return err
	}
	s.rules.Modify(tx, rule, func(r *Rule) { r.API.Actions = shifted })
	l, _ := s.listeners.Get(tx, old.ListenerARN)
	return s.checkGroupLimit(tx, wire.Value(l.API.LoadBalancerArn))
}

// shiftActions replaces the target groups of the forward action, which comes last.
func shiftActions(rule string, actions []elbv2api.Action, weights map[string]int) ([]elbv2api.Action, error) {
	out := slices.Clone(actions)
	if n := len(out); n == 0 || wire.Value(out[n-1].Type) != "forward" {
		return nil, fmt.Errorf("shifting traffic of %s: it does not forward to target groups", rule)
	}
	a := &out[len(out)-1]
	cfg := elbv2api.ForwardActionConfig{TargetGroupStickinessConfig: &elbv2api.TargetGroupStickinessConfig{Enabled: wire.Ptr(false)}}
	if a.ForwardConfig != nil {
		cfg.TargetGroupStickinessConfig = cmp.Or(a.ForwardConfig.TargetGroupStickinessConfig, cfg.TargetGroupStickinessConfig)
	}
	a.TargetGroupArn = nil
	for _, arn := range slices.Sorted(maps.Keys(weights)) {
		cfg.TargetGroups = append(cfg.TargetGroups, elbv2api.TargetGroupTuple{TargetGroupArn: wire.Ptr(arn), Weight: wire.Int32(weights[arn])})
		if len(weights) == 1 {
			a.TargetGroupArn = wire.Ptr(arn)
		}
	}
	a.ForwardConfig = &cfg
	return out, nil
}
