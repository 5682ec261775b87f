package elbv2

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/elbv2api"
)

func (s *Service) registerBalancers(svc *wire.Service) {
	wire.Handle(svc, "CreateLoadBalancer", s.createBalancer)
	wire.Handle(svc, "DescribeLoadBalancers", s.describeBalancers)
	wire.Handle(svc, "DeleteLoadBalancer", s.deleteBalancer)
	wire.Handle(svc, "DescribeLoadBalancerAttributes", s.balancerAttributes)
	wire.Handle(svc, "ModifyLoadBalancerAttributes", s.modifyBalancerAttributes, wire.Partly("desync mitigation, routing by zone and health check logs: requests are read as strictly in every mode"))
	wire.Handle(svc, "SetSecurityGroups", s.setGroups, wire.Partly("recorded; traffic is not filtered by it"))
	wire.Handle(svc, "SetSubnets", s.setSubnets)
	wire.Handle(svc, "SetIpAddressType", s.setAddressType, wire.Partly("recorded; the local balancer answers on IPv4"))
	wire.Handle(svc, "DescribeCapacityReservation", s.capacity)
	wire.Handle(svc, "ModifyCapacityReservation", s.modifyCapacity, wire.Partly("recorded; the local balancer needs no warming"))
	wire.Handle(svc, "GetResourcePolicy", s.resourcePolicy)
	wire.Handle(svc, "DescribeAccountLimits", accountLimits)
	wire.Handle(svc, "DescribeSSLPolicies", sslPolicies, wire.Partly("of the post-quantum policies one"))
}

// Names: 1–32 letters, digits or hyphens, no hyphen at an end
// (https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html).
var validName = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,30}[a-zA-Z0-9])?$`)

func checkName(kind, name string) error {
	if !validName.MatchString(name) {
		return wire.Errorf("ValidationError", "The %s name '%s' must be 1 to 32 alphanumeric characters or hyphens and must not begin or end with a hyphen", kind, name)
	}
	return nil
}

func (s *Service) createBalancer(ctx context.Context, in *elbv2api.CreateLoadBalancerInput) (*elbv2api.CreateLoadBalancerOutput, error) {
	name, kind := wire.Value(in.Name), cmp.Or(wire.Value(in.Type), "application")
	scheme := cmp.Or(wire.Value(in.Scheme), "internet-facing")
	if err := checkName("load balancer", name); err != nil {
		return nil, err
	}
	if strings.HasPrefix(name, "internal-") {
		return nil, wire.Errorf("ValidationError", "The load balancer name '%s' must not begin with 'internal-'", name)
	}
	if kind != "application" && kind != "network" {
		return nil, wire.Errorf("ValidationError", "not supported: load balancers of the type %s", kind)
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	subnets := slices.Clone(in.Subnets)
	for _, m := range in.SubnetMappings {
		subnets = append(subnets, wire.Value(m.SubnetId))
	}
	id := newID()
	lb := LoadBalancer{Tags: in.Tags, API: elbv2api.LoadBalancer{LoadBalancerName: &name, Type: &kind, Scheme: &scheme, State: &elbv2api.LoadBalancerState{Code: wire.Ptr("active")},
		LoadBalancerArn: wire.Ptr(arnPrefix(wire.Caller(ctx)) + "loadbalancer/" + map[string]string{"application": "app", "network": "net"}[kind] + "/" + name + "/" + id),
		SecurityGroups:  append([]string{}, in.SecurityGroups...), IpAddressType: wire.Ptr(cmp.Or(wire.Value(in.IpAddressType), "ipv4")), CanonicalHostedZoneId: wire.Ptr("Z35SXDOTRQ7X7K"), CreatedTime: wire.Timestamp(s.now())}}
	lb.Attributes = balancerDefaults(kind)
	out := &elbv2api.CreateLoadBalancerOutput{}
	return out, s.db.Update(func(tx *state.Tx) error {
		for _, old := range s.balancers.All(tx) {
			if wire.Value(old.API.LoadBalancerName) != name {
				continue
			}
			if wire.Value(old.API.Type) == kind && wire.Value(old.API.Scheme) == scheme && sameSubnets(old, subnets) {
				out.LoadBalancers = []elbv2api.LoadBalancer{old.API}
				return nil
			}
			return wire.Errorf("DuplicateLoadBalancerName", "A load balancer with the same name '%s' exists, but with different settings", name)
		}
		if s.balancers.Len(tx) >= 50 {
			return wire.Errorf("TooManyLoadBalancers", "The maximum number of load balancers has been reached")
		}
		if err := s.place(tx, &lb, subnets, kind); err != nil {
			return err
		}
		var err error
		if lb.Address, err = s.freeAddress(tx); err != nil {
			return err
		}
		lb.API.DNSName = &lb.Address
		s.balancers.Put(tx, *lb.API.LoadBalancerArn, &lb)
		out.LoadBalancers = []elbv2api.LoadBalancer{lb.API}
		return nil
	})
}

func sameSubnets(lb *LoadBalancer, subnets []string) bool {
	have := []string{}
	for _, z := range lb.API.AvailabilityZones {
		have = append(have, wire.Value(z.SubnetId))
	}
	slices.Sort(have)
	return slices.Equal(have, slices.Sorted(slices.Values(subnets)))
}

func (s *Service) place(tx *state.Tx, lb *LoadBalancer, subnets []string, kind string) error {
	if len(subnets) == 0 || kind == "application" && len(subnets) < 2 {
		return wire.Errorf("ValidationError", "At least two subnets in two different Availability Zones must be specified")
	}
	lb.API.AvailabilityZones = nil
	zones := map[string]bool{}
	for _, id := range subnets {
		zone, vpc, ok := s.network.ZoneOf(tx, id)
		if !ok {
			return wire.Errorf("SubnetNotFound", "The subnet ID '%s' does not exist", id)
		}
		if zones[zone] {
			return wire.Errorf("InvalidConfigurationRequest", "A load balancer cannot be attached to multiple subnets in the same Availability Zone")
		}
		zones[zone] = true
		lb.API.VpcId = &vpc
		lb.API.AvailabilityZones = append(lb.API.AvailabilityZones, elbv2api.AvailabilityZone{ZoneName: &zone, SubnetId: wire.Ptr(id), LoadBalancerAddresses: []elbv2api.LoadBalancerAddress{}})
	}
	return nil
}

func (s *Service) describeBalancers(_ context.Context, in *elbv2api.DescribeLoadBalancersInput) (*elbv2api.DescribeLoadBalancersOutput, error) {
	out := &elbv2api.DescribeLoadBalancersOutput{LoadBalancers: []elbv2api.LoadBalancer{}}
	return out, s.db.View(func(tx *state.Tx) error {
		var all []elbv2api.LoadBalancer
		found := map[string]bool{}
		for arn, lb := range s.balancers.All(tx) {
			name := wire.Value(lb.API.LoadBalancerName)
			if len(in.LoadBalancerArns) > 0 && !slices.Contains(in.LoadBalancerArns, arn) || len(in.Names) > 0 && !slices.Contains(in.Names, name) {
				continue
			}
			found[arn], found[name] = true, true
			all = append(all, lb.API)
		}
		for _, id := range append(slices.Clone(in.LoadBalancerArns), in.Names...) {
			if !found[id] {
				return notFound("LoadBalancerNotFound", "load balancers", id)
			}
		}
		out.LoadBalancers, out.NextMarker = page(all, func(lb elbv2api.LoadBalancer) string { return *lb.LoadBalancerArn }, in.Marker, in.PageSize)
		return nil
	})
}

func (s *Service) deleteBalancer(_ context.Context, in *elbv2api.DeleteLoadBalancerInput) (*elbv2api.DeleteLoadBalancerOutput, error) {
	arn := wire.Value(in.LoadBalancerArn)
	return &elbv2api.DeleteLoadBalancerOutput{}, s.db.Update(func(tx *state.Tx) error {
		lb, ok := s.balancers.Get(tx, arn)
		if !ok {
			return nil // deleting what is not there succeeds
		}
		if lb.Attributes["deletion_protection.enabled"] == "true" {
			return wire.Errorf("OperationNotPermitted", "Load balancer '%s' cannot be deleted because deletion protection is enabled", arn)
		}
		for _, l := range s.listenersOf(tx, arn) {
			s.dropListener(tx, l)
		}
		s.balancers.Delete(tx, arn)
		return nil
	})
}

func (s *Service) modifyBalancer(arn *string, f func(tx *state.Tx, lb *LoadBalancer) error) error {
	return s.db.Update(func(tx *state.Tx) error {
		old, ok := s.balancers.Get(tx, wire.Value(arn))
		if !ok {
			return notFound("LoadBalancerNotFound", "load balancers", wire.Value(arn))
		}
		lb := *old
		if err := f(tx, &lb); err != nil {
			return err
		}
		s.balancers.Put(tx, *arn, &lb)
		return nil
	})
}

func oneOf(key, value string, allowed ...string) error {
	if !slices.Contains(allowed, value) {
		return invalid("'%s' must be one of '%s', not '%s'", key, strings.Join(allowed, ", "), value)
	}
	return nil
}

func (s *Service) setGroups(_ context.Context, in *elbv2api.SetSecurityGroupsInput) (*elbv2api.SetSecurityGroupsOutput, error) {
	return &elbv2api.SetSecurityGroupsOutput{SecurityGroupIds: in.SecurityGroups}, s.modifyBalancer(in.LoadBalancerArn, func(_ *state.Tx, lb *LoadBalancer) error {
		lb.API.SecurityGroups = in.SecurityGroups
		return nil
	})
}

func (s *Service) setSubnets(_ context.Context, in *elbv2api.SetSubnetsInput) (*elbv2api.SetSubnetsOutput, error) {
	out := &elbv2api.SetSubnetsOutput{}
	return out, s.modifyBalancer(in.LoadBalancerArn, func(tx *state.Tx, lb *LoadBalancer) error {
		subnets := slices.Clone(in.Subnets)
		for _, m := range in.SubnetMappings {
			subnets = append(subnets, wire.Value(m.SubnetId))
		}
		err := s.place(tx, lb, subnets, wire.Value(lb.API.Type))
		out.AvailabilityZones, out.IpAddressType = lb.API.AvailabilityZones, lb.API.IpAddressType
		return err
	})
}

func (s *Service) setAddressType(_ context.Context, in *elbv2api.SetIpAddressTypeInput) (*elbv2api.SetIpAddressTypeOutput, error) {
	return &elbv2api.SetIpAddressTypeOutput{IpAddressType: in.IpAddressType}, s.modifyBalancer(in.LoadBalancerArn, func(_ *state.Tx, lb *LoadBalancer) error {
		lb.API.IpAddressType = in.IpAddressType
		return nil
	})
}

// accountLimits are the default quotas
// (https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html).
func accountLimits(context.Context, *elbv2api.DescribeAccountLimitsInput) (*elbv2api.DescribeAccountLimitsOutput, error) {
	out := &elbv2api.DescribeAccountLimitsOutput{}
	for _, l := range [][2]string{{"application-load-balancers", "50"}, {"target-groups", "3000"}, {"targets-per-application-load-balancer", "1000"}, {"listeners-per-application-load-balancer", "50"},
		{"rules-per-application-load-balancer", "100"}, {"target-groups-per-application-load-balancer", "100"}, {"target-groups-per-action-on-application-load-balancer", "5"}, {"condition-values-per-alb-rule", "5"},
		{"condition-wildcards-per-alb-rule", "5"}, {"certificates-per-application-load-balancer", "25"}, {"targets-per-target-group", "1000"}, {"network-load-balancers", "50"}} {
		out.Limits = append(out.Limits, elbv2api.Limit{Name: wire.Ptr(l[0]), Max: wire.Ptr(l[1])})
	}
	return out, nil
}
