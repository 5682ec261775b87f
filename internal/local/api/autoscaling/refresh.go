package autoscaling

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/autoscalingapi"
)

// Refresh is an instance refresh. Key: group + "/" + sortable id.
type Refresh struct {
	API autoscalingapi.InstanceRefresh
	// Old are the instances to replace that there were at the start.
	Old []string
	// CheckpointUntil is when it goes on behind a checkpoint, and Checkpoints how many it has passed.
	CheckpointUntil time.Time
	Checkpoints     int
	// ProtectedSince is since when only protected instances have been left.
	ProtectedSince time.Time
	// BakeUntil is until when the alarms are watched after everything was replaced.
	BakeUntil time.Time
}

func (s *Service) registerRefresh(svc *wire.Service) {
	wire.Handle(svc, "StartInstanceRefresh", s.startRefresh, wire.Partly("replacing of root volumes"))
	wire.Handle(svc, "RollbackInstanceRefresh", s.rollbackRefresh)
	wire.Handle(svc, "DescribeInstanceRefreshes", s.describeRefreshes)
	wire.Handle(svc, "CancelInstanceRefresh", s.cancelRefresh)
}

// activeRefresh is the group's refresh that has not ended.
func (s *Service) activeRefresh(tx *state.Tx, group string) (key string, r *Refresh) {
	for k, x := range s.refreshes.Prefix(tx, group+"/") {
		if x.API.EndTime == nil {
			key, r = k, x
		}
	}
	return key, r
}

// preferences fills in AWS's defaults: the API waits for protected instances, and keeps nine tenths
// of the group healthy
// (https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_RefreshPreferences.html).
func preferences(g *Group, in *autoscalingapi.RefreshPreferences) (*autoscalingapi.RefreshPreferences, error) {
	p := autoscalingapi.RefreshPreferences{}
	if in != nil {
		p = *in
	}
	lo, hi := int32(90), int32(100)
	if m := g.Spec.InstanceMaintenancePolicy; m != nil {
		lo, hi = cmp.Or(wire.Value(m.MinHealthyPercentage), lo), cmp.Or(wire.Value(m.MaxHealthyPercentage), hi)
	}
	p.MinHealthyPercentage, p.MaxHealthyPercentage = or(p.MinHealthyPercentage, &lo), or(p.MaxHealthyPercentage, &hi)
	p.SkipMatching = or(p.SkipMatching, wire.Ptr(false))
	p.ScaleInProtectedInstances, p.StandbyInstances = or(p.ScaleInProtectedInstances, wire.Ptr("Wait")), or(p.StandbyInstances, wire.Ptr("Wait"))
	p.InstanceWarmup = or(p.InstanceWarmup, wire.Ptr(cmp.Or(wire.Value(g.Spec.DefaultInstanceWarmup), wire.Value(g.Spec.HealthCheckGracePeriod))))
	if len(p.CheckpointPercentages) > 0 {
		p.CheckpointDelay = or(p.CheckpointDelay, wire.Ptr[int32](3600))
	}
	switch lo, hi = *p.MinHealthyPercentage, *p.MaxHealthyPercentage; {
	case wire.Value(p.BakeTime) < 0 || wire.Value(p.BakeTime) > 172800:
		return nil, wire.Errorf("ValidationError", "BakeTime must be between 0 and 172800 seconds.")
	case lo < 0 || lo > 100 || hi < 100 || hi > 200 || hi-lo > 100:
		return nil, wire.Errorf("ValidationError", "MinHealthyPercentage must be between 0 and 100, MaxHealthyPercentage between 100 and 200, and they must not be more than 100 apart.")
	case !slices.IsSorted(p.CheckpointPercentages):
		return nil, wire.Errorf("ValidationError", "Checkpoint percentages must be in ascending order.")
	case !slices.Contains([]string{"Wait", "Ignore", "Refresh"}, *p.ScaleInProtectedInstances):
		return nil, wire.Errorf("ValidationError", "ScaleInProtectedInstances must be Refresh, Ignore or Wait.")
	}
	return &p, nil
}

func (s *Service) startRefresh(_ context.Context, in *autoscalingapi.StartInstanceRefreshInput) (*autoscalingapi.StartInstanceRefreshOutput, error) {
	if k := cmp.Or(wire.Value(in.Strategy), "Rolling"); k != "Rolling" {
		return nil, wire.Errorf("ValidationError", "not supported: the strategy %s", k)
	}
	id, now := newID(), s.clock.Now()
	return &autoscalingapi.StartInstanceRefreshOutput{InstanceRefreshId: &id}, s.modify(*in.AutoScalingGroupName, func(tx *state.Tx, g *Group) error {
		if _, r := s.activeRefresh(tx, s.name(g)); r != nil {
			return wire.Errorf("InstanceRefreshInProgress", "An Instance Refresh is already in progress and blocks the execution of this Instance Refresh.")
		}
		if d := in.DesiredConfiguration; d != nil {
			if (d.LaunchTemplate == nil) == (d.MixedInstancesPolicy == nil) {
				return wire.Errorf("ValidationError", "The desired configuration must have either a launch template or a mixed instances policy.")
			}
			g.Next = d // the group's own when all is done
			if err := s.checkTemplate(tx, g); err != nil {
				return err
			}
		}
		p, err := preferences(g, in.Preferences)
		if err != nil {
			return err
		}
		if wire.Value(p.AutoRollback) {
			if why := s.irreversible(g, in.DesiredConfiguration); why != "" {
				return wire.Errorf("ValidationError", "%s", why)
			}
		}
		r := &Refresh{API: autoscalingapi.InstanceRefresh{AutoScalingGroupName: g.Spec.AutoScalingGroupName, InstanceRefreshId: &id, Preferences: p, DesiredConfiguration: in.DesiredConfiguration, Strategy: wire.Ptr("Rolling"),
			Status: wire.Ptr("Pending"), StartTime: wire.Timestamp(now), PercentageComplete: wire.Ptr[int32](0)}}
		for _, m := range g.Members {
			if !strings.HasPrefix(m.State, "Terminat") && !(*p.SkipMatching && s.matchesTemplate(tx, g, m)) {
				r.Old = append(r.Old, m.ID)
			}
		}
		r.API.InstancesToUpdate = wire.Int32(len(r.Old))
		s.refreshes.Put(tx, fmt.Sprintf("%s/%020d-%s", s.name(g), now.UnixNano(), id), r)
		return nil
	})
}

// matchesTemplate says whether an instance is as the group would launch it now.
func (s *Service) matchesTemplate(tx *state.Tx, g *Group, m Member) bool {
	if _, _, config := g.launches(); config != "" {
		return m.Config == config
	}
	t := g.template()
	if t == nil {
		return false
	}
	id, version, err := s.ec2.ResolveTemplate(tx, t.LaunchTemplateId, t.LaunchTemplateName, t.Version)
	return err == nil && m.TemplateID == id && m.TemplateVersion == fmt.Sprint(version)
}

func (s *Service) describeRefreshes(_ context.Context, in *autoscalingapi.DescribeInstanceRefreshesInput) (*autoscalingapi.DescribeInstanceRefreshesOutput, error) {
	out := &autoscalingapi.DescribeInstanceRefreshesOutput{InstanceRefreshes: []autoscalingapi.InstanceRefresh{}}
	return out, s.db.View(func(tx *state.Tx) error {
		if _, ok := s.groups.Get(tx, *in.AutoScalingGroupName); !ok {
			return noGroup(*in.AutoScalingGroupName)
		}
		for _, r := range s.refreshes.Prefix(tx, *in.AutoScalingGroupName+"/") {
			if len(in.InstanceRefreshIds) == 0 || slices.Contains(in.InstanceRefreshIds, *r.API.InstanceRefreshId) {
				out.InstanceRefreshes = append(out.InstanceRefreshes, r.API)
			}
		}
		slices.Reverse(out.InstanceRefreshes) // newest first
		out.InstanceRefreshes = out.InstanceRefreshes[:min(len(out.InstanceRefreshes), int(cmp.Or(wire.Value(in.MaxRecords), 50)))]
		return nil
	})
}

func (s *Service) cancelRefresh(_ context.Context, in *autoscalingapi.CancelInstanceRefreshInput) (*autoscalingapi.CancelInstanceRefreshOutput, error) {
	out := &autoscalingapi.CancelInstanceRefreshOutput{}
	return out, s.modify(*in.AutoScalingGroupName, func(tx *state.Tx, g *Group) error {
		key, r := s.activeRefresh(tx, s.name(g))
		if r == nil {
			return wire.Errorf("ActiveInstanceRefreshNotFound", "No in progress or pending Instance Refresh found for Auto Scaling group %s", s.name(g))
		}
		out.InstanceRefreshId = r.API.InstanceRefreshId
		s.endRefresh(tx, key, g, "Cancelled", "Cancelled due to user request.")
		return nil
	})
}

// irreversible says why a refresh cannot be rolled back; empty if it can
// (https://docs.aws.amazon.com/autoscaling/ec2/userguide/instance-refresh-rollback.html).
func (s *Service) irreversible(g *Group, desired *autoscalingapi.DesiredConfiguration) string {
	if desired == nil {
		return "A rollback needs a desired configuration, which the instance refresh does not have."
	}
	t := g.Spec.LaunchTemplate
	if p := g.Spec.MixedInstancesPolicy; p != nil && p.LaunchTemplate != nil {
		t = p.LaunchTemplate.LaunchTemplateSpecification
	}
	if t != nil && (t.Version == nil || strings.HasPrefix(*t.Version, "$")) {
		return "A rollback is not possible where the group uses the version $Latest or $Default of its launch template."
	}
	return ""
}

func (s *Service) rollbackRefresh(_ context.Context, in *autoscalingapi.RollbackInstanceRefreshInput) (*autoscalingapi.RollbackInstanceRefreshOutput, error) {
	out := &autoscalingapi.RollbackInstanceRefreshOutput{}
	return out, s.modify(wire.Value(in.AutoScalingGroupName), func(tx *state.Tx, g *Group) error {
		key, r := s.activeRefresh(tx, s.name(g))
		if r == nil || rolling(r) {
			return wire.Errorf("ActiveInstanceRefreshNotFound", "No in progress or pending Instance Refresh found for Auto Scaling group %s", s.name(g))
		}
		if why := s.irreversible(g, r.API.DesiredConfiguration); why != "" {
			return wire.Errorf("IrreversibleInstanceRefresh", "%s", why)
		}
		out.InstanceRefreshId = r.API.InstanceRefreshId
		s.rollBack(tx, key, g, *r, "Rolled back due to user request.")
		return nil
	})
}

func rolling(r *Refresh) bool { return strings.HasPrefix(wire.Value(r.API.Status), "Rollback") }

// rollBack begins to replace what the refresh has replaced.
func (s *Service) rollBack(tx *state.Tx, key string, g *Group, r Refresh, reason string) {
	g.Next = nil
	var replaced []string
	for _, m := range g.Members {
		if !strings.HasPrefix(m.State, "Terminat") && !s.matchesTemplate(tx, g, m) {
			replaced = append(replaced, m.ID)
		}
	}
	r.API.RollbackDetails = &autoscalingapi.RollbackDetails{RollbackReason: &reason, RollbackStartTime: wire.Timestamp(s.clock.Now()), PercentageCompleteOnRollback: r.API.PercentageComplete, InstancesToUpdateOnRollback: r.API.InstancesToUpdate}
	r.API.Status, r.API.StatusReason = wire.Ptr("RollbackInProgress"), &reason
	r.API.PercentageComplete, r.API.InstancesToUpdate = wire.Ptr[int32](0), wire.Int32(len(replaced))
	r.Old, r.Checkpoints, r.CheckpointUntil, r.ProtectedSince, r.BakeUntil = replaced, len(r.API.Preferences.CheckpointPercentages), time.Time{}, time.Time{}, time.Time{}
	s.refreshes.Put(tx, key, &r)
}

// fail ends a refresh, or begins its rollback where that was asked for.
func (s *Service) fail(tx *state.Tx, key string, g *Group, r Refresh, reason string) {
	switch {
	case rolling(&r):
		s.endRefresh(tx, key, g, "RollbackFailed", reason)
	case wire.Value(r.API.Preferences.AutoRollback):
		s.rollBack(tx, key, g, r, reason)
	default:
		s.endRefresh(tx, key, g, "Failed", reason)
	}
}

// alarm is an alarm of the refresh that is in ALARM; empty if none is.
func (s *Service) alarm(tx *state.Tx, p *autoscalingapi.RefreshPreferences) string {
	if p.AlarmSpecification != nil {
		for _, name := range p.AlarmSpecification.Alarms {
			if s.cw.Firing(tx, name) {
				return name
			}
		}
	}
	return ""
}

func (s *Service) endRefresh(tx *state.Tx, key string, g *Group, status, reason string) {
	g.Surge = 0
	if d := g.Next; d != nil && status == "Successful" {
		g.Spec.LaunchTemplate, g.Spec.MixedInstancesPolicy, g.Spec.LaunchConfigurationName = d.LaunchTemplate, d.MixedInstancesPolicy, nil
	}
	g.Next = nil
	s.refreshes.Modify(tx, key, func(r *Refresh) {
		r.API.Status, r.API.StatusReason, r.API.EndTime = &status, wire.NonEmpty(reason), wire.Timestamp(s.clock.Now())
	})
}

// lookAtAlarms is how often the alarms of a refresh are looked at.
const lookAtAlarms = 15 * time.Second

// refresh moves the group's refresh on; it reports whether it changed g and when it wants to be called
// again, zero if a change of the group will tell.
func (s *Service) refresh(tx *state.Tx, g *Group) (changed bool, again time.Duration) {
	key, old := s.activeRefresh(tx, s.name(g))
	if old == nil || s.suspended(g, "InstanceRefresh") {
		return false, 0
	}
	r, p, now := *old, old.API.Preferences, s.clock.Now()
	back := rolling(old)
	if name := s.alarm(tx, p); name != "" && !back {
		s.fail(tx, key, g, r, "The CloudWatch alarm "+name+" is in ALARM.")
		return true, time.Millisecond
	}
	defer func() {
		if p.AlarmSpecification != nil && !back {
			again = soonest(again, lookAtAlarms)
		}
	}()
	warmup := time.Duration(wire.Value(p.InstanceWarmup)) * time.Second
	desired, healthy, moving, skipped := int(*g.Spec.DesiredCapacity), 0, 0, 0
	var next []*Member // to replace, and replaceable now
	left := 0
	for i := range g.Members {
		m := &g.Members[i]
		isOld := slices.Contains(r.Old, m.ID)
		switch {
		case strings.HasPrefix(m.State, "Terminat"):
			if isOld {
				left, moving = left+1, moving+1
			}
			continue
		case m.State != "InService":
			moving++
			continue
		}
		if wait := warmup - now.Sub(m.Since); isOld || wait <= 0 {
			healthy++
		} else {
			moving, again = moving+1, soonest(again, wait)
		}
		switch {
		case !isOld:
		case m.Protected && *p.ScaleInProtectedInstances == "Ignore":
			skipped++
		case m.Protected && *p.ScaleInProtectedInstances == "Wait":
			left++
		default:
			left, next = left+1, append(next, m)
		}
	}
	total := max(1, len(r.Old))
	percent := 100 * (len(r.Old) - left) / total
	r.API.Status, r.API.InstancesToUpdate, r.API.PercentageComplete = wire.Ptr("InProgress"), wire.Int32(left), wire.Int32(percent)
	if back {
		r.API.Status = wire.Ptr("RollbackInProgress")
	}
	replaceable := len(next)
	g.Surge = min(desired*int(*p.MaxHealthyPercentage-100)/100, replaceable)
	defer func() {
		if before, after := old.API, r.API; *before.Status != *after.Status || *before.PercentageComplete != *after.PercentageComplete || r.Checkpoints != old.Checkpoints || r.ProtectedSince != old.ProtectedSince {
			if cur, ok := s.refreshes.Get(tx, key); ok && cur.API.EndTime == nil {
				s.refreshes.Put(tx, key, &r)
			}
		}
	}()
	if left == 0 && moving == 0 && healthy >= desired {
		if bake := time.Duration(wire.Value(p.BakeTime)) * time.Second; bake > 0 && !back {
			if r.BakeUntil.IsZero() {
				r.BakeUntil = now.Add(bake)
			}
			if wait := r.BakeUntil.Sub(now); wait > 0 {
				r.API.Status = wire.Ptr("Baking")
				return false, soonest(again, wait)
			}
		}
		s.refreshes.Put(tx, key, &r)
		status := "Successful"
		if back {
			status = "RollbackSuccessful"
		}
		s.endRefresh(tx, key, g, status, wire.Value(r.API.StatusReason))
		return true, 0
	}
	if now.Before(r.CheckpointUntil) {
		return false, soonest(again, r.CheckpointUntil.Sub(now))
	}
	if n := r.Checkpoints; n < len(p.CheckpointPercentages) && percent >= int(p.CheckpointPercentages[n]) && percent < 100 {
		delay := time.Duration(*p.CheckpointDelay) * time.Second
		r.Checkpoints, r.CheckpointUntil = n+1, now.Add(delay)
		return false, soonest(again, delay)
	}
	if len(next) == 0 && left > 0 && moving == 0 { // only protected ones are left to wait for
		if r.ProtectedSince.IsZero() {
			r.ProtectedSince = now
		}
		if wait := time.Hour - now.Sub(r.ProtectedSince); wait > 0 {
			return false, soonest(again, wait)
		}
		s.fail(tx, key, g, r, "There are instances protected from scale-in that could not be replaced.")
		return true, time.Millisecond
	}
	room := healthy - (desired*int(*p.MinHealthyPercentage)+99)/100
	if room <= 0 && moving == 0 && g.Surge == 0 {
		room = 1 // with no room at all it goes one by one
	}
	next = next[:max(0, min(room, len(next)))]
	g.Surge = min(g.Surge, replaceable-len(next)) // those that go now are replaced by what surged before
	for _, m := range next {
		s.beginEnd(g, m, fmt.Sprintf("At %s an instance was taken out of service in response to an instance refresh.", s.stamp()))
		changed = true
	}
	return changed, again
}

func soonest(a, b time.Duration) time.Duration {
	if a == 0 {
		return b
	}
	return min(a, b)
}
