package registry

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/image/lifecycle"
)

// oneOrMany is a string or a list of strings.
type oneOrMany []string

// UnmarshalJSON reads either form.
func (o *oneOrMany) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*o = oneOrMany{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(o))
}

// principals is "*" or a map from a kind to identities.
type principals map[string]oneOrMany

// UnmarshalJSON reads either form.
func (p *principals) UnmarshalJSON(data []byte) error {
	var all string
	if json.Unmarshal(data, &all) == nil {
		*p = principals{"AWS": {all}}
		return nil
	}
	return json.Unmarshal(data, (*map[string]oneOrMany)(p))
}

type statement struct {
	Effect    string
	Principal principals
	Action    oneOrMany
	Condition json.RawMessage
}

type accessPolicy struct {
	Version   string
	Statement []statement
}

// CheckPolicy tells whether text can be the policy of a repository or a registry.
func CheckPolicy(text string) error {
	var p accessPolicy
	if err := json.Unmarshal([]byte(text), &p); err != nil || len(p.Statement) == 0 {
		return errorf(CodeInvalidParameter, "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid repository policy provided'")
	}
	for _, s := range p.Statement {
		if s.Effect != "Allow" && s.Effect != "Deny" || len(s.Action) == 0 || len(s.Principal) == 0 {
			return errorf(CodeInvalidParameter, "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid repository policy provided'")
		}
	}
	return nil
}

// Allows tells whether the repository's policy lets another account do an action. Conditions are
// not evaluated: a statement with one never allows, and denies.
func (r *Repository) Allows(account, action string) bool {
	var p accessPolicy
	if r.Policy == "" || json.Unmarshal([]byte(r.Policy), &p) != nil {
		return false
	}
	allowed := false
	for _, s := range p.Statement {
		matches := slices.ContainsFunc(s.Action, func(a string) bool {
			return lifecycle.MatchPattern(strings.ToLower(a), strings.ToLower(action))
		}) && slices.ContainsFunc(s.Principal["AWS"], func(who string) bool {
			return who == "*" || who == account || strings.HasPrefix(who, "arn:aws:iam::"+account+":")
		})
		switch conditional := len(s.Condition) > 0; {
		case !matches:
		case s.Effect == "Deny":
			return false
		case !conditional:
			allowed = true
		}
	}
	return allowed
}
