package capacity

import (
	"errors"
	"fmt"
	"slices"
)

// Apply makes the moves on a copy of the cluster, checking each: an error says which promise a move
// breaks. The new instances come behind the others; those that go stay in the list, as Gone.
func Apply(c *Cluster, moves []Move) (*Cluster, error) {
	out := *c
	out.Instances = slices.Clone(c.Instances)
	for i := range out.Instances {
		out.Instances[i].Tasks = slices.Clone(out.Instances[i].Tasks)
	}
	for n := range moves {
		if err := apply(c, &out, &moves[n]); err != nil {
			return nil, fmt.Errorf("move %d (%s): %w", n, moves[n].Kind, err)
		}
	}
	return &out, nil
}

func apply(before, c *Cluster, m *Move) error {
	launched := -1
	if m.Launch {
		o := &c.Offers[m.Offer]
		launched = len(c.Instances)
		c.Instances = append(c.Instances, Occupied{
			Host:     Host{Type: o.Type, Zone: m.Zone, Attributes: o.Attrs},
			Capacity: o.Type.Capacity(c.Trunking), Daemons: c.Overhead, Price: o.price(),
		})
	}
	moved := map[[2]int]bool{}
	for _, r := range m.Tasks {
		to := r.To
		if to == New {
			to = launched
		}
		switch {
		case to < 0:
			return errors.New("a task goes to a new instance, but none is launched")
		case slices.Contains(m.Victims, to), c.Instances[to].Closed, c.Instances[to].Gone:
			return fmt.Errorf("a task goes to instance %d, which gets none", to)
		case !slices.Contains(m.Victims, r.From):
			return fmt.Errorf("a task leaves instance %d, which stays", r.From)
		case moved[[2]int{r.From, r.Task}]:
			return fmt.Errorf("task %d of instance %d moves twice", r.Task, r.From)
		case r.Task >= len(before.Instances[r.From].Tasks):
			return fmt.Errorf("instance %d has no task %d", r.From, r.Task)
		}
		moved[[2]int{r.From, r.Task}] = true
		t := before.Instances[r.From].Tasks[r.Task]
		if t.Pinned {
			return fmt.Errorf("task %d of instance %d is pinned", r.Task, r.From)
		}
		if why := c.Instances[to].refuses(t.Task); why != "" {
			return fmt.Errorf("instance %d cannot take task %d of instance %d: %s", to, r.Task, r.From, why)
		}
		c.Instances[to].Tasks = append(c.Instances[to].Tasks, t)
	}
	for _, v := range m.Victims {
		if c.Instances[v].Gone {
			return fmt.Errorf("instance %d goes twice", v)
		}
		if got, want := len(before.Instances[v].Tasks), len(c.Instances[v].Tasks); got != want {
			return fmt.Errorf("instance %d got tasks before and now goes", v)
		}
		for k := range c.Instances[v].Tasks {
			if !moved[[2]int{v, k}] {
				return fmt.Errorf("task %d of instance %d is lost", k, v)
			}
		}
		c.Instances[v].Tasks, c.Instances[v].Gone, c.Instances[v].Price = nil, true, 0
	}
	return nil
}

// refuses says why the instance cannot take the task as it is now; "" if it can.
func (o *Occupied) refuses(t *Task) string {
	free := o.Capacity.Minus(o.Daemons)
	n, limit := 1, t.MaxPerInstance
	taken := map[Port]bool{}
	for i := range o.Tasks {
		r := o.Tasks[i].Task
		free = free.Minus(r.Resources)
		for _, p := range r.Ports {
			taken[p.normal()] = true
		}
		if r.Service == t.Service {
			n++
			if r.MaxPerInstance > 0 && (limit == 0 || r.MaxPerInstance < limit) {
				limit = r.MaxPerInstance
			}
		}
	}
	switch {
	case !free.Covers(t.Resources):
		return fmt.Sprintf("it has %+v left, the task needs %+v", free, t.Resources)
	case limit > 0 && n > limit:
		return fmt.Sprintf("it would run %d tasks of %s, the limit is %d", n, t.Service, limit)
	case !t.admitted(o.Host):
		return "the task's constraints refuse it"
	}
	for _, p := range t.Ports {
		if taken[p.normal()] {
			return fmt.Sprintf("port %d is taken", p.Number)
		}
	}
	return ""
}
