package service

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

var environmentName = regexp.MustCompile(`^[a-z]([a-z0-9-]*[a-z0-9])?$`)

// builder makes the Spec of one environment: it applies the defaults and checks what no single
// field shows.
type builder struct {
	file   *File
	env    string
	at     map[string]pos
	origin pos // of the environment in the file
	report func(pos, string)
}

func (b *builder) fault(path, format string, args ...any) {
	b.report(lookup(b.at, path, b.origin), fmt.Sprintf(format, args...))
}

func (b *builder) has(path string) bool { _, ok := b.at[path]; return ok }

func (b *builder) spec(cfg *fileConfig, s *settings) Spec {
	out := Spec{
		Name: cfg.Service, Team: cfg.Team, Environment: b.env, Cluster: s.Cluster,
		Kind:         Kind(or(s.Kind, string(KindService))),
		Architecture: strings.ToUpper(or(s.Architecture, "x86_64")),
		Schedule:     s.Schedule,
	}
	if out.Cluster == "" {
		b.fault("cluster", "cluster is missing: the ECS cluster that environment %q runs in", b.env)
	}
	b.launch(s, &out)
	b.network(s, &out)
	b.containers(s, &out)
	b.agents(s, &out)
	b.size(s, &out)
	b.volumes(s, &out)
	b.count(s, &out)
	b.placement(s, &out)
	b.route(s, &out)
	b.discovery(s, &out)
	b.logs(s, &out)
	b.deployment(s, &out)
	b.alarms(s, &out)
	b.defaultAlarms(s, &out)
	b.role(s, &out)
	b.metricsRole(s, &out)
	b.exec(s, &out)
	b.schedule(&out)
	b.tags(s, &out)
	for _, p := range out.Check() {
		b.fault(p.Path, "%s", p.Message)
	}
	return out
}

func (b *builder) target(s *settings) Target {
	t := Target{Region: s.Region, Repository: or(s.Repository, b.file.Repository)}
	if c := s.State; c != nil {
		t.State = &State{Bucket: c.Bucket, Region: or(c.Region, s.Region), KMSKey: c.KMSKey,
			Key: or(c.Key, fmt.Sprintf("slipway/%s/%s.tfstate", b.file.Service, b.env))}
	}
	return t
}

// launch: the launch type, or capacity providers in its place.
func (b *builder) launch(s *settings, out *Spec) {
	if len(s.Providers) > 0 {
		if s.Launch != "" {
			b.fault("launch", "launch and capacity_providers exclude each other")
		}
		bases, weights := 0, 0
		for _, name := range slices.Sorted(maps.Keys(s.Providers)) {
			p := s.Providers[name]
			out.CapacityProvider = append(out.CapacityProvider, CapacityProviderStrategy{Name: name, Base: p.Base, Weight: p.Weight})
			bases += min(1, p.Base)
			weights += p.Weight
		}
		if bases > 1 {
			b.fault("capacity_providers", "only one capacity provider can have a base")
		}
		if weights == 0 {
			b.fault("capacity_providers", "at least one capacity provider needs a weight")
		}
		return
	}
	switch s.Launch {
	case "fargate-spot":
		out.CapacityProvider = []CapacityProviderStrategy{{Name: "FARGATE_SPOT", Weight: 1}}
	default:
		out.LaunchType = strings.ToUpper(or(s.Launch, "ec2"))
	}
	if out.Kind == KindDaemon && out.fargate() {
		b.fault("launch", "a daemon runs on container instances; Fargate has none")
	}
}

// fargate says whether tasks run on Fargate.
func (s *Spec) fargate() bool {
	return s.LaunchType == "FARGATE" || slices.ContainsFunc(s.CapacityProvider, func(c CapacityProviderStrategy) bool {
		return strings.HasPrefix(c.Name, "FARGATE")
	})
}

func (b *builder) network(s *settings, out *Spec) {
	out.NetworkMode = s.Network.Mode
	if out.NetworkMode == "" {
		out.NetworkMode = "bridge"
		if out.fargate() {
			out.NetworkMode = "awsvpc"
		}
	}
	out.Subnets, out.SecurityGroups, out.AssignPublicIP = s.Network.Subnets, s.Network.SecurityGroups, s.Network.PublicIP
	if out.NetworkMode != "awsvpc" {
		for _, key := range []string{"subnets", "security_groups", "public_ip"} {
			if b.has("network." + key) {
				b.fault("network."+key, "network.%s is for awsvpc only; this service uses %s", key, out.NetworkMode)
			}
		}
	}
	if len(out.Subnets) > 16 {
		b.fault("network.subnets", "%d subnets: ECS takes 16", len(out.Subnets))
	}
	if len(out.SecurityGroups) > 5 {
		b.fault("network.security_groups", "%d security groups: ECS takes 5", len(out.SecurityGroups))
	}
	if out.AssignPublicIP && !out.fargate() {
		b.fault("network.public_ip", "network.public_ip is for Fargate only")
	}
}

// size: the task's size. On Fargate it must be one of a table; where the file gives none, it is the
// smallest in which the containers fit.
func (b *builder) size(s *settings, out *Spec) {
	out.CPU, out.Memory = int(s.CPU), int(s.Memory)
	cpu, memory := 0, 0
	for _, c := range out.Containers {
		cpu += c.CPU
		memory += max(c.Memory, c.MemoryReservation)
	}
	if !out.fargate() || out.CPU > 0 && out.Memory > 0 {
		return
	}
	if fitCPU, fitMemory, ok := fargateFit(cpu, memory, out.CPU, out.Memory); ok {
		out.CPU, out.Memory = fitCPU, fitMemory
		return
	}
	path, given := "container", ""
	for _, key := range []string{"cpu", "memory"} {
		if b.has(key) {
			path, given = key, " with the given "+key
		}
	}
	b.fault(path, "Fargate has no task in which %d CPU units and %d MiB fit%s", max(cpu, out.CPU), max(memory, out.Memory), given)
	out.CPU, out.Memory = 256, 512 // said; no second fault about it
}

func (b *builder) count(s *settings, out *Spec) {
	out.Count = 1
	if c := s.Scaling; c != nil {
		b.scaling(c, out)
		out.Count = out.Scaling.Min
	}
	set(&out.Count, s.Count)
	switch out.Kind {
	case KindDaemon, KindJob:
		out.Count = 0
		for _, key := range []string{"count", "scaling"} {
			if b.has(key) {
				b.fault(key, "%s is not for a %s: %s", key, out.Kind, map[Kind]string{
					KindDaemon: "one task runs on each instance", KindJob: "its tasks run to their end"}[out.Kind])
			}
		}
	}
}

func (b *builder) scaling(c *scalingConfig, out *Spec) {
	sc := &Scaling{}
	out.Scaling = sc
	set(&sc.Min, c.Min)
	set(&sc.Max, c.Max)
	if c.Min != nil && c.Max != nil && sc.Min > sc.Max {
		b.fault("scaling.max", "scaling.max is %d, less than min, which is %d", sc.Max, sc.Min)
	}
	target := func(metric string, t *targetConfig, percent bool) {
		if t == nil {
			return
		}
		if percent && t.Target > 100 {
			b.fault("scaling."+metric+".target", "scaling.%s is %v percent; it must be at most 100", metric, t.Target)
		}
		sc.Targets = append(sc.Targets, ScalingTarget{Metric: metric, Target: t.Target, DisableScaleIn: t.DisableScaleIn,
			ScaleOutCooldown: durationOr(t.OutCooldown, time.Minute), ScaleInCooldown: durationOr(t.InCooldown, 5*time.Minute)})
	}
	target("cpu", c.CPU, true)
	target("memory", c.Memory, true)
	target("requests", c.Requests, false)
	if c.Requests != nil && !b.has("route") {
		b.fault("scaling.requests", "scaling.requests counts the balancer's requests, but the service has no route")
	}
	if q := c.Queue; q != nil {
		t := ScalingTarget{Metric: "queue", Target: 10, Queue: q.Name,
			ScaleOutCooldown: durationOr(q.OutCooldown, time.Minute), ScaleInCooldown: durationOr(q.InCooldown, 5*time.Minute)}
		set(&t.Target, q.Target)
		sc.Targets = append(sc.Targets, t)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Metrics)) {
		m := c.Metrics[name]
		sc.Targets = append(sc.Targets, ScalingTarget{Metric: name, Target: m.Target, Namespace: m.Namespace,
			ScaleOutCooldown: durationOr(m.OutCooldown, time.Minute), ScaleInCooldown: durationOr(m.InCooldown, 5*time.Minute)})
	}
	for _, name := range slices.Sorted(maps.Keys(c.Schedules)) {
		w := c.Schedules[name]
		s := ScalingSchedule{Name: name, Expression: w.At, Timezone: or(w.Timezone, "UTC")}
		set(&s.Min, w.Min)
		set(&s.Max, w.Max)
		if s.Min > s.Max {
			b.fault("scaling.schedules."+name+".max", "scaling.schedules.%s.max is %d, less than min, which is %d", name, s.Max, s.Min)
		}
		b.expression("scaling.schedules."+name+".at", s.Expression)
		sc.Schedules = append(sc.Schedules, s)
	}
	if len(sc.Targets)+len(sc.Schedules) == 0 {
		b.fault("scaling", "scaling needs something to go by: cpu, memory, requests, queue, metrics or schedules")
	}
}

var scheduleForms = regexp.MustCompile(`^(rate\([1-9][0-9]* (minute|minutes|hour|hours|day|days)\)|cron\(\S+( \S+){5}\)|at\(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\))$`)

func (b *builder) expression(path, e string) {
	if e != "" && !scheduleForms.MatchString(e) {
		b.fault(path, "%q is not a schedule; write rate(5 minutes), cron(0 12 * * ? *) or at(2030-01-01T00:00:00)", e)
	}
}

func (b *builder) schedule(out *Spec) {
	if out.Schedule != "" && out.Kind != KindJob {
		b.fault("schedule", "schedule is for kind: job; this is a %s", out.Kind)
	}
	b.expression("schedule", out.Schedule)
}

// placement: spread over zones, then instances, as ECS does itself when nothing is said.
func (b *builder) placement(s *settings, out *Spec) {
	given := b.has("placement.strategies") || b.has("placement.constraints")
	if given && (out.fargate() || out.Kind == KindDaemon && b.has("placement.strategies")) {
		b.fault("placement", "placement is for services on container instances")
		return
	}
	for i, text := range s.Placement.Strategies {
		path := fmt.Sprintf("placement.strategies[%d]", i)
		kind, by, _ := strings.Cut(text, ":")
		st := PlacementStrategy{Type: kind, Field: by}
		switch {
		case kind == "spread" && by == "az":
			st.Field = "attribute:ecs.availability-zone"
		case kind == "spread" && by == "instance":
			st.Field = "instanceId"
		case kind == "spread" && strings.HasPrefix(by, "attribute:"), kind == "binpack" && (by == "cpu" || by == "memory"), kind == "random" && by == "":
		default:
			known := []string{"spread:az", "spread:instance", "binpack:memory", "binpack:cpu", "random"}
			b.fault(path, "%s: %q is not one of %s, spread:attribute:NAME%s", path, text, strings.Join(known, ", "), didYouMean(text, known))
		}
		out.Placement.Strategies = append(out.Placement.Strategies, st)
	}
	for _, text := range s.Placement.Constraints {
		c := PlacementConstraint{Type: "memberOf", Expression: text}
		if text == "distinct" {
			c = PlacementConstraint{Type: "distinctInstance"}
		}
		out.Placement.Constraints = append(out.Placement.Constraints, c)
	}
	if n := len(out.Placement.Strategies); n > 4 {
		b.fault("placement.strategies", "%d strategies: ECS takes 4", n)
	}
	if n := len(out.Placement.Constraints); n > 10 {
		b.fault("placement.constraints", "%d constraints: ECS takes 10", n)
	}
	onInstances := !out.fargate() && out.LaunchType != "EXTERNAL" && (out.Kind == KindService || out.Kind == KindWorker)
	if len(s.Placement.Strategies) == 0 && onInstances {
		out.Placement.Strategies = []PlacementStrategy{{"spread", "attribute:ecs.availability-zone"}, {"spread", "instanceId"}}
	}
}

func (b *builder) tags(s *settings, out *Spec) {
	out.Tags = map[string]string{}
	for k, v := range s.Tags {
		path := "tags." + k
		switch {
		case len(k) > 128:
			b.fault(path, "tag name has %d characters: AWS takes 128", len(k))
		case strings.HasPrefix(strings.ToLower(k), "aws:"):
			b.fault(path, "tag %q: names that begin with aws: are AWS's own", k)
		}
		out.Tags[k] = v
	}
	for k, v := range map[string]string{"service": out.Name, "environment": out.Environment, "team": out.Team} {
		if _, given := out.Tags[k]; !given && v != "" {
			out.Tags[k] = v
		}
	}
	for i, k := range b.file.RequiredTags {
		if k != "commit" && out.Tags[k] == "" { // the commit is known when an image is deployed
			b.fault(fmt.Sprintf("required_tags[%d]", i), "environment %q has no tag %q, which required_tags asks for", b.env, k)
		}
	}
	if len(out.Tags) > 50 {
		b.fault("tags", "%d tags: AWS takes 50", len(out.Tags))
	}
}

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

func durationOr(d *duration, fallback time.Duration) time.Duration {
	if d == nil {
		return fallback
	}
	return time.Duration(*d)
}
