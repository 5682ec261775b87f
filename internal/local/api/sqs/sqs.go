// Package sqs is SQS of the local AWS: standard and FIFO queues with visibility timeouts, long
// polling, delays and dead-letter queues, and the metrics that services scale by.
package sqs

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/api/cloudwatch"
	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/sqsapi"
)

// Queue is a queue. Key: name.
type Queue struct {
	Name, ARN           string
	Attributes          map[string]string // as set; see defaults
	Tags                map[string]string
	CreatedAt, Modified time.Time
	PurgedAt            time.Time
	Seq                 uint64 // of the newest message
}

// Message is a message in a queue. Key: queue, a zero byte, its number in 20 digits.
type Message struct {
	Queue, ID, Body string
	Seq             uint64
	Attributes      map[string]sqsapi.MessageAttributeValue
	System          map[string]string // AWSTraceHeader, DeadLetterQueueSourceArn
	Group, Dedup    string
	SenderID        string
	SentAt          time.Time
	VisibleAt       time.Time // hidden before: delayed, or received and not deleted
	Receives        int
	FirstReceived   time.Time
	Receipt         string // of the newest receive
}

// sent remembers a deduplication id for five minutes. Key: queue, zero, scope and id.
type sent struct {
	ID  string
	Seq uint64
	At  time.Time
}

// Service is SQS. Its loop is Run.
type Service struct {
	c        Config
	queues   *state.Table[Queue]
	messages *state.Table[Message]
	dedup    *state.Table[sent]

	mu    sync.Mutex
	wake  chan struct{}       // closed when messages came or became visible
	count map[string]*counted // by queue, since the last minute
}

type counted struct{ sent, received, deleted, empty float64 }

// Metrics takes the values of the queues.
type Metrics interface {
	Put(namespace, name, unit string, dims []cloudwatch.Dimension, value float64)
}

// Config is what the service needs to know.
type Config struct {
	DB              *state.DB
	Clock           clock.Clock
	Metrics         Metrics
	Log             *slog.Logger
	Address         string // host:port of queue URLs
	Region, Account string
}

// Register adds the operations to svc and the tables to the store.
func Register(svc *wire.Service, c Config) (*Service, error) {
	s := &Service{c: c, wake: make(chan struct{}), count: map[string]*counted{}}
	var err error
	if s.queues, err = state.NewTable[Queue](c.DB, "sqs.queues"); err != nil {
		return nil, err
	}
	if s.messages, err = state.NewTable[Message](c.DB, "sqs.messages"); err != nil {
		return nil, err
	}
	if s.dedup, err = state.NewTable[sent](c.DB, "sqs.dedup"); err != nil {
		return nil, err
	}
	wire.Handle(svc, "CreateQueue", s.create, wire.Partly("encryption and policies are recorded"))
	wire.Handle(svc, "DeleteQueue", s.deleteQueue)
	wire.Handle(svc, "GetQueueUrl", s.url)
	wire.Handle(svc, "ListQueues", s.list)
	wire.Handle(svc, "GetQueueAttributes", s.attributes)
	wire.Handle(svc, "SetQueueAttributes", s.setAttributes, wire.Partly("encryption and policies are recorded"))
	wire.Handle(svc, "PurgeQueue", s.purge)
	wire.Handle(svc, "SendMessage", s.send)
	wire.Handle(svc, "SendMessageBatch", s.sendBatch)
	wire.Handle(svc, "ReceiveMessage", s.receive)
	wire.Handle(svc, "DeleteMessage", s.deleteMessage)
	wire.Handle(svc, "DeleteMessageBatch", s.deleteBatch)
	wire.Handle(svc, "ChangeMessageVisibility", s.change)
	wire.Handle(svc, "ChangeMessageVisibilityBatch", s.changeBatch)
	wire.Handle(svc, "ListDeadLetterSourceQueues", s.sources)
	wire.Handle(svc, "TagQueue", s.tag)
	wire.Handle(svc, "UntagQueue", s.untag)
	wire.Handle(svc, "ListQueueTags", s.tags)
	return s, nil
}

var (
	validName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`)
	noQueue   = wire.Errorf("QueueDoesNotExist", "The specified queue does not exist.")
)

// limits are the numeric attributes: default, least and most
// (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html).
var limits = map[string][3]int{
	"DelaySeconds": {0, 0, 900}, "MaximumMessageSize": {1048576, 1024, 1048576}, "MessageRetentionPeriod": {345600, 60, 1209600},
	"ReceiveMessageWaitTimeSeconds": {0, 0, 20}, "VisibilityTimeout": {30, 0, 43200}, "KmsDataKeyReusePeriodSeconds": {300, 60, 86400},
}

var textAttributes = map[string]bool{"Policy": true, "RedrivePolicy": true, "RedriveAllowPolicy": true, "KmsMasterKeyId": true, "SqsManagedSseEnabled": true, "FifoQueue": true,
	"ContentBasedDeduplication": true, "DeduplicationScope": true, "FifoThroughputLimit": true}

func (q *Queue) number(name string) int {
	if n, err := strconv.Atoi(q.Attributes[name]); err == nil {
		return n
	}
	return limits[name][0]
}

func (q *Queue) seconds(name string) time.Duration {
	return time.Duration(q.number(name)) * time.Second
}

func (q *Queue) fifo() bool { return q.Attributes["FifoQueue"] == "true" }

func (s *Service) urlOf(name string) *string {
	return wire.Ptr("http://" + s.c.Address + "/" + s.c.Account + "/" + name)
}

// named is the queue of a URL.
func (s *Service) named(tx *state.Tx, url *string) (*Queue, error) {
	name := wire.Value(url)
	name = name[strings.LastIndexByte(name, '/')+1:]
	if q, ok := s.queues.Get(tx, name); ok {
		return q, nil
	}
	return nil, noQueue
}

func nameOf(arn string) string { return arn[strings.LastIndexByte(arn, ':')+1:] }

func (s *Service) checkAttributes(tx *state.Tx, name string, attrs map[string]string) error {
	for k, v := range attrs {
		l, number := limits[k]
		n, err := strconv.Atoi(v)
		switch {
		case number && (err != nil || n < l[1] || n > l[2]):
			return wire.Errorf("InvalidAttributeValue", "Invalid value for the parameter %s.", k)
		case !number && !textAttributes[k]:
			return wire.Errorf("InvalidAttributeName", "Unknown Attribute %s.", k)
		case k == "FifoQueue" && v == "true" != strings.HasSuffix(name, ".fifo"):
			return wire.Errorf("InvalidParameterValue", "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with .fifo suffix and be 1 to 80 in length.")
		case k == "RedrivePolicy" && v != "":
			r, err := redriveOf(v)
			if err != nil {
				return wire.Errorf("InvalidParameterValue", "Value %s for parameter RedrivePolicy is invalid. Reason: %s", v, err)
			}
			dlq, ok := s.queues.Get(tx, nameOf(r.Target))
			if !ok {
				return wire.Errorf("InvalidParameterValue", "Value %s for parameter RedrivePolicy is invalid. Reason: Dead letter target does not exist.", v)
			}
			if dlq.fifo() != strings.HasSuffix(name, ".fifo") {
				return wire.Errorf("InvalidParameterValue", "Value %s for parameter RedrivePolicy is invalid. Reason: Dead-letter queue must be same type of queue as the source queue.", v)
			}
		}
	}
	return nil
}

func (s *Service) create(_ context.Context, in *sqsapi.CreateQueueInput) (*sqsapi.CreateQueueOutput, error) {
	name := wire.Value(in.QueueName)
	fifo := strings.HasSuffix(name, ".fifo")
	if !validName.MatchString(strings.TrimSuffix(name, ".fifo")) || len(name) > 80 {
		return nil, wire.Errorf("InvalidParameterValue", "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length")
	}
	if fifo && in.Attributes["FifoQueue"] != "true" {
		return nil, wire.Errorf("InvalidParameterValue", "The queue name can't end with .fifo unless FifoQueue is true.")
	}
	err := s.c.DB.Update(func(tx *state.Tx) error {
		if err := s.checkAttributes(tx, name, in.Attributes); err != nil {
			return err
		}
		if q, ok := s.queues.Get(tx, name); ok {
			for k, v := range in.Attributes {
				if is, set := q.Attributes[k]; set && is != v || !set && v != strconv.Itoa(limits[k][0]) {
					return wire.Errorf("QueueNameExists", "A queue already exists with the same name and a different value for attribute %s", k)
				}
			}
			return nil
		}
		now := s.c.Clock.Now()
		s.queues.Put(tx, name, &Queue{Name: name, ARN: fmt.Sprintf("arn:aws:sqs:%s:%s:%s", s.c.Region, s.c.Account, name), Attributes: in.Attributes, Tags: in.Tags, CreatedAt: now, Modified: now})
		return nil
	})
	return &sqsapi.CreateQueueOutput{QueueUrl: s.urlOf(name)}, err
}

func (s *Service) deleteQueue(_ context.Context, in *sqsapi.DeleteQueueInput) (*sqsapi.DeleteQueueOutput, error) {
	return &sqsapi.DeleteQueueOutput{}, s.c.DB.Update(func(tx *state.Tx) error {
		q, err := s.named(tx, in.QueueUrl)
		if err != nil {
			return err
		}
		s.empty(tx, q.Name)
		s.queues.Delete(tx, q.Name)
		return nil
	})
}

func (s *Service) empty(tx *state.Tx, queue string) {
	var keys []string
	for k := range s.messages.Prefix(tx, queue+"\x00") {
		keys = append(keys, k)
	}
	for _, k := range keys {
		s.messages.Delete(tx, k)
	}
	keys = keys[:0]
	for k := range s.dedup.Prefix(tx, queue+"\x00") {
		keys = append(keys, k)
	}
	for _, k := range keys {
		s.dedup.Delete(tx, k)
	}
}

func (s *Service) purge(_ context.Context, in *sqsapi.PurgeQueueInput) (*sqsapi.PurgeQueueOutput, error) {
	return &sqsapi.PurgeQueueOutput{}, s.c.DB.Update(func(tx *state.Tx) error {
		q, err := s.named(tx, in.QueueUrl)
		if err != nil {
			return err
		}
		now := s.c.Clock.Now()
		if now.Sub(q.PurgedAt) < time.Minute {
			return wire.Errorf("PurgeQueueInProgress", "Only one PurgeQueue operation on %s is allowed every 60 seconds.", q.Name)
		}
		s.empty(tx, q.Name)
		s.queues.Modify(tx, q.Name, func(q *Queue) { q.PurgedAt = now })
		return nil
	})
}

func (s *Service) url(_ context.Context, in *sqsapi.GetQueueUrlInput) (*sqsapi.GetQueueUrlOutput, error) {
	out := &sqsapi.GetQueueUrlOutput{QueueUrl: s.urlOf(wire.Value(in.QueueName))}
	return out, s.c.DB.View(func(tx *state.Tx) error { _, err := s.named(tx, in.QueueName); return err })
}

func (s *Service) list(_ context.Context, in *sqsapi.ListQueuesInput) (*sqsapi.ListQueuesOutput, error) {
	out := &sqsapi.ListQueuesOutput{}
	limit := int(wire.Value(in.MaxResults))
	return out, s.c.DB.View(func(tx *state.Tx) error {
		for name := range s.queues.From(tx, max(wire.Value(in.QueueNamePrefix), wire.Value(in.NextToken))) {
			if !strings.HasPrefix(name, wire.Value(in.QueueNamePrefix)) {
				break
			}
			if len(out.QueueUrls) == 1000 || limit > 0 && len(out.QueueUrls) == limit {
				if limit > 0 { // without MaxResults there is no token
					out.NextToken = wire.Ptr(name)
				}
				break
			}
			out.QueueUrls = append(out.QueueUrls, *s.urlOf(name))
		}
		return nil
	})
}

func (s *Service) sources(_ context.Context, in *sqsapi.ListDeadLetterSourceQueuesInput) (*sqsapi.ListDeadLetterSourceQueuesOutput, error) {
	out := &sqsapi.ListDeadLetterSourceQueuesOutput{QueueUrls: []string{}}
	return out, s.c.DB.View(func(tx *state.Tx) error {
		dlq, err := s.named(tx, in.QueueUrl)
		if err != nil {
			return err
		}
		for name, q := range s.queues.All(tx) {
			if r, err := redriveOf(q.Attributes["RedrivePolicy"]); err == nil && r.Target == dlq.ARN {
				out.QueueUrls = append(out.QueueUrls, *s.urlOf(name))
			}
		}
		return nil
	})
}

func (s *Service) tag(_ context.Context, in *sqsapi.TagQueueInput) (*sqsapi.TagQueueOutput, error) {
	return &sqsapi.TagQueueOutput{}, s.modify(in.QueueUrl, func(q *Queue) {
		tags := map[string]string{}
		for k, v := range q.Tags {
			tags[k] = v
		}
		for k, v := range in.Tags {
			tags[k] = v
		}
		q.Tags = tags
	})
}

func (s *Service) untag(_ context.Context, in *sqsapi.UntagQueueInput) (*sqsapi.UntagQueueOutput, error) {
	return &sqsapi.UntagQueueOutput{}, s.modify(in.QueueUrl, func(q *Queue) {
		tags := map[string]string{}
		for k, v := range q.Tags {
			tags[k] = v
		}
		for _, k := range in.TagKeys {
			delete(tags, k)
		}
		q.Tags = tags
	})
}

func (s *Service) modify(url *string, f func(q *Queue)) error {
	return s.c.DB.Update(func(tx *state.Tx) error {
		q, err := s.named(tx, url)
		if err == nil {
			s.queues.Modify(tx, q.Name, f)
		}
		return err
	})
}

func (s *Service) tags(_ context.Context, in *sqsapi.ListQueueTagsInput) (*sqsapi.ListQueueTagsOutput, error) {
	out := &sqsapi.ListQueueTagsOutput{}
	return out, s.c.DB.View(func(tx *state.Tx) error {
		q, err := s.named(tx, in.QueueUrl)
		if err == nil {
			out.Tags = q.Tags
		}
		return err
	})
}
