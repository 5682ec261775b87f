package elbv2

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/targethealth"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/elbv2api"
)

func (s *Service) registerTargets(svc *wire.Service) {
	wire.Handle(svc, "RegisterTargets", s.registerTargetsOp)
	wire.Handle(svc, "DeregisterTargets", s.deregisterTargets)
	wire.Handle(svc, "DescribeTargetHealth", s.targetHealth)
}

func (s *Service) registerTargetsOp(_ context.Context, in *elbv2api.RegisterTargetsInput) (*elbv2api.RegisterTargetsOutput, error) {
	arn := wire.Value(in.TargetGroupArn)
	return &elbv2api.RegisterTargetsOutput{}, s.db.Update(func(tx *state.Tx) error {
		g, ok := s.groups.Get(tx, arn)
		if !ok {
			return noGroup(arn)
		}
		for _, t := range in.Targets {
			id := wire.Value(t.Id)
			ip, err := netip.ParseAddr(id)
			switch {
			case *g.API.TargetType == "instance" && !strings.HasPrefix(id, "i-"):
				return wire.Errorf("InvalidTarget", "The following targets are not of the type 'instance': '%s'", id)
			case *g.API.TargetType == "ip" && (err != nil || !ip.Is4()):
				return wire.Errorf("ValidationError", "The IP address '%s' is not a valid IPv4 address", id)
			}
			port := int(cmp.Or(wire.Value(t.Port), *g.API.Port))
			key := state.TargetKey(arn, id, port)
			if old, ok := s.ecs.Targets.Get(tx, key); ok && old.DrainingSince.IsZero() {
				continue
			}
			s.ecs.Targets.Put(tx, key, &state.Target{TargetGroupARN: arn, ID: id, Port: port, AZ: wire.Value(t.AvailabilityZone), RegisteredAt: s.now()})
		}
		n := 0
		for range s.ecs.Targets.Prefix(tx, arn+"/") {
			n++
		}
		if n > 1000 {
			return wire.Errorf("TooManyTargets", "The maximum number of targets in a target group is 1000")
		}
		return nil
	})
}

func (s *Service) deregisterTargets(_ context.Context, in *elbv2api.DeregisterTargetsInput) (*elbv2api.DeregisterTargetsOutput, error) {
	arn := wire.Value(in.TargetGroupArn)
	return &elbv2api.DeregisterTargetsOutput{}, s.db.Update(func(tx *state.Tx) error {
		if _, ok := s.groups.Get(tx, arn); !ok {
			return noGroup(arn)
		}
		for _, t := range in.Targets {
			var keys []string
			for key, have := range s.ecs.Targets.Prefix(tx, arn+"/"+wire.Value(t.Id)+":") {
				if t.Port == nil || int(*t.Port) == have.Port {
					keys = append(keys, key)
				}
			}
			for _, key := range keys {
				s.ecs.Targets.Modify(tx, key, func(t *state.Target) {
					if t.DrainingSince.IsZero() {
						t.DrainingSince = s.now()
					}
				})
			}
		}
		return nil
	})
}

func (s *Service) targetHealth(_ context.Context, in *elbv2api.DescribeTargetHealthInput) (*elbv2api.DescribeTargetHealthOutput, error) {
	arn := wire.Value(in.TargetGroupArn)
	out := &elbv2api.DescribeTargetHealthOutput{TargetHealthDescriptions: []elbv2api.TargetHealthDescription{}}
	return out, s.db.View(func(tx *state.Tx) error {
		g, ok := s.groups.Get(tx, arn)
		if !ok {
			return noGroup(arn)
		}
		asked := map[string]bool{}
		for key, t := range s.ecs.Targets.Prefix(tx, arn+"/") {
			if len(in.Targets) > 0 && !slices.ContainsFunc(in.Targets, func(d elbv2api.TargetDescription) bool {
				return wire.Value(d.Id) == t.ID && (d.Port == nil || int(*d.Port) == t.Port)
			}) {
				continue
			}
			asked[t.ID] = true
			h := state.TargetHealth{State: "initial", Reason: "Elb.RegistrationInProgress", Description: "Target registration is in progress"}
			if have, ok := s.ecs.TargetHealth.Get(tx, key); ok {
				h = *have
			}
			if d := targethealth.Draining; !t.DrainingSince.IsZero() {
				h = state.TargetHealth{State: d.State, Reason: d.Reason, Description: d.Description}
			}
			checkPort := wire.Value(g.API.HealthCheckPort)
			if checkPort == "traffic-port" {
				checkPort = strconv.Itoa(t.Port)
			}
			out.TargetHealthDescriptions = append(out.TargetHealthDescriptions, elbv2api.TargetHealthDescription{HealthCheckPort: &checkPort,
				Target:       &elbv2api.TargetDescription{Id: wire.Ptr(t.ID), Port: wire.Int32(t.Port), AvailabilityZone: wire.NonEmpty(t.AZ)},
				TargetHealth: &elbv2api.TargetHealth{State: wire.Ptr(h.State), Reason: wire.NonEmpty(h.Reason), Description: wire.NonEmpty(h.Description)}})
		}
		for _, d := range in.Targets {
			if !asked[wire.Value(d.Id)] {
				out.TargetHealthDescriptions = append(out.TargetHealthDescriptions, elbv2api.TargetHealthDescription{Target: &d,
					TargetHealth: &elbv2api.TargetHealth{State: wire.Ptr("unused"), Reason: wire.Ptr("Target.NotRegistered"), Description: wire.Ptr("Target is not registered to the target group")}})
			}
		}
		return nil
	})
}
