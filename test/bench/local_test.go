// Package bench measures Slipway beside its peers, in the same run on the same machine.
//
//	make bench-local
package bench

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/local"
	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

// server is an emulator in a process of its own.
type server struct {
	addr string
	pid  int                  // 0: this process
	cpu  func() time.Duration // what the process has used so far, user and system; nil: not known
}

// servers are the emulators that are here: the local AWS, with its state on disk, and moto. With
// SLIPWAY_BENCH_ALONE set it is the local AWS only, in this process, for a profile of it.
func servers(b *testing.B) map[string]server {
	if os.Getenv("SLIPWAY_BENCH_ALONE") != "" {
		local.Roomy()
		return map[string]server{"slipway": {addr: strings.TrimPrefix(localtest.Start(b, localtest.Dir(b.TempDir())).Endpoint, "http://")}}
	}
	out := map[string]server{"slipway": slipway(b)}
	path, err := exec.LookPath("moto_server")
	if err != nil {
		b.Log("moto_server is not here: no peer to compare with")
		return out
	}
	out["moto"] = serve(b, path, func(port string) []string { return []string{"-H", "127.0.0.1", "-p", port} })
	return out
}

// slipway is a local AWS whose tasks are virtual, built now.
func slipway(b *testing.B) server {
	b.Helper()
	binary := filepath.Join(b.TempDir(), "slipway")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/slipway").CombinedOutput(); err != nil {
		b.Fatalf("building slipway: %v\n%s", err, out)
	}
	return serve(b, binary, func(port string) []string {
		return []string{"local", "up", "--foreground", "--runtime", "virtual", "--dir", b.TempDir(), "--port", port}
	})
}

// serve starts a program that listens on a free port, and waits until it answers.
func serve(b *testing.B, program string, args func(port string) []string) server {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(program, args(port)...)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		late := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		late.Stop()
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if resp, err := http.Get("http://" + addr); err == nil {
			_ = resp.Body.Close()
			return server{addr, cmd.Process.Pid, func() time.Duration { return used(b, cmd.Process.Pid) }}
		}
		if time.Now().After(deadline) {
			b.Fatalf("%s did not start", program)
		}
	}
}

// used is the CPU time of a process and of those it has waited for; the kernel tells it in hundredths of a second.
func used(b *testing.B, pid int) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Skip("there is no /proc")
	}
	// The name, in parentheses, may hold anything. utime is the 14th field, of which two come before.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	ticks := 0
	for _, f := range fields[11:15] {
		n, err := strconv.Atoi(f)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

func client(endpoint string) *ecs.Client {
	return ecs.New(ecs.Options{Region: "us-east-1", BaseEndpoint: aws.String(endpoint), Credentials: credentials.NewStaticCredentialsProvider("x", "y", ""),
		HTTPClient: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}})
}

// calls are those deployments are made of, with what is sent; %d counts.
type call struct{ operation, body string }

var calls = []call{
	{"RegisterTaskDefinition", `{"family":"family-%d","containerDefinitions":[{"name":"web","image":"web:1","cpu":256,"memory":512,"essential":true,"portMappings":[{"containerPort":80}],"environment":[{"name":"A","value":"B"}]}]}`},
	{"DescribeServices", `{"cluster":"bench","services":["web"]}`},
	{"RunTask", `{"cluster":"bench","taskDefinition":"small"}`},
	{"ListTasks", `{"cluster":"bench"}`}, // those just run: a page of a hundred
}

// connections is how many calls are made at a time: Terraform's own default.
const connections = 10

// The calls deployments are made of, as many at a time as Terraform makes. What is asked of both is the same: a service of the
// bridge network, as moto makes none in awsvpc mode, and tasks on container instances.
func BenchmarkECS(b *testing.B) {
	found := servers(b)
	for _, s := range found {
		prepare(b, "http://"+s.addr)
	}
	measure := func(what string, mix []call) {
		for _, name := range slices.Sorted(maps.Keys(found)) {
			b.Run(what+"/"+name, func(b *testing.B) {
				var n atomic.Int64
				s, before := found[name], time.Duration(0)
				if s.cpu != nil {
					before = s.cpu()
				}
				b.SetParallelism(max(1, connections/runtime.GOMAXPROCS(0)))
				b.RunParallel(func(pb *testing.PB) {
					c := &caller{addr: s.addr}
					defer c.close()
					for pb.Next() {
						k := int(n.Add(1))
						x := mix[k%len(mix)]
						body := x.body
						if strings.Contains(body, "%d") {
							body = fmt.Sprintf(body, k%1000)
						}
						if err := c.call(x.operation, body); err != nil {
							b.Error(err)
							return
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
				if s.cpu != nil {
					// Whatever else goes on on the machine. Work that is put off is counted too, but for the last of it.
					b.ReportMetric(float64((s.cpu()-before).Microseconds())/float64(b.N), "cpu-µs/req")
				}
			})
		}
	}
	measure("EachInTurn", calls) // while neither has thousands of tasks
	for _, x := range calls {
		measure(x.operation, []call{x})
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
