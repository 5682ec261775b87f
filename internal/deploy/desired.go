package deploy

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/listener"
	"github.com/slipway-ecs/slipway/internal/service"
)

// desired is every resource of a target, worked out before anything is called. ARNs that AWS gives
// (target group, task definition) are filled in as the steps go.
type desired struct {
	ref           Ref
	target        Target
	logGroup      *LogGroup // nil: not ours to keep
	executionRole *Role     // nil: given
	taskRole      *Role     // nil: given, or none needed
	definition    TaskDefinition
	targetGroup   *TargetGroup
	alternate     *TargetGroup // nil unless the traffic is shifted; see shift.go
	trafficRole   *Role        // with which ECS shifts it
	volumeRole    *Role        // with which ECS makes the tasks' disks
	schedule      *Schedule    // of a job that has one
	scheduleRole  *Role
	registry      *Registry // in Cloud Map
	connect       *Connect
	rule          *Rule
	service       *Service // nil for a job
	scaling       *ServiceScaling
	alarms        []Alarm
	churn         *EventRule // that the alarm on tasks that end goes by
}

// RefusedError is a target that cannot be deployed as it is written.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

func refuse(format string, args ...any) error { return &RefusedError{fmt.Sprintf(format, args...)} }

// desire works a target out. lb is the listener of the route; nil without one.
func desire(t Target, lb *Listener) (desired, error) {
	spec := t.Spec
	if err := check(t); err != nil {
		return desired{}, err
	}
	d := desired{ref: t.Ref(), target: t}
	tags := ownTags(t)

	group := cmp.Or(t.Infra.LogGroup, spec.Logs.Group, d.ref.logGroupName())
	driver := cmp.Or(spec.Logs.Driver, "awslogs")
	if (driver == "awslogs" || spec.Logs.Router != nil) && t.Infra.LogGroup == "" {
		d.logGroup = &LogGroup{Name: group, Retention: spec.Logs.Retention, Tags: tags}
	}

	d.definition = definition(t, driver, group)
	discover(t, &d, tags)
	if t.Infra.ExecutionRole == "" {
		name := d.ref.executionRoleName()
		d.definition.ExecutionRole = t.Infra.arn("iam", "role/"+name)
		d.executionRole = &Role{Name: name, ARN: d.definition.ExecutionRole, Trust: trustPolicy(t.Infra), Tags: tags,
			Policy: executionPolicy(t.Infra, d.definition, group)}
	}
	if spec.TaskRole.ARN == "" && len(spec.TaskRole.Statements) > 0 {
		name := d.ref.taskRoleName()
		d.definition.TaskRole = t.Infra.arn("iam", "role/"+name)
		d.taskRole = &Role{Name: name, ARN: d.definition.TaskRole, Trust: trustPolicy(t.Infra), Tags: tags,
			Policy: taskPolicy(spec.TaskRole.Statements)}
	}
	d.volumeRole = volumeRole(t.Infra, d.ref, spec.Volumes, tags)
	d.definition.Tags = merged(tags, map[string]string{tagContent: contentDigest(d.definition)})
	if t.Release != "" {
		d.definition.Tags[tagRelease] = t.Release
	}
	if spec.Kind == service.KindJob {
		if d.schedule = schedule(t, d, tags); d.schedule != nil {
			d.scheduleRole = scheduleRole(t.Infra, d, tags)
		}
		return d, nil
	}
	if spec.Route != nil {
		if lb == nil {
			return desired{}, refuse("the service has a route, but the environment gives no listener for %q", spec.Route.Listener)
		}
		d.targetGroup = targetGroup(t, d.ref, *lb, tags)
		stream := lb.Protocol != "HTTP" && lb.Protocol != "HTTPS"
		switch {
		case stream != (d.targetGroup.Protocol != "HTTP"):
			return desired{}, refuse("a %s route cannot go through listener %s, which speaks %s", cmp.Or(spec.Route.Protocol, "HTTP"), spec.Route.Listener, lb.Protocol)
		case spec.Route.Protocol == "GRPC" && lb.Protocol != "HTTPS":
			return desired{}, refuse("a GRPC route needs an HTTPS listener; listener %s speaks %s", spec.Route.Listener, lb.Protocol)
		}
		if !stream {
			d.rule = &Rule{Listener: lb.ARN, Owner: d.ref.owner(), Tags: tags, Conditions: conditions(*spec.Route)}
		}
	}
	d.service = ecsService(t, d.ref, tags)
	d.service.Connect = d.connect
	if d.rule != nil && shifts(spec.Deployment) {
		d.alternate, d.trafficRole = alternate(*d.targetGroup, d.ref), trafficRole(t.Infra, d.ref, tags)
		d.service.LoadBalancers[0].Role = d.trafficRole.ARN
	}
	var err error
	if d.alarms, err = alarms(spec, d.ref, lb, tags); err != nil {
		return desired{}, err
	}
	d.churn = churnRule(t.Infra, d.ref, d.alarms, tags)
	if spec.Scaling != nil {
		d.scaling = &ServiceScaling{Scaling: *spec.Scaling}
	}
	return d, nil
}

func check(t Target) error {
	spec := t.Spec
	switch {
	case spec.Name == "":
		return refuse("the service has no name")
	case t.Ref().Cluster == "":
		return refuse("service %s names no cluster", spec.Name)
	case len(spec.Containers) == 0:
		return refuse("service %s has no container", spec.Name)
	case t.Image == "" && spec.Containers[0].Image == "":
		return refuse("no image is given for container %s", spec.Containers[0].Name)
	case t.Infra.Account == "" || t.Infra.Region == "":
		return errors.New("the target names no account and region")
	case spec.Logs.Driver == "awsfirelens" && spec.Logs.Router == nil:
		return refuse("logs through FireLens need a router: logs.router")
	}
	if err := checkSecrets(spec); err != nil {
		return err
	}
	if err := checkDiscovery(spec); err != nil {
		return err
	}
	if err := checkSchedule(spec); err != nil {
		return err
	}
	if err := checkShift(spec); err != nil {
		return err
	}
	return checkVolumes(spec)
}

// checkSecrets refuses what ECS cannot read. slipway deploy copies such secrets and names the copies.
func checkSecrets(spec service.Spec) error {
	for _, c := range spec.Containers {
		for variable, from := range c.Secrets {
			if store, _, _ := strings.Cut(from, ":"); store == "vault" || store == "exec" {
				return refuse("ECS cannot read secret %s of container %s from %s; deploy with slipway deploy, which copies it to Secrets Manager", variable, c.Name, store)
			}
		}
	}
	return nil
}

func ownTags(t Target) map[string]string {
	tags := map[string]string{"service": t.Spec.Name}
	if t.Spec.Team != "" {
		tags["team"] = t.Spec.Team
	}
	if t.Spec.Environment != "" {
		tags["environment"] = t.Spec.Environment
	}
	return merged(tags, t.Spec.Tags, map[string]string{tagOwner: t.Ref().owner()})
}

func definition(t Target, driver, group string) TaskDefinition {
	spec := t.Spec
	td := TaskDefinition{
		Family:        t.Ref().Service,
		NetworkMode:   cmp.Or(spec.NetworkMode, "bridge"),
		LaunchType:    launchType(spec),
		Architecture:  spec.Architecture,
		CPU:           spec.CPU,
		Memory:        spec.Memory,
		TaskRole:      spec.TaskRole.ARN,
		ExecutionRole: t.Infra.ExecutionRole,
		Containers:    slices.Clone(spec.Containers),
		Volumes:       atLaunch(spec.Volumes),
		LogDriver:     driver,
		LogOptions:    spec.Logs.Options,
	}
	if t.Image != "" {
		td.Containers[0].Image = t.Image
	}
	for i, c := range td.Containers {
		td.Containers[i].Secrets = valueFrom(t.Infra, c.Secrets)
	}
	own := map[string]string{"awslogs-group": group, "awslogs-region": t.Infra.Region, "awslogs-stream-prefix": spec.Name}
	switch {
	case driver == "awslogs":
		td.LogOptions = merged(spec.Logs.Options, own)
	case spec.Logs.Router != nil:
		td.Router, td.RouterLogs = spec.Logs.Router, own
	}
	td.LogSecrets = valueFrom(t.Infra, spec.Logs.Secrets)
	return td
}

// valueFrom writes secrets as ECS takes them: a parameter by its name, a secret by its ARN.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/specifying-sensitive-data.html
func valueFrom(in Infra, secrets map[string]string) map[string]string {
	out := maps.Clone(secrets)
	for variable, from := range out {
		if name, ok := strings.CutPrefix(from, "ssm:"); ok {
			out[variable] = name
		} else if name, ok := strings.CutPrefix(from, "secretsmanager:"); ok {
			out[variable] = in.arn("secretsmanager", "secret:"+name)
		}
	}
	return out
}

// launchType is what the task definition must be compatible with.
func launchType(spec service.Spec) string {
	for _, p := range spec.CapacityProvider {
		if strings.HasPrefix(p.Name, "FARGATE") {
			return "FARGATE"
		}
	}
	return cmp.Or(spec.LaunchType, "EC2")
}

func targetGroup(t Target, ref Ref, lb Listener, tags map[string]string) *TargetGroup {
	route := t.Spec.Route
	tg := &TargetGroup{
		VPC: cmp.Or(t.Infra.VPC, lb.VPC), Protocol: "HTTP", ProtocolVersion: "HTTP1", TargetType: "instance",
		Port: routePort(t.Spec), Health: route.Health, HealthProtocol: "HTTP",
		Deregistration: route.DeregistrationDelay, SlowStart: route.SlowStart, Sticky: route.Sticky, Tags: tags,
	}
	switch route.Protocol {
	case "GRPC":
		tg.ProtocolVersion = "GRPC"
	case "TCP", "TLS", "UDP":
		tg.Protocol, tg.ProtocolVersion = "TCP", ""
		if route.Protocol == "UDP" {
			tg.Protocol = "UDP"
		}
		if route.Health.Path == "" {
			tg.HealthProtocol = "TCP"
		}
	}
	if t.Spec.NetworkMode == "awsvpc" {
		tg.TargetType = "ip"
	}
	tg.Health = withDefaults(tg.Health, tg.ProtocolVersion, tg.HealthProtocol)
	tg.Name = ref.targetGroupName(tg.VPC, tg.Protocol, tg.ProtocolVersion, tg.TargetType)
	return tg
}

// withDefaults says what AWS takes for a value that is not given.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
func withDefaults(h service.HealthCheck, version, protocol string) service.HealthCheck {
	path, matcher := "/", "200"
	if version == "GRPC" {
		path, matcher = "/AWS.ALB/healthcheck", "12"
	}
	if protocol == "TCP" {
		path, matcher = "", ""
	}
	h.Path, h.Matcher = cmp.Or(h.Path, path), cmp.Or(h.Matcher, matcher)
	h.Interval, h.Timeout = cmp.Or(h.Interval, 30*time.Second), cmp.Or(h.Timeout, 5*time.Second)
	h.Healthy, h.Unhealthy = cmp.Or(h.Healthy, 5), cmp.Or(h.Unhealthy, 2)
	return h
}

func conditions(r service.Route) listener.Conditions {
	c := listener.Conditions{Hosts: r.Hosts, Paths: r.Paths, Headers: r.Headers, Methods: r.Methods}
	if c.Empty() {
		c.Paths = []string{"/*"}
	}
	return c
}

func routeContainer(spec service.Spec) string {
	return cmp.Or(spec.Route.Container, spec.Containers[0].Name)
}

func routePort(spec service.Spec) int {
	if spec.Route.Port != 0 {
		return spec.Route.Port
	}
	for _, c := range spec.Containers {
		if c.Name == routeContainer(spec) && len(c.Ports) > 0 {
			return c.Ports[0].Container
		}
	}
	return 80
}

func ecsService(t Target, ref Ref, tags map[string]string) *Service {
	spec := t.Spec
	s := &Service{
		Ref: ref, Desired: spec.Count, Daemon: spec.Kind == service.KindDaemon,
		LaunchType: spec.LaunchType, CapacityProvider: spec.CapacityProvider,
		Strategy:       cmp.Or(spec.Deployment.Strategy, "ROLLING"),
		MinimumHealthy: spec.Deployment.MinimumHealthy, Maximum: spec.Deployment.Maximum,
		CircuitBreaker: spec.Deployment.CircuitBreaker, Rollback: spec.Deployment.Rollback,
		BakeTime: spec.Deployment.BakeTime, StepPercent: spec.Deployment.StepPercent, StepBake: spec.Deployment.StepBake,
		RollbackOnAlarms: alarmNames(spec.Deployment.RollbackOnAlarms, spec.Alarms, ref),
		Volumes:          launchVolumes(t.Infra, ref, spec.Volumes),
		Placement:        spec.Placement, Exec: spec.EnableExecuteCommand, Tags: tags,
	}
	if t.Release != "" {
		s.Tags = merged(tags, map[string]string{tagRelease: t.Release})
	}
	if len(s.CapacityProvider) == 0 && s.LaunchType == "" {
		s.LaunchType = "EC2"
	}
	if s.Maximum == 0 {
		s.MinimumHealthy, s.Maximum = 100, 200
		if s.Daemon {
			s.MinimumHealthy, s.Maximum = 0, 100
		}
	}
	if s.Daemon {
		s.Desired = -1
		s.Placement.Strategies = nil // ECS refuses them for daemons
	}
	if spec.NetworkMode == "awsvpc" {
		s.Subnets, s.SecurityGroups, s.AssignPublicIP = spec.Subnets, spec.SecurityGroups, spec.AssignPublicIP
		if len(s.Subnets) == 0 {
			s.Subnets = t.Infra.Subnets
		}
		if len(s.SecurityGroups) == 0 {
			s.SecurityGroups = t.Infra.SecurityGroups
		}
	}
	if spec.Route != nil {
		s.GracePeriod = spec.Route.GracePeriod
		s.LoadBalancers = []LoadBalancer{{Container: routeContainer(spec), Port: routePort(spec)}}
	}
	return s
}

func itoa(n int) string { return strconv.Itoa(n) }
