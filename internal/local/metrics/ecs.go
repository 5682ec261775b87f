package metrics

import (
	"context"
	"maps"
	"slices"

	"github.com/slipway-ecs/slipway/internal/local/api/cloudwatch"
	"github.com/slipway-ecs/slipway/internal/local/api/servicequotas"
	"github.com/slipway-ecs/slipway/internal/local/state"
)

const ecsNamespace = "AWS/ECS"

// room is a number of CPU units and MiB.
type room struct{ cpu, memory float64 }

func (r room) plus(o room) room { return room{r.cpu + o.cpu, r.memory + o.memory} }

// tasks measures services and clusters: a service's values are one a task, in percent of what the task
// reserves; a cluster's is one, in percent of what its instances have
// (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cloudwatch-metrics.html).
func (m *Metrics) tasks(ctx context.Context) {
	type measured struct {
		cluster, service string
		onInstance       bool
		names            []string
		arn              string
		reserved         room
	}
	var running []measured
	registered := map[string]room{}
	ecs := m.cfg.State
	_ = ecs.DB.View(func(tx *state.Tx) error {
		for _, ci := range ecs.ContainerInstances.All(tx) {
			if ci.Status == "ACTIVE" || ci.Status == "DRAINING" {
				registered[ci.ClusterName] = registered[ci.ClusterName].plus(room{float64(ci.CPU), float64(ci.Memory)})
			}
		}
		for _, t := range ecs.Tasks.All(tx) {
			if t.LastStatus != "RUNNING" {
				continue
			}
			x := measured{cluster: t.ClusterName, onInstance: t.ContainerInstance != "", arn: t.ARN, reserved: room{float64(t.CPU), float64(t.Memory)}}
			if svc, ok := ecs.Services.Get(tx, t.ServiceKey); ok {
				x.service = svc.Name
			}
			if ci, ok := ecs.ContainerInstances.Get(tx, t.ContainerInstance); ok && x.reserved.cpu == 0 {
				x.reserved.cpu = float64(ci.CPU) // without a reservation it may use all there is
			}
			for _, c := range t.Containers {
				x.names = append(x.names, c.Name)
			}
			running = append(running, x)
		}
		return nil
	})
	used, seen := map[string]room{}, map[string]usage{}
	for _, t := range running {
		u, ok := m.use(ctx, t.arn, t.names, seen)
		if !ok {
			continue
		}
		if t.onInstance {
			used[t.cluster] = used[t.cluster].plus(u)
		}
		if t.service != "" {
			m.percent("Utilization", dims("ClusterName", t.cluster, "ServiceName", t.service), u, t.reserved)
		}
	}
	m.cpu = seen
	for cluster, all := range registered {
		m.percent("Utilization", dims("ClusterName", cluster), used[cluster], all)
	}
}

// use is what a task uses; false until its containers have been seen twice, as processor time only
// tells what was used between two looks.
func (m *Metrics) use(ctx context.Context, task string, names []string, seen map[string]usage) (room, bool) {
	var sum room
	known := false
	for _, name := range names {
		c, ok := m.cfg.Container(task, name)
		if !ok {
			continue // it ended, or has not begun
		}
		st, err := c.Stats(ctx)
		if err != nil {
			continue // it has just ended
		}
		now := m.cfg.Clock.Now()
		seen[c.ID()] = usage{now, st.CPU}
		last, before := m.cpu[c.ID()]
		if !before {
			continue
		}
		known = true
		// Processes live in real time, however fast the clock of the control plane runs.
		if span := m.cfg.Clock.Real(now.Sub(last.at)); span > 0 {
			sum.cpu += 1024 * max(0, float64(st.CPU-last.used)) / float64(span)
		}
		sum.memory += float64(st.Memory) / (1 << 20)
	}
	return sum, known
}

// clusters measures what is reserved of the instances of each cluster that has some.
func (m *Metrics) clusters() {
	registered, reserved := map[string]room{}, map[string]room{}
	ecs := m.cfg.State
	_ = ecs.DB.View(func(tx *state.Tx) error {
		for arn, ci := range ecs.ContainerInstances.All(tx) {
			if ci.Status != "ACTIVE" && ci.Status != "DRAINING" {
				continue
			}
			registered[ci.ClusterName] = registered[ci.ClusterName].plus(room{float64(ci.CPU), float64(ci.Memory)})
			for _, t := range ecs.TasksByInstance.Get(tx, arn) {
				reserved[ci.ClusterName] = reserved[ci.ClusterName].plus(room{float64(t.CPU), float64(t.Memory)})
			}
		}
		return nil
	})
	for cluster, all := range registered {
		m.percent("Reservation", dims("ClusterName", cluster), reserved[cluster], all)
	}
}

// quotas measures what is taken of the account's quotas.
func (m *Metrics) quotas() {
	type taken struct {
		of    map[string]string
		vcpus float64
	}
	var all []taken
	_ = m.cfg.State.DB.View(func(tx *state.Tx) error {
		servicequotas.Usage(tx, m.cfg.State, func(of map[string]string, vcpus float64) { all = append(all, taken{of, vcpus}) })
		return nil
	})
	for _, t := range all {
		var on []cloudwatch.Dimension
		for _, name := range slices.Sorted(maps.Keys(t.of)) {
			on = append(on, cloudwatch.Dimension{Name: name, Value: t.of[name]})
		}
		m.cfg.CloudWatch.Put(servicequotas.UsageNamespace, servicequotas.UsageMetric, "None", on, t.vcpus)
	}
}

func (m *Metrics) percent(what string, on []dimension, part, all room) {
	if all.cpu > 0 {
		m.cfg.CloudWatch.Put(ecsNamespace, "CPU"+what, "Percent", on, 100*part.cpu/all.cpu)
	}
	if all.memory > 0 {
		m.cfg.CloudWatch.Put(ecsNamespace, "Memory"+what, "Percent", on, 100*part.memory/all.memory)
	}
}
