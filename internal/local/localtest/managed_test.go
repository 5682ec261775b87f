package localtest_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

// TestCapacityProvider takes a cluster from nothing to three machines and back, and moves its last task
// off a machine that goes: load, metric, group, placement, draining, on one clock.
func TestCapacityProvider(t *testing.T) {
	a := localtest.Start(t, localtest.Speed(200))
	f, ctx := newFleet(t, a, "hosts", 0, 6), t.Context()
	e, cw := ecs.NewFromConfig(a.Config), cloudwatch.NewFromConfig(a.Config)
	ok[ecs.CreateCapacityProviderOutput](t)(e.CreateCapacityProvider(ctx, &ecs.CreateCapacityProviderInput{Name: aws.String("cp"), AutoScalingGroupProvider: &types.AutoScalingGroupProvider{AutoScalingGroupArn: f.describe().AutoScalingGroupARN,
		ManagedTerminationProtection: "ENABLED", ManagedDraining: "ENABLED", ManagedScaling: &types.ManagedScaling{Status: "ENABLED", TargetCapacity: aws.Int32(100), InstanceWarmupPeriod: aws.Int32(60)}}}))
	strategy := []types.CapacityProviderStrategyItem{{CapacityProvider: aws.String("cp"), Weight: 1}}
	ok[ecs.PutClusterCapacityProvidersOutput](t)(e.PutClusterCapacityProviders(ctx, &ecs.PutClusterCapacityProvidersInput{Cluster: aws.String("c"), CapacityProviders: []string{"cp"}, DefaultCapacityProviderStrategy: strategy}))
	localtest.Eventually(t, "the hook and the policy of ECS", func() bool {
		hooks := ok[autoscaling.DescribeLifecycleHooksOutput](t)(f.as.DescribeLifecycleHooks(ctx, &autoscaling.DescribeLifecycleHooksInput{AutoScalingGroupName: &f.group}))
		policies := ok[autoscaling.DescribePoliciesOutput](t)(f.as.DescribePolicies(ctx, &autoscaling.DescribePoliciesInput{AutoScalingGroupName: &f.group}))
		return len(hooks.LifecycleHooks) == 1 && *hooks.LifecycleHooks[0].LifecycleHookName == "ecs-managed-draining-termination-hook" &&
			len(policies.ScalingPolicies) == 1 && strings.HasPrefix(*policies.ScalingPolicies[0].PolicyName, "ECSManagedAutoScalingPolicy-")
	})
	// Two of these fill an m5.large.
	ok[ecs.RegisterTaskDefinitionOutput](t)(e.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{Family: aws.String("web"), ContainerDefinitions: []types.ContainerDefinition{{Name: aws.String("app"), Image: aws.String("app"), Cpu: 1024, Memory: aws.Int32(256)}}}))
	ok[ecs.CreateServiceOutput](t)(e.CreateService(ctx, &ecs.CreateServiceInput{Cluster: aws.String("c"), ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(6), CapacityProviderStrategy: strategy}))
	running := func() int32 {
		return ok[ecs.DescribeServicesOutput](t)(e.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: aws.String("c"), Services: []string{"web"}})).Services[0].RunningCount
	}
	began := time.Now()
	localtest.Eventually(t, "six tasks run", func() bool { return running() == 6 })
	same(t, "machines for six tasks", len(f.in("InService")), 3)
	activities := ok[autoscaling.DescribeScalingActivitiesOutput](t)(f.as.DescribeScalingActivities(ctx, &autoscaling.DescribeScalingActivitiesInput{AutoScalingGroupName: &f.group}))
	var causes []string
	for _, x := range activities.Activities {
		causes = append(causes, str(x.Cause))
	}
	all := strings.Join(causes, "\n")
	contains(t, "the first step from zero", all, "changing the desired capacity from 0 to 2")
	contains(t, "the second", all, "changing the desired capacity from 2 to 3")
	values := func() []float64 {
		at := time.Now().Add(time.Since(began) * 200)
		out := ok[cloudwatch.GetMetricDataOutput](t)(cw.GetMetricData(ctx, &cloudwatch.GetMetricDataInput{StartTime: aws.Time(began.Add(-time.Hour)), EndTime: aws.Time(at.Add(24 * time.Hour)), ScanBy: "TimestampAscending", MetricDataQueries: []cwtypes.MetricDataQuery{{Id: aws.String("m"),
			MetricStat: &cwtypes.MetricStat{Stat: aws.String("Average"), Period: aws.Int32(60), Metric: &cwtypes.Metric{Namespace: aws.String("AWS/ECS/ManagedScaling"), MetricName: aws.String("CapacityProviderReservation"),
				Dimensions: []cwtypes.Dimension{{Name: aws.String("CapacityProviderName"), Value: aws.String("cp")}, {Name: aws.String("ClusterName"), Value: aws.String("c")}}}}}}}))
		return out.MetricDataResults[0].Values
	}
	localtest.Eventually(t, "the metric is at its target", func() bool { v := values(); return len(v) > 0 && v[len(v)-1] == 100 })
	for _, want := range []float64{200, 150} {
		if !slices.Contains(values(), want) {
			t.Errorf("the metric was never %v: %v", want, values())
		}
	}
	for _, i := range f.describe().Instances {
		if !aws.ToBool(i.ProtectedFromScaleIn) {
			t.Errorf("%s has tasks and no protection", *i.InstanceId)
		}
	}

	// Down to one task: after fifteen minutes the machines without a task go, one a step.
	ok[ecs.UpdateServiceOutput](t)(e.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: aws.String("c"), Service: aws.String("web"), DesiredCount: aws.Int32(1)}))
	localtest.Eventually(t, "one machine is left", func() bool { return len(f.describe().Instances) == 1 })
	same(t, "the task goes on", running(), 1)
	if v := values(); !slices.Contains(v, 50) {
		t.Errorf("the metric was never 50: %v", v)
	}

	// The last machine is taken away: its task moves to the next one first.
	last := f.in("InService")[0]
	ok[autoscaling.TerminateInstanceInAutoScalingGroupOutput](t)(f.as.TerminateInstanceInAutoScalingGroup(ctx, &autoscaling.TerminateInstanceInAutoScalingGroupInput{InstanceId: &last, ShouldDecrementDesiredCapacity: aws.Bool(false)}))
	localtest.Eventually(t, "the machine is replaced", func() bool {
		if running() < 1 {
			t.Fatal("the task stopped before its replacement ran")
		}
		in := f.describe().Instances
		return len(in) == 1 && *in[0].InstanceId != last
	})
}

func TestGroupPolicies(t *testing.T) {
	a := localtest.Start(t, localtest.Speed(100))
	f, ctx := newFleet(t, a, "hosts", 1, 8), t.Context()
	put := func(in *autoscaling.PutScalingPolicyInput) (*autoscaling.PutScalingPolicyOutput, error) {
		in.AutoScalingGroupName = &f.group
		return f.as.PutScalingPolicy(ctx, in)
	}
	_, err := put(&autoscaling.PutScalingPolicyInput{PolicyName: aws.String("x"), PolicyType: aws.String("StepScaling"), AdjustmentType: aws.String("ChangeInCapacity")})
	refused(t, err, "ValidationError")
	simple := ok[autoscaling.PutScalingPolicyOutput](t)(put(&autoscaling.PutScalingPolicyInput{PolicyName: aws.String("two-more"), AdjustmentType: aws.String("ChangeInCapacity"), ScalingAdjustment: aws.Int32(2), Cooldown: aws.Int32(7200)}))
	execute := func(cooldown bool) error {
		_, err := f.as.ExecutePolicy(ctx, &autoscaling.ExecutePolicyInput{AutoScalingGroupName: &f.group, PolicyName: aws.String("two-more"), HonorCooldown: &cooldown})
		return err
	}
	if err := execute(true); err != nil {
		t.Fatal(err)
	}
	same(t, "desired", *f.describe().DesiredCapacity, 3)
	_ = execute(true) // within the cooldown: nothing happens
	same(t, "desired within the cooldown", *f.describe().DesiredCapacity, 3)
	_ = execute(false)
	same(t, "desired without the cooldown", *f.describe().DesiredCapacity, 5)
	_, err = f.as.ExecutePolicy(ctx, &autoscaling.ExecutePolicyInput{AutoScalingGroupName: &f.group, PolicyName: aws.String("none")})
	refused(t, err, "ValidationError")

	// An alarm that names the policy runs it.
	exact := ok[autoscaling.PutScalingPolicyOutput](t)(put(&autoscaling.PutScalingPolicyInput{PolicyName: aws.String("calm"), AdjustmentType: aws.String("ExactCapacity"), ScalingAdjustment: aws.Int32(2), Cooldown: aws.Int32(1)}))
	cw := cloudwatch.NewFromConfig(a.Config)
	ok[cloudwatch.PutMetricAlarmOutput](t)(cw.PutMetricAlarm(ctx, &cloudwatch.PutMetricAlarmInput{AlarmName: aws.String("idle"), Namespace: aws.String("App"), MetricName: aws.String("Load"), Statistic: "Average", Period: aws.Int32(60), EvaluationPeriods: aws.Int32(1),
		Threshold: aws.Float64(1), ComparisonOperator: "LessThanThreshold", AlarmActions: []string{*exact.PolicyARN}}))
	localtest.Eventually(t, "the alarm runs the policy", func() bool {
		ok[cloudwatch.PutMetricDataOutput](t)(cw.PutMetricData(ctx, &cloudwatch.PutMetricDataInput{Namespace: aws.String("App"), MetricData: []cwtypes.MetricDatum{{MetricName: aws.String("Load"), Value: aws.Float64(0)}}}))
		return *f.describe().DesiredCapacity == 2
	})
	ok[autoscaling.DeletePolicyOutput](t)(f.as.DeletePolicy(ctx, &autoscaling.DeletePolicyInput{PolicyName: simple.PolicyARN}))
	left := ok[autoscaling.DescribePoliciesOutput](t)(f.as.DescribePolicies(ctx, &autoscaling.DescribePoliciesInput{AutoScalingGroupName: &f.group}))
	same(t, "policies left", len(left.ScalingPolicies), 1)
}
