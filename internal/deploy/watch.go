package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// following is a deployment to wait for.
type following struct {
	ref         Ref
	definition  TaskDefinition // that should serve in the end
	targetGroup *TargetGroup   // nil without a route
	alternate   *TargetGroup   // nil unless the traffic is shifted
	before      string         // id of the rollout that went on before the one wanted; empty: any
	old         []string       // ARNs of the service deployments from before
	events      []ServiceEvent // from before
	grace       time.Duration
	timeout     time.Duration // 0 = 15 min
	rollback    bool          // on a time-out
	report      func(Event)
}

// How long a deployment may take, and how long ECS may take to show it.
const (
	defaultTimeout = 15 * time.Minute
	appearTimeout  = time.Minute
	logLines       = 20
	logTasks       = 5 // failed tasks whose logs are kept
)

// interval is how long to wait between looks at something of this age: a twenty-fifth of it, so that
// the end is seen at most 4 % late, and what is old costs little of the read quota (DescribeServices: 20
// a second for the whole account).
func interval(age time.Duration) time.Duration {
	return max(250*time.Millisecond, min(age/25, 5*time.Second))
}

// watch is the state of one wait.
type watch struct {
	*Engine
	following
	started  time.Time
	since    time.Time // when the deployment began, by AWS's clock; zero while it is not found
	rollout  string    // id (ecs-svc/…) of the rollout wanted
	arn      string    // of the service deployment
	evidence Evidence
	tasks    map[string]Task // of the new revision, by ARN, as last seen
	logs     map[string]bool // tasks whose logs were read
	targets  map[string]TargetHealth
	seen     map[string]bool // service events
	progress Event
	warned   Cause
	stopping bool // a rollback was asked for because time was out
}

// follow waits until the service deployment that rolls out f.definition ends. Its error is a
// *Failure unless the deployment succeeded and what it rolled out serves.
func (e *Engine) follow(ctx context.Context, f following) (Deployment, error) {
	if f.timeout == 0 {
		f.timeout = defaultTimeout
	}
	w := &watch{Engine: e, following: f, started: e.clock.Now(), tasks: map[string]Task{}, logs: map[string]bool{},
		targets: map[string]TargetHealth{}, seen: map[string]bool{}}
	for _, ev := range f.events {
		w.seen[ev.ID] = true
	}
	w.evidence = evidenceOf(f)
	for {
		svc, err := e.ports.Services.Service(ctx, f.ref)
		if err != nil {
			return Deployment{}, fmt.Errorf("watching service %s: %w", f.ref.Service, err)
		}
		dep, err := w.look(ctx, svc)
		if err != nil {
			return dep, err
		}
		if dep.ARN != "" && !dep.Open() {
			return w.end(ctx, svc, dep)
		}
		age := e.clock.Now().Sub(w.started)
		if dep.ARN == "" && age > appearTimeout {
			return dep, fmt.Errorf("ECS shows no service deployment of %s %s after its update", f.ref.Service, appearTimeout)
		}
		if age > f.timeout && !w.stopping {
			w.evidence.TimedOut = true
			if !f.rollback {
				return dep, w.failure(ctx, dep, true)
			}
			w.warn("not done after "+f.timeout.String()+": rolling back", "")
			if err := e.ports.Deployments.StopDeployment(ctx, dep.ARN, true); err != nil {
				return dep, errors.Join(w.failure(ctx, dep, true), fmt.Errorf("stopping the deployment: %w", err))
			}
			w.stopping = true
		}
		if age > 2*f.timeout {
			return dep, w.failure(ctx, dep, true)
		}
		if err := e.clock.Wait(ctx, interval(age)); err != nil {
			var lost *LeaseError
			if errors.As(err, &lost) {
				return dep, err
			}
			return dep, fmt.Errorf("AWS goes on deploying %s (follow it with slipway status --follow, stop it with slipway stop): %w", f.ref.Service, err)
		}
	}
}

func evidenceOf(f following) Evidence {
	ev := Evidence{Service: f.ref.Service, Grace: f.grace}
	if len(f.definition.Containers) > 0 {
		c := f.definition.Containers[0]
		ev.Container, ev.Image, ev.Memory = c.Name, c.Image, c.Memory
		if ev.Memory == 0 {
			ev.Memory = f.definition.Memory
		}
	}
	if tg := f.targetGroup; tg != nil {
		ev.Port, ev.Protocol, ev.Path, ev.Matcher = tg.Port, tg.HealthProtocol, tg.Health.Path, tg.Health.Matcher
	}
	return ev
}

// look reads everything once and reports what changed.
func (w *watch) look(ctx context.Context, svc Service) (Deployment, error) {
	if w.rollout == "" {
		for _, r := range svc.Rollouts {
			if r.TaskDefinition == w.definition.ARN && r.ID != w.before {
				w.rollout = r.ID
				break
			}
		}
	}
	dep, err := w.deployment(ctx)
	if err != nil {
		return dep, err
	}
	if err := w.readTasks(ctx); err != nil {
		return dep, err
	}
	if w.targetGroup != nil {
		targets, err := w.ports.TargetGroups.Targets(ctx, w.targetGroup.ARN)
		if err != nil {
			return dep, fmt.Errorf("reading target health: %w", err)
		}
		if w.alternate != nil {
			more, err := w.ports.TargetGroups.Targets(ctx, w.alternate.ARN)
			if err != nil {
				return dep, fmt.Errorf("reading target health: %w", err)
			}
			targets = append(targets, more...)
		}
		w.readTargets(targets)
	}
	w.readEvents(svc)
	w.showProgress(svc, dep)
	if dep.ARN != "" && dep.Open() {
		w.evidence.Status = dep.Status
		if d := Diagnose(w.evidence); d.Cause != CauseUnknown && d.Cause != CauseSlow && d.Cause != w.warned {
			w.warned = d.Cause
			w.warn(d.Sentence, dep.Status)
		}
	}
	return dep, nil
}

func (w *watch) warn(message, status string) {
	w.event(w.report, Event{Kind: EventWarning, Resource: w.ref.Service, Status: status, Message: message})
}

// deployment finds the service deployment wanted: the newest whose revision runs the definition.
func (w *watch) deployment(ctx context.Context) (Deployment, error) {
	if w.arn == "" {
		list, err := w.ports.Deployments.Deployments(ctx, w.ref, 5)
		if err != nil {
			return Deployment{}, fmt.Errorf("listing service deployments: %w", err)
		}
		for _, d := range list {
			if slices.Contains(w.old, d.ARN) {
				continue
			}
			rev, err := w.ports.Deployments.Revision(ctx, d.Target)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return Deployment{}, fmt.Errorf("reading service revision %s: %w", d.Target, err)
			}
			if rev.TaskDefinition == w.definition.ARN {
				w.arn = d.ARN
				break
			}
		}
		if w.arn == "" {
			return Deployment{}, nil
		}
	}
	d, err := w.ports.Deployments.Deployment(ctx, w.arn)
	if err != nil {
		return d, fmt.Errorf("reading service deployment %s: %w", w.arn, err)
	}
	w.since = d.CreatedAt
	return d, nil
}

// mine says whether a task belongs to the rollout watched.
func (w *watch) mine(t Task) bool {
	if w.rollout != "" && strings.HasPrefix(t.StartedBy, "ecs-svc/") {
		return t.StartedBy == w.rollout
	}
	return t.TaskDefinition == w.definition.ARN && !w.since.IsZero() && !t.CreatedAt.Before(w.since.Add(-2*time.Second))
}

func (w *watch) readTasks(ctx context.Context) error {
	tasks, err := w.ports.Tasks.ServiceTasks(ctx, w.ref)
	if err != nil {
		return fmt.Errorf("reading tasks: %w", err)
	}
	w.progress.Old = 0
	for _, t := range tasks {
		if !w.mine(t) {
			if t.LastStatus == "RUNNING" {
				w.progress.Old++
			}
			continue
		}
		was, known := w.tasks[t.ARN]
		for i, c := range was.Containers {
			if i < len(t.Containers) {
				t.Containers[i].Logs = c.Logs
			}
		}
		if t.LastStatus == "STOPPED" && !w.logs[t.ARN] && len(w.logs) < logTasks && t.failed() {
			w.logs[t.ARN] = true
			w.readLogs(ctx, &t)
		}
		w.tasks[t.ARN] = t
		if !known || was.LastStatus != t.LastStatus || was.Health != t.Health {
			w.event(w.report, Event{Kind: EventTask, Resource: t.ID, Status: t.LastStatus, Message: taskLine(t)})
		}
	}
	w.evidence.Stopped, w.evidence.Running = nil, nil
	for _, t := range w.tasks {
		if t.ending() {
			w.evidence.Stopped = append(w.evidence.Stopped, t)
		} else {
			w.evidence.Running = append(w.evidence.Running, t)
		}
	}
	byAge := func(a, b Task) int {
		return strings.Compare(a.CreatedAt.Format(time.RFC3339Nano)+a.ARN, b.CreatedAt.Format(time.RFC3339Nano)+b.ARN)
	}
	slices.SortFunc(w.evidence.Stopped, byAge)
	slices.SortFunc(w.evidence.Running, byAge)
	return nil
}

// readLogs keeps the last lines of what a task wrote. Logs that cannot be read are no reason to
// stop watching.
func (w *watch) readLogs(ctx context.Context, t *Task) {
	for i, c := range t.Containers {
		t.Containers[i].Logs = w.tail(ctx, w.definition, c.Name, t.ID)
	}
}

// tail returns the last lines of a container's log stream, none where there is none.
func (e *Engine) tail(ctx context.Context, td TaskDefinition, container, task string) []string {
	group, prefix := td.LogOptions["awslogs-group"], td.LogOptions["awslogs-stream-prefix"]
	if td.LogDriver != "awslogs" || group == "" || prefix == "" {
		return nil
	}
	lines, err := e.ports.Logs.Tail(ctx, group, prefix+"/"+container+"/"+task, logLines)
	if err != nil {
		return nil
	}
	return lines
}

func taskLine(t Task) string {
	s := "task " + t.ID + " " + strings.ToLower(t.LastStatus)
	if t.LastStatus != "STOPPED" {
		if t.Health != "" && t.Health != "UNKNOWN" {
			s += " (" + strings.ToLower(t.Health) + ")"
		}
		return s
	}
	return s + ": " + reasonLine(t)
}

// reasonLine is why a task stopped, with its container's exit code and reason.
func reasonLine(t Task) string {
	s := t.StoppedReason
	for _, c := range t.Containers {
		if c.ExitCode != nil && *c.ExitCode != 0 {
			s += fmt.Sprintf("; %s exited with code %d", c.Name, *c.ExitCode)
		}
		if c.Reason != "" && !strings.Contains(s, c.Reason) {
			s += "; " + c.Name + ": " + c.Reason
		}
	}
	return s
}

// ending says that a task has stopped or is about to.
func (t Task) ending() bool {
	return t.LastStatus == "STOPPED" || t.DesiredStatus == "STOPPED" && t.StoppedReason != ""
}

// failed says that a task stopped for another reason than that ECS no longer wanted it.
func (t Task) failed() bool {
	return t.ending() && !strings.HasPrefix(t.StoppedReason, "Scaling activity initiated by")
}

func (w *watch) readTargets(targets []TargetHealth) {
	now := map[string]TargetHealth{}
	w.evidence.Targets, w.progress.Healthy = nil, 0
	for _, t := range targets {
		key := t.ID + ":" + itoa(t.Port)
		now[key] = t
		if !w.serves(t) {
			continue
		}
		w.evidence.Targets = append(w.evidence.Targets, t)
		if t.State == "healthy" {
			w.progress.Healthy++
		}
		if was := w.targets[key]; was.State != t.State {
			w.event(w.report, Event{Kind: EventTarget, Resource: key, Status: t.State, Message: "target " + targetLine(t)})
		}
	}
	w.targets = now
}

// serves says whether a target is one of the new tasks.
func (w *watch) serves(target TargetHealth) bool {
	for _, t := range w.tasks {
		if t.Host != target.ID {
			continue
		}
		for _, c := range t.Containers {
			for _, p := range c.Ports {
				if p.Host == target.Port || p.Host == 0 && p.Container == target.Port {
					return true
				}
			}
			if len(c.Ports) == 0 && target.Port == w.evidence.Port {
				return true // awsvpc: the container's port on the task's own address
			}
		}
	}
	return false
}

func targetLine(t TargetHealth) string {
	s := t.ID + ":" + itoa(t.Port) + " " + t.State
	if t.Description != "" && t.State != "healthy" {
		s += ": " + t.Description
	}
	return s
}

func (w *watch) readEvents(svc Service) {
	if w.since.IsZero() {
		return
	}
	for _, ev := range slices.Backward(svc.Events) { // the newest come first
		if w.seen[ev.ID] || ev.At.Before(w.since.Add(-2*time.Second)) {
			continue
		}
		w.seen[ev.ID] = true
		w.evidence.Events = append(w.evidence.Events, ev)
		w.event(w.report, Event{Kind: EventService, Resource: w.ref.Service, Message: ev.Message})
	}
}

func (w *watch) showProgress(svc Service, dep Deployment) {
	p := Event{Kind: EventProgress, Resource: w.ref.Service, Status: dep.Status, Old: w.progress.Old, Healthy: w.progress.Healthy, Desired: svc.Desired}
	for _, r := range svc.Rollouts {
		if r.ID == w.rollout && r.Status == "PRIMARY" {
			p.Desired = r.Desired
		}
	}
	for _, t := range w.evidence.Running {
		if t.LastStatus == "RUNNING" {
			p.Running++
		}
	}
	for _, t := range w.evidence.Stopped {
		if t.failed() {
			p.Failed++
		}
	}
	w.evidence.Desired = p.Desired
	p.Message = fmt.Sprintf("%d of %d new tasks run", p.Running, p.Desired)
	if w.targetGroup != nil {
		p.Message += fmt.Sprintf(", %d of %d targets healthy", p.Healthy, p.Desired)
	}
	if p.Old > 0 {
		p.Message += fmt.Sprintf(", %d old", p.Old)
	}
	if p.Failed > 0 {
		p.Message += fmt.Sprintf(", %d failed", p.Failed)
	}
	if w.alternate != nil && dep.Stage != "" && dep.Open() { // which ECS goes through while it moves the traffic
		p.Message += ", " + strings.ToLower(strings.ReplaceAll(dep.Stage, "_", " "))
	}
	if p.Message != w.progress.Message || p.Status != w.progress.Status {
		w.event(w.report, p)
	}
	w.progress = p
}

// end tells a deployment that is over good from bad.
func (w *watch) end(ctx context.Context, svc Service, dep Deployment) (Deployment, error) {
	if dep.Status != "SUCCESSFUL" {
		return dep, w.failure(ctx, dep, false)
	}
	for _, r := range svc.Rollouts {
		if r.Status == "PRIMARY" && r.TaskDefinition != w.definition.ARN {
			dep.StatusReason = "another deployment (" + r.ID + ", " + revisionName(r.TaskDefinition) + ") has replaced it"
			w.evidence.StatusReason = dep.StatusReason
			f := w.failed(dep)
			f.Diagnosis = Diagnosis{Cause: CauseSuperseded, Sentence: dep.StatusReason, Fix: "Look who deploys it: slipway history."}
			return dep, f
		}
	}
	w.event(w.report, Event{Kind: EventDone, Resource: w.ref.Service, Status: dep.Status, Message: fmt.Sprintf(
		"%s runs %s, rolled out in %s", w.ref.Service, revisionName(w.definition.ARN), span(w.clock.Now().Sub(w.started)))})
	return dep, nil
}

func (w *watch) failed(dep Deployment) *Failure {
	return &Failure{Status: dep.Status, Deployment: dep.ARN, RolledBack: dep.Status == "ROLLBACK_SUCCESSFUL",
		Outcome: Outcome{Service: w.ref.Service, Deployment: dep.ARN, Revision: dep.Target}}
}

func (w *watch) failure(ctx context.Context, dep Deployment, going bool) error {
	if err := w.linger(ctx); err != nil {
		return err
	}
	for i := range w.evidence.Stopped { // what was not in the logs yet may be now
		if t := &w.evidence.Stopped[i]; w.logs[t.ARN] && !hasLogs(*t) {
			w.readLogs(ctx, t)
		}
	}
	if len(w.evidence.Stopped) == 0 && len(w.evidence.Running) > 0 {
		w.readLogs(ctx, &w.evidence.Running[0])
	}
	w.evidence.Status, w.evidence.StatusReason = dep.Status, dep.StatusReason
	if dep.RollbackWhy != "" {
		w.evidence.StatusReason = dep.RollbackWhy
	}
	w.evidence.Waited = w.clock.Now().Sub(w.started)
	f := w.failed(dep)
	f.Diagnosis = Diagnose(w.evidence)
	if going {
		f.Status, f.StillGoing = "TIMED_OUT", true
	}
	w.event(w.report, Event{Kind: EventDone, Resource: w.ref.Service, Status: f.Status, Message: f.Diagnosis.Sentence})
	return f
}

// lingerFor is how long the end of tasks that are being stopped is waited for: their exit codes and
// last words say why the deployment failed, and it may be over before they are.
const lingerFor = 10 * time.Second

func (w *watch) linger(ctx context.Context) error {
	for waited := time.Duration(0); waited < lingerFor; waited += time.Second / 2 {
		if !slices.ContainsFunc(w.evidence.Stopped, func(t Task) bool { return t.LastStatus != "STOPPED" && t.failed() }) {
			return nil
		}
		if err := w.clock.Wait(ctx, time.Second/2); err != nil {
			return err
		}
		if err := w.readTasks(ctx); err != nil {
			return err
		}
	}
	return nil
}

func hasLogs(t Task) bool {
	return slices.ContainsFunc(t.Containers, func(c TaskContainer) bool { return len(c.Logs) > 0 })
}
