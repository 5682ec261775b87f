package awscloud

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/slipway-ecs/slipway/internal/clusterinfra"
)

const idleTimeout = "idle_timeout.timeout_seconds"

// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeLoadBalancers.html
func (p balancerPort) Balancer(ctx context.Context, nameOrARN string) (clusterinfra.LoadBalancer, error) {
	in := &elb.DescribeLoadBalancersInput{Names: []string{nameOrARN}}
	if strings.HasPrefix(nameOrARN, "arn:") {
		in = &elb.DescribeLoadBalancersInput{LoadBalancerArns: []string{nameOrARN}}
	}
	out, err := p.api.DescribeLoadBalancers(ctx, in)
	if is(err, "LoadBalancerNotFound") || err == nil && len(out.LoadBalancers) == 0 {
		return clusterinfra.LoadBalancer{}, clusterinfra.ErrNotFound
	}
	if err != nil {
		return clusterinfra.LoadBalancer{}, err
	}
	b := out.LoadBalancers[0]
	r := clusterinfra.LoadBalancer{Name: aws.ToString(b.LoadBalancerName), ARN: aws.ToString(b.LoadBalancerArn), DNS: aws.ToString(b.DNSName), Zone: aws.ToString(b.CanonicalHostedZoneId),
		VPC: aws.ToString(b.VpcId), Internal: b.Scheme == types.LoadBalancerSchemeEnumInternal, SecurityGroups: b.SecurityGroups}
	if b.State != nil {
		r.State = string(b.State.Code)
	}
	for _, z := range b.AvailabilityZones {
		r.Subnets = append(r.Subnets, aws.ToString(z.SubnetId))
	}
	attributes, err := p.api.DescribeLoadBalancerAttributes(ctx, &elb.DescribeLoadBalancerAttributesInput{LoadBalancerArn: b.LoadBalancerArn})
	if err != nil {
		return r, fmt.Errorf("reading its attributes: %w", err)
	}
	for _, a := range attributes.Attributes {
		if aws.ToString(a.Key) == idleTimeout {
			r.IdleTimeout, _ = strconv.Atoi(aws.ToString(a.Value))
		}
	}
	tags, err := p.tags(ctx, r.ARN)
	r.Tags = tags[r.ARN]
	return r, err
}

// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html
func (p balancerPort) PutBalancer(ctx context.Context, w clusterinfra.LoadBalancer) (clusterinfra.LoadBalancer, error) {
	have, err := p.Balancer(ctx, w.Name)
	switch {
	case errors.Is(err, clusterinfra.ErrNotFound):
		in := &elb.CreateLoadBalancerInput{Name: &w.Name, Subnets: w.Subnets, SecurityGroups: w.SecurityGroups, Type: types.LoadBalancerTypeEnumApplication,
			Scheme: types.LoadBalancerSchemeEnumInternetFacing, Tags: elbTags(w.Tags)}
		if w.Internal {
			in.Scheme = types.LoadBalancerSchemeEnumInternal
		}
		out, err := p.api.CreateLoadBalancer(ctx, in)
		if err != nil {
			return w, err
		}
		w.ARN, w.DNS = aws.ToString(out.LoadBalancers[0].LoadBalancerArn), aws.ToString(out.LoadBalancers[0].DNSName)
	case err != nil:
		return w, err
	default:
		w.ARN, w.DNS = have.ARN, have.DNS
		if !same(sorted(have.Subnets), sorted(w.Subnets)) {
			if _, err := p.api.SetSubnets(ctx, &elb.SetSubnetsInput{LoadBalancerArn: &w.ARN, Subnets: w.Subnets}); err != nil {
				return w, fmt.Errorf("setting its subnets: %w", err)
			}
		}
		if !same(sorted(have.SecurityGroups), sorted(w.SecurityGroups)) {
			if _, err := p.api.SetSecurityGroups(ctx, &elb.SetSecurityGroupsInput{LoadBalancerArn: &w.ARN, SecurityGroups: w.SecurityGroups}); err != nil {
				return w, fmt.Errorf("setting its security groups: %w", err)
			}
		}
		if add := missing(have.Tags, w.Tags); len(add) > 0 {
			if _, err := p.api.AddTags(ctx, &elb.AddTagsInput{ResourceArns: []string{w.ARN}, Tags: elbTags(add)}); err != nil {
				return w, err
			}
		}
	}
	if w.IdleTimeout > 0 && have.IdleTimeout != w.IdleTimeout {
		if _, err := p.api.ModifyLoadBalancerAttributes(ctx, &elb.ModifyLoadBalancerAttributesInput{LoadBalancerArn: &w.ARN,
			Attributes: []types.LoadBalancerAttribute{{Key: aws.String(idleTimeout), Value: aws.String(itoa(w.IdleTimeout))}}}); err != nil {
			return w, fmt.Errorf("setting its idle timeout: %w", err)
		}
	}
	return w, nil
}

func (p balancerPort) DeleteBalancer(ctx context.Context, arn string) error {
	_, err := p.api.DeleteLoadBalancer(ctx, &elb.DeleteLoadBalancerInput{LoadBalancerArn: &arn})
	switch {
	case is(err, "ResourceInUse"):
		return fmt.Errorf("%w: %w", clusterinfra.ErrInUse, err)
	case is(err, "LoadBalancerNotFound"):
		return nil
	}
	return err
}

func (p listenerPort) Listeners(ctx context.Context, balancer string) ([]clusterinfra.NamedListener, error) {
	var out []clusterinfra.NamedListener
	var arns []string
	if err := p.listeners(ctx, []string{balancer}, func(l types.Listener) error {
		n := clusterinfra.NamedListener{Listener: clusterinfra.Listener{ARN: aws.ToString(l.ListenerArn), Port: int(aws.ToInt32(l.Port)), Protocol: string(l.Protocol), Policy: aws.ToString(l.SslPolicy)}}
		if len(l.Certificates) > 0 {
			n.Certificate = aws.ToString(l.Certificates[0].CertificateArn)
		}
		out, arns = append(out, n), append(arns, n.ARN)
		return nil
	}); err != nil {
		return nil, err
	}
	tags, err := p.tags(ctx, arns...)
	if err != nil {
		return nil, err
	}
	for i := range out {
		out[i].Tags = tags[out[i].ARN]
		out[i].Name = out[i].Tags[clusterinfra.TagListener]
	}
	return out, nil
}

// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateListener.html
func (p listenerPort) PutListener(ctx context.Context, balancer string, w clusterinfra.NamedListener) (clusterinfra.NamedListener, error) {
	var certificates []types.Certificate
	if w.Certificate != "" {
		certificates = []types.Certificate{{CertificateArn: &w.Certificate}}
	}
	if w.ARN == "" {
		out, err := p.api.CreateListener(ctx, &elb.CreateListenerInput{LoadBalancerArn: &balancer, Port: aws.Int32(int32(w.Port)), Protocol: types.ProtocolEnum(w.Protocol),
			Certificates: certificates, SslPolicy: text(w.Policy), DefaultActions: []types.Action{notFound()}, Tags: elbTags(w.Tags)})
		if err != nil {
			return w, err
		}
		w.ARN = aws.ToString(out.Listeners[0].ListenerArn)
		return w, nil
	}
	if _, err := p.api.ModifyListener(ctx, &elb.ModifyListenerInput{ListenerArn: &w.ARN, Port: aws.Int32(int32(w.Port)), Protocol: types.ProtocolEnum(w.Protocol),
		Certificates: certificates, SslPolicy: text(w.Policy)}); err != nil {
		return w, err
	}
	_, err := p.api.AddTags(ctx, &elb.AddTagsInput{ResourceArns: []string{w.ARN}, Tags: elbTags(w.Tags)})
	return w, err
}

func (p listenerPort) DeleteListener(ctx context.Context, arn string) error {
	_, err := p.api.DeleteListener(ctx, &elb.DeleteListenerInput{ListenerArn: &arn})
	if is(err, "ListenerNotFound") {
		return nil
	}
	return err
}

// BalancerOf finds a load balancer with a listener tagged for the cluster; the cluster's own, which
// is found by name, is not looked for here, but would be found too.
func (p listenerPort) BalancerOf(ctx context.Context, cluster string) (string, error) {
	in := &elb.DescribeLoadBalancersInput{}
	for {
		page, err := p.api.DescribeLoadBalancers(ctx, in)
		if err != nil {
			return "", err
		}
		for _, b := range page.LoadBalancers {
			listeners, err := p.Listeners(ctx, aws.ToString(b.LoadBalancerArn))
			if is(err, "LoadBalancerNotFound", "ListenerNotFound") {
				continue
			}
			if err != nil {
				return "", err
			}
			for _, l := range listeners {
				if l.Tags[clusterinfra.TagCluster] == cluster {
					return aws.ToString(b.LoadBalancerArn), nil
				}
			}
		}
		if aws.ToString(page.NextMarker) == "" {
			return "", clusterinfra.ErrNotFound
		}
		in.Marker = page.NextMarker
	}
}
