package controller

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/drain"
	"github.com/slipway-ecs/slipway/internal/rotate"
)

// between is a connection on which something happens before the first call of an operation: after what was
// read by the calls before it, and before what is read by it and those after. It notes the calls that change
// something.
type between struct {
	op    string
	do    func()
	once  sync.Once
	calls dying
}

func (b *between) Do(r *http.Request) (*http.Response, error) {
	op, err := operation(r)
	if err != nil {
		return nil, err
	}
	if op == b.op {
		b.once.Do(b.do)
	}
	return b.calls.Do(r)
}

func (w *world) terminating() {
	w.Helper()
	must[autoscaling.PutLifecycleHookOutput](w)(w.as.PutLifecycleHook(w.Context(), &autoscaling.PutLifecycleHookInput{AutoScalingGroupName: aws.String(group), LifecycleHookName: aws.String("slipway-drain"),
		LifecycleTransition: aws.String("autoscaling:EC2_INSTANCE_TERMINATING"), HeartbeatTimeout: aws.Int32(7200), DefaultResult: aws.String("CONTINUE")}))
}

// start runs a standalone task on an instance, and waits until it runs.
func (w *world) start(instance string) (arn string) {
	w.Helper()
	out := must[ecs.StartTaskOutput](w)(w.ecs.StartTask(w.Context(), &ecs.StartTaskInput{Cluster: aws.String(cluster), TaskDefinition: aws.String("web"), ContainerInstances: []string{instance}}))
	if len(out.Tasks) != 1 {
		w.Fatalf("%+v", out.Failures)
	}
	arn = *out.Tasks[0].TaskArn
	w.until("the task runs", func(*drain.State) bool { return w.status(arn) == "RUNNING" })
	return arn
}

func (w *world) status(task string) string {
	w.Helper()
	out := must[ecs.DescribeTasksOutput](w)(w.ecs.DescribeTasks(w.Context(), &ecs.DescribeTasksInput{Cluster: aws.String(cluster), Tasks: []string{task}}))
	return *out.Tasks[0].LastStatus + aws.ToString(out.Tasks[0].StoppedReason)
}

func (w *world) grow(n int32) (added string) {
	w.Helper()
	var before []string
	for _, i := range w.look().Instances {
		before = append(before, i.EC2ID)
	}
	must[autoscaling.SetDesiredCapacityOutput](w)(w.as.SetDesiredCapacity(w.Context(), &autoscaling.SetDesiredCapacityInput{AutoScalingGroupName: aws.String(group), DesiredCapacity: &n}))
	w.until("one more joins", func(s *drain.State) bool {
		for _, i := range s.Instances {
			if !slices.Contains(before, i.EC2ID) {
				added = i.EC2ID
			}
		}
		return added != ""
	})
	return added
}

// A service that is made smaller after it was read, and before its tasks are, lacks none: the group does not
// grow for tasks that nobody wants.
func TestServiceShrunkWhileLooking(t *testing.T) {
	w := newWorld(t, 1, 4)
	w.want(8)
	b := &between{op: "ListTasks", do: func() { w.want(4) }}
	ds, err := w.engines(b).scale.Step(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := *w.describe().DesiredCapacity; n != 1 || len(b.calls.calls) > 0 {
		t.Errorf("the group wants %d instances, calls %v: %v", n, b.calls.calls, ds)
	}
}

// An instance that takes a task and is set DRAINING after the tasks were read seems to be empty: it is not
// terminated under the task.
func TestTaskTakenWhileLooking(t *testing.T) {
	for _, hook := range []bool{false, true} {
		w := newWorld(t, 2, 1)
		ctx := t.Context()
		if hook {
			w.terminating()
		}
		s := w.look()
		empty := s.Instances[slices.IndexFunc(s.Instances, func(i drain.Instance) bool { return len(i.Tasks) == 0 })]
		var task string
		b := &between{op: "ListContainerInstances"}
		e := w.engines(b)
		b.do = func() {
			task = w.start(empty.ID)
			must[ecs.UpdateContainerInstancesStateOutput](t)(w.ecs.UpdateContainerInstancesState(ctx, &ecs.UpdateContainerInstancesStateInput{Cluster: aws.String(cluster), ContainerInstances: []string{empty.ID}, Status: ecstypes.ContainerInstanceStatusDraining}))
			m := drain.Mark{Deadline: e.drain.Clock.Now().Add(time.Hour), Policy: drain.Abort, Terminate: true}
			must[ecs.TagResourceOutput](t)(w.ecs.TagResource(ctx, &ecs.TagResourceInput{ResourceArn: &empty.ID, Tags: []ecstypes.Tag{{Key: aws.String(drain.Tag), Value: aws.String(m.String())}}}))
			if hook {
				must[autoscaling.TerminateInstanceInAutoScalingGroupOutput](t)(w.as.TerminateInstanceInAutoScalingGroup(ctx, &autoscaling.TerminateInstanceInAutoScalingGroupInput{InstanceId: &empty.EC2ID, ShouldDecrementDesiredCapacity: aws.Bool(false)}))
				w.until("the hook holds it", func(s *drain.State) bool { i := s.Find(empty.EC2ID); return i != nil && i.Hook != nil })
			}
		}
		if _, _, err := e.drain.Step(ctx); err != nil {
			t.Fatal(err)
		}
		for _, op := range b.calls.calls {
			if op == "TerminateInstanceInAutoScalingGroup" || op == "CompleteLifecycleAction" {
				t.Errorf("hook=%v: an instance with a task is given up: %v", hook, b.calls.calls)
			}
		}
		if got := w.status(task); got != "RUNNING" {
			t.Errorf("hook=%v: the task is %s", hook, got)
		}
		// When the task has ended the drain does.
		must[ecs.StopTaskOutput](t)(w.ecs.StopTask(ctx, &ecs.StopTaskInput{Cluster: aws.String(cluster), Task: &task}))
		w.until("it is gone", func(s *drain.State) bool {
			if err := w.engines(nil).turn(ctx, false); err != nil {
				t.Fatal(err)
			}
			return s.Find(empty.EC2ID) == nil
		})
	}
}

// An instance that joins, takes a task and is to be terminated after the instances were read is no orphan: its
// hook is kept.
func TestJoinedWhileLooking(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.terminating()
	ctx := t.Context()
	var late, task string
	b := &between{op: "DescribeAutoScalingInstances", do: func() {
		late = w.grow(2)
		task = w.start(w.look().Find(late).ID)
		must[autoscaling.TerminateInstanceInAutoScalingGroupOutput](t)(w.as.TerminateInstanceInAutoScalingGroup(ctx, &autoscaling.TerminateInstanceInAutoScalingGroupInput{InstanceId: &late, ShouldDecrementDesiredCapacity: aws.Bool(true)}))
		w.until("the hook holds it", func(s *drain.State) bool { i := s.Find(late); return i != nil && i.Hook != nil })
	}}
	if _, _, err := w.engines(b).drain.Step(ctx); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(b.calls.calls, "CompleteLifecycleAction") || w.status(task) != "RUNNING" {
		t.Errorf("its hook is completed under its task, which is %s: %v", w.status(task), b.calls.calls)
	}
	must[ecs.StopTaskOutput](t)(w.ecs.StopTask(ctx, &ecs.StopTaskInput{Cluster: aws.String(cluster), Task: &task}))
	w.until("it is gone", func(s *drain.State) bool {
		if err := w.engines(nil).turn(ctx, false); err != nil {
			t.Fatal(err)
		}
		return s.Find(late) == nil
	})
}

// An instance that its group ends after the instances were read is still in the cluster, with all its tasks, as
// it was seen: the empty one beside it is what they need.
func TestEndedWhileLooking(t *testing.T) {
	w := newWorld(t, 1, 4)
	ctx := t.Context()
	full := w.look().Instances[0].EC2ID
	w.grow(2)
	b := &between{op: "DescribeAutoScalingInstances", do: func() {
		must[autoscaling.TerminateInstanceInAutoScalingGroupOutput](t)(w.as.TerminateInstanceInAutoScalingGroup(ctx, &autoscaling.TerminateInstanceInAutoScalingGroupInput{InstanceId: &full, ShouldDecrementDesiredCapacity: aws.Bool(true)}))
		w.until("its group has it no more", func(*drain.State) bool { return len(w.describe().Instances) == 1 })
	}}
	ds, err := w.engines(b).scale.Step(ctx)
	if err != nil || len(b.calls.calls) > 0 {
		t.Errorf("calls %v: %v, %v", b.calls.calls, ds, err)
	}
	w.until("its tasks run on the other", func(s *drain.State) bool { return len(s.Instances) == 1 && s.Services["web"].Running == 4 })
}

// A member that a rotation saw before it joined is drained, not terminated at once, if it has joined by then.
func TestJoinedBeforeItIsReplaced(t *testing.T) {
	w := newWorld(t, 2, 1)
	b := &between{}
	e, s := w.engines(b), w.look()
	i := s.Instances[0]
	if err := e.rotate.Instances.DrainFor(context.Background(), cluster, rotate.Member{EC2ID: i.EC2ID}, false, time.Now().Add(time.Hour), false); err != nil {
		t.Fatal(err)
	}
	if got := w.look().Find(i.EC2ID); got == nil || got.Mark == nil || got.Mark.By != drain.ByRotate || slices.Contains(b.calls.calls, "TerminateInstanceInAutoScalingGroup") {
		t.Errorf("%+v; calls %v", got, b.calls.calls)
	}
}

// What a person asked of an instance after the cluster was read is not overwritten by a scale-in.
func TestMarkedWhileLooking(t *testing.T) {
	w := newWorld(t, 2, 1)
	ctx, e, i := t.Context(), w.engines(nil), w.look().Instances[0]
	hand := drain.Mark{Deadline: e.drain.Clock.Now().Add(time.Hour).Truncate(time.Second).UTC(), Policy: drain.Force}
	if err := e.drain.Begin(ctx, i.EC2ID, hand); err != nil {
		t.Fatal(err)
	}
	if err := e.scale.Actor.Drain(ctx, cluster, i.ID, time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if got := w.look().Find(i.EC2ID).Mark; got == nil || *got != hand {
		t.Errorf("the mark is %+v; want %+v", got, hand)
	}
}
