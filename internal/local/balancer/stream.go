package balancer

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// streamer carries the connections of a TCP or TLS listener.
type streamer struct {
	log   *slog.Logger
	now   func() time.Time
	route atomic.Pointer[route]
	wg    sync.WaitGroup
	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func newStreamer(log *slog.Logger, now func() time.Time) *streamer {
	return &streamer{log: log, now: now, conns: map[net.Conn]struct{}{}}
}

func (s *streamer) serve(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			s.log.Warn("accepting a connection failed", "error", err)
			time.Sleep(10 * time.Millisecond) // out of files, most likely
			continue
		}
		s.wg.Go(func() { s.carry(c) })
	}
}

func (s *streamer) track(c net.Conn, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if on {
		s.conns[c] = struct{}{}
	} else {
		delete(s.conns, c)
	}
}

func (s *streamer) shutdown(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.mu.Lock()
		for c := range s.conns {
			_ = c.Close() // its copies end
		}
		s.mu.Unlock()
	}
}

// carry takes one connection to a target. A target that cannot be reached resets the client, as a
// Network Load Balancer does.
func (s *streamer) carry(client net.Conn) {
	defer client.Close()
	s.track(client, true)
	defer s.track(client, false)
	rt := s.route.Load()
	c := rt.counters
	c.opened.Add(1)
	c.open.Add(1)
	defer c.open.Add(-1)
	a := &rt.rules[len(rt.rules)-1].action
	if a.Forward == nil {
		reset(client)
		return
	}
	g := a.choose(nil)
	var t *target
	if g != nil {
		t = g.pick(time.Now())
		if g.Stickiness.Type == "source_ip" && len(g.eligible) > 0 {
			t = g.eligible[sourceHash(client.RemoteAddr())%uint64(len(g.eligible))]
		}
	}
	if t == nil {
		reset(client)
		return
	}
	t.outstanding.Add(1)
	defer t.done()
	t.counters.outstanding.Add(1)
	t.counters.opened.Add(1)
	g.counters.opened.Add(1)
	down, err := (&net.Dialer{Timeout: connectTimeout}).Dial("tcp", t.addr)
	if err != nil {
		c.connectErrors.Add(1)
		t.counters.connectErrors.Add(1)
		g.counters.connectErrors.Add(1)
		reset(client)
		return
	}
	defer down.Close()
	if g.ProxyProtocol {
		if _, err := down.Write(proxyHeader(client.RemoteAddr(), client.LocalAddr())); err != nil {
			return
		}
	}
	if g.Protocol == "TLS" {
		// A Network Load Balancer does not check the certificates of its targets.
		down = tls.Client(down, &tls.Config{InsecureSkipVerify: true})
	}
	idle := cmp.Or(rt.ln.IdleTimeout, rt.lb.idle())
	if rt.tls == nil {
		pipe(&idleConn{Conn: client, idle: idle}, &idleConn{Conn: down, idle: idle}, c)
		return
	}
	up := tls.Server(client, rt.tls)
	began, wall := s.now(), time.Now()
	err = up.HandshakeContext(context.Background())
	shaken := time.Since(wall)
	var sent, received int64
	if err == nil {
		sent, received = pipe(&idleConn{Conn: up, idle: idle}, &idleConn{Conn: down, idle: idle}, c)
	}
	if rt.lb.AccessLog != nil {
		rt.lb.AccessLog(streamEntry{rt: rt, client: client.RemoteAddr(), target: t.addr, began: began, ended: s.now(), took: time.Since(wall), shaken: shaken,
			received: received, sent: sent, tls: up.ConnectionState()}.line())
	}
}

// pipe copies both ways until both ends have finished. It returns the bytes to and from a.
func pipe(a, b *idleConn, c *counters) (toA, fromA int64) {
	var wg sync.WaitGroup
	half := func(to, from *idleConn, count *int64) {
		n, err := io.Copy(to, from)
		*count = n
		c.bytes.Add(uint64(n))
		if err != nil {
			_ = a.Close() // the other half ends too
			_ = b.Close()
			return
		}
		_ = to.CloseWrite() // it may be closed already
	}
	wg.Go(func() { half(a, b, &toA) })
	wg.Go(func() { half(b, a, &fromA) })
	wg.Wait()
	return toA, fromA
}

func reset(c net.Conn) {
	if tc, ok := c.(*net.TCPConn); ok {
		_ = tc.SetLinger(0) // best effort: the close then sends a reset
	}
}

func sourceHash(a net.Addr) uint64 {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return 0
	}
	h := uint64(14695981039346656037)
	for _, b := range ap.Addr().AsSlice() {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return h
}

// proxyHeader is the header of version 2 of the proxy protocol.
func proxyHeader(src, dst net.Addr) []byte {
	s, err1 := netip.ParseAddrPort(src.String())
	d, err2 := netip.ParseAddrPort(dst.String())
	b := []byte("\r\n\r\n\x00\r\nQUIT\n\x21")
	if err1 != nil || err2 != nil {
		return append(b, 0, 0, 0)
	}
	family, sa, da := byte(0x11), s.Addr().Unmap().AsSlice(), d.Addr().Unmap().AsSlice()
	if len(sa) == 16 {
		family = 0x21
	}
	b = append(b, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(sa)+len(da)+4))
	b = append(append(b, sa...), da...)
	b = binary.BigEndian.AppendUint16(b, s.Port())
	return binary.BigEndian.AppendUint16(b, d.Port())
}
