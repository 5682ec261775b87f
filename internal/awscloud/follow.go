package awscloud

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
)

// LogLine is one line a container wrote.
type LogLine struct {
	At        time.Time `json:"at"`
	Container string    `json:"container"`
	Task      string    `json:"task"`
	Message   string    `json:"message"`
}

// LogQuery says which lines are wanted.
type LogQuery struct {
	Group     string
	Prefix    string    // stream prefix: the service's name
	Container string    // empty: all
	Task      string    // id or its beginning; empty: all
	Since     time.Time // zero: from the beginning
	Pattern   string    // CloudWatch Logs filter pattern
	Follow    bool      // go on until the context ends

	// Until ends a Follow, when it is closed, after one more look.
	Until <-chan struct{}
}

// How often new lines are looked for, and how late a line may appear behind younger ones: CloudWatch
// Logs takes some seconds to show what was written.
const (
	followEvery = time.Second
	followLate  = 10 * time.Second
)

// Logs passes the lines on, oldest first. With Follow it ends without an error when ctx does.
// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html
func (c *Cloud) Logs(ctx context.Context, q LogQuery, line func(LogLine)) error {
	api := cloudwatchlogs.NewFromConfig(c.cfg)
	seen := map[string]time.Time{} // ids of the lines of the last moments, which are asked for again
	since := q.Since
	for {
		last := closed(q.Until)
		newest, err := filterLogs(ctx, api, q, since, seen, line)
		switch {
		case q.Follow && ctx.Err() != nil:
			return nil
		case q.Follow && is(err, "ResourceNotFoundException"): // nothing was written yet
		case err != nil:
			return fmt.Errorf("reading log group %s: %w", q.Group, err)
		}
		if !q.Follow || last {
			return nil
		}
		if late := newest.Add(-followLate); late.After(since) {
			since = late
			for id, at := range seen {
				if at.Before(since) {
					delete(seen, id)
				}
			}
		}
		select {
		case <-time.After(followEvery):
		case <-q.Until:
		case <-ctx.Done():
			return nil
		}
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func filterLogs(ctx context.Context, api *cloudwatchlogs.Client, q LogQuery, since time.Time, seen map[string]time.Time, line func(LogLine)) (newest time.Time, err error) {
	in := &cloudwatchlogs.FilterLogEventsInput{LogGroupName: &q.Group, FilterPattern: text(q.Pattern)}
	if !since.IsZero() {
		in.StartTime = aws.Int64(since.UnixMilli())
	}
	if q.Prefix != "" {
		prefix := q.Prefix + "/"
		if q.Container != "" {
			prefix += q.Container + "/" + q.Task
		}
		in.LogStreamNamePrefix = &prefix
	}
	var lines []LogLine
	for {
		page, err := api.FilterLogEvents(ctx, in)
		if err != nil {
			return newest, err
		}
		for _, e := range page.Events {
			at, id := time.UnixMilli(aws.ToInt64(e.Timestamp)), aws.ToString(e.EventId)
			if _, again := seen[id]; again {
				continue
			}
			l := LogLine{At: at, Message: strings.TrimRight(aws.ToString(e.Message), "\r\n")}
			if parts := strings.Split(aws.ToString(e.LogStreamName), "/"); len(parts) >= 3 {
				l.Container, l.Task = parts[len(parts)-2], parts[len(parts)-1]
			}
			if q.Task != "" && !strings.HasPrefix(l.Task, q.Task) {
				continue
			}
			if q.Follow {
				seen[id] = at
			}
			if at.After(newest) {
				newest = at
			}
			lines = append(lines, l)
		}
		if aws.ToString(page.NextToken) == "" {
			break
		}
		in.NextToken = page.NextToken
	}
	slices.SortStableFunc(lines, func(a, b LogLine) int { return a.At.Compare(b.At) })
	for _, l := range lines {
		line(l)
	}
	return newest, nil
}
