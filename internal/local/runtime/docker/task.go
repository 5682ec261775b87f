package docker

import (
	"context"
	"errors"
	"fmt"
	cerrdefs "github.com/containerd/errdefs"
	"net"
	"strconv"
	"sync"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/go-connections/nat"

	"github.com/slipway-ecs/slipway/internal/local/runtime"
)

// task is a task's network: the container that holds it, and the published ports.
type task struct {
	e     *engine
	spec  runtime.TaskSpec
	pause string // "" with the machine's own network
	ports nat.PortMap

	life context.Context // ends with the task: containers are watched in it
	end  context.CancelFunc

	mu         sync.Mutex
	containers []*running
	closed     bool
}

// NewTask makes the task's network and publishes its ports.
func (e *engine) NewTask(ctx context.Context, spec runtime.TaskSpec) (runtime.Task, error) {
	t := &task{e: e, spec: spec}
	t.life, t.end = context.WithCancel(context.WithoutCancel(ctx))
	if spec.NetworkMode != "host" {
		if err := t.makeNetwork(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("making the task's network: %w", err), t.Close(context.WithoutCancel(ctx)))
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tasks[t] = struct{}{}
	return t, nil
}

func (t *task) makeNetwork(ctx context.Context) error {
	config := &container.Config{Hostname: t.spec.Hostname, Labels: t.labels(""), ExposedPorts: nat.PortSet{}}
	host := &container.HostConfig{LogConfig: noLog, PortBindings: nat.PortMap{}, NetworkMode: "bridge", ExtraHosts: extraHosts(t.spec.Hosts)}
	if t.e.nameserver != "" {
		host.DNS = []string{t.e.nameserver}
	}
	if t.spec.NetworkMode == "none" {
		host.NetworkMode = "none"
	} else {
		for _, p := range t.spec.Ports {
			key := portKey(p.Container, p.Protocol)
			config.ExposedPorts[key] = struct{}{}
			host.PortBindings[key] = []nat.PortBinding{{HostIP: "127.0.0.1"}} // the engine chooses the port
		}
	}
	// The image may be taken away by another local AWS that ends just now: load it again then.
	for attempt := 0; ; attempt++ {
		var err error
		if config.Image, err = t.e.loadPause(ctx); err != nil {
			return err
		}
		made, err := t.e.api.ContainerCreate(ctx, config, host, nil, nil, "")
		if err == nil {
			t.pause = made.ID
			break
		}
		if !cerrdefs.IsNotFound(err) || attempt > 2 {
			return err
		}
	}
	if err := t.e.api.ContainerStart(ctx, t.pause, container.StartOptions{}); err != nil {
		return err
	}
	state, err := t.e.api.ContainerInspect(ctx, t.pause)
	if err != nil {
		return err
	}
	if state.NetworkSettings != nil {
		t.ports = state.NetworkSettings.Ports
	}
	return nil
}

// extraHosts are names as the engine takes them for /etc/hosts. The containers of a task share the file
// of its network.
func extraHosts(hosts []runtime.Host) (out []string) {
	for _, h := range hosts {
		out = append(out, h.Name+":"+h.Address)
	}
	return out
}

// noLog keeps the engine from storing output: it is read from the container directly.
var noLog = container.LogConfig{Type: "none"}

func (t *task) labels(name string) map[string]string {
	l := map[string]string{labelOwner: t.e.owner, labelTask: t.spec.ID}
	if name != "" {
		l[labelContainer] = name
	}
	return l
}

func portKey(port int, protocol string) nat.Port {
	if protocol == "" {
		protocol = "tcp"
	}
	return nat.Port(strconv.Itoa(port) + "/" + protocol)
}

// Endpoint is where the engine published the port, or the port itself on the machine's network.
func (t *task) Endpoint(port int, protocol string) (string, bool) {
	if t.spec.NetworkMode == "host" {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), true
	}
	for _, b := range t.ports[portKey(port, protocol)] {
		if b.HostPort != "" {
			return net.JoinHostPort("127.0.0.1", b.HostPort), true
		}
	}
	return "", false
}

// Listen serves tasks on the machine's network. Into a network of its own, only the engine reaches.
func (t *task) Listen() (net.Listener, error) {
	if t.spec.NetworkMode != "host" {
		return nil, errors.New("not supported: listening in a network of the engine")
	}
	return net.Listen("tcp", "127.0.0.1:0")
}

// Close ends the task's containers and removes them and the network.
func (t *task) Close(ctx context.Context) error {
	t.mu.Lock()
	containers, closed := t.containers, t.closed
	t.closed = true
	t.mu.Unlock()
	if closed {
		return nil
	}
	var wg sync.WaitGroup
	errs := make([]error, len(containers)+1)
	for i, c := range containers {
		wg.Go(func() {
			c.kill(ctx)
			errs[i] = t.e.remove(ctx, c.id)
		})
	}
	wg.Wait()
	if t.pause != "" {
		errs[len(containers)] = t.e.remove(ctx, t.pause)
	}
	t.end()
	t.e.mu.Lock()
	defer t.e.mu.Unlock()
	delete(t.e.tasks, t)
	return errors.Join(errs...)
}
