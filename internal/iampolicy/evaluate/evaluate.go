package evaluate

import (
	"slices"
	"strings"
)

// Principal is who asks.
type Principal struct {
	ARN     string // of the user, the session of a role (arn:aws:sts::…:assumed-role/…) or the account's root
	Role    string // ARN of the role, if a session asks
	Account string // 12 digits
	Service string // "ecs-tasks.amazonaws.com", if a service of AWS asks; then the others are empty
	Web     string // identity provider, if a web identity asks
}

// Request is what is asked.
type Request struct {
	Principal Principal
	Action    string              // "ecs:UpdateService"
	Resource  string              // ARN; "*" if the action knows none
	Context   map[string][]string // condition keys, written with small letters, and their values
}

// values are the values of a key.
func (r *Request) values(key string) ([]string, bool) {
	v, ok := r.Context[strings.ToLower(key)]
	return v, ok
}

// variable is the value of a policy variable: only keys with one value can be used.
func (r *Request) variable(key string) (string, bool) {
	v, ok := r.values(key)
	if !ok || len(v) != 1 {
		return "", false
	}
	return v[0], true
}

// Policies are all the policies that have a say.
type Policies struct {
	Identity []*Policy // of the user and its groups, or of the role
	Boundary *Policy   // nil: none
	Session  []*Policy // given to AssumeRole; nil: none
	Resource *Policy   // nil: none
	// Owner is the account of the resource; empty: the caller's.
	Owner string
	// Required says that the resource's policy must allow in any case, as the trust policy of a role.
	Required bool
}

// Cause is why a request is decided as it is.
type Cause int

// The causes, and in which order IAM looks.
const (
	Allowed Cause = iota
	DeniedIdentity
	DeniedResource
	DeniedBoundary
	DeniedSession
	NoIdentity // no identity-based policy allows
	NoResource // no resource-based policy allows
	NoBoundary
	NoSession
)

// Match is a statement that had a say.
type Match struct {
	Policy    int // index in Policies.Identity; -1: boundary, -2: resource, -3 and below: session
	Statement int
}

// Decision is what was decided.
type Decision struct {
	Cause   Cause
	Matched []Match  // of the statements that decided: the ones that deny, else those that allow
	Missing []string // condition keys that a statement for this action asks for and the request does not have
}

// Allowed reports whether the request may go on.
func (d Decision) Allowed() bool { return d.Cause == Allowed }

// Denied reports whether a statement denies, rather than none allowing.
func (d Decision) Denied() bool { return d.Cause >= DeniedIdentity && d.Cause <= DeniedSession }

// Reason is the end of AWS's message; empty if it is allowed.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
func (d Decision) Reason(action string) string {
	kind := map[Cause]string{DeniedIdentity: "an identity-based policy", DeniedResource: "a resource-based policy", DeniedBoundary: "a permissions boundary", DeniedSession: "a session policy",
		NoIdentity: "identity-based policy", NoResource: "resource-based policy", NoBoundary: "permissions boundary", NoSession: "session policy"}[d.Cause]
	switch {
	case d.Allowed():
		return ""
	case d.Denied():
		return "with an explicit deny in " + kind
	}
	return "because no " + kind + " allows the " + action + " action"
}

// grant is how far a resource's policy allows.
type grant int

const (
	none     grant = iota
	toOwner        // the account is named: its own policies decide for whom
	toRole         // the role is named
	directly       // the user or session, or everyone, is named
)

// Decide decides a request.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html
func Decide(p Policies, r Request) Decision {
	e := evaluation{r: &r}
	identityDeny, identityAllow := e.look(p.Identity, 0)
	var boundaryDeny, boundaryAllow, sessionDeny, sessionAllow []Match
	if p.Boundary != nil {
		boundaryDeny, boundaryAllow = e.look([]*Policy{p.Boundary}, -1)
	}
	sessionDeny, sessionAllow = e.look(p.Session, -3)
	var resourceDeny, resourceAllow []Match
	granted := none
	if p.Resource != nil {
		resourceDeny, resourceAllow, granted = e.lookResource(p.Resource)
	}
	d := Decision{Missing: e.missing}
	for _, x := range []struct {
		cause Cause
		by    []Match
	}{{DeniedIdentity, identityDeny}, {DeniedResource, resourceDeny}, {DeniedBoundary, boundaryDeny}, {DeniedSession, sessionDeny}} {
		if len(x.by) > 0 {
			d.Cause, d.Matched = x.cause, x.by
			return d
		}
	}
	own := p.Owner == "" || p.Owner == r.Principal.Account
	identity := len(identityAllow) > 0
	d.Matched = slices.Concat(identityAllow, resourceAllow)
	switch {
	case r.Principal.Service != "" || r.Principal.Web != "": // these have no policies of their own
		if granted == none {
			d.Cause = NoResource
		}
		return d
	case isRoot(r.Principal): // of an account: it may do all in it
		if !own && granted == none || p.Required && granted == none {
			d.Cause = NoResource
		}
		return d
	case (p.Required || !own) && granted == none:
		if d.Cause = NoResource; !identity {
			d.Cause = NoIdentity
		}
	case !own && !identity, granted <= toOwner && !identity:
		d.Cause = NoIdentity
	case p.Boundary != nil && len(boundaryAllow) == 0 && !(own && granted == directly):
		d.Cause = NoBoundary
	case p.Session != nil && len(sessionAllow) == 0 && !(own && granted == directly):
		d.Cause = NoSession
	}
	if d.Cause != Allowed {
		d.Matched = nil
	}
	return d
}

func isRoot(p Principal) bool { return strings.HasSuffix(p.ARN, ":root") }

type evaluation struct {
	r       *Request
	missing []string
}

// look collects the statements that deny and those that allow.
func (e *evaluation) look(policies []*Policy, first int) (deny, allow []Match) {
	for i, p := range policies {
		index := i
		if first < 0 {
			index = first - i
		}
		for j := range p.Statements {
			st := &p.Statements[j]
			if !e.applies(p, st) {
				continue
			}
			if st.Allow {
				allow = append(allow, Match{index, j})
			} else {
				deny = append(deny, Match{index, j})
			}
		}
	}
	return deny, allow
}

func (e *evaluation) lookResource(p *Policy) (deny, allow []Match, granted grant) {
	for j := range p.Statements {
		st := &p.Statements[j]
		g := st.Principals.grants(e.r.Principal)
		if g == none || !e.applies(p, st) {
			continue
		}
		if !st.Allow {
			deny = append(deny, Match{-2, j})
			continue
		}
		allow, granted = append(allow, Match{-2, j}), max(granted, g)
	}
	return deny, allow, granted
}

// applies reports whether a statement is about the request, whoever asks.
func (e *evaluation) applies(p *Policy, st *Statement) bool {
	act := func(a string) bool { return matchAction(a, e.r.Action) }
	if len(st.Actions) > 0 && !slices.ContainsFunc(st.Actions, act) || len(st.NotActions) > 0 && slices.ContainsFunc(st.NotActions, act) {
		return false
	}
	is := func(r string) bool {
		g, ok := expand(r, p.Version, e.r.variable)
		return ok && g.match(e.r.Resource)
	}
	if len(st.Resources) > 0 && !slices.ContainsFunc(st.Resources, is) || len(st.NotResources) > 0 && slices.ContainsFunc(st.NotResources, is) {
		return false
	}
	met := true
	for _, c := range st.Conditions {
		if _, ok := e.r.values(c.Key); !ok && !slices.Contains(e.missing, c.Key) {
			e.missing = append(e.missing, c.Key)
		}
		met = c.holds(e.r, p.Version) && met
	}
	return met
}

// grants says whether and how far the principals of a statement are who asks.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
func (p *Principals) grants(who Principal) grant {
	if p == nil {
		return none
	}
	g := p.names(who)
	if !p.Not {
		return g
	}
	if g == none {
		return directly
	}
	return none
}

func (p *Principals) names(who Principal) grant {
	g := none
	if p.Everyone {
		return directly
	}
	if who.Service != "" {
		if slices.Contains(p.Service, who.Service) {
			return directly
		}
		return none
	}
	if who.Web != "" {
		if slices.Contains(p.Federated, who.Web) {
			return directly
		}
		return none
	}
	for _, n := range p.AWS {
		switch {
		case n == who.ARN:
			return directly
		case n == who.Role:
			g = max(g, toRole)
		case n == who.Account, strings.HasSuffix(n, ":iam::"+who.Account+":root"):
			g = max(g, toOwner)
		}
	}
	return g
}

// Keys lists the condition keys and variables the policies ask for, sorted.
func Keys(policies ...*Policy) []string {
	var out []string
	for _, p := range policies {
		for _, st := range p.Statements {
			for _, c := range st.Conditions {
				out = append(out, c.Key)
				for _, v := range c.Values {
					out = append(out, variables(v)...)
				}
			}
			for _, r := range slices.Concat(st.Resources, st.NotResources) {
				out = append(out, variables(r)...)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
