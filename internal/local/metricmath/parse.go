// Package metricmath evaluates CloudWatch's metric math: expressions over metrics, which give time series
// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html).
package metricmath

import (
	"fmt"
	"strconv"
	"strings"
)

// Expr is a parsed expression.
type Expr struct {
	op   op
	name string  // of an identifier, a function, an operator or a string
	num  float64 // of a number
	args []*Expr
}

type op int

const (
	opNumber op = iota
	opString
	opName
	opCall
	opList
	opUnary
	opBinary
)

// maxLength is how long an expression may be, characters, and maxDepth how deep it may nest.
const (
	maxLength = 2048
	maxDepth  = 64
)

// Parse reads an expression. Functions and constants are upper case, identifiers of queries begin with
// a small letter.
func Parse(text string) (*Expr, error) {
	if len(text) > maxLength {
		return nil, fmt.Errorf("the expression is longer than %d characters", maxLength)
	}
	tokens, err := scan(text)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: tokens}
	e, err := p.binary(0)
	if err != nil {
		return nil, err
	}
	if t := p.peek(); t.kind != tokEnd {
		return nil, fmt.Errorf("unexpected %q at character %d", t.text, t.at+1)
	}
	return e, nil
}

type token struct {
	kind tokenKind
	text string
	at   int
}

type tokenKind int

const (
	tokEnd tokenKind = iota
	tokNumber
	tokString
	tokName
	tokSign
)

func letter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func scan(text string) ([]token, error) {
	var out []token
	for i := 0; i < len(text); {
		c, from := text[i], i
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
			continue
		case digit(c) || c == '.' && i+1 < len(text) && digit(text[i+1]):
			for i < len(text) && (digit(text[i]) || text[i] == '.') {
				i++
			}
			if i < len(text) && (text[i] == 'e' || text[i] == 'E') {
				j := i + 1
				if j < len(text) && (text[j] == '+' || text[j] == '-') {
					j++
				}
				if j < len(text) && digit(text[j]) {
					for i = j; i < len(text) && digit(text[i]); {
						i++
					}
				}
			}
			out = append(out, token{tokNumber, text[from:i], from})
			continue
		case letter(c):
			for i < len(text) && (letter(text[i]) || digit(text[i])) {
				i++
			}
			out = append(out, token{tokName, text[from:i], from})
			continue
		case c == '"' || c == '\'':
			end := strings.IndexByte(text[i+1:], c)
			if end < 0 {
				return nil, fmt.Errorf("the string at character %d has no end", i+1)
			}
			out = append(out, token{tokString, text[i+1 : i+1+end], from})
			i += end + 2
			continue
		}
		sign := string(c)
		if i+1 < len(text) {
			switch two := text[i : i+2]; two {
			case "==", "!=", "<=", ">=", "&&", "||":
				sign = two
			}
		}
		if !strings.Contains("+-*/^<>(),[]", sign) && len(sign) == 1 {
			return nil, fmt.Errorf("unexpected %q at character %d", sign, i+1)
		}
		out = append(out, token{tokSign, sign, from})
		i += len(sign)
	}
	return append(out, token{kind: tokEnd, text: "end of the expression", at: len(text)}), nil
}

type parser struct {
	tokens []token
	at     int
	depth  int
}

func (p *parser) peek() token { return p.tokens[p.at] }

func (p *parser) next() token {
	t := p.tokens[p.at]
	if t.kind != tokEnd {
		p.at++
	}
	return t
}

func (p *parser) expect(sign string) error {
	if t := p.next(); t.kind != tokSign || t.text != sign {
		return fmt.Errorf("expected %q instead of %q at character %d", sign, t.text, t.at+1)
	}
	return nil
}

// strength is how tightly an operator binds; 0: it is none.
func strength(t token) (name string, level int) {
	switch t.text {
	case "OR", "||":
		name, level = "OR", 1
	case "AND", "&&":
		name, level = "AND", 2
	case "==", "!=", "<", ">", "<=", ">=":
		name, level = t.text, 3
	case "+", "-":
		name, level = t.text, 4
	case "*", "/":
		name, level = t.text, 5
	case "^":
		name, level = t.text, 7 // above the sign
	}
	if t.kind != tokSign && t.kind != tokName {
		return "", 0
	}
	return name, level
}

func (p *parser) binary(above int) (*Expr, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, fmt.Errorf("the expression nests deeper than %d levels", maxDepth)
	}
	defer func() { p.depth-- }()
	left, err := p.unary()
	for err == nil {
		name, level := strength(p.peek())
		if level <= above {
			return left, nil
		}
		p.next()
		under := level
		if name == "^" {
			under-- // to the right
		}
		var right *Expr
		if right, err = p.binary(under); err == nil {
			left = &Expr{op: opBinary, name: name, args: []*Expr{left, right}}
		}
	}
	return nil, err
}

func (p *parser) unary() (*Expr, error) {
	if t := p.peek(); t.kind == tokSign && (t.text == "-" || t.text == "+") {
		p.next()
		e, err := p.binary(6)
		if err != nil || t.text == "+" {
			return e, err
		}
		return &Expr{op: opUnary, name: "-", args: []*Expr{e}}, nil
	}
	return p.primary()
}

func (p *parser) primary() (*Expr, error) {
	switch t := p.next(); {
	case t.kind == tokNumber:
		v, err := strconv.ParseFloat(t.text, 64)
		if err != nil {
			return nil, fmt.Errorf("%q at character %d is no number", t.text, t.at+1)
		}
		return &Expr{op: opNumber, num: v}, nil
	case t.kind == tokString:
		return &Expr{op: opString, name: t.text}, nil
	case t.kind == tokName && p.peek().kind == tokSign && p.peek().text == "(":
		p.next()
		args, err := p.list(")")
		return &Expr{op: opCall, name: t.text, args: args}, err
	case t.kind == tokName:
		if _, level := strength(t); level > 0 {
			return nil, fmt.Errorf("unexpected %q at character %d", t.text, t.at+1)
		}
		return &Expr{op: opName, name: t.text}, nil
	case t.kind == tokSign && t.text == "(":
		e, err := p.binary(0)
		if err != nil {
			return nil, err
		}
		return e, p.expect(")")
	case t.kind == tokSign && t.text == "[":
		args, err := p.list("]")
		return &Expr{op: opList, args: args}, err
	default:
		return nil, fmt.Errorf("unexpected %q at character %d", t.text, t.at+1)
	}
}

// list reads comma-separated expressions up to the closing sign.
func (p *parser) list(end string) ([]*Expr, error) {
	var out []*Expr
	if t := p.peek(); t.kind == tokSign && t.text == end {
		p.next()
		return nil, nil
	}
	for {
		e, err := p.binary(0)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
		if t := p.peek(); t.kind == tokSign && t.text == "," {
			p.next()
			continue
		}
		return out, p.expect(end)
	}
}
