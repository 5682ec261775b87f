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
	items   []item // by value, most first
	rows    uint64 // CPU classes with items
	columns [side]uint64
	cells   [side * side]cell
	logCPU  scale
	logMem  scale
	upper   [side]float64 // the CPU below which each class's items are
	scarce  bool          // task network interfaces have a price
	waiting int           // items with tasks left
	demand  Resources     // of all that wait
	first   int           // items before it have no tasks left
	journal []taken
}

// cell is the items of one class, by value, most first. Those before head are gone.
type cell struct {
	items []int32
	head  int
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

// newPool orders the items by value and puts them in cells. The items are the pool's own from here.
func newPool(items []item) *pool {
	slices.SortStableFunc(items, func(a, b item) int { return cmp.Compare(b.value, a.value) })
	p := &pool{items: items}
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
	all := make([]int32, len(items))
	for c, n := range size {
		p.cells[c].items, all = all[:0:n], all[n:]
	}
	for i := range items {
		c := &p.cells[at[i]]
		c.items = append(c.items, int32(i))
		p.demand = p.demand.Plus(items[i].need.Times(items[i].left))
		p.mark(int(at[i]))
	}
	p.waiting = len(items)
	return p
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
	id := c.items[c.head+offset]
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
		copy(c.items[c.head:c.head+int(t.offset)], c.items[c.head+1:c.head+int(t.offset)+1])
		c.items[c.head+int(t.offset)] = t.item
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
		if c.items[k] == int32(id) {
			p.take(ci, k-c.head)
			return
		}
	}
	panic("capacity: taking a task that does not wait")
}

// steer weighs the balance of what is left of CPU and memory against the size of the next task.
const steer = 0.8

// next takes the task that fits node n best: large, and leaving CPU and memory of the node in
// proportion, so that both run out together. It reports -1 if none was found.
func (p *pool) next(n *node) int32 {
	c, m := n.free.CPU, n.free.Memory
	if c < 0 || m < 0 {
		return -1
	}
	perC, perM := 1/float64(max(n.capacity.CPU, 1)), 1/float64(max(n.capacity.Memory, 1))
	a, b := float64(c)*perC, float64(m)*perM
	skew := a - b
	rc, cm := p.logCPU.class(float64(c)), p.logMem.class(float64(m))
	if rc < 0 || cm < 0 {
		return -1
	}
	fitColumns := ^uint64(0) >> (side - 1 - cm)
	best, bestCell, bestOffset := math.Inf(-1), -1, 0
	for rowsLeft := p.rows & (^uint64(0) >> (side - 1 - rc)); rowsLeft != 0; {
		r := 63 - bits.LeadingZeros64(rowsLeft)
		rowsLeft &^= 1 << r
		columns := p.columns[r] & fitColumns
		if columns == 0 {
			continue
		}
		// No task of this class scores above the one that leaves no skew at all.
		x := min(p.upper[r], float64(c)) * perC
		if x-skew/2 <= best && !p.scarce {
			break
		}
		want := (x - skew) / perM
		k := 0
		if want >= 1 {
			k = max(p.logMem.class(want), 0)
		}
		below := columns & (^uint64(0) >> (side - 1 - k))
		above := columns &^ (^uint64(0) >> (side - 1 - k))
		for range 2 {
			if below != 0 {
				col := 63 - bits.LeadingZeros64(below)
				below &^= 1 << col
				p.try(n, r*side+col, r == rc || col == cm, perC, perM, skew, &best, &bestCell, &bestOffset)
			}
			if above != 0 {
				col := bits.TrailingZeros64(above)
				above &^= 1 << col
				p.try(n, r*side+col, r == rc || col == cm, perC, perM, skew, &best, &bestCell, &bestOffset)
			}
		}
	}
	if bestCell < 0 {
		return -1
	}
	return p.take(bestCell, bestOffset)
}

// try looks at the first items of a cell.
func (p *pool) try(n *node, cellIndex int, edge bool, perC, perM, skew float64, best *float64, bestCell, bestOffset *int) {
	c := &p.cells[cellIndex]
	tries := 2
	if edge {
		tries = look
	}
	for k := 0; k < len(c.items)-c.head && k < tries; k++ {
		it := &p.items[c.items[c.head+k]]
		if !n.takes(it) {
			tries = look
			continue
		}
		x, y := float64(it.need.CPU)*perC, float64(it.need.Memory)*perM
		score := (x+y)/2 - steer*math.Abs(skew-(x-y))
		if p.scarce {
			// Interfaces run out too: the next task is to leave them in proportion with the rest.
			e := float64(n.free.ENI-it.need.ENI) / float64(max(n.capacity.ENI, 1))
			left := (float64(n.free.CPU-it.need.CPU)*perC + float64(n.free.Memory-it.need.Memory)*perM) / 2
			score -= math.Abs(e - left)
		}
		if score > *best {
			*best, *bestCell, *bestOffset = score, cellIndex, k
		}
		if edge {
			return
		}
	}
}
