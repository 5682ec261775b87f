package capacity

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
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
	for _, a := range w.attempts(items, ways(tasks)) {
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

// attempts makes a plan in each way, two at a time. None knows of the others, so the result does not
// depend on which is ready first.
func (w *planner) attempts(items []item, ways []way) []*planner {
	out := make([]*planner, len(ways))
	var next atomic.Int32
	work := func() {
		for i := int(next.Add(1)) - 1; i < len(ways); i = int(next.Add(1)) - 1 {
			out[i] = w.attempt(items, ways[i])
		}
	}
	if len(ways) == 1 {
		work()
		return out
	}
	var wg sync.WaitGroup
	wg.Go(work)
	wg.Go(work)
	wg.Wait()
	return out
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

// hostOf is a new instance of the offer.
func (w *planner) hostOf(offer int, zone string) Host {
	o := &w.req.Offers[offer]
	return Host{Type: o.Type, Zone: zone, Attributes: o.Attrs}
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
