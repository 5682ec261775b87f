package awscloud

import (
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-ecs/slipway/internal/clusterinfra"
	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/registry/imagetest"
	"github.com/slipway-ecs/slipway/internal/service"
)

// pushApp builds testdata/app and pushes it; it returns repository@digest.
func pushApp(t *testing.T, c *Cloud, host string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "app")
	build := exec.Command("go", "build", "-o", bin, "./testdata/app")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the app: %v\n%s", err, out)
	}
	user, password, err := c.RegistryCredentials(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	return imagetest.Push(t, host+"/app:latest", user, password, map[string]string{"app": bin}, v1.Config{Entrypoint: []string{"/app"}})
}

// underLoad makes requests one after another while do runs and returns what failed.
func underLoad(t *testing.T, url string, do func()) []error {
	t.Helper()
	stop, ended := make(chan struct{}), make(chan []error)
	go func() {
		var failed []error
		for n := 0; ; n++ {
			select {
			case <-stop:
				t.Logf("%d requests", n)
				ended <- failed
				return
			default:
			}
			resp, err := http.Get(url)
			if err == nil {
				if _, err = io.Copy(io.Discard, resp.Body); err == nil && resp.StatusCode != http.StatusOK {
					err = errors.New(resp.Status)
				}
				resp.Body.Close()
			}
			if err != nil {
				failed = append(failed, err)
			}
			time.Sleep(2 * time.Millisecond)
		}
	}()
	do()
	close(stop)
	return <-ended
}

func webApp() service.Spec {
	return service.Spec{Name: "app", Environment: "qa", Kind: service.KindService, Cluster: "web", NetworkMode: "bridge", LaunchType: "EC2", Count: 1,
		Containers: []service.Container{{Name: "app", Essential: true, CPU: 64, Memory: 64, Env: map[string]string{"VERSION": "1"}, Secrets: map[string]string{},
			Ports: []service.Port{{Container: 8080, Protocol: "tcp"}}, StopTimeout: 5 * time.Second}},
		Route: &service.Route{Listener: "web", Paths: []string{"/*"}, Port: 8080, Protocol: "HTTP", DeregistrationDelay: 2 * time.Second,
			Health: service.HealthCheck{Path: "/healthz", Matcher: "200", Interval: 5 * time.Second, Timeout: 2 * time.Second, Healthy: 2, Unhealthy: 2}},
		Logs:       service.Logs{Driver: "awslogs", Retention: 7},
		Deployment: service.Deployment{Strategy: "ROLLING", MinimumHealthy: 100, Maximum: 200, CircuitBreaker: true, Rollback: true, Timeout: 5 * time.Minute}}
}

// Deployments of a real process behind a real balancer, good ones and each kind of bad one.
func TestDeploymentsTellTheTruth(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("needs the sandbox runtime and time")
	}
	url := startLocalWith(t, "sandbox", 1)
	c, ctx := openAt(t, url), t.Context()
	host := strings.TrimPrefix(url, "http://")
	if _, err := c.Repositories().Apply(ctx, clusterinfra.Repository{Name: "app"}); err != nil {
		t.Fatal(err)
	}
	image := pushApp(t, c, host)
	if _, err := c.Clusters().Apply(ctx, clusterinfra.Spec{Name: "web", Instances: &clusterinfra.Instances{Type: "m7i.large", Min: 1, Max: 3},
		Balancer: &clusterinfra.Balancer{Listeners: map[string]clusterinfra.Listener{"web": {Port: 18080}}}}, nil); err != nil {
		t.Fatal(err)
	}
	in, err := c.Infra(ctx, "web", "web")
	if err != nil {
		t.Fatal(err)
	}
	report := func(e deploy.Event) { t.Logf("%s %s %s", e.Kind, e.Action, e.Message) }
	target := func() deploy.Target { return deploy.Target{Spec: webApp(), Image: image, Infra: in} }
	out, err := c.Deploy().Apply(ctx, target(), report)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(out.URL)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(body) != "version 1\n" {
		t.Errorf("%s answers %q", out.URL, body)
	}
	if failed := underLoad(t, out.URL, func() {
		tg := target()
		tg.Spec.Containers[0].Env["VERSION"] = "2"
		tg.Spec.Count = 2
		if _, err := c.Deploy().Apply(ctx, tg, report); err != nil {
			t.Error(err)
		}
		tg.Spec.Count = 1
		if _, err := c.Deploy().Apply(ctx, tg, report); err != nil {
			t.Error(err)
		}
	}); len(failed) > 0 {
		t.Errorf("%d requests failed during the rollout: %v", len(failed), failed[0])
	}
	for _, version := range []string{"3", "4"} { // each task has a disk of its own
		tg := target()
		tg.Spec.Containers[0].Env = map[string]string{"VERSION": version, "MODE": "disk"}
		tg.Spec.Containers[0].Mounts = []service.Mount{{Volume: "data", Path: "/data"}}
		tg.Spec.Volumes = []service.Volume{{Name: "data", EBS: &service.EBSVolume{SizeGiB: 1, Type: "gp3", FileSystem: "ext4", Encrypted: true}}}
		if _, err := c.Deploy().Apply(ctx, tg, report); err != nil {
			t.Errorf("with a disk: %v", err)
		}
	}
	if _, err := c.Deploy().Apply(ctx, target(), report); err != nil {
		t.Error(err)
	}
	for _, bad := range []struct {
		name   string
		change func(*deploy.Target)
		cause  deploy.Cause
		says   string
	}{
		{"crash", func(t *deploy.Target) { t.Spec.Containers[0].Env["MODE"] = "crash" }, deploy.CauseCrash, ": panic: no database"},
		{"memory", func(t *deploy.Target) { t.Spec.Containers[0].Env["MODE"] = "memory" }, deploy.CauseMemory, "killed for memory: the limit is 64 MiB"},
		{"health", func(t *deploy.Target) { t.Spec.Containers[0].Env["MODE"] = "500" }, deploy.CauseHealthPath, "answers 500, wanted 200"},
		{"secret", func(t *deploy.Target) { t.Spec.Containers[0].Secrets["KEY"] = "/app/none" }, deploy.CauseSecret, "/app/none"},
		{"image", func(t *deploy.Target) { t.Image = host + "/app@sha256:" + strings.Repeat("0", 64) }, deploy.CauseImageMissing, "is not in its registry"},
	} {
		t.Run(bad.name, func(t *testing.T) {
			tg := target()
			bad.change(&tg)
			_, err := c.Deploy().Apply(ctx, tg, func(e deploy.Event) { t.Logf("%s %s %s", e.Kind, e.Action, e.Message) })
			var f *deploy.Failure
			if !errors.As(err, &f) {
				t.Fatalf("error %v", err)
			}
			t.Log(err)
			if !f.RolledBack || f.Diagnosis.Cause != bad.cause || !strings.Contains(f.Diagnosis.Sentence, bad.says) {
				t.Errorf("cause %s, rolled back %v: %s", f.Diagnosis.Cause, f.RolledBack, f.Diagnosis.Sentence)
			}
			if resp, err := http.Get(out.URL); err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("after the rollback %s answers %v, %v", out.URL, resp, err)
			}
		})
	}
	if err := c.Deploy().Delete(ctx, target().Ref(), deploy.DeleteOptions{}, report); err != nil {
		t.Error(err)
	}
	if err := c.Clusters().Delete(ctx, "web", nil); err != nil {
		t.Error(err)
	}
}
