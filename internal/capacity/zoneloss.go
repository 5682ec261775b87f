package capacity

import (
	"cmp"
	"slices"
)

// planForZoneLoss plans with as much room to spare in each zone as it takes for the tasks of any
// other one to find places. The zones hold equally much; the first guess of the room is an equal
// share of a zone, and then more until it is proved.
func planForZoneLoss(req *Request) Result {
	var result Result
	share := 100 / float64(len(req.Zones)-1)
	for try := range 12 {
		r := *req
		r.Headroom.ZoneLoss, r.pinned = false, true
		r.Headroom.Percent = max(req.Headroom.Percent, share*(1+0.05*float64(try*try)))
		result = Plan(&r)
		if result.Survives = survived(&r, &result); len(result.Survives) == len(req.Zones) {
			break
		}
	}
	return result
}

// survived is the zones that may be lost: each of the plan's tasks in the zone has a place
// elsewhere, in the room the plan leaves, all of them at once.
func survived(req *Request, res *Result) []string {
	w := &planner{req: req}
	w.readOffers()
	limits := limitsOf(req.Tasks, nil)
	asItem := func(id int) item {
		t := &req.Tasks[id]
		it := item{need: t.Resources, left: 1}
		if limit := limits[t.Service]; !t.plain() || limit > 0 {
			it.task, it.limit = t, limit
		}
		return it
	}
	var zones []string
	for _, zone := range req.Zones {
		var hosts []*node
		var lost []item
		var total Resources
		add := func(n *node, tasks []Placed) {
			for _, p := range tasks {
				it := asItem(p.Task)
				for range p.Count {
					total = total.Plus(it.need)
					if n.host.Zone == zone {
						lost = append(lost, it)
					} else {
						n.add(0, &it)
					}
				}
			}
			if n.host.Zone != zone {
				n.items = nil
				hosts = append(hosts, n)
			}
		}
		for i := range res.Launch {
			l := &res.Launch[i]
			add(&node{host: w.hostOf(l.Offer, l.Zone), capacity: l.Capacity, free: l.Capacity}, l.Tasks)
		}
		fills := map[int][]Placed{}
		for _, f := range res.Fill {
			fills[f.Instance] = f.Tasks
		}
		for i := range req.Existing {
			add(w.existing(i), fills[i])
		}
		prices := solveBound(w.vectors, w.price, total.vector()).Prices
		rooms := newRooms(hosts, prices)
		slices.SortStableFunc(lost, func(a, b item) int {
			return cmp.Compare(b.need.vector().dot(prices), a.need.vector().dot(prices))
		})
		if !slices.ContainsFunc(lost, func(it item) bool {
			to := rooms.find(&it)
			if to >= 0 {
				hosts[to].add(0, &it)
				rooms.moved(to)
			}
			return to < 0
		}) {
			zones = append(zones, zone)
		}
	}
	return zones
}
