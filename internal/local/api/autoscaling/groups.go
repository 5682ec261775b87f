package autoscaling

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/autoscalingapi"
)

func (s *Service) create(_ context.Context, in *autoscalingapi.CreateAutoScalingGroupInput) (*autoscalingapi.CreateAutoScalingGroupOutput, error) {
	name := wire.Value(in.AutoScalingGroupName)
	lo, hi := wire.Value(in.MinSize), wire.Value(in.MaxSize)
	desired := lo
	if in.DesiredCapacity != nil {
		desired = *in.DesiredCapacity
	}
	if err := checkSizes(lo, hi, desired); err != nil {
		return nil, err
	}
	given := 0
	for _, has := range []bool{in.LaunchTemplate != nil, in.MixedInstancesPolicy != nil, in.LaunchConfigurationName != nil, in.InstanceId != nil} {
		if has {
			given++
		}
	}
	if given != 1 {
		return nil, wire.Errorf("ValidationError", "Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or MixedInstancesPolicy parameter.")
	}
	g := &Group{Spec: autoscalingapi.AutoScalingGroup{AutoScalingGroupName: &name, AutoScalingGroupARN: wire.Ptr(fmt.Sprintf("arn:aws:autoscaling:%s:%s:autoScalingGroup:%s:autoScalingGroupName/%s", s.region, s.account, newID(), name)),
		MinSize: &lo, MaxSize: &hi, DesiredCapacity: &desired, LaunchTemplate: in.LaunchTemplate, MixedInstancesPolicy: in.MixedInstancesPolicy, LaunchConfigurationName: in.LaunchConfigurationName, VPCZoneIdentifier: in.VPCZoneIdentifier, AvailabilityZones: in.AvailabilityZones,
		DefaultCooldown: wire.Ptr(cmp.Or(wire.Value(in.DefaultCooldown), 300)), DefaultInstanceWarmup: in.DefaultInstanceWarmup, HealthCheckType: wire.Ptr(cmp.Or(wire.Value(in.HealthCheckType), "EC2")),
		HealthCheckGracePeriod: wire.Ptr(wire.Value(in.HealthCheckGracePeriod)), NewInstancesProtectedFromScaleIn: wire.Ptr(wire.Value(in.NewInstancesProtectedFromScaleIn)), TerminationPolicies: in.TerminationPolicies,
		CapacityRebalance: in.CapacityRebalance, MaxInstanceLifetime: in.MaxInstanceLifetime, TargetGroupARNs: in.TargetGroupARNs, LoadBalancerNames: []string{}, InstanceMaintenancePolicy: in.InstanceMaintenancePolicy,
		ServiceLinkedRoleARN: wire.Ptr("arn:aws:iam::" + s.account + ":role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"), CreatedTime: wire.Timestamp(s.clock.Now())}}
	if len(g.Spec.TerminationPolicies) == 0 {
		g.Spec.TerminationPolicies = []string{"Default"}
	}
	g.Spec.Tags = tagsOf(name, in.Tags)
	arns, err := sources(in.TrafficSources)
	if err != nil {
		return nil, err
	}
	g.Spec.TargetGroupARNs = append(slices.Clone(g.Spec.TargetGroupARNs), arns...)
	for _, h := range in.LifecycleHookSpecificationList {
		g.Hooks = append(g.Hooks, hookFrom(name, &autoscalingapi.PutLifecycleHookInput{LifecycleHookName: h.LifecycleHookName, LifecycleTransition: h.LifecycleTransition, DefaultResult: h.DefaultResult,
			HeartbeatTimeout: h.HeartbeatTimeout, NotificationMetadata: h.NotificationMetadata, NotificationTargetARN: h.NotificationTargetARN, RoleARN: h.RoleARN}))
	}
	return &autoscalingapi.CreateAutoScalingGroupOutput{}, s.db.Update(func(tx *state.Tx) error {
		if _, ok := s.groups.Get(tx, name); ok {
			return wire.Errorf("AlreadyExists", "AutoScalingGroup by this name already exists - A group with the name %s already exists", name)
		}
		if in.InstanceId != nil { // a launch configuration is made of it, which has the group's name
			if err := s.putConfig(tx, &autoscalingapi.CreateLaunchConfigurationInput{LaunchConfigurationName: &name, InstanceId: in.InstanceId}); err != nil {
				return err
			}
			g.Spec.LaunchConfigurationName = &name
		}
		if err := cmp.Or(s.checkTemplate(tx, g), s.checkGroups(tx, g.Spec.TargetGroupARNs), s.place(tx, g)); err != nil {
			return err
		}
		s.groups.Put(tx, name, g)
		return nil
	})
}

// template is the launch template of the group; nil if a mixed policy names none.
func (g *Group) template() *autoscalingapi.LaunchTemplateSpecification {
	spec, mixed, _ := g.launches()
	if mixed != nil && mixed.LaunchTemplate != nil {
		return mixed.LaunchTemplate.LaunchTemplateSpecification
	}
	return spec
}

func (s *Service) checkTemplate(tx *state.Tx, g *Group) error {
	if _, _, name := g.launches(); name != "" {
		if _, ok := s.configs.Get(tx, name); !ok {
			return noConfig(name)
		}
		return nil
	}
	t := g.template()
	if t == nil {
		return wire.Errorf("ValidationError", "A mixed instances policy must name a launch template.")
	}
	_, _, err := s.ec2.ResolveTemplate(tx, t.LaunchTemplateId, t.LaunchTemplateName, t.Version)
	if why, ok := errors.AsType[*wire.Error](err); ok {
		return wire.Errorf("ValidationError", "You must use a valid fully-formed launch template. %s", why.Message)
	}
	return err
}

func checkSizes(lo, hi, desired int32) error {
	switch {
	case lo < 0 || hi < 0 || lo > hi:
		return wire.Errorf("ValidationError", "Max bound, %d, must be greater than or equal to min bound, %d", hi, lo)
	case desired < lo:
		return wire.Errorf("ValidationError", "Desired capacity:%d must be between the specified min size:%d and max size:%d", desired, lo, hi)
	case desired > hi:
		return wire.Errorf("ValidationError", "Desired capacity:%d must be between the specified min size:%d and max size:%d", desired, lo, hi)
	}
	return nil
}

// place works out the group's zones from its subnets, or its subnets from its zones.
func (s *Service) place(tx *state.Tx, g *Group) error {
	subnets := s.ec2.Subnets(tx)
	ids := strings.FieldsFunc(wire.Value(g.Spec.VPCZoneIdentifier), func(r rune) bool { return r == ',' || r == ' ' })
	if len(ids) == 0 {
		for _, az := range g.Spec.AvailabilityZones {
			for _, sub := range subnets {
				if sub.AZ == az {
					ids = append(ids, sub.ID)
				}
			}
		}
	}
	if len(ids) == 0 {
		return wire.Errorf("ValidationError", "At least one Availability Zone or VPC Subnet is required.")
	}
	g.Spec.AvailabilityZones = nil
	for _, id := range ids {
		i := slices.IndexFunc(subnets, func(sub ec2Subnet) bool { return sub.ID == id })
		if i < 0 {
			return wire.Errorf("ValidationError", "The subnet ID '%s' does not exist", id)
		}
		if !slices.Contains(g.Spec.AvailabilityZones, subnets[i].AZ) {
			g.Spec.AvailabilityZones = append(g.Spec.AvailabilityZones, subnets[i].AZ)
		}
	}
	g.Spec.VPCZoneIdentifier = wire.Ptr(strings.Join(ids, ","))
	return nil
}

func tagsOf(group string, tags []autoscalingapi.Tag) []autoscalingapi.TagDescription {
	out := []autoscalingapi.TagDescription{}
	for _, t := range tags {
		out = append(out, autoscalingapi.TagDescription{Key: t.Key, Value: t.Value, PropagateAtLaunch: wire.Ptr(wire.Value(t.PropagateAtLaunch)), ResourceId: &group, ResourceType: wire.Ptr("auto-scaling-group")})
	}
	return out
}

func (s *Service) update(_ context.Context, in *autoscalingapi.UpdateAutoScalingGroupInput) (*autoscalingapi.UpdateAutoScalingGroupOutput, error) {
	return &autoscalingapi.UpdateAutoScalingGroupOutput{}, s.modify(wire.Value(in.AutoScalingGroupName), func(tx *state.Tx, g *Group) error {
		sp := &g.Spec
		lo, hi := or(in.MinSize, sp.MinSize), or(in.MaxSize, sp.MaxSize)
		desired := or(in.DesiredCapacity, sp.DesiredCapacity)
		if in.DesiredCapacity == nil { // the bounds pull the capacity along
			desired = wire.Ptr(min(max(*desired, *lo), *hi))
		}
		if err := checkSizes(*lo, *hi, *desired); err != nil {
			return err
		}
		if *desired != *sp.DesiredCapacity {
			g.Reason = ""
		}
		sp.MinSize, sp.MaxSize, sp.DesiredCapacity = lo, hi, desired
		if in.LaunchTemplate != nil {
			sp.LaunchTemplate, sp.MixedInstancesPolicy, sp.LaunchConfigurationName = in.LaunchTemplate, nil, nil
		}
		if in.LaunchConfigurationName != nil {
			sp.LaunchConfigurationName, sp.LaunchTemplate, sp.MixedInstancesPolicy = in.LaunchConfigurationName, nil, nil
		}
		if in.MixedInstancesPolicy != nil {
			sp.MixedInstancesPolicy, sp.LaunchTemplate, sp.LaunchConfigurationName = in.MixedInstancesPolicy, nil, nil
		}
		sp.DefaultCooldown, sp.DefaultInstanceWarmup = or(in.DefaultCooldown, sp.DefaultCooldown), or(in.DefaultInstanceWarmup, sp.DefaultInstanceWarmup)
		sp.HealthCheckType, sp.HealthCheckGracePeriod = or(in.HealthCheckType, sp.HealthCheckType), or(in.HealthCheckGracePeriod, sp.HealthCheckGracePeriod)
		sp.NewInstancesProtectedFromScaleIn = or(in.NewInstancesProtectedFromScaleIn, sp.NewInstancesProtectedFromScaleIn)
		sp.CapacityRebalance, sp.MaxInstanceLifetime = or(in.CapacityRebalance, sp.CapacityRebalance), or(in.MaxInstanceLifetime, sp.MaxInstanceLifetime)
		sp.InstanceMaintenancePolicy = or(in.InstanceMaintenancePolicy, sp.InstanceMaintenancePolicy)
		if err := s.checkTemplate(tx, g); err != nil {
			return err
		}
		if len(in.TerminationPolicies) > 0 {
			sp.TerminationPolicies = in.TerminationPolicies
		}
		if in.VPCZoneIdentifier != nil || len(in.AvailabilityZones) > 0 {
			sp.VPCZoneIdentifier, sp.AvailabilityZones = in.VPCZoneIdentifier, in.AvailabilityZones
			return s.place(tx, g)
		}
		return nil
	})
}

func or[T any](v, fallback *T) *T {
	if v != nil {
		return v
	}
	return fallback
}

func (s *Service) delete(_ context.Context, in *autoscalingapi.DeleteAutoScalingGroupInput) (*autoscalingapi.DeleteAutoScalingGroupOutput, error) {
	name := wire.Value(in.AutoScalingGroupName)
	return &autoscalingapi.DeleteAutoScalingGroupOutput{}, s.db.Update(func(tx *state.Tx) error {
		g, ok := s.groups.Get(tx, name)
		switch {
		case !ok:
			return noGroup(name)
		case len(g.Members)+len(g.Pool) == 0:
			s.forget(tx, name)
		case !wire.Value(in.ForceDelete):
			return wire.Errorf("ResourceInUse", "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) still in the group.")
		default: // force: no hooks, no waiting
			for _, m := range slices.Concat(g.Members, g.Pool) {
				s.ec2.Terminate(tx, m.ID, "Server.AutoScalingGroupDeleted")
			}
			s.forget(tx, name)
		}
		return nil
	})
}

func (m Member) template() *autoscalingapi.LaunchTemplateSpecification {
	return &autoscalingapi.LaunchTemplateSpecification{LaunchTemplateId: wire.NonEmpty(m.TemplateID), LaunchTemplateName: wire.NonEmpty(m.TemplateName), Version: wire.NonEmpty(m.TemplateVersion)}
}

func (g *Group) api() autoscalingapi.AutoScalingGroup {
	out := g.Spec
	out.Instances, out.SuspendedProcesses = []autoscalingapi.Instance{}, []autoscalingapi.SuspendedProcess{}
	for _, m := range g.Members {
		out.Instances = append(out.Instances, m.api())
	}
	if g.Spec.WarmPoolConfiguration != nil {
		out.WarmPoolSize = wire.Int32(len(g.Pool))
	}
	for _, p := range g.Suspended {
		out.SuspendedProcesses = append(out.SuspendedProcesses, autoscalingapi.SuspendedProcess{ProcessName: wire.Ptr(p), SuspensionReason: wire.Ptr("User suspended")})
	}
	if g.Deleting {
		out.Status = wire.Ptr("Delete in progress")
	}
	return out
}

// matches applies the group filters of the Describe calls.
func matches(filters []autoscalingapi.Filter, tags []autoscalingapi.TagDescription) (bool, error) {
	for _, f := range filters {
		name := wire.Value(f.Name)
		key, byTag := strings.CutPrefix(name, "tag:")
		if !byTag && name != "tag-key" && name != "tag-value" {
			return false, wire.Errorf("ValidationError", "Filter type %s is not correct. Allowed Filter types are: tag-key tag-value tag:<key>", name)
		}
		if !slices.ContainsFunc(tags, func(t autoscalingapi.TagDescription) bool {
			k, v := wire.Value(t.Key), wire.Value(t.Value)
			switch {
			case byTag:
				return k == key && slices.Contains(f.Values, v)
			case name == "tag-key":
				return slices.Contains(f.Values, k)
			}
			return slices.Contains(f.Values, v)
		}) {
			return false, nil
		}
	}
	return true, nil
}

func (s *Service) describe(_ context.Context, in *autoscalingapi.DescribeAutoScalingGroupsInput) (*autoscalingapi.DescribeAutoScalingGroupsOutput, error) {
	out := &autoscalingapi.DescribeAutoScalingGroupsOutput{AutoScalingGroups: []autoscalingapi.AutoScalingGroup{}}
	limit := int(cmp.Or(wire.Value(in.MaxRecords), 50))
	return out, s.db.View(func(tx *state.Tx) error {
		for name, g := range s.groups.From(tx, wire.Value(in.NextToken)) {
			if len(in.AutoScalingGroupNames) > 0 && !slices.Contains(in.AutoScalingGroupNames, name) {
				continue
			}
			ok, err := matches(in.Filters, g.Spec.Tags)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			if len(out.AutoScalingGroups) == limit {
				out.NextToken = wire.Ptr(name)
				break
			}
			out.AutoScalingGroups = append(out.AutoScalingGroups, g.api())
		}
		return nil
	})
}

func (s *Service) describeInstances(_ context.Context, in *autoscalingapi.DescribeAutoScalingInstancesInput) (*autoscalingapi.DescribeAutoScalingInstancesOutput, error) {
	var all []autoscalingapi.AutoScalingInstanceDetails
	err := s.db.View(func(tx *state.Tx) error {
		for name, g := range s.groups.All(tx) {
			for _, m := range slices.Concat(g.Members, g.Pool) {
				if len(in.InstanceIds) == 0 || slices.Contains(in.InstanceIds, m.ID) {
					i := m.api()
					all = append(all, autoscalingapi.AutoScalingInstanceDetails{AutoScalingGroupName: wire.Ptr(name), InstanceId: i.InstanceId, AvailabilityZone: i.AvailabilityZone, InstanceType: i.InstanceType,
						HealthStatus: wire.Ptr(strings.ToUpper(m.Health)), LifecycleState: i.LifecycleState, ProtectedFromScaleIn: i.ProtectedFromScaleIn, LaunchTemplate: i.LaunchTemplate, LaunchConfigurationName: i.LaunchConfigurationName})
				}
			}
		}
		return nil
	})
	from, _ := strconv.Atoi(wire.Value(in.NextToken)) // absent: from the first
	to := min(from+int(cmp.Or(wire.Value(in.MaxRecords), 50)), len(all))
	out := &autoscalingapi.DescribeAutoScalingInstancesOutput{AutoScalingInstances: append([]autoscalingapi.AutoScalingInstanceDetails{}, all[min(from, to):to]...)}
	if to < len(all) {
		out.NextToken = wire.Ptr(strconv.Itoa(to))
	}
	return out, err
}

func (s *Service) setDesired(_ context.Context, in *autoscalingapi.SetDesiredCapacityInput) (*autoscalingapi.SetDesiredCapacityOutput, error) {
	want := wire.Value(in.DesiredCapacity)
	return &autoscalingapi.SetDesiredCapacityOutput{}, s.modify(wire.Value(in.AutoScalingGroupName), func(_ *state.Tx, g *Group) error {
		if lo := *g.Spec.MinSize; want < lo {
			return wire.Errorf("ValidationError", "New SetDesiredCapacity value %d is below min value %d for the AutoScalingGroup.", want, lo)
		}
		if hi := *g.Spec.MaxSize; want > hi {
			return wire.Errorf("ValidationError", "New SetDesiredCapacity value %d is above max value %d for the AutoScalingGroup.", want, hi)
		}
		g.Spec.DesiredCapacity, g.Reason = &want, ""
		return nil
	})
}
