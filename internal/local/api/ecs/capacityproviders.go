package ecs

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

func (a *API) registerCapacityProviders(svc *wire.Service) {
	wire.Handle(svc, "CreateCapacityProvider", a.createCapacityProvider)
	wire.Handle(svc, "UpdateCapacityProvider", a.updateCapacityProvider)
	wire.Handle(svc, "DeleteCapacityProvider", a.deleteCapacityProvider)
	wire.Handle(svc, "DescribeCapacityProviders", a.describeCapacityProviders)
}

// fargate are the capacity providers that every account has.
var fargate = []string{"FARGATE", "FARGATE_SPOT"}

// provider finds a capacity provider by name.
func (a *API) provider(tx *state.Tx, name string) (*state.CapacityProvider, bool) {
	if slices.Contains(fargate, name) {
		return &state.CapacityProvider{API: ecsapi.CapacityProvider{Name: &name, Status: wire.String("ACTIVE"), Type: &name}}, true
	}
	p, ok := a.State.CapacityProviders.Get(tx, name)
	return p, ok && wire.Value(p.API.Status) == "ACTIVE"
}

// checkStrategy checks a capacity provider strategy against the providers of a cluster and fills in
// AWS's defaults. https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CapacityProviderStrategyItem.html
func (a *API) checkStrategy(tx *state.Tx, items []ecsapi.CapacityProviderStrategyItem, allowed []string) ([]ecsapi.CapacityProviderStrategyItem, error) {
	if len(items) > 20 {
		return nil, invalid("A capacity provider strategy can contain a maximum of 20 capacity providers.")
	}
	out := make([]ecsapi.CapacityProviderStrategyItem, 0, len(items))
	bases, weight, onFargate := 0, 0, 0
	for _, it := range items {
		name := lastPart(*it.CapacityProvider)
		if _, ok := a.provider(tx, name); !ok {
			return nil, invalid("The specified capacity provider '%s' was not found. Specify a valid name or ARN and try again.", name)
		}
		if !slices.Contains(allowed, name) {
			return nil, invalid("The specified capacity provider strategy cannot contain a capacity provider that is not associated with the cluster. Associate the capacity provider with the cluster and try again.")
		}
		b, w := int(wire.Value(it.Base)), int(wire.Value(it.Weight))
		if b < 0 || b > 100000 || w < 0 || w > 1000 {
			return nil, invalid("The base must be between 0 and 100000 and the weight between 0 and 1000.")
		}
		if b > 0 {
			bases++
		}
		weight += w
		if slices.Contains(fargate, name) {
			onFargate++
		}
		out = append(out, ecsapi.CapacityProviderStrategyItem{CapacityProvider: &name, Base: wire.Int32(b), Weight: wire.Int32(w)})
	}
	switch {
	case bases > 1:
		return nil, invalid("Only one capacity provider in a capacity provider strategy can have a base value defined.")
	case len(items) > 1 && weight == 0:
		return nil, invalid("The specified capacity provider strategy is not valid. At least one capacity provider must have a weight greater than 0.")
	case onFargate > 0 && onFargate < len(items):
		return nil, invalid("A capacity provider strategy cannot contain a mix of capacity providers using Auto Scaling groups and Fargate providers. Specify one or the other and try again.")
	}
	return out, nil
}

// providerInUse reports whether an active service of the cluster uses the capacity provider.
func (a *API) providerInUse(tx *state.Tx, cluster, name string) bool {
	for _, s := range a.State.Services.Prefix(tx, cluster+"/") {
		if s.Status != "ACTIVE" {
			continue
		}
		for _, it := range s.Spec.CapacityProviderStrategy {
			if wire.Value(it.CapacityProvider) == name {
				return true
			}
		}
	}
	return false
}

var reserved = regexp.MustCompile(`(?i)^(aws|ecs|fargate)`)

func (a *API) createCapacityProvider(ctx context.Context, in *ecsapi.CreateCapacityProviderInput) (*ecsapi.CreateCapacityProviderOutput, error) {
	name := *in.Name
	switch {
	case !nameRE.MatchString(name):
		return nil, invalid("The specified capacity provider name is invalid. Up to 255 characters are allowed. They can include letters (uppercase and lowercase), numbers, underscores (_), and hyphens (-).")
	case reserved.MatchString(name):
		return nil, invalid("The specified capacity provider name is reserved: it can't begin with \"aws\", \"ecs\", or \"fargate\".")
	case in.ManagedInstancesProvider != nil && in.AutoScalingGroupProvider != nil:
		return nil, client("The capacity provider must have either an Auto Scaling group or managed instances.")
	case in.ManagedInstancesProvider == nil && in.AutoScalingGroupProvider == nil:
		return nil, client("The capacity provider must have an Auto Scaling group.")
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	if in.ManagedInstancesProvider != nil {
		return a.createManaged(ctx, in)
	}
	asg, err := checkGroup(*in.AutoScalingGroupProvider)
	if err != nil {
		return nil, err
	}
	return update(a, func(tx *state.Tx) (*ecsapi.CreateCapacityProviderOutput, error) {
		if old, ok := a.State.CapacityProviders.Get(tx, name); ok && wire.Value(old.API.Status) == "ACTIVE" {
			return nil, client("The specified capacity provider already exists. To change its configuration, update the capacity provider.")
		}
		for _, p := range a.State.CapacityProviders.All(tx) {
			g := p.API.AutoScalingGroupProvider
			if wire.Value(p.API.Status) == "ACTIVE" && g != nil && wire.Value(g.AutoScalingGroupArn) == *asg.AutoScalingGroupArn {
				return nil, client("The specified Auto Scaling group ARN is already being used by another capacity provider. Specify a unique Auto Scaling group ARN and try again.")
			}
		}
		p := &state.CapacityProvider{API: ecsapi.CapacityProvider{
			Name: &name, CapacityProviderArn: wire.String(arn(ctx, "capacity-provider", name)), Status: wire.String("ACTIVE"),
			AutoScalingGroupProvider: asg, Tags: orEmpty(in.Tags), Type: wire.String("EC2_AUTOSCALING"), Cluster: in.Cluster,
		}}
		a.State.CapacityProviders.Put(tx, name, p)
		return &ecsapi.CreateCapacityProviderOutput{CapacityProvider: &p.API}, nil
	})
}

// createManaged makes a capacity provider of managed instances; it belongs to one cluster.
func (a *API) createManaged(ctx context.Context, in *ecsapi.CreateCapacityProviderInput) (*ecsapi.CreateCapacityProviderOutput, error) {
	asked := in.ManagedInstancesProvider
	mi, err := managedInstances(ecsapi.ManagedInstancesProvider{AutoRepairConfiguration: asked.AutoRepairConfiguration, InfrastructureOptimization: asked.InfrastructureOptimization,
		InfrastructureRoleArn: asked.InfrastructureRoleArn, InstanceLaunchTemplate: asked.InstanceLaunchTemplate, PropagateTags: asked.PropagateTags})
	if err != nil {
		return nil, err
	}
	if in.Cluster == nil {
		return nil, client("A cluster is required for a capacity provider of managed instances.")
	}
	return update(a, func(tx *state.Tx) (*ecsapi.CreateCapacityProviderOutput, error) {
		c, err := a.cluster(tx, in.Cluster)
		if err != nil {
			return nil, err
		}
		if old, ok := a.State.CapacityProviders.Get(tx, *in.Name); ok && wire.Value(old.API.Status) == "ACTIVE" {
			return nil, client("The specified capacity provider already exists. To change its configuration, update the capacity provider.")
		}
		if err := a.subnetsExist(tx, mi); err != nil {
			return nil, err
		}
		p := &state.CapacityProvider{API: ecsapi.CapacityProvider{Name: in.Name, CapacityProviderArn: wire.String(arn(ctx, "capacity-provider", *in.Name)), Status: wire.String("ACTIVE"),
			ManagedInstancesProvider: mi, Tags: orEmpty(in.Tags), Type: wire.String("MANAGED_INSTANCES"), Cluster: &c.Name, UpdateStatus: wire.String("CREATE_COMPLETE")}}
		a.State.CapacityProviders.Put(tx, *in.Name, p)
		next := *c
		next.CapacityProviders = append(slices.Clone(c.CapacityProviders), *in.Name)
		a.State.Clusters.Put(tx, c.Name, &next)
		return &ecsapi.CreateCapacityProviderOutput{CapacityProvider: &p.API}, nil
	})
}

func (a *API) subnetsExist(tx *state.Tx, mi *ecsapi.ManagedInstancesProvider) error {
	n := mi.InstanceLaunchTemplate.NetworkConfiguration
	_, err := a.zones(tx, &ecsapi.NetworkConfiguration{AwsvpcConfiguration: &ecsapi.AwsVpcConfiguration{Subnets: n.Subnets}})
	return err
}

// updateManaged takes over what an update names of managed instances; those that run stay as they are.
func (a *API) updateManaged(tx *state.Tx, p *state.CapacityProvider, up *ecsapi.UpdateManagedInstancesProviderConfiguration) error {
	if p.API.ManagedInstancesProvider == nil {
		return client("The capacity provider has no managed instances.")
	}
	mi := *p.API.ManagedInstancesProvider
	t := *mi.InstanceLaunchTemplate
	mi.InfrastructureRoleArn = up.InfrastructureRoleArn
	set(&mi.AutoRepairConfiguration, up.AutoRepairConfiguration)
	set(&mi.InfrastructureOptimization, up.InfrastructureOptimization)
	set(&mi.PropagateTags, up.PropagateTags)
	set(&t.CapacityReservations, up.InstanceLaunchTemplate.CapacityReservations)
	set(&t.Ec2InstanceProfileArn, up.InstanceLaunchTemplate.Ec2InstanceProfileArn)
	set(&t.InstanceMetadataTagsPropagation, up.InstanceLaunchTemplate.InstanceMetadataTagsPropagation)
	set(&t.InstanceRequirements, up.InstanceLaunchTemplate.InstanceRequirements)
	set(&t.LocalStorageConfiguration, up.InstanceLaunchTemplate.LocalStorageConfiguration)
	set(&t.Monitoring, up.InstanceLaunchTemplate.Monitoring)
	set(&t.NetworkConfiguration, up.InstanceLaunchTemplate.NetworkConfiguration)
	set(&t.StorageConfiguration, up.InstanceLaunchTemplate.StorageConfiguration)
	mi.InstanceLaunchTemplate = &t
	checked, err := managedInstances(mi)
	if err != nil {
		return err
	}
	p.API.ManagedInstancesProvider = checked
	return a.subnetsExist(tx, checked)
}

// checkGroup fills in the defaults of managed scaling and checks its bounds.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ManagedScaling.html
func checkGroup(g ecsapi.AutoScalingGroupProvider) (*ecsapi.AutoScalingGroupProvider, error) {
	ms := ecsapi.ManagedScaling{}
	if g.ManagedScaling != nil {
		ms = *g.ManagedScaling
	}
	ms.Status = or(ms.Status, "DISABLED")
	ms.TargetCapacity = or(ms.TargetCapacity, 100)
	ms.MinimumScalingStepSize = or(ms.MinimumScalingStepSize, 1)
	ms.MaximumScalingStepSize = or(ms.MaximumScalingStepSize, 10000)
	ms.InstanceWarmupPeriod = or(ms.InstanceWarmupPeriod, 300)
	g.ManagedScaling = &ms
	g.ManagedTerminationProtection = or(g.ManagedTerminationProtection, "DISABLED")
	g.ManagedDraining = or(g.ManagedDraining, "ENABLED")
	switch {
	case *ms.TargetCapacity < 1 || *ms.TargetCapacity > 100:
		return nil, client("The managed scaling target capacity must be between 1 and 100.")
	case *ms.MinimumScalingStepSize < 1 || *ms.MinimumScalingStepSize > 10000 || *ms.MaximumScalingStepSize < 1 || *ms.MaximumScalingStepSize > 10000:
		return nil, client("The managed scaling step sizes must be between 1 and 10000.")
	case *ms.MinimumScalingStepSize > *ms.MaximumScalingStepSize:
		return nil, client("The minimum scaling step size must not be greater than the maximum scaling step size.")
	case *ms.InstanceWarmupPeriod < 0 || *ms.InstanceWarmupPeriod > 10000:
		return nil, client("The instance warmup period must be between 0 and 10000 seconds.")
	case *g.ManagedTerminationProtection == "ENABLED" && *ms.Status != "ENABLED":
		return nil, client("The managed termination protection setting for the capacity provider is invalid. To enable managed termination protection for a capacity provider, the capacity provider must have managed scaling enabled.")
	}
	return &g, nil
}

func (a *API) updateCapacityProvider(_ context.Context, in *ecsapi.UpdateCapacityProviderInput) (*ecsapi.UpdateCapacityProviderOutput, error) {
	return update(a, func(tx *state.Tx) (*ecsapi.UpdateCapacityProviderOutput, error) {
		old, ok := a.State.CapacityProviders.Get(tx, lastPart(*in.Name))
		if !ok || wire.Value(old.API.Status) != "ACTIVE" {
			return nil, client("The specified capacity provider does not exist. Specify a valid name and try again.")
		}
		p := *old
		if up := in.ManagedInstancesProvider; up != nil {
			if err := a.updateManaged(tx, &p, up); err != nil {
				return nil, err
			}
		}
		if up := in.AutoScalingGroupProvider; up != nil {
			if p.API.AutoScalingGroupProvider == nil {
				return nil, client("The capacity provider has no Auto Scaling group.")
			}
			g := *p.API.AutoScalingGroupProvider
			if up.ManagedTerminationProtection != nil {
				g.ManagedTerminationProtection = up.ManagedTerminationProtection
			}
			if up.ManagedDraining != nil {
				g.ManagedDraining = up.ManagedDraining
			}
			if up.ManagedScaling != nil {
				g.ManagedScaling = mergeScaling(wire.Value(g.ManagedScaling), *up.ManagedScaling)
			}
			checked, err := checkGroup(g)
			if err != nil {
				return nil, err
			}
			p.API.AutoScalingGroupProvider = checked
		}
		p.API.UpdateStatus = wire.String("UPDATE_COMPLETE")
		a.State.CapacityProviders.Put(tx, *p.API.Name, &p)
		return &ecsapi.UpdateCapacityProviderOutput{CapacityProvider: &p.API}, nil
	})
}

func mergeScaling(old, up ecsapi.ManagedScaling) *ecsapi.ManagedScaling {
	set := func(dst **int32, v *int32) {
		if v != nil {
			*dst = v
		}
	}
	if up.Status != nil {
		old.Status = up.Status
	}
	set(&old.TargetCapacity, up.TargetCapacity)
	set(&old.MinimumScalingStepSize, up.MinimumScalingStepSize)
	set(&old.MaximumScalingStepSize, up.MaximumScalingStepSize)
	set(&old.InstanceWarmupPeriod, up.InstanceWarmupPeriod)
	return &old
}

func (a *API) deleteCapacityProvider(_ context.Context, in *ecsapi.DeleteCapacityProviderInput) (*ecsapi.DeleteCapacityProviderOutput, error) {
	name := lastPart(*in.CapacityProvider)
	if slices.Contains(fargate, name) {
		return nil, client("The specified capacity provider is reserved and cannot be deleted.")
	}
	return update(a, func(tx *state.Tx) (*ecsapi.DeleteCapacityProviderOutput, error) {
		old, ok := a.State.CapacityProviders.Get(tx, name)
		if !ok || wire.Value(old.API.Status) != "ACTIVE" {
			return nil, client("The specified capacity provider does not exist. Specify a valid name or ARN and try again.")
		}
		if old.API.ManagedInstancesProvider != nil {
			if err := a.releaseManaged(tx, old); err != nil {
				return nil, err
			}
		}
		for _, c := range a.State.Clusters.All(tx) {
			if slices.Contains(c.CapacityProviders, name) {
				return nil, client("The capacity provider cannot be deleted because it is associated with cluster: %s. Remove the capacity provider from the cluster and try again.", c.Name)
			}
		}
		p := *old
		p.API.Status, p.API.UpdateStatus = wire.String("INACTIVE"), wire.String("DELETE_COMPLETE")
		a.State.CapacityProviders.Put(tx, name, &p)
		return &ecsapi.DeleteCapacityProviderOutput{CapacityProvider: &p.API}, nil
	})
}

// releaseManaged takes a capacity provider of managed instances from its cluster, unless something of
// it is in use. Its instances are drained and go.
func (a *API) releaseManaged(tx *state.Tx, p *state.CapacityProvider) error {
	name, cluster := *p.API.Name, wire.Value(p.API.Cluster)
	if a.providerInUse(tx, cluster, name) {
		return client("The capacity provider cannot be deleted because a service uses it.")
	}
	for _, d := range a.State.Daemons.All(tx) {
		if slices.Contains(d.Providers, name) {
			return client("The capacity provider cannot be deleted because the daemon %s uses it.", d.Name)
		}
	}
	c, ok := a.State.Clusters.Get(tx, cluster)
	if !ok {
		return nil
	}
	next := *c
	next.CapacityProviders = slices.DeleteFunc(slices.Clone(c.CapacityProviders), func(s string) bool { return s == name })
	next.DefaultStrategy = slices.DeleteFunc(slices.Clone(c.DefaultStrategy), func(i ecsapi.CapacityProviderStrategyItem) bool { return wire.Value(i.CapacityProvider) == name })
	a.State.Clusters.Put(tx, c.Name, &next)
	return nil
}

func (a *API) describeCapacityProviders(ctx context.Context, in *ecsapi.DescribeCapacityProvidersInput) (*ecsapi.DescribeCapacityProvidersOutput, error) {
	tags := slices.Contains(in.Include, "TAGS")
	return view(a, func(tx *state.Tx) (*ecsapi.DescribeCapacityProvidersOutput, error) {
		out := &ecsapi.DescribeCapacityProvidersOutput{CapacityProviders: []ecsapi.CapacityProvider{}, Failures: []ecsapi.Failure{}}
		show := func(p ecsapi.CapacityProvider) {
			if p.CapacityProviderArn == nil {
				p.CapacityProviderArn = wire.String(arn(ctx, "capacity-provider", *p.Name))
			}
			if p.Tags = orEmpty(p.Tags); !tags {
				p.Tags = []ecsapi.Tag{}
			}
			out.CapacityProviders = append(out.CapacityProviders, p)
		}
		if len(in.CapacityProviders) > 0 {
			for _, ref := range in.CapacityProviders {
				name := lastPart(ref)
				if p, ok := a.State.CapacityProviders.Get(tx, name); ok {
					show(p.API) // inactive ones are shown when asked for
				} else if p, ok := a.provider(tx, name); ok {
					show(p.API)
				} else {
					out.Failures = append(out.Failures, missing(arn(ctx, "capacity-provider", name)))
				}
			}
			return out, nil
		}
		names := slices.Clone(fargate)
		for name, p := range a.State.CapacityProviders.All(tx) {
			if wire.Value(p.API.Status) == "ACTIVE" {
				names = append(names, name)
			}
		}
		slices.SortFunc(names, strings.Compare)
		part, next, err := page(names, in.NextToken, in.MaxResults, 10)
		for _, n := range part {
			if p, ok := a.provider(tx, n); ok {
				show(p.API)
			}
		}
		out.NextToken = next
		return out, err
	})
}
