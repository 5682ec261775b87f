package servicediscovery

import (
	"context"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
	"github.com/slipway-ecs/slipway/internal/local/wire/servicediscoveryapi"
)

func (r *Registry) put(tx *state.Tx, in *Instance) {
	r.instances.Put(tx, in.ServiceID+"/"+in.ID, in)
	r.services.Modify(tx, in.ServiceID, func(s *Service) { s.Revision++ })
}

func (r *Registry) drop(tx *state.Tx, service, id string) bool {
	if !r.instances.Delete(tx, service+"/"+id) {
		return false
	}
	r.services.Modify(tx, service, func(s *Service) { s.Revision++ })
	return true
}

func (r *Registry) register(_ context.Context, in *servicediscoveryapi.RegisterInstanceInput) (*servicediscoveryapi.RegisterInstanceOutput, error) {
	out := &servicediscoveryapi.RegisterInstanceOutput{}
	return out, r.c.DB.Update(func(tx *state.Tx) error {
		s, err := r.service(tx, *in.ServiceId)
		if err != nil {
			return err
		}
		if s.API.DnsConfig != nil {
			for _, rec := range s.API.DnsConfig.DnsRecords {
				if net.ParseIP(in.Attributes["AWS_INSTANCE_IPV4"]) == nil {
					return wire.Errorf("InvalidInput", "AWS_INSTANCE_IPV4 is required for %s records.", wire.Value(rec.Type))
				}
				if _, err := strconv.ParseUint(in.Attributes["AWS_INSTANCE_PORT"], 10, 16); wire.Value(rec.Type) == "SRV" && err != nil {
					return wire.Errorf("InvalidInput", "AWS_INSTANCE_PORT is required for SRV records.")
				}
			}
		}
		attrs := maps.Clone(in.Attributes)
		i := &Instance{ServiceID: *s.API.Id, ID: *in.InstanceId, Attributes: attrs, Creator: wire.Value(in.CreatorRequestId)}
		if s.API.HealthCheckCustomConfig != nil {
			i.Health = "HEALTHY"
			if v := attrs["AWS_INIT_HEALTH_STATUS"]; v != "" {
				i.Health = v
			}
		}
		r.put(tx, i)
		out.OperationId = r.done(tx, "REGISTER_INSTANCE", "INSTANCE", i.ID)
		return nil
	})
}

func noInstance(id *string) error {
	return wire.Errorf("InstanceNotFound", "No instance exists with the ID %s.", wire.Value(id))
}

func (r *Registry) deregister(_ context.Context, in *servicediscoveryapi.DeregisterInstanceInput) (*servicediscoveryapi.DeregisterInstanceOutput, error) {
	out := &servicediscoveryapi.DeregisterInstanceOutput{}
	return out, r.c.DB.Update(func(tx *state.Tx) error {
		s, err := r.service(tx, *in.ServiceId)
		if err != nil {
			return err
		}
		if !r.drop(tx, *s.API.Id, *in.InstanceId) {
			return noInstance(in.InstanceId)
		}
		out.OperationId = r.done(tx, "DEREGISTER_INSTANCE", "INSTANCE", *in.InstanceId)
		return nil
	})
}

func (r *Registry) getInstance(_ context.Context, in *servicediscoveryapi.GetInstanceInput) (*servicediscoveryapi.GetInstanceOutput, error) {
	out := &servicediscoveryapi.GetInstanceOutput{}
	return out, r.c.DB.View(func(tx *state.Tx) error {
		s, err := r.service(tx, *in.ServiceId)
		if err != nil {
			return err
		}
		i, ok := r.instances.Get(tx, *s.API.Id+"/"+*in.InstanceId)
		if !ok {
			return noInstance(in.InstanceId)
		}
		out.Instance = &servicediscoveryapi.Instance{Id: &i.ID, Attributes: i.Attributes, CreatorRequestId: wire.NonEmpty(i.Creator), CreatedByAccount: &r.c.Account}
		return nil
	})
}

// each goes over a service's instances by pages and returns the next token.
func (r *Registry) each(tx *state.Tx, service, token *string, limit int, f func(*Instance)) (next *string, err error) {
	s, err := r.service(tx, *service)
	if err != nil {
		return nil, err
	}
	n := 0
	for key, i := range r.instances.Prefix(tx, *s.API.Id+"/") {
		if key < wire.Value(token) {
			continue
		}
		if n == limit {
			return wire.Ptr(key), nil
		}
		n++
		f(i)
	}
	return nil, nil
}

func (r *Registry) listInstances(_ context.Context, in *servicediscoveryapi.ListInstancesInput) (*servicediscoveryapi.ListInstancesOutput, error) {
	out := &servicediscoveryapi.ListInstancesOutput{Instances: []servicediscoveryapi.InstanceSummary{}}
	return out, r.c.DB.View(func(tx *state.Tx) (err error) {
		out.NextToken, err = r.each(tx, in.ServiceId, in.NextToken, limitOf(in.MaxResults), func(i *Instance) {
			out.Instances = append(out.Instances, servicediscoveryapi.InstanceSummary{Id: &i.ID, Attributes: i.Attributes, CreatedByAccount: &r.c.Account})
		})
		return err
	})
}

func (r *Registry) health(_ context.Context, in *servicediscoveryapi.GetInstancesHealthStatusInput) (*servicediscoveryapi.GetInstancesHealthStatusOutput, error) {
	out := &servicediscoveryapi.GetInstancesHealthStatusOutput{Status: map[string]string{}}
	return out, r.c.DB.View(func(tx *state.Tx) (err error) {
		out.NextToken, err = r.each(tx, in.ServiceId, in.NextToken, limitOf(in.MaxResults), func(i *Instance) {
			if len(in.Instances) == 0 || slices.Contains(in.Instances, i.ID) {
				out.Status[i.ID] = shownHealth(i)
			}
		})
		return err
	})
}

func shownHealth(i *Instance) string {
	if i.Health == "" {
		return "UNKNOWN"
	}
	return i.Health
}

func (r *Registry) setHealth(_ context.Context, in *servicediscoveryapi.UpdateInstanceCustomHealthStatusInput) (*servicediscoveryapi.UpdateInstanceCustomHealthStatusOutput, error) {
	if *in.Status != "HEALTHY" && *in.Status != "UNHEALTHY" {
		return nil, wire.Errorf("InvalidInput", "The status %s is not valid.", *in.Status)
	}
	return &servicediscoveryapi.UpdateInstanceCustomHealthStatusOutput{}, r.c.DB.Update(func(tx *state.Tx) error {
		s, err := r.service(tx, *in.ServiceId)
		if err != nil {
			return err
		}
		if s.API.HealthCheckCustomConfig == nil {
			return wire.Errorf("CustomHealthNotFound", "The service has no custom health check.")
		}
		i, ok := r.instances.Get(tx, *s.API.Id+"/"+*in.InstanceId)
		if !ok {
			return noInstance(in.InstanceId)
		}
		n := *i
		n.Health = *in.Status
		r.put(tx, &n)
		return nil
	})
}

func (r *Registry) named(tx *state.Tx, namespace, service string) (*Service, error) {
	for id, n := range r.namespaces.All(tx) {
		if !strings.EqualFold(*n.API.Name, namespace) {
			continue
		}
		for _, s := range r.services.All(tx) {
			if *s.API.NamespaceId == id && strings.EqualFold(*s.API.Name, service) {
				return s, nil
			}
		}
		return nil, wire.Errorf("ServiceNotFound", "No service exists with the name %s.", service)
	}
	return nil, wire.Errorf("NamespaceNotFound", "No namespace exists with the name %s.", namespace)
}

func (r *Registry) discover(_ context.Context, in *servicediscoveryapi.DiscoverInstancesInput) (*servicediscoveryapi.DiscoverInstancesOutput, error) {
	out := &servicediscoveryapi.DiscoverInstancesOutput{Instances: []servicediscoveryapi.HttpInstanceSummary{}}
	want := wire.Value(in.HealthStatus)
	if want == "" {
		want = "HEALTHY_OR_ELSE_ALL"
	}
	return out, r.c.DB.View(func(tx *state.Tx) error {
		s, err := r.named(tx, *in.NamespaceName, *in.ServiceName)
		if err != nil {
			return err
		}
		out.InstancesRevision = &s.Revision
		var all, found []*Instance
		for _, i := range r.instances.Prefix(tx, *s.API.Id+"/") {
			if !contains(i.Attributes, in.QueryParameters) {
				continue
			}
			all = append(all, i)
			if want == "ALL" || (i.Health == "UNHEALTHY") == (want == "UNHEALTHY") {
				found = append(found, i)
			}
		}
		if len(found) == 0 && want == "HEALTHY_OR_ELSE_ALL" {
			found = all
		}
		if better := slices.DeleteFunc(slices.Clone(found), func(i *Instance) bool { return !contains(i.Attributes, in.OptionalParameters) }); len(better) > 0 {
			found = better
		}
		for _, i := range found[:min(len(found), limitOf(in.MaxResults))] {
			out.Instances = append(out.Instances, servicediscoveryapi.HttpInstanceSummary{InstanceId: &i.ID, NamespaceName: in.NamespaceName, ServiceName: in.ServiceName, Attributes: i.Attributes, HealthStatus: wire.Ptr(shownHealth(i))})
		}
		return nil
	})
}

func contains(attrs, want map[string]string) bool {
	for k, v := range want {
		if attrs[k] != v {
			return false
		}
	}
	return true
}

func (r *Registry) revision(_ context.Context, in *servicediscoveryapi.DiscoverInstancesRevisionInput) (*servicediscoveryapi.DiscoverInstancesRevisionOutput, error) {
	out := &servicediscoveryapi.DiscoverInstancesRevisionOutput{}
	return out, r.c.DB.View(func(tx *state.Tx) error {
		s, err := r.named(tx, *in.NamespaceName, *in.ServiceName)
		if err == nil {
			out.InstancesRevision = &s.Revision
		}
		return err
	})
}

// Run keeps the tasks of ECS services with service registries registered until ctx ends.
func (r *Registry) Run(ctx context.Context) error {
	w := r.c.DB.Watch(state.TableTasks, state.TableServices)
	defer w.Stop()
	for {
		w.Drain()
		if err := r.follow(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.C:
		}
	}
}

// follow makes the instances registered for tasks those of the tasks that run.
func (r *Registry) follow() error {
	var put []*Instance
	var gone []*Instance
	_ = r.c.DB.View(func(tx *state.Tx) error {
		wanted := map[string]*Instance{}
		for key, svc := range r.c.ECS.Services.All(tx) {
			if len(svc.Spec.ServiceRegistries) == 0 {
				continue
			}
			for _, t := range r.c.ECS.TasksByService.Get(tx, key) {
				if t.LastStatus != "RUNNING" || t.DesiredStatus != "RUNNING" {
					continue
				}
				for _, reg := range svc.Spec.ServiceRegistries {
					if i := r.instance(tx, svc, t, reg); i != nil {
						wanted[i.ServiceID+"/"+i.ID] = i
					}
				}
			}
		}
		for key, i := range r.instances.All(tx) {
			w, ok := wanted[key]
			if ok && w.Health == "" {
				w.Health = i.Health // as it was, or as a caller set it
			}
			switch {
			case i.Task == "":
			case !ok:
				gone = append(gone, i)
			case maps.Equal(w.Attributes, i.Attributes) && w.Health == i.Health:
				delete(wanted, key)
			}
		}
		for _, i := range wanted {
			if s, ok := r.services.Get(tx, i.ServiceID); ok && s.API.HealthCheckCustomConfig == nil {
				i.Health = ""
			} else if i.Health == "" {
				i.Health = "HEALTHY"
			}
			put = append(put, i)
		}
		return nil
	})
	if len(put)+len(gone) == 0 {
		return nil
	}
	return r.c.DB.Update(func(tx *state.Tx) error {
		for _, i := range put {
			if _, ok := r.services.Get(tx, i.ServiceID); ok {
				r.put(tx, i)
			}
		}
		for _, i := range gone {
			r.drop(tx, i.ServiceID, i.ID)
		}
		return nil
	})
}

// instance is a task as ECS registers it
// (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-discovery.html). The address is the real
// one on this machine, so that whoever finds it can connect.
func (r *Registry) instance(tx *state.Tx, svc *state.Service, t *state.Task, reg ecsapi.ServiceRegistry) *Instance {
	s, err := r.service(tx, wire.Value(reg.RegistryArn))
	if err != nil {
		return nil
	}
	addr, port := "", 0
	if t.ENI != nil {
		addr = t.ENI.PrivateIP
	}
	for _, c := range t.Containers {
		if reg.ContainerName != nil && *reg.ContainerName != c.Name {
			continue
		}
		for _, b := range c.Bindings {
			if reg.ContainerPort != nil && int(*reg.ContainerPort) != b.ContainerPort || reg.Port != nil && int(*reg.Port) != b.ContainerPort {
				continue
			}
			if host, p, err := net.SplitHostPort(b.Addr); err == nil && port == 0 {
				addr = host
				port, _ = strconv.Atoi(p) // SplitHostPort gives digits here
			}
		}
	}
	if addr == "" {
		return nil
	}
	if port == 0 {
		port = int(wire.Value(reg.Port))
	}
	attrs := map[string]string{"AWS_INSTANCE_IPV4": addr, "AVAILABILITY_ZONE": t.AZ, "REGION": r.c.Region, "ECS_SERVICE_NAME": svc.Name, "ECS_CLUSTER_NAME": svc.ClusterName,
		"ECS_TASK_DEFINITION_FAMILY": strings.SplitN(t.TaskDefinition[strings.LastIndexByte(t.TaskDefinition, '/')+1:], ":", 2)[0]}
	if port != 0 {
		attrs["AWS_INSTANCE_PORT"] = strconv.Itoa(port)
	}
	i := &Instance{ServiceID: *s.API.Id, ID: t.ID, Attributes: attrs, Task: t.ARN}
	if s.API.HealthCheckCustomConfig != nil && (t.HealthStatus == "HEALTHY" || t.HealthStatus == "UNHEALTHY") {
		i.Health = t.HealthStatus
	}
	return i
}
