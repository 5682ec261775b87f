package deploy

import (
	"context"
	"time"

	"github.com/slipway-ecs/slipway/internal/listener"
	"github.com/slipway-ecs/slipway/internal/service"
)

// Services are the ECS services.
type Services interface {
	// Service returns ErrNotFound for a service that is not there or INACTIVE.
	Service(ctx context.Context, ref Ref) (Service, error)
	CreateService(ctx context.Context, want Service) (Service, error)
	// UpdateService changes what differs; Desired below 0 leaves the count alone.
	UpdateService(ctx context.Context, want Service, force bool) (Service, error)
	// DeleteService deletes it with force; a service that is gone is not an error.
	DeleteService(ctx context.Context, ref Ref) error
}

// Service is an ECS service: what was asked of it and, when read, how it is.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Service.html
type Service struct {
	Ref            Ref
	ARN            string
	ClusterARN     string
	TaskDefinition string // ARN with revision
	Desired        int
	Daemon         bool

	LaunchType       string
	CapacityProvider []service.CapacityProviderStrategy
	Strategy         string // ROLLING, BLUE_GREEN, LINEAR, CANARY
	MinimumHealthy   int    // percent
	Maximum          int    // percent
	CircuitBreaker   bool
	Rollback         bool
	BakeTime         time.Duration
	StepPercent      float64
	StepBake         time.Duration
	RollbackOnAlarms []string
	Subnets          []string
	SecurityGroups   []string
	AssignPublicIP   bool
	Exec             bool // sessions in its containers
	LoadBalancers    []LoadBalancer
	Registry         *ServiceRegistry
	Connect          *Connect
	GracePeriod      time.Duration
	Volumes          []LaunchVolume
	Placement        service.Placement
	Tags             map[string]string

	// Read only.
	Status            string // ACTIVE, DRAINING
	Running, Pending  int
	CurrentDeployment string // ARN of the service deployment going on or last ended, where AWS says
	Rollouts          []Rollout
	Events            []ServiceEvent // newest first, at most 100
	CreatedAt         time.Time
}

// LoadBalancer attaches a container port to a target group.
type LoadBalancer struct {
	TargetGroup string // ARN
	Container   string
	Port        int

	// Where ECS shifts the traffic between two target groups; empty for ROLLING.
	Alternate string // ARN of the second target group
	Rule      string // ARN of the listener rule whose weights are moved
	Role      string // ARN of the role that moves them
}

// Rollout is an entry of a service's "deployments".
type Rollout struct {
	ID             string // ecs-svc/…; what the tasks it starts carry as startedBy
	Status         string // PRIMARY, ACTIVE, INACTIVE
	TaskDefinition string
	State          string // IN_PROGRESS, COMPLETED, FAILED
	Reason         string
	Desired        int
	Running        int
	Pending        int
	Failed         int
	CreatedAt      time.Time
}

// ServiceEvent is a line of a service's "events".
type ServiceEvent struct {
	ID      string
	At      time.Time
	Message string
}

// Deployments are ECS's service deployments.
type Deployments interface {
	// Deployments lists the newest first, at most max; each with what the list shows.
	Deployments(ctx context.Context, ref Ref, max int) ([]Deployment, error)
	Deployment(ctx context.Context, arn string) (Deployment, error)
	// StopDeployment stops one that is going on: rollback true returns to what ran before.
	StopDeployment(ctx context.Context, arn string, rollback bool) error
	// Revision returns what a service revision runs.
	Revision(ctx context.Context, arn string) (Revision, error)
}

// Deployment is a service deployment.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceDeployment.html
type Deployment struct {
	ARN          string
	Status       string
	StatusReason string
	Stage        string // lifecycle stage
	Target       string // ARN of the service revision it rolls out
	Requested    int    // tasks asked of the target revision
	Running      int
	Pending      int
	FailureCount int
	Threshold    int
	RollbackTo   string // ARN of the service revision
	RollbackWhy  string
	CreatedAt    time.Time
	StartedAt    time.Time
	FinishedAt   time.Time
}

// Open says whether it is still going on.
func (d Deployment) Open() bool {
	switch d.Status {
	case "PENDING", "IN_PROGRESS", "STOP_REQUESTED", "ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS":
		return true
	}
	return false
}

// Revision is a service revision.
type Revision struct {
	ARN            string
	TaskDefinition string
	Images         map[string]string // container name → image
	CreatedAt      time.Time
}

// TaskDefinitions are the registered task definitions.
type TaskDefinitions interface {
	// TaskDefinition takes an ARN, family:revision or family (its newest active revision).
	TaskDefinition(ctx context.Context, name string) (TaskDefinition, error)
	RegisterTaskDefinition(ctx context.Context, want TaskDefinition) (TaskDefinition, error)
	DeregisterTaskDefinition(ctx context.Context, arn string) error
	// TagTaskDefinition adds tags to a revision.
	TagTaskDefinition(ctx context.Context, arn string, tags map[string]string) error
	// Revisions lists the ARNs of a family's active revisions, the newest first.
	Revisions(ctx context.Context, family string) ([]string, error)
}

// TaskDefinition is what a task is made of.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TaskDefinition.html
type TaskDefinition struct {
	Family        string
	NetworkMode   string
	LaunchType    string // EC2 or FARGATE: what it must be compatible with
	Architecture  string
	CPU           int `json:",omitzero"` // task level; 0 = none
	Memory        int `json:",omitzero"` // task level, MiB; 0 = none
	TaskRole      string
	ExecutionRole string
	Containers    []service.Container
	Volumes       []service.Volume   `json:",omitzero"`
	LogDriver     string             // of every container
	LogOptions    map[string]string  `json:",omitzero"`
	LogSecrets    map[string]string  `json:",omitzero"` // option → valueFrom
	Router        *service.LogRouter `json:",omitzero"` // FireLens; its own lines go to RouterLogs
	RouterLogs    map[string]string  `json:",omitzero"` // options of the driver awslogs

	// Not part of its content.
	ARN      string            `json:"-"`
	Revision int               `json:"-"`
	Status   string            `json:"-"`
	Tags     map[string]string `json:"-"`
}

// Tasks are the running and stopped tasks of services.
type Tasks interface {
	// ServiceTasks lists the tasks of a service that run or should, and those that stopped lately.
	ServiceTasks(ctx context.Context, ref Ref) ([]Task, error)
	// FamilyTasks lists the tasks of any revision of a family, running and lately stopped.
	FamilyTasks(ctx context.Context, cluster, family string) ([]Task, error)
	// RunTask starts one task and returns it; StartedBy marks it.
	RunTask(ctx context.Context, run TaskRun) (Task, error)
	// StartedBy lists the tasks with that mark, running and lately stopped.
	StartedBy(ctx context.Context, cluster, mark string) ([]Task, error)
	StopTask(ctx context.Context, cluster, arn, reason string) error
}

// TaskRun is a one-off task.
type TaskRun struct {
	Cluster        string
	TaskDefinition string
	Container      string            // whose command is overridden
	Command        []string          // empty = as defined
	Env            map[string]string // beside what is defined
	StartedBy      string            // at most 128 characters
	Service        Service           // launch type, network and placement as the service's
	Tags           map[string]string
}

// Task is an ECS task.
type Task struct {
	ARN, ID        string
	StartedBy      string // deployment id of a service's tasks
	TaskDefinition string
	Host           string // what a target group knows it by: EC2 instance id, or its own IP address (awsvpc)
	Zone           string
	LastStatus     string
	DesiredStatus  string
	Health         string // HEALTHY, UNHEALTHY, UNKNOWN
	StopCode       string
	StoppedReason  string
	Containers     []TaskContainer
	CreatedAt      time.Time
	StartedAt      time.Time
	StoppedAt      time.Time
}

// TaskContainer is a container of a task.
type TaskContainer struct {
	Name       string
	LastStatus string
	Health     string
	ExitCode   *int
	Reason     string
	Ports      []PortBinding
	Logs       []string // last lines, filled in as evidence
}

// PortBinding is a published port of a container.
type PortBinding struct {
	Container, Host int
	Address         string
}

// TargetGroups are the load balancers' target groups.
type TargetGroups interface {
	// TargetGroups lists those whose name contains the marker.
	TargetGroups(ctx context.Context, marker string) ([]TargetGroup, error)
	// PutTargetGroup creates it or changes what may be changed; vpc, protocol and target type may not.
	PutTargetGroup(ctx context.Context, want TargetGroup) (TargetGroup, error)
	// DeleteTargetGroup returns ErrInUse while a rule forwards to it.
	DeleteTargetGroup(ctx context.Context, arn string) error
	Targets(ctx context.Context, arn string) ([]TargetHealth, error)
}

// TargetGroup is a target group.
type TargetGroup struct {
	Name            string
	ARN             string
	VPC             string
	Protocol        string // HTTP, HTTPS, TCP
	ProtocolVersion string // HTTP1, HTTP2, GRPC; empty for TCP
	TargetType      string // instance, ip
	Port            int    // default port; each ECS target brings its own
	Health          service.HealthCheck
	HealthProtocol  string
	Deregistration  time.Duration
	SlowStart       time.Duration
	Sticky          time.Duration
	Tags            map[string]string
	LoadBalancers   []string // ARNs; read only
}

// TargetHealth is the health of one target.
type TargetHealth struct {
	ID          string
	Port        int
	Zone        string
	State       string // initial, healthy, unhealthy, unused, draining, unavailable
	Reason      string // Target.ResponseCodeMismatch, Target.Timeout, Target.FailedHealthChecks, …
	Description string
}

// Rules are listener rules.
type Rules interface {
	// Rules lists those of a listener, without its default rule.
	Rules(ctx context.Context, listener string) ([]Rule, error)
	// RulesOf lists the rules of every listener of the given load balancers that forward to a target group.
	RulesOf(ctx context.Context, targetGroup string, loadBalancers []string) ([]Rule, error)
	// PutRule creates the rule (empty ARN) or changes its conditions and action; ErrPriorityInUse, ErrNoRoom.
	PutRule(ctx context.Context, want Rule) (Rule, error)
	DeleteRule(ctx context.Context, arn string) error
}

// Rule is a listener rule that forwards to a target group.
type Rule struct {
	ARN         string
	Listener    string
	Priority    int
	Conditions  listener.Conditions
	Owner       string // Tags["slipway:service"], who made it
	TargetGroup string // ARN; empty when it does something else
	Standby     string // ARN of a second target group that is attached and gets no traffic, or the lesser part
	Tags        map[string]string
}

// Listeners are the load balancers' listeners.
type Listeners interface {
	Listener(ctx context.Context, arn string) (Listener, error)
	// SetDefault makes a listener forward everything to a target group (network load balancers), or
	// with an empty target group answer 404 again.
	SetDefault(ctx context.Context, arn, targetGroup string) error
	// DefaultsTo lists the listeners of the given load balancers whose default action is a target group.
	DefaultsTo(ctx context.Context, targetGroup string, loadBalancers []string) ([]string, error)
}

// Listener is a listener and the address of its load balancer.
type Listener struct {
	ARN          string
	LoadBalancer string // ARN
	DNSName      string
	VPC          string
	Protocol     string
	Port         int
	Default      string // ARN of the target group of the default action
}

// Roles are IAM roles.
type Roles interface {
	Role(ctx context.Context, name string) (Role, error)
	PutRole(ctx context.Context, want Role) (Role, error)
	DeleteRole(ctx context.Context, name string) error
}

// Role is an IAM role with at most one inline policy, named Policy.
type Role struct {
	Name   string
	ARN    string
	Trust  string // JSON
	Policy string // JSON; empty = none
	Tags   map[string]string
}

// Logs are CloudWatch Logs groups.
type Logs interface {
	LogGroup(ctx context.Context, name string) (LogGroup, error)
	PutLogGroup(ctx context.Context, want LogGroup) error
	DeleteLogGroup(ctx context.Context, name string) error
	// Tail returns the last lines of a stream, oldest first; none for a stream that is not there.
	Tail(ctx context.Context, group, stream string, lines int) ([]string, error)
}

// LogGroup is a log group.
type LogGroup struct {
	Name      string
	Retention int // days; 0 = for ever
	Tags      map[string]string
}

// Scaling is Application Auto Scaling of a service's desired count.
type Scaling interface {
	ServiceScaling(ctx context.Context, ref Ref) (ServiceScaling, error)
	PutServiceScaling(ctx context.Context, ref Ref, want ServiceScaling) error
	DeleteServiceScaling(ctx context.Context, ref Ref) error
}

// ServiceScaling is the scalable target of a service with its policies and schedules.
type ServiceScaling struct {
	service.Scaling
	Label string // ALBRequestCountPerTarget's resource label: app/…/targetgroup/…
}

// Probe makes the smoke test's request.
type Probe interface {
	// Get asks url; host, where given, is the Host header.
	Get(ctx context.Context, url, host string) (status int, body string, err error)
}
