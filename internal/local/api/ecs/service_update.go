package ecs

import (
	"context"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

// updateService changes a service. Which members start a deployment, and which do not, is what
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html says of each.
func (a *API) updateService(ctx context.Context, in *ecsapi.UpdateServiceInput) (*ecsapi.UpdateServiceOutput, error) {
	return update(a, func(tx *state.Tx) (*ecsapi.UpdateServiceOutput, error) {
		c, err := a.cluster(tx, in.Cluster)
		if err != nil {
			return nil, err
		}
		old, err := a.service(tx, c, *in.Service)
		if err != nil {
			return nil, err
		}
		if old.Status != "ACTIVE" {
			return nil, wire.Errorf("ServiceNotActiveException", "Service was not ACTIVE.")
		}
		if kind := controller(old); kind != "ECS" {
			return a.updateElsewhere(tx, old, in)
		}
		s := *old
		rev := a.currentRevision(tx, serviceKey(old))
		td, err := a.applyUpdate(tx, c, &s, &rev, in)
		if err != nil {
			return nil, err
		}
		s.UpdatedAt = a.Clock.Now()
		a.State.Services.Put(tx, serviceKey(&s), &s)
		switch {
		case wire.Value(in.ForceNewDeployment) || a.deploys(tx, old, &s, rev):
			a.deploy(ctx, tx, &s, td, rev)
		case s.DesiredCount != old.DesiredCount:
			a.rescale(tx, &s)
		}
		return &ecsapi.UpdateServiceOutput{Service: a.showService(tx, &s)}, nil
	})
}

// updateElsewhere changes a service whose deployments another controller makes: what is deployed is
// not changed here. https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html
func (a *API) updateElsewhere(tx *state.Tx, old *state.Service, in *ecsapi.UpdateServiceInput) (*ecsapi.UpdateServiceOutput, error) {
	kind := controller(old)
	switch {
	case kind == "CODE_DEPLOY" && in.TaskDefinition != nil:
		return nil, invalid("Unable to update task definition on services with a CODE_DEPLOY deployment controller. Use AWS CodeDeploy to trigger a new deployment.")
	case in.TaskDefinition != nil, in.LoadBalancers != nil, in.ServiceRegistries != nil, in.NetworkConfiguration != nil, in.PlatformVersion != nil,
		in.CapacityProviderStrategy != nil, wire.Value(in.ForceNewDeployment):
		return nil, invalid("Only the desired count, the deployment configuration, the placement, the health check grace period, tags and ECS Exec can be updated on services with the %s deployment controller.", kind)
	}
	s := *old
	if in.DesiredCount != nil {
		if *in.DesiredCount < 0 || *in.DesiredCount > 5000 {
			return nil, invalid("desiredCount must be between 0 and 5000.")
		}
		s.DesiredCount = int(*in.DesiredCount)
	}
	if in.PlacementConstraints != nil {
		s.Spec.PlacementConstraints = in.PlacementConstraints
	}
	if in.PlacementStrategy != nil {
		s.Spec.PlacementStrategy = in.PlacementStrategy
	}
	set(&s.Spec.HealthCheckGracePeriodSeconds, in.HealthCheckGracePeriodSeconds)
	set(&s.Spec.EnableExecuteCommand, in.EnableExecuteCommand)
	set(&s.Spec.EnableECSManagedTags, in.EnableECSManagedTags)
	set(&s.Spec.PropagateTags, in.PropagateTags)
	var err error
	if s.Spec.DeploymentConfiguration, err = completeDeployment(in.DeploymentConfiguration, s.Spec.DeploymentConfiguration, false); err != nil {
		return nil, err
	}
	if err := checkPlacement(s.Spec.PlacementConstraints, s.Spec.PlacementStrategy, onFargate(s.Spec.LaunchType, s.Spec.CapacityProviderStrategy)); err != nil {
		return nil, err
	}
	s.UpdatedAt = a.Clock.Now()
	a.State.Services.Put(tx, serviceKey(&s), &s)
	return &ecsapi.UpdateServiceOutput{Service: a.showService(tx, &s)}, nil
}

// applyUpdate changes s and rev as asked and checks the outcome.
func (a *API) applyUpdate(tx *state.Tx, c *state.Cluster, s *state.Service, rev *ecsapi.ServiceRevision, in *ecsapi.UpdateServiceInput) (*state.TaskDefinition, error) {
	spec := &s.Spec
	daemon := wire.Value(spec.SchedulingStrategy) == "DAEMON"
	if in.DesiredCount != nil {
		switch {
		case daemon:
			return nil, invalid("The daemon scheduling strategy does not support a desired count for services. Remove the desired count value and try again.")
		case *in.DesiredCount < 0 || *in.DesiredCount > 5000:
			return nil, invalid("desiredCount must be between 0 and 5000.")
		}
		s.DesiredCount = int(*in.DesiredCount)
	}
	// The revision in use may be INACTIVE by now: it stays usable until another is asked for.
	td := a.taskDefinition(tx, wire.Value(spec.TaskDefinition))
	if wire.Value(in.TaskDefinition) != "" {
		var err error
		if td, err = a.usable(tx, *in.TaskDefinition); err != nil {
			return nil, err
		}
		spec.TaskDefinition = &td.ARN
	}
	if td == nil {
		return nil, client("TaskDefinition not found.")
	}
	if in.CapacityProviderStrategy != nil {
		if len(in.CapacityProviderStrategy) == 0 { // back to the cluster's default
			lt, strategy, err := a.launch(tx, c, nil, nil)
			if err != nil {
				return nil, err
			}
			spec.LaunchType, spec.CapacityProviderStrategy = lt, strategy
		} else {
			strategy, err := a.checkStrategy(tx, in.CapacityProviderStrategy, c.CapacityProviders)
			if err != nil {
				return nil, err
			}
			spec.LaunchType, spec.CapacityProviderStrategy = nil, strategy
		}
	}
	if in.NetworkConfiguration != nil {
		spec.NetworkConfiguration = completeNetwork(in.NetworkConfiguration)
	}
	if in.LoadBalancers != nil {
		spec.LoadBalancers = in.LoadBalancers
	}
	if in.ServiceRegistries != nil {
		spec.ServiceRegistries = in.ServiceRegistries
	}
	if in.PlacementConstraints != nil {
		spec.PlacementConstraints = in.PlacementConstraints
	}
	if in.PlacementStrategy != nil {
		spec.PlacementStrategy = in.PlacementStrategy
	}
	set(&spec.PlatformVersion, in.PlatformVersion)
	set(&spec.HealthCheckGracePeriodSeconds, in.HealthCheckGracePeriodSeconds)
	set(&spec.EnableExecuteCommand, in.EnableExecuteCommand)
	set(&spec.EnableECSManagedTags, in.EnableECSManagedTags)
	set(&spec.PropagateTags, in.PropagateTags)
	var err error
	if spec.DeploymentConfiguration, err = completeDeployment(in.DeploymentConfiguration, spec.DeploymentConfiguration, daemon); err != nil {
		return nil, err
	}
	if in.ServiceConnectConfiguration != nil {
		rev.ServiceConnectConfiguration = in.ServiceConnectConfiguration
	}
	if in.VolumeConfigurations != nil {
		rev.VolumeConfigurations = in.VolumeConfigurations
	}
	if in.VpcLatticeConfigurations != nil {
		rev.VpcLatticeConfigurations = in.VpcLatticeConfigurations
	}
	if err := checkLaunch(td, spec); err != nil {
		return nil, err
	}
	if err := a.checkBalancers(tx, td, spec); err != nil {
		return nil, err
	}
	if _, err := a.zones(tx, spec.NetworkConfiguration); err != nil {
		return nil, err
	}
	if err := checkVolumes(td, serviceVolumeNames(rev.VolumeConfigurations)); err != nil {
		return nil, err
	}
	if in.AvailabilityZoneRebalancing != nil {
		return td, rebalancing(spec, in.AvailabilityZoneRebalancing)
	}
	return td, nil
}

func set[T any](dst **T, v *T) {
	if v != nil {
		*dst = v
	}
}

// deploys reports whether the change from old to s is one that starts a deployment.
func (a *API) deploys(tx *state.Tx, old, s *state.Service, rev ecsapi.ServiceRevision) bool {
	was := a.currentRevision(tx, serviceKey(old))
	type rollsOut struct {
		TaskDefinition, PlatformVersion *string
		Network                         *ecsapi.NetworkConfiguration
		LoadBalancers                   []ecsapi.LoadBalancer
		Registries                      []ecsapi.ServiceRegistry
		Revision                        ecsapi.ServiceRevision
	}
	pick := func(s *state.Service, r ecsapi.ServiceRevision) rollsOut {
		return rollsOut{s.Spec.TaskDefinition, s.Spec.PlatformVersion, s.Spec.NetworkConfiguration,
			orEmpty(s.Spec.LoadBalancers), orEmpty(s.Spec.ServiceRegistries), r}
	}
	return hashOf(pick(old, was)) != hashOf(pick(s, rev))
}

// rescale tells the newest deployment of a rolling service that another number of tasks is wanted.
// Other strategies move their counts themselves.
func (a *API) rescale(tx *state.Tx, s *state.Service) {
	if wire.Value(s.Spec.DeploymentConfiguration.Strategy) != "ROLLING" {
		return
	}
	for _, d := range a.deployments(tx, serviceKey(s)) {
		if d.Status == "PRIMARY" {
			next := *d
			next.DesiredCount, next.UpdatedAt = s.DesiredCount, a.Clock.Now()
			a.State.Deployments.Put(tx, serviceKey(s)+"/"+d.ID, &next)
		}
	}
}

func (a *API) deleteService(_ context.Context, in *ecsapi.DeleteServiceInput) (*ecsapi.DeleteServiceOutput, error) {
	return update(a, func(tx *state.Tx) (*ecsapi.DeleteServiceOutput, error) {
		c, err := a.cluster(tx, in.Cluster)
		if err != nil {
			return nil, err
		}
		old, err := a.service(tx, c, *in.Service)
		if err != nil {
			return nil, err
		}
		if old.Status == "INACTIVE" {
			return nil, wire.Errorf("ServiceNotFoundException", "Service not found.")
		}
		daemon := wire.Value(old.Spec.SchedulingStrategy) == "DAEMON"
		if !daemon && old.DesiredCount > 0 && !wire.Value(in.Force) {
			return nil, invalid("The service cannot be stopped while it is scaled above 0.")
		}
		s := *old
		now := a.Clock.Now()
		if s.Status != "DRAINING" {
			s.Status, s.StatusAt = "DRAINING", now
		}
		s.DesiredCount, s.UpdatedAt = 0, now
		a.State.Services.Put(tx, serviceKey(&s), &s)
		for _, d := range a.deployments(tx, serviceKey(&s)) {
			next := *d
			next.DesiredCount, next.UpdatedAt = 0, now
			a.State.Deployments.Put(tx, serviceKey(&s)+"/"+d.ID, &next)
			a.supersede(tx, d.ServiceDeployment, "The service was deleted.")
		}
		return &ecsapi.DeleteServiceOutput{Service: a.showService(tx, &s)}, nil
	})
}
