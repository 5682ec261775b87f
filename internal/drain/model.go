// Package drain empties container instances without losing what runs on them: by hand, before an
// Auto Scaling group terminates one, or before a scale-in.
//
// ECS itself moves the tasks of services off an instance that is DRAINING, within each service's
// minimum and maximum. This package decides when that may begin (every displaced task has a place
// elsewhere), waits until nothing is left, keeps a termination hook alive meanwhile, and says at any
// time what it waits for. What it knows is in AWS: the instance's status, its tag, the group's hook.
//
// Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/container-instance-draining.html
package drain

import (
	"fmt"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/placement"
)

// State is a cluster as it is seen at one moment.
type State struct {
	Cluster   string
	Instances []Instance
	Services  map[string]Service // by name
	// Orphans are hooks that wait for instances of the cluster's groups that are no longer, or were
	// never, in the cluster.
	Orphans []Hook
	// Joining is the EC2 ids of members of the cluster's groups that are not in the cluster yet.
	Joining []string
}

// Instance is a container instance and what is on it.
type Instance struct {
	placement.Instance        // ID is the ARN
	Group              string // Auto Scaling group; empty: none
	Tasks              []Task // all that have not stopped
	Mark               *Mark  // asked to drain
	Hook               *Hook  // its group wants to terminate it and waits
	Lifecycle          string // InService, Terminating:Wait …; empty: in no group
}

// Task is a task that has not stopped.
type Task struct {
	ARN            string
	Group          string // service:NAME or family:NAME
	Service        string // empty: standalone
	Daemon         bool
	LastStatus     string // PROVISIONING … DEPROVISIONING
	DesiredStatus  string // RUNNING or STOPPED
	StartedAt      time.Time
	ProtectedUntil time.Time // zero: not protected from scale-in
	Need           placement.Request
}

// leaving reports whether the task ends already; until it has, its connections may still be open.
func (t *Task) leaving() bool { return t.DesiredStatus == "STOPPED" }

// ID is the task's id.
func (t *Task) ID() string { return t.ARN[strings.LastIndexByte(t.ARN, '/')+1:] }

// Service is a service of the cluster.
type Service struct {
	Name                   string
	Desired, Running       int
	MinHealthy, MaxPercent int // percent
	Daemon                 bool
}

// slack is how many tasks the service may have less and more than desired during a move.
func (s *Service) slack() (less, more int) {
	low := (s.Desired*s.MinHealthy + 99) / 100
	return max(s.Desired-low, 0), max(s.Desired*s.MaxPercent/100-s.Desired, 0)
}

// Hook is a lifecycle hook that holds an instance in Terminating:Wait.
//
// Source: https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks-overview.html
type Hook struct {
	Name, Group, EC2ID string
	Timeout            time.Duration // heartbeat timeout, 30–7200 s
	LastBeat           time.Time     // zero: not known, as after a restart
}

// Policy says what becomes of a drain that is not done at its deadline.
type Policy string

// The policies.
const (
	Abort Policy = "abort" // the instance takes tasks again; what runs goes on
	Force Policy = "force" // the tasks that are left are stopped
)

// Mark is the wish to drain an instance. It is kept as a tag of the container instance, so that a
// controller that was killed goes on.
type Mark struct {
	Deadline  time.Time
	Policy    Policy
	Terminate bool // when empty, terminate the instance and make the group one smaller
	Replace   bool // with Terminate: the group keeps its size and launches another
	// By is who asked: empty by hand, else autoscale, rotate, spot, rebalance or maintenance.
	By string
}

// urgent reports whether the instance goes at its deadline, whatever we do: waiting for a proof that its
// tasks fit elsewhere helps nobody.
func (m *Mark) urgent() bool { return m.By == BySpot }

// Who asks for drains, beside people.
const (
	ByAutoscale   = "autoscale"
	ByRotate      = "rotate"
	BySpot        = "spot"
	ByRebalance   = "rebalance"
	ByMaintenance = "maintenance"
)

// Tag is the key of the tag that holds a Mark.
const Tag = "slipway:drain"

// String is the value of the tag, in the characters a tag may have.
func (m Mark) String() string {
	s := "deadline=" + m.Deadline.UTC().Format(time.RFC3339) + " policy=" + string(m.Policy)
	switch {
	case m.Terminate && m.Replace:
		s += " then=replace"
	case m.Terminate:
		s += " then=terminate"
	}
	if m.By != "" {
		s += " by=" + m.By
	}
	return s
}

// ParseMark reads the value of the tag.
func ParseMark(text string) (Mark, error) {
	m := Mark{Policy: Abort}
	for _, f := range strings.Fields(text) {
		k, v, _ := strings.Cut(f, "=")
		switch {
		case k == "deadline":
			t, err := time.Parse(time.RFC3339, v)
			if err != nil {
				return m, fmt.Errorf("reading the tag %s: %w", Tag, err)
			}
			m.Deadline = t
		case k == "policy" && (Policy(v) == Abort || Policy(v) == Force):
			m.Policy = Policy(v)
		case k == "then" && v == "terminate":
			m.Terminate = true
		case k == "then" && v == "replace":
			m.Terminate, m.Replace = true, true
		case k == "by" && v != "":
			m.By = v
		default:
			return m, fmt.Errorf("reading the tag %s: %q is not known", Tag, f)
		}
	}
	if m.Deadline.IsZero() {
		return m, fmt.Errorf("reading the tag %s: it has no deadline", Tag)
	}
	return m, nil
}
