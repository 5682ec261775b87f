package deploy

import (
	"context"
	"time"
)

// Clock is the time the engine lives by.
type Clock interface {
	Now() time.Time
	// Wait returns after d, or with the context's error as soon as it is done.
	Wait(ctx context.Context, d time.Duration) error
}

// Ports is what the engine needs of the world. All are required, but Probe (smoke tests), Leases
// (without them two deployments of a service may mix), Schedules (jobs that start by themselves),
// Registries (discovery by Cloud Map), EventRules (alarms on tasks that end by themselves) and
// SecretCopies (which a deletion takes away).
type Ports struct {
	Services        Services
	Deployments     Deployments
	TaskDefinitions TaskDefinitions
	Tasks           Tasks
	TargetGroups    TargetGroups
	Rules           Rules
	Listeners       Listeners
	Roles           Roles
	Logs            Logs
	Scaling         Scaling
	Alarms          Alarms
	Probe           Probe
	Leases          Leases
	Schedules       Schedules
	Registries      Registries
	EventRules      EventRules
	SecretCopies    SecretCopies
}

// Engine deploys services. It keeps nothing between calls and may be used by many goroutines.
type Engine struct {
	ports Ports
	clock Clock
}

// New returns an engine over the ports.
func New(ports Ports, clock Clock) *Engine { return &Engine{ports: ports, clock: clock} }
