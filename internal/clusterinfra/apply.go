package clusterinfra

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// registerTimeout is how long the instances may take to start and register.
const registerTimeout = 10 * time.Minute

// Apply makes AWS what the spec says and waits until the container instances have registered. Every
// step looks first, so an Apply that was killed is continued by the next.
func (c *Clusters) Apply(ctx context.Context, want Spec, report func(Event)) (State, error) {
	if err := want.check(); err != nil {
		return State{}, err
	}
	a := &build{Clusters: c, s: want, n: names{cluster: want.Name}, tags: tagged(want), report: report}
	for _, step := range []func(context.Context) error{
		a.network, a.logGroup, a.topic, a.cluster, a.balancer, a.listeners, a.profile, a.groups, a.registered,
	} {
		if err := step(ctx); err != nil {
			return State{}, err
		}
	}
	return c.Read(ctx, want.Name)
}

// build is one Apply.
type build struct {
	*Clusters
	s               Spec
	n               names
	tags            map[string]string
	report          func(Event)
	vpc             string
	subnets         []string
	balancerSubnets []string
	balancerARN     string
	balancerGroups  []string
	wanted          int // instances
}

func (c *Clusters) event(report func(Event), resource, action, format string, args ...any) {
	if report != nil {
		report(Event{At: c.clock.Now(), Resource: resource, Action: action, Message: fmt.Sprintf(format, args...)})
	}
}

func (a *build) said(resource, action, format string, args ...any) {
	a.event(a.report, resource, action, format, args...)
}

// verb tells a thing that is made from one that is corrected.
func verb(existed bool) string {
	if existed {
		return "update"
	}
	return "create"
}

// there says whether a look-up found something; every other error is passed on.
func there(err error) (bool, error) {
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, ErrNotFound):
		return false, nil
	}
	return false, err
}

func (a *build) network(ctx context.Context) error {
	a.vpc = a.s.VPC
	if a.vpc == "" && len(a.s.Subnets) == 0 {
		vpc, err := a.ports.Network.DefaultVPC(ctx)
		if errors.Is(err, ErrNotFound) {
			return refuse("the account has no default VPC in this region: give vpc and subnets")
		}
		if err != nil {
			return fmt.Errorf("looking for the default VPC: %w", err)
		}
		a.vpc = vpc
	}
	all, err := a.ports.Network.Subnets(ctx, a.vpc, append(slices.Clone(a.s.Subnets), a.s.BalancerSubnets...))
	if err != nil {
		return fmt.Errorf("reading subnets: %w", err)
	}
	if a.vpc == "" && len(all) > 0 {
		a.vpc = all[0].VPC
	}
	a.subnets = a.s.Subnets
	if len(a.subnets) == 0 {
		a.subnets = spread(all, cmp.Or(a.s.Zones, 3))
	}
	if len(a.subnets) == 0 {
		return refuse("VPC %s has no subnets", a.vpc)
	}
	a.balancerSubnets = a.s.BalancerSubnets
	if len(a.balancerSubnets) == 0 {
		a.balancerSubnets = a.subnets
	}
	a.said("network", "keep", "VPC %s, %d subnets", a.vpc, len(a.subnets))
	return nil
}

// spread takes one subnet a zone: the zone's default, else the first by id.
func spread(all []Subnet, zones int) []string {
	all = slices.Clone(all)
	slices.SortFunc(all, func(x, y Subnet) int {
		if x.DefaultOfZone != y.DefaultOfZone {
			if x.DefaultOfZone {
				return -1
			}
			return 1
		}
		return strings.Compare(x.Zone+x.ID, y.Zone+y.ID)
	})
	seen := map[string]bool{}
	var out []string
	for _, s := range all {
		if !seen[s.Zone] && len(out) < zones {
			seen[s.Zone] = true
			out = append(out, s.ID)
		}
	}
	return out
}

func (a *build) logGroup(ctx context.Context) error {
	want := LogGroup{Name: cmp.Or(a.s.LogGroup, a.n.logGroup()), Retention: cmp.Or(a.s.LogRetention, 30), Tags: a.tags}
	have, err := a.ports.Logs.LogGroup(ctx, want.Name)
	found, err := there(err)
	if err != nil {
		return fmt.Errorf("reading log group %s: %w", want.Name, err)
	}
	if found && have.Retention == want.Retention && within(want.Tags, have.Tags) {
		a.said("log group", "keep", "log group %s", want.Name)
		return nil
	}
	if err := a.ports.Logs.PutLogGroup(ctx, want); err != nil {
		return fmt.Errorf("keeping log group %s: %w", want.Name, err)
	}
	a.said("log group", verb(found), "log group %s, kept %d days", want.Name, want.Retention)
	return nil
}

func within(want, have map[string]string) bool {
	for k, v := range want {
		if h, ok := have[k]; !ok || h != v {
			return false
		}
	}
	return true
}

func (a *build) cluster(ctx context.Context) error {
	want := Cluster{Name: a.s.Name, Insights: cmp.Or(a.s.ContainerInsights, "disabled"), Tags: a.tags}
	have, err := a.ports.ECS.Cluster(ctx, a.s.Name)
	found, err := there(err)
	if err != nil {
		return fmt.Errorf("reading cluster %s: %w", a.s.Name, err)
	}
	if found {
		want.Providers, want.Default = have.Providers, have.Default
		if have.Insights == want.Insights && within(want.Tags, have.Tags) {
			a.said("cluster", "keep", "cluster %s", a.s.Name)
			return nil
		}
	}
	if _, err := a.ports.ECS.PutCluster(ctx, want); err != nil {
		return fmt.Errorf("keeping cluster %s: %w", a.s.Name, err)
	}
	a.said("cluster", verb(found), "cluster %s", a.s.Name)
	return nil
}

func (a *build) securityGroup(ctx context.Context, want SecurityGroup) (string, error) {
	have, err := a.ports.Network.SecurityGroup(ctx, want.VPC, want.Name)
	found, err := there(err)
	if err != nil {
		return "", fmt.Errorf("reading security group %s: %w", want.Name, err)
	}
	if found && sameRules(have.Ingress, want.Ingress) && within(want.Tags, have.Tags) {
		a.said("security group", "keep", "security group %s", want.Name)
		return have.ID, nil
	}
	got, err := a.ports.Network.PutSecurityGroup(ctx, want)
	if err != nil {
		return "", fmt.Errorf("keeping security group %s: %w", want.Name, err)
	}
	a.said("security group", verb(found), "security group %s", want.Name)
	return got.ID, nil
}

func sameRules(a, b []Ingress) bool {
	key := func(in []Ingress) []string {
		var out []string
		for _, r := range in {
			out = append(out, fmt.Sprint(r))
		}
		slices.Sort(out)
		return out
	}
	return slices.Equal(key(a), key(b))
}

func (a *build) balancer(ctx context.Context) error {
	b := a.s.Balancer
	if b == nil {
		return a.withoutBalancer(ctx)
	}
	if b.ARN != "" {
		lb, err := a.ports.Balancers.Balancer(ctx, b.ARN)
		if err != nil {
			return fmt.Errorf("reading load balancer %s: %w", b.ARN, err)
		}
		a.balancerARN, a.balancerGroups = lb.ARN, lb.SecurityGroups
		a.said("load balancer", "keep", "load balancer %s", lb.Name)
		return nil
	}
	a.balancerGroups = b.SecurityGroups
	if len(a.balancerGroups) == 0 {
		sg := SecurityGroup{Name: a.n.balancerGroup(), VPC: a.vpc, Description: "Slipway: the load balancer of cluster " + a.s.Name, Tags: a.tags}
		cidrs := b.Ingress
		if len(cidrs) == 0 {
			cidrs = []string{"0.0.0.0/0"}
		}
		for _, name := range slices.Sorted(maps.Keys(b.Listeners)) {
			for _, cidr := range cidrs {
				sg.Ingress = append(sg.Ingress, Ingress{From: b.Listeners[name].Port, To: b.Listeners[name].Port, CIDR: cidr})
			}
		}
		id, err := a.securityGroup(ctx, sg)
		if err != nil {
			return err
		}
		a.balancerGroups = []string{id}
	}
	want := LoadBalancer{Name: a.n.balancer(), VPC: a.vpc, Internal: b.Internal, Subnets: a.balancerSubnets, SecurityGroups: a.balancerGroups,
		IdleTimeout: int(cmp.Or(b.IdleTimeout, time.Minute) / time.Second), Tags: a.tags}
	have, err := a.ports.Balancers.Balancer(ctx, want.Name)
	found, err := there(err)
	if err != nil {
		return fmt.Errorf("reading load balancer %s: %w", want.Name, err)
	}
	if found && have.Internal != want.Internal {
		return refuse("load balancer %s cannot change between internal and public: delete the cluster first, or give another balancer", want.Name)
	}
	if found && have.IdleTimeout == want.IdleTimeout && sameSet(have.Subnets, want.Subnets) && sameSet(have.SecurityGroups, want.SecurityGroups) && within(want.Tags, have.Tags) {
		a.balancerARN = have.ARN
		a.said("load balancer", "keep", "load balancer %s", want.Name)
		return nil
	}
	lb, err := a.ports.Balancers.PutBalancer(ctx, want)
	if err != nil {
		return fmt.Errorf("keeping load balancer %s: %w", want.Name, err)
	}
	a.balancerARN = lb.ARN
	a.said("load balancer", verb(found), "load balancer %s at %s", want.Name, lb.DNS)
	return nil
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// withoutBalancer takes a balancer away that an earlier spec asked for.
func (a *build) withoutBalancer(ctx context.Context) error {
	lb, err := a.ports.Balancers.Balancer(ctx, a.n.balancer())
	found, err := there(err)
	if err != nil || !found || !owned(lb.Tags, a.s.Name) {
		return err
	}
	r := &removal{Clusters: a.Clusters, name: a.s.Name, n: a.n, report: a.report, deadline: a.clock.Now().Add(deleteTimeout)}
	return r.balancer(ctx)
}

func (a *build) listeners(ctx context.Context) error {
	if a.s.Balancer == nil {
		return nil
	}
	have, err := a.ports.Listeners.Listeners(ctx, a.balancerARN)
	if err != nil {
		return fmt.Errorf("reading listeners: %w", err)
	}
	// What is not wanted any more goes first: its port may be wanted by another.
	for _, l := range have {
		if _, wanted := a.s.Balancer.Listeners[l.Name]; !wanted && owned(l.Tags, a.s.Name) {
			if err := a.ports.Listeners.DeleteListener(ctx, l.ARN); err != nil {
				return fmt.Errorf("deleting listener %s: %w", l.Name, err)
			}
			a.said("listener", "delete", "listener %s", l.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.s.Balancer.Listeners)) {
		want := NamedListener{Name: name, Listener: a.s.Balancer.Listeners[name], Tags: maps.Clone(a.tags)}
		want.Protocol = cmp.Or(want.Protocol, "HTTP")
		want.Tags[TagListener] = name
		i := slices.IndexFunc(have, func(l NamedListener) bool { return l.Name == name && owned(l.Tags, a.s.Name) })
		if i >= 0 {
			h := have[i]
			want.ARN = h.ARN
			if h.Port == want.Port && h.Protocol == want.Protocol && h.Certificate == want.Certificate && (want.Policy == "" || want.Policy == h.Policy) && within(want.Tags, h.Tags) {
				a.said("listener", "keep", "listener %s on port %d", name, want.Port)
				continue
			}
		}
		if _, err := a.ports.Listeners.PutListener(ctx, a.balancerARN, want); err != nil {
			return fmt.Errorf("keeping listener %s: %w", name, err)
		}
		a.said("listener", verb(i >= 0), "listener %s on port %d", name, want.Port)
	}
	return nil
}

func (a *build) profile(ctx context.Context) error {
	if !slices.ContainsFunc(a.s.parts(), func(p part) bool { return p.i.Profile == "" }) {
		return nil
	}
	want := Role{Name: a.n.role(), Trust: instanceTrust, Managed: instancePolicies, Tags: a.tags}
	have, err := a.ports.Roles.Role(ctx, want.Name)
	found, err := there(err)
	if err != nil {
		return fmt.Errorf("reading role %s: %w", want.Name, err)
	}
	if found && sameSet(have.Managed, want.Managed) && within(want.Tags, have.Tags) && have.InProfile {
		a.said("instance role", "keep", "instance role %s", want.Name)
		return nil
	}
	if _, err := a.ports.Roles.PutRole(ctx, want); err != nil {
		return fmt.Errorf("keeping instance role %s: %w", want.Name, err)
	}
	a.said("instance role", verb(found), "instance role %s", want.Name)
	return nil
}

// registered waits for the instances: a cluster without them cannot run what is deployed next.
func (a *build) registered(ctx context.Context) error {
	if a.wanted == 0 {
		return nil
	}
	started, shown := a.clock.Now(), -1
	for {
		cl, err := a.ports.ECS.Cluster(ctx, a.s.Name)
		if err != nil {
			return fmt.Errorf("reading cluster %s: %w", a.s.Name, err)
		}
		if cl.Instances != shown {
			shown = cl.Instances
			a.said("instances", "wait", "%d of %d container instances have registered", min(shown, a.wanted), a.wanted)
		}
		if cl.Instances >= a.wanted {
			return nil
		}
		age := a.clock.Now().Sub(started)
		if age > registerTimeout {
			why := ""
			for _, p := range a.s.parts() {
				if g, err := a.ports.Groups.Group(ctx, p.group()); err == nil && g.Activity != "" {
					why += ": " + g.Activity
				}
			}
			return fmt.Errorf("only %d of %d container instances of %s registered within %s%s (check the instances' network, role and user data)",
				cl.Instances, a.wanted, a.s.Name, registerTimeout, why)
		}
		if err := a.clock.Wait(ctx, interval(age)); err != nil {
			return err
		}
	}
}

func interval(age time.Duration) time.Duration {
	switch {
	case age < 20*time.Second:
		return 500 * time.Millisecond
	case age < 2*time.Minute:
		return 2 * time.Second
	}
	return 5 * time.Second
}

// portRange reads "from-to" or one port.
func portRange(text string) (from, to int, err error) {
	first, last, ranged := strings.Cut(text, "-")
	if from, err = strconv.Atoi(strings.TrimSpace(first)); err != nil {
		return 0, 0, refuse("%q is not a range of ports such as 32768-65535", text)
	}
	to = from
	if ranged {
		if to, err = strconv.Atoi(strings.TrimSpace(last)); err != nil || to < from {
			return 0, 0, refuse("%q is not a range of ports such as 32768-65535", text)
		}
	}
	return from, to, nil
}
