package sqs

import (
	"cmp"
	"context"
	"crypto/md5" // #nosec G501 -- SQS answers with MD5 sums
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/sqsapi"
)

const (
	dedupWindow = 5 * time.Minute
	largest     = 1 << 20 // bytes of a message, attributes included
	inFlight    = 120000  // received and not deleted, a queue
)

// Send puts a message into the queue with the ARN: for the services that deliver to queues. Group and
// dedup are for FIFO queues.
func (s *Service) Send(queueARN, body, group, dedup string, attributes map[string]sqsapi.MessageAttributeValue) error {
	in := &sqsapi.SendMessageInput{QueueUrl: wire.Ptr(nameOf(queueARN)), MessageBody: &body, MessageGroupId: wire.NonEmpty(group), MessageDeduplicationId: wire.NonEmpty(dedup), MessageAttributes: attributes}
	_, err := s.send(context.Background(), in)
	return err
}

func (s *Service) send(ctx context.Context, in *sqsapi.SendMessageInput) (*sqsapi.SendMessageOutput, error) {
	out := &sqsapi.SendMessageOutput{}
	err := s.c.DB.Update(func(tx *state.Tx) error {
		q, err := s.named(tx, in.QueueUrl)
		if err != nil {
			return err
		}
		m, err := s.put(tx, q, in, wire.Caller(ctx).AccessKey)
		if err != nil {
			return err
		}
		out.MessageId, out.MD5OfMessageBody, out.MD5OfMessageAttributes = &m.ID, wire.Ptr(sum(m.Body)), sumAttributes(m.Attributes)
		if q.fifo() {
			out.SequenceNumber = wire.Ptr(fmt.Sprintf("%020d", m.Seq))
		}
		s.tally(q.Name, func(c *counted) { c.sent++ })
		return nil
	})
	if err == nil {
		s.awake()
	}
	return out, err
}

func (s *Service) put(tx *state.Tx, q *Queue, in *sqsapi.SendMessageInput, sender string) (*Message, error) {
	body, now := wire.Value(in.MessageBody), s.c.Clock.Now()
	size := len(body)
	for k, v := range in.MessageAttributes {
		size += len(k) + len(wire.Value(v.DataType)) + len(wire.Value(v.StringValue)) + len(v.BinaryValue)
		if t, _, _ := strings.Cut(wire.Value(v.DataType), "."); t != "String" && t != "Number" && t != "Binary" {
			return nil, wire.Errorf("InvalidParameterValue", "The type of message (user) attribute '%s' is invalid. You must use only the following supported type prefixes: Binary, Number, String.", k)
		}
	}
	delay := q.number("DelaySeconds")
	if in.DelaySeconds != nil {
		delay = int(*in.DelaySeconds)
	}
	group, dedup := wire.Value(in.MessageGroupId), wire.Value(in.MessageDeduplicationId)
	switch {
	case body == "":
		return nil, wire.Errorf("MissingParameter", "The request must contain the parameter MessageBody.")
	case size > min(largest, q.number("MaximumMessageSize")):
		return nil, wire.Errorf("InvalidParameterValue", "One or more parameters are invalid. Reason: Message must be shorter than %d bytes.", q.number("MaximumMessageSize"))
	case len(in.MessageAttributes) > 10:
		return nil, wire.Errorf("InvalidParameterValue", "Number of message attributes [%d] exceeds the allowed maximum [10].", len(in.MessageAttributes))
	case delay < 0 || delay > 900:
		return nil, wire.Errorf("InvalidParameterValue", "Value %d for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= 900.", delay)
	case q.fifo() && group == "":
		return nil, wire.Errorf("MissingParameter", "The request must contain the parameter MessageGroupId.")
	case q.fifo() && in.DelaySeconds != nil && *in.DelaySeconds != 0:
		return nil, wire.Errorf("InvalidParameterValue", "Value %d for parameter DelaySeconds is invalid. Reason: The request include parameter that is not valid for this queue type.", *in.DelaySeconds)
	case !q.fifo() && dedup != "":
		return nil, wire.Errorf("InvalidParameterValue", "The request include parameter MessageDeduplicationId that is not valid for this queue type")
	}
	var dedupKey string
	if q.fifo() {
		if dedup == "" && q.Attributes["ContentBasedDeduplication"] == "true" {
			h := sha256.Sum256([]byte(body))
			dedup = hex.EncodeToString(h[:])
		}
		if dedup == "" {
			return nil, wire.Errorf("InvalidParameterValue", "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly")
		}
		dedupKey = q.Name + "\x00" + dedup
		if q.Attributes["DeduplicationScope"] == "messageGroup" {
			dedupKey = q.Name + "\x00" + group + "\x00" + dedup
		}
		if was, ok := s.dedup.Get(tx, dedupKey); ok && now.Sub(was.At) < dedupWindow {
			return &Message{ID: was.ID, Seq: was.Seq, Body: body, Attributes: in.MessageAttributes}, nil
		}
	}
	m := &Message{Queue: q.Name, ID: newID(), Body: body, Seq: q.Seq + 1, Attributes: in.MessageAttributes, Group: group, Dedup: dedup, SenderID: cmp.Or(sender, "AIDALOCAL"),
		SentAt: now, VisibleAt: now.Add(time.Duration(delay) * time.Second)}
	if h, ok := in.MessageSystemAttributes["AWSTraceHeader"]; ok {
		m.System = map[string]string{"AWSTraceHeader": wire.Value(h.StringValue)}
	}
	s.insert(tx, m)
	if dedupKey != "" {
		s.dedup.Put(tx, dedupKey, &sent{ID: m.ID, Seq: m.Seq, At: now})
		s.forgetDedup(tx, q.Name, now)
	}
	return m, nil
}

// forgetDedup drops what is older than the window.
func (s *Service) forgetDedup(tx *state.Tx, queue string, now time.Time) {
	var old []string
	for k, d := range s.dedup.Prefix(tx, queue+"\x00") {
		if now.Sub(d.At) >= dedupWindow {
			old = append(old, k)
		}
	}
	for _, k := range old {
		s.dedup.Delete(tx, k)
	}
}

func (s *Service) insert(tx *state.Tx, m *Message) {
	s.messages.Put(tx, messageKey(m.Queue, m.Seq), m)
	s.queues.Modify(tx, m.Queue, func(q *Queue) { q.Seq = m.Seq })
}

func messageKey(queue string, seq uint64) string { return fmt.Sprintf("%s\x00%020d", queue, seq) }

func (s *Service) awake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.wake)
	s.wake = make(chan struct{})
}

func (s *Service) receive(ctx context.Context, in *sqsapi.ReceiveMessageInput) (*sqsapi.ReceiveMessageOutput, error) {
	if n := in.MaxNumberOfMessages; n != nil && (*n < 1 || *n > 10) {
		return nil, wire.Errorf("InvalidParameterValue", "Value %d for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided.", *n)
	}
	var wait time.Duration
	if err := s.c.DB.View(func(tx *state.Tx) error {
		q, err := s.named(tx, in.QueueUrl)
		if err == nil {
			wait = q.seconds("ReceiveMessageWaitTimeSeconds")
		}
		return err
	}); err != nil {
		return nil, err
	}
	if in.WaitTimeSeconds != nil {
		if *in.WaitTimeSeconds < 0 || *in.WaitTimeSeconds > 20 {
			return nil, wire.Errorf("InvalidParameterValue", "Value %d for parameter WaitTimeSeconds is invalid. Reason: Must be >= 0 and <= 20, if provided.", *in.WaitTimeSeconds)
		}
		wait = time.Duration(*in.WaitTimeSeconds) * time.Second
	}
	deadline := s.c.Clock.Now().Add(wait)
	for {
		s.mu.Lock()
		wake := s.wake
		s.mu.Unlock()
		out, next, err := s.take(in)
		left := deadline.Sub(s.c.Clock.Now())
		if err != nil || len(out.Messages) > 0 || left <= 0 {
			return out, err
		}
		if !next.IsZero() {
			left = min(left, max(next.Sub(s.c.Clock.Now()), time.Millisecond))
		}
		select {
		case <-ctx.Done():
			return out, nil // the client has gone
		case <-wake:
		case <-s.c.Clock.After(left):
		}
	}
}

// take receives what is visible now, and says when the next message will be.
func (s *Service) take(in *sqsapi.ReceiveMessageInput) (*sqsapi.ReceiveMessageOutput, time.Time, error) {
	out := &sqsapi.ReceiveMessageOutput{}
	var next time.Time
	moved := false
	err := s.c.DB.Update(func(tx *state.Tx) error {
		q, err := s.named(tx, in.QueueUrl)
		if err != nil {
			return err
		}
		now, visibility := s.c.Clock.Now(), q.seconds("VisibilityTimeout")
		if in.VisibilityTimeout != nil {
			visibility = time.Duration(*in.VisibilityTimeout) * time.Second
		}
		red, redErr := redriveOf(q.Attributes["RedrivePolicy"])
		most, hidden, busy := max(1, int(wire.Value(in.MaxNumberOfMessages))), 0, map[string]bool{}
		var taken, dead []*Message
		for _, m := range s.messages.Prefix(tx, q.Name+"\x00") {
			if m.VisibleAt.After(now) {
				if hidden++; next.IsZero() || m.VisibleAt.Before(next) {
					next = m.VisibleAt
				}
				busy[m.Group] = true
				continue
			}
			if q.fifo() && busy[m.Group] { // an earlier one of its group is not done
				continue
			}
			if redErr == nil && m.Receives >= red.Max {
				dead = append(dead, m)
				continue
			}
			if taken = append(taken, m); len(taken) == most {
				break
			}
		}
		if hidden+len(taken) > inFlight {
			return wire.Errorf("OverLimit", "Too many messages in flight")
		}
		for _, m := range dead {
			moved = s.bury(tx, q, m, nameOf(red.Target)) || moved
		}
		for _, m := range taken {
			got := *m
			got.Receives, got.VisibleAt, got.Receipt = m.Receives+1, now.Add(visibility), base64.StdEncoding.EncodeToString([]byte(messageKey(q.Name, m.Seq)+"\x00"+newID()))
			if got.FirstReceived.IsZero() {
				got.FirstReceived = now
			}
			s.messages.Put(tx, messageKey(q.Name, m.Seq), &got)
			out.Messages = append(out.Messages, s.shown(q, &got, in))
		}
		s.tally(q.Name, func(c *counted) {
			if c.received += float64(len(taken)); len(taken) == 0 {
				c.empty++
			}
		})
		return nil
	})
	if moved {
		s.awake()
	}
	return out, next, err
}

// bury moves a message to the dead-letter queue. It keeps its time of sending, as AWS's does.
func (s *Service) bury(tx *state.Tx, from *Queue, m *Message, to string) bool {
	dlq, ok := s.queues.Get(tx, to)
	if !ok {
		return false
	}
	s.messages.Delete(tx, messageKey(m.Queue, m.Seq))
	b := *m
	b.Queue, b.Seq, b.VisibleAt, b.Receipt, b.Receives, b.FirstReceived = to, dlq.Seq+1, s.c.Clock.Now(), "", 0, time.Time{}
	if b.System = maps.Clone(m.System); b.System == nil {
		b.System = map[string]string{}
	}
	b.System["DeadLetterQueueSourceArn"] = from.ARN
	s.insert(tx, &b)
	return true
}

func (s *Service) shown(q *Queue, m *Message, in *sqsapi.ReceiveMessageInput) sqsapi.Message {
	out := sqsapi.Message{MessageId: &m.ID, Body: &m.Body, MD5OfBody: wire.Ptr(sum(m.Body)), ReceiptHandle: &m.Receipt}
	all := map[string]string{"SenderId": m.SenderID, "SentTimestamp": millis(m.SentAt), "ApproximateReceiveCount": strconv.Itoa(m.Receives), "ApproximateFirstReceiveTimestamp": millis(m.FirstReceived)}
	if m.Group != "" {
		all["MessageGroupId"] = m.Group
	}
	if q.fifo() {
		all["MessageDeduplicationId"], all["SequenceNumber"] = m.Dedup, fmt.Sprintf("%020d", m.Seq)
	}
	maps.Copy(all, m.System)
	for _, want := range append(slices.Clone(in.AttributeNames), in.MessageSystemAttributeNames...) {
		for k, v := range all {
			if want == "All" || want == k {
				if out.Attributes == nil {
					out.Attributes = map[string]string{}
				}
				out.Attributes[k] = v
			}
		}
	}
	for k, v := range m.Attributes {
		if slices.ContainsFunc(in.MessageAttributeNames, func(want string) bool {
			prefix, wild := strings.CutSuffix(want, ".*")
			return want == "All" || want == k || wild && strings.HasPrefix(k, prefix)
		}) {
			if out.MessageAttributes == nil {
				out.MessageAttributes = map[string]sqsapi.MessageAttributeValue{}
			}
			out.MessageAttributes[k] = v
		}
	}
	out.MD5OfMessageAttributes = sumAttributes(out.MessageAttributes)
	return out
}

func millis(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

// received is the message of a receipt handle; nil if it is gone, or was received again since.
func (s *Service) received(tx *state.Tx, url, handle *string) (*Message, error) {
	q, err := s.named(tx, url)
	if err != nil {
		return nil, err
	}
	raw, err := base64.StdEncoding.DecodeString(wire.Value(handle))
	i := strings.LastIndexByte(string(raw), 0)
	if err != nil || i < 0 || !strings.HasPrefix(string(raw), q.Name+"\x00") {
		return nil, wire.Errorf("ReceiptHandleIsInvalid", "The input receipt handle \"%s\" is not a valid receipt handle.", wire.Value(handle))
	}
	m, ok := s.messages.Get(tx, string(raw[:i]))
	if !ok || m.Receipt != *handle && q.fifo() {
		return nil, nil
	}
	return m, nil
}

func (s *Service) deleteMessage(_ context.Context, in *sqsapi.DeleteMessageInput) (*sqsapi.DeleteMessageOutput, error) {
	err := s.c.DB.Update(func(tx *state.Tx) error {
		m, err := s.received(tx, in.QueueUrl, in.ReceiptHandle)
		if m != nil {
			s.messages.Delete(tx, messageKey(m.Queue, m.Seq))
			s.tally(m.Queue, func(c *counted) { c.deleted++ })
		}
		return err
	})
	if err == nil {
		s.awake() // the next of a FIFO group may be received
	}
	return &sqsapi.DeleteMessageOutput{}, err
}

func (s *Service) change(_ context.Context, in *sqsapi.ChangeMessageVisibilityInput) (*sqsapi.ChangeMessageVisibilityOutput, error) {
	n := wire.Value(in.VisibilityTimeout)
	if n < 0 || n > 43200 {
		return nil, wire.Errorf("InvalidParameterValue", "Value %d for parameter VisibilityTimeout is invalid. Reason: VisibilityTimeout must be an integer between 0 and 43200.", n)
	}
	err := s.c.DB.Update(func(tx *state.Tx) error {
		m, err := s.received(tx, in.QueueUrl, in.ReceiptHandle)
		if err != nil {
			return err
		}
		now := s.c.Clock.Now()
		if m == nil || m.Receipt != *in.ReceiptHandle || !m.VisibleAt.After(now) {
			return wire.Errorf("MessageNotInflight", "Value %s for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for visibility timeout change.", *in.ReceiptHandle)
		}
		s.messages.Modify(tx, messageKey(m.Queue, m.Seq), func(m *Message) { m.VisibleAt = now.Add(time.Duration(n) * time.Second) })
		return nil
	})
	if err == nil {
		s.awake()
	}
	return &sqsapi.ChangeMessageVisibilityOutput{}, err
}

func sum(text string) string {
	h := md5.Sum([]byte(text)) // #nosec G401
	return hex.EncodeToString(h[:])
}

// sumAttributes is the MD5 of attributes as clients check it
// (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html).
func sumAttributes(attrs map[string]sqsapi.MessageAttributeValue) *string {
	if len(attrs) == 0 {
		return nil
	}
	h := md5.New() // #nosec G401
	part := func(b []byte) {
		_ = binary.Write(h, binary.BigEndian, uint32(len(b))) // a hash does not fail
		h.Write(b)
	}
	for _, k := range slices.Sorted(maps.Keys(attrs)) {
		v := attrs[k]
		part([]byte(k))
		part([]byte(wire.Value(v.DataType)))
		if strings.HasPrefix(wire.Value(v.DataType), "Binary") {
			h.Write([]byte{2})
			part(v.BinaryValue)
			continue
		}
		h.Write([]byte{1})
		part([]byte(wire.Value(v.StringValue)))
	}
	return wire.Ptr(hex.EncodeToString(h.Sum(nil)))
}

func newID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
