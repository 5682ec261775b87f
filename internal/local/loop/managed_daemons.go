package loop

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
	"github.com/slipway-ecs/slipway/internal/rollout"
)

// DaemonsConfig is what the loop of daemons needs.
type DaemonsConfig struct {
	State  *state.ECS
	Clock  clock.Clock
	Alarms Alarms       // nil: the alarms of deployments are not looked at
	Log    *slog.Logger // nil: silent
}

// Daemons keeps one task of each daemon on every container instance of the daemon's capacity
// providers. A change goes to new instances: those with the old revision are drained, a part at a
// time, and their provider replaces them.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/managed-daemons.html
type Daemons struct {
	cfg  DaemonsConfig
	seen map[string]bool      // failed tasks that have been counted, by ARN
	next map[string]time.Time // when to start again on an instance, by daemon and instance
	runs map[string]int       // failures in a row, by daemon and instance
}

// NewDaemons returns the loop; Run runs it.
func NewDaemons(cfg DaemonsConfig) *Daemons {
	cfg.Log = discardLog(cfg.Log)
	return &Daemons{cfg: cfg, seen: map[string]bool{}, next: map[string]time.Time{}, runs: map[string]int{}}
}

// drainPercent is the part of the instances that drains at a time where the daemon says nothing; AWS
// names no number.
const drainPercent = 25

// Run looks after the daemons until ctx ends; it returns the context's error.
func (l *Daemons) Run(ctx context.Context) error {
	db := l.cfg.State.DB
	w := db.Watch(state.TableDaemons, state.TableDaemonDeployments, state.TableTasks, state.TableContainerInstances)
	defer w.Stop()
	for {
		var wake time.Time
		any := false
		_ = db.View(func(tx *state.Tx) error {
			any = l.cfg.State.Daemons.Len(tx) > 0
			return nil
		})
		if any {
			err := db.Update(func(tx *state.Tx) error {
				var all []*state.Daemon
				for _, d := range l.cfg.State.Daemons.All(tx) {
					all = append(all, d)
				}
				for _, d := range all {
					at, err := l.look(tx, d)
					if err != nil {
						return fmt.Errorf("looking after the daemon %s: %w", d.Name, err)
					}
					wake = earliest(wake, at)
				}
				l.open(tx, all)
				return nil
			})
			if err != nil {
				l.cfg.Log.Error("looking after daemons", "err", err)
				wake = l.cfg.Clock.Now().Add(retryAfter)
			}
		}
		if err := waitFor(ctx, l.cfg.Clock, w, wake); err != nil {
			return err
		}
		if err := clock.Sleep(ctx, l.cfg.Clock, gather); err != nil {
			return err
		}
		w.Drain()
	}
}

// open lets instances take other tasks once each of their daemons has its own there.
func (l *Daemons) open(tx *state.Tx, daemons []*state.Daemon) {
	for _, d := range daemons {
		for arn, ci := range l.cfg.State.InstancesByCluster.Get(tx, d.ClusterName) {
			if ci.Status != "REGISTERING" || !slices.Contains(d.Providers, ci.CapacityProvider) {
				continue
			}
			missing := slices.ContainsFunc(daemons, func(d *state.Daemon) bool {
				if d.Status != "ACTIVE" || d.ClusterName != ci.ClusterName || !slices.Contains(d.Providers, ci.CapacityProvider) {
					return false
				}
				for _, t := range l.cfg.State.TasksByInstance.Get(tx, arn) {
					if t.DaemonARN == d.ARN {
						return false
					}
				}
				return true
			})
			if !missing {
				next := *ci
				next.Status, next.Version = "ACTIVE", ci.Version+1
				l.cfg.State.ContainerInstances.Put(tx, arn, &next)
			}
		}
	}
}

// daemonLook is one look at one daemon.
type daemonLook struct {
	l         *Daemons
	tx        *state.Tx
	now       time.Time
	d         *state.Daemon
	run       *state.DaemonDeployment // nil: none is under way
	instances []*state.ContainerInstance
	on        map[string]*state.Task // the live task, by instance
	wake      time.Time
}

func (l *Daemons) look(tx *state.Tx, d *state.Daemon) (wake time.Time, err error) {
	ecs := l.cfg.State
	r := &daemonLook{l: l, tx: tx, now: l.cfg.Clock.Now(), d: d, on: map[string]*state.Task{}}
	if run, ok := ecs.DaemonDeployments.Get(tx, d.Deployment); ok && OpenDeployment(run.Status) {
		r.run = run
	}
	for _, ci := range ecs.InstancesByCluster.Get(tx, d.ClusterName) {
		if ci.Status != "INACTIVE" && slices.Contains(d.Providers, ci.CapacityProvider) {
			r.instances = append(r.instances, ci)
		}
	}
	leaving := 0
	for _, t := range ecs.TasksByDaemon.Get(tx, d.ARN) {
		switch {
		case t.LastStatus == "STOPPED" || t.DesiredStatus == "STOPPED":
			if t.LastStatus != "STOPPED" {
				leaving++
			}
			r.failed(t)
		default:
			r.on[t.ContainerInstance] = t
		}
	}
	if d.Status != "ACTIVE" {
		return r.remove(leaving)
	}
	if r.run != nil {
		r.begin()
		r.judge()
	}
	if err := r.place(); err != nil {
		return r.wake, err
	}
	if r.run != nil {
		r.roll()
	}
	return r.wake, nil
}

// OpenDeployment reports whether a deployment is still under way.
func OpenDeployment(status string) bool {
	switch status {
	case "PENDING", "IN_PROGRESS", "STOP_REQUESTED", "ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS":
		return true
	}
	return false
}

func (r *daemonLook) save(f func(*state.DaemonDeployment)) {
	next := *r.run
	f(&next)
	r.l.cfg.State.DaemonDeployments.Put(r.tx, next.ARN, &next)
	r.run = &next
}

func (r *daemonLook) begin() {
	if r.run.Status == "PENDING" {
		r.save(func(x *state.DaemonDeployment) { x.Status, x.StartedAt = "IN_PROGRESS", r.now })
	}
}

// failed counts a task that ended before anybody asked it to, once.
func (r *daemonLook) failed(t *state.Task) {
	if r.l.seen[t.ARN] {
		return
	}
	r.l.seen[t.ARN] = true
	if t.StopCode != "TaskFailedToStart" && t.StopCode != "EssentialContainerExited" {
		return
	}
	key := r.d.ARN + " " + t.ContainerInstance
	if !t.StartedAt.IsZero() && t.StoppedAt.Sub(t.StartedAt) > 10*time.Minute {
		r.l.runs[key] = 0
	}
	r.l.runs[key]++
	r.l.next[key] = r.now.Add(rollout.StartDelay(r.l.runs[key]))
	if r.run != nil && t.DeploymentID == r.run.Target {
		r.save(func(x *state.DaemonDeployment) { x.Failures++ })
	}
}

// judge trips the circuit breaker, which daemons always have, and heeds the alarms.
func (r *daemonLook) judge() {
	if r.run.Status != "IN_PROGRESS" || r.run.Target == "" {
		return
	}
	if r.run.Failures >= r.run.Threshold {
		r.save(func(x *state.DaemonDeployment) { x.Breaker = "TRIGGERED" })
		r.rollBack("the circuit breaker threshold was exceeded")
		return
	}
	c := r.d.Configuration
	if c == nil || c.Alarms == nil || !wire.Value(c.Alarms.Enable) || r.l.cfg.Alarms == nil {
		return
	}
	r.wake = earliest(r.wake, r.now.Add(alarmLook))
	for _, name := range c.Alarms.AlarmNames {
		if r.l.cfg.Alarms.Firing(r.tx, name) {
			r.save(func(x *state.DaemonDeployment) { x.AlarmsTriggered = append(slices.Clone(x.AlarmsTriggered), name) })
			r.rollBack("the alarm " + name + " fired")
			return
		}
	}
}

// rollBack makes the revision before the daemon's again; without one the deployment just stops.
func (r *daemonLook) rollBack(why string) {
	if len(r.run.Sources) == 0 {
		r.save(func(x *state.DaemonDeployment) {
			x.Status, x.StatusReason, x.StoppedAt, x.FinishedAt = "STOPPED", "Daemon deployment stopped because "+why+".", r.now, r.now
		})
		return
	}
	back := r.run.Sources[0]
	r.save(func(x *state.DaemonDeployment) {
		x.Status, x.StatusReason, x.RollbackRevision, x.RollbackReason, x.RollbackAt = "ROLLBACK_IN_PROGRESS", "Daemon deployment rolled back because "+why+".", back, why, r.now
		x.BakingSince = time.Time{}
	})
	if rev, ok := r.l.cfg.State.DaemonRevisions.Get(r.tx, back); ok {
		next := rev.Spec
		next.Revision, next.Deployment, next.Status, next.UpdatedAt = rev.ARN, r.d.Deployment, r.d.Status, r.now
		r.l.cfg.State.Daemons.Put(r.tx, next.ARN, &next)
		r.d = &next
	}
}

// place starts a task on every active instance that has none.
func (r *daemonLook) place() error {
	if r.run != nil && r.run.Status == "STOPPED" {
		return nil
	}
	for _, ci := range r.instances {
		if ci.Status != "ACTIVE" && ci.Status != "REGISTERING" || r.on[ci.ARN] != nil {
			continue
		}
		if at := r.l.next[r.d.ARN+" "+ci.ARN]; r.now.Before(at) {
			r.wake = earliest(r.wake, at)
			continue
		}
		t, err := r.newTask(ci)
		if err != nil {
			return err
		}
		if i, ok := current(r.tx, r.l.cfg.State, ci.ARN); !ok || i.Remaining().CPU < t.CPU || i.Remaining().Memory < t.Memory {
			// Without room the instance is replaced by one that has it from the start.
			r.drain(ci)
			continue
		}
		r.l.cfg.State.Tasks.Put(r.tx, t.ARN, t)
		r.on[ci.ARN] = t
	}
	return nil
}

func (r *daemonLook) drain(ci *state.ContainerInstance) {
	r.l.cfg.State.ContainerInstances.Modify(r.tx, ci.ARN, func(ci *state.ContainerInstance) { ci.Status, ci.Version = "DRAINING", ci.Version+1 })
}

// roll drains instances that have another revision, and ends the deployment when there are none.
func (r *daemonLook) roll() {
	if !OpenDeployment(r.run.Status) {
		return
	}
	var old []*state.ContainerInstance
	draining, waiting := 0, false
	for _, ci := range r.instances {
		t := r.on[ci.ARN]
		switch {
		case ci.Status == "DRAINING":
			draining++
		case ci.Status != "ACTIVE":
		case t != nil && t.DeploymentID != r.d.Revision:
			old = append(old, ci)
		case t == nil || t.LastStatus != "RUNNING":
			waiting = true
		}
	}
	percent := float64(drainPercent)
	if c := r.d.Configuration; c != nil && c.DrainPercent != nil {
		percent = *c.DrainPercent
	}
	most := max(1, int(float64(len(r.instances))*percent/100))
	if percent == 0 {
		most = 0
	}
	for _, ci := range old {
		if draining >= most {
			break
		}
		r.drain(ci)
		draining++
	}
	if len(old) > 0 || draining > 0 || waiting {
		if !r.run.BakingSince.IsZero() {
			r.save(func(x *state.DaemonDeployment) { x.BakingSince = time.Time{} })
		}
		return
	}
	if r.run.BakingSince.IsZero() {
		r.save(func(x *state.DaemonDeployment) { x.BakingSince = r.now })
	}
	if c := r.d.Configuration; c != nil && r.run.Status == "IN_PROGRESS" {
		if until := r.run.BakingSince.Add(time.Duration(wire.Value(c.BakeTimeInMinutes)) * time.Minute); r.now.Before(until) {
			r.wake = earliest(r.wake, until)
			return
		}
	}
	r.save(func(x *state.DaemonDeployment) {
		x.Status = map[string]string{"IN_PROGRESS": "SUCCESSFUL", "ROLLBACK_IN_PROGRESS": "ROLLBACK_SUCCESSFUL"}[x.Status]
		x.FinishedAt = r.now
		if x.Breaker == "MONITORING" {
			x.Breaker = "MONITORING_COMPLETE"
		}
	})
}

// remove drains the instances of a deleted daemon; it is gone with its last task.
func (r *daemonLook) remove(leaving int) (time.Time, error) {
	if r.run != nil {
		r.begin()
	}
	draining := 0
	for _, ci := range r.instances {
		if ci.Status == "DRAINING" && r.on[ci.ARN] != nil {
			draining++
		}
	}
	most := max(1, len(r.instances)*drainPercent/100)
	for _, ci := range r.instances {
		if ci.Status == "ACTIVE" && r.on[ci.ARN] != nil && draining < most {
			r.drain(ci)
			draining++
		}
	}
	for arn, t := range r.on { // its instance is in no provider of the daemon any more
		if ci, ok := r.l.cfg.State.ContainerInstances.Get(r.tx, arn); !ok || ci.Status == "INACTIVE" || !slices.Contains(r.d.Providers, ci.CapacityProvider) {
			r.l.cfg.State.Tasks.Modify(r.tx, t.ARN, func(t *state.Task) {
				t.DesiredStatus, t.StopCode, t.StoppedReason, t.Version = "STOPPED", "ServiceSchedulerInitiated", "The daemon was deleted.", t.Version+1
			})
		}
	}
	if len(r.on) > 0 || leaving > 0 {
		return r.wake, nil
	}
	if r.run != nil {
		r.save(func(x *state.DaemonDeployment) { x.Status, x.FinishedAt = "SUCCESSFUL", r.now })
	}
	r.l.cfg.State.Daemons.Delete(r.tx, r.d.ARN)
	return r.wake, nil
}

// newTask is the daemon's task on an instance.
func (r *daemonLook) newTask(ci *state.ContainerInstance) (*state.Task, error) {
	def, err := daemonDefinition(r.tx, r.l.cfg.State, r.d.Definition)
	if err != nil {
		return nil, err
	}
	d, id := r.d, hexID(32)
	t := &state.Task{
		ARN: siblingARN(d.ClusterARN, "task", d.ClusterName+"/"+id), ID: id, ClusterName: d.ClusterName, ClusterARN: d.ClusterARN, DaemonARN: d.ARN, DeploymentID: d.Revision,
		Group: "daemon:" + d.Name, StartedBy: "ecs-daemon/" + lastPart(d.Deployment), TaskDefinition: d.Definition, LaunchType: "MANAGED_INSTANCES", CapacityProvider: ci.CapacityProvider,
		ContainerInstance: ci.ARN, AZ: ci.AZ, EnableExec: d.EnableExec, DesiredStatus: "RUNNING", LastStatus: "PENDING", HealthStatus: "UNKNOWN", Version: 1, CreatedAt: r.now,
	}
	for _, c := range def.ContainerDefinitions {
		t.CPU += int(wire.Value(c.Cpu))
		t.Memory += int(cmp.Or(wire.Value(c.MemoryReservation), wire.Value(c.Memory)))
		t.Containers = append(t.Containers, state.TaskContainer{ARN: siblingARN(d.ClusterARN, "container", d.ClusterName+"/"+id+"/"+uuid()), Name: wire.Value(c.Name), Image: wire.Value(c.Image), LastStatus: "PENDING", Health: "UNKNOWN",
			Essential: c.Essential == nil || *c.Essential, CPU: int(wire.Value(c.Cpu)), Memory: int(wire.Value(c.Memory)), MemoryReservation: int(wire.Value(c.MemoryReservation))})
	}
	size := func(s *string, into *int) {
		n := 0
		if _, err := fmt.Sscanf(wire.Value(s), "%d", &n); err == nil && n > 0 {
			*into = n
		}
	}
	size(def.Cpu, &t.CPU)
	size(def.Memory, &t.Memory)
	if d.PropagateTags == "DAEMON" {
		t.Tags = slices.Clone(d.Tags)
	}
	if d.ManagedTags {
		t.Tags = append(t.Tags, ecsapi.Tag{Key: wire.String("aws:ecs:clusterName"), Value: wire.String(d.ClusterName)}, ecsapi.Tag{Key: wire.String("aws:ecs:daemonName"), Value: wire.String(d.Name)})
	}
	return t, nil
}

// daemonDefinition is a daemon task definition as the task loop knows definitions: the members have
// the same names.
func daemonDefinition(tx *state.Tx, ecs *state.ECS, arn string) (*ecsapi.TaskDefinition, error) {
	dd, ok := ecs.DaemonDefinitions.Get(tx, definitionKey(arn))
	if !ok {
		return nil, fmt.Errorf("daemon task definition %s is not there", arn)
	}
	text, err := json.Marshal(dd.Def)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", arn, err)
	}
	def := &ecsapi.TaskDefinition{}
	if err := json.Unmarshal(text, def); err != nil {
		return nil, fmt.Errorf("reading %s: %w", arn, err)
	}
	def.TaskDefinitionArn = dd.Def.DaemonTaskDefinitionArn
	return def, nil
}
