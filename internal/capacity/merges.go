package capacity

import (
	"cmp"
	"slices"
)

// mergeMost is the largest number of instances that go for one.
const mergeMost = 8

// merges looks for several instances of a zone that one new one can replace: neighbours in the
// order of load, the emptiest first.
func (w *merger) merges() {
	zones := map[string][]int{}
	var names []string
	for v := range w.c.Instances {
		if w.mayGo(v) {
			z := w.c.Instances[v].Zone
			if _, ok := zones[z]; !ok {
				names = append(names, z)
			}
			zones[z] = append(zones[z], v)
		}
	}
	for _, z := range names {
		list := zones[z]
		load := make(map[int]float64, len(list))
		for _, v := range list {
			load[v] = w.used[v].vector().dot(w.rooms.prices)
		}
		slices.SortStableFunc(list, func(a, b int) int { return cmp.Compare(load[a], load[b]) })
		for i := 0; i+1 < len(list); {
			i += max(1, w.mergeAt(list[i:]))
		}
	}
}

// mergeAt tries the first instances of the list, and returns how many went.
func (w *merger) mergeAt(list []int) int {
	best, bestWorth := 0, 0.0
	var need Resources
	sum, tasks := 0.0, 0
	for k, v := range list[:min(mergeMost, len(list))] {
		need = need.Plus(w.used[v])
		sum += w.c.Instances[v].Price
		tasks += len(w.items[v])
		if k == 0 {
			continue
		}
		for _, i := range w.p.useful {
			if w.p.price[i] >= sum {
				break
			}
			if w.p.capacity[i].Covers(need) {
				if worth := (sum - w.p.price[i]) / float64(1+tasks); worth > bestWorth {
					best, bestWorth = k+1, worth
				}
				break
			}
		}
	}
	for n := best; n >= 2; n-- {
		if !w.affordable(list[:n]) {
			continue
		}
		m := Move{Kind: Merge, Victims: slices.Clone(list[:n])}
		for _, v := range m.Victims {
			m.Saving += w.c.Instances[v].Price
		}
		if w.do(&m, true, false) {
			w.moves = append(w.moves, m)
			return n
		}
	}
	return 0
}
