// Package localtest starts a local AWS for tests. Only tests import it.
package localtest

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/slipway-ecs/slipway/internal/local"
)

// AWS is a running local AWS.
type AWS struct {
	// Endpoint is its URL, and Config a configuration of the SDK that reaches it.
	Endpoint string
	Config   aws.Config
	// Local is the server itself, for what no operation tells.
	Local *local.Local
	// Stop ends it; the test's end does so too. A state folder can then be opened again.
	Stop func()
}

// Option changes what is started.
type Option func(*local.Config)

// Dir keeps the state in a folder, so that it survives a restart.
func Dir(path string) Option { return func(c *local.Config) { c.Dir = path } }

// Speed makes every timer of the control plane run n times faster.
func Speed(n float64) Option { return func(c *local.Config) { c.Speed = n } }

// Runtime runs containers with docker, sandbox or auto instead of virtually.
func Runtime(name string) Option { return func(c *local.Config) { c.Runtime = name } }

// Start serves a local AWS on a free port of the loopback address until the test ends. Its containers
// are virtual: no process runs. Its answers are held against the models of the installed botocore.
func Start(t testing.TB, options ...Option) *AWS {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := local.Config{Address: l.Addr().String(), Runtime: "virtual"}
	for _, o := range options {
		o(&cfg)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	server, err := local.New(ctx, cfg)
	if err != nil {
		cancel()
		_ = l.Close()
		t.Fatalf("starting a local AWS: %v", err)
	}
	checked := &answers{next: server, models: &installed}
	var front http.Handler = server
	if _, bench := t.(*testing.B); !bench && installed.load(t) {
		front = checked
	}
	web := &http.Server{Handler: front, ReadHeaderTimeout: 10 * time.Second}
	ended, served := make(chan error, 1), make(chan struct{})
	go func() { ended <- server.Run(ctx) }()
	go func() { defer close(served); _ = web.Serve(l) }() // it ends with ErrServerClosed
	stopped := false
	a := &AWS{Endpoint: "http://" + cfg.Address, Local: server}
	a.Stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = web.Close()
		<-served
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the local AWS ended with: %v", err)
		}
		for _, wrong := range checked.verdict() {
			t.Errorf("an answer is not as the service's model says: %s", wrong)
		}
	}
	t.Cleanup(a.Stop)
	a.Config = aws.Config{Region: "us-east-1", BaseEndpoint: &a.Endpoint,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		})}
	return a
}

// Env is the environment with which any client of AWS reaches it.
func (a *AWS) Env() []string {
	return append(os.Environ(), "AWS_ENDPOINT_URL="+a.Endpoint, "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_DEFAULT_REGION=us-east-1",
		"AWS_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_MAX_ATTEMPTS=1")
}

// CLI runs the AWS CLI and returns its answer, or what it said on failing. Without the CLI the test is
// skipped; under CI it fails.
func (a *AWS) CLI(t testing.TB, args ...string) (answer map[string]any, failure string) {
	t.Helper()
	path, err := exec.LookPath("aws")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("the AWS CLI is not installed")
		}
		t.Skip("the AWS CLI is not installed")
	}
	cmd := exec.CommandContext(t.Context(), path, append(args, "--output", "json", "--endpoint-url", a.Endpoint)...) // an older CLI does not read the environment's
	cmd.Env = a.Env()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, strings.TrimSpace(stderr.String()) + " (" + err.Error() + ")"
	}
	answer = map[string]any{}
	if len(strings.TrimSpace(string(out))) > 0 {
		if err := json.Unmarshal(out, &answer); err != nil {
			t.Fatalf("aws %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	return answer, ""
}

// Must is CLI for calls that must succeed.
func (a *AWS) Must(t testing.TB, args ...string) map[string]any {
	t.Helper()
	answer, failure := a.CLI(t, args...)
	if failure != "" {
		t.Fatalf("aws %s: %s", strings.Join(args, " "), failure)
	}
	return answer
}

// Eventually waits until f is true, and fails the test with what if it is not within a minute of real
// time.
func Eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}
