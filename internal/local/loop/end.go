package loop

import (
	"context"
	"slices"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
)

const (
	// stopTimeout is between SIGTERM and SIGKILL where the definition names nothing.
	// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html
	stopTimeout = 30 * time.Second
	// drainLimit is the longest deregistration delay: a target that is there longer was forgotten.
	drainLimit = time.Hour
)

// end takes a task that was asked to stop to STOPPED: deregister and drain, SIGTERM, SIGKILL, clean up.
func (d *driver) end(ctx context.Context) {
	t := d.read()
	if t == nil { // somebody removed the record
		d.close(ctx)
		return
	}
	status := func(s string) {
		d.write(func(_ *state.Tx, t *state.Task) {
			t.LastStatus = s
			if t.StoppingAt.IsZero() {
				t.StoppingAt = d.now()
			}
		})
	}
	if d.task != nil {
		if t.LastStatus == "ACTIVATING" || t.LastStatus == "RUNNING" {
			status("DEACTIVATING")
			if t.StopCode != "EssentialContainerExited" && t.StopCode != "TerminationNotice" {
				d.drain(ctx)
			}
		}
		status("STOPPING")
		d.stopContainers(ctx)
		if ctx.Err() != nil {
			return
		}
		d.write(func(_ *state.Tx, t *state.Task) {
			t.LastStatus = "DEPROVISIONING"
			if t.ExecutionStoppedAt.IsZero() {
				t.ExecutionStoppedAt = d.now()
			}
		})
		d.close(ctx)
	}
	now := d.now()
	d.write(func(_ *state.Tx, t *state.Task) { finish(t, now) })
	d.l.noteStopped(d.arn, now)
}

// drain waits until the balancers have let go of the task's targets.
func (d *driver) drain(ctx context.Context) {
	limit := d.l.cfg.Clock.After(drainLimit)
	deadline := d.now().Add(drainLimit)
	watching := false
	for ctx.Err() == nil && d.now().Before(deadline) {
		keys, done := d.targets(drained)
		if done || d.allExited() {
			return
		}
		if !watching {
			d.l.await(d, keys)
			watching = true
			continue
		}
		d.wait(ctx, limit)
	}
}

func (d *driver) allExited() bool {
	return !slices.ContainsFunc(d.units, func(u *unit) bool { return u.started && !u.exited })
}

// stopContainers stops containers, those that depend on others first, and waits for their ends.
func (d *driver) stopContainers(ctx context.Context) {
	asked := map[*unit]bool{}
	for {
		waiting := false
		for _, u := range d.units {
			switch {
			case u.exited || !u.started:
			case u.c == nil:
				waiting = true // still starting: it reports in a moment
			case asked[u] || d.needed(u):
				waiting = true
			default:
				asked[u], waiting = true, true
				timeout := stopTimeout
				if u.def.StopTimeout != nil {
					timeout = time.Duration(*u.def.StopTimeout) * time.Second
				}
				c := u.c
				d.l.wg.Go(func() {
					if err := c.Stop(ctx, d.l.cfg.Clock.Real(timeout)); err != nil && ctx.Err() == nil {
						d.l.cfg.Log.Warn("stopping a container", "task", d.arn, "container", wire.Value(u.def.Name), "err", err)
					}
				})
			}
		}
		if !waiting || ctx.Err() != nil {
			return
		}
		d.wait(ctx, nil)
	}
}

// needed reports whether a container that still runs depends on u.
func (d *driver) needed(u *unit) bool {
	for _, o := range d.units {
		if o.c == nil || o.exited {
			continue
		}
		for _, dep := range o.def.DependsOn {
			if wire.Value(dep.ContainerName) == wire.Value(u.def.Name) {
				return true
			}
		}
	}
	return false
}

// close removes what the task leaves on the machine.
func (d *driver) close(ctx context.Context) {
	if d.task != nil {
		if err := d.task.Close(ctx); err != nil {
			d.l.cfg.Log.Warn("cleaning up a task", "task", d.arn, "err", err)
		}
	}
	if d.agent != nil {
		_ = d.agent.web.Close() // its listener went with the task's network
	}
	if err := d.dropVolumes(); err != nil {
		d.l.cfg.Log.Warn("removing a task's volumes", "task", d.arn, "err", err)
	}
}
