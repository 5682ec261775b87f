package awscloud

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/slipway-ecs/slipway/internal/drain"
)

// noticeQueue is an SQS queue that an EventBridge rule sends EC2's and Health's events to.
type noticeQueue struct {
	sqs *sqs.Client
	url string
}

// Notices reads notices from the queue with this URL.
func (c *Cloud) Notices(queueURL string) drain.Notices {
	return &noticeQueue{sqs.NewFromConfig(c.cfg), queueURL}
}

func (q *noticeQueue) Receive(ctx context.Context) ([]drain.Notice, error) {
	var all []drain.Notice
	for range 10 { // at most a hundred messages a turn
		out, err := q.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &q.url, MaxNumberOfMessages: 10, VisibilityTimeout: 30})
		if err != nil {
			return nil, fmt.Errorf("reading queue %s: %w", q.url, trouble(err))
		}
		if len(out.Messages) == 0 {
			break
		}
		for _, m := range out.Messages {
			body := []byte(aws.ToString(m.Body))
			// A queue behind a topic wraps the event.
			var wrapped struct{ Type, Message string }
			if json.Unmarshal(body, &wrapped) == nil && wrapped.Type == "Notification" {
				body = []byte(wrapped.Message)
			}
			got, err := drain.ParseNotices(body)
			if err != nil || len(got) == 0 { // the test notification, or someone else's: it would come for ever
				if err := q.Done(ctx, drain.Notice{Receipt: aws.ToString(m.ReceiptHandle)}); err != nil {
					return nil, err
				}
				continue
			}
			for k := range got {
				got[k].Receipt = aws.ToString(m.ReceiptHandle)
			}
			all = append(all, got...)
		}
	}
	return all, nil
}

func (q *noticeQueue) Done(ctx context.Context, n drain.Notice) error {
	_, err := q.sqs.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &q.url, ReceiptHandle: &n.Receipt})
	return trouble(err)
}
