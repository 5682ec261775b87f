package autoscaling

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/autoscalingapi"
	"github.com/slipway-ecs/slipway/internal/local/wire/cloudwatchapi"
	"github.com/slipway-ecs/slipway/internal/scaling"
)

// Policy is a scaling policy of a group. Key: group + "/" + name.
type Policy struct {
	API autoscalingapi.ScalingPolicy
}

func policyKey(group, name string) string { return group + "/" + name }

func (s *Service) registerPolicies(svc *wire.Service) {
	wire.Handle(svc, "PutScalingPolicy", s.putPolicy)
	wire.Handle(svc, "DescribePolicies", s.describePolicies)
	wire.Handle(svc, "DeletePolicy", s.deletePolicy)
	wire.Handle(svc, "ExecutePolicy", s.executePolicy)
	wire.Handle(svc, "DescribeAdjustmentTypes", adjustmentTypes)
}

var adjustments = []string{"ChangeInCapacity", "ExactCapacity", "PercentChangeInCapacity"}

func adjustmentTypes(context.Context, *autoscalingapi.DescribeAdjustmentTypesInput) (*autoscalingapi.DescribeAdjustmentTypesOutput, error) {
	out := &autoscalingapi.DescribeAdjustmentTypesOutput{}
	for _, a := range adjustments {
		out.AdjustmentTypes = append(out.AdjustmentTypes, autoscalingapi.AdjustmentType{AdjustmentType: wire.Ptr(a)})
	}
	return out, nil
}

func (s *Service) putPolicy(_ context.Context, in *autoscalingapi.PutScalingPolicyInput) (*autoscalingapi.PutScalingPolicyOutput, error) {
	kind := cmp.Or(wire.Value(in.PolicyType), "SimpleScaling")
	switch {
	case kind == "TargetTrackingScaling" && (in.TargetTrackingConfiguration == nil || wire.Value(in.TargetTrackingConfiguration.TargetValue) <= 0):
		return nil, wire.Errorf("ValidationError", "A target tracking policy needs a configuration with a positive target value.")
	case kind == "StepScaling" && len(in.StepAdjustments) == 0:
		return nil, wire.Errorf("ValidationError", "At least one StepAdjustment must be specified.")
	case kind == "SimpleScaling" && in.ScalingAdjustment == nil:
		return nil, wire.Errorf("ValidationError", "You must specify a ScalingAdjustment for a simple scaling policy.")
	case kind == "PredictiveScaling":
		if err := s.checkPredictive(wire.Value(in.AutoScalingGroupName), in.PredictiveScalingConfiguration); err != nil {
			return nil, err
		}
	case kind != "TargetTrackingScaling" && !slices.Contains(adjustments, wire.Value(in.AdjustmentType)):
		return nil, wire.Errorf("ValidationError", "%s is not a valid adjustment type", wire.Value(in.AdjustmentType))
	case kind != "TargetTrackingScaling" && kind != "StepScaling" && kind != "SimpleScaling":
		return nil, wire.Errorf("ValidationError", "Invalid policy type %s", kind)
	}
	in.PolicyType = &kind
	out := &autoscalingapi.PutScalingPolicyOutput{Alarms: []autoscalingapi.Alarm{}}
	return out, s.db.Update(func(tx *state.Tx) error {
		p, err := s.PutPolicyIn(tx, in, 0)
		if err == nil {
			out.PolicyARN, out.Alarms = p.API.PolicyARN, p.API.Alarms
		}
		return err
	})
}

// PutPolicyIn creates or replaces a policy inside a transaction: for the services that make policies of
// their own. highPeriods is after how many minutes target tracking scales out; 0: the usual three.
func (s *Service) PutPolicyIn(tx *state.Tx, in *autoscalingapi.PutScalingPolicyInput, highPeriods int32) (*Policy, error) {
	group, name := wire.Value(in.AutoScalingGroupName), wire.Value(in.PolicyName)
	if _, ok := s.groups.Get(tx, group); !ok {
		return nil, noGroup(group)
	}
	p := &Policy{API: autoscalingapi.ScalingPolicy{AutoScalingGroupName: &group, PolicyName: &name, PolicyType: in.PolicyType, AdjustmentType: in.AdjustmentType, Cooldown: in.Cooldown,
		Enabled: wire.Ptr(in.Enabled == nil || *in.Enabled), EstimatedInstanceWarmup: in.EstimatedInstanceWarmup, MetricAggregationType: in.MetricAggregationType, MinAdjustmentMagnitude: in.MinAdjustmentMagnitude,
		ScalingAdjustment: in.ScalingAdjustment, StepAdjustments: in.StepAdjustments, TargetTrackingConfiguration: in.TargetTrackingConfiguration, PredictiveScalingConfiguration: in.PredictiveScalingConfiguration, Alarms: []autoscalingapi.Alarm{},
		PolicyARN: wire.Ptr(fmt.Sprintf("arn:aws:autoscaling:%s:%s:scalingPolicy:%s:autoScalingGroupName/%s:policyName/%s", s.region, s.account, newID(), group, name))}}
	if old, ok := s.policies.Get(tx, policyKey(group, name)); ok {
		p.API.PolicyARN = old.API.PolicyARN
		if wire.Value(old.API.PolicyType) == wire.Value(in.PolicyType) {
			p.API.Alarms = old.API.Alarms
		} else {
			s.dropAlarms(tx, old)
		}
	}
	if p.API.TargetTrackingConfiguration != nil {
		if err := s.makeAlarms(tx, p, cmp.Or(highPeriods, scaling.HighPeriods)); err != nil {
			return nil, err
		}
	}
	s.forecasts.Delete(tx, policyKey(group, name)) // of another load, perhaps
	s.policies.Put(tx, policyKey(group, name), p)
	return p, nil
}

// tracked is the metric of a target-tracking policy.
func tracked(group string, c *autoscalingapi.TargetTrackingConfiguration) (cloudwatchapi.PutMetricAlarmInput, error) {
	dim := func(k, v string) cloudwatchapi.Dimension {
		return cloudwatchapi.Dimension{Name: &k, Value: &v}
	}
	out := cloudwatchapi.PutMetricAlarmInput{Namespace: wire.Ptr("AWS/EC2"), Statistic: wire.Ptr("Average"), Dimensions: []cloudwatchapi.Dimension{dim("AutoScalingGroupName", group)}}
	if m := c.CustomizedMetricSpecification; m != nil {
		if len(m.Metrics) > 0 {
			queries, err := asQueries(m.Metrics, 60)
			out.Namespace, out.Statistic, out.Dimensions, out.Metrics = nil, nil, nil, queries
			return out, err
		}
		out.Namespace, out.MetricName, out.Statistic, out.Dimensions = m.Namespace, m.MetricName, m.Statistic, nil
		for _, d := range m.Dimensions {
			out.Dimensions = append(out.Dimensions, cloudwatchapi.Dimension{Name: d.Name, Value: d.Value})
		}
		return out, nil
	}
	if c.PredefinedMetricSpecification == nil {
		return out, wire.Errorf("ValidationError", "A target tracking policy needs a predefined or a customized metric.")
	}
	switch t := wire.Value(c.PredefinedMetricSpecification.PredefinedMetricType); t {
	case "ASGAverageCPUUtilization":
		out.MetricName = wire.Ptr("CPUUtilization")
	case "ASGAverageNetworkIn":
		out.MetricName = wire.Ptr("NetworkIn")
	case "ASGAverageNetworkOut":
		out.MetricName = wire.Ptr("NetworkOut")
	case "ALBRequestCountPerTarget":
		lb, tg, ok := strings.Cut(wire.Value(c.PredefinedMetricSpecification.ResourceLabel), "/targetgroup/")
		if !ok {
			return out, wire.Errorf("ValidationError", "The resource label must be app/<load balancer>/<id>/targetgroup/<target group>/<id>")
		}
		out.Namespace, out.MetricName, out.Statistic = wire.Ptr("AWS/ApplicationELB"), wire.Ptr("RequestCountPerTarget"), wire.Ptr("Sum")
		out.Dimensions = []cloudwatchapi.Dimension{dim("LoadBalancer", lb), dim("TargetGroup", "targetgroup/"+tg)}
	default:
		return out, wire.Errorf("ValidationError", "%s is not a predefined metric", t)
	}
	return out, nil
}

// makeAlarms gives a target-tracking policy its two alarms. ECS's own policies scale in below the
// target itself, others below nine tenths of it.
func (s *Service) makeAlarms(tx *state.Tx, p *Policy, highPeriods int32) error {
	c := p.API.TargetTrackingConfiguration
	base, err := tracked(*p.API.AutoScalingGroupName, c)
	if err != nil {
		return err
	}
	if len(p.API.Alarms) == 0 {
		for _, kind := range []string{"AlarmHigh", "AlarmLow"} {
			n := "TargetTracking-" + *p.API.AutoScalingGroupName + "-" + kind + "-" + newID()
			p.API.Alarms = append(p.API.Alarms, autoscalingapi.Alarm{AlarmName: &n, AlarmARN: wire.Ptr("arn:aws:cloudwatch:" + s.region + ":" + s.account + ":alarm:" + n)})
		}
	}
	high, low := base, base
	share := scaling.LowShare
	if highPeriods == 1 {
		share = 1
	}
	high.ComparisonOperator, high.Threshold, high.EvaluationPeriods = wire.Ptr("GreaterThanThreshold"), c.TargetValue, &highPeriods
	low.ComparisonOperator, low.Threshold, low.EvaluationPeriods = wire.Ptr("LessThanThreshold"), wire.Ptr(*c.TargetValue*share), wire.Ptr[int32](scaling.LowPeriods)
	for i, in := range []*cloudwatchapi.PutMetricAlarmInput{&high, &low} {
		in.AlarmName, in.AlarmActions = p.API.Alarms[i].AlarmName, []string{*p.API.PolicyARN}
		if len(in.Metrics) == 0 {
			in.Period = wire.Ptr[int32](60)
		} else if err := s.cw.CheckMath(in); err != nil {
			return err
		}
		in.AlarmDescription = wire.Ptr("DO NOT EDIT OR DELETE. For TargetTrackingScaling policy " + *p.API.PolicyARN + ".")
		if err := s.cw.PutAlarmIn(tx, in); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) dropAlarms(tx *state.Tx, p *Policy) {
	for _, a := range p.API.Alarms {
		if p.API.TargetTrackingConfiguration != nil {
			s.cw.DeleteAlarmIn(tx, wire.Value(a.AlarmName))
		}
	}
}

// DropPolicyIn deletes a policy and its alarms; false if there is none.
func (s *Service) DropPolicyIn(tx *state.Tx, group, name string) bool {
	p, ok := s.policies.Get(tx, policyKey(group, name))
	if ok {
		s.dropAlarms(tx, p)
		s.forecasts.Delete(tx, policyKey(group, name))
		s.policies.Delete(tx, policyKey(group, name))
	}
	return ok
}

func (s *Service) findPolicy(tx *state.Tx, group, ref string) (*Policy, error) {
	for _, p := range s.policies.All(tx) {
		if wire.Value(p.API.PolicyARN) == ref || *p.API.PolicyName == ref && *p.API.AutoScalingGroupName == group {
			return p, nil
		}
	}
	return nil, wire.Errorf("ValidationError", "ScalingPolicy %s is not found", ref)
}

func (s *Service) deletePolicy(_ context.Context, in *autoscalingapi.DeletePolicyInput) (*autoscalingapi.DeletePolicyOutput, error) {
	return &autoscalingapi.DeletePolicyOutput{}, s.db.Update(func(tx *state.Tx) error {
		p, err := s.findPolicy(tx, wire.Value(in.AutoScalingGroupName), wire.Value(in.PolicyName))
		if err == nil {
			s.DropPolicyIn(tx, *p.API.AutoScalingGroupName, *p.API.PolicyName)
		}
		return err
	})
}

func (s *Service) describePolicies(_ context.Context, in *autoscalingapi.DescribePoliciesInput) (*autoscalingapi.DescribePoliciesOutput, error) {
	out := &autoscalingapi.DescribePoliciesOutput{ScalingPolicies: []autoscalingapi.ScalingPolicy{}}
	limit := int(cmp.Or(wire.Value(in.MaxRecords), 50))
	return out, s.db.View(func(tx *state.Tx) error {
		for key, p := range s.policies.From(tx, wire.Value(in.NextToken)) {
			if in.AutoScalingGroupName != nil && *in.AutoScalingGroupName != *p.API.AutoScalingGroupName || len(in.PolicyTypes) > 0 && !slices.Contains(in.PolicyTypes, *p.API.PolicyType) ||
				len(in.PolicyNames) > 0 && !slices.Contains(in.PolicyNames, *p.API.PolicyName) && !slices.Contains(in.PolicyNames, *p.API.PolicyARN) {
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

func (s *Service) executePolicy(_ context.Context, in *autoscalingapi.ExecutePolicyInput) (*autoscalingapi.ExecutePolicyOutput, error) {
	return &autoscalingapi.ExecutePolicyOutput{}, s.db.Update(func(tx *state.Tx) error {
		p, err := s.findPolicy(tx, wire.Value(in.AutoScalingGroupName), wire.Value(in.PolicyName))
		switch {
		case err != nil:
			return err
		case p.API.TargetTrackingConfiguration != nil || p.API.PredictiveScalingConfiguration != nil:
			return wire.Errorf("ValidationError", "Target tracking and predictive policies cannot be executed.")
		case *p.API.PolicyType == "StepScaling" && (in.MetricValue == nil || in.BreachThreshold == nil):
			return wire.Errorf("ValidationError", "You must specify MetricValue and BreachThreshold to execute a step scaling policy.")
		}
		return s.scale(tx, p, trigger{value: wire.Value(in.MetricValue), threshold: wire.Value(in.BreachThreshold), cause: "a user request executed policy " + *p.API.PolicyName, ignoreCooldown: !wire.Value(in.HonorCooldown)})
	})
}
