package provider

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/slipway-ecs/slipway/internal/clusterinfra"
)

var (
	_ resource.ResourceWithConfigure   = (*clusterResource)(nil)
	_ resource.ResourceWithModifyPlan  = (*clusterResource)(nil)
	_ resource.ResourceWithImportState = (*clusterResource)(nil)
)

// clusterResource is slipway_cluster: an ECS cluster with instances and a load balancer.
type clusterResource struct{ backend *Backend }

func (r *clusterResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_cluster"
}

func (r *clusterResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	attrs := clusterTable.attributes(clusterType, "")
	attrs["timeouts"] = timeouts.Attributes(ctx, timeouts.Opts{Create: true, Update: true, Delete: true})
	attrs["id"] = computed("Name of the cluster.", true)
	attrs["arn"] = computed("ARN of the ECS cluster.", true)
	attrs["vpc"] = computed("The VPC that is used.", true)
	attrs["balancer_arn"] = computed("ARN of the load balancer; empty without one.", false)
	attrs["balancer_dns_name"] = computed("DNS name of the load balancer.", false)
	attrs["balancer_zone_id"] = computed("Hosted zone of that name, for alias records.", false)
	attrs["autoscaling_group"] = computed("Name of the Auto Scaling group of `instances`; empty without them.", false)
	attrs["capacity_provider"] = computed("Name of its capacity provider; empty without one.", false)
	attrs["autoscaling_groups"] = schema.MapAttribute{Computed: true, ElementType: types.StringType, MarkdownDescription: "Group of `groups` → name of its Auto Scaling group."}
	attrs["capacity_providers"] = schema.MapAttribute{Computed: true, ElementType: types.StringType, MarkdownDescription: "Group of `groups` → name of its capacity provider, where it has one."}
	attrs["alarm_topic_arn"] = computed("ARN of the topic for alarms; empty without one.", false)
	attrs["listener_arns"] = schema.MapAttribute{Computed: true, ElementType: types.StringType, MarkdownDescription: "Listener → ARN."}
	attrs["urls"] = schema.MapAttribute{Computed: true, ElementType: types.StringType, MarkdownDescription: "Listener → address."}
	resp.Schema = schema.Schema{
		MarkdownDescription: "What services stand on: an ECS cluster with groups of container instances in several zones and a load balancer with named listeners. " +
			"Creating waits until the instances have registered. Ids of things that exist already can be given; those are used and never changed.",
		Attributes: attrs,
	}
}

func (r *clusterResource) Configure(_ context.Context, req resource.ConfigureRequest, resp *resource.ConfigureResponse) {
	configured(req.ProviderData, &r.backend, &resp.Diagnostics)
}

// ModifyPlan keeps what a change does not touch known, so that services that refer to it are not
// planned anew.
func (r *clusterResource) ModifyPlan(_ context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() || req.State.Raw.IsNull() {
		return
	}
	plan, state, err := fieldsOf(req.Plan.Raw, req.State.Raw)
	if err != nil {
		resp.Diagnostics.AddError("The plan cannot be read", err.Error())
		return
	}
	same := func(name string) bool { return plan[name].Equal(state[name]) }
	groups := map[string][]string{
		"balancer":  {"balancer_arn", "balancer_dns_name", "balancer_zone_id", "listener_arns", "urls"},
		"instances": {"autoscaling_group", "capacity_provider"},
		"groups":    {"autoscaling_groups", "capacity_providers"},

		"alarm_topic": {"alarm_topic_arn"},
	}
	for on, names := range groups {
		for _, name := range names {
			switch {
			case same(on) && same("name") && same("vpc_id"):
				plan[name] = state[name]
			default:
				plan[name] = tftypes.NewValue(plan[name].Type(), tftypes.UnknownValue)
			}
		}
	}
	resp.Plan.Raw = tftypes.NewValue(req.Plan.Raw.Type(), plan)
}

func (r *clusterResource) apply(ctx context.Context, plan tftypes.Value) (tftypes.Value, error) {
	var fields map[string]tftypes.Value
	if err := plan.As(&fields); err != nil {
		return tftypes.Value{}, err
	}
	var want clusterinfra.Spec
	if err := clusterTable.decode(plan, reflect.ValueOf(&want).Elem(), ""); err != nil {
		return tftypes.Value{}, err
	}
	got, err := r.backend.Clusters.Apply(ctx, want, progress(ctx, func(e clusterinfra.Event) string { return e.Message }))
	if err != nil {
		return tftypes.Value{}, err
	}
	state := maps.Clone(fields)
	for name, v := range clusterKnown(want, got) {
		state[name] = v
	}
	return tftypes.NewValue(plan.Type(), state), nil
}

func (r *clusterResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var t timeouts.Value
	resp.Diagnostics.Append(req.Plan.GetAttribute(ctx, path.Root("timeouts"), &t)...)
	wait, diags := t.Create(ctx, 20*time.Minute)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	state, err := r.apply(ctx, req.Plan.Raw)
	if err != nil {
		// Nothing goes into the state: the next apply finds by their tags the parts that were made and
		// goes on, where a tainted cluster would first be deleted.
		resp.Diagnostics.AddError("The cluster is not complete", err.Error()+"\n\nApply again to go on where it stopped.")
		return
	}
	resp.State.Raw = state
}

func (r *clusterResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var t timeouts.Value
	resp.Diagnostics.Append(req.Plan.GetAttribute(ctx, path.Root("timeouts"), &t)...)
	wait, diags := t.Update(ctx, 20*time.Minute)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	state, err := r.apply(ctx, req.Plan.Raw)
	if err != nil {
		resp.Diagnostics.AddError("The cluster is not changed", err.Error()+"\n\nApply again to go on where it stopped.")
		return
	}
	resp.State.Raw = state
}

func (r *clusterResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var before clusterinfra.Spec
	if err := clusterTable.decode(req.State.Raw, reflect.ValueOf(&before).Elem(), ""); err != nil {
		resp.Diagnostics.AddError("The state cannot be read", err.Error())
		return
	}
	got, err := r.backend.Clusters.Read(ctx, before.Name)
	switch {
	case errors.Is(err, clusterinfra.ErrNotFound):
		resp.State.RemoveResource(ctx)
		return
	case err != nil:
		resp.Diagnostics.AddError("The cluster cannot be read", err.Error())
		return
	}
	raw, err := clusterState(req.State, before, got)
	if err != nil {
		resp.Diagnostics.AddError("The cluster cannot be read", err.Error())
		return
	}
	resp.State.Raw = raw
}

func (r *clusterResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var t timeouts.Value
	resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root("timeouts"), &t)...)
	wait, diags := t.Delete(ctx, 20*time.Minute)
	resp.Diagnostics.Append(diags...)
	var name string
	resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root("name"), &name)...)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	err := r.backend.Clusters.Delete(ctx, name, progress(ctx, func(e clusterinfra.Event) string { return e.Message }))
	if err != nil && !errors.Is(err, clusterinfra.ErrNotFound) {
		resp.Diagnostics.AddError("The cluster is not deleted", err.Error()+"\n\nApply again to go on where it stopped.")
	}
}

// ImportState takes the cluster's name.
func (r *clusterResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("name"), req.ID)...)
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("id"), req.ID)...)
}

// clusterKnown are the attributes an apply or a read finds out.
func clusterKnown(want clusterinfra.Spec, s clusterinfra.State) map[string]tftypes.Value {
	str := func(v string) tftypes.Value { return tftypes.NewValue(tftypes.String, v) }
	texts := tftypes.Map{ElementType: tftypes.String}
	listeners, urls := map[string]tftypes.Value{}, map[string]tftypes.Value{}
	for name, l := range s.Listeners {
		listeners[name] = str(l.ARN)
	}
	for name, u := range s.URLs {
		urls[name] = str(u)
	}
	topic := ""
	switch {
	case want.AlarmTopic != nil && want.AlarmTopic.ARN != "":
		topic = want.AlarmTopic.ARN
	case s.AlarmTopic != nil:
		topic = s.AlarmTopic.ARN
	}
	groups, providers := map[string]tftypes.Value{}, map[string]tftypes.Value{}
	for name, g := range s.Groups {
		if groups[name] = str(g.AutoScalingGroup); g.Provider != "" {
			providers[name] = str(g.Provider)
		}
	}
	var main clusterinfra.GroupState
	if s.Main != nil {
		main = *s.Main
	}
	return map[string]tftypes.Value{
		"id": str(s.Name), "arn": str(s.ARN), "vpc": str(s.VPC), "balancer_arn": str(s.BalancerARN), "balancer_dns_name": str(s.BalancerDNS),
		"balancer_zone_id": str(s.BalancerZone), "autoscaling_group": str(main.AutoScalingGroup), "capacity_provider": str(main.Provider),
		"alarm_topic_arn":    str(topic),
		"autoscaling_groups": tftypes.NewValue(texts, groups), "capacity_providers": tftypes.NewValue(texts, providers),
		"listener_arns": tftypes.NewValue(texts, listeners), "urls": tftypes.NewValue(texts, urls),
	}
}

// clusterState is the state as AWS has it; what AWS does not keep is as it was.
func clusterState(prior tfsdk.State, before clusterinfra.Spec, got clusterinfra.State) (tftypes.Value, error) {
	var fields map[string]tftypes.Value
	if err := prior.Raw.As(&fields); err != nil {
		return tftypes.Value{}, err
	}
	seen := clusterSpec(before, got)
	var attrs map[string]tftypes.Value
	if err := clusterTable.encode(reflect.ValueOf(seen), prior.Raw.Type(), prior.Raw, "").As(&attrs); err != nil {
		return tftypes.Value{}, err
	}
	for name := range fields {
		if clusterTable(name).Description != "" {
			fields[name] = attrs[name]
		}
	}
	for name, v := range clusterKnown(seen, got) {
		fields[name] = v
	}
	return tftypes.NewValue(prior.Raw.Type(), fields), nil
}

// clusterSpec is what was asked for, as far as it is so. What AWS does not tell, and what belongs to
// others, is as it was asked for.
func clusterSpec(before clusterinfra.Spec, got clusterinfra.State) clusterinfra.Spec {
	seen := before
	seen.VPC, seen.Subnets, seen.BalancerSubnets, seen.Tags = got.VPC, got.Subnets, got.BalancerSubnets, got.Tags
	seen.ContainerInsights = cmp.Or(got.Insights, "disabled")
	seen.Zones = cmp.Or(before.Zones, 3)
	seen.LogGroup, seen.LogRetention = cmp.Or(before.LogGroup, got.LogGroup), cmp.Or(got.LogRetention, before.LogRetention, 30)
	seen.AlarmTopic = topicSeen(before.AlarmTopic, got.AlarmTopic)
	seen.Instances, seen.Groups = nil, nil
	if got.Main != nil {
		i := instancesSeen(before.Instances, got.Main.Instances)
		seen.Instances = &i
	}
	for name, g := range got.Groups {
		var was *clusterinfra.Instances
		if b, ok := before.Groups[name]; ok {
			was = &b
		}
		if seen.Groups == nil {
			seen.Groups = map[string]clusterinfra.Instances{}
		}
		seen.Groups[name] = instancesSeen(was, g.Instances)
	}
	if got.BalancerARN == "" {
		seen.Balancer = nil
		return seen
	}
	b := clusterinfra.Balancer{IdleTimeout: time.Minute}
	if before.Balancer != nil {
		b = *before.Balancer
	}
	if made := got.Balancer; made != nil && made.ARN == "" {
		b.ARN, b.Internal, b.IdleTimeout, b.SecurityGroups = "", made.Internal, cmp.Or(made.IdleTimeout, time.Minute), made.SecurityGroups
		if was := slices.Sorted(slices.Values(b.Ingress)); !slices.Equal(was, made.Ingress) && !(len(was) == 0 && slices.Equal(made.Ingress, []string{"0.0.0.0/0"})) {
			b.Ingress = made.Ingress
		}
	} else if made != nil {
		b.ARN = made.ARN
	}
	b.Listeners = map[string]clusterinfra.Listener{}
	for name, l := range got.Listeners {
		l.Protocol = cmp.Or(l.Protocol, "HTTP")
		b.Listeners[name] = l
	}
	seen.Balancer = &b
	return seen
}

// topicSeen is the alarm topic as it was asked for, as far as it is so. One that is given is not looked at.
func topicSeen(before *clusterinfra.AlarmTopic, got *clusterinfra.Topic) *clusterinfra.AlarmTopic {
	if before != nil && before.ARN != "" {
		return before
	}
	if got == nil {
		return nil
	}
	var was clusterinfra.AlarmTopic
	if before != nil {
		was = *before
	}
	itself := func(s string) string { return s }
	return &clusterinfra.AlarmTopic{Emails: inOrderOf(got.Emails, was.Emails, itself), URLs: inOrderOf(got.URLs, was.URLs, itself)}
}

// instancesSeen is a group as it was asked for, as far as it is so.
func instancesSeen(before *clusterinfra.Instances, i clusterinfra.Instances) clusterinfra.Instances {
	i.RootGiB, i.IngressPorts = cmp.Or(i.RootGiB, 30), cmp.Or(i.IngressPorts, "32768-65535")
	i.TargetCapacity = cmp.Or(i.TargetCapacity, 100)
	if before == nil {
		return i
	}
	// The group's size belongs to whoever scales it; a newer AMI is a rotation of its own.
	i.Desired = before.Desired
	if strings.TrimSpace(before.UserData) == i.UserData {
		i.UserData = before.UserData
	}
	if before.AMI == "" {
		i.AMI = ""
	}
	if !i.CapacityProvider {
		i.TargetCapacity = cmp.Or(before.TargetCapacity, 100)
	}
	return i
}
