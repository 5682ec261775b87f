package awscloud

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"

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
	if i := got.Main; i == nil || i.Type != "m7g.large" || i.Max != 3 || i.Architecture != "arm64" {
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
	if got, err = c.Clusters().Apply(ctx, spec, nil); err != nil || got.Main.Max != 5 || len(got.Listeners) != 1 || got.Listeners["web"].Port != 8082 {
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

// Groups beside the main one: of several types, on Spot, with a provider of their own; changed, taken away, deleted.
func TestGroupsOfACluster(t *testing.T) {
	c, ctx := open(t), t.Context()
	spec := clusterinfra.Spec{Name: "many", Instances: &clusterinfra.Instances{Type: "m7i.large", Max: 3, CapacityProvider: true},
		Groups: map[string]clusterinfra.Instances{
			"spot":  {Type: "m7i.large", OtherTypes: []string{"m6i.large", "m5.large"}, SpotPercent: 75, OnDemandBase: 1, Min: 2, Max: 4, CapacityProvider: true},
			"batch": {Type: "c7g.xlarge", Max: 2, UserData: "echo batch"},
		},
		AlarmTopic: &clusterinfra.AlarmTopic{Emails: []string{"ops@example.com", "ann@example.com"}}}
	got, err := c.Clusters().Apply(ctx, spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.AlarmTopic == nil || got.AlarmTopic.ARN != "arn:aws:sns:us-east-1:000000000000:slipway-many-alarms" || !slices.Equal(got.AlarmTopic.Emails, []string{"ann@example.com", "ops@example.com"}) {
		t.Errorf("alarm topic: %+v", got.AlarmTopic)
	}
	spot, batch := got.Groups["spot"], got.Groups["batch"]
	if len(got.Groups) != 2 || !slices.Equal(spot.OtherTypes, spec.Groups["spot"].OtherTypes) || spot.Type != "m7i.large" || spot.SpotPercent != 75 || spot.OnDemandBase != 1 || spot.Provider != "slipway-many_spot" || got.Registered != 2 {
		t.Errorf("spot: %+v, %d registered", spot, got.Registered)
	}
	if batch.Architecture != "arm64" || batch.UserData != "echo batch" || batch.Provider != "" || got.Main == nil || got.Main.Provider != "slipway-many" {
		t.Errorf("batch: %+v, main: %+v", batch, got.Main)
	}
	found, err := ecs.NewFromConfig(c.cfg).ListContainerInstances(ctx, &ecs.ListContainerInstancesInput{Cluster: &spec.Name, Filter: aws.String("attribute:slipway.group == spot")})
	if err != nil || len(found.ContainerInstanceArns) != 2 {
		t.Errorf("instances with the group's attribute: %v, %v", found.ContainerInstanceArns, err)
	}
	if cl, err := (clusterPort{ecs.NewFromConfig(c.cfg)}).Cluster(ctx, "many"); err != nil || cl.Default != "slipway-many" || len(cl.Providers) != 2 {
		t.Errorf("the cluster's providers: %+v, %v", cl, err)
	}
	var said []clusterinfra.Event
	if _, err := c.Clusters().Apply(ctx, spec, func(e clusterinfra.Event) { said = append(said, e) }); err != nil {
		t.Fatal(err)
	}
	for _, e := range said {
		if e.Action != "keep" && e.Action != "wait" {
			t.Errorf("the second apply does something: %s %s", e.Action, e.Message)
		}
	}

	more := spec.Groups["spot"]
	more.OtherTypes, more.SpotPercent = []string{"m6i.large"}, 100
	spec.AlarmTopic = nil
	spec.Instances, spec.Groups = nil, map[string]clusterinfra.Instances{"spot": more}
	if got, err = c.Clusters().Apply(ctx, spec, nil); err != nil || got.Main != nil || len(got.Groups) != 1 || got.Groups["spot"].SpotPercent != 100 || len(got.Groups["spot"].OtherTypes) != 1 || got.AlarmTopic != nil {
		t.Errorf("with one group left: %+v, %v", got, err)
	}
	for reason, change := range map[string]func(*clusterinfra.Instances){
		"one architecture": func(i *clusterinfra.Instances) { i.OtherTypes = []string{"m7g.large"} },
		"named twice":      func(i *clusterinfra.Instances) { i.OtherTypes = []string{"m7i.large"} },
		"from 0 to 100":    func(i *clusterinfra.Instances) { i.SpotPercent = 101 },
	} {
		wrong := more
		change(&wrong)
		spec.Groups["spot"] = wrong
		if _, err := c.Clusters().Apply(ctx, spec, nil); err == nil || !strings.Contains(err.Error(), reason) || !strings.Contains(err.Error(), "group spot") {
			t.Errorf("%s: %v", reason, err)
		}
	}
	if err := c.Clusters().Delete(ctx, "many", nil); err != nil {
		t.Fatal(err)
	}
	groups, err := autoscaling.NewFromConfig(c.cfg).DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups.AutoScalingGroups {
		if strings.HasPrefix(*g.AutoScalingGroupName, "slipway-many") {
			t.Errorf("%s is left", *g.AutoScalingGroupName)
		}
	}
	left, err := templatePort{ec2.NewFromConfig(c.cfg), nil}.TemplatesOf(ctx, "many")
	if err != nil || len(left) != 0 {
		t.Errorf("launch templates are left: %v, %v", left, err)
	}
}

func TestRepositoryLivesAndDies(t *testing.T) {
	c, ctx := open(t), t.Context()
	want := clusterinfra.Repository{Name: "team/contract", Immutable: true, ScanOnPush: true, KeepReleases: &clusterinfra.KeepReleases{Newest: 100, Days: 7},
		PullAccounts: []string{"444455556666"}, Tags: map[string]string{"team": "platform"}}
	got, err := c.Repositories().Apply(ctx, want)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Immutable || !got.ScanOnPush || got.Lifecycle != want.KeepReleases.Text() || len(got.PullAccounts) != 1 || got.Tags["team"] != "platform" || got.URI == "" {
		t.Errorf("created: %+v", got)
	}
	want.Immutable, want.PullAccounts, want.KeepReleases = false, nil, nil
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
