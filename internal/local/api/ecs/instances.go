package ecs

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/capacity"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
	"github.com/slipway-ecs/slipway/internal/placement"
)

func (a *API) registerInstances(svc *wire.Service) {
	wire.Handle(svc, "RegisterContainerInstance", a.registerContainerInstance)
	wire.Handle(svc, "DeregisterContainerInstance", a.deregisterContainerInstance)
	wire.Handle(svc, "DescribeContainerInstances", a.describeContainerInstances)
	wire.Handle(svc, "ListContainerInstances", a.listContainerInstances)
	wire.Handle(svc, "UpdateContainerInstancesState", a.updateContainerInstancesState)
	wire.Handle(svc, "UpdateContainerAgent", a.updateContainerAgent)
	wire.Handle(svc, "PutAttributes", a.putAttributes)
	wire.Handle(svc, "DeleteAttributes", a.deleteAttributes)
	wire.Handle(svc, "ListAttributes", a.listAttributes)
}

// instance finds a container instance of the cluster by id or ARN.
func (a *API) instance(tx *state.Tx, c *state.Cluster, ref string) (*state.ContainerInstance, bool) {
	arn := ref
	if !strings.HasPrefix(ref, "arn:") {
		arn = strings.Replace(c.ARN, ":cluster/", ":container-instance/", 1) + "/" + ref
	}
	ci, ok := a.State.ContainerInstances.Get(tx, arn)
	return ci, ok && ci.ClusterName == c.Name && ci.Status != "INACTIVE"
}

func (a *API) instanceARN(ctx context.Context, c *state.Cluster, ref string) string {
	if strings.HasPrefix(ref, "arn:") {
		return ref
	}
	return arn(ctx, "container-instance", c.Name+"/"+ref)
}

// agentPorts are what the agent reserves on every instance: SSH, the Docker daemon and itself.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PortMapping.html
var agentPorts = []int{22, 2375, 2376, 51678, 51679, 51680}

// identity is the part of an EC2 instance identity document that is used.
type identity struct {
	InstanceID       string `json:"instanceId"`
	InstanceType     string `json:"instanceType"`
	AvailabilityZone string `json:"availabilityZone"`
	PrivateIP        string `json:"privateIp"`
	ImageID          string `json:"imageId"`
}

// registerContainerInstance is what the container agent calls. The signature of the identity document
// is not checked: nothing outside this machine reaches us.
func (a *API) registerContainerInstance(ctx context.Context, in *ecsapi.RegisterContainerInstanceInput) (*ecsapi.RegisterContainerInstanceOutput, error) {
	var doc identity
	if s := wire.Value(in.InstanceIdentityDocument); s != "" {
		if err := json.Unmarshal([]byte(s), &doc); err != nil {
			return nil, client("The instance identity document is not valid JSON.")
		}
	}
	return update(a, func(tx *state.Tx) (*ecsapi.RegisterContainerInstanceOutput, error) {
		c, err := a.cluster(tx, in.Cluster)
		if err != nil {
			return nil, err
		}
		ci := &state.ContainerInstance{
			ID: random(hexDigits, 32), ClusterName: c.Name, EC2InstanceID: doc.InstanceID, InstanceType: doc.InstanceType,
			AZ: doc.AvailabilityZone, PrivateIP: doc.PrivateIP, Status: "ACTIVE", AgentConnected: true, Tags: in.Tags,
			RegisteredAt: a.Clock.Now(), Version: 1,
		}
		ci.ARN = arn(ctx, "container-instance", c.Name+"/"+ci.ID)
		if ref := wire.Value(in.ContainerInstanceArn); ref != "" { // the agent started again
			old, ok := a.instance(tx, c, ref)
			if !ok {
				return nil, client("The referenced container instance was not found.")
			}
			again := *old
			again.AgentConnected, again.Version = true, old.Version+1
			ci = &again
		}
		if in.VersionInfo != nil {
			ci.AgentVersion = wire.Value(in.VersionInfo.AgentVersion)
		}
		takeResources(ci, in.TotalResources)
		if typ, ok := capacity.TypeByName(ci.InstanceType); ok {
			ci.ENIs = typ.TaskENIs(a.setting(ctx, tx, "", "awsvpcTrunking") == "enabled")
		}
		ci.Attributes = mergeAttributes(ci.Attributes, in.Attributes)
		ci.Attributes = mergeAttributes(ci.Attributes, builtin(ci, doc.ImageID))
		a.State.ContainerInstances.Put(tx, ci.ARN, ci)
		return &ecsapi.RegisterContainerInstanceOutput{ContainerInstance: wire.Ptr(a.showInstance(tx, ci))}, nil
	})
}

func takeResources(ci *state.ContainerInstance, rs []ecsapi.Resource) {
	if len(rs) == 0 {
		return
	}
	ci.ReservedPorts = nil
	for _, r := range rs {
		n := int(wire.Value(r.IntegerValue))
		switch wire.Value(r.Name) {
		case "CPU":
			ci.CPU = n
		case "MEMORY":
			ci.Memory = n
		case "GPU":
			ci.GPU = n
			if r.StringSetValue != nil {
				ci.GPU = len(r.StringSetValue)
			}
		case "PORTS", "PORTS_UDP":
			protocol := "tcp"
			if *r.Name == "PORTS_UDP" {
				protocol = "udp"
			}
			for _, p := range r.StringSetValue {
				ci.ReservedPorts = append(ci.ReservedPorts, state.ReservedPort{Port: atoi(p), Protocol: protocol})
			}
		}
	}
	if ci.ReservedPorts == nil {
		for _, p := range agentPorts {
			ci.ReservedPorts = append(ci.ReservedPorts, state.ReservedPort{Port: p, Protocol: "tcp"})
		}
	}
}

// builtin are the attributes ECS gives every instance itself.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-placement-constraints.html
func builtin(ci *state.ContainerInstance, ami string) []ecsapi.Attribute {
	var out []ecsapi.Attribute
	add := func(name, value string) {
		if value != "" && !slices.ContainsFunc(ci.Attributes, func(x ecsapi.Attribute) bool { return wire.Value(x.Name) == name }) {
			out = append(out, ecsapi.Attribute{Name: &name, Value: &value})
		}
	}
	add("ecs.availability-zone", ci.AZ)
	add("ecs.instance-type", ci.InstanceType)
	add("ecs.ami-id", ami)
	add("ecs.os-type", "linux")
	add("ecs.os-family", "LINUX")
	add("ecs.cpu-architecture", "x86_64")
	return out
}

func (a *API) showInstance(tx *state.Tx, ci *state.ContainerInstance) ecsapi.ContainerInstance {
	running, pending := 0, 0
	used := placement.Resources{}
	var ports []placement.Port
	for _, t := range a.State.TasksByInstance.Get(tx, ci.ARN) {
		used = used.Plus(taskResources(t))
		ports = append(ports, state.HostPorts(t)...)
		switch {
		case t.LastStatus == "RUNNING":
			running++
		case isPending(t):
			pending++
		}
	}
	var reserved []placement.Port
	for _, p := range ci.ReservedPorts {
		reserved = append(reserved, placement.Port{Number: p.Port, Protocol: p.Protocol})
	}
	updates := ecsapi.ContainerInstance{
		ContainerInstanceArn: &ci.ARN, Ec2InstanceId: wire.NonEmpty(ci.EC2InstanceID), CapacityProviderName: wire.NonEmpty(ci.CapacityProvider),
		Version: &ci.Version, Status: &ci.Status, StatusReason: wire.NonEmpty(ci.StatusReason), AgentConnected: &ci.AgentConnected,
		RunningTasksCount: wire.Int32(running), PendingTasksCount: wire.Int32(pending), RegisteredAt: wire.Timestamp(ci.RegisteredAt),
		Attributes: orEmpty(ci.Attributes), Attachments: []ecsapi.Attachment{}, Tags: orEmpty(ci.Tags),
		VersionInfo:         &ecsapi.VersionInfo{AgentVersion: wire.NonEmpty(ci.AgentVersion)},
		RegisteredResources: showResources(ci.CPU, ci.Memory, ci.GPU, reserved),
		RemainingResources:  showResources(ci.CPU-used.CPU, ci.Memory-used.Memory, ci.GPU-used.GPU, append(reserved, ports...)),
	}
	return updates
}

func showResources(cpu, memory, gpu int, ports []placement.Port) []ecsapi.Resource {
	number := func(name string, n int) ecsapi.Resource {
		return ecsapi.Resource{Name: &name, Type: wire.String("INTEGER"), DoubleValue: wire.Ptr(0.0), LongValue: wire.Int64(0), IntegerValue: wire.Int32(n)}
	}
	set := func(name, protocol string) ecsapi.Resource {
		r := ecsapi.Resource{Name: &name, Type: wire.String("STRINGSET"), DoubleValue: wire.Ptr(0.0), LongValue: wire.Int64(0), IntegerValue: wire.Int32(0), StringSetValue: []string{}}
		for _, p := range ports {
			if p.Protocol == protocol {
				r.StringSetValue = append(r.StringSetValue, itoa(p.Number))
			}
		}
		return r
	}
	out := []ecsapi.Resource{number("CPU", cpu), number("MEMORY", memory), set("PORTS", "tcp"), set("PORTS_UDP", "udp")}
	if gpu > 0 {
		out = append(out, number("GPU", gpu))
	}
	return out
}

func (a *API) describeContainerInstances(ctx context.Context, in *ecsapi.DescribeContainerInstancesInput) (*ecsapi.DescribeContainerInstancesOutput, error) {
	switch {
	case len(in.ContainerInstances) == 0:
		return nil, invalid("Container instances cannot be empty.")
	case len(in.ContainerInstances) > 100:
		return nil, invalid("Container instances cannot have more than 100 elements")
	}
	tags := slices.Contains(in.Include, "TAGS")
	return view(a, func(tx *state.Tx) (*ecsapi.DescribeContainerInstancesOutput, error) {
		c, err := a.cluster(tx, in.Cluster)
		if err != nil {
			return nil, err
		}
		out := &ecsapi.DescribeContainerInstancesOutput{ContainerInstances: []ecsapi.ContainerInstance{}, Failures: []ecsapi.Failure{}}
		for _, ref := range in.ContainerInstances {
			ci, ok := a.instance(tx, c, ref)
			if !ok {
				out.Failures = append(out.Failures, missing(a.instanceARN(ctx, c, ref)))
				continue
			}
			shown := a.showInstance(tx, ci)
			if !tags {
				shown.Tags = []ecsapi.Tag{}
			}
			out.ContainerInstances = append(out.ContainerInstances, shown)
		}
		return out, nil
	})
}

func (a *API) listContainerInstances(_ context.Context, in *ecsapi.ListContainerInstancesInput) (*ecsapi.ListContainerInstancesOutput, error) {
	var filter *placement.Expr
	if s := wire.Value(in.Filter); s != "" {
		var err error
		if filter, err = placement.Parse(s); err != nil {
			return nil, invalid("Invalid filter expression: %s", err)
		}
	}
	return view(a, func(tx *state.Tx) (*ecsapi.ListContainerInstancesOutput, error) {
		c, err := a.cluster(tx, in.Cluster)
		if err != nil {
			return nil, err
		}
		var arns []string
		for _, ci := range a.State.InstancesByCluster.Get(tx, c.Name) {
			switch {
			case ci.Status == "INACTIVE":
				continue
			case in.Status != nil && ci.Status != *in.Status, in.Status == nil && ci.Status != "ACTIVE" && ci.Status != "DRAINING":
				continue
			case filter != nil && !filter.Match(a.schedulable(tx, ci)):
				continue
			}
			arns = append(arns, ci.ARN)
		}
		part, next, err := page(arns, in.NextToken, in.MaxResults, 100)
		return &ecsapi.ListContainerInstancesOutput{ContainerInstanceArns: part, NextToken: next}, err
	})
}

func (a *API) updateContainerInstancesState(ctx context.Context, in *ecsapi.UpdateContainerInstancesStateInput) (*ecsapi.UpdateContainerInstancesStateOutput, error) {
	if *in.Status != "ACTIVE" && *in.Status != "DRAINING" {
		return nil, invalid("Container instances can only be set to ACTIVE or DRAINING.")
	}
	if n := len(in.ContainerInstances); n == 0 || n > 10 {
		return nil, invalid("Container instances must have between 1 and 10 elements.")
	}
	return update(a, func(tx *state.Tx) (*ecsapi.UpdateContainerInstancesStateOutput, error) {
		c, err := a.cluster(tx, in.Cluster)
		if err != nil {
			return nil, err
		}
		out := &ecsapi.UpdateContainerInstancesStateOutput{ContainerInstances: []ecsapi.ContainerInstance{}, Failures: []ecsapi.Failure{}}
		for _, ref := range in.ContainerInstances {
			old, ok := a.instance(tx, c, ref)
			if !ok {
				out.Failures = append(out.Failures, missing(a.instanceARN(ctx, c, ref)))
				continue
			}
			ci := *old
			if ci.Status != *in.Status {
				ci.Status, ci.Version = *in.Status, ci.Version+1
				a.State.ContainerInstances.Put(tx, ci.ARN, &ci)
			}
			out.ContainerInstances = append(out.ContainerInstances, a.showInstance(tx, &ci))
		}
		return out, nil
	})
}

// deregisterContainerInstance takes an instance out of the cluster. With force its tasks are orphaned:
// they run on, but ECS counts them as stopped and services replace them.
func (a *API) deregisterContainerInstance(_ context.Context, in *ecsapi.DeregisterContainerInstanceInput) (*ecsapi.DeregisterContainerInstanceOutput, error) {
	return update(a, func(tx *state.Tx) (*ecsapi.DeregisterContainerInstanceOutput, error) {
		c, err := a.cluster(tx, in.Cluster)
		if err != nil {
			return nil, err
		}
		old, ok := a.instance(tx, c, *in.ContainerInstance)
		if !ok {
			return nil, client("The referenced container instance was not found.")
		}
		var on []*state.Task
		for _, t := range a.State.TasksByInstance.Get(tx, old.ARN) {
			on = append(on, t)
		}
		if len(on) > 0 && !wire.Value(in.Force) {
			return nil, invalid("Found running tasks on the instance.")
		}
		for _, t := range on {
			if t.DesiredStatus == "STOPPED" {
				continue
			}
			stopped := *t
			stopped.DesiredStatus, stopped.StopCode, stopped.Version = "STOPPED", "TerminationNotice", t.Version+1
			stopped.StoppedReason = "Container instance deregistration forced by user"
			a.State.Tasks.Put(tx, t.ARN, &stopped)
		}
		ci := *old
		ci.Status, ci.AgentConnected, ci.Version = "INACTIVE", false, old.Version+1
		a.State.ContainerInstances.Put(tx, ci.ARN, &ci)
		return &ecsapi.DeregisterContainerInstanceOutput{ContainerInstance: wire.Ptr(a.showInstance(tx, &ci))}, nil
	})
}

// updateContainerAgent never finds an update: instances of the local AWS are born with the newest agent.
func (a *API) updateContainerAgent(_ context.Context, in *ecsapi.UpdateContainerAgentInput) (*ecsapi.UpdateContainerAgentOutput, error) {
	return view(a, func(tx *state.Tx) (*ecsapi.UpdateContainerAgentOutput, error) {
		c, err := a.cluster(tx, in.Cluster)
		if err != nil {
			return nil, err
		}
		if _, ok := a.instance(tx, c, *in.ContainerInstance); !ok {
			return nil, client("The referenced container instance was not found.")
		}
		return nil, wire.Errorf("NoUpdateAvailableException", "There is no update available for your container agent.")
	})
}
