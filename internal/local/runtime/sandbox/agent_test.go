//go:build linux

package sandbox_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/slipway-ecs/slipway/internal/local/localtest"
	"github.com/slipway-ecs/slipway/internal/local/runtime/contract"
)

// A task finds its metadata, the keys of its role and AWS itself where it would on AWS.
func TestWhatATaskFinds(t *testing.T) {
	open(t) // skips where it does not work
	image := contract.Image(t)
	a := localtest.Start(t, localtest.Runtime("sandbox"))
	e, ctx := ecs.NewFromConfig(a.Config), t.Context()
	call := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	role, err := iam.NewFromConfig(a.Config).CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("app"), AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)})
	call(err)
	_, err = e.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: aws.String("c")})
	call(err)
	fetch := map[string]string{"metadata": "$ECS_CONTAINER_METADATA_URI_V4/task", "keys": "http://169.254.170.2$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "aws": "$AWS_ENDPOINT_URL/_slipway/status", "others": "http://169.254.170.2/v2/credentials/guess"}
	var containers []types.ContainerDefinition
	for name, url := range fetch {
		containers = append(containers, types.ContainerDefinition{Name: &name, Image: &image, Command: []string{"fetch", url}, Essential: aws.Bool(false),
			LogConfiguration: &types.LogConfiguration{LogDriver: "awslogs", Options: map[string]string{"awslogs-group": "g", "awslogs-create-group": "true"}}})
	}
	containers = append(containers, types.ContainerDefinition{Name: aws.String("main"), Image: &image, Command: []string{"serve"}})
	_, err = e.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{Family: aws.String("f"), TaskRoleArn: role.Role.Arn, ExecutionRoleArn: role.Role.Arn, RequiresCompatibilities: []types.Compatibility{"FARGATE"}, NetworkMode: "awsvpc", Cpu: aws.String("256"), Memory: aws.String("512"), ContainerDefinitions: containers})
	call(err)
	subnets := a.Must(t, "ec2", "describe-subnets")["Subnets"].([]any)
	out, err := e.RunTask(ctx, &ecs.RunTaskInput{Cluster: aws.String("c"), TaskDefinition: aws.String("f"), LaunchType: "FARGATE", NetworkConfiguration: &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: []string{subnets[0].(map[string]any)["SubnetId"].(string)}}}})
	call(err)
	arn := *out.Tasks[0].TaskArn
	logs := cloudwatchlogs.NewFromConfig(a.Config)
	for name, want := range map[string]string{"metadata": `"TaskARN":"` + arn + `"`, "keys": `"RoleArn":"` + *role.Role.Arn + `"`, "aws": `"runtime":"sandbox"`, "others": "InvalidIdInRequest"} {
		said := ""
		localtest.Eventually(t, name+" answers", func() bool {
			got, err := logs.GetLogEvents(ctx, &cloudwatchlogs.GetLogEventsInput{LogGroupName: aws.String("g"), LogStreamName: aws.String(name + "/" + arn[strings.LastIndex(arn, "/")+1:])})
			if err != nil || len(got.Events) == 0 {
				return false
			}
			said = ""
			for _, x := range got.Events {
				said += *x.Message
			}
			return true
		})
		if !strings.Contains(said, want) {
			t.Errorf("%s: %s", name, said)
		}
	}
}
