package aas

import (
	"cmp"
	"context"
	"math"
	"reflect"
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
	case kind == "PredictiveScaling":
		if err := s.checkPredictive(id, in.PredictiveScalingPolicyConfiguration); err != nil {
			return nil, err
		}
	case kind == "StepScaling":
		if err := checkSteps(in.StepScalingPolicyConfiguration); err != nil {
			return nil, err
		}
	case kind != "TargetTrackingScaling":
		return nil, wire.Errorf("ValidationException", "The policy type %q is not valid", kind)
	}
	out := &aasapi.PutScalingPolicyOutput{Alarms: []aasapi.Alarm{}}
	return out, s.db.Update(func(tx *state.Tx) error {
		if _, ok := s.targets.Get(tx, id); !ok {
			return noTarget(id)
		}
		p := Policy{API: aasapi.ScalingPolicy{PolicyARN: wire.Ptr("arn:aws:autoscaling:" + s.region + ":" + s.account + ":scalingPolicy:" + newID() + ":resource/ecs/" + id + ":policyName/" + name), PolicyName: &name,
			ServiceNamespace: wire.Ptr("ecs"), ResourceId: &id, ScalableDimension: wire.Ptr("ecs:service:DesiredCount"), CreationTime: wire.Timestamp(s.clock.Now()), Alarms: []aasapi.Alarm{}}}
		n := 0
		for key, other := range s.policies.Prefix(tx, id+"\x00") {
			if n++; n >= maxPolicies {
				if _, ok := s.policies.Get(tx, policyKey(id, name)); !ok {
					return wire.Errorf("LimitExceededException", "The limit of %d scaling policies per scalable target has been reached", maxPolicies)
				}
			}
			if key != policyKey(id, name) && kind == "TargetTrackingScaling" && sameMetric(other.API.TargetTrackingScalingPolicyConfiguration, in.TargetTrackingScalingPolicyConfiguration) {
				return wire.Errorf("ValidationException", "Only one TargetTrackingScaling policy for a given metric specification is allowed.")
			}
		}
		if old, ok := s.policies.Get(tx, policyKey(id, name)); ok {
			if wire.Value(old.API.PolicyType) != kind { // its alarms belong to the other kind
				s.dropPolicy(tx, policyKey(id, name))
				p.API.PolicyARN, p.API.CreationTime = old.API.PolicyARN, old.API.CreationTime
			} else {
				p = *old
			}
		}
		s.forecasts.Delete(tx, policyKey(id, name)) // of another load, perhaps
		p.API.PolicyType = &kind
		p.API.TargetTrackingScalingPolicyConfiguration, p.API.StepScalingPolicyConfiguration = in.TargetTrackingScalingPolicyConfiguration, in.StepScalingPolicyConfiguration
		p.API.PredictiveScalingPolicyConfiguration = in.PredictiveScalingPolicyConfiguration
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

// maxPolicies is how many policies a target may have, and maxSteps how many adjustments a step policy
// (https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-limits.html).
const (
	maxPolicies = 50
	maxSteps    = 20
)

func sameMetric(a, b *aasapi.TargetTrackingScalingPolicyConfiguration) bool {
	return a != nil && b != nil && reflect.DeepEqual(a.PredefinedMetricSpecification, b.PredefinedMetricSpecification) && reflect.DeepEqual(a.CustomizedMetricSpecification, b.CustomizedMetricSpecification)
}

// checkSteps says what is wrong with a step policy
// (https://docs.aws.amazon.com/autoscaling/application/APIReference/API_StepScalingPolicyConfiguration.html).
func checkSteps(c *aasapi.StepScalingPolicyConfiguration) error {
	kind := wire.Value(c.AdjustmentType)
	switch {
	case kind != "ChangeInCapacity" && kind != "PercentChangeInCapacity" && kind != "ExactCapacity":
		return wire.Errorf("ValidationException", "The adjustment type must be ChangeInCapacity, PercentChangeInCapacity or ExactCapacity, not %q", kind)
	case c.MinAdjustmentMagnitude != nil && kind != "PercentChangeInCapacity":
		return wire.Errorf("ValidationException", "MinAdjustmentMagnitude may be specified with PercentChangeInCapacity only")
	case len(c.StepAdjustments) == 0:
		return wire.Errorf("ValidationException", "At least one step adjustment must be specified")
	case len(c.StepAdjustments) > maxSteps:
		return wire.Errorf("LimitExceededException", "A step scaling policy may have %d step adjustments", maxSteps)
	}
	steps := slices.Clone(c.StepAdjustments)
	low := func(s aasapi.StepAdjustment) float64 {
		if s.MetricIntervalLowerBound == nil {
			return math.Inf(-1)
		}
		return *s.MetricIntervalLowerBound
	}
	high := func(s aasapi.StepAdjustment) float64 {
		if s.MetricIntervalUpperBound == nil {
			return math.Inf(1)
		}
		return *s.MetricIntervalUpperBound
	}
	slices.SortFunc(steps, func(a, b aasapi.StepAdjustment) int { return cmp.Compare(low(a), low(b)) })
	for i, st := range steps {
		switch {
		case st.MetricIntervalLowerBound == nil && st.MetricIntervalUpperBound == nil && len(steps) > 1, low(st) >= high(st):
			return wire.Errorf("ValidationException", "The lower bound of a step adjustment must be below its upper bound")
		case i > 0 && low(st) < high(steps[i-1]):
			return wire.Errorf("ValidationException", "The intervals of step adjustments must not overlap")
		case i > 0 && low(st) > high(steps[i-1]):
			return wire.Errorf("ValidationException", "There must not be a gap between the intervals of step adjustments")
		}
	}
	return nil
}

// metric is what a target-tracking policy follows.
type metric struct {
	namespace, name, stat string
	dims                  []cloudwatchapi.Dimension
	queries               []cloudwatchapi.MetricDataQuery // metric math, instead of the others
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
			if m.MetricName != nil || m.Namespace != nil || m.Statistic != nil || len(m.Dimensions) > 0 {
				return metric{}, wire.Errorf("ValidationException", "Metrics must not be specified together with MetricName, Namespace, Statistic and Dimensions")
			}
			queries, err := asQueries(m.Metrics, 60)
			return metric{queries: queries}, err
		}
		if m.MetricName == nil || m.Namespace == nil || m.Statistic == nil {
			return metric{}, wire.Errorf("ValidationException", "A customized metric needs MetricName, Namespace and Statistic, or Metrics")
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
		return metric{namespace: "AWS/ECS", name: "CPUUtilization", stat: "Average", dims: ecsDims}, nil
	case "ECSServiceAverageMemoryUtilization":
		return metric{namespace: "AWS/ECS", name: "MemoryUtilization", stat: "Average", dims: ecsDims}, nil
	case "ALBRequestCountPerTarget":
		lb, tg, err := targetGroup(c.PredefinedMetricSpecification.ResourceLabel)
		if err != nil {
			return metric{}, err
		}
		return metric{namespace: "AWS/ApplicationELB", name: "RequestCountPerTarget", stat: "Sum", dims: []cloudwatchapi.Dimension{dim("LoadBalancer", lb), dim("TargetGroup", tg)}}, nil
	default:
		return metric{}, wire.Errorf("ValidationException", "The predefined metric %s is not valid for ECS services", t)
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
		if len(m.queries) > 0 {
			in.Namespace, in.MetricName, in.Statistic, in.Period, in.Metrics = nil, nil, nil, nil, m.queries
			if err := s.cw.CheckMath(in); err != nil {
				return wire.Errorf("ValidationException", "%v", err)
			}
		}
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
	s.forecasts.Delete(tx, key)
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
	if wire.Value(in.ServiceNamespace) != "ecs" {
		return out, nil
	}
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
	limit := int(cmp.Or(wire.Value(in.MaxResults), 50))
	if wire.Value(in.ServiceNamespace) != "ecs" {
		return out, nil
	}
	return out, s.db.View(func(tx *state.Tx) error {
		for key, a := range s.scheduled.From(tx, wire.Value(in.NextToken)) {
			id, name := splitKey(key)
			if in.ResourceId != nil && *in.ResourceId != id || len(in.ScheduledActionNames) > 0 && !slices.Contains(in.ScheduledActionNames, name) {
				continue
			}
			if len(out.ScheduledActions) == limit {
				out.NextToken = wire.Ptr(key)
				break
			}
			out.ScheduledActions = append(out.ScheduledActions, a.API)
		}
		return nil
	})
}
