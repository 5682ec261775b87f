package clusterinfra

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// group keeps the launch template and the Auto Scaling group.
func (a *build) group(ctx context.Context) error {
	i := a.s.Instances
	if i == nil {
		return a.withoutInstances(ctx)
	}
	groups := i.SecurityGroups
	if len(groups) == 0 {
		sg := SecurityGroup{Name: a.n.instanceGroup(), VPC: a.vpc, Description: "Slipway: the container instances of cluster " + a.s.Name, Tags: a.tags}
		from, to, err := portRange(cmp.Or(i.IngressPorts, "32768-65535"))
		if err != nil {
			return err
		}
		for _, g := range a.balancerGroups {
			sg.Ingress = append(sg.Ingress, Ingress{From: from, To: to, Group: g})
		}
		id, err := a.securityGroup(ctx, sg)
		if err != nil {
			return err
		}
		groups = []string{id}
	}
	template, err := a.template(ctx, groups)
	if err != nil {
		return err
	}
	want := Group{Name: a.n.group(), Template: template.ID, TemplateVersion: template.Version, Subnets: a.subnets, Min: i.Min, Max: i.Max,
		Desired: cmp.Or(i.Desired, i.Min), Tags: a.tags}
	if i.CapacityProvider {
		// ECS finds the group's instances by this tag.
		// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/asg-capacity-providers.html
		want.Tags = merge(a.tags, map[string]string{"AmazonECSManaged": "true"})
	}
	have, err := a.ports.Groups.Group(ctx, want.Name)
	found, err := there(err)
	if err != nil {
		return fmt.Errorf("reading Auto Scaling group %s: %w", want.Name, err)
	}
	if found {
		if i.Desired == 0 || i.CapacityProvider {
			// The size within the bounds belongs to whoever scales the group.
			want.Desired = min(max(have.Desired, i.Min), i.Max)
		}
		a.groupARN = have.ARN
	}
	a.wanted = want.Desired
	if found && have.Min == want.Min && have.Max == want.Max && have.Desired == want.Desired && have.Template == want.Template &&
		have.TemplateVersion == want.TemplateVersion && sameSet(have.Subnets, want.Subnets) && within(want.Tags, have.Tags) {
		a.said("instances", "keep", "%d instances of type %s", want.Desired, i.Type)
		return nil
	}
	g, err := a.ports.Groups.PutGroup(ctx, want)
	if err != nil {
		return fmt.Errorf("keeping Auto Scaling group %s: %w", want.Name, err)
	}
	a.groupARN = g.ARN
	a.said("instances", verb(found), "%d instances of type %s (%d to %d) in %d subnets", want.Desired, i.Type, i.Min, i.Max, len(a.subnets))
	return nil
}

func merge(a, b map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range []map[string]string{a, b} {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

func (a *build) template(ctx context.Context, groups []string) (Template, error) {
	i := a.s.Instances
	want := Template{Name: a.n.template(), AMI: i.AMI, Type: i.Type, Profile: a.profileName, KeyName: i.KeyName, SecurityGroups: groups,
		UserData: userData(a.s.Name, i.UserData), RootGiB: cmp.Or(i.RootGiB, 30), InstanceTags: merge(a.tags, map[string]string{"Name": a.s.Name}), Tags: a.tags}
	have, err := a.ports.Templates.Template(ctx, want.Name)
	found, err := there(err)
	if err != nil {
		return have, fmt.Errorf("reading launch template %s: %w", want.Name, err)
	}
	parameter := amiParameter(architectureOf(*i))
	switch {
	case want.AMI != "":
	case found && have.Source == parameter:
		want.AMI = have.AMI // a newer one is a rotation, and not for an apply in passing
	default:
		if want.AMI, err = a.ports.Templates.Parameter(ctx, parameter); err != nil {
			return have, fmt.Errorf("reading the ECS-optimized AMI (%s): %w", parameter, err)
		}
	}
	if i.AMI == "" {
		want.Source = parameter
	}
	if found && have.AMI == want.AMI && have.Source == want.Source && have.Type == want.Type && have.Profile == want.Profile && have.KeyName == want.KeyName &&
		have.UserData == want.UserData && have.RootGiB == want.RootGiB && sameSet(have.SecurityGroups, want.SecurityGroups) && within(want.InstanceTags, have.InstanceTags) {
		a.said("launch template", "keep", "launch template %s version %s", want.Name, have.Version)
		return have, nil
	}
	got, err := a.ports.Templates.PutTemplate(ctx, want)
	if err != nil {
		return got, fmt.Errorf("keeping launch template %s: %w", want.Name, err)
	}
	a.said("launch template", verb(found), "launch template %s version %s: %s, %s", want.Name, got.Version, i.Type, want.AMI)
	return got, nil
}

func (a *build) provider(ctx context.Context) error {
	i := a.s.Instances
	if i == nil {
		return nil
	}
	name := a.n.provider()
	cl, err := a.ports.ECS.Cluster(ctx, a.s.Name)
	if err != nil {
		return fmt.Errorf("reading cluster %s: %w", a.s.Name, err)
	}
	have, err := a.ports.Providers.Provider(ctx, name)
	found, err := there(err)
	if err != nil {
		return fmt.Errorf("reading capacity provider %s: %w", name, err)
	}
	if !i.CapacityProvider {
		if !found || !slices.Contains(cl.Providers, name) {
			return nil
		}
		cl.Providers = slices.DeleteFunc(cl.Providers, func(p string) bool { return p == name })
		if cl.Default == name {
			cl.Default = ""
		}
		if _, err := a.ports.ECS.PutCluster(ctx, cl); err != nil {
			return fmt.Errorf("taking capacity provider %s off the cluster: %w", name, err)
		}
		if err := a.ports.Providers.DeleteProvider(ctx, name); err != nil {
			return fmt.Errorf("deleting capacity provider %s: %w", name, err)
		}
		a.said("capacity provider", "delete", "capacity provider %s", name)
		return nil
	}
	want := Provider{Name: name, Group: a.groupARN, TargetCapacity: cmp.Or(i.TargetCapacity, 100), Tags: a.tags}
	attached := slices.Contains(cl.Providers, name) && cl.Default == name
	if found && attached && have.TargetCapacity == want.TargetCapacity {
		a.said("capacity provider", "keep", "capacity provider %s", name)
		return nil
	}
	if _, err := a.ports.Providers.PutProvider(ctx, want); err != nil {
		return fmt.Errorf("keeping capacity provider %s: %w", name, err)
	}
	if !attached {
		if !slices.Contains(cl.Providers, name) {
			cl.Providers = append(cl.Providers, name)
		}
		cl.Default, cl.Tags = name, a.tags
		if _, err := a.ports.ECS.PutCluster(ctx, cl); err != nil {
			return fmt.Errorf("giving the cluster capacity provider %s: %w", name, err)
		}
	}
	a.said("capacity provider", verb(found), "capacity provider %s keeps %d %% in use", name, want.TargetCapacity)
	return nil
}

// withoutInstances takes a group away that an earlier spec asked for.
func (a *build) withoutInstances(ctx context.Context) error {
	g, err := a.ports.Groups.Group(ctx, a.n.group())
	found, err := there(err)
	if err != nil || !found || !owned(g.Tags, a.s.Name) {
		return err
	}
	r := &removal{Clusters: a.Clusters, name: a.s.Name, n: a.n, report: a.report, deadline: a.clock.Now().Add(deleteTimeout)}
	for _, step := range []func(context.Context) error{r.provider, r.instances, r.template, r.role} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return r.securityGroup(ctx, a.vpc, a.n.instanceGroup())
}
