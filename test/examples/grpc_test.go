package examples

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/slipway-ecs/slipway/internal/deploy"
)

// A gRPC client speaks TLS with the balancer, which speaks gRPC with the tasks; while a new version
// comes, no call fails.
func grpcService(t *testing.T, s *stage) {
	e := s.example(t, "grpc")
	out := e.apply()
	address := strings.TrimPrefix(out.URL, "https://")
	if address == out.URL {
		t.Fatalf("the service is at %s, without TLS", out.URL)
	}
	// The local balancer's certificates stand in for those of ACM: nobody vouches for them.
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	call := func(celsius float64) (float64, error) {
		var answer wrapperspb.DoubleValue
		err := conn.Invoke(t.Context(), "/example.Degrees/Fahrenheit", wrapperspb.Double(celsius), &answer)
		return answer.Value, err
	}
	if f, err := call(100); err != nil || f != 212 {
		t.Fatalf("100 °C are %g °F, %v", f, err)
	}
	if _, err := call(-300); status.Code(err) != codes.InvalidArgument {
		t.Errorf("-300 °C: %v", err)
	}
	if err := conn.Invoke(t.Context(), "/example.Other/Method", wrapperspb.Double(0), &wrapperspb.DoubleValue{}); err == nil {
		t.Error("a method no rule leads to was answered")
	}
	stop, calls := make(chan struct{}), make(chan [2]int)
	go func() {
		var n [2]int
		for {
			select {
			case <-stop:
				calls <- n
				return
			case <-time.After(5 * time.Millisecond):
			}
			if _, err := call(0); err != nil {
				t.Logf("call: %v", err)
				n[1]++
			}
			n[0]++
		}
	}()
	e.target.Spec.Containers[0].Env = map[string]string{"VERSION": "2"}
	e.apply()
	close(stop)
	if n := <-calls; n[1] > 0 || n[0] < 10 {
		t.Errorf("%d of %d calls failed while the version changed", n[1], n[0])
	}
	status, err := s.cloud.Deploy().Status(t.Context(), e.target.Ref())
	if err != nil || len(status.Targets) == 0 || status.Observed.TargetGroup.ProtocolVersion != "GRPC" {
		t.Errorf("targets %+v, group %+v, %v", status.Targets, status.Observed.TargetGroup, err)
	}
	e.target.Spec.Route.Health.Matcher = "5" // not what the health service says
	e.target.Spec.Containers[0].Env = map[string]string{"VERSION": "3"}
	e.target.Spec.Deployment.Timeout = 3 * time.Minute
	_, err = s.cloud.Deploy().Apply(t.Context(), e.target, e.report)
	if f, ok := err.(*deploy.Failure); !ok || !strings.Contains(f.Diagnosis.Sentence, "health") {
		t.Errorf("a wrong health check: %v", err)
	}
	e.delete()
}
