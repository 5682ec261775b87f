package cloudwatch

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/metricmath"
)

// maxFound is how many metrics a search finds at most, AWS's number
// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/search-expression-syntax.html).
const maxFound = 100

// search carries out a SEARCH expression: a schema, {namespace, dimension names}, and terms that are
// joined by AND (or nothing), OR and NOT. A quoted term must be the whole name or value; another one,
// part of it.
func (s *Service) search(expression, stat string, start, end time.Time, period time.Duration) ([]metricmath.Series, error) {
	if err := checkStat(stat); err != nil {
		return nil, errors.New(errorText(err))
	}
	match, err := parseSearch(expression)
	if err != nil {
		return nil, err
	}
	var found []*series
	s.metrics.list(func(m *series) {
		if len(found) < maxFound && match(m) {
			found = append(found, m)
		}
	})
	out := []metricmath.Series{}
	for _, m := range found {
		x := s.series(m.namespace, m.name, m.dims, stat, start, end, max(period, time.Minute))
		for i := len(m.dims) - 1; i >= 0; i-- {
			x.Label = m.dims[i].Value + " " + x.Label
		}
		out = append(out, x)
	}
	return out, nil
}

type matcher func(*series) bool

func parseSearch(text string) (matcher, error) {
	schema := matcher(func(*series) bool { return true })
	rest := strings.TrimSpace(text)
	if strings.HasPrefix(rest, "{") {
		inside, after, ok := strings.Cut(rest[1:], "}")
		if !ok {
			return nil, errors.New("the schema of the search has no }")
		}
		var names []string
		for name := range strings.SplitSeq(inside, ",") {
			names = append(names, strings.Trim(strings.TrimSpace(name), `"`))
		}
		namespace, dims := names[0], names[1:]
		slices.Sort(dims)
		schema = func(m *series) bool {
			return m.namespace == namespace && slices.EqualFunc(m.dims, dims, func(d Dimension, name string) bool { return d.Name == name })
		}
		rest = after
	}
	p := &searchParser{}
	if err := p.scan(rest); err != nil {
		return nil, err
	}
	if len(p.tokens) == 0 {
		return schema, nil
	}
	terms, err := p.either()
	if err != nil {
		return nil, err
	}
	if p.at < len(p.tokens) {
		return nil, fmt.Errorf("unexpected %q in the search", p.tokens[p.at].text)
	}
	return func(m *series) bool { return schema(m) && terms(m) }, nil
}

type searchToken struct {
	text   string
	quoted bool
}

type searchParser struct {
	tokens []searchToken
	at     int
	depth  int
}

func (p *searchParser) scan(text string) error {
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == ' ' || c == '\t' || c == '\n':
			i++
		case c == '(' || c == ')' || c == '=':
			p.tokens = append(p.tokens, searchToken{text: string(c)})
			i++
		case c == '"' || c == '\'':
			n := strings.IndexByte(text[i+1:], c)
			if n < 0 {
				return errors.New("a quoted term of the search has no end")
			}
			p.tokens = append(p.tokens, searchToken{text[i+1 : i+1+n], true})
			i += n + 2
		default:
			n := strings.IndexAny(text[i:], " \t\n()=\"'")
			if n < 0 {
				n = len(text) - i
			}
			p.tokens = append(p.tokens, searchToken{text: text[i : i+n]})
			i += n
		}
	}
	return nil
}

func (p *searchParser) is(text string) bool {
	return p.at < len(p.tokens) && !p.tokens[p.at].quoted && p.tokens[p.at].text == text
}

func (p *searchParser) either() (matcher, error) {
	if p.depth++; p.depth > 50 {
		return nil, errors.New("the search nests too deep")
	}
	defer func() { p.depth-- }()
	left, err := p.both()
	for err == nil && p.is("OR") {
		p.at++
		a := left
		var b matcher
		if b, err = p.both(); err == nil {
			left = func(m *series) bool { return a(m) || b(m) }
		}
	}
	return left, err
}

func (p *searchParser) both() (matcher, error) {
	left, err := p.one()
	for err == nil && p.at < len(p.tokens) && !p.is("OR") && !p.is(")") {
		if p.is("AND") {
			p.at++
		}
		a := left
		var b matcher
		if b, err = p.one(); err == nil {
			left = func(m *series) bool { return a(m) && b(m) }
		}
	}
	return left, err
}

func (p *searchParser) one() (matcher, error) {
	switch {
	case p.at == len(p.tokens):
		return nil, errors.New("the search ends too early")
	case p.is("NOT"):
		p.at++
		if p.depth++; p.depth > 50 {
			return nil, errors.New("the search nests too deep")
		}
		defer func() { p.depth-- }()
		f, err := p.one()
		if err != nil {
			return nil, err
		}
		return func(m *series) bool { return !f(m) }, nil
	case p.is("("):
		p.at++
		f, err := p.either()
		if err != nil {
			return nil, err
		}
		if !p.is(")") {
			return nil, errors.New("a parenthesis of the search is not closed")
		}
		p.at++
		return f, nil
	case p.is(")") || p.is("=") || p.is("AND") || p.is("OR"):
		return nil, fmt.Errorf("unexpected %q in the search", p.tokens[p.at].text)
	}
	name := p.tokens[p.at]
	p.at++
	if !p.is("=") {
		return func(m *series) bool {
			if name.matches(m.namespace) || name.matches(m.name) {
				return true
			}
			return slices.ContainsFunc(m.dims, func(d Dimension) bool { return name.matches(d.Name) || name.matches(d.Value) })
		}, nil
	}
	p.at++
	if p.is("(") { // Name=("a" OR "b")
		return nil, errors.New("not supported: several values of a name in a search")
	}
	if p.at == len(p.tokens) || p.is(")") || p.is("=") {
		return nil, fmt.Errorf("%s= has no value in the search", name.text)
	}
	value := p.tokens[p.at]
	p.at++
	return func(m *series) bool {
		switch name.text {
		case "MetricName":
			return value.matches(m.name)
		case "Namespace":
			return value.matches(m.namespace)
		}
		return slices.ContainsFunc(m.dims, func(d Dimension) bool { return d.Name == name.text && value.matches(d.Value) })
	}, nil
}

func (t searchToken) matches(s string) bool {
	if t.quoted {
		return t.text == s
	}
	return strings.Contains(strings.ToLower(s), strings.ToLower(t.text))
}
