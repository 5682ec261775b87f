package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	acctest "github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/clusterinfra"
	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/local"
	"github.com/slipway-ecs/slipway/internal/local/runtime/sandbox"
	"github.com/slipway-ecs/slipway/internal/registry/imagetest"
)

// The sandbox runtime starts this binary again as the first process of its containers.
func TestMain(m *testing.M) {
	sandbox.MaybeInit()
	os.Unsetenv("TF_CLI_CONFIG_FILE") // whoever runs this has a configuration for other providers
	named(os.Getenv("TF_ACC_TERRAFORM_PATH"))
	os.Exit(m.Run())
}

// startLocal serves a whole local AWS, whose time runs at speed, and points the SDK's environment at it.
func startLocal(t *testing.T, speed float64) (host string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host = l.Addr().String()
	// Only the clients' configuration comes from outside.
	for k, v := range map[string]string{"AWS_ENDPOINT_URL": "http://" + host, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "local",
		"AWS_SECRET_ACCESS_KEY": "local", "AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere"} {
		t.Setenv(k, v)
	}
	aws, err := local.New(t.Context(), local.Config{Address: host, Speed: speed})
	if err != nil {
		_ = l.Close()
		t.Skipf("no local AWS on this machine: %v", err)
	}
	server := &http.Server{Handler: aws, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- aws.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the local AWS ended: %v", err)
		}
		_ = server.Close()
	})
	return host
}

// pushImage builds the example service and pushes an image of it; the reference has its digest.
func pushImage(t *testing.T, host, version string, change func(*v1.Config)) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "iplookup")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version="+version, "-o", binary, ".")
	build.Dir = "../../examples/iplookup"
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the example: %v\n%s", err, out)
	}
	config := v1.Config{Entrypoint: []string{"/iplookup"}}
	if change != nil {
		change(&config)
	}
	cloud, err := awscloud.Open(t.Context(), awscloud.Options{})
	if err != nil {
		t.Fatal(err)
	}
	user, password, err := cloud.RegistryCredentials(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	return imagetest.Push(t, host+"/iplookup:"+version, user, password, map[string]string{"iplookup": binary}, config)
}

// load is steady traffic from several clients that keep their connections.
type load struct {
	done     chan struct{}
	clients  sync.WaitGroup
	requests atomic.Int64
	mu       sync.Mutex
	failed   []string
}

func startTraffic(url string) *load {
	l := &load{done: make(chan struct{})}
	for range 4 {
		l.clients.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
			for {
				select {
				case <-l.done:
					client.CloseIdleConnections()
					return
				case <-time.After(5 * time.Millisecond):
				}
				l.requests.Add(1)
				if err := request(client, url); err != nil {
					l.mu.Lock()
					l.failed = append(l.failed, err.Error())
					l.mu.Unlock()
				}
			}
		})
	}
	return l
}

func request(client *http.Client, url string) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// stop ends the traffic and says what failed of it.
func (l *load) stop() error {
	close(l.done)
	l.clients.Wait()
	if n := l.requests.Load(); n < 100 || len(l.failed) > 0 {
		return fmt.Errorf("of %d requests, %d failed: %v", n, len(l.failed), l.failed[:min(3, len(l.failed))])
	}
	return nil
}

// The main job, by Terraform alone, with real processes and real requests.
func TestServiceOnTheLocalAWS(t *testing.T) {
	if testing.Short() {
		t.Skip("starts containers")
	}
	needTerraform(t)
	host := startLocal(t, 1)
	base := `
resource "slipway_cluster" "demo" {
  name      = "demo"
  instances = { type = "m5.large", min = 2, max = 4 }
  balancer  = { listeners = { qa = { port = 8081 }, prod = { port = 8080 } } }
}
`
	app := func(image, more string) string {
		return base + fmt.Sprintf(`
resource "slipway_service" "app" {
  name          = "iplookup"
  environment   = "qa"
  cluster       = slipway_cluster.demo.name
  image         = %q
  desired_count = 2
  containers    = [{ name = "iplookup", cpu = 64, memory = 64, stop_timeout = 5, ports = [{ container = 8080 }] }]
  route = {
    listener             = "qa", paths = ["/*"], container = "iplookup", port = 8080, deregistration_delay = 1
    health               = { path = "/healthz", interval = 5, timeout = 2 }
  }
  deployment = { timeout = 120 }
  %s
}
output "url" { value = slipway_service.app.url }
`, image, more)
	}
	var address string
	serves := func(version string) acctest.TestCheckFunc {
		return func(s *terraform.State) error {
			url := s.RootModule().Outputs["url"].Value.(string)
			address = url
			resp, err := http.Get(url + "/")
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			var got struct{ IP, Version string }
			if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
				return fmt.Errorf("%s: %w", resp.Status, err)
			}
			if got.Version != version || got.IP == "" {
				return fmt.Errorf("%s answers %+v, not version %s", url, got, version)
			}
			return nil
		}
	}
	b, err := open(t.Context(), awscloud.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Repositories.Apply(t.Context(), clusterinfra.Repository{Name: "iplookup"}); err != nil {
		t.Fatal(err)
	}
	first, second := pushImage(t, host, "v1", nil), pushImage(t, host, "v2", nil)
	broken := pushImage(t, host, "v3", func(c *v1.Config) { c.Env = []string{"PORT=nonsense"} })
	var traffic *load
	acctest.UnitTest(t, acctest.TestCase{
		ProtoV6ProviderFactories: map[string]func() (tfprotov6.ProviderServer, error){"slipway": providerserver.NewProtocol6WithError(New(open)())},
		Steps: []acctest.TestStep{
			{Config: base},
			{Config: app(first, ""), Check: serves("v1")},
			{ResourceName: "slipway_service.app", ImportState: true, ImportStateId: "demo/iplookup/qa", ImportStateVerify: true,
				ImportStateVerifyIgnore: []string{"deployment.timeout", "route.listener"}},
			{ // replaced under load: not one request fails
				PreConfig: func() { traffic = startTraffic(address + "/") },
				Config:    app(second, ""),
				Check:     acctest.ComposeTestCheckFunc(serves("v2"), func(*terraform.State) error { return traffic.stop() }),
				ConfigPlanChecks: acctest.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					plancheck.ExpectResourceAction("slipway_service.app", plancheck.ResourceActionUpdate),
					plancheck.ExpectResourceAction("slipway_cluster.demo", plancheck.ResourceActionNoop),
				}},
			},
			{Config: app(broken, ""), ExpectError: regexp.MustCompile(`(?s)[34] tasks exited with code 1.*ROLLBACK_SUCCESSFUL.*unknown port`)},
			{Config: app(second, `tags = { team = "platform" }`), Check: serves("v2")},
		},
		CheckDestroy: func(*terraform.State) error {
			_, err := b.Services.Read(context.Background(), deploy.Ref{Cluster: "demo", Service: "iplookup-qa"})
			if !errors.Is(err, deploy.ErrNotFound) {
				return fmt.Errorf("the service is still there: %v", err)
			}
			_, err = b.Clusters.Read(context.Background(), "demo")
			if !errors.Is(err, clusterinfra.ErrNotFound) {
				return fmt.Errorf("the cluster is still there: %v", err)
			}
			return nil
		},
	})
}

// What was applied and nobody touched is read back without a difference, whatever it uses.
func TestNoDriftOnTheLocalAWS(t *testing.T) {
	if testing.Short() {
		t.Skip("starts containers")
	}
	needTerraform(t)
	host := startLocal(t, 8) // a worker counts as healthy after 40 s
	b, err := open(t.Context(), awscloud.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Repositories.Apply(t.Context(), clusterinfra.Repository{Name: "iplookup"}); err != nil {
		t.Fatal(err)
	}
	put, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+host, strings.NewReader(`{"Name":"/app/token","Value":"canary","Type":"SecureString"}`))
	if err != nil {
		t.Fatal(err)
	}
	put.Header.Set("Content-Type", "application/x-amz-json-1.1")
	put.Header.Set("X-Amz-Target", "AmazonSSM.PutParameter")
	resp, err := http.DefaultClient.Do(put)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != http.StatusOK {
		t.Fatalf("storing the parameter: %s", resp.Status)
	}
	image := pushImage(t, host, "v1", nil)
	config := `
resource "slipway_cluster" "demo" {
  name      = "demo"
  instances = { type = "m5.large", min = 2, max = 4, capacity_provider = true, target_capacity = 90 }
  groups = {
    spot  = { type = "m5.large", other_types = ["m6i.large", "m5a.large"], spot_percent = 80, on_demand_base = 1, max = 4, capacity_provider = true }
    batch = { type = "c7g.large", max = 2, user_data = "echo batch" }
  }
  balancer  = { listeners = { main = { port = 8080 } }, idle_timeout = 90 }
  alarm_topic = { emails = ["ops@example.com", "ann@example.com"] }
  tags      = { team = "platform" }
}
resource "slipway_service" "rich" {
  name          = "rich"
  team          = "platform"
  environment   = "qa"
  cluster       = slipway_cluster.demo.name
  image         = "` + image + `"
  release       = "v1"
  desired_count = 1
  scaling = { min = 1, max = 4, targets = [{ metric = "memory", target = 70 }, { metric = "cpu", target = 60, scale_in_cooldown = 600 }] }
  containers = [{
    name = "app", cpu = 32, memory = 64, memory_reservation = 32, stop_timeout = 2
    ports   = [{ container = 8080 }, { container = 9000, protocol = "udp" }]
    env     = { B = "2", A = "1", EMPTY = "" }
    secrets = { TOKEN = "ssm:/app/token" }
    ulimits = [{ name = "nofile", soft = 1024, hard = 2048 }]
  }]
  placement = { strategies = [{ type = "spread", field = "attribute:ecs.availability-zone" }, { type = "binpack", field = "memory" }] }
  route = {
    listener = "main", hosts = ["b.example.com", "a.example.com"], paths = ["/x/*"], methods = ["GET"], headers = { X-Env = ["qa"] }
    container = "app", port = 8080, deregistration_delay = 1, sticky = 60, grace_period = 5
    health = { path = "/healthz", interval = 5, timeout = 2, healthy = 3 }
  }
  task_role = { statements = [{ actions = ["s3:GetObject"], resources = ["arn:aws:s3:::b/*", "arn:aws:s3:::a/*"] }] }
  logs      = { retention = 7 }
  tags      = { cost_center = "4711" }
}
resource "slipway_service" "agent" {
  name        = "agent"
  environment = "qa"
  cluster     = slipway_cluster.demo.name
  kind        = "daemon"
  image       = "` + image + `"
  containers  = [{ name = "agent", memory = 32, stop_timeout = 2 }]
  deployment  = { minimum_healthy = 0, maximum = 100 }
}
resource "slipway_service" "worker" {
  name        = "worker"
  environment = "qa"
  cluster     = slipway_cluster.demo.name
  kind        = "worker"
  image       = "` + image + `"
  containers  = [{ name = "worker", memory = 32, stop_timeout = 2, env = { PORT = "9001" } }]
  capacity_provider_strategy = [{ name = slipway_cluster.demo.capacity_provider, weight = 1 }]
}
resource "slipway_service" "job" {
  name        = "job"
  environment = "qa"
  cluster     = slipway_cluster.demo.name
  kind        = "job"
  image       = "` + image + `"
  containers  = [{ name = "job", memory = 32 }]
}
`
	acctest.UnitTest(t, acctest.TestCase{
		ProtoV6ProviderFactories: map[string]func() (tfprotov6.ProviderServer, error){"slipway": providerserver.NewProtocol6WithError(New(open)())},
		Steps: []acctest.TestStep{
			{Config: config},
			{Config: config, PlanOnly: true},
			{Config: strings.Replace(config, "retention = 7", "retention = 14", 1)},
			{Config: strings.Replace(config, "spot_percent = 80", "spot_percent = 100", 1), Check: acctest.ComposeTestCheckFunc(
				acctest.TestCheckResourceAttr("slipway_cluster.demo", "alarm_topic_arn", "arn:aws:sns:us-east-1:000000000000:slipway-demo-alarms"),
				acctest.TestCheckResourceAttr("slipway_cluster.demo", "autoscaling_groups.batch", "slipway-demo_batch"),
				acctest.TestCheckResourceAttr("slipway_cluster.demo", "capacity_providers.spot", "slipway-demo_spot"))},
			{Config: strings.Replace(config, `batch = { type = "c7g.large"`, `later = { type = "c7g.large"`, 1)},
			{ResourceName: "slipway_cluster.demo", ImportState: true, ImportStateId: "demo", ImportStateVerify: true,
				ImportStateVerifyIgnore: []string{"alarm_topic.emails"}}, // in another order
		},
	})
}
