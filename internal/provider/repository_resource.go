package provider

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/slipway-ecs/slipway/internal/clusterinfra"
)

var (
	_ resource.ResourceWithConfigure   = (*repositoryResource)(nil)
	_ resource.ResourceWithImportState = (*repositoryResource)(nil)
)

// repositoryResource is slipway_repository: an image repository.
type repositoryResource struct{ backend *Backend }

func (r *repositoryResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_repository"
}

func (r *repositoryResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	attrs := repositoryTable.attributes(repositoryType, "")
	attrs["force_delete"] = schema.BoolAttribute{Optional: true, Computed: true, Default: booldefault.StaticBool(false),
		MarkdownDescription: "Whether the repository is deleted with the images in it."}
	attrs["id"] = computed("Name of the repository.", true)
	attrs["arn"] = computed("ARN of the repository.", true)
	attrs["uri"] = computed("What images are pushed to and pulled from: host/name.", true)
	resp.Schema = schema.Schema{
		MarkdownDescription: "An image repository in ECR with its lifecycle policy and the accounts and roles that may use it.",
		Attributes:          attrs,
	}
}

func (r *repositoryResource) Configure(_ context.Context, req resource.ConfigureRequest, resp *resource.ConfigureResponse) {
	configured(req.ProviderData, &r.backend, &resp.Diagnostics)
}

// apply keeps the repository. Rules of replication are the whole registry's: they are touched only where the
// repository has some, or had.
func (r *repositoryResource) apply(ctx context.Context, plan tftypes.Value, replicated bool) (tftypes.Value, error) {
	var fields map[string]tftypes.Value
	if err := plan.As(&fields); err != nil {
		return tftypes.Value{}, err
	}
	var want clusterinfra.Repository
	if err := repositoryTable.decode(plan, reflect.ValueOf(&want).Elem(), ""); err != nil {
		return tftypes.Value{}, err
	}
	got, err := r.backend.Repositories.Apply(ctx, want)
	if err != nil {
		return tftypes.Value{}, err
	}
	if replicated || len(want.ReplicateTo) > 0 {
		if err := r.backend.Repositories.Replicate(ctx, want.Name, want.ReplicateTo); err != nil {
			return tftypes.Value{}, err
		}
	}
	state := maps.Clone(fields)
	for name, v := range repositoryKnown(got) {
		state[name] = v
	}
	return tftypes.NewValue(plan.Type(), state), nil
}

func (r *repositoryResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	state, err := r.apply(ctx, req.Plan.Raw, false)
	if err != nil {
		resp.Diagnostics.AddError("The repository is not created", err.Error())
		return
	}
	resp.State.Raw = state
}

func (r *repositoryResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	before, err := repositoryIn(req.State.Raw)
	if err != nil {
		resp.Diagnostics.AddError("The state cannot be read", err.Error())
		return
	}
	state, err := r.apply(ctx, req.Plan.Raw, len(before.ReplicateTo) > 0)
	if err != nil {
		resp.Diagnostics.AddError("The repository is not changed", err.Error())
		return
	}
	resp.State.Raw = state
}

func (r *repositoryResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var name string
	resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root("name"), &name)...)
	if resp.Diagnostics.HasError() {
		return
	}
	got, err := r.backend.Repositories.Read(ctx, name)
	switch {
	case errors.Is(err, clusterinfra.ErrNotFound):
		resp.State.RemoveResource(ctx)
		return
	case err != nil:
		resp.Diagnostics.AddError("The repository cannot be read", err.Error())
		return
	}
	var fields, attrs map[string]tftypes.Value
	if err := req.State.Raw.As(&fields); err != nil {
		resp.Diagnostics.AddError("The state cannot be read", err.Error())
		return
	}
	before, err := repositoryIn(req.State.Raw)
	if err != nil {
		resp.Diagnostics.AddError("The state cannot be read", err.Error())
		return
	}
	replicas, err := r.backend.Repositories.Replicas(ctx, name)
	if err != nil && len(before.ReplicateTo) > 0 { // else nobody who may not ask needs to
		resp.Diagnostics.AddError("The repository cannot be read", err.Error())
		return
	}
	if k := before.KeepReleases; k != nil && sameJSON(k.Text(), got.Lifecycle) {
		got.KeepReleases, got.Lifecycle = k, "" // it is as it was made
	}
	got.ReplicateTo = replicasSeen(before.ReplicateTo, replicas, got.ARN)
	got.Encryption = cmp.Or(got.Encryption, "AES256")
	itself := func(s string) string { return s }
	got.Mutable = inOrderOf(got.Mutable, before.Mutable, itself)
	got.PullAccounts = inOrderOf(got.PullAccounts, before.PullAccounts, itself)
	got.PullRoles = inOrderOf(got.PullRoles, before.PullRoles, itself)
	got.PushRoles = inOrderOf(got.PushRoles, before.PushRoles, itself)
	if err := repositoryTable.encode(reflect.ValueOf(got), req.State.Raw.Type(), req.State.Raw, "").As(&attrs); err != nil {
		resp.Diagnostics.AddError("The repository cannot be read", err.Error())
		return
	}
	// The same policy may be written in many ways; only another policy is a difference.
	if sameJSON(text(fields["lifecycle_policy"]), got.Lifecycle) {
		attrs["lifecycle_policy"] = fields["lifecycle_policy"]
	}
	if fields["force_delete"].IsNull() {
		fields["force_delete"] = tftypes.NewValue(tftypes.Bool, false)
	}
	for name := range fields {
		if repositoryTable(name).Description != "" {
			fields[name] = attrs[name]
		}
	}
	for name, v := range repositoryKnown(got) {
		fields[name] = v
	}
	resp.State.Raw = tftypes.NewValue(req.State.Raw.Type(), fields)
}

func (r *repositoryResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var name string
	var force *bool
	resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root("name"), &name)...)
	resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root("force_delete"), &force)...)
	if resp.Diagnostics.HasError() {
		return
	}
	before, err := repositoryIn(req.State.Raw)
	if err == nil && len(before.ReplicateTo) > 0 { // after: a repository that is refused to be deleted is as it was
		defer func() {
			if resp.Diagnostics.HasError() {
				return
			}
			if err := r.backend.Repositories.Replicate(ctx, name, nil); err != nil {
				resp.Diagnostics.AddWarning("The repository is deleted, the registry's rule about it is not", err.Error())
			}
		}()
	}
	err = r.backend.Repositories.Delete(ctx, name, force != nil && *force)
	switch {
	case err == nil, errors.Is(err, clusterinfra.ErrNotFound):
	case errors.Is(err, clusterinfra.ErrNotEmpty):
		resp.Diagnostics.AddError("The repository has images in it", "Set force_delete = true and apply, if they are to go with it; then destroy again.")
	default:
		resp.Diagnostics.AddError("The repository is not deleted", err.Error())
	}
}

// ImportState takes the repository's name.
func (r *repositoryResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("name"), req.ID)...)
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("id"), req.ID)...)
}

func repositoryIn(raw tftypes.Value) (clusterinfra.Repository, error) {
	var out clusterinfra.Repository
	err := repositoryTable.decode(raw, reflect.ValueOf(&out).Elem(), "")
	return out, err
}

// replicasSeen are in the order they were asked for. Whose account is not said means this one, whose id may be
// written as well.
func replicasSeen(before, got []clusterinfra.Replica, arn string) []clusterinfra.Replica {
	own := ""
	if parts := strings.SplitN(arn, ":", 6); len(parts) == 6 {
		own = parts[4]
	}
	out := inOrderOf(got, before, func(d clusterinfra.Replica) string { return d.Region + cmp.Or(d.Account, own) })
	for i, d := range out {
		if d.Account == "" && slices.Contains(before, clusterinfra.Replica{Region: d.Region, Account: own}) {
			out[i].Account = own
		}
	}
	return out
}

func repositoryKnown(r clusterinfra.Repository) map[string]tftypes.Value {
	return map[string]tftypes.Value{
		"id":  tftypes.NewValue(tftypes.String, r.Name),
		"arn": tftypes.NewValue(tftypes.String, r.ARN),
		"uri": tftypes.NewValue(tftypes.String, r.URI),
	}
}
