package drain

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// What ports say of a call, beside success.
var (
	ErrGone      = errors.New("it is gone")    // the instance, task or hook is not there (any more)
	ErrThrottled = errors.New("AWS throttles") // nothing was done; the next turn tries again
)

// Observer sees the cluster.
type Observer interface {
	Observe(ctx context.Context, cluster string) (*State, error)
}

// Instances acts on container instances and tasks.
type Instances interface {
	Mark(ctx context.Context, instance string, m *Mark) error // nil removes the mark
	SetStatus(ctx context.Context, cluster, instance, status string) error
	StopTask(ctx context.Context, cluster, task, reason string) error
}

// Groups acts on Auto Scaling groups.
type Groups interface {
	Heartbeat(ctx context.Context, h Hook) error
	Complete(ctx context.Context, h Hook) error
	Terminate(ctx context.Context, ec2ID string, shrink bool) error // shrink makes the group one smaller
}

// Clock is the time the engine lives by.
type Clock interface {
	Now() time.Time
	Wait(ctx context.Context, d time.Duration) error
}

// Engine drains instances. What it must not forget is in AWS; the time of the last heartbeat is not,
// and a new engine begins with one.
type Engine struct {
	Observer  Observer
	Instances Instances
	Groups    Groups
	Clock     Clock
	Cluster   string
	Defaults  Defaults
	// Notices, if set, is asked before each turn.
	Notices Notices
	// Report, if set, is told of each action and how it went.
	Report func(Action, error)

	beats map[string]time.Time
}

// Look observes the cluster and decides, and does nothing.
func (e *Engine) Look(ctx context.Context) (*State, Plan, error) {
	s, err := e.Observer.Observe(ctx, e.Cluster)
	if err != nil {
		return nil, Plan{}, fmt.Errorf("observing cluster %s: %w", e.Cluster, err)
	}
	for k := range s.Instances {
		if h := s.Instances[k].Hook; h != nil {
			h.LastBeat = e.beats[h.EC2ID+"/"+h.Name]
		}
	}
	return s, Decide(s, e.Clock.Now(), e.Defaults), nil
}

// Step makes one turn: observe, decide, act. Throttled calls, and calls on what is gone, are no
// errors: the next turn sees the truth.
func (e *Engine) Step(ctx context.Context) (*State, Plan, error) {
	// A queue that cannot be read does not keep what drains from going on.
	var errs []error
	if e.Notices != nil {
		got, err := e.Notices.Receive(ctx)
		if err == nil {
			err = e.Heed(ctx, got, e.Notices.Done)
		}
		if err != nil && !errors.Is(err, ErrThrottled) {
			errs = append(errs, fmt.Errorf("heeding notices: %w", err))
		}
	}
	s, p, err := e.Look(ctx)
	if errors.Is(err, ErrThrottled) {
		return &State{Cluster: e.Cluster}, Plan{}, errors.Join(errs...)
	}
	if err != nil {
		return nil, p, errors.Join(append(errs, err)...)
	}
	for _, a := range p.Actions {
		err := e.act(ctx, a)
		if e.Report != nil {
			e.Report(a, err)
		}
		if err != nil && !errors.Is(err, ErrGone) && !errors.Is(err, ErrThrottled) {
			errs = append(errs, fmt.Errorf("draining %s: %s: %w", a.EC2ID, a.Kind, err))
		}
	}
	return s, p, errors.Join(errs...)
}

func (e *Engine) act(ctx context.Context, a Action) error {
	switch a.Kind {
	case SetMark:
		return e.Instances.Mark(ctx, a.Instance, &a.Mark)
	case SetDrain:
		return e.Instances.SetStatus(ctx, e.Cluster, a.Instance, "DRAINING")
	case Reopen:
		// The tag last: killed between the two, the next turn does both again.
		if err := e.Instances.SetStatus(ctx, e.Cluster, a.Instance, "ACTIVE"); err != nil {
			return err
		}
		return e.Instances.Mark(ctx, a.Instance, nil)
	case StopTask:
		return e.Instances.StopTask(ctx, e.Cluster, a.Task, "Slipway drains the instance and its deadline is past")
	case Heartbeat:
		if err := e.Groups.Heartbeat(ctx, *a.Hook); err != nil {
			return err
		}
		if e.beats == nil {
			e.beats = map[string]time.Time{}
		}
		e.beats[a.Hook.EC2ID+"/"+a.Hook.Name] = e.Clock.Now()
		return nil
	case Complete:
		return e.Groups.Complete(ctx, *a.Hook)
	case Terminate:
		return e.Groups.Terminate(ctx, a.EC2ID, !a.Mark.Replace)
	}
	return fmt.Errorf("not supported: action %q", a.Kind)
}

// Begin marks an instance, by its EC2 id or ARN. Marking it again changes the mark.
func (e *Engine) Begin(ctx context.Context, id string, m Mark) error {
	s, err := e.Observer.Observe(ctx, e.Cluster)
	if err != nil {
		return fmt.Errorf("observing cluster %s: %w", e.Cluster, err)
	}
	i := s.Find(id)
	if i == nil {
		return fmt.Errorf("%s is not an instance of cluster %s: %w", id, e.Cluster, ErrGone)
	}
	return e.Instances.Mark(ctx, i.ID, &m)
}

// Reopen makes an instance, by its EC2 id or ARN, take tasks again and forgets the wish to drain it.
func (e *Engine) Reopen(ctx context.Context, id string) (*Instance, error) {
	s, err := e.Observer.Observe(ctx, e.Cluster)
	if err != nil {
		return nil, fmt.Errorf("observing cluster %s: %w", e.Cluster, err)
	}
	i := s.Find(id)
	switch {
	case i == nil:
		return nil, fmt.Errorf("%s is not an instance of cluster %s: %w", id, e.Cluster, ErrGone)
	case i.Hook != nil:
		return i, fmt.Errorf("group %s terminates %s already: it cannot be kept", i.Group, i.EC2ID)
	}
	if err := e.act(ctx, Action{Kind: Reopen, Instance: i.ID, EC2ID: i.EC2ID}); err != nil {
		return i, fmt.Errorf("reopening %s: %w", i.EC2ID, err)
	}
	return i, nil
}

// Find is the instance with this EC2 id, ARN, or container instance id; nil without one.
func (s *State) Find(id string) *Instance {
	for k := range s.Instances {
		if i := &s.Instances[k]; i.EC2ID == id || i.ID == id || len(i.ID) > len(id) && i.ID[len(i.ID)-len(id)-1:] == "/"+id {
			return i
		}
	}
	return nil
}

// Watch makes turns until the instance is empty or gone. It returns an error when the drain is
// aborted at its deadline. A done drain leaves the instance DRAINING: empty, and taking nothing.
func (e *Engine) Watch(ctx context.Context, id string, every time.Duration, tell func(Drain)) error {
	for {
		s, p, err := e.Step(ctx)
		if err != nil {
			return err
		}
		done, aborted := len(s.Instances) > 0 && s.Find(id) == nil, false
		for _, d := range p.Drains {
			if d.EC2ID != id && d.Instance != id {
				continue
			}
			tell(d)
			// To be terminated: only its end is the end.
			done, aborted = d.Empty && !d.Mark.Terminate && !d.ByHook, d.Aborted
		}
		switch {
		case aborted:
			return &AbortedError{EC2ID: id, Waits: waitsOf(p, id)}
		case done:
			return nil
		}
		if err := e.Clock.Wait(ctx, every); err != nil {
			return err
		}
	}
}

func waitsOf(p Plan, id string) []Wait {
	for _, d := range p.Drains {
		if d.EC2ID == id || d.Instance == id {
			return d.Waits
		}
	}
	return nil
}

// AbortedError is a drain that was not done at its deadline; the instance takes tasks again.
type AbortedError struct {
	EC2ID string
	Waits []Wait
}

func (e *AbortedError) Error() string {
	s := "the deadline is past: " + e.EC2ID + " takes tasks again"
	for _, w := range e.Waits {
		s += "; " + w.Sentence
	}
	return s
}
