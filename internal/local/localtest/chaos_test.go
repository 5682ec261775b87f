package localtest_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/slipway-ecs/slipway/internal/local/localtest"
	"github.com/slipway-ecs/slipway/internal/local/wire"
)

// breakIt adds a fault by the route the command line uses.
func breakIt(t *testing.T, a *localtest.AWS, f wire.Fault) (out wire.Fault, refused string) {
	t.Helper()
	body, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(a.Endpoint+"/_slipway/faults", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusCreated {
		return out, string(data)
	}
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out, ""
}

func mend(t *testing.T, a *localtest.AWS) {
	t.Helper()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodDelete, a.Endpoint+"/_slipway/faults", nil)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
}

func TestTasksThatDoNotStart(t *testing.T) {
	a := localtest.Start(t, localtest.Speed(60))
	desired, ctx := service(t, a, 0), t.Context()
	_ = desired
	c := ecs.NewFromConfig(a.Config)
	run := func() string {
		out := ok[ecs.RunTaskOutput](t)(c.RunTask(ctx, &ecs.RunTaskInput{Cluster: aws.String("c"), TaskDefinition: aws.String("web"), LaunchType: "FARGATE",
			NetworkConfiguration: &ecstypes.NetworkConfiguration{AwsvpcConfiguration: &ecstypes.AwsVpcConfiguration{Subnets: []string{"subnet-0510ca1000000000a"}}}}))
		return *out.Tasks[0].TaskArn
	}
	get := func(arn string) ecstypes.Task {
		return ok[ecs.DescribeTasksOutput](t)(c.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: aws.String("c"), Tasks: []string{arn}})).Tasks[0]
	}
	for kind, want := range map[string]string{"task-pull": "CannotPullContainerError: ", "task-init": "ResourceInitializationError: unable to pull secrets or registry auth"} {
		if _, no := breakIt(t, a, wire.Fault{Kind: kind, Count: 1, Target: wire.Target{Cluster: "c", Family: "w*"}}); no != "" {
			t.Fatal(no)
		}
		arn := run()
		localtest.Eventually(t, kind, func() bool { return *get(arn).LastStatus == "STOPPED" })
		got := get(arn)
		same(t, kind, string(got.StopCode), "TaskFailedToStart")
		contains(t, kind, str(got.StoppedReason), want)
		if kind == "task-pull" {
			contains(t, "the container's reason", str(got.Containers[0].Reason), want)
		}
		arn = run() // the count is used up
		localtest.Eventually(t, "the next one starts", func() bool { return *get(arn).LastStatus == "RUNNING" })
	}
	if _, no := breakIt(t, a, wire.Fault{Kind: "task-slow", Delay: 120_000, Target: wire.Target{Cluster: "c"}}); no != "" { // two seconds here
		t.Fatal(no)
	}
	arn := run()
	localtest.Eventually(t, "it comes to its containers", func() bool { return *get(arn).LastStatus == "PENDING" })
	localtest.Eventually(t, "and starts after all", func() bool { return *get(arn).LastStatus == "RUNNING" })
	if took := get(arn).StartedAt.Sub(*get(arn).CreatedAt); took < 2*time.Minute {
		t.Errorf("a slow task took %v", took)
	}
	for _, bad := range []wire.Fault{{Kind: "task-slow"}, {Kind: "instance-dies"}, {Kind: "zone-outage", Target: wire.Target{Zone: "mars-1a"}}, {Kind: "nonsense"}, {Kind: "spot-interruption", Target: wire.Target{Cluster: "c"}}} {
		if _, no := breakIt(t, a, bad); no == "" {
			t.Errorf("%+v is accepted", bad)
		}
	}
	// Fargate Spot.
	ok[ecs.PutClusterCapacityProvidersOutput](t)(c.PutClusterCapacityProviders(ctx, &ecs.PutClusterCapacityProvidersInput{Cluster: aws.String("c"), CapacityProviders: []string{"FARGATE_SPOT"}, DefaultCapacityProviderStrategy: []ecstypes.CapacityProviderStrategyItem{}}))
	mend(t, a)
	out := ok[ecs.RunTaskOutput](t)(c.RunTask(ctx, &ecs.RunTaskInput{Cluster: aws.String("c"), TaskDefinition: aws.String("web"), CapacityProviderStrategy: []ecstypes.CapacityProviderStrategyItem{{CapacityProvider: aws.String("FARGATE_SPOT")}},
		NetworkConfiguration: &ecstypes.NetworkConfiguration{AwsvpcConfiguration: &ecstypes.AwsVpcConfiguration{Subnets: []string{"subnet-0510ca1000000000a"}}}}))
	spot := *out.Tasks[0].TaskArn
	localtest.Eventually(t, "a Spot task runs", func() bool { return *get(spot).LastStatus == "RUNNING" })
	if _, no := breakIt(t, a, wire.Fault{Kind: "spot-interruption", Target: wire.Target{Cluster: "c"}}); no != "" {
		t.Fatal(no)
	}
	localtest.Eventually(t, "it is interrupted", func() bool { return *get(spot).LastStatus == "STOPPED" })
	same(t, "its code", string(get(spot).StopCode), "SpotInterruption")
	same(t, "its reason", str(get(spot).StoppedReason), "Your Spot Task was interrupted.")
}

// hosts makes a group of Spot instances in the cluster c over two zones.
func hosts(t *testing.T, a *localtest.AWS, n int32) *autoscaling.Client {
	t.Helper()
	ctx := t.Context()
	ok[ecs.CreateClusterOutput](t)(ecs.NewFromConfig(a.Config).CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: aws.String("c")}))
	ok[ec2.CreateLaunchTemplateOutput](t)(ec2.NewFromConfig(a.Config).CreateLaunchTemplate(ctx, &ec2.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("host"),
		LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: aws.String(image), InstanceType: ec2types.InstanceTypeM5Large, InstanceMarketOptions: &ec2types.LaunchTemplateInstanceMarketOptionsRequest{MarketType: "spot"},
			UserData: aws.String("IyEvYmluL2Jhc2gKZWNobyBFQ1NfQ0xVU1RFUj1jID4+IC9ldGMvZWNzL2Vjcy5jb25maWcKZWNobyBFQ1NfRU5BQkxFX1NQT1RfSU5TVEFOQ0VfRFJBSU5JTkc9dHJ1ZSA+PiAvZXRjL2Vjcy9lY3MuY29uZmlnCg==")}}))
	a.Must(t, "autoscaling", "create-auto-scaling-group", "--auto-scaling-group-name", "hosts", "--launch-template", "LaunchTemplateName=host", "--min-size", "0", "--max-size", "6", "--availability-zones", "us-east-1a", "us-east-1b")
	as := autoscaling.NewFromConfig(a.Config)
	ok[autoscaling.SetDesiredCapacityOutput](t)(as.SetDesiredCapacity(ctx, &autoscaling.SetDesiredCapacityInput{AutoScalingGroupName: aws.String("hosts"), DesiredCapacity: &n}))
	localtest.Eventually(t, "the instances are in service", func() bool { return len(inService(t, as)) == int(n) })
	return as
}

// inService are the instances of the group hosts that are in service, by id, with their zones.
func inService(t *testing.T, as *autoscaling.Client) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, i := range ok[autoscaling.DescribeAutoScalingGroupsOutput](t)(as.DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{})).AutoScalingGroups[0].Instances {
		if i.LifecycleState == "InService" {
			out[*i.InstanceId] = *i.AvailabilityZone
		}
	}
	return out
}

func TestInstancesAndZonesDie(t *testing.T) {
	a := localtest.Start(t, localtest.Speed(60))
	as, ctx := hosts(t, a, 4), t.Context()
	c, e := ec2.NewFromConfig(a.Config), ecs.NewFromConfig(a.Config)
	before := inService(t, as)
	f, no := breakIt(t, a, wire.Fault{Kind: "instance-dies", Target: wire.Target{Group: "hosts", Number: 1}, Seed: 7})
	if no != "" || len(f.Did) != 1 || before[f.Did[0]] == "" {
		t.Fatalf("%+v %s", f, no)
	}
	dead := f.Did[0]
	localtest.Eventually(t, "the group replaces it", func() bool {
		now := inService(t, as)
		return len(now) == 4 && now[dead] == ""
	})
	i := ok[ec2.DescribeInstancesOutput](t)(c.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{dead}})).Reservations[0].Instances[0]
	same(t, "its state reason", str(i.StateReason.Code), "Server.InternalError")

	if _, no := breakIt(t, a, wire.Fault{Kind: "agent-disconnect", Target: wire.Target{Cluster: "c", Number: 1}, For: 120}); no != "" {
		t.Fatal(no)
	}
	connected := func() (n int) {
		arns := ok[ecs.ListContainerInstancesOutput](t)(e.ListContainerInstances(ctx, &ecs.ListContainerInstancesInput{Cluster: aws.String("c")})).ContainerInstanceArns
		for _, ci := range ok[ecs.DescribeContainerInstancesOutput](t)(e.DescribeContainerInstances(ctx, &ecs.DescribeContainerInstancesInput{Cluster: aws.String("c"), ContainerInstances: arns})).ContainerInstances {
			if ci.AgentConnected {
				n++
			}
		}
		return n
	}
	same(t, "agents while one is away", connected(), 3)
	localtest.Eventually(t, "it comes back by itself", func() bool { return connected() == 4 })

	if _, no := breakIt(t, a, wire.Fault{Kind: "zone-outage", Target: wire.Target{Zone: "us-east-1a"}}); no != "" {
		t.Fatal(no)
	}
	_, err := c.RunInstances(ctx, &ec2.RunInstancesInput{ImageId: aws.String(image), InstanceType: "m5.large", MinCount: aws.Int32(1), MaxCount: aws.Int32(1), SubnetId: aws.String("subnet-0510ca1000000000a")}, func(o *ec2.Options) { o.RetryMaxAttempts = 1 })
	refused(t, err, "InsufficientInstanceCapacity")
	zones := ok[ec2.DescribeAvailabilityZonesOutput](t)(c.DescribeAvailabilityZones(ctx, &ec2.DescribeAvailabilityZonesInput{ZoneNames: []string{"us-east-1a"}}))
	same(t, "the zone", string(zones.AvailabilityZones[0].State), "unavailable")
	localtest.Eventually(t, "the group goes to the other zone", func() bool {
		now := inService(t, as)
		for _, zone := range now {
			if zone != "us-east-1b" {
				return false
			}
		}
		return len(now) == 4
	})
	if out := a.Must(t, "autoscaling", "describe-scaling-activities", "--auto-scaling-group-name", "hosts", "--query", "{failed: Activities[?StatusCode=='Failed'].Description}"); !strings.Contains(strings.ToLower(out["failed"].([]any)[0].(string)), "do not have sufficient m5.large capacity") {
		t.Errorf("the group says %v", out)
	}
	mend(t, a)
	zones = ok[ec2.DescribeAvailabilityZonesOutput](t)(c.DescribeAvailabilityZones(ctx, &ec2.DescribeAvailabilityZonesInput{ZoneNames: []string{"us-east-1a"}}))
	same(t, "the zone afterwards", string(zones.AvailabilityZones[0].State), "available")
	localtest.Eventually(t, "the group evens its zones again", func() bool {
		count := map[string]int{}
		for _, zone := range inService(t, as) {
			count[zone]++
		}
		return count["us-east-1a"] == 2 && count["us-east-1b"] == 2
	})
}

func TestSpotInterruption(t *testing.T) {
	a := localtest.Start(t, localtest.Speed(60))
	as, ctx := hosts(t, a, 2), t.Context()
	warned := tell(t, a, "warned", `{"source":["aws.ec2"],"detail-type":["EC2 Spot Instance Interruption Warning"]}`)
	f, no := breakIt(t, a, wire.Fault{Kind: "spot-interruption", Target: wire.Target{Group: "hosts", Number: 1}})
	if no != "" {
		t.Fatal(no)
	}
	gone := f.Did[0]
	e := heard(t, a, warned)
	same(t, "the warning", e["detail"].(map[string]any)["instance-id"], any(gone))
	same(t, "what will be done", e["detail"].(map[string]any)["instance-action"], any("terminate"))
	draining := ok[ecs.ListContainerInstancesOutput](t)(ecs.NewFromConfig(a.Config).ListContainerInstances(ctx, &ecs.ListContainerInstancesInput{Cluster: aws.String("c"), Status: "DRAINING"}))
	if n := len(draining.ContainerInstanceArns); n > 1 { // none, if the two minutes are over already
		t.Errorf("%d instances drain", n)
	}
	localtest.Eventually(t, "it ends and is replaced", func() bool {
		now := inService(t, as)
		return len(now) == 2 && now[gone] == ""
	})
	i := ok[ec2.DescribeInstancesOutput](t)(ec2.NewFromConfig(a.Config).DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{gone}})).Reservations[0].Instances[0]
	same(t, "its state reason", str(i.StateReason.Code), "Server.SpotInstanceTermination")
}

func TestClockSkew(t *testing.T) {
	a := localtest.Start(t)
	if _, no := breakIt(t, a, wire.Fault{Kind: "clock-skew", Delay: int((20 * time.Minute).Milliseconds())}); no != "" {
		t.Fatal(no)
	}
	// One attempt each: SDKs correct their clocks by the Date of the answer for the next.
	c := sts.NewFromConfig(a.Config)
	_, err := c.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}, func(o *sts.Options) { o.RetryMaxAttempts = 1 })
	refused(t, err, "SignatureDoesNotMatch")
	contains(t, "why", err.Error(), "Signature expired: ")
	_, failure := a.CLI(t, "sts", "get-caller-identity") // a single attempt
	contains(t, "the CLI", failure, "Signature expired: ")
	mend(t, a)
	ok[sts.GetCallerIdentityOutput](t)(c.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}))
}
