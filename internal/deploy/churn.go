package deploy

import (
	"context"
	"encoding/json"
	"fmt"
)

// Tasks that end by themselves again and again (task-churn). No metric of ECS counts them: AWS/ECS has
// CPU and memory alone, and Container Insights, which costs, has numbers of tasks that are there, not of
// those that came and went between two looks. ECS tells EventBridge of each task that stops and why,
// and EventBridge counts what a rule matches (AWS/Events TriggeredRules by RuleName), so the alarm
// goes by a rule that matches the service's tasks that ended by themselves. It needs no target. Tasks
// that a deployment, scaling or a person stopped are not counted.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_task_events.html
// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-monitoring.html

const (
	resEventRule = "event rule"
	churnMetric  = "task-churn"
)

// EventRules are EventBridge's rules of the default bus.
type EventRules interface {
	// EventRule returns ErrNotFound for one that is not there.
	EventRule(ctx context.Context, name string) (EventRule, error)
	PutEventRule(ctx context.Context, want EventRule) error
	DeleteEventRule(ctx context.Context, name string) error
}

// EventRule counts the events it matches.
type EventRule struct {
	Name        string // at most 64 characters
	Pattern     string // JSON
	Description string
	Enabled     bool
	Tags        map[string]string
}

func (r Ref) churnRuleName() string { return r.roleName("churn") }

// churnRule matches the service's tasks that ended by themselves, did not start, or were replaced for
// failing a health check; nil where no alarm goes by it.
func churnRule(in Infra, ref Ref, alarms []Alarm, tags map[string]string) *EventRule {
	for _, a := range alarms {
		if a.Metric != churnMetric {
			continue
		}
		detail := map[string]any{
			"clusterArn": []string{in.arn("ecs", "cluster/"+clusterName(ref.Cluster))}, "group": []string{"service:" + ref.Service}, "lastStatus": []string{"STOPPED"},
			"$or": []map[string]any{{"stopCode": []string{"EssentialContainerExited", "TaskFailedToStart"}}, {"stoppedReason": []map[string]string{{"prefix": "Task failed "}}}},
		}
		pattern, err := json.Marshal(map[string]any{"source": []string{"aws.ecs"}, "detail-type": []string{"ECS Task State Change"}, "detail": detail})
		if err != nil {
			panic("event pattern does not marshal: " + err.Error()) // only strings
		}
		return &EventRule{Name: ref.churnRuleName(), Pattern: string(pattern), Description: "Counts the tasks of " + ref.Service + " that ended by themselves", Enabled: true, Tags: tags}
	}
	return nil
}

func (e *Engine) observeChurn(ctx context.Context, ref Ref, o *observed) (err error) {
	if e.ports.EventRules == nil {
		return nil
	}
	if o.churn, err = found(e.ports.EventRules.EventRule(ctx, ref.churnRuleName())); err != nil {
		return fmt.Errorf("reading event rule %s: %w", ref.churnRuleName(), err)
	}
	return nil
}

func churnChanges(d desired, o observed) []Change {
	switch {
	case d.churn == nil && o.churn == nil:
		return nil
	case d.churn == nil:
		return []Change{{Resource: resEventRule, Name: o.churn.Name, Action: Delete}}
	case o.churn == nil:
		return []Change{{Resource: resEventRule, Name: d.churn.Name, Action: Create}}
	}
	c := Change{Resource: resEventRule, Name: d.churn.Name}
	c.field("pattern", canonicalJSON(o.churn.Pattern), canonicalJSON(d.churn.Pattern))
	c.field("enabled", o.churn.Enabled, d.churn.Enabled)
	c.tags(o.churn.Tags, d.churn.Tags)
	return []Change{c}
}

// churn comes before the alarm that goes by it.
func (r *run) churn(ctx context.Context) error {
	if r.d.churn == nil {
		return nil
	}
	if r.ports.EventRules == nil {
		return refuse("not supported: alarms on task-churn from here")
	}
	a := r.action(resEventRule, r.d.churn.Name)
	if a != Keep {
		if err := r.ports.EventRules.PutEventRule(ctx, *r.d.churn); err != nil {
			return fmt.Errorf("putting event rule %s: %w", r.d.churn.Name, err)
		}
	}
	r.step(resEventRule, a, "event rule %s: tasks that end by themselves are counted", r.d.churn.Name)
	return nil
}

func (x *removal) churn(ctx context.Context) error {
	if x.o.churn == nil {
		return nil
	}
	if err := x.ports.EventRules.DeleteEventRule(ctx, x.o.churn.Name); err != nil {
		return fmt.Errorf("deleting event rule %s: %w", x.o.churn.Name, err)
	}
	x.gone(resEventRule, "event rule %s", x.o.churn.Name)
	return nil
}
