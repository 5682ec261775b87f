package deploy

import (
	"time"

	"github.com/slipway-ecs/slipway/internal/service"
)

// Plan is what an Apply would do. It is made by the same function that Apply acts on.
type Plan struct {
	Changes []Change
	Rollout bool // the service gets a new deployment (tasks are replaced)
}

// Empty says whether nothing would be changed.
func (p Plan) Empty() bool {
	for _, c := range p.Changes {
		if c.Action != Keep {
			return false
		}
	}
	return true
}

// Action is what is done to a resource.
type Action string

// The actions of a plan.
const (
	Keep    Action = "keep"
	Create  Action = "create"
	Update  Action = "update"
	Replace Action = "replace"
	Delete  Action = "delete"
)

// Change is what happens to one resource.
type Change struct {
	Resource string // log group, execution role, task role, target group, listener rule, task definition, service, scaling
	Name     string
	Action   Action
	Fields   []Field // of an update: what differs
}

// Field is one attribute that differs.
type Field struct{ Path, From, To string }

// Observed is a service as AWS has it.
type Observed struct {
	Ref            Ref
	Service        Service
	TaskDefinition TaskDefinition
	Image          string // of the main container
	TargetGroup    *TargetGroup
	Rule           *Rule
	Listener       *Listener
	ExecutionRole  string // ARN
	TaskRole       string // ARN
	LogGroup       *LogGroup
	Scaling        *ServiceScaling
	Last           *Deployment // newest service deployment
	Release        string      // label given at the last deployment

	// Spec is the service's normal form written back from what AWS has: every attribute that
	// AWS keeps shows drift against the Spec that was applied. What AWS does not keep (timeouts,
	// steps, the smoke test, the name of the listener) is zero.
	Spec service.Spec
}

// Status is a service at a glance.
type Status struct {
	Observed    Observed
	Tasks       []Task
	Targets     []TargetHealth
	Deployments []Deployment // newest first, at most 10
	URL         string
}

// DeleteOptions say what a Delete keeps.
type DeleteOptions struct {
	KeepLogs    bool          // leave the log group
	KeepSecrets bool          // leave the copies of other stores' secrets
	Timeout     time.Duration // for the tasks to stop; 0 = 10 min
}
