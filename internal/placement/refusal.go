package placement

import (
	"fmt"
	"maps"
	"slices"
)

// Reason says why an instance cannot take a task, in the codes of ECS's failures[].reason.
type Reason string

// The reasons, in the order the filters run.
const (
	Inactive    Reason = "INACTIVE"
	Agent       Reason = "AGENT"
	MissingAttr Reason = "ATTRIBUTE"
	NoCPU       Reason = "RESOURCE:CPU"
	NoMemory    Reason = "RESOURCE:MEMORY"
	PortInUse   Reason = "RESOURCE:PORTS"
	NoGPU       Reason = "RESOURCE:GPU"
	NoENI       Reason = "RESOURCE:ENI"
	NotDistinct Reason = "distinctInstance"
	NotMember   Reason = "memberOf"
)

// closeness orders the reasons by how much else about the instance was right.
var closeness = map[Reason]int{
	Inactive: 0, NotMember: 1, MissingAttr: 2, NotDistinct: 3, Agent: 4,
	NoENI: 5, NoGPU: 6, PortInUse: 7, NoMemory: 8, NoCPU: 9,
}

// Refusal is an instance that cannot take the task.
type Refusal struct {
	InstanceID string
	Reason     Reason
	Detail     string // in words, with the numbers
}

// Closest is the refusal that came nearest to a placement: ECS names that instance as "the closest
// matching container-instance" in its service event. False if there is none.
func Closest(refusals []Refusal) (Refusal, bool) {
	if len(refusals) == 0 {
		return Refusal{}, false
	}
	return slices.MaxFunc(refusals, func(a, b Refusal) int {
		if d := closeness[a.Reason] - closeness[b.Reason]; d != 0 {
			return d
		}
		if a.InstanceID < b.InstanceID { // of equals, the first
			return 1
		}
		return -1
	}), true
}

// Summary counts refusals by reason, most frequent first: "3 × RESOURCE:CPU, 1 × AGENT".
func Summary(refusals []Refusal) string {
	n := map[Reason]int{}
	for _, r := range refusals {
		n[r.Reason]++
	}
	reasons := slices.SortedFunc(maps.Keys(n), func(a, b Reason) int {
		if n[a] != n[b] {
			return n[b] - n[a]
		}
		return slices.Compare([]byte(a), []byte(b))
	})
	s := ""
	for i, r := range reasons {
		if i > 0 {
			s += ", "
		}
		s += fmt.Sprintf("%d × %s", n[r], r)
	}
	return s
}

// filter returns "" if the instance can take the task, or the first reason why not. detail is
// called for words only when they are wanted: thousands of refusals are made to be thrown away.
func (c *compiled) filter(i *Instance) Reason {
	switch {
	case i.Status != "ACTIVE":
		return Inactive
	case !i.AgentConnected:
		return Agent
	}
	if len(c.req.Zones) > 0 && !slices.Contains(c.req.Zones, i.AZ) {
		return MissingAttr
	}
	for _, a := range c.attributes {
		if v, ok := i.Attribute(a.name); !ok || a.valued && v != a.value {
			return MissingAttr
		}
	}
	for _, k := range c.constraints {
		if k.expr == nil {
			if i.Groups[c.req.Group] > 0 {
				return NotDistinct
			}
		} else if !k.expr.Match(i) {
			return NotMember
		}
	}
	left, need := i.Remaining(), c.req.Resources
	switch {
	case need.CPU > left.CPU:
		return NoCPU
	case need.Memory > left.Memory:
		return NoMemory
	}
	for _, p := range c.ports {
		if i.Ports[p] > 0 {
			return PortInUse
		}
	}
	switch {
	case need.GPU > left.GPU:
		return NoGPU
	case need.ENI > left.ENI:
		return NoENI
	}
	return ""
}

func (c *compiled) refusal(i *Instance, why Reason) Refusal {
	left, need := i.Remaining(), c.req.Resources
	r := Refusal{InstanceID: i.ID, Reason: why}
	switch why {
	case Inactive:
		r.Detail = "the instance is " + i.Status
	case Agent:
		r.Detail = "the agent is not connected"
	case MissingAttr:
		if len(c.req.Zones) > 0 && !slices.Contains(c.req.Zones, i.AZ) {
			r.Detail = fmt.Sprintf("none of the subnets is in %s", i.AZ)
			break
		}
		for _, a := range c.attributes {
			if v, ok := i.Attribute(a.name); !ok {
				r.Detail = "no attribute " + a.name
			} else if a.valued && v != a.value {
				r.Detail = fmt.Sprintf("attribute %s is %q, not %q", a.name, v, a.value)
			}
		}
	case NoCPU:
		r.Detail = fmt.Sprintf("needs %d CPU units, %d left", need.CPU, left.CPU)
	case NoMemory:
		r.Detail = fmt.Sprintf("needs %d MiB, %d left", need.Memory, left.Memory)
	case PortInUse:
		for _, p := range c.ports {
			if i.Ports[p] > 0 {
				r.Detail = fmt.Sprintf("port %d/%s is in use", p.Number, p.Protocol)
				break
			}
		}
	case NoGPU:
		r.Detail = fmt.Sprintf("needs %d GPUs, %d left", need.GPU, left.GPU)
	case NoENI:
		r.Detail = fmt.Sprintf("needs %d network interfaces, %d left", need.ENI, left.ENI)
	case NotDistinct:
		r.Detail = "already runs a task of " + c.req.Group
	case NotMember:
		for _, k := range c.constraints {
			if k.expr != nil && !k.expr.Match(i) {
				r.Detail = "does not match " + k.expr.String()
				break
			}
		}
	}
	return r
}
