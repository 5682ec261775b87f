package ecs

import (
	"context"
	"slices"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

// mergeAttributes sets attributes by name.
func mergeAttributes(old, given []ecsapi.Attribute) []ecsapi.Attribute {
	out := slices.Clone(old)
	for _, at := range given {
		at = ecsapi.Attribute{Name: at.Name, Value: at.Value}
		if i := slices.IndexFunc(out, func(o ecsapi.Attribute) bool { return wire.Value(o.Name) == wire.Value(at.Name) }); i >= 0 {
			out[i] = at
		} else {
			out = append(out, at)
		}
	}
	return out
}

// changeAttributes applies f to the attributes of each target; it returns them with their targets.
func (a *API) changeAttributes(cluster *string, given []ecsapi.Attribute, f func(old []ecsapi.Attribute, one ecsapi.Attribute) ([]ecsapi.Attribute, error)) ([]ecsapi.Attribute, error) {
	if n := len(given); n == 0 || n > 10 {
		return nil, invalid("Attributes must have between 1 and 10 elements.")
	}
	return update(a, func(tx *state.Tx) ([]ecsapi.Attribute, error) {
		c, err := a.cluster(tx, cluster)
		if err != nil {
			return nil, err
		}
		out := []ecsapi.Attribute{}
		for _, at := range given {
			if t := wire.Value(at.TargetType); t != "" && t != "container-instance" {
				return nil, invalid("Unknown target type: %s", t)
			}
			old, ok := a.instance(tx, c, wire.Value(at.TargetId))
			if !ok {
				return nil, wire.Errorf("TargetNotFoundException", "The specified target wasn't found: %s", wire.Value(at.TargetId))
			}
			ci := *old
			if ci.Attributes, err = f(old.Attributes, at); err != nil {
				return nil, err
			}
			ci.Version++
			a.State.ContainerInstances.Put(tx, ci.ARN, &ci)
			out = append(out, ecsapi.Attribute{Name: at.Name, Value: at.Value, TargetId: &ci.ARN, TargetType: wire.String("container-instance")})
		}
		return out, nil
	})
}

func (a *API) putAttributes(_ context.Context, in *ecsapi.PutAttributesInput) (*ecsapi.PutAttributesOutput, error) {
	out, err := a.changeAttributes(in.Cluster, in.Attributes, func(old []ecsapi.Attribute, one ecsapi.Attribute) ([]ecsapi.Attribute, error) {
		return mergeAttributes(old, []ecsapi.Attribute{one}), nil
	})
	return &ecsapi.PutAttributesOutput{Attributes: out}, err
}

func (a *API) deleteAttributes(_ context.Context, in *ecsapi.DeleteAttributesInput) (*ecsapi.DeleteAttributesOutput, error) {
	out, err := a.changeAttributes(in.Cluster, in.Attributes, func(old []ecsapi.Attribute, one ecsapi.Attribute) ([]ecsapi.Attribute, error) {
		return slices.DeleteFunc(slices.Clone(old), func(o ecsapi.Attribute) bool {
			return wire.Value(o.Name) == wire.Value(one.Name) && (one.Value == nil || wire.Value(o.Value) == *one.Value)
		}), nil
	})
	return &ecsapi.DeleteAttributesOutput{Attributes: out}, err
}

func (a *API) listAttributes(_ context.Context, in *ecsapi.ListAttributesInput) (*ecsapi.ListAttributesOutput, error) {
	if *in.TargetType != "container-instance" {
		return nil, invalid("Unknown target type: %s", *in.TargetType)
	}
	return view(a, func(tx *state.Tx) (*ecsapi.ListAttributesOutput, error) {
		c, err := a.cluster(tx, in.Cluster)
		if err != nil {
			return nil, err
		}
		found, keys := map[string]ecsapi.Attribute{}, []string{}
		for _, ci := range a.State.InstancesByCluster.Get(tx, c.Name) {
			if ci.Status == "INACTIVE" {
				continue
			}
			for _, at := range ci.Attributes {
				if in.AttributeName != nil && wire.Value(at.Name) != *in.AttributeName || in.AttributeValue != nil && wire.Value(at.Value) != *in.AttributeValue {
					continue
				}
				k := ci.ARN + "/" + wire.Value(at.Name)
				found[k] = ecsapi.Attribute{Name: at.Name, Value: at.Value, TargetId: &ci.ARN, TargetType: wire.String("container-instance")}
				keys = append(keys, k)
			}
		}
		slices.Sort(keys)
		part, next, err := page(keys, in.NextToken, in.MaxResults, 100)
		out := &ecsapi.ListAttributesOutput{Attributes: []ecsapi.Attribute{}, NextToken: next}
		for _, k := range part {
			out.Attributes = append(out.Attributes, found[k])
		}
		return out, err
	})
}
