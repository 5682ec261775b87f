package capacity

import (
	"cmp"
	"slices"
)

// report turns the nodes into launches and fills.
func (w *planner) report(result *Result) {
	for i := range w.nodes {
		n := &w.nodes[i]
		placed := w.placed(n)
		for _, p := range placed {
			result.Tasks += p.Count
		}
		if n.offer < 0 {
			if len(placed) > 0 {
				result.Fill = append(result.Fill, Fill{n.existing, placed})
			}
			continue
		}
		o := &w.req.Offers[n.offer]
		result.Launch = append(result.Launch, Launch{n.offer, o.Type.Name, n.host.Zone, w.price[n.offer], n.capacity, n.free, placed})
		result.Cost += w.price[n.offer]
	}
	for _, id := range w.aside {
		w.pool.items[id].left++
	}
	for i := range w.pool.items {
		it := &w.pool.items[i]
		if it.left == 0 {
			continue
		}
		for _, s := range it.from {
			if n := min(s.count, it.left); n > 0 && s.task >= 0 {
				it.left -= n
				result.Unplaced = append(result.Unplaced, Unplaced{s.task, n, w.leftOver(it)})
			}
		}
	}
	slices.SortFunc(result.Unplaced, func(a, b Unplaced) int { return cmp.Compare(a.Task, b.Task) })
}

// leftOver says why tasks were not placed though some host could have held one.
func (w *planner) leftOver(it *item) string {
	if it.zone != "" {
		return "no type on offer that can hold it is available in zone " + it.zone
	}
	return "the existing instances that could hold it are full, and " + w.refusal(&w.req.Tasks[it.from[0].task])
}

// placed hands out the tasks of the node's items.
func (w *planner) placed(n *node) []Placed {
	out := make([]Placed, 0, len(n.items))
	for _, id := range n.items {
		it := &w.pool.items[id]
		for len(it.from) > 0 && it.from[0].count == 0 {
			it.from = it.from[1:]
		}
		s := &it.from[0]
		s.count--
		if s.task < 0 {
			continue // headroom
		}
		if k := len(out) - 1; k >= 0 && out[k].Task == s.task {
			out[k].Count++
			continue
		}
		out = append(out, Placed{s.task, 1})
	}
	return out
}

// Group is the launches of one type in one zone.
type Group struct {
	Type, Zone     string
	Count          int
	Cost           float64 // USD an hour
	Used, Capacity Resources
}

// Groups is the launches by type and zone, in that order. Used is of the tasks and the room kept
// free, Capacity what is registered less the daemons.
func (r *Result) Groups() []Group {
	type key struct{ typ, zone string }
	index := map[key]int{}
	var out []Group
	for i := range r.Launch {
		l := &r.Launch[i]
		k, ok := index[key{l.Type, l.Zone}]
		if !ok {
			k = len(out)
			index[key{l.Type, l.Zone}] = k
			out = append(out, Group{Type: l.Type, Zone: l.Zone})
		}
		g := &out[k]
		g.Count++
		g.Cost += l.Price
		g.Capacity = g.Capacity.Plus(l.Capacity)
		g.Used = g.Used.Plus(l.Capacity.Minus(l.Free))
	}
	slices.SortFunc(out, func(a, b Group) int { return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Zone, b.Zone)) })
	return out
}
