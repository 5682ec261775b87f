package ecs_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/slipway-ecs/slipway/internal/local/state"
)

// aws runs the AWS CLI with nothing but --endpoint-url to tell it from a real account's.
func (w world) aws(t *testing.T, args ...string) (map[string]any, string) {
	t.Helper()
	cmd := exec.Command("aws", append(args, "--endpoint-url", w.url, "--output", "json")...)
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_DEFAULT_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, stderr.String()
	}
	got := map[string]any{}
	if len(out) > 0 {
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("aws %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	return got, ""
}

func TestCLI(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the AWS CLI")
	}
	if exec.Command("aws", "--version").Run() != nil {
		t.Skip("the AWS CLI is not installed")
	}
	w := start(t)
	ok := func(args ...string) map[string]any {
		t.Helper()
		got, fail := w.aws(t, append([]string{"ecs"}, args...)...)
		if fail != "" {
			t.Fatalf("aws ecs %s: %s", strings.Join(args, " "), fail)
		}
		return got
	}
	ok("create-cluster", "--cluster-name", "c", "--tags", "key=team,value=a")
	ok("register-task-definition", "--family", "web", "--container-definitions", `[{"name":"app","image":"nginx","memory":64,"portMappings":[{"containerPort":80}]}]`)
	got := ok("create-service", "--cluster", "c", "--service-name", "web", "--task-definition", "web", "--desired-count", "1")
	if s := got["service"].(map[string]any); s["status"] != "ACTIVE" || s["createdAt"] == nil {
		t.Errorf("service = %v", s)
	}
	// The waiter ends when the loops would have made it stable.
	err := w.db.DB.Update(func(tx *state.Tx) error {
		var dep string
		for k, d := range w.db.Deployments.All(tx) {
			dep = d.ID
			next := *d
			next.RolloutState = "COMPLETED"
			w.db.Deployments.Put(tx, k, &next)
		}
		w.db.Tasks.Put(tx, "t", &state.Task{ARN: "t", ClusterName: "c", ServiceKey: "c/web", DeploymentID: dep, DesiredStatus: "RUNNING", LastStatus: "RUNNING"})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ok("wait", "services-stable", "--cluster", "c", "--services", "web")
	_, fail := w.aws(t, "ecs", "describe-services", "--cluster", "nope", "--services", "web")
	if !strings.Contains(fail, "An error occurred (ClusterNotFoundException) when calling the DescribeServices operation: Cluster not found.") {
		t.Errorf("stderr = %s", fail)
	}
}

// TestAnswersAgainstTheModel calls many operations with boto3 and holds each answer, as sent, against
// the service model that the AWS CLI installs: no unknown members, the right types.
func TestAnswersAgainstTheModel(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Python")
	}
	if exec.Command("python3", "-c", "import boto3").Run() != nil {
		t.Skip("python3 with boto3 is not installed")
	}
	w := start(t)
	cmd := exec.Command("python3", "testdata/model.py", w.url)
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_DEFAULT_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "ok") {
		t.Errorf("%v\n%s", err, out)
	}
}
