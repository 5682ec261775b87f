package placement

import (
	"fmt"
	"strings"
)

// SyntaxError is a fault in an expression of the cluster query language.
type SyntaxError struct {
	Expression string
	Column     int // of the first character at fault, counted in bytes from 1
	Problem    string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("expression %q, column %d: %s", e.Expression, e.Column, e.Problem)
}

// maxDepth bounds nesting, so that no expression can exhaust the stack.
const maxDepth = 200

// Parse reads an expression. Errors are of type *SyntaxError.
//
//	expression = term { ("or" | "||") term }
//	term       = factor { ("and" | "&&") factor }
//	factor     = ("not" | "!") factor | "(" expression ")" | subject operator [argument]
func Parse(text string) (*Expr, error) {
	p := &parser{text: text}
	if err := p.scan(); err != nil {
		return nil, err
	}
	root, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if t := p.peek(); t.kind != end {
		return nil, p.fault(t, "expected and, or, or the end, found %s", t)
	}
	return &Expr{text: text, root: root}, nil
}

type kind int

const (
	end kind = iota
	word
	quoted
	symbol // operators, brackets, comma
)

type token struct {
	kind kind
	text string
	pos  int
}

func (t token) String() string {
	if t.kind == end {
		return "the end"
	}
	return fmt.Sprintf("%q", t.text)
}

func (t token) is(texts ...string) bool {
	if t.kind == quoted {
		return false
	}
	for _, s := range texts {
		if t.text == s {
			return true
		}
	}
	return false
}

type parser struct {
	text   string
	tokens []token
	next   int
}

func (p *parser) fault(t token, format string, args ...any) error {
	return &SyntaxError{Expression: p.text, Column: t.pos + 1, Problem: fmt.Sprintf(format, args...)}
}

var symbols = []string{"!exists", "!in", "==", "!=", ">=", "<=", "=~", "!~", "&&", "||", ">", "<", "!", "(", ")", "[", "]", ","}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// wordEnd reports whether a word ends before text[i:].
func wordEnd(text string, i int) bool {
	c := text[i]
	if isSpace(c) || strings.IndexByte("()[],<>\"'", c) >= 0 {
		return true
	}
	rest := text[i:]
	for _, s := range []string{"==", "!=", "=~", "!~", "&&", "||"} {
		if strings.HasPrefix(rest, s) {
			return true
		}
	}
	return false
}

func (p *parser) scan() error {
	s := p.text
	for i := 0; i < len(s); {
		if isSpace(s[i]) {
			i++
			continue
		}
		if s[i] == '"' || s[i] == '\'' {
			n := strings.IndexByte(s[i+1:], s[i])
			if n < 0 {
				return p.fault(token{pos: i}, "the quote is never closed")
			}
			p.tokens = append(p.tokens, token{quoted, s[i+1 : i+1+n], i})
			i += n + 2
			continue
		}
		if n := p.scanSymbol(i); n > 0 {
			i += n
			continue
		}
		start := i
		for i++; i < len(s) && !wordEnd(s, i); i++ {
		}
		p.tokens = append(p.tokens, token{word, s[start:i], start})
	}
	p.tokens = append(p.tokens, token{end, "", len(s)})
	return nil
}

func (p *parser) scanSymbol(i int) int {
	rest := p.text[i:]
	for _, y := range symbols {
		if !strings.HasPrefix(rest, y) {
			continue
		}
		if (y == "!exists" || y == "!in") && len(rest) > len(y) && !wordEnd(rest, len(y)) {
			continue // !inactive is "not" followed by a word
		}
		p.tokens = append(p.tokens, token{symbol, y, i})
		return len(y)
	}
	return 0
}

func (p *parser) peek() token { return p.tokens[p.next] }

func (p *parser) take() token {
	t := p.tokens[p.next]
	if t.kind != end {
		p.next++
	}
	return t
}

func (p *parser) or(depth int) (node, error) {
	l, err := p.and(depth)
	for err == nil && p.peek().is("or", "||") {
		p.take()
		var r node
		if r, err = p.and(depth); err == nil {
			l = orNode{l, r}
		}
	}
	return l, err
}

func (p *parser) and(depth int) (node, error) {
	l, err := p.factor(depth)
	for err == nil && p.peek().is("and", "&&") {
		p.take()
		var r node
		if r, err = p.factor(depth); err == nil {
			l = andNode{l, r}
		}
	}
	return l, err
}

func (p *parser) factor(depth int) (node, error) {
	t := p.peek()
	if depth > maxDepth {
		return nil, p.fault(t, "nested more than %d deep", maxDepth)
	}
	switch {
	case t.is("not", "!"):
		p.take()
		n, err := p.factor(depth + 1)
		return notNode{n}, err
	case t.is("("):
		p.take()
		n, err := p.or(depth + 1)
		if err != nil {
			return nil, err
		}
		if c := p.take(); !c.is(")") {
			return nil, p.fault(c, "expected ) for the ( in column %d, found %s", t.pos+1, c)
		}
		return n, nil
	}
	return p.test()
}

func (p *parser) test() (node, error) {
	st := p.take()
	if st.kind != word {
		return nil, p.fault(st, "expected a subject like attribute:ecs.instance-type, found %s", st)
	}
	var sub subject
	if name, ok := strings.CutPrefix(st.text, "attribute:"); ok {
		if name == "" {
			return nil, p.fault(st, "attribute: needs a name")
		}
		sub = subject{attribute, name}
	} else if k, ok := subjects[st.text]; ok {
		sub = subject{kind: k}
	} else {
		return nil, p.fault(st, "unknown subject %q: agentConnected, agentVersion, attribute:NAME, ec2InstanceId, registeredAt, runningTasksCount or task:group", st.text)
	}
	ot := p.take()
	o, ok := ops[ot.text]
	if !ok || ot.kind == quoted {
		return nil, p.fault(ot, "expected an operator after %s, found %s", st.text, ot)
	}
	if !sub.kind.allows(o) {
		return nil, p.fault(ot, "%s cannot be used with %s", ot.text, st.text)
	}
	t := &test{subject: sub, op: o}
	at := p.peek()
	var err error
	switch o {
	case opExists, opNotExists:
		return t, nil
	case opIn, opNotIn:
		t.args, err = p.list()
	default:
		err = p.argument(t)
	}
	if err != nil {
		return nil, err
	}
	if err := t.prepare(); err != nil {
		return nil, p.fault(at, "%s", err)
	}
	return t, nil
}

func (p *parser) argument(t *test) error {
	a := p.take()
	if a.kind != word && a.kind != quoted {
		return p.fault(a, "expected a value, found %s", a)
	}
	t.args = []string{a.text}
	return nil
}

func (p *parser) list() ([]string, error) {
	open := p.take()
	if !open.is("[") {
		return nil, p.fault(open, "expected a list like [a, b], found %s", open)
	}
	var args []string
	for {
		a := p.take()
		if a.kind != word && a.kind != quoted {
			return nil, p.fault(a, "expected a value, found %s", a)
		}
		args = append(args, a.text)
		switch c := p.take(); {
		case c.is("]"):
			return args, nil
		case !c.is(","):
			return nil, p.fault(c, "expected , or ], found %s", c)
		}
	}
}
