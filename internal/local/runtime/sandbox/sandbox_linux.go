// Package sandbox runs containers without an engine: Linux namespaces around the unpacked image.
//
// Three processes of this same program make a task. The supervisor, one a task, owns the network
// namespace and starts the containers; the init of each container sets up its mounts, drops its
// rights and becomes the container's command; all of them die with the process that made them, at
// any instruction, by the parent-death signal.
package sandbox

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ecs/slipway/internal/local/runtime"
)

// Sandbox is the runtime.
type Sandbox struct {
	dir    string
	owner  string
	log    *slog.Logger
	images images
	spawn  *spawner
	cgroup *cgroups
	bridge *bridge // nil: ports are forwarded in user space
	// nameserver is the address of the DNS server of tasks; empty: those of the machine.
	nameserver string

	mu    sync.Mutex
	tasks map[*task]struct{}
}

// Gateway is the address of this machine that tasks reach; empty where there is no bridge.
func (s *Sandbox) Gateway() string {
	if s.bridge == nil {
		return ""
	}
	return s.bridge.address(1).String()
}

// SetNameserver makes tasks ask the DNS server with the address, at port 53. It must be called before
// the first task starts.
func (s *Sandbox) SetNameserver(address string) { s.nameserver = address }

// Open checks that namespaces can be used here and removes what a killed predecessor left.
func Open(_ context.Context, o runtime.Options) (runtime.Runtime, error) {
	s := &Sandbox{dir: filepath.Join(o.Dir, "sandbox"), owner: o.Owner, log: o.Log, tasks: map[*task]struct{}{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.images.dir, s.images.login = filepath.Join(s.dir, "images"), o.Login
	if err := os.RemoveAll(s.taskDir("")); err != nil {
		return nil, fmt.Errorf("removing old tasks: %w", err)
	}
	for _, d := range []string{s.images.dir, s.taskDir("")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("making its folder: %w", err)
		}
	}
	s.spawn = newSpawner()
	if err := s.probe(); err != nil {
		s.spawn.close()
		return nil, err
	}
	s.cgroup = openCgroups(s.owner, s.log)
	if os.Geteuid() == 0 {
		b, err := openBridge(s.owner)
		if err != nil {
			s.log.Warn("no bridge; ports are forwarded in user space", "reason", err)
		}
		s.bridge = b
	}
	return s, nil
}

// Name is "sandbox".
func (s *Sandbox) Name() string { return "sandbox" }

func (s *Sandbox) taskDir(id string) string { return filepath.Join(s.dir, "tasks", id) }

// probe starts and ends a supervisor.
func (s *Sandbox) probe() error {
	t, err := s.newTask(runtime.TaskSpec{ID: "probe"})
	if err != nil {
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
			return fmt.Errorf("this user may not make namespaces: allow it (user.max_user_namespaces, kernel.unprivileged_userns_clone or kernel.apparmor_restrict_unprivileged_userns, by sysctl), run as root, or start Docker or Podman (%w)", err)
		}
		return fmt.Errorf("making namespaces: %w", err)
	}
	return t.end()
}

// Close ends all tasks and removes their files; unpacked images stay for the next start.
func (s *Sandbox) Close(ctx context.Context) error {
	s.mu.Lock()
	var tasks []*task
	for t := range s.tasks {
		tasks = append(tasks, t)
	}
	s.mu.Unlock()
	var errs []error
	for _, t := range tasks {
		errs = append(errs, t.Close(ctx))
	}
	s.spawn.close()
	s.cgroup.remove()
	if s.bridge != nil {
		errs = append(errs, s.bridge.remove())
	}
	return errors.Join(append(errs, os.RemoveAll(s.taskDir("")))...)
}

// spawner starts processes from one thread that lives as long as it does: the parent-death signal
// is sent when the thread that started a process ends, not the process.
type spawner struct{ calls chan func() }

func newSpawner() *spawner {
	s := &spawner{calls: make(chan func())}
	go func() {
		goruntime.LockOSThread()
		for f := range s.calls {
			f()
		}
	}()
	return s
}

func (s *spawner) start(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	s.calls <- func() { done <- cmd.Start() }
	return <-done
}

func (s *spawner) close() { close(s.calls) }

// task is a task: its supervisor process and what belongs to it.
type task struct {
	s       *Sandbox
	spec    runtime.TaskSpec
	dir     string
	sup     *exec.Cmd
	control *net.UnixConn
	sendMu  sync.Mutex
	supDone chan struct{}
	ip      string                  // on the bridge
	forward map[string]net.Listener // by port/protocol, without a bridge

	mu         sync.Mutex
	containers []*container
	closed     bool
}

const arg0 = "slipway-sandbox"

func (s *Sandbox) newTask(spec runtime.TaskSpec) (*task, error) {
	t := &task{s: s, spec: spec, dir: s.taskDir(spec.ID), supDone: make(chan struct{}), forward: map[string]net.Listener{}}
	if err := os.MkdirAll(t.dir, 0o755); err != nil {
		return nil, err
	}
	ours, theirs, err := socketpair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	t.control = ours
	t.sup = &exec.Cmd{Path: "/proc/self/exe", Args: []string{arg0, "supervise"}, ExtraFiles: []*os.File{theirs}, Stderr: os.Stderr, Env: []string{"GOMAXPROCS=2"}}
	t.sup.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Cloneflags: unix.CLONE_NEWUTS | unix.CLONE_NEWIPC, Setpgid: true}
	if spec.NetworkMode != "host" {
		t.sup.SysProcAttr.Cloneflags |= unix.CLONE_NEWNET
		t.sup.Args = append(t.sup.Args, "own-network")
	}
	if os.Geteuid() != 0 {
		t.sup.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		t.sup.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		t.sup.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if err := s.spawn.start(t.sup); err != nil {
		_ = ours.Close()
		return nil, err
	}
	go func() {
		_ = t.sup.Wait() // how it ended does not matter: its containers are gone with it
		close(t.supDone)
	}()
	return t, nil
}

// NewTask makes the task's namespaces and publishes its ports.
func (s *Sandbox) NewTask(_ context.Context, spec runtime.TaskSpec) (runtime.Task, error) {
	t, err := s.newTask(spec)
	if err != nil {
		return nil, fmt.Errorf("making the task's namespaces: %w", err)
	}
	s.mu.Lock()
	s.tasks[t] = struct{}{}
	s.mu.Unlock()
	if spec.NetworkMode == "host" || spec.NetworkMode == "none" {
		return t, nil
	}
	if s.bridge != nil {
		if t.ip, err = s.bridge.attach(t.sup.Process.Pid); err != nil {
			return nil, errors.Join(fmt.Errorf("connecting the task's network: %w", err), t.end())
		}
		return t, nil
	}
	for _, p := range spec.Ports {
		if p.Protocol == "udp" {
			continue // not forwarded without a bridge; Endpoint says so
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(fmt.Errorf("publishing port %d: %w", p.Container, err), t.end())
		}
		t.forward[portKey(p.Container, "tcp")] = l
		go t.serveForward(l, p.Container)
	}
	return t, nil
}

func portKey(port int, protocol string) string { return strconv.Itoa(port) + "/" + protocol }

// Endpoint is the address of a container port: on the bridge, forwarded, or of the machine itself.
func (t *task) Endpoint(port int, protocol string) (string, bool) {
	switch {
	case t.spec.NetworkMode == "host":
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), true
	case t.ip != "" && slices.ContainsFunc(t.spec.Ports, func(p runtime.Port) bool {
		return p.Container == port && portKey(port, cmp.Or(p.Protocol, "tcp")) == portKey(port, cmp.Or(protocol, "tcp"))
	}):
		return net.JoinHostPort(t.ip, strconv.Itoa(port)), true
	}
	l, ok := t.forward[portKey(port, cmp.Or(protocol, "tcp"))]
	if !ok {
		return "", false
	}
	return l.Addr().String(), true
}

// serveForward carries connections into the task's network: the supervisor dials there and hands
// over the connected socket.
func (t *task) serveForward(l net.Listener, port int) {
	for {
		in, err := l.Accept()
		if err != nil {
			return // closed
		}
		go func() {
			defer in.Close()
			out, err := t.dial(port)
			if err != nil {
				// Whoever connected sees the connection reset, as with a port nobody listens on.
				_ = in.(*net.TCPConn).SetLinger(0)
				return
			}
			defer out.Close()
			done := make(chan struct{})
			go func() {
				_, _ = io.Copy(out, in)
				closeWrite(out)
				close(done)
			}()
			_, _ = io.Copy(in, out)
			closeWrite(in)
			<-done
		}()
	}
}

func closeWrite(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}

// Close ends the task.
func (t *task) Close(context.Context) error { return t.end() }

func (t *task) end() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	containers := t.containers
	t.mu.Unlock()
	for _, l := range t.forward {
		_ = l.Close()
	}
	for _, c := range containers {
		c.kill()
		<-c.done
	}
	_ = t.control.Close() // the supervisor ends with it
	select {
	case <-t.supDone:
	case <-time.After(2 * time.Second):
		_ = t.sup.Process.Kill()
		<-t.supDone
	}
	if t.ip != "" {
		t.s.bridge.release(t.ip)
	}
	t.s.mu.Lock()
	delete(t.s.tasks, t)
	t.s.mu.Unlock()
	return os.RemoveAll(t.dir)
}

// request opens a conversation with the supervisor: a socket of its own, handed over with fds.
func (t *task) request(req request, files ...*os.File) (*net.UnixConn, error) {
	ours, theirs, err := socketpair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	fds := []int{int(theirs.Fd())}
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	t.sendMu.Lock()
	_, _, err = t.control.WriteMsgUnix([]byte{byte(len(fds))}, unix.UnixRights(fds...), nil)
	t.sendMu.Unlock()
	if err == nil {
		err = json.NewEncoder(ours).Encode(req)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("asking the supervisor: %w", err), ours.Close())
	}
	return ours, nil
}

func (t *task) dial(port int) (net.Conn, error) {
	c, err := t.request(request{Op: "dial", Port: port})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	buf, oob := make([]byte, 256), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := c.ReadMsgUnix(buf, oob)
	if err != nil {
		return nil, err
	}
	files, err := receivedFiles(oob[:oobn])
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, errors.New(string(buf[:n]))
	}
	defer files[0].Close()
	return net.FileConn(files[0])
}

// Listen listens inside the task's network: the supervisor does, and hands over the socket.
func (t *task) Listen() (net.Listener, error) {
	if t.spec.NetworkMode == "host" {
		return net.Listen("tcp", "127.0.0.1:0")
	}
	c, err := t.request(request{Op: "listen"})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	buf, oob := make([]byte, 256), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := c.ReadMsgUnix(buf, oob)
	if err != nil {
		return nil, err
	}
	files, err := receivedFiles(oob[:oobn])
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, errors.New(string(buf[:n]))
	}
	defer files[0].Close()
	return net.FileListener(files[0])
}

func receivedFiles(oob []byte) ([]*os.File, error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for _, m := range msgs {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return nil, err
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}

// socketpair returns a connection to keep and a file to give away.
func socketpair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	defer ours.Close()
	c, err := net.FileConn(ours)
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return c.(*net.UnixConn), theirs, nil
}
