package loop

import (
	"math"
	"slices"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/rollout"
)

// deployedElsewhere reports whether the service's deployments are task sets that a client moves.
func deployedElsewhere(s *state.Service) bool {
	c := s.Spec.DeploymentController
	return c != nil && wire.Value(c.Type) != "" && *c.Type != "ECS"
}

// computedDesired is a task set's share of the desired count, rounded up.
//
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TaskSet.html
func computedDesired(desired int, percent float64) int {
	return int(math.Ceil(float64(desired)*percent/100 - 1e-9))
}

// taskSets keeps every task set at its share of the desired count, each as if it were a service of
// its own. What serves traffic is the client's business.
func (r *reconciliation) taskSets() error {
	r.count()
	if err := r.placeWaiting(); err != nil {
		return err
	}
	r.register()
	r.observe()
	var starts []rollout.Start
	var stops []rollout.Stop
	steady := len(r.deployments) > 0
	for _, d := range slices.Clone(r.deployments) {
		if d.TaskSet == nil || d.Status == "INACTIVE" {
			continue
		}
		desired := computedDesired(r.svc.DesiredCount, d.TaskSet.Scale)
		if d.Status == "DRAINING" {
			desired = 0
			if !slices.ContainsFunc(slices.Concat(r.live, r.leaving), func(t *state.Task) bool { return t.DeploymentID == d.ID && t.LastStatus != "STOPPED" }) {
				r.s.cfg.State.Deployments.Delete(r.tx, r.key+"/"+d.ID)
				continue
			}
		}
		st := rollout.State{Desired: desired, MinimumHealthyPercent: 100, MaximumPercent: 200, Primary: rollout.Deployment{ID: d.ID}, Victim: r.victim}
		if c := r.svc.Spec.DeploymentConfiguration; c != nil && c.MinimumHealthyPercent != nil && c.MaximumPercent != nil {
			st.MinimumHealthyPercent, st.MaximumPercent = int(*c.MinimumHealthyPercent), int(*c.MaximumPercent)
		}
		healthy, total, draining := 0, 0, false
		for _, x := range r.plan {
			if x.Deployment != d.ID {
				continue
			}
			st.Tasks = append(st.Tasks, x)
			total++
			draining = draining || x.Draining
			if x.Running && x.Health == rollout.Healthy {
				healthy++
			}
		}
		plan := rollout.Rolling(st)
		starts, stops = append(starts, plan.Starts...), append(stops, plan.Stops...)
		stability := "STABILIZING"
		if healthy == desired && total == desired && !draining {
			stability = "STEADY_STATE"
		} else {
			steady = false
		}
		r.save(d, func(d *state.Deployment) {
			d.DesiredCount = desired
			if d.TaskSet.Stability != stability {
				set := *d.TaskSet
				set.Stability, set.StableAt = stability, r.now
				d.TaskSet = &set
			}
		})
	}
	if len(starts) > 0 && r.throttled() {
		starts = nil
	}
	short, err := r.start(starts)
	if err != nil {
		return err
	}
	r.hungry = r.hungry || short
	r.stop(stops)
	if steady && len(starts) == 0 && len(stops) == 0 {
		r.s.repeat(r.tx, r.svc, steadyRepeat, "has reached a steady state.")
	}
	return nil
}
