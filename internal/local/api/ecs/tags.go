package ecs

import (
	"context"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

func (a *API) registerTags(svc *wire.Service) {
	wire.Handle(svc, "TagResource", a.tagResource)
	wire.Handle(svc, "UntagResource", a.untagResource)
	wire.Handle(svc, "ListTagsForResource", a.listTagsForResource)
}

const mostTags = 50 // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TagResource.html

// checkTags checks the tags of a request: keys of 1–128 characters, each once, values of up to 256.
func checkTags(tags []ecsapi.Tag) error {
	if len(tags) > mostTags {
		return invalid("A resource can have at most %d tags.", mostTags)
	}
	seen := map[string]bool{}
	for _, t := range tags {
		k := wire.Value(t.Key)
		switch {
		case k == "" || utf8.RuneCountInString(k) > 128:
			return invalid("Invalid tag key: %q. A key has between 1 and 128 characters.", k)
		case utf8.RuneCountInString(wire.Value(t.Value)) > 256:
			return invalid("Invalid value of the tag %q. A value has at most 256 characters.", k)
		case strings.HasPrefix(strings.ToLower(k), "aws:"):
			return invalid("Invalid tag key: %q. The prefix aws: is reserved.", k)
		case seen[k]:
			return invalid("Duplicate tag keys found: %q", k)
		}
		seen[k] = true
	}
	return nil
}

// tagged finds the tags of a resource by ARN, and a way to put others in their place (only in an
// update).
func (a *API) tagged(tx *state.Tx, arn string) (tags []ecsapi.Tag, put func([]ecsapi.Tag), err error) {
	kind, rest, ok := resource(arn)
	if !ok {
		return nil, nil, invalid("Invalid resource ARN: %s", arn)
	}
	switch kind {
	case "cluster":
		if c, ok := a.State.Clusters.Get(tx, rest); ok && c.Status != "INACTIVE" {
			return c.Tags, func(ts []ecsapi.Tag) {
				a.State.Clusters.Modify(tx, rest, func(c *state.Cluster) { c.Tags = ts })
			}, nil
		}
		return nil, nil, wire.Errorf("ClusterNotFoundException", "Cluster not found.")
	case "service":
		if s, ok := a.State.Services.Get(tx, rest); ok && s.Status != "INACTIVE" {
			return s.Tags, func(ts []ecsapi.Tag) {
				a.State.Services.Modify(tx, rest, func(s *state.Service) { s.Tags = ts })
			}, nil
		}
	case "task":
		if t, ok := a.State.Tasks.Get(tx, arn); ok {
			return t.Tags, func(ts []ecsapi.Tag) {
				a.State.Tasks.Modify(tx, arn, func(t *state.Task) { t.Tags = ts })
			}, nil
		}
	case "task-definition":
		if td := a.taskDefinition(tx, arn); td != nil && strings.Contains(rest, ":") {
			return td.Tags, func(ts []ecsapi.Tag) {
				a.State.TaskDefinitions.Modify(tx, state.TaskDefinitionKey(td.Family, td.Revision), func(td *state.TaskDefinition) { td.Tags = ts })
			}, nil
		}
	case "container-instance":
		if ci, ok := a.State.ContainerInstances.Get(tx, arn); ok && ci.Status != "INACTIVE" {
			return ci.Tags, func(ts []ecsapi.Tag) {
				a.State.ContainerInstances.Modify(tx, arn, func(ci *state.ContainerInstance) { ci.Tags = ts })
			}, nil
		}
	case "capacity-provider":
		if p, ok := a.State.CapacityProviders.Get(tx, rest); ok {
			return p.API.Tags, func(ts []ecsapi.Tag) {
				a.State.CapacityProviders.Modify(tx, rest, func(p *state.CapacityProvider) { p.API.Tags = ts })
			}, nil
		}
	default:
		return nil, nil, invalid("Resources of the type %s cannot be tagged.", kind)
	}
	return nil, nil, invalid("The specified resource is not found: %s", arn)
}

func (a *API) tagResource(_ context.Context, in *ecsapi.TagResourceInput) (*ecsapi.TagResourceOutput, error) {
	return update(a, func(tx *state.Tx) (*ecsapi.TagResourceOutput, error) {
		tags, put, err := a.tagged(tx, *in.ResourceArn)
		if err != nil {
			return nil, err
		}
		if err := checkTags(in.Tags); err != nil {
			return nil, err
		}
		out := slices.Clone(tags)
		for _, t := range in.Tags {
			t.Value = or(t.Value, "")
			if i := slices.IndexFunc(out, func(o ecsapi.Tag) bool { return wire.Value(o.Key) == *t.Key }); i >= 0 {
				out[i] = t
			} else {
				out = append(out, t)
			}
		}
		if len(out) > mostTags {
			return nil, invalid("A resource can have at most %d tags.", mostTags)
		}
		put(out)
		return nil, nil
	})
}

func (a *API) untagResource(_ context.Context, in *ecsapi.UntagResourceInput) (*ecsapi.UntagResourceOutput, error) {
	return update(a, func(tx *state.Tx) (*ecsapi.UntagResourceOutput, error) {
		tags, put, err := a.tagged(tx, *in.ResourceArn)
		if err != nil {
			return nil, err
		}
		put(slices.DeleteFunc(slices.Clone(tags), func(t ecsapi.Tag) bool { return slices.Contains(in.TagKeys, wire.Value(t.Key)) }))
		return nil, nil
	})
}

func (a *API) listTagsForResource(_ context.Context, in *ecsapi.ListTagsForResourceInput) (*ecsapi.ListTagsForResourceOutput, error) {
	return view(a, func(tx *state.Tx) (*ecsapi.ListTagsForResourceOutput, error) {
		tags, _, err := a.tagged(tx, *in.ResourceArn)
		if err != nil {
			return nil, err
		}
		return &ecsapi.ListTagsForResourceOutput{Tags: orEmpty(tags)}, nil
	})
}
