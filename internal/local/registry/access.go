package registry

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/iampolicy/evaluate"
)

// Caller is who asks the registry for something.
type Caller struct {
	Account   string // 12 digits
	Principal string // ARN of the user or of the role's session; empty: the account's root
	Key       string // id of the access key whose token it is; empty: not known
	SourceIP  string // empty: the local AWS itself
}

func (c Caller) arn() string {
	if c.Principal == "" {
		return "arn:aws:iam::" + c.Account + ":root"
	}
	return c.Principal
}

// role is the ARN of the role of which the principal is a session; empty if it is none.
func (c Caller) role() string {
	head, rest, ok := strings.Cut(c.Principal, ":assumed-role/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return strings.Replace(head, ":sts:", ":iam:", 1) + ":role/" + name
}

// CheckPolicy tells whether text can be the policy of a repository.
func CheckPolicy(text string) error {
	if _, err := evaluate.Parse(text, evaluate.Attached); err != nil {
		return badPolicy(err)
	}
	return nil
}

// CheckRegistryPolicy tells whether text can be the policy of a registry: its statements name
// resources.
func CheckRegistryPolicy(text string) error {
	if _, err := evaluate.Parse(text, evaluate.Resource); err != nil {
		return badPolicy(err)
	}
	return nil
}

func badPolicy(err error) error {
	return errorf(CodeInvalidParameter, "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid repository policy provided': %v", err)
}

// everything is what the policies of a caller allow as far as the registry knows: whether they do is
// the caller's own account's to judge.
var everything = func() *evaluate.Policy {
	p, err := evaluate.Parse(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`, evaluate.Identity)
	if err != nil {
		panic(err)
	}
	return p
}()

// request is what a policy is asked.
func (s *Store) request(c Caller, action, repository string) evaluate.Request {
	arn := c.arn()
	if role := c.role(); role != "" {
		arn = role
	}
	now := s.now()
	r := evaluate.Request{Principal: evaluate.Principal{ARN: c.arn(), Role: c.role(), Account: c.Account}, Action: action, Resource: s.ARN(repository),
		Context: map[string][]string{"aws:principalarn": {arn}, "aws:principalaccount": {c.Account}, "aws:currenttime": {now.Format(time.RFC3339)},
			"aws:epochtime": {strconv.FormatInt(now.Unix(), 10)}, "aws:securetransport": {"false"}, "aws:requestedregion": {s.cfg.Region}}}
	if c.SourceIP != "" {
		r.Context["aws:sourceip"] = []string{c.SourceIP}
	}
	if repo, err := s.Repository(repository); err == nil {
		for k, v := range repo.Tags {
			r.Context["aws:resourcetag/"+strings.ToLower(k)] = []string{v}
			r.Context["ecr:resourcetag/"+strings.ToLower(k)] = []string{v}
		}
	}
	return r
}

// Allows tells whether somebody may do an action on a repository, as far as the policies of the
// repository and of the registry say. Another account needs one of them to allow it; the registry's
// own account needs that none denies.
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry-permissions.html
func (s *Store) Allows(c Caller, action string, r *Repository) bool {
	asked := s.request(c, action, r.Name)
	own := c.Account == s.cfg.Account
	granted := own
	if p := policyOf(r.Policy, evaluate.Attached); p != nil {
		d := decide(s, p, asked)
		if denied(d) {
			return false
		}
		granted = granted || d.Allowed()
	}
	if p := policyOf(s.Setting(SettingPolicy), evaluate.Resource); p != nil {
		d := decide(s, p, asked)
		if denied(d) {
			return false
		}
		granted = granted || d.Allowed()
	}
	return granted
}

// SettingPolicy is the name of the registry's policy among its documents.
const SettingPolicy = "policy"

// grants tells whether the registry's policy lets another account do an action.
func (s *Store) grants(c Caller, action, repository string) bool {
	p := policyOf(s.Setting(SettingPolicy), evaluate.Resource)
	return p != nil && decide(s, p, s.request(c, action, repository)).Allowed()
}

func (s *Store) caller() Caller { return Caller{Account: s.cfg.Account} }

// policyOf reads a stored policy; nil if there is none.
func policyOf(text string, kind evaluate.Kind) *evaluate.Policy {
	if text == "" {
		return nil
	}
	p, err := evaluate.Parse(text, kind)
	if err != nil { // from a time when it was valid: it allows nothing
		return &evaluate.Policy{}
	}
	return p
}

func decide(s *Store, p *evaluate.Policy, r evaluate.Request) evaluate.Decision {
	return evaluate.Decide(evaluate.Policies{Identity: []*evaluate.Policy{everything}, Resource: p, Owner: s.cfg.Account}, r)
}

func denied(d evaluate.Decision) bool { return d.Cause == evaluate.DeniedResource }

// excluded tells whether the caller is one whose pulls do not count.
func (s *Store) excluded(c Caller) bool {
	var m map[string]time.Time
	if text := s.Setting(SettingExclusions); text == "" || json.Unmarshal([]byte(text), &m) != nil {
		return false
	}
	_, user := m[c.arn()]
	_, role := m[c.role()]
	return user || role
}

// SettingExclusions is the name of the pull time exclusions among the registry's documents.
const SettingExclusions = "pull-time-exclusions"
