package loop

import (
	"slices"
	"strconv"
	"time"
	"unique"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
	"github.com/slipway-ecs/slipway/internal/placement"
)

// newTask is a task of a service that is not placed yet.
func newTask(s *state.Service, spec *ecsapi.Service, d *state.Deployment, td *state.TaskDefinition, now time.Time) *state.Task {
	id := hexID(32)
	t := &state.Task{
		ARN: siblingARN(s.ClusterARN, "task", s.ClusterName+"/"+id), ID: id, ClusterName: s.ClusterName, ClusterARN: s.ClusterARN,
		ServiceKey: shared(state.ServiceKey(s.ClusterName, s.Name)), DeploymentID: d.ID, Group: shared("service:" + s.Name), StartedBy: d.ID,
		TaskDefinition: td.ARN, LaunchType: wire.Value(spec.LaunchType), EnableExec: wire.Value(spec.EnableExecuteCommand),
		DesiredStatus: "RUNNING", LastStatus: "PROVISIONING", HealthStatus: "UNKNOWN", Version: 1, CreatedAt: now,
	}
	if t.LaunchType == "" {
		t.LaunchType = "EC2"
	}
	def := &td.Def
	if wire.Value(def.NetworkMode) == "awsvpc" {
		t.NetworkConfiguration = spec.NetworkConfiguration
	}
	for _, c := range def.ContainerDefinitions {
		memory := int(wire.Value(c.Memory))
		if c.MemoryReservation != nil {
			memory = int(*c.MemoryReservation)
		}
		t.CPU += int(wire.Value(c.Cpu))
		t.Memory += memory
		for _, r := range c.ResourceRequirements {
			if wire.Value(r.Type) == "GPU" {
				n, _ := strconv.Atoi(wire.Value(r.Value)) // the API has checked it
				t.GPU += n
			}
		}
		for _, p := range c.PortMappings {
			if n := fixedPort(def, p); n != 0 {
				t.HostPorts = append(t.HostPorts, state.ReservedPort{Port: n, Protocol: protocol(wire.Value(p.Protocol))})
			}
		}
		t.Containers = append(t.Containers, state.TaskContainer{
			ARN:  siblingARN(s.ClusterARN, "container", s.ClusterName+"/"+id+"/"+uuid()),
			Name: wire.Value(c.Name), Image: wire.Value(c.Image), LastStatus: "PENDING", Health: "UNKNOWN",
			Essential: c.Essential == nil || *c.Essential,
			CPU:       int(wire.Value(c.Cpu)), Memory: int(wire.Value(c.Memory)), MemoryReservation: int(wire.Value(c.MemoryReservation)),
		})
	}
	// Sizes of the task count in place of the containers'.
	if n, err := strconv.Atoi(wire.Value(def.Cpu)); err == nil && n > 0 {
		t.CPU = n
	}
	if n, err := strconv.Atoi(wire.Value(def.Memory)); err == nil && n > 0 {
		t.Memory = n
	}
	t.Tags = taskTags(s, spec, td)
	return t
}

// shared is s in a place that all who have the same share: tasks are many.
func shared(s string) string { return unique.Make(s).Value() }

// fixedPort is the host port a port mapping names; 0: dynamic, or none on an interface of its own.
func fixedPort(def *ecsapi.TaskDefinition, p ecsapi.PortMapping) int {
	switch wire.Value(def.NetworkMode) {
	case "awsvpc", "none":
		return 0
	case "host":
		return int(wire.Value(p.ContainerPort))
	}
	return int(wire.Value(p.HostPort))
}

func taskTags(s *state.Service, spec *ecsapi.Service, td *state.TaskDefinition) []ecsapi.Tag {
	var tags []ecsapi.Tag
	switch wire.Value(spec.PropagateTags) {
	case "SERVICE":
		tags = slices.Clone(s.Tags)
	case "TASK_DEFINITION":
		tags = slices.Clone(td.Tags)
	}
	if wire.Value(spec.EnableECSManagedTags) {
		tags = append(tags,
			ecsapi.Tag{Key: wire.String("aws:ecs:clusterName"), Value: &s.ClusterName},
			ecsapi.Tag{Key: wire.String("aws:ecs:serviceName"), Value: &s.Name})
	}
	return tags
}

// requestFor is what the scheduler must find for a task.
func requestFor(t *state.Task, td *state.TaskDefinition, constraints []ecsapi.PlacementConstraint, strategy []ecsapi.PlacementStrategy, zones []string) *placement.Request {
	r := &placement.Request{Resources: resourcesOf(t), Group: t.Group, Zones: zones, Seed: uint64(randomInt(1 << 30))}
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

func onFargate(provider string) bool { return provider == "FARGATE" || provider == "FARGATE_SPOT" }

// nextProvider is the capacity provider for one more task: the base first, then by weight of what
// the providers have beyond their base.
//
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CapacityProviderStrategyItem.html
func nextProvider(strategy []ecsapi.CapacityProviderStrategyItem, have map[string]int) string {
	for _, it := range strategy {
		if p := wire.Value(it.CapacityProvider); have[p] < int(wire.Value(it.Base)) {
			return p
		}
	}
	best, bestLoad := "", 0.0
	for _, it := range strategy {
		p, w := wire.Value(it.CapacityProvider), float64(wire.Value(it.Weight))
		if w == 0 {
			if len(strategy) == 1 {
				return p
			}
			continue
		}
		if load := float64(have[p]-int(wire.Value(it.Base))+1) / w; best == "" || load < bestLoad {
			best, bestLoad = p, load
		}
	}
	return best
}
