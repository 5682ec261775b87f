package ecs

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/managedinstances"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

// Daemons run one task on every managed instance of some capacity providers.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/managed-daemons.html
func (a *API) registerDaemons(svc *wire.Service) {
	wire.Handle(svc, "RegisterDaemonTaskDefinition", a.registerDaemonTaskDefinition)
	wire.Handle(svc, "DescribeDaemonTaskDefinition", a.describeDaemonTaskDefinition)
	wire.Handle(svc, "DeleteDaemonTaskDefinition", a.deleteDaemonTaskDefinition)
	wire.Handle(svc, "ListDaemonTaskDefinitions", a.listDaemonTaskDefinitions)
	wire.Handle(svc, "CreateDaemon", a.createDaemon)
	wire.Handle(svc, "UpdateDaemon", a.updateDaemon)
	wire.Handle(svc, "DeleteDaemon", a.deleteDaemon)
	wire.Handle(svc, "DescribeDaemon", a.describeDaemon)
	wire.Handle(svc, "ListDaemons", a.listDaemons)
	wire.Handle(svc, "DescribeDaemonRevisions", a.describeDaemonRevisions)
	wire.Handle(svc, "DescribeDaemonDeployments", a.describeDaemonDeployments)
	wire.Handle(svc, "ListDaemonDeployments", a.listDaemonDeployments)
}

// daemonDefinition finds a daemon task definition by family (the newest ACTIVE revision),
// family:revision or ARN; nil if there is none.
func (a *API) daemonDefinition(tx *state.Tx, ref string) *state.DaemonDefinition {
	if kind, rest, ok := resource(ref); ok {
		if kind != "daemon-task-definition" {
			return nil
		}
		ref = rest
	}
	family, revision, ok := strings.Cut(ref, ":")
	if ok {
		d, _ := a.State.DaemonDefinitions.Get(tx, state.TaskDefinitionKey(family, atoi(revision)))
		return d
	}
	var newest *state.DaemonDefinition
	for _, d := range a.State.DaemonDefinitions.Prefix(tx, family+":") {
		if wire.Value(d.Def.Status) == "ACTIVE" {
			newest = d
		}
	}
	return newest
}

func (a *API) registerDaemonTaskDefinition(ctx context.Context, in *ecsapi.RegisterDaemonTaskDefinitionInput) (*ecsapi.RegisterDaemonTaskDefinitionOutput, error) {
	if !familyRE.MatchString(*in.Family) {
		return nil, client("Family contains invalid characters: up to 255 letters, numbers, underscores and hyphens are allowed.")
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	switch {
	case len(in.ContainerDefinitions) == 0:
		return nil, client("Container list cannot be empty.")
	case len(in.ContainerDefinitions) > mostContainers:
		return nil, client("A task definition can have at most %d containers.", mostContainers)
	}
	cpu, err := units(in.Cpu, `(?i)^\s*([0-9.]+)\s*vcpu\s*$`, "cpu")
	if err != nil {
		return nil, err
	}
	memory, err := units(in.Memory, `(?i)^\s*([0-9.]+)\s*gb\s*$`, "memory")
	if err != nil {
		return nil, err
	}
	def := ecsapi.DaemonTaskDefinition{Family: in.Family, TaskRoleArn: in.TaskRoleArn, ExecutionRoleArn: in.ExecutionRoleArn, Cpu: cpu, Memory: memory, Volumes: orEmpty(in.Volumes),
		Status: wire.String("ACTIVE"), RegisteredAt: wire.Timestamp(a.Clock.Now()), RegisteredBy: wire.String(rootARN(ctx))}
	names := map[string]bool{}
	for _, c := range in.ContainerDefinitions {
		name := wire.Value(c.Name)
		switch {
		case !familyRE.MatchString(name) || names[name]:
			return nil, client("Container.name must be unique, and have only letters, numbers, underscores and hyphens.")
		case wire.Value(c.Image) == "":
			return nil, client("Container.image should not be null or empty.")
		case c.Memory == nil && c.MemoryReservation == nil && memory == nil:
			return nil, client("Invalid setting for container '%s'. At least one of 'memory' or 'memoryReservation' must be specified.", name)
		}
		names[name] = true
		for _, m := range c.MountPoints {
			if !slices.ContainsFunc(in.Volumes, func(v ecsapi.DaemonVolume) bool { return wire.Value(v.Name) == wire.Value(m.SourceVolume) }) {
				return nil, client("Unknown volume '%s'.", wire.Value(m.SourceVolume))
			}
		}
		if h := c.HealthCheck; h != nil {
			h := *h
			h.Interval, h.Timeout, h.Retries = or(h.Interval, 30), or(h.Timeout, 5), or(h.Retries, 3)
			if err := checkHealthCheck(name, h); err != nil {
				return nil, err
			}
			c.HealthCheck = &h
		}
		c.Cpu, c.Essential = or(c.Cpu, 0), or(c.Essential, true)
		def.ContainerDefinitions = append(def.ContainerDefinitions, c)
	}
	return update(a, func(tx *state.Tx) (*ecsapi.RegisterDaemonTaskDefinitionOutput, error) {
		d, revision := def, 1
		for _, old := range a.State.DaemonDefinitions.Prefix(tx, *in.Family+":") {
			revision = old.Revision + 1
		}
		d.Revision = wire.Int32(revision)
		d.DaemonTaskDefinitionArn = wire.String(arn(ctx, "daemon-task-definition", fmt.Sprintf("%s:%d", *in.Family, revision)))
		a.State.DaemonDefinitions.Put(tx, state.TaskDefinitionKey(*in.Family, revision), &state.DaemonDefinition{Family: *in.Family, Revision: revision, Def: d, Tags: in.Tags})
		return &ecsapi.RegisterDaemonTaskDefinitionOutput{DaemonTaskDefinitionArn: d.DaemonTaskDefinitionArn}, nil
	})
}

func (a *API) describeDaemonTaskDefinition(_ context.Context, in *ecsapi.DescribeDaemonTaskDefinitionInput) (*ecsapi.DescribeDaemonTaskDefinitionOutput, error) {
	return view(a, func(tx *state.Tx) (*ecsapi.DescribeDaemonTaskDefinitionOutput, error) {
		d := a.daemonDefinition(tx, *in.DaemonTaskDefinition)
		if d == nil {
			return nil, client("Unable to describe daemon task definition.")
		}
		return &ecsapi.DescribeDaemonTaskDefinitionOutput{DaemonTaskDefinition: &d.Def}, nil
	})
}

// deleteDaemonTaskDefinition keeps new daemons from the revision; those that have it keep it.
func (a *API) deleteDaemonTaskDefinition(_ context.Context, in *ecsapi.DeleteDaemonTaskDefinitionInput) (*ecsapi.DeleteDaemonTaskDefinitionOutput, error) {
	return update(a, func(tx *state.Tx) (*ecsapi.DeleteDaemonTaskDefinitionOutput, error) {
		_, rest, _ := resource(*in.DaemonTaskDefinition)
		if !strings.Contains(rest, ":") && !strings.Contains(*in.DaemonTaskDefinition, ":") {
			return nil, invalid("A revision of the daemon task definition is required.")
		}
		old := a.daemonDefinition(tx, *in.DaemonTaskDefinition)
		switch {
		case old == nil:
			return nil, client("The specified daemon task definition does not exist.")
		case wire.Value(old.Def.Status) != "ACTIVE":
			return nil, client("The specified daemon task definition is not ACTIVE.")
		}
		d := *old
		d.Def.Status, d.Def.DeleteRequestedAt = wire.String("DELETE_IN_PROGRESS"), wire.Timestamp(a.Clock.Now())
		a.State.DaemonDefinitions.Put(tx, state.TaskDefinitionKey(d.Family, d.Revision), &d)
		return &ecsapi.DeleteDaemonTaskDefinitionOutput{DaemonTaskDefinitionArn: d.Def.DaemonTaskDefinitionArn}, nil
	})
}

func (a *API) listDaemonTaskDefinitions(_ context.Context, in *ecsapi.ListDaemonTaskDefinitionsInput) (*ecsapi.ListDaemonTaskDefinitionsOutput, error) {
	status := wire.Value(or(in.Status, "ACTIVE"))
	return view(a, func(tx *state.Tx) (*ecsapi.ListDaemonTaskDefinitionsOutput, error) {
		last := map[string]string{}
		var keys []string
		for key, d := range a.State.DaemonDefinitions.Prefix(tx, wire.Value(in.FamilyPrefix)) {
			if (in.Family == nil || d.Family == *in.Family) && (status == "ALL" || wire.Value(d.Def.Status) == status) {
				keys, last[d.Family] = append(keys, key), key
			}
		}
		if wire.Value(in.Revision) == "LAST_REGISTERED" {
			keys = slices.DeleteFunc(keys, func(k string) bool { family, _, _ := strings.Cut(k, ":"); return last[family] != k })
		}
		part, next, err := pageOrdered(keys, in.NextToken, in.MaxResults, 100, wire.Value(in.Sort) == "DESC")
		out := &ecsapi.ListDaemonTaskDefinitionsOutput{DaemonTaskDefinitions: []ecsapi.DaemonTaskDefinitionSummary{}, NextToken: next}
		for _, k := range part {
			d, _ := a.State.DaemonDefinitions.Get(tx, k)
			out.DaemonTaskDefinitions = append(out.DaemonTaskDefinitions, ecsapi.DaemonTaskDefinitionSummary{Arn: d.Def.DaemonTaskDefinitionArn, RegisteredAt: d.Def.RegisteredAt,
				RegisteredBy: d.Def.RegisteredBy, DeleteRequestedAt: d.Def.DeleteRequestedAt, Status: d.Def.Status})
		}
		return out, err
	})
}

// daemonProviders checks the capacity providers of a daemon: of managed instances, of its cluster.
func (a *API) daemonProviders(tx *state.Tx, c *state.Cluster, arns []string) ([]string, error) {
	if len(arns) == 0 {
		return nil, invalid("capacityProviderArns cannot be empty.")
	}
	var out []string
	for _, ref := range arns {
		p, ok := a.State.CapacityProviders.Get(tx, lastPart(ref))
		switch {
		case !ok || wire.Value(p.API.Status) != "ACTIVE":
			return nil, invalid("The specified capacity provider '%s' was not found.", ref)
		case p.API.ManagedInstancesProvider == nil:
			return nil, wire.Errorf("UnsupportedFeatureException", "Daemons are only supported on capacity providers of managed instances.")
		case clusterName(p.API.Cluster) != c.Name:
			return nil, invalid("The capacity provider '%s' is not associated with the cluster.", ref)
		}
		out = append(out, *p.API.Name)
	}
	return out, nil
}

func checkDaemonDeployment(c *ecsapi.DaemonDeploymentConfiguration) (*ecsapi.DaemonDeploymentConfiguration, error) {
	out := wire.Value(c)
	out.BakeTimeInMinutes = or(out.BakeTimeInMinutes, 0)
	switch {
	case out.DrainPercent != nil && (*out.DrainPercent < 0 || *out.DrainPercent > 100):
		return nil, invalid("drainPercent must be between 0.0 and 100.0.")
	case *out.BakeTimeInMinutes < 0 || *out.BakeTimeInMinutes > 1440:
		return nil, invalid("bakeTimeInMinutes must be between 0 and 1440.")
	case out.Alarms != nil && wire.Value(out.Alarms.Enable) && len(out.Alarms.AlarmNames) == 0:
		return nil, invalid("alarmNames cannot be empty where alarms are enabled.")
	}
	return &out, nil
}

// activeDaemonDefinition finds a definition that a daemon may be given.
func (a *API) activeDaemonDefinition(tx *state.Tx, ref string) (*state.DaemonDefinition, error) {
	d := a.daemonDefinition(tx, ref)
	if d == nil || wire.Value(d.Def.Status) != "ACTIVE" {
		return nil, client("The specified daemon task definition does not exist or is not ACTIVE.")
	}
	return d, nil
}

func (a *API) createDaemon(ctx context.Context, in *ecsapi.CreateDaemonInput) (*ecsapi.CreateDaemonOutput, error) {
	if !nameRE.MatchString(*in.DaemonName) {
		return nil, invalid("The daemon name is invalid: up to 255 letters, numbers, underscores and hyphens are allowed.")
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	configuration, err := checkDaemonDeployment(in.DeploymentConfiguration)
	if err != nil {
		return nil, err
	}
	return update(a, func(tx *state.Tx) (*ecsapi.CreateDaemonOutput, error) {
		c, err := a.cluster(tx, in.ClusterArn)
		if err != nil {
			return nil, err
		}
		id, token := arn(ctx, "daemon", c.Name+"/"+*in.DaemonName), "CreateDaemon/"+c.Name+"/"+wire.Value(in.ClientToken)
		show := func(d *state.Daemon) *ecsapi.CreateDaemonOutput {
			return &ecsapi.CreateDaemonOutput{DaemonArn: &d.ARN, DeploymentArn: &d.Deployment, Status: &d.Status, CreatedAt: wire.Timestamp(d.CreatedAt)}
		}
		if in.ClientToken != nil {
			if _, ok, err := a.seen(tx, token, in); err != nil {
				return nil, err
			} else if d, there := a.State.Daemons.Get(tx, id); ok && there {
				return show(d), nil
			}
		}
		if _, ok := a.State.Daemons.Get(tx, id); ok {
			return nil, invalid("A daemon with the name %s exists already in the cluster.", *in.DaemonName)
		}
		def, err := a.activeDaemonDefinition(tx, *in.DaemonTaskDefinitionArn)
		if err != nil {
			return nil, err
		}
		d := &state.Daemon{ARN: id, Name: *in.DaemonName, ClusterName: c.Name, ClusterARN: c.ARN, Status: "ACTIVE", Configuration: configuration, Tags: in.Tags,
			PropagateTags: wire.Value(or(in.PropagateTags, "NONE")), ManagedTags: wire.Value(in.EnableECSManagedTags), EnableExec: wire.Value(in.EnableExecuteCommand), CreatedAt: a.Clock.Now()}
		if d.Providers, err = a.daemonProviders(tx, c, in.CapacityProviderArns); err != nil {
			return nil, err
		}
		a.deployDaemon(ctx, tx, d, def)
		if in.ClientToken != nil {
			a.remember(tx, token, in, []string{d.ARN})
		}
		return show(d), nil
	})
}

// deployDaemon writes the daemon with a new revision and a deployment of it; without a definition the
// deployment takes the daemon away.
func (a *API) deployDaemon(ctx context.Context, tx *state.Tx, d *state.Daemon, def *state.DaemonDefinition) {
	now, key := a.Clock.Now(), d.ClusterName+"/"+d.Name
	run := &state.DaemonDeployment{ARN: arn(ctx, "daemon-deployment", key+"/"+random(words, 21)), Daemon: d.ARN, Status: "PENDING", Breaker: "MONITORING", CreatedAt: now}
	if d.Revision != "" {
		run.Sources = []string{d.Revision}
	}
	if old, ok := a.State.DaemonDeployments.Get(tx, d.Deployment); ok && open(old.Status) {
		next := *old
		next.Status, next.StatusReason, next.StoppedAt, next.FinishedAt = "STOPPED", "A newer deployment of the daemon was started.", now, now
		a.State.DaemonDeployments.Put(tx, old.ARN, &next)
		if old.Target != "" && len(old.Sources) > 0 {
			run.Sources = old.Sources // what was never complete is nothing to go back to
		}
	}
	instances := 0
	for _, ci := range a.State.InstancesByCluster.Get(tx, d.ClusterName) {
		if ci.Status != "INACTIVE" && slices.Contains(d.Providers, ci.CapacityProvider) {
			instances++
		}
	}
	run.Threshold = threshold(instances)
	d.Deployment, d.UpdatedAt = run.ARN, now
	if def != nil {
		rev := &state.DaemonRevision{ARN: arn(ctx, "daemon-revision", key+"/"+number()), Daemon: d.ARN, CreatedAt: now}
		for _, c := range def.Def.ContainerDefinitions {
			img := ecsapi.DaemonContainerImage{ContainerName: c.Name, Image: c.Image}
			if _, digest, ok := strings.Cut(*c.Image, "@"); ok {
				img.ImageDigest = &digest
			}
			rev.Images = append(rev.Images, img)
		}
		d.Definition, d.Revision, run.Target = *def.Def.DaemonTaskDefinitionArn, rev.ARN, rev.ARN
		rev.Spec = *d
		a.State.DaemonRevisions.Put(tx, rev.ARN, rev)
	}
	a.State.DaemonDeployments.Put(tx, run.ARN, run)
	a.State.Daemons.Put(tx, d.ARN, d)
}

// daemon finds a daemon by ARN.
func (a *API) daemon(tx *state.Tx, ref string) (*state.Daemon, error) {
	d, ok := a.State.Daemons.Get(tx, ref)
	if !ok {
		return nil, wire.Errorf("DaemonNotFoundException", "The specified daemon was not found.")
	}
	return d, nil
}

func (a *API) activeDaemon(tx *state.Tx, ref string) (*state.Daemon, error) {
	d, err := a.daemon(tx, ref)
	if err == nil && d.Status != "ACTIVE" {
		err = wire.Errorf("DaemonNotActiveException", "The specified daemon is not ACTIVE.")
	}
	return d, err
}

func (a *API) updateDaemon(ctx context.Context, in *ecsapi.UpdateDaemonInput) (*ecsapi.UpdateDaemonOutput, error) {
	return update(a, func(tx *state.Tx) (*ecsapi.UpdateDaemonOutput, error) {
		old, err := a.activeDaemon(tx, *in.DaemonArn)
		if err != nil {
			return nil, err
		}
		d := *old
		if in.DeploymentConfiguration != nil {
			if d.Configuration, err = checkDaemonDeployment(in.DeploymentConfiguration); err != nil {
				return nil, err
			}
		}
		def, err := a.activeDaemonDefinition(tx, *in.DaemonTaskDefinitionArn)
		if err != nil {
			return nil, err
		}
		c, _ := a.State.Clusters.Get(tx, d.ClusterName)
		if d.Providers, err = a.daemonProviders(tx, c, in.CapacityProviderArns); err != nil {
			return nil, err
		}
		if in.PropagateTags != nil {
			d.PropagateTags = *in.PropagateTags
		}
		if in.EnableECSManagedTags != nil {
			d.ManagedTags = *in.EnableECSManagedTags
		}
		if in.EnableExecuteCommand != nil {
			d.EnableExec = *in.EnableExecuteCommand
		}
		a.deployDaemon(ctx, tx, &d, def)
		return &ecsapi.UpdateDaemonOutput{DaemonArn: &d.ARN, DeploymentArn: &d.Deployment, Status: &d.Status, CreatedAt: wire.Timestamp(d.CreatedAt), UpdatedAt: wire.Timestamp(d.UpdatedAt)}, nil
	})
}

func (a *API) deleteDaemon(ctx context.Context, in *ecsapi.DeleteDaemonInput) (*ecsapi.DeleteDaemonOutput, error) {
	return update(a, func(tx *state.Tx) (*ecsapi.DeleteDaemonOutput, error) {
		old, err := a.activeDaemon(tx, *in.DaemonArn)
		if err != nil {
			return nil, err
		}
		d := *old
		d.Status = "DELETE_IN_PROGRESS"
		a.deployDaemon(ctx, tx, &d, nil)
		return &ecsapi.DeleteDaemonOutput{DaemonArn: &d.ARN, DeploymentArn: &d.Deployment, Status: &d.Status, CreatedAt: wire.Timestamp(d.CreatedAt), UpdatedAt: wire.Timestamp(d.UpdatedAt)}, nil
	})
}

// daemonCounts counts instances by revision and capacity provider: those whose daemon task runs, and
// those of them that drain.
func (a *API) daemonCounts(tx *state.Tx, d string) map[string]map[string][2]int {
	out := map[string]map[string][2]int{}
	for _, t := range a.State.TasksByDaemon.Get(tx, d) {
		if t.LastStatus != "RUNNING" {
			continue
		}
		if out[t.DeploymentID] == nil {
			out[t.DeploymentID] = map[string][2]int{}
		}
		n := out[t.DeploymentID][t.CapacityProvider]
		n[0]++
		if ci, ok := a.State.ContainerInstances.Get(tx, t.ContainerInstance); ok && ci.Status == "DRAINING" {
			n[1]++
		}
		out[t.DeploymentID][t.CapacityProvider] = n
	}
	return out
}

func (a *API) describeDaemon(ctx context.Context, in *ecsapi.DescribeDaemonInput) (*ecsapi.DescribeDaemonOutput, error) {
	return view(a, func(tx *state.Tx) (*ecsapi.DescribeDaemonOutput, error) {
		d, err := a.daemon(tx, *in.DaemonArn)
		if err != nil {
			return nil, err
		}
		out := &ecsapi.DaemonDetail{DaemonArn: &d.ARN, ClusterArn: &d.ClusterARN, Status: &d.Status, DeploymentArn: &d.Deployment, CreatedAt: wire.Timestamp(d.CreatedAt), UpdatedAt: wire.Timestamp(d.UpdatedAt), CurrentRevisions: []ecsapi.DaemonRevisionDetail{}}
		counts := a.daemonCounts(tx, d.ARN)
		revisions := []string{d.Revision}
		for rev := range counts {
			if rev != d.Revision {
				revisions = append(revisions, rev)
			}
		}
		slices.Sort(revisions[1:])
		for _, rev := range revisions {
			x := ecsapi.DaemonRevisionDetail{Arn: wire.String(rev), CapacityProviders: []ecsapi.DaemonCapacityProvider{}}
			total := 0
			for _, p := range d.Providers {
				n := counts[rev][p][0]
				total += n
				x.CapacityProviders = append(x.CapacityProviders, ecsapi.DaemonCapacityProvider{Arn: wire.String(arn(ctx, "capacity-provider", p)), RunningCount: wire.Int32(n)})
			}
			x.TotalRunningCount = wire.Int32(total)
			out.CurrentRevisions = append(out.CurrentRevisions, x)
		}
		return &ecsapi.DescribeDaemonOutput{Daemon: out}, nil
	})
}

func (a *API) listDaemons(_ context.Context, in *ecsapi.ListDaemonsInput) (*ecsapi.ListDaemonsOutput, error) {
	return view(a, func(tx *state.Tx) (*ecsapi.ListDaemonsOutput, error) {
		name := ""
		if in.ClusterArn != nil {
			c, err := a.cluster(tx, in.ClusterArn)
			if err != nil {
				return nil, err
			}
			name = c.Name
		}
		var arns []string
		for id, d := range a.State.Daemons.All(tx) {
			on := len(in.CapacityProviderArns) == 0 || slices.ContainsFunc(in.CapacityProviderArns, func(p string) bool { return slices.Contains(d.Providers, lastPart(p)) })
			if on && (name == "" || d.ClusterName == name) {
				arns = append(arns, id)
			}
		}
		part, next, err := page(arns, in.NextToken, in.MaxResults, 100)
		out := &ecsapi.ListDaemonsOutput{DaemonSummariesList: []ecsapi.DaemonSummary{}, NextToken: next}
		for _, id := range part {
			d, _ := a.State.Daemons.Get(tx, id)
			out.DaemonSummariesList = append(out.DaemonSummariesList, ecsapi.DaemonSummary{DaemonArn: &d.ARN, Status: &d.Status, CreatedAt: wire.Timestamp(d.CreatedAt), UpdatedAt: wire.Timestamp(d.UpdatedAt)})
		}
		return out, err
	})
}

func (a *API) describeDaemonRevisions(_ context.Context, in *ecsapi.DescribeDaemonRevisionsInput) (*ecsapi.DescribeDaemonRevisionsOutput, error) {
	if n := len(in.DaemonRevisionArns); n == 0 || n > 20 {
		return nil, invalid("Daemon revisions must have between 1 and 20 elements")
	}
	return view(a, func(tx *state.Tx) (*ecsapi.DescribeDaemonRevisionsOutput, error) {
		out := &ecsapi.DescribeDaemonRevisionsOutput{DaemonRevisions: []ecsapi.DaemonRevision{}, Failures: []ecsapi.Failure{}}
		for _, ref := range in.DaemonRevisionArns {
			r, ok := a.State.DaemonRevisions.Get(tx, ref)
			if !ok {
				out.Failures = append(out.Failures, missing(ref))
				continue
			}
			s := &r.Spec
			out.DaemonRevisions = append(out.DaemonRevisions, ecsapi.DaemonRevision{DaemonRevisionArn: &r.ARN, DaemonArn: &r.Daemon, ClusterArn: &s.ClusterARN, DaemonTaskDefinitionArn: &s.Definition, CreatedAt: wire.Timestamp(r.CreatedAt),
				ContainerImages: r.Images, PropagateTags: wire.NonEmpty(s.PropagateTags), EnableECSManagedTags: &s.ManagedTags, EnableExecuteCommand: &s.EnableExec})
		}
		return out, nil
	})
}

func (a *API) describeDaemonDeployments(ctx context.Context, in *ecsapi.DescribeDaemonDeploymentsInput) (*ecsapi.DescribeDaemonDeploymentsOutput, error) {
	if n := len(in.DaemonDeploymentArns); n == 0 || n > 20 {
		return nil, invalid("Daemon deployments must have between 1 and 20 elements")
	}
	return view(a, func(tx *state.Tx) (*ecsapi.DescribeDaemonDeploymentsOutput, error) {
		out := &ecsapi.DescribeDaemonDeploymentsOutput{DaemonDeployments: []ecsapi.DaemonDeployment{}, Failures: []ecsapi.Failure{}}
		for _, ref := range in.DaemonDeploymentArns {
			if x, ok := a.State.DaemonDeployments.Get(tx, ref); ok {
				out.DaemonDeployments = append(out.DaemonDeployments, a.showDaemonDeployment(ctx, tx, x))
			} else {
				out.Failures = append(out.Failures, missing(ref))
			}
		}
		return out, nil
	})
}

func (a *API) showDaemonDeployment(ctx context.Context, tx *state.Tx, x *state.DaemonDeployment) ecsapi.DaemonDeployment {
	counts := a.daemonCounts(tx, x.Daemon)
	var spec state.Daemon
	for _, ref := range append([]string{x.Target}, x.Sources...) {
		if r, ok := a.State.DaemonRevisions.Get(tx, ref); ok {
			spec = r.Spec
			break
		}
	}
	detail := func(ref string) ecsapi.DaemonDeploymentRevisionDetail {
		d := ecsapi.DaemonDeploymentRevisionDetail{Arn: &ref}
		running, draining := 0, 0
		for _, p := range spec.Providers {
			n := counts[ref][p]
			running, draining = running+n[0], draining+n[1]
			d.CapacityProviders = append(d.CapacityProviders, ecsapi.DaemonDeploymentCapacityProvider{Arn: wire.String(arn(ctx, "capacity-provider", p)), RunningInstanceCount: wire.Int32(n[0]), DrainingInstanceCount: wire.Int32(n[1])})
		}
		d.TotalRunningInstanceCount, d.TotalDrainingInstanceCount = wire.Int32(running), wire.Int32(draining)
		return d
	}
	out := ecsapi.DaemonDeployment{DaemonDeploymentArn: &x.ARN, ClusterArn: wire.NonEmpty(spec.ClusterARN), Status: &x.Status, StatusReason: wire.NonEmpty(x.StatusReason), DeploymentConfiguration: spec.Configuration,
		CreatedAt: wire.Timestamp(x.CreatedAt), StartedAt: wire.Timestamp(x.StartedAt), StoppedAt: wire.Timestamp(x.StoppedAt), FinishedAt: wire.Timestamp(x.FinishedAt), SourceDaemonRevisions: []ecsapi.DaemonDeploymentRevisionDetail{},
		CircuitBreaker: &ecsapi.DaemonCircuitBreaker{FailureCount: wire.Int32(x.Failures), Threshold: wire.Int32(x.Threshold), Status: &x.Breaker},
		Alarms:         &ecsapi.DaemonDeploymentAlarms{Status: wire.String("DISABLED"), AlarmNames: []string{}, TriggeredAlarmNames: orEmpty(x.AlarmsTriggered)}}
	if x.Target != "" {
		out.TargetDaemonRevision = wire.Ptr(detail(x.Target))
	}
	for _, ref := range x.Sources {
		out.SourceDaemonRevisions = append(out.SourceDaemonRevisions, detail(ref))
	}
	if c := spec.Configuration; c != nil && c.Alarms != nil && wire.Value(c.Alarms.Enable) {
		out.Alarms.AlarmNames, out.Alarms.Status = orEmpty(c.Alarms.AlarmNames), wire.String("MONITORING")
		switch {
		case len(x.AlarmsTriggered) > 0:
			out.Alarms.Status = wire.String("TRIGGERED")
		case !open(x.Status):
			out.Alarms.Status = wire.String("MONITORING_COMPLETE")
		}
	}
	if x.RollbackRevision != "" {
		out.Rollback = &ecsapi.DaemonRollback{Reason: wire.NonEmpty(x.RollbackReason), StartedAt: wire.Timestamp(x.RollbackAt), RollbackTargetDaemonRevisionArn: &x.RollbackRevision, RollbackCapacityProviders: spec.Providers}
	}
	return out
}

func (a *API) listDaemonDeployments(_ context.Context, in *ecsapi.ListDaemonDeploymentsInput) (*ecsapi.ListDaemonDeploymentsOutput, error) {
	return view(a, func(tx *state.Tx) (*ecsapi.ListDaemonDeploymentsOutput, error) {
		found, keys, cluster := map[string]*state.DaemonDeployment{}, []string{}, ""
		if kind, rest, ok := resource(*in.DaemonArn); ok && kind == "daemon" {
			name, _, _ := strings.Cut(rest, "/")
			if c, ok := a.State.Clusters.Get(tx, name); ok {
				cluster = c.ARN
			}
		}
		for _, x := range a.State.DaemonDeployments.All(tx) {
			if x.Daemon != *in.DaemonArn || len(in.Status) > 0 && !slices.Contains(in.Status, x.Status) || in.CreatedAt != nil && !within(x.CreatedAt, in.CreatedAt) {
				continue
			}
			k := x.CreatedAt.UTC().Format("20060102T150405.000000000") + x.ARN
			found[k], keys = x, append(keys, k)
		}
		if len(keys) == 0 && len(in.Status) == 0 && in.CreatedAt == nil {
			return nil, invalid("The specified daemon was not found.")
		}
		slices.Sort(keys)
		part, next, err := pageOrdered(keys, in.NextToken, in.MaxResults, 100, true) // newest first
		out := &ecsapi.ListDaemonDeploymentsOutput{DaemonDeployments: []ecsapi.DaemonDeploymentSummary{}, NextToken: next}
		for _, k := range part {
			x := found[k]
			out.DaemonDeployments = append(out.DaemonDeployments, ecsapi.DaemonDeploymentSummary{DaemonDeploymentArn: &x.ARN, DaemonArn: &x.Daemon, ClusterArn: wire.NonEmpty(cluster), Status: &x.Status, StatusReason: wire.NonEmpty(x.StatusReason),
				TargetDaemonRevisionArn: wire.NonEmpty(x.Target), CreatedAt: wire.Timestamp(x.CreatedAt), StartedAt: wire.Timestamp(x.StartedAt), StoppedAt: wire.Timestamp(x.StoppedAt), FinishedAt: wire.Timestamp(x.FinishedAt)})
		}
		return out, err
	})
}

// managedInstances checks and completes what a capacity provider of managed instances is made of.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateManagedInstancesProviderConfiguration.html
func managedInstances(mi ecsapi.ManagedInstancesProvider) (*ecsapi.ManagedInstancesProvider, error) {
	mi.PropagateTags = or(mi.PropagateTags, "NONE")
	t := wire.Value(mi.InstanceLaunchTemplate)
	t.Monitoring, t.CapacityOptionType = or(t.Monitoring, "BASIC"), or(t.CapacityOptionType, "ON_DEMAND")
	mi.InstanceLaunchTemplate = &t
	o := mi.InfrastructureOptimization
	switch {
	case t.NetworkConfiguration == nil || len(t.NetworkConfiguration.Subnets) == 0:
		return nil, client("The network configuration of managed instances must have subnets.")
	case *t.CapacityOptionType == "RESERVED" || t.CapacityReservations != nil:
		return nil, wire.Errorf("UnsupportedFeatureException", "not supported by this local AWS: capacity reservations")
	case *t.CapacityOptionType != "ON_DEMAND" && *t.CapacityOptionType != "SPOT":
		return nil, client("Unknown capacity option type: %s", *t.CapacityOptionType)
	case o != nil && o.ScaleInAfter != nil && (*o.ScaleInAfter < -1 || *o.ScaleInAfter > 3600):
		return nil, client("scaleInAfter must be -1, or between 0 and 3600 seconds.")
	}
	if err := managedinstances.Check(t.InstanceRequirements); err != nil {
		if strings.HasPrefix(err.Error(), "not supported") {
			return nil, wire.Errorf("UnsupportedFeatureException", "%s", strings.Replace(err.Error(), "not supported:", "not supported by this local AWS:", 1))
		}
		return nil, client("%s", err)
	}
	if len(managedinstances.Candidates(t.InstanceRequirements)) == 0 {
		return nil, client("No instance type meets the instance requirements.")
	}
	return &mi, nil
}
