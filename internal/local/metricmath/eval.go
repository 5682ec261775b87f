package metricmath

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Query is one of the queries that are evaluated together: an expression, or a metric that was read.
type Query struct {
	ID, Label  string
	Expression string // "" for a metric
	Metric     Series // of a metric
	// Period is that of an expression which has no metric to take it from; 0: five minutes.
	Period time.Duration
}

// Range is from when to when the metrics were read.
type Range struct{ Start, End time.Time }

// Search finds the series of a SEARCH expression with a statistic and a period.
type Search func(expression, stat string, period time.Duration) ([]Series, error)

// Error is a fault of an expression.
type Error struct {
	ID  string // of the query
	Err error
}

func (e *Error) Error() string { return fmt.Sprintf("Error in expression '%s' [%v]", e.ID, e.Err) }

func (e *Error) Unwrap() error { return e.Err }

// Evaluate evaluates every query. Expressions may use each other in any order, but not in a circle.
func Evaluate(queries []Query, r Range, search Search) (map[string]Value, error) {
	run := &run{queries: map[string]Query{}, order: queries, values: map[string]Value{}, under: map[string]bool{}, span: r, search: search}
	for _, q := range queries {
		run.queries[q.ID] = q
	}
	for _, q := range queries {
		v, err := run.query(q.ID)
		if err != nil {
			var known *Error
			if errors.As(err, &known) {
				return nil, err
			}
			return nil, &Error{q.ID, err}
		}
		run.values[q.ID] = v
	}
	return run.values, nil
}

type run struct {
	queries map[string]Query
	order   []Query
	values  map[string]Value
	under   map[string]bool // being evaluated
	span    Range
	search  Search
	period  time.Duration // of the expression being evaluated
}

func (r *run) query(id string) (Value, error) {
	if v, ok := r.values[id]; ok {
		return v, nil
	}
	q, ok := r.queries[id]
	switch {
	case !ok:
		return Value{}, fmt.Errorf("%q is not the id of a query", id)
	case q.Expression == "":
		return series(q.Metric), nil
	case r.under[id]:
		return Value{}, fmt.Errorf("the expressions use each other in a circle, of which %q is part", id)
	}
	e, err := Parse(q.Expression)
	if err != nil {
		return Value{}, &Error{id, err}
	}
	r.under[id] = true
	before := r.period
	r.period = r.periodOf(e, q)
	v, err := r.eval(e)
	r.period = before
	delete(r.under, id)
	if err != nil {
		var known *Error
		if errors.As(err, &known) {
			return Value{}, err
		}
		return Value{}, &Error{id, err}
	}
	r.values[id] = v
	return v, nil
}

// periodOf is the longest of the metrics an expression names, else what the query says.
func (r *run) periodOf(e *Expr, q Query) time.Duration {
	longest := q.Period
	var look func(*Expr)
	look = func(e *Expr) {
		if e.op == opName {
			longest = max(longest, r.queries[e.name].Metric.Period)
		}
		for _, a := range e.args {
			look(a)
		}
	}
	look(e)
	if longest == 0 {
		for _, q := range r.order {
			longest = max(longest, q.Metric.Period)
		}
	}
	if longest == 0 {
		longest = 5 * time.Minute
	}
	return longest
}

var constants = []string{"REPEAT", "LINEAR", "ASC", "DESC", "SUM", "AVG", "MIN", "MAX"}

func (r *run) eval(e *Expr) (Value, error) {
	switch e.op {
	case opNumber:
		return scalar(e.num), nil
	case opString:
		return Value{Kind: text, text: e.name}, nil
	case opName:
		if slices.Contains(constants, e.name) {
			return Value{Kind: text, text: e.name}, nil
		}
		return r.query(e.name)
	case opList:
		out := Value{Kind: Many}
		for _, a := range e.args {
			v, err := r.eval(a)
			if err != nil {
				return Value{}, err
			}
			if v.Kind == Scalar || v.Kind == text {
				return Value{}, errors.New("an array may hold time series only")
			}
			out.List = append(out.List, v.List...)
		}
		return out, nil
	case opUnary:
		v, err := r.eval(e.args[0])
		if err != nil {
			return Value{}, err
		}
		return mapped("-", v, func(x float64) float64 { return -x })
	case opBinary:
		a, err := r.eval(e.args[0])
		if err != nil {
			return Value{}, err
		}
		b, err := r.eval(e.args[1])
		if err != nil {
			return Value{}, err
		}
		return combine(e.name, a, b)
	}
	return r.call(e)
}

// mapped applies f to a number or to each point.
func mapped(what string, v Value, f func(float64) float64) (Value, error) {
	switch v.Kind {
	case Scalar:
		n := f(v.Number)
		if math.IsNaN(n) || math.IsInf(n, 0) {
			return Value{}, fmt.Errorf("%s of %v is no number", what, v.Number)
		}
		return scalar(n), nil
	case text:
		return Value{}, fmt.Errorf("%s does not take %q", what, v.text)
	}
	out := Value{Kind: v.Kind}
	for _, s := range v.List {
		out.List = append(out.List, s.each(func(i int) float64 { return f(s.Points[i].Value) }))
	}
	return out, nil
}

var operators = map[string]func(x, y float64) float64{
	"+": func(x, y float64) float64 { return x + y }, "-": func(x, y float64) float64 { return x - y },
	"*": func(x, y float64) float64 { return x * y }, "/": func(x, y float64) float64 { return x / y }, "^": math.Pow,
	"==": func(x, y float64) float64 { return truth(x == y) }, "!=": func(x, y float64) float64 { return truth(x != y) },
	"<": func(x, y float64) float64 { return truth(x < y) }, ">": func(x, y float64) float64 { return truth(x > y) },
	"<=": func(x, y float64) float64 { return truth(x <= y) }, ">=": func(x, y float64) float64 { return truth(x >= y) },
	"AND": func(x, y float64) float64 { return truth(x != 0 && y != 0) }, "OR": func(x, y float64) float64 { return truth(x != 0 || y != 0) },
}

// combine applies an operator: to numbers, between a number and each point, and where two series both
// have a point. An array is combined member by member, with a number or with one series.
func combine(name string, a, b Value) (Value, error) {
	f := operators[name]
	if a.Kind == text || b.Kind == text {
		return Value{}, fmt.Errorf("%s does not take %q", name, strings.TrimSpace(a.text+" "+b.text))
	}
	switch {
	case a.Kind == Scalar:
		return mapped(name, b, func(y float64) float64 { return f(a.Number, y) })
	case b.Kind == Scalar:
		return mapped(name, a, func(x float64) float64 { return f(x, b.Number) })
	case a.Kind == Many && b.Kind == Many:
		return Value{}, fmt.Errorf("%s cannot be used between two arrays of time series", name)
	}
	out := Value{Kind: max(a.Kind, b.Kind)}
	for _, x := range a.List {
		for _, y := range b.List {
			s := together(x, y, f)
			if b.Kind == Many {
				s.ID, s.Label = y.ID, y.Label
			}
			out.List = append(out.List, s)
		}
	}
	return out, nil
}
