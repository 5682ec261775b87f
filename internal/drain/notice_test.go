package drain

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ecs/slipway/internal/placement"
)

// The samples are AWS's own, from the pages that ParseNotices names.
func TestParseNotices(t *testing.T) {
	for _, c := range []struct{ name, event, want string }{
		{"spot", `{"detail-type":"EC2 Spot Instance Interruption Warning","source":"aws.ec2","time":"2026-01-31T12:00:00Z","resources":["arn:aws:ec2:us-west-2b:instance/i-1"],"detail":{"instance-id":"i-1","instance-action":"terminate"}}`, "spot i-1 12:02"},
		{"rebalance", `{"detail-type":"EC2 Instance Rebalance Recommendation","source":"aws.ec2","time":"2026-01-31T12:00:00Z","detail":{"instance-id":"i-1"}}`, "rebalance i-1 00:00"},
		{"maintenance", `{"detail-type":"AWS Health Event","source":"aws.health","time":"2026-01-31T12:00:00Z","detail":{"service":"EC2","eventTypeCode":"AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED","eventTypeCategory":"scheduledChange","startTime":"Thu, 05 Feb 2026 03:00:00 GMT","affectedEntities":[{"entityValue":"i-1"},{"entityValue":"arn:aws:ec2:us-east-1:111122223333:instance/i-2"},{"entityValue":"vol-3"}]}}`, "maintenance i-1 03:00, maintenance i-2 03:00"},
		{"a closed one", `{"detail-type":"AWS Health Event","detail":{"service":"EC2","eventTypeCategory":"scheduledChange","statusCode":"closed","affectedEntities":[{"entityValue":"i-1"}]}}`, ""},
		{"one of two is resolved", `{"detail-type":"AWS Health Event","detail":{"service":"EC2","eventTypeCategory":"scheduledChange","statusCode":"upcoming","affectedEntities":[{"entityValue":"i-1","status":"RESOLVED"},{"entityValue":"i-2","status":"PENDING"}]}}`, "maintenance i-2 00:00"},
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

// small is a cluster that notes what is marked.
type small struct {
	*State
	marked  []string
	refuses string // EC2 id
}

func (s *small) Observe(context.Context, string) (*State, error) { return s.State, nil }
func (s *small) Mark(_ context.Context, id string, _ *Mark) error {
	if id == "arn/"+s.refuses {
		return errors.New("refused")
	}
	s.marked = append(s.marked, id)
	return nil
}
func (s *small) SetStatus(context.Context, string, string, string) error { return nil }
func (s *small) StopTask(context.Context, string, string, string) error  { return nil }
func (s *small) Now() time.Time                                          { return now }
func (s *small) Wait(context.Context, time.Duration) error               { return nil }

// A message is removed once, and only when all instances it tells of are marked, gone or of others.
func TestHeed(t *testing.T) {
	for _, c := range []struct {
		name            string
		notices         string // id/receipt
		refuses         string
		joining         []string
		marked, removed string
	}{
		{"one", "a/1", "", nil, "a", "1"},
		{"two in one message", "a/1 b/1", "", nil, "a b", "1"},
		{"two messages", "a/1 b/2", "", nil, "a b", "1 2"},
		{"one of others, one of ours", "x/1 b/1", "", nil, "b", "1"},
		{"the first cannot be marked", "a/1 b/1", "a", nil, "b", ""},
		{"the second cannot be marked", "a/1 b/1 c/2", "b", nil, "a c", "2"},
		{"twice told", "a/1 a/2", "", nil, "a", "1 2"},
		{"one is not in the cluster yet", "a/1 new/1 b/2", "", []string{"new"}, "a b", "2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &small{State: &State{Joining: c.joining}, refuses: c.refuses}
			for _, id := range []string{"a", "b", "c"} {
				s.Instances = append(s.Instances, Instance{Instance: placement.Instance{ID: "arn/" + id, EC2ID: id}, Group: "g"})
			}
			e := &Engine{Observer: s, Instances: s, Clock: s}
			var notices []Notice
			for _, text := range strings.Fields(c.notices) {
				id, receipt, _ := strings.Cut(text, "/")
				notices = append(notices, Notice{By: ByMaintenance, EC2ID: id, Receipt: receipt})
			}
			var removed []string
			err := e.Heed(t.Context(), notices, func(_ context.Context, n Notice) error { removed = append(removed, n.Receipt); return nil })
			if (err != nil) != (c.refuses != "") {
				t.Error(err)
			}
			if got := strings.ReplaceAll(strings.Join(s.marked, " "), "arn/", ""); got != c.marked || strings.Join(removed, " ") != c.removed {
				t.Errorf("marked %s, removed %v; want %s, %s", got, removed, c.marked, c.removed)
			}
		})
	}
}
