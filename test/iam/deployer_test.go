// Package iam proves that the policies Slipway prints are enough, and that none of their statements is
// too many.
package iam

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/clusterinfra"
	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/iampolicy"
	"github.com/slipway-ecs/slipway/internal/iampolicy/evaluate"
	"github.com/slipway-ecs/slipway/internal/local"
	"github.com/slipway-ecs/slipway/internal/service"
)

// recorder keeps what a role asked for.
type recorder struct {
	mu   sync.Mutex
	role string
	asks []evaluate.Request
	no   []string
}

func (r *recorder) seen(q evaluate.Request, d evaluate.Decision) {
	if !strings.HasSuffix(q.Principal.Role, "/"+r.role) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asks = append(r.asks, q)
	if !d.Allowed() {
		if s := q.Action + " on " + q.Resource; !slices.Contains(r.no, s) {
			r.no = append(r.no, s)
		}
	}
}

// start serves a local AWS that enforces IAM, and returns its address and what role asks for.
func start(t *testing.T, role string) (string, *recorder) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	server, err := local.New(ctx, local.Config{Address: l.Addr().String(), Runtime: "virtual", Speed: 30, EnforceIAM: true})
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{role: role}
	server.Enforcer().Seen = r.seen
	web, ended := &http.Server{Handler: server, ReadHeaderTimeout: time.Minute}, make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	go func() { _ = web.Serve(l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		_ = web.Close()
	})
	return "http://" + l.Addr().String(), r
}

// as makes the role with the policy, and gives the environment its session.
func as(t *testing.T, url, role, policy string) {
	t.Helper()
	ctx := t.Context()
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion("us-east-1"), config.WithBaseEndpoint(url), config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("root", "root", "")))
	if err != nil {
		t.Fatal(err)
	}
	c := iam.NewFromConfig(cfg)
	made, err := c.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &role, AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"000000000000"},"Action":"sts:AssumeRole"}}`)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &role, PolicyName: aws.String("printed"), PolicyDocument: &policy}); err != nil {
		t.Fatal(err)
	}
	out, err := sts.NewFromConfig(cfg).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: made.Role.Arn, RoleSessionName: aws.String("test")})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", *out.Credentials.AccessKeyId)
	t.Setenv("AWS_SECRET_ACCESS_KEY", *out.Credentials.SecretAccessKey)
	t.Setenv("AWS_SESSION_TOKEN", *out.Credentials.SessionToken)
}

// needed fails for each statement without which everything that was asked for is still allowed. Statements
// named in elsewhere are for calls that this run does not make: to the registry, to balancers.
func needed(t *testing.T, document iampolicy.Document, asks []evaluate.Request, elsewhere ...string) {
	t.Helper()
	for i, st := range document.Statement {
		less := document
		less.Statement = slices.Delete(slices.Clone(document.Statement), i, i+1)
		data, err := json.Marshal(less)
		if err != nil {
			t.Fatal(err)
		}
		p, err := evaluate.Parse(string(data), evaluate.Identity)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(asks, func(r evaluate.Request) bool {
			return !evaluate.Decide(evaluate.Policies{Identity: []*evaluate.Policy{p}}, r).Allowed()
		}) {
			if slices.Contains(elsewhere, st.Sid) {
				continue
			}
			t.Errorf("nothing needs statement %s", st.Sid)
		}
		for _, a := range st.Action {
			if !slices.ContainsFunc(asks, func(r evaluate.Request) bool { return r.Action == a }) {
				t.Logf("%s: %s was not asked for", st.Sid, a)
			}
		}
	}
}

const image = "127.0.0.1/worker@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func worker() service.Spec {
	return service.Spec{Name: "worker", Environment: "qa", Team: "web", Kind: service.KindWorker, Cluster: "main", NetworkMode: "bridge", LaunchType: "EC2", Count: 2,
		Containers: []service.Container{{Name: "worker", Essential: true, CPU: 64, Memory: 64, Env: map[string]string{"A": "1"}, StopTimeout: 2 * time.Second}},
		Logs:       service.Logs{Driver: "awslogs", Retention: 30}, Tags: map[string]string{"cost-center": "42"},
		Volumes:    []service.Volume{{Name: "data", EBS: &service.EBSVolume{SizeGiB: 1, Type: "gp3", FileSystem: "xfs", Encrypted: true}}},
		TaskRole:   service.TaskRole{Statements: []service.Statement{{Effect: "Allow", Actions: []string{"sqs:ReceiveMessage"}, Resources: []string{"*"}}}},
		Scaling:    &service.Scaling{Min: 2, Max: 6, Targets: []service.ScalingTarget{{Metric: "cpu", Target: 60, ScaleOutCooldown: time.Minute, ScaleInCooldown: 5 * time.Minute}}},
		Alarms:     []service.Alarm{{Name: "hot", Metric: "cpu", Threshold: 90, Periods: 3, Period: time.Minute}, {Name: "churn", Metric: "task-churn", Threshold: 3, Periods: 1, Period: 5 * time.Minute}},
		Deployment: service.Deployment{Strategy: "ROLLING", MinimumHealthy: 100, Maximum: 200, CircuitBreaker: true, Rollback: true, Timeout: 2 * time.Minute}}
}

func TestDeployer(t *testing.T) {
	for _, name := range []string{"AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
		t.Setenv(name, "")
	}
	url, asked := start(t, "deployer")
	ctx := t.Context()
	owner, err := awscloud.Open(ctx, awscloud.Options{Region: "us-east-1", Endpoint: url})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := owner.Clusters().Apply(ctx, clusterinfra.Spec{Name: "main", Instances: &clusterinfra.Instances{Type: "m7i.large", Min: 2, Max: 3}}, nil); err != nil {
		t.Fatal(err)
	}
	policy := iampolicy.Deployer(iampolicy.Scope{Partition: "aws", Region: "us-east-1", Account: "000000000000", Cluster: "main", Service: "worker-qa", Family: "worker-qa", Repository: "worker", LogGroup: "/ecs/main/worker-qa"})
	as(t, url, "deployer", policy.Text())
	c, err := awscloud.Open(ctx, awscloud.Options{Region: "us-east-1", Endpoint: url})
	if err != nil {
		t.Fatal(err)
	}
	in, err := c.Infra(ctx, "main", "")
	if err != nil {
		t.Fatal(err)
	}
	target := deploy.Target{Spec: worker(), Image: image, Infra: in, Release: "one"}
	quiet := func(deploy.Event) {}
	for _, value := range []string{"1", "2"} { // made, then a new revision
		target.Spec.Containers[0].Env["A"] = value
		if _, err := c.Deploy().Apply(ctx, target, quiet); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Deploy().Status(ctx, target.Ref()); err != nil {
		t.Error(err)
	}
	if err := c.Deploy().Delete(ctx, target.Ref(), deploy.DeleteOptions{}, quiet); err != nil {
		t.Error(err)
	}
	asked.mu.Lock()
	defer asked.mu.Unlock()
	for _, no := range asked.no {
		t.Errorf("not allowed: %s", no)
	}
	needed(t, policy, asked.asks, "Login", "Ledger", "Balancers", "TagBalancers",
		"Claim", "SecretVersions", "Secrets", "SecretCopies", "Schedules", "ListNames", "Names")
}
