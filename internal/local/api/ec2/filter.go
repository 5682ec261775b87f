package ec2

import (
	"path"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ec2api"
)

// filter applies EC2's filters to the values of one resource: every filter must hold, any of its
// values may match, * and ? are wildcards. An unknown name is refused, as EC2 does.
func filter(filters []ec2api.Filter, values map[string][]string, tags []ec2api.Tag) (bool, error) {
	for _, f := range filters {
		name := wire.Value(f.Name)
		have, known := values[name]
		switch key, isTag := strings.CutPrefix(name, "tag:"); {
		case isTag:
			for _, t := range tags {
				if wire.Value(t.Key) == key {
					have = append(have, wire.Value(t.Value))
				}
			}
		case name == "tag-key":
			for _, t := range tags {
				have = append(have, wire.Value(t.Key))
			}
		case !known:
			return false, wire.Errorf("InvalidParameterValue", "The filter '%s' is invalid", name)
		}
		if !slices.ContainsFunc(f.Values, func(want string) bool {
			return slices.ContainsFunc(have, func(h string) bool { return wildcard(want, h) })
		}) {
			return false, nil
		}
	}
	return true, nil
}

func wildcard(pattern, s string) bool {
	if !strings.ContainsAny(pattern, "*?") {
		return pattern == s
	}
	// path.Match's * stops at a slash, EC2's does not; its classes do not exist in EC2.
	clean := strings.NewReplacer("/", "\x01", "[", "\x02", "\\", "\x03").Replace
	ok, err := path.Match(clean(pattern), clean(s))
	return err == nil && ok
}

func mergeTags(have, add []ec2api.Tag) []ec2api.Tag {
	out := slices.Clone(have)
	for _, t := range add {
		out = slices.DeleteFunc(out, func(h ec2api.Tag) bool { return wire.Value(h.Key) == wire.Value(t.Key) })
		out = append(out, t)
	}
	return out
}

// tagsFor are the tags of a request's specifications for one kind of resource.
func tagsFor(specs []ec2api.TagSpecification, kind string) []ec2api.Tag {
	var tags []ec2api.Tag
	for _, s := range specs {
		if wire.Value(s.ResourceType) == kind {
			tags = mergeTags(tags, s.Tags)
		}
	}
	return tags
}
