package cloudwatch

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxChildren and maxElements bound a rule
// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutCompositeAlarm.html).
const (
	maxChildren = 100
	maxElements = 500
)

// rule is a parsed AlarmRule of a composite alarm.
type rule struct {
	op    string // AND, OR, NOT, TRUE, FALSE, AT_LEAST, or the state a child must be in
	child string // name of the alarm, of a state
	kids  []*rule
	least int // how many of kids must hold, of AT_LEAST
}

// holds evaluates the rule over the states of alarms.
func (r *rule) holds(state func(name string) string) bool {
	switch r.op {
	case "AND":
		return r.kids[0].holds(state) && r.kids[1].holds(state)
	case "OR":
		return r.kids[0].holds(state) || r.kids[1].holds(state)
	case "NOT":
		return !r.kids[0].holds(state)
	case "TRUE", "FALSE":
		return r.op == "TRUE"
	case "AT_LEAST":
		n := 0
		for _, k := range r.kids {
			if k.holds(state) {
				n++
			}
		}
		return n >= r.least
	}
	return state(r.child) == r.op
}

// children are the names of the alarms of the rule, each once.
func (r *rule) children() []string {
	var out []string
	var look func(*rule)
	look = func(r *rule) {
		if r.child != "" && !slices.Contains(out, r.child) {
			out = append(out, r.child)
		}
		for _, k := range r.kids {
			look(k)
		}
	}
	look(r)
	return out
}

// parseRule reads an AlarmRule: ALARM(name), OK(name) and INSUFFICIENT_DATA(name), AT_LEAST(number or percent,
// state, (names)), TRUE and FALSE, joined by AND, OR and NOT. Names may be ARNs, and may be in double quotes.
//
// Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-combining.html
func parseRule(text string) (*rule, error) {
	p := &ruleParser{text: text}
	r, err := p.either()
	if err != nil {
		return nil, err
	}
	if p.space(); p.at < len(p.text) {
		return nil, fmt.Errorf("unexpected %q at character %d", p.text[p.at:min(len(p.text), p.at+20)], p.at+1)
	}
	if n := len(r.children()); n > maxChildren {
		return nil, fmt.Errorf("it has %d children, of %d", n, maxChildren)
	}
	return r, nil
}

type ruleParser struct {
	text            string
	at              int
	depth, elements int
}

func (p *ruleParser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

// word is the next word without taking it.
func (p *ruleParser) word() string {
	p.space()
	i := p.at
	for i < len(p.text) && (p.text[i] >= 'a' && p.text[i] <= 'z' || p.text[i] >= 'A' && p.text[i] <= 'Z' || p.text[i] == '_') {
		i++
	}
	return p.text[p.at:i]
}

func (p *ruleParser) take(word string) bool {
	if w := p.word(); w == "" || !strings.EqualFold(w, word) {
		return false
	}
	p.at += len(word)
	return true
}

func (p *ruleParser) sign(c byte) bool {
	if p.space(); p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *ruleParser) either() (*rule, error) {
	left, err := p.both()
	for err == nil && p.take("OR") {
		var right *rule
		if right, err = p.both(); err == nil {
			left = &rule{op: "OR", kids: []*rule{left, right}}
		}
	}
	return left, err
}

func (p *ruleParser) both() (*rule, error) {
	left, err := p.one()
	for err == nil && p.take("AND") {
		var right *rule
		if right, err = p.one(); err == nil {
			left = &rule{op: "AND", kids: []*rule{left, right}}
		}
	}
	return left, err
}

func (p *ruleParser) one() (*rule, error) {
	p.depth++
	defer func() { p.depth-- }()
	if p.elements++; p.elements > maxElements || p.depth > maxElements {
		return nil, fmt.Errorf("it has more than %d elements", maxElements)
	}
	switch {
	case p.take("NOT"):
		k, err := p.one()
		return &rule{op: "NOT", kids: []*rule{k}}, err
	case p.take("TRUE"):
		return &rule{op: "TRUE"}, nil
	case p.take("FALSE"):
		return &rule{op: "FALSE"}, nil
	case p.sign('('):
		k, err := p.either()
		if err == nil && !p.sign(')') {
			err = errNotClosed
		}
		return k, err
	}
	if p.take("AT_LEAST") {
		return p.atLeast()
	}
	if s := p.state(); s != "" {
		if err := p.expect('('); err != nil {
			return nil, err
		}
		name, err := p.name(")")
		if err == nil && !p.sign(')') {
			err = errNotClosed
		}
		return &rule{op: s, child: name}, err
	}
	return nil, fmt.Errorf("a function, a parenthesis, NOT, TRUE or FALSE is expected at character %d", p.at+1)
}

var errNotClosed = errors.New("a parenthesis is not closed")

func (p *ruleParser) state() string {
	for _, s := range []string{"ALARM", "OK", "INSUFFICIENT_DATA"} {
		if p.take(s) {
			return s
		}
	}
	return ""
}

func (p *ruleParser) expect(c byte) error {
	if !p.sign(c) {
		return fmt.Errorf("%q is expected at character %d", c, p.at+1)
	}
	return nil
}

// atLeast reads what follows AT_LEAST.
func (p *ruleParser) atLeast() (*rule, error) {
	if err := p.expect('('); err != nil {
		return nil, err
	}
	p.space()
	from := p.at
	for p.at < len(p.text) && p.text[p.at] >= '0' && p.text[p.at] <= '9' {
		p.at++
	}
	threshold, err := strconv.Atoi(p.text[from:p.at])
	percent := p.sign('%')
	if err != nil || threshold < 1 || percent && threshold > 100 {
		return nil, fmt.Errorf("a number of alarms, or a part of them from 1%% to 100%%, is expected at character %d", from+1)
	}
	if err := p.expect(','); err != nil {
		return nil, err
	}
	not := p.take("NOT")
	s := p.state()
	if s == "" {
		return nil, fmt.Errorf("ALARM, OK or INSUFFICIENT_DATA is expected at character %d", p.at+1)
	}
	if err := errors.Join(p.expect(','), p.expect('(')); err != nil {
		return nil, err
	}
	r := &rule{op: "AT_LEAST", least: threshold}
	for {
		if p.elements++; p.elements > maxElements {
			return nil, fmt.Errorf("it has more than %d elements", maxElements)
		}
		name, err := p.name(",)")
		if err != nil {
			return nil, err
		}
		kid := &rule{op: s, child: name}
		if not {
			kid = &rule{op: "NOT", kids: []*rule{kid}}
		}
		r.kids = append(r.kids, kid)
		if !p.sign(',') {
			break
		}
	}
	for range 2 { // of the alarms, and its own
		if !p.sign(')') {
			return nil, errNotClosed
		}
	}
	if percent {
		r.least = (threshold*len(r.kids) + 99) / 100
	}
	if r.least > len(r.kids) {
		return nil, fmt.Errorf("AT_LEAST asks for %d of %d alarms", r.least, len(r.kids))
	}
	return r, nil
}

// name reads the name of an alarm: to one of the ends, if it is not in quotes.
func (p *ruleParser) name(ends string) (string, error) {
	quoted := p.sign('"')
	if quoted {
		ends = `"`
	}
	n := strings.IndexAny(p.text[p.at:], ends)
	if n < 0 {
		return "", errNotClosed
	}
	name := p.text[p.at : p.at+n]
	p.at += n
	if quoted {
		p.at++
	} else {
		name = strings.TrimSpace(name)
	}
	if _, after, ok := strings.Cut(name, ":alarm:"); ok {
		name = after
	}
	if name == "" {
		return "", errors.New("the name of an alarm is empty")
	}
	return name, nil
}
