package ecs

import (
	"maps"
	"math/rand/v2"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
	"github.com/slipway-ecs/slipway/internal/placement"
)

// schedulable is a container instance as the scheduler sees it. Its ID is the ARN, so that refusals
// name what the API names.
func (a *API) schedulable(tx *state.Tx, ci *state.ContainerInstance) *placement.Instance {
	i := &placement.Instance{
		ID: ci.ARN, EC2ID: ci.EC2InstanceID, AZ: ci.AZ, Type: ci.InstanceType, Status: ci.Status,
		AgentConnected: ci.AgentConnected, AgentVersion: ci.AgentVersion, RegisteredAt: ci.RegisteredAt,
		Attributes: a.fleet.attributes(ci),
		Registered: placement.Resources{CPU: ci.CPU, Memory: ci.Memory, GPU: ci.GPU, ENI: ci.ENIs},
	}
	if l := a.State.InstanceLoads.Get(tx, ci.ARN); l != nil {
		i.Used, i.Running = l.Used, l.Running
		i.Ports, i.Groups = maps.Clone(l.Ports), maps.Clone(l.Groups)
	}
	if i.Ports == nil {
		i.Ports = map[placement.Port]int{}
	}
	if i.Groups == nil {
		i.Groups = map[string]int{}
	}
	for _, p := range ci.ReservedPorts {
		i.Ports[placement.Port{Number: p.Port, Protocol: p.Protocol}]++
	}
	return i
}

func taskResources(t *state.Task) placement.Resources {
	r := placement.Resources{CPU: t.CPU, Memory: t.Memory, GPU: t.GPU}
	if t.NetworkConfiguration != nil {
		r.ENI = 1
	}
	return r
}

// request is what the scheduler must find for t.
func request(t *state.Task, td *state.TaskDefinition, constraints []ecsapi.PlacementConstraint, strategy []ecsapi.PlacementStrategy, zones []string) *placement.Request {
	r := &placement.Request{Resources: taskResources(t), Group: t.Group, Zones: zones, Seed: rand.Uint64()}
	for _, p := range t.HostPorts {
		r.Ports = append(r.Ports, placement.Port{Number: p.Port, Protocol: p.Protocol})
	}
	for _, c := range td.Def.PlacementConstraints {
		r.Constraints = append(r.Constraints, placement.Constraint{Type: wire.Value(c.Type), Expression: wire.Value(c.Expression)})
	}
	for _, c := range constraints {
		r.Constraints = append(r.Constraints, placement.Constraint{Type: wire.Value(c.Type), Expression: wire.Value(c.Expression)})
	}
	for _, s := range strategy {
		r.Strategies = append(r.Strategies, placement.Strategy{Type: wire.Value(s.Type), Field: wire.Value(s.Field)})
	}
	return r
}

// failures are refusals as RunTask and StartTask return them. A constraint that does not hold is no
// resource: AWS calls it ATTRIBUTE or leaves the code to the console's words.
func failures(refusals []placement.Refusal) []ecsapi.Failure {
	out := []ecsapi.Failure{}
	for _, r := range refusals {
		reason := string(r.Reason)
		if r.Reason == placement.NotMember || r.Reason == placement.NotDistinct {
			reason = "ATTRIBUTE"
		}
		out = append(out, ecsapi.Failure{Arn: wire.String(r.InstanceID), Reason: &reason, Detail: wire.NonEmpty(r.Detail)})
	}
	return out
}
