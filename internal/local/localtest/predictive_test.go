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

	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

// load records hours of a load that is 10 at even hours of the day and 35 at odd ones.
func load(t *testing.T, a *localtest.AWS, hours int) {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Hour)
	var data []cwtypes.MetricDatum
	for i := 1; i <= hours; i++ {
		at := now.Add(-time.Duration(i) * time.Hour)
		v := 10.0
		if at.Hour()%2 == 1 {
			v = 35
		}
		data = append(data, cwtypes.MetricDatum{MetricName: aws.String("Load"), Timestamp: &at, Value: &v})
	}
	ok[cloudwatch.PutMetricDataOutput](t)(cloudwatch.NewFromConfig(a.Config).PutMetricData(t.Context(), &cloudwatch.PutMetricDataInput{Namespace: aws.String("App"), MetricData: data}))
}

func TestPredictiveScaling(t *testing.T) {
	a := localtest.Start(t, localtest.Speed(240)) // an hour is 15 seconds
	desired, ctx := service(t, a, 1), t.Context()
	c := aas.NewFromConfig(a.Config)
	id := aws.String("service/c/web")
	ok[aas.RegisterScalableTargetOutput](t)(c.RegisterScalableTarget(ctx, &aas.RegisterScalableTargetInput{ServiceNamespace: "ecs", ResourceId: id, ScalableDimension: "ecs:service:DesiredCount", MinCapacity: aws.Int32(1), MaxCapacity: aws.Int32(5)}))
	query := func(id, name, stat string) *types.PredictiveScalingCustomizedMetricSpecification {
		return &types.PredictiveScalingCustomizedMetricSpecification{MetricDataQueries: []types.PredictiveScalingMetricDataQuery{
			{Id: aws.String("raw"), ReturnData: aws.Bool(false), MetricStat: &types.PredictiveScalingMetricStat{Stat: &stat, Metric: &types.PredictiveScalingMetric{Namespace: aws.String("App"), MetricName: &name}}},
			{Id: &id, Expression: aws.String("raw * 2")}}}
	}
	put := func(change func(*types.PredictiveScalingPolicyConfiguration)) error {
		cfg := &types.PredictiveScalingPolicyConfiguration{MetricSpecifications: []types.PredictiveScalingMetricSpecification{{TargetValue: aws.Float64(10),
			CustomizedLoadMetricSpecification: query("load", "Load", "Sum"), CustomizedScalingMetricSpecification: query("use", "Use", "Average")}}}
		if change != nil {
			change(cfg)
		}
		_, err := c.PutScalingPolicy(ctx, &aas.PutScalingPolicyInput{ServiceNamespace: "ecs", ResourceId: id, ScalableDimension: "ecs:service:DesiredCount", PolicyName: aws.String("ahead"), PolicyType: "PredictiveScaling", PredictiveScalingPolicyConfiguration: cfg})
		return err
	}
	refused(t, put(func(p *types.PredictiveScalingPolicyConfiguration) {
		p.MetricSpecifications[0].CustomizedLoadMetricSpecification = nil
	}), "ValidationException")
	refused(t, put(func(p *types.PredictiveScalingPolicyConfiguration) { p.MaxCapacityBuffer = aws.Int32(10) }), "ValidationException")
	refused(t, put(func(p *types.PredictiveScalingPolicyConfiguration) { p.SchedulingBufferTime = aws.Int32(3600) }), "ValidationException")
	refused(t, put(func(p *types.PredictiveScalingPolicyConfiguration) {
		p.MetricSpecifications[0].CustomizedLoadMetricSpecification.MetricDataQueries[1].Expression = aws.String("raw *")
	}), "ValidationException")
	refused(t, put(func(p *types.PredictiveScalingPolicyConfiguration) {
		p.MetricSpecifications[0] = types.PredictiveScalingMetricSpecification{TargetValue: aws.Float64(1), PredefinedMetricPairSpecification: &types.PredictiveScalingPredefinedMetricPairSpecification{PredefinedMetricType: aws.String("Nothing")}}
	}), "ValidationException")
	if err := put(nil); err != nil {
		t.Fatal(err)
	}
	start := time.Now().UTC().Truncate(time.Hour)
	get := func() (*aas.GetPredictiveScalingForecastOutput, error) {
		return c.GetPredictiveScalingForecast(ctx, &aas.GetPredictiveScalingForecastInput{ServiceNamespace: "ecs", ResourceId: id, ScalableDimension: "ecs:service:DesiredCount", PolicyName: aws.String("ahead"), StartTime: aws.Time(start.Add(5 * time.Hour)), EndTime: aws.Time(start.Add(29 * time.Hour))})
	}
	load(t, a, 20)
	_, err := get()
	refused(t, err, "ValidationException")
	contains(t, "why", err.Error(), "24 hours")
	load(t, a, 0)
	for i := 21; i <= 72; i++ { // the rest of three days
		at := start.Add(-time.Duration(i) * time.Hour)
		v := 10.0
		if at.Hour()%2 == 1 {
			v = 35
		}
		ok[cloudwatch.PutMetricDataOutput](t)(cloudwatch.NewFromConfig(a.Config).PutMetricData(ctx, &cloudwatch.PutMetricDataInput{Namespace: aws.String("App"), MetricData: []cwtypes.MetricDatum{{MetricName: aws.String("Load"), Timestamp: &at, Value: &v}}}))
	}
	f := ok[aas.GetPredictiveScalingForecastOutput](t)(get())
	same(t, "hours", len(f.CapacityForecast.Values), 24)
	for i, at := range f.LoadForecast[0].Timestamps {
		// Twice 10 over the target of 10 is 2 tasks; twice 35 would be 7, of which the maximum allows 5.
		want := "20 2"
		if at.Hour()%2 == 1 {
			want = "70 5"
		}
		same(t, at.String(), fmt.Sprint(f.LoadForecast[0].Values[i], f.CapacityForecast.Values[i]), want)
	}
	same(t, "forecasts alone scale nothing", desired(), 1)
	// It may go beyond the maximum, and scales.
	if err := put(func(p *types.PredictiveScalingPolicyConfiguration) {
		p.Mode, p.MaxCapacityBreachBehavior, p.MaxCapacityBuffer = "ForecastAndScale", "IncreaseMaxCapacity", aws.Int32(10)
	}); err != nil {
		t.Fatal(err)
	}
	localtest.Eventually(t, "what is forecast for an odd hour, whose load needs more than the maximum", func() bool { return desired() == 7 })
	targets := ok[aas.DescribeScalableTargetsOutput](t)(c.DescribeScalableTargets(ctx, &aas.DescribeScalableTargetsInput{ServiceNamespace: "ecs"}))
	if p := targets.ScalableTargets[0].PredictedCapacity; p == nil {
		t.Error("no predicted capacity")
	}
	activities := ok[aas.DescribeScalingActivitiesOutput](t)(c.DescribeScalingActivities(ctx, &aas.DescribeScalingActivitiesInput{ServiceNamespace: "ecs", ResourceId: id}))
	contains(t, "cause", str(activities.ScalingActivities[0].Cause), "predictive scaling policy ahead forecast")
	if out := a.Must(t, "application-autoscaling", "get-predictive-scaling-forecast", "--service-namespace", "ecs", "--resource-id", "service/c/web", "--scalable-dimension", "ecs:service:DesiredCount", "--policy-name", "ahead",
		"--start-time", start.Add(20*time.Hour).Format(time.RFC3339), "--end-time", start.Add(22*time.Hour).Format(time.RFC3339)); len(out["CapacityForecast"].(map[string]any)["Values"].([]any)) != 2 {
		t.Errorf("the CLI sees %v", out)
	}
	ok[aas.DeleteScalingPolicyOutput](t)(c.DeleteScalingPolicy(ctx, &aas.DeleteScalingPolicyInput{ServiceNamespace: "ecs", ResourceId: id, ScalableDimension: "ecs:service:DesiredCount", PolicyName: aws.String("ahead")}))
}

func TestTargetTrackingOnMetricMath(t *testing.T) {
	a := localtest.Start(t, localtest.Speed(120))
	desired, ctx := service(t, a, 1), t.Context()
	c, cw := aas.NewFromConfig(a.Config), cloudwatch.NewFromConfig(a.Config)
	id := aws.String("service/c/web")
	ok[aas.RegisterScalableTargetOutput](t)(c.RegisterScalableTarget(ctx, &aas.RegisterScalableTargetInput{ServiceNamespace: "ecs", ResourceId: id, ScalableDimension: "ecs:service:DesiredCount", MinCapacity: aws.Int32(1), MaxCapacity: aws.Int32(3)}))
	stat := func(name string) *types.TargetTrackingMetricStat {
		return &types.TargetTrackingMetricStat{Stat: aws.String("Average"), Metric: &types.TargetTrackingMetric{Namespace: aws.String("App"), MetricName: &name}}
	}
	put := func(name, expression string) error {
		_, err := c.PutScalingPolicy(ctx, &aas.PutScalingPolicyInput{ServiceNamespace: "ecs", ResourceId: id, ScalableDimension: "ecs:service:DesiredCount", PolicyName: &name, PolicyType: "TargetTrackingScaling",
			TargetTrackingScalingPolicyConfiguration: &types.TargetTrackingScalingPolicyConfiguration{TargetValue: aws.Float64(10), ScaleOutCooldown: aws.Int32(0),
				CustomizedMetricSpecification: &types.CustomizedMetricSpecification{Metrics: []types.TargetTrackingMetricDataQuery{
					{Id: aws.String("depth"), MetricStat: stat("Depth"), ReturnData: aws.Bool(false)}, {Id: aws.String("workers"), MetricStat: stat("Workers"), ReturnData: aws.Bool(false)}, {Id: aws.String("each"), Expression: &expression}}}}})
		return err
	}
	refused(t, put("backlog", "depth /"), "ValidationException")
	if err := put("backlog", "depth / workers"); err != nil {
		t.Fatal(err)
	}
	refused(t, put("again", "depth / workers"), "ValidationException") // the same metric twice
	alarms := ok[cloudwatch.DescribeAlarmsOutput](t)(cw.DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{AlarmNamePrefix: aws.String("TargetTracking-service/c/web-")}))
	same(t, "queries of the alarm", len(alarms.MetricAlarms[0].Metrics), 3)
	localtest.Eventually(t, "a backlog of 25 for each worker", func() bool {
		ok[cloudwatch.PutMetricDataOutput](t)(cw.PutMetricData(ctx, &cloudwatch.PutMetricDataInput{Namespace: aws.String("App"), MetricData: []cwtypes.MetricDatum{{MetricName: aws.String("Depth"), Value: aws.Float64(100)}, {MetricName: aws.String("Workers"), Value: aws.Float64(4)}}}))
		return desired() == 3
	})
	localtest.Eventually(t, "the alarm goes on, and the policy cannot", func() bool {
		ok[cloudwatch.PutMetricDataOutput](t)(cw.PutMetricData(ctx, &cloudwatch.PutMetricDataInput{Namespace: aws.String("App"), MetricData: []cwtypes.MetricDatum{{MetricName: aws.String("Depth"), Value: aws.Float64(100)}, {MetricName: aws.String("Workers"), Value: aws.Float64(4)}}}))
		out := ok[aas.DescribeScalingActivitiesOutput](t)(c.DescribeScalingActivities(ctx, &aas.DescribeScalingActivitiesInput{ServiceNamespace: "ecs", ResourceId: id, IncludeNotScaledActivities: aws.Bool(true)}))
		return len(out.ScalingActivities) > 0 && len(out.ScalingActivities[0].NotScaledReasons) == 1 && *out.ScalingActivities[0].NotScaledReasons[0].Code == "AlreadyAtMaxCapacity"
	})
	pages, n := aas.NewDescribeScalingActivitiesPaginator(c, &aas.DescribeScalingActivitiesInput{ServiceNamespace: "ecs", ResourceId: id, IncludeNotScaledActivities: aws.Bool(true), MaxResults: aws.Int32(1)}), 0
	for pages.HasMorePages() {
		n += len(ok[aas.DescribeScalingActivitiesOutput](t)(pages.NextPage(ctx)).ScalingActivities)
	}
	if n < 2 {
		t.Errorf("%d activities on pages of one", n)
	}
	_, err := c.PutScalingPolicy(ctx, &aas.PutScalingPolicyInput{ServiceNamespace: "ecs", ResourceId: id, ScalableDimension: "ecs:service:DesiredCount", PolicyName: aws.String("steps"), PolicyType: "StepScaling",
		StepScalingPolicyConfiguration: &types.StepScalingPolicyConfiguration{AdjustmentType: "ChangeInCapacity", StepAdjustments: []types.StepAdjustment{
			{MetricIntervalLowerBound: aws.Float64(0), MetricIntervalUpperBound: aws.Float64(10), ScalingAdjustment: aws.Int32(1)}, {MetricIntervalLowerBound: aws.Float64(5), ScalingAdjustment: aws.Int32(2)}}}})
	refused(t, err, "ValidationException")
}
