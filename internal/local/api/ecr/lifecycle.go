package ecr

import (
	"context"
	"fmt"
	"strings"

	"github.com/slipway-ecs/slipway/internal/image/lifecycle"
	"github.com/slipway-ecs/slipway/internal/local/registry"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecrapi"
)

func (s *service) lifecycle(svc *wire.Service) {
	handle(svc, s, "PutLifecyclePolicy", (*service).putLifecycle)
	handle(svc, s, "GetLifecyclePolicy", (*service).getLifecycle)
	handle(svc, s, "DeleteLifecyclePolicy", (*service).deleteLifecycle)
	handle(svc, s, "StartLifecyclePolicyPreview", (*service).startPreview)
	handle(svc, s, "GetLifecyclePolicyPreview", (*service).getPreview)
}

// parse checks a policy. The error has every violation; ECR's has the first it finds.
func parse(text string) (lifecycle.Policy, error) {
	switch n := len([]rune(text)); {
	case n < lifecycle.MinTextLength:
		return lifecycle.Policy{}, invalid("lifecyclePolicyText", fmt.Sprintf("Member must have length greater than or equal to %d", lifecycle.MinTextLength))
	case n > lifecycle.MaxTextLength:
		return lifecycle.Policy{}, invalid("lifecyclePolicyText", fmt.Sprintf("Member must have length less than or equal to %d", lifecycle.MaxTextLength))
	}
	p, violations := lifecycle.Parse(text)
	if len(violations) == 0 {
		return p, nil
	}
	var list []string
	for _, v := range violations {
		list = append(list, v.String())
	}
	return p, invalid("LifecyclePolicyText", "Lifecycle policy validation failure: "+strings.Join(list, "; "))
}

func (s *service) putLifecycle(ctx context.Context, in *ecrapi.PutLifecyclePolicyInput) (*ecrapi.PutLifecyclePolicyOutput, error) {
	text := *in.LifecyclePolicyText
	if _, err := parse(text); err != nil {
		return nil, err
	}
	r, err := s.change(ctx, in.RegistryId, in.RepositoryName, "PutLifecyclePolicy", func(r *registry.Repository) error {
		r.Lifecycle = text
		return nil
	})
	if err != nil {
		return nil, err
	}
	// AWS applies it within 24 hours; here it is applied at once, so that what it does is seen.
	if _, _, err := s.Store.ApplyLifecycle(r.Name); err != nil {
		return nil, shown(err)
	}
	return &ecrapi.PutLifecyclePolicyOutput{LifecyclePolicyText: &text, RegistryId: &s.Account, RepositoryName: &r.Name}, nil
}

func (s *service) noLifecycle(name string) *wire.Error {
	return wire.Errorf("LifecyclePolicyNotFoundException", "Lifecycle policy does not exist for the repository with name '%s' in the registry with id '%s'", name, s.Account)
}

func (s *service) getLifecycle(ctx context.Context, in *ecrapi.GetLifecyclePolicyInput) (*ecrapi.GetLifecyclePolicyOutput, error) {
	r, err := s.repository(ctx, in.RegistryId, in.RepositoryName, "GetLifecyclePolicy")
	if err != nil {
		return nil, err
	}
	if r.Lifecycle == "" {
		return nil, s.noLifecycle(r.Name)
	}
	return &ecrapi.GetLifecyclePolicyOutput{LastEvaluatedAt: wire.Timestamp(r.EvaluatedAt), LifecyclePolicyText: &r.Lifecycle, RegistryId: &s.Account, RepositoryName: &r.Name}, nil
}

func (s *service) deleteLifecycle(ctx context.Context, in *ecrapi.DeleteLifecyclePolicyInput) (*ecrapi.DeleteLifecyclePolicyOutput, error) {
	var old registry.Repository
	r, err := s.change(ctx, in.RegistryId, in.RepositoryName, "DeleteLifecyclePolicy", func(r *registry.Repository) error {
		old = *r
		if r.Lifecycle == "" {
			return s.noLifecycle(r.Name)
		}
		r.Lifecycle = ""
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ecrapi.DeleteLifecyclePolicyOutput{LastEvaluatedAt: wire.Timestamp(old.EvaluatedAt), LifecyclePolicyText: &old.Lifecycle, RegistryId: &s.Account, RepositoryName: &r.Name}, nil
}

func (s *service) startPreview(ctx context.Context, in *ecrapi.StartLifecyclePolicyPreviewInput) (*ecrapi.StartLifecyclePolicyPreviewOutput, error) {
	r, err := s.repository(ctx, in.RegistryId, in.RepositoryName, "StartLifecyclePolicyPreview")
	if err != nil {
		return nil, err
	}
	text := wire.Value(in.LifecyclePolicyText)
	if in.LifecyclePolicyText == nil {
		if text = r.Lifecycle; text == "" {
			return nil, s.noLifecycle(r.Name)
		}
	}
	policy, err := parse(text)
	if err != nil {
		return nil, err
	}
	if err := s.Store.StartPreview(r.Name, text, policy); err != nil {
		return nil, shown(err)
	}
	return &ecrapi.StartLifecyclePolicyPreviewOutput{LifecyclePolicyText: &text, RegistryId: &s.Account, RepositoryName: &r.Name, Status: wire.String("IN_PROGRESS")}, nil
}

func (s *service) getPreview(ctx context.Context, in *ecrapi.GetLifecyclePolicyPreviewInput) (*ecrapi.GetLifecyclePolicyPreviewOutput, error) {
	r, err := s.repository(ctx, in.RegistryId, in.RepositoryName, "GetLifecyclePolicyPreview")
	if err != nil {
		return nil, err
	}
	p := r.Preview
	if p == nil {
		return nil, wire.Errorf("LifecyclePolicyPreviewNotFoundException", "Lifecycle policy preview does not exist for the repository with name '%s' in the registry with id '%s'", r.Name, s.Account)
	}
	out := &ecrapi.GetLifecyclePolicyPreviewOutput{LifecyclePolicyText: &p.Policy, RegistryId: &s.Account, RepositoryName: &r.Name,
		Status: wire.String("COMPLETE"), Summary: summary(p), PreviewResults: []ecrapi.LifecyclePolicyPreviewResult{}}
	results := previewResults(p, in)
	results, out.NextToken, err = page(results, func(k keyed) string { return k.key }, in.MaxResults, in.NextToken, 100)
	for _, k := range results {
		out.PreviewResults = append(out.PreviewResults, k.result)
	}
	return out, err
}

func summary(p *registry.Preview) *ecrapi.LifecyclePolicyPreviewSummary {
	out := &ecrapi.LifecyclePolicyPreviewSummary{ExpiringImageTotalCount: wire.Int32(len(p.Expired))}
	if n := len(p.Archived); n > 0 {
		out.TransitioningImageTotalCounts = []ecrapi.TransitioningImageTotalCount{{ImageTotalCount: wire.Int32(n), TargetStorageClass: wire.String("ARCHIVE")}}
	}
	return out
}

// keyed is a result with its place: expired before archived, oldest first, as they were evaluated.
type keyed struct {
	key    string
	result ecrapi.LifecyclePolicyPreviewResult
}

func previewResults(p *registry.Preview, in *ecrapi.GetLifecyclePolicyPreviewInput) []keyed {
	var out []keyed
	status := wire.Value(wire.Value(in.Filter).TagStatus)
	add := func(list []registry.PreviewedImage, group string, action ecrapi.LifecyclePolicyRuleAction) {
		for i, im := range list {
			if status == "TAGGED" && len(im.Tags) == 0 || status == "UNTAGGED" && len(im.Tags) > 0 || !asked(in.ImageIds, im) {
				continue
			}
			out = append(out, keyed{fmt.Sprintf("%s%09d", group, i), ecrapi.LifecyclePolicyPreviewResult{
				Action: &action, AppliedRulePriority: wire.Int32(im.RulePriority), ImageDigest: &im.Digest,
				ImagePushedAt: wire.Timestamp(im.PushedAt), ImageTags: im.Tags, StorageClass: wire.String(im.StorageClass),
			}})
		}
	}
	add(p.Expired, "a", ecrapi.LifecyclePolicyRuleAction{Type: wire.String("EXPIRE")})
	add(p.Archived, "b", ecrapi.LifecyclePolicyRuleAction{Type: wire.String("TRANSITION"), TargetStorageClass: wire.String("ARCHIVE")})
	return out
}

// asked tells whether the image is among the ids, or no ids were given.
func asked(ids []ecrapi.ImageIdentifier, im registry.PreviewedImage) bool {
	if len(ids) == 0 {
		return true
	}
	for _, i := range ids {
		id := idOf(i)
		if id.Digest == im.Digest {
			return true
		}
		for _, t := range im.Tags {
			if id.Digest == "" && id.Tag == t {
				return true
			}
		}
	}
	return false
}
