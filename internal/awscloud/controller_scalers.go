package awscloud

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	aas "github.com/aws/aws-sdk-go-v2/service/applicationautoscaling"
	aastypes "github.com/aws/aws-sdk-go-v2/service/applicationautoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/autoscale"
	"github.com/slipway-ecs/slipway/internal/service"
)

// activitiesFor is how far back changes of size are read.
const activitiesFor = time.Hour

// scalersPort reads what scales beside the controller.
type scalersPort struct {
	*controllerPort
	aas   *aas.Client
	clock interface{ Now() time.Time }
}

// Scaling reads the policies and schedules of the cluster's services and groups, and how sizes changed of late.
func (p *scalersPort) Scaling(ctx context.Context, cluster string) (*autoscale.Scaling, error) {
	f, err := p.fleet(ctx, cluster)
	if err != nil {
		return nil, err
	}
	x := &autoscale.Scaling{Groups: map[string]autoscale.GroupScaling{}}
	if err := p.services(ctx, cluster, f, x); err != nil {
		return nil, fmt.Errorf("reading the scaling of services: %w", err)
	}
	for k := range f.groups {
		name := aws.ToString(f.groups[k].AutoScalingGroupName)
		g := autoscale.GroupScaling{NewProtected: aws.ToBool(f.groups[k].NewInstancesProtectedFromScaleIn), Provider: f.providers[aws.ToString(f.groups[k].AutoScalingGroupARN)]}
		if err := p.group(ctx, name, &g); err != nil {
			return nil, fmt.Errorf("reading the scaling of group %s: %w", name, err)
		}
		x.Groups[name] = g
	}
	return x, nil
}

// services asks once for all of the account's services: the calls do not grow with the cluster's.
//
// Source: https://docs.aws.amazon.com/autoscaling/application/APIReference/API_DescribeScalableTargets.html
func (p *scalersPort) services(ctx context.Context, cluster string, f *fleet, x *autoscale.Scaling) error {
	of := map[string]*autoscale.Scaled{}
	mine := func(id *string) *autoscale.Scaled {
		rest, ok := strings.CutPrefix(aws.ToString(id), "service/"+lastPart(cluster)+"/")
		if !ok {
			return nil
		}
		return of[rest]
	}
	targets := aas.NewDescribeScalableTargetsPaginator(p.aas, &aas.DescribeScalableTargetsInput{ServiceNamespace: aastypes.ServiceNamespaceEcs, ScalableDimension: aastypes.ScalableDimensionECSServiceDesiredCount})
	var order []string
	for targets.HasMorePages() {
		out, err := targets.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, t := range out.ScalableTargets {
			name, ok := strings.CutPrefix(aws.ToString(t.ResourceId), "service/"+lastPart(cluster)+"/")
			svc, known := f.byName[name]
			if !ok || !known || !onInstances(svc) {
				continue
			}
			of[name] = &autoscale.Scaled{Service: name, Desired: int(svc.DesiredCount), Min: int(aws.ToInt32(t.MinCapacity)), Max: int(aws.ToInt32(t.MaxCapacity)),
				Need: f.need(aws.ToString(svc.TaskDefinition), "service:"+name, &svc)}
			order = append(order, name)
		}
	}
	if len(of) == 0 {
		return nil
	}
	policies := aas.NewDescribeScalingPoliciesPaginator(p.aas, &aas.DescribeScalingPoliciesInput{ServiceNamespace: aastypes.ServiceNamespaceEcs})
	for policies.HasMorePages() {
		out, err := policies.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, pol := range out.ScalingPolicies {
			if v, c := mine(pol.ResourceId), pol.TargetTrackingScalingPolicyConfiguration; v != nil && c != nil {
				// Where none is said it is 300 s for services of ECS.
				if c.ScaleInCooldown == nil {
					c.ScaleInCooldown = aws.Int32(300)
				}
				t := trackOf(targetFrom(*c))
				t.PolicyName = aws.ToString(pol.PolicyName)
				t.Slipway = strings.HasPrefix(t.PolicyName, policyPrefix)
				v.Tracks = append(v.Tracks, t)
			}
			if v, c := mine(pol.ResourceId), pol.StepScalingPolicyConfiguration; v != nil && c != nil {
				v.Steps = append(v.Steps, steppedOf(aws.ToString(pol.PolicyName), c))
			}
		}
	}
	schedules := aas.NewDescribeScheduledActionsPaginator(p.aas, &aas.DescribeScheduledActionsInput{ServiceNamespace: aastypes.ServiceNamespaceEcs})
	for schedules.HasMorePages() {
		out, err := schedules.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, a := range out.ScheduledActions {
			if v, to := mine(a.ResourceId), a.ScalableTargetAction; v != nil && to != nil {
				v.Schedules = append(v.Schedules, autoscale.Bounds{Name: strings.TrimPrefix(aws.ToString(a.ScheduledActionName), policyPrefix), Min: orNone(to.MinCapacity), Max: orNone(to.MaxCapacity)})
			}
		}
	}
	for _, name := range order {
		if err := p.turns(ctx, cluster, of[name]); err != nil {
			return err
		}
		x.Services = append(x.Services, *of[name])
	}
	return nil
}

func orNone(n *int32) int {
	if n == nil {
		return -1
	}
	return int(*n)
}

func onInstances(s types.Service) bool {
	return s.LaunchType != types.LaunchTypeFargate && s.SchedulingStrategy != types.SchedulingStrategyDaemon && !fargateStrategy(s)
}

// steppedOf is a step-scaling policy in the autoscaler's terms.
func steppedOf(name string, c *aastypes.StepScalingPolicyConfiguration) autoscale.Stepped {
	s := autoscale.Stepped{PolicyName: name, Exact: c.AdjustmentType == aastypes.AdjustmentTypeExactCapacity, Cooldown: 300 * time.Second} // where none is said
	if c.Cooldown != nil {
		s.Cooldown = time.Duration(*c.Cooldown) * time.Second
	}
	for _, a := range c.StepAdjustments {
		by := int(aws.ToInt32(a.ScalingAdjustment))
		if s.Exact {
			s.Most = max(s.Most, by)
		} else if by < 0 {
			s.In = true
		}
	}
	return s
}

// trackOf is a policy in the autoscaler's terms.
func trackOf(t service.ScalingTarget) autoscale.Track {
	return autoscale.Track{Metric: t.Metric, Target: t.Target, ScaleIn: t.ScaleInCooldown, NeverIn: t.DisableScaleIn}
}

// turns reads how a service was scaled in the last hour: the activities tell the sizes, newest first.
//
// Source: https://docs.aws.amazon.com/autoscaling/application/APIReference/API_DescribeScalingActivities.html
func (p *scalersPort) turns(ctx context.Context, cluster string, v *autoscale.Scaled) error {
	id := "service/" + lastPart(cluster) + "/" + v.Service
	out, err := p.aas.DescribeScalingActivities(ctx, &aas.DescribeScalingActivitiesInput{ServiceNamespace: aastypes.ServiceNamespaceEcs, ResourceId: &id,
		ScalableDimension: aastypes.ScalableDimensionECSServiceDesiredCount, MaxResults: aws.Int32(50)})
	if err != nil {
		return err
	}
	last, known := 0, false
	for k := len(out.ScalingActivities) - 1; k >= 0; k-- {
		a := &out.ScalingActivities[k]
		_, size, ok := strings.Cut(strings.TrimSuffix(aws.ToString(a.Description), "."), "Setting desired count to ")
		n, err := strconv.Atoi(size)
		if !ok || err != nil || a.StatusCode == aastypes.ScalingActivityStatusCodeFailed {
			continue
		}
		if known && n != last && p.clock.Now().Sub(aws.ToTime(a.StartTime)) <= activitiesFor {
			v.Turns = append(v.Turns, autoscale.Turn{At: aws.ToTime(a.StartTime), Up: n > last})
		}
		last, known = n, true
	}
	return nil
}

func (p *scalersPort) group(ctx context.Context, name string, g *autoscale.GroupScaling) error {
	policies := autoscaling.NewDescribePoliciesPaginator(p.as, &autoscaling.DescribePoliciesInput{AutoScalingGroupName: &name})
	for policies.HasMorePages() {
		out, err := policies.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, pol := range out.ScalingPolicies {
			// Managed scaling keeps a policy of its own on the group.
			if n := aws.ToString(pol.PolicyName); !strings.HasPrefix(n, "ECSManagedAutoScalingPolicy") && (pol.Enabled == nil || *pol.Enabled) {
				g.Policies = append(g.Policies, n)
			}
		}
	}
	schedules := autoscaling.NewDescribeScheduledActionsPaginator(p.as, &autoscaling.DescribeScheduledActionsInput{AutoScalingGroupName: &name})
	for schedules.HasMorePages() {
		out, err := schedules.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, a := range out.ScheduledUpdateGroupActions {
			g.Schedules = append(g.Schedules, aws.ToString(a.ScheduledActionName))
		}
	}
	out, err := p.as.DescribeScalingActivities(ctx, &autoscaling.DescribeScalingActivitiesInput{AutoScalingGroupName: &name, MaxRecords: aws.Int32(100)})
	if err != nil {
		return err
	}
	for _, a := range out.Activities {
		// What is replaced, by a rotation or for its health, makes the group neither larger nor smaller: its end
		// says nothing of the capacity.
		up, down := strings.Contains(aws.ToString(a.Cause), "increasing the capacity"), strings.Contains(aws.ToString(a.Cause), "shrinking the capacity")
		if p.clock.Now().Sub(aws.ToTime(a.StartTime)) <= activitiesFor && (up || down) {
			g.Turns = append(g.Turns, autoscale.Turn{At: aws.ToTime(a.StartTime), Up: up})
		}
	}
	return nil
}

// Planned is a service of slipway.yaml as warnings see it, under its name in ECS; nil without scaling, or on Fargate.
func Planned(name string, s *service.Spec) *autoscale.Scaled {
	if s.Scaling == nil || s.LaunchType == "FARGATE" || slices.ContainsFunc(s.CapacityProvider, func(c service.CapacityProviderStrategy) bool { return strings.HasPrefix(c.Name, "FARGATE") }) {
		return nil
	}
	v := &autoscale.Scaled{Service: name, Desired: s.Count, Min: s.Scaling.Min, Max: s.Scaling.Max}
	v.Need.Group = "service:" + name
	for _, t := range s.Scaling.Targets {
		x := trackOf(t)
		x.Slipway, x.PolicyName = true, policyName(t)
		v.Tracks = append(v.Tracks, x)
	}
	for _, b := range s.Scaling.Schedules {
		v.Schedules = append(v.Schedules, autoscale.Bounds{Name: b.Name, Min: b.Min, Max: b.Max})
	}
	for _, c := range s.Containers {
		v.Need.CPU += c.CPU
		if c.MemoryReservation > 0 {
			v.Need.Memory += c.MemoryReservation
		} else {
			v.Need.Memory += c.Memory
		}
	}
	if s.CPU > 0 {
		v.Need.CPU = s.CPU
	}
	if s.Memory > 0 {
		v.Need.Memory = s.Memory
	}
	if s.NetworkMode == "awsvpc" {
		v.Need.ENI = 1
	}
	return v
}
