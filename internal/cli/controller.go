package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/autoscale"
	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/drain"
	"github.com/slipway-ecs/slipway/internal/rotate"
)

func newControllerCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "controller", Short: "Keep a cluster at the size its tasks need"}
	cmd.AddCommand(newControllerRunCommand(), newControllerLambdaCommand())
	return cmd
}

func newControllerRunCommand() *cobra.Command {
	var f clusterFlags
	var once, dryRun bool
	var interval time.Duration
	var metrics, policy, queue string
	var budgets budgetFlags
	cfg, def := autoscale.Defaults(), drainDefaults
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Scale and drain the instances of a cluster, until it is stopped",
		Long: `Watches a cluster and acts: grows its Auto Scaling groups when tasks have no place, empties and
terminates instances that are not needed or dearer than they need be, drains those a group's termination
hook holds or AWS takes back, and goes on with rotations ('slipway cluster rotate'). Every decision is
one structured log line with its reasons. Several may run; one leads.

--events-queue is the URL of an SQS queue to which EventBridge sends Spot interruption warnings,
rebalance recommendations and AWS Health's scheduled changes.

` + budgetHelp + `

With --dry-run nothing is changed and no lease is taken.`,
		Args: cobra.NoArgs,
		Example: `  slipway controller run --cluster demo
  slipway controller run --cluster demo --dry-run --once
  slipway controller run --cluster prod --budget 10% --budget '0 mon-fri 08:00-18:00 Europe/Berlin'
  slipway controller run --cluster prod --budget '20% 22:00-06:00' --budget 1 --service-budget payments=1`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			def.Policy = drain.Policy(policy)
			if def.Policy != drain.Abort && def.Policy != drain.Force {
				return badInput("--on-deadline is abort or force, not %q", policy)
			}
			if interval <= 0 || def.Deadline <= 0 || cfg.Headroom < 0 || cfg.Reserve < 0 || cfg.Reserve > 1000 {
				return badInput("--interval and --deadline must be above 0, --headroom and --reserve not below")
			}
			if err := budgets.read(&cfg); err != nil {
				return err
			}
			cloud, _, err := f.open(cmd)
			if err != nil {
				return err
			}
			cfg.Deadline = def.Deadline
			c := newController(cloud, f.cluster, cfg, def, dryRun)
			if queue != "" && !dryRun {
				c.drain.Notices = cloud.Notices(queue)
			}
			c.log = slog.New(slog.NewTextHandler(cmd.OutOrStdout(), nil))
			if f.asJSON {
				c.log = slog.New(slog.NewJSONHandler(cmd.OutOrStdout(), nil))
			}
			if metrics != "" {
				stop, err := c.serve(metrics)
				if err != nil {
					return err
				}
				defer stop()
			}
			if once {
				return errors.Join(c.turn(cmd.Context(), max(3*interval, 15*time.Second)), c.release(cmd.Context()))
			}
			return c.run(cmd.Context(), interval)
		},
	}
	f.add(cmd)
	budgets.add(cmd.Flags())
	cmd.Flags().BoolVar(&once, "once", false, "one turn, then end")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only advise")
	cmd.Flags().DurationVar(&interval, "interval", 10*time.Second, "time between two turns")
	cmd.Flags().StringVar(&metrics, "metrics-addr", "", "loopback address to serve Prometheus metrics on, e.g. 127.0.0.1:9102")
	cmd.Flags().DurationVar(&cfg.MinAge, "min-age", cfg.MinAge, "an instance younger than this is not removed")
	cmd.Flags().DurationVar(&cfg.Settle, "settle", cfg.Settle, "how long an instance must have been removable")
	cmd.Flags().IntVar(&cfg.Reserve, "reserve", cfg.Reserve, "percent of each service's tasks for which a place is kept free")
	cmd.Flags().StringVar(&queue, "events-queue", "", "URL of an SQS queue with EventBridge's notices")
	cmd.Flags().BoolVar(&cfg.NoReplace, "no-replace", false, "never launch a cheaper instance to stand for others")
	cmd.Flags().DurationVar(&cfg.MaxAge, "max-age", 0, "an instance older than this is replaced when that costs nothing more; 0: never")
	cmd.Flags().IntVar(&cfg.Headroom, "headroom", cfg.Headroom, "percent of what is used that must stay free after a removal")
	cmd.Flags().DurationVar(&def.Deadline, "deadline", def.Deadline, "how long a drain may take")
	cmd.Flags().StringVar(&policy, "on-deadline", string(def.Policy), "of drains by hook: abort or force")
	return cmd
}

// controller makes the turns of both engines and tells of them.
type controller struct {
	scale   *autoscale.Engine
	drain   *drain.Engine
	rotate  *rotate.Engine
	lease   *awscloud.Lease
	clock   awscloud.Clock
	cluster string
	dryRun  bool
	log     *slog.Logger

	mu     sync.Mutex
	counts map[string]int // decisions and actions by kind
	gauges map[string]float64
	last   map[string]string // what was told last, by what it is about

	warned   time.Time
	warnings map[string]string // what was warned of, by kind and what it is about
}

func newController(cloud *awscloud.Cloud, cluster string, cfg autoscale.Config, def drain.Defaults, dryRun bool) *controller {
	host, _ := os.Hostname() // empty is no harm: the rest tells owners apart
	c := &controller{scale: cloud.Autoscale(cluster, cfg), drain: cloud.Drain(cluster, def), rotate: cloud.Rotate(cluster), clock: cloud.Clock, cluster: cluster, dryRun: dryRun,
		counts: map[string]int{}, gauges: map[string]float64{}, last: map[string]string{}, warnings: map[string]string{}}
	c.lease = cloud.Lease(cluster, fmt.Sprintf("%s/%d/%s", host, os.Getpid(), rand.Text()[:8]), 30*time.Second)
	c.scale.DryRun = dryRun
	c.rotate.Budgets = cfg.Budgets
	c.drain.Report = func(a drain.Action, err error) {
		c.count("drain_" + string(a.Kind))
		args := []any{"cluster", cluster, "action", a.Kind, "instance", a.EC2ID, "why", a.Why}
		if a.Task != "" {
			args = append(args, "task", a.Task)
		}
		if err != nil {
			c.log.Warn("drain", append(args, "error", err)...)
			return
		}
		c.log.Info("drain", args...)
	}
	c.rotate.Report = func(a rotate.Action, err error) {
		c.count("rotate_" + string(a.Kind))
		args := []any{"cluster", cluster, "group", a.Group, "action", a.Kind, "instance", a.Member.EC2ID, "why", a.Why}
		if err != nil {
			c.log.Warn("rotate", append(args, "error", err)...)
			return
		}
		c.log.Info("rotate", args...)
	}
	return c
}

func (c *controller) count(kind string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[kind]++
}

func (c *controller) run(ctx context.Context, interval time.Duration) error {
	for {
		if err := c.turn(ctx, max(3*interval, 15*time.Second)); err != nil && ctx.Err() == nil {
			c.count("error")
			c.log.Error("turn", "cluster", c.cluster, "error", err)
		}
		if err := c.clock.Wait(ctx, interval); err != nil {
			return c.release(ctx) // asked to stop
		}
	}
}

// release lets the lease go, with a moment of its own: the context may have ended.
func (c *controller) release(ctx context.Context) error {
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	return c.lease.Release(end)
}

// turn is one turn of both engines; it may take as long as the lease is held.
func (c *controller) turn(ctx context.Context, most time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, min(most, 25*time.Second)) // less than the lease's term
	defer cancel()
	if !c.dryRun {
		leads, err := c.lease.Hold(ctx, c.clock.Now())
		if err != nil {
			return err
		}
		c.set("leader", b2f(leads))
		if !leads {
			c.tell("waiting", "", []any{"cluster", c.cluster, "leader", c.lease.Holder})
			return nil
		}
	}
	var s *drain.State
	var p drain.Plan
	var drainErr error
	if c.dryRun {
		s, p, drainErr = c.drain.Look(ctx)
	} else {
		s, p, drainErr = c.drain.Step(ctx)
	}
	if s != nil {
		c.set("instances", float64(len(s.Instances)))
		c.set("draining", float64(len(p.Drains)))
	}
	for _, d := range p.Drains {
		for _, w := range d.Waits {
			if w.Cause.Stuck() {
				c.tell("waits", d.EC2ID, []any{"cluster", c.cluster, "instance", d.EC2ID, "cause", w.Cause, "why", w.Sentence})
				break
			}
		}
	}
	rotateErr := c.turnRotations(ctx)
	ds, err := c.scale.Step(ctx)
	busy := 0.0
	for _, d := range ds {
		if d.Kind == autoscale.Grow || d.Kind == autoscale.Shrink {
			busy++
		}
		c.count("scale_" + string(d.Kind))
		args := []any{"cluster", c.cluster, "decision", d.Kind, "dry_run", c.dryRun, "reasons", d.Reasons}
		if d.Kind == autoscale.Grow || d.Kind == autoscale.Shrink {
			args = append(args, "group", d.Group, "from", d.From, "to", d.To, "usd_per_hour", d.Saving)
		}
		if d.EC2ID != "" {
			args = append(args, "instance", d.EC2ID)
		}
		c.tell("scale", d.Group+d.EC2ID, args)
	}
	c.set("changes", busy)
	if err == nil { // else the cluster cannot be seen, which is told
		c.warn(ctx)
	}
	return errors.Join(drainErr, rotateErr, err)
}

// warnEvery is the time between two looks for warnings.
const warnEvery = 5 * time.Minute

// warn logs where services' scaling and capacity fight: each when it comes, and when it has gone.
func (c *controller) warn(ctx context.Context) {
	now := c.clock.Now()
	if !c.warned.IsZero() && now.Sub(c.warned) < warnEvery {
		return
	}
	ws, err := c.scale.Warnings(ctx)
	if err != nil {
		c.tell("warnings are not known", "", []any{"cluster", c.cluster, "error", err})
		return
	}
	c.warned = now
	c.set("warnings", float64(len(ws)))
	there := map[string]bool{}
	for _, w := range ws {
		key := string(w.Kind) + " " + w.About
		there[key] = true
		if c.warnings[key] != w.Says {
			c.log.Warn("warning", "cluster", c.cluster, "kind", w.Kind, "about", w.About, "says", w.Says, "do", w.Do)
		}
		c.warnings[key] = w.Says
	}
	for key := range c.warnings {
		if !there[key] {
			delete(c.warnings, key)
			c.log.Info("warning is over", "cluster", c.cluster, "about", key)
		}
	}
}

func (c *controller) turnRotations(ctx context.Context) error {
	look := c.rotate.Step
	if c.dryRun {
		look = c.rotate.Look
	}
	plans, err := look(ctx)
	left := 0
	for _, p := range plans {
		left += p.Old
		c.tell("rotation", p.Group, []any{"cluster", c.cluster, "group", p.Group, "phase", p.Phase, "done", p.Done, "total", p.Total, "draining", p.Draining, "waits", p.Waits})
	}
	c.set("rotating", float64(len(plans)))
	c.set("to_be_rotated", float64(left))
	return err
}

// tell logs a line about something, but not the same one twice running.
func (c *controller) tell(msg, about string, args []any) {
	line := fmt.Sprint(args...)
	if c.last[msg+about] == line {
		return
	}
	c.last[msg+about] = line
	c.log.Info(msg, args...)
}

func (c *controller) set(name string, v float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gauges[name] = v
}

func b2f(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// serve answers /metrics in Prometheus's text format, on a loopback address only: it is not secured.
func (c *controller) serve(addr string) (stop func(), err error) {
	host, _, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, badInput("--metrics-addr is a loopback address with a port, like 127.0.0.1:9102, not %q", addr)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("serving metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		for _, name := range sortedNames(c.gauges) {
			fmt.Fprintf(w, "# TYPE slipway_controller_%s gauge\nslipway_controller_%s{cluster=%q} %g\n", name, name, c.cluster, c.gauges[name])
		}
		fmt.Fprint(w, "# TYPE slipway_controller_decisions_total counter\n")
		for _, kind := range sortedNames(c.counts) {
			fmt.Fprintf(w, "slipway_controller_decisions_total{cluster=%q,kind=%q} %d\n", c.cluster, kind, c.counts[kind])
		}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(l) }() // ends with ErrServerClosed
	return func() { _ = server.Close() }, nil
}

func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
