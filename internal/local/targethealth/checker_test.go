package targethealth

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/clock"
)

var check = Check{Enabled: true, Protocol: "HTTP", Path: "/", Interval: 30 * time.Second, Timeout: 5 * time.Second, HealthyThreshold: 5, UnhealthyThreshold: 2,
	Match: func(c int) bool { return c == 200 }}

// world is a Checker whose target answers as told, and what it reported and when.
type world struct {
	*Checker
	answer atomic.Pointer[Failure]
	start  time.Time
	mu     sync.Mutex
	said   []string
}

// answers has the target pass (nil) or fail its checks from now on.
func (w *world) answers(f *Failure) { w.answer.Store(f) }

func newWorld(t *testing.T) *world {
	w := &world{start: time.Now()}
	w.answers(&failed)
	w.Checker = New(clock.Wall{}, func(context.Context, *Check, string) *Failure { return w.answer.Load() }, func(key string, h Health) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.said = append(w.said, fmt.Sprintf("%v %s %s %s", time.Since(w.start), key, h.State, h.Reason))
	})
	t.Cleanup(w.Close)
	return w
}

func (w *world) expect(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.said, want) {
		t.Errorf("said:\n%s\nwant:\n%s", strings.Join(w.said, "\n"), strings.Join(want, "\n"))
	}
	w.said = nil
}

func group(targets ...Target) []Group { return []Group{{InUse: true, Check: check, Targets: targets}} }

func TestLifeOfATarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Apply(group(Target{Key: "t"}))
		time.Sleep(4500 * time.Millisecond)
		w.expect(t, "0s t initial Elb.RegistrationInProgress", "0s t initial Elb.InitialHealthChecking")
		w.answers(nil) // the first pass is enough, and is seen before the interval is over
		time.Sleep(2 * time.Second)
		w.expect(t, "6s t healthy ")
		w.answers(&Failure{"Target.ResponseCodeMismatch", "Health checks failed with these codes: [500]"})
		time.Sleep(time.Minute) // at 30 s the first failure, at 60 s the second
		w.expect(t, "1m0s t unhealthy Target.ResponseCodeMismatch")
		w.answers(&timedOut)
		time.Sleep(30 * time.Second)
		w.expect(t, "1m30s t unhealthy Target.Timeout")
		w.answers(nil)
		time.Sleep(150 * time.Second)
		w.expect(t, "4m0s t healthy ")
		w.Apply(group(Target{Key: "t", Draining: true}))
		w.expect(t, "4m6.5s t draining Target.DeregistrationInProgress")
		w.answers(&failed)
		time.Sleep(5 * time.Minute)
		w.expect(t) // nobody checks it
	})
}

func TestNewTargetThatFailsIsUnhealthyAfterTheThreshold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Apply(group(Target{Key: "t"}))
		time.Sleep(29 * time.Second)
		w.expect(t, "0s t initial Elb.RegistrationInProgress", "0s t initial Elb.InitialHealthChecking")
		time.Sleep(2 * time.Second)
		w.expect(t, "30s t unhealthy Target.FailedHealthChecks")
	})
}

func TestGroupsThatAreNotChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.answers(nil)
		g := group(Target{Key: "t"})
		g[0].InUse = false
		w.Apply(g)
		w.expect(t, "0s t unused Target.NotInUse")
		g[0].InUse = true
		w.Apply(g)
		w.expect(t, "0s t initial Elb.RegistrationInProgress", "0s t healthy ")
		g[0].Check.Enabled = false
		w.Apply(g)
		w.expect(t, "0s t unavailable Target.HealthCheckDisabled")
	})
}

func TestHealthIsKeptOverARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Apply(group(Target{Key: "t", Before: healthy}))
		time.Sleep(29 * time.Second)
		w.expect(t) // one failure is not enough
		time.Sleep(2 * time.Second)
		w.expect(t, "30s t unhealthy Target.FailedHealthChecks")
	})
}

func TestProbeHTTP(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case r.UserAgent() != "ELB-HealthChecker/2.0":
			rw.WriteHeader(400)
		case r.URL.Path == "/slow":
			<-r.Context().Done()
		case r.URL.Path == "/moved":
			http.Redirect(rw, r, "/", http.StatusFound)
		case r.URL.Path == "/bad":
			rw.WriteHeader(500)
		}
	}))
	defer s.Close()
	addr := s.Listener.Addr().String()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := free.Addr().String()
	free.Close()
	for _, c := range []struct{ protocol, path, addr, reason, text string }{
		{"HTTP", "/", addr, "", ""},
		{"HTTP", "/bad", addr, "Target.ResponseCodeMismatch", "Health checks failed with these codes: [500]"},
		{"HTTP", "/moved", addr, "Target.ResponseCodeMismatch", "Health checks failed with these codes: [302]"},
		{"HTTP", "/slow", addr, "Target.Timeout", "Request timed out"},
		{"HTTP", "/", dead, "Target.FailedHealthChecks", "Health checks failed"},
		{"HTTP", "/", "", "Target.FailedHealthChecks", "Health checks failed"},
		{"HTTPS", "/", addr, "Target.FailedHealthChecks", "Health checks failed"},
		{"TCP", "", addr, "", ""},
		{"TCP", "", dead, "Target.FailedHealthChecks", "Health checks failed"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		ck := check
		ck.Protocol, ck.Path = c.protocol, c.path
		var got Failure
		if f := Probe(ctx, &ck, c.addr); f != nil {
			got = *f
		}
		cancel()
		if got.Reason != c.reason || got.Description != c.text {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

func TestProbeGRPC(t *testing.T) {
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path != "/AWS.ALB/healthcheck" || len(body) != 5 {
			rw.WriteHeader(500)
			return
		}
		rw.Header().Set("Content-Type", "application/grpc")
		rw.Header().Set("Grpc-Status", "12") // unimplemented: trailers only
	}))
	s.Config.Protocols = &p
	s.Start()
	defer s.Close()
	c := Check{Protocol: "HTTP", ProtocolVersion: "GRPC", Path: "/AWS.ALB/healthcheck", Match: func(c int) bool { return c == 12 }}
	if f := Probe(t.Context(), &c, s.Listener.Addr().String()); f != nil {
		t.Errorf("failed: %+v", *f)
	}
	c.Match = func(c int) bool { return c == 0 }
	if f := Probe(t.Context(), &c, s.Listener.Addr().String()); f == nil || f.Description != "Health checks failed with these codes: [12]" {
		t.Errorf("failure = %+v", f)
	}
}
