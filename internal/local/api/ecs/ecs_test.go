package ecs_test

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/smithy-go"

	api "github.com/slipway-ecs/slipway/internal/local/api/ecs"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
)

// fixed is a clock that a test moves.
type fixed struct{ now time.Time }

func (c *fixed) Now() time.Time                       { return c.now }
func (c *fixed) After(time.Duration) <-chan time.Time { return nil }
func (c *fixed) Real(d time.Duration) time.Duration   { return d }

type world struct {
	*ecs.Client
	db    *state.ECS
	clock *fixed
	url   string
}

// start serves ECS with an empty state.
func start(t *testing.T) world {
	t.Helper()
	db, err := state.Open("")
	if err != nil {
		t.Fatal(err)
	}
	st, err := state.NewECS(db)
	if err != nil {
		t.Fatal(err)
	}
	s := wire.NewServer()
	clk := &fixed{time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
	if _, err := api.Register(s.Service("ecs"), api.Deps{State: st, Clock: clk}); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	c := ecs.New(ecs.Options{Region: "us-east-1", BaseEndpoint: &srv.URL, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")})
	return world{Client: c, db: st, clock: clk, url: srv.URL}
}

// must gives the outcome of a call that has to succeed: must(t)(w.ListTasks(…)).
func must[T any](t *testing.T, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func wantError(t *testing.T, err error, code, message string) {
	t.Helper()
	var e smithy.APIError
	if !errors.As(err, &e) || e.ErrorCode() != code || !strings.Contains(e.ErrorMessage(), message) {
		t.Errorf("error = %v, want %s: …%s…", err, code, message)
	}
}

func (w world) cluster(t *testing.T, name string) {
	t.Helper()
	_, err := w.CreateCluster(t.Context(), &ecs.CreateClusterInput{ClusterName: &name})
	if err != nil {
		t.Fatal(err)
	}
}

// define registers a family with one container "app" of 256 CPU units and 512 MiB on port 8080.
func (w world) define(t *testing.T, family string, mode types.NetworkMode, hostPort int32) *types.TaskDefinition {
	t.Helper()
	out, err := w.RegisterTaskDefinition(t.Context(), &ecs.RegisterTaskDefinitionInput{
		Family: &family, NetworkMode: mode, Cpu: aws.String("256"), Memory: aws.String("512"),
		ContainerDefinitions: []types.ContainerDefinition{{Name: aws.String("app"), Image: aws.String("127.0.0.1:4566/app@sha256:0"),
			PortMappings: []types.PortMapping{{ContainerPort: aws.Int32(8080), HostPort: aws.Int32(hostPort)}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.TaskDefinition
}

func (w world) join(t *testing.T, cluster, ec2 string, cpu, memory int32) string {
	t.Helper()
	out, err := w.RegisterContainerInstance(t.Context(), &ecs.RegisterContainerInstanceInput{
		Cluster:                  &cluster,
		InstanceIdentityDocument: aws.String(fmt.Sprintf(`{"instanceId":%q,"instanceType":"m5.large","availabilityZone":"us-east-1a"}`, ec2)),
		TotalResources: []types.Resource{{Name: aws.String("CPU"), Type: aws.String("INTEGER"), IntegerValue: cpu},
			{Name: aws.String("MEMORY"), Type: aws.String("INTEGER"), IntegerValue: memory}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return *out.ContainerInstance.ContainerInstanceArn
}

func TestClusters(t *testing.T) {
	w, ctx := start(t), t.Context()
	out, err := w.CreateCluster(ctx, &ecs.CreateClusterInput{})
	c := must(t, out, err).Cluster
	if *c.ClusterArn != "arn:aws:ecs:us-east-1:000000000000:cluster/default" || *c.Status != "ACTIVE" || *c.Settings[0].Value != "disabled" {
		t.Errorf("cluster = %+v", c)
	}
	w.cluster(t, "a")
	w.cluster(t, "a") // again is no error
	first, err := w.ListClusters(ctx, &ecs.ListClustersInput{MaxResults: aws.Int32(1)})
	if must(t, first, err); len(first.ClusterArns) != 1 || first.NextToken == nil {
		t.Fatalf("page 1 = %+v", first)
	}
	second, err := w.ListClusters(ctx, &ecs.ListClustersInput{MaxResults: aws.Int32(1), NextToken: first.NextToken})
	if must(t, second, err); len(second.ClusterArns) != 1 || second.NextToken != nil || second.ClusterArns[0] == first.ClusterArns[0] {
		t.Errorf("page 2 = %+v", second)
	}
	_, err = w.ListClusters(ctx, &ecs.ListClustersInput{NextToken: aws.String("nonsense")})
	wantError(t, err, "InvalidParameterException", "Invalid token")
	d, err := w.DescribeClusters(ctx, &ecs.DescribeClustersInput{Clusters: []string{"a", "nope"}, Include: []types.ClusterField{"STATISTICS"}})
	if must(t, d, err); len(d.Clusters) != 1 || len(d.Failures) != 1 || *d.Failures[0].Reason != "MISSING" || *d.Clusters[0].Statistics[0].Name != "runningEC2TasksCount" {
		t.Errorf("described %+v", d)
	}
	_, err = w.PutClusterCapacityProviders(ctx, &ecs.PutClusterCapacityProvidersInput{Cluster: aws.String("a"), CapacityProviders: []string{"nope"}, DefaultCapacityProviderStrategy: []types.CapacityProviderStrategyItem{}})
	wantError(t, err, "InvalidParameterException", "'nope' was not found")
	p, err := w.PutClusterCapacityProviders(ctx, &ecs.PutClusterCapacityProvidersInput{Cluster: aws.String("a"), CapacityProviders: []string{"FARGATE", "FARGATE_SPOT"},
		DefaultCapacityProviderStrategy: []types.CapacityProviderStrategyItem{{CapacityProvider: aws.String("FARGATE"), Weight: 1}}})
	if must(t, p, err); len(p.Cluster.CapacityProviders) != 2 || p.Cluster.DefaultCapacityProviderStrategy[0].Weight != 1 {
		t.Errorf("providers = %+v", p.Cluster)
	}
	arn := w.join(t, "a", "i-1", 2048, 4096)
	_, err = w.DeleteCluster(ctx, &ecs.DeleteClusterInput{Cluster: aws.String("a")})
	wantError(t, err, "ClusterContainsContainerInstancesException", "Container Instances are active")
	_, err = w.DeregisterContainerInstance(ctx, &ecs.DeregisterContainerInstanceInput{Cluster: aws.String("a"), ContainerInstance: &arn})
	must(t, 0, err)
	gone, err := w.DeleteCluster(ctx, &ecs.DeleteClusterInput{Cluster: aws.String("a")})
	if must(t, gone, err); *gone.Cluster.Status != "INACTIVE" {
		t.Errorf("status = %s", *gone.Cluster.Status)
	}
	_, err = w.ListServices(ctx, &ecs.ListServicesInput{Cluster: aws.String("a")})
	wantError(t, err, "ClusterNotFoundException", "Cluster not found.")
}

func TestTaskDefinitions(t *testing.T) {
	w, ctx := start(t), t.Context()
	in := &ecs.RegisterTaskDefinitionInput{
		Family: aws.String("web"), Cpu: aws.String(".5 vCPU"), Memory: aws.String("1GB"), NetworkMode: "awsvpc",
		RequiresCompatibilities: []types.Compatibility{"FARGATE"}, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}},
		Volumes: []types.Volume{{Name: aws.String("data")}},
		ContainerDefinitions: []types.ContainerDefinition{
			{Name: aws.String("app"), Image: aws.String("nginx"), PortMappings: []types.PortMapping{{ContainerPort: aws.Int32(80)}},
				HealthCheck: &types.HealthCheck{Command: []string{"CMD", "true"}}, MountPoints: []types.MountPoint{{SourceVolume: aws.String("data"), ContainerPath: aws.String("/d")}}},
			{Name: aws.String("side"), Image: aws.String("x"), Essential: aws.Bool(false), DependsOn: []types.ContainerDependency{{ContainerName: aws.String("app"), Condition: "HEALTHY"}}},
		},
	}
	out, err := w.RegisterTaskDefinition(ctx, in)
	td := must(t, out, err).TaskDefinition
	app := td.ContainerDefinitions[0]
	switch {
	case *td.Cpu != "512", *td.Memory != "1024", td.Revision != 1, *td.TaskDefinitionArn != "arn:aws:ecs:us-east-1:000000000000:task-definition/web:1",
		app.Environment == nil, app.VolumesFrom == nil, !*app.Essential, *app.PortMappings[0].HostPort != 80, app.PortMappings[0].Protocol != "tcp",
		*app.HealthCheck.Interval != 30, *app.HealthCheck.Retries != 3, td.Volumes[0].Host == nil, td.PlacementConstraints == nil:
		t.Errorf("defaults are wrong: %+v %+v", td, app)
	}
	if got := fmt.Sprint(td.Compatibilities); !strings.Contains(got, "FARGATE") {
		t.Errorf("compatibilities = %s", got)
	}
	out2, err := w.RegisterTaskDefinition(ctx, in)
	if must(t, out2, err); out2.TaskDefinition.Revision != 2 {
		t.Errorf("revision = %d", out2.TaskDefinition.Revision)
	}
	for _, tt := range []struct {
		name   string
		change func(in *ecs.RegisterTaskDefinitionInput)
		want   string
	}{
		{"no memory", func(in *ecs.RegisterTaskDefinitionInput) { in.Memory = nil; in.RequiresCompatibilities = nil }, "At least one of 'memory' or 'memoryReservation' must be specified"},
		{"Fargate size", func(in *ecs.RegisterTaskDefinitionInput) { in.Memory = aws.String("8192") }, "No Fargate configuration exists for given values: 512 CPU, 8192 memory"},
		{"Fargate network", func(in *ecs.RegisterTaskDefinitionInput) { in.NetworkMode = "bridge" }, "Fargate only supports network mode"},
		{"image", func(in *ecs.RegisterTaskDefinitionInput) { in.ContainerDefinitions[0].Image = nil }, "Container.image should not be null or empty."},
		{"host port", func(in *ecs.RegisterTaskDefinitionInput) {
			in.ContainerDefinitions[0].PortMappings = []types.PortMapping{{ContainerPort: aws.Int32(80), HostPort: aws.Int32(81)}}
		}, "the host ports and container ports in port mappings must match"},
		{"volume", func(in *ecs.RegisterTaskDefinitionInput) { in.Volumes = nil }, "Unknown volume 'data'"},
		{"cycle", func(in *ecs.RegisterTaskDefinitionInput) {
			in.ContainerDefinitions[0].DependsOn = []types.ContainerDependency{{ContainerName: aws.String("side"), Condition: "START"}}
		}, "form a cycle"},
		{"essential", func(in *ecs.RegisterTaskDefinitionInput) { in.ContainerDefinitions[0].Essential = aws.Bool(false) }, "at least one essential"},
		{"duplicate", func(in *ecs.RegisterTaskDefinitionInput) { in.ContainerDefinitions[1].Name = aws.String("app") }, "must be unique"},
	} {
		bad := *in
		bad.ContainerDefinitions = append([]types.ContainerDefinition{}, in.ContainerDefinitions...)
		tt.change(&bad)
		_, err := w.RegisterTaskDefinition(ctx, &bad)
		wantError(t, err, "ClientException", tt.want)
	}
	_, err = w.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: aws.String("nope")})
	wantError(t, err, "ClientException", "Unable to describe task definition.")
	latest, err := w.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: aws.String("web"), Include: []types.TaskDefinitionField{"TAGS"}})
	if must(t, latest, err); latest.TaskDefinition.Revision != 2 || *latest.Tags[0].Value != "v" {
		t.Errorf("latest = %+v", latest)
	}
	list, err := w.ListTaskDefinitions(ctx, &ecs.ListTaskDefinitionsInput{FamilyPrefix: aws.String("web"), Sort: "DESC", MaxResults: aws.Int32(1)})
	if must(t, list, err); !strings.HasSuffix(list.TaskDefinitionArns[0], "web:2") || list.NextToken == nil {
		t.Errorf("list = %+v", list)
	}
	list, err = w.ListTaskDefinitions(ctx, &ecs.ListTaskDefinitionsInput{FamilyPrefix: aws.String("web"), Sort: "DESC", MaxResults: aws.Int32(1), NextToken: list.NextToken})
	if must(t, list, err); !strings.HasSuffix(list.TaskDefinitionArns[0], "web:1") || list.NextToken != nil {
		t.Errorf("second page = %+v", list)
	}
	del, err := w.DeleteTaskDefinitions(ctx, &ecs.DeleteTaskDefinitionsInput{TaskDefinitions: []string{"web:2"}})
	if must(t, del, err); len(del.Failures) != 1 || !strings.Contains(*del.Failures[0].Reason, "still in ACTIVE") {
		t.Errorf("delete = %+v", del)
	}
	dereg, err := w.DeregisterTaskDefinition(ctx, &ecs.DeregisterTaskDefinitionInput{TaskDefinition: aws.String("web:2")})
	if must(t, dereg, err); dereg.TaskDefinition.Status != "INACTIVE" || dereg.TaskDefinition.DeregisteredAt == nil {
		t.Errorf("deregistered = %+v", dereg.TaskDefinition)
	}
	del, err = w.DeleteTaskDefinitions(ctx, &ecs.DeleteTaskDefinitionsInput{TaskDefinitions: []string{"web:2"}})
	if must(t, del, err); len(del.TaskDefinitions) != 1 || del.TaskDefinitions[0].Status != "DELETE_IN_PROGRESS" {
		t.Errorf("delete = %+v", del)
	}
	out3, err := w.RegisterTaskDefinition(ctx, in)
	if must(t, out3, err); out3.TaskDefinition.Revision != 3 {
		t.Errorf("a revision number was used twice: %d", out3.TaskDefinition.Revision)
	}
	fam, err := w.ListTaskDefinitionFamilies(ctx, &ecs.ListTaskDefinitionFamiliesInput{Status: "ACTIVE"})
	if must(t, fam, err); len(fam.Families) != 1 {
		t.Errorf("families = %v", fam.Families)
	}
}

func TestServices(t *testing.T) {
	w, ctx := start(t), t.Context()
	w.cluster(t, "c")
	w.define(t, "web", "bridge", 0)
	create := &ecs.CreateServiceInput{Cluster: aws.String("c"), ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(2),
		DeploymentConfiguration: &types.DeploymentConfiguration{DeploymentCircuitBreaker: &types.DeploymentCircuitBreaker{Enable: true, Rollback: true}}}
	out, err := w.CreateService(ctx, create)
	s := must(t, out, err).Service
	d := s.Deployments[0]
	switch {
	case *s.ServiceArn != "arn:aws:ecs:us-east-1:000000000000:service/c/web", *s.Status != "ACTIVE", s.DesiredCount != 2, s.LaunchType != "EC2",
		*s.DeploymentConfiguration.MaximumPercent != 200, *s.DeploymentConfiguration.MinimumHealthyPercent != 100, s.SchedulingStrategy != "REPLICA",
		s.AvailabilityZoneRebalancing != "ENABLED", s.LoadBalancers == nil, s.Events == nil:
		t.Errorf("service = %+v", s)
	case *d.Status != "PRIMARY", d.RolloutState != "IN_PROGRESS", *d.RolloutStateReason != "ECS deployment "+*d.Id+" in progress.", !strings.HasPrefix(*d.Id, "ecs-svc/"), d.DesiredCount != 2:
		t.Errorf("deployment = %+v", d)
	}
	again, err := w.CreateService(ctx, create)
	if must(t, again, err); len(again.Service.Deployments) != 1 {
		t.Error("creating the same again made a deployment")
	}
	other := *create
	other.DesiredCount = aws.Int32(3)
	_, err = w.CreateService(ctx, &other)
	wantError(t, err, "InvalidParameterException", "Creation of service was not idempotent.")

	scaled, err := w.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: aws.String("c"), Service: aws.String("web"), DesiredCount: aws.Int32(5)})
	if must(t, scaled, err); len(scaled.Service.Deployments) != 1 || scaled.Service.Deployments[0].DesiredCount != 5 {
		t.Errorf("a new count must not start a deployment: %+v", scaled.Service.Deployments)
	}
	w.define(t, "web", "bridge", 0)
	w.clock.now = w.clock.now.Add(time.Minute)
	moved, err := w.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: aws.String("c"), Service: s.ServiceArn, TaskDefinition: aws.String("web:2")})
	if must(t, moved, err); len(moved.Service.Deployments) != 2 || *moved.Service.Deployments[0].Status != "PRIMARY" || !strings.HasSuffix(*moved.Service.Deployments[0].TaskDefinition, "web:2") || *moved.Service.Deployments[1].Status != "ACTIVE" {
		t.Errorf("deployments = %+v", moved.Service.Deployments)
	}
	list, err := w.ListServiceDeployments(ctx, &ecs.ListServiceDeploymentsInput{Cluster: aws.String("c"), Service: aws.String("web")})
	if must(t, list, err); len(list.ServiceDeployments) != 2 || list.ServiceDeployments[0].Status != "PENDING" || list.ServiceDeployments[1].Status != "STOPPED" {
		t.Fatalf("service deployments = %+v", list.ServiceDeployments)
	}
	sdARN := *list.ServiceDeployments[0].ServiceDeploymentArn
	sd, err := w.DescribeServiceDeployments(ctx, &ecs.DescribeServiceDeploymentsInput{ServiceDeploymentArns: []string{sdARN, "arn:aws:ecs:us-east-1:000000000000:service-deployment/c/web/x"}})
	must(t, sd, err)
	if one := sd.ServiceDeployments[0]; len(one.SourceServiceRevisions) != 1 || one.TargetServiceRevision.RequestedTaskCount != 5 ||
		one.DeploymentCircuitBreaker.Threshold != 3 || one.DeploymentCircuitBreaker.Status != "MONITORING" || len(sd.Failures) != 1 {
		t.Errorf("described %+v", sd)
	}
	rev, err := w.DescribeServiceRevisions(ctx, &ecs.DescribeServiceRevisionsInput{ServiceRevisionArns: []string{*sd.ServiceDeployments[0].TargetServiceRevision.Arn}})
	if must(t, rev, err); !strings.HasSuffix(*rev.ServiceRevisions[0].TaskDefinition, "web:2") || *rev.ServiceRevisions[0].ContainerImages[0].ContainerName != "app" {
		t.Errorf("revision = %+v", rev)
	}
	_, err = w.StopServiceDeployment(ctx, &ecs.StopServiceDeploymentInput{ServiceDeploymentArn: &sdARN})
	must(t, 0, err)
	_, err = w.StopServiceDeployment(ctx, &ecs.StopServiceDeploymentInput{ServiceDeploymentArn: list.ServiceDeployments[1].ServiceDeploymentArn})
	wantError(t, err, "ConflictException", "STOPPED")

	_, err = w.DeleteService(ctx, &ecs.DeleteServiceInput{Cluster: aws.String("c"), Service: aws.String("web")})
	wantError(t, err, "InvalidParameterException", "The service cannot be stopped while it is scaled above 0.")
	del, err := w.DeleteService(ctx, &ecs.DeleteServiceInput{Cluster: aws.String("c"), Service: aws.String("web"), Force: aws.Bool(true)})
	if must(t, del, err); *del.Service.Status != "DRAINING" || del.Service.DesiredCount != 0 {
		t.Errorf("deleted = %+v", del.Service)
	}
	_, err = w.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: aws.String("c"), Service: aws.String("web"), DesiredCount: aws.Int32(1)})
	wantError(t, err, "ServiceNotActiveException", "Service was not ACTIVE.")
	_, err = w.CreateService(ctx, create)
	wantError(t, err, "InvalidParameterException", "Unable to Start a service that is still Draining.")
	_, err = w.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: aws.String("c"), Service: aws.String("nope")})
	wantError(t, err, "ServiceNotFoundException", "Service not found.")
	desc, err := w.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: aws.String("c"), Services: []string{"nope"}})
	if must(t, desc, err); *desc.Failures[0].Arn != "arn:aws:ecs:us-east-1:000000000000:service/c/nope" || *desc.Failures[0].Reason != "MISSING" {
		t.Errorf("failures = %+v", desc.Failures)
	}
}

func TestServiceRefusals(t *testing.T) {
	w, ctx := start(t), t.Context()
	w.cluster(t, "c")
	w.define(t, "bridge", "bridge", 0)
	w.define(t, "vpc", "awsvpc", 8080)
	network := &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: []string{"subnet-1"}}}
	for _, tt := range []struct {
		name       string
		in         ecs.CreateServiceInput
		code, want string
	}{
		{"cluster", ecs.CreateServiceInput{Cluster: aws.String("nope"), TaskDefinition: aws.String("bridge")}, "ClusterNotFoundException", "Cluster not found."},
		{"task definition", ecs.CreateServiceInput{TaskDefinition: aws.String("nope")}, "ClientException", "TaskDefinition not found."},
		{"blank", ecs.CreateServiceInput{}, "InvalidParameterException", "TaskDefinition can not be blank."},
		{"no network", ecs.CreateServiceInput{TaskDefinition: aws.String("vpc")}, "InvalidParameterException", "Network Configuration must be provided when networkMode 'awsvpc' is specified."},
		{"network", ecs.CreateServiceInput{TaskDefinition: aws.String("bridge"), NetworkConfiguration: network}, "InvalidParameterException", "Network Configuration is not valid for the given networkMode"},
		{"both", ecs.CreateServiceInput{TaskDefinition: aws.String("bridge"), LaunchType: "EC2", CapacityProviderStrategy: []types.CapacityProviderStrategyItem{{CapacityProvider: aws.String("FARGATE")}}},
			"InvalidParameterException", "Specifying both a launch type and capacity provider strategy is not supported."},
		{"Fargate", ecs.CreateServiceInput{TaskDefinition: aws.String("bridge"), LaunchType: "FARGATE"}, "InvalidParameterException", "Task definition does not support launch_type FARGATE."},
		{"container", ecs.CreateServiceInput{TaskDefinition: aws.String("bridge"), LoadBalancers: []types.LoadBalancer{{ContainerName: aws.String("x"), ContainerPort: aws.Int32(8080), TargetGroupArn: aws.String("t")}}},
			"InvalidParameterException", "The container x does not exist in the task definition."},
		{"port", ecs.CreateServiceInput{TaskDefinition: aws.String("bridge"), LoadBalancers: []types.LoadBalancer{{ContainerName: aws.String("app"), ContainerPort: aws.Int32(1), TargetGroupArn: aws.String("t")}}},
			"InvalidParameterException", "The container app did not have a container port 1 defined."},
		{"strategy", ecs.CreateServiceInput{TaskDefinition: aws.String("bridge"), PlacementStrategy: []types.PlacementStrategy{{Type: "binpack", Field: aws.String("disk")}}}, "InvalidParameterException", "binpack requires the field cpu or memory"},
		{"hook", ecs.CreateServiceInput{TaskDefinition: aws.String("bridge"), DeploymentConfiguration: &types.DeploymentConfiguration{Strategy: "BLUE_GREEN", LifecycleHooks: []types.DeploymentLifecycleHook{{HookTargetArn: aws.String("l"), RoleArn: aws.String("r")}}}},
			"InvalidParameterException", "lifecycleStages of a lifecycle hook cannot be empty."},
		{"canary", ecs.CreateServiceInput{TaskDefinition: aws.String("bridge"), DeploymentConfiguration: &types.DeploymentConfiguration{Strategy: "CANARY", CanaryConfiguration: &types.CanaryConfiguration{CanaryPercent: aws.Float64(0.01)}}},
			"InvalidParameterException", "canaryPercent must be between"},
		{"no alternate", ecs.CreateServiceInput{TaskDefinition: aws.String("bridge"), DeploymentConfiguration: &types.DeploymentConfiguration{Strategy: "BLUE_GREEN"},
			LoadBalancers: []types.LoadBalancer{{ContainerName: aws.String("app"), ContainerPort: aws.Int32(8080), TargetGroupArn: aws.String("t")}}},
			"InvalidParameterException", "advancedConfiguration field is required"},
		{"strategy's steps", ecs.CreateServiceInput{TaskDefinition: aws.String("bridge"), DeploymentConfiguration: &types.DeploymentConfiguration{LinearConfiguration: &types.LinearConfiguration{StepPercent: aws.Float64(10)}}},
			"InvalidParameterException", "only valid with the LINEAR"},
		{"percent", ecs.CreateServiceInput{TaskDefinition: aws.String("bridge"), DeploymentConfiguration: &types.DeploymentConfiguration{MaximumPercent: aws.Int32(50), MinimumHealthyPercent: aws.Int32(100)}}, "InvalidParameterException", "minimumHealthyPercent"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.in.ServiceName, tt.in.DesiredCount = aws.String("s"), aws.Int32(1)
			if tt.in.Cluster == nil {
				tt.in.Cluster = aws.String("c")
			}
			_, err := w.CreateService(ctx, &tt.in)
			wantError(t, err, tt.code, tt.want)
		})
	}
}

func TestTrafficShares(t *testing.T) {
	w, ctx := start(t), t.Context()
	w.cluster(t, "c")
	w.define(t, "web", "bridge", 0)
	out, err := w.CreateService(ctx, &ecs.CreateServiceInput{Cluster: aws.String("c"), ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(1),
		DeploymentConfiguration: &types.DeploymentConfiguration{Strategy: "LINEAR"}})
	s := must(t, out, err).Service
	if l := s.DeploymentConfiguration.LinearConfiguration; *l.StepPercent != 10 || *l.StepBakeTimeInMinutes != 6 {
		t.Errorf("defaults = %v %v", *l.StepPercent, *l.StepBakeTimeInMinutes)
	}
	_, err = w.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: aws.String("c"), Service: aws.String("web"), ForceNewDeployment: true})
	must(t, 0, err)
	share := func(stage string, after time.Duration) (green, blue float64) {
		t.Helper()
		arn := ""
		err := w.db.DB.Update(func(tx *state.Tx) error {
			for k, sd := range w.db.ServiceDeployments.All(tx) {
				if sd.Status == "PENDING" {
					arn = k
					next := *sd
					next.LifecycleStage, next.UpdatedAt = stage, w.clock.now.Add(-after)
					defer w.db.ServiceDeployments.Put(tx, k, &next)
				}
			}
			return nil
		})
		must(t, 0, err)
		out, err := w.DescribeServiceDeployments(ctx, &ecs.DescribeServiceDeploymentsInput{ServiceDeploymentArns: []string{arn}})
		sd := must(t, out, err).ServiceDeployments[0]
		return *sd.TargetServiceRevision.RequestedProductionTrafficWeight, *sd.SourceServiceRevisions[0].RequestedProductionTrafficWeight
	}
	for _, tt := range []struct {
		stage string
		after time.Duration
		green float64
	}{{"SCALE_UP", time.Hour, 0}, {"PRODUCTION_TRAFFIC_SHIFT", time.Minute, 10}, {"PRODUCTION_TRAFFIC_SHIFT", 13 * time.Minute, 30}, {"BAKE_TIME", 0, 100}} {
		if green, blue := share(tt.stage, tt.after); green != tt.green || blue != 100-tt.green {
			t.Errorf("%s after %v: %v / %v, want %v", tt.stage, tt.after, green, blue, tt.green)
		}
	}
}

func TestTasks(t *testing.T) {
	w, ctx := start(t), t.Context()
	w.cluster(t, "c")
	c := aws.String("c")
	w.define(t, "job", "bridge", 0)
	w.define(t, "fixed", "bridge", 8080)
	_, err := w.RunTask(ctx, &ecs.RunTaskInput{Cluster: c, TaskDefinition: aws.String("job")})
	wantError(t, err, "InvalidParameterException", "No Container Instances were found in your cluster.")
	i1 := w.join(t, "c", "i-1", 1024, 2048)
	in := &ecs.RunTaskInput{Cluster: c, TaskDefinition: aws.String("job"), Count: aws.Int32(6), StartedBy: aws.String("me"), ClientToken: aws.String("once"),
		Overrides: &types.TaskOverride{ContainerOverrides: []types.ContainerOverride{{Name: aws.String("app"), Command: []string{"run"}}}}}
	out, err := w.RunTask(ctx, in)
	must(t, out, err)
	if len(out.Tasks) != 4 || len(out.Failures) != 1 || *out.Failures[0].Reason != "RESOURCE:CPU" || *out.Failures[0].Arn != i1 {
		t.Fatalf("%d tasks, failures %+v: want 4 tasks of 256 on 1024 CPU units", len(out.Tasks), out.Failures)
	}
	task := out.Tasks[0]
	if *task.Group != "family:job" || *task.LastStatus != "PENDING" || *task.ContainerInstanceArn != i1 || *task.Cpu != "256" || *task.AvailabilityZone != "us-east-1a" ||
		*task.Containers[0].LastStatus != "PENDING" || task.Overrides.ContainerOverrides[0].Command[0] != "run" {
		t.Errorf("task = %+v", task)
	}
	again, err := w.RunTask(ctx, in)
	if must(t, again, err); *again.Tasks[0].TaskArn != *task.TaskArn {
		t.Error("the same token ran other tasks")
	}
	in.StartedBy = aws.String("you")
	_, err = w.RunTask(ctx, in)
	wantError(t, err, "ConflictException", "client token")

	desc, err := w.DescribeContainerInstances(ctx, &ecs.DescribeContainerInstancesInput{Cluster: c, ContainerInstances: []string{i1, "nope"}})
	must(t, desc, err)
	ci := desc.ContainerInstances[0]
	if ci.PendingTasksCount != 4 || ci.RemainingResources[0].IntegerValue != 0 || ci.RegisteredResources[0].IntegerValue != 1024 || len(desc.Failures) != 1 ||
		!strings.Contains(strings.Join(ci.RegisteredResources[2].StringSetValue, ","), "51678") {
		t.Errorf("instance = %+v", ci)
	}
	_, err = w.DeregisterContainerInstance(ctx, &ecs.DeregisterContainerInstanceInput{Cluster: c, ContainerInstance: &i1})
	wantError(t, err, "InvalidParameterException", "Found running tasks on the instance.")

	i2 := w.join(t, "c", "i-2", 1024, 2048)
	ports, err := w.RunTask(ctx, &ecs.RunTaskInput{Cluster: c, TaskDefinition: aws.String("fixed"), Count: aws.Int32(2)})
	must(t, ports, err)
	reasons := map[string]string{}
	for _, f := range ports.Failures {
		reasons[*f.Arn] = *f.Reason
	}
	if len(ports.Tasks) != 1 || reasons[i1] != "RESOURCE:CPU" || reasons[i2] != "RESOURCE:PORTS" {
		t.Errorf("%d tasks, failures %v", len(ports.Tasks), reasons)
	}
	started, err := w.StartTask(ctx, &ecs.StartTaskInput{Cluster: c, TaskDefinition: aws.String("job"), ContainerInstances: []string{i1, i2}})
	if must(t, started, err); len(started.Tasks) != 1 || len(started.Failures) != 1 {
		t.Errorf("started %+v", started)
	}
	stopped, err := w.StopTask(ctx, &ecs.StopTaskInput{Cluster: c, Task: task.TaskArn, Reason: aws.String("enough")})
	if must(t, stopped, err); *stopped.Task.DesiredStatus != "STOPPED" || stopped.Task.StopCode != "UserInitiated" || *stopped.Task.StoppedReason != "enough" {
		t.Errorf("stopped = %+v", stopped.Task)
	}
	_, err = w.StopTask(ctx, &ecs.StopTaskInput{Cluster: c, Task: aws.String("nope")})
	wantError(t, err, "InvalidParameterException", "The referenced task was not found.")
	for _, tt := range []struct {
		in   ecs.ListTasksInput
		want int
	}{
		{ecs.ListTasksInput{}, 5}, {ecs.ListTasksInput{StartedBy: aws.String("me")}, 3}, {ecs.ListTasksInput{DesiredStatus: "STOPPED"}, 1},
		{ecs.ListTasksInput{Family: aws.String("fixed")}, 1}, {ecs.ListTasksInput{ContainerInstance: &i2}, 2}, {ecs.ListTasksInput{LaunchType: "FARGATE"}, 0},
	} {
		tt.in.Cluster = c
		list, err := w.ListTasks(ctx, &tt.in)
		if must(t, list, err); len(list.TaskArns) != tt.want {
			t.Errorf("ListTasks(%+v) = %d, want %d", tt.in, len(list.TaskArns), tt.want)
		}
	}
	got, err := w.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: c, Tasks: []string{(*task.TaskArn)[strings.LastIndex(*task.TaskArn, "/")+1:], "nope"}})
	if must(t, got, err); len(got.Tasks) != 1 || *got.Failures[0].Reason != "MISSING" {
		t.Errorf("described %+v", got)
	}
	drained, err := w.UpdateContainerInstancesState(ctx, &ecs.UpdateContainerInstancesStateInput{Cluster: c, ContainerInstances: []string{i2}, Status: "DRAINING"})
	if must(t, drained, err); *drained.ContainerInstances[0].Status != "DRAINING" {
		t.Errorf("drained = %+v", drained)
	}
	none, err := w.RunTask(ctx, &ecs.RunTaskInput{Cluster: c, TaskDefinition: aws.String("job")})
	if must(t, none, err); len(none.Tasks) != 0 && *none.Tasks[0].ContainerInstanceArn == i2 {
		t.Error("a task was placed on a DRAINING instance")
	}
	filtered, err := w.ListContainerInstances(ctx, &ecs.ListContainerInstancesInput{Cluster: c, Filter: aws.String("ec2InstanceId == i-2")})
	if must(t, filtered, err); len(filtered.ContainerInstanceArns) != 1 || filtered.ContainerInstanceArns[0] != i2 {
		t.Errorf("filtered = %v", filtered.ContainerInstanceArns)
	}
}

func TestFargateAndProviders(t *testing.T) {
	w, ctx := start(t), t.Context()
	w.cluster(t, "c")
	c := aws.String("c")
	w.define(t, "f", "awsvpc", 8080)
	w.define(t, "e", "bridge", 0)
	network := &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: []string{"subnet-1"}}}
	out, err := w.RunTask(ctx, &ecs.RunTaskInput{Cluster: c, TaskDefinition: aws.String("f"), LaunchType: "FARGATE", NetworkConfiguration: network})
	task := must(t, out, err).Tasks[0]
	if *task.LastStatus != "PROVISIONING" || *task.PlatformVersion != "1.4.0" || task.EphemeralStorage.SizeInGiB != 20 || task.ContainerInstanceArn != nil {
		t.Errorf("task = %+v", task)
	}
	asg := "arn:aws:autoscaling:us-east-1:000000000000:autoScalingGroup:u:autoScalingGroupName/g"
	_, err = w.CreateCapacityProvider(ctx, &ecs.CreateCapacityProviderInput{Name: aws.String("ecs-x"), AutoScalingGroupProvider: &types.AutoScalingGroupProvider{AutoScalingGroupArn: &asg}})
	wantError(t, err, "InvalidParameterException", "can't begin with")
	_, err = w.CreateCapacityProvider(ctx, &ecs.CreateCapacityProviderInput{Name: aws.String("x"), AutoScalingGroupProvider: &types.AutoScalingGroupProvider{AutoScalingGroupArn: &asg, ManagedTerminationProtection: "ENABLED"}})
	wantError(t, err, "ClientException", "must have managed scaling enabled")
	cp, err := w.CreateCapacityProvider(ctx, &ecs.CreateCapacityProviderInput{Name: aws.String("x"), AutoScalingGroupProvider: &types.AutoScalingGroupProvider{AutoScalingGroupArn: &asg, ManagedScaling: &types.ManagedScaling{Status: "ENABLED"}}})
	if g := must(t, cp, err).CapacityProvider.AutoScalingGroupProvider; *g.ManagedScaling.TargetCapacity != 100 || *g.ManagedScaling.InstanceWarmupPeriod != 300 || g.ManagedDraining != "ENABLED" {
		t.Errorf("provider = %+v", g)
	}
	_, err = w.RunTask(ctx, &ecs.RunTaskInput{Cluster: c, TaskDefinition: aws.String("e"), CapacityProviderStrategy: []types.CapacityProviderStrategyItem{{CapacityProvider: aws.String("x")}}})
	wantError(t, err, "InvalidParameterException", "not associated with the cluster")
	_, err = w.PutClusterCapacityProviders(ctx, &ecs.PutClusterCapacityProvidersInput{Cluster: c, CapacityProviders: []string{"x"},
		DefaultCapacityProviderStrategy: []types.CapacityProviderStrategyItem{{CapacityProvider: aws.String("x"), Weight: 1}}})
	must(t, 0, err)
	waits, err := w.RunTask(ctx, &ecs.RunTaskInput{Cluster: c, TaskDefinition: aws.String("e")})
	if must(t, waits, err); *waits.Tasks[0].LastStatus != "PROVISIONING" || *waits.Tasks[0].CapacityProviderName != "x" || len(waits.Failures) != 0 {
		t.Errorf("a task without capacity must wait for it: %+v", waits)
	}
	_, err = w.DeleteCapacityProvider(ctx, &ecs.DeleteCapacityProviderInput{CapacityProvider: aws.String("x")})
	wantError(t, err, "ClientException", "associated with cluster")
	all, err := w.DescribeCapacityProviders(ctx, &ecs.DescribeCapacityProvidersInput{})
	if must(t, all, err); len(all.CapacityProviders) != 3 {
		t.Errorf("providers = %+v", all.CapacityProviders)
	}
}

func TestTagsSettingsAttributesProtection(t *testing.T) {
	w, ctx := start(t), t.Context()
	w.cluster(t, "c")
	c := aws.String("c")
	w.define(t, "web", "bridge", 0)
	svc, err := w.CreateService(ctx, &ecs.CreateServiceInput{Cluster: c, ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(0)})
	arn := must(t, svc, err).Service.ServiceArn
	_, err = w.TagResource(ctx, &ecs.TagResourceInput{ResourceArn: arn, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("1")}, {Key: aws.String("b"), Value: aws.String("2")}}})
	must(t, 0, err)
	_, err = w.TagResource(ctx, &ecs.TagResourceInput{ResourceArn: arn, Tags: []types.Tag{{Key: aws.String("AWS:x")}}})
	wantError(t, err, "InvalidParameterException", "reserved")
	_, err = w.CreateCluster(ctx, &ecs.CreateClusterInput{Tags: []types.Tag{{Key: aws.String("a")}, {Key: aws.String("a")}}})
	wantError(t, err, "InvalidParameterException", "Duplicate tag keys")
	_, err = w.UntagResource(ctx, &ecs.UntagResourceInput{ResourceArn: arn, TagKeys: []string{"a"}})
	must(t, 0, err)
	tags, err := w.ListTagsForResource(ctx, &ecs.ListTagsForResourceInput{ResourceArn: arn})
	if must(t, tags, err); len(tags.Tags) != 1 || *tags.Tags[0].Key != "b" {
		t.Errorf("tags = %+v", tags.Tags)
	}
	_, err = w.PutAccountSettingDefault(ctx, &ecs.PutAccountSettingDefaultInput{Name: "containerInsights", Value: aws.String("enabled")})
	must(t, 0, err)
	made, err := w.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: aws.String("d")})
	if must(t, made, err); *made.Cluster.Settings[0].Value != "enabled" {
		t.Errorf("settings = %+v", made.Cluster.Settings)
	}
	i := w.join(t, "c", "i-1", 1024, 1024)
	_, err = w.PutAttributes(ctx, &ecs.PutAttributesInput{Cluster: c, Attributes: []types.Attribute{{Name: aws.String("stack"), Value: aws.String("prod"), TargetId: &i}}})
	must(t, 0, err)
	attrs, err := w.ListAttributes(ctx, &ecs.ListAttributesInput{Cluster: c, TargetType: "container-instance", AttributeName: aws.String("stack")})
	if must(t, attrs, err); len(attrs.Attributes) != 1 || *attrs.Attributes[0].Value != "prod" {
		t.Errorf("attributes = %+v", attrs)
	}
	_, err = w.PutAttributes(ctx, &ecs.PutAttributesInput{Cluster: c, Attributes: []types.Attribute{{Name: aws.String("x"), TargetId: aws.String("nope")}}})
	wantError(t, err, "TargetNotFoundException", "nope")

	err = w.db.DB.Update(func(tx *state.Tx) error {
		w.db.Tasks.Put(tx, "arn:aws:ecs:us-east-1:000000000000:task/c/1", &state.Task{ARN: "arn:aws:ecs:us-east-1:000000000000:task/c/1", ID: "1", ClusterName: "c", ServiceKey: "c/web", DesiredStatus: "RUNNING", LastStatus: "RUNNING"})
		return nil
	})
	must(t, 0, err)
	prot, err := w.UpdateTaskProtection(ctx, &ecs.UpdateTaskProtectionInput{Cluster: c, Tasks: []string{"1", "2"}, ProtectionEnabled: true})
	if must(t, prot, err); !prot.ProtectedTasks[0].ProtectionEnabled || !prot.ProtectedTasks[0].ExpirationDate.Equal(w.clock.now.Add(2*time.Hour)) || len(prot.Failures) != 1 {
		t.Errorf("protection = %+v", prot)
	}
	w.clock.now = w.clock.now.Add(3 * time.Hour)
	after, err := w.GetTaskProtection(ctx, &ecs.GetTaskProtectionInput{Cluster: c, Tasks: []string{"1"}})
	if must(t, after, err); after.ProtectedTasks[0].ProtectionEnabled {
		t.Error("protection outlived its expiry")
	}
}
