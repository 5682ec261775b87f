package clusterinfra

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
)

// groups keeps every group of the spec, and takes away those an earlier spec asked for.
func (a *build) groups(ctx context.Context) error {
	wanted := map[string]bool{}
	for _, p := range a.s.parts() {
		wanted[p.part] = true
		if err := a.group(ctx, p); err != nil {
			return err
		}
	}
	have, err := a.partsOf(ctx, a.s.Name)
	if err != nil {
		return err
	}
	gone := false
	for _, n := range have {
		if wanted[n.part] {
			continue
		}
		gone = true
		r := &removal{Clusters: a.Clusters, name: a.s.Name, n: n, report: a.report, deadline: a.clock.Now().Add(deleteTimeout)}
		if err := r.wholeGroup(ctx, a.vpc); err != nil {
			return err
		}
	}
	if gone && len(wanted) == 0 {
		r := &removal{Clusters: a.Clusters, name: a.s.Name, n: a.n, report: a.report, deadline: a.clock.Now().Add(deleteTimeout)}
		return r.role(ctx)
	}
	return nil
}

// partsOf are the groups of instances that were made for a cluster. Their launch templates, which are made first
// and deleted last, tell of them.
func (c *Clusters) partsOf(ctx context.Context, cluster string) ([]names, error) {
	all, err := c.ports.Templates.TemplatesOf(ctx, cluster)
	if err != nil {
		return nil, fmt.Errorf("listing the launch templates of %s: %w", cluster, err)
	}
	var out []names
	for _, t := range all {
		if n := (names{cluster, t.Tags[TagGroup]}); t.Name == n.template() {
			out = append(out, n)
		}
	}
	return out, nil
}

// group keeps a launch template, its Auto Scaling group and that one's capacity provider.
func (a *build) group(ctx context.Context, p part) error {
	i, tags := p.i, a.tags
	if p.part != "" {
		tags = merge(a.tags, map[string]string{TagGroup: p.part})
	}
	groups := i.SecurityGroups
	if len(groups) == 0 {
		sg := SecurityGroup{Name: p.instanceGroup(), VPC: a.vpc, Description: "Slipway: the container instances of cluster " + a.s.Name, Tags: tags}
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
	template, err := a.template(ctx, p, groups, tags)
	if err != nil {
		return err
	}
	want := Group{Name: p.group(), Template: template.ID, TemplateVersion: template.Version, Subnets: a.subnets, Min: i.Min, Max: i.Max,
		Desired: cmp.Or(i.Desired, i.Min), SpotPercent: i.SpotPercent, OnDemandBase: i.OnDemandBase, Tags: tags}
	if len(i.OtherTypes) > 0 || i.SpotPercent > 0 {
		want.Types = append([]string{i.Type}, i.OtherTypes...)
	}
	if i.CapacityProvider {
		// ECS finds the group's instances by this tag.
		// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/asg-capacity-providers.html
		want.Tags = merge(tags, map[string]string{"AmazonECSManaged": "true"})
	}
	have, err := a.ports.Groups.Group(ctx, want.Name)
	found, err := there(err)
	if err != nil {
		return fmt.Errorf("reading Auto Scaling group %s: %w", want.Name, err)
	}
	arn := have.ARN
	if found {
		if other := have.Tags[TagCluster]; other != "" && other != a.s.Name {
			return refuse("Auto Scaling group %s is of cluster %s", want.Name, other)
		}
		if i.Desired == 0 || i.CapacityProvider {
			// The size within the bounds belongs to whoever scales the group.
			want.Desired = min(max(have.Desired, i.Min), i.Max)
		}
	}
	a.wanted += want.Desired
	if found && have.like(want) && within(want.Tags, have.Tags) {
		a.said("instances", "keep", "%d instances of %s", want.Desired, i.types())
	} else {
		g, err := a.ports.Groups.PutGroup(ctx, want)
		if err != nil {
			return fmt.Errorf("keeping Auto Scaling group %s: %w", want.Name, err)
		}
		arn = g.ARN
		a.said("instances", verb(found), "%d instances of %s (%d to %d) in %d subnets", want.Desired, i.types(), i.Min, i.Max, len(a.subnets))
	}
	return a.provider(ctx, p, arn, tags)
}

// like says whether the group is as it is wanted, tags aside.
func (g Group) like(want Group) bool {
	return g.Min == want.Min && g.Max == want.Max && g.Desired == want.Desired && g.Template == want.Template && g.TemplateVersion == want.TemplateVersion &&
		slices.Equal(g.Types, want.Types) && g.SpotPercent == want.SpotPercent && g.OnDemandBase == want.OnDemandBase && sameSet(g.Subnets, want.Subnets)
}

// types are the instance types, for people.
func (i Instances) types() string {
	text := "type " + strings.Join(append([]string{i.Type}, i.OtherTypes...), ", ")
	if i.SpotPercent > 0 {
		text += fmt.Sprintf(", %d %% Spot", i.SpotPercent)
		if i.OnDemandBase > 0 {
			text += fmt.Sprintf(" above %d On-Demand", i.OnDemandBase)
		}
	}
	return text
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

func (a *build) template(ctx context.Context, p part, groups []string, tags map[string]string) (Template, error) {
	i := p.i
	profile := cmp.Or(i.Profile, p.role())
	want := Template{Name: p.template(), AMI: i.AMI, Type: i.Type, Profile: profile, KeyName: i.KeyName, SecurityGroups: groups,
		UserData: userData(p.names, i.UserData), RootGiB: cmp.Or(i.RootGiB, 30), InstanceTags: merge(tags, map[string]string{"Name": a.s.Name}), Tags: tags}
	have, err := a.ports.Templates.Template(ctx, want.Name)
	found, err := there(err)
	if err != nil {
		return have, fmt.Errorf("reading launch template %s: %w", want.Name, err)
	}
	parameter := amiParameter(architectureOf(i))
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

func (a *build) provider(ctx context.Context, p part, group string, tags map[string]string) error {
	name := p.provider()
	cl, err := a.ports.ECS.Cluster(ctx, a.s.Name)
	if err != nil {
		return fmt.Errorf("reading cluster %s: %w", a.s.Name, err)
	}
	have, err := a.ports.Providers.Provider(ctx, name)
	found, err := there(err)
	if err != nil {
		return fmt.Errorf("reading capacity provider %s: %w", name, err)
	}
	if !p.i.CapacityProvider {
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
	want := Provider{Name: name, Group: group, TargetCapacity: cmp.Or(p.i.TargetCapacity, 100), Tags: tags}
	main := p.part == "" // its provider is where a service goes that says nothing
	attached := slices.Contains(cl.Providers, name) && (!main || cl.Default == name)
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
		if cl.Tags = a.tags; main {
			cl.Default = name
		}
		if _, err := a.ports.ECS.PutCluster(ctx, cl); err != nil {
			return fmt.Errorf("giving the cluster capacity provider %s: %w", name, err)
		}
	}
	a.said("capacity provider", verb(found), "capacity provider %s keeps %d %% in use", name, want.TargetCapacity)
	return nil
}
