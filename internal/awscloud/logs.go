package awscloud

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"

	"github.com/slipway-ecs/slipway/internal/deploy"
)

// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DescribeLogGroups.html
func (p *logsPort) LogGroup(ctx context.Context, name string) (deploy.LogGroup, error) {
	in := &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: &name}
	for {
		page, err := p.api.DescribeLogGroups(ctx, in)
		if err != nil {
			return deploy.LogGroup{}, err
		}
		for _, g := range page.LogGroups {
			if aws.ToString(g.LogGroupName) != name {
				continue
			}
			out := deploy.LogGroup{Name: name, Retention: int(aws.ToInt32(g.RetentionInDays))}
			arn := strings.TrimSuffix(aws.ToString(g.Arn), ":*") // tags go by the ARN without it
			tags, err := p.api.ListTagsForResource(ctx, &cloudwatchlogs.ListTagsForResourceInput{ResourceArn: &arn})
			if is(err, "ResourceNotFoundException") {
				return out, deploy.ErrNotFound
			}
			if err != nil {
				return out, err
			}
			out.Tags = tags.Tags
			return out, nil
		}
		if aws.ToString(page.NextToken) == "" {
			return deploy.LogGroup{}, deploy.ErrNotFound
		}
		in.NextToken = page.NextToken
	}
}

func (p *logsPort) PutLogGroup(ctx context.Context, w deploy.LogGroup) error {
	_, err := p.api.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: &w.Name, Tags: w.Tags})
	switch {
	case is(err, "ResourceAlreadyExistsException"):
		if err := p.tag(ctx, w); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	if w.Retention == 0 {
		_, err := p.api.DeleteRetentionPolicy(ctx, &cloudwatchlogs.DeleteRetentionPolicyInput{LogGroupName: &w.Name})
		return err
	}
	_, err = p.api.PutRetentionPolicy(ctx, &cloudwatchlogs.PutRetentionPolicyInput{LogGroupName: &w.Name, RetentionInDays: aws.Int32(int32(w.Retention))})
	return err
}

func (p *logsPort) tag(ctx context.Context, w deploy.LogGroup) error {
	if len(w.Tags) == 0 {
		return nil
	}
	page, err := p.api.DescribeLogGroups(ctx, &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: &w.Name})
	if err != nil {
		return err
	}
	for _, g := range page.LogGroups {
		if aws.ToString(g.LogGroupName) == w.Name {
			arn := strings.TrimSuffix(aws.ToString(g.Arn), ":*")
			_, err := p.api.TagResource(ctx, &cloudwatchlogs.TagResourceInput{ResourceArn: &arn, Tags: w.Tags})
			return err
		}
	}
	return nil
}

func (p *logsPort) DeleteLogGroup(ctx context.Context, name string) error {
	_, err := p.api.DeleteLogGroup(ctx, &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: &name})
	if is(err, "ResourceNotFoundException") {
		return nil
	}
	return err
}

// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html
func (p *logsPort) Tail(ctx context.Context, group, stream string, lines int) ([]string, error) {
	out, err := p.api.GetLogEvents(ctx, &cloudwatchlogs.GetLogEventsInput{LogGroupName: &group, LogStreamName: &stream, Limit: aws.Int32(int32(lines)), StartFromHead: aws.Bool(false)})
	if is(err, "ResourceNotFoundException") {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var text []string
	for _, e := range out.Events {
		text = append(text, aws.ToString(e.Message))
	}
	return text, nil
}
