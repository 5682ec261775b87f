package ecs

import (
	"context"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

func (a *API) registerServices(svc *wire.Service) {
	const missing = "Service Connect has no TLS and no metrics, and makes no Cloud Map services; VPC Lattice is recorded"
	wire.Handle(svc, "CreateService", a.createService, wire.Partly(missing))
	wire.Handle(svc, "UpdateService", a.updateService, wire.Partly(missing))
	wire.Handle(svc, "DeleteService", a.deleteService)
	wire.Handle(svc, "DescribeServices", a.describeServices)
	wire.Handle(svc, "ListServices", a.listServices)
	wire.Handle(svc, "ListServicesByNamespace", a.listServicesByNamespace)
}

// serviceName is the name in a service's name or ARN (long or short form).
func serviceName(ref string) string { return lastPart(ref) }

// service finds a service that is not INACTIVE.
func (a *API) service(tx *state.Tx, c *state.Cluster, ref string) (*state.Service, error) {
	s, ok := a.State.Services.Get(tx, state.ServiceKey(c.Name, serviceName(ref)))
	if !ok {
		return nil, wire.Errorf("ServiceNotFoundException", "Service not found.")
	}
	return s, nil
}

func serviceKey(s *state.Service) string { return state.ServiceKey(s.ClusterName, s.Name) }

func (a *API) describeServices(ctx context.Context, in *ecsapi.DescribeServicesInput) (*ecsapi.DescribeServicesOutput, error) {
	switch {
	case len(in.Services) == 0:
		return nil, invalid("Services cannot be empty.")
	case len(in.Services) > 10:
		return nil, invalid("Services cannot have more than 10 elements")
	}
	tags := slices.Contains(in.Include, "TAGS")
	return view(a, func(tx *state.Tx) (*ecsapi.DescribeServicesOutput, error) {
		c, err := a.cluster(tx, in.Cluster)
		if err != nil {
			return nil, err
		}
		out := &ecsapi.DescribeServicesOutput{Services: []ecsapi.Service{}, Failures: []ecsapi.Failure{}}
		for _, ref := range in.Services {
			s, ok := a.State.Services.Get(tx, state.ServiceKey(c.Name, serviceName(ref)))
			if !ok {
				if !strings.HasPrefix(ref, "arn:") {
					ref = arn(ctx, "service", c.Name+"/"+ref)
				}
				out.Failures = append(out.Failures, missing(ref))
				continue
			}
			shown := a.showService(tx, s)
			if !tags {
				shown.Tags = nil
			}
			out.Services = append(out.Services, *shown)
		}
		return out, nil
	})
}

const keptEvents = 100 // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Service.html

// showService is the service as DescribeServices shows it: what was asked for, and what the state
// says of its deployments, tasks and events.
func (a *API) showService(tx *state.Tx, s *state.Service) *ecsapi.Service {
	key := serviceKey(s)
	out := s.Spec
	out.ServiceArn, out.ServiceName, out.ClusterArn, out.Status = &s.ARN, &s.Name, &s.ClusterARN, &s.Status
	out.DesiredCount = wire.Int32(s.DesiredCount)
	out.CreatedAt = wire.Timestamp(s.CreatedAt)
	out.Tags = orEmpty(s.Tags)
	out.LoadBalancers, out.ServiceRegistries = orEmpty(out.LoadBalancers), orEmpty(out.ServiceRegistries)
	out.PlacementConstraints, out.PlacementStrategy = orEmpty(out.PlacementConstraints), orEmpty(out.PlacementStrategy)

	out.RunningCount = wire.Int32(a.State.ServiceTasks.Count(tx, state.TaskCount{Of: key, Phase: state.Running}))
	out.PendingCount = wire.Int32(a.State.ServiceTasks.Count(tx, state.TaskCount{Of: key, Phase: state.Pending}))

	out.Deployments = []ecsapi.Deployment{}
	for _, d := range a.deployments(tx, key) {
		if d.TaskSet != nil {
			out.TaskSets = append(out.TaskSets, a.showTaskSet(tx, s, d))
			continue
		}
		running := a.State.DeploymentTasks.Count(tx, state.TaskCount{Of: key, Deployment: d.ID, Phase: state.Running})
		pending := a.State.DeploymentTasks.Count(tx, state.TaskCount{Of: key, Deployment: d.ID, Phase: state.Pending})
		out.Deployments = append(out.Deployments, a.showDeployment(tx, s, d, running, pending))
		if d.Status == "PRIMARY" && d.ServiceDeployment != "" && out.CurrentServiceDeployment == nil {
			out.CurrentServiceDeployment = &d.ServiceDeployment
		}
		if d.Revision != "" {
			out.CurrentServiceRevisions = append(out.CurrentServiceRevisions, ecsapi.ServiceCurrentRevisionSummary{
				Arn: &d.Revision, RequestedTaskCount: wire.Int32(d.DesiredCount),
				RunningTaskCount: wire.Int32(running), PendingTaskCount: wire.Int32(pending),
			})
		}
	}
	out.Events = []ecsapi.ServiceEvent{}
	for _, e := range a.State.ServiceEvents.Prefix(tx, key+"/") {
		out.Events = append(out.Events, ecsapi.ServiceEvent{Id: wire.String(lastPart(e.ID)), Message: &e.Message, CreatedAt: wire.Timestamp(e.At)})
	}
	slices.Reverse(out.Events) // newest first
	if len(out.Events) > keptEvents {
		out.Events = out.Events[:keptEvents]
	}
	return &out
}

// deployments lists the PRIMARY and ACTIVE deployments of a service, PRIMARY first, then newest first.
func (a *API) deployments(tx *state.Tx, key string) []*state.Deployment {
	var ds []*state.Deployment
	for _, d := range a.State.Deployments.Prefix(tx, key+"/") {
		if d.Status != "INACTIVE" {
			ds = append(ds, d)
		}
	}
	slices.SortStableFunc(ds, func(x, y *state.Deployment) int {
		if (x.Status == "PRIMARY") != (y.Status == "PRIMARY") {
			if x.Status == "PRIMARY" {
				return -1
			}
			return 1
		}
		return y.CreatedAt.Compare(x.CreatedAt)
	})
	return ds
}

func (a *API) showDeployment(tx *state.Tx, s *state.Service, d *state.Deployment, running, pending int) ecsapi.Deployment {
	spec := s.Spec
	if rev, ok := a.State.ServiceRevisions.Get(tx, d.Revision); ok {
		spec = rev.Spec
	}
	out := ecsapi.Deployment{
		Id: &d.ID, Status: &d.Status, TaskDefinition: &d.TaskDefinition, DesiredCount: wire.Int32(d.DesiredCount),
		RunningCount: wire.Int32(running), PendingCount: wire.Int32(pending), FailedTasks: wire.Int32(d.FailedTasks),
		CreatedAt: wire.Timestamp(d.CreatedAt), UpdatedAt: wire.Timestamp(d.UpdatedAt),
		LaunchType: spec.LaunchType, CapacityProviderStrategy: spec.CapacityProviderStrategy, PlatformVersion: spec.PlatformVersion,
		PlatformFamily: spec.PlatformFamily, NetworkConfiguration: spec.NetworkConfiguration,
	}
	if d.RolloutState != "" {
		out.RolloutState, out.RolloutStateReason = &d.RolloutState, wire.NonEmpty(d.RolloutReason)
	}
	if rev, ok := a.State.ServiceRevisions.Get(tx, d.Revision); ok {
		out.ServiceConnectConfiguration = rev.API.ServiceConnectConfiguration
		out.VolumeConfigurations = rev.API.VolumeConfigurations
		out.VpcLatticeConfigurations = rev.API.VpcLatticeConfigurations
	}
	return out
}

func (a *API) listServices(_ context.Context, in *ecsapi.ListServicesInput) (*ecsapi.ListServicesOutput, error) {
	return view(a, func(tx *state.Tx) (*ecsapi.ListServicesOutput, error) {
		c, err := a.cluster(tx, in.Cluster)
		if err != nil {
			return nil, err
		}
		var arns []string
		for _, s := range a.State.Services.Prefix(tx, c.Name+"/") {
			if s.Status == "INACTIVE" || in.LaunchType != nil && wire.Value(s.Spec.LaunchType) != *in.LaunchType ||
				in.SchedulingStrategy != nil && wire.Value(s.Spec.SchedulingStrategy) != *in.SchedulingStrategy {
				continue
			}
			arns = append(arns, s.ARN)
		}
		slices.Sort(arns)
		max := in.MaxResults
		if max == nil {
			max = wire.Int32(10) // the only list operation of ECS whose pages are of 10
		}
		part, next, err := page(arns, in.NextToken, max, 100)
		return &ecsapi.ListServicesOutput{ServiceArns: part, NextToken: next}, err
	})
}

func (a *API) listServicesByNamespace(_ context.Context, in *ecsapi.ListServicesByNamespaceInput) (*ecsapi.ListServicesByNamespaceOutput, error) {
	return view(a, func(tx *state.Tx) (*ecsapi.ListServicesByNamespaceOutput, error) {
		var arns []string
		for _, s := range a.State.Services.All(tx) {
			if s.Status == "INACTIVE" {
				continue
			}
			for _, d := range a.deployments(tx, serviceKey(s)) {
				rev, ok := a.State.ServiceRevisions.Get(tx, d.Revision)
				if d.Status == "PRIMARY" && ok && rev.API.ServiceConnectConfiguration != nil && wire.Value(rev.API.ServiceConnectConfiguration.Namespace) == *in.Namespace {
					arns = append(arns, s.ARN)
				}
			}
		}
		slices.Sort(arns)
		part, next, err := page(arns, in.NextToken, in.MaxResults, 100)
		return &ecsapi.ListServicesByNamespaceOutput{ServiceArns: part, NextToken: next}, err
	})
}

// isPending reports whether a task is on its way to RUNNING.
func isPending(t *state.Task) bool { return state.PhaseOf(t) == state.Pending }
