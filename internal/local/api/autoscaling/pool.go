package autoscaling

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/autoscalingapi"
)

// Warm pools: https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-warm-pools.html.
// The instances of a pool are Group.Pool; their states begin with "Warmed:".

func (s *Service) registerPool(svc *wire.Service) {
	wire.Handle(svc, "PutWarmPool", s.putPool)
	wire.Handle(svc, "DescribeWarmPool", s.describePool)
	wire.Handle(svc, "DeleteWarmPool", s.deletePool)
}

func (s *Service) putPool(_ context.Context, in *autoscalingapi.PutWarmPoolInput) (*autoscalingapi.PutWarmPoolOutput, error) {
	c := &autoscalingapi.WarmPoolConfiguration{MaxGroupPreparedCapacity: in.MaxGroupPreparedCapacity, MinSize: in.MinSize, PoolState: in.PoolState, InstanceReusePolicy: in.InstanceReusePolicy}
	return &autoscalingapi.PutWarmPoolOutput{}, s.modify(wire.Value(in.AutoScalingGroupName), func(tx *state.Tx, g *Group) error {
		if _, r := s.activeRefresh(tx, s.name(g)); r != nil {
			return wire.Errorf("InstanceRefreshInProgress", "An Instance Refresh is in progress and blocks changes of the warm pool.")
		}
		if old := g.Spec.WarmPoolConfiguration; old != nil {
			if old.Status != nil {
				return wire.Errorf("ValidationError", "The warm pool of AutoScalingGroup %s is being deleted.", s.name(g))
			}
			c.MaxGroupPreparedCapacity, c.MinSize, c.PoolState = or(c.MaxGroupPreparedCapacity, old.MaxGroupPreparedCapacity), or(c.MinSize, old.MinSize), or(c.PoolState, old.PoolState)
			c.InstanceReusePolicy = or(c.InstanceReusePolicy, old.InstanceReusePolicy)
		}
		c.MinSize, c.PoolState = or(c.MinSize, wire.Ptr[int32](0)), or(c.PoolState, wire.Ptr("Stopped"))
		if wire.Value(c.MaxGroupPreparedCapacity) == -1 { // as if it was never given
			c.MaxGroupPreparedCapacity = nil
		}
		switch {
		case !slices.Contains([]string{"Stopped", "Running", "Hibernated"}, *c.PoolState):
			return wire.Errorf("ValidationError", "PoolState must be Stopped, Running or Hibernated.")
		case *c.MinSize < 0:
			return wire.Errorf("ValidationError", "MinSize must not be negative.")
		case c.MaxGroupPreparedCapacity != nil && *c.MaxGroupPreparedCapacity < *g.Spec.MinSize:
			return wire.Errorf("ValidationError", "MaxGroupPreparedCapacity must be greater than or equal to the minimum size of the group.")
		}
		g.Spec.WarmPoolConfiguration = c
		return nil
	})
}

func (s *Service) describePool(_ context.Context, in *autoscalingapi.DescribeWarmPoolInput) (*autoscalingapi.DescribeWarmPoolOutput, error) {
	out := &autoscalingapi.DescribeWarmPoolOutput{Instances: []autoscalingapi.Instance{}}
	from, _ := strconv.Atoi(wire.Value(in.NextToken)) // absent: from the first
	return out, s.db.View(func(tx *state.Tx) error {
		g, ok := s.groups.Get(tx, wire.Value(in.AutoScalingGroupName))
		if !ok {
			return noGroup(wire.Value(in.AutoScalingGroupName))
		}
		out.WarmPoolConfiguration = g.Spec.WarmPoolConfiguration
		to := min(max(0, from)+int(cmp.Or(wire.Value(in.MaxRecords), 50)), len(g.Pool))
		for _, m := range g.Pool[min(max(0, from), to):to] {
			out.Instances = append(out.Instances, m.api())
		}
		if to < len(g.Pool) {
			out.NextToken = wire.Ptr(strconv.Itoa(to))
		}
		return nil
	})
}

func (s *Service) deletePool(_ context.Context, in *autoscalingapi.DeleteWarmPoolInput) (*autoscalingapi.DeleteWarmPoolOutput, error) {
	return &autoscalingapi.DeleteWarmPoolOutput{}, s.modify(wire.Value(in.AutoScalingGroupName), func(tx *state.Tx, g *Group) error {
		if g.Spec.WarmPoolConfiguration == nil {
			return wire.Errorf("ValidationError", "There is no warm pool for AutoScalingGroup %s.", s.name(g))
		}
		if len(g.Pool) == 0 || wire.Value(in.ForceDelete) {
			for _, m := range g.Pool {
				s.ec2.Terminate(tx, m.ID, "Server.WarmPoolDeleted")
			}
			g.Pool, g.Spec.WarmPoolConfiguration = nil, nil
			return nil
		}
		c := *g.Spec.WarmPoolConfiguration
		c.Status = wire.Ptr("PendingDelete")
		g.Spec.WarmPoolConfiguration = &c
		return nil
	})
}

func (m Member) api() autoscalingapi.Instance {
	out := autoscalingapi.Instance{InstanceId: wire.Ptr(m.ID), AvailabilityZone: wire.Ptr(m.AZ), InstanceType: wire.Ptr(m.Type), HealthStatus: wire.Ptr(m.Health),
		LifecycleState: wire.Ptr(m.State), ProtectedFromScaleIn: wire.Ptr(m.Protected)}
	if m.Config != "" {
		out.LaunchConfigurationName = wire.Ptr(m.Config)
	} else {
		out.LaunchTemplate = m.template()
	}
	return out
}

// poolSize is how many instances the pool is to hold: what the prepared capacity is above the desired
// one, and its minimum at least.
func (g *Group) poolSize() int {
	c := g.Spec.WarmPoolConfiguration
	if c == nil || c.Status != nil {
		return 0
	}
	prepared := int(*g.Spec.MaxSize)
	if c.MaxGroupPreparedCapacity != nil {
		prepared = int(*c.MaxGroupPreparedCapacity)
	}
	return max(int(wire.Value(c.MinSize)), prepared-int(*g.Spec.DesiredCapacity), 0)
}

// warmed are the states of an instance of the pool that waits to be used.
func warmed(state string) bool {
	return state == "Warmed:Stopped" || state == "Warmed:Running" || state == "Warmed:Hibernated"
}

// fromPool takes an instance out of the pool into the group; false if none is ready. Its launch hooks
// run again, as it enters service.
func (s *Service) fromPool(tx *state.Tx, g *Group, cause string) bool {
	i := slices.IndexFunc(g.Pool, func(m Member) bool { return warmed(m.State) })
	if i < 0 {
		return false
	}
	m := g.Pool[i]
	g.Pool = slices.Delete(g.Pool, i, i+1)
	m.State, m.Since, m.Cause, m.HooksDone, m.ToPool = "Pending", s.clock.Now(), cause, nil, false
	m.Protected = wire.Value(g.Spec.NewInstancesProtectedFromScaleIn)
	s.ec2.LeavePool(tx, m.ID)
	g.Members = append(g.Members, m)
	return true
}

// reuses says whether an instance that the group gives up goes back to the pool.
func (g *Group) reuses() bool {
	c := g.Spec.WarmPoolConfiguration
	return c != nil && c.Status == nil && c.InstanceReusePolicy != nil && wire.Value(c.InstanceReusePolicy.ReuseOnScaleIn)
}

// toPool takes an instance back that has left the group.
func (s *Service) toPool(tx *state.Tx, g *Group, m Member) {
	m.State, m.Since, m.ToPool = "Warmed:Pending", s.clock.Now(), false
	m.HooksDone = nil
	for _, h := range g.Hooks { // they have prepared it before
		m.HooksDone = append(m.HooksDone, wire.Value(h.LifecycleHookName))
	}
	s.ec2.EnterPool(tx, m.ID)
	g.Pool = append(g.Pool, m)
	s.record(tx, s.name(g), m.ID, "Moving EC2 instance to the warm pool: "+m.ID, m.Cause)
}

// fill moves the instances of the pool on, and keeps it at its size. It reports whether g changed.
func (s *Service) fill(tx *state.Tx, g *Group) bool {
	changed := false
	for i := range g.Pool {
		changed = s.advancePool(tx, g, &g.Pool[i]) || changed
	}
	n := len(g.Pool)
	g.Pool = slices.DeleteFunc(g.Pool, func(m Member) bool { return m.State == "Warmed:Terminated" })
	changed = changed || len(g.Pool) != n
	have := 0
	for _, m := range g.Pool {
		if !strings.HasPrefix(m.State, "Warmed:Terminat") {
			have++
		}
	}
	want := g.poolSize()
	for ; have < want && !s.suspended(g, "Launch"); have++ {
		cause := fmt.Sprintf("At %s an instance was launched into the warm pool, increasing it from %d to %d.", s.stamp(), have, want)
		m := s.boot(tx, g, s.subnets(tx, g, g.Pool), cause, true)
		if m == nil {
			break
		}
		m.State, changed = "Warmed:Pending", true
		g.Pool = append(g.Pool, *m)
	}
	for i := range g.Pool {
		m := &g.Pool[i]
		if have <= want || s.suspended(g, "Terminate") {
			break
		}
		if strings.HasPrefix(m.State, "Warmed:Terminat") {
			continue
		}
		m.State, m.Hook, m.Token, m.HooksDone = "Warmed:Terminating", "", "", nil
		m.Cause = fmt.Sprintf("At %s an instance was taken out of the warm pool, shrinking it from %d to %d.", s.stamp(), have, want)
		s.advancePool(tx, g, m)
		have, changed = have-1, true
	}
	if c := g.Spec.WarmPoolConfiguration; c != nil && c.Status != nil && len(g.Pool) == 0 {
		g.Spec.WarmPoolConfiguration, changed = nil, true
	}
	return changed
}

// advancePool makes the one-step moves of an instance of the pool.
func (s *Service) advancePool(tx *state.Tx, g *Group, m *Member) bool {
	if m.Hook != "" {
		if s.clock.Now().Before(m.Deadline) {
			return false
		}
		s.expire(g, m)
		s.advancePool(tx, g, m)
		return true
	}
	machine, there := s.ec2.Instance(tx, m.ID)
	gone := !there || machine.State == "terminated" || machine.State == "shutting-down"
	switch {
	case gone && !strings.HasPrefix(m.State, "Warmed:Terminat"):
		m.State = "Warmed:Terminated"
		s.record(tx, s.name(g), m.ID, "Terminating EC2 instance: "+m.ID, fmt.Sprintf("At %s an instance of the warm pool was found terminated.", s.stamp()))
		return true
	case m.State == "Warmed:Pending":
		if machine.State != "running" {
			return false
		}
		if s.beginHook(g, m, launching) {
			return true
		}
		m.State = "Warmed:" + wire.Value(g.Spec.WarmPoolConfiguration.PoolState)
		if m.State != "Warmed:Running" {
			s.ec2.Stop(tx, m.ID)
		}
		s.record(tx, s.name(g), m.ID, "Launching a new EC2 instance into warm pool: "+m.ID, m.Cause)
		return true
	case m.State == "Warmed:Terminating":
		if there && machine.State == "running" && s.beginHook(g, m, terminating) {
			return true
		}
		m.State = "Warmed:Terminating:Proceed"
		s.ec2.Terminate(tx, m.ID, "Server.WarmPoolTerminated")
		return true
	case m.State == "Warmed:Terminating:Proceed":
		if there && machine.State != "terminated" {
			return false
		}
		m.State = "Warmed:Terminated"
		s.record(tx, s.name(g), m.ID, "Terminating EC2 instance: "+m.ID, m.Cause)
		return true
	}
	return false
}
