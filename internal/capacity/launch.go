package capacity

import (
	"cmp"
	"math"
	"slices"
)

// launchAll opens nodes until no task waits.
//
// Each node begins with the most valuable task that waits and is filled with what keeps its CPU
// and memory in proportion. The types come from the fractional optimum of what is still waiting,
// in its proportions; towards the end, where whole instances matter, every type is tried and the
// one that gives the most value for its price is taken.
func (w *planner) launchAll() {
	tail := 0.0 // demand of less cost than this is worth trying every type
	for _, i := range w.useful {
		tail = max(tail, min(w.price[i], 64*w.price[w.useful[0]]))
	}
	vectors, prices := make([]vector, len(w.useful)), make([]float64, len(w.useful))
	for k, i := range w.useful {
		// A small price on every node: of types equally cheap by the unit the larger one is better.
		vectors[k], prices[k] = w.vectors[i], w.price[i]+perNode*w.price[w.useful[0]]
	}
	for {
		if w.pool.largest() < 0 {
			return
		}
		b := solveBound(vectors, prices, w.pool.demand.vector())
		if b.Cost < 3*tail {
			break
		}
		// Open a part of the optimum's nodes, then look again at what is left.
		var quota []float64
		total := 0.0
		for _, x := range b.Count {
			quota = append(quota, x)
			total += x
		}
		for range max(1, int(total/24)) {
			if !w.openPlanned(quota, b.Prices) {
				break
			}
		}
	}
	for w.pool.largest() >= 0 && w.openBest(w.dual) {
	}
}

// perNode is what a node is taken to cost beside its price, in prices of the cheapest type.
const perNode = 0.02

// openPlanned opens a node of the type with the largest part of its quota left.
func (w *planner) openPlanned(quota []float64, prices vector) bool {
	seed := w.pool.largest()
	if seed < 0 {
		return false
	}
	best, least, committed := -1, math.Inf(1), false
	for {
		k := w.mostLeft(quota, seed)
		if k < 0 {
			break
		}
		offer := w.useful[k]
		quota[k] = -quota[k] // tried
		mark := len(w.pool.journal)
		n := w.trial(offer, seed)
		lost := 1 - n.capacity.Minus(n.free).vector().dot(prices)/w.price[offer]
		if lost < good {
			w.commit()
			best, committed = k, true
			break
		}
		w.pool.undo(mark)
		if lost < least {
			best, least = k, lost
		}
	}
	for k := range quota {
		quota[k] = math.Abs(quota[k])
	}
	if committed || least < poor {
		quota[best] = max(quota[best]-1, 1e-3)
		if !committed {
			w.open(w.useful[best], seed)
		}
		return true
	}
	if !w.openAsBefore(seed, prices) {
		w.openBest(prices)
	}
	return true
}

// openAsBefore opens a node of the offer that was best when all were tried last, if it is as good
// for this seed: where constraints keep nodes from being filled, every node would be a long search.
func (w *planner) openAsBefore(seed int, prices vector) bool {
	if w.last.loss <= poor || w.again == 0 || !w.canSeed(w.last.offer, seed) {
		return false
	}
	mark := len(w.pool.journal)
	n := w.trial(w.last.offer, seed)
	if 1-n.capacity.Minus(n.free).vector().dot(prices)/w.price[w.last.offer] > w.last.loss {
		w.pool.undo(mark)
		return false
	}
	w.again--
	w.commit()
	return true
}

// Losses, as parts of the price: below good a node is taken at once, above poor every type is tried.
const good, poor = 0.004, 0.008

// mostLeft is the type with the largest quota not yet tried that can hold the seed.
func (w *planner) mostLeft(quota []float64, seed int) int {
	best := -1
	for k, q := range quota {
		if q > 0 && (best < 0 || q > quota[best]) && w.canSeed(w.useful[k], seed) {
			best = k
		}
	}
	return best
}

// loss is the part of the price that is lost when a node of the offer is filled around the seed.
func (w *planner) loss(offer, seed int, prices vector) float64 {
	mark := len(w.pool.journal)
	n := w.trial(offer, seed)
	gain := n.capacity.Minus(n.free).vector().dot(prices)
	w.pool.undo(mark)
	return 1 - gain/w.price[offer]
}

// choices is the offers worth looking at for an item: all of them if its constraints could tell
// offers apart that resources do not.
func (w *planner) choices(seed int) []int {
	if it := &w.pool.items[seed]; w.everywhere && (it.task == nil || it.task.Admits == nil) {
		return w.useful
	}
	return w.byPrice()
}

func (w *planner) canSeed(offer, seed int) bool {
	it := &w.pool.items[seed]
	return w.capacity[offer].Covers(it.need) && w.zoneFor(offer, it.task, it.zone) != nil
}

// setAside takes an item no offer holds out of the pool; report finds it in w.aside.
func (w *planner) setAside(seed int) {
	it := &w.pool.items[seed]
	for n := it.left; n > 0; n-- {
		w.pool.takeItem(seed)
		w.aside = append(w.aside, int32(seed))
	}
}

// trial fills the spare node with the seed and what suits it.
func (w *planner) trial(offer, seed int) *node {
	n := &w.spare
	it := &w.pool.items[seed]
	n.empty(offer, w.hostOf(offer, *w.zoneFor(offer, it.task, it.zone)), w.capacity[offer])
	w.pool.takeItem(seed)
	n.add(int32(seed), it)
	n.fill(w.pool)
	return n
}

func (w *planner) open(offer, seed int) {
	w.trial(offer, seed)
	w.commit()
}

// commit makes the trial a node of the plan.
func (w *planner) commit() {
	n := w.spare
	n.items = slices.Clone(n.items)
	w.nodes = append(w.nodes, n)
	w.load[n.host.Zone]++
	w.pool.journal = w.pool.journal[:0]
}

// floor is the least that could be lost on an offer: filled to the last, or holding all that waits.
type floor struct {
	offer int
	loss  float64
}

// openBest opens the node that gives the most value for its price, of all types.
func (w *planner) openBest(prices vector) bool {
	seed := w.pool.largest()
	waiting := w.pool.demand.vector().dot(prices)
	w.floors = w.floors[:0]
	for _, i := range w.choices(seed) {
		if w.canSeed(i, seed) {
			w.floors = append(w.floors, floor{i, 1 - min(w.vectors[i].dot(prices), waiting)/w.price[i]})
		}
	}
	slices.SortStableFunc(w.floors, func(a, b floor) int { return cmp.Compare(a.loss, b.loss) })
	best, least := -1, math.Inf(1)
	for _, f := range w.floors {
		if f.loss >= least {
			break
		}
		if lost := w.loss(f.offer, seed, prices); lost < least {
			best, least = f.offer, lost
		}
	}
	if best < 0 {
		w.setAside(seed)
		return true
	}
	w.last, w.again = floor{best, least}, 8
	w.open(best, seed)
	return true
}
