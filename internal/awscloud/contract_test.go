package awscloud

import (
	"errors"
	"testing"

	"github.com/slipway-ecs/slipway/internal/clusterinfra"
)

func TestClusterLivesAndDies(t *testing.T) {
	c, ctx := open(t), t.Context()
	spec := clusterinfra.Spec{Name: "contract", Tags: map[string]string{"team": "platform"},
		Instances: &clusterinfra.Instances{Type: "m7g.large", Min: 0, Max: 3},
		Balancer: &clusterinfra.Balancer{Listeners: map[string]clusterinfra.Listener{
			"web": {Port: 8080, Protocol: "HTTP"}, "admin": {Port: 8081, Protocol: "HTTP"}}}}
	var said []clusterinfra.Event
	report := func(e clusterinfra.Event) { said = append(said, e) }
	got, err := c.Clusters().Apply(ctx, spec, report)
	if err != nil {
		t.Fatalf("apply: %v\n%v", err, said)
	}
	if got.Listeners["web"].ARN == "" || got.BalancerDNS == "" || got.VPC == "" || len(got.Subnets) != 3 {
		t.Errorf("state: %+v", got)
	}
	if i := got.Instances; i == nil || i.Type != "m7g.large" || i.Max != 3 || i.Architecture != "arm64" {
		t.Errorf("instances: %+v", i)
	}
	said = nil
	if _, err := c.Clusters().Apply(ctx, spec, report); err != nil {
		t.Fatalf("apply again: %v", err)
	}
	for _, e := range said {
		if e.Action != "keep" {
			t.Errorf("the second apply does something: %s %s", e.Action, e.Message)
		}
	}
	env, err := c.Environment(ctx, "contract")
	if err != nil || env.Listeners["admin"] == "" {
		t.Errorf("environment: %+v, %v", env, err)
	}
	spec.Instances.Max = 5
	spec.Balancer.Listeners = map[string]clusterinfra.Listener{"web": {Port: 8082}}
	if got, err = c.Clusters().Apply(ctx, spec, nil); err != nil || got.Instances.Max != 5 || len(got.Listeners) != 1 || got.Listeners["web"].Port != 8082 {
		t.Errorf("update: %+v, %v", got, err)
	}
	if err := c.Clusters().Delete(ctx, "contract", report); err != nil {
		t.Fatalf("delete: %v", err)
	}
	if _, err := c.Clusters().Read(ctx, "contract"); !errors.Is(err, clusterinfra.ErrNotFound) {
		t.Errorf("read after delete: %v", err)
	}
	if err := c.Clusters().Delete(ctx, "contract", nil); err != nil {
		t.Errorf("delete again: %v", err)
	}
}

func TestRepositoryLivesAndDies(t *testing.T) {
	c, ctx := open(t), t.Context()
	want := clusterinfra.Repository{Name: "team/contract", Immutable: true, ScanOnPush: true, Lifecycle: clusterinfra.LifecyclePreset(),
		PullAccounts: []string{"444455556666"}, Tags: map[string]string{"team": "platform"}}
	got, err := c.Repositories().Apply(ctx, want)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Immutable || !got.ScanOnPush || got.Lifecycle != want.Lifecycle || len(got.PullAccounts) != 1 || got.Tags["team"] != "platform" || got.URI == "" {
		t.Errorf("created: %+v", got)
	}
	want.Immutable, want.PullAccounts, want.Lifecycle = false, nil, ""
	if got, err = c.Repositories().Apply(ctx, want); err != nil || got.Immutable || len(got.PullAccounts) != 0 || got.Lifecycle != "" {
		t.Errorf("changed: %+v, %v", got, err)
	}
	if err := c.Repositories().Delete(ctx, want.Name, false); err != nil {
		t.Errorf("delete: %v", err)
	}
	if _, err := c.Repositories().Read(ctx, want.Name); !errors.Is(err, clusterinfra.ErrNotFound) {
		t.Errorf("read after delete: %v", err)
	}
}

func TestIdentity(t *testing.T) {
	id, err := open(t).Identity(t.Context())
	if err != nil || len(id.Account) != 12 || id.Partition != "aws" {
		t.Errorf("identity %+v, %v", id, err)
	}
}
