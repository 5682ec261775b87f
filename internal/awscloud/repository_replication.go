package awscloud

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/slipway-ecs/slipway/internal/clusterinfra"
)

// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeRegistry.html
func (p replicationPort) Registry(ctx context.Context) (clusterinfra.Registry, error) {
	out, err := p.api.DescribeRegistry(ctx, &ecr.DescribeRegistryInput{})
	if err != nil {
		return clusterinfra.Registry{}, err
	}
	r := clusterinfra.Registry{Account: aws.ToString(out.RegistryId), Region: p.region}
	if out.ReplicationConfiguration == nil {
		return r, nil
	}
	for _, rule := range out.ReplicationConfiguration.Rules {
		var x clusterinfra.ReplicationRule
		for _, f := range rule.RepositoryFilters {
			x.Prefixes = append(x.Prefixes, aws.ToString(f.Filter))
		}
		for _, d := range rule.Destinations {
			x.Destinations = append(x.Destinations, clusterinfra.Replica{Region: aws.ToString(d.Region), Account: aws.ToString(d.RegistryId)})
		}
		r.Rules = append(r.Rules, x)
	}
	return r, nil
}

// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_PutReplicationConfiguration.html
func (p replicationPort) PutReplication(ctx context.Context, rules []clusterinfra.ReplicationRule) error {
	config := &types.ReplicationConfiguration{Rules: []types.ReplicationRule{}}
	for _, rule := range rules {
		var x types.ReplicationRule
		for _, prefix := range rule.Prefixes {
			x.RepositoryFilters = append(x.RepositoryFilters, types.RepositoryFilter{Filter: aws.String(prefix), FilterType: types.RepositoryFilterTypePrefixMatch})
		}
		for _, d := range rule.Destinations {
			x.Destinations = append(x.Destinations, types.ReplicationDestination{Region: aws.String(d.Region), RegistryId: aws.String(d.Account)})
		}
		config.Rules = append(config.Rules, x)
	}
	_, err := p.api.PutReplicationConfiguration(ctx, &ecr.PutReplicationConfigurationInput{ReplicationConfiguration: config})
	return err
}
