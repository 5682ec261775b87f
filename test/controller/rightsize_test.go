package controller

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/build"
	"github.com/slipway-ecs/slipway/internal/cli"
	"github.com/slipway-ecs/slipway/internal/clusterinfra"
	"github.com/slipway-ecs/slipway/internal/image"
	"github.com/slipway-ecs/slipway/internal/local/localtest"
	"github.com/slipway-ecs/slipway/internal/local/runtime/sandbox"
	"github.com/slipway-ecs/slipway/internal/registry"
	"github.com/slipway-ecs/slipway/internal/service"
)

// TestMain lets the test binary be the first process of a sandbox.
func TestMain(m *testing.M) {
	sandbox.MaybeInit()
	os.Exit(m.Run())
}

// A process that holds 40 MiB and does nothing is measured by the local CloudWatch, as it really runs; what it
// should reserve is written into its slipway.yaml, whose comments stay.
func TestRightsizePatch(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for the sandbox runtime")
	}
	for _, name := range []string{"AWS_PROFILE", "AWS_ACCESS_KEY_ID"} {
		t.Setenv(name, "")
	}
	a := localtest.Start(t, localtest.Runtime("sandbox"), localtest.Speed(120))
	t.Setenv("AWS_ENDPOINT_URL", a.Endpoint)
	ctx, api := t.Context(), ecs.NewFromConfig(a.Config)
	cloud, err := awscloud.Open(ctx, awscloud.Options{Region: "us-east-1", Endpoint: a.Endpoint})
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(err)
	_, err = cloud.Clusters().Apply(ctx, clusterinfra.Spec{Name: "demo", Instances: &clusterinfra.Instances{Type: "m7i.large", Min: 1, Max: 1}}, nil)
	check(err)
	_, err = cloud.Repositories().Apply(ctx, clusterinfra.Repository{Name: "shop"})
	check(err)
	img, err := build.Go(ctx, build.GoOptions{Dir: "idle", Package: ".", Platforms: []string{"linux/" + runtime.GOARCH}, Source: build.Source{Revision: image.Revision{Commit: strings.Repeat("c656597a", 5)}, Time: time.Unix(1_700_000_000, 0)}})
	check(err)
	defer img.Close()
	repo := strings.TrimPrefix(a.Endpoint, "http://") + "/shop"
	digest, err := registry.Client{Credentials: cloud.RegistryCredentials}.Push(ctx, repo, img.Content)
	check(err)
	_, err = api.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{Family: aws.String("shop-prod"), ContainerDefinitions: []ecstypes.ContainerDefinition{
		{Name: aws.String("shop"), Image: aws.String(repo + "@" + string(digest)), Cpu: 256, Memory: aws.Int32(512), Essential: aws.Bool(true)}}})
	check(err)
	_, err = api.CreateService(ctx, &ecs.CreateServiceInput{Cluster: aws.String("demo"), ServiceName: aws.String("shop-prod"), TaskDefinition: aws.String("shop-prod"), DesiredCount: aws.Int32(2)})
	check(err)

	const before = `# The shop. Ask the shop's team before you change it.
service: shop
cluster: demo
build: { ko: . }
container: { port: 8080, cpu: 256, memory: 512 } # guessed

environments:
  # For the testers.
  qa: {}
  prod:
    count: 2 # one may fail
`
	path := filepath.Join(t.TempDir(), "slipway.yaml")
	check(os.WriteFile(path, []byte(before), 0o640))
	run := func(args ...string) (string, int) {
		var out bytes.Buffer
		code := cli.Run(context.WithoutCancel(ctx), append([]string{"cluster", "rightsize", "demo", "--since", "1h", "--history", "0", "--max-cut", "1"}, args...), cli.Stdio{In: strings.NewReader(""), Out: &out, Err: &out})
		return out.String(), code
	}
	localtest.Eventually(t, "the service is measured", func() bool {
		out, code := run("--json")
		return code == 0 && strings.Contains(out, `"action":"change"`)
	})
	if out, code := run(); code != 0 || !strings.Contains(out, "memory: reserved 1024 MiB, of which the 95th percentile of use is ") {
		t.Errorf("exit %d: %s", code, out)
	}
	out, code := run("--patch", "--file", path)
	text, err := os.ReadFile(path)
	check(err)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, out)
	}
	f, faults := service.Parse(path, text)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	prod, _ := f.Spec("prod")
	qa, _ := f.Spec("qa")
	c := prod.Containers[0]
	// Its start is part of what is measured, and takes more on a busy machine.
	if c.CPU < 10 || c.CPU >= 256 || c.MemoryReservation < 40 || c.MemoryReservation > 120 || c.Memory != 512 {
		t.Errorf("prod reserves %d CPU units, %d MiB of %d; it holds 40 MiB and does nothing\n%s", c.CPU, c.MemoryReservation, c.Memory, out)
	}
	if qa.Containers[0].CPU != 256 || prod.Count != 2 {
		t.Errorf("more has changed:\n%s", text)
	}
	// Without the one line that came, and the number that changed, it is what it was.
	var rest []string
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, "memory_reservation") {
			rest = append(rest, line)
		}
	}
	if got := strings.Join(rest, ""); got != before {
		t.Errorf("besides the new line there is\n%s", text)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if !strings.Contains(out, "+    container: { cpu: ") {
		t.Errorf("it does not show what it changes: %s", out)
	}
	if out, code := run("--patch", "--file", filepath.Join(t.TempDir(), "none.yaml")); code != cli.ExitBadInput {
		t.Errorf("exit %d: %s", code, out)
	}
	if out, code := run("--file", path); code != cli.ExitBadInput || !strings.Contains(out, "give both") {
		t.Errorf("exit %d: %s", code, out)
	}
}
