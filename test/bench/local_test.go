// Package bench measures Slipway beside its peers, in the same run on the same machine.
//
//	make bench-local
package bench

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

// servers are the emulators that are here: the local AWS, with its state on disk, and moto.
func servers(b *testing.B) map[string]string {
	out := map[string]string{"slipway": localtest.Start(b, localtest.Dir(b.TempDir())).Endpoint}
	if os.Getenv("SLIPWAY_BENCH_ALONE") != "" {
		return out
	}
	path, err := exec.LookPath("moto_server")
	if err != nil {
		b.Log("moto_server is not here: no peer to compare with")
		return out
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(path, "-H", "127.0.0.1", "-p", port)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if resp, err := http.Get("http://" + addr); err == nil {
			_ = resp.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			b.Fatal("moto_server did not start")
		}
	}
	out["moto"] = "http://" + addr
	return out
}

func client(endpoint string) *ecs.Client {
	return ecs.New(ecs.Options{Region: "us-east-1", BaseEndpoint: aws.String(endpoint), Credentials: credentials.NewStaticCredentialsProvider("x", "y", ""),
		HTTPClient: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}})
}

// calls are those deployments are made of, with what is sent; %d counts.
var calls = []struct{ operation, body string }{
	{"RegisterTaskDefinition", `{"family":"family-%d","containerDefinitions":[{"name":"web","image":"web:1","cpu":256,"memory":512,"essential":true,"portMappings":[{"containerPort":80}],"environment":[{"name":"A","value":"B"}]}]}`},
	{"DescribeServices", `{"cluster":"bench","services":["web"]}`},
	{"RunTask", `{"cluster":"bench","taskDefinition":"small"}`},
	{"ListTasks", `{"cluster":"bench"}`}, // those just run: a page of a hundred
}

// The calls deployments are made of, four at a time. What is asked of both is the same: a service of the
// bridge network, as moto makes none in awsvpc mode, and tasks on container instances.
func BenchmarkECS(b *testing.B) {
	found := servers(b)
	for name, endpoint := range found {
		prepare(b, endpoint)
		found[name] = strings.TrimPrefix(endpoint, "http://")
	}
	for _, x := range calls {
		for _, name := range slices.Sorted(maps.Keys(found)) {
			b.Run(x.operation+"/"+name, func(b *testing.B) {
				var n atomic.Int64
				b.SetParallelism(2)
				b.RunParallel(func(pb *testing.PB) {
					c := &caller{addr: found[name]}
					defer c.close()
					for pb.Next() {
						body := x.body
						if strings.Contains(body, "%d") {
							body = fmt.Sprintf(body, n.Add(1)%1000)
						}
						if err := c.call(x.operation, body); err != nil {
							b.Error(err)
							return
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
			})
		}
	}
}

const benchInstances = 100

// prepare makes a cluster of instances, an empty service, and a task definition of which thousands find
// room. moto's instances all have 7,482 MiB.
func prepare(b *testing.B, endpoint string) {
	b.Helper()
	c, ctx := client(endpoint), b.Context()
	must(b)(c.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: aws.String("bench")}))
	machines := ec2.New(ec2.Options{Region: "us-east-1", BaseEndpoint: aws.String(endpoint), Credentials: credentials.NewStaticCredentialsProvider("x", "y", "")})
	images, err := machines.DescribeImages(ctx, nil)
	if err != nil || len(images.Images) == 0 {
		b.Fatalf("there is no machine image: %v", err)
	}
	run, err := machines.RunInstances(ctx, &ec2.RunInstancesInput{ImageId: images.Images[0].ImageId, InstanceType: "m7i.2xlarge", MinCount: aws.Int32(benchInstances), MaxCount: aws.Int32(benchInstances)})
	if err != nil {
		b.Fatal(err)
	}
	for _, i := range run.Instances {
		must(b)(c.RegisterContainerInstance(ctx, &ecs.RegisterContainerInstanceInput{Cluster: aws.String("bench"), InstanceIdentityDocument: aws.String(`{"instanceId":"` + *i.InstanceId + `","instanceType":"m7i.2xlarge"}`),
			TotalResources: []types.Resource{{Name: aws.String("CPU"), Type: aws.String("INTEGER"), IntegerValue: 4096}, {Name: aws.String("MEMORY"), Type: aws.String("INTEGER"), IntegerValue: 7482}}}))
	}
	define := func(family string, memory int32) {
		must(b)(c.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{Family: &family, ContainerDefinitions: []types.ContainerDefinition{{Name: aws.String("web"), Image: aws.String("web:1"), Memory: &memory, Essential: aws.Bool(true)}}}))
	}
	define("web", 512)
	define("small", 4)
	must(b)(c.CreateService(ctx, &ecs.CreateServiceInput{Cluster: aws.String("bench"), ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(0), LaunchType: types.LaunchTypeEc2}))
}
