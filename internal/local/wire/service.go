package wire

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
)

// Service is one AWS service of a Server: operations are added to it with Handle.
type Service struct {
	model *Model
	ops   map[string]*operation
	known map[string]bool
	home  Identity // of the account itself, for Do
}

// operation is a handler with what is needed to call it.
type operation struct {
	name   string
	partly string
	newIn  func() any
	in     *plan
	out    *plan
	call   func(ctx context.Context, in any) (any, error)
	http   http.Handler // of S3: it reads the request and writes the answer itself
}

// ID is the service's id, "ecs".
func (s *Service) ID() string { return s.model.ID }

func newService(id string) *Service {
	m := modelOf(id)
	if m == nil {
		panic("wire: no model of a service " + id)
	}
	s := &Service{model: m, ops: map[string]*operation{}, known: map[string]bool{}}
	for _, op := range strings.Fields(m.operations) {
		s.known[op] = true
	}
	return s
}

// Option says something about an operation.
type Option func(*operation)

// Partly says what an operation does not do yet, for the reference page.
func Partly(missing string) Option { return func(o *operation) { o.partly = missing } }

// Handle adds an operation. It panics if the service's model has no operation of that name, it has a
// handler already, or In and Out are not the operation's own types. It must not be called once the
// server serves.
func Handle[In, Out any](svc *Service, op string, f func(ctx context.Context, in *In) (*Out, error), opts ...Option) {
	if !svc.known[op] {
		panic(fmt.Sprintf("wire: %s has no operation %s", svc.model.ID, op))
	}
	if svc.ops[op] != nil {
		panic(fmt.Sprintf("wire: %s:%s has a handler already", svc.model.ID, op))
	}
	if in, out := reflect.TypeFor[In]().Name(), reflect.TypeFor[Out]().Name(); in != op+"Input" || out != op+"Output" {
		panic(fmt.Sprintf("wire: the handler of %s:%s takes %s and returns %s", svc.model.ID, op, in, out))
	}
	o := &operation{
		name:  op,
		newIn: func() any { return new(In) },
		in:    planOf(reflect.TypeFor[In]()),
		out:   planOf(reflect.TypeFor[Out]()),
		call: func(ctx context.Context, in any) (any, error) {
			out, err := f(ctx, in.(*In))
			if err != nil {
				return nil, err
			}
			if out == nil {
				out = new(Out)
			}
			return out, nil
		},
	}
	for _, opt := range opts {
		opt(o)
	}
	svc.ops[op] = o
}

// Support is how far an operation of a service's model is supported.
type Support struct {
	Operation string
	Handled   bool
	Partly    string // what is missing, if handled
}

// Operations lists every operation in the service's model, in order.
func (s *Service) Operations() []Support {
	var out []Support
	for _, name := range strings.Fields(s.model.operations) {
		sup := Support{Operation: name}
		if o := s.ops[name]; o != nil {
			sup.Handled, sup.Partly = true, o.partly
		}
		out = append(out, sup)
	}
	return slices.Clip(out)
}

// Do calls an operation's handler from inside the process, as the account itself: what AWS does on
// its own goes the way of its clients.
func Do[In, Out any](ctx context.Context, svc *Service, op string, in *In) (*Out, error) {
	o := svc.ops[op]
	if o == nil || o.http != nil {
		return nil, Errorf("UnknownOperationException", "not supported by this local AWS: %s %s", svc.model.ID, op)
	}
	if missing := o.in.missing(in); len(missing) > 0 {
		return nil, svc.model.required(missing)
	}
	id := svc.home
	id.RequestID = requestID()
	out, err := o.call(WithCaller(ctx, id), in)
	if err != nil {
		return nil, err
	}
	return out.(*Out), nil
}
