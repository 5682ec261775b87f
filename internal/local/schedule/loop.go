package schedule

import (
	"context"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
)

// idle is how long a loop sleeps when nothing is due: real changes wake it.
const idle = time.Hour

// Loop does what is due, record by record of a table, as the clock comes to it.
type Loop[T any] struct {
	DB    *state.DB
	Table *state.Table[T]
	Name  string // of the table, to be woken by its changes
	Clock clock.Clock
	// At is when a record is due; zero: never.
	At func(*T) time.Time
	// Fire does what is due and sets the next time.
	Fire func(tx *state.Tx, key string, record *T, now time.Time) error
}

// Run runs the loop until ctx ends.
func (l *Loop[T]) Run(ctx context.Context) error {
	w := l.DB.Watch(l.Name)
	defer w.Stop()
	for {
		w.Drain()
		next, err := l.tick()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.C:
		case <-l.Clock.After(max(next.Sub(l.Clock.Now()), time.Millisecond)):
		}
	}
}

// tick fires what is due and returns when the next record is.
func (l *Loop[T]) tick() (next time.Time, err error) {
	now := l.Clock.Now()
	next = now.Add(idle)
	var due []string
	_ = l.DB.View(func(tx *state.Tx) error {
		for key, r := range l.Table.All(tx) {
			switch at := l.At(r); {
			case at.IsZero():
			case !at.After(now):
				due, next = append(due, key), now
			case at.Before(next):
				next = at
			}
		}
		return nil
	})
	if len(due) == 0 {
		return next, nil
	}
	return next, l.DB.Update(func(tx *state.Tx) error {
		for _, key := range due {
			r, ok := l.Table.Get(tx, key)
			if !ok || l.At(r).IsZero() || l.At(r).After(now) {
				continue // it was changed in between
			}
			if err := l.Fire(tx, key, r, now); err != nil {
				return err
			}
		}
		return nil
	})
}
