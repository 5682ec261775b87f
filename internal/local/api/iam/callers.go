package iam

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/iampolicy/evaluate"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/iamapi"
)

// Caller is a user or role with the policies that say what it may do.
type Caller struct {
	evaluate.Principal
	Policies evaluate.Policies
	Names    []string            // of Policies.Identity, for people
	Context  map[string][]string // the condition keys it brings: aws:username, aws:PrincipalTag/…
}

// ByKey is the user an active access key belongs to.
func (s *Service) ByKey(id string) (c Caller, ok bool, err error) {
	err = s.db.View(func(tx *state.Tx) error {
		k, found := s.keys.Get(tx, id)
		if !found || k.Status != "Active" {
			return nil
		}
		u, found := s.users.Get(tx, k.User)
		if !found {
			return nil
		}
		ok = true
		c, err = s.userCaller(tx, u)
		return err
	})
	return c, ok, err
}

// Secret is the secret of an active access key.
func (s *Service) Secret(id string) (secret string, ok bool) {
	_ = s.db.View(func(tx *state.Tx) error { // reading memory does not fail
		k, found := s.keys.Get(tx, id)
		if ok = found && k.Status == "Active"; ok {
			secret = k.Secret
		}
		return nil
	})
	return secret, ok
}

func (s *Service) userCaller(tx *state.Tx, u *User) (Caller, error) {
	c := Caller{Principal: evaluate.Principal{ARN: u.ARN, Account: accountOf(u.ARN)}, Context: map[string][]string{
		"aws:username": {u.Name}, "aws:userid": {u.ID}, "aws:principaltype": {"User"}, "aws:principalarn": {u.ARN}, "aws:principalaccount": {accountOf(u.ARN)}}}
	return c, s.fill(tx, &c, u.Inline, u.Attached, u.Boundary, u.Tags)
}

// Session is a role's session as it calls, with session policies if there are any.
func (s *Service) Session(role, arn, userID string, policies []*evaluate.Policy) (c Caller, ok bool, err error) {
	err = s.db.View(func(tx *state.Tx) error {
		r, found := s.roles.Get(tx, role[strings.LastIndex(role, "/")+1:])
		if !found || r.ARN != role {
			return nil
		}
		ok = true
		c = s.roleCaller(r, arn, userID)
		c.Policies.Session = policies
		return s.fill(tx, &c, r.Inline, r.Attached, r.Boundary, r.Tags)
	})
	return c, ok, err
}

func (s *Service) roleCaller(r *Role, arn, userID string) Caller {
	return Caller{Principal: evaluate.Principal{ARN: arn, Role: r.ARN, Account: accountOf(r.ARN)}, Context: map[string][]string{
		"aws:userid": {userID}, "aws:principaltype": {"AssumedRole"}, "aws:principalarn": {r.ARN}, "aws:principalaccount": {accountOf(r.ARN)}}}
}

// Trust is the trust policy of a role; ok is false if there is no such role.
func (s *Service) Trust(role string) (p *evaluate.Policy, ok bool, err error) {
	err = s.db.View(func(tx *state.Tx) error {
		r, found := s.roles.Get(tx, role[strings.LastIndex(role, "/")+1:])
		if !found || r.ARN != role {
			return nil
		}
		ok = true
		p, err = evaluate.Parse(r.Trust, evaluate.Trust)
		return err
	})
	return p, ok, err
}

// ByARN is a user or role as a caller.
func (s *Service) byARN(tx *state.Tx, arn string) (c Caller, err error) {
	name := arn[strings.LastIndex(arn, "/")+1:]
	if u, ok := s.users.Get(tx, name); ok && u.ARN == arn {
		return s.userCaller(tx, u)
	}
	if r, ok := s.roles.Get(tx, name); ok && r.ARN == arn {
		c = s.roleCaller(r, arn, r.ID)
		return c, s.fill(tx, &c, r.Inline, r.Attached, r.Boundary, r.Tags)
	}
	return c, missing("entity", arn)
}

func accountOf(arn string) string {
	if part := strings.SplitN(arn, ":", 6); len(part) == 6 {
		return part[4]
	}
	return ""
}

// fill reads the policies of a user or role. AWS's managed policies are not here: they allow nothing.
func (s *Service) fill(tx *state.Tx, c *Caller, inline map[string]string, attached []string, bound string, tags []iamapi.Tag) error {
	add := func(name, doc string) error {
		p, err := evaluate.Parse(doc, evaluate.Identity)
		if err != nil {
			return fmt.Errorf("reading policy %s: %w", name, err)
		}
		c.Policies.Identity, c.Names = append(c.Policies.Identity, p), append(c.Names, name)
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(inline)) {
		if err := add(name, inline[name]); err != nil {
			return err
		}
	}
	for _, arn := range attached {
		if doc, ok := s.document(tx, arn); ok {
			if err := add(arn[strings.LastIndex(arn, "/")+1:], doc); err != nil {
				return err
			}
		}
	}
	if bound != "" {
		c.Policies.Boundary = &evaluate.Policy{}
		if doc, ok := s.document(tx, bound); ok {
			p, err := evaluate.Parse(doc, evaluate.Identity)
			if err != nil {
				return fmt.Errorf("reading policy %s: %w", bound, err)
			}
			c.Policies.Boundary = p
		}
	}
	for _, t := range tags {
		c.Context["aws:principaltag/"+strings.ToLower(wire.Value(t.Key))] = []string{wire.Value(t.Value)}
	}
	return nil
}

// wellKnown are AWS's managed policies that can be told in a line. The others allow nothing here.
var wellKnown = map[string]string{
	"arn:aws:iam::aws:policy/AdministratorAccess": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`,
}

// document is the default version of a managed policy.
func (s *Service) document(tx *state.Tx, arn string) (string, bool) {
	if doc, ok := wellKnown[arn]; ok {
		return doc, true
	}
	p, ok := s.policies.Get(tx, arn)
	if !ok {
		return "", false
	}
	for _, v := range p.Versions {
		if v.ID == p.Default {
			return v.Document, true
		}
	}
	return "", false
}
