// Package placement is Amazon ECS's task placement: which container instance gets a task, and why
// each of the others does not.
//
// A placement filters the instances by what the task needs (resources, agent, attributes), then by
// the placement constraints, and orders what is left by the placement strategies.
//
// Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-placement.html
package placement

import "time"

// Limits of one request; https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateService.html
const (
	MaxConstraints = 10
	MaxStrategies  = 4 // AWS writes 5 for services and 4 for task definitions' runs; the smaller is safe
)

// Port is a port of the host.
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

// Instance is a container instance as the scheduler sees it. Instances given to Place and to a
// Batch are changed only by Take and Release.
type Instance struct {
	ID             string // of the container instance; names it in results
	EC2ID          string // i-…
	AZ             string
	Type           string // m5.large
	Status         string // only ACTIVE takes tasks
	AgentConnected bool
	AgentVersion   string // 1.94.0
	RegisteredAt   time.Time
	// Attributes are the custom and the ecs.* attributes. Those that follow from other fields
	// (ecs.availability-zone, ecs.instance-type) need not be repeated. Without a value: "".
	Attributes map[string]string
	Registered Resources
	Used       Resources
	Ports      map[Port]int   // host ports in use or reserved, with the number of users
	Groups     map[string]int // tasks by task group, neither stopping nor stopped
	Running    int            // RUNNING tasks: runningTasksCount of the query language
}

// Remaining is what the instance has left.
func (i *Instance) Remaining() Resources { return i.Registered.Minus(i.Used) }

// Attribute returns the value of an attribute and whether the instance has it.
func (i *Instance) Attribute(name string) (string, bool) {
	if v, ok := i.Attributes[name]; ok {
		return v, true
	}
	switch name {
	case "ecs.availability-zone":
		return i.AZ, i.AZ != ""
	case "ecs.instance-type":
		return i.Type, i.Type != ""
	}
	return "", false
}

// Take books a task of the request on the instance.
func (i *Instance) Take(r *Request) {
	i.Used = i.Used.Plus(r.Resources)
	for _, p := range r.Ports {
		if i.Ports == nil {
			i.Ports = map[Port]int{}
		}
		i.Ports[p.normal()]++
	}
	if r.Group != "" {
		if i.Groups == nil {
			i.Groups = map[string]int{}
		}
		i.Groups[r.Group]++
	}
}

// Release undoes Take.
func (i *Instance) Release(r *Request) {
	i.Used = i.Used.Minus(r.Resources)
	for _, p := range r.Ports {
		if p = p.normal(); i.Ports[p] > 1 {
			i.Ports[p]--
		} else {
			delete(i.Ports, p)
		}
	}
	if r.Group != "" {
		if i.Groups[r.Group] > 1 {
			i.Groups[r.Group]--
		} else {
			delete(i.Groups, r.Group)
		}
	}
}

// Request is what one task needs.
type Request struct {
	Resources
	Ports      []Port   // fixed host ports; dynamic ones are not named
	Group      string   // task group: service:NAME, family:NAME or as given; spread and distinctInstance count by it
	Attributes []string // attributes the instance must have: NAME, or NAME=VALUE
	Zones      []string // Availability Zones it may run in: those of an awsvpc task's subnets; empty: any
	// Constraints must all hold.
	Constraints []Constraint
	// Strategies apply in order; none means DefaultStrategies.
	Strategies []Strategy
	// Seed decides the random strategy; the same seed and instances give the same choice.
	Seed uint64
}

// DefaultStrategies is what a service without a placementStrategy uses: spread over Availability
// Zones, then over instances.
func DefaultStrategies() []Strategy {
	return []Strategy{
		{Type: "spread", Field: "attribute:ecs.availability-zone"},
		{Type: "spread", Field: "instanceId"},
	}
}
