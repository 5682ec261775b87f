package provider

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	acctest "github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"

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
	hcl := func(more string) string {
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
				Config: hcl(""),
				Check: acctest.ComposeAggregateTestCheckFunc(
					acctest.TestCheckResourceAttr("slipway_repository.web", "uri", host+"/team/web"),
					acctest.TestCheckResourceAttr("slipway_repository.web", "arn", "arn:aws:ecr:us-east-1:000000000000:repository/team/web"),
				),
			},
			{ResourceName: "slipway_repository.web", ImportState: true, ImportStateId: "team/web", ImportStateVerify: true,
				ImportStateVerifyIgnore: []string{"lifecycle_policy", "mutable", "pull_accounts"}}, // in another order or form
			{Config: hcl("") + image, ExpectError: regexp.MustCompile(`has no image tagged v1`)},
			{
				PreConfig: func() {
					if err := crane.Push(pushed, host+"/team/web:v1", crane.Insecure); err != nil {
						t.Fatal(err)
					}
				},
				Config: hcl("") + image,
				Check:  acctest.TestCheckOutput("image", host+"/team/web@"+digest.String()),
			},
			{
				Config: strings.Replace(hcl("scan_on_push = false\n"), "platform", "shop", 1),
				ConfigPlanChecks: acctest.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					plancheck.ExpectResourceAction("slipway_repository.web", plancheck.ResourceActionUpdate),
				}},
			},
			{Config: `output "nothing" { value = 1 }`, ExpectError: regexp.MustCompile(`has images in it`)},
			{Config: hcl("force_delete = true\n")},
		},
	})
}

// A repository's rule is one of many in the registry's configuration: the others stay, it is repaired, and goes with
// the repository.
func TestReplicationOnTheLocalAWS(t *testing.T) {
	needTerraform(t)
	startRegistry(t)
	ctx := t.Context()
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		t.Fatal(err)
	}
	api := ecr.NewFromConfig(cfg)
	put := func(rules ...types.ReplicationRule) {
		t.Helper()
		if _, err := api.PutReplicationConfiguration(ctx, &ecr.PutReplicationConfigurationInput{ReplicationConfiguration: &types.ReplicationConfiguration{Rules: rules}}); err != nil {
			t.Fatal(err)
		}
	}
	rules := func(want string) func(*terraform.State) error {
		return func(*terraform.State) error {
			out, err := api.DescribeRegistry(context.WithoutCancel(ctx), &ecr.DescribeRegistryInput{})
			if err != nil {
				return err
			}
			var got []string
			for _, r := range out.ReplicationConfiguration.Rules {
				text := ""
				for _, f := range r.RepositoryFilters {
					text += *f.Filter + " "
				}
				for _, d := range r.Destinations {
					text += ">" + *d.Region + "/" + *d.RegistryId
				}
				got = append(got, text)
			}
			if text := strings.Join(got, ", "); text != want {
				return fmt.Errorf("the registry replicates %q, not %q", text, want)
			}
			return nil
		}
	}
	const others = "shared/ >eu-central-1/222222222222"
	foreign := types.ReplicationRule{RepositoryFilters: []types.RepositoryFilter{{Filter: aws.String("shared/"), FilterType: types.RepositoryFilterTypePrefixMatch}},
		Destinations: []types.ReplicationDestination{{Region: aws.String("eu-central-1"), RegistryId: aws.String("222222222222")}}}
	put(foreign)
	two := func(to string) string {
		return `
resource "slipway_repository" "a" {
  name         = "aa"
  replicate_to = [` + to + `]
}
resource "slipway_repository" "b" {
  name         = "bb"
  replicate_to = [{ region = "eu-west-1" }]
}
`
	}
	both := two(`{ region = "eu-west-1" }, { region = "eu-central-1", account = "000000000000" }`)
	const kept = ", aa >eu-central-1/000000000000>eu-west-1/000000000000"
	acctest.UnitTest(t, acctest.TestCase{
		ProtoV6ProviderFactories: map[string]func() (tfprotov6.ProviderServer, error){"slipway": providerserver.NewProtocol6WithError(New(open)())},
		Steps: []acctest.TestStep{
			{Config: both},
			{Config: both, PlanOnly: true},
			{ResourceName: "slipway_repository.b", ImportState: true, ImportStateId: "bb", ImportStateVerify: true},
			{PreConfig: func() { put(foreign) }, Config: both, ConfigPlanChecks: acctest.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
				plancheck.ExpectResourceAction("slipway_repository.a", plancheck.ResourceActionUpdate)}}},
			{Config: two(`{ region = "eu-west-1" }`), Check: func(s *terraform.State) error {
				if rules(others+", aa bb >eu-west-1/000000000000")(s) == nil {
					return nil
				}
				return rules(others + ", bb aa >eu-west-1/000000000000")(s)
			}},
			{Config: two(`{ region = "us-east-1" }`), ExpectError: regexp.MustCompile(`cannot be\s+replicated\s+to\s+where`)},
			{Config: strings.Replace(both, `[{ region = "eu-west-1" }]`, "null", 1), Check: rules(others + kept)},
		},
		CheckDestroy: rules(others),
	})
}

// A lifecycle policy that is made is nothing to compare by hand: it is repaired, and changed by its numbers.
func TestKeepReleasesOnTheLocalAWS(t *testing.T) {
	needTerraform(t)
	startRegistry(t)
	ctx := t.Context()
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		t.Fatal(err)
	}
	api := ecr.NewFromConfig(cfg)
	has := func(want string) func(*terraform.State) error {
		return func(*terraform.State) error {
			out, err := api.GetLifecyclePolicy(context.WithoutCancel(ctx), &ecr.GetLifecyclePolicyInput{RepositoryName: aws.String("kept")})
			if err != nil {
				return err
			}
			if !strings.Contains(*out.LifecyclePolicyText, want) {
				return fmt.Errorf("no %s in %s", want, *out.LifecyclePolicyText)
			}
			return nil
		}
	}
	repository := func(more string) string {
		return "resource \"slipway_repository\" \"kept\" {\n  name = \"kept\"\n" + more + "\n}\n"
	}
	acctest.UnitTest(t, acctest.TestCase{
		ProtoV6ProviderFactories: map[string]func() (tfprotov6.ProviderServer, error){"slipway": providerserver.NewProtocol6WithError(New(open)())},
		Steps: []acctest.TestStep{
			{Config: repository("keep_releases = {}"), Check: has(`"countNumber":100`)},
			{Config: repository("keep_releases = {}"), PlanOnly: true},
			{PreConfig: func() {
				if _, err := api.DeleteLifecyclePolicy(ctx, &ecr.DeleteLifecyclePolicyInput{RepositoryName: aws.String("kept")}); err != nil {
					t.Fatal(err)
				}
			}, Config: repository("keep_releases = {}"), Check: has(`"countNumber":14`)},
			{Config: repository("keep_releases = { newest = 30, days = 5 }"), Check: has(`"countNumber":30`)},
			{Config: repository("keep_releases = {}\n  lifecycle_policy = jsonencode({ rules = [] })"), ExpectError: regexp.MustCompile(`leave one of\s+them\s+out`)},
			{Config: repository("keep_releases = { newest = 0 }"), ExpectError: regexp.MustCompile(`at\s+least\s+1`)},
			{Config: repository("")},
		},
	})
}
