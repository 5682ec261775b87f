package autoscaling

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/autoscalingapi"
)

func (g *Group) member(id string) *Member {
	for i := range g.Members {
		if g.Members[i].ID == id {
			return &g.Members[i]
		}
	}
	return nil
}

func (s *Service) protect(_ context.Context, in *autoscalingapi.SetInstanceProtectionInput) (*autoscalingapi.SetInstanceProtectionOutput, error) {
	return &autoscalingapi.SetInstanceProtectionOutput{}, s.modify(wire.Value(in.AutoScalingGroupName), func(_ *state.Tx, g *Group) error {
		for _, id := range in.InstanceIds {
			m := g.member(id)
			if m == nil {
				return wire.Errorf("ValidationError", "The instance %s is not part of Auto Scaling group %s.", id, s.name(g))
			}
			if m.State != "InService" && !strings.HasPrefix(m.State, "Pending") {
				return wire.Errorf("ValidationError", "The instance %s is not in InService or EnteringStandby or Standby.", id)
			}
			m.Protected = wire.Value(in.ProtectedFromScaleIn)
		}
		return nil
	})
}

// GroupOf is the name of the group an instance is in; empty if it is in none.
func (s *Service) GroupOf(instance string) (name string) {
	_ = s.db.View(func(tx *state.Tx) error { // reading does not fail
		if g, err := s.byInstance(tx, instance); err == nil {
			name = s.name(g)
		}
		return nil
	})
	return name
}

// byInstance finds the group an instance is in.
func (s *Service) byInstance(tx *state.Tx, id string) (*Group, error) {
	for _, g := range s.groups.All(tx) {
		if g.member(id) != nil {
			return g, nil
		}
	}
	return nil, wire.Errorf("ValidationError", "Instance Id not found - No managed instance found for instance ID %s", id)
}

func (s *Service) setHealth(_ context.Context, in *autoscalingapi.SetInstanceHealthInput) (*autoscalingapi.SetInstanceHealthOutput, error) {
	id := wire.Value(in.InstanceId)
	var name string
	err := s.db.View(func(tx *state.Tx) error {
		g, err := s.byInstance(tx, id)
		if err == nil {
			name = s.name(g)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &autoscalingapi.SetInstanceHealthOutput{}, s.modify(name, func(_ *state.Tx, g *Group) error {
		if m := g.member(id); m != nil {
			m.Health = wire.Value(in.HealthStatus)
		}
		return nil
	})
}

func (s *Service) terminate(_ context.Context, in *autoscalingapi.TerminateInstanceInAutoScalingGroupInput) (*autoscalingapi.TerminateInstanceInAutoScalingGroupOutput, error) {
	id := wire.Value(in.InstanceId)
	out := &autoscalingapi.TerminateInstanceInAutoScalingGroupOutput{}
	return out, s.db.Update(func(tx *state.Tx) error {
		old, err := s.byInstance(tx, id)
		if err != nil {
			return err
		}
		g := *old
		g.Members = slices.Clone(old.Members)
		desired := *g.Spec.DesiredCapacity
		if wire.Value(in.ShouldDecrementDesiredCapacity) {
			if desired-1 < *g.Spec.MinSize {
				return wire.Errorf("ValidationError", "Currently, desiredSize equals minSize (%d). Terminating instance without replacement will violate group's min size constraint. Either set shouldDecrementDesiredCapacity flag to false or lower group's min size.", *g.Spec.MinSize)
			}
			g.Spec.DesiredCapacity = wire.Ptr(desired - 1)
		}
		now, shrinking := s.clock.Now(), ""
		if n := *g.Spec.DesiredCapacity; n < desired {
			shrinking = fmt.Sprintf(", shrinking the capacity from %d to %d", desired, n)
		}
		cause := fmt.Sprintf("At %s instance %s was taken out of service in response to a user request%s.", now.UTC().Format("2006-01-02T15:04:05Z"), id, shrinking)
		s.beginEnd(&g, g.member(id), cause)
		s.groups.Put(tx, s.name(&g), &g)
		out.Activity = &autoscalingapi.Activity{ActivityId: wire.Ptr(newID()), AutoScalingGroupName: wire.Ptr(s.name(&g)), Cause: &cause, StartTime: wire.Timestamp(now),
			StatusCode: wire.Ptr("InProgress"), Progress: wire.Ptr[int32](0), Description: wire.Ptr("Terminating EC2 instance: " + id)}
		return nil
	})
}

// beginEnd takes a member out of service; its hooks then run in the loop.
func (s *Service) beginEnd(_ *Group, m *Member, cause string) {
	if strings.HasPrefix(m.State, "Terminat") {
		return
	}
	m.State, m.Since, m.Cause = "Terminating", s.clock.Now(), cause
	m.Hook, m.Token, m.HooksDone = "", "", nil
}

func (s *Service) detach(_ context.Context, in *autoscalingapi.DetachInstancesInput) (*autoscalingapi.DetachInstancesOutput, error) {
	out := &autoscalingapi.DetachInstancesOutput{Activities: []autoscalingapi.Activity{}}
	return out, s.modify(wire.Value(in.AutoScalingGroupName), func(tx *state.Tx, g *Group) error {
		for _, id := range in.InstanceIds {
			if g.member(id) == nil {
				return wire.Errorf("ValidationError", "The instance %s is not part of Auto Scaling group %s.", id, s.name(g))
			}
			g.Members = slices.DeleteFunc(g.Members, func(m Member) bool { return m.ID == id })
			if wire.Value(in.ShouldDecrementDesiredCapacity) {
				g.Spec.DesiredCapacity = wire.Ptr(max(*g.Spec.DesiredCapacity-1, *g.Spec.MinSize))
			}
			s.record(tx, s.name(g), id, "Detaching EC2 instance: "+id, "At "+s.clock.Now().UTC().Format("2006-01-02T15:04:05Z")+" instance "+id+" was detached in response to a user request.")
		}
		return nil
	})
}

var processes = []string{"AZRebalance", "AddToLoadBalancer", "AlarmNotification", "HealthCheck", "InstanceRefresh", "Launch", "ReplaceUnhealthy", "ScheduledActions", "Terminate"}

func processTypes(context.Context, *autoscalingapi.DescribeScalingProcessTypesInput) (*autoscalingapi.DescribeScalingProcessTypesOutput, error) {
	out := &autoscalingapi.DescribeScalingProcessTypesOutput{}
	for _, p := range processes {
		out.Processes = append(out.Processes, autoscalingapi.ProcessType{ProcessName: wire.Ptr(p)})
	}
	return out, nil
}

func checkProcesses(names []string) ([]string, error) {
	if len(names) == 0 {
		return processes, nil
	}
	for _, n := range names {
		if !slices.Contains(processes, n) {
			return nil, wire.Errorf("ValidationError", "Invalid process type %s", n)
		}
	}
	return names, nil
}

func (s *Service) suspend(_ context.Context, in *autoscalingapi.SuspendProcessesInput) (*autoscalingapi.SuspendProcessesOutput, error) {
	names, err := checkProcesses(in.ScalingProcesses)
	if err != nil {
		return nil, err
	}
	return &autoscalingapi.SuspendProcessesOutput{}, s.modify(wire.Value(in.AutoScalingGroupName), func(_ *state.Tx, g *Group) error {
		all := append(slices.Clone(g.Suspended), names...)
		slices.Sort(all)
		g.Suspended = slices.Compact(all)
		return nil
	})
}

func (s *Service) resume(_ context.Context, in *autoscalingapi.ResumeProcessesInput) (*autoscalingapi.ResumeProcessesOutput, error) {
	names, err := checkProcesses(in.ScalingProcesses)
	if err != nil {
		return nil, err
	}
	return &autoscalingapi.ResumeProcessesOutput{}, s.modify(wire.Value(in.AutoScalingGroupName), func(_ *state.Tx, g *Group) error {
		g.Suspended = slices.DeleteFunc(slices.Clone(g.Suspended), func(p string) bool { return slices.Contains(names, p) })
		return nil
	})
}

func (s *Service) describeActivities(_ context.Context, in *autoscalingapi.DescribeScalingActivitiesInput) (*autoscalingapi.DescribeScalingActivitiesOutput, error) {
	var all []autoscalingapi.Activity
	group := wire.Value(in.AutoScalingGroupName)
	err := s.db.View(func(tx *state.Tx) error {
		if _, ok := s.groups.Get(tx, group); group != "" && !ok && !wire.Value(in.IncludeDeletedGroups) {
			return noGroup(group)
		}
		prefix := ""
		if group != "" {
			prefix = group + "/"
		}
		for _, a := range s.activities.Prefix(tx, prefix) {
			if len(in.ActivityIds) == 0 || slices.Contains(in.ActivityIds, a.ID) {
				all = append(all, autoscalingapi.Activity{ActivityId: &a.ID, AutoScalingGroupName: &a.Group, Description: &a.Description, Cause: &a.Cause, StatusCode: &a.Status,
					StartTime: wire.Timestamp(a.Start), EndTime: wire.Timestamp(a.End), Progress: &a.Progress, Details: wire.Ptr("{}")})
			}
		}
		return nil
	})
	slices.SortStableFunc(all, func(a, b autoscalingapi.Activity) int { return b.StartTime.Compare(a.StartTime.Time) })
	limit := int(cmp.Or(wire.Value(in.MaxRecords), 100))
	return &autoscalingapi.DescribeScalingActivitiesOutput{Activities: append([]autoscalingapi.Activity{}, all[:min(limit, len(all))]...)}, err
}

func (s *Service) tag(_ context.Context, in *autoscalingapi.CreateOrUpdateTagsInput) (*autoscalingapi.CreateOrUpdateTagsOutput, error) {
	for _, t := range in.Tags {
		err := s.modify(wire.Value(t.ResourceId), func(_ *state.Tx, g *Group) error {
			g.Spec.Tags = append(withoutTag(g.Spec.Tags, wire.Value(t.Key)), tagsOf(s.name(g), []autoscalingapi.Tag{t})...)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return &autoscalingapi.CreateOrUpdateTagsOutput{}, nil
}

func (s *Service) untag(_ context.Context, in *autoscalingapi.DeleteTagsInput) (*autoscalingapi.DeleteTagsOutput, error) {
	for _, t := range in.Tags {
		err := s.modify(wire.Value(t.ResourceId), func(_ *state.Tx, g *Group) error {
			g.Spec.Tags = withoutTag(g.Spec.Tags, wire.Value(t.Key))
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return &autoscalingapi.DeleteTagsOutput{}, nil
}

func withoutTag(tags []autoscalingapi.TagDescription, key string) []autoscalingapi.TagDescription {
	return slices.DeleteFunc(slices.Clone(tags), func(t autoscalingapi.TagDescription) bool { return wire.Value(t.Key) == key })
}

func (s *Service) describeTags(_ context.Context, in *autoscalingapi.DescribeTagsInput) (*autoscalingapi.DescribeTagsOutput, error) {
	out := &autoscalingapi.DescribeTagsOutput{Tags: []autoscalingapi.TagDescription{}}
	return out, s.db.View(func(tx *state.Tx) error {
		for name, g := range s.groups.All(tx) {
			for _, t := range g.Spec.Tags {
				ok := true
				for _, f := range in.Filters {
					have := map[string]string{"auto-scaling-group": name, "key": wire.Value(t.Key), "value": wire.Value(t.Value), "propagate-at-launch": fmt.Sprint(wire.Value(t.PropagateAtLaunch))}[wire.Value(f.Name)]
					ok = ok && slices.Contains(f.Values, have)
				}
				if ok {
					out.Tags = append(out.Tags, t)
				}
			}
		}
		return nil
	})
}

func (s *Service) limits(context.Context, *autoscalingapi.DescribeAccountLimitsInput) (*autoscalingapi.DescribeAccountLimitsOutput, error) {
	out := &autoscalingapi.DescribeAccountLimitsOutput{MaxNumberOfAutoScalingGroups: wire.Ptr[int32](500), MaxNumberOfLaunchConfigurations: wire.Ptr[int32](200), NumberOfLaunchConfigurations: wire.Ptr[int32](0)}
	return out, s.db.View(func(tx *state.Tx) error {
		out.NumberOfAutoScalingGroups, out.NumberOfLaunchConfigurations = wire.Int32(s.groups.Len(tx)), wire.Int32(s.configs.Len(tx))
		return nil
	})
}

func terminationPolicies(context.Context, *autoscalingapi.DescribeTerminationPolicyTypesInput) (*autoscalingapi.DescribeTerminationPolicyTypesOutput, error) {
	return &autoscalingapi.DescribeTerminationPolicyTypesOutput{TerminationPolicyTypes: []string{"Default", "NewestInstance", "OldestInstance", "OldestLaunchTemplate"}}, nil
}
