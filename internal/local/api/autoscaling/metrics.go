package autoscaling

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/api/cloudwatch"
	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/autoscalingapi"
)

// groupMetrics counts a group for CloudWatch. Warm pools, which there are none of, have no metrics.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-metrics.html
var groupMetrics = map[string]func(g *Group) int{
	"GroupMinSize":                    func(g *Group) int { return int(*g.Spec.MinSize) },
	"GroupMaxSize":                    func(g *Group) int { return int(*g.Spec.MaxSize) },
	"GroupDesiredCapacity":            func(g *Group) int { return int(*g.Spec.DesiredCapacity) },
	"GroupInServiceInstances":         counted("InService"),
	"GroupPendingInstances":           counted("Pending"),
	"GroupStandbyInstances":           counted("Standby"),
	"GroupTerminatingInstances":       counted("Terminating"),
	"GroupTotalInstances":             counted(""),
	"GroupInServiceCapacity":          counted("InService"),
	"GroupPendingCapacity":            counted("Pending"),
	"GroupStandbyCapacity":            counted("Standby"),
	"GroupTerminatingCapacity":        counted("Terminating"),
	"GroupTotalCapacity":              counted(""),
	"GroupAndWarmPoolTotalCapacity":   counted(""),
	"GroupAndWarmPoolDesiredCapacity": func(g *Group) int { return int(*g.Spec.DesiredCapacity) },
}

func counted(prefix string) func(*Group) int {
	return func(g *Group) (n int) {
		for _, m := range g.Members {
			if strings.HasPrefix(m.State, prefix) {
				n++
			}
		}
		return n
	}
}

func metricNames() []string {
	var out []string
	for name := range groupMetrics {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func (s *Service) registerMetrics(svc *wire.Service) {
	wire.Handle(svc, "EnableMetricsCollection", s.enableMetrics)
	wire.Handle(svc, "DisableMetricsCollection", s.disableMetrics)
	wire.Handle(svc, "DescribeMetricCollectionTypes", func(context.Context, *autoscalingapi.DescribeMetricCollectionTypesInput) (*autoscalingapi.DescribeMetricCollectionTypesOutput, error) {
		out := &autoscalingapi.DescribeMetricCollectionTypesOutput{Granularities: []autoscalingapi.MetricGranularityType{{Granularity: wire.Ptr("1Minute")}}}
		for _, name := range metricNames() {
			out.Metrics = append(out.Metrics, autoscalingapi.MetricCollectionType{Metric: &name})
		}
		return out, nil
	})
}

func checkMetrics(names []string) ([]string, error) {
	if len(names) == 0 {
		return metricNames(), nil
	}
	for _, n := range names {
		if groupMetrics[n] == nil {
			return nil, wire.Errorf("ValidationError", "%q is not a valid Metric Name", n)
		}
	}
	return names, nil
}

func (s *Service) enableMetrics(_ context.Context, in *autoscalingapi.EnableMetricsCollectionInput) (*autoscalingapi.EnableMetricsCollectionOutput, error) {
	names, err := checkMetrics(in.Metrics)
	if err != nil {
		return nil, err
	}
	if wire.Value(in.Granularity) != "1Minute" {
		return nil, wire.Errorf("ValidationError", "Valid metric granularity type is: [1Minute].")
	}
	return &autoscalingapi.EnableMetricsCollectionOutput{}, s.modify(wire.Value(in.AutoScalingGroupName), func(_ *state.Tx, g *Group) error {
		g.Spec.EnabledMetrics = slices.Clone(g.Spec.EnabledMetrics)
		for _, n := range names {
			if !slices.ContainsFunc(g.Spec.EnabledMetrics, func(m autoscalingapi.EnabledMetric) bool { return *m.Metric == n }) {
				g.Spec.EnabledMetrics = append(g.Spec.EnabledMetrics, autoscalingapi.EnabledMetric{Metric: &n, Granularity: wire.Ptr("1Minute")})
			}
		}
		return nil
	})
}

func (s *Service) disableMetrics(_ context.Context, in *autoscalingapi.DisableMetricsCollectionInput) (*autoscalingapi.DisableMetricsCollectionOutput, error) {
	names, err := checkMetrics(in.Metrics)
	if err != nil {
		return nil, err
	}
	return &autoscalingapi.DisableMetricsCollectionOutput{}, s.modify(wire.Value(in.AutoScalingGroupName), func(_ *state.Tx, g *Group) error {
		g.Spec.EnabledMetrics = slices.DeleteFunc(slices.Clone(g.Spec.EnabledMetrics), func(m autoscalingapi.EnabledMetric) bool { return slices.Contains(names, *m.Metric) })
		return nil
	})
}

func (s *Service) publishEachMinute(ctx context.Context) {
	for clock.Sleep(ctx, s.clock, time.Minute) == nil {
		_ = s.db.View(func(tx *state.Tx) error {
			for name, g := range s.groups.All(tx) {
				for _, m := range g.Spec.EnabledMetrics {
					s.cw.Put("AWS/AutoScaling", *m.Metric, "None", []cloudwatch.Dimension{{Name: "AutoScalingGroupName", Value: name}}, float64(groupMetrics[*m.Metric](g)))
				}
			}
			return nil
		})
	}
}
