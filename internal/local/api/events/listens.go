package events

import "github.com/slipway-ecs/slipway/internal/local/state"

// Listens reports whether a rule of the default bus looks at events: if none does, there is no need to
// make any.
func (s *Service) Listens() (yes bool) {
	_ = s.c.DB.View(func(tx *state.Tx) error {
		for _, r := range s.rules.Prefix(tx, defaultBus+"/") {
			if enabled(r) && r.API.EventPattern != nil {
				yes = true
				break
			}
		}
		return nil
	})
	return yes
}
