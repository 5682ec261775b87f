package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-ecs/slipway/internal/local/runtime"
)

// container is a running container.
type container struct {
	t      *task
	name   string
	digest string
	pid    int
	conn   *net.UnixConn
	group  *group
	env    []string
	user   string
	dir    string
	output sync.WaitGroup

	done chan struct{} // closed when exit is set
	exit runtime.Exit
}

// Start pulls the image, if it is not there, and starts the container.
func (t *task) Start(ctx context.Context, spec runtime.ContainerSpec) (runtime.Container, error) {
	img, err := t.s.images.get(ctx, spec.Image)
	if err != nil {
		return nil, &runtime.PullError{Image: spec.Image, Err: err}
	}
	c, err := t.start(spec, img)
	if err != nil {
		return nil, &runtime.StartError{Container: spec.Name, Err: err}
	}
	return c, nil
}

func (t *task) start(spec runtime.ContainerSpec, img unpacked) (*container, error) {
	cfg, err := t.initConfig(spec, img)
	if err != nil {
		return nil, err
	}
	c := &container{t: t, name: spec.Name, digest: img.digest, env: cfg.Env, user: cfg.User, dir: cfg.Dir, done: make(chan struct{})}
	if c.group, err = t.s.cgroup.make(t.spec.ID+"-"+spec.Name, spec.CPU, spec.Memory); err != nil {
		return nil, fmt.Errorf("setting limits: %w", err)
	}
	cfg.Cgroups = c.group.paths()
	stdout, err := c.pipe(spec.Stdout)
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	stderr, err := c.pipe(spec.Stderr)
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	if c.conn, err = t.request(request{Op: "start", Init: cfg}, stdout, stderr); err != nil {
		return nil, err
	}
	replies := json.NewDecoder(c.conn)
	var first reply
	if err := replies.Decode(&first); err != nil {
		first.Error = "the task's supervisor is gone"
	}
	if first.Error != "" {
		c.group.remove()
		return nil, errors.Join(errors.New(first.Error), c.conn.Close())
	}
	c.pid = first.Pid
	t.mu.Lock()
	t.containers = append(t.containers, c)
	t.mu.Unlock()
	go c.wait(replies)
	return c, nil
}

// pipe returns what to give the container as an output; what it writes goes to w.
func (c *container) pipe(w io.Writer) (*os.File, error) {
	if w == nil {
		w = io.Discard
	}
	r, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c.output.Go(func() {
		_, _ = io.Copy(w, r) // until every process of the container has closed it
		_ = r.Close()
	})
	return theirs, nil
}

func (c *container) wait(replies *json.Decoder) {
	var last reply
	if err := replies.Decode(&last); err != nil { // the supervisor died, and the container with it
		last.Code = 128 + int(syscall.SIGKILL)
	}
	_ = c.conn.Close()
	// What it wrote last must be read before it counts as ended; a process it left behind cannot
	// hold that up, as its pid namespace is gone.
	c.output.Wait()
	c.exit = runtime.Exit{Code: last.Code, OOM: last.Code == 128+int(syscall.SIGKILL) && c.group.oomKilled(), At: time.Now()}
	c.group.remove()
	close(c.done)
}

// ID is unique on this machine while the container lives.
func (c *container) ID() string { return c.t.spec.ID + "-" + c.name }

// ImageDigest is the digest of the image's manifest.
func (c *container) ImageDigest() string { return c.digest }

// Wait returns when the container has ended.
func (c *container) Wait(ctx context.Context) (runtime.Exit, error) {
	select {
	case <-c.done:
		return c.exit, nil
	case <-ctx.Done():
		return runtime.Exit{}, ctx.Err()
	}
}

func (c *container) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

func (c *container) signal(sig syscall.Signal) {
	if !c.ended() { // the pid is ours until the supervisor has reported the end
		_ = syscall.Kill(c.pid, sig)
	}
}

func (c *container) kill() { c.signal(syscall.SIGKILL) }

// Stop sends SIGTERM and, when timeout has passed, SIGKILL.
func (c *container) Stop(ctx context.Context, timeout time.Duration) error {
	c.signal(syscall.SIGTERM)
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-c.done:
		return nil
	case <-timer.C:
	case <-ctx.Done():
	}
	c.kill()
	<-c.done
	return nil
}

// Exec runs a command inside the container.
func (c *container) Exec(ctx context.Context, command []string, stdout io.Writer) (int, error) {
	if c.ended() {
		return 0, errors.New("the container is not running")
	}
	if stdout == nil {
		stdout = io.Discard
	}
	r, theirs, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	copied := make(chan struct{})
	go func() {
		_, _ = io.Copy(stdout, r)
		_ = r.Close()
		close(copied)
	}()
	conn, err := c.t.request(request{Op: "exec", Init: initConfig{Pid: c.pid, Args: command, Env: c.env, User: c.user, Dir: c.dir, Unprivileged: os.Geteuid() != 0}}, theirs, theirs)
	_ = theirs.Close()
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // the supervisor kills it then
	defer stop()
	var out reply
	if err := json.NewDecoder(conn).Decode(&out); err != nil {
		return 0, errors.Join(ctx.Err(), errors.New("the command was cut off"))
	}
	if out.Error != "" {
		return 0, errors.New(out.Error)
	}
	<-copied
	return out.Code, nil
}

// Stats reads the container's cgroup or, without one, its first process.
func (c *container) Stats(context.Context) (runtime.Stats, error) {
	if c.ended() {
		return runtime.Stats{}, errors.New("the container is not running")
	}
	return c.group.stats(c.pid)
}

func (t *task) initConfig(spec runtime.ContainerSpec, img unpacked) (initConfig, error) {
	dir := filepath.Join(t.dir, spec.Name)
	cfg := initConfig{Image: img.root, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"), Root: filepath.Join(dir, "root"),
		Env: environment(img.config, spec.Env), User: spec.User, Dir: spec.WorkingDir, Hostname: spec.Hostname, ReadOnly: spec.ReadOnlyRoot, Reaper: spec.Init, Mounts: spec.Mounts, Ulimits: spec.Ulimits,
		Address: t.ip, Nameserver: t.s.nameserver, Hosts: t.spec.Hosts, Unprivileged: os.Geteuid() != 0}
	if cfg.User == "" {
		cfg.User = img.config.User
	}
	if cfg.Dir == "" {
		cfg.Dir = img.config.WorkingDir
	}
	if cfg.Hostname == "" {
		cfg.Hostname = t.spec.Hostname
	}
	if cfg.Hostname == "" { // a container's name for itself is its id, as with Docker
		cfg.Hostname = t.spec.ID[:min(12, len(t.spec.ID))]
	}
	cfg.Args = commandLine(img.config, spec)
	if len(cfg.Args) == 0 {
		return cfg, errors.New("no command specified")
	}
	for _, d := range []string{cfg.Upper, cfg.Work, cfg.Root} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return cfg, err
		}
	}
	return cfg, nil
}

// commandLine is Docker's rule: an entry point given replaces the image's command as well.
func commandLine(img v1.Config, spec runtime.ContainerSpec) []string {
	entry, cmd := img.Entrypoint, img.Cmd
	if spec.EntryPoint != nil {
		entry, cmd = spec.EntryPoint, nil
	}
	if spec.Command != nil {
		cmd = spec.Command
	}
	return append(slices.Clone(entry), cmd...)
}

func environment(img v1.Config, given []string) []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, kv := range append(slices.Clone(img.Env), given...) {
		key, _, _ := strings.Cut(kv, "=")
		env = slices.DeleteFunc(env, func(have string) bool { return strings.HasPrefix(have, key+"=") })
		env = append(env, kv)
	}
	return env
}
