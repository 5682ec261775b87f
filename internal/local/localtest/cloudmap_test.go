package localtest_test

import (
	"context"
	"net"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

func TestCloudMapFindsTheTasksOfAService(t *testing.T) {
	a := localtest.Start(t, localtest.Speed(50))
	registerJob(t, a)
	// DiscoverInstances has a host name of its own, "data-…", which addresses of this machine have not.
	plain := func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("plain host", func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
			return next.HandleInitialize(smithyhttp.DisableEndpointHostPrefix(ctx, true), in)
		}), middleware.Before)
	}
	c, ec, ctx := servicediscovery.NewFromConfig(a.Config, func(o *servicediscovery.Options) { o.APIOptions = append(o.APIOptions, plain) }), ecs.NewFromConfig(a.Config), t.Context()
	op := ok[servicediscovery.CreatePrivateDnsNamespaceOutput](t)(c.CreatePrivateDnsNamespace(ctx, &servicediscovery.CreatePrivateDnsNamespaceInput{Name: aws.String("prod.test"), Vpc: aws.String("vpc-0510ca10000000000")}))
	done := ok[servicediscovery.GetOperationOutput](t)(c.GetOperation(ctx, &servicediscovery.GetOperationInput{OperationId: op.OperationId}))
	same(t, "operation", done.Operation.Status, sdtypes.OperationStatusSuccess)
	ns := done.Operation.Targets["NAMESPACE"]
	svc := ok[servicediscovery.CreateServiceOutput](t)(c.CreateService(ctx, &servicediscovery.CreateServiceInput{Name: aws.String("web"), NamespaceId: &ns,
		DnsConfig: &sdtypes.DnsConfig{DnsRecords: []sdtypes.DnsRecord{{Type: sdtypes.RecordTypeA, TTL: aws.Int64(10)}}}, HealthCheckCustomConfig: &sdtypes.HealthCheckCustomConfig{}})).Service
	ok[ecs.CreateServiceOutput](t)(ec.CreateService(ctx, &ecs.CreateServiceInput{Cluster: aws.String("prod"), ServiceName: aws.String("web"), TaskDefinition: aws.String("job"), DesiredCount: aws.Int32(2), LaunchType: ecstypes.LaunchTypeFargate,
		NetworkConfiguration: &ecstypes.NetworkConfiguration{AwsvpcConfiguration: &ecstypes.AwsVpcConfiguration{Subnets: []string{subnet}}}, ServiceRegistries: []ecstypes.ServiceRegistry{{RegistryArn: svc.Arn}}}))
	discover := func() []sdtypes.HttpInstanceSummary {
		return ok[servicediscovery.DiscoverInstancesOutput](t)(c.DiscoverInstances(ctx, &servicediscovery.DiscoverInstancesInput{NamespaceName: aws.String("prod.test"), ServiceName: aws.String("web")})).Instances
	}
	localtest.Eventually(t, "both tasks are found", func() bool { return len(discover()) == 2 })
	first := discover()[0]
	same(t, "its service", first.Attributes["ECS_SERVICE_NAME"], "web")

	// The names are answered for real, also as a program of this machine asks.
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, a.Local.DNS())
	}}
	addrs, err := resolver.LookupHost(ctx, "web.prod.test")
	if err != nil || len(addrs) != 2 {
		t.Errorf("web.prod.test is %v (%v)", addrs, err)
	}
	ok[servicediscovery.UpdateInstanceCustomHealthStatusOutput](t)(c.UpdateInstanceCustomHealthStatus(ctx, &servicediscovery.UpdateInstanceCustomHealthStatusInput{ServiceId: svc.Id, InstanceId: first.InstanceId, Status: sdtypes.CustomHealthStatusUnhealthy}))
	if addrs, err = resolver.LookupHost(ctx, "web.prod.test"); err != nil || len(addrs) != 1 {
		t.Errorf("with one unhealthy: %v (%v)", addrs, err)
	}
	ok[ecs.UpdateServiceOutput](t)(ec.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: aws.String("prod"), Service: aws.String("web"), DesiredCount: aws.Int32(0)}))
	localtest.Eventually(t, "stopped tasks are not found", func() bool { return len(discover()) == 0 })
	_, err = c.CreateService(ctx, &servicediscovery.CreateServiceInput{Name: aws.String("x"), NamespaceId: aws.String("ns-none")})
	refused(t, err, "NamespaceNotFound")
	if _, failure := a.CLI(t, "servicediscovery", "delete-namespace", "--id", ns); failure == "" {
		t.Error("a namespace with a service is deleted")
	}
}
