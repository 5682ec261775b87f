package localtest_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"

	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

const image = "ami-0510ca10ca10ca230"

// joining is user data that makes an instance a member of a cluster.
func joining(cluster string) *string {
	return aws.String(base64.StdEncoding.EncodeToString([]byte("#!/bin/bash\necho ECS_CLUSTER=" + cluster + " >> /etc/ecs/ecs.config\n")))
}

func TestInstances(t *testing.T) {
	dir := t.TempDir()
	a := localtest.Start(t, localtest.Dir(dir), localtest.Speed(50))
	c, ctx := ec2.NewFromConfig(a.Config), t.Context()
	ok[ecs.CreateClusterOutput](t)(ecs.NewFromConfig(a.Config).CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: aws.String("c")}))
	for in, want := range map[*ec2.RunInstancesInput]string{
		{MinCount: aws.Int32(1), MaxCount: aws.Int32(1), InstanceType: "m5.large"}:                                                                      "MissingParameter",
		{MinCount: aws.Int32(1), MaxCount: aws.Int32(1), InstanceType: "z9.huge", ImageId: aws.String(image)}:                                           "InvalidParameterValue",
		{MinCount: aws.Int32(2), MaxCount: aws.Int32(1), InstanceType: "m5.large", ImageId: aws.String(image)}:                                          "InvalidParameterValue",
		{MinCount: aws.Int32(1), MaxCount: aws.Int32(1), InstanceType: "m5.large", ImageId: aws.String(image), SubnetId: aws.String("subnet-nope")}:     "InvalidSubnetID.NotFound",
		{MinCount: aws.Int32(1), MaxCount: aws.Int32(1), InstanceType: "m5.large", ImageId: aws.String(image), SecurityGroupIds: []string{"sg-nope"}}:   "InvalidGroup.NotFound",
		{MinCount: aws.Int32(1), MaxCount: aws.Int32(1), InstanceType: "m5.large", ImageId: aws.String(image), DryRun: aws.Bool(true)}:                  "DryRunOperation",
		{MinCount: aws.Int32(1), MaxCount: aws.Int32(1), LaunchTemplate: &types.LaunchTemplateSpecification{LaunchTemplateName: aws.String("missing")}}: "InvalidLaunchTemplateName.NotFoundException",
	} {
		_, err := c.RunInstances(ctx, in)
		refused(t, err, want)
	}
	template := ok[ec2.CreateLaunchTemplateOutput](t)(c.CreateLaunchTemplate(ctx, &ec2.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("host"),
		LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: aws.String(image), InstanceType: "m5.large", UserData: joining("c")}}))
	v2 := ok[ec2.CreateLaunchTemplateVersionOutput](t)(c.CreateLaunchTemplateVersion(ctx, &ec2.CreateLaunchTemplateVersionInput{LaunchTemplateName: aws.String("host"), SourceVersion: aws.String("1"),
		LaunchTemplateData: &types.RequestLaunchTemplateData{InstanceType: "c5.large"}}))
	same(t, "the second version keeps the image", str(v2.LaunchTemplateVersion.LaunchTemplateData.ImageId), image)
	_, err := c.CreateLaunchTemplate(ctx, &ec2.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("host"), LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: aws.String(image)}})
	refused(t, err, "InvalidLaunchTemplateName.AlreadyExistsException")

	run := ok[ec2.RunInstancesOutput](t)(c.RunInstances(ctx, &ec2.RunInstancesInput{MinCount: aws.Int32(3), MaxCount: aws.Int32(3),
		LaunchTemplate:    &types.LaunchTemplateSpecification{LaunchTemplateId: template.LaunchTemplate.LaunchTemplateId, Version: aws.String("$Latest")},
		TagSpecifications: []types.TagSpecification{{ResourceType: "instance", Tags: []types.Tag{{Key: aws.String("Name"), Value: aws.String("host-1")}}}}}))
	var ids []string
	for _, i := range run.Instances {
		ids = append(ids, *i.InstanceId)
		same(t, "type", i.InstanceType, "c5.large")
	}
	if err := ec2.NewInstanceRunningWaiter(c, func(o *ec2.InstanceRunningWaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, 100*time.Millisecond
	}).Wait(ctx, &ec2.DescribeInstancesInput{InstanceIds: ids}, time.Minute); err != nil {
		t.Fatal(err)
	}
	count := func(filters ...types.Filter) int {
		n := 0
		pages := ec2.NewDescribeInstancesPaginator(c, &ec2.DescribeInstancesInput{Filters: filters, MaxResults: aws.Int32(5)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page.Reservations {
				n += len(r.Instances)
			}
		}
		return n
	}
	for want, f := range map[int][]types.Filter{
		3: {{Name: aws.String("instance-state-name"), Values: []string{"pending", "running"}}, {Name: aws.String("tag:Name"), Values: []string{"host-*"}}},
		0: {{Name: aws.String("instance-type"), Values: []string{"m5.large"}}},
		1: {{Name: aws.String("instance-id"), Values: ids[:1]}},
	} {
		same(t, fmt.Sprint("found by ", str(f[0].Name)), count(f...), want)
	}
	same(t, "by private DNS name", count(types.Filter{Name: aws.String("private-dns-name"), Values: []string{str(run.Instances[0].PrivateDnsName)}}), 1)
	same(t, "by tag key", count(types.Filter{Name: aws.String("tag-key"), Values: []string{"Name"}}), 3)
	_, err = c.DescribeInstances(ctx, &ec2.DescribeInstancesInput{Filters: []types.Filter{{Name: aws.String("no-such"), Values: []string{"x"}}}})
	refused(t, err, "InvalidParameterValue")
	_, err = c.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{"i-0123456789abcdef0"}})
	refused(t, err, "InvalidInstanceID.NotFound")
	e := ecs.NewFromConfig(a.Config)
	members := ok[ecs.ListContainerInstancesOutput](t)(e.ListContainerInstances(ctx, &ecs.ListContainerInstancesInput{Cluster: aws.String("c")}))
	same(t, "joined", len(members.ContainerInstanceArns), 3)

	a.Stop()
	a = localtest.Start(t, localtest.Dir(dir), localtest.Speed(50))
	c = ec2.NewFromConfig(a.Config)
	same(t, "after a restart", count(types.Filter{Name: aws.String("instance-state-name"), Values: []string{"running"}}), 3)
	ok[ec2.TerminateInstancesOutput](t)(c.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: ids[:1]}))
	if err := ec2.NewInstanceTerminatedWaiter(c, func(o *ec2.InstanceTerminatedWaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, 100*time.Millisecond
	}).Wait(ctx, &ec2.DescribeInstancesInput{InstanceIds: ids[:1]}, time.Minute); err != nil {
		t.Error(err)
	}
	e = ecs.NewFromConfig(a.Config)
	localtest.Eventually(t, "the container instance leaves with its machine", func() bool {
		out := ok[ecs.ListContainerInstancesOutput](t)(e.ListContainerInstances(ctx, &ecs.ListContainerInstancesInput{Cluster: aws.String("c")}))
		return len(out.ContainerInstanceArns) == 2
	})
}

func TestNetworks(t *testing.T) {
	a := localtest.Start(t)
	c, ctx := ec2.NewFromConfig(a.Config), t.Context()
	vpcs := ok[ec2.DescribeVpcsOutput](t)(c.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: []types.Filter{{Name: aws.String("isDefault"), Values: []string{"true"}}}}))
	same(t, "default VPCs", len(vpcs.Vpcs), 1)
	subnets := ok[ec2.DescribeSubnetsOutput](t)(c.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: []types.Filter{{Name: aws.String("vpc-id"), Values: []string{*vpcs.Vpcs[0].VpcId}}, {Name: aws.String("default-for-az"), Values: []string{"true"}}}}))
	same(t, "subnets", len(subnets.Subnets), 3)
	made := ok[ec2.CreateSecurityGroupOutput](t)(c.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String("web"), Description: aws.String("web"), VpcId: vpcs.Vpcs[0].VpcId}))
	_, err := c.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String("web"), Description: aws.String("web")})
	refused(t, err, "InvalidGroup.Duplicate")
	rule := []types.IpPermission{{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(80), ToPort: aws.Int32(80), IpRanges: []types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}}}}
	ok[ec2.AuthorizeSecurityGroupIngressOutput](t)(c.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: made.GroupId, IpPermissions: rule}))
	_, err = c.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: made.GroupId, IpPermissions: rule})
	refused(t, err, "InvalidPermission.Duplicate")
	rules := ok[ec2.DescribeSecurityGroupRulesOutput](t)(c.DescribeSecurityGroupRules(ctx, &ec2.DescribeSecurityGroupRulesInput{Filters: []types.Filter{{Name: aws.String("group-id"), Values: []string{*made.GroupId}}}}))
	same(t, "rules", len(rules.SecurityGroupRules), 2)
	ok[ec2.RevokeSecurityGroupIngressOutput](t)(c.RevokeSecurityGroupIngress(ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: made.GroupId, IpPermissions: rule}))
	_, err = c.RevokeSecurityGroupIngress(ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: made.GroupId, IpPermissions: rule})
	refused(t, err, "InvalidPermission.NotFound")
	ok[ec2.DeleteSecurityGroupOutput](t)(c.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: made.GroupId}))
	zones := ok[ec2.DescribeAvailabilityZonesOutput](t)(c.DescribeAvailabilityZones(ctx, &ec2.DescribeAvailabilityZonesInput{}))
	same(t, "zones", len(zones.AvailabilityZones), 3)
}

// fleet is a group of instances that join the cluster c.
type fleet struct {
	*localtest.AWS
	t     *testing.T
	as    *autoscaling.Client
	group string
}

func newFleet(t *testing.T, a *localtest.AWS, group string, lo, hi int32) *fleet {
	t.Helper()
	ctx := t.Context()
	ok[ecs.CreateClusterOutput](t)(ecs.NewFromConfig(a.Config).CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: aws.String("c")}))
	ok[ec2.CreateLaunchTemplateOutput](t)(ec2.NewFromConfig(a.Config).CreateLaunchTemplate(ctx, &ec2.CreateLaunchTemplateInput{LaunchTemplateName: &group,
		LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: aws.String(image), InstanceType: "m5.large", UserData: joining("c")}}))
	f := &fleet{a, t, autoscaling.NewFromConfig(a.Config), group}
	ok[autoscaling.CreateAutoScalingGroupOutput](t)(f.as.CreateAutoScalingGroup(ctx, &autoscaling.CreateAutoScalingGroupInput{AutoScalingGroupName: &group, MinSize: &lo, MaxSize: &hi,
		LaunchTemplate: &astypes.LaunchTemplateSpecification{LaunchTemplateName: &group}, AvailabilityZones: []string{"us-east-1a", "us-east-1b", "us-east-1c"},
		Tags: []astypes.Tag{{Key: aws.String("team"), Value: aws.String("a"), PropagateAtLaunch: aws.Bool(true)}}}))
	return f
}

func (f *fleet) describe() astypes.AutoScalingGroup {
	f.t.Helper()
	out := ok[autoscaling.DescribeAutoScalingGroupsOutput](f.t)(f.as.DescribeAutoScalingGroups(f.t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{f.group}}))
	if len(out.AutoScalingGroups) != 1 {
		f.t.Fatalf("%d groups named %s", len(out.AutoScalingGroups), f.group)
	}
	return out.AutoScalingGroups[0]
}

func (f *fleet) in(state astypes.LifecycleState) (ids []string) {
	f.t.Helper()
	for _, i := range f.describe().Instances {
		if i.LifecycleState == state {
			ids = append(ids, *i.InstanceId)
		}
	}
	return ids
}

func (f *fleet) reaches(state astypes.LifecycleState, n int) []string {
	f.t.Helper()
	var ids []string
	localtest.Eventually(f.t, fmt.Sprintf("%d instances of %s are %s", n, f.group, state), func() bool { ids = f.in(state); return len(ids) == n })
	return ids
}

func (f *fleet) desire(n int32) error {
	_, err := f.as.SetDesiredCapacity(f.t.Context(), &autoscaling.SetDesiredCapacityInput{AutoScalingGroupName: &f.group, DesiredCapacity: &n})
	return err
}

func TestGroups(t *testing.T) {
	dir := t.TempDir()
	a := localtest.Start(t, localtest.Dir(dir), localtest.Speed(50))
	f, ctx := newFleet(t, a, "hosts", 0, 6), t.Context()
	_, err := f.as.CreateAutoScalingGroup(ctx, &autoscaling.CreateAutoScalingGroupInput{AutoScalingGroupName: aws.String("hosts"), MinSize: aws.Int32(0), MaxSize: aws.Int32(1), AvailabilityZones: []string{"us-east-1a"}, LaunchTemplate: &astypes.LaunchTemplateSpecification{LaunchTemplateName: aws.String("hosts")}})
	refused(t, err, "AlreadyExists")
	_, err = f.as.CreateAutoScalingGroup(ctx, &autoscaling.CreateAutoScalingGroupInput{AutoScalingGroupName: aws.String("x"), MinSize: aws.Int32(0), MaxSize: aws.Int32(1), AvailabilityZones: []string{"us-east-1a"}, LaunchTemplate: &astypes.LaunchTemplateSpecification{LaunchTemplateName: aws.String("none")}})
	refused(t, err, "ValidationError")
	refused(t, f.desire(7), "ValidationError")
	if err := f.desire(3); err != nil {
		t.Fatal(err)
	}
	ids := f.reaches("InService", 3)
	zones := map[string]bool{}
	for _, i := range f.describe().Instances {
		zones[*i.AvailabilityZone] = true
	}
	same(t, "zones", len(zones), 3)
	c := ec2.NewFromConfig(a.Config)
	tagged := ok[ec2.DescribeInstancesOutput](t)(c.DescribeInstances(ctx, &ec2.DescribeInstancesInput{Filters: []types.Filter{{Name: aws.String("tag:aws:autoscaling:groupName"), Values: []string{"hosts"}}, {Name: aws.String("tag:team"), Values: []string{"a"}}}}))
	same(t, "tagged instances", len(tagged.Reservations), 3)

	// Protected instances stay when the group shrinks.
	ok[autoscaling.SetInstanceProtectionOutput](t)(f.as.SetInstanceProtection(ctx, &autoscaling.SetInstanceProtectionInput{AutoScalingGroupName: &f.group, InstanceIds: ids[:2], ProtectedFromScaleIn: aws.Bool(true)}))
	if err := f.desire(1); err != nil {
		t.Fatal(err)
	}
	localtest.Eventually(t, "the unprotected one goes", func() bool { return len(f.describe().Instances) == 2 })
	for _, id := range ids[:2] {
		if !slices.Contains(f.in("InService"), id) {
			t.Errorf("the protected %s is gone", id)
		}
	}
	// A dead machine is replaced.
	if err := f.desire(2); err != nil {
		t.Fatal(err)
	}
	ok[ec2.TerminateInstancesOutput](t)(c.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: ids[:1]}))
	localtest.Eventually(t, "a replacement", func() bool { in := f.in("InService"); return len(in) == 2 && !slices.Contains(in, ids[0]) })
	activities := ok[autoscaling.DescribeScalingActivitiesOutput](t)(f.as.DescribeScalingActivities(ctx, &autoscaling.DescribeScalingActivitiesInput{AutoScalingGroupName: &f.group}))
	if len(activities.Activities) < 5 {
		t.Errorf("only %d activities", len(activities.Activities))
	}
	_, err = f.as.DeleteAutoScalingGroup(ctx, &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: &f.group})
	refused(t, err, "ResourceInUse")

	a.Stop()
	a = localtest.Start(t, localtest.Dir(dir), localtest.Speed(50))
	f.AWS, f.as = a, autoscaling.NewFromConfig(a.Config)
	same(t, "after a restart", len(f.in("InService")), 2)
	tags := ok[autoscaling.DescribeTagsOutput](t)(f.as.DescribeTags(ctx, &autoscaling.DescribeTagsInput{Filters: []astypes.Filter{{Name: aws.String("key"), Values: []string{"team"}}}}))
	same(t, "tags after a restart", len(tags.Tags), 1)
	ok[autoscaling.DeleteAutoScalingGroupOutput](t)(f.as.DeleteAutoScalingGroup(ctx, &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: &f.group, ForceDelete: aws.Bool(true)}))
	localtest.Eventually(t, "the group goes", func() bool {
		out := ok[autoscaling.DescribeAutoScalingGroupsOutput](t)(f.as.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{f.group}}))
		return len(out.AutoScalingGroups) == 0
	})
	if err := f.desire(1); err == nil {
		t.Error("a deleted group takes a capacity")
	}
}

func TestHooks(t *testing.T) {
	a := localtest.Start(t, localtest.Speed(50))
	f, ctx := newFleet(t, a, "hosts", 0, 3), t.Context()
	put := func(name, transition, result string, beat int32) {
		ok[autoscaling.PutLifecycleHookOutput](t)(f.as.PutLifecycleHook(ctx, &autoscaling.PutLifecycleHookInput{AutoScalingGroupName: &f.group, LifecycleHookName: &name,
			LifecycleTransition: aws.String("autoscaling:EC2_INSTANCE_" + transition), DefaultResult: &result, HeartbeatTimeout: &beat}))
	}
	_, err := f.as.PutLifecycleHook(ctx, &autoscaling.PutLifecycleHookInput{AutoScalingGroupName: &f.group, LifecycleHookName: aws.String("x"), LifecycleTransition: aws.String("autoscaling:EC2_INSTANCE_TERMINATING"), HeartbeatTimeout: aws.Int32(10)})
	refused(t, err, "ValidationError")
	put("ready", "LAUNCHING", "ABANDON", 7200)
	put("drain", "TERMINATING", "CONTINUE", 7200)
	if err := f.desire(1); err != nil {
		t.Fatal(err)
	}
	id := f.reaches("Pending:Wait", 1)[0]
	complete := func(hook, id, result string) error {
		_, err := f.as.CompleteLifecycleAction(ctx, &autoscaling.CompleteLifecycleActionInput{AutoScalingGroupName: &f.group, LifecycleHookName: &hook, InstanceId: &id, LifecycleActionResult: &result})
		return err
	}
	refused(t, complete("drain", id, "CONTINUE"), "ValidationError")
	if err := complete("ready", id, "CONTINUE"); err != nil {
		t.Fatal(err)
	}
	f.reaches("InService", 1)
	if err := f.desire(0); err != nil {
		t.Fatal(err)
	}
	f.reaches("Terminating:Wait", 1)
	ok[autoscaling.RecordLifecycleActionHeartbeatOutput](t)(f.as.RecordLifecycleActionHeartbeat(ctx, &autoscaling.RecordLifecycleActionHeartbeatInput{AutoScalingGroupName: &f.group, LifecycleHookName: aws.String("drain"), InstanceId: &id}))
	if err := complete("drain", id, "CONTINUE"); err != nil {
		t.Fatal(err)
	}
	localtest.Eventually(t, "the instance goes", func() bool { return len(f.describe().Instances) == 0 })

	// Nobody answers: the default result comes with the time-out, here after 30 s of a fast clock.
	put("ready", "LAUNCHING", "CONTINUE", 30)
	put("drain", "TERMINATING", "CONTINUE", 30)
	if err := f.desire(1); err != nil {
		t.Fatal(err)
	}
	f.reaches("InService", 1)
	if err := f.desire(0); err != nil {
		t.Fatal(err)
	}
	localtest.Eventually(t, "the instance goes without an answer", func() bool { return len(f.describe().Instances) == 0 })
}
