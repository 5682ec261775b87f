package clusterinfra

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// deleteTimeout is how long what is in use may take to be let go.
const deleteTimeout = 15 * time.Minute

// Delete takes away what Apply made, in the order AWS allows: listeners and load balancer, the
// cluster's capacity providers, instances, launch template, role, cluster, security groups, log
// group. What is gone already is not an error. A cluster that services run in is refused.
func (c *Clusters) Delete(ctx context.Context, name string, report func(Event)) error {
	r := &removal{Clusters: c, name: name, n: names{cluster: name}, report: report, deadline: c.clock.Now().Add(deleteTimeout)}
	cl, err := c.ports.ECS.Cluster(ctx, name)
	found, err := there(err)
	if err != nil {
		return fmt.Errorf("reading cluster %s: %w", name, err)
	}
	if found && cl.Services > 0 {
		return fmt.Errorf("cluster %s still has %d services: delete them first: %w", name, cl.Services, ErrInUse)
	}
	vpc, err := r.findVPC(ctx)
	if err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{r.balancer, r.sharedListeners} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	parts, err := r.partsOf(ctx, name)
	if err != nil {
		return err
	}
	if !slices.Contains(parts, r.n) {
		parts = append(parts, r.n) // what is left of it has names that are known
	}
	for _, n := range parts { // before the cluster: it must be empty
		part := *r
		part.n = n
		if err := part.wholeGroup(ctx, vpc); err != nil {
			return err
		}
	}
	for _, step := range []func(context.Context) error{r.role, r.cluster} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if err := r.securityGroup(ctx, vpc, r.n.balancerGroup()); err != nil { // the instances' refer to it
		return err
	}
	if err := r.topic(ctx); err != nil {
		return err
	}
	return r.logGroup(ctx)
}

// wholeGroup takes a group of instances away with what was made for it, the launch template last: by that a
// removal that was cut short is found by the next.
func (r *removal) wholeGroup(ctx context.Context, vpc string) error {
	for _, step := range []func(context.Context) error{r.provider, r.instances} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if err := r.securityGroup(ctx, vpc, r.n.instanceGroup()); err != nil {
		return err
	}
	return r.template(ctx)
}

type removal struct {
	*Clusters
	name     string
	n        names
	report   func(Event)
	deadline time.Time
}

func (r *removal) gone(resource, name string) {
	r.event(r.report, resource, "delete", "%s %s", resource, name)
}

// findVPC is where the security groups are: known by the group or balancer, else the default VPC.
func (r *removal) findVPC(ctx context.Context) (string, error) {
	var s State
	if g, err := r.ports.Groups.Group(ctx, r.n.group()); err == nil {
		if err := r.vpcOf(ctx, g.Subnets, &s); err != nil {
			return "", err
		}
	}
	if lb, err := r.ports.Balancers.Balancer(ctx, r.n.balancer()); err == nil && s.VPC == "" {
		s.VPC = lb.VPC
	}
	return s.VPC, nil // empty: looked for by name in every VPC
}

// retry repeats a step that AWS refuses because something that was deleted still lingers.
func (r *removal) retry(ctx context.Context, what string, do func() error) error {
	started := r.clock.Now()
	for {
		err := do()
		if !errors.Is(err, ErrInUse) || r.clock.Now().After(r.deadline) {
			if err != nil && !errors.Is(err, ErrNotFound) {
				return fmt.Errorf("deleting %s: %w", what, err)
			}
			return nil
		}
		if err := r.clock.Wait(ctx, interval(r.clock.Now().Sub(started))); err != nil {
			return err
		}
	}
}

func (r *removal) balancer(ctx context.Context) error {
	lb, err := r.ports.Balancers.Balancer(ctx, r.n.balancer())
	found, err := there(err)
	if err != nil {
		return fmt.Errorf("reading load balancer %s: %w", r.n.balancer(), err)
	}
	if !found || !owned(lb.Tags, r.name) {
		return nil
	}
	// Its listeners and their rules go with it.
	if err := r.retry(ctx, "load balancer "+lb.Name, func() error { return r.ports.Balancers.DeleteBalancer(ctx, lb.ARN) }); err != nil {
		return err
	}
	r.gone("load balancer", lb.Name)
	return nil
}

func (r *removal) sharedListeners(ctx context.Context) error {
	lb, found, err := r.sharedBalancer(ctx, r.name)
	if err != nil || !found {
		return err
	}
	listeners, err := r.ports.Listeners.Listeners(ctx, lb.ARN)
	if err != nil {
		return fmt.Errorf("reading listeners: %w", err)
	}
	for _, l := range listeners {
		if owned(l.Tags, r.name) {
			if err := r.ports.Listeners.DeleteListener(ctx, l.ARN); err != nil {
				return fmt.Errorf("deleting listener %s: %w", l.Name, err)
			}
			r.gone("listener", l.Name)
		}
	}
	return nil
}

func (r *removal) provider(ctx context.Context) error {
	name := r.n.provider()
	_, err := r.ports.Providers.Provider(ctx, name)
	found, err := there(err)
	if err != nil {
		return fmt.Errorf("reading capacity provider %s: %w", name, err)
	}
	if !found {
		return nil
	}
	cl, err := r.ports.ECS.Cluster(ctx, r.name)
	if found, err = there(err); err != nil {
		return fmt.Errorf("reading cluster %s: %w", r.name, err)
	}
	if found && slices.Contains(cl.Providers, name) {
		cl.Providers = slices.DeleteFunc(cl.Providers, func(p string) bool { return p == name })
		if cl.Default == name {
			cl.Default = ""
		}
		if err := r.retry(ctx, "the cluster's capacity provider", func() error {
			_, err := r.ports.ECS.PutCluster(ctx, cl)
			return err
		}); err != nil {
			return err
		}
	}
	if err := r.retry(ctx, "capacity provider "+name, func() error { return r.ports.Providers.DeleteProvider(ctx, name) }); err != nil {
		return err
	}
	r.gone("capacity provider", name)
	return nil
}

func (r *removal) instances(ctx context.Context) error {
	g, err := r.ports.Groups.Group(ctx, r.n.group())
	found, err := there(err)
	if err != nil {
		return fmt.Errorf("reading Auto Scaling group %s: %w", r.n.group(), err)
	}
	if !found || !owned(g.Tags, r.name) {
		return nil
	}
	if err := r.retry(ctx, "Auto Scaling group "+g.Name, func() error { return r.ports.Groups.DeleteGroup(ctx, g.Name) }); err != nil {
		return err
	}
	started := r.clock.Now()
	for {
		g, err := r.ports.Groups.Group(ctx, r.n.group())
		if found, err = there(err); err != nil {
			return fmt.Errorf("reading Auto Scaling group %s: %w", r.n.group(), err)
		}
		if !found {
			break
		}
		if r.clock.Now().After(r.deadline) {
			return fmt.Errorf("Auto Scaling group %s still has %d instances; delete again to go on", r.n.group(), g.Instances)
		}
		if err := r.clock.Wait(ctx, interval(r.clock.Now().Sub(started))); err != nil {
			return err
		}
	}
	r.gone("Auto Scaling group", r.n.group())
	return nil
}

func (r *removal) template(ctx context.Context) error {
	t, err := r.ports.Templates.Template(ctx, r.n.template())
	found, err := there(err)
	if err != nil {
		return fmt.Errorf("reading launch template %s: %w", r.n.template(), err)
	}
	if !found || !owned(t.Tags, r.name) {
		return nil
	}
	if err := r.retry(ctx, "launch template "+t.Name, func() error { return r.ports.Templates.DeleteTemplate(ctx, t.Name) }); err != nil {
		return err
	}
	r.gone("launch template", t.Name)
	return nil
}

func (r *removal) role(ctx context.Context) error {
	role, err := r.ports.Roles.Role(ctx, r.n.role())
	found, err := there(err)
	if err != nil {
		return fmt.Errorf("reading role %s: %w", r.n.role(), err)
	}
	if !found || !owned(role.Tags, r.name) {
		return nil
	}
	if err := r.retry(ctx, "role "+role.Name, func() error { return r.ports.Roles.DeleteRole(ctx, role.Name) }); err != nil {
		return err
	}
	r.gone("instance role", role.Name)
	return nil
}

func (r *removal) cluster(ctx context.Context) error {
	cl, err := r.ports.ECS.Cluster(ctx, r.name)
	found, err := there(err)
	if err != nil {
		return fmt.Errorf("reading cluster %s: %w", r.name, err)
	}
	if !found || !owned(cl.Tags, r.name) {
		return nil
	}
	if err := r.ports.ECS.ForceOut(ctx, r.name); err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("deregistering the container instances of %s: %w", r.name, err)
	}
	if err := r.retry(ctx, "cluster "+r.name, func() error { return r.ports.ECS.DeleteCluster(ctx, r.name) }); err != nil {
		return err
	}
	r.gone("cluster", r.name)
	return nil
}

func (r *removal) securityGroup(ctx context.Context, vpc, name string) error {
	sg, err := r.ports.Network.SecurityGroup(ctx, vpc, name)
	found, err := there(err)
	if err != nil {
		return fmt.Errorf("reading security group %s: %w", name, err)
	}
	if !found || !owned(sg.Tags, r.name) {
		return nil
	}
	if err := r.retry(ctx, "security group "+name, func() error { return r.ports.Network.DeleteSecurityGroup(ctx, sg.ID) }); err != nil {
		return err
	}
	r.gone("security group", name)
	return nil
}

func (r *removal) logGroup(ctx context.Context) error {
	name := r.n.logGroup()
	g, err := r.ports.Logs.LogGroup(ctx, name)
	found, err := there(err)
	if err != nil {
		return fmt.Errorf("reading log group %s: %w", name, err)
	}
	if !found || !owned(g.Tags, r.name) {
		return nil
	}
	if err := r.ports.Logs.DeleteLogGroup(ctx, name); err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("deleting log group %s: %w", name, err)
	}
	r.gone("log group", name)
	return nil
}
