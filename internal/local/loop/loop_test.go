package loop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/runtime"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

// world is a local ECS without its API: a state, both loops, a runtime without processes, and a
// balancer that finds targets healthy after a second unless told otherwise.
type world struct {
	t         *testing.T
	ecs       *state.ECS
	rt        *puppets
	sick      func(*state.Target) bool
	delay     time.Duration // deregistration
	stop      context.CancelFunc
	tasksLoop *Tasks // the one that runs now
	wg        sync.WaitGroup
	n         int
	rules     map[string]map[string]int // weights by listener rule, under the store's lock
	alarm     string                    // the one that fires
	shifts    []string                  // what the rules were told
}

func (w *world) Shift(_ *state.Tx, rule string, weights map[string]int) error {
	if w.rules == nil {
		w.rules = map[string]map[string]int{}
	}
	w.rules[rule] = weights
	w.shifts = append(w.shifts, fmt.Sprint(rule, weights))
	return nil
}

const (
	clusterARN = "arn:aws:ecs:us-east-1:000000000000:cluster/main"
	groupARN   = "arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/web/0123456789abcdef"
)

func (w *world) Firing(_ *state.Tx, name string) bool { return name == w.alarm }

func newWorld(t *testing.T) *world {
	db, err := state.Open("")
	if err != nil {
		t.Fatal(err)
	}
	ecs, err := state.NewECS(db)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, ecs: ecs, rt: &puppets{}, delay: 5 * time.Second}
	w.update(func(tx *state.Tx) {
		ecs.Clusters.Put(tx, "main", &state.Cluster{Name: "main", ARN: clusterARN, Status: "ACTIVE"})
	})
	return w
}

func (w *world) update(f func(tx *state.Tx)) {
	w.t.Helper()
	if err := w.ecs.DB.Update(func(tx *state.Tx) error { f(tx); return nil }); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) view(f func(tx *state.Tx)) {
	_ = w.ecs.DB.View(func(tx *state.Tx) error { f(tx); return nil })
}

type oneSubnet struct{}

func (oneSubnet) Subnet(_ *state.Tx, id string) (string, netip.Prefix, bool) {
	z := map[string]string{"subnet-a": "us-east-1a", "subnet-b": "us-east-1b"}[id]
	return z, netip.MustParsePrefix(map[bool]string{true: "172.31.0.0/20", false: "172.31.16.0/20"}[id == "subnet-a"]), z != ""
}

// run starts the loops; kill ends them as the death of the process would.
func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	w.stop = cancel
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	services := NewServices(ServicesConfig{State: w.ecs, Clock: clock.Wall{}, Subnets: oneSubnet{}, Traffic: w, Alarms: w, Log: log})
	tasks := NewTasks(TasksConfig{State: w.ecs, Clock: clock.Wall{}, Runtime: w.rt, Subnets: oneSubnet{}, Log: log})
	w.tasksLoop = tasks
	for _, f := range []func(context.Context) error{services.Run, tasks.Run, w.balancer} {
		w.wg.Go(func() { _ = f(ctx) })
	}
}

func (w *world) kill() {
	w.stop()
	w.wg.Wait()
}

// balancer judges targets and forgets those that have drained.
func (w *world) balancer(ctx context.Context) error {
	for ctx.Err() == nil {
		w.update(func(tx *state.Tx) {
			type row struct {
				k string
				t *state.Target
			}
			var rows []row
			for k, x := range w.ecs.Targets.All(tx) {
				rows = append(rows, row{k, x})
			}
			for _, r := range rows {
				h := "initial"
				switch {
				case !r.t.DrainingSince.IsZero() && time.Since(r.t.DrainingSince) >= w.delay:
					w.ecs.Targets.Delete(tx, r.k)
					w.ecs.TargetHealth.Delete(tx, r.k)
					continue
				case !r.t.DrainingSince.IsZero():
					h = "draining"
				case w.sick != nil && w.sick(r.t):
					h = "unhealthy"
				case time.Since(r.t.RegisteredAt) >= time.Second:
					h = "healthy"
				}
				if old, ok := w.ecs.TargetHealth.Get(tx, r.k); !ok || old.State != h {
					w.ecs.TargetHealth.Put(tx, r.k, &state.TargetHealth{State: h, Since: time.Now()})
				}
			}
		})
		_ = clock.Sleep(ctx, clock.Wall{}, time.Second)
	}
	return nil
}

func (w *world) instances(n int) {
	w.update(func(tx *state.Tx) {
		for k := range n {
			arn := fmt.Sprintf("arn:aws:ecs:us-east-1:000000000000:container-instance/main/%04d", k)
			w.ecs.ContainerInstances.Put(tx, arn, &state.ContainerInstance{
				ARN: arn, ID: fmt.Sprintf("%04d", k), ClusterName: "main", EC2InstanceID: fmt.Sprintf("i-%04d", k), Status: "ACTIVE",
				AgentConnected: true, AZ: []string{"us-east-1a", "us-east-1b"}[k%2], InstanceType: "m5.large", CPU: 2048, Memory: 7680, ENIs: 3,
			})
		}
	})
}

func (w *world) definition(family string, revision int, f func(*ecsapi.TaskDefinition)) string {
	arn := fmt.Sprintf("arn:aws:ecs:us-east-1:000000000000:task-definition/%s:%d", family, revision)
	def := ecsapi.TaskDefinition{Family: &family, ContainerDefinitions: []ecsapi.ContainerDefinition{{
		Name: wire.String("app"), Image: wire.String(fmt.Sprintf("repo/%s:%d", family, revision)), Cpu: wire.Int32(256), Memory: wire.Int32(512), Essential: wire.Bool(true),
		PortMappings: []ecsapi.PortMapping{{ContainerPort: wire.Int32(8080), HostPort: wire.Int32(0)}},
	}}}
	if f != nil {
		f(&def)
	}
	w.update(func(tx *state.Tx) {
		w.ecs.TaskDefinitions.Put(tx, state.TaskDefinitionKey(family, revision), &state.TaskDefinition{Family: family, Revision: revision, ARN: arn, Def: def})
	})
	return arn
}

// deploy does what CreateService and UpdateService do.
func (w *world) deploy(name, definition string, desired int, f func(*ecsapi.Service)) {
	key := state.ServiceKey("main", name)
	w.update(func(tx *state.Tx) {
		s := &state.Service{ARN: "arn:aws:ecs:us-east-1:000000000000:service/main/" + name, ClusterName: "main", ClusterARN: clusterARN,
			Name: name, Status: "ACTIVE", CreatedAt: time.Now()}
		if old, ok := w.ecs.Services.Get(tx, key); ok {
			c := *old
			s = &c
		}
		s.DesiredCount, s.Spec.TaskDefinition = desired, &definition
		if f != nil {
			f(&s.Spec)
		}
		w.ecs.Services.Put(tx, key, s)
		var olds []*state.Deployment
		for _, d := range w.ecs.Deployments.Prefix(tx, key+"/") {
			olds = append(olds, d)
		}
		for _, d := range olds {
			if d.Status == "PRIMARY" {
				o := *d
				o.Status = "ACTIVE"
				w.ecs.Deployments.Put(tx, key+"/"+d.ID, &o)
			}
		}
		w.n++
		rev := &state.ServiceRevision{ARN: fmt.Sprintf("rev-%d", w.n), ServiceKey: key, Spec: s.Spec, CreatedAt: time.Now()}
		rev.API.LoadBalancers = s.Spec.LoadBalancers
		w.ecs.ServiceRevisions.Put(tx, rev.ARN, rev)
		d := &state.Deployment{ID: fmt.Sprintf("ecs-svc/%019d", w.n), ServiceKey: key, TaskDefinition: definition, DesiredCount: desired, Status: "PRIMARY",
			RolloutState: "IN_PROGRESS", Revision: rev.ARN, ServiceDeployment: fmt.Sprintf("run-%d", w.n), CreatedAt: time.Now()}
		w.ecs.Deployments.Put(tx, key+"/"+d.ID, d)
		w.ecs.ServiceDeployments.Put(tx, d.ServiceDeployment, &state.ServiceDeployment{ARN: d.ServiceDeployment, ServiceKey: key, Status: "PENDING",
			Target: rev.ARN, DeploymentID: d.ID, CircuitBreakerStatus: "MONITORING", CreatedAt: time.Now()})
	})
}

func balanced(s *ecsapi.Service) {
	s.LoadBalancers = []ecsapi.LoadBalancer{{TargetGroupArn: wire.String(groupARN), ContainerName: wire.String("app"), ContainerPort: wire.Int32(8080)}}
}

func breaker(rollback bool) func(*ecsapi.Service) {
	return func(s *ecsapi.Service) {
		s.DeploymentConfiguration = &ecsapi.DeploymentConfiguration{DeploymentCircuitBreaker: &ecsapi.DeploymentCircuitBreaker{Enable: wire.Bool(true), Rollback: &rollback}}
	}
}

func both(a, b func(*ecsapi.Service)) func(*ecsapi.Service) {
	return func(s *ecsapi.Service) { a(s); b(s) }
}

// tasks returns the service's tasks by last status.
func (w *world) tasks(service string) map[string][]*state.Task {
	out := map[string][]*state.Task{}
	w.view(func(tx *state.Tx) {
		for _, t := range w.ecs.TasksByService.Get(tx, state.ServiceKey("main", service)) {
			out[t.LastStatus] = append(out[t.LastStatus], t)
		}
	})
	return out
}

func (w *world) events(service string) (out []string) {
	w.view(func(tx *state.Tx) {
		for _, e := range w.ecs.ServiceEvents.Prefix(tx, state.ServiceKey("main", service)+"/") {
			out = append(out, e.Message)
		}
	})
	return out
}

func (w *world) runStatus(n int) (status string) {
	w.view(func(tx *state.Tx) {
		if sd, ok := w.ecs.ServiceDeployments.Get(tx, fmt.Sprintf("run-%d", n)); ok {
			status = sd.Status
		}
	})
	return status
}

func (w *world) primary(service string) (p state.Deployment, listed int) {
	w.view(func(tx *state.Tx) {
		for _, d := range w.ecs.Deployments.Prefix(tx, state.ServiceKey("main", service)+"/") {
			if d.Status != "INACTIVE" {
				listed++
			}
			if d.Status == "PRIMARY" {
				p = *d
			}
		}
	})
	return p, listed
}

// puppets is a runtime of containers without processes.
type puppets struct {
	mu      sync.Mutex
	fail    func(image string) error                      // at the start
	lives   func(image string) (time.Duration, int, bool) // how long, exit code, out of memory; 0: until stopped
	exec    func(image string) int
	running int
	ids     int
	order   []string
}

type puppetTask struct{ rt *puppets }

type puppet struct {
	rt    *puppets
	id    string
	image string
	once  sync.Once
	end   chan struct{}
	exit  runtime.Exit
}

func (p *puppets) Name() string                { return "puppets" }
func (p *puppets) Close(context.Context) error { return nil }
func (p *puppets) NewTask(context.Context, runtime.TaskSpec) (runtime.Task, error) {
	return &puppetTask{p}, nil
}
func (t *puppetTask) Endpoint(port int, _ string) (string, bool) {
	return fmt.Sprintf("127.0.0.1:%d", port), true
}
func (t *puppetTask) Close(context.Context) error { return nil }
func (t *puppetTask) Start(_ context.Context, spec runtime.ContainerSpec) (runtime.Container, error) {
	p := t.rt
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail != nil {
		if err := p.fail(spec.Image); err != nil {
			return nil, err
		}
	}
	p.running++
	p.ids++
	p.order = append(p.order, "start "+spec.Name)
	c := &puppet{rt: p, id: fmt.Sprint("rt-", p.ids), image: spec.Image, end: make(chan struct{})}
	if p.lives != nil {
		if d, code, oom := p.lives(spec.Image); d > 0 {
			time.AfterFunc(d, func() { c.finish(runtime.Exit{Code: code, OOM: oom}) })
		}
	}
	return c, nil
}
func (c *puppet) finish(e runtime.Exit) {
	c.once.Do(func() {
		c.rt.mu.Lock()
		c.rt.running--
		c.rt.mu.Unlock()
		c.exit = e
		close(c.end)
	})
}
func (c *puppet) ID() string          { return c.id }
func (c *puppet) ImageDigest() string { return "sha256:" + strings.Repeat("0", 64) }
func (c *puppet) Wait(ctx context.Context) (runtime.Exit, error) {
	select {
	case <-c.end:
		return c.exit, nil
	case <-ctx.Done():
		return runtime.Exit{}, ctx.Err()
	}
}
func (c *puppet) Stop(context.Context, time.Duration) error {
	time.AfterFunc(100*time.Millisecond, func() { c.finish(runtime.Exit{Code: 143}) })
	return nil
}
func (c *puppet) Exec(context.Context, []string, io.Writer) (int, error) {
	return c.rt.exec(c.image), nil
}
func (c *puppet) Stats(context.Context) (runtime.Stats, error) { return runtime.Stats{}, nil }

// scenario runs f in a bubble of fake time with the loops running.
func scenario(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run()
		defer w.kill() // also when f gives up
		f(w)
	})
}

// after lets time pass until everything has settled.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func contains(events []string, parts ...string) bool {
	for _, p := range parts {
		if !slices.ContainsFunc(events, func(e string) bool { return strings.Contains(e, p) }) {
			return false
		}
	}
	return true
}

func TestDeploymentBehindABalancer(t *testing.T) {
	scenario(t, func(w *world) {
		w.instances(2)
		w.deploy("web", w.definition("web", 1, nil), 3, balanced)
		after(10 * time.Second)
		if got := w.tasks("web"); len(got["RUNNING"]) != 3 || len(got) != 1 {
			t.Fatalf("tasks: %v, events %q", got, w.events("web"))
		}
		if d, n := w.primary("web"); d.RolloutState != "COMPLETED" || n != 1 || w.runStatus(1) != "SUCCESSFUL" {
			t.Fatalf("deployment: %+v, run %s", d, w.runStatus(1))
		}
		low := 99
		done := make(chan struct{})
		go func() { // the balancer always has three healthy targets
			defer close(done)
			for range 400 {
				time.Sleep(100 * time.Millisecond)
				n := 0
				w.view(func(tx *state.Tx) {
					for k, x := range w.ecs.Targets.All(tx) {
						if h, ok := w.ecs.TargetHealth.Get(tx, k); ok && h.State == "healthy" && x.DrainingSince.IsZero() {
							n++
						}
					}
				})
				low = min(low, n)
			}
		}()
		w.deploy("web", w.definition("web", 2, nil), 3, nil)
		<-done
		synctest.Wait()
		got := w.tasks("web")
		if len(got["RUNNING"]) != 3 || len(got["STOPPED"]) != 3 || low < 3 {
			t.Fatalf("running %d stopped %d, lowest %d; %q", len(got["RUNNING"]), len(got["STOPPED"]), low, w.events("web"))
		}
		for _, x := range got["STOPPED"] {
			if x.StopCode != "ServiceSchedulerInitiated" || !strings.HasPrefix(x.StoppedReason, "Scaling activity initiated by (deployment ecs-svc/") ||
				*x.Containers[0].ExitCode != 143 || x.StoppingAt.IsZero() || x.StoppedAt.Sub(x.StoppingAt) < w.delay {
				t.Errorf("stopped task: %+v", x)
			}
		}
		if d, n := w.primary("web"); d.RolloutState != "COMPLETED" || n != 1 || w.runStatus(2) != "SUCCESSFUL" {
			t.Errorf("deployment: %+v, %d listed, run %s", d, n, w.runStatus(2))
		}
		e := w.events("web")
		if !contains(e, "(service web) has started 3 tasks: (task ", "(service web) registered 3 targets in (target-group "+groupARN+")",
			"running tasks: (task ", "(service web) deregistered ", "(service web, taskSet ecs-svc/0000000000000000001) has begun draining connections on ",
			"(service web) (deployment ecs-svc/0000000000000000002) deployment completed.") || e[len(e)-1] != "(service web) has reached a steady state." {
			t.Errorf("events:\n%s", strings.Join(e, "\n"))
		}
		if w.rt.running != 3 {
			t.Errorf("%d containers run", w.rt.running)
		}
		at := 0
		for _, part := range []string{"ecs-svc/0000000000000000001) deployment completed", "steady", "started", "registered", "stopped", "deregistered", "draining", "deployment completed", "steady"} {
			for ; at < len(e) && !strings.Contains(e[at], part); at++ {
			}
			if at == len(e) {
				t.Errorf("no %q in order:\n%s", part, strings.Join(e, "\n"))
				break
			}
		}
		after(2 * time.Hour)
		if got := w.tasks("web"); len(got["STOPPED"]) != 0 {
			t.Errorf("stopped tasks are kept for ever")
		}
	})
}

func TestCircuitBreakerRollsBack(t *testing.T) {
	scenario(t, func(w *world) {
		w.instances(2)
		w.rt.lives = func(image string) (time.Duration, int, bool) {
			if image == "repo/web:2" {
				return 300 * time.Millisecond, 1, false
			}
			return 0, 0, false
		}
		w.deploy("web", w.definition("web", 1, nil), 2, both(balanced, breaker(true)))
		after(10 * time.Second)
		w.deploy("web", w.definition("web", 2, nil), 2, nil)
		after(60 * time.Second)
		d, n := w.primary("web")
		if w.runStatus(2) != "ROLLBACK_SUCCESSFUL" || d.ID != "ecs-svc/0000000000000000001" || d.RolloutState != "COMPLETED" || n != 1 {
			t.Errorf("run %s, primary %+v, %d listed\n%s", w.runStatus(2), d, n, strings.Join(w.events("web"), "\n"))
		}
		failed := 0
		got := w.tasks("web")
		for _, x := range got["STOPPED"] {
			if x.StopCode == "EssentialContainerExited" && x.StoppedReason == "Essential container in task exited" && *x.Containers[0].ExitCode == 1 {
				failed++
			}
		}
		if len(got["RUNNING"]) != 2 || failed < 3 || failed > 5 {
			t.Errorf("%d running, %d failed", len(got["RUNNING"]), failed)
		}
		w.view(func(tx *state.Tx) {
			s, _ := w.ecs.Services.Get(tx, "main/web")
			if !strings.HasSuffix(*s.Spec.TaskDefinition, "web:1") {
				t.Errorf("the service still wants %s", *s.Spec.TaskDefinition)
			}
		})
		if !contains(w.events("web"), "(deployment ecs-svc/0000000000000000002) deployment failed: tasks failed to start.", "rolling back to deployment ecs-svc/0000000000000000001.") {
			t.Errorf("events:\n%s", strings.Join(w.events("web"), "\n"))
		}
	})
}

func TestCircuitBreakerWithNothingToRollBackTo(t *testing.T) {
	scenario(t, func(w *world) {
		w.instances(1)
		w.rt.fail = func(image string) error { return &runtime.PullError{Image: image, Err: errors.New("not found")} }
		w.deploy("web", w.definition("web", 1, nil), 1, breaker(true))
		after(30 * time.Second)
		if d, _ := w.primary("web"); w.runStatus(1) != "ROLLBACK_FAILED" || d.RolloutState != "FAILED" || d.FailedTasks != 3 {
			t.Errorf("run %s, primary %+v", w.runStatus(1), d)
		}
		got := w.tasks("web")
		if len(got["STOPPED"]) != 3 || len(got) != 1 {
			t.Errorf("tasks: %v", got)
		}
		for _, x := range got["STOPPED"] {
			if x.StopCode != "TaskFailedToStart" || x.StoppedReason != "CannotPullContainerError: pulling repo/web:1: not found" || x.Containers[0].Reason != x.StoppedReason {
				t.Errorf("task: %+v", x)
			}
		}
	})
}

func TestNoRoomIsExplainedAndCuredByANewInstance(t *testing.T) {
	scenario(t, func(w *world) {
		w.deploy("web", w.definition("web", 1, nil), 9, nil)
		after(time.Minute)
		if e := w.events("web"); len(e) != 1 || e[0] != "(service web) was unable to place a task because no container instance met all of its requirements. Reason: No Container Instances were found in your cluster." {
			t.Errorf("events: %q", e)
		}
		w.instances(1)
		after(time.Minute)
		if e := w.events("web"); len(w.tasks("web")["RUNNING"]) != 8 || !contains(e, "The closest matching (container-instance 0000) has insufficient CPU units available.") {
			t.Errorf("tasks: %v, events: %q", w.tasks("web"), e)
		}
		w.instances(2)
		after(time.Minute)
		if e := w.events("web"); len(w.tasks("web")["RUNNING"]) != 9 || e[len(e)-1] != "(service web) has reached a steady state." {
			t.Errorf("events: %q", e)
		}
	})
}

func TestDyingTaskIsReplacedAndItsPortsAreUnique(t *testing.T) {
	scenario(t, func(w *world) {
		w.instances(1)
		w.deploy("web", w.definition("web", 1, nil), 4, nil)
		after(time.Minute)
		got := w.tasks("web")["RUNNING"]
		ports := map[int]bool{}
		for _, x := range got {
			b := x.Containers[0].Bindings[0]
			if b.HostPort < 32768 || b.HostPort > 60999 || b.Addr == "" {
				t.Errorf("binding %+v", b)
			}
			ports[b.HostPort] = true
		}
		if len(ports) != 4 {
			t.Fatalf("%d ports", len(ports))
		}
		w.update(func(tx *state.Tx) {
			w.ecs.Tasks.Modify(tx, got[0].ARN, func(x *state.Task) {
				x.DesiredStatus, x.StopCode, x.StoppedReason = "STOPPED", "UserInitiated", "Task stopped by user"
			})
		})
		after(time.Minute)
		if got := w.tasks("web"); len(got["RUNNING"]) != 4 || len(got["STOPPED"]) != 1 {
			t.Errorf("tasks: %v", got)
		}
	})
}

func TestUnhealthyTargetIsReplacedFirst(t *testing.T) {
	scenario(t, func(w *world) {
		w.instances(2)
		w.deploy("web", w.definition("web", 1, nil), 2, balanced)
		after(20 * time.Second)
		victim := w.tasks("web")["RUNNING"][0]
		port := victim.Containers[0].Bindings[0].HostPort
		w.update(func(*state.Tx) { w.sick = func(x *state.Target) bool { return x.Port == port } })
		after(30 * time.Second)
		got := w.tasks("web")
		if len(got["RUNNING"]) != 2 || len(got["STOPPED"]) != 1 || got["STOPPED"][0].ARN != victim.ARN {
			t.Fatalf("tasks: %v\n%s", got, strings.Join(w.events("web"), "\n"))
		}
		if x := got["STOPPED"][0]; x.StoppedReason != "Task failed ELB health checks in (target-group "+groupARN+")" {
			t.Errorf("reason: %s", x.StoppedReason)
		}
		if !contains(w.events("web"), fmt.Sprintf("(service web) (task %s) (port %d) is unhealthy in (target-group %s) due to (reason Health checks failed).", victim.ID, port, groupARN)) {
			t.Errorf("events:\n%s", strings.Join(w.events("web"), "\n"))
		}
	})
}

func TestDrainingInstanceIsEmptied(t *testing.T) {
	scenario(t, func(w *world) {
		w.instances(3)
		w.deploy("web", w.definition("web", 1, nil), 3, balanced)
		w.deploy("agent", w.definition("agent", 1, func(d *ecsapi.TaskDefinition) { d.ContainerDefinitions[0].PortMappings = nil }), 0, func(s *ecsapi.Service) {
			s.SchedulingStrategy = wire.String("DAEMON")
		})
		after(time.Minute)
		if got := w.tasks("agent"); len(got["RUNNING"]) != 3 {
			t.Fatalf("daemons: %v", w.events("agent"))
		}
		arn := w.tasks("web")["RUNNING"][0].ContainerInstance
		w.update(func(tx *state.Tx) {
			w.ecs.ContainerInstances.Modify(tx, arn, func(ci *state.ContainerInstance) { ci.Status = "DRAINING" })
		})
		after(2 * time.Minute)
		w.view(func(tx *state.Tx) {
			if n := w.ecs.TasksByInstance.Count(tx, arn); n != 0 {
				t.Errorf("%d tasks left on the draining instance\n%s\n%s", n, strings.Join(w.events("web"), "\n"), strings.Join(w.events("agent"), "\n"))
			}
		})
		if len(w.tasks("web")["RUNNING"]) != 3 || len(w.tasks("agent")["RUNNING"]) != 2 {
			t.Errorf("web %v agent %v", w.tasks("web"), w.tasks("agent"))
		}
	})
}

func TestDeathOfTheProcess(t *testing.T) {
	scenario(t, func(w *world) {
		w.instances(2)
		w.deploy("web", w.definition("web", 1, nil), 3, balanced)
		after(20 * time.Second)
		w.deploy("web", w.definition("web", 2, nil), 3, nil)
		after(500 * time.Millisecond) // in the middle
		w.kill()
		after(time.Minute)
		w.rt = &puppets{}
		w.run()
		after(2 * time.Minute)
		got := w.tasks("web")
		d, n := w.primary("web")
		if len(got["RUNNING"]) != 3 || n != 1 || d.RolloutState != "COMPLETED" || w.runStatus(2) != "SUCCESSFUL" || w.rt.running != 3 {
			t.Fatalf("running %d, deployment %+v, run %s\n%s", len(got["RUNNING"]), d, w.runStatus(2), strings.Join(w.events("web"), "\n"))
		}
		lost := 0
		for _, x := range got["STOPPED"] {
			if x.StoppedReason == lostReason {
				lost++
			}
		}
		if lost == 0 {
			t.Error("no task says that it was lost")
		}
	})
}

func TestDependenciesChecksAndMemory(t *testing.T) {
	scenario(t, func(w *world) {
		w.instances(1)
		pass := 1
		w.rt.exec = func(string) int { w.rt.mu.Lock(); defer w.rt.mu.Unlock(); return pass }
		w.rt.lives = func(image string) (time.Duration, int, bool) {
			if image == "init" {
				return time.Second, 0, false
			}
			return 0, 0, false
		}
		td := w.definition("web", 1, func(d *ecsapi.TaskDefinition) {
			app := &d.ContainerDefinitions[0]
			app.DependsOn = []ecsapi.ContainerDependency{{ContainerName: wire.String("init"), Condition: wire.String("SUCCESS")}}
			app.HealthCheck = &ecsapi.HealthCheck{Command: []string{"CMD-SHELL", "true"}, Interval: wire.Int32(5), Retries: wire.Int32(2)}
			d.ContainerDefinitions = append(d.ContainerDefinitions, ecsapi.ContainerDefinition{Name: wire.String("init"), Image: wire.String("init"), Essential: wire.Bool(false), Memory: wire.Int32(64)})
		})
		w.deploy("web", td, 1, nil)
		after(4 * time.Second)
		got := w.tasks("web")["RUNNING"]
		if len(got) != 1 || !slices.Equal(w.rt.order, []string{"start init", "start app"}) || got[0].HealthStatus != "UNKNOWN" {
			t.Fatalf("order %v, tasks %v", w.rt.order, w.tasks("web"))
		}
		w.rt.mu.Lock()
		pass = 0
		w.rt.mu.Unlock()
		after(5 * time.Second)
		if got := w.tasks("web")["RUNNING"]; len(got) != 1 || got[0].HealthStatus != "HEALTHY" || w.runStatus(1) != "SUCCESSFUL" {
			t.Fatalf("tasks %+v run %s", got, w.runStatus(1))
		}
		w.rt.mu.Lock()
		pass = 1
		w.rt.mu.Unlock()
		after(12 * time.Second)
		if !contains(w.events("web"), "failed container health checks") || len(w.tasks("web")["RUNNING"]) < 2 {
			t.Errorf("events: %q", w.events("web"))
		}
	})
}

func TestOutOfMemory(t *testing.T) {
	scenario(t, func(w *world) {
		w.instances(1)
		w.rt.lives = func(string) (time.Duration, int, bool) { return time.Second, 137, true }
		w.deploy("web", w.definition("web", 1, nil), 1, breaker(false))
		after(20 * time.Second)
		got := w.tasks("web")["STOPPED"]
		if len(got) != 3 || got[0].Containers[0].Reason != "OutOfMemoryError: Container killed due to memory usage" || *got[0].Containers[0].ExitCode != 137 {
			t.Errorf("tasks: %+v", w.tasks("web"))
		}
		if w.runStatus(1) != "STOPPED" {
			t.Errorf("run %s", w.runStatus(1))
		}
	})
}

func TestDeletionEndsTasksThenTheService(t *testing.T) {
	scenario(t, func(w *world) {
		w.instances(1)
		w.deploy("web", w.definition("web", 1, nil), 2, balanced)
		after(10 * time.Second)
		w.update(func(tx *state.Tx) {
			w.ecs.Services.Modify(tx, "main/web", func(s *state.Service) { s.Status, s.DesiredCount = "DRAINING", 0 })
		})
		after(20 * time.Second)
		w.view(func(tx *state.Tx) {
			if s, ok := w.ecs.Services.Get(tx, "main/web"); !ok || s.Status != "INACTIVE" {
				t.Errorf("service %+v", s)
			}
			if n := w.ecs.Targets.Len(tx); n != 0 {
				t.Errorf("%d targets left", n)
			}
		})
		after(2 * time.Hour)
		w.view(func(tx *state.Tx) {
			if n := w.ecs.Services.Len(tx) + w.ecs.Deployments.Len(tx) + w.ecs.ServiceEvents.Len(tx) + w.ecs.ServiceRevisions.Len(tx) + w.ecs.Tasks.Len(tx); n != 0 {
				t.Errorf("%d records left", n)
			}
		})
	})
}

func TestAwsvpcAndCapacityProviders(t *testing.T) {
	scenario(t, func(w *world) {
		vpc := func(d *ecsapi.TaskDefinition) { d.NetworkMode = wire.String("awsvpc") }
		w.deploy("web", w.definition("web", 1, vpc), 4, both(balanced, func(s *ecsapi.Service) {
			s.CapacityProviderStrategy = []ecsapi.CapacityProviderStrategyItem{{CapacityProvider: wire.String("asg"), Weight: wire.Int32(1)}}
			s.NetworkConfiguration = &ecsapi.NetworkConfiguration{AwsvpcConfiguration: &ecsapi.AwsVpcConfiguration{Subnets: []string{"subnet-a"}}}
		}))
		after(10 * time.Second)
		if got := w.tasks("web"); len(got["PROVISIONING"]) != 4 { // they wait for the provider
			t.Fatalf("tasks: %v, events %q", got, w.events("web"))
		}
		w.instances(4) // two of them in the subnet's zone, with three interfaces each
		after(5 * time.Second)
		if got := w.tasks("web"); len(got["PROVISIONING"]) != 4 {
			t.Fatalf("placed on instances of no provider: %v", got)
		}
		w.update(func(tx *state.Tx) {
			for _, k := range keysOf(w.ecs.ContainerInstances, tx, "") {
				w.ecs.ContainerInstances.Modify(tx, k, func(ci *state.ContainerInstance) { ci.CapacityProvider = "asg" })
			}
		})
		after(time.Minute)
		got := w.tasks("web")["RUNNING"]
		ips := map[string]bool{}
		for _, x := range got {
			ips[x.ENI.PrivateIP] = true
			if x.AZ != "us-east-1a" || x.ENI.SubnetID != "subnet-a" {
				t.Errorf("task in %s, interface %+v", x.AZ, x.ENI)
			}
		}
		if len(got) != 4 || len(ips) != 4 || w.runStatus(1) != "SUCCESSFUL" {
			t.Errorf("%d running, %d addresses, run %s", len(got), len(ips), w.runStatus(1))
		}
	})
}

func TestZonesAreBalancedAgain(t *testing.T) {
	scenario(t, func(w *world) {
		w.instances(1) // zone a
		w.deploy("web", w.definition("web", 1, nil), 4, both(balanced, func(s *ecsapi.Service) { s.AvailabilityZoneRebalancing = wire.String("ENABLED") }))
		after(20 * time.Second)
		w.instances(2) // zone b is back
		low := 99
		for range 600 {
			time.Sleep(100 * time.Millisecond)
			low = min(low, len(w.tasks("web")["RUNNING"]))
		}
		synctest.Wait()
		n := map[string]int{}
		got := w.tasks("web")
		for _, x := range got["RUNNING"] {
			n[x.AZ]++
		}
		if n["us-east-1a"] != 2 || n["us-east-1b"] != 2 || low < 4 || len(got["STOPPED"]) != 2 {
			t.Errorf("zones %v, lowest %d\n%s", n, low, strings.Join(w.events("web"), "\n"))
		}
		if !contains(w.events("web"), "(service web) is not AZ balanced with 4 tasks in us-east-1a, and 0 tasks in us-east-1b. AZ Rebalancing in progress.") {
			t.Errorf("events:\n%s", strings.Join(w.events("web"), "\n"))
		}
	})
}

func TestFargateSpreadsOverSubnets(t *testing.T) {
	scenario(t, func(w *world) {
		w.deploy("web", w.definition("web", 1, func(d *ecsapi.TaskDefinition) {
			d.NetworkMode, d.Cpu, d.Memory = wire.String("awsvpc"), wire.String("256"), wire.String("512")
		}), 4, both(balanced, func(s *ecsapi.Service) {
			s.LaunchType = wire.String("FARGATE")
			s.NetworkConfiguration = &ecsapi.NetworkConfiguration{AwsvpcConfiguration: &ecsapi.AwsVpcConfiguration{Subnets: []string{"subnet-a", "subnet-b"}}}
		}))
		after(20 * time.Second)
		n := map[string]int{}
		for _, x := range w.tasks("web")["RUNNING"] {
			n[x.ENI.SubnetID]++
		}
		if n["subnet-a"] != 2 || n["subnet-b"] != 2 || w.runStatus(1) != "SUCCESSFUL" {
			t.Errorf("tasks %v, events %q", n, w.events("web"))
		}
	})
}

func TestRestartPolicy(t *testing.T) {
	scenario(t, func(w *world) {
		w.instances(1)
		w.rt.lives = func(string) (time.Duration, int, bool) { return 2 * time.Minute, 1, false }
		td := w.definition("web", 1, func(d *ecsapi.TaskDefinition) {
			d.ContainerDefinitions[0].RestartPolicy = &ecsapi.ContainerRestartPolicy{Enabled: wire.Bool(true), RestartAttemptPeriod: wire.Int32(60)}
		})
		w.deploy("web", td, 1, nil)
		after(5 * time.Minute)
		if got := w.tasks("web"); len(got["RUNNING"]) != 1 || len(got) != 1 || len(w.rt.order) != 3 || w.rt.running != 1 {
			t.Errorf("tasks %v, starts %v", got, w.rt.order)
		}
		w.rt.mu.Lock()
		w.rt.lives = func(string) (time.Duration, int, bool) { return time.Minute - time.Second, 1, false }
		w.rt.mu.Unlock()
		after(3 * time.Minute)
		if got := w.tasks("web"); len(got["STOPPED"]) == 0 {
			t.Errorf("a container that lives too short is restarted for ever: %v", w.rt.order)
		}
	})
}
