package loop

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

// logs opens the stream of the awslogs driver; nil where output goes nowhere.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/specify-log-config.html
func (d *driver) logs(ctx context.Context, t *state.Task, c *ecsapi.ContainerDefinition) (io.WriteCloser, error) {
	l := c.LogConfiguration
	if l == nil || wire.Value(l.LogDriver) != "awslogs" || d.l.cfg.Logs == nil {
		return nil, nil
	}
	stream := wire.Value(c.Name) + "/" + t.ID
	if p := l.Options["awslogs-stream-prefix"]; p != "" {
		stream = p + "/" + stream
	}
	group, create := l.Options["awslogs-group"], l.Options["awslogs-create-group"] == "true"
	if err := d.asExecution(t, func(r Rights, role string) error { return r.Write(ctx, t, role, group, stream, create) }); err != nil {
		return nil, fmt.Errorf("failed to validate logger args: %w", err)
	}
	w, err := d.l.cfg.Logs.Writer(group, stream, create)
	if err != nil {
		return nil, fmt.Errorf("failed to validate logger args: %w", err)
	}
	mode := l.Options["mode"]
	if mode == "" {
		mode = d.defaultLogMode(t)
	}
	if mode != "non-blocking" {
		return w, nil
	}
	size, err := bufferSize(l.Options["max-buffer-size"])
	if err != nil {
		_ = w.Close()
		return nil, fmt.Errorf("failed to validate logger args: %w", err)
	}
	return newShedder(w, size), nil
}

// defaultLogMode is the account setting defaultLogDriverMode.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-account-settings.html
func (d *driver) defaultLogMode(t *state.Task) string {
	parts := strings.SplitN(t.ARN, ":", 6)
	if len(parts) < 6 {
		return "non-blocking"
	}
	mode := "non-blocking"
	_ = d.l.cfg.State.DB.View(func(tx *state.Tx) error {
		if s, ok := d.l.cfg.State.AccountSettings.Get(tx, "arn:"+parts[1]+":iam::"+parts[4]+":root/defaultLogDriverMode"); ok {
			mode = s.Value
		}
		return nil
	})
	return mode
}

// defaultBuffer is how much a container may be ahead of its log, bytes.
const defaultBuffer = 10 << 20

// bufferSize reads "25m", "512k", "1g" or bytes.
func bufferSize(s string) (int, error) {
	if s == "" {
		return defaultBuffer, nil
	}
	unit := 1
	switch s[len(s)-1] {
	case 'k', 'K':
		unit = 1 << 10
	case 'm', 'M':
		unit = 1 << 20
	case 'g', 'G':
		unit = 1 << 30
	}
	digits := s
	if unit > 1 {
		digits = s[:len(s)-1]
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n < 1 || n > 1<<20 {
		return 0, fmt.Errorf("max-buffer-size %q is not a size", s)
	}
	return n * unit, nil
}

// shedder never makes its writer wait: what does not fit into the buffer is dropped. Its goroutine
// lives while there is something to write.
type shedder struct {
	w    io.WriteCloser
	size int

	mu      sync.Mutex
	idle    sync.Cond // broadcast when nothing is being written
	pending [][]byte
	held    int // bytes in pending
	busy    bool
}

func newShedder(w io.WriteCloser, size int) *shedder {
	s := &shedder{w: w, size: size}
	s.idle.L = &s.mu
	return s
}

func (s *shedder) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held+len(p) > s.size {
		return len(p), nil
	}
	s.pending, s.held = append(s.pending, append([]byte(nil), p...)), s.held+len(p)
	if !s.busy {
		s.busy = true
		go s.drain()
	}
	return len(p), nil
}

func (s *shedder) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.pending) > 0 {
		next := s.pending[0]
		s.pending = s.pending[1:]
		s.mu.Unlock()
		_, _ = s.w.Write(next) // as with the driver: what the log refuses is lost
		s.mu.Lock()
		s.held -= len(next)
	}
	s.busy = false
	s.idle.Broadcast()
}

// Close writes what is held and closes the log.
func (s *shedder) Close() error {
	s.mu.Lock()
	for s.busy {
		s.idle.Wait()
	}
	s.mu.Unlock()
	return s.w.Close()
}
