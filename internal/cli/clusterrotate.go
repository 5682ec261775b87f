package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/drain"
	"github.com/slipway-ecs/slipway/internal/rotate"
)

// rotateFlags is what 'cluster rotate' is asked.
type rotateFlags struct {
	clusterFlags
	group, version, image, surge   string
	plan, detach                   bool
	pause, resume, abort, rollback bool
	checkpoints                    []int
	alarms, budgets                []string
	bake, deadline, join, every    time.Duration
	onDeadline, onFailure          string
	ignoreServices                 bool
	launchPace, drainPace          time.Duration
}

func newClusterRotateCommand() *cobra.Command {
	var f rotateFlags
	cmd := &cobra.Command{
		Use:   "rotate [CLUSTER]",
		Short: "Replace a group's instances by a new AMI or launch template version",
		Long: `Replaces every instance of an Auto Scaling group that is not of the wanted launch template version.
New instances come first (--surge), old ones are drained zone by zone, each task started elsewhere
before it ends, and terminated when they are empty. Instances that are right already are left alone.

The wish is kept as tags of the group: a rotation that was interrupted goes on when the command is
given again with --resume, or by 'slipway controller run'. It rests at checkpoints, holds while a service has
fewer tasks than it may, and is paused or rolled back when an alarm rings or new instances do not
join the cluster.

  --plan      only show the steps and how long they take
  --pause     begin nothing new
  --resume    go on
  --abort     stop: the group gets its own size, instances stay as they are
  --rollback  back to the version before, the same way`,
		Args: cobra.MaximumNArgs(1),
		Example: `  slipway cluster rotate demo --ami ami-0123456789abcdef0 --plan
  slipway cluster rotate demo --surge 10% --checkpoint 10,50 --bake 10m --alarm web-5xx --on-failure rollback
  slipway cluster rotate demo --group demo-hosts --rollback`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				f.cluster = args[0]
			}
			return f.run(cmd)
		},
	}
	f.add(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.group, "group", "", "Auto Scaling group; may be left out where the cluster has one")
	fl.StringVar(&f.version, "to-version", "", "launch template version, $Latest or $Default; default: what the group launches now")
	fl.StringVar(&f.image, "ami", "", "machine image: a launch template version with it is made if there is none")
	fl.StringVar(&f.surge, "surge", "10%", "instances more than usual at a time, a number or percent (rounded up); 0: one by one, in place")
	fl.StringArrayVar(&f.budgets, "budget", nil, "how many instances with tasks may go at a time, as with 'slipway controller run', whose own rules hold when it does the work: 2, 10%, or '0 mon-fri 08:00-18:00 Europe/Berlin'; repeatable")
	fl.BoolVar(&f.plan, "plan", false, "only show the steps")
	fl.BoolVar(&f.detach, "detach", false, "only write the wish down; 'slipway controller run' does it")
	fl.BoolVar(&f.pause, "pause", false, "begin nothing new")
	fl.BoolVar(&f.resume, "resume", false, "go on after a pause or an interruption")
	fl.BoolVar(&f.abort, "abort", false, "stop and leave the instances as they are")
	fl.BoolVar(&f.rollback, "rollback", false, "rotate back to the version before")
	fl.IntSliceVar(&f.checkpoints, "checkpoint", nil, "percent of the instances at which it rests, e.g. 10,50")
	fl.DurationVar(&f.bake, "bake", 10*time.Minute, "how long it rests at a checkpoint")
	fl.StringSliceVar(&f.alarms, "alarm", nil, "CloudWatch alarm that fails the rotation")
	fl.StringVar(&f.onFailure, "on-failure", string(rotate.Pause), "pause or rollback")
	fl.BoolVar(&f.ignoreServices, "ignore-services", false, "go on though services have fewer tasks than they may")
	fl.DurationVar(&f.deadline, "deadline", drainDefaults.Deadline, "how long the drain of an instance may take")
	fl.StringVar(&f.onDeadline, "on-deadline", string(drain.Abort), "abort: the instance takes tasks again and is tried anew; force: what is left is stopped")
	fl.DurationVar(&f.join, "join", 10*time.Minute, "how long a new instance may take to join the cluster")
	fl.DurationVar(&f.every, "interval", 5*time.Second, "time between two looks")
	fl.DurationVar(&f.launchPace, "launch-time", rotate.Usual.Launch, "for the plan: how long a new instance takes")
	fl.DurationVar(&f.drainPace, "drain-time", rotate.Usual.Drain, "for the plan: how long an instance with tasks takes to drain")
	cmd.MarkFlagsMutuallyExclusive("plan", "pause", "resume", "abort", "rollback")
	cmd.MarkFlagsMutuallyExclusive("ami", "to-version")
	return cmd
}

func (f *rotateFlags) check() error {
	switch {
	case f.onDeadline != string(drain.Abort) && f.onDeadline != string(drain.Force):
		return badInput("--on-deadline is abort or force, not %q", f.onDeadline)
	case f.onFailure != string(rotate.Pause) && f.onFailure != string(rotate.Rollback):
		return badInput("--on-failure is pause or rollback, not %q", f.onFailure)
	case f.deadline < time.Second || f.every <= 0 || f.join < time.Second || f.bake < 0:
		return badInput("--deadline and --join must be a second or more, --interval above 0, --bake not below")
	}
	last := 0
	for _, c := range f.checkpoints {
		if c <= last || c > 99 {
			return badInput("--checkpoint is a list of growing percentages from 1 to 99, not %v", f.checkpoints)
		}
		last = c
	}
	_, err := surgeOf(f.surge, 100)
	return err
}

// surgeOf is the number of instances that a number or percent of n is.
func surgeOf(text string, n int) (int, error) {
	number, percent := strings.CutSuffix(text, "%")
	k, err := strconv.Atoi(number)
	if err != nil || k < 0 || percent && k > 100 {
		return 0, badInput("--surge is a number of instances or a percentage up to 100%%, not %q", text)
	}
	if percent {
		return (n*k + 99) / 100, nil
	}
	return k, nil
}

func (f *rotateFlags) run(cmd *cobra.Command) error {
	if err := f.check(); err != nil {
		return err
	}
	cloud, p, err := f.open(cmd)
	if err != nil {
		return err
	}
	ctx, e := cmd.Context(), cloud.Rotate(f.cluster)
	if e.Budgets, err = instanceBudgets(f.budgets); err != nil {
		return err
	}
	if f.group == "" {
		names, err := cloud.Groups(ctx, f.cluster)
		switch {
		case err != nil:
			return err
		case len(names) == 0:
			return badInput("cluster %s has no Auto Scaling group", f.cluster)
		case len(names) > 1:
			return badInput("cluster %s has the groups %s: choose one with --group", f.cluster, strings.Join(names, ", "))
		}
		f.group = names[0]
	}
	for c, on := range map[rotate.Change]bool{rotate.ToPause: f.pause, rotate.ToResume: f.resume, rotate.ToAbort: f.abort, rotate.ToRollback: f.rollback} {
		if !on {
			continue
		}
		if err := e.Change(ctx, f.group, c); err != nil {
			if errors.Is(err, rotate.ErrNone) {
				return exitWith(ExitBadInput, err)
			}
			return err
		}
		if c == rotate.ToPause || f.detach {
			p.Done("group %s: %s", f.group, c)
			return nil
		}
		return f.watch(ctx, cloud, e, p)
	}
	return f.begin(ctx, cloud, e, p)
}

func (f *rotateFlags) begin(ctx context.Context, cloud *awscloud.Cloud, e *rotate.Engine, p *printer) error {
	to, err := cloud.RotationTarget(ctx, f.group, f.version, f.image, f.plan)
	if err != nil {
		return err
	}
	if to == "" {
		p.Line("a launch template version with image %s will be made; the steps are the same", f.image)
	}
	g, err := e.Propose(ctx, f.group, rotate.Rotation{To: to, Checkpoints: f.checkpoints, Bake: f.bake, Deadline: f.deadline, Force: f.onDeadline == string(drain.Force),
		Join: f.join, OnFailure: rotate.OnFailure(f.onFailure), Alarms: f.alarms, Ungated: f.ignoreServices})
	switch {
	case errors.Is(err, rotate.ErrRight) && to != "":
		p.Done("group %s: every instance is of version %s already", f.group, to)
		return nil
	case errors.Is(err, rotate.ErrRight): // with an image no version has, none is right
		for k := range g.Members {
			g.Members[k].Right = false
		}
		g.Rotation.Total = len(g.Members)
	case errors.Is(err, rotate.ErrBusy) && f.plan:
		return f.forecast(e, g, p)
	case err != nil:
		return err
	}
	if to == "" {
		g.Rotation.To = "new"
		for k := range g.Members {
			g.Members[k].Right = false
		}
		g.Rotation.Total = len(g.Members)
	}
	if g.Rotation.Surge, err = surgeOf(f.surge, g.Desired); err != nil {
		return err
	}
	if f.plan {
		return f.forecast(e, g, p)
	}
	if err := e.Begin(ctx, g); err != nil {
		return err
	}
	p.Line("group %s: %d of %d instances go to version %s, %d more at a time", f.group, g.Rotation.Total, len(g.Members), to, g.Rotation.Surge)
	if f.detach {
		return nil
	}
	return f.watch(ctx, cloud, e, p)
}

func (f *rotateFlags) forecast(e *rotate.Engine, g *rotate.Group, p *printer) error {
	steps, length, blocked := rotate.Forecast(*g, e.Clock.Now(), rotate.Pace{Launch: f.launchPace, Drain: f.drainPace})
	n := 0
	for _, s := range steps {
		a := s.Action
		if a.Kind == rotate.Save || a.Kind == rotate.Finish && len(steps) > 1 {
			continue
		}
		n++
		p.Data("step", fmt.Sprintf("%3d. +%-8s %s", n, s.At.Round(time.Second), rotateText(a)),
			map[string]any{"group": a.Group, "n": n, "after_seconds": s.At.Seconds(), "action": a.Kind, "instance": a.Member.EC2ID, "zone": a.Member.Zone, "to": a.To, "why": a.Why})
	}
	right := len(g.Members) - g.Rotation.Total
	p.Data("plan", fmt.Sprintf("group %s: %d instances to replace, %d right already, about %s", g.Name, g.Rotation.Total, right, length.Round(time.Second)),
		map[string]any{"group": g.Name, "to": g.Rotation.To, "from": g.Rotation.From, "replace": g.Rotation.Total, "right": right, "surge": g.Rotation.Surge, "eta_seconds": length.Seconds(), "blocked": blocked})
	for _, b := range blocked {
		p.Line("it would not come to an end: %s", b)
	}
	return nil
}

func rotateText(a rotate.Action) string {
	switch a.Kind {
	case rotate.UseVersion:
		return fmt.Sprintf("launch version %s from now on", a.Version)
	case rotate.SetDesired:
		return fmt.Sprintf("grow group %s to %d: %s", a.Group, a.To, a.Why)
	case rotate.Drain:
		then := "replace it"
		if a.Drop {
			then = "terminate it"
		}
		return fmt.Sprintf("drain %s (%s, %d tasks) and %s: %s", a.Member.EC2ID, a.Member.Zone, a.Member.Tasks, then, a.Why)
	case rotate.Reopen:
		return fmt.Sprintf("reopen %s: %s", a.Member.EC2ID, a.Why)
	case rotate.Save, rotate.Finish:
		return a.Why
	}
	return string(a.Kind)
}

// watch makes turns of the drain and the rotate engine until the rotation has ended.
func (f *rotateFlags) watch(ctx context.Context, cloud *awscloud.Cloud, e *rotate.Engine, p *printer) error {
	d := cloud.Drain(f.cluster, drainDefaults)
	d.Report = func(a drain.Action, err error) {
		if err != nil {
			p.Fail("%s %s: %v", a.Kind, a.EC2ID, err)
		} else if a.Kind == drain.Terminate || a.Kind == drain.StopTask || a.Kind == drain.Reopen {
			p.Line("%s %s: %s", a.Kind, a.EC2ID, a.Why)
		}
	}
	e.Report = func(a rotate.Action, err error) {
		if err != nil {
			p.Fail("%s: %v", rotateText(a), err)
			return
		}
		p.Line("%s", rotateText(a))
	}
	last := ""
	var end rotate.Plan
	err := e.Watch(ctx, f.group, f.every, func(ctx context.Context) error {
		_, _, err := d.Step(ctx)
		return err
	}, func(pl rotate.Plan) {
		end = pl
		if now := fmt.Sprint(pl.Done, pl.Draining, pl.Phase, pl.Waits); now != last {
			last = now
			text := fmt.Sprintf("%d of %d replaced, %d draining, %s", pl.Done, pl.Total, pl.Draining, pl.Phase)
			if pl.ETA > 0 {
				text += ", about " + pl.ETA.Round(time.Second).String() + " left"
			}
			for _, w := range pl.Waits {
				text += "\n     " + w
			}
			p.Data("rotate", "   "+text, map[string]any{"group": pl.Group, "phase": pl.Phase, "done": pl.Done, "total": pl.Total, "old": pl.Old, "new": pl.New, "draining": pl.Draining, "eta_seconds": pl.ETA.Seconds(), "waits": pl.Waits})
		}
	})
	if err != nil {
		return err
	}
	p.Done("group %s: %d of %d replaced", f.group, end.Done, end.Total)
	return nil
}
