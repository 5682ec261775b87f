// Package evaluate reads IAM policies and decides what they allow, as IAM does.
//
// It knows the whole policy language: statements that allow and deny, Not elements, wildcards, variables,
// every condition operator, and how the policies of an identity, a session, a boundary and a resource
// come together. What a request asks for (its action, resource and context) is told to it.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
package evaluate

// Policy is a policy that was read.
type Policy struct {
	Version    string // "2012-10-17" or "2008-10-17"; variables exist in the former only
	ID         string
	Statements []Statement
}

// Statement is one statement. Of each pair (Actions and NotActions, …) one is empty.
type Statement struct {
	Sid                     string
	Allow                   bool
	Actions, NotActions     []string
	Resources, NotResources []string // none in a trust policy or a repository's
	Principals              *Principals
	Conditions              []Condition
	Start, End              int // where it stands in the text, in bytes
}

// Principals says whom a statement of a resource's policy is about.
type Principals struct {
	Not       bool // everybody else
	Everyone  bool // "*"
	AWS       []string
	Service   []string
	Federated []string
	Canonical []string
}

// Condition is one line of a Condition element: all of them must hold.
type Condition struct {
	Operator string // without set operator and IfExists: "StringLike"
	ForAll   bool   // ForAllValues:
	ForAny   bool   // ForAnyValue:
	IfExists bool
	Key      string // as written; keys are compared without regard to case
	Values   []string
}

// Kind is what a policy is attached to; each has its own rules of what must be in it.
type Kind int

// The kinds of policies.
const (
	Identity Kind = iota // of a user, group or role; also session policies and boundaries
	Resource             // of a resource whose statements name resources
	Attached             // of a resource that is not named in it, as ECR's repositories
	Trust                // of a role: who may assume it
)

// Malformed is why a policy was refused, in IAM's words. Its AWS code is MalformedPolicyDocument.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_policies.html
type Malformed struct{ Message string }

func (m *Malformed) Error() string { return m.Message }

// Position is where a byte of a text stands: line and column, both from 1.
func Position(text string, offset int) (line, column int) {
	line, column = 1, 1
	for _, c := range text[:min(max(offset, 0), len(text))] {
		if column++; c == '\n' {
			line, column = line+1, 1
		}
	}
	return line, column
}
