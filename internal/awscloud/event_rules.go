package awscloud

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"github.com/slipway-ecs/slipway/internal/deploy"
)

// eventRulePort speaks to EventBridge.
type eventRulePort struct{ api *eventbridge.Client }

// https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DescribeRule.html
func (p eventRulePort) EventRule(ctx context.Context, name string) (deploy.EventRule, error) {
	out, err := p.api.DescribeRule(ctx, &eventbridge.DescribeRuleInput{Name: &name})
	if is(err, "ResourceNotFoundException") {
		return deploy.EventRule{}, deploy.ErrNotFound
	}
	if err != nil {
		return deploy.EventRule{}, err
	}
	r := deploy.EventRule{Name: name, Pattern: aws.ToString(out.EventPattern), Description: aws.ToString(out.Description), Enabled: out.State == types.RuleStateEnabled, Tags: map[string]string{}}
	tags, err := p.api.ListTagsForResource(ctx, &eventbridge.ListTagsForResourceInput{ResourceARN: out.Arn})
	if err != nil {
		return r, err
	}
	for _, t := range tags.Tags {
		r.Tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return r, nil
}

// PutEventRule tags separately: PutRule ignores the tags of a rule that is there.
// https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html
func (p eventRulePort) PutEventRule(ctx context.Context, w deploy.EventRule) error {
	var tags []types.Tag
	for _, k := range sortedKeys(w.Tags) {
		tags = append(tags, types.Tag{Key: aws.String(k), Value: aws.String(w.Tags[k])})
	}
	out, err := p.api.PutRule(ctx, &eventbridge.PutRuleInput{Name: &w.Name, EventPattern: &w.Pattern, Description: &w.Description, State: types.RuleStateEnabled})
	if err != nil || len(tags) == 0 {
		return err
	}
	_, err = p.api.TagResource(ctx, &eventbridge.TagResourceInput{ResourceARN: out.RuleArn, Tags: tags})
	return err
}

func (p eventRulePort) DeleteEventRule(ctx context.Context, name string) error {
	_, err := p.api.DeleteRule(ctx, &eventbridge.DeleteRuleInput{Name: &name})
	if is(err, "ResourceNotFoundException") {
		return nil
	}
	return err
}
