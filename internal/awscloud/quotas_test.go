package awscloud

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/local"
	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

// What Fargate has left is asked of Service Quotas and CloudWatch.
func TestFargateQuota(t *testing.T) {
	c, ctx := openAt(t, startLocalOf(t, local.Config{Runtime: "virtual", Speed: 60, FargateVCPUs: 2})), t.Context()
	of := func(name string) (q deploy.Quota) {
		for _, q = range c.Surroundings(nil).(surroundings).Quotas(ctx, "c", true) {
			if q.Name == name {
				return q
			}
		}
		t.Fatalf("no quota %s", name)
		return q
	}
	if q := of(deploy.QuotaFargate); q.Err != nil || q.Limit != 2 || q.Used != 0 || q.Default {
		t.Fatalf("before anything runs: %+v", q)
	}
	e := ecs.NewFromConfig(c.cfg)
	subnets, err := ec2.NewFromConfig(c.cfg).DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{})
	if err != nil || len(subnets.Subnets) == 0 {
		t.Fatalf("no subnets: %v", err)
	}
	_, err = e.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: aws.String("c")})
	if err == nil {
		_, err = e.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{Family: aws.String("job"), RequiresCompatibilities: []types.Compatibility{"FARGATE"}, NetworkMode: "awsvpc", Cpu: aws.String("256"), Memory: aws.String("512"),
			ContainerDefinitions: []types.ContainerDefinition{{Name: aws.String("app"), Image: aws.String("app")}}})
	}
	if err == nil {
		_, err = e.RunTask(ctx, &ecs.RunTaskInput{Cluster: aws.String("c"), TaskDefinition: aws.String("job"), LaunchType: "FARGATE", Count: aws.Int32(3),
			NetworkConfiguration: &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: []string{*subnets.Subnets[0].SubnetId}}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	localtest.Eventually(t, "three tasks of a quarter of a vCPU are seen", func() bool {
		q := of(deploy.QuotaFargate)
		return q.Err == nil && q.Used == 0.75
	})
	if q := of(deploy.QuotaFargateSpot); q.Err != nil || q.Limit != 2 || q.Used != 0 {
		t.Errorf("of Spot: %+v", q)
	}
}
