//go:build unix

package images

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/cli"
	"github.com/slipway-ecs/slipway/internal/clusterinfra"
	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/image"
	"github.com/slipway-ecs/slipway/internal/local"
	"github.com/slipway-ecs/slipway/internal/local/localtest"
	"github.com/slipway-ecs/slipway/internal/registry"
	"github.com/slipway-ecs/slipway/internal/release"
)

// binary is slipway as people have it: promotions are processes, which can be killed.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "slipway-images-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "slipway")
	if out, err := exec.Command("go", "build", "-o", path, "github.com/slipway-ecs/slipway/cmd/slipway").CombinedOutput(); err != nil {
		return path, fmt.Errorf("building slipway: %w\n%s", err, out)
	}
	return path, nil
})

// gate stands before the local AWS and sees every request that changes something. At the chosen one, when
// it is done and before its answer, kill is called.
type gate struct {
	next http.Handler

	mu   sync.Mutex
	seen []string
	at   int // of seen, from 1; 0: none
	kill func()
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := changes(r)
	if name == "" {
		g.next.ServeHTTP(w, r)
		return
	}
	answer := &late{ResponseWriter: w}
	g.next.ServeHTTP(answer, r)
	g.mu.Lock()
	g.seen = append(g.seen, name)
	var kill func()
	if len(g.seen) == g.at {
		kill, g.at = g.kill, 0
	}
	g.mu.Unlock()
	if kill != nil {
		kill()
	}
	answer.send()
}

// late keeps an answer back.
type late struct {
	http.ResponseWriter
	status int
	body   []byte
}

func (l *late) WriteHeader(status int)      { l.status = status }
func (l *late) Write(p []byte) (int, error) { l.body = append(l.body, p...); return len(p), nil }
func (l *late) send() {
	if l.status != 0 {
		l.ResponseWriter.WriteHeader(l.status)
	}
	_, _ = l.ResponseWriter.Write(l.body) // the client may be dead
}

// changes names a request that changes something; empty for one that reads.
func changes(r *http.Request) string {
	if strings.HasPrefix(r.URL.Path, "/v2/") {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			return ""
		}
		what := "blob"
		if strings.Contains(r.URL.Path, "/manifests/") {
			what = "manifest"
			if !strings.Contains(r.URL.Path, "sha256:") {
				what = "tag"
			}
		}
		return r.Method + " " + what
	}
	op := r.Header.Get("X-Amz-Target")
	if i := strings.LastIndexByte(op, '.'); i >= 0 {
		op = op[i+1:]
	}
	for _, read := range []string{"Describe", "Get", "List", "Batch"} {
		if strings.HasPrefix(op, read) {
			return ""
		}
	}
	return op
}

func (g *gate) arm(at int, kill func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen, g.at, g.kill = nil, at, kill
}

func (g *gate) names() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string{}, g.seen...)
}

// works is a team with a service in qa1, qa2 and prod; what is promoted comes from either qa.
type works struct {
	*shop
	t    *testing.T
	gate *gate
	dir  string
	ssm  *ssm.Client
}

const worksDefinition = `service: app
kind: service
cluster: main
build: { image: "%s:v1" }
test: { command: [] }
container: { cpu: 16, memory: 64 }
environments:
  qa1: { count: 1 }
  qa2: { count: 1 }
  prod: { count: 1 }
promotion:
  prod: { from: qa1, approvals: 0, tests: false }
`

func newWorks(t *testing.T) *works {
	t.Helper()
	if _, err := binary(); err != nil {
		t.Fatal(err)
	}
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := localtest.Start(t, localtest.Speed(50), func(c *local.Config) {
		// A connection for each request: one that a killed process leaves behind half read takes no other with it.
		to := &httputil.ReverseProxy{Transport: &http.Transport{DisableKeepAlives: true}}
		back := &url.URL{Scheme: "http", Host: c.Address}
		to.Rewrite = func(r *httputil.ProxyRequest) { r.SetURL(back); r.Out.Host = r.In.Host }
		w := &gate{next: to}
		server := &http.Server{Handler: w, ReadHeaderTimeout: time.Minute}
		go func() { _ = server.Serve(front) }()
		t.Cleanup(func() { _ = server.Close() })
		c.Address = front.Addr().String()
		gates.Store(c.Address, w)
	})
	g, _ := gates.Load(strings.TrimPrefix(a.Endpoint, "http://"))
	w := &works{shop: &shop{aws: a}, t: t, gate: g.(*gate), dir: t.TempDir(), ssm: ssm.NewFromConfig(a.Config)}
	for k, v := range map[string]string{"AWS_ENDPOINT_URL": a.Endpoint, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"} {
		t.Setenv(k, v)
	}
	ctx := t.Context()
	if w.cloud, err = awscloud.Open(ctx, awscloud.Options{}); err != nil {
		t.Fatal(err)
	}
	w.client = registry.Client{Credentials: w.cloud.RegistryCredentials}
	r, err := w.cloud.Repositories().Apply(ctx, clusterinfra.Repository{Name: "app"})
	if err != nil {
		t.Fatal(err)
	}
	w.uri = r.URI
	if _, err := w.cloud.Clusters().Apply(ctx, clusterinfra.Spec{Name: "main", Instances: &clusterinfra.Instances{Type: "m7i.large", Min: 1, Max: 1}}, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "slipway.yaml"), fmt.Appendf(nil, worksDefinition, w.uri), 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

var gates sync.Map

// release pushes an image with the statement of its build, as slipway push does.
func (w *works) release(commit string, tags ...string) image.Digest {
	w.t.Helper()
	d := w.push(w.t, append([]string{commit[:7]}, tags...)...)
	st := release.Statement{Kind: release.Built, Subject: d, Repository: "app", Outcome: release.Succeeded, At: time.Now(), By: "ci@example.com", Commit: commit}
	if err := w.ledger().Append(w.t.Context(), w.uri, st); err != nil {
		w.t.Fatal(err)
	}
	return d
}

// untag removes a tag; the image stays.
func (w *works) untag(tag string) {
	w.t.Helper()
	if _, err := ecr.NewFromConfig(w.aws.Config).BatchDeleteImage(w.t.Context(), &ecr.BatchDeleteImageInput{RepositoryName: aws.String("app"),
		ImageIds: []ecrtypes.ImageIdentifier{{ImageTag: &tag}}}); err != nil {
		w.t.Fatal(err)
	}
}

// start starts slipway in a process group of its own, so that all of it can be killed at once.
func (w *works) start(by string, args ...string) *running {
	w.t.Helper()
	path, _ := binary()
	r := &running{cmd: exec.Command(path, args...)}
	r.cmd.Dir = w.dir
	r.cmd.Env = append(w.aws.Env(), "SLIPWAY_BY="+by)
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r.cmd.Stdout, r.cmd.Stderr = &r.said, &r.said
	if err := r.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	return r
}

type running struct {
	cmd  *exec.Cmd
	said lockedText
}

type lockedText struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (r *running) wait() int {
	_ = r.cmd.Wait() // the code says it
	return r.cmd.ProcessState.ExitCode()
}

// kill is kill -9.
func (r *running) kill() { _ = syscall.Kill(r.cmd.Process.Pid, syscall.SIGKILL) }

func (w *works) slipway(args ...string) {
	w.t.Helper()
	if r := w.start("ci@example.com", args...); r.wait() != cli.ExitOK {
		w.t.Fatalf("slipway %s: exit %d\n%s", strings.Join(args, " "), r.cmd.ProcessState.ExitCode(), r.said.String())
	}
}

// settled checks that prod runs the image, and that everything a promotion leaves is there.
func (w *works) settled(t *testing.T, d image.Digest, commit string) {
	t.Helper()
	ctx := t.Context()
	seen, err := w.cloud.Deploy().Read(ctx, deploy.Ref{Cluster: "main", Service: "app-prod"})
	if err != nil || seen.Image != w.uri+"@"+string(d) {
		t.Errorf("prod runs %s, not %s (%v)", seen.Image, d, err)
	}
	now, ok, err := w.ledger().Current(ctx, w.uri, "prod")
	if err != nil || !ok || now.Digest != d {
		t.Errorf("by the ledger prod runs %s (%v, %v)", now.Digest, ok, err)
	}
	if tagged, err := w.client.Resolve(ctx, w.uri+":prod_"+commit[:7]); err != nil || tagged != d {
		t.Errorf("prod_%s is on %s: %v", commit[:7], tagged, err)
	}
	if _, err := w.ssm.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String(awscloud.ClaimName("app", "prod"))}); err == nil {
		t.Error("the claim is left")
	}
}

const commitA, commitB = "aaaaaaa0a8c45c40f4ab9c01c1b4e6ee1cba8a1a", "bbbbbbb0a8c45c40f4ab9c01c1b4e6ee1cba8a1b"

// Two people promote at the same time: one wins, the other is told who.
func TestRacingPromotions(t *testing.T) {
	w := newWorks(t)
	a, b := w.release(commitA, "v1"), w.release(commitB, "v2")
	w.slipway("deploy", "qa1", "--image", string(a))
	w.slipway("deploy", "qa2", "--image", string(b))
	runs := map[string]*running{}
	for by, from := range map[string]string{"ann": "qa1", "bob": "qa2"} {
		// Each from a folder of its own: nothing but AWS is between them.
		one := *w
		one.dir = t.TempDir()
		if err := os.WriteFile(filepath.Join(one.dir, "slipway.yaml"), fmt.Appendf(nil, worksDefinition, w.uri), 0o600); err != nil {
			t.Fatal(err)
		}
		runs[by] = one.start(by, "promote", "--from", from, "--to", "prod")
	}
	codes := map[int]string{}
	for by, r := range runs {
		codes[r.wait()] = by
	}
	winner, loser := codes[cli.ExitOK], codes[cli.ExitRefused]
	if winner == "" || loser == "" {
		t.Fatalf("they ended with %v\nann: %s\nbob: %s", codes, runs["ann"].said.String(), runs["bob"].said.String())
	}
	if said := runs[loser].said.String(); !strings.Contains(said, "prod is being changed by another run: promotion from") || !strings.Contains(said, "("+winner+")") {
		t.Errorf("%s lost against %s and was told\n%s", loser, winner, said)
	}
	if winner == "ann" {
		w.settled(t, a, commitA)
	} else {
		w.settled(t, b, commitB)
	}
}

// A promotion is killed with -9 after each request that changes something, and is run again.
func TestPromotionKilledAtEveryStep(t *testing.T) {
	w := newWorks(t)
	digests := []image.Digest{w.release(commitA, "v1"), w.release(commitB, "v2")}
	commits, from := []string{commitA, commitB}, []string{"qa1", "qa2"}
	w.slipway("deploy", "qa1", "--image", string(digests[0]))
	w.slipway("deploy", "qa2", "--image", string(digests[1]))
	w.slipway("promote", "--from", "qa1", "--to", "prod")
	w.gate.arm(0, nil)
	w.slipway("promote", "--from", "qa2", "--to", "prod")
	steps := w.gate.names()
	t.Logf("its steps: %q", steps)
	killed := 0
	for i, step := range steps {
		if step == "POST blob" || step == "PATCH blob" { // nothing can be seen of them
			continue
		}
		if !t.Run(fmt.Sprintf("%d %s", i+1, step), func(t *testing.T) {
			w.t = t
			k := i % 2
			w.gate.arm(0, nil)
			w.untag("prod_" + commits[k][:7]) // so that it has the same steps each time
			r := w.start("ci@example.com", "promote", "--from", from[k], "--to", "prod")
			w.gate.arm(i+1, r.kill)
			switch code := r.wait(); {
			case code == -1:
				killed++
			case code != cli.ExitOK: // it may have had one step less than the one before
				t.Fatalf("it was to be killed, and ended with %d\n%s", code, r.said.String())
			}
			again := w.start("ci@example.com", "promote", "--from", from[k], "--to", "prod")
			if code := again.wait(); code != cli.ExitOK {
				t.Fatalf("run again it ended with %d\n%s", code, again.said.String())
			}
			w.settled(t, digests[k], commits[k])
		}) {
			return
		}
	}
	if killed < 8 {
		t.Errorf("only %d runs were killed", killed)
	}
	// Terraform was killed with each of them; its providers end by themselves.
	left := []string{}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if left = providers(t, w.dir); len(left) == 0 {
			return
		}
	}
	t.Errorf("there are providers left: %v", left)
}

// Production has a repository of its own: the digest goes there, with what is recorded of it.
func TestPromotionToAnotherRepository(t *testing.T) {
	w := newWorks(t)
	ctx := t.Context()
	own, err := w.cloud.Repositories().Apply(ctx, clusterinfra.Repository{Name: "app-prod"})
	if err != nil {
		t.Fatal(err)
	}
	definition := strings.Replace(fmt.Sprintf(worksDefinition, w.uri), "prod: { count: 1 }", "prod: { count: 1, repository: app-prod }", 1)
	definition = strings.Replace(definition, "approvals: 0", "approvals: 1", 1)
	if err := os.WriteFile(filepath.Join(w.dir, "slipway.yaml"), []byte(definition), 0o600); err != nil {
		t.Fatal(err)
	}
	d := w.release(commitA, "v1")
	w.slipway("deploy", "qa1", "--image", "v1")
	w.slipway("approve", "prod", "--by", "bob")
	w.slipway("promote", "--from", "qa1", "--to", "prod")
	seen, err := w.cloud.Deploy().Read(ctx, deploy.Ref{Cluster: "main", Service: "app-prod"})
	if err != nil || seen.Image != own.URI+"@"+string(d) {
		t.Errorf("prod runs %s (%v)", seen.Image, err)
	}
	if tagged, err := w.client.Resolve(ctx, own.URI+":prod_"+commitA[:7]); err != nil || tagged != d {
		t.Errorf("prod_%s is on %s: %v", commitA[:7], tagged, err)
	}
	kinds := map[release.Kind]int{}
	all, err := w.ledger().Read(ctx, own.URI, d)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		kinds[s.Kind]++
	}
	if kinds[release.Built] != 1 || kinds[release.ApprovedFor] != 1 || kinds[release.DeployedTo] != 2 {
		t.Errorf("beside the copy there are %v", kinds)
	}
	r := w.start("ci@example.com", "history")
	if code := r.wait(); code != cli.ExitOK || strings.Count(r.said.String(), "built") != 1 || !strings.Contains(r.said.String(), "deployed-to prod") {
		t.Errorf("history: exit %d\n%s", code, r.said.String())
	}
	w.slipway("promote", "--from", "qa1", "--to", "prod") // again, which changes nothing
	if again, err := w.ledger().Read(ctx, own.URI, d); err != nil || len(again) != len(all) {
		t.Errorf("run again it has made %d statements of %d (%v)", len(again), len(all), err)
	}
}

// providers are the processes of our provider that were started below a folder.
func providers(t *testing.T, below string) (out []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range all {
		line, _ := os.ReadFile(filepath.Join(process, "cmdline")) // it may have ended since
		cwd, _ := os.Readlink(filepath.Join(process, "cwd"))
		if strings.Contains(string(line), "terraform-provider-slipway") && strings.HasPrefix(cwd, below) {
			out = append(out, filepath.Base(process))
		}
	}
	return out
}
