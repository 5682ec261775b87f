package loop

import (
	"fmt"
	"slices"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/rollout"
)

// complete ends the primary deployment well: it has what it wants, and the older ones have nothing.
func (r *reconciliation) complete() {
	d := r.primary
	r.save(d, func(d *state.Deployment) {
		d.RolloutState, d.RolloutReason = "COMPLETED", "ECS deployment "+d.ID+" completed."
		d.CompletedAt = r.now
	})
	for _, old := range slices.Clone(r.deployments) {
		if old.ID != d.ID && old.Status != "INACTIVE" {
			r.save(old, func(d *state.Deployment) { d.Status, d.DesiredCount = "INACTIVE", 0 })
		}
	}
	r.saveRun(d, func(sd *state.ServiceDeployment) {
		switch sd.Status {
		case "PENDING", "IN_PROGRESS":
			sd.Status = "SUCCESSFUL"
			if sd.CircuitBreakerStatus == "MONITORING" {
				sd.CircuitBreakerStatus = "MONITORING_COMPLETE"
			}
		case "ROLLBACK_IN_PROGRESS":
			sd.Status = "ROLLBACK_SUCCESSFUL"
		default:
			return
		}
		sd.FinishedAt = r.now
	})
	r.save(r.primary, func(d *state.Deployment) { d.IsRollback = false })
	r.s.event(r.tx, r.svc, "(deployment %s) deployment completed.", d.ID)
}

// judgeDeployment trips the circuit breaker and obeys StopServiceDeployment.
func (r *reconciliation) judgeDeployment() error {
	d := r.primary
	sd, ok := r.s.cfg.State.ServiceDeployments.Get(r.tx, d.ServiceDeployment)
	if ok {
		switch sd.Status {
		case "ROLLBACK_REQUESTED":
			return r.rollBack("Service deployment rolled back because of a request to stop it.", "ECS deployment "+d.ID+" was stopped by a request.", "")
		case "STOP_REQUESTED":
			r.fail("ECS deployment "+d.ID+" was stopped by a request.", "")
			r.saveRun(r.primary, func(sd *state.ServiceDeployment) {
				sd.Status, sd.StoppedAt, sd.FinishedAt, sd.StatusReason = "STOPPED", r.now, r.now, "Service deployment stopped by a request."
			})
			return nil
		}
	}
	if d.RolloutState != "IN_PROGRESS" {
		return nil
	}
	if ok {
		r.saveRun(d, func(sd *state.ServiceDeployment) { sd.FailureCount = d.FailedTasks })
	}
	if done, err := r.heedAlarms(); done || err != nil {
		return err
	}
	var breaker rollout.Breaker
	if c := r.svc.Spec.DeploymentConfiguration; c != nil && c.DeploymentCircuitBreaker != nil {
		breaker.Enable = wire.Value(c.DeploymentCircuitBreaker.Enable)
		breaker.Rollback = wire.Value(c.DeploymentCircuitBreaker.Rollback)
	}
	const why = "ECS deployment circuit breaker: tasks failed to start."
	switch breaker.Decide(d.FailedTasks, r.svc.DesiredCount, d.IsRollback) {
	case rollout.RollBack:
		return r.rollBack("Service deployment rolled back because the circuit breaker threshold was exceeded.", why, "TRIGGERED")
	case rollout.Fail:
		r.fail(why, "deployment failed: tasks failed to start.")
		r.saveRun(r.primary, func(sd *state.ServiceDeployment) {
			sd.Status = "STOPPED"
			if d.IsRollback {
				sd.Status = "ROLLBACK_FAILED"
			}
			sd.CircuitBreakerStatus, sd.StatusReason = "TRIGGERED", "Service deployment stopped because the circuit breaker threshold was exceeded."
			sd.StoppedAt, sd.FinishedAt = r.now, r.now
		})
	}
	return nil
}

// heedAlarms fails or rolls back the primary deployment when one of its alarms fires.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-alarm-failure.html
func (r *reconciliation) heedAlarms() (done bool, err error) {
	c := r.svc.Spec.DeploymentConfiguration
	if r.s.cfg.Alarms == nil || c == nil || c.Alarms == nil || !wire.Value(c.Alarms.Enable) || r.primary.IsRollback {
		return false, nil
	}
	r.wake = earliest(r.wake, r.now.Add(alarmLook))
	k := slices.IndexFunc(c.Alarms.AlarmNames, func(name string) bool { return r.s.cfg.Alarms.Firing(r.tx, name) })
	if k < 0 {
		return false, nil
	}
	r.s.event(r.tx, r.svc, "(deployment %s) deployment failed: alarm detected.", r.primary.ID)
	why := "Service deployment rolled back because the alarm " + c.Alarms.AlarmNames[k] + " fired."
	reason := "ECS deployment failed: alarm detected."
	if wire.Value(c.Alarms.Rollback) {
		return true, r.rollBack(why, reason, "")
	}
	r.fail(reason, "")
	r.saveRun(r.primary, func(sd *state.ServiceDeployment) {
		sd.Status, sd.StoppedAt, sd.FinishedAt, sd.StatusReason = "STOPPED", r.now, r.now, "Service deployment stopped because the alarm "+c.Alarms.AlarmNames[k]+" fired."
	})
	return true, nil
}

// fail ends the primary deployment badly: it starts no more tasks.
func (r *reconciliation) fail(reason, event string) {
	d := r.primary
	r.save(d, func(d *state.Deployment) { d.RolloutState, d.RolloutReason = "FAILED", reason })
	if event != "" {
		r.s.event(r.tx, r.svc, "(deployment %s) %s", d.ID, event)
	}
}

// rollBack fails the primary deployment and makes the one completed last the primary again.
func (r *reconciliation) rollBack(statusReason, reason, breaker string) error {
	failed := r.primary
	event := ""
	if breaker != "" {
		event = "deployment failed: tasks failed to start."
	}
	r.fail(reason, event)
	var past []rollout.Past
	for _, d := range r.deployments {
		past = append(past, rollout.Past{ID: d.ID, CompletedAt: d.CompletedAt, CreatedAt: d.CreatedAt})
	}
	k := rollout.RollbackTarget(past, failed.ID)
	if k < 0 {
		r.saveRun(r.primary, func(sd *state.ServiceDeployment) {
			sd.Status, sd.StatusReason = "ROLLBACK_FAILED", "Service deployment could not be rolled back: no earlier deployment of the service has completed."
			sd.RollbackReason, sd.RollbackAt, sd.FinishedAt, sd.StoppedAt = statusReason, r.now, r.now, r.now
			if breaker != "" {
				sd.CircuitBreakerStatus = breaker
			}
		})
		return nil
	}
	target := r.deployments[k]
	r.saveRun(failed, func(sd *state.ServiceDeployment) {
		sd.Status, sd.StatusReason = "ROLLBACK_IN_PROGRESS", statusReason
		sd.RollbackReason, sd.RollbackAt, sd.RollbackRevision = statusReason, r.now, target.Revision
		sd.FailureCount = failed.FailedTasks
		if breaker != "" {
			sd.CircuitBreakerStatus = breaker
		}
	})
	r.save(r.primary, func(d *state.Deployment) { d.Status = "ACTIVE" })
	r.save(target, func(d *state.Deployment) {
		d.Status, d.RolloutState, d.IsRollback, d.FailedTasks = "PRIMARY", "IN_PROGRESS", true, 0
		d.RolloutReason = "ECS deployment circuit breaker: rolling back to deploymentId " + d.ID + "."
		if breaker == "" {
			d.RolloutReason = "ECS deployment " + d.ID + " in progress."
		}
		d.ServiceDeployment, d.DesiredCount = failed.ServiceDeployment, r.svc.DesiredCount
	})
	r.primary = r.deployments[slices.IndexFunc(r.deployments, func(d *state.Deployment) bool { return d.ID == target.ID })]
	delete(r.s.streak, r.key)
	r.s.event(r.tx, r.svc, "rolling back to deployment %s.", target.ID)
	rev, ok := r.s.cfg.State.ServiceRevisions.Get(r.tx, target.Revision)
	if !ok {
		return fmt.Errorf("service revision %s is not there", target.Revision)
	}
	next := *r.svc
	next.Spec, next.UpdatedAt = rev.Spec, r.now
	if rev.API.ResolvedConfiguration != nil {
		next.Spec.LoadBalancers = rev.API.LoadBalancers // as they were asked for
	}
	r.s.cfg.State.Services.Put(r.tx, r.key, &next)
	r.svc = &next
	return r.backToBlue()
}
