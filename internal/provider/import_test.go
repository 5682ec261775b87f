package provider

import (
	"fmt"
	"strings"
	"testing"

	acctest "github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/terraform"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/clusterinfra"
	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/service"
)

// A service that was deployed without this state is taken over by terraform import: the plan after it is
// empty, and nothing was rolled out for it.
func TestImportThenEmptyPlan(t *testing.T) {
	needTerraform(t)
	startRefusing(t)
	b, err := open(t.Context(), awscloud.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cluster := clusterinfra.Spec{Name: "demo", Instances: &clusterinfra.Instances{Type: "m7i.large", Min: 1, Max: 2}, Balancer: &clusterinfra.Balancer{Listeners: map[string]clusterinfra.Listener{"qa": {Port: 18081}}}}
	if _, err := b.Clusters.Apply(t.Context(), cluster, nil); err != nil {
		t.Fatal(err)
	}
	config := strings.Replace(fmt.Sprintf(halves, "1"), "deployment    = { timeout = 120 }", "", 1)
	ref := deploy.Ref{Cluster: "demo", Service: "worker-qa"}
	var was string
	acctest.UnitTest(t, acctest.TestCase{ // made by another state
		ProtoV6ProviderFactories: ours(),
		Steps: []acctest.TestStep{{Config: config, Check: func(*terraform.State) error {
			o, err := b.Services.Read(t.Context(), ref)
			was = o.Service.CurrentDeployment
			return err
		}}, {Config: config, Destroy: false, ResourceName: "slipway_service.worker", ImportState: true, ImportStateId: "demo/worker/qa", ImportStateVerify: true,
			ImportStateVerifyIgnore: []string{"deployment.timeout", "target_group_arn", "url"}},
			{Config: `removed {
  from = slipway_service.worker
  lifecycle { destroy = false }
}`}},
	})
	if o, err := b.Services.Read(t.Context(), ref); err != nil || o.Service.CurrentDeployment != was || o.Spec.Kind != service.KindService {
		t.Fatalf("the other state took it along: %+v, %v", o.Service, err)
	}
	acctest.UnitTest(t, acctest.TestCase{
		ProtoV6ProviderFactories: ours(),
		Steps: []acctest.TestStep{
			{Config: config, ResourceName: "slipway_service.worker", ImportState: true, ImportStateId: "demo/worker/qa", ImportStatePersist: true},
			{Config: config, PlanOnly: true},
			{Config: config, Check: func(*terraform.State) error {
				o, err := b.Services.Read(t.Context(), ref)
				if err == nil && (o.Service.CurrentDeployment != was || o.TaskDefinition.Revision != 1) {
					return fmt.Errorf("the import rolled out %s, revision %d", o.Service.CurrentDeployment, o.TaskDefinition.Revision)
				}
				return err
			}},
		},
	})
}
