package autoscaling

import (
	"iter"
	"slices"

	"github.com/slipway-ecs/slipway/internal/local/state"
)

// Groups yields the groups by name, with the instances of their warm pools among the members: for those
// who tell of what changes in them.
func (s *Service) Groups(tx *state.Tx) iter.Seq2[string, *Group] {
	return func(yield func(string, *Group) bool) {
		for name, g := range s.groups.All(tx) {
			if len(g.Pool) > 0 {
				both := *g
				both.Members = slices.Concat(g.Members, g.Pool)
				g = &both
			}
			if !yield(name, g) {
				return
			}
		}
	}
}
