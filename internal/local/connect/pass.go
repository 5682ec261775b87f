package connect

import (
	"io"
	"net"
	"sync"
	"time"
)

// connectTimeout is how long a task may take to accept a connection.
const connectTimeout = 5 * time.Second

// serve passes connections on until the listener is closed.
func (p *port) serve() {
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.pass(in)
	}
}

func (p *port) pass(in net.Conn) {
	defer in.Close()
	out, err := p.dial()
	if err != nil {
		p.m.Log.Debug("a connection by Service Connect is refused", "at", p.listener.Addr(), "reason", err)
		return
	}
	defer out.Close()
	var both sync.WaitGroup
	copyTo := func(to, from net.Conn) {
		_, _ = io.Copy(to, from) // whichever side broke, the other is told
		if t, ok := to.(*net.TCPConn); ok {
			_ = t.CloseWrite()
		}
	}
	both.Go(func() { copyTo(out, in) })
	both.Go(func() { copyTo(in, out) })
	both.Wait()
}
