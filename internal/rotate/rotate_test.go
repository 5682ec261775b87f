package rotate

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-ecs/slipway/internal/capacity"
)

var now = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func groupOf(n, right, surge, most int) *Group {
	g := &Group{Name: "g", Max: most, Desired: n, Version: "1"}
	for k := range n {
		m := Member{EC2ID: fmt.Sprintf("i-%02d", k), Instance: "arn", Zone: string(rune('a' + k%3)), Version: "1", Lifecycle: "InService", Ready: true, Tasks: k % 4}
		if m.Right = k < right; m.Right {
			m.Version = "2"
		}
		g.Members = append(g.Members, m)
	}
	g.Rotation = &Rotation{To: "2", From: "1", Base: n, Surge: surge, Phase: Running, Began: now, Total: n - right, Deadline: time.Minute, Join: 10 * time.Minute, OnFailure: Pause}
	return g
}

func TestTags(t *testing.T) {
	r := Rotation{To: "12", From: "11", Base: 1000, Surge: 100, Phase: Paused, Began: now, Total: 1000, Checkpoints: []int{1, 10, 50}, Bake: time.Hour, Passed: 10, Reached: now,
		Deadline: 15 * time.Minute, Force: true, Join: 10 * time.Minute, OnFailure: Rollback, Rolled: true, Ungated: true}
	text := r.String()
	got, err := Parse(text)
	if err != nil || fmt.Sprint(*got) != fmt.Sprint(r) {
		t.Errorf("%+v, %v; want %+v", got, err, r)
	}
	if len(text) > 256 || strings.Trim(text, "abcdefghijklmnopqrstuvwxyz0123456789 +-=._:/@") != "" {
		t.Errorf("%q is no value of a tag", text)
	}
	for _, bad := range []string{"", "to=2 phase=maybe", "to=2 base=x", "to=2 at=0", "to=2 new=1", "to=2 fail=no"} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

func TestDecide(t *testing.T) {
	for _, c := range []struct {
		name  string
		group *Group
		at    time.Duration
		more  func(*Group)
		want  string // actions
		says  string // waits
	}{
		{"version, then surge", groupOf(4, 0, 2, 9), 0, nil, "use-version 2; set-desired 6", ""},
		{"skips what is right", groupOf(4, 2, 9, 9), 0, func(g *Group) { g.Version = "2" }, "set-desired 6", ""},
		{"waits for the new ones", groupOf(4, 0, 1, 9), 0, func(g *Group) { g.Version, g.Desired = "2", 5 }, "", ""},
		{"one zone first, the emptiest", groupOf(6, 0, 2, 9), 0, func(g *Group) { surged(g, 2) }, "drain i-00; drain i-03", ""},
		{"what has to wait comes last", groupOf(4, 0, 1, 9), 0, func(g *Group) { surged(g, 1); g.Members[0].Hard = "100/100" }, "drain i-03", ""},
		{"the last ones have successors", groupOf(4, 3, 1, 9), 0, func(g *Group) { surged(g, 1) }, "drop i-03", ""},
		{"at the maximum in place", groupOf(4, 0, 2, 4), 0, func(g *Group) { g.Version = "2" }, "drain i-00", "may have 4 instances at most"},
		{"a budget of one", groupOf(6, 0, 4, 10), 0, func(g *Group) { surged(g, 4); g.Budgets = rules("1") }, "drain i-00; drain i-03; drop i-04", "3 instances with tasks wait for a disruption budget"},
		{"a budget that is used", groupOf(6, 0, 4, 10), 0, func(g *Group) {
			surged(g, 4)
			g.Budgets, g.Members[3].Marked = rules("1"), true
		}, "drain i-00; drop i-04", "wait for a disruption budget"},
		{"a part of all", groupOf(6, 0, 4, 10), 0, func(g *Group) { surged(g, 4); g.Budgets = rules("20%") }, "drain i-00; drain i-03; drop i-04; drop i-01", ""},
		{"nothing may go now", groupOf(4, 1, 2, 9), 0, func(g *Group) { g.Version, g.Budgets = "2", rules("0 wed 11:00-13:00") }, "", "lets none of its instances go now"},
		{"but at another hour", groupOf(4, 1, 2, 9), 2 * time.Hour, func(g *Group) { g.Version, g.Budgets = "2", rules("0 wed 11:00-13:00") }, "set-desired 6", ""},
		{"paused", groupOf(4, 0, 2, 9), 0, func(g *Group) { g.Version, g.Rotation.Phase = "2", Paused }, "", "it is paused"},
		{"services not well", groupOf(4, 0, 1, 9), 0, func(g *Group) { surged(g, 1); g.Health.Services = []string{"web has 3 of 4"} }, "", "web has 3 of 4"},
		{"alarm", groupOf(4, 0, 1, 9), 0, func(g *Group) { surged(g, 1); g.Health.Alarms = []string{"5xx"} }, "save paused", "5xx is in ALARM"},
		{"alarm, back", groupOf(4, 0, 1, 9), 0, func(g *Group) {
			surged(g, 1)
			g.Health.Alarms, g.Rotation.OnFailure = []string{"5xx"}, Rollback
		}, "save running", ""},
		{"never joins", groupOf(4, 0, 1, 9), 11 * time.Minute, func(g *Group) {
			g.Version, g.Desired = "2", 5
			g.Members = append(g.Members, Member{EC2ID: "i-99", Right: true, Version: "2", Lifecycle: "InService", LaunchedAt: now})
		}, "save paused", "has not joined the cluster within 10m0s"},
		{"launches something else", groupOf(4, 0, 1, 9), 0, func(g *Group) {
			surged(g, 1)
			g.Members[4].Right = false
		}, "save paused", "1 instances launched since it began are not of version 2"},
		{"checkpoint", groupOf(4, 0, 2, 9), 0, func(g *Group) { surged(g, 2); g.Rotation.Checkpoints = []int{25} }, "drain i-00", ""},
		{"rests", groupOf(4, 1, 2, 9), 0, func(g *Group) {
			surged(g, 2)
			g.Rotation.Checkpoints, g.Rotation.Total, g.Rotation.Bake = []int{25}, 4, time.Minute
		}, "save running", "rests at the checkpoint of 25 %"},
		{"rested", groupOf(4, 1, 2, 9), time.Hour, func(g *Group) {
			surged(g, 2)
			g.Rotation.Checkpoints, g.Rotation.Total, g.Rotation.Bake, g.Rotation.Reached = []int{25}, 4, time.Minute, now
		}, "save running; drain i-03; drop i-01", ""},
		{"abort shrinks by drained ones", groupOf(4, 0, 1, 9), 0, func(g *Group) { surged(g, 1); g.Rotation.Phase = Aborting }, "drop i-00", "1 instances more"},
		{"abort reopens", groupOf(4, 0, 1, 9), 0, func(g *Group) {
			g.Rotation.Phase, g.Members[1].Marked, g.Members[1].Ours = Aborting, true, true
		}, "reopen i-01; finish", ""},
		{"ends", groupOf(4, 4, 1, 9), 0, func(g *Group) { g.Version = "2" }, "finish", ""},
		{"one died and was replaced", groupOf(5, 5, 1, 9), 0, func(g *Group) { g.Version, g.Rotation.Base = "2", 4 }, "drop i-00", ""},
		{"made larger meanwhile", groupOf(8, 7, 1, 9), 0, func(g *Group) { g.Version, g.Rotation.Base = "2", 4 }, "save running; drop i-07", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.more != nil {
				c.more(c.group)
			}
			p := Decide(c.group, now.Add(c.at))
			var got []string
			for _, a := range p.Actions {
				switch {
				case a.Kind == Drain && a.Drop:
					got = append(got, "drop "+a.Member.EC2ID)
				case a.Kind == Drain, a.Kind == Reopen:
					got = append(got, string(a.Kind)+" "+a.Member.EC2ID)
				case a.Kind == Save:
					got = append(got, "save "+string(a.Save.Phase))
				default:
					got = append(got, strings.TrimSuffix(fmt.Sprintf("%s %s%d", a.Kind, a.Version, a.To), " 0"))
				}
			}
			text := strings.ReplaceAll(strings.Join(got, "; "), "use-version 20", "use-version 2")
			if text != c.want || !strings.Contains(strings.Join(p.Waits, "; "), c.says) {
				t.Errorf("%s (waits %q); want %s (%s)", text, p.Waits, c.want, c.says)
			}
		})
	}
}

// rules are budgets as they are given on the command line.
func rules(texts ...string) (out []capacity.Disruption) {
	for _, text := range texts {
		d, err := capacity.ParseDisruption(text, time.LoadLocation)
		if err != nil {
			panic(err)
		}
		out = append(out, d)
	}
	return out
}

// surged gives the group its new instances.
func surged(g *Group, n int) {
	g.Version = "2"
	g.Desired += n
	for k := range n {
		g.Members = append(g.Members, Member{EC2ID: fmt.Sprintf("new-%d", k), Instance: "arn", Zone: "a", Version: "2", Right: true, Lifecycle: "InService", Ready: true})
	}
}

// Whatever the group, and wherever turns are cut short: there are never fewer instances taking tasks
// than before it began, and the end is a group of its own size whose instances are all right.
func TestNeverFewerThanBefore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 25).Draw(t, "instances")
		g := groupOf(n, rapid.IntRange(0, n).Draw(t, "right"), rapid.IntRange(1, 6).Draw(t, "surge"), n+10)
		g.Rotation.Checkpoints = rapid.SampledFrom([][]int{nil, {10}, {30, 60}}).Draw(t, "checkpoints")
		most := rapid.IntRange(0, 3).Draw(t, "budget") // 0: none
		if most > 0 {
			g.Budgets = rules(fmt.Sprint(most))
		}
		change := rapid.SampledFrom([]string{"", "", "pause", "rollback", "abort"}).Draw(t, "change")
		at := rapid.IntRange(0, 40).Draw(t, "at")
		clock, made := now, 0
		for turn := range 2000 {
			clock = clock.Add(time.Second)
			if turn == at {
				switch change {
				case "rollback":
					right := 0
					for _, m := range g.Members {
						if m.Right {
							right++
						}
					}
					b := g.Rotation.Back(clock, right)
					g.Rotation = &b
				case "abort":
					g.Rotation.Phase = Aborting
				}
			}
			for k := range g.Members {
				g.Members[k].Right = g.Members[k].Version == g.Rotation.To
			}
			p := Decide(g, clock)
			do := len(p.Actions)
			if rapid.Bool().Draw(t, "killed") {
				do = rapid.IntRange(0, do).Draw(t, "after")
			}
			for _, a := range p.Actions[:do] {
				k := slices.IndexFunc(g.Members, func(m Member) bool { return m.EC2ID == a.Member.EC2ID })
				switch a.Kind {
				case UseVersion:
					g.Version = a.Version
				case SetDesired:
					if a.To < g.Desired {
						t.Fatalf("the group is made smaller without a drain: %d to %d", g.Desired, a.To)
					}
					g.Desired = a.To
				case Drain:
					g.Members[k].Marked, g.Members[k].Ours, g.Members[k].Drop = true, true, a.Drop
				case Reopen:
					g.Members[k].Marked, g.Members[k].Ours, g.Members[k].Drop = false, false, false
				case Save:
					g.Rotation = a.Save
				case Finish:
					if g.Desired != n || len(g.Members) != n {
						t.Fatalf("it ends with %d instances, %d wanted, not %d", len(g.Members), g.Desired, n)
					}
					for _, m := range g.Members {
						if change != "abort" && !m.Right || m.Marked {
							t.Fatalf("it ends with %+v", m)
						}
					}
					return
				}
			}
			taking, leaving := 0, 0
			for _, m := range g.Members {
				if m.Ready && !m.Marked {
					taking++
				}
				if m.Marked && m.Tasks > 0 {
					leaving++
				}
			}
			if most > 0 && change != "abort" && change != "rollback" && leaving > most {
				t.Fatalf("%d instances with tasks are on their way out, %d may be", leaving, most)
			}
			if taking < n {
				t.Fatalf("only %d of %d instances take tasks", taking, n)
			}
			// Some drains end, and some instances come.
			for k := len(g.Members) - 1; k >= 0; k-- {
				m := &g.Members[k]
				switch {
				case m.Marked && rapid.Bool().Draw(t, "ends"):
					if m.Drop {
						g.Desired--
					}
					g.Members = slices.Delete(g.Members, k, k+1)
				case !m.Ready && rapid.Bool().Draw(t, "joins"):
					m.Ready, m.Instance = true, "arn"
				}
			}
			for len(g.Members) < g.Desired {
				made++
				g.Members = append(g.Members, Member{EC2ID: fmt.Sprintf("i-new-%d", made), Zone: "b", Version: g.Version, Lifecycle: "InService"})
			}
		}
		t.Fatalf("it does not end: %+v", Decide(g, clock))
	})
}

func TestForecast(t *testing.T) {
	steps, length, blocked := Forecast(*groupOf(30, 3, 3, 40), now, Pace{Launch: time.Minute, Drain: 4 * time.Minute})
	drains := 0
	for _, s := range steps {
		if s.Action.Kind == Drain {
			drains++
		}
	}
	if drains != 27 || blocked != nil || length < 30*time.Minute || length > time.Hour {
		t.Errorf("%d drains in %s, %v", drains, length, blocked)
	}
}

// Where a budget lets nothing go in working hours, the forecast goes on in the evening.
func TestForecastWithWindows(t *testing.T) {
	g := groupOf(6, 0, 2, 9)
	g.Budgets = rules("0 mon-fri 08:00-18:00", "1")
	steps, length, blocked := Forecast(*g, now, Pace{Launch: time.Minute, Drain: 30 * time.Minute})
	var first time.Duration
	drains := 0
	for _, s := range steps {
		if s.Action.Kind == Drain && s.Action.Member.Tasks > 0 {
			if drains == 0 {
				first = s.At
			}
			drains++
		}
	}
	if drains != 4 || blocked != nil || first < 6*time.Hour || length < 8*time.Hour || length > 9*time.Hour {
		t.Errorf("%d drains, the first after %s, all in %s, %v", drains, first, length, blocked)
	}
	g.Budgets = rules("0")
	if _, _, blocked := Forecast(*g, now, Usual); len(blocked) == 0 {
		t.Error("a budget of nothing at all ends")
	}
}
