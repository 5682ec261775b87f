package ci

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

var update = flag.Bool("update", false, "write the golden files anew")

var shop = Delivery{Service: "shop", Folder: "services/shop", Branch: "main", Label: "slipway", Stages: []Stage{{Name: "test", Kind: "test"}, {Name: "build", Kind: "build"}, {Name: "push", Kind: "push"}, {Name: "scan", Kind: "scan"},
	{Name: "deploy-qa", Kind: "deploy", Environment: "qa"}, {Name: "smoke-qa", Kind: "smoke", Environment: "qa"}, {Name: "approve-prod", Kind: "approve", Environment: "prod", Approvals: 2, Approvers: []string{"lead", "qa"}},
	{Name: "deploy-prod", Kind: "deploy", Environment: "prod"}, {Name: "verify-prod", Kind: "verify", Environment: "prod"}}}

func TestDefinitions(t *testing.T) {
	for _, s := range Systems {
		got, err := s.Definition(shop)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", s.Name+".golden")
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil || string(got) != string(want) {
			t.Errorf("%s differs (go test -update writes it anew), %v; got:\n%s", path, err, got)
		}
		if s.Name == "jenkins" {
			continue // the harness of test/pipeline runs it
		}
		var doc map[string]any
		if err := yaml.Unmarshal(got, &doc); err != nil {
			t.Fatalf("%s is not YAML: %v", s.Name, err)
		}
		jobs := doc
		if s.Name == "github" {
			jobs = doc["jobs"].(map[string]any)
		}
		for _, st := range shop.Stages {
			text, err := yaml.Marshal(jobs[st.Name])
			if err != nil || !strings.Contains(string(text), "slipway pipeline run --stage "+st.Name) {
				t.Errorf("%s: stage %s is\n%s %v", s.Name, st.Name, text, err)
			}
		}
	}
}

func TestFind(t *testing.T) {
	if _, err := Find("travis"); err == nil || !strings.Contains(err.Error(), "jenkins, github, gitlab") {
		t.Errorf("travis: %v", err)
	}
}
