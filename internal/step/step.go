// Package step runs an operation of many steps so that it survives its process: what is done is
// written to a journal before the next step begins, a killed run is resumed by the next one, a
// passing failure is retried, and an abort undoes what was done in reverse.
//
// A step may be run again after it succeeded, if the process died before the journal knew: steps
// have to be idempotent.
package step

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Step is one part of an operation.
type Step struct {
	Name string // unique in its operation, and the same in every run
	Do   func(ctx context.Context) error
	Undo func(ctx context.Context) error // nil: nothing to undo
}

// State is how far an operation is.
type State string

// The states of an operation.
const (
	Running  State = "running"
	Done     State = "done"
	Failed   State = "failed"   // may be resumed or aborted
	Aborting State = "aborting" // may only be aborted further
	Aborted  State = "aborted"
)

// Record is what the journal keeps.
type Record struct {
	Operation string    `json:"operation"`
	State     State     `json:"state"`
	Done      []string  `json:"done,omitempty"` // names of steps, in order
	At        string    `json:"at,omitempty"`   // step that runs or failed
	Error     string    `json:"error,omitempty"`
	StartedAt time.Time `json:"startedAt"`
	UpdatedAt time.Time `json:"updatedAt"`
}

// ErrNone says that the journal has no record of an operation.
var ErrNone = errors.New("no such operation in the journal")

// Journal keeps records. Save returns once the record is durable.
type Journal interface {
	Load(ctx context.Context, operation string) (Record, error)
	Save(ctx context.Context, r Record) error
}

// Clock is the time the operation lives by.
type Clock interface {
	Now() time.Time
	Wait(ctx context.Context, d time.Duration) error
}

// Temporary marks an error after which the step is worth another try.
type Temporary struct{ Err error }

func (e *Temporary) Error() string { return e.Err.Error() }
func (e *Temporary) Unwrap() error { return e.Err }

// Retries of a step after temporary errors, and the pauses between them.
const (
	Tries      = 6
	firstPause = time.Second
	longest    = 30 * time.Second
)

// Runner runs operations.
type Runner struct {
	journal Journal
	clock   Clock
	report  func(Record)
}

// New returns a runner. report may be nil; it is called after every change of a record.
func New(j Journal, c Clock, report func(Record)) *Runner {
	if report == nil {
		report = func(Record) {}
	}
	return &Runner{j, c, report}
}

// Run runs the steps that are not done yet. An operation that is done does nothing; one whose abort
// has begun is refused.
func (r *Runner) Run(ctx context.Context, operation string, steps []Step) error {
	if err := unique(steps); err != nil {
		return err
	}
	rec, err := r.journal.Load(ctx, operation)
	switch {
	case errors.Is(err, ErrNone):
		rec = Record{Operation: operation, StartedAt: r.clock.Now()}
	case err != nil:
		return fmt.Errorf("reading the journal of %s: %w", operation, err)
	case rec.State == Done:
		return nil
	case rec.State == Aborting, rec.State == Aborted:
		return fmt.Errorf("%s is %s: it cannot be resumed", operation, rec.State)
	}
	for _, s := range steps {
		if slices.Contains(rec.Done, s.Name) {
			continue
		}
		rec.State, rec.At, rec.Error = Running, s.Name, ""
		if err := r.save(ctx, &rec); err != nil {
			return err
		}
		if err := r.try(ctx, s.Do); err != nil {
			if ctx.Err() != nil {
				return err // not the step's fault: it stays running, for the next run
			}
			rec.State, rec.Error = Failed, err.Error()
			return errors.Join(fmt.Errorf("%s: %s: %w", operation, s.Name, err), r.save(ctx, &rec))
		}
		rec.Done = append(rec.Done, s.Name)
	}
	rec.State, rec.At = Done, ""
	return r.save(ctx, &rec)
}

// Abort undoes what was done, the last first, and the step that failed half-way before it. An abort
// that was killed is continued by the next.
func (r *Runner) Abort(ctx context.Context, operation string, steps []Step) error {
	rec, err := r.journal.Load(ctx, operation)
	switch {
	case errors.Is(err, ErrNone):
		return nil
	case err != nil:
		return fmt.Errorf("reading the journal of %s: %w", operation, err)
	case rec.State == Aborted:
		return nil
	case rec.State == Done:
		return fmt.Errorf("%s is done: it cannot be aborted", operation)
	}
	for _, s := range slices.Backward(steps) {
		begun := slices.Contains(rec.Done, s.Name) || rec.At == s.Name
		if !begun {
			continue
		}
		rec.State, rec.At, rec.Error = Aborting, s.Name, ""
		if err := r.save(ctx, &rec); err != nil {
			return err
		}
		if s.Undo != nil {
			if err := r.try(ctx, s.Undo); err != nil {
				rec.Error = err.Error()
				return errors.Join(fmt.Errorf("aborting %s: %s: %w", operation, s.Name, err), r.save(context.WithoutCancel(ctx), &rec))
			}
		}
		rec.Done = slices.DeleteFunc(rec.Done, func(n string) bool { return n == s.Name })
	}
	rec.State, rec.At = Aborted, ""
	return r.save(ctx, &rec)
}

func (r *Runner) save(ctx context.Context, rec *Record) error {
	rec.UpdatedAt = r.clock.Now()
	if err := r.journal.Save(ctx, *rec); err != nil {
		return fmt.Errorf("writing the journal of %s: %w", rec.Operation, err)
	}
	r.report(*rec)
	return nil
}

// try repeats what fails temporarily, with growing pauses.
func (r *Runner) try(ctx context.Context, do func(context.Context) error) error {
	pause := firstPause
	for n := 1; ; n++ {
		err := do(ctx)
		var passing *Temporary
		if err == nil || !errors.As(err, &passing) || n == Tries || ctx.Err() != nil {
			return err
		}
		if waited := r.clock.Wait(ctx, pause); waited != nil {
			return errors.Join(err, waited)
		}
		pause = min(2*pause, longest)
	}
}

func unique(steps []Step) error {
	seen := map[string]bool{}
	for _, s := range steps {
		if s.Name == "" || seen[s.Name] || s.Do == nil {
			return fmt.Errorf("step %q needs a name of its own and something to do", s.Name)
		}
		seen[s.Name] = true
	}
	return nil
}
