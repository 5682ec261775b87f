package loop

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
)

// ServicesConfig is what the service loop needs.
type ServicesConfig struct {
	State   *state.ECS
	Clock   clock.Clock
	Subnets Subnets
	Traffic Traffic      // nil: deployments that shift a listener rule's traffic fail with a reason
	Alarms  Alarms       // nil: the alarms of deployments are not looked at
	Hooks   Hooks        // nil: deployments with functions as lifecycle hooks are rolled back with a reason
	Log     *slog.Logger // nil: silent
}

// Alarms tells the state of CloudWatch alarms.
type Alarms interface {
	// Firing reports whether the alarm is in the state ALARM.
	Firing(tx *state.Tx, name string) bool
}

// alarmLook is how often the alarms of a deployment under way are looked at.
const alarmLook = 10 * time.Second

// Services is the service loop. All its fields but cfg belong to the goroutine in Run, and all can
// be made again from the state.
type Services struct {
	cfg   ServicesConfig
	fleet *fleet
	seq   uint32 // orders events of the same millisecond

	dirty  map[string]bool            // services to look at
	wakes  map[string]time.Time       // when to look at a service for the sake of time alone
	hungry map[string]map[string]bool // by cluster: services that lack room, and unplaced for standalone tasks
	alone  map[string]map[string]bool // by cluster: standalone tasks that wait for room
	seen   map[string]*seenTask       // by task ARN
	known  map[string]bool            // services whose stopped tasks have been counted
	streak map[string]*streak         // by service
	// weights are what listener rules were last told, so that they are not told again.
	weights map[string]string

	life    context.Context // of Run: what goes on in the background ends with it
	wg      sync.WaitGroup
	callMu  sync.Mutex
	calling map[string]bool // lifecycle hooks whose functions are being called
}

// seenTask is what is done once for a task that was asked to stop.
type seenTask struct{ counted, deregistered bool }

// streak is the tasks of a service that failed to start, since one last succeeded.
type streak struct {
	n    int
	last time.Time
}

// NewServices returns the loop; Run runs it.
func NewServices(cfg ServicesConfig) *Services {
	cfg.Log = discardLog(cfg.Log)
	return &Services{
		cfg: cfg, fleet: newFleet(), dirty: map[string]bool{}, wakes: map[string]time.Time{}, hungry: map[string]map[string]bool{},
		alone: map[string]map[string]bool{}, seen: map[string]*seenTask{}, known: map[string]bool{}, streak: map[string]*streak{}, weights: map[string]string{}, calling: map[string]bool{},
	}
}

// retryAfter is when a service is looked at again after an error of the store.
const retryAfter = 5 * time.Second

// gather is how long to wait for more changes after the first.
const gather = 20 * time.Millisecond

// Run reconciles services until ctx ends; it returns the context's error.
func (s *Services) Run(ctx context.Context) error {
	db := s.cfg.State.DB
	life, end := context.WithCancel(ctx)
	s.life = life
	defer s.wg.Wait()
	defer end()
	w := db.Watch(state.TableServices, state.TableDeployments, state.TableServiceDeployments, state.TableTasks,
		state.TableContainerInstances, state.TableTargetHealth, state.TableTargets)
	defer w.Stop()
	err := db.View(func(tx *state.Tx) error {
		s.load(tx)
		return nil
	})
	if err != nil {
		return err
	}
	for {
		now := s.cfg.Clock.Now()
		var next time.Time
		for key, at := range s.wakes {
			if !now.Before(at) {
				delete(s.wakes, key)
				s.dirty[key] = true
			} else {
				next = earliest(next, at)
			}
		}
		for key := range s.dirty {
			delete(s.dirty, key)
			wake, err := s.reconcile(key)
			if err != nil {
				s.cfg.Log.Error("reconciling a service", "service", key, "err", err)
				wake = now.Add(retryAfter)
			}
			if wake.IsZero() {
				delete(s.wakes, key)
			} else {
				s.wakes[key] = wake
				next = earliest(next, wake)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		if err := s.placeAlone(); err != nil {
			s.cfg.Log.Error("placing standalone tasks", "err", err)
		}
		if len(s.dirty) == 0 {
			if err := waitFor(ctx, s.cfg.Clock, w, next); err != nil {
				return err
			}
			// Changes come in swarms: one look at all of them is cheaper, and makes one event of many.
			if err := clock.Sleep(ctx, s.cfg.Clock, gather); err != nil {
				return err
			}
		}
		err := db.View(func(tx *state.Tx) error {
			for _, c := range w.Drain() {
				s.changed(tx, c)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

func (s *Services) load(tx *state.Tx) {
	ecs := s.cfg.State
	for arn, ci := range ecs.ContainerInstances.All(tx) {
		s.fleet.instance(arn, ci)
	}
	for arn, t := range ecs.Tasks.All(tx) {
		s.fleet.task(arn, t)
		s.lonely(arn, t)
	}
	for key := range ecs.Services.All(tx) {
		s.dirty[key] = true
	}
}

// changed finds out whom a change concerns.
func (s *Services) changed(tx *state.Tx, c state.Change) {
	ecs := s.cfg.State
	switch c.Table {
	case state.TableServices:
		s.dirty[c.Key] = true
	case state.TableDeployments:
		if key, _, ok := strings.Cut(c.Key, "/ecs-svc/"); ok {
			s.dirty[key] = true
		}
	case state.TableServiceDeployments:
		if sd, ok := ecs.ServiceDeployments.Get(tx, c.Key); ok {
			s.dirty[sd.ServiceKey] = true
		}
	case state.TableTasks:
		t, ok := ecs.Tasks.Get(tx, c.Key)
		if !ok {
			delete(s.seen, c.Key)
		} else if t.ServiceKey != "" {
			s.dirty[t.ServiceKey] = true
		}
		var from *member
		if was := s.fleet.booked[c.Key]; was != nil {
			from = s.fleet.byARN[was.ContainerInstance]
		}
		if s.fleet.task(c.Key, t) && from != nil {
			s.roomIn(from.cluster)
			if from.Status != "ACTIVE" {
				s.leftOn(tx, from.ID) // daemons go last
			}
		}
		if t != nil && t.LaunchType == "FARGATE" && t.LastStatus == "STOPPED" { // the quota is the account's
			for cluster := range s.hungry {
				s.roomIn(cluster)
			}
		}
		s.lonely(c.Key, t)
	case state.TableContainerInstances:
		ci, _ := ecs.ContainerInstances.Get(tx, c.Key)
		s.fleet.instance(c.Key, ci)
		if ci == nil {
			return
		}
		s.roomIn(ci.ClusterName)
		s.leftOn(tx, c.Key) // draining concerns their services
		for key, svc := range ecs.Services.Prefix(tx, ci.ClusterName+"/") {
			if isDaemon(svc) {
				s.dirty[key] = true
			}
		}
	case state.TableTargets, state.TableTargetHealth:
		if key, ok := ownerOf(tx, ecs, c.Key); ok {
			s.dirty[key] = true
		}
	}
}

// leftOn wakes the services that have tasks on an instance.
func (s *Services) leftOn(tx *state.Tx, instance string) {
	for _, t := range s.cfg.State.TasksByInstance.Get(tx, instance) {
		if t.ServiceKey != "" {
			s.dirty[t.ServiceKey] = true
		}
	}
}

// roomIn wakes the services of a cluster that could not place a task.
func (s *Services) roomIn(cluster string) {
	for key := range s.hungry[cluster] {
		s.dirty[key] = true
	}
}

func mark(m map[string]map[string]bool, cluster, key string, on bool) {
	switch {
	case on && m[cluster] == nil:
		m[cluster] = map[string]bool{key: true}
	case on:
		m[cluster][key] = true
	default:
		delete(m[cluster], key)
	}
}

// lonely keeps the set of standalone tasks that wait for room.
func (s *Services) lonely(arn string, t *state.Task) {
	if t == nil || t.ServiceKey != "" {
		if cluster, _, ok := strings.Cut(strings.TrimPrefix(arn[strings.LastIndex(arn, ":")+1:], "task/"), "/"); ok {
			mark(s.alone, cluster, arn, false)
		}
		return
	}
	waits := t.ContainerInstance == "" && t.LaunchType != "FARGATE" && t.DesiredStatus != "STOPPED" && t.LastStatus == "PROVISIONING"
	mark(s.alone, t.ClusterName, arn, waits)
}

// placeAlone places standalone tasks of capacity providers for which there is room by now.
func (s *Services) placeAlone() error {
	for cluster, tasks := range s.alone {
		if len(tasks) == 0 {
			continue
		}
		err := s.cfg.State.DB.Update(func(tx *state.Tx) error {
			for arn := range tasks {
				t, ok := s.cfg.State.Tasks.Get(tx, arn)
				if !ok || t.ContainerInstance != "" {
					delete(tasks, arn)
					continue
				}
				td, ok := s.cfg.State.TaskDefinitions.Get(tx, definitionKey(t.TaskDefinition))
				if !ok {
					continue
				}
				p, err := s.placer(tx, cluster, t, requestFor(t, td, nil, nil, s.zones(tx, t)))
				if err != nil {
					return err
				}
				if i := p.next(); i != nil {
					next := *t
					s.settle(tx, &next, i)
					delete(tasks, arn)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func isDaemon(s *state.Service) bool {
	return s.Spec.SchedulingStrategy != nil && *s.Spec.SchedulingStrategy == "DAEMON"
}
