package loop

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

// TestChaos does random things to a cluster (deployments good and bad, scaling, draining instances,
// dying tasks and instances, death of the process) and expects that whatever was asked for last is
// there in the end, that no instance was ever overcommitted, and that nothing is left over.
func TestChaos(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { chaos(t, seed) })
		})
	}
}

func chaos(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(t)
	w.delay = time.Duration(rnd.IntN(20)) * time.Second
	w.instances(6)
	lives := func(image string) (time.Duration, int, bool) {
		if strings.HasSuffix(image, "3") || strings.HasSuffix(image, "7") { // bad revisions
			return 700 * time.Millisecond, 1, false // before the balancer finds it healthy
		}
		return 0, 0, false
	}
	w.rt.lives = lives
	w.run()
	defer func() { w.kill() }()
	strategy := []string{"ROLLING", "ROLLING", "BLUE_GREEN", "CANARY"}[rnd.IntN(4)]
	configure := func(s *ecsapi.Service) {
		swapped(strategy)(s)
		s.DeploymentConfiguration.DeploymentCircuitBreaker = &ecsapi.DeploymentCircuitBreaker{Enable: wire.Bool(true), Rollback: wire.Bool(true)}
		s.DeploymentConfiguration.MinimumHealthyPercent = wire.Ptr([]int32{50, 100}[rnd.IntN(2)])
		s.AvailabilityZoneRebalancing = wire.String([]string{"ENABLED", "DISABLED"}[rnd.IntN(2)])
		if strategy == "ROLLING" {
			s.LoadBalancers[0].AdvancedConfiguration = nil
		}
	}
	revision, desired := 1, 3
	w.deploy("web", w.definition("web", revision, nil), desired, configure)
	after(30 * time.Second)
	var log []string
	for range 3 + rnd.IntN(10) {
		what := ""
		switch rnd.IntN(8) {
		case 0, 1:
			revision++
			what = fmt.Sprint("deploy ", revision)
			w.deploy("web", w.definition("web", revision, nil), desired, nil)
		case 2:
			desired = rnd.IntN(7)
			what = fmt.Sprint("scale to ", desired)
			w.update(func(tx *state.Tx) {
				w.ecs.Services.Modify(tx, "main/web", func(s *state.Service) { s.DesiredCount = desired })
			})
		case 3:
			status := []string{"DRAINING", "ACTIVE"}[rnd.IntN(2)]
			what = status
			w.update(func(tx *state.Tx) {
				keys := keysOf(w.ecs.ContainerInstances, tx, "")
				w.ecs.ContainerInstances.Modify(tx, keys[rnd.IntN(3)], func(ci *state.ContainerInstance) { ci.Status = status })
			})
		case 4:
			what = "kill a task"
			if got := w.tasks("web")["RUNNING"]; len(got) > 0 {
				if c, ok := w.tasksLoop.Container(got[rnd.IntN(len(got))].ARN, "app"); ok {
					_ = c.Stop(t.Context(), 0)
				}
			}
		case 5:
			what = "an instance dies and comes back"
			w.update(func(tx *state.Tx) {
				keys := keysOf(w.ecs.ContainerInstances, tx, "")
				w.ecs.ContainerInstances.Modify(tx, keys[3+rnd.IntN(3)], func(ci *state.ContainerInstance) { ci.Status, ci.AgentConnected = "INACTIVE", false })
			})
			after(time.Duration(rnd.IntN(5)) * time.Second)
			w.update(func(tx *state.Tx) {
				for _, k := range keysOf(w.ecs.ContainerInstances, tx, "")[3:] {
					w.ecs.ContainerInstances.Modify(tx, k, func(ci *state.ContainerInstance) { ci.Status, ci.AgentConnected = "ACTIVE", true })
				}
			})
		case 6:
			what = "the process dies"
			w.kill()
			after(time.Duration(rnd.IntN(3)) * time.Second)
			w.rt = &puppets{lives: lives}
			w.run()
		case 7:
			what = "wait"
			after(time.Duration(rnd.IntN(300)) * time.Second)
		}
		log = append(log, what)
		after(time.Duration(rnd.IntN(4000)) * time.Millisecond)
		w.roomy(log)
	}
	after(40 * time.Minute) // a canary's bakes, and throttled starts

	d, listed := w.primary("web")
	got := w.tasks("web")
	problem := func(format string, args ...any) {
		t.Errorf(format+"\n%s\n%q\n%s", append(args, strategy, log, strings.Join(w.events("web"), "\n"))...)
	}
	if _, code, _ := lives(d.TaskDefinition); code != 0 {
		return // a bad revision completes where no task is wanted, and fails when one is
	}
	if d.RolloutState == "FAILED" { // nothing to roll back to, or the rollback failed with it: as on AWS
		return
	}
	if listed != 1 || d.RolloutState != "COMPLETED" || len(got["RUNNING"]) != desired {
		problem("%d of %d run, %d listed, %+v", len(got["RUNNING"]), desired, listed, d)
		return
	}
	for _, x := range got["RUNNING"] {
		if x.DeploymentID != d.ID || x.TaskDefinition != d.TaskDefinition {
			problem("a task of %s runs beside %s", x.DeploymentID, d.ID)
		}
	}
	for status, list := range got {
		if status != "RUNNING" && status != "STOPPED" {
			problem("%d tasks are %s", len(list), status)
		}
	}
	_, healthy := w.production()
	targets := 0
	w.view(func(tx *state.Tx) { targets = w.ecs.Targets.Len(tx) })
	if w.rt.running != desired || targets != desired || healthy["blue"]+healthy["green"] != desired {
		problem("%d containers and %d targets for %d tasks, healthy %v", w.rt.running, targets, desired, healthy)
	}
	if strategy != "ROLLING" {
		weights, _ := w.production()
		for g, n := range healthy {
			if n > 0 && weights[g] != 100 {
				problem("the tasks are in %v, the traffic goes to %v", healthy, weights)
			}
		}
	}
	if !slices.Contains([]string{"SUCCESSFUL", "ROLLBACK_SUCCESSFUL", "STOPPED"}, w.runStatus(revision)) {
		problem("the last deployment is %s", w.runStatus(revision))
	}
}

// roomy fails the test if an instance has more tasks than room, or a port twice.
func (w *world) roomy(log []string) {
	w.view(func(tx *state.Tx) {
		for arn := range w.ecs.ContainerInstances.All(tx) {
			i, _ := current(tx, w.ecs, arn)
			left := i.Remaining()
			if left.CPU < 0 || left.Memory < 0 {
				w.t.Errorf("%s is overcommitted: %+v after %q", arn, left, log)
			}
			for p, n := range i.Ports {
				if n > 1 {
					w.t.Errorf("%s has port %d %d times", arn, p.Number, n)
				}
			}
		}
	})
}
