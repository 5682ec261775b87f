package drain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Notice is AWS's word that an instance will not stay.
type Notice struct {
	By       string // BySpot, ByRebalance or ByMaintenance
	EC2ID    string
	Deadline time.Time // when it goes; zero: not said
	Receipt  string    // of the message, for Done; several notices may have come in one
}

// Notices is where notices come from: a queue that EventBridge sends them to.
type Notices interface {
	// Receive returns the notices that wait; it does not wait for any. What is not a notice is removed.
	Receive(ctx context.Context) ([]Notice, error)
	// Done removes the message of a notice: all it told of was acted upon. One that was not comes again.
	Done(ctx context.Context, n Notice) error
}

// interruption is how long after its warning AWS takes a Spot instance back.
//
// Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
const interruption = 2 * time.Minute

// ParseNotices reads an EventBridge event. An event about something else gives none and no error.
//
// Sources: the page above,
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html,
// https://docs.aws.amazon.com/health/latest/ug/aws-health-events-eventbridge-schema.html
func ParseNotices(event []byte) ([]Notice, error) {
	var e struct {
		Type   string `json:"detail-type"`
		Source string
		Time   time.Time
		Detail struct {
			Instance  string `json:"instance-id"`
			Service   string
			Category  string `json:"eventTypeCategory"`
			Status    string `json:"statusCode"` // open, upcoming, closed
			StartTime string `json:"startTime"`
			Entities  []struct {
				Value  string `json:"entityValue"`
				Status string `json:"status"` // IMPAIRED, UNIMPAIRED, UNKNOWN, PENDING, RESOLVED
			} `json:"affectedEntities"`
		}
	}
	if err := json.Unmarshal(event, &e); err != nil {
		return nil, fmt.Errorf("reading an event: %w", err)
	}
	switch e.Type {
	case "EC2 Spot Instance Interruption Warning":
		if e.Detail.Instance != "" {
			return []Notice{{By: BySpot, EC2ID: e.Detail.Instance, Deadline: e.Time.Add(interruption)}}, nil
		}
	case "EC2 Instance Rebalance Recommendation":
		if e.Detail.Instance != "" {
			return []Notice{{By: ByRebalance, EC2ID: e.Detail.Instance}}, nil
		}
	case "AWS Health Event":
		if e.Detail.Service != "EC2" || e.Detail.Category != "scheduledChange" || e.Detail.Status == "closed" {
			return nil, nil
		}
		var out []Notice
		for _, x := range e.Detail.Entities {
			// An entity is an id or an ARN.
			if id := x.Value[strings.LastIndexByte(x.Value, '/')+1:]; strings.HasPrefix(id, "i-") && x.Status != "RESOLVED" {
				at, _ := time.Parse(time.RFC1123, e.Detail.StartTime) // zero if it is not said
				out = append(out, Notice{By: ByMaintenance, EC2ID: id, Deadline: at})
			}
		}
		return out, nil
	}
	return nil, nil
}

// MarkOf is the wish that follows from a notice.
func MarkOf(n Notice, now time.Time, def Defaults) Mark {
	m := Mark{Deadline: n.Deadline, Policy: Force, Terminate: true, Replace: true, By: n.By}
	switch {
	case n.By == BySpot:
		if m.Deadline.IsZero() {
			m.Deadline = now.Add(interruption)
		}
	case n.By == ByRebalance || m.Deadline.IsZero():
		m.Deadline, m.Policy = now.Add(def.Deadline), def.Policy
	default:
		// Well before the time that is planned, which may be days away.
		m.Deadline = earlier(now.Add(def.Deadline), m.Deadline.Add(-5*time.Minute))
		m.Policy = def.Policy
	}
	return m
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Heed marks the instances that notices are about. An instance that is marked already is marked anew only
// by a Spot interruption, which leaves the least time. Killed between mark and Done, it does both again.
func (e *Engine) Heed(ctx context.Context, notices []Notice, done func(context.Context, Notice) error) error {
	if len(notices) == 0 {
		return nil
	}
	s, err := e.Observer.Observe(ctx, e.Cluster)
	if err != nil {
		return fmt.Errorf("observing cluster %s: %w", e.Cluster, err)
	}
	var errs []error
	// A message about several instances is done with when each of them is marked: one that failed, or a
	// process that is killed between two, has it come again, and marking what is marked changes nothing.
	failed := map[string]bool{} // by receipt
	for _, n := range notices {
		i := s.Find(n.EC2ID)
		if i == nil && slices.Contains(s.Joining, n.EC2ID) {
			failed[n.Receipt] = true // it comes again, until the instance is in the cluster or gone
			continue
		}
		if i == nil || i.Mark != nil && (n.By != BySpot || i.Mark.By == BySpot) {
			continue
		}
		m := MarkOf(n, e.Clock.Now(), e.Defaults)
		if i.Group == "" {
			m.Terminate, m.Replace = false, false // nobody would launch another
		}
		err := e.Instances.Mark(ctx, i.ID, &m)
		if e.Report != nil {
			e.Report(Action{Kind: SetMark, Instance: i.ID, EC2ID: i.EC2ID, Mark: m, Why: "notice: " + n.By}, err)
		}
		if err != nil && !errors.Is(err, ErrGone) {
			failed[n.Receipt] = true
			errs = append(errs, fmt.Errorf("marking %s: %w", n.EC2ID, err))
			continue
		}
		if err == nil {
			i.Mark = &m // a second notice about it, of this turn, finds it marked
		}
	}
	if done == nil {
		return errors.Join(errs...)
	}
	removed := map[string]bool{}
	for _, n := range notices {
		if failed[n.Receipt] || removed[n.Receipt] {
			continue
		}
		removed[n.Receipt] = true
		if err := done(ctx, n); err != nil {
			errs = append(errs, fmt.Errorf("removing the notice about %s: %w", n.EC2ID, err))
		}
	}
	return errors.Join(errs...)
}
