package ecr

import (
	"context"
	"slices"

	"github.com/slipway-ecs/slipway/internal/local/registry"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecrapi"
)

func (s *service) templates(svc *wire.Service) {
	handle(svc, s, "CreateRepositoryCreationTemplate", (*service).createTemplate)
	handle(svc, s, "UpdateRepositoryCreationTemplate", (*service).updateTemplate)
	handle(svc, s, "DescribeRepositoryCreationTemplates", (*service).describeTemplates)
	handle(svc, s, "DeleteRepositoryCreationTemplate", (*service).deleteTemplate)
	handle(svc, s, "CreatePullThroughCacheRule", (*service).createCacheRule)
	handle(svc, s, "UpdatePullThroughCacheRule", (*service).updateCacheRule)
	handle(svc, s, "DescribePullThroughCacheRules", (*service).describeCacheRules)
	handle(svc, s, "DeletePullThroughCacheRule", (*service).deleteCacheRule)
	handle(svc, s, "ValidatePullThroughCacheRule", (*service).validateCacheRule)
}

func templateAPI(t *registry.Template) *ecrapi.RepositoryCreationTemplate {
	return &ecrapi.RepositoryCreationTemplate{
		AppliedFor: t.AppliedFor, CreatedAt: wire.Timestamp(t.CreatedAt), UpdatedAt: wire.Timestamp(t.UpdatedAt),
		CustomRoleArn: wire.NonEmpty(t.CustomRoleARN), Description: wire.NonEmpty(t.Description), Prefix: &t.Prefix,
		EncryptionConfiguration: &ecrapi.EncryptionConfigurationForRepositoryCreationTemplate{EncryptionType: &t.EncryptionType, KmsKey: wire.NonEmpty(t.KMSKey)},
		ImageTagMutability:      &t.Mutability, ImageTagMutabilityExclusionFilters: filters(t.Exclusions),
		LifecyclePolicy: wire.NonEmpty(t.Lifecycle), RepositoryPolicy: wire.NonEmpty(t.Policy), ResourceTags: tagList(t.Tags),
	}
}

// changeTemplate puts what the request gives into t and checks it.
func changeTemplate(t *registry.Template, in *ecrapi.UpdateRepositoryCreationTemplateInput) error {
	if in.AppliedFor != nil {
		t.AppliedFor = in.AppliedFor
	}
	for _, a := range t.AppliedFor {
		if !slices.Contains([]string{"CREATE_ON_PUSH", "PULL_THROUGH_CACHE", "REPLICATION"}, a) {
			return invalid("appliedFor", "Member must satisfy enum value set: [CREATE_ON_PUSH, PULL_THROUGH_CACHE, REPLICATION]")
		}
	}
	if in.ImageTagMutability != nil {
		var err error
		if t.Mutability, t.Exclusions, err = mutability(in.ImageTagMutability, in.ImageTagMutabilityExclusionFilters); err != nil {
			return err
		}
	}
	if in.LifecyclePolicy != nil {
		if t.Lifecycle = *in.LifecyclePolicy; t.Lifecycle != "" {
			if _, err := parse(t.Lifecycle); err != nil {
				return err
			}
		}
	}
	if in.RepositoryPolicy != nil {
		if t.Policy = *in.RepositoryPolicy; t.Policy != "" {
			if err := registry.CheckPolicy(t.Policy); err != nil {
				return shown(err)
			}
		}
	}
	if e := in.EncryptionConfiguration; e != nil {
		t.EncryptionType, t.KMSKey = wire.Value(e.EncryptionType), wire.Value(e.KmsKey)
	}
	if in.CustomRoleArn != nil {
		t.CustomRoleARN = *in.CustomRoleArn
	}
	if in.Description != nil {
		t.Description = *in.Description
	}
	if in.ResourceTags != nil {
		t.Tags = tagMap(in.ResourceTags)
	}
	return nil
}

func (s *service) createTemplate(_ context.Context, in *ecrapi.CreateRepositoryCreationTemplateInput) (*ecrapi.CreateRepositoryCreationTemplateOutput, error) {
	if *in.Prefix != "ROOT" {
		if err := registry.CheckName(*in.Prefix); err != nil {
			return nil, invalid("prefix", "must be ROOT or begin a repository name")
		}
	}
	t := registry.Template{Prefix: *in.Prefix, Mutability: registry.Mutable, EncryptionType: "AES256"}
	err := changeTemplate(&t, &ecrapi.UpdateRepositoryCreationTemplateInput{
		AppliedFor: in.AppliedFor, CustomRoleArn: in.CustomRoleArn, Description: in.Description, EncryptionConfiguration: in.EncryptionConfiguration,
		ImageTagMutability: in.ImageTagMutability, ImageTagMutabilityExclusionFilters: in.ImageTagMutabilityExclusionFilters,
		LifecyclePolicy: in.LifecyclePolicy, Prefix: in.Prefix, RepositoryPolicy: in.RepositoryPolicy, ResourceTags: in.ResourceTags,
	})
	if err != nil {
		return nil, err
	}
	made, err := s.putTemplate(t, true)
	if err != nil {
		return nil, err
	}
	return &ecrapi.CreateRepositoryCreationTemplateOutput{RegistryId: &s.Account, RepositoryCreationTemplate: made}, nil
}

func (s *service) putTemplate(t registry.Template, create bool) (*ecrapi.RepositoryCreationTemplate, error) {
	if err := s.Store.PutTemplate(t, create); err != nil {
		return nil, shown(err)
	}
	made, err := s.Store.Template(t.Prefix)
	if err != nil {
		return nil, shown(err)
	}
	return templateAPI(made), nil
}

func (s *service) updateTemplate(_ context.Context, in *ecrapi.UpdateRepositoryCreationTemplateInput) (*ecrapi.UpdateRepositoryCreationTemplateOutput, error) {
	old, err := s.Store.Template(*in.Prefix)
	if err != nil {
		return nil, shown(err)
	}
	t := *old
	if err := changeTemplate(&t, in); err != nil {
		return nil, err
	}
	made, err := s.putTemplate(t, false)
	if err != nil {
		return nil, err
	}
	return &ecrapi.UpdateRepositoryCreationTemplateOutput{RegistryId: &s.Account, RepositoryCreationTemplate: made}, nil
}

func (s *service) describeTemplates(_ context.Context, in *ecrapi.DescribeRepositoryCreationTemplatesInput) (*ecrapi.DescribeRepositoryCreationTemplatesOutput, error) {
	list := slices.DeleteFunc(s.Store.Templates(), func(t *registry.Template) bool {
		return len(in.Prefixes) > 0 && !slices.Contains(in.Prefixes, t.Prefix)
	})
	out := &ecrapi.DescribeRepositoryCreationTemplatesOutput{RegistryId: &s.Account, RepositoryCreationTemplates: []ecrapi.RepositoryCreationTemplate{}}
	list, next, err := page(list, func(t *registry.Template) string { return t.Prefix }, in.MaxResults, in.NextToken, 100)
	for _, t := range list {
		out.RepositoryCreationTemplates = append(out.RepositoryCreationTemplates, *templateAPI(t))
	}
	out.NextToken = next
	return out, err
}

func (s *service) deleteTemplate(_ context.Context, in *ecrapi.DeleteRepositoryCreationTemplateInput) (*ecrapi.DeleteRepositoryCreationTemplateOutput, error) {
	t, err := s.Store.DeleteTemplate(*in.Prefix)
	if err != nil {
		return nil, shown(err)
	}
	return &ecrapi.DeleteRepositoryCreationTemplateOutput{RegistryId: &s.Account, RepositoryCreationTemplate: templateAPI(t)}, nil
}

func (s *service) createCacheRule(_ context.Context, in *ecrapi.CreatePullThroughCacheRuleInput) (*ecrapi.CreatePullThroughCacheRuleOutput, error) {
	if *in.EcrRepositoryPrefix != "ROOT" && registry.CheckName(*in.EcrRepositoryPrefix) != nil {
		return nil, invalid("ecrRepositoryPrefix", "must be ROOT or begin a repository name")
	}
	r := registry.CacheRule{Prefix: *in.EcrRepositoryPrefix, UpstreamURL: *in.UpstreamRegistryUrl, UpstreamRegistry: wire.Value(in.UpstreamRegistry),
		UpstreamPrefix: wire.Value(in.UpstreamRepositoryPrefix), CredentialARN: wire.Value(in.CredentialArn), CustomRoleARN: wire.Value(in.CustomRoleArn)}
	if _, err := s.Store.Credentials(&r); err != nil {
		return nil, shown(err)
	}
	if err := s.Store.PutCacheRule(r, true); err != nil {
		return nil, shown(err)
	}
	made, err := s.Store.CacheRule(r.Prefix)
	if err != nil {
		return nil, shown(err)
	}
	return &ecrapi.CreatePullThroughCacheRuleOutput{CreatedAt: wire.Timestamp(made.CreatedAt), CredentialArn: in.CredentialArn, CustomRoleArn: in.CustomRoleArn,
		EcrRepositoryPrefix: in.EcrRepositoryPrefix, RegistryId: &s.Account, UpstreamRegistry: in.UpstreamRegistry,
		UpstreamRegistryUrl: in.UpstreamRegistryUrl, UpstreamRepositoryPrefix: in.UpstreamRepositoryPrefix}, nil
}

func (s *service) updateCacheRule(_ context.Context, in *ecrapi.UpdatePullThroughCacheRuleInput) (*ecrapi.UpdatePullThroughCacheRuleOutput, error) {
	old, err := s.Store.CacheRule(*in.EcrRepositoryPrefix)
	if err != nil {
		return nil, shown(err)
	}
	r := *old
	if in.CredentialArn != nil {
		r.CredentialARN = *in.CredentialArn
	}
	if in.CustomRoleArn != nil {
		r.CustomRoleARN = *in.CustomRoleArn
	}
	if _, err := s.Store.Credentials(&r); err != nil {
		return nil, shown(err)
	}
	if err := s.Store.PutCacheRule(r, false); err != nil {
		return nil, shown(err)
	}
	made, err := s.Store.CacheRule(r.Prefix)
	if err != nil {
		return nil, shown(err)
	}
	return &ecrapi.UpdatePullThroughCacheRuleOutput{CredentialArn: wire.NonEmpty(made.CredentialARN), CustomRoleArn: wire.NonEmpty(made.CustomRoleARN),
		EcrRepositoryPrefix: &made.Prefix, RegistryId: &s.Account, UpdatedAt: wire.Timestamp(made.UpdatedAt), UpstreamRepositoryPrefix: wire.NonEmpty(made.UpstreamPrefix)}, nil
}

func (s *service) describeCacheRules(_ context.Context, in *ecrapi.DescribePullThroughCacheRulesInput) (*ecrapi.DescribePullThroughCacheRulesOutput, error) {
	var list []*registry.CacheRule
	for _, prefix := range in.EcrRepositoryPrefixes {
		r, err := s.Store.CacheRule(prefix)
		if err != nil {
			return nil, shown(err)
		}
		list = append(list, r)
	}
	if len(in.EcrRepositoryPrefixes) == 0 {
		list = s.Store.CacheRules()
	}
	out := &ecrapi.DescribePullThroughCacheRulesOutput{PullThroughCacheRules: []ecrapi.PullThroughCacheRule{}}
	list, next, err := page(list, func(r *registry.CacheRule) string { return r.Prefix }, in.MaxResults, in.NextToken, 100)
	for _, r := range list {
		out.PullThroughCacheRules = append(out.PullThroughCacheRules, ecrapi.PullThroughCacheRule{
			CreatedAt: wire.Timestamp(r.CreatedAt), UpdatedAt: wire.Timestamp(r.UpdatedAt), CredentialArn: wire.NonEmpty(r.CredentialARN),
			CustomRoleArn: wire.NonEmpty(r.CustomRoleARN), EcrRepositoryPrefix: &r.Prefix, RegistryId: &s.Account,
			UpstreamRegistry: wire.NonEmpty(r.UpstreamRegistry), UpstreamRegistryUrl: &r.UpstreamURL, UpstreamRepositoryPrefix: wire.NonEmpty(r.UpstreamPrefix)})
	}
	out.NextToken = next
	return out, err
}

func (s *service) deleteCacheRule(_ context.Context, in *ecrapi.DeletePullThroughCacheRuleInput) (*ecrapi.DeletePullThroughCacheRuleOutput, error) {
	r, err := s.Store.DeleteCacheRule(*in.EcrRepositoryPrefix)
	if err != nil {
		return nil, shown(err)
	}
	return &ecrapi.DeletePullThroughCacheRuleOutput{CreatedAt: wire.Timestamp(r.CreatedAt), CredentialArn: wire.NonEmpty(r.CredentialARN), CustomRoleArn: wire.NonEmpty(r.CustomRoleARN),
		EcrRepositoryPrefix: &r.Prefix, RegistryId: &s.Account, UpstreamRegistryUrl: &r.UpstreamURL, UpstreamRepositoryPrefix: wire.NonEmpty(r.UpstreamPrefix)}, nil
}

func (s *service) validateCacheRule(ctx context.Context, in *ecrapi.ValidatePullThroughCacheRuleInput) (*ecrapi.ValidatePullThroughCacheRuleOutput, error) {
	r, err := s.Store.CacheRule(*in.EcrRepositoryPrefix)
	if err != nil {
		return nil, shown(err)
	}
	out := &ecrapi.ValidatePullThroughCacheRuleOutput{CredentialArn: wire.NonEmpty(r.CredentialARN), CustomRoleArn: wire.NonEmpty(r.CustomRoleARN), EcrRepositoryPrefix: &r.Prefix,
		IsValid: wire.Bool(true), RegistryId: &s.Account, UpstreamRegistryUrl: &r.UpstreamURL, UpstreamRepositoryPrefix: wire.NonEmpty(r.UpstreamPrefix)}
	if err := s.Store.CheckUpstream(ctx, r); err != nil {
		out.IsValid, out.Failure = wire.Bool(false), wire.String(err.Error())
	}
	return out, nil
}
