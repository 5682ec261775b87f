package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/slipway-ecs/slipway/internal/clusterinfra"
)

var _ datasource.DataSourceWithConfigure = (*imageData)(nil)

// imageData is the data source slipway_image: a tag's digest.
type imageData struct{ backend *Backend }

func (d *imageData) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_image"
}

func (d *imageData) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "The digest a tag points at now. Services are deployed by digest, so that what passed one environment is what the next one gets.",
		Attributes: map[string]schema.Attribute{
			"repository": schema.StringAttribute{Required: true, MarkdownDescription: "Name of the repository."},
			"tag":        schema.StringAttribute{Required: true, MarkdownDescription: "The tag."},
			"digest":     schema.StringAttribute{Computed: true, MarkdownDescription: "`sha256:…`"},
			"image":      schema.StringAttribute{Computed: true, MarkdownDescription: "`registry/repository@sha256:…`, as `slipway_service` takes it."},
		},
	}
}

func (d *imageData) Configure(_ context.Context, req datasource.ConfigureRequest, resp *datasource.ConfigureResponse) {
	configured(req.ProviderData, &d.backend, &resp.Diagnostics)
}

type imageModel struct {
	Repository types.String `tfsdk:"repository"`
	Tag        types.String `tfsdk:"tag"`
	Digest     types.String `tfsdk:"digest"`
	Image      types.String `tfsdk:"image"`
}

func (d *imageData) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m imageModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	name, tag := m.Repository.ValueString(), m.Tag.ValueString()
	repository, err := d.backend.Repositories.Read(ctx, name)
	if err != nil {
		resp.Diagnostics.AddError(fmt.Sprintf("Repository %s cannot be read", name), err.Error())
		return
	}
	digest, err := d.backend.World.Digest(ctx, name, tag)
	switch {
	case errors.Is(err, clusterinfra.ErrNotFound):
		resp.Diagnostics.AddError(fmt.Sprintf("Repository %s has no image tagged %s", name, tag), "Push one first: slipway build.")
		return
	case err != nil:
		resp.Diagnostics.AddError(fmt.Sprintf("Image %s:%s cannot be read", name, tag), err.Error())
		return
	}
	m.Digest, m.Image = types.StringValue(digest), types.StringValue(repository.URI+"@"+digest)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

func sameJSON(a, b string) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return a == b
	}
	return reflect.DeepEqual(x, y)
}
