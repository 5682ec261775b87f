// Package logs is CloudWatch Logs of the local AWS: groups, streams and events, kept on disk beside
// the state, searched with the filter pattern language's terms.
package logs

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
)

// Group is a log group. Key: name.
type Group struct {
	Name, ARN, Class, KMSKeyID string
	Retention                  int32 // days; 0: never expire
	Tags                       map[string]string
	CreatedAt                  time.Time
}

// Stream is a log stream. Key: group + "\x00" + name.
type Stream struct {
	Group, Name, ARN string
	CreatedAt        time.Time
}

// Event is one log event; times in Unix milliseconds.
type Event struct {
	Seq     int64  `json:"s"`
	At      int64  `json:"t"`
	Arrived int64  `json:"i"`
	Message string `json:"m"`
}

// Store keeps groups and streams in the state and events in one append-only file a stream.
type Store struct {
	db      *state.DB
	groups  *state.Table[Group]
	streams *state.Table[Stream]
	clock   clock.Clock
	dir     string // "" = events in memory only

	mu     sync.Mutex
	seq    int64
	events map[string]*events // by stream key
}

type events struct {
	list []Event // by time, then arrival
	file *os.File
}

// maxEvents bounds what is kept of a stream: a laptop is not an archive.
const maxEvents = 50_000

func newStore(db *state.DB, clk clock.Clock, dir string) (*Store, error) {
	s := &Store{db: db, clock: clk, dir: dir, events: map[string]*events{}}
	var err1, err2 error
	s.groups, err1 = state.NewTable[Group](db, "logs.groups")
	s.streams, err2 = state.NewTable[Stream](db, "logs.streams")
	if err := errors.Join(err1, err2); err != nil || dir == "" {
		return s, err
	}
	s.dir = filepath.Join(dir, "logs")
	return s, os.MkdirAll(s.dir, 0o700)
}

// Close closes the streams' files.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for _, e := range s.events {
		if e.file != nil {
			err = errors.Join(err, e.file.Close())
		}
	}
	clear(s.events)
	return err
}

func streamKey(group, stream string) string { return group + "\x00" + stream }

func (s *Store) path(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(s.dir, hex.EncodeToString(sum[:16])+".ndjson")
}

// load returns the events of a stream, reading its file the first time. Call it with mu held.
func (s *Store) load(key string) (*events, error) {
	if e, ok := s.events[key]; ok {
		return e, nil
	}
	e := &events{}
	if s.dir != "" {
		if err := e.open(s.path(key)); err != nil {
			return nil, err
		}
		for _, ev := range e.list {
			s.seq = max(s.seq, ev.Seq)
		}
	}
	s.events[key] = e
	return e, nil
}

func (e *events) open(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("opening a log stream: %w", err)
	}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var ev Event
		if json.Unmarshal(lines.Bytes(), &ev) == nil { // the last line may be cut off by a crash
			e.list = append(e.list, ev)
		}
	}
	e.file = f
	e.sort()
	return lines.Err()
}

func (e *events) sort() {
	slices.SortStableFunc(e.list, func(a, b Event) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Seq, b.Seq)) })
	if extra := len(e.list) - maxEvents; extra > 0 {
		e.list = slices.Clone(e.list[extra:])
	}
}

// Append adds events to a stream of the store; the caller has seen to its existence.
func (s *Store) append(key string, add []Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.load(key)
	if err != nil {
		return err
	}
	var lines []byte
	ordered := true
	for _, ev := range add {
		s.seq++
		ev.Seq = s.seq
		if n := len(e.list); n > 0 && e.list[n-1].At > ev.At {
			ordered = false
		}
		e.list = append(e.list, ev)
		if e.file != nil {
			line, err := json.Marshal(ev)
			if err != nil {
				return err
			}
			lines = append(append(lines, line...), '\n')
		}
	}
	if !ordered || len(e.list) > maxEvents+maxEvents/10 {
		e.sort()
	}
	if e.file == nil {
		return nil
	}
	_, err = e.file.Write(lines)
	return err
}

// read returns the events of a stream between two times, oldest first.
func (s *Store) read(key string, from, to int64) ([]Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.load(key)
	if err != nil {
		return nil, err
	}
	lo, _ := slices.BinarySearchFunc(e.list, from, func(ev Event, t int64) int { return cmp.Compare(ev.At, t) })
	hi := len(e.list)
	if to > 0 {
		hi, _ = slices.BinarySearchFunc(e.list, to+1, func(ev Event, t int64) int { return cmp.Compare(ev.At, t) })
	}
	if lo >= hi {
		return nil, nil
	}
	return slices.Clone(e.list[lo:hi]), nil
}

// bounds are the times of the first and last event and the size of a stream.
func (s *Store) bounds(key string) (first, last Event, bytes int64, some bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.load(key)
	if err != nil || len(e.list) == 0 {
		return Event{}, Event{}, 0, false
	}
	for _, ev := range e.list {
		bytes += int64(len(ev.Message)) + 26 // AWS counts 26 bytes of overhead an event
	}
	return e.list[0], e.list[len(e.list)-1], bytes, true
}

func (s *Store) forget(key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.events[key]; ok && e.file != nil {
		_ = e.file.Close() // it is removed next
	}
	delete(s.events, key)
	if s.dir == "" {
		return nil
	}
	if err := os.Remove(s.path(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
