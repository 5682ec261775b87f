package autoscale

import (
	"fmt"
	"maps"
	"slices"

	"github.com/slipway-ecs/slipway/internal/capacity"
)

// zoneCounts follows how many instances each group has in each zone as moves are made. Where Auto Scaling evens
// out zones itself, a victim comes from where there are most: else it would end others, with tasks on them.
//
// Source: https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-benefits.html#AutoScalingBehavior.InstanceUsage
type zoneCounts struct {
	evens map[string]bool           // by group
	count map[string]map[string]int // by group and zone
}

func newZoneCounts(s *State) *zoneCounts {
	z := &zoneCounts{map[string]bool{}, map[string]map[string]int{}}
	for k := range s.Groups {
		g := &s.Groups[k]
		z.evens[g.Name], z.count[g.Name] = g.Evens, map[string]int{}
		for _, name := range g.Zones {
			z.count[g.Name][name] = 0
		}
	}
	for k := range s.Hosts {
		if h := &s.Hosts[k]; h.InService && !h.Leaving && z.count[h.Group] != nil {
			z.count[h.Group][h.AZ]++
		}
	}
	return z
}

// keep says why a host must not go before others of its group; empty if it may.
func (z *zoneCounts) keep(h *Host) string {
	if !z.evens[h.Group] {
		return ""
	}
	count := z.count[h.Group]
	most := h.AZ
	for _, name := range slices.Sorted(maps.Keys(count)) {
		if count[name] > count[most] {
			most = name
		}
	}
	if most == h.AZ {
		return ""
	}
	return fmt.Sprintf("group %s has more instances in zone %s than in %s, and would even that out", h.Group, most, h.AZ)
}

// without takes the victims of a move away, or says why not.
func (z *zoneCounts) without(s *State, m capacity.Move) string {
	for n, v := range m.Victims {
		h := &s.Hosts[v]
		if no := z.keep(h); no != "" {
			for _, back := range m.Victims[:n] {
				z.count[s.Hosts[back].Group][s.Hosts[back].AZ]++
			}
			return "stays for now: " + no
		}
		if z.count[h.Group] != nil {
			z.count[h.Group][h.AZ]--
		}
	}
	return ""
}
