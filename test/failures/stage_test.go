package failures

import (
	"context"
	"flag"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

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

var update = flag.Bool("update", false, "write docs/failures.md anew")

func TestMain(m *testing.M) {
	sandbox.MaybeInit() // does not return in a container's first process
	flag.Parse()
	if spec := os.Getenv("SLIPWAY_TEST_APPLY"); spec != "" {
		applyAndDie(spec)
	}
	os.Exit(m.Run())
}

// stage is a local AWS with a cluster, and a program that fails as it is told.
type stage struct {
	aws     *localtest.AWS
	cloud   *awscloud.Cloud
	infra   deploy.Infra
	image   string // repository@digest
	foreign string // the same for another processor
}

func newStage(t *testing.T) *stage { return newStageAt(t, 4) }

// newStageAt is one whose control plane's timers run so many times faster.
func newStageAt(t *testing.T, speed float64) *stage {
	t.Helper()
	s := &stage{aws: localtest.Start(t, localtest.Runtime("sandbox"), localtest.Speed(speed))}
	var err error
	if s.cloud, err = awscloud.Open(context.Background(), awscloud.Options{Region: "us-east-1", Endpoint: s.aws.Endpoint}); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if _, err := s.cloud.Clusters().Apply(ctx, clusterinfra.Spec{Name: "main", Instances: &clusterinfra.Instances{Type: "m7i.large", Min: 2, Max: 2},
		Balancer: &clusterinfra.Balancer{Listeners: map[string]clusterinfra.Listener{"web": {Port: 8080}}}}, nil); err != nil {
		t.Fatal(err)
	}
	if s.infra, err = s.cloud.Infra(ctx, "main", "web"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.cloud.Repositories().Apply(ctx, clusterinfra.Repository{Name: "shop"}); err != nil {
		t.Fatal(err)
	}
	other := map[string]string{"amd64": "linux/arm64", "arm64": "linux/amd64"}[runtime.GOARCH]
	s.image, s.foreign = s.build(t, "linux/"+runtime.GOARCH), s.build(t, other)
	return s
}

func (s *stage) build(t *testing.T, platform string) string {
	t.Helper()
	img, err := build.Go(t.Context(), build.GoOptions{Dir: "victim", Package: ".", Platforms: []string{platform}, Source: build.Source{
		Revision: image.Revision{Commit: strings.Repeat("c656597a", 5)}, Time: time.Unix(1_700_000_000, 0)}})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	repo := strings.TrimPrefix(s.aws.Endpoint, "http://") + "/shop"
	digest, err := registry.Client{Credentials: s.cloud.RegistryCredentials}.Push(t.Context(), repo, img.Content)
	if err != nil {
		t.Fatal(err)
	}
	return repo + "@" + string(digest)
}

func (s *stage) platforms(ctx context.Context, ref string) ([]string, error) {
	info, err := registry.Client{Credentials: s.cloud.RegistryCredentials}.Describe(ctx, ref)
	return info.Platforms, err
}

// target is a service that would come up.
func (s *stage) target(name string) deploy.Target {
	return deploy.Target{Image: s.image, Infra: s.infra, Spec: service.Spec{Name: name, Environment: "qa", Kind: service.KindService, Cluster: "main", NetworkMode: "bridge", LaunchType: "EC2", Count: 1,
		Containers: []service.Container{{Name: "shop", Essential: true, CPU: 16, Memory: 64, Env: map[string]string{}, Secrets: map[string]string{},
			Ports: []service.Port{{Container: 8080, Protocol: "tcp"}}, StopTimeout: 2 * time.Second}},
		Route: &service.Route{Listener: "web", Paths: []string{"/" + name + "/*"}, Port: 8080, Protocol: "HTTP", DeregistrationDelay: time.Second,
			Health: service.HealthCheck{Path: "/healthz", Matcher: "200", Interval: 5 * time.Second, Timeout: 2 * time.Second, Healthy: 2, Unhealthy: 2}},
		Logs:       service.Logs{Driver: "awslogs", Retention: 7},
		Deployment: service.Deployment{Strategy: "ROLLING", MinimumHealthy: 100, Maximum: 200, CircuitBreaker: true, Rollback: true, Timeout: 5 * time.Minute}}}
}
