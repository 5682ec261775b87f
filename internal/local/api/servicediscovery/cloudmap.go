// Package servicediscovery is Cloud Map of the local AWS: namespaces, services and instances. The
// tasks of ECS services with service registries are registered as they run, and private DNS
// namespaces are answered for real.
package servicediscovery

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/servicediscoveryapi"
)

// Namespace is a namespace. Key: id.
type Namespace struct {
	API  servicediscoveryapi.Namespace
	Tags []servicediscoveryapi.Tag
}

// Service is a service of a namespace. Key: id.
type Service struct {
	API      servicediscoveryapi.Service
	Tags     []servicediscoveryapi.Tag
	Revision int64 // grows with each change of its instances
}

// Instance is where a service is found. Key: service id, a slash, instance id.
type Instance struct {
	ServiceID, ID string
	Attributes    map[string]string
	Creator       string
	Health        string // HEALTHY, UNHEALTHY; where the service has a custom health check
	Task          string // ARN of the ECS task it was registered for; "" by a caller
}

// Operation is what a caller may ask about after a change. Key: id.
type Operation struct {
	API servicediscoveryapi.Operation
}

// Config is what the service needs to know.
type Config struct {
	DB              *state.DB
	ECS             *state.ECS
	Clock           clock.Clock
	Log             *slog.Logger
	Region, Account string
}

// Registry is Cloud Map. Its loop is Run.
type Registry struct {
	c          Config
	namespaces *state.Table[Namespace]
	services   *state.Table[Service]
	instances  *state.Table[Instance]
	operations *state.Table[Operation]
}

// Register adds the operations to svc and the tables to the store.
func Register(svc *wire.Service, c Config) (*Registry, error) {
	r := &Registry{c: c}
	var err error
	if r.namespaces, err = state.NewTable[Namespace](c.DB, "cloudmap.namespaces"); err != nil {
		return nil, err
	}
	if r.services, err = state.NewTable[Service](c.DB, "cloudmap.services"); err != nil {
		return nil, err
	}
	if r.instances, err = state.NewTable[Instance](c.DB, "cloudmap.instances"); err != nil {
		return nil, err
	}
	if r.operations, err = state.NewTable[Operation](c.DB, "cloudmap.operations"); err != nil {
		return nil, err
	}
	const done = "the operation is done when it is answered"
	wire.Handle(svc, "CreateHttpNamespace", r.createHTTP)
	wire.Handle(svc, "CreatePrivateDnsNamespace", r.createPrivate, wire.Partly("names are answered on the machine, not only in the VPC; "+done))
	wire.Handle(svc, "DeleteNamespace", r.deleteNamespace)
	wire.Handle(svc, "GetNamespace", r.getNamespace)
	wire.Handle(svc, "ListNamespaces", r.listNamespaces)
	wire.Handle(svc, "CreateService", r.createService, wire.Partly("Route 53 health checks are refused; A and SRV records are answered"))
	wire.Handle(svc, "DeleteService", r.deleteService)
	wire.Handle(svc, "GetService", r.getService)
	wire.Handle(svc, "ListServices", r.listServices)
	wire.Handle(svc, "RegisterInstance", r.register)
	wire.Handle(svc, "DeregisterInstance", r.deregister)
	wire.Handle(svc, "GetInstance", r.getInstance)
	wire.Handle(svc, "ListInstances", r.listInstances)
	wire.Handle(svc, "GetInstancesHealthStatus", r.health)
	wire.Handle(svc, "UpdateInstanceCustomHealthStatus", r.setHealth)
	wire.Handle(svc, "DiscoverInstances", r.discover)
	wire.Handle(svc, "DiscoverInstancesRevision", r.revision)
	wire.Handle(svc, "GetOperation", r.getOperation)
	wire.Handle(svc, "ListOperations", r.listOperations)
	wire.Handle(svc, "TagResource", r.tag)
	wire.Handle(svc, "UntagResource", r.untag)
	wire.Handle(svc, "ListTagsForResource", r.tags)
	return r, nil
}

func newID(prefix string) string {
	const letters = "abcdefghijklmnopqrstuvwxyz234567"
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	for i := range b {
		b[i] = letters[int(b[i])%len(letters)]
	}
	return prefix + string(b)
}

func (r *Registry) arn(kind, id string) *string {
	return wire.Ptr(fmt.Sprintf("arn:aws:servicediscovery:%s:%s:%s/%s", r.c.Region, r.c.Account, kind, id))
}

// done records an operation that has succeeded already.
func (r *Registry) done(tx *state.Tx, kind, target, id string) *string {
	now := wire.Timestamp(r.c.Clock.Now())
	op := servicediscoveryapi.Operation{Id: wire.Ptr(newID("")), Type: &kind, Status: wire.String("SUCCESS"), CreateDate: now, UpdateDate: now, Targets: map[string]string{target: id}, OwnerAccount: &r.c.Account}
	r.operations.Put(tx, *op.Id, &Operation{API: op})
	return op.Id
}

func (r *Registry) getOperation(_ context.Context, in *servicediscoveryapi.GetOperationInput) (*servicediscoveryapi.GetOperationOutput, error) {
	out := &servicediscoveryapi.GetOperationOutput{}
	return out, r.c.DB.View(func(tx *state.Tx) error {
		op, ok := r.operations.Get(tx, *in.OperationId)
		if !ok {
			return wire.Errorf("OperationNotFound", "No operation exists with the specified ID.")
		}
		out.Operation = &op.API
		return nil
	})
}

var validName = regexp.MustCompile(`^[!-~]{1,253}$`)

func (r *Registry) createNamespace(kind, name string, creator, description *string, tags []servicediscoveryapi.Tag, props *servicediscoveryapi.NamespaceProperties) (id *string, err error) {
	if !validName.MatchString(name) {
		return nil, wire.Errorf("InvalidInput", "The name %s is not valid.", name)
	}
	return id, r.c.DB.Update(func(tx *state.Tx) error {
		for k, n := range r.namespaces.All(tx) {
			if *n.API.Name != name {
				continue
			}
			e := wire.Errorf("NamespaceAlreadyExists", "Namespace with name %s already exists.", name)
			e.Fields = map[string]any{"NamespaceId": k, "CreatorRequestId": wire.Value(n.API.CreatorRequestId)}
			return e
		}
		ns := newID("ns-")
		r.namespaces.Put(tx, ns, &Namespace{API: servicediscoveryapi.Namespace{Id: &ns, Arn: r.arn("namespace", ns), Name: &name, Type: &kind, Description: description, CreatorRequestId: creator,
			CreateDate: wire.Timestamp(r.c.Clock.Now()), Properties: props, ResourceOwner: wire.String("SELF")}, Tags: tags})
		id = r.done(tx, "CREATE_NAMESPACE", "NAMESPACE", ns)
		return nil
	})
}

func (r *Registry) createHTTP(_ context.Context, in *servicediscoveryapi.CreateHttpNamespaceInput) (*servicediscoveryapi.CreateHttpNamespaceOutput, error) {
	id, err := r.createNamespace("HTTP", *in.Name, in.CreatorRequestId, in.Description, in.Tags, &servicediscoveryapi.NamespaceProperties{HttpProperties: &servicediscoveryapi.HttpProperties{HttpName: in.Name}})
	return &servicediscoveryapi.CreateHttpNamespaceOutput{OperationId: id}, err
}

func (r *Registry) createPrivate(_ context.Context, in *servicediscoveryapi.CreatePrivateDnsNamespaceInput) (*servicediscoveryapi.CreatePrivateDnsNamespaceOutput, error) {
	soa := &servicediscoveryapi.SOA{TTL: wire.Int64(15)}
	if p := in.Properties; p != nil && p.DnsProperties != nil && p.DnsProperties.SOA != nil {
		soa = p.DnsProperties.SOA
	}
	zone := "Z" + strings.ToUpper(newID(""))
	id, err := r.createNamespace("DNS_PRIVATE", *in.Name, in.CreatorRequestId, in.Description, in.Tags,
		&servicediscoveryapi.NamespaceProperties{DnsProperties: &servicediscoveryapi.DnsProperties{HostedZoneId: &zone, SOA: soa}, HttpProperties: &servicediscoveryapi.HttpProperties{HttpName: in.Name}})
	return &servicediscoveryapi.CreatePrivateDnsNamespaceOutput{OperationId: id}, err
}

func (r *Registry) namespace(tx *state.Tx, ref string) (*Namespace, error) {
	if _, id, ok := strings.Cut(ref, ":namespace/"); ok {
		ref = id
	}
	n, ok := r.namespaces.Get(tx, ref)
	if !ok {
		return nil, wire.Errorf("NamespaceNotFound", "No namespace exists with the ID %s.", ref)
	}
	return n, nil
}

// NamespaceName is the name of a namespace given by name, id or ARN; of an unknown one what was given.
func (r *Registry) NamespaceName(tx *state.Tx, ref string) string {
	n, err := r.namespace(tx, ref)
	if err != nil {
		return ref
	}
	return *n.API.Name
}

func (r *Registry) deleteNamespace(_ context.Context, in *servicediscoveryapi.DeleteNamespaceInput) (*servicediscoveryapi.DeleteNamespaceOutput, error) {
	out := &servicediscoveryapi.DeleteNamespaceOutput{}
	return out, r.c.DB.Update(func(tx *state.Tx) error {
		n, err := r.namespace(tx, *in.Id)
		if err != nil {
			return err
		}
		if r.servicesOf(tx, *n.API.Id) > 0 {
			return wire.Errorf("ResourceInUse", "Namespace has associated services.")
		}
		r.namespaces.Delete(tx, *n.API.Id)
		out.OperationId = r.done(tx, "DELETE_NAMESPACE", "NAMESPACE", *n.API.Id)
		return nil
	})
}

func (r *Registry) servicesOf(tx *state.Tx, namespace string) int {
	n := 0
	for _, s := range r.services.All(tx) {
		if *s.API.NamespaceId == namespace {
			n++
		}
	}
	return n
}

func (r *Registry) getNamespace(_ context.Context, in *servicediscoveryapi.GetNamespaceInput) (*servicediscoveryapi.GetNamespaceOutput, error) {
	out := &servicediscoveryapi.GetNamespaceOutput{}
	return out, r.c.DB.View(func(tx *state.Tx) error {
		n, err := r.namespace(tx, *in.Id)
		if err == nil {
			api := n.API
			api.ServiceCount = wire.Int32(r.servicesOf(tx, *n.API.Id))
			out.Namespace = &api
		}
		return err
	})
}

func limitOf(n *int32) int {
	if n == nil {
		return 100
	}
	return int(*n)
}

func (r *Registry) listNamespaces(_ context.Context, in *servicediscoveryapi.ListNamespacesInput) (*servicediscoveryapi.ListNamespacesOutput, error) {
	out := &servicediscoveryapi.ListNamespacesOutput{Namespaces: []servicediscoveryapi.NamespaceSummary{}}
	return out, r.c.DB.View(func(tx *state.Tx) error {
		for id, n := range r.namespaces.From(tx, wire.Value(in.NextToken)) {
			if !slices.ContainsFunc(in.Filters, func(f servicediscoveryapi.NamespaceFilter) bool {
				v := map[string]*string{"TYPE": n.API.Type, "NAME": n.API.Name, "HTTP_NAME": n.API.Name, "RESOURCE_OWNER": n.API.ResourceOwner}[*f.Name]
				if wire.Value(f.Condition) == "BEGINS_WITH" {
					return !strings.HasPrefix(wire.Value(v), f.Values[0])
				}
				return !slices.Contains(f.Values, wire.Value(v))
			}) {
				if len(out.Namespaces) == limitOf(in.MaxResults) {
					out.NextToken = wire.Ptr(id)
					break
				}
				a := n.API
				out.Namespaces = append(out.Namespaces, servicediscoveryapi.NamespaceSummary{Id: a.Id, Arn: a.Arn, Name: a.Name, Type: a.Type, Description: a.Description, CreateDate: a.CreateDate,
					Properties: a.Properties, ResourceOwner: a.ResourceOwner, ServiceCount: wire.Int32(r.servicesOf(tx, id))})
			}
		}
		return nil
	})
}

func (r *Registry) createService(_ context.Context, in *servicediscoveryapi.CreateServiceInput) (*servicediscoveryapi.CreateServiceOutput, error) {
	if in.HealthCheckConfig != nil {
		return nil, wire.Errorf("InvalidInput", "not supported by this local AWS: Route 53 health checks; use HealthCheckCustomConfig")
	}
	ns := wire.Value(in.NamespaceId)
	if ns == "" && in.DnsConfig != nil {
		ns = wire.Value(in.DnsConfig.NamespaceId)
	}
	out := &servicediscoveryapi.CreateServiceOutput{}
	return out, r.c.DB.Update(func(tx *state.Tx) error {
		n, err := r.namespace(tx, ns)
		if err != nil {
			return err
		}
		id := *n.API.Id
		kind := "HTTP"
		if in.DnsConfig != nil {
			if *n.API.Type == "HTTP" {
				return wire.Errorf("InvalidInput", "DnsConfig is not supported in an HTTP namespace.")
			}
			kind = "DNS_HTTP"
			for _, rec := range in.DnsConfig.DnsRecords {
				if t := wire.Value(rec.Type); t != "A" && t != "SRV" {
					return wire.Errorf("InvalidInput", "not supported by this local AWS: %s records", t)
				}
			}
		}
		for k, s := range r.services.All(tx) {
			if *s.API.NamespaceId == id && strings.EqualFold(*s.API.Name, *in.Name) {
				e := wire.Errorf("ServiceAlreadyExists", "Service already exists.")
				e.Fields = map[string]any{"ServiceId": k, "ServiceArn": *s.API.Arn, "CreatorRequestId": wire.Value(s.API.CreatorRequestId)}
				return e
			}
		}
		srv := newID("srv-")
		s := &Service{API: servicediscoveryapi.Service{Id: &srv, Arn: r.arn("service", srv), Name: in.Name, NamespaceId: &id, Description: in.Description, DnsConfig: in.DnsConfig, HealthCheckCustomConfig: in.HealthCheckCustomConfig,
			CreateDate: wire.Timestamp(r.c.Clock.Now()), CreatorRequestId: in.CreatorRequestId, Type: &kind, ResourceOwner: wire.String("SELF"), CreatedByAccount: &r.c.Account}, Tags: in.Tags}
		if s.API.DnsConfig != nil && s.API.DnsConfig.RoutingPolicy == nil {
			d := *s.API.DnsConfig
			d.RoutingPolicy, d.NamespaceId = wire.String("MULTIVALUE"), &id
			s.API.DnsConfig = &d
		}
		r.services.Put(tx, srv, s)
		out.Service = &s.API
		return nil
	})
}

func (r *Registry) service(tx *state.Tx, ref string) (*Service, error) {
	if _, id, ok := strings.Cut(ref, ":service/"); ok {
		ref = id
	}
	s, ok := r.services.Get(tx, ref)
	if !ok {
		return nil, wire.Errorf("ServiceNotFound", "No service exists with the ID %s.", ref)
	}
	return s, nil
}

func (r *Registry) count(tx *state.Tx, service string) int {
	n := 0
	for range r.instances.Prefix(tx, service+"/") {
		n++
	}
	return n
}

func (r *Registry) deleteService(_ context.Context, in *servicediscoveryapi.DeleteServiceInput) (*servicediscoveryapi.DeleteServiceOutput, error) {
	return &servicediscoveryapi.DeleteServiceOutput{}, r.c.DB.Update(func(tx *state.Tx) error {
		s, err := r.service(tx, *in.Id)
		if err != nil {
			return err
		}
		if r.count(tx, *s.API.Id) > 0 {
			return wire.Errorf("ResourceInUse", "Service contains registered instances; delete the instances before deleting the service")
		}
		r.services.Delete(tx, *s.API.Id)
		return nil
	})
}

func (r *Registry) getService(_ context.Context, in *servicediscoveryapi.GetServiceInput) (*servicediscoveryapi.GetServiceOutput, error) {
	out := &servicediscoveryapi.GetServiceOutput{}
	return out, r.c.DB.View(func(tx *state.Tx) error {
		s, err := r.service(tx, *in.Id)
		if err == nil {
			api := s.API
			api.InstanceCount = wire.Int32(r.count(tx, *s.API.Id))
			out.Service = &api
		}
		return err
	})
}

func (r *Registry) listServices(_ context.Context, in *servicediscoveryapi.ListServicesInput) (*servicediscoveryapi.ListServicesOutput, error) {
	out := &servicediscoveryapi.ListServicesOutput{Services: []servicediscoveryapi.ServiceSummary{}}
	return out, r.c.DB.View(func(tx *state.Tx) error {
		for id, s := range r.services.From(tx, wire.Value(in.NextToken)) {
			if slices.ContainsFunc(in.Filters, func(f servicediscoveryapi.ServiceFilter) bool {
				return *f.Name == "NAMESPACE_ID" && !slices.Contains(f.Values, *s.API.NamespaceId)
			}) {
				continue
			}
			if len(out.Services) == limitOf(in.MaxResults) {
				out.NextToken = wire.Ptr(id)
				break
			}
			a := s.API
			out.Services = append(out.Services, servicediscoveryapi.ServiceSummary{Id: a.Id, Arn: a.Arn, Name: a.Name, Type: a.Type, Description: a.Description, DnsConfig: a.DnsConfig, CreateDate: a.CreateDate,
				HealthCheckCustomConfig: a.HealthCheckCustomConfig, InstanceCount: wire.Int32(r.count(tx, id)), ResourceOwner: a.ResourceOwner})
		}
		return nil
	})
}

func (r *Registry) retag(arn *string, f func([]servicediscoveryapi.Tag) []servicediscoveryapi.Tag) error {
	return r.c.DB.Update(func(tx *state.Tx) error {
		if n, err := r.namespace(tx, wire.Value(arn)); err == nil {
			r.namespaces.Modify(tx, *n.API.Id, func(n *Namespace) { n.Tags = f(slices.Clone(n.Tags)) })
			return nil
		}
		s, err := r.service(tx, wire.Value(arn))
		if err != nil {
			return wire.Errorf("ResourceNotFoundException", "The resource %s was not found.", wire.Value(arn))
		}
		r.services.Modify(tx, *s.API.Id, func(s *Service) { s.Tags = f(slices.Clone(s.Tags)) })
		return nil
	})
}

func (r *Registry) tag(_ context.Context, in *servicediscoveryapi.TagResourceInput) (*servicediscoveryapi.TagResourceOutput, error) {
	return &servicediscoveryapi.TagResourceOutput{}, r.retag(in.ResourceARN, func(tags []servicediscoveryapi.Tag) []servicediscoveryapi.Tag {
		for _, t := range in.Tags {
			tags = append(slices.DeleteFunc(tags, func(o servicediscoveryapi.Tag) bool { return *o.Key == *t.Key }), t)
		}
		return tags
	})
}

func (r *Registry) untag(_ context.Context, in *servicediscoveryapi.UntagResourceInput) (*servicediscoveryapi.UntagResourceOutput, error) {
	return &servicediscoveryapi.UntagResourceOutput{}, r.retag(in.ResourceARN, func(tags []servicediscoveryapi.Tag) []servicediscoveryapi.Tag {
		return slices.DeleteFunc(tags, func(o servicediscoveryapi.Tag) bool { return slices.Contains(in.TagKeys, *o.Key) })
	})
}

func (r *Registry) tags(_ context.Context, in *servicediscoveryapi.ListTagsForResourceInput) (*servicediscoveryapi.ListTagsForResourceOutput, error) {
	out := &servicediscoveryapi.ListTagsForResourceOutput{Tags: []servicediscoveryapi.Tag{}}
	return out, r.c.DB.View(func(tx *state.Tx) error {
		if n, err := r.namespace(tx, wire.Value(in.ResourceARN)); err == nil {
			out.Tags = append(out.Tags, n.Tags...)
			return nil
		}
		s, err := r.service(tx, wire.Value(in.ResourceARN))
		if err != nil {
			return wire.Errorf("ResourceNotFoundException", "The resource %s was not found.", wire.Value(in.ResourceARN))
		}
		out.Tags = append(out.Tags, s.Tags...)
		return nil
	})
}

// Record is an answer to a question of DNS.
type Record struct {
	TTL      time.Duration
	Address  netip.Addr
	Port     int    // of SRV records
	Instance string // a name of its own for the address of an SRV record
}

// Resolve answers a name, without a dot at its end, with the records of a type: A or SRV. Known says
// whether the name is in a namespace here at all; the namespace of an instance's own name too.
func (r *Registry) Resolve(name, kind string) (records []Record, known bool) {
	name = strings.ToLower(name)
	_ = r.c.DB.View(func(tx *state.Tx) error {
		for id, n := range r.namespaces.All(tx) {
			zone := strings.ToLower(*n.API.Name)
			rest, ok := strings.CutSuffix(name, "."+zone)
			if *n.API.Type != "DNS_PRIVATE" || !ok && name != zone {
				continue
			}
			known = true
			for sid, s := range r.services.All(tx) {
				if *s.API.NamespaceId != id || s.API.DnsConfig == nil {
					continue
				}
				only, own := strings.CutSuffix(rest, "."+strings.ToLower(*s.API.Name))
				if !own && rest != strings.ToLower(*s.API.Name) {
					continue
				}
				records = append(records, r.records(tx, sid, s, kind, only, own)...)
			}
		}
		return nil
	})
	return records, known
}

const mostAnswers = 8 // healthy instances in an answer: https://docs.aws.amazon.com/cloud-map/latest/dg/services-route-53.html

func (r *Registry) records(tx *state.Tx, id string, s *Service, kind, only string, own bool) []Record {
	ttl, has := time.Duration(0), false
	for _, rec := range s.API.DnsConfig.DnsRecords {
		if wire.Value(rec.Type) == kind || own && kind == "A" {
			ttl, has = time.Duration(wire.Value(rec.TTL))*time.Second, true
		}
	}
	if !has {
		return nil
	}
	var healthy, all []Record
	for _, in := range r.instances.Prefix(tx, id+"/") {
		addr, err := netip.ParseAddr(in.Attributes["AWS_INSTANCE_IPV4"])
		if err != nil || own && !strings.EqualFold(in.ID, only) {
			continue
		}
		port := 0
		_, _ = fmt.Sscan(in.Attributes["AWS_INSTANCE_PORT"], &port) // without one: 0
		rec := Record{TTL: ttl, Address: addr, Port: port, Instance: in.ID}
		if all = append(all, rec); in.Health != "UNHEALTHY" {
			healthy = append(healthy, rec)
		}
	}
	if len(healthy) == 0 {
		healthy = all // none healthy: all are answered
	}
	return healthy[:min(len(healthy), mostAnswers)]
}
