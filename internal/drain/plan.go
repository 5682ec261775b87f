package drain

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/slipway-ecs/slipway/internal/placement"
)

// Action is one call to be made. Each may be made again without harm.
type Action struct {
	Kind     Kind
	Instance string // ARN of the container instance; empty for an orphan's hook
	EC2ID    string
	Task     string // ARN
	Mark     Mark
	Hook     *Hook
	Why      string
}

// Kind tells actions apart.
type Kind string

// The kinds of actions.
const (
	SetMark   Kind = "mark"      // write the tag: the deadline begins
	SetDrain  Kind = "drain"     // set the instance DRAINING
	Reopen    Kind = "reopen"    // set it ACTIVE and remove the tag
	StopTask  Kind = "stop"      // stop a task at the deadline
	Heartbeat Kind = "heartbeat" // keep the hook waiting
	Complete  Kind = "complete"  // let the group terminate the instance
	Terminate Kind = "terminate" // terminate it and make the group one smaller
)

// Cause tells apart what a drain waits for.
type Cause string

// The causes. Those a drain cannot get over by waiting alone are Stuck.
const (
	Moving      Cause = "moving"        // ECS replaces the task
	Leaving     Cause = "leaving"       // DEACTIVATING, STOPPING, DEPROVISIONING
	Protected   Cause = "protected"     // scale-in protection
	NoPlace     Cause = "no-place"      // no other instance has room
	NoSlack     Cause = "no-slack"      // the service's minimum and maximum permit no move
	Standalone  Cause = "standalone"    // nothing replaces the task
	AgentIsGone Cause = "agent"         // the agent is disconnected
	Termination Cause = "cannot-return" // abort asked, but the group has begun to terminate
)

// Stuck reports whether waiting alone may never end it.
func (c Cause) Stuck() bool { return c != Moving && c != Leaving }

// Wait is one thing a drain waits for, in one sentence.
type Wait struct {
	Cause    Cause
	Task     string // ARN; empty: the instance
	Sentence string
}

// Drain is how far one instance is.
type Drain struct {
	Instance, EC2ID string
	Status          string // ACTIVE: it is not begun; DRAINING
	Mark            Mark
	ByHook          bool
	Left            int // tasks, daemons not counted
	Waits           []Wait
	Empty           bool // nothing but daemons is left
	Late            bool // the deadline is past
	Aborted         bool // the deadline is past and the instance is to take tasks again
}

// Plan is what to do now, and how far each drain is.
type Plan struct {
	Drains  []Drain
	Actions []Action
}

// Defaults are used for an instance a hook holds and nobody has marked.
type Defaults struct {
	Deadline time.Duration
	Policy   Policy
}

// Decide plans the next step of every drain of the cluster. It is pure: the same state and time give
// the same plan.
func Decide(s *State, now time.Time, def Defaults) Plan {
	var p Plan
	for k := range s.Orphans {
		h := &s.Orphans[k]
		p.Actions = append(p.Actions, Action{Kind: Complete, EC2ID: h.EC2ID, Hook: h, Why: "the instance is not in the cluster: nothing is left to drain"})
	}
	room := newRoom(s)
	for k := range s.Instances {
		i := &s.Instances[k]
		if i.Mark == nil && i.Hook == nil {
			continue
		}
		d, actions := decide(s, i, room, now, def)
		p.Drains = append(p.Drains, d)
		p.Actions = append(p.Actions, actions...)
	}
	return p
}

func decide(s *State, i *Instance, room *room, now time.Time, def Defaults) (Drain, []Action) {
	d := Drain{Instance: i.ID, EC2ID: i.EC2ID, Status: i.Status, ByHook: i.Hook != nil}
	var acts []Action
	act := func(k Kind, why string) *Action {
		acts = append(acts, Action{Kind: k, Instance: i.ID, EC2ID: i.EC2ID, Mark: d.Mark, Hook: i.Hook, Why: why})
		return &acts[len(acts)-1]
	}
	if i.Mark != nil {
		d.Mark = *i.Mark
	} else {
		d.Mark = Mark{Deadline: now.Add(def.Deadline), Policy: def.Policy}
		act(SetMark, "its group wants to terminate it")
	}
	for k := range i.Tasks {
		if !i.Tasks[k].Daemon {
			d.Left++
		}
	}
	d.Empty, d.Late = d.Left == 0, !now.Before(d.Mark.Deadline)
	if h := i.Hook; h != nil && !d.Empty && (h.LastBeat.IsZero() || now.Sub(h.LastBeat) >= h.Timeout/3) {
		act(Heartbeat, "tasks are left")
	}
	if d.Empty {
		// DRAINING first, even so: between this look and the end ECS could place a task there.
		switch {
		case i.Status == "ACTIVE":
			act(SetDrain, "it is empty")
			d.Empty = false
		case i.Hook != nil:
			act(Complete, "it is empty")
		case d.Mark.Terminate && i.Lifecycle == "InService": // once: each call makes the group smaller
			act(Terminate, "it is empty")
		}
		return d, acts
	}
	proof := room.prove(i)
	for k := range i.Tasks {
		if w, ok := wait(s, i, &i.Tasks[k], proof, now); ok {
			d.Waits = append(d.Waits, w)
		}
	}
	if !i.AgentConnected {
		d.Waits = append(d.Waits, Wait{AgentIsGone, "", fmt.Sprintf("the agent of %s is disconnected, so ECS does not see whether its tasks have ended", i.EC2ID)})
	}
	switch {
	case d.Late && d.Mark.Policy == Force:
		if i.Status == "ACTIVE" {
			act(SetDrain, "the deadline is past")
		}
		for k := range i.Tasks {
			if t := &i.Tasks[k]; !t.Daemon && !t.leaving() {
				act(StopTask, "the deadline is past").Task = t.ARN
			}
		}
	case d.Late && i.Hook == nil:
		d.Aborted = true
		act(Reopen, "the deadline is past")
	case d.Late:
		d.Waits = append(d.Waits, Wait{Termination, "", fmt.Sprintf("the deadline is past, but %s is being terminated and cannot go back: its hook is kept waiting as long as AWS permits (100 heartbeats or 48 h)", i.EC2ID)})
		if i.Status == "ACTIVE" {
			act(SetDrain, "its group terminates it")
		}
	case i.Status == "ACTIVE" && d.Mark.urgent():
		act(SetDrain, "AWS takes it back at "+d.Mark.Deadline.UTC().Format(time.TimeOnly)+", whether its tasks have a place or not")
	case i.Status == "ACTIVE" && !slices.ContainsFunc(d.Waits, holds):
		act(SetDrain, "every task it displaces has a place elsewhere")
	}
	return d, acts
}

// Obstacle says what would make a drain of the instance wait for long, as far as its tasks alone show;
// empty if nothing would.
func Obstacle(s *State, i *Instance, now time.Time) string {
	for k := range i.Tasks {
		if w, ok := wait(s, i, &i.Tasks[k], nil, now); ok && w.Cause.Stuck() {
			return w.Sentence
		}
	}
	if !i.AgentConnected {
		return "its agent is disconnected"
	}
	return ""
}

// holds reports whether a drain must not begin: ECS would stop tasks that have nowhere to go, or that
// asked not to be stopped.
func holds(w Wait) bool { return w.Cause == NoPlace || w.Cause == Protected }

// wait says what keeps a task on the instance.
func wait(s *State, i *Instance, t *Task, proof map[string]string, now time.Time) (Wait, bool) {
	if t.Daemon {
		return Wait{}, false // ends with the instance
	}
	w := Wait{Task: t.ARN}
	svc, known := s.Services[t.Service]
	less, more := svc.slack()
	switch {
	case t.leaving():
		w.Cause, w.Sentence = Leaving, fmt.Sprintf("task %s of %s is %s", t.ID(), t.Group, t.LastStatus)
	case t.Service == "":
		w.Cause, w.Sentence = Standalone, fmt.Sprintf("task %s of %s runs by itself: nothing replaces it, so it is given until the deadline to end", t.ID(), t.Group)
		if i.Mark != nil && i.Mark.Policy == Force {
			w.Sentence += ", and is stopped then"
		}
	case now.Before(t.ProtectedUntil):
		w.Cause, w.Sentence = Protected, fmt.Sprintf("task %s of %s is protected from scale-in until %s", t.ID(), t.Group, t.ProtectedUntil.UTC().Format(time.RFC3339))
	case known && svc.Desired > 0 && less == 0 && more == 0:
		w.Cause = NoSlack
		w.Sentence = fmt.Sprintf("service %s may have neither fewer than %d tasks (minimum %d %%) nor more (maximum %d %%), so ECS never moves task %s: raise its maximum", svc.Name, svc.Desired, svc.MinHealthy, svc.MaxPercent, t.ID())
	case proof[t.ARN] != "":
		w.Cause, w.Sentence = NoPlace, fmt.Sprintf("task %s of %s fits on no other instance (%s)", t.ID(), t.Group, proof[t.ARN])
	default:
		w.Cause, w.Sentence = Moving, fmt.Sprintf("ECS moves task %s of %s (%d of %d running)", t.ID(), t.Group, svc.Running, svc.Desired)
	}
	return w, true
}

// room is a copy of the instances that may take displaced tasks, and the tasks that services lack on
// them. What one drain takes is gone for the next.
type room struct {
	instances []*placement.Instance
	lacking   map[string]int // by service; a replacement that stands already needs no second place
}

func newRoom(s *State) *room {
	r := &room{lacking: map[string]int{}}
	for name, svc := range s.Services {
		r.lacking[name] = svc.Desired
	}
	for k := range s.Instances {
		i := &s.Instances[k]
		if i.Mark != nil || i.Hook != nil || i.Status != "ACTIVE" {
			continue
		}
		r.instances = append(r.instances, clone(&i.Instance))
		for n := range i.Tasks {
			if t := &i.Tasks[n]; t.Service != "" && !t.leaving() {
				r.lacking[t.Service]--
			}
		}
	}
	return r
}

func clone(i *placement.Instance) *placement.Instance {
	c := *i
	c.Ports, c.Groups = maps.Clone(i.Ports), maps.Clone(i.Groups)
	if c.Ports == nil {
		c.Ports = map[placement.Port]int{}
	}
	if c.Groups == nil {
		c.Groups = map[string]int{}
	}
	return &c
}

// prove books a place for each task of services on the instance and says of each without one why there
// is none.
func (r *room) prove(i *Instance) map[string]string {
	refused := map[string]string{}
	for k := range i.Tasks {
		t := &i.Tasks[k]
		if t.Service == "" || t.Daemon || t.leaving() || r.lacking[t.Service] <= 0 {
			continue
		}
		r.lacking[t.Service]--
		need := t.Need
		to, refusals, err := placement.Place(&need, r.instances)
		switch {
		case err != nil:
			refused[t.ARN] = err.Error()
		case to == nil && len(r.instances) == 0:
			refused[t.ARN] = "there is no other"
		case to == nil:
			refused[t.ARN] = placement.Summary(refusals)
		default:
			to.Take(&need)
		}
	}
	return refused
}
