// Package images tests images from the outside: the commands and clients nobody here wrote, against
// the local AWS.
package images

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/cli"
	"github.com/slipway-ecs/slipway/internal/clusterinfra"
	"github.com/slipway-ecs/slipway/internal/image"
	"github.com/slipway-ecs/slipway/internal/local/localtest"
	"github.com/slipway-ecs/slipway/internal/registry"
	"github.com/slipway-ecs/slipway/internal/release"
)

const newestOnly = `{"rules":[{"rulePriority":1,"description":"newest","selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":1},"action":{"type":"expire"}}]}`

// shop is a local AWS with a repository.
type shop struct {
	aws    *localtest.AWS
	cloud  *awscloud.Cloud
	client registry.Client
	uri    string
}

func newShop(t *testing.T) *shop {
	t.Helper()
	a := localtest.Start(t)
	t.Setenv("AWS_ENDPOINT_URL", a.Endpoint)
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	t.Setenv("AWS_REGION", "us-east-1")
	cloud, err := awscloud.Open(t.Context(), awscloud.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := cloud.Repositories().Apply(t.Context(), clusterinfra.Repository{Name: "app"})
	if err != nil {
		t.Fatal(err)
	}
	return &shop{a, cloud, registry.Client{Credentials: cloud.RegistryCredentials}, r.URI}
}

func (s *shop) push(t *testing.T, tags ...string) image.Digest {
	t.Helper()
	img, err := random.Image(2000, 2)
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.client.Push(t.Context(), s.uri, img, tags...)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (s *shop) ledger() release.Ledger {
	return release.Ledger{Referrers: s.client, Catalog: s.client}
}

// guarded is the repository engine as the provider opens it.
func (s *shop) guarded() *clusterinfra.Repositories {
	return s.cloud.Repositories().Guarded(release.Guard{Stock: s.cloud, Ledger: s.ledger(), Kept: 1, Now: time.Now})
}

func (s *shop) run(t *testing.T, digest image.Digest) {
	t.Helper()
	api := ecs.NewFromConfig(s.aws.Config)
	if _, err := api.CreateCluster(t.Context(), &ecs.CreateClusterInput{ClusterName: aws.String("prod")}); err != nil {
		t.Fatal(err)
	}
	def := []ecstypes.ContainerDefinition{{Name: aws.String("app"), Image: aws.String(s.uri + "@" + string(digest)), Memory: aws.Int32(64)}}
	if _, err := api.RegisterTaskDefinition(t.Context(), &ecs.RegisterTaskDefinitionInput{Family: aws.String("app"), ContainerDefinitions: def}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.CreateService(t.Context(), &ecs.CreateServiceInput{Cluster: aws.String("prod"), ServiceName: aws.String("app"), TaskDefinition: aws.String("app"), DesiredCount: aws.Int32(0)}); err != nil {
		t.Fatal(err)
	}
}

func slipway(t *testing.T, args ...string) (code int, out, stderr string) {
	t.Helper()
	var o, e bytes.Buffer
	code = cli.Run(t.Context(), args, cli.Stdio{In: strings.NewReader(""), Out: &o, Err: &e})
	return code, o.String(), e.String()
}

func TestPolicyThatWouldDeleteWhatProdRuns(t *testing.T) {
	s := newShop(t)
	running := s.push(t, "v1")
	s.push(t, "v2")
	s.run(t, running)
	want := clusterinfra.Repository{Name: "app", Lifecycle: newestOnly}
	_, err := s.guarded().Apply(t.Context(), want)
	var inUse *release.InUseError
	if !errors.As(err, &inUse) || !strings.Contains(err.Error(), "service prod/app") || !strings.Contains(err.Error(), string(running)) {
		t.Fatalf("it must be refused with the image and the service: %v", err)
	}
	r, err := s.cloud.Repositories().Read(t.Context(), "app")
	if err != nil || r.Lifecycle != "" || r.Images != 2 {
		t.Errorf("the repository changed: %+v, %v", r, err)
	}
	policy := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(policy, []byte(newestOnly), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, stderr := slipway(t, "images", "preview", "-r", "app", "--policy", policy); code != cli.ExitRefused || !strings.Contains(stderr, "service prod/app") {
		t.Errorf("preview: exit %d\n%s%s", code, out, stderr)
	}
}

func TestPolicyThatWouldDeleteWhatTheLedgerReleased(t *testing.T) {
	s := newShop(t)
	released := s.push(t, "v1")
	s.push(t, "v2")
	st := release.Statement{Kind: release.DeployedTo, Subject: released, Repository: "app", Environment: "prod", Outcome: release.Succeeded, At: time.Now(), By: "ci@example.com"}
	if err := s.ledger().Append(t.Context(), s.uri, st); err != nil {
		t.Fatal(err)
	}
	if _, err := s.guarded().Apply(t.Context(), clusterinfra.Repository{Name: "app", Lifecycle: newestOnly}); err == nil || !strings.Contains(err.Error(), "environment prod") {
		t.Errorf("it must be refused with the environment: %v", err)
	}
}

func TestPruneAndProtect(t *testing.T) {
	s := newShop(t)
	running, spare := s.push(t, "v1"), s.push(t, "v2")
	newest := s.push(t, "v3")
	s.run(t, running)
	if code, _, stderr := slipway(t, "images", "prune", "v1", "-r", "app", "--yes"); code != cli.ExitRefused || !strings.Contains(stderr, "service prod/app") {
		t.Errorf("an image in use: exit %d, %s", code, stderr)
	}
	if code, _, stderr := slipway(t, "images", "prune", "v2", "-r", "app"); code != cli.ExitOK {
		t.Errorf("without --yes: exit %d, %s", code, stderr)
	}
	if _, err := s.client.Resolve(t.Context(), s.uri+"@"+string(spare)); err != nil {
		t.Errorf("it was deleted without --yes: %v", err)
	}
	code, out, stderr := slipway(t, "images", "prune", "v2", "-r", "app", "--yes", "--json")
	var plan struct{ Deleted []string }
	if err := json.Unmarshal([]byte(out), &plan); err != nil || code != cli.ExitOK || len(plan.Deleted) != 1 || plan.Deleted[0] != string(spare) {
		t.Errorf("prune: exit %d, %v\n%s%s", code, err, out, stderr)
	}
	if code, out, stderr := slipway(t, "images", "protect", "v1", "-r", "app"); code != cli.ExitOK || !strings.Contains(out, "keep_"+running.Hex()[:12]) {
		t.Errorf("protect: exit %d\n%s%s", code, out, stderr)
	}
	// A policy that takes nothing today would take it after the next push.
	const newestTwo = `{"rules":[{"rulePriority":1,"selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":2},"action":{"type":"expire"}}]}`
	if err := s.cloud.PutLifecyclePolicy(t.Context(), "app", newestTwo); err != nil {
		t.Fatal(err)
	}
	if code, out, stderr := slipway(t, "images", "protect", "v1", "-r", "app"); code != cli.ExitRefused || !strings.Contains(out, "after 1 newer images") || !strings.Contains(stderr, "--add-rule") {
		t.Errorf("protect under a policy that counts: exit %d\n%s%s", code, out, stderr)
	}
	if code, out, stderr := slipway(t, "images", "protect", "v1", "-r", "app", "--add-rule"); code != cli.ExitOK {
		t.Errorf("protect with a rule: exit %d\n%s%s", code, out, stderr)
	}
	if code, out, stderr := slipway(t, "images", "protect", "v1", "-r", "app"); code != cli.ExitOK {
		t.Errorf("protect under that rule: exit %d\n%s%s", code, out, stderr)
	}
	code, out, _ = slipway(t, "image", "show", "keep_"+running.Hex()[:12], "-r", "app")
	if code != cli.ExitOK || !strings.Contains(out, string(running)) {
		t.Errorf("show: exit %d\n%s", code, out)
	}
	if code, out, _ := slipway(t, "images", "ls", "-r", "app", "--json"); code != cli.ExitOK || !strings.Contains(out, string(newest)) || strings.Contains(out, string(spare)) {
		t.Errorf("ls: exit %d\n%s", code, out)
	}
}
