package loop

import (
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
	"github.com/slipway-ecs/slipway/internal/rollout"
)

// targetsOf are the registrations a task of a service is to have: one a target group. It is empty
// until the task's ports are known.
func targetsOf(tx *state.Tx, ecs *state.ECS, balancers []ecsapi.LoadBalancer, t *state.Task) []state.Target {
	var out []state.Target
	for _, lb := range balancers {
		if wire.Value(lb.TargetGroupArn) == "" {
			continue
		}
		for _, c := range t.Containers {
			if c.Name != wire.Value(lb.ContainerName) {
				continue
			}
			for _, b := range c.Bindings {
				if b.ContainerPort != int(wire.Value(lb.ContainerPort)) {
					continue
				}
				target := state.Target{TargetGroupARN: *lb.TargetGroupArn, Port: b.HostPort, AZ: t.AZ, Addr: b.Addr}
				if t.ENI != nil {
					target.ID, target.Port = t.ENI.PrivateIP, b.ContainerPort
				} else if ci, ok := ecs.ContainerInstances.Get(tx, t.ContainerInstance); ok {
					target.ID = ci.EC2InstanceID
				} else {
					target.ID = idByAddress(tx, ecs, &target)
				}
				if target.ID != "" && target.Port != 0 {
					out = append(out, target)
				}
			}
		}
	}
	return out
}

// idByAddress is the id of a registered target of which only the port and the real address are known,
// because the record of its container instance is gone.
func idByAddress(tx *state.Tx, ecs *state.ECS, like *state.Target) string {
	for _, t := range ecs.Targets.Prefix(tx, like.TargetGroupARN+"/") {
		if t.Port == like.Port && t.Addr == like.Addr && t.Addr != "" {
			return t.ID
		}
	}
	return ""
}

func targetKey(t *state.Target) string { return state.TargetKey(t.TargetGroupARN, t.ID, t.Port) }

// registered reports whether all the targets are there and take traffic.
func registered(tx *state.Tx, ecs *state.ECS, targets []state.Target) bool {
	for k := range targets {
		if got, ok := ecs.Targets.Get(tx, targetKey(&targets[k])); !ok || !got.DrainingSince.IsZero() {
			return false
		}
	}
	return true
}

// drained reports whether none of the targets is left: each has been deregistered and its delay has
// passed.
func drained(tx *state.Tx, ecs *state.ECS, targets []state.Target) bool {
	for k := range targets {
		if _, ok := ecs.Targets.Get(tx, targetKey(&targets[k])); ok {
			return false
		}
	}
	return true
}

// balancersOf are the load balancers of the revision a task belongs to.
func balancersOf(tx *state.Tx, ecs *state.ECS, t *state.Task) []ecsapi.LoadBalancer {
	if t.ServiceKey == "" {
		return nil
	}
	if d, ok := ecs.Deployments.Get(tx, t.ServiceKey+"/"+t.DeploymentID); ok {
		if r, ok := ecs.ServiceRevisions.Get(tx, d.Revision); ok {
			return r.Spec.LoadBalancers
		}
	}
	if s, ok := ecs.Services.Get(tx, t.ServiceKey); ok {
		return s.Spec.LoadBalancers
	}
	return nil
}

// targetHealth is the verdict on one target, and its reason if it is bad.
func targetHealth(tx *state.Tx, ecs *state.ECS, t *state.Target) (rollout.Health, string) {
	h, ok := ecs.TargetHealth.Get(tx, targetKey(t))
	if !ok {
		return rollout.Waiting, ""
	}
	switch h.State {
	case "healthy":
		return rollout.Healthy, ""
	case "unhealthy":
		reason := h.Description
		if reason == "" {
			reason = "Health checks failed"
		}
		return rollout.Unhealthy, reason
	}
	return rollout.Waiting, ""
}

// ownerOf is the service whose task is behind a target, found by the key of a TargetHealth record.
func ownerOf(tx *state.Tx, ecs *state.ECS, key string) (service string, ok bool) {
	t, ok := ecs.Targets.Get(tx, key)
	if !ok {
		return "", false
	}
	find := func(endpoint string) bool {
		for _, task := range ecs.TasksByEndpoint.Get(tx, endpoint) {
			if service = task.ServiceKey; service != "" {
				return true
			}
		}
		return false
	}
	if find(t.ID) {
		return service, true
	}
	for _, ci := range ecs.InstancesByEC2.Get(tx, t.ID) {
		if find(state.EndpointKey(ci.ARN, t.Port)) {
			return service, true
		}
	}
	return "", false
}
