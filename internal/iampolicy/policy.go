// Package iampolicy writes the least-privilege IAM policies of those who work with one service: the CI
// that pushes its images, the deployer, the cluster's controller, and ECS itself as it starts tasks.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
package iampolicy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Document is an IAM policy.
type Document struct {
	Version   string
	Statement []Statement
}

// Statement allows actions on resources.
type Statement struct {
	Sid       string
	Effect    string
	Action    []string
	Resource  []string
	Condition map[string]map[string][]string `json:",omitempty"`
}

// Scope is what the policies are about: one service in those of its environments that share a cluster.
type Scope struct {
	Partition    string // aws, aws-cn, aws-us-gov
	Region       string
	Account      string // 12 digits
	Cluster      string
	Service      string   // as in slipway.yaml
	Environments []string // the ECS services are SERVICE-ENVIRONMENT; none: Service is the ECS service's name
	Families     []string // of task definitions; none: the ECS services' names
	Repositories []string // of images, without the registry; none: the service's name
	LogGroups    []string // none: those of slipway.yaml, /slipway/ENVIRONMENT/SERVICE, or /ecs/CLUSTER/SERVICE

	Roles   []string // names of the roles of tasks and of ECS for them that are given; none: Slipway makes them
	Group   string   // name of the Auto Scaling group of the cluster; for Controller
	Secrets bool     // whether secrets and parameters named SERVICE/… are read; for Execution
	State   string   // S3 bucket with Terraform's state; empty: it is in files
	Notices []string // what notifications read: ssm:NAME or secretsmanager:NAME
	Exec    bool     // whether commands may be run in running containers
	Signing string   // KMS key that signs statements of the ledger: id, ARN or alias; empty: none
}

// names are those of the ECS services.
func (s Scope) names() []string {
	if len(s.Environments) == 0 {
		return []string{s.Service}
	}
	var out []string
	for _, e := range s.Environments {
		out = append(out, s.Service+"-"+e)
	}
	return out
}

func (s Scope) repositories() []string {
	if len(s.Repositories) == 0 {
		return s.each("ecr", "repository/%s", []string{s.Service})
	}
	return s.each("ecr", "repository/%s", s.Repositories)
}

func (s Scope) logGroups() []string {
	switch {
	case len(s.LogGroups) > 0:
		return s.each("logs", "log-group:%s", s.LogGroups)
	case len(s.Environments) > 0:
		return s.each("logs", "log-group:/slipway/%s/"+s.Service, s.Environments)
	}
	return []string{s.arn("logs", "log-group:/ecs/"+s.Cluster+"/"+s.Service)}
}

// each is the ARN of each name, put in where the resource has %s.
func (s Scope) each(service, resource string, names []string) []string {
	var out []string
	for _, n := range names {
		out = append(out, s.arn(service, fmt.Sprintf(resource, n)))
	}
	return out
}

func (s Scope) families() []string {
	if len(s.Families) == 0 {
		return s.names()
	}
	return s.Families
}

func (s Scope) arn(service, resource string) string {
	return fmt.Sprintf("arn:%s:%s:%s:%s:%s", s.Partition, service, s.Region, s.Account, resource)
}

func (s Scope) role(name string) string {
	return fmt.Sprintf("arn:%s:iam::%s:role/%s", s.Partition, s.Account, name)
}

func (s Scope) inCluster() map[string]map[string][]string {
	return map[string]map[string][]string{"ArnEquals": {"ecs:cluster": {s.arn("ecs", "cluster/"+s.Cluster)}}}
}

func allow(sid string, actions []string, resources ...string) Statement {
	return Statement{Sid: sid, Effect: "Allow", Action: actions, Resource: resources}
}

func (st Statement) when(condition map[string]map[string][]string) Statement {
	st.Condition = condition
	return st
}

func document(statements ...Statement) Document {
	return Document{Version: "2012-10-17", Statement: statements}
}

// Text is the policy as IAM takes it.
func (d Document) Text() string {
	data, err := json.MarshalIndent(d, "", "  ")
	if err != nil { // only strings
		panic("IAM policy does not marshal: " + err.Error())
	}
	return string(data)
}

// MostCharacters is how long a managed policy may be, white space not counted.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
const MostCharacters = 6144

// Characters is how long IAM finds the policy.
func (d Document) Characters() int {
	data, err := json.Marshal(d)
	if err != nil { // only strings
		panic("IAM policy does not marshal: " + err.Error())
	}
	return len(data)
}

// Split is the policy as several that allow the same together, each no longer than most. A statement is not cut,
// so one that is longer by itself stays so.
func (d Document) Split(most int) []Document {
	out := []Document{document()}
	for _, st := range d.Statement {
		last := &out[len(out)-1]
		if with := document(append(slices.Clone(last.Statement), st)...); len(last.Statement) == 0 || with.Characters() <= most {
			*last = with
		} else {
			out = append(out, document(st))
		}
	}
	return out
}

var pull = []string{"ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"}

// login has no resource: a token is the registry's, not a repository's.
func login() Statement { return allow("Login", []string{"ecr:GetAuthorizationToken"}, "*") }

// CI builds, pushes, tags and records, has images scanned, and reads what was recorded.
func CI(s Scope) Document {
	return document(append(append(notices(s), signing(s)...), login(), images(s),
		allow("Scan", []string{"ecr:StartImageScan", "ecr:DescribeImageScanFindings"}, s.repositories()...))...)
}

// Images is for who looks after a repository's images: lists, previews, protects and prunes them. What is in use is
// asked of every cluster of the account.
func Images(s Scope) Document {
	return document(append(signing(s), login(), images(s),
		allow("Keep", []string{"ecr:PutLifecyclePolicy", "ecr:BatchDeleteImage"}, s.repositories()...),
		allow("InUse", []string{"ecs:ListClusters", "ecs:ListServices", "ecs:ListTasks", "ecs:DescribeTaskDefinition"}, "*"),
		allow("Users", []string{"ecs:DescribeServices", "ecs:DescribeTasks"}, s.arn("ecs", "service/*"), s.arn("ecs", "task/*")))...)
}

// signing lets the KMS key sign, and its public half be read. An alias is no resource: it is a condition on whatever
// key it names.
// https://docs.aws.amazon.com/kms/latest/developerguide/alias-authorization.html
func signing(s Scope) []Statement {
	const id = "Sign"
	actions := []string{"kms:Sign", "kms:GetPublicKey"}
	switch {
	case s.Signing == "":
		return nil
	case strings.HasPrefix(s.Signing, "alias/"):
		return []Statement{allow(id, actions, s.arn("kms", "key/*")).when(map[string]map[string][]string{"StringEquals": {"kms:RequestAlias": {s.Signing}}})}
	case strings.HasPrefix(s.Signing, "arn:") && strings.Contains(s.Signing, ":alias/"):
		_, alias, _ := strings.Cut(s.Signing, ":alias/")
		return []Statement{allow(id, actions, s.arn("kms", "key/*")).when(map[string]map[string][]string{"StringEquals": {"kms:RequestAlias": {"alias/" + alias}}})}
	case strings.HasPrefix(s.Signing, "arn:"):
		return []Statement{allow(id, actions, s.Signing)}
	}
	return []Statement{allow(id, actions, s.arn("kms", "key/"+s.Signing))}
}

// images lets images be read, pushed and tagged, and what is recorded beside them.
func images(s Scope) Statement {
	return allow("Images", []string{"ecr:DescribeRepositories", "ecr:GetLifecyclePolicy", "ecr:GetRepositoryPolicy", "ecr:ListTagsForResource", "ecr:DescribeImages", "ecr:ListImages", "ecr:DescribeImageReplicationStatus",
		"ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability",
		"ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload", "ecr:PutImage"}, s.repositories()...)
}

// notices lets addresses and tokens of notifications be read.
func notices(s Scope) (out []Statement) {
	var parameters, secrets []string
	for _, n := range s.Notices {
		kind, name, _ := strings.Cut(n, ":")
		switch kind {
		case "ssm":
			parameters = append(parameters, s.arn("ssm", "parameter/"+strings.TrimPrefix(name, "/")))
		case "secretsmanager":
			secrets = append(secrets, s.arn("secretsmanager", "secret:"+name+"-??????"))
		}
	}
	if len(parameters) > 0 {
		out = append(out, allow("NoticeParameters", []string{"ssm:GetParameter"}, parameters...))
	}
	if len(secrets) > 0 {
		out = append(out, allow("NoticeSecrets", []string{"secretsmanager:GetSecretValue"}, secrets...))
	}
	return out
}

// Execution is the role with which ECS pulls the image, reads secrets and writes logs for a task.
func Execution(s Scope) Document {
	d := document(login(),
		allow("Pull", pull, s.repositories()...),
		allow("Logs", []string{"logs:CreateLogStream", "logs:PutLogEvents"}, below(s.logGroups())...))
	if s.Secrets {
		d.Statement = append(d.Statement,
			// Those of other stores are copied to the first.
			allow("Secrets", []string{"secretsmanager:GetSecretValue"}, append(s.each("secretsmanager", "secret:slipway/"+s.Cluster+"/%s/*", s.names()), s.arn("secretsmanager", "secret:"+s.Service+"/*"))...),
			allow("Parameters", []string{"ssm:GetParameters"}, s.arn("ssm", "parameter/"+s.Service+"/*")))
	}
	return d
}

// below is what is in log groups.
func below(groups []string) (out []string) {
	for _, g := range groups {
		out = append(out, g+":*")
	}
	return out
}

// Deployer makes one service, releases new revisions of it and removes it, with what Slipway makes for it
// (roles, target groups, rules, alarms, scaling, log group), and changes nothing else in the cluster. It
// reads what was recorded of its images and records what it does.
func Deployer(s Scope) Document {
	names := s.names()
	services, definitions := s.each("ecs", "service/"+s.Cluster+"/%s", names), s.each("ecs", "task-definition/%s:*", s.families())
	var own, slipways, of []string
	for _, n := range names {
		slipways = append(slipways, s.role("slipway-"+n+"-*"))
		of = append(of, s.arn("ecs", "service-deployment/"+s.Cluster+"/"+n+"/*"), s.arn("ecs", "service-revision/"+s.Cluster+"/"+n+"/*"))
	}
	own = append(own, slipways...)
	for _, r := range s.Roles {
		own = append(own, s.role(r))
	}
	tasks := s.arn("ecs", "task/"+s.Cluster+"/*")
	logs := s.logGroups()
	d := document(
		// These know no resources.
		allow("Definitions", []string{"ecs:DescribeTaskDefinition", "ecs:ListTaskDefinitions", "ecs:DeregisterTaskDefinition"}, "*"),
		// Later too: the service says which release and revision it was last given, a revision which one-off tasks have run.
		allow("Revisions", []string{"ecs:RegisterTaskDefinition", "ecs:TagResource"}, definitions...),
		allow("Service", []string{"ecs:CreateService", "ecs:UpdateService", "ecs:DeleteService", "ecs:ListServiceDeployments", "ecs:TagResource"}, services...),
		allow("Rollout", []string{"ecs:DescribeServiceDeployments", "ecs:DescribeServiceRevisions", "ecs:StopServiceDeployment"}, of...),
		allow("Tasks", []string{"ecs:DescribeTasks", "ecs:GetTaskProtection", "ecs:StopTask"}, tasks).when(s.inCluster()),
		allow("Run", []string{"ecs:RunTask"}, definitions...).when(s.inCluster()),
		allow("TagRun", []string{"ecs:TagResource"}, tasks).when(map[string]map[string][]string{"StringEquals": {"ecs:CreateAction": {"RunTask"}}}),
		allow("ListTasks", []string{"ecs:ListTasks", "ecs:ListServices"}, "*").when(s.inCluster()),
		// Whether there is room depends on what else the cluster runs.
		allow("Neighbours", []string{"ecs:DescribeServices"}, s.arn("ecs", "service/"+s.Cluster+"/*")).when(s.inCluster()),
		allow("Instances", []string{"ecs:DescribeContainerInstances"}, s.arn("ecs", "container-instance/"+s.Cluster+"/*")).when(s.inCluster()),
		allow("Cluster", []string{"ecs:DescribeClusters", "ecs:ListContainerInstances", "ecs:DescribeCapacityProviders"}, s.arn("ecs", "cluster/"+s.Cluster), s.arn("ecs", "capacity-provider/*")),
		allow("Surroundings", []string{"ec2:DescribeSubnets", "ec2:DescribeSecurityGroups", "ec2:DescribeLaunchTemplates", "ec2:DescribeLaunchTemplateVersions", "autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeAutoScalingInstances",
			"autoscaling:DescribeScalingActivities", "autoscaling:DescribePolicies", "autoscaling:DescribeScheduledActions"}, "*"),
		allow("ClusterRoles", []string{"iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies", "iam:GetInstanceProfile"},
			s.role("slipway-"+s.Cluster+"-*"), fmt.Sprintf("arn:%s:iam::%s:instance-profile/slipway-%s-*", s.Partition, s.Account, s.Cluster)),
		// One run at a time changes a service, and an environment: who does is kept in parameters.
		allow("Journal", []string{"ssm:GetParameter", "ssm:PutParameter", "ssm:DeleteParameter"},
			append(s.each("ssm", "parameter/slipway/deploy/"+s.Cluster+"/%s", names), s.arn("ssm", "parameter/slipway/"+s.Service+"/*/claim"))...),
		// A changed secret is a change: versions are looked up, values are not read. Copies are of what lies in other stores.
		allow("SecretVersions", []string{"ssm:DescribeParameters", "secretsmanager:ListSecrets"}, "*"),
		allow("Secrets", []string{"secretsmanager:DescribeSecret"}, s.arn("secretsmanager", "secret:*")),
		allow("SecretCopies", []string{"secretsmanager:CreateSecret", "secretsmanager:PutSecretValue", "secretsmanager:RestoreSecret", "secretsmanager:ListSecretVersionIds", "secretsmanager:UpdateSecretVersionStage", "secretsmanager:TagResource", "secretsmanager:DeleteSecret"},
			s.each("secretsmanager", "secret:slipway/"+s.Cluster+"/%s/*", names)...),
		allow("Schedules", []string{"scheduler:GetSchedule", "scheduler:CreateSchedule", "scheduler:UpdateSchedule", "scheduler:DeleteSchedule"}, s.each("scheduler", "schedule/default/%s*", names)...),
		allow("ListNames", []string{"servicediscovery:ListNamespaces", "servicediscovery:ListServices"}, "*"),
		allow("Names", []string{"servicediscovery:ListTagsForResource", "servicediscovery:CreateService", "servicediscovery:UpdateService", "servicediscovery:DeleteService", "servicediscovery:TagResource"},
			s.arn("servicediscovery", "namespace/*"), s.arn("servicediscovery", "service/*")),
		allow("Roles", []string{"iam:GetRole", "iam:CreateRole", "iam:TagRole", "iam:DeleteRole", "iam:GetRolePolicy", "iam:PutRolePolicy", "iam:DeleteRolePolicy", "iam:ListRolePolicies", "iam:ListAttachedRolePolicies"}, slipways...),
		allow("PassTaskRoles", []string{"iam:PassRole"}, own...).when(map[string]map[string][]string{"StringEquals": {"iam:PassedToService": {"ecs-tasks.amazonaws.com", "ecs.amazonaws.com", "scheduler.amazonaws.com"}}}),
		allow("Scaling", []string{"application-autoscaling:RegisterScalableTarget", "application-autoscaling:DeregisterScalableTarget", "application-autoscaling:PutScalingPolicy", "application-autoscaling:DeleteScalingPolicy", "application-autoscaling:PutScheduledAction", "application-autoscaling:DeleteScheduledAction"},
			s.arn("application-autoscaling", "scalable-target/*")).when(map[string]map[string][]string{"StringEquals": {"application-autoscaling:service-namespace": {"ecs"}}}),
		allow("ReadScaling", []string{"application-autoscaling:DescribeScalableTargets", "application-autoscaling:DescribeScalingPolicies", "application-autoscaling:DescribeScheduledActions", "application-autoscaling:DescribeScalingActivities"}, "*"),
		allow("Alarms", []string{"cloudwatch:PutMetricAlarm", "cloudwatch:DeleteAlarms", "cloudwatch:TagResource"}, s.each("cloudwatch", "alarm:slipway-"+s.Cluster+"-%s-*", names)...),
		allow("Churn", []string{"events:DescribeRule", "events:PutRule", "events:DeleteRule", "events:TagResource", "events:ListTagsForResource"}, s.each("events", "rule/slipway-%s-*", names)...),
		// What the account has left of vCPUs of Fargate and of roles. None of it has a resource.
		allow("Quotas", []string{"servicequotas:GetServiceQuota", "cloudwatch:GetMetricStatistics", "iam:GetAccountSummary"}, "*"),
		allow("ReadAlarms", []string{"cloudwatch:DescribeAlarms"}, s.arn("cloudwatch", "alarm:*")),
		allow("Logs", []string{"logs:CreateLogGroup", "logs:DeleteLogGroup", "logs:PutRetentionPolicy", "logs:DeleteRetentionPolicy", "logs:FilterLogEvents", "logs:GetLogEvents", "logs:TagResource"}, append(logs, below(logs)...)...),
		allow("FindLogs", []string{"logs:DescribeLogGroups", "logs:ListTagsForResource"}, s.arn("logs", "log-group:*")),
		allow("ReadBalancers", []string{"elasticloadbalancing:DescribeTargetGroups", "elasticloadbalancing:DescribeTargetGroupAttributes", "elasticloadbalancing:DescribeTargetHealth", "elasticloadbalancing:DescribeRules", "elasticloadbalancing:DescribeListeners", "elasticloadbalancing:DescribeLoadBalancers", "elasticloadbalancing:DescribeLoadBalancerAttributes", "elasticloadbalancing:DescribeTags", "elasticloadbalancing:DescribeAccountLimits"}, "*"),
		allow("Balancers", []string{"elasticloadbalancing:CreateTargetGroup", "elasticloadbalancing:ModifyTargetGroup", "elasticloadbalancing:ModifyTargetGroupAttributes", "elasticloadbalancing:DeleteTargetGroup", "elasticloadbalancing:CreateRule", "elasticloadbalancing:ModifyRule", "elasticloadbalancing:DeleteRule", "elasticloadbalancing:SetRulePriorities", "elasticloadbalancing:AddTags"},
			s.arn("elasticloadbalancing", "targetgroup/*"), s.arn("elasticloadbalancing", "listener/app/*"), s.arn("elasticloadbalancing", "listener-rule/app/*")),
		// What the registry replicates decides whether a promotion elsewhere waits or copies. It has no resource.
		allow("Login", []string{"ecr:GetAuthorizationToken", "ecr:DescribeRegistry"}, "*"), images(s)) // the ledger is in the image's repository: what was deployed is written beside the image
	if s.State != "" {
		bucket := fmt.Sprintf("arn:%s:s3:::%s", s.Partition, s.State)
		d.Statement = append(d.Statement,
			allow("StateBucket", []string{"s3:ListBucket"}, bucket),
			allow("State", []string{"s3:GetObject", "s3:PutObject", "s3:DeleteObject"}, bucket+"/slipway/"+s.Service+"/*"))
	}
	if s.Exec {
		d.Statement = append(d.Statement, allow("Exec", []string{"ecs:ExecuteCommand"}, s.arn("ecs", "cluster/"+s.Cluster), tasks).when(s.inCluster()))
	}
	d.Statement = append(append(d.Statement, notices(s)...), signing(s)...)
	return d
}

// Controller scales, drains and rotates the instances of one cluster.
func Controller(s Scope) Document {
	return document(
		allow("Group", []string{"autoscaling:CompleteLifecycleAction", "autoscaling:RecordLifecycleActionHeartbeat", "autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup",
			"autoscaling:CreateOrUpdateTags", "autoscaling:DeleteTags", "autoscaling:UpdateAutoScalingGroup"},
			s.arn("autoscaling", "autoScalingGroup:*:autoScalingGroupName/"+s.Group)),
		allow("Machines", []string{"autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeAutoScalingInstances", "autoscaling:DescribeLifecycleHooks", "autoscaling:DescribeScalingActivities", "autoscaling:DescribeTags",
			"autoscaling:DescribePolicies", "autoscaling:DescribeScheduledActions",
			"application-autoscaling:DescribeScalableTargets", "application-autoscaling:DescribeScalingPolicies", "application-autoscaling:DescribeScheduledActions", "application-autoscaling:DescribeScalingActivities",
			"ec2:DescribeInstances", "ec2:DescribeLaunchTemplateVersions"}, "*"),
		allow("Gates", []string{"cloudwatch:DescribeAlarms"}, s.arn("cloudwatch", "alarm:*")),
		allow("Instances", []string{"ecs:UpdateContainerInstancesState", "ecs:DescribeContainerInstances"}, s.arn("ecs", "container-instance/"+s.Cluster+"/*")).when(s.inCluster()),
		allow("Marks", []string{"ecs:TagResource", "ecs:UntagResource"}, s.arn("ecs", "container-instance/"+s.Cluster+"/*")), // tagging knows no ecs:cluster
		allow("ListInstances", []string{"ecs:ListContainerInstances", "ecs:DescribeClusters"}, s.arn("ecs", "cluster/"+s.Cluster)),
		allow("Tasks", []string{"ecs:DescribeTasks", "ecs:GetTaskProtection", "ecs:StopTask"}, s.arn("ecs", "task/"+s.Cluster+"/*")).when(s.inCluster()),
		allow("ListTasks", []string{"ecs:ListTasks", "ecs:ListServices"}, "*").when(s.inCluster()),
		allow("Definitions", []string{"ecs:DescribeTaskDefinition"}, "*"),
		allow("Providers", []string{"ecs:DescribeCapacityProviders"}, s.arn("ecs", "capacity-provider/*")),
		allow("Services", []string{"ecs:DescribeServices"}, s.arn("ecs", "service/"+s.Cluster+"/*")).when(s.inCluster()),
		allow("Lease", []string{"ssm:GetParameter", "ssm:PutParameter", "ssm:DeleteParameter"}, s.arn("ssm", "parameter/slipway/"+s.Cluster+"/leader")),
		allow("Notices", []string{"sqs:ReceiveMessage", "sqs:DeleteMessage"}, s.arn("sqs", "slipway-"+s.Cluster+"-notices")))
}
