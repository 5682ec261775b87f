package service

// The structs of slipway.yaml. Their tags are read twice: by the decoder, which checks the file,
// and by the JSON Schema, from which editors complete. short:"true" marks the field that a bare
// value stands for: "network: awsvpc" is "network: {mode: awsvpc}".

type fileConfig struct {
	Service      string                     `yaml:"service" jsonschema:"required,pattern=^[a-z]([a-z0-9-]*[a-z0-9])?$,maxLength=40" jsonschema_description:"Name of the service"`
	Team         string                     `yaml:"team" jsonschema:"pattern=^[a-z0-9][a-z0-9-]*$,maxLength=63" jsonschema_description:"The team that owns the service"`
	Build        *buildConfig               `yaml:"build" jsonschema_description:"How the image of the main container is made; default: ko ."`
	Test         *testConfig                `yaml:"test" jsonschema_description:"The command that tests the service before its image is built; default: go test ./..."`
	ImageTags    imageTagsConfig            `yaml:"image_tags" jsonschema_description:"Which tags images get"`
	RequiredTags []string                   `yaml:"required_tags" jsonschema_description:"Tags that every environment must set"`
	Signing      signingConfig              `yaml:"signing" jsonschema_description:"With what the statements about images are signed, and whose signatures are trusted"`
	Promotion    map[string]promotionConfig `yaml:"promotion" jsonschema_description:"What an image must have passed before it is deployed to an environment"`
	Pipeline     pipelineConfig             `yaml:"pipeline" jsonschema_description:"How slipway pipeline delivers it stage by stage"`
	Notify       map[string]noticeConfig    `yaml:"notify" jsonschema_description:"Who is told how a delivery goes, by name"`
	Environments map[string]settings        `yaml:"environments" jsonschema_description:"The environments, each with what it has different"`
	settings
}

type buildConfig struct {
	Ko         string            `yaml:"ko" short:"true" jsonschema_description:"A Go main package, built without Docker"`
	Dockerfile string            `yaml:"dockerfile" jsonschema_description:"A Dockerfile, built with Docker, Podman or Buildah"`
	Image      string            `yaml:"image" jsonschema_description:"An image that is there already; it is copied, not built"`
	Context    string            `yaml:"context" jsonschema_description:"The Dockerfile's context; default: the folder of slipway.yaml"`
	Target     string            `yaml:"target" jsonschema_description:"The Dockerfile's stage"`
	Args       map[string]string `yaml:"args" jsonschema_description:"Build arguments of the Dockerfile"`
	Secrets    map[string]string `yaml:"secrets" jsonschema_description:"Secrets of the Dockerfile's RUN --mount=type=secret, by id: a file, or env:NAME; they do not get into the image"`
	Platforms  oneOrMore         `yaml:"platforms" jsonschema:"enum=linux/amd64,enum=linux/arm64" jsonschema_description:"Platforms of the image; with several it is a list of images. Default: that of architecture"`
	LDFlags    oneOrMore         `yaml:"ldflags" jsonschema_description:"Linker flags of the Go build"`
	Base       string            `yaml:"base" jsonschema_description:"Base image of the Go build; default: none (static binary)"`
}

type testConfig struct {
	Command command  `yaml:"command" short:"true" jsonschema_description:"The command; an empty list means no tests"`
	Folder  string   `yaml:"folder" jsonschema_description:"Where it runs, relative to slipway.yaml"`
	Timeout duration `yaml:"timeout" jsonschema_description:"Default: 10m"`
}

type imageTagsConfig struct {
	HashLength *int              `yaml:"hash_length" jsonschema:"minimum=7,maximum=40" jsonschema_description:"Characters of the commit hash; fixed, so that tags do not grow with the repository. Default: 7"`
	Latest     *bool             `yaml:"latest" jsonschema_description:"Whether the newest image is also tagged latest; default: true"`
	Branches   oneOrMore         `yaml:"main_branches" jsonschema_description:"Branches that set latest; default: main and master"`
	GitTags    *bool             `yaml:"git_tags" jsonschema_description:"Whether tags of the commit are tags of the image; default: true"`
	Prefixes   map[string]string `yaml:"prefixes" jsonschema:"pattern=^[A-Za-z0-9_][A-Za-z0-9_.-]*$,maxLength=64" jsonschema_description:"Environment → prefix of the tag an image gets when it is deployed there; default: prod → prod_"`
}

type promotionConfig struct {
	From      string                  `yaml:"from" short:"true" jsonschema_description:"The environment in which the same digest must have been deployed"`
	Approvals *int                    `yaml:"approvals" jsonschema:"minimum=0,maximum=10" jsonschema_description:"How many people must have approved the digest; default: 1"`
	Approvers []string                `yaml:"approvers" jsonschema_description:"Who may approve; default: anybody"`
	NotAuthor *bool                   `yaml:"not_author" jsonschema_description:"Whether the commit's author may not approve it; default: false"`
	Tests     *bool                   `yaml:"tests" jsonschema_description:"Whether the digest's tests must have passed; default: true"`
	Signed    *bool                   `yaml:"signed" jsonschema_description:"Whether only statements signed by a trusted key count, the build's among them; default: false"`
	Soak      duration                `yaml:"soak" jsonschema_description:"How long it must have run where it comes from"`
	Severity  string                  `yaml:"max_severity" jsonschema:"enum=informational,enum=low,enum=medium,enum=high,enum=critical" jsonschema_description:"The worst finding of its scan that is let through; default: no scan is asked for"`
	Freezes   map[string]freezeConfig `yaml:"freezes" jsonschema_description:"Times in which nothing is deployed there, by name"`
}

type signingConfig struct {
	Key     string    `yaml:"key" jsonschema_description:"File of the private key (PEM); SLIPWAY_SIGNING_KEY goes before it"`
	KMS     string    `yaml:"kms" jsonschema_description:"Id, ARN or alias of a KMS key (ECC_NIST_P256) that signs instead, and is trusted"`
	Trusted oneOrMore `yaml:"trusted" jsonschema_description:"Files of public keys (PEM) whose signatures are trusted"`
}

type freezeConfig struct {
	Days     []string `yaml:"days" jsonschema:"enum=mon,enum=tue,enum=wed,enum=thu,enum=fri,enum=sat,enum=sun" jsonschema_description:"Every week on these days; or start and end"`
	From     string   `yaml:"from" jsonschema:"pattern=^([01][0-9]|2[0-4]):[0-5][0-9]$" jsonschema_description:"Time of day it begins on each of the days; default: 00:00"`
	To       string   `yaml:"to" jsonschema:"pattern=^([01][0-9]|2[0-4]):[0-5][0-9]$" jsonschema_description:"Time of day it ends; not after from means the next day. Default: 24:00"`
	Timezone string   `yaml:"timezone" jsonschema_description:"Such as Europe/Berlin; default: UTC"`
	Start    string   `yaml:"start" jsonschema_description:"Once: 2026-12-20T00:00:00Z"`
	End      string   `yaml:"end" jsonschema_description:"Once: 2027-01-02T00:00:00Z"`
}

// settings is what environments may have different.
type settings struct {
	Kind         string                     `yaml:"kind" jsonschema:"enum=service,enum=daemon,enum=worker,enum=job" jsonschema_description:"service: kept running; daemon: one on each instance; worker: scaled on a queue; job: runs to its end"`
	Cluster      string                     `yaml:"cluster" jsonschema:"pattern=^[A-Za-z0-9_-]+$,maxLength=255" jsonschema_description:"Name of the ECS cluster"`
	Repository   string                     `yaml:"repository" jsonschema:"pattern=^([A-Za-z0-9.-]+[.:][A-Za-z0-9.:-]*/)?[a-z0-9]+([._/-][a-z0-9]+)*$,maxLength=256" jsonschema_description:"The image repository: its name, or with its registry. An environment with another one gets its images copied there when they are promoted. Default: the service's name"`
	Region       string                     `yaml:"region" jsonschema:"pattern=^[a-z]{2}(-[a-z]+)+-[0-9]$" jsonschema_description:"AWS region; default: that of the AWS configuration"`
	State        *stateConfig               `yaml:"state" jsonschema_description:"Where Terraform keeps its state; default: a local file"`
	Launch       string                     `yaml:"launch" jsonschema:"enum=ec2,enum=fargate,enum=fargate-spot,enum=external" jsonschema_description:"What runs the tasks; default: ec2"`
	Providers    map[string]providerConfig  `yaml:"capacity_providers" jsonschema_description:"Capacity providers and their shares, instead of launch"`
	Architecture string                     `yaml:"architecture" jsonschema:"enum=x86_64,enum=arm64" jsonschema_description:"Default: x86_64"`
	Network      networkConfig              `yaml:"network" jsonschema_description:"Default: bridge on EC2, awsvpc on Fargate"`
	CPU          cpuUnits                   `yaml:"cpu" jsonschema_description:"CPU of the whole task; default: the containers' together"`
	Memory       mib                        `yaml:"memory" jsonschema_description:"Memory of the whole task; default: the containers' together"`
	Count        *int                       `yaml:"count" jsonschema:"minimum=0,maximum=5000" jsonschema_description:"How many tasks; with scaling, at creation only. Default: 1"`
	Scaling      *scalingConfig             `yaml:"scaling" jsonschema_description:"Auto scaling of the number of tasks"`
	Container    containerConfig            `yaml:"container" jsonschema_description:"The main container, whose image is built and shipped"`
	Sidecars     map[string]containerConfig `yaml:"sidecars" jsonschema_description:"Further containers of the task, by name"`
	Volumes      map[string]volumeConfig    `yaml:"volumes" jsonschema_description:"Volumes of the task, by name"`
	Placement    placementConfig            `yaml:"placement" jsonschema_description:"Where on EC2 the tasks go"`
	Route        *routeConfig               `yaml:"route" jsonschema_description:"How traffic reaches the service; without it there is no load balancer"`
	Discovery    *discoveryConfig           `yaml:"discovery" jsonschema_description:"Where other services find its tasks"`
	Metrics      *metricsConfig             `yaml:"metrics" jsonschema_description:"Prometheus metrics of the main container, scraped by a sidecar"`
	Logs         logsConfig                 `yaml:"logs" jsonschema_description:"Default: CloudWatch Logs, kept 30 days"`
	Deployment   deploymentConfig           `yaml:"deployment" jsonschema_description:"How a new version replaces the old one"`
	Alarms       map[string]alarmConfig     `yaml:"alarms" jsonschema_description:"CloudWatch alarms, by name"`

	DefaultAlarms *defaultAlarmsConfig `yaml:"default_alarms" jsonschema_description:"Alarms on the share of 5xx, p95 latency, unhealthy targets, CPU, memory and tasks that end by themselves, which every service has; false: none. A topic: who is told"`

	Exec     bool              `yaml:"exec" jsonschema_description:"Whether slipway exec may open a shell in its containers (ECS Exec): the service's own role gets what that needs. Default: false"`
	Role     *roleConfig       `yaml:"role" jsonschema_description:"What the containers may do in AWS"`
	Schedule string            `yaml:"schedule" jsonschema_description:"When a job runs: rate(5 minutes) or cron(0 12 * * ? *); default: on demand"`
	Tags     map[string]string `yaml:"tags" jsonschema:"maxLength=256" jsonschema_description:"Tags of every resource; service, team and environment are added"`
}

type stateConfig struct {
	Bucket string `yaml:"bucket" short:"true" jsonschema:"required" jsonschema_description:"S3 bucket; the lock is a file beside the state"`
	Key    string `yaml:"key" jsonschema_description:"Default: slipway/SERVICE/ENVIRONMENT.tfstate"`
	Region string `yaml:"region" jsonschema_description:"The bucket's region; default: region"`
	KMSKey string `yaml:"kms_key" jsonschema_description:"Key the state is encrypted with"`
}

type providerConfig struct {
	Weight int `yaml:"weight" short:"true" jsonschema:"minimum=0,maximum=1000" jsonschema_description:"Share of the tasks beyond the bases"`
	Base   int `yaml:"base" jsonschema:"minimum=0,maximum=100000" jsonschema_description:"Tasks that run here first"`
}

type networkConfig struct {
	Mode           string   `yaml:"mode" short:"true" jsonschema:"enum=bridge,enum=awsvpc,enum=host" jsonschema_description:"bridge: dynamic host ports; awsvpc: an address a task"`
	Subnets        []string `yaml:"subnets" jsonschema_description:"awsvpc only; default: the cluster's"`
	SecurityGroups []string `yaml:"security_groups" jsonschema_description:"awsvpc only; default: the cluster's"`
	PublicIP       bool     `yaml:"public_ip" jsonschema_description:"Fargate only"`
}

type containerConfig struct {
	Name              string                  `yaml:"name" jsonschema:"pattern=^[A-Za-z0-9_-]+$,maxLength=255" jsonschema_description:"Main container only; default: the service's name"`
	Image             string                  `yaml:"image" jsonschema_description:"Sidecars only: the image"`
	Essential         *bool                   `yaml:"essential" jsonschema_description:"Whether its end is the task's end; default: true"`
	Command           command                 `yaml:"command" jsonschema_description:"Default: the image's"`
	EntryPoint        command                 `yaml:"entrypoint" jsonschema_description:"Default: the image's"`
	CPU               cpuUnits                `yaml:"cpu" jsonschema_description:"CPU share; default: 128 for the main container on EC2"`
	Memory            mib                     `yaml:"memory" jsonschema_description:"Hard limit; default: 256 on EC2"`
	MemoryReservation mib                     `yaml:"memory_reservation" jsonschema_description:"What the scheduler counts with; default: memory"`
	Port              int                     `yaml:"port" jsonschema:"minimum=1,maximum=65535" jsonschema_description:"The port it listens on"`
	Ports             map[string]portConfig   `yaml:"ports" jsonschema_description:"Further ports, by name"`
	Env               map[string]string       `yaml:"env" jsonschema_description:"Environment variables; no secrets"`
	EnvFiles          []string                `yaml:"env_files" jsonschema:"pattern=^arn:aws[a-z-]*:s3:::.+\\.env$" jsonschema_description:"ARNs of .env objects in S3"`
	Secrets           map[string]string       `yaml:"secrets" jsonschema_description:"Variable → ARN, ssm:NAME, secretsmanager:NAME, vault:MOUNT/PATH#KEY or exec:NAME ARGUMENT…"`
	User              string                  `yaml:"user" jsonschema_description:"uid, uid:gid or a name of the image"`
	ReadOnly          bool                    `yaml:"read_only" jsonschema_description:"Whether the root file system is read-only"`
	Init              bool                    `yaml:"init" jsonschema_description:"Whether an init process reaps children and forwards signals"`
	StopTimeout       *duration               `yaml:"stop_timeout" jsonschema_description:"Between SIGTERM and SIGKILL; default: 30s"`
	Health            *containerHealthConfig  `yaml:"health" jsonschema_description:"A check that runs in the container"`
	DependsOn         map[string]string       `yaml:"depends_on" jsonschema:"enum=start,enum=complete,enum=success,enum=healthy" jsonschema_description:"Container → what must hold before this one starts"`
	Mounts            map[string]mountConfig  `yaml:"mounts" jsonschema_description:"Volume → where it is mounted"`
	Ulimits           map[string]ulimitConfig `yaml:"ulimits" jsonschema_description:"Limit, such as nofile → value"`
}

type portConfig struct {
	Port     int    `yaml:"port" short:"true" jsonschema:"required,minimum=1,maximum=65535" jsonschema_description:"Port in the container"`
	Host     int    `yaml:"host" jsonschema:"minimum=0,maximum=65535" jsonschema_description:"Port on the instance; default: any free one"`
	Protocol string `yaml:"protocol" jsonschema:"enum=tcp,enum=udp" jsonschema_description:"Default: tcp"`
}

type containerHealthConfig struct {
	Command     command   `yaml:"command" short:"true" jsonschema:"required" jsonschema_description:"Healthy if it ends with 0"`
	Interval    *duration `yaml:"interval" jsonschema_description:"5s to 5m; default: 10s"`
	Timeout     *duration `yaml:"timeout" jsonschema_description:"2s to 1m; default: 5s"`
	StartPeriod duration  `yaml:"start_period" jsonschema_description:"Time to start in which failures do not count; at most 5m"`
	Retries     *int      `yaml:"retries" jsonschema:"minimum=1,maximum=10" jsonschema_description:"Failures that make it unhealthy; default: 3"`
}

type mountConfig struct {
	Path     string `yaml:"path" short:"true" jsonschema:"required,pattern=^/" jsonschema_description:"Path in the container"`
	ReadOnly bool   `yaml:"read_only" jsonschema_description:"Whether it can only be read"`
}

type ulimitConfig struct {
	Soft int  `yaml:"soft" short:"true" jsonschema:"required,minimum=0" jsonschema_description:"The limit"`
	Hard *int `yaml:"hard" jsonschema:"minimum=0" jsonschema_description:"How far the process may raise it; default: soft"`
}

type volumeConfig struct {
	Host  string     `yaml:"host" jsonschema:"pattern=^/" jsonschema_description:"A folder of the instance"`
	EFS   *efsConfig `yaml:"efs" jsonschema_description:"An EFS file system"`
	EBS   *ebsConfig `yaml:"ebs" jsonschema_description:"A disk made for each task"`
	Tmpfs mib        `yaml:"tmpfs" jsonschema_description:"Memory of this size"`
}

type efsConfig struct {
	FileSystem  string `yaml:"file_system" short:"true" jsonschema:"required,pattern=^fs-" jsonschema_description:"Its id"`
	Root        string `yaml:"root" jsonschema_description:"Folder in the file system"`
	AccessPoint string `yaml:"access_point" jsonschema:"pattern=^fsap-" jsonschema_description:"Its id"`
}

type ebsConfig struct {
	Size       int    `yaml:"size" short:"true" jsonschema:"minimum=1,maximum=16384" jsonschema_description:"GiB; default: the snapshot's"`
	Type       string `yaml:"type" jsonschema:"enum=gp3,enum=gp2,enum=io1,enum=io2,enum=st1,enum=sc1" jsonschema_description:"Default: gp3"`
	IOPS       int    `yaml:"iops" jsonschema:"minimum=100,maximum=256000" jsonschema_description:"gp3, io1 and io2; needed for io1 and io2"`
	Throughput int    `yaml:"throughput" jsonschema:"minimum=125,maximum=1000" jsonschema_description:"MiB a second, gp3 only; default: 125"`
	FileSystem string `yaml:"filesystem" jsonschema:"enum=xfs,enum=ext4,enum=ext3" jsonschema_description:"Default: xfs"`
	Encrypted  *bool  `yaml:"encrypted" jsonschema_description:"Default: true"`
	KMSKey     string `yaml:"kms_key" jsonschema:"pattern=^arn:aws[a-z-]*:kms:" jsonschema_description:"ARN of the key; default: the account's for EBS"`
	Snapshot   string `yaml:"snapshot" jsonschema:"pattern=^snap-" jsonschema_description:"What each disk begins with; default: empty"`
	Role       string `yaml:"role" jsonschema:"pattern=^arn:aws[a-z-]*:iam::[0-9]{12}:role/" jsonschema_description:"An existing role with which ECS makes the disk; default: one of the service's own"`
}

type placementConfig struct {
	Strategies  oneOrMore `yaml:"strategies" short:"true" jsonschema_description:"In order: spread:az, spread:instance, binpack:memory, binpack:cpu, random. Default: spread:az, spread:instance"`
	Constraints oneOrMore `yaml:"constraints" jsonschema_description:"distinct, or an expression of the cluster query language"`
}

type routeConfig struct {
	Listener            string               `yaml:"listener" jsonschema_description:"Name of a listener of the cluster, or its ARN; default: the environment's name"`
	Protocol            string               `yaml:"protocol" jsonschema:"enum=http,enum=https,enum=grpc,enum=tcp" jsonschema_description:"Between balancer and container; default: http"`
	Hosts               oneOrMore            `yaml:"hosts" jsonschema_description:"Host names, with * and ?"`
	Paths               oneOrMore            `yaml:"paths" short:"true" jsonschema_description:"Paths, with * and ?; default: every path"`
	Headers             map[string]oneOrMore `yaml:"headers" jsonschema_description:"Header → values, with * and ?"`
	Methods             oneOrMore            `yaml:"methods" jsonschema_description:"HTTP methods"`
	Container           string               `yaml:"container" jsonschema_description:"Default: the main container"`
	Port                int                  `yaml:"port" jsonschema:"minimum=1,maximum=65535" jsonschema_description:"Default: the container's port"`
	Health              healthConfig         `yaml:"health" jsonschema_description:"How the balancer checks a task"`
	Sticky              duration             `yaml:"sticky" jsonschema_description:"How long a client stays with its task; at most 7d. Default: not at all"`
	DeregistrationDelay *duration            `yaml:"deregistration_delay" jsonschema_description:"Time for requests to end; at least the longest request, at most 1h. Default: 30s"`
	SlowStart           duration             `yaml:"slow_start" jsonschema_description:"Time over which a new task's share of traffic grows; 30s to 15m"`
	GracePeriod         duration             `yaml:"grace_period" jsonschema_description:"Time to start in which failing checks do not count"`
}

type healthConfig struct {
	Path      string    `yaml:"path" short:"true" jsonschema:"pattern=^/,maxLength=1024" jsonschema_description:"Default: /"`
	Status    string    `yaml:"status" jsonschema_description:"Status that means healthy: 200 or 200-299; for gRPC 0 to 99. Default: 200, gRPC 12"`
	Interval  *duration `yaml:"interval" jsonschema_description:"5s to 5m; default: 10s"`
	Timeout   *duration `yaml:"timeout" jsonschema_description:"2s to 2m, less than interval; default: 5s, or less if the interval is short"`
	Healthy   *int      `yaml:"healthy" jsonschema:"minimum=2,maximum=10" jsonschema_description:"Passes that make it healthy; default: 2"`
	Unhealthy *int      `yaml:"unhealthy" jsonschema:"minimum=2,maximum=10" jsonschema_description:"Failures that make it unhealthy; default: 2"`
}

type discoveryConfig struct {
	Kind      string   `yaml:"kind" short:"true" jsonschema:"required,enum=cloudmap,enum=connect,enum=consul" jsonschema_description:"Route 53 by Cloud Map, Service Connect or Consul"`
	Namespace string   `yaml:"namespace" jsonschema_description:"Cloud Map namespace"`
	Name      string   `yaml:"name" jsonschema_description:"Default: the service's name"`
	Record    string   `yaml:"record" jsonschema:"enum=A,enum=SRV" jsonschema_description:"Default: A with awsvpc, else SRV"`
	TTL       duration `yaml:"ttl" jsonschema_description:"Default: 10s"`

	Servers    oneOrMore `yaml:"servers" jsonschema_description:"Consul only: what the agent joins: names, addresses or a cloud's tags, as its -retry-join has them"`
	Datacenter string    `yaml:"datacenter" jsonschema:"pattern=^[a-z0-9_-]+$" jsonschema_description:"Consul only; default: dc1"`
	Tags       oneOrMore `yaml:"tags" jsonschema_description:"Consul only: tags of the service"`
	Image      string    `yaml:"image" jsonschema_description:"Consul only: image of the agent; default: HashiCorp's"`
	Config     string    `yaml:"config" jsonschema_description:"Consul only: where a secret is that has further configuration of the agent as JSON, such as its encryption key and tokens: as container.secrets"`
}

type logsConfig struct {
	Driver    string            `yaml:"driver" short:"true" jsonschema:"enum=awslogs,enum=awsfirelens,enum=fluentd,enum=gelf,enum=journald,enum=json-file,enum=splunk,enum=syslog,enum=none" jsonschema_description:"Default: awslogs"`
	Group     string            `yaml:"group" jsonschema_description:"CloudWatch log group; default: /slipway/ENVIRONMENT/SERVICE"`
	Retention *int              `yaml:"retention" jsonschema:"enum=1,enum=3,enum=5,enum=7,enum=14,enum=30,enum=60,enum=90,enum=120,enum=150,enum=180,enum=365,enum=400,enum=545,enum=731,enum=1096,enum=1827,enum=2192,enum=2557,enum=2922,enum=3288,enum=3653" jsonschema_description:"Days; default: 30"`
	Options   map[string]string `yaml:"options" jsonschema_description:"Options of the driver; with awsfirelens those of the Fluent Bit or Fluentd output, such as Name: es"`
	Secrets   map[string]string `yaml:"secrets" jsonschema_description:"Options of the driver that are secret → ARN, ssm:NAME or secretsmanager:NAME"`
	Router    *routerConfig     `yaml:"router" jsonschema_description:"awsfirelens only: the container that sends the lines on"`
}

type routerConfig struct {
	Image  string            `yaml:"image" short:"true" jsonschema_description:"Default: public.ecr.aws/aws-observability/aws-for-fluent-bit:stable"`
	Type   string            `yaml:"type" jsonschema:"enum=fluentbit,enum=fluentd" jsonschema_description:"Default: fluentbit"`
	CPU    cpuUnits          `yaml:"cpu" jsonschema_description:"Default: 32"`
	Memory mib               `yaml:"memory" jsonschema_description:"Hard limit; default: 128"`
	Config string            `yaml:"config" jsonschema_description:"A further configuration file: a path in the image, or an ARN in S3"`
	Env    map[string]string `yaml:"env" jsonschema_description:"Environment variables of the router; no secrets"`
}

type deploymentConfig struct {
	Strategy       string       `yaml:"strategy" short:"true" jsonschema:"enum=rolling,enum=canary,enum=linear,enum=blue-green" jsonschema_description:"Default: rolling"`
	MinimumHealthy *int         `yaml:"minimum_healthy" jsonschema:"minimum=0,maximum=100" jsonschema_description:"Percent of the tasks that stay healthy; default: 100, daemon 0"`
	Maximum        *int         `yaml:"maximum" jsonschema:"minimum=100,maximum=200" jsonschema_description:"Percent of the tasks that may run at once; default: 200, daemon 100"`
	CircuitBreaker *bool        `yaml:"circuit_breaker" jsonschema_description:"Whether failing tasks end the deployment; default: true"`
	Rollback       *bool        `yaml:"rollback" jsonschema_description:"Whether a failed deployment goes back to the last good one; default: true"`
	Alarms         []string     `yaml:"alarms" jsonschema_description:"Alarms that end the deployment"`
	Bake           duration     `yaml:"bake" jsonschema_description:"Time both versions stay after traffic has moved; at most 24h"`
	StepPercent    float64      `yaml:"step_percent" jsonschema:"minimum=0,maximum=100" jsonschema_description:"Canary and linear: share of traffic a step"`
	StepBake       duration     `yaml:"step_bake" jsonschema_description:"Canary and linear: time between steps; at most 24h"`
	Timeout        *duration    `yaml:"timeout" jsonschema_description:"How long to wait for the end; default: 15m"`
	Before         []stepConfig `yaml:"before" jsonschema_description:"One-off tasks with the new image before any traffic, such as migrations"`
	After          []stepConfig `yaml:"after" jsonschema_description:"One-off tasks after the deployment"`
	Smoke          *smokeConfig `yaml:"smoke" jsonschema_description:"A request through the balancer after the deployment"`
}

type stepConfig struct {
	Name    string    `yaml:"name" jsonschema:"pattern=^[a-z0-9-]+$,maxLength=40" jsonschema_description:"Default: step-1, step-2, …"`
	Command command   `yaml:"command" short:"true" jsonschema:"required" jsonschema_description:"What it runs"`
	Timeout *duration `yaml:"timeout" jsonschema_description:"Default: 10m"`
}

type smokeConfig struct {
	Path     string `yaml:"path" short:"true" jsonschema:"required,pattern=^/" jsonschema_description:"Path of the request"`
	Status   int    `yaml:"status" jsonschema:"minimum=100,maximum=599" jsonschema_description:"Default: 200"`
	Contains string `yaml:"contains" jsonschema_description:"Text the answer must have"`
}

type scalingConfig struct {
	Min       *int                     `yaml:"min" jsonschema:"required,minimum=0,maximum=5000" jsonschema_description:"Least number of tasks"`
	Max       *int                     `yaml:"max" jsonschema:"required,minimum=1,maximum=5000" jsonschema_description:"Greatest number of tasks"`
	CPU       *targetConfig            `yaml:"cpu" jsonschema_description:"Percent of the reserved CPU that is kept in use"`
	Memory    *targetConfig            `yaml:"memory" jsonschema_description:"Percent of the reserved memory that is kept in use"`
	Requests  *targetConfig            `yaml:"requests" jsonschema_description:"Requests a minute for each task"`
	Queue     *queueConfig             `yaml:"queue" jsonschema_description:"Messages waiting for each task"`
	Metrics   map[string]metricConfig  `yaml:"metrics" jsonschema_description:"Custom CloudWatch metrics, by metric name"`
	Schedules map[string]scalingWindow `yaml:"schedules" jsonschema_description:"Changes of min and max at a time, by name"`
}

type targetConfig struct {
	Target         float64   `yaml:"target" short:"true" jsonschema:"required,minimum=0.1" jsonschema_description:"The value that is kept"`
	OutCooldown    *duration `yaml:"out_cooldown" jsonschema_description:"Default: 1m"`
	InCooldown     *duration `yaml:"in_cooldown" jsonschema_description:"Default: 5m"`
	DisableScaleIn bool      `yaml:"disable_scale_in" jsonschema_description:"Whether this target never removes tasks"`
}

type queueConfig struct {
	Name        string    `yaml:"name" short:"true" jsonschema:"required" jsonschema_description:"SQS queue"`
	Target      *float64  `yaml:"target" jsonschema:"minimum=0.1" jsonschema_description:"Messages for each task; default: 10"`
	OutCooldown *duration `yaml:"out_cooldown" jsonschema_description:"Default: 1m"`
	InCooldown  *duration `yaml:"in_cooldown" jsonschema_description:"Default: 5m"`
}

type metricConfig struct {
	Namespace   string    `yaml:"namespace" jsonschema:"required" jsonschema_description:"CloudWatch namespace"`
	Target      float64   `yaml:"target" jsonschema:"required" jsonschema_description:"The value that is kept"`
	OutCooldown *duration `yaml:"out_cooldown" jsonschema_description:"Default: 1m"`
	InCooldown  *duration `yaml:"in_cooldown" jsonschema_description:"Default: 5m"`
}

type scalingWindow struct {
	At       string `yaml:"at" jsonschema:"required" jsonschema_description:"cron(0 8 ? * MON-FRI *), rate(1 hour) or at(2030-01-01T00:00:00)"`
	Timezone string `yaml:"timezone" jsonschema_description:"Default: UTC"`
	Min      *int   `yaml:"min" jsonschema:"required,minimum=0" jsonschema_description:"Least number of tasks from then on"`
	Max      *int   `yaml:"max" jsonschema:"required,minimum=1" jsonschema_description:"Greatest number of tasks from then on"`
}

type alarmConfig struct {
	Metric    string    `yaml:"metric" jsonschema:"required,enum=5xx-percent,enum=latency-p95,enum=unhealthy,enum=cpu,enum=memory,enum=task-churn" jsonschema_description:"What is watched"`
	Threshold float64   `yaml:"threshold" jsonschema:"required" jsonschema_description:"The value above which it goes off"`
	Period    *duration `yaml:"period" jsonschema_description:"Default: 1m"`
	Periods   *int      `yaml:"periods" jsonschema:"minimum=1,maximum=100" jsonschema_description:"Periods in a row; default: 3"`
	Notify    oneOrMore `yaml:"notify" jsonschema_description:"ARNs of SNS topics"`
}

type roleConfig struct {
	ARN        string            `yaml:"arn" short:"true" jsonschema:"pattern=^arn:aws[a-z-]*:iam::[0-9]{12}:role/" jsonschema_description:"An existing role"`
	Statements []statementConfig `yaml:"allow" jsonschema_description:"What the service's own role allows"`
}

type statementConfig struct {
	Actions   oneOrMore `yaml:"actions" jsonschema:"required" jsonschema_description:"Such as s3:GetObject"`
	Resources oneOrMore `yaml:"resources" jsonschema:"required" jsonschema_description:"ARNs"`
}
