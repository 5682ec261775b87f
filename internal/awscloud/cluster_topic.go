package awscloud

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"

	"github.com/slipway-ecs/slipway/internal/clusterinfra"
)

// topicPort finds topics by name: their ARNs are made of it, the account and the region.
type topicPort struct {
	api   *sns.Client
	cloud *Cloud
}

func (p topicPort) Topic(ctx context.Context, name string) (clusterinfra.Topic, error) {
	id, err := p.cloud.Identity(ctx)
	if err != nil {
		return clusterinfra.Topic{}, err
	}
	t := clusterinfra.Topic{Name: name, ARN: fmt.Sprintf("arn:%s:sns:%s:%s:%s", id.Partition, p.cloud.Region(), id.Account, name), Tags: map[string]string{}}
	subscribed, err := p.subscriptions(ctx, t.ARN)
	if is(err, "NotFound", "NotFoundException") {
		return clusterinfra.Topic{}, clusterinfra.ErrNotFound
	}
	if err != nil {
		return t, err
	}
	for _, s := range subscribed {
		switch aws.ToString(s.Protocol) {
		case "email":
			t.Emails = append(t.Emails, aws.ToString(s.Endpoint))
		case "http", "https":
			t.URLs = append(t.URLs, aws.ToString(s.Endpoint))
		}
	}
	tags, err := p.api.ListTagsForResource(ctx, &sns.ListTagsForResourceInput{ResourceArn: &t.ARN})
	if err != nil {
		return t, err
	}
	for _, tag := range tags.Tags {
		t.Tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	return t, nil
}

// https://docs.aws.amazon.com/sns/latest/api/API_ListSubscriptionsByTopic.html
func (p topicPort) subscriptions(ctx context.Context, arn string) (out []types.Subscription, err error) {
	pages := sns.NewListSubscriptionsByTopicPaginator(p.api, &sns.ListSubscriptionsByTopicInput{TopicArn: &arn})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		out = append(out, page.Subscriptions...)
	}
	return out, nil
}

// https://docs.aws.amazon.com/sns/latest/api/API_CreateTopic.html, which returns the topic that is there.
func (p topicPort) PutTopic(ctx context.Context, w clusterinfra.Topic) (clusterinfra.Topic, error) {
	made, err := p.api.CreateTopic(ctx, &sns.CreateTopicInput{Name: &w.Name})
	if err != nil {
		return w, err
	}
	w.ARN = aws.ToString(made.TopicArn)
	if tags := snsTags(w.Tags); len(tags) > 0 {
		if _, err := p.api.TagResource(ctx, &sns.TagResourceInput{ResourceArn: &w.ARN, Tags: tags}); err != nil {
			return w, fmt.Errorf("tagging it: %w", err)
		}
	}
	have, err := p.subscriptions(ctx, w.ARN)
	if err != nil {
		return w, err
	}
	for _, s := range have {
		wanted := w.URLs
		if aws.ToString(s.Protocol) == "email" {
			wanted = w.Emails
		}
		ours := slices.Contains([]string{"email", "http", "https"}, aws.ToString(s.Protocol))
		if !ours || slices.Contains(wanted, aws.ToString(s.Endpoint)) || !strings.HasPrefix(aws.ToString(s.SubscriptionArn), "arn:") {
			continue
		}
		if _, err := p.api.Unsubscribe(ctx, &sns.UnsubscribeInput{SubscriptionArn: s.SubscriptionArn}); err != nil {
			return w, fmt.Errorf("unsubscribing %s: %w", aws.ToString(s.Endpoint), err)
		}
	}
	subscribe := func(protocol, endpoint string) error {
		if slices.ContainsFunc(have, func(s types.Subscription) bool {
			return aws.ToString(s.Protocol) == protocol && aws.ToString(s.Endpoint) == endpoint
		}) {
			return nil
		}
		if _, err := p.api.Subscribe(ctx, &sns.SubscribeInput{TopicArn: &w.ARN, Protocol: &protocol, Endpoint: &endpoint}); err != nil {
			return fmt.Errorf("subscribing %s: %w", endpoint, err)
		}
		return nil
	}
	for _, e := range w.Emails {
		if err := subscribe("email", e); err != nil {
			return w, err
		}
	}
	for _, u := range w.URLs {
		protocol, _, _ := strings.Cut(u, ":")
		if err := subscribe(protocol, u); err != nil {
			return w, err
		}
	}
	return p.Topic(ctx, w.Name)
}

func (p topicPort) DeleteTopic(ctx context.Context, arn string) error {
	_, err := p.api.DeleteTopic(ctx, &sns.DeleteTopicInput{TopicArn: &arn})
	return err
}

func snsTags(tags map[string]string) (out []types.Tag) {
	for _, k := range sortedKeys(tags) {
		out = append(out, types.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
	}
	return out
}
