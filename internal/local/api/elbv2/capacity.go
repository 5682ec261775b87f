package elbv2

import (
	"context"
	"slices"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/elbv2api"
)

// Bounds of a capacity reservation in units a load balancer, and how often one may be lowered a day.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/capacity-unit-reservation.html
const (
	leastCapacity = 100
	mostCapacity  = 1500
	decreases     = 2
)

// reserved shows a reservation: none before the first one.
func (lb *LoadBalancer) reserved() (*elbv2api.MinimumLoadBalancerCapacity, []elbv2api.ZonalCapacityReservationState) {
	if lb.Capacity == 0 {
		return nil, nil
	}
	var zones []elbv2api.ZonalCapacityReservationState
	for _, z := range lb.API.AvailabilityZones {
		zones = append(zones, elbv2api.ZonalCapacityReservationState{AvailabilityZone: z.ZoneName, State: &elbv2api.CapacityReservationStatus{Code: wire.Ptr("provisioned")},
			EffectiveCapacityUnits: wire.Ptr(float64(lb.Capacity) / float64(len(lb.API.AvailabilityZones)))})
	}
	return &elbv2api.MinimumLoadBalancerCapacity{CapacityUnits: wire.Int32(lb.Capacity)}, zones
}

func (s *Service) capacity(_ context.Context, in *elbv2api.DescribeCapacityReservationInput) (*elbv2api.DescribeCapacityReservationOutput, error) {
	out := &elbv2api.DescribeCapacityReservationOutput{}
	return out, s.db.View(func(tx *state.Tx) error {
		lb, ok := s.balancers.Get(tx, wire.Value(in.LoadBalancerArn))
		if !ok {
			return notFound("LoadBalancerNotFound", "load balancers", wire.Value(in.LoadBalancerArn))
		}
		out.MinimumLoadBalancerCapacity, out.CapacityReservationState = lb.reserved()
		out.LastModifiedTime = wire.Timestamp(lb.CapacityAt)
		out.DecreaseRequestsRemaining = wire.Int32(decreases - len(s.lowered(lb)))
		return nil
	})
}

// lowered is when a reservation was lowered within the last day.
func (s *Service) lowered(lb *LoadBalancer) []time.Time {
	return slices.DeleteFunc(slices.Clone(lb.Lowered), func(t time.Time) bool { return s.now().Sub(t) >= 24*time.Hour })
}

func (s *Service) modifyCapacity(_ context.Context, in *elbv2api.ModifyCapacityReservationInput) (*elbv2api.ModifyCapacityReservationOutput, error) {
	out := &elbv2api.ModifyCapacityReservationOutput{}
	return out, s.modifyBalancer(in.LoadBalancerArn, func(_ *state.Tx, lb *LoadBalancer) error {
		switch {
		case wire.Value(in.ResetCapacityReservation):
			lb.Capacity, lb.CapacityAt = 0, time.Time{}
		case in.MinimumLoadBalancerCapacity == nil:
			return invalid("Either MinimumLoadBalancerCapacity or ResetCapacityReservation must be specified")
		default:
			n := int(wire.Value(in.MinimumLoadBalancerCapacity.CapacityUnits))
			if n < leastCapacity {
				return wire.Errorf("InvalidConfigurationRequest", "The minimum capacity is %d units", leastCapacity)
			}
			if n > mostCapacity {
				return wire.Errorf("CapacityUnitsLimitExceeded", "The maximum capacity is %d units", mostCapacity)
			}
			if lb.Lowered = s.lowered(lb); n < lb.Capacity {
				if len(lb.Lowered) >= decreases {
					return wire.Errorf("CapacityDecreaseRequestLimitExceeded", "The capacity can be decreased %d times a day", decreases)
				}
				lb.Lowered = append(lb.Lowered, s.now())
			}
			lb.Capacity, lb.CapacityAt = n, s.now()
		}
		out.MinimumLoadBalancerCapacity, out.CapacityReservationState = lb.reserved()
		out.LastModifiedTime = wire.Timestamp(lb.CapacityAt)
		out.DecreaseRequestsRemaining = wire.Int32(decreases - len(s.lowered(lb)))
		return nil
	})
}

// Only trust stores have resource policies, and only when shared, which the local AWS does not do.
func (s *Service) resourcePolicy(_ context.Context, in *elbv2api.GetResourcePolicyInput) (*elbv2api.GetResourcePolicyOutput, error) {
	return nil, wire.Errorf("ResourceNotFound", "The resource '%s' has no policy", wire.Value(in.ResourceArn))
}
