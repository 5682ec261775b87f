// Package runtime runs the containers of tasks: with Docker or Podman, in a sandbox of Linux
// namespaces where there is no engine, or virtually, without a process, for scale.
package runtime

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"
)

// Runtime runs tasks.
type Runtime interface {
	// Name is docker, sandbox or virtual.
	Name() string
	// NewTask makes what the containers of a task share: its network.
	NewTask(ctx context.Context, spec TaskSpec) (Task, error)
	// Close stops everything it started and removes what it left on disk.
	Close(ctx context.Context) error
}

// Task is a task's network and the containers in it.
type Task interface {
	// Start starts a container. Its errors are *PullError or *StartError.
	Start(ctx context.Context, spec ContainerSpec) (Container, error)
	// Endpoint is the address on this machine that reaches a container port; ok is false if the
	// port is not published.
	Endpoint(containerPort int, protocol string) (addr string, ok bool)
	// Close stops what runs and removes the task's network and files.
	Close(ctx context.Context) error
}

// AgentAddress is where a task finds what serves it, as on AWS.
const AgentAddress = "169.254.170.2:80"

// Listener is what tasks have inside whose network this process can listen.
type Listener interface {
	// Listen listens for the task alone: at AgentAddress where it has a network of its own, at a port
	// of the loopback address where it has the machine's. The listener ends with the task.
	Listen() (net.Listener, error)
}

// Container is a started container.
type Container interface {
	ID() string
	ImageDigest() string
	// Wait returns when the container has ended.
	Wait(ctx context.Context) (Exit, error)
	// Stop sends SIGTERM, and SIGKILL when timeout has passed.
	Stop(ctx context.Context, timeout time.Duration) error
	// Exec runs a command inside the container and returns its exit code.
	Exec(ctx context.Context, command []string, stdout io.Writer) (code int, err error)
	// Stats is what the container uses now.
	Stats(ctx context.Context) (Stats, error)
}

// Notifier is a container that tells of its end by itself, so that nobody has to wait for it.
type Notifier interface {
	// Notify calls f when the container has ended, at once if it has already. It is called once; f does
	// not wait.
	Notify(f func(Exit))
}

// Terminal is what containers have in which a command can run with a terminal.
type Terminal interface {
	// Shell starts a command with a terminal of its own inside the container.
	Shell(ctx context.Context, command []string) (Shell, error)
}

// Shell is a command that runs with a terminal. Reading and writing is the terminal's; Read ends with
// io.EOF when the command has.
type Shell interface {
	io.ReadWriteCloser // Close ends the command
	Resize(rows, columns uint16) error
	// Wait returns the command's exit code once it has ended.
	Wait() (code int, err error)
}

// TaskSpec is what the containers of a task share.
type TaskSpec struct {
	ID          string
	NetworkMode string // bridge, awsvpc, host, none
	Hostname    string
	Ports       []Port // of all containers
	Hosts       []Host // for the containers' /etc/hosts
}

// Host is a name in /etc/hosts.
type Host struct{ Name, Address string }

// Port is a container port to publish.
type Port struct {
	Container int
	Protocol  string // tcp or udp
}

// ContainerSpec is one container.
type ContainerSpec struct {
	Name         string
	Image        string   // reference with a registry
	EntryPoint   []string // nil: the image's
	Command      []string // nil: the image's
	Env          []string // KEY=value
	User         string   // "": the image's
	WorkingDir   string   // "": the image's
	Hostname     string
	CPU          int // CPU units as shares
	Memory       int // hard limit, MiB; 0: none
	ReadOnlyRoot bool
	Init         bool // run an init process inside that reaps zombies
	Mounts       []Mount
	Ulimits      []Ulimit
	Stdout       io.Writer
	Stderr       io.Writer
}

// Mount is a folder of this machine inside the container.
type Mount struct {
	Source, Target string
	ReadOnly       bool
	Tmpfs          int // MiB; with it, Source is not used
}

// Ulimit is a resource limit, by its lower-case name without RLIMIT_.
type Ulimit struct {
	Name       string
	Soft, Hard uint64
}

// Exit is how a container ended.
type Exit struct {
	Code int // 128 + signal for a signal
	OOM  bool
	At   time.Time
}

// Stats is what a container uses.
type Stats struct {
	CPU        time.Duration // since its start
	Memory     int64         // bytes
	PeakMemory int64         // bytes
}

// PullError is an image that can't be had.
type PullError struct {
	Image string
	Err   error
}

func (e *PullError) Error() string { return fmt.Sprintf("pulling %s: %v", e.Image, e.Err) }
func (e *PullError) Unwrap() error { return e.Err }

// StartError is a container that can't be started.
type StartError struct {
	Container string
	Err       error
}

func (e *StartError) Error() string { return fmt.Sprintf("starting %s: %v", e.Container, e.Err) }
func (e *StartError) Unwrap() error { return e.Err }
