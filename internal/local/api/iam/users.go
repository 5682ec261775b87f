package iam

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/iamapi"
)

// User is an IAM user. Key: name.
type User struct {
	Name, ID, ARN, Path string
	Inline              map[string]string // policy name → document
	Attached            []string          // policy ARNs
	Boundary            string            // ARN of the policy that bounds it; empty: none
	Tags                []iamapi.Tag
	CreatedAt           time.Time
}

// AccessKey is a user's key. Key: its id. The state is readable by its owner only.
type AccessKey struct {
	ID, Secret, User, Status string
	CreatedAt                time.Time
}

func (s *Service) registerUsers(svc *wire.Service) {
	wire.Handle(svc, "CreateUser", s.createUser)
	wire.Handle(svc, "GetUser", s.getUser)
	wire.Handle(svc, "DeleteUser", s.deleteUser)
	wire.Handle(svc, "ListUsers", s.listUsers)
	wire.Handle(svc, "CreateAccessKey", s.createKey)
	wire.Handle(svc, "UpdateAccessKey", s.updateKey)
	wire.Handle(svc, "DeleteAccessKey", s.deleteKey)
	wire.Handle(svc, "ListAccessKeys", s.listKeys)
	wire.Handle(svc, "PutUserPolicy", s.putUserPolicy)
	wire.Handle(svc, "GetUserPolicy", s.getUserPolicy)
	wire.Handle(svc, "DeleteUserPolicy", s.deleteUserPolicy)
	wire.Handle(svc, "ListUserPolicies", s.listUserPolicies)
	wire.Handle(svc, "AttachUserPolicy", s.attachUser)
	wire.Handle(svc, "DetachUserPolicy", s.detachUser)
	wire.Handle(svc, "ListAttachedUserPolicies", s.listAttachedUser)
	wire.Handle(svc, "TagUser", s.tagUser)
	wire.Handle(svc, "UntagUser", s.untagUser)
	wire.Handle(svc, "ListUserTags", s.userTags)
	wire.Handle(svc, "PutUserPermissionsBoundary", s.putUserBoundary)
	wire.Handle(svc, "DeleteUserPermissionsBoundary", s.deleteUserBoundary)
	wire.Handle(svc, "PutRolePermissionsBoundary", s.putRoleBoundary)
	wire.Handle(svc, "DeleteRolePermissionsBoundary", s.deleteRoleBoundary)
}

func boundary(arn string) *iamapi.AttachedPermissionsBoundary {
	if arn == "" {
		return nil
	}
	return &iamapi.AttachedPermissionsBoundary{PermissionsBoundaryArn: &arn, PermissionsBoundaryType: wire.Ptr("Policy")}
}

func (u *User) api() *iamapi.User {
	return &iamapi.User{UserName: &u.Name, UserId: &u.ID, Arn: &u.ARN, Path: &u.Path, CreateDate: wire.Timestamp(u.CreatedAt), PermissionsBoundary: boundary(u.Boundary), Tags: u.Tags}
}

func (s *Service) createUser(ctx context.Context, in *iamapi.CreateUserInput) (*iamapi.CreateUserOutput, error) {
	name := wire.Value(in.UserName)
	if err := checkName(name); err != nil {
		return nil, err
	}
	path := cmp.Or(wire.Value(in.Path), "/")
	u := &User{Name: name, ID: newID("AIDA"), ARN: "arn:aws:iam::" + wire.Caller(ctx).Account + ":user" + path + name, Path: path, Boundary: wire.Value(in.PermissionsBoundary), Tags: in.Tags, CreatedAt: s.clock.Now()}
	return &iamapi.CreateUserOutput{User: u.api()}, s.db.Update(func(tx *state.Tx) error {
		if _, ok := s.users.Get(tx, name); ok {
			return conflict("EntityAlreadyExists", "User with name %s already exists.", name)
		}
		if err := s.attachable(tx, u.Boundary); u.Boundary != "" && err != nil {
			return err
		}
		if err := full(s.users.Len(tx), quotaUsers, "UsersPerAccount"); err != nil {
			return err
		}
		s.users.Put(tx, name, u)
		return nil
	})
}

// user finds a user; without a name, the one whose key signed the request.
func (s *Service) user(ctx context.Context, tx *state.Tx, name string) (*User, error) {
	if name == "" {
		k, ok := s.keys.Get(tx, wire.Caller(ctx).AccessKey)
		if !ok {
			return nil, wire.Errorf("ValidationError", "Must specify userName when calling with non-User credentials")
		}
		name = k.User
	}
	u, ok := s.users.Get(tx, name)
	if !ok {
		return nil, missing("user", name)
	}
	return u, nil
}

func (s *Service) viewUser(ctx context.Context, name *string, f func(tx *state.Tx, u *User) error) error {
	return s.db.View(func(tx *state.Tx) error {
		u, err := s.user(ctx, tx, wire.Value(name))
		if err != nil {
			return err
		}
		return f(tx, u)
	})
}

func (s *Service) modifyUser(ctx context.Context, name *string, f func(tx *state.Tx, u *User) error) error {
	return s.db.Update(func(tx *state.Tx) error {
		old, err := s.user(ctx, tx, wire.Value(name))
		if err != nil {
			return err
		}
		u := *old
		if err := f(tx, &u); err != nil {
			return err
		}
		s.users.Put(tx, u.Name, &u)
		return nil
	})
}

func (s *Service) getUser(ctx context.Context, in *iamapi.GetUserInput) (*iamapi.GetUserOutput, error) {
	out := &iamapi.GetUserOutput{}
	return out, s.viewUser(ctx, in.UserName, func(_ *state.Tx, u *User) error { out.User = u.api(); return nil })
}

func (s *Service) deleteUser(_ context.Context, in *iamapi.DeleteUserInput) (*iamapi.DeleteUserOutput, error) {
	return &iamapi.DeleteUserOutput{}, s.db.Update(func(tx *state.Tx) error {
		u, ok := s.users.Get(tx, wire.Value(in.UserName))
		switch {
		case !ok:
			return missing("user", wire.Value(in.UserName))
		case len(u.Inline) > 0:
			return conflict("DeleteConflict", "Cannot delete entity, must delete policies first.")
		case len(u.Attached) > 0:
			return conflict("DeleteConflict", "Cannot delete entity, must detach all policies first.")
		case len(s.keysOf(tx, u.Name)) > 0:
			return conflict("DeleteConflict", "Cannot delete entity, must delete access keys first.")
		}
		s.users.Delete(tx, u.Name)
		return nil
	})
}

func (s *Service) listUsers(_ context.Context, in *iamapi.ListUsersInput) (*iamapi.ListUsersOutput, error) {
	out := &iamapi.ListUsersOutput{Users: []iamapi.User{}, IsTruncated: wire.Ptr(false)}
	limit := int(cmp.Or(wire.Value(in.MaxItems), 100))
	return out, s.db.View(func(tx *state.Tx) error {
		for name, u := range s.users.From(tx, wire.Value(in.Marker)) {
			if !strings.HasPrefix(u.Path, wire.Value(in.PathPrefix)) {
				continue
			}
			if len(out.Users) == limit {
				out.IsTruncated, out.Marker = wire.Ptr(true), wire.Ptr(name)
				break
			}
			out.Users = append(out.Users, *u.api())
		}
		return nil
	})
}

func (s *Service) keysOf(tx *state.Tx, user string) (keys []*AccessKey) {
	for _, k := range s.keys.All(tx) {
		if k.User == user {
			keys = append(keys, k)
		}
	}
	return keys
}

func (s *Service) createKey(ctx context.Context, in *iamapi.CreateAccessKeyInput) (*iamapi.CreateAccessKeyOutput, error) {
	secret := make([]byte, 30)
	_, _ = rand.Read(secret) // never fails
	k := &AccessKey{ID: "AKIA" + rand.Text()[:16], Secret: base64.StdEncoding.EncodeToString(secret), Status: "Active", CreatedAt: s.clock.Now()}
	err := s.db.Update(func(tx *state.Tx) error {
		u, err := s.user(ctx, tx, wire.Value(in.UserName))
		if err != nil {
			return err
		}
		// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
		if len(s.keysOf(tx, u.Name)) >= 2 {
			return conflict("LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2")
		}
		k.User = u.Name
		s.keys.Put(tx, k.ID, k)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.CreateAccessKeyOutput{AccessKey: &iamapi.AccessKey{AccessKeyId: &k.ID, SecretAccessKey: &k.Secret, UserName: &k.User, Status: &k.Status, CreateDate: wire.Timestamp(k.CreatedAt)}}, nil
}

func (s *Service) key(ctx context.Context, tx *state.Tx, user, id *string) (*AccessKey, error) {
	u, err := s.user(ctx, tx, wire.Value(user))
	if err != nil {
		return nil, err
	}
	k, ok := s.keys.Get(tx, wire.Value(id))
	if !ok || k.User != u.Name {
		e := wire.Errorf("NoSuchEntity", "The Access Key with id %s cannot be found.", wire.Value(id))
		e.Status = 404
		return nil, e
	}
	return k, nil
}

func (s *Service) updateKey(ctx context.Context, in *iamapi.UpdateAccessKeyInput) (*iamapi.UpdateAccessKeyOutput, error) {
	return &iamapi.UpdateAccessKeyOutput{}, s.db.Update(func(tx *state.Tx) error {
		k, err := s.key(ctx, tx, in.UserName, in.AccessKeyId)
		if err != nil {
			return err
		}
		s.keys.Modify(tx, k.ID, func(k *AccessKey) { k.Status = wire.Value(in.Status) })
		return nil
	})
}

func (s *Service) deleteKey(ctx context.Context, in *iamapi.DeleteAccessKeyInput) (*iamapi.DeleteAccessKeyOutput, error) {
	return &iamapi.DeleteAccessKeyOutput{}, s.db.Update(func(tx *state.Tx) error {
		k, err := s.key(ctx, tx, in.UserName, in.AccessKeyId)
		if err != nil {
			return err
		}
		s.keys.Delete(tx, k.ID)
		return nil
	})
}

func (s *Service) listKeys(ctx context.Context, in *iamapi.ListAccessKeysInput) (*iamapi.ListAccessKeysOutput, error) {
	out := &iamapi.ListAccessKeysOutput{AccessKeyMetadata: []iamapi.AccessKeyMetadata{}, IsTruncated: wire.Ptr(false)}
	return out, s.viewUser(ctx, in.UserName, func(tx *state.Tx, u *User) error {
		for _, k := range s.keysOf(tx, u.Name) {
			out.AccessKeyMetadata = append(out.AccessKeyMetadata, iamapi.AccessKeyMetadata{AccessKeyId: &k.ID, UserName: &k.User, Status: &k.Status, CreateDate: wire.Timestamp(k.CreatedAt)})
		}
		return nil
	})
}

func (s *Service) putUserPolicy(ctx context.Context, in *iamapi.PutUserPolicyInput) (*iamapi.PutUserPolicyOutput, error) {
	if err := cmpErr(checkName(wire.Value(in.PolicyName)), checkDocument(wire.Value(in.PolicyDocument))); err != nil {
		return nil, err
	}
	return &iamapi.PutUserPolicyOutput{}, s.modifyUser(ctx, in.UserName, func(_ *state.Tx, u *User) error {
		inline := map[string]string{wire.Value(in.PolicyName): wire.Value(in.PolicyDocument)}
		for name, doc := range u.Inline {
			if _, ok := inline[name]; !ok {
				inline[name] = doc
			}
		}
		u.Inline = inline
		return nil
	})
}

func (s *Service) getUserPolicy(ctx context.Context, in *iamapi.GetUserPolicyInput) (*iamapi.GetUserPolicyOutput, error) {
	out := &iamapi.GetUserPolicyOutput{PolicyName: in.PolicyName}
	return out, s.viewUser(ctx, in.UserName, func(_ *state.Tx, u *User) error {
		doc, ok := u.Inline[wire.Value(in.PolicyName)]
		if !ok {
			return missing("user policy", wire.Value(in.PolicyName))
		}
		out.UserName, out.PolicyDocument = &u.Name, wire.Ptr(escape(doc))
		return nil
	})
}

func (s *Service) deleteUserPolicy(ctx context.Context, in *iamapi.DeleteUserPolicyInput) (*iamapi.DeleteUserPolicyOutput, error) {
	return &iamapi.DeleteUserPolicyOutput{}, s.modifyUser(ctx, in.UserName, func(_ *state.Tx, u *User) error {
		if _, ok := u.Inline[wire.Value(in.PolicyName)]; !ok {
			return missing("user policy", wire.Value(in.PolicyName))
		}
		u.Inline = maps.Clone(u.Inline)
		delete(u.Inline, wire.Value(in.PolicyName))
		return nil
	})
}

func (s *Service) listUserPolicies(ctx context.Context, in *iamapi.ListUserPoliciesInput) (*iamapi.ListUserPoliciesOutput, error) {
	out := &iamapi.ListUserPoliciesOutput{PolicyNames: []string{}, IsTruncated: wire.Ptr(false)}
	return out, s.viewUser(ctx, in.UserName, func(_ *state.Tx, u *User) error {
		out.PolicyNames = append(out.PolicyNames, slices.Sorted(maps.Keys(u.Inline))...)
		return nil
	})
}

// attachable checks that a managed policy is there. AWS's own are known by name only.
func (s *Service) attachable(tx *state.Tx, arn string) error {
	if _, ok := s.policies.Get(tx, arn); !ok && !strings.HasPrefix(arn, "arn:aws:iam::aws:policy/") {
		return missing("policy", arn)
	}
	return nil
}

func (s *Service) attachUser(ctx context.Context, in *iamapi.AttachUserPolicyInput) (*iamapi.AttachUserPolicyOutput, error) {
	arn := wire.Value(in.PolicyArn)
	return &iamapi.AttachUserPolicyOutput{}, s.modifyUser(ctx, in.UserName, func(tx *state.Tx, u *User) error {
		if !slices.Contains(u.Attached, arn) {
			u.Attached = append(slices.Clone(u.Attached), arn)
		}
		return s.attachable(tx, arn)
	})
}

func (s *Service) detachUser(ctx context.Context, in *iamapi.DetachUserPolicyInput) (*iamapi.DetachUserPolicyOutput, error) {
	return &iamapi.DetachUserPolicyOutput{}, s.modifyUser(ctx, in.UserName, func(_ *state.Tx, u *User) error {
		n := len(u.Attached)
		if u.Attached = slices.DeleteFunc(slices.Clone(u.Attached), func(a string) bool { return a == wire.Value(in.PolicyArn) }); len(u.Attached) == n {
			return missing("policy", wire.Value(in.PolicyArn))
		}
		return nil
	})
}

func (s *Service) listAttachedUser(ctx context.Context, in *iamapi.ListAttachedUserPoliciesInput) (*iamapi.ListAttachedUserPoliciesOutput, error) {
	out := &iamapi.ListAttachedUserPoliciesOutput{AttachedPolicies: []iamapi.AttachedPolicy{}, IsTruncated: wire.Ptr(false)}
	return out, s.viewUser(ctx, in.UserName, func(_ *state.Tx, u *User) error {
		for _, arn := range u.Attached {
			out.AttachedPolicies = append(out.AttachedPolicies, iamapi.AttachedPolicy{PolicyArn: wire.Ptr(arn), PolicyName: wire.Ptr(arn[strings.LastIndex(arn, "/")+1:])})
		}
		return nil
	})
}

func (s *Service) tagUser(ctx context.Context, in *iamapi.TagUserInput) (*iamapi.TagUserOutput, error) {
	return &iamapi.TagUserOutput{}, s.modifyUser(ctx, in.UserName, func(_ *state.Tx, u *User) error { u.Tags = merge(u.Tags, in.Tags); return nil })
}

func (s *Service) untagUser(ctx context.Context, in *iamapi.UntagUserInput) (*iamapi.UntagUserOutput, error) {
	return &iamapi.UntagUserOutput{}, s.modifyUser(ctx, in.UserName, func(_ *state.Tx, u *User) error { u.Tags = without(u.Tags, in.TagKeys); return nil })
}

func (s *Service) userTags(ctx context.Context, in *iamapi.ListUserTagsInput) (*iamapi.ListUserTagsOutput, error) {
	out := &iamapi.ListUserTagsOutput{Tags: []iamapi.Tag{}, IsTruncated: wire.Ptr(false)}
	return out, s.viewUser(ctx, in.UserName, func(_ *state.Tx, u *User) error { out.Tags = append(out.Tags, u.Tags...); return nil })
}

func (s *Service) putUserBoundary(ctx context.Context, in *iamapi.PutUserPermissionsBoundaryInput) (*iamapi.PutUserPermissionsBoundaryOutput, error) {
	return &iamapi.PutUserPermissionsBoundaryOutput{}, s.modifyUser(ctx, in.UserName, func(tx *state.Tx, u *User) error {
		u.Boundary = wire.Value(in.PermissionsBoundary)
		return s.attachable(tx, u.Boundary)
	})
}

func (s *Service) deleteUserBoundary(ctx context.Context, in *iamapi.DeleteUserPermissionsBoundaryInput) (*iamapi.DeleteUserPermissionsBoundaryOutput, error) {
	return &iamapi.DeleteUserPermissionsBoundaryOutput{}, s.modifyUser(ctx, in.UserName, func(_ *state.Tx, u *User) error { u.Boundary = ""; return nil })
}

func (s *Service) putRoleBoundary(_ context.Context, in *iamapi.PutRolePermissionsBoundaryInput) (*iamapi.PutRolePermissionsBoundaryOutput, error) {
	err := s.db.View(func(tx *state.Tx) error { return s.attachable(tx, wire.Value(in.PermissionsBoundary)) })
	if err != nil {
		return nil, err
	}
	return &iamapi.PutRolePermissionsBoundaryOutput{}, s.modifyRole(wire.Value(in.RoleName), func(r *Role) error { r.Boundary = wire.Value(in.PermissionsBoundary); return nil })
}

func (s *Service) deleteRoleBoundary(_ context.Context, in *iamapi.DeleteRolePermissionsBoundaryInput) (*iamapi.DeleteRolePermissionsBoundaryOutput, error) {
	return &iamapi.DeleteRolePermissionsBoundaryOutput{}, s.modifyRole(wire.Value(in.RoleName), func(r *Role) error { r.Boundary = ""; return nil })
}
