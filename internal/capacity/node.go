package capacity

// node is an instance in the making, or one that exists and has room.
type node struct {
	offer    int // -1: it exists
	existing int
	host     Host
	capacity Resources // less overhead
	free     Resources
	items    []int32 // of the pool, one entry a task
	ports    map[Port]bool
	services map[string]int
}

// takes reports whether one task of the item may be placed on the node as it is filled now.
func (n *node) takes(it *item) bool {
	if !n.free.Covers(it.need) {
		return false
	}
	if it.zone != "" && it.zone != n.host.Zone {
		return false
	}
	if it.task == nil {
		return true
	}
	if it.limit > 0 && n.services[it.task.Service] >= it.limit {
		return false
	}
	for _, p := range it.task.Ports {
		if n.ports[p.normal()] {
			return false
		}
	}
	return it.task.admitted(n.host)
}

// add books one task of the item.
func (n *node) add(id int32, it *item) {
	n.items = append(n.items, id)
	n.free = n.free.Minus(it.need)
	if it.task == nil {
		return
	}
	for _, p := range it.task.Ports {
		if n.ports == nil {
			n.ports = map[Port]bool{}
		}
		n.ports[p.normal()] = true
	}
	if it.limit > 0 {
		if n.services == nil {
			n.services = map[string]int{}
		}
		n.services[it.task.Service]++
	}
}

// fill takes tasks from the pool until none that is found fits.
func (n *node) fill(p *pool) {
	for {
		id := p.next(n)
		if id < 0 {
			return
		}
		n.add(id, &p.items[id])
	}
}

// empty makes the node a fresh instance of the offer in the zone.
func (n *node) empty(offer int, host Host, capacity Resources) {
	*n = node{offer: offer, existing: -1, host: host, capacity: capacity, free: capacity, items: n.items[:0]}
}

// drop undoes an add of the item, but for the list of items.
func (n *node) drop(it *item) {
	n.free = n.free.Plus(it.need)
	if it.task == nil {
		return
	}
	for _, p := range it.task.Ports {
		delete(n.ports, p.normal())
	}
	if it.limit > 0 {
		n.services[it.task.Service]--
	}
}
