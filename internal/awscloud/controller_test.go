package awscloud

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ecs"

	"github.com/slipway-ecs/slipway/internal/autoscale"
	"github.com/slipway-ecs/slipway/internal/clusterinfra"
	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/drain"
)

// Instances of a real process behind a real balancer are drained by hand and by a group's hook; no
// request fails.
func TestDrainUnderLoad(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("needs the sandbox runtime and time")
	}
	url := startLocalWith(t, "sandbox", 4)
	c, ctx := openAt(t, url), t.Context()
	if _, err := c.Repositories().Apply(ctx, clusterinfra.Repository{Name: "app"}); err != nil {
		t.Fatal(err)
	}
	image := pushApp(t, c, strings.TrimPrefix(url, "http://"))
	if _, err := c.Clusters().Apply(ctx, clusterinfra.Spec{Name: "web", Instances: &clusterinfra.Instances{Type: "m7i.large", Min: 2, Max: 4},
		Balancer: &clusterinfra.Balancer{Listeners: map[string]clusterinfra.Listener{"web": {Port: 18081}}}}, nil); err != nil {
		t.Fatal(err)
	}
	in, err := c.Infra(ctx, "web", "web")
	if err != nil {
		t.Fatal(err)
	}
	spec := webApp()
	spec.Count = 4
	out, err := c.Deploy().Apply(ctx, deploy.Target{Spec: spec, Image: image, Infra: in}, func(deploy.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	e := c.Drain("web", drain.Defaults{Deadline: 10 * time.Minute, Policy: drain.Abort})
	e.Report = func(a drain.Action, err error) { t.Logf("%s %s: %s %v", a.Kind, a.EC2ID, a.Why, err) }
	busy := func() *drain.Instance {
		s, _, err := e.Look(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for k := range s.Instances {
			if i := &s.Instances[k]; i.Status == "ACTIVE" && len(i.Tasks) > 0 {
				return i
			}
		}
		t.Fatal("no instance has tasks")
		return nil
	}
	tell := func(d drain.Drain) {
		if len(d.Waits) > 0 {
			t.Logf("%s %d left: %s", d.EC2ID, d.Left, d.Waits[0].Sentence)
		}
	}
	if failed := underLoad(t, out.URL, func() {
		byHand := busy()
		if err := e.Begin(ctx, byHand.EC2ID, drain.Mark{Deadline: time.Now().Add(5 * time.Minute), Policy: drain.Abort}); err != nil {
			t.Fatal(err)
		}
		if err := e.Watch(ctx, byHand.ID, 250*time.Millisecond, tell); err != nil {
			t.Fatal(err)
		}
		if err := e.Instances.SetStatus(ctx, "web", byHand.ID, "ACTIVE"); err != nil {
			t.Fatal(err)
		}
		if err := e.Instances.Mark(ctx, byHand.ID, nil); err != nil {
			t.Fatal(err)
		}

		p := c.controller()
		victim := busy()
		if _, err := p.as.PutLifecycleHook(ctx, &autoscaling.PutLifecycleHookInput{AutoScalingGroupName: &victim.Group, LifecycleHookName: aws.String("slipway-drain"),
			LifecycleTransition: aws.String("autoscaling:EC2_INSTANCE_TERMINATING"), HeartbeatTimeout: aws.Int32(60), DefaultResult: aws.String("CONTINUE")}); err != nil {
			t.Fatal(err)
		}
		if _, err := p.as.TerminateInstanceInAutoScalingGroup(ctx, &autoscaling.TerminateInstanceInAutoScalingGroupInput{InstanceId: &victim.EC2ID, ShouldDecrementDesiredCapacity: aws.Bool(false)}); err != nil {
			t.Fatal(err)
		}
		if err := e.Watch(ctx, victim.ID, 250*time.Millisecond, tell); err != nil {
			t.Fatal(err)
		}
	}); len(failed) > 0 {
		t.Errorf("%d requests failed: %v", len(failed), failed[0])
	}
}

// A cluster of one instance grows when tasks have no place and shrinks when they are gone; no request
// fails.
func TestScaleUnderLoad(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("needs the sandbox runtime and time")
	}
	url := startLocalWith(t, "sandbox", 4)
	c, ctx := openAt(t, url), t.Context()
	if _, err := c.Repositories().Apply(ctx, clusterinfra.Repository{Name: "app"}); err != nil {
		t.Fatal(err)
	}
	image := pushApp(t, c, strings.TrimPrefix(url, "http://"))
	if _, err := c.Clusters().Apply(ctx, clusterinfra.Spec{Name: "web", Instances: &clusterinfra.Instances{Type: "m7i.large", Min: 1, Max: 4},
		Balancer: &clusterinfra.Balancer{Listeners: map[string]clusterinfra.Listener{"web": {Port: 18082}}}}, nil); err != nil {
		t.Fatal(err)
	}
	in, err := c.Infra(ctx, "web", "web")
	if err != nil {
		t.Fatal(err)
	}
	spec := webApp()
	spec.Count, spec.Containers[0].CPU = 1, 500 // four to an instance
	out, err := c.Deploy().Apply(ctx, deploy.Target{Spec: spec, Image: image, Infra: in}, func(deploy.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	scale := c.Autoscale("web", autoscale.Config{Headroom: 10, Settle: time.Second, Deadline: time.Minute})
	drains := c.Drain("web", drain.Defaults{Deadline: time.Minute, Policy: drain.Abort})
	drains.Report = func(a drain.Action, err error) { t.Logf("%s %s: %s %v", a.Kind, a.EC2ID, a.Why, err) }
	last := ""
	until := func(what string, done func(s *drain.State) bool) {
		for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
			s, _, err := drains.Step(ctx)
			if err != nil {
				t.Fatal(err)
			}
			ds, err := scale.Step(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range ds {
				if text := string(d.Kind) + " " + strings.Join(d.Reasons, "; "); text != last {
					last = text
					t.Logf("%d → %d %s", d.From, d.To, text)
				}
			}
			if done(s) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("not within a minute: %s", what)
			}
		}
	}
	want := func(n int) {
		if _, err := scale.Actor.(*controllerPort).ecs.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: aws.String("web"), Service: aws.String("app-qa"), DesiredCount: aws.Int32(int32(n))}); err != nil {
			t.Fatal(err)
		}
	}
	if failed := underLoad(t, out.URL, func() {
		want(9)
		until("9 tasks on 3 instances", func(s *drain.State) bool { return len(s.Instances) == 3 && s.Services["app-qa"].Running == 9 })
		want(2)
		until("2 tasks on 1 instance", func(s *drain.State) bool { return len(s.Instances) == 1 && s.Services["app-qa"].Running == 2 })
	}); len(failed) > 0 {
		t.Errorf("%d requests failed: %v", len(failed), failed[0])
	}
}

func TestOneLeads(t *testing.T) {
	c, ctx := open(t), t.Context()
	now := time.Now()
	a, b := c.Lease("lease", "a", time.Minute), c.Lease("lease", "b", time.Minute)
	for _, step := range []struct {
		l     *Lease
		after time.Duration
		leads bool
	}{{a, 0, true}, {b, time.Second, false}, {a, 30 * time.Second, true}, {b, 80 * time.Second, false}, {b, 91 * time.Second, true}, {a, 92 * time.Second, false}} {
		leads, err := step.l.Hold(ctx, now.Add(step.after))
		if err != nil || leads != step.leads {
			t.Fatalf("%s after %s: leads %v, %v", step.l.owner, step.after, leads, err)
		}
	}
	if err := b.Release(ctx); err != nil {
		t.Fatal(err)
	}
	if leads, err := a.Hold(ctx, now.Add(93*time.Second)); err != nil || !leads {
		t.Errorf("after the release: %v, %v", leads, err)
	}
}
