//go:build linux

package sandbox_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"

	"github.com/slipway-ecs/slipway/internal/local/localtest"
	"github.com/slipway-ecs/slipway/internal/local/runtime/contract"
)

// A task calls another service by the name and port that Service Connect gives it, and one by its name in
// Cloud Map; a task without Service Connect does not know the first.
func TestTasksCallEachOtherByName(t *testing.T) {
	open(t) // skips where it does not work
	image := contract.Image(t)
	a := localtest.Start(t, localtest.Runtime("sandbox"), localtest.Speed(10))
	e, sd, ctx := ecs.NewFromConfig(a.Config), servicediscovery.NewFromConfig(a.Config), t.Context()
	call := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	op, err := sd.CreatePrivateDnsNamespace(ctx, &servicediscovery.CreatePrivateDnsNamespaceInput{Name: aws.String("shop.test"), Vpc: aws.String("vpc-0510ca10000000000")})
	call(err)
	done, err := sd.GetOperation(ctx, &servicediscovery.GetOperationInput{OperationId: op.OperationId})
	call(err)
	namespace := "arn:aws:servicediscovery:us-east-1:000000000000:namespace/" + done.Operation.Targets["NAMESPACE"]
	_, err = e.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: aws.String("c"), ServiceConnectDefaults: &types.ClusterServiceConnectDefaultsRequest{Namespace: &namespace}})
	call(err)
	logs := &types.LogConfiguration{LogDriver: "awslogs", Options: map[string]string{"awslogs-group": "g", "awslogs-create-group": "true", "awslogs-stream-prefix": "s"}}
	register := func(family string, containers ...types.ContainerDefinition) {
		t.Helper()
		_, err := e.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{Family: &family, ExecutionRoleArn: aws.String("arn:aws:iam::000000000000:role/x"), RequiresCompatibilities: []types.Compatibility{"FARGATE"}, NetworkMode: "awsvpc", Cpu: aws.String("256"), Memory: aws.String("512"), ContainerDefinitions: containers})
		call(err)
	}
	serve := types.ContainerDefinition{Name: aws.String("app"), Image: &image, Command: []string{"serve"}, Environment: []types.KeyValuePair{{Name: aws.String("ANSWER"), Value: aws.String("I-am-cart")}},
		PortMappings: []types.PortMapping{{ContainerPort: aws.Int32(8080), Name: aws.String("http"), AppProtocol: "http"}}}
	register("cart", serve)
	fetch := []types.ContainerDefinition{{Name: aws.String("app"), Image: &image, Command: []string{"serve"}}}
	for name, url := range map[string]string{"alias": "http://cart/", "full": "http://cart.shop.test:8088/"} {
		fetch = append(fetch, types.ContainerDefinition{Name: &name, Image: &image, Command: []string{"fetch", url}, Essential: aws.Bool(false), LogConfiguration: logs})
	}
	register("web", fetch...)
	subnets := a.Must(t, "ec2", "describe-subnets")["Subnets"].([]any)
	network := &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: []string{subnets[0].(map[string]any)["SubnetId"].(string)}}}
	service := func(name, definition string, c *types.ServiceConnectConfiguration, count int32) {
		t.Helper()
		_, err := e.CreateService(ctx, &ecs.CreateServiceInput{Cluster: aws.String("c"), ServiceName: &name, TaskDefinition: &definition, DesiredCount: &count, LaunchType: "FARGATE", NetworkConfiguration: network, ServiceConnectConfiguration: c})
		call(err)
		localtest.Eventually(t, name+" runs", func() bool {
			out, err := e.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: aws.String("c"), Services: []string{name}})
			return err == nil && len(out.Services) == 1 && out.Services[0].RunningCount == count
		})
	}
	service("cart", "cart", &types.ServiceConnectConfiguration{Enabled: true, Services: []types.ServiceConnectService{{PortName: aws.String("http"), DiscoveryName: aws.String("cart"),
		ClientAliases: []types.ServiceConnectClientAlias{{Port: aws.Int32(80), DnsName: aws.String("cart")}, {Port: aws.Int32(8088)}}}}}, 2)
	service("web", "web", &types.ServiceConnectConfiguration{Enabled: true}, 1)
	service("other", "web", nil, 1)
	said := func(service, container string) string {
		t.Helper()
		tasks, err := e.ListTasks(ctx, &ecs.ListTasksInput{Cluster: aws.String("c"), ServiceName: &service})
		call(err)
		arn := tasks.TaskArns[0]
		c, text := cloudwatchlogs.NewFromConfig(a.Config), ""
		localtest.Eventually(t, container+" of "+service+" says something", func() bool {
			got, err := c.GetLogEvents(ctx, &cloudwatchlogs.GetLogEventsInput{LogGroupName: aws.String("g"), LogStreamName: aws.String("s/" + container + "/" + arn[strings.LastIndex(arn, "/")+1:])})
			if err != nil || len(got.Events) == 0 {
				return false
			}
			text = *got.Events[0].Message
			return true
		})
		return text
	}
	for _, name := range []string{"alias", "full"} {
		if got := said("web", name); !strings.HasPrefix(got, "I-am-cart ") {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := said("other", "alias"); strings.HasPrefix(got, "I-am-cart ") {
		t.Errorf("a task without Service Connect knows its names: %s", got)
	}
}
