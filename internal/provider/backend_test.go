package provider

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/clusterinfra"
	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/service"
)

// memory stands for the engines where only the provider is tested: how plans and state are
// converted. The engines themselves are tested against the local AWS.
type memory struct {
	mu           sync.Mutex
	services     map[deploy.Ref]*deployed
	clusters     map[string]clusterinfra.State
	repositories map[string]clusterinfra.Repository
	tags         map[string]string // repository:tag → digest
	fail         error             // of the next Apply
	failOutcome  bool
	applies      []deploy.Target
}

type deployed struct {
	target   deploy.Target
	revision int
	state    string // of the rollout; empty = COMPLETED
}

func newMemory() *memory {
	return &memory{services: map[deploy.Ref]*deployed{}, clusters: map[string]clusterinfra.State{}, repositories: map[string]clusterinfra.Repository{}, tags: map[string]string{}}
}

func (m *memory) open(context.Context, awscloud.Options) (*Backend, error) {
	return &Backend{Services: memoryServices{m}, Clusters: memoryClusters{m}, Repositories: memoryRepositories{m}, World: memoryWorld{m}}, nil
}

type memoryServices struct{ *memory }

func (m memoryServices) outcome(d *deployed) deploy.Outcome {
	o := deploy.Outcome{ServiceARN: "arn:service/" + d.target.Ref().Service, Service: d.target.Ref().Service,
		TaskDefinition: fmt.Sprintf("arn:taskdef:%d", d.revision), Revision: fmt.Sprintf("arn:revision:%d", d.revision), LogGroup: "/group"}
	if d.target.Spec.Route != nil {
		o.URL, o.TargetGroup = "http://127.66.0.1:8080", "arn:targetgroup"
	}
	return o
}

func (m memoryServices) Apply(_ context.Context, t deploy.Target, report func(deploy.Event)) (deploy.Outcome, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.applies = append(m.applies, t)
	report(deploy.Event{Kind: deploy.EventStep, Message: "applying"})
	if err := m.fail; err != nil {
		m.fail = nil
		if m.failOutcome {
			m.services[t.Ref()] = &deployed{target: t}
			return deploy.Outcome{ServiceARN: "arn:service/" + t.Ref().Service, Service: t.Ref().Service}, err
		}
		return deploy.Outcome{}, err
	}
	d, ok := m.services[t.Ref()]
	if !ok {
		d = &deployed{}
		m.services[t.Ref()] = d
	}
	if !ok || d.target.Image != t.Image || len(service.Diff(d.target.Spec, t.Spec)) > 0 {
		d.revision++
	}
	if d.state == "FAILED" {
		d.revision++
	}
	d.state = ""
	count := d.target.Spec.Count
	d.target = t
	if ok && t.Spec.Scaling != nil {
		d.target.Spec.Count = count
	}
	return m.outcome(d), nil
}

func (m memoryServices) Job(_ context.Context, ref deploy.Ref) (deploy.Job, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, ok := m.services[ref]
	if !ok || d.target.Spec.Kind != service.KindJob {
		return deploy.Job{}, deploy.ErrNotFound
	}
	return deploy.Job{Ref: ref, Image: d.target.Image}, nil
}

func (m memoryServices) Read(_ context.Context, ref deploy.Ref) (deploy.Observed, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, ok := m.services[ref]
	if !ok {
		return deploy.Observed{}, deploy.ErrNotFound
	}
	out := m.outcome(d)
	o := deploy.Observed{Ref: ref, Image: d.target.Image, Spec: d.target.Spec, LogGroup: &deploy.LogGroup{Name: out.LogGroup}}
	o.Service.ARN, o.Service.TaskDefinition = out.ServiceARN, out.TaskDefinition
	if out.TargetGroup != "" {
		o.TargetGroup = &deploy.TargetGroup{ARN: out.TargetGroup}
	}
	o.Service.Tags = map[string]string{"service": d.target.Spec.Name, "environment": d.target.Spec.Environment}
	maps.Copy(o.Service.Tags, d.target.Spec.Tags)
	// The engine writes the Spec back from AWS: without what AWS does not keep, and with what it
	// chooses or says in other words.
	o.Spec.Team, o.Spec.Discovery, o.Spec.Schedule = "", nil, ""
	o.Spec.Alarms = slices.Clone(o.Spec.Alarms)
	slices.Reverse(o.Spec.Alarms)
	o.Spec.Deployment.Timeout, o.Spec.Deployment.Smoke, o.Spec.Deployment.Before, o.Spec.Deployment.After = 0, nil, nil, nil
	o.Spec.Tags = maps.Clone(o.Spec.Tags)
	for _, k := range []string{"service", "team", "environment"} {
		delete(o.Spec.Tags, k)
	}
	o.Spec.Containers = slices.Clone(o.Spec.Containers)
	o.Spec.Containers[0].Image = o.Image
	switch o.Spec.Kind {
	case service.KindWorker:
		o.Spec.Kind = service.KindService
	case service.KindDaemon:
		o.Spec.Count = 17
	case service.KindJob:
		return deploy.Observed{}, deploy.ErrNotFound
	}
	if s := o.Spec.Scaling; s != nil {
		c := *s
		c.Targets = slices.Clone(c.Targets)
		slices.Reverse(c.Targets)
		o.Spec.Scaling = &c
	}
	if o.Spec.Route != nil {
		r := *o.Spec.Route
		r.Listener = "arn:listener"
		o.Spec.Route = &r
		o.Listener = &deploy.Listener{DNSName: "127.66.0.1", Port: 8080, Protocol: "HTTP"}
	}
	o.Last = &deploy.Deployment{Status: "SUCCESSFUL", Target: out.Revision}
	o.Service.Rollouts = []deploy.Rollout{{Status: "PRIMARY", State: cmp.Or(d.state, "COMPLETED")}, {Status: "ACTIVE", State: "FAILED"}}
	if o.Spec.LaunchType == "" && len(o.Spec.CapacityProvider) == 0 {
		o.Spec.LaunchType = "EC2"
	}
	return o, nil
}

func (m memoryServices) Delete(_ context.Context, ref deploy.Ref, _ deploy.DeleteOptions, _ func(deploy.Event)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.services, ref)
	return nil
}

type memoryClusters struct{ *memory }

func (m memoryClusters) Apply(_ context.Context, want clusterinfra.Spec, _ func(clusterinfra.Event)) (clusterinfra.State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := clusterinfra.State{Name: want.Name, ARN: "arn:cluster/" + want.Name, VPC: "vpc-1", Subnets: []string{"subnet-1"}, BalancerSubnets: []string{"subnet-1"},
		Insights: want.ContainerInsights, LogGroup: "/slipway/" + want.Name, LogRetention: want.LogRetention, Tags: want.Tags,
		Listeners: map[string]clusterinfra.Listener{}, URLs: map[string]string{}}
	if i := want.Instances; i != nil {
		c := *i
		c.AMI, c.Architecture, c.Desired = "ami-1", "x86_64", c.Min
		s.Main = &clusterinfra.GroupState{Instances: c, AutoScalingGroup: "group"}
	}
	if b := want.Balancer; b != nil {
		s.BalancerARN, s.BalancerDNS = "arn:balancer", "127.66.0.1"
		for name, l := range b.Listeners {
			l.ARN = "arn:listener/" + name
			s.Listeners[name] = l
			s.URLs[name] = fmt.Sprintf("http://127.66.0.1:%d", l.Port)
		}
	}
	m.clusters[want.Name] = s
	return s, nil
}

func (m memoryClusters) Read(_ context.Context, name string) (clusterinfra.State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.clusters[name]
	if !ok {
		return s, clusterinfra.ErrNotFound
	}
	return s, nil
}

func (m memoryClusters) Delete(_ context.Context, name string, _ func(clusterinfra.Event)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.clusters, name)
	return nil
}

type memoryRepositories struct{ *memory }

func (m memoryRepositories) Apply(_ context.Context, want clusterinfra.Repository) (clusterinfra.Repository, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	want.ARN, want.URI = "arn:repository/"+want.Name, "registry.test/"+want.Name
	want.Tags = maps.Clone(want.Tags)
	m.repositories[want.Name] = want
	return want, nil
}

func (m memoryRepositories) Replicate(context.Context, string, []clusterinfra.Replica) error {
	return nil
}

func (m memoryRepositories) Replicas(context.Context, string) ([]clusterinfra.Replica, error) {
	return nil, nil
}

func (m memoryRepositories) Read(_ context.Context, name string) (clusterinfra.Repository, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.repositories[name]
	if !ok {
		return r, clusterinfra.ErrNotFound
	}
	if r.Lifecycle != "" {
		var b bytes.Buffer
		if err := json.Indent(&b, []byte(r.Lifecycle), "", "  "); err != nil { // AWS gives it back in its own form
			return r, err
		}
		r.Lifecycle = b.String()
	}
	return r, nil
}

func (m memoryRepositories) Delete(_ context.Context, name string, force bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.repositories[name].Images > 0 && !force {
		return clusterinfra.ErrNotEmpty
	}
	delete(m.repositories, name)
	return nil
}

type memoryWorld struct{ *memory }

func (m memoryWorld) Region() string { return "us-east-1" }

func (m memoryWorld) Identity(context.Context) (awscloud.Identity, error) {
	return awscloud.Identity{Account: "000000000000", Partition: "aws"}, nil
}

func (m memoryWorld) Environment(_ context.Context, cluster string) (awscloud.Environment, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.clusters[cluster]
	if !ok {
		return awscloud.Environment{}, clusterinfra.ErrNotFound
	}
	e := awscloud.Environment{Cluster: cluster, VPC: s.VPC, Subnets: s.Subnets, Listeners: map[string]string{}}
	for name, l := range s.Listeners {
		e.Listeners[name] = l.ARN
	}
	return e, nil
}

func (m memoryWorld) Digest(_ context.Context, repository, tag string) (string, error) {
	d, ok := m.tags[repository+":"+tag]
	if !ok {
		return "", clusterinfra.ErrNotFound
	}
	return d, nil
}
