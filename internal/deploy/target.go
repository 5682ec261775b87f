package deploy

import (
	"errors"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/service"
)

// Target is what should run: a service's normal form, the exact image and the environment's ids.
type Target struct {
	Spec    service.Spec
	Image   string // repository@sha256:… of the main container
	Infra   Infra
	Release string // a label for people (commit, tag); never a reason to deploy by itself
}

// Infra is what the environment provides. Every id is given, nothing is looked up by the engine.
type Infra struct {
	Region    string
	Account   string // 12 digits
	Partition string // aws, aws-cn, aws-us-gov; empty = aws
	Cluster   string // name of the ECS cluster
	VPC       string
	Subnets   []string // for awsvpc tasks whose Spec names none

	// SecurityGroups are for awsvpc tasks whose Spec names none.
	SecurityGroups []string

	Listener      string // ARN of the listener the route goes to; empty without a route
	ExecutionRole string // ARN of an existing role; empty: the engine keeps one for the service
	LogGroup      string // existing or shared log group; empty: Spec.Logs.Group, else one for the service
}

// Ref names a deployed service.
type Ref struct {
	Cluster string // name or ARN of the ECS cluster
	Service string // name of the ECS service, as ServiceName gives it
}

// ServiceName is the name of the ECS service: the environments of one service may share a cluster,
// so it carries both.
func ServiceName(spec service.Spec) string {
	if spec.Environment == "" {
		return spec.Name
	}
	return spec.Name + "-" + spec.Environment
}

// Ref names the service the target deploys.
func (t Target) Ref() Ref {
	cluster := t.Infra.Cluster
	if cluster == "" {
		cluster = t.Spec.Cluster
	}
	return Ref{Cluster: clusterName(cluster), Service: ServiceName(t.Spec)}
}

func clusterName(nameOrARN string) string {
	return nameOrARN[strings.LastIndexByte(nameOrARN, '/')+1:]
}

// What ports return for callers to act on.
var (
	ErrNotFound      = errors.New("not found")
	ErrPriorityInUse = errors.New("listener priority in use")
	ErrInUse         = errors.New("still in use")
	ErrNoRoom        = errors.New("quota reached")
	ErrForbidden     = errors.New("not allowed")
)

// EventKind tells progress events apart.
type EventKind string

// The kinds of events an Apply or Delete reports.
const (
	EventStep     EventKind = "step"     // a resource was created, changed or found as wanted
	EventProgress EventKind = "progress" // counts of the deployment changed
	EventTask     EventKind = "task"     // a task started, ran or stopped
	EventTarget   EventKind = "target"   // a target changed its health
	EventService  EventKind = "service"  // ECS wrote a service event
	EventWarning  EventKind = "warning"  // something that will fail the deployment if it lasts
	EventDone     EventKind = "done"     // the end, good or bad
)

// Event is one line of live progress.
type Event struct {
	At      time.Time `json:"at"`
	Kind    EventKind `json:"kind"`
	Message string    `json:"message"`

	Resource string `json:"resource,omitempty"` // what a step, task or target event is about
	Action   string `json:"action,omitempty"`   // of a step: create, update, delete, keep
	Status   string `json:"status,omitempty"`   // of a deployment, task or target

	Desired int `json:"desired,omitempty"` // tasks wanted of the new revision
	Running int `json:"running,omitempty"` // of the new revision
	Healthy int `json:"healthy,omitempty"` // targets of the new revision that are healthy
	Old     int `json:"old,omitempty"`     // tasks of earlier revisions still running
	Failed  int `json:"failed,omitempty"`  // tasks of the new revision that stopped
}

// Outcome is what an Apply left behind.
type Outcome struct {
	ServiceARN     string
	Service        string // name of the ECS service
	TaskDefinition string // ARN with revision
	TargetGroup    string // ARN; empty without a route
	Rule           string // ARN
	Priority       int    // of the rule
	Deployment     string // ARN of the service deployment that was followed; empty if nothing had to be rolled out
	Revision       string // ARN of the service revision that serves
	Image          string
	URL            string // http://dns-name:port of the listener; empty without a route
	LogGroup       string
	TaskRole       string
	ExecutionRole  string
	Changed        bool   // something was created or changed
	Status         string // of the service deployment that was followed
	Took           time.Duration
}

// Failure is a deployment that did not succeed, whatever AWS runs now.
type Failure struct {
	Status     string // of the service deployment, e.g. ROLLBACK_SUCCESSFUL; TIMED_OUT when it is still going
	RolledBack bool   // what ran before runs again
	StillGoing bool   // AWS goes on deploying
	Deployment string // ARN of the service deployment
	Outcome    Outcome
	Diagnosis  Diagnosis
}

// Error is the cause in one sentence, what became of the deployment, and what to change.
func (f *Failure) Error() string {
	var b strings.Builder
	b.WriteString("deployment of " + f.Outcome.Service + " failed: " + strings.TrimRight(f.Diagnosis.Sentence, "."))
	switch {
	case f.StillGoing:
		b.WriteString("; it is still going on in AWS")
	case f.RolledBack:
		b.WriteString("; rolled back to what ran before")
	default:
		b.WriteString("; not rolled back (" + f.Status + ")")
	}
	if f.Diagnosis.Fix != "" {
		b.WriteString(". " + f.Diagnosis.Fix)
	}
	return b.String()
}
