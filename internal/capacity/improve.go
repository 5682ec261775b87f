package capacity

// improve makes the plan cheaper by local changes.
func (w *planner) improve() {
	for i := range w.nodes {
		w.downsize(&w.nodes[i])
	}
}

// downsize changes a new node to the cheapest offer that holds what it holds.
func (w *planner) downsize(n *node) {
	if n.offer < 0 {
		return
	}
	used := n.capacity.Minus(n.free)
	for _, i := range w.useful {
		if w.price[i] >= w.price[n.offer] {
			return
		}
		if w.capacity[i].Covers(used) && w.suits(i, n) {
			n.offer, n.capacity = i, w.capacity[i]
			n.free = n.capacity.Minus(used)
			n.host = w.hostOf(i, n.host.Zone)
			return
		}
	}
}

// suits reports whether everything on the node may run on an instance of the offer in its zone.
func (w *planner) suits(offer int, n *node) bool {
	in := false
	for _, z := range w.zones[offer] {
		in = in || z == n.host.Zone
	}
	if !in {
		return false
	}
	h := w.hostOf(offer, n.host.Zone)
	for _, id := range n.items {
		if it := &w.pool.items[id]; it.task != nil && !it.task.admitted(h) {
			return false
		}
	}
	return true
}
