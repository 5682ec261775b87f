package logs

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
)

// Writer is what the awslogs driver writes a container's output to: each line becomes an event of
// the stream. With create the group is made if it is not there (awslogs-create-group); otherwise a
// missing group is an error, as on AWS.
func (s *Store) Writer(region, account, group, stream string, create bool) (io.WriteCloser, error) {
	err := s.db.Update(func(tx *state.Tx) error {
		if _, ok := s.groups.Get(tx, group); !ok {
			if !create {
				return fmt.Errorf("failed to create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist")
			}
			s.groups.Put(tx, group, &Group{Name: group, ARN: groupARN(region, account, group), CreatedAt: s.clock.Now()})
		}
		key := streamKey(group, stream)
		if _, ok := s.streams.Get(tx, key); !ok {
			s.streams.Put(tx, key, &Stream{Group: group, Name: stream, CreatedAt: s.clock.Now(), ARN: groupARN(region, account, group) + ":log-stream:" + stream})
		}
		return nil
	})
	return &writer{s: s, key: streamKey(group, stream)}, err
}

// maxLine is the longest event (https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html); the
// docker driver cuts at 256 KiB less the overhead.
const maxLine = 256<<10 - 26

type writer struct {
	s   *Store
	key string
	mu  sync.Mutex
	buf []byte
}

func (w *writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = append(w.buf, p...)
	var out []Event
	for {
		i := bytes.IndexByte(w.buf, '\n')
		if i < 0 && len(w.buf) < maxLine {
			break
		}
		line, skip := w.buf[:min(maxLine, len(w.buf))], 0
		if i >= 0 && i <= maxLine {
			line, skip = w.buf[:i], 1
		}
		out = append(out, w.event(line))
		w.buf = w.buf[len(line)+skip:]
	}
	if len(out) == 0 {
		return len(p), nil
	}
	return len(p), w.s.append(w.key, out)
}

func (w *writer) event(line []byte) Event {
	now := w.s.clock.Now().UnixMilli()
	return Event{At: now, Arrived: now, Message: string(bytes.TrimSuffix(line, []byte("\r")))}
}

// Close writes what is left of a last line without an end.
func (w *writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.buf) == 0 {
		return nil
	}
	last := w.event(w.buf)
	w.buf = nil
	return w.s.append(w.key, []Event{last})
}

// Expire drops events older than their group's retention and forgets nothing else.
func (s *Store) Expire(now time.Time) {
	type old struct {
		key    string
		before int64
	}
	var olds []old
	_ = s.db.View(func(tx *state.Tx) error {
		for key, st := range s.streams.All(tx) {
			if g, ok := s.groups.Get(tx, st.Group); ok && g.Retention > 0 {
				olds = append(olds, old{key, now.Add(-time.Duration(g.Retention) * 24 * time.Hour).UnixMilli()})
			}
		}
		return nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range olds {
		if e, ok := s.events[o.key]; ok {
			n := 0
			for n < len(e.list) && e.list[n].At < o.before {
				n++
			}
			e.list = e.list[n:]
		}
	}
}
