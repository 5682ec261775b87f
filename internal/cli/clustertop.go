package cli

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/lipgloss"
	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/autoscale"
	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/drain"
	"github.com/slipway-ecs/slipway/internal/rotate"
)

func newClusterTopCommand() *cobra.Command {
	var f clusterFlags
	var every time.Duration
	var once bool
	cmd := &cobra.Command{
		Use:   "top [CLUSTER]",
		Short: "Watch instances as bars of the tasks packed on them",
		Long: `Shows each instance as a bar of its CPU and one of its memory, filled with the tasks that reserve it,
a letter a service; what drains and what is rotated; and what that waits for. It is live on a terminal
(q ends it) and printed once into a pipe or with --once.`,
		Args:    cobra.MaximumNArgs(1),
		Example: "  slipway cluster top demo\n  slipway cluster top demo --once",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				f.cluster = args[0]
			}
			if every <= 0 {
				return badInput("--interval must be above 0")
			}
			cloud, p, err := f.open(cmd)
			if err != nil {
				return err
			}
			warn := warningsOf(cloud, f.cluster)
			look := func(ctx context.Context) (*topView, error) {
				v, err := lookTop(ctx, cloud, f.cluster)
				if err == nil {
					v.warnings, v.unwarned = warn(ctx, v.at)
				}
				return v, err
			}
			if f.asJSON {
				v, err := look(cmd.Context())
				if err != nil {
					return err
				}
				p.Data("top", "", v.json())
				return nil
			}
			out, live := cmd.OutOrStdout().(*os.File)
			if live = live && isatty.IsTerminal(out.Fd()) && os.Getenv("TERM") != "dumb"; once || !live {
				v, err := look(cmd.Context())
				if err != nil {
					return err
				}
				fmt.Fprint(cmd.OutOrStdout(), v.render(100, 0, false))
				return nil
			}
			return watchTop(cmd.Context(), cmd.InOrStdin(), out, every, look)
		},
	}
	f.add(cmd)
	cmd.Flags().DurationVar(&every, "interval", 2*time.Second, "time between two looks")
	cmd.Flags().BoolVar(&once, "once", false, "print it once")
	return cmd
}

// topView is what is shown.
type topView struct {
	cluster   string
	at        time.Time
	instances []drain.Instance
	services  []drain.Service
	drains    []drain.Drain
	rotations []rotate.Plan
	warnings  []autoscale.Warning
	unwarned  error // they could not be read
}

// warningsOf looks for warnings once a minute: they change slowly and take several calls.
func warningsOf(cloud *awscloud.Cloud, cluster string) func(context.Context, time.Time) ([]autoscale.Warning, error) {
	e := cloud.Autoscale(cluster, autoscale.Defaults())
	var at time.Time
	var last []autoscale.Warning
	return func(ctx context.Context, now time.Time) ([]autoscale.Warning, error) {
		if !at.IsZero() && now.Sub(at) < time.Minute {
			return last, nil
		}
		ws, err := e.Warnings(ctx)
		if err == nil {
			at, last = now, ws
		}
		return ws, err
	}
}

func lookTop(ctx context.Context, cloud *awscloud.Cloud, cluster string) (*topView, error) {
	e := cloud.Drain(cluster, drainDefaults)
	s, plan, err := e.Look(ctx)
	if err != nil {
		return nil, err
	}
	v := &topView{cluster: cluster, at: e.Clock.Now(), instances: s.Instances, drains: plan.Drains}
	for _, svc := range s.Services {
		v.services = append(v.services, svc)
	}
	slices.SortFunc(v.services, func(a, b drain.Service) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(v.instances, func(a, b drain.Instance) int {
		return strings.Compare(a.AZ+a.Type+a.EC2ID, b.AZ+b.Type+b.EC2ID)
	})
	v.rotations, err = cloud.Rotate(cluster).Look(ctx)
	return v, err
}

func (v *topView) json() map[string]any {
	var hosts []map[string]any
	for k := range v.instances {
		i := &v.instances[k]
		hosts = append(hosts, map[string]any{"id": i.EC2ID, "zone": i.AZ, "type": i.Type, "status": i.Status, "cpu": i.Registered.CPU, "cpu_used": i.Used.CPU, "memory": i.Registered.Memory, "memory_used": i.Used.Memory, "tasks": i.Groups})
	}
	warnings := make([]map[string]any, 0, len(v.warnings))
	for _, w := range v.warnings {
		warnings = append(warnings, warningJSON(w))
	}
	return map[string]any{"cluster": v.cluster, "instances": hosts, "draining": len(v.drains), "rotations": len(v.rotations), "warnings": warnings}
}

// palette is of the services, in the order of their names.
var palette = []string{"39", "208", "76", "170", "220", "45", "203", "141", "112", "214", "63", "180"}

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// render is the view as text, for a width and height in cells; height 0: as long as it is.
func (v *topView) render(width, height int, colour bool) string {
	mark := map[string]int{}
	for _, s := range v.services {
		mark["service:"+s.Name] = len(mark)
	}
	for k := range v.instances {
		for n := range v.instances[k].Tasks {
			if g := v.instances[k].Tasks[n].Group; g != "" {
				if _, ok := mark[g]; !ok {
					mark[g] = len(mark)
				}
			}
		}
	}
	paint := func(group, text string) string {
		if !colour {
			return text
		}
		return lipgloss.NewStyle().Foreground(lipgloss.Color(palette[mark[group]%len(palette)])).Render(text)
	}
	var b strings.Builder
	var used, all struct{ cpu, memory int }
	for k := range v.instances {
		i := &v.instances[k]
		used.cpu, used.memory = used.cpu+i.Used.CPU, used.memory+i.Used.Memory
		all.cpu, all.memory = all.cpu+i.Registered.CPU, all.memory+i.Registered.Memory
	}
	head := fmt.Sprintf("%s  %s  %d instances  cpu %s  mem %s", v.cluster, v.at.UTC().Format(time.TimeOnly), len(v.instances), bar(used.cpu, all.cpu), bar(used.memory, all.memory))
	if colour {
		head = lipgloss.NewStyle().Bold(true).Render(head)
	}
	fmt.Fprintln(&b, head)
	for _, s := range v.services {
		g := "service:" + s.Name
		fmt.Fprintf(&b, "  %s %s %d/%d", paint(g, string(letters[mark[g]%len(letters)])), s.Name, s.Running, s.Desired)
	}
	fmt.Fprint(&b, "\n\n")
	cells := max((width-46)/2, 8)
	rows := 0
	for k := range v.instances {
		if rows++; height > 0 && rows > height-6-len(v.drains)-len(v.rotations)-2*len(v.warnings) {
			fmt.Fprintf(&b, "… %d more\n", len(v.instances)-k)
			break
		}
		i := &v.instances[k]
		state := i.Status
		if i.Mark != nil && state == "ACTIVE" {
			state = "MARKED"
		}
		fmt.Fprintf(&b, "%-19s %-11s %-8s ▕%s▏▕%s▏\n", i.EC2ID, i.Type, state, packed(i, cells, func(t *drain.Task) int { return t.Need.CPU }, i.Registered.CPU, mark, paint), packed(i, cells, func(t *drain.Task) int { return t.Need.Memory }, i.Registered.Memory, mark, paint))
	}
	for _, r := range v.rotations {
		fmt.Fprintf(&b, "\nrotation of %s: %d of %d, %d draining, %s", r.Group, r.Done, r.Total, r.Draining, r.Phase)
		for _, w := range r.Waits {
			fmt.Fprintf(&b, "\n  %s", w)
		}
	}
	for _, d := range v.drains {
		fmt.Fprintf(&b, "\n%s drains: %d tasks left", d.EC2ID, d.Left)
		if len(d.Waits) > 0 {
			fmt.Fprintf(&b, "; %s", d.Waits[0].Sentence)
		}
	}
	for _, w := range v.warnings {
		fmt.Fprintf(&b, "\n! %s\n  → %s", w.Says, w.Do)
	}
	if v.unwarned != nil {
		fmt.Fprintf(&b, "\n! who else scales is not known: %v", v.unwarned)
	}
	b.WriteByte('\n')
	return b.String()
}

// packed is a bar of the instance's tasks: as many cells of its letter as its share of the whole.
func packed(i *drain.Instance, cells int, size func(*drain.Task) int, whole int, mark map[string]int, paint func(group, text string) string) string {
	if whole <= 0 {
		return strings.Repeat("·", cells)
	}
	tasks := make([]*drain.Task, 0, len(i.Tasks))
	for k := range i.Tasks {
		tasks = append(tasks, &i.Tasks[k])
	}
	slices.SortStableFunc(tasks, func(a, b *drain.Task) int { return mark[a.Group] - mark[b.Group] })
	var b strings.Builder
	at, sum := 0, 0
	for _, t := range tasks {
		sum += size(t)
		to := min((sum*cells+whole/2)/whole, cells)
		if to > at {
			cell := string(letters[mark[t.Group]%len(letters)])
			if t.DesiredStatus == "STOPPED" {
				cell = "░"
			}
			b.WriteString(paint(t.Group, strings.Repeat(cell, to-at)))
			at = to
		}
	}
	return b.String() + strings.Repeat("·", cells-at)
}
