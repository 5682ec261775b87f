package localtest_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	ebtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

// tell makes a rule that sends what matches to a queue.
func tell(t *testing.T, a *localtest.AWS, name, pattern string) (queueURL string) {
	t.Helper()
	c := eventbridge.NewFromConfig(a.Config)
	q, arn := queue(t, sqs.NewFromConfig(a.Config), name, nil)
	ok[eventbridge.PutRuleOutput](t)(c.PutRule(t.Context(), &eventbridge.PutRuleInput{Name: &name, EventPattern: &pattern}))
	ok[eventbridge.PutTargetsOutput](t)(c.PutTargets(t.Context(), &eventbridge.PutTargetsInput{Rule: &name, Targets: []ebtypes.Target{{Id: aws.String("q"), Arn: &arn}}}))
	return q
}

// heard waits for a message in a queue and returns its body.
func heard(t *testing.T, a *localtest.AWS, queueURL string) map[string]any {
	t.Helper()
	c := sqs.NewFromConfig(a.Config)
	var m map[string]any
	localtest.Eventually(t, "a message in "+queueURL, func() bool {
		got := receive(t, c, queueURL)
		return len(got) > 0 && json.Unmarshal([]byte(str(got[0].Body)), &m) == nil
	})
	return m
}

func TestAlarmsTellTopicsAndEventBridge(t *testing.T) {
	a := localtest.Start(t)
	cw, ctx := cloudwatch.NewFromConfig(a.Config), t.Context()
	events := tell(t, a, "alarms", `{"source":["aws.cloudwatch"],"detail":{"state":{"value":["ALARM"]}}}`)
	topic := ok[sns.CreateTopicOutput](t)(sns.NewFromConfig(a.Config).CreateTopic(ctx, &sns.CreateTopicInput{Name: aws.String("pager")})).TopicArn
	inbox, arn := queue(t, sqs.NewFromConfig(a.Config), "pager", nil)
	ok[sns.SubscribeOutput](t)(sns.NewFromConfig(a.Config).Subscribe(ctx, &sns.SubscribeInput{TopicArn: topic, Protocol: aws.String("sqs"), Endpoint: &arn, Attributes: map[string]string{"RawMessageDelivery": "true"}}))
	ok[cloudwatch.PutMetricAlarmOutput](t)(cw.PutMetricAlarm(ctx, &cloudwatch.PutMetricAlarmInput{AlarmName: aws.String("deep"), Namespace: aws.String("App"), MetricName: aws.String("Depth"), Statistic: cwtypes.StatisticAverage,
		Period: aws.Int32(60), EvaluationPeriods: aws.Int32(1), Threshold: aws.Float64(1), ComparisonOperator: cwtypes.ComparisonOperatorGreaterThanThreshold, AlarmActions: []string{*topic}}))
	ok[cloudwatch.SetAlarmStateOutput](t)(cw.SetAlarmState(ctx, &cloudwatch.SetAlarmStateInput{AlarmName: aws.String("deep"), StateValue: cwtypes.StateValueAlarm, StateReason: aws.String("by hand")}))
	same(t, "the topic's alarm", heard(t, a, inbox)["AlarmName"], any("deep"))
	e := heard(t, a, events)
	same(t, "type", e["detail-type"], any("CloudWatch Alarm State Change"))
	same(t, "alarm", e["detail"].(map[string]any)["alarmName"], any("deep"))

	// One on an expression tells of all its metrics.
	ok[cloudwatch.PutMetricAlarmOutput](t)(cw.PutMetricAlarm(ctx, &cloudwatch.PutMetricAlarmInput{AlarmName: aws.String("rate"), EvaluationPeriods: aws.Int32(1), Threshold: aws.Float64(1),
		ComparisonOperator: cwtypes.ComparisonOperatorGreaterThanThreshold, AlarmActions: []string{*topic}, Metrics: []cwtypes.MetricDataQuery{mathQuery("rate", "errors/requests"), metricQuery("errors", "Errors", false), metricQuery("requests", "Requests", false)}}))
	ok[cloudwatch.SetAlarmStateOutput](t)(cw.SetAlarmState(ctx, &cloudwatch.SetAlarmStateInput{AlarmName: aws.String("rate"), StateValue: cwtypes.StateValueAlarm, StateReason: aws.String("by hand")}))
	message := heard(t, a, inbox)
	same(t, "the topic's alarm", message["AlarmName"], any("rate"))
	if told := message["Trigger"].(map[string]any)["Metrics"].([]any); len(told) != 3 || told[0].(map[string]any)["Expression"] != "errors/requests" {
		t.Errorf("the topic is told %v", told)
	}
	metrics := heard(t, a, events)["detail"].(map[string]any)["configuration"].(map[string]any)["metrics"].([]any)
	if first := metrics[0].(map[string]any); len(metrics) != 3 || first["expression"] != "errors/requests" || first["returnData"] != true {
		t.Errorf("the event has %v", metrics)
	}
	if second := metrics[1].(map[string]any); second["returnData"] != false || second["metricStat"].(map[string]any)["metric"].(map[string]any)["name"] != "Errors" {
		t.Errorf("the event has %v", second)
	}
}

func TestLifecycleHooksTellEventBridge(t *testing.T) {
	a := localtest.Start(t, localtest.Speed(50))
	as, ctx := autoscaling.NewFromConfig(a.Config), t.Context()
	q := tell(t, a, "hooks", `{"source":["aws.autoscaling"],"detail-type":["EC2 Instance-launch Lifecycle Action"]}`)
	ok[ec2.CreateLaunchTemplateOutput](t)(ec2.NewFromConfig(a.Config).CreateLaunchTemplate(ctx, &ec2.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("host"),
		LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: aws.String(image), InstanceType: ec2types.InstanceTypeM5Large}}))
	a.Must(t, "autoscaling", "create-auto-scaling-group", "--auto-scaling-group-name", "hosts", "--launch-template", "LaunchTemplateName=host", "--min-size", "0", "--max-size", "1", "--availability-zones", "us-east-1a")
	ok[autoscaling.PutLifecycleHookOutput](t)(as.PutLifecycleHook(ctx, &autoscaling.PutLifecycleHookInput{AutoScalingGroupName: aws.String("hosts"), LifecycleHookName: aws.String("boot"),
		LifecycleTransition: aws.String("autoscaling:EC2_INSTANCE_LAUNCHING"), HeartbeatTimeout: aws.Int32(7200), NotificationMetadata: aws.String(`{"cluster":"prod"}`)}))
	ok[autoscaling.SetDesiredCapacityOutput](t)(as.SetDesiredCapacity(ctx, &autoscaling.SetDesiredCapacityInput{AutoScalingGroupName: aws.String("hosts"), DesiredCapacity: aws.Int32(1)}))
	e := heard(t, a, q)
	detail := e["detail"].(map[string]any)
	same(t, "hook", detail["LifecycleHookName"], any("boot"))
	same(t, "metadata", detail["NotificationMetadata"], any(`{"cluster":"prod"}`))
	// Its token completes the action.
	ok[autoscaling.CompleteLifecycleActionOutput](t)(as.CompleteLifecycleAction(ctx, &autoscaling.CompleteLifecycleActionInput{AutoScalingGroupName: aws.String("hosts"), LifecycleHookName: aws.String("boot"),
		LifecycleActionToken: aws.String(detail["LifecycleActionToken"].(string)), LifecycleActionResult: aws.String("CONTINUE")}))
	if res := e["resources"].([]any); len(res) != 1 || !strings.Contains(res[0].(string), ":autoScalingGroup:") {
		t.Errorf("resources are %v", res)
	}
}

func TestQueueDepthIsAMetric(t *testing.T) {
	a := localtest.Start(t, localtest.Speed(60))
	qc, cw, ctx := sqs.NewFromConfig(a.Config), cloudwatch.NewFromConfig(a.Config), t.Context()
	q, _ := queue(t, qc, "work", nil)
	for range 3 {
		ok[sqs.SendMessageOutput](t)(qc.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &q, MessageBody: aws.String("x")}))
	}
	localtest.Eventually(t, "the depth is measured", func() bool {
		out, err := cw.GetMetricStatistics(ctx, &cloudwatch.GetMetricStatisticsInput{Namespace: aws.String("AWS/SQS"), MetricName: aws.String("ApproximateNumberOfMessagesVisible"), Period: aws.Int32(60),
			Dimensions: []cwtypes.Dimension{{Name: aws.String("QueueName"), Value: aws.String("work")}}, Statistics: []cwtypes.Statistic{cwtypes.StatisticMaximum},
			StartTime: aws.Time(time.Now().Add(-time.Hour)), EndTime: aws.Time(time.Now().Add(24 * time.Hour))})
		return err == nil && len(out.Datapoints) > 0 && aws.ToFloat64(out.Datapoints[0].Maximum) == 3
	})
}
