package autoscale

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Observer sees the cluster.
type Observer interface {
	Fleet(ctx context.Context, cluster string) (*State, error)
}

// Actor changes it. Drain asks for an instance to be emptied and then terminated, its group made one
// smaller; it returns at once.
type Actor interface {
	SetDesired(ctx context.Context, group string, n int) error
	Drain(ctx context.Context, cluster, instance string, deadline time.Time) error
}

// Scalers says who else changes sizes.
type Scalers interface {
	Scaling(ctx context.Context, cluster string) (*Scaling, error)
}

// Clock is the time the engine lives by.
type Clock interface {
	Now() time.Time
}

// Engine scales one cluster.
type Engine struct {
	Observer Observer
	Actor    Actor
	Clock    Clock
	Cluster  string
	Config   Config
	DryRun   bool // decide only
	Scalers  Scalers

	removable map[string]time.Time
}

// Step makes one turn and returns what was decided; with an error, of what failed.
func (e *Engine) Step(ctx context.Context) ([]Decision, error) {
	s, err := e.Observer.Fleet(ctx, e.Cluster)
	if err != nil {
		return nil, fmt.Errorf("observing cluster %s: %w", e.Cluster, err)
	}
	now := e.Clock.Now()
	ds, removable := Decide(s, e.removable, now, e.Config)
	e.removable = removable
	if e.DryRun {
		return ds, nil
	}
	var errs []error
	for _, d := range ds {
		switch d.Kind {
		case Grow:
			if err := e.Actor.SetDesired(ctx, d.Group, d.To); err != nil {
				errs = append(errs, fmt.Errorf("setting group %s to %d instances: %w", d.Group, d.To, err))
			}
		case Shrink:
			if err := e.Actor.Drain(ctx, e.Cluster, d.Instance, now.Add(e.Config.Deadline)); err != nil {
				errs = append(errs, fmt.Errorf("draining %s: %w", d.EC2ID, err))
			}
		case Hold, Blocked:
		}
	}
	return ds, errors.Join(errs...)
}

// Warnings looks where services' scaling and the cluster's capacity would fight. Services that are about to
// be deployed stand for those of their name that there are.
func (e *Engine) Warnings(ctx context.Context, planned ...Scaled) ([]Warning, error) {
	s, err := e.Observer.Fleet(ctx, e.Cluster)
	if err != nil {
		return nil, fmt.Errorf("observing cluster %s: %w", e.Cluster, err)
	}
	x, err := e.Scalers.Scaling(ctx, e.Cluster)
	if err != nil {
		return nil, fmt.Errorf("reading who scales in cluster %s: %w", e.Cluster, err)
	}
	for _, p := range planned {
		if k := slices.IndexFunc(x.Services, func(v Scaled) bool { return v.Service == p.Service }); k >= 0 {
			p.Desired, p.Turns = x.Services[k].Desired, x.Services[k].Turns
			x.Services[k] = p
			continue
		}
		x.Services = append(x.Services, p)
	}
	return Frictions(s, x, e.Clock.Now(), e.Config), nil
}
