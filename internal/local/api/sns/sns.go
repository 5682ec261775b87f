// Package sns is SNS of the local AWS: topics that deliver to queues and to web servers of this
// machine; other protocols are recorded.
package sns

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/events"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/snsapi"
	"github.com/slipway-ecs/slipway/internal/local/wire/sqsapi"
)

// Topic is a topic. Key: ARN.
type Topic struct {
	ARN        string
	Attributes map[string]string
	Tags       []snsapi.Tag
	Seq        uint64
}

// Subscription is a subscription. Key: ARN.
type Subscription struct {
	ARN, TopicARN, Protocol, Endpoint string
	Attributes                        map[string]string // RawMessageDelivery, FilterPolicy, FilterPolicyScope, …
	Token                             string            // not confirmed while it is not empty
}

// Queues takes what is delivered to queues.
type Queues interface {
	Send(queueARN, body, group, dedup string, attributes map[string]sqsapi.MessageAttributeValue) error
}

// Config is what the service needs to know.
type Config struct {
	DB              *state.DB
	Clock           clock.Clock
	Queues          Queues
	Log             *slog.Logger
	Address         string // host:port of the URLs that confirm and unsubscribe
	Region, Account string
}

// Service is SNS. Its loop is Run.
type Service struct {
	c             Config
	topics        *state.Table[Topic]
	subscriptions *state.Table[Subscription]
	byTopic       *state.Index[Subscription]
	calls         chan call
}

// Register adds the operations to svc and the tables to the store.
func Register(svc *wire.Service, c Config) (*Service, error) {
	s := &Service{c: c, calls: make(chan call, waitingCalls)}
	s.byTopic = state.NewIndex(func(s *Subscription) []string { return []string{s.TopicARN} })
	var err error
	if s.topics, err = state.NewTable[Topic](c.DB, "sns.topics"); err != nil {
		return nil, err
	}
	if s.subscriptions, err = state.NewTable(c.DB, "sns.subscriptions", s.byTopic); err != nil {
		return nil, err
	}
	const recorded = "protocols other than sqs, http and https are recorded; http only to this machine, without signatures"
	wire.Handle(svc, "CreateTopic", s.create, wire.Partly("policies and encryption are recorded"))
	wire.Handle(svc, "DeleteTopic", s.delete)
	wire.Handle(svc, "ListTopics", s.list)
	wire.Handle(svc, "GetTopicAttributes", s.attributes)
	wire.Handle(svc, "SetTopicAttributes", s.setAttribute, wire.Partly("policies and encryption are recorded"))
	wire.Handle(svc, "Subscribe", s.subscribe, wire.Partly(recorded))
	wire.Handle(svc, "ConfirmSubscription", s.confirm)
	wire.Handle(svc, "Unsubscribe", s.unsubscribe)
	wire.Handle(svc, "ListSubscriptions", s.listAll)
	wire.Handle(svc, "ListSubscriptionsByTopic", s.listByTopic)
	wire.Handle(svc, "GetSubscriptionAttributes", s.subscription)
	wire.Handle(svc, "SetSubscriptionAttributes", s.setSubscription, wire.Partly("DeliveryPolicy and RedrivePolicy are recorded"))
	wire.Handle(svc, "Publish", s.publish, wire.Partly(recorded))
	wire.Handle(svc, "PublishBatch", s.publishBatch, wire.Partly(recorded))
	wire.Handle(svc, "TagResource", s.tag)
	wire.Handle(svc, "UntagResource", s.untag)
	wire.Handle(svc, "ListTagsForResource", s.tags)
	return s, nil
}

var validName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,256}$`)

func noTopic() error { return wire.Errorf("NotFoundException", "Topic does not exist") }

func (s *Service) create(_ context.Context, in *snsapi.CreateTopicInput) (*snsapi.CreateTopicOutput, error) {
	name := wire.Value(in.Name)
	if !validName.MatchString(strings.TrimSuffix(name, ".fifo")) || strings.HasSuffix(name, ".fifo") != (in.Attributes["FifoTopic"] == "true") {
		return nil, wire.Errorf("InvalidParameterException", "Invalid parameter: Topic Name")
	}
	arn := fmt.Sprintf("arn:aws:sns:%s:%s:%s", s.c.Region, s.c.Account, name)
	return &snsapi.CreateTopicOutput{TopicArn: &arn}, s.c.DB.Update(func(tx *state.Tx) error {
		if t, ok := s.topics.Get(tx, arn); ok {
			for k, v := range in.Attributes {
				if t.Attributes[k] != v {
					return wire.Errorf("InvalidParameterException", "Invalid parameter: Attributes Reason: Topic already exists with different attributes")
				}
			}
			return nil
		}
		s.topics.Put(tx, arn, &Topic{ARN: arn, Attributes: in.Attributes, Tags: in.Tags})
		return nil
	})
}

func (s *Service) delete(_ context.Context, in *snsapi.DeleteTopicInput) (*snsapi.DeleteTopicOutput, error) {
	return &snsapi.DeleteTopicOutput{}, s.c.DB.Update(func(tx *state.Tx) error {
		var subs []string
		for k := range s.byTopic.Get(tx, wire.Value(in.TopicArn)) {
			subs = append(subs, k)
		}
		for _, k := range subs {
			s.subscriptions.Delete(tx, k)
		}
		s.topics.Delete(tx, wire.Value(in.TopicArn))
		return nil
	})
}

const page = 100

func (s *Service) list(_ context.Context, in *snsapi.ListTopicsInput) (*snsapi.ListTopicsOutput, error) {
	out := &snsapi.ListTopicsOutput{Topics: []snsapi.Topic{}}
	return out, s.c.DB.View(func(tx *state.Tx) error {
		for arn := range s.topics.From(tx, wire.Value(in.NextToken)) {
			if len(out.Topics) == page {
				out.NextToken = wire.Ptr(arn)
				break
			}
			out.Topics = append(out.Topics, snsapi.Topic{TopicArn: wire.Ptr(arn)})
		}
		return nil
	})
}

func (s *Service) attributes(_ context.Context, in *snsapi.GetTopicAttributesInput) (*snsapi.GetTopicAttributesOutput, error) {
	out := &snsapi.GetTopicAttributesOutput{Attributes: map[string]string{}}
	return out, s.c.DB.View(func(tx *state.Tx) error {
		t, ok := s.topics.Get(tx, wire.Value(in.TopicArn))
		if !ok {
			return noTopic()
		}
		confirmed, pending := 0, 0
		for _, sub := range s.byTopic.Get(tx, t.ARN) {
			if sub.Token == "" {
				confirmed++
			} else {
				pending++
			}
		}
		out.Attributes = map[string]string{"TopicArn": t.ARN, "Owner": s.c.Account, "DisplayName": "", "SubscriptionsConfirmed": strconv.Itoa(confirmed), "SubscriptionsPending": strconv.Itoa(pending), "SubscriptionsDeleted": "0",
			"EffectiveDeliveryPolicy": `{"http":{"defaultHealthyRetryPolicy":{"minDelayTarget":20,"maxDelayTarget":20,"numRetries":3,"numMaxDelayRetries":0,"numNoDelayRetries":0,"numMinDelayRetries":0,"backoffFunction":"linear"},"disableSubscriptionOverrides":false}}`,
			"Policy":                  fmt.Sprintf(`{"Version":"2008-10-17","Id":"__default_policy_ID","Statement":[{"Sid":"__default_statement_ID","Effect":"Allow","Principal":{"AWS":"*"},"Action":["SNS:GetTopicAttributes","SNS:SetTopicAttributes","SNS:AddPermission","SNS:RemovePermission","SNS:DeleteTopic","SNS:Subscribe","SNS:ListSubscriptionsByTopic","SNS:Publish"],"Resource":"%s","Condition":{"StringEquals":{"AWS:SourceOwner":"%s"}}}]}`, t.ARN, s.c.Account)}
		maps.Copy(out.Attributes, t.Attributes)
		return nil
	})
}

func with(m map[string]string, key, value string) map[string]string {
	out := maps.Clone(m)
	if out == nil {
		out = map[string]string{}
	}
	out[key] = value
	return out
}

func (s *Service) setAttribute(_ context.Context, in *snsapi.SetTopicAttributesInput) (*snsapi.SetTopicAttributesOutput, error) {
	return &snsapi.SetTopicAttributesOutput{}, s.c.DB.Update(func(tx *state.Tx) error {
		if !s.topics.Modify(tx, wire.Value(in.TopicArn), func(t *Topic) {
			t.Attributes = with(t.Attributes, wire.Value(in.AttributeName), wire.Value(in.AttributeValue))
		}) {
			return noTopic()
		}
		return nil
	})
}

var protocols = []string{"http", "https", "email", "email-json", "sms", "sqs", "application", "lambda", "firehose"}

func checkAttribute(name, value string) error {
	switch name {
	case "FilterPolicy":
		if value == "" || value == "{}" {
			return nil
		}
		if _, err := events.Parse(value); err != nil {
			return wire.Errorf("InvalidParameterException", "Invalid parameter: FilterPolicy: %s", err)
		}
	case "RawMessageDelivery":
		if value != "true" && value != "false" {
			return wire.Errorf("InvalidParameterException", "Invalid parameter: Attributes Reason: RawMessageDelivery: Invalid value [%s]. Must be true or false.", value)
		}
	case "FilterPolicyScope":
		if value != "MessageAttributes" && value != "MessageBody" {
			return wire.Errorf("InvalidParameterException", "Invalid parameter: FilterPolicyScope: Invalid value [%s]. Please use either MessageBody or MessageAttributes", value)
		}
	case "DeliveryPolicy", "RedrivePolicy", "SubscriptionRoleArn", "ReplayPolicy":
	default:
		return wire.Errorf("InvalidParameterException", "Invalid parameter: AttributeName")
	}
	return nil
}

func (s *Service) subscribe(_ context.Context, in *snsapi.SubscribeInput) (*snsapi.SubscribeOutput, error) {
	protocol, endpoint := wire.Value(in.Protocol), wire.Value(in.Endpoint)
	switch {
	case !slices.Contains(protocols, protocol):
		return nil, wire.Errorf("InvalidParameterException", "Invalid parameter: Does not support this protocol string: %s", protocol)
	case protocol == "sqs" && !strings.HasPrefix(endpoint, "arn:aws:sqs:"):
		return nil, wire.Errorf("InvalidParameterException", "Invalid parameter: SQS endpoint ARN")
	case (protocol == "http" || protocol == "https") && !strings.HasPrefix(endpoint, protocol+"://"):
		return nil, wire.Errorf("InvalidParameterException", "Invalid parameter: Endpoint must match the specified protocol")
	case endpoint == "":
		return nil, wire.Errorf("InvalidParameterException", "Invalid parameter: Endpoint")
	}
	for k, v := range in.Attributes {
		if err := checkAttribute(k, v); err != nil {
			return nil, err
		}
	}
	topic := wire.Value(in.TopicArn)
	sub := &Subscription{ARN: topic + ":" + newID(), TopicARN: topic, Protocol: protocol, Endpoint: endpoint, Attributes: in.Attributes}
	if protocol == "http" || protocol == "https" || strings.HasPrefix(protocol, "email") {
		sub.Token = token()
	}
	err := s.c.DB.Update(func(tx *state.Tx) error {
		if _, ok := s.topics.Get(tx, topic); !ok {
			return noTopic()
		}
		for _, old := range s.byTopic.Get(tx, topic) {
			if old.Protocol == protocol && old.Endpoint == endpoint {
				sub = old
				return nil
			}
		}
		s.subscriptions.Put(tx, sub.ARN, sub)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if sub.Token != "" && strings.HasPrefix(protocol, "http") {
		s.askToConfirm(sub)
	}
	if sub.Token != "" && !wire.Value(in.ReturnSubscriptionArn) {
		return &snsapi.SubscribeOutput{SubscriptionArn: wire.Ptr("pending confirmation")}, nil
	}
	return &snsapi.SubscribeOutput{SubscriptionArn: &sub.ARN}, nil
}

func (s *Service) confirm(_ context.Context, in *snsapi.ConfirmSubscriptionInput) (*snsapi.ConfirmSubscriptionOutput, error) {
	out := &snsapi.ConfirmSubscriptionOutput{}
	return out, s.c.DB.Update(func(tx *state.Tx) error {
		for arn, sub := range s.byTopic.Get(tx, wire.Value(in.TopicArn)) {
			if sub.Token != "" && sub.Token == wire.Value(in.Token) {
				out.SubscriptionArn = wire.Ptr(arn)
			}
		}
		if out.SubscriptionArn == nil {
			return wire.Errorf("InvalidParameterException", "Invalid parameter: Token")
		}
		s.subscriptions.Modify(tx, *out.SubscriptionArn, func(sub *Subscription) { sub.Token = "" })
		return nil
	})
}

func (s *Service) unsubscribe(_ context.Context, in *snsapi.UnsubscribeInput) (*snsapi.UnsubscribeOutput, error) {
	return &snsapi.UnsubscribeOutput{}, s.c.DB.Update(func(tx *state.Tx) error {
		s.subscriptions.Delete(tx, wire.Value(in.SubscriptionArn))
		return nil
	})
}

func (s *Service) shown(sub *Subscription) snsapi.Subscription {
	arn := sub.ARN
	if sub.Token != "" {
		arn = "PendingConfirmation"
	}
	return snsapi.Subscription{SubscriptionArn: &arn, TopicArn: &sub.TopicARN, Protocol: &sub.Protocol, Endpoint: &sub.Endpoint, Owner: &s.c.Account}
}

func (s *Service) listAll(_ context.Context, in *snsapi.ListSubscriptionsInput) (*snsapi.ListSubscriptionsOutput, error) {
	out := &snsapi.ListSubscriptionsOutput{Subscriptions: []snsapi.Subscription{}}
	return out, s.c.DB.View(func(tx *state.Tx) error {
		for arn, sub := range s.subscriptions.From(tx, wire.Value(in.NextToken)) {
			if len(out.Subscriptions) == page {
				out.NextToken = wire.Ptr(arn)
				break
			}
			out.Subscriptions = append(out.Subscriptions, s.shown(sub))
		}
		return nil
	})
}

func (s *Service) listByTopic(_ context.Context, in *snsapi.ListSubscriptionsByTopicInput) (*snsapi.ListSubscriptionsByTopicOutput, error) {
	out := &snsapi.ListSubscriptionsByTopicOutput{Subscriptions: []snsapi.Subscription{}}
	return out, s.c.DB.View(func(tx *state.Tx) error {
		if _, ok := s.topics.Get(tx, wire.Value(in.TopicArn)); !ok {
			return noTopic()
		}
		for arn, sub := range s.byTopic.Get(tx, wire.Value(in.TopicArn)) {
			if arn < wire.Value(in.NextToken) {
				continue
			}
			if len(out.Subscriptions) == page {
				out.NextToken = wire.Ptr(arn)
				break
			}
			out.Subscriptions = append(out.Subscriptions, s.shown(sub))
		}
		return nil
	})
}

func (s *Service) subscription(_ context.Context, in *snsapi.GetSubscriptionAttributesInput) (*snsapi.GetSubscriptionAttributesOutput, error) {
	out := &snsapi.GetSubscriptionAttributesOutput{}
	return out, s.c.DB.View(func(tx *state.Tx) error {
		sub, ok := s.subscriptions.Get(tx, wire.Value(in.SubscriptionArn))
		if !ok {
			return wire.Errorf("NotFoundException", "Subscription does not exist")
		}
		out.Attributes = map[string]string{"SubscriptionArn": sub.ARN, "TopicArn": sub.TopicARN, "Protocol": sub.Protocol, "Endpoint": sub.Endpoint, "Owner": s.c.Account,
			"PendingConfirmation": strconv.FormatBool(sub.Token != ""), "ConfirmationWasAuthenticated": strconv.FormatBool(sub.Token == ""), "RawMessageDelivery": "false", "SubscriptionPrincipal": "arn:aws:iam::" + s.c.Account + ":root"}
		maps.Copy(out.Attributes, sub.Attributes)
		if out.Attributes["FilterPolicy"] != "" && out.Attributes["FilterPolicyScope"] == "" {
			out.Attributes["FilterPolicyScope"] = "MessageAttributes"
		}
		return nil
	})
}

func (s *Service) setSubscription(_ context.Context, in *snsapi.SetSubscriptionAttributesInput) (*snsapi.SetSubscriptionAttributesOutput, error) {
	name, value := wire.Value(in.AttributeName), wire.Value(in.AttributeValue)
	if err := checkAttribute(name, value); err != nil {
		return nil, err
	}
	return &snsapi.SetSubscriptionAttributesOutput{}, s.c.DB.Update(func(tx *state.Tx) error {
		if !s.subscriptions.Modify(tx, wire.Value(in.SubscriptionArn), func(sub *Subscription) { sub.Attributes = with(sub.Attributes, name, value) }) {
			return wire.Errorf("NotFoundException", "Subscription does not exist")
		}
		return nil
	})
}

func (s *Service) retag(arn *string, f func(tags []snsapi.Tag) []snsapi.Tag) error {
	return s.c.DB.Update(func(tx *state.Tx) error {
		if !s.topics.Modify(tx, wire.Value(arn), func(t *Topic) { t.Tags = f(slices.Clone(t.Tags)) }) {
			return wire.Errorf("ResourceNotFoundException", "Resource does not exist")
		}
		return nil
	})
}

func (s *Service) tag(_ context.Context, in *snsapi.TagResourceInput) (*snsapi.TagResourceOutput, error) {
	return &snsapi.TagResourceOutput{}, s.retag(in.ResourceArn, func(tags []snsapi.Tag) []snsapi.Tag {
		for _, t := range in.Tags {
			tags = append(slices.DeleteFunc(tags, func(old snsapi.Tag) bool { return *old.Key == *t.Key }), t)
		}
		return tags
	})
}

func (s *Service) untag(_ context.Context, in *snsapi.UntagResourceInput) (*snsapi.UntagResourceOutput, error) {
	return &snsapi.UntagResourceOutput{}, s.retag(in.ResourceArn, func(tags []snsapi.Tag) []snsapi.Tag {
		return slices.DeleteFunc(tags, func(t snsapi.Tag) bool { return slices.Contains(in.TagKeys, *t.Key) })
	})
}

func (s *Service) tags(_ context.Context, in *snsapi.ListTagsForResourceInput) (*snsapi.ListTagsForResourceOutput, error) {
	out := &snsapi.ListTagsForResourceOutput{Tags: []snsapi.Tag{}}
	return out, s.c.DB.View(func(tx *state.Tx) error {
		t, ok := s.topics.Get(tx, wire.Value(in.ResourceArn))
		if !ok {
			return wire.Errorf("ResourceNotFoundException", "Resource does not exist")
		}
		out.Tags = append(out.Tags, t.Tags...)
		return nil
	})
}

func token() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func newID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
