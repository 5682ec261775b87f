package loop

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/runtime"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

// driver takes one task through its life. At any time at most one goroutine is in run; containers
// report through the mailbox.
type driver struct {
	l   *Tasks
	arn string
	mailbox

	waitsFor []string // target keys

	// What follows belongs to run, except running, which mu guards.
	def   *ecsapi.TaskDefinition
	task  runtime.Task
	units []*unit // in the order of the definition
	// starting ends when the task is asked to stop: pulls and starts under way are given up. It is there
	// only while containers start: a task that runs is to take little memory.
	starting context.Context
	giveUp   context.CancelFunc
	starts   int  // how many are under way
	ending   bool // the task has been asked to stop
	// life ends with the driver's work; nil until something in the background needs it.
	life context.Context
	done context.CancelFunc

	// written is the task as run wrote it last, until it is looked at.
	written *state.Task

	turn    *turn // of the goroutine in run
	running []runningContainer
	agent   *agent // nil: the task has none; set before the first container starts
}

type runningContainer struct {
	name string
	c    runtime.Container
}

func newDriver(l *Tasks, arn string) *driver {
	return &driver{l: l, arn: arn, mailbox: newMailbox()}
}

// begin is the context of a start. Each is ended by ended.
func (d *driver) begin(ctx context.Context) context.Context {
	if d.starts++; d.starting == nil {
		d.starting, d.giveUp = context.WithCancel(ctx)
	}
	return d.starting
}

func (d *driver) ended() {
	if d.starts--; d.starts == 0 {
		d.giveUp()
		d.starting, d.giveUp = nil, nil
	}
}

// wait gives way to other drivers while it waits for something that is not their doing.
func (d *driver) wait(ctx context.Context, timer <-chan time.Time) {
	if d.starts == 0 {
		d.l.turns.yield(ctx, d.turn)
	}
	d.mailbox.wait(ctx, timer)
}

// background is the context of what goes on while the task runs.
func (d *driver) background(ctx context.Context) context.Context {
	if d.life == nil {
		d.life, d.done = context.WithCancel(ctx)
	}
	return d.life
}

func (d *driver) container(name string) (runtime.Container, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.running {
		if r.name == name {
			return r.c, true
		}
	}
	return nil, false
}

// setRunning notes that a container runs, or that none of the name does.
func (d *driver) setRunning(name string, c runtime.Container) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running = slices.DeleteFunc(d.running, func(r runningContainer) bool { return r.name == name })
	if c != nil {
		d.running = append(d.running, runningContainer{name, c})
	}
}

// read returns the task as it is now; nil if it is gone.
func (d *driver) read() (t *state.Task) {
	_ = d.l.cfg.State.DB.View(func(tx *state.Tx) error {
		t, _ = d.l.cfg.State.Tasks.Get(tx, d.arn)
		return nil
	})
	return t
}

// write changes the task. Nobody was promised what becomes of a task by itself: the disk is not waited for.
func (d *driver) write(f func(tx *state.Tx, t *state.Task)) {
	err := d.l.cfg.State.DB.UpdateSoon(func(tx *state.Tx) error {
		d.l.cfg.State.Tasks.Modify(tx, d.arn, func(t *state.Task) {
			t.Version++
			t.Containers = slices.Clone(t.Containers)
			f(tx, t)
			d.written = t
		})
		return nil
	})
	if err != nil {
		d.l.cfg.Log.Error("writing a task", "task", d.arn, "err", err)
	}
}

func (d *driver) now() time.Time { return d.l.cfg.Clock.Now() }

// run goes on until the task is STOPPED or ctx ends. It returns parked when nothing is to be done
// until the mailbox resumes it: most tasks run for long, and a goroutine's stack is their largest
// part.
func (d *driver) run(ctx context.Context) (parked bool) {
	for ctx.Err() == nil {
		d.deliver()
		// What others did to the task since it was written comes with a message: nothing is missed.
		t := d.written
		if d.written = nil; t == nil {
			t = d.read()
		}
		if t == nil || t.DesiredStatus == "STOPPED" {
			break
		}
		switch {
		case d.advance(ctx, t):
		case t.LastStatus == "RUNNING":
			if d.park() {
				return true
			}
		default:
			d.wait(ctx, nil)
		}
	}
	if d.ending = true; d.giveUp != nil {
		d.giveUp()
	}
	if ctx.Err() == nil {
		d.end(ctx)
	}
	if d.done != nil {
		d.done()
	}
	return false
}

// advance does the next step that is possible; again says that there may be another.
func (d *driver) advance(ctx context.Context, t *state.Task) (again bool) {
	switch t.LastStatus {
	case "PROVISIONING":
		return d.provision()
	case "PENDING":
		if d.task == nil {
			return d.prepare(ctx, t)
		}
		return d.startContainers(ctx)
	case "ACTIVATING":
		return d.activate()
	}
	return false
}

// fail asks for the end of the task, for a reason of its own.
func (d *driver) fail(code, reason string) {
	d.write(func(_ *state.Tx, t *state.Task) {
		if t.DesiredStatus != "STOPPED" {
			t.DesiredStatus, t.StopCode, t.StoppedReason = "STOPPED", code, reason
		}
	})
}

// prepare reads the definition and makes the task's network.
func (d *driver) prepare(ctx context.Context, t *state.Task) bool {
	var def *ecsapi.TaskDefinition
	_ = d.l.cfg.State.DB.View(func(tx *state.Tx) error {
		if t.DaemonARN != "" {
			def, _ = daemonDefinition(tx, d.l.cfg.State, t.TaskDefinition)
		} else if td, ok := d.l.cfg.State.TaskDefinitions.Get(tx, definitionKey(t.TaskDefinition)); ok {
			def = &td.Def
		}
		return nil
	})
	if def == nil {
		d.fail("TaskFailedToStart", "InternalError: task definition "+t.TaskDefinition+" is not there")
		return true
	}
	spec := runtime.TaskSpec{ID: t.ID, NetworkMode: wire.Value(def.NetworkMode)}
	if spec.NetworkMode == "" {
		spec.NetworkMode = "bridge"
	}
	if t.ENI != nil {
		spec.Hostname = hostname(t.ENI.PrivateIP)
	}
	if d.l.cfg.Names != nil {
		spec.Hosts = d.l.cfg.Names(t)
	}
	d.def = def
	for k := range def.ContainerDefinitions {
		c := &def.ContainerDefinitions[k] // as it is, it is shared by all tasks
		if t.Overrides != nil {
			own := overridden(*c, t.Overrides)
			c = &own
		}
		d.units = append(d.units, &unit{def: c, health: "UNKNOWN"})
		for _, p := range c.PortMappings {
			spec.Ports = append(spec.Ports, runtime.Port{Container: int(wire.Value(p.ContainerPort)), Protocol: protocol(wire.Value(p.Protocol))})
		}
	}
	if x := d.l.cfg.Trouble; x != nil {
		if err := x.Prepare(t); err != nil {
			d.fail("TaskFailedToStart", err.Error())
			return true
		}
	}
	if !d.slot(ctx) {
		return false
	}
	defer d.release()
	rt, err := d.l.cfg.Runtime.NewTask(ctx, spec)
	if err != nil {
		if ctx.Err() == nil {
			d.fail("TaskFailedToStart", "ResourceInitializationError: "+err.Error())
		}
		return true
	}
	d.task = rt
	d.serveAgent(rt, t)
	bound := true
	d.write(func(tx *state.Tx, t *state.Task) {
		if bound = bind(tx, d.l.cfg.State, t, def); !bound {
			return
		}
		t.PullStartedAt = d.now()
		t.Connectivity, t.ConnectivityAt = "CONNECTED", t.PullStartedAt
	})
	if !bound {
		d.fail("TaskFailedToStart", "ResourceInitializationError: no dynamic host port is free on the container instance")
	}
	return true
}

func (d *driver) slot(ctx context.Context) bool {
	select {
	case d.l.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (d *driver) release() { <-d.l.slots }

// startContainers starts every container whose dependencies allow it. When all have run, the task
// is ACTIVATING.
func (d *driver) startContainers(ctx context.Context) bool {
	for _, u := range d.units {
		if u.started {
			continue
		}
		ready, never := d.ready(u)
		if never != "" {
			d.fail("TaskFailedToStart", never)
			return true
		}
		if ready {
			u.started = true
			d.start(ctx, u)
		}
	}
	if !d.allUp() {
		return false
	}
	d.write(func(_ *state.Tx, t *state.Task) { d.activating(t) })
	return true
}

func (d *driver) allUp() bool {
	return !slices.ContainsFunc(d.units, func(u *unit) bool { return !u.up })
}

// activating is the task's next state when every container has run.
func (d *driver) activating(t *state.Task) {
	t.LastStatus, t.PullStoppedAt = "ACTIVATING", d.now()
	for k := range t.Containers {
		c := &t.Containers[k]
		c.Bindings = slices.Clone(c.Bindings)
		for j := range c.Bindings {
			b := &c.Bindings[j]
			if addr, ok := d.task.Endpoint(b.ContainerPort, b.Protocol); ok {
				b.Addr = addr
			}
		}
	}
}

// ready reports whether u's dependencies hold; never says why they never will.
//
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDependency.html
func (d *driver) ready(u *unit) (ready bool, never string) {
	for _, dep := range u.def.DependsOn {
		o := d.unit(wire.Value(dep.ContainerName))
		if o == nil {
			return false, fmt.Sprintf("container %s depends on %s, which is not there", wire.Value(u.def.Name), wire.Value(dep.ContainerName))
		}
		ok := false
		switch wire.Value(dep.Condition) {
		case "START":
			ok = o.up
		case "HEALTHY":
			ok = o.up && o.health == "HEALTHY"
			if o.exited {
				never = "exited before it was healthy"
			}
		case "COMPLETE":
			ok = o.exited
		case "SUCCESS":
			ok = o.exited && o.code == 0
			if o.exited && o.code != 0 {
				never = fmt.Sprintf("exited with code %d", o.code)
			}
		}
		if never != "" && !ok {
			return false, fmt.Sprintf("Container %s cannot start: its dependency %s %s.", wire.Value(u.def.Name), wire.Value(dep.ContainerName), never)
		}
		if !ok {
			return false, ""
		}
	}
	return true, ""
}

// definition is a container's definition with what RunTask overrides; nil if there is none.
func (d *driver) definition(name string) *ecsapi.ContainerDefinition {
	for k := range d.def.ContainerDefinitions {
		if c := &d.def.ContainerDefinitions[k]; wire.Value(c.Name) == name {
			return c
		}
	}
	return nil
}

func (d *driver) unit(name string) *unit {
	for _, u := range d.units {
		if wire.Value(u.def.Name) == name {
			return u
		}
	}
	return nil
}

// activate waits until the service loop has registered the targets; then the task is RUNNING.
func (d *driver) activate() bool {
	keys, done := d.targets(registered)
	if !done {
		if len(d.waitsFor) == 0 {
			d.l.await(d, keys)
			return true // it may have happened before anybody watched
		}
		return false
	}
	d.write(func(_ *state.Tx, t *state.Task) {
		if t.LastStatus == "ACTIVATING" {
			t.LastStatus, t.StartedAt = "RUNNING", d.now()
		}
	})
	return true
}

// targets returns the keys of the task's targets and whether cond holds of them.
func (d *driver) targets(cond func(*state.Tx, *state.ECS, []state.Target) bool) (keys []string, ok bool) {
	ecs := d.l.cfg.State
	_ = ecs.DB.View(func(tx *state.Tx) error {
		t, found := ecs.Tasks.Get(tx, d.arn)
		if !found {
			ok = true
			return nil
		}
		list := targetsOf(tx, ecs, balancersOf(tx, ecs, t), t)
		for k := range list {
			keys = append(keys, targetKey(&list[k]))
		}
		ok = cond(tx, ecs, list)
		return nil
	})
	return keys, ok
}
