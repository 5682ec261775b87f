package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-ecs/slipway/internal/local/chaos"
	"github.com/slipway-ecs/slipway/internal/local/wire"
)

// worldFault is a command that adds a fault which is not of requests.
type worldFault struct {
	f       localFlags
	x       wire.Fault
	lasting time.Duration
}

func (w *worldFault) run(cmd *cobra.Command) error {
	w.x.For = int(w.lasting.Round(time.Second).Seconds())
	if w.lasting > 0 && w.x.For == 0 {
		return badInput("--for must be at least a second")
	}
	data, err := json.Marshal(w.x)
	if err != nil {
		return fmt.Errorf("writing the fault: %w", err)
	}
	var out wire.Fault
	if err := w.f.faults(cmd.Context(), http.MethodPost, "", data, &out); err != nil {
		return err
	}
	struck := ""
	if len(out.Did) > 0 {
		struck = ": " + strings.Join(out.Did, ", ")
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "fault %d added%s\n", out.ID, struck)
	return err
}

func (w *worldFault) whichInstances(fl *pflag.FlagSet) {
	t := &w.x.Target
	fl.StringVar(&t.Instance, "instance", "", "EC2 instance, i-…; * and ? match")
	fl.StringVar(&t.Group, "group", "", "Auto Scaling group of the instances")
	fl.StringVar(&t.Cluster, "cluster", "", "ECS cluster of the instances")
	fl.StringVar(&t.Zone, "zone", "", "Availability Zone of the instances")
	fl.IntVar(&t.Number, "number", 0, "how many of those that match, by the dice (default: all)")
	fl.Uint64Var(&w.x.Seed, "seed", 0, "of the dice")
}

func (w *worldFault) until(fl *pflag.FlagSet) {
	fl.DurationVar(&w.lasting, "for", 0, "how long it lasts, on the clock of the local AWS (default: until it is cleared)")
}

func newFaultTask() *cobra.Command {
	w := &worldFault{}
	var delay time.Duration
	kinds := map[string]string{"pull": chaos.TaskPull, "init": chaos.TaskInit, "slow": chaos.TaskSlow}
	cmd := &cobra.Command{
		Use:   "task pull|init|slow",
		Short: "Tasks that cannot start, or start late",
		Long: `pull: the image cannot be pulled; the task stops with CannotPullContainerError. init: what it needs
before that cannot be had; the task stops with ResourceInitializationError. slow: each container starts
--delay later. DescribeTasks shows the stopCode TaskFailedToStart and the reason.`,
		Example: `  slipway local fault task pull --cluster prod --ecs-service web --count 3
  slipway local fault task init --family worker --probability 0.2 --seed 7
  slipway local fault task slow --delay 90s --zone us-east-1b --for 10m`,
		Args: cobra.ExactArgs(1), ValidArgs: []string{"pull", "init", "slow"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if w.x.Kind = kinds[args[0]]; w.x.Kind == "" {
				return badInput("%q is none of pull, init and slow", args[0])
			}
			if (args[0] == "slow") != (delay > 0) {
				return badInput("--delay is needed for slow, and for slow only")
			}
			w.x.Delay = int(delay.Milliseconds())
			return w.run(cmd)
		},
	}
	w.f.add(cmd)
	fl, t := cmd.Flags(), &w.x.Target
	fl.StringVar(&t.Cluster, "cluster", "", "ECS cluster; * and ? match (default: any, as for the others)")
	fl.StringVar(&t.Service, "ecs-service", "", "ECS service")
	fl.StringVar(&t.Family, "family", "", "family of the task definition")
	fl.StringVar(&t.Container, "container", "", "container, for pull and slow")
	fl.StringVar(&t.Zone, "zone", "", "Availability Zone of the task")
	fl.DurationVar(&delay, "delay", 0, "how much later the containers of slow tasks start, on the clock of the local AWS")
	fl.StringVar(&w.x.Message, "message", "", "what stands behind the error's name")
	fl.Float64Var(&w.x.Probability, "probability", 1, "share of the starts it strikes, 0 to 1")
	fl.IntVar(&w.x.Count, "count", 0, "how many starts it strikes (default: no end)")
	fl.IntVar(&w.x.Skip, "skip", 0, "starts that are left alone first")
	fl.Uint64Var(&w.x.Seed, "seed", 0, "of the dice")
	w.until(fl)
	return cmd
}

func newFaultInstance() *cobra.Command {
	w := &worldFault{x: wire.Fault{Kind: chaos.Instance}}
	cmd := &cobra.Command{
		Use: "instance", Short: "Instances die, without a warning", Args: cobra.NoArgs,
		Long: `The agents are gone at once, no lifecycle hook runs, the tasks stop; DescribeInstances shows the state reason
Server.InternalError. An Auto Scaling group replaces its instances.`,
		Example: `  slipway local fault instance --instance i-0123456789abcdef0
  slipway local fault instance --cluster prod --number 2 --seed 7`,
		RunE: func(cmd *cobra.Command, _ []string) error { return w.run(cmd) },
	}
	w.f.add(cmd)
	w.whichInstances(cmd.Flags())
	return cmd
}

func newFaultZone() *cobra.Command {
	w := &worldFault{x: wire.Fault{Kind: chaos.Zone}}
	cmd := &cobra.Command{
		Use: "zone ZONE", Short: "A zone loses power, until the fault is cleared", Args: cobra.ExactArgs(1),
		Long: `Instances and Fargate tasks there die. Until the fault ends, launches there fail with
InsufficientInstanceCapacity, Fargate tasks there do not start, and DescribeAvailabilityZones says unavailable.
Auto Scaling groups turn to their other zones.`,
		Example: "  slipway local fault zone us-east-1a --for 30m",
		RunE: func(cmd *cobra.Command, args []string) error {
			w.x.Target.Zone = args[0]
			return w.run(cmd)
		},
	}
	w.f.add(cmd)
	w.until(cmd.Flags())
	return cmd
}

func newFaultSpot() *cobra.Command {
	w := &worldFault{x: wire.Fault{Kind: chaos.Spot}}
	cmd := &cobra.Command{
		Use: "spot", Short: "Interrupt Spot instances and Fargate Spot tasks", Args: cobra.NoArgs,
		Long: `Spot instances get EventBridge's rebalance recommendation and interruption warning, and end two minutes
later; with ECS_ENABLE_SPOT_INSTANCE_DRAINING=true in their user data they drain in between. Tasks on
FARGATE_SPOT stop with the code SpotInterruption; --instance and --group leave them alone.`,
		Example: `  slipway local fault spot --group workers --number 1
  slipway local fault spot --cluster prod
  slipway local fault spot --instance '*'`,
		RunE: func(cmd *cobra.Command, _ []string) error { return w.run(cmd) },
	}
	w.f.add(cmd)
	w.whichInstances(cmd.Flags())
	return cmd
}

func newFaultDisconnect() *cobra.Command {
	w := &worldFault{x: wire.Fault{Kind: chaos.Disconnect}}
	cmd := &cobra.Command{
		Use: "disconnect", Short: "Agents lose their connection, until the fault is cleared", Args: cobra.NoArgs,
		Long: `DescribeContainerInstances shows agentConnected false, and no task is placed there; what runs goes on.`,
		Example: `  slipway local fault disconnect --cluster prod --number 1 --for 5m
  slipway local fault disconnect --zone us-east-1a`,
		RunE: func(cmd *cobra.Command, _ []string) error { return w.run(cmd) },
	}
	w.f.add(cmd)
	w.whichInstances(cmd.Flags())
	w.until(cmd.Flags())
	return cmd
}

func newFaultSkew() *cobra.Command {
	w := &worldFault{x: wire.Fault{Kind: chaos.Skew}}
	var by time.Duration
	cmd := &cobra.Command{
		Use: "skew --by DURATION", Short: "A wrong clock: signatures are refused", Args: cobra.NoArgs,
		Long: `The server's clock, as clients see it in the Date of answers, is wrong by that much. Signed requests that are off by
more than five minutes are refused, as AWS does: SDKs correct their clocks and try again.`,
		Example: `  slipway local fault skew --by 10m
  slipway local fault skew --by -1h --for 5m`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if by == 0 {
				return badInput("--by must not be zero")
			}
			w.x.Delay = int(by.Milliseconds())
			return w.run(cmd)
		},
	}
	w.f.add(cmd)
	cmd.Flags().DurationVar(&by, "by", 0, "how far the server's clock is ahead; negative: behind")
	w.until(cmd.Flags())
	return cmd
}

func newFaultDNS() *cobra.Command {
	w := &worldFault{x: wire.Fault{Kind: chaos.DNS}}
	cmd := &cobra.Command{
		Use: "dns [NAME]", Short: "Names of Cloud Map are not there yet", Args: cobra.MaximumNArgs(1),
		Long: `The DNS server of the local AWS answers that it has no addresses for names that match, as before a
registration has spread.`,
		Example: `  slipway local fault dns 'web.prod.local' --for 1m
  slipway local fault dns '*.local' --count 5`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				w.x.Target.Name = strings.TrimSuffix(args[0], ".")
			}
			return w.run(cmd)
		},
	}
	w.f.add(cmd)
	fl := cmd.Flags()
	fl.Float64Var(&w.x.Probability, "probability", 1, "share of the questions it strikes, 0 to 1")
	fl.IntVar(&w.x.Count, "count", 0, "how many questions it strikes (default: no end)")
	fl.Uint64Var(&w.x.Seed, "seed", 0, "of the dice")
	w.until(fl)
	return cmd
}

// target is whom a fault strikes, in the words of its flags.
func target(x wire.Fault) string {
	t := x.Target
	var out []string
	for _, p := range []struct{ name, value string }{{"cluster", t.Cluster}, {"ecs-service", t.Service}, {"family", t.Family}, {"container", t.Container}, {"instance", t.Instance}, {"group", t.Group}, {"zone", t.Zone}, {"name", t.Name}} {
		if p.value != "" {
			out = append(out, p.name+"="+p.value)
		}
	}
	if len(out) > 0 {
		return strings.Join(out, " ")
	}
	if _, world := worldKinds[x.Kind]; world {
		return "*"
	}
	return or(x.Service) + ":" + or(x.Operation)
}

var worldKinds = map[string]bool{chaos.TaskPull: true, chaos.TaskInit: true, chaos.TaskSlow: true, chaos.Instance: true, chaos.Zone: true, chaos.Spot: true, chaos.Disconnect: true, chaos.Skew: true, chaos.DNS: true}
