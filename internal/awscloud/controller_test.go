package awscloud

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ecs"

	"github.com/slipway-ecs/slipway/internal/autoscale"
	"github.com/slipway-ecs/slipway/internal/capacity"
	"github.com/slipway-ecs/slipway/internal/clusterinfra"
	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/drain"
	"github.com/slipway-ecs/slipway/internal/rightsize"
	"github.com/slipway-ecs/slipway/internal/rotate"
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

// turning makes turns of all engines, each turn by new ones that remember nothing but since when hosts
// could go, until the context ends.
func turning(ctx context.Context, t *testing.T, c *Cloud, cluster string) (wait func()) {
	scale := c.Autoscale(cluster, autoscale.Config{Headroom: 0, Settle: time.Second, Deadline: time.Minute, Budgets: []capacity.Disruption{{Number: capacity.NoLimit, Percent: 50}}})
	last := ""
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			drains, rotates := c.Drain(cluster, drain.Defaults{Deadline: 10 * time.Minute, Policy: drain.Abort}), c.Rotate(cluster)
			_, _, err := drains.Step(ctx)
			_, errRotate := rotates.Step(ctx)
			ds, errScale := scale.Step(ctx)
			if err := errors.Join(err, errRotate, errScale); err != nil && ctx.Err() == nil {
				t.Log(err) // the next turn sees the truth
			}
			for _, d := range ds {
				if text := fmt.Sprintf("%s %s %d → %d", d.Kind, d.Group, d.From, d.To); text != last && d.Kind != autoscale.Hold {
					last = text
					t.Log(text, strings.Join(d.Reasons, "; "))
				}
			}
			_ = c.Clock.Wait(ctx, 200*time.Millisecond)
		}
	}()
	return func() { <-ended }
}

// loadCluster is a cluster with a service of real processes behind a real balancer.
func loadCluster(t *testing.T, port, least, most, tasks, cpu int) (c *Cloud, url string, eventually func(what string, done func(s *drain.State) bool)) {
	t.Helper()
	endpoint := startLocalWith(t, "sandbox", 8)
	c = openAt(t, endpoint)
	ctx := t.Context()
	if _, err := c.Repositories().Apply(ctx, clusterinfra.Repository{Name: "app"}); err != nil {
		t.Fatal(err)
	}
	image := pushApp(t, c, strings.TrimPrefix(endpoint, "http://"))
	if _, err := c.Clusters().Apply(ctx, clusterinfra.Spec{Name: "web", Instances: &clusterinfra.Instances{Type: "m7i.large", Min: least, Max: most},
		Balancer: &clusterinfra.Balancer{Listeners: map[string]clusterinfra.Listener{"web": {Port: port}}}}, nil); err != nil {
		t.Fatal(err)
	}
	in, err := c.Infra(ctx, "web", "web")
	if err != nil {
		t.Fatal(err)
	}
	turns, stop := context.WithCancel(ctx)
	wait := turning(turns, t, c, "web")
	t.Cleanup(func() { stop(); wait() })
	spec := webApp()
	spec.Count, spec.Containers[0].CPU = tasks, cpu
	out, err := c.Deploy().Apply(ctx, deploy.Target{Spec: spec, Image: image, Infra: in}, func(deploy.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	look := c.Drain("web", drain.Defaults{})
	return c, out.URL, func(what string, done func(s *drain.State) bool) {
		t.Helper()
		for end := time.Now().Add(3 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
			s, _, err := look.Look(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if done(s) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("not within three minutes: %s; %d instances, %+v", what, len(s.Instances), s.Services)
			}
		}
	}
}

// A cluster without instances grows to twenty when tasks have no place and shrinks when they are gone; no
// request fails.
func TestScaleUnderLoad(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("needs the sandbox runtime and time")
	}
	c, url, eventually := loadCluster(t, 18082, 0, 30, 1, 1200)
	want := func(n int) {
		if _, err := c.controller().ecs.UpdateService(t.Context(), &ecs.UpdateServiceInput{Cluster: aws.String("web"), Service: aws.String("app-qa"), DesiredCount: aws.Int32(int32(n))}); err != nil {
			t.Fatal(err)
		}
	}
	has := func(instances, tasks int) func(*drain.State) bool {
		return func(s *drain.State) bool {
			return len(s.Instances) == instances && s.Services["app-qa"].Running == tasks
		}
	}
	if failed := underLoad(t, url, func() {
		want(20)
		eventually("20 tasks on 20 instances", has(20, 20))
		want(1)
		eventually("1 task on 1 instance", has(1, 1))
	}); len(failed) > 0 {
		t.Errorf("%d requests failed: %v", len(failed), failed[0])
	}
	want(0)
	eventually("none", has(0, 0))
}

// resized looks at what the service used, and deploys what it should reserve.
func resized(t *testing.T, c *Cloud, eventually func(string, func(*drain.State) bool)) {
	t.Helper()
	var used []ServiceUsage
	eventually("its use is measured", func(*drain.State) bool {
		var err error
		if used, err = c.Usage(t.Context(), "web", time.Hour); err != nil || len(used) != 1 || len(used[0].Containers) != 1 {
			t.Fatal(used, err)
		}
		return used[0].Containers[0].Usage.Peak() > 0
	})
	x, policy := used[0].Containers[0], rightsize.DefaultPolicy()
	policy.MinConfidence = 0
	r := rightsize.Recommend(x.Usage, x.Has, policy)
	if r.Action != rightsize.Change || r.Target.CPU >= x.Has.CPU || r.Target.CPU < x.Has.CPU/2 {
		t.Fatalf("it reserves %+v and should %+v: %s %v", x.Has, r.Target, r.Action, r.Reasons)
	}
	if err := c.Resize(t.Context(), "web", used[0], map[string]rightsize.Reservation{x.Name: r.Target}); err != nil {
		t.Fatal(err)
	}
	if used, err := c.Usage(t.Context(), "web", time.Hour); err != nil || used[0].Containers[0].Has.CPU != r.Target.CPU {
		t.Errorf("after it: %+v, %v", used, err)
	}
}

// Thirty instances are replaced by ones of another image, three at a time, and half of them back again;
// no request fails.
func TestRotateUnderLoad(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("needs the sandbox runtime and time")
	}
	c, url, eventually := loadCluster(t, 18083, 30, 40, 30, 900)
	ctx, e := t.Context(), c.Rotate("web")
	groups, err := c.Groups(ctx, "web")
	if err != nil || len(groups) != 1 {
		t.Fatal(groups, err)
	}
	before, err := c.RotationTarget(ctx, groups[0], "", "", false)
	if err != nil {
		t.Fatal(err)
	}
	to, err := c.RotationTarget(ctx, groups[0], "", "ami-0510ca10ca10ca231", false)
	if err != nil || to == before {
		t.Fatal(before, to, err)
	}
	if again, err := c.RotationTarget(ctx, groups[0], "", "ami-0510ca10ca10ca231", false); err != nil || again != to {
		t.Errorf("another version for the same image: %s, %v", again, err)
	}
	of := func(version string) (n int) {
		g, err := e.Observer.Group(ctx, "web", groups[0], version)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range g.Members {
			if m.Version == version {
				n++
			}
		}
		return n
	}
	ended := func(*drain.State) bool {
		plans, err := e.Look(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return len(plans) == 0
	}
	begin := func(to string, surge int) {
		g, err := e.Propose(ctx, groups[0], rotate.Rotation{To: to, Surge: surge, Deadline: 10 * time.Minute, Join: 10 * time.Minute, OnFailure: rotate.Pause})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Begin(ctx, g); err != nil {
			t.Fatal(err)
		}
	}
	if failed := underLoad(t, url, func() {
		begin(to, 10)
		eventually("it ends", ended)
		if n := of(to); n != 30 {
			t.Errorf("%d of version %s", n, to)
		}
		begin(before, 5)
		eventually("some are rotated", func(*drain.State) bool { return of(before) >= 5 })
		if err := e.Change(ctx, groups[0], rotate.ToRollback); err != nil {
			t.Fatal(err)
		}
		eventually("it is rolled back", ended)
		if n := of(to); n != 30 {
			t.Errorf("%d of version %s after the rollback", n, to)
		}
		begin(before, 5)
		eventually("some are rotated", func(*drain.State) bool { return of(before) >= 6 })
		if err := e.Change(ctx, groups[0], rotate.ToAbort); err != nil {
			t.Fatal(err)
		}
		eventually("it is aborted", ended)
		if n := of(before); n < 6 || n == 30 {
			t.Errorf("%d of version %s after the abort", n, before)
		}
		eventually("the group's own size", func(s *drain.State) bool { return len(s.Instances) == 30 && s.Services["app-qa"].Running == 30 })
		resized(t, c, eventually)
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
