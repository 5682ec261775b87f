package awscloud

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/slipway-ecs/slipway/internal/clusterinfra"
)

func filter(name string, values ...string) types.Filter {
	return types.Filter{Name: aws.String(name), Values: values}
}

// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeVpcs.html
func (p networkPort) DefaultVPC(ctx context.Context) (string, error) {
	out, err := p.api.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: []types.Filter{filter("is-default", "true")}})
	if err != nil {
		return "", err
	}
	if len(out.Vpcs) == 0 {
		return "", clusterinfra.ErrNotFound
	}
	return aws.ToString(out.Vpcs[0].VpcId), nil
}

// Subnets are those of the ids, or without any all of the VPC.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSubnets.html
func (p networkPort) Subnets(ctx context.Context, vpc string, ids []string) ([]clusterinfra.Subnet, error) {
	in := &ec2.DescribeSubnetsInput{SubnetIds: ids}
	if vpc != "" {
		in.Filters = []types.Filter{filter("vpc-id", vpc)}
	}
	var list []clusterinfra.Subnet
	for {
		out, err := p.api.DescribeSubnets(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, s := range out.Subnets {
			list = append(list, clusterinfra.Subnet{ID: aws.ToString(s.SubnetId), VPC: aws.ToString(s.VpcId), Zone: aws.ToString(s.AvailabilityZone),
				Public: aws.ToBool(s.MapPublicIpOnLaunch), DefaultOfZone: aws.ToBool(s.DefaultForAz)})
		}
		if aws.ToString(out.NextToken) == "" {
			return list, nil
		}
		in.NextToken = out.NextToken
	}
}

// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSecurityGroups.html
func (p networkPort) SecurityGroup(ctx context.Context, vpc, name string) (clusterinfra.SecurityGroup, error) {
	in := &ec2.DescribeSecurityGroupsInput{Filters: []types.Filter{filter("group-name", name)}}
	if vpc != "" {
		in.Filters = append(in.Filters, filter("vpc-id", vpc))
	}
	out, err := p.api.DescribeSecurityGroups(ctx, in)
	if is(err, "InvalidGroup.NotFound") || err == nil && len(out.SecurityGroups) == 0 {
		return clusterinfra.SecurityGroup{}, clusterinfra.ErrNotFound
	}
	if err != nil {
		return clusterinfra.SecurityGroup{}, err
	}
	g := out.SecurityGroups[0]
	r := clusterinfra.SecurityGroup{ID: aws.ToString(g.GroupId), Name: aws.ToString(g.GroupName), VPC: aws.ToString(g.VpcId), Description: aws.ToString(g.Description), Tags: ec2Map(g.Tags)}
	for _, perm := range g.IpPermissions {
		rule := clusterinfra.Ingress{From: int(aws.ToInt32(perm.FromPort)), To: int(aws.ToInt32(perm.ToPort))}
		for _, cidr := range perm.IpRanges {
			rule.CIDR = aws.ToString(cidr.CidrIp)
			r.Ingress = append(r.Ingress, rule)
		}
		rule.CIDR = ""
		for _, pair := range perm.UserIdGroupPairs {
			rule.Group = aws.ToString(pair.GroupId)
			r.Ingress = append(r.Ingress, rule)
		}
	}
	return r, nil
}

func ec2Map(tags []types.Tag) map[string]string {
	m := map[string]string{}
	for _, t := range tags {
		m[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return m
}

func ec2Tags(tags map[string]string) (out []types.Tag) {
	for _, k := range sortedKeys(tags) {
		out = append(out, types.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
	}
	return out
}

func (p networkPort) PutSecurityGroup(ctx context.Context, w clusterinfra.SecurityGroup) (clusterinfra.SecurityGroup, error) {
	have, err := p.SecurityGroup(ctx, w.VPC, w.Name)
	switch {
	case errors.Is(err, clusterinfra.ErrNotFound):
		out, err := p.api.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: &w.Name, VpcId: &w.VPC, Description: &w.Description,
			TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeSecurityGroup, Tags: ec2Tags(w.Tags)}}})
		if err != nil {
			return w, err
		}
		w.ID = aws.ToString(out.GroupId)
	case err != nil:
		return w, err
	default:
		w.ID = have.ID
		if add := missing(have.Tags, w.Tags); len(add) > 0 {
			if _, err := p.api.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{w.ID}, Tags: ec2Tags(add)}); err != nil {
				return w, err
			}
		}
	}
	if add := without(w.Ingress, have.Ingress); len(add) > 0 {
		_, err := p.api.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &w.ID, IpPermissions: permissions(add)})
		if err != nil && !is(err, "InvalidPermission.Duplicate") {
			return w, fmt.Errorf("letting traffic in: %w", err)
		}
	}
	if drop := without(have.Ingress, w.Ingress); len(drop) > 0 {
		_, err := p.api.RevokeSecurityGroupIngress(ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: &w.ID, IpPermissions: permissions(drop)})
		if err != nil && !is(err, "InvalidPermission.NotFound") {
			return w, fmt.Errorf("no longer letting traffic in: %w", err)
		}
	}
	return w, nil
}

// without is a less b.
func without(a, b []clusterinfra.Ingress) (out []clusterinfra.Ingress) {
	for _, r := range a {
		seen := false
		for _, x := range b {
			seen = seen || x == r
		}
		if !seen {
			out = append(out, r)
		}
	}
	return out
}

func permissions(rules []clusterinfra.Ingress) (out []types.IpPermission) {
	for _, r := range rules {
		perm := types.IpPermission{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(int32(r.From)), ToPort: aws.Int32(int32(r.To))}
		if r.Group != "" {
			perm.UserIdGroupPairs = []types.UserIdGroupPair{{GroupId: aws.String(r.Group)}}
		} else {
			perm.IpRanges = []types.IpRange{{CidrIp: aws.String(r.CIDR)}}
		}
		out = append(out, perm)
	}
	return out
}

func (p networkPort) DeleteSecurityGroup(ctx context.Context, id string) error {
	_, err := p.api.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: &id})
	switch {
	case is(err, "DependencyViolation", "InvalidGroup.InUse"):
		return fmt.Errorf("%w: %w", clusterinfra.ErrInUse, err)
	case is(err, "InvalidGroup.NotFound", "InvalidGroupId.Malformed"):
		return nil
	}
	return err
}
