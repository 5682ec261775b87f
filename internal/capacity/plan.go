package capacity

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
)

// Request is a question to the planner.
type Request struct {
	Tasks    []Task
	Existing []Instance // with room for tasks that are wanted; they cost nothing more
	Offers   []Offer
	Zones    []string  // where instances may be launched; new ones are balanced over them
	Overhead Resources // of the daemons on every new instance; on existing ones they are in Used
	Trunking bool      // ENI trunking is on
	Headroom Headroom
	pinned   bool // every task gets a zone, to balance what zones hold
}

// Headroom is room to be kept free beyond the tasks wanted.
type Headroom struct {
	Tasks   []Task  // room for these
	Percent float64 // room for so much more of what is wanted, in the same mix
	// ZoneLoss keeps room for the tasks wanted of any one zone in the others. It says nothing of
	// tasks that run already.
	ZoneLoss bool
}

// Placed is where Count tasks of a Task of the request go.
type Placed struct {
	Task  int // index in Request.Tasks
	Count int
}

// Launch is an instance to launch and what is meant to run on it.
type Launch struct {
	Offer          int // index in Request.Offers
	Type           string
	Zone           string
	Price          float64 // USD an hour
	Capacity, Free Resources
	Tasks          []Placed
}

// Fill is what is meant to run on an instance that exists.
type Fill struct {
	Instance int // index in Request.Existing
	Tasks    []Placed
}

// Unplaced is tasks no offer can hold, and why.
type Unplaced struct {
	Task   int
	Count  int
	Reason string
}

// Result is a plan.
type Result struct {
	Launch   []Launch
	Fill     []Fill
	Unplaced []Unplaced
	Tasks    int     // placed
	Cost     float64 // USD an hour of what is launched
	// Bound is the fractional optimum for the tasks the existing instances have no room for, on the
	// same registered capacities less the daemons: no plan costs less than Bound.Cost.
	Bound Bound
	// Survives is the zones the plan's tasks can lose; only with Headroom.ZoneLoss.
	Survives []string
}

// Ratio is the cost in terms of the lower bound; 1 when nothing is launched, +Inf when the bound
// is 0 and the cost is not.
func (r *Result) Ratio() float64 {
	switch {
	case r.Cost == 0:
		return 1
	case r.Bound.Cost == 0:
		return math.Inf(1)
	}
	return r.Cost / r.Bound.Cost
}

// planner is the work on one request.
type planner struct {
	req        *Request
	capacity   []Resources // of each offer, less overhead
	vectors    []vector
	price      []float64
	everywhere bool       // every offer is to be had in every zone
	zones      [][]string // of each offer
	load       map[string]float64
	sorted     []int // all offers by price, once asked for
	useful     []int // offers no other one beats in every way
	pool       *pool
	dual       vector
	nodes      []node
	spare      node
	divided    map[zoneOfService]int // tasks of services with a zone, while tasks are divided
	held       map[string]float64    // what zones hold of them
	floors     []floor               // for openBest
	last       floor                 // what openBest took last
	again      int                   // how often it may be taken again without a search
	aside      []int32               // items no offer holds, one entry a task
}

// Plan decides what to launch for the tasks. The same request gives the same plan.
func Plan(req *Request) Result {
	if req.Headroom.ZoneLoss && len(req.Zones) > 1 {
		return planForZoneLoss(req)
	}
	w := &planner{req: req, load: map[string]float64{}}
	w.readOffers()
	var result Result
	items := w.items(&result)
	total := demandOf(items)
	free := Resources{}
	for i := range req.Existing {
		in := &req.Existing[i]
		f := in.Capacity.Minus(in.Used)
		free = free.Plus(Resources{max(f.CPU, 0), max(f.Memory, 0), max(f.GPU, 0), max(f.ENI, 0)})
		w.load[in.Zone]++
	}
	open := total.Minus(free)
	result.Bound = solveBound(w.vectors, w.price, open.vector())
	w.dual = solveBound(w.vectors, w.price, total.vector()).Prices
	tasks := 0
	for i := range items {
		items[i].value = items[i].need.vector().dot(w.dual)
		tasks += items[i].left
	}
	var best *planner
	for _, how := range ways(tasks) {
		a := w.attempt(items, how)
		if best == nil || len(a.aside) < len(best.aside) || len(a.aside) == len(best.aside) && a.cost() < best.cost()-1e-9 {
			best = a
		}
	}
	best.report(&result)
	return result
}

// ways is the ways of choosing tasks to be tried: more of them where there are few tasks, since the
// time is there and one node more or less counts.
func ways(tasks int) []way {
	all := []way{{1, 0.3, 1}, {0.8, 0, 0.3}, {1.5, 1, 0.7}, {1, 2, 0}, {1, 0, 0.1}, {2, 0.3, 0.5}, {0.7, 0.5, 2}, {3, 0, 0.2}}
	switch {
	case tasks <= 2000:
		return all
	case tasks <= 20_000:
		return all[:3]
	}
	return all[:1]
}

// attempt is a plan for the items, by one way of choosing tasks.
func (w *planner) attempt(items []item, how way) *planner {
	a := *w
	a.load = maps.Clone(w.load)
	a.pool = newPool(slices.Clone(items))
	a.pool.way = how
	a.pool.interfaces = a.pool.demand.ENI > 0
	a.fillExisting()
	a.launchAll()
	a.improve()
	return &a
}

func (w *planner) cost() float64 {
	sum := 0.0
	for i := range w.nodes {
		if n := &w.nodes[i]; n.offer >= 0 {
			sum += w.price[n.offer]
		}
	}
	return sum
}

func demandOf(items []item) Resources {
	var r Resources
	for i := range items {
		r = r.Plus(items[i].need.Times(items[i].left))
	}
	return r
}

func (w *planner) readOffers() {
	w.everywhere = true
	for i := range w.req.Offers {
		o := &w.req.Offers[i]
		c := o.Type.Capacity(w.req.Trunking).Minus(w.req.Overhead)
		c = Resources{max(c.CPU, 0), max(c.Memory, 0), max(c.GPU, 0), max(c.ENI, 0)}
		w.capacity = append(w.capacity, c)
		w.vectors = append(w.vectors, c.vector())
		w.price = append(w.price, o.price())
		w.everywhere = w.everywhere && len(o.Zones) == 0
		zones := o.Zones
		if len(zones) == 0 {
			zones = w.req.Zones
		}
		if len(zones) == 0 {
			zones = []string{""}
		}
		w.zones = append(w.zones, zones)
	}
	for i := range w.req.Offers {
		if !slices.ContainsFunc(w.useful, func(j int) bool { return w.beats(j, i) }) {
			w.useful = slices.DeleteFunc(w.useful, func(j int) bool { return w.beats(i, j) })
			w.useful = append(w.useful, i)
		}
	}
	slices.SortStableFunc(w.useful, func(a, b int) int { return cmp.Compare(w.price[a], w.price[b]) })
}

// beats reports whether offer a is at least as good as b in every way that resources show.
func (w *planner) beats(a, b int) bool {
	return w.price[a] <= w.price[b] && w.capacity[a].Covers(w.capacity[b]) && w.req.Offers[a].Type.Arch == w.req.Offers[b].Type.Arch
}

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

// hostOf is a new instance of the offer.
func (w *planner) hostOf(offer int, zone string) Host {
	o := &w.req.Offers[offer]
	return Host{Type: o.Type, Zone: zone, Attributes: o.Attrs}
}

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

// zoneFor is the least loaded zone in which an instance of the offer may run the task.
func (w *planner) zoneFor(offer int, t *Task, zone string) *string {
	best := -1
	zones := w.zones[offer]
	for k, z := range zones {
		if zone != "" && z != zone || t != nil && !t.admitted(w.hostOf(offer, z)) {
			continue
		}
		if best < 0 || w.load[z] < w.load[zones[best]] {
			best = k
		}
	}
	if best < 0 {
		return nil
	}
	return &zones[best]
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

// fillExisting places what fits on the instances that exist, the fullest first, so that the
// emptiest stay empty.
func (w *planner) fillExisting() {
	order := make([]int, len(w.req.Existing))
	share := make([]float64, len(w.req.Existing))
	for i := range order {
		order[i] = i
		in := &w.req.Existing[i]
		share[i] = in.Capacity.Minus(in.Used).vector().dot(w.dual)
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(share[a], share[b]) })
	for _, i := range order {
		if w.pool.waiting == 0 {
			return
		}
		n := w.existing(i)
		n.fill(w.pool)
		if len(n.items) > 0 {
			w.nodes = append(w.nodes, *n)
		}
	}
}

// existing is an existing instance as it is.
func (w *planner) existing(i int) *node {
	in := &w.req.Existing[i]
	n := &node{offer: -1, existing: i, host: in.Host, capacity: in.Capacity, free: in.Capacity.Minus(in.Used), services: maps.Clone(in.Services)}
	for _, p := range in.Ports {
		if n.ports == nil {
			n.ports = map[Port]bool{}
		}
		n.ports[p.normal()] = true
	}
	return n
}

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
