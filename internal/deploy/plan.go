package deploy

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/slipway-ecs/slipway/internal/listener"
	"github.com/slipway-ecs/slipway/internal/service"
)

// Names of resources in plans and events.
const (
	resLogGroup      = "log group"
	resExecutionRole = "execution role"
	resTaskRole      = "task role"
	resTargetGroup   = "target group"
	resRule          = "listener rule"
	resDefault       = "listener default action"
	resDefinition    = "task definition"
	resStep          = "one-off task"
	resService       = "service"
	resScaling       = "scaling"
)

// Plan says what Apply would do, changing nothing.
func (e *Engine) Plan(ctx context.Context, t Target) (Plan, error) {
	d, o, _, err := e.look(ctx, t)
	if err != nil {
		return Plan{}, err
	}
	return plan(d, o)
}

// look works the target out and reads what there is.
func (e *Engine) look(ctx context.Context, t Target) (desired, observed, *Listener, error) {
	var lb *Listener
	if t.Spec.Route != nil && t.Infra.Listener != "" {
		l, err := e.ports.Listeners.Listener(ctx, t.Infra.Listener)
		if err != nil {
			return desired{}, observed{}, nil, fmt.Errorf("reading listener %s: %w", t.Infra.Listener, err)
		}
		lb = &l
	}
	d, err := desire(t, lb)
	if err != nil {
		return desired{}, observed{}, nil, err
	}
	o, err := e.observeFor(ctx, d)
	return d, o, lb, err
}

// plan compares what is wanted with what there is. It decides everything Apply does.
func plan(d desired, o observed) (Plan, error) {
	var p Plan
	add := func(c Change) {
		if c.Action == "" {
			c.Action = Keep
			if len(c.Fields) > 0 {
				c.Action = Update
			}
		}
		p.Changes = append(p.Changes, c)
	}
	if d.logGroup != nil {
		c := Change{Resource: resLogGroup, Name: d.logGroup.Name}
		if o.logGroup == nil {
			c.Action = Create
		} else {
			c.field("retention", o.logGroup.Retention, d.logGroup.Retention)
			c.tags(o.logGroup.Tags, d.logGroup.Tags)
		}
		add(c)
	}
	for _, r := range []struct {
		name       string
		want, have *Role
	}{{resExecutionRole, d.executionRole, o.executionRole}, {resTaskRole, d.taskRole, o.taskRole}, {resTrafficRole, d.trafficRole, o.trafficRole}, {resVolumeRole, d.volumeRole, o.volumeRole}, {resScheduleRole, d.scheduleRole, o.scheduleRole}} {
		if r.want != nil {
			add(roleChange(r.name, *r.want, r.have))
		}
	}
	newGroup := false
	if d.targetGroup != nil {
		have := o.targetGroup(d.targetGroup.Name)
		newGroup = have == nil
		c := targetGroupChange(*d.targetGroup, have)
		if newGroup && len(o.targetGroups) > 0 {
			c.Action = Replace
		}
		add(c)
		if have != nil {
			d.targetGroup.ARN = have.ARN
		}
	}
	if d.alternate != nil {
		have := o.targetGroup(d.alternate.Name)
		add(targetGroupChange(*d.alternate, have))
		if have != nil {
			d.alternate.ARN = have.ARN
		}
	}
	if d.rule != nil {
		c, err := ruleChange(d, o)
		if err != nil {
			return p, err
		}
		add(c)
	}
	c := Change{Resource: resDefinition, Name: d.definition.Family}
	if o.reusable == nil {
		c.Action = Create
		if o.definition != nil {
			c.Fields = definitionFields(*o.definition, d.definition)
		}
	} else {
		c.Name = revisionName(o.reusable.ARN)
		if o.definition != nil && o.definition.ARN != o.reusable.ARN {
			c.Fields = definitionFields(*o.definition, d.definition)
		}
	}
	add(c)
	if c, ok := scheduleChange(d, o); ok {
		add(c)
	}
	if d.scheduleRole == nil && o.scheduleRole != nil {
		add(Change{Resource: resScheduleRole, Name: o.scheduleRole.Name, Action: Delete})
	}
	for _, c := range registryChanges(d, o) {
		add(c)
	}
	if d.volumeRole == nil && o.volumeRole != nil {
		add(Change{Resource: resVolumeRole, Name: o.volumeRole.Name, Action: Delete})
	}
	if d.service == nil {
		return p, nil
	}
	for _, c := range append(churnChanges(d, o), alarmChanges(d, o)...) {
		add(c)
	}
	c, rollout, err := serviceChange(d, o, newGroup)
	if err != nil {
		return p, err
	}
	add(c)
	p.Rollout = rollout
	if d.scaling != nil || o.scaling != nil {
		add(scalingChange(d, o))
	}
	for _, r := range o.rules {
		if d.rule == nil || r.Listener != d.rule.Listener {
			add(Change{Resource: resRule, Name: r.ARN, Action: Delete})
		}
	}
	for _, tg := range o.targetGroups {
		if !slices.ContainsFunc(d.groups(), func(want *TargetGroup) bool { return want.Name == tg.Name }) {
			add(Change{Resource: resTargetGroup, Name: tg.Name, Action: Delete})
		}
	}
	if d.executionRole == nil && o.executionRole != nil {
		add(Change{Resource: resExecutionRole, Name: o.executionRole.Name, Action: Delete})
	}
	if d.taskRole == nil && o.taskRole != nil {
		add(Change{Resource: resTaskRole, Name: o.taskRole.Name, Action: Delete})
	}
	if d.trafficRole == nil && o.trafficRole != nil {
		add(Change{Resource: resTrafficRole, Name: o.trafficRole.Name, Action: Delete})
	}
	return p, nil
}

// field notes a difference. Values that print alike are alike.
func (c *Change) field(path string, from, to any) {
	f, t := show(from), show(to)
	if f != t {
		c.Fields = append(c.Fields, Field{Path: path, From: f, To: t})
	}
}

// tags compares only the keys that are wanted: other tools may add theirs.
func (c *Change) tags(have, want map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if k != tagRelease && k != tagRevision && have[k] != want[k] {
			c.field("tags."+k, have[k], want[k])
		}
	}
}

func show(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []string:
		v = slices.Clone(v)
		slices.Sort(v)
		return strings.Join(v, ",")
	}
	if rv := reflect.ValueOf(v); (rv.Kind() == reflect.Slice || rv.Kind() == reflect.Map) && rv.Len() == 0 {
		return ""
	}
	if rv := reflect.ValueOf(v); rv.Kind() == reflect.Pointer {
		if rv.IsNil() {
			return ""
		}
		return show(rv.Elem().Interface())
	}
	if k := reflect.ValueOf(v).Kind(); k == reflect.Struct || k == reflect.Slice || k == reflect.Map {
		data, err := json.Marshal(v)
		if err != nil {
			return fmt.Sprint(v)
		}
		return string(data)
	}
	return fmt.Sprint(v)
}

func roleChange(resource string, want Role, have *Role) Change {
	c := Change{Resource: resource, Name: want.Name}
	if have == nil {
		c.Action = Create
		return c
	}
	c.field("trust", canonicalJSON(have.Trust), canonicalJSON(want.Trust))
	c.field("policy", canonicalJSON(have.Policy), canonicalJSON(want.Policy))
	c.tags(have.Tags, want.Tags)
	return c
}

// canonicalJSON makes policies that mean the same compare alike: AWS returns them reordered, and a
// list of one as its only element.
func canonicalJSON(text string) string {
	if text == "" {
		return ""
	}
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return text
	}
	data, err := json.Marshal(unlisted(v))
	if err != nil {
		return text
	}
	return string(data)
}

func unlisted(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = unlisted(e)
		}
	case []any:
		for i, e := range v {
			v[i] = unlisted(e)
		}
		if len(v) == 1 {
			return v[0]
		}
	}
	return v
}

func targetGroupChange(want TargetGroup, have *TargetGroup) Change {
	c := Change{Resource: resTargetGroup, Name: want.Name}
	if have == nil {
		c.Action = Create
		return c
	}
	c.field("health_check.protocol", have.HealthProtocol, want.HealthProtocol)
	if want.HealthProtocol != "TCP" {
		c.field("health_check.path", have.Health.Path, want.Health.Path)
		c.field("health_check.matcher", have.Health.Matcher, want.Health.Matcher)
	}
	c.field("health_check.interval", have.Health.Interval, want.Health.Interval)
	c.field("health_check.timeout", have.Health.Timeout, want.Health.Timeout)
	c.field("health_check.healthy", have.Health.Healthy, want.Health.Healthy)
	c.field("health_check.unhealthy", have.Health.Unhealthy, want.Health.Unhealthy)
	c.field("deregistration_delay", have.Deregistration, want.Deregistration)
	if want.Protocol == "HTTP" {
		c.field("slow_start", have.SlowStart, want.SlowStart)
		c.field("sticky", have.Sticky, want.Sticky)
	}
	c.tags(have.Tags, want.Tags)
	return c
}

func ruleChange(d desired, o observed) (Change, error) {
	c := Change{Resource: resRule, Name: d.rule.Conditions.Canonical()}
	have := o.rule(d.rule.Listener)
	priority, err := allocate(o.live, *d.rule, have)
	if err != nil {
		return c, err
	}
	if have == nil {
		c.Action = Create
		c.Fields = []Field{{Path: "priority", To: itoa(priority)}}
		return c, nil
	}
	c.field("conditions", have.Conditions.Canonical(), d.rule.Conditions.Canonical())
	c.field("priority", have.Priority, priority)
	if d.pair(*have) {
		// ECS moves the traffic between them.
	} else if d.targetGroup.ARN != "" && d.alternate == nil {
		c.field("target_group", have.TargetGroup, d.targetGroup.ARN)
	} else {
		c.field("target_group", have.TargetGroup, d.targetGroup.Name)
	}
	c.tags(have.Tags, d.rule.Tags)
	return c, nil
}

// allocate is the rule's priority among the live rules.
func allocate(live []Rule, want Rule, have *Rule) (int, error) {
	existing := make([]listener.Rule, len(live))
	for i, r := range live {
		existing[i] = listener.Rule{Priority: r.Priority, Owner: r.Owner, ARN: r.ARN, Conditions: r.Conditions}
	}
	w := listener.Rule{Owner: want.Owner, Conditions: want.Conditions}
	if have != nil {
		w.ARN = have.ARN
	}
	priority, err := listener.Allocate(existing, w)
	if err != nil {
		return 0, &RefusedError{Reason: "no place for the listener rule: " + err.Error()}
	}
	return priority, nil
}

// definitionFields names what differs of two task definitions, containers by their names: every field
// that is content.
func definitionFields(have, want TaskDefinition) []Field {
	var c Change
	hv, wv := reflect.ValueOf(have), reflect.ValueOf(want)
	for i := range wv.NumField() {
		f := wv.Type().Field(i)
		if f.Tag.Get("json") == "-" || f.Name == "Containers" || f.Name == "Family" {
			continue
		}
		c.field(fieldName(f.Name), hv.Field(i).Interface(), wv.Field(i).Interface())
	}
	byName := func(in []service.Container, name string) int {
		return slices.IndexFunc(in, func(x service.Container) bool { return x.Name == name })
	}
	for i, w := range want.Containers {
		path := "containers." + w.Name
		h := byName(have.Containers, w.Name)
		if h < 0 {
			c.field(path, "", "added")
			continue
		}
		hv, wv := reflect.ValueOf(have.Containers[h]), reflect.ValueOf(want.Containers[i])
		for f := range wv.NumField() {
			c.field(path+"."+fieldName(wv.Type().Field(f).Name), hv.Field(f).Interface(), wv.Field(f).Interface())
		}
	}
	for _, h := range have.Containers {
		if byName(want.Containers, h.Name) < 0 {
			c.field("containers."+h.Name, "there", "")
		}
	}
	return c.Fields
}

// fieldName writes a field's name as plans have it: ReadOnlyRoot is read_only_root.
func fieldName(name string) string {
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 && unicode.IsLower(rune(name[i-1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// serviceChange says what differs of the service and whether ECS has to replace its tasks for it.
func serviceChange(d desired, o observed, newGroup bool) (Change, bool, error) {
	want, have := d.service, o.service
	c := Change{Resource: resService, Name: d.ref.Service}
	if have == nil {
		c.Action = Create
		return c, true, nil
	}
	if have.Daemon != want.Daemon {
		return c, false, refuse("service %s cannot change between daemon and replica: delete it first", d.ref.Service)
	}
	if len(want.CapacityProvider) == 0 && len(have.CapacityProvider) == 0 && have.LaunchType != want.LaunchType && have.LaunchType != "" {
		return c, false, refuse("service %s cannot change its launch type from %s to %s in place: use capacity providers, or delete it first",
			d.ref.Service, have.LaunchType, want.LaunchType)
	}
	// Changes of these replace tasks.
	// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html
	switch {
	case o.reusable == nil:
		c.field("task_definition", revisionName(have.TaskDefinition), "new revision")
	default:
		c.field("task_definition", revisionName(have.TaskDefinition), revisionName(o.reusable.ARN))
	}
	c.field("capacity_providers", have.CapacityProvider, want.CapacityProvider)
	c.field("subnets", have.Subnets, want.Subnets)
	c.field("security_groups", have.SecurityGroups, want.SecurityGroups)
	c.field("assign_public_ip", have.AssignPublicIP, want.AssignPublicIP)
	c.field("exec", have.Exec, want.Exec)
	c.field("load_balancers", balancerNames(have.LoadBalancers, "", ""), balancerNames(want.LoadBalancers, groupOf(d.targetGroup, newGroup), groupOf(d.alternate, false)))
	c.field("volumes", have.Volumes, want.Volumes)
	discoveryFields(&c, d, o)
	rollout := len(c.Fields) > 0
	// Of these not.
	if want.Desired >= 0 && d.scaling == nil {
		c.field("count", have.Desired, want.Desired)
	}
	c.field("minimum_healthy", have.MinimumHealthy, want.MinimumHealthy)
	c.field("maximum", have.Maximum, want.Maximum)
	c.field("strategy", cmp.Or(have.Strategy, "ROLLING"), want.Strategy)
	if want.Strategy != "ROLLING" {
		c.field("bake_time", have.BakeTime, want.BakeTime)
		c.field("step_percent", have.StepPercent, want.StepPercent)
		c.field("step_bake", have.StepBake, want.StepBake)
	}
	c.field("circuit_breaker", have.CircuitBreaker, want.CircuitBreaker)
	c.field("rollback", have.Rollback, want.Rollback)
	c.field("rollback_on_alarms", have.RollbackOnAlarms, want.RollbackOnAlarms)
	if len(want.LoadBalancers) > 0 {
		c.field("grace_period", have.GracePeriod, want.GracePeriod)
	}
	c.field("placement.strategies", have.Placement.Strategies, want.Placement.Strategies)
	c.field("placement.constraints", have.Placement.Constraints, want.Placement.Constraints)
	c.tags(have.Tags, want.Tags)
	if !rollout && broken(*have) {
		// What runs is not what was asked for, although it reads so: roll it out again.
		c.Fields = append(c.Fields, Field{Path: "deployment", From: "FAILED", To: "new"})
		rollout = true
	}
	return c, rollout, nil
}

// broken says that the service's present deployment has failed and nothing was rolled back.
func broken(s Service) bool {
	for _, r := range s.Rollouts {
		if r.Status == "PRIMARY" {
			return r.State == "FAILED"
		}
	}
	return false
}

func groupOf(tg *TargetGroup, unknown bool) string {
	switch {
	case tg == nil:
		return ""
	case unknown || tg.ARN == "":
		return "new"
	}
	return tg.ARN
}

func balancerNames(lbs []LoadBalancer, group, alternate string) []string {
	var out []string
	for _, lb := range lbs {
		name := cmp.Or(lb.TargetGroup, group) + " " + lb.Container + ":" + itoa(lb.Port)
		if other := cmp.Or(lb.Alternate, alternate); other != "" {
			name += " or " + other
		}
		out = append(out, name)
	}
	return out
}

func scalingChange(d desired, o observed) Change {
	c := Change{Resource: resScaling, Name: d.ref.Service}
	switch {
	case d.scaling == nil:
		c.Action = Delete
	case o.scaling == nil:
		c.Action = Create
	default:
		c.field("min", o.scaling.Min, d.scaling.Min)
		c.field("max", o.scaling.Max, d.scaling.Max)
		c.field("targets", sortedTargets(o.scaling.Targets), sortedTargets(d.scaling.Targets))
		c.field("schedules", sortedSchedules(o.scaling.Schedules), sortedSchedules(d.scaling.Schedules))
	}
	return c
}

func sortedTargets(in []service.ScalingTarget) []service.ScalingTarget {
	out := slices.Clone(in)
	slices.SortFunc(out, func(a, b service.ScalingTarget) int { return strings.Compare(a.Metric+a.Queue, b.Metric+b.Queue) })
	return out
}

func sortedSchedules(in []service.ScalingSchedule) []service.ScalingSchedule {
	out := slices.Clone(in)
	slices.SortFunc(out, func(a, b service.ScalingSchedule) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// revisionName is family:revision of a task definition's ARN.
func revisionName(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }
