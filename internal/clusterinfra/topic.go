package clusterinfra

import (
	"context"
	"fmt"
	"net/mail"
	"slices"
	"strings"
)

// AlarmTopic is the SNS topic that alarms of the cluster's services tell.
type AlarmTopic struct {
	ARN    string   // an existing one, used and never changed
	Emails []string // each gets a mail with a link, and is told of alarms once that was followed
	URLs   []string // https addresses, which confirm by themselves
}

// Topics are SNS topics.
type Topics interface {
	// Topic finds one by name, with its subscribers.
	Topic(ctx context.Context, name string) (Topic, error)
	// PutTopic creates the topic or changes its tags, and subscribes and unsubscribes. Who has not confirmed cannot be
	// unsubscribed: SNS forgets them by itself.
	PutTopic(ctx context.Context, want Topic) (Topic, error)
	DeleteTopic(ctx context.Context, arn string) error
}

// Topic is an SNS topic.
type Topic struct {
	Name, ARN string
	Emails    []string
	URLs      []string
	Tags      map[string]string
}

func (n names) topic() string { return "slipway-" + n.cluster + "-alarms" }

func (t *AlarmTopic) check(where string) error {
	if t == nil {
		return nil
	}
	if t.ARN != "" && len(t.Emails)+len(t.URLs) > 0 {
		return refuse("%s: the alarm topic is given by its arn; subscribe to it where it is made", where)
	}
	for _, e := range t.Emails {
		if a, err := mail.ParseAddress(e); err != nil || a.Address != e {
			return refuse("%s: %q is no e-mail address", where, e)
		}
	}
	for _, u := range t.URLs {
		if !strings.HasPrefix(u, "https://") && !strings.HasPrefix(u, "http://") {
			return refuse("%s: %q is no http or https address", where, u)
		}
	}
	return nil
}

func (a *build) topic(ctx context.Context) error {
	t := a.s.AlarmTopic
	have, err := a.ports.Topics.Topic(ctx, a.n.topic())
	found, err := there(err)
	if err != nil {
		return fmt.Errorf("reading topic %s: %w", a.n.topic(), err)
	}
	if t == nil || t.ARN != "" {
		if !found || !owned(have.Tags, a.s.Name) { // not one that an earlier spec asked for
			return nil
		}
		r := &removal{Clusters: a.Clusters, name: a.s.Name, n: a.n, report: a.report}
		return r.topic(ctx)
	}
	want := Topic{Name: a.n.topic(), Emails: t.Emails, URLs: t.URLs, Tags: a.tags}
	if found && sameSet(have.Emails, want.Emails) && sameSet(have.URLs, want.URLs) && within(want.Tags, have.Tags) {
		a.said("alarm topic", "keep", "alarm topic %s", want.Name)
		return nil
	}
	if _, err := a.ports.Topics.PutTopic(ctx, want); err != nil {
		return fmt.Errorf("keeping topic %s: %w", want.Name, err)
	}
	a.said("alarm topic", verb(found), "alarm topic %s tells %d", want.Name, len(want.Emails)+len(want.URLs))
	return nil
}

func (c *Clusters) readTopic(ctx context.Context, n names, s *State) error {
	t, err := c.ports.Topics.Topic(ctx, n.topic())
	found, err := there(err)
	if err != nil {
		return fmt.Errorf("reading topic %s: %w", n.topic(), err)
	}
	if found && owned(t.Tags, n.cluster) {
		slices.Sort(t.Emails)
		slices.Sort(t.URLs)
		s.AlarmTopic = &t
	}
	return nil
}

func (r *removal) topic(ctx context.Context) error {
	t, err := r.ports.Topics.Topic(ctx, r.n.topic())
	found, err := there(err)
	if err != nil {
		return fmt.Errorf("reading topic %s: %w", r.n.topic(), err)
	}
	if !found || !owned(t.Tags, r.name) {
		return nil
	}
	if err := r.ports.Topics.DeleteTopic(ctx, t.ARN); err != nil {
		return fmt.Errorf("deleting topic %s: %w", t.Name, err)
	}
	r.gone("alarm topic", t.Name)
	return nil
}
