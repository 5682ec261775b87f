package provider

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	acctest "github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"

	"github.com/slipway-ecs/slipway/internal/local"
	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

// startRegistry serves the local AWS and returns its host and port.
func startRegistry(t *testing.T) (host string) {
	t.Helper()
	a := localtest.Start(t, func(c *local.Config) { c.OpenRegistry = true })
	for k, v := range map[string]string{"AWS_ENDPOINT_URL": a.Endpoint, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "local",
		"AWS_SECRET_ACCESS_KEY": "local", "AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere"} {
		t.Setenv(k, v)
	}
	return strings.TrimPrefix(a.Endpoint, "http://")
}

// The whole way: Terraform, provider, engine, SDK, wire, registry.
func TestRepositoryOnTheLocalAWS(t *testing.T) {
	needTerraform(t)
	host := startRegistry(t)
	config := func(more string) string {
		return `
resource "slipway_repository" "web" {
  name             = "team/web"
  immutable        = true
  mutable          = ["latest", "dev-*"]
  pull_accounts    = ["222222222222", "111111111111"]
  lifecycle_policy = jsonencode({ rules = [{ rulePriority = 1, description = "keep a hundred", selection = {
    tagStatus = "any", countType = "imageCountMoreThan", countNumber = 100 }, action = { type = "expire" } }] })
  tags = { team = "platform" }
` + more + "}\n"
	}
	image := `
data "slipway_image" "web" {
  repository = slipway_repository.web.name
  tag        = "v1"
}
output "image" { value = data.slipway_image.web.image }
`
	pushed, err := random.Image(1024, 1)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := pushed.Digest()
	if err != nil {
		t.Fatal(err)
	}
	acctest.UnitTest(t, acctest.TestCase{
		ProtoV6ProviderFactories: map[string]func() (tfprotov6.ProviderServer, error){"slipway": providerserver.NewProtocol6WithError(New(open)())},
		Steps: []acctest.TestStep{
			{
				Config: config(""),
				Check: acctest.ComposeAggregateTestCheckFunc(
					acctest.TestCheckResourceAttr("slipway_repository.web", "uri", host+"/team/web"),
					acctest.TestCheckResourceAttr("slipway_repository.web", "arn", "arn:aws:ecr:us-east-1:000000000000:repository/team/web"),
				),
			},
			{ResourceName: "slipway_repository.web", ImportState: true, ImportStateId: "team/web", ImportStateVerify: true,
				ImportStateVerifyIgnore: []string{"lifecycle_policy", "mutable", "pull_accounts"}}, // in another order or form
			{Config: config("") + image, ExpectError: regexp.MustCompile(`has no image tagged v1`)},
			{
				PreConfig: func() {
					if err := crane.Push(pushed, host+"/team/web:v1", crane.Insecure); err != nil {
						t.Fatal(err)
					}
				},
				Config: config("") + image,
				Check:  acctest.TestCheckOutput("image", host+"/team/web@"+digest.String()),
			},
			{
				Config: strings.Replace(config("scan_on_push = false\n"), "platform", "shop", 1),
				ConfigPlanChecks: acctest.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					plancheck.ExpectResourceAction("slipway_repository.web", plancheck.ResourceActionUpdate),
				}},
			},
			{Config: `output "nothing" { value = 1 }`, ExpectError: regexp.MustCompile(`has images in it`)},
			{Config: config("force_delete = true\n")},
		},
	})
}
