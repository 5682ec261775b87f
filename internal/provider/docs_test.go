package provider

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	dataschema "github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
)

var update = flag.Bool("update", false, "write generated files anew")

const reference = "../../docs/reference/terraform.md"

// The reference is made of the schemas, so it says what the provider does.
func TestReference(t *testing.T) {
	got := writeReference(t.Context())
	if *update {
		if err := os.WriteFile(reference, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s is not what the schemas say; go test ./internal/provider -run TestReference -update writes it anew", reference)
	}
}

func writeReference(ctx context.Context) string {
	var b strings.Builder
	p := New(newMemory().open)()
	var ps provider.SchemaResponse
	p.Schema(ctx, provider.SchemaRequest{}, &ps)
	fmt.Fprintf(&b, "# Terraform provider\n\n<!-- Generated from the provider's schemas: go test ./internal/provider -run TestReference -update -->\n\n%s\n\n", ps.Schema.MarkdownDescription)
	b.WriteString("```hcl\nterraform {\n  required_providers {\n    slipway = { source = \"slipway/slipway\" }\n  }\n}\n```\n\n")
	b.WriteString("| attribute | type | |\n|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(ps.Schema.Attributes)) {
		a := ps.Schema.Attributes[name]
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, kindOf(a.GetType().String()), a.GetMarkdownDescription())
	}
	b.WriteString("\nDurations are whole seconds, memory is MiB, CPU is in units of 1/1024 vCPU.\n")
	for _, f := range p.Resources(ctx) {
		r := f()
		var meta resource.MetadataResponse
		r.Metadata(ctx, resource.MetadataRequest{ProviderTypeName: "slipway"}, &meta)
		var s resource.SchemaResponse
		r.Schema(ctx, resource.SchemaRequest{}, &s)
		fmt.Fprintf(&b, "\n## Resource `%s`\n\n%s\n\n| attribute | type | |\n|---|---|---|\n", meta.TypeName, s.Schema.MarkdownDescription)
		writeAttributes(&b, "", s.Schema.Attributes)
		var outs []string
		for _, name := range slices.Sorted(maps.Keys(s.Schema.Attributes)) {
			if a := s.Schema.Attributes[name]; a.IsComputed() && !a.IsOptional() {
				outs = append(outs, fmt.Sprintf("| `%s` | %s | %s |\n", name, kindOf(a.GetType().String()), a.GetMarkdownDescription()))
			}
		}
		fmt.Fprintf(&b, "\nIt tells:\n\n| attribute | type | |\n|---|---|---|\n%s", strings.Join(outs, ""))
	}
	for _, f := range p.DataSources(ctx) {
		d := f()
		var meta datasource.MetadataResponse
		d.Metadata(ctx, datasource.MetadataRequest{ProviderTypeName: "slipway"}, &meta)
		var s datasource.SchemaResponse
		d.Schema(ctx, datasource.SchemaRequest{}, &s)
		fmt.Fprintf(&b, "\n## Data source `%s`\n\n%s\n\n| attribute | type | |\n|---|---|---|\n", meta.TypeName, s.Schema.MarkdownDescription)
		for _, name := range slices.Sorted(maps.Keys(s.Schema.Attributes)) {
			a := s.Schema.Attributes[name].(dataschema.StringAttribute)
			required := ""
			if a.Required {
				required = "**required.** "
			}
			fmt.Fprintf(&b, "| `%s` | text | %s%s |\n", name, required, a.MarkdownDescription)
		}
	}
	return b.String()
}

func writeAttributes(b *strings.Builder, path string, attrs map[string]schema.Attribute) {
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		a := attrs[name]
		if a.IsComputed() && !a.IsOptional() {
			continue
		}
		at, text := path+name, a.GetMarkdownDescription()
		if name == "timeouts" {
			text = "How long `create`, `update` and `delete` may take, such as \"30m\"."
		}
		if a.IsRequired() {
			text = "**required.** " + text
		}
		if d := defaultOf(a); d != "" {
			text += " Default: `" + d + "`."
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", at, kindOf(a.GetType().String()), strings.ReplaceAll(text, "|", `\|`))
		switch a := a.(type) {
		case schema.SingleNestedAttribute:
			if name != "timeouts" {
				writeAttributes(b, at+".", a.Attributes)
			}
		case schema.ListNestedAttribute:
			writeAttributes(b, at+".", a.NestedObject.Attributes)
		case schema.MapNestedAttribute:
			writeAttributes(b, at+".*.", a.NestedObject.Attributes)
		}
	}
}

func defaultOf(a schema.Attribute) string {
	ctx := context.Background()
	clean := func(s string) string { return strings.TrimPrefix(s, "value defaults to ") }
	switch a := a.(type) {
	case schema.StringAttribute:
		if a.Default != nil {
			return clean(a.Default.Description(ctx))
		}
	case schema.Int64Attribute:
		if a.Default != nil {
			return clean(a.Default.Description(ctx))
		}
	case schema.Float64Attribute:
		if a.Default != nil {
			return fmt.Sprint(strings.TrimSuffix(clean(a.Default.Description(ctx)), ".000000"))
		}
	case schema.BoolAttribute:
		if a.Default != nil {
			return clean(a.Default.Description(ctx))
		}
	}
	return ""
}

// kindOf is a type in a word.
func kindOf(typ string) string {
	switch {
	case strings.HasPrefix(typ, "types.ListType[types.Object"):
		return "list of objects"
	case strings.HasPrefix(typ, "types.MapType[types.Object"):
		return "map of objects"
	case strings.HasPrefix(typ, "types.ListType"):
		return "list of text"
	case strings.HasPrefix(typ, "types.MapType[types.List"):
		return "map of lists"
	case strings.HasPrefix(typ, "types.MapType"):
		return "map of text"
	case strings.Contains(typ, "Object"), strings.Contains(typ, "timeouts"):
		return "object"
	case strings.HasSuffix(typ, "StringType"):
		return "text"
	case strings.HasSuffix(typ, "BoolType"):
		return "true or false"
	}
	return "number"
}
