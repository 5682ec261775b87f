package connect

import (
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// connectTimeout is how long a task may take to accept a connection.
const connectTimeout = 5 * time.Second

// serve passes on what comes until the listener is closed: connections, or the requests on them. A connection goes
// by the settings of when it was made.
func (p *port) serve() {
	var now settings
	var requests *feed
	defer func() {
		if requests != nil {
			close(requests.done)
		}
	}()
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		s := p.settings
		p.mu.Unlock()
		if s != now && requests != nil {
			close(requests.done)
			requests = nil
		}
		now = s
		if s.protocol == "" {
			go p.pass(in, s.idle)
			continue
		}
		if requests == nil {
			requests = &feed{at: p.listener.Addr(), conns: make(chan net.Conn), done: make(chan struct{})}
			protocols := &http.Protocols{}
			protocols.SetHTTP1(true)
			protocols.SetUnencryptedHTTP2(true)
			server := &http.Server{Handler: p.handler(s), Protocols: protocols, IdleTimeout: s.idle, ReadHeaderTimeout: defaultIdle}
			go func(f *feed) { _ = server.Serve(f) }(requests) // until the feed is done
		}
		requests.conns <- in
	}
}

func (p *port) pass(in net.Conn, idle time.Duration) {
	defer in.Close()
	out, err := p.dial()
	if err != nil {
		p.m.Log.Debug("a connection by Service Connect is refused", "at", p.listener.Addr(), "reason", err)
		return
	}
	defer out.Close()
	alive := func() {}
	if idle > 0 {
		t := time.AfterFunc(idle, func() { _, _ = in.Close(), out.Close() }) // both directions end by it
		defer t.Stop()
		alive = func() { t.Reset(idle) }
	}
	var both sync.WaitGroup
	copyTo := func(to, from net.Conn) {
		_, _ = io.Copy(to, &watched{from, alive}) // whichever side broke, the other is told
		if t, ok := to.(*net.TCPConn); ok {
			_ = t.CloseWrite()
		}
	}
	both.Go(func() { copyTo(out, in) })
	both.Go(func() { copyTo(in, out) })
	both.Wait()
}

// watched tells when something is read.
type watched struct {
	from  net.Conn
	alive func()
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.from.Read(p)
	if n > 0 {
		w.alive()
	}
	return n, err
}
