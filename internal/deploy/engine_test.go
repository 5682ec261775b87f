package deploy

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ecs/slipway/internal/service"
)

const good, better, broken_, stuck = "reg/app@sha256:aaa", "reg/app@sha256:bbb", "reg/app@sha256:bad", "reg/app@sha256:stuck"

func target(image string) Target {
	return Target{Image: image, Release: "c656597", Infra: Infra{Region: "us-east-1", Account: "000000000000", Cluster: "main", VPC: "vpc-1", Listener: "arn:listener/web"},
		Spec: service.Spec{Name: "app", Environment: "qa", Team: "web", Kind: service.KindService, NetworkMode: "bridge", LaunchType: "EC2", Count: 2,
			Containers: []service.Container{{Name: "app", Essential: true, Memory: 64, Ports: []service.Port{{Container: 8080, Protocol: "tcp"}}}},
			Route:      &service.Route{Listener: "web", Paths: []string{"/app/*"}, Health: service.HealthCheck{Path: "/healthz"}, DeregistrationDelay: 5 * time.Second},
			Logs:       service.Logs{Retention: 30},
			Deployment: service.Deployment{MinimumHealthy: 100, Maximum: 200, CircuitBreaker: true, Rollback: true, Timeout: 10 * time.Minute}}}
}

func scripted() *world {
	w := newWorld()
	w.scripts[good] = script{after: 5 * time.Second}
	w.scripts[better] = script{after: 5 * time.Second}
	w.scripts[broken_] = script{after: 6 * time.Second, fail: true, exitCode: 1, reason: "Essential container in task exited", logs: []string{"starting", "panic: no database"}}
	w.scripts[stuck] = script{}
	return w
}

func in(t *testing.T, do func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := scripted()
		w.turns = true
		w.turn.Lock()
		do(t, w)
	})
}

func mustApply(t *testing.T, w *world, tg Target) Outcome {
	t.Helper()
	out, err := w.engine().Apply(t.Context(), tg, nil)
	if err != nil {
		t.Fatalf("apply of %s: %v", tg.Image, err)
	}
	return out
}

func failureOf(t *testing.T, err error) *Failure {
	t.Helper()
	var f *Failure
	if !errors.As(err, &f) {
		t.Fatalf("error is %v, wanted a *Failure", err)
	}
	return f
}

func TestApplyMakesEverythingInOrderAndThenNothing(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		out := mustApply(t, w, target(good))
		want := []string{"put log group", "put role", "put target group", "put rule", "register app-qa:1", "create service"}
		if !slices.Equal(w.calls, want) {
			t.Errorf("calls %q, wanted %q", w.calls, want)
		}
		if !out.Changed || out.Deployment == "" || out.Revision == "" || out.URL != "http://lb.test:8080" || out.Priority == 0 || out.Took < 5*time.Second || out.Took > 6*time.Second {
			t.Errorf("outcome %+v", out)
		}
		w.calls = nil
		again := target(good)
		again.Release = "another label"
		if out := mustApply(t, w, again); out.Changed || len(w.calls) != 0 {
			t.Errorf("the second apply did %q", w.calls)
		}
		p, err := w.engine().Plan(t.Context(), target(good))
		if err != nil || !p.Empty() || p.Rollout {
			t.Errorf("plan after apply: %+v, %v", p, err)
		}
	})
}

func TestApplyOfAnotherImageRollsOutAndBackReusesTheRevision(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		mustApply(t, w, target(good))
		w.calls = nil
		p, err := w.engine().Plan(t.Context(), target(better))
		if err != nil || !p.Rollout || len(w.calls) != 0 {
			t.Fatalf("plan %+v, %v, calls %q", p, err, w.calls)
		}
		i := slices.IndexFunc(p.Changes, func(c Change) bool { return c.Resource == resDefinition })
		if f := p.Changes[i].Fields; len(f) != 1 || f[0].Path != "containers.app.image" || f[0].To != better {
			t.Errorf("task definition's fields %+v", f)
		}
		mustApply(t, w, target(better))
		mustApply(t, w, target(good))
		if want := []string{"register app-qa:2", "update service", "update service"}; !slices.Equal(w.calls, want) {
			t.Errorf("calls %q, wanted %q", w.calls, want)
		}
		if w.service.TaskDefinition != w.definitions[0].ARN {
			t.Errorf("service runs %s", w.service.TaskDefinition)
		}
	})
}

func TestARolledBackDeploymentIsAFailureThatNamesTheCause(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		mustApply(t, w, target(good))
		var events []Event
		_, err := w.engine().Apply(t.Context(), target(broken_), func(e Event) { events = append(events, e) })
		f := failureOf(t, err)
		if !f.RolledBack || f.StillGoing || f.Status != "ROLLBACK_SUCCESSFUL" || f.Diagnosis.Cause != CauseCrash {
			t.Errorf("failure %+v", f)
		}
		if want := "2 tasks exited with code 1 within 2 s of starting: panic: no database"; f.Diagnosis.Sentence != want {
			t.Errorf("sentence %q, wanted %q", f.Diagnosis.Sentence, want)
		}
		if f.Outcome.TaskDefinition == "" || f.Deployment == "" {
			t.Errorf("outcome %+v", f.Outcome)
		}
		if !slices.ContainsFunc(events, func(e Event) bool { return e.Kind == EventTask && e.Status == "STOPPED" }) {
			t.Error("no event of a stopped task")
		}
		// What runs is the earlier version: deploying that again changes nothing, and the broken one again fails again.
		w.calls = nil
		if out := mustApply(t, w, target(good)); out.Changed {
			t.Errorf("calls %q", w.calls)
		}
		_, err = w.engine().Apply(t.Context(), target(broken_), nil)
		failureOf(t, err)
		if want := []string{"update service"}; !slices.Equal(w.calls, want) {
			t.Errorf("calls %q, wanted %q", w.calls, want)
		}
	})
}

func TestAFailedCreationIsNotTakenForSuccessNextTime(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		for range 2 {
			_, err := w.engine().Apply(t.Context(), target(broken_), nil)
			if f := failureOf(t, err); f.RolledBack || f.Status != "STOPPED" {
				t.Errorf("failure %+v", f)
			}
		}
		mustApply(t, w, target(good))
	})
}

func TestAKilledApplyIsContinued(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err := w.engine().Apply(ctx, target(good), nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error %v", err)
		}
		calls := len(w.calls)
		out := mustApply(t, w, target(good))
		if len(w.calls) != calls || len(w.deployments) != 1 || out.Deployment != w.deployments[0].ARN {
			t.Errorf("calls %q, %d deployments, outcome %+v", w.calls[calls:], len(w.deployments), out)
		}
	})
}

func TestAStuckDeploymentIsTakenOver(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, err := w.engine().Apply(ctx, target(stuck), nil); err == nil {
			t.Fatal("no error")
		}
		mustApply(t, w, target(good))
	})
}

func TestTimeOut(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		mustApply(t, w, target(good))
		tg := target(stuck)
		_, err := w.engine().Apply(t.Context(), tg, nil)
		f := failureOf(t, err)
		if !f.RolledBack || f.Diagnosis.Cause != CauseSlow || !slices.Contains(w.calls, "stop deployment, rollback true") {
			t.Errorf("failure %+v", f)
		}
		tg.Spec.Deployment.Rollback = false
		_, err = w.engine().Apply(t.Context(), tg, nil)
		if f := failureOf(t, err); !f.StillGoing || f.RolledBack || f.Status != "TIMED_OUT" || f.Outcome.Took < 10*time.Minute {
			t.Errorf("failure %+v", f)
		}
	})
}

func TestSupersededIsNoSuccess(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		mustApply(t, w, target(good))
		w.in(2*time.Second, func() { w.deploy(w.definitions[0].ARN) })
		_, err := w.engine().Apply(t.Context(), target(better), nil)
		if f := failureOf(t, err); f.RolledBack || f.Status != "STOPPED" {
			t.Errorf("failure %+v", f)
		}
	})
}

func TestPriorityTakenByAnother(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.stolen = 3
		out := mustApply(t, w, target(good))
		for _, r := range w.rules {
			if r.Owner == "other" && r.Priority == out.Priority {
				t.Errorf("priority %d twice", out.Priority)
			}
		}
		if len(w.rules) != 4 {
			t.Errorf("%d rules", len(w.rules))
		}
	})
}

func TestScalingOwnsTheCount(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		tg := target(good)
		tg.Spec.Scaling = &service.Scaling{Min: 2, Max: 8, Targets: []service.ScalingTarget{{Metric: "cpu", Target: 60}}}
		mustApply(t, w, tg)
		w.service.Desired = 7 // scaled out
		if p, err := w.engine().Plan(t.Context(), tg); err != nil || !p.Empty() {
			t.Errorf("plan %+v, %v", p, err)
		}
		tg.Image = better
		mustApply(t, w, tg)
		if w.service.Desired != 7 {
			t.Errorf("the deployment set the count to %d", w.service.Desired)
		}
		tg.Spec.Scaling = nil
		mustApply(t, w, tg)
		if w.scaling != nil || w.service.Desired != 2 {
			t.Errorf("scaling %+v, count %d", w.scaling, w.service.Desired)
		}
	})
}

func TestStepsRunOnceAndAFailureStopsTheDeployment(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		mustApply(t, w, target(good))
		w.calls = nil
		tg := target(better)
		tg.Spec.Deployment.Before = []service.Step{{Name: "migrate", Command: []string{"bad"}}}
		_, err := w.engine().Apply(t.Context(), tg, nil)
		f := failureOf(t, err)
		if f.Diagnosis.Cause != CauseStep || !strings.Contains(f.Diagnosis.Sentence, "exited with code 2") || slices.Contains(w.calls, "update service") {
			t.Errorf("failure %+v, calls %q", f, w.calls)
		}
		tg.Spec.Deployment.Before[0].Command = []string{"migrate"}
		tg.Image = good + "c"
		w.scripts[tg.Image] = script{after: 5 * time.Second}
		mustApply(t, w, tg)
		mustApply(t, w, target(good))
		mustApply(t, w, tg)
		if n := strings.Count(strings.Join(w.calls, ","), "run migrate"); n != 1 {
			t.Errorf("migration ran %d times: %q", n, w.calls)
		}
	})
}

func TestSmokeTestFailureRollsBack(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		mustApply(t, w, target(good))
		w.smoke = 500
		tg := target(better)
		tg.Spec.Deployment.Smoke = &service.Smoke{Path: "/", Status: 200}
		_, err := w.engine().Apply(t.Context(), tg, nil)
		f := failureOf(t, err)
		if !f.RolledBack || f.Diagnosis.Cause != CauseSmoke || w.service.TaskDefinition != w.definitions[0].ARN {
			t.Errorf("failure %+v; service runs %s", f, w.service.TaskDefinition)
		}
	})
}

func TestRollback(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		mustApply(t, w, target(good))
		ref := target(good).Ref()
		var refused *RefusedError
		if _, err := w.engine().Rollback(t.Context(), ref, "", nil); !errors.As(err, &refused) {
			t.Errorf("rollback with nothing before: %v", err)
		}
		mustApply(t, w, target(better))
		out, err := w.engine().Rollback(t.Context(), ref, "", nil)
		if err != nil || out.Image != good || w.service.TaskDefinition != w.definitions[0].ARN {
			t.Errorf("rollback: %+v, %v", out, err)
		}
		if out, err = w.engine().Restart(t.Context(), ref, nil); err != nil || len(w.deployments) != 4 || out.Deployment != w.deployments[3].ARN {
			t.Errorf("restart: %+v, %v", out, err)
		}
	})
}

func TestReadGivesTheSpecBack(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		tg := target(good)
		tg.Spec.TaskRole.Statements = []service.Statement{{Effect: "Allow", Actions: []string{"s3:GetObject"}, Resources: []string{"*"}}}
		mustApply(t, w, tg)
		o, err := w.engine().Read(t.Context(), tg.Ref())
		if err != nil {
			t.Fatal(err)
		}
		s := o.Spec
		if o.Image != good || s.Name != "app" || s.Environment != "qa" || s.Team != "web" || s.Count != 2 || s.Cluster != "main" || s.Logs.Retention != 30 ||
			s.Route.Paths[0] != "/app/*" || s.Route.Health.Path != "/healthz" || s.Route.Port != 8080 || s.Deployment.Maximum != 200 || s.Containers[0].Memory != 64 ||
			len(s.TaskRole.Statements) != 1 || s.TaskRole.Statements[0].Actions[0] != "s3:GetObject" {
			t.Errorf("spec %+v", s)
		}
		w.service.Maximum = 150
		w.groups[0].Health.Path = "/changed"
		if o, _ = w.engine().Read(t.Context(), tg.Ref()); o.Spec.Deployment.Maximum != 150 || o.Spec.Route.Health.Path != "/changed" {
			t.Errorf("drift is not seen: %+v", o.Spec)
		}
		p, err := w.engine().Plan(t.Context(), tg)
		if err != nil || p.Rollout {
			t.Errorf("drift of bounds and health check is no rollout: %+v, %v", p, err)
		}
		if _, err := w.engine().Read(t.Context(), Ref{"main", "app-prod"}); err != nil && !errors.Is(err, ErrNotFound) {
			t.Errorf("read: %v", err)
		}
	})
}

func TestDeleteInOrderAndAgain(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		tg := target(good)
		tg.Spec.Scaling = &service.Scaling{Min: 2, Max: 8}
		mustApply(t, w, tg)
		w.calls, w.stubborn = nil, true
		if err := w.engine().Delete(t.Context(), tg.Ref(), DeleteOptions{}, nil); err != nil {
			t.Fatal(err)
		}
		want := []string{"delete scaling", "update service", "delete service", "stop task", "stop task", "delete rule", "delete target group", "deregister app-qa:1", "delete role", "delete log group"}
		if !slices.Equal(w.calls, want) {
			t.Errorf("calls %q, wanted %q", w.calls, want)
		}
		w.calls = nil
		if err := w.engine().Delete(t.Context(), tg.Ref(), DeleteOptions{}, nil); err != nil || len(w.calls) != 0 {
			t.Errorf("delete again: %v, %q", err, w.calls)
		}
	})
}

// A rollback starts tasks of the old version: the role must still allow what they need.
func TestRoleAllowsBothVersionsUntilTheNewOneServes(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		with := func(image, secret string) Target {
			tg := target(image)
			tg.Spec.Containers = []service.Container{{Name: "app", Memory: 64, Ports: tg.Spec.Containers[0].Ports, Secrets: map[string]string{"KEY": secret}}}
			return tg
		}
		policy := func() string { return w.roles[target(good).Ref().executionRoleName()].Policy }
		mustApply(t, w, with(good, "/app/old"))
		for range 2 {
			_, err := w.engine().Apply(t.Context(), with(broken_, "/app/new"), nil)
			failureOf(t, err)
			if p := policy(); !strings.Contains(p, "/app/old") && !strings.Contains(p, "parameter/app/old") || !strings.Contains(p, "parameter/app/new") {
				t.Errorf("policy after the rollback: %s", p)
			}
		}
		mustApply(t, w, with(better, "/app/new"))
		if p := policy(); strings.Contains(p, "app/old") {
			t.Errorf("policy after success: %s", p)
		}
		if p, err := w.engine().Plan(t.Context(), with(better, "/app/new")); err != nil || !p.Empty() {
			t.Errorf("plan %+v, %v", p, err)
		}
	})
}

func TestAlarmsComeAndGo(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		tg := target(good)
		tg.Spec.Alarms = []service.Alarm{{Name: "hot", Metric: "cpu", Threshold: 90, Periods: 3, Period: time.Minute}}
		tg.Spec.Deployment.RollbackOnAlarms = []string{"hot", "shared"}
		mustApply(t, w, tg)
		if len(w.alarms) != 1 || w.alarms[0].Name != "slipway-main-app-qa-hot" || !slices.Equal(w.service.RollbackOnAlarms, []string{"slipway-main-app-qa-hot", "shared"}) {
			t.Errorf("alarms %+v, rollback on %q", w.alarms, w.service.RollbackOnAlarms)
		}
		o, err := w.engine().Read(t.Context(), tg.Ref())
		if err != nil || len(o.Spec.Alarms) != 1 || o.Spec.Alarms[0].Name != "hot" || o.Spec.Deployment.RollbackOnAlarms[0] != "hot" {
			t.Errorf("read back %+v, %v", o.Spec.Alarms, err)
		}
		w.calls = nil
		if mustApply(t, w, tg); len(w.calls) != 0 {
			t.Errorf("the second apply did %q", w.calls)
		}
		tg.Spec.Alarms, tg.Spec.Deployment.RollbackOnAlarms = nil, nil
		if mustApply(t, w, tg); len(w.alarms) != 0 {
			t.Errorf("alarms left: %+v", w.alarms)
		}
	})
}

func TestRefused(t *testing.T) {
	for name, change := range map[string]func(*Target){
		"no image":                  func(tg *Target) { tg.Image = "" },
		"no listener":               func(tg *Target) { tg.Infra.Listener = "" },
		"consul":                    func(tg *Target) { tg.Spec.Discovery = &service.Discovery{Kind: "consul"} },
		"strategy":                  func(tg *Target) { tg.Spec.Deployment.Strategy = "EXTERNAL" },
		"bake seconds":              func(tg *Target) { tg.Spec.Deployment.Strategy, tg.Spec.Deployment.BakeTime = "BLUE_GREEN", time.Second },
		"TCP over HTTP":             func(tg *Target) { tg.Spec.Route.Protocol = "TCP" },
		"GRPC":                      func(tg *Target) { tg.Spec.Route.Protocol = "GRPC" },
		"no container":              func(tg *Target) { tg.Spec.Containers = nil },
		"a service with a schedule": func(tg *Target) { tg.Spec.Schedule = "rate(1 day)" },
	} {
		t.Run(name, func(t *testing.T) {
			w := scripted()
			tg := target(good)
			change(&tg)
			var refused *RefusedError
			if _, err := w.engine().Apply(t.Context(), tg, nil); !errors.As(err, &refused) || len(w.calls) != 0 {
				t.Errorf("error %v, calls %q", err, w.calls)
			}
		})
	}
}
