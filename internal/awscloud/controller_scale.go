package awscloud

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	aas "github.com/aws/aws-sdk-go-v2/service/applicationautoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/autoscale"
	"github.com/slipway-ecs/slipway/internal/capacity"
	"github.com/slipway-ecs/slipway/internal/drain"
	"github.com/slipway-ecs/slipway/internal/placement"
)

// Autoscale is the engine that sizes a cluster.
func (c *Cloud) Autoscale(cluster string, cfg autoscale.Config) *autoscale.Engine {
	p := c.controller()
	return &autoscale.Engine{Observer: p, Actor: p, Scalers: &scalersPort{p, aas.NewFromConfig(c.cfg), c.Clock}, Clock: c.Clock, Cluster: cluster, Config: cfg}
}

func (p *controllerPort) SetDesired(ctx context.Context, group string, n int) error {
	_, err := p.as.SetDesiredCapacity(ctx, &autoscaling.SetDesiredCapacityInput{AutoScalingGroupName: &group, DesiredCapacity: aws.Int32(int32(n)), HonorCooldown: aws.Bool(false)})
	return err
}

func (p *controllerPort) Drain(ctx context.Context, cluster, instance string, deadline time.Time) error {
	// Since the cluster was read someone may have asked for a drain of another kind: that stands.
	out, err := p.ecs.DescribeContainerInstances(ctx, &ecs.DescribeContainerInstancesInput{Cluster: &cluster, ContainerInstances: []string{instance}, Include: []types.ContainerInstanceField{types.ContainerInstanceFieldTags}})
	if err != nil {
		return trouble(err)
	}
	for _, h := range out.ContainerInstances {
		if aws.ToString(h.Status) != "ACTIVE" || marked(h) {
			return nil
		}
	}
	return p.Mark(ctx, instance, &drain.Mark{Deadline: deadline, Policy: drain.Abort, Terminate: true, By: drain.ByAutoscale})
}

func (p *controllerPort) Fleet(ctx context.Context, cluster string) (*autoscale.State, error) {
	f, err := p.fleet(ctx, cluster)
	if err != nil {
		return nil, err
	}
	s := &autoscale.State{Cluster: cluster}
	at := map[string]int{}
	for _, h := range f.hosts {
		x := autoscale.Host{Instance: *f.instances[aws.ToString(h.ContainerInstanceArn)]}
		if m, ok := f.members[x.EC2ID]; ok {
			x.Group, x.InService, x.Protected = aws.ToString(m.AutoScalingGroupName), aws.ToString(m.LifecycleState) == "InService", aws.ToBool(m.ProtectedFromScaleIn)
			x.Leaving = strings.HasPrefix(aws.ToString(m.LifecycleState), "Terminat")
		}
		x.Leaving = x.Leaving || f.ended[x.EC2ID] || x.Status == "DRAINING" || marked(h)
		at[x.ID] = len(s.Hosts)
		s.Hosts = append(s.Hosts, x)
	}
	newcomers(f, s.Hosts)
	placed := map[string]int{}  // tasks of a service that stay where they are
	primary := map[string]int{} // of its newest deployment, of those
	for _, t := range f.tasks {
		if aws.ToString(t.DesiredStatus) != "RUNNING" {
			continue
		}
		k, ok := at[aws.ToString(t.ContainerInstanceArn)]
		name, ofService := serviceOf(t)
		if !ok {
			if !ofService && t.LaunchType != types.LaunchTypeFargate && !onFargate(t) {
				s.Wanted = append(s.Wanted, autoscale.Wanted{Name: aws.ToString(t.Group), Count: 1, Need: f.need(aws.ToString(t.TaskDefinitionArn), aws.ToString(t.Group), nil)})
			}
			continue
		}
		x := autoscale.Task{ARN: aws.ToString(t.TaskArn), Service: name, Pinned: p.pinned(f, t, name, ofService)}
		if svc, ok := f.byName[name]; ok && ofService {
			x.Daemon = svc.SchedulingStrategy == types.SchedulingStrategyDaemon
			x.Need = f.need(aws.ToString(t.TaskDefinitionArn), aws.ToString(t.Group), &svc)
			if !s.Hosts[k].Leaving {
				placed[name]++
				if d := primaryOf(svc); d != nil && aws.ToString(t.StartedBy) == aws.ToString(d.Id) {
					primary[name]++
				}
			}
		}
		s.Hosts[k].Tasks = append(s.Hosts[k].Tasks, x)
	}
	s.Slack = map[string]int{}
	now, err := p.again(ctx, cluster, f, placed, primary)
	if err != nil {
		return nil, fmt.Errorf("reading services again: %w", err)
	}
	for _, svc := range f.services {
		if c := svc.DeploymentConfiguration; c != nil && c.MinimumHealthyPercent != nil && c.MaximumPercent != nil {
			s.Slack[aws.ToString(svc.ServiceName)] = capacity.Slack(int(svc.DesiredCount), int(svc.RunningCount), int(svc.RunningCount), int(*c.MinimumHealthyPercent), int(*c.MaximumPercent))
		}
		n := lacks(svc, placed[aws.ToString(svc.ServiceName)], primary[aws.ToString(svc.ServiceName)])
		if n > 0 {
			// The less of what it lacked before its tasks were read and after: one that was made smaller
			// meanwhile lacks nothing.
			n = min(n, lacks(now[aws.ToString(svc.ServiceName)], placed[aws.ToString(svc.ServiceName)], primary[aws.ToString(svc.ServiceName)]))
		}
		if n > 0 {
			group := "service:" + aws.ToString(svc.ServiceName)
			s.Wanted = append(s.Wanted, autoscale.Wanted{Name: aws.ToString(svc.ServiceName), Count: n, Need: f.need(aws.ToString(svc.TaskDefinition), group, &svc)})
		}
	}
	for _, g := range f.groups {
		x := autoscale.Group{Name: aws.ToString(g.AutoScalingGroupName), Zones: g.AvailabilityZones, Min: int(aws.ToInt32(g.MinSize)), Max: int(aws.ToInt32(g.MaxSize)), Desired: int(aws.ToInt32(g.DesiredCapacity)),
			Managed: f.managed[aws.ToString(g.AutoScalingGroupARN)]}
		for _, m := range g.Instances {
			if !strings.HasPrefix(string(m.LifecycleState), "Terminat") {
				x.Instances++
			}
			x.Type = aws.ToString(m.InstanceType)
		}
		if x.Type == "" {
			if x.Type, err = p.templateType(ctx, g); err != nil {
				return nil, fmt.Errorf("reading the launch template of group %s: %w", x.Name, err)
			}
		}
		if m := g.MixedInstancesPolicy; m != nil {
			if m.LaunchTemplate != nil {
				for _, o := range m.LaunchTemplate.Overrides {
					if o.InstanceType != nil {
						x.Types = append(x.Types, *o.InstanceType)
					}
				}
			}
			if d := m.InstancesDistribution; d != nil && d.OnDemandPercentageAboveBaseCapacity != nil {
				x.Spot = *d.OnDemandPercentageAboveBaseCapacity == 0 && aws.ToInt32(d.OnDemandBaseCapacity) == 0
			}
		}
		_, x.Rotating = rotationTag(&g)
		x.Evens = len(g.AvailabilityZones) > 1 && !slices.ContainsFunc(g.SuspendedProcesses, func(p astypes.SuspendedProcess) bool {
			return slices.Contains([]string{"AZRebalance", "Launch", "Terminate"}, aws.ToString(p.ProcessName))
		})
		if x.Desired > x.Instances {
			if x.FailedAt, err = p.failedAt(ctx, x.Name); err != nil {
				return nil, fmt.Errorf("reading the scaling activities of group %s: %w", x.Name, err)
			}
		}
		s.Groups = append(s.Groups, x)
	}
	return s, nil
}

func marked(h types.ContainerInstance) bool {
	return slices.ContainsFunc(h.Tags, func(t types.Tag) bool { return aws.ToString(t.Key) == drain.Tag })
}

// newcomers frees, on each host that was given tasks after the tasks were read, what these hold: they are
// among the tasks that seem to have no place yet, and counted twice the cluster would grow for them again.
// Such a host is Changing.
func newcomers(f *fleet, hosts []autoscale.Host) {
	seen, held := map[string]int{}, map[string]placement.Resources{}
	for _, t := range f.tasks {
		arn := aws.ToString(t.ContainerInstanceArn)
		seen[arn]++
		held[arn] = held[arn].Plus(f.need(aws.ToString(t.TaskDefinitionArn), "", nil).Resources)
	}
	for k, h := range f.hosts {
		if arn := aws.ToString(h.ContainerInstanceArn); int(h.RunningTasksCount+h.PendingTasksCount) > seen[arn] {
			hosts[k].Used, hosts[k].Changing = held[arn], true
		}
	}
}

// again reads the services that seem to lack tasks once more, after the tasks. One that is gone lacks none.
func (p *controllerPort) again(ctx context.Context, cluster string, f *fleet, placed, primary map[string]int) (map[string]types.Service, error) {
	var names []string
	for _, svc := range f.services {
		if name := aws.ToString(svc.ServiceName); lacks(svc, placed[name], primary[name]) > 0 {
			names = append(names, name)
		}
	}
	now := map[string]types.Service{}
	for chunk := range slices.Chunk(names, 10) { // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServices.html
		out, err := p.ecs.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: &cluster, Services: chunk})
		if err != nil {
			return nil, err
		}
		for _, svc := range out.Services {
			if aws.ToString(svc.Status) == "ACTIVE" {
				now[aws.ToString(svc.ServiceName)] = svc
			}
		}
	}
	return now, nil
}

// pinned says why a task cannot be moved, as a scale-in sees it.
func (p *controllerPort) pinned(f *fleet, t types.Task, name string, ofService bool) string {
	id := lastPart(aws.ToString(t.TaskArn))
	if !ofService {
		return fmt.Sprintf("task %s of %s runs by itself", id, aws.ToString(t.Group))
	}
	if until, ok := f.protected[aws.ToString(t.TaskArn)]; ok {
		return fmt.Sprintf("task %s of %s is protected until %s", id, name, until.UTC().Format(time.RFC3339))
	}
	svc, ok := f.byName[name]
	if !ok || svc.SchedulingStrategy == types.SchedulingStrategyDaemon {
		return ""
	}
	if len(svc.Deployments) > 1 {
		return fmt.Sprintf("service %s is being deployed", name)
	}
	if c := svc.DeploymentConfiguration; c != nil && c.MinimumHealthyPercent != nil && c.MaximumPercent != nil {
		n := int(svc.DesiredCount)
		if low := (n*int(*c.MinimumHealthyPercent) + 99) / 100; low >= n && n*int(*c.MaximumPercent)/100 <= n {
			return fmt.Sprintf("service %s may have neither more nor fewer tasks, so none is moved", name)
		}
	}
	return ""
}

func primaryOf(svc types.Service) *types.Deployment {
	for k := range svc.Deployments {
		if aws.ToString(svc.Deployments[k].Status) == "PRIMARY" {
			return &svc.Deployments[k]
		}
	}
	return nil
}

// lacks is how many more tasks of the service should have a place now: up to its desired count, and
// during a deployment up to its maximum.
func lacks(svc types.Service, placed, primary int) int {
	d := primaryOf(svc)
	if svc.SchedulingStrategy == types.SchedulingStrategyDaemon || svc.LaunchType == types.LaunchTypeFargate || d == nil || fargateStrategy(svc) {
		return 0
	}
	want := int(svc.DesiredCount)
	n := want - placed
	if len(svc.Deployments) > 1 && svc.DeploymentConfiguration != nil {
		most := want * int(aws.ToInt32(svc.DeploymentConfiguration.MaximumPercent)) / 100
		n = max(n, min(want-primary, most-placed))
	}
	return max(n, 0)
}

func fargateStrategy(svc types.Service) bool {
	return slices.ContainsFunc(svc.CapacityProviderStrategy, func(i types.CapacityProviderStrategyItem) bool {
		return strings.HasPrefix(aws.ToString(i.CapacityProvider), "FARGATE")
	})
}

func onFargate(t types.Task) bool {
	return strings.HasPrefix(aws.ToString(t.CapacityProviderName), "FARGATE")
}

// failedAt is when AWS last failed to launch an instance of the group, if its latest launch failed.
//
// Source: https://docs.aws.amazon.com/autoscaling/ec2/userguide/ts-as-capacity.html
func (p *controllerPort) failedAt(ctx context.Context, group string) (time.Time, error) {
	out, err := p.as.DescribeScalingActivities(ctx, &autoscaling.DescribeScalingActivitiesInput{AutoScalingGroupName: &group, MaxRecords: aws.Int32(5)})
	if err != nil {
		return time.Time{}, err
	}
	for _, a := range out.Activities {
		if strings.HasPrefix(aws.ToString(a.Description), "Launching") {
			if a.StatusCode == astypes.ScalingActivityStatusCodeFailed {
				return aws.ToTime(a.StartTime), nil
			}
			break
		}
	}
	return time.Time{}, nil
}

// templateType is the instance type of a group that has no instance to show it.
func (p *controllerPort) templateType(ctx context.Context, g astypes.AutoScalingGroup) (string, error) {
	t := templateOf(&g)
	if t == nil {
		return "", nil // a launch configuration: not known, so not grown from zero
	}
	in := &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: t.LaunchTemplateId, Versions: []string{cmp.Or(aws.ToString(t.Version), "$Default")}}
	if t.LaunchTemplateId == nil {
		in.LaunchTemplateName = t.LaunchTemplateName
	}
	out, err := p.ec2.DescribeLaunchTemplateVersions(ctx, in)
	if err != nil || len(out.LaunchTemplateVersions) == 0 || out.LaunchTemplateVersions[0].LaunchTemplateData == nil {
		return "", err
	}
	return string(out.LaunchTemplateVersions[0].LaunchTemplateData.InstanceType), nil
}
