// Package examples deploys every example on a local AWS, with real processes, looks whether it does what
// it is for, and deletes it. What Terraform is rendered for each is in internal/service/render/testdata.
package examples

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/build"
	"github.com/slipway-ecs/slipway/internal/clusterinfra"
	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/image"
	"github.com/slipway-ecs/slipway/internal/local/localtest"
	"github.com/slipway-ecs/slipway/internal/local/runtime/sandbox"
	"github.com/slipway-ecs/slipway/internal/registry"
	"github.com/slipway-ecs/slipway/internal/service"
)

func TestMain(m *testing.M) {
	sandbox.MaybeInit() // does not return in a container's first process
	os.Exit(m.Run())
}

// stage is a local AWS with a cluster.
type stage struct {
	aws   *localtest.AWS
	cloud *awscloud.Cloud
}

// example is one of them, built and pushed.
type example struct {
	*stage
	t      *testing.T
	target deploy.Target
}

func (s *stage) example(t *testing.T, folder string) *example {
	t.Helper()
	ctx, dir := t.Context(), filepath.Join("../../examples", folder)
	path := filepath.Join(dir, "slipway.yaml")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(data), "\n"); n >= 25 {
		t.Errorf("%s has %d lines: an example is short", path, n)
	}
	f, faults := service.Parse(path, data)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	spec, faults := f.Spec("qa")
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	img, err := build.Go(ctx, build.GoOptions{Dir: dir, Package: f.Build.Ko, Source: build.Source{
		Revision: image.Revision{Commit: strings.Repeat("c656597a", 5)}, Time: time.Unix(1_700_000_000, 0)}})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if _, err := s.cloud.Repositories().Apply(ctx, clusterinfra.Repository{Name: folder}); err != nil {
		t.Fatal(err)
	}
	repo := strings.TrimPrefix(s.aws.Endpoint, "http://") + "/" + folder
	digest, err := registry.Client{Credentials: s.cloud.RegistryCredentials}.Push(ctx, repo, img.Content, "latest")
	if err != nil {
		t.Fatal(err)
	}
	listener := ""
	if spec.Route != nil {
		listener = spec.Route.Listener
	}
	in, err := s.cloud.Infra(ctx, spec.Cluster, listener)
	if err != nil {
		t.Fatal(err)
	}
	return &example{stage: s, t: t, target: deploy.Target{Spec: spec, Image: repo + "@" + string(digest), Infra: in}}
}

func (e *example) report(ev deploy.Event) {
	e.t.Logf("%s %s %s", ev.Kind, ev.Action, ev.Message)
	if ev.Kind == deploy.EventWarning && strings.Contains(ev.Message, "is not kept") {
		e.t.Error(ev.Message)
	}
}

func (e *example) apply() deploy.Outcome {
	e.t.Helper()
	out, err := e.cloud.Deploy().Apply(e.t.Context(), e.target, e.report)
	if err != nil {
		e.t.Fatal(err)
	}
	p, err := e.cloud.Deploy().Plan(e.t.Context(), e.target)
	if err != nil || !p.Empty() {
		e.t.Errorf("the plan after it is not empty: %+v, %v", p.Changes, err)
	}
	return out
}

func (e *example) delete() {
	e.t.Helper()
	if err := e.cloud.Deploy().Delete(e.t.Context(), e.target.Ref(), deploy.DeleteOptions{}, e.report); err != nil {
		e.t.Error(err)
	}
	if _, err := e.cloud.Deploy().Read(e.t.Context(), e.target.Ref()); !errors.Is(err, deploy.ErrNotFound) {
		e.t.Errorf("reading it after it was deleted: %v", err)
	}
}

// logged waits until a line of the log has the text.
func (e *example) logged(group, text string) {
	e.t.Helper()
	api, seen := cloudwatchlogs.NewFromConfig(e.aws.Config), []string{}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		out, err := api.FilterLogEvents(e.t.Context(), &cloudwatchlogs.FilterLogEventsInput{LogGroupName: &group})
		if err != nil {
			e.t.Fatal(err)
		}
		seen = nil
		for _, ev := range out.Events {
			if seen = append(seen, aws.ToString(ev.Message)); strings.Contains(seen[len(seen)-1], text) {
				return
			}
		}
	}
	e.t.Errorf("nothing in %s has %q: %q", group, text, seen)
}

func request(t *testing.T, method, url, body string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// open is a folder that a container's user may write to.
func open(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "slipway-example-") // t.TempDir's parents are closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestExamples(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("needs the sandbox runtime and time")
	}
	started := localtest.Start(t, localtest.Runtime("sandbox"), localtest.Speed(4))
	cloud, err := awscloud.Open(context.Background(), awscloud.Options{Region: "us-east-1", Endpoint: started.Endpoint})
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{started, cloud}
	if _, err := cloud.Clusters().Apply(t.Context(), clusterinfra.Spec{Name: "demo", Instances: &clusterinfra.Instances{Type: "m7i.large", Min: 1, Max: 1},
		Balancer: &clusterinfra.Balancer{Listeners: map[string]clusterinfra.Listener{"qa": {Port: 8080},
			"qa-tls": {Port: 8443, Protocol: "HTTPS", Certificate: "arn:aws:acm:us-east-1:000000000000:certificate/11111111-2222-3333-4444-555555555555"}}}}, nil); err != nil {
		t.Fatal(err)
	}
	done := []string{"iplookup"} // by the demo
	t.Run("all", func(t *testing.T) {
		for folder, test := range map[string]func(*testing.T, *stage){"worker": worker, "daemon": daemon, "job": job, "migration": migration, "bluegreen": bluegreen, "grpc": grpcService} {
			done = append(done, folder)
			t.Run(folder, func(t *testing.T) { t.Parallel(); test(t, s) })
		}
	})
	files, err := filepath.Glob("../../examples/*/slipway.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name := filepath.Base(filepath.Dir(f)); !slices.Contains(done, name) {
			t.Errorf("example %s has no test", name)
		}
	}
}

func worker(t *testing.T, s *stage) {
	e := s.example(t, "worker")
	out, err := s.cloud.Deploy().Apply(t.Context(), e.target, e.report)
	queue := "jobs"
	if err != nil && strings.Contains(err.Error(), "not supported: metric math in a customized metric") {
		t.Log("the local AWS has no metric math: scaling on cpu in place of the queue")
		e.target.Spec.Scaling.Targets, queue = []service.ScalingTarget{{Metric: "cpu", Target: 60, ScaleOutCooldown: time.Minute, ScaleInCooldown: time.Minute}}, ""
		out, err = s.cloud.Deploy().Apply(t.Context(), e.target, e.report)
	}
	if err != nil {
		t.Fatal(err)
	}
	o, err := s.cloud.Deploy().Read(t.Context(), e.target.Ref())
	if err != nil || o.Scaling == nil || len(o.Scaling.Targets) != 1 || o.Scaling.Targets[0].Queue != queue || o.Scaling.Max != 2 {
		t.Errorf("scaling: %+v, %v", o.Scaling, err)
	}
	e.logged(out.LogGroup, "worker takes jobs from http://queue.internal/jobs")
	e.delete()
}

func daemon(t *testing.T, s *stage) {
	e, dir := s.example(t, "daemon"), open(t)
	e.target.Spec.Volumes[0].HostPath = dir
	out := e.apply()
	if err := os.WriteFile(filepath.Join(dir, "kernel.log"), []byte("eth0: link is up\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	e.logged(out.LogGroup, `"line":"eth0: link is up"`)
	e.delete()
}

func job(t *testing.T, s *stage) {
	e := s.example(t, "job")
	out := e.apply()
	api := ecs.NewFromConfig(s.aws.Config)
	run, err := api.RunTask(t.Context(), &ecs.RunTaskInput{Cluster: aws.String("demo"), TaskDefinition: &out.TaskDefinition})
	if err != nil || len(run.Tasks) != 1 {
		t.Fatalf("running it: %+v, %v", run, err)
	}
	e.logged(out.LogGroup, "9 words, 8 of them different")
	if j, err := s.cloud.Deploy().Job(t.Context(), e.target.Ref()); err != nil || j.Image != e.target.Image || j.LogGroup == nil || j.LogGroup.Name != out.LogGroup || j.Schedule != nil || len(j.Tasks) != 1 {
		t.Errorf("read as %+v, %v", j, err)
	}
	before := e.tasks()
	e.target.Spec.Schedule = "rate(1 minute)"
	e.apply()
	localtest.Eventually(t, "the schedule starts the job twice", func() bool { return e.tasks() >= before+2 })
	if p, err := s.cloud.Deploy().Plan(t.Context(), e.target); err != nil || !p.Empty() {
		t.Errorf("plan after apply: %+v, %v", p, err)
	}
	if j, err := s.cloud.Deploy().Job(t.Context(), e.target.Ref()); err != nil || j.Schedule == nil || j.Schedule.Expression != "rate(1 minute)" {
		t.Errorf("read as %+v, %v", j, err)
	}
	e.delete()
	if _, err := s.cloud.Deploy().Job(t.Context(), e.target.Ref()); !errors.Is(err, deploy.ErrNotFound) {
		t.Errorf("reading it after it was deleted: %v", err)
	}
	left := e.tasks()
	time.Sleep(20 * time.Second) // more than a minute of the local AWS's clock
	if n := e.tasks(); n != left {
		t.Errorf("%d tasks were started after the job was deleted", n-left)
	}
}

// tasks counts the tasks of the example's family, those that have ended too.
func (e *example) tasks() int {
	n := 0
	for _, status := range []ecstypes.DesiredStatus{ecstypes.DesiredStatusRunning, ecstypes.DesiredStatusStopped} {
		out, err := ecs.NewFromConfig(e.aws.Config).ListTasks(e.t.Context(), &ecs.ListTasksInput{Cluster: aws.String("demo"), Family: aws.String(e.target.Ref().Service), DesiredStatus: status})
		if err != nil {
			e.t.Fatal(err)
		}
		n += len(out.TaskArns)
	}
	return n
}

func migration(t *testing.T, s *stage) {
	e, dir := s.example(t, "migration"), open(t)
	e.target.Spec.Volumes[0].HostPath = dir
	for i := range e.target.Spec.Containers[1:] {
		e.target.Spec.Containers[i+1].Image = e.target.Image
	}
	if _, err := ssm.NewFromConfig(s.aws.Config).PutParameter(t.Context(), &ssm.PutParameterInput{
		Name: aws.String("/notes/api-key"), Value: aws.String("canary-4711"), Type: ssmtypes.ParameterTypeSecureString}); err != nil {
		t.Fatal(err)
	}
	out := e.apply()
	if v, err := os.ReadFile(filepath.Join(dir, "VERSION")); err != nil || string(v) != "2" {
		t.Errorf("the migration left %q, %v", v, err)
	}
	if code, body := request(t, "PUT", out.URL+"/notes/a", "buy milk", "Authorization", "Bearer canary-4711"); code != 200 {
		t.Errorf("put: %d %s", code, body)
	}
	if code, _ := request(t, "PUT", out.URL+"/notes/a", "", "Authorization", "Bearer wrong"); code != 401 {
		t.Errorf("put with the wrong key: %d", code)
	}
	if code, body := request(t, "GET", out.URL+"/notes/a", ""); code != 200 || body != "buy milk" {
		t.Errorf("get: %d %s", code, body)
	}
	e.logged(out.LogGroup, " notes") // the sidecar's
	e.delete()
}
