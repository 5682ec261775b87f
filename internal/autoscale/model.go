// Package autoscale keeps a cluster at the size its tasks need: it grows the Auto Scaling groups at
// once by what cannot be placed, and shrinks them by choosing an instance, having it drained, and only
// then terminated.
//
// Deciding is pure: Decide sees a State and answers with a Decision and its reasons.
package autoscale

import (
	"slices"
	"time"

	"github.com/slipway-ecs/slipway/internal/capacity"
	"github.com/slipway-ecs/slipway/internal/placement"
)

// State is a cluster as it is seen at one moment.
type State struct {
	Cluster string
	Hosts   []Host
	Groups  []Group
	Wanted  []Wanted
	// Slack is how many tasks of a service may move at a time; services not named: any number.
	Slack map[string]int
}

// Host is a container instance.
type Host struct {
	placement.Instance        // ID is the ARN
	Group              string // Auto Scaling group; empty: none
	InService          bool   // in its group
	Protected          bool   // from scale-in
	Leaving            bool   // it drains, or is asked to
	Changing           bool   // it was given tasks while the cluster was looked at: Tasks lacks them
	Tasks              []Task // neither stopped nor to stop
}

// Task is a task on a host.
type Task struct {
	ARN, Service string // Service is empty for a standalone task
	Daemon       bool
	Pinned       string // why it cannot be moved; empty: it can
	Need         placement.Request
}

// Group is an Auto Scaling group of container instances.
type Group struct {
	Name              string
	Type              string   // m7i.large
	Types             []string // others it may launch instead: a mixed instances policy
	Price             float64  // USD an hour of an instance; 0: the type's, on demand
	Spot              bool
	FailedAt          time.Time // when AWS last had no capacity for it; zero: it had
	Rotating          bool      // its instances are being replaced: it may grow but not shrink
	Zones             []string
	Min, Max, Desired int
	Instances         int  // members that are not ending, in the cluster or on the way to it
	Managed           bool // ECS's managed scaling owns its size
	// Evens is whether Auto Scaling evens out its zones, by ending instances where one has two more than another.
	Evens bool
}

// Wanted is tasks that should run and have no place: those a service lacks, and those that a drain
// displaces.
type Wanted struct {
	Name  string // of the service, or the task group
	Count int
	Need  placement.Request
}

// Config is how eager the engine is. The zero value is not usable; see Defaults.
type Config struct {
	MinAge   time.Duration // an instance younger than this is not removed
	Settle   time.Duration // how long an instance must have been removable, if it has no tasks
	Headroom int           // percent of what is used that must stay free after a removal
	// Reserve is the percent of each service's tasks for which a place is kept free, and made: so many
	// more find one at once.
	Reserve  int
	Deadline time.Duration // of the drain of a victim, after which it stays
	// MoveCost is what moving a task is taken to cost, in USD. An instance is kept for as long as it
	// costs no more than its removal and return would: so what comes and goes is not chased.
	MoveCost  float64
	MinSaving float64       // USD an hour that a move that disrupts must save
	MinGain   float64       // part of its price that replacing an instance by another must save
	MaxAge    time.Duration // an older instance is replaced when that costs nothing more; 0: never
	NoReplace bool          // only remove, never launch a cheaper one instead
	Start     time.Duration // from a wish to an instance that takes tasks; for warnings
	// Budgets are the rules of how many instances with tasks may be on their way out at a time. Where none
	// holds always, a tenth may, but two: what is said of the working hours lifts no limit at night.
	Budgets []capacity.Disruption
	// ServiceBudgets are the same of the tasks of a service, by name, beside its own minimum and maximum.
	ServiceBudgets map[string][]capacity.Disruption
}

// Defaults are for a cluster whose instances take two minutes to come.
func Defaults() Config {
	return Config{MinAge: 3 * time.Minute, Settle: time.Minute, Headroom: 10, Reserve: 10, Deadline: 15 * time.Minute, MoveCost: 0.0002, MinGain: 0.1, Start: 2 * time.Minute}
}

// budget is the rules of how many of n instances with tasks may be on their way out: without one that holds
// always, a tenth too, but two, so that two can go for one.
func (c *Config) budget(n int) []capacity.Disruption {
	if slices.ContainsFunc(c.Budgets, func(r capacity.Disruption) bool { return r.Window == nil }) {
		return c.Budgets
	}
	return append(slices.Clip(c.Budgets), capacity.Disruption{Number: max(2, n/10), Percent: capacity.NoLimit})
}

// patience is how long a host must have been removable: until keeping it has cost as much as its removal
// and return, in which whoever decides without knowing the future pays at most twice what was needed.
func (c *Config) patience(h *Host) time.Duration {
	moves := 0
	for k := range h.Tasks {
		if !h.Tasks[k].Daemon {
			moves++
		}
	}
	cost := float64(moves) * c.MoveCost / max(price(h.Type), 1e-3)
	return min(c.Settle+time.Duration(cost*float64(time.Hour)), max(10*time.Minute, c.Settle))
}

// Kind tells decisions apart.
type Kind string

// The kinds of decisions.
const (
	Hold    Kind = "hold"    // the size is right, or is changing already
	Grow    Kind = "grow"    // set a group's desired capacity
	Shrink  Kind = "shrink"  // drain an instance, then terminate it
	Blocked Kind = "blocked" // tasks have no place and no group can give one
)

// Decision is what to do about one group or instance, and why.
type Decision struct {
	Kind     Kind
	Group    string
	From, To int    // desired capacity
	Instance string // ARN, of a Shrink
	EC2ID    string
	Reasons  []string
	Saving   float64 // USD an hour
}
