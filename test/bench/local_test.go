// Package bench measures Slipway beside its peers, in the same run on the same machine.
//
//	make bench-local
package bench

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os/exec"
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

// The calls deployments are made of, four at a time.
func BenchmarkECS(b *testing.B) {
	for name, endpoint := range servers(b) {
		c, subnet := client(endpoint), subnetOf(b, endpoint)
		network := &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: []string{subnet}}}
		prepare(b, c)
		var n atomic.Int64
		for call, f := range map[string]func(ctx context.Context) error{
			"RegisterTaskDefinition": func(ctx context.Context) error {
				_, err := c.RegisterTaskDefinition(ctx, definition(fmt.Sprintf("family-%d", n.Add(1)%1000)))
				return err
			},
			"RunTask": func(ctx context.Context) error {
				_, err := c.RunTask(ctx, &ecs.RunTaskInput{Cluster: aws.String("bench"), TaskDefinition: aws.String("web"), LaunchType: types.LaunchTypeFargate, NetworkConfiguration: network})
				return err
			},
			"DescribeServices": func(ctx context.Context) error {
				_, err := c.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: aws.String("bench"), Services: []string{"web"}})
				return err
			},
			"ListTasks": func(ctx context.Context) error {
				_, err := c.ListTasks(ctx, &ecs.ListTasksInput{Cluster: aws.String("bench")})
				return err
			},
		} {
			if name == "moto" && call == "RunTask" {
				continue // it answers 500 to a task in awsvpc mode
			}
			b.Run(call+"/"+name, func(b *testing.B) {
				b.SetParallelism(2)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := f(b.Context()); err != nil {
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

func definition(family string) *ecs.RegisterTaskDefinitionInput {
	return &ecs.RegisterTaskDefinitionInput{Family: &family, RequiresCompatibilities: []types.Compatibility{types.CompatibilityFargate}, NetworkMode: types.NetworkModeAwsvpc, Cpu: aws.String("256"), Memory: aws.String("512"),
		ContainerDefinitions: []types.ContainerDefinition{{Name: aws.String("web"), Image: aws.String("web:1"), Essential: aws.Bool(true), PortMappings: []types.PortMapping{{ContainerPort: aws.Int32(80)}},
			Environment: []types.KeyValuePair{{Name: aws.String("A"), Value: aws.String("B")}}}}}
}

// subnetOf is a subnet of the default VPC.
func subnetOf(b *testing.B, endpoint string) string {
	b.Helper()
	c := ec2.New(ec2.Options{Region: "us-east-1", BaseEndpoint: aws.String(endpoint), Credentials: credentials.NewStaticCredentialsProvider("x", "y", "")})
	out, err := c.DescribeSubnets(b.Context(), nil)
	if err != nil || len(out.Subnets) == 0 {
		b.Fatalf("there is no subnet: %v", err)
	}
	return *out.Subnets[0].SubnetId
}

func prepare(b *testing.B, c *ecs.Client) {
	b.Helper()
	ctx := b.Context()
	if _, err := c.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: aws.String("bench")}); err != nil {
		b.Fatal(err)
	}
	if _, err := c.RegisterTaskDefinition(ctx, definition("web")); err != nil {
		b.Fatal(err)
	}
	bridge := definition("bridged") // moto cannot create an awsvpc service
	bridge.RequiresCompatibilities, bridge.NetworkMode = nil, types.NetworkModeBridge
	if _, err := c.RegisterTaskDefinition(ctx, bridge); err != nil {
		b.Fatal(err)
	}
	if _, err := c.CreateService(ctx, &ecs.CreateServiceInput{Cluster: aws.String("bench"), ServiceName: aws.String("web"), TaskDefinition: aws.String("bridged"), DesiredCount: aws.Int32(0), LaunchType: types.LaunchTypeEc2}); err != nil {
		b.Fatal(err)
	}
}
