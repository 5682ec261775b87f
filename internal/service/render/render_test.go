package render

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"

	"github.com/slipway-ecs/slipway/internal/service"
)

var update = flag.Bool("update", false, "write the golden files anew")

const image = "127.0.0.1:4566/shop@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestRender(t *testing.T) {
	files, _ := filepath.Glob("../testdata/good/*.yaml")
	examples, _ := filepath.Glob("../../../examples/*/slipway.yaml")
	for _, path := range append(files, examples...) {
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
				name = "example-" + filepath.Base(filepath.Dir(path)) + "-" + env
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

func TestTagsAreNotDeployed(t *testing.T) {
	for _, ref := range []string{"shop:latest", "shop", "shop@sha256:12", ""} {
		if _, err := Render(service.Spec{Name: "shop"}, Options{Image: ref}); err == nil {
			t.Errorf("%q was rendered", ref)
		}
	}
}
