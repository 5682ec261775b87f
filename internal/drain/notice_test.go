package drain

import (
	"fmt"
	"testing"
	"time"
)

// The samples are AWS's own, from the pages that ParseNotices names.
func TestParseNotices(t *testing.T) {
	for _, c := range []struct{ name, event, want string }{
		{"spot", `{"detail-type":"EC2 Spot Instance Interruption Warning","source":"aws.ec2","time":"2026-01-31T12:00:00Z","resources":["arn:aws:ec2:us-west-2b:instance/i-1"],"detail":{"instance-id":"i-1","instance-action":"terminate"}}`, "spot i-1 12:02"},
		{"rebalance", `{"detail-type":"EC2 Instance Rebalance Recommendation","source":"aws.ec2","time":"2026-01-31T12:00:00Z","detail":{"instance-id":"i-1"}}`, "rebalance i-1 00:00"},
		{"maintenance", `{"detail-type":"AWS Health Event","source":"aws.health","time":"2026-01-31T12:00:00Z","detail":{"service":"EC2","eventTypeCode":"AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED","eventTypeCategory":"scheduledChange","startTime":"Thu, 05 Feb 2026 03:00:00 GMT","affectedEntities":[{"entityValue":"i-1"},{"entityValue":"arn:aws:ec2:us-east-1:111122223333:instance/i-2"},{"entityValue":"vol-3"}]}}`, "maintenance i-1 03:00, maintenance i-2 03:00"},
		{"an issue, not a change", `{"detail-type":"AWS Health Event","detail":{"service":"EC2","eventTypeCategory":"issue","affectedEntities":[{"entityValue":"i-1"}]}}`, ""},
		{"of others", `{"detail-type":"ECS Task State Change","detail":{"lastStatus":"RUNNING"}}`, ""},
		{"the queue's test", `{"Service":"AWS Auto Scaling","Event":"autoscaling:TEST_NOTIFICATION"}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseNotices([]byte(c.event))
			text := ""
			for k, n := range got {
				if k > 0 {
					text += ", "
				}
				text += fmt.Sprintf("%s %s %s", n.By, n.EC2ID, n.Deadline.UTC().Format("15:04"))
			}
			if err != nil || text != c.want {
				t.Errorf("%q, %v; want %q", text, err, c.want)
			}
		})
	}
	if _, err := ParseNotices([]byte("{")); err == nil {
		t.Error("what is no JSON is read")
	}
}

func TestMarkOfNotice(t *testing.T) {
	def := Defaults{Deadline: 15 * time.Minute, Policy: Abort}
	for _, c := range []struct {
		n    Notice
		want Mark
	}{
		{Notice{By: BySpot, Deadline: now.Add(2 * time.Minute)}, Mark{Deadline: now.Add(2 * time.Minute), Policy: Force, Terminate: true, Replace: true, By: BySpot}},
		{Notice{By: ByRebalance}, Mark{Deadline: now.Add(15 * time.Minute), Policy: Abort, Terminate: true, Replace: true, By: ByRebalance}},
		{Notice{By: ByMaintenance, Deadline: now.Add(48 * time.Hour)}, Mark{Deadline: now.Add(15 * time.Minute), Policy: Abort, Terminate: true, Replace: true, By: ByMaintenance}},
		{Notice{By: ByMaintenance, Deadline: now.Add(10 * time.Minute)}, Mark{Deadline: now.Add(5 * time.Minute), Policy: Abort, Terminate: true, Replace: true, By: ByMaintenance}},
	} {
		got := MarkOf(c.n, now, def)
		if got != c.want {
			t.Errorf("%+v; want %+v", got, c.want)
		}
		if back, err := ParseMark(got.String()); err != nil || back != got {
			t.Errorf("read back %+v, %v", back, err)
		}
	}
}
