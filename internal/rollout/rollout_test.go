package rollout

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The rows are those of https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html
// and https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
func TestArithmetic(t *testing.T) {
	for _, c := range []struct {
		desired, lo, hi int
		want            Bounds
	}{
		{4, 50, 200, Bounds{2, 8}}, {4, 100, 200, Bounds{4, 8}}, {3, 50, 150, Bounds{2, 4}},
		{1, 100, 150, Bounds{1, 1}}, {0, 100, 200, Bounds{0, 0}}, {5000, 99, 101, Bounds{4950, 5050}},
	} {
		if got := RollingBounds(c.desired, c.lo, c.hi); got != c.want {
			t.Errorf("%d of %d–%d%% = %v, want %v", c.desired, c.lo, c.hi, got, c.want)
		}
	}
	for desired, want := range map[int]int{1: 3, 25: 13, 400: 200, 800: 200} {
		if got := BreakerThreshold(desired); got != want {
			t.Errorf("threshold of %d = %d, want %d", desired, got, want)
		}
	}
}

func tasks(deployment string, n int, h Health) (out []Task) {
	for k := range n {
		out = append(out, Task{ID: fmt.Sprintf("%s-%d", deployment, k), Deployment: deployment, Running: true, Health: h})
	}
	return out
}

func join(lists ...[]Task) (out []Task) {
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

func with(list []Task, f func(*Task)) []Task {
	for k := range list {
		f(&list[k])
	}
	return list
}

func TestRolling(t *testing.T) {
	starting := func(t *Task) { t.Running = false }
	draining := func(t *Task) { t.Draining = true }
	protected := func(t *Task) { t.Protected = true }
	for name, c := range map[string]struct {
		desired, lo, hi      int
		tasks                []Task
		noRoom, failed, done bool
		starts, stops        int
		why                  Why
		steady, blocked      bool
		held                 int
	}{
		"first start":                             {desired: 4, lo: 100, hi: 200, starts: 4},
		"new revision at 100/200":                 {desired: 4, lo: 100, hi: 200, tasks: tasks("old", 4, Healthy), starts: 4},
		"one new is healthy, one old goes":        {desired: 4, lo: 100, hi: 200, tasks: join(tasks("old", 4, Healthy), tasks("new", 1, Healthy), tasks("new", 3, Waiting)), stops: 1},
		"50/100 stops two of four first":          {desired: 4, lo: 50, hi: 100, tasks: tasks("old", 4, Healthy), stops: 2},
		"50/200 without room stops two":           {desired: 4, lo: 50, hi: 200, tasks: tasks("old", 4, Healthy), noRoom: true, starts: 4, stops: 2},
		"100/100 cannot move":                     {desired: 2, lo: 100, hi: 100, tasks: tasks("old", 2, Healthy), blocked: true},
		"1 at 100/150 cannot move":                {desired: 1, lo: 100, hi: 150, tasks: tasks("old", 1, Healthy), blocked: true},
		"steady":                                  {desired: 2, lo: 100, hi: 200, tasks: tasks("new", 2, Healthy), done: true, steady: true},
		"sick is replaced first":                  {desired: 2, lo: 100, hi: 200, tasks: join(tasks("new", 1, Healthy), tasks("new", 1, Unhealthy)), done: true, starts: 1},
		"sick goes when replaced":                 {desired: 2, lo: 100, hi: 200, tasks: join(tasks("new", 2, Healthy), tasks("new", 1, Unhealthy)), done: true, stops: 1, why: Sick},
		"sick, no room by percent: one by one":    {desired: 3, lo: 0, hi: 100, tasks: tasks("new", 3, Unhealthy), done: true, stops: 1, why: Sick},
		"draining at 100/200 is replaced first":   {desired: 2, lo: 100, hi: 200, tasks: join(tasks("new", 1, Healthy), with(tasks("new", 1, Healthy), draining)), done: true, starts: 1},
		"draining goes when replaced":             {desired: 2, lo: 100, hi: 200, tasks: join(tasks("new", 2, Healthy), with(tasks("new", 1, Healthy), draining)), done: true, stops: 1, why: Drained},
		"draining at 50/100 stops first":          {desired: 2, lo: 50, hi: 100, tasks: join(tasks("new", 1, Healthy), with(tasks("new", 1, Healthy), draining)), done: true, stops: 1, why: Drained},
		"draining at 100/100 never moves":         {desired: 2, lo: 100, hi: 100, tasks: join(tasks("new", 1, Healthy), with(tasks("new", 1, Healthy), draining)), done: true, blocked: true},
		"pending on a draining instance":          {desired: 2, lo: 100, hi: 200, tasks: join(tasks("new", 1, Healthy), with(tasks("new", 1, Waiting), func(t *Task) { starting(t); draining(t) })), done: true, starts: 1, stops: 1, why: Drained},
		"scale in":                                {desired: 1, lo: 100, hi: 200, tasks: tasks("new", 3, Healthy), done: true, stops: 2, why: ScaledIn},
		"scale in takes the starting first":       {desired: 2, lo: 100, hi: 200, tasks: join(tasks("new", 2, Healthy), with(tasks("new", 2, Waiting), starting)), done: true, stops: 2, why: ScaledIn},
		"protected tasks stay":                    {desired: 1, lo: 100, hi: 200, tasks: with(tasks("new", 3, Healthy), protected), done: true, held: 2},
		"protection does not hold a draining one": {desired: 1, lo: 100, hi: 200, tasks: join(tasks("new", 1, Healthy), with(tasks("new", 1, Healthy), func(t *Task) { draining(t); protected(t) })), done: true, stops: 1, why: Drained},
		"to zero":                               {desired: 0, lo: 100, hi: 200, tasks: join(tasks("new", 1, Unhealthy), tasks("old", 1, Healthy)), stops: 2},
		"a failed deployment starts nothing":    {desired: 3, lo: 100, hi: 200, failed: true, tasks: tasks("old", 3, Healthy)},
		"a failed deployment, an old task lost": {desired: 3, lo: 100, hi: 200, failed: true, tasks: tasks("old", 2, Healthy), starts: 1},
	} {
		got := Rolling(State{
			Desired: c.desired, MinimumHealthyPercent: c.lo, MaximumPercent: c.hi, Tasks: c.tasks, NoRoom: c.noRoom,
			Primary: Deployment{ID: "new", Failed: c.failed, Completed: c.done}, Older: []Deployment{{ID: "old", Completed: true}},
		})
		starts := 0
		for _, s := range got.Starts {
			starts += s.Count
		}
		if starts != c.starts || len(got.Stops) != c.stops || got.Steady != c.steady || got.Blocked != c.blocked || got.HeldByProtection != c.held {
			t.Errorf("%s: %+v", name, got)
		}
		if c.why != Replaced {
			for _, s := range got.Stops {
				if s.Why != c.why {
					t.Errorf("%s: stopped because %v, want %v", name, s.Why, c.why)
				}
			}
		}
	}
}

func TestJudge(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	for name, c := range map[string]struct {
		o    Observation
		at   int
		want Health
		wake int // seconds after the start; 0: none
	}{
		"no checks, young":             {Observation{}, 39, Waiting, 40},
		"no checks, 40 s":              {Observation{}, 40, Healthy, 0},
		"container check unknown":      {Observation{ContainerCheck: true}, 100, Waiting, 0},
		"container check passed":       {Observation{ContainerCheck: true, Container: Healthy}, 1, Healthy, 0},
		"both need to pass":            {Observation{ContainerCheck: true, Container: Healthy, Targets: []Health{Waiting}}, 100, Waiting, 0},
		"every target group":           {Observation{Targets: []Health{Healthy, Unhealthy}}, 100, Unhealthy, 0},
		"failure inside the grace":     {Observation{Targets: []Health{Unhealthy}, Grace: time.Minute}, 59, Waiting, 60},
		"failure after the grace":      {Observation{Targets: []Health{Unhealthy}, Grace: time.Minute}, 60, Unhealthy, 0},
		"health inside the grace":      {Observation{Targets: []Health{Healthy}, Grace: time.Minute}, 5, Healthy, 0},
		"container fails before grace": {Observation{ContainerCheck: true, Container: Unhealthy, Grace: time.Minute}, 5, Waiting, 60},
	} {
		c.o.RunningSince = start
		got, wake := Judge(c.o, at(c.at))
		if got != c.want || c.wake == 0 != wake.IsZero() || c.wake != 0 && !wake.Equal(at(c.wake)) {
			t.Errorf("%s: %v, wake %v", name, got, wake)
		}
	}
}

func TestBreakerAndRollback(t *testing.T) {
	b := Breaker{Enable: true, Rollback: true}
	if b.Decide(2, 1, false) != Continue || b.Decide(3, 1, false) != RollBack || b.Decide(3, 1, true) != Fail || (Breaker{}).Decide(99, 1, false) != Continue {
		t.Error("breaker decides wrongly")
	}
	past := []Past{{ID: "a", CompletedAt: time.Unix(1, 0)}, {ID: "b", CompletedAt: time.Unix(5, 0)}, {ID: "c"}, {ID: "d", CompletedAt: time.Unix(9, 0)}}
	if got := RollbackTarget(past, "d"); got != 1 {
		t.Errorf("target %d, want 1", got)
	}
	if got := RollbackTarget(past[2:3], "x"); got != -1 {
		t.Errorf("target %d, want none", got)
	}
	if CountsAsFailed(true, "EssentialContainerExited", false) || !CountsAsFailed(false, "TaskFailedToStart", false) || CountsAsFailed(false, "UserInitiated", false) || !CountsAsFailed(false, "ServiceSchedulerInitiated", true) {
		t.Error("failed tasks are counted wrongly")
	}
}

// A simulated service under random deployments, scalings, drains and failures: never below the
// minimum by the planner's own doing, never above the maximum, and at rest in the end.
func TestRollingIsSafeAndConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := State{Desired: rapid.IntRange(0, 8).Draw(t, "desired")}
		s.MinimumHealthyPercent = rapid.SampledFrom([]int{0, 33, 50, 75, 100}).Draw(t, "min")
		s.MaximumPercent = rapid.SampledFrom([]int{100, 125, 150, 200}).Draw(t, "max")
		s.Primary = Deployment{ID: "d0"}
		next, seq := 1, 0
		step := func(calm bool) Plan {
			b := RollingBounds(s.Desired, s.MinimumHealthyPercent, s.MaximumPercent)
			p := Rolling(s)
			healthy, total := countIf(s.Tasks, func(t Task) bool { return t.Running && t.Health == Healthy }), len(s.Tasks)
			gone := map[string]bool{}
			for _, x := range p.Stops {
				if gone[x.Task.ID] {
					t.Fatalf("stopped twice: %s", x.Task.ID)
				}
				gone[x.Task.ID] = true
				if x.Task.Protected && !x.Task.Draining && x.Why != Sick {
					t.Fatalf("stopped a protected task: %+v", x)
				}
			}
			var kept []Task
			left := 0
			for _, x := range s.Tasks {
				if !gone[x.ID] {
					kept = append(kept, x)
					if x.Running && x.Health == Healthy {
						left++
					}
				}
			}
			if left < healthy && left < b.Min {
				t.Fatalf("%d healthy left of %d, minimum %d: %+v from %+v", left, healthy, b.Min, p, s)
			}
			for _, x := range p.Starts {
				if total += x.Count; total > b.Max {
					t.Fatalf("%d tasks, maximum %d: %+v from %+v", total, b.Max, p, s)
				}
				for range x.Count {
					seq++
					kept = append(kept, Task{ID: fmt.Sprint(seq), Deployment: x.Deployment})
				}
			}
			if p.Complete {
				s.Primary.Completed, s.Older = true, nil
			}
			for k := range kept {
				x := &kept[k]
				switch {
				case !x.Running:
					x.Running = calm || rapid.Bool().Draw(t, "runs")
				case calm:
					x.Health = Healthy
				default:
					x.Health = rapid.SampledFrom([]Health{Waiting, Healthy, Healthy, Unhealthy}).Draw(t, "health")
					x.Draining = x.Draining || rapid.IntRange(0, 9).Draw(t, "drains") == 0
					x.Protected = rapid.IntRange(0, 9).Draw(t, "protected") == 0
				}
			}
			s.Tasks = kept
			return p
		}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "event") {
			case 0:
				s.Older = append([]Deployment{s.Primary}, s.Older...)
				s.Primary = Deployment{ID: fmt.Sprint("d", next)}
				next++
			case 1:
				s.Desired = rapid.IntRange(0, 8).Draw(t, "desired")
			case 2:
				if n := len(s.Tasks); n > 0 {
					s.Tasks = s.Tasks[1:] // one dies
				}
			case 3:
				s.NoRoom = !s.NoRoom
			}
			step(false)
		}
		s.NoRoom = false
		if b := RollingBounds(s.Desired, s.MinimumHealthyPercent, s.MaximumPercent); b.Min >= b.Max && s.Desired > 0 {
			return // may be blocked for good
		}
		for k := range s.Tasks {
			s.Tasks[k].Protected = false
		}
		for range 60 {
			if p := step(true); p.Steady && s.Primary.Completed {
				return
			}
		}
		t.Fatalf("does not come to rest: %+v, plan %+v", s, Rolling(s))
	})
}

func TestDaemons(t *testing.T) {
	on := func(host, deployment string, h Health) Task {
		return Task{ID: host + deployment, Deployment: deployment, Host: host, Running: true, Health: h}
	}
	hosts := []Host{{ID: "a", Eligible: true}, {ID: "b", Eligible: true}, {ID: "c"}, {ID: "e", Empty: true}}
	s := State{Primary: Deployment{ID: "new"}, MinimumHealthyPercent: 50, Tasks: []Task{
		on("a", "old", Healthy), on("b", "old", Healthy), on("c", "old", Healthy), on("e", "old", Healthy), on("gone", "old", Healthy),
	}}
	p := Daemons(s, hosts)
	stopped := map[string]bool{}
	for _, x := range p.Stops {
		stopped[x.Task.Host] = true
	}
	if !stopped["a"] || !stopped["b"] || stopped["c"] || !stopped["e"] || !stopped["gone"] || len(p.Starts) != 2 {
		t.Errorf("plan: %+v", p)
	}
	s.Tasks = []Task{on("a", "new", Healthy), on("b", "new", Healthy)}
	if p = Daemons(s, hosts); !p.Complete || !p.Steady {
		t.Errorf("not complete: %+v", p)
	}
	s.Tasks = []Task{on("a", "old", Healthy), on("b", "new", Waiting)}
	if p = Daemons(s, hosts); len(p.Stops) != 0 || p.Steady {
		t.Errorf("below the minimum: %+v", p)
	}
}

func TestRebalance(t *testing.T) {
	for _, c := range []struct {
		tasks map[string]int
		to    string
		ok    bool
	}{
		{map[string]int{"a": 3, "b": 0, "c": 1}, "b", true}, {map[string]int{"a": 2, "b": 1, "c": 1}, "b", false},
		{map[string]int{"a": 2, "b": 0}, "b", true}, {map[string]int{"a": 5}, "a", false}, {nil, "", false},
	} {
		if to, ok := Rebalance(c.tasks); ok != c.ok || ok && to != c.to {
			t.Errorf("%v: %s %v", c.tasks, to, ok)
		}
	}
	// The task that starts on purpose is not taken away again before it is healthy.
	s := State{Desired: 2, MinimumHealthyPercent: 100, MaximumPercent: 200, Surge: 1, Primary: Deployment{ID: "new", Completed: true},
		Tasks: append(tasks("new", 2, Healthy), Task{ID: "more", Deployment: "new"})}
	if p := Rolling(s); len(p.Stops)+len(p.Starts) != 0 {
		t.Errorf("plan: %+v", p)
	}
}
