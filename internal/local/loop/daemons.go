package loop

import (
	"fmt"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/placement"
	"github.com/slipway-ecs/slipway/internal/rollout"
)

// daemons plans one task an instance.
func (r *reconciliation) daemons() error {
	var hosts []rollout.Host
	td, ok := r.s.cfg.State.TaskDefinitions.Get(r.tx, definitionKey(r.primary.TaskDefinition))
	if !ok {
		return fmt.Errorf("task definition %s is not there", r.primary.TaskDefinition)
	}
	// Room is no criterion: a daemon has its place on every instance it may run on.
	req := requestFor(&state.Task{}, td, r.svc.Spec.PlacementConstraints, nil, nil)
	req.Resources, req.Ports = placement.Resources{}, nil
	desired := 0
	for _, i := range r.s.fleet.clusters[r.svc.ClusterName] {
		h := rollout.Host{ID: i.ID}
		chosen, _, err := placement.Place(req, []*placement.Instance{i})
		if err != nil {
			return err
		}
		h.Eligible = chosen != nil
		if h.Eligible {
			desired++
		} else {
			h.Empty = r.onlyDaemons(i.ID)
		}
		hosts = append(hosts, h)
	}
	if r.svc.DesiredCount != desired {
		next := *r.svc
		next.DesiredCount = desired
		r.s.cfg.State.Services.Put(r.tx, r.key, &next)
		r.svc = &next
	}
	plan := rollout.Daemons(r.stateOf(), hosts)
	if len(plan.Starts) > 0 && r.throttled() {
		plan.Starts = nil
	}
	short, err := r.start(plan.Starts)
	if err != nil {
		return err
	}
	r.hungry = r.hungry || short
	r.stop(plan.Stops)
	r.conclude(plan)
	return nil
}

// onlyDaemons reports whether nothing but tasks of daemon services is left on an instance.
func (r *reconciliation) onlyDaemons(instance string) bool {
	for _, t := range r.s.cfg.State.TasksByInstance.Get(r.tx, instance) {
		if t.DaemonARN != "" {
			continue
		}
		svc, ok := r.s.cfg.State.Services.Get(r.tx, t.ServiceKey)
		if !ok || !isDaemon(svc) {
			return false
		}
	}
	return true
}
