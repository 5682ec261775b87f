package wire_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"

	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

func TestFaults(t *testing.T) {
	s := wire.NewServer()
	var made atomic.Int64
	wire.Handle(s.Service("ecs"), "CreateCluster", func(context.Context, *ecsapi.CreateClusterInput) (*ecsapi.CreateClusterOutput, error) {
		made.Add(1)
		return nil, nil
	})
	var faults wire.Faults
	s.Use(faults.Middleware)
	c := ecs.NewFromConfig(start(t, s))
	call := func() error {
		_, err := c.CreateCluster(t.Context(), &ecs.CreateClusterInput{})
		return err
	}
	add := func(f wire.Fault) {
		t.Helper()
		faults.Clear(0)
		made.Store(0)
		if _, err := faults.Add(f); err != nil {
			t.Fatal(err)
		}
	}

	add(wire.Fault{Service: "ecs", Operation: "Create*", Kind: "throttle", Count: 1})
	wantCode(t, call(), "ThrottlingException", "Rate exceeded")
	if err := call(); err != nil || made.Load() != 1 {
		t.Errorf("after its count: %v, %d made", err, made.Load())
	}
	add(wire.Fault{Kind: "error", Code: "ServerException", Message: "boom", Skip: 1})
	if err := call(); err != nil {
		t.Errorf("skipped: %v", err)
	}
	wantCode(t, call(), "ServerException", "boom")
	add(wire.Fault{Service: "elbv2", Kind: "reset"})
	if err := call(); err != nil {
		t.Errorf("another service's fault struck: %v", err)
	}
	add(wire.Fault{Kind: "reset"})
	if err := call(); err == nil || made.Load() != 0 {
		t.Errorf("reset: %v, %d made", err, made.Load())
	}
	add(wire.Fault{Kind: "lost"})
	if err := call(); err == nil || made.Load() != 1 {
		t.Errorf("lost: %v, %d made: the write has to happen", err, made.Load())
	}
	add(wire.Fault{Kind: "latency", Delay: 30})
	began := time.Now()
	if err := call(); err != nil || time.Since(began) < 30*time.Millisecond {
		t.Errorf("latency: %v after %v", err, time.Since(began))
	}

	// The same seed strikes the same requests.
	strikes := func() string {
		add(wire.Fault{Kind: "throttle", Probability: 0.5, Seed: 42})
		var b strings.Builder
		for range 20 {
			if call() != nil {
				b.WriteByte('x')
			} else {
				b.WriteByte('.')
			}
		}
		return b.String()
	}
	first := strikes()
	if n := strings.Count(first, "x"); n < 4 || n > 16 {
		t.Errorf("of 20 requests %d were struck, with probability ½", n)
	}
	if again := strikes(); again != first {
		t.Errorf("the same seed gave %s and %s", first, again)
	}
}

func TestFaultsAPI(t *testing.T) {
	var faults wire.Faults
	for _, tt := range []struct {
		method, target, body string
		status               int
		want                 string
	}{
		{"POST", "/", `{"kind":"throttle","operation":"RunTask","count":2}`, 201, `"id":1`},
		{"POST", "/", `{"kind":"explode"}`, 400, "kind must be"},
		{"POST", "/", `{"kind":"latency"}`, 400, "delayMs"},
		{"POST", "/", `{"kind":"reset","probability":2}`, 400, "probability"},
		{"POST", "/", `{"kind":"reset","service":"["}`, 400, "no pattern"},
		{"POST", "/", `{"kind":"reset","servise":"ecs"}`, 400, "unknown field"},
		{"GET", "/", ``, 200, `"operation":"RunTask"`},
		{"DELETE", "/?id=7", ``, 404, "no fault 7"},
		{"DELETE", "/?id=1", ``, 204, ""},
		{"GET", "/", ``, 200, `[]`},
		{"PUT", "/", ``, 405, "use GET"},
	} {
		w := httptest.NewRecorder()
		faults.ServeHTTP(w, httptest.NewRequest(tt.method, "http://localhost"+tt.target, strings.NewReader(tt.body)))
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
			t.Errorf("%s %s %s: %d %s, want %d …%s…", tt.method, tt.target, tt.body, w.Code, w.Body, tt.status, tt.want)
		}
	}
}
