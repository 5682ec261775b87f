package localtest_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	ebtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	schedtypes "github.com/aws/aws-sdk-go-v2/service/scheduler/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

func TestS3(t *testing.T) {
	dir := t.TempDir()
	a := localtest.Start(t, localtest.Dir(dir))
	ctx := t.Context()
	client := func(a *localtest.AWS) *s3.Client {
		return s3.NewFromConfig(a.Config, func(o *s3.Options) { o.UsePathStyle = true })
	}
	c := client(a)
	ok[s3.CreateBucketOutput](t)(c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("states")}))
	put := func(key, body, match, noneMatch string) (*s3.PutObjectOutput, error) {
		in := &s3.PutObjectInput{Bucket: aws.String("states"), Key: &key, Body: strings.NewReader(body)}
		if match != "" {
			in.IfMatch = &match
		}
		if noneMatch != "" {
			in.IfNoneMatch = &noneMatch
		}
		return c.PutObject(ctx, in)
	}
	first := ok[s3.PutObjectOutput](t)(put("lock", "me", "", "*"))
	_, err := put("lock", "you", "", "*")
	refused(t, err, "PreconditionFailed")
	_, err = put("lock", "you", `"00000000000000000000000000000000"`, "")
	refused(t, err, "PreconditionFailed")
	ok[s3.PutObjectOutput](t)(put("lock", "me again", str(first.ETag), ""))
	_, err = put("none", "x", str(first.ETag), "")
	refused(t, err, "NoSuchKey")

	ok[s3.PutBucketVersioningOutput](t)(c.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: aws.String("states"), VersioningConfiguration: &s3types.VersioningConfiguration{Status: s3types.BucketVersioningStatusEnabled}}))
	v1 := ok[s3.PutObjectOutput](t)(put("state", "one", "", ""))
	ok[s3.PutObjectOutput](t)(put("state", "two", "", ""))
	ok[s3.DeleteObjectOutput](t)(c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String("states"), Key: aws.String("state")}))
	_, err = c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("states"), Key: aws.String("state")})
	refused(t, err, "NoSuchKey")

	// What was acknowledged is there after a restart.
	a.Stop()
	c = client(localtest.Start(t, localtest.Dir(dir)))
	got := ok[s3.GetObjectOutput](t)(c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("states"), Key: aws.String("state"), VersionId: v1.VersionId}))
	body, _ := io.ReadAll(got.Body)
	same(t, "the first version", string(body), "one")
	list := ok[s3.ListObjectVersionsOutput](t)(c.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: aws.String("states"), Prefix: aws.String("state")}))
	same(t, "versions", len(list.Versions), 2)
	same(t, "delete markers", len(list.DeleteMarkers), 1)
	_, err = c.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: aws.String("states")})
	refused(t, err, "NoSuchBucketPolicy")
}

func TestS3FromTheCLI(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the AWS CLI")
	}
	a := localtest.Start(t)
	a.Must(t, "s3api", "create-bucket", "--bucket", "things")
	a.Must(t, "s3api", "put-object", "--bucket", "things", "--key", "a", "--if-none-match", "*")
	if _, failure := a.CLI(t, "s3api", "put-object", "--bucket", "things", "--key", "a", "--if-none-match", "*"); !strings.Contains(failure, "PreconditionFailed") {
		t.Errorf("said %s", failure)
	}
	listed := a.Must(t, "s3api", "list-objects-v2", "--bucket", "things")
	same(t, "objects", len(listed["Contents"].([]any)), 1)
}

func queue(t *testing.T, c *sqs.Client, name string, attributes map[string]string) (queueURL, arn string) {
	t.Helper()
	out := ok[sqs.CreateQueueOutput](t)(c.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes}))
	return str(out.QueueUrl), "arn:aws:sqs:us-east-1:000000000000:" + name
}

func receive(t *testing.T, c *sqs.Client, queueURL string) []sqstypes.Message {
	t.Helper()
	return ok[sqs.ReceiveMessageOutput](t)(c.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &queueURL, MaxNumberOfMessages: 10, WaitTimeSeconds: 20, MessageAttributeNames: []string{"All"}})).Messages
}

func TestSQS(t *testing.T) {
	a := localtest.Start(t, localtest.Speed(20))
	c, ctx := sqs.NewFromConfig(a.Config), t.Context()
	_, dlqARN := queue(t, c, "dead", nil)
	q, _ := queue(t, c, "work", map[string]string{"VisibilityTimeout": "5", "RedrivePolicy": `{"deadLetterTargetArn":"` + dlqARN + `","maxReceiveCount":"1"}`})
	// The SDK checks both MD5 sums.
	ok[sqs.SendMessageOutput](t)(c.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &q, MessageBody: aws.String("hello"), MessageAttributes: map[string]sqstypes.MessageAttributeValue{"n": {DataType: aws.String("Number"), StringValue: aws.String("7")}}}))
	got := receive(t, c, q)
	same(t, "messages", len(got), 1)
	same(t, "attribute", str(got[0].MessageAttributes["n"].StringValue), "7")
	// Not deleted: it becomes visible, and goes to the dead-letter queue instead of being received again.
	dead := "http://x/dead"
	localtest.Eventually(t, "the message is in the dead-letter queue", func() bool {
		_, _ = c.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &q})
		attrs := ok[sqs.GetQueueAttributesOutput](t)(c.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &dead, AttributeNames: []sqstypes.QueueAttributeName{"All"}})).Attributes
		return attrs["ApproximateNumberOfMessages"] == "1"
	})
	// A group of a FIFO queue is received in order, and waits for its first.
	fifo, _ := queue(t, c, "order.fifo", map[string]string{"FifoQueue": "true", "ContentBasedDeduplication": "true", "VisibilityTimeout": "600"})
	for _, body := range []string{"1", "2", "2", "3"} {
		ok[sqs.SendMessageOutput](t)(c.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &fifo, MessageBody: &body, MessageGroupId: aws.String("g")}))
	}
	one := ok[sqs.ReceiveMessageOutput](t)(c.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &fifo})).Messages
	same(t, "first", str(one[0].Body), "1")
	same(t, "of a group in flight", len(ok[sqs.ReceiveMessageOutput](t)(c.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &fifo})).Messages), 0)
	ok[sqs.DeleteMessageOutput](t)(c.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &fifo, ReceiptHandle: one[0].ReceiptHandle}))
	rest := receive(t, c, fifo)
	same(t, "once each", len(rest), 2)
	_, err := c.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: aws.String("http://x/none"), MessageBody: aws.String("x")})
	refused(t, err, "AWS.SimpleQueueService.NonExistentQueue")
}

func TestSNS(t *testing.T) {
	a := localtest.Start(t)
	c, qc, ctx := sns.NewFromConfig(a.Config), sqs.NewFromConfig(a.Config), t.Context()
	q, arn := queue(t, qc, "inbox", nil)
	topic := ok[sns.CreateTopicOutput](t)(c.CreateTopic(ctx, &sns.CreateTopicInput{Name: aws.String("news")})).TopicArn
	ok[sns.SubscribeOutput](t)(c.Subscribe(ctx, &sns.SubscribeInput{TopicArn: topic, Protocol: aws.String("sqs"), Endpoint: &arn, Attributes: map[string]string{"FilterPolicy": `{"kind":["deploy"]}`}}))

	posts := make(chan map[string]any, 10)
	web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var m map[string]any
		_ = json.NewDecoder(r.Body).Decode(&m)
		posts <- m
	}))
	defer web.Close()
	ok[sns.SubscribeOutput](t)(c.Subscribe(ctx, &sns.SubscribeInput{TopicArn: topic, Protocol: aws.String("http"), Endpoint: &web.URL}))
	asked := <-posts
	same(t, "type", asked["Type"], any("SubscriptionConfirmation"))
	link, err := url.Parse(asked["SubscribeURL"].(string))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(link.String())
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	same(t, "confirmation", resp.StatusCode, 200)

	publish := func(text, kind string) {
		ok[sns.PublishOutput](t)(c.Publish(ctx, &sns.PublishInput{TopicArn: topic, Message: &text, MessageAttributes: map[string]snstypes.MessageAttributeValue{"kind": {DataType: aws.String("String"), StringValue: &kind}}}))
	}
	publish("not for the queue", "other")
	publish("for both", "deploy")
	got := receive(t, qc, q)
	same(t, "messages", len(got), 1)
	contains(t, "the message", str(got[0].Body), "for both")
	<-posts
	<-posts
	_, err = c.Publish(ctx, &sns.PublishInput{TopicArn: aws.String("arn:aws:sns:us-east-1:000000000000:none"), Message: aws.String("x")})
	refused(t, err, "NotFound")
}

// registerJob makes a cluster and a task definition for Fargate.
func registerJob(t *testing.T, a *localtest.AWS) {
	t.Helper()
	c := ecs.NewFromConfig(a.Config)
	ok[ecs.CreateClusterOutput](t)(c.CreateCluster(t.Context(), &ecs.CreateClusterInput{ClusterName: aws.String("prod")}))
	ok[ecs.RegisterTaskDefinitionOutput](t)(c.RegisterTaskDefinition(t.Context(), &ecs.RegisterTaskDefinitionInput{Family: aws.String("job"), NetworkMode: ecstypes.NetworkModeAwsvpc,
		RequiresCompatibilities: []ecstypes.Compatibility{ecstypes.CompatibilityFargate}, Cpu: aws.String("256"), Memory: aws.String("512"),
		ContainerDefinitions: []ecstypes.ContainerDefinition{{Name: aws.String("app"), Image: aws.String("busybox")}}}))
}

const (
	prod   = "arn:aws:ecs:us-east-1:000000000000:cluster/prod"
	job    = "arn:aws:ecs:us-east-1:000000000000:task-definition/job"
	subnet = "subnet-0510ca1000000000a"
)

func startedBy(t *testing.T, a *localtest.AWS, who string) []ecstypes.Task {
	c := ecs.NewFromConfig(a.Config)
	l, err := c.ListTasks(context.WithoutCancel(t.Context()), &ecs.ListTasksInput{Cluster: aws.String("prod"), StartedBy: &who})
	if err != nil || len(l.TaskArns) == 0 {
		return nil
	}
	return ok[ecs.DescribeTasksOutput](t)(c.DescribeTasks(t.Context(), &ecs.DescribeTasksInput{Cluster: aws.String("prod"), Tasks: l.TaskArns})).Tasks
}

func TestEventBridgeRunsTasksAndTellsOfThem(t *testing.T) {
	a := localtest.Start(t, localtest.Speed(50))
	registerJob(t, a)
	c, qc, ctx := eventbridge.NewFromConfig(a.Config), sqs.NewFromConfig(a.Config), t.Context()
	q, arn := queue(t, qc, "tasks", nil)
	ok[eventbridge.PutRuleOutput](t)(c.PutRule(ctx, &eventbridge.PutRuleInput{Name: aws.String("running"), EventPattern: aws.String(`{"source":["aws.ecs"],"detail-type":["ECS Task State Change"],"detail":{"lastStatus":["RUNNING"],"clusterArn":["` + prod + `"]}}`)}))
	ok[eventbridge.PutTargetsOutput](t)(c.PutTargets(ctx, &eventbridge.PutTargetsInput{Rule: aws.String("running"), Targets: []ebtypes.Target{{Id: aws.String("q"), Arn: &arn,
		InputTransformer: &ebtypes.InputTransformer{InputPathsMap: map[string]string{"who": "$.detail.startedBy"}, InputTemplate: aws.String(`{"startedBy": <who>}`)}}}}))
	ok[eventbridge.PutRuleOutput](t)(c.PutRule(ctx, &eventbridge.PutRuleInput{Name: aws.String("often"), ScheduleExpression: aws.String("rate(1 minute)")}))
	ok[eventbridge.PutTargetsOutput](t)(c.PutTargets(ctx, &eventbridge.PutTargetsInput{Rule: aws.String("often"), Targets: []ebtypes.Target{{Id: aws.String("run"), Arn: aws.String(prod), RoleArn: aws.String("arn:aws:iam::000000000000:role/events"),
		Input: aws.String(`{"containerOverrides":[{"name":"app","environment":[{"name":"A","value":"b"}]}]}`),
		EcsParameters: &ebtypes.EcsParameters{TaskDefinitionArn: aws.String(job), LaunchType: ebtypes.LaunchTypeFargate,
			NetworkConfiguration: &ebtypes.NetworkConfiguration{AwsvpcConfiguration: &ebtypes.AwsVpcConfiguration{Subnets: []string{subnet}}}}}}}))
	localtest.Eventually(t, "the rule runs a task", func() bool {
		tasks := startedBy(t, a, "events-rule/often")
		return len(tasks) > 0 && strings.HasPrefix(str(tasks[0].TaskArn), "arn:aws:ecs:us-east-1:000000000000:task/prod/") && len(tasks[0].Overrides.ContainerOverrides) == 1 && str(tasks[0].Overrides.ContainerOverrides[0].Environment[0].Value) == "b"
	})
	localtest.Eventually(t, "the queue is told", func() bool {
		got := receive(t, qc, q)
		return len(got) > 0 && str(got[0].Body) == `{"startedBy": "events-rule/often"}`
	})
	out := ok[eventbridge.PutEventsOutput](t)(c.PutEvents(ctx, &eventbridge.PutEventsInput{Entries: []ebtypes.PutEventsRequestEntry{{Source: aws.String("aws.ecs"), DetailType: aws.String("x"), Detail: aws.String("{}")}}}))
	same(t, "an event in AWS's name", str(out.Entries[0].ErrorCode), "NotAuthorizedForSourceException")
	_, err := c.PutRule(ctx, &eventbridge.PutRuleInput{Name: aws.String("bad"), EventPattern: aws.String(`{"a":"b"}`)})
	refused(t, err, "InvalidEventPatternException")
}

func TestSchedulerRunsTasks(t *testing.T) {
	a := localtest.Start(t, localtest.Speed(50))
	registerJob(t, a)
	c, ctx := scheduler.NewFromConfig(a.Config), t.Context()
	in := &scheduler.CreateScheduleInput{Name: aws.String("often"), ScheduleExpression: aws.String("cron(* * * * ? *)"), ScheduleExpressionTimezone: aws.String("Europe/Berlin"),
		FlexibleTimeWindow: &schedtypes.FlexibleTimeWindow{Mode: schedtypes.FlexibleTimeWindowModeOff},
		Target: &schedtypes.Target{Arn: aws.String(prod), RoleArn: aws.String("arn:aws:iam::000000000000:role/scheduler"), EcsParameters: &schedtypes.EcsParameters{TaskDefinitionArn: aws.String(job), LaunchType: schedtypes.LaunchTypeFargate,
			NetworkConfiguration: &schedtypes.NetworkConfiguration{AwsvpcConfiguration: &schedtypes.AwsVpcConfiguration{Subnets: []string{subnet}}}}}}
	ok[scheduler.CreateScheduleOutput](t)(c.CreateSchedule(ctx, in))
	_, err := c.CreateSchedule(ctx, in)
	refused(t, err, "ConflictException")
	localtest.Eventually(t, "the schedule runs a task", func() bool { return len(startedBy(t, a, "chronos-schedule/often")) > 0 })
	got := ok[scheduler.GetScheduleOutput](t)(c.GetSchedule(ctx, &scheduler.GetScheduleInput{Name: aws.String("often")}))
	same(t, "time zone", str(got.ScheduleExpressionTimezone), "Europe/Berlin")
	ok[scheduler.DeleteScheduleOutput](t)(c.DeleteSchedule(ctx, &scheduler.DeleteScheduleInput{Name: aws.String("often")}))
	_, err = c.GetSchedule(ctx, &scheduler.GetScheduleInput{Name: aws.String("often")})
	refused(t, err, "ResourceNotFoundException")
}
