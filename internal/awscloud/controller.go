package awscloud

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/slipway-ecs/slipway/internal/drain"
)

// controllerPort is AWS as the cluster controller's engines need it.
type controllerPort struct {
	ecs  *ecs.Client
	as   *autoscaling.Client
	ec2  *ec2.Client
	ssm  *ssm.Client
	cw   *cloudwatch.Client
	defs sync.Map // *definition by ARN
}

func (c *Cloud) controller() *controllerPort {
	return &controllerPort{ecs: ecs.NewFromConfig(c.cfg), as: autoscaling.NewFromConfig(c.cfg), ec2: ec2.NewFromConfig(c.cfg), ssm: ssm.NewFromConfig(c.cfg), cw: cloudwatch.NewFromConfig(c.cfg)}
}

// Drain is the drain engine of a cluster.
func (c *Cloud) Drain(cluster string, def drain.Defaults) *drain.Engine {
	p := c.controller()
	return &drain.Engine{Observer: p, Instances: p, Groups: p, Clock: c.Clock, Cluster: cluster, Defaults: def}
}

// trouble tells engines apart what they act on.
func trouble(err error) error {
	switch {
	case err == nil:
		return nil
	case is(err, "ThrottlingException", "Throttling", "RequestLimitExceeded", "TooManyRequestsException"):
		return fmt.Errorf("%w: %w", drain.ErrThrottled, err)
	case is(err, "ResourceNotFoundException"), says(err, "not found"), says(err, "No active Lifecycle Action"):
		return fmt.Errorf("%w: %w", drain.ErrGone, err)
	}
	return err
}

func (p *controllerPort) Observe(ctx context.Context, cluster string) (*drain.State, error) {
	f, err := p.fleet(ctx, cluster)
	if err != nil {
		if is(err, "ThrottlingException", "Throttling", "RequestLimitExceeded") {
			return nil, fmt.Errorf("%w: %w", drain.ErrThrottled, err)
		}
		return nil, err
	}
	return p.drainState(ctx, cluster, f)
}

func (p *controllerPort) drainState(ctx context.Context, cluster string, f *fleet) (*drain.State, error) {
	s := &drain.State{Cluster: cluster, Services: map[string]drain.Service{}}
	for _, v := range f.services {
		d := drain.Service{Name: aws.ToString(v.ServiceName), Desired: int(v.DesiredCount), Running: int(v.RunningCount), MinHealthy: 100, MaxPercent: 200, Daemon: v.SchedulingStrategy == types.SchedulingStrategyDaemon}
		if c := v.DeploymentConfiguration; c != nil {
			d.MinHealthy, d.MaxPercent = int(cmp.Or(aws.ToInt32(c.MinimumHealthyPercent), 0)), int(cmp.Or(aws.ToInt32(c.MaximumPercent), 200))
		}
		s.Services[d.Name] = d
	}
	at := map[string]int{}
	for _, h := range f.hosts {
		i := drain.Instance{Instance: *f.instances[aws.ToString(h.ContainerInstanceArn)]}
		if m, ok := f.members[i.EC2ID]; ok {
			i.Group, i.Lifecycle = aws.ToString(m.AutoScalingGroupName), aws.ToString(m.LifecycleState)
		}
		for _, tag := range h.Tags {
			if aws.ToString(tag.Key) == drain.Tag {
				m, err := drain.ParseMark(aws.ToString(tag.Value))
				if err != nil {
					return nil, fmt.Errorf("%s: %w", i.EC2ID, err)
				}
				i.Mark = &m
			}
		}
		at[i.ID] = len(s.Instances)
		s.Instances = append(s.Instances, i)
	}
	for _, t := range f.tasks {
		k, ok := at[aws.ToString(t.ContainerInstanceArn)]
		if !ok {
			continue
		}
		d := drain.Task{ARN: aws.ToString(t.TaskArn), Group: aws.ToString(t.Group), LastStatus: aws.ToString(t.LastStatus), DesiredStatus: aws.ToString(t.DesiredStatus),
			StartedAt: aws.ToTime(t.StartedAt), ProtectedUntil: f.protected[aws.ToString(t.TaskArn)]}
		var svc *types.Service
		if name, ok := serviceOf(t); ok {
			d.Service = name
			if v, ok := f.byName[name]; ok {
				svc, d.Daemon = &v, v.SchedulingStrategy == types.SchedulingStrategyDaemon
			}
		}
		d.Need = f.need(aws.ToString(t.TaskDefinitionArn), d.Group, svc)
		s.Instances[k].Tasks = append(s.Instances[k].Tasks, d)
	}
	for _, g := range f.groups {
		for _, m := range g.Instances {
			if id := aws.ToString(m.InstanceId); !strings.HasPrefix(string(m.LifecycleState), "Terminat") && s.Find(id) == nil {
				s.Joining = append(s.Joining, id)
			}
		}
	}
	return s, p.hooks(ctx, cluster, f, s)
}

// hooks finds the instances whose group waits to terminate them, without events: a group says so of
// each member.
func (p *controllerPort) hooks(ctx context.Context, cluster string, f *fleet, s *drain.State) error {
	for _, g := range f.groups {
		name := aws.ToString(g.AutoScalingGroupName)
		var of []drain.Hook
		for _, m := range g.Instances {
			if string(m.LifecycleState) != "Terminating:Wait" {
				continue
			}
			if of == nil {
				out, err := p.as.DescribeLifecycleHooks(ctx, &autoscaling.DescribeLifecycleHooksInput{AutoScalingGroupName: &name})
				if err != nil {
					return fmt.Errorf("reading lifecycle hooks of %s: %w", name, err)
				}
				for _, h := range out.LifecycleHooks {
					if strings.HasSuffix(aws.ToString(h.LifecycleTransition), "EC2_INSTANCE_TERMINATING") {
						of = append(of, drain.Hook{Name: aws.ToString(h.LifecycleHookName), Group: name, Timeout: time.Duration(aws.ToInt32(h.HeartbeatTimeout)) * time.Second})
					}
				}
			}
			// A group runs its hooks one after another and does not say which is on. Ours is marked
			// by its name; other people's hooks are theirs to answer.
			for _, h := range of {
				if len(of) > 1 && !strings.HasPrefix(h.Name, "slipway") {
					continue
				}
				h.EC2ID = aws.ToString(m.InstanceId)
				if i := s.Find(h.EC2ID); i != nil {
					i.Hook, i.Lifecycle = &h, string(m.LifecycleState)
					continue
				}
				// It may have joined since the instances were read, and have tasks: then the next turn sees it.
				arn, err := p.inCluster(ctx, cluster, h.EC2ID)
				if err != nil {
					return fmt.Errorf("looking for %s in the cluster: %w", h.EC2ID, err)
				}
				if arn == "" {
					s.Orphans = append(s.Orphans, h)
				}
			}
		}
	}
	return nil
}

func (p *controllerPort) Mark(ctx context.Context, instance string, m *drain.Mark) error {
	if m == nil {
		_, err := p.ecs.UntagResource(ctx, &ecs.UntagResourceInput{ResourceArn: &instance, TagKeys: []string{drain.Tag}})
		return trouble(err)
	}
	_, err := p.ecs.TagResource(ctx, &ecs.TagResourceInput{ResourceArn: &instance, Tags: []types.Tag{{Key: aws.String(drain.Tag), Value: aws.String(m.String())}}})
	return trouble(err)
}

func (p *controllerPort) SetStatus(ctx context.Context, cluster, instance, status string) error {
	out, err := p.ecs.UpdateContainerInstancesState(ctx, &ecs.UpdateContainerInstancesStateInput{Cluster: &cluster, ContainerInstances: []string{instance}, Status: types.ContainerInstanceStatus(status)})
	if err != nil {
		return trouble(err)
	}
	if len(out.Failures) == 0 {
		return nil
	}
	f := out.Failures[0] // one instance was asked about
	if aws.ToString(f.Reason) == "MISSING" {
		return drain.ErrGone
	}
	return fmt.Errorf("setting %s: %s %s", status, aws.ToString(f.Reason), aws.ToString(f.Detail))
}

func (p *controllerPort) StopTask(ctx context.Context, cluster, task, reason string) error {
	_, err := p.ecs.StopTask(ctx, &ecs.StopTaskInput{Cluster: &cluster, Task: &task, Reason: &reason})
	return trouble(err)
}

func (p *controllerPort) Heartbeat(ctx context.Context, h drain.Hook) error {
	_, err := p.as.RecordLifecycleActionHeartbeat(ctx, &autoscaling.RecordLifecycleActionHeartbeatInput{AutoScalingGroupName: &h.Group, LifecycleHookName: &h.Name, InstanceId: &h.EC2ID})
	return trouble(err)
}

func (p *controllerPort) Complete(ctx context.Context, h drain.Hook) error {
	_, err := p.as.CompleteLifecycleAction(ctx, &autoscaling.CompleteLifecycleActionInput{AutoScalingGroupName: &h.Group, LifecycleHookName: &h.Name, InstanceId: &h.EC2ID, LifecycleActionResult: aws.String("CONTINUE")})
	return trouble(err)
}

func (p *controllerPort) Terminate(ctx context.Context, id string, shrink bool) error {
	_, err := p.as.TerminateInstanceInAutoScalingGroup(ctx, &autoscaling.TerminateInstanceInAutoScalingGroupInput{InstanceId: &id, ShouldDecrementDesiredCapacity: &shrink})
	return trouble(err)
}
