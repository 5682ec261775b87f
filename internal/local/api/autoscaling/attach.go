package autoscaling

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/autoscalingapi"
)

// Targets are the load balancers' target groups, in which a group keeps its instances registered.
type Targets interface {
	// TargetGroup tells whether there is a target group of the ARN.
	TargetGroup(tx *state.Tx, arn string) (targetType string, attached, ok bool)
	// AttachIn registers an instance at the group's own port, DetachIn begins its draining; what is
	// so already stays.
	AttachIn(tx *state.Tx, arn, instance string)
	DetachIn(tx *state.Tx, arn, instance string)
	// HealthIn is the state of the instance's targets: healthy, unhealthy, initial or another; empty if none is registered.
	HealthIn(tx *state.Tx, arn, instance string) string
}

func (s *Service) registerAttach(svc *wire.Service) {
	wire.Handle(svc, "AttachInstances", s.attach)
	wire.Handle(svc, "EnterStandby", s.enterStandby)
	wire.Handle(svc, "ExitStandby", s.exitStandby)
	wire.Handle(svc, "AttachLoadBalancerTargetGroups", s.attachGroups)
	wire.Handle(svc, "DetachLoadBalancerTargetGroups", s.detachGroups)
	wire.Handle(svc, "DescribeLoadBalancerTargetGroups", s.describeGroups)
	wire.Handle(svc, "AttachTrafficSources", s.attachSources)
	wire.Handle(svc, "DetachTrafficSources", s.detachSources)
	wire.Handle(svc, "DescribeTrafficSources", s.describeSources)
}

// attach takes running instances into a group, whose desired capacity grows by them.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-attach-detach-instances.html
func (s *Service) attach(_ context.Context, in *autoscalingapi.AttachInstancesInput) (*autoscalingapi.AttachInstancesOutput, error) {
	return &autoscalingapi.AttachInstancesOutput{}, s.modify(wire.Value(in.AutoScalingGroupName), func(tx *state.Tx, g *Group) error {
		if len(in.InstanceIds) == 0 {
			return wire.Errorf("ValidationError", "At least one instance ID must be specified.")
		}
		desired := *g.Spec.DesiredCapacity + int32(len(in.InstanceIds))
		if desired > *g.Spec.MaxSize {
			return wire.Errorf("ValidationError", "AutoScalingGroup %s has max-size=%d, which is less than the desired capacity %d after attaching.", s.name(g), *g.Spec.MaxSize, desired)
		}
		for _, id := range in.InstanceIds {
			if other, err := s.byInstance(tx, id); err == nil {
				return wire.Errorf("ValidationError", "Instance %s is already part of Auto Scaling group:%s", id, s.name(other))
			}
			i, ok := s.ec2.Instance(tx, id)
			switch {
			case !ok:
				return wire.Errorf("ValidationError", "Invalid Instance ID(s) '%s' specified.", id)
			case i.State != "running":
				return wire.Errorf("ValidationError", "Instance %s is not in correct state. Instance(s) must be in 'running' state.", id)
			case !slices.Contains(g.Spec.AvailabilityZones, i.AZ):
				return wire.Errorf("ValidationError", "The instance %s is not in the availability zones of the Auto Scaling group.", id)
			}
			cause := fmt.Sprintf("At %s an instance was attached in response to a user request.", s.stamp())
			g.Members = append(g.Members, Member{ID: id, AZ: i.AZ, Type: i.Type, Health: "Healthy", State: "InService", Protected: wire.Value(g.Spec.NewInstancesProtectedFromScaleIn), Since: s.clock.Now(), Cause: cause,
				TemplateID: i.TemplateID, TemplateVersion: fmt.Sprint(i.TemplateVersion)})
			s.record(tx, s.name(g), id, "Attaching an existing EC2 instance: "+id, cause)
		}
		g.Spec.DesiredCapacity = &desired
		return nil
	})
}

// enterStandby takes instances out of service without ending them; unless the desired capacity is
// lowered, others are launched in their place.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-enter-exit-standby.html
func (s *Service) enterStandby(_ context.Context, in *autoscalingapi.EnterStandbyInput) (*autoscalingapi.EnterStandbyOutput, error) {
	out := &autoscalingapi.EnterStandbyOutput{Activities: []autoscalingapi.Activity{}}
	return out, s.modify(wire.Value(in.AutoScalingGroupName), func(tx *state.Tx, g *Group) error {
		lower := wire.Value(in.ShouldDecrementDesiredCapacity)
		desired := *g.Spec.DesiredCapacity - int32(len(in.InstanceIds))
		if lower && desired < *g.Spec.MinSize {
			return wire.Errorf("ValidationError", "AutoScalingGroup %s has min-size=%d. Placing %d instances in standby would take the desired capacity below it.", s.name(g), *g.Spec.MinSize, len(in.InstanceIds))
		}
		for _, id := range in.InstanceIds {
			m := g.member(id)
			if m == nil {
				return wire.Errorf("ValidationError", "The instance %s is not part of Auto Scaling group %s.", id, s.name(g))
			}
			if m.State != "InService" {
				return wire.Errorf("ValidationError", "The instance %s is not in InService.", id)
			}
			m.State, m.Since = "Standby", s.clock.Now()
			s.leave(tx, g, id)
			out.Activities = append(out.Activities, s.moved(tx, g, id, "Moving EC2 instance to Standby: "+id, fmt.Sprintf("At %s instance %s was moved to standby in response to a user request.", s.stamp(), id)))
		}
		if lower {
			g.Spec.DesiredCapacity = &desired
		}
		return nil
	})
}

// exitStandby brings them back; the desired capacity grows by them.
func (s *Service) exitStandby(_ context.Context, in *autoscalingapi.ExitStandbyInput) (*autoscalingapi.ExitStandbyOutput, error) {
	out := &autoscalingapi.ExitStandbyOutput{Activities: []autoscalingapi.Activity{}}
	return out, s.modify(wire.Value(in.AutoScalingGroupName), func(tx *state.Tx, g *Group) error {
		desired := *g.Spec.DesiredCapacity + int32(len(in.InstanceIds))
		if desired > *g.Spec.MaxSize {
			return wire.Errorf("ValidationError", "AutoScalingGroup %s has max-size=%d, current desired capacity=%d. Cannot exit standby.", s.name(g), *g.Spec.MaxSize, *g.Spec.DesiredCapacity)
		}
		for _, id := range in.InstanceIds {
			m := g.member(id)
			if m == nil || m.State != "Standby" {
				return wire.Errorf("ValidationError", "The instance %s is not in Standby.", id)
			}
			m.State, m.Since = "InService", s.clock.Now()
			out.Activities = append(out.Activities, s.moved(tx, g, id, "Moving EC2 instance out of Standby: "+id, fmt.Sprintf("At %s instance %s was moved out of standby in response to a user request.", s.stamp(), id)))
		}
		g.Spec.DesiredCapacity = &desired
		return nil
	})
}

func (s *Service) moved(tx *state.Tx, g *Group, id, description, cause string) autoscalingapi.Activity {
	s.record(tx, s.name(g), id, description, cause)
	now := s.clock.Now()
	return autoscalingapi.Activity{ActivityId: wire.Ptr(newID()), AutoScalingGroupName: wire.Ptr(s.name(g)), Cause: &cause, Description: &description, StartTime: wire.Timestamp(now),
		StatusCode: wire.Ptr("InProgress"), Progress: wire.Ptr[int32](50)}
}

// leave begins the draining of an instance in the group's target groups.
func (s *Service) leave(tx *state.Tx, g *Group, instance string) {
	for _, arn := range g.Spec.TargetGroupARNs {
		s.targets.DetachIn(tx, arn, instance)
	}
}

// balance keeps the instances in service registered, and the others not. It changes only target
// groups.
func (s *Service) balance(tx *state.Tx, g *Group) {
	for _, arn := range g.Spec.TargetGroupARNs {
		for _, m := range g.Members {
			switch {
			case m.State == "InService" && !s.suspended(g, "AddToLoadBalancer"):
				s.targets.AttachIn(tx, arn, m.ID)
			case strings.HasPrefix(m.State, "Terminat"):
				s.targets.DetachIn(tx, arn, m.ID)
			}
		}
	}
}

// unhealthyTarget says whether a group that asks its load balancers is to replace the instance.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/health-checks-overview.html
func (s *Service) unhealthyTarget(tx *state.Tx, g *Group, m *Member) bool {
	grace := time.Duration(wire.Value(g.Spec.HealthCheckGracePeriod)) * time.Second
	if !strings.Contains(wire.Value(g.Spec.HealthCheckType), "ELB") || s.clock.Now().Sub(m.Since) < grace {
		return false
	}
	return slices.ContainsFunc(g.Spec.TargetGroupARNs, func(arn string) bool { return s.targets.HealthIn(tx, arn, m.ID) == "unhealthy" })
}

func (s *Service) checkGroups(tx *state.Tx, arns []string) error {
	for _, arn := range arns {
		if kind, _, ok := s.targets.TargetGroup(tx, arn); !ok {
			return wire.Errorf("ValidationError", "Provided Load Balancers may not be valid. Please ensure they exist and try again: %s", arn)
		} else if kind != "instance" {
			return wire.Errorf("ValidationError", "Provided Target Groups may not be valid: the target type of %s is %s, not instance", arn, kind)
		}
	}
	return nil
}

func (s *Service) join(group string, arns []string) error {
	return s.modify(group, func(tx *state.Tx, g *Group) error {
		if err := s.checkGroups(tx, arns); err != nil {
			return err
		}
		g.Spec.TargetGroupARNs = slices.Clone(g.Spec.TargetGroupARNs)
		for _, arn := range arns {
			if !slices.Contains(g.Spec.TargetGroupARNs, arn) {
				g.Spec.TargetGroupARNs = append(g.Spec.TargetGroupARNs, arn)
			}
		}
		s.balance(tx, g)
		return nil
	})
}

func (s *Service) part(group string, arns []string) error {
	return s.modify(group, func(tx *state.Tx, g *Group) error {
		for _, arn := range arns {
			if !slices.Contains(g.Spec.TargetGroupARNs, arn) {
				return wire.Errorf("ValidationError", "Trying to remove Target Groups that are not part of the group: %s", arn)
			}
			for _, m := range g.Members {
				s.targets.DetachIn(tx, arn, m.ID)
			}
		}
		g.Spec.TargetGroupARNs = slices.DeleteFunc(slices.Clone(g.Spec.TargetGroupARNs), func(arn string) bool { return slices.Contains(arns, arn) })
		return nil
	})
}

// attached tells how far each target group is.
func (s *Service) attached(tx *state.Tx, g *Group, arn string) string {
	elb, st := strings.Contains(wire.Value(g.Spec.HealthCheckType), "ELB"), "Added"
	for _, m := range g.Members {
		switch health := s.targets.HealthIn(tx, arn, m.ID); {
		case m.State == "InService" && health == "":
			return "Adding"
		case health == "healthy" && elb:
			st = "InService"
		}
	}
	return st
}

func (s *Service) attachGroups(_ context.Context, in *autoscalingapi.AttachLoadBalancerTargetGroupsInput) (*autoscalingapi.AttachLoadBalancerTargetGroupsOutput, error) {
	return &autoscalingapi.AttachLoadBalancerTargetGroupsOutput{}, s.join(wire.Value(in.AutoScalingGroupName), in.TargetGroupARNs)
}

func (s *Service) detachGroups(_ context.Context, in *autoscalingapi.DetachLoadBalancerTargetGroupsInput) (*autoscalingapi.DetachLoadBalancerTargetGroupsOutput, error) {
	return &autoscalingapi.DetachLoadBalancerTargetGroupsOutput{}, s.part(wire.Value(in.AutoScalingGroupName), in.TargetGroupARNs)
}

// eachGroup pages over the target groups of a group.
func (s *Service) eachGroup(group string, token *string, limit int32, f func(arn, state string)) (next *string, err error) {
	return next, s.db.View(func(tx *state.Tx) error {
		g, ok := s.groups.Get(tx, group)
		if !ok {
			return noGroup(group)
		}
		for _, arn := range slices.Sorted(slices.Values(g.Spec.TargetGroupARNs)) {
			if arn < wire.Value(token) {
				continue
			}
			if limit == 0 {
				next = &arn
				return nil
			}
			limit--
			f(arn, s.attached(tx, g, arn))
		}
		return nil
	})
}

func (s *Service) describeGroups(_ context.Context, in *autoscalingapi.DescribeLoadBalancerTargetGroupsInput) (*autoscalingapi.DescribeLoadBalancerTargetGroupsOutput, error) {
	out := &autoscalingapi.DescribeLoadBalancerTargetGroupsOutput{LoadBalancerTargetGroups: []autoscalingapi.LoadBalancerTargetGroupState{}}
	var err error
	out.NextToken, err = s.eachGroup(wire.Value(in.AutoScalingGroupName), in.NextToken, cmp.Or(wire.Value(in.MaxRecords), 100), func(arn, st string) {
		out.LoadBalancerTargetGroups = append(out.LoadBalancerTargetGroups, autoscalingapi.LoadBalancerTargetGroupState{LoadBalancerTargetGroupARN: &arn, State: &st})
	})
	return out, err
}

// sources are the target groups among traffic sources, of which there are no others here.
func sources(in []autoscalingapi.TrafficSourceIdentifier) ([]string, error) {
	var arns []string
	for _, t := range in {
		id := wire.Value(t.Identifier)
		if kind := cmp.Or(wire.Value(t.Type), "elbv2"); kind != "elbv2" || !strings.Contains(id, ":targetgroup/") {
			return nil, wire.Errorf("ValidationError", "not supported: traffic source %s of type %s; target groups of Elastic Load Balancing v2 are", id, kind)
		}
		arns = append(arns, id)
	}
	return arns, nil
}

func (s *Service) attachSources(_ context.Context, in *autoscalingapi.AttachTrafficSourcesInput) (*autoscalingapi.AttachTrafficSourcesOutput, error) {
	arns, err := sources(in.TrafficSources)
	if err != nil {
		return nil, err
	}
	return &autoscalingapi.AttachTrafficSourcesOutput{}, s.join(wire.Value(in.AutoScalingGroupName), arns)
}

func (s *Service) detachSources(_ context.Context, in *autoscalingapi.DetachTrafficSourcesInput) (*autoscalingapi.DetachTrafficSourcesOutput, error) {
	arns, err := sources(in.TrafficSources)
	if err != nil {
		return nil, err
	}
	return &autoscalingapi.DetachTrafficSourcesOutput{}, s.part(wire.Value(in.AutoScalingGroupName), arns)
}

func (s *Service) describeSources(_ context.Context, in *autoscalingapi.DescribeTrafficSourcesInput) (*autoscalingapi.DescribeTrafficSourcesOutput, error) {
	out := &autoscalingapi.DescribeTrafficSourcesOutput{TrafficSources: []autoscalingapi.TrafficSourceState{}}
	if t := wire.Value(in.TrafficSourceType); t != "" && t != "elbv2" {
		return out, nil
	}
	var err error
	out.NextToken, err = s.eachGroup(wire.Value(in.AutoScalingGroupName), in.NextToken, cmp.Or(wire.Value(in.MaxRecords), 50), func(arn, st string) {
		out.TrafficSources = append(out.TrafficSources, autoscalingapi.TrafficSourceState{Identifier: &arn, TrafficSource: &arn, State: &st, Type: wire.Ptr("elbv2")})
	})
	return out, err
}
