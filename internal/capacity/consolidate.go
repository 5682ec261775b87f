package capacity

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Cluster is the instances there are with what runs on them, and what could be launched instead.
type Cluster struct {
	Instances []Occupied
	Offers    []Offer
	Zones     []string
	Overhead  Resources // of the daemons on a new instance
	Trunking  bool
}

// Occupied is an instance and its tasks.
type Occupied struct {
	Host
	Capacity Resources // registered
	Daemons  Resources // taken by tasks that end with the instance
	Price    float64   // USD an hour
	Tasks    []Running // others than daemons
	Expired  bool      // to be replaced when it costs nothing more: out of date
	Keep     bool      // not to be disrupted, but it may get tasks
	Closed   bool      // gets no tasks: it drains, or is cordoned
	Gone     bool      // a move took it
}

// Running is a task on an instance.
type Running struct {
	ID   string
	Task *Task // its shape and constraints; Count does not matter
	// Pinned tasks cannot be moved: protected from scale-in, or of no service.
	Pinned bool
}

// NoLimit lifts a budget.
const NoLimit = -1

// Budgets limit what consolidation may disrupt. The zero value permits only what disrupts nothing:
// instances without tasks.
type Budgets struct {
	Instances int            // instances with tasks that may go; NoLimit: any number
	Tasks     int            // tasks that may move; NoLimit: any number
	Service   map[string]int // tasks of a service that may move; services not named: any number
	MinSaving float64        // USD an hour a move that disrupts must save; expired ones excepted
}

// Kind tells moves apart, in the order they are looked for.
type Kind int

// The kinds of moves.
const (
	Empty   Kind = iota // an instance without tasks goes
	Renew               // an expired instance goes; its tasks go elsewhere, or to a new one
	Spread              // an instance goes; its tasks find room on others
	Merge               // several instances go for one new one
	Replace             // an instance goes for a cheaper new one
)

func (k Kind) String() string {
	return [...]string{"empty", "renew", "spread", "merge", "replace"}[k]
}

// New is the place of tasks on the instance a move launches.
const New = -1

// Relocation is where one displaced task goes.
type Relocation struct {
	From int // index of the instance
	Task int // index in its Tasks
	To   int // index of the instance, or New
}

// Move is one step of consolidation: victims go, and each of their tasks has a place. Moves are to
// be made in order; no instance that gets tasks in one of them goes in a later one, so no task
// moves twice.
type Move struct {
	Kind    Kind
	Victims []int
	Launch  bool
	Offer   int    // index in Cluster.Offers, if Launch
	Zone    string // of the new instance, if Launch
	Tasks   []Relocation
	Saving  float64 // USD an hour
}

// Worth is the saving for each task that moves.
func (m *Move) Worth() float64 { return m.Saving / float64(1+len(m.Tasks)) }

// Describe says in one sentence what the move does and why.
func (m *Move) Describe(c *Cluster) string {
	names := make([]string, len(m.Victims))
	for i, v := range m.Victims {
		names[i] = fmt.Sprintf("%s (%s)", c.Instances[v].ID, c.Instances[v].Type.Name)
	}
	who := strings.Join(names, ", ")
	elsewhere, fresh := 0, 0
	for _, r := range m.Tasks {
		if r.To == New {
			fresh++
		} else {
			elsewhere++
		}
	}
	var places []string
	if elsewhere > 0 {
		places = append(places, fmt.Sprintf("%d tasks fit on other instances", elsewhere))
	}
	if m.Launch {
		places = append(places, fmt.Sprintf("%d tasks go to a new %s in %s", fresh, c.Offers[m.Offer].Type.Name, m.Zone))
	}
	why := map[Kind]string{
		Empty: "runs no tasks", Renew: "is out of date", Spread: "is not needed", Merge: "cost more than one for all", Replace: "costs more than its tasks need",
	}[m.Kind]
	s := who + " " + why
	if len(places) > 0 {
		s += ": " + strings.Join(places, ", ")
	}
	return fmt.Sprintf("%s; saves %.4f USD an hour", s, m.Saving)
}

// Consolidate finds the moves that make the cluster cheaper, or renew it, within the budgets. Every
// move is proved on a copy of the state: each displaced task has a place that admits it, on hosts
// as the moves before left them. The cluster is not changed.
func Consolidate(c *Cluster, b Budgets) []Move {
	w := newMerger(c, b)
	w.stage(Empty, func(v int) bool { return len(c.Instances[v].Tasks) == 0 })
	w.stage(Renew, func(v int) bool { return c.Instances[v].Expired })
	w.stage(Spread, func(v int) bool { return true })
	w.merges()
	w.stage(Replace, func(v int) bool { return true })
	return w.moves
}

// merger is the work on one consolidation.
type merger struct {
	c       *Cluster
	p       *planner // for the offers
	b       Budgets
	service map[string]int // what is left of each service's budget
	hosts   []*node
	rooms   *rooms
	state   []fate
	items   [][]item // of each instance's tasks
	used    []Resources
	open    Resources // free on all hosts that get tasks
	moves   []Move
}

// fate is what became of an instance.
type fate byte

const (
	stays fate = iota
	gets       // it got tasks: it must stay
	gone
	closed // gets none, may go
)

func newMerger(c *Cluster, b Budgets) *merger {
	w := &merger{c: c, b: b, service: maps.Clone(b.Service)}
	w.p = &planner{req: &Request{Offers: c.Offers, Zones: c.Zones, Overhead: c.Overhead, Trunking: c.Trunking}, load: map[string]float64{}}
	w.p.readOffers()
	limits := map[string]int{}
	var total Resources
	for i := range c.Instances {
		for k := range c.Instances[i].Tasks {
			t := c.Instances[i].Tasks[k].Task
			if m, ok := limits[t.Service]; t.MaxPerInstance > 0 && (!ok || t.MaxPerInstance < m) {
				limits[t.Service] = t.MaxPerInstance
			}
		}
	}
	for i := range c.Instances {
		in := &c.Instances[i]
		n := &node{offer: -1, existing: i, host: in.Host, capacity: in.Capacity, free: in.Capacity.Minus(in.Daemons)}
		items := make([]item, len(in.Tasks))
		var used Resources
		for k := range in.Tasks {
			t := in.Tasks[k].Task
			it := item{need: t.Resources, left: 1}
			if limit := limits[t.Service]; !t.plain() || limit > 0 {
				it.task, it.limit = t, limit
			}
			if t.Spread {
				it.zone = in.Zone // its service's balance stays as it is
			}
			items[k] = it
			used = used.Plus(it.need)
			n.add(int32(k), &it)
		}
		n.items = nil
		w.items = append(w.items, items)
		w.used = append(w.used, used)
		w.hosts = append(w.hosts, n)
		total = total.Plus(used)
		f := stays
		if in.Closed || in.Gone {
			f = closed
		} else {
			w.p.load[in.Zone]++
		}
		w.state = append(w.state, f)
	}
	prices := solveBound(w.p.vectors, w.p.price, total.vector()).Prices
	if prices == (vector{}) {
		prices = vector{4, 1, 0, 0} // nothing is on offer: any sensible weights do
	}
	w.rooms = newRooms(w.hosts, prices)
	for i := range w.hosts {
		if w.state[i] == closed {
			w.rooms.remove(i)
		} else {
			w.open = w.open.Plus(w.roomOf(i))
		}
	}
	return w
}

func (w *merger) roomOf(i int) Resources {
	f := w.hosts[i].free
	return Resources{max(f.CPU, 0), max(f.Memory, 0), max(f.GPU, 0), max(f.ENI, 0)}
}

// stage tries to do without each instance the choice admits, those first that save most for each
// task that moves.
func (w *merger) stage(kind Kind, choice func(v int) bool) {
	var victims []int
	for v := range w.c.Instances {
		if w.mayGo(v) && choice(v) {
			victims = append(victims, v)
		}
	}
	w.rank(victims)
	for _, v := range victims {
		if !w.mayGo(v) || !w.affordable([]int{v}) {
			continue
		}
		m := Move{Kind: kind, Victims: []int{v}, Saving: w.c.Instances[v].Price}
		if w.do(&m, kind == Renew || kind == Replace, kind != Replace) {
			w.moves = append(w.moves, m)
		}
	}
}

// rank orders victims by price for each task moved, then by what runs on them.
func (w *merger) rank(victims []int) {
	worth := func(v int) float64 { return w.c.Instances[v].Price / float64(1+len(w.c.Instances[v].Tasks)) }
	load := make([]float64, len(w.c.Instances))
	for _, v := range victims {
		load[v] = w.used[v].vector().dot(w.rooms.prices)
	}
	slices.SortStableFunc(victims, func(a, b int) int {
		return cmp.Or(cmp.Compare(worth(b), worth(a)), cmp.Compare(load[a], load[b]))
	})
}

// mayGo reports whether the instance may be a victim.
func (w *merger) mayGo(v int) bool {
	in := &w.c.Instances[v]
	if in.Keep || in.Gone || w.state[v] == gets || w.state[v] == gone {
		return false
	}
	return !slices.ContainsFunc(in.Tasks, func(t Running) bool { return t.Pinned })
}

// affordable reports whether the budgets permit to displace the victims' tasks.
func (w *merger) affordable(victims []int) bool {
	tasks, instances := 0, 0
	var by map[string]int
	for _, v := range victims {
		in := &w.c.Instances[v]
		if len(in.Tasks) > 0 {
			instances++
		}
		tasks += len(in.Tasks)
		if len(w.service) == 0 {
			continue
		}
		for k := range in.Tasks {
			s := in.Tasks[k].Task.Service
			left, limited := w.service[s]
			if !limited {
				continue
			}
			if by == nil {
				by = map[string]int{}
			}
			if by[s]++; by[s] > left {
				return false
			}
		}
	}
	return (w.b.Instances < 0 || instances <= w.b.Instances) && (w.b.Tasks < 0 || tasks <= w.b.Tasks)
}

// do makes the move on the state if it can be proved and is worth it; otherwise the state is as
// before. Tasks find room on other hosts if elsewhere is set, and else, or where they do not, on
// one new instance if launch is set.
func (w *merger) do(m *Move, launch, elsewhere bool) bool {
	var need Resources
	for _, v := range m.Victims {
		need = need.Plus(w.used[v])
		if w.state[v] != closed {
			w.rooms.remove(v)
			w.open = w.open.Minus(w.roomOf(v))
		}
	}
	var rest []Relocation
	if elsewhere && (launch || w.open.Covers(need)) {
		rest = w.relocate(m, launch)
	} else {
		for _, v := range m.Victims {
			for k := range w.items[v] {
				rest = append(rest, Relocation{v, k, New})
			}
		}
	}
	if len(rest) > 0 && (!launch || !w.launch(m, rest)) || !w.worth(m) {
		w.undo(m)
		return false
	}
	for _, r := range m.Tasks {
		if r.To != New {
			w.state[r.To] = gets
		}
		if t := w.c.Instances[r.From].Tasks[r.Task].Task; w.service != nil {
			if left, limited := w.service[t.Service]; limited {
				w.service[t.Service] = left - 1
			}
		}
	}
	for _, v := range m.Victims {
		w.state[v] = gone
		if w.b.Instances > 0 && len(w.items[v]) > 0 {
			w.b.Instances--
		}
	}
	if w.b.Tasks > 0 {
		w.b.Tasks -= len(m.Tasks)
	}
	return true
}

func (w *merger) worth(m *Move) bool {
	switch m.Kind {
	case Empty:
		return true
	case Renew:
		return m.Saving >= -1e-12
	}
	return m.Saving > 0 && m.Saving >= w.b.MinSaving
}

// relocate finds places on other hosts, for the largest tasks first. It returns those that have
// none; unless partial is set it gives up at the first.
func (w *merger) relocate(m *Move, partial bool) (rest []Relocation) {
	type displaced struct {
		from, task int
		value      float64
	}
	var tasks []displaced
	for _, v := range m.Victims {
		for k := range w.items[v] {
			tasks = append(tasks, displaced{v, k, w.items[v][k].need.vector().dot(w.rooms.prices)})
		}
	}
	slices.SortStableFunc(tasks, func(a, b displaced) int { return cmp.Compare(b.value, a.value) })
	for _, t := range tasks {
		it := &w.items[t.from][t.task]
		to := w.rooms.find(it)
		if to < 0 {
			rest = append(rest, Relocation{t.from, t.task, New})
			if !partial {
				return rest
			}
			continue
		}
		w.place(to, it)
		m.Tasks = append(m.Tasks, Relocation{t.from, t.task, to})
	}
	return rest
}

func (w *merger) place(to int, it *item) {
	h := w.hosts[to]
	w.open = w.open.Minus(w.roomOf(to))
	h.add(0, it)
	h.items = h.items[:0]
	w.open = w.open.Plus(w.roomOf(to))
	w.rooms.moved(to)
}

// undo puts the state back to before the move.
func (w *merger) undo(m *Move) {
	for _, r := range m.Tasks {
		if r.To == New {
			continue
		}
		h, it := w.hosts[r.To], &w.items[r.From][r.Task]
		w.open = w.open.Minus(w.roomOf(r.To))
		h.drop(it)
		w.open = w.open.Plus(w.roomOf(r.To))
		w.rooms.moved(r.To)
	}
	for _, v := range m.Victims {
		if w.state[v] != closed {
			w.rooms.insert(v)
			w.open = w.open.Plus(w.roomOf(v))
		}
	}
	m.Tasks = nil
}

// launch finds the cheapest offer that holds the rest alone and adds it to the move.
func (w *merger) launch(m *Move, rest []Relocation) bool {
	var need Resources
	plain := true
	for _, r := range rest {
		it := &w.items[r.From][r.Task]
		need = need.Plus(it.need)
		plain = plain && it.task == nil && it.zone == ""
	}
	zone := w.c.Instances[m.Victims[0]].Zone
	for _, i := range w.offers(plain) {
		price := w.p.price[i]
		if price > m.Saving || price == m.Saving && m.Kind != Renew {
			return false
		}
		if !w.p.capacity[i].Covers(need) || !slices.Contains(w.p.zones[i], zone) {
			continue
		}
		n := &node{host: w.p.hostOf(i, zone), capacity: w.p.capacity[i], free: w.p.capacity[i]}
		fits := true
		for _, r := range rest {
			it := &w.items[r.From][r.Task]
			if fits = n.takes(it); !fits {
				break
			}
			n.add(0, it)
		}
		if fits {
			m.Launch, m.Offer, m.Zone = true, i, zone
			m.Saving -= price
			m.Tasks = append(m.Tasks, rest...)
			return true
		}
	}
	return false
}

// offers is the offers by price: the useful ones do for tasks without constraints.
func (w *merger) offers(plain bool) []int {
	if plain && len(w.c.Zones) <= 1 {
		return w.p.useful
	}
	return w.p.byPrice()
}

// byPrice is all offers, the cheapest first.
func (w *planner) byPrice() []int {
	if w.sorted == nil {
		w.sorted = make([]int, len(w.req.Offers))
		for i := range w.sorted {
			w.sorted[i] = i
		}
		slices.SortStableFunc(w.sorted, func(a, b int) int { return cmp.Compare(w.price[a], w.price[b]) })
	}
	return w.sorted
}
