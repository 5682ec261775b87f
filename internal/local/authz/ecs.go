package authz

import "strings"

// ecsNeeds follows
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
func ecsNeeds(p place, op string, in input) []Need {
	name := in.one("Cluster")
	if name == "" {
		name = "default"
	}
	name = last(name, "/")
	cluster := p.arn("ecs", "cluster/"+name)
	inCluster := map[string][]string{"ecs:cluster": {cluster}}
	// full makes ARNs of what may be a name or an ARN.
	full := func(kind string, names ...string) []string {
		for i, n := range names {
			if !isARN(n) {
				names[i] = p.arn("ecs", kind+"/"+name+"/"+n)
			}
		}
		return names
	}
	definition := func(d string) string {
		if d == "" || isARN(d) {
			return d
		}
		if !strings.Contains(d, ":") {
			d += ":*" // the latest: a policy on FAMILY:* is what allows it
		}
		return p.arn("ecs", "task-definition/"+d)
	}
	tagging := func(needs []Need, resource string) []Need {
		if len(in.tags()) > 0 {
			needs = append(needs, Need{Action: "ecs:TagResource", Resource: resource, Context: map[string][]string{"ecs:createaction": {op}, "ecs:cluster": {cluster}}})
		}
		return needs
	}
	overrides := in.in("Overrides")
	switch op {
	case "CreateCluster":
		n := in.one("ClusterName")
		if n == "" {
			n = "default"
		}
		r := p.arn("ecs", "cluster/"+n)
		return tagging(on(nil, r), r)
	case "UpdateCluster", "DeleteCluster", "UpdateClusterSettings", "PutClusterCapacityProviders", "ListContainerInstances", "ListAttributes", "RegisterContainerInstance", "DeregisterContainerInstance":
		return on(nil, cluster)
	case "DescribeClusters":
		var out []string
		for _, c := range in.all("Clusters") {
			out = append(out, p.arn("ecs", "cluster/"+last(c, "/")))
		}
		if len(out) == 0 {
			out = []string{cluster}
		}
		return on(nil, out...)
	case "CreateCapacityProvider":
		r := p.arn("ecs", "capacity-provider/"+in.one("Name"))
		return tagging(on(nil, r), r)
	case "UpdateCapacityProvider", "DeleteCapacityProvider":
		return on(nil, p.arn("ecs", "capacity-provider/"+last(in.one("Name", "CapacityProvider"), "/")))
	case "DescribeCapacityProviders":
		var out []string
		for _, c := range in.all("CapacityProviders") {
			out = append(out, p.arn("ecs", "capacity-provider/"+last(c, "/")))
		}
		return on(nil, out...)
	case "CreateService", "UpdateService":
		r := full("service", in.one("ServiceName", "Service"))[0]
		ctx := map[string][]string{"ecs:cluster": {cluster}}
		if d := definition(in.one("TaskDefinition")); d != "" {
			ctx["ecs:task-definition"] = []string{d}
		}
		needs := on(ctx, r)
		if op == "CreateService" {
			needs = tagging(needs, r)
		}
		for _, b := range in.each("LoadBalancers") {
			needs = append(needs, pass(p, "ecs.amazonaws.com", b.in("AdvancedConfiguration").one("RoleArn"))...)
		}
		for _, v := range in.each("VolumeConfigurations") {
			needs = append(needs, pass(p, "ecs.amazonaws.com", v.in("ManagedEBSVolume").one("RoleArn"))...)
		}
		return needs
	case "DeleteService", "ListServiceDeployments":
		return on(inCluster, full("service", in.one("Service"))...)
	case "DescribeServices":
		return on(inCluster, full("service", in.all("Services")...)...)
	case "DescribeServiceDeployments":
		return on(inCluster, in.all("ServiceDeploymentArns")...)
	case "StopServiceDeployment", "ContinueServiceDeployment":
		return on(inCluster, in.one("ServiceDeploymentArn"))
	case "DescribeServiceRevisions":
		return on(inCluster, in.all("ServiceRevisionArns")...)
	case "DescribeTasks", "GetTaskProtection", "UpdateTaskProtection":
		return on(inCluster, full("task", in.all("Tasks")...)...)
	case "StopTask":
		return on(inCluster, full("task", in.one("Task"))...)
	case "ExecuteCommand":
		return on(inCluster, cluster, full("task", in.one("Task"))[0])
	case "ListTasks":
		if i := in.one("ContainerInstance"); i != "" {
			return on(inCluster, full("container-instance", i)...)
		}
		return on(inCluster, "*")
	case "ListServices":
		return on(inCluster, "*")
	case "DescribeContainerInstances", "UpdateContainerInstancesState":
		return on(inCluster, full("container-instance", in.all("ContainerInstances")...)...)
	case "UpdateContainerAgent":
		return on(inCluster, full("container-instance", in.one("ContainerInstance"))...)
	case "PutAttributes", "DeleteAttributes":
		var out []string
		for _, a := range in.each("Attributes") {
			out = append(out, full("container-instance", a.one("TargetId"))...)
		}
		return on(inCluster, out...)
	case "RegisterTaskDefinition":
		// The revision is not known yet.
		r := p.arn("ecs", "task-definition/"+in.one("Family")+":*")
		return append(tagging(on(nil, r), r), pass(p, "ecs-tasks.amazonaws.com", in.one("TaskRoleArn"), in.one("ExecutionRoleArn"))...)
	case "DeleteTaskDefinitions":
		var out []string
		for _, d := range in.all("TaskDefinitions") {
			out = append(out, definition(d))
		}
		return on(nil, out...)
	case "RunTask", "StartTask":
		needs := tagging(on(inCluster, definition(in.one("TaskDefinition"))), p.arn("ecs", "task/"+name+"/*"))
		return append(needs, pass(p, "ecs-tasks.amazonaws.com", overrides.one("TaskRoleArn"), overrides.one("ExecutionRoleArn"))...)
	case "TagResource", "UntagResource", "ListTagsForResource":
		return on(nil, in.one("ResourceArn"))
	}
	return nil
}
