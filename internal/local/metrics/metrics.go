// Package metrics measures the local AWS each minute, as AWS measures itself: what tasks use of what
// they reserve, and what balancers carry.
package metrics

import (
	"context"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/api/cloudwatch"
	"github.com/slipway-ecs/slipway/internal/local/balancer"
	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/runtime"
	"github.com/slipway-ecs/slipway/internal/local/state"
)

// CloudWatch takes the values.
type CloudWatch interface {
	Put(namespace, name, unit string, dims []cloudwatch.Dimension, value float64)
	PutStatistics(namespace, name, unit string, dims []cloudwatch.Dimension, v cloudwatch.Statistics)
}

// Config is what is measured, and where it goes.
type Config struct {
	State      *state.ECS
	Clock      clock.Clock
	CloudWatch CloudWatch
	// Container is a running container of a task.
	Container func(taskARN, name string) (runtime.Container, bool)
	// Traffic is what the balancers have counted since they started, and Groups the load balancers of
	// each target group.
	Traffic func() balancer.Snapshot
	Groups  func(tx *state.Tx) map[string][]string
}

// Metrics measures. Its loop is Run.
type Metrics struct {
	cfg     Config
	cpu     map[string]usage // by container id
	traffic balancer.Snapshot
}

// usage is the processor time a container had used at a time.
type usage struct {
	at   time.Time
	used time.Duration
}

// New makes the loop; Run runs it.
func New(c Config) *Metrics { return &Metrics{cfg: c, cpu: map[string]usage{}} }

// Run measures once a minute until ctx ends: ten seconds before the minute is over, so that alarms
// find the minute complete when they are judged after it.
func (m *Metrics) Run(ctx context.Context) error {
	m.traffic = m.cfg.Traffic()
	for {
		now := m.cfg.Clock.Now()
		at := now.Truncate(time.Minute).Add(50 * time.Second)
		if !at.After(now) {
			at = at.Add(time.Minute)
		}
		if err := clock.Sleep(ctx, m.cfg.Clock, at.Sub(now)); err != nil {
			return nil // the context ended
		}
		m.tasks(ctx)
		m.clusters()
		m.quotas()
		m.balancers()
	}
}

func dims(pairs ...string) []cloudwatch.Dimension {
	var out []cloudwatch.Dimension
	for i := 0; i+1 < len(pairs); i += 2 {
		out = append(out, cloudwatch.Dimension{Name: pairs[i], Value: pairs[i+1]})
	}
	return out
}
