package provider

import (
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	acctest "github.com/hashicorp/terraform-plugin-testing/helper/resource"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/local/localtest"
	"github.com/slipway-ecs/slipway/internal/registry"
)

// A lifecycle policy that would delete what production runs, and a repository whose images run, are
// refused by Terraform's apply, with the image and who runs it.
func TestRepositoryKeepsWhatRuns(t *testing.T) {
	needTerraform(t)
	a := localtest.Start(t)
	for k, v := range map[string]string{"AWS_ENDPOINT_URL": a.Endpoint, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "local",
		"AWS_SECRET_ACCESS_KEY": "local", "AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere"} {
		t.Setenv(k, v)
	}
	host := strings.TrimPrefix(a.Endpoint, "http://")
	api := ecs.NewFromConfig(a.Config)
	deployOld := func() {
		cloud, err := awscloud.Open(t.Context(), awscloud.Options{})
		if err != nil {
			t.Fatal(err)
		}
		client := registry.Client{Credentials: cloud.RegistryCredentials}
		var old string
		for _, tag := range []string{"v1", "v2"} {
			img, err := random.Image(512, 1)
			if err != nil {
				t.Fatal(err)
			}
			d, err := client.Push(t.Context(), host+"/app", img, tag)
			if err != nil {
				t.Fatal(err)
			}
			if old == "" {
				old = host + "/app@" + string(d)
			}
		}
		if _, err := api.CreateCluster(t.Context(), &ecs.CreateClusterInput{ClusterName: aws.String("prod")}); err != nil {
			t.Fatal(err)
		}
		if _, err := api.RegisterTaskDefinition(t.Context(), &ecs.RegisterTaskDefinitionInput{Family: aws.String("app"),
			ContainerDefinitions: []ecstypes.ContainerDefinition{{Name: aws.String("app"), Image: &old, Memory: aws.Int32(64)}}}); err != nil {
			t.Fatal(err)
		}
		if _, err := api.CreateService(t.Context(), &ecs.CreateServiceInput{Cluster: aws.String("prod"), ServiceName: aws.String("app"), TaskDefinition: aws.String("app"), DesiredCount: aws.Int32(0)}); err != nil {
			t.Fatal(err)
		}
	}
	config := func(keep string) string {
		return `
resource "slipway_repository" "app" {
  name         = "app"
  force_delete = true
  lifecycle_policy = jsonencode({ rules = [{ rulePriority = 1, description = "the newest images", selection = {
    tagStatus = "any", countType = "imageCountMoreThan", countNumber = ` + keep + ` }, action = { type = "expire" } }] })
}
`
	}
	runs := regexp.MustCompile(`service\s+prod/app`)
	acctest.UnitTest(t, acctest.TestCase{
		ProtoV6ProviderFactories: map[string]func() (tfprotov6.ProviderServer, error){"slipway": providerserver.NewProtocol6WithError(New(open)())},
		Steps: []acctest.TestStep{
			{Config: config("10")},
			{PreConfig: deployOld, Config: config("1"), ExpectError: runs},
			{Config: `output "nothing" { value = 1 }`, ExpectError: runs},
			{
				PreConfig: func() {
					if _, err := api.DeleteService(t.Context(), &ecs.DeleteServiceInput{Cluster: aws.String("prod"), Service: aws.String("app"), Force: aws.Bool(true)}); err != nil {
						t.Fatal(err)
					}
				},
				Config: config("1"), // and what nobody runs goes
			},
		},
	})
}
