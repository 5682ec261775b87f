package aas

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/schedule"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/aasapi"
	"github.com/slipway-ecs/slipway/internal/local/wire/cloudwatchapi"
	"github.com/slipway-ecs/slipway/internal/scaling"
)

func (s *Service) putPolicy(_ context.Context, in *aasapi.PutScalingPolicyInput) (*aasapi.PutScalingPolicyOutput, error) {
	if err := checkKind(in.ServiceNamespace, in.ScalableDimension); err != nil {
		return nil, err
	}
	id, name := wire.Value(in.ResourceId), wire.Value(in.PolicyName)
	kind := cmp.Or(wire.Value(in.PolicyType), "StepScaling")
	switch {
	case kind == "TargetTrackingScaling" && in.TargetTrackingScalingPolicyConfiguration == nil, kind == "StepScaling" && in.StepScalingPolicyConfiguration == nil:
		return nil, wire.Errorf("ValidationException", "The configuration of the policy type %s is missing", kind)
	case kind != "TargetTrackingScaling" && kind != "StepScaling":
		return nil, wire.Errorf("ValidationException", "not supported: the policy type %s", kind)
	}
	out := &aasapi.PutScalingPolicyOutput{Alarms: []aasapi.Alarm{}}
	return out, s.db.Update(func(tx *state.Tx) error {
		if _, ok := s.targets.Get(tx, id); !ok {
			return noTarget(id)
		}
		p := Policy{API: aasapi.ScalingPolicy{PolicyARN: wire.Ptr("arn:aws:autoscaling:" + s.region + ":" + s.account + ":scalingPolicy:" + newID() + ":resource/ecs/" + id + ":policyName/" + name), PolicyName: &name,
			ServiceNamespace: wire.Ptr("ecs"), ResourceId: &id, ScalableDimension: wire.Ptr("ecs:service:DesiredCount"), CreationTime: wire.Timestamp(s.clock.Now()), Alarms: []aasapi.Alarm{}}}
		if old, ok := s.policies.Get(tx, policyKey(id, name)); ok {
			p = *old
		}
		p.API.PolicyType = &kind
		p.API.TargetTrackingScalingPolicyConfiguration, p.API.StepScalingPolicyConfiguration = in.TargetTrackingScalingPolicyConfiguration, in.StepScalingPolicyConfiguration
		if kind == "TargetTrackingScaling" {
			if err := s.makeAlarms(tx, &p); err != nil {
				return err
			}
		}
		s.policies.Put(tx, policyKey(id, name), &p)
		out.PolicyARN, out.Alarms = p.API.PolicyARN, p.API.Alarms
		return nil
	})
}

// metric is what a target-tracking policy follows.
type metric struct {
	namespace, name, stat string
	dims                  []cloudwatchapi.Dimension
}

func dim(k, v string) cloudwatchapi.Dimension {
	return cloudwatchapi.Dimension{Name: wire.Ptr(k), Value: wire.Ptr(v)}
}

func tracked(p *Policy) (metric, error) {
	c := p.API.TargetTrackingScalingPolicyConfiguration
	key, _ := serviceKey(wire.Value(p.API.ResourceId))
	cluster, service, _ := strings.Cut(key, "/")
	if m := c.CustomizedMetricSpecification; m != nil {
		if len(m.Metrics) > 0 {
			return metric{}, wire.Errorf("ValidationException", "not supported: metric math in a customized metric")
		}
		out := metric{namespace: wire.Value(m.Namespace), name: wire.Value(m.MetricName), stat: wire.Value(m.Statistic)}
		for _, d := range m.Dimensions {
			out.dims = append(out.dims, dim(wire.Value(d.Name), wire.Value(d.Value)))
		}
		return out, nil
	}
	if c.PredefinedMetricSpecification == nil {
		return metric{}, wire.Errorf("ValidationException", "Either a predefined or a customized metric specification is required")
	}
	ecsDims := []cloudwatchapi.Dimension{dim("ClusterName", cluster), dim("ServiceName", service)}
	switch t := wire.Value(c.PredefinedMetricSpecification.PredefinedMetricType); t {
	case "ECSServiceAverageCPUUtilization":
		return metric{"AWS/ECS", "CPUUtilization", "Average", ecsDims}, nil
	case "ECSServiceAverageMemoryUtilization":
		return metric{"AWS/ECS", "MemoryUtilization", "Average", ecsDims}, nil
	case "ALBRequestCountPerTarget":
		label := wire.Value(c.PredefinedMetricSpecification.ResourceLabel)
		lb, tg, ok := strings.Cut(label, "/targetgroup/")
		if !ok {
			return metric{}, wire.Errorf("ValidationException", "The resource label %q must be app/<load balancer>/<id>/targetgroup/<target group>/<id>", label)
		}
		return metric{"AWS/ApplicationELB", "RequestCountPerTarget", "Sum", []cloudwatchapi.Dimension{dim("LoadBalancer", lb), dim("TargetGroup", "targetgroup/"+tg)}}, nil
	default:
		return metric{}, wire.Errorf("ValidationException", "not supported: the predefined metric %s", t)
	}
}

// makeAlarms gives a target-tracking policy the two alarms that AWS gives it.
func (s *Service) makeAlarms(tx *state.Tx, p *Policy) error {
	m, err := tracked(p)
	if err != nil {
		return err
	}
	target := wire.Value(p.API.TargetTrackingScalingPolicyConfiguration.TargetValue)
	if target <= 0 {
		return wire.Errorf("ValidationException", "The target value must be positive")
	}
	if len(p.API.Alarms) == 0 {
		for _, kind := range []string{"AlarmHigh", "AlarmLow"} {
			n := "TargetTracking-" + wire.Value(p.API.ResourceId) + "-" + kind + "-" + newID()
			p.API.Alarms = append(p.API.Alarms, aasapi.Alarm{AlarmName: &n, AlarmARN: wire.Ptr("arn:aws:cloudwatch:" + s.region + ":" + s.account + ":alarm:" + n)})
		}
	}
	for i, a := range p.API.Alarms {
		in := &cloudwatchapi.PutMetricAlarmInput{AlarmName: a.AlarmName, Namespace: &m.namespace, MetricName: &m.name, Dimensions: m.dims, Statistic: &m.stat, Period: wire.Ptr[int32](60),
			AlarmActions: []string{*p.API.PolicyARN}, AlarmDescription: wire.Ptr("DO NOT EDIT OR DELETE. For TargetTrackingScaling policy " + *p.API.PolicyARN + ".")}
		if i == 0 {
			in.ComparisonOperator, in.Threshold, in.EvaluationPeriods = wire.Ptr("GreaterThanThreshold"), &target, wire.Ptr[int32](scaling.HighPeriods)
		} else {
			in.ComparisonOperator, in.Threshold, in.EvaluationPeriods = wire.Ptr("LessThanThreshold"), wire.Ptr(target*scaling.LowShare), wire.Ptr[int32](scaling.LowPeriods)
		}
		if err := s.cw.PutAlarmIn(tx, in); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) dropPolicy(tx *state.Tx, key string) bool {
	p, ok := s.policies.Get(tx, key)
	if !ok {
		return false
	}
	for _, a := range p.API.Alarms {
		if wire.Value(p.API.PolicyType) == "TargetTrackingScaling" {
			s.cw.DeleteAlarmIn(tx, wire.Value(a.AlarmName))
		}
	}
	return s.policies.Delete(tx, key)
}

func (s *Service) deletePolicy(_ context.Context, in *aasapi.DeleteScalingPolicyInput) (*aasapi.DeleteScalingPolicyOutput, error) {
	return &aasapi.DeleteScalingPolicyOutput{}, s.db.Update(func(tx *state.Tx) error {
		if !s.dropPolicy(tx, policyKey(wire.Value(in.ResourceId), wire.Value(in.PolicyName))) {
			return wire.Errorf("ObjectNotFoundException", "No scaling policy found for service namespace: ecs, resource ID: %s, scalable dimension: ecs:service:DesiredCount: %s", wire.Value(in.ResourceId), wire.Value(in.PolicyName))
		}
		return nil
	})
}

func (s *Service) describePolicies(_ context.Context, in *aasapi.DescribeScalingPoliciesInput) (*aasapi.DescribeScalingPoliciesOutput, error) {
	out := &aasapi.DescribeScalingPoliciesOutput{ScalingPolicies: []aasapi.ScalingPolicy{}}
	limit := int(cmp.Or(wire.Value(in.MaxResults), 50))
	return out, s.db.View(func(tx *state.Tx) error {
		for key, p := range s.policies.From(tx, wire.Value(in.NextToken)) {
			id, name := splitKey(key)
			if in.ResourceId != nil && *in.ResourceId != id || len(in.PolicyNames) > 0 && !slices.Contains(in.PolicyNames, name) {
				continue
			}
			if len(out.ScalingPolicies) == limit {
				out.NextToken = wire.Ptr(key)
				break
			}
			out.ScalingPolicies = append(out.ScalingPolicies, p.API)
		}
		return nil
	})
}

func (s *Service) putScheduled(_ context.Context, in *aasapi.PutScheduledActionInput) (*aasapi.PutScheduledActionOutput, error) {
	if err := checkKind(in.ServiceNamespace, in.ScalableDimension); err != nil {
		return nil, err
	}
	id, name := wire.Value(in.ResourceId), wire.Value(in.ScheduledActionName)
	return &aasapi.PutScheduledActionOutput{}, s.db.Update(func(tx *state.Tx) error {
		if _, ok := s.targets.Get(tx, id); !ok {
			return noTarget(id)
		}
		a := Scheduled{LastRun: s.clock.Now(), API: aasapi.ScheduledAction{ScheduledActionName: &name, ServiceNamespace: wire.Ptr("ecs"), ResourceId: &id, ScalableDimension: wire.Ptr("ecs:service:DesiredCount"),
			ScheduledActionARN: wire.Ptr("arn:aws:autoscaling:" + s.region + ":" + s.account + ":scheduledAction:" + newID() + ":resource/ecs/" + id + ":scheduledActionName/" + name), CreationTime: wire.Timestamp(s.clock.Now())}}
		if old, ok := s.scheduled.Get(tx, policyKey(id, name)); ok {
			a = *old
		}
		a.API.Schedule, a.API.Timezone = first(in.Schedule, a.API.Schedule), first(in.Timezone, a.API.Timezone)
		a.API.StartTime, a.API.EndTime, a.API.ScalableTargetAction = first(in.StartTime, a.API.StartTime), first(in.EndTime, a.API.EndTime), first(in.ScalableTargetAction, a.API.ScalableTargetAction)
		if _, err := schedule.Parse(wire.Value(a.API.Schedule), wire.Value(a.API.Timezone)); err != nil {
			return wire.Errorf("ValidationException", "%v", err)
		}
		s.scheduled.Put(tx, policyKey(id, name), &a)
		return nil
	})
}

func first[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

func (s *Service) deleteScheduled(_ context.Context, in *aasapi.DeleteScheduledActionInput) (*aasapi.DeleteScheduledActionOutput, error) {
	return &aasapi.DeleteScheduledActionOutput{}, s.db.Update(func(tx *state.Tx) error {
		if !s.scheduled.Delete(tx, policyKey(wire.Value(in.ResourceId), wire.Value(in.ScheduledActionName))) {
			return wire.Errorf("ObjectNotFoundException", "No scheduled action found: %s", wire.Value(in.ScheduledActionName))
		}
		return nil
	})
}

func (s *Service) describeScheduled(_ context.Context, in *aasapi.DescribeScheduledActionsInput) (*aasapi.DescribeScheduledActionsOutput, error) {
	out := &aasapi.DescribeScheduledActionsOutput{ScheduledActions: []aasapi.ScheduledAction{}}
	return out, s.db.View(func(tx *state.Tx) error {
		for key, a := range s.scheduled.All(tx) {
			id, name := splitKey(key)
			if in.ResourceId != nil && *in.ResourceId != id || len(in.ScheduledActionNames) > 0 && !slices.Contains(in.ScheduledActionNames, name) {
				continue
			}
			out.ScheduledActions = append(out.ScheduledActions, a.API)
		}
		return nil
	})
}
