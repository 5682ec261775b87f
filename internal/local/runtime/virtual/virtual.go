// Package virtual pretends to run containers: no process, no image, no network. It is for tests of
// thousands of tasks, and deterministic: what happens to a container is a function of its
// specification and of the clock.
package virtual

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/runtime"
)

// Clock is the time containers live in.
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

// Behavior says what becomes of containers. Every function may be nil: then a container starts at
// once, runs until it is stopped, ends with 0 on SIGTERM, uses nothing, and has no address.
type Behavior struct {
	Clock Clock // nil: the machine's
	// Start is how long a container takes to start, and why it fails to.
	Start func(runtime.TaskSpec, runtime.ContainerSpec) (delay time.Duration, err error)
	// Exit is how a container ends by itself, and how long after its start; ok is false if it never
	// does.
	Exit func(runtime.TaskSpec, runtime.ContainerSpec) (after time.Duration, code int, ok bool)
	// Stop is how long a container takes to end after SIGTERM, and its code.
	Stop func(runtime.TaskSpec, runtime.ContainerSpec) (after time.Duration, code int)
	// Exec answers a command run in a container, such as a health check.
	Exec func(task runtime.TaskSpec, c runtime.ContainerSpec, command []string, stdout io.Writer) int
	// Stats is what a container uses when it has run for a time.
	Stats func(task runtime.TaskSpec, c runtime.ContainerSpec, ran time.Duration) runtime.Stats
	// Endpoint is the address that answers for a task's port.
	Endpoint func(task runtime.TaskSpec, containerPort int, protocol string) (addr string, ok bool)
}

// Open returns a runtime whose containers do nothing.
func Open(context.Context, runtime.Options) (runtime.Runtime, error) { return New(Behavior{}), nil }

// New returns a runtime whose containers behave as given.
func New(b Behavior) runtime.Runtime {
	if b.Clock == nil {
		b.Clock = wall{}
	}
	return &virtual{b: b, tasks: map[*task]struct{}{}, digests: map[string]string{}}
}

type wall struct{}

func (wall) Now() time.Time                         { return time.Now() }
func (wall) After(d time.Duration) <-chan time.Time { return time.After(d) }

type virtual struct {
	b     Behavior
	mu    sync.Mutex
	tasks map[*task]struct{}
	// digests are those of images, which many containers share.
	digests map[string]string
}

func (v *virtual) Name() string { return "virtual" }

func (v *virtual) NewTask(_ context.Context, spec runtime.TaskSpec) (runtime.Task, error) {
	t := &task{v: v, spec: spec}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tasks[t] = struct{}{}
	return t, nil
}

func (v *virtual) Close(ctx context.Context) error {
	v.mu.Lock()
	tasks := v.tasks
	v.tasks = map[*task]struct{}{}
	v.mu.Unlock()
	var errs []error
	for t := range tasks {
		errs = append(errs, t.Close(ctx))
	}
	return errors.Join(errs...)
}

// task and container are small, and nothing runs for them while nothing happens: there may be a hundred
// thousand.
type task struct {
	v    *virtual
	spec runtime.TaskSpec
	wg   sync.WaitGroup

	mu         sync.Mutex
	closed     bool
	closing    chan struct{} // of those who wait for closed; nil until there is one
	containers []*container  // that were started
}

// end is closed when the task is.
func (t *task) end() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closing == nil {
		t.closing = make(chan struct{})
		if t.closed {
			close(t.closing)
		}
	}
	return t.closing
}

func (t *task) Start(ctx context.Context, spec runtime.ContainerSpec) (runtime.Container, error) {
	var delay time.Duration
	var err error
	if f := t.v.b.Start; f != nil {
		delay, err = f(t.spec, spec)
	}
	if delay > 0 {
		select {
		case <-t.v.b.Clock.After(delay):
		case <-t.end():
		case <-ctx.Done():
			return nil, &runtime.StartError{Container: spec.Name, Err: ctx.Err()}
		}
	}
	var pull *runtime.PullError
	switch {
	case errors.As(err, &pull):
		return nil, err
	case err != nil:
		return nil, &runtime.StartError{Container: spec.Name, Err: err}
	}
	c := &container{t: t, spec: spec, started: t.v.b.Clock.Now()}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, &runtime.StartError{Container: spec.Name, Err: errors.New("the task is closed")}
	}
	t.containers = append(t.containers, c)
	if t.v.b.Exit != nil {
		c.live()
	}
	return c, nil
}

func (t *task) Endpoint(port int, protocol string) (string, bool) {
	if t.v.b.Endpoint == nil {
		return "", false
	}
	return t.v.b.Endpoint(t.spec, port, protocol)
}

func (t *task) Close(context.Context) error {
	t.mu.Lock()
	if !t.closed {
		t.closed = true
		if t.closing != nil {
			close(t.closing)
		}
		for _, c := range t.containers {
			c.live()
		}
	}
	t.mu.Unlock()
	t.wg.Wait()
	t.v.mu.Lock()
	defer t.v.mu.Unlock()
	delete(t.v.tasks, t)
	return nil
}

type container struct {
	t       *task
	spec    runtime.ContainerSpec
	started time.Time

	// What follows is guarded by the task's mu.
	stop   chan time.Duration // how long until SIGKILL; nil until the container's life goes on
	done   chan struct{}      // closed at the end; nil until somebody waits for it
	ended  bool
	exit   runtime.Exit
	notify func(runtime.Exit)
}

const killed = 128 + 9

// live lets the container's life go on: it was started to end, is asked to end, or is killed. Until then
// nothing can happen to it. The task's mu is held.
func (c *container) live() {
	if c.stop != nil {
		return
	}
	c.stop = make(chan time.Duration, 1)
	c.t.wg.Go(c.run)
}

// run is the container's life.
func (c *container) run() {
	var exits <-chan time.Time
	code := 0
	if f := c.t.v.b.Exit; f != nil {
		if after, n, ok := f(c.t.spec, c.spec); ok {
			exits, code = c.t.v.b.Clock.After(after), n
		}
	}
	select {
	case <-exits:
	case <-c.t.end():
		code = killed
	case timeout := <-c.stop:
		code = c.stopped(timeout)
	}
	c.t.mu.Lock()
	c.ended, c.exit = true, runtime.Exit{Code: code, At: c.t.v.b.Clock.Now()}
	if c.done != nil {
		close(c.done)
	}
	f := c.notify
	c.t.mu.Unlock()
	if f != nil {
		f(c.exit)
	}
}

// Notify calls f when the container has ended.
func (c *container) Notify(f func(runtime.Exit)) {
	c.t.mu.Lock()
	ended := c.ended
	if !ended {
		c.notify = f
	}
	c.t.mu.Unlock()
	if ended {
		f(c.exit)
	}
}

// end is closed when the container has ended.
func (c *container) end() <-chan struct{} {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.ended {
			close(c.done)
		}
	}
	return c.done
}

func (c *container) stopped(timeout time.Duration) (code int) {
	var after time.Duration
	if f := c.t.v.b.Stop; f != nil {
		after, code = f(c.t.spec, c.spec)
	}
	if after > timeout {
		after, code = timeout, killed
	}
	if after > 0 {
		select {
		case <-c.t.v.b.Clock.After(after):
		case <-c.t.end():
			code = killed
		}
	}
	return code
}

func (c *container) ID() string { return c.t.spec.ID + "-" + c.spec.Name }

// ImageDigest is made from the reference, as no image is fetched.
func (c *container) ImageDigest() string {
	v := c.t.v
	v.mu.Lock()
	defer v.mu.Unlock()
	digest, ok := v.digests[c.spec.Image]
	if !ok {
		digest = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(c.spec.Image)))
		v.digests[c.spec.Image] = digest
	}
	return digest
}

func (c *container) Wait(ctx context.Context) (runtime.Exit, error) {
	select {
	case <-c.end():
		return c.exit, nil
	case <-ctx.Done():
		return runtime.Exit{}, ctx.Err()
	}
}

func (c *container) Stop(ctx context.Context, timeout time.Duration) error {
	c.t.mu.Lock()
	c.live()
	c.t.mu.Unlock()
	select {
	case c.stop <- timeout:
	default: // asked already
	}
	select {
	case <-c.end():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *container) Exec(_ context.Context, command []string, stdout io.Writer) (int, error) {
	if err := c.alive(); err != nil {
		return 0, err
	}
	if c.t.v.b.Exec == nil {
		return 0, nil
	}
	if stdout == nil {
		stdout = io.Discard
	}
	return c.t.v.b.Exec(c.t.spec, c.spec, command, stdout), nil
}

// Shell answers a command as Exec does; what is typed goes nowhere.
func (c *container) Shell(ctx context.Context, command []string) (runtime.Shell, error) {
	var out bytes.Buffer
	code, err := c.Exec(ctx, command, &out)
	if err != nil {
		return nil, err
	}
	return &shell{&out, code}, nil
}

type shell struct {
	out  *bytes.Buffer
	code int
}

func (s *shell) Read(p []byte) (int, error)  { return s.out.Read(p) }
func (s *shell) Write(p []byte) (int, error) { return len(p), nil }
func (s *shell) Close() error                { return nil }
func (s *shell) Resize(_, _ uint16) error    { return nil }
func (s *shell) Wait() (code int, err error) { return s.code, nil }

func (c *container) Stats(context.Context) (runtime.Stats, error) {
	if err := c.alive(); err != nil {
		return runtime.Stats{}, err
	}
	if c.t.v.b.Stats == nil {
		return runtime.Stats{}, nil
	}
	return c.t.v.b.Stats(c.t.spec, c.spec, c.t.v.b.Clock.Now().Sub(c.started)), nil
}

func (c *container) alive() error {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	if c.ended {
		return errors.New("the container is not running")
	}
	return nil
}
