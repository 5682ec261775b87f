package autoscale

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/slipway-ecs/slipway/internal/capacity"
	"github.com/slipway-ecs/slipway/internal/placement"
)

// shrink makes the cluster cheaper: hosts that are empty, that others have room for, or that one cheaper
// instance can stand for, go. Each move is proved by the planner on a copy of the cluster; how many go
// at a time is limited, and each has to be worth it for as long as its return would cost.
func shrink(s *State, removable map[string]time.Time, now time.Time, cfg Config) ([]Decision, map[string]time.Time) {
	since := map[string]time.Time{}
	var kept []string
	leaving := 0
	c := &capacity.Cluster{}
	used := daemons(s)
	c.Overhead = capacity.Resources{CPU: used.CPU, Memory: used.Memory, GPU: used.GPU, ENI: used.ENI}
	left := map[string]int{} // by group, how many may still go
	zones := map[string]bool{}
	mayMove, unmoved := slack(s, now, cfg)
	even := newZoneCounts(s)
	for k := range s.Groups {
		left[s.Groups[k].Name] = s.Groups[k].Desired - s.Groups[k].Min
	}
	for k := range s.Hosts {
		h := &s.Hosts[k]
		zones[h.AZ] = true
		if h.Leaving {
			leaving++
			left[h.Group]-- // it counts as desired until it has gone
		}
		o := occupied(s, h)
		if !h.Leaving {
			if no := cmp.Or(keeps(s, h, now, cfg), even.keep(h), stands(h, unmoved)); no != "" {
				o.Keep = true
				kept = append(kept, h.EC2ID+" stays: "+no)
			}
			o.Expired = cfg.MaxAge > 0 && now.Sub(h.RegisteredAt) > cfg.MaxAge
		}
		c.Instances = append(c.Instances, o)
	}
	for z := range zones {
		c.Zones = append(c.Zones, z)
	}
	var of []int
	if !cfg.NoReplace {
		c.Offers, of = offers(s, now, nil)
	}
	rules := cfg.budget(len(s.Hosts))
	budget := capacity.Budgets{Instances: capacity.Allowed(rules, len(s.Hosts), leaving, now), Tasks: capacity.NoLimit, Service: mayMove, MinSaving: cfg.MinSaving}
	var out []Decision
	launches, goes := map[string]int{}, map[string]int{} // by group
	moved := map[int]bool{}
	room := newSpare(s, cfg)
	stop := false
	moves := capacity.Consolidate(c, budget)
	moves = keepReserve(s, moves, cfg.Reserve)
	for _, m := range moves {
		ready, no := true, ""
		byGroup := map[string]int{}
		for _, v := range m.Victims {
			h := &s.Hosts[v]
			since[h.ID] = now
			if t, ok := removable[h.ID]; ok {
				since[h.ID] = t
			}
			byGroup[h.Group]++
			moved[v] = true
			if wait := cfg.patience(h) - now.Sub(since[h.ID]); wait > 0 {
				ready, no = false, fmt.Sprintf("can go in %s, if nothing changes", wait.Round(time.Second))
			}
		}
		for g, n := range byGroup {
			if n > left[g] {
				ready, no = false, fmt.Sprintf("stays: group %s is at its minimum of %d", g, groupOf(s, g).Min)
			}
		}
		var group *Group
		if m.Launch {
			group = &s.Groups[of[m.Offer]]
			if max(group.Desired, group.Instances)+launches[group.Name] >= group.Max {
				ready, no = false, fmt.Sprintf("stays: group %s, whose instance would stand for it, is at its maximum of %d", group.Name, group.Max)
			}
			if m.Kind != capacity.Renew && m.Saving < cfg.MinGain*(m.Saving+c.Offers[m.Offer].Type.PriceHour) {
				ready, no = false, "stays: another would save too little"
			}
		}
		if ready && !stop {
			if no = room.without(s, m); no != "" {
				ready = false
			}
		}
		if ready && !stop {
			if no = even.without(s, m); no != "" {
				ready = false
			}
		}
		// A move leans on those before it: after one that must wait, only what disrupts nothing may go.
		if !ready || stop && m.Kind != capacity.Empty {
			stop = true
			for _, v := range m.Victims {
				if no != "" {
					kept = append(kept, s.Hosts[v].EC2ID+" "+no)
				}
			}
			continue
		}
		why := m.Describe(c)
		for _, v := range m.Victims {
			h := &s.Hosts[v]
			g := groupOf(s, h.Group)
			left[h.Group]--
			out = append(out, Decision{Kind: Shrink, Group: h.Group, From: g.Desired - goes[h.Group], To: g.Desired - goes[h.Group] - 1, Instance: h.ID, EC2ID: h.EC2ID, Saving: m.Saving / float64(len(m.Victims)), Reasons: []string{why}})
			goes[h.Group]++
		}
		if m.Launch {
			launches[group.Name]++
		}
	}
	for k := range s.Groups {
		g := &s.Groups[k]
		if n := launches[g.Name]; n > 0 {
			out = append(out, Decision{Kind: Grow, Group: g.Name, From: g.Desired, To: max(g.Desired, g.Instances) + n, Reasons: []string{"its instances stand for dearer ones that go"}, Saving: -float64(n) * g.price()})
		}
	}
	if len(out) > 0 {
		return out, since
	}
	if r := capacity.Frozen(rules, now); r != nil {
		return []Decision{{Kind: Hold, Reasons: append([]string{fmt.Sprintf("no instance with tasks may go now: the budget %q is in force", r)}, kept...)}}, since
	}
	for k := range s.Hosts {
		if !c.Instances[k].Keep && !moved[k] {
			kept = append(kept, fmt.Sprintf("%s stays: not all of its %d tasks fit on others now", s.Hosts[k].EC2ID, len(c.Instances[k].Tasks)))
		}
	}
	if leaving > 0 {
		kept = append(kept, fmt.Sprintf("%d instances are being drained", leaving))
	}
	return []Decision{{Kind: Hold, Reasons: kept}}, since
}

// keepReserve is the moves, the first of them or none, after which the reserve still has its places.
func keepReserve(s *State, moves []capacity.Move, percent int) []capacity.Move {
	kept := reserve(s, percent)
	for n := len(moves); n > 0 && len(kept) > 0; n /= 2 {
		gone := map[string]bool{}
		var wanted []Wanted
		launches := false
		for _, m := range moves[:n] {
			launches = launches || m.Launch
			for _, v := range m.Victims {
				h := &s.Hosts[v]
				gone[h.ID] = true
				for k := range h.Tasks {
					if t := &h.Tasks[k]; !t.Daemon {
						wanted = append(wanted, Wanted{Name: t.Service, Count: 1, Need: t.Need})
					}
				}
			}
		}
		if launches {
			return moves // they bring their own room
		}
		hosts := slices.DeleteFunc(copies(s, ""), func(i *placement.Instance) bool { return gone[i.ID] })
		if left, _ := unplaced(append(wanted, kept...), hosts); len(left) == 0 {
			return moves[:n]
		}
	}
	if len(kept) > 0 {
		return nil
	}
	return moves
}

// occupied is a host in the planner's terms.
func occupied(s *State, h *Host) capacity.Occupied {
	t, ok := capacity.TypeByName(h.Type)
	if !ok {
		t = capacity.Type{Name: h.Type, PriceHour: price(h.Type)}
	}
	o := capacity.Occupied{Host: capacity.Host{ID: h.EC2ID, Type: t, Zone: h.AZ, Attributes: h.Attributes}, Price: t.PriceHour, Closed: h.Leaving || h.Status != "ACTIVE" || !h.AgentConnected, Keep: h.Leaving}
	if g := groupOf(s, h.Group); g != nil && g.Price > 0 {
		o.Price = g.Price
	}
	r := h.Registered
	o.Capacity = capacity.Resources{CPU: r.CPU, Memory: r.Memory, GPU: r.GPU, ENI: r.ENI}
	taken := capacity.Resources{}
	for k := range h.Tasks {
		x := &h.Tasks[k]
		if x.Daemon {
			continue
		}
		task := taskOf(&Wanted{Name: x.Service, Count: 1, Need: x.Need})
		taken = taken.Plus(task.Resources)
		o.Tasks = append(o.Tasks, capacity.Running{ID: x.ARN, Task: &task, Pinned: x.Pinned != ""})
	}
	// What is used and is not of those tasks: daemons, and tasks that stop.
	u := capacity.Resources{CPU: h.Used.CPU, Memory: h.Used.Memory, GPU: h.Used.GPU, ENI: h.Used.ENI}.Minus(taken)
	o.Daemons = capacity.Resources{CPU: max(u.CPU, 0), Memory: max(u.Memory, 0), GPU: max(u.GPU, 0), ENI: max(u.ENI, 0)}
	return o
}

// keeps says why a host must not go, whatever it saves; empty if it may.
func keeps(s *State, h *Host, now time.Time, cfg Config) string {
	g := groupOf(s, h.Group)
	switch {
	case g == nil || !h.InService:
		return "it is in service of no Auto Scaling group"
	case g.Managed:
		return "its group is sized by ECS's managed scaling"
	case g.Rotating:
		return "its group is being rotated"
	case g.Desired <= g.Min:
		return fmt.Sprintf("group %s is at its minimum of %d", g.Name, g.Min)
	case h.Changing:
		return "it is given tasks just now"
	case h.Protected:
		return "it is protected from scale-in"
	case now.Sub(h.RegisteredAt) < cfg.MinAge:
		return fmt.Sprintf("it is younger than %s", cfg.MinAge)
	}
	for k := range h.Tasks {
		if t := &h.Tasks[k]; !t.Daemon && t.Pinned != "" {
			return t.Pinned
		}
	}
	return ""
}

// slack is how many tasks of each service may move at a time: all its minimum and maximum permit, and
// one at least, since what permits none is pinned; and no more than its budget. Of services whose budget
// permits none now it says why.
func slack(s *State, now time.Time, cfg Config) (may map[string]int, unmoved map[string]string) {
	may, unmoved = map[string]int{}, map[string]string{}
	for name, n := range s.Slack {
		may[name] = max(n, 1)
	}
	if len(cfg.ServiceBudgets) == 0 {
		return may, unmoved
	}
	all, moving := map[string]int{}, map[string]int{}
	for k := range s.Hosts {
		for n := range s.Hosts[k].Tasks {
			t := &s.Hosts[k].Tasks[n]
			if all[t.Service]++; s.Hosts[k].Leaving {
				moving[t.Service]++
			}
		}
	}
	for name, rules := range cfg.ServiceBudgets {
		n := capacity.Allowed(rules, all[name], moving[name], now)
		if n == capacity.NoLimit {
			continue
		}
		if have, ok := may[name]; !ok || n < have {
			may[name] = n
		}
		switch r := capacity.Frozen(rules, now); {
		case r != nil:
			unmoved[name] = fmt.Sprintf("tasks of %s may not be moved now: its budget %q is in force", name, r)
		case n == 0:
			unmoved[name] = fmt.Sprintf("as many tasks of %s as its budget permits are being moved", name)
		}
	}
	return may, unmoved
}

// stands says why a task of the host may not be moved now; empty if all may.
func stands(h *Host, unmoved map[string]string) string {
	for k := range h.Tasks {
		if t := &h.Tasks[k]; !t.Daemon && unmoved[t.Service] != "" {
			return unmoved[t.Service]
		}
	}
	return ""
}

// spare follows what is free on the hosts as moves are made.
type spare struct {
	cpu, memory         int // free
	usedCPU, usedMemory int
	percent             int
}

func newSpare(s *State, cfg Config) *spare {
	r := &spare{percent: cfg.Headroom}
	for k := range s.Hosts {
		h := &s.Hosts[k]
		if h.Leaving || h.Status != "ACTIVE" {
			continue
		}
		f := h.Remaining()
		r.cpu, r.memory = r.cpu+f.CPU, r.memory+f.Memory
		r.usedCPU, r.usedMemory = r.usedCPU+h.Used.CPU, r.usedMemory+h.Used.Memory
	}
	return r
}

// without takes the victims of a move away, or says why that leaves too little. A move that launches
// takes its room with it.
func (r *spare) without(s *State, m capacity.Move) string {
	if m.Launch {
		return ""
	}
	next := *r
	for _, v := range m.Victims {
		h := &s.Hosts[v]
		var moved placement.Resources
		for k := range h.Tasks {
			if !h.Tasks[k].Daemon {
				moved = moved.Plus(h.Tasks[k].Need.Resources)
			}
		}
		f := h.Remaining()
		next.cpu, next.memory = next.cpu-f.CPU-moved.CPU, next.memory-f.Memory-moved.Memory
		next.usedCPU, next.usedMemory = next.usedCPU-h.Used.CPU+moved.CPU, next.usedMemory-h.Used.Memory+moved.Memory
	}
	if next.cpu*100 < next.usedCPU*r.percent || next.memory*100 < next.usedMemory*r.percent {
		return fmt.Sprintf("stays: without it less than %d %% of what is used would be free", r.percent)
	}
	*r = next
	return ""
}
