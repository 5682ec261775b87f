package iam

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/iamapi"
)

func (s *Service) registerProfiles(svc *wire.Service) {
	wire.Handle(svc, "CreateInstanceProfile", s.createProfile)
	wire.Handle(svc, "GetInstanceProfile", s.getProfile)
	wire.Handle(svc, "DeleteInstanceProfile", s.deleteProfile)
	wire.Handle(svc, "AddRoleToInstanceProfile", s.addRole)
	wire.Handle(svc, "RemoveRoleFromInstanceProfile", s.removeRole)
	wire.Handle(svc, "ListInstanceProfiles", s.listProfiles)
	wire.Handle(svc, "ListInstanceProfilesForRole", s.profilesForRole)
}

func (s *Service) profileAPI(tx *state.Tx, p *Profile) *iamapi.InstanceProfile {
	out := &iamapi.InstanceProfile{InstanceProfileName: &p.Name, InstanceProfileId: &p.ID, Arn: &p.ARN, Path: &p.Path, CreateDate: wire.Timestamp(p.CreatedAt), Roles: []iamapi.Role{}, Tags: p.Tags}
	for _, name := range p.Roles {
		if r, ok := s.roles.Get(tx, name); ok {
			out.Roles = append(out.Roles, *r.api())
		}
	}
	return out
}

func (s *Service) createProfile(ctx context.Context, in *iamapi.CreateInstanceProfileInput) (*iamapi.CreateInstanceProfileOutput, error) {
	name := wire.Value(in.InstanceProfileName)
	if err := checkName(name); err != nil {
		return nil, err
	}
	path := cmp.Or(wire.Value(in.Path), "/")
	p := &Profile{Name: name, ID: newID("AIPA"), Path: path, ARN: "arn:aws:iam::" + wire.Caller(ctx).Account + ":instance-profile" + path + name, Tags: in.Tags, CreatedAt: s.clock.Now()}
	out := &iamapi.CreateInstanceProfileOutput{}
	return out, s.db.Update(func(tx *state.Tx) error {
		if _, ok := s.profiles.Get(tx, name); ok {
			return conflict("EntityAlreadyExists", "Instance Profile %s already exists.", name)
		}
		if err := full(s.profiles.Len(tx), quotaProfiles, "InstanceProfilesPerAccount"); err != nil {
			return err
		}
		s.profiles.Put(tx, name, p)
		out.InstanceProfile = s.profileAPI(tx, p)
		return nil
	})
}

func (s *Service) getProfile(_ context.Context, in *iamapi.GetInstanceProfileInput) (*iamapi.GetInstanceProfileOutput, error) {
	out := &iamapi.GetInstanceProfileOutput{}
	return out, s.db.View(func(tx *state.Tx) error {
		p, ok := s.profiles.Get(tx, wire.Value(in.InstanceProfileName))
		if !ok {
			return missing("instance profile", wire.Value(in.InstanceProfileName))
		}
		out.InstanceProfile = s.profileAPI(tx, p)
		return nil
	})
}

func (s *Service) deleteProfile(_ context.Context, in *iamapi.DeleteInstanceProfileInput) (*iamapi.DeleteInstanceProfileOutput, error) {
	name := wire.Value(in.InstanceProfileName)
	return &iamapi.DeleteInstanceProfileOutput{}, s.db.Update(func(tx *state.Tx) error {
		p, ok := s.profiles.Get(tx, name)
		switch {
		case !ok:
			return missing("instance profile", name)
		case len(p.Roles) > 0:
			return conflict("DeleteConflict", "Cannot delete entity, must remove roles from instance profile first.")
		}
		s.profiles.Delete(tx, name)
		return nil
	})
}

func (s *Service) addRole(_ context.Context, in *iamapi.AddRoleToInstanceProfileInput) (*iamapi.AddRoleToInstanceProfileOutput, error) {
	return &iamapi.AddRoleToInstanceProfileOutput{}, s.db.Update(func(tx *state.Tx) error {
		if _, ok := s.roles.Get(tx, wire.Value(in.RoleName)); !ok {
			return missing("role", wire.Value(in.RoleName))
		}
		p, ok := s.profiles.Get(tx, wire.Value(in.InstanceProfileName))
		switch {
		case !ok:
			return missing("instance profile", wire.Value(in.InstanceProfileName))
		case len(p.Roles) > 0:
			return conflict("LimitExceeded", "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1")
		}
		s.profiles.Modify(tx, p.Name, func(p *Profile) { p.Roles = []string{wire.Value(in.RoleName)} })
		return nil
	})
}

func (s *Service) removeRole(_ context.Context, in *iamapi.RemoveRoleFromInstanceProfileInput) (*iamapi.RemoveRoleFromInstanceProfileOutput, error) {
	return &iamapi.RemoveRoleFromInstanceProfileOutput{}, s.db.Update(func(tx *state.Tx) error {
		p, ok := s.profiles.Get(tx, wire.Value(in.InstanceProfileName))
		if !ok || !slices.Contains(p.Roles, wire.Value(in.RoleName)) {
			return missing("role", wire.Value(in.RoleName))
		}
		s.profiles.Modify(tx, p.Name, func(p *Profile) { p.Roles = nil })
		return nil
	})
}

func (s *Service) listProfiles(_ context.Context, in *iamapi.ListInstanceProfilesInput) (*iamapi.ListInstanceProfilesOutput, error) {
	out := &iamapi.ListInstanceProfilesOutput{InstanceProfiles: []iamapi.InstanceProfile{}, IsTruncated: wire.Ptr(false)}
	return out, s.db.View(func(tx *state.Tx) error {
		for _, p := range s.profiles.All(tx) {
			if strings.HasPrefix(p.Path, wire.Value(in.PathPrefix)) {
				out.InstanceProfiles = append(out.InstanceProfiles, *s.profileAPI(tx, p))
			}
		}
		return nil
	})
}

func (s *Service) profilesForRole(_ context.Context, in *iamapi.ListInstanceProfilesForRoleInput) (*iamapi.ListInstanceProfilesForRoleOutput, error) {
	out := &iamapi.ListInstanceProfilesForRoleOutput{InstanceProfiles: []iamapi.InstanceProfile{}, IsTruncated: wire.Ptr(false)}
	return out, s.db.View(func(tx *state.Tx) error {
		if _, ok := s.roles.Get(tx, wire.Value(in.RoleName)); !ok {
			return missing("role", wire.Value(in.RoleName))
		}
		for _, p := range s.profiles.All(tx) {
			if slices.Contains(p.Roles, wire.Value(in.RoleName)) {
				out.InstanceProfiles = append(out.InstanceProfiles, *s.profileAPI(tx, p))
			}
		}
		return nil
	})
}

func (s *Service) registerPolicies(svc *wire.Service) {
	wire.Handle(svc, "CreatePolicy", s.createPolicy)
	wire.Handle(svc, "GetPolicy", s.getPolicy)
	wire.Handle(svc, "GetPolicyVersion", s.getVersion)
	wire.Handle(svc, "CreatePolicyVersion", s.createVersion)
	wire.Handle(svc, "DeletePolicyVersion", s.deleteVersion)
	wire.Handle(svc, "ListPolicyVersions", s.listVersions)
	wire.Handle(svc, "DeletePolicy", s.deletePolicy)
	wire.Handle(svc, "ListPolicies", s.listPolicies)
}

func (s *Service) policyAPI(tx *state.Tx, p *Policy) iamapi.Policy {
	n := int32(0)
	for _, r := range s.roles.All(tx) {
		if slices.Contains(r.Attached, p.ARN) {
			n++
		}
	}
	for _, u := range s.users.All(tx) {
		if slices.Contains(u.Attached, p.ARN) {
			n++
		}
	}
	return iamapi.Policy{PolicyName: &p.Name, PolicyId: &p.ID, Arn: &p.ARN, Path: &p.Path, DefaultVersionId: &p.Default, AttachmentCount: &n, IsAttachable: wire.Ptr(true),
		Description: optional(p.Description), CreateDate: wire.Timestamp(p.CreatedAt), UpdateDate: wire.Timestamp(p.UpdatedAt), Tags: p.Tags}
}

func (s *Service) createPolicy(ctx context.Context, in *iamapi.CreatePolicyInput) (*iamapi.CreatePolicyOutput, error) {
	name, doc := wire.Value(in.PolicyName), wire.Value(in.PolicyDocument)
	if err := cmpErr(checkName(name), checkDocument(doc)); err != nil {
		return nil, err
	}
	path, now := cmp.Or(wire.Value(in.Path), "/"), s.clock.Now()
	p := &Policy{Name: name, ID: newID("ANPA"), Path: path, ARN: "arn:aws:iam::" + wire.Caller(ctx).Account + ":policy" + path + name, Description: wire.Value(in.Description),
		Default: "v1", Versions: []PolicyVersion{{"v1", doc, now}}, Tags: in.Tags, CreatedAt: now, UpdatedAt: now}
	out := &iamapi.CreatePolicyOutput{}
	return out, s.db.Update(func(tx *state.Tx) error {
		if _, ok := s.policies.Get(tx, p.ARN); ok {
			return conflict("EntityAlreadyExists", "A policy called %s already exists. Duplicate names are not allowed.", name)
		}
		if err := full(s.policies.Len(tx), quotaPolicies, "PoliciesPerAccount"); err != nil {
			return err
		}
		s.policies.Put(tx, p.ARN, p)
		out.Policy = wire.Ptr(s.policyAPI(tx, p))
		return nil
	})
}

func (s *Service) policy(tx *state.Tx, arn string) (*Policy, error) {
	p, ok := s.policies.Get(tx, arn)
	if !ok {
		e := wire.Errorf("NoSuchEntity", "Policy %s does not exist or is not attachable.", arn)
		e.Status = 404
		return nil, e
	}
	return p, nil
}

func (s *Service) getPolicy(_ context.Context, in *iamapi.GetPolicyInput) (*iamapi.GetPolicyOutput, error) {
	out := &iamapi.GetPolicyOutput{}
	return out, s.db.View(func(tx *state.Tx) error {
		p, err := s.policy(tx, wire.Value(in.PolicyArn))
		if err == nil {
			out.Policy = wire.Ptr(s.policyAPI(tx, p))
		}
		return err
	})
}

func (p *Policy) version(v PolicyVersion) iamapi.PolicyVersion {
	return iamapi.PolicyVersion{VersionId: wire.Ptr(v.ID), Document: wire.Ptr(escape(v.Document)), IsDefaultVersion: wire.Ptr(v.ID == p.Default), CreateDate: wire.Timestamp(v.CreatedAt)}
}

func (s *Service) getVersion(_ context.Context, in *iamapi.GetPolicyVersionInput) (*iamapi.GetPolicyVersionOutput, error) {
	out := &iamapi.GetPolicyVersionOutput{}
	return out, s.db.View(func(tx *state.Tx) error {
		p, err := s.policy(tx, wire.Value(in.PolicyArn))
		if err != nil {
			return err
		}
		for _, v := range p.Versions {
			if v.ID == wire.Value(in.VersionId) {
				out.PolicyVersion = wire.Ptr(p.version(v))
				return nil
			}
		}
		return missing("policy version", wire.Value(in.VersionId))
	})
}

func (s *Service) createVersion(_ context.Context, in *iamapi.CreatePolicyVersionInput) (*iamapi.CreatePolicyVersionOutput, error) {
	if err := checkDocument(wire.Value(in.PolicyDocument)); err != nil {
		return nil, err
	}
	out := &iamapi.CreatePolicyVersionOutput{}
	return out, s.db.Update(func(tx *state.Tx) error {
		old, err := s.policy(tx, wire.Value(in.PolicyArn))
		if err != nil {
			return err
		}
		if len(old.Versions) >= 5 {
			return conflict("LimitExceeded", "A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version.")
		}
		p := *old
		var n int
		_, _ = fmt.Sscanf(p.Versions[len(p.Versions)-1].ID, "v%d", &n)
		v := PolicyVersion{fmt.Sprintf("v%d", n+1), wire.Value(in.PolicyDocument), s.clock.Now()}
		p.Versions, p.UpdatedAt = append(slices.Clone(p.Versions), v), v.CreatedAt
		if wire.Value(in.SetAsDefault) {
			p.Default = v.ID
		}
		s.policies.Put(tx, p.ARN, &p)
		out.PolicyVersion = wire.Ptr(p.version(v))
		return nil
	})
}

func (s *Service) deleteVersion(_ context.Context, in *iamapi.DeletePolicyVersionInput) (*iamapi.DeletePolicyVersionOutput, error) {
	return &iamapi.DeletePolicyVersionOutput{}, s.db.Update(func(tx *state.Tx) error {
		p, err := s.policy(tx, wire.Value(in.PolicyArn))
		if err != nil {
			return err
		}
		if p.Default == wire.Value(in.VersionId) {
			return conflict("DeleteConflict", "Cannot delete the default version of a policy.")
		}
		s.policies.Modify(tx, p.ARN, func(p *Policy) {
			p.Versions = slices.DeleteFunc(slices.Clone(p.Versions), func(v PolicyVersion) bool { return v.ID == wire.Value(in.VersionId) })
		})
		return nil
	})
}

func (s *Service) listVersions(_ context.Context, in *iamapi.ListPolicyVersionsInput) (*iamapi.ListPolicyVersionsOutput, error) {
	out := &iamapi.ListPolicyVersionsOutput{Versions: []iamapi.PolicyVersion{}, IsTruncated: wire.Ptr(false)}
	return out, s.db.View(func(tx *state.Tx) error {
		p, err := s.policy(tx, wire.Value(in.PolicyArn))
		if err != nil {
			return err
		}
		for _, v := range slices.Backward(p.Versions) {
			out.Versions = append(out.Versions, p.version(v))
		}
		return nil
	})
}

func (s *Service) deletePolicy(_ context.Context, in *iamapi.DeletePolicyInput) (*iamapi.DeletePolicyOutput, error) {
	return &iamapi.DeletePolicyOutput{}, s.db.Update(func(tx *state.Tx) error {
		p, err := s.policy(tx, wire.Value(in.PolicyArn))
		if err != nil {
			return err
		}
		switch api := s.policyAPI(tx, p); {
		case *api.AttachmentCount > 0:
			return conflict("DeleteConflict", "Cannot delete a policy attached to entities.")
		case len(p.Versions) > 1:
			return conflict("DeleteConflict", "This policy has more than one version. Before you delete a policy, you must delete the policy's versions.")
		}
		s.policies.Delete(tx, p.ARN)
		return nil
	})
}

func (s *Service) listPolicies(_ context.Context, in *iamapi.ListPoliciesInput) (*iamapi.ListPoliciesOutput, error) {
	out := &iamapi.ListPoliciesOutput{Policies: []iamapi.Policy{}, IsTruncated: wire.Ptr(false)}
	if wire.Value(in.Scope) == "AWS" {
		return out, nil
	}
	return out, s.db.View(func(tx *state.Tx) error {
		for _, p := range s.policies.All(tx) {
			if strings.HasPrefix(p.Path, wire.Value(in.PathPrefix)) {
				out.Policies = append(out.Policies, s.policyAPI(tx, p))
			}
		}
		return nil
	})
}

// escape encodes a document as IAM does, by RFC 3986: clients decode it with functions that differ on
// what a plus sign means.
func escape(doc string) string { return strings.ReplaceAll(url.QueryEscape(doc), "+", "%20") }
