package ssm

import (
	"context"
	"regexp"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ssmapi"
)

func (s *Service) history(_ context.Context, in *ssmapi.GetParameterHistoryInput) (*ssmapi.GetParameterHistoryOutput, error) {
	out := &ssmapi.GetParameterHistoryOutput{Parameters: []ssmapi.ParameterHistory{}}
	err := s.db.View(func(tx *state.Tx) error {
		p, _, _, err := s.find(tx, wire.Value(in.Name))
		if err != nil {
			return err
		}
		for _, v := range p.Versions {
			value := v.Value
			if v.Type == "SecureString" && !wire.Value(in.WithDecryption) {
				value = ciphertext(p.Name, v.Number)
			}
			out.Parameters = append(out.Parameters, ssmapi.ParameterHistory{Name: &p.Name, Type: wire.Ptr(v.Type), KeyId: opt(v.KeyID),
				LastModifiedDate: wire.Timestamp(v.At), LastModifiedUser: wire.Ptr(v.ModifiedBy), Description: opt(v.Description), Value: &value,
				Version: wire.Ptr(v.Number), Labels: slices.Clone(v.Labels), Tier: wire.Ptr(v.Tier), DataType: wire.Ptr(v.DataType)})
		}
		return nil
	})
	return out, err
}

func (s *Service) describe(_ context.Context, in *ssmapi.DescribeParametersInput) (*ssmapi.DescribeParametersOutput, error) {
	out := &ssmapi.DescribeParametersOutput{Parameters: []ssmapi.ParameterMetadata{}}
	limit := int(or(wire.Value(in.MaxResults), 50))
	err := s.db.View(func(tx *state.Tx) error {
		for name, p := range s.parameters.From(tx, wire.Value(in.NextToken)) {
			v := p.Versions[len(p.Versions)-1]
			ok, err := matches(p, v, in)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			if len(out.Parameters) == limit {
				out.NextToken = wire.Ptr(name)
				break
			}
			out.Parameters = append(out.Parameters, ssmapi.ParameterMetadata{Name: &p.Name, ARN: &p.ARN, Type: wire.Ptr(v.Type), KeyId: opt(v.KeyID),
				LastModifiedDate: wire.Timestamp(v.At), LastModifiedUser: wire.Ptr(v.ModifiedBy), Description: opt(v.Description),
				AllowedPattern: opt(v.AllowedPattern), Version: wire.Ptr(v.Number), Tier: wire.Ptr(v.Tier), DataType: wire.Ptr(v.DataType)})
		}
		return nil
	})
	return out, err
}

func matches(p *Parameter, v Version, in *ssmapi.DescribeParametersInput) (bool, error) {
	for _, f := range in.Filters {
		if !matchField(wire.Value(f.Key), "Equals", f.Values, p, v) {
			return false, nil
		}
	}
	for _, f := range in.ParameterFilters {
		option := or(wire.Value(f.Option), "Equals")
		switch key := wire.Value(f.Key); {
		case key == "Name" || key == "Type" || key == "KeyId" || key == "Tier" || key == "DataType" || key == "Path" || strings.HasPrefix(key, "tag:"):
		default:
			return false, wire.Errorf("InvalidFilterKey", "The specified key isn't valid: %s", key)
		}
		if !matchField(wire.Value(f.Key), option, f.Values, p, v) {
			return false, nil
		}
	}
	return true, nil
}

func matchField(key, option string, values []string, p *Parameter, v Version) bool {
	if tag, ok := strings.CutPrefix(key, "tag:"); ok {
		return slices.ContainsFunc(p.Tags, func(t ssmapi.Tag) bool {
			return wire.Value(t.Key) == tag && (len(values) == 0 || slices.Contains(values, wire.Value(t.Value)))
		})
	}
	have := map[string]string{"Name": p.Name, "Type": v.Type, "KeyId": v.KeyID, "Tier": v.Tier, "DataType": v.DataType, "Path": p.Name}[key]
	return slices.ContainsFunc(values, func(want string) bool {
		switch {
		case key == "Path" && option == "OneLevel":
			rest, ok := strings.CutPrefix(have, strings.TrimSuffix(want, "/")+"/")
			return ok && !strings.Contains(rest, "/")
		case key == "Path":
			return strings.HasPrefix(have, strings.TrimSuffix(want, "/")+"/")
		case option == "BeginsWith":
			return strings.HasPrefix(have, want)
		case option == "Contains":
			return strings.Contains(have, want)
		}
		return have == want
	})
}

func (s *Service) delete(_ context.Context, in *ssmapi.DeleteParameterInput) (*ssmapi.DeleteParameterOutput, error) {
	return &ssmapi.DeleteParameterOutput{}, s.db.Update(func(tx *state.Tx) error {
		if !s.parameters.Delete(tx, wire.Value(in.Name)) {
			return wire.Errorf("ParameterNotFound", "")
		}
		return nil
	})
}

func (s *Service) deleteMany(_ context.Context, in *ssmapi.DeleteParametersInput) (*ssmapi.DeleteParametersOutput, error) {
	out := &ssmapi.DeleteParametersOutput{DeletedParameters: []string{}, InvalidParameters: []string{}}
	return out, s.db.Update(func(tx *state.Tx) error {
		for _, n := range in.Names {
			if s.parameters.Delete(tx, n) {
				out.DeletedParameters = append(out.DeletedParameters, n)
			} else {
				out.InvalidParameters = append(out.InvalidParameters, n)
			}
		}
		return nil
	})
}

var validLabel = regexp.MustCompile(`^[a-zA-Z_.\-][a-zA-Z0-9_.\-]{0,99}$`)

func (s *Service) label(_ context.Context, in *ssmapi.LabelParameterVersionInput) (*ssmapi.LabelParameterVersionOutput, error) {
	out := &ssmapi.LabelParameterVersionOutput{InvalidLabels: []string{}}
	var good []string
	for _, l := range in.Labels {
		if low := strings.ToLower(l); !validLabel.MatchString(l) || strings.HasPrefix(low, "aws") || strings.HasPrefix(low, "ssm") {
			out.InvalidLabels = append(out.InvalidLabels, l)
			continue
		}
		good = append(good, l)
	}
	return out, s.relabel(wire.Value(in.Name), in.ParameterVersion, func(v *Version, is bool) error {
		labels := slices.DeleteFunc(slices.Clone(v.Labels), func(l string) bool { return slices.Contains(good, l) })
		if is {
			labels = append(labels, good...)
			if len(labels) > 10 {
				return wire.Errorf("ParameterVersionLabelLimitExceeded", "A parameter version can have a maximum of ten labels.")
			}
			out.ParameterVersion = wire.Ptr(v.Number)
		}
		sort.Strings(labels)
		v.Labels = labels
		return nil
	})
}

func (s *Service) unlabel(_ context.Context, in *ssmapi.UnlabelParameterVersionInput) (*ssmapi.UnlabelParameterVersionOutput, error) {
	out := &ssmapi.UnlabelParameterVersionOutput{RemovedLabels: []string{}, InvalidLabels: []string{}}
	return out, s.relabel(wire.Value(in.Name), in.ParameterVersion, func(v *Version, is bool) error {
		if !is {
			return nil
		}
		for _, l := range in.Labels {
			if contains(v.Labels, l) {
				out.RemovedLabels = append(out.RemovedLabels, l)
			} else {
				out.InvalidLabels = append(out.InvalidLabels, l)
			}
		}
		v.Labels = slices.DeleteFunc(slices.Clone(v.Labels), func(l string) bool { return slices.Contains(in.Labels, l) })
		return nil
	})
}

// relabel changes the labels of every version of a parameter; is tells f which one was named (the
// newest, if none was).
func (s *Service) relabel(name string, version *int64, f func(v *Version, is bool) error) error {
	return s.db.Update(func(tx *state.Tx) error {
		old, ok := s.parameters.Get(tx, name)
		if !ok {
			return wire.Errorf("ParameterNotFound", "")
		}
		p := *old
		p.Versions = slices.Clone(old.Versions)
		want, found := or(wire.Value(version), p.Versions[len(p.Versions)-1].Number), false
		for i := range p.Versions {
			is := p.Versions[i].Number == want
			found = found || is
			if err := f(&p.Versions[i], is); err != nil {
				return err
			}
		}
		if !found {
			return wire.Errorf("ParameterVersionNotFound", "Systems Manager could not find version %d of %s. Verify the version and try again.", want, name)
		}
		s.parameters.Put(tx, name, &p)
		return nil
	})
}

func (s *Service) tag(_ context.Context, in *ssmapi.AddTagsToResourceInput) (*ssmapi.AddTagsToResourceOutput, error) {
	return &ssmapi.AddTagsToResourceOutput{}, s.retag(wire.Value(in.ResourceId), func(tags []ssmapi.Tag) []ssmapi.Tag {
		for _, t := range in.Tags {
			tags = append(without(tags, wire.Value(t.Key)), t)
		}
		return tags
	})
}

func (s *Service) untag(_ context.Context, in *ssmapi.RemoveTagsFromResourceInput) (*ssmapi.RemoveTagsFromResourceOutput, error) {
	return &ssmapi.RemoveTagsFromResourceOutput{}, s.retag(wire.Value(in.ResourceId), func(tags []ssmapi.Tag) []ssmapi.Tag {
		for _, k := range in.TagKeys {
			tags = without(tags, k)
		}
		return tags
	})
}

func (s *Service) retag(name string, f func([]ssmapi.Tag) []ssmapi.Tag) error {
	return s.db.Update(func(tx *state.Tx) error {
		if !s.parameters.Modify(tx, name, func(p *Parameter) { p.Tags = f(slices.Clone(p.Tags)) }) {
			return wire.Errorf("InvalidResourceId", "The resource ID isn't valid. Verify that you entered the correct ID and try again.")
		}
		return nil
	})
}

func without(tags []ssmapi.Tag, key string) []ssmapi.Tag {
	return slices.DeleteFunc(tags, func(t ssmapi.Tag) bool { return wire.Value(t.Key) == key })
}

func (s *Service) tags(_ context.Context, in *ssmapi.ListTagsForResourceInput) (*ssmapi.ListTagsForResourceOutput, error) {
	out := &ssmapi.ListTagsForResourceOutput{TagList: []ssmapi.Tag{}}
	return out, s.db.View(func(tx *state.Tx) error {
		p, ok := s.parameters.Get(tx, wire.Value(in.ResourceId))
		if !ok {
			return wire.Errorf("InvalidResourceId", "The resource ID isn't valid. Verify that you entered the correct ID and try again.")
		}
		out.TagList = append(out.TagList, p.Tags...)
		return nil
	})
}

// The ids that the local EC2 knows as ECS-optimized images, behind the public parameters of
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/retrieve-ecs-optimized_AMI.html
var optimizedImages = map[string]string{
	"amazon-linux-2023": "ami-0510ca10ca10ca230", "amazon-linux-2023/arm64": "ami-0510ca10ca10ca231",
	"amazon-linux-2": "ami-0510ca10ca10ca020", "amazon-linux-2/arm64": "ami-0510ca10ca10ca021",
	"bottlerocket": "ami-0510ca10ca10ca0b0",
}

var publicSince = time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)

func publicParameter(name string) (Version, bool) {
	rest, ok := strings.CutPrefix(name, "/aws/service/ecs/optimized-ami/")
	if !ok {
		return Version{}, false
	}
	v := Version{Number: 1, Type: "String", Tier: "Standard", DataType: "text", At: publicSince}
	family, isID := strings.CutSuffix(rest, "/recommended/image_id")
	if !isID {
		family, ok = strings.CutSuffix(rest, "/recommended")
		if !ok {
			return Version{}, false
		}
	}
	id, ok := optimizedImages[family]
	if !ok {
		return Version{}, false
	}
	v.Value = id
	if !isID {
		v.Value = `{"schema_version":1,"image_name":"` + strings.ReplaceAll(family, "/", "-") + `-ecs-optimized-local","image_id":"` + id + `","os":"` + family + `","ecs_agent_version":"1.99.0"}`
	}
	return v, true
}

func opt(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
