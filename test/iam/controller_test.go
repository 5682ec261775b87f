package iam

import (
	"context"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/slipway-ecs/slipway/internal/autoscale"
	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/clusterinfra"
	"github.com/slipway-ecs/slipway/internal/drain"
	"github.com/slipway-ecs/slipway/internal/iampolicy"
	"github.com/slipway-ecs/slipway/internal/rotate"
)

// TestController lets the controller do all it does with no more than the policy that is printed for it: lead,
// grow, heed a notice, drain by hand and by a hook, replace a group's instances behind an alarm, shrink.
func TestController(t *testing.T) {
	url, asked := start(t)
	ctx := t.Context()
	owner, err := awscloud.Open(ctx, awscloud.Options{Region: "us-east-1", Endpoint: url})
	if err != nil {
		t.Fatal(err)
	}
	root, err := config.LoadDefaultConfig(ctx, config.WithRegion("us-east-1"), config.WithBaseEndpoint(url), config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("root", "root", "")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := owner.Clusters().Apply(ctx, clusterinfra.Spec{Name: "main", Instances: &clusterinfra.Instances{Type: "m7i.large", Min: 0, Max: 9}}, nil); err != nil {
		t.Fatal(err)
	}
	groups, err := owner.Groups(ctx, "main")
	if err != nil || len(groups) != 1 {
		t.Fatal(groups, err)
	}
	group, tasks := groups[0], ecs.NewFromConfig(root)
	arn, err := autoscaling.NewFromConfig(root).DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: groups})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tasks.CreateCapacityProvider(ctx, &ecs.CreateCapacityProviderInput{Name: aws.String("hosts"), AutoScalingGroupProvider: &ecstypes.AutoScalingGroupProvider{AutoScalingGroupArn: arn.AutoScalingGroups[0].AutoScalingGroupARN,
		ManagedScaling: &ecstypes.ManagedScaling{Status: ecstypes.ManagedScalingStatusDisabled}, ManagedDraining: ecstypes.ManagedDrainingDisabled}}); err != nil {
		t.Fatal(err)
	}
	if _, err := tasks.PutClusterCapacityProviders(ctx, &ecs.PutClusterCapacityProvidersInput{Cluster: aws.String("main"), CapacityProviders: []string{"hosts"}, DefaultCapacityProviderStrategy: []ecstypes.CapacityProviderStrategyItem{}}); err != nil {
		t.Fatal(err)
	}
	definition, err := tasks.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{Family: aws.String("web"), ContainerDefinitions: []ecstypes.ContainerDefinition{
		{Name: aws.String("app"), Image: aws.String("app"), Cpu: 900, Memory: aws.Int32(256), Essential: aws.Bool(true)}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tasks.CreateService(ctx, &ecs.CreateServiceInput{Cluster: aws.String("main"), ServiceName: aws.String("web"), TaskDefinition: definition.TaskDefinition.TaskDefinitionArn, DesiredCount: aws.Int32(4),
		AvailabilityZoneRebalancing: ecstypes.AvailabilityZoneRebalancingDisabled}); err != nil {
		t.Fatal(err)
	}
	queue, err := sqs.NewFromConfig(root).CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("slipway-main-notices")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloudwatch.NewFromConfig(root).PutMetricAlarm(ctx, &cloudwatch.PutMetricAlarmInput{AlarmName: aws.String("web-errors"), Namespace: aws.String("Web"), MetricName: aws.String("Errors"), Statistic: cwtypes.StatisticSum,
		Period: aws.Int32(60), EvaluationPeriods: aws.Int32(1), Threshold: aws.Float64(1), ComparisonOperator: cwtypes.ComparisonOperatorGreaterThanThreshold, TreatMissingData: aws.String("notBreaching")}); err != nil {
		t.Fatal(err)
	}
	to, err := owner.RotationTarget(ctx, group, "", "ami-0510ca10ca10ca231", false)
	if err != nil {
		t.Fatal(err)
	}

	policy := iampolicy.Controller(iampolicy.Scope{Partition: "aws", Region: "us-east-1", Account: "000000000000", Cluster: "main", Group: group})
	as(t, url, "controller", policy.Text())
	c, err := awscloud.Open(ctx, awscloud.Options{Region: "us-east-1", Endpoint: url})
	if err != nil {
		t.Fatal(err)
	}
	lease := c.Lease("main", "one", 30*time.Second)
	if held, err := lease.Hold(ctx, time.Now()); err != nil || !held {
		t.Fatalf("leading: %v, %v", held, err)
	}
	d, r := c.Drain("main", drain.Defaults{Deadline: time.Hour, Policy: drain.Abort}), c.Rotate("main")
	s := c.Autoscale("main", autoscale.Config{Deadline: time.Hour})
	d.Notices = c.Notices(*queue.QueueUrl)
	until := func(what string, done func(*drain.State) bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			if _, _, err := d.Step(ctx); err != nil {
				t.Fatalf("%s: draining: %v", what, err)
			}
			if _, err := r.Step(ctx); err != nil {
				t.Fatalf("%s: rotating: %v", what, err)
			}
			if _, err := s.Step(ctx); err != nil {
				t.Fatalf("%s: scaling: %v", what, err)
			}
			seen, _, err := d.Look(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if done(seen) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("not within a minute: %s; %d instances, %+v", what, len(seen.Instances), seen.Services)
			}
		}
	}
	settled := func(s *drain.State) bool { return len(s.Instances) == 2 && s.Services["web"].Running == 4 }
	until("it grows", settled)
	seen, _, err := d.Look(ctx)
	if err != nil {
		t.Fatal(err)
	}
	first := seen.Instances[0].EC2ID
	notice := `{"detail-type":"EC2 Instance Rebalance Recommendation","source":"aws.ec2","time":"` + d.Clock.Now().UTC().Format(time.RFC3339) + `","detail":{"instance-id":"` + first + `"}}`
	if _, err := sqs.NewFromConfig(root).SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: queue.QueueUrl, MessageBody: &notice}); err != nil {
		t.Fatal(err)
	}
	until("it heeds a notice", func(s *drain.State) bool { return s.Find(first) == nil && settled(s) })
	if _, err := autoscaling.NewFromConfig(root).PutLifecycleHook(ctx, &autoscaling.PutLifecycleHookInput{AutoScalingGroupName: &group, LifecycleHookName: aws.String("slipway-drain"),
		LifecycleTransition: aws.String("autoscaling:EC2_INSTANCE_TERMINATING"), HeartbeatTimeout: aws.Int32(30), DefaultResult: aws.String("CONTINUE")}); err != nil {
		t.Fatal(err)
	}
	seen, _, err = d.Look(ctx)
	if err != nil {
		t.Fatal(err)
	}
	second := seen.Instances[0].EC2ID
	if _, err := autoscaling.NewFromConfig(root).TerminateInstanceInAutoScalingGroup(ctx, &autoscaling.TerminateInstanceInAutoScalingGroupInput{InstanceId: &second, ShouldDecrementDesiredCapacity: aws.Bool(false)}); err != nil {
		t.Fatal(err)
	}
	until("it answers a hook", func(s *drain.State) bool { return s.Find(second) == nil && settled(s) })
	g, err := r.Propose(ctx, group, rotate.Rotation{To: to, Surge: 1, Deadline: time.Hour, Join: time.Hour, OnFailure: rotate.Pause, Alarms: []string{"web-errors"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Begin(ctx, g); err != nil {
		t.Fatal(err)
	}
	until("it rotates", func(s *drain.State) bool {
		plans, err := r.Look(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return len(plans) == 0 && settled(s)
	})
	if _, err := tasks.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: aws.String("main"), Service: aws.String("web"), DesiredCount: aws.Int32(2)}); err != nil {
		t.Fatal(err)
	}
	until("it shrinks", func(s *drain.State) bool { return len(s.Instances) == 1 && s.Services["web"].Running == 2 })
	if err := lease.Release(context.WithoutCancel(ctx)); err != nil {
		t.Error(err)
	}
	needed(t, run{policy, asked.enough(t, "controller")})
}
