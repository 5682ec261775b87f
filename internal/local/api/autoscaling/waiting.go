package autoscaling

import (
	"iter"

	"github.com/slipway-ecs/slipway/internal/local/state"
)

// Groups yields the groups by name: for those who tell of what changes in them.
func (s *Service) Groups(tx *state.Tx) iter.Seq2[string, *Group] { return s.groups.All(tx) }
