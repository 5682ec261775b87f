package clusterinfra

import "context"

// ClusterPorts is what Clusters needs of the world.
type ClusterPorts struct {
	ECS       ECS
	Providers Providers
	Network   Network
	Roles     Roles
	Templates Templates
	Groups    Groups
	Balancers Balancers
	Listeners Listeners
	Logs      Logs
	Topics    Topics
}

// ECS are the clusters.
type ECS interface {
	Cluster(ctx context.Context, name string) (Cluster, error)
	// PutCluster creates the cluster or changes its settings and tags.
	PutCluster(ctx context.Context, want Cluster) (Cluster, error)
	// DeleteCluster returns ErrInUse while services, tasks or instances are there.
	DeleteCluster(ctx context.Context, name string) error
	// ForceOut deregisters the container instances of a cluster that is going away.
	ForceOut(ctx context.Context, name string) error
}

// Cluster is an ECS cluster.
type Cluster struct {
	Name      string
	ARN       string
	Insights  string
	Providers []string // capacity providers
	Default   string   // provider of the default strategy; empty = none
	Tags      map[string]string

	Instances int // registered and ACTIVE; read only
	Services  int // active; read only
	Tasks     int // running or pending; read only
}

// Providers are ECS capacity providers.
type Providers interface {
	Provider(ctx context.Context, name string) (Provider, error)
	PutProvider(ctx context.Context, want Provider) (Provider, error)
	DeleteProvider(ctx context.Context, name string) error
}

// Provider is a capacity provider over an Auto Scaling group.
type Provider struct {
	Name, ARN      string
	Group          string // ARN of the Auto Scaling group
	TargetCapacity int
	Tags           map[string]string
}

// Network is what EC2 knows of VPCs.
type Network interface {
	// DefaultVPC returns its id, or ErrNotFound.
	DefaultVPC(ctx context.Context) (string, error)
	Subnets(ctx context.Context, vpc string, ids []string) ([]Subnet, error)
	// SecurityGroup finds one by name, in any VPC if none is given.
	SecurityGroup(ctx context.Context, vpc, name string) (SecurityGroup, error)
	PutSecurityGroup(ctx context.Context, want SecurityGroup) (SecurityGroup, error)
	// DeleteSecurityGroup returns ErrInUse while an interface uses it.
	DeleteSecurityGroup(ctx context.Context, id string) error
}

// Subnet is a subnet.
type Subnet struct {
	ID, VPC, Zone string
	Public        bool // maps public addresses at launch
	DefaultOfZone bool
}

// SecurityGroup is a security group with its inbound rules; outbound is open.
type SecurityGroup struct {
	ID, Name, VPC, Description string
	Ingress                    []Ingress
	Tags                       map[string]string
}

// Ingress lets traffic in, from CIDR or from the members of Group.
type Ingress struct {
	From, To int // ports
	CIDR     string
	Group    string
}

// Roles are the instances' roles.
type Roles interface {
	Role(ctx context.Context, name string) (Role, error)
	// PutRole creates or corrects the role and an instance profile of the same name that holds it.
	PutRole(ctx context.Context, want Role) (Role, error)
	DeleteRole(ctx context.Context, name string) error
}

// Role is an instance role.
type Role struct {
	Name, ARN string
	Trust     string   // JSON
	Managed   []string // ARNs of managed policies
	InProfile bool     // an instance profile of the same name holds it; read only
	Tags      map[string]string
}

// Templates are launch templates.
type Templates interface {
	// Parameter returns the value of an SSM parameter: the AMI's id.
	Parameter(ctx context.Context, name string) (string, error)
	Template(ctx context.Context, name string) (Template, error)
	// TemplatesOf lists those tagged for the cluster (TagCluster): names, ids and tags.
	TemplatesOf(ctx context.Context, cluster string) ([]Template, error)
	// PutTemplate creates the template, or a new default version of it when its content differs.
	PutTemplate(ctx context.Context, want Template) (Template, error)
	DeleteTemplate(ctx context.Context, name string) error
}

// Template is a launch template's newest version.
type Template struct {
	Name, ID, Version string
	AMI, Type         string
	Source            string // SSM parameter the AMI came from; empty: it was given. Kept as a tag
	Profile           string // instance profile name
	KeyName           string
	SecurityGroups    []string
	UserData          string // plain text
	RootGiB           int
	InstanceTags      map[string]string
	Tags              map[string]string
}

// Groups are Auto Scaling groups.
type Groups interface {
	Group(ctx context.Context, name string) (Group, error)
	// PutGroup creates it or changes sizes, subnets and template; Desired below 0 leaves the size alone.
	PutGroup(ctx context.Context, want Group) (Group, error)
	// DeleteGroup deletes it with force; it is gone when Group returns ErrNotFound.
	DeleteGroup(ctx context.Context, name string) error
}

// Group is an Auto Scaling group.
type Group struct {
	Name, ARN         string
	Template          string // launch template id
	TemplateVersion   string
	Types             []string // instead of the template's; more than one, or any Spot: a mixed group
	SpotPercent       int      // above OnDemandBase
	OnDemandBase      int
	Subnets           []string
	Min, Max, Desired int
	ProtectScaleIn    bool
	Tags              map[string]string // propagated to the instances
	Instances         int               // read only
	Activity          string            // message of a failed newest scaling activity; read only
}

// Balancers are Application Load Balancers.
type Balancers interface {
	// Balancer takes a name or an ARN.
	Balancer(ctx context.Context, nameOrARN string) (LoadBalancer, error)
	PutBalancer(ctx context.Context, want LoadBalancer) (LoadBalancer, error)
	DeleteBalancer(ctx context.Context, arn string) error
}

// LoadBalancer is an Application Load Balancer.
type LoadBalancer struct {
	Name, ARN, DNS, Zone, VPC string
	State                     string // active, provisioning
	Internal                  bool
	Subnets, SecurityGroups   []string
	IdleTimeout               int // seconds
	Tags                      map[string]string
}

// Listeners are the listeners of a load balancer.
type Listeners interface {
	// Listeners lists them by ARN of the balancer, with their slipway:listener tag as Name.
	Listeners(ctx context.Context, balancer string) ([]NamedListener, error)
	PutListener(ctx context.Context, balancer string, want NamedListener) (NamedListener, error)
	DeleteListener(ctx context.Context, arn string) error
	// BalancerOf finds a load balancer that has a listener tagged for the cluster.
	BalancerOf(ctx context.Context, cluster string) (string, error)
}

// NamedListener is a listener whose default action answers 404.
type NamedListener struct {
	Name string
	Listener
	Tags map[string]string
}

// Logs are CloudWatch Logs groups.
type Logs interface {
	LogGroup(ctx context.Context, name string) (LogGroup, error)
	PutLogGroup(ctx context.Context, want LogGroup) error
	DeleteLogGroup(ctx context.Context, name string) error
}

// LogGroup is a log group.
type LogGroup struct {
	Name      string
	Retention int // days
	Tags      map[string]string
}

// Images are ECR repositories.
type Images interface {
	Repository(ctx context.Context, name string) (Repository, error)
	// PutRepository creates it or changes what may be changed.
	PutRepository(ctx context.Context, want Repository) (Repository, error)
	// DeleteRepository returns ErrNotEmpty for one with images unless force.
	DeleteRepository(ctx context.Context, name string, force bool) error
}
