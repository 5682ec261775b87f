package awscloud

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/capacity"
	"github.com/slipway-ecs/slipway/internal/placement"
)

// fleet is what AWS says of a cluster at about one moment.
type fleet struct {
	hosts     []types.ContainerInstance
	tasks     []types.Task
	services  []types.Service
	members   map[string]astypes.AutoScalingInstanceDetails // by EC2 id
	groups    []astypes.AutoScalingGroup
	ended     map[string]bool                // instances of no group that EC2 is ending or has ended, by EC2 id
	managed   map[string]bool                // groups ECS's managed scaling owns, by ARN
	providers map[string]string              // capacity providers of groups, by the group's ARN
	protected map[string]time.Time           // by task ARN
	defs      map[string]*definition         // by ARN
	byName    map[string]types.Service       // services
	instances map[string]*placement.Instance // by ARN
}

// definition is what placing needs of a task definition.
type definition struct {
	placement.Request
}

// clusterTag marks the groups of a cluster; see clusterinfra.
const clusterTag = "slipway:cluster"

func (p *controllerPort) fleet(ctx context.Context, cluster string) (*fleet, error) {
	f := &fleet{members: map[string]astypes.AutoScalingInstanceDetails{}, ended: map[string]bool{}, managed: map[string]bool{}, providers: map[string]string{}, protected: map[string]time.Time{}, byName: map[string]types.Service{}, instances: map[string]*placement.Instance{}}
	// Services before tasks: a task seen of a service not seen yet is never taken for lacking.
	if err := p.readServices(ctx, cluster, f); err != nil {
		return nil, fmt.Errorf("reading services: %w", err)
	}
	if err := p.readTasks(ctx, cluster, f); err != nil {
		return nil, fmt.Errorf("reading tasks: %w", err)
	}
	if err := p.readHosts(ctx, cluster, f); err != nil {
		return nil, fmt.Errorf("reading container instances: %w", err)
	}
	if err := p.readLatecomers(ctx, cluster, f); err != nil {
		return nil, fmt.Errorf("reading the tasks of instances that drain: %w", err)
	}
	if err := p.readGroups(ctx, cluster, f); err != nil {
		return nil, fmt.Errorf("reading Auto Scaling groups: %w", err)
	}
	if err := p.readDefinitions(ctx, f); err != nil {
		return nil, fmt.Errorf("reading task definitions: %w", err)
	}
	p.assemble(f)
	return f, nil
}

func (p *controllerPort) readServices(ctx context.Context, cluster string, f *fleet) error {
	var arns []string
	pages := ecs.NewListServicesPaginator(p.ecs, &ecs.ListServicesInput{Cluster: &cluster, MaxResults: aws.Int32(100)})
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		arns = append(arns, out.ServiceArns...)
	}
	for chunk := range slices.Chunk(arns, 10) { // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServices.html
		out, err := p.ecs.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: &cluster, Services: chunk})
		if err != nil {
			return err
		}
		for _, s := range out.Services {
			if aws.ToString(s.Status) == "ACTIVE" {
				f.services = append(f.services, s)
				f.byName[aws.ToString(s.ServiceName)] = s
			}
		}
	}
	return nil
}

func (p *controllerPort) readTasks(ctx context.Context, cluster string, f *fleet) error {
	var arns []string
	for _, status := range []types.DesiredStatus{types.DesiredStatusRunning, types.DesiredStatusStopped} {
		pages := ecs.NewListTasksPaginator(p.ecs, &ecs.ListTasksInput{Cluster: &cluster, DesiredStatus: status})
		for pages.HasMorePages() {
			out, err := pages.NextPage(ctx)
			if err != nil {
				return err
			}
			arns = append(arns, out.TaskArns...)
		}
	}
	running := map[string][]string{} // by service
	for chunk := range slices.Chunk(arns, describeBatch) {
		out, err := p.ecs.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: &cluster, Tasks: chunk})
		if err != nil {
			return err
		}
		for _, t := range out.Tasks {
			if aws.ToString(t.LastStatus) == "STOPPED" {
				continue
			}
			f.tasks = append(f.tasks, t)
			if name, ok := serviceOf(t); ok && aws.ToString(t.LastStatus) == "RUNNING" && aws.ToString(t.DesiredStatus) == "RUNNING" {
				running[name] = append(running[name], aws.ToString(t.TaskArn))
			}
		}
	}
	for name, tasks := range running {
		if s, ok := f.byName[name]; !ok || s.SchedulingStrategy == types.SchedulingStrategyDaemon {
			continue
		}
		for chunk := range slices.Chunk(tasks, 10) { // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_GetTaskProtection.html
			out, err := p.ecs.GetTaskProtection(ctx, &ecs.GetTaskProtectionInput{Cluster: &cluster, Tasks: chunk})
			if err != nil {
				return fmt.Errorf("reading task protection: %w", err)
			}
			for _, t := range out.ProtectedTasks {
				if t.ProtectionEnabled {
					f.protected[aws.ToString(t.TaskArn)] = aws.ToTime(t.ExpirationDate)
				}
			}
		}
	}
	return nil
}

func (p *controllerPort) readHosts(ctx context.Context, cluster string, f *fleet) error {
	var arns []string
	pages := ecs.NewListContainerInstancesPaginator(p.ecs, &ecs.ListContainerInstancesInput{Cluster: &cluster})
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		arns = append(arns, out.ContainerInstanceArns...)
	}
	for chunk := range slices.Chunk(arns, describeBatch) {
		out, err := p.ecs.DescribeContainerInstances(ctx, &ecs.DescribeContainerInstancesInput{Cluster: &cluster, ContainerInstances: chunk,
			Include: []types.ContainerInstanceField{types.ContainerInstanceFieldTags}})
		if err != nil {
			return err
		}
		for _, h := range out.ContainerInstances {
			if s := aws.ToString(h.Status); s == "ACTIVE" || s == "DRAINING" {
				f.hosts = append(f.hosts, h)
			}
		}
	}
	return nil
}

// readLatecomers asks again for the tasks of instances that drain and seem to have none: while the tasks were
// read such an instance may still have taken some, and as an empty one it would be terminated under them. A
// list made after it was seen DRAINING is whole: ECS places nothing there any more.
func (p *controllerPort) readLatecomers(ctx context.Context, cluster string, f *fleet) error {
	held := map[string]bool{}
	for _, t := range f.tasks {
		if svc := f.byName[serviceName(t)]; svc.SchedulingStrategy != types.SchedulingStrategyDaemon {
			held[aws.ToString(t.ContainerInstanceArn)] = true
		}
	}
	var arns []string
	for _, h := range f.hosts {
		if aws.ToString(h.Status) != "DRAINING" || held[aws.ToString(h.ContainerInstanceArn)] {
			continue
		}
		for _, status := range []types.DesiredStatus{types.DesiredStatusRunning, types.DesiredStatusStopped} {
			pages := ecs.NewListTasksPaginator(p.ecs, &ecs.ListTasksInput{Cluster: &cluster, ContainerInstance: h.ContainerInstanceArn, DesiredStatus: status})
			for pages.HasMorePages() {
				out, err := pages.NextPage(ctx)
				if says(err, "container instance was not found") { // it has gone since
					break
				}
				if err != nil {
					return err
				}
				for _, arn := range out.TaskArns {
					if !slices.ContainsFunc(f.tasks, func(t types.Task) bool { return aws.ToString(t.TaskArn) == arn }) {
						arns = append(arns, arn)
					}
				}
			}
		}
	}
	for chunk := range slices.Chunk(arns, describeBatch) {
		out, err := p.ecs.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: &cluster, Tasks: chunk})
		if err != nil {
			return err
		}
		for _, t := range out.Tasks {
			if aws.ToString(t.LastStatus) != "STOPPED" {
				f.tasks = append(f.tasks, t)
			}
		}
	}
	return nil
}

func serviceName(t types.Task) string {
	name, _ := serviceOf(t)
	return name
}

// inCluster is the ARN of the container instance that an EC2 instance is now; empty: it is none.
func (p *controllerPort) inCluster(ctx context.Context, cluster, id string) (string, error) {
	out, err := p.ecs.ListContainerInstances(ctx, &ecs.ListContainerInstancesInput{Cluster: &cluster, Filter: aws.String("ec2InstanceId == " + id)})
	if err != nil || len(out.ContainerInstanceArns) == 0 {
		return "", err
	}
	return out.ContainerInstanceArns[0], nil
}

func (p *controllerPort) readGroups(ctx context.Context, cluster string, f *fleet) error {
	var ids []string
	for _, h := range f.hosts {
		ids = append(ids, aws.ToString(h.Ec2InstanceId))
	}
	var names []string
	for chunk := range slices.Chunk(ids, 50) { // https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DescribeAutoScalingInstances.html
		out, err := p.as.DescribeAutoScalingInstances(ctx, &autoscaling.DescribeAutoScalingInstancesInput{InstanceIds: chunk})
		if err != nil {
			return err
		}
		for _, m := range out.AutoScalingInstances {
			f.members[aws.ToString(m.InstanceId)] = m
			if n := aws.ToString(m.AutoScalingGroupName); !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	add := func(in autoscaling.DescribeAutoScalingGroupsInput) error {
		pages := autoscaling.NewDescribeAutoScalingGroupsPaginator(p.as, &in)
		for pages.HasMorePages() {
			out, err := pages.NextPage(ctx)
			if err != nil {
				return err
			}
			for _, g := range out.AutoScalingGroups {
				if !slices.ContainsFunc(f.groups, func(o astypes.AutoScalingGroup) bool {
					return aws.ToString(o.AutoScalingGroupName) == aws.ToString(g.AutoScalingGroupName)
				}) {
					f.groups = append(f.groups, g)
				}
			}
		}
		return nil
	}
	// Groups without instances are found by their tag.
	if err := add(autoscaling.DescribeAutoScalingGroupsInput{Filters: []astypes.Filter{{Name: aws.String("tag:" + clusterTag), Values: []string{cluster}}}}); err != nil {
		return err
	}
	for chunk := range slices.Chunk(names, 50) {
		if err := add(autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: chunk}); err != nil {
			return err
		}
	}
	if err := p.readEnded(ctx, f); err != nil {
		return err
	}
	return p.readManaged(ctx, cluster, f)
}

// readEnded asks EC2 for the instances that no group has: one that a group ended stays in the cluster until ECS
// has heard of it, and its tasks, which need a new place, seem to run.
func (p *controllerPort) readEnded(ctx context.Context, f *fleet) error {
	var ids []string
	for _, h := range f.hosts {
		id := aws.ToString(h.Ec2InstanceId)
		if _, ok := f.members[id]; !ok && strings.HasPrefix(id, "i-") {
			ids = append(ids, id)
		}
	}
	for chunk := range slices.Chunk(ids, 200) { // https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html
		pages := ec2.NewDescribeInstancesPaginator(p.ec2, &ec2.DescribeInstancesInput{Filters: []ec2types.Filter{
			{Name: aws.String("instance-id"), Values: chunk}, {Name: aws.String("instance-state-name"), Values: []string{"shutting-down", "terminated"}}}})
		for pages.HasMorePages() {
			out, err := pages.NextPage(ctx)
			if err != nil {
				return err
			}
			for _, r := range out.Reservations {
				for _, i := range r.Instances {
					f.ended[aws.ToString(i.InstanceId)] = true
				}
			}
		}
	}
	return nil
}

// readManaged finds the groups that ECS scales itself.
func (p *controllerPort) readManaged(ctx context.Context, cluster string, f *fleet) error {
	out, err := p.ecs.DescribeClusters(ctx, &ecs.DescribeClustersInput{Clusters: []string{cluster}})
	if err != nil {
		return err
	}
	if len(out.Clusters) == 0 {
		return fmt.Errorf("there is no cluster %s", cluster)
	}
	names := slices.DeleteFunc(slices.Clone(out.Clusters[0].CapacityProviders), func(n string) bool { return strings.HasPrefix(n, "FARGATE") })
	if len(names) == 0 {
		return nil
	}
	have, err := p.ecs.DescribeCapacityProviders(ctx, &ecs.DescribeCapacityProvidersInput{CapacityProviders: names})
	if err != nil {
		return err
	}
	for _, cp := range have.CapacityProviders {
		g := cp.AutoScalingGroupProvider
		if g == nil {
			continue
		}
		f.providers[aws.ToString(g.AutoScalingGroupArn)] = aws.ToString(cp.Name)
		f.managed[aws.ToString(g.AutoScalingGroupArn)] = g.ManagedScaling != nil && g.ManagedScaling.Status == types.ManagedScalingStatusEnabled
	}
	return nil
}

// readDefinitions reads what is placed by the task definitions in use; revisions never change.
func (p *controllerPort) readDefinitions(ctx context.Context, f *fleet) error {
	var arns []string
	for _, t := range f.tasks {
		arns = append(arns, aws.ToString(t.TaskDefinitionArn))
	}
	for _, s := range f.services {
		arns = append(arns, aws.ToString(s.TaskDefinition))
	}
	slices.Sort(arns)
	f.defs = map[string]*definition{}
	for _, arn := range slices.Compact(arns) {
		if d, ok := p.defs.Load(arn); ok {
			f.defs[arn], _ = d.(*definition)
			continue
		}
		out, err := p.ecs.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: &arn})
		if err != nil {
			return err
		}
		d := definitionOf(out.TaskDefinition)
		p.defs.Store(arn, d)
		f.defs[arn] = d
	}
	return nil
}

// definitionOf is what a task of the definition needs.
//
// Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html
func definitionOf(td *types.TaskDefinition) *definition {
	d := &definition{}
	for _, c := range td.ContainerDefinitions {
		d.CPU += int(c.Cpu)
		if c.MemoryReservation != nil {
			d.Memory += int(*c.MemoryReservation)
		} else {
			d.Memory += int(aws.ToInt32(c.Memory))
		}
		for _, r := range c.ResourceRequirements {
			if r.Type == types.ResourceTypeGpu {
				d.GPU += number(r.Value)
			}
		}
		for _, m := range c.PortMappings {
			host := int(aws.ToInt32(m.HostPort))
			if td.NetworkMode == types.NetworkModeHost && host == 0 {
				host = int(aws.ToInt32(m.ContainerPort))
			}
			if host != 0 && td.NetworkMode != types.NetworkModeAwsvpc {
				d.Ports = append(d.Ports, placement.Port{Number: host, Protocol: string(m.Protocol)})
			}
		}
	}
	if n := number(td.Cpu); n > 0 {
		d.CPU = n
	}
	if n := number(td.Memory); n > 0 {
		d.Memory = n
	}
	if td.NetworkMode == types.NetworkModeAwsvpc {
		d.ENI = 1
	}
	for _, a := range td.RequiresAttributes {
		name := aws.ToString(a.Name)
		if v := aws.ToString(a.Value); v != "" {
			name += "=" + v
		}
		d.Attributes = append(d.Attributes, name)
	}
	for _, c := range td.PlacementConstraints {
		d.Constraints = append(d.Constraints, placement.Constraint{Type: string(c.Type), Expression: aws.ToString(c.Expression)})
	}
	return d
}

// need is what a task needs: its definition, and the constraints and strategy of its service.
func (f *fleet) need(definition, group string, svc *types.Service) placement.Request {
	r := placement.Request{Group: group}
	if d := f.defs[definition]; d != nil {
		r = d.Request
		r.Group, r.Constraints = group, slices.Clone(d.Constraints)
	}
	if svc != nil {
		for _, c := range svc.PlacementConstraints {
			r.Constraints = append(r.Constraints, placement.Constraint{Type: string(c.Type), Expression: aws.ToString(c.Expression)})
		}
		for _, s := range svc.PlacementStrategy {
			r.Strategies = append(r.Strategies, placement.Strategy{Type: string(s.Type), Field: aws.ToString(s.Field)})
		}
	}
	return r
}

func serviceOf(t types.Task) (string, bool) {
	return strings.CutPrefix(aws.ToString(t.Group), "service:")
}

// assemble makes the scheduler's view of the instances.
func (p *controllerPort) assemble(f *fleet) {
	for _, h := range f.hosts {
		i := &placement.Instance{ID: aws.ToString(h.ContainerInstanceArn), EC2ID: aws.ToString(h.Ec2InstanceId), Status: aws.ToString(h.Status), AgentConnected: h.AgentConnected,
			RegisteredAt: aws.ToTime(h.RegisteredAt), Running: int(h.RunningTasksCount), Attributes: map[string]string{}, Ports: map[placement.Port]int{}, Groups: map[string]int{}}
		if h.VersionInfo != nil {
			i.AgentVersion = aws.ToString(h.VersionInfo.AgentVersion)
		}
		for _, a := range h.Attributes {
			i.Attributes[aws.ToString(a.Name)] = aws.ToString(a.Value)
		}
		i.AZ, i.Type = i.Attributes["ecs.availability-zone"], i.Attributes["ecs.instance-type"]
		i.Registered = resourcesOf(h.RegisteredResources)
		i.Used = i.Registered.Minus(resourcesOf(h.RemainingResources))
		if t, ok := capacity.TypeByName(i.Type); ok {
			_, trunk := i.Attributes["ecs.awsvpc-trunk-id"]
			i.Registered.ENI = t.TaskENIs(trunk)
		}
		for _, r := range h.RemainingResources {
			name := aws.ToString(r.Name)
			if protocol, ok := map[string]string{"PORTS": "tcp", "PORTS_UDP": "udp"}[name]; ok {
				for _, n := range r.StringSetValue {
					i.Ports[placement.Port{Number: number(&n), Protocol: protocol}]++
				}
			}
		}
		f.instances[i.ID] = i
	}
	for _, t := range f.tasks {
		i := f.instances[aws.ToString(t.ContainerInstanceArn)]
		if i == nil {
			continue
		}
		if d := f.defs[aws.ToString(t.TaskDefinitionArn)]; d != nil {
			i.Used.ENI += d.ENI
		}
		if aws.ToString(t.DesiredStatus) == "RUNNING" {
			i.Groups[aws.ToString(t.Group)]++
		}
	}
}

func resourcesOf(list []types.Resource) (r placement.Resources) {
	for _, x := range list {
		switch aws.ToString(x.Name) {
		case "CPU":
			r.CPU = int(x.IntegerValue)
		case "MEMORY":
			r.Memory = int(x.IntegerValue)
		case "GPU":
			r.GPU = len(x.StringSetValue)
		}
	}
	return r
}
