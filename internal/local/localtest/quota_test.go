package localtest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"

	"github.com/slipway-ecs/slipway/internal/local"
	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

// The quota of vCPUs of Fargate holds for tasks and for services, the one of Spot is another, and once it is
// raised the services get what they lacked.
func TestFargateQuota(t *testing.T) {
	a := localtest.Start(t, localtest.Speed(60), func(c *local.Config) { c.FargateVCPUs = 1 })
	e, network := onFargate(t, a, 1)
	q, ctx, c := servicequotas.NewFromConfig(a.Config), t.Context(), aws.String("c")
	run := func(strategy ...types.CapacityProviderStrategyItem) *ecs.RunTaskOutput {
		in := &ecs.RunTaskInput{Cluster: c, TaskDefinition: aws.String("web"), NetworkConfiguration: network, CapacityProviderStrategy: strategy}
		if len(strategy) == 0 {
			in.LaunchType = "FARGATE"
		}
		return ok[ecs.RunTaskOutput](t)(e.RunTask(ctx, in))
	}
	const reached = "You've reached the limit on the number of vCPUs you can run concurrently"
	ok[ecs.CreateServiceOutput](t)(e.CreateService(ctx, &ecs.CreateServiceInput{Cluster: c, ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(3), LaunchType: "FARGATE", NetworkConfiguration: network}))
	web := func() types.Service {
		return ok[ecs.DescribeServicesOutput](t)(e.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: c, Services: []string{"web"}})).Services[0]
	}
	localtest.Eventually(t, "the service has its tasks", func() bool { return web().RunningCount == 3 })
	fourth := run()
	if len(fourth.Tasks) != 1 || len(fourth.Failures) != 0 {
		t.Fatalf("the fourth quarter of a vCPU: %+v", fourth.Failures)
	}
	if fifth := run(); len(fifth.Tasks) != 0 || len(fifth.Failures) != 1 || *fifth.Failures[0].Reason != reached {
		t.Errorf("the fifth: %d tasks, %+v", len(fifth.Tasks), fifth.Failures)
	}
	ok[ecs.PutClusterCapacityProvidersOutput](t)(e.PutClusterCapacityProviders(ctx, &ecs.PutClusterCapacityProvidersInput{Cluster: c, CapacityProviders: []string{"FARGATE_SPOT"}, DefaultCapacityProviderStrategy: []types.CapacityProviderStrategyItem{}}))
	if spot := run(types.CapacityProviderStrategyItem{CapacityProvider: aws.String("FARGATE_SPOT"), Weight: 1}); len(spot.Tasks) != 1 {
		t.Errorf("on Spot: %+v", spot.Failures)
	}

	ok[ecs.UpdateServiceOutput](t)(e.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: c, Service: aws.String("web"), DesiredCount: aws.Int32(5)}))
	localtest.Eventually(t, "the service says why it has too few", func() bool {
		for _, ev := range web().Events {
			if strings.Contains(*ev.Message, "(service web) was unable to place a task. Reason: "+reached) {
				return true
			}
		}
		return false
	})
	ok[ecs.StopTaskOutput](t)(e.StopTask(ctx, &ecs.StopTaskInput{Cluster: c, Task: fourth.Tasks[0].TaskArn}))
	localtest.Eventually(t, "what one task leaves another takes", func() bool { return web().RunningCount == 4 })

	get := func() float64 {
		out := ok[servicequotas.GetServiceQuotaOutput](t)(q.GetServiceQuota(ctx, &servicequotas.GetServiceQuotaInput{ServiceCode: aws.String("fargate"), QuotaCode: aws.String("L-3032A538")}))
		return *out.Quota.Value
	}
	same(t, "the quota", get(), 1.0)
	ask := func(n float64) (*servicequotas.RequestServiceQuotaIncreaseOutput, error) {
		return q.RequestServiceQuotaIncrease(ctx, &servicequotas.RequestServiceQuotaIncreaseInput{ServiceCode: aws.String("fargate"), QuotaCode: aws.String("L-3032A538"), DesiredValue: &n})
	}
	_, err := ask(1)
	refused(t, err, "IllegalArgumentException")
	asked := ok[servicequotas.RequestServiceQuotaIncreaseOutput](t)(ask(2))
	same(t, "the raised quota", get(), 2.0)
	localtest.Eventually(t, "the service has all its tasks", func() bool { return web().RunningCount == 5 })

	// As the AWS CLI has it.
	change := a.Must(t, "service-quotas", "get-requested-service-quota-change", "--request-id", *asked.RequestedQuota.Id)["RequestedQuota"].(map[string]any)
	same(t, "the request's status", change["Status"], any("APPROVED"))
	same(t, "changes", len(a.Must(t, "service-quotas", "list-requested-service-quota-change-history-by-quota", "--service-code", "fargate", "--quota-code", "L-3032A538")["RequestedQuotas"].([]any)), 1)
	same(t, "quotas", len(a.Must(t, "service-quotas", "list-service-quotas", "--service-code", "fargate")["Quotas"].([]any)), 2)
	same(t, "the default", a.Must(t, "service-quotas", "get-aws-default-service-quota", "--service-code", "fargate", "--quota-code", "L-3032A538")["Quota"].(map[string]any)["Value"], any(6.0))
	same(t, "services", len(a.Must(t, "service-quotas", "list-services")["Services"].([]any)), 1)
	_, err = q.GetServiceQuota(ctx, &servicequotas.GetServiceQuotaInput{ServiceCode: aws.String("fargate"), QuotaCode: aws.String("L-0")})
	refused(t, err, "NoSuchResourceException")

	m := ok[servicequotas.GetServiceQuotaOutput](t)(q.GetServiceQuota(ctx, &servicequotas.GetServiceQuotaInput{ServiceCode: aws.String("fargate"), QuotaCode: aws.String("L-3032A538")})).Quota.UsageMetric
	var dims []cwtypes.Dimension
	for k, v := range m.MetricDimensions {
		dims = append(dims, cwtypes.Dimension{Name: &k, Value: &v})
	}
	cw := cloudwatch.NewFromConfig(a.Config)
	localtest.Eventually(t, "CloudWatch knows what is taken", func() bool {
		out := ok[cloudwatch.GetMetricStatisticsOutput](t)(cw.GetMetricStatistics(ctx, &cloudwatch.GetMetricStatisticsInput{Namespace: m.MetricNamespace, MetricName: m.MetricName, Dimensions: dims,
			StartTime: aws.Time(time.Now().Add(-time.Hour)), EndTime: aws.Time(time.Now().Add(24 * time.Hour)), Period: aws.Int32(86400), Statistics: []cwtypes.Statistic{"Maximum"}}))
		return len(out.Datapoints) == 1 && *out.Datapoints[0].Maximum == 1.25
	})
}

// The account's quota of roles is kept, and told.
func TestRoleQuota(t *testing.T) {
	a := localtest.Start(t)
	c, ctx := iam.NewFromConfig(a.Config), t.Context()
	create := func(n int) error {
		_, err := c.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String(fmt.Sprint("r", n)), AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)})
		return err
	}
	summary := func() map[string]int32 {
		return ok[iam.GetAccountSummaryOutput](t)(c.GetAccountSummary(ctx, &iam.GetAccountSummaryInput{})).SummaryMap
	}
	there := int(summary()["Roles"])
	for n := there; n < 1000; n++ {
		if err := create(n); err != nil {
			t.Fatal(err)
		}
	}
	refused(t, create(1000), "LimitExceeded")
	same(t, "roles", summary()["Roles"], int32(1000))
	same(t, "their quota", a.Must(t, "iam", "get-account-summary")["SummaryMap"].(map[string]any)["RolesQuota"], any(1000.0))
}
