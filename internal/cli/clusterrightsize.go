package cli

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/capacity"
	"github.com/slipway-ecs/slipway/internal/rightsize"
)

// sized is a container and what it should reserve.
type sized struct {
	service   awscloud.ServiceUsage
	container awscloud.ContainerUsage
	r         rightsize.Recommendation
	saving    float64 // USD an hour
}

func newClusterRightsizeCommand() *cobra.Command {
	var f clusterFlags
	var since time.Duration
	var service, file string
	var patch, apply bool
	policy := rightsize.DefaultPolicy()
	var history float64
	cmd := &cobra.Command{
		Use:   "rightsize [CLUSTER]",
		Short: "Say what services should reserve, from what they used, and what that saves",
		Long: `Reads what each service used from CloudWatch, weighs recent use more (half-life of a day; memory by
daily peaks over eight days), and says what each container should reserve: the 90th percentile and a
margin, more after it was killed for memory, never more than half less in one step.

USD are at the planner's prices of a CPU unit and a MiB on the cheapest instances; they become real
when the controller, or whoever sizes the groups, needs fewer instances.

  --patch  print what to write into slipway.yaml instead of the table; with --file it is written there,
           every comment kept, for the services of that file
  --apply  register and deploy new task definitions now; Terraform will want to undo that
           until slipway.yaml says the same`,
		Args: cobra.MaximumNArgs(1),
		Example: `  slipway cluster rightsize demo
  slipway cluster rightsize demo --service web-prod --patch
  slipway cluster rightsize demo --patch --file services/shop/slipway.yaml
  slipway cluster rightsize demo --service web-qa --apply`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				f.cluster = args[0]
			}
			if since < time.Hour || policy.Margin < 0 || policy.MaxCut < 0 || policy.MaxCut > 1 || history < 0 {
				return badInput("--since must be an hour or more, --margin and --history not below 0, --max-cut from 0 to 1")
			}
			if file != "" && !patch {
				return badInput("--file is what --patch changes: give both")
			}
			policy.MinConfidence = history
			cloud, p, err := f.open(cmd)
			if err != nil {
				return err
			}
			used, err := cloud.Usage(cmd.Context(), f.cluster, since)
			if err != nil {
				return err
			}
			if service != "" {
				used = slices.DeleteFunc(used, func(u awscloud.ServiceUsage) bool { return u.Service != service })
				if len(used) == 0 {
					return badInput("cluster %s has no service %s", f.cluster, service)
				}
			}
			all := sizeAll(used, policy)
			switch {
			case patch && file != "":
				return patchFile(p, file, f.cluster, all)
			case patch:
				printPatch(p, all)
			case f.asJSON:
				for k := range all {
					p.Data("container", "", all[k].json())
				}
				fit := fitOf(all)
				p.Data("cluster", "", map[string]any{"cpu": fit.HasCPU, "cpu_target": fit.WillCPU, "cpu_p95": fit.UsedCPU, "memory": fit.HasMemory, "memory_target": fit.WillMemory, "memory_p95": fit.UsedMemory, "says": fit.Sentences()})
			default:
				printSizes(cmd, all)
			}
			if !apply {
				return nil
			}
			for _, u := range used {
				to := map[string]rightsize.Reservation{}
				for k := range all {
					if all[k].service.Service == u.Service && all[k].r.Action == rightsize.Change {
						to[all[k].container.Name] = all[k].r.Target
					}
				}
				if len(to) == 0 {
					continue
				}
				if err := cloud.Resize(cmd.Context(), f.cluster, u, to); err != nil {
					return err
				}
				p.Done("%s is deployed with its new reservations", u.Service)
			}
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().DurationVar(&since, "since", 14*24*time.Hour, "how far to look back")
	cmd.Flags().StringVar(&service, "service", "", "only this service")
	cmd.Flags().BoolVar(&patch, "patch", false, "print what to write into slipway.yaml")
	cmd.Flags().StringVarP(&file, "file", "f", "", "with --patch: the slipway.yaml to change")
	cmd.Flags().BoolVar(&apply, "apply", false, "deploy the new reservations now")
	cmd.Flags().Float64Var(&policy.Margin, "margin", policy.Margin, "part on top of what is used")
	cmd.Flags().Float64Var(&policy.MaxCut, "max-cut", policy.MaxCut, "largest part a reservation shrinks by in one step")
	cmd.Flags().Float64Var(&history, "history", policy.MinConfidence, "days of samples before anything is recommended")
	cmd.Flags().Float64Var(&policy.MinCPU, "min-cpu", policy.MinCPU, "CPU units never to go below")
	cmd.Flags().Float64Var(&policy.MinMemory, "min-memory", policy.MinMemory, "MiB never to go below")
	cmd.MarkFlagsMutuallyExclusive("patch", "apply")
	return cmd
}

// sizeAll recommends for every container and prices the change by the planner's dual prices for the mix.
func sizeAll(used []awscloud.ServiceUsage, policy rightsize.Policy) []sized {
	req := capacity.Request{}
	for _, t := range capacity.Types() {
		if t.Arch == "amd64" && (t.InFamily("m") || t.InFamily("c") || t.InFamily("r")) && t.VCPU <= 16 {
			req.Offers = append(req.Offers, capacity.Offer{Type: t})
		}
	}
	for _, u := range used {
		task := capacity.Task{Name: u.Service, Count: u.Tasks}
		for _, c := range u.Containers {
			task.CPU, task.Memory = task.CPU+c.Has.CPU, task.Memory+c.Has.Memory
		}
		if u.Tasks > 0 {
			req.Tasks = append(req.Tasks, task)
		}
	}
	prices := capacity.Plan(&req).Bound.Prices
	var out []sized
	for _, u := range used {
		for _, c := range u.Containers {
			s := sized{service: u, container: c, r: rightsize.Recommend(c.Usage, c.Has, policy)}
			if s.r.Action == rightsize.Change {
				s.saving = rightsize.Saving(c.Has, s.r.Target, u.Tasks, prices[0], prices[1])
			}
			out = append(out, s)
		}
	}
	return out
}

// fitOf is how near the cluster's reservation is to its use.
func fitOf(all []sized) *rightsize.Fit {
	f := &rightsize.Fit{}
	for k := range all {
		s := &all[k]
		f.Add(s.container.Usage, s.container.Has, &s.r, s.service.Tasks)
	}
	return f
}

func (s *sized) json() map[string]any {
	return map[string]any{"service": s.service.Service, "container": s.container.Name, "tasks": s.service.Tasks, "action": s.r.Action, "days": s.r.Confidence,
		"has": reservationJSON(s.container.Has), "target": reservationJSON(s.r.Target), "lower": reservationJSON(s.r.Lower), "upper": reservationJSON(s.r.Upper), "usd_per_hour": round6(s.saving), "reasons": s.r.Reasons}
}

func reservationJSON(r rightsize.Reservation) map[string]any {
	return map[string]any{"cpu": r.CPU, "memory": r.Memory, "memory_limit": r.MemoryLimit}
}

func printSizes(cmd *cobra.Command, all []sized) {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SERVICE\tCONTAINER\tTASKS\tCPU\tMEMORY\tLIMIT\tUSD/MONTH\tDAYS\tWHY")
	sum := 0.0
	for k := range all {
		s := &all[k]
		cpu, memory, limit := fmt.Sprint(s.container.Has.CPU), fmt.Sprint(s.container.Has.Memory), fmt.Sprint(s.container.Has.MemoryLimit)
		if s.r.Action == rightsize.Change {
			cpu += fmt.Sprintf(" → %d", s.r.Target.CPU)
			memory += fmt.Sprintf(" → %d", s.r.Target.Memory)
			limit += fmt.Sprintf(" → %d", s.r.Target.MemoryLimit)
		}
		why := s.r.Reasons
		if s.r.Action == rightsize.Wait && len(why) > 1 {
			why = why[len(why)-1:] // the rest is of a recommendation that is not made
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%.2f\t%.1f\t%s\n", s.service.Service, s.container.Name, s.service.Tasks, cpu, memory, limit, 0-s.saving*730, s.r.Confidence, strings.Join(why, " "))
		sum += s.saving
	}
	_ = w.Flush() // what it writes to has failed before, or never does
	fmt.Fprintf(cmd.OutOrStdout(), "\nsaves %.2f USD a month\n", sum*730)
	for _, s := range fitOf(all).Sentences() {
		fmt.Fprintln(cmd.OutOrStdout(), s)
	}
}

// printPatch prints the parts of slipway.yaml that change, by service.
func printPatch(p *printer, all []sized) {
	last := ""
	for k := range all {
		s := &all[k]
		if s.r.Action != rightsize.Change {
			continue
		}
		name, env, _ := cutLast(s.service.Service, "-")
		if s.service.Service != last {
			last = s.service.Service
			p.Data("patch", fmt.Sprintf("# slipway.yaml of %s\nenvironments:\n  %s:", name, env), map[string]any{"service": name, "environment": env})
		}
		t, where := s.r.Target, "container: "
		if !s.container.Essential || s.container.Name != name && len(s.service.Containers) > 1 {
			where = "sidecars: { " + s.container.Name + ": "
		}
		line := fmt.Sprintf("    %s{ cpu: %d, memory: %d, memory_reservation: %d }", where, t.CPU, t.MemoryLimit, t.Memory)
		if strings.HasPrefix(where, "sidecars") {
			line += " }"
		}
		p.Data("patch", line, s.json())
	}
	if last == "" {
		p.Line("nothing to change")
	}
}

func cutLast(s, sep string) (before, after string, ok bool) {
	if k := strings.LastIndex(s, sep); k >= 0 {
		return s[:k], s[k+len(sep):], true
	}
	return s, "prod", false
}
