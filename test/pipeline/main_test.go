//go:build linux

// Package pipeline tests deliveries as CI systems and people make them: by the program, as a process of
// its own, against a local AWS over HTTP that runs containers, with a mail server and a web server that
// receive what is told.
package pipeline

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/cli"
	"github.com/slipway-ecs/slipway/internal/clusterinfra"
	"github.com/slipway-ecs/slipway/internal/local"
	"github.com/slipway-ecs/slipway/internal/local/localtest"
	"github.com/slipway-ecs/slipway/internal/local/runtime/sandbox"
	"github.com/slipway-ecs/slipway/internal/notify/notifytest"
	"github.com/slipway-ecs/slipway/internal/provider"
	"github.com/slipway-ecs/slipway/internal/registry"
	"github.com/slipway-ecs/slipway/internal/release"
)

// TestMain lets the test binary be slipway, and the Terraform provider that slipway installs of itself.
func TestMain(m *testing.M) {
	sandbox.MaybeInit()
	switch name := filepath.Base(os.Args[0]); {
	case strings.HasPrefix(name, "terraform-provider-slipway"):
		if err := provider.Serve(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case name == "slipway":
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		os.Exit(cli.Run(ctx, os.Args[1:], cli.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
	}
	os.Exit(m.Run())
}

// world is a cluster on a local AWS, and those who are told.
type world struct {
	*testing.T
	aws      *localtest.AWS
	ledger   release.Ledger
	ecs      *ecs.Client
	ecr      *ecr.Client
	mail     *notifytest.MailServer
	web      *notifytest.WebServer
	slipway  string
	tmp      string
	env      []string
	registry string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, tmp: t.TempDir(), mail: notifytest.StartMail(t, nil, ""), web: notifytest.StartWeb(t)}
	w.aws = localtest.Start(t, localtest.Runtime("sandbox"), localtest.Speed(5), func(c *local.Config) { c.ScanFindings = filepath.Join(w.tmp, "findings.json") })
	cloud, err := awscloud.Open(t.Context(), awscloud.Options{Region: "us-east-1", Endpoint: w.aws.Endpoint})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Clusters().Apply(t.Context(), clusterinfra.Spec{Name: "main", Instances: &clusterinfra.Instances{Type: "m7i.large", Min: 2, Max: 2},
		Balancer: &clusterinfra.Balancer{Listeners: map[string]clusterinfra.Listener{"qa": {Port: 8080}, "prod": {Port: 8081}}}}, nil); err != nil {
		t.Fatal(err)
	}
	client := registry.Client{Credentials: cloud.RegistryCredentials}
	w.ledger = release.Ledger{Referrers: client, Catalog: client}
	w.ecs, w.ecr = ecs.NewFromConfig(w.aws.Config), ecr.NewFromConfig(w.aws.Config)
	w.registry = strings.TrimPrefix(w.aws.Endpoint, "http://")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w.slipway = filepath.Join(w.tmp, "slipway")
	if err := os.Symlink(self, w.slipway); err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir() // of Go's builds, and of an OpenTofu that was built once
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch {
		case strings.HasPrefix(name, "AWS_"), strings.HasPrefix(name, "TF_"), strings.HasPrefix(name, "SLIPWAY_"), strings.HasPrefix(name, "GIT"), strings.HasPrefix(name, "BUILD_"),
			strings.HasPrefix(name, "CI_"), strings.HasPrefix(name, "BRANCH"), name == "GOFLAGS":
		default:
			w.env = append(w.env, kv)
		}
	}
	w.env = append(w.env, "AWS_ENDPOINT_URL="+w.aws.Endpoint, "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "XDG_CACHE_HOME="+cache, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Dev", "GIT_AUTHOR_EMAIL=dev@example.com", "GIT_COMMITTER_NAME=Dev", "GIT_COMMITTER_EMAIL=dev@example.com", "HOOK="+w.web.URL+"/hook", "SLIPWAY_BY=ci@example.com")
	return w
}

// on is the world for a subtest.
func (w *world) on(t *testing.T) *world {
	c := *w
	c.T = t
	return &c
}

func (w *world) repository(name string) {
	w.Helper()
	if _, err := w.ecr.CreateRepository(w.Context(), &ecr.CreateRepositoryInput{RepositoryName: &name}); err != nil {
		w.Fatal(err)
	}
}

// app is a service in a git repository of its own.
type app struct {
	*world
	name, dir string
	commits   int
}

const program = `package main

import (
	"fmt"
	"net/http"
	"os"
)

var version = "none"

func main() {
	if len(os.Args) > 1 {
		fmt.Println(os.Args[1], version)
		return
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, hello(), version) })
	fmt.Println(http.ListenAndServe(":8080", nil))
}

func hello() string { return "hello" }
`

const programTest = `package main

import "testing"

func TestHello(t *testing.T) {
	if hello() != "hello" {
		t.Fatalf("hello() is %q", hello())
	}
}
`

const definition = `service: NAME
build: { ko: . }
cluster: main
container: { port: 8080, cpu: 16, memory: 64, stop_timeout: 2s }
route:
  paths: ["/NAME/*"]
  health: { path: /healthz, interval: 5s, timeout: 2s }
  deregistration_delay: 1s
deployment:
  timeout: 3m
  before: [{ name: migrate, command: [migrate] }]
  smoke: { path: /NAME/, contains: hello }
promotion:
  prod: { from: qa, approvals: 1, not_author: true }
environments: { qa: {}, prod: {} }
notify:
  hook: { webhook: "env:HOOK", on: [started, waiting, delivered, failed, rejected, superseded] }
  mail: { smtp: "MAIL", tls: none, from: ci@example.com, to: [team@example.com] }
`

func (a *app) definition() string {
	return strings.NewReplacer("NAME", a.name, "MAIL", a.mail.Address).Replace(definition)
}

func (w *world) newApp(name string) *app {
	w.Helper()
	w.repository(name)
	a := &app{world: w, name: name, dir: filepath.Join(w.tmp, name)}
	if err := os.Mkdir(a.dir, 0o755); err != nil {
		w.Fatal(err)
	}
	a.write("slipway.yaml", a.definition())
	a.write("go.mod", "module "+name+"\n\ngo 1.24\n")
	a.write("main.go", program)
	a.write("main_test.go", programTest)
	a.git("init", "-q", "-b", "main")
	a.commit()
	return a
}

func (a *app) write(name, text string) {
	a.Helper()
	path := filepath.Join(a.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		a.Fatal(err)
	}
}

func (a *app) git(args ...string) string {
	a.Helper()
	cmd := exec.CommandContext(a.Context(), "git", args...)
	cmd.Dir, cmd.Env = a.dir, a.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		a.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit commits what there is, a minute after the last one, and returns the hash.
func (a *app) commit() string {
	a.Helper()
	a.commits++
	at := time.Date(2026, 5, 1, 12, a.commits, 0, 0, time.UTC).Format(time.RFC3339)
	a.git("add", "-A")
	cmd := exec.CommandContext(a.Context(), "git", "commit", "-q", "--allow-empty", "-m", fmt.Sprintf("commit %d", a.commits))
	cmd.Dir, cmd.Env = a.dir, append(append([]string{}, a.env...), "GIT_AUTHOR_DATE="+at, "GIT_COMMITTER_DATE="+at)
	if out, err := cmd.CombinedOutput(); err != nil {
		a.Fatalf("committing: %v\n%s", err, out)
	}
	return a.git("rev-parse", "HEAD")
}

// command is slipway in the service's folder.
func (a *app) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, a.slipway, args...)
	cmd.Dir, cmd.Env = a.dir, a.env
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// runs slipway, which must end with the code, and returns all it said.
func (a *app) runs(code int, args ...string) string {
	a.Helper()
	ctx, cancel := context.WithTimeout(a.Context(), 4*time.Minute)
	defer cancel()
	began := time.Now()
	out, err := a.command(ctx, args...).CombinedOutput()
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		a.Fatal(err)
	}
	if got != code {
		a.Fatalf("slipway %s ended with %d, not %d:\n%s", strings.Join(args, " "), got, code, out)
	}
	a.Logf("slipway %s: %s", strings.Join(args, " "), time.Since(began).Round(100*time.Millisecond))
	return string(out)
}

// runUntil starts a run and kills it, as kill -9 does, as soon as it prints an event that is the point;
// false if it ended before. With it go all it has started, if whole is set.
func (a *app) runUntil(point func(event) bool, whole bool, args ...string) bool {
	a.Helper()
	ctx, cancel := context.WithTimeout(a.Context(), 4*time.Minute)
	defer cancel()
	cmd := a.command(ctx, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		a.Fatal(err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		a.Fatal(err)
	}
	killed, said := false, []string{}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said = append(said, lines.Text())
		var e event
		if json.Unmarshal(lines.Bytes(), &e) == nil && point(e) {
			kill(cmd.Process.Pid, whole)
			killed = true
			break
		}
	}
	_ = cmd.Wait()
	if !killed {
		a.Logf("ended before its point:\n%s\n%s", strings.Join(said[max(0, len(said)-15):], "\n"), stderr.String())
	}
	return killed
}

// kill ends a process as kill -9 does, and all it has started if whole is set.
func kill(pid int, whole bool) {
	var all []int
	if whole {
		all = children(pid)
	}
	for _, p := range append([]int{pid}, all...) {
		_ = syscall.Kill(p, syscall.SIGKILL)
	}
}

// children are the processes a process has started, and theirs.
func children(pid int) []int {
	var out []int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range tasks {
		data, _ := os.ReadFile(f)
		for _, s := range strings.Fields(string(data)) {
			var child int
			if _, err := fmt.Sscan(s, &child); err == nil {
				out = append(append(out, child), children(child)...)
			}
		}
	}
	return out
}

type event struct {
	Event, Step, Message string
	Data                 struct{ Stage, State string }
}

// told are the events the web server was told of, for this service, as "event stage".
func (a *app) told() []string {
	var out []string
	for _, p := range a.web.Posts() {
		var e struct{ Service, Event, Stage string }
		if err := json.Unmarshal([]byte(p.Body), &e); err != nil {
			a.Errorf("the web server received %q: %v", p.Body, err)
		}
		if e.Service == a.name {
			out = append(out, strings.TrimSpace(e.Event+" "+e.Stage))
		}
	}
	return out
}

// mails are those about this service.
func (a *app) mails() []notifytest.Mail {
	var out []notifytest.Mail
	for _, m := range a.world.mail.Mails() {
		if strings.HasPrefix(m.Subject, a.name+" ") {
			out = append(out, m)
		}
	}
	return out
}

// statements of the ledger, as "kind environment outcome".
func (a *app) statements() []string {
	a.Helper()
	history, err := a.ledger.History(a.Context(), a.registry+"/"+a.name)
	if err != nil {
		a.Fatal(err)
	}
	var out []string
	for _, s := range history {
		out = append(out, strings.Join(strings.Fields(fmt.Sprintf("%s %s %s", s.Kind, s.Environment, s.Outcome)), " "))
	}
	return out
}

// images are the digests of the repository that have a tag of a commit or a git tag.
func (a *app) images() map[string]bool {
	a.Helper()
	out, err := a.ecr.DescribeImages(a.Context(), &ecr.DescribeImagesInput{RepositoryName: &a.name})
	if err != nil {
		a.Fatal(err)
	}
	digests := map[string]bool{}
	for _, d := range out.ImageDetails {
		if d.ArtifactMediaType == nil || !strings.Contains(*d.ArtifactMediaType, "in-toto") {
			digests[aws.ToString(d.ImageDigest)] = true
		}
	}
	return digests
}
