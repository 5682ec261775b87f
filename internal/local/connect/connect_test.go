package connect

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// open serves a port on loopback whose tasks are those given.
func open(t *testing.T, s settings, tasks ...string) *port {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &port{m: &Mesh{Config: Config{Log: slog.New(slog.DiscardHandler)}}, listener: l, settings: s, targets: func() []string { return tasks }}
	ended := make(chan struct{})
	go func() { defer close(ended); p.serve() }()
	t.Cleanup(func() {
		_ = l.Close()
		<-ended
	})
	return p
}

// task is a server that says its name.
func task(t *testing.T, name string, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h != nil {
			_, _ = io.Copy(io.Discard, r.Body) // only then is it noticed that the client goes
			h(w, r)
		}
		fmt.Fprintf(w, "%s %s %s %s", name, r.Proto, r.Host, r.Header.Get("X-Forwarded-For"))
	}))
	s.Config.Protocols = &http.Protocols{}
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// nobody is an address where nothing listens.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// get asks as a client that keeps its connection, and speaks HTTP/2 if told to.
func get(t *testing.T, p *port, two bool, n int) (out []string) {
	t.Helper()
	tr := &http.Transport{Protocols: &http.Protocols{}, MaxConnsPerHost: 1}
	tr.Protocols.SetHTTP1(!two)
	tr.Protocols.SetUnencryptedHTTP2(two)
	defer tr.CloseIdleConnections()
	for range n {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+p.listener.Addr().String()+"/a", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "cart"
		r.Header.Set("X-Forwarded-For", "10.0.0.1")
		resp, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%d %s", resp.StatusCode, body))
	}
	return out
}

func TestRequests(t *testing.T) {
	http1, two := settings{protocol: "http", perRequest: defaultPerRequest, idle: defaultIdle}, settings{protocol: "grpc", perRequest: defaultPerRequest, idle: defaultIdle}
	a, b := task(t, "a", nil), task(t, "b", nil)
	slow := task(t, "slow", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(10 * time.Second):
		}
	})
	broken := task(t, "broken", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	for _, c := range []struct {
		name  string
		s     settings
		tasks []string
		two   bool // the client speaks HTTP/2
		want  []string
	}{
		{"each request has its turn", http1, []string{a, b}, false, []string{"200 a HTTP/1.1 cart 10.0.0.1", "200 b HTTP/1.1 cart 10.0.0.1", "200 a HTTP/1.1 cart 10.0.0.1"}},
		{"HTTP/2 to the task", two, []string{a, b}, true, []string{"200 a HTTP/2.0 cart 10.0.0.1", "200 b HTTP/2.0 cart 10.0.0.1"}},
		{"one that does not listen is passed over", http1, []string{nobody(t), b}, false, []string{"200 b HTTP/1.1 cart 10.0.0.1", "200 b HTTP/1.1 cart 10.0.0.1"}},
		{"only twice", http1, []string{nobody(t), nobody(t), a}, false, []string{"503 upstream connect error or disconnect/reset before headers. reset reason: connection failure", "200 a HTTP/1.1 cart 10.0.0.1"}},
		{"nobody", http1, nil, false, []string{"503 no healthy upstream"}},
		{"what a task answers is its own", http1, []string{broken, broken}, false, []string{"500 broken HTTP/1.1 cart 10.0.0.1"}},
		{"too slow", settings{protocol: "http", perRequest: 50 * time.Millisecond}, []string{slow}, false, []string{"504 upstream request timeout"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := open(t, c.s, c.tasks...)
			if got := get(t, p, c.two, len(c.want)); !slices.Equal(got, c.want) {
				t.Errorf("%q\nwant %q", got, c.want)
			}
		})
	}
}

// A connection of TCP stays with its task, and ends when nothing was said for too long.
func TestConnections(t *testing.T) {
	var closed atomic.Bool
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(c, c) // until it is closed
		closed.Store(true)
		_ = c.Close()
	}()
	p := open(t, settings{idle: 200 * time.Millisecond}, nobody(t), l.Addr().String())
	c, err := net.Dial("tcp", p.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	for range 5 { // longer than the limit, but not silent
		fmt.Fprintln(c, "hello")
		if line, err := r.ReadString('\n'); err != nil || line != "hello\n" {
			t.Fatalf("%q, %v", line, err)
		}
		time.Sleep(60 * time.Millisecond)
	}
	if _, err := r.ReadByte(); err == nil {
		t.Error("a silent connection is kept")
	}
	for end := time.Now().Add(5 * time.Second); !closed.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the task's side is kept")
		}
	}
}

// The settings of a port may change while it is served: the next connection goes by them.
func TestSettingsChange(t *testing.T) {
	p := open(t, settings{protocol: "http"}, task(t, "a", nil))
	get(t, p, false, 1)
	p.mu.Lock()
	p.settings = settings{protocol: "http2"}
	p.mu.Unlock()
	if got := get(t, p, false, 1); got[0] != "200 a HTTP/2.0 cart 10.0.0.1" {
		t.Errorf("%q", got)
	}
}

func TestOutliers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o outliers
		both := []string{"a", "b"}
		fail := func(host string, n int, every time.Duration) {
			for range n {
				o.failed(host, time.Now())
				time.Sleep(every)
			}
		}
		is := func(want ...string) {
			t.Helper()
			if got := o.keep(both, time.Now()); !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		}
		fail("a", 5, 8*time.Second) // never five within thirty seconds
		is("a", "b")
		fail("a", 5, 0)
		is("b")
		time.Sleep(30 * time.Second)
		is("a", "b")
		fail("a", 5, 0) // longer the second time
		time.Sleep(59 * time.Second)
		is("b")
		time.Sleep(time.Second)
		is("a", "b")
		fail("a", 5, 0)
		fail("b", 5, 0)
		is("a", "b") // better than nobody
		if o.keep([]string{"b"}, time.Now()); o.hosts["a"] != nil {
			t.Error("a task that has gone is remembered")
		}
	})
}
