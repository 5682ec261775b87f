package awscloud

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/scheduler/types"

	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/service"
)

// schedulePort speaks to EventBridge Scheduler.
type schedulePort struct{ api *scheduler.Client }

// https://docs.aws.amazon.com/scheduler/latest/APIReference/API_GetSchedule.html
func (p schedulePort) Schedule(ctx context.Context, name string) (deploy.Schedule, error) {
	out, err := p.api.GetSchedule(ctx, &scheduler.GetScheduleInput{Name: &name})
	if is(err, "ResourceNotFoundException") {
		return deploy.Schedule{}, deploy.ErrNotFound
	}
	if err != nil {
		return deploy.Schedule{}, err
	}
	s := deploy.Schedule{Name: name, Expression: aws.ToString(out.ScheduleExpression)}
	if t := out.Target; t != nil {
		s.Cluster, s.Role = aws.ToString(t.Arn), aws.ToString(t.RoleArn)
		if e := t.EcsParameters; e != nil {
			s.TaskDefinition = aws.ToString(e.TaskDefinitionArn)
			s.Service.LaunchType = string(e.LaunchType)
			for _, c := range e.CapacityProviderStrategy {
				s.Service.CapacityProvider = append(s.Service.CapacityProvider, service.CapacityProviderStrategy{Name: aws.ToString(c.CapacityProvider), Base: int(c.Base), Weight: int(c.Weight)})
			}
			if n := e.NetworkConfiguration; n != nil && n.AwsvpcConfiguration != nil {
				s.Service.Subnets, s.Service.SecurityGroups = n.AwsvpcConfiguration.Subnets, n.AwsvpcConfiguration.SecurityGroups
				s.Service.AssignPublicIP = n.AwsvpcConfiguration.AssignPublicIp == types.AssignPublicIpEnabled
			}
		}
	}
	return s, nil
}

// PutSchedule starts one task at each time, and tries for at most an hour where ECS refuses: a run
// that is a day late helps nobody.
// https://docs.aws.amazon.com/scheduler/latest/APIReference/API_EcsParameters.html
func (p schedulePort) PutSchedule(ctx context.Context, w deploy.Schedule) error {
	e := &types.EcsParameters{TaskDefinitionArn: &w.TaskDefinition, TaskCount: aws.Int32(1), PropagateTags: types.PropagateTagsTaskDefinition}
	if len(w.Service.CapacityProvider) == 0 {
		e.LaunchType = types.LaunchType(w.Service.LaunchType)
	}
	for _, c := range w.Service.CapacityProvider {
		e.CapacityProviderStrategy = append(e.CapacityProviderStrategy, types.CapacityProviderStrategyItem{CapacityProvider: aws.String(c.Name), Base: int32(c.Base), Weight: int32(c.Weight)})
	}
	if len(w.Service.Subnets) > 0 {
		ip := types.AssignPublicIpDisabled
		if w.Service.AssignPublicIP {
			ip = types.AssignPublicIpEnabled
		}
		e.NetworkConfiguration = &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: w.Service.Subnets, SecurityGroups: w.Service.SecurityGroups, AssignPublicIp: ip}}
	}
	if e.LaunchType != types.LaunchTypeFargate {
		for _, s := range w.Service.Placement.Strategies {
			item := types.PlacementStrategy{Type: types.PlacementStrategyType(s.Type)}
			if s.Field != "" {
				item.Field = aws.String(s.Field)
			}
			e.PlacementStrategy = append(e.PlacementStrategy, item)
		}
		for _, c := range w.Service.Placement.Constraints {
			item := types.PlacementConstraint{Type: types.PlacementConstraintType(c.Type)}
			if c.Expression != "" {
				item.Expression = aws.String(c.Expression)
			}
			e.PlacementConstraints = append(e.PlacementConstraints, item)
		}
	}
	target := &types.Target{Arn: &w.Cluster, RoleArn: &w.Role, EcsParameters: e, RetryPolicy: &types.RetryPolicy{MaximumEventAgeInSeconds: aws.Int32(3600), MaximumRetryAttempts: aws.Int32(10)}}
	window := &types.FlexibleTimeWindow{Mode: types.FlexibleTimeWindowModeOff}
	_, err := p.api.UpdateSchedule(ctx, &scheduler.UpdateScheduleInput{Name: &w.Name, ScheduleExpression: &w.Expression, FlexibleTimeWindow: window, Target: target, State: types.ScheduleStateEnabled})
	if is(err, "ResourceNotFoundException") {
		_, err = p.api.CreateSchedule(ctx, &scheduler.CreateScheduleInput{Name: &w.Name, ScheduleExpression: &w.Expression, FlexibleTimeWindow: window, Target: target, State: types.ScheduleStateEnabled})
	}
	return err
}

func (p schedulePort) DeleteSchedule(ctx context.Context, name string) error {
	_, err := p.api.DeleteSchedule(ctx, &scheduler.DeleteScheduleInput{Name: &name})
	if is(err, "ResourceNotFoundException") {
		return deploy.ErrNotFound
	}
	return err
}
