// Package rotate replaces the instances of an Auto Scaling group by ones of another launch template
// version, without losing what runs on them: new ones come first, old ones are drained zone by zone
// and only then terminated.
//
// What it must not forget is in AWS: a rotation is the tag slipway:rotate of its group, the wish to
// drain an instance is a tag of that instance, and which instances are right already is seen by their
// launch template version. Decide is pure; a preview (Forecast) runs the same Decide on copied state.
//
// Unlike an instance refresh it knows what tasks need:
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/asg-instance-refresh.html
package rotate

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/capacity"
)

// Group is an Auto Scaling group of container instances as it is seen at one moment.
type Group struct {
	Name              string
	Min, Max, Desired int
	Version           string // launch template version it launches now, resolved to a number
	Members           []Member
	Rotation          *Rotation // nil: none is under way
	Health            Health
	Budgets           []capacity.Disruption // rules of how many members with tasks may be on their way out at a time
}

// Member is an instance of the group.
type Member struct {
	EC2ID, Instance string // Instance is the container instance's ARN; empty: not in the cluster (yet)
	Zone            string
	Version         string    // of the launch template
	Right           bool      // what it was launched from equals the rotation's target
	Lifecycle       string    // Pending, InService, Terminating:Wait …
	LaunchedAt      time.Time // when it joined the cluster, or was launched if it has not
	Ready           bool      // ACTIVE in the cluster, its agent connected
	Tasks           int       // daemons not counted
	Marked          bool      // asked to drain, by whomever
	Ours            bool      // by a rotation
	Drop            bool      // and the group is to be one smaller afterwards
	Hard            string    // why its drain may have to wait long; such instances come last
	Waits           []string
}

// Health is what could stop a rotation.
type Health struct {
	Alarms   []string // named gates that are in ALARM
	Services []string // whole sentences on services that are not as they should be
}

// Phase is how a rotation stands.
type Phase string

// The phases.
const (
	Running  Phase = "running"
	Paused   Phase = "paused"   // nothing new is begun; what drains goes on
	Aborting Phase = "aborting" // ends as soon as the group has its size again
)

// OnFailure says what a failed gate does.
type OnFailure string

// What a failed gate does.
const (
	Pause    OnFailure = "pause"
	Rollback OnFailure = "rollback"
)

// Rotation is the wish to replace instances, and how far it is. It is kept as tags of the group.
type Rotation struct {
	To, From    string // launch template versions
	Base        int    // desired capacity without the surge
	Surge       int    // instances more than Base at a time; 0: in place, one by one
	Phase       Phase
	Began       time.Time
	Total       int           // instances to be replaced when it began
	Checkpoints []int         // percent, ascending; it rests at each
	Bake        time.Duration // how long
	Passed      int           // percent of the last checkpoint left behind
	Reached     time.Time     // when the present checkpoint was reached; zero: it was not
	Deadline    time.Duration // of each drain
	Force       bool          // at a drain's deadline: stop what is left, instead of taking tasks again
	Join        time.Duration // how long a new instance may take to join the cluster
	OnFailure   OnFailure
	Rolled      bool     // this is a rollback: gates do not fail it any more
	Ungated     bool     // services that are not well do not hold it
	Alarms      []string // CloudWatch alarms that fail it; in tags of their own
	Failed      string   // why it was paused by itself; in a tag of its own
}

// Tags of the group. AlarmTag is followed by a number.
const (
	Tag       = "slipway:rotate"
	AlarmTag  = "slipway:rotate-alarm-"
	FailedTag = "slipway:rotate-failed"
)

// String is the value of the tag, in the at most 256 characters of those a tag may have.
//
// Source: https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-tagging.html
func (r *Rotation) String() string {
	var b strings.Builder
	put := func(k, v string) {
		if v == "" || v == "0" {
			return
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(k + "=" + v)
	}
	put("to", r.To)
	put("from", r.From)
	put("base", strconv.Itoa(r.Base))
	put("surge", strconv.Itoa(r.Surge))
	put("phase", string(r.Phase))
	put("began", stamp(r.Began))
	put("total", strconv.Itoa(r.Total))
	var points []string
	for _, p := range r.Checkpoints {
		points = append(points, strconv.Itoa(p))
	}
	put("at", strings.Join(points, "."))
	put("bake", seconds(r.Bake))
	put("passed", strconv.Itoa(r.Passed))
	put("reached", stamp(r.Reached))
	put("drain", seconds(r.Deadline))
	put("join", seconds(r.Join))
	put("fail", string(r.OnFailure))
	for k, on := range map[string]bool{"force": r.Force} {
		if on {
			put(k, "1")
		}
	}
	if r.Rolled {
		put("rolled", "1")
	}
	if r.Ungated {
		put("ungated", "1")
	}
	return b.String()
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.Unix(), 10)
}

func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }

// Parse reads the value of the tag.
func Parse(text string) (*Rotation, error) {
	r := &Rotation{Phase: Running, OnFailure: Pause}
	for _, f := range strings.Fields(text) {
		k, v, _ := strings.Cut(f, "=")
		var err error
		number := func() int {
			n, bad := strconv.Atoi(v)
			if bad != nil || n < 0 {
				err = fmt.Errorf("%q is not a number", v)
			}
			return n
		}
		switch k {
		case "to":
			r.To = v
		case "from":
			r.From = v
		case "base":
			r.Base = number()
		case "surge":
			r.Surge = number()
		case "phase":
			if r.Phase = Phase(v); r.Phase != Running && r.Phase != Paused && r.Phase != Aborting {
				err = fmt.Errorf("phase %q is not known", v)
			}
		case "began":
			r.Began = time.Unix(int64(number()), 0).UTC()
		case "total":
			r.Total = number()
		case "at":
			for p := range strings.SplitSeq(v, ".") {
				n, bad := strconv.Atoi(p)
				if bad != nil || n < 1 || n > 100 {
					err = fmt.Errorf("checkpoint %q is not a percentage", p)
				}
				r.Checkpoints = append(r.Checkpoints, n)
			}
		case "bake":
			r.Bake = time.Duration(number()) * time.Second
		case "passed":
			r.Passed = number()
		case "reached":
			r.Reached = time.Unix(int64(number()), 0).UTC()
		case "drain":
			r.Deadline = time.Duration(number()) * time.Second
		case "join":
			r.Join = time.Duration(number()) * time.Second
		case "fail":
			if r.OnFailure = OnFailure(v); r.OnFailure != Pause && r.OnFailure != Rollback {
				err = fmt.Errorf("%q is neither pause nor rollback", v)
			}
		case "force":
			r.Force = v == "1"
		case "rolled":
			r.Rolled = v == "1"
		case "ungated":
			r.Ungated = v == "1"
		default:
			err = fmt.Errorf("%q is not known", f)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the tag %s: %w", Tag, err)
		}
	}
	if r.To == "" {
		return nil, fmt.Errorf("reading the tag %s: it names no version to rotate to", Tag)
	}
	return r, nil
}
