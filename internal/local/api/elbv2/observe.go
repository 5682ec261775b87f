package elbv2

import "github.com/slipway-ecs/slipway/internal/local/state"

// Groups are the target groups, each with the load balancers that use it.
func (s *Service) Groups(tx *state.Tx) map[string][]string {
	out := map[string][]string{}
	for arn := range s.groups.All(tx) {
		out[arn] = s.balancersOf(tx, arn)
	}
	return out
}
