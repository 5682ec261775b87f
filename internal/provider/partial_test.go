package provider

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	acctest "github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/clusterinfra"
	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/local"
)

// refusing stands before a local AWS without processes and refuses one operation while it is told to.
type refusing struct {
	operation atomic.Pointer[string]
	refused   atomic.Int64
}

func (r *refusing) refuse(operation string) { r.operation.Store(&operation) }

func startRefusing(t *testing.T) *refusing {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	aws, err := local.New(ctx, local.Config{Address: l.Addr().String(), Runtime: "virtual", Speed: 30})
	if err != nil {
		t.Fatal(err)
	}
	server, ended := &http.Server{Handler: aws, ReadHeaderTimeout: time.Minute}, make(chan error, 1)
	go func() { _ = server.Serve(l) }()
	go func() { ended <- aws.Run(ctx) }()
	r := &refusing{}
	r.refuse("")
	to := &url.URL{Scheme: "http", Host: l.Addr().String()}
	front := httputil.NewSingleHostReverseProxy(to)
	door, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if op := *r.operation.Load(); op != "" && strings.HasSuffix(req.Header.Get("X-Amz-Target"), "."+op) {
			r.refused.Add(1)
			w.Header().Set("Content-Type", "application/x-amz-json-1.1")
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"__type":"AccessDeniedException","message":"the test refuses %s"}`, op)
			return
		}
		front.ServeHTTP(w, req)
	})}
	go func() { _ = web.Serve(door) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the local AWS ended: %v", err)
		}
		_, _ = web.Close(), server.Close()
	})
	for k, v := range map[string]string{"AWS_ENDPOINT_URL": "http://" + door.Addr().String(), "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "local",
		"AWS_SECRET_ACCESS_KEY": "local", "AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere"} {
		t.Setenv(k, v)
	}
	return r
}

func ours() map[string]func() (tfprotov6.ProviderServer, error) {
	return map[string]func() (tfprotov6.ProviderServer, error){"slipway": providerserver.NewProtocol6WithError(New(open)())}
}

const halves = `
resource "slipway_service" "worker" {
  name          = "worker"
  environment   = "qa"
  cluster       = "demo"
  image         = "127.0.0.1/worker@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  desired_count = 2
  containers    = [{ name = "worker", cpu = 64, memory = 64, stop_timeout = 2, env = { A = "%s" } }]
  alarms        = [{ name = "churn", metric = "task-churn", threshold = 3, periods = 1, period = 300 }, { name = "cpu", metric = "cpu", threshold = 90, periods = 3, period = 60 }]
  task_role     = { statements = [{ actions = ["sqs:ReceiveMessage"], resources = ["*"] }] }
  scaling       = { min = 2, max = 4, targets = [{ metric = "cpu", target = 60 }] }
  deployment    = { timeout = 120 }
}
`

// An apply that fails between two calls leaves a state from which the next apply goes on: what was made is
// used, nothing is made twice, and the plan after it is empty. Both when it is made and when it is changed.
func TestApplyThatFailsHalfway(t *testing.T) {
	needTerraform(t)
	for _, operation := range []string{"RegisterTaskDefinition", "PutRule", "CreateService", "RegisterScalableTarget"} {
		t.Run(operation, func(t *testing.T) {
			aws := startRefusing(t)
			b, err := open(t.Context(), awscloud.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.Clusters.Apply(t.Context(), clusterinfra.Spec{Name: "demo", Instances: &clusterinfra.Instances{Type: "m7i.large", Min: 1, Max: 2}}, nil); err != nil {
				t.Fatal(err)
			}
			ref := deploy.Ref{Cluster: "demo", Service: "worker-qa"}
			runs := func(value string, revision int) acctest.TestCheckFunc {
				return func(*terraform.State) error {
					o, err := b.Services.Read(t.Context(), ref)
					if err != nil {
						return err
					}
					if got := o.Spec.Containers[0].Env["A"]; got != value || o.TaskDefinition.Revision != revision || o.Scaling == nil || len(o.Spec.Alarms) != 2 {
						return fmt.Errorf("A is %q, revision %d, scaling %+v, alarms %+v", got, o.TaskDefinition.Revision, o.Scaling, o.Spec.Alarms)
					}
					if aws.refused.Load() == 0 {
						return fmt.Errorf("%s was not refused", operation)
					}
					return nil
				}
			}
			again := 1
			if operation == "RegisterScalableTarget" {
				again = 2 // the service is there by then: Terraform deletes what failed while being made; slipway deploy has it go on
			}
			change := map[string]string{"CreateService": "UpdateService", "PutRule": "RegisterTaskDefinition"}
			later := operation
			if c := change[operation]; c != "" {
				later = c
			}
			steps := []acctest.TestStep{
				{PreConfig: func() { aws.refuse(operation) }, Config: fmt.Sprintf(halves, "1"), ExpectError: regexp.MustCompile(`(?s)the\s+test\s+refuses\s+` + operation)},
				{PreConfig: func() { aws.refuse("") }, Config: fmt.Sprintf(halves, "1"), Check: runs("1", again)},
				{Config: fmt.Sprintf(halves, "1"), PlanOnly: true},
			}
			if later != "RegisterScalableTarget" { // scaling is not touched by the change
				steps = append(steps,
					acctest.TestStep{PreConfig: func() { aws.refused.Store(0); aws.refuse(later) }, Config: fmt.Sprintf(halves, "2"), ExpectError: regexp.MustCompile(`(?s)the\s+test\s+refuses\s+` + later)},
					acctest.TestStep{PreConfig: func() { aws.refuse("") }, Config: fmt.Sprintf(halves, "2"), Check: runs("2", 2),
						ConfigPlanChecks: acctest.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectResourceAction("slipway_service.worker", plancheck.ResourceActionUpdate)}}},
					acctest.TestStep{Config: fmt.Sprintf(halves, "2"), PlanOnly: true})
			}
			acctest.UnitTest(t, acctest.TestCase{ProtoV6ProviderFactories: ours(), Steps: steps})
		})
	}
}
