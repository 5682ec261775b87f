// Package provider is the Terraform provider: a thin front on the engines. It turns plans into what
// the engines take and what they report into state; it decides nothing itself.
package provider

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/slipway-ecs/slipway/internal/awscloud"
)

// Address is the provider's address in Terraform's registry.
const Address = "registry.terraform.io/slipway/slipway"

// Version is the provider's version; releases set it with -ldflags.
var Version = "0.1.0"

// Serve answers Terraform, which has started this process as a plug-in, until Terraform is done.
func Serve(ctx context.Context) error {
	go func() {
		orphaned(os.Getppid, time.Second)
		os.Exit(1) // nobody will read an answer, and what is begun is in the journal
	}()
	if err := providerserver.Serve(ctx, New(open), providerserver.ServeOpts{Address: Address, ProtocolVersion: 6}); err != nil {
		return fmt.Errorf("serving Terraform: %w", err)
	}
	return nil
}

// New returns the provider over a way to reach the engines.
func New(open Open) func() provider.Provider {
	return func() provider.Provider { return &slipway{open: open} }
}

type slipway struct{ open Open }

func (p *slipway) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName, resp.Version = "slipway", Version
}

func (p *slipway) Schema(_ context.Context, _ provider.SchemaRequest, resp *provider.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Services on Amazon ECS whose deployment is waited for and told the truth about. " +
			"Credentials, region and endpoint come from the AWS SDK's environment variables and files unless they are given here.",
		Attributes: map[string]schema.Attribute{
			"region":   schema.StringAttribute{Optional: true, MarkdownDescription: "AWS region. Default: `AWS_REGION` or the profile's."},
			"endpoint": schema.StringAttribute{Optional: true, MarkdownDescription: "Base URL of all AWS services, such as that of Slipway's local AWS. Default: `AWS_ENDPOINT_URL`, else AWS."},
			"profile":  schema.StringAttribute{Optional: true, MarkdownDescription: "Profile of the AWS configuration files. Default: `AWS_PROFILE`."},
		},
	}
}

func (p *slipway) Configure(ctx context.Context, req provider.ConfigureRequest, resp *provider.ConfigureResponse) {
	var c struct {
		Region   types.String `tfsdk:"region"`
		Endpoint types.String `tfsdk:"endpoint"`
		Profile  types.String `tfsdk:"profile"`
	}
	resp.Diagnostics.Append(req.Config.Get(ctx, &c)...)
	if resp.Diagnostics.HasError() {
		return
	}
	b, err := p.open(ctx, awscloud.Options{Region: c.Region.ValueString(), Endpoint: c.Endpoint.ValueString(), Profile: c.Profile.ValueString()})
	if err != nil {
		resp.Diagnostics.AddError("AWS cannot be reached", err.Error())
		return
	}
	resp.ResourceData, resp.DataSourceData = b, b
}

func (p *slipway) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{
		func() resource.Resource { return &serviceResource{} },
		func() resource.Resource { return &clusterResource{} },
		func() resource.Resource { return &repositoryResource{} },
	}
}

func (p *slipway) DataSources(context.Context) []func() datasource.DataSource {
	return []func() datasource.DataSource{func() datasource.DataSource { return &imageData{} }}
}
