package placement

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Expr is an expression of the cluster query language.
//
// Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cluster-query-language.html
type Expr struct {
	text string
	root node
}

// String is the expression as written.
func (e *Expr) String() string { return e.text }

// Match reports whether the instance is a member.
func (e *Expr) Match(i *Instance) bool { return e.root.match(i) }

type node interface{ match(*Instance) bool }

type (
	andNode struct{ l, r node }
	orNode  struct{ l, r node }
	notNode struct{ n node }
	test    struct {
		subject subject
		op      op
		args    []string
		re      *regexp.Regexp
		at      time.Time // registeredAt's argument
		number  float64   // runningTasksCount's argument
	}
)

func (n andNode) match(i *Instance) bool { return n.l.match(i) && n.r.match(i) }
func (n orNode) match(i *Instance) bool  { return n.l.match(i) || n.r.match(i) }
func (n notNode) match(i *Instance) bool { return !n.n.match(i) }

type op int

const (
	opEq op = iota
	opNe
	opGt
	opGe
	opLt
	opLe
	opIn
	opNotIn
	opMatch
	opNotMatch
	opExists
	opNotExists
)

var ops = map[string]op{
	"==": opEq, "equals": opEq, "!=": opNe, "not_equals": opNe,
	">": opGt, "greater_than": opGt, ">=": opGe, "greater_than_equal": opGe,
	"<": opLt, "less_than": opLt, "<=": opLe, "less_than_equal": opLe,
	"in": opIn, "!in": opNotIn, "not_in": opNotIn,
	"=~": opMatch, "matches": opMatch, "!~": opNotMatch, "not_matches": opNotMatch,
	"exists": opExists, "!exists": opNotExists, "not_exists": opNotExists,
}

func (o op) ordered() bool { return o >= opGt && o <= opLe }

type subject struct {
	kind subjectKind
	attr string // attribute:attr
}

type subjectKind int

const (
	agentConnected subjectKind = iota
	agentVersion
	attribute
	ec2InstanceID
	registeredAt
	runningTasksCount
	taskGroup
)

var subjects = map[string]subjectKind{
	"agentConnected": agentConnected, "agentVersion": agentVersion, "ec2InstanceId": ec2InstanceID,
	"registeredAt": registeredAt, "runningTasksCount": runningTasksCount, "task:group": taskGroup,
}

// allows reports whether AWS documents the operator for the subject.
func (k subjectKind) allows(o op) bool {
	switch k {
	case attribute:
		return true
	case agentConnected, ec2InstanceID, taskGroup:
		return !o.ordered() && o != opExists && o != opNotExists
	default: // agentVersion, registeredAt, runningTasksCount
		return o <= opLe
	}
}

// registeredAt takes these forms.
var dateForms = []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02"}

// prepare checks the arguments and turns them into values; it returns what is wrong.
func (t *test) prepare() error {
	switch t.op {
	case opMatch, opNotMatch:
		re, err := regexp.Compile("^(?:" + t.args[0] + ")$")
		if err != nil {
			return fmt.Errorf("bad pattern %q", t.args[0])
		}
		t.re = re
	}
	if t.op == opExists || t.op == opNotExists {
		return nil
	}
	switch t.subject.kind {
	case registeredAt:
		for _, f := range dateForms {
			if at, err := time.Parse(f, t.args[0]); err == nil {
				t.at = at
				return nil
			}
		}
		return fmt.Errorf("%q is not a date like 2018-06-18T22:28:28+00:00 or 2018-06-18", t.args[0])
	case runningTasksCount:
		n, err := strconv.Atoi(t.args[0])
		if err != nil {
			return fmt.Errorf("%q is not a whole number", t.args[0])
		}
		t.number = float64(n)
	}
	return nil
}

func (t *test) match(i *Instance) bool {
	switch t.subject.kind {
	case agentConnected:
		return t.text(strconv.FormatBool(i.AgentConnected))
	case ec2InstanceID:
		return t.text(i.EC2ID)
	case agentVersion:
		return t.order(compareVersions(i.AgentVersion, t.args[0]))
	case registeredAt:
		// The date has whole seconds, so the fraction AWS shows must not make == false.
		return t.order(i.RegisteredAt.Truncate(time.Second).Compare(t.at))
	case runningTasksCount:
		return t.order(cmp.Compare(float64(i.Running), t.number))
	case taskGroup:
		return t.groups(i)
	}
	v, ok := i.Attribute(t.subject.attr)
	switch {
	case t.op == opExists:
		return ok
	case t.op == opNotExists:
		return !ok
	case !ok: // an instance without the attribute equals nothing and is in nothing
		return t.op == opNe || t.op == opNotIn || t.op == opNotMatch
	case t.op.ordered():
		return t.order(compareValues(v, t.args[0]))
	}
	return t.text(v)
}

// text decides the operators on strings.
func (t *test) text(v string) bool {
	switch t.op {
	case opEq:
		return v == t.args[0]
	case opNe:
		return v != t.args[0]
	case opMatch:
		return t.re.MatchString(v)
	case opNotMatch:
		return !t.re.MatchString(v)
	case opIn, opNotIn:
		for _, a := range t.args {
			if a == v {
				return t.op == opIn
			}
		}
		return t.op == opNotIn
	}
	return false
}

// groups decides the operators on the groups of the instance's tasks: the positive ones hold if
// any task's group does, the negative ones are their opposites.
func (t *test) groups(i *Instance) bool {
	positive := *t
	negated := true
	switch t.op {
	case opNe:
		positive.op = opEq
	case opNotIn:
		positive.op = opIn
	case opNotMatch:
		positive.op = opMatch
	default:
		negated = false
	}
	for g, n := range i.Groups {
		if n > 0 && positive.text(g) {
			return !negated
		}
	}
	return negated
}

func (t *test) order(c int) bool {
	switch t.op {
	case opEq:
		return c == 0
	case opNe:
		return c != 0
	case opGt:
		return c > 0
	case opGe:
		return c >= 0
	case opLt:
		return c < 0
	default:
		return c <= 0
	}
}

// compareValues compares numbers as numbers and everything else as text.
func compareValues(a, b string) int {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	if errX == nil && errY == nil {
		return cmp.Compare(x, y)
	}
	return strings.Compare(a, b)
}

// compareVersions compares dotted versions number by number; a missing number is 0.
func compareVersions(a, b string) int {
	x, y := strings.Split(strings.TrimPrefix(a, "v"), "."), strings.Split(strings.TrimPrefix(b, "v"), ".")
	for k := range max(len(x), len(y)) {
		p, q := "0", "0"
		if k < len(x) {
			p = x[k]
		}
		if k < len(y) {
			q = y[k]
		}
		if c := compareValues(p, q); c != 0 {
			return c
		}
	}
	return 0
}
