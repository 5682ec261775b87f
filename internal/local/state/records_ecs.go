package state

import (
	"time"

	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

// The ECS records. Who writes what: the API writes what a caller asked for (specs, desired
// statuses); the loops write what happens (deployments' progress, tasks' life, events).

// Cluster is an ECS cluster. Key: name.
type Cluster struct {
	Name, ARN         string
	Status            string // ACTIVE, INACTIVE
	Settings          []ecsapi.ClusterSetting
	Configuration     *ecsapi.ClusterConfiguration
	ServiceConnect    *ecsapi.ClusterServiceConnectDefaults
	CapacityProviders []string
	DefaultStrategy   []ecsapi.CapacityProviderStrategyItem
	Tags              []ecsapi.Tag
	CreatedAt         time.Time
}

// TaskDefinition is one revision of a family. Key: family + ":" + revision in 7 digits, so that
// revisions sort; see TaskDefinitionKey.
type TaskDefinition struct {
	Family   string
	Revision int
	ARN      string
	Def      ecsapi.TaskDefinition // as registered, with AWS's defaults echoed
	Tags     []ecsapi.Tag
}

// Service is what callers asked of a service. Key: cluster name + "/" + service name.
type Service struct {
	ARN, ClusterName, ClusterARN, Name string
	Status                             string // ACTIVE, DRAINING, INACTIVE
	DesiredCount                       int
	// Spec holds the members of DescribeServices that callers set (task definition, load balancers,
	// deployment configuration, network configuration, placement, strategy, …). Counts, deployments,
	// events and status are not kept here: they are derived.
	Spec      ecsapi.Service
	Tags      []ecsapi.Tag
	CreatedAt time.Time
	UpdatedAt time.Time
	// StatusAt is when Status changed; an INACTIVE service is forgotten an hour later.
	StatusAt time.Time
}

// Deployment is one deployment of a service (an entry of "deployments"). The API creates it, the
// service loop moves it. Key: service key + "/" + id.
type Deployment struct {
	ID                string // ecs-svc/0123456789012345678
	ServiceKey        string
	TaskDefinition    string // ARN
	DesiredCount      int    // how many tasks of this deployment are wanted now
	Status            string // PRIMARY, ACTIVE, INACTIVE
	RolloutState      string // IN_PROGRESS, COMPLETED, FAILED
	RolloutReason     string
	FailedTasks       int
	Revision          string // service revision ARN
	ServiceDeployment string // service deployment ARN
	IsRollback        bool
	CreatedAt         time.Time
	UpdatedAt         time.Time
	CompletedAt       time.Time // zero until COMPLETED once: rollback goes to the newest completed one
	TaskSet           *TaskSet  // of a service whose deployments another controller makes; then the status may be DRAINING
}

// TaskSet is what a Deployment is beyond that where somebody else deploys: EXTERNAL and CODE_DEPLOY.
type TaskSet struct {
	ARN        string
	ExternalID string
	StartedBy  string
	Scale      float64 // percent of the service's desired count
	Stability  string  // STEADY_STATE, STABILIZING: written by the service loop
	StableAt   time.Time
	Tags       []ecsapi.Tag
}

// ServiceDeployment is what DescribeServiceDeployments shows. Key: ARN.
type ServiceDeployment struct {
	ARN, ServiceKey, ServiceARN, ClusterARN string
	Status                                  string // PENDING, IN_PROGRESS, SUCCESSFUL, STOP_REQUESTED, STOPPED, ROLLBACK_REQUESTED, ROLLBACK_IN_PROGRESS, ROLLBACK_SUCCESSFUL, ROLLBACK_FAILED
	StatusReason                            string
	LifecycleStage                          string
	Sources                                 []string // source revision ARNs
	Target                                  string   // target revision ARN
	DeploymentID                            string   // the Deployment that carries it
	RollbackRevision                        string   // revision ARN rolled back to
	RollbackReason                          string
	RollbackAt                              time.Time
	CircuitBreakerStatus                    string // MONITORING, MONITORING_COMPLETE, TRIGGERED, DISABLED
	FailureCount, Threshold                 int
	CreatedAt, StartedAt, FinishedAt        time.Time
	StoppedAt, UpdatedAt                    time.Time
	Hooks                                   []HookRun // lifecycle hooks of the stages reached so far
}

// HookRun is a lifecycle hook at work in a stage of a service deployment.
type HookRun struct {
	ID, Stage     string
	Hook          int    // which of the configuration's hooks
	TargetType    string // PAUSE, AWS_LAMBDA
	TargetARN     string
	Status        string // AWAITING_ACTION, IN_PROGRESS, SUCCEEDED, FAILED, TIMED_OUT
	Reason        string // why it FAILED
	ExpiresAt     time.Time
	TimeoutAction string    // CONTINUE, ROLLBACK
	CallAt        time.Time // when a target that asked for time is called again
}

// ServiceRevision is the snapshot a deployment rolls out. Key: ARN.
type ServiceRevision struct {
	ARN, ServiceKey string
	API             ecsapi.ServiceRevision
	// Spec is the service's Spec at that time: a rollback puts it back.
	Spec      ecsapi.Service
	CreatedAt time.Time
}

// ServiceEvent is an entry of "events". Key: service key + "/" + sortable id; the newest 100 are kept.
type ServiceEvent struct {
	ID, ServiceKey, Message string
	At                      time.Time
}

// Task is an ECS task. Key: ARN.
type Task struct {
	ARN, ID, ClusterName, ClusterARN string                       `json:",omitzero"`
	ServiceKey                       string                       `json:",omitzero"` // empty for a standalone task
	DeploymentID                     string                       `json:",omitzero"`
	Group                            string                       `json:",omitzero"` // service:NAME, family:NAME, or as given
	StartedBy                        string                       `json:",omitzero"`
	TaskDefinition                   string                       `json:",omitzero"` // ARN
	ContainerInstance                string                       `json:",omitzero"` // ARN; empty on Fargate and while unplaced
	AZ                               string                       `json:",omitzero"`
	LaunchType                       string                       `json:",omitzero"`
	CapacityProvider                 string                       `json:",omitzero"`
	PlatformVersion                  string                       `json:",omitzero"`
	CPU, Memory, GPU                 int                          `json:",omitzero"` // reserved on the instance
	HostPorts                        []ReservedPort               `json:",omitzero"` // reserved on the instance
	ENI                              *ENI                         `json:",omitzero"` // awsvpc
	Overrides                        *ecsapi.TaskOverride         `json:",omitzero"`
	NetworkConfiguration             *ecsapi.NetworkConfiguration `json:",omitzero"`
	EnableExec                       bool                         `json:",omitzero"`
	Tags                             []ecsapi.Tag                 `json:",omitzero"`

	DesiredStatus string          `json:",omitzero"` // RUNNING, STOPPED: written by the API and the service loop
	StopCode      string          `json:",omitzero"` // with DesiredStatus STOPPED
	StoppedReason string          `json:",omitzero"`
	LastStatus    string          `json:",omitzero"` // written by the task loop only
	HealthStatus  string          `json:",omitzero"` // HEALTHY, UNHEALTHY, UNKNOWN
	Connectivity  string          `json:",omitzero"`
	Containers    []TaskContainer `json:",omitzero"`
	Version       int64           `json:",omitzero"`

	Protected      bool      `json:",omitzero"`
	ProtectedUntil time.Time `json:",omitzero"`

	CreatedAt, PullStartedAt, PullStoppedAt, ConnectivityAt time.Time `json:",omitzero"`
	StartedAt, StoppingAt, ExecutionStoppedAt, StoppedAt    time.Time `json:",omitzero"`
	HealthySince                                            time.Time `json:",omitzero"` // since when every health condition holds; zero: not healthy

	DaemonARN  string            `json:",omitzero"` // of the daemon a task belongs to; empty for all others
	Volumes    []Volume          `json:",omitzero"` // EBS volumes attached to the task
	Attachment map[string]string `json:",omitzero"` // states of attachments that an agent has reported, by id
}

// Volume is an EBS volume attached to a task.
type Volume struct {
	Name, ID             string // as the task definition calls it; vol-…
	AttachmentID         string
	SizeGiB              int
	Type, FilesystemType string
	RoleARN              string
	Keep                 bool // deleteOnTermination is false
	Tags                 []ecsapi.Tag
}

// TaskContainer is a container of a task.
type TaskContainer struct {
	ARN, Name, Image, ImageDigest, RuntimeID string        `json:",omitzero"`
	LastStatus                               string        `json:",omitzero"`
	ExitCode                                 *int          `json:",omitzero"`
	Reason                                   string        `json:",omitzero"`
	Health                                   string        `json:",omitzero"` // HEALTHY, UNHEALTHY, UNKNOWN
	Bindings                                 []PortBinding `json:",omitzero"`
	Essential                                bool          `json:",omitzero"`
	CPU, Memory, MemoryReservation           int           `json:",omitzero"`
}

// PortBinding is a published container port.
type PortBinding struct {
	ContainerPort, HostPort int    `json:",omitzero"`
	Protocol                string `json:",omitzero"` // tcp, udp
	// Addr is the real address of the port on this machine: what the load balancer connects to.
	Addr string `json:",omitzero"`
}

// ReservedPort is a host port in use on a container instance.
type ReservedPort struct {
	Port     int
	Protocol string
}

// ENI is the elastic network interface of an awsvpc task.
type ENI struct{ ID, SubnetID, PrivateIP, MAC, AZ string }

// ContainerInstance is an instance registered in a cluster. What remains of its resources is
// derived from the tasks on it. Key: ARN.
type ContainerInstance struct {
	ARN, ID, ClusterName string
	EC2InstanceID        string
	Status               string // REGISTERING, ACTIVE, DRAINING, DEREGISTERING, INACTIVE
	StatusReason         string
	AgentConnected       bool
	AZ, InstanceType     string
	PrivateIP            string
	CapacityProvider     string
	CPU, Memory, GPU     int // registered: CPU units, MiB, GPUs
	ENIs                 int // task ENIs the instance can take
	ReservedPorts        []ReservedPort
	Attributes           []ecsapi.Attribute
	AgentVersion         string
	Tags                 []ecsapi.Tag
	RegisteredAt         time.Time
	Version              int64
	IdleSince            time.Time // managed instances: since when no task but daemons' is on it
}

// CapacityProvider is an ECS capacity provider. Key: name.
type CapacityProvider struct {
	API ecsapi.CapacityProvider
}

// AccountSetting is an ECS account setting. Key: principal ARN + "/" + name.
type AccountSetting struct{ Principal, Name, Value string }

// DaemonDefinition is a revision of a daemon task definition. Key: as of task definitions.
type DaemonDefinition struct {
	Family   string
	Revision int
	Def      ecsapi.DaemonTaskDefinition
	Tags     []ecsapi.Tag
}

// Daemon is one task on every container instance of some capacity providers. Key: ARN.
type Daemon struct {
	ARN, Name, ClusterName, ClusterARN string
	Status                             string   // ACTIVE, DELETE_IN_PROGRESS
	Definition                         string   // ARN of the daemon task definition
	Providers                          []string // names of capacity providers
	Configuration                      *ecsapi.DaemonDeploymentConfiguration
	Tags                               []ecsapi.Tag
	PropagateTags                      string
	ManagedTags, EnableExec            bool
	Revision                           string // ARN of the one that new instances get
	Deployment                         string // ARN of the newest
	CreatedAt, UpdatedAt               time.Time
}

// DaemonRevision is a snapshot of a daemon. Key: ARN.
type DaemonRevision struct {
	ARN, Daemon string
	Spec        Daemon
	Images      []ecsapi.DaemonContainerImage
	CreatedAt   time.Time
}

// DaemonDeployment takes the instances of a daemon's providers from one revision to another. Key: ARN.
type DaemonDeployment struct {
	ARN, Daemon                      string
	Status, StatusReason             string // as a ServiceDeployment's
	Target                           string // revision; empty: the daemon is deleted
	Sources                          []string
	Failures, Threshold              int
	Breaker                          string // MONITORING, MONITORING_COMPLETE, TRIGGERED
	AlarmsTriggered                  []string
	RollbackRevision, RollbackReason string
	BakingSince                      time.Time
	CreatedAt, StartedAt             time.Time
	StoppedAt, FinishedAt            time.Time
	RollbackAt                       time.Time
}
