package service

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/listener"
)

// Problem is something wrong with a Spec, wherever it comes from.
type Problem struct {
	Path    string // where slipway.yaml would say it: route.port, container.depends_on.proxy
	Message string
}

// Check says everything that is wrong with a Spec in itself: what no single value shows and AWS
// would refuse, or never bring to an end.
func (s Spec) Check() []Problem {
	c := &checker{Spec: s}
	c.size()
	c.containers()
	c.mounts()
	c.route()
	c.deployment()
	return c.problems
}

type checker struct {
	Spec
	problems []Problem
}

func (c *checker) fault(path, format string, args ...any) {
	c.problems = append(c.problems, Problem{path, fmt.Sprintf(format, args...)})
}

// path is where slipway.yaml describes a container.
func (c *checker) path(i int) string {
	if i == 0 {
		return "container"
	}
	return "sidecars." + c.Containers[i].Name
}

func (c *checker) names() []string {
	var names []string
	for _, k := range c.Containers {
		names = append(names, k.Name)
	}
	return names
}

func (c *checker) size() {
	cpu, memory := 0, 0
	for _, k := range c.Containers {
		cpu += k.CPU
		memory += max(k.Memory, k.MemoryReservation)
	}
	if c.fargate() {
		if c.NetworkMode != "awsvpc" {
			c.fault("network.mode", "network %s is for container instances; Fargate tasks use awsvpc", c.NetworkMode)
		}
		if err := checkFargate(c.CPU, c.Memory); err != nil {
			c.fault("cpu", "%v", err)
			return
		}
	}
	if c.CPU > 0 && cpu > c.CPU {
		c.fault("cpu", "the containers ask for %d CPU units together, the task has %d", cpu, c.CPU)
	}
	if c.Memory > 0 && memory > c.Memory {
		c.fault("memory", "the containers ask for %d MiB together, the task has %d", memory, c.Memory)
	}
}

// containers: every name a container depends on exists, what must be healthy has a check, and
// nobody waits for himself.
func (c *checker) containers() {
	if len(c.Containers) == 0 {
		c.fault("container", "there is no container")
	}
	names := c.names()
	for i, k := range c.Containers {
		if slices.Index(names, k.Name) != i {
			c.fault(c.path(i), "two containers are called %q", k.Name)
		}
		for _, d := range k.DependsOn {
			at := c.path(i) + ".depends_on." + d.Container
			j := slices.Index(names, d.Container)
			switch {
			case j < 0:
				c.fault(at, "%s: no container %q%s", at, d.Container, didYouMean(d.Container, names))
			case d.Condition == "HEALTHY" && c.Containers[j].HealthCheck == nil:
				c.fault(at, "%s: container %q has no health check that could be healthy", at, d.Container)
			case (d.Condition == "COMPLETE" || d.Condition == "SUCCESS") && c.Containers[j].Essential:
				c.fault(at, "%s: container %q is essential, so its end would be the task's; give it essential: false", at, d.Container)
			}
		}
	}
	if cycle := findCycle(c.Containers); cycle != nil {
		c.fault("container.depends_on", "containers wait for each other: %s", strings.Join(cycle, " → "))
	}
}

func findCycle(containers []Container) []string {
	on := map[string][]string{}
	for _, c := range containers {
		for _, d := range c.DependsOn {
			on[c.Name] = append(on[c.Name], d.Container)
		}
	}
	done := map[string]bool{}
	var visit func(name string, way []string) []string
	visit = func(name string, way []string) []string {
		if i := slices.Index(way, name); i >= 0 {
			return append(slices.Clone(way[i:]), name)
		}
		if done[name] {
			return nil
		}
		for _, next := range on[name] {
			if c := visit(next, append(way, name)); c != nil {
				return c
			}
		}
		done[name] = true
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(on)) {
		if c := visit(name, nil); c != nil {
			return c
		}
	}
	return nil
}

func (c *checker) mounts() {
	var names []string
	for _, v := range c.Volumes {
		names = append(names, v.Name)
	}
	used := map[string]bool{}
	for i, k := range c.Containers {
		for _, m := range k.Mounts {
			used[m.Volume] = true
			if at := c.path(i) + ".mounts." + m.Volume; !slices.Contains(names, m.Volume) {
				c.fault(at, "%s: no volume %q%s", at, m.Volume, didYouMean(m.Volume, names))
			}
		}
	}
	disks := 0
	for _, v := range c.Volumes {
		at := "volumes." + v.Name
		if v.EBS != nil {
			if disks++; disks > 1 {
				c.fault(at, "%s: a second EBS volume; ECS attaches one to a task", at)
			}
			if c.Schedule != "" {
				c.fault(at, "%s: EventBridge Scheduler cannot give a job's task an EBS volume; use efs", at)
			}
		}
		if !used[v.Name] {
			c.fault(at, "volume %q is mounted by no container", v.Name)
		}
		if count(v.HostPath != "", v.EFS != nil, v.EBS != nil, v.Tmpfs > 0) != 1 {
			c.fault(at, "%s needs exactly one of host, efs, ebs and tmpfs", at)
		}
		if c.fargate() && (v.HostPath != "" || v.Tmpfs > 0) {
			c.fault(at, "%s: Fargate has only efs and ebs volumes", at)
		}
	}
}

func (c *checker) route() {
	r := c.Route
	if r == nil {
		return
	}
	if c.Kind == KindJob || c.Kind == KindWorker {
		c.fault("route", "a %s has no route: nothing sends it requests", c.Kind)
	}
	if i := slices.Index(c.names(), r.Container); i < 0 {
		c.fault("route.container", "route.container: no container %q%s", r.Container, didYouMean(r.Container, c.names()))
	} else if r.Port > 0 && !slices.ContainsFunc(c.Containers[i].Ports, func(p Port) bool { return p.Container == r.Port && p.Protocol == "tcp" }) {
		c.fault("route.port", "route.port: container %q does not list port %d", r.Container, r.Port)
	}
	conditions := listener.Conditions{Hosts: r.Hosts, Paths: r.Paths, Headers: r.Headers, Methods: r.Methods}
	if r.Protocol != "TCP" && !conditions.Empty() {
		for _, err := range conditions.Validate() {
			c.fault(conditionPath(err.Error(), r), "route: %v", err)
		}
	}
	h := r.Health
	c.within("route.health.interval", h.Interval, 5*time.Second, 5*time.Minute)
	c.within("route.health.timeout", h.Timeout, 2*time.Second, 2*time.Minute)
	if h.Timeout >= h.Interval {
		c.fault("route.health.timeout", "route.health.timeout is %s; it must be less than interval, which is %s", short(h.Timeout), short(h.Interval))
	}
	if r.Sticky > 0 {
		c.within("route.sticky", r.Sticky, time.Second, 7*24*time.Hour)
	}
	c.within("route.deregistration_delay", r.DeregistrationDelay, 0, time.Hour)
	if r.SlowStart > 0 {
		c.within("route.slow_start", r.SlowStart, 30*time.Second, 15*time.Minute)
	}
	c.within("route.grace_period", r.GracePeriod, 0, 2147483647*time.Second)
}

// conditionPath points at the value a fault of the conditions names.
func conditionPath(fault string, r *Route) string {
	for key, values := range map[string][]string{"host": r.Hosts, "path": r.Paths, "method": r.Methods} {
		for i, v := range values {
			if strings.HasPrefix(fault, key+" "+strconv.Quote(v)) {
				return fmt.Sprintf("route.%ss[%d]", key, i)
			}
		}
	}
	return "route"
}

func (c *checker) deployment() {
	d := c.Deployment
	c.within("deployment.timeout", d.Timeout, 10*time.Second, 24*time.Hour)
	if d.MinimumHealthy == 100 && d.Maximum == 100 {
		c.fault("deployment", "minimum_healthy 100 with maximum 100 lets no task stop and no task start: nothing would ever be replaced")
	}
	if d.Rollback && !d.CircuitBreaker && len(d.RollbackOnAlarms) == 0 {
		c.fault("deployment.rollback", "deployment.rollback needs the circuit breaker or alarms, which say when a deployment has failed")
	}
	if d.Strategy != "ROLLING" && c.Route == nil {
		c.fault("deployment.strategy", "deployment.strategy %s moves traffic, but the service has no route", strings.ToLower(strings.ReplaceAll(d.Strategy, "_", "-")))
	}
	if d.Smoke != nil && c.Route == nil {
		c.fault("deployment.smoke", "deployment.smoke asks through the balancer, but the service has no route")
	}
	c.within("deployment.bake", d.BakeTime, 0, 24*time.Hour)
	c.within("deployment.step_bake", d.StepBake, 0, 24*time.Hour)
}

func (c *checker) within(path string, d, shortest, longest time.Duration) {
	for _, m := range within(path, d, shortest, longest) {
		c.fault(path, "%s", m)
	}
}

// within checks a duration's bounds; a longest of 0 is none.
func within(path string, d, shortest, longest time.Duration) (faults []string) {
	if d < shortest || longest > 0 && d > longest {
		text := fmt.Sprintf("at least %s", short(shortest))
		if longest > 0 {
			text = fmt.Sprintf("from %s to %s", short(shortest), short(longest))
		}
		faults = append(faults, fmt.Sprintf("%s is %s; it must be %s", path, short(d), text))
	}
	if d%time.Second != 0 {
		faults = append(faults, fmt.Sprintf("%s is %s; AWS counts in whole seconds", path, short(d)))
	}
	return faults
}

// short writes a duration without its zero parts: 5m, not 5m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
