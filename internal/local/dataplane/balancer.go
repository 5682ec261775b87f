package dataplane

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"

	"github.com/slipway-ecs/slipway/internal/local/clock"
)

// Balancer carries the traffic of all load balancers. Make it with New, stop it with Close.
type Balancer struct {
	clock  clock.Clock
	log    *slog.Logger
	report func(key string, h Health)

	mu     sync.Mutex
	ports  map[string]*port  // by listener ARN
	groups map[string]*group // by target group ARN
	closed bool
}

// New makes a balancer. report is told each change of a target's health; it must not block long.
func New(c clock.Clock, log *slog.Logger, report func(key string, h Health)) *Balancer {
	return &Balancer{clock: c, log: log, report: report, ports: map[string]*port{}, groups: map[string]*group{}}
}

// port is a listener that listens.
type port struct {
	arn    string
	l      net.Listener
	server *http.Server // nil for TCP
	table  atomic.Pointer[table]
	want   string // address it was to have
}

// table is what a listener does; it is replaced as a whole.
type table struct {
	listener Listener
	groups   map[string]*group
	count    *Counters
	https    bool
	port     int
}

// Apply replaces the configuration. A listener that cannot be opened does not hold up the others:
// the errors are joined.
func (b *Balancer) Apply(c Config) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return errors.New("the balancer is closed")
	}
	groups := map[string]*group{}
	for _, tg := range c.Groups {
		g, ok := b.groups[tg.ARN]
		if !ok {
			g = newGroup(b)
		}
		g.apply(tg)
		groups[tg.ARN] = g
	}
	for arn, g := range b.groups {
		if groups[arn] == nil {
			g.close()
		}
	}
	b.groups = groups
	keep := map[string]bool{}
	var errs []error
	for _, lb := range c.Balancers {
		for _, l := range lb.Listeners {
			keep[l.ARN] = true
			errs = append(errs, b.applyListener(lb, l))
		}
	}
	for arn, p := range b.ports {
		if !keep[arn] {
			p.close()
			delete(b.ports, arn)
		}
	}
	return errors.Join(errs...)
}

func (b *Balancer) applyListener(lb LoadBalancer, l Listener) error {
	want := lb.Address + ":" + strconv.Itoa(l.Port) + "/" + l.Protocol
	p, ok := b.ports[l.ARN]
	if ok && p.want != want {
		p.close()
		delete(b.ports, l.ARN)
		ok = false
	}
	t := &table{listener: l, groups: b.groups, count: &Counters{}, https: l.Protocol == "HTTPS", port: l.Port}
	if ok {
		t.count = p.table.Load().count
		p.table.Store(t)
		return nil
	}
	ln, err := listen(lb.Address, l.Port)
	if err != nil {
		return fmt.Errorf("listening for %s on port %d: %w", lb.Name, l.Port, err)
	}
	if real := ln.Addr().(*net.TCPAddr).Port; real != l.Port {
		b.log.Warn("a listener's port cannot be had; another one stands for it", "balancer", lb.Name, "port", l.Port, "address", ln.Addr().String())
	}
	p = &port{arn: l.ARN, l: ln, want: want}
	p.table.Store(t)
	b.ports[l.ARN] = p
	b.serve(p, lb)
	return nil
}

// listen opens the port on the balancer's own address. Privileged ports that this user may not have
// are moved up by 8000, ports in use to any free one.
func listen(address string, port int) (net.Listener, error) {
	if runtime.GOOS != "linux" {
		address = "127.0.0.1" // elsewhere the loopback interface has only one address
	}
	var l net.Listener
	var err error
	for _, p := range []int{port, port + 8000, 0} {
		if p > 65535 {
			continue
		}
		if l, err = net.Listen("tcp4", net.JoinHostPort(address, strconv.Itoa(p))); err == nil {
			return l, nil
		}
	}
	return nil, err
}

func (b *Balancer) serve(p *port, lb LoadBalancer) {
	t := p.table.Load()
	if t.listener.Protocol != "HTTP" && t.listener.Protocol != "HTTPS" {
		go b.serveTCP(p)
		return
	}
	idle := lb.IdleTimeout
	if idle == 0 {
		idle = time.Minute
	}
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.table.Load().handle(w, r) })
	p.server = &http.Server{Handler: h, IdleTimeout: b.clock.Real(idle), ReadHeaderTimeout: b.clock.Real(idle), ErrorLog: slog.NewLogLogger(b.log.Handler(), slog.LevelDebug)}
	ln := p.l
	if t.https {
		p.server.TLSConfig = &tls.Config{NextProtos: []string{"h2", "http/1.1"}, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			c := p.table.Load().listener.TLS.Clone()
			c.NextProtos = []string{"h2", "http/1.1"}
			return c, nil
		}}
		ln = tls.NewListener(ln, p.server.TLSConfig)
	} else {
		p.server.Handler = h2c.NewHandler(h, &http2.Server{IdleTimeout: b.clock.Real(idle)})
	}
	go func() {
		if err := p.server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			b.log.Error("serving a listener", "listener", p.arn, "error", err)
		}
	}()
}

func (p *port) close() {
	if p.server != nil {
		_ = p.server.Close()
	}
	_ = p.l.Close()
}

// Addr is the real address of a listener; ok is false if it does not listen.
func (b *Balancer) Addr(listenerARN string) (addr string, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, ok := b.ports[listenerARN]
	if !ok {
		return "", false
	}
	return p.l.Addr().String(), true
}

// Outstanding is the number of requests under way to a target.
func (b *Balancer) Outstanding(group, key string) int {
	b.mu.Lock()
	g := b.groups[group]
	b.mu.Unlock()
	if g == nil {
		return 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if t, ok := g.targets[key]; ok {
		return int(t.active.Load())
	}
	return 0
}

// Close stops listening and checking, at once.
func (b *Balancer) Close(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for _, p := range b.ports {
		p.close()
	}
	for _, g := range b.groups {
		g.close()
	}
	return nil
}
