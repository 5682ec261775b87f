package ecr

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/registry"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecrapi"
)

func (s *service) repositories(svc *wire.Service) {
	handle(svc, s, "CreateRepository", (*service).create)
	handle(svc, s, "DescribeRepositories", (*service).describeRepositories)
	handle(svc, s, "DeleteRepository", (*service).deleteRepository)
	handle(svc, s, "PutImageTagMutability", (*service).putMutability)
	handle(svc, s, "PutImageScanningConfiguration", (*service).putScanning)
	handle(svc, s, "SetRepositoryPolicy", (*service).setPolicy)
	handle(svc, s, "GetRepositoryPolicy", (*service).getPolicy)
	handle(svc, s, "DeleteRepositoryPolicy", (*service).deletePolicy)
	handle(svc, s, "TagResource", (*service).tag)
	handle(svc, s, "UntagResource", (*service).untag)
	handle(svc, s, "ListTagsForResource", (*service).tags)
}

func (s *service) api(r *registry.Repository) *ecrapi.Repository {
	return &ecrapi.Repository{
		CreatedAt: wire.Timestamp(r.CreatedAt), RegistryId: &s.Account, RepositoryArn: &r.ARN, RepositoryName: &r.Name,
		RepositoryUri:              wire.String(s.host() + "/" + r.Name),
		EncryptionConfiguration:    &ecrapi.EncryptionConfiguration{EncryptionType: &r.EncryptionType, KmsKey: wire.NonEmpty(r.KMSKey)},
		ImageScanningConfiguration: &ecrapi.ImageScanningConfiguration{ScanOnPush: &r.ScanOnPush},
		ImageTagMutability:         &r.Mutability, ImageTagMutabilityExclusionFilters: filters(r.Exclusions),
	}
}

func filters(exclusions []string) []ecrapi.ImageTagMutabilityExclusionFilter {
	var out []ecrapi.ImageTagMutabilityExclusionFilter
	for _, f := range exclusions {
		out = append(out, ecrapi.ImageTagMutabilityExclusionFilter{Filter: &f, FilterType: wire.String("WILDCARD")})
	}
	return out
}

const maxExclusions = 5

var exclusionPattern = regexp.MustCompile(`^[0-9a-zA-Z._*-]{1,128}$`)

// mutability checks a tag mutability with its exclusions; an unset one is MUTABLE.
func mutability(value *string, list []ecrapi.ImageTagMutabilityExclusionFilter) (string, []string, error) {
	m := wire.Value(value)
	if m == "" {
		m = registry.Mutable
	}
	excluding := m == registry.ImmutableWithExclusion || m == registry.MutableWithExclusion
	switch {
	case !excluding && m != registry.Mutable && m != registry.Immutable:
		return "", nil, invalid("imageTagMutability", "Member must satisfy enum value set: [IMMUTABLE, IMMUTABLE_WITH_EXCLUSION, MUTABLE, MUTABLE_WITH_EXCLUSION]")
	case excluding && (len(list) == 0 || len(list) > maxExclusions):
		return "", nil, invalid("imageTagMutabilityExclusionFilters", "Member must have between 1 and 5 filters when imageTagMutability is "+m)
	case !excluding && len(list) > 0:
		return "", nil, invalid("imageTagMutabilityExclusionFilters", "Exclusion filters can only be given when imageTagMutability is IMMUTABLE_WITH_EXCLUSION or MUTABLE_WITH_EXCLUSION")
	}
	var out []string
	for _, f := range list {
		v := wire.Value(f.Filter)
		if wire.Value(f.FilterType) != "WILDCARD" || !exclusionPattern.MatchString(v) || strings.Count(v, "*") > 2 {
			return "", nil, invalid("imageTagMutabilityExclusionFilters", "Filter must be a tag with up to two wildcards")
		}
		out = append(out, v)
	}
	return m, out, nil
}

func (s *service) create(ctx context.Context, in *ecrapi.CreateRepositoryInput) (*ecrapi.CreateRepositoryOutput, error) {
	if caller := s.caller(ctx); caller != s.Account {
		return nil, &wire.Error{Code: "AccessDeniedException", Message: "User: arn:aws:iam::" + caller + ":root is not authorized to perform: ecr:CreateRepository on resource: " + s.Store.ARN(wire.Value(in.RepositoryName))}
	}
	m, exclusions, err := mutability(in.ImageTagMutability, in.ImageTagMutabilityExclusionFilters)
	if err != nil {
		return nil, err
	}
	r := registry.Repository{Name: wire.Value(in.RepositoryName), Mutability: m, Exclusions: exclusions, Tags: tagMap(in.Tags)}
	if in.ImageScanningConfiguration != nil {
		r.ScanOnPush = wire.Value(in.ImageScanningConfiguration.ScanOnPush)
	}
	if e := in.EncryptionConfiguration; e != nil {
		r.EncryptionType, r.KMSKey = wire.Value(e.EncryptionType), wire.Value(e.KmsKey)
		if !slices.Contains([]string{"AES256", "KMS", "KMS_DSSE"}, r.EncryptionType) {
			return nil, invalid("encryptionConfiguration.encryptionType", "Member must satisfy enum value set: [AES256, KMS, KMS_DSSE]")
		}
	}
	made, err := s.Store.CreateRepository(r)
	if err != nil {
		return nil, shown(err)
	}
	return &ecrapi.CreateRepositoryOutput{Repository: s.api(made)}, nil
}

func (s *service) describeRepositories(ctx context.Context, in *ecrapi.DescribeRepositoriesInput) (*ecrapi.DescribeRepositoriesOutput, error) {
	out := &ecrapi.DescribeRepositoriesOutput{Repositories: []ecrapi.Repository{}}
	if len(in.RepositoryNames) > 0 {
		if in.MaxResults != nil || in.NextToken != nil {
			return nil, invalid("maxResults", "maxResults and nextToken cannot be given with repositoryNames")
		}
		for _, name := range in.RepositoryNames {
			r, err := s.repository(ctx, in.RegistryId, &name, "DescribeRepositories")
			if err != nil {
				return nil, err
			}
			out.Repositories = append(out.Repositories, *s.api(r))
		}
		return out, nil
	}
	if s.caller(ctx) != s.Account {
		return out, nil
	}
	list, next, err := page(s.Store.Repositories(), func(r *registry.Repository) string { return r.Name }, in.MaxResults, in.NextToken, 100)
	if err != nil {
		return nil, err
	}
	for _, r := range list {
		out.Repositories = append(out.Repositories, *s.api(r))
	}
	out.NextToken = next
	return out, nil
}

func (s *service) deleteRepository(ctx context.Context, in *ecrapi.DeleteRepositoryInput) (*ecrapi.DeleteRepositoryOutput, error) {
	if _, err := s.repository(ctx, in.RegistryId, in.RepositoryName, "DeleteRepository"); err != nil {
		return nil, err
	}
	r, err := s.Store.DeleteRepository(*in.RepositoryName, wire.Value(in.Force))
	if err != nil {
		return nil, shown(err)
	}
	return &ecrapi.DeleteRepositoryOutput{Repository: s.api(r)}, nil
}

// change finds the repository for the caller's action and changes it.
func (s *service) change(ctx context.Context, registryID, name *string, action string, f func(r *registry.Repository) error) (*registry.Repository, error) {
	if _, err := s.repository(ctx, registryID, name, action); err != nil {
		return nil, err
	}
	r, err := s.Store.ChangeRepository(*name, f)
	return r, shown(err)
}

func (s *service) putMutability(ctx context.Context, in *ecrapi.PutImageTagMutabilityInput) (*ecrapi.PutImageTagMutabilityOutput, error) {
	m, exclusions, err := mutability(in.ImageTagMutability, in.ImageTagMutabilityExclusionFilters)
	if err != nil {
		return nil, err
	}
	_, err = s.change(ctx, in.RegistryId, in.RepositoryName, "PutImageTagMutability", func(r *registry.Repository) error {
		r.Mutability, r.Exclusions = m, exclusions
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ecrapi.PutImageTagMutabilityOutput{ImageTagMutability: &m, ImageTagMutabilityExclusionFilters: filters(exclusions),
		RegistryId: &s.Account, RepositoryName: in.RepositoryName}, nil
}

func (s *service) putScanning(ctx context.Context, in *ecrapi.PutImageScanningConfigurationInput) (*ecrapi.PutImageScanningConfigurationOutput, error) {
	on := wire.Value(in.ImageScanningConfiguration.ScanOnPush)
	_, err := s.change(ctx, in.RegistryId, in.RepositoryName, "PutImageScanningConfiguration", func(r *registry.Repository) error {
		r.ScanOnPush = on
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ecrapi.PutImageScanningConfigurationOutput{ImageScanningConfiguration: &ecrapi.ImageScanningConfiguration{ScanOnPush: &on},
		RegistryId: &s.Account, RepositoryName: in.RepositoryName}, nil
}

func (s *service) setPolicy(ctx context.Context, in *ecrapi.SetRepositoryPolicyInput) (*ecrapi.SetRepositoryPolicyOutput, error) {
	if err := registry.CheckPolicy(*in.PolicyText); err != nil {
		return nil, shown(err)
	}
	_, err := s.change(ctx, in.RegistryId, in.RepositoryName, "SetRepositoryPolicy", func(r *registry.Repository) error {
		r.Policy = *in.PolicyText
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ecrapi.SetRepositoryPolicyOutput{PolicyText: in.PolicyText, RegistryId: &s.Account, RepositoryName: in.RepositoryName}, nil
}

func (s *service) noPolicy(name string) *wire.Error {
	return wire.Errorf("RepositoryPolicyNotFoundException", "Repository policy does not exist for the repository with name '%s' in the registry with id '%s'", name, s.Account)
}

func (s *service) getPolicy(ctx context.Context, in *ecrapi.GetRepositoryPolicyInput) (*ecrapi.GetRepositoryPolicyOutput, error) {
	r, err := s.repository(ctx, in.RegistryId, in.RepositoryName, "GetRepositoryPolicy")
	if err != nil {
		return nil, err
	}
	if r.Policy == "" {
		return nil, s.noPolicy(r.Name)
	}
	return &ecrapi.GetRepositoryPolicyOutput{PolicyText: &r.Policy, RegistryId: &s.Account, RepositoryName: &r.Name}, nil
}

func (s *service) deletePolicy(ctx context.Context, in *ecrapi.DeleteRepositoryPolicyInput) (*ecrapi.DeleteRepositoryPolicyOutput, error) {
	var text string
	r, err := s.change(ctx, in.RegistryId, in.RepositoryName, "DeleteRepositoryPolicy", func(r *registry.Repository) error {
		text, r.Policy = r.Policy, ""
		return nil
	})
	if err != nil {
		return nil, err
	}
	if text == "" {
		return nil, s.noPolicy(r.Name)
	}
	return &ecrapi.DeleteRepositoryPolicyOutput{PolicyText: &text, RegistryId: &s.Account, RepositoryName: &r.Name}, nil
}

const maxTags = 50

// byARN changes or reads the repository an ARN names; f nil only reads.
func (s *service) byARN(arn string, f func(r *registry.Repository) error) (*registry.Repository, error) {
	place, name, ok := strings.Cut(arn, ":repository/")
	if !ok || !strings.HasPrefix(arn, "arn:") {
		return nil, invalid("resourceArn", "Invalid ARN")
	}
	if !strings.HasSuffix(place, ":"+s.Account) { // arn:aws:ecr:region:account
		return nil, wire.Errorf("RepositoryNotFoundException", "The repository with name '%s' does not exist in the registry with id '%s'", name, place[strings.LastIndexByte(place, ':')+1:])
	}
	if f == nil {
		r, err := s.Store.Repository(name)
		return r, shown(err)
	}
	r, err := s.Store.ChangeRepository(name, f)
	return r, shown(err)
}

func (s *service) tag(_ context.Context, in *ecrapi.TagResourceInput) (*ecrapi.TagResourceOutput, error) {
	_, err := s.byARN(*in.ResourceArn, func(r *registry.Repository) error {
		tags := tagMap(in.Tags)
		for k, v := range r.Tags {
			if _, set := tags[k]; !set {
				tags[k] = v
			}
		}
		if len(tags) > maxTags {
			return wire.Errorf("TooManyTagsException", "A repository can have up to %d tags", maxTags)
		}
		r.Tags = tags
		return nil
	})
	return &ecrapi.TagResourceOutput{}, err
}

func (s *service) untag(_ context.Context, in *ecrapi.UntagResourceInput) (*ecrapi.UntagResourceOutput, error) {
	_, err := s.byARN(*in.ResourceArn, func(r *registry.Repository) error {
		r.Tags = maps.Clone(r.Tags)
		for _, k := range in.TagKeys {
			delete(r.Tags, k)
		}
		return nil
	})
	return &ecrapi.UntagResourceOutput{}, err
}

func (s *service) tags(_ context.Context, in *ecrapi.ListTagsForResourceInput) (*ecrapi.ListTagsForResourceOutput, error) {
	r, err := s.byARN(*in.ResourceArn, nil)
	if err != nil {
		return nil, err
	}
	return &ecrapi.ListTagsForResourceOutput{Tags: tagList(r.Tags)}, nil
}
