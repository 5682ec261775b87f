package aas

import (
	"cmp"
	"encoding/json"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/predict"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/aasapi"
	"github.com/slipway-ecs/slipway/internal/local/wire/cloudwatchapi"
)

// asQueries makes CloudWatch's queries of a policy's, which have the same members but no period.
func asQueries[T any](in []T, period int32) ([]cloudwatchapi.MetricDataQuery, error) {
	data, err := json.Marshal(in)
	if err != nil {
		return nil, wire.Errorf("ValidationException", "reading the metric queries: %v", err)
	}
	var out []cloudwatchapi.MetricDataQuery
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, wire.Errorf("ValidationException", "reading the metric queries: %v", err)
	}
	for i := range out {
		if out[i].MetricStat != nil {
			out[i].MetricStat.Period = &period
		}
	}
	return out, nil
}

// targetGroup splits a resource label of ALB metrics: app/<load balancer>/<id>/targetgroup/<target group>/<id>.
func targetGroup(label *string) (lb, group string, err error) {
	lb, group, ok := strings.Cut(wire.Value(label), "/targetgroup/")
	if !ok || !strings.HasPrefix(lb, "app/") {
		return "", "", wire.Errorf("ValidationException", "The resource label %q must be app/<load balancer>/<id>/targetgroup/<target group>/<id>", wire.Value(label))
	}
	return lb, "targetgroup/" + group, nil
}

// loads and pairs are the predefined metrics of predictive scaling
// (https://docs.aws.amazon.com/autoscaling/application/userguide/aas-create-predictive-scaling-policy.html).
var (
	pairs    = map[string]string{"ECSServiceCPUUtilization": "ECSServiceTotalCPUUtilization", "ECSServiceMemoryUtilization": "ECSServiceTotalMemoryUtilization", "ALBRequestCount": "ALBTargetGroupRequestCount"}
	scalings = map[string]string{"ECSServiceAverageCPUUtilization": "ECSServiceTotalCPUUtilization", "ECSServiceAverageMemoryUtilization": "ECSServiceTotalMemoryUtilization", "ALBRequestCountPerTarget": "ALBTargetGroupRequestCount"}
)

// predictive is what a predictive policy forecasts. A predefined load is the service's total in a
// minute, so that total over target is the number of tasks; customized metrics are read by the hour.
func predictive(resource string, c *aasapi.PredictiveScalingPolicyConfiguration) (predict.Spec, error) {
	if len(c.MetricSpecifications) != 1 {
		return predict.Spec{}, wire.Errorf("ValidationException", "Exactly one metric specification is supported")
	}
	m := c.MetricSpecifications[0]
	out := predict.Spec{Target: wire.Value(m.TargetValue)}
	if out.Target <= 0 {
		return out, wire.Errorf("ValidationException", "The target value must be positive")
	}
	pair, load, metric := m.PredefinedMetricPairSpecification, m.PredefinedLoadMetricSpecification, m.PredefinedScalingMetricSpecification
	hasLoad := load != nil || m.CustomizedLoadMetricSpecification != nil
	hasMetric := metric != nil || m.CustomizedScalingMetricSpecification != nil
	switch {
	case pair != nil && (hasLoad || hasMetric || m.CustomizedCapacityMetricSpecification != nil):
		return out, wire.Errorf("ValidationException", "A metric pair must not be specified together with load, scaling and capacity metrics")
	case pair == nil && (!hasLoad || !hasMetric):
		return out, wire.Errorf("ValidationException", "A metric pair, or a load metric and a scaling metric, must be specified")
	case load != nil && m.CustomizedLoadMetricSpecification != nil, metric != nil && m.CustomizedScalingMetricSpecification != nil:
		return out, wire.Errorf("ValidationException", "A predefined and a customized metric must not be specified for the same purpose")
	}
	predefined := func(kind string, label *string) ([]cloudwatchapi.MetricDataQuery, error) {
		key, _ := serviceKey(resource)
		cluster, service, _ := strings.Cut(key, "/")
		switch kind {
		case "ECSServiceTotalCPUUtilization":
			return predict.Metric("load", "AWS/ECS", "CPUUtilization", "Sum", 60, "ClusterName", cluster, "ServiceName", service), nil
		case "ECSServiceTotalMemoryUtilization":
			return predict.Metric("load", "AWS/ECS", "MemoryUtilization", "Sum", 60, "ClusterName", cluster, "ServiceName", service), nil
		case "ALBTargetGroupRequestCount":
			lb, group, err := targetGroup(label)
			return predict.Metric("load", "AWS/ApplicationELB", "RequestCount", "Sum", 60, "LoadBalancer", lb, "TargetGroup", group), err
		}
		return nil, wire.Errorf("ValidationException", "The predefined metric type %q is not valid for predictive scaling", kind)
	}
	var err error
	switch {
	case pair != nil:
		kind := pairs[wire.Value(pair.PredefinedMetricType)]
		out.Load, err = predefined(cmp.Or(kind, wire.Value(pair.PredefinedMetricType)), pair.ResourceLabel)
		if err == nil && kind == "" {
			err = wire.Errorf("ValidationException", "The metric pair %q is not valid", wire.Value(pair.PredefinedMetricType))
		}
		return out, err
	case load != nil:
		out.Load, err = predefined(wire.Value(load.PredefinedMetricType), load.ResourceLabel)
	default:
		out.Load, err = asQueries(m.CustomizedLoadMetricSpecification.MetricDataQueries, 3600)
	}
	if err != nil {
		return out, err
	}
	if metric != nil {
		if scalings[wire.Value(metric.PredefinedMetricType)] == "" {
			return out, wire.Errorf("ValidationException", "The predefined metric type %q is not valid for predictive scaling", wire.Value(metric.PredefinedMetricType))
		}
		if wire.Value(metric.PredefinedMetricType) == "ALBRequestCountPerTarget" {
			_, _, err = targetGroup(metric.ResourceLabel)
		}
		return out, err
	}
	if out.Scaling, err = asQueries(m.CustomizedScalingMetricSpecification.MetricDataQueries, 3600); err != nil {
		return out, err
	}
	if cm := m.CustomizedCapacityMetricSpecification; cm != nil {
		out.Capacity, err = asQueries(cm.MetricDataQueries, 3600)
	}
	return out, err
}
