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
