package logs

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/logsapi"
)

func (s *Store) putEvents(_ context.Context, in *logsapi.PutLogEventsInput) (*logsapi.PutLogEventsOutput, error) {
	key := streamKey(wire.Value(in.LogGroupName), wire.Value(in.LogStreamName))
	if err := s.check(wire.Value(in.LogGroupName), wire.Value(in.LogStreamName)); err != nil {
		return nil, err
	}
	if len(in.LogEvents) == 0 || len(in.LogEvents) > 10_000 {
		return nil, wire.Errorf("InvalidParameterException", "Log events in a single PutLogEvents request must be between 1 and 10000.")
	}
	now := s.clock.Now()
	out := &logsapi.PutLogEventsOutput{NextSequenceToken: wire.Ptr(fmt.Sprintf("%056d", now.UnixNano()))}
	var add []Event
	for i, e := range in.LogEvents {
		at := wire.Value(e.Timestamp)
		switch {
		case i > 0 && at < wire.Value(in.LogEvents[i-1].Timestamp):
			return nil, wire.Errorf("InvalidParameterException", "Log events in a single PutLogEvents request must be in chronological order.")
		case at > now.Add(2*time.Hour).UnixMilli():
			if out.RejectedLogEventsInfo == nil {
				out.RejectedLogEventsInfo = &logsapi.RejectedLogEventsInfo{TooNewLogEventStartIndex: wire.Ptr(int32(i))}
			}
		case at < now.Add(-14*24*time.Hour).UnixMilli():
			out.RejectedLogEventsInfo = &logsapi.RejectedLogEventsInfo{TooOldLogEventEndIndex: wire.Ptr(int32(i + 1))}
		default:
			add = append(add, Event{At: at, Arrived: now.UnixMilli(), Message: wire.Value(e.Message)})
		}
	}
	return out, s.append(key, add)
}

func (s *Store) check(group, stream string) error {
	return s.db.View(func(tx *state.Tx) error {
		if _, ok := s.groups.Get(tx, group); !ok {
			return noGroup()
		}
		if _, ok := s.streams.Get(tx, streamKey(group, stream)); !ok {
			return noStream()
		}
		return nil
	})
}

// getEvents pages in both directions. A token is a direction and the sequence number to go on from;
// at an end the same token comes back, which is how clients know.
func (s *Store) getEvents(_ context.Context, in *logsapi.GetLogEventsInput) (*logsapi.GetLogEventsOutput, error) {
	group, stream := groupOf(in.LogGroupName, in.LogGroupIdentifier), wire.Value(in.LogStreamName)
	if err := s.check(group, stream); err != nil {
		return nil, err
	}
	all, err := s.read(streamKey(group, stream), wire.Value(in.StartTime), endTime(in.EndTime))
	if err != nil {
		return nil, err
	}
	limit := int(cmp.Or(wire.Value(in.Limit), 10_000))
	from, to, err := window(all, wire.Value(in.NextToken), wire.Value(in.StartFromHead), limit)
	if err != nil {
		return nil, err
	}
	out := &logsapi.GetLogEventsOutput{Events: []logsapi.OutputLogEvent{}}
	for _, e := range all[from:to] {
		out.Events = append(out.Events, logsapi.OutputLogEvent{Timestamp: wire.Ptr(e.At), IngestionTime: wire.Ptr(e.Arrived), Message: wire.Ptr(e.Message)})
	}
	out.NextForwardToken, out.NextBackwardToken = wire.Ptr("f/"+strconv.Itoa(to)), wire.Ptr("b/"+strconv.Itoa(from))
	return out, nil
}

// endTime makes AWS's exclusive end inclusive; 0 is no end.
func endTime(t *int64) int64 {
	if t == nil {
		return 0
	}
	return *t - 1
}

func window(all []Event, token string, head bool, limit int) (from, to int, err error) {
	dir, pos, ok := strings.Cut(token, "/")
	n, convErr := strconv.Atoi(pos)
	switch {
	case token == "" && head:
		return 0, min(limit, len(all)), nil
	case token == "":
		return max(0, len(all)-limit), len(all), nil
	case !ok || convErr != nil || n < 0 || dir != "f" && dir != "b":
		return 0, 0, wire.Errorf("InvalidParameterException", "The specified nextToken is invalid.")
	case dir == "f":
		n = min(n, len(all))
		return n, min(n+limit, len(all)), nil
	}
	n = min(n, len(all))
	return max(0, n-limit), n, nil
}

// filterEvents merges the streams of a group by time.
func (s *Store) filterEvents(_ context.Context, in *logsapi.FilterLogEventsInput) (*logsapi.FilterLogEventsOutput, error) {
	group := groupOf(in.LogGroupName, in.LogGroupIdentifier)
	p, err := parsePattern(wire.Value(in.FilterPattern))
	if err != nil {
		return nil, err
	}
	if len(in.LogStreamNames) > 0 && in.LogStreamNamePrefix != nil {
		return nil, wire.Errorf("InvalidParameterException", "logStreamNames and logStreamNamePrefix are mutually exclusive.")
	}
	var names []string
	err = s.db.View(func(tx *state.Tx) error {
		if _, ok := s.groups.Get(tx, group); !ok {
			return noGroup()
		}
		for _, n := range in.LogStreamNames {
			if _, ok := s.streams.Get(tx, streamKey(group, n)); !ok {
				return noStream()
			}
			names = append(names, n)
		}
		if len(names) == 0 {
			for _, st := range s.streams.Prefix(tx, streamKey(group, wire.Value(in.LogStreamNamePrefix))) {
				names = append(names, st.Name)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	type found struct {
		stream string
		Event
	}
	var all []found
	for _, n := range names {
		events, err := s.read(streamKey(group, n), wire.Value(in.StartTime), endTime(in.EndTime))
		if err != nil {
			return nil, err
		}
		for _, e := range events {
			if p.match(e.Message) {
				all = append(all, found{n, e})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b found) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Seq, b.Seq)) })
	page, next, err := paginate(all, wire.Value(in.NextToken), int(cmp.Or(wire.Value(in.Limit), 10_000)))
	if err != nil {
		return nil, err
	}
	out := &logsapi.FilterLogEventsOutput{Events: []logsapi.FilteredLogEvent{}, SearchedLogStreams: []logsapi.SearchedLogStream{}, NextToken: next}
	for _, f := range page {
		out.Events = append(out.Events, logsapi.FilteredLogEvent{LogStreamName: wire.Ptr(f.stream), Timestamp: wire.Ptr(f.At), IngestionTime: wire.Ptr(f.Arrived),
			Message: wire.Ptr(f.Message), EventId: wire.Ptr(fmt.Sprintf("%056d", f.Seq))})
	}
	return out, nil
}
