package balancer

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// connectTimeout is how long a target may take to accept a connection.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html#http-504-issues
const connectTimeout = 10 * time.Second

// maxHeader is the size of a target's response header in bytes beyond which the client gets a 502.
const maxHeader = 32 << 10

// target is a target that lives across Configs: its connections and counters stay.
type target struct {
	key      TargetKey
	addr     string
	protocol string // HTTP, HTTPS, GRPC, …: what the transport speaks
	idle     time.Duration
	sticky   string // value of stickiness cookies

	transport   *http.Transport
	outstanding atomic.Int64
	counters    counters
	left        atomic.Bool  // draining or gone: keep no idle connection
	since       atomic.Int64 // Unix nanoseconds when slow start began; 0: not in it
	wasHealthy  bool         // under Balancer.mu
}

func newTarget(key TargetKey, addr, protocol, version string, idle time.Duration) *target {
	t := &target{key: key, addr: addr, protocol: protocol + version, idle: idle, sticky: stickyValue(key)}
	dialer := &net.Dialer{Timeout: connectTimeout, KeepAlive: -1}
	t.transport = &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, &connectError{err}
			}
			return &idleConn{Conn: c, idle: idle}, nil
		},
		MaxIdleConnsPerHost: 512,
		// The transport closes what is idle before the deadline of idleConn would break it.
		IdleConnTimeout:        idle * 9 / 10,
		DisableCompression:     true,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: maxHeader,
		WriteBufferSize:        16 << 10,
		ReadBufferSize:         16 << 10,
		Protocols:              new(http.Protocols),
	}
	switch {
	case version == "GRPC" || version == "HTTP2":
		if protocol == "HTTPS" {
			t.transport.Protocols.SetHTTP2(true)
		} else {
			t.transport.Protocols.SetUnencryptedHTTP2(true)
		}
	default:
		t.transport.Protocols.SetHTTP1(true)
	}
	if protocol == "HTTPS" {
		// An Application Load Balancer does not check the certificates of its targets.
		t.transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	}
	return t
}

// leave makes the target keep no idle connections; those in use close when they are done.
func (t *target) leave() {
	t.left.Store(true)
	t.transport.CloseIdleConnections()
}

// done ends a request.
func (t *target) done() {
	t.counters.outstanding.Add(-1)
	if t.outstanding.Add(-1) == 0 && t.left.Load() {
		t.transport.CloseIdleConnections()
	}
}

// share is the part of its full share of requests that a target in slow start gets.
func (t *target) share(over time.Duration, now time.Time) float64 {
	began := t.since.Load()
	if began == 0 || over <= 0 {
		return 1
	}
	gone := now.Sub(time.Unix(0, began))
	if gone >= over {
		t.since.Store(0)
		return 1
	}
	return max(float64(gone)/float64(over), 0.01)
}

// connectError tells a failed connection from what fails later.
type connectError struct{ error }

func (e *connectError) Unwrap() error { return e.error }

// idleConn breaks when nothing was read or written for a time.
type idleConn struct {
	net.Conn
	idle time.Duration
}

func (c *idleConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.idle)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *idleConn) Write(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.idle)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// CloseWrite ends the sending half, for connections that are upgraded.
func (c *idleConn) CloseWrite() error {
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return c.Close()
}
