package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/autoscale"
)

func newClusterPlanCommand() *cobra.Command {
	var f clusterFlags
	var budgets budgetFlags
	cfg := autoscale.Defaults()
	cmd := &cobra.Command{
		Use:   "plan [CLUSTER]",
		Short: "Show what the controller would do now, and what it would save",
		Long: `Runs the planner of 'slipway controller run' on the cluster as it is and changes nothing: which groups
would grow, which instances would go and where their tasks find room, and why the others stay. How long
an instance must have been removable is left out: the plan says what comes if nothing changes.

Warnings tell where the scaling of services and the capacity of the cluster fight, each with what to do: a
service that may grow to more than the groups may hold, a group that ECS's managed scaling or policies of
its own size too, a policy that shrinks faster than instances come, services whose turns make a group
oscillate.

` + budgetHelp,
		Args:    cobra.MaximumNArgs(1),
		Example: "  slipway cluster plan demo\n  slipway cluster plan demo --json\n  slipway cluster plan demo --budget '0 mon-fri 08:00-18:00 Europe/Berlin'",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				f.cluster = args[0]
			}
			if err := budgets.read(&cfg); err != nil {
				return err
			}
			cloud, p, err := f.open(cmd)
			if err != nil {
				return err
			}
			cfg.Settle, cfg.MinAge, cfg.MoveCost = 0, 0, 0
			e := cloud.Autoscale(f.cluster, cfg)
			e.DryRun = true
			ds, err := e.Step(cmd.Context())
			if err != nil {
				return err
			}
			saving := 0.0
			for _, d := range ds {
				saving += d.Saving
				p.Data("decision", decisionText(&d), map[string]any{"decision": d.Kind, "group": d.Group, "from": d.From, "to": d.To, "instance": d.EC2ID, "usd_per_hour": d.Saving, "reasons": d.Reasons})
			}
			p.Data("plan", fmt.Sprintf("saves %.4f USD an hour (%.2f USD in 730 h)", saving, saving*730), map[string]any{"cluster": f.cluster, "usd_per_hour": saving})
			ws, err := e.Warnings(cmd.Context())
			if err != nil {
				p.Fail("warnings: not known: %v", err) // the plan stands without
				return nil
			}
			tellWarnings(p, ws)
			return nil
		},
	}
	f.add(cmd)
	budgets.add(cmd.Flags())
	cmd.Flags().IntVar(&cfg.Headroom, "headroom", cfg.Headroom, "percent of what is used that must stay free after a removal")
	cmd.Flags().IntVar(&cfg.Reserve, "reserve", cfg.Reserve, "percent of each service's tasks for which a place is kept free")
	cmd.Flags().BoolVar(&cfg.NoReplace, "no-replace", false, "never launch a cheaper instance to stand for others")
	return cmd
}

func decisionText(d *autoscale.Decision) string {
	why := strings.Join(d.Reasons, "\n     ")
	switch d.Kind {
	case autoscale.Grow:
		return fmt.Sprintf("grow    %s from %d to %d: %s", d.Group, d.From, d.To, why)
	case autoscale.Shrink:
		return fmt.Sprintf("remove  %s of %s: %s", d.EC2ID, d.Group, why)
	case autoscale.Blocked:
		return "blocked " + why
	case autoscale.Hold:
		if why == "" {
			why = "the size is right"
		}
		return "hold    " + why
	}
	return string(d.Kind)
}
