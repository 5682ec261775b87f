package dataplane

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
)

var bracePattern = regexp.MustCompile(`\$\{(\d+)`)

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:12])
}

// group is a target group that serves.
type group struct {
	b *Balancer

	mu      sync.Mutex
	conf    TargetGroup
	targets map[string]*target // by key
	order   []*target          // those that can be chosen, in order of registration
	next    atomic.Uint64
	// Requests and codes of targets, for CloudWatch.
	requests, code2xx, code3xx, code4xx, code5xx atomic.Int64
}

// target is a target that serves.
type target struct {
	g         *group
	conf      Target
	transport http.RoundTripper
	proxy     *httputil.ReverseProxy
	active    atomic.Int64
	stop      context.CancelFunc // ends its health checks

	health    Health // under g.mu
	healthyAt time.Time
}

func newGroup(b *Balancer) *group { return &group{b: b, targets: map[string]*target{}} }

// apply takes over a configuration: new targets are checked from now on, those gone are forgotten.
func (g *group) apply(conf TargetGroup) {
	g.mu.Lock()
	defer g.mu.Unlock()
	recheck := conf.Check.changed(g.conf.Check) || conf.InUse != g.conf.InUse
	g.conf = conf
	seen := map[string]bool{}
	g.order = g.order[:0:0]
	for _, c := range conf.Targets {
		seen[c.Key] = true
		t, ok := g.targets[c.Key]
		if ok && t.conf.Addr != c.Addr { // something else is behind it now
			t.end()
			ok = false
		}
		if !ok {
			t = g.newTarget(c)
			g.targets[c.Key] = t
		}
		was := t.conf
		t.conf = c
		switch {
		case !c.Draining.IsZero():
			if !ok || was.Draining.IsZero() {
				t.end()
				g.setHealth(t, Health{"draining", "Target.DeregistrationInProgress", "Target deregistration is in progress"})
			}
			continue
		case !ok || recheck || !was.Draining.IsZero():
			g.check(t)
		}
		g.order = append(g.order, t)
	}
	for key, t := range g.targets {
		if !seen[key] {
			t.end()
			delete(g.targets, key)
		}
	}
}

func (g *group) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range g.targets {
		t.end()
	}
	g.targets, g.order = map[string]*target{}, nil
}

// end stops the checks and lets go of idle connections; requests under way go on.
func (t *target) end() {
	if t.stop != nil {
		t.stop()
		t.stop = nil
	}
	if c, ok := t.transport.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func (g *group) newTarget(c Target) *target {
	t := &target{g: g, conf: c}
	dial := (&net.Dialer{Timeout: g.b.clock.Real(10 * time.Second)}).DialContext // ALB's connection timeout
	if v := g.conf.Version; v == "HTTP2" || v == "GRPC" {
		tr := &http2.Transport{AllowHTTP: true, IdleConnTimeout: g.b.clock.Real(time.Minute)}
		tr.DialTLSContext = func(ctx context.Context, network, addr string, cfg *tls.Config) (net.Conn, error) {
			if g.conf.Protocol != "HTTPS" {
				return dial(ctx, network, addr)
			}
			cfg.InsecureSkipVerify = true
			return (&tls.Dialer{Config: cfg}).DialContext(ctx, network, addr)
		}
		t.transport = tr
	} else {
		t.transport = &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 512, IdleConnTimeout: g.b.clock.Real(time.Minute), ResponseHeaderTimeout: g.b.clock.Real(time.Minute),
			DisableCompression: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // ALB does not verify targets
	}
	t.proxy = &httputil.ReverseProxy{Transport: t.transport, Rewrite: t.prepare, ErrorHandler: t.failed, ModifyResponse: t.count, FlushInterval: -1, BufferPool: buffers}
	return t
}

type bufferPool struct{ sync.Pool }

func (p *bufferPool) Get() []byte  { return *p.Pool.Get().(*[]byte) }
func (p *bufferPool) Put(b []byte) { p.Pool.Put(&b) }

var buffers = &bufferPool{sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}}

type contextKey struct{}

// journey is what the proxy must know of a request's way.
type journey struct {
	t        *table
	rewrites []Rewrite
	begun    time.Time
}

// prepare sets what ALB sets on a request to a target.
func (t *target) prepare(p *httputil.ProxyRequest) {
	j := p.In.Context().Value(contextKey{}).(*journey)
	scheme := "http"
	if t.g.conf.Protocol == "HTTPS" {
		scheme = "https"
	}
	p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = scheme, t.conf.Addr, p.In.Host
	client, _, _ := net.SplitHostPort(p.In.RemoteAddr) // the server sets it
	if before := p.In.Header.Values("X-Forwarded-For"); len(before) > 0 {
		client = before[len(before)-1] + ", " + client
	}
	p.Out.Header.Set("X-Forwarded-For", client)
	p.Out.Header.Set("X-Forwarded-Port", portText(j.t.port))
	if j.t.https {
		p.Out.Header.Set("X-Forwarded-Proto", "https")
	} else {
		p.Out.Header.Set("X-Forwarded-Proto", "http")
	}
	if p.Out.Header.Get("X-Amzn-Trace-Id") == "" {
		p.Out.Header.Set("X-Amzn-Trace-Id", traceID())
	}
	rewrite(p.Out, j.rewrites)
}

func (t *target) count(resp *http.Response) error {
	switch resp.StatusCode / 100 {
	case 2:
		t.g.code2xx.Add(1)
	case 3:
		t.g.code3xx.Add(1)
	case 4:
		t.g.code4xx.Add(1)
	case 5:
		t.g.code5xx.Add(1)
	}
	return nil
}

// failed answers where ALB has no answer from the target: 504 when it waited too long, 502 when the
// connection was refused, reset or spoke no HTTP
// (https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html).
func (t *target) failed(w http.ResponseWriter, r *http.Request, err error) {
	j := r.Context().Value(contextKey{}).(*journey)
	var netErr net.Error
	switch {
	case errors.Is(err, context.Canceled): // the client has gone: 460, which nobody reads
		j.t.count.ELB4xx.Add(1)
		w.WriteHeader(499)
	case errors.As(err, &netErr) && netErr.Timeout(), errors.Is(err, os.ErrDeadlineExceeded):
		j.t.fail(w, http.StatusGatewayTimeout)
	default:
		j.t.fail(w, http.StatusBadGateway)
	}
}

// forward sends the request to a target of the chosen group.
func (t *table) forward(w http.ResponseWriter, r *http.Request, a Action, rewrites []Rewrite) {
	g := t.pick(w, r, a)
	if g == nil {
		t.fail(w, http.StatusServiceUnavailable)
		return
	}
	to := g.choose(w, r)
	if to == nil {
		t.fail(w, http.StatusServiceUnavailable)
		return
	}
	defer to.active.Add(-1)
	g.requests.Add(1)
	j := &journey{t: t, rewrites: rewrites, begun: time.Now()}
	to.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), contextKey{}, j)))
}

// choose picks a target and counts the request as under way with it. Healthy targets only; if none
// is, all of them: fail open. nil: none is registered.
func (g *group) choose(w http.ResponseWriter, r *http.Request) *target {
	g.mu.Lock()
	defer g.mu.Unlock()
	candidates := make([]*target, 0, len(g.order))
	for _, t := range g.order {
		if t.health.State == "healthy" && t.conf.Addr != "" {
			candidates = append(candidates, t)
		}
	}
	if len(candidates) == 0 {
		for _, t := range g.order {
			if t.conf.Addr != "" {
				candidates = append(candidates, t)
			}
		}
	}
	if len(candidates) == 0 {
		return nil
	}
	t := g.sticky(w, r, candidates)
	if t == nil {
		t = g.balance(candidates)
	}
	t.active.Add(1)
	return t
}

const ownCookie = "AWSALB"

func (g *group) sticky(w http.ResponseWriter, r *http.Request, candidates []*target) *target {
	if g.conf.Sticky == 0 || w == nil {
		return nil
	}
	var t *target
	if c, err := r.Cookie(ownCookie); err == nil {
		if i := slices.IndexFunc(candidates, func(t *target) bool { return hash(t.conf.Key) == c.Value }); i >= 0 {
			t = candidates[i]
		}
	}
	if t == nil {
		t = g.balance(candidates)
	}
	http.SetCookie(w, &http.Cookie{Name: ownCookie, Value: hash(t.conf.Key), Path: "/", MaxAge: int(g.conf.Sticky / time.Second)})
	return t
}

func (g *group) balance(candidates []*target) *target {
	if g.conf.Algorithm == "least_outstanding_requests" {
		return slices.MinFunc(candidates, func(a, b *target) int { return int(a.active.Load() - b.active.Load()) })
	}
	for range 4 * len(candidates) {
		t := candidates[g.next.Add(1)%uint64(len(candidates))]
		if share := g.share(t); share >= 1 || mathrand.Float64() < share {
			return t
		}
	}
	return candidates[0] // all are starting slowly
}

// share is the part of its full load a target takes while it starts slowly: it grows linearly.
func (g *group) share(t *target) float64 {
	if g.conf.SlowStart == 0 {
		return 1
	}
	return float64(g.b.clock.Now().Sub(t.healthyAt)) / float64(g.conf.SlowStart)
}

// serveTCP carries connections of a network load balancer.
func (b *Balancer) serveTCP(p *port) {
	for {
		in, err := p.l.Accept()
		if err != nil {
			return // closed
		}
		go func() {
			defer in.Close()
			tab := p.table.Load()
			tab.count.Requests.Add(1)
			for _, a := range tab.listener.Default {
				if len(a.Forward) == 0 {
					continue
				}
				if g := tab.groups[a.Forward[0].Group]; g != nil {
					g.carry(in)
				}
				return
			}
		}()
	}
}

func (g *group) carry(in net.Conn) {
	t := g.choose(nil, nil)
	if t == nil {
		return
	}
	defer t.active.Add(-1)
	out, err := net.DialTimeout("tcp", t.conf.Addr, g.b.clock.Real(10*time.Second))
	if err != nil {
		return
	}
	defer out.Close()
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(out, in)
		_ = out.(*net.TCPConn).CloseWrite()
		close(done)
	}()
	_, _ = io.Copy(in, out)
	if c, ok := in.(*net.TCPConn); ok {
		_ = c.CloseWrite()
	}
	<-done
}
