package state

import "github.com/slipway-ecs/slipway/internal/placement"

// Sums keeps a sum over the records of a table for each key, as they come and go.
type Sums[T, S any] struct {
	key func(*T) string
	add func(s *S, rec *T, n int)
	by  map[string]*summed[S]
}

type summed[S any] struct {
	sum     S
	records int
}

// NewSums makes the sums of a table. key returns whose sum a record counts in ("": nobody's); add adds a
// record for n = 1 and takes it away again for n = -1.
func NewSums[T, S any](t *Table[T], key func(*T) string, add func(s *S, rec *T, n int)) *Sums[T, S] {
	x := &Sums[T, S]{key: key, add: add, by: map[string]*summed[S]{}}
	t.db.mu.Lock()
	defer t.db.mu.Unlock()
	t.tallies = append(t.tallies, x)
	t.rows.Scan(func(_ string, rec *T) bool {
		x.replace(nil, rec)
		return true
	})
	return x
}

func (x *Sums[T, S]) replace(old, rec *T) {
	if rec != nil {
		if k := x.key(rec); k != "" {
			s := x.by[k]
			if s == nil {
				s = &summed[S]{}
				x.by[k] = s
			}
			s.records++
			x.add(&s.sum, rec, 1)
		}
	}
	if old == nil {
		return
	}
	if k := x.key(old); k != "" {
		s := x.by[k]
		x.add(&s.sum, old, -1)
		if s.records--; s.records == 0 {
			delete(x.by, k)
		}
	}
}

// Get is the sum of a key, which must not be modified nor kept beyond the transaction; nil if no record
// counts in it.
func (x *Sums[T, S]) Get(_ *Tx, key string) *S {
	if s := x.by[key]; s != nil {
		return &s.sum
	}
	return nil
}

// Load is what the tasks on a container instance take of it, all but those that are STOPPED.
type Load struct {
	Used    placement.Resources
	Running int
	Ports   map[placement.Port]int // host ports, and how many tasks hold them
	Groups  map[string]int         // tasks by group, all but those asked to stop
}

func (l *Load) add(t *Task, n int) {
	l.Used.CPU += n * t.CPU
	l.Used.Memory += n * t.Memory
	l.Used.GPU += n * t.GPU
	if t.NetworkConfiguration != nil {
		l.Used.ENI += n
	}
	if t.LastStatus == "RUNNING" {
		l.Running += n
	}
	if t.DesiredStatus != "STOPPED" {
		count(&l.Groups, t.Group, n)
	}
	for _, p := range HostPorts(t) {
		count(&l.Ports, p, n)
	}
}

func count[K comparable](m *map[K]int, k K, n int) {
	if *m == nil {
		*m = map[K]int{}
	}
	if (*m)[k] += n; (*m)[k] == 0 {
		delete(*m, k)
	}
}

// HostPorts are the ports of its instance that a task holds: those it reserved, and the dynamic ones it
// was given. A task with an interface of its own holds none of the latter.
func HostPorts(t *Task) []placement.Port {
	var out []placement.Port
	add := func(n int, protocol string) {
		p := placement.Port{Number: n, Protocol: protocol}
		if n == 0 {
			return
		}
		for _, have := range out { // a task has few
			if have == p {
				return
			}
		}
		out = append(out, p)
	}
	for _, p := range t.HostPorts {
		add(p.Port, p.Protocol)
	}
	if t.ENI == nil {
		for k := range t.Containers {
			for _, b := range t.Containers[k].Bindings {
				add(b.HostPort, b.Protocol)
			}
		}
	}
	return out
}
