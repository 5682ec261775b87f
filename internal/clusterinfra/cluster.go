package clusterinfra

import (
	"context"
	"errors"
	"time"
)

// What ports return for callers to act on.
var (
	ErrNotFound = errors.New("not found")
	ErrInUse    = errors.New("still in use")
	ErrNotEmpty = errors.New("not empty")
	ErrExists   = errors.New("exists already")
)

// Spec is what a cluster should be.
type Spec struct {
	Name string // of the ECS cluster, and of everything made for it

	VPC               string   // empty: the default VPC
	Subnets           []string // of the instances; empty: one a zone of the VPC, at most Zones
	BalancerSubnets   []string // empty: as Subnets
	Zones             int      // how many zones when Subnets is empty; 0 = 3
	ContainerInsights string   // enabled, enhanced, disabled; empty = disabled
	Instances         *Instances
	Balancer          *Balancer
	LogGroup          string // empty: /slipway/<name>
	LogRetention      int    // days; 0 = 30
	Tags              map[string]string
}

// Instances is the group of container instances; nil = Fargate only.
type Instances struct {
	Type         string // e.g. m7g.large
	Architecture string // x86_64 or arm64; empty = as the type
	Min, Max     int
	Desired      int    // 0 with Min > 0 = Min
	AMI          string // empty: the newest ECS-optimized Amazon Linux 2023, by SSM parameter
	RootGiB      int    // 0 = 30
	KeyName      string // empty = none: sessions go through SSM
	UserData     string // shell lines run after the agent's configuration
	IngressPorts string // tcp ports of instances open to the balancer, "32768-65535" if empty

	// CapacityProvider makes ECS's managed scaling of the group; TargetCapacity is 1–100, 0 = 100.
	CapacityProvider bool
	TargetCapacity   int

	// Existing things used instead of made ones.
	Profile        string   // instance profile name
	SecurityGroups []string // of the instances
}

// Balancer is an Application Load Balancer with named listeners.
type Balancer struct {
	ARN            string // an existing one: only listeners are made on it
	Internal       bool
	Listeners      map[string]Listener
	SecurityGroups []string      // existing; empty: one is made that lets the listeners' ports in
	Ingress        []string      // CIDR blocks; empty = 0.0.0.0/0
	IdleTimeout    time.Duration // 0 = AWS's 60 s
}

// Listener is one entry of the balancer: what slipway.yaml's route names.
type Listener struct {
	Port        int
	Protocol    string // HTTP or HTTPS; empty = HTTP
	Certificate string // ACM ARN, for HTTPS
	Policy      string // TLS policy; empty = AWS's default
	ARN         string // read only, or an existing listener
}

// State is a cluster as AWS has it.
type State struct {
	Name             string
	ARN              string
	VPC              string
	Subnets          []string
	BalancerSubnets  []string
	Instances        *Instances
	AutoScalingGroup string
	LaunchTemplate   string // id
	TemplateVersion  string
	CapacityProvider string
	InstanceRole     string   // ARN; empty when the profile is given
	Profile          string   // name
	InstanceGroups   []string // security groups of the instances
	Registered       int      // container instances in state ACTIVE
	BalancerARN      string
	BalancerDNS      string
	BalancerZone     string // canonical hosted zone id
	BalancerGroups   []string
	Listeners        map[string]Listener // with ARNs
	URLs             map[string]string   // listener name → http://dns:port
	LogGroup         string
	LogRetention     int
	Insights         string
	Tags             map[string]string
}

// Event is a line of progress.
type Event struct {
	At       time.Time `json:"at"`
	Resource string    `json:"resource"`
	Action   string    `json:"action"` // create, update, delete, keep, wait
	Message  string    `json:"message"`
}

// Clock is the time the engine lives by.
type Clock interface {
	Now() time.Time
	Wait(ctx context.Context, d time.Duration) error
}
