package loop

import (
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/placement"
)

// fleet is the container instances of all clusters as the scheduler sees them, kept up to date from
// the watch so that placing a task does not read all tasks. It may lag behind the state by a
// moment: whoever places checks the chosen instance in the transaction.
type fleet struct {
	clusters map[string][]*placement.Instance // by cluster, in order of ID, which is the ARN
	byARN    map[string]*member
	booked   map[string]*state.Task // by task ARN: the record that tells what it takes
}

type member struct {
	*placement.Instance
	cluster, provider string
}

type booking struct {
	request placement.Request
	grouped bool // counts in the instance's groups: nobody asked it to stop
	running bool
}

func newFleet() *fleet {
	return &fleet{clusters: map[string][]*placement.Instance{}, byARN: map[string]*member{}, booked: map[string]*state.Task{}}
}

// instance takes over a container instance record, or its end if rec is nil.
func (f *fleet) instance(arn string, rec *state.ContainerInstance) {
	old := f.byARN[arn]
	if rec == nil || rec.Status == "INACTIVE" {
		if old != nil {
			list := f.clusters[old.cluster]
			if k := slices.Index(list, old.Instance); k >= 0 {
				f.clusters[old.cluster] = slices.Delete(list, k, k+1)
			}
			delete(f.byARN, arn)
		}
		return
	}
	i := &placement.Instance{Ports: map[placement.Port]int{}, Groups: map[string]int{}}
	if old != nil {
		i = old.Instance
	}
	describe(i, rec)
	f.byARN[arn] = &member{i, rec.ClusterName, rec.CapacityProvider}
	if old == nil {
		for _, p := range rec.ReservedPorts {
			i.Ports[placement.Port{Number: p.Port, Protocol: protocol(p.Protocol)}]++
		}
		list := f.clusters[rec.ClusterName]
		k, _ := slices.BinarySearchFunc(list, arn, func(x *placement.Instance, id string) int { return strings.Compare(x.ID, id) })
		f.clusters[rec.ClusterName] = slices.Insert(list, k, i)
		for _, t := range f.booked {
			if t.ContainerInstance == arn {
				f.add(i, bookingOf(t))
			}
		}
	}
}

// describe sets what the record says of an instance; what its tasks use is not touched.
func describe(i *placement.Instance, rec *state.ContainerInstance) {
	i.ID, i.EC2ID, i.AZ, i.Type, i.Status = rec.ARN, rec.EC2InstanceID, rec.AZ, rec.InstanceType, rec.Status
	i.AgentConnected, i.AgentVersion, i.RegisteredAt = rec.AgentConnected, rec.AgentVersion, rec.RegisteredAt
	i.Registered = placement.Resources{CPU: rec.CPU, Memory: rec.Memory, GPU: rec.GPU, ENI: rec.ENIs}
	i.Attributes = map[string]string{}
	for _, a := range rec.Attributes {
		i.Attributes[wire.Value(a.Name)] = wire.Value(a.Value)
	}
}

func (f *fleet) add(i *placement.Instance, b booking) {
	i.Take(&b.request)
	if b.running {
		i.Running++
	}
}

func (f *fleet) drop(arn string) {
	t, ok := f.booked[arn]
	if !ok {
		return
	}
	delete(f.booked, arn)
	if m := f.byARN[t.ContainerInstance]; m != nil {
		b := bookingOf(t)
		m.Release(&b.request)
		if b.running {
			m.Running--
		}
	}
}

// task takes over a task record, or its end if t is nil. It reports whether room became free.
func (f *fleet) task(arn string, t *state.Task) (freed bool) {
	_, had := f.booked[arn]
	f.drop(arn)
	if t == nil || t.LastStatus == "STOPPED" || t.ContainerInstance == "" {
		return had
	}
	f.booked[t.ARN] = t
	if m := f.byARN[t.ContainerInstance]; m != nil {
		f.add(m.Instance, bookingOf(t))
	}
	return false
}

func bookingOf(t *state.Task) booking {
	b := booking{grouped: t.DesiredStatus != "STOPPED", running: t.LastStatus == "RUNNING"}
	b.request = placement.Request{Resources: resourcesOf(t), Ports: heldPorts(t)}
	if b.grouped {
		b.request.Group = t.Group
	}
	return b
}

// resourcesOf is what a task takes of its instance.
func resourcesOf(t *state.Task) placement.Resources {
	r := placement.Resources{CPU: t.CPU, Memory: t.Memory, GPU: t.GPU}
	if t.NetworkConfiguration != nil {
		r.ENI = 1
	}
	return r
}

// heldPorts are the host ports a task holds, fixed and dynamic.
func heldPorts(t *state.Task) []placement.Port {
	var out []placement.Port
	add := func(n int, proto string) {
		if p := (placement.Port{Number: n, Protocol: protocol(proto)}); n != 0 && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	for _, p := range t.HostPorts {
		add(p.Port, p.Protocol)
	}
	for _, c := range t.Containers {
		for _, b := range c.Bindings {
			add(b.HostPort, b.Protocol)
		}
	}
	return out
}

func protocol(s string) string {
	if s == "" {
		return "tcp"
	}
	return s
}

// candidates are the instances of a cluster, or those of one of its capacity providers.
func (f *fleet) candidates(cluster, provider string) []*placement.Instance {
	all := f.clusters[cluster]
	if provider == "" {
		return all
	}
	var out []*placement.Instance
	for _, i := range all {
		if f.byARN[i.ID].provider == provider {
			out = append(out, i)
		}
	}
	return out
}

// current is the instance as the state has it now: what the tasks on it really use.
func current(tx *state.Tx, ecs *state.ECS, arn string) (*placement.Instance, bool) {
	rec, ok := ecs.ContainerInstances.Get(tx, arn)
	if !ok {
		return nil, false
	}
	i := &placement.Instance{Ports: map[placement.Port]int{}, Groups: map[string]int{}}
	describe(i, rec)
	for _, p := range rec.ReservedPorts {
		i.Ports[placement.Port{Number: p.Port, Protocol: protocol(p.Protocol)}]++
	}
	for _, t := range ecs.TasksByInstance.Get(tx, arn) {
		b := bookingOf(t)
		i.Take(&b.request)
		if b.running {
			i.Running++
		}
	}
	return i, true
}
