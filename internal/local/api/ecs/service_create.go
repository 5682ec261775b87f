package ecs

import (
	"context"
	"slices"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

func (a *API) createService(ctx context.Context, in *ecsapi.CreateServiceInput) (*ecsapi.CreateServiceOutput, error) {
	name := *in.ServiceName
	if !nameRE.MatchString(name) {
		return nil, invalid("Service name is invalid: up to 255 letters, numbers, underscores and hyphens are allowed.")
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	return update(a, func(tx *state.Tx) (*ecsapi.CreateServiceOutput, error) {
		c, err := a.cluster(tx, in.Cluster)
		if err != nil {
			return nil, err
		}
		key := state.ServiceKey(c.Name, name)
		token := "CreateService/" + c.Name + "/" + wire.Value(in.ClientToken)
		if in.ClientToken != nil {
			if _, ok, err := a.seen(tx, token, in); err != nil {
				return nil, err
			} else if ok {
				if s, ok := a.State.Services.Get(tx, key); ok {
					return &ecsapi.CreateServiceOutput{Service: a.showService(tx, s)}, nil
				}
			}
		}
		spec, td, err := a.newSpec(ctx, tx, c, in)
		if err != nil {
			return nil, err
		}
		desired := int(wire.Value(in.DesiredCount))
		if old, ok := a.State.Services.Get(tx, key); ok {
			switch {
			case old.Status == "DRAINING":
				return nil, invalid("Unable to Start a service that is still Draining.")
			case old.Status == "ACTIVE" && old.DesiredCount == desired && sameSpec(&old.Spec, spec):
				return &ecsapi.CreateServiceOutput{Service: a.showService(tx, old)}, nil
			case old.Status == "ACTIVE":
				return nil, invalid("Creation of service was not idempotent.")
			}
			a.forget(tx, key)
		}
		now := a.Clock.Now()
		s := &state.Service{
			ARN: arn(ctx, "service", c.Name+"/"+name), ClusterName: c.Name, ClusterARN: c.ARN, Name: name, Status: "ACTIVE",
			DesiredCount: desired, Spec: *spec, Tags: in.Tags, CreatedAt: now, UpdatedAt: now, StatusAt: now,
		}
		a.State.Services.Put(tx, key, s)
		switch controller(s) {
		case "ECS":
			a.deploy(ctx, tx, s, td, revisionOf(in))
		case "CODE_DEPLOY": // the first task set is ECS's, the others CodeDeploy's
			a.addTaskSet(ctx, tx, s, spec, td, "PRIMARY", state.TaskSet{Scale: 100, StartedBy: "CODE_DEPLOY"})
		}
		if in.ClientToken != nil {
			a.remember(tx, token, in, []string{s.ARN})
		}
		return &ecsapi.CreateServiceOutput{Service: a.showService(tx, s)}, nil
	})
}

// controller is the kind of a service's deployment controller.
func controller(s *state.Service) string {
	if s.Spec.DeploymentController == nil {
		return "ECS"
	}
	return wire.Value(s.Spec.DeploymentController.Type)
}

// sameSpec compares what two requests asked for.
func sameSpec(x, y *ecsapi.Service) bool {
	return hashOf(x) == hashOf(y)
}

// forget removes what is left of an INACTIVE service whose name is used again.
func (a *API) forget(tx *state.Tx, key string) {
	var keys []string
	for k := range a.State.Deployments.Prefix(tx, key+"/") {
		keys = append(keys, k)
	}
	for _, k := range keys {
		a.State.Deployments.Delete(tx, k)
	}
	keys = keys[:0]
	for k := range a.State.ServiceEvents.Prefix(tx, key+"/") {
		keys = append(keys, k)
	}
	for _, k := range keys {
		a.State.ServiceEvents.Delete(tx, k)
	}
}

// newSpec checks a CreateService request and completes it with AWS's defaults.
func (a *API) newSpec(ctx context.Context, tx *state.Tx, c *state.Cluster, in *ecsapi.CreateServiceInput) (*ecsapi.Service, *state.TaskDefinition, error) {
	daemon := wire.Value(in.SchedulingStrategy) == "DAEMON"
	kind := "ECS"
	if in.DeploymentController != nil {
		kind = wire.Value(in.DeploymentController.Type)
	}
	switch {
	case !slices.Contains([]string{"ECS", "CODE_DEPLOY", "EXTERNAL"}, kind):
		return nil, nil, invalid("Unknown deployment controller: %s", kind)
	case kind == "EXTERNAL" && (in.TaskDefinition != nil || len(in.LoadBalancers) > 0 || in.NetworkConfiguration != nil || in.PlatformVersion != nil):
		return nil, nil, invalid("With the EXTERNAL deployment controller the task definition, load balancers, network configuration and platform version belong to the task sets.")
	case kind != "ECS" && daemon:
		return nil, nil, invalid("The %s deployment controller does not support the DAEMON scheduling strategy.", kind)
	case kind != "EXTERNAL" && wire.Value(in.TaskDefinition) == "":
		return nil, nil, invalid("TaskDefinition can not be blank.")
	case !daemon && in.DesiredCount == nil:
		return nil, nil, invalid("The desired count must be specified for a service with the REPLICA scheduling strategy.")
	case daemon && in.DesiredCount != nil:
		return nil, nil, invalid("The daemon scheduling strategy does not support a desired count for services. Remove the desired count value and try again.")
	case wire.Value(in.DesiredCount) < 0 || wire.Value(in.DesiredCount) > 5000:
		return nil, nil, invalid("desiredCount must be between 0 and 5000.")
	case in.SchedulingStrategy != nil && !daemon && *in.SchedulingStrategy != "REPLICA":
		return nil, nil, invalid("Unknown scheduling strategy: %s", *in.SchedulingStrategy)
	case daemon && len(in.PlacementStrategy) > 0:
		return nil, nil, invalid("The daemon scheduling strategy does not support placement strategies.")
	}
	var td *state.TaskDefinition
	var err error
	if kind != "EXTERNAL" {
		if td, err = a.usable(tx, *in.TaskDefinition); err != nil {
			return nil, nil, err
		}
	}
	launchType, strategy, err := a.launch(tx, c, in.LaunchType, in.CapacityProviderStrategy)
	if err != nil {
		return nil, nil, err
	}
	spec := &ecsapi.Service{
		LoadBalancers: in.LoadBalancers, ServiceRegistries: in.ServiceRegistries,
		LaunchType: launchType, CapacityProviderStrategy: strategy, PlatformVersion: in.PlatformVersion,
		PlacementConstraints: in.PlacementConstraints, PlacementStrategy: in.PlacementStrategy,
		NetworkConfiguration: completeNetwork(in.NetworkConfiguration), HealthCheckGracePeriodSeconds: in.HealthCheckGracePeriodSeconds,
		SchedulingStrategy:   wire.Ptr(wire.Value(or(in.SchedulingStrategy, "REPLICA"))),
		DeploymentController: &ecsapi.DeploymentController{Type: &kind}, CreatedBy: wire.String(rootARN(ctx)),
		EnableECSManagedTags: or(in.EnableECSManagedTags, false), PropagateTags: or(in.PropagateTags, "NONE"),
		EnableExecuteCommand: or(in.EnableExecuteCommand, false),
	}
	if spec.DeploymentConfiguration, err = completeDeployment(in.DeploymentConfiguration, nil, daemon); err != nil {
		return nil, nil, err
	}
	if td == nil {
		spec.AvailabilityZoneRebalancing = or(in.AvailabilityZoneRebalancing, "DISABLED")
		return spec, nil, checkPlacement(spec.PlacementConstraints, spec.PlacementStrategy, onFargate(launchType, strategy))
	}
	spec.TaskDefinition = &td.ARN
	if onFargate(launchType, strategy) {
		spec.PlatformVersion, spec.PlatformFamily = or(spec.PlatformVersion, "LATEST"), wire.String(platformFamily(td))
	}
	if len(in.LoadBalancers) > 0 {
		spec.HealthCheckGracePeriodSeconds = or(spec.HealthCheckGracePeriodSeconds, 0)
		spec.RoleArn = wire.String("arn:aws:iam::" + wire.Caller(ctx).Account + ":role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS")
		if wire.Value(in.Role) != "" {
			spec.RoleArn = in.Role
		}
	}
	if err := checkLaunch(td, spec); err != nil {
		return nil, nil, err
	}
	if err := a.checkBalancers(tx, td, spec); err != nil {
		return nil, nil, err
	}
	if _, err := a.zones(tx, spec.NetworkConfiguration); err != nil {
		return nil, nil, err
	}
	if err := checkVolumes(td, serviceVolumeNames(in.VolumeConfigurations)); err != nil {
		return nil, nil, err
	}
	return spec, td, rebalancing(spec, in.AvailabilityZoneRebalancing)
}

// rebalancing sets whether the service is balanced over zones: on for new services that can be.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-rebalancing.html
func rebalancing(spec *ecsapi.Service, asked *string) error {
	binpacked := len(spec.PlacementStrategy) > 0 && wire.Value(spec.PlacementStrategy[0].Type) != "spread"
	possible := wire.Value(spec.SchedulingStrategy) != "DAEMON" && *spec.DeploymentConfiguration.MaximumPercent > 100 && !binpacked &&
		wire.Value(spec.LaunchType) != "EXTERNAL"
	switch {
	case asked == nil && possible:
		asked = wire.String("ENABLED")
	case asked == nil:
		asked = wire.String("DISABLED")
	case *asked == "ENABLED" && !possible:
		return invalid("Availability Zone rebalancing requires the REPLICA scheduling strategy, maximumPercent above 100, and spread as the first placement strategy.")
	}
	spec.AvailabilityZoneRebalancing = asked
	return nil
}

func platformFamily(td *state.TaskDefinition) string {
	if p := td.Def.RuntimePlatform; p != nil && p.OperatingSystemFamily != nil && *p.OperatingSystemFamily != "LINUX" {
		return *p.OperatingSystemFamily
	}
	return "Linux"
}

func completeNetwork(n *ecsapi.NetworkConfiguration) *ecsapi.NetworkConfiguration {
	if n == nil || n.AwsvpcConfiguration == nil {
		return nil
	}
	v := *n.AwsvpcConfiguration
	v.AssignPublicIp, v.SecurityGroups = or(v.AssignPublicIp, "DISABLED"), orEmpty(v.SecurityGroups)
	return &ecsapi.NetworkConfiguration{AwsvpcConfiguration: &v}
}

// revisionOf is what of a request only shows in the service revision.
func revisionOf(in *ecsapi.CreateServiceInput) ecsapi.ServiceRevision {
	return ecsapi.ServiceRevision{
		ServiceConnectConfiguration: in.ServiceConnectConfiguration, VolumeConfigurations: in.VolumeConfigurations,
		VpcLatticeConfigurations: in.VpcLatticeConfigurations,
	}
}
