package service

import (
	"slices"
	"time"
)

// DefaultAlarms are what is worth being woken for in any service of this shape: its answers, where it has
// a balancer, and its tasks near their limits. Thresholds hold for five minutes, so that a deployment
// or one bad minute is no alarm.
func DefaultAlarms(s Spec, notify []string) []Alarm {
	if s.Kind == KindJob {
		return nil
	}
	alarm := func(name, metric string, threshold float64) Alarm {
		return Alarm{Name: name, Metric: metric, Threshold: threshold, Periods: 5, Period: time.Minute, Notify: notify}
	}
	out := []Alarm{alarm("default-cpu", "cpu", 90), alarm("default-memory", "memory", 90)}
	if r := s.Route; r != nil && slices.Contains([]string{"", "HTTP", "HTTPS", "GRPC"}, r.Protocol) {
		out = append(out, alarm("default-errors", "5xx-percent", 5), alarm("default-latency", "latency-p95", 1), alarm("default-unhealthy", "unhealthy", 0))
	}
	return out
}

// defaultAlarms adds those that the file does not define under the same name, and lets a deployment go
// back when one goes off.
func (b *builder) defaultAlarms(s *settings, out *Spec) {
	c := s.DefaultAlarms
	if c == nil {
		return
	}
	b.topics("default_alarms.notify", c.Notify)
	for _, a := range DefaultAlarms(*out, c.Notify) {
		if !slices.ContainsFunc(out.Alarms, func(x Alarm) bool { return x.Name == a.Name }) {
			out.Alarms = append(out.Alarms, a)
		}
		if c.Rollback && !slices.Contains(out.Deployment.RollbackOnAlarms, a.Name) {
			out.Deployment.RollbackOnAlarms = append(out.Deployment.RollbackOnAlarms, a.Name)
			out.Deployment.Rollback = true
		}
	}
}

// defaultAlarmsConfig is default_alarms.
type defaultAlarmsConfig struct {
	Notify   oneOrMore `yaml:"notify" short:"true" jsonschema:"required" jsonschema_description:"ARNs of SNS topics"`
	Rollback bool      `yaml:"rollback" jsonschema_description:"Whether one that goes off ends a deployment and brings back what ran before"`
}
