package balancer

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"time"
)

// Options says how a Balancer works.
type Options struct {
	Log *slog.Logger
	// Now is the time, for cookies, trace ids and slow start; time.Now if nil.
	Now func() time.Time
}

// Balancer is the data plane. Make one with New; it is safe for concurrent use.
type Balancer struct {
	log *slog.Logger
	now func() time.Time

	mu         sync.Mutex
	closed     bool
	listeners  map[string]*listener // by ARN
	groups     map[string]*groupState
	targets    map[TargetKey]*target
	lbCounters map[string]*counters
	closing    sync.WaitGroup // listeners that are shutting down
}

// New returns a data plane that carries nothing yet. Close it when done.
func New(o Options) *Balancer {
	b := &Balancer{log: o.Log, now: o.Now, listeners: map[string]*listener{}, groups: map[string]*groupState{},
		targets: map[TargetKey]*target{}, lbCounters: map[string]*counters{}}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if b.now == nil {
		b.now = time.Now
	}
	return b
}

// Idle time-outs where none is set.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-load-balancer-attributes.html
const (
	defaultIdle        = 60 * time.Second
	defaultNetworkIdle = 350 * time.Second
)

func (lb *LoadBalancer) idle() time.Duration {
	switch {
	case lb.IdleTimeout > 0:
		return lb.IdleTimeout
	case lb.Network:
		return defaultNetworkIdle
	}
	return defaultIdle
}

// Apply makes c what the data plane does. When it returns, new requests and connections are handled
// by c alone; those under way go on. An error says which listeners do not work; the rest does.
func (b *Balancer) Apply(c Config) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return errors.New("the balancer is closed")
	}
	groups := b.applyGroups(c)
	var errs []error
	type wanted struct {
		lb *LoadBalancer
		ln *Listener
		rt *route
	}
	want := map[string]wanted{}
	balancers := map[string]bool{}
	for i := range c.LoadBalancers {
		lb := &c.LoadBalancers[i]
		balancers[lb.ARN] = true
		if b.lbCounters[lb.ARN] == nil {
			b.lbCounters[lb.ARN] = &counters{}
		}
		for k := range lb.Listeners {
			ln := &lb.Listeners[k]
			rt, err := newRoute(lb, ln, b.lbCounters[lb.ARN], groups)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			want[ln.ARN] = wanted{lb, ln, rt}
		}
	}
	for arn, l := range b.listeners {
		if w, ok := want[arn]; !ok || !l.serves(w.lb, w.ln) {
			b.stop(l)
			delete(b.listeners, arn)
		}
	}
	for arn, w := range want {
		if l := b.listeners[arn]; l != nil {
			l.use(w.rt)
			continue
		}
		l, err := b.listen(w.rt)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		b.listeners[arn] = l
	}
	for arn := range b.lbCounters {
		if !balancers[arn] {
			delete(b.lbCounters, arn)
		}
	}
	b.leave(c)
	return errors.Join(errs...)
}

func (b *Balancer) applyGroups(c Config) map[string]*group {
	idle := map[string]time.Duration{}
	for i := range c.LoadBalancers {
		lb := &c.LoadBalancers[i]
		for _, ln := range lb.Listeners {
			for _, r := range append([]Rule{{Actions: ln.Actions}}, ln.Rules...) {
				for _, a := range r.Actions {
					if a.Forward != nil {
						for _, w := range a.Forward.Groups {
							idle[w.ARN] = lb.idle()
						}
					}
				}
			}
		}
	}
	groups := map[string]*group{}
	now := b.now()
	for _, tg := range c.TargetGroups {
		st := b.groups[tg.ARN]
		if st == nil {
			st = &groupState{}
			b.groups[tg.ARN] = st
		}
		wait := idle[tg.ARN]
		if wait == 0 {
			wait = defaultIdle
		}
		targets := make([]*target, len(tg.Targets))
		settled := false // is there a healthy target that is not in slow start?
		for i, t := range tg.Targets {
			targets[i] = b.target(tg, t, wait)
			settled = settled || t.State == Healthy && targets[i].wasHealthy && targets[i].since.Load() == 0
		}
		for i, t := range tg.Targets {
			healthy := t.State == Healthy
			switch {
			case !healthy:
				targets[i].since.Store(0)
			case tg.SlowStart > 0 && settled && !targets[i].wasHealthy:
				targets[i].since.Store(now.UnixNano())
			}
			targets[i].wasHealthy = healthy
		}
		groups[tg.ARN] = newGroup(tg, st, targets)
	}
	for arn := range b.groups {
		if groups[arn] == nil {
			delete(b.groups, arn)
		}
	}
	return groups
}

// target finds the living target for t, or makes one.
func (b *Balancer) target(tg TargetGroup, t Target, idle time.Duration) *target {
	key := TargetKey{TargetGroup: tg.ARN, ID: t.ID, Port: t.Port}
	old := b.targets[key]
	if old != nil && old.addr == t.Addr && old.protocol == tg.Protocol+tg.ProtocolVersion && old.idle == idle {
		return old
	}
	next := newTarget(key, t.Addr, tg.Protocol, tg.ProtocolVersion, idle)
	if old != nil {
		old.leave()
		next.wasHealthy = old.wasHealthy && old.addr == t.Addr
	}
	b.targets[key] = next
	return next
}

// leave lets go of the connections to targets that get no more requests.
func (b *Balancer) leave(c Config) {
	there := map[TargetKey]bool{}
	for _, tg := range c.TargetGroups {
		for _, t := range tg.Targets {
			key := TargetKey{TargetGroup: tg.ARN, ID: t.ID, Port: t.Port}
			there[key] = true
			if t.State == Draining || t.State == Unused {
				b.targets[key].leave()
			} else {
				b.targets[key].left.Store(false)
			}
		}
	}
	for key, t := range b.targets {
		if !there[key] {
			t.leave()
			delete(b.targets, key)
		}
	}
}

// Addr is the address a listener really has: another port than asked for if that was not free. It
// is empty if the listener does not work.
func (b *Balancer) Addr(listenerARN string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.listeners[listenerARN]; l != nil {
		return l.ln.Addr().String()
	}
	return ""
}

// Outstanding is how many requests and connections are under way at a target.
func (b *Balancer) Outstanding(k TargetKey) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.targets[k]; t != nil {
		return int(t.outstanding.Load())
	}
	return 0
}

// Close stops listening and waits for requests under way until ctx ends, then cuts them.
func (b *Balancer) Close(ctx context.Context) error {
	b.mu.Lock()
	b.closed = true
	var left []*listener
	for arn, l := range b.listeners {
		left = append(left, l)
		delete(b.listeners, arn)
	}
	targets := b.targets
	b.targets = map[TargetKey]*target{}
	b.mu.Unlock()
	for _, l := range left {
		b.closing.Go(func() { l.shutdown(ctx) })
	}
	done := make(chan struct{})
	go func() {
		b.closing.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	for _, t := range targets {
		t.transport.CloseIdleConnections()
	}
	return ctx.Err()
}

// loopback is a, or 127.0.0.1 where only that is there without setting up.
func loopback(a netip.Addr) netip.Addr {
	if runtime.GOOS != "linux" || !a.IsValid() {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return a
}

func portText(a netip.Addr, port int) string { return netip.AddrPortFrom(a, uint16(port)).String() }
