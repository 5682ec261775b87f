package ec2

import (
	"context"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ec2api"
)

func (s *Service) registerNetwork(svc *wire.Service) {
	const oneVPC = "the default VPC, its three subnets, its route table and its gateway only"
	wire.Handle(svc, "DescribeVpcs", s.vpcs, wire.Partly(oneVPC))
	wire.Handle(svc, "DescribeVpcAttribute", s.vpcAttribute, wire.Partly(oneVPC))
	wire.Handle(svc, "DescribeSubnets", s.subnets, wire.Partly(oneVPC))
	wire.Handle(svc, "DescribeAvailabilityZones", s.zones)
	wire.Handle(svc, "DescribeRegions", s.regions, wire.Partly("the region of the request only"))
	wire.Handle(svc, "DescribeInternetGateways", s.gateways, wire.Partly(oneVPC))
	wire.Handle(svc, "DescribeRouteTables", s.routeTables, wire.Partly(oneVPC))
	wire.Handle(svc, "DescribeAccountAttributes", s.accountAttributes)
	wire.Handle(svc, "CreateTags", s.createTags)
	wire.Handle(svc, "DeleteTags", s.deleteTags)
	wire.Handle(svc, "DescribeTags", s.describeTags, wire.Partly("instances, launch templates, security groups and the VPC's parts"))
}

func (s *Service) vpcs(_ context.Context, in *ec2api.DescribeVpcsInput) (*ec2api.DescribeVpcsOutput, error) {
	out := &ec2api.DescribeVpcsOutput{Vpcs: []ec2api.Vpc{}}
	return out, s.db.View(func(tx *state.Tx) error {
		n := s.net(tx)
		for _, id := range in.VpcIds {
			if id != n.VPC {
				return wire.Errorf("InvalidVpcID.NotFound", "The vpc ID '%s' does not exist", id)
			}
		}
		ok, err := filter(in.Filters, map[string][]string{"vpc-id": {n.VPC}, "is-default": {"true"}, "isDefault": {"true"}, "cidr": {"172.31.0.0/16"}, "cidr-block-association.cidr-block": {"172.31.0.0/16"}, "state": {"available"}, "owner-id": {s.account}}, n.Tags[n.VPC])
		if err != nil || !ok {
			return err
		}
		out.Vpcs = append(out.Vpcs, ec2api.Vpc{VpcId: &n.VPC, CidrBlock: wire.Ptr("172.31.0.0/16"), IsDefault: wire.Ptr(true), State: wire.Ptr("available"), OwnerId: &s.account,
			InstanceTenancy: wire.Ptr("default"), DhcpOptionsId: wire.Ptr("dopt-0510ca10000000000"), Tags: n.Tags[n.VPC],
			CidrBlockAssociationSet: []ec2api.VpcCidrBlockAssociation{{AssociationId: wire.Ptr("vpc-cidr-assoc-0510ca10"), CidrBlock: wire.Ptr("172.31.0.0/16"), CidrBlockState: &ec2api.VpcCidrBlockState{State: wire.Ptr("associated")}}}})
		return nil
	})
}

func (s *Service) vpcAttribute(_ context.Context, in *ec2api.DescribeVpcAttributeInput) (*ec2api.DescribeVpcAttributeOutput, error) {
	yes := &ec2api.AttributeBooleanValue{Value: wire.Ptr(true)}
	out := &ec2api.DescribeVpcAttributeOutput{VpcId: in.VpcId}
	switch attr := wire.Value(in.Attribute); attr {
	case "enableDnsSupport":
		out.EnableDnsSupport = yes
	case "enableDnsHostnames":
		out.EnableDnsHostnames = yes
	case "enableNetworkAddressUsageMetrics":
		out.EnableNetworkAddressUsageMetrics = &ec2api.AttributeBooleanValue{Value: wire.Ptr(false)}
	default:
		return nil, wire.Errorf("InvalidParameterValue", "Value (%s) for parameter attribute is invalid.", attr)
	}
	return out, nil
}

func (s *Service) subnets(_ context.Context, in *ec2api.DescribeSubnetsInput) (*ec2api.DescribeSubnetsOutput, error) {
	out := &ec2api.DescribeSubnetsOutput{Subnets: []ec2api.Subnet{}}
	return out, s.db.View(func(tx *state.Tx) error {
		n := s.net(tx)
		for _, id := range in.SubnetIds {
			if _, ok := n.subnet(id); !ok {
				return wire.Errorf("InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist", id)
			}
		}
		for _, sub := range n.Subnets {
			if len(in.SubnetIds) > 0 && !slices.Contains(in.SubnetIds, sub.ID) {
				continue
			}
			zoneID := s.zoneID(sub.AZ)
			ok, err := filter(in.Filters, map[string][]string{"subnet-id": {sub.ID}, "vpc-id": {n.VPC}, "availability-zone": {sub.AZ}, "availabilityZone": {sub.AZ}, "availability-zone-id": {zoneID},
				"default-for-az": {"true"}, "defaultForAz": {"true"}, "state": {"available"}, "cidr-block": {sub.CIDR}, "map-public-ip-on-launch": {"true"}}, n.Tags[sub.ID])
			if err != nil {
				return err
			}
			if ok {
				out.Subnets = append(out.Subnets, ec2api.Subnet{SubnetId: wire.Ptr(sub.ID), VpcId: &n.VPC, AvailabilityZone: wire.Ptr(sub.AZ), AvailabilityZoneId: wire.Ptr(zoneID), CidrBlock: wire.Ptr(sub.CIDR),
					State: wire.Ptr("available"), DefaultForAz: wire.Ptr(true), MapPublicIpOnLaunch: wire.Ptr(true), AssignIpv6AddressOnCreation: wire.Ptr(false), OwnerId: &s.account,
					AvailableIpAddressCount: wire.Ptr(int32(4091 - n.NextHost[sub.ID])), SubnetArn: wire.Ptr("arn:aws:ec2:" + s.region + ":" + s.account + ":subnet/" + sub.ID), Tags: n.Tags[sub.ID]})
			}
		}
		return nil
	})
}

var zonePrefix = strings.NewReplacer("us-east-", "use", "us-west-", "usw", "eu-west-", "euw", "eu-central-", "euc", "ap-southeast-", "apse", "ap-northeast-", "apne")

func (s *Service) zoneID(az string) string {
	return zonePrefix.Replace(s.region) + "-az" + string('1'+az[len(az)-1]-'a')
}

func (s *Service) zones(_ context.Context, in *ec2api.DescribeAvailabilityZonesInput) (*ec2api.DescribeAvailabilityZonesOutput, error) {
	out := &ec2api.DescribeAvailabilityZonesOutput{AvailabilityZones: []ec2api.AvailabilityZone{}}
	for _, z := range []string{"a", "b", "c"} {
		name := s.region + z
		if len(in.ZoneNames) > 0 && !slices.Contains(in.ZoneNames, name) {
			continue
		}
		condition := "available"
		if s.down(name) {
			condition = "unavailable"
		}
		ok, err := filter(in.Filters, map[string][]string{"zone-name": {name}, "zone-id": {s.zoneID(name)}, "zone-type": {"availability-zone"}, "state": {condition}, "region-name": {s.region}, "opt-in-status": {"opt-in-not-required"}, "group-name": {s.region}}, nil)
		if err != nil {
			return nil, err
		}
		if ok {
			out.AvailabilityZones = append(out.AvailabilityZones, ec2api.AvailabilityZone{ZoneName: wire.Ptr(name), ZoneId: wire.Ptr(s.zoneID(name)), ZoneType: wire.Ptr("availability-zone"), State: &condition,
				RegionName: &s.region, GroupName: &s.region, NetworkBorderGroup: &s.region, OptInStatus: wire.Ptr("opt-in-not-required"), Messages: []ec2api.AvailabilityZoneMessage{}})
		}
	}
	if len(in.ZoneNames) > len(out.AvailabilityZones) && len(in.Filters) == 0 {
		return nil, wire.Errorf("InvalidParameterValue", "Invalid availability zone: [%s]", strings.Join(in.ZoneNames, ", "))
	}
	return out, nil
}

func (s *Service) regions(_ context.Context, _ *ec2api.DescribeRegionsInput) (*ec2api.DescribeRegionsOutput, error) {
	return &ec2api.DescribeRegionsOutput{Regions: []ec2api.Region{{RegionName: &s.region, Endpoint: wire.Ptr("ec2." + s.region + ".amazonaws.com"), OptInStatus: wire.Ptr("opt-in-not-required")}}}, nil
}

func (s *Service) gateways(_ context.Context, in *ec2api.DescribeInternetGatewaysInput) (*ec2api.DescribeInternetGatewaysOutput, error) {
	out := &ec2api.DescribeInternetGatewaysOutput{InternetGateways: []ec2api.InternetGateway{}}
	return out, s.db.View(func(tx *state.Tx) error {
		n := s.net(tx)
		ok, err := filter(in.Filters, map[string][]string{"internet-gateway-id": {n.Gateway}, "attachment.vpc-id": {n.VPC}, "attachment.state": {"available"}}, n.Tags[n.Gateway])
		if ok {
			out.InternetGateways = append(out.InternetGateways, ec2api.InternetGateway{InternetGatewayId: &n.Gateway, OwnerId: &s.account, Tags: n.Tags[n.Gateway],
				Attachments: []ec2api.InternetGatewayAttachment{{VpcId: &n.VPC, State: wire.Ptr("available")}}})
		}
		return err
	})
}

func (s *Service) routeTables(_ context.Context, in *ec2api.DescribeRouteTablesInput) (*ec2api.DescribeRouteTablesOutput, error) {
	out := &ec2api.DescribeRouteTablesOutput{RouteTables: []ec2api.RouteTable{}}
	return out, s.db.View(func(tx *state.Tx) error {
		n := s.net(tx)
		ok, err := filter(in.Filters, map[string][]string{"vpc-id": {n.VPC}, "route-table-id": {n.RouteTable}, "association.main": {"true"}, "association.subnet-id": {}}, n.Tags[n.RouteTable])
		if ok {
			out.RouteTables = append(out.RouteTables, ec2api.RouteTable{RouteTableId: &n.RouteTable, VpcId: &n.VPC, OwnerId: &s.account, Tags: n.Tags[n.RouteTable],
				Associations: []ec2api.RouteTableAssociation{{Main: wire.Ptr(true), RouteTableId: &n.RouteTable, RouteTableAssociationId: wire.Ptr("rtbassoc-0510ca10000000000")}},
				Routes: []ec2api.Route{
					{DestinationCidrBlock: wire.Ptr("172.31.0.0/16"), GatewayId: wire.Ptr("local"), State: wire.Ptr("active"), Origin: wire.Ptr("CreateRouteTable")},
					{DestinationCidrBlock: wire.Ptr("0.0.0.0/0"), GatewayId: &n.Gateway, State: wire.Ptr("active"), Origin: wire.Ptr("CreateRoute")},
				}})
		}
		return err
	})
}

func (s *Service) accountAttributes(_ context.Context, in *ec2api.DescribeAccountAttributesInput) (*ec2api.DescribeAccountAttributesOutput, error) {
	out := &ec2api.DescribeAccountAttributesOutput{AccountAttributes: []ec2api.AccountAttribute{}}
	return out, s.db.View(func(tx *state.Tx) error {
		for _, a := range [][2]string{{"supported-platforms", "VPC"}, {"default-vpc", s.net(tx).VPC}, {"max-instances", "5000"}, {"vpc-max-security-groups-per-interface", "5"}} {
			if len(in.AttributeNames) == 0 || slices.Contains(in.AttributeNames, a[0]) {
				out.AccountAttributes = append(out.AccountAttributes, ec2api.AccountAttribute{AttributeName: wire.Ptr(a[0]), AttributeValues: []ec2api.AccountAttributeValue{{AttributeValue: wire.Ptr(a[1])}}})
			}
		}
		return nil
	})
}

// retag changes the tags of whatever resource has the id.
func (s *Service) retag(tx *state.Tx, id string, f func([]ec2api.Tag) []ec2api.Tag) error {
	n := s.net(tx)
	_, isSubnet := n.subnet(id)
	switch {
	case s.instances.Modify(tx, id, func(i *Instance) { i.Tags = f(i.Tags) }),
		s.templates.Modify(tx, id, func(t *Template) { t.Tags = f(t.Tags) }),
		s.groups.Modify(tx, id, func(g *SecurityGroup) { g.Tags = f(g.Tags) }):
		return nil
	case isSubnet, id == n.VPC, id == n.Gateway, id == n.RouteTable:
		s.network.Modify(tx, "default", func(n *Network) {
			tags := map[string][]ec2api.Tag{}
			for k, v := range n.Tags {
				tags[k] = v
			}
			tags[id] = f(tags[id])
			n.Tags = tags
		})
		return nil
	}
	return wire.Errorf("InvalidID", "The ID '%s' is not valid", id)
}

func (s *Service) createTags(_ context.Context, in *ec2api.CreateTagsInput) (*ec2api.CreateTagsOutput, error) {
	return &ec2api.CreateTagsOutput{}, s.db.Update(func(tx *state.Tx) error {
		for _, id := range in.Resources {
			if err := s.retag(tx, id, func(have []ec2api.Tag) []ec2api.Tag { return mergeTags(have, in.Tags) }); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Service) deleteTags(_ context.Context, in *ec2api.DeleteTagsInput) (*ec2api.DeleteTagsOutput, error) {
	gone := func(t ec2api.Tag) bool {
		return len(in.Tags) == 0 || slices.ContainsFunc(in.Tags, func(d ec2api.Tag) bool {
			return wire.Value(d.Key) == wire.Value(t.Key) && (d.Value == nil || *d.Value == wire.Value(t.Value))
		})
	}
	return &ec2api.DeleteTagsOutput{}, s.db.Update(func(tx *state.Tx) error {
		for _, id := range in.Resources {
			if err := s.retag(tx, id, func(have []ec2api.Tag) []ec2api.Tag { return slices.DeleteFunc(slices.Clone(have), gone) }); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Service) describeTags(_ context.Context, in *ec2api.DescribeTagsInput) (*ec2api.DescribeTagsOutput, error) {
	var all []ec2api.TagDescription
	err := s.db.View(func(tx *state.Tx) error {
		add := func(kind, id string, tags []ec2api.Tag) error {
			for _, t := range tags {
				ok, err := filter(in.Filters, map[string][]string{"resource-id": {id}, "resource-type": {kind}, "key": {wire.Value(t.Key)}, "value": {wire.Value(t.Value)}}, []ec2api.Tag{t})
				if err != nil {
					return err
				}
				if ok {
					all = append(all, ec2api.TagDescription{Key: t.Key, Value: t.Value, ResourceId: wire.Ptr(id), ResourceType: wire.Ptr(kind)})
				}
			}
			return nil
		}
		for id, i := range s.instances.All(tx) {
			if err := add("instance", id, i.Tags); err != nil {
				return err
			}
		}
		for id, t := range s.templates.All(tx) {
			if err := add("launch-template", id, t.Tags); err != nil {
				return err
			}
		}
		for id, g := range s.groups.All(tx) {
			if err := add("security-group", id, g.Tags); err != nil {
				return err
			}
		}
		n := s.net(tx)
		kinds := map[string]string{n.VPC: "vpc", n.Gateway: "internet-gateway", n.RouteTable: "route-table"}
		for id, tags := range n.Tags {
			kind := kinds[id]
			if kind == "" {
				kind = "subnet"
			}
			if err := add(kind, id, tags); err != nil {
				return err
			}
		}
		return nil
	})
	key := func(t ec2api.TagDescription) string { return wire.Value(t.ResourceId) + "\x00" + wire.Value(t.Key) }
	slices.SortFunc(all, func(a, b ec2api.TagDescription) int { return strings.Compare(key(a), key(b)) })
	out, next := page(all, key, in.NextToken, pageSize(in.MaxResults))
	return &ec2api.DescribeTagsOutput{Tags: out, NextToken: next}, err
}
