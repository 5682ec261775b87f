package loop

import (
	"context"
	"io"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/runtime"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

// timing is a container health check's, with AWS's defaults.
//
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html
type timing struct {
	interval, timeout, startPeriod time.Duration
	retries                        int
}

func timingOf(h *ecsapi.HealthCheck) timing {
	seconds := func(p *int32, def int) time.Duration {
		if p != nil {
			def = int(*p)
		}
		return time.Duration(def) * time.Second
	}
	t := timing{seconds(h.Interval, 30), seconds(h.Timeout, 5), seconds(h.StartPeriod, 0), 3}
	if h.Retries != nil {
		t.retries = int(*h.Retries)
	}
	return t
}

// check runs a container's health check until the container or ctx ends. One pass makes it HEALTHY,
// retries failures in a row make it UNHEALTHY; failures inside the start period do not count.
func (d *driver) check(ctx context.Context, u *unit, c runtime.Container) {
	t := timingOf(u.def.HealthCheck)
	command := u.def.HealthCheck.Command
	switch command[0] {
	case "CMD":
		command = command[1:]
	case "CMD-SHELL":
		command = append([]string{"/bin/sh", "-c"}, command[1:]...)
	default:
		command = append([]string{"/bin/sh", "-c"}, command...)
	}
	clk := d.l.cfg.Clock
	begin, failures := clk.Now(), 0
	name := *u.def.Name
	for clock.Sleep(ctx, clk, t.interval) == nil {
		if now, ok := d.container(name); !ok || now != c {
			return // it has ended, or another runs in its place
		}
		at := clk.Now()
		limited, cancel := context.WithTimeout(ctx, clk.Real(t.timeout))
		code, err := c.Exec(limited, command, io.Discard)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && code == 0:
			failures = 0
			d.send(func() { d.setHealth(u, "HEALTHY") })
		case at.Sub(begin) < t.startPeriod:
		default:
			if failures++; failures >= t.retries {
				d.send(func() { d.setHealth(u, "UNHEALTHY") })
			}
		}
	}
}
