package service

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (b *builder) route(s *settings, out *Spec) {
	c := s.Route
	if c == nil {
		return
	}
	r := &Route{
		Listener: or(c.Listener, b.env), Protocol: strings.ToUpper(or(c.Protocol, "http")), Hosts: c.Hosts, Paths: c.Paths, Methods: c.Methods,
		Container: or(c.Container, out.Containers[0].Name), Port: c.Port,
		Sticky: time.Duration(c.Sticky), SlowStart: time.Duration(c.SlowStart), GracePeriod: time.Duration(c.GracePeriod),
		DeregistrationDelay: durationOr(c.DeregistrationDelay, 30*time.Second),
	}
	out.Route = r
	for name, values := range c.Headers {
		if r.Headers == nil {
			r.Headers = map[string][]string{}
		}
		r.Headers[name] = values
	}
	b.routeTarget(out, r)
	b.routeConditions(r)
	b.routeHealth(c, r)
}

// routeTarget: the container and port that get the traffic.
func (b *builder) routeTarget(out *Spec, r *Route) {
	i := slices.IndexFunc(out.Containers, func(c Container) bool { return c.Name == r.Container })
	if i < 0 || r.Port > 0 {
		return
	}
	if len(out.Containers[i].Ports) == 0 {
		b.fault("route", "route needs a port: say which one the container listens on, with container.port")
		return
	}
	r.Port = out.Containers[i].Ports[0].Container
}

// routeConditions: every path, if nothing is said. A TCP listener has no conditions.
func (b *builder) routeConditions(r *Route) {
	if r.Protocol == "TCP" {
		for _, key := range []string{"hosts", "paths", "headers", "methods"} {
			if b.has("route." + key) {
				b.fault("route."+key, "route.%s is for HTTP; a TCP listener sends everything to one service", key)
			}
		}
		return
	}
	if len(r.Hosts)+len(r.Paths)+len(r.Headers)+len(r.Methods) == 0 {
		r.Paths = []string{"/*"}
	}
}

func (b *builder) routeHealth(c *routeConfig, r *Route) {
	h := HealthCheck{Path: or(c.Health.Path, "/"), Matcher: c.Health.Status, Interval: durationOr(c.Health.Interval, 10*time.Second), Healthy: 2, Unhealthy: 2}
	h.Timeout = durationOr(c.Health.Timeout, min(5*time.Second, h.Interval-time.Second))
	set(&h.Healthy, c.Health.Healthy)
	set(&h.Unhealthy, c.Health.Unhealthy)
	switch r.Protocol {
	case "TCP":
		h.Path = ""
		for _, key := range []string{"path", "status"} {
			if b.has("route.health." + key) {
				b.fault("route.health."+key, "route.health.%s is for HTTP; a TCP check only connects", key)
			}
		}
	case "GRPC":
		h.Path = or(c.Health.Path, "/grpc.health.v1.Health/Check")
		h.Matcher = or(h.Matcher, "0")
		b.matcher(h.Matcher, 0, 99)
	default:
		h.Matcher = or(h.Matcher, "200")
		b.matcher(h.Matcher, 200, 499)
	}
	r.Health = h
}

// matcher: single codes, ranges, or both with commas between them.
func (b *builder) matcher(text string, low, high int) {
	for _, part := range strings.Split(text, ",") {
		from, to, ranged := strings.Cut(part, "-")
		if !ranged {
			to = from
		}
		f, ferr := strconv.Atoi(from)
		t, terr := strconv.Atoi(to)
		if ferr != nil || terr != nil || f < low || t > high || f > t {
			b.fault("route.health.status", "route.health.status: %q is not a code or a range such as %d-%d, between %d and %d", part, low, min(low+99, high), low, high)
			return
		}
	}
}

func (b *builder) discovery(s *settings, out *Spec) {
	c := s.Discovery
	if c == nil || c.Kind == "consul" { // that is a sidecar's work: see agents
		return
	}
	for _, key := range []string{"servers", "datacenter", "tags", "image", "config"} {
		if b.has("discovery." + key) {
			b.fault("discovery."+key, "discovery.%s is for Consul", key)
		}
	}
	record := "SRV"
	if out.NetworkMode == "awsvpc" {
		record = "A"
	}
	ttl := time.Duration(c.TTL)
	if ttl == 0 {
		ttl = 10 * time.Second
	}
	out.Discovery = &Discovery{Kind: c.Kind, Namespace: c.Namespace, Name: or(c.Name, out.Name), Record: or(c.Record, record), TTL: ttl}
	if out.Discovery.Record == "A" && out.NetworkMode != "awsvpc" {
		b.fault("discovery.record", "discovery.record A needs awsvpc: with %s the port differs from task to task, which only SRV can say", out.NetworkMode)
	}
	if c.Namespace == "" {
		b.fault("discovery", "discovery.namespace is missing")
	}
	if out.Kind == KindJob {
		b.fault("discovery", "a job cannot be found by other services: it ends")
	}
}

func (b *builder) logs(s *settings, out *Spec) {
	c := s.Logs
	out.Logs = Logs{Driver: or(c.Driver, "awslogs"), Group: c.Group, Retention: 30, Options: c.Options}
	for _, option := range slices.Sorted(maps.Keys(c.Secrets)) {
		b.secretSource("logs.secrets."+option, c.Secrets[option])
	}
	out.Logs.Secrets = c.Secrets
	b.router(c.Router, out)
	set(&out.Logs.Retention, c.Retention)
	if out.Logs.Driver != "awslogs" && out.Logs.Router == nil {
		out.Logs.Retention = 0
		for _, key := range []string{"group", "retention"} {
			if b.has("logs." + key) {
				b.fault("logs."+key, "logs.%s is for the driver awslogs; this service uses %s", key, out.Logs.Driver)
			}
		}
	} else {
		out.Logs.Group = or(c.Group, "/slipway/"+out.Environment+"/"+out.Name)
		if !logGroupForm.MatchString(out.Logs.Group) || len(out.Logs.Group) > 512 {
			b.fault("logs.group", "logs.group %q: letters, digits and . - _ / # are allowed, at most 512", out.Logs.Group)
		}
	}
	if drivers := []string{"awslogs", "splunk", "awsfirelens"}; out.fargate() && !slices.Contains(drivers, out.Logs.Driver) {
		b.fault("logs.driver", "logs.driver %s: Fargate has %s", out.Logs.Driver, strings.Join(drivers, ", "))
	}
}

// router fills in the FireLens container. Its memory is what AWS's own examples give Fluent Bit twice
// over: a full buffer is memory.
func (b *builder) router(c *routerConfig, out *Spec) {
	if out.Logs.Driver != "awsfirelens" {
		if c != nil {
			b.fault("logs.router", "logs.router is for the driver awsfirelens; this service uses %s", out.Logs.Driver)
		}
		return
	}
	if c == nil {
		c = &routerConfig{}
	}
	r := &LogRouter{Image: or(c.Image, "public.ecr.aws/aws-observability/aws-for-fluent-bit:stable"), Type: or(c.Type, "fluentbit"),
		CPU: cmp.Or(int(c.CPU), 32), Memory: cmp.Or(int(c.Memory), 128), Config: c.Config, Env: c.Env}
	if r.Config != "" && !strings.HasPrefix(r.Config, "/") && !strings.HasPrefix(r.Config, "arn:") {
		b.fault("logs.router.config", "logs.router.config %q must be a path in the image, which begins with /, or the ARN of an object in S3", r.Config)
	}
	if strings.HasPrefix(r.Config, "arn:") && out.fargate() {
		b.fault("logs.router.config", "logs.router.config %q: on Fargate the file must be in the image", r.Config)
	}
	for _, other := range out.Containers {
		if other.Name == LogRouterName {
			b.fault("sidecars."+LogRouterName, "%s is the name of the container that logs.router adds", LogRouterName)
		}
	}
	out.Logs.Router = r
}

var logGroupForm = regexp.MustCompile(`^[A-Za-z0-9._/#-]+$`)

func (b *builder) deployment(s *settings, out *Spec) {
	c := s.Deployment
	d := Deployment{
		Strategy:       strings.ToUpper(strings.ReplaceAll(or(c.Strategy, "rolling"), "-", "_")),
		MinimumHealthy: 100, Maximum: 200, CircuitBreaker: true, Rollback: true,
		BakeTime: time.Duration(c.Bake), StepPercent: c.StepPercent, StepBake: time.Duration(c.StepBake),
		RollbackOnAlarms: c.Alarms, Timeout: durationOr(c.Timeout, 15*time.Minute),
	}
	if out.Kind == KindDaemon {
		d.MinimumHealthy, d.Maximum = 0, 100
	}
	set(&d.MinimumHealthy, c.MinimumHealthy)
	set(&d.Maximum, c.Maximum)
	set(&d.CircuitBreaker, c.CircuitBreaker)
	d.Rollback = d.CircuitBreaker || len(c.Alarms) > 0
	set(&d.Rollback, c.Rollback)
	stepped := d.Strategy == "CANARY" || d.Strategy == "LINEAR"
	for _, key := range []string{"step_percent", "step_bake"} {
		if b.has("deployment."+key) && !stepped {
			b.fault("deployment."+key, "deployment.%s is for canary and linear", key)
		}
	}
	if b.has("deployment.bake") && d.Strategy == "ROLLING" {
		b.fault("deployment.bake", "deployment.bake is for blue-green, canary and linear")
	}
	if stepped {
		if d.StepPercent == 0 {
			d.StepPercent = 10
		}
		if d.StepBake == 0 {
			d.StepBake = 5 * time.Minute
		}
		if low := map[string]float64{"CANARY": 0.1, "LINEAR": 3}[d.Strategy]; d.StepPercent < low {
			b.fault("deployment.step_percent", "deployment.step_percent is %v; %s needs at least %v", d.StepPercent, c.Strategy, low)
		}
	}
	d.Before, d.After = b.steps("before", c.Before), b.steps("after", c.After)
	if sm := c.Smoke; sm != nil {
		d.Smoke = &Smoke{Path: sm.Path, Status: sm.Status, Contains: sm.Contains}
		if d.Smoke.Status == 0 {
			d.Smoke.Status = 200
		}
	}
	out.Deployment = d
}

func (b *builder) steps(key string, configs []stepConfig) []Step {
	var out []Step
	for i, c := range configs {
		st := Step{Name: or(c.Name, fmt.Sprintf("step-%d", i+1)), Command: c.Command, Timeout: durationOr(c.Timeout, 10*time.Minute)}
		path := fmt.Sprintf("deployment.%s[%d]", key, i)
		if slices.ContainsFunc(out, func(o Step) bool { return o.Name == st.Name }) {
			b.fault(path, "%s: the name %q is used twice", path, st.Name)
		}
		b.within(path+".timeout", st.Timeout, time.Second, 24*time.Hour)
		out = append(out, st)
	}
	return out
}

func (b *builder) alarms(s *settings, out *Spec) {
	for _, name := range slices.Sorted(maps.Keys(s.Alarms)) {
		c, path := s.Alarms[name], "alarms."+name
		a := Alarm{Name: name, Metric: c.Metric, Threshold: c.Threshold, Periods: 3, Period: durationOr(c.Period, time.Minute), Notify: c.Notify}
		set(&a.Periods, c.Periods)
		if a.Period != 10*time.Second && a.Period != 30*time.Second && a.Period%time.Minute != 0 || a.Period <= 0 {
			b.fault(path+".period", "%s.period is %s; it must be 10s, 30s or whole minutes", path, short(a.Period))
		}
		if needsRoute := []string{"5xx-percent", "latency-p95", "unhealthy"}; out.Route == nil && slices.Contains(needsRoute, c.Metric) {
			b.fault(path+".metric", "%s: %s is the balancer's, but the service has no route", path, c.Metric)
		}
		b.topics(path+".notify", a.Notify)
		out.Alarms = append(out.Alarms, a)
	}
}

func (b *builder) topics(path string, notify []string) {
	for i, n := range notify {
		if !strings.HasPrefix(n, "arn:aws") || !strings.Contains(n, ":sns:") {
			b.fault(fmt.Sprintf("%s[%d]", path, i), "%s: %q is not the ARN of an SNS topic", path, n)
		}
	}
}

func (b *builder) role(s *settings, out *Spec) {
	c := s.Role
	if c == nil {
		return
	}
	out.TaskRole.ARN = c.ARN
	if c.ARN != "" && len(c.Statements) > 0 {
		b.fault("role.allow", "role.arn is somebody's role; role.allow is for the service's own. Use one of them")
	}
	for i, st := range c.Statements {
		for j, a := range st.Actions {
			if a != "*" && !strings.Contains(a, ":") {
				b.fault(fmt.Sprintf("role.allow[%d].actions[%d]", i, j), "%q is not an action such as s3:GetObject", a)
			}
		}
		out.TaskRole.Statements = append(out.TaskRole.Statements, Statement{Effect: "Allow", Actions: st.Actions, Resources: st.Resources})
	}
}

// exec lets ECS Exec in: its agent runs with the task's role, in a file system it can write to. A role that is
// somebody's must allow it already.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-exec.html#ecs-exec-considerations
func (b *builder) exec(s *settings, out *Spec) {
	out.EnableExecuteCommand = s.Exec
	if !s.Exec {
		return
	}
	if out.Kind == KindJob {
		b.fault("exec", "exec is for what keeps running, not for a job")
	}
	if main := out.Containers[0]; main.ReadOnlyRoot {
		b.fault("exec", "exec needs a file system that can be written to, and that of container %s is read-only", main.Name)
	}
	if out.TaskRole.ARN == "" {
		out.TaskRole.Statements = append(out.TaskRole.Statements, Statement{Effect: "Allow", Actions: []string{"ssmmessages:CreateControlChannel",
			"ssmmessages:CreateDataChannel", "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel"}, Resources: []string{"*"}})
	}
}
