package clusterinfra

import (
	"context"
	"fmt"
	"maps"
	"strings"
)

// Read returns the cluster as AWS has it, or ErrNotFound.
func (c *Clusters) Read(ctx context.Context, name string) (State, error) {
	n := names{name}
	cl, err := c.ports.ECS.Cluster(ctx, name)
	if err != nil {
		return State{}, fmt.Errorf("reading cluster %s: %w", name, err)
	}
	s := State{Name: name, ARN: cl.ARN, Insights: cl.Insights, Registered: cl.Instances, Listeners: map[string]Listener{}, URLs: map[string]string{}, Tags: map[string]string{}}
	maps.Copy(s.Tags, cl.Tags)
	delete(s.Tags, TagCluster)
	if err := c.readInstances(ctx, n, cl, &s); err != nil {
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

func (c *Clusters) readInstances(ctx context.Context, n names, cl Cluster, s *State) error {
	g, err := c.ports.Groups.Group(ctx, n.group())
	found, err := there(err)
	if err != nil {
		return fmt.Errorf("reading Auto Scaling group %s: %w", n.group(), err)
	}
	if !found {
		return nil
	}
	s.AutoScalingGroup, s.Subnets = g.Name, g.Subnets
	if err := c.vpcOf(ctx, g.Subnets, s); err != nil {
		return err
	}
	i := &Instances{Min: g.Min, Max: g.Max, Desired: g.Desired}
	s.Instances = i
	t, err := c.ports.Templates.Template(ctx, n.template())
	if found, err = there(err); err != nil {
		return fmt.Errorf("reading launch template %s: %w", n.template(), err)
	}
	if found {
		s.LaunchTemplate, s.TemplateVersion = t.ID, t.Version
		i.Type, i.AMI, i.KeyName, i.RootGiB = t.Type, t.AMI, t.KeyName, t.RootGiB
		i.Architecture = architectureOf(*i)
		i.UserData = strings.TrimSpace(strings.TrimPrefix(t.UserData, userData(n.cluster, "")))
		s.InstanceGroups, s.Profile = t.SecurityGroups, t.Profile
		if t.Profile != n.role() {
			i.Profile = t.Profile
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
		return fmt.Errorf("reading security group %s: %w", n.instanceGroup(), err)
	} else if !found {
		i.SecurityGroups = s.InstanceGroups
	}
	r, err := c.ports.Roles.Role(ctx, n.role())
	if found, err = there(err); err != nil {
		return fmt.Errorf("reading role %s: %w", n.role(), err)
	}
	if found {
		s.InstanceRole = r.ARN
	}
	p, err := c.ports.Providers.Provider(ctx, n.provider())
	if found, err = there(err); err != nil {
		return fmt.Errorf("reading capacity provider %s: %w", n.provider(), err)
	}
	if found {
		s.CapacityProvider, i.CapacityProvider, i.TargetCapacity = p.Name, true, p.TargetCapacity
	}
	return nil
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
