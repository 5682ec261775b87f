package ecs

import (
	"context"
	"fmt"
	"slices"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
	"github.com/slipway-ecs/slipway/internal/placement"
)

func (a *API) runTask(ctx context.Context, in *ecsapi.RunTaskInput) (*ecsapi.RunTaskOutput, error) {
	count := int(*or(in.Count, 1))
	if count < 1 || count > 10 {
		return nil, invalid("Count should be between 1 and 10.")
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	return update(a, func(tx *state.Tx) (*ecsapi.RunTaskOutput, error) {
		c, err := a.cluster(tx, in.Cluster)
		if err != nil {
			return nil, err
		}
		token := "RunTask/" + c.Name + "/" + wire.Value(in.ClientToken)
		if in.ClientToken != nil {
			arns, ok, err := a.seen(tx, token, in)
			if err != nil {
				return nil, err
			}
			if ok {
				return &ecsapi.RunTaskOutput{Tasks: a.showTasks(tx, arns), Failures: []ecsapi.Failure{}}, nil
			}
		}
		td, err := a.usable(tx, *in.TaskDefinition)
		if err != nil {
			return nil, err
		}
		lt, strategy, err := a.launch(tx, c, in.LaunchType, in.CapacityProviderStrategy)
		if err != nil {
			return nil, err
		}
		network := completeNetwork(in.NetworkConfiguration)
		spec := &ecsapi.Service{LaunchType: lt, CapacityProviderStrategy: strategy, NetworkConfiguration: network,
			PlacementConstraints: in.PlacementConstraints, PlacementStrategy: in.PlacementStrategy}
		if err := checkLaunch(td, spec); err != nil {
			return nil, err
		}
		if err := checkOverrides(td, in.Overrides); err != nil {
			return nil, err
		}
		if err := checkVolumes(td, taskVolumeNames(in.VolumeConfigurations)); err != nil {
			return nil, err
		}
		r := &run{api: a, ctx: ctx, tx: tx, cluster: c, td: td, in: in, network: network, launchType: lt}
		if r.zones, err = a.zones(tx, network); err != nil {
			return nil, err
		}
		out := &ecsapi.RunTaskOutput{Tasks: []ecsapi.Task{}, Failures: []ecsapi.Failure{}}
		if out.Failures, err = r.start(count, strategy); err != nil {
			return nil, err
		}
		var arns []string
		for _, t := range r.tasks {
			arns = append(arns, t.ARN)
		}
		out.Tasks = a.showTasks(tx, arns)
		if in.ClientToken != nil {
			a.remember(tx, token, in, arns)
		}
		return out, nil
	})
}

// run is one RunTask under way.
type run struct {
	api        *API
	ctx        context.Context
	tx         *state.Tx
	cluster    *state.Cluster
	td         *state.TaskDefinition
	in         *ecsapi.RunTaskInput
	network    *ecsapi.NetworkConfiguration
	launchType *string
	zones      []string // of the subnets

	batches map[string]*placement.Batch // by capacity provider
	exact   bool                        // the fleet has been read anew
	tasks   []*state.Task
}

// start makes count tasks. With a launch type a task that has no room is a failure; with a capacity
// provider it waits in PROVISIONING until there is room.
func (r *run) start(count int, strategy []ecsapi.CapacityProviderStrategyItem) ([]ecsapi.Failure, error) {
	providers := spreadOver(count, strategy)
	for i := range count {
		t := r.newTask()
		if len(providers) > 0 {
			t.CapacityProvider, t.LaunchType = providers[i], "EC2"
			if slices.Contains(fargate, providers[i]) {
				t.LaunchType = "FARGATE"
			} else if p, ok := r.api.State.CapacityProviders.Get(r.tx, providers[i]); ok && p.API.ManagedInstancesProvider != nil {
				t.LaunchType = "MANAGED_INSTANCES"
			}
		} else {
			t.LaunchType = *r.launchType
		}
		if t.LaunchType == "FARGATE" {
			if !r.api.State.FargateRoom(r.tx, t) {
				return []ecsapi.Failure{{Reason: wire.String(state.FargateQuota)}}, nil
			}
			t.PlatformVersion, t.LastStatus = platformVersion(r.in.PlatformVersion), "PROVISIONING"
			r.put(t)
			continue
		}
		chosen, err := r.choose(t)
		if err != nil {
			return nil, err
		}
		if chosen != nil {
			r.put(placed(t, chosen)) // the next choice is checked against it
			continue
		}
		if t.CapacityProvider != "" {
			t.LastStatus = "PROVISIONING"
			r.put(t)
			continue
		}
		b, err := r.batch(t)
		if err != nil {
			return nil, err
		}
		refusals := b.Refusals()
		if len(r.tasks) == 0 && len(refusals) == 0 {
			return nil, invalid("No Container Instances were found in your cluster.")
		}
		return failures(refusals), nil
	}
	return []ecsapi.Failure{}, nil
}

func (r *run) put(t *state.Task) {
	r.api.State.Tasks.Put(r.tx, t.ARN, t)
	r.tasks = append(r.tasks, t)
}

// choose takes the best instance that still has room by what the state says; nil if there is none.
func (r *run) choose(t *state.Task) (*placement.Instance, error) {
	for {
		b, err := r.batch(t)
		if err != nil {
			return nil, err
		}
		chosen := b.Next()
		if chosen == nil {
			if r.exact || t.CapacityProvider != "" {
				return nil, nil
			}
			// Room may have come up that the fleet has not heard of: a refusal must be right.
			r.exact, r.batches = true, nil
			r.api.fleet.forget()
			continue
		}
		r.api.fleet.touch(chosen.ID)
		if ci, ok := r.api.State.ContainerInstances.Get(r.tx, chosen.ID); ok {
			if b.Fits(r.api.schedulable(r.tx, ci)) {
				return chosen, nil
			}
		}
		b.Drop(chosen)
	}
}

func (r *run) request(t *state.Task) *placement.Request {
	return request(t, r.td, r.in.PlacementConstraints, r.in.PlacementStrategy, r.zones)
}

// batch is the scheduler's view for the tasks of one capacity provider, or of the whole cluster.
func (r *run) batch(t *state.Task) (*placement.Batch, error) {
	if b := r.batches[t.CapacityProvider]; b != nil {
		return b, nil
	}
	all := r.api.fleet.instances(r.tx, r.api, r.cluster.Name)
	if t.CapacityProvider != "" {
		all = slices.DeleteFunc(all, func(i *placement.Instance) bool {
			ci, ok := r.api.State.ContainerInstances.Get(r.tx, i.ID)
			return !ok || ci.CapacityProvider != t.CapacityProvider
		})
	}
	b, err := placement.NewBatch(r.request(t), all)
	if err != nil {
		return nil, invalid("Invalid placement: %s", err)
	}
	if r.batches == nil {
		r.batches = map[string]*placement.Batch{}
	}
	r.batches[t.CapacityProvider] = b
	return b, nil
}

func placed(t *state.Task, i *placement.Instance) *state.Task {
	t.ContainerInstance, t.AZ, t.LastStatus = i.ID, i.AZ, "PENDING"
	if t.NetworkConfiguration != nil {
		t.LastStatus = "PROVISIONING"
	}
	return t
}

// spreadOver says which capacity provider each of count tasks goes to: the base first, then by weight.
func spreadOver(count int, strategy []ecsapi.CapacityProviderStrategyItem) []string {
	if len(strategy) == 0 {
		return nil
	}
	var out []string
	for _, it := range strategy {
		for range wire.Value(it.Base) {
			if len(out) < count {
				out = append(out, *it.CapacityProvider)
			}
		}
	}
	given := make([]float64, len(strategy))
	for len(out) < count {
		best := -1
		for i, it := range strategy {
			w := float64(wire.Value(it.Weight))
			if w == 0 && len(strategy) == 1 {
				w = 1 // the only provider takes all
			}
			if w > 0 && (best < 0 || (given[i]+1)/w < (given[best]+1)/float64(max(wire.Value(strategy[best].Weight), 1))) {
				best = i
			}
		}
		if best < 0 {
			best = 0
		}
		given[best]++
		out = append(out, *strategy[best].CapacityProvider)
	}
	return out
}

func platformVersion(asked *string) string {
	if v := wire.Value(asked); v != "" && v != "LATEST" {
		return v
	}
	return "1.4.0"
}

// newTask is a task of the run that nothing is decided of yet.
func (r *run) newTask() *state.Task {
	id := random(hexDigits, 32)
	in, who := r.in, r.api
	t := &state.Task{
		ARN: arn(r.ctx, "task", r.cluster.Name+"/"+id), ID: id, ClusterName: r.cluster.Name, ClusterARN: r.cluster.ARN,
		Group: wire.Value(in.Group), StartedBy: wire.Value(in.StartedBy), TaskDefinition: r.td.ARN,
		Overrides: in.Overrides, NetworkConfiguration: r.network, EnableExec: wire.Value(in.EnableExecuteCommand),
		DesiredStatus: "RUNNING", LastStatus: "PROVISIONING", HealthStatus: "UNKNOWN", Version: 1, CreatedAt: who.Clock.Now(),
	}
	if t.Group == "" {
		t.Group = "family:" + r.td.Family
	}
	t.Tags = append(t.Tags, in.Tags...)
	if wire.Value(in.PropagateTags) == "TASK_DEFINITION" {
		for _, tag := range r.td.Tags {
			if !slices.ContainsFunc(t.Tags, func(o ecsapi.Tag) bool { return wire.Value(o.Key) == wire.Value(tag.Key) }) {
				t.Tags = append(t.Tags, tag)
			}
		}
	}
	t.Volumes = taskVolumes(in.VolumeConfigurations)
	if wire.Value(in.EnableECSManagedTags) {
		t.Tags = append(t.Tags, ecsapi.Tag{Key: wire.String("aws:ecs:clusterName"), Value: &r.cluster.Name})
	}
	fill(t, r.ctx, &r.td.Def)
	return t
}

// fill sets what a task needs of an instance and the containers it will have.
func fill(t *state.Task, ctx context.Context, def *ecsapi.TaskDefinition) {
	over := func(name string) ecsapi.ContainerOverride {
		if t.Overrides != nil {
			for _, o := range t.Overrides.ContainerOverrides {
				if wire.Value(o.Name) == name {
					return o
				}
			}
		}
		return ecsapi.ContainerOverride{}
	}
	for _, c := range def.ContainerDefinitions {
		o := over(*c.Name)
		set(&c.Cpu, o.Cpu)
		set(&c.Memory, o.Memory)
		set(&c.MemoryReservation, o.MemoryReservation)
		if o.ResourceRequirements != nil {
			c.ResourceRequirements = o.ResourceRequirements
		}
		t.CPU += int(wire.Value(c.Cpu))
		t.Memory += int(*or(c.MemoryReservation, wire.Value(c.Memory)))
		for _, rr := range c.ResourceRequirements {
			if wire.Value(rr.Type) == "GPU" {
				t.GPU += atoi(wire.Value(rr.Value))
			}
		}
		for _, p := range c.PortMappings {
			if n := int(wire.Value(p.HostPort)); n != 0 && wire.Value(def.NetworkMode) != "awsvpc" {
				t.HostPorts = append(t.HostPorts, state.ReservedPort{Port: n, Protocol: wire.Value(p.Protocol)})
			}
		}
		t.Containers = append(t.Containers, state.TaskContainer{
			ARN:  arn(ctx, "container", fmt.Sprintf("%s/%s/%s", t.ClusterName, t.ID, uuid())),
			Name: *c.Name, Image: *c.Image, LastStatus: "PENDING", Health: "UNKNOWN", Essential: wire.Value(c.Essential),
			CPU: int(wire.Value(c.Cpu)), Memory: int(wire.Value(c.Memory)), MemoryReservation: int(wire.Value(c.MemoryReservation)),
		})
	}
	cpu, memory := def.Cpu, def.Memory // of the task: they count in place of the containers'
	if t.Overrides != nil {
		set(&cpu, t.Overrides.Cpu)
		set(&memory, t.Overrides.Memory)
	}
	if cpu != nil {
		t.CPU = atoi(*cpu)
	}
	if memory != nil {
		t.Memory = atoi(*memory)
	}
}

func uuid() string {
	h := random(hexDigits, 32)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func checkOverrides(td *state.TaskDefinition, o *ecsapi.TaskOverride) error {
	if o == nil {
		return nil
	}
	for _, c := range o.ContainerOverrides {
		name := wire.Value(c.Name)
		if !slices.ContainsFunc(td.Def.ContainerDefinitions, func(d ecsapi.ContainerDefinition) bool { return *d.Name == name }) {
			return invalid("Override for container named %s is not a container in the TaskDefinition.", name)
		}
	}
	for _, s := range []*string{o.Cpu, o.Memory} {
		if s != nil {
			if n := atoi(*s); n <= 0 {
				return invalid("Invalid task override: %q is not a number of CPU units or MiB.", *s)
			}
		}
	}
	return nil
}

// startTask puts a task on each of the named instances, past the scheduler's choice but not past what
// the instances have room for.
func (a *API) startTask(ctx context.Context, in *ecsapi.StartTaskInput) (*ecsapi.StartTaskOutput, error) {
	if n := len(in.ContainerInstances); n == 0 || n > 10 {
		return nil, invalid("Container instances must have between 1 and 10 elements.")
	}
	return update(a, func(tx *state.Tx) (*ecsapi.StartTaskOutput, error) {
		c, err := a.cluster(tx, in.Cluster)
		if err != nil {
			return nil, err
		}
		td, err := a.usable(tx, *in.TaskDefinition)
		if err != nil {
			return nil, err
		}
		network := completeNetwork(in.NetworkConfiguration)
		ec2 := "EC2"
		if err := checkLaunch(td, &ecsapi.Service{LaunchType: &ec2, NetworkConfiguration: network}); err != nil {
			return nil, err
		}
		if err := checkOverrides(td, in.Overrides); err != nil {
			return nil, err
		}
		if err := checkVolumes(td, taskVolumeNames(in.VolumeConfigurations)); err != nil {
			return nil, err
		}
		r := &run{api: a, ctx: ctx, tx: tx, cluster: c, td: td, network: network, launchType: &ec2, in: &ecsapi.RunTaskInput{
			EnableECSManagedTags: in.EnableECSManagedTags, EnableExecuteCommand: in.EnableExecuteCommand, Group: in.Group,
			Overrides: in.Overrides, PropagateTags: in.PropagateTags, StartedBy: in.StartedBy, Tags: in.Tags, VolumeConfigurations: in.VolumeConfigurations,
		}}
		out := &ecsapi.StartTaskOutput{Failures: []ecsapi.Failure{}}
		var arns []string
		for _, ref := range in.ContainerInstances {
			ci, ok := a.instance(tx, c, ref)
			if !ok {
				out.Failures = append(out.Failures, missing(a.instanceARN(ctx, c, ref)))
				continue
			}
			t := r.newTask()
			t.LaunchType = ec2
			chosen, refusals, err := placement.Place(request(t, &state.TaskDefinition{}, nil, nil, nil), []*placement.Instance{a.schedulable(tx, ci)})
			if err != nil {
				return nil, invalid("Invalid placement: %s", err)
			}
			if chosen == nil {
				out.Failures = append(out.Failures, failures(refusals)...)
				continue
			}
			placed(t, chosen)
			a.State.Tasks.Put(tx, t.ARN, t) // the next may go to the same instance
			arns = append(arns, t.ARN)
		}
		out.Tasks = a.showTasks(tx, arns)
		return out, nil
	})
}
