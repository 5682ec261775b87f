// Package events holds what the services that pass events on share: patterns, input transformers and
// the way to web servers of this machine.
package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Pattern is a compiled event pattern
// (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html).
type Pattern struct {
	fields map[string]node
	or     []Pattern // one of them must match too; nil: none
}

type node struct {
	nested *Pattern
	values []test // of a leaf: one must hold
}

// test judges a leaf; there is false where the event has no such field.
type test func(v any, there bool) bool

// Parse compiles a pattern. Its errors are for people.
func Parse(text string) (Pattern, error) {
	v, err := decode(text)
	if err != nil {
		return Pattern{}, err
	}
	m, ok := v.(map[string]any)
	if !ok || len(m) == 0 {
		return Pattern{}, errors.New("Event pattern must be a non-empty JSON object")
	}
	return compile(m)
}

func decode(text string) (any, error) {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	if d.More() {
		return nil, errors.New("not JSON: something follows the value")
	}
	return v, nil
}

func compile(m map[string]any) (Pattern, error) {
	p := Pattern{fields: map[string]node{}}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		switch v := m[k].(type) {
		case map[string]any:
			n, err := compile(v)
			if err != nil {
				return p, err
			}
			if len(v) == 0 {
				return p, fmt.Errorf("Empty objects are not allowed: %q", k)
			}
			p.fields[k] = node{nested: &n}
		case []any:
			if k == "$or" {
				if len(v) < 2 {
					return p, errors.New("$or needs two or more patterns")
				}
				for _, alternative := range v {
					am, ok := alternative.(map[string]any)
					if !ok {
						return p, errors.New("$or holds patterns")
					}
					a, err := compile(am)
					if err != nil {
						return p, err
					}
					p.or = append(p.or, a)
				}
				continue
			}
			if len(v) == 0 {
				return p, fmt.Errorf("Empty arrays are not allowed: %q", k)
			}
			n := node{}
			for _, one := range v {
				t, err := leaf(one)
				if err != nil {
					return p, fmt.Errorf("%s: %w", k, err)
				}
				n.values = append(n.values, t)
			}
			p.fields[k] = n
		default:
			return p, fmt.Errorf("%q must be an object or an array", k)
		}
	}
	return p, nil
}

// Match reports whether an event, as encoding/json decodes it, is of the pattern.
func (p Pattern) Match(event any) bool {
	if list, ok := event.([]any); ok { // objects in an array: one of them must match as a whole
		return slices.ContainsFunc(list, p.Match)
	}
	m, ok := event.(map[string]any)
	if !ok {
		m = nil
	}
	for k, n := range p.fields {
		v, there := m[k]
		if n.nested != nil {
			if !n.nested.Match(v) {
				return false
			}
			continue
		}
		if !slices.ContainsFunc(n.values, func(t test) bool { return t.on(v, there) }) {
			return false
		}
	}
	return len(p.or) == 0 || slices.ContainsFunc(p.or, func(a Pattern) bool { return a.Match(event) })
}

// on judges a value; of an array one element must pass.
func (t test) on(v any, there bool) bool {
	switch v := v.(type) {
	case []any:
		if len(v) == 0 {
			return t(nil, false)
		}
		return slices.ContainsFunc(v, func(e any) bool { return t.on(e, true) })
	case map[string]any:
		return t(nil, false) // not a leaf
	}
	return t(v, there)
}

func leaf(v any) (test, error) {
	m, ok := v.(map[string]any)
	if !ok {
		if _, list := v.([]any); list {
			return nil, errors.New("arrays in arrays are not allowed")
		}
		return func(is any, there bool) bool { return there && is == v }, nil
	}
	if len(m) != 1 {
		return nil, errors.New("a matcher has exactly one operator")
	}
	for op, arg := range m {
		return operator(op, arg)
	}
	return nil, nil
}

func text(f func(s string) bool) test {
	return func(v any, there bool) bool { s, ok := v.(string); return there && ok && f(s) }
}

func operator(op string, arg any) (test, error) {
	s, isText := arg.(string)
	switch op {
	case "exists":
		want, ok := arg.(bool)
		if !ok {
			return nil, errors.New("exists takes true or false")
		}
		return func(_ any, there bool) bool { return there == want }, nil
	case "prefix", "suffix":
		fold := false
		if m, ok := arg.(map[string]any); ok && len(m) == 1 {
			s, isText = m["equals-ignore-case"].(string)
			fold = true
		}
		if !isText {
			return nil, fmt.Errorf("%s takes a string", op)
		}
		has := strings.HasPrefix
		if op == "suffix" {
			has = strings.HasSuffix
		}
		if fold {
			return text(func(v string) bool { return has(strings.ToLower(v), strings.ToLower(s)) }), nil
		}
		return text(func(v string) bool { return has(v, s) }), nil
	case "equals-ignore-case":
		if !isText {
			return nil, fmt.Errorf("%s takes a string", op)
		}
		return text(func(v string) bool { return strings.EqualFold(v, s) }), nil
	case "wildcard":
		if !isText || strings.Contains(s, "**") {
			return nil, errors.New("wildcard takes a string without two * in a row")
		}
		return text(func(v string) bool { return wildcard(s, v) }), nil
	case "cidr":
		if !isText {
			return nil, errors.New("cidr takes a string")
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("cidr: %w", err)
		}
		return text(func(v string) bool { a, err := netip.ParseAddr(v); return err == nil && p.Contains(a) }), nil
	case "numeric":
		return numeric(arg)
	case "anything-but":
		return anythingBut(arg)
	}
	return nil, fmt.Errorf("Unrecognized match type %s", op)
}

func numeric(arg any) (test, error) {
	list, ok := arg.([]any)
	if !ok || len(list) != 2 && len(list) != 4 {
		return nil, errors.New("numeric takes one or two comparisons")
	}
	var all []func(float64) bool
	for i := 0; i < len(list); i += 2 {
		op, _ := list[i].(string)
		n, ok := list[i+1].(float64)
		if !ok {
			return nil, errors.New("numeric compares with numbers")
		}
		f, known := map[string]func(float64) bool{"=": func(v float64) bool { return v == n }, "<": func(v float64) bool { return v < n }, "<=": func(v float64) bool { return v <= n },
			">": func(v float64) bool { return v > n }, ">=": func(v float64) bool { return v >= n }}[op]
		if !known {
			return nil, fmt.Errorf("numeric does not know %q", op)
		}
		all = append(all, f)
	}
	return func(v any, there bool) bool {
		n, ok := v.(float64)
		return there && ok && !slices.ContainsFunc(all, func(f func(float64) bool) bool { return !f(n) })
	}, nil
}

// anythingBut holds for what is there and is none of the arguments.
func anythingBut(arg any) (test, error) {
	var not []test
	switch a := arg.(type) {
	case []any:
		for _, v := range a {
			t, err := leaf(v)
			if err != nil {
				return nil, err
			}
			not = append(not, t)
		}
	case map[string]any:
		for op, v := range a {
			if op == "numeric" || op == "exists" || op == "anything-but" || op == "cidr" {
				return nil, fmt.Errorf("Unrecognized anything-but match type %s", op)
			}
			list, ok := v.([]any)
			if !ok {
				list = []any{v}
			}
			for _, one := range list {
				t, err := operator(op, one)
				if err != nil {
					return nil, err
				}
				not = append(not, t)
			}
		}
	default:
		t, err := leaf(a)
		if err != nil {
			return nil, err
		}
		not = append(not, t)
	}
	if len(not) == 0 {
		return nil, errors.New("anything-but needs a value")
	}
	return func(v any, there bool) bool {
		return there && !slices.ContainsFunc(not, func(t test) bool { return t(v, there) })
	}, nil
}

// wildcard matches * with any characters, none among them; \* and \\ stand for themselves.
func wildcard(pattern, s string) bool {
	star, from := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, i
			p++
			continue
		case p+1 < len(pattern) && pattern[p] == '\\' && pattern[p+1] == s[i]:
			p, i = p+2, i+1
			continue
		case p < len(pattern) && pattern[p] != '\\' && pattern[p] == s[i]:
			p, i = p+1, i+1
			continue
		case star >= 0:
			from++
			p, i = star+1, from
			continue
		}
		return false
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
