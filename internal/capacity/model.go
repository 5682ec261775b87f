package capacity

import "slices"

// Resources is an amount of everything an instance has to give.
type Resources struct {
	CPU    int // CPU units, 1024 to a vCPU
	Memory int // MiB
	GPU    int
	ENI    int // task network interfaces; a task in awsvpc mode needs one
}

// Plus is r and o together.
func (r Resources) Plus(o Resources) Resources {
	return Resources{r.CPU + o.CPU, r.Memory + o.Memory, r.GPU + o.GPU, r.ENI + o.ENI}
}

// Minus is what is left of r without o; it may be negative.
func (r Resources) Minus(o Resources) Resources {
	return Resources{r.CPU - o.CPU, r.Memory - o.Memory, r.GPU - o.GPU, r.ENI - o.ENI}
}

// Times is n times r.
func (r Resources) Times(n int) Resources {
	return Resources{r.CPU * n, r.Memory * n, r.GPU * n, r.ENI * n}
}

// Covers reports whether o fits in r.
func (r Resources) Covers(o Resources) bool {
	return r.CPU >= o.CPU && r.Memory >= o.Memory && r.GPU >= o.GPU && r.ENI >= o.ENI
}

// Port is a fixed port of the host.
type Port struct {
	Number   int    // 1–65535
	Protocol string // tcp or udp; empty means tcp
}

func (p Port) normal() Port {
	if p.Protocol == "" {
		p.Protocol = "tcp"
	}
	return p
}

// Task is a task that is wanted, or Count equal ones.
type Task struct {
	Name    string
	Service string // tasks of one service share limits and budgets; empty: of none
	Resources
	Count int    // 0 counts as 1
	Ports []Port // fixed host ports; two tasks with the same one cannot share an instance
	Zones []string
	// MaxPerInstance is how many tasks of the service may share an instance; 0: any number,
	// 1: the constraint distinctInstance. It holds for all tasks of the service, as the strictest of
	// theirs; tasks of no service count as one service.
	MaxPerInstance int
	// Spread asks to balance the service's tasks over the zones.
	Spread bool
	// Arch is the processor architecture the image runs on; empty: any.
	Arch string
	// Admits is the task's other constraints, if it has any: whether it may run on an instance of
	// this type, in this zone, with these attributes. It must answer the same each time, and is
	// called from two goroutines.
	Admits func(Host) bool
}

// Host is what constraints can ask of an instance. ID is empty for one that is not launched yet.
type Host struct {
	ID         string
	Type       Type
	Zone       string
	Attributes map[string]string
}

func (t *Task) count() int { return max(t.Count, 1) }

// plain reports whether resources are all that decide where the task fits.
func (t *Task) plain() bool {
	return len(t.Ports) == 0 && len(t.Zones) == 0 && t.MaxPerInstance == 0 && t.Arch == "" && t.Admits == nil && !t.Spread
}

// admitted reports whether the task may run on the host, whatever else runs there.
func (t *Task) admitted(h Host) bool {
	return (t.Arch == "" || t.Arch == h.Type.Arch) &&
		(len(t.Zones) == 0 || slices.Contains(t.Zones, h.Zone)) &&
		(t.Admits == nil || t.Admits(h))
}

// Offer is a type that can be launched.
type Offer struct {
	Type  Type
	Price float64           // USD an hour; 0: the type's on-demand price
	Zones []string          // where it can be launched; empty: in every zone of the request
	Attrs map[string]string // attributes its instances will have
	Spot  bool
}

func (o *Offer) price() float64 {
	if o.Price > 0 {
		return o.Price
	}
	return o.Type.PriceHour
}

// Capacity is what ECS can place on an instance of the type: registered CPU and memory, GPUs, and
// task network interfaces.
func (t Type) Capacity(trunking bool) Resources {
	return Resources{CPU: t.RegisteredCPU(), Memory: t.RegisteredMemory(), GPU: t.GPUs, ENI: t.TaskENIs(trunking)}
}

// Instance is an instance the cluster has.
type Instance struct {
	Host
	Capacity Resources // registered
	Used     Resources // by all its tasks, daemons too
	Price    float64   // USD an hour
	Ports    []Port    // taken
	Services map[string]int
}
