package ecs

import (
	"slices"
	"strings"
	"sync"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/placement"
)

// fleet keeps the scheduler's view of the container instances between requests, so that a RunTask in
// a cluster of thousands looks again only at the instances something happened on.
//
// It learns what happened from a watch, which tells of a change shortly after it is made. So a choice
// made from the fleet is checked against the state before it counts.
type fleet struct {
	st *state.ECS

	mu       sync.Mutex
	watch    *state.Watch      // nil until first used
	on       map[string]string // instance of a task, by task ARN
	stale    map[string]bool   // instances to look at again
	clusters map[string]*members
	calls    int

	attrsMu sync.Mutex
	attrs   map[string]attributes // of instances, by ARN
}

// attributes are those of an instance as the scheduler has them; every view of it shares them.
type attributes struct {
	of  *state.ContainerInstance
	set map[string]string
}

// attributes returns the attributes of an instance, which must not be modified.
func (f *fleet) attributes(ci *state.ContainerInstance) map[string]string {
	f.attrsMu.Lock()
	defer f.attrsMu.Unlock()
	if a, ok := f.attrs[ci.ARN]; ok && (a.of == ci || slices.Equal(a.of.Attributes, ci.Attributes)) {
		return a.set
	}
	set := make(map[string]string, len(ci.Attributes))
	for _, at := range ci.Attributes {
		set[wire.Value(at.Name)] = wire.Value(at.Value)
	}
	if f.attrs == nil {
		f.attrs = map[string]attributes{}
	}
	f.attrs[ci.ARN] = attributes{ci, set}
	return set
}

// members are the instances of a cluster in order of their ARNs.
type members struct {
	list []*placement.Instance
}

func byARN(i *placement.Instance, arn string) int { return strings.Compare(i.ID, arn) }

func (m *members) set(arn string, i *placement.Instance) {
	k, found := slices.BinarySearchFunc(m.list, arn, byARN)
	switch {
	case found && i != nil:
		m.list[k] = i
	case found:
		m.list = slices.Delete(m.list, k, k+1)
	case i != nil:
		m.list = slices.Insert(m.list, k, i)
	}
}

// drainEvery bounds what the watch piles up while nobody runs tasks: every so many requests it is
// emptied.
const drainEvery = 256

// tick is called once a request.
func (f *fleet) tick(tx *state.Tx) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls++; f.calls%drainEvery == 0 && f.on != nil {
		f.drain(tx)
	}
}

func (f *fleet) drain(tx *state.Tx) {
	for _, c := range f.watch.Drain() {
		if c.Table == state.TableContainerInstances {
			f.stale[c.Key] = true
			continue
		}
		if was := f.on[c.Key]; was != "" {
			f.stale[was] = true
		}
		if t, ok := f.st.Tasks.Get(tx, c.Key); !ok || t.LastStatus == "STOPPED" || t.ContainerInstance == "" {
			delete(f.on, c.Key)
		} else {
			f.on[c.Key] = t.ContainerInstance
			f.stale[t.ContainerInstance] = true
		}
	}
}

// instances are the instances of a cluster. They belong to the caller until its transaction ends; it
// calls touch for each that it books tasks on.
func (f *fleet) instances(tx *state.Tx, a *API, cluster string) []*placement.Instance {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watch == nil {
		f.watch = f.st.DB.Watch(state.TableTasks, state.TableContainerInstances)
	}
	if f.on == nil {
		f.on, f.stale, f.clusters = map[string]string{}, map[string]bool{}, map[string]*members{}
		for arn := range f.st.ContainerInstances.All(tx) {
			f.stale[arn] = true
		}
		for arn, t := range f.st.Tasks.All(tx) {
			if t.LastStatus != "STOPPED" && t.ContainerInstance != "" {
				f.on[arn] = t.ContainerInstance
			}
		}
	}
	f.drain(tx)
	for arn := range f.stale {
		ci, ok := f.st.ContainerInstances.Get(tx, arn)
		if ok && ci.Status != "INACTIVE" {
			m := f.clusters[ci.ClusterName]
			if m == nil {
				m = &members{}
				f.clusters[ci.ClusterName] = m
			}
			m.set(arn, a.schedulable(tx, ci))
			continue
		}
		for _, m := range f.clusters {
			m.set(arn, nil)
		}
		f.attrsMu.Lock()
		delete(f.attrs, arn)
		f.attrsMu.Unlock()
	}
	clear(f.stale)
	if m := f.clusters[cluster]; m != nil {
		return slices.Clone(m.list)
	}
	return nil
}

// forget makes the next look one at everything.
func (f *fleet) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.on = nil
}

// touch says that an instance was changed, or found to be other than the fleet thought.
func (f *fleet) touch(arn string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stale != nil {
		f.stale[arn] = true
	}
}
