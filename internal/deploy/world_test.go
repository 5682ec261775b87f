package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-ecs/slipway/internal/listener"
)

// world is the engine's ports over memory: it keeps records, and a deployment in it goes as script
// says for the image it rolls out. It runs in a synctest bubble, so its time is made up.
type world struct {
	calls       []string // writes, in order
	service     *Service
	definitions []TaskDefinition
	deployments []*Deployment // oldest first
	revisions   map[string]Revision
	groups      []TargetGroup
	rules       []Rule
	roles       map[string]Role
	logGroups   map[string]LogGroup
	scaling     *ServiceScaling
	alarms      []Alarm
	eventRules  map[string]EventRule
	schedules   map[string]Schedule
	registries  []Registry
	tasks       []*Task
	scripts     map[string]script // by image
	stolen      int               // rules others place just before ours
	stubborn    bool              // tasks stop only when told one by one
	completed   string            // task definition of the last good deployment
	n           int
	smoke       int
	later       []event
	turns       bool       // engines and the test use the world one at a time
	turn        sync.Mutex // whose turn it is
	leases
}

// leases is the port of the same name over memory, as one of those who share it sees it.
type leases struct {
	lease  *Lease
	deny   bool
	holder string
}

func (l *leases) Holder() string { return l.holder }

func (l *leases) Lease(context.Context, Ref) (Lease, error) {
	if l.lease == nil {
		return Lease{}, ErrNotFound
	}
	return *l.lease, nil
}

func (l *leases) PutLease(_ context.Context, _ Ref, want Lease, over int64) (int64, error) {
	var have int64
	if l.lease != nil {
		have = l.lease.Version
	}
	switch {
	case l.deny:
		return 0, ErrForbidden
	case have != over:
		return 0, ErrInUse
	}
	want.Version = over + 1
	l.lease = &want
	return want.Version, nil
}

func (l *leases) DropLease(_ context.Context, _ Ref, version int64) error {
	if l.lease != nil && l.lease.Version == version {
		l.lease = nil
	}
	return nil
}

// event is something that happens when its time has come.
type event struct {
	at time.Time
	do func()
}

func (w *world) in(d time.Duration, do func()) {
	w.later = append(w.later, event{time.Now().Add(d), do})
}

type script struct {
	after    time.Duration // how long it takes; 0 = never
	fail     bool
	exitCode int
	logs     []string
	reason   string // stopped reason
}

func newWorld() *world {
	return &world{revisions: map[string]Revision{}, roles: map[string]Role{}, logGroups: map[string]LogGroup{}, scripts: map[string]script{}, smoke: 200, leases: leases{holder: "ann on build-1"}}
}

func (w *world) engine() *Engine {
	return New(Ports{Services: w, Deployments: w, TaskDefinitions: w, Tasks: w, TargetGroups: w, Rules: w, Listeners: w, Roles: w, Logs: w, Scaling: w, Alarms: w, Probe: w, Leases: &w.leases, Schedules: w, Registries: w, EventRules: w}, w.clock())
}

// clock lets others have their turn while an engine waits, where the test takes turns.
func (w *world) clock() Clock {
	if w.turns {
		return turnClock{world: w}
	}
	return bubbleClock{}
}

type turnClock struct {
	bubbleClock
	world *world
}

func (c turnClock) Wait(ctx context.Context, d time.Duration) error {
	c.world.turn.Unlock()
	defer c.world.turn.Lock()
	return c.bubbleClock.Wait(ctx, d)
}

// begin runs f beside the test, which has its turn whenever f waits, and returns the end of it.
func (w *world) begin(f func() error) (end func() error) {
	ended := make(chan error, 1)
	go func() {
		w.turn.Lock()
		defer w.turn.Unlock()
		ended <- f()
	}()
	return func() error {
		w.turn.Unlock()
		defer w.turn.Lock()
		return <-ended
	}
}

// sleep lets others have their turn for so long.
func (w *world) sleep(d time.Duration) {
	w.turn.Unlock()
	defer w.turn.Lock()
	time.Sleep(d)
}

type bubbleClock struct{}

func (bubbleClock) Now() time.Time { return time.Now() }
func (bubbleClock) Wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *world) did(format string, args ...any) {
	w.calls = append(w.calls, fmt.Sprintf(format, args...))
}

func (w *world) next() int { w.n++; return w.n }

func (w *world) definition(arn string) TaskDefinition {
	for _, d := range w.definitions {
		if d.ARN == arn {
			return d
		}
	}
	return TaskDefinition{}
}

// tick brings everything to the present.
func (w *world) tick() {
	if w.service == nil || len(w.deployments) == 0 {
		return
	}
	w.later = slices.DeleteFunc(w.later, func(e event) bool {
		due := !time.Now().Before(e.at)
		if due {
			e.do()
		}
		return due
	})
	d := w.deployments[len(w.deployments)-1]
	rev := w.revisions[d.Target]
	s := w.scripts[w.definition(rev.TaskDefinition).Containers[0].Image]
	age := time.Since(d.CreatedAt)
	primary := &w.service.Rollouts[0]
	if d.Status == "IN_PROGRESS" && s.after > 0 && age >= s.after {
		d.FinishedAt = time.Now()
		if !s.fail {
			d.Status, primary.State = "SUCCESSFUL", "COMPLETED"
			w.completed = rev.TaskDefinition
			w.tasks = slices.DeleteFunc(w.tasks, func(t *Task) bool { return t.StartedBy != primary.ID })
			for _, t := range w.tasks {
				t.LastStatus = "RUNNING"
			}
		} else {
			for _, t := range w.tasks {
				if t.StartedBy == primary.ID {
					code := s.exitCode
					t.LastStatus, t.DesiredStatus, t.StopCode, t.StoppedReason = "DEPROVISIONING", "STOPPED", "EssentialContainerExited", s.reason
					w.in(2*time.Second, func() { // later than the deployment
						t.LastStatus, t.StoppedAt = "STOPPED", t.StartedAt.Add(1500*time.Millisecond)
						t.Containers[0].ExitCode = &code
					})
				}
			}
			w.rollBack(d)
		}
	}
}

func (w *world) rollBack(d *Deployment) {
	d.FinishedAt = time.Now()
	if w.completed == "" {
		d.Status = "STOPPED"
		w.service.Rollouts[0].State = "FAILED"
		return
	}
	d.Status, d.RollbackWhy = "ROLLBACK_SUCCESSFUL", "circuit breaker"
	w.service.TaskDefinition = w.completed
	w.service.Rollouts = []Rollout{{ID: fmt.Sprintf("ecs-svc/%d", w.next()), Status: "PRIMARY", TaskDefinition: w.completed, State: "COMPLETED"}}
}

func (w *world) deploy(td string) {
	id := w.next()
	rollout := Rollout{ID: fmt.Sprintf("ecs-svc/%d", id), Status: "PRIMARY", TaskDefinition: td, State: "IN_PROGRESS", Desired: w.service.Desired, CreatedAt: time.Now()}
	w.service.Rollouts = []Rollout{rollout}
	rev := Revision{ARN: fmt.Sprintf("arn:revision/%d", id), TaskDefinition: td}
	w.revisions[rev.ARN] = rev
	for _, d := range w.deployments {
		if d.Status == "IN_PROGRESS" {
			d.Status = "STOPPED"
		}
	}
	w.deployments = append(w.deployments, &Deployment{ARN: fmt.Sprintf("arn:deployment/%d", id), Status: "IN_PROGRESS", Target: rev.ARN, CreatedAt: time.Now()})
	for range w.service.Desired {
		k := w.next()
		w.tasks = append(w.tasks, &Task{ARN: fmt.Sprintf("arn:task/%d", k), ID: fmt.Sprint("t", k), StartedBy: rollout.ID, TaskDefinition: td, Host: "i-1", LastStatus: "PENDING",
			DesiredStatus: "RUNNING", CreatedAt: time.Now(), StartedAt: time.Now(), Containers: []TaskContainer{{Name: "app", Ports: []PortBinding{{Container: 8080, Host: 32000 + k}}}}})
	}
}

func (w *world) Service(context.Context, Ref) (Service, error) {
	w.tick()
	if w.service == nil {
		return Service{}, ErrNotFound
	}
	s := *w.service
	s.Running = s.Desired
	s.Rollouts = slices.Clone(s.Rollouts)
	return s, nil
}

func (w *world) CreateService(_ context.Context, want Service) (Service, error) {
	w.did("create service")
	want.ARN, want.Status, want.ClusterARN = "arn:service", "ACTIVE", "arn:cluster/"+want.Ref.Cluster
	w.service = &want
	w.deploy(want.TaskDefinition)
	return want, nil
}

func (w *world) UpdateService(_ context.Context, want Service, force bool) (Service, error) {
	w.did("update service")
	td, rollouts, desired := w.service.TaskDefinition, w.service.Rollouts, w.service.Desired
	want.ARN, want.Status, want.ClusterARN, want.Rollouts = "arn:service", "ACTIVE", w.service.ClusterARN, rollouts
	if want.Desired < 0 {
		want.Desired = desired
	}
	w.service = &want
	if want.TaskDefinition != td || force {
		w.deploy(want.TaskDefinition)
	}
	if want.Desired == 0 && !w.stubborn {
		w.tasks = nil
	}
	return want, nil
}

func (w *world) DeleteService(context.Context, Ref) error {
	w.did("delete service")
	if w.stubborn {
		w.service.Status = "DRAINING"
	} else {
		w.service, w.tasks = nil, nil
	}
	return nil
}

func (w *world) Deployments(_ context.Context, _ Ref, max int) ([]Deployment, error) {
	w.tick()
	var out []Deployment
	for _, d := range slices.Backward(w.deployments) {
		out = append(out, *d)
	}
	return out[:min(len(out), max)], nil
}

func (w *world) Deployment(_ context.Context, arn string) (Deployment, error) {
	w.tick()
	for _, d := range w.deployments {
		if d.ARN == arn {
			return *d, nil
		}
	}
	return Deployment{}, ErrNotFound
}

func (w *world) StopDeployment(_ context.Context, arn string, rollback bool) error {
	w.did("stop deployment, rollback %v", rollback)
	for _, d := range w.deployments {
		if d.ARN == arn {
			w.rollBack(d)
		}
	}
	return nil
}

func (w *world) Revision(_ context.Context, arn string) (Revision, error) {
	return w.revisions[arn], nil
}

func (w *world) TaskDefinition(_ context.Context, name string) (TaskDefinition, error) {
	if d := w.definition(name); d.ARN != "" {
		return d, nil
	}
	return TaskDefinition{}, ErrNotFound
}

func (w *world) RegisterTaskDefinition(_ context.Context, want TaskDefinition) (TaskDefinition, error) {
	want.Revision = len(w.definitions) + 1
	want.ARN, want.Status = fmt.Sprintf("arn:task-definition/%s:%d", want.Family, want.Revision), "ACTIVE"
	w.did("register %s:%d", want.Family, want.Revision)
	w.definitions = append(w.definitions, want)
	return want, nil
}

func (w *world) DeregisterTaskDefinition(_ context.Context, arn string) error {
	w.did("deregister %s", revisionName(arn))
	w.definitions = slices.DeleteFunc(w.definitions, func(d TaskDefinition) bool { return d.ARN == arn })
	return nil
}

func (w *world) TagTaskDefinition(_ context.Context, arn string, tags map[string]string) error {
	for i := range w.definitions {
		if w.definitions[i].ARN == arn {
			w.definitions[i].Tags = merged(w.definitions[i].Tags, tags)
		}
	}
	return nil
}

func (w *world) Revisions(_ context.Context, family string) ([]string, error) {
	var out []string
	for _, d := range slices.Backward(w.definitions) {
		out = append(out, d.ARN)
	}
	return out, nil
}

func (w *world) ServiceTasks(context.Context, Ref) ([]Task, error) {
	w.tick()
	var out []Task
	for _, t := range w.tasks {
		if strings.HasPrefix(t.StartedBy, "ecs-svc/") {
			c := *t
			c.Containers = slices.Clone(t.Containers)
			out = append(out, c)
		}
	}
	return out, nil
}

func (w *world) FamilyTasks(context.Context, string, string) ([]Task, error) {
	var out []Task
	for _, t := range w.tasks {
		out = append(out, *t)
	}
	return out, nil
}

func (w *world) StartedBy(_ context.Context, _, mark string) ([]Task, error) {
	var out []Task
	for _, t := range w.tasks {
		if t.StartedBy == mark {
			if time.Since(t.CreatedAt) > 3*time.Second {
				code := 0
				if strings.Contains(t.StoppedReason, "bad") {
					code = 2
				}
				t.LastStatus, t.Containers[0].ExitCode = "STOPPED", &code
			}
			out = append(out, *t)
		}
	}
	return out, nil
}

func (w *world) RunTask(_ context.Context, r TaskRun) (Task, error) {
	w.did("run %s", strings.Join(r.Command, " "))
	t := &Task{ARN: fmt.Sprintf("arn:task/%d", w.next()), ID: "one-off", StartedBy: r.StartedBy, LastStatus: "PENDING", CreatedAt: time.Now(), StoppedReason: strings.Join(r.Command, " "), Containers: []TaskContainer{{Name: r.Container}}}
	w.tasks = append(w.tasks, t)
	return *t, nil
}

func (w *world) StopTask(_ context.Context, _, arn, _ string) error {
	w.did("stop task")
	w.tasks = slices.DeleteFunc(w.tasks, func(t *Task) bool { return t.ARN == arn })
	if len(w.tasks) == 0 {
		w.service = nil
	}
	return nil
}

func (w *world) TargetGroups(_ context.Context, marker string) ([]TargetGroup, error) {
	return slices.DeleteFunc(slices.Clone(w.groups), func(g TargetGroup) bool { return !strings.Contains(g.Name, marker) }), nil
}

func (w *world) PutTargetGroup(_ context.Context, want TargetGroup) (TargetGroup, error) {
	w.did("put target group")
	want.ARN, want.LoadBalancers = "arn:targetgroup/"+want.Name, []string{"arn:lb"}
	w.groups = append(slices.DeleteFunc(w.groups, func(g TargetGroup) bool { return g.Name == want.Name }), want)
	return want, nil
}

func (w *world) DeleteTargetGroup(_ context.Context, arn string) error {
	if slices.ContainsFunc(w.rules, func(r Rule) bool { return r.TargetGroup == arn || r.Standby == arn }) {
		return ErrInUse
	}
	w.did("delete target group")
	w.groups = slices.DeleteFunc(w.groups, func(g TargetGroup) bool { return g.ARN == arn })
	return nil
}

func (w *world) Targets(context.Context, string) ([]TargetHealth, error) {
	var out []TargetHealth
	for _, t := range w.tasks {
		if t.LastStatus == "RUNNING" && len(t.Containers[0].Ports) > 0 {
			out = append(out, TargetHealth{ID: t.Host, Port: t.Containers[0].Ports[0].Host, State: "healthy"})
		}
	}
	return out, nil
}

func (w *world) Rules(_ context.Context, l string) ([]Rule, error) {
	return slices.DeleteFunc(slices.Clone(w.rules), func(r Rule) bool { return r.Listener != l }), nil
}

func (w *world) RulesOf(_ context.Context, tg string, _ []string) ([]Rule, error) {
	return slices.DeleteFunc(slices.Clone(w.rules), func(r Rule) bool { return r.TargetGroup != tg && r.Standby != tg }), nil
}

func (w *world) PutRule(_ context.Context, want Rule) (Rule, error) {
	if w.stolen > 0 {
		w.stolen--
		w.rules = append(w.rules, Rule{ARN: fmt.Sprint("arn:rule/", w.next()), Listener: want.Listener, Priority: want.Priority, Owner: "other", Conditions: listener.Conditions{Paths: []string{fmt.Sprintf("/other%d/*", w.n)}}})
		return want, ErrPriorityInUse
	}
	w.did("put rule")
	if want.ARN == "" {
		want.ARN = fmt.Sprint("arn:rule/", w.next())
	}
	w.rules = append(slices.DeleteFunc(w.rules, func(r Rule) bool { return r.ARN == want.ARN }), want)
	return want, nil
}

func (w *world) DeleteRule(_ context.Context, arn string) error {
	w.did("delete rule")
	w.rules = slices.DeleteFunc(w.rules, func(r Rule) bool { return r.ARN == arn })
	return nil
}

func (w *world) Listener(_ context.Context, arn string) (Listener, error) {
	if !strings.HasPrefix(arn, "arn:listener/") {
		return Listener{}, ErrNotFound
	}
	return Listener{ARN: arn, LoadBalancer: "arn:aws:elasticloadbalancing:us-east-1:0:loadbalancer/app/lb/1", DNSName: "lb.test", VPC: "vpc-1", Protocol: "HTTP", Port: 8080}, nil
}

func (w *world) SetDefault(context.Context, string, string) error { return errors.New("unexpected") }
func (w *world) DefaultsTo(context.Context, string, []string) ([]string, error) {
	return nil, nil
}

func (w *world) Role(_ context.Context, name string) (Role, error) {
	if r, ok := w.roles[name]; ok {
		return r, nil
	}
	return Role{}, ErrNotFound
}

func (w *world) PutRole(_ context.Context, want Role) (Role, error) {
	w.did("put role")
	w.roles[want.Name] = want
	return want, nil
}

func (w *world) DeleteRole(_ context.Context, name string) error {
	w.did("delete role")
	delete(w.roles, name)
	return nil
}

func (w *world) LogGroup(_ context.Context, name string) (LogGroup, error) {
	if g, ok := w.logGroups[name]; ok {
		return g, nil
	}
	return LogGroup{}, ErrNotFound
}

func (w *world) PutLogGroup(_ context.Context, want LogGroup) error {
	w.did("put log group")
	w.logGroups[want.Name] = want
	return nil
}

func (w *world) DeleteLogGroup(_ context.Context, name string) error {
	w.did("delete log group")
	delete(w.logGroups, name)
	return nil
}

func (w *world) Tail(_ context.Context, _, stream string, _ int) ([]string, error) {
	for _, t := range w.tasks {
		if strings.HasSuffix(stream, "/"+t.ID) {
			if d := w.definition(t.TaskDefinition); len(d.Containers) > 0 {
				return w.scripts[d.Containers[0].Image].logs, nil
			}
		}
	}
	return nil, nil
}

func (w *world) ServiceScaling(context.Context, Ref) (ServiceScaling, error) {
	if w.scaling == nil {
		return ServiceScaling{}, ErrNotFound
	}
	return *w.scaling, nil
}

func (w *world) PutServiceScaling(_ context.Context, _ Ref, want ServiceScaling) error {
	w.did("put scaling")
	w.scaling = &want
	return nil
}

func (w *world) DeleteServiceScaling(context.Context, Ref) error {
	w.did("delete scaling")
	w.scaling = nil
	return nil
}

func (w *world) Alarms(context.Context, string) ([]Alarm, error) { return w.alarms, nil }

func (w *world) PutAlarm(_ context.Context, want Alarm) error {
	w.did("put alarm %s", want.Name)
	w.alarms = append(slices.DeleteFunc(w.alarms, func(a Alarm) bool { return a.Name == want.Name }), want)
	return nil
}

func (w *world) DeleteAlarms(_ context.Context, names []string) error {
	w.did("delete alarms")
	w.alarms = slices.DeleteFunc(w.alarms, func(a Alarm) bool { return slices.Contains(names, a.Name) })
	return nil
}

func (w *world) Get(context.Context, string, string) (int, string, error) {
	return w.smoke, "hello", nil
}

func (w *world) Schedule(_ context.Context, name string) (Schedule, error) {
	if s, ok := w.schedules[name]; ok {
		return s, nil
	}
	return Schedule{}, ErrNotFound
}

func (w *world) PutSchedule(_ context.Context, want Schedule) error {
	w.did("put schedule %s %s", want.Expression, revisionName(want.TaskDefinition))
	if w.schedules == nil {
		w.schedules = map[string]Schedule{}
	}
	w.schedules[want.Name] = want
	return nil
}

func (w *world) DeleteSchedule(_ context.Context, name string) error {
	w.did("delete schedule")
	delete(w.schedules, name)
	return nil
}

func (w *world) Registries(_ context.Context, owner string) ([]Registry, error) {
	return slices.Clone(w.registries), nil
}

func (w *world) PutRegistry(_ context.Context, want Registry) (Registry, error) {
	if want.Namespace != "shop.local" {
		return want, ErrNotFound
	}
	w.did("put registry %s %s %s", want.Name, want.Record, want.TTL)
	if want.ARN == "" {
		want.ARN = "arn:aws:servicediscovery:us-east-1:000000000000:service/srv-" + itoa(w.next())
		w.registries = append(w.registries, want)
		return want, nil
	}
	for i := range w.registries {
		if w.registries[i].ARN == want.ARN {
			w.registries[i] = want
		}
	}
	return want, nil
}

func (w *world) DeleteRegistry(_ context.Context, arn string) error {
	w.did("delete registry")
	w.registries = slices.DeleteFunc(w.registries, func(r Registry) bool { return r.ARN == arn })
	return nil
}

func (w *world) EventRule(_ context.Context, name string) (EventRule, error) {
	r, ok := w.eventRules[name]
	if !ok {
		return r, ErrNotFound
	}
	return r, nil
}

func (w *world) PutEventRule(_ context.Context, want EventRule) error {
	if w.eventRules == nil {
		w.eventRules = map[string]EventRule{}
	}
	w.eventRules[want.Name] = want
	return nil
}

func (w *world) DeleteEventRule(_ context.Context, name string) error {
	delete(w.eventRules, name)
	return nil
}
