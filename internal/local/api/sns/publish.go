package sns

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/events"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/snsapi"
	"github.com/slipway-ecs/slipway/internal/local/wire/sqsapi"
)

const largest = 256 << 10 // bytes of a message: https://docs.aws.amazon.com/sns/latest/dg/large-message-payloads.html

// Publish publishes a plain message: for the services that notify topics.
func (s *Service) Publish(topicARN, subject, message string) error {
	_, err := s.publish(context.Background(), &snsapi.PublishInput{TopicArn: &topicARN, Subject: wire.NonEmpty(subject), Message: &message, MessageGroupId: groupFor(topicARN), MessageDeduplicationId: groupFor(topicARN)})
	return err
}

// groupFor gives messages of AWS's own to a FIFO topic a group each.
func groupFor(topicARN string) *string {
	if strings.HasSuffix(topicARN, ".fifo") {
		return wire.Ptr(newID())
	}
	return nil
}

func (s *Service) publish(_ context.Context, in *snsapi.PublishInput) (*snsapi.PublishOutput, error) {
	topic := cmp.Or(wire.Value(in.TopicArn), wire.Value(in.TargetArn))
	if wire.Value(in.PhoneNumber) != "" {
		return nil, wire.Errorf("InvalidParameterException", "not supported: messages to phones")
	}
	message := wire.Value(in.Message)
	bodies := map[string]string{}
	switch {
	case message == "":
		return nil, wire.Errorf("InvalidParameterException", "Invalid parameter: Empty message")
	case len(message) > largest:
		return nil, wire.Errorf("InvalidParameterException", "Invalid parameter: Message too long")
	case len(wire.Value(in.Subject)) > 100:
		return nil, wire.Errorf("InvalidParameterException", "Invalid parameter: Subject")
	case wire.Value(in.MessageStructure) == "json":
		if err := json.Unmarshal([]byte(message), &bodies); err != nil {
			return nil, wire.Errorf("InvalidParameterException", "Invalid parameter: Message Structure - JSON message body failed to parse")
		}
		if _, ok := bodies["default"]; !ok {
			return nil, wire.Errorf("InvalidParameterException", "Invalid parameter: Message Structure - No default entry in JSON message body")
		}
	}
	out := &snsapi.PublishOutput{MessageId: wire.Ptr(newID())}
	var subs []*Subscription
	if err := s.c.DB.Update(func(tx *state.Tx) error {
		t, ok := s.topics.Get(tx, topic)
		if !ok {
			return noTopic()
		}
		if t.Attributes["FifoTopic"] == "true" {
			if in.MessageGroupId == nil {
				return wire.Errorf("InvalidParameterException", "Invalid parameter: The MessageGroupId parameter is required for FIFO topics")
			}
			if in.MessageDeduplicationId == nil && t.Attributes["ContentBasedDeduplication"] != "true" {
				return wire.Errorf("InvalidParameterException", "Invalid parameter: The topic should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly")
			}
			s.topics.Modify(tx, topic, func(t *Topic) { t.Seq++; out.SequenceNumber = wire.Ptr(fmt.Sprintf("%020d", t.Seq)) })
		}
		for _, sub := range s.byTopic.Get(tx, topic) {
			if sub.Token == "" {
				subs = append(subs, sub)
			}
		}
		return nil
	}); err != nil {
		return nil, err
	}
	for _, sub := range subs {
		text := message
		if len(bodies) > 0 {
			if text = bodies["default"]; bodies[sub.Protocol] != "" {
				text = bodies[sub.Protocol]
			}
		}
		if !passes(sub, text, in.MessageAttributes) {
			continue
		}
		if err := s.deliver(sub, *out.MessageId, text, in); err != nil {
			s.c.Log.Warn("SNS could not deliver", "subscription", sub.ARN, "error", err)
		}
	}
	return out, nil
}

// passes judges a subscription's filter policy
// (https://docs.aws.amazon.com/sns/latest/dg/sns-subscription-filter-policies.html).
func passes(sub *Subscription, message string, attributes map[string]snsapi.MessageAttributeValue) bool {
	policy := sub.Attributes["FilterPolicy"]
	if policy == "" || policy == "{}" {
		return true
	}
	p, err := events.Parse(policy)
	if err != nil {
		return false // it was checked when it was set
	}
	if sub.Attributes["FilterPolicyScope"] == "MessageBody" {
		var v any
		if json.Unmarshal([]byte(message), &v) != nil {
			return false
		}
		return p.Match(v)
	}
	values := map[string]any{}
	for k, a := range attributes {
		text := wire.Value(a.StringValue)
		switch kind, _, _ := strings.Cut(wire.Value(a.DataType), "."); {
		case wire.Value(a.DataType) == "String.Array":
			var list any
			if json.Unmarshal([]byte(text), &list) == nil {
				values[k] = list
			}
		case kind == "Number":
			if n, err := strconv.ParseFloat(text, 64); err == nil {
				values[k] = n
			}
		case kind == "String":
			values[k] = text
		}
	}
	return p.Match(values)
}

// envelope is what a subscriber gets that did not ask for raw messages. Its signature is left out:
// there is no certificate that a client could check it with.
type envelope struct {
	Type              string
	MessageID         string `json:"MessageId"`
	Token             string `json:",omitempty"`
	TopicARN          string `json:"TopicArn"`
	Subject           string `json:",omitempty"`
	Message           string
	SubscribeURL      string `json:",omitempty"`
	Timestamp         string
	UnsubscribeURL    string                    `json:",omitempty"`
	MessageAttributes map[string]attributeShown `json:",omitempty"`
}

type attributeShown struct{ Type, Value string }

func (s *Service) link(action string, args ...string) string {
	q := url.Values{"Action": {action}, "Version": {"2010-03-31"}}
	for i := 0; i+1 < len(args); i += 2 {
		q.Set(args[i], args[i+1])
	}
	return "http://" + s.c.Address + "/?" + q.Encode()
}

func (s *Service) stamp() string { return s.c.Clock.Now().UTC().Format("2006-01-02T15:04:05.000Z") }

func (s *Service) wrap(sub *Subscription, id, text string, in *snsapi.PublishInput) string {
	e := envelope{Type: "Notification", MessageID: id, TopicARN: sub.TopicARN, Subject: wire.Value(in.Subject), Message: text, Timestamp: s.stamp(), UnsubscribeURL: s.link("Unsubscribe", "SubscriptionArn", sub.ARN)}
	for k, a := range in.MessageAttributes {
		if e.MessageAttributes == nil {
			e.MessageAttributes = map[string]attributeShown{}
		}
		v := wire.Value(a.StringValue)
		if a.BinaryValue != nil {
			v = base64.StdEncoding.EncodeToString(a.BinaryValue)
		}
		e.MessageAttributes[k] = attributeShown{wire.Value(a.DataType), v}
	}
	return encode(e)
}

func encode(e envelope) string {
	b, err := json.Marshal(e)
	if err != nil {
		return "" // strings always are JSON
	}
	return string(b)
}

func (s *Service) deliver(sub *Subscription, id, text string, in *snsapi.PublishInput) error {
	raw := sub.Attributes["RawMessageDelivery"] == "true"
	switch sub.Protocol {
	case "sqs":
		if !raw {
			return s.c.Queues.Send(sub.Endpoint, s.wrap(sub, id, text, in), wire.Value(in.MessageGroupId), wire.Value(in.MessageDeduplicationId), nil)
		}
		attrs := map[string]sqsapi.MessageAttributeValue{}
		for k, a := range in.MessageAttributes {
			attrs[k] = sqsapi.MessageAttributeValue{DataType: a.DataType, StringValue: a.StringValue, BinaryValue: a.BinaryValue}
		}
		return s.c.Queues.Send(sub.Endpoint, text, wire.Value(in.MessageGroupId), wire.Value(in.MessageDeduplicationId), attrs)
	case "http", "https":
		body := text
		header := map[string]string{"Content-Type": "text/plain; charset=UTF-8", "x-amz-sns-message-type": "Notification", "x-amz-sns-message-id": id, "x-amz-sns-topic-arn": sub.TopicARN,
			"x-amz-sns-subscription-arn": sub.ARN, "User-Agent": "Amazon Simple Notification Service Agent"}
		if raw {
			header["x-amz-sns-rawdelivery"] = "true"
		} else {
			body = s.wrap(sub, id, text, in)
		}
		return s.post(call{sub.Endpoint, body, header})
	}
	s.c.Log.Info("SNS message for a protocol that is only recorded", "protocol", sub.Protocol, "subscription", sub.ARN, "message", id)
	return nil
}

func (s *Service) askToConfirm(sub *Subscription) {
	id := newID()
	e := envelope{Type: "SubscriptionConfirmation", MessageID: id, Token: sub.Token, TopicARN: sub.TopicARN, Timestamp: s.stamp(),
		Message:      "You have chosen to subscribe to the topic " + sub.TopicARN + ".\nTo confirm the subscription, visit the SubscribeURL included in this message.",
		SubscribeURL: s.link("ConfirmSubscription", "TopicArn", sub.TopicARN, "Token", sub.Token)}
	err := s.post(call{sub.Endpoint, encode(e), map[string]string{"Content-Type": "text/plain; charset=UTF-8", "x-amz-sns-message-type": "SubscriptionConfirmation", "x-amz-sns-message-id": id,
		"x-amz-sns-topic-arn": sub.TopicARN, "User-Agent": "Amazon Simple Notification Service Agent"}})
	if err != nil {
		s.c.Log.Warn("SNS could not ask for a confirmation", "subscription", sub.ARN, "error", err)
	}
}

// call is a request to a subscriber's web server.
type call struct {
	url, body string
	header    map[string]string
}

const (
	waitingCalls = 10000
	callers      = 16
)

func (s *Service) post(c call) error {
	select {
	case s.calls <- c:
		return nil
	default:
		return errors.New("too many calls wait for their servers")
	}
}

// Run calls web servers until ctx ends. A call that fails is made three times more, 20 seconds apart,
// as AWS's default policy says; calls that wait at the end of the process are lost.
func (s *Service) Run(ctx context.Context) error {
	done := make(chan struct{}, callers)
	for range callers {
		go func() {
			defer func() { done <- struct{}{} }()
			for {
				select {
				case <-ctx.Done():
					return
				case c := <-s.calls:
					s.try(ctx, c)
				}
			}
		}()
	}
	for range callers {
		<-done
	}
	return nil
}

func (s *Service) try(ctx context.Context, c call) {
	for attempt := range 4 {
		err := events.Send(ctx, "POST", c.url, c.body, c.header)
		if err == nil || ctx.Err() != nil {
			return
		}
		if errors.Is(err, events.ErrNotLoopback) || attempt == 3 {
			s.c.Log.Warn("SNS gives up on a message", "endpoint", c.url, "error", err)
			return
		}
		if clock.Sleep(ctx, s.c.Clock, 20*time.Second) != nil {
			return // the context ended
		}
	}
}

func (s *Service) publishBatch(ctx context.Context, in *snsapi.PublishBatchInput) (*snsapi.PublishBatchOutput, error) {
	switch n := len(in.PublishBatchRequestEntries); {
	case n == 0:
		return nil, wire.Errorf("EmptyBatchRequestException", "The batch request doesn't contain any entries.")
	case n > 10:
		return nil, wire.Errorf("TooManyEntriesInBatchRequestException", "The batch request contains more entries than permissible.")
	}
	seen := map[string]bool{}
	for _, e := range in.PublishBatchRequestEntries {
		if seen[wire.Value(e.Id)] {
			return nil, wire.Errorf("BatchEntryIdsNotDistinctException", "Two or more batch entries in the request have the same Id.")
		}
		seen[wire.Value(e.Id)] = true
	}
	out := &snsapi.PublishBatchOutput{Failed: []snsapi.BatchResultErrorEntry{}, Successful: []snsapi.PublishBatchResultEntry{}}
	for _, e := range in.PublishBatchRequestEntries {
		r, err := s.publish(ctx, &snsapi.PublishInput{TopicArn: in.TopicArn, Message: e.Message, Subject: e.Subject, MessageAttributes: e.MessageAttributes, MessageStructure: e.MessageStructure,
			MessageGroupId: e.MessageGroupId, MessageDeduplicationId: e.MessageDeduplicationId})
		var known *wire.Error
		switch {
		case err == nil:
			out.Successful = append(out.Successful, snsapi.PublishBatchResultEntry{Id: e.Id, MessageId: r.MessageId, SequenceNumber: r.SequenceNumber})
		case errors.As(err, &known) && known.Code != "NotFoundException":
			out.Failed = append(out.Failed, snsapi.BatchResultErrorEntry{Id: e.Id, Code: &known.Code, Message: &known.Message, SenderFault: wire.Bool(true)})
		default:
			return nil, err
		}
	}
	return out, nil
}
