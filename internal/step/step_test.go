package step

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

type memory map[string]Record

func (m memory) Load(_ context.Context, op string) (Record, error) {
	if r, ok := m[op]; ok {
		r.Done = slices.Clone(r.Done)
		return r, nil
	}
	return Record{}, ErrNone
}

func (m memory) Save(_ context.Context, r Record) error {
	r.Done = slices.Clone(r.Done)
	m[r.Operation] = r
	return nil
}

type bubble struct{}

func (bubble) Now() time.Time { return time.Now() }
func (bubble) Wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

type killed struct{}

// However often the process is killed before or after a step's effect, each step's effect is there
// once at the end, in order.
func TestKilledAnywhereItEndsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "steps")
		kills := rapid.SliceOfN(rapid.IntRange(0, 2*n), 0, 8).Draw(t, "kills")
		journal, effects, instant := memory{}, []string{}, 0
		var steps []Step
		for i := range n {
			name := string(rune('a' + i))
			steps = append(steps, Step{Name: name, Do: func(context.Context) error {
				for range 2 {
					instant++
					if len(kills) > 0 && kills[0] == instant {
						kills, instant = kills[1:], 0
						panic(killed{})
					}
					if !slices.Contains(effects, name) {
						effects = append(effects, name)
					}
				}
				return nil
			}})
		}
		want := "abcdef"[:n]
		for range 20 {
			died := func() (died bool) {
				defer func() {
					if r := recover(); r != nil {
						died = true
					}
				}()
				instant = 0
				if err := New(journal, bubble{}, nil).Run(context.Background(), "op", steps); err != nil {
					t.Fatal(err)
				}
				return false
			}()
			if !died {
				break
			}
		}
		if journal["op"].State != Done {
			t.Fatalf("record %+v", journal["op"])
		}
		got := ""
		for _, e := range effects {
			got += e
		}
		if got != want {
			t.Fatalf("effects %q, wanted %q", got, want)
		}
	})
}

func TestTemporaryFailuresAreRetriedOthersNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		passing := []Step{{Name: "a", Do: func(context.Context) error {
			if tries++; tries < 4 {
				return &Temporary{errors.New("throttled")}
			}
			return nil
		}}}
		began := time.Now()
		if err := New(memory{}, bubble{}, nil).Run(t.Context(), "op", passing); err != nil || tries != 4 || time.Since(began) != 7*time.Second {
			t.Errorf("%d tries in %s: %v", tries, time.Since(began), err)
		}
		journal, bad, runs := memory{}, errors.New("no such thing"), 0
		steps := []Step{{Name: "a", Do: func(context.Context) error { runs++; return nil }}, {Name: "b", Do: func(context.Context) error { return bad }}}
		if err := New(journal, bubble{}, nil).Run(t.Context(), "op", steps); !errors.Is(err, bad) || journal["op"].State != Failed || journal["op"].At != "b" {
			t.Errorf("error %v, record %+v", err, journal["op"])
		}
		bad = nil
		if err := New(journal, bubble{}, nil).Run(t.Context(), "op", steps); err != nil || runs != 1 || journal["op"].State != Done {
			t.Errorf("error %v, %d runs, record %+v", err, runs, journal["op"])
		}
	})
}

func TestAbortUndoesInReverse(t *testing.T) {
	journal, undone := memory{}, ""
	undo := func(name string) func(context.Context) error {
		return func(context.Context) error { undone += name; return nil }
	}
	ok := func(context.Context) error { return nil }
	steps := []Step{{Name: "a", Do: ok, Undo: undo("a")}, {Name: "b", Do: ok}, {Name: "c", Do: func(context.Context) error { return errors.New("no") }, Undo: undo("c")}, {Name: "d", Do: ok, Undo: undo("d")}}
	r := New(journal, bubble{}, nil)
	if err := r.Run(t.Context(), "op", steps); err == nil {
		t.Fatal("no error")
	}
	for range 2 {
		if err := r.Abort(t.Context(), "op", steps); err != nil || undone != "ca" || journal["op"].State != Aborted {
			t.Errorf("error %v, undone %q, record %+v", err, undone, journal["op"])
		}
	}
	if err := r.Run(t.Context(), "op", steps); err == nil {
		t.Error("an aborted operation was resumed")
	}
}

func TestACancelledStepStaysForTheNextRun(t *testing.T) {
	journal := memory{}
	ctx, cancel := context.WithCancel(t.Context())
	steps := []Step{{Name: "a", Do: func(ctx context.Context) error { cancel(); return ctx.Err() }}}
	if err := New(journal, bubble{}, nil).Run(ctx, "op", steps); !errors.Is(err, context.Canceled) || journal["op"].State != Running {
		t.Errorf("error %v, record %+v", err, journal["op"])
	}
}
