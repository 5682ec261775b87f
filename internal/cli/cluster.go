package cli

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/drain"
)

// clusterFlags choose the cluster and how it is spoken of.
type clusterFlags struct {
	cluster, region, profile string
	asJSON                   bool
}

func (f *clusterFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.cluster, "cluster", cmp.Or(os.Getenv("SLIPWAY_CLUSTER"), "demo"), "name of the ECS cluster; default from SLIPWAY_CLUSTER")
	cmd.Flags().StringVar(&f.region, "region", "", "AWS region; default as the AWS CLI")
	cmd.Flags().StringVar(&f.profile, "profile", "", "AWS profile; default as the AWS CLI")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "one JSON object a line")
}

func (f *clusterFlags) open(cmd *cobra.Command) (*awscloud.Cloud, *printer, error) {
	c, err := awscloud.Open(cmd.Context(), awscloud.Options{Region: f.region, Profile: f.profile})
	return c, newPrinter(cmd.OutOrStdout(), f.asJSON), err
}

func newClusterCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "cluster", Short: "See, drain, rotate and right-size a cluster"}
	cmd.AddCommand(newClusterStatusCommand(), newClusterDrainCommand(), newClusterReopenCommand(), newClusterRotateCommand(), newClusterTopCommand(), newClusterPlanCommand(), newClusterRightsizeCommand())
	return cmd
}

var drainDefaults = drain.Defaults{Deadline: 15 * time.Minute, Policy: drain.Abort}

func newClusterStatusCommand() *cobra.Command {
	var f clusterFlags
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show the instances with their tasks, and what each drain waits for",
		Args:    cobra.NoArgs,
		Example: "  slipway cluster status --cluster demo",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cloud, p, err := f.open(cmd)
			if err != nil {
				return err
			}
			s, plan, err := cloud.Drain(f.cluster, drainDefaults).Look(cmd.Context())
			if err != nil {
				return err
			}
			if len(s.Instances) == 0 {
				p.Data("cluster", fmt.Sprintf("cluster %s has no instances", f.cluster), map[string]any{"cluster": f.cluster, "instances": 0})
			}
			for _, i := range s.Instances {
				p.Data("instance", instanceText(&i), map[string]any{"id": i.EC2ID, "arn": i.ID, "zone": i.AZ, "type": i.Type, "status": i.Status, "lifecycle": i.Lifecycle, "group": i.Group,
					"cpu_used": i.Used.CPU, "cpu": i.Registered.CPU, "memory_used": i.Used.Memory, "memory": i.Registered.Memory, "tasks": i.Groups})
				for _, d := range plan.Drains {
					if d.EC2ID == i.EC2ID {
						tellDrain(p, d)
					}
				}
			}
			return nil
		},
	}
	f.add(cmd)
	return cmd
}

// instanceText is one line with two bars, and the tasks by group.
func instanceText(i *drain.Instance) string {
	groups := make([]string, 0, len(i.Groups))
	for g, n := range i.Groups {
		if n > 0 {
			groups = append(groups, fmt.Sprintf("%s×%d", strings.TrimPrefix(g, "service:"), n))
		}
	}
	slices.Sort(groups)
	return fmt.Sprintf("%s  %-12s %-11s %-8s cpu %s  mem %s  %s", i.EC2ID, i.Type, i.AZ, i.Status, bar(i.Used.CPU, i.Registered.CPU), bar(i.Used.Memory, i.Registered.Memory), strings.Join(groups, " "))
}

func newClusterReopenCommand() *cobra.Command {
	var f clusterFlags
	cmd := &cobra.Command{
		Use:   "reopen INSTANCE",
		Short: "Let a drained instance take tasks again",
		Long: `Sets a container instance ACTIVE and removes the wish to drain it, whoever asked. An instance
that its group terminates already cannot be kept.`,
		Args:    cobra.ExactArgs(1),
		Example: "  slipway cluster reopen i-0123456789abcdef0 --cluster demo",
		RunE: func(cmd *cobra.Command, args []string) error {
			cloud, p, err := f.open(cmd)
			if err != nil {
				return err
			}
			i, err := cloud.Drain(f.cluster, drainDefaults).Reopen(cmd.Context(), args[0])
			if errors.Is(err, drain.ErrGone) {
				return exitWith(ExitBadInput, err)
			}
			if err != nil {
				return err
			}
			p.Done("%s takes tasks again", i.EC2ID)
			return nil
		},
	}
	f.add(cmd)
	return cmd
}

// bar shows a share of 10 cells and in percent.
func bar(used, all int) string {
	if all <= 0 {
		return strings.Repeat("·", 10) + "   ?"
	}
	n := min(max((used*10+all/2)/all, 0), 10)
	return strings.Repeat("█", n) + strings.Repeat("·", 10-n) + fmt.Sprintf(" %3d%%", used*100/all)
}

func newClusterDrainCommand() *cobra.Command {
	var f clusterFlags
	var deadline, every time.Duration
	var policy string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "drain INSTANCE",
		Short: "Empty an instance: every task is started elsewhere before it ends here",
		Long: `Empties a container instance without losing what runs on it. It begins when every task it
would displace is proved to fit elsewhere, lets ECS move the tasks within each service's minimum and
maximum, and ends when nothing but daemons is left, connections included. If the deadline passes
first, the instance takes tasks again (abort) or the tasks that are left are stopped (force).

The wish is kept as a tag of the instance: a drain that was interrupted goes on when the command is
given again, or by 'slipway controller run'.`,
		Args: cobra.ExactArgs(1),
		Example: `  slipway cluster drain i-0123456789abcdef0 --cluster demo
  slipway cluster drain i-0123456789abcdef0 --deadline 30m --on-deadline force
  slipway cluster drain i-0123456789abcdef0 --dry-run`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if p := drain.Policy(policy); p != drain.Abort && p != drain.Force {
				return badInput("--on-deadline is abort or force, not %q", policy)
			}
			if deadline <= 0 || every <= 0 {
				return badInput("--deadline and --interval must be above 0")
			}
			cloud, p, err := f.open(cmd)
			if err != nil {
				return err
			}
			e := cloud.Drain(f.cluster, drainDefaults)
			s, _, err := e.Look(cmd.Context())
			if err != nil {
				return err
			}
			i := s.Find(args[0])
			if i == nil {
				return badInput("%s is not an instance of cluster %s", args[0], f.cluster)
			}
			m := drain.Mark{Deadline: e.Clock.Now().Add(deadline), Policy: drain.Policy(policy)}
			if dryRun {
				i.Mark = &m
				for _, d := range drain.Decide(s, e.Clock.Now(), drainDefaults).Drains {
					if d.Instance == i.ID {
						tellDrain(p, d)
					}
				}
				return nil
			}
			if err := e.Begin(cmd.Context(), i.ID, m); err != nil {
				return err
			}
			e.Report = func(a drain.Action, err error) {
				if err != nil {
					p.Fail("%s %s: %v", a.Kind, a.EC2ID, err)
					return
				}
				p.Line("%s %s: %s", a.Kind, a.EC2ID, a.Why)
			}
			last := ""
			err = e.Watch(cmd.Context(), i.ID, every, func(d drain.Drain) {
				if now := fmt.Sprint(d.Left, d.Status, d.Waits); now != last {
					last = now
					tellDrain(p, d)
				}
			})
			if err != nil {
				return err
			}
			p.Done("%s is empty; it takes no tasks", i.EC2ID)
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().DurationVar(&deadline, "deadline", drainDefaults.Deadline, "how long it may take")
	cmd.Flags().DurationVar(&every, "interval", 2*time.Second, "time between two looks")
	cmd.Flags().StringVar(&policy, "on-deadline", string(drain.Abort), "abort: the instance takes tasks again; force: what is left is stopped")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only tell what would be waited for")
	return cmd
}

func tellDrain(p *printer, d drain.Drain) {
	text := fmt.Sprintf("   %s: %d tasks left, deadline %s (%s)", d.EC2ID, d.Left, d.Mark.Deadline.Local().Format(time.TimeOnly), d.Mark.Policy)
	waits := make([]map[string]any, 0, len(d.Waits))
	for _, w := range d.Waits {
		text += "\n     " + w.Sentence
		waits = append(waits, map[string]any{"cause": w.Cause, "task": w.Task, "why": w.Sentence, "stuck": w.Cause.Stuck()})
	}
	p.Data("drain", text, map[string]any{"id": d.EC2ID, "status": d.Status, "left": d.Left, "empty": d.Empty, "by_hook": d.ByHook, "deadline": d.Mark.Deadline, "policy": d.Mark.Policy, "waits": waits})
}
