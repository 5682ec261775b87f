// Package service is the definition of one service: what slipway.yaml says, with defaults and
// environment overrides applied (Spec), its validation with file:line:column, and the difference
// between two specs.
//
// It is pure: no clock, no I/O but reading the bytes it is given.
package service

import "time"

// Kind says how ECS runs the service.
type Kind string

// The kinds of service.
const (
	KindService Kind = "service" // REPLICA: a number of tasks kept running, usually behind a load balancer
	KindDaemon  Kind = "daemon"  // DAEMON: one task on each container instance
	KindWorker  Kind = "worker"  // REPLICA without a route, scaled on the depth of a queue
	KindJob     Kind = "job"     // a task run to its end, on demand or on a schedule
)

// Spec is the normal form of one service in one environment: every default applied, every
// override merged, nothing left to decide but the image digest and the ids of the environment's
// infrastructure. Rendering to Terraform and the deploy engine both start here.
type Spec struct {
	Name        string // service name, unique in its environment: [a-z][a-z0-9-]*
	Team        string
	Environment string
	Kind        Kind
	Cluster     string // ECS cluster name

	LaunchType       string                     // EC2, FARGATE or EXTERNAL; empty when CapacityProviders is set
	CapacityProvider []CapacityProviderStrategy // instead of LaunchType
	Architecture     string                     // X86_64 or ARM64
	NetworkMode      string                     // bridge, awsvpc, host
	CPU              int                        // task CPU units (1024 = one vCPU); 0 = the sum of the containers
	Memory           int                        // task memory, MiB; 0 = the sum of the containers
	Subnets          []string                   // awsvpc only
	SecurityGroups   []string                   // awsvpc only
	AssignPublicIP   bool                       // awsvpc on Fargate only

	Count      int // desired count at creation; Application Auto Scaling owns it later if Scaling is set
	Scaling    *Scaling
	Containers []Container // the first one is the main container: the one whose image is built and shipped
	Volumes    []Volume
	Placement  Placement
	Route      *Route // nil = no load balancer
	Discovery  *Discovery
	Logs       Logs
	Deployment Deployment
	Alarms     []Alarm
	TaskRole   TaskRole
	// EnableExecuteCommand lets people open sessions in the containers (ECS Exec). A role that is the service's
	// own may then do what the agent needs; a given one must.
	EnableExecuteCommand bool
	Schedule             string // jobs: an EventBridge schedule expression; empty = on demand
	Tags                 map[string]string
}

// CapacityProviderStrategy is one entry of a service's capacity-provider strategy.
type CapacityProviderStrategy struct {
	Name         string
	Base, Weight int
}

// Container is one container of the task.
type Container struct {
	Name              string
	Image             string // empty for the main container: the shipped digest
	Essential         bool
	Command           []string
	EntryPoint        []string
	CPU               int // CPU units
	Memory            int // hard limit, MiB
	MemoryReservation int // soft limit, MiB
	Ports             []Port
	Env               map[string]string
	EnvFiles          []string          // S3 ARNs
	Secrets           map[string]string // variable → valueFrom (SSM or Secrets Manager ARN or name)
	// SecretVersions is the version each secret had when this was planned, by variable: a changed
	// secret is a change of the service. ECS still reads the newest at each task's start.
	SecretVersions map[string]string
	User           string
	ReadOnlyRoot   bool
	Init           bool
	StopTimeout    time.Duration // 0 = ECS's 30 s
	HealthCheck    *ContainerHealth
	DependsOn      []Dependency
	Mounts         []Mount
	Ulimits        []Ulimit
}

// Port is a container port. Host 0 means a dynamic host port in bridge mode.
type Port struct {
	Container, Host int
	Protocol        string // tcp or udp
	Name            string
}

// ContainerHealth is a container health check run inside the container.
type ContainerHealth struct {
	Command                        []string
	Interval, Timeout, StartPeriod time.Duration
	Retries                        int
}

// Dependency says which condition of another container must hold before this one starts.
type Dependency struct {
	Container string
	Condition string // START, COMPLETE, SUCCESS, HEALTHY
}

// Mount is a volume at a path of a container.
type Mount struct {
	Volume, Path string
	ReadOnly     bool
}

// Ulimit is a resource limit of a container's processes.
type Ulimit struct {
	Name       string
	Soft, Hard int
}

// Volume is a volume of the task; exactly one of the sources is set.
type Volume struct {
	Name     string
	HostPath string
	EFS      *EFSVolume
	EBS      *EBSVolume
	Tmpfs    int // MiB
}

// EFSVolume is a file system mounted over NFS.
type EFSVolume struct{ FileSystem, RootDirectory, AccessPoint string }

// EBSVolume is a volume ECS creates and attaches for each task.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceManagedEBSVolumeConfiguration.html
type EBSVolume struct {
	SizeGiB    int    // 0 = the snapshot's
	Type       string // gp2, gp3, io1, io2, st1, sc1, standard
	IOPS       int    // of gp3, io1, io2; 0 = AWS's default for the type
	Throughput int    // MiB a second, of gp3; 0 = 125
	FileSystem string // xfs, ext4, ext3
	Encrypted  bool
	KMSKey     string // ARN; empty = the account's key for EBS
	Snapshot   string // snap-…, that each volume begins with
	Role       string // ARN of an existing infrastructure role; empty = one of the service's own
}

// Placement is where EC2 tasks may and should go.
type Placement struct {
	Strategies  []PlacementStrategy
	Constraints []PlacementConstraint
}

// PlacementStrategy orders the instances a task fits on.
type PlacementStrategy struct{ Type, Field string }

// PlacementConstraint restricts the instances a task may go to.
type PlacementConstraint struct{ Type, Expression string }

// Route is how traffic reaches the service.
type Route struct {
	Listener            string // name of the environment's listener (slipway_cluster.listeners) or an ARN
	Protocol            string // HTTP, HTTPS, GRPC, TCP
	Hosts               []string
	Paths               []string
	Headers             map[string][]string
	Methods             []string
	Container           string
	Port                int
	Health              HealthCheck
	Sticky              time.Duration
	DeregistrationDelay time.Duration
	SlowStart           time.Duration
	GracePeriod         time.Duration // health check grace period of the service
}

// HealthCheck is a target group's health check. Bounds: facts/alb-limits.
type HealthCheck struct {
	Path               string
	Matcher            string // 200, 200-299, or gRPC codes
	Interval, Timeout  time.Duration
	Healthy, Unhealthy int
}

// Discovery registers tasks where other services find them.
type Discovery struct {
	Kind      string // cloudmap, connect, consul
	Namespace string
	Name      string
	Record    string // A or SRV
	TTL       time.Duration
}

// Logs says where the containers' output goes.
type Logs struct {
	Driver    string // awslogs, awsfirelens, or a Docker log driver
	Group     string
	Retention int // days
	Options   map[string]string
	Secrets   map[string]string // option → valueFrom (SSM or Secrets Manager ARN or name)
	Router    *LogRouter        // awsfirelens only
}

// LogRouter is the FireLens container that takes the other containers' lines and sends them on. Its
// own lines go to CloudWatch Logs.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_firelens.html
type LogRouter struct {
	Image       string
	Type        string // fluentbit or fluentd
	CPU, Memory int    // CPU units; hard limit, MiB
	Config      string // a path in the image, or the ARN of an object in S3
	Env         map[string]string
}

// LogRouterName is the name of the FireLens container.
const LogRouterName = "log_router"

// Deployment bounds and strategy.
type Deployment struct {
	Strategy         string // ROLLING, BLUE_GREEN, LINEAR, CANARY
	MinimumHealthy   int    // percent of the desired count
	Maximum          int    // percent of the desired count
	CircuitBreaker   bool
	Rollback         bool
	BakeTime         time.Duration
	StepPercent      float64
	StepBake         time.Duration
	RollbackOnAlarms []string
	Timeout          time.Duration // how long an apply waits for the end
	Before, After    []Step
	Smoke            *Smoke
}

// Step is a one-off task run with the new image before or after the deployment.
type Step struct {
	Name    string
	Command []string
	Timeout time.Duration
}

// Smoke is the HTTP request made through the load balancer after a deployment.
type Smoke struct {
	Path     string
	Status   int
	Contains string
}

// Scaling is the service's auto scaling.
type Scaling struct {
	Min, Max  int
	Targets   []ScalingTarget
	Schedules []ScalingSchedule
}

// ScalingTarget is one target-tracking policy.
type ScalingTarget struct {
	Metric           string // cpu, memory, requests, queue, or a custom metric's name
	Target           float64
	ScaleOutCooldown time.Duration
	ScaleInCooldown  time.Duration
	DisableScaleIn   bool
	Queue            string
	Namespace        string
}

// ScalingSchedule changes the bounds at a time.
type ScalingSchedule struct {
	Name, Expression, Timezone string
	Min, Max                   int
}

// Alarm is a CloudWatch alarm of the service.
type Alarm struct {
	Name, Metric string
	Threshold    float64
	Periods      int
	Period       time.Duration
	Notify       []string
}

// TaskRole is the role the containers run with.
type TaskRole struct {
	ARN        string // an existing role
	Statements []Statement
}

// Statement is one IAM policy statement of the task role.
type Statement struct {
	Effect    string
	Actions   []string
	Resources []string
}
