package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	cerrdefs "github.com/containerd/errdefs"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/slipway-ecs/slipway/internal/local/runtime"
)

// running is a started container.
type running struct {
	t      *task
	id     string
	digest string

	peakMu sync.Mutex
	peak   int64

	killed atomic.Bool // SIGKILL was sent by us

	done chan struct{} // closed when exit and err are set
	exit runtime.Exit
	err  error
}

const mebibyte = 1 << 20

// Start pulls the image, unless it is in the engine, and starts the container.
func (t *task) Start(ctx context.Context, spec runtime.ContainerSpec) (runtime.Container, error) {
	img, err := t.e.pull(ctx, spec.Image)
	if err != nil {
		return nil, &runtime.PullError{Image: spec.Image, Err: err}
	}
	c, err := t.start(ctx, spec, img)
	if err != nil {
		return nil, &runtime.StartError{Container: spec.Name, Err: err}
	}
	return c, nil
}

func (t *task) start(ctx context.Context, spec runtime.ContainerSpec, img pulled) (*running, error) {
	config, host := t.configs(spec, img.ref)
	made, err := t.e.api.ContainerCreate(ctx, config, host, nil, nil, "")
	if err != nil {
		return nil, err
	}
	c := &running{t: t, id: made.ID, digest: img.digest, done: make(chan struct{})}
	fail := func(err error) (*running, error) {
		return nil, errors.Join(err, t.e.remove(context.WithoutCancel(ctx), c.id))
	}
	t.mu.Lock()
	closed := t.closed
	if !closed {
		t.containers = append(t.containers, c)
	}
	t.mu.Unlock()
	if closed {
		return fail(errors.New("the task is closed"))
	}
	// Attached before it starts, so that its first output is not missed.
	streams, err := t.e.api.ContainerAttach(t.life, c.id, container.AttachOptions{Stream: true, Stdout: true, Stderr: true})
	if err != nil {
		close(c.done)
		return fail(fmt.Errorf("attaching to its output: %w", err))
	}
	if err := t.e.api.ContainerStart(ctx, c.id, container.StartOptions{}); err != nil {
		streams.Close()
		close(c.done)
		return fail(err)
	}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = stdcopy.StdCopy(orDiscard(spec.Stdout), orDiscard(spec.Stderr), streams.Reader)
	}()
	go func() {
		c.watch(copied)
		streams.Close()
		close(c.done)
	}()
	return c, nil
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

func (t *task) configs(spec runtime.ContainerSpec, image string) (*container.Config, *container.HostConfig) {
	config := &container.Config{Image: image, Entrypoint: spec.EntryPoint, Cmd: spec.Command, Env: spec.Env, User: spec.User, WorkingDir: spec.WorkingDir, Labels: t.labels(spec.Name)}
	host := &container.HostConfig{NetworkMode: "host", LogConfig: noLog, ReadonlyRootfs: spec.ReadOnlyRoot, Resources: container.Resources{CPUShares: int64(spec.CPU)}}
	if t.pause != "" { // the host name comes with the network
		host.NetworkMode = container.NetworkMode("container:" + t.pause)
	}
	if spec.Init {
		host.Init = &spec.Init
	}
	if spec.Memory > 0 {
		host.Memory = int64(spec.Memory) * mebibyte
		host.MemorySwap = host.Memory // no swap besides
	}
	for _, u := range spec.Ulimits {
		host.Ulimits = append(host.Ulimits, &container.Ulimit{Name: u.Name, Soft: limit(u.Soft), Hard: limit(u.Hard)})
	}
	for _, m := range spec.Mounts {
		if m.Tmpfs > 0 {
			host.Mounts = append(host.Mounts, mount.Mount{Type: mount.TypeTmpfs, Target: m.Target, TmpfsOptions: &mount.TmpfsOptions{SizeBytes: int64(m.Tmpfs) * mebibyte}})
			continue
		}
		host.Mounts = append(host.Mounts, mount.Mount{Type: mount.TypeBind, Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly})
	}
	return config, host
}

// limit is -1, the engine's "unlimited", for what does not fit.
func limit(n uint64) int64 { return max(int64(n), -1) }

// watch waits for the container's end and finds out how it was.
func (c *running) watch(copied <-chan struct{}) {
	for {
		ended, failed := c.t.e.api.ContainerWait(c.t.life, c.id, container.WaitConditionNotRunning)
		var err error
		select {
		case <-ended:
		case err = <-failed:
		}
		if err == nil {
			break
		}
		if c.t.life.Err() != nil || cerrdefs.IsNotFound(err) { // removed: killed by it
			c.exit = runtime.Exit{Code: 137, At: time.Now()}
			return
		}
		// The engine may be restarting.
		select {
		case <-time.After(time.Second):
		case <-c.t.life.Done():
		}
	}
	c.exit.At = time.Now()
	state, err := c.t.e.api.ContainerInspect(c.t.life, c.id)
	// That it was killed for memory the engine hears from elsewhere, at times well after it has heard of the end.
	for late := time.Now().Add(5 * time.Second); err == nil && c.unexplained(state) && time.Now().Before(late) && c.t.life.Err() == nil; {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-c.t.life.Done():
		}
		state, err = c.t.e.api.ContainerInspect(c.t.life, c.id)
	}
	switch {
	case err != nil && (c.t.life.Err() != nil || cerrdefs.IsNotFound(err)):
		c.exit.Code = 137
	case err != nil:
		c.err = fmt.Errorf("asking how the container ended: %w", err)
	case state.State != nil:
		c.exit.Code, c.exit.OOM = state.State.ExitCode, state.State.OOMKilled
		if at, err := time.Parse(time.RFC3339Nano, state.State.FinishedAt); err == nil {
			c.exit.At = at
		}
	}
	select { // what it wrote last is read before it counts as ended
	case <-copied:
	case <-c.t.life.Done():
	}
}

// unexplained says that a container with a limit to its memory was killed, and neither by us nor, as far as
// the engine knows yet, for its memory.
func (c *running) unexplained(is container.InspectResponse) bool {
	return !c.killed.Load() && is.State != nil && is.State.ExitCode == 137 && !is.State.OOMKilled && is.HostConfig != nil && is.HostConfig.Memory > 0
}

// ID is the engine's.
func (c *running) ID() string { return c.id }

// ImageDigest is the digest of the image's manifest, or of its index.
func (c *running) ImageDigest() string { return c.digest }

// Wait returns when the container has ended.
func (c *running) Wait(ctx context.Context) (runtime.Exit, error) {
	select {
	case <-c.done:
		return c.exit, c.err
	case <-ctx.Done():
		return runtime.Exit{}, ctx.Err()
	}
}

func (c *running) signal(ctx context.Context, name string) error {
	if name == "SIGKILL" {
		c.killed.Store(true)
	}
	err := c.t.e.api.ContainerKill(ctx, c.id, name)
	if err != nil && !cerrdefs.IsNotFound(err) && !strings.Contains(err.Error(), "is not running") {
		return fmt.Errorf("sending %s: %w", name, err)
	}
	return nil
}

// kill ends it at once and waits for that.
func (c *running) kill(ctx context.Context) {
	select {
	case <-c.done:
		return
	default:
	}
	if err := c.signal(ctx, "SIGKILL"); err != nil {
		return // its removal says why
	}
	select {
	case <-c.done:
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
	}
}

// Stop sends SIGTERM and, when timeout has passed, SIGKILL.
func (c *running) Stop(ctx context.Context, timeout time.Duration) error {
	if err := c.signal(ctx, "SIGTERM"); err != nil {
		return err
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-c.done:
		return nil
	case <-timer.C:
	case <-ctx.Done():
	}
	if err := c.signal(context.WithoutCancel(ctx), "SIGKILL"); err != nil {
		return err
	}
	<-c.done
	return nil
}

// Exec runs a command inside the container. When ctx ends first, its output is no longer read; the
// engine's API cannot end the command itself.
func (c *running) Exec(ctx context.Context, command []string, stdout io.Writer) (int, error) {
	made, err := c.t.e.api.ContainerExecCreate(ctx, c.id, container.ExecOptions{Cmd: command, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return 0, fmt.Errorf("preparing the command: %w", err)
	}
	streams, err := c.t.e.api.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{})
	if err != nil {
		return 0, fmt.Errorf("starting the command: %w", err)
	}
	defer streams.Close()
	stop := context.AfterFunc(ctx, streams.Close)
	defer stop()
	w := orDiscard(stdout)
	_, err = stdcopy.StdCopy(w, w, streams.Reader)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err != nil {
		return 0, fmt.Errorf("reading the command's output: %w", err)
	}
	// The output may end a moment before the engine has taken note of the end.
	for {
		state, err := c.t.e.api.ContainerExecInspect(ctx, made.ID)
		if err != nil {
			return 0, fmt.Errorf("asking how the command ended: %w", err)
		}
		if !state.Running {
			return state.ExitCode, nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// shell is a command with a terminal in a container.
type shell struct {
	c       *running
	id      string
	streams types.HijackedResponse
}

// Shell starts a command with a terminal. The engine's API cannot end it: closing takes its terminal
// away, which ends what does not ignore that.
func (c *running) Shell(ctx context.Context, command []string) (runtime.Shell, error) {
	made, err := c.t.e.api.ContainerExecCreate(ctx, c.id, container.ExecOptions{Cmd: command, Tty: true, AttachStdin: true, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return nil, fmt.Errorf("preparing the command: %w", err)
	}
	streams, err := c.t.e.api.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{Tty: true})
	if err != nil {
		return nil, fmt.Errorf("starting the command: %w", err)
	}
	return &shell{c, made.ID, streams}, nil
}

func (s *shell) Read(p []byte) (int, error)  { return s.streams.Reader.Read(p) }
func (s *shell) Write(p []byte) (int, error) { return s.streams.Conn.Write(p) }

func (s *shell) Close() error {
	s.streams.Close()
	return nil
}

func (s *shell) Resize(rows, columns uint16) error {
	return s.c.t.e.api.ContainerExecResize(s.c.t.life, s.id, container.ResizeOptions{Height: uint(rows), Width: uint(columns)})
}

func (s *shell) Wait() (int, error) {
	for {
		state, err := s.c.t.e.api.ContainerExecInspect(s.c.t.life, s.id)
		if err != nil {
			return 0, fmt.Errorf("asking how the command ended: %w", err)
		}
		if !state.Running {
			return state.ExitCode, nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-s.c.t.life.Done():
			return 0, s.c.t.life.Err()
		}
	}
}

// Stats is one sample of what the container uses.
func (c *running) Stats(ctx context.Context) (runtime.Stats, error) {
	answer, err := c.t.e.api.ContainerStatsOneShot(ctx, c.id)
	if err != nil {
		return runtime.Stats{}, fmt.Errorf("reading statistics: %w", err)
	}
	defer answer.Body.Close()
	var s container.StatsResponse
	if err := json.NewDecoder(answer.Body).Decode(&s); err != nil {
		return runtime.Stats{}, fmt.Errorf("reading statistics: %w", err)
	}
	// Cache that would be given back at once does not count as used; the two names are of the two
	// versions of cgroups.
	used := int64(s.MemoryStats.Usage)
	for _, name := range []string{"total_inactive_file", "inactive_file"} {
		if n, ok := s.MemoryStats.Stats[name]; ok && int64(n) < used {
			used -= int64(n)
			break
		}
	}
	c.peakMu.Lock()
	defer c.peakMu.Unlock()
	c.peak = max(c.peak, used, int64(s.MemoryStats.MaxUsage))
	return runtime.Stats{CPU: time.Duration(s.CPUStats.CPUUsage.TotalUsage), Memory: used, PeakMemory: c.peak}, nil
}
