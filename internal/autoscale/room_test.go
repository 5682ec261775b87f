package autoscale

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-ecs/slipway/internal/placement"
)

// The tree finds the same first host with room as trying one after another does, and books the same.
func TestRoomsAreThoseOfAScan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string, n int) int { return rapid.IntRange(0, n).Draw(t, label) }
		var a, b []*placement.Instance
		for k := range draw("hosts", 20) {
			h := placement.Instance{ID: fmt.Sprint(k), Status: "ACTIVE", AgentConnected: draw("connected", 4) > 0, Attributes: map[string]string{"disk": []string{"ssd", "hdd"}[draw("disk", 1)]},
				Registered: placement.Resources{CPU: 100 * draw("cpu", 20), Memory: 100 * draw("memory", 20), ENI: draw("eni", 3)}}
			if draw("drains", 5) == 0 {
				h.Status = "DRAINING"
			}
			one, two := h, h
			for _, c := range []*placement.Instance{&one, &two} {
				c.Ports, c.Groups = map[placement.Port]int{}, map[string]int{}
			}
			a, b = append(a, &one), append(b, &two)
		}
		r := newRooms(a)
		b = near(b) // the same order
		for k := range draw("tasks", 12) {
			q := placement.Request{Resources: placement.Resources{CPU: 100 * draw("needs cpu", 8), Memory: 100 * draw("needs memory", 8), ENI: draw("needs eni", 1)}, Group: fmt.Sprint("family:", k)}
			if draw("attribute", 3) == 0 {
				q.Attributes = []string{"disk=ssd"}
			}
			n := 1 + draw("count", 6)
			want := 0
			for _, h := range b {
				for want < n {
					one, err := placement.NewBatch(&q, []*placement.Instance{h}) // ECS's own filters
					if err != nil {
						t.Fatal(err)
					}
					if one.Next() == nil {
						break
					}
					want++
				}
			}
			if got := r.place(&q, n); got != want {
				t.Fatalf("%d of %d placed, a scan places %d", got, n, want)
			}
		}
		if len(r.hosts) != len(a) {
			t.Fatalf("%d hosts of %d", len(r.hosts), len(a))
		}
		for k := range b {
			if r.hosts[k].ID != b[k].ID || r.hosts[k].Used != b[k].Used {
				t.Fatalf("host %s: %+v, a scan has %s: %+v", r.hosts[k].ID, r.hosts[k].Used, b[k].ID, b[k].Used)
			}
		}
	})
}
