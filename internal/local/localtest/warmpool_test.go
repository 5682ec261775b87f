package localtest_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"

	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

func userData(lines ...string) string {
	text := "#!/bin/bash\n"
	for _, l := range lines {
		text += "echo " + l + " >> /etc/ecs/ecs.config\n"
	}
	return base64.StdEncoding.EncodeToString([]byte(text))
}

// pool are the states of the warm pool of hosts, in order.
func pool(t *testing.T, c *autoscaling.Client) string {
	t.Helper()
	out := ok[autoscaling.DescribeWarmPoolOutput](t)(c.DescribeWarmPool(t.Context(), &autoscaling.DescribeWarmPoolInput{AutoScalingGroupName: aws.String("hosts")}))
	var states []string
	for _, i := range out.Instances {
		states = append(states, string(i.LifecycleState))
	}
	slices.Sort(states)
	return strings.Join(states, " ")
}

func TestLaunchConfigurationsAndWarmPools(t *testing.T) {
	a := localtest.Start(t, localtest.Speed(60))
	c, ctx := autoscaling.NewFromConfig(a.Config), t.Context()
	ok[ecs.CreateClusterOutput](t)(ecs.NewFromConfig(a.Config).CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: aws.String("c")}))
	config := func(name string, change func(*autoscaling.CreateLaunchConfigurationInput)) error {
		in := &autoscaling.CreateLaunchConfigurationInput{LaunchConfigurationName: &name, ImageId: aws.String(image), InstanceType: aws.String("m5.large"), UserData: aws.String(userData("ECS_CLUSTER=c", "ECS_WARM_POOLS_CHECK=true"))}
		if change != nil {
			change(in)
		}
		_, err := c.CreateLaunchConfiguration(ctx, in)
		return err
	}
	refused(t, config("x", func(in *autoscaling.CreateLaunchConfigurationInput) { in.ImageId = nil }), "ValidationError")
	refused(t, config("x", func(in *autoscaling.CreateLaunchConfigurationInput) { in.InstanceType = aws.String("m5.nano") }), "ValidationError")
	if err := config("old", nil); err != nil {
		t.Fatal(err)
	}
	refused(t, config("old", nil), "AlreadyExists")
	create := func(change func(*autoscaling.CreateAutoScalingGroupInput)) error {
		in := &autoscaling.CreateAutoScalingGroupInput{AutoScalingGroupName: aws.String("hosts"), LaunchConfigurationName: aws.String("old"), MinSize: aws.Int32(0), MaxSize: aws.Int32(3), DesiredCapacity: aws.Int32(1), AvailabilityZones: []string{"us-east-1a"}}
		if change != nil {
			change(in)
		}
		_, err := c.CreateAutoScalingGroup(ctx, in)
		return err
	}
	refused(t, create(func(in *autoscaling.CreateAutoScalingGroupInput) { in.LaunchConfigurationName = aws.String("none") }), "ValidationError")
	refused(t, create(func(in *autoscaling.CreateAutoScalingGroupInput) { in.LaunchConfigurationName = nil }), "ValidationError")
	if err := create(nil); err != nil {
		t.Fatal(err)
	}
	localtest.Eventually(t, "an instance of the launch configuration", func() bool { return len(inService(t, c)) == 1 })
	group := func() types.AutoScalingGroup {
		return ok[autoscaling.DescribeAutoScalingGroupsOutput](t)(c.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{})).AutoScalingGroups[0]
	}
	same(t, "what launched it", str(group().Instances[0].LaunchConfigurationName), "old")
	_, err := c.DeleteLaunchConfiguration(ctx, &autoscaling.DeleteLaunchConfigurationInput{LaunchConfigurationName: aws.String("old")})
	refused(t, err, "ResourceInUse")

	members := func() int {
		return len(ok[ecs.ListContainerInstancesOutput](t)(ecs.NewFromConfig(a.Config).ListContainerInstances(ctx, &ecs.ListContainerInstancesInput{Cluster: aws.String("c")})).ContainerInstanceArns)
	}
	ok[autoscaling.PutWarmPoolOutput](t)(c.PutWarmPool(ctx, &autoscaling.PutWarmPoolInput{AutoScalingGroupName: aws.String("hosts"), InstanceReusePolicy: &types.InstanceReusePolicy{ReuseOnScaleIn: aws.Bool(true)}}))
	localtest.Eventually(t, "the pool holds what is missing to the maximum", func() bool { return pool(t, c) == "Warmed:Stopped Warmed:Stopped" })
	same(t, "its size", *group().WarmPoolSize, 2)
	same(t, "who is in the cluster", members(), 1)
	warm := ok[autoscaling.DescribeWarmPoolOutput](t)(c.DescribeWarmPool(ctx, &autoscaling.DescribeWarmPoolInput{AutoScalingGroupName: aws.String("hosts")})).Instances[0]
	localtest.Eventually(t, "EC2 has stopped it", func() bool {
		out := ok[ec2.DescribeInstancesOutput](t)(ec2.NewFromConfig(a.Config).DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{*warm.InstanceId}}))
		return out.Reservations[0].Instances[0].State.Name == "stopped"
	})
	ok[autoscaling.SetDesiredCapacityOutput](t)(c.SetDesiredCapacity(ctx, &autoscaling.SetDesiredCapacityInput{AutoScalingGroupName: aws.String("hosts"), DesiredCapacity: aws.Int32(2)}))
	localtest.Eventually(t, "the group takes one of the pool", func() bool {
		return inService(t, c)[*warm.InstanceId] != "" && pool(t, c) == "Warmed:Stopped" && members() == 2
	})
	ok[autoscaling.SetDesiredCapacityOutput](t)(c.SetDesiredCapacity(ctx, &autoscaling.SetDesiredCapacityInput{AutoScalingGroupName: aws.String("hosts"), DesiredCapacity: aws.Int32(0)}))
	localtest.Eventually(t, "what the group gives up goes back", func() bool { return pool(t, c) == "Warmed:Stopped Warmed:Stopped Warmed:Stopped" })
	if _, err := c.PutWarmPool(ctx, &autoscaling.PutWarmPoolInput{AutoScalingGroupName: aws.String("hosts"), MaxGroupPreparedCapacity: aws.Int32(1), PoolState: types.WarmPoolStateRunning}); err != nil {
		t.Fatal(err)
	}
	localtest.Eventually(t, "a smaller pool", func() bool { return pool(t, c) == "Warmed:Stopped" })
	if out := a.Must(t, "autoscaling", "describe-warm-pool", "--auto-scaling-group-name", "hosts"); out["WarmPoolConfiguration"].(map[string]any)["PoolState"] != "Running" {
		t.Errorf("the CLI sees %v", out)
	}
	_, err = c.DeleteAutoScalingGroup(ctx, &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: aws.String("hosts")})
	refused(t, err, "ResourceInUse")
	ok[autoscaling.DeleteWarmPoolOutput](t)(c.DeleteWarmPool(ctx, &autoscaling.DeleteWarmPoolInput{AutoScalingGroupName: aws.String("hosts")}))
	localtest.Eventually(t, "no pool any more", func() bool { return group().WarmPoolConfiguration == nil })
	ok[autoscaling.DeleteAutoScalingGroupOutput](t)(c.DeleteAutoScalingGroup(ctx, &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: aws.String("hosts")}))
	ok[autoscaling.DeleteLaunchConfigurationOutput](t)(c.DeleteLaunchConfiguration(ctx, &autoscaling.DeleteLaunchConfigurationInput{LaunchConfigurationName: aws.String("old")}))
	same(t, "launch configurations left", len(ok[autoscaling.DescribeLaunchConfigurationsOutput](t)(c.DescribeLaunchConfigurations(ctx, &autoscaling.DescribeLaunchConfigurationsInput{})).LaunchConfigurations), 0)
}

func TestRefreshIsRolledBack(t *testing.T) {
	a := localtest.Start(t, localtest.Speed(120))
	c, ctx := autoscaling.NewFromConfig(a.Config), t.Context()
	a.Must(t, "ec2", "create-launch-template", "--launch-template-name", "host", "--launch-template-data", `{"ImageId":"`+image+`","InstanceType":"m5.large"}`)
	a.Must(t, "ec2", "create-launch-template-version", "--launch-template-name", "host", "--launch-template-data", `{"ImageId":"`+image+`","InstanceType":"c5.large"}`)
	a.Must(t, "autoscaling", "create-auto-scaling-group", "--auto-scaling-group-name", "hosts", "--launch-template", "LaunchTemplateName=host,Version=1", "--min-size", "2", "--max-size", "4", "--availability-zones", "us-east-1a", "us-east-1b")
	localtest.Eventually(t, "two instances", func() bool { return len(inService(t, c)) == 2 })
	group := func() types.AutoScalingGroup {
		return ok[autoscaling.DescribeAutoScalingGroupsOutput](t)(c.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{})).AutoScalingGroups[0]
	}
	kinds := func() string {
		var out []string
		for _, i := range group().Instances {
			if i.LifecycleState == "InService" {
				out = append(out, *i.InstanceType)
			}
		}
		slices.Sort(out)
		return strings.Join(out, " ")
	}
	start := func(p *types.RefreshPreferences) error {
		_, err := c.StartInstanceRefresh(ctx, &autoscaling.StartInstanceRefreshInput{AutoScalingGroupName: aws.String("hosts"), Preferences: p,
			DesiredConfiguration: &types.DesiredConfiguration{LaunchTemplate: &types.LaunchTemplateSpecification{LaunchTemplateName: aws.String("host"), Version: aws.String("2")}}})
		return err
	}
	newest := func() types.InstanceRefresh {
		return ok[autoscaling.DescribeInstanceRefreshesOutput](t)(c.DescribeInstanceRefreshes(ctx, &autoscaling.DescribeInstanceRefreshesInput{AutoScalingGroupName: aws.String("hosts")})).InstanceRefreshes[0]
	}
	_, err := c.RollbackInstanceRefresh(ctx, &autoscaling.RollbackInstanceRefreshInput{AutoScalingGroupName: aws.String("hosts")})
	refused(t, err, "ActiveInstanceRefreshNotFound")
	// By hand, behind a checkpoint.
	if err := start(&types.RefreshPreferences{MinHealthyPercentage: aws.Int32(50), CheckpointPercentages: []int32{50}, CheckpointDelay: aws.Int32(7200)}); err != nil {
		t.Fatal(err)
	}
	localtest.Eventually(t, "half of it is replaced", func() bool { return kinds() == "c5.large m5.large" })
	same(t, "the group's own template meanwhile", str(group().LaunchTemplate.Version), "1")
	ok[autoscaling.RollbackInstanceRefreshOutput](t)(c.RollbackInstanceRefresh(ctx, &autoscaling.RollbackInstanceRefreshInput{AutoScalingGroupName: aws.String("hosts")}))
	localtest.Eventually(t, "and put back", func() bool { return newest().Status == "RollbackSuccessful" && kinds() == "m5.large m5.large" })
	contains(t, "why", str(newest().RollbackDetails.RollbackReason), "user request")
	// By an alarm, while it bakes.
	a.Must(t, "cloudwatch", "put-metric-alarm", "--alarm-name", "hot", "--namespace", "App", "--metric-name", "Heat", "--statistic", "Average", "--period", "60", "--evaluation-periods", "1", "--threshold", "1", "--comparison-operator", "GreaterThanThreshold", "--treat-missing-data", "ignore")
	if err := start(&types.RefreshPreferences{MinHealthyPercentage: aws.Int32(0), AutoRollback: aws.Bool(true), BakeTime: aws.Int32(7200), AlarmSpecification: &types.AlarmSpecification{Alarms: []string{"hot"}}}); err != nil {
		t.Fatal(err)
	}
	localtest.Eventually(t, "it bakes", func() bool { return newest().Status == "Baking" && kinds() == "c5.large c5.large" })
	a.Must(t, "cloudwatch", "set-alarm-state", "--alarm-name", "hot", "--state-value", "ALARM", "--state-reason", "by hand")
	localtest.Eventually(t, "the alarm takes it back", func() bool { return newest().Status == "RollbackSuccessful" && kinds() == "m5.large m5.large" })
	contains(t, "why", str(newest().RollbackDetails.RollbackReason), "alarm hot")
	a.Must(t, "cloudwatch", "delete-alarms", "--alarm-names", "hot")
	if err := start(&types.RefreshPreferences{MinHealthyPercentage: aws.Int32(0)}); err != nil {
		t.Fatal(err)
	}
	localtest.Eventually(t, "without trouble it ends well", func() bool { return newest().Status == "Successful" && kinds() == "c5.large c5.large" })
	same(t, "the group's own template now", str(group().LaunchTemplate.Version), "2")
}

func TestLaunchInstancesAndZones(t *testing.T) {
	a := localtest.Start(t, localtest.Speed(60))
	c, ctx := autoscaling.NewFromConfig(a.Config), t.Context()
	a.Must(t, "ec2", "create-launch-template", "--launch-template-name", "host", "--launch-template-data", `{"ImageId":"`+image+`","InstanceType":"m5.large"}`)
	a.Must(t, "autoscaling", "create-auto-scaling-group", "--auto-scaling-group-name", "hosts", "--launch-template", "LaunchTemplateName=host,Version=1", "--min-size", "0", "--max-size", "4", "--availability-zones", "us-east-1a", "us-east-1b")
	ok[autoscaling.SuspendProcessesOutput](t)(c.SuspendProcesses(ctx, &autoscaling.SuspendProcessesInput{AutoScalingGroupName: aws.String("hosts"), ScalingProcesses: []string{"AZRebalance"}}))
	launch := func(token string, n int32, zones ...string) (*autoscaling.LaunchInstancesOutput, error) {
		return c.LaunchInstances(ctx, &autoscaling.LaunchInstancesInput{AutoScalingGroupName: aws.String("hosts"), ClientToken: &token, RequestedCapacity: &n, AvailabilityZones: zones})
	}
	_, err := launch("a", 1)
	refused(t, err, "ValidationError") // which of the two zones?
	_, err = launch("a", 9, "us-east-1a")
	refused(t, err, "ValidationError")
	first := ok[autoscaling.LaunchInstancesOutput](t)(launch("a", 3, "us-east-1a"))
	again := ok[autoscaling.LaunchInstancesOutput](t)(launch("a", 3, "us-east-1a"))
	same(t, "the same token", fmt.Sprint(again.Instances[0].InstanceIds), fmt.Sprint(first.Instances[0].InstanceIds))
	_, err = launch("a", 2, "us-east-1a")
	refused(t, err, "IdempotentParameterMismatch")
	localtest.Eventually(t, "three in one zone", func() bool { return len(inService(t, c)) == 3 })
	ok[autoscaling.ResumeProcessesOutput](t)(c.ResumeProcesses(ctx, &autoscaling.ResumeProcessesInput{AutoScalingGroupName: aws.String("hosts"), ScalingProcesses: []string{"AZRebalance"}}))
	localtest.Eventually(t, "one moves to the other zone", func() bool {
		count := map[string]int{}
		for _, zone := range inService(t, c) {
			count[zone]++
		}
		return count["us-east-1a"] == 2 && count["us-east-1b"] == 1
	})
	// Predictive scaling has the group's own metrics or customized ones.
	load(t, a, 72)
	policy := func(target float64) error {
		_, err := c.PutScalingPolicy(ctx, &autoscaling.PutScalingPolicyInput{AutoScalingGroupName: aws.String("hosts"), PolicyName: aws.String("ahead"), PolicyType: aws.String("PredictiveScaling"), PredictiveScalingConfiguration: &types.PredictiveScalingConfiguration{
			Mode: "ForecastAndScale", MetricSpecifications: []types.PredictiveScalingMetricSpecification{{TargetValue: &target,
				CustomizedLoadMetricSpecification:    &types.PredictiveScalingCustomizedLoadMetric{MetricDataQueries: []types.MetricDataQuery{{Id: aws.String("load"), MetricStat: &types.MetricStat{Stat: aws.String("Sum"), Metric: &types.Metric{Namespace: aws.String("App"), MetricName: aws.String("Load")}}}}},
				CustomizedScalingMetricSpecification: &types.PredictiveScalingCustomizedScalingMetric{MetricDataQueries: []types.MetricDataQuery{{Id: aws.String("use"), MetricStat: &types.MetricStat{Stat: aws.String("Average"), Metric: &types.Metric{Namespace: aws.String("App"), MetricName: aws.String("Use")}}}}}}}}})
		return err
	}
	refused(t, policy(0), "ValidationError")
	if err := policy(2.5); err != nil { // 4 instances at least, of which the maximum allows 4
		t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Hour)
	f := ok[autoscaling.GetPredictiveScalingForecastOutput](t)(c.GetPredictiveScalingForecast(ctx, &autoscaling.GetPredictiveScalingForecastInput{AutoScalingGroupName: aws.String("hosts"), PolicyName: aws.String("ahead"), StartTime: aws.Time(now.Add(4 * time.Hour)), EndTime: aws.Time(now.Add(6 * time.Hour))}))
	same(t, "two hours", fmt.Sprint(len(f.LoadForecast[0].Values), f.CapacityForecast.Values), "2 [4 4]")
	localtest.Eventually(t, "the group is ready for what is forecast", func() bool { return len(inService(t, c)) == 4 })
}

func TestHooksOfAWarmPool(t *testing.T) {
	a := localtest.Start(t, localtest.Speed(30))
	c, ctx := autoscaling.NewFromConfig(a.Config), t.Context()
	a.Must(t, "ec2", "create-launch-template", "--launch-template-name", "host", "--launch-template-data", `{"ImageId":"`+image+`","InstanceType":"m5.large"}`)
	a.Must(t, "autoscaling", "create-auto-scaling-group", "--auto-scaling-group-name", "hosts", "--launch-template", "LaunchTemplateName=host,Version=1", "--min-size", "0", "--max-size", "1", "--availability-zones", "us-east-1a")
	hooks := tell(t, a, "hooks", `{"source":["aws.autoscaling"],"detail-type":["EC2 Instance-launch Lifecycle Action"]}`)
	ok[autoscaling.PutLifecycleHookOutput](t)(c.PutLifecycleHook(ctx, &autoscaling.PutLifecycleHookInput{AutoScalingGroupName: aws.String("hosts"), LifecycleHookName: aws.String("boot"), LifecycleTransition: aws.String("autoscaling:EC2_INSTANCE_LAUNCHING"), HeartbeatTimeout: aws.Int32(7200)}))
	ok[autoscaling.PutWarmPoolOutput](t)(c.PutWarmPool(ctx, &autoscaling.PutWarmPoolInput{AutoScalingGroupName: aws.String("hosts"), PoolState: types.WarmPoolStateRunning}))
	detail := heard(t, a, hooks)["detail"].(map[string]any)
	same(t, "it waits", pool(t, c), "Warmed:Pending:Wait")
	ok[autoscaling.CompleteLifecycleActionOutput](t)(c.CompleteLifecycleAction(ctx, &autoscaling.CompleteLifecycleActionInput{AutoScalingGroupName: aws.String("hosts"), LifecycleHookName: aws.String("boot"),
		LifecycleActionToken: aws.String(detail["LifecycleActionToken"].(string)), LifecycleActionResult: aws.String("CONTINUE")}))
	localtest.Eventually(t, "it is warm", func() bool { return pool(t, c) == "Warmed:Running" })
}
