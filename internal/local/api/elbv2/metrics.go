package elbv2

import (
	"context"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/api/cloudwatch"
	"github.com/slipway-ecs/slipway/internal/local/balancer"
	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
)

// Publisher takes the values of metrics.
type Publisher interface {
	Put(namespace, name, unit string, dims []cloudwatch.Dimension, value float64)
}

// PublishTo has the metrics of load balancers and target groups published each minute. It is called
// before Run.
func (s *Service) PublishTo(p Publisher) { s.publisher = p }

func (s *Service) publishEachMinute(ctx context.Context) {
	last := s.plane.Snapshot()
	for clock.Sleep(ctx, s.clock, time.Minute) == nil {
		now := s.plane.Snapshot()
		s.publish(last, now)
		last = now
	}
}

// ending is the end of a load balancer's or target group's ARN, as the metrics' dimensions have it:
// app/web/0123456789abcdef, targetgroup/app/0123456789abcdef.
func ending(arn string) string {
	_, rest, _ := strings.Cut(arn, ":loadbalancer/")
	if i := strings.Index(arn, ":targetgroup/"); i >= 0 {
		rest = arn[i+1:]
	}
	return rest
}

// sums are the counters that are published as sums. One that is zero is not published, as AWS does:
// only HealthyHostCount and UnHealthyHostCount are there without traffic.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html
func sums(a, b balancer.Counters) map[string]uint64 {
	return map[string]uint64{
		"RequestCount":               b.RequestCount - a.RequestCount,
		"HTTPCode_Target_2XX_Count":  b.Target2XX - a.Target2XX,
		"HTTPCode_Target_3XX_Count":  b.Target3XX - a.Target3XX,
		"HTTPCode_Target_4XX_Count":  b.Target4XX - a.Target4XX,
		"HTTPCode_Target_5XX_Count":  b.Target5XX - a.Target5XX,
		"HTTPCode_ELB_3XX_Count":     b.ELB3XX - a.ELB3XX,
		"HTTPCode_ELB_4XX_Count":     b.ELB4XX - a.ELB4XX,
		"HTTPCode_ELB_5XX_Count":     b.ELB5XX - a.ELB5XX,
		"HTTPCode_ELB_500_Count":     b.ELB500 - a.ELB500,
		"HTTPCode_ELB_502_Count":     b.ELB502 - a.ELB502,
		"HTTPCode_ELB_503_Count":     b.ELB503 - a.ELB503,
		"HTTPCode_ELB_504_Count":     b.ELB504 - a.ELB504,
		"TargetConnectionErrorCount": b.TargetConnectionErrorCount - a.TargetConnectionErrorCount,
		"HTTP_Fixed_Response_Count":  b.FixedResponseCount - a.FixedResponseCount,
		"HTTP_Redirect_Count":        b.RedirectCount - a.RedirectCount,
		"RuleEvaluations":            b.RuleEvaluations - a.RuleEvaluations,
		"NewConnectionCount":         b.NewConnectionCount - a.NewConnectionCount,
	}
}

// publish puts what happened between two snapshots.
func (s *Service) publish(last, now balancer.Snapshot) {
	type group struct {
		arn, lb            string
		healthy, unhealthy int
	}
	var groups []group
	kinds := map[string]string{}
	_ = s.db.View(func(tx *state.Tx) error {
		for arn, lb := range s.balancers.All(tx) {
			kinds[arn] = "AWS/ApplicationELB"
			if wire.Value(lb.API.Type) == "network" {
				kinds[arn] = "AWS/NetworkELB"
			}
		}
		for arn := range s.groups.All(tx) {
			for _, lb := range s.balancersOf(tx, arn) {
				g := group{arn: arn, lb: lb}
				for key, t := range s.ecs.Targets.Prefix(tx, arn+"/") {
					h, ok := s.ecs.TargetHealth.Get(tx, key)
					switch {
					case !ok || !t.DrainingSince.IsZero():
					case h.State == "healthy":
						g.healthy++
					case h.State == "unhealthy":
						g.unhealthy++
					}
				}
				groups = append(groups, g)
			}
		}
		return nil
	})
	put := func(namespace string, a, b balancer.Counters, dims ...cloudwatch.Dimension) {
		for name, n := range sums(a, b) {
			if n > 0 {
				s.publisher.Put(namespace, name, "Count", dims, float64(n))
			}
		}
		if n := b.Responses - a.Responses; n > 0 {
			s.publisher.Put(namespace, "TargetResponseTime", "Seconds", dims, (b.ResponseTime-a.ResponseTime).Seconds()/float64(n))
		}
		if b.ActiveConnectionCount > 0 {
			s.publisher.Put(namespace, "ActiveConnectionCount", "Count", dims, float64(b.ActiveConnectionCount))
		}
	}
	for arn, namespace := range kinds {
		put(namespace, last.LoadBalancers[arn], now.LoadBalancers[arn], cloudwatch.Dimension{Name: "LoadBalancer", Value: ending(arn)})
	}
	for _, g := range groups {
		tg, lb := cloudwatch.Dimension{Name: "TargetGroup", Value: ending(g.arn)}, cloudwatch.Dimension{Name: "LoadBalancer", Value: ending(g.lb)}
		put(kinds[g.lb], last.TargetGroups[g.arn], now.TargetGroups[g.arn], lb, tg)
		s.publisher.Put(kinds[g.lb], "HealthyHostCount", "Count", []cloudwatch.Dimension{lb, tg}, float64(g.healthy))
		s.publisher.Put(kinds[g.lb], "UnHealthyHostCount", "Count", []cloudwatch.Dimension{lb, tg}, float64(g.unhealthy))
		// The average over the healthy targets: what target tracking by ALBRequestCountPerTarget reads.
		if n := now.TargetGroups[g.arn].RequestCount - last.TargetGroups[g.arn].RequestCount; n > 0 && g.healthy > 0 {
			for _, dims := range [][]cloudwatch.Dimension{{tg}, {lb, tg}} {
				s.publisher.Put(kinds[g.lb], "RequestCountPerTarget", "Count", dims, float64(n)/float64(g.healthy))
			}
		}
	}
}
