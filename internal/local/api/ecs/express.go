package ecs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/aasapi"
	"github.com/slipway-ecs/slipway/internal/local/wire/ec2api"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
	"github.com/slipway-ecs/slipway/internal/local/wire/elbv2api"
)

// Express services are ECS services with a load balancer and a scaling policy that ECS makes itself.
// Here each has a balancer of its own and answers in plain HTTP on expressPort: names and certificates
// under on.aws are AWS's.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/express-service-overview.html
func (a *API) registerExpress(svc *wire.Service) {
	wire.Handle(svc, "CreateExpressGatewayService", a.createExpress)
	wire.Handle(svc, "DescribeExpressGatewayService", a.describeExpress)
	wire.Handle(svc, "UpdateExpressGatewayService", a.updateExpress)
	wire.Handle(svc, "DeleteExpressGatewayService", a.deleteExpress)
}

const (
	expressPort      = 8080
	expressContainer = "Main"
)

// express is what an express service consists of. Key: service ARN.
type express struct {
	Service, Name, Cluster, Role string
	Balancer, Group, Endpoint    string
	Configuration                ecsapi.ExpressGatewayServiceConfiguration // the newest
	Revisions                    map[string]ecsapi.ExpressGatewayServiceConfiguration
	Tags                         []ecsapi.Tag
	CreatedAt, UpdatedAt         time.Time
	Deleted                      bool // what is around the service goes when it has ended
	Account, Region, Partition   string
}

// completeExpress fills in the defaults AWS names in its model and checks the bounds.
func (a *API) completeExpress(ctx context.Context, c *ecsapi.ExpressGatewayServiceConfiguration) error {
	c.Cpu, c.Memory, c.HealthCheckPath = or(c.Cpu, "256"), or(c.Memory, "512"), or(c.HealthCheckPath, "/ping")
	p := wire.Value(c.PrimaryContainer)
	if wire.Value(p.Image) == "" {
		return invalid("The image of the primary container is required.")
	}
	p.ContainerPort = or(p.ContainerPort, 80)
	c.PrimaryContainer = &p
	t := wire.Value(c.ScalingTarget)
	t.MinTaskCount, t.MaxTaskCount = or(t.MinTaskCount, 1), or(t.MaxTaskCount, 20)
	t.AutoScalingMetric, t.AutoScalingTargetValue = or(t.AutoScalingMetric, "AVERAGE_CPU"), or(t.AutoScalingTargetValue, 60)
	c.ScalingTarget = &t
	switch {
	case *p.ContainerPort < 1 || *p.ContainerPort > 65535:
		return invalid("containerPort must be between 1 and 65535.")
	case *t.MinTaskCount < 0 || *t.MaxTaskCount < *t.MinTaskCount:
		return invalid("minTaskCount must not be negative, nor greater than maxTaskCount.")
	case !slices.Contains([]string{"AVERAGE_CPU", "AVERAGE_MEMORY", "REQUEST_COUNT_PER_TARGET"}, *t.AutoScalingMetric):
		return invalid("Unknown scaling metric: %s", *t.AutoScalingMetric)
	case !strings.HasPrefix(*c.HealthCheckPath, "/"):
		return invalid("healthCheckPath must begin with a slash.")
	}
	n := wire.Value(c.NetworkConfiguration)
	if len(n.Subnets) == 0 {
		out, err := wire.Do[ec2api.DescribeSubnetsInput, ec2api.DescribeSubnetsOutput](ctx, a.Network, "DescribeSubnets", &ec2api.DescribeSubnetsInput{})
		if err != nil {
			return err
		}
		for _, s := range out.Subnets {
			n.Subnets = append(n.Subnets, wire.Value(s.SubnetId))
		}
	}
	c.NetworkConfiguration = &n
	return nil
}

func (a *API) expressDefinition(ctx context.Context, family string, c *ecsapi.ExpressGatewayServiceConfiguration) (string, error) {
	p := c.PrimaryContainer
	logs := wire.Value(p.AwsLogsConfiguration)
	def := ecsapi.ContainerDefinition{Name: wire.String(expressContainer), Image: p.Image, Command: p.Command, Environment: p.Environment, Secrets: p.Secrets, Essential: wire.Bool(true),
		PortMappings: []ecsapi.PortMapping{{ContainerPort: p.ContainerPort, Name: wire.String("main")}},
		LogConfiguration: &ecsapi.LogConfiguration{LogDriver: wire.String("awslogs"), Options: map[string]string{"awslogs-group": *or(logs.LogGroup, "/aws/ecs/"+family), "awslogs-stream-prefix": *or(logs.LogStreamPrefix, "ecs"),
			"awslogs-region": wire.Caller(ctx).Region, "awslogs-create-group": "true"}}}
	if r := p.RepositoryCredentials; r != nil && r.CredentialsParameter != nil {
		def.RepositoryCredentials = &ecsapi.RepositoryCredentials{CredentialsParameter: r.CredentialsParameter}
	}
	out, err := a.registerTaskDefinition(ctx, &ecsapi.RegisterTaskDefinitionInput{Family: &family, NetworkMode: wire.String("awsvpc"), RequiresCompatibilities: []string{"FARGATE"}, Cpu: c.Cpu, Memory: c.Memory,
		ExecutionRoleArn: c.ExecutionRoleArn, TaskRoleArn: c.TaskRoleArn, ContainerDefinitions: []ecsapi.ContainerDefinition{def}})
	if err != nil {
		return "", err
	}
	return *out.TaskDefinition.TaskDefinitionArn, nil
}

func (a *API) createExpress(ctx context.Context, in *ecsapi.CreateExpressGatewayServiceInput) (out *ecsapi.CreateExpressGatewayServiceOutput, err error) {
	name, who := wire.Value(in.ServiceName), wire.Caller(ctx)
	if name == "" {
		name = "express-" + random(hexDigits, 8)
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	c := ecsapi.ExpressGatewayServiceConfiguration{Cpu: in.Cpu, Memory: in.Memory, ExecutionRoleArn: in.ExecutionRoleArn, TaskRoleArn: in.TaskRoleArn, HealthCheckPath: in.HealthCheckPath,
		NetworkConfiguration: in.NetworkConfiguration, PrimaryContainer: in.PrimaryContainer, ScalingTarget: in.ScalingTarget}
	if err := a.completeExpress(ctx, &c); err != nil {
		return nil, err
	}
	x := &express{Name: name, Cluster: clusterName(in.Cluster), Role: *in.InfrastructureRoleArn, Tags: in.Tags, CreatedAt: a.Clock.Now(), UpdatedAt: a.Clock.Now(), Account: who.Account, Region: who.Region, Partition: who.Partition}
	_, err = view(a, func(tx *state.Tx) (struct{}, error) {
		if _, err := a.cluster(tx, in.Cluster); err != nil {
			return struct{}{}, err
		}
		if s, ok := a.State.Services.Get(tx, state.ServiceKey(x.Cluster, name)); ok && s.Status != "INACTIVE" {
			return struct{}{}, invalid("The service %s exists already.", name)
		}
		return struct{}{}, nil
	})
	if err != nil {
		return nil, err
	}
	definition, err := a.expressDefinition(ctx, x.Cluster+"-"+name, &c)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.dismantle(ctx, x))
		}
	}()
	id := "ecs-express-" + random(hexDigits, 16)
	lb, err := wire.Do[elbv2api.CreateLoadBalancerInput, elbv2api.CreateLoadBalancerOutput](ctx, a.Balancers, "CreateLoadBalancer", &elbv2api.CreateLoadBalancerInput{Name: &id, Subnets: c.NetworkConfiguration.Subnets, SecurityGroups: c.NetworkConfiguration.SecurityGroups})
	if err != nil {
		return nil, err
	}
	x.Balancer = *lb.LoadBalancers[0].LoadBalancerArn
	x.Endpoint = fmt.Sprintf("%s:%d", *lb.LoadBalancers[0].DNSName, expressPort)
	group, err := wire.Do[elbv2api.CreateTargetGroupInput, elbv2api.CreateTargetGroupOutput](ctx, a.Balancers, "CreateTargetGroup", &elbv2api.CreateTargetGroupInput{Name: &id, TargetType: wire.String("ip"), Protocol: wire.String("HTTP"),
		Port: c.PrimaryContainer.ContainerPort, VpcId: lb.LoadBalancers[0].VpcId, HealthCheckPath: c.HealthCheckPath})
	if err != nil {
		return nil, err
	}
	x.Group = *group.TargetGroups[0].TargetGroupArn
	_, err = wire.Do[elbv2api.CreateListenerInput, elbv2api.CreateListenerOutput](ctx, a.Balancers, "CreateListener", &elbv2api.CreateListenerInput{LoadBalancerArn: &x.Balancer, Protocol: wire.String("HTTP"), Port: wire.Int32(expressPort),
		DefaultActions: []elbv2api.Action{{Type: wire.String("forward"), TargetGroupArn: &x.Group}}})
	if err != nil {
		return nil, err
	}
	made, err := a.createService(ctx, &ecsapi.CreateServiceInput{Cluster: in.Cluster, ServiceName: &name, TaskDefinition: &definition, DesiredCount: c.ScalingTarget.MinTaskCount, LaunchType: wire.String("FARGATE"),
		NetworkConfiguration: expressNetwork(&c), LoadBalancers: x.targets(&c), Tags: in.Tags, DeploymentConfiguration: &ecsapi.DeploymentConfiguration{DeploymentCircuitBreaker: &ecsapi.DeploymentCircuitBreaker{Enable: wire.Bool(true), Rollback: wire.Bool(true)}}})
	if err != nil {
		return nil, err
	}
	x.Service = *made.Service.ServiceArn
	if err := a.scaleExpress(ctx, x, &c); err != nil {
		return nil, err
	}
	x.take(made.Service, c, a.Clock.Now())
	return update(a, func(tx *state.Tx) (*ecsapi.CreateExpressGatewayServiceOutput, error) {
		a.expresses.Put(tx, x.Service, x)
		return &ecsapi.CreateExpressGatewayServiceOutput{Service: a.showExpress(tx, x, true)}, nil
	})
}

func expressNetwork(c *ecsapi.ExpressGatewayServiceConfiguration) *ecsapi.NetworkConfiguration {
	return &ecsapi.NetworkConfiguration{AwsvpcConfiguration: &ecsapi.AwsVpcConfiguration{Subnets: c.NetworkConfiguration.Subnets, SecurityGroups: c.NetworkConfiguration.SecurityGroups}}
}

func (x *express) targets(c *ecsapi.ExpressGatewayServiceConfiguration) []ecsapi.LoadBalancer {
	return []ecsapi.LoadBalancer{{TargetGroupArn: &x.Group, ContainerName: wire.String(expressContainer), ContainerPort: c.PrimaryContainer.ContainerPort}}
}

// take remembers what the service's newest revision is made of.
func (x *express) take(s *ecsapi.Service, c ecsapi.ExpressGatewayServiceConfiguration, now time.Time) {
	c.CreatedAt = wire.Timestamp(now)
	c.IngressPaths = []ecsapi.IngressPathSummary{{AccessType: wire.String("PUBLIC"), Endpoint: wire.String("http://" + x.Endpoint)}}
	if len(s.CurrentServiceRevisions) > 0 {
		c.ServiceRevisionArn = s.CurrentServiceRevisions[0].Arn
	}
	revisions := map[string]ecsapi.ExpressGatewayServiceConfiguration{}
	for k, v := range x.Revisions {
		revisions[k] = v
	}
	revisions[wire.Value(c.ServiceRevisionArn)] = c
	x.Configuration, x.Revisions = c, revisions
}

func (x *express) resource() *string { return wire.String("service/" + x.Cluster + "/" + x.Name) }

const (
	serviceNamespace = "ecs"
	desiredDimension = "ecs:service:DesiredCount"
)

func (a *API) scaleExpress(ctx context.Context, x *express, c *ecsapi.ExpressGatewayServiceConfiguration) error {
	ns, dim, t := serviceNamespace, desiredDimension, c.ScalingTarget
	_, err := wire.Do[aasapi.RegisterScalableTargetInput, aasapi.RegisterScalableTargetOutput](ctx, a.Scaling, "RegisterScalableTarget", &aasapi.RegisterScalableTargetInput{ServiceNamespace: &ns, ScalableDimension: &dim, ResourceId: x.resource(), MinCapacity: t.MinTaskCount, MaxCapacity: t.MaxTaskCount})
	if err != nil {
		return err
	}
	metric := aasapi.PredefinedMetricSpecification{PredefinedMetricType: wire.String(map[string]string{"AVERAGE_CPU": "ECSServiceAverageCPUUtilization", "AVERAGE_MEMORY": "ECSServiceAverageMemoryUtilization", "REQUEST_COUNT_PER_TARGET": "ALBRequestCountPerTarget"}[*t.AutoScalingMetric])}
	if *t.AutoScalingMetric == "REQUEST_COUNT_PER_TARGET" {
		_, lb, _ := strings.Cut(x.Balancer, ":loadbalancer/")
		metric.ResourceLabel = wire.String(lb + "/" + x.Group[strings.LastIndex(x.Group, ":")+1:])
	}
	value := float64(*t.AutoScalingTargetValue)
	_, err = wire.Do[aasapi.PutScalingPolicyInput, aasapi.PutScalingPolicyOutput](ctx, a.Scaling, "PutScalingPolicy", &aasapi.PutScalingPolicyInput{ServiceNamespace: &ns, ScalableDimension: &dim, ResourceId: x.resource(), PolicyName: wire.String("ecs-express-" + x.Name),
		PolicyType: wire.String("TargetTrackingScaling"), TargetTrackingScalingPolicyConfiguration: &aasapi.TargetTrackingScalingPolicyConfiguration{TargetValue: &value, PredefinedMetricSpecification: &metric}})
	return err
}

// dismantle removes what is around a service.
func (a *API) dismantle(ctx context.Context, x *express) error {
	var errs []error
	if x.Service != "" {
		ns, dim := serviceNamespace, desiredDimension
		if _, err := wire.Do[aasapi.DeregisterScalableTargetInput, aasapi.DeregisterScalableTargetOutput](ctx, a.Scaling, "DeregisterScalableTarget", &aasapi.DeregisterScalableTargetInput{ServiceNamespace: &ns, ScalableDimension: &dim, ResourceId: x.resource()}); err != nil {
			var e *wire.Error
			if !errors.As(err, &e) || e.Code != "ObjectNotFoundException" {
				errs = append(errs, err)
			}
		}
	}
	if x.Balancer != "" {
		_, err := wire.Do[elbv2api.DeleteLoadBalancerInput, elbv2api.DeleteLoadBalancerOutput](ctx, a.Balancers, "DeleteLoadBalancer", &elbv2api.DeleteLoadBalancerInput{LoadBalancerArn: &x.Balancer})
		errs = append(errs, err)
	}
	if x.Group != "" {
		_, err := wire.Do[elbv2api.DeleteTargetGroupInput, elbv2api.DeleteTargetGroupOutput](ctx, a.Balancers, "DeleteTargetGroup", &elbv2api.DeleteTargetGroupInput{TargetGroupArn: &x.Group})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (a *API) showExpress(tx *state.Tx, x *express, tags bool) *ecsapi.ECSExpressGatewayService {
	out := &ecsapi.ECSExpressGatewayService{Cluster: &x.Cluster, ServiceName: &x.Name, ServiceArn: &x.Service, InfrastructureRoleArn: &x.Role, CreatedAt: wire.Timestamp(x.CreatedAt), UpdatedAt: wire.Timestamp(x.UpdatedAt),
		Status: a.expressStatus(tx, x), ActiveConfigurations: []ecsapi.ExpressGatewayServiceConfiguration{}}
	if tags {
		out.Tags = orEmpty(x.Tags)
	}
	for _, d := range a.deployments(tx, state.ServiceKey(x.Cluster, x.Name)) {
		if d.Status == "PRIMARY" {
			out.CurrentDeployment = wire.NonEmpty(d.ServiceDeployment)
		}
		if c, ok := x.Revisions[d.Revision]; ok {
			out.ActiveConfigurations = append(out.ActiveConfigurations, c)
		}
	}
	return out
}

func (a *API) expressStatus(tx *state.Tx, x *express) *ecsapi.ExpressGatewayServiceStatus {
	code := "INACTIVE"
	if s, ok := a.State.Services.Get(tx, state.ServiceKey(x.Cluster, x.Name)); ok && s.ARN == x.Service {
		code = s.Status
	}
	if code == "INACTIVE" && x.Balancer != "" && x.Deleted {
		code = "DRAINING" // what is around it is still there
	}
	return &ecsapi.ExpressGatewayServiceStatus{StatusCode: &code}
}

func (a *API) describeExpress(_ context.Context, in *ecsapi.DescribeExpressGatewayServiceInput) (*ecsapi.DescribeExpressGatewayServiceOutput, error) {
	return view(a, func(tx *state.Tx) (*ecsapi.DescribeExpressGatewayServiceOutput, error) {
		x, ok := a.expresses.Get(tx, *in.ServiceArn)
		if !ok {
			return nil, wire.Errorf("ResourceNotFoundException", "The Express service was not found.")
		}
		return &ecsapi.DescribeExpressGatewayServiceOutput{Service: a.showExpress(tx, x, slices.Contains(in.Include, "TAGS"))}, nil
	})
}

// activeExpress finds an express service that is not being deleted.
func (a *API) activeExpress(arn string) (*express, error) {
	return view(a, func(tx *state.Tx) (*express, error) {
		x, ok := a.expresses.Get(tx, arn)
		switch {
		case !ok:
			return nil, wire.Errorf("ServiceNotFoundException", "Service not found.")
		case *a.expressStatus(tx, x).StatusCode != "ACTIVE":
			return nil, wire.Errorf("ServiceNotActiveException", "Service was not ACTIVE.")
		}
		return x, nil
	})
}

func (a *API) updateExpress(ctx context.Context, in *ecsapi.UpdateExpressGatewayServiceInput) (*ecsapi.UpdateExpressGatewayServiceOutput, error) {
	old, err := a.activeExpress(*in.ServiceArn)
	if err != nil {
		return nil, err
	}
	x, c := *old, old.Configuration
	set(&c.Cpu, in.Cpu)
	set(&c.Memory, in.Memory)
	set(&c.ExecutionRoleArn, in.ExecutionRoleArn)
	set(&c.TaskRoleArn, in.TaskRoleArn)
	set(&c.HealthCheckPath, in.HealthCheckPath)
	set(&c.NetworkConfiguration, in.NetworkConfiguration)
	set(&c.PrimaryContainer, in.PrimaryContainer)
	set(&c.ScalingTarget, in.ScalingTarget)
	if err := a.completeExpress(ctx, &c); err != nil {
		return nil, err
	}
	if in.HealthCheckPath != nil {
		if _, err := wire.Do[elbv2api.ModifyTargetGroupInput, elbv2api.ModifyTargetGroupOutput](ctx, a.Balancers, "ModifyTargetGroup", &elbv2api.ModifyTargetGroupInput{TargetGroupArn: &x.Group, HealthCheckPath: c.HealthCheckPath}); err != nil {
			return nil, err
		}
	}
	definition, err := a.expressDefinition(ctx, x.Cluster+"-"+x.Name, &c)
	if err != nil {
		return nil, err
	}
	made, err := a.updateService(ctx, &ecsapi.UpdateServiceInput{Cluster: &x.Cluster, Service: &x.Name, TaskDefinition: &definition, NetworkConfiguration: expressNetwork(&c), LoadBalancers: x.targets(&c)})
	if err != nil {
		return nil, err
	}
	if err := a.scaleExpress(ctx, &x, &c); err != nil {
		return nil, err
	}
	x.take(made.Service, c, a.Clock.Now())
	x.UpdatedAt = a.Clock.Now()
	return update(a, func(tx *state.Tx) (*ecsapi.UpdateExpressGatewayServiceOutput, error) {
		a.expresses.Put(tx, x.Service, &x)
		return &ecsapi.UpdateExpressGatewayServiceOutput{Service: &ecsapi.UpdatedExpressGatewayService{ServiceArn: &x.Service, Cluster: &x.Cluster, ServiceName: &x.Name, Status: a.expressStatus(tx, &x), TargetConfiguration: &x.Configuration,
			CreatedAt: wire.Timestamp(x.CreatedAt), UpdatedAt: wire.Timestamp(x.UpdatedAt)}}, nil
	})
}

// deleteExpress ends the service; what is around it goes when its last task has.
func (a *API) deleteExpress(ctx context.Context, in *ecsapi.DeleteExpressGatewayServiceInput) (*ecsapi.DeleteExpressGatewayServiceOutput, error) {
	old, err := a.activeExpress(*in.ServiceArn)
	if err != nil {
		return nil, err
	}
	x := *old
	x.Deleted, x.UpdatedAt = true, a.Clock.Now()
	if _, err := a.deleteService(ctx, &ecsapi.DeleteServiceInput{Cluster: &x.Cluster, Service: &x.Name, Force: wire.Bool(true)}); err != nil {
		return nil, err
	}
	return update(a, func(tx *state.Tx) (*ecsapi.DeleteExpressGatewayServiceOutput, error) {
		a.expresses.Put(tx, x.Service, &x)
		return &ecsapi.DeleteExpressGatewayServiceOutput{Service: a.showExpress(tx, &x, true)}, nil
	})
}

// Run removes what is around express services that have ended, until ctx ends.
func (a *API) Run(ctx context.Context) error {
	w := a.State.DB.Watch(state.TableServices, expressTable)
	defer w.Stop()
	for {
		var ended []*express
		_ = a.State.DB.View(func(tx *state.Tx) error {
			for _, x := range a.expresses.All(tx) {
				s, ok := a.State.Services.Get(tx, state.ServiceKey(x.Cluster, x.Name))
				if x.Deleted && x.Balancer != "" && (!ok || s.ARN != x.Service || s.Status == "INACTIVE") {
					ended = append(ended, x)
				}
			}
			return nil
		})
		again := false
		for _, x := range ended {
			who := wire.WithCaller(ctx, wire.Identity{Account: x.Account, Region: x.Region, Partition: x.Partition})
			if err := a.dismantle(who, x); err != nil {
				again = true // its targets may drain still
				continue
			}
			_ = a.State.DB.Update(func(tx *state.Tx) error {
				a.expresses.Modify(tx, x.Service, func(x *express) { x.Balancer, x.Group, x.UpdatedAt = "", "", a.Clock.Now() })
				return nil
			})
		}
		if again {
			if err := clock.Sleep(ctx, a.Clock, 5*time.Second); err != nil {
				return err
			}
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.C:
			w.Drain()
		}
	}
}
