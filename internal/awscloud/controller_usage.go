package awscloud

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/rightsize"
)

// ServiceUsage is what a service was seen to use.
type ServiceUsage struct {
	Service, Definition string // Definition is the task definition's ARN
	Tasks               int
	Containers          []ContainerUsage
}

// ContainerUsage is what one container of a service uses, over all its tasks.
type ContainerUsage struct {
	Name      string
	Essential bool
	Has       rightsize.Reservation
	Usage     *rightsize.Usage
}

// usagePeriod is the period of CloudWatch's points that are asked for; they are kept for 63 days.
const usagePeriod = 5 * time.Minute

// Usage reads what the services of a cluster used since a time. ECS measures a service, in percent of what
// its tasks reserve: containers get their share by what they reserve.
//
// Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cloudwatch-metrics.html
func (c *Cloud) Usage(ctx context.Context, cluster string, since time.Duration) ([]ServiceUsage, error) {
	p := c.controller()
	f := &fleet{byName: map[string]types.Service{}}
	if err := p.readServices(ctx, cluster, f); err != nil {
		return nil, fmt.Errorf("reading services: %w", err)
	}
	var all []ServiceUsage
	for _, svc := range f.services {
		out, err := p.ecs.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: svc.TaskDefinition})
		if err != nil {
			return nil, fmt.Errorf("reading the task definition of %s: %w", aws.ToString(svc.ServiceName), err)
		}
		u := ServiceUsage{Service: aws.ToString(svc.ServiceName), Definition: aws.ToString(svc.TaskDefinition), Tasks: int(max(svc.RunningCount, svc.DesiredCount))}
		td := out.TaskDefinition
		for _, x := range td.ContainerDefinitions {
			has := rightsize.Reservation{CPU: int(x.Cpu), Memory: int(aws.ToInt32(x.MemoryReservation)), MemoryLimit: int(aws.ToInt32(x.Memory))}
			if len(td.ContainerDefinitions) == 1 { // what the task has is the container's
				if n := number(td.Cpu); has.CPU == 0 {
					has.CPU = n
				}
				if n := number(td.Memory); has.Memory == 0 && has.MemoryLimit == 0 {
					has.Memory = n
				}
			}
			if has.Memory == 0 {
				has.Memory = has.MemoryLimit
			}
			u.Containers = append(u.Containers, ContainerUsage{Name: aws.ToString(x.Name), Essential: aws.ToBool(x.Essential), Has: has, Usage: rightsize.NewUsage()})
		}
		if err := p.measure(ctx, cluster, &u, c.Clock.Now(), since); err != nil {
			return nil, fmt.Errorf("reading metrics of %s: %w", u.Service, err)
		}
		if err := p.outOfMemory(ctx, cluster, &u); err != nil {
			return nil, fmt.Errorf("reading stopped tasks of %s: %w", u.Service, err)
		}
		all = append(all, u)
	}
	slices.SortFunc(all, func(a, b ServiceUsage) int { return strings.Compare(a.Service, b.Service) })
	return all, nil
}

func (p *controllerPort) measure(ctx context.Context, cluster string, u *ServiceUsage, now time.Time, since time.Duration) error {
	query := func(id, metric, stat string) cwtypes.MetricDataQuery {
		return cwtypes.MetricDataQuery{Id: &id, MetricStat: &cwtypes.MetricStat{Stat: &stat, Period: aws.Int32(int32(usagePeriod / time.Second)), Metric: &cwtypes.Metric{Namespace: aws.String("AWS/ECS"), MetricName: &metric,
			Dimensions: []cwtypes.Dimension{{Name: aws.String("ClusterName"), Value: &cluster}, {Name: aws.String("ServiceName"), Value: &u.Service}}}}}
	}
	cpu, memory := map[time.Time]float64{}, map[time.Time]float64{}
	pages := cloudwatch.NewGetMetricDataPaginator(p.cw, &cloudwatch.GetMetricDataInput{StartTime: aws.Time(now.Add(-since)), EndTime: &now, ScanBy: cwtypes.ScanByTimestampAscending,
		MetricDataQueries: []cwtypes.MetricDataQuery{query("cpu", "CPUUtilization", "Average"), query("memory", "MemoryUtilization", "Maximum")}})
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, r := range out.MetricDataResults {
			into := cpu
			if aws.ToString(r.Id) == "memory" {
				into = memory
			}
			for k, at := range r.Timestamps {
				into[at] = r.Values[k]
			}
		}
	}
	var times []time.Time
	for at := range cpu {
		times = append(times, at)
	}
	slices.SortFunc(times, time.Time.Compare)
	for _, at := range times {
		for k := range u.Containers {
			x := &u.Containers[k]
			x.Usage.Add(rightsize.Sample{At: at, CPU: cpu[at] / 100 * float64(x.Has.CPU), Memory: memory[at] / 100 * float64(x.Has.Memory), Period: usagePeriod, Reserved: float64(x.Has.CPU)})
		}
	}
	return nil
}

// outOfMemory counts the containers killed for memory among the tasks that ECS still knows: of the last hour.
func (p *controllerPort) outOfMemory(ctx context.Context, cluster string, u *ServiceUsage) error {
	list, err := p.ecs.ListTasks(ctx, &ecs.ListTasksInput{Cluster: &cluster, ServiceName: &u.Service, DesiredStatus: types.DesiredStatusStopped})
	if err != nil || len(list.TaskArns) == 0 {
		return err
	}
	out, err := p.ecs.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: &cluster, Tasks: list.TaskArns})
	if err != nil {
		return err
	}
	for _, t := range out.Tasks {
		for _, x := range t.Containers {
			if !strings.HasPrefix(aws.ToString(x.Reason), "OutOfMemory") {
				continue
			}
			for k := range u.Containers {
				if c := &u.Containers[k]; c.Name == aws.ToString(x.Name) {
					c.Usage.AddOOM(float64(max(c.Has.MemoryLimit, c.Has.Memory)), aws.ToTime(t.StoppedAt))
				}
			}
		}
	}
	return nil
}

// Resize makes a revision of a service's task definition with other reservations, by container, and deploys
// it.
func (c *Cloud) Resize(ctx context.Context, cluster string, u ServiceUsage, to map[string]rightsize.Reservation) error {
	api := c.controller().ecs
	have, err := api.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: &u.Definition, Include: []types.TaskDefinitionField{types.TaskDefinitionFieldTags}})
	if err != nil {
		return fmt.Errorf("reading the task definition of %s: %w", u.Service, err)
	}
	// What a definition is registered with has the names it is described with.
	text, err := json.Marshal(have.TaskDefinition)
	if err != nil {
		return err
	}
	in := &ecs.RegisterTaskDefinitionInput{}
	if err := json.Unmarshal(text, in); err != nil {
		return fmt.Errorf("reading the task definition of %s: %w", u.Service, err)
	}
	if len(have.Tags) > 0 {
		in.Tags = have.Tags
	}
	if in.Cpu != nil || in.Memory != nil {
		return fmt.Errorf("not supported: the task definition of %s sizes the task as a whole", u.Service)
	}
	for k := range in.ContainerDefinitions {
		x := &in.ContainerDefinitions[k]
		if r, ok := to[aws.ToString(x.Name)]; ok {
			x.Cpu, x.MemoryReservation, x.Memory = int32(r.CPU), aws.Int32(int32(r.Memory)), aws.Int32(int32(r.MemoryLimit))
		}
	}
	made, err := api.RegisterTaskDefinition(ctx, in)
	if err != nil {
		return fmt.Errorf("registering a task definition of %s: %w", u.Service, err)
	}
	if _, err := api.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: &cluster, Service: &u.Service, TaskDefinition: made.TaskDefinition.TaskDefinitionArn}); err != nil {
		return fmt.Errorf("deploying %s: %w", u.Service, err)
	}
	return nil
}
