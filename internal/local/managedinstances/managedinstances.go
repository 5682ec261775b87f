// Package managedinstances is what ECS does for capacity providers of managed instances: it launches
// instances for the tasks that wait, of types it chooses itself, and takes away those that are idle.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ManagedInstances.html
package managedinstances

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/slipway-ecs/slipway/internal/capacity"
	"github.com/slipway-ecs/slipway/internal/local/api/ec2"
	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ec2api"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

// idleAfter is how long an instance may be idle where the provider says nothing; AWS names no number.
const idleAfter = 5 * time.Minute

// image is what managed instances boot: AWS chooses it, and nobody sees it.
const image = "ami-0510ca10ca10ca230"

// Config is what it works on.
type Config struct {
	State *state.ECS
	EC2   *ec2.Service
	Clock clock.Clock
	Log   *slog.Logger
}

// Manager launches and terminates. Its loop is Run.
type Manager struct {
	Config
	launched *state.Table[Instance]
}

// Instance is a managed instance from its launch on. Key: EC2 instance id.
type Instance struct {
	ID, Provider, Cluster, Type string
}

// New adds its table to the state. Run runs the loop.
func New(c Config) (*Manager, error) {
	t, err := state.NewTable[Instance](c.State.DB, "ecs.managedinstances")
	return &Manager{c, t}, err
}

// Run settles the providers whenever something has changed, at most once a second, until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	w := m.State.DB.Watch(state.TableTasks, state.TableContainerInstances, state.TableCapacityProviders, state.TableClusters, state.TableDaemons)
	defer w.Stop()
	for {
		var wake time.Time
		if m.used() {
			err := m.State.DB.Update(func(tx *state.Tx) (err error) {
				wake, err = m.settle(tx)
				return err
			})
			if err != nil {
				return fmt.Errorf("managing instances: %w", err)
			}
		}
		var timer <-chan time.Time
		if !wake.IsZero() {
			timer = m.Clock.After(max(0, wake.Sub(m.Clock.Now())))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.C:
			w.Drain()
		case <-timer:
		}
		if err := clock.Sleep(ctx, m.Clock, time.Second); err != nil {
			return nil // the context ended
		}
		w.Drain()
	}
}

// used reports whether there is anything to manage: most clusters have no such provider.
func (m *Manager) used() (any bool) {
	_ = m.State.DB.View(func(tx *state.Tx) error {
		any = m.launched.Len(tx) > 0
		for _, p := range m.State.CapacityProviders.All(tx) {
			any = any || p.API.ManagedInstancesProvider != nil
		}
		return nil
	})
	return any
}

func (m *Manager) settle(tx *state.Tx) (wake time.Time, err error) {
	var all []*Instance
	for _, i := range m.launched.All(tx) {
		all = append(all, i)
	}
	alive := map[string][]*Instance{} // by provider
	for _, i := range all {
		if vm, ok := m.EC2.Instance(tx, i.ID); !ok || vm.State == "terminated" || vm.State == "shutting-down" {
			m.launched.Delete(tx, i.ID)
			continue
		}
		alive[i.Provider] = append(alive[i.Provider], i)
		if at := m.retire(tx, i); !at.IsZero() && (wake.IsZero() || at.Before(wake)) {
			wake = at
		}
	}
	for name, p := range m.State.CapacityProviders.All(tx) {
		if p.API.ManagedInstancesProvider == nil || wire.Value(p.API.Status) != "ACTIVE" {
			continue
		}
		if err := m.supply(tx, name, p, alive[name]); err != nil {
			return wake, err
		}
	}
	return wake, nil
}

func (m *Manager) registered(tx *state.Tx, id string) *state.ContainerInstance {
	for _, ci := range m.State.InstancesByEC2.Get(tx, id) {
		if ci.Status != "INACTIVE" {
			return ci
		}
	}
	return nil
}

// retire makes a joined instance its provider's, and takes it away when it has been idle for long
// enough, drains and is empty, or its provider is gone. It returns when to look again.
func (m *Manager) retire(tx *state.Tx, i *Instance) (wake time.Time) {
	ci := m.registered(tx, i.ID)
	if ci == nil {
		return time.Time{} // it boots
	}
	next := *ci
	guarded := m.guarded(tx, i.Provider)
	if next.CapacityProvider == "" && guarded && next.Status == "ACTIVE" {
		next.Status = "REGISTERING" // daemons come first: their loop makes it ACTIVE
	} else if next.Status == "REGISTERING" && !guarded {
		next.Status = "ACTIVE"
	}
	next.CapacityProvider = i.Provider
	busy := false
	for _, t := range m.State.TasksByInstance.Get(tx, ci.ARN) {
		busy = busy || t.DaemonARN == ""
	}
	now := m.Clock.Now()
	p, ok := m.State.CapacityProviders.Get(tx, i.Provider)
	gone := !ok || wire.Value(p.API.Status) != "ACTIVE" || p.API.ManagedInstancesProvider == nil
	switch {
	case busy:
		next.IdleSince = time.Time{}
	case next.IdleSince.IsZero():
		next.IdleSince = now
	}
	if gone && next.Status != "DRAINING" {
		next.Status = "DRAINING"
	}
	if after := idleFor(p); !busy && !gone && next.Status == "ACTIVE" && after >= 0 {
		if at := next.IdleSince.Add(after); now.Before(at) {
			wake = at
		} else {
			next.Status = "DRAINING" // nothing is placed on it any more; it goes at the next look
			wake = now.Add(time.Second)
		}
	} else if !busy && next.Status == "DRAINING" && ci.Status == "DRAINING" {
		m.EC2.Terminate(tx, i.ID, "ECS managed instances: the instance is idle")
		return time.Time{}
	}
	if next.CapacityProvider != ci.CapacityProvider || next.Status != ci.Status || !next.IdleSince.Equal(ci.IdleSince) {
		next.Version++
		m.State.ContainerInstances.Put(tx, ci.ARN, &next)
	}
	return wake
}

// guarded reports whether daemons run on the instances of a provider.
func (m *Manager) guarded(tx *state.Tx, provider string) bool {
	for _, d := range m.State.Daemons.All(tx) {
		if d.Status == "ACTIVE" && slices.Contains(d.Providers, provider) {
			return true
		}
	}
	return false
}

// idleFor is how long an instance may be idle; negative: for ever.
func idleFor(p *state.CapacityProvider) time.Duration {
	if p == nil || p.API.ManagedInstancesProvider == nil || p.API.ManagedInstancesProvider.InfrastructureOptimization == nil || p.API.ManagedInstancesProvider.InfrastructureOptimization.ScaleInAfter == nil {
		return idleAfter
	}
	return time.Duration(*p.API.ManagedInstancesProvider.InfrastructureOptimization.ScaleInAfter) * time.Second
}

// room is what is left of an instance, there or to come.
type room struct{ cpu, memory, gpu, eni int }

func (r *room) take(t *state.Task) bool {
	eni := 0
	if t.NetworkConfiguration != nil {
		eni = 1
	}
	if r.cpu < t.CPU || r.memory < t.Memory || r.gpu < t.GPU || r.eni < eni {
		return false
	}
	r.cpu, r.memory, r.gpu, r.eni = r.cpu-t.CPU, r.memory-t.Memory, r.gpu-t.GPU, r.eni-eni
	return true
}

func roomOf(t capacity.Type, reserved room) room {
	return room{t.RegisteredCPU() - reserved.cpu, t.RegisteredMemory() - reserved.memory, t.GPUs, t.TaskENIs(true)}
}

// supply launches instances for the provider's tasks that wait and find no room on what is there or
// boots.
func (m *Manager) supply(tx *state.Tx, name string, p *state.CapacityProvider, alive []*Instance) error {
	cluster := wire.Value(p.API.Cluster)
	var waiting []*state.Task
	for _, t := range m.State.TasksByCluster.Get(tx, cluster) {
		if t.CapacityProvider == name && t.LastStatus == "PROVISIONING" && t.DesiredStatus != "STOPPED" && t.ContainerInstance == "" {
			waiting = append(waiting, t)
		}
	}
	if len(waiting) == 0 {
		return nil
	}
	slices.SortStableFunc(waiting, func(a, b *state.Task) int { // the largest first
		return cmp.Or(cmp.Compare(b.GPU, a.GPU), cmp.Compare(b.CPU+b.Memory/2, a.CPU+a.Memory/2))
	})
	daemons := m.daemons(tx, name)
	var rooms []*room
	for _, i := range alive {
		t, _ := capacity.TypeByName(i.Type)
		r := roomOf(t, daemons)
		if ci := m.registered(tx, i.ID); ci != nil {
			if ci.Status != "ACTIVE" {
				continue
			}
			guarded := false
			for _, t := range m.State.TasksByInstance.Get(tx, ci.ARN) {
				guarded = guarded || t.DaemonARN != ""
			}
			if guarded { // what daemons take is counted with the tasks
				r = roomOf(t, room{})
			}
			for _, t := range m.State.TasksByInstance.Get(tx, ci.ARN) {
				r.cpu, r.memory = r.cpu-t.CPU, r.memory-t.Memory
				if r.gpu -= t.GPU; t.NetworkConfiguration != nil {
					r.eni--
				}
			}
		}
		rooms = append(rooms, &r)
	}
	template := p.API.ManagedInstancesProvider.InstanceLaunchTemplate
	candidates := Candidates(template.InstanceRequirements)
	for len(waiting) > 0 {
		waiting = slices.DeleteFunc(waiting, func(t *state.Task) bool {
			return slices.ContainsFunc(rooms, func(r *room) bool { return r.take(t) })
		})
		if len(waiting) == 0 {
			return nil
		}
		best, found := choose(candidates, waiting, daemons)
		if !found {
			m.Log.Warn("no instance type meets the requirements of a capacity provider and has room for a task", "provider", name, "task", waiting[0].ARN)
			waiting = waiting[1:]
			continue
		}
		if err := m.launch(tx, name, p, best, len(alive)); err != nil {
			m.Log.Warn("launching a managed instance", "provider", name, "err", err)
			return nil
		}
		r := roomOf(best, daemons)
		rooms, alive = append(rooms, &r), append(alive, nil)
	}
	return nil
}

// choose is the type that has the waiting tasks, from the first on, at the lowest price a task.
func choose(candidates []capacity.Type, waiting []*state.Task, daemons room) (best capacity.Type, found bool) {
	const most = 200 // tasks on an instance that are counted
	lowest := 0.0
	for _, c := range candidates {
		r, n := roomOf(c, daemons), 0
		if !r.take(waiting[0]) {
			continue
		}
		for _, t := range waiting[1:min(len(waiting), most)] {
			if r.take(t) {
				n++
			}
		}
		if price := c.PriceHour / float64(n+1); !found || price < lowest {
			best, lowest, found = c, price, true
		}
	}
	return best, found
}

// daemons is what the daemons of a provider take of each of its instances.
func (m *Manager) daemons(tx *state.Tx, provider string) (r room) {
	for _, d := range m.State.Daemons.All(tx) {
		if d.Status != "ACTIVE" || !slices.Contains(d.Providers, provider) {
			continue
		}
		for _, def := range m.State.DaemonDefinitions.All(tx) {
			if wire.Value(def.Def.DaemonTaskDefinitionArn) == d.Definition {
				cpu, memory := Size(&def.Def)
				r.cpu, r.memory = r.cpu+cpu, r.memory+memory
			}
		}
	}
	return r
}

// Size is what a daemon task takes of its instance: what the definition says, or its containers
// together.
func Size(def *ecsapi.DaemonTaskDefinition) (cpu, memory int) {
	for _, c := range def.ContainerDefinitions {
		cpu += int(wire.Value(c.Cpu))
		memory += int(cmp.Or(wire.Value(c.MemoryReservation), wire.Value(c.Memory)))
	}
	number := func(s *string, otherwise int) int {
		n := 0
		if _, err := fmt.Sscanf(wire.Value(s), "%d", &n); err != nil || n <= 0 {
			return otherwise
		}
		return n
	}
	return number(def.Cpu, cpu), number(def.Memory, memory)
}

func (m *Manager) launch(tx *state.Tx, name string, p *state.CapacityProvider, t capacity.Type, nth int) error {
	mi := p.API.ManagedInstancesProvider
	template, cluster := mi.InstanceLaunchTemplate, wire.Value(p.API.Cluster)
	l := ec2.Launch{Type: t.Name, ImageID: image, Profile: wire.Value(template.Ec2InstanceProfileArn), Spot: wire.Value(template.CapacityOptionType) == "SPOT",
		UserData: base64.StdEncoding.EncodeToString([]byte("#!/bin/bash\necho ECS_CLUSTER=" + cluster + " >> /etc/ecs/ecs.config\necho ECS_ENABLE_TASK_ENI_TRUNKING=true >> /etc/ecs/ecs.config\n")),
		Tags:     []ec2api.Tag{{Key: wire.String("AmazonECSManaged"), Value: wire.String("true")}, {Key: wire.String("aws:ecs:clusterName"), Value: &cluster}, {Key: wire.String("aws:ecs:capacityProviderName"), Value: &name}}}
	if wire.Value(mi.PropagateTags) == "CAPACITY_PROVIDER" {
		for _, tag := range p.API.Tags {
			l.Tags = append(l.Tags, ec2api.Tag{Key: tag.Key, Value: tag.Value})
		}
	}
	if n := template.NetworkConfiguration; n != nil {
		l.SecurityGroups = n.SecurityGroups
		if len(n.Subnets) > 0 {
			l.SubnetID = n.Subnets[nth%len(n.Subnets)] // over the subnets by turns
		}
	}
	i, err := m.EC2.Launch(tx, l)
	if err != nil {
		return err
	}
	m.launched.Put(tx, i.ID, &Instance{ID: i.ID, Provider: name, Cluster: cluster, Type: t.Name})
	return nil
}
