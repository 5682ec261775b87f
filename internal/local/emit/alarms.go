package emit

import (
	"cmp"

	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/cloudwatchapi"
)

// watched is what an alarm looks at, as its events have it: one metric, or all of an expression.
//
// Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html
func watched(a *cloudwatchapi.MetricAlarm) (out []any) {
	if len(a.Metrics) == 0 {
		return []any{map[string]any{"id": "m1", "returnData": true, "metricStat": metricStat(a.Namespace, a.MetricName, a.Dimensions, a.Period, cmp.Or(wire.Value(a.Statistic), wire.Value(a.ExtendedStatistic)))}}
	}
	for _, q := range a.Metrics {
		x := map[string]any{"id": q.Id, "returnData": q.ReturnData == nil || *q.ReturnData}
		if q.Label != nil {
			x["label"] = q.Label
		}
		if q.Expression != nil {
			x["expression"] = q.Expression
		}
		if m := q.MetricStat; m != nil && m.Metric != nil {
			x["metricStat"] = metricStat(m.Metric.Namespace, m.Metric.MetricName, m.Metric.Dimensions, m.Period, wire.Value(m.Stat))
		}
		out = append(out, x)
	}
	return out
}

func metricStat(namespace, name *string, on []cloudwatchapi.Dimension, period *int32, stat string) map[string]any {
	dimensions := map[string]string{}
	for _, d := range on {
		dimensions[wire.Value(d.Name)] = wire.Value(d.Value)
	}
	return map[string]any{"metric": map[string]any{"namespace": namespace, "name": name, "dimensions": dimensions}, "period": period, "stat": stat}
}

// trigger is what an alarm looks at, as a topic's message has it.
func trigger(a *cloudwatchapi.MetricAlarm) map[string]any {
	out := map[string]any{"Period": a.Period, "EvaluationPeriods": a.EvaluationPeriods, "DatapointsToAlarm": a.DatapointsToAlarm, "ComparisonOperator": a.ComparisonOperator, "Threshold": a.Threshold,
		"TreatMissingData": a.TreatMissingData}
	switch {
	case len(a.Metrics) > 0:
		out["Metrics"] = a.Metrics
	case a.Statistic != nil:
		out["StatisticType"], out["Statistic"] = "Statistic", a.Statistic
	default:
		out["StatisticType"], out["ExtendedStatistic"] = "ExtendedStatistic", a.ExtendedStatistic
	}
	if len(a.Metrics) == 0 {
		out["MetricName"], out["Namespace"], out["Dimensions"] = a.MetricName, a.Namespace, a.Dimensions
	}
	return out
}
