package autoscale

import (
	"fmt"
	"maps"
	"slices"
	"strings"
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
			if h := expected(s, g, n); h != nil && !g.short(now) {
				hosts = append(hosts, h)
			}
		}
	}
	lacking, why := unplaced(s.Wanted, hosts)
	if len(lacking) > 0 {
		return grow(s, lacking, why, now), nil
	}
	if more, text := unplaced(reserve(s, cfg.Reserve), hosts); len(more) > 0 {
		for k := range text {
			text[k] = "to be kept free: " + text[k]
		}
		// What no group can give is no trouble: nothing waits.
		if ds := slices.DeleteFunc(grow(s, more, text, now), func(d Decision) bool { return d.Kind == Blocked }); len(ds) > 0 {
			return ds, nil
		}
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
	}
	return shrink(s, removable, now, cfg)
}

// reserve is the tasks for which a place is to be free: so many percent of each service's.
func reserve(s *State, percent int) []Wanted {
	if percent <= 0 {
		return nil
	}
	count, need := map[string]int{}, map[string]placement.Request{}
	for k := range s.Hosts {
		for n := range s.Hosts[k].Tasks {
			if t := &s.Hosts[k].Tasks[n]; t.Service != "" && !t.Daemon {
				count[t.Service]++
				need[t.Service] = t.Need
			}
		}
	}
	for _, w := range s.Wanted {
		if _, ok := need[w.Name]; ok {
			count[w.Name] += w.Count
		}
	}
	var out []Wanted
	for _, name := range slices.Sorted(maps.Keys(count)) {
		if n := (count[name]*percent + 50) / 100; n > 0 {
			r := need[name]
			r.Constraints = slices.DeleteFunc(slices.Clone(r.Constraints), func(c placement.Constraint) bool { return c.Type == "distinctInstance" })
			r.Ports = nil // one more would need one more instance, however small the need
			out = append(out, Wanted{Name: name, Count: n, Need: r})
		}
	}
	return out
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
	t, ok := g.offer()
	if !ok {
		return nil
	}
	i.Attributes = assumed(s)
	r := t.Capacity(false)
	i.Registered = placement.Resources{CPU: r.CPU, Memory: r.Memory, GPU: r.GPU, ENI: r.ENI}
	return i
}

// assumed is the agent's capabilities that tasks ask for: of a group that has no instance to show them they
// are taken to be there, as on every ECS-optimized image.
//
// Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-placement-constraints.html
func assumed(s *State) map[string]string {
	out := map[string]string{}
	for k := range s.Wanted {
		for _, a := range s.Wanted[k].Need.Attributes {
			name, value, _ := strings.Cut(a, "=")
			if strings.HasPrefix(name, "ecs.capability.") || strings.HasPrefix(name, "com.amazonaws.ecs.capability.") {
				out[name] = value
			}
		}
	}
	return out
}

// offer is what a new instance of the group surely has: of several types the least of each.
func (g *Group) offer() (capacity.Type, bool) {
	t, ok := capacity.TypeByName(g.Type)
	for _, name := range g.Types {
		o, known := capacity.TypeByName(name)
		switch {
		case !known:
		case !ok:
			t, ok = o, true
		default:
			t.VCPU, t.MemoryMiB, t.GPUs = min(t.VCPU, o.VCPU), min(t.MemoryMiB, o.MemoryMiB), min(t.GPUs, o.GPUs)
			t.MaxENIs, t.BranchENIs, t.Trunking = min(t.MaxENIs, o.MaxENIs), min(t.BranchENIs, o.BranchENIs), t.Trunking && o.Trunking
			t.PriceHour = max(t.PriceHour, o.PriceHour)
		}
	}
	return t, ok
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
	wanted = merged(wanted)
	slices.SortStableFunc(wanted, func(a, b Wanted) int { return size(b.Need) - size(a.Need) })
	var room *rooms
	if len(wanted)*len(hosts) > manyPairs {
		room = newRooms(hosts)
	}
	for _, w := range wanted {
		need, n := w.Need, 0
		if room != nil && plain(&need) {
			if n = room.place(&need, w.Count); n == w.Count {
				continue
			}
			if len(why) >= mostReasons {
				w.Count -= n
				left, why = append(left, w), append(why, fmt.Sprintf("%d tasks of %s fit on no instance", w.Count, w.Name))
				continue
			}
		}
		batch, err := placement.NewBatch(&need, hosts)
		for err == nil && n < w.Count {
			h := batch.Next()
			if h == nil {
				break
			}
			if n++; room != nil {
				room.changed(h)
			}
		}
		if n == w.Count {
			continue
		}
		text := "there is no instance"
		switch {
		case err != nil:
			text = err.Error()
		case len(hosts) > 0:
			text = placement.Summary(batch.Refusals())
		}
		why = append(why, fmt.Sprintf("%d tasks of %s fit on no instance (%s)", w.Count-n, w.Name, text))
		w.Count -= n
		left = append(left, w)
	}
	return left, why
}

// mostReasons is of how many services it is said in full why they have no room, where very many have none.
const mostReasons = 20

func size(r placement.Request) int { return r.CPU*4 + r.Memory }

func count(ws []Wanted) (n int) {
	for _, w := range ws {
		n += w.Count
	}
	return n
}

// price is in USD an hour; a type that is not known costs as much as a middling one.
func price(name string) float64 {
	if t, ok := capacity.TypeByName(name); ok {
		return t.PriceHour
	}
	return 0.1
}

func groupOf(s *State, name string) *Group {
	for k := range s.Groups {
		if s.Groups[k].Name == name {
			return &s.Groups[k]
		}
	}
	return nil
}
