package drain

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ecs/slipway/internal/placement"
)

var now = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func host(id string, cpu int, tasks ...Task) Instance {
	i := Instance{Instance: placement.Instance{ID: "arn/" + id, EC2ID: id, AZ: "a", Status: "ACTIVE", AgentConnected: true, Registered: placement.Resources{CPU: cpu, Memory: 8192, ENI: 2}, Ports: map[placement.Port]int{}, Groups: map[string]int{}}, Tasks: tasks, Lifecycle: "InService"}
	for k := range tasks {
		i.Take(&tasks[k].Need)
	}
	return i
}

func web(id string, change ...func(*Task)) Task {
	t := Task{ARN: "t/" + id, Group: "service:web", Service: "web", LastStatus: "RUNNING", DesiredStatus: "RUNNING", Need: placement.Request{Resources: placement.Resources{CPU: 512, Memory: 512}, Group: "service:web"}}
	for _, f := range change {
		f(&t)
	}
	return t
}

// cluster is one instance to drain with the task, and another one.
func cluster(t Task, min, most int) *State {
	s := &State{Cluster: "c", Services: map[string]Service{"web": {Name: "web", Desired: 1, Running: 1, MinHealthy: min, MaxPercent: most}}, Instances: []Instance{host("i-1", 1024, t), host("i-2", 1024)}}
	s.Instances[0].Mark = &Mark{Deadline: now.Add(time.Minute), Policy: Abort}
	return s
}

func kinds(p Plan) string {
	var out []string
	for _, a := range p.Actions {
		out = append(out, string(a.Kind))
	}
	return strings.Join(out, " ")
}

// deadlock is a situation in which a drain may never end by waiting alone.
type deadlock struct {
	name                 string
	state                *State
	change               func(*State)
	cause                Cause
	says                 string
	now, late, lateForce string // actions
}

// deadlocks is the catalogue: each is told in one sentence, and ended by the deadline's policy.
// docs/deadlocks.md is written from it.
func deadlocks() []deadlock {
	hook := &Hook{Name: "h", Group: "g", EC2ID: "i-1", Timeout: time.Minute}
	return []deadlock{
		{"moves", cluster(web("1"), 100, 200), nil, Moving, "ECS moves task 1 of service:web", "drain", "reopen", "drain stop"},
		{"100/100", cluster(web("1"), 100, 100), nil, NoSlack, "raise its maximum", "drain", "reopen", "drain stop"},
		{"protected", cluster(web("1", func(t *Task) { t.ProtectedUntil = now.Add(time.Hour) }), 100, 200), nil, Protected, "protected from scale-in until 2026-07-01T13:00:00Z", "", "reopen", "drain stop"},
		{"daemon only", cluster(web("1", func(t *Task) { t.Daemon = true }), 0, 100), nil, "", "", "drain", "drain", "drain"},
		{"no cpu", cluster(web("1", func(t *Task) { t.Need.CPU = 1024 }), 100, 200), func(s *State) { s.Instances[1].Registered.CPU = 1000 }, NoPlace, "RESOURCE:CPU", "", "reopen", "drain stop"},
		{"port", cluster(web("1", func(t *Task) { t.Need.Ports = []placement.Port{{Number: 80}} }), 100, 200), func(s *State) { s.Instances[1].Ports[placement.Port{Number: 80, Protocol: "tcp"}] = 1 }, NoPlace, "RESOURCE:PORTS", "", "reopen", "drain stop"},
		{"eni", cluster(web("1", func(t *Task) { t.Need.ENI = 1 }), 100, 200), func(s *State) { s.Instances[1].Used.ENI = 2 }, NoPlace, "RESOURCE:ENI", "", "reopen", "drain stop"},
		{"constraint", cluster(web("1", func(t *Task) {
			t.Need.Constraints = []placement.Constraint{{Type: "memberOf", Expression: "attribute:disk == ssd"}}
		}), 100, 200), nil, NoPlace, "memberOf", "", "reopen", "drain stop"},
		{"no other", cluster(web("1"), 100, 200), func(s *State) { s.Instances = s.Instances[:1] }, NoPlace, "there is no other", "", "reopen", "drain stop"},
		{"batch", cluster(web("1", func(t *Task) { t.Service, t.Group = "", "family:batch" }), 100, 200), nil, Standalone, "nothing replaces it", "drain", "reopen", "drain stop"},
		{"leaving", cluster(web("1", func(t *Task) { t.DesiredStatus, t.LastStatus = "STOPPED", "DEACTIVATING" }), 100, 200), func(s *State) { s.Instances[0].Status = "DRAINING" }, Leaving, "is DEACTIVATING", "", "reopen", ""},
		{"agent", cluster(web("1"), 100, 200), func(s *State) { s.Instances[0].AgentConnected = false }, AgentIsGone, "disconnected", "drain", "reopen", "drain stop"},
		{"hook cannot go back", cluster(web("1"), 100, 200), func(s *State) { s.Instances[0].Hook = hook; s.Instances[0].Status = "DRAINING" }, Moving, "", "heartbeat", "heartbeat", "heartbeat stop"},
		{"heartbeat is lost: the hook's default would end it", cluster(web("1"), 100, 200), func(s *State) { s.Instances[0].Hook = hook }, Moving, "", "heartbeat drain", "heartbeat drain", "heartbeat drain stop"},
		{"interrupted Spot instance, no place", cluster(web("1", func(t *Task) { t.Need.CPU = 1024 }), 100, 200), func(s *State) {
			s.Instances[1].Registered.CPU = 1000
			s.Instances[0].Mark.By = BySpot
		}, NoPlace, "RESOURCE:CPU", "drain", "reopen", "drain stop"},
		{"heartbeat not due", cluster(web("1"), 100, 200), func(s *State) {
			h := *hook
			h.LastBeat = now.Add(-10 * time.Second)
			s.Instances[0].Hook, s.Instances[0].Status = &h, "DRAINING"
		}, Moving, "", "", "heartbeat", "heartbeat stop"},
		{"instance gone, hook waits", &State{Orphans: []Hook{*hook}}, nil, "", "", "complete", "complete", "complete"},
	}
}

func TestDeadlocks(t *testing.T) {
	for _, c := range deadlocks() {
		t.Run(c.name, func(t *testing.T) {
			if c.change != nil {
				c.change(c.state)
			}
			p := Decide(c.state, now, Defaults{})
			if got := kinds(p); got != c.now {
				t.Errorf("now %q, want %q", got, c.now)
			}
			if c.cause != "" && !slices.ContainsFunc(p.Drains[0].Waits, func(w Wait) bool { return w.Cause == c.cause && strings.Contains(w.Sentence, c.says) }) {
				t.Errorf("waits %+v, want %s %q", p.Drains[0].Waits, c.cause, c.says)
			}
			if got := kinds(Decide(c.state, now.Add(time.Minute), Defaults{})); got != c.late {
				t.Errorf("late %q, want %q", got, c.late)
			}
			if len(c.state.Instances) > 0 {
				c.state.Instances[0].Mark.Policy = Force
			}
			if got := kinds(Decide(c.state, now.Add(time.Minute), Defaults{})); got != c.lateForce {
				t.Errorf("late with force %q, want %q", got, c.lateForce)
			}
		})
	}
}

// The page says what the engine says: go test ./internal/drain -run TestDeadlocksPage -update
func TestDeadlocksPage(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# What a drain can wait for, for ever

Written by the test of internal/drain from its catalogue; do not edit. Each situation is found by looking at
the cluster, told in one sentence (` + "`slipway cluster status`, `cluster drain`" + `, the controller's log), and ended by the
deadline and its policy: *abort* lets the instance take tasks again, *force* stops what is left.

| situation | what is said | done at once | at the deadline, abort | at the deadline, force |
|---|---|---|---|---|
`)
	or := func(s string) string { return cmp.Or(strings.ReplaceAll(s, " ", ", "), "wait") }
	for _, c := range deadlocks() {
		if c.change != nil {
			c.change(c.state)
		}
		said := "nothing is left to wait for"
		if p := Decide(c.state, now, Defaults{}); len(p.Drains) > 0 {
			for _, w := range p.Drains[0].Waits {
				if w.Cause == c.cause {
					said = w.Sentence
				}
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", c.name, said, or(c.now), or(c.late), or(c.lateForce))
	}
	b.WriteString(`
Throttled calls and calls on what is gone meanwhile are no errors: nothing was done, and the next turn looks
anew (TestThrottledAndLostHeartbeat). A termination that its group has begun cannot be aborted; its hook is
kept waiting for as long as AWS permits, 100 heartbeats or 48 hours.
`)
	const page = "../../docs/deadlocks.md"
	if *update {
		if err := os.WriteFile(page, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(page)
	if err != nil || string(have) != b.String() {
		t.Errorf("docs/deadlocks.md is not what the catalogue says (%v): go test ./internal/drain -run TestDeadlocksPage -update", err)
	}
}

var update = flag.Bool("update", false, "write docs/deadlocks.md")

func TestRoomIsGivenOnce(t *testing.T) {
	s := &State{Services: map[string]Service{"web": {Name: "web", Desired: 4, Running: 4, MinHealthy: 100, MaxPercent: 200}},
		Instances: []Instance{host("i-1", 1024, web("1"), web("2")), host("i-2", 1024, web("3"), web("4")), host("i-3", 1024)}}
	for k := range 2 {
		s.Instances[k].Mark = &Mark{Deadline: now.Add(time.Minute)}
	}
	if got := Decide(s, now, Defaults{}); kinds(got) != "drain" || got.Actions[0].EC2ID != "i-1" {
		t.Errorf("both may begin, where there is room for one: %v", got.Actions)
	}
}

func TestMarks(t *testing.T) {
	m := Mark{Deadline: now, Policy: Force, Terminate: true}
	if got, err := ParseMark(m.String()); err != nil || got != m {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "policy=abort", "deadline=soon", "deadline=2026-07-01T12:00:00Z policy=maybe"} {
		if _, err := ParseMark(bad); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

// world throttles every other call and says of a hook once that it is gone.
type world struct {
	s     *State
	calls int
}

func (w *world) throttle() error {
	if w.calls++; w.calls%2 == 1 {
		return fmt.Errorf("%w: slow down", ErrThrottled)
	}
	return nil
}
func (w *world) Observe(context.Context, string) (*State, error) {
	c := *w.s
	c.Instances = slices.Clone(w.s.Instances)
	return &c, w.throttle()
}
func (w *world) Mark(_ context.Context, _ string, m *Mark) error {
	w.s.Instances[0].Mark = m
	return nil
}
func (w *world) SetStatus(_ context.Context, _, _, status string) error {
	w.s.Instances[0].Status, w.s.Instances[0].Tasks = status, nil // ECS is quick here
	return nil
}
func (w *world) StopTask(context.Context, string, string, string) error { return ErrGone }
func (w *world) Heartbeat(context.Context, Hook) error                  { return ErrGone }
func (w *world) Complete(context.Context, Hook) error {
	w.s.Instances = w.s.Instances[1:]
	return nil
}
func (w *world) Terminate(context.Context, string, bool) error { return nil }
func (w *world) Now() time.Time                                { return time.Now() }
func (w *world) Wait(_ context.Context, d time.Duration) error { time.Sleep(d); return nil }

func TestThrottledAndLostHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := cluster(web("1"), 100, 200)
		s.Instances[0].Mark = nil
		s.Instances[0].Hook = &Hook{Name: "h", EC2ID: "i-1", Timeout: time.Minute}
		w := &world{s: s}
		e := &Engine{Observer: w, Instances: w, Groups: w, Clock: w, Cluster: "c", Defaults: Defaults{Deadline: time.Hour, Policy: Abort}}
		if err := e.Watch(t.Context(), "i-1", time.Second, func(Drain) {}); err != nil {
			t.Fatal(err)
		}
		if len(s.Instances) != 1 || s.Instances[0].EC2ID != "i-2" {
			t.Errorf("left: %v", s.Instances)
		}
	})
}
