// Package emit tells EventBridge what happens in the local AWS, in the form of the documented events.
// It watches the state: a record that changes several times before it is looked at is told of once, as
// it is then.
package emit

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/api/autoscaling"
	"github.com/slipway-ecs/slipway/internal/local/api/cloudwatch"
	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/autoscalingapi"
	"github.com/slipway-ecs/slipway/internal/local/wire/cloudwatchapi"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

// Config is what is watched and who is told.
type Config struct {
	State           *state.ECS
	Clock           clock.Clock
	Log             *slog.Logger
	Region, Account string
	// Emit puts an event on the default bus, Listens reports whether a rule there looks at events at all
	// (nil: it does); the others take what does not go by EventBridge.
	Emit    func(source, detailType string, resources []string, detail any)
	Listens func() bool
	Publish func(topicARN, subject, message string) error
	Queue   func(queueARN, body string) error
	ECS     *wire.Service
	Alarms  *wire.Service // CloudWatch
	Groups  *autoscaling.Service
}

// Emitter tells. Its loop is Run.
type Emitter struct {
	c           Config
	tasks       map[string]*state.Task // as last looked at
	deployments map[string]string      // rollout state and reason
	instances   map[string]instanceSeen
	alarms      map[string]string
	members     map[string]map[string]string // group → instance → state
	tokens      map[string]bool
	started     time.Time

	mu       sync.Mutex
	notified map[string]time.Time // alarm → the transition that was told to topics
}

type taskSeen struct {
	version               int64
	last, desired, health string
}

type instanceSeen struct {
	version   int64
	status    string
	connected bool
}

// New makes an emitter; Run runs it.
func New(c Config) *Emitter {
	return &Emitter{c: c, tasks: map[string]*state.Task{}, deployments: map[string]string{}, instances: map[string]instanceSeen{}, alarms: map[string]string{},
		members: map[string]map[string]string{}, tokens: map[string]bool{}, notified: map[string]time.Time{}, started: c.Clock.Now()}
}

// Run tells of changes until ctx ends. What is there when it starts is known, but for lifecycle
// actions: whoever waits for one is told again.
func (e *Emitter) Run(ctx context.Context) error {
	w := e.c.State.DB.Watch(state.TableTasks, state.TableServiceEvents, state.TableDeployments, state.TableContainerInstances, autoscaling.TableGroups, cloudwatch.TableAlarms)
	defer w.Stop()
	_ = e.c.State.DB.View(func(tx *state.Tx) error {
		for k, t := range e.c.State.Tasks.All(tx) {
			e.tasks[k] = t
		}
		for k, d := range e.c.State.Deployments.All(tx) {
			e.deployments[k] = d.RolloutState + d.RolloutReason
		}
		for k, i := range e.c.State.ContainerInstances.All(tx) {
			e.instances[k] = instanceSeen{i.Version, i.Status, i.AgentConnected}
		}
		for name, g := range e.c.Groups.Groups(tx) {
			e.members[name] = states(g)
		}
		return nil
	})
	e.alarm(ctx, "")
	e.groups()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.C:
		}
		changes := w.Drain()
		moved := e.moved(changes)
		if e.c.Listens != nil && !e.c.Listens() {
			moved = nil
		}
		for _, m := range moved {
			if m.task != nil {
				e.task(ctx, m.task)
			} else {
				e.instance(ctx, m.instance)
			}
		}
		groups := false
		for _, ch := range changes {
			switch ch.Table {
			case state.TableServiceEvents:
				e.service(ch.Key)
			case state.TableDeployments:
				e.deployment(ch.Key)
			case autoscaling.TableGroups:
				groups = true
			case cloudwatch.TableAlarms:
				e.alarm(ctx, ch.Key)
			}
		}
		if groups {
			e.groups()
		}
	}
}

func seen(t *state.Task) taskSeen {
	return taskSeen{t.Version, t.LastStatus, t.DesiredStatus, t.HealthStatus}
}

const iso = "2006-01-02T15:04:05.000Z"

func stamp(t time.Time) string { return t.UTC().Format(iso) }

// document is a structure of the API as events show it: times in words, no empty members.
func document(v any) map[string]any {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil // API types always are JSON
	}
	var m map[string]any
	if json.Unmarshal(raw, &m) != nil {
		return nil
	}
	tidy(m)
	return m
}

func tidy(v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if secs, ok := x.(float64); ok && strings.HasSuffix(k, "At") {
				v[k] = stamp(time.UnixMilli(int64(secs * 1000)))
				continue
			}
			tidy(x)
		}
	case []any:
		for _, x := range v {
			tidy(x)
		}
	}
}

// movement is a task or a container instance that is not as it was last told of.
type movement struct {
	task     *state.Task
	instance *state.ContainerInstance
}

// moved finds the tasks and container instances among the changes that there is something to tell of, in
// one look at the state: there may be thousands.
func (e *Emitter) moved(changes []state.Change) (out []movement) {
	_ = e.c.State.DB.View(func(tx *state.Tx) error {
		for _, ch := range changes {
			switch ch.Table {
			case state.TableTasks:
				t, ok := e.c.State.Tasks.Get(tx, ch.Key)
				if !ok {
					delete(e.tasks, ch.Key)
					continue
				}
				was := e.tasks[ch.Key]
				if e.tasks[t.ARN] = t; was == nil || seen(was) != seen(t) {
					out = append(out, movement{task: t})
				}
			case state.TableContainerInstances:
				ci, ok := e.c.State.ContainerInstances.Get(tx, ch.Key)
				if !ok {
					delete(e.instances, ch.Key)
				} else if now := (instanceSeen{ci.Version, ci.Status, ci.AgentConnected}); e.instances[ch.Key] != now {
					e.instances[ci.ARN] = now
					out = append(out, movement{instance: ci})
				}
			}
		}
		return nil
	})
	return out
}

// task tells of a task's change of state
// (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_task_events.html).
func (e *Emitter) task(ctx context.Context, t *state.Task) {
	arn := t.ARN
	out, err := wire.Do[ecsapi.DescribeTasksInput, ecsapi.DescribeTasksOutput](ctx, e.c.ECS, "DescribeTasks", &ecsapi.DescribeTasksInput{Cluster: &t.ClusterARN, Tasks: []string{arn}})
	if err != nil || len(out.Tasks) != 1 {
		return // it has gone meanwhile
	}
	d := document(out.Tasks[0])
	delete(d, "tags")
	d["updatedAt"] = stamp(e.c.Clock.Now())
	if list, ok := d["attachments"].([]any); ok {
		for _, a := range list {
			if m, ok := a.(map[string]any); ok && m["type"] == "ElasticNetworkInterface" {
				m["type"] = "eni"
			}
		}
	}
	e.c.Emit("aws.ecs", "ECS Task State Change", []string{arn}, d)
}

// service tells of a service's action
// (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_service_events.html).
func (e *Emitter) service(key string) {
	var ev *state.ServiceEvent
	var svc *state.Service
	_ = e.c.State.DB.View(func(tx *state.Tx) error {
		if ev, _ = e.c.State.ServiceEvents.Get(tx, key); ev != nil {
			svc, _ = e.c.State.Services.Get(tx, ev.ServiceKey)
		}
		return nil
	})
	if ev == nil || svc == nil {
		return
	}
	detail := map[string]any{"clusterArn": svc.ClusterARN, "createdAt": stamp(ev.At)}
	switch m := ev.Message; {
	case strings.Contains(m, "has reached a steady state"):
		detail["eventType"], detail["eventName"] = "INFO", "SERVICE_STEADY_STATE"
	case strings.Contains(m, "was unable to place a task"):
		detail["eventType"], detail["eventName"], detail["reason"] = "ERROR", "SERVICE_TASK_PLACEMENT_FAILURE", reasonOf(m)
	case strings.Contains(m, "is unable to consistently start tasks"):
		detail["eventType"], detail["eventName"] = "WARN", "SERVICE_TASK_START_IMPAIRED"
	default:
		return
	}
	e.c.Emit("aws.ecs", "ECS Service Action", []string{svc.ARN}, detail)
}

// reasonOf is the reason of a placement failure as RunTask names it.
func reasonOf(message string) string {
	for part, reason := range map[string]string{"CPU": "RESOURCE:CPU", "memory": "RESOURCE:MEMORY", "port": "RESOURCE:PORTS", "constraint": "MEMBEROF", "ENI": "RESOURCE:ENI", "GPU": "RESOURCE:GPU", "agent": "AGENT"} {
		if strings.Contains(message, part) {
			return reason
		}
	}
	return "EMPTY CAPACITY"
}

// deployment tells of a deployment's state. As on AWS, its cluster is in the service's ARN only, and a
// rollback is another one in progress.
func (e *Emitter) deployment(key string) {
	var d *state.Deployment
	var svc *state.Service
	_ = e.c.State.DB.View(func(tx *state.Tx) error {
		if d, _ = e.c.State.Deployments.Get(tx, key); d != nil {
			svc, _ = e.c.State.Services.Get(tx, d.ServiceKey)
		}
		return nil
	})
	if d == nil || svc == nil {
		delete(e.deployments, key)
		return
	}
	if now := d.RolloutState + d.RolloutReason; d.RolloutState == "" || e.deployments[key] == now {
		return
	} else {
		e.deployments[key] = now
	}
	detail := map[string]any{"eventType": "INFO", "eventName": "SERVICE_DEPLOYMENT_" + d.RolloutState, "deploymentId": d.ID, "updatedAt": d.UpdatedAt.UTC().Format("2006-01-02T15:04:05Z"), "reason": d.RolloutReason}
	if d.RolloutState == "FAILED" {
		detail["eventType"] = "ERROR"
	}
	e.c.Emit("aws.ecs", "ECS Deployment State Change", []string{svc.ARN}, detail)
}

// instance tells of a container instance's change
// (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_container_instance_events.html).
func (e *Emitter) instance(ctx context.Context, ci *state.ContainerInstance) {
	arn := ci.ARN
	out, err := wire.Do[ecsapi.DescribeContainerInstancesInput, ecsapi.DescribeContainerInstancesOutput](ctx, e.c.ECS, "DescribeContainerInstances",
		&ecsapi.DescribeContainerInstancesInput{Cluster: &ci.ClusterName, ContainerInstances: []string{arn}})
	if err != nil || len(out.ContainerInstances) != 1 {
		return // it has gone meanwhile
	}
	d := document(out.ContainerInstances[0])
	for _, k := range []string{"tags", "attachments", "runningTasksCount", "pendingTasksCount"} {
		delete(d, k)
	}
	cluster, _, _ := strings.Cut(arn, ":container-instance/")
	d["clusterArn"], d["updatedAt"] = cluster+":cluster/"+ci.ClusterName, stamp(e.c.Clock.Now())
	e.c.Emit("aws.ecs", "ECS Container Instance State Change", []string{arn}, d)
}

// alarm tells of an alarm's change of state; with an empty name it notes the states of all.
func (e *Emitter) alarm(ctx context.Context, name string) {
	in := &cloudwatchapi.DescribeAlarmsInput{}
	if name != "" {
		in.AlarmNames = []string{name}
	}
	out, err := wire.Do[cloudwatchapi.DescribeAlarmsInput, cloudwatchapi.DescribeAlarmsOutput](ctx, e.c.Alarms, "DescribeAlarms", in)
	if err != nil {
		e.c.Log.Error("reading alarms", "error", err)
		return
	}
	if name != "" && len(out.MetricAlarms) == 0 {
		delete(e.alarms, name)
	}
	for _, a := range out.MetricAlarms {
		was, known := e.alarms[*a.AlarmName]
		now := wire.Value(a.StateValue)
		e.alarms[*a.AlarmName] = now
		if name == "" || was == now || !known && now == "INSUFFICIENT_DATA" {
			continue
		}
		if !known {
			was = "INSUFFICIENT_DATA"
		}
		e.c.Emit("aws.cloudwatch", "CloudWatch Alarm State Change", []string{wire.Value(a.AlarmArn)}, map[string]any{"alarmName": a.AlarmName,
			"configuration": map[string]any{"description": wire.Value(a.AlarmDescription), "metrics": watched(&a)},
			"previousState": map[string]any{"value": was},
			"state":         map[string]any{"value": now, "reason": wire.Value(a.StateReason), "timestamp": wire.TimeOf(a.StateUpdatedTimestamp).UTC().Format("2006-01-02T15:04:05.000+0000")}})
	}
}

// OnAlarm is an alarm's action: it tells the topics among the ARNs, once a transition.
func (e *Emitter) OnAlarm(a cloudwatch.Alarm, arns []string) {
	at := wire.TimeOf(a.API.StateTransitionedTimestamp)
	e.mu.Lock()
	defer e.mu.Unlock()
	if at.IsZero() || !at.After(e.notified[a.Name()]) || at.Before(e.started) {
		return // it goes on; CloudWatch repeats actions for scaling only
	}
	e.notified[a.Name()] = at
	for _, arn := range arns {
		if !strings.HasPrefix(arn, "arn:aws:sns:") {
			continue
		}
		body, err := json.Marshal(map[string]any{"AlarmName": a.API.AlarmName, "AlarmDescription": a.API.AlarmDescription, "AWSAccountId": e.c.Account, "NewStateValue": a.State(), "NewStateReason": a.API.StateReason,
			"StateChangeTime": at.UTC().Format("2006-01-02T15:04:05.000+0000"), "Region": e.c.Region, "AlarmArn": a.API.AlarmArn, "AlarmActions": a.API.AlarmActions, "OKActions": a.API.OKActions,
			"Trigger": trigger(&a.API)})
		if err == nil {
			err = e.c.Publish(arn, a.State()+": \""+a.Name()+"\" in "+e.c.Region, string(body))
		}
		if err != nil {
			e.c.Log.Warn("an alarm's topic could not be told", "alarm", a.Name(), "topic", arn, "error", err)
		}
	}
}

func states(g *autoscaling.Group) map[string]string {
	out := map[string]string{}
	for _, m := range g.Members {
		out[m.ID] = m.State
	}
	return out
}

// groups tells of lifecycle actions that began, and of instances that came and went
// (https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-event-reference.html).
func (e *Emitter) groups() {
	var list []*autoscaling.Group
	_ = e.c.State.DB.View(func(tx *state.Tx) error {
		for _, g := range e.c.Groups.Groups(tx) {
			list = append(list, g)
		}
		return nil
	})
	tokens := map[string]bool{}
	for _, g := range list {
		name, arn := wire.Value(g.Spec.AutoScalingGroupName), wire.Value(g.Spec.AutoScalingGroupARN)
		was, now := e.members[name], states(g)
		e.members[name] = now
		for _, m := range g.Members {
			if m.State == "InService" && was[m.ID] != "InService" && was != nil {
				e.came("Launch", name, arn, m.ID, m.AZ, m.Since)
			}
			if m.Token == "" {
				continue
			}
			tokens[m.Token] = true
			if e.tokens[m.Token] {
				continue
			}
			for _, h := range g.Hooks {
				if wire.Value(h.LifecycleHookName) == m.Hook {
					e.lifecycle(name, arn, m, h)
				}
			}
		}
		for id, st := range was {
			if _, still := now[id]; !still && strings.HasPrefix(st, "Terminat") {
				e.came("Terminate", name, arn, id, "", e.c.Clock.Now())
			}
		}
	}
	e.tokens = tokens
}

func (e *Emitter) lifecycle(group, arn string, m autoscaling.Member, h autoscalingapi.LifecycleHook) {
	kind := "launch"
	if strings.HasSuffix(wire.Value(h.LifecycleTransition), "TERMINATING") {
		kind = "terminate"
	}
	detail := map[string]any{"LifecycleActionToken": m.Token, "AutoScalingGroupName": group, "LifecycleHookName": m.Hook, "EC2InstanceId": m.ID, "LifecycleTransition": h.LifecycleTransition,
		"Origin": "EC2", "Destination": "AutoScalingGroup"}
	if kind == "terminate" {
		detail["Origin"], detail["Destination"] = "AutoScalingGroup", "EC2"
	}
	if h.NotificationMetadata != nil {
		detail["NotificationMetadata"] = h.NotificationMetadata
	}
	e.c.Emit("aws.autoscaling", "EC2 Instance-"+kind+" Lifecycle Action", []string{arn}, detail)
	target := wire.Value(h.NotificationTargetARN)
	if target == "" {
		return
	}
	body, err := json.Marshal(map[string]any{"Service": "AWS Auto Scaling", "Time": stamp(e.c.Clock.Now()), "RequestId": m.Token, "AccountId": e.c.Account, "LifecycleActionToken": m.Token,
		"AutoScalingGroupName": group, "LifecycleHookName": m.Hook, "EC2InstanceId": m.ID, "LifecycleTransition": h.LifecycleTransition, "NotificationMetadata": h.NotificationMetadata})
	switch {
	case err != nil:
	case strings.Contains(target, ":sqs:"):
		err = e.c.Queue(target, string(body))
	case strings.Contains(target, ":sns:"):
		err = e.c.Publish(target, "Auto Scaling:  Lifecycle action '"+strings.ToUpper(kind)+"' for instance "+m.ID+" in progress.", string(body))
	}
	if err != nil {
		e.c.Log.Warn("a lifecycle hook's target could not be told", "hook", m.Hook, "target", target, "error", err)
	}
}

func (e *Emitter) came(what, group, arn, instance, zone string, at time.Time) {
	verb := map[string]string{"Launch": "Launching a new EC2 instance: ", "Terminate": "Terminating EC2 instance: "}[what]
	details := map[string]any{}
	if zone != "" {
		details["Availability Zone"] = zone
	}
	e.c.Emit("aws.autoscaling", "EC2 Instance "+what+" Successful", []string{arn, "arn:aws:ec2:" + e.c.Region + ":" + e.c.Account + ":instance/" + instance}, map[string]any{
		"StatusCode": "InProgress", "Description": verb + instance, "AutoScalingGroupName": group, "EC2InstanceId": instance, "Details": details, "StatusMessage": "",
		"StartTime": stamp(at), "EndTime": stamp(e.c.Clock.Now()), "Cause": ""})
}
