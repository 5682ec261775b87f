package localtest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	aas "github.com/aws/aws-sdk-go-v2/service/applicationautoscaling"
	"github.com/aws/aws-sdk-go-v2/service/applicationautoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

func TestMetrics(t *testing.T) {
	a := localtest.Start(t)
	c, ctx := cloudwatch.NewFromConfig(a.Config), t.Context()
	// An hour's edge, so that five minutes fall into one period.
	base := time.Now().UTC().Truncate(time.Hour).Add(-time.Hour)
	dims := []cwtypes.Dimension{{Name: aws.String("Queue"), Value: aws.String("q")}}
	for i := range 10 {
		ok[cloudwatch.PutMetricDataOutput](t)(c.PutMetricData(ctx, &cloudwatch.PutMetricDataInput{Namespace: aws.String("App"), MetricData: []cwtypes.MetricDatum{
			{MetricName: aws.String("Depth"), Dimensions: dims, Timestamp: aws.Time(base.Add(time.Duration(i) * time.Minute)), Value: aws.Float64(float64(i)), Unit: "Count"}}}))
	}
	_, err := c.PutMetricData(ctx, &cloudwatch.PutMetricDataInput{Namespace: aws.String("AWS/ECS"), MetricData: []cwtypes.MetricDatum{{MetricName: aws.String("x"), Value: aws.Float64(1)}}})
	refused(t, err, "InvalidParameterValue")
	_, err = c.PutMetricData(ctx, &cloudwatch.PutMetricDataInput{Namespace: aws.String("App"), MetricData: []cwtypes.MetricDatum{{MetricName: aws.String("x"), Value: aws.Float64(1), Timestamp: aws.Time(base.AddDate(0, 0, -20))}}})
	refused(t, err, "InvalidParameterValue")
	stats := ok[cloudwatch.GetMetricStatisticsOutput](t)(c.GetMetricStatistics(ctx, &cloudwatch.GetMetricStatisticsInput{Namespace: aws.String("App"), MetricName: aws.String("Depth"), Dimensions: dims,
		StartTime: &base, EndTime: aws.Time(base.Add(10 * time.Minute)), Period: aws.Int32(300), Statistics: []cwtypes.Statistic{"Average", "Maximum", "SampleCount"}, ExtendedStatistics: []string{"p50"}}))
	same(t, "statistics are not both", len(stats.Datapoints), 2)
	for _, d := range stats.Datapoints {
		first := d.Timestamp.Equal(base)
		want := map[bool]string{true: "2 4 5 2", false: "7 9 5 7"}[first]
		same(t, "statistics", fmt.Sprint(*d.Average, *d.Maximum, *d.SampleCount, d.ExtendedStatistics["p50"]), want)
		same(t, "unit", string(d.Unit), "Count")
	}
	data := ok[cloudwatch.GetMetricDataOutput](t)(c.GetMetricData(ctx, &cloudwatch.GetMetricDataInput{StartTime: &base, EndTime: aws.Time(base.Add(10 * time.Minute)),
		MetricDataQueries: []cwtypes.MetricDataQuery{{Id: aws.String("m"), MetricStat: &cwtypes.MetricStat{Stat: aws.String("Sum"), Period: aws.Int32(60), Metric: &cwtypes.Metric{Namespace: aws.String("App"), MetricName: aws.String("Depth"), Dimensions: dims}}}}}))
	same(t, "newest first", fmt.Sprint(data.MetricDataResults[0].Values[:2], len(data.MetricDataResults[0].Values)), "[9 8] 10")
	for i := range 510 {
		ok[cloudwatch.PutMetricDataOutput](t)(c.PutMetricData(ctx, &cloudwatch.PutMetricDataInput{Namespace: aws.String("Many"), MetricData: []cwtypes.MetricDatum{{MetricName: aws.String(fmt.Sprint("m", i)), Value: aws.Float64(1)}}}))
	}
	n := 0
	pages := cloudwatch.NewListMetricsPaginator(c, &cloudwatch.ListMetricsInput{Namespace: aws.String("Many")})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		n += len(page.Metrics)
	}
	same(t, "metrics", n, 510)
}

func TestAlarms(t *testing.T) {
	dir := t.TempDir()
	a := localtest.Start(t, localtest.Dir(dir), localtest.Speed(120)) // half a second a minute
	c, ctx := cloudwatch.NewFromConfig(a.Config), t.Context()
	alarm := func(name string, change func(*cloudwatch.PutMetricAlarmInput)) error {
		in := &cloudwatch.PutMetricAlarmInput{AlarmName: &name, Namespace: aws.String("App"), MetricName: aws.String("Errors"), Statistic: "Sum", Period: aws.Int32(60), EvaluationPeriods: aws.Int32(1),
			Threshold: aws.Float64(5), ComparisonOperator: "GreaterThanThreshold", Tags: []cwtypes.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}
		if change != nil {
			change(in)
		}
		_, err := c.PutMetricAlarm(ctx, in)
		return err
	}
	refused(t, alarm("x", func(in *cloudwatch.PutMetricAlarmInput) { in.Period = aws.Int32(61) }), "ValidationError")
	refused(t, alarm("x", func(in *cloudwatch.PutMetricAlarmInput) { in.DatapointsToAlarm = aws.Int32(2) }), "ValidationError")
	if err := alarm("errors", nil); err != nil {
		t.Fatal(err)
	}
	if err := alarm("quiet", func(in *cloudwatch.PutMetricAlarmInput) {
		in.MetricName, in.TreatMissingData = aws.String("None"), aws.String("notBreaching")
	}); err != nil {
		t.Fatal(err)
	}
	state := func(name string) string {
		out := ok[cloudwatch.DescribeAlarmsOutput](t)(c.DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{AlarmNames: []string{name}}))
		if len(out.MetricAlarms) != 1 {
			t.Fatalf("%d alarms named %s", len(out.MetricAlarms), name)
		}
		return string(out.MetricAlarms[0].StateValue)
	}
	same(t, "a new alarm", state("errors"), "INSUFFICIENT_DATA")
	localtest.Eventually(t, "no data is fine for quiet", func() bool { return state("quiet") == "OK" })
	localtest.Eventually(t, "errors goes off", func() bool {
		ok[cloudwatch.PutMetricDataOutput](t)(c.PutMetricData(ctx, &cloudwatch.PutMetricDataInput{Namespace: aws.String("App"), MetricData: []cwtypes.MetricDatum{{MetricName: aws.String("Errors"), Value: aws.Float64(9)}}}))
		return state("errors") == "ALARM"
	})
	history := ok[cloudwatch.DescribeAlarmHistoryOutput](t)(c.DescribeAlarmHistory(ctx, &cloudwatch.DescribeAlarmHistoryInput{AlarmName: aws.String("errors"), HistoryItemType: "StateUpdate"}))
	if len(history.AlarmHistoryItems) == 0 {
		t.Error("no history")
	}
	_, err := c.SetAlarmState(ctx, &cloudwatch.SetAlarmStateInput{AlarmName: aws.String("none"), StateValue: "OK", StateReason: aws.String("x")})
	refused(t, err, "ResourceNotFound")
	if err := cloudwatch.NewAlarmExistsWaiter(c).Wait(ctx, &cloudwatch.DescribeAlarmsInput{AlarmNames: []string{"errors"}}, time.Minute); err != nil {
		t.Error(err)
	}

	a.Stop()
	a = localtest.Start(t, localtest.Dir(dir))
	c = cloudwatch.NewFromConfig(a.Config)
	all := ok[cloudwatch.DescribeAlarmsOutput](t)(c.DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{}))
	same(t, "alarms after a restart", len(all.MetricAlarms), 2)
	tags := ok[cloudwatch.ListTagsForResourceOutput](t)(c.ListTagsForResource(ctx, &cloudwatch.ListTagsForResourceInput{ResourceARN: all.MetricAlarms[0].AlarmArn}))
	same(t, "tags after a restart", len(tags.Tags), 1)
	ok[cloudwatch.DeleteAlarmsOutput](t)(c.DeleteAlarms(ctx, &cloudwatch.DeleteAlarmsInput{AlarmNames: []string{"errors", "quiet"}}))
}

// service makes a service of Fargate tasks in the cluster c and returns its desired count.
func service(t *testing.T, a *localtest.AWS, desired int32) func() int32 {
	t.Helper()
	e, ctx := ecs.NewFromConfig(a.Config), t.Context()
	ok[ecs.CreateClusterOutput](t)(e.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: aws.String("c")}))
	ok[ecs.RegisterTaskDefinitionOutput](t)(e.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{Family: aws.String("web"), Cpu: aws.String("256"), Memory: aws.String("512"), NetworkMode: "awsvpc",
		RequiresCompatibilities: []ecstypes.Compatibility{"FARGATE"}, ContainerDefinitions: []ecstypes.ContainerDefinition{{Name: aws.String("app"), Image: aws.String("app")}}}))
	ok[ecs.CreateServiceOutput](t)(e.CreateService(ctx, &ecs.CreateServiceInput{Cluster: aws.String("c"), ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: &desired, LaunchType: "FARGATE",
		NetworkConfiguration: &ecstypes.NetworkConfiguration{AwsvpcConfiguration: &ecstypes.AwsVpcConfiguration{Subnets: []string{"subnet-0510ca1000000000a"}}}}))
	return func() int32 {
		out := ok[ecs.DescribeServicesOutput](t)(e.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: aws.String("c"), Services: []string{"web"}}))
		return out.Services[0].DesiredCount
	}
}

func TestServiceScaling(t *testing.T) {
	dir := t.TempDir()
	a := localtest.Start(t, localtest.Dir(dir), localtest.Speed(120))
	desired, ctx := service(t, a, 1), t.Context()
	c, cw := aas.NewFromConfig(a.Config), cloudwatch.NewFromConfig(a.Config)
	id := aws.String("service/c/web")
	register := func(id *string, lo, hi int32) error {
		_, err := c.RegisterScalableTarget(ctx, &aas.RegisterScalableTargetInput{ServiceNamespace: "ecs", ResourceId: id, ScalableDimension: "ecs:service:DesiredCount", MinCapacity: &lo, MaxCapacity: &hi})
		return err
	}
	refused(t, register(aws.String("service/c/none"), 1, 2), "ValidationException")
	refused(t, register(id, 5, 2), "ValidationException")
	if err := register(id, 2, 8); err != nil {
		t.Fatal(err)
	}
	same(t, "the minimum pulls", desired(), 2)
	_, err := c.PutScalingPolicy(ctx, &aas.PutScalingPolicyInput{ServiceNamespace: "ecs", ResourceId: aws.String("service/c/none"), ScalableDimension: "ecs:service:DesiredCount", PolicyName: aws.String("p"), PolicyType: "StepScaling",
		StepScalingPolicyConfiguration: &types.StepScalingPolicyConfiguration{AdjustmentType: "ChangeInCapacity", StepAdjustments: []types.StepAdjustment{{MetricIntervalLowerBound: aws.Float64(0), ScalingAdjustment: aws.Int32(1)}}}})
	refused(t, err, "ObjectNotFoundException")
	policy := ok[aas.PutScalingPolicyOutput](t)(c.PutScalingPolicy(ctx, &aas.PutScalingPolicyInput{ServiceNamespace: "ecs", ResourceId: id, ScalableDimension: "ecs:service:DesiredCount", PolicyName: aws.String("depth"), PolicyType: "TargetTrackingScaling",
		TargetTrackingScalingPolicyConfiguration: &types.TargetTrackingScalingPolicyConfiguration{TargetValue: aws.Float64(10), ScaleOutCooldown: aws.Int32(60), ScaleInCooldown: aws.Int32(60),
			CustomizedMetricSpecification: &types.CustomizedMetricSpecification{Namespace: aws.String("App"), MetricName: aws.String("Depth"), Statistic: "Average"}}}))
	same(t, "alarms of target tracking", len(policy.Alarms), 2)
	alarms := ok[cloudwatch.DescribeAlarmsOutput](t)(cw.DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{AlarmNamePrefix: aws.String("TargetTracking-service/c/web-")}))
	for _, al := range alarms.MetricAlarms {
		want := map[cwtypes.ComparisonOperator]string{"GreaterThanThreshold": "3 10", "LessThanThreshold": "15 9"}[al.ComparisonOperator]
		same(t, "alarm", fmt.Sprint(*al.EvaluationPeriods, *al.Threshold), want)
	}
	localtest.Eventually(t, "the service runs", func() bool {
		out := ok[ecs.DescribeServicesOutput](t)(ecs.NewFromConfig(a.Config).DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: aws.String("c"), Services: []string{"web"}}))
		return out.Services[0].RunningCount == 2
	})
	localtest.Eventually(t, "two tasks at twice the target become four", func() bool {
		ok[cloudwatch.PutMetricDataOutput](t)(cw.PutMetricData(ctx, &cloudwatch.PutMetricDataInput{Namespace: aws.String("App"), MetricData: []cwtypes.MetricDatum{{MetricName: aws.String("Depth"), Value: aws.Float64(20)}}}))
		return desired() >= 4
	})
	activities := ok[aas.DescribeScalingActivitiesOutput](t)(c.DescribeScalingActivities(ctx, &aas.DescribeScalingActivitiesInput{ServiceNamespace: "ecs", ResourceId: id}))
	contains(t, "cause", str(activities.ScalingActivities[0].Cause), "in state ALARM triggered policy depth")
	localtest.Eventually(t, "too little for fifteen minutes takes them down to the minimum", func() bool {
		ok[cloudwatch.PutMetricDataOutput](t)(cw.PutMetricData(ctx, &cloudwatch.PutMetricDataInput{Namespace: aws.String("App"), MetricData: []cwtypes.MetricDatum{{MetricName: aws.String("Depth"), Value: aws.Float64(1)}}}))
		return desired() == 2
	})
	// A scheduled action moves the bounds, and the service with them.
	ok[aas.PutScheduledActionOutput](t)(c.PutScheduledAction(ctx, &aas.PutScheduledActionInput{ServiceNamespace: "ecs", ResourceId: id, ScalableDimension: "ecs:service:DesiredCount", ScheduledActionName: aws.String("rush"),
		Schedule: aws.String("rate(1 minute)"), ScalableTargetAction: &types.ScalableTargetAction{MinCapacity: aws.Int32(6)}}))
	_, err = c.PutScheduledAction(ctx, &aas.PutScheduledActionInput{ServiceNamespace: "ecs", ResourceId: id, ScalableDimension: "ecs:service:DesiredCount", ScheduledActionName: aws.String("bad"), Schedule: aws.String("soon")})
	refused(t, err, "ValidationException")
	localtest.Eventually(t, "the scheduled minimum", func() bool { return desired() == 6 })

	a.Stop()
	a = localtest.Start(t, localtest.Dir(dir), localtest.Speed(120))
	c, cw = aas.NewFromConfig(a.Config), cloudwatch.NewFromConfig(a.Config)
	kept := ok[aas.DescribeScalingPoliciesOutput](t)(c.DescribeScalingPolicies(ctx, &aas.DescribeScalingPoliciesInput{ServiceNamespace: "ecs"}))
	same(t, "policies after a restart", len(kept.ScalingPolicies), 1)
	ok[aas.DeregisterScalableTargetOutput](t)(c.DeregisterScalableTarget(ctx, &aas.DeregisterScalableTargetInput{ServiceNamespace: "ecs", ResourceId: id, ScalableDimension: "ecs:service:DesiredCount"}))
	left := ok[cloudwatch.DescribeAlarmsOutput](t)(cw.DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{}))
	same(t, "alarms left behind", len(left.MetricAlarms), 0)
	_, err = c.DeleteScalingPolicy(ctx, &aas.DeleteScalingPolicyInput{ServiceNamespace: "ecs", ResourceId: id, ScalableDimension: "ecs:service:DesiredCount", PolicyName: aws.String("depth")})
	refused(t, err, "ObjectNotFoundException")
}
