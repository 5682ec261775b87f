// Package clock is the one clock of the local AWS: every timer of the control plane runs on it, so
// that `--speed N` makes health checks, cooldowns, alarms and hooks N times faster together.
package clock

import (
	"context"
	"time"
)

// Clock tells the time and waits.
type Clock interface {
	Now() time.Time
	// After sends the time once d has passed on this clock.
	After(d time.Duration) <-chan time.Time
	// Real converts a duration of this clock to wall-clock time: deadlines of sockets and processes
	// are set with it.
	Real(d time.Duration) time.Duration
}

// Wall is the machine's clock.
type Wall struct{}

// Now is the present time.
func (Wall) Now() time.Time { return time.Now() }

// After is time.After.
func (Wall) After(d time.Duration) <-chan time.Time { return time.After(d) }

// Real returns d.
func (Wall) Real(d time.Duration) time.Duration { return d }

// Fast runs a number of times faster than the machine's clock from the moment it was made.
type Fast struct {
	start time.Time
	speed float64
}

// NewFast returns a clock that starts now and runs speed times faster; speed must be positive.
// A speed of 1 is the wall clock.
func NewFast(speed float64) Clock {
	if speed == 1 {
		return Wall{}
	}
	return &Fast{start: time.Now(), speed: speed}
}

// Now is the time on this clock.
func (f *Fast) Now() time.Time {
	return f.start.Add(time.Duration(float64(time.Since(f.start)) * f.speed))
}

// After waits d on this clock.
func (f *Fast) After(d time.Duration) <-chan time.Time { return time.After(f.Real(d)) }

// Real is d divided by the speed.
func (f *Fast) Real(d time.Duration) time.Duration { return time.Duration(float64(d) / f.speed) }

// Sleep waits d on c; it returns early with the context's error when ctx ends.
func Sleep(ctx context.Context, c Clock, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.After(d):
		return nil
	}
}
