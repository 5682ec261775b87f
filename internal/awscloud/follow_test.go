package awscloud

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
)

func TestLogsAreFollowed(t *testing.T) {
	c := openAt(t, startLocalWith(t, "virtual", 1))
	api := cloudwatchlogs.NewFromConfig(c.cfg)
	group := aws.String("/ecs/main/app-qa")
	put := func(stream, text string) {
		_, err := api.CreateLogStream(t.Context(), &cloudwatchlogs.CreateLogStreamInput{LogGroupName: group, LogStreamName: &stream})
		if is(err, "ResourceAlreadyExistsException") {
			err = nil
		}
		_, putErr := api.PutLogEvents(t.Context(), &cloudwatchlogs.PutLogEventsInput{LogGroupName: group, LogStreamName: &stream,
			LogEvents: []types.InputLogEvent{{Message: &text, Timestamp: aws.Int64(time.Now().UnixMilli())}}})
		if err := errors.Join(err, putErr); err != nil {
			t.Error(err)
		}
	}
	if _, err := api.CreateLogGroup(t.Context(), &cloudwatchlogs.CreateLogGroupInput{LogGroupName: group}); err != nil {
		t.Fatal(err)
	}
	put("app/app/task1", "one")
	put("app/sidecar/task1", "two")
	put("other/app/task2", "three")
	read := func(q LogQuery) (out []string) {
		q.Group = *group
		if err := c.Logs(t.Context(), q, func(l LogLine) { out = append(out, l.Container+" "+l.Task+" "+l.Message) }); err != nil {
			t.Error(err)
		}
		return out
	}
	if got := read(LogQuery{Prefix: "app"}); len(got) != 2 || got[0] != "app task1 one" || got[1] != "sidecar task1 two" {
		t.Errorf("lines %q", got)
	}
	if got := read(LogQuery{Prefix: "app", Container: "app"}); len(got) != 1 {
		t.Errorf("lines %q", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var got []string
	if err := c.Logs(ctx, LogQuery{Group: *group, Prefix: "app", Follow: true}, func(l LogLine) {
		if got = append(got, l.Message); l.Message == "two" {
			put("app/app/task3", "four")
		}
		if l.Message == "four" {
			cancel()
		}
	}); err != nil || len(got) != 3 {
		t.Errorf("followed %q, %v", got, err)
	}
	missing := c.Logs(t.Context(), LogQuery{Group: "/none"}, func(LogLine) {})
	if missing == nil {
		t.Error("a group that is not there has lines")
	}
}
