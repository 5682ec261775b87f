package ec2

import (
	"context"
	"reflect"
	"slices"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ec2api"
)

func (s *Service) registerGroups(svc *wire.Service) {
	const recorded = "recorded; traffic is not filtered by it"
	wire.Handle(svc, "CreateSecurityGroup", s.createGroup)
	wire.Handle(svc, "DeleteSecurityGroup", s.deleteGroup)
	wire.Handle(svc, "DescribeSecurityGroups", s.describeGroups)
	wire.Handle(svc, "DescribeSecurityGroupRules", s.describeRules)
	wire.Handle(svc, "AuthorizeSecurityGroupIngress", s.allowIn, wire.Partly(recorded))
	wire.Handle(svc, "AuthorizeSecurityGroupEgress", s.allowOut, wire.Partly(recorded))
	wire.Handle(svc, "RevokeSecurityGroupIngress", s.revokeIn, wire.Partly(recorded))
	wire.Handle(svc, "RevokeSecurityGroupEgress", s.revokeOut, wire.Partly(recorded))
}

func (s *Service) createGroup(_ context.Context, in *ec2api.CreateSecurityGroupInput) (*ec2api.CreateSecurityGroupOutput, error) {
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	g := &SecurityGroup{ID: newID("sg"), Name: wire.Value(in.GroupName), Description: wire.Value(in.Description), Tags: tagsFor(in.TagSpecifications, "security-group"), Egress: []ec2api.IpPermission{everything()}}
	out := &ec2api.CreateSecurityGroupOutput{GroupId: &g.ID, SecurityGroupArn: wire.Ptr(s.groupARN(g.ID)), Tags: g.Tags}
	return out, s.db.Update(func(tx *state.Tx) error {
		n := s.net(tx)
		if g.VPC = wire.Value(in.VpcId); g.VPC == "" {
			g.VPC = n.VPC
		}
		if g.VPC != n.VPC {
			return wire.Errorf("InvalidVpcID.NotFound", "The vpc ID '%s' does not exist", g.VPC)
		}
		for _, old := range s.groups.All(tx) {
			if old.Name == g.Name {
				return wire.Errorf("InvalidGroup.Duplicate", "The security group '%s' already exists for VPC '%s'", g.Name, g.VPC)
			}
		}
		s.groups.Put(tx, g.ID, g)
		return nil
	})
}

func (s *Service) groupARN(id string) string {
	return "arn:aws:ec2:" + s.region + ":" + s.account + ":security-group/" + id
}

func noGroup(id string) error {
	return wire.Errorf("InvalidGroup.NotFound", "The security group '%s' does not exist", id)
}

func (s *Service) deleteGroup(_ context.Context, in *ec2api.DeleteSecurityGroupInput) (*ec2api.DeleteSecurityGroupOutput, error) {
	return &ec2api.DeleteSecurityGroupOutput{Return: wire.Ptr(true), GroupId: in.GroupId}, s.db.Update(func(tx *state.Tx) error {
		g, err := s.group(tx, in.GroupId, in.GroupName)
		if err != nil {
			return err
		}
		if g.Name == "default" {
			return wire.Errorf("CannotDelete", "the specified group: \"%s\" name: \"default\" cannot be deleted by a user", g.ID)
		}
		for _, i := range s.instances.All(tx) {
			if i.State != "terminated" && slices.Contains(i.SecurityGroups, g.ID) {
				return wire.Errorf("DependencyViolation", "resource %s has a dependent object", g.ID)
			}
		}
		for _, other := range s.groups.All(tx) {
			if other.ID != g.ID && refers(other.Ingress, g.ID) {
				return wire.Errorf("DependencyViolation", "resource %s has a dependent object", g.ID)
			}
		}
		s.groups.Delete(tx, g.ID)
		return nil
	})
}

func refers(perms []ec2api.IpPermission, group string) bool {
	return slices.ContainsFunc(perms, func(p ec2api.IpPermission) bool {
		return slices.ContainsFunc(p.UserIdGroupPairs, func(u ec2api.UserIdGroupPair) bool { return wire.Value(u.GroupId) == group })
	})
}

func (s *Service) group(tx *state.Tx, id, name *string) (*SecurityGroup, error) {
	for _, g := range s.groups.All(tx) {
		if id != nil && g.ID == *id || id == nil && g.Name == wire.Value(name) {
			return g, nil
		}
	}
	if id != nil {
		return nil, noGroup(*id)
	}
	return nil, noGroup(wire.Value(name))
}

func (s *Service) describeGroups(_ context.Context, in *ec2api.DescribeSecurityGroupsInput) (*ec2api.DescribeSecurityGroupsOutput, error) {
	var all []ec2api.SecurityGroup
	err := s.db.View(func(tx *state.Tx) error {
		for _, id := range in.GroupIds {
			if _, ok := s.groups.Get(tx, id); !ok {
				return noGroup(id)
			}
		}
		for _, g := range s.groups.All(tx) {
			if len(in.GroupIds) > 0 && !slices.Contains(in.GroupIds, g.ID) || len(in.GroupNames) > 0 && !slices.Contains(in.GroupNames, g.Name) {
				continue
			}
			ok, err := filter(in.Filters, map[string][]string{"group-id": {g.ID}, "group-name": {g.Name}, "vpc-id": {g.VPC}, "description": {g.Description}, "owner-id": {s.account}}, g.Tags)
			if err != nil {
				return err
			}
			if ok {
				all = append(all, ec2api.SecurityGroup{GroupId: &g.ID, GroupName: &g.Name, Description: &g.Description, VpcId: &g.VPC, OwnerId: &s.account, SecurityGroupArn: wire.Ptr(s.groupARN(g.ID)),
					IpPermissions: append([]ec2api.IpPermission{}, g.Ingress...), IpPermissionsEgress: append([]ec2api.IpPermission{}, g.Egress...), Tags: g.Tags})
			}
		}
		return nil
	})
	out, next := page(all, func(g ec2api.SecurityGroup) string { return wire.Value(g.GroupId) }, in.NextToken, pageSize(in.MaxResults))
	return &ec2api.DescribeSecurityGroupsOutput{SecurityGroups: out, NextToken: next}, err
}

// flat is one rule as DescribeSecurityGroupRules counts them: one source or destination each.
func (s *Service) flat(g *SecurityGroup, perms []ec2api.IpPermission, egress bool) []ec2api.SecurityGroupRule {
	var out []ec2api.SecurityGroupRule
	for _, p := range perms {
		base := ec2api.SecurityGroupRule{GroupId: &g.ID, GroupOwnerId: &s.account, IsEgress: &egress, IpProtocol: p.IpProtocol, FromPort: p.FromPort, ToPort: p.ToPort}
		if wire.Value(p.IpProtocol) == "-1" {
			base.FromPort, base.ToPort = wire.Ptr[int32](-1), wire.Ptr[int32](-1)
		}
		add := func(set func(r *ec2api.SecurityGroupRule)) {
			r := base
			set(&r)
			r.SecurityGroupRuleId = wire.Ptr("sgr-" + ruleHash(r))
			out = append(out, r)
		}
		for _, v := range p.IpRanges {
			add(func(r *ec2api.SecurityGroupRule) { r.CidrIpv4, r.Description = v.CidrIp, v.Description })
		}
		for _, v := range p.Ipv6Ranges {
			add(func(r *ec2api.SecurityGroupRule) { r.CidrIpv6, r.Description = v.CidrIpv6, v.Description })
		}
		for _, v := range p.UserIdGroupPairs {
			add(func(r *ec2api.SecurityGroupRule) {
				r.ReferencedGroupInfo, r.Description = &ec2api.ReferencedSecurityGroup{GroupId: v.GroupId, UserId: &s.account}, v.Description
			})
		}
		for _, v := range p.PrefixListIds {
			add(func(r *ec2api.SecurityGroupRule) { r.PrefixListId, r.Description = v.PrefixListId, v.Description })
		}
	}
	return out
}

func (s *Service) describeRules(_ context.Context, in *ec2api.DescribeSecurityGroupRulesInput) (*ec2api.DescribeSecurityGroupRulesOutput, error) {
	var all []ec2api.SecurityGroupRule
	err := s.db.View(func(tx *state.Tx) error {
		for _, g := range s.groups.All(tx) {
			for _, r := range append(s.flat(g, g.Ingress, false), s.flat(g, g.Egress, true)...) {
				if len(in.SecurityGroupRuleIds) > 0 && !slices.Contains(in.SecurityGroupRuleIds, *r.SecurityGroupRuleId) {
					continue
				}
				ok, err := filter(in.Filters, map[string][]string{"group-id": {g.ID}, "security-group-rule-id": {*r.SecurityGroupRuleId}}, nil)
				if err != nil {
					return err
				}
				if ok {
					all = append(all, r)
				}
			}
		}
		return nil
	})
	key := func(r ec2api.SecurityGroupRule) string { return *r.SecurityGroupRuleId }
	slices.SortFunc(all, func(a, b ec2api.SecurityGroupRule) int { return cmpString(key(a), key(b)) })
	out, next := page(all, key, in.NextToken, pageSize(in.MaxResults))
	return &ec2api.DescribeSecurityGroupRulesOutput{SecurityGroupRules: out, NextToken: next}, err
}

// split makes one permission of each source, so that they can be compared and revoked singly.
func split(perms []ec2api.IpPermission) []ec2api.IpPermission {
	var out []ec2api.IpPermission
	for _, p := range perms {
		base := ec2api.IpPermission{IpProtocol: p.IpProtocol, FromPort: p.FromPort, ToPort: p.ToPort}
		add := func(set func(p *ec2api.IpPermission)) {
			one := base
			set(&one)
			out = append(out, one)
		}
		for _, v := range p.IpRanges {
			add(func(p *ec2api.IpPermission) { p.IpRanges = []ec2api.IpRange{v} })
		}
		for _, v := range p.Ipv6Ranges {
			add(func(p *ec2api.IpPermission) { p.Ipv6Ranges = []ec2api.Ipv6Range{v} })
		}
		for _, v := range p.UserIdGroupPairs {
			add(func(p *ec2api.IpPermission) { p.UserIdGroupPairs = []ec2api.UserIdGroupPair{v} })
		}
		for _, v := range p.PrefixListIds {
			add(func(p *ec2api.IpPermission) { p.PrefixListIds = []ec2api.PrefixListId{v} })
		}
	}
	return out
}

// same compares two single-source permissions, descriptions aside.
func same(a, b ec2api.IpPermission) bool {
	plain := func(p ec2api.IpPermission) ec2api.IpPermission {
		p.IpRanges, p.Ipv6Ranges = slices.Clone(p.IpRanges), slices.Clone(p.Ipv6Ranges)
		p.UserIdGroupPairs, p.PrefixListIds = slices.Clone(p.UserIdGroupPairs), slices.Clone(p.PrefixListIds)
		for i := range p.IpRanges {
			p.IpRanges[i].Description = nil
		}
		for i := range p.Ipv6Ranges {
			p.Ipv6Ranges[i].Description = nil
		}
		for i := range p.UserIdGroupPairs {
			p.UserIdGroupPairs[i] = ec2api.UserIdGroupPair{GroupId: p.UserIdGroupPairs[i].GroupId}
		}
		for i := range p.PrefixListIds {
			p.PrefixListIds[i].Description = nil
		}
		return p
	}
	return reflect.DeepEqual(plain(a), plain(b))
}

func (s *Service) allow(id, name *string, perms []ec2api.IpPermission, side func(g *SecurityGroup) *[]ec2api.IpPermission) ([]ec2api.SecurityGroupRule, error) {
	var rules []ec2api.SecurityGroupRule
	return rules, s.db.Update(func(tx *state.Tx) error {
		g, err := s.group(tx, id, name)
		if err != nil {
			return err
		}
		for _, p := range split(perms) {
			for _, u := range p.UserIdGroupPairs {
				if _, ok := s.groups.Get(tx, wire.Value(u.GroupId)); !ok {
					return noGroup(wire.Value(u.GroupId))
				}
			}
			if slices.ContainsFunc(*side(g), func(have ec2api.IpPermission) bool { return same(have, p) }) {
				return wire.Errorf("InvalidPermission.Duplicate", "the specified rule \"peer: %s, %s, from port: %d, to port: %d, ALLOW\" already exists", peer(p), wire.Value(p.IpProtocol), wire.Value(p.FromPort), wire.Value(p.ToPort))
			}
		}
		changed := *g
		list := side(&changed)
		*list = append(slices.Clone(*list), split(perms)...)
		s.groups.Put(tx, g.ID, &changed)
		rules = s.flat(&changed, split(perms), list == &changed.Egress)
		return nil
	})
}

func (s *Service) revoke(id, name *string, perms []ec2api.IpPermission, ruleIDs []string, side func(g *SecurityGroup) *[]ec2api.IpPermission) error {
	return s.db.Update(func(tx *state.Tx) error {
		g, err := s.group(tx, id, name)
		if err != nil {
			return err
		}
		changed := *g
		list := side(&changed)
		for _, p := range split(perms) {
			n := len(*list)
			*list = slices.DeleteFunc(slices.Clone(*list), func(have ec2api.IpPermission) bool { return same(have, p) })
			if len(*list) == n {
				return wire.Errorf("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
			}
		}
		if len(ruleIDs) > 0 {
			*list = slices.DeleteFunc(slices.Clone(*list), func(have ec2api.IpPermission) bool {
				r := s.flat(g, []ec2api.IpPermission{have}, list == &changed.Egress)
				return len(r) == 1 && slices.Contains(ruleIDs, *r[0].SecurityGroupRuleId)
			})
		}
		s.groups.Put(tx, g.ID, &changed)
		return nil
	})
}

func ingress(g *SecurityGroup) *[]ec2api.IpPermission { return &g.Ingress }
func egress(g *SecurityGroup) *[]ec2api.IpPermission  { return &g.Egress }

// shorthand is the older form of a rule: one protocol, port range and CIDR beside IpPermissions.
func shorthand(perms []ec2api.IpPermission, proto *string, from, to *int32, cidr *string) []ec2api.IpPermission {
	if cidr == nil {
		return perms
	}
	return append(slices.Clone(perms), ec2api.IpPermission{IpProtocol: proto, FromPort: from, ToPort: to, IpRanges: []ec2api.IpRange{{CidrIp: cidr}}})
}

func (s *Service) allowIn(_ context.Context, in *ec2api.AuthorizeSecurityGroupIngressInput) (*ec2api.AuthorizeSecurityGroupIngressOutput, error) {
	rules, err := s.allow(in.GroupId, in.GroupName, shorthand(in.IpPermissions, in.IpProtocol, in.FromPort, in.ToPort, in.CidrIp), ingress)
	return &ec2api.AuthorizeSecurityGroupIngressOutput{Return: wire.Ptr(true), SecurityGroupRules: rules}, err
}

func (s *Service) allowOut(_ context.Context, in *ec2api.AuthorizeSecurityGroupEgressInput) (*ec2api.AuthorizeSecurityGroupEgressOutput, error) {
	rules, err := s.allow(in.GroupId, nil, in.IpPermissions, egress)
	return &ec2api.AuthorizeSecurityGroupEgressOutput{Return: wire.Ptr(true), SecurityGroupRules: rules}, err
}

func (s *Service) revokeIn(_ context.Context, in *ec2api.RevokeSecurityGroupIngressInput) (*ec2api.RevokeSecurityGroupIngressOutput, error) {
	perms := shorthand(in.IpPermissions, in.IpProtocol, in.FromPort, in.ToPort, in.CidrIp)
	return &ec2api.RevokeSecurityGroupIngressOutput{Return: wire.Ptr(true)}, s.revoke(in.GroupId, in.GroupName, perms, in.SecurityGroupRuleIds, ingress)
}

func (s *Service) revokeOut(_ context.Context, in *ec2api.RevokeSecurityGroupEgressInput) (*ec2api.RevokeSecurityGroupEgressOutput, error) {
	return &ec2api.RevokeSecurityGroupEgressOutput{Return: wire.Ptr(true)}, s.revoke(in.GroupId, nil, in.IpPermissions, in.SecurityGroupRuleIds, egress)
}
