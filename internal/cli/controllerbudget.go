package cli

import (
	"strings"
	"time"
	_ "time/tzdata" // budgets name time zones, and the images controllers run in have none

	"github.com/spf13/pflag"

	"github.com/slipway-ecs/slipway/internal/autoscale"
	"github.com/slipway-ecs/slipway/internal/capacity"
)

// budgetHelp is what commands with budgets say of them.
const budgetHelp = `--budget limits how many instances with tasks may be on their way out at a time: a number or a part of all,
and, if it does not hold always, the days, hours and time zone (IANA; without one UTC) in which it does. It
may be given again; of the rules in force the strictest holds. Without one that holds always a tenth of the
instances may go, but two. Hours are by the wall clock of the zone, also on days when clocks are changed,
and may go past midnight. --service-budget NAME=… is the same of a service's tasks. Instances without tasks
go at any time; what AWS takes back, a group terminates or people drain is limited by no budget. A rotation
goes by the rules that are given, in each group, beside its surge.`

// budgetFlags are rules of disruption as they are given.
type budgetFlags struct{ all, services []string }

func (b *budgetFlags) add(f *pflag.FlagSet) {
	f.StringArrayVar(&b.all, "budget", nil, "how many instances with tasks may go at a time: 2, 10%, or '0 mon-fri 08:00-18:00 Europe/Berlin'; repeatable")
	f.StringArrayVar(&b.services, "service-budget", nil, "how many tasks of a service may move at a time: NAME=1, or 'NAME=0 sat,sun'; repeatable")
}

// instanceBudgets reads rules about instances.
func instanceBudgets(texts []string) (out []capacity.Disruption, err error) {
	for _, text := range texts {
		d, err := capacity.ParseDisruption(text, time.LoadLocation)
		if err != nil {
			return nil, badInput("--budget: %v", err)
		}
		out = append(out, d)
	}
	return out, nil
}

// read checks the rules and sets them.
func (b *budgetFlags) read(cfg *autoscale.Config) (err error) {
	if cfg.Budgets, err = instanceBudgets(b.all); err != nil {
		return err
	}
	for _, text := range b.services {
		name, rule, ok := strings.Cut(text, "=")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return badInput("--service-budget %q names no service: write NAME=1 or 'NAME=10%% mon-fri'", text)
		}
		d, err := capacity.ParseDisruption(rule, time.LoadLocation)
		if err != nil {
			return badInput("--service-budget of %s: %v", name, err)
		}
		if cfg.ServiceBudgets == nil {
			cfg.ServiceBudgets = map[string][]capacity.Disruption{}
		}
		cfg.ServiceBudgets[name] = append(cfg.ServiceBudgets[name], d)
	}
	return nil
}
