package sqs

import (
	"context"
	"errors"
	"regexp"

	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/sqsapi"
)

var batchID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`)

// each checks a batch's ids and carries its entries out one by one; those that fail are told in the
// answer.
func each[E any](entries []E, id func(E) *string, do func(E) error) ([]sqsapi.BatchResultErrorEntry, error) {
	if len(entries) == 0 {
		return nil, wire.Errorf("EmptyBatchRequest", "There should be at least one entry in the request.")
	}
	if len(entries) > 10 {
		return nil, wire.Errorf("TooManyEntriesInBatchRequest", "Maximum number of entries per request are 10. You have sent %d.", len(entries))
	}
	seen := map[string]bool{}
	for _, e := range entries {
		name := wire.Value(id(e))
		if !batchID.MatchString(name) {
			return nil, wire.Errorf("InvalidBatchEntryId", "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.")
		}
		if seen[name] {
			return nil, wire.Errorf("BatchEntryIdsNotDistinct", "Id %s repeated.", name)
		}
		seen[name] = true
	}
	failed := []sqsapi.BatchResultErrorEntry{}
	for _, e := range entries {
		err := do(e)
		var known *wire.Error
		switch {
		case err == nil:
		case errors.As(err, &known) && known.Code != noQueue.Code:
			failed = append(failed, sqsapi.BatchResultErrorEntry{Id: id(e), Code: &known.Code, Message: &known.Message, SenderFault: wire.Bool(true)})
		default:
			return nil, err
		}
	}
	return failed, nil
}

func (s *Service) sendBatch(ctx context.Context, in *sqsapi.SendMessageBatchInput) (*sqsapi.SendMessageBatchOutput, error) {
	out := &sqsapi.SendMessageBatchOutput{Successful: []sqsapi.SendMessageBatchResultEntry{}}
	size := 0
	for _, e := range in.Entries {
		size += len(wire.Value(e.MessageBody))
	}
	if size > largest {
		return nil, wire.Errorf("BatchRequestTooLong", "Batch requests cannot be longer than %d bytes. You have sent %d bytes.", largest, size)
	}
	var err error
	out.Failed, err = each(in.Entries, func(e sqsapi.SendMessageBatchRequestEntry) *string { return e.Id }, func(e sqsapi.SendMessageBatchRequestEntry) error {
		r, err := s.send(ctx, &sqsapi.SendMessageInput{QueueUrl: in.QueueUrl, MessageBody: e.MessageBody, DelaySeconds: e.DelaySeconds, MessageAttributes: e.MessageAttributes,
			MessageSystemAttributes: e.MessageSystemAttributes, MessageDeduplicationId: e.MessageDeduplicationId, MessageGroupId: e.MessageGroupId})
		if err == nil {
			out.Successful = append(out.Successful, sqsapi.SendMessageBatchResultEntry{Id: e.Id, MessageId: r.MessageId, MD5OfMessageBody: r.MD5OfMessageBody,
				MD5OfMessageAttributes: r.MD5OfMessageAttributes, SequenceNumber: r.SequenceNumber})
		}
		return err
	})
	return out, err
}

func (s *Service) deleteBatch(ctx context.Context, in *sqsapi.DeleteMessageBatchInput) (*sqsapi.DeleteMessageBatchOutput, error) {
	out := &sqsapi.DeleteMessageBatchOutput{Successful: []sqsapi.DeleteMessageBatchResultEntry{}}
	var err error
	out.Failed, err = each(in.Entries, func(e sqsapi.DeleteMessageBatchRequestEntry) *string { return e.Id }, func(e sqsapi.DeleteMessageBatchRequestEntry) error {
		_, err := s.deleteMessage(ctx, &sqsapi.DeleteMessageInput{QueueUrl: in.QueueUrl, ReceiptHandle: e.ReceiptHandle})
		if err == nil {
			out.Successful = append(out.Successful, sqsapi.DeleteMessageBatchResultEntry{Id: e.Id})
		}
		return err
	})
	return out, err
}

func (s *Service) changeBatch(ctx context.Context, in *sqsapi.ChangeMessageVisibilityBatchInput) (*sqsapi.ChangeMessageVisibilityBatchOutput, error) {
	out := &sqsapi.ChangeMessageVisibilityBatchOutput{Successful: []sqsapi.ChangeMessageVisibilityBatchResultEntry{}}
	var err error
	out.Failed, err = each(in.Entries, func(e sqsapi.ChangeMessageVisibilityBatchRequestEntry) *string { return e.Id }, func(e sqsapi.ChangeMessageVisibilityBatchRequestEntry) error {
		_, err := s.change(ctx, &sqsapi.ChangeMessageVisibilityInput{QueueUrl: in.QueueUrl, ReceiptHandle: e.ReceiptHandle, VisibilityTimeout: e.VisibilityTimeout})
		if err == nil {
			out.Successful = append(out.Successful, sqsapi.ChangeMessageVisibilityBatchResultEntry{Id: e.Id})
		}
		return err
	})
	return out, err
}
