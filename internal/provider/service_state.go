package provider

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/service"
)

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
	spec := keep(o.Spec, before)
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
	return tftypes.NewValue(object, fields), nil
}

// keep takes from before what AWS does not know, and what others own: the desired count under
// scaling, and the names that make up the resource's identity.
func keep(seen, before service.Spec) service.Spec {
	seen.Name, seen.Environment, seen.Cluster = before.Name, before.Environment, before.Cluster
	seen.Team = before.Team
	if before.Scaling != nil && seen.Scaling != nil {
		seen.Count = before.Count
	}
	seen.Deployment.Timeout = before.Deployment.Timeout
	seen.Deployment.Before, seen.Deployment.After = before.Deployment.Before, before.Deployment.After
	seen.Deployment.Smoke = before.Deployment.Smoke
	if seen.Route != nil && before.Route != nil {
		route := *seen.Route
		route.Listener = before.Route.Listener
		seen.Route = &route
	}
	if len(seen.Alarms) == 0 {
		seen.Alarms = before.Alarms
	}
	return seen
}

// failure is what a person reads when a deployment has failed: the cause first, then what was seen.
func failure(err error) (summary, detail string) {
	var f *deploy.Failure
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
