package loop

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

func swapped(strategy string) func(*ecsapi.Service) {
	return func(s *ecsapi.Service) {
		s.LoadBalancers = []ecsapi.LoadBalancer{{TargetGroupArn: wire.String("blue"), ContainerName: wire.String("app"), ContainerPort: wire.Int32(8080),
			AdvancedConfiguration: &ecsapi.AdvancedConfiguration{AlternateTargetGroupArn: wire.String("green"), ProductionListenerRule: wire.String("prod"), TestListenerRule: wire.String("test")}}}
		s.DeploymentConfiguration = &ecsapi.DeploymentConfiguration{Strategy: &strategy, BakeTimeInMinutes: wire.Int32(5),
			CanaryConfiguration: &ecsapi.CanaryConfiguration{CanaryPercent: wire.Ptr(10.0), CanaryBakeTimeInMinutes: wire.Int32(3)}}
	}
}

// production is the percentage of each target group, and how many healthy targets each has.
func (w *world) production() (weights, healthy map[string]int) {
	healthy = map[string]int{}
	w.view(func(tx *state.Tx) {
		weights = w.rules["prod"]
		for k, x := range w.ecs.Targets.All(tx) {
			if h, ok := w.ecs.TargetHealth.Get(tx, k); ok && h.State == "healthy" && x.DrainingSince.IsZero() {
				healthy[x.TargetGroupARN]++
			}
		}
	})
	return weights, healthy
}

func (w *world) stage(n string) (stage, status string) {
	w.view(func(tx *state.Tx) {
		if sd, ok := w.ecs.ServiceDeployments.Get(tx, n); ok {
			stage, status = sd.LifecycleStage, sd.Status
		}
	})
	return stage, status
}

func TestCanaryThenBlueGreenAndBack(t *testing.T) {
	scenario(t, func(w *world) {
		w.instances(4)
		w.deploy("web", w.definition("web", 1, nil), 2, swapped("CANARY"))
		after(time.Minute)
		if weights, healthy := w.production(); w.runStatus(1) != "SUCCESSFUL" || weights["blue"] != 100 || weights["green"] != 0 || healthy["blue"] != 2 {
			t.Fatalf("first: %s, weights %v, healthy %v, %q", w.runStatus(1), weights, healthy, w.events("web"))
		}

		w.deploy("web", w.definition("web", 2, nil), 2, nil)
		after(time.Minute)
		weights, healthy := w.production()
		if stage, _ := w.stage("run-2"); stage != "PRODUCTION_TRAFFIC_SHIFT" || weights["blue"] != 90 || weights["green"] != 10 || healthy["blue"] != 2 || healthy["green"] != 2 {
			t.Fatalf("canary: %s, weights %v, healthy %v", stage, weights, healthy)
		}
		after(3 * time.Minute)
		weights, healthy = w.production()
		if stage, _ := w.stage("run-2"); stage != "BAKE_TIME" || weights["blue"] != 0 || weights["green"] != 100 || healthy["blue"] != 2 {
			t.Fatalf("baking: %s, weights %v, healthy %v", stage, weights, healthy)
		}
		after(6 * time.Minute)
		weights, healthy = w.production()
		if w.runStatus(2) != "SUCCESSFUL" || healthy["blue"] != 0 || healthy["green"] != 2 || weights["green"] != 100 {
			t.Fatalf("done: %s, weights %v, healthy %v\n%q", w.runStatus(2), weights, healthy, w.events("web"))
		}
		if !slices.Contains(w.shifts, "testmap[blue:0 green:100]") {
			t.Errorf("test traffic: %q", w.shifts)
		}

		// The third goes to the group the first had, and is called back while it bakes.
		w.deploy("web", w.definition("web", 3, nil), 2, swapped("BLUE_GREEN"))
		after(2 * time.Minute)
		weights, healthy = w.production()
		if stage, _ := w.stage("run-3"); stage != "BAKE_TIME" || weights["blue"] != 100 || weights["green"] != 0 || healthy["blue"] != 2 || healthy["green"] != 2 {
			t.Fatalf("third: %s, weights %v, healthy %v", stage, weights, healthy)
		}
		w.update(func(tx *state.Tx) {
			w.ecs.ServiceDeployments.Modify(tx, "run-3", func(sd *state.ServiceDeployment) { sd.Status = "ROLLBACK_REQUESTED" })
		})
		after(time.Minute)
		weights, healthy = w.production()
		d, listed := w.primary("web")
		if w.runStatus(3) != "ROLLBACK_SUCCESSFUL" || weights["green"] != 100 || weights["blue"] != 0 || healthy["green"] != 2 || healthy["blue"] != 0 || listed != 1 || d.RolloutState != "COMPLETED" {
			t.Errorf("back: %s, weights %v, healthy %v, %+v\n%q", w.runStatus(3), weights, healthy, d, w.events("web"))
		}
		w.view(func(tx *state.Tx) {
			s, _ := w.ecs.Services.Get(tx, "main/web")
			if lb := s.Spec.LoadBalancers[0]; *s.Spec.TaskDefinition != "arn:aws:ecs:us-east-1:000000000000:task-definition/web:2" {
				t.Errorf("the service wants %s behind %s", *s.Spec.TaskDefinition, *lb.TargetGroupArn)
			}
		})
	})
}

func TestWhatIsNotSupportedFails(t *testing.T) {
	scenario(t, func(w *world) {
		w.instances(1)
		w.deploy("web", w.definition("web", 1, nil), 1, func(s *ecsapi.Service) {
			swapped("BLUE_GREEN")(s)
			s.DeploymentConfiguration.LifecycleHooks = []ecsapi.DeploymentLifecycleHook{{LifecycleStages: []string{"POST_SCALE_UP"}}}
		})
		after(time.Minute)
		if d, _ := w.primary("web"); w.runStatus(1) != "ROLLBACK_FAILED" || d.RolloutState != "FAILED" || !strings.Contains(d.RolloutReason, "not supported") {
			t.Errorf("run %s, %+v", w.runStatus(1), d)
		}
	})
}

func TestAlarmRollsBackWhileItBakes(t *testing.T) {
	scenario(t, func(w *world) {
		w.instances(4)
		w.deploy("web", w.definition("web", 1, nil), 2, func(s *ecsapi.Service) {
			swapped("BLUE_GREEN")(s)
			s.DeploymentConfiguration.Alarms = &ecsapi.DeploymentAlarms{AlarmNames: []string{"slow", "errors"}, Enable: wire.Bool(true), Rollback: wire.Bool(true)}
		})
		after(time.Minute)
		w.deploy("web", w.definition("web", 2, nil), 2, nil)
		after(time.Minute)
		if stage, _ := w.stage("run-2"); stage != "BAKE_TIME" {
			t.Fatalf("stage %s", stage)
		}
		w.update(func(*state.Tx) { w.alarm = "errors" })
		after(time.Minute)
		weights, healthy := w.production()
		if w.runStatus(2) != "ROLLBACK_SUCCESSFUL" || weights["blue"] != 100 || healthy["blue"] != 2 || healthy["green"] != 0 {
			t.Errorf("run %s, weights %v, healthy %v", w.runStatus(2), weights, healthy)
		}
		if !contains(w.events("web"), "(deployment ecs-svc/0000000000000000002) deployment failed: alarm detected.") {
			t.Errorf("events: %q", w.events("web"))
		}
	})
}
