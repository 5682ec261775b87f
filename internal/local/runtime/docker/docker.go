// Package docker runs containers with an engine that speaks Docker's API: Docker or Podman.
//
// Every task has a first container that only waits; it holds the task's network and publishes its
// ports, so that the others may start and end in any order. Its image is made here: see pause.go.
package docker

import (
	"context"
	"errors"
	"fmt"
	cerrdefs "github.com/containerd/errdefs"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"

	"github.com/slipway-ecs/slipway/internal/local/runtime"
)

// Every container is labelled with the local AWS it belongs to and with its task.
const (
	labelOwner     = "slipway.owner"
	labelTask      = "slipway.task"
	labelContainer = "slipway.container"
)

// answerWithin is how long an engine may take to say that it is there.
const answerWithin = 3 * time.Second

type engine struct {
	api   *client.Client
	owner string
	log   *slog.Logger
	arch  string // Go's name
	login func(ref string) (user, password string)
	// gateway is this machine as containers reach it; "": they do not, the engine runs elsewhere.
	gateway    string
	nameserver string // of tasks; "": the engine's own

	mu     sync.Mutex
	tasks  map[*task]struct{}
	images map[string]struct{} // references that were not in the engine before
}

// Open finds an engine that answers and removes what a killed predecessor of the same owner left
// in it.
func Open(ctx context.Context, o runtime.Options) (runtime.Runtime, error) {
	e := &engine{owner: o.Owner, log: o.Log, login: o.Login, tasks: map[*task]struct{}{}, images: map[string]struct{}{}}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if e.api, err = find(ctx); err != nil {
		return nil, err
	}
	info, err := e.api.Info(ctx)
	switch {
	case err != nil:
		err = fmt.Errorf("asking the engine about itself: %w", err)
	case info.OSType != "linux":
		err = fmt.Errorf("the engine runs %s containers; Linux containers are needed", info.OSType)
	default:
		e.arch = goArch(info.Architecture)
		e.gateway = e.findGateway(ctx)
		err = e.removeContainers(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, e.api.Close())
	}
	return e, nil
}

// findGateway is the gateway of the network that tasks are in, if it is an address of this machine: with an
// engine in a virtual machine it is not.
func (e *engine) findGateway(ctx context.Context) string {
	n, err := e.api.NetworkInspect(ctx, "bridge", network.InspectOptions{})
	if err != nil {
		return "" // an engine may have another default
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	for _, c := range n.IPAM.Config {
		ip := net.ParseIP(c.Gateway)
		if ip != nil && slices.ContainsFunc(own, func(a net.Addr) bool { x, ok := a.(*net.IPNet); return ok && x.IP.Equal(ip) }) {
			return c.Gateway
		}
	}
	return ""
}

// Gateway is the address of this machine in tasks' networks; "" if it has none.
func (e *engine) Gateway() string { return e.gateway }

// SetNameserver makes tasks ask the DNS server with the address, at port 53. It must be called before
// the first task.
func (e *engine) SetNameserver(address string) { e.nameserver = address }

// hosts are the addresses where an engine may listen, in the order they are tried.
func hosts() []string {
	if h := os.Getenv("DOCKER_HOST"); h != "" {
		return []string{h}
	}
	if goruntime.GOOS == "windows" {
		return []string{client.DefaultDockerHost}
	}
	sockets := []string{"/var/run/docker.sock"}
	if home, err := os.UserHomeDir(); err == nil {
		sockets = append(sockets, filepath.Join(home, ".docker", "run", "docker.sock"))
	}
	run := os.Getenv("XDG_RUNTIME_DIR")
	if run != "" {
		sockets = append(sockets, filepath.Join(run, "docker.sock"))
	}
	sockets = append(sockets, "/run/podman/podman.sock")
	if run != "" {
		sockets = append(sockets, filepath.Join(run, "podman", "podman.sock"))
	}
	for i, s := range sockets {
		sockets[i] = "unix://" + s
	}
	return sockets
}

// find returns a client of the first engine that answers.
func find(ctx context.Context) (*client.Client, error) {
	var why error // the most telling reason: a socket that is there but does not answer
	for _, h := range hosts() {
		if err := usable(h); err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				why = err
			}
			continue
		}
		c, err := client.NewClientWithOpts(client.WithHost(h), client.WithTLSClientConfigFromEnv(), client.WithAPIVersionNegotiation())
		if err == nil {
			ping, cancel := context.WithTimeout(ctx, answerWithin)
			_, err = c.Ping(ping)
			cancel()
			if err == nil {
				return c, nil
			}
			err = errors.Join(err, c.Close())
		}
		why = fmt.Errorf("%s: %w", h, err)
	}
	if why == nil {
		why = errors.New("no Docker or Podman socket was found")
	}
	return nil, why
}

// usable refuses an address that can't serve: ports of an engine elsewhere are not reachable on
// this machine's loopback, and it could not pull from this machine's registry.
func usable(host string) error {
	u, err := url.Parse(host)
	if err != nil {
		return fmt.Errorf("DOCKER_HOST: %w", err)
	}
	switch u.Scheme {
	case "unix":
		_, err := os.Stat(u.Path)
		if err != nil && os.Getenv("DOCKER_HOST") != "" {
			return fmt.Errorf("DOCKER_HOST: %s is not there", u.Path)
		}
		return err
	case "npipe":
		return nil
	case "tcp":
		if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
			return nil
		}
	}
	return fmt.Errorf("DOCKER_HOST=%s: not supported: an engine on another machine", u.Redacted())
}

// goArch translates the kernel's name of an architecture, which engines report.
func goArch(name string) string {
	switch name {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	}
	return name
}

func (e *engine) Name() string { return "docker" }

// removeContainers removes every container of this owner.
func (e *engine) removeContainers(ctx context.Context) error {
	left, err := e.api.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", labelOwner+"="+e.owner))})
	if err != nil {
		return fmt.Errorf("listing old containers: %w", err)
	}
	var errs []error
	for _, c := range left {
		errs = append(errs, e.remove(ctx, c.ID))
	}
	return errors.Join(errs...)
}

func (e *engine) remove(ctx context.Context, id string) error {
	err := e.api.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	// A removal under way is as good: somebody else has asked for the same.
	if err != nil && !cerrdefs.IsNotFound(err) && !strings.Contains(err.Error(), "already in progress") {
		return fmt.Errorf("removing container %.12s: %w", id, err)
	}
	return nil
}

// Close ends all tasks and removes the images that were not in the engine before.
func (e *engine) Close(ctx context.Context) error {
	e.mu.Lock()
	tasks, images := e.tasks, e.images
	e.tasks, e.images = map[*task]struct{}{}, map[string]struct{}{}
	e.mu.Unlock()
	var errs []error
	for t := range tasks {
		errs = append(errs, t.Close(ctx))
	}
	errs = append(errs, e.removeContainers(ctx))
	for ref := range images {
		// Another local AWS may use it: then it stays.
		if _, err := e.api.ImageRemove(ctx, ref, image.RemoveOptions{PruneChildren: true}); err != nil && !cerrdefs.IsNotFound(err) {
			e.log.Debug("an image stays in the engine", "image", ref, "reason", err)
		}
	}
	return errors.Join(append(errs, e.api.Close())...)
}
