package sqs

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/api/cloudwatch"
	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/sqsapi"
)

type redrive struct {
	Target string
	Max    int
}

func redriveOf(policy string) (redrive, error) {
	var p struct {
		Target string          `json:"deadLetterTargetArn"`
		Max    json.RawMessage `json:"maxReceiveCount"`
	}
	if err := json.Unmarshal([]byte(policy), &p); err != nil {
		return redrive{}, errors.New("Redrive policy is not a valid JSON map.")
	}
	text := string(p.Max)
	if len(text) > 1 && text[0] == '"' {
		text = text[1 : len(text)-1]
	}
	n, err := strconv.Atoi(text)
	if p.Target == "" || err != nil {
		return redrive{}, errors.New("Redrive policy does not contain mandatory attribute: deadLetterTargetArn or maxReceiveCount.")
	}
	if n < 1 || n > 1000 {
		return redrive{}, errors.New("Invalid value for maxReceiveCount: must be between 1 and 1000.")
	}
	return redrive{p.Target, n}, nil
}

// depth is how many messages of a queue are in which state.
type depth struct {
	visible, hidden, delayed int
	oldest                   time.Time
}

func (s *Service) depth(tx *state.Tx, queue string) depth {
	var d depth
	now := s.c.Clock.Now()
	for _, m := range s.messages.Prefix(tx, queue+"\x00") {
		if d.oldest.IsZero() || m.SentAt.Before(d.oldest) {
			d.oldest = m.SentAt
		}
		switch {
		case !m.VisibleAt.After(now):
			d.visible++
		case m.Receives == 0:
			d.delayed++
		default:
			d.hidden++
		}
	}
	return d
}

func (s *Service) attributes(_ context.Context, in *sqsapi.GetQueueAttributesInput) (*sqsapi.GetQueueAttributesOutput, error) {
	out := &sqsapi.GetQueueAttributesOutput{Attributes: map[string]string{}}
	return out, s.c.DB.View(func(tx *state.Tx) error {
		q, err := s.named(tx, in.QueueUrl)
		if err != nil {
			return err
		}
		d := s.depth(tx, q.Name)
		all := map[string]string{"QueueArn": q.ARN, "ApproximateNumberOfMessages": strconv.Itoa(d.visible), "ApproximateNumberOfMessagesNotVisible": strconv.Itoa(d.hidden),
			"ApproximateNumberOfMessagesDelayed": strconv.Itoa(d.delayed), "CreatedTimestamp": strconv.FormatInt(q.CreatedAt.Unix(), 10), "LastModifiedTimestamp": strconv.FormatInt(q.Modified.Unix(), 10)}
		for name, l := range limits {
			if name != "KmsDataKeyReusePeriodSeconds" {
				all[name] = strconv.Itoa(l[0])
			}
		}
		if all["SqsManagedSseEnabled"] = "true"; q.Attributes["KmsMasterKeyId"] != "" {
			all["SqsManagedSseEnabled"] = "false"
		}
		if q.fifo() {
			all["ContentBasedDeduplication"], all["DeduplicationScope"], all["FifoThroughputLimit"] = "false", "queue", "perQueue"
		}
		for k, v := range q.Attributes {
			if v != "" {
				all[k] = v
			}
		}
		if slices.Contains(in.AttributeNames, "All") {
			out.Attributes = all
			return nil
		}
		for _, name := range in.AttributeNames {
			_, number := limits[name]
			v, ok := all[name]
			if !ok && !number && !textAttributes[name] {
				return wire.Errorf("InvalidAttributeName", "Unknown Attribute %s.", name)
			}
			if ok {
				out.Attributes[name] = v
			}
		}
		return nil
	})
}

func (s *Service) setAttributes(_ context.Context, in *sqsapi.SetQueueAttributesInput) (*sqsapi.SetQueueAttributesOutput, error) {
	return &sqsapi.SetQueueAttributesOutput{}, s.c.DB.Update(func(tx *state.Tx) error {
		q, err := s.named(tx, in.QueueUrl)
		if err != nil {
			return err
		}
		if v, ok := in.Attributes["FifoQueue"]; ok && v != q.Attributes["FifoQueue"] {
			return wire.Errorf("InvalidAttributeName", "Unknown Attribute FifoQueue.") // it cannot be changed
		}
		if err := s.checkAttributes(tx, q.Name, in.Attributes); err != nil {
			return err
		}
		s.queues.Modify(tx, q.Name, func(q *Queue) {
			attrs := maps.Clone(q.Attributes)
			if attrs == nil {
				attrs = map[string]string{}
			}
			maps.Copy(attrs, in.Attributes)
			q.Attributes, q.Modified = attrs, s.c.Clock.Now()
		})
		return nil
	})
}

func (s *Service) tally(queue string, f func(c *counted)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.count[queue]
	if c == nil {
		c = &counted{}
		s.count[queue] = c
	}
	f(c)
}

// Run puts the queues' metrics once a minute, before the minute is over, and drops messages that have
// been kept for their retention period, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	for {
		now := s.c.Clock.Now()
		at := now.Truncate(time.Minute).Add(50 * time.Second)
		if !at.After(now) {
			at = at.Add(time.Minute)
		}
		if err := clock.Sleep(ctx, s.c.Clock, at.Sub(now)); err != nil {
			return nil // the context ended
		}
		s.measure()
		if err := s.expire(); err != nil {
			return err
		}
	}
}

// measure puts the metrics of
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html.
func (s *Service) measure() {
	depths := map[string]depth{}
	_ = s.c.DB.View(func(tx *state.Tx) error {
		for name := range s.queues.All(tx) {
			depths[name] = s.depth(tx, name)
		}
		return nil
	})
	s.mu.Lock()
	counts := s.count
	s.count = map[string]*counted{}
	s.mu.Unlock()
	now := s.c.Clock.Now()
	for name, d := range depths {
		c, age := counts[name], 0.0
		if c == nil {
			c = &counted{}
		}
		if !d.oldest.IsZero() {
			age = now.Sub(d.oldest).Seconds()
		}
		dims := []cloudwatch.Dimension{{Name: "QueueName", Value: name}}
		for metric, v := range map[string]float64{"ApproximateNumberOfMessagesVisible": float64(d.visible), "ApproximateNumberOfMessagesNotVisible": float64(d.hidden),
			"ApproximateNumberOfMessagesDelayed": float64(d.delayed), "NumberOfMessagesSent": c.sent, "NumberOfMessagesReceived": c.received,
			"NumberOfMessagesDeleted": c.deleted, "NumberOfEmptyReceives": c.empty} {
			s.c.Metrics.Put("AWS/SQS", metric, "Count", dims, v)
		}
		s.c.Metrics.Put("AWS/SQS", "ApproximateAgeOfOldestMessage", "Seconds", dims, age)
	}
}

func (s *Service) expire() error {
	return s.c.DB.Update(func(tx *state.Tx) error {
		now := s.c.Clock.Now()
		var old []string
		for k, m := range s.messages.All(tx) {
			if q, ok := s.queues.Get(tx, m.Queue); !ok || now.Sub(m.SentAt) > q.seconds("MessageRetentionPeriod") {
				old = append(old, k)
			}
		}
		for _, k := range old {
			s.messages.Delete(tx, k)
		}
		return nil
	})
}
