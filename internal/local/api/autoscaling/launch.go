package autoscaling

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/autoscalingapi"
)

// maxLaunch is how many instances one LaunchInstances may launch
// (https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_LaunchInstances.html).
const maxLaunch = 100

// asked is a LaunchInstances that was answered, for its client token. Key: group + "/" + token.
type asked struct {
	In  autoscalingapi.LaunchInstancesInput
	Out autoscalingapi.LaunchInstancesOutput
}

// launchNow launches instances into one zone of a group at once; the desired capacity grows by them.
func (s *Service) launchNow(_ context.Context, in *autoscalingapi.LaunchInstancesInput) (*autoscalingapi.LaunchInstancesOutput, error) {
	n, key := int(wire.Value(in.RequestedCapacity)), wire.Value(in.AutoScalingGroupName)+"/"+wire.Value(in.ClientToken)
	retry := cmp.Or(wire.Value(in.RetryStrategy), "none")
	switch {
	case n < 1 || n > maxLaunch:
		return nil, wire.Errorf("ValidationError", "RequestedCapacity must be between 1 and %d.", maxLaunch)
	case len(in.AvailabilityZones) > 0 && len(in.AvailabilityZoneIds) > 0, len(in.AvailabilityZones) > 1, len(in.AvailabilityZoneIds) > 1, len(in.SubnetIds) > 1:
		return nil, wire.Errorf("ValidationError", "Specify one Availability Zone, by its name or its ID, or one subnet.")
	case retry != "none" && retry != "retry-with-group-configuration":
		return nil, wire.Errorf("ValidationError", "RetryStrategy must be none or retry-with-group-configuration.")
	}
	out := &autoscalingapi.LaunchInstancesOutput{AutoScalingGroupName: in.AutoScalingGroupName, ClientToken: in.ClientToken, Instances: []autoscalingapi.InstanceCollection{}, Errors: []autoscalingapi.LaunchInstancesError{}}
	return out, s.modify(wire.Value(in.AutoScalingGroupName), func(tx *state.Tx, g *Group) error {
		if old, ok := s.asked.Get(tx, key); ok {
			if wire.Value(old.In.RequestedCapacity) != int32(n) || !slices.Equal(old.In.SubnetIds, in.SubnetIds) || !slices.Equal(old.In.AvailabilityZones, in.AvailabilityZones) {
				return wire.Errorf("IdempotentParameterMismatch", "The client token was used with other parameters.")
			}
			*out = old.Out
			return nil
		}
		if desired := *g.Spec.DesiredCapacity + int32(n); desired > *g.Spec.MaxSize {
			return wire.Errorf("ValidationError", "The desired capacity %d would be above the maximum size %d of the group.", desired, *g.Spec.MaxSize)
		}
		var fits []ec2Subnet
		for _, sub := range s.subnets(tx, g, g.Members) {
			if len(in.SubnetIds) > 0 && in.SubnetIds[0] != sub.ID || len(in.AvailabilityZones) > 0 && in.AvailabilityZones[0] != sub.AZ || len(in.AvailabilityZoneIds) > 0 && in.AvailabilityZoneIds[0] != s.ec2.ZoneID(sub.AZ) {
				continue
			}
			fits = append(fits, sub)
		}
		switch {
		case len(fits) == 0:
			return wire.Errorf("ValidationError", "The Availability Zone or subnet is not one of the group's.")
		case len(in.SubnetIds)+len(in.AvailabilityZones)+len(in.AvailabilityZoneIds) == 0 && len(g.Spec.AvailabilityZones) > 1:
			return wire.Errorf("ValidationError", "An Availability Zone or a subnet must be specified for a group with several Availability Zones.")
		}
		sub, market := fits[0], "ondemand"
		zone := autoscalingapi.InstanceCollection{SubnetId: &sub.ID, AvailabilityZone: &sub.AZ, AvailabilityZoneId: wire.Ptr(s.ec2.ZoneID(sub.AZ))}
		for range n {
			m := s.boot(tx, g, []ec2Subnet{sub}, fmt.Sprintf("At %s an instance was launched in response to a user request.", s.stamp()), false)
			if m == nil {
				break
			}
			if i, ok := s.ec2.Instance(tx, m.ID); ok && i.Spot {
				market = "spot"
			}
			g.Members = append(g.Members, *m)
			zone.InstanceType, zone.MarketType, zone.InstanceIds = wire.Ptr(m.Type), &market, append(zone.InstanceIds, m.ID)
		}
		got := len(zone.InstanceIds)
		if got > 0 {
			out.Instances = append(out.Instances, zone)
		}
		grow := got
		if got < n {
			out.Errors = append(out.Errors, autoscalingapi.LaunchInstancesError{SubnetId: &sub.ID, AvailabilityZone: &sub.AZ, AvailabilityZoneId: zone.AvailabilityZoneId, MarketType: &market,
				ErrorCode: wire.Ptr("InsufficientInstanceCapacity"), ErrorMessage: wire.Ptr("The instances could not be launched; the group's activities say why.")})
			if retry == "retry-with-group-configuration" {
				grow = n // the group launches the rest where it can
			}
		}
		g.Spec.DesiredCapacity = wire.Ptr(*g.Spec.DesiredCapacity + int32(grow))
		s.asked.Put(tx, key, &asked{In: *in, Out: *out})
		return nil
	})
}

// uneven says whether one of the group's zones has at least two instances more than another.
func (g *Group) uneven() bool {
	count := map[string]int{}
	for _, az := range g.Spec.AvailabilityZones {
		count[az] = 0
	}
	for _, m := range g.Members {
		count[m.AZ]++
	}
	least, most := len(g.Members), 0
	for _, n := range count {
		least, most = min(least, n), max(most, n)
	}
	return most-least > 1
}

// even moves instances between zones when one has at least two more than another: it launches one in the
// emptier zone, and when that is in service the group gives one up in the fuller
// (https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-benefits.html#AutoScalingBehavior.InstanceUsage).
// It reports whether g changed.
func (s *Service) even(tx *state.Tx, g *Group) bool {
	if g.Moving != "" {
		m := g.member(g.Moving)
		if m != nil && (m.State == "Pending" || m.State == "Pending:Wait") {
			return false
		}
		g.Moving = ""
		return true
	}
	if s.suspended(g, "AZRebalance") || s.suspended(g, "Launch") || s.suspended(g, "Terminate") || len(g.Spec.AvailabilityZones) < 2 || len(g.Members) != int(*g.Spec.DesiredCapacity) {
		return false
	}
	if _, r := s.activeRefresh(tx, s.name(g)); r != nil {
		return false
	}
	count, movable := map[string]int{}, map[string]bool{}
	for _, m := range g.Members {
		if m.State != "InService" || m.Health != "Healthy" {
			return false
		}
		count[m.AZ]++
		movable[m.AZ] = movable[m.AZ] || !m.Protected
	}
	zones := s.subnets(tx, g, g.Members) // the emptiest first
	if len(zones) == 0 {
		return false
	}
	fullest := ""
	for _, sub := range zones {
		if count[sub.AZ] > count[fullest] {
			fullest = sub.AZ
		}
	}
	if to := zones[0]; !movable[fullest] || count[fullest]-count[to.AZ] < 2 || s.ec2.Down(to.AZ) {
		return false
	}
	cause := fmt.Sprintf("At %s instances were launched to balance instances in zones %s with other zones resulting in more than desired number of instances in the group.", s.stamp(), zones[0].AZ)
	m := s.boot(tx, g, zones[:1], cause, false)
	if m == nil {
		return false
	}
	g.Moving = m.ID
	g.Members = append(g.Members, *m)
	return true
}
