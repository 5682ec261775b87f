package loop

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
	"github.com/slipway-ecs/slipway/internal/placement"
	"github.com/slipway-ecs/slipway/internal/rollout"
)

// reconciliation is one look at one service, in one transaction.
type reconciliation struct {
	s   *Services
	tx  *state.Tx
	now time.Time
	key string
	svc *state.Service

	deployments []*state.Deployment // all there are, newest first
	primary     *state.Deployment
	live        []*state.Task // nobody asked them to stop
	leaving     []*state.Task // asked to stop, STOPPED ones included
	plan        []rollout.Task
	sick        map[string]string // by task ARN: the stoppedReason
	wake        time.Time
	hungry      bool
	zone        string // where a task shall start to balance the zones; quietly, if there is no room
	waiting     int    // unplaced tasks of the cluster; -1: not counted yet
	calls       []hookCall
}

// reconcile looks at a service and does what can be done now. wake, if not zero, is when time alone
// may allow more.
func (s *Services) reconcile(key string) (wake time.Time, err error) {
	r := &reconciliation{s: s, now: s.cfg.Clock.Now(), key: key, sick: map[string]string{}, waiting: -1}
	err = s.cfg.State.DB.Update(func(tx *state.Tx) error {
		r.tx = tx
		return r.run()
	})
	cluster, _, _ := strings.Cut(key, "/")
	if err != nil {
		// What was noted and booked did not happen: look at everything again.
		s.fleet, s.seen, s.known, s.weights = newFleet(), map[string]*seenTask{}, map[string]bool{}, map[string]string{}
		_ = s.cfg.State.DB.View(func(tx *state.Tx) error {
			s.load(tx)
			return nil
		})
		delete(s.dirty, key)
		return time.Time{}, err
	}
	mark(s.hungry, cluster, key, r.hungry)
	for _, c := range r.calls {
		c.begin()
	}
	return r.wake, nil
}

func (r *reconciliation) run() error {
	ecs := r.s.cfg.State
	svc, ok := ecs.Services.Get(r.tx, r.key)
	if !ok {
		delete(r.s.known, r.key)
		delete(r.s.streak, r.key)
		return nil
	}
	r.svc = svc
	if svc.Status == "INACTIVE" {
		return r.forget()
	}
	r.read()
	if svc.Status == "DRAINING" {
		return r.windDown()
	}
	if deployedElsewhere(svc) {
		return r.taskSets()
	}
	if r.primary == nil {
		return nil // no deployment yet
	}
	r.begin()
	r.count()
	if err := r.judgeDeployment(); err != nil {
		return err
	}
	if err := r.placeWaiting(); err != nil {
		return err
	}
	r.register()
	r.observe()
	if isDaemon(svc) {
		return r.daemons()
	}
	if how, ok := r.shift(); ok && r.primary.RolloutState == "IN_PROGRESS" && !r.primary.IsRollback {
		return r.swap(how)
	}
	return r.roll()
}

// read collects the service's deployments and tasks.
func (r *reconciliation) read() {
	ecs := r.s.cfg.State
	for _, d := range ecs.Deployments.Prefix(r.tx, r.key+"/") {
		r.deployments = append(r.deployments, d)
	}
	slices.SortStableFunc(r.deployments, func(a, b *state.Deployment) int { return b.CreatedAt.Compare(a.CreatedAt) })
	for _, d := range r.deployments {
		if d.Status == "PRIMARY" {
			r.primary = d
			break
		}
	}
	for _, t := range ecs.TasksByService.Get(r.tx, r.key) {
		if t.DesiredStatus == "STOPPED" || t.LastStatus == "STOPPED" {
			r.leaving = append(r.leaving, t)
		} else {
			r.live = append(r.live, t)
		}
	}
}

func (r *reconciliation) save(d *state.Deployment, f func(*state.Deployment)) {
	next := *d
	f(&next)
	if next == *d {
		return
	}
	next.UpdatedAt = r.now
	r.s.cfg.State.Deployments.Put(r.tx, r.key+"/"+d.ID, &next)
	for k := range r.deployments {
		if r.deployments[k].ID == d.ID {
			r.deployments[k] = &next
		}
	}
	if r.primary != nil && r.primary.ID == d.ID {
		r.primary = &next
	}
}

// saveRun changes the service deployment that a deployment belongs to.
func (r *reconciliation) saveRun(d *state.Deployment, f func(*state.ServiceDeployment)) {
	old, ok := r.s.cfg.State.ServiceDeployments.Get(r.tx, d.ServiceDeployment)
	if !ok {
		return
	}
	next := *old
	f(&next)
	moved := next.Status != old.Status || next.LifecycleStage != old.LifecycleStage
	if moved {
		next.UpdatedAt = r.now // so it is also since when the stage lasts
	}
	if moved || next.FailureCount != old.FailureCount || next.CircuitBreakerStatus != old.CircuitBreakerStatus || next.RollbackRevision != old.RollbackRevision ||
		!slices.EqualFunc(next.Hooks, old.Hooks, func(a, b state.HookRun) bool { return a.ID == b.ID && a.Status == b.Status }) {
		r.s.cfg.State.ServiceDeployments.Put(r.tx, next.ARN, &next)
	}
}

// begin moves a new service deployment from PENDING to IN_PROGRESS.
func (r *reconciliation) begin() {
	r.saveRun(r.primary, func(sd *state.ServiceDeployment) {
		if sd.Status == "PENDING" {
			sd.Status, sd.StartedAt = "IN_PROGRESS", r.now
		}
	})
}

// specOf is what the tasks of a deployment are made from.
func (r *reconciliation) specOf(d *state.Deployment) *ecsapi.Service {
	if rev, ok := r.s.cfg.State.ServiceRevisions.Get(r.tx, d.Revision); ok {
		return &rev.Spec
	}
	return &r.svc.Spec
}

// count charges tasks that failed before they were healthy to their deployment, each once, and
// deregisters the targets of tasks that leave.
func (r *reconciliation) count() {
	ecs := r.s.cfg.State
	failed := map[string]int{}
	deregistered, drains := map[string]int{}, map[string][]string{}
	first := !r.s.known[r.key]
	r.s.known[r.key] = true
	for _, t := range r.leaving {
		done := r.s.seen[t.ARN]
		if done == nil {
			done = &seenTask{}
			r.s.seen[t.ARN] = done
		}
		if !done.counted {
			done.counted = true
			sick := strings.HasPrefix(t.StoppedReason, "Task failed ")
			if rollout.CountsAsFailed(!t.HealthySince.IsZero(), t.StopCode, sick) {
				failed[t.DeploymentID]++
			}
		}
		switch t.LastStatus {
		case "DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED":
			if done.deregistered {
				continue
			}
			done.deregistered = true
			any := false
			for _, target := range targetsOf(r.tx, ecs, balancersOf(r.tx, ecs, t), t) {
				k := targetKey(&target)
				if old, ok := ecs.Targets.Get(r.tx, k); ok && old.DrainingSince.IsZero() {
					next := *old
					next.DrainingSince = r.now
					ecs.Targets.Put(r.tx, k, &next)
					deregistered[target.TargetGroupARN]++
					any = true
				}
			}
			if any {
				drains[t.DeploymentID] = append(drains[t.DeploymentID], t.ID)
			}
		}
	}
	for _, arn := range sorted(deregistered) {
		r.s.event(r.tx, r.svc, "deregistered %d targets in (target-group %s)", deregistered[arn], arn)
	}
	for _, id := range sorted(drains) {
		r.s.put(r.tx, r.svc, fmt.Sprintf("(service %s, taskSet %s) has begun draining connections on %d tasks.", r.svc.Name, id, len(drains[id])))
	}
	for _, d := range slices.Clone(r.deployments) {
		n := failed[d.ID]
		if n == 0 || d.RolloutState != "IN_PROGRESS" && (r.primary == nil || d.ID != r.primary.ID) {
			continue
		}
		if r.primary != nil && d.ID == r.primary.ID && !first {
			k := r.s.streak[r.key]
			if k == nil {
				k = &streak{}
				r.s.streak[r.key] = k
			}
			k.n += n
			k.last = r.now
		}
		if d.RolloutState != "IN_PROGRESS" {
			continue
		}
		r.save(d, func(d *state.Deployment) {
			if first { // these may have been counted before the last restart
				d.FailedTasks = max(d.FailedTasks, n)
			} else {
				d.FailedTasks += n
			}
		})
	}
}

func sorted[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// register puts the targets of tasks whose containers run, so that they can become healthy.
func (r *reconciliation) register() {
	ecs := r.s.cfg.State
	n := map[string]int{}
	for _, t := range r.live {
		if t.LastStatus != "ACTIVATING" { // later, a missing target was taken out by somebody
			continue
		}
		for _, target := range targetsOf(r.tx, ecs, balancersOf(r.tx, ecs, t), t) {
			k := targetKey(&target)
			if old, ok := ecs.Targets.Get(r.tx, k); ok && old.DrainingSince.IsZero() {
				continue
			}
			target.RegisteredAt = r.now
			ecs.Targets.Put(r.tx, k, &target)
			n[target.TargetGroupARN]++
		}
	}
	for _, arn := range sorted(n) {
		r.s.event(r.tx, r.svc, "registered %d targets in (target-group %s)", n[arn], arn)
	}
}

func (r *reconciliation) stateOf() rollout.State {
	lo, hi := 100, 200
	if isDaemon(r.svc) {
		lo, hi = 0, 100
	}
	if c := r.svc.Spec.DeploymentConfiguration; c != nil {
		if c.MinimumHealthyPercent != nil {
			lo = int(*c.MinimumHealthyPercent)
		}
		if c.MaximumPercent != nil {
			hi = int(*c.MaximumPercent)
		}
	}
	st := rollout.State{
		Desired: r.svc.DesiredCount, MinimumHealthyPercent: lo, MaximumPercent: hi, Tasks: r.plan, Victim: r.victim,
		Primary: deploymentOf(r.primary),
	}
	for _, d := range r.deployments {
		if d.ID != r.primary.ID {
			st.Older = append(st.Older, deploymentOf(d))
		}
	}
	return st
}

func deploymentOf(d *state.Deployment) rollout.Deployment {
	return rollout.Deployment{ID: d.ID, Failed: d.RolloutState == "FAILED", Completed: d.RolloutState == "COMPLETED"}
}

// victim chooses by the service's placement strategy which of equal tasks to stop.
func (r *reconciliation) victim(list []rollout.Task) int {
	candidates := make([]placement.Candidate, len(list))
	for k, x := range list {
		t, _ := r.s.cfg.State.Tasks.Get(r.tx, x.ID)
		candidates[k] = placement.Candidate{TaskID: t.ID, StartedAt: t.StartedAt, Instance: &placement.Instance{ID: t.AZ, AZ: t.AZ}}
		if m := r.s.fleet.byARN[t.ContainerInstance]; m != nil {
			candidates[k].Instance = m.Instance
		}
	}
	req := &placement.Request{Group: "service:" + r.svc.Name}
	for _, s := range r.svc.Spec.PlacementStrategy {
		req.Strategies = append(req.Strategies, placement.Strategy{Type: wire.Value(s.Type), Field: wire.Value(s.Field)})
	}
	k, err := placement.PickVictim(req, candidates)
	if err != nil || k < 0 {
		return len(list) - 1
	}
	return k
}

// roll exchanges, starts and stops tasks of a replica service.
func (r *reconciliation) roll() error {
	st := r.stateOf()
	st.Surge = r.surge()
	plan := rollout.Rolling(st)
	if len(plan.Starts) > 0 && r.throttled() {
		plan.Starts = nil
	}
	short, err := r.start(plan.Starts)
	if err != nil {
		return err
	}
	if short {
		// Starting first does not work: where the minimum allows, make room.
		st = r.stateOf()
		st.NoRoom = true
		plan.Stops = rollout.Rolling(st).Stops
		r.hungry = true
	}
	r.stop(plan.Stops)
	r.conclude(plan)
	if plan.Steady && r.balances() {
		return r.rebalance()
	}
	return nil
}

// start starts tasks and writes the event; short says that some had no room.
func (r *reconciliation) start(starts []rollout.Start) (short bool, err error) {
	var ids []string
	for _, x := range starts {
		k := slices.IndexFunc(r.deployments, func(d *state.Deployment) bool { return d.ID == x.Deployment })
		if k < 0 {
			continue
		}
		tasks, less, err := r.launch(r.deployments[k], x.Count, x.Host)
		if err != nil {
			return false, err
		}
		short = short || less
		for _, t := range tasks {
			ids = append(ids, t.ID)
			r.live = append(r.live, t)
			r.plan = append(r.plan, rollout.Task{ID: t.ARN, Deployment: t.DeploymentID, Host: t.ContainerInstance})
		}
	}
	if len(ids) > 0 {
		r.s.event(r.tx, r.svc, "has started %d tasks: %s.", len(ids), taskList(ids))
	}
	return short, nil
}

// stop asks tasks to stop and writes the events.
func (r *reconciliation) stop(stops []rollout.Stop) {
	var ids []string
	gone := map[string]bool{}
	for _, x := range stops {
		r.s.cfg.State.Tasks.Modify(r.tx, x.Task.ID, func(t *state.Task) {
			t.DesiredStatus, t.StopCode, t.Version = "STOPPED", "ServiceSchedulerInitiated", t.Version+1
			t.StoppedReason = "Scaling activity initiated by (deployment " + t.DeploymentID + ")"
			if reason := r.sick[t.ARN]; x.Why == rollout.Sick && reason != "" {
				t.StoppedReason = reason
			}
			ids = append(ids, t.ID)
		})
		gone[x.Task.ID] = true
	}
	if len(ids) == 0 {
		return
	}
	for _, t := range r.live {
		if gone[t.ARN] {
			r.leaving = append(r.leaving, t) // it is still in the balancers
		}
	}
	r.live = slices.DeleteFunc(r.live, func(t *state.Task) bool { return gone[t.ARN] })
	r.s.event(r.tx, r.svc, "has stopped %d running tasks: %s.", len(ids), taskList(ids))
}

// throttled reports whether so many tasks failed to start in a row that the next must wait.
func (r *reconciliation) throttled() bool {
	k := r.s.streak[r.key]
	if k == nil {
		return false
	}
	d := rollout.StartDelay(k.n)
	if d == 0 {
		return false
	}
	r.s.repeat(r.tx, r.svc, placementRepeat, "is unable to consistently start tasks successfully. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.")
	if at := k.last.Add(d); r.now.Before(at) {
		r.wake = earliest(r.wake, at)
		return true
	}
	return false
}

const steadyRepeat = 6 * time.Hour

// conclude writes what the plan says of the deployment as a whole.
func (r *reconciliation) conclude(plan rollout.Plan) {
	// A task that was asked to stop counts until it has left the balancers.
	for _, t := range r.leaving {
		switch t.LastStatus {
		case "PROVISIONING", "PENDING", "ACTIVATING", "RUNNING":
			plan.Complete, plan.Steady = false, false
		}
	}
	if plan.Complete {
		r.complete()
	}
	byDeployment := map[string]int{}
	for _, t := range r.live {
		byDeployment[t.DeploymentID]++
	}
	for _, d := range slices.Clone(r.deployments) {
		switch {
		case d.ID == r.primary.ID:
			r.save(d, func(d *state.Deployment) { d.DesiredCount = r.svc.DesiredCount })
		case d.Status == "ACTIVE":
			r.save(d, func(d *state.Deployment) {
				d.DesiredCount = byDeployment[d.ID]
				if d.DesiredCount == 0 && d.RolloutState == "IN_PROGRESS" {
					d.Status = "INACTIVE" // overtaken before it was complete, and nothing of it is left
				}
			})
		}
	}
	switch {
	case plan.Steady:
		r.s.repeat(r.tx, r.svc, steadyRepeat, "has reached a steady state.")
	case plan.Blocked:
		r.s.repeat(r.tx, r.svc, placementRepeat, "was unable to stop or start tasks during a deployment because of the service deployment configuration. Update the minimumHealthyPercent or maximumPercent value and try again.")
	case plan.HeldByProtection > 0 && r.primary.RolloutState == "COMPLETED":
		r.s.repeat(r.tx, r.svc, placementRepeat, "was unable to reach steady state because task set (%s) was unable to scale in. Reason: The number of protected tasks are more than the desired count of tasks", r.primary.ID)
	}
	r.tidy()
}

// tidy forgets deployments nobody needs: superseded, without tasks, and not what a rollback of the
// present deployment would go back to.
func (r *reconciliation) tidy() {
	inUse := map[string]bool{r.primary.ID: true}
	for _, t := range r.live {
		inUse[t.DeploymentID] = true
	}
	for _, t := range r.leaving {
		if t.LastStatus != "STOPPED" {
			inUse[t.DeploymentID] = true
		}
	}
	completed := slices.Clone(r.deployments)
	slices.SortStableFunc(completed, func(a, b *state.Deployment) int {
		return cmp.Compare(b.CompletedAt.UnixNano(), a.CompletedAt.UnixNano())
	})
	for k, d := range completed {
		if k < 2 && !d.CompletedAt.IsZero() { // the present one and the one before it
			inUse[d.ID] = true
		}
	}
	for _, d := range r.deployments {
		if d.Status != "INACTIVE" || inUse[d.ID] {
			continue
		}
		r.s.cfg.State.Deployments.Delete(r.tx, r.key+"/"+d.ID)
	}
}
