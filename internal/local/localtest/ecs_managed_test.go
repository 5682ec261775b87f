package localtest_test

import (
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

// TestManagedInstances gets instances for tasks, a daemon on each of them, a change of the daemon by
// new instances, and lets all of it go.
func TestManagedInstances(t *testing.T) {
	a := localtest.Start(t, localtest.Speed(100))
	e, network := onFargate(t, a, 1)
	ctx, c := t.Context(), aws.String("c")
	mi := &types.CreateManagedInstancesProviderConfiguration{InfrastructureRoleArn: aws.String("arn:aws:iam::000000000000:role/infra"), PropagateTags: "CAPACITY_PROVIDER",
		InfrastructureOptimization: &types.InfrastructureOptimization{ScaleInAfter: aws.Int32(60)},
		InstanceLaunchTemplate: &types.InstanceLaunchTemplate{Ec2InstanceProfileArn: aws.String("arn:aws:iam::000000000000:instance-profile/i"),
			NetworkConfiguration: &types.ManagedInstancesNetworkConfiguration{Subnets: network.AwsvpcConfiguration.Subnets},
			InstanceRequirements: &types.InstanceRequirementsRequest{VCpuCount: &types.VCpuCountRangeRequest{Min: aws.Int32(2), Max: aws.Int32(2)}, MemoryMiB: &types.MemoryMiBRequest{Min: aws.Int32(8192), Max: aws.Int32(8192)}, AllowedInstanceTypes: []string{"m5.*", "m6i.*"}}}}
	_, err := e.CreateCapacityProvider(ctx, &ecs.CreateCapacityProviderInput{Name: aws.String("mi"), ManagedInstancesProvider: mi})
	refused(t, err, "ClientException")
	mi.InstanceLaunchTemplate.InstanceRequirements.NetworkBandwidthGbps = &types.NetworkBandwidthGbpsRequest{Min: aws.Float64(1)}
	_, err = e.CreateCapacityProvider(ctx, &ecs.CreateCapacityProviderInput{Name: aws.String("mi"), Cluster: c, ManagedInstancesProvider: mi})
	refused(t, err, "UnsupportedFeatureException")
	mi.InstanceLaunchTemplate.InstanceRequirements.NetworkBandwidthGbps = nil
	cp := ok[ecs.CreateCapacityProviderOutput](t)(e.CreateCapacityProvider(ctx, &ecs.CreateCapacityProviderInput{Name: aws.String("mi"), Cluster: c, ManagedInstancesProvider: mi})).CapacityProvider

	agent := func(cpu int32) string {
		return *ok[ecs.RegisterDaemonTaskDefinitionOutput](t)(e.RegisterDaemonTaskDefinition(ctx, &ecs.RegisterDaemonTaskDefinitionInput{Family: aws.String("agent"),
			ContainerDefinitions: []types.DaemonContainerDefinition{{Name: aws.String("agent"), Image: aws.String("agent"), Cpu: cpu, Memory: aws.Int32(128)}}})).DaemonTaskDefinitionArn
	}
	first := agent(128)
	daemon := ok[ecs.CreateDaemonOutput](t)(e.CreateDaemon(ctx, &ecs.CreateDaemonInput{DaemonName: aws.String("agent"), ClusterArn: c, DaemonTaskDefinitionArn: &first, CapacityProviderArns: []string{*cp.CapacityProviderArn},
		DeploymentConfiguration: &types.DaemonDeploymentConfiguration{DrainPercent: aws.Float64(50)}}))
	deployment := func(arn *string) types.DaemonDeployment {
		return ok[ecs.DescribeDaemonDeploymentsOutput](t)(e.DescribeDaemonDeployments(ctx, &ecs.DescribeDaemonDeploymentsInput{DaemonDeploymentArns: []string{*arn}})).DaemonDeployments[0]
	}
	localtest.Eventually(t, "a deployment to no instances", func() bool { return deployment(daemon.DeploymentArn).Status == "SUCCESSFUL" })

	// One of these fits an instance beside the daemon, not two.
	ok[ecs.RegisterTaskDefinitionOutput](t)(e.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{Family: aws.String("big"), ContainerDefinitions: []types.ContainerDefinition{{Name: aws.String("app"), Image: aws.String("app"), Cpu: 1024, Memory: aws.Int32(256)}}}))
	ok[ecs.CreateServiceOutput](t)(e.CreateService(ctx, &ecs.CreateServiceInput{Cluster: c, ServiceName: aws.String("big"), TaskDefinition: aws.String("big"), DesiredCount: aws.Int32(2), CapacityProviderStrategy: []types.CapacityProviderStrategyItem{{CapacityProvider: aws.String("mi"), Weight: 1}}}))
	running := func() int32 {
		return ok[ecs.DescribeServicesOutput](t)(e.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: c, Services: []string{"big"}})).Services[0].RunningCount
	}
	instances := func() []types.ContainerInstance {
		list := ok[ecs.ListContainerInstancesOutput](t)(e.ListContainerInstances(ctx, &ecs.ListContainerInstancesInput{Cluster: c}))
		if len(list.ContainerInstanceArns) == 0 {
			return nil
		}
		return ok[ecs.DescribeContainerInstancesOutput](t)(e.DescribeContainerInstances(ctx, &ecs.DescribeContainerInstancesInput{Cluster: c, ContainerInstances: list.ContainerInstanceArns})).ContainerInstances
	}
	// One instance too many may be there for a moment, and its daemon task with it.
	localtest.Eventually(t, "two instances with a task and a daemon each", func() bool {
		all := instances()
		for _, ci := range all {
			if str(ci.CapacityProviderName) != "mi" || ci.RunningTasksCount != 2 {
				return false
			}
		}
		return running() == 2 && len(all) == 2
	})
	counts := func() (revision string, n int32, revisions int) {
		d := ok[ecs.DescribeDaemonOutput](t)(e.DescribeDaemon(ctx, &ecs.DescribeDaemonInput{DaemonArn: daemon.DaemonArn})).Daemon
		return *d.CurrentRevisions[0].Arn, d.CurrentRevisions[0].TotalRunningCount, len(d.CurrentRevisions)
	}
	before, _, _ := counts()
	// While an instance that was one too many goes, its daemon task still runs.
	localtest.Eventually(t, "two daemon tasks", func() bool { _, n, _ := counts(); return n == 2 && len(instances()) == 2 })
	old := map[string]bool{}
	for _, ci := range instances() {
		old[*ci.ContainerInstanceArn] = true
	}

	second := agent(256)
	up := ok[ecs.UpdateDaemonOutput](t)(e.UpdateDaemon(ctx, &ecs.UpdateDaemonInput{DaemonArn: daemon.DaemonArn, DaemonTaskDefinitionArn: &second, CapacityProviderArns: []string{"mi"}}))
	localtest.Eventually(t, "new instances, and no old one, carry the change", func() bool {
		revision, n, revisions := counts()
		return deployment(up.DeploymentArn).Status == "SUCCESSFUL" && revision != before && n == 2 && revisions == 1 && running() == 2 &&
			!slices.ContainsFunc(instances(), func(ci types.ContainerInstance) bool { return old[*ci.ContainerInstanceArn] })
	})
	listed := ok[ecs.ListDaemonDeploymentsOutput](t)(e.ListDaemonDeployments(ctx, &ecs.ListDaemonDeploymentsInput{DaemonArn: daemon.DaemonArn}))
	same(t, "deployments", len(listed.DaemonDeployments), 2)
	revisions := ok[ecs.DescribeDaemonRevisionsOutput](t)(e.DescribeDaemonRevisions(ctx, &ecs.DescribeDaemonRevisionsInput{DaemonRevisionArns: []string{before}}))
	same(t, "the first revision's definition", str(revisions.DaemonRevisions[0].DaemonTaskDefinitionArn), first)

	ok[ecs.DeleteDaemonOutput](t)(e.DeleteDaemon(ctx, &ecs.DeleteDaemonInput{DaemonArn: daemon.DaemonArn}))
	_, err = e.UpdateDaemon(ctx, &ecs.UpdateDaemonInput{DaemonArn: daemon.DaemonArn, DaemonTaskDefinitionArn: &second, CapacityProviderArns: []string{"mi"}})
	if code(err) != "DaemonNotActiveException" && code(err) != "DaemonNotFoundException" {
		t.Errorf("updating what is deleted: %v", err)
	}
	localtest.Eventually(t, "the daemon is gone", func() bool {
		_, err := e.DescribeDaemon(ctx, &ecs.DescribeDaemonInput{DaemonArn: daemon.DaemonArn})
		return code(err) == "DaemonNotFoundException"
	})
	ok[ecs.UpdateServiceOutput](t)(e.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: c, Service: aws.String("big"), DesiredCount: aws.Int32(0)}))
	localtest.Eventually(t, "idle instances go", func() bool { return len(instances()) == 0 })
	ok[ecs.DeleteServiceOutput](t)(e.DeleteService(ctx, &ecs.DeleteServiceInput{Cluster: c, Service: aws.String("big")}))
	ok[ecs.DeleteCapacityProviderOutput](t)(e.DeleteCapacityProvider(ctx, &ecs.DeleteCapacityProviderInput{CapacityProvider: aws.String("mi")}))
	ok[ecs.DeleteDaemonTaskDefinitionOutput](t)(e.DeleteDaemonTaskDefinition(ctx, &ecs.DeleteDaemonTaskDefinitionInput{DaemonTaskDefinition: aws.String("agent:1")}))
	left := ok[ecs.ListDaemonTaskDefinitionsOutput](t)(e.ListDaemonTaskDefinitions(ctx, &ecs.ListDaemonTaskDefinitionsInput{}))
	same(t, "definitions", len(left.DaemonTaskDefinitions), 1)
}
