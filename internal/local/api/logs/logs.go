package logs

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/logsapi"
)

// Register adds the operations to svc and the tables to db; events are kept below dir, or in memory
// if it is empty.
func Register(svc *wire.Service, db *state.DB, clk clock.Clock, dir string) (*Store, error) {
	s, err := newStore(db, clk, dir)
	if err != nil {
		return nil, err
	}
	wire.Handle(svc, "CreateLogGroup", s.createGroup)
	wire.Handle(svc, "DeleteLogGroup", s.deleteGroup)
	wire.Handle(svc, "DescribeLogGroups", s.describeGroups)
	wire.Handle(svc, "PutRetentionPolicy", s.putRetention)
	wire.Handle(svc, "DeleteRetentionPolicy", s.deleteRetention)
	wire.Handle(svc, "CreateLogStream", s.createStream)
	wire.Handle(svc, "DeleteLogStream", s.deleteStream)
	wire.Handle(svc, "DescribeLogStreams", s.describeStreams)
	wire.Handle(svc, "PutLogEvents", s.putEvents)
	wire.Handle(svc, "GetLogEvents", s.getEvents)
	wire.Handle(svc, "FilterLogEvents", s.filterEvents)
	wire.Handle(svc, "TagResource", s.tag)
	wire.Handle(svc, "UntagResource", s.untag)
	wire.Handle(svc, "ListTagsForResource", s.tags)
	wire.Handle(svc, "ListTagsLogGroup", s.groupTags)
	return s, nil
}

var validGroup = regexp.MustCompile(`^[.\-_/#A-Za-z0-9]{1,512}$`)

func groupARN(region, account, group string) string {
	return fmt.Sprintf("arn:aws:logs:%s:%s:log-group:%s", region, account, group)
}

// groupOf is the group that a name or an identifier (name or ARN) means.
func groupOf(name, identifier *string) string {
	n := cmp.Or(wire.Value(name), wire.Value(identifier))
	if _, after, ok := strings.Cut(n, ":log-group:"); ok {
		n = strings.TrimSuffix(after, ":*")
	}
	return n
}

func noGroup() error {
	return wire.Errorf("ResourceNotFoundException", "The specified log group does not exist.")
}

func noStream() error {
	return wire.Errorf("ResourceNotFoundException", "The specified log stream does not exist.")
}

func (s *Store) createGroup(ctx context.Context, in *logsapi.CreateLogGroupInput) (*logsapi.CreateLogGroupOutput, error) {
	name, who := wire.Value(in.LogGroupName), wire.Caller(ctx)
	if !validGroup.MatchString(name) {
		return nil, wire.Errorf("InvalidParameterException", "1 validation error detected: Value '%s' at 'logGroupName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\.\\-_/#A-Za-z0-9]+", name)
	}
	return &logsapi.CreateLogGroupOutput{}, s.db.Update(func(tx *state.Tx) error {
		if _, ok := s.groups.Get(tx, name); ok {
			return wire.Errorf("ResourceAlreadyExistsException", "The specified log group already exists")
		}
		s.groups.Put(tx, name, &Group{Name: name, ARN: groupARN(who.Region, who.Account, name), Class: cmp.Or(wire.Value(in.LogGroupClass), "STANDARD"),
			KMSKeyID: wire.Value(in.KmsKeyId), Tags: in.Tags, CreatedAt: s.clock.Now()})
		return nil
	})
}

func (s *Store) deleteGroup(_ context.Context, in *logsapi.DeleteLogGroupInput) (*logsapi.DeleteLogGroupOutput, error) {
	name := wire.Value(in.LogGroupName)
	var keys []string
	err := s.db.Update(func(tx *state.Tx) error {
		if !s.groups.Delete(tx, name) {
			return noGroup()
		}
		for key := range s.streams.Prefix(tx, streamKey(name, "")) {
			keys = append(keys, key)
		}
		for _, key := range keys {
			s.streams.Delete(tx, key)
		}
		return nil
	})
	for _, key := range keys {
		if err == nil {
			err = s.forget(key)
		}
	}
	return &logsapi.DeleteLogGroupOutput{}, err
}

func (s *Store) describeGroups(_ context.Context, in *logsapi.DescribeLogGroupsInput) (*logsapi.DescribeLogGroupsOutput, error) {
	prefix, part := wire.Value(in.LogGroupNamePrefix), strings.ToLower(wire.Value(in.LogGroupNamePattern))
	limit := int(cmp.Or(wire.Value(in.Limit), 50))
	out := &logsapi.DescribeLogGroupsOutput{LogGroups: []logsapi.LogGroup{}}
	return out, s.db.View(func(tx *state.Tx) error {
		for name, g := range s.groups.From(tx, max(prefix, wire.Value(in.NextToken))) {
			if !strings.HasPrefix(name, prefix) {
				break
			}
			if !strings.Contains(strings.ToLower(name), part) {
				continue
			}
			if len(out.LogGroups) == limit {
				out.NextToken = wire.Ptr(name)
				break
			}
			lg := logsapi.LogGroup{LogGroupName: &g.Name, Arn: wire.Ptr(g.ARN + ":*"), LogGroupArn: &g.ARN, LogGroupClass: wire.Ptr(cmp.Or(g.Class, "STANDARD")),
				CreationTime: wire.Ptr(g.CreatedAt.UnixMilli()), MetricFilterCount: wire.Ptr[int32](0), KmsKeyId: optional(g.KMSKeyID)}
			if g.Retention > 0 {
				lg.RetentionInDays = wire.Ptr(g.Retention)
			}
			var bytes int64
			for key := range s.streams.Prefix(tx, streamKey(name, "")) {
				_, _, n, _ := s.bounds(key)
				bytes += n
			}
			lg.StoredBytes = &bytes
			out.LogGroups = append(out.LogGroups, lg)
		}
		return nil
	})
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// The days CloudWatch Logs accepts
// (https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html).
var retentions = []int32{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}

func (s *Store) putRetention(_ context.Context, in *logsapi.PutRetentionPolicyInput) (*logsapi.PutRetentionPolicyOutput, error) {
	days := wire.Value(in.RetentionInDays)
	if !slices.Contains(retentions, days) {
		return nil, wire.Errorf("InvalidParameterException", "1 validation error detected: Value '%d' at 'retentionInDays' failed to satisfy constraint: Member must satisfy enum value set: %v", days, retentions)
	}
	return &logsapi.PutRetentionPolicyOutput{}, s.modifyGroup(wire.Value(in.LogGroupName), func(g *Group) { g.Retention = days })
}

func (s *Store) deleteRetention(_ context.Context, in *logsapi.DeleteRetentionPolicyInput) (*logsapi.DeleteRetentionPolicyOutput, error) {
	return &logsapi.DeleteRetentionPolicyOutput{}, s.modifyGroup(wire.Value(in.LogGroupName), func(g *Group) { g.Retention = 0 })
}

func (s *Store) modifyGroup(name string, f func(*Group)) error {
	return s.db.Update(func(tx *state.Tx) error {
		if !s.groups.Modify(tx, name, f) {
			return noGroup()
		}
		return nil
	})
}

func (s *Store) createStream(_ context.Context, in *logsapi.CreateLogStreamInput) (*logsapi.CreateLogStreamOutput, error) {
	group, name := wire.Value(in.LogGroupName), wire.Value(in.LogStreamName)
	if name == "" || len(name) > 512 || strings.ContainsAny(name, ":*") {
		return nil, wire.Errorf("InvalidParameterException", "1 validation error detected: Value '%s' at 'logStreamName' failed to satisfy constraint: Member must satisfy regular expression pattern: [^:*]*", name)
	}
	return &logsapi.CreateLogStreamOutput{}, s.db.Update(func(tx *state.Tx) error {
		g, ok := s.groups.Get(tx, group)
		if !ok {
			return noGroup()
		}
		if _, ok := s.streams.Get(tx, streamKey(group, name)); ok {
			return wire.Errorf("ResourceAlreadyExistsException", "The specified log stream already exists")
		}
		s.streams.Put(tx, streamKey(group, name), &Stream{Group: group, Name: name, ARN: g.ARN + ":log-stream:" + name, CreatedAt: s.clock.Now()})
		return nil
	})
}

func (s *Store) deleteStream(_ context.Context, in *logsapi.DeleteLogStreamInput) (*logsapi.DeleteLogStreamOutput, error) {
	key := streamKey(wire.Value(in.LogGroupName), wire.Value(in.LogStreamName))
	err := s.db.Update(func(tx *state.Tx) error {
		if !s.streams.Delete(tx, key) {
			return noStream()
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &logsapi.DeleteLogStreamOutput{}, s.forget(key)
}

func (s *Store) describeStreams(_ context.Context, in *logsapi.DescribeLogStreamsInput) (*logsapi.DescribeLogStreamsOutput, error) {
	group, prefix := groupOf(in.LogGroupName, in.LogGroupIdentifier), wire.Value(in.LogStreamNamePrefix)
	byTime := wire.Value(in.OrderBy) == "LastEventTime"
	if byTime && prefix != "" {
		return nil, wire.Errorf("InvalidParameterException", "Cannot order by LastEventTime with a logStreamNamePrefix.")
	}
	var all []logsapi.LogStream
	err := s.db.View(func(tx *state.Tx) error {
		if _, ok := s.groups.Get(tx, group); !ok {
			return noGroup()
		}
		for key, st := range s.streams.Prefix(tx, streamKey(group, prefix)) {
			ls := logsapi.LogStream{LogStreamName: &st.Name, Arn: &st.ARN, CreationTime: wire.Ptr(st.CreatedAt.UnixMilli()), StoredBytes: wire.Ptr[int64](0)}
			if first, last, _, some := s.bounds(key); some {
				ls.FirstEventTimestamp, ls.LastEventTimestamp, ls.LastIngestionTime = &first.At, &last.At, &last.Arrived
			}
			all = append(all, ls)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if byTime {
		slices.SortStableFunc(all, func(a, b logsapi.LogStream) int {
			return cmp.Compare(wire.Value(a.LastEventTimestamp), wire.Value(b.LastEventTimestamp))
		})
	}
	if wire.Value(in.Descending) {
		slices.Reverse(all)
	}
	page, next, err := paginate(all, wire.Value(in.NextToken), int(cmp.Or(wire.Value(in.Limit), 50)))
	return &logsapi.DescribeLogStreamsOutput{LogStreams: page, NextToken: next}, err
}

// paginate cuts a page out of all; the token is the offset.
func paginate[T any](all []T, token string, limit int) ([]T, *string, error) {
	from := 0
	if token != "" {
		n, err := strconv.Atoi(token)
		if err != nil || n < 0 || n > len(all) {
			return nil, nil, wire.Errorf("InvalidParameterException", "The specified nextToken is invalid.")
		}
		from = n
	}
	to := min(from+limit, len(all))
	page := append([]T{}, all[from:to]...)
	if to == len(all) {
		return page, nil, nil
	}
	return page, wire.Ptr(strconv.Itoa(to)), nil
}

func (s *Store) tag(_ context.Context, in *logsapi.TagResourceInput) (*logsapi.TagResourceOutput, error) {
	return &logsapi.TagResourceOutput{}, s.modifyGroup(groupOf(in.ResourceArn, nil), func(g *Group) {
		tags := maps.Clone(g.Tags)
		if tags == nil {
			tags = map[string]string{}
		}
		maps.Copy(tags, in.Tags)
		g.Tags = tags
	})
}

func (s *Store) untag(_ context.Context, in *logsapi.UntagResourceInput) (*logsapi.UntagResourceOutput, error) {
	return &logsapi.UntagResourceOutput{}, s.modifyGroup(groupOf(in.ResourceArn, nil), func(g *Group) {
		tags := maps.Clone(g.Tags)
		for _, k := range in.TagKeys {
			delete(tags, k)
		}
		g.Tags = tags
	})
}

func (s *Store) tags(_ context.Context, in *logsapi.ListTagsForResourceInput) (*logsapi.ListTagsForResourceOutput, error) {
	tags, err := s.tagsOf(groupOf(in.ResourceArn, nil))
	return &logsapi.ListTagsForResourceOutput{Tags: tags}, err
}

func (s *Store) groupTags(_ context.Context, in *logsapi.ListTagsLogGroupInput) (*logsapi.ListTagsLogGroupOutput, error) {
	tags, err := s.tagsOf(wire.Value(in.LogGroupName))
	return &logsapi.ListTagsLogGroupOutput{Tags: tags}, err
}

func (s *Store) tagsOf(group string) (map[string]string, error) {
	tags := map[string]string{}
	return tags, s.db.View(func(tx *state.Tx) error {
		g, ok := s.groups.Get(tx, group)
		if !ok {
			return noGroup()
		}
		maps.Copy(tags, g.Tags)
		return nil
	})
}
