package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Fault is what goes wrong with some requests.
type Fault struct {
	ID        int    `json:"id"`
	Service   string `json:"service"`   // botocore's id; "" or "*": any; * and ? match as in file names
	Operation string `json:"operation"` // "UpdateService"; "" or "*": any; * and ? match as in file names
	// Kind is one of Faults.Kinds or throttle (the service's throttling error), error (Code, Message, Status), latency (Delay,
	// then as usual), reset (the connection breaks before anything happens) or lost (the operation is
	// carried out, and the connection breaks).
	Kind    string `json:"kind"`
	Code    string `json:"code,omitempty"`    // of an error; InternalFailure otherwise
	Message string `json:"message,omitempty"` // of an error
	Status  int    `json:"status,omitempty"`  // of an error; 500 otherwise
	Delay   int    `json:"delayMs,omitempty"` // milliseconds of wall-clock time, at most 10 minutes; of slow tasks, of the control plane's

	Probability float64 `json:"probability"`     // 0–1 of the requests that match; 0 means 1
	Count       int     `json:"count,omitempty"` // how many requests it hits; 0: no end
	Skip        int     `json:"skip,omitempty"`  // requests that match and are left alone first
	Seed        uint64  `json:"seed,omitempty"`  // of the dice: the same seed and requests, the same faults

	// Of the faults that are not of requests: whom they strike, and how long they last, seconds of the
	// control plane's clock; 0: until they are removed.
	Target Target    `json:"target,omitzero"`
	For    int       `json:"forSeconds,omitempty"`
	Until  time.Time `json:"until,omitzero"`

	Hits int      `json:"hits"`          // how many it has hit
	Did  []string `json:"did,omitempty"` // what it struck: instances, zones

	dice *rand.Rand
	left int // of Skip
}

// Target says whom a fault strikes; what is empty is any. Names may be patterns, as file names.
type Target struct {
	Cluster   string `json:"cluster,omitempty"`
	Service   string `json:"service,omitempty"` // of ECS
	Family    string `json:"family,omitempty"`  // of task definitions
	Container string `json:"container,omitempty"`
	Instance  string `json:"instance,omitempty"` // i-…
	Group     string `json:"group,omitempty"`    // Auto Scaling group
	Zone      string `json:"zone,omitempty"`
	Name      string `json:"name,omitempty"`   // DNS name
	Number    int    `json:"number,omitempty"` // how many instances; 0: all that match
}

// FaultKind is a kind of fault that is not of requests.
type FaultKind struct {
	// Check says what is wrong with a fault, and may fill in what was left out. Begin begins it and
	// notes in Did what it struck, End puts right what can be put right; both may be nil.
	Check func(*Fault) error
	Begin func(*Fault) error
	End   func(Fault)
}

// Faults breaks requests on purpose. Use its Middleware, and serve it (it is an http.Handler): GET
// lists the faults, POST adds one, DELETE removes the one with ?id= or all.
type Faults struct {
	// Kinds are further kinds, and Changed is told when a fault was added; set them before the first
	// request.
	Kinds   map[string]FaultKind
	Changed func()

	mu   sync.Mutex
	list []*Fault
	last int
}

var errFault = errors.New("not a fault")

// Add adds a fault; it returns a copy of it with its id.
func (f *Faults) Add(fault Fault) (Fault, error) {
	kind, further := f.Kinds[fault.Kind]
	switch fault.Kind {
	case "throttle", "error", "reset", "lost":
	case "latency":
		if fault.Delay <= 0 || fault.Delay > int((10*time.Minute).Milliseconds()) {
			return Fault{}, fmt.Errorf("%w: delayMs must be between 1 and 600000", errFault)
		}
	default:
		if !further {
			kinds := append([]string{"throttle", "error", "latency", "reset", "lost"}, slices.Sorted(maps.Keys(f.Kinds))...)
			return Fault{}, fmt.Errorf("%w: kind must be one of %s, not %q", errFault, strings.Join(kinds, ", "), fault.Kind)
		}
	}
	if fault.Probability < 0 || fault.Probability > 1 || fault.Count < 0 || fault.Skip < 0 {
		return Fault{}, fmt.Errorf("%w: probability must be between 0 and 1, count and skip not negative", errFault)
	}
	to := fault.Target
	for _, p := range []string{fault.Service, fault.Operation, to.Cluster, to.Service, to.Family, to.Container, to.Instance, to.Group, to.Zone, to.Name} {
		if _, err := path.Match(p, ""); err != nil {
			return Fault{}, fmt.Errorf("%w: %q is no pattern", errFault, p)
		}
	}
	if fault.For < 0 || to.Number < 0 {
		return Fault{}, fmt.Errorf("%w: forSeconds and number must not be negative", errFault)
	}
	fault.Hits, fault.left, fault.Did, fault.Until = 0, fault.Skip, nil, time.Time{}
	fault.dice = rand.New(rand.NewPCG(fault.Seed, 0))
	if further && kind.Check != nil {
		if err := kind.Check(&fault); err != nil {
			return Fault{}, fmt.Errorf("%w: %w", errFault, err)
		}
	}
	f.mu.Lock()
	f.last++
	fault.ID = f.last
	kept := fault
	f.list = append(f.list, &kept)
	f.mu.Unlock()
	if f.Changed != nil {
		f.Changed()
	}
	if kind.Begin == nil {
		return fault, nil
	}
	// It is listed before it begins: what it strikes may be asked for while it does.
	if err := kind.Begin(&fault); err != nil {
		f.Clear(fault.ID)
		return Fault{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	fault.Hits = len(fault.Did)
	kept.Did, kept.Hits = fault.Did, fault.Hits
	return fault, nil
}

// Active are copies of the faults of a kind, oldest first.
func (f *Faults) Active(kind string) []Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Fault
	for _, x := range f.list {
		if x.Kind == kind {
			out = append(out, *x)
		}
	}
	return out
}

// Soonest is when the next fault ends by itself; zero if none does.
func (f *Faults) Soonest() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out time.Time
	for _, x := range f.list {
		if !x.Until.IsZero() && (out.IsZero() || x.Until.Before(out)) {
			out = x.Until
		}
	}
	return out
}

// Expire removes the faults whose time is over.
func (f *Faults) Expire(now time.Time) {
	f.remove(func(x *Fault) bool { return !x.Until.IsZero() && !x.Until.After(now) })
}

// Clear removes the fault with the id, or all for 0. It reports whether there was one.
func (f *Faults) Clear(id int) bool {
	return f.remove(func(x *Fault) bool { return id == 0 || x.ID == id })
}

func (f *Faults) remove(which func(*Fault) bool) bool {
	f.mu.Lock()
	var kept, gone []*Fault
	for _, x := range f.list {
		if which(x) {
			gone = append(gone, x)
		} else {
			kept = append(kept, x)
		}
	}
	f.list = kept
	f.mu.Unlock()
	for _, x := range gone {
		if end := f.Kinds[x.Kind].End; end != nil {
			end(*x)
		}
	}
	return len(gone) > 0
}

// hit returns the faults that strike this request, oldest first.
func (f *Faults) hit(service, operation string) []Fault {
	return f.Strike(func(x Fault) bool {
		_, further := f.Kinds[x.Kind]
		return !further && matches(x.Service, service) && matches(x.Operation, operation)
	})
}

// Strike returns the faults, oldest first, that match and whose dice and counts let them strike now. It
// counts that.
func (f *Faults) Strike(match func(Fault) bool) []Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Fault
	for _, x := range f.list {
		if x.Count > 0 && x.Hits >= x.Count || !match(*x) {
			continue
		}
		if x.left > 0 {
			x.left--
			continue
		}
		if x.Probability > 0 && x.dice.Float64() >= x.Probability {
			continue
		}
		x.Hits++
		out = append(out, *x)
	}
	return out
}

// Matches tells whether a name is as a pattern of a fault wants it; an empty pattern is any.
func Matches(pattern, name string) bool { return matches(pattern, name) }

func matches(pattern, name string) bool {
	ok, _ := path.Match(pattern, name) // Add has checked the pattern
	return ok || pattern == ""
}

// Middleware is for Server.Use.
func (f *Faults) Middleware(next Next) Next {
	return func(ctx context.Context, c Call) (any, error) {
		lost := false
		for _, x := range f.hit(c.Service, c.Operation) {
			switch x.Kind {
			case "latency":
				select {
				case <-ctx.Done():
					return nil, ctx.Err()
				case <-time.After(time.Duration(x.Delay) * time.Millisecond):
				}
			case "reset":
				panic(http.ErrAbortHandler)
			case "lost":
				lost = true
			case "throttle":
				return nil, throttled(c.Service)
			case "error":
				e := &Error{Code: "InternalFailure", Status: http.StatusInternalServerError, Message: x.Message}
				if x.Code != "" {
					e.Code = x.Code
				}
				if x.Status != 0 {
					e.Status = x.Status
				}
				return nil, e
			}
		}
		out, err := next(ctx, c)
		if lost {
			panic(http.ErrAbortHandler)
		}
		return out, err
	}
}

// throttled is how a service says that there are too many requests.
func throttled(service string) *Error {
	switch service {
	case "ec2":
		return &Error{Code: "RequestLimitExceeded", Message: "Request limit exceeded.", Status: http.StatusServiceUnavailable}
	case "s3":
		return &Error{Code: "SlowDown", Message: "Please reduce your request rate.", Status: http.StatusServiceUnavailable}
	case "autoscaling", "elbv2", "iam", "sts", "cloudwatch", "sns":
		return &Error{Code: "Throttling", Message: "Rate exceeded"}
	}
	return &Error{Code: "ThrottlingException", Message: "Rate exceeded"}
}

// ServeHTTP is the API of the faults.
func (f *Faults) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := func(status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v) // a client that has gone away is not our failure
	}
	fail := func(status int, err error) { answer(status, map[string]string{"error": err.Error()}) }
	switch r.Method {
	case http.MethodGet:
		f.mu.Lock()
		list := make([]Fault, 0, len(f.list))
		for _, x := range f.list {
			list = append(list, *x)
		}
		f.mu.Unlock()
		answer(http.StatusOK, list)
	case http.MethodPost:
		var x Fault
		d := json.NewDecoder(io.LimitReader(r.Body, 1<<16))
		d.DisallowUnknownFields()
		if err := d.Decode(&x); err != nil {
			fail(http.StatusBadRequest, fmt.Errorf("reading the fault: %w", err))
			return
		}
		x, err := f.Add(x)
		if err != nil {
			fail(http.StatusBadRequest, err)
			return
		}
		answer(http.StatusCreated, x)
	case http.MethodDelete:
		id := 0
		if s := r.URL.Query().Get("id"); s != "" {
			n, err := strconv.Atoi(s)
			if err != nil || n <= 0 {
				fail(http.StatusBadRequest, fmt.Errorf("%q is no id of a fault", s))
				return
			}
			id = n
		}
		if !f.Clear(id) && id != 0 {
			fail(http.StatusNotFound, fmt.Errorf("there is no fault %d", id))
			return
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("Allow", "GET, POST, DELETE")
		fail(http.StatusMethodNotAllowed, errors.New("use GET, POST or DELETE"))
	}
}
