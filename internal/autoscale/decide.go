package autoscale

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/slipway-ecs/slipway/internal/capacity"
	"github.com/slipway-ecs/slipway/internal/placement"
)

// Decide plans the next step. removable is since when each host, by ARN, could have been removed; hosts
// without an entry could not until now. The second result is that memory for the next turn: a new
// engine starts with none, which only delays.
func Decide(s *State, removable map[string]time.Time, now time.Time, cfg Config) ([]Decision, map[string]time.Time) {
	hosts := copies(s, "")
	coming := 0
	for k := range s.Groups {
		g := &s.Groups[k]
		here := 0
		for n := range s.Hosts {
			if h := &s.Hosts[n]; h.Group == g.Name && h.InService {
				here++
			}
		}
		for n := here; n < max(g.Desired, g.Instances); n++ {
			coming++
			if h := expected(s, g, n); h != nil {
				hosts = append(hosts, h)
			}
		}
	}
	lacking, why := unplaced(s.Wanted, hosts)
	if len(lacking) > 0 {
		return grow(s, lacking, why), nil
	}
	wanted := 0
	for _, w := range s.Wanted {
		wanted += w.Count
	}
	switch {
	case wanted > 0:
		return []Decision{{Kind: Hold, Reasons: []string{fmt.Sprintf("%d tasks are not placed yet, and have room: on instances there are, or on %d that come", wanted, coming)}}}, nil
	case coming > 0:
		return []Decision{{Kind: Hold, Reasons: []string{fmt.Sprintf("%d instances are on their way", coming)}}}, nil
	case slices.ContainsFunc(s.Hosts, func(h Host) bool { return h.Leaving }):
		return []Decision{{Kind: Hold, Reasons: []string{"an instance is being drained"}}}, nil
	}
	return shrink(s, removable, now, cfg)
}

// copies are the hosts that take tasks, without one of them, to be tried on.
func copies(s *State, without string) []*placement.Instance {
	var out []*placement.Instance
	for k := range s.Hosts {
		h := &s.Hosts[k]
		if h.Leaving || h.Status != "ACTIVE" || h.ID == without {
			continue
		}
		c := h.Instance
		c.Ports, c.Groups = maps.Clone(h.Ports), maps.Clone(h.Groups)
		if c.Ports == nil {
			c.Ports = map[placement.Port]int{}
		}
		if c.Groups == nil {
			c.Groups = map[string]int{}
		}
		out = append(out, &c)
	}
	return out
}

// expected is an instance of the group as it will be: like one there is, else as its type says.
func expected(s *State, g *Group, n int) *placement.Instance {
	i := &placement.Instance{ID: fmt.Sprintf("coming/%s/%d", g.Name, n), Type: g.Type, Status: "ACTIVE", AgentConnected: true, Ports: map[placement.Port]int{}, Groups: map[string]int{}, Used: daemons(s)}
	if len(g.Zones) > 0 {
		i.AZ = g.Zones[n%len(g.Zones)]
	}
	for k := range s.Hosts {
		if h := &s.Hosts[k]; h.Group == g.Name {
			i.Registered, i.Attributes = h.Registered, maps.Clone(h.Attributes)
			delete(i.Attributes, "ecs.availability-zone") // the zone it gets
			i.AgentVersion = h.AgentVersion
			return i
		}
	}
	t, ok := capacity.TypeByName(g.Type)
	if !ok {
		return nil
	}
	r := t.Capacity(false)
	i.Registered = placement.Resources{CPU: r.CPU, Memory: r.Memory, GPU: r.GPU, ENI: r.ENI}
	return i
}

// daemons is the most that daemons take of any host.
func daemons(s *State) (most placement.Resources) {
	for k := range s.Hosts {
		var sum placement.Resources
		for _, t := range s.Hosts[k].Tasks {
			if t.Daemon {
				sum = sum.Plus(t.Need.Resources)
			}
		}
		most = placement.Resources{CPU: max(most.CPU, sum.CPU), Memory: max(most.Memory, sum.Memory), GPU: max(most.GPU, sum.GPU), ENI: max(most.ENI, sum.ENI)}
	}
	return most
}

// unplaced places what is wanted, the largest first, and returns what is left of it with the reasons.
func unplaced(wanted []Wanted, hosts []*placement.Instance) (left []Wanted, why []string) {
	wanted = slices.Clone(wanted)
	slices.SortStableFunc(wanted, func(a, b Wanted) int { return size(b.Need) - size(a.Need) })
	for _, w := range wanted {
		for n := range w.Count {
			need := w.Need
			to, refusals, err := placement.Place(&need, hosts)
			if err == nil && to != nil {
				to.Take(&need)
				continue
			}
			text := placement.Summary(refusals)
			switch {
			case err != nil:
				text = err.Error()
			case len(hosts) == 0:
				text = "there is no instance"
			}
			why = append(why, fmt.Sprintf("%d tasks of %s fit on no instance (%s)", w.Count-n, w.Name, text))
			w.Count -= n
			left = append(left, w)
			break
		}
	}
	return left, why
}

func size(r placement.Request) int { return r.CPU*4 + r.Memory }

// grow adds the instances that the lacking tasks need: the cheapest group for the whole rest first, by
// first fit on expected instances, until nothing is left or no group may grow.
func grow(s *State, lacking []Wanted, why []string) []Decision {
	added := map[string]int{}
	var hosts []*placement.Instance
	for {
		rest, _ := unplaced(lacking, copyAll(hosts))
		if len(rest) == 0 {
			break
		}
		best, bestCost := -1, 0.0
		var host *placement.Instance
		for k := range s.Groups {
			g := &s.Groups[k]
			if g.Managed || max(g.Desired, g.Instances)+added[g.Name] >= g.Max {
				continue
			}
			h := expected(s, g, g.Desired+added[g.Name])
			if h == nil {
				continue
			}
			placed := count(lacking) - count(first(unplaced(lacking, append(copyAll(hosts), copyAll([]*placement.Instance{h})...))))
			placed -= count(lacking) - count(rest)
			if placed <= 0 {
				continue
			}
			if cost := price(g.Type) / float64(placed); best < 0 || cost < bestCost {
				best, bestCost, host = k, cost, h
			}
		}
		if best < 0 {
			break
		}
		added[s.Groups[best].Name]++
		hosts = append(hosts, host)
	}
	var out []Decision
	for k := range s.Groups {
		g := &s.Groups[k]
		if n := added[g.Name]; n > 0 {
			from := max(g.Desired, g.Instances)
			out = append(out, Decision{Kind: Grow, Group: g.Name, From: g.Desired, To: from + n, Reasons: why, Saving: -float64(n) * price(g.Type)})
		}
	}
	if rest, reasons := unplaced(lacking, hosts); len(rest) > 0 && count(rest) > 0 {
		for k := range s.Groups {
			switch g := &s.Groups[k]; {
			case g.Managed:
				reasons = append(reasons, fmt.Sprintf("group %s is sized by ECS's managed scaling", g.Name))
			case max(g.Desired, g.Instances)+added[g.Name] >= g.Max:
				reasons = append(reasons, fmt.Sprintf("group %s is at its maximum of %d", g.Name, g.Max))
			default:
				reasons = append(reasons, fmt.Sprintf("a new %s of group %s has no room for them", g.Type, g.Name))
			}
		}
		if len(s.Groups) == 0 {
			reasons = append(reasons, "the cluster has no Auto Scaling group")
		}
		out = append(out, Decision{Kind: Blocked, Reasons: reasons})
	}
	return out
}

func first(w []Wanted, _ []string) []Wanted { return w }

func count(ws []Wanted) (n int) {
	for _, w := range ws {
		n += w.Count
	}
	return n
}

func copyAll(in []*placement.Instance) []*placement.Instance {
	out := make([]*placement.Instance, 0, len(in)+1)
	for _, i := range in {
		c := *i
		c.Ports, c.Groups = maps.Clone(i.Ports), maps.Clone(i.Groups)
		out = append(out, &c)
	}
	return out
}

// price is in USD an hour; a type that is not known costs as much as a middling one.
func price(name string) float64 {
	if t, ok := capacity.TypeByName(name); ok {
		return t.PriceHour
	}
	return 0.1
}

// shrink chooses the host that saves most for what it disrupts, of those that can be spared.
func shrink(s *State, removable map[string]time.Time, now time.Time, cfg Config) ([]Decision, map[string]time.Time) {
	since := map[string]time.Time{}
	var best *Decision
	bestWorth := 0.0
	var kept []string
	for k := range s.Hosts {
		h := &s.Hosts[k]
		g := groupOf(s, h.Group)
		moves, no := spare(s, h, g, now, cfg)
		if no != "" {
			kept = append(kept, h.EC2ID+" stays: "+no)
			continue
		}
		since[h.ID] = now
		if t, ok := removable[h.ID]; ok {
			since[h.ID] = t
		}
		if wait := cfg.Settle - now.Sub(since[h.ID]); wait > 0 {
			kept = append(kept, fmt.Sprintf("%s can go in %s, if nothing changes", h.EC2ID, wait.Round(time.Second)))
			continue
		}
		if worth := price(h.Type) / float64(1+moves); best == nil || worth > bestWorth {
			bestWorth = worth
			best = &Decision{Kind: Shrink, Group: g.Name, From: g.Desired, To: g.Desired - 1, Instance: h.ID, EC2ID: h.EC2ID, Saving: price(h.Type),
				Reasons: []string{fmt.Sprintf("its %d tasks all fit on the others, with %d %% to spare", moves, cfg.Headroom)}}
		}
	}
	if best != nil {
		return []Decision{*best}, since
	}
	return []Decision{{Kind: Hold, Reasons: kept}}, since
}

func groupOf(s *State, name string) *Group {
	for k := range s.Groups {
		if s.Groups[k].Name == name {
			return &s.Groups[k]
		}
	}
	return nil
}

// spare proves that a host can go, and says how many tasks move, or why it stays.
func spare(s *State, h *Host, g *Group, now time.Time, cfg Config) (moves int, no string) {
	switch {
	case g == nil || !h.InService:
		return 0, "it is in service of no Auto Scaling group"
	case g.Managed:
		return 0, "its group is sized by ECS's managed scaling"
	case g.Desired <= g.Min:
		return 0, fmt.Sprintf("group %s is at its minimum of %d", g.Name, g.Min)
	case h.Protected:
		return 0, "it is protected from scale-in"
	case now.Sub(h.RegisteredAt) < cfg.MinAge:
		return 0, fmt.Sprintf("it is younger than %s", cfg.MinAge)
	}
	others := copies(s, h.ID)
	var move []Wanted
	for _, t := range h.Tasks {
		switch {
		case t.Daemon:
			continue
		case t.Pinned != "":
			return 0, t.Pinned
		}
		move = append(move, Wanted{Name: t.Service, Count: 1, Need: t.Need})
	}
	if _, why := unplaced(move, others); len(why) > 0 {
		return 0, why[0]
	}
	var used, free placement.Resources
	for _, o := range others {
		used, free = used.Plus(o.Used), free.Plus(o.Remaining())
	}
	if free.CPU*100 < used.CPU*cfg.Headroom || free.Memory*100 < used.Memory*cfg.Headroom {
		return 0, fmt.Sprintf("without it less than %d %% of what is used would be free", cfg.Headroom)
	}
	return len(move), ""
}
