package awscloud

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"github.com/slipway-ecs/slipway/internal/image"
)

// RegistryCredentials is the user and password of an ECR registry, or of the local AWS's; both are
// empty for any other registry, whose credentials are Docker's business. A token is good in the region
// that gave it.
func (c *Cloud) RegistryCredentials(ctx context.Context, registry string) (user, password string, err error) {
	_, region, isECR := image.ECR(registry)
	if !isECR && !strings.HasSuffix(strings.TrimSuffix(aws.ToString(c.cfg.BaseEndpoint), "/"), "://"+registry) {
		return "", "", nil
	}
	out, err := ecr.NewFromConfig(c.cfg, func(o *ecr.Options) {
		if region != "" {
			o.Region = region
		}
	}).GetAuthorizationToken(ctx, nil)
	if err != nil {
		return "", "", fmt.Errorf("getting a password for %s: %w", registry, err)
	}
	for _, a := range out.AuthorizationData {
		text, err := base64.StdEncoding.DecodeString(aws.ToString(a.AuthorizationToken))
		if user, password, ok := strings.Cut(string(text), ":"); err == nil && ok {
			return user, password, nil
		}
	}
	return "", "", fmt.Errorf("getting a password for %s: ECR's answer holds none", registry)
}

// Replicates says whether the registry replicates images of a repository to an account and region.
// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ReplicationRule.html
func (c *Cloud) Replicates(ctx context.Context, repository, account, region string) (bool, error) {
	out, err := ecr.NewFromConfig(c.cfg).DescribeRegistry(ctx, &ecr.DescribeRegistryInput{})
	if err != nil {
		return false, fmt.Errorf("asking what the registry replicates: %w", err)
	}
	if out.ReplicationConfiguration == nil {
		return false, nil
	}
	for _, rule := range out.ReplicationConfiguration.Rules {
		matches := len(rule.RepositoryFilters) == 0
		for _, f := range rule.RepositoryFilters {
			matches = matches || strings.HasPrefix(repository, aws.ToString(f.Filter))
		}
		for _, d := range rule.Destinations {
			if matches && aws.ToString(d.RegistryId) == account && aws.ToString(d.Region) == region {
				return true, nil
			}
		}
	}
	return false, nil
}
