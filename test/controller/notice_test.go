package controller

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/drain"
)

// A Spot interruption warning in the queue empties the instance, within the two minutes there are, and the
// group launches another. What is no notice is removed, and a queue that is not there stops no drain.
func TestSpotNotice(t *testing.T) {
	w := newWorld(t, 3, 4)
	ctx, queue := t.Context(), sqs.NewFromConfig(w.aws.Config)
	url := must[sqs.CreateQueueOutput](t)(queue.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("slipway-c-notices")})).QueueUrl
	c, err := awscloud.Open(ctx, awscloud.Options{Region: "us-east-1", Endpoint: w.aws.Endpoint})
	if err != nil {
		t.Fatal(err)
	}
	var victim string
	for _, i := range w.look().Instances {
		if len(i.Tasks) > 0 {
			victim = i.EC2ID
		}
	}
	e := w.engines(nil)
	e.drain.Notices = c.Notices(*url)
	at := e.drain.Clock.Now().UTC().Format("2006-01-02T15:04:05Z")
	for _, body := range []string{
		`{"Service":"AWS Auto Scaling","Event":"autoscaling:TEST_NOTIFICATION"}`,
		`{"detail-type":"EC2 Spot Instance Interruption Warning","source":"aws.ec2","time":"` + at + `","detail":{"instance-id":"` + victim + `","instance-action":"terminate"}}`,
		`{"detail-type":"EC2 Spot Instance Interruption Warning","source":"aws.ec2","time":"` + at + `","detail":{"instance-id":"i-ofanother","instance-action":"terminate"}}`,
	} {
		must[sqs.SendMessageOutput](t)(queue.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: url, MessageBody: &body}))
	}
	w.until("it is replaced", func(s *drain.State) bool {
		if err := e.turn(ctx, false); err != nil {
			t.Fatal(err)
		}
		return s.Find(victim) == nil && len(s.Instances) == 3 && s.Services["web"].Running == 4
	})
	got := must[sqs.GetQueueAttributesOutput](t)(queue.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: url, AttributeNames: []sqstypes.QueueAttributeName{"ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"}}))
	for name, n := range got.Attributes {
		if n != "0" {
			t.Errorf("%s is %s", name, n)
		}
	}

	e.drain.Notices = c.Notices(*url + "-none")
	next := w.look().Instances[0].EC2ID
	if err := e.drain.Begin(ctx, next, drain.Mark{Deadline: e.drain.Clock.Now().Add(1e12), Policy: drain.Abort}); err != nil {
		t.Fatal(err)
	}
	w.until("another drains", func(s *drain.State) bool {
		if err := e.turn(ctx, false); err == nil || !strings.Contains(err.Error(), "heeding notices") {
			t.Fatalf("error %v", err)
		}
		return s.Find(next).Status == "DRAINING"
	})
	if i, err := e.drain.Reopen(ctx, next); err != nil || i.EC2ID != next {
		t.Error(i, err)
	}
	if i := w.look().Find(next); i.Status != "ACTIVE" || i.Mark != nil {
		t.Errorf("after reopening: %s, %v", i.Status, i.Mark)
	}
}

// AWS Health tells of two instances in one event. A controller that is killed before or after any of the calls
// that follow from it is followed by one that remembers nothing: both instances are emptied and replaced, and
// the event is heeded once.
func TestHealthNoticeOfSeveral(t *testing.T) {
	for n := 1; n <= 3; n++ { // two marks, and the message's removal
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d after=%v", n, after), func(t *testing.T) {
				w := newWorld(t, 4, 4)
				ctx, queue := t.Context(), sqs.NewFromConfig(w.aws.Config)
				url := must[sqs.CreateQueueOutput](t)(queue.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("slipway-c-notices")})).QueueUrl
				s := w.look()
				a, b := s.Instances[0].EC2ID, s.Instances[1].EC2ID
				body := `{"detail-type":"AWS Health Event","source":"aws.health","time":"2026-07-01T12:00:00Z","detail":{"service":"EC2","eventTypeCode":"AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED","eventTypeCategory":"scheduledChange","statusCode":"upcoming","affectedEntities":[{"entityValue":"` + a + `"},{"entityValue":"arn:aws:ec2:us-east-1:000000000000:instance/` + b + `"}]}}`
				must[sqs.SendMessageOutput](t)(queue.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: url, MessageBody: &body}))
				process := func(client aws.HTTPClient) *engines {
					c, err := awscloud.Open(ctx, awscloud.Options{Region: "us-east-1", Endpoint: w.aws.Endpoint, HTTP: client})
					if err != nil {
						t.Fatal(err)
					}
					e := w.engines(client)
					e.drain.Notices = c.Notices(*url)
					return e
				}
				life, cancel := context.WithCancel(ctx)
				d := &dying{n: n, after: after, cancel: cancel}
				_ = process(d).turn(life, false) // it is killed in it
				cancel()
				if !d.dead {
					t.Fatalf("it lives: %v", d.calls)
				}
				e := process(nil)
				w.until("both are replaced", func(s *drain.State) bool {
					if err := e.turn(ctx, false); err != nil {
						t.Fatal(err)
					}
					return s.Find(a) == nil && s.Find(b) == nil && len(s.Instances) == 4 && s.Services["web"].Running == 4
				})
				steady(w, w.look(), 4, 4)
				w.until("the message is gone", func(*drain.State) bool {
					if err := e.turn(ctx, false); err != nil {
						t.Fatal(err)
					}
					got := must[sqs.GetQueueAttributesOutput](t)(queue.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: url, AttributeNames: []sqstypes.QueueAttributeName{"ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"}}))
					return got.Attributes["ApproximateNumberOfMessages"] == "0" && got.Attributes["ApproximateNumberOfMessagesNotVisible"] == "0"
				})
			})
		}
	}
}
