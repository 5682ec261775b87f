package ecr

import (
	"context"
	"encoding/json"
	"regexp"

	"github.com/slipway-ecs/slipway/internal/local/registry"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecrapi"
)

// Limits of a replication configuration.
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/replication.html
const (
	maxReplicationRules = 10
	maxDestinations     = 25
	maxFilters          = 100
)

func replication(store *registry.Store) *ecrapi.ReplicationConfiguration {
	c := &ecrapi.ReplicationConfiguration{Rules: []ecrapi.ReplicationRule{}}
	if text := store.Setting(replicationSetting); text != "" && json.Unmarshal([]byte(text), c) != nil {
		return &ecrapi.ReplicationConfiguration{Rules: []ecrapi.ReplicationRule{}} // written by us: it always reads
	}
	return c
}

// Destinations says where what is pushed to a registry is replicated to.
func Destinations(store *registry.Store) (out []registry.Destination) {
	for _, rule := range replication(store).Rules {
		var prefixes []string
		for _, f := range rule.RepositoryFilters {
			prefixes = append(prefixes, wire.Value(f.Filter))
		}
		for _, d := range rule.Destinations {
			out = append(out, registry.Destination{Region: wire.Value(d.Region), Account: wire.Value(d.RegistryId), Prefixes: prefixes})
		}
	}
	return out
}

var regionName = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$`)

func (s *service) putReplication(_ context.Context, in *ecrapi.PutReplicationConfigurationInput) (*ecrapi.PutReplicationConfigurationOutput, error) {
	c := in.ReplicationConfiguration
	if len(c.Rules) > maxReplicationRules {
		return nil, invalid("replicationConfiguration.rules", "Member must have length less than or equal to 10")
	}
	seen := map[string]bool{}
	for _, r := range c.Rules {
		if len(r.Destinations) > maxDestinations || len(r.RepositoryFilters) > maxFilters {
			return nil, invalid("replicationConfiguration.rules", "A rule has up to 25 destinations and 100 filters")
		}
		for _, f := range r.RepositoryFilters {
			if wire.Value(f.FilterType) != "PREFIX_MATCH" || wire.Value(f.Filter) == "" {
				return nil, invalid("replicationConfiguration.rules.repositoryFilters", "A filter is a prefix with the type PREFIX_MATCH")
			}
		}
		for _, d := range r.Destinations {
			region, account := wire.Value(d.Region), wire.Value(d.RegistryId)
			switch {
			case !regionName.MatchString(region):
				return nil, invalid("replicationConfiguration.rules.destinations.region", "Member must be a region: "+region)
			case !accountKey.MatchString(account):
				return nil, invalid("replicationConfiguration.rules.destinations.registryId", "Member must satisfy regular expression pattern: [0-9]{12}")
			case region == s.Store.Region() && account == s.Account:
				return nil, invalid("replicationConfiguration.rules.destinations", "A registry cannot be replicated to itself")
			}
			seen[region+"/"+account] = true
		}
	}
	if len(seen) > maxDestinations {
		return nil, invalid("replicationConfiguration.rules", "A configuration has up to 25 destinations")
	}
	if err := s.store(replicationSetting, c); err != nil {
		return nil, err
	}
	for _, d := range Destinations(s.Store) { // from now on there is something in those regions
		if _, err := s.Registries.Make(d.Region, d.Account); err != nil {
			return nil, shown(err)
		}
	}
	return &ecrapi.PutReplicationConfigurationOutput{ReplicationConfiguration: c}, nil
}

func (s *service) replicationStatus(ctx context.Context, in *ecrapi.DescribeImageReplicationStatusInput) (*ecrapi.DescribeImageReplicationStatusOutput, error) {
	r, err := s.repository(ctx, in.RegistryId, in.RepositoryName, "DescribeImageReplicationStatus")
	if err != nil {
		return nil, err
	}
	im, err := s.find(r.Name, idOf(*in.ImageId))
	if err != nil {
		return nil, err
	}
	out := &ecrapi.DescribeImageReplicationStatusOutput{ImageId: in.ImageId, RepositoryName: &r.Name, ReplicationStatuses: []ecrapi.ImageReplicationStatus{}}
	for _, d := range s.Store.Replications(r.Name, im.Digest) {
		out.ReplicationStatuses = append(out.ReplicationStatuses, ecrapi.ImageReplicationStatus{Region: wire.Ptr(d.Region), RegistryId: wire.Ptr(d.Account), Status: wire.Ptr(d.Status), FailureCode: wire.NonEmpty(d.Failure)})
	}
	return out, nil
}
