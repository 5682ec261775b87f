package wire

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

// Server answers the requests of AWS clients. It is an http.Handler; services, middleware and
// fallbacks are added before it serves.
type Server struct {
	skew      func() time.Duration // nil: none
	log       *slog.Logger
	account   string
	region    string
	hosts     []string
	bodyLimit int64
	services  map[string]*Service
	fallbacks []fallback // longest prefix first
	wrap      []func(Next) Next
	next      Next
	crossSite *http.CrossOriginProtection
	keys      Keys // nil: signatures are not checked
	tokens    func(accessKey, token string) TokenState

	mu      sync.Mutex
	missing map[string]int
}

type fallback struct {
	prefix string
	h      http.Handler
}

// ServerOption configures a Server.
type ServerOption func(*Server)

// WithLogger sets where requests (at debug) and failures are logged.
func WithLogger(l *slog.Logger) ServerOption { return func(s *Server) { s.log = l } }

// WithAccount sets the account, 000000000000 otherwise.
func WithAccount(id string) ServerOption { return func(s *Server) { s.account = id } }

// WithRegion sets the region of unsigned requests, us-east-1 otherwise.
func WithRegion(region string) ServerOption { return func(s *Server) { s.region = region } }

// WithHosts allows further names in the Host header, without ports.
func WithHosts(names ...string) ServerOption {
	return func(s *Server) { s.hosts = append(s.hosts, names...) }
}

// WithBodyLimit sets the largest request body in bytes, 32 MiB otherwise. Fallbacks set their own.
func WithBodyLimit(n int64) ServerOption { return func(s *Server) { s.bodyLimit = n } }

// NewServer returns a server that knows no operation yet.
func NewServer(opts ...ServerOption) *Server {
	s := &Server{
		log: slog.New(slog.DiscardHandler), account: "000000000000", region: "us-east-1", bodyLimit: 32 << 20,
		services: map[string]*Service{}, missing: map[string]int{},
		// Nothing is signed for real here, so a form on any web page could act: browsers say so.
		crossSite: http.NewCrossOriginProtection(),
	}
	for _, opt := range opts {
		opt(s)
	}
	s.next = callHandler
	return s
}

// Service returns the service with botocore's id ("ecs", "elbv2", …); it panics if there is no
// model of it.
func (s *Server) Service(id string) *Service {
	svc, ok := s.services[id]
	if !ok {
		svc = newService(id)
		svc.home = Identity{Account: s.account, Region: s.region, Partition: "aws"}
		s.services[id] = svc
	}
	return svc
}

// Fallback sends requests that are not for an AWS service of the models and whose path begins with
// prefix to h; the longest prefix wins. "/" also gets everything signed for S3, if S3 has no operations
// here (HandleHTTP).
func (s *Server) Fallback(prefix string, h http.Handler) {
	s.fallbacks = append(s.fallbacks, fallback{prefix, h})
	slices.SortStableFunc(s.fallbacks, func(a, b fallback) int { return len(b.prefix) - len(a.prefix) })
}

// Call is one decoded request of an operation.
type Call struct {
	Service, Operation string
	Input              any // pointer to the operation's input

	op *operation
}

// Next handles a call and returns a pointer to the operation's output.
type Next func(ctx context.Context, c Call) (any, error)

// Use puts a middleware around every operation's handler; the first added is the outermost. It may
// answer itself (an *Error is shown as the service's), change the outcome, wait, or panic with
// http.ErrAbortHandler to break the connection.
func (s *Server) Use(mw func(next Next) Next) {
	s.wrap = append(s.wrap, mw)
	next := Next(callHandler)
	for _, mw := range slices.Backward(s.wrap) {
		next = mw(next)
	}
	s.next = next
}

func callHandler(ctx context.Context, c Call) (any, error) { return c.op.call(ctx, c.Input) }

// Missing counts the requests for operations without a handler, by "service:Operation".
func (s *Server) Missing() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.missing)
}

func (s *Server) countMissing(service, op string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const most = 1000 // names come from clients: bound what they can make us keep
	if key := service + ":" + op; len(s.missing) < most || s.missing[key] > 0 {
		s.missing[key]++
	}
}

// ServeHTTP finds the operation a request is for and answers as AWS does.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := Identity{Account: s.account, Region: s.region, Partition: "aws", RequestID: requestID()}
	w.Header().Set("X-Amzn-Requestid", id.RequestID)
	id.SourceIP, _, _ = net.SplitHostPort(r.RemoteAddr)
	if !s.allowedHost(r.Host) {
		http.Error(w, "this host name is not allowed here", http.StatusForbidden)
		return
	}
	if err := s.crossSite.Check(r); err != nil {
		http.Error(w, "requests from web pages of other sites are not allowed here", http.StatusForbidden)
		return
	}
	var denied error
	if s.keys != nil && !s.isFallback(r) {
		denied = s.authenticate(r)
	}
	if skew := s.clockSkew(); skew != 0 {
		now := time.Now().Add(skew)
		w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
		if denied == nil {
			denied = skewed(r, now)
		}
	}
	route, h := s.route(r, &id)
	ctx := WithCaller(r.Context(), id)
	if h != nil {
		h.ServeHTTP(w, r.WithContext(ctx))
		return
	}
	if route != nil && route.proto == restXML {
		s.serveHTTP(ctx, w, r.WithContext(ctx), route.svc)
		return
	}
	if r.Header.Get("Sec-Fetch-Site") == "cross-site" { // a GET may act here, unlike elsewhere
		http.Error(w, "requests from web pages of other sites are not allowed here", http.StatusForbidden)
		return
	}
	if route == nil {
		http.Error(w, "no AWS service is known for this request", http.StatusNotFound)
		return
	}
	if d := (*denial)(nil); errors.As(denied, &d) {
		s.log.WarnContext(ctx, "signature refused", "service", route.svc.model.ID, "operation", route.op, "reason", d.message)
		response{w: w, route: route, requestID: id.RequestID}.fail(route.svc.model.show(d.shown(route.proto)))
		return
	}
	s.serve(ctx, w, r, route)
}

// serve decodes, calls and encodes one request.
func (s *Server) serve(ctx context.Context, w http.ResponseWriter, r *http.Request, rt *route) {
	start := time.Now()
	out, o, err := s.do(ctx, r, rt)
	enc := response{w: w, route: rt, requestID: Caller(ctx).RequestID}
	name := rt.svc.model.ID + ":" + rt.op
	if err == nil {
		enc.ok(o, out)
		s.log.DebugContext(ctx, "request", "operation", name, "took", time.Since(start))
		return
	}
	var e *Error
	if !errors.As(err, &e) {
		s.log.ErrorContext(ctx, "request failed", "operation", name, "error", err)
		e = internalFailure()
	} else {
		s.log.DebugContext(ctx, "request refused", "operation", name, "code", e.Code, "message", e.Message)
	}
	enc.fail(rt.svc.model.show(e))
}

func internalFailure() *Error {
	return &Error{Code: "InternalFailure", Status: http.StatusInternalServerError,
		Message: "The request processing has failed because of an unknown error, exception or failure."}
}

func (s *Server) do(ctx context.Context, r *http.Request, rt *route) (out any, o *operation, err error) {
	o = rt.svc.ops[rt.op]
	if o == nil {
		s.countMissing(rt.svc.model.ID, rt.op)
		s.log.WarnContext(ctx, "operation not supported", "service", rt.svc.model.ID, "operation", rt.op)
		return nil, nil, rt.unknown()
	}
	in := o.newIn()
	if err := rt.decode(r, s.bodyLimit, in, o.in); err != nil {
		return nil, o, err
	}
	if missing := o.in.missing(in); len(missing) > 0 {
		return nil, o, rt.svc.model.required(missing)
	}
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			s.log.ErrorContext(ctx, "handler panicked", "service", rt.svc.model.ID, "operation", rt.op, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = internalFailure()
		}
	}()
	out, err = s.next(ctx, Call{Service: rt.svc.model.ID, Operation: rt.op, Input: in, op: o})
	return out, o, err
}

// allowedHost guards against web pages that rebind their name to the loopback address: only names
// and addresses of this machine are answered.
func (s *Server) allowedHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") || slices.Contains(s.hosts, host) {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
