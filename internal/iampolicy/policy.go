// Package iampolicy writes the least-privilege IAM policies of those who work with one service: the CI
// that pushes its images, the deployer, the cluster's controller, and ECS itself as it starts tasks.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
package iampolicy

import (
	"encoding/json"
	"fmt"
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

// Scope is what the policies are about. All members but the last three are needed.
type Scope struct {
	Partition  string // aws, aws-cn, aws-us-gov
	Region     string
	Account    string // 12 digits
	Cluster    string
	Service    string // name of the ECS service
	Family     string // of the task definition
	Repository string // of the image, without the registry
	LogGroup   string

	TaskRole      string // name of the task's role; empty: it has none
	ExecutionRole string // name of the role ECS starts tasks with; empty: it has none
	Group         string // name of the Auto Scaling group of the cluster; for Controller
	Secrets       bool   // whether secrets and parameters named SERVICE/… are read; for Execution
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

var pull = []string{"ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"}

// login has no resource: a token is the registry's, not a repository's.
func login() Statement { return allow("Login", []string{"ecr:GetAuthorizationToken"}, "*") }

// CI builds, pushes, tags and records, and reads what was recorded.
func CI(s Scope) Document {
	repository := s.arn("ecr", "repository/"+s.Repository)
	return document(login(),
		allow("Push", []string{"ecr:BatchCheckLayerAvailability", "ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload", "ecr:PutImage", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"}, repository),
		allow("Look", []string{"ecr:DescribeImages", "ecr:DescribeRepositories", "ecr:ListImages", "ecr:StartImageScan", "ecr:DescribeImageScanFindings"}, repository))
}

// Execution is the role with which ECS pulls the image, reads secrets and writes logs for a task.
func Execution(s Scope) Document {
	d := document(login(),
		allow("Pull", pull, s.arn("ecr", "repository/"+s.Repository)),
		allow("Logs", []string{"logs:CreateLogStream", "logs:PutLogEvents"}, s.arn("logs", "log-group:"+s.LogGroup+":*")))
	if s.Secrets {
		d.Statement = append(d.Statement,
			allow("Secrets", []string{"secretsmanager:GetSecretValue"}, s.arn("secretsmanager", "secret:"+s.Service+"/*")),
			allow("Parameters", []string{"ssm:GetParameters"}, s.arn("ssm", "parameter/"+s.Service+"/*")))
	}
	return d
}

// Deployer makes one service, releases new revisions of it and removes it, with what Slipway makes for it
// (roles, target groups, rules, alarms, scaling, log group), and changes nothing else in the cluster.
func Deployer(s Scope) Document {
	service, definition := s.arn("ecs", "service/"+s.Cluster+"/"+s.Service), s.arn("ecs", "task-definition/"+s.Family+":*")
	created := func(key string, by ...string) map[string]map[string][]string {
		return map[string]map[string][]string{"StringEquals": {key: by}}
	}
	own := []string{s.role("slipway-" + s.Service + "-*")}
	for _, r := range []string{s.TaskRole, s.ExecutionRole} {
		if r != "" {
			own = append(own, s.role(r))
		}
	}
	logs := s.arn("logs", "log-group:"+s.LogGroup)
	return document(
		// These know no resources.
		allow("Definitions", []string{"ecs:DescribeTaskDefinition", "ecs:ListTaskDefinitions", "ecs:DeregisterTaskDefinition"}, "*"),
		allow("Register", []string{"ecs:RegisterTaskDefinition"}, definition),
		// Later too: the service says which release and revision it was last given, a revision which one-off tasks have run.
		allow("Tag", []string{"ecs:TagResource"}, definition, service),
		allow("Service", []string{"ecs:CreateService", "ecs:UpdateService", "ecs:DeleteService", "ecs:DescribeServices", "ecs:ListServiceDeployments"}, service),
		allow("Rollout", []string{"ecs:DescribeServiceDeployments", "ecs:DescribeServiceRevisions", "ecs:StopServiceDeployment", "ecs:ContinueServiceDeployment"},
			s.arn("ecs", "service-deployment/"+s.Cluster+"/"+s.Service+"/*"), s.arn("ecs", "service-revision/"+s.Cluster+"/"+s.Service+"/*")),
		allow("Tasks", []string{"ecs:DescribeTasks", "ecs:StopTask"}, s.arn("ecs", "task/"+s.Cluster+"/*")).when(s.inCluster()),
		allow("ListTasks", []string{"ecs:ListTasks"}, "*").when(s.inCluster()),
		allow("Instances", []string{"ecs:DescribeContainerInstances"}, s.arn("ecs", "container-instance/"+s.Cluster+"/*")).when(s.inCluster()),
		allow("Cluster", []string{"ecs:DescribeClusters", "ecs:DescribeCapacityProviders"}, s.arn("ecs", "cluster/"+s.Cluster), s.arn("ecs", "capacity-provider/*")),
		allow("Surroundings", []string{"ec2:DescribeVpcs", "ec2:DescribeSubnets", "ec2:DescribeSecurityGroups", "ec2:DescribeLaunchTemplates", "ec2:DescribeLaunchTemplateVersions", "autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeScalingActivities"}, "*"),
		allow("ClusterRoles", []string{"iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies", "iam:GetInstanceProfile"},
			s.role("slipway-"+s.Cluster+"-*"), fmt.Sprintf("arn:%s:iam::%s:instance-profile/slipway-%s-*", s.Partition, s.Account, s.Cluster)),
		allow("Journal", []string{"ssm:GetParameter", "ssm:PutParameter", "ssm:DeleteParameter"}, s.arn("ssm", "parameter/slipway/deploy/"+s.Cluster+"/"+s.Service)),
		// One run at a time changes an environment: who does is kept in a parameter.
		allow("Claim", []string{"ssm:GetParameter", "ssm:PutParameter", "ssm:DeleteParameter"}, s.arn("ssm", "parameter/slipway/*/claim")),
		// A changed secret is a change: versions are looked up, values are not read. Copies are of what lies in other stores.
		allow("SecretVersions", []string{"ssm:DescribeParameters"}, s.arn("ssm", "*")),
		allow("Secrets", []string{"secretsmanager:DescribeSecret"}, s.arn("secretsmanager", "secret:*")),
		allow("SecretCopies", []string{"secretsmanager:CreateSecret", "secretsmanager:PutSecretValue", "secretsmanager:RestoreSecret", "secretsmanager:ListSecretVersionIds", "secretsmanager:UpdateSecretVersionStage", "secretsmanager:TagResource", "secretsmanager:DeleteSecret"},
			s.arn("secretsmanager", "secret:slipway/"+s.Cluster+"/"+s.Service+"*")),
		allow("FindSecretCopies", []string{"secretsmanager:ListSecrets"}, "*"),
		allow("Schedules", []string{"scheduler:GetSchedule", "scheduler:CreateSchedule", "scheduler:UpdateSchedule", "scheduler:DeleteSchedule"}, s.arn("scheduler", "schedule/default/"+s.Service+"*")),
		allow("ListNames", []string{"servicediscovery:ListNamespaces", "servicediscovery:ListServices"}, "*"),
		allow("Names", []string{"servicediscovery:ListTagsForResource", "servicediscovery:CreateService", "servicediscovery:UpdateService", "servicediscovery:DeleteService", "servicediscovery:TagResource"},
			s.arn("servicediscovery", "namespace/*"), s.arn("servicediscovery", "service/*")),
		allow("Roles", []string{"iam:GetRole", "iam:CreateRole", "iam:TagRole", "iam:DeleteRole", "iam:GetRolePolicy", "iam:PutRolePolicy", "iam:DeleteRolePolicy", "iam:ListRolePolicies", "iam:ListAttachedRolePolicies"}, own[0]),
		allow("PassTaskRoles", []string{"iam:PassRole"}, own...).when(map[string]map[string][]string{"StringEquals": {"iam:PassedToService": {"ecs-tasks.amazonaws.com", "ecs.amazonaws.com", "scheduler.amazonaws.com"}}}),
		allow("Scaling", []string{"application-autoscaling:RegisterScalableTarget", "application-autoscaling:DeregisterScalableTarget", "application-autoscaling:TagResource", "application-autoscaling:PutScalingPolicy", "application-autoscaling:DeleteScalingPolicy", "application-autoscaling:PutScheduledAction", "application-autoscaling:DeleteScheduledAction"},
			s.arn("application-autoscaling", "scalable-target/*")).when(map[string]map[string][]string{"StringEquals": {"application-autoscaling:service-namespace": {"ecs"}}}),
		allow("ReadScaling", []string{"application-autoscaling:DescribeScalableTargets", "application-autoscaling:DescribeScalingPolicies", "application-autoscaling:DescribeScheduledActions"}, "*"),
		allow("Alarms", []string{"cloudwatch:PutMetricAlarm", "cloudwatch:DeleteAlarms", "cloudwatch:TagResource"}, s.arn("cloudwatch", "alarm:slipway-"+s.Cluster+"-"+s.Service+"-*")),
		allow("Churn", []string{"events:DescribeRule", "events:PutRule", "events:DeleteRule", "events:TagResource", "events:ListTagsForResource"}, s.arn("events", "rule/slipway-"+s.Service+"-*")),
		allow("ReadAlarms", []string{"cloudwatch:DescribeAlarms"}, s.arn("cloudwatch", "alarm:*")),
		allow("Logs", []string{"logs:CreateLogGroup", "logs:DeleteLogGroup", "logs:PutRetentionPolicy", "logs:DeleteRetentionPolicy", "logs:FilterLogEvents", "logs:GetLogEvents", "logs:TagResource", "logs:ListTagsForResource"}, logs, logs+":*"),
		allow("FindLogs", []string{"logs:DescribeLogGroups", "logs:ListTagsForResource"}, s.arn("logs", "log-group:*")),
		allow("ReadBalancers", []string{"elasticloadbalancing:DescribeTargetGroups", "elasticloadbalancing:DescribeTargetGroupAttributes", "elasticloadbalancing:DescribeTargetHealth", "elasticloadbalancing:DescribeRules", "elasticloadbalancing:DescribeListeners", "elasticloadbalancing:DescribeLoadBalancers", "elasticloadbalancing:DescribeTags"}, "*"),
		allow("Balancers", []string{"elasticloadbalancing:CreateTargetGroup", "elasticloadbalancing:ModifyTargetGroup", "elasticloadbalancing:ModifyTargetGroupAttributes", "elasticloadbalancing:DeleteTargetGroup", "elasticloadbalancing:CreateRule", "elasticloadbalancing:ModifyRule", "elasticloadbalancing:DeleteRule", "elasticloadbalancing:SetRulePriorities"},
			s.arn("elasticloadbalancing", "targetgroup/*"), s.arn("elasticloadbalancing", "listener/app/*"), s.arn("elasticloadbalancing", "listener-rule/app/*")),
		allow("TagBalancers", []string{"elasticloadbalancing:AddTags"}, s.arn("elasticloadbalancing", "targetgroup/*"), s.arn("elasticloadbalancing", "listener-rule/app/*")).when(created("elasticloadbalancing:CreateAction", "CreateTargetGroup", "CreateRule")),
		login(),
		// The ledger is in the image's repository: what was deployed is written beside the image.
		allow("Ledger", []string{"ecr:DescribeImages", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability", "ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload", "ecr:PutImage"}, s.arn("ecr", "repository/"+s.Repository)))
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
