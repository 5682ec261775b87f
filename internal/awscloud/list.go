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

// ClusterNames lists the clusters, sorted.
func (c *Cloud) ClusterNames(ctx context.Context) ([]string, error) {
	pages := ecs.NewListClustersPaginator(ecs.NewFromConfig(c.cfg), &ecs.ListClustersInput{})
	var names []string
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing clusters: %w", err)
		}
		for _, arn := range page.ClusterArns {
			names = append(names, lastPart(arn))
		}
	}
	slices.Sort(names)
	return names, nil
}

// Services lists the names of a cluster's services, sorted.
func (c *Cloud) Services(ctx context.Context, cluster string) ([]string, error) {
	pages := ecs.NewListServicesPaginator(ecs.NewFromConfig(c.cfg), &ecs.ListServicesInput{Cluster: &cluster, MaxResults: aws.Int32(100)})
	var names []string
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if is(err, "ClusterNotFoundException") {
			return nil, fmt.Errorf("cluster %s: %w", cluster, clusterinfra.ErrNotFound)
		}
		if err != nil {
			return nil, fmt.Errorf("listing the services of %s: %w", cluster, err)
		}
		for _, arn := range page.ServiceArns {
			names = append(names, lastPart(arn))
		}
	}
	slices.Sort(names)
	return names, nil
}

// serviceBatch is how many services one DescribeServices takes.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServices.html
const serviceBatch = 10

// Overview reads every service of a cluster.
func (c *Cloud) Overview(ctx context.Context, cluster string) ([]deploy.Service, error) {
	names, err := c.Services(ctx, cluster)
	if err != nil {
		return nil, err
	}
	api := ecs.NewFromConfig(c.cfg)
	var out []deploy.Service
	for chunk := range slices.Chunk(names, serviceBatch) {
		page, err := api.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: &cluster, Services: chunk, Include: []types.ServiceField{types.ServiceFieldTags}})
		if err != nil {
			return nil, fmt.Errorf("reading the services of %s: %w", cluster, err)
		}
		for _, s := range page.Services {
			if aws.ToString(s.Status) != "INACTIVE" {
				out = append(out, serviceFrom(deploy.Ref{Cluster: lastPart(cluster), Service: aws.ToString(s.ServiceName)}, s))
			}
		}
	}
	return out, nil
}

// Tasks lists a service's tasks, running and lately stopped.
func (c *Cloud) Tasks(ctx context.Context, ref deploy.Ref) ([]deploy.Task, error) {
	p := &ecsPort{api: ecs.NewFromConfig(c.cfg), hosts: &c.hosts}
	tasks, err := p.ServiceTasks(ctx, ref)
	if errors.Is(err, deploy.ErrNotFound) {
		return nil, fmt.Errorf("service %s in cluster %s: %w", ref.Service, ref.Cluster, err)
	}
	return tasks, err
}

// Infra is what a service in a cluster made by slipway_cluster stands on: region and account of the
// caller, the cluster's network, and the listener its route names.
func (c *Cloud) Infra(ctx context.Context, cluster, listener string) (deploy.Infra, error) {
	id, err := c.Identity(ctx)
	if err != nil {
		return deploy.Infra{}, err
	}
	e, err := c.Environment(ctx, cluster)
	if err != nil {
		return deploy.Infra{}, err
	}
	in := deploy.Infra{Region: c.Region(), Account: id.Account, Partition: id.Partition, Cluster: e.Cluster, VPC: e.VPC, Subnets: e.Subnets, SecurityGroups: e.SecurityGroups}
	if listener == "" {
		return in, nil
	}
	arn, ok := e.Listeners[listener]
	if !ok {
		return in, fmt.Errorf("cluster %s has no listener %q (it has %q): %w", e.Cluster, listener, sortedKeys(e.Listeners), clusterinfra.ErrNotFound)
	}
	in.Listener = arn
	return in, nil
}
