package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/service"
)

// Alarms are CloudWatch alarms.
type Alarms interface {
	// Alarms lists those whose name begins with the prefix.
	Alarms(ctx context.Context, prefix string) ([]Alarm, error)
	PutAlarm(ctx context.Context, want Alarm) error
	DeleteAlarms(ctx context.Context, names []string) error
}

// Alarm is an alarm on a metric of the service or of its target group, above a threshold.
type Alarm struct {
	Name         string // the whole name
	Metric       string // cpu, memory (percent), unhealthy (targets), latency-p95 (seconds), 5xx-percent, task-churn (tasks a period)
	Threshold    float64
	Periods      int // all of which must be above it
	Period       time.Duration
	Notify       []string // SNS topics
	Ref          Ref
	LoadBalancer string // ARN
	TargetGroup  string // ARN
	EventRule    string // name of the rule that counts, of task-churn
	Tags         map[string]string
}

const resAlarm = "alarm"

func (r Ref) alarmPrefix() string { return "slipway-" + clusterName(r.Cluster) + "-" + r.Service + "-" }

// alarms are the wanted ones; what the load balancer is called is filled in once it is known.
func alarms(spec service.Spec, ref Ref, lb *Listener, tags map[string]string) ([]Alarm, error) {
	var out []Alarm
	for _, a := range spec.Alarms {
		alarm := Alarm{Name: ref.alarmPrefix() + a.Name, Metric: a.Metric, Threshold: a.Threshold, Periods: a.Periods, Period: a.Period, Notify: a.Notify, Ref: ref, Tags: tags}
		if a.Metric == churnMetric {
			alarm.EventRule = ref.churnRuleName()
		}
		if lb != nil {
			alarm.LoadBalancer = lb.LoadBalancer
		}
		out = append(out, alarm)
	}
	return out, nil
}

// alarmNames turns the service's own alarms into their whole names; others are named as they are.
func alarmNames(names []string, own []service.Alarm, ref Ref) []string {
	var out []string
	for _, n := range names {
		if slices.ContainsFunc(own, func(a service.Alarm) bool { return a.Name == n }) {
			n = ref.alarmPrefix() + n
		}
		out = append(out, n)
	}
	return out
}

func alarmChanges(d desired, o observed) []Change {
	var out []Change
	for _, want := range d.alarms {
		c := Change{Resource: resAlarm, Name: want.Name, Action: Keep}
		i := slices.IndexFunc(o.alarms, func(a Alarm) bool { return a.Name == want.Name })
		if i < 0 {
			c.Action = Create
			out = append(out, c)
			continue
		}
		have := o.alarms[i]
		c.field("metric", have.Metric, want.Metric)
		c.field("threshold", have.Threshold, want.Threshold)
		c.field("periods", have.Periods, want.Periods)
		c.field("period", have.Period, want.Period)
		c.field("notify", have.Notify, want.Notify)
		if len(c.Fields) > 0 {
			c.Action = Update
		}
		out = append(out, c)
	}
	for _, have := range o.alarms {
		if !slices.ContainsFunc(d.alarms, func(a Alarm) bool { return a.Name == have.Name }) {
			out = append(out, Change{Resource: resAlarm, Name: have.Name, Action: Delete})
		}
	}
	return out
}

func (r *run) alarms(ctx context.Context) error {
	for _, want := range r.d.alarms {
		a := r.action(resAlarm, want.Name)
		if a != Keep {
			want.TargetGroup = r.out.TargetGroup
			err := r.ports.Alarms.PutAlarm(ctx, want)
			if errors.Is(err, ErrUnavailable) { // of the local AWS: the service does without
				r.event(r.report, Event{Kind: EventWarning, Resource: want.Name, Message: "alarm " + want.Name + " is not kept: " + firstLine(err.Error())})
				continue
			}
			if err != nil {
				return fmt.Errorf("putting alarm %s: %w", want.Name, err)
			}
		}
		r.step(resAlarm, a, "alarm %s: %s above %g", want.Name, want.Metric, want.Threshold)
	}
	return nil
}

// specAlarms is the opposite of alarms.
func specAlarms(have []Alarm, ref Ref) []service.Alarm {
	var out []service.Alarm
	for _, a := range have {
		out = append(out, service.Alarm{Name: strings.TrimPrefix(a.Name, ref.alarmPrefix()), Metric: a.Metric, Threshold: a.Threshold, Periods: a.Periods, Period: a.Period, Notify: a.Notify})
	}
	slices.SortFunc(out, func(a, b service.Alarm) int { return strings.Compare(a.Name, b.Name) })
	return out
}
