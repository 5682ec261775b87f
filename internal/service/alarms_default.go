package service

import (
	"slices"
	"time"
)

// DefaultAlarms are what is worth being woken for in any service of this shape: its answers, where it has
// a balancer, its tasks near their limits, and tasks that end by themselves again and again. Thresholds
// hold for five minutes, so that a deployment or one bad minute is no alarm.
func DefaultAlarms(s Spec, notify []string) []Alarm {
	if s.Kind == KindJob {
		return nil
	}
	alarm := func(name, metric string, threshold float64) Alarm {
		return Alarm{Name: name, Metric: metric, Threshold: threshold, Periods: 5, Period: time.Minute, Notify: notify}
	}
	// More tasks than the service has, or three of a small one, within five minutes: each has died once,
	// or one dies in a loop.
	churn := Alarm{Name: "default-churn", Metric: "task-churn", Threshold: float64(max(3, s.Count)), Periods: 1, Period: 5 * time.Minute, Notify: notify}
	out := []Alarm{alarm("default-cpu", "cpu", 90), alarm("default-memory", "memory", 90), churn}
	if r := s.Route; r != nil && slices.Contains([]string{"", "HTTP", "HTTPS", "GRPC"}, r.Protocol) {
		out = append(out, alarm("default-errors", "5xx-percent", 5), alarm("default-latency", "latency-p95", 1), alarm("default-unhealthy", "unhealthy", 0))
	}
	return out
}

// defaultAlarms adds those that the file does not define under the same name, and lets a deployment go
// back when one goes off, where that is asked for.
func (b *builder) defaultAlarms(s *settings, out *Spec) {
	c := s.DefaultAlarms
	if c == nil {
		c = &defaultAlarmsConfig{}
	}
	if c.Enabled != nil && !*c.Enabled {
		if c.Rollback {
			b.fault("default_alarms.rollback", "default_alarms.rollback goes by alarms that are switched off")
		}
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
	Enabled  *bool     `yaml:"enabled" short:"switch" jsonschema_description:"false: none of them. Default: true"`
	Notify   oneOrMore `yaml:"notify" short:"true" jsonschema_description:"ARNs of SNS topics; default: nobody is told, the alarms are to be looked at"`
	Rollback bool      `yaml:"rollback" jsonschema_description:"Whether one that goes off ends a deployment and brings back what ran before"`
}
