package awscloud

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
)

// Where nothing listens on this machine, a command says so within seconds.
func TestRefusedIsGivenUpSoon(t *testing.T) {
	s := soon{retry.NewStandard()}
	refused := fmt.Errorf("sending: %w", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})
	var all time.Duration
	for attempt := range 8 {
		d, err := s.RetryDelay(attempt, refused)
		if err != nil || d <= 0 || d > longestRefused {
			t.Errorf("attempt %d: %s, %v", attempt, d, err)
		}
		all += d
	}
	if all < 5*time.Second || all > 15*time.Second {
		t.Errorf("it is given up after %s", all)
	}
	if d, err := s.RetryDelay(8, errors.New("throttled")); err != nil || d == longestRefused {
		t.Errorf("other errors wait %s, %v", d, err)
	}
}

// An answer whose end is missing is asked for again.
func TestCutOffAnswer(t *testing.T) {
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		const answer = `{"clusterArns":["arn:aws:ecs:us-east-1:000000000000:cluster/c"]}`
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		if asked.Add(1) == 1 {
			fmt.Fprint(w, answer[:20])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		fmt.Fprint(w, answer)
	}))
	defer s.Close()
	t.Setenv("AWS_ACCESS_KEY_ID", "x")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "y")
	c, err := Open(t.Context(), Options{Endpoint: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	out, err := ecs.NewFromConfig(c.cfg).ListClusters(t.Context(), &ecs.ListClustersInput{})
	if err != nil || len(out.ClusterArns) != 1 || asked.Load() != 2 {
		t.Errorf("%+v, %v, asked %d times", out, err, asked.Load())
	}
}
