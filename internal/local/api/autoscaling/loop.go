package autoscaling

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/api/ec2"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/autoscalingapi"
	"github.com/slipway-ecs/slipway/internal/local/wire/ec2api"
)

type ec2Subnet = ec2.Subnet

// retryLaunch is how long after a failed launch the next one is tried.
const retryLaunch = 30 * time.Second

// askBalancers is how often groups with ELB health checks look at their targets.
const askBalancers = 10 * time.Second

// Run keeps every group at its desired capacity until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	w := s.db.Watch(TableGroups, ec2.TableInstances)
	defer w.Stop()
	go s.publishEachMinute(ctx)
	go s.predictEachMinute(ctx)
	for {
		next, err := s.step()
		s.flush()
		if err != nil {
			return fmt.Errorf("reconciling Auto Scaling groups: %w", err)
		}
		var timer <-chan time.Time
		if next > 0 {
			timer = s.clock.After(next)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.C:
			w.Drain()
		case <-timer:
		}
	}
}

// step reconciles every group once and returns when a hook's deadline falls next; 0 if none does.
func (s *Service) step() (time.Duration, error) {
	var names []string
	_ = s.db.View(func(tx *state.Tx) error {
		for name := range s.groups.All(tx) {
			names = append(names, name)
		}
		return nil
	})
	at, err := s.runScheduled()
	if err != nil {
		return 0, err
	}
	var next time.Duration
	if !at.IsZero() {
		next = max(at.Sub(s.clock.Now()), time.Millisecond)
	}
	for _, name := range names {
		err := s.db.Update(func(tx *state.Tx) error {
			old, ok := s.groups.Get(tx, name)
			if !ok {
				return nil
			}
			g := *old
			g.Members, g.Pool = slices.Clone(old.Members), slices.Clone(old.Pool)
			refreshed, again := s.refresh(tx, &g)
			changed := s.reconcile(tx, &g) || refreshed || g.Surge != old.Surge
			changed = s.fill(tx, &g) || changed
			if again > 0 {
				next = soonest(next, again)
			}
			for _, m := range slices.Concat(g.Members, g.Pool) {
				if left := m.Deadline.Sub(s.clock.Now()); m.Hook != "" && (next == 0 || left < next) {
					next = max(left, time.Millisecond)
				}
			}
			if (len(g.Members) < int(*g.Spec.DesiredCapacity) || len(g.Pool) < g.poolSize()) && (next == 0 || next > retryLaunch) {
				next = retryLaunch
			}
			if g.uneven() { // the zone it lacks may come back
				next = soonest(next, retryLaunch)
			}
			s.balance(tx, &g)
			if len(g.Spec.TargetGroupARNs) > 0 && strings.Contains(wire.Value(g.Spec.HealthCheckType), "ELB") {
				next = soonest(next, askBalancers)
			}
			if changed {
				s.groups.Put(tx, name, &g)
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return next, nil
}

func (s *Service) suspended(g *Group, process string) bool {
	return slices.Contains(g.Suspended, process)
}

// reconcile moves the members on, replaces the unhealthy, and launches or terminates to the desired
// capacity. It reports whether g changed.
func (s *Service) reconcile(tx *state.Tx, g *Group) bool {
	changed := false
	for i := range g.Members {
		changed = s.advance(tx, g, &g.Members[i]) || changed
	}
	n := len(g.Members)
	for _, m := range g.Members {
		if m.State == "Terminated" && m.ToPool {
			s.toPool(tx, g, m)
		}
	}
	g.Members = slices.DeleteFunc(g.Members, func(m Member) bool { return m.State == "Terminated" })
	changed = changed || len(g.Members) != n
	changed = s.even(tx, g) || changed
	active := 0
	for _, m := range g.Members {
		if !strings.HasPrefix(m.State, "Terminat") && m.State != "Standby" {
			active++
		}
	}
	want := int(*g.Spec.DesiredCapacity) + g.Surge
	if g.Moving != "" {
		want++
	}
	for ; active < want && !s.suspended(g, "Launch"); active++ {
		if !s.launch(tx, g, active, want) {
			break
		}
		changed = true
	}
	for ; active > want && !s.suspended(g, "Terminate"); active-- {
		m := s.victim(g)
		if m == nil {
			break // all are protected
		}
		s.beginEnd(g, m, g.Reason+fmt.Sprintf("At %s an instance was taken out of service in response to a difference between desired and actual capacity, shrinking the capacity from %d to %d.", s.stamp(), active, want))
		m.ToPool = g.reuses()
		s.advance(tx, g, m)
		changed = true
	}
	return changed
}

func (s *Service) stamp() string { return s.clock.Now().UTC().Format("2006-01-02T15:04:05Z") }

// advance makes the one-step moves of a member that are possible now.
func (s *Service) advance(tx *state.Tx, g *Group, m *Member) bool {
	now := s.clock.Now()
	if m.Hook != "" {
		if now.Before(m.Deadline) {
			return false
		}
		s.expire(g, m)
		s.advance(tx, g, m)
		return true
	}
	machine, there := s.ec2.Instance(tx, m.ID)
	switch {
	case m.State == "Pending":
		if !there || machine.State != "running" {
			return false
		}
		if !s.beginHook(g, m, launching) {
			m.State, m.Since = "InService", now
			s.record(tx, s.name(g), m.ID, "Launching a new EC2 instance: "+m.ID, m.Cause)
		}
		return true
	case m.State == "InService":
		gone := !there || machine.State != "running" && machine.State != "pending"
		if gone && !s.suspended(g, "HealthCheck") {
			m.Health = "Unhealthy"
		}
		if s.unhealthyTarget(tx, g, m) && !s.suspended(g, "HealthCheck") {
			m.Health = "Unhealthy"
		}
		if m.Health == "Unhealthy" && !s.suspended(g, "ReplaceUnhealthy") {
			s.beginEnd(g, m, fmt.Sprintf("At %s an instance was taken out of service in response to an EC2 health check indicating it has been terminated or stopped.", s.stamp()))
			s.advance(tx, g, m)
			return true
		}
		return false
	case m.State == "Terminating":
		if there && machine.State == "running" && s.beginHook(g, m, terminating) {
			return true
		}
		if m.ToPool && there && machine.State == "running" && g.reuses() {
			m.State = "Terminated" // of the group, not of EC2
			return true
		}
		m.State, m.ToPool = "Terminating:Proceed", false
		s.ec2.Terminate(tx, m.ID, "Server.AutoScalingTerminated")
		return true
	case m.State == "Terminating:Proceed":
		if there && machine.State != "terminated" {
			return false
		}
		m.State = "Terminated"
		s.record(tx, s.name(g), m.ID, "Terminating EC2 instance: "+m.ID, m.Cause)
		return true
	}
	return false
}

// expire ends an action that nobody completed in time, as its hook says.
func (s *Service) expire(g *Group, m *Member) {
	result := "ABANDON"
	for _, h := range g.Hooks {
		if *h.LifecycleHookName == m.Hook {
			result = *h.DefaultResult
		}
	}
	s.end(g, m, result)
}

// beginHook makes the member wait for the next hook of the transition it has not yet passed.
func (s *Service) beginHook(g *Group, m *Member, transition string) bool {
	for _, h := range g.Hooks {
		if *h.LifecycleTransition != transition || slices.Contains(m.HooksDone, *h.LifecycleHookName) {
			continue
		}
		now := s.clock.Now()
		m.Hook, m.Token, m.State = *h.LifecycleHookName, newID(), m.State+":Wait"
		m.Deadline, m.HookLimit = now.Add(time.Duration(*h.HeartbeatTimeout)*time.Second), now.Add(time.Duration(*h.GlobalTimeout)*time.Second)
		return true
	}
	return false
}

// subnets are the group's, those of the zone with the fewest of its instances first, as Auto Scaling
// balances zones.
func (s *Service) subnets(tx *state.Tx, g *Group, members []Member) []ec2Subnet {
	var out []ec2Subnet
	for _, id := range strings.Split(*g.Spec.VPCZoneIdentifier, ",") {
		for _, sub := range s.ec2.Subnets(tx) {
			if sub.ID == id {
				out = append(out, sub)
			}
		}
	}
	count := map[string]int{}
	for _, m := range members {
		if !strings.Contains(m.State, "Terminat") {
			count[m.AZ]++
		}
	}
	slices.SortStableFunc(out, func(a, b ec2Subnet) int { return cmp.Compare(count[a.AZ], count[b.AZ]) })
	return out
}

// launch adds one instance, from the warm pool if one is ready there.
func (s *Service) launch(tx *state.Tx, g *Group, have, want int) bool {
	cause := g.Reason + fmt.Sprintf("At %s an instance was started in response to a difference between desired and actual capacity, increasing the capacity from %d to %d.", s.stamp(), have, want)
	if s.fromPool(tx, g, cause) {
		return true
	}
	m := s.boot(tx, g, s.subnets(tx, g, g.Members), cause, false)
	if m == nil {
		return false
	}
	g.Members = append(g.Members, *m)
	return true
}

// boot launches an instance in the first of the subnets where there is room; nil, and an activity that
// failed, where there is none.
func (s *Service) boot(tx *state.Tx, g *Group, subnets []ec2Subnet, cause string, warm bool) *Member {
	l := ec2.Launch{Warm: warm, Tags: []ec2api.Tag{{Key: wire.Ptr("aws:autoscaling:groupName"), Value: g.Spec.AutoScalingGroupName}}}
	spec, mixed, config := g.launches()
	var err error
	switch {
	case config != "":
		err = s.fromConfig(tx, config, &l)
	case mixed != nil && mixed.LaunchTemplate != nil:
		spec = mixed.LaunchTemplate.LaunchTemplateSpecification
		if o := mixed.LaunchTemplate.Overrides; len(o) > 0 {
			l.Type = wire.Value(o[0].InstanceType) // in order of preference; capacity is never short here
		}
		l.Spot = s.nextIsSpot(g, mixed.InstancesDistribution)
	}
	if spec != nil {
		l.TemplateID, l.TemplateName, l.TemplateVersion = wire.Value(spec.LaunchTemplateId), wire.Value(spec.LaunchTemplateName), wire.Value(spec.Version)
	}
	if l.TemplateID != "" {
		l.TemplateName = ""
	}
	for _, t := range g.Spec.Tags {
		if wire.Value(t.PropagateAtLaunch) {
			l.Tags = append(l.Tags, ec2api.Tag{Key: t.Key, Value: t.Value})
		}
	}
	var i *ec2.Instance
	for _, sub := range subnets { // where one zone has no room, the next may
		if err != nil {
			break
		}
		l.SubnetID = sub.ID
		var failed error
		if i, failed = s.ec2.Launch(tx, l); failed == nil {
			break
		}
		s.recordFailure(tx, s.name(g), cause, failed)
	}
	if err != nil {
		s.recordFailure(tx, s.name(g), cause, err)
	}
	if i == nil {
		return nil
	}
	m := &Member{ID: i.ID, AZ: i.AZ, Type: i.Type, Health: "Healthy", State: "Pending", Protected: !warm && wire.Value(g.Spec.NewInstancesProtectedFromScaleIn), Since: s.clock.Now(), Cause: cause, Config: config}
	if config == "" {
		m.TemplateID, m.TemplateName, m.TemplateVersion = i.TemplateID, wire.Value(specName(spec)), fmt.Sprint(i.TemplateVersion)
	}
	return m
}

// launches is what the group launches now: during an instance refresh what that brings.
func (g *Group) launches() (spec *autoscalingapi.LaunchTemplateSpecification, mixed *autoscalingapi.MixedInstancesPolicy, config string) {
	if n := g.Next; n != nil {
		return n.LaunchTemplate, n.MixedInstancesPolicy, ""
	}
	return g.Spec.LaunchTemplate, g.Spec.MixedInstancesPolicy, wire.Value(g.Spec.LaunchConfigurationName)
}

func specName(spec *autoscalingapi.LaunchTemplateSpecification) *string {
	if spec == nil {
		return nil
	}
	return spec.LaunchTemplateName
}

// nextIsSpot follows the on-demand base and the percentage above it.
func (s *Service) nextIsSpot(g *Group, d *autoscalingapi.InstancesDistribution) bool {
	if d == nil || d.OnDemandPercentageAboveBaseCapacity == nil {
		return false
	}
	above := len(g.Members) - int(wire.Value(d.OnDemandBaseCapacity))
	if above < 0 {
		return false
	}
	share := int(*d.OnDemandPercentageAboveBaseCapacity)
	return (above+1)*share/100 == above*share/100
}

func (s *Service) recordFailure(tx *state.Tx, group, cause string, err error) {
	description := "Launching a new EC2 instance. Status Reason: " + err.Error()
	for _, a := range s.activities.Prefix(tx, group+"/") {
		if a.Status == "Failed" && a.Description == description && s.clock.Now().Sub(a.Start) < time.Minute {
			return // said already
		}
	}
	id := newID()
	now := s.clock.Now()
	a := Activity{ID: id, Group: group, Description: description, Cause: cause, Status: "Failed", Start: now, End: now, Progress: 100}
	s.activities.Put(tx, fmt.Sprintf("%s/%020d-%s", group, now.UnixNano(), id), &a)
	if g, ok := s.groups.Get(tx, group); ok {
		s.tell(g, told(a), a)
	}
}

// victim chooses whom to terminate: in the zone with the most, the one with the oldest launch
// template version, then the oldest
// (https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-termination-policies.html).
func (s *Service) victim(g *Group) *Member {
	count := map[string]int{}
	for _, m := range g.Members {
		if !strings.HasPrefix(m.State, "Terminat") {
			count[m.AZ]++
		}
	}
	newest := slices.Contains(g.Spec.TerminationPolicies, "NewestInstance")
	var best *Member
	for i := range g.Members {
		m := &g.Members[i]
		if m.Protected || m.State == "Standby" || strings.HasPrefix(m.State, "Terminat") {
			continue
		}
		if best == nil || s.sooner(m, best, count, newest) {
			best = m
		}
	}
	return best
}

func (s *Service) sooner(a, b *Member, count map[string]int, newest bool) bool {
	byAge := a.Since.Compare(b.Since)
	if newest {
		byAge = -byAge
	}
	return cmp.Or(cmp.Compare(count[b.AZ], count[a.AZ]), cmp.Compare(a.TemplateVersion, b.TemplateVersion), byAge, cmp.Compare(a.ID, b.ID)) < 0
}
