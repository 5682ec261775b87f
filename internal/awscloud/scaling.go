package awscloud

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	aas "github.com/aws/aws-sdk-go-v2/service/applicationautoscaling"
	"github.com/aws/aws-sdk-go-v2/service/applicationautoscaling/types"

	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/service"
)

// policyPrefix marks the policies and schedules Slipway keeps; others are left alone.
const policyPrefix = "slipway-"

func scalable(ref deploy.Ref) string { return "service/" + lastPart(ref.Cluster) + "/" + ref.Service }

// https://docs.aws.amazon.com/autoscaling/application/APIReference/API_DescribeScalableTargets.html
func (p *scalingPort) ServiceScaling(ctx context.Context, ref deploy.Ref) (deploy.ServiceScaling, error) {
	id := scalable(ref)
	targets, err := p.api.DescribeScalableTargets(ctx, &aas.DescribeScalableTargetsInput{ServiceNamespace: types.ServiceNamespaceEcs,
		ResourceIds: []string{id}, ScalableDimension: types.ScalableDimensionECSServiceDesiredCount})
	if err != nil {
		return deploy.ServiceScaling{}, err
	}
	if len(targets.ScalableTargets) == 0 {
		return deploy.ServiceScaling{}, deploy.ErrNotFound
	}
	t := targets.ScalableTargets[0]
	out := deploy.ServiceScaling{Scaling: service.Scaling{Min: int(aws.ToInt32(t.MinCapacity)), Max: int(aws.ToInt32(t.MaxCapacity))}}
	policies, err := p.policies(ctx, id)
	if err != nil {
		return out, err
	}
	for _, pol := range policies {
		if c := pol.TargetTrackingScalingPolicyConfiguration; c != nil {
			out.Targets = append(out.Targets, targetFrom(*c))
		}
	}
	actions, err := p.api.DescribeScheduledActions(ctx, &aas.DescribeScheduledActionsInput{ServiceNamespace: types.ServiceNamespaceEcs, ResourceId: &id})
	if err != nil {
		return out, err
	}
	for _, a := range actions.ScheduledActions {
		s := service.ScalingSchedule{Name: strings.TrimPrefix(aws.ToString(a.ScheduledActionName), policyPrefix), Expression: aws.ToString(a.Schedule), Timezone: aws.ToString(a.Timezone)}
		if a.ScalableTargetAction != nil {
			s.Min, s.Max = int(aws.ToInt32(a.ScalableTargetAction.MinCapacity)), int(aws.ToInt32(a.ScalableTargetAction.MaxCapacity))
		}
		out.Schedules = append(out.Schedules, s)
	}
	return out, nil
}

func (p *scalingPort) policies(ctx context.Context, id string) ([]types.ScalingPolicy, error) {
	out, err := p.api.DescribeScalingPolicies(ctx, &aas.DescribeScalingPoliciesInput{ServiceNamespace: types.ServiceNamespaceEcs, ResourceId: &id})
	if err != nil {
		return nil, err
	}
	var mine []types.ScalingPolicy
	for _, pol := range out.ScalingPolicies {
		if strings.HasPrefix(aws.ToString(pol.PolicyName), policyPrefix) {
			mine = append(mine, pol)
		}
	}
	return mine, nil
}

var predefined = map[string]types.MetricType{
	"cpu": types.MetricTypeECSServiceAverageCPUUtilization, "memory": types.MetricTypeECSServiceAverageMemoryUtilization, "requests": types.MetricTypeALBRequestCountPerTarget,
}

func targetFrom(c types.TargetTrackingScalingPolicyConfiguration) service.ScalingTarget {
	t := service.ScalingTarget{Target: aws.ToFloat64(c.TargetValue), ScaleOutCooldown: seconds(c.ScaleOutCooldown), ScaleInCooldown: seconds(c.ScaleInCooldown), DisableScaleIn: aws.ToBool(c.DisableScaleIn)}
	if m := c.PredefinedMetricSpecification; m != nil {
		for name, typ := range predefined {
			if typ == m.PredefinedMetricType {
				t.Metric = name
			}
		}
	}
	if m := c.CustomizedMetricSpecification; m != nil {
		t.Metric, t.Namespace = aws.ToString(m.MetricName), aws.ToString(m.Namespace)
		for _, q := range m.Metrics {
			if q.MetricStat == nil || q.MetricStat.Metric == nil {
				continue
			}
			for _, d := range q.MetricStat.Metric.Dimensions {
				if aws.ToString(d.Name) == "QueueName" {
					t.Metric, t.Queue = "queue", aws.ToString(d.Value)
				}
			}
		}
	}
	return t
}

func policyName(t service.ScalingTarget) string {
	name := policyPrefix + t.Metric
	if t.Queue != "" {
		name += "-" + lastPart(t.Queue)
	}
	return name
}

// https://docs.aws.amazon.com/autoscaling/application/APIReference/API_PutScalingPolicy.html
func (p *scalingPort) PutServiceScaling(ctx context.Context, ref deploy.Ref, w deploy.ServiceScaling) error {
	id := scalable(ref)
	if _, err := p.api.RegisterScalableTarget(ctx, &aas.RegisterScalableTargetInput{ServiceNamespace: types.ServiceNamespaceEcs, ResourceId: &id,
		ScalableDimension: types.ScalableDimensionECSServiceDesiredCount, MinCapacity: aws.Int32(int32(w.Min)), MaxCapacity: aws.Int32(int32(w.Max))}); err != nil {
		return fmt.Errorf("registering the scalable target: %w", err)
	}
	var names []string
	for _, t := range w.Targets {
		name := policyName(t)
		names = append(names, name)
		c, err := tracking(ref, t, w.Label)
		if err != nil {
			return err
		}
		if _, err := p.api.PutScalingPolicy(ctx, &aas.PutScalingPolicyInput{ServiceNamespace: types.ServiceNamespaceEcs, ResourceId: &id, PolicyName: &name,
			ScalableDimension: types.ScalableDimensionECSServiceDesiredCount, PolicyType: types.PolicyTypeTargetTrackingScaling, TargetTrackingScalingPolicyConfiguration: c}); err != nil {
			return fmt.Errorf("putting scaling policy %s: %w", name, err)
		}
	}
	have, err := p.policies(ctx, id)
	if err != nil {
		return fmt.Errorf("reading scaling policies: %w", err)
	}
	for _, pol := range have {
		if !slices.Contains(names, aws.ToString(pol.PolicyName)) {
			if _, err := p.api.DeleteScalingPolicy(ctx, &aas.DeleteScalingPolicyInput{ServiceNamespace: types.ServiceNamespaceEcs, ResourceId: &id, PolicyName: pol.PolicyName,
				ScalableDimension: types.ScalableDimensionECSServiceDesiredCount}); err != nil && !is(err, "ObjectNotFoundException") {
				return fmt.Errorf("deleting scaling policy %s: %w", aws.ToString(pol.PolicyName), err)
			}
		}
	}
	return p.putSchedules(ctx, id, w.Schedules)
}

func (p *scalingPort) putSchedules(ctx context.Context, id string, schedules []service.ScalingSchedule) error {
	var names []string
	for _, s := range schedules {
		name := policyPrefix + s.Name
		names = append(names, name)
		if _, err := p.api.PutScheduledAction(ctx, &aas.PutScheduledActionInput{ServiceNamespace: types.ServiceNamespaceEcs, ResourceId: &id, ScheduledActionName: &name,
			ScalableDimension: types.ScalableDimensionECSServiceDesiredCount, Schedule: aws.String(s.Expression), Timezone: text(s.Timezone),
			ScalableTargetAction: &types.ScalableTargetAction{MinCapacity: aws.Int32(int32(s.Min)), MaxCapacity: aws.Int32(int32(s.Max))}}); err != nil {
			return fmt.Errorf("putting scaling schedule %s: %w", name, err)
		}
	}
	out, err := p.api.DescribeScheduledActions(ctx, &aas.DescribeScheduledActionsInput{ServiceNamespace: types.ServiceNamespaceEcs, ResourceId: &id})
	if err != nil {
		return fmt.Errorf("reading scaling schedules: %w", err)
	}
	for _, a := range out.ScheduledActions {
		if name := aws.ToString(a.ScheduledActionName); strings.HasPrefix(name, policyPrefix) && !slices.Contains(names, name) {
			if _, err := p.api.DeleteScheduledAction(ctx, &aas.DeleteScheduledActionInput{ServiceNamespace: types.ServiceNamespaceEcs, ResourceId: &id, ScheduledActionName: &name,
				ScalableDimension: types.ScalableDimensionECSServiceDesiredCount}); err != nil && !is(err, "ObjectNotFoundException") {
				return fmt.Errorf("deleting scaling schedule %s: %w", name, err)
			}
		}
	}
	return nil
}

func tracking(ref deploy.Ref, t service.ScalingTarget, label string) (*types.TargetTrackingScalingPolicyConfiguration, error) {
	c := &types.TargetTrackingScalingPolicyConfiguration{TargetValue: aws.Float64(t.Target), ScaleOutCooldown: secs(t.ScaleOutCooldown), ScaleInCooldown: secs(t.ScaleInCooldown), DisableScaleIn: flag(t.DisableScaleIn)}
	switch typ, ok := predefined[t.Metric]; {
	case t.Metric == "queue" || t.Queue != "":
		c.CustomizedMetricSpecification = backlogPerTask(ref, lastPart(t.Queue))
	case ok:
		c.PredefinedMetricSpecification = &types.PredefinedMetricSpecification{PredefinedMetricType: typ}
		if t.Metric == "requests" {
			if label == "" {
				return nil, fmt.Errorf("scaling on requests needs a route through an Application Load Balancer")
			}
			c.PredefinedMetricSpecification.ResourceLabel = &label
		}
	default:
		c.CustomizedMetricSpecification = &types.CustomizedMetricSpecification{MetricName: aws.String(t.Metric), Namespace: aws.String(t.Namespace), Statistic: types.MetricStatisticAverage,
			Dimensions: []types.MetricDimension{{Name: aws.String("ClusterName"), Value: aws.String(lastPart(ref.Cluster))}, {Name: aws.String("ServiceName"), Value: aws.String(ref.Service)}}}
	}
	return c, nil
}

// backlogPerTask is messages waiting by tasks running, so that the target is how many messages one
// task may have before it.
// https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-target-tracking-metric-math.html
func backlogPerTask(ref deploy.Ref, queue string) *types.CustomizedMetricSpecification {
	stat := func(id, namespace, metric, statistic string, dimensions ...string) types.TargetTrackingMetricDataQuery {
		m := &types.TargetTrackingMetric{MetricName: &metric, Namespace: &namespace}
		for i := 0; i+1 < len(dimensions); i += 2 {
			m.Dimensions = append(m.Dimensions, types.TargetTrackingMetricDimension{Name: &dimensions[i], Value: &dimensions[i+1]})
		}
		return types.TargetTrackingMetricDataQuery{Id: &id, MetricStat: &types.TargetTrackingMetricStat{Metric: m, Stat: &statistic}, ReturnData: aws.Bool(false)}
	}
	return &types.CustomizedMetricSpecification{Metrics: []types.TargetTrackingMetricDataQuery{
		stat("messages", "AWS/SQS", "ApproximateNumberOfMessagesVisible", "Sum", "QueueName", queue),
		stat("tasks", "ECS/ContainerInsights", "RunningTaskCount", "Average", "ClusterName", lastPart(ref.Cluster), "ServiceName", ref.Service),
		{Id: aws.String("backlog"), Expression: aws.String("messages / IF(tasks > 0, tasks, 1)"), Label: aws.String("messages waiting for each task"), ReturnData: aws.Bool(true)},
	}}
}

// DeleteServiceScaling takes the target away, and with it its policies and schedules.
func (p *scalingPort) DeleteServiceScaling(ctx context.Context, ref deploy.Ref) error {
	_, err := p.api.DeregisterScalableTarget(ctx, &aas.DeregisterScalableTargetInput{ServiceNamespace: types.ServiceNamespaceEcs, ResourceId: aws.String(scalable(ref)), ScalableDimension: types.ScalableDimensionECSServiceDesiredCount})
	if is(err, "ObjectNotFoundException") {
		return nil
	}
	return err
}
