package cloudwatch

import (
	"errors"
	"fmt"
	"slices"
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
	op    string // AND, OR, NOT, TRUE, FALSE, or the state a child must be in
	child string // name of the alarm, of a state
	kids  []*rule
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

// parseRule reads an AlarmRule: ALARM(name), OK(name) and INSUFFICIENT_DATA(name), TRUE and FALSE,
// joined by AND, OR and NOT. Names may be ARNs, and may be in double quotes.
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
			err = errors.New("a parenthesis is not closed")
		}
		return k, err
	}
	for _, s := range []string{"ALARM", "OK", "INSUFFICIENT_DATA"} {
		if p.take(s) {
			name, err := p.name()
			return &rule{op: s, child: name}, err
		}
	}
	return nil, fmt.Errorf("a function, a parenthesis, NOT, TRUE or FALSE is expected at character %d", p.at+1)
}

func (p *ruleParser) name() (string, error) {
	if !p.sign('(') {
		return "", fmt.Errorf("a parenthesis is expected at character %d", p.at+1)
	}
	quoted := p.sign('"')
	end := byte(')')
	if quoted {
		end = '"'
	}
	n := strings.IndexByte(p.text[p.at:], end)
	if n < 0 {
		return "", errors.New("a parenthesis is not closed")
	}
	name := p.text[p.at : p.at+n]
	p.at += n
	if quoted {
		p.at++
	} else {
		name = strings.TrimSpace(name)
	}
	if !p.sign(')') {
		return "", errors.New("a parenthesis is not closed")
	}
	if _, after, ok := strings.Cut(name, ":alarm:"); ok {
		name = after
	}
	if name == "" {
		return "", errors.New("the name of an alarm is empty")
	}
	return name, nil
}
