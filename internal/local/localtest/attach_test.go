package localtest_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

// Instances are attached, put on standby and brought back; the group's target group follows, its topic
// is told, its metrics count.
func TestAttachAndStandby(t *testing.T) {
	a := localtest.Start(t, localtest.Speed(50), localtest.Runtime("virtual"))
	f, ctx := newFleet(t, a, "hosts", 1, 4), t.Context()
	queue := ok[sqs.CreateQueueOutput](t)(sqs.NewFromConfig(a.Config).CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("scaling")}))
	topic := ok[sns.CreateTopicOutput](t)(sns.NewFromConfig(a.Config).CreateTopic(ctx, &sns.CreateTopicInput{Name: aws.String("scaling")})).TopicArn
	attr := ok[sqs.GetQueueAttributesOutput](t)(sqs.NewFromConfig(a.Config).GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: queue.QueueUrl, AttributeNames: []sqstypes.QueueAttributeName{"QueueArn"}}))
	ok[sns.SubscribeOutput](t)(sns.NewFromConfig(a.Config).Subscribe(ctx, &sns.SubscribeInput{TopicArn: topic, Protocol: aws.String("sqs"), Endpoint: aws.String(attr.Attributes["QueueArn"]), Attributes: map[string]string{"RawMessageDelivery": "true"}}))
	a.Must(t, "autoscaling", "put-notification-configuration", "--auto-scaling-group-name", "hosts", "--topic-arn", *topic, "--notification-types", "autoscaling:EC2_INSTANCE_LAUNCH", "autoscaling:EC2_INSTANCE_TERMINATE")
	told := func(event, instance string) {
		t.Helper()
		localtest.Eventually(t, "the topic is told of "+event+" "+instance, func() bool {
			got := ok[sqs.ReceiveMessageOutput](t)(sqs.NewFromConfig(a.Config).ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: queue.QueueUrl, MaxNumberOfMessages: 10, VisibilityTimeout: 1}))
			return slices.ContainsFunc(got.Messages, func(m sqstypes.Message) bool {
				var n struct{ Event, EC2InstanceId, AutoScalingGroupName string }
				err := json.Unmarshal([]byte(*m.Body), &n)
				return err == nil && n.Event == event && n.AutoScalingGroupName == "hosts" && strings.HasSuffix(n.EC2InstanceId, instance)
			})
		})
	}
	told("autoscaling:TEST_NOTIFICATION", "")
	first := f.reaches("InService", 1)[0]

	balancers := elb.NewFromConfig(a.Config)
	vpc := ok[ec2.DescribeVpcsOutput](t)(ec2.NewFromConfig(a.Config).DescribeVpcs(ctx, &ec2.DescribeVpcsInput{})).Vpcs[0].VpcId
	group := ok[elb.CreateTargetGroupOutput](t)(balancers.CreateTargetGroup(ctx, &elb.CreateTargetGroupInput{Name: aws.String("web"), Protocol: "HTTP", Port: aws.Int32(80), VpcId: vpc, TargetType: "instance"})).TargetGroups[0].TargetGroupArn
	targets := func() map[string]string {
		out := map[string]string{}
		for _, d := range ok[elb.DescribeTargetHealthOutput](t)(balancers.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: group})).TargetHealthDescriptions {
			out[*d.Target.Id] = string(d.TargetHealth.State)
		}
		return out
	}
	_, failure := a.CLI(t, "autoscaling", "attach-load-balancer-target-groups", "--auto-scaling-group-name", "hosts", "--target-group-arns", *group+"x")
	if !strings.Contains(failure, "ValidationError") {
		t.Errorf("a target group that is not there: %s", failure)
	}
	a.Must(t, "autoscaling", "attach-load-balancer-target-groups", "--auto-scaling-group-name", "hosts", "--target-group-arns", *group)
	if got := targets(); len(got) != 1 || got[first] == "" {
		t.Errorf("targets %v, want %s", got, first)
	}
	shown := a.Must(t, "autoscaling", "describe-traffic-sources", "--auto-scaling-group-name", "hosts")
	if s := shown["TrafficSources"].([]any); len(s) != 1 || s[0].(map[string]any)["State"] != "Added" {
		t.Errorf("traffic sources %v", shown)
	}

	// One that runs already is attached; the zones may stay uneven.
	a.Must(t, "autoscaling", "suspend-processes", "--auto-scaling-group-name", "hosts", "--scaling-processes", "AZRebalance")
	run := ok[ec2.RunInstancesOutput](t)(ec2.NewFromConfig(a.Config).RunInstances(ctx, &ec2.RunInstancesInput{MinCount: aws.Int32(1), MaxCount: aws.Int32(1), LaunchTemplate: &ec2types.LaunchTemplateSpecification{LaunchTemplateName: aws.String("hosts")}}))
	second := *run.Instances[0].InstanceId
	localtest.Eventually(t, "the instance runs", func() bool {
		_, err := f.as.AttachInstances(ctx, &autoscaling.AttachInstancesInput{AutoScalingGroupName: aws.String("hosts"), InstanceIds: []string{second}})
		return err == nil
	})
	_, err := f.as.AttachInstances(ctx, &autoscaling.AttachInstancesInput{AutoScalingGroupName: aws.String("hosts"), InstanceIds: []string{second}})
	refused(t, err, "ValidationError")
	if g := f.describe(); *g.DesiredCapacity != 2 || len(g.Instances) != 2 {
		t.Errorf("after attaching: %d desired, %d instances", *g.DesiredCapacity, len(g.Instances))
	}
	localtest.Eventually(t, "both are targets", func() bool { return len(targets()) == 2 })

	// On standby it takes no traffic, and another is launched in its place.
	ok[autoscaling.EnterStandbyOutput](t)(f.as.EnterStandby(ctx, &autoscaling.EnterStandbyInput{AutoScalingGroupName: aws.String("hosts"), InstanceIds: []string{first}, ShouldDecrementDesiredCapacity: aws.Bool(false)}))
	f.reaches("InService", 2)
	if got := f.in("Standby"); !slices.Equal(got, []string{first}) {
		t.Errorf("on standby: %v", got)
	}
	localtest.Eventually(t, "the target is gone", func() bool { st := targets()[first]; return st == "" || st == "draining" })
	told("autoscaling:EC2_INSTANCE_LAUNCH", f.in("InService")[1])
	a.Must(t, "autoscaling", "exit-standby", "--auto-scaling-group-name", "hosts", "--instance-ids", first)
	f.reaches("InService", 3)
	_, err = f.as.EnterStandby(ctx, &autoscaling.EnterStandbyInput{AutoScalingGroupName: aws.String("hosts"), InstanceIds: []string{"i-00000000000000000"}, ShouldDecrementDesiredCapacity: aws.Bool(true)})
	refused(t, err, "ValidationError")

	a.Must(t, "autoscaling", "enable-metrics-collection", "--auto-scaling-group-name", "hosts", "--granularity", "1Minute", "--metrics", "GroupInServiceInstances")
	localtest.Eventually(t, "the metric counts three", func() bool {
		out := ok[cloudwatch.GetMetricStatisticsOutput](t)(cloudwatch.NewFromConfig(a.Config).GetMetricStatistics(ctx, &cloudwatch.GetMetricStatisticsInput{Namespace: aws.String("AWS/AutoScaling"), MetricName: aws.String("GroupInServiceInstances"),
			Dimensions: []cwtypes.Dimension{{Name: aws.String("AutoScalingGroupName"), Value: aws.String("hosts")}}, StartTime: aws.Time(time.Now().Add(-time.Hour)), EndTime: aws.Time(time.Now().Add(12 * time.Hour)), Period: aws.Int32(60), Statistics: []cwtypes.Statistic{"Maximum"}}))
		return slices.ContainsFunc(out.Datapoints, func(d cwtypes.Datapoint) bool { return *d.Maximum == 3 })
	})

	out := ok[autoscaling.BatchPutScheduledUpdateGroupActionOutput](t)(f.as.BatchPutScheduledUpdateGroupAction(ctx, &autoscaling.BatchPutScheduledUpdateGroupActionInput{AutoScalingGroupName: aws.String("hosts"), ScheduledUpdateGroupActions: []astypes.ScheduledUpdateGroupActionRequest{
		{ScheduledActionName: aws.String("night"), Recurrence: aws.String("0 22 * * *"), DesiredCapacity: aws.Int32(1)}, {ScheduledActionName: aws.String("wrong"), Recurrence: aws.String("often"), DesiredCapacity: aws.Int32(1)}}}))
	if len(out.FailedScheduledUpdateGroupActions) != 1 || *out.FailedScheduledUpdateGroupActions[0].ScheduledActionName != "wrong" {
		t.Errorf("failed actions: %+v", out.FailedScheduledUpdateGroupActions)
	}
	gone := ok[autoscaling.BatchDeleteScheduledActionOutput](t)(f.as.BatchDeleteScheduledAction(ctx, &autoscaling.BatchDeleteScheduledActionInput{AutoScalingGroupName: aws.String("hosts"), ScheduledActionNames: []string{"night", "none"}}))
	if len(gone.FailedScheduledActions) != 1 || *gone.FailedScheduledActions[0].ScheduledActionName != "none" {
		t.Errorf("failed deletions: %+v", gone.FailedScheduledActions)
	}

	ok[autoscaling.DetachLoadBalancerTargetGroupsOutput](t)(f.as.DetachLoadBalancerTargetGroups(ctx, &autoscaling.DetachLoadBalancerTargetGroupsInput{AutoScalingGroupName: aws.String("hosts"), TargetGroupARNs: []string{*group}}))
	for id, st := range targets() {
		if st != "draining" {
			t.Errorf("after detaching, target %s is %s", id, st)
		}
	}
}
