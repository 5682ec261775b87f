package autoscaling

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/autoscalingapi"
)

const (
	launching   = "autoscaling:EC2_INSTANCE_LAUNCHING"
	terminating = "autoscaling:EC2_INSTANCE_TERMINATING"
)

func hookTypes(context.Context, *autoscalingapi.DescribeLifecycleHookTypesInput) (*autoscalingapi.DescribeLifecycleHookTypesOutput, error) {
	return &autoscalingapi.DescribeLifecycleHookTypesOutput{LifecycleHookTypes: []string{launching, terminating}}, nil
}

// hookFrom makes a hook with AWS's defaults: an hour's heartbeat, ABANDON, and a limit of 48 hours or
// 100 heartbeats, whichever is shorter
// (https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks.html).
func hookFrom(group string, in *autoscalingapi.PutLifecycleHookInput) autoscalingapi.LifecycleHook {
	beat := cmp.Or(wire.Value(in.HeartbeatTimeout), 3600)
	return autoscalingapi.LifecycleHook{AutoScalingGroupName: &group, LifecycleHookName: in.LifecycleHookName, LifecycleTransition: in.LifecycleTransition, HeartbeatTimeout: &beat,
		GlobalTimeout: wire.Ptr(min(172800, 100*beat)), DefaultResult: wire.Ptr(cmp.Or(wire.Value(in.DefaultResult), "ABANDON")), NotificationMetadata: in.NotificationMetadata,
		NotificationTargetARN: in.NotificationTargetARN, RoleARN: in.RoleARN}
}

func (s *Service) putHook(_ context.Context, in *autoscalingapi.PutLifecycleHookInput) (*autoscalingapi.PutLifecycleHookOutput, error) {
	return &autoscalingapi.PutLifecycleHookOutput{}, s.modify(wire.Value(in.AutoScalingGroupName), func(_ *state.Tx, g *Group) error {
		i := slices.IndexFunc(g.Hooks, func(h autoscalingapi.LifecycleHook) bool { return *h.LifecycleHookName == *in.LifecycleHookName })
		if i >= 0 { // what is not given stays
			old := g.Hooks[i]
			in.LifecycleTransition, in.HeartbeatTimeout, in.DefaultResult = or(in.LifecycleTransition, old.LifecycleTransition), or(in.HeartbeatTimeout, old.HeartbeatTimeout), or(in.DefaultResult, old.DefaultResult)
			in.NotificationTargetARN, in.RoleARN, in.NotificationMetadata = or(in.NotificationTargetARN, old.NotificationTargetARN), or(in.RoleARN, old.RoleARN), or(in.NotificationMetadata, old.NotificationMetadata)
		}
		switch t := wire.Value(in.LifecycleTransition); {
		case t != launching && t != terminating:
			return wire.Errorf("ValidationError", "Lifecycle transition %s is not supported", t)
		case in.HeartbeatTimeout != nil && (*in.HeartbeatTimeout < 30 || *in.HeartbeatTimeout > 7200):
			return wire.Errorf("ValidationError", "HeartbeatTimeout must be between 30 and 7200 seconds")
		case wire.Value(in.DefaultResult) != "" && *in.DefaultResult != "CONTINUE" && *in.DefaultResult != "ABANDON":
			return wire.Errorf("ValidationError", "Unknown lifecycle result: %s", *in.DefaultResult)
		}
		hook := hookFrom(s.name(g), in)
		g.Hooks = slices.Clone(g.Hooks)
		if i >= 0 {
			g.Hooks[i] = hook
		} else {
			g.Hooks = append(g.Hooks, hook)
		}
		return nil
	})
}

func (s *Service) deleteHook(_ context.Context, in *autoscalingapi.DeleteLifecycleHookInput) (*autoscalingapi.DeleteLifecycleHookOutput, error) {
	return &autoscalingapi.DeleteLifecycleHookOutput{}, s.modify(wire.Value(in.AutoScalingGroupName), func(_ *state.Tx, g *Group) error {
		n := len(g.Hooks)
		g.Hooks = slices.DeleteFunc(slices.Clone(g.Hooks), func(h autoscalingapi.LifecycleHook) bool {
			return *h.LifecycleHookName == wire.Value(in.LifecycleHookName)
		})
		if len(g.Hooks) == n {
			return wire.Errorf("ValidationError", "Lifecycle Hook %s not found.", wire.Value(in.LifecycleHookName))
		}
		for i := range len(g.Members) + len(g.Pool) { // those who wait for it go on
			if g.at(i).Hook == wire.Value(in.LifecycleHookName) {
				g.at(i).finishHook()
			}
		}
		return nil
	})
}

func (s *Service) describeHooks(_ context.Context, in *autoscalingapi.DescribeLifecycleHooksInput) (*autoscalingapi.DescribeLifecycleHooksOutput, error) {
	out := &autoscalingapi.DescribeLifecycleHooksOutput{LifecycleHooks: []autoscalingapi.LifecycleHook{}}
	return out, s.db.View(func(tx *state.Tx) error {
		g, ok := s.groups.Get(tx, wire.Value(in.AutoScalingGroupName))
		if !ok {
			return noGroup(wire.Value(in.AutoScalingGroupName))
		}
		for _, h := range g.Hooks {
			if len(in.LifecycleHookNames) == 0 || slices.Contains(in.LifecycleHookNames, *h.LifecycleHookName) {
				out.LifecycleHooks = append(out.LifecycleHooks, h)
			}
		}
		return nil
	})
}

// at is a member by its number, those of the warm pool last.
func (g *Group) at(i int) *Member {
	if i < len(g.Members) {
		return &g.Members[i]
	}
	return &g.Pool[i-len(g.Members)]
}

// waiting finds the member whose action a call is about.
func (s *Service) waiting(g *Group, hook, instance, token string) (*Member, error) {
	for i := range len(g.Members) + len(g.Pool) {
		m := g.at(i)
		if m.Hook == hook && hook != "" && (instance == "" || m.ID == instance) && (token == "" || m.Token == token) && (instance != "" || token != "") {
			return m, nil
		}
	}
	return nil, wire.Errorf("ValidationError", "No active Lifecycle Action found with instance ID %s", cmp.Or(instance, "for token "+token))
}

func (s *Service) complete(_ context.Context, in *autoscalingapi.CompleteLifecycleActionInput) (*autoscalingapi.CompleteLifecycleActionOutput, error) {
	result := wire.Value(in.LifecycleActionResult)
	if result != "CONTINUE" && result != "ABANDON" {
		return nil, wire.Errorf("ValidationError", "Unknown lifecycle action result: %s", result)
	}
	return &autoscalingapi.CompleteLifecycleActionOutput{}, s.modify(wire.Value(in.AutoScalingGroupName), func(_ *state.Tx, g *Group) error {
		m, err := s.waiting(g, wire.Value(in.LifecycleHookName), wire.Value(in.InstanceId), wire.Value(in.LifecycleActionToken))
		if err != nil {
			return err
		}
		s.end(g, m, result)
		return nil
	})
}

// end ends the action a member waits for. ABANDON of a launch terminates the instance; ABANDON of a
// termination skips the hooks that are left.
func (s *Service) end(g *Group, m *Member, result string) {
	if result == "CONTINUE" {
		m.finishHook()
		return
	}
	if strings.HasPrefix(m.State, "Warmed:Pending") {
		m.State, m.Hook, m.Token, m.HooksDone = "Warmed:Terminating", "", "", nil
		return
	}
	if strings.HasPrefix(m.State, "Pending") {
		s.beginEnd(g, m, "At "+s.clock.Now().UTC().Format("2006-01-02T15:04:05Z")+" an instance was taken out of service because its launch was abandoned by lifecycle hook "+m.Hook+".")
		return
	}
	for _, h := range g.Hooks {
		m.HooksDone = append(m.HooksDone, *h.LifecycleHookName)
	}
	m.finishHook()
}

func (m *Member) finishHook() {
	m.HooksDone = append(slices.Clone(m.HooksDone), m.Hook)
	m.Hook, m.Token = "", ""
	m.State = strings.TrimSuffix(m.State, ":Wait")
}

func (s *Service) heartbeat(_ context.Context, in *autoscalingapi.RecordLifecycleActionHeartbeatInput) (*autoscalingapi.RecordLifecycleActionHeartbeatOutput, error) {
	return &autoscalingapi.RecordLifecycleActionHeartbeatOutput{}, s.modify(wire.Value(in.AutoScalingGroupName), func(_ *state.Tx, g *Group) error {
		m, err := s.waiting(g, wire.Value(in.LifecycleHookName), wire.Value(in.InstanceId), wire.Value(in.LifecycleActionToken))
		if err != nil {
			return err
		}
		for _, h := range g.Hooks {
			if *h.LifecycleHookName == m.Hook {
				m.Deadline = s.clock.Now().Add(time.Duration(*h.HeartbeatTimeout) * time.Second)
				if m.Deadline.After(m.HookLimit) {
					m.Deadline = m.HookLimit
				}
			}
		}
		return nil
	})
}
