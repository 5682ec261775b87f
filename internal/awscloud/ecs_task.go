package awscloud

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/deploy"
)

// describeBatch is how many tasks or instances one call takes.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html
const describeBatch = 100

func (p *ecsPort) ServiceTasks(ctx context.Context, ref deploy.Ref) ([]deploy.Task, error) {
	return p.tasks(ctx, ecs.ListTasksInput{Cluster: &ref.Cluster, ServiceName: &ref.Service})
}

func (p *ecsPort) StartedBy(ctx context.Context, cluster, mark string) ([]deploy.Task, error) {
	return p.tasks(ctx, ecs.ListTasksInput{Cluster: &cluster, StartedBy: &mark})
}

func (p *ecsPort) FamilyTasks(ctx context.Context, cluster, family string) ([]deploy.Task, error) {
	return p.tasks(ctx, ecs.ListTasksInput{Cluster: &cluster, Family: &family})
}

// tasks lists what runs, all of it, and what stopped lately, the first page.
func (p *ecsPort) tasks(ctx context.Context, in ecs.ListTasksInput) ([]deploy.Task, error) {
	var arns []string
	for _, status := range []types.DesiredStatus{types.DesiredStatusRunning, types.DesiredStatusStopped} {
		in := in
		in.DesiredStatus = status
		for {
			out, err := p.api.ListTasks(ctx, &in)
			if is(err, "ServiceNotFoundException", "ClusterNotFoundException") {
				return nil, deploy.ErrNotFound
			}
			if err != nil {
				return nil, err
			}
			arns = append(arns, out.TaskArns...)
			if aws.ToString(out.NextToken) == "" || status == types.DesiredStatusStopped {
				break
			}
			in.NextToken = out.NextToken
		}
	}
	var all []types.Task
	for chunk := range slices.Chunk(arns, describeBatch) {
		out, err := p.api.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: in.Cluster, Tasks: chunk})
		if err != nil {
			return nil, err
		}
		all = append(all, out.Tasks...)
	}
	if err := p.learnHosts(ctx, aws.ToString(in.Cluster), all); err != nil {
		return nil, err
	}
	out := make([]deploy.Task, 0, len(all))
	for _, t := range all {
		out = append(out, p.task(t))
	}
	return out, nil
}

// learnHosts finds the EC2 instances of tasks: that is what target groups call them.
func (p *ecsPort) learnHosts(ctx context.Context, cluster string, tasks []types.Task) error {
	var unknown []string
	for _, t := range tasks {
		arn := aws.ToString(t.ContainerInstanceArn)
		if _, ok := p.hosts.Load(arn); arn != "" && !ok && !slices.Contains(unknown, arn) {
			unknown = append(unknown, arn)
		}
	}
	for chunk := range slices.Chunk(unknown, describeBatch) {
		out, err := p.api.DescribeContainerInstances(ctx, &ecs.DescribeContainerInstancesInput{Cluster: &cluster, ContainerInstances: chunk})
		if err != nil {
			return fmt.Errorf("reading container instances: %w", err)
		}
		for _, i := range out.ContainerInstances {
			p.hosts.Store(aws.ToString(i.ContainerInstanceArn), aws.ToString(i.Ec2InstanceId))
		}
	}
	return nil
}

func (p *ecsPort) task(t types.Task) deploy.Task {
	arn := aws.ToString(t.TaskArn)
	out := deploy.Task{
		ARN: arn, ID: lastPart(arn), StartedBy: aws.ToString(t.StartedBy), TaskDefinition: aws.ToString(t.TaskDefinitionArn),
		Zone: aws.ToString(t.AvailabilityZone), LastStatus: aws.ToString(t.LastStatus), DesiredStatus: aws.ToString(t.DesiredStatus),
		Health: string(t.HealthStatus), StopCode: string(t.StopCode), StoppedReason: aws.ToString(t.StoppedReason),
		CreatedAt: aws.ToTime(t.CreatedAt), StartedAt: aws.ToTime(t.StartedAt), StoppedAt: aws.ToTime(t.StoppedAt),
	}
	if host, ok := p.hosts.Load(aws.ToString(t.ContainerInstanceArn)); ok {
		out.Host, _ = host.(string)
	}
	for _, a := range t.Attachments {
		if aws.ToString(a.Type) != "ElasticNetworkInterface" {
			continue
		}
		for _, kv := range a.Details {
			if aws.ToString(kv.Name) == "privateIPv4Address" {
				out.Host = aws.ToString(kv.Value)
			}
		}
	}
	for _, c := range t.Containers {
		tc := deploy.TaskContainer{Name: aws.ToString(c.Name), LastStatus: aws.ToString(c.LastStatus), Health: string(c.HealthStatus), Reason: aws.ToString(c.Reason)}
		if c.ExitCode != nil {
			n := int(*c.ExitCode)
			tc.ExitCode = &n
		}
		for _, b := range c.NetworkBindings {
			tc.Ports = append(tc.Ports, deploy.PortBinding{Container: int(aws.ToInt32(b.ContainerPort)), Host: int(aws.ToInt32(b.HostPort)), Address: aws.ToString(b.BindIP)})
		}
		out.Containers = append(out.Containers, tc)
	}
	return out
}

// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
func (p *ecsPort) RunTask(ctx context.Context, r deploy.TaskRun) (deploy.Task, error) {
	in := &ecs.RunTaskInput{
		Cluster: &r.Cluster, TaskDefinition: &r.TaskDefinition, StartedBy: &r.StartedBy, Count: aws.Int32(1),
		LaunchType: types.LaunchType(r.Service.LaunchType), CapacityProviderStrategy: providers(r.Service), NetworkConfiguration: network(r.Service),
		PlacementConstraints: constraints(r.Service), Tags: ecsTags(r.Tags), EnableECSManagedTags: true,
		VolumeConfigurations: taskVolumes(r.Service), EnableExecuteCommand: r.Service.Exec,
	}
	if len(in.CapacityProviderStrategy) > 0 {
		in.LaunchType = ""
	}
	if len(r.Command) > 0 || len(r.Env) > 0 {
		o := types.ContainerOverride{Name: &r.Container, Command: r.Command}
		for _, k := range sortedKeys(r.Env) {
			o.Environment = append(o.Environment, types.KeyValuePair{Name: aws.String(k), Value: aws.String(r.Env[k])})
		}
		in.Overrides = &types.TaskOverride{ContainerOverrides: []types.ContainerOverride{o}}
	}
	out, err := p.api.RunTask(ctx, in)
	if err != nil {
		return deploy.Task{}, err
	}
	if len(out.Tasks) == 0 {
		why := "no reason given"
		if len(out.Failures) > 0 {
			why = aws.ToString(out.Failures[0].Reason) + " " + aws.ToString(out.Failures[0].Detail)
		}
		return deploy.Task{}, errors.New("ECS started no task: " + why)
	}
	return p.task(out.Tasks[0]), nil
}

func (p *ecsPort) StopTask(ctx context.Context, cluster, arn, reason string) error {
	_, err := p.api.StopTask(ctx, &ecs.StopTaskInput{Cluster: &cluster, Task: &arn, Reason: &reason})
	if is(err, "InvalidParameterException") && says(err, "not found") {
		return deploy.ErrNotFound
	}
	return err
}

// lastPart is what follows the last slash of an ARN.
func lastPart(arn string) string {
	for i := len(arn) - 1; i >= 0; i-- {
		if arn[i] == '/' {
			return arn[i+1:]
		}
	}
	return arn
}
