// Package elbv2 is Elastic Load Balancing of the local AWS: balancers, listeners, rules, target groups
// and targets. Its loop gives all of it to the data plane and writes the targets' health back.
package elbv2

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/balancer"
	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/targethealth"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/elbv2api"
)

// Names of the tables, for watches.
const (
	tableBalancers = "elb.balancers"
	tableGroups    = "elb.targetgroups"
	tableListeners = "elb.listeners"
	tableRules     = "elb.rules"
	tableTrust     = "elb.truststores"
)

// LoadBalancer is a load balancer. Key: ARN.
type LoadBalancer struct {
	API        elbv2api.LoadBalancer
	Address    string // its own address on this machine
	Capacity   int    // reserved capacity units; 0: none
	CapacityAt time.Time
	Lowered    []time.Time // when the reservation was lowered, the last day
	Attributes map[string]string
	Tags       []elbv2api.Tag
}

// TargetGroup is a target group. Key: ARN.
type TargetGroup struct {
	API        elbv2api.TargetGroup
	Attributes map[string]string
	Tags       []elbv2api.Tag
}

// Listener is a listener. Key: ARN.
type Listener struct {
	API        elbv2api.Listener
	Extra      []elbv2api.Certificate // beside the default certificate
	Attributes map[string]string
	Tags       []elbv2api.Tag
}

// Rule is a rule that is not a listener's default. Key: ARN.
type Rule struct {
	ARN, ListenerARN string
	Priority         int
	API              elbv2api.Rule // conditions, actions and transforms
	Tags             []elbv2api.Tag
}

// Service is Elastic Load Balancing. Its loop is Run.
type Service struct {
	db        *state.DB
	ecs       *state.ECS
	balancers *state.Table[LoadBalancer]
	groups    *state.Table[TargetGroup]
	listeners *state.Table[Listener]
	rules     *state.Table[Rule]
	trust     *state.Table[TrustStore]
	trusted   trusted
	files     files
	storage   Storage
	logs      logbook
	network   Network
	plane     *balancer.Balancer
	checker   *targethealth.Checker
	publisher Publisher
	guards    guards
	health    healthQueue
	clock     clock.Clock
	log       *slog.Logger
}

// Network is what it needs to know of the VPC.
type Network interface {
	// ZoneOf is the zone of a subnet and its VPC; ok is false if there is no such subnet.
	ZoneOf(tx *state.Tx, subnet string) (zone, vpc string, ok bool)
}

// Config is what the service needs.
type Config struct {
	DB      *state.DB
	ECS     *state.ECS
	Network Network
	Clock   clock.Clock
	Log     *slog.Logger
	// Address is the local AWS's own host:port.
	Address string
	// Probe checks a target; nil: for real.
	Probe func(ctx context.Context, c *targethealth.Check, addr string) *targethealth.Failure
}

// Register adds the operations to svc and the tables to the store.
func Register(svc *wire.Service, c Config) (*Service, error) {
	s := &Service{db: c.DB, ecs: c.ECS, network: c.Network, clock: c.Clock, log: c.Log}
	var e1, e2, e3, e4, e5 error
	s.balancers, e1 = state.NewTable[LoadBalancer](c.DB, tableBalancers)
	s.groups, e2 = state.NewTable[TargetGroup](c.DB, tableGroups)
	s.listeners, e3 = state.NewTable[Listener](c.DB, tableListeners)
	s.rules, e4 = state.NewTable[Rule](c.DB, tableRules)
	s.trust, e5 = state.NewTable[TrustStore](c.DB, tableTrust)
	if err := errors.Join(e1, e2, e3, e4, e5); err != nil {
		return nil, err
	}
	s.health.wake = make(chan struct{}, 1)
	s.logs.full = make(chan struct{}, 1)
	s.plane = balancer.New(balancer.Options{Log: c.Log, Now: c.Clock.Now})
	s.checker = targethealth.New(c.Clock, c.Probe, s.health.put)
	s.registerBalancers(svc)
	s.registerGroups(svc)
	s.registerTargets(svc)
	s.registerListeners(svc)
	s.registerRules(svc)
	s.registerTags(svc)
	s.registerTrust(svc)
	s.files = newFiles(c.Address, c.Clock.Now)
	return s, nil
}

func newID() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func notFound(code, what string, ids ...string) error {
	return wire.Errorf(code, "One or more %s not found: '%s'", what, strings.Join(ids, ", "))
}

// page cuts one page out of all; the marker is the key of the first one left.
func page[T any](all []T, key func(T) string, marker *string, size *int32) ([]T, *string) {
	limit := 400
	if size != nil {
		limit = int(*size)
	}
	out := []T{}
	for _, v := range all {
		switch k := key(v); {
		case k < wire.Value(marker):
		case len(out) == limit:
			return out, wire.Ptr(k)
		default:
			out = append(out, v)
		}
	}
	return out, nil
}

// TargetGroup tells what the ECS API asks of a target group.
func (s *Service) TargetGroup(tx *state.Tx, arn string) (targetType string, attached, ok bool) {
	g, ok := s.groups.Get(tx, arn)
	if !ok {
		return "", false, false
	}
	return wire.Value(g.API.TargetType), len(s.balancersOf(tx, arn)) > 0, true
}

// balancersOf are the balancers whose listeners or rules forward to a target group.
func (s *Service) balancersOf(tx *state.Tx, group string) []string {
	out := []string{}
	add := func(arn string) {
		if !slices.Contains(out, arn) {
			out = append(out, arn)
		}
	}
	for _, l := range s.listeners.All(tx) {
		if forwardsTo(l.API.DefaultActions, group) {
			add(wire.Value(l.API.LoadBalancerArn))
		}
	}
	for _, r := range s.rules.All(tx) {
		if forwardsTo(r.API.Actions, group) {
			if l, ok := s.listeners.Get(tx, r.ListenerARN); ok {
				add(wire.Value(l.API.LoadBalancerArn))
			}
		}
	}
	return out
}

func forwardsTo(actions []elbv2api.Action, group string) bool {
	return slices.ContainsFunc(groupsOf(actions), func(g string) bool { return g == group })
}

// groupsOf are the target groups actions forward to.
func groupsOf(actions []elbv2api.Action) []string {
	var out []string
	for _, a := range actions {
		if f := a.ForwardConfig; f != nil && len(f.TargetGroups) > 0 {
			for _, t := range f.TargetGroups {
				out = append(out, wire.Value(t.TargetGroupArn))
			}
		} else if a.TargetGroupArn != nil {
			out = append(out, *a.TargetGroupArn)
		}
	}
	return out
}

// Address is where a listener can be reached on this machine.
type Address struct{ LoadBalancer, ListenerARN, URL string }

// Addresses lists the listeners that listen.
func (s *Service) Addresses() []Address {
	out := []Address{}
	_ = s.db.View(func(tx *state.Tx) error {
		for arn, l := range s.listeners.All(tx) {
			lb, ok := s.balancers.Get(tx, wire.Value(l.API.LoadBalancerArn))
			if addr := s.plane.Addr(arn); ok && addr != "" {
				out = append(out, Address{wire.Value(lb.API.LoadBalancerName), arn, strings.ToLower(wire.Value(l.API.Protocol)) + "://" + addr + "/"})
			}
		}
		return nil
	})
	return out
}

// Metrics are what the data plane has counted.
func (s *Service) Metrics() balancer.Snapshot { return s.plane.Snapshot() }

// Close stops the checks and the data plane; requests under way may end until ctx does.
func (s *Service) Close(ctx context.Context) error {
	s.checker.Close()
	s.guards.keep(nil)
	return s.plane.Close(ctx)
}

func (s *Service) now() time.Time { return s.clock.Now() }

// mergeTags replaces tags of the same key.
func mergeTags(have, add []elbv2api.Tag) []elbv2api.Tag {
	out := slices.Clone(have)
	for _, t := range add {
		out = slices.DeleteFunc(out, func(h elbv2api.Tag) bool { return wire.Value(h.Key) == wire.Value(t.Key) })
		out = append(out, t)
	}
	return out
}

func checkTags(tags []elbv2api.Tag) error {
	seen := map[string]bool{}
	for _, t := range tags {
		k := wire.Value(t.Key)
		if seen[k] {
			return wire.Errorf("DuplicateTagKeys", "Tag keys must be unique: %s", k)
		}
		seen[k] = true
	}
	if len(tags) > 50 {
		return wire.Errorf("TooManyTags", "The maximum number of tags is 50")
	}
	return nil
}

func arnPrefix(who wire.Identity) string {
	return fmt.Sprintf("arn:%s:elasticloadbalancing:%s:%s:", who.Partition, who.Region, who.Account)
}
