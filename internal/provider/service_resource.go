package provider

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/service"
	"github.com/slipway-ecs/slipway/internal/service/attribute"
)

var (
	_ resource.ResourceWithConfigure   = (*serviceResource)(nil)
	_ resource.ResourceWithModifyPlan  = (*serviceResource)(nil)
	_ resource.ResourceWithImportState = (*serviceResource)(nil)
)

// serviceResource is slipway_service: one service in one environment.
type serviceResource struct{ backend *Backend }

var specTable = table(attribute.Of)

// outputs are the attributes that an apply finds out.
var outputs = []string{"id", "arn", "service_name", "task_definition_arn", "target_group_arn", "log_group", "url", "revision"}

// quiet are the attributes whose change replaces no task: the task definition stays as it is.
var quiet = []string{"desired_count", "release", "timeouts", "tags"}

func (r *serviceResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_service"
}

func (r *serviceResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	attrs := specTable.attributes(attribute.Spec, "")
	attrs["image"] = schema.StringAttribute{Required: true,
		MarkdownDescription: "Image of the main container, by digest: `repository@sha256:…`. Tags move, so they are not taken; the data source `slipway_image` turns one into a digest.",
		Validators: []validator.String{stringvalidator.RegexMatches(regexp.MustCompile(`^[^@\s]+@sha256:[0-9a-f]{64}$`),
			"must end in @sha256: and 64 hex digits; the data source slipway_image turns a tag into a digest")}}
	attrs["release"] = schema.StringAttribute{Optional: true, MarkdownDescription: "A label for people: commit or version. A new label alone replaces no task."}
	attrs["vpc_id"] = schema.StringAttribute{Optional: true, MarkdownDescription: "VPC of the target group. Default: the cluster's, where slipway_cluster made it."}
	attrs["execution_role_arn"] = schema.StringAttribute{Optional: true, MarkdownDescription: "An existing execution role. Default: one of the service's own, with what its image, secrets and logs need."}
	attrs["keep_logs"] = schema.BoolAttribute{Optional: true, MarkdownDescription: "Whether the log group stays when the service is deleted."}
	attrs["timeouts"] = timeouts.Attributes(ctx, timeouts.Opts{Create: true, Update: true, Delete: true})
	attrs["id"] = computed("cluster/name/environment.", true)
	attrs["arn"] = computed("ARN of the ECS service.", true)
	attrs["service_name"] = computed("Name of the ECS service.", true)
	attrs["target_group_arn"] = computed("ARN of the target group; empty without a route.", false)
	attrs["log_group"] = computed("CloudWatch log group of the containers.", false)
	attrs["url"] = computed("Address of the listener; empty without a route.", false)
	attrs["task_definition_arn"] = computed("ARN of the task definition that serves, with its revision.", false)
	attrs["revision"] = computed("ARN of the service revision that serves.", false)
	resp.Schema = schema.Schema{
		MarkdownDescription: "A service on ECS with what belongs to it: task definition, target group, listener rule, roles, log group, scaling. " +
			"Creating and updating wait for the deployment's end. One that fails fails the apply, with the cause, " +
			"and what ran before goes on running.",
		Attributes: attrs,
	}
}

func (r *serviceResource) Configure(_ context.Context, req resource.ConfigureRequest, resp *resource.ConfigureResponse) {
	configured(req.ProviderData, &r.backend, &resp.Diagnostics)
}

// ModifyPlan: Application Auto Scaling owns the desired count once it is set up, and what only
// labels a service leaves its task definition alone.
func (r *serviceResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		return
	}
	for _, p := range problems(req.Plan.Raw) {
		resp.Diagnostics.AddAttributeError(p.at, "The service cannot be deployed as it is written", p.message)
	}
	if req.State.Raw.IsNull() || resp.Diagnostics.HasError() {
		return
	}
	plan, state, err := fieldsOf(req.Plan.Raw, req.State.Raw)
	if err != nil {
		resp.Diagnostics.AddError("The plan cannot be read", err.Error())
		return
	}
	if !plan["scaling"].IsNull() {
		plan["desired_count"] = state["desired_count"]
	}
	differs := func(besides ...[]string) bool {
		for name, v := range plan {
			if !in(name, besides...) && !v.Equal(state[name]) {
				return true
			}
		}
		return false
	}
	switch {
	case !differs(outputs):
		for _, name := range outputs {
			plan[name] = state[name]
		}
	case !differs(outputs, quiet):
		for _, name := range []string{"task_definition_arn", "revision", "target_group_arn", "log_group", "url"} {
			plan[name] = state[name]
		}
	case plan["route"].Equal(state["route"]):
		for _, name := range []string{"target_group_arn", "url"} {
			plan[name] = state[name]
		}
	}
	why, diags := req.Private.GetKey(ctx, unsettledKey)
	resp.Diagnostics.Append(diags...)
	if len(why) > 0 && string(why) != settled {
		// What was asked for reads so, and yet does not run: another apply has something to do.
		plan["revision"] = tftypes.NewValue(tftypes.String, tftypes.UnknownValue)
		resp.Diagnostics.AddWarning("The last deployment did not come to its end", strings.Trim(string(why), `"`))
	}
	resp.Plan.Raw = tftypes.NewValue(req.Plan.Raw.Type(), plan)
}

// unsettledKey is where the state keeps that the last deployment has failed or still goes on, though
// every attribute is as it should be.
const (
	unsettledKey = "unsettled"
	settled      = `""`
)

func (r *serviceResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var t timeouts.Value
	resp.Diagnostics.Append(req.Plan.GetAttribute(ctx, path.Root("timeouts"), &t)...)
	if resp.Diagnostics.HasError() {
		return
	}
	target, fields, err := r.target(ctx, req.Plan.Raw)
	if err != nil {
		resp.Diagnostics.AddError("The service cannot be deployed", err.Error())
		return
	}
	wait, diags := t.Create(ctx, target.Spec.Deployment.Timeout+15*time.Minute)
	resp.Diagnostics.Append(diags...)
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	outcome, err := r.backend.Services.Apply(ctx, target, progress(ctx, func(e deploy.Event) string { return e.Message }))
	if err != nil {
		summary, detail := failure(err)
		if outcome.Service != "" {
			// Parts of it are there: without them in the state, nothing would ever delete
			// them. Terraform marks it as tainted, as it does with whatever failed while being created.
			resp.State.Raw = stateOf(req.Plan.Raw.Type(), fields, target, outcome)
		}
		resp.Diagnostics.AddError(summary, detail)
		return
	}
	resp.State.Raw = stateOf(req.Plan.Raw.Type(), fields, target, r.withRevision(ctx, target, outcome))
}

// withRevision looks up what serves where nothing had to be rolled out.
func (r *serviceResource) withRevision(ctx context.Context, t deploy.Target, o deploy.Outcome) deploy.Outcome {
	if o.Revision == "" && t.Spec.Kind != service.KindJob {
		if seen, err := r.backend.Services.Read(ctx, t.Ref()); err == nil {
			o.Revision = revisionOf(seen)
		}
	}
	return o
}

func (r *serviceResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var t timeouts.Value
	resp.Diagnostics.Append(req.Plan.GetAttribute(ctx, path.Root("timeouts"), &t)...)
	if resp.Diagnostics.HasError() {
		return
	}
	target, fields, err := r.target(ctx, req.Plan.Raw)
	if err != nil {
		resp.Diagnostics.AddError("The service cannot be deployed", err.Error())
		return
	}
	wait, diags := t.Update(ctx, target.Spec.Deployment.Timeout+15*time.Minute)
	resp.Diagnostics.Append(diags...)
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	outcome, err := r.backend.Services.Apply(ctx, target, progress(ctx, func(e deploy.Event) string { return e.Message }))
	if err != nil {
		// The state stays what it was; the next plan reads what AWS has and goes on from there.
		resp.Diagnostics.AddError(failure(err))
		return
	}
	resp.Diagnostics.Append(resp.Private.SetKey(ctx, unsettledKey, []byte(settled))...)
	resp.State.Raw = stateOf(req.Plan.Raw.Type(), fields, target, r.withRevision(ctx, target, outcome))
}

func (r *serviceResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var spec service.Spec
	if err := specTable.decode(req.State.Raw, reflect.ValueOf(&spec).Elem(), ""); err != nil {
		resp.Diagnostics.AddError("The state cannot be read", err.Error())
		return
	}
	if spec.Kind == service.KindJob { // there is no ECS service; its task definition may be gone
		switch _, err := r.backend.Services.Job(ctx, deploy.Target{Spec: spec}.Ref()); {
		case errors.Is(err, deploy.ErrNotFound):
			resp.State.RemoveResource(ctx)
		case err != nil:
			resp.Diagnostics.AddError("The job cannot be read", err.Error())
		}
		return
	}
	observed, err := r.backend.Services.Read(ctx, deploy.Target{Spec: spec}.Ref())
	switch {
	case errors.Is(err, deploy.ErrNotFound):
		resp.State.RemoveResource(ctx)
		return
	case err != nil:
		resp.Diagnostics.AddError("The service cannot be read", err.Error())
		return
	}
	raw, err := observedState(req.State, spec, observed)
	if err != nil {
		resp.Diagnostics.AddError("The service cannot be read", err.Error())
		return
	}
	resp.State.Raw = raw
	resp.Diagnostics.Append(resp.Private.SetKey(ctx, unsettledKey, unsettled(observed))...)
}

func (r *serviceResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var t timeouts.Value
	resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root("timeouts"), &t)...)
	var spec service.Spec
	if err := specTable.decode(req.State.Raw, reflect.ValueOf(&spec).Elem(), ""); err != nil {
		resp.Diagnostics.AddError("The state cannot be read", err.Error())
	}
	wait, diags := t.Delete(ctx, 15*time.Minute)
	resp.Diagnostics.Append(diags...)
	var keepLogs *bool
	resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root("keep_logs"), &keepLogs)...)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	o := deploy.DeleteOptions{KeepLogs: keepLogs != nil && *keepLogs, Timeout: wait}
	err := r.backend.Services.Delete(ctx, deploy.Target{Spec: spec}.Ref(), o, progress(ctx, func(e deploy.Event) string { return e.Message }))
	if err != nil && !errors.Is(err, deploy.ErrNotFound) {
		resp.Diagnostics.AddError("The service is not deleted", err.Error()+"\n\nApply again to go on where it stopped.")
	}
}

// ImportState takes cluster/name/environment.
func (r *serviceResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	parts := strings.Split(req.ID, "/")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		resp.Diagnostics.AddError("The import id is not right", fmt.Sprintf("%q must be CLUSTER/SERVICE/ENVIRONMENT, such as main/shop/prod.", req.ID))
		return
	}
	for i, name := range []string{"cluster", "name", "environment"} {
		resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root(name), parts[i])...)
	}
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("id"), req.ID)...)
}

// target is what the engine is to bring about.
func (r *serviceResource) target(ctx context.Context, plan tftypes.Value) (deploy.Target, map[string]tftypes.Value, error) {
	var fields map[string]tftypes.Value
	if err := plan.As(&fields); err != nil {
		return deploy.Target{}, nil, err
	}
	t := deploy.Target{}
	if err := specTable.decode(plan, reflect.ValueOf(&t.Spec).Elem(), ""); err != nil {
		return t, nil, err
	}
	t.Image, t.Release = text(fields["image"]), text(fields["release"])
	infra, err := r.infra(ctx, t.Spec, text(fields["vpc_id"]))
	infra.ExecutionRole = text(fields["execution_role_arn"])
	t.Infra = infra
	t.Spec.Containers = withSecretARNs(t.Spec.Containers, infra)
	return t, fields, err
}

// infra is where the service goes: what the resource names, completed by what slipway_cluster made.
func (r *serviceResource) infra(ctx context.Context, spec service.Spec, vpc string) (deploy.Infra, error) {
	id, err := r.backend.World.Identity(ctx)
	if err != nil {
		return deploy.Infra{}, err
	}
	infra := deploy.Infra{Region: r.backend.World.Region(), Account: id.Account, Partition: id.Partition, Cluster: spec.Cluster, VPC: vpc}
	listener := ""
	if spec.Route != nil {
		listener = spec.Route.Listener
	}
	if strings.HasPrefix(listener, "arn:") {
		infra.Listener = listener
	}
	awsvpc := spec.NetworkMode == "awsvpc" && len(spec.Subnets) == 0
	if complete := (listener == "" || infra.Listener != "" && vpc != "") && !awsvpc; complete {
		return infra, nil
	}
	env, err := r.backend.World.Environment(ctx, spec.Cluster)
	if err != nil {
		return infra, fmt.Errorf("looking for cluster %s: %w", spec.Cluster, err)
	}
	if infra.VPC == "" {
		infra.VPC = env.VPC
	}
	infra.Subnets, infra.SecurityGroups = env.Subnets, env.SecurityGroups
	if listener != "" && infra.Listener == "" {
		arn, ok := env.Listeners[listener]
		if !ok {
			return infra, fmt.Errorf("cluster %s has no listener %q; it has %s", spec.Cluster, listener, list(env.Listeners))
		}
		infra.Listener = arn
	}
	return infra, nil
}
