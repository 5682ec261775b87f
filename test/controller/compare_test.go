package controller

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ecs/slipway/internal/autoscale"
	"github.com/slipway-ecs/slipway/internal/capacity"
	"github.com/slipway-ecs/slipway/internal/placement"
	"github.com/slipway-ecs/slipway/internal/scaling"
)

// The model both controllers live in. What a controller cannot choose is the same for both.
const (
	tick   = 15 * time.Second
	boot   = 2 * time.Minute // from a wish to an instance that takes tasks
	leave  = time.Minute     // a drained instance's connections end, then it is terminated
	points = 15              // one-minute points before managed scaling shrinks
	warmup = 5 * time.Minute // instanceWarmupPeriod, after each of its steps
)

// model is a cluster of virtual services under a demand.
type model struct {
	now     time.Time
	hosts   []*modelHost
	shapes  []shape
	waiting []waitingTask
	made    int
	hours   float64
	cost    float64
	waits   []float64 // seconds to a place, of each task
	groups  []autoscale.Group
}

type modelHost struct {
	placement.Instance
	group string
	ready time.Time // takes tasks from then on
	ends  time.Time // zero: stays
}

type shape struct {
	name string
	need placement.Request
	per  float64 // requests in five minutes to a task
	most int
}

type waitingTask struct {
	shape int
	since time.Time
}

func newModel(groups ...string) *model {
	m := &model{now: time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)}
	pack := []placement.Strategy{{Type: "binpack", Field: "memory"}}
	for _, s := range []struct {
		name        string
		cpu, memory int
		per         float64
	}{{"web", 500, 512, 12}, {"api", 250, 1800, 25}, {"render", 1400, 1024, 60}} {
		m.shapes = append(m.shapes, shape{s.name, placement.Request{Resources: placement.Resources{CPU: s.cpu, Memory: s.memory}, Group: "service:" + s.name, Strategies: pack}, s.per, 1 << 20})
	}
	for _, g := range groups {
		m.groups = append(m.groups, autoscale.Group{Name: g, Type: g, Zones: []string{"a", "b", "c"}, Min: 0, Max: 500})
	}
	return m
}

func (m *model) launch(group string) {
	t, _ := capacity.TypeByName(group)
	c := t.Capacity(false)
	m.made++
	id := fmt.Sprintf("i-%05d", m.made)
	m.hosts = append(m.hosts, &modelHost{group: group, ready: m.now.Add(boot), Instance: placement.Instance{ID: id, EC2ID: id, AZ: string(rune('a' + m.made%3)), Type: group, Status: "ACTIVE", AgentConnected: true, RegisteredAt: m.now.Add(boot),
		Registered: placement.Resources{CPU: c.CPU, Memory: c.Memory, ENI: c.ENI}, Ports: map[placement.Port]int{}, Groups: map[string]int{}}})
}

// taking is the hosts that take tasks now.
func (m *model) taking() (out []*placement.Instance) {
	for _, h := range m.hosts {
		if h.ends.IsZero() && !m.now.Before(h.ready) {
			out = append(out, &h.Instance)
		}
	}
	return out
}

// demand makes the services as large as the requests want them, and ECS places and stops tasks.
func (m *model) demand(requests float64) {
	for k, s := range m.shapes {
		want := max(1, int(math.Ceil(requests/s.per)))
		have := 0
		for _, h := range m.hosts {
			have += h.Groups[s.need.Group]
		}
		for _, w := range m.waiting {
			if w.shape == k {
				have++
			}
		}
		for ; have < want; have++ {
			m.waiting = append(m.waiting, waitingTask{k, m.now})
		}
		for ; have > want; have-- {
			m.stop(k)
		}
	}
	// The largest first: both controllers get the same.
	for k := range m.shapes {
		batch, err := placement.NewBatch(&m.shapes[k].need, m.taking())
		if err != nil {
			panic(err)
		}
		m.waiting = slices.DeleteFunc(m.waiting, func(w waitingTask) bool {
			if w.shape != k || batch.Next() == nil {
				return false
			}
			m.waits = append(m.waits, m.now.Sub(w.since).Seconds())
			return true
		})
	}
	for _, h := range m.hosts {
		t, _ := capacity.TypeByName(h.Type)
		m.hours += tick.Hours()
		m.cost += tick.Hours() * t.PriceHour
	}
	m.now = m.now.Add(tick)
	m.hosts = slices.DeleteFunc(m.hosts, func(h *modelHost) bool { return !h.ends.IsZero() && !m.now.Before(h.ends) })
}

// stop ends one task of a service: one that waits, else, as ECS does with binpack, on the host that is left
// the emptiest.
func (m *model) stop(k int) {
	for n := len(m.waiting) - 1; n >= 0; n-- {
		if m.waiting[n].shape == k {
			m.waiting = slices.Delete(m.waiting, n, n+1)
			return
		}
	}
	var best *modelHost
	for _, h := range m.hosts {
		if h.Groups[m.shapes[k].need.Group] > 0 && (best == nil || h.Remaining().Memory > best.Remaining().Memory) {
			best = h
		}
	}
	best.Release(&m.shapes[k].need)
}

// ours is a turn of Slipway's autoscaler: its own Decide.
func (m *model) ours(memory map[string]time.Time) map[string]time.Time {
	s := &autoscale.State{}
	for _, h := range m.hosts {
		if m.now.Before(h.ready) {
			continue
		}
		x := autoscale.Host{Instance: h.Instance, Group: h.group, InService: h.ends.IsZero(), Leaving: !h.ends.IsZero()}
		for k := range m.shapes {
			for range h.Groups[m.shapes[k].need.Group] {
				x.Tasks = append(x.Tasks, autoscale.Task{Service: m.shapes[k].name, Need: m.shapes[k].need})
			}
		}
		s.Hosts = append(s.Hosts, x)
	}
	for k := range m.shapes {
		n := 0
		for _, w := range m.waiting {
			if w.shape == k {
				n++
			}
		}
		if n > 0 {
			s.Wanted = append(s.Wanted, autoscale.Wanted{Name: m.shapes[k].name, Count: n, Need: m.shapes[k].need})
		}
	}
	s.Groups = slices.Clone(m.groups)
	for g := range s.Groups {
		for _, h := range m.hosts {
			if h.group == s.Groups[g].Name && h.ends.IsZero() {
				s.Groups[g].Desired++
				s.Groups[g].Instances++
			}
		}
	}
	ds, memory := autoscale.Decide(s, memory, m.now, autoscale.Defaults())
	for _, d := range ds {
		switch d.Kind {
		case autoscale.Grow:
			for n := d.From; n < d.To; n++ {
				m.launch(d.Group)
			}
		case autoscale.Shrink:
			m.drain(d.EC2ID)
		case autoscale.Hold, autoscale.Blocked:
		}
	}
	return memory
}

// drain moves a host's tasks, if they fit, and ends it.
func (m *model) drain(id string) {
	k := slices.IndexFunc(m.hosts, func(h *modelHost) bool { return h.EC2ID == id })
	h := m.hosts[k]
	h.ends = m.now.Add(leave)
	for k := range m.shapes {
		n := h.Groups[m.shapes[k].need.Group]
		batch, err := placement.NewBatch(&m.shapes[k].need, m.taking())
		if err != nil {
			panic(err)
		}
		for range n {
			if batch.Next() == nil {
				h.ends = time.Time{} // it waits, and the next turn decides anew
				return
			}
			h.Release(&m.shapes[k].need)
		}
	}
}

// managed is the state of ECS's managed scaling.
type managed struct {
	below  int // points
	warmAt time.Time
}

// turn is its look once a minute.
func (s *managed) turn(m *model) {
	group := m.groups[0].Name
	t, _ := capacity.TypeByName(group)
	c := t.Capacity(false)
	there, busy := 0, 0
	for _, h := range m.hosts {
		there++
		if h.Used.CPU > 0 {
			busy++
		}
	}
	var groups []scaling.Waiting
	for k := range m.shapes {
		w := scaling.Waiting{Needs: scaling.Room{CPU: m.shapes[k].need.CPU, Memory: m.shapes[k].need.Memory}}
		for _, x := range m.waiting {
			if x.shape == k {
				w.Tasks++
			}
		}
		if w.Tasks > 0 {
			groups = append(groups, w)
		}
	}
	needed := scaling.Managed{MinStep: 1, MaxStep: 10_000}.Needed(there, busy, groups, scaling.Room{CPU: c.CPU, Memory: c.Memory})
	reservation := scaling.Reservation(needed, there)
	switch {
	case reservation > 100:
		s.below = 0
		if m.now.Before(s.warmAt) {
			return
		}
		to := max(int(math.Ceil(float64(max(there, 1))*reservation/100)), there+1)
		for n := there; n < to; n++ {
			m.launch(group)
		}
		s.warmAt = m.now.Add(warmup)
	case reservation < 100:
		if s.below++; s.below < points {
			return
		}
		left := there - scaling.InStep(there, needed)
		for _, h := range m.hosts { // only those without tasks: the others are protected
			if left > 0 && h.Used.CPU == 0 && h.ends.IsZero() && !m.now.Before(h.ready) {
				h.ends = m.now.Add(leave)
				left--
			}
		}
	default:
		s.below = 0
	}
}

func (m *model) summary() (hours, usd, mean, p99 float64) {
	slices.Sort(m.waits)
	sum := 0.0
	for _, w := range m.waits {
		sum += w
	}
	return m.hours, m.cost, sum / float64(len(m.waits)), m.waits[len(m.waits)*99/100]
}

// requests is a real series of a load balancer's requests in five minutes: testdata/elb_requests.csv, the
// Numenta Anomaly Benchmark's elb_request_count_8c0756 (MIT).
func requests(t testing.TB) (out []float64) {
	t.Helper()
	f, err := os.Open("testdata/elb_requests.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		_, value, _ := strings.Cut(lines.Text(), ",")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			out = append(out, v)
		}
	}
	return out
}

// The same demand, placed by the same ECS: what the instances cost, and how long tasks wait for a place.
func TestBesideManagedScaling(t *testing.T) {
	series := requests(t)
	if testing.Short() || os.Getenv("SLIPWAY_LONG") == "" {
		series = series[:3*288] // three days; all fourteen with SLIPWAY_LONG=1
	}
	run := func(m *model, turn func()) {
		for k := range series {
			// Services are scaled by target tracking: out at once, in after fifteen minutes below.
			v := slices.Max(series[max(k-3, 0) : k+1])
			for range int(5 * time.Minute / tick) {
				m.demand(v)
				turn()
			}
		}
	}
	ecs, ecsState := newModel("m7i.large"), &managed{}
	run(ecs, func() {
		if ecs.now.Second() == 0 {
			ecsState.turn(ecs)
		}
	})
	one := newModel("m7i.large")
	memory := map[string]time.Time{}
	run(one, func() { memory = one.ours(memory) })
	several := newModel("m7i.large", "c7i.xlarge", "m7i.xlarge", "m7i.2xlarge", "r7i.large")
	memory = map[string]time.Time{}
	run(several, func() { memory = several.ours(memory) })

	t.Logf("%-32s %14s %10s %12s %12s", "", "instance-hours", "USD", "mean wait s", "p99 wait s")
	row := func(name string, m *model) (hours, usd, mean float64) {
		hours, usd, mean, p99 := m.summary()
		t.Logf("%-32s %14.0f %10.2f %12.1f %12.0f", name, hours, usd, mean, p99)
		return hours, usd, mean
	}
	theirHours, theirUSD, theirWait := row("ECS managed scaling, m7i.large", ecs)
	hours, _, wait := row("Slipway, m7i.large", one)
	_, usd, waitSeveral := row("Slipway, five groups", several)
	if hours >= theirHours || wait >= theirWait {
		t.Errorf("on one type: %.0f instance-hours and %.1f s to a place; managed scaling %.0f and %.1f", hours, wait, theirHours, theirWait)
	}
	if usd >= theirUSD || waitSeveral >= theirWait {
		t.Errorf("on several types: %.2f USD and %.1f s to a place; managed scaling %.2f and %.1f", usd, waitSeveral, theirUSD, theirWait)
	}
}
