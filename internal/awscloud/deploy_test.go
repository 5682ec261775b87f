package awscloud

import (
	"errors"
	"testing"
	"time"

	"github.com/slipway-ecs/slipway/internal/clusterinfra"
	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/service"
)

const fakeImage = "127.0.0.1/app@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func worker() service.Spec {
	return service.Spec{Name: "worker", Environment: "qa", Team: "web", Kind: service.KindWorker, Cluster: "main", NetworkMode: "bridge", LaunchType: "EC2", Count: 2,
		Containers: []service.Container{{Name: "worker", Essential: true, CPU: 64, Memory: 64, Env: map[string]string{"A": "1"}, StopTimeout: 2 * time.Second}},
		Logs:       service.Logs{Driver: "awslogs", Retention: 30}, Tags: map[string]string{"cost-center": "42"},
		TaskRole:   service.TaskRole{Statements: []service.Statement{{Effect: "Allow", Actions: []string{"sqs:ReceiveMessage"}, Resources: []string{"*"}}}},
		Scaling:    &service.Scaling{Min: 2, Max: 6, Targets: []service.ScalingTarget{{Metric: "cpu", Target: 60, ScaleOutCooldown: time.Minute, ScaleInCooldown: 5 * time.Minute}}},
		Alarms:     []service.Alarm{{Name: "hot", Metric: "cpu", Threshold: 90, Periods: 3, Period: time.Minute}},
		Deployment: service.Deployment{Strategy: "ROLLING", MinimumHealthy: 100, Maximum: 200, CircuitBreaker: true, Rollback: true, Timeout: 2 * time.Minute}}
}

func TestServiceLivesAndDies(t *testing.T) {
	c, ctx := open(t), t.Context()
	cluster := clusterinfra.Spec{Name: "main", Instances: &clusterinfra.Instances{Type: "m7i.large", Min: 2, Max: 3}}
	state, err := c.Clusters().Apply(ctx, cluster, nil)
	if err != nil || state.Registered != 2 {
		t.Fatalf("cluster: %+v, %v", state, err)
	}
	in, err := c.Infra(ctx, "main", "")
	if err != nil {
		t.Fatal(err)
	}
	target := deploy.Target{Spec: worker(), Image: fakeImage, Infra: in, Release: "one"}
	report := func(e deploy.Event) { t.Logf("%s %s %s", e.Kind, e.Action, e.Message) }
	out, err := c.Deploy().Apply(ctx, target, report)
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Deploy().Plan(ctx, target)
	if err != nil || !p.Empty() {
		t.Errorf("plan after apply: %+v, %v", p, err)
	}
	o, err := c.Deploy().Read(ctx, target.Ref())
	if err != nil || o.Image != fakeImage || o.Spec.Containers[0].Env["A"] != "1" || o.Spec.Tags["cost-center"] != "42" || o.Spec.Scaling == nil || len(o.Spec.Scaling.Targets) != 1 || len(o.Spec.Alarms) != 1 {
		t.Errorf("read: %+v, %v", o, err)
	}
	target.Spec.Containers[0].Env["A"] = "2"
	again, err := c.Deploy().Apply(ctx, target, report)
	if err != nil || again.TaskDefinition == out.TaskDefinition || again.Deployment == out.Deployment {
		t.Errorf("update: %+v, %v", again, err)
	}
	st, err := c.Deploy().Status(ctx, target.Ref())
	if err != nil || len(st.Deployments) != 2 {
		t.Errorf("status: %d deployments, %v", len(st.Deployments), err)
	}
	if err := c.Deploy().Delete(ctx, target.Ref(), deploy.DeleteOptions{}, report); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Deploy().Read(ctx, target.Ref()); !errors.Is(err, deploy.ErrNotFound) {
		t.Errorf("read after delete: %v", err)
	}
	if err := c.Clusters().Delete(ctx, "main", func(e clusterinfra.Event) { t.Log(e.Action, e.Message) }); err != nil {
		t.Errorf("deleting the cluster: %v", err)
	}
}
