package ecs

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

// What container agents call. The tasks of this AWS are run by it, whatever agent is connected: so a
// report never takes a task back, and a report of its end ends it.
//
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_SubmitTaskStateChange.html
func (a *API) registerAgent(svc *wire.Service) {
	wire.Handle(svc, "DiscoverPollEndpoint", a.discoverPollEndpoint, wire.Partly("the endpoint is this AWS itself, which speaks no protocol for agents to poll"))
	wire.Handle(svc, "SubmitTaskStateChange", a.submitTaskStateChange)
	wire.Handle(svc, "SubmitContainerStateChange", a.submitContainerStateChange)
	wire.Handle(svc, "SubmitAttachmentStateChanges", a.submitAttachmentStateChanges)
}

const acknowledged = "ACCEPT"

func (a *API) discoverPollEndpoint(_ context.Context, in *ecsapi.DiscoverPollEndpointInput) (*ecsapi.DiscoverPollEndpointOutput, error) {
	return view(a, func(tx *state.Tx) (*ecsapi.DiscoverPollEndpointOutput, error) {
		c, err := a.cluster(tx, in.Cluster)
		if err != nil {
			return nil, err
		}
		if ref := wire.Value(in.ContainerInstance); ref != "" {
			if _, ok := a.instance(tx, c, ref); !ok {
				return nil, client("The referenced container instance was not found.")
			}
		}
		at := "http://" + a.Address
		return &ecsapi.DiscoverPollEndpointOutput{Endpoint: &at, TelemetryEndpoint: &at, ServiceConnectEndpoint: &at}, nil
	})
}

// lifecycle is the order a task's states come in.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
var lifecycle = []string{"PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED"}

// report changes a task by what an agent says of it. The state is taken over where the task loop has
// not passed it; STOPPED is the wish to have it stopped, as the task loop has to let go of it first.
func (a *API) report(cluster *string, task string, change func(tx *state.Tx, t *state.Task) error) error {
	_, err := update(a, func(tx *state.Tx) (struct{}, error) {
		c, err := a.cluster(tx, cluster)
		if err != nil {
			return struct{}{}, err
		}
		old, ok := a.task(tx, c, task)
		if !ok {
			return struct{}{}, invalid("The referenced task was not found.")
		}
		t := *old
		t.Containers = slices.Clone(old.Containers)
		if err := change(tx, &t); err != nil {
			return struct{}{}, err
		}
		t.Version++
		a.State.Tasks.Put(tx, t.ARN, &t)
		return struct{}{}, nil
	})
	return err
}

func (a *API) submitTaskStateChange(_ context.Context, in *ecsapi.SubmitTaskStateChangeInput) (*ecsapi.SubmitTaskStateChangeOutput, error) {
	status := strings.ToUpper(wire.Value(in.Status))
	if status != "" && !slices.Contains(lifecycle, status) {
		return nil, invalid("Unknown task status: %s", wire.Value(in.Status))
	}
	err := a.report(in.Cluster, wire.Value(in.Task), func(tx *state.Tx, t *state.Task) error {
		for _, c := range in.Containers {
			if err := a.reportContainer(t, wire.Value(c.ContainerName), c); err != nil {
				return err
			}
		}
		for _, m := range in.ManagedAgents {
			if containerOf(t, wire.Value(m.ContainerName)) < 0 {
				return invalid("Container %s was not found in the task.", wire.Value(m.ContainerName))
			}
			t.Attachment = reported(t.Attachment, "agent/"+*m.ContainerName, *m.Status)
		}
		for _, at := range in.Attachments {
			if err := a.reportAttachment(t, *at.AttachmentArn, *at.Status); err != nil {
				return err
			}
		}
		earlier := func(dst *time.Time, v *wire.Time) {
			if v != nil && dst.IsZero() {
				*dst = v.Time
			}
		}
		earlier(&t.PullStartedAt, in.PullStartedAt)
		earlier(&t.PullStoppedAt, in.PullStoppedAt)
		earlier(&t.ExecutionStoppedAt, in.ExecutionStoppedAt)
		if status == "STOPPED" && t.DesiredStatus != "STOPPED" {
			t.DesiredStatus, t.StopCode, t.StoppedReason = "STOPPED", "TaskFailedToStart", wire.Value(in.Reason)
			if !t.StartedAt.IsZero() {
				t.StopCode = "EssentialContainerExited"
			}
			if t.StoppedReason == "" {
				t.StoppedReason = "Essential container in task exited"
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ecsapi.SubmitTaskStateChangeOutput{Acknowledgment: wire.String(acknowledged)}, nil
}

func containerOf(t *state.Task, name string) int {
	return slices.IndexFunc(t.Containers, func(c state.TaskContainer) bool { return c.Name == name })
}

// reportContainer takes over what is said of a container. The end of an essential one ends the task.
func (a *API) reportContainer(t *state.Task, name string, c ecsapi.ContainerStateChange) error {
	k := containerOf(t, name)
	if k < 0 {
		return invalid("Container %s was not found in the task.", name)
	}
	x := &t.Containers[k]
	if x.RuntimeID == "" {
		x.RuntimeID = wire.Value(c.RuntimeId)
	}
	if x.ImageDigest == "" {
		x.ImageDigest = wire.Value(c.ImageDigest)
	}
	if x.Reason == "" {
		x.Reason = wire.Value(c.Reason)
	}
	if strings.ToUpper(wire.Value(c.Status)) != "STOPPED" || x.LastStatus == "STOPPED" {
		return nil
	}
	if c.ExitCode != nil {
		code := int(*c.ExitCode)
		x.ExitCode = &code
	}
	if x.Essential && t.DesiredStatus != "STOPPED" {
		t.DesiredStatus, t.StopCode, t.StoppedReason = "STOPPED", "EssentialContainerExited", "Essential container in task exited"
		t.ExecutionStoppedAt = a.Clock.Now()
	}
	return nil
}

func (a *API) submitContainerStateChange(_ context.Context, in *ecsapi.SubmitContainerStateChangeInput) (*ecsapi.SubmitContainerStateChangeOutput, error) {
	err := a.report(in.Cluster, wire.Value(in.Task), func(_ *state.Tx, t *state.Task) error {
		return a.reportContainer(t, wire.Value(in.ContainerName), ecsapi.ContainerStateChange{ExitCode: in.ExitCode, Reason: in.Reason, RuntimeId: in.RuntimeId, Status: in.Status})
	})
	if err != nil {
		return nil, err
	}
	return &ecsapi.SubmitContainerStateChangeOutput{Acknowledgment: wire.String(acknowledged)}, nil
}

// attachmentIDs are the ids of what is attached to a task: its interface and its volumes.
func attachmentIDs(t *state.Task) []string {
	var ids []string
	if t.ENI != nil {
		ids = append(ids, *showENI(t).Id)
	}
	for _, v := range t.Volumes {
		ids = append(ids, v.AttachmentID)
	}
	return ids
}

func (a *API) reportAttachment(t *state.Task, arn, status string) error {
	id := lastPart(arn)
	if !slices.Contains(attachmentIDs(t), id) {
		return invalid("The attachment %s was not found.", arn)
	}
	status = strings.ToUpper(status)
	if !slices.Contains([]string{"ATTACHING", "ATTACHED", "DETACHING", "DETACHED"}, status) {
		return invalid("Unknown attachment status: %s", status)
	}
	t.Attachment = reported(t.Attachment, id, status)
	return nil
}

func reported(m map[string]string, key, value string) map[string]string {
	m = maps.Clone(m)
	if m == nil {
		m = map[string]string{}
	}
	m[key] = value
	return m
}

func (a *API) submitAttachmentStateChanges(_ context.Context, in *ecsapi.SubmitAttachmentStateChangesInput) (*ecsapi.SubmitAttachmentStateChangesOutput, error) {
	return update(a, func(tx *state.Tx) (*ecsapi.SubmitAttachmentStateChangesOutput, error) {
		c, err := a.cluster(tx, in.Cluster)
		if err != nil {
			return nil, err
		}
		for _, x := range in.Attachments {
			id := lastPart(*x.AttachmentArn)
			var of *state.Task
			for _, t := range a.State.TasksByCluster.Get(tx, c.Name) {
				if slices.Contains(attachmentIDs(t), id) {
					of = t
					break
				}
			}
			if of == nil {
				return nil, invalid("The attachment %s was not found.", *x.AttachmentArn)
			}
			t := *of
			if err := a.reportAttachment(&t, *x.AttachmentArn, *x.Status); err != nil {
				return nil, err
			}
			t.Version++
			a.State.Tasks.Put(tx, t.ARN, &t)
		}
		return &ecsapi.SubmitAttachmentStateChangesOutput{Acknowledgment: wire.String(acknowledged)}, nil
	})
}
