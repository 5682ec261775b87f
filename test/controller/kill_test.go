package controller

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/slipway-ecs/slipway/internal/autoscale"
	"github.com/slipway-ecs/slipway/internal/drain"
	"github.com/slipway-ecs/slipway/internal/rotate"
)

// operationUnderTest is something the controller does in many calls.
type operationUnderTest struct {
	name             string
	instances, tasks int
	scale            bool
	begin            func(w *world)                                                      // before the controller starts
	command          func(ctx context.Context, w *world, e *engines, first string) error // what a person or a turn of it does first; again after a kill
	done             func(w *world, s *drain.State, first string) bool
	check            func(w *world, s *drain.State, first string)
	least            int // calls that change something, without a kill
}

func steady(w *world, s *drain.State, instances, tasks int) {
	w.Helper()
	if len(s.Instances) != instances {
		w.Errorf("%d instances, want %d", len(s.Instances), instances)
	}
	if n := s.Services["web"].Running; n != tasks {
		w.Errorf("%d tasks run, want %d", n, tasks)
	}
	if n := int(*w.describe().DesiredCapacity); n != instances {
		w.Errorf("the group wants %d instances, want %d", n, instances)
	}
}

var operations = []operationUnderTest{
	{
		name: "drain by hand", instances: 3, tasks: 4, least: 2,
		command: func(ctx context.Context, w *world, e *engines, first string) error {
			if i := w.look().Find(first); i.Mark != nil {
				return nil
			}
			return e.drain.Begin(ctx, first, drain.Mark{Deadline: e.drain.Clock.Now().Add(time.Hour), Policy: drain.Abort})
		},
		done: func(_ *world, s *drain.State, first string) bool {
			i := s.Find(first)
			return i != nil && i.Status == "DRAINING" && len(i.Tasks) == 0 && s.Services["web"].Running == 4
		},
		check: func(w *world, s *drain.State, _ string) { steady(w, s, 3, 4) },
	},
	{
		name: "drain by hook", instances: 3, tasks: 4, least: 4, // mark, heartbeat, drain, complete
		begin: func(w *world) {
			must[autoscaling.PutLifecycleHookOutput](w)(w.as.PutLifecycleHook(w.Context(), &autoscaling.PutLifecycleHookInput{AutoScalingGroupName: aws.String(group), LifecycleHookName: aws.String("slipway-drain"),
				LifecycleTransition: aws.String("autoscaling:EC2_INSTANCE_TERMINATING"), HeartbeatTimeout: aws.Int32(7200), DefaultResult: aws.String("CONTINUE")}))
			id := w.look().Instances[0].EC2ID
			must[autoscaling.TerminateInstanceInAutoScalingGroupOutput](w)(w.as.TerminateInstanceInAutoScalingGroup(w.Context(), &autoscaling.TerminateInstanceInAutoScalingGroupInput{InstanceId: &id, ShouldDecrementDesiredCapacity: aws.Bool(false)}))
			w.until("the hook holds it", func(s *drain.State) bool { i := s.Find(id); return i != nil && i.Hook != nil })
		},
		done: func(_ *world, s *drain.State, first string) bool {
			return s.Find(first) == nil && len(s.Instances) == 3 && s.Services["web"].Running == 4
		},
		check: func(w *world, s *drain.State, _ string) { steady(w, s, 3, 4) },
	},
	{
		name: "scale out from zero", instances: 0, tasks: 10, scale: true, least: 1,
		done: func(_ *world, s *drain.State, _ string) bool {
			return s.Services["web"].Running == 10
		},
		check: func(w *world, s *drain.State, _ string) { steady(w, s, 3, 10) },
	},
	{
		name: "scale in", instances: 4, tasks: 16, scale: true, least: 6, // for each of two: mark, drain, terminate
		begin: func(w *world) {
			w.want(8)
			w.until("half of the tasks are gone", func(s *drain.State) bool {
				n := 0
				for _, i := range s.Instances {
					n += len(i.Tasks)
				}
				return n == 8
			})
		},
		done: func(w *world, s *drain.State, _ string) bool {
			return len(s.Instances) == 2 && s.Services["web"].Running == 8 && len(w.describe().Instances) == 2
		},
		check: func(w *world, s *drain.State, _ string) { steady(w, s, 2, 8) },
	},
	{
		name: "rotate", instances: 3, tasks: 6, least: 11, // save, grow, for each of three: mark, drain, terminate
		begin: func(w *world) {
			must[ec2.CreateLaunchTemplateVersionOutput](w)(w.ec2.CreateLaunchTemplateVersion(w.Context(), &ec2.CreateLaunchTemplateVersionInput{LaunchTemplateName: aws.String("host"), SourceVersion: aws.String("1"),
				LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: aws.String("ami-0510ca10ca10ca231")}}))
		},
		command: beginRotation,
		done: func(w *world, s *drain.State, _ string) bool {
			return rotated(w, "2", 3) && s.Services["web"].Running == 6
		},
		check: func(w *world, s *drain.State, _ string) {
			steady(w, s, 3, 6)
			ws, err := w.engines(nil).scale.Warnings(w.Context())
			if err != nil || slices.ContainsFunc(ws, func(x autoscale.Warning) bool { return x.Kind == autoscale.Oscillates }) {
				w.Errorf("a rotation is no oscillation: %v, %v", ws, err)
			}
		},
	},
}

func beginRotation(ctx context.Context, w *world, e *engines, _ string) error {
	if strings.Contains(fmt.Sprint(tags(w)), rotate.Tag) || rotated(w, "2", 3) {
		return nil // a person sees that it was begun
	}
	g, err := e.rotate.Propose(ctx, group, rotate.Rotation{To: "2", Deadline: time.Hour, Join: time.Hour, OnFailure: rotate.Pause})
	if errors.Is(err, rotate.ErrRight) {
		return nil // it has ended, and the last old instance is still about to go
	}
	if err != nil {
		return err
	}
	g.Rotation.Surge = 1
	return e.rotate.Begin(ctx, g)
}

func tags(w *world) (keys []string) {
	for _, t := range w.describe().Tags {
		keys = append(keys, *t.Key)
	}
	return keys
}

// rotated reports whether the group has so many instances, all of the version, and no rotation.
func rotated(w *world, version string, n int) bool {
	g := w.describe()
	for _, m := range g.Instances {
		if m.LaunchTemplate == nil || *m.LaunchTemplate.Version != version || m.LifecycleState != "InService" {
			return false
		}
	}
	return len(g.Instances) == n && !strings.Contains(fmt.Sprint(tags(w)), rotate.Tag)
}

// Every operation is killed at each of its calls, before the call and after it; a controller that
// remembers nothing goes on, and the end is the same.
func TestKilledAtEveryCall(t *testing.T) {
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			calls, sequence := 0, ""
			for n := 0; n == 0 || n <= calls; n++ {
				for _, after := range []bool{false, true} {
					if n == 0 && after {
						continue // n = 0: nobody is killed
					}
					t.Run(fmt.Sprintf("%d after=%v", n, after), func(t *testing.T) {
						made := op.run(t, n, after)
						if n == 0 {
							calls, sequence = len(made), strings.Join(made, " ")
						}
					})
					if t.Failed() {
						t.Fatalf("without a kill: %s", sequence)
					}
				}
			}
			if calls < op.least {
				t.Errorf("only %d calls: %s", calls, sequence)
			}
			t.Logf("%d calls, killed before and after each: %s", calls, sequence)
		})
	}
}

// run makes the operation, killed at the n-th call, and returns the calls of the first process.
func (op *operationUnderTest) run(t *testing.T, n int, after bool) []string {
	w := newWorld(t, op.instances, op.tasks)
	first := ""
	if s := w.look(); len(s.Instances) > 0 {
		first = s.Instances[0].EC2ID
	}
	if op.begin != nil {
		op.begin(w)
	}
	ctx, cancel := context.WithCancel(t.Context())
	d := &dying{n: n, after: after, cancel: cancel}
	process := func(ctx context.Context, e *engines) error {
		if op.command != nil {
			if err := op.command(ctx, w, e, first); err != nil {
				return err
			}
		}
		for end := time.Now().Add(time.Minute); ; time.Sleep(2 * time.Millisecond) {
			if err := e.turn(ctx, op.scale); err != nil {
				return err
			}
			s := w.look()
			if op.done(w, s, first) {
				return nil
			}
			if time.Now().After(end) {
				return fmt.Errorf("not done within a minute: %+v", s.Services)
			}
		}
	}
	err := process(ctx, w.engines(d))
	cancel()
	if d.dead {
		err = process(t.Context(), w.engines(nil))
	}
	if err != nil {
		t.Fatalf("%v; calls: %s", err, strings.Join(d.calls, " "))
	}
	// It stays so: a turn more changes nothing.
	again := &dying{}
	if err := w.engines(again).turn(t.Context(), op.scale); err != nil || len(again.calls) > 0 {
		t.Errorf("when it is done there are more calls: %v, %v", again.calls, err)
	}
	op.check(w, w.look(), first)
	return d.calls
}

// late is a connection whose reading of container instances waits for something: so that the tasks were
// read before it, and the instances after.
type late struct {
	once sync.Once
	wait func()
}

func (l *late) Do(r *http.Request) (*http.Response, error) {
	if op, err := operation(r); err != nil {
		return nil, err
	} else if op == "ListContainerInstances" {
		l.once.Do(l.wait)
	}
	return http.DefaultClient.Do(r)
}

// The cluster is read call by call, and ECS places tasks meanwhile: what found its place between two of
// the calls is not grown for a second time.
func TestTasksPlacedWhileLooking(t *testing.T) {
	w := newWorld(t, 0, 10)
	if err := w.engines(nil).turn(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	wanted := *w.describe().DesiredCapacity
	// The instances may be there before the tasks are read: then this shows nothing, and fails nothing.
	e := w.engines(&late{wait: func() {
		w.until("the tasks run", func(s *drain.State) bool { return s.Services["web"].Running == 10 })
	}})
	ds, err := e.scale.Step(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := *w.describe().DesiredCapacity; n != wanted {
		t.Errorf("the group wants %d instances, and %d before: %v", n, wanted, ds)
	}
}
