package loop

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/runtime"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

// unit is a container of the task.
type unit struct {
	def     *ecsapi.ContainerDefinition
	c       runtime.Container
	started bool // Start has been called
	up      bool // it has run
	exited  bool
	code    int
	since   time.Time // of the present run
	health  string    // of a container with a check
	logs    []io.Closer
}

// start starts a container in the background and reports back.
func (d *driver) start(ctx context.Context, u *unit) {
	t := d.read()
	if t == nil {
		return
	}
	starting := d.begin(ctx)
	d.l.wg.Go(func() {
		if x := d.l.cfg.Trouble; x != nil {
			if err := x.Start(starting, t, wire.Value(u.def.Name), wire.Value(u.def.Image)); err != nil {
				d.send(func() { d.started(ctx, u, nil, nil, err) })
				return
			}
		}
		if !d.slot(starting) {
			d.send(func() { d.started(ctx, u, nil, nil, starting.Err()) })
			return
		}
		defer d.release()
		spec, logs, err := d.spec(starting, t, u.def)
		if err == nil {
			if no := d.asExecution(t, func(r Rights, role string) error { return r.Pull(starting, t, role, spec.Image) }); no != nil {
				err = &runtime.PullError{Image: spec.Image, Err: no}
			}
		}
		var c runtime.Container
		if err == nil {
			c, err = d.task.Start(starting, spec)
		}
		d.send(func() { d.started(ctx, u, c, logs, err) })
	})
}

// started takes note of a started container, or of why it could not be.
func (d *driver) started(ctx context.Context, u *unit, c runtime.Container, logs []io.Closer, err error) {
	d.ended()
	name := wire.Value(u.def.Name)
	u.logs = logs
	if err != nil {
		closeAll(logs)
		u.up, u.exited, u.code = true, true, -1
		if d.ending {
			return // it was given up
		}
		reason := startReason(err)
		d.write(func(_ *state.Tx, t *state.Task) {
			if k := containerIndex(t, name); k >= 0 {
				t.Containers[k].Reason, t.Containers[k].LastStatus = reason, "STOPPED"
			}
		})
		d.fail("TaskFailedToStart", reason)
		return
	}
	u.c, u.up, u.since = c, true, d.now()
	d.setRunning(name, c)
	d.write(func(_ *state.Tx, t *state.Task) {
		if k := containerIndex(t, name); k >= 0 {
			t.Containers[k].RuntimeID, t.Containers[k].ImageDigest, t.Containers[k].LastStatus = c.ID(), c.ImageDigest(), "RUNNING"
		}
		if t.DesiredStatus != "STOPPED" && t.LastStatus == "PENDING" && d.allUp() {
			d.activating(t)
		}
	})
	if n, ok := c.(runtime.Notifier); ok {
		n.Notify(func(exit runtime.Exit) {
			if ctx.Err() == nil {
				d.send(func() { d.exited(ctx, u, exit, nil) })
			}
		})
	} else {
		life := d.background(ctx)
		d.l.wg.Go(func() {
			exit, err := c.Wait(life)
			if life.Err() != nil {
				return
			}
			d.send(func() { d.exited(ctx, u, exit, err) })
		})
	}
	if hasCheck(u.def) {
		life := d.background(ctx)
		d.l.wg.Go(func() { d.check(life, u, c) })
	}
}

// The reasons are AWS's: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
func startReason(err error) string {
	var pull *runtime.PullError
	var init *initError
	switch {
	case errors.As(err, &pull):
		return "CannotPullContainerError: " + err.Error()
	case errors.As(err, &init):
		return "ResourceInitializationError: " + err.Error()
	}
	return "CannotStartContainerError: " + err.Error()
}

// initError is a failure before anything of the container was touched: secrets, logs, volumes.
type initError struct{ err error }

func (e *initError) Error() string { return e.err.Error() }
func (e *initError) Unwrap() error { return e.err }

const oomReason = "OutOfMemoryError: Container killed due to memory usage"

// exited takes note of a container that has ended.
func (d *driver) exited(ctx context.Context, u *unit, exit runtime.Exit, err error) {
	name := wire.Value(u.def.Name)
	closeAll(u.logs)
	d.setRunning(name, nil)
	if err == nil && !d.ending && restarts(u, exit.Code, d.now()) {
		u.c = nil
		if hasCheck(u.def) {
			d.setHealth(u, "UNKNOWN")
		}
		d.start(ctx, u)
		return
	}
	u.exited, u.code = true, exit.Code
	essential := u.def.Essential == nil || *u.def.Essential
	d.write(func(_ *state.Tx, t *state.Task) {
		if k := containerIndex(t, name); k >= 0 {
			c := &t.Containers[k]
			c.LastStatus = "STOPPED"
			switch {
			case err != nil:
				c.Reason = "CannotInspectContainerError: " + err.Error()
			case exit.OOM:
				c.Reason = oomReason
				fallthrough
			default:
				code := exit.Code
				c.ExitCode = &code
			}
		}
		if essential && t.DesiredStatus != "STOPPED" {
			t.DesiredStatus, t.StopCode, t.StoppedReason = "STOPPED", "EssentialContainerExited", "Essential container in task exited"
			t.ExecutionStoppedAt = d.now()
		}
	})
}

// restarts reports whether the container's restart policy has it run again.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/container-restart-policy.html
func restarts(u *unit, code int, now time.Time) bool {
	p := u.def.RestartPolicy
	if p == nil || !wire.Value(p.Enabled) || slices.Contains(p.IgnoredExitCodes, int32(code)) {
		return false
	}
	period := 300 * time.Second
	if p.RestartAttemptPeriod != nil {
		period = time.Duration(*p.RestartAttemptPeriod) * time.Second
	}
	return now.Sub(u.since) >= period
}

func closeAll(list []io.Closer) {
	for _, c := range list {
		_ = c.Close() // the output is in the store already, or it has been refused before
	}
}

func containerIndex(t *state.Task, name string) int {
	return slices.IndexFunc(t.Containers, func(c state.TaskContainer) bool { return c.Name == name })
}

// setHealth takes over a container's health and the task's, which is that of its essential
// containers together.
func (d *driver) setHealth(u *unit, health string) {
	if u.health == health {
		return
	}
	u.health = health
	all := "HEALTHY"
	any := false
	for _, x := range d.units {
		if !hasCheck(x.def) || x.def.Essential != nil && !*x.def.Essential {
			continue
		}
		any = true
		switch {
		case x.health == "UNHEALTHY":
			all = "UNHEALTHY"
		case x.health == "UNKNOWN" && all == "HEALTHY":
			all = "UNKNOWN"
		}
	}
	if !any {
		all = "UNKNOWN"
	}
	d.write(func(_ *state.Tx, t *state.Task) {
		if k := containerIndex(t, wire.Value(u.def.Name)); k >= 0 {
			t.Containers[k].Health = health
		}
		t.HealthStatus = all
	})
}
