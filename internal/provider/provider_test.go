package provider

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	acctest "github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/service"
	"github.com/slipway-ecs/slipway/internal/service/render"
)

func TestSchemas(t *testing.T) {
	ctx := t.Context()
	p := New(newMemory().open)()
	var ps provider.SchemaResponse
	p.Schema(ctx, provider.SchemaRequest{}, &ps)
	if d := ps.Schema.ValidateImplementation(ctx); d.HasError() {
		t.Error(d)
	}
	for _, f := range p.Resources(ctx) {
		r := f()
		var meta resource.MetadataResponse
		r.Metadata(ctx, resource.MetadataRequest{ProviderTypeName: "slipway"}, &meta)
		var s resource.SchemaResponse
		r.Schema(ctx, resource.SchemaRequest{}, &s)
		if s.Diagnostics.HasError() {
			t.Errorf("%s: %v", meta.TypeName, s.Diagnostics)
		}
		if d := s.Schema.ValidateImplementation(ctx); d.HasError() {
			t.Errorf("%s: %v", meta.TypeName, d)
		}
		for name, a := range s.Schema.Attributes {
			if a.GetMarkdownDescription() == "" && name != "timeouts" {
				t.Errorf("%s.%s has no description", meta.TypeName, name)
			}
		}
	}
	for _, f := range p.DataSources(ctx) {
		var s datasource.SchemaResponse
		f().Schema(ctx, datasource.SchemaRequest{}, &s)
		if d := s.Schema.ValidateImplementation(ctx); d.HasError() {
			t.Error(d)
		}
	}
}

// factories serve the provider over memory to a real Terraform.
func factories(m *memory) map[string]func() (tfprotov6.ProviderServer, error) {
	return map[string]func() (tfprotov6.ProviderServer, error){"slipway": providerserver.NewProtocol6WithError(New(m.open)())}
}

// needTerraform: these tests drive the real thing, or OpenTofu under its name.
func needTerraform(t *testing.T) {
	t.Helper()
	if os.Getenv("TF_ACC_TERRAFORM_PATH") != "" {
		return
	}
	for _, name := range []string{"terraform", "tofu"} {
		for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
			if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Mode()&0o111 != 0 {
				t.Setenv("TF_ACC_TERRAFORM_PATH", filepath.Join(dir, name))
				named(name)
				return
			}
		}
	}
	t.Skip("neither terraform nor tofu is on PATH")
}

// named has the tests ask for the provider by the names that the tool knows providers by: the framework's are Terraform's.
func named(tool string) {
	if strings.HasPrefix(filepath.Base(tool), "tofu") {
		os.Setenv("TF_ACC_PROVIDER_HOST", "registry.opentofu.org")
		os.Setenv("TF_ACC_PROVIDER_NAMESPACE", "hashicorp")
	}
}

func digest(n int) string { return fmt.Sprintf("127.0.0.1:4566/web@sha256:%064d", n) }

const cluster = `
resource "slipway_cluster" "demo" {
  name      = "demo"
  instances = { type = "m7g.large", min = 3, max = 6 }
  balancer  = { listeners = { qa = { port = 8081 }, prod = { port = 8080 } } }
}
`

func web(image string, more string) string {
	return cluster + `
resource "slipway_service" "web" {
  name        = "web"
  environment = "qa"
  cluster     = slipway_cluster.demo.name
  image       = "` + image + `"
  containers  = [{ name = "web", memory = 64, ports = [{ container = 8080 }], env = { EMPTY = "" } }]
  route       = { listener = "qa", paths = ["/*"], container = "web", port = 8080 }
` + more + "\n}\n"
}

func TestServiceLifecycle(t *testing.T) {
	needTerraform(t)
	m := newMemory()
	ref := deploy.Ref{Cluster: "demo", Service: "web-qa"}
	acctest.UnitTest(t, acctest.TestCase{
		ProtoV6ProviderFactories: factories(m),
		CheckDestroy: func(*terraform.State) error {
			if len(m.services)+len(m.clusters) > 0 {
				return fmt.Errorf("left: %v %v", m.services, m.clusters)
			}
			return nil
		},
		Steps: []acctest.TestStep{
			{
				Config: web(digest(1), ""),
				Check: acctest.ComposeAggregateTestCheckFunc(
					acctest.TestCheckResourceAttr("slipway_service.web", "id", "demo/web/qa"),
					acctest.TestCheckResourceAttr("slipway_service.web", "url", "http://127.66.0.1:8080"),
					acctest.TestCheckResourceAttr("slipway_service.web", "revision", "arn:revision:1"),
					acctest.TestCheckResourceAttr("slipway_service.web", "deployment.circuit_breaker", "true"),
					acctest.TestCheckResourceAttr("slipway_service.web", "route.health.interval", "10"),
					acctest.TestCheckResourceAttr("slipway_cluster.demo", "urls.prod", "http://127.66.0.1:8080"),
					func(*terraform.State) error {
						target := m.services[ref].target
						if target.Infra.Listener != "arn:listener/qa" || target.Infra.VPC != "vpc-1" || target.Infra.Account != "000000000000" {
							return fmt.Errorf("infra %+v", target.Infra)
						}
						return nil
					},
				),
			},
			{ // another digest: the attribute, and what depends on it, and nothing else
				Config: web(digest(2), ""),
				ConfigPlanChecks: acctest.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					plancheck.ExpectResourceAction("slipway_service.web", plancheck.ResourceActionUpdate),
					plancheck.ExpectKnownValue("slipway_service.web", tfjsonpath.New("image"), knownvalue.StringExact(digest(2))),
					plancheck.ExpectKnownValue("slipway_service.web", tfjsonpath.New("url"), knownvalue.StringExact("http://127.66.0.1:8080")),
					plancheck.ExpectUnknownValue("slipway_service.web", tfjsonpath.New("revision")),
				}},
				Check: acctest.TestCheckResourceAttr("slipway_service.web", "revision", "arn:revision:2"),
			},
			{ // a label replaces no task
				Config: web(digest(2), `release = "v1.0.1"`),
				ConfigPlanChecks: acctest.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					plancheck.ExpectKnownValue("slipway_service.web", tfjsonpath.New("revision"), knownvalue.StringExact("arn:revision:2")),
				}},
			},
			{ // drift is seen and repaired
				PreConfig: func() {
					d := m.services[ref]
					d.target.Image = digest(9)
					d.target.Spec.Deployment.MinimumHealthy = 0
					d.target.Spec.Containers[0].Memory = 128
				},
				Config: web(digest(2), `release = "v1.0.1"`),
				ConfigPlanChecks: acctest.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					plancheck.ExpectResourceAction("slipway_service.web", plancheck.ResourceActionUpdate),
				}},
				Check: func(*terraform.State) error {
					s := m.services[ref].target
					if s.Image != digest(2) || s.Spec.Deployment.MinimumHealthy != 100 || s.Spec.Containers[0].Memory != 64 {
						return fmt.Errorf("not repaired: %+v", s)
					}
					return nil
				},
			},
			{ // import finds all that AWS keeps
				ResourceName: "slipway_service.web", ImportState: true, ImportStateId: "demo/web/qa", ImportStateVerify: true,
				ImportStateVerifyIgnore: []string{"release", "deployment.timeout", "route.listener"},
			},
			{ResourceName: "slipway_service.web", ImportState: true, ImportStateId: "web-qa", ExpectError: regexp.MustCompile(`CLUSTER/SERVICE/ENVIRONMENT`)},
			{ // a service that somebody deleted is made again
				PreConfig: func() { delete(m.services, ref) },
				Config:    web(digest(2), `release = "v1.0.1"`),
				ConfigPlanChecks: acctest.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					plancheck.ExpectResourceAction("slipway_service.web", plancheck.ResourceActionCreate),
				}},
			},
		},
	})
}

func TestDesiredCountBelongsToScaling(t *testing.T) {
	needTerraform(t)
	m := newMemory()
	ref := deploy.Ref{Cluster: "demo", Service: "web-qa"}
	scaling := `scaling = { min = 2, max = 9, targets = [{ metric = "cpu", target = 60 }] }` + "\n"
	acctest.UnitTest(t, acctest.TestCase{
		ProtoV6ProviderFactories: factories(m),
		Steps: []acctest.TestStep{
			{Config: web(digest(1), scaling+"desired_count = 2")},
			{
				PreConfig: func() { m.services[ref].target.Spec.Count = 7 }, // it scaled out
				Config:    web(digest(1), scaling+"desired_count = 2"),
				PlanOnly:  true,
			},
			{
				Config: web(digest(1), scaling+"desired_count = 4"),
				ConfigPlanChecks: acctest.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					plancheck.ExpectResourceAction("slipway_service.web", plancheck.ResourceActionNoop),
				}},
			},
			{
				Config: web(digest(2), scaling+"desired_count = 4"),
				Check: func(*terraform.State) error {
					if n := m.services[ref].target.Spec.Count; n != 7 {
						return fmt.Errorf("%d tasks", n)
					}
					return nil
				},
			},
		},
	})
}

func TestFailedDeploymentFailsTheApply(t *testing.T) {
	needTerraform(t)
	m := newMemory()
	ref := deploy.Ref{Cluster: "demo", Service: "web-qa"}
	broken := &deploy.Failure{Status: "ROLLBACK_SUCCESSFUL", RolledBack: true, Outcome: deploy.Outcome{Service: "web-qa"},
		Diagnosis: deploy.Diagnosis{Sentence: "3 tasks were killed for memory: limit 64 MiB, peak 64 MiB.", Fix: "Raise containers.memory.",
			Groups:  []deploy.Group{{Count: 3, Reason: "OutOfMemoryError: Container killed due to memory usage", Example: "0123abcd"}},
			Targets: []string{"10.0.0.1:8080 unhealthy: Target.Timeout"}, Logs: []string{"allocating the big table"}}}
	acctest.UnitTest(t, acctest.TestCase{
		ProtoV6ProviderFactories: factories(m),
		Steps: []acctest.TestStep{
			{Config: web(digest(1), "")},
			{
				PreConfig:   func() { m.fail = broken },
				Config:      web(digest(2), ""),
				ExpectError: regexp.MustCompile(`(?s)3 tasks were killed for memory.*runs.again.*Raise.*3 × OutOfMemoryError.*unhealthy.*allocating the big table`),
			},
			{ // the state is that of what runs, so the next apply tries again
				Config: web(digest(2), ""),
				ConfigPlanChecks: acctest.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					plancheck.ExpectResourceAction("slipway_service.web", plancheck.ResourceActionUpdate),
				}},
				Check: func(*terraform.State) error {
					if got := m.services[ref].target.Image; got != digest(2) {
						return errors.New(got)
					}
					return nil
				},
			},
		},
	})
}

// A deployment that failed and was not rolled back leaves every attribute as it was asked for, and
// nothing that runs. The next apply tries again; and only the next.
func TestUnsettledDeploymentIsRepeated(t *testing.T) {
	needTerraform(t)
	m := newMemory()
	ref := deploy.Ref{Cluster: "demo", Service: "web-qa"}
	for _, state := range []string{"FAILED", "IN_PROGRESS"} {
		acctest.UnitTest(t, acctest.TestCase{
			ProtoV6ProviderFactories: factories(m),
			Steps: []acctest.TestStep{
				{Config: web(digest(1), "")},
				{
					PreConfig: func() { m.services[ref].state = state },
					Config:    web(digest(1), ""),
					ConfigPlanChecks: acctest.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
						plancheck.ExpectResourceAction("slipway_service.web", plancheck.ResourceActionUpdate),
						plancheck.ExpectUnknownValue("slipway_service.web", tfjsonpath.New("revision")),
					}},
				},
				{Config: web(digest(1), ""), PlanOnly: true},
			},
		})
	}
}

// What failed while being created is in the state, so that destroy takes it away.
func TestFailedCreationCanBeDestroyed(t *testing.T) {
	needTerraform(t)
	m := newMemory()
	m.fail, m.failOutcome = &deploy.Failure{Status: "TIMED_OUT", StillGoing: true}, true
	acctest.UnitTest(t, acctest.TestCase{
		ProtoV6ProviderFactories: factories(m),
		CheckDestroy: func(*terraform.State) error {
			if len(m.services) > 0 {
				return fmt.Errorf("left: %v", m.services)
			}
			return nil
		},
		Steps: []acctest.TestStep{{Config: web(digest(1), ""), ExpectError: regexp.MustCompile(`still going on`)}},
	})
}

func TestBadConfigurations(t *testing.T) {
	needTerraform(t)
	for _, tc := range []struct{ name, config, want string }{
		{"tag instead of digest", web("web:latest", ""), `slipway_image`},
		{"unknown listener", strings.Replace(web(digest(1), ""), `listener = "qa"`, `listener = "test"`, 1), `no listener\s+"test"; it has prod, qa`},
		{"no such container", strings.Replace(web(digest(1), ""), `container = "web"`, `container = "wbe"`, 1), `no container\s+"wbe";\s+did\s+you\s+mean\s+"web"`},
		{"no such Fargate task", web(digest(1), `launch_type = "FARGATE"`+"\n"+`network_mode = "awsvpc"`+"\ncpu = 300\nmemory = 512"), `Fargate has no task of 300 CPU units`},
		{"kind", web(digest(1), `kind = "servise"`), `must be one of`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			acctest.UnitTest(t, acctest.TestCase{ProtoV6ProviderFactories: factories(newMemory()),
				Steps: []acctest.TestStep{{Config: tc.config, ExpectError: regexp.MustCompile(tc.want)}}})
		})
	}
}

// What is rendered from slipway.yaml comes to the engine as the Spec it was rendered from, and is
// found without a difference when it is read back.
func TestRenderedModules(t *testing.T) {
	needTerraform(t)
	files, _ := filepath.Glob("../service/testdata/good/*.yaml")
	examples, _ := filepath.Glob("../../examples/*/slipway.yaml")
	nested, _ := filepath.Glob("../../examples/*/*/slipway.yaml")
	var config strings.Builder
	specs := map[deploy.Ref]service.Spec{}
	listeners := map[string]map[string]bool{} // cluster → names
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
			spec, _ := f.Spec(env)
			spec.Name = fmt.Sprintf("%s-%d", spec.Name, len(specs)) // the examples share names
			module, err := render.Render(spec, render.Options{Image: digest(1)})
			if err != nil {
				t.Fatal(err)
			}
			specs[deploy.Target{Spec: spec}.Ref()] = spec
			if listeners[spec.Cluster] == nil {
				listeners[spec.Cluster] = map[string]bool{}
			}
			listeners[spec.Cluster][env] = true
			if spec.Route != nil {
				listeners[spec.Cluster][spec.Route.Listener] = true
			}
			config.WriteString(strings.Replace(resourceOnly(string(module)), `"this" {`, fmt.Sprintf(`"s%d" {
  depends_on = [slipway_cluster.%s]`, len(specs), spec.Cluster), 1))
		}
	}
	for cluster, names := range listeners {
		fmt.Fprintf(&config, "resource \"slipway_cluster\" %q {\n  name = %q\n  balancer = { listeners = {", cluster, cluster)
		for name := range names {
			fmt.Fprintf(&config, " %q = { port = 80 },", name)
		}
		config.WriteString(" } }\n}\n")
	}
	m := newMemory()
	acctest.UnitTest(t, acctest.TestCase{
		ProtoV6ProviderFactories: factories(m),
		Steps: []acctest.TestStep{{
			Config: config.String(),
			Check: func(*terraform.State) error {
				if len(m.applies) != len(specs) {
					return fmt.Errorf("%d of %d applied", len(m.applies), len(specs))
				}
				for _, got := range m.applies {
					want := specs[got.Ref()]
					want.Containers = withSecretARNs(want.Containers, got.Infra)
					if d := service.Diff(want, got.Spec); len(d) > 0 {
						return fmt.Errorf("the engine was asked for something else: %v", d)
					}
				}
				return nil
			},
		}},
	})
}

// resourceOnly is the module's resource: the test harness writes the rest itself.
func resourceOnly(module string) string {
	return module[strings.Index(module, "resource "):strings.Index(module, "output ")]
}

func TestRepositoryAndImage(t *testing.T) {
	needTerraform(t)
	m := newMemory()
	m.tags["web:latest"] = "sha256:" + strings.Repeat("a", 64)
	repository := func(more string) string {
		return `
resource "slipway_repository" "web" {
  name      = "web"
  immutable = true
  mutable   = ["latest"]
  lifecycle_policy = jsonencode({ rules = [{ rulePriority = 1, description = "keep a hundred" }] })
` + more + `
}
`
	}
	acctest.UnitTest(t, acctest.TestCase{
		ProtoV6ProviderFactories: factories(m),
		Steps: []acctest.TestStep{
			{
				Config: repository("") + `
data "slipway_image" "web" {
  repository = slipway_repository.web.name
  tag        = "latest"
}
`,
				Check: acctest.TestCheckResourceAttr("data.slipway_image.web", "image", "registry.test/web@sha256:"+strings.Repeat("a", 64)),
			},
			{ResourceName: "slipway_repository.web", ImportState: true, ImportStateId: "web", ImportStateVerify: true, ImportStateVerifyIgnore: []string{"lifecycle_policy"}},
			{
				PreConfig: func() {
					r := m.repositories["web"]
					r.Images = 3
					m.repositories["web"] = r
				},
				Config: cluster, ExpectError: regexp.MustCompile(`has images in it`),
			},
			{Config: repository("force_delete = true")},
		},
	})
}
