package loop

import (
	"slices"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/rollout"
)

// windDown stops the tasks of a deleted service; the service is INACTIVE when the last is gone.
func (r *reconciliation) windDown() error {
	if r.primary == nil && len(r.deployments) > 0 {
		r.primary = r.deployments[0]
	}
	if r.primary != nil {
		r.count()
	}
	var stops []rollout.Stop
	for _, t := range r.live {
		stops = append(stops, rollout.Stop{Task: rollout.Task{ID: t.ARN}, Why: rollout.ScaledIn})
	}
	r.stop(stops)
	for _, t := range r.leaving {
		if t.LastStatus != "STOPPED" {
			return nil
		}
	}
	if len(stops) > 0 {
		return nil
	}
	for _, d := range slices.Clone(r.deployments) {
		r.save(d, func(d *state.Deployment) { d.Status, d.DesiredCount = "INACTIVE", 0 })
	}
	next := *r.svc
	next.Status, next.StatusAt, next.DesiredCount = "INACTIVE", r.now, 0
	r.s.cfg.State.Services.Put(r.tx, r.key, &next)
	return nil
}

// forget removes an INACTIVE service and all that belongs to it after an hour.
func (r *reconciliation) forget() error {
	if at := r.svc.StatusAt.Add(keepStopped); r.now.Before(at) {
		r.wake = at
		return nil
	}
	ecs := r.s.cfg.State
	ecs.Services.Delete(r.tx, r.key)
	for _, k := range keysOf(ecs.Deployments, r.tx, r.key+"/") {
		ecs.Deployments.Delete(r.tx, k)
	}
	for _, k := range keysOf(ecs.ServiceEvents, r.tx, r.key+"/") {
		ecs.ServiceEvents.Delete(r.tx, k)
	}
	var arns []string
	for arn := range ecs.SvcDeploysByService.Get(r.tx, r.key) {
		arns = append(arns, arn)
	}
	for _, arn := range arns {
		ecs.ServiceDeployments.Delete(r.tx, arn)
	}
	arns = arns[:0]
	for arn := range ecs.RevisionsByService.Get(r.tx, r.key) {
		arns = append(arns, arn)
	}
	for _, arn := range arns {
		ecs.ServiceRevisions.Delete(r.tx, arn)
	}
	return nil
}

func keysOf[T any](tab *state.Table[T], tx *state.Tx, prefix string) []string {
	var keys []string
	for k := range tab.Prefix(tx, prefix) {
		keys = append(keys, k)
	}
	return keys
}
