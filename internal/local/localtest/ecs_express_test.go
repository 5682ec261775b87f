package localtest_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/applicationautoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"

	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

func TestExpressService(t *testing.T) {
	a := localtest.Start(t, localtest.Speed(100))
	e, lb, ctx := ecs.NewFromConfig(a.Config), elb.NewFromConfig(a.Config), t.Context()
	_, err := e.CreateExpressGatewayService(ctx, &ecs.CreateExpressGatewayServiceInput{Cluster: aws.String("none"), ExecutionRoleArn: aws.String("arn:aws:iam::000000000000:role/x"), InfrastructureRoleArn: aws.String("arn:aws:iam::000000000000:role/i"), PrimaryContainer: &types.ExpressGatewayContainer{Image: aws.String("web")}})
	refused(t, err, "ClusterNotFoundException")
	ok[ecs.CreateClusterOutput](t)(e.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: aws.String("default")}))
	made := a.Must(t, "ecs", "create-express-gateway-service", "--service-name", "hello", "--execution-role-arn", "arn:aws:iam::000000000000:role/x", "--infrastructure-role-arn", "arn:aws:iam::000000000000:role/i",
		"--primary-container", `{"image":"web:1","containerPort":8080}`, "--scaling-target", `{"minTaskCount":2,"maxTaskCount":4}`)["service"].(map[string]any)
	arn := made["serviceArn"].(string)
	describe := func() *types.ECSExpressGatewayService {
		return ok[ecs.DescribeExpressGatewayServiceOutput](t)(e.DescribeExpressGatewayService(ctx, &ecs.DescribeExpressGatewayServiceInput{ServiceArn: &arn})).Service
	}
	balancers := func() int {
		return len(ok[elb.DescribeLoadBalancersOutput](t)(lb.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{})).LoadBalancers)
	}
	same(t, "balancers", balancers(), 1)
	x := describe()
	same(t, "status", x.Status.StatusCode, types.ExpressGatewayServiceStatusCodeActive)
	same(t, "configurations", len(x.ActiveConfigurations), 1)
	contains(t, "endpoint", str(x.ActiveConfigurations[0].IngressPaths[0].Endpoint), "http://127.66.")
	same(t, "default cpu", str(x.ActiveConfigurations[0].Cpu), "256")
	s := ok[ecs.DescribeServicesOutput](t)(e.DescribeServices(ctx, &ecs.DescribeServicesInput{Services: []string{"hello"}})).Services[0]
	same(t, "desired", s.DesiredCount, 2)
	policies := ok[applicationautoscaling.DescribeScalingPoliciesOutput](t)(applicationautoscaling.NewFromConfig(a.Config).DescribeScalingPolicies(ctx, &applicationautoscaling.DescribeScalingPoliciesInput{ServiceNamespace: "ecs"}))
	same(t, "policies", len(policies.ScalingPolicies), 1)

	up := ok[ecs.UpdateExpressGatewayServiceOutput](t)(e.UpdateExpressGatewayService(ctx, &ecs.UpdateExpressGatewayServiceInput{ServiceArn: &arn, HealthCheckPath: aws.String("/health"), PrimaryContainer: &types.ExpressGatewayContainer{Image: aws.String("web:2"), ContainerPort: aws.Int32(8080)}}))
	same(t, "image", str(up.Service.TargetConfiguration.PrimaryContainer.Image), "web:2")
	same(t, "memory stays", str(up.Service.TargetConfiguration.Memory), "512")
	same(t, "both revisions are active", len(describe().ActiveConfigurations), 2)
	groups := ok[elb.DescribeTargetGroupsOutput](t)(lb.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{}))
	same(t, "health check", str(groups.TargetGroups[0].HealthCheckPath), "/health")

	ok[ecs.DeleteExpressGatewayServiceOutput](t)(e.DeleteExpressGatewayService(ctx, &ecs.DeleteExpressGatewayServiceInput{ServiceArn: &arn}))
	localtest.Eventually(t, "all of it is gone", func() bool { return describe().Status.StatusCode == "INACTIVE" && balancers() == 0 })
	_, err = e.UpdateExpressGatewayService(ctx, &ecs.UpdateExpressGatewayServiceInput{ServiceArn: &arn})
	refused(t, err, "ServiceNotActiveException")
}
