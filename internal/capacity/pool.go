package capacity

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
)

// item is equal tasks that wait for a place.
type item struct {
	need  Resources
	value float64 // at the dual prices of the whole demand
	left  int     // how many wait
	from  []share // which tasks they are
	task  *Task   // the constraints; nil: resources decide alone
	limit int     // of the service's tasks on an instance; 0: none
	zone  string  // the zone spreading gave them; empty: any
}

// share is equal tasks of one Task of the request.
type share struct{ task, count int }

// side is the number of size classes a resource is divided into.
const side = 64

// look is how many items of a cell are tried when the first do not fit.
const look = 12

// pool holds the tasks that wait, in cells by size of CPU and of memory: finding a task that fits
// and suits is a look at a few cells, however many wait.
type pool struct {
	items      []item // by value, most first
	rows       uint64 // CPU classes with items
	columns    [side]uint64
	cells      [side * side]cell
	logCPU     scale
	logMem     scale
	upper      [side]float64 // the CPU below which each class's items are
	way        way
	interfaces bool      // some tasks need network interfaces of their own
	waiting    int       // items with tasks left
	demand     Resources // of all that wait
	first      int       // items before it have no tasks left
	journal    []taken
}

// cell is the items of one class, by value, most first. Those before head are gone.
type cell struct {
	items []entry
	head  int
}

// entry is an item as a look at a cell needs it.
type entry struct {
	cpu, memory int32
	id          int32
	more        bool // other things than CPU and memory decide, too
}

// taken is one take, to undo it.
type taken struct {
	item   int32
	cell   int32
	offset int32 // where behind head the item was; -1: it stayed, with tasks left
}

// scale divides the range of one resource in classes of equal ratio.
type scale struct{ low, factor float64 }

func newScale(low, high int) scale {
	l, h := math.Log2(float64(max(low, 1))), math.Log2(float64(max(high, 1)))
	if h-l < 1e-9 {
		return scale{l, 0}
	}
	return scale{l, (side - 1) / (h - l)}
}

// class of an amount; -1: below the range.
func (s scale) class(v float64) int {
	if v < 1 {
		v = 1
	}
	x := log2(v) - s.low
	if x < -1e-9 {
		return -1
	}
	return min(int(x*s.factor+1e-9), side-1)
}

// log2 is a table look-up: the error is below 1e-4, and equal amounts and larger ones never get a
// smaller result.
func log2(v float64) float64 {
	b := math.Float64bits(v)
	exp := int(b>>52) - 1023
	return float64(exp) + logTable[(b>>40)&4095]
}

var logTable = func() (t [4096]float64) {
	for i := range t {
		t[i] = math.Log2(1 + float64(i)/4096)
	}
	return
}()

// way is how tasks for a node are chosen.
type way struct {
	// steer weighs the balance of what is left of CPU and memory against the size of the next task;
	// at least 0.5, or the search would stop too early.
	steer float64
	// urgency adds to it as a node with skew fills up.
	urgency float64
	// interfaces weighs the balance of task network interfaces against the rest.
	interfaces float64
}

// newPool orders the items by value, joins equal ones, and puts them in cells.
func newPool(items []item) *pool {
	p := &pool{items: sorted(items)}
	items = p.items
	lowC, highC, lowM, highM := math.MaxInt, 0, math.MaxInt, 0
	for i := range items {
		n := items[i].need
		lowC, highC = min(lowC, n.CPU), max(highC, n.CPU)
		lowM, highM = min(lowM, n.Memory), max(highM, n.Memory)
	}
	p.logCPU, p.logMem = newScale(lowC, highC), newScale(lowM, highM)
	for r := range p.upper {
		p.upper[r] = math.Inf(1)
		if p.logCPU.factor > 0 {
			p.upper[r] = math.Exp2(p.logCPU.low + float64(r+1)/p.logCPU.factor)
		}
	}
	var size [side * side]int32
	at := make([]int32, len(items))
	for i := range items {
		at[i] = int32(p.cellOf(&items[i]))
		size[at[i]]++
	}
	all := make([]entry, len(items))
	for c, n := range size {
		p.cells[c].items, all = all[:0:n], all[n:]
	}
	for i := range items {
		it, c := &items[i], &p.cells[at[i]]
		c.items = append(c.items, entry{int32(it.need.CPU), int32(it.need.Memory), int32(i), it.special()})
		p.demand = p.demand.Plus(it.need.Times(it.left))
		p.mark(int(at[i]))
	}
	p.waiting = len(items)
	return p
}

// special reports whether other things than CPU and memory decide where the item fits.
func (it *item) special() bool {
	return it.task != nil || it.zone != "" || it.need.GPU != 0 || it.need.ENI != 0
}

// sorted is the items by value, most first, equal ones without constraints in one.
func sorted(items []item) []item {
	type key struct {
		value float64
		at    int32
	}
	keys := make([]key, len(items))
	for i := range items {
		keys[i] = key{items[i].value, int32(i)}
	}
	slices.SortFunc(keys, func(a, b key) int {
		if a.value != b.value {
			return cmp.Compare(b.value, a.value)
		}
		x, y := &items[a.at], &items[b.at]
		return cmp.Or(cmp.Compare(y.need.CPU, x.need.CPU), cmp.Compare(y.need.Memory, x.need.Memory), cmp.Compare(a.at, b.at))
	})
	out := make([]item, 0, len(items))
	for _, k := range keys {
		it := &items[k.at]
		if n := len(out) - 1; n >= 0 && it.task == nil && out[n].task == nil && out[n].need == it.need && out[n].zone == it.zone {
			out[n].left += it.left
			out[n].from = append(out[n].from, it.from...)
			continue
		}
		out = append(out, *it)
	}
	return out
}

func (p *pool) cellOf(it *item) int {
	return max(p.logCPU.class(float64(it.need.CPU)), 0)*side + max(p.logMem.class(float64(it.need.Memory)), 0)
}

func (p *pool) mark(c int) {
	p.columns[c/side] |= 1 << (c % side)
	p.rows |= 1 << (c / side)
}

func (p *pool) unmark(c int) {
	p.columns[c/side] &^= 1 << (c % side)
	if p.columns[c/side] == 0 {
		p.rows &^= 1 << (c / side)
	}
}

// take removes one task of the item at the offset behind the head of its cell.
func (p *pool) take(cellIndex, offset int) int32 {
	c := &p.cells[cellIndex]
	e := c.items[c.head+offset]
	id := e.id
	it := &p.items[id]
	it.left--
	p.demand = p.demand.Minus(it.need)
	if it.left > 0 {
		p.journal = append(p.journal, taken{id, int32(cellIndex), -1})
		return id
	}
	copy(c.items[c.head+1:c.head+offset+1], c.items[c.head:c.head+offset])
	c.head++
	p.waiting--
	if c.head == len(c.items) {
		p.unmark(cellIndex)
	}
	p.journal = append(p.journal, taken{id, int32(cellIndex), int32(offset)})
	return id
}

// undo puts back what was taken since the journal had n entries.
func (p *pool) undo(n int) {
	for len(p.journal) > n {
		t := p.journal[len(p.journal)-1]
		p.journal = p.journal[:len(p.journal)-1]
		it := &p.items[t.item]
		it.left++
		p.demand = p.demand.Plus(it.need)
		if t.offset < 0 {
			continue
		}
		c := &p.cells[t.cell]
		c.head--
		e := entry{int32(it.need.CPU), int32(it.need.Memory), t.item, it.special()}
		copy(c.items[c.head:c.head+int(t.offset)], c.items[c.head+1:c.head+int(t.offset)+1])
		c.items[c.head+int(t.offset)] = e
		p.waiting++
		p.first = min(p.first, int(t.item))
		p.mark(int(t.cell))
	}
}

// largest is the item of most value with tasks left; -1: none.
func (p *pool) largest() int {
	for p.first < len(p.items) && p.items[p.first].left == 0 {
		p.first++
	}
	if p.first == len(p.items) {
		return -1
	}
	return p.first
}

// takeItem takes one task of a given item.
func (p *pool) takeItem(id int) {
	ci := p.cellOf(&p.items[id])
	c := &p.cells[ci]
	for k := c.head; k < len(c.items); k++ {
		if c.items[k].id == int32(id) {
			p.take(ci, k-c.head)
			return
		}
	}
	panic("capacity: taking a task that does not wait")
}

// search is one look for the next task of a node.
type search struct {
	n          *node
	cpu, mem   int32   // free
	perC, perM float64 // one unit as a part of the node
	skew       float64 // how much larger the free part of CPU is than that of memory
	steer      float64 // what a unit of skew weighs against a unit of size
	score      float64 // of the best so far
	cell       int     // its cell; -1: none so far
	offset     int
}

// next takes the task that fits node n best: large, and leaving CPU and memory of the node in
// proportion, so that both run out together. It reports -1 if none was found.
func (p *pool) next(n *node) int32 {
	c, m := n.free.CPU, n.free.Memory
	if c < 0 || m < 0 {
		return -1
	}
	s := search{n: n, cpu: int32(c), mem: int32(m), score: math.Inf(-1), cell: -1}
	s.perC, s.perM = 1/float64(max(n.capacity.CPU, 1)), 1/float64(max(n.capacity.Memory, 1))
	a, b := float64(c)*s.perC, float64(m)*s.perM
	s.skew = a - b
	s.steer = p.way.steer + p.way.urgency*math.Abs(s.skew)/(min(a, b)+1e-3)
	rc, cm := p.logCPU.class(float64(c)), p.logMem.class(float64(m))
	if rc < 0 || cm < 0 {
		return -1
	}
	fitColumns := ^uint64(0) >> (side - 1 - cm)
	for left := p.rows & (^uint64(0) >> (side - 1 - rc)); left != 0; {
		r := 63 - bits.LeadingZeros64(left)
		left &^= 1 << r
		columns := p.columns[r] & fitColumns
		if columns == 0 {
			continue
		}
		// The score of a task of this class is highest if it leaves no skew, or if that cannot be,
		// if it needs no memory at all.
		x := min(p.upper[r], float64(c)) * s.perC
		bound := x - s.skew/2
		if x < s.skew {
			bound = x/2 - s.steer*(s.skew-x)
		}
		if bound <= s.score {
			break
		}
		k := 0
		if want := (x - s.skew) / s.perM; want >= 1 {
			k = max(p.logMem.class(want), 0)
		}
		upTo := ^uint64(0) >> (side - 1 - k)
		if below := columns & upTo; below != 0 {
			col := 63 - bits.LeadingZeros64(below)
			p.try(&s, r*side+col, r == rc || col == cm)
			if below &^= 1 << col; below != 0 {
				col := 63 - bits.LeadingZeros64(below)
				p.try(&s, r*side+col, r == rc || col == cm)
			}
		}
		if above := columns &^ upTo; above != 0 {
			col := bits.TrailingZeros64(above)
			p.try(&s, r*side+col, r == rc || col == cm)
		}
	}
	if s.cell < 0 {
		return -1
	}
	return p.take(s.cell, s.offset)
}

// try looks at the first items of a cell. On the edge, where some of the class are too large, it
// looks at more of them.
func (p *pool) try(s *search, cellIndex int, edge bool) {
	c := &p.cells[cellIndex]
	entries := c.items[c.head:]
	tries := 1
	if edge {
		tries = look
	}
	for k := 0; k < len(entries) && k < tries; k++ {
		e := &entries[k]
		if e.cpu > s.cpu || e.memory > s.mem || e.more && !s.n.takes(&p.items[e.id]) {
			tries = look
			continue
		}
		x, y := float64(e.cpu)*s.perC, float64(e.memory)*s.perM
		score := (x+y)/2 - s.steer*math.Abs(s.skew-(x-y))
		if p.interfaces {
			// Interfaces run out too: the next task is to leave them in proportion with the rest.
			n, it := s.n, &p.items[e.id]
			eni := float64(n.free.ENI-it.need.ENI) / float64(max(n.capacity.ENI, 1))
			rest := (float64(s.cpu-e.cpu)*s.perC + float64(s.mem-e.memory)*s.perM) / 2
			score -= p.way.interfaces * math.Abs(eni-rest)
		}
		if score > s.score {
			s.score, s.cell, s.offset = score, cellIndex, k
		}
		if edge {
			return
		}
	}
}
