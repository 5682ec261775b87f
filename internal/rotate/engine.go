package rotate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/capacity"
)

// Observer sees the groups of a cluster; of those without a rotation the members may be left out.
type Observer interface {
	Rotations(ctx context.Context, cluster string) ([]Group, error)
	// Group is one group as if it were rotated to the version.
	Group(ctx context.Context, cluster, group, version string) (*Group, error)
}

// Groups acts on Auto Scaling groups.
type Groups interface {
	UseVersion(ctx context.Context, group, version string) error
	SetDesired(ctx context.Context, group string, n int) error
	SaveRotation(ctx context.Context, group string, r *Rotation) error // nil removes it
}

// Instances asks for instances to be drained; the drain engine does it.
type Instances interface {
	DrainFor(ctx context.Context, cluster string, m Member, drop bool, deadline time.Time, force bool) error
	ReopenFor(ctx context.Context, cluster string, m Member) error
}

// Clock is the time the engine lives by.
type Clock interface {
	Now() time.Time
	Wait(ctx context.Context, d time.Duration) error
}

// Engine rotates the groups of a cluster. It remembers nothing.
type Engine struct {
	Observer  Observer
	Groups    Groups
	Instances Instances
	Clock     Clock
	Cluster   string
	// Budgets hold for each group; none: the surge alone says how many go at a time.
	Budgets []capacity.Disruption
	// Report, if set, is told of each action and how it went.
	Report func(Action, error)
}

// Look observes and decides, and does nothing.
func (e *Engine) Look(ctx context.Context) ([]Plan, error) {
	groups, err := e.Observer.Rotations(ctx, e.Cluster)
	if err != nil {
		return nil, fmt.Errorf("observing the groups of cluster %s: %w", e.Cluster, err)
	}
	var plans []Plan
	for k := range groups {
		if groups[k].Budgets = e.Budgets; groups[k].Rotation != nil {
			plans = append(plans, Decide(&groups[k], e.Clock.Now()))
		}
	}
	return plans, nil
}

// Step makes one turn: observe, decide, act. The actions of a group are made in order, up to the first
// that fails; the next turn decides anew.
func (e *Engine) Step(ctx context.Context) ([]Plan, error) {
	plans, err := e.Look(ctx)
	if err != nil {
		return nil, err
	}
	var errs []error
	for k := range plans {
		for _, a := range plans[k].Actions {
			err := e.act(ctx, a)
			if e.Report != nil {
				e.Report(a, err)
			}
			if err != nil {
				plans[k].Ended = false
				errs = append(errs, fmt.Errorf("rotating %s: %s: %w", a.Group, a.Kind, err))
				break
			}
		}
	}
	return plans, errors.Join(errs...)
}

func (e *Engine) act(ctx context.Context, a Action) error {
	switch a.Kind {
	case UseVersion:
		return e.Groups.UseVersion(ctx, a.Group, a.Version)
	case SetDesired:
		return e.Groups.SetDesired(ctx, a.Group, a.To)
	case Drain:
		return e.Instances.DrainFor(ctx, e.Cluster, a.Member, a.Drop, a.Deadline, a.Force)
	case Reopen:
		return e.Instances.ReopenFor(ctx, e.Cluster, a.Member)
	case Save:
		return e.Groups.SaveRotation(ctx, a.Group, a.Save)
	case Finish:
		return e.Groups.SaveRotation(ctx, a.Group, nil)
	}
	return fmt.Errorf("not supported: action %q", a.Kind)
}

// Errors of the commands.
var (
	ErrNone   = errors.New("no rotation is under way")
	ErrBusy   = errors.New("a rotation is under way already")
	ErrPaused = errors.New("the rotation is paused")
	ErrRight  = errors.New("every instance is right already")
)

// Propose completes the wish for a group: nothing is done yet. The group in the answer has it as its
// rotation, to be shown (Forecast) or begun (Begin).
func (e *Engine) Propose(ctx context.Context, group string, want Rotation) (*Group, error) {
	g, err := e.Observer.Group(ctx, e.Cluster, group, want.To)
	if err != nil {
		return nil, err
	}
	if g.Rotation != nil {
		return g, fmt.Errorf("group %s: %w, to version %s: --pause, --abort or --rollback it first", group, ErrBusy, g.Rotation.To)
	}
	g.Budgets = e.Budgets
	want.Base, want.Phase, want.Began, want.Total = g.Desired, Running, e.Clock.Now(), 0
	for k := range g.Members {
		if m := &g.Members[k]; !m.Right {
			want.Total++
			if m.Version != want.To && want.From == "" {
				want.From = m.Version
			}
		}
	}
	if g.Version != want.To {
		want.From = g.Version
	}
	g.Rotation = &want
	if want.Total == 0 {
		return g, fmt.Errorf("group %s: %w", group, ErrRight)
	}
	return g, nil
}

// Begin writes the rotation down; turns of this or another process do the rest.
func (e *Engine) Begin(ctx context.Context, g *Group) error {
	return e.Groups.SaveRotation(ctx, g.Name, g.Rotation)
}

// Change is a wish for a rotation under way.
type Change string

// The changes.
const (
	ToPause    Change = "pause"
	ToResume   Change = "resume"
	ToAbort    Change = "abort"
	ToRollback Change = "rollback"
)

// Change changes the rotation of a group. Making the same change again does nothing.
func (e *Engine) Change(ctx context.Context, group string, c Change) error {
	groups, err := e.Observer.Rotations(ctx, e.Cluster)
	if err != nil {
		return fmt.Errorf("observing the groups of cluster %s: %w", e.Cluster, err)
	}
	for k := range groups {
		g := &groups[k]
		if g.Name != group || g.Rotation == nil {
			continue
		}
		r := *g.Rotation
		switch c {
		case ToPause:
			if r.Phase == Running {
				r.Phase = Paused
			}
		case ToResume:
			if r.Phase == Paused {
				r.Phase, r.Failed = Running, ""
				old := 0
				for _, m := range g.Members {
					if !m.Right {
						old++
					}
				}
				r.Total = max(r.Total, old)
			}
		case ToAbort:
			r.Phase = Aborting
		case ToRollback:
			if r.Rolled {
				return nil
			}
			if r.From == "" {
				return fmt.Errorf("group %s: the version before is not known", group)
			}
			total := 0
			for _, m := range g.Members {
				if m.Right {
					total++
				}
			}
			r = r.Back(e.Clock.Now(), total)
		}
		return e.Groups.SaveRotation(ctx, group, &r)
	}
	return fmt.Errorf("group %s: %w", group, ErrNone)
}

// Watch makes turns until the group's rotation has ended. between is called before each turn: the
// drains are made there.
func (e *Engine) Watch(ctx context.Context, group string, every time.Duration, between func(context.Context) error, tell func(Plan)) error {
	for {
		if err := between(ctx); err != nil {
			return err
		}
		plans, err := e.Step(ctx)
		if err != nil {
			return err
		}
		there := false
		for _, p := range plans {
			if p.Group != group {
				continue
			}
			there = true
			tell(p)
			switch {
			case p.Ended:
				return nil
			case p.Phase == Paused && p.Draining == 0:
				return fmt.Errorf("group %s: %w: %s", group, ErrPaused, strings.Join(p.Waits, "; "))
			}
		}
		if !there {
			return nil // another process has ended it
		}
		if err := e.Clock.Wait(ctx, every); err != nil {
			return err
		}
	}
}
