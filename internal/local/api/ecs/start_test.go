package ecs

import (
	"testing"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
)

// TestEveryOperationHasAQuota, and registering them all takes a small part of the 150 ms in which the
// local AWS starts.
func TestEveryOperationHasAQuota(t *testing.T) {
	db, err := state.Open("")
	if err != nil {
		t.Fatal(err)
	}
	st, err := state.NewECS(db)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	svc := wire.NewServer().Service("ecs")
	if _, err := Register(svc, Deps{State: st}); err != nil {
		t.Fatal(err)
	}
	t.Logf("registered in %v", time.Since(began))
	for _, o := range svc.Operations() {
		if _, ok := rates[buckets[o.Operation]]; o.Handled && !ok {
			t.Errorf("%s has no quota", o.Operation)
		}
	}
}

func TestOldTokensAreForgotten(t *testing.T) {
	db, err := state.Open("")
	if err != nil {
		t.Fatal(err)
	}
	st, err := state.NewECS(db)
	if err != nil {
		t.Fatal(err)
	}
	clk := &movable{time.Unix(0, 0)}
	a, err := Register(wire.NewServer().Service("ecs"), Deps{State: st, Clock: clk})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for i := range 3 * sweepEvery {
		_ = db.Update(func(tx *state.Tx) error {
			a.remember(tx, itoa(i), i, nil)
			n = a.tokens.Len(tx)
			return nil
		})
		clk.now = clk.now.Add(10 * time.Minute)
	}
	if most := sweepEvery + int(tokenLife/(10*time.Minute)); n > most {
		t.Errorf("%d tokens are kept, want at most %d", n, most)
	}
}

type movable struct{ now time.Time }

func (c *movable) Now() time.Time                       { return c.now }
func (c *movable) After(time.Duration) <-chan time.Time { return nil }
func (c *movable) Real(d time.Duration) time.Duration   { return d }
