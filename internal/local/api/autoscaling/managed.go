package autoscaling

import (
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/autoscalingapi"
)

// What follows is for services that manage groups as ECS does. All of it works inside a transaction
// and changes nothing that is already so.

// ByARN finds a group by ARN or name.
func (s *Service) ByARN(tx *state.Tx, arn string) (*Group, bool) {
	_, name, ok := strings.Cut(arn, ":autoScalingGroupName/")
	if !ok {
		name = arn
	}
	return s.groups.Get(tx, name)
}

// InstanceType is what the group launches first; empty if nothing says.
func (s *Service) InstanceType(tx *state.Tx, g *Group) string {
	if p := g.Spec.MixedInstancesPolicy; p != nil && p.LaunchTemplate != nil && len(p.LaunchTemplate.Overrides) > 0 {
		if t := wire.Value(p.LaunchTemplate.Overrides[0].InstanceType); t != "" {
			return t
		}
	}
	t := g.template()
	if t == nil {
		return ""
	}
	return s.ec2.TemplateType(tx, t.LaunchTemplateId, t.LaunchTemplateName, t.Version)
}

// PolicyWith is the group's policy whose name begins with prefix.
func (s *Service) PolicyWith(tx *state.Tx, group, prefix string) (*Policy, bool) {
	for _, p := range s.policies.Prefix(tx, policyKey(group, prefix)) {
		return p, true
	}
	return nil, false
}

// HookIn gives the group a lifecycle hook if it has none of the name.
func (s *Service) HookIn(tx *state.Tx, group string, in *autoscalingapi.PutLifecycleHookInput) {
	if g, ok := s.groups.Get(tx, group); ok && g.hook(*in.LifecycleHookName) < 0 {
		s.groups.Modify(tx, group, func(g *Group) { g.Hooks = append(slices.Clone(g.Hooks), hookFrom(group, in)) })
	}
}

func (g *Group) hook(name string) int {
	return slices.IndexFunc(g.Hooks, func(h autoscalingapi.LifecycleHook) bool { return *h.LifecycleHookName == name })
}

// DropHookIn takes a hook away; who waits for it goes on.
func (s *Service) DropHookIn(tx *state.Tx, group, hook string) {
	g, ok := s.groups.Get(tx, group)
	if !ok || g.hook(hook) < 0 {
		return
	}
	s.groups.Modify(tx, group, func(g *Group) {
		g.Hooks = slices.DeleteFunc(slices.Clone(g.Hooks), func(h autoscalingapi.LifecycleHook) bool { return *h.LifecycleHookName == hook })
		g.Members = slices.Clone(g.Members)
		for i := range g.Members {
			if g.Members[i].Hook == hook {
				g.Members[i].finishHook()
			}
		}
	})
}

// ContinueIn ends the wait of an instance for a hook.
func (s *Service) ContinueIn(tx *state.Tx, group, instance, hook string) {
	s.groups.Modify(tx, group, func(g *Group) {
		g.Members = slices.Clone(g.Members)
		if m := g.member(instance); m != nil && m.Hook == hook {
			m.finishHook()
		}
	})
}

// ProtectIn sets the scale-in protection of the instances in service.
func (s *Service) ProtectIn(tx *state.Tx, group string, protected func(id string) bool) {
	g, ok := s.groups.Get(tx, group)
	if !ok || !slices.ContainsFunc(g.Members, func(m Member) bool { return m.State == "InService" && m.Protected != protected(m.ID) }) {
		return
	}
	s.groups.Modify(tx, group, func(g *Group) {
		g.Members = slices.Clone(g.Members)
		for i := range g.Members {
			if m := &g.Members[i]; m.State == "InService" {
				m.Protected = protected(m.ID)
			}
		}
	})
}

// TagIn gives the group a tag that its new instances get too, if it has none of the key.
func (s *Service) TagIn(tx *state.Tx, group, key string) {
	g, ok := s.groups.Get(tx, group)
	if !ok || slices.ContainsFunc(g.Spec.Tags, func(t autoscalingapi.TagDescription) bool { return wire.Value(t.Key) == key }) {
		return
	}
	s.groups.Modify(tx, group, func(g *Group) {
		g.Spec.Tags = append(slices.Clone(g.Spec.Tags), tagsOf(group, []autoscalingapi.Tag{{Key: &key, Value: wire.Ptr(""), PropagateAtLaunch: wire.Ptr(true)}})...)
	})
}
