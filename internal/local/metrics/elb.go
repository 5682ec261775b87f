package metrics

import (
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/api/cloudwatch"
	"github.com/slipway-ecs/slipway/internal/local/balancer"
	"github.com/slipway-ecs/slipway/internal/local/state"
)

type dimension = cloudwatch.Dimension

// balancers measures what was carried since the last look, and who is healthy
// (https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html).
func (m *Metrics) balancers() {
	now := m.cfg.Traffic()
	before := m.traffic
	m.traffic = now
	for arn, c := range now.LoadBalancers {
		if on := part(arn, ":loadbalancer/"); strings.HasPrefix(on, "app/") {
			m.carried(dims("LoadBalancer", on), c, before.LoadBalancers[arn])
		}
	}
	hosts := m.hosts()
	for arn, h := range hosts {
		for _, lb := range h.balancers {
			on := dims("TargetGroup", part(arn, ":targetgroup/"), "LoadBalancer", part(lb, ":loadbalancer/"))
			namespace := "AWS/ApplicationELB"
			if strings.Contains(lb, ":loadbalancer/net/") {
				namespace = "AWS/NetworkELB"
			}
			if h.registered > 0 {
				m.cfg.CloudWatch.Put(namespace, "HealthyHostCount", "Count", on, float64(h.healthy))
				m.cfg.CloudWatch.Put(namespace, "UnHealthyHostCount", "Count", on, float64(h.unhealthy))
			}
			if namespace != "AWS/ApplicationELB" {
				continue
			}
			c, old := now.TargetGroups[arn], before.TargetGroups[arn]
			m.carried(on, c, old)
			if n := grown(c.RequestCount, old.RequestCount); h.healthy > 0 {
				m.cfg.CloudWatch.Put(namespace, "RequestCountPerTarget", "Count", on, n/float64(h.healthy))
				m.cfg.CloudWatch.Put(namespace, "RequestCountPerTarget", "Count", dims("TargetGroup", part(arn, ":targetgroup/")), n/float64(h.healthy))
			}
		}
	}
}

// part is a balancer or a target group as its dimension names it: app/web/0123456789abcdef,
// targetgroup/web/0123456789abcdef.
func part(arn, kind string) string {
	_, name, _ := strings.Cut(arn, kind)
	if kind == ":targetgroup/" {
		return "targetgroup/" + name
	}
	return name
}

// grown is how far a counter went; one that began anew went from zero.
func grown(now, before uint64) float64 {
	if now < before {
		return float64(now)
	}
	return float64(now - before)
}

// carried puts the counters that moved; AWS reports no zeros of these.
func (m *Metrics) carried(on []dimension, now, old balancer.Counters) {
	for _, c := range []struct {
		name        string
		now, before uint64
	}{
		{"RequestCount", now.RequestCount, old.RequestCount},
		{"HTTPCode_Target_2XX_Count", now.Target2XX, old.Target2XX}, {"HTTPCode_Target_3XX_Count", now.Target3XX, old.Target3XX},
		{"HTTPCode_Target_4XX_Count", now.Target4XX, old.Target4XX}, {"HTTPCode_Target_5XX_Count", now.Target5XX, old.Target5XX},
		{"HTTPCode_ELB_3XX_Count", now.ELB3XX, old.ELB3XX}, {"HTTPCode_ELB_4XX_Count", now.ELB4XX, old.ELB4XX}, {"HTTPCode_ELB_5XX_Count", now.ELB5XX, old.ELB5XX},
		{"HTTPCode_ELB_500_Count", now.ELB500, old.ELB500}, {"HTTPCode_ELB_502_Count", now.ELB502, old.ELB502},
		{"HTTPCode_ELB_503_Count", now.ELB503, old.ELB503}, {"HTTPCode_ELB_504_Count", now.ELB504, old.ELB504},
		{"TargetConnectionErrorCount", now.TargetConnectionErrorCount, old.TargetConnectionErrorCount},
		{"HTTP_Fixed_Response_Count", now.FixedResponseCount, old.FixedResponseCount}, {"HTTP_Redirect_Count", now.RedirectCount, old.RedirectCount},
		{"RuleEvaluations", now.RuleEvaluations, old.RuleEvaluations}, {"NewConnectionCount", now.NewConnectionCount, old.NewConnectionCount},
	} {
		if n := grown(c.now, c.before); n > 0 {
			m.cfg.CloudWatch.Put("AWS/ApplicationELB", c.name, "Count", on, n)
		}
	}
	if n := grown(now.ProcessedBytes, old.ProcessedBytes); n > 0 {
		m.cfg.CloudWatch.Put("AWS/ApplicationELB", "ProcessedBytes", "Bytes", on, n)
	}
	if n := grown(now.Responses, old.Responses); n > 0 && now.ResponseTime >= old.ResponseTime {
		sum := float64(now.ResponseTime-old.ResponseTime) / float64(time.Second)
		// Only the sum is counted: the extremes are given as the mean.
		m.cfg.CloudWatch.PutStatistics("AWS/ApplicationELB", "TargetResponseTime", "Seconds", on, cloudwatch.Statistics{Count: n, Sum: sum, Minimum: sum / n, Maximum: sum / n})
	}
}

// hosts is the health of one target group's targets.
type hosts struct {
	balancers                      []string
	registered, healthy, unhealthy int
}

func (m *Metrics) hosts() map[string]hosts {
	out := map[string]hosts{}
	ecs := m.cfg.State
	_ = ecs.DB.View(func(tx *state.Tx) error {
		for arn, lbs := range m.cfg.Groups(tx) {
			h := hosts{balancers: lbs}
			for key, t := range ecs.Targets.Prefix(tx, arn+"/") {
				if !t.DrainingSince.IsZero() {
					continue
				}
				h.registered++
				health, ok := ecs.TargetHealth.Get(tx, key)
				switch {
				case ok && health.State == "healthy":
					h.healthy++
				case ok && health.State == "unhealthy":
					h.unhealthy++
				}
			}
			out[arn] = h
		}
		return nil
	})
	return out
}
