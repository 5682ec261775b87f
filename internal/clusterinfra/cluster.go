package clusterinfra

import (
	"context"
	"errors"
	"maps"
	"slices"
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

	VPC               string               // empty: the default VPC
	Subnets           []string             // of the instances; empty: one a zone of the VPC, at most Zones
	BalancerSubnets   []string             // empty: as Subnets
	Zones             int                  // how many zones when Subnets is empty; 0 = 3
	ContainerInsights string               // enabled, enhanced, disabled; empty = disabled
	Instances         *Instances           // nil, and no Groups: Fargate only
	Groups            map[string]Instances // further groups, by name
	Balancer          *Balancer
	AlarmTopic        *AlarmTopic // nil: none
	LogGroup          string      // empty: /slipway/<name>
	LogRetention      int         // days; 0 = 30
	Tags              map[string]string
}

// Instances is a group of container instances.
type Instances struct {
	Type         string   // e.g. m7g.large
	OtherTypes   []string // of the same architecture, for when Type cannot be had or costs more on Spot
	SpotPercent  int      // of the instances above OnDemandBase, 0–100
	OnDemandBase int      // so many are On-Demand before any is Spot
	Architecture string   // x86_64 or arm64; empty = as the type
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
	Name            string
	ARN             string
	VPC             string
	Subnets         []string
	BalancerSubnets []string
	Main            *GroupState           // of Spec.Instances
	Groups          map[string]GroupState // of Spec.Groups
	InstanceRole    string                // ARN; empty when the profile is given
	Registered      int                   // container instances in state ACTIVE
	BalancerARN     string
	BalancerDNS     string
	BalancerZone    string // canonical hosted zone id
	BalancerGroups  []string
	Balancer        *Balancer           // as far as it was made for the cluster; its listeners are in Listeners
	Listeners       map[string]Listener // with ARNs
	URLs            map[string]string   // listener name → http://dns:port
	LogGroup        string
	LogRetention    int
	Insights        string
	AlarmTopic      *Topic // made for the cluster; nil: none
	Tags            map[string]string
}

// GroupState is a group of container instances as AWS has it.
type GroupState struct {
	Instances
	AutoScalingGroup string
	LaunchTemplate   string // id
	TemplateVersion  string
	Provider         string   // capacity provider; empty without one
	Members          []string // security groups of its instances
	Subnets          []string
}

// InstanceGroups are the security groups of the instances, those of the main group if there is one.
func (s State) InstanceGroups() []string {
	if s.Main != nil {
		return s.Main.Members
	}
	for _, name := range slices.Sorted(maps.Keys(s.Groups)) {
		return s.Groups[name].Members
	}
	return nil
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
