package awscloud

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/clusterinfra"
	"github.com/slipway-ecs/slipway/internal/deploy"
)

// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeClusters.html
func (p clusterPort) Cluster(ctx context.Context, name string) (clusterinfra.Cluster, error) {
	out, err := p.api.DescribeClusters(ctx, &ecs.DescribeClustersInput{Clusters: []string{name}, Include: []types.ClusterField{types.ClusterFieldSettings, types.ClusterFieldTags, types.ClusterFieldConfigurations}})
	if err != nil {
		return clusterinfra.Cluster{}, err
	}
	if len(out.Clusters) == 0 || aws.ToString(out.Clusters[0].Status) == "INACTIVE" {
		return clusterinfra.Cluster{}, clusterinfra.ErrNotFound
	}
	c := out.Clusters[0]
	r := clusterinfra.Cluster{Name: aws.ToString(c.ClusterName), ARN: aws.ToString(c.ClusterArn), Insights: "disabled", Providers: c.CapacityProviders, Tags: map[string]string{},
		Instances: int(c.RegisteredContainerInstancesCount), Services: int(c.ActiveServicesCount), Tasks: int(c.RunningTasksCount + c.PendingTasksCount)}
	for _, s := range c.Settings {
		if s.Name == types.ClusterSettingNameContainerInsights {
			r.Insights = aws.ToString(s.Value)
		}
	}
	if len(c.DefaultCapacityProviderStrategy) > 0 {
		r.Default = aws.ToString(c.DefaultCapacityProviderStrategy[0].CapacityProvider)
	}
	for _, t := range c.Tags {
		r.Tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return r, nil
}

// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateCluster.html
func (p clusterPort) PutCluster(ctx context.Context, w clusterinfra.Cluster) (clusterinfra.Cluster, error) {
	settings := []types.ClusterSetting{{Name: types.ClusterSettingNameContainerInsights, Value: &w.Insights}}
	have, err := p.Cluster(ctx, w.Name)
	switch {
	case errors.Is(err, clusterinfra.ErrNotFound):
		if _, err := p.api.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: &w.Name, Settings: settings, Tags: ecsTags(w.Tags)}); err != nil {
			return w, err
		}
		if have, err = p.Cluster(ctx, w.Name); err != nil {
			return w, err
		}
	case err != nil:
		return w, err
	}
	if w.Insights != "" && have.Insights != w.Insights {
		if _, err := p.api.UpdateClusterSettings(ctx, &ecs.UpdateClusterSettingsInput{Cluster: &w.Name, Settings: settings}); err != nil {
			return w, err
		}
	}
	if add := missing(have.Tags, w.Tags); len(add) > 0 {
		if _, err := p.api.TagResource(ctx, &ecs.TagResourceInput{ResourceArn: &have.ARN, Tags: ecsTags(add)}); err != nil {
			return w, err
		}
	}
	if !slices.Equal(sorted(have.Providers), sorted(w.Providers)) || have.Default != w.Default {
		in := &ecs.PutClusterCapacityProvidersInput{Cluster: &w.Name, CapacityProviders: w.Providers, DefaultCapacityProviderStrategy: []types.CapacityProviderStrategyItem{}}
		if in.CapacityProviders == nil {
			in.CapacityProviders = []string{}
		}
		if w.Default != "" {
			in.DefaultCapacityProviderStrategy = []types.CapacityProviderStrategyItem{{CapacityProvider: &w.Default, Weight: 1}}
		}
		_, err := p.api.PutClusterCapacityProviders(ctx, in)
		if is(err, "ResourceInUseException", "UpdateInProgressException") {
			return w, fmt.Errorf("%w: %w", clusterinfra.ErrInUse, err)
		}
		if err != nil {
			return w, err
		}
	}
	return p.Cluster(ctx, w.Name)
}

// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteCluster.html
func (p clusterPort) DeleteCluster(ctx context.Context, name string) error {
	_, err := p.api.DeleteCluster(ctx, &ecs.DeleteClusterInput{Cluster: &name})
	switch {
	case is(err, "ClusterContainsContainerInstancesException", "ClusterContainsServicesException", "ClusterContainsTasksException", "ClusterContainsCapacityProviderException", "UpdateInProgressException"):
		return fmt.Errorf("%w: %w", clusterinfra.ErrInUse, err)
	case is(err, "ClusterNotFoundException"):
		return nil
	}
	return err
}

func (p clusterPort) ForceOut(ctx context.Context, name string) error {
	in := &ecs.ListContainerInstancesInput{Cluster: &name}
	for {
		page, err := p.api.ListContainerInstances(ctx, in)
		if is(err, "ClusterNotFoundException") {
			return nil
		}
		if err != nil {
			return err
		}
		for _, arn := range page.ContainerInstanceArns {
			if _, err := p.api.DeregisterContainerInstance(ctx, &ecs.DeregisterContainerInstanceInput{Cluster: &name, ContainerInstance: aws.String(arn), Force: aws.Bool(true)}); err != nil &&
				!is(err, "InvalidParameterException", "ClientException") {
				return err
			}
		}
		if aws.ToString(page.NextToken) == "" {
			return nil
		}
		in.NextToken = page.NextToken
	}
}

// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeCapacityProviders.html
func (p providerPort) Provider(ctx context.Context, name string) (clusterinfra.Provider, error) {
	out, err := p.api.DescribeCapacityProviders(ctx, &ecs.DescribeCapacityProvidersInput{CapacityProviders: []string{name}, Include: []types.CapacityProviderField{types.CapacityProviderFieldTags}})
	if err != nil {
		return clusterinfra.Provider{}, err
	}
	for _, c := range out.CapacityProviders {
		if c.Status == types.CapacityProviderStatusInactive {
			continue
		}
		r := clusterinfra.Provider{Name: aws.ToString(c.Name), ARN: aws.ToString(c.CapacityProviderArn), Tags: map[string]string{}}
		if g := c.AutoScalingGroupProvider; g != nil {
			r.Group = aws.ToString(g.AutoScalingGroupArn)
			if g.ManagedScaling != nil {
				r.TargetCapacity = int(aws.ToInt32(g.ManagedScaling.TargetCapacity))
			}
		}
		for _, t := range c.Tags {
			r.Tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
		}
		return r, nil
	}
	return clusterinfra.Provider{}, clusterinfra.ErrNotFound
}

// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateCapacityProvider.html
func (p providerPort) PutProvider(ctx context.Context, w clusterinfra.Provider) (clusterinfra.Provider, error) {
	scaling := &types.ManagedScaling{Status: types.ManagedScalingStatusEnabled, TargetCapacity: aws.Int32(int32(w.TargetCapacity))}
	_, err := p.Provider(ctx, w.Name)
	switch {
	case errors.Is(err, clusterinfra.ErrNotFound):
		_, err := p.api.CreateCapacityProvider(ctx, &ecs.CreateCapacityProviderInput{Name: &w.Name, Tags: ecsTags(w.Tags), AutoScalingGroupProvider: &types.AutoScalingGroupProvider{
			AutoScalingGroupArn: &w.Group, ManagedScaling: scaling, ManagedTerminationProtection: types.ManagedTerminationProtectionDisabled, ManagedDraining: types.ManagedDrainingEnabled}})
		return w, err
	case err != nil:
		return w, err
	}
	_, err = p.api.UpdateCapacityProvider(ctx, &ecs.UpdateCapacityProviderInput{Name: &w.Name, AutoScalingGroupProvider: &types.AutoScalingGroupProviderUpdate{ManagedScaling: scaling}})
	return w, err
}

func (p providerPort) DeleteProvider(ctx context.Context, name string) error {
	_, err := p.api.DeleteCapacityProvider(ctx, &ecs.DeleteCapacityProviderInput{CapacityProvider: &name})
	if err != nil && (says(err, "in use") || says(err, "associated")) {
		return fmt.Errorf("%w: %w", clusterinfra.ErrInUse, err)
	}
	return err
}

func (p infraLogs) LogGroup(ctx context.Context, name string) (clusterinfra.LogGroup, error) {
	g, err := p.logsPort.LogGroup(ctx, name)
	if errors.Is(err, deploy.ErrNotFound) {
		return clusterinfra.LogGroup{}, clusterinfra.ErrNotFound
	}
	return clusterinfra.LogGroup(g), err
}

func (p infraLogs) PutLogGroup(ctx context.Context, w clusterinfra.LogGroup) error {
	return p.logsPort.PutLogGroup(ctx, deploy.LogGroup(w))
}
