package balancer

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"net"
	"sync/atomic"
	"time"
)

// clients accepts connections and keeps with each what the logs and the rules of keep-alive ask of it.
type clients struct {
	net.Listener
	now func() time.Time
}

func (c *clients) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &client{Conn: conn, opened: time.Now(), at: c.now()}, nil
}

// client is a connection of a client.
type client struct {
	net.Conn
	opened time.Time    // by the machine's clock
	at     time.Time    // by the balancer's
	trace  atomic.Value // string: TID_…, made when first asked for
	shaken atomic.Int64 // nanoseconds the TLS handshake took
	failed atomic.Value // string: why the client's certificate was refused
	leaf   atomic.Value // *x509.Certificate the client showed
	logged atomic.Bool
}

// traceID is the conn_trace_id that joins a connection's line with those of its requests.
func (c *client) traceID() string {
	if c == nil {
		return "-"
	}
	if id, ok := c.trace.Load().(string); ok {
		return id
	}
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	c.trace.CompareAndSwap(nil, "TID_"+hex.EncodeToString(b[:]))
	return c.trace.Load().(string)
}

func clientOf(c net.Conn) *client {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	out, _ := c.(*client)
	return out
}

type clientKey struct{}

func clientIn(ctx context.Context) *client {
	c, _ := ctx.Value(clientKey{}).(*client)
	return c
}
