// Package iam is Identity and Access Management of the local AWS: users and their keys, roles, policies and
// instance profiles, and the simulator. Whether calls are held against the policies is package authz's.
package iam

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/iampolicy/evaluate"
	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/iamapi"
)

// Role is an IAM role. Key: name.
type Role struct {
	Name, ID, ARN, Path, Trust, Description string
	MaxSession                              int32
	Boundary                                string            // ARN of the policy that bounds it; empty: none
	Inline                                  map[string]string // policy name → document
	Attached                                []string          // policy ARNs
	Tags                                    []iamapi.Tag
	CreatedAt                               time.Time
}

// Profile is an instance profile. Key: name.
type Profile struct {
	Name, ID, ARN, Path string
	Roles               []string
	Tags                []iamapi.Tag
	CreatedAt           time.Time
}

// Policy is a customer-managed policy. Key: ARN.
type Policy struct {
	Name, ID, ARN, Path, Description string
	Versions                         []PolicyVersion
	Default                          string
	Tags                             []iamapi.Tag
	CreatedAt, UpdatedAt             time.Time
}

// PolicyVersion is one version of a policy's document.
type PolicyVersion struct {
	ID, Document string
	CreatedAt    time.Time
}

// Service is IAM.
type Service struct {
	db       *state.DB
	roles    *state.Table[Role]
	profiles *state.Table[Profile]
	policies *state.Table[Policy]
	users    *state.Table[User]
	keys     *state.Table[AccessKey]
	clock    clock.Clock
}

// Register adds the operations to svc and the tables to db.
func Register(svc *wire.Service, db *state.DB, clk clock.Clock) (*Service, error) {
	s := &Service{db: db, clock: clk}
	var e1, e2, e3, e4, e5 error
	s.roles, e1 = state.NewTable[Role](db, "iam.roles")
	s.profiles, e2 = state.NewTable[Profile](db, "iam.profiles")
	s.policies, e3 = state.NewTable[Policy](db, "iam.policies")
	s.users, e4 = state.NewTable[User](db, "iam.users")
	s.keys, e5 = state.NewTable[AccessKey](db, "iam.keys")
	if err := errors.Join(e1, e2, e3, e4, e5); err != nil {
		return nil, err
	}
	s.registerRoles(svc)
	s.registerProfiles(svc)
	s.registerPolicies(svc)
	s.registerUsers(svc)
	s.registerSimulator(svc)
	return s, nil
}

func missing(kind, name string) error {
	e := wire.Errorf("NoSuchEntity", "The %s with name %s cannot be found.", kind, name)
	e.Status = 404
	return e
}

func conflict(code, format string, args ...any) error {
	e := wire.Errorf(code, format, args...)
	e.Status = 409
	return e
}

func newID(prefix string) string { return prefix + rand.Text()[:17] }

var validName = regexp.MustCompile(`^[\w+=,.@-]{1,128}$`)

func checkName(name string) error {
	if !validName.MatchString(name) {
		return wire.Errorf("ValidationError", "The specified value for name is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-")
	}
	return nil
}

func checkDocument(doc string) error { return check(doc, evaluate.Identity) }

func check(doc string, kind evaluate.Kind) error {
	if _, err := evaluate.Parse(doc, kind); err != nil {
		return wire.Errorf("MalformedPolicyDocument", "%s", err)
	}
	return nil
}

func (s *Service) registerRoles(svc *wire.Service) {
	wire.Handle(svc, "GetAccountSummary", s.summary, wire.Partly("of what the local AWS keeps"))
	wire.Handle(svc, "CreateRole", s.createRole)
	wire.Handle(svc, "GetRole", s.getRole)
	wire.Handle(svc, "UpdateRole", s.updateRole)
	wire.Handle(svc, "UpdateAssumeRolePolicy", s.updateTrust)
	wire.Handle(svc, "DeleteRole", s.deleteRole)
	wire.Handle(svc, "ListRoles", s.listRoles)
	wire.Handle(svc, "CreateServiceLinkedRole", s.createLinked)
	wire.Handle(svc, "PutRolePolicy", s.putInline)
	wire.Handle(svc, "GetRolePolicy", s.getInline)
	wire.Handle(svc, "DeleteRolePolicy", s.deleteInline)
	wire.Handle(svc, "ListRolePolicies", s.listInline)
	wire.Handle(svc, "AttachRolePolicy", s.attach)
	wire.Handle(svc, "DetachRolePolicy", s.detach)
	wire.Handle(svc, "ListAttachedRolePolicies", s.listAttached)
	wire.Handle(svc, "TagRole", s.tagRole)
	wire.Handle(svc, "UntagRole", s.untagRole)
	wire.Handle(svc, "ListRoleTags", s.roleTags)
}

func (r *Role) api() *iamapi.Role {
	return &iamapi.Role{RoleName: &r.Name, RoleId: &r.ID, Arn: &r.ARN, Path: &r.Path, CreateDate: wire.Timestamp(r.CreatedAt), Description: optional(r.Description),
		AssumeRolePolicyDocument: wire.Ptr(escape(r.Trust)), MaxSessionDuration: wire.Ptr(r.MaxSession), PermissionsBoundary: boundary(r.Boundary), Tags: r.Tags}
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (s *Service) createRole(ctx context.Context, in *iamapi.CreateRoleInput) (*iamapi.CreateRoleOutput, error) {
	name, trust := wire.Value(in.RoleName), wire.Value(in.AssumeRolePolicyDocument)
	if err := cmpErr(checkName(name), check(trust, evaluate.Trust)); err != nil {
		return nil, err
	}
	path := cmp.Or(wire.Value(in.Path), "/")
	r := &Role{Name: name, ID: newID("AROA"), ARN: "arn:aws:iam::" + wire.Caller(ctx).Account + ":role" + path + name, Path: path, Trust: trust,
		Description: wire.Value(in.Description), MaxSession: cmp.Or(wire.Value(in.MaxSessionDuration), 3600), Boundary: wire.Value(in.PermissionsBoundary), Tags: in.Tags, CreatedAt: s.clock.Now()}
	return &iamapi.CreateRoleOutput{Role: r.api()}, s.db.Update(func(tx *state.Tx) error {
		if _, ok := s.roles.Get(tx, name); ok {
			return conflict("EntityAlreadyExists", "Role with name %s already exists.", name)
		}
		if err := full(s.roles.Len(tx), quotaRoles, "RolesPerAccount"); err != nil {
			return err
		}
		s.roles.Put(tx, name, r)
		return nil
	})
}

func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) createLinked(ctx context.Context, in *iamapi.CreateServiceLinkedRoleInput) (*iamapi.CreateServiceLinkedRoleOutput, error) {
	service := wire.Value(in.AWSServiceName)
	short := map[string]string{"ecs.amazonaws.com": "ECS", "elasticloadbalancing.amazonaws.com": "ElasticLoadBalancing", "autoscaling.amazonaws.com": "AutoScaling",
		"ecs.application-autoscaling.amazonaws.com": "ApplicationAutoScaling_ECSService"}[service]
	name := "AWSServiceRoleFor" + cmp.Or(short, strings.SplitN(service, ".", 2)[0])
	path := "/aws-service-role/" + service + "/"
	r := &Role{Name: name, ID: newID("AROA"), ARN: "arn:aws:iam::" + wire.Caller(ctx).Account + ":role" + path + name, Path: path, MaxSession: 3600, CreatedAt: s.clock.Now(),
		Trust: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"` + service + `"},"Action":"sts:AssumeRole"}]}`}
	return &iamapi.CreateServiceLinkedRoleOutput{Role: r.api()}, s.db.Update(func(tx *state.Tx) error {
		if _, ok := s.roles.Get(tx, name); ok {
			return wire.Errorf("InvalidInput", "Service role name %s has been taken in this account, please try a different suffix.", name)
		}
		s.roles.Put(tx, name, r)
		return nil
	})
}

func (s *Service) getRole(_ context.Context, in *iamapi.GetRoleInput) (*iamapi.GetRoleOutput, error) {
	r, err := s.role(wire.Value(in.RoleName))
	if err != nil {
		return nil, err
	}
	return &iamapi.GetRoleOutput{Role: r.api()}, nil
}

func (s *Service) role(name string) (*Role, error) {
	var role *Role
	err := s.db.View(func(tx *state.Tx) error {
		r, ok := s.roles.Get(tx, name)
		if !ok {
			return missing("role", name)
		}
		role = r
		return nil
	})
	return role, err
}

func (s *Service) modifyRole(name string, f func(r *Role) error) error {
	return s.db.Update(func(tx *state.Tx) error {
		old, ok := s.roles.Get(tx, name)
		if !ok {
			return missing("role", name)
		}
		r := *old
		if err := f(&r); err != nil {
			return err
		}
		s.roles.Put(tx, name, &r)
		return nil
	})
}

func (s *Service) updateRole(_ context.Context, in *iamapi.UpdateRoleInput) (*iamapi.UpdateRoleOutput, error) {
	return &iamapi.UpdateRoleOutput{}, s.modifyRole(wire.Value(in.RoleName), func(r *Role) error {
		if in.Description != nil {
			r.Description = *in.Description
		}
		r.MaxSession = cmp.Or(wire.Value(in.MaxSessionDuration), r.MaxSession)
		return nil
	})
}

func (s *Service) updateTrust(_ context.Context, in *iamapi.UpdateAssumeRolePolicyInput) (*iamapi.UpdateAssumeRolePolicyOutput, error) {
	if err := check(wire.Value(in.PolicyDocument), evaluate.Trust); err != nil {
		return nil, err
	}
	return &iamapi.UpdateAssumeRolePolicyOutput{}, s.modifyRole(wire.Value(in.RoleName), func(r *Role) error {
		r.Trust = wire.Value(in.PolicyDocument)
		return nil
	})
}

func (s *Service) deleteRole(_ context.Context, in *iamapi.DeleteRoleInput) (*iamapi.DeleteRoleOutput, error) {
	name := wire.Value(in.RoleName)
	return &iamapi.DeleteRoleOutput{}, s.db.Update(func(tx *state.Tx) error {
		r, ok := s.roles.Get(tx, name)
		switch {
		case !ok:
			return missing("role", name)
		case len(r.Inline) > 0:
			return conflict("DeleteConflict", "Cannot delete entity, must delete policies first.")
		case len(r.Attached) > 0:
			return conflict("DeleteConflict", "Cannot delete entity, must detach all policies first.")
		}
		for _, p := range s.profiles.All(tx) {
			if slices.Contains(p.Roles, name) {
				return conflict("DeleteConflict", "Cannot delete entity, must remove roles from instance profile first.")
			}
		}
		s.roles.Delete(tx, name)
		return nil
	})
}

func (s *Service) listRoles(_ context.Context, in *iamapi.ListRolesInput) (*iamapi.ListRolesOutput, error) {
	out := &iamapi.ListRolesOutput{Roles: []iamapi.Role{}, IsTruncated: wire.Ptr(false)}
	limit := int(cmp.Or(wire.Value(in.MaxItems), 100))
	return out, s.db.View(func(tx *state.Tx) error {
		for name, r := range s.roles.From(tx, wire.Value(in.Marker)) {
			if !strings.HasPrefix(r.Path, wire.Value(in.PathPrefix)) {
				continue
			}
			if len(out.Roles) == limit {
				out.IsTruncated, out.Marker = wire.Ptr(true), wire.Ptr(name)
				break
			}
			out.Roles = append(out.Roles, *r.api())
		}
		return nil
	})
}

func (s *Service) putInline(_ context.Context, in *iamapi.PutRolePolicyInput) (*iamapi.PutRolePolicyOutput, error) {
	if err := cmpErr(checkName(wire.Value(in.PolicyName)), checkDocument(wire.Value(in.PolicyDocument))); err != nil {
		return nil, err
	}
	return &iamapi.PutRolePolicyOutput{}, s.modifyRole(wire.Value(in.RoleName), func(r *Role) error {
		inline := maps.Clone(r.Inline)
		if inline == nil {
			inline = map[string]string{}
		}
		inline[wire.Value(in.PolicyName)] = wire.Value(in.PolicyDocument)
		r.Inline = inline
		return nil
	})
}

func (s *Service) getInline(_ context.Context, in *iamapi.GetRolePolicyInput) (*iamapi.GetRolePolicyOutput, error) {
	r, err := s.role(wire.Value(in.RoleName))
	if err != nil {
		return nil, err
	}
	doc, ok := r.Inline[wire.Value(in.PolicyName)]
	if !ok {
		return nil, missing("role policy", wire.Value(in.PolicyName))
	}
	return &iamapi.GetRolePolicyOutput{RoleName: &r.Name, PolicyName: in.PolicyName, PolicyDocument: wire.Ptr(escape(doc))}, nil
}

func (s *Service) deleteInline(_ context.Context, in *iamapi.DeleteRolePolicyInput) (*iamapi.DeleteRolePolicyOutput, error) {
	return &iamapi.DeleteRolePolicyOutput{}, s.modifyRole(wire.Value(in.RoleName), func(r *Role) error {
		if _, ok := r.Inline[wire.Value(in.PolicyName)]; !ok {
			return missing("role policy", wire.Value(in.PolicyName))
		}
		r.Inline = maps.Clone(r.Inline)
		delete(r.Inline, wire.Value(in.PolicyName))
		return nil
	})
}

func (s *Service) listInline(_ context.Context, in *iamapi.ListRolePoliciesInput) (*iamapi.ListRolePoliciesOutput, error) {
	r, err := s.role(wire.Value(in.RoleName))
	if err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(r.Inline))
	return &iamapi.ListRolePoliciesOutput{PolicyNames: append([]string{}, names...), IsTruncated: wire.Ptr(false)}, nil
}

func (s *Service) attach(_ context.Context, in *iamapi.AttachRolePolicyInput) (*iamapi.AttachRolePolicyOutput, error) {
	arn := wire.Value(in.PolicyArn)
	return &iamapi.AttachRolePolicyOutput{}, s.db.Update(func(tx *state.Tx) error {
		if _, ok := s.policies.Get(tx, arn); !ok && !strings.HasPrefix(arn, "arn:aws:iam::aws:policy/") {
			return missing("policy", arn)
		}
		old, ok := s.roles.Get(tx, wire.Value(in.RoleName))
		if !ok {
			return missing("role", wire.Value(in.RoleName))
		}
		r := *old
		if !slices.Contains(r.Attached, arn) {
			r.Attached = append(slices.Clone(r.Attached), arn)
		}
		s.roles.Put(tx, r.Name, &r)
		return nil
	})
}

func (s *Service) detach(_ context.Context, in *iamapi.DetachRolePolicyInput) (*iamapi.DetachRolePolicyOutput, error) {
	return &iamapi.DetachRolePolicyOutput{}, s.modifyRole(wire.Value(in.RoleName), func(r *Role) error {
		n := len(r.Attached)
		r.Attached = slices.DeleteFunc(slices.Clone(r.Attached), func(a string) bool { return a == wire.Value(in.PolicyArn) })
		if len(r.Attached) == n {
			return missing("policy", wire.Value(in.PolicyArn))
		}
		return nil
	})
}

func (s *Service) listAttached(_ context.Context, in *iamapi.ListAttachedRolePoliciesInput) (*iamapi.ListAttachedRolePoliciesOutput, error) {
	r, err := s.role(wire.Value(in.RoleName))
	if err != nil {
		return nil, err
	}
	out := &iamapi.ListAttachedRolePoliciesOutput{AttachedPolicies: []iamapi.AttachedPolicy{}, IsTruncated: wire.Ptr(false)}
	for _, arn := range r.Attached {
		out.AttachedPolicies = append(out.AttachedPolicies, iamapi.AttachedPolicy{PolicyArn: wire.Ptr(arn), PolicyName: wire.Ptr(arn[strings.LastIndex(arn, "/")+1:])})
	}
	return out, nil
}

func (s *Service) tagRole(_ context.Context, in *iamapi.TagRoleInput) (*iamapi.TagRoleOutput, error) {
	return &iamapi.TagRoleOutput{}, s.modifyRole(wire.Value(in.RoleName), func(r *Role) error { r.Tags = merge(r.Tags, in.Tags); return nil })
}

func (s *Service) untagRole(_ context.Context, in *iamapi.UntagRoleInput) (*iamapi.UntagRoleOutput, error) {
	return &iamapi.UntagRoleOutput{}, s.modifyRole(wire.Value(in.RoleName), func(r *Role) error { r.Tags = without(r.Tags, in.TagKeys); return nil })
}

func (s *Service) roleTags(_ context.Context, in *iamapi.ListRoleTagsInput) (*iamapi.ListRoleTagsOutput, error) {
	r, err := s.role(wire.Value(in.RoleName))
	if err != nil {
		return nil, err
	}
	return &iamapi.ListRoleTagsOutput{Tags: append([]iamapi.Tag{}, r.Tags...), IsTruncated: wire.Ptr(false)}, nil
}

func merge(have, add []iamapi.Tag) []iamapi.Tag {
	for _, t := range add {
		have = append(without(have, []string{wire.Value(t.Key)}), t)
	}
	return have
}

func without(tags []iamapi.Tag, keys []string) []iamapi.Tag {
	return slices.DeleteFunc(slices.Clone(tags), func(t iamapi.Tag) bool { return slices.Contains(keys, wire.Value(t.Key)) })
}
