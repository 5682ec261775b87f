package provider

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/service"
)

type problem struct {
	at      path.Path
	message string
}

// problems are the faults of a plan that can be seen before anything is called. A plan that depends
// on what other resources will tell is not judged yet.
func problems(plan tftypes.Value) []problem {
	var fields map[string]tftypes.Value
	if err := plan.As(&fields); err != nil {
		return nil
	}
	for name, v := range fields {
		if specTable(name).Description != "" && !v.IsFullyKnown() {
			return nil
		}
	}
	var spec service.Spec
	if err := specTable.decode(plan, reflect.ValueOf(&spec).Elem(), ""); err != nil {
		return nil
	}
	var out []problem
	for _, p := range spec.Check() {
		root, _, _ := strings.Cut(p.Path, ".")
		switch root, _, _ = strings.Cut(root, "["); root {
		case "container", "sidecars":
			root = "containers"
		case "network":
			root = "network_mode"
		}
		out = append(out, problem{path.Root(root), p.Message})
	}
	return out
}

// stateOf is the plan with what the apply found out.
func stateOf(typ tftypes.Type, plan map[string]tftypes.Value, t deploy.Target, o deploy.Outcome) tftypes.Value {
	state := maps.Clone(plan)
	known := map[string]string{
		"id":                  identity(t.Spec),
		"arn":                 o.ServiceARN,
		"service_name":        deploy.ServiceName(t.Spec),
		"task_definition_arn": o.TaskDefinition,
		"target_group_arn":    o.TargetGroup,
		"log_group":           o.LogGroup,
		"url":                 o.URL,
		"revision":            o.Revision,
	}
	for name, v := range known {
		// What was planned to stay as it is stays: Terraform holds the provider to its word.
		if p := plan[name]; !p.IsKnown() || p.IsNull() {
			state[name] = tftypes.NewValue(tftypes.String, v)
		}
	}
	return tftypes.NewValue(typ, state)
}

func identity(spec service.Spec) string {
	return spec.Cluster + "/" + spec.Name + "/" + spec.Environment
}

// observedState is the state as AWS has it; what AWS does not keep is as it was.
func observedState(prior tfsdk.State, before service.Spec, o deploy.Observed) (tftypes.Value, error) {
	var fields map[string]tftypes.Value
	if err := prior.Raw.As(&fields); err != nil {
		return tftypes.Value{}, err
	}
	spec := keep(o, before)
	object, ok := prior.Raw.Type().(tftypes.Object)
	if !ok {
		return tftypes.Value{}, fmt.Errorf("the state is a %s", prior.Raw.Type())
	}
	var seen map[string]tftypes.Value
	if err := specTable.encode(reflect.ValueOf(spec), object, prior.Raw, "").As(&seen); err != nil {
		return tftypes.Value{}, err
	}
	for name := range object.AttributeTypes {
		if specTable(name).Description != "" {
			fields[name] = seen[name]
		}
	}
	put := func(name, v string) {
		if v != "" || !fields[name].IsNull() {
			fields[name] = tftypes.NewValue(tftypes.String, v)
		}
	}
	put("image", o.Image)
	put("id", identity(spec))
	put("arn", o.Service.ARN)
	put("service_name", o.Ref.Service)
	put("task_definition_arn", o.Service.TaskDefinition)
	if o.TargetGroup != nil {
		put("target_group_arn", o.TargetGroup.ARN)
	}
	if o.LogGroup != nil {
		put("log_group", o.LogGroup.Name)
	}
	if o.Listener != nil {
		put("url", o.Listener.URL())
	}
	if revision := revisionOf(o); revision != "" {
		put("revision", revision)
	}
	return tftypes.NewValue(object, fields), nil
}

// revisionOf is the service revision that serves, as far as the last deployment says.
func revisionOf(o deploy.Observed) string {
	switch {
	case o.Last == nil:
	case o.Last.Status == "SUCCESSFUL":
		return o.Last.Target
	case o.Last.Status == "ROLLBACK_SUCCESSFUL":
		return o.Last.RollbackTo
	}
	return ""
}

// unsettled says, as JSON text, why another apply has something to do although every attribute is as
// it should be; an empty text if it has not.
func unsettled(o deploy.Observed) []byte {
	for _, r := range o.Service.Rollouts {
		switch {
		case r.Status != "PRIMARY":
		case r.State == "FAILED":
			return []byte(`"It failed and was not rolled back. Applying rolls it out again."`)
		case r.State == "IN_PROGRESS":
			return []byte(`"It is still going on in AWS. Applying follows it to its end."`)
		}
	}
	return []byte(settled)
}

// keep takes from before what AWS does not know or says otherwise, and what others own.
func keep(o deploy.Observed, before service.Spec) service.Spec {
	seen := o.Spec
	seen.Name, seen.Environment, seen.Cluster = before.Name, before.Environment, before.Cluster
	if seen.Kind == service.KindService && before.Kind == service.KindWorker {
		seen.Kind = before.Kind // ECS knows replicas and daemons only
	}
	if before.Kind == service.KindDaemon || before.Scaling != nil && seen.Scaling != nil {
		seen.Count = before.Count // the instances, or Application Auto Scaling, decide
	}
	if _, asked := before.Tags["team"]; asked || seen.Team == "" {
		seen.Team = before.Team // the tag is what tags say
	}
	seen.Containers = keepContainers(seen.Containers, before.Containers)
	if seen.Scaling != nil && before.Scaling != nil {
		scaling := *seen.Scaling
		scaling.Targets = inOrderOf(scaling.Targets, before.Scaling.Targets, func(t service.ScalingTarget) string { return t.Metric + t.Queue })
		scaling.Schedules = inOrderOf(scaling.Schedules, before.Scaling.Schedules, func(s service.ScalingSchedule) string { return s.Name })
		seen.Scaling = &scaling
	}
	if seen.Route != nil && before.Route != nil {
		route := *seen.Route
		route.Listener = before.Route.Listener // its name; the rule knows the ARN
		if asked := before.Route; len(asked.Hosts)+len(asked.Paths)+len(asked.Headers)+len(asked.Methods) == 0 && slices.Equal(route.Paths, []string{"/*"}) {
			route.Paths = nil
		}
		seen.Route = &route
	}
	seen.Deployment.Timeout = before.Deployment.Timeout
	if seen.Deployment.Timeout == 0 { // imported: AWS does not keep it
		seen.Deployment.Timeout = 15 * time.Minute
	}
	seen.Deployment.Before, seen.Deployment.After = before.Deployment.Before, before.Deployment.After
	seen.Deployment.Smoke = before.Deployment.Smoke
	seen.Discovery, seen.Schedule = before.Discovery, before.Schedule
	seen.Alarms = inOrderOf(seen.Alarms, before.Alarms, func(a service.Alarm) string { return a.Name })

	tags := maps.Clone(seen.Tags)
	for _, k := range []string{"service", "team", "environment"} { // every service has them; drift only if asked for
		if _, asked := before.Tags[k]; asked && o.Service.Tags[k] != "" {
			if tags == nil {
				tags = map[string]string{}
			}
			tags[k] = o.Service.Tags[k]
		}
	}
	seen.Tags = tags
	return seen
}

// keepContainers: the main container's image is the resource's, and secrets are written as they were.
func keepContainers(seen, before []service.Container) []service.Container {
	out := slices.Clone(seen)
	for i := range out {
		if i == 0 {
			out[i].Image = ""
		}
		j := slices.IndexFunc(before, func(c service.Container) bool { return c.Name == out[i].Name })
		if j < 0 {
			continue
		}
		out[i].Secrets = maps.Clone(out[i].Secrets)
		for variable, from := range out[i].Secrets {
			if name, ok := strings.CutPrefix(before[j].Secrets[variable], "secretsmanager:"); ok && strings.HasSuffix(from, ":secret:"+name) {
				out[i].Secrets[variable] = before[j].Secrets[variable]
			}
			if name, ok := strings.CutPrefix(before[j].Secrets[variable], "ssm:"); ok && from == name {
				out[i].Secrets[variable] = before[j].Secrets[variable]
			}
		}
	}
	return out
}

// withSecretARNs writes secrets as ECS takes them: a parameter by its name, a secret by its ARN.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/specifying-sensitive-data.html
func withSecretARNs(containers []service.Container, infra deploy.Infra) []service.Container {
	out := slices.Clone(containers)
	for i := range out {
		out[i].Secrets = maps.Clone(out[i].Secrets)
		for variable, from := range out[i].Secrets {
			if name, ok := strings.CutPrefix(from, "secretsmanager:"); ok {
				out[i].Secrets[variable] = fmt.Sprintf("arn:%s:secretsmanager:%s:%s:secret:%s", partition(infra), infra.Region, infra.Account, name)
			}
			if name, ok := strings.CutPrefix(from, "ssm:"); ok {
				out[i].Secrets[variable] = name
			}
		}
	}
	return out
}

func partition(infra deploy.Infra) string {
	if infra.Partition == "" {
		return "aws"
	}
	return infra.Partition
}

// inOrderOf sorts entries as before had them; AWS returns them in any order.
func inOrderOf[T any](entries, before []T, key func(T) string) []T {
	place := func(e T) int {
		if i := slices.IndexFunc(before, func(b T) bool { return key(b) == key(e) }); i >= 0 {
			return i
		}
		return len(before)
	}
	out := slices.Clone(entries)
	slices.SortStableFunc(out, func(a, b T) int { return place(a) - place(b) })
	return out
}

// failure is what a person reads when a deployment has failed: the cause first, then what was seen.
func failure(err error) (summary, detail string) {
	var f *deploy.Failure
	if ended := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded); ended && !errors.As(err, &f) {
		return "Nobody waits for the deployment any more", err.Error() + "\n\nAWS goes on with what it was told. Apply again to follow it to its end."
	}
	if !errors.As(err, &f) {
		return "The service is not deployed", err.Error() + "\n\nApply again to go on where it stopped."
	}
	summary = strings.TrimRight(f.Diagnosis.Sentence, ".")
	if summary == "" {
		summary = "The deployment failed"
	}
	var b strings.Builder
	switch {
	case f.StillGoing:
		fmt.Fprintf(&b, "The deployment of %s is still going on in AWS; apply again to follow it.\n", f.Outcome.Service)
	case f.RolledBack:
		fmt.Fprintf(&b, "The deployment of %s failed (%s); what ran before runs again.\n", f.Outcome.Service, f.Status)
	default:
		fmt.Fprintf(&b, "The deployment of %s failed (%s) and was not rolled back.\n", f.Outcome.Service, f.Status)
	}
	if f.Diagnosis.Fix != "" {
		fmt.Fprintf(&b, "What to do: %s\n", f.Diagnosis.Fix)
	}
	if len(f.Diagnosis.Groups) > 0 {
		b.WriteString("\nStopped tasks:\n")
		for _, g := range f.Diagnosis.Groups {
			fmt.Fprintf(&b, "  %d × %s", g.Count, g.Reason)
			if g.Example != "" {
				fmt.Fprintf(&b, " (such as task %s)", g.Example)
			}
			b.WriteByte('\n')
		}
	}
	section := func(title string, lines []string) {
		if len(lines) == 0 {
			return
		}
		b.WriteString("\n" + title + ":\n")
		for _, l := range lines {
			b.WriteString("  " + l + "\n")
		}
	}
	section("Targets that are not healthy", f.Diagnosis.Targets)
	section("Last log lines of a failed task", f.Diagnosis.Logs)
	section("Service events", f.Diagnosis.Events)
	return summary, strings.TrimRight(b.String(), "\n")
}

func fieldsOf(plan, state tftypes.Value) (p, s map[string]tftypes.Value, err error) {
	if err := plan.As(&p); err != nil {
		return nil, nil, err
	}
	if err := state.As(&s); err != nil {
		return nil, nil, err
	}
	return p, s, nil
}

func in(name string, lists ...[]string) bool {
	return slices.ContainsFunc(lists, func(l []string) bool { return slices.Contains(l, name) })
}

// text is a string attribute; null and unknown are empty.
func text(v tftypes.Value) string {
	var s *string
	if v.Type() == nil || !v.IsKnown() || v.As(&s) != nil || s == nil {
		return ""
	}
	return *s
}

func list[V any](m map[string]V) string {
	if len(m) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(m)), ", ")
}
