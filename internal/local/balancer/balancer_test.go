package balancer

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// world is a balancer with one Application Load Balancer on a free port.
type world struct {
	*Balancer
	t  testing.TB
	lb LoadBalancer
	tg []TargetGroup
}

func start(t testing.TB) *world {
	t.Helper()
	w := &world{Balancer: New(Options{}), t: t}
	w.lb = LoadBalancer{ARN: "lb", Address: netip.MustParseAddr("127.0.0.1"),
		Listeners: []Listener{{ARN: "http", Protocol: "HTTP", Port: freePort(t), Actions: forward("tg")}}}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = w.Close(ctx) // what is left is cut
	})
	return w
}

func freePort(t testing.TB) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

func forward(arns ...string) []Action {
	f := &Forward{}
	for _, a := range arns {
		f.Groups = append(f.Groups, WeightedGroup{a, 1})
	}
	return []Action{{Forward: f}}
}

func (w *world) apply() {
	w.t.Helper()
	if err := w.Apply(Config{LoadBalancers: []LoadBalancer{w.lb}, TargetGroups: w.tg}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) url(path string) string { return "http://" + w.Addr("http") + path }

// app serves h as a healthy target named id.
func (w *world) app(id string, h http.HandlerFunc) Target {
	s := httptest.NewServer(h)
	w.t.Cleanup(s.Close)
	return Target{ID: id, Port: 80, Addr: s.Listener.Addr().String(), State: Healthy}
}

func (w *world) named(id string) Target {
	return w.app(id, func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, id) })
}

func (w *world) group(targets ...Target) {
	w.tg = []TargetGroup{{ARN: "tg", Protocol: "HTTP", Targets: targets}}
}

type reply struct {
	status int
	body   string
	header http.Header
}

func get(t testing.TB, url string, change ...func(*http.Request)) reply {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(req)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, string(body), resp.Header}
}

func TestRoundRobinGoesOverHealthyTargets(t *testing.T) {
	w := start(t)
	sick := w.named("sick")
	sick.State = Unhealthy
	w.group(w.named("a"), w.named("b"), sick)
	w.apply()
	got := map[string]int{}
	for range 10 {
		got[get(t, w.url("/")).body]++
	}
	if got["a"] != 5 || got["b"] != 5 {
		t.Errorf("requests by target = %v", got)
	}
	if c := w.Snapshot().LoadBalancers["lb"]; c.RequestCount != 10 || c.Target2XX != 10 || c.Responses != 10 {
		t.Errorf("counters = %+v", c)
	}
}

func TestFailsOpen(t *testing.T) {
	w := start(t)
	a, b := w.named("a"), w.named("b")
	a.State, b.State = Unhealthy, Unhealthy
	w.group(a, b)
	w.apply()
	got := map[string]int{}
	for range 4 {
		got[get(t, w.url("/")).body]++
	}
	if got["a"] != 2 || got["b"] != 2 {
		t.Errorf("requests by target = %v", got)
	}
}

func TestErrorsOfTheBalancer(t *testing.T) {
	w := start(t)
	w.lb.IdleTimeout = 200 * time.Millisecond
	w.group()
	w.apply()
	r := get(t, w.url("/"))
	if r.status != 503 || r.header.Get("Server") != "awselb/2.0" || !strings.Contains(r.body, "<h1>503 Service Temporarily Unavailable</h1>") {
		t.Errorf("no targets: %+v", r)
	}
	w.group(Target{ID: "dead", Port: 1, Addr: fmt.Sprintf("127.0.0.1:%d", freePort(t)), State: Healthy})
	w.apply()
	if r = get(t, w.url("/")); r.status != 502 {
		t.Errorf("refused: %+v", r)
	}
	w.group(w.app("slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	w.apply()
	if r = get(t, w.url("/")); r.status != 504 {
		t.Errorf("silent: %+v", r)
	}
	w.group(w.app("rude", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	w.apply()
	if r = get(t, w.url("/")); r.status != 502 {
		t.Errorf("hung up: %+v", r)
	}
	draining := w.named("a")
	draining.State = Draining
	w.group(draining)
	w.apply()
	if r = get(t, w.url("/")); r.status != 503 {
		t.Errorf("draining: %+v", r)
	}
	many := func(r *http.Request) { r.Header.Set("X-Forwarded-For", strings.Repeat("1.1.1.1, ", 30)+"1.1.1.1") }
	if r = get(t, w.url("/"), many); r.status != 463 {
		t.Errorf("31 addresses: %+v", r)
	}
	c := w.Snapshot().LoadBalancers["lb"]
	if c.ELB503 != 2 || c.ELB502 != 2 || c.ELB504 != 1 || c.ELB4XX != 1 || c.TargetConnectionErrorCount != 1 {
		t.Errorf("counters = %+v", c)
	}
}

func TestForwardedHeaders(t *testing.T) {
	w := start(t)
	var seen http.Header
	var host, uri string
	w.group(w.app("a", func(_ http.ResponseWriter, r *http.Request) { seen, host, uri = r.Header, r.Host, r.RequestURI }))
	w.apply()
	get(t, w.url("/a%2Fb/c?x=1;2&y=%zz"), func(r *http.Request) {
		r.Host = "app.example.com"
		r.Header.Set("X-Forwarded-For", "9.9.9.9")
		r.Header.Set("X-Amzn-Trace-Id", "Root=1-5-6;Sampled=1")
		r.Header.Set("X-Forwarded-Host", "outer")
	})
	port := w.lb.Listeners[0].Port
	if seen.Get("X-Forwarded-For") != "9.9.9.9, 127.0.0.1" || seen.Get("X-Forwarded-Proto") != "http" || seen.Get("X-Forwarded-Port") != fmt.Sprint(port) || seen.Get("X-Forwarded-Host") != "outer" {
		t.Errorf("headers = %v", seen)
	}
	if id := seen.Get("X-Amzn-Trace-Id"); !strings.HasPrefix(id, "Self=1-") || !strings.HasSuffix(id, ";Root=1-5-6;Sampled=1") {
		t.Errorf("trace id = %s", id)
	}
	if host != fmt.Sprintf("app.example.com:%d", port) || uri != "/a%2Fb/c?x=1;2&y=%zz" {
		t.Errorf("target saw %s %s", host, uri)
	}
	w.lb.ForwardedFor, w.lb.PreserveHost = "remove", true
	w.apply()
	get(t, w.url("/"), func(r *http.Request) { r.Host = "h"; r.Header.Set("X-Forwarded-For", "9.9.9.9") })
	if seen.Get("X-Forwarded-For") != "" || host != "h" {
		t.Errorf("removed: host %s, headers %v", host, seen)
	}
}

func TestRules(t *testing.T) {
	w := start(t)
	echo := w.app("echo", func(rw http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(rw, r.Host+" "+r.RequestURI) })
	fixed := func(text string) []Action { return []Action{{Fixed: &FixedResponse{Status: 200, Body: text}}} }
	w.group(echo)
	w.lb.PreserveHost = true
	l := &w.lb.Listeners[0]
	l.Actions = fixed("default")
	l.Rules = []Rule{
		{Priority: 20, Conditions: []Condition{{Field: "path-pattern", Values: []string{"/img/*", "/p?c"}}}, Actions: fixed("path")},
		{Priority: 10, Conditions: []Condition{{Field: "path-pattern", Values: []string{"/img/*"}}, {Field: "host-header", Values: []string{"*.Example.com"}}}, Actions: fixed("host+path")},
		{Priority: 30, Conditions: []Condition{{Field: "query-string", Query: []KeyValue{{"v", "1*"}, {"", "Any"}}}}, Actions: fixed("query")},
		{Priority: 31, Conditions: []Condition{{Field: "http-header", Header: "user-agent", Values: []string{"*Chrome*"}}}, Actions: fixed("header")},
		{Priority: 32, Conditions: []Condition{{Field: "http-request-method", Values: []string{"PATCH"}}}, Actions: fixed("method")},
		{Priority: 33, Conditions: []Condition{{Field: "source-ip", Values: []string{"127.0.0.0/8"}}, {Field: "path-pattern", Values: []string{"/me"}}}, Actions: fixed("ip")},
		{Priority: 34, Conditions: []Condition{{Field: "source-ip", Values: []string{"10.0.0.0/8"}}, {Field: "path-pattern", Values: []string{"/not-me"}}}, Actions: fixed("ip")},
		{Priority: 35, Conditions: []Condition{{Field: "path-pattern", Regex: []string{`^/v[0-9]+/x$`}}}, Actions: fixed("regex")},
		{Priority: 36, Conditions: []Condition{{Field: "path-pattern", Values: []string{"/old/*"}}},
			Actions: []Action{{Redirect: &Redirect{Protocol: "HTTPS", Port: "443", Path: "/new/#{path}", Status: 301}}}},
		{Priority: 37, Conditions: []Condition{{Field: "path-pattern", Values: []string{"/dp/*"}}}, Actions: forward("tg"), Transforms: []Transform{
			{Type: "url-rewrite", Regex: "^/dp/([A-Z0-9]+)$", Replace: "/product.php?id=$1x"}, {Type: "host-header-rewrite", Regex: "^(.+)\\.pub$", Replace: "$1.internal"}}},
	}
	w.apply()
	for _, c := range []struct {
		path, host, method, agent, want string
	}{
		{path: "/img/1", want: "path"},
		{path: "/IMG/1", want: "default"},
		{path: "/pic", want: "path"},
		{path: "/img/1", host: "a.example.COM:80", want: "host+path"},
		{path: "/?V=12", want: "query"},
		{path: "/?x=any", want: "query"},
		{path: "/?v=2", want: "default"},
		{path: "/", agent: "a chrome b", want: "header"},
		{path: "/", method: "PATCH", want: "method"},
		{path: "/me", want: "ip"},
		{path: "/not-me", want: "default"},
		{path: "/v12/x", want: "regex"},
		{path: "/v12/xy", want: "default"},
		{path: "/dp/B07", host: "shop.pub", want: "shop.internal /product.php?id=B07x"},
		{path: "/dp/b07", host: "shop", want: "shop /dp/b07"},
	} {
		r := get(t, w.url(c.path), func(r *http.Request) {
			if c.host != "" {
				r.Host = c.host
			}
			if c.method != "" {
				r.Method = c.method
			}
			r.Header.Set("User-Agent", c.agent)
		})
		if r.body != c.want {
			t.Errorf("%+v: got %q", c, r.body)
		}
	}
	r := get(t, w.url("/old/a%20b?q=1"), func(r *http.Request) { r.Host = "h.com:81" })
	if r.status != 301 || r.header.Get("Location") != "https://h.com:443/new/old/a%20b?q=1" {
		t.Errorf("redirect = %d %s", r.status, r.header.Get("Location"))
	}
}

// While targets come and go in the right order (deregister, then stop), no request fails.
func TestNoRequestFailsWhileTargetsRoll(t *testing.T) {
	w := start(t)
	type app struct {
		Target
		srv *httptest.Server
	}
	launch := func(id string) app {
		s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Millisecond)
			_, _ = io.WriteString(rw, id)
		}))
		return app{Target{ID: id, Port: 80, Addr: s.Listener.Addr().String(), State: Healthy}, s}
	}
	apps := []app{launch("0"), launch("1")}
	targets := func() (out []Target) {
		for _, a := range apps {
			out = append(out, a.Target)
		}
		return out
	}
	w.group(targets()...)
	w.apply()
	var failed, ok atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	url := w.url("/")
	for i := range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				method := http.MethodGet
				var body io.Reader
				if i%2 == 0 {
					method, body = http.MethodPost, strings.NewReader("data")
				}
				req, _ := http.NewRequest(method, url, body)
				resp, err := http.DefaultClient.Do(req)
				if err != nil || resp.StatusCode != 200 {
					failed.Add(1)
					continue
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				ok.Add(1)
			}
		})
	}
	for i := range 20 {
		for before := ok.Load(); ok.Load() < before+10 && failed.Load() == 0; { // traffic between any two changes
			time.Sleep(time.Millisecond)
		}
		apps = append(apps, launch(fmt.Sprint(i+2)))
		w.group(targets()...)
		w.apply()
		apps[0].State = Draining
		w.group(targets()...)
		w.apply()
		key := TargetKey{"tg", apps[0].ID, 80}
		for w.Outstanding(key) > 0 {
			time.Sleep(time.Millisecond)
		}
		apps[0].srv.Close() // blocks until its requests are done
		apps = apps[1:]
		w.group(targets()...)
		w.apply()
	}
	cancel()
	wg.Wait()
	for _, a := range apps {
		a.srv.Close()
	}
	if failed.Load() > 0 || ok.Load() < 100 {
		t.Errorf("%d requests failed, %d went well", failed.Load(), ok.Load())
	}
}

func TestDrainingTargetFinishesItsRequests(t *testing.T) {
	w := start(t)
	got, release := make(chan struct{}), make(chan struct{})
	old := w.app("old", func(rw http.ResponseWriter, _ *http.Request) {
		close(got)
		<-release
		_, _ = io.WriteString(rw, "old")
	})
	w.group(old)
	w.apply()
	var r reply
	var wg sync.WaitGroup
	wg.Go(func() { r = get(t, w.url("/")) })
	<-got
	old.State = Draining
	w.group(old, w.named("new"))
	w.apply()
	if b := get(t, w.url("/")).body; b != "new" {
		t.Errorf("a new request went to %q", b)
	}
	if n := w.Outstanding(TargetKey{"tg", "old", 80}); n != 1 {
		t.Errorf("outstanding = %d", n)
	}
	close(release)
	wg.Wait()
	if r.body != "old" || r.status != 200 {
		t.Errorf("the request under way got %+v", r)
	}
}

func TestStickiness(t *testing.T) {
	w := start(t)
	w.group(w.named("a"), w.named("b"), w.named("c"))
	w.tg[0].Stickiness = Stickiness{Type: "lb_cookie", Duration: time.Hour}
	w.apply()
	first := get(t, w.url("/"))
	cookies := (&http.Response{Header: first.header}).Cookies()
	if len(cookies) != 2 || cookies[0].Name != "AWSALB" || cookies[1].Name != "AWSALBCORS" || !cookies[1].Secure {
		t.Fatalf("cookies = %v", cookies)
	}
	send := func(r *http.Request) { r.AddCookie(cookies[0]) }
	for range 6 {
		if b := get(t, w.url("/"), send).body; b != first.body {
			t.Errorf("went to %s, want %s", b, first.body)
		}
	}
	for i := range w.tg[0].Targets {
		if w.tg[0].Targets[i].ID == first.body {
			w.tg[0].Targets[i].State = Draining
		}
	}
	w.apply()
	if b := get(t, w.url("/"), send).body; b == first.body {
		t.Error("a draining target got a request")
	}
}

func TestWeights(t *testing.T) {
	w := start(t)
	w.tg = []TargetGroup{{ARN: "blue", Protocol: "HTTP", Targets: []Target{w.named("blue")}}, {ARN: "green", Protocol: "HTTP", Targets: []Target{w.named("green")}}}
	w.lb.Listeners[0].Actions = []Action{{Forward: &Forward{Groups: []WeightedGroup{{"blue", 90}, {"green", 10}}}}}
	w.apply()
	n := 0
	for range 400 {
		if get(t, w.url("/")).body == "green" {
			n++
		}
	}
	if n < 10 || n > 90 {
		t.Errorf("%d of 400 requests went to a weight of 10 %%", n)
	}
	w.lb.Listeners[0].Actions[0].Forward.Groups = []WeightedGroup{{"blue", 0}, {"green", 1}}
	w.lb.Listeners[0].Actions[0].Forward.Sticky, w.lb.Listeners[0].Actions[0].Forward.StickyTime = true, time.Minute
	w.apply()
	r := get(t, w.url("/"))
	cookies := (&http.Response{Header: r.header}).Cookies()
	if r.body != "green" || len(cookies) != 2 || cookies[0].Name != "AWSALBTG" {
		t.Fatalf("got %q, cookies %v", r.body, cookies)
	}
	w.lb.Listeners[0].Actions[0].Forward.Groups = []WeightedGroup{{"blue", 1000}, {"green", 1}}
	w.apply()
	if b := get(t, w.url("/"), func(r *http.Request) { r.AddCookie(cookies[0]) }).body; b != "green" {
		t.Errorf("the cookie led to %s", b)
	}
}

func TestLeastOutstandingRequests(t *testing.T) {
	g := newGroup(TargetGroup{Algorithm: "least_outstanding_requests", Targets: []Target{{State: Healthy}, {State: Healthy}, {State: Healthy}}}, &groupState{},
		[]*target{{sticky: "a"}, {sticky: "b"}, {sticky: "c"}})
	g.eligible[0].outstanding.Store(3)
	g.eligible[1].outstanding.Store(1)
	g.eligible[2].outstanding.Store(2)
	for range 5 {
		if got := g.pick(time.Now()); got.sticky != "b" {
			t.Errorf("picked %s", got.sticky)
		}
	}
}

func TestSlowStart(t *testing.T) {
	now := time.Unix(1000, 0)
	b := New(Options{Now: func() time.Time { return now }})
	conf := TargetGroup{ARN: "tg", Protocol: "HTTP", SlowStart: 100 * time.Second, Targets: []Target{{ID: "old", Port: 1, Addr: "x:1", State: Healthy}}}
	if err := b.Apply(Config{TargetGroups: []TargetGroup{conf}}); err != nil {
		t.Fatal(err)
	}
	conf.Targets = append(conf.Targets, Target{ID: "new", Port: 1, Addr: "x:2", State: Healthy})
	b.mu.Lock()
	g := b.applyGroups(Config{TargetGroups: []TargetGroup{conf}})["tg"]
	b.mu.Unlock()
	share := func(at time.Time) (n int) {
		for range 2000 {
			if g.pick(at).key.ID == "new" {
				n++
			}
		}
		return n
	}
	if n := share(now.Add(20 * time.Second)); n < 150 || n > 600 {
		t.Errorf("after a fifth of slow start: %d of 2000", n)
	}
	if n := share(now.Add(101 * time.Second)); n != 1000 {
		t.Errorf("after slow start: %d of 2000", n)
	}
}

func TestWebSocketUpgrade(t *testing.T) {
	w := start(t)
	w.group(w.app("ws", func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" {
			t.Errorf("upgrade header = %q", r.Header.Get("Upgrade"))
		}
		c, buf, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = buf.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_ = buf.Flush()
		line, _ := buf.ReadString('\n')
		_, _ = buf.WriteString("echo " + line)
		_ = buf.Flush()
	}))
	w.apply()
	c, err := net.Dial("tcp", w.Addr("http"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n")
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("upgrade: %v %v", resp, err)
	}
	_, _ = io.WriteString(c, "hello\n")
	if line, err := br.ReadString('\n'); err != nil || line != "echo hello\n" {
		t.Errorf("got %q, %v", line, err)
	}
}

func TestGRPCOverTLS(t *testing.T) {
	w := start(t)
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	backend := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/grpc")
		rw.Header().Set("Trailer", "Grpc-Status")
		_, _ = io.Copy(rw, r.Body)
		rw.Header().Set("Grpc-Status", "0")
	}))
	backend.Config.Protocols = &p
	backend.Start()
	t.Cleanup(backend.Close)
	certs := httptest.NewUnstartedServer(nil)
	certs.StartTLS()
	t.Cleanup(certs.Close)
	w.tg = []TargetGroup{{ARN: "tg", Protocol: "HTTP", ProtocolVersion: "GRPC", Targets: []Target{{ID: "g", Port: 1, Addr: backend.Listener.Addr().String(), State: Healthy}}}}
	w.lb.Listeners = append(w.lb.Listeners, Listener{ARN: "https", Protocol: "HTTPS", Port: freePort(t), Certificates: certs.TLS.Certificates, Actions: forward("tg")})
	w.apply()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	resp, err := client.Post("https://"+w.Addr("https")+"/svc/Method", "application/grpc", strings.NewReader("frame"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.ProtoMajor != 2 || string(body) != "frame" || resp.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("%s, body %q, trailer %v", resp.Proto, body, resp.Trailer)
	}
	if r := get(t, w.url("/svc/Method")); r.status != 464 {
		t.Errorf("HTTP/1.1 to a gRPC target group: %d", r.status)
	}
}

func TestNetworkLoadBalancer(t *testing.T) {
	w := start(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				data, _ := io.ReadAll(c)
				_, _ = c.Write(data)
			}()
		}
	}()
	w.lb.Network = true
	w.lb.Listeners = []Listener{{ARN: "tcp", Protocol: "TCP", Port: freePort(t), Actions: forward("tg")}}
	w.tg = []TargetGroup{{ARN: "tg", Protocol: "TCP", ProxyProtocol: true, Targets: []Target{{ID: "t", Port: 1, Addr: ln.Addr().String(), State: Healthy}}}}
	w.apply()
	c, err := net.Dial("tcp", w.Addr("tcp"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "ping")
	_ = c.(*net.TCPConn).CloseWrite()
	got, err := io.ReadAll(c)
	if err != nil || len(got) != 16+12+4 || !strings.HasPrefix(string(got), "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c") || !strings.HasSuffix(string(got), "ping") {
		t.Errorf("got %q, %v", got, err)
	}
	w.tg[0].Targets[0].Addr = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	w.apply()
	c2, err := net.Dial("tcp", w.Addr("tcp"))
	if err != nil {
		return // reset already
	}
	defer c2.Close()
	if _, err := io.ReadAll(c2); err == nil {
		t.Error("a connection to a dead target ended without an error")
	}
}

func TestPortInUse(t *testing.T) {
	w := start(t)
	ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", w.lb.Listeners[0].Port))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	w.group(w.named("a"))
	w.apply()
	if w.Addr("http") == ln.Addr().String() || get(t, w.url("/")).body != "a" {
		t.Errorf("listener at %s", w.Addr("http"))
	}
	w.lb.Listeners = nil
	w.apply()
	if a := w.Addr("http"); a != "" {
		t.Errorf("a deleted listener is at %s", a)
	}
}

func TestDeadKeepAliveConnectionIsReplaced(t *testing.T) {
	w := start(t)
	var n atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { n.Add(1) }))
	defer srv.Close()
	w.group(Target{ID: "a", Port: 1, Addr: srv.Listener.Addr().String(), State: Healthy})
	w.apply()
	for range 20 {
		if r := get(t, w.url("/")); r.status != 200 {
			t.Fatalf("status %d", r.status)
		}
		srv.CloseClientConnections()
	}
	if n.Load() != 20 {
		t.Errorf("the target saw %d requests", n.Load())
	}
}

func FuzzGlob(f *testing.F) {
	f.Add("/a*b?", "/axxbc")
	f.Fuzz(func(t *testing.T, p, s string) {
		if !glob("*", s) || !glob(s, s) && !strings.ContainsAny(s, "*?") {
			t.Errorf("glob is wrong for %q", s)
		}
		if glob(p, s) && !glob("*"+p+"*", s) {
			t.Errorf("glob(%q, %q) holds, with stars around it does not", p, s)
		}
	})
}

func BenchmarkProxy(b *testing.B) {
	w := start(b)
	body := strings.Repeat("x", 1024)
	h := func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, body) }
	w.group(w.app("a", h), w.app("b", h))
	for i := range 50 {
		w.lb.Listeners[0].Rules = append(w.lb.Listeners[0].Rules, Rule{Priority: i + 1, Actions: forward("tg"),
			Conditions: []Condition{{Field: "host-header", Values: []string{fmt.Sprintf("s%d.example.com", i)}}, {Field: "path-pattern", Values: []string{"/api/*"}}}})
	}
	w.apply()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
	defer client.CloseIdleConnections()
	url := w.url("/")
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			resp, err := client.Get(url)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	})
}
