package loop

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/runtime"
	"github.com/slipway-ecs/slipway/internal/local/state"
)

// Secrets resolves what containers get as secrets.
type Secrets interface {
	// Secret returns the value that a valueFrom names: a parameter's name or ARN, or a secret's ARN
	// with its json key, stage and version. The error does not hold the value.
	Secret(ctx context.Context, valueFrom string) (string, error)
}

// Logs takes what containers write.
type Logs interface {
	// Writer opens a stream of a log group; create makes the group if it is not there.
	Writer(group, stream string, create bool) (io.WriteCloser, error)
}

// TasksConfig is what the task loop needs.
type TasksConfig struct {
	State   *state.ECS
	Clock   clock.Clock
	Runtime runtime.Runtime
	Subnets Subnets // nil: awsvpc tasks fail with a reason
	Secrets Secrets // nil: tasks with secrets fail with a reason
	Logs    Logs    // nil: output is dropped
	// Object reads an object of S3, for environment files; nil: such tasks fail with a reason.
	Object func(bucket, key string) ([]byte, error)
	Env    []string // KEY=value for every container: how it reaches this AWS
	// Agent is what tasks find in their networks; nil: nothing.
	Agent *Agent
	// Names are names for the containers' hosts files; nil: none.
	Names func(*state.Task) []runtime.Host
	// VolumeDir is where volumes without a host path live while their task does; "": such tasks fail.
	VolumeDir string
	// Starts is how many tasks may be starting at the same time; 0 means 16.
	Starts int
	Log    *slog.Logger // nil: silent
	// Trouble is asked before a task and its containers start; nil: there is none.
	Trouble Trouble
	// Rights says what tasks' execution roles may do; nil: all.
	Rights Rights
}

// Rights are those of execution roles; role is an ARN, the errors are why it may not. Tasks without such
// a role are not asked about: the container instance's role works for them.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_execution_IAM_role.html
type Rights interface {
	Pull(ctx context.Context, t *state.Task, role, image string) error
	Secret(ctx context.Context, t *state.Task, role, valueFrom string) error
	Write(ctx context.Context, t *state.Task, role, group, stream string, create bool) error
}

// Trouble keeps tasks from starting, on purpose.
type Trouble interface {
	// Prepare is asked before the task's network is made; its error is why the task stops.
	Prepare(t *state.Task) error
	// Start is asked before a container is pulled; it may wait until ctx ends.
	Start(ctx context.Context, t *state.Task, container, image string) error
}

// Tasks is the task loop: it takes each task through its life, one step forward at a time, in a
// goroutine a task.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
type Tasks struct {
	cfg   TasksConfig
	slots chan struct{}

	mu      sync.Mutex
	drivers map[string]*driver            // by task ARN
	targets map[string]map[string]*driver // by target key: who waits for it to come or go
	wg      sync.WaitGroup
	turns   turns
	stopped []expiry // in order of time
}

type expiry struct {
	at  time.Time
	arn string
}

// NewTasks returns the loop; Run runs it.
func NewTasks(cfg TasksConfig) *Tasks {
	cfg.Log = discardLog(cfg.Log)
	if cfg.Starts == 0 {
		cfg.Starts = 16
	}
	return &Tasks{cfg: cfg, slots: make(chan struct{}, cfg.Starts), drivers: map[string]*driver{}, targets: map[string]map[string]*driver{}}
}

// Run drives tasks until ctx ends, then waits for its goroutines. Containers that still run then are
// left to the runtime's Close; the next Run finds their tasks and stops them with a reason.
func (l *Tasks) Run(ctx context.Context) error {
	defer l.wg.Wait()
	db := l.cfg.State.DB
	w := db.Watch(state.TableTasks, state.TableTargets, state.TableContainerInstances)
	defer w.Stop()
	if err := l.recover(); err != nil {
		return err
	}
	if err := l.look(ctx, nil); err != nil {
		return err
	}
	for {
		next, err := l.expire()
		if err != nil {
			l.cfg.Log.Error("forgetting stopped tasks", "err", err)
		}
		if err := waitFor(ctx, l.cfg.Clock, w, next); err != nil {
			return err
		}
		if changes := w.Drain(); len(changes) > 0 {
			if err := l.look(ctx, changes); err != nil {
				l.cfg.Log.Error("looking at tasks", "err", err)
			}
		}
	}
}

// lostReason is the truth about tasks that were running when the process died.
const lostReason = "The local AWS was stopped while this task was running."

// recover ends the tasks of a former process: what ran has died with it. Tasks that had not begun
// to run go on.
func (l *Tasks) recover() error {
	ecs, now := l.cfg.State, l.cfg.Clock.Now()
	return ecs.DB.Update(func(tx *state.Tx) error {
		var lost []*state.Task
		for _, t := range ecs.Tasks.All(tx) {
			switch {
			case t.LastStatus == "STOPPED":
				l.stopped = append(l.stopped, expiry{t.StoppedAt.Add(keepStopped), t.ARN})
			case t.LastStatus != "PROVISIONING" && (t.LastStatus != "PENDING" || begun(t)):
				lost = append(lost, t)
			}
		}
		slices.SortFunc(l.stopped, func(a, b expiry) int { return a.at.Compare(b.at) })
		for _, old := range lost {
			t := *old
			if t.DesiredStatus != "STOPPED" {
				t.DesiredStatus, t.StopCode, t.StoppedReason = "STOPPED", "TerminationNotice", lostReason
			}
			finish(&t, now)
			t.Version++
			ecs.Tasks.Put(tx, t.ARN, &t)
		}
		return nil
	})
}

func begun(t *state.Task) bool {
	return slices.ContainsFunc(t.Containers, func(c state.TaskContainer) bool { return c.RuntimeID != "" })
}

// finish makes a task STOPPED.
func finish(t *state.Task, now time.Time) {
	if t.StoppingAt.IsZero() {
		t.StoppingAt = now
	}
	if t.ExecutionStoppedAt.IsZero() {
		t.ExecutionStoppedAt = now
	}
	t.LastStatus, t.StoppedAt = "STOPPED", now
	containers := slices.Clone(t.Containers)
	for k := range containers {
		containers[k].LastStatus = "STOPPED"
	}
	t.Containers = containers
}

// atOnce is how many changes are looked at in one transaction: long ones keep everybody waiting.
const atOnce = 500

// look starts and wakes drivers for what has changed; nil looks at everything.
func (l *Tasks) look(ctx context.Context, changes []state.Change) error {
	for len(changes) > atOnce {
		if err := l.look(ctx, changes[:atOnce]); err != nil {
			return err
		}
		changes = changes[atOnce:]
	}
	ecs := l.cfg.State
	var orphans []string // tasks whose instance is gone
	err := ecs.DB.View(func(tx *state.Tx) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if changes == nil {
			for arn, t := range ecs.Tasks.All(tx) {
				l.attend(ctx, arn, t)
			}
			for arn, ci := range ecs.ContainerInstances.All(tx) {
				orphans = append(orphans, l.orphans(tx, arn, ci)...)
			}
		}
		for _, c := range changes {
			switch c.Table {
			case state.TableTasks:
				t, _ := ecs.Tasks.Get(tx, c.Key)
				l.attend(ctx, c.Key, t)
			case state.TableTargets:
				for _, d := range l.targets[c.Key] {
					d.poke()
				}
			case state.TableContainerInstances:
				ci, _ := ecs.ContainerInstances.Get(tx, c.Key)
				orphans = append(orphans, l.orphans(tx, c.Key, ci)...)
			}
		}
		return nil
	})
	if err != nil || len(orphans) == 0 {
		return err
	}
	return ecs.DB.Update(func(tx *state.Tx) error {
		for _, arn := range orphans {
			ecs.Tasks.Modify(tx, arn, func(t *state.Task) {
				if t.DesiredStatus == "STOPPED" {
					return
				}
				id := ""
				if ci, ok := ecs.ContainerInstances.Get(tx, t.ContainerInstance); ok {
					id = ci.EC2InstanceID
				}
				t.DesiredStatus, t.StopCode, t.Version = "STOPPED", "TerminationNotice", t.Version+1
				t.StoppedReason = "Host EC2 (instance " + id + ") stopped/terminated."
			})
		}
		return nil
	})
}

func (l *Tasks) orphans(tx *state.Tx, arn string, ci *state.ContainerInstance) (out []string) {
	if ci != nil && ci.Status != "INACTIVE" {
		return nil
	}
	for task, t := range l.cfg.State.TasksByInstance.Get(tx, arn) {
		if t.DesiredStatus != "STOPPED" {
			out = append(out, task)
		}
	}
	return out
}

// attend wakes the driver of a task, or starts one if the task needs it. l.mu is held.
func (l *Tasks) attend(ctx context.Context, arn string, t *state.Task) {
	if d := l.drivers[arn]; d != nil {
		if t == nil || t.LastStatus != "RUNNING" || t.DesiredStatus == "STOPPED" {
			d.poke()
		} else {
			d.stir()
		}
		return
	}
	if t == nil || t.LastStatus == "STOPPED" || t.ContainerInstance == "" && t.LaunchType != "FARGATE" && t.DesiredStatus != "STOPPED" {
		return
	}
	d := newDriver(l, t.ARN)
	d.resume = func() { l.turns.admit(ctx, d) }
	l.drivers[t.ARN] = d
	d.resume()
}

// gone forgets a driver that has done its work.
func (l *Tasks) gone(d *driver) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.drivers, d.arn)
	for _, k := range d.waitsFor {
		delete(l.targets[k], d.arn)
		if len(l.targets[k]) == 0 {
			delete(l.targets, k)
		}
	}
}

// await wakes d whenever one of the targets changes.
func (l *Tasks) await(d *driver, keys []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range keys {
		if l.targets[k] == nil {
			l.targets[k] = map[string]*driver{}
		}
		l.targets[k][d.arn] = d
	}
	d.waitsFor = append(d.waitsFor, keys...)
}

// noteStopped remembers when to forget a task.
func (l *Tasks) noteStopped(arn string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = append(l.stopped, expiry{at.Add(keepStopped), arn})
}

// expire forgets tasks stopped an hour ago and returns when the next is due.
func (l *Tasks) expire() (next time.Time, err error) {
	now := l.cfg.Clock.Now()
	l.mu.Lock()
	n := 0
	for n < len(l.stopped) && !now.Before(l.stopped[n].at) {
		n++
	}
	due := l.stopped[:n:n]
	l.stopped = l.stopped[n:]
	if len(l.stopped) > 0 {
		next = l.stopped[0].at
	} else {
		next = now.Add(keepStopped / 2) // tasks that stop meanwhile stay for an hour at least
	}
	l.mu.Unlock()
	if len(due) == 0 {
		return next, nil
	}
	return next, l.cfg.State.DB.Update(func(tx *state.Tx) error {
		for _, e := range due {
			l.cfg.State.Tasks.Delete(tx, e.arn)
		}
		return nil
	})
}

// Container returns a running container of a task, for ExecuteCommand and for what it uses.
func (l *Tasks) Container(taskARN, name string) (runtime.Container, bool) {
	l.mu.Lock()
	d := l.drivers[taskARN]
	l.mu.Unlock()
	if d == nil {
		return nil, false
	}
	return d.container(name)
}
