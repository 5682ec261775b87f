package ecr

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ecs/slipway/internal/image/lifecycle"
)

// The AWS CLI has the last word: what it prints is what `slipway images preview` reads.
func TestAWSCLI(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the AWS CLI several times")
	}
	if err := exec.Command("aws", "--version").Run(); err != nil {
		t.Skipf("the AWS CLI does not work on this machine: %v", err)
	}
	f := start(t)
	dir := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("aws", append([]string{"ecr"}, args...)...)
		cmd.Env = append(os.Environ(), "AWS_ENDPOINT_URL=http://"+f.host, "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test",
			"AWS_DEFAULT_REGION=us-east-1", "AWS_CONFIG_FILE="+filepath.Join(dir, "none"), "AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("aws ecr %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if uri := run("create-repository", "--repository-name", "app", "--query", "repository.repositoryUri", "--output", "text"); uri != f.host+"/app" {
		t.Errorf("uri %s", uri)
	}
	for _, tag := range []string{"v1", "v2"} {
		f.push(t, "app:"+tag, nil)
		f.clock.set(f.clock.Now().Add(time.Hour))
	}
	if password := run("get-login-password"); password == "" {
		t.Error("no password")
	}
	images, err := lifecycle.DecodeImages([]byte(run("describe-images", "--repository-name", "app")))
	if err != nil || len(images) != 2 || images[0].PushedAt.IsZero() {
		t.Errorf("%v, %v", images, err)
	}
	policy := filepath.Join(dir, "policy.json")
	const text = `{"rules":[{"rulePriority":1,"description":"newest","selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":1},"action":{"type":"expire"}}]}`
	if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run("start-lifecycle-policy-preview", "--repository-name", "app", "--lifecycle-policy-text", "file://"+policy)
	run("wait", "lifecycle-policy-preview-complete", "--repository-name", "app")
	var preview struct {
		PreviewResults []struct{ ImageTags []string }
	}
	if err := json.Unmarshal([]byte(run("get-lifecycle-policy-preview", "--repository-name", "app")), &preview); err != nil || len(preview.PreviewResults) != 1 || preview.PreviewResults[0].ImageTags[0] != "v1" {
		t.Errorf("%+v, %v", preview, err)
	}
	run("put-lifecycle-policy", "--repository-name", "app", "--lifecycle-policy-text", "file://"+policy)
	if got := lifecycle.PolicyText([]byte(run("get-lifecycle-policy", "--repository-name", "app"))); got != text {
		t.Errorf("policy %s", got)
	}
	if tags := run("list-images", "--repository-name", "app", "--query", "imageIds[].imageTag", "--output", "text"); tags != "v2" {
		t.Errorf("tags %s", tags)
	}
}
