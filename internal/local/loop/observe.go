package loop

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
	"github.com/slipway-ecs/slipway/internal/rollout"
)

// observe judges the health of the live tasks.
func (r *reconciliation) observe() {
	ecs := r.s.cfg.State
	grace := time.Duration(wire.Value(r.svc.Spec.HealthCheckGracePeriodSeconds)) * time.Second
	checks := map[string]bool{} // by task definition
	for k, t := range r.live {
		x := rollout.Task{ID: t.ARN, Deployment: t.DeploymentID, Running: t.LastStatus == "RUNNING", Host: t.ContainerInstance}
		if t.Protected && r.now.Before(t.ProtectedUntil) {
			x.Protected = true
			r.wake = earliest(r.wake, t.ProtectedUntil)
		}
		if m := r.s.fleet.byARN[t.ContainerInstance]; m != nil {
			x.Draining = m.Status == "DRAINING"
		} else if t.ContainerInstance != "" {
			x.Draining = true // its instance is gone
		}
		if x.Running {
			check, ok := checks[t.TaskDefinition]
			if !ok {
				check = r.hasContainerCheck(t.TaskDefinition)
				checks[t.TaskDefinition] = check
			}
			o := rollout.Observation{RunningSince: t.StartedAt, ContainerCheck: check, Grace: grace}
			reason, event := "", ""
			if check {
				o.Container = containerVerdict(t.HealthStatus)
				if o.Container == rollout.Unhealthy {
					reason = "Task failed container health checks"
					event = fmt.Sprintf("(task %s) failed container health checks.", t.ID)
				}
			}
			for _, target := range targetsOf(r.tx, ecs, balancersOf(r.tx, ecs, t), t) {
				h, why := targetHealth(r.tx, ecs, &target)
				o.Targets = append(o.Targets, h)
				if h == rollout.Unhealthy {
					reason = "Task failed ELB health checks in (target-group " + target.TargetGroupARN + ")"
					event = fmt.Sprintf("(task %s) (port %d) is unhealthy in (target-group %s) due to (reason %s).", t.ID, target.Port, target.TargetGroupARN, why)
				}
			}
			var wake time.Time
			x.Health, wake = rollout.Judge(o, r.now)
			r.wake = earliest(r.wake, wake)
			r.live[k] = r.noteHealth(t, x.Health)
			if x.Health == rollout.Unhealthy {
				r.sick[t.ARN] = reason
				if !t.HealthySince.IsZero() || !r.complained(t) {
					r.s.event(r.tx, r.svc, "%s", event)
				}
			}
		}
		r.plan = append(r.plan, x)
	}
}

// complained reports whether the task's sickness has been reported: once, while it lasts.
func (r *reconciliation) complained(t *state.Task) bool {
	for _, e := range r.s.cfg.State.ServiceEvents.Prefix(r.tx, r.key+"/") {
		if strings.Contains(e.Message, "(task "+t.ID+") ") && (strings.Contains(e.Message, " is unhealthy in ") || strings.Contains(e.Message, "failed container")) {
			return true
		}
	}
	return false
}

func containerVerdict(s string) rollout.Health {
	switch s {
	case "HEALTHY":
		return rollout.Healthy
	case "UNHEALTHY":
		return rollout.Unhealthy
	}
	return rollout.Waiting
}

// noteHealth keeps HealthySince in step with the verdict.
func (r *reconciliation) noteHealth(t *state.Task, h rollout.Health) *state.Task {
	switch {
	case h == rollout.Healthy && t.HealthySince.IsZero():
		delete(r.s.streak, r.key)
		next := *t
		next.HealthySince = r.now
		r.s.cfg.State.Tasks.Put(r.tx, t.ARN, &next)
		return &next
	case h == rollout.Unhealthy && !t.HealthySince.IsZero():
		next := *t
		next.HealthySince = time.Time{}
		r.s.cfg.State.Tasks.Put(r.tx, t.ARN, &next)
		return &next
	}
	return t
}

// hasContainerCheck reports whether an essential container has a health check.
func (r *reconciliation) hasContainerCheck(taskDefinition string) bool {
	td, ok := r.s.cfg.State.TaskDefinitions.Get(r.tx, definitionKey(taskDefinition))
	return ok && slices.ContainsFunc(td.Def.ContainerDefinitions, func(c ecsapi.ContainerDefinition) bool {
		return hasCheck(&c) && (c.Essential == nil || *c.Essential)
	})
}

func hasCheck(c *ecsapi.ContainerDefinition) bool {
	return c.HealthCheck != nil && len(c.HealthCheck.Command) > 0 && c.HealthCheck.Command[0] != "NONE"
}
