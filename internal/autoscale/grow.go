package autoscale

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/capacity"
	"github.com/slipway-ecs/slipway/internal/placement"
)

// shortFor is how long a group is passed over after AWS had no capacity for it.
const shortFor = 5 * time.Minute

// short reports whether AWS had no capacity for the group lately: others are tried instead.
func (g *Group) short(now time.Time) bool {
	return !g.FailedAt.IsZero() && now.Sub(g.FailedAt) < shortFor
}

// offers is the groups that may grow, as offers to the planner, and which they are.
func offers(s *State, now time.Time, added map[string]int) (out []capacity.Offer, of []int) {
	for k := range s.Groups {
		g := &s.Groups[k]
		t, ok := g.offer()
		if g.Managed || !ok || g.short(now) || max(g.Desired, g.Instances)+added[g.Name] >= g.Max {
			continue
		}
		attrs := map[string]string{}
		if h := expected(s, g, 0); h != nil {
			for name, v := range h.Attributes {
				attrs[name] = v
			}
		}
		o := capacity.Offer{Type: t, Zones: g.Zones, Attrs: attrs, Spot: g.Spot}
		if g.Price > 0 {
			o.Price = g.Price
		}
		out, of = append(out, o), append(of, k)
	}
	return out, of
}

// taskOf is a wanted task in the planner's terms. Constraints are asked of placement itself.
func taskOf(w *Wanted) capacity.Task {
	n := w.Need
	t := capacity.Task{Name: w.Name, Service: w.Name, Count: w.Count, Zones: n.Zones,
		Resources: capacity.Resources{CPU: n.CPU, Memory: n.Memory, GPU: n.GPU, ENI: n.ENI}}
	for _, p := range n.Ports {
		t.Ports = append(t.Ports, capacity.Port{Number: p.Number, Protocol: p.Protocol})
	}
	var rest []placement.Constraint
	for _, c := range n.Constraints {
		if c.Type == "distinctInstance" {
			t.MaxPerInstance = 1
			continue
		}
		rest = append(rest, c)
	}
	if len(rest) == 0 && len(n.Attributes) == 0 {
		return t
	}
	bare := placement.Request{Attributes: n.Attributes, Constraints: rest, Group: n.Group}
	t.Admits = func(h capacity.Host) bool {
		i := &placement.Instance{ID: "asked", AZ: h.Zone, Type: h.Type.Name, Status: "ACTIVE", AgentConnected: true, Attributes: h.Attributes,
			Ports: map[placement.Port]int{}, Groups: map[string]int{}}
		r := bare
		to, _, err := placement.Place(&r, []*placement.Instance{i})
		return err == nil && to != nil
	}
	return t
}

// grow adds the instances that the lacking tasks need: the planner's cheapest set over all groups, by
// the whole need in one step. A group that comes to its maximum is left out and the rest planned again.
func grow(s *State, lacking []Wanted, why []string, now time.Time) []Decision {
	added := map[string]int{}
	used := daemons(s)
	rest := slices.Clone(lacking)
	for range len(s.Groups) + 1 {
		offered, of := offers(s, now, added)
		if len(offered) == 0 || count(rest) == 0 {
			break
		}
		req := capacity.Request{Offers: offered, Overhead: capacity.Resources{CPU: used.CPU, Memory: used.Memory, GPU: used.GPU, ENI: used.ENI}}
		for k := range rest {
			req.Tasks = append(req.Tasks, taskOf(&rest[k]))
		}
		plan := capacity.Plan(&req)
		placed := 0
		left := make([]int, len(rest))
		for k := range rest {
			left[k] = rest[k].Count
		}
		for _, l := range plan.Launch {
			g := &s.Groups[of[l.Offer]]
			if max(g.Desired, g.Instances)+added[g.Name] >= g.Max {
				continue
			}
			added[g.Name]++
			for _, p := range l.Tasks {
				left[p.Task] -= p.Count
				placed += p.Count
			}
		}
		var next []Wanted
		for k := range rest {
			if left[k] > 0 {
				w := rest[k]
				w.Count = left[k]
				next = append(next, w)
			}
		}
		rest = next
		if placed == 0 {
			break
		}
	}
	var out []Decision
	for k := range s.Groups {
		g := &s.Groups[k]
		if n := added[g.Name]; n > 0 {
			out = append(out, Decision{Kind: Grow, Group: g.Name, From: g.Desired, To: max(g.Desired, g.Instances) + n, Reasons: why, Saving: -float64(n) * g.price()})
		}
	}
	if count(rest) > 0 {
		out = append(out, Decision{Kind: Blocked, Reasons: obstacles(s, rest, why, now, added)})
	}
	return out
}

// price is of an instance of the group, USD an hour.
func (g *Group) price() float64 {
	if g.Price > 0 {
		return g.Price
	}
	if t, ok := g.offer(); ok {
		return t.PriceHour
	}
	return price(g.Type)
}

// obstacles says why no group gives the rest a place.
func obstacles(s *State, rest []Wanted, why []string, now time.Time, added map[string]int) []string {
	var reasons []string
	for _, w := range rest {
		mine := fmt.Sprintf("%d tasks of %s have no place", w.Count, w.Name)
		for _, text := range why {
			if strings.Contains(text, " tasks of "+w.Name+" ") {
				mine = text
			}
		}
		reasons = append(reasons, mine)
	}
	for k := range s.Groups {
		g := &s.Groups[k]
		_, known := g.offer()
		switch {
		case g.Managed:
			reasons = append(reasons, fmt.Sprintf("group %s is sized by ECS's managed scaling", g.Name))
		case max(g.Desired, g.Instances)+added[g.Name] >= g.Max:
			reasons = append(reasons, fmt.Sprintf("group %s is at its maximum of %d", g.Name, g.Max))
		case g.short(now):
			reasons = append(reasons, fmt.Sprintf("AWS had no capacity for group %s at %s", g.Name, g.FailedAt.UTC().Format(time.TimeOnly)))
		case !known:
			reasons = append(reasons, fmt.Sprintf("the type %q of group %s is not known", g.Type, g.Name))
		default:
			reasons = append(reasons, fmt.Sprintf("a new %s of group %s has no room for them", g.Type, g.Name))
		}
	}
	if len(s.Groups) == 0 {
		reasons = append(reasons, "the cluster has no Auto Scaling group")
	}
	return reasons
}
