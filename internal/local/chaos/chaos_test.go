package chaos

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/api/ec2"
	"github.com/slipway-ecs/slipway/internal/local/api/servicediscovery"
	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
)

type known struct{}

func (known) Resolve(name, _ string) ([]servicediscovery.Record, bool) {
	if name == "nobody.local." {
		return nil, false
	}
	return []servicediscovery.Record{{}}, true
}

func TestNamesAndTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, err := state.Open("")
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		ecs, err := state.NewECS(db)
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(func(tx *state.Tx) error { // what a fault left when this was last running
			ecs.ContainerInstances.Put(tx, "a", &state.ContainerInstance{ARN: "a", Status: "ACTIVE"})
			ecs.ContainerInstances.Put(tx, "b", &state.ContainerInstance{ARN: "b", Status: "INACTIVE"})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		faults := &wire.Faults{}
		machines, err := ec2.Register(wire.NewServer().Service("ec2"), ec2.Config{DB: db, ECS: ecs, Clock: clock.Wall{}, Region: "us-east-1", Account: "000000000000"})
		if err != nil {
			t.Fatal(err)
		}
		w, err := New(Config{State: ecs, EC2: machines, Clock: clock.Wall{}, Faults: faults})
		if err != nil {
			t.Fatal(err)
		}
		_ = db.View(func(tx *state.Tx) error {
			for arn, want := range map[string]bool{"a": true, "b": false} {
				if ci, _ := ecs.ContainerInstances.Get(tx, arn); ci.AgentConnected != want {
					t.Errorf("agent %s is connected: %v", arn, ci.AgentConnected)
				}
			}
			return nil
		})
		go func() { _ = w.Run(t.Context()) }()
		n := w.Names(known{})
		there := func(name string) bool { r, _ := n.Resolve(name, "A"); return len(r) > 0 }
		if _, err := faults.Add(wire.Fault{Kind: DNS, Target: wire.Target{Name: "web.*"}, For: 60}); err != nil {
			t.Fatal(err)
		}
		if there("WEB.prod.local.") || !there("api.prod.local.") || there("nobody.local.") {
			t.Error("the wrong names are hidden")
		}
		if _, err := faults.Add(wire.Fault{Kind: Skew, Delay: -3_600_000, For: 30}); err != nil {
			t.Fatal(err)
		}
		if w.ClockSkew() != -time.Hour {
			t.Errorf("skew %v", w.ClockSkew())
		}
		time.Sleep(31 * time.Second)
		if w.ClockSkew() != 0 || there("web.prod.local.") {
			t.Error("the first fault to end did not, or another did")
		}
		time.Sleep(30 * time.Second)
		if !there("web.prod.local.") {
			t.Error("the name is still hidden")
		}
	})
}
