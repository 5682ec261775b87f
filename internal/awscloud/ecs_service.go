package awscloud

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/service"
)

// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServices.html
func (p *ecsPort) Service(ctx context.Context, ref deploy.Ref) (deploy.Service, error) {
	out, err := p.api.DescribeServices(ctx, &ecs.DescribeServicesInput{
		Cluster: &ref.Cluster, Services: []string{ref.Service}, Include: []types.ServiceField{types.ServiceFieldTags}})
	if is(err, "ClusterNotFoundException", "ServiceNotFoundException") {
		return deploy.Service{}, deploy.ErrNotFound
	}
	if err != nil {
		return deploy.Service{}, err
	}
	if len(out.Services) == 0 || aws.ToString(out.Services[0].Status) == "INACTIVE" {
		return deploy.Service{}, deploy.ErrNotFound
	}
	return serviceFrom(ref, out.Services[0]), nil
}

func serviceFrom(ref deploy.Ref, s types.Service) deploy.Service {
	out := deploy.Service{
		Ref: ref, ARN: aws.ToString(s.ServiceArn), ClusterARN: aws.ToString(s.ClusterArn), TaskDefinition: aws.ToString(s.TaskDefinition),
		Desired: int(s.DesiredCount), Running: int(s.RunningCount), Pending: int(s.PendingCount),
		Daemon: s.SchedulingStrategy == types.SchedulingStrategyDaemon, Status: aws.ToString(s.Status),
		LaunchType: string(s.LaunchType), GracePeriod: seconds(s.HealthCheckGracePeriodSeconds),
		CreatedAt: aws.ToTime(s.CreatedAt), Strategy: "ROLLING", Tags: map[string]string{},
		CurrentDeployment: aws.ToString(s.CurrentServiceDeployment), Exec: s.EnableExecuteCommand,
	}
	for _, c := range s.CapacityProviderStrategy {
		out.CapacityProvider = append(out.CapacityProvider, service.CapacityProviderStrategy{Name: aws.ToString(c.CapacityProvider), Base: int(c.Base), Weight: int(c.Weight)})
	}
	if len(out.CapacityProvider) > 0 {
		out.LaunchType = ""
	}
	if d := s.DeploymentConfiguration; d != nil {
		out.MinimumHealthy, out.Maximum = int(aws.ToInt32(d.MinimumHealthyPercent)), int(aws.ToInt32(d.MaximumPercent))
		if d.Strategy != "" {
			out.Strategy = string(d.Strategy)
		}
		if b := d.DeploymentCircuitBreaker; b != nil {
			out.CircuitBreaker, out.Rollback = b.Enable, b.Rollback
		}
		if d.Alarms != nil && d.Alarms.Enable {
			out.RollbackOnAlarms = d.Alarms.AlarmNames
		}
		out.BakeTime = minutes(d.BakeTimeInMinutes)
		if l := d.LinearConfiguration; l != nil {
			out.StepPercent, out.StepBake = aws.ToFloat64(l.StepPercent), minutes(l.StepBakeTimeInMinutes)
		}
		if c := d.CanaryConfiguration; c != nil {
			out.StepPercent, out.StepBake = aws.ToFloat64(c.CanaryPercent), minutes(c.CanaryBakeTimeInMinutes)
		}
	}
	if n := s.NetworkConfiguration; n != nil && n.AwsvpcConfiguration != nil {
		out.Subnets, out.SecurityGroups = n.AwsvpcConfiguration.Subnets, n.AwsvpcConfiguration.SecurityGroups
		out.AssignPublicIP = n.AwsvpcConfiguration.AssignPublicIp == types.AssignPublicIpEnabled
	}
	for _, lb := range s.LoadBalancers {
		x := deploy.LoadBalancer{TargetGroup: aws.ToString(lb.TargetGroupArn), Container: aws.ToString(lb.ContainerName), Port: int(aws.ToInt32(lb.ContainerPort))}
		if a := lb.AdvancedConfiguration; a != nil {
			x.Alternate, x.Rule, x.Role = aws.ToString(a.AlternateTargetGroupArn), aws.ToString(a.ProductionListenerRule), aws.ToString(a.RoleArn)
		}
		out.LoadBalancers = append(out.LoadBalancers, x)
	}
	out.Registry, out.Connect = discoveryFrom(s)
	for _, st := range s.PlacementStrategy {
		out.Placement.Strategies = append(out.Placement.Strategies, service.PlacementStrategy{Type: string(st.Type), Field: aws.ToString(st.Field)})
	}
	for _, c := range s.PlacementConstraints {
		out.Placement.Constraints = append(out.Placement.Constraints, service.PlacementConstraint{Type: string(c.Type), Expression: aws.ToString(c.Expression)})
	}
	for _, t := range s.Tags {
		out.Tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	out.Volumes = volumesFrom(s)
	for _, d := range s.Deployments {
		out.Rollouts = append(out.Rollouts, deploy.Rollout{ID: aws.ToString(d.Id), Status: aws.ToString(d.Status), TaskDefinition: aws.ToString(d.TaskDefinition),
			State: string(d.RolloutState), Reason: aws.ToString(d.RolloutStateReason), Desired: int(d.DesiredCount), Running: int(d.RunningCount),
			Pending: int(d.PendingCount), Failed: int(d.FailedTasks), CreatedAt: aws.ToTime(d.CreatedAt)})
	}
	for _, e := range s.Events {
		out.Events = append(out.Events, deploy.ServiceEvent{ID: aws.ToString(e.Id), At: aws.ToTime(e.CreatedAt), Message: aws.ToString(e.Message)})
	}
	return out
}

func minutes(n *int32) time.Duration { return time.Duration(aws.ToInt32(n)) * time.Minute }

func seconds(n *int32) time.Duration { return time.Duration(aws.ToInt32(n)) * time.Second }

// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateService.html
func (p *ecsPort) CreateService(ctx context.Context, w deploy.Service) (deploy.Service, error) {
	in := &ecs.CreateServiceInput{
		Cluster: &w.Ref.Cluster, ServiceName: &w.Ref.Service, TaskDefinition: &w.TaskDefinition,
		LaunchType: types.LaunchType(w.LaunchType), CapacityProviderStrategy: providers(w), DeploymentConfiguration: deploymentConfiguration(w),
		LoadBalancers: loadBalancers(w), NetworkConfiguration: network(w),
		PlacementStrategy: strategies(w), PlacementConstraints: constraints(w),
		SchedulingStrategy: types.SchedulingStrategyReplica, PropagateTags: types.PropagateTagsService, EnableECSManagedTags: true, EnableExecuteCommand: w.Exec,
		VolumeConfigurations: serviceVolumes(w), ServiceRegistries: serviceRegistries(w), ServiceConnectConfiguration: serviceConnect(w),
		Tags: ecsTags(w.Tags),
	}
	if len(in.CapacityProviderStrategy) > 0 {
		in.LaunchType = ""
	}
	if w.Daemon {
		in.SchedulingStrategy = types.SchedulingStrategyDaemon
	} else {
		in.DesiredCount = aws.Int32(int32(w.Desired))
	}
	if len(w.LoadBalancers) > 0 {
		in.HealthCheckGracePeriodSeconds = aws.Int32(int32(w.GracePeriod / time.Second))
	}
	out, err := p.api.CreateService(ctx, in)
	if is(err, "InvalidParameterException") && says(err, "draining") {
		return w, fmt.Errorf("%w: %w", deploy.ErrInUse, err)
	}
	if err != nil {
		return w, err
	}
	return serviceFrom(w.Ref, *out.Service), nil
}

// UpdateService sends only what differs: what is sent again may start a deployment.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html
func (p *ecsPort) UpdateService(ctx context.Context, w deploy.Service, force bool) (deploy.Service, error) {
	have, err := p.Service(ctx, w.Ref)
	if err != nil {
		return w, err
	}
	in := &ecs.UpdateServiceInput{Cluster: &w.Ref.Cluster, Service: &w.Ref.Service, ForceNewDeployment: force}
	send := force
	set := func(differs bool, do func()) {
		if differs {
			send = true
			do()
		}
	}
	set(w.TaskDefinition != have.TaskDefinition, func() { in.TaskDefinition = &w.TaskDefinition })
	set(w.Desired >= 0 && w.Desired != have.Desired && !w.Daemon, func() { in.DesiredCount = aws.Int32(int32(w.Desired)) })
	set(!same(deploymentConfiguration(w), deploymentConfiguration(have)), func() { in.DeploymentConfiguration = deploymentConfiguration(w) })
	set(!same(sorted(w.Subnets), sorted(have.Subnets)) || !same(sorted(w.SecurityGroups), sorted(have.SecurityGroups)) || w.AssignPublicIP != have.AssignPublicIP,
		func() { in.NetworkConfiguration = network(w) })
	set(w.Exec != have.Exec, func() { in.EnableExecuteCommand = &w.Exec })
	set(!same(w.LoadBalancers, have.LoadBalancers), func() {
		if in.LoadBalancers = loadBalancers(w); in.LoadBalancers == nil {
			in.LoadBalancers = []types.LoadBalancer{}
		}
	})
	set(!same(w.Registry, have.Registry), func() {
		if in.ServiceRegistries = serviceRegistries(w); in.ServiceRegistries == nil {
			in.ServiceRegistries = []types.ServiceRegistry{}
		}
	})
	set(!same(w.Volumes, have.Volumes), func() {
		if in.VolumeConfigurations = serviceVolumes(w); in.VolumeConfigurations == nil {
			in.VolumeConfigurations = []types.ServiceVolumeConfiguration{}
		}
	})
	set(!same(w.Connect, have.Connect), func() {
		if in.ServiceConnectConfiguration = serviceConnect(w); in.ServiceConnectConfiguration == nil {
			in.ServiceConnectConfiguration = &types.ServiceConnectConfiguration{Enabled: false}
		}
	})
	set(!same(w.CapacityProvider, have.CapacityProvider), func() {
		if in.CapacityProviderStrategy = providers(w); in.CapacityProviderStrategy == nil {
			in.CapacityProviderStrategy = []types.CapacityProviderStrategyItem{}
		}
		in.ForceNewDeployment = true // ECS asks for it
	})
	set(len(w.LoadBalancers) > 0 && w.GracePeriod != have.GracePeriod, func() { in.HealthCheckGracePeriodSeconds = aws.Int32(int32(w.GracePeriod / time.Second)) })
	set(!same(w.Placement.Strategies, have.Placement.Strategies), func() {
		if in.PlacementStrategy = strategies(w); in.PlacementStrategy == nil {
			in.PlacementStrategy = []types.PlacementStrategy{}
		}
	})
	set(!same(w.Placement.Constraints, have.Placement.Constraints), func() {
		if in.PlacementConstraints = constraints(w); in.PlacementConstraints == nil {
			in.PlacementConstraints = []types.PlacementConstraint{}
		}
	})
	// Tags first: tasks of the new deployment take them over.
	if add := missing(have.Tags, w.Tags); len(add) > 0 {
		if _, err := p.api.TagResource(ctx, &ecs.TagResourceInput{ResourceArn: &have.ARN, Tags: ecsTags(add)}); err != nil {
			return w, fmt.Errorf("tagging it: %w", err)
		}
	}
	if !send {
		return have, nil
	}
	out, err := p.api.UpdateService(ctx, in)
	if is(err, "ServiceNotFoundException", "ServiceNotActiveException") {
		return w, fmt.Errorf("%w: %w", deploy.ErrNotFound, err)
	}
	if err != nil {
		return w, err
	}
	return serviceFrom(w.Ref, *out.Service), nil
}

// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteService.html
func (p *ecsPort) DeleteService(ctx context.Context, ref deploy.Ref) error {
	_, err := p.api.DeleteService(ctx, &ecs.DeleteServiceInput{Cluster: &ref.Cluster, Service: &ref.Service, Force: aws.Bool(true)})
	if is(err, "ServiceNotFoundException", "ServiceNotActiveException", "ClusterNotFoundException") {
		return nil
	}
	return err
}

// same compares lists and structs; nil and empty are alike.
func same[T any](a, b T) bool {
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	if va.Kind() == reflect.Slice && va.Len() == 0 && vb.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(a, b)
}

func sorted(in []string) []string {
	out := slices.Clone(in)
	slices.Sort(out)
	return out
}

// missing is what of want is not in have.
func missing(have, want map[string]string) map[string]string {
	add := map[string]string{}
	for k, v := range want {
		if h, ok := have[k]; !ok || h != v {
			add[k] = v
		}
	}
	return add
}

func ecsTags(tags map[string]string) []types.Tag {
	var out []types.Tag
	for _, k := range sortedKeys(tags) {
		out = append(out, types.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
	}
	return out
}

func providers(w deploy.Service) (out []types.CapacityProviderStrategyItem) {
	for _, c := range w.CapacityProvider {
		out = append(out, types.CapacityProviderStrategyItem{CapacityProvider: aws.String(c.Name), Base: int32(c.Base), Weight: int32(c.Weight)})
	}
	return out
}

func deploymentConfiguration(w deploy.Service) *types.DeploymentConfiguration {
	c := &types.DeploymentConfiguration{
		MinimumHealthyPercent: aws.Int32(int32(w.MinimumHealthy)), MaximumPercent: aws.Int32(int32(w.Maximum)),
		DeploymentCircuitBreaker: &types.DeploymentCircuitBreaker{Enable: w.CircuitBreaker, Rollback: w.Rollback && w.CircuitBreaker},
	}
	bake := func(d time.Duration) *int32 { return aws.Int32(int32(d / time.Minute)) }
	switch c.Strategy = types.DeploymentStrategy(w.Strategy); w.Strategy {
	case "", "ROLLING":
		c.Strategy = types.DeploymentStrategyRolling
	case "LINEAR":
		c.LinearConfiguration = &types.LinearConfiguration{StepPercent: &w.StepPercent, StepBakeTimeInMinutes: bake(w.StepBake)}
		c.BakeTimeInMinutes = bake(w.BakeTime)
	case "CANARY":
		c.CanaryConfiguration = &types.CanaryConfiguration{CanaryPercent: &w.StepPercent, CanaryBakeTimeInMinutes: bake(w.StepBake)}
		c.BakeTimeInMinutes = bake(w.BakeTime)
	default:
		c.BakeTimeInMinutes = bake(w.BakeTime)
	}
	if len(w.RollbackOnAlarms) > 0 {
		c.Alarms = &types.DeploymentAlarms{AlarmNames: w.RollbackOnAlarms, Enable: true, Rollback: w.Rollback}
	}
	return c
}

func loadBalancers(w deploy.Service) (out []types.LoadBalancer) {
	for _, lb := range w.LoadBalancers {
		x := types.LoadBalancer{TargetGroupArn: aws.String(lb.TargetGroup), ContainerName: aws.String(lb.Container), ContainerPort: aws.Int32(int32(lb.Port))}
		if lb.Alternate != "" {
			x.AdvancedConfiguration = &types.AdvancedConfiguration{AlternateTargetGroupArn: aws.String(lb.Alternate),
				ProductionListenerRule: aws.String(lb.Rule), RoleArn: aws.String(lb.Role)}
		}
		out = append(out, x)
	}
	return out
}

func network(w deploy.Service) *types.NetworkConfiguration {
	if len(w.Subnets) == 0 {
		return nil
	}
	ip := types.AssignPublicIpDisabled
	if w.AssignPublicIP {
		ip = types.AssignPublicIpEnabled
	}
	return &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: w.Subnets, SecurityGroups: w.SecurityGroups, AssignPublicIp: ip}}
}

func strategies(w deploy.Service) (out []types.PlacementStrategy) {
	for _, s := range w.Placement.Strategies {
		st := types.PlacementStrategy{Type: types.PlacementStrategyType(s.Type)}
		if s.Field != "" {
			st.Field = aws.String(s.Field)
		}
		out = append(out, st)
	}
	return out
}

func constraints(w deploy.Service) (out []types.PlacementConstraint) {
	for _, c := range w.Placement.Constraints {
		pc := types.PlacementConstraint{Type: types.PlacementConstraintType(c.Type)}
		if c.Expression != "" {
			pc.Expression = aws.String(c.Expression)
		}
		out = append(out, pc)
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
