package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/slipway-ecs/slipway/internal/service"
)

const resRegistry = "discovery service"

// Registries are Cloud Map's services: names in a namespace under which tasks are found.
type Registries interface {
	// Registries lists those whose Owner it is.
	Registries(ctx context.Context, owner string) ([]Registry, error)
	// PutRegistry creates it or changes its time to live; ErrNotFound for a namespace that is not there.
	PutRegistry(ctx context.Context, want Registry) (Registry, error)
	// DeleteRegistry returns ErrInUse while tasks are registered.
	DeleteRegistry(ctx context.Context, arn string) error
}

// Registry is a Cloud Map service. All but its time to live is fixed when it is made.
// https://docs.aws.amazon.com/cloud-map/latest/api/API_CreateService.html
type Registry struct {
	ARN       string
	Namespace string // name or id of a private DNS namespace
	Name      string
	Record    string // A or SRV
	TTL       time.Duration
	Owner     string // kept in its description
	Tags      map[string]string
}

// ServiceRegistry has the tasks of an ECS service registered. Container and Port are for SRV.
type ServiceRegistry struct {
	ARN       string
	Container string
	Port      int
}

// Connect is Service Connect: tasks reach each other by short names through a proxy beside them.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceConnectConfiguration.html
type Connect struct {
	Namespace string
	PortName  string // of the main container's port mapping; empty: the service only calls others
	Name      string // that others call it by
	Port      int    // that they call
}

// registry is what a Spec with Cloud Map discovery needs.
func registry(t Target, ref Ref, tags map[string]string) *Registry {
	d := t.Spec.Discovery
	if d == nil || d.Kind != "cloudmap" {
		return nil
	}
	return &Registry{Namespace: d.Namespace, Name: cmp.Or(d.Name, t.Spec.Name), Record: cmp.Or(d.Record, "SRV"), TTL: cmp.Or(d.TTL, 10*time.Second), Owner: ref.owner(), Tags: tags}
}

// discover puts the discovery into the ECS service and its task definition. It comes before the
// digest of the definition's content.
func discover(t Target, d *desired, tags map[string]string) {
	disc := t.Spec.Discovery
	if disc == nil {
		return
	}
	main := &d.definition.Containers[0]
	switch disc.Kind {
	case "cloudmap":
		d.registry = registry(t, d.ref, tags)
	case "connect":
		d.connect = &Connect{Namespace: disc.Namespace, Name: cmp.Or(disc.Name, t.Spec.Name)}
		if len(main.Ports) > 0 {
			main.Ports = slices.Clone(main.Ports)
			main.Ports[0].Name = cmp.Or(main.Ports[0].Name, "main")
			d.connect.PortName, d.connect.Port = main.Ports[0].Name, main.Ports[0].Container
		}
	}
}

func checkDiscovery(spec service.Spec) error {
	d := spec.Discovery
	switch {
	case d == nil:
	case d.Kind == "consul":
		return refuse("not supported: discovery by consul in Terraform; slipway.yaml writes the agent as a container of the task, or use cloudmap, connect or a route")
	case d.Kind != "cloudmap" && d.Kind != "connect":
		return refuse("not supported: discovery by %s; use cloudmap, connect or a route", d.Kind)
	case spec.Kind == service.KindJob:
		return refuse("a job cannot be found by other services: it ends")
	case d.Namespace == "":
		return refuse("discovery needs a namespace")
	case d.Kind == "connect" && spec.Kind == service.KindDaemon:
		return refuse("ECS has no Service Connect for daemons; use cloudmap")
	case d.Kind == "connect" && spec.NetworkMode == "host":
		return refuse("ECS has no Service Connect in the host network; use bridge or awsvpc")
	case d.Kind == "cloudmap" && d.Record != "A" && len(spec.Containers[0].Ports) == 0:
		return refuse("an SRV record says the port, but container %s has none", spec.Containers[0].Name)
	}
	return nil
}

func (d desired) serviceRegistry(arn string) *ServiceRegistry {
	r := &ServiceRegistry{ARN: arn}
	if d.registry.Record == "SRV" {
		main := d.definition.Containers[0]
		r.Container, r.Port = main.Name, main.Ports[0].Container
	}
	return r
}

// registryChange finds the registry among those of the service. A registry whose fixed parts differ
// is another one: the old goes when no task is registered in it.
func registryChanges(d desired, o observed) []Change {
	var out []Change
	if d.registry != nil {
		c := Change{Resource: resRegistry, Name: d.registry.Name + "." + d.registry.Namespace, Action: Create}
		if have := o.registry(*d.registry); have != nil {
			c.Action = ""
			c.field("ttl", have.TTL, d.registry.TTL)
			c.tags(have.Tags, d.registry.Tags)
		}
		out = append(out, c)
	}
	for _, have := range o.registries {
		if d.registry == nil || !sameRegistry(have, *d.registry) {
			out = append(out, Change{Resource: resRegistry, Name: have.ARN, Action: Delete})
		}
	}
	return out
}

func sameRegistry(a, b Registry) bool {
	return a.Namespace == b.Namespace && a.Name == b.Name && a.Record == b.Record
}

func (o observed) registry(want Registry) *Registry {
	for i := range o.registries {
		if sameRegistry(o.registries[i], want) {
			return &o.registries[i]
		}
	}
	return nil
}

func (r *run) registry(ctx context.Context) error {
	want := r.d.registry
	if want == nil {
		return nil
	}
	name := want.Name + "." + want.Namespace
	a := r.action(resRegistry, name)
	have := r.o.registry(*want)
	if have != nil {
		want.ARN = have.ARN
	}
	if r.ports.Registries == nil {
		return refuse("not supported: discovery by Cloud Map from here")
	}
	if a != Keep {
		put, err := r.ports.Registries.PutRegistry(ctx, *want)
		if errors.Is(err, ErrNotFound) {
			return refuse("there is no Cloud Map namespace %s: make it in the cluster's VPC, with aws servicediscovery create-private-dns-namespace", want.Namespace)
		}
		if err != nil {
			return fmt.Errorf("keeping discovery service %s: %w", name, err)
		}
		want.ARN = put.ARN
	}
	r.d.service.Registry = r.d.serviceRegistry(want.ARN)
	r.step(resRegistry, a, "discovery service %s (%s)", name, want.Record)
	return nil
}

// observeRegistries reads the Cloud Map services of an ECS service, where it has or will have one.
func (e *Engine) observeRegistries(ctx context.Context, ref Ref, o *observed) (err error) {
	if e.ports.Registries == nil {
		return nil
	}
	if o.registries, err = e.ports.Registries.Registries(ctx, ref.owner()); err != nil {
		return fmt.Errorf("reading the discovery services of %s: %w", ref.Service, err)
	}
	return nil
}

// discoveryFields are the fields of the ECS service; a change of them replaces tasks.
func discoveryFields(c *Change, d desired, o observed) {
	have, want := "", ""
	if o.service.Registry != nil {
		have = o.service.Registry.ARN
	}
	if d.registry != nil {
		want = "new"
		if r := o.registry(*d.registry); r != nil {
			want = r.ARN
		}
	}
	c.field("registry", have, want)
	c.field("connect", connectText(o.service.Connect), connectText(d.connect))
}

func connectText(c *Connect) string {
	if c == nil {
		return ""
	}
	return fmt.Sprintf("%s:%d in %s (port %s)", c.Name, c.Port, c.Namespace, c.PortName)
}

// registries come after the tasks: one with a task registered cannot be deleted.
func (x *removal) registries(ctx context.Context) error {
	for _, r := range x.o.registries {
		for {
			err := x.ports.Registries.DeleteRegistry(ctx, r.ARN)
			if err == nil || errors.Is(err, ErrNotFound) {
				break
			}
			if !errors.Is(err, ErrInUse) || x.clock.Now().After(x.deadline) {
				return fmt.Errorf("deleting discovery service %s: %w", r.Name, err)
			}
			if err := x.clock.Wait(ctx, time.Second); err != nil {
				return err
			}
		}
		x.gone(resRegistry, "discovery service %s.%s", r.Name, r.Namespace)
	}
	return nil
}

// discoveryOf writes the Spec's part back from what AWS has.
func discoveryOf(s Service, o observed) *service.Discovery {
	if c := s.Connect; c != nil {
		return &service.Discovery{Kind: "connect", Namespace: c.Namespace, Name: c.Name}
	}
	if s.Registry == nil {
		return nil
	}
	for _, r := range o.registries {
		if r.ARN == s.Registry.ARN {
			return &service.Discovery{Kind: "cloudmap", Namespace: r.Namespace, Name: r.Name, Record: r.Record, TTL: r.TTL}
		}
	}
	return &service.Discovery{Kind: "cloudmap"}
}
