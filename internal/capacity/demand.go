package capacity

import (
	"cmp"
	"fmt"
	"slices"
)

// items groups the tasks wanted by what they need. Tasks no offer can hold go to the result.
func (w *planner) items(result *Result) []item {
	var items []item
	limits := limitsOf(w.req.Tasks, w.req.Headroom.Tasks)
	w.divided, w.held = map[zoneOfService]int{}, map[string]float64{}
	for i := range w.req.Existing {
		in := &w.req.Existing[i]
		for s, n := range in.Services {
			w.divided[zoneOfService{in.Zone, s}] += n
		}
	}
	addTask := func(id int, t *Task) {
		reason := ""
		if !w.holdsAny(t) {
			reason = w.refusal(t)
		}
		if reason != "" && !w.existingHolds(t) {
			if id >= 0 {
				result.Unplaced = append(result.Unplaced, Unplaced{id, t.count(), reason})
			}
			return
		}
		limit := limits[t.Service]
		if t.plain() && limit == 0 && !w.req.pinned {
			items = append(items, item{need: t.Resources, left: t.count(), from: []share{{id, t.count()}}})
			return
		}
		for _, z := range w.spread(t) {
			items = append(items, item{need: t.Resources, left: z.count, from: []share{{id, z.count}}, task: t, zone: z.zone, limit: limit})
		}
	}
	for i := range w.req.Tasks {
		addTask(i, &w.req.Tasks[i])
	}
	for i := range w.req.Headroom.Tasks {
		addTask(-1, &w.req.Headroom.Tasks[i])
	}
	if p := w.req.Headroom.Percent; p > 0 {
		items = append(items, more(items, p)...)
	}
	return items
}

// limitsOf is how many tasks of a service may share an instance, for the services with a limit; of
// several limits the strictest holds.
func limitsOf(lists ...[]Task) map[string]int {
	limits := map[string]int{}
	for _, tasks := range lists {
		for i := range tasks {
			t := &tasks[i]
			if m, ok := limits[t.Service]; t.MaxPerInstance > 0 && (!ok || t.MaxPerInstance < m) {
				limits[t.Service] = t.MaxPerInstance
			}
		}
	}
	return limits
}

// more is so many percent of the tasks of the items, in each zone every so-manieth by size.
func more(items []item, percent float64) []item {
	order := make([]int, len(items))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(items[a].zone, items[b].zone), cmp.Compare(items[a].need.CPU, items[b].need.CPU), cmp.Compare(items[a].need.Memory, items[b].need.Memory))
	})
	var out []item
	due := 0.5
	for _, i := range order {
		due += float64(items[i].left) * percent / 100
		if n := int(due); n > 0 {
			due -= float64(n)
			out = append(out, item{need: items[i].need, left: n, from: []share{{-1, n}}, task: items[i].task, zone: items[i].zone, limit: items[i].limit})
		}
	}
	return out
}

// zoneCount is how many tasks go to a zone.
type zoneCount struct {
	zone  string
	count int
}

// spread divides the tasks over the zones they may run in, counting those of the service that run
// or were divided before. Between zones with equally many the one with less to hold gets the next.
func (w *planner) spread(t *Task) []zoneCount {
	if !t.Spread && !w.req.pinned || len(w.req.Zones) < 2 {
		return []zoneCount{{"", t.count()}}
	}
	var zones []zoneCount
	for _, z := range w.req.Zones {
		if len(t.Zones) == 0 || slices.Contains(t.Zones, z) {
			zones = append(zones, zoneCount{zone: z})
		}
	}
	if len(zones) < 2 {
		return []zoneCount{{"", t.count()}}
	}
	size := float64(t.CPU)/1024 + float64(t.Memory)/4096
	for range t.count() {
		k := 0
		for j := range zones {
			a, b := zoneOfService{zones[j].zone, t.Service}, zoneOfService{zones[k].zone, t.Service}
			if t.Spread && w.divided[a] != w.divided[b] {
				if w.divided[a] < w.divided[b] {
					k = j
				}
			} else if w.held[a.zone] < w.held[b.zone] {
				k = j
			}
		}
		zones[k].count++
		w.divided[zoneOfService{zones[k].zone, t.Service}]++
		w.held[zones[k].zone] += size
	}
	return slices.DeleteFunc(zones, func(z zoneCount) bool { return z.count == 0 })
}

type zoneOfService struct{ zone, service string }

// holdsAny reports whether some offer can hold the task alone.
func (w *planner) holdsAny(t *Task) bool {
	if t.plain() {
		return slices.ContainsFunc(w.useful, func(i int) bool { return w.capacity[i].Covers(t.Resources) })
	}
	for i := range w.req.Offers {
		if w.capacity[i].Covers(t.Resources) && w.zoneFor(i, t, "") != nil {
			return true
		}
	}
	return false
}

func (w *planner) existingHolds(t *Task) bool {
	for i := range w.req.Existing {
		in := &w.req.Existing[i]
		if in.Capacity.Minus(in.Used).Covers(t.Resources) && t.admitted(in.Host) {
			return true
		}
	}
	return false
}

// refusal says in one sentence why no offer holds the task.
func (w *planner) refusal(t *Task) string {
	if len(w.req.Offers) == 0 {
		return "no instance types are on offer"
	}
	var most Resources
	fits := false
	for _, c := range w.capacity {
		most = Resources{max(most.CPU, c.CPU), max(most.Memory, c.Memory), max(most.GPU, c.GPU), max(most.ENI, c.ENI)}
		fits = fits || c.Covers(t.Resources)
	}
	switch {
	case fits:
		return "every type on offer that is large enough is refused by the task's constraints (zone, architecture or attributes)"
	case t.CPU > most.CPU:
		return fmt.Sprintf("needs %d CPU units; the largest type on offer has %d", t.CPU, most.CPU)
	case t.Memory > most.Memory:
		return fmt.Sprintf("needs %d MiB of memory; the largest type on offer has %d after the agent's reserve", t.Memory, most.Memory)
	case t.GPU > most.GPU:
		return fmt.Sprintf("needs %d GPUs; the most any type on offer has is %d", t.GPU, most.GPU)
	case t.ENI > most.ENI:
		return fmt.Sprintf("needs %d task network interfaces; the most any type on offer has is %d", t.ENI, most.ENI)
	}
	return fmt.Sprintf("no type on offer has %d CPU units, %d MiB, %d GPUs and %d task network interfaces together", t.CPU, t.Memory, t.GPU, t.ENI)
}
