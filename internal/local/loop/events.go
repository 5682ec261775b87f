package loop

import (
	"fmt"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
)

// The texts are those of
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html in the
// form that DescribeServices returns.

const keptEvents = 100

// event writes a service event and drops the oldest beyond 100.
func (s *Services) event(tx *state.Tx, svc *state.Service, format string, args ...any) {
	s.put(tx, svc, fmt.Sprintf("(service "+svc.Name+") "+format, args...))
}

func (s *Services) put(tx *state.Tx, svc *state.Service, message string) {
	now, key := s.cfg.Clock.Now(), state.ServiceKey(svc.ClusterName, svc.Name)
	s.seq++
	// A UUID of the time-ordered kind, so that events sort by their ids.
	ms := uint64(now.UnixMilli())
	id := fmt.Sprintf("%08x-%04x-7%03x-8%03x-%s", ms>>16, ms&0xffff, s.seq>>12&0xfff, s.seq&0xfff, hexID(12))
	s.cfg.State.ServiceEvents.Put(tx, key+"/"+id, &state.ServiceEvent{ID: id, ServiceKey: key, Message: message, At: now})
	var keys []string
	for k := range s.cfg.State.ServiceEvents.Prefix(tx, key+"/") {
		keys = append(keys, k)
	}
	for len(keys) > keptEvents {
		s.cfg.State.ServiceEvents.Delete(tx, keys[0])
		keys = keys[1:]
	}
}

// repeat writes an event unless the newest says the same and is younger than every.
func (s *Services) repeat(tx *state.Tx, svc *state.Service, every time.Duration, format string, args ...any) {
	message := fmt.Sprintf("(service "+svc.Name+") "+format, args...)
	var newest *state.ServiceEvent
	for _, e := range s.cfg.State.ServiceEvents.Prefix(tx, state.ServiceKey(svc.ClusterName, svc.Name)+"/") {
		newest = e
	}
	if newest != nil && newest.Message == message && s.cfg.Clock.Now().Sub(newest.At) < every {
		return
	}
	s.put(tx, svc, message)
}

// taskList is "(task a) (task b)".
func taskList(ids []string) string {
	return "(task " + strings.Join(ids, ") (task ") + ")"
}
