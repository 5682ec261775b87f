package rotate

import (
	"fmt"
	"slices"
	"time"

	"github.com/slipway-ecs/slipway/internal/capacity"
)

// Pace is how long things take.
type Pace struct {
	Launch time.Duration // from the wish to a member that takes tasks
	Drain  time.Duration // of a member with tasks; an empty one takes no time
}

// Usual is taken where nothing was measured: an ECS-optimized image joins in about two minutes, and a
// task leaves after the 300 s a target group waits by default.
var Usual = Pace{Launch: 2 * time.Minute, Drain: 6 * time.Minute}

// Step is one thing that a rotation will do.
type Step struct {
	At     time.Duration // after the beginning
	Action Action
}

// Forecast is the steps of a rotation if all goes well, and how long it takes: Decide, run on a copy of
// the group.
func Forecast(g Group, now time.Time, pace Pace) (steps []Step, length time.Duration, blocked []string) {
	r := *g.Rotation
	g.Rotation, g.Members, g.Health = &r, slices.Clone(g.Members), Health{}
	begin, made := now, 0
	type event struct {
		at    time.Time
		apply func()
	}
	var events []event
	member := func(id string) *Member {
		for k := range g.Members {
			if g.Members[k].EC2ID == id {
				return &g.Members[k]
			}
		}
		return nil
	}
	launch := func(zone string) {
		made++
		id := fmt.Sprintf("new-%d", made)
		g.Members = append(g.Members, Member{EC2ID: id, Zone: zone, Version: r.To, Right: true, Lifecycle: "Pending"})
		events = append(events, event{now.Add(pace.Launch), func() {
			if m := member(id); m != nil {
				m.Lifecycle, m.Instance, m.Ready = "InService", id, true
			}
		}})
	}
	// Those that drain already end like those to come.
	end := func(m *Member) {
		wait := pace.Drain
		if m.Tasks == 0 {
			wait = 0
		}
		id, drop, zone := m.EC2ID, m.Drop, m.Zone
		events = append(events, event{now.Add(wait), func() {
			g.Members = slices.DeleteFunc(g.Members, func(m Member) bool { return m.EC2ID == id })
			if drop {
				g.Desired--
				return
			}
			launch(zone)
		}})
	}
	for k := range g.Members {
		if m := &g.Members[k]; m.Marked {
			end(m)
		}
	}
	for range 20 * (len(g.Members) + g.Max + len(r.Checkpoints) + 5) {
		p := Decide(&g, now)
		for _, a := range p.Actions {
			steps = append(steps, Step{now.Sub(begin), a})
			switch a.Kind {
			case UseVersion:
				g.Version = a.Version
			case SetDesired:
				for n := g.Desired; n < a.To; n++ {
					launch("")
				}
				g.Desired = a.To
			case Drain:
				m := member(a.Member.EC2ID)
				m.Marked, m.Ours, m.Drop = true, true, a.Drop
				end(m)
			case Reopen:
				m := member(a.Member.EC2ID)
				m.Marked, m.Ours, m.Drop = false, false, false
			case Save:
				r = *a.Save
				g.Rotation = &r
			case Finish:
				return steps, now.Sub(begin), nil
			}
		}
		if len(p.Actions) > 0 {
			continue
		}
		if r.Reached.IsZero() && len(events) == 0 {
			if later, ok := thaw(&g, now); ok {
				now = later
				continue
			}
			return steps, now.Sub(begin), p.Waits
		}
		next := r.Reached.Add(r.Bake)
		if r.Reached.IsZero() || len(events) > 0 {
			next = slices.MinFunc(events, func(a, b event) int { return a.at.Compare(b.at) }).at
		}
		if next.After(now) {
			now = next
		}
		due := events
		events = nil
		for _, e := range due {
			if e.at.After(now) {
				events = append(events, e)
				continue
			}
			e.apply()
		}
	}
	return steps, now.Sub(begin), []string{"it does not come to an end"}
}

// thaw is when a disruption budget that lets nothing go now lets something go: windows come again each week.
func thaw(g *Group, now time.Time) (time.Time, bool) {
	const look = 5 * time.Minute
	if capacity.Frozen(g.Budgets, now) == nil {
		return now, false
	}
	for at := now.Truncate(look).Add(look); at.Sub(now) <= 8*24*time.Hour; at = at.Add(look) {
		if capacity.Frozen(g.Budgets, at) == nil {
			return at, true
		}
	}
	return now, false
}
