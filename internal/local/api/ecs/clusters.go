package ecs

import (
	"context"
	"regexp"
	"slices"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

func (a *API) registerClusters(svc *wire.Service) {
	wire.Handle(svc, "CreateCluster", a.createCluster)
	wire.Handle(svc, "DescribeClusters", a.describeClusters)
	wire.Handle(svc, "ListClusters", a.listClusters)
	wire.Handle(svc, "UpdateCluster", a.updateCluster)
	wire.Handle(svc, "UpdateClusterSettings", a.updateClusterSettings)
	wire.Handle(svc, "PutClusterCapacityProviders", a.putClusterCapacityProviders)
	wire.Handle(svc, "DeleteCluster", a.deleteCluster)
}

var nameRE = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,255}$`)

func (a *API) createCluster(ctx context.Context, in *ecsapi.CreateClusterInput) (*ecsapi.CreateClusterOutput, error) {
	name := clusterName(in.ClusterName)
	if !nameRE.MatchString(name) {
		return nil, invalid("Cluster name is invalid: up to 255 letters, numbers, underscores and hyphens are allowed.")
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	return update(a, func(tx *state.Tx) (*ecsapi.CreateClusterOutput, error) {
		if c, ok := a.State.Clusters.Get(tx, name); ok && c.Status != "INACTIVE" {
			return &ecsapi.CreateClusterOutput{Cluster: a.showCluster(tx, c, allFields)}, nil
		}
		c := &state.Cluster{
			Name: name, ARN: arn(ctx, "cluster", name), Status: "ACTIVE", Configuration: in.Configuration,
			Tags: in.Tags, CreatedAt: a.Clock.Now(), Settings: a.clusterSettings(ctx, tx, in.Settings),
		}
		if in.ServiceConnectDefaults != nil {
			c.ServiceConnect = &ecsapi.ClusterServiceConnectDefaults{Namespace: in.ServiceConnectDefaults.Namespace}
		}
		var err error
		if c.CapacityProviders, c.DefaultStrategy, err = a.checkProviders(tx, in.CapacityProviders, in.DefaultCapacityProviderStrategy); err != nil {
			return nil, err
		}
		a.State.Clusters.Put(tx, name, c)
		return &ecsapi.CreateClusterOutput{Cluster: a.showCluster(tx, c, allFields)}, nil
	})
}

// clusterSettings are the settings given, completed by the account's default.
func (a *API) clusterSettings(ctx context.Context, tx *state.Tx, given []ecsapi.ClusterSetting) []ecsapi.ClusterSetting {
	for _, s := range given {
		if wire.Value(s.Name) == "containerInsights" {
			return given
		}
	}
	def := a.setting(ctx, tx, "", "containerInsights")
	return append(slices.Clone(given), ecsapi.ClusterSetting{Name: wire.String("containerInsights"), Value: wire.String(def)})
}

// checkProviders resolves capacity providers and checks the strategy over them.
func (a *API) checkProviders(tx *state.Tx, names []string, strategy []ecsapi.CapacityProviderStrategyItem) ([]string, []ecsapi.CapacityProviderStrategyItem, error) {
	var out []string
	for _, n := range names {
		n = lastPart(n)
		if _, ok := a.provider(tx, n); !ok {
			return nil, nil, invalid("The specified capacity provider '%s' was not found. Specify a valid name or ARN and try again.", n)
		}
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	s, err := a.checkStrategy(tx, strategy, out)
	return out, s, err
}

// fields says which parts of a cluster DescribeClusters shows.
type fields struct{ attachments, configurations, settings, statistics, tags bool }

var allFields = fields{true, true, true, false, true}

func (a *API) describeClusters(ctx context.Context, in *ecsapi.DescribeClustersInput) (*ecsapi.DescribeClustersOutput, error) {
	refs := in.Clusters
	if len(refs) == 0 {
		refs = []string{"default"}
	}
	if len(refs) > 100 {
		return nil, invalid("Clusters cannot have more than 100 elements")
	}
	var f fields
	for _, inc := range in.Include {
		switch inc {
		case "ATTACHMENTS":
			f.attachments = true
		case "CONFIGURATIONS":
			f.configurations = true
		case "SETTINGS":
			f.settings = true
		case "STATISTICS":
			f.statistics = true
		case "TAGS":
			f.tags = true
		default:
			return nil, invalid("Unexpected value '%s' in include.", inc)
		}
	}
	return view(a, func(tx *state.Tx) (*ecsapi.DescribeClustersOutput, error) {
		out := &ecsapi.DescribeClustersOutput{Clusters: []ecsapi.Cluster{}, Failures: []ecsapi.Failure{}}
		for _, ref := range refs {
			c, ok := a.State.Clusters.Get(tx, clusterName(&ref))
			if !ok {
				out.Failures = append(out.Failures, missing(arn(ctx, "cluster", clusterName(&ref))))
				continue
			}
			out.Clusters = append(out.Clusters, *a.showCluster(tx, c, f))
		}
		return out, nil
	})
}

func missing(arn string) ecsapi.Failure {
	return ecsapi.Failure{Arn: &arn, Reason: wire.String("MISSING")}
}

func (a *API) showCluster(tx *state.Tx, c *state.Cluster, f fields) *ecsapi.Cluster {
	n := a.countCluster(tx, c.Name)
	out := &ecsapi.Cluster{
		ClusterArn: &c.ARN, ClusterName: &c.Name, Status: &c.Status,
		RegisteredContainerInstancesCount: wire.Int32(n.instances), RunningTasksCount: wire.Int32(n.running[0] + n.running[1]),
		PendingTasksCount: wire.Int32(n.pending[0] + n.pending[1]), ActiveServicesCount: wire.Int32(n.active[0] + n.active[1]),
		Statistics: []ecsapi.KeyValuePair{}, Tags: []ecsapi.Tag{}, Settings: []ecsapi.ClusterSetting{},
		CapacityProviders: orEmpty(c.CapacityProviders), DefaultCapacityProviderStrategy: orEmpty(c.DefaultStrategy),
	}
	if c.ServiceConnect != nil {
		out.ServiceConnectDefaults = c.ServiceConnect
	}
	if f.settings {
		out.Settings = orEmpty(c.Settings)
	}
	if f.tags {
		out.Tags = orEmpty(c.Tags)
	}
	if f.configurations {
		out.Configuration = c.Configuration
	}
	if f.attachments && len(c.CapacityProviders) > 0 {
		out.Attachments, out.AttachmentsStatus = []ecsapi.Attachment{}, wire.String("UPDATE_COMPLETE")
	}
	if f.statistics {
		out.Statistics = n.statistics()
	}
	return out
}

// clusterCounts counts what a cluster holds; the pairs are EC2 (and EXTERNAL), Fargate.
type clusterCounts struct {
	instances                          int
	running, pending, active, draining [2]int
}

func (a *API) countCluster(tx *state.Tx, name string) (n clusterCounts) {
	for _, i := range a.State.InstancesByCluster.Get(tx, name) {
		if i.Status != "INACTIVE" {
			n.instances++
		}
	}
	for k, fargate := range []bool{false, true} {
		n.running[k] = a.State.ClusterTasks.Count(tx, state.TaskCount{Of: name, Fargate: fargate, Phase: state.Running})
		n.pending[k] = a.State.ClusterTasks.Count(tx, state.TaskCount{Of: name, Fargate: fargate, Phase: state.Pending})
	}
	for _, s := range a.State.Services.Prefix(tx, name+"/") {
		k := 0
		if wire.Value(s.Spec.LaunchType) == "FARGATE" {
			k = 1
		}
		switch s.Status {
		case "ACTIVE":
			n.active[k]++
		case "DRAINING":
			n.draining[k]++
		}
	}
	return n
}

func (n clusterCounts) statistics() []ecsapi.KeyValuePair {
	var out []ecsapi.KeyValuePair
	add := func(name string, v int) {
		out = append(out, ecsapi.KeyValuePair{Name: &name, Value: wire.String(itoa(v))})
	}
	for k, kind := range []string{"EC2", "Fargate"} {
		add("running"+kind+"TasksCount", n.running[k])
		add("pending"+kind+"TasksCount", n.pending[k])
		add("active"+kind+"ServiceCount", n.active[k])
		add("draining"+kind+"ServiceCount", n.draining[k])
	}
	return out
}

func (a *API) listClusters(_ context.Context, in *ecsapi.ListClustersInput) (*ecsapi.ListClustersOutput, error) {
	return view(a, func(tx *state.Tx) (*ecsapi.ListClustersOutput, error) {
		var arns []string
		for _, c := range a.State.Clusters.All(tx) {
			if c.Status != "INACTIVE" {
				arns = append(arns, c.ARN)
			}
		}
		slices.Sort(arns)
		part, next, err := page(arns, in.NextToken, in.MaxResults, 100)
		return &ecsapi.ListClustersOutput{ClusterArns: part, NextToken: next}, err
	})
}

// modifyCluster changes an active cluster and shows it.
func (a *API) modifyCluster(ref *string, f func(tx *state.Tx, c *state.Cluster) error) (*ecsapi.Cluster, error) {
	return update(a, func(tx *state.Tx) (*ecsapi.Cluster, error) {
		old, err := a.cluster(tx, ref)
		if err != nil {
			return nil, err
		}
		c := *old
		if err := f(tx, &c); err != nil {
			return nil, err
		}
		a.State.Clusters.Put(tx, c.Name, &c)
		return a.showCluster(tx, &c, allFields), nil
	})
}

func (a *API) updateCluster(_ context.Context, in *ecsapi.UpdateClusterInput) (*ecsapi.UpdateClusterOutput, error) {
	c, err := a.modifyCluster(in.Cluster, func(_ *state.Tx, c *state.Cluster) error {
		c.Settings = mergeSettings(c.Settings, in.Settings)
		if in.Configuration != nil {
			c.Configuration = in.Configuration
		}
		if d := in.ServiceConnectDefaults; d != nil {
			c.ServiceConnect = &ecsapi.ClusterServiceConnectDefaults{Namespace: d.Namespace}
			if wire.Value(d.Namespace) == "" {
				c.ServiceConnect = nil
			}
		}
		return nil
	})
	return &ecsapi.UpdateClusterOutput{Cluster: c}, err
}

func (a *API) updateClusterSettings(_ context.Context, in *ecsapi.UpdateClusterSettingsInput) (*ecsapi.UpdateClusterSettingsOutput, error) {
	c, err := a.modifyCluster(in.Cluster, func(_ *state.Tx, c *state.Cluster) error {
		c.Settings = mergeSettings(c.Settings, in.Settings)
		return nil
	})
	return &ecsapi.UpdateClusterSettingsOutput{Cluster: c}, err
}

func mergeSettings(old, given []ecsapi.ClusterSetting) []ecsapi.ClusterSetting {
	out := slices.Clone(old)
	for _, s := range given {
		if i := slices.IndexFunc(out, func(o ecsapi.ClusterSetting) bool { return wire.Value(o.Name) == wire.Value(s.Name) }); i >= 0 {
			out[i] = s
		} else {
			out = append(out, s)
		}
	}
	return out
}

func (a *API) putClusterCapacityProviders(_ context.Context, in *ecsapi.PutClusterCapacityProvidersInput) (*ecsapi.PutClusterCapacityProvidersOutput, error) {
	c, err := a.modifyCluster(in.Cluster, func(tx *state.Tx, c *state.Cluster) error {
		names, strategy, err := a.checkProviders(tx, in.CapacityProviders, in.DefaultCapacityProviderStrategy)
		if err != nil {
			return err
		}
		for _, gone := range c.CapacityProviders {
			if !slices.Contains(names, gone) && a.providerInUse(tx, c.Name, gone) {
				return wire.Errorf("ResourceInUseException", "The specified capacity provider is in use and cannot be removed.")
			}
		}
		c.CapacityProviders, c.DefaultStrategy = names, strategy
		return nil
	})
	return &ecsapi.PutClusterCapacityProvidersOutput{Cluster: c}, err
}

func (a *API) deleteCluster(_ context.Context, in *ecsapi.DeleteClusterInput) (*ecsapi.DeleteClusterOutput, error) {
	return update(a, func(tx *state.Tx) (*ecsapi.DeleteClusterOutput, error) {
		old, err := a.cluster(tx, in.Cluster)
		if err != nil {
			return nil, err
		}
		n := a.countCluster(tx, old.Name)
		for _, s := range a.State.Services.Prefix(tx, old.Name+"/") {
			if s.Status == "ACTIVE" {
				return nil, wire.Errorf("ClusterContainsServicesException", "The Cluster cannot be deleted while Services are active.")
			}
		}
		if n.instances > 0 {
			return nil, wire.Errorf("ClusterContainsContainerInstancesException", "The Cluster cannot be deleted while Container Instances are active or draining.")
		}
		for _, t := range a.State.TasksByCluster.Get(tx, old.Name) {
			if t.LastStatus != "STOPPED" {
				return nil, wire.Errorf("ClusterContainsTasksException", "The Cluster cannot be deleted while Tasks are active.")
			}
		}
		c := *old
		c.Status, c.CapacityProviders, c.DefaultStrategy = "INACTIVE", nil, nil
		a.State.Clusters.Put(tx, c.Name, &c)
		return &ecsapi.DeleteClusterOutput{Cluster: a.showCluster(tx, &c, allFields)}, nil
	})
}
