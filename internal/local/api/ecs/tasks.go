package ecs

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

func (a *API) registerTasks(svc *wire.Service) {
	wire.Handle(svc, "RunTask", a.runTask)
	wire.Handle(svc, "StartTask", a.startTask)
	wire.Handle(svc, "StopTask", a.stopTask)
	wire.Handle(svc, "ExecuteCommand", a.executeCommand)
	wire.Handle(svc, "DescribeTasks", a.describeTasks)
	wire.Handle(svc, "ListTasks", a.listTasks)
	wire.Handle(svc, "UpdateTaskProtection", a.updateTaskProtection)
	wire.Handle(svc, "GetTaskProtection", a.getTaskProtection)
}

// task finds a task of the cluster by id or ARN.
func (a *API) task(tx *state.Tx, c *state.Cluster, ref string) (*state.Task, bool) {
	t, ok := a.State.Tasks.Get(tx, a.taskARN(c, ref))
	return t, ok && t.ClusterName == c.Name
}

func (a *API) taskARN(c *state.Cluster, ref string) string {
	if strings.HasPrefix(ref, "arn:") {
		return ref
	}
	return strings.Replace(c.ARN, ":cluster/", ":task/", 1) + "/" + ref
}

func (a *API) stopTask(_ context.Context, in *ecsapi.StopTaskInput) (*ecsapi.StopTaskOutput, error) {
	return update(a, func(tx *state.Tx) (*ecsapi.StopTaskOutput, error) {
		c, err := a.cluster(tx, in.Cluster)
		if err != nil {
			return nil, err
		}
		old, ok := a.task(tx, c, *in.Task)
		if !ok {
			return nil, invalid("The referenced task was not found.")
		}
		if old.DesiredStatus == "STOPPED" {
			return &ecsapi.StopTaskOutput{Task: wire.Ptr(a.showTask(tx, old))}, nil
		}
		t := *old
		t.DesiredStatus, t.StopCode, t.Version = "STOPPED", "UserInitiated", t.Version+1
		t.StoppedReason = "Task stopped by user"
		if r := wire.Value(in.Reason); r != "" {
			t.StoppedReason = r
		}
		a.State.Tasks.Put(tx, t.ARN, &t)
		return &ecsapi.StopTaskOutput{Task: wire.Ptr(a.showTask(tx, &t))}, nil
	})
}

func (a *API) describeTasks(_ context.Context, in *ecsapi.DescribeTasksInput) (*ecsapi.DescribeTasksOutput, error) {
	switch {
	case len(in.Tasks) == 0:
		return nil, invalid("Tasks cannot be empty.")
	case len(in.Tasks) > 100:
		return nil, invalid("Tasks cannot have more than 100 elements")
	}
	tags := slices.Contains(in.Include, "TAGS")
	return view(a, func(tx *state.Tx) (*ecsapi.DescribeTasksOutput, error) {
		c, err := a.cluster(tx, in.Cluster)
		if err != nil {
			return nil, err
		}
		out := &ecsapi.DescribeTasksOutput{Tasks: []ecsapi.Task{}, Failures: []ecsapi.Failure{}}
		for _, ref := range in.Tasks {
			t, ok := a.task(tx, c, ref)
			if !ok {
				out.Failures = append(out.Failures, missing(a.taskARN(c, ref)))
				continue
			}
			shown := a.showTask(tx, t)
			if !tags {
				shown.Tags = []ecsapi.Tag{}
			}
			out.Tasks = append(out.Tasks, shown)
		}
		return out, nil
	})
}

func (a *API) listTasks(_ context.Context, in *ecsapi.ListTasksInput) (*ecsapi.ListTasksOutput, error) {
	desired := *or(in.DesiredStatus, "RUNNING")
	if !slices.Contains([]string{"RUNNING", "PENDING", "STOPPED"}, desired) {
		return nil, invalid("Invalid desired status: %s", desired)
	}
	return view(a, func(tx *state.Tx) (*ecsapi.ListTasksOutput, error) {
		c, err := a.cluster(tx, in.Cluster)
		if err != nil {
			return nil, err
		}
		start := after(in.NextToken)
		seq := a.State.TasksByCluster.From(tx, c.Name, start)
		instance := ""
		if in.ContainerInstance != nil {
			ci, ok := a.instance(tx, c, *in.ContainerInstance)
			if !ok {
				return nil, invalid("The referenced container instance was not found.")
			}
			instance = ci.ARN
			if desired != "STOPPED" { // of which it has none any more, as far as its index knows
				seq = a.State.TasksByInstance.From(tx, instance, start)
			}
		}
		if in.ServiceName != nil {
			s, err := a.service(tx, c, *in.ServiceName)
			if err != nil {
				return nil, err
			}
			seq = a.State.TasksByService.From(tx, serviceKey(s), start)
		}
		arns := func(yield func(string) bool) {
			for _, t := range seq {
				switch {
				case t.DesiredStatus != desired, instance != "" && t.ContainerInstance != instance,
					in.StartedBy != nil && t.StartedBy != *in.StartedBy,
					in.LaunchType != nil && t.LaunchType != *in.LaunchType,
					in.Family != nil && familyOf(t.TaskDefinition) != *in.Family:
					continue
				}
				if !yield(t.ARN) {
					return
				}
			}
		}
		part, next, err := pageOf(arns, in.NextToken, in.MaxResults, 100, false)
		return &ecsapi.ListTasksOutput{TaskArns: part, NextToken: next}, err
	})
}

func familyOf(taskDefinition string) string {
	f, _, _ := strings.Cut(lastPart(taskDefinition), ":")
	return f
}

// protected reports whether a task is protected from scale-in and deployments now.
func protected(t *state.Task, now time.Time) bool {
	return t.Protected && now.Before(t.ProtectedUntil)
}

// updateTaskProtection sets protection for 1 to 2880 minutes, 120 by default.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateTaskProtection.html
func (a *API) updateTaskProtection(_ context.Context, in *ecsapi.UpdateTaskProtectionInput) (*ecsapi.UpdateTaskProtectionOutput, error) {
	if n := len(in.Tasks); n == 0 || n > 10 {
		return nil, invalid("Tasks must have between 1 and 10 elements.")
	}
	minutes := *or(in.ExpiresInMinutes, 120)
	if minutes < 1 || minutes > 2880 {
		return nil, invalid("expiresInMinutes must be between 1 and 2880.")
	}
	return update(a, func(tx *state.Tx) (*ecsapi.UpdateTaskProtectionOutput, error) {
		c, err := a.cluster(tx, in.Cluster)
		if err != nil {
			return nil, err
		}
		out := &ecsapi.UpdateTaskProtectionOutput{ProtectedTasks: []ecsapi.ProtectedTask{}, Failures: []ecsapi.Failure{}}
		now := a.Clock.Now()
		for _, ref := range in.Tasks {
			old, ok := a.task(tx, c, ref)
			switch {
			case !ok:
				out.Failures = append(out.Failures, missing(a.taskARN(c, ref)))
				continue
			case old.ServiceKey == "" || old.DesiredStatus == "STOPPED":
				out.Failures = append(out.Failures, ecsapi.Failure{Arn: &old.ARN, Reason: wire.String("TASK_NOT_VALID"),
					Detail: wire.String("The task is not a running task of a service.")})
				continue
			}
			t := *old
			t.Protected, t.ProtectedUntil = *in.ProtectionEnabled, time.Time{}
			if t.Protected {
				t.ProtectedUntil = now.Add(time.Duration(minutes) * time.Minute)
			}
			a.State.Tasks.Put(tx, t.ARN, &t)
			out.ProtectedTasks = append(out.ProtectedTasks, showProtection(&t, now))
		}
		return out, nil
	})
}

func showProtection(t *state.Task, now time.Time) ecsapi.ProtectedTask {
	p := ecsapi.ProtectedTask{TaskArn: &t.ARN, ProtectionEnabled: wire.Bool(protected(t, now))}
	if protected(t, now) {
		p.ExpirationDate = wire.Timestamp(t.ProtectedUntil)
	}
	return p
}

func (a *API) getTaskProtection(_ context.Context, in *ecsapi.GetTaskProtectionInput) (*ecsapi.GetTaskProtectionOutput, error) {
	return view(a, func(tx *state.Tx) (*ecsapi.GetTaskProtectionOutput, error) {
		c, err := a.cluster(tx, in.Cluster)
		if err != nil {
			return nil, err
		}
		out := &ecsapi.GetTaskProtectionOutput{ProtectedTasks: []ecsapi.ProtectedTask{}, Failures: []ecsapi.Failure{}}
		now := a.Clock.Now()
		refs := in.Tasks
		if len(refs) == 0 {
			for _, t := range a.State.TasksByCluster.Get(tx, c.Name) {
				if protected(t, now) {
					refs = append(refs, t.ARN)
				}
			}
		}
		for _, ref := range refs {
			if t, ok := a.task(tx, c, ref); ok {
				out.ProtectedTasks = append(out.ProtectedTasks, showProtection(t, now))
			} else {
				out.Failures = append(out.Failures, missing(a.taskARN(c, ref)))
			}
		}
		return out, nil
	})
}
