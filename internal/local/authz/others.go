package authz

import "strings"

// Each function follows the service's page of
// https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html

func ecrNeeds(p place, op string, in input) []Need {
	if arn := in.one("ResourceArn"); arn != "" {
		return on(nil, arn)
	}
	account := p
	if id := in.one("RegistryId"); id != "" {
		account.account = id
	}
	if n := in.one("RepositoryName"); n != "" {
		r := account.arn("ecr", "repository/"+n)
		needs := on(nil, r)
		if op == "CreateRepository" && len(in.tags()) > 0 {
			needs = append(needs, Need{Action: "ecr:TagResource", Resource: r})
		}
		return needs
	}
	if op == "DescribeRepositories" {
		var out []string
		for _, n := range in.all("RepositoryNames") {
			out = append(out, account.arn("ecr", "repository/"+n))
		}
		if len(out) == 0 {
			out = []string{account.arn("ecr", "repository/*")}
		}
		return on(nil, out...)
	}
	return nil
}

func elbNeeds(p place, op string, in input) []Need {
	if strings.HasPrefix(op, "Describe") || strings.HasPrefix(op, "Get") {
		return nil
	}
	kind := map[string]string{"network": "net", "gateway": "gwy"}[in.one("Type")]
	if kind == "" {
		kind = "app"
	}
	var made, at string
	switch op {
	case "CreateLoadBalancer":
		made = p.arn("elasticloadbalancing", "loadbalancer/"+kind+"/"+in.one("Name")+"/*")
	case "CreateTargetGroup":
		made = p.arn("elasticloadbalancing", "targetgroup/"+in.one("Name")+"/*")
	case "CreateListener":
		at = in.one("LoadBalancerArn")
		made = strings.Replace(at, ":loadbalancer/", ":listener/", 1) + "/*"
	case "CreateRule":
		at = in.one("ListenerArn")
		made = strings.Replace(at, ":listener/", ":listener-rule/", 1) + "/*"
	case "SetRulePriorities":
		var out []string
		for _, r := range in.each("RulePriorities") {
			out = append(out, r.one("RuleArn"))
		}
		return on(nil, out...)
	case "AddTags", "RemoveTags":
		return on(nil, in.all("ResourceArns")...)
	default:
		if r := in.one("RuleArn", "ListenerArn", "TargetGroupArn", "LoadBalancerArn"); r != "" {
			return on(nil, r)
		}
		return nil
	}
	if at == "" {
		at = made
	}
	needs := on(nil, at)
	if len(in.tags()) > 0 {
		needs = append(needs, Need{Action: "elasticloadbalancing:AddTags", Resource: made, Context: map[string][]string{"elasticloadbalancing:createaction": {op}}})
	}
	return needs
}

func groupNeeds(p place, op string, in input) []Need {
	if strings.HasPrefix(op, "Describe") {
		return nil
	}
	group := in.one("AutoScalingGroupName")
	var needs []Need
	switch {
	case group != "":
		needs = on(nil, p.arn("autoscaling", "autoScalingGroup:*:autoScalingGroupName/"+group))
	case in.one("LaunchConfigurationName") != "":
		needs = on(nil, p.arn("autoscaling", "launchConfiguration:*:launchConfigurationName/"+in.one("LaunchConfigurationName")))
	case op == "TerminateInstanceInAutoScalingGroup":
		needs = on(nil, p.arn("autoscaling", "autoScalingGroup:*:autoScalingGroupName/*"))
	case op == "CreateOrUpdateTags" || op == "DeleteTags":
		for _, t := range in.each("Tags") {
			needs = append(needs, on(nil, p.arn("autoscaling", "autoScalingGroup:*:autoScalingGroupName/"+t.one("ResourceId")))...)
		}
	}
	return append(needs, pass(p, "autoscaling.amazonaws.com", in.one("RoleARN"), in.one("ServiceLinkedRoleARN"))...)
}

func scalingNeeds(p place, op string, in input) []Need {
	if strings.HasPrefix(op, "Describe") {
		return nil
	}
	if arn := in.one("ResourceARN"); arn != "" {
		return on(nil, arn)
	}
	ctx := map[string][]string{"application-autoscaling:service-namespace": {in.one("ServiceNamespace")}}
	if d := in.one("ScalableDimension"); d != "" {
		ctx["application-autoscaling:scalable-dimension"] = []string{d}
	}
	return append(on(ctx, p.arn("application-autoscaling", "scalable-target/*")), pass(p, "application-autoscaling.amazonaws.com", in.one("RoleARN"))...)
}

func logNeeds(p place, op string, in input) []Need {
	if arn := in.one("ResourceArn", "LogGroupIdentifier"); isARN(arn) {
		return on(nil, arn)
	}
	name := in.one("LogGroupName", "LogGroupIdentifier")
	switch op {
	case "DescribeLogGroups":
		return on(nil, p.arn("logs", "log-group::log-stream:"))
	case "TagLogGroup", "UntagLogGroup", "ListTagsLogGroup":
		return on(nil, p.arn("logs", "log-group:"+name))
	}
	if name == "" {
		return nil
	}
	needs := on(nil, p.arn("logs", "log-group:"+name+":log-stream:"+in.one("LogStreamName")))
	if op == "CreateLogGroup" && len(in.tags()) > 0 {
		needs = append(needs, Need{Action: "logs:TagResource", Resource: p.arn("logs", "log-group:"+name)})
	}
	return needs
}

func parameterNeeds(p place, op string, in input) []Need {
	names := in.all("Names")
	if n := in.one("Name", "Path", "ResourceId"); n != "" {
		names = append(names, n)
	}
	var out []string
	for _, n := range names {
		if !isARN(n) {
			n = p.arn("ssm", "parameter/"+strings.Trim(n, "/"))
		}
		out = append(out, n)
	}
	if op == "DescribeParameters" {
		return nil
	}
	return on(nil, out...)
}

func secretNeeds(p place, op string, in input) []Need {
	id := in.one("SecretId", "Name")
	switch {
	case id == "":
		return nil
	case isARN(id):
		return on(nil, id)
	case op == "CreateSecret":
		r := p.arn("secretsmanager", "secret:"+id+"-??????")
		needs := on(map[string][]string{"secretsmanager:name": {id}}, r)
		if len(in.tags()) > 0 {
			needs = append(needs, Need{Action: "secretsmanager:TagResource", Resource: r})
		}
		return needs
	}
	return on(nil, p.arn("secretsmanager", "secret:"+id+"-??????"))
}

func iamNeeds(p place, op string, in input) []Need {
	if strings.HasPrefix(op, "Simulate") || strings.HasPrefix(op, "GetContextKeys") || strings.HasPrefix(op, "List") && in.one("RoleName", "UserName", "PolicyArn", "InstanceProfileName", "GroupName") == "" {
		return on(nil, in.one("PolicySourceArn"))
	}
	name := func(kind string) string {
		n := in.one(kind + "Name")
		if n == "" {
			return ""
		}
		return strings.TrimSuffix(in.one("Path"), "/") + "/" + n
	}
	bound := map[string][]string{}
	if b := in.one("PermissionsBoundary"); b != "" {
		bound["iam:permissionsboundary"] = []string{b}
	}
	switch {
	case op == "CreateServiceLinkedRole":
		return on(map[string][]string{"iam:awsservicename": {in.one("AWSServiceName")}}, p.global("iam", "role/aws-service-role/"+in.one("AWSServiceName")+"/*"))
	case op == "AddRoleToInstanceProfile":
		return append(on(nil, p.global("iam", "instance-profile/"+in.one("InstanceProfileName"))), pass(p, "ec2.amazonaws.com", in.one("RoleName"))...)
	case strings.Contains(op, "InstanceProfile") && in.one("InstanceProfileName") != "":
		return on(nil, p.global("iam", "instance-profile"+name("InstanceProfile")))
	case op == "CreateRole" && len(in.tags()) > 0:
		r := p.global("iam", "role"+name("Role"))
		return []Need{{Resource: r, Context: bound}, {Action: "iam:TagRole", Resource: r}}
	case in.one("RoleName") != "":
		if a := in.one("PolicyArn"); a != "" {
			bound["iam:policyarn"] = []string{a}
		}
		return on(bound, p.global("iam", "role"+name("Role")))
	case in.one("UserName") != "" || strings.HasSuffix(op, "AccessKey") || op == "GetUser":
		if in.one("UserName") == "" {
			return on(bound, p.global("iam", "user/*"))
		}
		return on(bound, p.global("iam", "user"+name("User")))
	case in.one("PolicyArn") != "":
		return on(nil, in.one("PolicyArn"))
	case in.one("PolicyName") != "":
		return on(nil, p.global("iam", "policy"+name("Policy")))
	}
	return nil
}

func stsNeeds(_ place, op string, in input) []Need {
	switch op {
	case "AssumeRole", "AssumeRoleWithWebIdentity", "AssumeRoleWithSAML":
		ctx := map[string][]string{"sts:rolesessionname": {in.one("RoleSessionName")}}
		if id := in.one("ExternalId"); id != "" {
			ctx["sts:externalid"] = []string{id}
		}
		return on(ctx, in.one("RoleArn"))
	}
	return nil
}

// ec2Kinds are the members that name a resource, and its kind in ARNs.
var ec2Kinds = []struct{ member, kind string }{
	{"InstanceId", "instance"}, {"InstanceIds", "instance"}, {"LaunchTemplateId", "launch-template"}, {"VpcId", "vpc"}, {"SubnetId", "subnet"},
	{"GroupId", "security-group"}, {"RouteTableId", "route-table"}, {"InternetGatewayId", "internet-gateway"}, {"NetworkInterfaceId", "network-interface"},
	{"VolumeId", "volume"}, {"ImageId", "image"}, {"FleetIds", "fleet"}, {"VpcEndpointIds", "vpc-endpoint"},
}

func ec2Needs(p place, op string, in input) []Need {
	if strings.HasPrefix(op, "Describe") || strings.HasPrefix(op, "Get") {
		return nil
	}
	var needs []Need
	add := func(kind, id string) {
		r := p.arn("ec2", kind+"/"+id)
		if kind == "image" {
			r = "arn:" + p.partition + ":ec2:" + p.region + "::image/" + id
		}
		needs = append(needs, Need{Resource: r})
	}
	if op == "RunInstances" {
		for _, kind := range []string{"instance", "volume", "network-interface"} {
			add(kind, "*")
		}
		profile := in.in("IamInstanceProfile")
		needs = append(needs, pass(p, "ec2.amazonaws.com", strings.Replace(profile.one("Arn"), ":instance-profile/", ":role/", 1), profile.one("Name"))...)
	}
	for _, k := range ec2Kinds {
		for _, id := range append(in.all(k.member), in.one(k.member)) {
			if id != "" {
				add(k.kind, id)
			}
		}
	}
	for _, id := range in.all("SecurityGroupIds") {
		add("security-group", id)
	}
	made := ""
	if rest, ok := strings.CutPrefix(op, "Create"); ok && op != "CreateTags" {
		made = map[string]string{"LaunchTemplate": "launch-template", "SecurityGroup": "security-group", "Vpc": "vpc", "Subnet": "subnet", "RouteTable": "route-table", "InternetGateway": "internet-gateway", "Volume": "volume", "Fleet": "fleet"}[rest]
		if made != "" {
			add(made, "*")
		}
	}
	if op == "RunInstances" {
		made = "instance"
	}
	if made != "" && len(in.tags()) > 0 {
		needs = append(needs, Need{Action: "ec2:CreateTags", Resource: p.arn("ec2", made+"/*"), Context: map[string][]string{"ec2:createaction": {op}}})
	}
	if op == "CreateTags" || op == "DeleteTags" {
		for _, id := range in.all("Resources") {
			kind, _, _ := strings.Cut(id, "-")
			if k, ok := map[string]string{"i": "instance", "lt": "launch-template", "sg": "security-group", "vol": "volume", "eni": "network-interface", "rtb": "route-table", "igw": "internet-gateway", "ami": "image"}[kind]; ok {
				kind = k
			}
			add(kind, id)
		}
	}
	return needs
}

func alarmNeeds(p place, op string, in input) []Need {
	switch op {
	case "PutMetricData":
		return on(map[string][]string{"cloudwatch:namespace": {in.one("Namespace")}}, "*")
	case "PutMetricAlarm", "PutCompositeAlarm", "SetAlarmState":
		r := p.arn("cloudwatch", "alarm:"+in.one("AlarmName"))
		if len(in.tags()) > 0 {
			return []Need{{Resource: r}, {Action: "cloudwatch:TagResource", Resource: r}}
		}
		return on(nil, r)
	case "DeleteAlarms", "DescribeAlarms", "EnableAlarmActions", "DisableAlarmActions":
		var out []string
		for _, n := range in.all("AlarmNames") {
			out = append(out, p.arn("cloudwatch", "alarm:"+n))
		}
		if len(out) == 0 {
			out = []string{p.arn("cloudwatch", "alarm:*")}
		}
		return on(nil, out...)
	case "DescribeAlarmHistory":
		n := in.one("AlarmName")
		if n == "" {
			n = "*"
		}
		return on(nil, p.arn("cloudwatch", "alarm:"+n))
	case "TagResource", "UntagResource", "ListTagsForResource":
		return on(nil, in.one("ResourceARN"))
	}
	return nil
}

func queueNeeds(p place, op string, in input) []Need {
	if n := last(in.one("QueueUrl", "QueueName"), "/"); n != "" && op != "ListQueues" {
		return on(nil, p.arn("sqs", n))
	}
	return nil
}

func topicNeeds(p place, op string, in input) []Need {
	if r := in.one("TopicArn", "TargetArn", "SubscriptionArn", "ResourceArn"); r != "" {
		return on(nil, r)
	}
	if op == "CreateTopic" {
		return on(nil, p.arn("sns", in.one("Name")))
	}
	return nil
}

func eventNeeds(p place, op string, in input) []Need {
	if r := in.one("ResourceARN"); r != "" {
		return on(nil, r)
	}
	name := in.one("Rule")
	if strings.HasSuffix(op, "Rule") {
		name = in.one("Rule", "Name")
	}
	if name == "" {
		return nil
	}
	if bus := last(in.one("EventBusName"), "/"); bus != "" && bus != "default" {
		name = bus + "/" + name
	}
	needs := on(nil, p.arn("events", "rule/"+name))
	needs = append(needs, pass(p, "events.amazonaws.com", in.one("RoleArn"))...)
	for _, t := range in.each("Targets") {
		needs = append(needs, pass(p, "events.amazonaws.com", t.one("RoleArn"))...)
	}
	return needs
}

func discoveryNeeds(p place, op string, in input) []Need {
	switch id := in.one("ServiceId"); {
	case id != "":
		return on(nil, p.arn("servicediscovery", "service/"+last(id, "/")))
	case in.one("ResourceARN") != "":
		return on(nil, in.one("ResourceARN"))
	case strings.HasSuffix(op, "Namespace") && in.one("Id") != "":
		return on(nil, p.arn("servicediscovery", "namespace/"+last(in.one("Id"), "/")))
	case op == "CreateService" && in.one("NamespaceId") != "":
		return on(nil, p.arn("servicediscovery", "namespace/"+last(in.one("NamespaceId"), "/")))
	case in.one("Id") != "" && strings.HasSuffix(op, "Service"):
		return on(nil, p.arn("servicediscovery", "service/"+last(in.one("Id"), "/")))
	}
	return nil
}

func scheduleNeeds(p place, op string, in input) []Need {
	if r := in.one("ResourceArn"); r != "" {
		return on(nil, r)
	}
	name, group := in.one("Name"), in.one("GroupName")
	switch {
	case name == "":
		return nil
	case strings.HasSuffix(op, "ScheduleGroup"):
		return on(nil, p.arn("scheduler", "schedule-group/"+name))
	case group == "":
		group = "default"
	}
	return append(on(nil, p.arn("scheduler", "schedule/"+group+"/"+name)), pass(p, "scheduler.amazonaws.com", in.in("Target").one("RoleArn"))...)
}
