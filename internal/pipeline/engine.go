package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// End is how a run of stages ends.
type End string

const (
	Delivered  End = "delivered" // the last stage of all went well
	Done       End = "done"      // all selected stages did, and there are more
	Waiting    End = "waiting"   // for an approval
	Failed     End = "failed"
	Refused    End = "rejected"
	Superseded End = "superseded"
)

// Stop ends a delivery without a failure: somebody is waited for, has rejected it, or a newer commit
// took its place.
type Stop struct {
	End    End    // Waiting, Refused or Superseded
	Reason string // one sentence
	Remedy string // how it goes on; may be empty
	By     string // who rejected it
}

func (s *Stop) Error() string {
	if s.Remedy == "" {
		return s.Reason
	}
	return s.Reason + "; " + s.Remedy
}

// Result of a stage that went well.
type Result struct {
	Already bool   // nothing was to be done: an earlier run did it
	Said    string // one line for people
	URL     string // of deploy: where it answers
}

// Delivery is what is delivered, for those who are told of it. Parts that are not known yet are empty.
type Delivery struct{ Service, Release, Commit, Digest, Author, BuildURL string }

// Worker does the stages. Every stage finds by itself what came before it, and done twice it has the
// effect of once.
type Worker interface {
	Do(ctx context.Context, s Stage) (Result, error)
	// Delivery is what is known by now.
	Delivery(ctx context.Context) Delivery
}

// Watcher sees stages begin and end.
type Watcher interface {
	Begun(s Stage)
	Ended(s Stage, r Result, err error)
}

// Event is something somebody is told.
type Event struct {
	Kind   string // "started", or an End
	Stage  Stage  // zero of started and delivered
	Reason string
	By     string
	URL    string
	Delivery
}

// Notifier tells people. It reports by itself what it could not tell: a delivery does not fail by it.
type Notifier interface {
	Notify(ctx context.Context, e Event)
}

// Clock is the time, and a wait that ends with the context.
type Clock interface {
	Now() time.Time
	Wait(ctx context.Context, d time.Duration) error
}

// Engine runs stages in order.
type Engine struct {
	Worker   Worker
	Watcher  Watcher
	Notifier Notifier
	Clock    Clock
	// Patience is how long an approval is waited for before the run ends as Waiting. The stage is done
	// anew every Look, 10 seconds if zero.
	Patience, Look time.Duration
}

// Outcome of a run.
type Outcome struct {
	End   End
	Stage Stage // the last one that was done
	Error error // of Failed, Waiting, Refused, Superseded
}

// Run does the selected stages of all. It stops at the first that does not go well.
func (e *Engine) Run(ctx context.Context, all, selected []Stage) Outcome {
	if len(selected) == 0 {
		return Outcome{End: Done}
	}
	if selected[0] == all[0] {
		e.tell(ctx, Event{Kind: "started"})
	}
	url := ""
	for _, s := range selected {
		e.Watcher.Begun(s)
		r, err := e.do(ctx, s)
		e.Watcher.Ended(s, r, err)
		if err != nil {
			out := Outcome{End: endOf(err), Stage: s, Error: err}
			ev := Event{Kind: string(out.End), Stage: s, Reason: err.Error()}
			if stop := (*Stop)(nil); errors.As(err, &stop) {
				ev.By = stop.By
			}
			// Waiting was told when it began.
			if out.End != Waiting {
				// Also of a run that is being interrupted, within the notifier's own limits.
				e.tell(context.WithoutCancel(ctx), ev)
			}
			return out
		}
		if r.URL != "" {
			url = r.URL
		}
	}
	last := selected[len(selected)-1]
	if last != all[len(all)-1] {
		return Outcome{End: Done, Stage: last}
	}
	e.tell(ctx, Event{Kind: string(Delivered), Stage: last, URL: url})
	return Outcome{End: Delivered, Stage: last}
}

// do does a stage; one that waits is done anew while there is patience.
func (e *Engine) do(ctx context.Context, s Stage) (Result, error) {
	look := e.Look
	if look == 0 {
		look = 10 * time.Second
	}
	began := e.Clock.Now()
	for told := false; ; {
		r, err := e.Worker.Do(ctx, s)
		if err == nil || endOf(err) != Waiting {
			return r, err
		}
		if !told {
			e.tell(ctx, Event{Kind: string(Waiting), Stage: s, Reason: err.Error()})
			told = true
		}
		if e.Clock.Now().Sub(began)+look > e.Patience {
			return r, err
		}
		if err := e.Clock.Wait(ctx, look); err != nil {
			return r, fmt.Errorf("waiting for %s: %w", s.Name(), err)
		}
	}
}

func (e *Engine) tell(ctx context.Context, ev Event) {
	ev.Delivery = e.Worker.Delivery(ctx)
	e.Notifier.Notify(ctx, ev)
}

func endOf(err error) End {
	if stop := (*Stop)(nil); errors.As(err, &stop) {
		return stop.End
	}
	return Failed
}
