package wire_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/sqsapi"
)

// TestSQSQuery: SQS as older SDKs speak it, in the words of
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-making-api-requests-xml.html
func TestSQSQuery(t *testing.T) {
	s := wire.NewServer()
	var sent *sqsapi.SendMessageBatchInput
	wire.Handle(s.Service("sqs"), "SendMessageBatch", func(_ context.Context, in *sqsapi.SendMessageBatchInput) (*sqsapi.SendMessageBatchOutput, error) {
		if sent = in; len(in.Entries) == 0 {
			return nil, wire.Errorf("EmptyBatchRequest", "none")
		}
		return &sqsapi.SendMessageBatchOutput{Successful: []sqsapi.SendMessageBatchResultEntry{{Id: in.Entries[0].Id, MessageId: wire.String("m")}},
			Failed: []sqsapi.BatchResultErrorEntry{{Id: in.Entries[1].Id, Code: wire.String("c"), SenderFault: wire.Bool(true)}}}, nil
	})
	wire.Handle(s.Service("sqs"), "ReceiveMessage", func(_ context.Context, in *sqsapi.ReceiveMessageInput) (*sqsapi.ReceiveMessageOutput, error) {
		if strings.Join(in.AttributeNames, " ") != "All SentTimestamp" || *in.QueueUrl != "http://127.0.0.1/000000000000/q" {
			t.Errorf("input = %+v of %s", in, *in.QueueUrl)
		}
		return &sqsapi.ReceiveMessageOutput{Messages: []sqsapi.Message{{Body: wire.String("<b>"), Attributes: map[string]string{"SentTimestamp": "1"},
			MessageAttributes: map[string]sqsapi.MessageAttributeValue{"k": {DataType: wire.String("Binary"), BinaryValue: []byte{0, 1}}}}}}, nil
	})
	send := func(path, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1"+path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w
	}
	w := send("/", "Action=SendMessageBatch&Version=2012-11-05&QueueUrl=u&SendMessageBatchRequestEntry.1.Id=a&SendMessageBatchRequestEntry.1.MessageBody=x&SendMessageBatchRequestEntry.2.Id=b&SendMessageBatchRequestEntry.2.MessageBody=y"+
		"&SendMessageBatchRequestEntry.2.MessageAttribute.1.Name=k&SendMessageBatchRequestEntry.2.MessageAttribute.1.Value.DataType=Binary&SendMessageBatchRequestEntry.2.MessageAttribute.1.Value.BinaryValue=AAE=")
	want := `<SendMessageBatchResponse xmlns="http://queue.amazonaws.com/doc/2012-11-05/"><SendMessageBatchResult><BatchResultErrorEntry><Code>c</Code><Id>b</Id><SenderFault>true</SenderFault></BatchResultErrorEntry>` +
		`<SendMessageBatchResultEntry><Id>a</Id><MessageId>m</MessageId></SendMessageBatchResultEntry></SendMessageBatchResult>`
	if w.Code != 200 || !strings.HasPrefix(w.Body.String(), want) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if v := sent.Entries[1].MessageAttributes["k"].BinaryValue; string(v) != "\x00\x01" {
		t.Errorf("attribute = %q", v)
	}
	if w = send("/", "Action=SendMessageBatch&Version=2012-11-05&QueueUrl=u"); w.Code != 400 || !strings.Contains(w.Body.String(), "<Code>AWS.SimpleQueueService.EmptyBatchRequest</Code>") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	// To the queue's own URL, which then is no parameter.
	w = send("/000000000000/q", "Action=ReceiveMessage&Version=2012-11-05&AttributeName.1=All&AttributeName.2=SentTimestamp")
	want = `<ReceiveMessageResult><Message><Attribute><Name>SentTimestamp</Name><Value>1</Value></Attribute><Body>&lt;b&gt;</Body>` +
		`<MessageAttribute><Name>k</Name><Value><BinaryValue>AAE=</BinaryValue><DataType>Binary</DataType></Value></MessageAttribute></Message></ReceiveMessageResult>`
	if w.Code != 200 || !strings.Contains(w.Body.String(), want) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
