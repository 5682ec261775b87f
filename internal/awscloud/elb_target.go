package awscloud

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/service"
)

// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTargetGroups.html
func (p *elbPort) TargetGroups(ctx context.Context, marker string) ([]deploy.TargetGroup, error) {
	in := &elb.DescribeTargetGroupsInput{}
	var out []deploy.TargetGroup
	for {
		page, err := p.api.DescribeTargetGroups(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, tg := range page.TargetGroups {
			if !strings.Contains(aws.ToString(tg.TargetGroupName), marker) {
				continue
			}
			full, err := p.targetGroup(ctx, tg)
			if is(err, "TargetGroupNotFound") {
				continue
			}
			if err != nil {
				return nil, err
			}
			out = append(out, full)
		}
		if aws.ToString(page.NextMarker) == "" {
			return out, nil
		}
		in.Marker = page.NextMarker
	}
}

// targetGroup reads the attributes and tags too.
func (p *elbPort) targetGroup(ctx context.Context, tg types.TargetGroup) (deploy.TargetGroup, error) {
	out := deploy.TargetGroup{
		Name: aws.ToString(tg.TargetGroupName), ARN: aws.ToString(tg.TargetGroupArn), VPC: aws.ToString(tg.VpcId), Protocol: string(tg.Protocol),
		ProtocolVersion: aws.ToString(tg.ProtocolVersion), TargetType: string(tg.TargetType), Port: int(aws.ToInt32(tg.Port)),
		HealthProtocol: string(tg.HealthCheckProtocol), LoadBalancers: tg.LoadBalancerArns,
		Health: service.HealthCheck{Path: aws.ToString(tg.HealthCheckPath), Interval: seconds(tg.HealthCheckIntervalSeconds), Timeout: seconds(tg.HealthCheckTimeoutSeconds),
			Healthy: int(aws.ToInt32(tg.HealthyThresholdCount)), Unhealthy: int(aws.ToInt32(tg.UnhealthyThresholdCount))},
	}
	if m := tg.Matcher; m != nil {
		out.Health.Matcher = aws.ToString(m.HttpCode) + aws.ToString(m.GrpcCode)
	}
	attributes, err := p.api.DescribeTargetGroupAttributes(ctx, &elb.DescribeTargetGroupAttributesInput{TargetGroupArn: tg.TargetGroupArn})
	if err != nil {
		return out, err
	}
	values := map[string]string{}
	for _, a := range attributes.Attributes {
		values[aws.ToString(a.Key)] = aws.ToString(a.Value)
	}
	out.Deregistration = secondsIn(values["deregistration_delay.timeout_seconds"])
	out.SlowStart = secondsIn(values["slow_start.duration_seconds"])
	if values["stickiness.enabled"] == "true" {
		out.Sticky = secondsIn(values["stickiness.lb_cookie.duration_seconds"])
	}
	tags, err := p.tags(ctx, out.ARN)
	out.Tags = tags[out.ARN]
	return out, err
}

func secondsIn(text string) time.Duration {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}

// tagBatch is how many resources one DescribeTags takes.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTags.html
const tagBatch = 20

func (p *elbPort) tags(ctx context.Context, arns ...string) (map[string]map[string]string, error) {
	out := map[string]map[string]string{}
	for chunk := range slices.Chunk(arns, tagBatch) {
		page, err := p.api.DescribeTags(ctx, &elb.DescribeTagsInput{ResourceArns: chunk})
		if err != nil {
			return nil, fmt.Errorf("reading tags: %w", err)
		}
		for _, d := range page.TagDescriptions {
			m := map[string]string{}
			for _, t := range d.Tags {
				m[aws.ToString(t.Key)] = aws.ToString(t.Value)
			}
			out[aws.ToString(d.ResourceArn)] = m
		}
	}
	return out, nil
}

func elbTags(tags map[string]string) []types.Tag {
	var out []types.Tag
	for _, k := range sortedKeys(tags) {
		out = append(out, types.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
	}
	return out
}

// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html
func (p *elbPort) PutTargetGroup(ctx context.Context, w deploy.TargetGroup) (deploy.TargetGroup, error) {
	found, err := p.api.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{Names: []string{w.Name}})
	switch {
	case is(err, "TargetGroupNotFound") || err == nil && len(found.TargetGroups) == 0:
		in := &elb.CreateTargetGroupInput{
			Name: &w.Name, VpcId: text(w.VPC), Protocol: types.ProtocolEnum(w.Protocol), ProtocolVersion: text(w.ProtocolVersion), Port: aws.Int32(int32(w.Port)),
			TargetType: types.TargetTypeEnum(w.TargetType), HealthCheckProtocol: types.ProtocolEnum(w.HealthProtocol), HealthCheckPath: text(w.Health.Path),
			HealthCheckIntervalSeconds: secs(w.Health.Interval), HealthCheckTimeoutSeconds: secs(w.Health.Timeout),
			HealthyThresholdCount: aws.Int32(int32(w.Health.Healthy)), UnhealthyThresholdCount: aws.Int32(int32(w.Health.Unhealthy)),
			Matcher: matcher(w), Tags: elbTags(w.Tags),
		}
		out, err := p.api.CreateTargetGroup(ctx, in)
		if is(err, "TooManyTargetGroups") {
			return w, fmt.Errorf("%w: %w", deploy.ErrNoRoom, err)
		}
		if err != nil {
			return w, err
		}
		w.ARN = aws.ToString(out.TargetGroups[0].TargetGroupArn)
	case err != nil:
		return w, err
	default:
		w.ARN = aws.ToString(found.TargetGroups[0].TargetGroupArn)
		if _, err := p.api.ModifyTargetGroup(ctx, &elb.ModifyTargetGroupInput{
			TargetGroupArn: &w.ARN, HealthCheckProtocol: types.ProtocolEnum(w.HealthProtocol), HealthCheckPath: text(w.Health.Path),
			HealthCheckIntervalSeconds: secs(w.Health.Interval), HealthCheckTimeoutSeconds: secs(w.Health.Timeout),
			HealthyThresholdCount: aws.Int32(int32(w.Health.Healthy)), UnhealthyThresholdCount: aws.Int32(int32(w.Health.Unhealthy)), Matcher: matcher(w),
		}); err != nil {
			return w, err
		}
		if _, err := p.api.AddTags(ctx, &elb.AddTagsInput{ResourceArns: []string{w.ARN}, Tags: elbTags(w.Tags)}); err != nil {
			return w, err
		}
	}
	_, err = p.api.ModifyTargetGroupAttributes(ctx, &elb.ModifyTargetGroupAttributesInput{TargetGroupArn: &w.ARN, Attributes: targetGroupAttributes(w)})
	return w, err
}

func matcher(w deploy.TargetGroup) *types.Matcher {
	switch {
	case w.Health.Matcher == "" || w.HealthProtocol == "TCP":
		return nil
	case w.ProtocolVersion == "GRPC":
		return &types.Matcher{GrpcCode: &w.Health.Matcher}
	}
	return &types.Matcher{HttpCode: &w.Health.Matcher}
}

// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetGroupAttribute.html
func targetGroupAttributes(w deploy.TargetGroup) (out []types.TargetGroupAttribute) {
	add := func(k, v string) {
		out = append(out, types.TargetGroupAttribute{Key: aws.String(k), Value: aws.String(v)})
	}
	whole := func(d time.Duration) string { return itoa(int(d / time.Second)) }
	add("deregistration_delay.timeout_seconds", whole(w.Deregistration))
	if w.Protocol == "HTTP" || w.Protocol == "HTTPS" {
		add("slow_start.duration_seconds", whole(w.SlowStart))
		add("stickiness.enabled", strconv.FormatBool(w.Sticky > 0))
		if w.Sticky > 0 {
			add("stickiness.type", "lb_cookie")
			add("stickiness.lb_cookie.duration_seconds", whole(w.Sticky))
		}
	}
	return out
}

func (p *elbPort) DeleteTargetGroup(ctx context.Context, arn string) error {
	_, err := p.api.DeleteTargetGroup(ctx, &elb.DeleteTargetGroupInput{TargetGroupArn: &arn})
	switch {
	case is(err, "ResourceInUse"):
		return fmt.Errorf("%w: %w", deploy.ErrInUse, err)
	case is(err, "TargetGroupNotFound"):
		return nil
	}
	return err
}

// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html
func (p *elbPort) Targets(ctx context.Context, arn string) ([]deploy.TargetHealth, error) {
	out, err := p.api.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: &arn})
	if is(err, "TargetGroupNotFound") {
		return nil, deploy.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	var list []deploy.TargetHealth
	for _, d := range out.TargetHealthDescriptions {
		if d.Target == nil {
			continue
		}
		t := deploy.TargetHealth{ID: aws.ToString(d.Target.Id), Port: int(aws.ToInt32(d.Target.Port)), Zone: aws.ToString(d.Target.AvailabilityZone)}
		if h := d.TargetHealth; h != nil {
			t.State, t.Reason, t.Description = string(h.State), string(h.Reason), aws.ToString(h.Description)
		}
		list = append(list, t)
	}
	return list, nil
}
