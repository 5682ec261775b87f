// Package targethealth checks the targets of load balancers and judges them as Elastic Load Balancing
// does. It knows neither the API nor the state: Apply says what is to be checked, and whoever made
// the Checker is told what changes.
package targethealth

import (
	"context"
	"sync"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/clock"
)

// Check is a target group's health check. Times are on the clock of the Checker.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
type Check struct {
	Enabled            bool
	Protocol           string // HTTP, HTTPS, TCP
	ProtocolVersion    string // HTTP1, HTTP2, GRPC
	Path               string
	Codes              string         // the matcher as it was given
	Match              func(int) bool // of Codes
	Interval           time.Duration  // 5–300 s
	Timeout            time.Duration  // 2–120 s
	HealthyThreshold   int            // 2–10
	UnhealthyThreshold int            // 2–10
}

func (c *Check) same(o *Check) bool {
	a, b := *c, *o
	a.Match, b.Match = nil, nil // follows from Codes
	return a.Enabled == b.Enabled && a.Protocol == b.Protocol && a.ProtocolVersion == b.ProtocolVersion && a.Path == b.Path && a.Codes == b.Codes &&
		a.Interval == b.Interval && a.Timeout == b.Timeout && a.HealthyThreshold == b.HealthyThreshold && a.UnhealthyThreshold == b.UnhealthyThreshold
}

// Group is a target group.
type Group struct {
	InUse   bool // a load balancer sends requests to it
	Check   Check
	Targets []Target
}

// Target is a registered target.
type Target struct {
	Key      string // names it to the one who is told of its health
	Addr     string // where to check it; empty: nothing is there, which fails
	Draining bool
	Before   Health // what was known of it before this process; zero: nothing
}

// Checker checks targets. Make one with New, end it with Close.
type Checker struct {
	clock  clock.Clock
	probe  func(ctx context.Context, c *Check, addr string) *Failure
	report func(key string, h Health)
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	targets map[string]*target
}

type target struct {
	check  Check
	addr   string
	stop   context.CancelFunc // nil: it is not being checked
	judge  judge
	closed bool
}

// New returns a Checker that checks with probe (Probe if nil). report is called with each change of
// a target's health, one call at a time; it must not call the Checker.
func New(clk clock.Clock, probe func(ctx context.Context, c *Check, addr string) *Failure, report func(key string, h Health)) *Checker {
	if probe == nil {
		probe = Probe
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Checker{clock: clk, probe: probe, report: report, ctx: ctx, cancel: cancel, targets: map[string]*target{}}
}

// Close ends all checks.
func (c *Checker) Close() {
	c.cancel()
	c.wg.Wait()
}

// Apply says what there is to check from now on. Targets that stay keep what is known of them.
func (c *Checker) Apply(groups []Group) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return
	}
	there := map[string]bool{}
	for i := range groups {
		for k := range groups[i].Targets {
			there[groups[i].Targets[k].Key] = true
			c.apply(&groups[i], &groups[i].Targets[k])
		}
	}
	for key, t := range c.targets {
		if !there[key] {
			t.end()
			t.closed = true
			delete(c.targets, key)
		}
	}
}

func (c *Checker) apply(g *Group, want *Target) {
	t := c.targets[want.Key]
	if t == nil {
		t = &target{judge: judge{health: want.Before}}
		c.targets[want.Key] = t
	}
	switch {
	case want.Draining:
		t.end()
		c.set(want.Key, t, Draining)
	case !g.InUse:
		t.end()
		c.set(want.Key, t, NotInUse)
	case !g.Check.Enabled:
		t.end()
		c.set(want.Key, t, Unchecked)
	case t.stop == nil || !t.check.same(&g.Check) || t.addr != want.Addr:
		t.end()
		t.check, t.addr = g.Check, want.Addr
		switch t.judge.health.State {
		case "initial", "healthy", "unhealthy": // goes on from there
			t.judge.passed, t.judge.failed = 0, 0
		default:
			c.set(want.Key, t, Registering)
		}
		ctx, cancel := context.WithCancel(c.ctx)
		t.stop = cancel
		check := t.check
		c.wg.Go(func() { c.run(ctx, want.Key, t, &check, want.Addr) })
	}
}

func (t *target) end() {
	if t.stop != nil {
		t.stop()
		t.stop = nil
	}
}

func (c *Checker) set(key string, t *target, h Health) {
	if t.judge.health != h {
		t.judge = judge{health: h}
		c.report(key, h)
	}
}

// run checks one target until ctx ends. A new target is checked more often than the interval says,
// as each of a load balancer's nodes does its own checks; only the passes of the extra ones count.
func (c *Checker) run(ctx context.Context, key string, t *target, check *Check, addr string) {
	var due time.Time
	for {
		now := c.clock.Now()
		counts := !now.Before(due)
		if counts {
			due = now.Add(check.Interval)
		}
		pctx, cancel := context.WithTimeout(ctx, c.clock.Real(check.Timeout))
		f := c.probe(pctx, check, addr)
		cancel()
		initial, ok := c.observe(ctx, key, t, check, f, counts)
		if !ok {
			return
		}
		wait := due.Sub(c.clock.Now())
		if initial {
			wait = min(wait, max(check.Interval/10, time.Second))
		}
		if clock.Sleep(ctx, c.clock, max(wait, time.Millisecond)) != nil {
			return
		}
	}
}

func (c *Checker) observe(ctx context.Context, key string, t *target, check *Check, f *Failure, counts bool) (initial, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil { // it is not ours to judge any more
		return false, false
	}
	was := t.judge.health
	t.judge.observe(check, f, counts)
	if t.judge.health != was {
		c.report(key, t.judge.health)
	}
	return t.judge.health.State == "initial", true
}
