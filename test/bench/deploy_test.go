package bench

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/build"
	"github.com/slipway-ecs/slipway/internal/clusterinfra"
	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/image"
	"github.com/slipway-ecs/slipway/internal/local/localtest"
	"github.com/slipway-ecs/slipway/internal/registry"
	"github.com/slipway-ecs/slipway/internal/service"
)

// BenchmarkDeploy is the time of one rolling deployment, from the call to the answer that it is over: by
// Slipway, and by `aws ecs update-service` with `aws ecs wait services-stable`, on one local AWS with real
// processes. The least possible is what ECS itself took, from the deployment's creation to its end.
//
//	make bench-deploy
func BenchmarkDeploy(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs the sandbox runtime")
	}
	a := localtest.Start(b, localtest.Runtime("sandbox"))
	cloud, err := awscloud.Open(b.Context(), awscloud.Options{Region: "us-east-1", Endpoint: a.Endpoint})
	if err != nil {
		b.Fatal(err)
	}
	target := deployable(b, a, cloud)
	if _, err := cloud.Deploy().Apply(b.Context(), target, nil); err != nil {
		b.Fatal(err)
	}
	n := 0
	measure := func(name string, do func() error) {
		b.Run(name, func(b *testing.B) {
			var took, least time.Duration
			for range b.N {
				n++
				target.Spec.Containers[0].Env = map[string]string{"N": fmt.Sprint(n)}
				began := time.Now()
				if err := do(); err != nil {
					b.Fatal(err)
				}
				took += time.Since(began)
				seen, err := cloud.Deploy().Read(b.Context(), target.Ref())
				if err != nil || seen.Last == nil || seen.Last.Status != "SUCCESSFUL" {
					b.Fatalf("%+v, %v", seen.Last, err)
				}
				least += seen.Last.FinishedAt.Sub(seen.Last.CreatedAt)
			}
			b.ReportMetric(took.Seconds()/float64(b.N), "s/deploy")
			b.ReportMetric(least.Seconds()/float64(b.N), "s/least")
			b.ReportMetric(100*(took.Seconds()/least.Seconds()-1), "%over")
			b.ReportMetric(0, "ns/op")
		})
	}
	measure("slipway", func() error {
		_, err := cloud.Deploy().Apply(b.Context(), target, nil)
		return err
	})
	path, err := exec.LookPath("aws")
	if err != nil {
		b.Log("the AWS CLI is not here: no peer to compare with")
		return
	}
	cli := func(args ...string) error {
		cmd := exec.CommandContext(b.Context(), path, args...)
		cmd.Env = append(os.Environ(), a.Env()...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("aws %s: %w\n%s", strings.Join(args, " "), err, out)
		}
		return nil
	}
	measure("aws-cli", func() error {
		// The revision is registered by the SDK, in no time; the CLI updates and waits.
		api := ecs.NewFromConfig(a.Config)
		svc, err := cloud.Deploy().Read(b.Context(), target.Ref())
		if err != nil {
			return err
		}
		was, err := api.DescribeTaskDefinition(b.Context(), &ecs.DescribeTaskDefinitionInput{TaskDefinition: &svc.Service.TaskDefinition})
		if err != nil {
			return err
		}
		td := was.TaskDefinition
		made, err := api.RegisterTaskDefinition(b.Context(), &ecs.RegisterTaskDefinitionInput{Family: td.Family, ContainerDefinitions: td.ContainerDefinitions, NetworkMode: td.NetworkMode,
			RequiresCompatibilities: td.RequiresCompatibilities, ExecutionRoleArn: td.ExecutionRoleArn})
		if err != nil {
			return err
		}
		if err := cli("ecs", "update-service", "--cluster", "main", "--service", target.Ref().Service, "--task-definition", aws.ToString(made.TaskDefinition.TaskDefinitionArn)); err != nil {
			return err
		}
		return cli("ecs", "wait", "services-stable", "--cluster", "main", "--services", target.Ref().Service)
	})
}

// deployable is a service of two tasks behind a balancer, whose program answers at once.
func deployable(b *testing.B, a *localtest.AWS, cloud *awscloud.Cloud) deploy.Target {
	b.Helper()
	ctx := b.Context()
	if _, err := cloud.Clusters().Apply(ctx, clusterinfra.Spec{Name: "main", Instances: &clusterinfra.Instances{Type: "m7i.large", Min: 2, Max: 2},
		Balancer: &clusterinfra.Balancer{Listeners: map[string]clusterinfra.Listener{"web": {Port: 8080}}}}, nil); err != nil {
		b.Fatal(err)
	}
	infra, err := cloud.Infra(ctx, "main", "web")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := cloud.Repositories().Apply(ctx, clusterinfra.Repository{Name: "shop"}); err != nil {
		b.Fatal(err)
	}
	img, err := build.Go(ctx, build.GoOptions{Dir: "../failures/victim", Package: ".", Platforms: []string{"linux/" + runtime.GOARCH}, Source: build.Source{
		Revision: image.Revision{Commit: strings.Repeat("c656597a", 5)}, Time: time.Unix(1_700_000_000, 0)}})
	if err != nil {
		b.Fatal(err)
	}
	defer img.Close()
	repo := strings.TrimPrefix(a.Endpoint, "http://") + "/shop"
	digest, err := registry.Client{Credentials: cloud.RegistryCredentials}.Push(ctx, repo, img.Content)
	if err != nil {
		b.Fatal(err)
	}
	return deploy.Target{Image: repo + "@" + string(digest), Infra: infra, Spec: service.Spec{Name: "shop", Environment: "qa", Kind: service.KindService, Cluster: "main", NetworkMode: "bridge", LaunchType: "EC2", Count: 2,
		Containers: []service.Container{{Name: "shop", Essential: true, CPU: 16, Memory: 64, Ports: []service.Port{{Container: 8080, Protocol: "tcp"}}, StopTimeout: 2 * time.Second}},
		Route: &service.Route{Listener: "web", Paths: []string{"/*"}, Port: 8080, Protocol: "HTTP", DeregistrationDelay: 5 * time.Second,
			Health: service.HealthCheck{Path: "/healthz", Matcher: "200", Interval: 5 * time.Second, Timeout: 2 * time.Second, Healthy: 2, Unhealthy: 2}},
		Logs:       service.Logs{Driver: "awslogs", Retention: 7},
		Deployment: service.Deployment{Strategy: "ROLLING", MinimumHealthy: 100, Maximum: 200, CircuitBreaker: true, Rollback: true, Timeout: 5 * time.Minute}}}
}
