package autoscale

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ecs/slipway/internal/capacity"
	"github.com/slipway-ecs/slipway/internal/placement"
)

var now = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func need(cpu int) placement.Request {
	return placement.Request{Resources: placement.Resources{CPU: cpu, Memory: 256}, Group: "service:web"}
}

// hosts are n instances of two vCPU with tasks of 512 CPU units each.
func hosts(tasks ...int) (out []Host) {
	for k, n := range tasks {
		h := Host{Instance: placement.Instance{ID: fmt.Sprintf("arn/i-%d", k), EC2ID: fmt.Sprintf("i-%d", k), Type: "m7i.large", Status: "ACTIVE", AgentConnected: true, RegisteredAt: now.Add(-time.Hour),
			Registered: placement.Resources{CPU: 2048, Memory: 7500}, Ports: map[placement.Port]int{}, Groups: map[string]int{}}, Group: "g", InService: true}
		for range n {
			r := need(512)
			h.Take(&r)
			h.Tasks = append(h.Tasks, Task{Service: "web", Need: r})
		}
		out = append(out, h)
	}
	return out
}

func TestDecide(t *testing.T) {
	group := func(min, most, desired int) []Group {
		return []Group{{Name: "g", Type: "m7i.large", Zones: []string{"a", "b"}, Min: min, Max: most, Desired: desired, Instances: desired}}
	}
	want := func(n, cpu int) []Wanted { return []Wanted{{Name: "web", Count: n, Need: need(cpu)}} }
	long := map[string]time.Time{"arn/i-0": now.Add(-time.Hour), "arn/i-1": now.Add(-time.Hour), "arn/i-2": now.Add(-time.Hour)}
	for _, c := range []struct {
		name   string
		state  State
		since  map[string]time.Time
		change func(*State)
		want   string
		says   string
	}{
		{"from zero by one step", State{Groups: group(0, 9, 0), Wanted: want(5, 512)}, nil, nil, "grow g 0→2", "5 tasks of web fit on no instance (there is no instance)"},
		{"from zero with what an agent can do", State{Groups: group(0, 9, 0), Wanted: []Wanted{{Name: "web", Count: 5, Need: placement.Request{Resources: placement.Resources{CPU: 512, Memory: 256}, Group: "service:web", Attributes: []string{"com.amazonaws.ecs.capability.logging-driver.awslogs"}}}}}, nil, nil, "grow g 0→2", "5 tasks"},
		{"from zero with a disk that nobody knows of", State{Groups: group(0, 9, 0), Wanted: []Wanted{{Name: "web", Count: 5, Need: placement.Request{Resources: placement.Resources{CPU: 512, Memory: 256}, Group: "service:web", Attributes: []string{"disk=ssd"}}}}}, nil, nil, "blocked", "has no room"},
		{"reserve is made", State{Hosts: hosts(4), Groups: group(1, 9, 1)}, long, nil, "grow g 1→2", "to be kept free: 1 tasks of web"},
		{"reserve is kept", State{Hosts: hosts(2, 1, 1), Groups: group(1, 9, 3)}, long, nil, "shrink i-1 3→2", "is not needed"},
		{"reserve that no group gives", State{Hosts: hosts(4), Groups: group(1, 1, 1)}, long, nil, "hold", "minimum"},
		{"what has room is left to ECS", State{Hosts: hosts(2), Groups: group(1, 9, 1), Wanted: want(2, 512)}, long, nil, "hold", "have room"},
		{"what comes is counted", State{Hosts: hosts(4), Groups: group(1, 9, 2), Wanted: want(4, 512)}, long, nil, "hold", "on 1 that come"},
		{"only the rest", State{Hosts: hosts(4), Groups: group(1, 9, 2), Wanted: want(6, 512)}, long, nil, "grow g 2→3", "2 tasks of web"},
		{"at the maximum", State{Hosts: hosts(4), Groups: group(1, 1, 1), Wanted: want(1, 512)}, long, nil, "blocked", "maximum of 1"},
		{"part of it", State{Hosts: hosts(4), Groups: group(1, 2, 1), Wanted: want(9, 512)}, long, nil, "grow g 1→2, blocked", ""},
		{"too large for the type", State{Hosts: hosts(4), Groups: group(1, 9, 1), Wanted: want(1, 4096)}, long, nil, "blocked", "no room"},
		{"managed by ECS", State{Hosts: hosts(4), Groups: group(1, 9, 1), Wanted: want(1, 512)}, long, func(s *State) { s.Groups[0].Managed = true }, "blocked", "managed scaling"},
		{"the emptiest goes", State{Hosts: hosts(2, 1, 0), Groups: group(1, 9, 3)}, long, nil, "shrink i-2 3→2, shrink i-1 2→1", "runs no tasks"},
		{"its tasks move", State{Hosts: hosts(2, 1), Groups: group(1, 9, 2)}, long, nil, "shrink i-1 2→1", "1 tasks fit on other instances"},
		{"not at once", State{Hosts: hosts(2, 1), Groups: group(1, 9, 2)}, nil, nil, "hold", "i-1 can go in 1m7s, if nothing changes"}, // a minute, and what moving a task costs,
		{"headroom", State{Hosts: hosts(2, 2), Groups: group(1, 9, 2)}, long, nil, "hold", "10 %"},
		{"no room", State{Hosts: hosts(3, 3), Groups: group(1, 9, 2)}, long, nil, "hold", "not all of its 3 tasks fit"},
		{"minimum", State{Hosts: hosts(0, 0), Groups: group(2, 9, 2)}, long, nil, "hold", "minimum of 2"},
		{"pinned", State{Hosts: hosts(1, 1), Groups: group(1, 9, 2)}, long, func(s *State) { s.Hosts[0].Tasks[0].Pinned, s.Hosts[1].Protected = "it is a batch", true }, "hold", "it is a batch"},
		{"what drains counts", State{Hosts: hosts(1, 1, 1, 1), Groups: group(1, 9, 4)}, long, func(s *State) { s.Hosts[2].Leaving, s.Hosts[3].Leaving = true, true }, "hold", "being drained"},
		{"an empty one goes meanwhile", State{Hosts: hosts(1, 0, 1), Groups: group(1, 9, 3)}, long, func(s *State) { s.Hosts[2].Leaving = true }, "shrink i-1 3→2", "runs no tasks"},
		{"rotated", State{Hosts: hosts(1, 0), Groups: group(1, 9, 2)}, long, func(s *State) { s.Groups[0].Rotating = true }, "hold", "being rotated"},
		{"no capacity at AWS", State{Groups: append(group(0, 9, 0), Group{Name: "spare", Type: "m7i.xlarge", Max: 9}), Wanted: want(5, 512)}, nil, func(s *State) { s.Groups[0].FailedAt = now.Add(-time.Minute) }, "grow spare 0→1", "5 tasks"},
		{"the cheapest mix", State{Groups: append(group(0, 9, 0), Group{Name: "large", Type: "m7i.4xlarge", Max: 9}), Wanted: want(33, 512)}, nil, nil, "grow g 0→9", "33 tasks"},
		{"several groups to their maximum", State{Groups: append(group(0, 2, 0), Group{Name: "large", Type: "m7i.xlarge", Max: 1}), Wanted: want(20, 512)}, nil, nil, "grow g 0→2, grow large 0→1, blocked", "maximum"},
		{"mixed types count by the least", State{Groups: []Group{{Name: "m", Types: []string{"m7i.xlarge", "m7i.large"}, Max: 9}}, Wanted: want(8, 512)}, nil, nil, "grow m 0→2", "8 tasks"},
		{"several dear ones for a cheap one", State{Hosts: hosts(3, 3), Groups: append(group(0, 9, 2), Group{Name: "large", Type: "c7i.xlarge", Max: 9})}, map[string]time.Time{"arn/i-0": now.Add(-time.Hour), "arn/i-1": now.Add(-time.Hour)},
			func(s *State) {
				for k := range s.Hosts {
					s.Hosts[k].Type, s.Hosts[k].Registered = "r7i.large", placement.Resources{CPU: 2048, Memory: 15000}
				}
				s.Groups[0].Type = "r7i.large"
			}, "shrink i-0 2→1, shrink i-1 1→0, grow large 0→1", "stand for"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.change != nil {
				c.change(&c.state)
			}
			cfg := Defaults()
			cfg.Reserve = 0
			if strings.HasPrefix(c.name, "reserve") {
				cfg.Reserve = 25
			}
			ds, _ := Decide(&c.state, c.since, now, cfg)
			var got, reasons []string
			for _, d := range ds {
				switch d.Kind {
				case Grow:
					got = append(got, fmt.Sprintf("grow %s %d→%d", d.Group, d.From, d.To))
				case Shrink:
					got = append(got, fmt.Sprintf("shrink %s %d→%d", d.EC2ID, d.From, d.To))
				case Hold, Blocked:
					got = append(got, string(d.Kind))
				}
				reasons = append(reasons, d.Reasons...)
			}
			if strings.Join(got, ", ") != c.want || !strings.Contains(strings.Join(reasons, "; "), c.says) {
				t.Errorf("%v because %v; want %s because %q", got, reasons, c.want, c.says)
			}
		})
	}
}

// Where Auto Scaling evens out zones, what goes leaves them even: one zone may have one instance more.
func TestEvenZones(t *testing.T) {
	for _, c := range []struct {
		name  string
		zones string // of the hosts
		tasks []int
		evens bool
		want  string // zones of those that go
		says  string
	}{
		{"the emptiest goes", "aabc", []int{3, 3, 3, 0}, false, "c", ""},
		{"not from the smaller zone, and tasks move for it", "aabc", []int{3, 3, 3, 0}, true, "a", ""},
		{"not from the smaller zone", "ab", []int{4, 4}, true, "", "not all of its 4 tasks fit"},
		{"from the larger", "aabc", []int{0, 3, 3, 3}, true, "a", ""},
		{"one of each", "abc", []int{0, 0, 1}, true, "ab", ""},
		{"not both of one zone", "aabb", []int{0, 0, 2, 2}, true, "a", ""},
		{"a zone that has none", "aaab", []int{1, 0, 0, 4}, true, "aa", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := State{Hosts: hosts(c.tasks...), Groups: []Group{{Name: "g", Type: "m7i.large", Max: 9, Desired: len(c.tasks), Instances: len(c.tasks), Evens: c.evens}}}
			since := map[string]time.Time{}
			for k := range s.Hosts {
				s.Hosts[k].AZ = c.zones[k : k+1]
				since[s.Hosts[k].ID] = now.Add(-time.Hour)
			}
			s.Groups[0].Zones = slices.Compact(strings.Split(c.zones, ""))
			ds, _ := Decide(&s, since, now, Config{Budgets: []capacity.Disruption{{Number: 1, Percent: capacity.NoLimit}}})
			got, reasons := "", ""
			for _, d := range ds {
				reasons += strings.Join(d.Reasons, "; ")
				for k := range s.Hosts {
					if d.Kind == Shrink && s.Hosts[k].ID == d.Instance {
						got += s.Hosts[k].AZ
					}
				}
			}
			if got != c.want || !strings.Contains(reasons, c.says) {
				t.Errorf("from %q go, want %q; %s", got, c.want, reasons)
			}
		})
	}
}

// Budgets: what may go, how many at a time, and when; each is named where it keeps an instance.
func TestBudgets(t *testing.T) {
	rule := func(text string) capacity.Disruption {
		d, err := capacity.ParseDisruption(text, time.LoadLocation)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	rules := func(texts ...string) (out []capacity.Disruption) {
		for _, text := range texts {
			out = append(out, rule(text))
		}
		return out
	}
	web := func(texts ...string) map[string][]capacity.Disruption {
		return map[string][]capacity.Disruption{"web": rules(texts...)}
	}
	// Six instances of one task each: all fit on two. It is Wednesday noon, UTC.
	for _, c := range []struct {
		name     string
		tasks    []int
		budgets  []capacity.Disruption
		services map[string][]capacity.Disruption
		leaving  int
		want     int // instances that go
		says     string
	}{
		{"a tenth, but two", []int{1, 1, 1, 1, 1, 1}, nil, nil, 0, 2, ""},
		{"a number", []int{1, 1, 1, 1, 1, 1}, rules("1"), nil, 0, 1, ""},
		{"a part", []int{1, 1, 1, 1, 1, 1}, rules("50%"), nil, 0, 3, ""},
		{"what leaves counts", []int{1, 1, 1, 1, 1, 1}, rules("3"), nil, 2, 1, ""},
		{"frozen", []int{1, 1, 1, 1, 1, 1}, rules("0"), nil, 0, 0, `no instance with tasks may go now: the budget "0" is in force`},
		{"frozen at noon", []int{1, 1, 1, 1, 1, 1}, rules("0 mon-fri 08:00-18:00", "50%"), nil, 0, 0, `"0 mon,tue,wed,thu,fri 08:00-18:00 UTC" is in force`},
		{"not frozen elsewhere", []int{1, 1, 1, 1, 1, 1}, rules("0 mon-fri 08:00-18:00 Pacific/Auckland", "50%"), nil, 0, 3, ""},
		{"what is said of the night lifts no limit by day", []int{1, 1, 1, 1, 1, 1}, rules("5 22:00-06:00"), nil, 0, 2, ""},
		{"an empty one goes all the same", []int{1, 1, 1, 1, 1, 0}, rules("0"), nil, 0, 1, ""},
		{"of a service", []int{1, 1, 1, 1, 1, 1}, rules("50%"), web("1"), 0, 1, ""},
		{"of a service, with what moves", []int{1, 1, 1, 1, 1, 1}, rules("50%"), web("2"), 2, 0, "as many tasks of web as its budget permits are being moved"},
		{"of a service, frozen", []int{1, 1, 1, 1, 1, 1}, rules("50%"), web("0 12:00-13:00", "4"), 0, 0, `tasks of web may not be moved now: its budget "0 12:00-13:00 UTC" is in force`},
		{"of another", []int{1, 1, 1, 1, 1, 1}, rules("50%"), map[string][]capacity.Disruption{"api": rules("0")}, 0, 3, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &State{Hosts: hosts(c.tasks...), Groups: []Group{{Name: "g", Type: "m7i.large", Zones: []string{"a"}, Max: 9, Desired: 6, Instances: 6}}}
			since := map[string]time.Time{}
			for k := range s.Hosts {
				since[s.Hosts[k].ID] = now.Add(-time.Hour)
				s.Hosts[k].Leaving = k < c.leaving
			}
			cfg := Defaults()
			cfg.Reserve, cfg.Budgets, cfg.ServiceBudgets = 0, c.budgets, c.services
			ds, _ := Decide(s, since, now, cfg)
			n, reasons := 0, ""
			for _, d := range ds {
				if d.Kind == Shrink {
					n++
				}
				reasons += strings.Join(d.Reasons, "; ")
			}
			if n != c.want || !strings.Contains(reasons, c.says) {
				t.Errorf("%d go because %s; want %d because %q", n, reasons, c.want, c.says)
			}
		})
	}
}
