package elbv2_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The AWS CLI has the last word.
func TestAWSCLI(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the AWS CLI several times")
	}
	if err := exec.Command("aws", "--version").Run(); err != nil {
		t.Skipf("the AWS CLI does not work on this machine: %v", err)
	}
	w := start(t, "")
	none := filepath.Join(t.TempDir(), "none")
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("aws", append([]string{"elbv2", "--output", "text"}, args...)...)
		cmd.Env = append(os.Environ(), "AWS_ENDPOINT_URL="+w.url, "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test",
			"AWS_DEFAULT_REGION=us-east-1", "AWS_CONFIG_FILE="+none, "AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("aws elbv2 %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	lb := run("create-load-balancer", "--name", "web", "--subnets", "a", "b", "--tags", "Key=team,Value=x", "--query", "LoadBalancers[0].LoadBalancerArn")
	run("wait", "load-balancer-available", "--names", "web")
	tg := run("create-target-group", "--name", "app", "--protocol", "HTTP", "--port", "80", "--vpc-id", "vpc-1", "--target-type", "ip",
		"--health-check-interval-seconds", "5", "--health-check-timeout-seconds", "2", "--query", "TargetGroups[0].TargetGroupArn")
	l := run("create-listener", "--load-balancer-arn", lb, "--protocol", "HTTP", "--port", "18431", "--default-actions", "Type=fixed-response,FixedResponseConfig={StatusCode=404}", "--query", "Listeners[0].ListenerArn")
	run("create-rule", "--listener-arn", l, "--priority", "5", "--conditions", "Field=host-header,Values=*.example.com", "Field=path-pattern,Values=/x/*", "--actions", "Type=forward,TargetGroupArn="+tg)
	app := w.app("hello")
	run("register-targets", "--target-group-arn", tg, "--targets", "Id="+*app.Id+",Port="+itoa(*app.Port))
	run("wait", "target-in-service", "--target-group-arn", tg)
	if got := run("describe-target-health", "--target-group-arn", tg, "--query", "TargetHealthDescriptions[].TargetHealth.State"); got != "healthy" {
		t.Errorf("health %s", got)
	}
	if got := run("describe-rules", "--listener-arn", l, "--query", "Rules[].Priority"); got != "5\tdefault" {
		t.Errorf("priorities %q", got)
	}
	if got := run("describe-tags", "--resource-arns", lb, "--query", "TagDescriptions[0].Tags[0].Value"); got != "x" {
		t.Errorf("tag %s", got)
	}
	if code, _ := get(w.at(l)); code != 404 {
		t.Errorf("status %d", code)
	}
	run("deregister-targets", "--target-group-arn", tg, "--targets", "Id="+*app.Id+",Port="+itoa(*app.Port))
	run("wait", "target-deregistered", "--target-group-arn", tg, "--targets", "Id="+*app.Id+",Port="+itoa(*app.Port))
	run("delete-load-balancer", "--load-balancer-arn", lb)
	run("wait", "load-balancers-deleted", "--load-balancer-arns", lb)
	run("delete-target-group", "--target-group-arn", tg)
}
