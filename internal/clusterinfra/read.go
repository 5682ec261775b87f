package clusterinfra

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Read returns the cluster as AWS has it, or ErrNotFound.
func (c *Clusters) Read(ctx context.Context, name string) (State, error) {
	s, err := c.ReadPlace(ctx, name)
	if err != nil {
		return s, err
	}
	return s, c.readTopic(ctx, names{cluster: name}, &s)
}

// ReadPlace is Read without what services do not stand on (the alarm topic): those who only deploy may not ask for it.
func (c *Clusters) ReadPlace(ctx context.Context, name string) (State, error) {
	n := names{cluster: name}
	cl, err := c.ports.ECS.Cluster(ctx, name)
	if err != nil {
		return State{}, fmt.Errorf("reading cluster %s: %w", name, err)
	}
	s := State{Name: name, ARN: cl.ARN, Insights: cl.Insights, Registered: cl.Instances, Listeners: map[string]Listener{}, URLs: map[string]string{}, Tags: map[string]string{}}
	maps.Copy(s.Tags, cl.Tags)
	delete(s.Tags, TagCluster)
	if err := c.readInstances(ctx, n, &s); err != nil {
		return s, err
	}
	if err := c.readBalancer(ctx, n, &s); err != nil {
		return s, err
	}
	g, err := c.ports.Logs.LogGroup(ctx, n.logGroup())
	found, err := there(err)
	if err != nil {
		return s, fmt.Errorf("reading log group %s: %w", n.logGroup(), err)
	}
	if found {
		s.LogGroup, s.LogRetention = g.Name, g.Retention
	}
	return s, nil
}

// readInstances reads the main group, and the others.
func (c *Clusters) readInstances(ctx context.Context, n names, s *State) error {
	main, err := c.ports.Groups.Group(ctx, n.group())
	found, err := there(err)
	if err != nil {
		return fmt.Errorf("reading Auto Scaling group %s: %w", n.group(), err)
	}
	if found {
		g, err := c.readGroup(ctx, n, main, s)
		if err != nil {
			return err
		}
		s.Main, s.Subnets = &g, g.Subnets
	}
	all, err := c.partsOf(ctx, n.cluster)
	if err != nil {
		return err
	}
	for _, part := range all {
		if part.part == "" {
			continue
		}
		one, err := c.ports.Groups.Group(ctx, part.group())
		if found, err = there(err); err != nil {
			return fmt.Errorf("reading Auto Scaling group %s: %w", part.group(), err)
		}
		if !found {
			continue
		}
		g, err := c.readGroup(ctx, part, one, s)
		if err != nil {
			return err
		}
		if s.Groups == nil {
			s.Groups = map[string]GroupState{}
		}
		if s.Groups[part.part] = g; len(s.Subnets) == 0 {
			s.Subnets = g.Subnets
		}
	}
	if s.Main == nil && len(s.Groups) == 0 {
		return nil
	}
	r, err := c.ports.Roles.Role(ctx, n.role())
	if found, err = there(err); err != nil {
		return fmt.Errorf("reading role %s: %w", n.role(), err)
	}
	if found {
		s.InstanceRole = r.ARN
	}
	return nil
}

func (c *Clusters) readGroup(ctx context.Context, n names, g Group, s *State) (GroupState, error) {
	out := GroupState{AutoScalingGroup: g.Name, Subnets: g.Subnets}
	if err := c.vpcOf(ctx, g.Subnets, s); err != nil {
		return out, err
	}
	i := &out.Instances
	i.Min, i.Max, i.Desired, i.SpotPercent, i.OnDemandBase = g.Min, g.Max, g.Desired, g.SpotPercent, g.OnDemandBase
	t, err := c.ports.Templates.Template(ctx, n.template())
	found, err := there(err)
	if err != nil {
		return out, fmt.Errorf("reading launch template %s: %w", n.template(), err)
	}
	if found {
		out.LaunchTemplate, out.TemplateVersion = t.ID, t.Version
		i.Type, i.AMI, i.KeyName, i.RootGiB = t.Type, t.AMI, t.KeyName, t.RootGiB
		i.Architecture = architectureOf(*i)
		i.UserData = strings.TrimSpace(strings.TrimPrefix(t.UserData, userData(n, "")))
		out.Members = t.SecurityGroups
		if t.Profile != n.role() {
			i.Profile = t.Profile
		}
	}
	for k, name := range g.Types {
		if k == 0 {
			i.Type = name
		} else {
			i.OtherTypes = append(i.OtherTypes, name)
		}
	}
	i.IngressPorts = "32768-65535"
	if sg, err := c.ports.Network.SecurityGroup(ctx, s.VPC, n.instanceGroup()); err == nil {
		for _, r := range sg.Ingress {
			if i.IngressPorts = fmt.Sprintf("%d-%d", r.From, r.To); r.From == r.To {
				i.IngressPorts = fmt.Sprint(r.From)
			}
		}
	} else if found, err := there(err); err != nil {
		return out, fmt.Errorf("reading security group %s: %w", n.instanceGroup(), err)
	} else if !found {
		i.SecurityGroups = out.Members
	}
	p, err := c.ports.Providers.Provider(ctx, n.provider())
	if found, err = there(err); err != nil {
		return out, fmt.Errorf("reading capacity provider %s: %w", n.provider(), err)
	}
	if found {
		out.Provider, i.CapacityProvider, i.TargetCapacity = p.Name, true, p.TargetCapacity
	}
	return out, nil
}

func (c *Clusters) vpcOf(ctx context.Context, subnets []string, s *State) error {
	if len(subnets) == 0 || s.VPC != "" {
		return nil
	}
	found, err := c.ports.Network.Subnets(ctx, "", subnets)
	if err != nil {
		return fmt.Errorf("reading subnets: %w", err)
	}
	if len(found) > 0 {
		s.VPC = found[0].VPC
	}
	return nil
}

func (c *Clusters) readBalancer(ctx context.Context, n names, s *State) error {
	lb, err := c.ports.Balancers.Balancer(ctx, n.balancer())
	found, err := there(err)
	if err != nil {
		return fmt.Errorf("reading load balancer %s: %w", n.balancer(), err)
	}
	if !found {
		if lb, found, err = c.sharedBalancer(ctx, n.cluster); err != nil || !found {
			return err
		}
	}
	if s.Balancer, err = c.balancerMade(ctx, n, lb, s); err != nil {
		return err
	}
	s.BalancerARN, s.BalancerDNS, s.BalancerZone, s.BalancerGroups, s.BalancerSubnets = lb.ARN, lb.DNS, lb.Zone, lb.SecurityGroups, lb.Subnets
	if s.VPC == "" {
		s.VPC = lb.VPC
	}
	if len(s.Subnets) == 0 {
		s.Subnets = lb.Subnets
	}
	listeners, err := c.ports.Listeners.Listeners(ctx, lb.ARN)
	if err != nil {
		return fmt.Errorf("reading listeners: %w", err)
	}
	for _, l := range listeners {
		if l.Name != "" && owned(l.Tags, n.cluster) {
			s.Listeners[l.Name] = l.Listener
			s.URLs[l.Name] = l.url(lb.DNS)
		}
	}
	return nil
}

// balancerMade is the load balancer as its part of a spec. Of one that was given only the listeners are the
// cluster's.
func (c *Clusters) balancerMade(ctx context.Context, n names, lb LoadBalancer, s *State) (*Balancer, error) {
	if !owned(lb.Tags, n.cluster) {
		return &Balancer{ARN: lb.ARN}, nil
	}
	b := &Balancer{Internal: lb.Internal, IdleTimeout: time.Duration(lb.IdleTimeout) * time.Second}
	sg, err := c.ports.Network.SecurityGroup(ctx, lb.VPC, n.balancerGroup())
	found, err := there(err)
	if err != nil {
		return nil, fmt.Errorf("reading security group %s: %w", n.balancerGroup(), err)
	}
	if !found || !slices.Contains(lb.SecurityGroups, sg.ID) {
		b.SecurityGroups = lb.SecurityGroups
		return b, nil
	}
	for _, r := range sg.Ingress {
		if r.CIDR != "" && !slices.Contains(b.Ingress, r.CIDR) {
			b.Ingress = append(b.Ingress, r.CIDR)
		}
	}
	slices.Sort(b.Ingress)
	return b, nil
}

// sharedBalancer finds a given load balancer on which listeners were made for the cluster.
func (c *Clusters) sharedBalancer(ctx context.Context, cluster string) (LoadBalancer, bool, error) {
	arn, err := c.ports.Listeners.BalancerOf(ctx, cluster)
	found, err := there(err)
	if err != nil || !found {
		return LoadBalancer{}, false, err
	}
	lb, err := c.ports.Balancers.Balancer(ctx, arn)
	if found, err = there(err); err != nil {
		return lb, false, fmt.Errorf("reading load balancer %s: %w", arn, err)
	}
	return lb, found, nil
}

func (l Listener) url(dns string) string {
	scheme := "http"
	if l.Protocol == "HTTPS" {
		scheme = "https"
	}
	if scheme == "http" && l.Port == 80 || scheme == "https" && l.Port == 443 {
		return scheme + "://" + dns
	}
	return fmt.Sprintf("%s://%s:%d", scheme, dns, l.Port)
}
