package ecs_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	api "github.com/slipway-ecs/slipway/internal/local/api/ecs"
	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/loop"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
)

// startLive serves ECS with the service loop, 300 times faster than the wall clock, and tasks that
// run without containers. Tasks of the family "bad" end at once.
func startLive(t *testing.T) world {
	t.Helper()
	db, err := state.Open("")
	if err != nil {
		t.Fatal(err)
	}
	st, err := state.NewECS(db)
	if err != nil {
		t.Fatal(err)
	}
	clk := clock.NewFast(300)
	s := wire.NewServer()
	if _, err := api.Register(s.Service("ecs"), api.Deps{State: st, Clock: clk}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{}, 2)
	go func() { _ = loop.NewServices(loop.ServicesConfig{State: st, Clock: clk}).Run(ctx); done <- struct{}{} }()
	go func() { runTasks(ctx, st, clk); done <- struct{}{} }()
	srv := httptest.NewServer(s)
	t.Cleanup(func() { srv.Close(); cancel(); <-done; <-done })
	c := ecs.New(ecs.Options{Region: "us-east-1", BaseEndpoint: &srv.URL, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")})
	return world{Client: c, db: st, url: srv.URL}
}

// runTasks is the life of tasks without containers.
func runTasks(ctx context.Context, st *state.ECS, clk clock.Clock) {
	w := st.DB.Watch(state.TableTasks)
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.C:
		}
		_ = st.DB.Update(func(tx *state.Tx) error {
			for _, c := range w.Drain() {
				old, ok := st.Tasks.Get(tx, c.Key)
				if !ok || old.LastStatus == "STOPPED" {
					continue
				}
				task, now := *old, clk.Now()
				switch {
				case task.DesiredStatus == "STOPPED":
					task.LastStatus, task.StoppedAt = "STOPPED", now
				case task.LastStatus == "RUNNING" || task.ContainerInstance == "":
					continue
				case strings.Contains(task.TaskDefinition, "/bad:"):
					task.LastStatus, task.DesiredStatus, task.StoppedAt = "STOPPED", "STOPPED", now
					task.StopCode, task.StoppedReason = "TaskFailedToStart", "CannotPullContainerError: no such image"
				default:
					task.LastStatus, task.StartedAt = "RUNNING", now
				}
				st.Tasks.Put(tx, c.Key, &task)
			}
			return nil
		})
	}
}

func (w world) stable(t *testing.T, cluster, service string) types.Service {
	t.Helper()
	in := &ecs.DescribeServicesInput{Cluster: &cluster, Services: []string{service}}
	waiter := ecs.NewServicesStableWaiter(w, func(o *ecs.ServicesStableWaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, 50*time.Millisecond
	})
	if err := waiter.Wait(t.Context(), in, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	out, err := w.DescribeServices(t.Context(), in)
	return must(t, out, err).Services[0]
}

// TestDeployments: what the API writes is what the service loop acts on.
func TestDeployments(t *testing.T) {
	w, ctx := startLive(t), t.Context()
	w.cluster(t, "c")
	c := aws.String("c")
	for _, i := range []string{"i-1", "i-2"} {
		w.join(t, "c", i, 2048, 4096)
	}
	w.define(t, "web", "bridge", 0)
	_, err := w.CreateService(ctx, &ecs.CreateServiceInput{Cluster: c, ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(3),
		DeploymentConfiguration: &types.DeploymentConfiguration{DeploymentCircuitBreaker: &types.DeploymentCircuitBreaker{Enable: true, Rollback: true}}})
	must(t, 0, err)
	s := w.stable(t, "c", "web")
	if s.RunningCount != 3 || len(s.Deployments) != 1 {
		t.Errorf("service = %+v", s)
	}
	finished := func(want types.ServiceDeploymentStatus) types.ServiceDeploymentBrief {
		t.Helper()
		var last types.ServiceDeploymentBrief
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			out, err := w.ListServiceDeployments(ctx, &ecs.ListServiceDeploymentsInput{Cluster: c, Service: aws.String("web")})
			last = must(t, out, err).ServiceDeployments[0]
			if last.Status == want {
				return last
			}
		}
		t.Fatalf("the service deployment is %s, want %s", last.Status, want)
		return last
	}
	finished("SUCCESSFUL")
	w.define(t, "web", "bridge", 0)
	_, err = w.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: c, Service: aws.String("web"), TaskDefinition: aws.String("web:2")})
	must(t, 0, err)
	finished("SUCCESSFUL")
	if s = w.stable(t, "c", "web"); !strings.HasSuffix(*s.TaskDefinition, "web:2") || s.RunningCount != 3 || len(s.Deployments) != 1 {
		t.Errorf("service = %+v", s)
	}

	// A deployment that can not start is rolled back; services-stable passes on the old revision.
	w.define(t, "bad", "bridge", 0)
	_, err = w.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: c, Service: aws.String("web"), TaskDefinition: aws.String("bad")})
	must(t, 0, err)
	brief := finished("ROLLBACK_SUCCESSFUL")
	if s = w.stable(t, "c", "web"); !strings.HasSuffix(*s.TaskDefinition, "web:2") || s.RunningCount != 3 {
		t.Errorf("after the rollback: %s, %d running", *s.TaskDefinition, s.RunningCount)
	}
	out, err := w.DescribeServiceDeployments(ctx, &ecs.DescribeServiceDeploymentsInput{ServiceDeploymentArns: []string{*brief.ServiceDeploymentArn}})
	if sd := must(t, out, err).ServiceDeployments[0]; sd.Rollback == nil || sd.DeploymentCircuitBreaker.Status != "TRIGGERED" || sd.DeploymentCircuitBreaker.FailureCount < 3 {
		t.Errorf("service deployment = %+v", sd)
	}

	_, err = w.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: c, Service: aws.String("web"), DesiredCount: aws.Int32(1)})
	must(t, 0, err)
	if s = w.stable(t, "c", "web"); s.RunningCount != 1 || s.DesiredCount != 1 {
		t.Errorf("scaled in: %d of %d run", s.RunningCount, s.DesiredCount)
	}
	_, err = w.DeleteService(ctx, &ecs.DeleteServiceInput{Cluster: c, Service: aws.String("web"), Force: aws.Bool(true)})
	must(t, 0, err)
	gone := ecs.NewServicesInactiveWaiter(w, func(o *ecs.ServicesInactiveWaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, 50*time.Millisecond
	})
	if err := gone.Wait(ctx, &ecs.DescribeServicesInput{Cluster: c, Services: []string{"web"}}, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	again, err := w.CreateService(ctx, &ecs.CreateServiceInput{Cluster: c, ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(1)})
	if must(t, again, err); len(again.Service.Deployments) != 1 || len(again.Service.Events) != 0 {
		t.Errorf("a new service of an old name starts with its past: %+v", again.Service)
	}
	w.stable(t, "c", "web")
}
