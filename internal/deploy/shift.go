package deploy

import (
	"math"
	"slices"
	"time"

	"github.com/slipway-ecs/slipway/internal/service"
)

// Blue/green, canary and linear deployments: two target groups behind one listener rule, whose weights
// ECS moves with a role of its own.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-blue-green.html

const resTrafficRole = "traffic role"

func (r Ref) trafficRoleName() string { return r.roleName("traffic") }

// shifts says that the traffic is moved by ECS, not by tasks coming and going.
func shifts(d service.Deployment) bool { return d.Strategy != "" && d.Strategy != "ROLLING" }

// checkShift says why a service cannot have its traffic moved.
func checkShift(spec service.Spec) error {
	switch s := spec.Deployment.Strategy; {
	case !shifts(spec.Deployment):
		return nil
	case s != "BLUE_GREEN" && s != "CANARY" && s != "LINEAR":
		return refuse("not supported: deployment strategy %s; use ROLLING, BLUE_GREEN, CANARY or LINEAR", s)
	case spec.Kind == service.KindDaemon:
		return refuse("a daemon is deployed ROLLING, not %s", s)
	case spec.Route != nil && !slices.Contains([]string{"", "HTTP", "HTTPS", "GRPC"}, spec.Route.Protocol):
		return refuse("not supported: deployment strategy %s with a %s route; use ROLLING", s, spec.Route.Protocol)
	case spec.Route == nil && s != "BLUE_GREEN":
		return refuse("deployment strategy %s moves traffic step by step, but the service has no route", s)
	}
	if sc := spec.Scaling; sc != nil && slices.ContainsFunc(sc.Targets, func(t service.ScalingTarget) bool { return t.Metric == "requests" }) {
		return refuse("not supported: scaling on requests with deployment strategy %s, whose target group changes; scale on cpu", spec.Deployment.Strategy)
	}
	for _, d := range []time.Duration{spec.Deployment.BakeTime, spec.Deployment.StepBake} {
		if d%time.Minute != 0 || d < 0 || d > 24*time.Hour {
			return refuse("a bake time is whole minutes, at most 1440; %s is not", d)
		}
	}
	return nil
}

// alternate is the second target group: it differs from the first in its name.
func alternate(tg TargetGroup, ref Ref) *TargetGroup {
	tg.Name = ref.targetGroupName(tg.VPC, tg.Protocol, tg.ProtocolVersion, tg.TargetType, "alternate")
	return &tg
}

// trafficRole lets ECS move a listener rule's weights and targets, as AWS's own policy
// AmazonECSInfrastructureRolePolicyForLoadBalancers does.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/AmazonECSInfrastructureRolePolicyForLoadBalancers.html
func trafficRole(in Infra, ref Ref, tags map[string]string) *Role {
	name := ref.trafficRoleName()
	trust := policyDocument{Statement: []policyStatement{{Effect: "Allow", Principal: map[string]string{"Service": "ecs.amazonaws.com"}, Action: []string{"sts:AssumeRole"}}}}
	policy := policyDocument{Statement: []policyStatement{{Effect: "Allow", Resource: []string{"*"}, Action: []string{
		"elasticloadbalancing:DescribeListeners", "elasticloadbalancing:DescribeRules", "elasticloadbalancing:DescribeTargetGroups", "elasticloadbalancing:DescribeTargetHealth"}},
		{Effect: "Allow", Resource: []string{in.arn("elasticloadbalancing", "listener-rule/*"), in.arn("elasticloadbalancing", "listener/*"), in.arn("elasticloadbalancing", "targetgroup/*")}, Action: []string{
			"elasticloadbalancing:ModifyListener", "elasticloadbalancing:ModifyRule", "elasticloadbalancing:RegisterTargets", "elasticloadbalancing:DeregisterTargets"}}}}
	return &Role{Name: name, ARN: in.arn("iam", "role/"+name), Trust: trust.String(), Policy: policy.String(), Tags: tags}
}

// shiftTime is how long the traffic takes to move and the old version stays.
func shiftTime(d service.Deployment) time.Duration {
	switch d.Strategy {
	case "LINEAR":
		return d.BakeTime + time.Duration(math.Ceil(100/max(d.StepPercent, 1)))*d.StepBake
	case "CANARY":
		return d.BakeTime + d.StepBake
	case "BLUE_GREEN":
		return d.BakeTime
	}
	return 0
}

// pair says whether a rule forwards to the two target groups of the service, whichever has the traffic.
func (d desired) pair(r Rule) bool {
	if d.alternate == nil || r.Standby == "" {
		return false
	}
	arns := []string{d.targetGroup.ARN, d.alternate.ARN}
	return slices.Contains(arns, r.TargetGroup) && slices.Contains(arns, r.Standby)
}

// behind says whether a target group is one of the service's two.
func (s Service) behind(group string) bool {
	return slices.ContainsFunc(s.LoadBalancers, func(lb LoadBalancer) bool { return group != "" && (lb.TargetGroup == group || lb.Alternate == group) })
}

func (d desired) groups() []*TargetGroup {
	var out []*TargetGroup
	for _, tg := range []*TargetGroup{d.targetGroup, d.alternate} {
		if tg != nil {
			out = append(out, tg)
		}
	}
	return out
}
