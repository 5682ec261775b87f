// Package ecs is the API of Elastic Container Service of the local AWS. It checks what callers ask,
// writes it into the state and shows what the state holds; the reconcile loops make it happen.
package ecs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

// Deps is what the API needs.
type Deps struct {
	State *state.ECS
	Clock clock.Clock
	// Address is the host:port clients reach this AWS at.
	Address string
	// Sessions opens the sessions of ExecuteCommand; without it there are none.
	Sessions Sessions
	// Balancers, Network and Scaling are the services beside ECS that it uses for express services.
	Balancers, Network, Scaling *wire.Service
	// TargetGroups looks up the target groups of load balancers; without it they are not checked.
	TargetGroups TargetGroups
	// Subnets looks up subnets; without it they are not checked.
	Subnets Subnets
}

// Subnets looks up subnets.
type Subnets interface {
	// Subnet returns the zone and the addresses of a subnet; ok is false if there is no such subnet.
	Subnet(tx *state.Tx, id string) (zone string, cidr netip.Prefix, ok bool)
}

// TargetGroups looks up target groups.
type TargetGroups interface {
	// TargetGroup returns the target type ("instance", "ip", …) of a target group and whether a load
	// balancer uses it; ok is false if there is no such group.
	TargetGroup(tx *state.Tx, arn string) (targetType string, attached, ok bool)
}

// API is the operations of ECS.
type API struct {
	Deps
	tokens    *state.Table[clientToken]
	expresses *state.Table[express]
	fleet     *fleet
}

const expressTable = "ecs.expressservices"

// Register adds the operations to svc, and the tables that only the API uses to the state.
func Register(svc *wire.Service, deps Deps) (*API, error) {
	if deps.Clock == nil {
		deps.Clock = clock.Wall{}
	}
	tokens, err := state.NewTable[clientToken](deps.State.DB, "ecs.clienttokens")
	if err != nil {
		return nil, err
	}
	expresses, err := state.NewTable[express](deps.State.DB, expressTable)
	if err != nil {
		return nil, err
	}
	a := &API{Deps: deps, tokens: tokens, expresses: expresses, fleet: &fleet{st: deps.State}}
	a.registerClusters(svc)
	a.registerTaskDefinitions(svc)
	a.registerServices(svc)
	a.registerDeployments(svc)
	a.registerTaskSets(svc)
	a.registerAgent(svc)
	a.registerDaemons(svc)
	a.registerExpress(svc)
	a.registerTasks(svc)
	a.registerInstances(svc)
	a.registerTags(svc)
	a.registerCapacityProviders(svc)
	a.registerSettings(svc)
	return a, nil
}

func invalid(format string, args ...any) *wire.Error {
	return wire.Errorf("InvalidParameterException", format, args...)
}

func client(format string, args ...any) *wire.Error {
	return wire.Errorf("ClientException", format, args...)
}

// arn makes the ARN of an ECS resource of the caller's account and region.
func arn(ctx context.Context, kind, rest string) string {
	who := wire.Caller(ctx)
	return fmt.Sprintf("arn:%s:ecs:%s:%s:%s/%s", who.Partition, who.Region, who.Account, kind, rest)
}

// resource splits the ARN of an ECS resource into its kind ("service") and the rest ("web/app");
// ok is false if s is no such ARN.
func resource(s string) (kind, rest string, ok bool) {
	parts := strings.SplitN(s, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[2] != "ecs" {
		return "", "", false
	}
	return cut2(parts[5])
}

func cut2(s string) (string, string, bool) { return strings.Cut(s, "/") }

// lastPart is what follows the last slash of a name or ARN.
func lastPart(s string) string { return s[strings.LastIndexByte(s, '/')+1:] }

const (
	hexDigits = "0123456789abcdef"
	decimals  = "0123456789"
	words     = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
)

func random(alphabet string, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[rand.IntN(len(alphabet))]
	}
	return string(b)
}

// number is a random decimal of 19 digits, as in ecs-svc/… and service revisions.
func number() string { return string(decimals[1+rand.IntN(8)]) + random(decimals, 18) }

// orEmpty is s, or an empty list in place of nil: AWS sends most lists even when empty.
func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func or[T any](p *T, def T) *T {
	if p == nil {
		return &def
	}
	return p
}

// cluster finds the cluster that ref names (by name or ARN; nil: "default").
func (a *API) cluster(tx *state.Tx, ref *string) (*state.Cluster, error) {
	c, ok := a.State.Clusters.Get(tx, clusterName(ref))
	if !ok || c.Status == "INACTIVE" {
		return nil, wire.Errorf("ClusterNotFoundException", "Cluster not found.")
	}
	return c, nil
}

func clusterName(ref *string) string {
	name := wire.Value(ref)
	if name == "" {
		return "default"
	}
	if kind, rest, ok := resource(name); ok && kind == "cluster" {
		return rest
	}
	return name
}

// view and update run f in a transaction and return what it made.
func view[T any](a *API, f func(tx *state.Tx) (T, error)) (out T, err error) {
	err = a.State.DB.View(func(tx *state.Tx) error {
		a.fleet.tick(tx)
		out, err = f(tx)
		return err
	})
	return out, err
}

func update[T any](a *API, f func(tx *state.Tx) (T, error)) (out T, err error) {
	err = a.State.DB.Update(func(tx *state.Tx) error {
		a.fleet.tick(tx)
		out, err = f(tx)
		return err
	})
	return out, err
}

// zones are the Availability Zones of the subnets that tasks may use; none if they need no subnet.
func (a *API) zones(tx *state.Tx, n *ecsapi.NetworkConfiguration) ([]string, error) {
	if n == nil || n.AwsvpcConfiguration == nil || a.Subnets == nil {
		return nil, nil
	}
	var out []string
	for _, id := range n.AwsvpcConfiguration.Subnets {
		z, _, ok := a.Subnets.Subnet(tx, id)
		if !ok {
			return nil, invalid("Error retrieving subnet information for [%s]: The subnet ID '%s' does not exist (ErrorCode: InvalidSubnetID.NotFound)", id, id)
		}
		if !slices.Contains(out, z) {
			out = append(out, z)
		}
	}
	return out, nil
}
