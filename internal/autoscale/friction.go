package autoscale

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/placement"
)

// Scaling is what changes sizes beside the engine: the policies of services, and the groups' own.
type Scaling struct {
	Services []Scaled
	Groups   map[string]GroupScaling // by name
}

// Scaled is a service on the cluster's instances that Application Auto Scaling sizes.
type Scaled struct {
	Service   string
	Desired   int
	Min, Max  int // of its scalable target, tasks
	Tracks    []Track
	Steps     []Stepped
	Schedules []Bounds
	Need      placement.Request // of a task
	Turns     []Turn            // of its size, any order
}

// Track is a target-tracking policy.
//
// Source: https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-target-tracking.html
type Track struct {
	Metric     string  // cpu, memory, requests, or a name
	Target     float64 // percent, for cpu and memory
	ScaleIn    time.Duration
	NeverIn    bool // DisableScaleIn
	Slipway    bool // written from slipway.yaml: that is where it is to be changed
	PolicyName string
}

// Stepped is a step-scaling policy.
//
// Source: https://docs.aws.amazon.com/autoscaling/application/APIReference/API_StepScalingPolicyConfiguration.html
type Stepped struct {
	PolicyName string
	In         bool          // a step makes the service smaller
	Exact      bool          // ExactCapacity: its steps are sizes
	Most       int           // the largest of them, tasks; only with Exact
	Cooldown   time.Duration // for either direction
}

// Bounds are what a scheduled action makes the minimum and maximum; -1: it leaves it.
type Bounds struct {
	Name     string
	Min, Max int
}

// Turn is a change of size.
type Turn struct {
	At time.Time
	Up bool
}

// GroupScaling is what else an Auto Scaling group is told.
type GroupScaling struct {
	Provider     string // the capacity provider; empty: none
	NewProtected bool   // from scale-in, as it launches them
	Policies     []string
	Schedules    []string
	Turns        []Turn // launches and terminations, any order
}

// Warning is a place where two who scale would fight.
type Warning struct {
	Kind  Friction
	About string // a service or a group
	Says  string // one sentence
	Do    string // what to do about it, one sentence
}

// Friction tells warnings apart.
type Friction string

// The frictions.
const (
	NoRoom        Friction = "max-beyond-groups" // a service may grow to more than the groups may hold
	NoRoomForAll  Friction = "sum-beyond-groups" // each alone has room, all together have not
	TwoSizers     Friction = "managed-scaling"   // ECS's managed scaling sizes a group
	OwnPolicy     Friction = "group-policy"      // the group has scaling policies of EC2
	OwnSchedule   Friction = "group-schedule"    // or scheduled actions
	AllProtected  Friction = "protected"         // it protects what it launches from scale-in
	NoReservation Friction = "no-reservation"    // tracking of a metric that is a part of nothing
	OutOfReach    Friction = "target-too-high"   // a target that packed instances never let it reach
	QuickIn       Friction = "cooldown"          // scales in faster than an instance comes
	Oscillates    Friction = "oscillation"       // services and a group went to and fro
	ZoneBalance   Friction = "zone-balance"      // the group ends instances to even out its zones
	BadSchedule   Friction = "schedule"          // a schedule's bounds contradict
	StepsAndTrack Friction = "step-and-target"   // steps shrink what target tracking keeps up
	StepBeyond    Friction = "step-beyond-max"   // a step to a size that the maximum never lets it reach
)

// The window in which a group that turned so often oscillates.
const (
	lookBack   = time.Hour
	groupTurns = 3
)

// Frictions finds where services' scaling and the cluster's capacity would fight, or do: the worst first.
func Frictions(s *State, x *Scaling, now time.Time, cfg Config) []Warning {
	out := roomAtMost(s, x)
	start := cmp.Or(cfg.Start, Defaults().Start)
	for k := range s.Groups {
		out = append(out, groupFrictions(&s.Groups[k], x, now)...)
	}
	for k := range x.Services {
		out = append(out, trackFrictions(&x.Services[k], start)...)
	}
	return out
}

func trackFrictions(v *Scaled, start time.Duration) (out []Warning) {
	warn := func(kind Friction, do, says string, args ...any) {
		out = append(out, Warning{kind, v.Service, fmt.Sprintf(says, args...), do})
	}
	for _, t := range v.Tracks {
		switch {
		case t.Metric == "cpu" && v.Need.CPU == 0:
			warn(NoReservation, "give its containers cpu, as 'slipway cluster rightsize' recommends",
				"service %s is scaled on CPU, which is measured in percent of what its tasks reserve, and they reserve none: the smallest load makes it grow to its maximum of %d", v.Service, v.Max)
		case t.Metric == "cpu" && t.Target > 100:
			warn(OutOfReach, "lower the target to 70, or reserve what the tasks use ('slipway cluster rightsize')",
				"service %s grows when its tasks use %g %% of the CPU they reserve: on instances that are reserved in full no task gets more than 100 %%, so it never grows when it must", v.Service, t.Target)
		}
		if !t.NeverIn && t.ScaleIn < start {
			where := "ScaleInCooldown of policy " + t.PolicyName
			if t.Slipway {
				where = "in_cooldown in slipway.yaml"
			}
			warn(QuickIn, fmt.Sprintf("raise %s to %s or more", where, 2*start),
				"service %s may shrink again after %s, but an instance takes %s to come: what its tasks leave is removed and bought back", v.Service, t.ScaleIn, start)
		}
	}
	for _, p := range v.Steps {
		remove := fmt.Sprintf("aws application-autoscaling delete-scaling-policy --service-namespace ecs --scalable-dimension ecs:service:DesiredCount --resource-id service/CLUSTER/%s --policy-name %s", v.Service, p.PolicyName)
		if p.In && p.Cooldown < start {
			warn(QuickIn, fmt.Sprintf("raise Cooldown of policy %s to %s or more, or let target tracking do it: %s", p.PolicyName, 2*start, remove),
				"service %s may shrink again %s after a step of policy %s, but an instance takes %s to come: what its tasks leave is removed and bought back", v.Service, p.Cooldown, p.PolicyName, start)
		}
		if (p.In || p.Exact) && len(v.Tracks) > 0 {
			warn(StepsAndTrack, "let one of them decide; target tracking shrinks by itself: "+remove,
				"service %s is made smaller by steps of policy %s, which knows nothing of its target tracking (%s): what one removes the other adds, and instances with it", v.Service, p.PolicyName, v.Tracks[0].PolicyName)
		}
		if most, by := v.most(); p.Exact && p.Most > most {
			warn(StepBeyond, fmt.Sprintf("raise the maximum to %d, or lower the step", p.Most),
				"policy %s steps service %s to %d tasks, but %s is %d: it never gets there", p.PolicyName, v.Service, p.Most, by, most)
		}
	}
	for _, b := range v.Schedules {
		if b.Min >= 0 && b.Max < 0 && b.Min > v.Max {
			warn(BadSchedule, "give the schedule a maximum, or raise the service's", "schedule %s wants at least %d tasks of %s, whose maximum is %d", b.Name, b.Min, v.Service, v.Max)
		}
	}
	return out
}

func groupFrictions(g *Group, x *Scaling, now time.Time) (out []Warning) {
	o := x.Groups[g.Name]
	warn := func(kind Friction, do, says string, args ...any) {
		out = append(out, Warning{kind, g.Name, fmt.Sprintf(says, args...), do})
	}
	if g.Managed {
		warn(TwoSizers, fmt.Sprintf("turn it off: aws ecs update-capacity-provider --name %s --auto-scaling-group-provider managedScaling={status=DISABLED},managedTerminationProtection=DISABLED", cmp.Or(o.Provider, "NAME")),
			"group %s is sized by ECS's managed scaling (capacity provider %s), so the controller leaves it alone: it grows by the largest group of waiting tasks only and shrinks after fifteen minutes", g.Name, cmp.Or(o.Provider, "not known"))
	}
	if len(o.Policies) > 0 {
		warn(OwnPolicy, fmt.Sprintf("delete it: aws autoscaling delete-policy --auto-scaling-group-name %s --policy-name %s", g.Name, o.Policies[0]),
			"group %s has scaling policies of its own (%s), which see what instances use and not which tasks have no place: what they remove is not drained first, and the controller undoes what they add", g.Name, strings.Join(o.Policies, ", "))
	}
	if len(o.Schedules) > 0 {
		warn(OwnSchedule, fmt.Sprintf("delete it (aws autoscaling delete-scheduled-action --auto-scaling-group-name %s --scheduled-action-name %s) and schedule the services' minimum instead: instances follow", g.Name, o.Schedules[0]),
			"group %s has scheduled actions of its own (%s): the controller works against the size they set", g.Name, strings.Join(o.Schedules, ", "))
	}
	if g.Evens {
		warn(ZoneBalance, fmt.Sprintf("aws autoscaling suspend-processes --auto-scaling-group-name %s --scaling-processes AZRebalance: new instances still go where there are fewest", g.Name),
			"group %s evens out its zones by ending instances that run tasks, whatever the controller decided: it knows nothing of draining", g.Name)
	}
	if o.NewProtected && !g.Managed {
		warn(AllProtected, fmt.Sprintf("aws autoscaling update-auto-scaling-group --auto-scaling-group-name %s --no-new-instances-protected-from-scale-in, and the same of the instances there are (set-instance-protection)", g.Name),
			"group %s protects every instance it launches from scale-in, so the controller never removes one", g.Name)
	}
	if n := changes(o.Turns, now); n >= groupTurns && !g.Rotating {
		var names, cycled []string
		for _, v := range x.Services {
			if t := changes(v.Turns, now); t >= 2 {
				names = append(names, v.Service)
				cycled = append(cycled, fmt.Sprintf("%s (%d times)", v.Service, t))
			}
		}
		switch len(names) {
		case 0:
			warn(Oscillates, "look who else sets its size (aws autoscaling describe-scaling-activities), or raise --settle of the controller", "group %s changed between growing and shrinking %d times within an hour, and no service did", g.Name, n)
		default:
			warn(Oscillates, fmt.Sprintf("raise the scale-in cooldown of %s so that one's trough is over when the other's peak is, or keep room for it with --reserve of the controller", strings.Join(names, " and ")),
				"group %s changed between growing and shrinking %d times within an hour, as did %s", g.Name, n, strings.Join(cycled, " and "))
		}
	}
	return out
}

// changes is how often the direction changed within lookBack.
func changes(turns []Turn, now time.Time) (n int) {
	turns = slices.Clone(turns)
	slices.SortStableFunc(turns, func(a, b Turn) int { return a.At.Compare(b.At) })
	turns = slices.DeleteFunc(turns, func(t Turn) bool { return now.Sub(t.At) > lookBack })
	for k := 1; k < len(turns); k++ {
		if turns[k].Up != turns[k-1].Up {
			n++
		}
	}
	return n
}

// most is the largest size of the service, and what says so.
func (v *Scaled) most() (n int, by string) {
	n, by = v.Max, "its maximum"
	for _, b := range v.Schedules {
		if b.Max > n {
			n, by = b.Max, "the maximum of its schedule "+b.Name
		}
	}
	return n, by
}

// roomAtMost finds the services that may grow beyond what the groups may hold: each alone, with the others as
// they are; and, if each has room alone, all together.
func roomAtMost(s *State, x *Scaling) (out []Warning) {
	if len(s.Hosts) == 0 && len(s.Groups) == 0 {
		return nil // not known
	}
	var all []Wanted
	var texts []string
	for k := range x.Services {
		v := &x.Services[k]
		most, by := v.most()
		grow := most - v.Desired
		if grow <= 0 {
			continue
		}
		w := Wanted{Name: v.Service, Count: grow, Need: v.Need}
		all, texts = append(all, w), append(texts, fmt.Sprintf("%s %d", v.Service, most))
		left := beyond(s, []Wanted{w})
		if n := of(left, v.Service); n > 0 {
			out = append(out, Warning{NoRoom, v.Service,
				fmt.Sprintf("service %s may grow to %d tasks (%s), but with its groups at their maximum (%s) the cluster has room for %d beside the others: its policy goes on asking for tasks that never get a place", v.Service, most, by, maxima(s), most-n),
				strings.Join(notEmpty(raise(s, left), fmt.Sprintf("lower that maximum to %d", most-n)), ", or ")})
		}
	}
	if len(out) > 0 || len(all) < 2 {
		return out
	}
	if left := beyond(s, all); count(left) > 0 {
		out = append(out, Warning{NoRoomForAll, s.Cluster,
			fmt.Sprintf("each service alone has room to grow to its maximum, but not all at a time (%s): %d tasks would have no place with the groups at their maximum (%s)", strings.Join(texts, ", "), count(left), maxima(s)),
			strings.Join(notEmpty(raise(s, left), "lower the services' maxima, if they never peak together this may stay"), ", or ")})
	}
	return out
}

// beyond is what of the wanted has no place with every group at its maximum, after what waits already.
func beyond(s *State, wanted []Wanted) []Wanted {
	hosts := copies(s, "")
	need := count(wanted) + count(s.Wanted)
	for k := range s.Groups {
		g := &s.Groups[k]
		here := 0
		for n := range s.Hosts {
			if h := &s.Hosts[n]; h.Group == g.Name && !h.Leaving && h.Status == "ACTIVE" {
				here++
			}
		}
		for n := here; n < g.Max && n < here+need; n++ { // no task needs more than one
			if h := expected(s, g, n); h != nil {
				hosts = append(hosts, h)
			}
		}
	}
	// What waits already comes first: it is not the growth's fault.
	_, _ = unplaced(s.Wanted, hosts)
	left, _ := unplaced(wanted, hosts)
	return left
}

// raise says which group's maximum to raise, to what: the cheapest that can hold what is left.
func raise(s *State, left []Wanted) string {
	best, to, least := -1, 0, math.Inf(1)
	for k := range s.Groups {
		g := &s.Groups[k]
		more := 0
		for _, w := range left {
			h := expected(s, g, g.Max)
			if h == nil {
				more = -1
				break
			}
			need := w.Need
			batch, err := placement.NewBatch(&need, []*placement.Instance{h})
			per := 0
			for err == nil && per < w.Count && batch.Next() != nil {
				per++
			}
			if per == 0 {
				more = -1
				break
			}
			more += (w.Count + per - 1) / per
		}
		if cost := float64(more) * g.price(); more > 0 && cost < least {
			best, to, least = k, g.Max+more, cost
		}
	}
	if best < 0 {
		return ""
	}
	return fmt.Sprintf("raise the maximum of group %s from %d to %d", s.Groups[best].Name, s.Groups[best].Max, to)
}

func maxima(s *State) string {
	if len(s.Groups) == 0 {
		return "there is none"
	}
	var out []string
	for k := range s.Groups {
		out = append(out, fmt.Sprintf("%s: %d", s.Groups[k].Name, s.Groups[k].Max))
	}
	return strings.Join(out, ", ")
}

func of(ws []Wanted, name string) (n int) {
	for _, w := range ws {
		if w.Name == name {
			n += w.Count
		}
	}
	return n
}

func notEmpty(texts ...string) []string {
	return slices.DeleteFunc(texts, func(t string) bool { return t == "" })
}
