// Package managedscaling is what ECS does to the Auto Scaling groups of capacity providers: it measures
// CapacityProviderReservation and keeps it at its target with a policy of the group, protects
// instances with tasks from scale-in, and drains those that are to go.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cluster-auto-scaling.html
package managedscaling

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/capacity"
	"github.com/slipway-ecs/slipway/internal/local/api/autoscaling"
	"github.com/slipway-ecs/slipway/internal/local/api/cloudwatch"
	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/autoscalingapi"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
	"github.com/slipway-ecs/slipway/internal/scaling"
)

// Names that ECS gives to what it makes in a group.
const (
	Namespace    = "AWS/ECS/ManagedScaling"
	Metric       = "CapacityProviderReservation"
	Hook         = "ecs-managed-draining-termination-hook"
	policyPrefix = "ECSManagedAutoScalingPolicy-"
	managedTag   = "AmazonECSManaged"
)

// Config is what it works on.
type Config struct {
	State      *state.ECS
	Groups     *autoscaling.Service
	CloudWatch *cloudwatch.Service
	Clock      clock.Clock
}

// Manager manages the groups. Its loop is Run.
type Manager struct{ Config }

// New makes the loop; Run runs it.
func New(c Config) *Manager { return &Manager{c} }

// provider is a capacity provider at work in a cluster.
type provider struct {
	name, cluster, group string
	spec                 *ecsapi.AutoScalingGroupProvider
}

func enabled(s *string) bool { return wire.Value(s) == "ENABLED" }

// Run settles the groups whenever something has changed, at most once a second, and measures once a
// minute, until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	w := m.State.DB.Watch(autoscaling.TableGroups, state.TableTasks, state.TableContainerInstances, state.TableCapacityProviders, state.TableClusters)
	defer w.Stop()
	measured := m.Clock.Now().Truncate(time.Minute)
	for {
		if err := m.State.DB.Update(m.settle); err != nil {
			return fmt.Errorf("managing the groups of capacity providers: %w", err)
		}
		now := m.Clock.Now()
		if now.Sub(measured) >= 110*time.Second { // ten seconds before the next minute is over
			measured = now.Truncate(time.Minute)
			m.measure()
		}
		if err := clock.Sleep(ctx, m.Clock, time.Second); err != nil {
			return nil // the context ended
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.C:
			w.Drain()
		case <-m.Clock.After(measured.Add(110 * time.Second).Sub(m.Clock.Now())):
		}
	}
}

// providers are the capacity providers with groups that clusters use.
func (m *Manager) providers(tx *state.Tx) []provider {
	var out []provider
	for _, c := range m.State.Clusters.All(tx) {
		for _, name := range c.CapacityProviders {
			p, ok := m.State.CapacityProviders.Get(tx, name)
			if !ok || wire.Value(p.API.Status) != "ACTIVE" || p.API.AutoScalingGroupProvider == nil || c.Status != "ACTIVE" {
				continue
			}
			if g, ok := m.Groups.ByARN(tx, wire.Value(p.API.AutoScalingGroupProvider.AutoScalingGroupArn)); ok {
				out = append(out, provider{name, c.Name, wire.Value(g.Spec.AutoScalingGroupName), p.API.AutoScalingGroupProvider})
			}
		}
	}
	return out
}

// settle gives the groups what managing them needs, and moves on the instances that drain.
func (m *Manager) settle(tx *state.Tx) error {
	for _, p := range m.providers(tx) {
		m.Groups.TagIn(tx, p.group, managedTag)
		if err := m.policy(tx, p); err != nil {
			return err
		}
		m.adopt(tx, p)
		if enabled(p.spec.ManagedTerminationProtection) {
			m.Groups.ProtectIn(tx, p.group, func(id string) bool { return m.busy(tx, id) })
		}
		if !enabled(p.spec.ManagedDraining) {
			m.Groups.DropHookIn(tx, p.group, Hook)
			continue
		}
		m.Groups.HookIn(tx, p.group, &autoscalingapi.PutLifecycleHookInput{LifecycleHookName: wire.Ptr(Hook), LifecycleTransition: wire.Ptr("autoscaling:EC2_INSTANCE_TERMINATING"),
			DefaultResult: wire.Ptr("CONTINUE"), HeartbeatTimeout: wire.Ptr[int32](172800)})
		m.drain(tx, p)
	}
	return nil
}

// policy gives the group the target-tracking policy of managed scaling, or takes it away.
func (m *Manager) policy(tx *state.Tx, p provider) error {
	have, ok := m.Groups.PolicyWith(tx, p.group, policyPrefix)
	ms := p.spec.ManagedScaling
	if ms == nil || !enabled(ms.Status) {
		if ok {
			m.Groups.DropPolicyIn(tx, p.group, *have.API.PolicyName)
		}
		return nil
	}
	target, warmup := float64(wire.Value(ms.TargetCapacity)), ms.InstanceWarmupPeriod
	name := policyPrefix + p.name
	if ok {
		if name = *have.API.PolicyName; *have.API.TargetTrackingConfiguration.TargetValue == target && wire.Value(have.API.EstimatedInstanceWarmup) == wire.Value(warmup) {
			return nil
		}
	}
	dim := func(k, v string) autoscalingapi.MetricDimension {
		return autoscalingapi.MetricDimension{Name: &k, Value: &v}
	}
	_, err := m.Groups.PutPolicyIn(tx, &autoscalingapi.PutScalingPolicyInput{AutoScalingGroupName: &p.group, PolicyName: &name, PolicyType: wire.Ptr("TargetTrackingScaling"), EstimatedInstanceWarmup: warmup,
		TargetTrackingConfiguration: &autoscalingapi.TargetTrackingConfiguration{TargetValue: &target, CustomizedMetricSpecification: &autoscalingapi.CustomizedMetricSpecification{
			Namespace: wire.Ptr(Namespace), MetricName: wire.Ptr(Metric), Statistic: wire.Ptr("Average"), Dimensions: []autoscalingapi.MetricDimension{dim("CapacityProviderName", p.name), dim("ClusterName", p.cluster)}}}}, 1)
	return err
}

// adopt makes the group's container instances those of the provider: they may have joined before it.
func (m *Manager) adopt(tx *state.Tx, p provider) {
	for _, member := range m.members(tx, p) {
		for _, ci := range m.instances(tx, member.ID) {
			if ci.CapacityProvider == "" && ci.ClusterName == p.cluster {
				m.State.ContainerInstances.Modify(tx, ci.ARN, func(ci *state.ContainerInstance) { ci.CapacityProvider, ci.Version = p.name, ci.Version+1 })
			}
		}
	}
}

func (m *Manager) members(tx *state.Tx, p provider) []autoscaling.Member {
	g, ok := m.Groups.ByARN(tx, p.group)
	if !ok {
		return nil
	}
	return g.Members
}

// instances are the container instances of a machine.
func (m *Manager) instances(tx *state.Tx, id string) []*state.ContainerInstance {
	var out []*state.ContainerInstance
	for _, ci := range m.State.InstancesByEC2.Get(tx, id) {
		if ci.Status != "INACTIVE" {
			out = append(out, ci)
		}
	}
	return out
}

// busy says whether a machine has a task that is no daemon: daemons keep none alive.
func (m *Manager) busy(tx *state.Tx, id string) bool {
	for _, ci := range m.instances(tx, id) {
		for _, t := range m.State.TasksByInstance.Get(tx, ci.ARN) {
			if !m.daemon(tx, t) {
				return true
			}
		}
	}
	return false
}

func (m *Manager) daemon(tx *state.Tx, t *state.Task) bool {
	svc, ok := m.State.Services.Get(tx, t.ServiceKey)
	return ok && wire.Value(svc.Spec.SchedulingStrategy) == "DAEMON"
}

// drain sets the instances that are to be terminated to DRAINING, and lets go those that are empty
// (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/managed-instance-draining.html).
func (m *Manager) drain(tx *state.Tx, p provider) {
	for _, member := range m.members(tx, p) {
		if member.State != "Terminating:Wait" || member.Hook != Hook {
			continue
		}
		for _, ci := range m.instances(tx, member.ID) {
			if ci.Status == "ACTIVE" {
				m.State.ContainerInstances.Modify(tx, ci.ARN, func(ci *state.ContainerInstance) { ci.Status, ci.Version = "DRAINING", ci.Version+1 })
			}
		}
		if !m.busy(tx, member.ID) {
			m.Groups.ContinueIn(tx, p.group, member.ID, Hook)
		}
	}
}

// measure puts CapacityProviderReservation for every provider with managed scaling.
func (m *Manager) measure() {
	type value struct {
		p       provider
		percent float64
	}
	var values []value
	_ = m.State.DB.View(func(tx *state.Tx) error {
		for _, p := range m.providers(tx) {
			if p.spec.ManagedScaling != nil && enabled(p.spec.ManagedScaling.Status) {
				values = append(values, value{p, m.reservation(tx, p)})
			}
		}
		return nil
	})
	for _, v := range values {
		m.CloudWatch.Put(Namespace, Metric, "Percent", []cloudwatch.Dimension{{Name: "CapacityProviderName", Value: v.p.name}, {Name: "ClusterName", Value: v.p.cluster}}, v.percent)
	}
}

func (m *Manager) reservation(tx *state.Tx, p provider) float64 {
	there, busy := 0, 0
	for _, member := range m.members(tx, p) {
		if member.State == "InService" {
			there++
			if m.busy(tx, member.ID) {
				busy++
			}
		}
	}
	ms := p.spec.ManagedScaling
	rule := scaling.Managed{MinStep: int(wire.Value(ms.MinimumScalingStepSize)), MaxStep: int(wire.Value(ms.MaximumScalingStepSize))}
	return scaling.Reservation(rule.Needed(there, busy, m.waiting(tx, p), m.room(tx, p)), there)
}

// waiting groups the provider's tasks without an instance by what they need.
func (m *Manager) waiting(tx *state.Tx, p provider) []scaling.Waiting {
	groups := map[scaling.Waiting]int{}
	for _, t := range m.State.TasksByCluster.Get(tx, p.cluster) {
		if t.CapacityProvider != p.name || t.LastStatus != "PROVISIONING" || t.DesiredStatus == "STOPPED" || t.ContainerInstance != "" {
			continue
		}
		w := scaling.Waiting{Needs: scaling.Room{CPU: t.CPU, Memory: t.Memory, GPU: t.GPU}, Exclusive: len(t.HostPorts) > 0}
		if t.NetworkConfiguration != nil {
			w.Needs.ENI = 1
		}
		if svc, ok := m.State.Services.Get(tx, t.ServiceKey); ok {
			w.Exclusive = w.Exclusive || slices.ContainsFunc(svc.Spec.PlacementConstraints, func(c ecsapi.PlacementConstraint) bool { return wire.Value(c.Type) == "distinctInstance" })
		}
		groups[w]++
	}
	var out []scaling.Waiting
	for w, n := range groups {
		w.Tasks = n
		out = append(out, w)
	}
	return out
}

// room is what an empty instance of the group has for tasks.
func (m *Manager) room(tx *state.Tx, p provider) scaling.Room {
	g, ok := m.Groups.ByARN(tx, p.group)
	if !ok {
		return scaling.Room{}
	}
	t, ok := capacity.TypeByName(strings.TrimSpace(m.Groups.InstanceType(tx, g)))
	if !ok {
		return scaling.Room{}
	}
	return scaling.Room{CPU: t.RegisteredCPU(), Memory: t.RegisteredMemory(), GPU: t.GPUs, ENI: t.TaskENIs(false)}
}
