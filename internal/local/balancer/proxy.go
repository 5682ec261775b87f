package balancer

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Statuses that only load balancers give.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html
const (
	statusClientClosed = 460 // the client left before the idle timeout
	statusForwardedFor = 463 // X-Forwarded-For names more than 30 addresses
	statusIncompatible = 464 // the protocols of the request and the target group do not go together
)

// exchange is one request on its way through the balancer.
type exchange struct {
	rt     *route
	rule   *rule
	group  *weighted
	target *target
	client string // address without port
	port   string // of the client
	secure bool
	uri    string // rewritten path and query; "" if not
	host   string // rewritten host; "" if not
	sent   time.Time
	got    time.Time // when the target's response began; zero if it did not
	status int       // of the target; 0: none
	trace  string    // X-Amzn-Trace-Id
}

type exchangeKey struct{}

// handler serves the requests of one HTTP or HTTPS listener.
type handler struct {
	route atomic.Pointer[route]
	proxy *httputil.ReverseProxy
	now   func() time.Time
}

func newHandler(log *slog.Logger, now func() time.Time) *handler {
	h := &handler{now: now}
	h.proxy = &httputil.ReverseProxy{
		Rewrite:        h.rewrite,
		Transport:      roundTripper{},
		ModifyResponse: h.response,
		ErrorHandler:   h.failure,
		BufferPool:     buffers,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return h
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rt := h.route.Load()
	conn := clientIn(r.Context())
	if keep := rt.lb.KeepAlive; keep > 0 && conn != nil && time.Since(conn.opened) > keep {
		w.Header().Set("Connection", "close") // HTTP/2 clients are told to go away
	}
	if rt.lb.AccessLog == nil && !rt.changesHeaders() {
		h.serve(w, r, rt, nil)
		return
	}
	rec := &recorder{ResponseWriter: w, ln: rt.ln}
	if rt.lb.AccessLog == nil {
		h.serve(rec, r, rt, nil)
		return
	}
	e := h.entry(rt, r, conn)
	defer func() { rt.lb.AccessLog(e.line(rec, h.now())) }() // also when the connection breaks off
	h.serve(rec, r, rt, e)
}

// serve answers a request; e is what the access log is to say, or nil.
func (h *handler) serve(w http.ResponseWriter, r *http.Request, rt *route, e *entry) {
	client, port, _ := net.SplitHostPort(r.RemoteAddr)
	ip, _ := netip.ParseAddr(client)
	fail := func(status int) {
		rt.counters.own(status)
		answer(w, status)
	}
	if n := forwardedFor(r.Header); n > 30 {
		fail(statusForwardedFor)
		return
	}
	s := newSeen(r, ip.Unmap())
	rule := rt.find(&s)
	e.matched(rule)
	switch a := rule.action; {
	case a.Fixed != nil:
		rt.counters.fixed.Add(1)
		rt.counters.own(a.Fixed.Status)
		a.Fixed.answer(w)
		return
	case a.Redirect != nil:
		rt.counters.redirects.Add(1)
		rt.counters.own(a.Redirect.Status)
		to := a.Redirect.location(r, r.TLS != nil, rt.ln.Port)
		e.redirected(to)
		w.Header().Set("Location", to)
		answer(w, a.Redirect.Status)
		return
	case a.Forward == nil:
		fail(http.StatusServiceUnavailable)
		return
	}
	x := &exchange{rt: rt, rule: rule, group: rule.action.choose(r), client: client, port: port, secure: r.TLS != nil}
	if x.group != nil {
		if x.target = x.group.stuck(r); x.target == nil {
			x.target = x.group.pick(h.now())
		}
	}
	if x.target == nil {
		fail(http.StatusServiceUnavailable)
		return
	}
	if v := x.group.ProtocolVersion; r.ProtoMajor != 2 && (v == "GRPC" || v == "HTTP2") || v == "GRPC" && r.Method != http.MethodPost {
		fail(statusIncompatible)
		return
	}
	e.forwards(x)
	if len(rule.rewrites) > 0 && !x.transform(r, rule.rewrites) {
		fail(http.StatusInternalServerError)
		return
	}
	h.forward(w, r, x)
}

func (x *exchange) transform(r *http.Request, rewrites []rewrite) bool {
	host, uri := r.Host, r.URL.RequestURI()
	for _, t := range rewrites {
		host, uri = t.apply(host, uri)
	}
	x.host, x.uri = host, uri
	_, err := url.ParseRequestURI(uri)
	return err == nil && strings.HasPrefix(uri, "/")
}

func (h *handler) forward(w http.ResponseWriter, r *http.Request, x *exchange) {
	c, g, t := x.rt.counters, x.group, x.target
	c.requests.Add(1)
	g.counters.requests.Add(1)
	t.counters.requests.Add(1)
	t.counters.outstanding.Add(1)
	t.outstanding.Add(1)
	defer t.done()                   // also when the response breaks off and net/http is to close the connection
	w.Header()["Content-Type"] = nil // net/http is not to guess one
	h.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x)))
}

func exchangeOf(ctx context.Context) *exchange { return ctx.Value(exchangeKey{}).(*exchange) }

type roundTripper struct{}

func (roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	x := exchangeOf(r.Context())
	x.sent = time.Now()
	return x.target.transport.RoundTrip(r)
}

var errBodyRead = errors.New("the request body was read already")

// rewrite makes the request that goes to the target.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/x-forwarded-headers.html
func (h *handler) rewrite(pr *httputil.ProxyRequest) {
	in, out := pr.In, pr.Out
	x := exchangeOf(in.Context())
	if x.uri != "" {
		if u, err := url.ParseRequestURI(x.uri); err == nil { // checked before
			out.URL.Path, out.URL.RawPath, out.URL.RawQuery, out.URL.ForceQuery = u.Path, u.RawPath, u.RawQuery, u.ForceQuery
		}
	} else {
		out.URL.RawQuery = in.URL.RawQuery // as sent: the targets judge it
	}
	out.URL.Scheme, out.URL.Host = "http", x.target.addr
	if x.group.Protocol == "HTTPS" {
		out.URL.Scheme = "https"
	}
	if out.Host = x.host; out.Host == "" {
		out.Host = in.Host
	}
	if port := x.rt.ln.Port; !x.rt.lb.PreserveHost && port != 80 && port != 443 && x.host == "" {
		if !strings.Contains(out.Host[strings.LastIndexByte(out.Host, ']')+1:], ":") {
			out.Host += ":" + strconv.Itoa(port)
		}
	}
	if out.Body != nil && out.GetBody == nil {
		// net/http sends a request again, on another connection to the same target, if nothing of it
		// went out before the connection turned out dead; for one with a body only if there is a
		// GetBody, which it does not call unless the body was read.
		out.GetBody = func() (io.ReadCloser, error) { return nil, errBodyRead }
	}
	hd := out.Header
	if x.rt.lb.DropInvalidHeaders {
		dropInvalid(hd)
	}
	x.forwarded(in.Header, hd)
	x.rt.tellTLS(in.TLS, hd)
	x.trace = traceID(in.Header.Get("X-Amzn-Trace-Id"), h.now())
	hd["X-Amzn-Trace-Id"] = []string{x.trace}
}

func (x *exchange) forwarded(in, out http.Header) {
	had := in["X-Forwarded-For"]
	client := x.client
	if x.rt.lb.ForwardedForPort {
		client = net.JoinHostPort(client, x.port)
	}
	switch x.rt.lb.ForwardedFor {
	case "remove":
		out.Del("X-Forwarded-For")
	case "preserve":
		if had != nil {
			out["X-Forwarded-For"] = had
		}
	default:
		if len(had) > 0 {
			client = strings.Join(had, ", ") + ", " + client
		}
		out["X-Forwarded-For"] = []string{client}
	}
	proto := "http"
	if x.secure {
		proto = "https"
	}
	out["X-Forwarded-Proto"] = []string{proto}
	out["X-Forwarded-Port"] = []string{strconv.Itoa(x.rt.ln.Port)}
	if v := in["X-Forwarded-Host"]; v != nil { // not the balancer's to judge
		out["X-Forwarded-Host"] = v
	}
	if v := in["Forwarded"]; v != nil {
		out["Forwarded"] = v
	}
}

func forwardedFor(h http.Header) int {
	n := 0
	for _, v := range h["X-Forwarded-For"] {
		n += 1 + strings.Count(v, ",")
	}
	return n
}

func dropInvalid(h http.Header) {
	for name := range h {
		if strings.Trim(name, "-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "" {
			delete(h, name)
		}
	}
}

// traceID makes or extends the X-Amzn-Trace-Id header.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-request-tracing.html
func traceID(had string, now time.Time) string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	id := fmt.Sprintf("1-%08x-%s", uint32(now.Unix()), hex.EncodeToString(b[:]))
	switch {
	case had == "":
		return "Root=" + id
	case strings.Contains(had, "Root="):
		return "Self=" + id + ";" + had
	}
	return "Root=" + id + ";" + had
}

func (h *handler) response(resp *http.Response) error {
	x := exchangeOf(resp.Request.Context())
	x.got, x.status = time.Now(), resp.StatusCode
	took := x.got.Sub(x.sent)
	x.rt.counters.response(resp.StatusCode, took)
	x.group.counters.response(resp.StatusCode, took)
	x.target.counters.response(resp.StatusCode, took)
	x.group.stick(resp, x.target, h.now())
	if f := x.rule.action.Forward; f.Sticky {
		setCookie(resp.Header, cookieGroup, x.group.cookie, f.StickyTime, h.now())
	}
	return nil
}

// failure answers when the target did not.
func (h *handler) failure(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r.Context())
	status := http.StatusBadGateway
	var ne net.Error
	var ce *connectError
	switch {
	case errors.Is(err, context.Canceled) && r.Context().Err() != nil:
		status = statusClientClosed
	case errors.As(err, &ne) && ne.Timeout():
		status = http.StatusGatewayTimeout
	}
	if errors.As(err, &ce) {
		x.rt.counters.connectErrors.Add(1)
		x.group.counters.connectErrors.Add(1)
		x.target.counters.connectErrors.Add(1)
	}
	x.rt.counters.own(status)
	x.group.counters.own(status)
	x.target.counters.own(status)
	answer(w, status)
}

type pool struct{ p sync.Pool }

var buffers = &pool{sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}}

func (p *pool) Get() []byte  { return *p.p.Get().(*[]byte) }
func (p *pool) Put(b []byte) { p.p.Put(&b) }
