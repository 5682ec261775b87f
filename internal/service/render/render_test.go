package render

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/slipway-ecs/slipway/internal/service"
)

var update = flag.Bool("update", false, "write the golden files anew")

const image = "127.0.0.1:4566/shop@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestRender(t *testing.T) {
	files, _ := filepath.Glob("../testdata/good/*.yaml")
	examples, _ := filepath.Glob("../../../examples/*/slipway.yaml")
	nested, _ := filepath.Glob("../../../examples/*/*/slipway.yaml")
	for _, path := range slices.Concat(files, examples, nested) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f, faults := service.Parse(path, data)
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		for _, env := range f.Environments() {
			name := strings.TrimSuffix(filepath.Base(path), ".yaml") + "-" + env
			if filepath.Base(path) == "slipway.yaml" {
				example, _ := filepath.Rel("../../../examples", filepath.Dir(path))
				name = "example-" + strings.ReplaceAll(example, "/", "-") + "-" + env
			}
			t.Run(name, func(t *testing.T) {
				spec, _ := f.Spec(env)
				target, _ := f.Target(env)
				got, err := Render(spec, Options{Image: image, Release: "c656597", Region: target.Region, State: target.State})
				if err != nil {
					t.Fatal(err)
				}
				if _, diags := hclsyntax.ParseConfig(got, "main.tf", hcl.InitialPos); diags.HasErrors() {
					t.Error(diags)
				}
				if string(hclwrite.Format(got)) != string(got) {
					t.Error("terraform fmt would change it")
				}
				golden := filepath.Join("testdata", name+".tf")
				if *update {
					if err := os.WriteFile(golden, got, 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if string(want) != string(got) {
					t.Errorf("%s differs (go test -update writes it anew); got:\n%s", golden, got)
				}
			})
		}
	}
}

// What the agent is told of the service is HCL, with whatever text was given for it.
func TestConsulRegistrationIsHCL(t *testing.T) {
	data, err := os.ReadFile("../testdata/good/sidecars.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f, faults := service.Parse("slipway.yaml", data)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	spec, _ := f.Spec("prod")
	i := slices.IndexFunc(spec.Containers, func(c service.Container) bool { return c.Name == service.ConsulAgentName })
	if i < 0 {
		t.Fatalf("no agent in %+v", spec.Containers)
	}
	found := map[string]cty.Value{}
	for _, arg := range spec.Containers[i].Command {
		text, ok := strings.CutPrefix(arg, "-hcl=")
		if !ok {
			continue
		}
		file, diags := hclsyntax.ParseConfig([]byte(text+"\n"), "agent.hcl", hcl.InitialPos)
		if diags.HasErrors() {
			t.Fatalf("%s: %v", text, diags)
		}
		body := file.Body.(*hclsyntax.Body)
		for _, b := range body.Blocks {
			if b.Type != "service" || len(b.Body.Blocks) != 1 || b.Body.Blocks[0].Type != "check" {
				t.Errorf("block %s with %d in it", b.Type, len(b.Body.Blocks))
			}
			for name, a := range b.Body.Attributes {
				if found[name], diags = a.Expr.Value(nil); diags.HasErrors() {
					t.Error(diags)
				}
			}
		}
		for name, a := range body.Attributes {
			if found[name], diags = a.Expr.Value(nil); diags.HasErrors() {
				t.Error(diags)
			}
		}
	}
	tags := cty.TupleVal([]cty.Value{cty.StringVal("v1"), cty.StringVal(`odd "${tag}"`)})
	if !found["name"].RawEquals(cty.StringVal("shop-web")) || !found["tags"].RawEquals(tags) || !found["leave_on_terminate"].RawEquals(cty.True) {
		t.Errorf("registered: %#v", found)
	}
}

func TestTagsAreNotDeployed(t *testing.T) {
	for _, ref := range []string{"shop:latest", "shop", "shop@sha256:12", ""} {
		if _, err := Render(service.Spec{Name: "shop"}, Options{Image: ref}); err == nil {
			t.Errorf("%q was rendered", ref)
		}
	}
}
