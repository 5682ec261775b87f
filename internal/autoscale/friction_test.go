package autoscale

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestFrictions(t *testing.T) {
	group := func(most int) []Group {
		return []Group{{Name: "g", Type: "m7i.large", Zones: []string{"a"}, Max: most, Desired: 1, Instances: 1}}
	}
	web := func(change func(*Scaled)) Scaled {
		v := Scaled{Service: "web", Desired: 4, Min: 1, Max: 8, Need: need(512), Tracks: []Track{{Metric: "cpu", Target: 70, ScaleIn: 5 * time.Minute, PolicyName: "p"}}}
		if change != nil {
			change(&v)
		}
		return v
	}
	turns := func(minutes ...int) (out []Turn) {
		for k, m := range minutes {
			out = append(out, Turn{now.Add(-time.Duration(m) * time.Minute), k%2 == 0})
		}
		return out
	}
	one := func(change func(*Scaled)) *Scaling { return &Scaling{Services: []Scaled{web(change)}} }
	own := func(g GroupScaling) *Scaling {
		return &Scaling{Services: []Scaled{web(nil)}, Groups: map[string]GroupScaling{"g": g}}
	}
	for _, c := range []struct {
		name  string
		state State
		x     *Scaling
		want  Friction // of the only warning; empty: none
		about string
		says  []string
	}{
		{"all is well", State{Hosts: hosts(4), Groups: group(2)}, one(nil), "", "", nil},
		{"no scaling", State{Hosts: hosts(4), Groups: group(2)}, &Scaling{}, "", "", nil},
		{"nothing is known of the cluster", State{}, one(nil), "", "", nil},
		{"maximum", State{Hosts: hosts(4), Groups: group(2)}, one(func(v *Scaled) { v.Max = 30 }), NoRoom, "web",
			[]string{"may grow to 30 tasks (its maximum)", "(g: 2)", "has room for 8", "raise the maximum of group g from 2 to 8, or lower that maximum to 8"}},
		{"what waits has its place first", State{Hosts: hosts(2), Groups: group(2), Wanted: []Wanted{{Name: "batch", Count: 2, Need: need(512)}}}, one(func(v *Scaled) { v.Desired, v.Max = 2, 8 }), NoRoom, "web", []string{"has room for 6"}},
		{"a maximum of a schedule", State{Hosts: hosts(4), Groups: group(2)}, one(func(v *Scaled) { v.Schedules = []Bounds{{"sale", 4, 12}, {"night", 1, 2}} }), NoRoom, "web", []string{"may grow to 12 tasks (the maximum of its schedule sale)"}},
		{"too large for every group", State{Hosts: hosts(4), Groups: group(9)}, one(func(v *Scaled) { v.Need = need(4096) }), NoRoom, "web", []string{"has room for 4"}},
		{"together", State{Cluster: "c", Hosts: hosts(4), Groups: group(2)}, &Scaling{Services: []Scaled{web(nil), web(func(v *Scaled) { v.Service, v.Desired, v.Max = "api", 0, 4 })}}, NoRoomForAll, "c",
			[]string{"web 8, api 4", "4 tasks would have no place", "raise the maximum of group g from 2 to 3"}},
		{"a schedule's minimum beyond the maximum", State{Hosts: hosts(4), Groups: group(2)}, one(func(v *Scaled) { v.Schedules = []Bounds{{"sale", 20, -1}} }), BadSchedule, "web", []string{"at least 20 tasks", "maximum is 8"}},
		{"CPU of none", State{Hosts: hosts(4), Groups: group(2)}, one(func(v *Scaled) { v.Need = need(0) }), NoReservation, "web", []string{"reserve none", "maximum of 8", "rightsize"}},
		{"requests without CPU", State{Hosts: hosts(4), Groups: group(2)}, one(func(v *Scaled) { v.Need, v.Tracks[0].Metric = need(0), "requests" }), "", "", nil},
		{"more than is reserved", State{Hosts: hosts(4), Groups: group(2)}, one(func(v *Scaled) { v.Tracks[0].Target = 150 }), OutOfReach, "web", []string{"150 %", "lower the target"}},
		{"quicker than an instance", State{Hosts: hosts(4), Groups: group(2)}, one(func(v *Scaled) { v.Tracks[0].ScaleIn = time.Minute }), QuickIn, "web", []string{"after 1m0s", "takes 2m0s", "raise ScaleInCooldown of policy p to 4m0s"}},
		{"from slipway.yaml", State{}, one(func(v *Scaled) { v.Tracks[0].ScaleIn, v.Tracks[0].Slipway = time.Minute, true }), QuickIn, "web", []string{"raise in_cooldown in slipway.yaml"}},
		{"it never shrinks", State{Hosts: hosts(4), Groups: group(2)}, one(func(v *Scaled) { v.Tracks[0].ScaleIn, v.Tracks[0].NeverIn = 0, true }), "", "", nil},
		{"steps out alone", State{Hosts: hosts(4), Groups: group(2)}, one(func(v *Scaled) { v.Steps = []Stepped{{PolicyName: "burst"}} }), "", "", nil},
		{"steps in, calmly, without tracking", State{Hosts: hosts(4), Groups: group(2)}, one(func(v *Scaled) {
			v.Tracks, v.Steps = nil, []Stepped{{PolicyName: "queue", In: true, Cooldown: 5 * time.Minute}}
		}), "", "", nil},
		{"steps in, quickly", State{Hosts: hosts(4), Groups: group(2)}, one(func(v *Scaled) {
			v.Tracks, v.Steps = nil, []Stepped{{PolicyName: "queue", In: true, Cooldown: time.Minute}}
		}), QuickIn, "web", []string{"1m0s after a step of policy queue", "raise Cooldown of policy queue to 4m0s"}},
		{"steps in beside tracking", State{Hosts: hosts(4), Groups: group(2)}, one(func(v *Scaled) {
			v.Steps = []Stepped{{PolicyName: "queue", In: true, Cooldown: 5 * time.Minute}}
		}), StepsAndTrack, "web", []string{"steps of policy queue", "target tracking (p)", "--resource-id service/CLUSTER/web --policy-name queue"}},
		{"steps to a size beyond the maximum", State{Hosts: hosts(4), Groups: group(2)}, one(func(v *Scaled) {
			v.Tracks, v.Steps = nil, []Stepped{{PolicyName: "fair", Exact: true, Most: 20}}
		}), StepBeyond, "web", []string{"to 20 tasks, but its maximum is 8", "raise the maximum to 20"}},
		{"managed", State{Hosts: hosts(4), Groups: []Group{{Name: "g", Type: "m7i.large", Max: 2, Desired: 1, Instances: 1, Managed: true}}}, own(GroupScaling{Provider: "cp", NewProtected: true}), TwoSizers, "g", []string{"capacity provider cp", "--name cp", "status=DISABLED"}},
		{"protected", State{Hosts: hosts(4), Groups: group(2)}, own(GroupScaling{NewProtected: true}), AllProtected, "g", []string{"never removes one", "--no-new-instances-protected-from-scale-in"}},
		{"it evens out its zones", State{Hosts: hosts(4), Groups: []Group{{Name: "g", Type: "m7i.large", Zones: []string{"a", "b"}, Max: 2, Desired: 1, Instances: 1, Evens: true}}}, one(nil), ZoneBalance, "g", []string{"ending instances", "--auto-scaling-group-name g --scaling-processes AZRebalance"}},
		{"its own policy", State{Hosts: hosts(4), Groups: group(2)}, own(GroupScaling{Policies: []string{"cpu50"}}), OwnPolicy, "g", []string{"(cpu50)", "delete-policy --auto-scaling-group-name g --policy-name cpu50"}},
		{"its own schedule", State{Hosts: hosts(4), Groups: group(2)}, own(GroupScaling{Schedules: []string{"night"}}), OwnSchedule, "g", []string{"(night)", "services' minimum instead"}},
		{"to and fro", State{Hosts: hosts(4), Groups: group(2)}, &Scaling{Groups: map[string]GroupScaling{"g": {Turns: turns(50, 40, 30, 20)}},
			Services: []Scaled{web(func(v *Scaled) { v.Turns = turns(51, 42, 31, 22) }), web(func(v *Scaled) { v.Service, v.Max, v.Turns = "api", 4, turns(45, 33, 25) }), web(func(v *Scaled) { v.Service, v.Max = "calm", 4 })}},
			Oscillates, "g", []string{"3 times within an hour, as did web (3 times) and api (2 times)", "cooldown of web and api"}},
		{"to and fro, and no service did", State{Hosts: hosts(4), Groups: group(2)}, own(GroupScaling{Turns: turns(50, 40, 30, 20)}), Oscillates, "g", []string{"no service did", "who else"}},
		{"long ago", State{Hosts: hosts(4), Groups: group(2)}, own(GroupScaling{Turns: turns(120, 110, 100, 90, 20)}), "", "", nil},
		{"up and up", State{Hosts: hosts(4), Groups: group(2)}, own(GroupScaling{Turns: []Turn{{now, true}, {now.Add(-time.Minute), true}, {now.Add(-2 * time.Minute), true}, {now.Add(-3 * time.Minute), true}}}), "", "", nil},
		{"while it is rotated", State{Hosts: hosts(4), Groups: []Group{{Name: "g", Type: "m7i.large", Max: 2, Desired: 1, Instances: 1, Rotating: true}}}, own(GroupScaling{Turns: turns(50, 40, 30, 20)}), "", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Frictions(&c.state, c.x, now, Defaults())
			if c.want == "" {
				if len(got) > 0 {
					t.Errorf("%v", got)
				}
				return
			}
			if len(got) != 1 || got[0].Kind != c.want || got[0].About != c.about {
				t.Fatalf("%+v; want one %s about %s", got, c.want, c.about)
			}
			text := got[0].Says + "\n" + got[0].Do
			for _, want := range c.says {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in %s", want, text)
				}
			}
			if got[0].Do == "" || strings.HasSuffix(got[0].Says, ".") {
				t.Errorf("%+v", got[0])
			}
		})
	}
}

// Looking for room at the maximum stays quick where groups may grow to thousands.
func BenchmarkFrictions(b *testing.B) {
	s := &State{Groups: []Group{{Name: "g", Type: "m7i.4xlarge", Zones: []string{"a", "b", "c"}, Max: 5000}}}
	x := &Scaling{}
	for k := range 50 {
		x.Services = append(x.Services, Scaled{Service: fmt.Sprint("s", k), Max: 1000, Need: need(100 + k)})
	}
	for b.Loop() {
		Frictions(s, x, now, Defaults())
	}
}
