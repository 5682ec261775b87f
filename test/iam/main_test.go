// Package iam proves that the policies Slipway prints are enough, and that none of their statements is
// too many.
package iam

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
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

	"github.com/slipway-ecs/slipway/internal/cli"
	"github.com/slipway-ecs/slipway/internal/iampolicy"
	"github.com/slipway-ecs/slipway/internal/iampolicy/evaluate"
	"github.com/slipway-ecs/slipway/internal/local"
	"github.com/slipway-ecs/slipway/internal/provider"
)

// TestMain lets the test binary be the Terraform provider that slipway installs of itself.
func TestMain(m *testing.M) {
	if strings.HasPrefix(filepath.Base(os.Args[0]), "terraform-provider-slipway") {
		if err := provider.Serve(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// recorder keeps what roles asked for, by their names.
type recorder struct {
	mu   sync.Mutex
	asks map[string][]evaluate.Request
	no   map[string][]string
}

func (r *recorder) seen(q evaluate.Request, d evaluate.Decision) {
	role := q.Principal.Role[strings.LastIndexByte(q.Principal.Role, '/')+1:]
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asks[role] = append(r.asks[role], q)
	if !d.Allowed() {
		if s := q.Action + " on " + q.Resource; !slices.Contains(r.no[role], s) {
			r.no[role] = append(r.no[role], s)
		}
	}
}

// enough fails for everything that a role was not allowed, and returns what it asked for.
func (r *recorder) enough(t *testing.T, role string) []evaluate.Request {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, no := range r.no[role] {
		t.Errorf("%s: not allowed: %s", role, no)
	}
	return slices.Clone(r.asks[role])
}

// roles are those that asked for something, by the beginning of their names.
func (r *recorder) roles(prefix string) (out []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for role := range r.asks {
		if strings.HasPrefix(role, prefix) {
			out = append(out, role)
		}
	}
	return out
}

// start serves a local AWS that enforces IAM, and returns its address and what roles ask for.
func start(t *testing.T, change ...func(*local.Config)) (string, *recorder) {
	t.Helper()
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "TF_") || strings.HasPrefix(name, "SLIPWAY_") || strings.HasPrefix(name, "GIT_") {
			t.Setenv(name, "")
			if err := os.Unsetenv(name); err != nil { // Setenv puts it back
				t.Fatal(err)
			}
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := local.Config{Address: l.Addr().String(), Runtime: "virtual", Speed: 30, EnforceIAM: true}
	for _, f := range change {
		f(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	server, err := local.New(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{asks: map[string][]evaluate.Request{}, no: map[string][]string{}}
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

// account is the configuration of the account itself.
func account(t *testing.T, url string) aws.Config {
	t.Helper()
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithRegion("us-east-1"), config.WithBaseEndpoint(url), config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("root", "root", "")))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// as makes the role with the policy, if it is not there, and gives the environment its session.
func as(t *testing.T, url, role, policy string) {
	t.Helper()
	ctx, cfg := t.Context(), account(t, url)
	c := iam.NewFromConfig(cfg)
	arn := "arn:aws:iam::000000000000:role/" + role
	if policy != "" {
		if _, err := c.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &role, AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"000000000000"},"Action":"sts:AssumeRole"}}`)}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &role, PolicyName: aws.String("printed"), PolicyDocument: &policy}); err != nil {
			t.Fatal(err)
		}
	}
	// Time goes faster there: twelve hours are 24 minutes.
	out, err := sts.NewFromConfig(cfg).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: &arn, RoleSessionName: aws.String("test"), DurationSeconds: aws.Int32(43200)})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", *out.Credentials.AccessKeyId)
	t.Setenv("AWS_SECRET_ACCESS_KEY", *out.Credentials.SecretAccessKey)
	t.Setenv("AWS_SESSION_TOKEN", *out.Credentials.SessionToken)
}

// run is a policy with what was asked of it.
type run struct {
	policy iampolicy.Document
	asks   []evaluate.Request
}

// needed fails for each statement without which everything that was asked for is still allowed, in all runs.
func needed(t *testing.T, runs ...run) {
	t.Helper()
	need, asked := map[string]bool{}, map[string]bool{}
	for _, r := range runs {
		for i, st := range r.policy.Statement {
			less := r.policy
			less.Statement = slices.Delete(slices.Clone(r.policy.Statement), i, i+1)
			data, err := json.Marshal(less)
			if err != nil {
				t.Fatal(err)
			}
			p, err := evaluate.Parse(string(data), evaluate.Identity)
			if err != nil {
				t.Fatal(err)
			}
			need[st.Sid] = need[st.Sid] || slices.ContainsFunc(r.asks, func(q evaluate.Request) bool {
				return !evaluate.Decide(evaluate.Policies{Identity: []*evaluate.Policy{p}}, q).Allowed()
			})
			for _, a := range st.Action {
				asked[st.Sid+": "+a] = asked[st.Sid+": "+a] || slices.ContainsFunc(r.asks, func(q evaluate.Request) bool { return q.Action == a })
			}
		}
	}
	for sid, yes := range need {
		if !yes {
			t.Errorf("nothing needs statement %s", sid)
		}
	}
	for what, yes := range asked {
		if !yes {
			t.Logf("%s was not asked for", what)
		}
	}
}

// printed is the policy that slipway iam prints.
func printed(t *testing.T, args ...string) iampolicy.Document {
	t.Helper()
	text := slipway(t, 0, append([]string{"iam"}, args...)...)
	var d iampolicy.Document
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return d
}

// slipway runs a command of the command line, which must end with the code.
func slipway(t *testing.T, code int, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	var out, errs strings.Builder
	began := time.Now()
	got := cli.Run(ctx, args, cli.Stdio{In: strings.NewReader(""), Out: &out, Err: &errs})
	if got != code {
		t.Errorf("slipway %s ended with %d, not %d:\n%s%s", strings.Join(args, " "), got, code, out.String(), errs.String())
	}
	t.Logf("%s slipway %s", time.Since(began).Round(time.Millisecond), strings.Join(args, " "))
	return out.String()
}
