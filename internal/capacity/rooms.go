package capacity

import (
	"math"
	"math/bits"
)

// rooms finds the host whose room a task fits best, among many: hosts lie in cells by the size of
// their free CPU and memory.
type rooms struct {
	hosts   []*node
	where   []spot // of each host
	rows    uint64
	columns [side]uint64
	cells   [side * side][]int32
	cpu     scale
	mem     scale
	lower   [side]float64 // the least CPU of each class
	prices  vector
}

// spot is a host's place: cell -1 is nowhere.
type spot struct{ cell, at int32 }

func newRooms(hosts []*node, prices vector) *rooms {
	most := Resources{1, 1, 0, 0}
	for _, h := range hosts {
		most.CPU, most.Memory = max(most.CPU, h.capacity.CPU), max(most.Memory, h.capacity.Memory)
	}
	r := &rooms{hosts: hosts, where: make([]spot, len(hosts)), cpu: newScale(16, most.CPU), mem: newScale(16, most.Memory), prices: prices}
	for i := range r.lower {
		if i > 0 && r.cpu.factor > 0 {
			r.lower[i] = math.Exp2(r.cpu.low + float64(i)/r.cpu.factor)
		}
	}
	for i := range hosts {
		r.where[i].cell = -1
		r.insert(i)
	}
	return r
}

// insert offers the host's room, whatever it is now.
func (r *rooms) insert(i int) {
	free := r.hosts[i].free
	c := max(r.cpu.class(float64(free.CPU)), 0)*side + max(r.mem.class(float64(free.Memory)), 0)
	r.where[i] = spot{int32(c), int32(len(r.cells[c]))}
	r.cells[c] = append(r.cells[c], int32(i))
	r.columns[c/side] |= 1 << (c % side)
	r.rows |= 1 << (c / side)
}

// remove takes the host's room from the offer.
func (r *rooms) remove(i int) {
	s := r.where[i]
	if s.cell < 0 {
		return
	}
	cell := r.cells[s.cell]
	last := cell[len(cell)-1]
	cell[s.at] = last
	r.where[last].at = s.at
	r.cells[s.cell] = cell[:len(cell)-1]
	r.where[i].cell = -1
	if len(cell) == 1 {
		row := s.cell / side
		r.columns[row] &^= 1 << (s.cell % side)
		if r.columns[row] == 0 {
			r.rows &^= 1 << row
		}
	}
}

// moved keeps the offer right after the host's room changed.
func (r *rooms) moved(i int) {
	free := r.hosts[i].free
	c := max(r.cpu.class(float64(free.CPU)), 0)*side + max(r.mem.class(float64(free.Memory)), 0)
	if r.where[i].cell >= 0 && int32(c) != r.where[i].cell {
		r.remove(i)
		r.insert(i)
	}
}

// find is the host that takes the item and has the least valuable room left; -1: none. Where many
// hosts of a class refuse for other reasons than size, all of them are asked.
func (r *rooms) find(it *item) int {
	best, least := -1, math.Inf(1)
	rc, cm := max(r.cpu.class(float64(it.need.CPU)), 0), max(r.mem.class(float64(it.need.Memory)), 0)
	for left := r.rows &^ (1<<rc - 1); left != 0; left &= left - 1 {
		row := bits.TrailingZeros64(left)
		if r.lower[row]*r.prices[0] >= least {
			break
		}
		for columns := r.columns[row] &^ (1<<cm - 1); columns != 0; columns &= columns - 1 {
			before := best
			r.look(row*side+bits.TrailingZeros64(columns), it, &best, &least)
			if best != before {
				break
			}
		}
	}
	return best
}

// look asks the hosts of a cell; the first few that take the item are compared.
func (r *rooms) look(cell int, it *item, best *int, least *float64) {
	found := 0
	for _, i := range r.cells[cell] {
		h := r.hosts[i]
		if !h.takes(it) {
			continue
		}
		if v := h.free.vector().dot(r.prices); v < *least {
			*best, *least = int(i), v
		}
		if found++; found == 4 {
			return
		}
	}
}
