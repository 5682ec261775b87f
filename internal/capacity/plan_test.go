package capacity

import (
	"math"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// check proves a plan: every task is somewhere once, no host is overcommitted in any resource,
// port or limit, constraints hold, and the cost is that of the launches and not below the bound.
func check(t interface{ Fatalf(string, ...any) }, req *Request, res *Result) {
	seen := make([]int, len(req.Tasks))
	placed := 0
	limits := limitsOf(req.Tasks, req.Headroom.Tasks)
	host := func(h Host, free Resources, ports []Port, services map[string]int, tasks []Placed) {
		taken := map[Port]bool{}
		for _, p := range ports {
			taken[p.normal()] = true
		}
		count := map[string]int{}
		for s, n := range services {
			count[s] = n
		}
		for _, p := range tasks {
			task := &req.Tasks[p.Task]
			if p.Count < 1 {
				t.Fatalf("%d of task %d placed", p.Count, p.Task)
			}
			seen[p.Task] += p.Count
			placed += p.Count
			free = free.Minus(task.Resources.Times(p.Count))
			count[task.Service] += p.Count
			if m := limits[task.Service]; m > 0 && count[task.Service] > m {
				t.Fatalf("%d tasks of %q on one instance", count[task.Service], task.Service)
			}
			if !task.admitted(h) {
				t.Fatalf("task %d is on %+v, which it does not admit", p.Task, h)
			}
			for _, port := range task.Ports {
				if p.Count > 1 || taken[port.normal()] {
					t.Fatalf("port %v taken twice", port)
				}
				taken[port.normal()] = true
			}
		}
		if !free.Covers(Resources{}) {
			t.Fatalf("overcommitted: %+v left", free)
		}
	}
	cost := 0.0
	for _, l := range res.Launch {
		o := &req.Offers[l.Offer]
		host(Host{Type: o.Type, Zone: l.Zone, Attributes: o.Attrs}, o.Type.Capacity(req.Trunking).Minus(req.Overhead), nil, nil, l.Tasks)
		cost += o.price()
	}
	used := map[int]bool{}
	for _, f := range res.Fill {
		if used[f.Instance] {
			t.Fatalf("instance %d filled twice", f.Instance)
		}
		used[f.Instance] = true
		in := &req.Existing[f.Instance]
		host(in.Host, in.Capacity.Minus(in.Used), in.Ports, in.Services, f.Tasks)
	}
	for _, u := range res.Unplaced {
		if u.Reason == "" || u.Count < 1 {
			t.Fatalf("unplaced %+v", u)
		}
		seen[u.Task] += u.Count
	}
	for i, n := range seen {
		if n != req.Tasks[i].count() {
			t.Fatalf("task %d: %d of %d accounted for", i, n, req.Tasks[i].count())
		}
	}
	if placed != res.Tasks {
		t.Fatalf("%d placed, the plan says %d", placed, res.Tasks)
	}
	if math.Abs(cost-res.Cost) > 1e-6 {
		t.Fatalf("cost %v, the plan says %v", cost, res.Cost)
	}
	if len(res.Unplaced) == 0 && res.Cost < res.Bound.Cost-1e-6 {
		t.Fatalf("cost %v is below the lower bound %v", res.Cost, res.Bound.Cost)
	}
}

func drawRequest(t *rapid.T) *Request {
	all := offers("mcrg", 32)
	for i := range all { // the g family's GPUs are wanted here
		all[i].Zones = nil
	}
	for _, x := range Types() {
		if x.GPUs > 0 && x.VCPU <= 32 && x.InFamily("g") {
			all = append(all, Offer{Type: x})
		}
	}
	req := &Request{Zones: []string{"a", "b", "c"}[:rapid.IntRange(1, 3).Draw(t, "zones")], Trunking: rapid.Bool().Draw(t, "trunking")}
	for range rapid.IntRange(0, 30).Draw(t, "offers") {
		o := rapid.SampledFrom(all).Draw(t, "offer")
		if rapid.IntRange(0, 4).Draw(t, "zonal") == 0 {
			o.Zones = []string{rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "zone")}
		}
		req.Offers = append(req.Offers, o)
	}
	if rapid.Bool().Draw(t, "daemons") {
		req.Overhead = Resources{CPU: 128, Memory: 256}
	}
	for i := range rapid.IntRange(0, 60).Draw(t, "tasks") {
		task := Task{
			Service:   rapid.SampledFrom([]string{"", "web", "api", "job"}).Draw(t, "service"),
			Resources: Resources{CPU: rapid.IntRange(0, 9000).Draw(t, "cpu"), Memory: rapid.IntRange(1, 40000).Draw(t, "memory")},
			Count:     rapid.IntRange(0, 12).Draw(t, "count"),
		}
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0:
			task.GPU = rapid.IntRange(1, 2).Draw(t, "gpu")
		case 1:
			task.Ports = []Port{{Number: rapid.IntRange(80, 82).Draw(t, "port")}}
		case 2:
			task.Spread = true
		case 3:
			task.MaxPerInstance = rapid.IntRange(1, 3).Draw(t, "max")
		case 4:
			task.Zones = []string{rapid.SampledFrom([]string{"a", "b", "d"}).Draw(t, "in zone")}
		case 5:
			task.ENI = 1
		case 6:
			odd := i%2 == 0
			task.Admits = func(h Host) bool { return (h.Type.VCPU > 8) == odd }
		}
		req.Tasks = append(req.Tasks, task)
	}
	for range rapid.IntRange(0, 10).Draw(t, "existing") {
		o := rapid.SampledFrom(all).Draw(t, "type")
		in := Instance{Host: Host{ID: "i", Type: o.Type, Zone: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "in")}, Capacity: o.Type.Capacity(false), Price: o.Type.PriceHour}
		in.Used = Resources{CPU: in.Capacity.CPU / rapid.IntRange(1, 9).Draw(t, "used"), Memory: in.Capacity.Memory / 3}
		if rapid.Bool().Draw(t, "port taken") {
			in.Ports = []Port{{Number: 80}}
		}
		if rapid.Bool().Draw(t, "runs web") {
			in.Services = map[string]int{"web": 1}
		}
		req.Existing = append(req.Existing, in)
	}
	if rapid.IntRange(0, 3).Draw(t, "headroom") == 0 {
		req.Headroom.Percent = rapid.Float64Range(0, 60).Draw(t, "percent")
		req.Headroom.Tasks = []Task{{Resources: Resources{CPU: 500, Memory: 500}, Count: 2}}
	}
	return req
}

func TestPlanIsSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		req := drawRequest(t)
		res := Plan(req)
		check(t, req, &res)
		if again := Plan(req); !reflect.DeepEqual(res, again) {
			t.Fatalf("the same request gave another plan")
		}
	})
}

func TestPlanIsCompleteWhenAnOfferHoldsEachTask(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		req := drawRequest(t)
		for i := range req.Tasks {
			task := &req.Tasks[i]
			task.Zones, task.Admits, task.GPU, task.ENI, task.Arch = nil, nil, 0, 0, ""
		}
		m, _ := TypeByName("m5.24xlarge")
		req.Offers = append(req.Offers, Offer{Type: m})
		for i := range req.Offers {
			req.Offers[i].Zones = nil
		}
		res := Plan(req)
		check(t, req, &res)
		if len(res.Unplaced) > 0 {
			t.Fatalf("unplaced: %+v", res.Unplaced)
		}
	})
}

func TestBoundAgainstEnumeration(t *testing.T) {
	// With two resources an optimum uses at most two types, each pair's optimum is on its edges.
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "n")
		capacity, price := make([]vector, n), make([]float64, n)
		for i := range n {
			capacity[i] = vector{rapid.Float64Range(1, 100).Draw(t, "c"), rapid.Float64Range(1, 100).Draw(t, "m")}
			price[i] = rapid.Float64Range(0.1, 10).Draw(t, "p")
		}
		d := vector{rapid.Float64Range(0, 1000).Draw(t, "C"), rapid.Float64Range(0, 1000).Draw(t, "M")}
		best := math.Inf(1)
		for i := range n {
			best = min(best, price[i]*max(d[0]/capacity[i][0], d[1]/capacity[i][1]))
			for j := range i {
				det := capacity[i][0]*capacity[j][1] - capacity[i][1]*capacity[j][0]
				if math.Abs(det) < 1e-9 {
					continue
				}
				x := (d[0]*capacity[j][1] - d[1]*capacity[j][0]) / det
				y := (d[1]*capacity[i][0] - d[0]*capacity[i][1]) / det
				if x >= 0 && y >= 0 {
					best = min(best, x*price[i]+y*price[j])
				}
			}
		}
		if got := solveBound(capacity, price, d); math.Abs(got.Cost-best) > 1e-6*max(1, best) {
			t.Fatalf("bound %v, enumeration %v", got.Cost, best)
		}
	})
}

func TestZoneLossIsSurvived(t *testing.T) {
	for _, n := range []int{3, 30, 300, 3000} {
		tasks := mix(n, 4, 400, 1, 4, .6)
		for i := range tasks {
			tasks[i].Service, tasks[i].Spread = "s", i%2 == 0
		}
		req := &Request{Tasks: tasks, Offers: offers("mcr", 16), Zones: []string{"a", "b", "c"}, Headroom: Headroom{ZoneLoss: true}}
		res := Plan(req)
		check(t, req, &res)
		if len(res.Survives) != 3 {
			t.Errorf("%d tasks: only the loss of %v is survived", n, res.Survives)
		}
		// By hand, in resources: what the other zones have free covers what the zone holds.
		for _, zone := range req.Zones {
			var held, free Resources
			for _, l := range res.Launch {
				room := l.Capacity
				for _, p := range l.Tasks {
					room = room.Minus(tasks[p.Task].Resources.Times(p.Count))
				}
				if l.Zone == zone {
					held = held.Plus(l.Capacity.Minus(room))
				} else {
					free = free.Plus(room)
				}
			}
			if !free.Covers(held) {
				t.Errorf("%d tasks: zone %s holds %+v, the others have %+v free", n, zone, held, free)
			}
		}
		if n == 3000 && res.Cost > 1.7*Plan(&Request{Tasks: tasks, Offers: req.Offers, Zones: req.Zones}).Cost {
			t.Errorf("surviving one zone of three takes about half more, not %.2f of %.2f", res.Cost, res.Bound.Cost)
		}
	}
}
