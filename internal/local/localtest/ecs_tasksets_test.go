package localtest_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/local"
	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

// onFargate makes a cluster "c" and revisions of the family "web", and returns a network to run in.
func onFargate(t *testing.T, a *localtest.AWS, revisions int) (*ecs.Client, *types.NetworkConfiguration) {
	t.Helper()
	e := ecs.NewFromConfig(a.Config)
	ok[ecs.CreateClusterOutput](t)(e.CreateCluster(t.Context(), &ecs.CreateClusterInput{ClusterName: aws.String("c")}))
	for range revisions {
		ok[ecs.RegisterTaskDefinitionOutput](t)(e.RegisterTaskDefinition(t.Context(), &ecs.RegisterTaskDefinitionInput{Family: aws.String("web"), RequiresCompatibilities: []types.Compatibility{"FARGATE"}, NetworkMode: "awsvpc", Cpu: aws.String("256"), Memory: aws.String("512"),
			ContainerDefinitions: []types.ContainerDefinition{{Name: aws.String("app"), Image: aws.String("app"), PortMappings: []types.PortMapping{{ContainerPort: aws.Int32(80), Name: aws.String("http")}}}}}))
	}
	subnets := a.Must(t, "ec2", "describe-subnets")["Subnets"].([]any)
	return e, &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: []string{subnets[0].(map[string]any)["SubnetId"].(string)}}}
}

func TestTaskSets(t *testing.T) {
	a := localtest.Start(t, localtest.Speed(100))
	e, network := onFargate(t, a, 2)
	ctx, c, web := t.Context(), aws.String("c"), aws.String("web")
	_, err := e.CreateService(ctx, &ecs.CreateServiceInput{Cluster: c, ServiceName: web, TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(3), DeploymentController: &types.DeploymentController{Type: "EXTERNAL"}})
	refused(t, err, "InvalidParameterException")
	ok[ecs.CreateServiceOutput](t)(e.CreateService(ctx, &ecs.CreateServiceInput{Cluster: c, ServiceName: web, DesiredCount: aws.Int32(3), LaunchType: "FARGATE", DeploymentController: &types.DeploymentController{Type: "EXTERNAL"}}))
	set := func(definition string, percent float64) *types.TaskSet {
		return ok[ecs.CreateTaskSetOutput](t)(e.CreateTaskSet(ctx, &ecs.CreateTaskSetInput{Cluster: c, Service: web, TaskDefinition: &definition, LaunchType: "FARGATE", NetworkConfiguration: network, ExternalId: aws.String("x-" + definition),
			Scale: &types.Scale{Unit: "PERCENT", Value: percent}, ClientToken: &definition})).TaskSet
	}
	running := func(id *string) int32 {
		out := ok[ecs.DescribeTaskSetsOutput](t)(e.DescribeTaskSets(ctx, &ecs.DescribeTaskSetsInput{Cluster: c, Service: web, TaskSets: []string{*id}}))
		if len(out.TaskSets) == 0 || out.TaskSets[0].StabilityStatus != "STEADY_STATE" {
			return -1
		}
		return out.TaskSets[0].RunningCount
	}
	blue := set("web:1", 100)
	same(t, "the same token", *set("web:1", 100).Id, *blue.Id)
	localtest.Eventually(t, "the first task set has its three tasks", func() bool { return running(blue.Id) == 3 })
	ok[ecs.UpdateServicePrimaryTaskSetOutput](t)(e.UpdateServicePrimaryTaskSet(ctx, &ecs.UpdateServicePrimaryTaskSetInput{Cluster: c, Service: web, PrimaryTaskSet: blue.Id}))
	green := set("web:2", 40)
	same(t, "40 % of three, rounded up", green.ComputedDesiredCount, 2)
	localtest.Eventually(t, "the second has two", func() bool { return running(green.Id) == 2 && running(blue.Id) == 3 })
	ok[ecs.UpdateTaskSetOutput](t)(e.UpdateTaskSet(ctx, &ecs.UpdateTaskSetInput{Cluster: c, Service: web, TaskSet: green.TaskSetArn, Scale: &types.Scale{Unit: "PERCENT", Value: 100}}))
	localtest.Eventually(t, "the second has three", func() bool { return running(green.Id) == 3 })
	primary := a.Must(t, "ecs", "update-service-primary-task-set", "--cluster", "c", "--service", "web", "--primary-task-set", *green.Id)["taskSet"].(map[string]any)
	same(t, "status", primary["status"].(string), "PRIMARY")
	s := ok[ecs.DescribeServicesOutput](t)(e.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: c, Services: []string{"web"}})).Services[0]
	if len(s.TaskSets) != 2 || len(s.Deployments) != 0 || s.RunningCount != 6 {
		t.Errorf("%d task sets, %d deployments, %d running", len(s.TaskSets), len(s.Deployments), s.RunningCount)
	}
	contains(t, "the service's task definition", str(s.TaskDefinition), "web:2")
	_, err = e.DeleteTaskSet(ctx, &ecs.DeleteTaskSetInput{Cluster: c, Service: web, TaskSet: blue.Id})
	refused(t, err, "InvalidParameterException")
	ok[ecs.DeleteTaskSetOutput](t)(e.DeleteTaskSet(ctx, &ecs.DeleteTaskSetInput{Cluster: c, Service: web, TaskSet: blue.Id, Force: aws.Bool(true)}))
	localtest.Eventually(t, "the first is gone with its tasks", func() bool {
		out := ok[ecs.DescribeTaskSetsOutput](t)(e.DescribeTaskSets(ctx, &ecs.DescribeTaskSetsInput{Cluster: c, Service: web}))
		left := ok[ecs.ListTasksOutput](t)(e.ListTasks(ctx, &ecs.ListTasksInput{Cluster: c, ServiceName: web}))
		return len(out.TaskSets) == 1 && len(left.TaskArns) == 3
	})
	_, err = e.UpdateTaskSet(ctx, &ecs.UpdateTaskSetInput{Cluster: c, Service: web, TaskSet: blue.Id, Scale: &types.Scale{Unit: "PERCENT", Value: 1}})
	refused(t, err, "TaskSetNotFoundException")
}

// TestDeploymentHooks takes a blue/green deployment through a pause, a function, and a pause that nobody ends.
func TestDeploymentHooks(t *testing.T) {
	said := make(chan string, 16)
	answers := make(chan string, 16)
	lambda := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		said <- r.URL.Path + " " + string(b)
		_, _ = io.WriteString(w, <-answers)
	}))
	t.Cleanup(lambda.Close)
	a := localtest.Start(t, localtest.Speed(100), func(c *local.Config) { c.Lambda = lambda.URL })
	e, network := onFargate(t, a, 3)
	ctx, c, web := t.Context(), aws.String("c"), aws.String("web")
	hooks := []types.DeploymentLifecycleHook{
		{TargetType: "PAUSE", LifecycleStages: []types.DeploymentLifecycleHookStage{"POST_SCALE_UP"}, TimeoutConfiguration: &types.DeploymentLifecycleHookTimeoutConfiguration{TimeoutInMinutes: aws.Int32(10), Action: "ROLLBACK"}},
		{TargetType: "AWS_LAMBDA", HookTargetArn: aws.String("arn:aws:lambda:us-east-1:000000000000:function:approve"), RoleArn: aws.String("arn:aws:iam::000000000000:role/hooks"), LifecycleStages: []types.DeploymentLifecycleHookStage{"POST_PRODUCTION_TRAFFIC_SHIFT"}},
	}
	strategy := &types.DeploymentConfiguration{Strategy: "BLUE_GREEN"}
	ok[ecs.CreateServiceOutput](t)(e.CreateService(ctx, &ecs.CreateServiceInput{Cluster: c, ServiceName: web, TaskDefinition: aws.String("web:1"), DesiredCount: aws.Int32(2), LaunchType: "FARGATE", NetworkConfiguration: network, DeploymentConfiguration: strategy}))
	newest := func() types.ServiceDeployment {
		list := ok[ecs.ListServiceDeploymentsOutput](t)(e.ListServiceDeployments(ctx, &ecs.ListServiceDeploymentsInput{Cluster: c, Service: web}))
		return ok[ecs.DescribeServiceDeploymentsOutput](t)(e.DescribeServiceDeployments(ctx, &ecs.DescribeServiceDeploymentsInput{ServiceDeploymentArns: []string{*list.ServiceDeployments[0].ServiceDeploymentArn}})).ServiceDeployments[0]
	}
	localtest.Eventually(t, "the first deployment", func() bool { return newest().Status == "SUCCESSFUL" })
	update := func(definition string) {
		strategy.LifecycleHooks = hooks
		ok[ecs.UpdateServiceOutput](t)(e.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: c, Service: web, TaskDefinition: &definition, DeploymentConfiguration: strategy}))
	}
	paused := func() (types.ServiceDeployment, string) {
		var sd types.ServiceDeployment
		localtest.Eventually(t, "the pause", func() bool {
			sd = newest()
			return len(sd.LifecycleHookDetails) == 1 && sd.LifecycleHookDetails[0].Status == "AWAITING_ACTION"
		})
		same(t, "stage", string(sd.LifecycleStage), "POST_SCALE_UP")
		return sd, *sd.LifecycleHookDetails[0].HookId
	}
	update("web:2")
	sd, hook := paused()
	_, err := e.ContinueServiceDeployment(ctx, &ecs.ContinueServiceDeploymentInput{ServiceDeploymentArn: sd.ServiceDeploymentArn, HookId: aws.String("none")})
	refused(t, err, "InvalidParameterException")
	ok[ecs.ContinueServiceDeploymentOutput](t)(e.ContinueServiceDeployment(ctx, &ecs.ContinueServiceDeploymentInput{ServiceDeploymentArn: sd.ServiceDeploymentArn, HookId: &hook}))
	answers <- `{"hookStatus":"IN_PROGRESS","callBackDelay":1}`
	answers <- `{"hookStatus":"SUCCEEDED"}`
	localtest.Eventually(t, "the deployment", func() bool { return newest().Status == "SUCCESSFUL" })
	same(t, "calls of the function", len(said), 2)
	call := <-said
	contains(t, "the call", call, "/2015-03-31/functions/approve/invocations")
	contains(t, "the call", call, `"lifecycleStage":"POST_PRODUCTION_TRAFFIC_SHIFT"`)
	contains(t, "the call", call, *sd.ServiceDeploymentArn)

	update("web:3")
	sd, hook = paused()
	ok[ecs.ContinueServiceDeploymentOutput](t)(e.ContinueServiceDeployment(ctx, &ecs.ContinueServiceDeploymentInput{ServiceDeploymentArn: sd.ServiceDeploymentArn, HookId: &hook, Action: "ROLLBACK"}))
	localtest.Eventually(t, "the rollback", func() bool { return newest().Status == "ROLLBACK_SUCCESSFUL" })
	_, err = e.ContinueServiceDeployment(ctx, &ecs.ContinueServiceDeploymentInput{ServiceDeploymentArn: sd.ServiceDeploymentArn, HookId: &hook})
	refused(t, err, "InvalidParameterException")

	update("web:3")
	paused()
	localtest.Eventually(t, "the pause's time is over", func() bool { return newest().Status == "ROLLBACK_SUCCESSFUL" })
	same(t, "the hook", string(newest().LifecycleHookDetails[0].Status), "TIMED_OUT")
}
