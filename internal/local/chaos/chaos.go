// Package chaos breaks the world of the local AWS on purpose, as wire.Faults breaks its requests: tasks
// that do not start, instances that die, a zone without power, Spot interruptions, agents that lose
// their connection, a wrong clock, names that do not resolve.
package chaos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/api/ec2"
	"github.com/slipway-ecs/slipway/internal/local/api/servicediscovery"
	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/runtime"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
)

// The kinds of faults.
const (
	TaskPull   = "task-pull"         // the image of a container cannot be pulled
	TaskInit   = "task-init"         // what a task needs before its containers cannot be had
	TaskSlow   = "task-slow"         // containers start late, by the delay
	Instance   = "instance-dies"     // machines die, at once
	Zone       = "zone-outage"       // a zone has no power: what is there dies, nothing starts there
	Spot       = "spot-interruption" // Spot instances get their two minutes' notice, Fargate Spot tasks are stopped
	Disconnect = "agent-disconnect"  // agents lose their connection until the fault ends
	Skew       = "clock-skew"        // the clock is wrong by the delay, as clients see it
	DNS        = "dns-pending"       // names of Cloud Map are not there yet
)

// maxSkew is how far the clock may be wrong.
const maxSkew = 365 * 24 * time.Hour

// Config is what can be broken.
type Config struct {
	State  *state.ECS
	EC2    *ec2.Service
	Clock  clock.Clock
	Faults *wire.Faults
	// Emit puts an event on the default bus.
	Emit            func(source, detailType string, resources []string, detail any)
	Log             *slog.Logger
	Region, Account string
}

// World breaks. Its loop is Run.
type World struct {
	c    Config
	wake chan struct{}
}

// New adds the kinds to the faults, and connects agents that a fault left disconnected when this was
// last running: faults do not survive, what they did would.
func New(c Config) (*World, error) {
	w := &World{c: c, wake: make(chan struct{}, 1)}
	task := wire.FaultKind{Check: w.checkTask}
	c.Faults.Kinds = map[string]wire.FaultKind{
		TaskPull: task, TaskInit: task, TaskSlow: task,
		Instance:   {Check: w.checkInstances, Begin: w.kill},
		Zone:       {Check: w.checkZone, Begin: w.cutZone},
		Spot:       {Check: w.checkInstances, Begin: w.interrupt},
		Disconnect: {Check: w.checkInstances, Begin: w.disconnect, End: w.reconnect},
		Skew:       {Check: w.checkSkew},
		DNS:        {Check: w.timed},
	}
	c.Faults.Changed = func() {
		select {
		case w.wake <- struct{}{}:
		default: // it is about to look
		}
	}
	c.EC2.OnLaunch(w.ZoneDown)
	err := c.State.DB.Update(func(tx *state.Tx) error {
		var cut []string
		for arn, ci := range c.State.ContainerInstances.All(tx) {
			i, machine := c.EC2.Instance(tx, ci.EC2InstanceID)
			if !ci.AgentConnected && ci.Status != "INACTIVE" && (!machine || i.State == "running") {
				cut = append(cut, arn)
			}
		}
		for _, arn := range cut {
			w.connect(tx, arn, true)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("connecting agents: %w", err)
	}
	return w, nil
}

// Run ends faults whose time is over, until ctx ends.
func (w *World) Run(ctx context.Context) error {
	for {
		var timer <-chan time.Time
		if at := w.c.Faults.Soonest(); !at.IsZero() {
			timer = w.c.Clock.After(max(at.Sub(w.c.Clock.Now()), time.Millisecond))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		case <-timer:
			w.c.Faults.Expire(w.c.Clock.Now())
		}
	}
}

// timed works out when the fault ends.
func (w *World) timed(f *wire.Fault) error {
	if f.For > 0 {
		f.Until = w.c.Clock.Now().Add(time.Duration(f.For) * time.Second)
	}
	return nil
}

func (w *World) checkTask(f *wire.Fault) error {
	if f.Kind == TaskSlow && f.Delay <= 0 {
		return errors.New("slow tasks need a delay")
	}
	return w.timed(f)
}

func (w *World) checkSkew(f *wire.Fault) error {
	if f.Delay == 0 || time.Duration(f.Delay).Abs() > maxSkew/time.Millisecond {
		return errors.New("the clock must be wrong by something, and at most by a year")
	}
	return w.timed(f)
}

func (w *World) checkZone(f *wire.Fault) error {
	if f.Target.Zone == "" {
		return errors.New("name the zone")
	}
	return w.timed(f)
}

func (w *World) checkInstances(f *wire.Fault) error {
	t := f.Target
	if t.Instance == "" && t.Group == "" && t.Cluster == "" && t.Zone == "" && t.Family == "" && t.Service == "" {
		return errors.New("name an instance, a group, a cluster or a zone; * is any")
	}
	return w.timed(f)
}

// ClockSkew is by how much the clock is wrong now, as clients see it.
func (w *World) ClockSkew() time.Duration {
	var sum time.Duration
	for _, f := range w.c.Faults.Active(Skew) {
		sum += time.Duration(f.Delay) * time.Millisecond
	}
	return sum
}

// ZoneDown says whether a zone has no power.
func (w *World) ZoneDown(zone string) bool {
	for _, f := range w.c.Faults.Active(Zone) {
		if wire.Matches(f.Target.Zone, zone) {
			return true
		}
	}
	return false
}

// names hides names.
type names struct {
	w  *World
	in interface {
		Resolve(name, kind string) ([]servicediscovery.Record, bool)
	}
}

// Names hides the names that a fault says are not there yet: they are answered as names nobody knows.
func (w *World) Names(in interface {
	Resolve(name, kind string) ([]servicediscovery.Record, bool)
}) interface {
	Resolve(name, kind string) ([]servicediscovery.Record, bool)
} {
	return names{w, in}
}

func (n names) Resolve(name, kind string) ([]servicediscovery.Record, bool) {
	records, known := n.in.Resolve(name, kind)
	if len(records) == 0 {
		return records, known
	}
	plain := strings.TrimSuffix(strings.ToLower(name), ".")
	if hit := n.w.c.Faults.Strike(func(f wire.Fault) bool { return f.Kind == DNS && wire.Matches(strings.ToLower(f.Target.Name), plain) }); len(hit) > 0 {
		return nil, known
	}
	return records, known
}

func (w *World) ofTask(f wire.Fault, t *state.Task, container string) bool {
	_, service, _ := strings.Cut(t.ServiceKey, "/")
	_, family, _ := strings.Cut(t.TaskDefinition, ":task-definition/")
	family, _, _ = strings.Cut(family, ":")
	x := f.Target
	return wire.Matches(x.Cluster, t.ClusterName) && wire.Matches(x.Service, service) && wire.Matches(x.Family, family) && wire.Matches(x.Zone, t.AZ) && (container == "" || wire.Matches(x.Container, container))
}

// Prepare is called before a task's network is made; its error is why the task cannot start.
func (w *World) Prepare(t *state.Task) error {
	if t.LaunchType == "FARGATE" && w.ZoneDown(t.AZ) {
		return errors.New("Timeout waiting for network interface provisioning to complete.") //nolint:staticcheck // AWS's words
	}
	if struck := w.c.Faults.Strike(func(f wire.Fault) bool { return f.Kind == TaskInit && w.ofTask(f, t, "") }); len(struck) > 0 {
		why := struck[0].Message
		if why == "" {
			why = "unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve ecr registry auth: service call has been retried 3 time(s): RequestError: send request failed caused by: i/o timeout. Please check your task network configuration."
		}
		return errors.New("ResourceInitializationError: " + why)
	}
	return nil
}

// Start is called before a container is pulled and started; it may wait. Its error is why it cannot.
func (w *World) Start(ctx context.Context, t *state.Task, container, image string) error {
	for _, f := range w.c.Faults.Strike(func(f wire.Fault) bool {
		return (f.Kind == TaskSlow || f.Kind == TaskPull) && w.ofTask(f, t, container)
	}) {
		if f.Kind == TaskSlow {
			if err := clock.Sleep(ctx, w.c.Clock, time.Duration(f.Delay)*time.Millisecond); err != nil {
				return err
			}
			continue
		}
		why := f.Message
		if why == "" {
			why = "pull image manifest has been retried 5 time(s): failed to resolve ref " + image + ": connection timed out"
		}
		return &runtime.PullError{Image: image, Err: errors.New(why)}
	}
	return nil
}

// chosen are the running instances a fault is for, Number of them by its dice.
func (w *World) chosen(tx *state.Tx, f *wire.Fault, fits func(*ec2.Instance) bool) []string {
	var out []string
	for _, i := range w.c.EC2.All(tx) {
		if i.State != "running" && i.State != "pending" || fits != nil && !fits(i) {
			continue
		}
		clusters := ""
		for arn := range w.c.State.InstancesByEC2.Get(tx, i.ID) {
			if ci, ok := w.c.State.ContainerInstances.Get(tx, arn); ok && ci.Status != "INACTIVE" {
				clusters = ci.ClusterName
			}
		}
		group := ""
		for _, t := range i.Tags {
			if wire.Value(t.Key) == "aws:autoscaling:groupName" {
				group = wire.Value(t.Value)
			}
		}
		x := f.Target
		if wire.Matches(x.Instance, i.ID) && wire.Matches(x.Group, group) && wire.Matches(x.Cluster, clusters) && wire.Matches(x.Zone, i.AZ) {
			out = append(out, i.ID)
		}
	}
	slices.Sort(out)
	if n := f.Target.Number; n > 0 && n < len(out) {
		rand.New(rand.NewPCG(f.Seed, 1)).Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
		out = out[:n]
		slices.Sort(out)
	}
	return out
}

func none(f *wire.Fault, what string) error {
	var by []string
	t := f.Target
	for _, p := range []struct{ name, value string }{{"instance", t.Instance}, {"group", t.Group}, {"cluster", t.Cluster}, {"zone", t.Zone}, {"service", t.Service}, {"family", t.Family}} {
		if p.value != "" {
			by = append(by, p.name+" "+p.value)
		}
	}
	return fmt.Errorf("there is no %s of %s", what, strings.Join(by, ", "))
}

// die ends a machine without a warning: its agent is gone at once.
func (w *World) die(tx *state.Tx, id, reason string) {
	w.connectAll(tx, []string{id}, false)
	w.c.EC2.Terminate(tx, id, reason)
}

func (w *World) connect(tx *state.Tx, arn string, on bool) {
	w.c.State.ContainerInstances.Modify(tx, arn, func(c *state.ContainerInstance) { c.AgentConnected, c.Version = on, c.Version+1 })
}

func (w *World) kill(f *wire.Fault) error {
	err := w.c.State.DB.Update(func(tx *state.Tx) error {
		f.Did = w.chosen(tx, f, nil)
		for _, id := range f.Did {
			w.die(tx, id, "Server.InternalError: The instance's hardware failed.")
		}
		return nil
	})
	if err == nil && len(f.Did) == 0 {
		err = none(f, "running instance")
	}
	return err
}

// cutZone ends what runs in a zone; that nothing starts there, Prepare and the hook of launches see to.
func (w *World) cutZone(f *wire.Fault) error {
	known := false
	err := w.c.State.DB.Update(func(tx *state.Tx) error {
		for _, sub := range w.c.EC2.Subnets(tx) {
			known = known || wire.Matches(f.Target.Zone, sub.AZ)
		}
		all := *f
		all.Target = wire.Target{Zone: f.Target.Zone}
		f.Did = w.chosen(tx, &all, nil)
		for _, id := range f.Did {
			w.die(tx, id, "Server.InternalError: The Availability Zone lost power.")
		}
		f.Did = append(f.Did, w.stop(tx, "TerminationNotice", "The Availability Zone "+f.Target.Zone+" lost power.", func(t *state.Task) bool {
			return t.LaunchType == "FARGATE" && wire.Matches(f.Target.Zone, t.AZ)
		})...)
		return nil
	})
	if err == nil && !known {
		err = none(f, "zone")
	}
	return err
}

// stop asks tasks to stop, and names them.
func (w *World) stop(tx *state.Tx, code, reason string, which func(*state.Task) bool) []string {
	var keys []string
	for key, t := range w.c.State.Tasks.All(tx) {
		if t.DesiredStatus != "STOPPED" && which(t) {
			keys = append(keys, key)
		}
	}
	for _, key := range keys {
		w.c.State.Tasks.Modify(tx, key, func(t *state.Task) {
			t.DesiredStatus, t.StopCode, t.StoppedReason, t.StoppingAt, t.Version = "STOPPED", code, reason, w.c.Clock.Now(), t.Version+1
		})
	}
	return keys
}

// interrupt gives Spot instances their notice, and stops Fargate Spot tasks
// (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html,
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-capacity-providers.html).
func (w *World) interrupt(f *wire.Fault) error {
	type told struct{ id, zone string }
	var tell []told
	err := w.c.State.DB.Update(func(tx *state.Tx) error {
		tell, f.Did = nil, w.chosen(tx, f, func(i *ec2.Instance) bool { return i.Spot && i.InterruptAt.IsZero() })
		for _, id := range f.Did {
			if i, ok := w.c.EC2.Instance(tx, id); ok {
				tell = append(tell, told{id, i.AZ})
			}
			w.c.EC2.Interrupt(tx, id)
		}
		x := f.Target
		if x.Instance != "" || x.Group != "" {
			return nil
		}
		var left int
		if left = x.Number - len(f.Did); x.Number > 0 && left <= 0 {
			return nil
		}
		n := 0
		f.Did = append(f.Did, w.stop(tx, "SpotInterruption", "Your Spot Task was interrupted.", func(t *state.Task) bool {
			fits := t.CapacityProvider == "FARGATE_SPOT" && w.ofTask(*f, t, "") && (x.Number == 0 || n < left)
			if fits {
				n++
			}
			return fits
		})...)
		return nil
	})
	if err != nil {
		return err
	}
	if len(f.Did) == 0 {
		return none(f, "Spot instance and no task on FARGATE_SPOT")
	}
	for _, t := range tell {
		arn := []string{"arn:aws:ec2:" + t.zone + ":instance/" + t.id}
		w.c.Emit("aws.ec2", "EC2 Instance Rebalance Recommendation", arn, map[string]string{"instance-id": t.id})
		w.c.Emit("aws.ec2", "EC2 Spot Instance Interruption Warning", arn, map[string]string{"instance-id": t.id, "instance-action": "terminate"})
	}
	return nil
}

func (w *World) disconnect(f *wire.Fault) error {
	err := w.c.State.DB.Update(func(tx *state.Tx) error {
		f.Did = w.chosen(tx, f, nil)
		if f.Target.Instance == "" && f.Target.Group == "" && f.Target.Number == 0 { // those that are not of EC2, too
			for arn, ci := range w.c.State.ContainerInstances.All(tx) {
				if _, ours := w.c.EC2.Instance(tx, ci.EC2InstanceID); !ours && ci.Status != "INACTIVE" && wire.Matches(f.Target.Cluster, ci.ClusterName) && wire.Matches(f.Target.Zone, ci.AZ) {
					f.Did = append(f.Did, arn)
				}
			}
		}
		w.connectAll(tx, f.Did, false)
		return nil
	})
	if err == nil && len(f.Did) == 0 {
		err = none(f, "container instance")
	}
	return err
}

func (w *World) connectAll(tx *state.Tx, names []string, on bool) {
	for _, name := range names {
		arns := []string{}
		for arn := range w.c.State.InstancesByEC2.Get(tx, name) {
			arns = append(arns, arn)
		}
		if strings.HasPrefix(name, "arn:") {
			arns = []string{name}
		}
		for _, arn := range arns {
			if ci, ok := w.c.State.ContainerInstances.Get(tx, arn); ok && ci.Status != "INACTIVE" {
				w.connect(tx, arn, on)
			}
		}
	}
}

func (w *World) reconnect(f wire.Fault) {
	err := w.c.State.DB.Update(func(tx *state.Tx) error {
		w.connectAll(tx, f.Did, true)
		return nil
	})
	if err != nil {
		w.c.Log.Error("connecting agents again", "error", err)
	}
}
