package elbv2

import (
	"context"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/elbv2api"
)

func (s *Service) registerTags(svc *wire.Service) {
	wire.Handle(svc, "AddTags", s.addTags)
	wire.Handle(svc, "RemoveTags", s.removeTags)
	wire.Handle(svc, "DescribeTags", s.describeTags)
}

// retag changes the tags of whatever resource has the ARN.
func (s *Service) retag(tx *state.Tx, arn string, f func([]elbv2api.Tag) []elbv2api.Tag) error {
	switch {
	case s.balancers.Modify(tx, arn, func(r *LoadBalancer) { r.Tags = f(r.Tags) }),
		s.groups.Modify(tx, arn, func(r *TargetGroup) { r.Tags = f(r.Tags) }),
		s.listeners.Modify(tx, arn, func(r *Listener) { r.Tags = f(r.Tags) }),
		s.rules.Modify(tx, arn, func(r *Rule) { r.Tags = f(r.Tags) }),
		s.trust.Modify(tx, arn, func(r *TrustStore) { r.Tags = f(r.Tags) }):
		return nil
	}
	return missing(arn)
}

// missing is the error of what an ARN names, by its kind.
func missing(arn string) error {
	for kind, code := range map[string]string{":targetgroup/": "TargetGroupNotFound", ":listener/": "ListenerNotFound", ":listener-rule/": "RuleNotFound", ":truststore/": "TrustStoreNotFound"} {
		if strings.Contains(arn, kind) {
			return notFound(code, "resources", arn)
		}
	}
	return notFound("LoadBalancerNotFound", "resources", arn)
}

func (s *Service) addTags(_ context.Context, in *elbv2api.AddTagsInput) (*elbv2api.AddTagsOutput, error) {
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	return &elbv2api.AddTagsOutput{}, s.db.Update(func(tx *state.Tx) error {
		for _, arn := range in.ResourceArns {
			if err := s.retag(tx, arn, func(have []elbv2api.Tag) []elbv2api.Tag { return mergeTags(have, in.Tags) }); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Service) removeTags(_ context.Context, in *elbv2api.RemoveTagsInput) (*elbv2api.RemoveTagsOutput, error) {
	return &elbv2api.RemoveTagsOutput{}, s.db.Update(func(tx *state.Tx) error {
		for _, arn := range in.ResourceArns {
			err := s.retag(tx, arn, func(have []elbv2api.Tag) []elbv2api.Tag {
				return slices.DeleteFunc(slices.Clone(have), func(t elbv2api.Tag) bool { return slices.Contains(in.TagKeys, wire.Value(t.Key)) })
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Service) describeTags(_ context.Context, in *elbv2api.DescribeTagsInput) (*elbv2api.DescribeTagsOutput, error) {
	out := &elbv2api.DescribeTagsOutput{TagDescriptions: []elbv2api.TagDescription{}}
	return out, s.db.View(func(tx *state.Tx) error {
		for _, arn := range in.ResourceArns {
			tags := []elbv2api.Tag{}
			if r, ok := s.balancers.Get(tx, arn); ok {
				tags = append(tags, r.Tags...)
			} else if r, ok := s.groups.Get(tx, arn); ok {
				tags = append(tags, r.Tags...)
			} else if r, ok := s.listeners.Get(tx, arn); ok {
				tags = append(tags, r.Tags...)
			} else if r, ok := s.rules.Get(tx, arn); ok {
				tags = append(tags, r.Tags...)
			} else if r, ok := s.trust.Get(tx, arn); ok {
				tags = append(tags, r.Tags...)
			} else {
				return missing(arn)
			}
			out.TagDescriptions = append(out.TagDescriptions, elbv2api.TagDescription{ResourceArn: wire.Ptr(arn), Tags: tags})
		}
		return nil
	})
}
