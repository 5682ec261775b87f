package capacity

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// mix is tasks as clusters have them: log-normal CPU and memory, loosely coupled.
func mix(n int, seed uint64, cpuMedian, cpuSigma, memPerCPU, memSigma float64) []Task {
	r := rand.New(rand.NewPCG(seed, 7))
	tasks := make([]Task, n)
	for i := range tasks {
		milli := cpuMedian * math.Exp(cpuSigma*r.NormFloat64())
		milli = min(max(milli, 10), 15000)
		mem := milli / 1000 * memPerCPU * 1024 * math.Exp(memSigma*r.NormFloat64())
		mem = min(max(mem, 16), 100*1024)
		tasks[i] = Task{Name: fmt.Sprint("t", i), Resources: Resources{CPU: int(math.Ceil(milli * 1.024)), Memory: int(mem)}}
	}
	return tasks
}

func offers(families string, maxVCPU int) []Offer {
	var out []Offer
	for _, t := range Types() {
		if slices.Contains([]byte(families), t.Name[0]) && t.Name[1] >= '0' && t.Name[1] <= '9' && t.Arch == "amd64" && t.VCPU <= maxVCPU && t.GPUs == 0 {
			out = append(out, Offer{Type: t})
		}
	}
	return out
}

// Mixes of tasks: median CPU in thousandths of a vCPU and its spread, GiB for each vCPU and its
// spread, as the sigmas of the normal distributions behind.
var mixes = []struct {
	name                   string
	median, sigma, gib, sd float64
}{
	{"small", 250, 1, 3, .7},
	{"general", 500, 1, 4, .8},
	{"wide", 500, 1.3, 4, 1},
	{"cpu-heavy", 400, 1, 1.5, .6},
	{"memory-heavy", 250, 1, 9, .7},
	{"large", 1500, .8, 4, .5},
}

// The quality that is promised: at most so much above the fractional optimum.
func TestQuality(t *testing.T) {
	for _, m := range mixes {
		for n, most := range map[int]float64{1000: 1.03, 5000: 1.015} {
			req := &Request{Tasks: mix(n, 1, m.median, m.sigma, m.gib, m.sd), Offers: offers("mcr", 16), Zones: []string{"a", "b", "c"}}
			res := Plan(req)
			check(t, req, &res)
			if len(res.Unplaced) > 0 || res.Ratio() > most {
				t.Errorf("%d %s tasks: ratio %.4f, at most %.3f is promised; %d not placed", n, m.name, res.Ratio(), most, len(res.Unplaced))
			}
		}
	}
}

// BenchmarkPlan packs distinct tasks on the amd64 types of the m, c and r families, up to 16 vCPUs
// (307 types) or 64 (510).
func BenchmarkPlan(b *testing.B) {
	for _, c := range []struct{ tasks, vcpu int }{{1000, 16}, {5000, 16}, {5000, 64}, {20_000, 64}, {100_000, 64}, {1_000_000, 64}} {
		for _, m := range mixes {
			if c.tasks > 5000 && m.name != "general" {
				continue
			}
			b.Run(fmt.Sprintf("tasks=%d/vcpu=%d/mix=%s", c.tasks, c.vcpu, m.name), func(b *testing.B) {
				req := &Request{Tasks: mix(c.tasks, 1, m.median, m.sigma, m.gib, m.sd), Offers: offers("mcr", c.vcpu), Zones: []string{"a", "b", "c"}}
				var res Result
				for b.Loop() {
					res = Plan(req)
				}
				b.ReportMetric(res.Ratio(), "ratio")
				b.ReportMetric(float64(c.tasks)*float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
				b.ReportMetric(float64(len(req.Offers)), "types")
				b.ReportMetric(float64(len(res.Launch)), "nodes")
			})
		}
	}
}

// fleet is a cluster as it gets with time: instances whose tasks have partly gone.
func fleet(instances, perInstance int) *Cluster {
	r := rand.New(rand.NewPCG(5, 5))
	types := offers("mcr", 16)
	types = slices.DeleteFunc(types, func(o Offer) bool { return o.Type.VCPU < 4 || o.Type.Name[1] < '5' })
	c := &Cluster{Zones: []string{"a", "b", "c"}, Offers: offers("mcr", 16)}
	services := make([]*Task, 500)
	for i, t := range mix(len(services), 3, 250, .8, 4, .6) {
		services[i] = &t
		services[i].Service = t.Name
	}
	for i := range instances {
		x := types[r.IntN(len(types))].Type
		in := Occupied{Host: Host{ID: fmt.Sprint("i-", i), Type: x, Zone: c.Zones[i%3]}, Capacity: x.Capacity(false), Price: x.PriceHour}
		free := in.Capacity
		for range perInstance * 6 {
			t := services[r.IntN(len(services))]
			if len(in.Tasks) < perInstance && free.Covers(t.Resources) {
				free = free.Minus(t.Resources)
				in.Tasks = append(in.Tasks, Running{ID: fmt.Sprint(i, "/", len(in.Tasks)), Task: t})
			}
		}
		c.Instances = append(c.Instances, in)
	}
	return c
}

// BenchmarkScaleAndConsolidate is a whole turn of the controller's planning: places for tasks that
// wait, on what is there and on new instances, and then the consolidation of all that is there.
func BenchmarkScaleAndConsolidate(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("instances=%d/tasks=%d", n, 10*n), func(b *testing.B) {
			c := fleet(n, 10)
			tasks := 0
			req := &Request{Offers: c.Offers, Zones: c.Zones, Tasks: mix(n, 9, 250, 1, 4, .7)}
			for i := range c.Instances {
				o := &c.Instances[i]
				in := Instance{Host: o.Host, Capacity: o.Capacity, Price: o.Price}
				for k := range o.Tasks {
					in.Used = in.Used.Plus(o.Tasks[k].Task.Resources)
				}
				tasks += len(o.Tasks)
				req.Existing = append(req.Existing, in)
			}
			var res Result
			var moves []Move
			for b.Loop() {
				res = Plan(req)
				moves = Consolidate(c, Budgets{Instances: NoLimit, Tasks: NoLimit})
			}
			b.StopTimer()
			check(b, req, &res)
			after, err := Apply(c, moves)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(tasks), "tasks")
			b.ReportMetric(float64(len(moves)), "moves")
			b.ReportMetric(100*(1-after.cost()/c.cost()), "%saved")
		})
	}
}

// BenchmarkScaleOntoExisting wants all tasks at once, on instances that are empty but too few.
func BenchmarkScaleOntoExisting(b *testing.B) {
	m5, _ := TypeByName("m5.xlarge")
	req := &Request{Offers: offers("mcr", 16), Zones: []string{"a", "b", "c"}, Tasks: mix(100_000, 9, 250, 1, 4, .7)}
	for i := range 10_000 {
		req.Existing = append(req.Existing, Instance{Host: Host{Type: m5, Zone: req.Zones[i%3]}, Capacity: m5.Capacity(false), Price: m5.PriceHour})
	}
	var res Result
	for b.Loop() {
		res = Plan(req)
	}
	check(b, req, &res)
	b.ReportMetric(res.Ratio(), "ratio")
	b.ReportMetric(float64(len(res.Launch)), "nodes")
}

// BenchmarkServices packs services of 1–20 equal tasks that have network interfaces of their own
// and are spread over three zones.
func BenchmarkServices(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			req := &Request{Tasks: mix(n, 3, 400, 1, 4, .6), Offers: offers("mcr", 16), Zones: []string{"a", "b", "c"}, Trunking: true}
			tasks := 0
			for i := range req.Tasks {
				t := &req.Tasks[i]
				t.Count, t.Service, t.ENI, t.Spread = 1+i*7%20, t.Name, 1, true
				tasks += t.Count
			}
			var res Result
			for b.Loop() {
				res = Plan(req)
			}
			check(b, req, &res)
			b.ReportMetric(res.Ratio(), "ratio")
			b.ReportMetric(float64(tasks), "tasks")
		})
	}
}

// BenchmarkConsolidateTurns is how near the optimum consolidation comes in three turns of the
// controller, each on what the one before left.
func BenchmarkConsolidateTurns(b *testing.B) {
	for _, per := range []int{10, 30} {
		b.Run(fmt.Sprintf("instances=2000/tasks=%d", 2000*per), func(b *testing.B) {
			c := fleet(2000, per)
			p := &planner{req: &Request{Offers: c.Offers}}
			p.readOffers()
			var total Resources
			for i := range c.Instances {
				for k := range c.Instances[i].Tasks {
					total = total.Plus(c.Instances[i].Tasks[k].Task.Resources)
				}
			}
			bound := solveBound(p.vectors, p.price, total.vector()).Cost
			for b.Loop() {
				now := c
				for turn := range 3 {
					after, err := Apply(now, Consolidate(now, Budgets{Instances: NoLimit, Tasks: NoLimit}))
					if err != nil {
						b.Fatal(err)
					}
					now = after
					b.ReportMetric(now.cost()/bound, fmt.Sprintf("ratio%d", turn+1))
				}
			}
			b.ReportMetric(c.cost()/bound, "ratio0")
		})
	}
}
