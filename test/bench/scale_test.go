package bench

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

// BenchmarkScale fills 5,000 container instances with 100,000 virtual tasks of 20 services, in one
// process, and asks about a service of 5,000 tasks. Fewer with SLIPWAY_BENCH_INSTANCES.
//
//	make bench-scale
func BenchmarkScale(b *testing.B) {
	instances := 5000
	if n, err := strconv.Atoi(os.Getenv("SLIPWAY_BENCH_INSTANCES")); err == nil {
		instances = n
	}
	const services = 20
	up := slipway(b)
	c, ctx := client("http://"+up.addr), b.Context()
	must(b)(c.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: aws.String("big")}))
	began := time.Now()
	resource := func(name string, n int32) types.Resource {
		return types.Resource{Name: &name, Type: aws.String("INTEGER"), IntegerValue: n}
	}
	for i := range instances {
		zone := string(rune('a' + i%3))
		must(b)(c.RegisterContainerInstance(ctx, &ecs.RegisterContainerInstanceInput{Cluster: aws.String("big"), TotalResources: []types.Resource{resource("CPU", 8192), resource("MEMORY", 16384)},
			InstanceIdentityDocument: aws.String(fmt.Sprintf(`{"instanceId":"i-%017x","instanceType":"m5.2xlarge","availabilityZone":"us-east-1%s","privateIp":"10.0.%d.%d"}`, i, zone, i/250, i%250))}))
	}
	b.Logf("%d instances after %v", instances, time.Since(began).Round(time.Millisecond))
	must(b)(c.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{Family: aws.String("web"), ContainerDefinitions: []types.ContainerDefinition{{Name: aws.String("app"), Image: aws.String("app"), Cpu: 256, Memory: aws.Int32(512), PortMappings: []types.PortMapping{{ContainerPort: aws.Int32(80)}}}}}))
	began = time.Now()
	for i := range services {
		must(b)(c.CreateService(ctx, &ecs.CreateServiceInput{Cluster: aws.String("big"), ServiceName: aws.String(fmt.Sprintf("s%d", i)), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(int32(instances))}))
	}
	stable := 0 // deployments that have completed
	running := func() (n int32) {
		stable = 0
		for i := 0; i < services; i += 10 {
			var names []string
			for k := i; k < i+10; k++ {
				names = append(names, fmt.Sprintf("s%d", k))
			}
			out, err := c.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: aws.String("big"), Services: names})
			if err != nil {
				b.Fatal(err)
			}
			for _, s := range out.Services {
				n += s.RunningCount
				if len(s.Deployments) == 1 && s.Deployments[0].RolloutState == types.DeploymentRolloutStateCompleted {
					stable++
				}
			}
		}
		return n
	}
	for deadline := time.Now().Add(20 * time.Minute); running() < int32(instances*services); time.Sleep(500 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("only %d tasks run", running())
		}
	}
	b.Logf("%d tasks run after %v", instances*services, time.Since(began).Round(time.Millisecond))
	for deadline := time.Now().Add(10 * time.Minute); running() > 0 && stable < services; time.Sleep(500 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("only %d deployments are complete", stable)
		}
	}
	b.Logf("all deployments complete after %v", time.Since(began).Round(time.Millisecond))
	b.ReportMetric(memory(b, up.pid, "VmRSS"), "MiB")
	// Others may use the machine. So the same is asked of a server that answers at once without looking at
	// anything, in turn, and of five rounds that in the middle counts.
	bare := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		_, _ = io.WriteString(w, `{"services":[],"failures":[]}`)
	}))
	defer bare.Close()
	asked := map[string]*caller{"": {addr: up.addr}, "bare-": {addr: strings.TrimPrefix(bare.URL, "http://")}}
	middle, late := map[string][]float64{}, map[string][]float64{}
	for range 5 {
		took := map[string][]time.Duration{}
		for range 1000 {
			for name, c := range asked {
				at := time.Now()
				if err := c.call("DescribeServices", `{"cluster":"big","services":["s7"]}`); err != nil {
					b.Fatal(err)
				}
				took[name] = append(took[name], time.Since(at))
			}
		}
		for name, t := range took {
			slices.Sort(t)
			middle[name] = append(middle[name], float64(t[len(t)/2].Microseconds())/1000)
			late[name] = append(late[name], float64(t[len(t)*99/100].Microseconds())/1000)
		}
	}
	for name, c := range asked {
		c.close()
		slices.Sort(middle[name])
		slices.Sort(late[name])
		b.ReportMetric(middle[name][2], name+"p50-ms")
		b.ReportMetric(late[name][2], name+"p99-ms")
	}
	b.ReportMetric(memory(b, up.pid, "VmHWM"), "peak-MiB")
	b.ReportMetric(0, "ns/op")
}

func must(b *testing.B) func(any, error) {
	return func(_ any, err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
}

// memory is what a process takes of the machine's memory, MiB.
func memory(b *testing.B, pid int, what string) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Skip("there is no /proc")
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, what+":"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			if err != nil {
				b.Fatal(err)
			}
			return kib / 1024
		}
	}
	b.Fatalf("no %s of process %d in /proc", what, pid)
	return 0
}

// BenchmarkStart starts a local AWS with an empty state, in memory and on disk, and stops it.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		localtest.Start(b, localtest.Dir(b.TempDir())).Stop()
	}
}
