package autoscale

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-ecs/slipway/internal/capacity"
	"github.com/slipway-ecs/slipway/internal/placement"
)

// large is a cluster of so many instances of eight types with about ten tasks each, all tasks of which differ in
// size, or, with services, are of so many.
func large(instances, services int) *State {
	r := rand.New(rand.NewPCG(11, 4))
	s := &State{Cluster: "large", Slack: map[string]int{}}
	types := []string{"m7i.xlarge", "m7i.2xlarge", "c7i.xlarge", "c7i.2xlarge", "r7i.xlarge", "r7i.2xlarge", "m6i.xlarge", "m5.2xlarge"}
	for _, t := range types {
		s.Groups = append(s.Groups, Group{Name: t, Type: t, Zones: []string{"a", "b", "c"}, Max: 2 * instances})
	}
	size := func() placement.Resources {
		milli := min(max(250*math.Exp(.8*r.NormFloat64()), 10), 4000)
		return placement.Resources{CPU: int(milli * 1.024), Memory: int(min(max(milli/1000*4096*math.Exp(.6*r.NormFloat64()), 16), 16000))}
	}
	var shapes []placement.Resources
	for range services {
		shapes = append(shapes, size())
	}
	n := 0
	for k := range instances {
		g := &s.Groups[r.IntN(len(types))]
		t, _ := capacity.TypeByName(g.Type)
		c := t.Capacity(false)
		h := Host{Instance: placement.Instance{ID: fmt.Sprint("arn/", k), EC2ID: fmt.Sprint("i-", k), Type: g.Type, AZ: g.Zones[k%3], Status: "ACTIVE", AgentConnected: true, RegisteredAt: now.Add(-time.Hour),
			Registered: placement.Resources{CPU: c.CPU, Memory: c.Memory, ENI: c.ENI}, Ports: map[placement.Port]int{}, Groups: map[string]int{}}, Group: g.Name, InService: true}
		g.Desired++
		g.Instances++
		for range 10 {
			name, need := fmt.Sprint("one", n), placement.Resources{}
			if services > 0 {
				at := r.IntN(services)
				name, need = fmt.Sprint("s", at), shapes[at]
			} else {
				need = size()
			}
			q := placement.Request{Resources: need, Group: "service:" + name}
			if f := h.Remaining(); f.CPU < need.CPU || f.Memory < need.Memory {
				continue
			}
			n++
			h.Take(&q)
			h.Tasks = append(h.Tasks, Task{ARN: fmt.Sprint("task/", n), Service: name, Need: q})
			s.Slack[name]++
		}
		s.Hosts = append(s.Hosts, h)
	}
	return s
}

// BenchmarkTurn is what the controller decides in one turn, whole: the tasks that wait on what there is and on
// new instances, or, when none does, the consolidation of everything with its reserve.
func BenchmarkTurn(b *testing.B) {
	for _, services := range []int{500, 0} {
		for _, waiting := range []int{0, 10_000, 100_000} {
			kind := "distinct"
			if services > 0 {
				kind = fmt.Sprintf("services=%d", services)
			}
			b.Run(fmt.Sprintf("instances=10000/%s/waiting=%d", kind, waiting), func(b *testing.B) {
				s := large(10_000, services)
				tasks := 0
				for k := range s.Hosts {
					tasks += len(s.Hosts[k].Tasks)
				}
				for k := range waiting {
					s.Wanted = append(s.Wanted, Wanted{Name: fmt.Sprint("new", k), Count: 1, Need: placement.Request{Resources: placement.Resources{CPU: 100 + k%900, Memory: 128 + k%3000}, Group: fmt.Sprint("service:new", k)}})
				}
				since := map[string]time.Time{}
				for k := range s.Hosts {
					since[s.Hosts[k].ID] = now.Add(-time.Hour)
				}
				cfg := Defaults()
				cfg.Budgets = []capacity.Disruption{{Number: capacity.NoLimit, Percent: 100}}
				var peak atomic.Uint64
				stop := make(chan struct{})
				go func() {
					for {
						var m runtime.MemStats
						runtime.ReadMemStats(&m)
						peak.Store(max(peak.Load(), m.Sys))
						select {
						case <-stop:
							return
						case <-time.After(20 * time.Millisecond):
						}
					}
				}()
				var ds []Decision
				for b.Loop() {
					ds, _ = Decide(s, since, now, cfg)
				}
				close(stop)
				b.ReportMetric(float64(tasks), "tasks")
				b.ReportMetric(float64(len(ds)), "decisions")
				b.ReportMetric(float64(peak.Load())/(1<<20), "MB-from-the-system")
			})
		}
	}
}
