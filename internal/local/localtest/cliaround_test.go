package localtest_test

import (
	"testing"

	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

// The AWS CLI sends an event and a message to a topic, both of which a queue gets, and finds an instance.
func TestCLIAroundECS(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the AWS CLI")
	}
	a := localtest.Start(t, localtest.Speed(50))
	const arn = "arn:aws:sqs:us-east-1:000000000000:inbox"
	url := a.Must(t, "sqs", "create-queue", "--queue-name", "inbox")["QueueUrl"].(string)
	topic := a.Must(t, "sns", "create-topic", "--name", "news")["TopicArn"].(string)
	a.Must(t, "sns", "subscribe", "--topic-arn", topic, "--protocol", "sqs", "--notification-endpoint", arn, "--attributes", "RawMessageDelivery=true")
	a.Must(t, "sns", "publish", "--topic-arn", topic, "--message", "by topic")
	a.Must(t, "events", "put-rule", "--name", "all", "--event-pattern", `{"source":["shop"]}`)
	a.Must(t, "events", "put-targets", "--rule", "all", "--targets", `[{"Id":"q","Arn":"`+arn+`","Input":"\"by rule\""}]`)
	a.Must(t, "events", "put-events", "--entries", `[{"Source":"shop","DetailType":"order","Detail":"{}"}]`)
	a.Must(t, "scheduler", "create-schedule", "--name", "s", "--schedule-expression", "rate(1 minute)", "--flexible-time-window", "Mode=OFF", "--target", `{"Arn":"`+arn+`","RoleArn":"arn:aws:iam::000000000000:role/s","Input":"by schedule"}`)
	seen := map[string]bool{}
	localtest.Eventually(t, "the queue has all three", func() bool {
		list, _ := a.Must(t, "sqs", "receive-message", "--queue-url", url, "--max-number-of-messages", "10", "--wait-time-seconds", "5")["Messages"].([]any)
		for _, m := range list {
			seen[m.(map[string]any)["Body"].(string)] = true
		}
		return seen["by topic"] && seen[`"by rule"`] && seen["by schedule"]
	})
	op := a.Must(t, "servicediscovery", "create-private-dns-namespace", "--name", "shop.test", "--vpc", "vpc-0510ca10000000000")["OperationId"].(string)
	ns := a.Must(t, "servicediscovery", "get-operation", "--operation-id", op)["Operation"].(map[string]any)["Targets"].(map[string]any)["NAMESPACE"].(string)
	id := a.Must(t, "servicediscovery", "create-service", "--name", "cart", "--namespace-id", ns, "--dns-config", "DnsRecords=[{Type=A,TTL=5}]")["Service"].(map[string]any)["Id"].(string)
	a.Must(t, "servicediscovery", "register-instance", "--service-id", id, "--instance-id", "i", "--attributes", "AWS_INSTANCE_IPV4=10.0.0.9")
	list := a.Must(t, "servicediscovery", "list-instances", "--service-id", id)["Instances"].([]any)
	same(t, "instances", len(list), 1)
}
