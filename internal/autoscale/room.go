package autoscale

import (
	"cmp"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/placement"
)

// manyPairs is how many pairs of a wanted task and a host are tried one by one, as ECS would choose; with more
// only whether there is room is asked, which does not look at each host.
const manyPairs = 100_000

// rooms finds the first host with room for a task in time that grows with the logarithm of their number: a tree
// over the hosts whose nodes know the most of each resource that is free below.
type rooms struct {
	hosts []*placement.Instance
	at    map[*placement.Instance]int
	leafs int // a power of two
	free  []placement.Resources
	full  []placement.Resources // what no host had room for: as room only shrinks, what needs as much has none
}

func newRooms(hosts []*placement.Instance) *rooms {
	r := &rooms{hosts: near(hosts), at: make(map[*placement.Instance]int, len(hosts)), leafs: 1}
	hosts = r.hosts
	for r.leafs < len(hosts) {
		r.leafs *= 2
	}
	r.free = make([]placement.Resources, 2*r.leafs)
	for k := range r.free {
		r.free[k] = placement.Resources{CPU: -1, Memory: -1, GPU: -1, ENI: -1}
	}
	for k, h := range hosts {
		r.at[h] = k
		if h.Status == "ACTIVE" && h.AgentConnected {
			r.free[r.leafs+k] = h.Remaining()
		}
	}
	for n := r.leafs - 1; n > 0; n-- {
		r.join(n)
	}
	return r
}

// near orders the hosts so that neighbours have about as much room, the fullest first: by CPU in about as many
// strips as each has hosts, by memory within a strip. Of unlike neighbours the tree would know the CPU of one and
// the memory of another, and be asked in vain.
func near(hosts []*placement.Instance) []*placement.Instance {
	type sized struct {
		h    *placement.Instance
		free placement.Resources
	}
	of := make([]sized, len(hosts))
	for k, h := range hosts {
		of[k] = sized{h, h.Remaining()}
	}
	slices.SortStableFunc(of, func(a, b sized) int { return cmp.Compare(a.free.CPU, b.free.CPU) })
	strip := 1
	for strip*strip < len(of) {
		strip++
	}
	out := make([]*placement.Instance, 0, len(of))
	for part := range slices.Chunk(of, strip) {
		slices.SortStableFunc(part, func(a, b sized) int { return cmp.Compare(a.free.Memory, b.free.Memory) })
		for _, x := range part {
			out = append(out, x.h)
		}
	}
	return out
}

func (r *rooms) join(n int) {
	a, b := r.free[2*n], r.free[2*n+1]
	r.free[n] = placement.Resources{CPU: max(a.CPU, b.CPU), Memory: max(a.Memory, b.Memory), GPU: max(a.GPU, b.GPU), ENI: max(a.ENI, b.ENI)}
}

// changed makes the tree right after tasks were put on a host.
func (r *rooms) changed(h *placement.Instance) {
	n := r.leafs + r.at[h]
	r.free[n] = h.Remaining()
	for n /= 2; n > 0; n /= 2 {
		r.join(n)
	}
}

// plain reports whether only resources and attributes decide where the task fits.
func plain(q *placement.Request) bool {
	return len(q.Ports) == 0 && len(q.Constraints) == 0 && len(q.Zones) == 0
}

// place puts up to n of the tasks where there is room, and says how many.
func (r *rooms) place(q *placement.Request, n int) (placed int) {
	for k := range r.full {
		if covers(q.Resources, r.full[k]) {
			return 0
		}
	}
	for from := 0; placed < n; {
		k := r.find(1, 0, r.leafs, from, q)
		if k < 0 {
			if from == 0 {
				r.full = slices.DeleteFunc(r.full, func(f placement.Resources) bool { return covers(f, q.Resources) })
				r.full = append(r.full, q.Resources)
			}
			return placed
		}
		if h := r.hosts[k]; admits(h, q.Attributes) {
			for placed < n && covers(h.Remaining(), q.Resources) {
				h.Take(q)
				placed++
			}
			r.changed(h)
		}
		from = k + 1
	}
	return placed
}

// find is the first host from an index on with room, or -1; the node n stands for those from low to high.
func (r *rooms) find(n, low, high, from int, q *placement.Request) int {
	if high <= from || !covers(r.free[n], q.Resources) {
		return -1
	}
	if n >= r.leafs {
		return low
	}
	middle := (low + high) / 2
	if k := r.find(2*n, low, middle, from, q); k >= 0 {
		return k
	}
	return r.find(2*n+1, middle, high, from, q)
}

func covers(free, need placement.Resources) bool {
	return free.CPU >= need.CPU && free.Memory >= need.Memory && free.GPU >= need.GPU && free.ENI >= need.ENI
}

func admits(h *placement.Instance, attributes []string) bool {
	for _, a := range attributes {
		name, value, has := strings.Cut(a, "=")
		if v, ok := h.Attribute(name); !ok || has && v != value {
			return false
		}
	}
	return true
}

// merged joins wants of the same tasks: a thousand tasks of a service are tried as one.
func merged(wanted []Wanted) []Wanted {
	type key struct {
		name  string
		needs placement.Resources
	}
	at := make(map[key]int, len(wanted))
	out := make([]Wanted, 0, len(wanted))
	for _, w := range wanted {
		k := key{w.Name, w.Need.Resources}
		if n, ok := at[k]; ok && sameNeed(&out[n].Need, &w.Need) {
			out[n].Count += w.Count
			continue
		}
		at[k] = len(out)
		out = append(out, w)
	}
	return out
}

func sameNeed(a, b *placement.Request) bool {
	return a.Group == b.Group && slices.Equal(a.Ports, b.Ports) && slices.Equal(a.Attributes, b.Attributes) && slices.Equal(a.Zones, b.Zones) && slices.Equal(a.Constraints, b.Constraints)
}
