// Package connect is Service Connect: tasks reach the services of their namespace by name and port. Each
// name has an address of this machine, which the hosts files of client tasks name, and where connections
// to the name's ports are passed on to the running tasks behind it.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-connect-concepts-deploy.html
package connect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/runtime"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

// Config is what the mesh needs to know.
type Config struct {
	State *state.ECS
	// Namespace is the name of a namespace that is given by name, id or ARN.
	Namespace func(tx *state.Tx, ref string) string
	// Host is the one address of this machine that tasks reach; "": they reach its loopback addresses,
	// and each name has its own.
	Host string
	Log  *slog.Logger
}

// Mesh is all names of all namespaces. Its loop is Run.
type Mesh struct {
	Config
	mu        sync.Mutex
	addresses map[name]*address
	closed    bool
}

// name is a name that tasks of one namespace use.
type name struct{ namespace, dns string }

// address is where a name's ports are.
type address struct {
	ip    string
	guard net.Listener // keeps the address from other local AWSs; nil for Host
	ports map[int]*port
}

// port is one port of a name.
type port struct {
	m        *Mesh
	listener net.Listener
	targets  func() []string // where the tasks behind it are
	hosts    outliers

	mu       sync.Mutex
	behind   []behind
	settings settings
	turn     int
}

// behind is a service with an endpoint of the name and port.
type behind struct {
	service, portName string
	settings
}

// New returns a mesh without names.
func New(c Config) *Mesh {
	return &Mesh{Config: c, addresses: map[name]*address{}}
}

// Run keeps the names those of the services there are, until ctx ends.
func (m *Mesh) Run(ctx context.Context) error {
	w := m.State.DB.Watch(state.TableServices, state.TableDeployments)
	defer w.Stop()
	defer m.close()
	m.follow()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.C:
		}
		if m.concerned(w.Drain()) {
			m.follow()
		}
	}
}

// concerned reports whether a change is of a service with Service Connect, or one that had it: most
// services have not, and there may be thousands.
func (m *Mesh) concerned(changes []state.Change) (yes bool) {
	m.mu.Lock()
	known := map[string]bool{}
	for _, a := range m.addresses {
		for _, p := range a.ports {
			p.mu.Lock()
			for _, b := range p.behind {
				known[b.service] = true
			}
			p.mu.Unlock()
		}
	}
	m.mu.Unlock()
	_ = m.State.DB.View(func(tx *state.Tx) error {
		for _, c := range changes {
			key := c.Key
			if c.Table == state.TableDeployments { // cluster/service/ecs-svc/id
				parts := strings.SplitN(key, "/", 3)
				if len(parts) < 3 {
					continue
				}
				key = parts[0] + "/" + parts[1]
				if d, ok := m.State.Deployments.Get(tx, c.Key); ok && m.configuration(tx, d.Revision) != nil {
					yes = true
					return nil
				}
			}
			if known[key] {
				yes = true
				return nil
			}
		}
		return nil
	})
	return yes
}

// configuration is what a service's deployment says of Service Connect; nil: nothing.
func (m *Mesh) configuration(tx *state.Tx, revision string) *ecsapi.ServiceConnectConfiguration {
	rev, ok := m.State.ServiceRevisions.Get(tx, revision)
	if !ok || rev.API.ServiceConnectConfiguration == nil || !wire.Value(rev.API.ServiceConnectConfiguration.Enabled) {
		return nil
	}
	return rev.API.ServiceConnectConfiguration
}

// namespace is the namespace of a configuration, by default the cluster's.
func (m *Mesh) namespace(tx *state.Tx, cluster string, c *ecsapi.ServiceConnectConfiguration) string {
	ref := wire.Value(c.Namespace)
	if cl, ok := m.State.Clusters.Get(tx, cluster); ref == "" && ok && cl.ServiceConnect != nil {
		ref = wire.Value(cl.ServiceConnect.Namespace)
	}
	if ref == "" {
		return ""
	}
	return m.Namespace(tx, ref)
}

// wanted are all names and ports, with the services behind them.
func (m *Mesh) wanted() map[name]map[int][]behind {
	out := map[name]map[int][]behind{}
	_ = m.State.DB.View(func(tx *state.Tx) error {
		for key, s := range m.State.Services.All(tx) {
			if s.Status == "INACTIVE" {
				continue
			}
			for _, d := range m.State.Deployments.Prefix(tx, key+"/") {
				c := m.configuration(tx, d.Revision)
				if d.Status != "PRIMARY" || c == nil {
					continue
				}
				ns := m.namespace(tx, s.ClusterName, c)
				for _, e := range c.Services {
					discovery := cmp.Or(wire.Value(e.DiscoveryName), wire.Value(e.PortName))
					for _, a := range e.ClientAliases {
						n := name{ns, strings.ToLower(cmp.Or(wire.Value(a.DnsName), discovery+"."+ns))}
						if out[n] == nil {
							out[n] = map[int][]behind{}
						}
						p := int(wire.Value(a.Port))
						out[n][p] = append(out[n][p], behind{key, wire.Value(e.PortName), m.settingsOf(tx, d.TaskDefinition, &e)})
					}
				}
			}
		}
		return nil
	})
	return out
}

// follow opens what is missing and closes what is no longer wanted.
func (m *Mesh) follow() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	want := m.wanted()
	for n, a := range m.addresses {
		for number, p := range a.ports {
			if len(want[n][number]) == 0 {
				_ = p.listener.Close() // the connections there are go on
				delete(a.ports, number)
			}
		}
		if len(want[n]) == 0 {
			a.close()
			delete(m.addresses, n)
		}
	}
	for n, ports := range want {
		a := m.addresses[n]
		if a == nil {
			var err error
			if a, err = m.take(n); err != nil {
				m.Log.Warn("a name of Service Connect has no address", "name", n.dns, "error", err)
				continue
			}
			m.addresses[n] = a
		}
		for number, services := range ports {
			if p := a.ports[number]; p != nil {
				p.mu.Lock()
				p.behind, p.settings = services, services[0].settings
				p.mu.Unlock()
				continue
			}
			l, err := net.Listen("tcp", net.JoinHostPort(a.ip, strconv.Itoa(number)))
			if err != nil {
				m.Log.Warn("a name of Service Connect is not served", "name", n.dns, "port", number, "error", err)
				continue
			}
			p := &port{m: m, listener: l, behind: services, settings: services[0].settings}
			p.targets = p.running
			a.ports[number] = p
			go p.serve()
		}
	}
}

// guardPort is held on the address of each name, as load balancers' addresses are kept.
const guardPort = "65066"

// take finds an address for a name: the same one as long as nobody else has it.
func (m *Mesh) take(n name) (*address, error) {
	if m.Host != "" {
		return &address{ip: m.Host, ports: map[int]*port{}}, nil
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(n.namespace + "\x00" + n.dns)) // never fails
	const first, count = 240 << 8, 14 << 8               // 127.66.240.0 to 127.66.253.255
	var last error
	for i := range uint32(256) {
		k := first + (h.Sum32()+i)%count
		if k&255 == 0 || k&255 == 255 {
			continue
		}
		ip := net.IPv4(127, 66, byte(k>>8), byte(k)).String()
		guard, err := net.Listen("tcp", net.JoinHostPort(ip, guardPort))
		if err == nil {
			return &address{ip: ip, guard: guard, ports: map[int]*port{}}, nil
		}
		last = err
	}
	return nil, fmt.Errorf("finding a free address: %w", last)
}

func (a *address) close() {
	for _, p := range a.ports {
		_ = p.listener.Close() // its loop ends by it
	}
	if a.guard != nil {
		_ = a.guard.Close() // nothing was ever accepted on it
	}
}

func (m *Mesh) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	for _, a := range m.addresses {
		a.close()
	}
	m.addresses = map[name]*address{}
}

// Names are the names that a task's containers know: those of its service's namespace, at the time the
// task starts. A task without Service Connect has none.
func (m *Mesh) Names(t *state.Task) []runtime.Host {
	ns, client := "", false
	_ = m.State.DB.View(func(tx *state.Tx) error {
		if d, ok := m.State.Deployments.Get(tx, t.ServiceKey+"/"+t.DeploymentID); ok {
			if c := m.configuration(tx, d.Revision); c != nil {
				ns, client = m.namespace(tx, t.ClusterName, c), true
			}
		}
		return nil
	})
	if !client {
		return nil
	}
	m.follow() // the service may be newer than what the loop has seen
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []runtime.Host
	for _, n := range slices.SortedFunc(maps.Keys(m.addresses), func(a, b name) int { return strings.Compare(a.dns, b.dns) }) {
		if n.namespace == ns {
			out = append(out, runtime.Host{Name: n.dns, Address: m.addresses[n].ip})
		}
	}
	return out
}

// running are the addresses of the running tasks behind the port; unhealthy ones only if all are.
func (p *port) running() (out []string) {
	p.mu.Lock()
	services := p.behind
	p.mu.Unlock()
	var ill []string
	_ = p.m.State.DB.View(func(tx *state.Tx) error {
		for _, b := range services {
			for _, t := range p.m.State.TasksByService.Get(tx, b.service) {
				if t.LastStatus != "RUNNING" || t.DesiredStatus != "RUNNING" {
					continue
				}
				at := p.m.endpoint(tx, t, b.portName)
				switch {
				case at == "":
				case t.HealthStatus == "UNHEALTHY":
					ill = append(ill, at)
				default:
					out = append(out, at)
				}
			}
		}
		return nil
	})
	if len(out) == 0 {
		out = ill
	}
	slices.Sort(out)
	return out
}

// endpoint is the real address of a task's port with the name.
func (m *Mesh) endpoint(tx *state.Tx, t *state.Task, portName string) string {
	container, pm := m.mapping(tx, t.TaskDefinition, portName)
	for _, x := range t.Containers {
		for _, b := range x.Bindings {
			if pm != nil && x.Name == container && b.ContainerPort == int(wire.Value(pm.ContainerPort)) {
				return b.Addr
			}
		}
	}
	return ""
}

// mapping is a task definition's port with the name, and whose container's it is; nil: there is none.
func (m *Mesh) mapping(tx *state.Tx, definition, portName string) (container string, pm *ecsapi.PortMapping) {
	_, revision, _ := strings.Cut(definition, "/")
	family, number, _ := strings.Cut(revision, ":")
	n, err := strconv.Atoi(number)
	def, ok := m.State.TaskDefinitions.Get(tx, state.TaskDefinitionKey(family, n))
	if err != nil || !ok {
		return "", nil
	}
	for _, c := range def.Def.ContainerDefinitions {
		for k := range c.PortMappings {
			if wire.Value(c.PortMappings[k].Name) == portName {
				return wire.Value(c.Name), &c.PortMappings[k]
			}
		}
	}
	return "", nil
}

// settingsOf are those of an endpoint: the protocol is its port mapping's, and the limits are its own.
func (m *Mesh) settingsOf(tx *state.Tx, definition string, e *ecsapi.ServiceConnectService) settings {
	s := settings{idle: defaultIdleTCP}
	if _, pm := m.mapping(tx, definition, wire.Value(e.PortName)); pm != nil && wire.Value(pm.AppProtocol) != "" {
		s = settings{protocol: *pm.AppProtocol, idle: defaultIdle, perRequest: defaultPerRequest}
	}
	if t := e.Timeout; t != nil {
		if t.IdleTimeoutSeconds != nil {
			s.idle = time.Duration(*t.IdleTimeoutSeconds) * time.Second
		}
		if t.PerRequestTimeoutSeconds != nil && s.protocol != "" {
			s.perRequest = time.Duration(*t.PerRequestTimeoutSeconds) * time.Second
		}
	}
	return s
}

var errNobody = errors.New("no task runs behind it")

// next are the tasks in the order in which they are tried: each time another one is the first.
func (p *port) next() []string {
	all := p.hosts.keep(p.targets(), time.Now())
	p.mu.Lock()
	turn := p.turn
	p.turn++
	p.mu.Unlock()
	var out []string
	for i := range all {
		out = append(out, all[(turn+i)%len(all)])
	}
	return out
}

// dial connects to the next task in turn; one that does not answer is passed over.
func (p *port) dial() (net.Conn, error) {
	err := errNobody
	for _, target := range p.next() {
		var c net.Conn
		if c, err = net.DialTimeout("tcp", target, connectTimeout); err == nil {
			return c, nil
		}
		p.hosts.failed(target, time.Now())
	}
	return nil, err
}
