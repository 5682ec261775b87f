package localtest_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

func TestCLI(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the AWS CLI")
	}
	a := localtest.Start(t, localtest.Speed(50))
	id := a.Must(t, "ec2", "run-instances", "--image-id", image, "--instance-type", "m5.large", "--query", "Instances[0]")["InstanceId"].(string)
	a.Must(t, "ec2", "wait", "instance-running", "--instance-ids", id)
	a.Must(t, "ec2", "wait", "instance-status-ok", "--instance-ids", id)
	a.Must(t, "ec2", "create-launch-template", "--launch-template-name", "host", "--launch-template-data", `{"ImageId":"`+image+`","InstanceType":"m5.large"}`)
	a.Must(t, "autoscaling", "create-auto-scaling-group", "--auto-scaling-group-name", "hosts", "--launch-template", "LaunchTemplateName=host", "--min-size", "0", "--max-size", "2", "--availability-zones", "us-east-1a")
	a.Must(t, "autoscaling", "put-lifecycle-hook", "--auto-scaling-group-name", "hosts", "--lifecycle-hook-name", "drain", "--lifecycle-transition", "autoscaling:EC2_INSTANCE_TERMINATING")
	a.Must(t, "cloudwatch", "put-metric-alarm", "--alarm-name", "deep", "--namespace", "App", "--metric-name", "Depth", "--statistic", "Average", "--period", "60", "--evaluation-periods", "1", "--threshold", "1", "--comparison-operator", "GreaterThanThreshold")
	a.Must(t, "cloudwatch", "wait", "alarm-exists", "--alarm-names", "deep")
	a.Must(t, "ssm", "put-parameter", "--name", "/a/b", "--type", "String", "--value", "v")
	if _, failure := a.CLI(t, "ssm", "get-parameter", "--name", "/a/none"); !strings.Contains(failure, "(ParameterNotFound) when calling the GetParameter operation") {
		t.Errorf("said %s", failure)
	}
	if me := a.Must(t, "sts", "get-caller-identity"); me["Account"] != "000000000000" {
		t.Errorf("I am %v", me)
	}
}

// TestAnswersAgainstTheModels calls operations with boto3 and holds each answer, as it was sent,
// against the service model that AWS's own clients install.
func TestAnswersAgainstTheModels(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Python")
	}
	if exec.Command("python3", "-c", "import boto3").Run() != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("python3 with boto3 is not installed")
		}
		t.Skip("python3 with boto3 is not installed")
	}
	a := localtest.Start(t, localtest.Speed(50))
	cmd := exec.CommandContext(t.Context(), "python3", "testdata/models.py", image)
	cmd.Env = a.Env()
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "ok") {
		t.Errorf("%v\n%s", err, out)
	}
}
