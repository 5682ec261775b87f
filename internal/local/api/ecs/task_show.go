package ecs

import (
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

func (a *API) showTasks(tx *state.Tx, arns []string) []ecsapi.Task {
	out := []ecsapi.Task{}
	for _, arn := range arns {
		if t, ok := a.State.Tasks.Get(tx, arn); ok {
			out = append(out, a.showTask(tx, t))
		}
	}
	return out
}

func (a *API) showTask(tx *state.Tx, t *state.Task) ecsapi.Task {
	out := ecsapi.Task{
		TaskArn: &t.ARN, ClusterArn: &t.ClusterARN, TaskDefinitionArn: &t.TaskDefinition, Group: &t.Group,
		LastStatus: &t.LastStatus, DesiredStatus: &t.DesiredStatus, HealthStatus: wire.String("UNKNOWN"),
		LaunchType: wire.NonEmpty(t.LaunchType), CapacityProviderName: wire.NonEmpty(t.CapacityProvider), AvailabilityZone: wire.NonEmpty(t.AZ),
		ContainerInstanceArn: wire.NonEmpty(t.ContainerInstance), StartedBy: wire.NonEmpty(t.StartedBy),
		Cpu: wire.String(itoa(t.CPU)), Memory: wire.String(itoa(t.Memory)), EnableExecuteCommand: &t.EnableExec, Version: &t.Version,
		StopCode: wire.NonEmpty(t.StopCode), StoppedReason: wire.NonEmpty(t.StoppedReason), Connectivity: wire.NonEmpty(t.Connectivity),
		ConnectivityAt: wire.Timestamp(t.ConnectivityAt), CreatedAt: wire.Timestamp(t.CreatedAt),
		PullStartedAt: wire.Timestamp(t.PullStartedAt), PullStoppedAt: wire.Timestamp(t.PullStoppedAt), StartedAt: wire.Timestamp(t.StartedAt),
		StoppingAt: wire.Timestamp(t.StoppingAt), StoppedAt: wire.Timestamp(t.StoppedAt), ExecutionStoppedAt: wire.Timestamp(t.ExecutionStoppedAt),
		Tags: orEmpty(t.Tags), Attachments: []ecsapi.Attachment{}, Containers: []ecsapi.Container{}, InferenceAccelerators: []ecsapi.InferenceAccelerator{},
		Attributes: []ecsapi.Attribute{{Name: wire.String("ecs.cpu-architecture"), Value: wire.String("x86_64")}},
		Overrides:  showOverrides(t),
	}
	if t.HealthStatus != "" {
		out.HealthStatus = &t.HealthStatus
	}
	td := a.taskDefinition(tx, t.TaskDefinition)
	if td != nil && td.Def.RuntimePlatform != nil && wire.Value(td.Def.RuntimePlatform.CpuArchitecture) == "ARM64" {
		out.Attributes[0].Value = wire.String("arm64")
	}
	if t.LaunchType == "FARGATE" {
		out.PlatformVersion, out.PlatformFamily = wire.NonEmpty(t.PlatformVersion), wire.String("Linux")
		size := int32(20) // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-task-storage.html
		if td != nil {
			out.PlatformFamily = wire.String(platformFamily(td))
			if td.Def.EphemeralStorage != nil {
				size = wire.Value(td.Def.EphemeralStorage.SizeInGiB)
			}
		}
		out.EphemeralStorage = &ecsapi.EphemeralStorage{SizeInGiB: &size}
		out.FargateEphemeralStorage = &ecsapi.TaskEphemeralStorage{SizeInGiB: &size}
	}
	attachment := ""
	if t.ENI != nil {
		at := showENI(t)
		attachment = *at.Id
		out.Attachments = append(out.Attachments, at)
	}
	for i := range t.Volumes {
		out.Attachments = append(out.Attachments, showVolume(t, &t.Volumes[i]))
	}
	for i := range out.Attachments { // what an agent has reported counts while the task lives
		if s, ok := t.Attachment[*out.Attachments[i].Id]; ok && t.LastStatus != "STOPPED" {
			out.Attachments[i].Status = &s
		}
	}
	for i := range t.Containers {
		out.Containers = append(out.Containers, showContainer(t, &t.Containers[i], attachment))
	}
	return out
}

func showOverrides(t *state.Task) *ecsapi.TaskOverride {
	if t.Overrides != nil {
		o := *t.Overrides
		o.ContainerOverrides, o.InferenceAcceleratorOverrides = orEmpty(o.ContainerOverrides), orEmpty(o.InferenceAcceleratorOverrides)
		return &o
	}
	o := &ecsapi.TaskOverride{ContainerOverrides: []ecsapi.ContainerOverride{}, InferenceAcceleratorOverrides: []ecsapi.InferenceAcceleratorOverride{}}
	for i := range t.Containers {
		o.ContainerOverrides = append(o.ContainerOverrides, ecsapi.ContainerOverride{Name: &t.Containers[i].Name})
	}
	return o
}

func showENI(t *state.Task) ecsapi.Attachment {
	status := "ATTACHED"
	switch t.LastStatus {
	case "PROVISIONING":
		status = "ATTACHING"
	case "STOPPED":
		status = "DELETED"
	}
	id := t.ID // the attachment has an id of its own, but nothing else is known by it
	if len(id) == 32 {
		id = id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:]
	}
	kv := func(k, v string) ecsapi.KeyValuePair { return ecsapi.KeyValuePair{Name: &k, Value: &v} }
	return ecsapi.Attachment{Id: &id, Type: wire.String("ElasticNetworkInterface"), Status: &status, Details: []ecsapi.KeyValuePair{
		kv("subnetId", t.ENI.SubnetID), kv("networkInterfaceId", t.ENI.ID), kv("macAddress", t.ENI.MAC),
		kv("privateDnsName", "ip-"+strings.ReplaceAll(t.ENI.PrivateIP, ".", "-")+".ec2.internal"), kv("privateIPv4Address", t.ENI.PrivateIP),
	}}
}

func showContainer(t *state.Task, c *state.TaskContainer, attachment string) ecsapi.Container {
	out := ecsapi.Container{
		ContainerArn: &c.ARN, TaskArn: &t.ARN, Name: &c.Name, Image: &c.Image, ImageDigest: wire.NonEmpty(c.ImageDigest),
		RuntimeId: wire.NonEmpty(c.RuntimeID), LastStatus: &c.LastStatus, Reason: wire.NonEmpty(c.Reason), HealthStatus: wire.String("UNKNOWN"),
		Cpu: wire.String(itoa(c.CPU)), NetworkInterfaces: []ecsapi.NetworkInterface{},
	}
	if c.Health != "" {
		out.HealthStatus = &c.Health
	}
	if t.EnableExec {
		agent := ecsapi.ManagedAgent{Name: wire.String("ExecuteCommandAgent"), LastStatus: wire.String("PENDING")}
		switch {
		case c.LastStatus == "RUNNING":
			agent.LastStatus, agent.LastStartedAt = wire.String("RUNNING"), wire.Timestamp(t.StartedAt)
		case c.LastStatus == "STOPPED":
			agent.LastStatus = wire.String("STOPPED")
		}
		if s, ok := t.Attachment["agent/"+c.Name]; ok && c.LastStatus == "RUNNING" {
			agent.LastStatus = &s
		}
		out.ManagedAgents = append(out.ManagedAgents, agent)
	}
	if c.Memory != 0 {
		out.Memory = wire.String(itoa(c.Memory))
	}
	if c.MemoryReservation != 0 {
		out.MemoryReservation = wire.String(itoa(c.MemoryReservation))
	}
	if c.ExitCode != nil {
		out.ExitCode = wire.Int32(*c.ExitCode)
	}
	if t.ENI != nil {
		out.NetworkInterfaces = append(out.NetworkInterfaces, ecsapi.NetworkInterface{AttachmentId: &attachment, PrivateIpv4Address: &t.ENI.PrivateIP})
	}
	out.NetworkBindings = []ecsapi.NetworkBinding{}
	if t.ENI == nil {
		for _, b := range c.Bindings {
			out.NetworkBindings = append(out.NetworkBindings, ecsapi.NetworkBinding{BindIP: wire.String("0.0.0.0"),
				ContainerPort: wire.Int32(b.ContainerPort), HostPort: wire.Int32(b.HostPort), Protocol: wire.String(b.Protocol)})
		}
	}
	return out
}
