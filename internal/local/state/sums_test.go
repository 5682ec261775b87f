package state

import (
	"errors"
	"maps"
	"testing"

	"github.com/slipway-ecs/slipway/internal/placement"
	"pgregory.net/rapid"
)

// Whatever happens to tasks, also in transactions that fail, an instance's load is what its tasks take.
func TestInstanceLoads(t *testing.T) {
	refused := errors.New("refused")
	rapid.Check(t, func(t *rapid.T) {
		db, _ := Open("")
		s, err := NewECS(db)
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 30).Draw(t, "transactions") {
			fails := rapid.Bool().Draw(t, "fails")
			err := db.Update(func(tx *Tx) error {
				for range rapid.IntRange(1, 4).Draw(t, "writes") {
					arn := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "task")
					if rapid.IntRange(0, 4).Draw(t, "delete") == 0 {
						s.Tasks.Delete(tx, arn)
						continue
					}
					task := &Task{ARN: arn, ContainerInstance: rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "instance"),
						LastStatus: rapid.SampledFrom([]string{"PENDING", "RUNNING", "STOPPED"}).Draw(t, "is"), DesiredStatus: rapid.SampledFrom([]string{"RUNNING", "STOPPED"}).Draw(t, "wanted"),
						Group: rapid.SampledFrom([]string{"g", "h"}).Draw(t, "group"), CPU: rapid.IntRange(0, 9).Draw(t, "cpu"), Memory: 4}
					if port := rapid.IntRange(0, 2).Draw(t, "port"); port > 0 {
						task.HostPorts = []ReservedPort{{Port: port, Protocol: "tcp"}}
						task.Containers = []TaskContainer{{Bindings: []PortBinding{{HostPort: port, Protocol: "tcp"}, {HostPort: 7, Protocol: "udp"}}}}
					}
					s.Tasks.Put(tx, arn, task)
				}
				if fails {
					return refused
				}
				return nil
			})
			if fails != errors.Is(err, refused) {
				t.Fatal(err)
			}
			_ = db.View(func(tx *Tx) error {
				for _, instance := range []string{"x", "y"} {
					var want Load
					n := 0
					for _, task := range s.TasksByInstance.Get(tx, instance) {
						want.add(task, 1)
						n++
					}
					got := s.InstanceLoads.Get(tx, instance)
					if (got == nil) != (n == 0) {
						t.Fatalf("%s has %d tasks and the load %v", instance, n, got)
					}
					if n == 0 {
						continue
					}
					if got.Used != want.Used || got.Running != want.Running || !maps.Equal(got.Ports, want.Ports) || !maps.Equal(got.Groups, want.Groups) {
						t.Fatalf("%s: %+v, not %+v", instance, got, want)
					}
				}
				return nil
			})
		}
	})
	if got := HostPorts(&Task{HostPorts: []ReservedPort{{Port: 80, Protocol: "tcp"}}, ENI: &ENI{}, Containers: []TaskContainer{{Bindings: []PortBinding{{HostPort: 81}}}}}); len(got) != 1 || got[0] != (placement.Port{Number: 80, Protocol: "tcp"}) {
		t.Errorf("a task with an interface holds %v", got)
	}
}
