package scaling

import "testing"

// The cases follow the worked examples of AWS's description of cluster auto scaling
// (https://aws.amazon.com/blogs/containers/deep-dive-on-amazon-ecs-cluster-auto-scaling/).
func TestNeeded(t *testing.T) {
	large := Room{CPU: 2048, Memory: 8000, ENI: 2}
	small := Room{CPU: 512, Memory: 1000}
	for _, c := range []struct {
		name        string
		m           Managed
		there, busy int
		groups      []Waiting
		want        int
		percent     float64
	}{
		{"nothing there, nothing asked", Managed{1, 100}, 0, 0, nil, 0, 100},
		{"from zero", Managed{1, 100}, 0, 0, []Waiting{{Tasks: 9, Needs: small}}, 3, 200},
		{"all busy, none waits", Managed{1, 100}, 4, 4, nil, 4, 100},
		{"an idle one", Managed{1, 100}, 4, 3, nil, 3, 75},
		{"all idle", Managed{1, 100}, 4, 0, nil, 0, 0},
		{"four a machine", Managed{1, 100}, 2, 2, []Waiting{{Tasks: 8, Needs: small}}, 4, 200},
		{"the largest group counts, not the sum", Managed{1, 100}, 2, 2, []Waiting{{Tasks: 8, Needs: small}, {Tasks: 5, Needs: Room{CPU: 2048}}}, 7, 350},
		{"memory binds", Managed{1, 100}, 1, 1, []Waiting{{Tasks: 4, Needs: Room{CPU: 1, Memory: 4000}}}, 3, 300},
		{"network interfaces bind", Managed{1, 100}, 1, 1, []Waiting{{Tasks: 4, Needs: Room{CPU: 1, ENI: 1}}}, 3, 300},
		{"one a machine", Managed{1, 100}, 1, 1, []Waiting{{Tasks: 3, Needs: small, Exclusive: true}}, 4, 400},
		{"at least the minimum step", Managed{3, 100}, 2, 2, []Waiting{{Tasks: 1, Needs: small}}, 5, 250},
		{"at most the maximum step", Managed{1, 2}, 2, 2, []Waiting{{Tasks: 40, Needs: small}}, 4, 200},
		{"too large for any", Managed{1, 100}, 2, 1, []Waiting{{Tasks: 1, Needs: Room{CPU: 4096}}}, 1, 50},
	} {
		got := c.m.Needed(c.there, c.busy, c.groups, large)
		if got != c.want || Reservation(got, c.there) != c.percent {
			t.Errorf("%s: M = %d, %v %%, want %d, %v %%", c.name, got, Reservation(got, c.there), c.want, c.percent)
		}
	}
}

func TestInStep(t *testing.T) {
	for _, c := range [][3]int{{10, 10, 10}, {10, 12, 10}, {10, 9, 9}, {10, 0, 6}, {3, 0, 2}, {2, 0, 1}, {1, 0, 0}} {
		if got := InStep(c[0], c[1]); got != c[2] {
			t.Errorf("from %d to %d: %d, want %d", c[0], c[1], got, c[2])
		}
	}
}
