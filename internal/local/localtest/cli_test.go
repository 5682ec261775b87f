package localtest_test

import (
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
