package awscloud

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/slipway-ecs/slipway/internal/image"
)

// RegistryCredentials is the user and password of an ECR registry, or of the local AWS's; both are
// empty for any other registry, whose credentials are Docker's business. A token is good in the region
// that gave it.
func (c *Cloud) RegistryCredentials(ctx context.Context, registry string) (user, password string, err error) {
	_, region, isECR := image.ECR(registry)
	if !isECR && !besideEndpoint(aws.ToString(c.cfg.BaseEndpoint), registry) {
		return "", "", nil
	}
	got, err := c.tokens.get(registry, func() (registryToken, error) {
		// The token outlives the request it is asked for, and so does the asking: a registry's client gives up
		// requests it no longer needs.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return c.registryToken(ctx, region)
	})
	if err != nil {
		return "", "", fmt.Errorf("getting a password for %s: %w", registry, err)
	}
	return got.user, got.password, nil
}

// besideEndpoint says whether a registry is one of the local AWS that is spoken to: that is its endpoint, and
// further ones, of other accounts and regions, have loopback addresses with the same port.
func besideEndpoint(endpoint, registry string) bool {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return false
	}
	if u.Host == registry {
		return true
	}
	a, err := netip.ParseAddrPort(registry)
	if err != nil || !a.Addr().IsLoopback() {
		return false
	}
	own, err := netip.ParseAddrPort(u.Host)
	return err == nil && own.Addr().IsLoopback() && own.Port() == a.Port()
}

// registryToken is a user and password with the time until which they are used.
type registryToken struct {
	user, password string
	until          time.Time
}

// registryTokens keeps the tokens by registry; each is asked for once.
type registryTokens struct {
	mu sync.Mutex
	by map[string]registryToken
}

func (t *registryTokens) get(registry string, ask func() (registryToken, error)) (registryToken, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if got, ok := t.by[registry]; ok && time.Now().Before(got.until) {
		return got, nil
	}
	got, err := ask()
	if err != nil {
		return got, err
	}
	if t.by == nil {
		t.by = map[string]registryToken{}
	}
	t.by[registry] = got
	return got, nil
}

// tokenUse is how long a token is used, of the 12 hours it is good for.
const tokenUse = time.Hour

// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html
func (c *Cloud) registryToken(ctx context.Context, region string) (registryToken, error) {
	out, err := ecr.NewFromConfig(c.cfg, func(o *ecr.Options) {
		if region != "" {
			o.Region = region
		}
	}).GetAuthorizationToken(ctx, nil)
	if err != nil {
		return registryToken{}, err
	}
	for _, a := range out.AuthorizationData {
		text, err := base64.StdEncoding.DecodeString(aws.ToString(a.AuthorizationToken))
		if user, password, ok := strings.Cut(string(text), ":"); err == nil && ok {
			return registryToken{user, password, time.Now().Add(tokenUse)}, nil
		}
	}
	return registryToken{}, errors.New("ECR's answer holds none")
}

// Replicates says whether an account's registry replicates images of a repository to another account or region.
// Only its own account can be asked.
// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ReplicationRule.html
func (c *Cloud) Replicates(ctx context.Context, source, repository, account, region string) (bool, error) {
	out, err := ecr.NewFromConfig(c.cfg).DescribeRegistry(ctx, &ecr.DescribeRegistryInput{})
	if err != nil {
		return false, fmt.Errorf("asking what the registry replicates: %w", err)
	}
	if own := aws.ToString(out.RegistryId); own != source {
		return false, fmt.Errorf("the registry is account %s's, and these credentials are account %s's", source, own)
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

// ReplicaIn finds which of the accounts that the registry replicates to in a region has a repository with an
// address; "" is none that can be seen: another account must allow ecr:DescribeRepositories. It is for
// addresses that do not say the account.
func (c *Cloud) ReplicaIn(ctx context.Context, name, uri, region string) (account string, err error) {
	out, err := ecr.NewFromConfig(c.cfg).DescribeRegistry(ctx, &ecr.DescribeRegistryInput{})
	if err != nil {
		return "", fmt.Errorf("asking what the registry replicates: %w", err)
	}
	if out.ReplicationConfiguration == nil {
		return "", nil
	}
	there := ecr.NewFromConfig(c.cfg, func(o *ecr.Options) { o.Region = region })
	for _, rule := range out.ReplicationConfiguration.Rules {
		for _, d := range rule.Destinations {
			if aws.ToString(d.Region) != region {
				continue
			}
			seen, err := there.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RegistryId: d.RegistryId, RepositoryNames: []string{name}})
			if err == nil && len(seen.Repositories) == 1 && aws.ToString(seen.Repositories[0].RepositoryUri) == uri {
				return aws.ToString(d.RegistryId), nil
			}
		}
	}
	return "", nil
}

// Replication is how far ECR is with copying an image to another registry. Without a status it does not copy it.
type Replication struct{ Status, Failure string }

// ReplicationFailed is the status of a copy that ECR has given up.
const ReplicationFailed = string(types.ReplicationStatusFailed)

// Replication asks how far ECR is with an image.
// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeImageReplicationStatus.html
func (c *Cloud) Replication(ctx context.Context, repository, digest, account, region string) (Replication, error) {
	out, err := ecr.NewFromConfig(c.cfg).DescribeImageReplicationStatus(ctx, &ecr.DescribeImageReplicationStatusInput{RepositoryName: &repository, ImageId: &types.ImageIdentifier{ImageDigest: &digest}})
	if err != nil {
		return Replication{}, fmt.Errorf("asking how far the replication of %s is: %w", repository, err)
	}
	for _, s := range out.ReplicationStatuses {
		if aws.ToString(s.RegistryId) == account && aws.ToString(s.Region) == region {
			return Replication{string(s.Status), aws.ToString(s.FailureCode)}, nil
		}
	}
	return Replication{}, nil
}
