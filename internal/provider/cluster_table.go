package provider

import (
	"reflect"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/clusterinfra"
	"github.com/slipway-ecs/slipway/internal/service/attribute"
)

var (
	clusterType    = reflect.TypeFor[clusterinfra.Spec]()
	repositoryType = reflect.TypeFor[clusterinfra.Repository]()
)

var clusterTable = table(func(path string) attribute.Info {
	if of, ok := strings.CutPrefix(path, "groups."); ok { // which are as instances are
		path = "instances." + of
	}
	return clusterAttributes[path]
})

var clusterAttributes = map[string]attribute.Info{
	"name":               {Description: "Name of the ECS cluster, and of everything made for it.", Required: true, Replace: true},
	"vpc_id":             {Description: "The VPC. Default: the region's default VPC.", Provided: true, Replace: true},
	"subnets":            {Description: "Subnets of the instances. Default: one in each zone of the VPC, at most `zones`.", Provided: true},
	"balancer_subnets":   {Description: "Subnets of the load balancer. Default: those of the instances.", Provided: true},
	"zones":              {Description: "How many zones are used when `subnets` is left out.", Default: 3},
	"container_insights": {Description: "Container Insights: enabled, enhanced or disabled.", Default: "disabled", OneOf: []string{"enabled", "enhanced", "disabled"}},
	"log_group":          {Description: "Log group of the cluster. Default: /slipway/NAME.", Provided: true},
	"log_retention":      {Description: "Days the lines are kept.", Default: 30},
	"tags":               {Description: "Tags of everything made here."},

	"instances":                   {Description: "The group of container instances. Without it, and without `groups`, the cluster is for Fargate only."},
	"groups":                      {Description: "Further groups of container instances, by name: other types, Spot, or tasks that want their own. A service goes there by the group's capacity provider, or by a placement constraint on the attribute `slipway.group`."},
	"instances.type":              {Description: "Instance type, such as m7g.large.", Required: true},
	"instances.other_types":       {Description: "Further types of the same architecture, for when `type` cannot be had or costs more on Spot."},
	"instances.spot_percent":      {Description: "How much of the group above `on_demand_base` is Spot, 0–100.", Default: 0},
	"instances.on_demand_base":    {Description: "How many instances are On-Demand before any is Spot.", Default: 0},
	"instances.architecture":      {Description: "x86_64 or arm64. Default: that of the type.", Provided: true, OneOf: []string{"x86_64", "arm64"}},
	"instances.min":               {Description: "Least number of instances.", Default: 0},
	"instances.max":               {Description: "Greatest number of instances.", Required: true},
	"instances.desired":           {Description: "Number of instances at creation. Default: `min`. Afterwards whoever scales the group decides.", Provided: true},
	"instances.ami":               {Description: "Default: the newest ECS-optimized Amazon Linux 2023.", Provided: true},
	"instances.root_gib":          {Description: "Size of the root disk in GiB.", Default: 30},
	"instances.key_name":          {Description: "SSH key pair. Default: none, sessions go through Systems Manager."},
	"instances.user_data":         {Description: "Shell lines run after the agent is set up."},
	"instances.ingress_ports":     {Description: "TCP ports of the instances that the balancer reaches.", Default: "32768-65535"},
	"instances.capacity_provider": {Description: "Whether ECS's managed scaling grows and shrinks the group.", Default: false},
	"instances.target_capacity":   {Description: "Percent of the group that managed scaling keeps in use, 1–100.", Default: 100},
	"instances.profile":           {Description: "An existing instance profile.", Provided: true},
	"instances.security_groups":   {Description: "Existing security groups of the instances.", Provided: true},

	"alarm_topic":        {Description: "An SNS topic for alarms: give its ARN (`alarm_topic_arn`) to `default_alarms` and `alarms` of services. `{}` makes one that nobody is subscribed to yet."},
	"alarm_topic.arn":    {Description: "An existing topic: it is passed on, and nothing is made."},
	"alarm_topic.emails": {Description: "Addresses that are told. Each gets a mail to confirm."},
	"alarm_topic.urls":   {Description: "https addresses that are told, and confirm by themselves."},

	"balancer":                       {Description: "An Application Load Balancer with named listeners, which routes refer to."},
	"balancer.arn":                   {Description: "An existing load balancer: only listeners are made on it.", Provided: true},
	"balancer.internal":              {Description: "Whether it has private addresses only.", Default: false},
	"balancer.listeners":             {Description: "The listeners, by name.", Required: true},
	"balancer.listeners.port":        {Description: "Port of the listener.", Required: true},
	"balancer.listeners.protocol":    {Description: "HTTP or HTTPS.", Default: "HTTP", OneOf: []string{"HTTP", "HTTPS"}},
	"balancer.listeners.certificate": {Description: "ARN of the certificate, for HTTPS."},
	"balancer.listeners.policy":      {Description: "TLS policy.", Provided: true},
	"balancer.listeners.arn":         {Description: "An existing listener.", Provided: true},
	"balancer.security_groups":       {Description: "Existing security groups. Default: one that lets the listeners' ports in.", Provided: true},
	"balancer.ingress":               {Description: "CIDR blocks that may reach the listeners. Default: every address.", Provided: true},
	"balancer.idle_timeout":          {Description: "Seconds an idle connection is kept.", Default: time.Minute},
}

var repositoryTable = table(func(path string) attribute.Info { return repositoryAttributes[path] })

var repositoryAttributes = map[string]attribute.Info{
	"name":             {Description: "Name of the repository.", Required: true, Replace: true},
	"immutable":        {Description: "Whether tags cannot be moved, but those that `mutable` matches.", Default: false},
	"mutable":          {Description: "Tag patterns (`*` only) that stay movable in an immutable repository, at most 5."},
	"scan_on_push":     {Description: "Whether images are scanned when pushed.", Default: true},
	"encryption":       {Description: "AES256 or KMS.", Default: "AES256", Replace: true, OneOf: []string{"AES256", "KMS"}},
	"kms_key":          {Description: "The KMS key.", Provided: true, Replace: true},
	"lifecycle_policy": {Description: "Text of the lifecycle policy."},
	"pull_accounts":    {Description: "Accounts that may pull: 12 digits each. Their own policies must allow it, too."},
	"pull_roles":       {Description: "ARNs of roles that may pull."},
	"push_roles":       {Description: "ARNs of roles that may push."},
	"tags":             {Description: "Tags of the repository."},

	"keep_releases":        {Description: "A lifecycle policy that is made: it keeps the newest images deployed to production (`prod_…`), the newest versions (`v…`) and `latest`, and lets the rest go. Instead of `lifecycle_policy`."},
	"keep_releases.newest": {Description: "How many of those deployed to production, and how many versions.", Default: 100},
	"keep_releases.days":   {Description: "After how many days the rest goes.", Default: 14},

	"replicate_to":         {Description: "Where ECR copies images to that are pushed from now on: other regions, other accounts. The registry's other rules stay as they are. ECR goes by the beginning of names: repositories whose names begin with this one's are copied, too."},
	"replicate_to.region":  {Description: "The region.", Required: true},
	"replicate_to.account": {Description: "The account, which must let this one (`ecr:ReplicateImage` in its registry's policy). Default: this one.", Provided: true},
}
