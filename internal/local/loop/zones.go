package loop

import (
	"fmt"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/rollout"
)

// Availability Zone rebalancing: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-rebalancing.html

// balances reports whether the service's tasks are to be balanced over zones.
func (r *reconciliation) balances() bool {
	c := r.svc.Spec.DeploymentConfiguration
	return wire.Value(r.svc.Spec.AvailabilityZoneRebalancing) == "ENABLED" && !isDaemon(r.svc) &&
		(c == nil || c.MaximumPercent == nil || *c.MaximumPercent > 100)
}

// byZone counts tasks in each zone the service may use, but for the task that is left out.
func (r *reconciliation) byZone(without *state.Task) map[string]int {
	n := map[string]int{}
	var subnets []string
	for _, t := range r.live {
		if t != without {
			n[t.AZ]++
		}
		subnets = r.s.zones(r.tx, t)
	}
	delete(n, "") // not placed yet
	usable := map[string]bool{}
	for _, z := range subnets {
		usable[z] = true
	}
	if len(r.live) > 0 && r.live[0].LaunchType == "FARGATE" {
		for z := range usable {
			n[z] += 0
		}
		return n
	}
	for _, i := range r.s.fleet.clusters[r.svc.ClusterName] {
		if i.Status == "ACTIVE" && i.AgentConnected && (len(usable) == 0 || usable[i.AZ]) {
			n[i.AZ] += 0
		}
	}
	return n
}

// surge is 1 while a task that was started to balance the zones is not healthy yet.
func (r *reconciliation) surge() int {
	if !r.balances() || len(r.live) != r.svc.DesiredCount+1 {
		return 0
	}
	for k, x := range r.plan {
		if x.Running && x.Health != rollout.Waiting {
			continue
		}
		if to, ok := rollout.Rebalance(r.byZone(r.live[k])); ok && to == r.live[k].AZ {
			return 1
		}
	}
	return 0
}

// rebalance starts a task in the emptiest zone if the zones are out of balance.
func (r *reconciliation) rebalance() error {
	n := r.byZone(nil)
	to, ok := rollout.Rebalance(n)
	if !ok {
		return nil
	}
	r.zone = to
	tasks, _, err := r.launch(r.primary, 1, "")
	if err != nil || len(tasks) == 0 {
		r.hungry = true // there may be room later
		return err
	}
	var parts []string
	for _, z := range sorted(n) {
		parts = append(parts, fmt.Sprintf("%d tasks in %s", n[z], z))
	}
	last := len(parts) - 1
	r.s.repeat(r.tx, r.svc, time.Minute, "is not AZ balanced with %s, and %s. AZ Rebalancing in progress.", strings.Join(parts[:last], ", "), parts[last])
	r.s.event(r.tx, r.svc, "has started %d tasks in %s to AZ Rebalance: %s.", len(tasks), to, taskList([]string{tasks[0].ID}))
	return nil
}

// emptiest is the zone with the fewest tasks of the service.
func (r *reconciliation) emptiest(zones []string, started []*state.Task) string {
	n := map[string]int{}
	for _, t := range r.live {
		n[t.AZ]++
	}
	for _, t := range started {
		n[t.AZ]++
	}
	best := ""
	for _, z := range zones {
		if best == "" || n[z] < n[best] {
			best = z
		}
	}
	return best
}
