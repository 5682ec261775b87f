package placement

import (
	"fmt"
	"strings"
)

// Constraint is a placementConstraint.
type Constraint struct {
	Type       string // distinctInstance, memberOf
	Expression string // memberOf: in the cluster query language
}

// Strategy is a placementStrategy.
type Strategy struct {
	Type  string // spread, binpack, random
	Field string // spread: instanceId, host, attribute:NAME; binpack: cpu, memory
}

// compiled is a request checked and ready to be held against many instances.
type compiled struct {
	req         *Request
	attributes  []wanted
	constraints []constraint
	ports       []Port
	strategies  []strategy
}

type wanted struct {
	name, value string
	valued      bool
}

type constraint struct{ expr *Expr } // nil: distinctInstance

type strategy struct {
	kind  byte   // s(pread), b(inpack), r(andom)
	field string // "" = the instance itself; an attribute's name; cpu or memory
}

// Check reports what is wrong with a request's constraints and strategies.
func (r *Request) Check() error {
	_, err := compile(r)
	return err
}

func compile(r *Request) (*compiled, error) {
	c := &compiled{req: r}
	for _, a := range r.Attributes {
		name, value, valued := strings.Cut(a, "=")
		c.attributes = append(c.attributes, wanted{name, value, valued})
	}
	for _, p := range r.Ports {
		c.ports = append(c.ports, p.normal())
	}
	if len(r.Constraints) > MaxConstraints {
		return nil, fmt.Errorf("%d placement constraints: at most %d", len(r.Constraints), MaxConstraints)
	}
	for _, k := range r.Constraints {
		switch k.Type {
		case "distinctInstance":
			c.constraints = append(c.constraints, constraint{})
		case "memberOf":
			e, err := Parse(k.Expression)
			if err != nil {
				return nil, err
			}
			c.constraints = append(c.constraints, constraint{e})
		default:
			return nil, fmt.Errorf("placement constraint %q: not distinctInstance or memberOf", k.Type)
		}
	}
	strategies := r.Strategies
	if len(strategies) == 0 {
		strategies = DefaultStrategies()
	}
	if len(strategies) > MaxStrategies {
		return nil, fmt.Errorf("%d placement strategies: at most %d", len(strategies), MaxStrategies)
	}
	for _, s := range strategies {
		got, err := s.compile()
		if err != nil {
			return nil, err
		}
		c.strategies = append(c.strategies, got)
	}
	return c, nil
}

func (s Strategy) compile() (strategy, error) {
	switch s.Type {
	case "random":
		return strategy{kind: 'r'}, nil
	case "binpack":
		switch f := strings.ToLower(s.Field); f {
		case "cpu", "memory":
			return strategy{'b', f}, nil
		}
		return strategy{}, fmt.Errorf("binpack by %q: not cpu or memory", s.Field)
	case "spread":
		if s.Field == "instanceId" || s.Field == "host" {
			return strategy{kind: 's'}, nil
		}
		if name := strings.TrimPrefix(s.Field, "attribute:"); name != "" {
			return strategy{'s', name}, nil
		}
		return strategy{}, fmt.Errorf("spread needs a field: instanceId, host or an attribute")
	}
	return strategy{}, fmt.Errorf("placement strategy %q: not spread, binpack or random", s.Type)
}

// value is the bucket of a spread the instance falls into.
func (s strategy) value(i *Instance) string {
	if s.field == "" {
		return i.ID
	}
	v, _ := i.Attribute(s.field)
	return v
}

// left is how much of a binpack's resource the instance has left.
func (s strategy) left(i *Instance) int {
	if s.field == "cpu" {
		return i.Remaining().CPU
	}
	return i.Remaining().Memory
}
