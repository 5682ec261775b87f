package balancer

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// lameDuck is how long requests of a deleted listener may go on.
const lameDuck = 5 * time.Minute

// listener is an open port.
type listener struct {
	protocol string
	address  netip.Addr
	port     int // as asked for
	idle     time.Duration
	ln       net.Listener
	srv      *http.Server // HTTP, HTTPS
	handler  *handler
	stream   *streamer // TCP, TLS
}

func (l *listener) serves(lb *LoadBalancer, ln *Listener) bool {
	return l.protocol == ln.Protocol && l.address == lb.Address && l.port == ln.Port && l.idle == lb.idle()
}

func (l *listener) use(rt *route) {
	if l.stream != nil {
		l.stream.route.Store(rt)
		return
	}
	l.handler.route.Store(rt)
}

func (b *Balancer) listen(rt *route) (*listener, error) {
	lb, cfg := rt.lb, rt.ln
	l := &listener{protocol: cfg.Protocol, address: lb.Address, port: cfg.Port, idle: lb.idle()}
	var err error
	if l.ln, err = bind(b.log, loopback(lb.Address), cfg.Port); err != nil {
		return nil, fmt.Errorf("opening listener %s: %w", cfg.ARN, err)
	}
	switch cfg.Protocol {
	case "TCP", "TLS":
		l.stream = newStreamer(b.log, b.now)
		l.use(rt)
		go l.stream.serve(l.ln)
		return l, nil
	case "HTTP", "HTTPS":
	default:
		_ = l.ln.Close()
		return nil, fmt.Errorf("not supported: a listener for %s", cfg.Protocol)
	}
	l.handler = newHandler(b.log, b.now)
	l.use(rt)
	c := rt.counters
	l.srv = &http.Server{
		Handler:           l.handler,
		IdleTimeout:       l.idle,
		ReadHeaderTimeout: l.idle,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(b.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, clientKey{}, clientOf(c))
		},
		ConnState: func(nc net.Conn, s http.ConnState) {
			switch s {
			case http.StateNew:
				c.opened.Add(1)
				c.open.Add(1)
			case http.StateActive:
				l.handler.connected(nc, true)
			case http.StateClosed, http.StateHijacked:
				c.open.Add(-1)
				l.handler.connected(nc, s == http.StateHijacked)
			}
		},
	}
	accept := &clients{l.ln, b.now}
	if cfg.Protocol == "HTTPS" {
		l.srv.TLSConfig = &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return l.handler.route.Load().tlsFor(clientOf(hello.Conn)), nil
		}}
		go func() { _ = l.srv.ServeTLS(accept, "", "") }() // ends with ErrServerClosed
		return l, nil
	}
	go func() { _ = l.srv.Serve(accept) }() // ends with ErrServerClosed
	return l, nil
}

// bind opens the port, or port+8000, or any free one.
func bind(log *slog.Logger, a netip.Addr, port int) (net.Listener, error) {
	ln, first := net.Listen("tcp", portText(a, port))
	if first == nil {
		return ln, nil
	}
	for _, p := range []int{port + 8000, 0} {
		if p > 65535 {
			continue
		}
		if ln, err := net.Listen("tcp", portText(a, p)); err == nil {
			log.Warn("a load balancer's port is not free, another one is used", "wanted", portText(a, port), "got", ln.Addr().String(), "reason", first)
			return ln, nil
		}
	}
	return nil, first
}

// stop closes the port now and lets requests under way end.
func (b *Balancer) stop(l *listener) {
	_ = l.ln.Close() // it may be closed already
	b.closing.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), lameDuck)
		defer cancel()
		l.shutdown(ctx)
	})
}

func (l *listener) shutdown(ctx context.Context) {
	_ = l.ln.Close() // it may be closed already
	if l.stream != nil {
		l.stream.shutdown(ctx)
		return
	}
	if l.srv.Shutdown(ctx) != nil {
		_ = l.srv.Close() // the time is up
	}
}
