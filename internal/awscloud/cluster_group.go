package awscloud

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"github.com/slipway-ecs/slipway/internal/clusterinfra"
)

// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DescribeAutoScalingGroups.html
func (p groupPort) Group(ctx context.Context, name string) (clusterinfra.Group, error) {
	out, err := p.api.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{name}})
	if err != nil {
		return clusterinfra.Group{}, err
	}
	if len(out.AutoScalingGroups) == 0 {
		return clusterinfra.Group{}, clusterinfra.ErrNotFound
	}
	g := out.AutoScalingGroups[0]
	r := clusterinfra.Group{Name: name, ARN: aws.ToString(g.AutoScalingGroupARN), Min: int(aws.ToInt32(g.MinSize)), Max: int(aws.ToInt32(g.MaxSize)), Desired: int(aws.ToInt32(g.DesiredCapacity)),
		ProtectScaleIn: aws.ToBool(g.NewInstancesProtectedFromScaleIn), Instances: len(g.Instances), Tags: map[string]string{}}
	if t := g.LaunchTemplate; t != nil {
		r.Template, r.TemplateVersion = aws.ToString(t.LaunchTemplateId), aws.ToString(t.Version)
	}
	if m := g.MixedInstancesPolicy; m != nil && m.LaunchTemplate != nil {
		if t := m.LaunchTemplate.LaunchTemplateSpecification; t != nil {
			r.Template, r.TemplateVersion = aws.ToString(t.LaunchTemplateId), aws.ToString(t.Version)
		}
		for _, o := range m.LaunchTemplate.Overrides {
			if o.InstanceType != nil {
				r.Types = append(r.Types, *o.InstanceType)
			}
		}
		if d := m.InstancesDistribution; d != nil && d.OnDemandPercentageAboveBaseCapacity != nil {
			r.SpotPercent, r.OnDemandBase = 100-int(*d.OnDemandPercentageAboveBaseCapacity), int(aws.ToInt32(d.OnDemandBaseCapacity))
		}
	}
	for _, id := range strings.Split(aws.ToString(g.VPCZoneIdentifier), ",") {
		if id = strings.TrimSpace(id); id != "" {
			r.Subnets = append(r.Subnets, id)
		}
	}
	for _, t := range g.Tags {
		r.Tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	activities, err := p.api.DescribeScalingActivities(ctx, &autoscaling.DescribeScalingActivitiesInput{AutoScalingGroupName: &name, MaxRecords: aws.Int32(1)})
	if err != nil {
		return r, fmt.Errorf("reading its activities: %w", err)
	}
	for _, a := range activities.Activities {
		if a.StatusCode == types.ScalingActivityStatusCodeFailed {
			r.Activity = aws.ToString(a.StatusMessage)
		}
	}
	return r, nil
}

// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_CreateAutoScalingGroup.html
func (p groupPort) PutGroup(ctx context.Context, w clusterinfra.Group) (clusterinfra.Group, error) {
	template, mixed := &types.LaunchTemplateSpecification{LaunchTemplateId: &w.Template, Version: &w.TemplateVersion}, mixedPolicy(w)
	if mixed != nil {
		template = nil
	}
	zones := aws.String(strings.Join(w.Subnets, ","))
	have, err := p.Group(ctx, w.Name)
	switch {
	case errors.Is(err, clusterinfra.ErrNotFound):
		in := &autoscaling.CreateAutoScalingGroupInput{AutoScalingGroupName: &w.Name, MinSize: aws.Int32(int32(w.Min)), MaxSize: aws.Int32(int32(w.Max)), DesiredCapacity: aws.Int32(int32(max(w.Desired, w.Min))),
			LaunchTemplate: template, MixedInstancesPolicy: mixed, VPCZoneIdentifier: zones, NewInstancesProtectedFromScaleIn: &w.ProtectScaleIn, Tags: groupTags(w)}
		if _, err := p.api.CreateAutoScalingGroup(ctx, in); err != nil {
			return w, err
		}
		if err := p.leaveZones(ctx, w.Name); err != nil {
			return w, err
		}
		return p.Group(ctx, w.Name)
	case err != nil:
		return w, err
	}
	in := &autoscaling.UpdateAutoScalingGroupInput{AutoScalingGroupName: &w.Name, MinSize: aws.Int32(int32(w.Min)), MaxSize: aws.Int32(int32(w.Max)),
		LaunchTemplate: template, MixedInstancesPolicy: mixed, VPCZoneIdentifier: zones, NewInstancesProtectedFromScaleIn: &w.ProtectScaleIn}
	if w.Desired >= 0 && w.Desired != have.Desired {
		in.DesiredCapacity = aws.Int32(int32(w.Desired))
	}
	if _, err := p.api.UpdateAutoScalingGroup(ctx, in); err != nil {
		return w, err
	}
	if err := p.leaveZones(ctx, w.Name); err != nil {
		return w, err
	}
	if len(missing(have.Tags, w.Tags)) > 0 {
		if _, err := p.api.CreateOrUpdateTags(ctx, &autoscaling.CreateOrUpdateTagsInput{Tags: groupTags(w)}); err != nil {
			return w, err
		}
	}
	return p.Group(ctx, w.Name)
}

// mixedPolicy is for a group of several types or with Spot. On-Demand goes to the first type that can be had;
// Spot to the pools that are least likely to be interrupted, the cheaper first.
//
// Source: https://docs.aws.amazon.com/autoscaling/ec2/userguide/allocation-strategies.html
func mixedPolicy(w clusterinfra.Group) *types.MixedInstancesPolicy {
	if len(w.Types) == 0 {
		return nil
	}
	m := &types.MixedInstancesPolicy{
		LaunchTemplate: &types.LaunchTemplate{LaunchTemplateSpecification: &types.LaunchTemplateSpecification{LaunchTemplateId: &w.Template, Version: &w.TemplateVersion}},
		InstancesDistribution: &types.InstancesDistribution{OnDemandAllocationStrategy: aws.String("prioritized"), OnDemandBaseCapacity: aws.Int32(int32(w.OnDemandBase)),
			OnDemandPercentageAboveBaseCapacity: aws.Int32(int32(100 - w.SpotPercent)), SpotAllocationStrategy: aws.String("price-capacity-optimized")},
	}
	for _, t := range w.Types {
		m.LaunchTemplate.Overrides = append(m.LaunchTemplate.Overrides, types.LaunchTemplateOverrides{InstanceType: aws.String(t)})
	}
	return m
}

// leaveZones keeps the group from evening out its zones by ending instances that run tasks: it knows of no
// draining. New instances still go where there are fewest, and the controller picks what goes.
//
// Source: https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-suspend-resume-processes.html
func (p groupPort) leaveZones(ctx context.Context, group string) error {
	_, err := p.api.SuspendProcesses(ctx, &autoscaling.SuspendProcessesInput{AutoScalingGroupName: &group, ScalingProcesses: []string{"AZRebalance"}})
	if err != nil {
		return fmt.Errorf("suspending AZRebalance: %w", err)
	}
	return nil
}

func groupTags(w clusterinfra.Group) (out []types.Tag) {
	for _, k := range sortedKeys(w.Tags) {
		out = append(out, types.Tag{ResourceId: aws.String(w.Name), ResourceType: aws.String("auto-scaling-group"), Key: aws.String(k), Value: aws.String(w.Tags[k]), PropagateAtLaunch: aws.Bool(true)})
	}
	return out
}

func (p groupPort) DeleteGroup(ctx context.Context, name string) error {
	_, err := p.api.DeleteAutoScalingGroup(ctx, &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: &name, ForceDelete: aws.Bool(true)})
	switch {
	case is(err, "ScalingActivityInProgress", "ResourceInUse"):
		return fmt.Errorf("%w: %w", clusterinfra.ErrInUse, err)
	case is(err, "ValidationError") && says(err, "not found"):
		return nil
	}
	return err
}
