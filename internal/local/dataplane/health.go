package dataplane

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/clock"
)

func portText(n int) string { return strconv.Itoa(n) }

// changed compares all but the matcher, which comes with the rest.
func (c Check) changed(o Check) bool {
	return c.Enabled != o.Enabled || c.Protocol != o.Protocol || c.Path != o.Path || c.Port != o.Port || c.GRPC != o.GRPC || c.Interval != o.Interval ||
		c.Timeout != o.Timeout || c.Healthy != o.Healthy || c.Unhealthy != o.Unhealthy
}

// The reasons and descriptions are those of
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html and of
// the DescribeTargetHealth examples.
var (
	registering = Health{"initial", "Elb.RegistrationInProgress", "Target registration is in progress"}
	notInUse    = Health{"unused", "Target.NotInUse", "Target group is not configured to receive traffic from the load balancer"}
	healthy     = Health{State: "healthy"}
)

// check starts (again) the checks of a target; g.mu is held.
func (g *group) check(t *target) {
	if t.stop != nil {
		t.stop()
		t.stop = nil
	}
	switch {
	case !g.conf.InUse:
		g.setHealth(t, notInUse)
		return
	case !g.conf.Check.Enabled:
		g.setHealth(t, healthy)
		return
	}
	if t.health.State == "" || t.health.State == "unused" || t.health.State == "draining" {
		g.setHealth(t, registering)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.stop = cancel
	go g.probe(ctx, t, g.conf.Check, t.conf.Addr)
}

func (g *group) setHealth(t *target, h Health) {
	if t.health == h {
		return
	}
	if h.State == "healthy" && t.health.State != "healthy" {
		t.healthyAt = g.b.clock.Now()
	}
	t.health = h
	g.b.report(t.conf.Key, h)
}

// probe checks a target until ctx ends. The first pass makes a new target healthy; after that it
// takes as many passes or failures in a row as the thresholds say.
func (g *group) probe(ctx context.Context, t *target, c Check, addr string) {
	if c.Port != 0 {
		if host, _, err := net.SplitHostPort(addr); err == nil {
			addr = net.JoinHostPort(host, portText(c.Port))
		}
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // ALB does not verify targets
	passed, failed := 0, 0
	for {
		began := g.b.clock.Now()
		bad := c.once(ctx, client, addr, g.b.clock)
		if ctx.Err() != nil {
			return
		}
		g.mu.Lock()
		was := t.health.State
		if bad == nil {
			passed, failed = passed+1, 0
			if was == "initial" || passed >= c.Healthy {
				g.setHealth(t, healthy)
			}
		} else {
			passed, failed = 0, failed+1
			switch {
			case failed >= c.Unhealthy:
				g.setHealth(t, Health{"unhealthy", bad.Reason, bad.Description})
			case was == "initial":
				g.setHealth(t, Health{"initial", "Elb.InitialHealthChecking", "Initial health checks in progress"})
			}
		}
		g.mu.Unlock()
		wait := c.Interval - g.b.clock.Now().Sub(began)
		if bad != nil && was == "initial" && wait > time.Second {
			// A target that is just starting is looked at more often until its first verdict, as a
			// registration's first checks come in quick succession from every load balancer node.
			wait = max(time.Second, c.Interval/time.Duration(max(1, nodes)))
		}
		if clock.Sleep(ctx, g.b.clock, max(wait, 10*time.Millisecond)) != nil {
			return
		}
	}
}

// nodes is how many load balancer nodes check a target: one a zone.
const nodes = 3

// once makes one check; nil is a pass.
func (c Check) once(ctx context.Context, client *http.Client, addr string, clk clock.Clock) *Health {
	if addr == "" {
		return &Health{Reason: "Target.FailedHealthChecks", Description: "Health checks failed"}
	}
	ctx, cancel := context.WithTimeout(ctx, clk.Real(c.Timeout))
	defer cancel()
	if c.Protocol == "TCP" {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return c.failure(err)
		}
		_ = conn.Close()
		return nil
	}
	scheme := "http"
	if c.Protocol == "HTTPS" {
		scheme = "https"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+addr+c.Path, nil)
	if err != nil {
		return c.failure(err)
	}
	req.Header.Set("User-Agent", "ELB-HealthChecker/2.0")
	resp, err := client.Do(req)
	if err != nil {
		return c.failure(err)
	}
	_ = resp.Body.Close()
	if !c.Match(resp.StatusCode) {
		return &Health{Reason: "Target.ResponseCodeMismatch", Description: fmt.Sprintf("Health checks failed with these codes: [%d]", resp.StatusCode)}
	}
	return nil
}

func (c Check) failure(err error) *Health {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return &Health{Reason: "Target.Timeout", Description: "Request timed out"}
	}
	return &Health{Reason: "Target.FailedHealthChecks", Description: "Health checks failed"}
}
