package ecs

import (
	"context"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

func (a *API) registerTaskSets(svc *wire.Service) {
	wire.Handle(svc, "CreateTaskSet", a.createTaskSet)
	wire.Handle(svc, "UpdateTaskSet", a.updateTaskSet)
	wire.Handle(svc, "DeleteTaskSet", a.deleteTaskSet)
	wire.Handle(svc, "DescribeTaskSets", a.describeTaskSets)
	wire.Handle(svc, "UpdateServicePrimaryTaskSet", a.updateServicePrimaryTaskSet)
}

// mostTaskSets is how many task sets a service may have.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html
const mostTaskSets = 5

// externalService finds an ACTIVE service whose deployments are task sets.
func (a *API) externalService(tx *state.Tx, cluster, service string) (*state.Service, error) {
	c, err := a.cluster(tx, &cluster)
	if err != nil {
		return nil, err
	}
	s, err := a.service(tx, c, service)
	switch {
	case err != nil:
		return nil, err
	case s.Status != "ACTIVE":
		return nil, wire.Errorf("ServiceNotActiveException", "Service was not ACTIVE.")
	case controller(s) == "ECS":
		return nil, invalid("Task sets are not supported on services with an ECS deployment controller.")
	}
	return s, nil
}

// taskSet finds a task set of the service by id or ARN.
func (a *API) taskSet(tx *state.Tx, s *state.Service, ref string) (*state.Deployment, error) {
	id := ref
	if strings.HasPrefix(ref, "arn:") {
		id = "ecs-svc/" + lastPart(ref)
	}
	d, ok := a.State.Deployments.Get(tx, serviceKey(s)+"/"+id)
	if !ok || d.TaskSet == nil || d.Status == "INACTIVE" {
		return nil, wire.Errorf("TaskSetNotFoundException", "The specified task set was not found.")
	}
	return d, nil
}

// taskSets are the task sets of a service: the PRIMARY one, then the newest first.
func (a *API) taskSets(tx *state.Tx, key string) []*state.Deployment {
	return slices.DeleteFunc(a.deployments(tx, key), func(d *state.Deployment) bool { return d.TaskSet == nil })
}

// scaleOf is a task set's share of the desired count in percent; 100 if nothing is said.
func scaleOf(s *ecsapi.Scale) (float64, error) {
	if s == nil || s.Value == nil {
		return 100, nil
	}
	if *s.Value < 0 || *s.Value > 100 || s.Unit != nil && *s.Unit != "PERCENT" {
		return 0, invalid("The scale must be between 0.0 and 100.0 with the unit PERCENT.")
	}
	return *s.Value, nil
}

func (a *API) createTaskSet(ctx context.Context, in *ecsapi.CreateTaskSetInput) (*ecsapi.CreateTaskSetOutput, error) {
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	scale := 0.0 // AWS starts nothing unless it is told how much
	if in.Scale != nil {
		var err error
		if scale, err = scaleOf(in.Scale); err != nil {
			return nil, err
		}
	}
	return update(a, func(tx *state.Tx) (*ecsapi.CreateTaskSetOutput, error) {
		s, err := a.externalService(tx, *in.Cluster, *in.Service)
		if err != nil {
			return nil, err
		}
		token := "CreateTaskSet/" + serviceKey(s) + "/" + wire.Value(in.ClientToken)
		if in.ClientToken != nil {
			arns, ok, err := a.seen(tx, token, in)
			if err != nil {
				return nil, err
			}
			if ok {
				if d, err := a.taskSet(tx, s, arns[0]); err == nil {
					return &ecsapi.CreateTaskSetOutput{TaskSet: wire.Ptr(a.showTaskSet(tx, s, d))}, nil
				}
			}
		}
		if len(a.taskSets(tx, serviceKey(s))) >= mostTaskSets {
			return nil, wire.Errorf("LimitExceededException", "The maximum number of task sets for a service is %d.", mostTaskSets)
		}
		c, _ := a.State.Clusters.Get(tx, s.ClusterName)
		td, err := a.usable(tx, *in.TaskDefinition)
		if err != nil {
			return nil, err
		}
		spec := s.Spec
		spec.TaskDefinition, spec.NetworkConfiguration, spec.LoadBalancers, spec.ServiceRegistries = &td.ARN, completeNetwork(in.NetworkConfiguration), in.LoadBalancers, in.ServiceRegistries
		if in.LaunchType != nil || len(in.CapacityProviderStrategy) > 0 || spec.LaunchType == nil && len(spec.CapacityProviderStrategy) == 0 {
			if spec.LaunchType, spec.CapacityProviderStrategy, err = a.launch(tx, c, in.LaunchType, in.CapacityProviderStrategy); err != nil {
				return nil, err
			}
		}
		spec.PlatformVersion, spec.PlatformFamily = in.PlatformVersion, nil
		if onFargate(spec.LaunchType, spec.CapacityProviderStrategy) {
			spec.PlatformVersion, spec.PlatformFamily = or(in.PlatformVersion, "LATEST"), wire.String(platformFamily(td))
		}
		if err := checkLaunch(td, &spec); err != nil {
			return nil, err
		}
		if err := a.checkBalancers(tx, td, &spec); err != nil {
			return nil, err
		}
		if _, err := a.zones(tx, spec.NetworkConfiguration); err != nil {
			return nil, err
		}
		d := a.addTaskSet(ctx, tx, s, &spec, td, "ACTIVE", state.TaskSet{ExternalID: wire.Value(in.ExternalId), Scale: scale, Tags: in.Tags, StartedBy: rootARN(ctx)})
		if in.ClientToken != nil {
			a.remember(tx, token, in, []string{d.TaskSet.ARN})
		}
		return &ecsapi.CreateTaskSetOutput{TaskSet: wire.Ptr(a.showTaskSet(tx, s, d))}, nil
	})
}

// addTaskSet records a task set and the revision its tasks are made from.
func (a *API) addTaskSet(ctx context.Context, tx *state.Tx, s *state.Service, spec *ecsapi.Service, td *state.TaskDefinition, status string, set state.TaskSet) *state.Deployment {
	now := a.Clock.Now()
	snapshot := *s
	snapshot.Spec = *spec
	rev := a.putRevision(ctx, tx, &snapshot, td, ecsapi.ServiceRevision{})
	id := number()
	set.ARN, set.Stability, set.StableAt = arn(ctx, "task-set", serviceKey(s)+"/ecs-svc/"+id), "STABILIZING", now
	d := &state.Deployment{ID: "ecs-svc/" + id, ServiceKey: serviceKey(s), TaskDefinition: td.ARN, Status: status, Revision: rev.ARN, TaskSet: &set, CreatedAt: now, UpdatedAt: now}
	a.State.Deployments.Put(tx, serviceKey(s)+"/"+d.ID, d)
	return d
}

func (a *API) updateTaskSet(_ context.Context, in *ecsapi.UpdateTaskSetInput) (*ecsapi.UpdateTaskSetOutput, error) {
	scale, err := scaleOf(in.Scale)
	if err != nil {
		return nil, err
	}
	return update(a, func(tx *state.Tx) (*ecsapi.UpdateTaskSetOutput, error) {
		s, d, err := a.serviceAndTaskSet(tx, *in.Cluster, *in.Service, *in.TaskSet)
		if err != nil {
			return nil, err
		}
		if d.Status == "DRAINING" {
			return nil, invalid("The task set is draining and cannot be scaled.")
		}
		set := *d.TaskSet
		set.Scale, set.Stability, set.StableAt = scale, "STABILIZING", a.Clock.Now()
		return &ecsapi.UpdateTaskSetOutput{TaskSet: wire.Ptr(a.showTaskSet(tx, s, a.putTaskSet(tx, d, d.Status, &set)))}, nil
	})
}

func (a *API) serviceAndTaskSet(tx *state.Tx, cluster, service, set string) (*state.Service, *state.Deployment, error) {
	s, err := a.externalService(tx, cluster, service)
	if err != nil {
		return nil, nil, err
	}
	d, err := a.taskSet(tx, s, set)
	return s, d, err
}

func (a *API) putTaskSet(tx *state.Tx, old *state.Deployment, status string, set *state.TaskSet) *state.Deployment {
	d := *old
	d.Status, d.TaskSet, d.UpdatedAt = status, set, a.Clock.Now()
	a.State.Deployments.Put(tx, d.ServiceKey+"/"+d.ID, &d)
	return &d
}

// deleteTaskSet has the tasks of a task set stopped; it is gone when the last is.
func (a *API) deleteTaskSet(_ context.Context, in *ecsapi.DeleteTaskSetInput) (*ecsapi.DeleteTaskSetOutput, error) {
	return update(a, func(tx *state.Tx) (*ecsapi.DeleteTaskSetOutput, error) {
		s, d, err := a.serviceAndTaskSet(tx, *in.Cluster, *in.Service, *in.TaskSet)
		if err != nil {
			return nil, err
		}
		force := wire.Value(in.Force)
		switch {
		case !force && d.Status == "PRIMARY":
			return nil, invalid("The task set is the primary task set of the service. Make another the primary or use force.")
		case !force && d.TaskSet.Scale > 0:
			return nil, invalid("The task set cannot be deleted while it is scaled above 0.")
		}
		set := *d.TaskSet
		set.Scale, set.Stability, set.StableAt = 0, "STABILIZING", a.Clock.Now()
		return &ecsapi.DeleteTaskSetOutput{TaskSet: wire.Ptr(a.showTaskSet(tx, s, a.putTaskSet(tx, d, "DRAINING", &set)))}, nil
	})
}

func (a *API) describeTaskSets(ctx context.Context, in *ecsapi.DescribeTaskSetsInput) (*ecsapi.DescribeTaskSetsOutput, error) {
	return view(a, func(tx *state.Tx) (*ecsapi.DescribeTaskSetsOutput, error) {
		s, err := a.externalService(tx, *in.Cluster, *in.Service)
		if err != nil {
			return nil, err
		}
		out := &ecsapi.DescribeTaskSetsOutput{TaskSets: []ecsapi.TaskSet{}, Failures: []ecsapi.Failure{}}
		found := a.taskSets(tx, serviceKey(s))
		if len(in.TaskSets) > 0 {
			found = nil
			for _, ref := range in.TaskSets {
				d, err := a.taskSet(tx, s, ref)
				if err != nil {
					if !strings.HasPrefix(ref, "arn:") {
						ref = arn(ctx, "task-set", serviceKey(s)+"/"+ref)
					}
					out.Failures = append(out.Failures, missing(ref))
					continue
				}
				found = append(found, d)
			}
		}
		for _, d := range found {
			shown := a.showTaskSet(tx, s, d)
			if !slices.Contains(in.Include, "TAGS") {
				shown.Tags = nil
			}
			out.TaskSets = append(out.TaskSets, shown)
		}
		return out, nil
	})
}

// updateServicePrimaryTaskSet makes a task set the one that serves production traffic; what it is made
// of becomes the service's.
func (a *API) updateServicePrimaryTaskSet(_ context.Context, in *ecsapi.UpdateServicePrimaryTaskSetInput) (*ecsapi.UpdateServicePrimaryTaskSetOutput, error) {
	return update(a, func(tx *state.Tx) (*ecsapi.UpdateServicePrimaryTaskSetOutput, error) {
		s, d, err := a.serviceAndTaskSet(tx, *in.Cluster, *in.Service, *in.PrimaryTaskSet)
		switch {
		case err != nil:
			return nil, err
		case d.Status == "DRAINING":
			return nil, invalid("A task set that is draining cannot become the primary one.")
		}
		for _, other := range a.taskSets(tx, serviceKey(s)) {
			if other.Status == "PRIMARY" && other.ID != d.ID {
				a.putTaskSet(tx, other, "ACTIVE", other.TaskSet)
			}
		}
		d = a.putTaskSet(tx, d, "PRIMARY", d.TaskSet)
		if rev, ok := a.State.ServiceRevisions.Get(tx, d.Revision); ok {
			next := *s
			next.Spec.TaskDefinition, next.Spec.LoadBalancers, next.Spec.ServiceRegistries = rev.Spec.TaskDefinition, rev.Spec.LoadBalancers, rev.Spec.ServiceRegistries
			next.Spec.NetworkConfiguration, next.Spec.LaunchType, next.Spec.CapacityProviderStrategy = rev.Spec.NetworkConfiguration, rev.Spec.LaunchType, rev.Spec.CapacityProviderStrategy
			next.Spec.PlatformVersion, next.Spec.PlatformFamily, next.UpdatedAt = rev.Spec.PlatformVersion, rev.Spec.PlatformFamily, a.Clock.Now()
			a.State.Services.Put(tx, serviceKey(s), &next)
			s = &next
		}
		return &ecsapi.UpdateServicePrimaryTaskSetOutput{TaskSet: wire.Ptr(a.showTaskSet(tx, s, d))}, nil
	})
}

func (a *API) showTaskSet(tx *state.Tx, s *state.Service, d *state.Deployment) ecsapi.TaskSet {
	set := d.TaskSet
	running, pending := 0, 0
	for _, t := range a.State.TasksByService.Get(tx, serviceKey(s)) {
		switch {
		case t.DeploymentID != d.ID:
		case t.LastStatus == "RUNNING":
			running++
		case isPending(t):
			pending++
		}
	}
	desired := int(float64(s.DesiredCount)*set.Scale/100 + 1 - 1e-9) // rounded up
	if d.Status == "DRAINING" {
		desired = 0
	}
	stability := set.Stability
	if running != desired || pending > 0 { // the loop has not looked yet
		stability = "STABILIZING"
	}
	out := ecsapi.TaskSet{Id: &d.ID, TaskSetArn: &set.ARN, ServiceArn: &s.ARN, ClusterArn: &s.ClusterARN, StartedBy: wire.NonEmpty(set.StartedBy), ExternalId: wire.NonEmpty(set.ExternalID),
		Status: &d.Status, TaskDefinition: &d.TaskDefinition, ComputedDesiredCount: wire.Int32(desired), PendingCount: wire.Int32(pending), RunningCount: wire.Int32(running),
		CreatedAt: wire.Timestamp(d.CreatedAt), UpdatedAt: wire.Timestamp(d.UpdatedAt), Scale: &ecsapi.Scale{Value: &set.Scale, Unit: wire.String("PERCENT")},
		StabilityStatus: &stability, StabilityStatusAt: wire.Timestamp(set.StableAt), LoadBalancers: []ecsapi.LoadBalancer{}, ServiceRegistries: []ecsapi.ServiceRegistry{}, Tags: orEmpty(set.Tags)}
	if rev, ok := a.State.ServiceRevisions.Get(tx, d.Revision); ok {
		out.LaunchType, out.CapacityProviderStrategy = rev.Spec.LaunchType, rev.Spec.CapacityProviderStrategy
		out.PlatformVersion, out.PlatformFamily, out.NetworkConfiguration = rev.Spec.PlatformVersion, rev.Spec.PlatformFamily, rev.Spec.NetworkConfiguration
		out.LoadBalancers, out.ServiceRegistries = orEmpty(rev.Spec.LoadBalancers), orEmpty(rev.Spec.ServiceRegistries)
	}
	return out
}
