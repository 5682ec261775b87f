package cli

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/capacity"
)

func newCapacityCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "capacity",
		Short: "Size a cluster: which instances to buy for which tasks",
	}
	cmd.AddCommand(newCapacityPlanCommand())
	return cmd
}

// capacityFlags is what 'capacity plan' is asked.
type capacityFlags struct {
	tasks, types, existing   string
	maxVCPU                  int
	families, arch, zones    string
	daemonCPU, daemonMemory  int
	headroom                 float64
	spread, zoneLoss, asJSON bool
}

func newCapacityPlanCommand() *cobra.Command {
	var o capacityFlags
	cmd := &cobra.Command{
		Use:   "plan --tasks tasks.csv",
		Short: "Plan the cheapest set of EC2 instances for a list of tasks, offline",
		Long: `Packs tasks on EC2 instances and tells which to buy, what they cost, and how far
that is from the fractional optimum, below which no set of instances can be.

Files are CSV with a header line; "-" reads standard input.

  tasks     name,cpu_milli,memory_mib[,service,count,gpu]
            cpu_milli: 1000 is one vCPU, 1024 ECS CPU units. count defaults to 1.
  types     type,vcpu,memory_mib,usd_per_hour_on_demand[,arch,gpus,max_enis,…]
            Without --types: the built-in table, us-east-1 on demand of ` + capacity.TypesDate + `.
  existing  type[,id,zone,count,cpu_used_milli,memory_used_mib,gpu_used]
            Instances the cluster has. Their free room is used first and costs nothing more.
            Also taken as names of columns: instance_type, instance_id, az, availability_zone.

--families takes the first letters of types, or whole families: m is m5, m6i, m7a …
(letters, then a digit: not mac), m6 is m6a, m6i, m6id …, m6i is m6i alone.

What fits on an instance is what the ECS agent registers: vCPU x 1024 CPU units, and the
memory less the kernel's and agent's share (about 3.5 % and 64 MiB). The lower bound is
computed from the same capacities, so the ratio measures the packing alone. GPU instances are
bought only for tasks that ask for GPUs.

With --json the keys are tasks (placed), nodes (to launch), cost_per_hour (of those),
lower_bound_per_hour (for what existing instances have no room for), ratio (cost divided by
bound; null if only the bound is 0), elapsed_ms, instances and unplaced.`,
		Example: `  slipway capacity plan --tasks tasks.csv
  slipway capacity plan --tasks tasks.csv --families m,c,r --arch amd64 --max-vcpu 16 --json
  slipway capacity plan --tasks tasks.csv --existing instances.csv --headroom 10
  printf 'name,cpu_milli,memory_mib,count\nweb,500,1024,40\n' | slipway capacity plan --tasks -`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runCapacityPlan(cmd.InOrStdin(), cmd.OutOrStdout(), &o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.tasks, "tasks", "", "tasks that are wanted (CSV)")
	f.StringVar(&o.types, "types", "", "instance types on offer (CSV); default: the built-in table")
	f.StringVar(&o.existing, "existing", "", "instances the cluster has (CSV)")
	f.IntVar(&o.maxVCPU, "max-vcpu", 0, "largest number of vCPUs of a type; 0: any")
	f.StringVar(&o.families, "families", "", "families of types, as m,c,r or m6i,c7 (default m,c,r,g,p, or all of --types)")
	f.StringVar(&o.arch, "arch", "amd64", "processor architecture: amd64, arm64 or any")
	f.StringVar(&o.zones, "zones", "us-east-1a,us-east-1b,us-east-1c", "zones to balance the instances over")
	f.IntVar(&o.daemonCPU, "daemon-cpu-milli", 0, "CPU that daemons take on every instance, 1000 is one vCPU")
	f.IntVar(&o.daemonMemory, "daemon-memory-mib", 0, "memory that daemons take on every instance")
	f.Float64Var(&o.headroom, "headroom", 0, "room to keep free, in percent of the tasks")
	f.BoolVar(&o.zoneLoss, "zone-loss", false, "keep room so that the tasks of any one zone find places in the others")
	f.BoolVar(&o.spread, "spread", false, "balance each service's tasks over the zones")
	f.BoolVar(&o.asJSON, "json", false, "print JSON")
	return cmd
}

func runCapacityPlan(in io.Reader, out io.Writer, o *capacityFlags) error {
	req, err := capacityRequest(in, o)
	if err != nil {
		return err
	}
	start := time.Now()
	result := capacity.Plan(req)
	elapsed := time.Since(start)
	if o.asJSON {
		return writeJSON(out, capacityJSON(req, &result, elapsed))
	}
	return printCapacityPlan(out, req, &result, elapsed)
}

func capacityRequest(in io.Reader, o *capacityFlags) (*capacity.Request, error) {
	if o.tasks == "" {
		return nil, badInput("--tasks is required: a CSV file with the columns name,cpu_milli,memory_mib[,service,count,gpu]")
	}
	if o.arch != "amd64" && o.arch != "arm64" && o.arch != "any" {
		return nil, badInput("--arch %q is none of amd64, arm64 and any", o.arch)
	}
	if o.maxVCPU < 0 || o.headroom < 0 || o.headroom > 1000 || o.daemonCPU < 0 || o.daemonMemory < 0 {
		return nil, badInput("--max-vcpu, --headroom (up to 1000), --daemon-cpu-milli and --daemon-memory-mib must not be negative")
	}
	types := capacity.Types()
	if o.types != "" {
		data, err := readCSVInput(in, o.types)
		if err != nil {
			return nil, err
		}
		if types, err = capacity.ParseTypes(string(data)); err != nil {
			return nil, badInput("%s:%w", o.types, err)
		}
	}
	req := &capacity.Request{
		Zones:    splitList(o.zones),
		Overhead: capacity.Resources{CPU: cpuUnits(o.daemonCPU), Memory: o.daemonMemory},
		Headroom: capacity.Headroom{Percent: o.headroom, ZoneLoss: o.zoneLoss},
	}
	families := splitList(o.families)
	if len(families) == 0 && o.types == "" {
		families = []string{"m", "c", "r", "g", "p"} // not burstable, nor with special hardware
	}
	used := make([]bool, len(families))
	for _, t := range types {
		if o.arch != "any" && t.Arch != o.arch || o.maxVCPU > 0 && t.VCPU > o.maxVCPU {
			continue
		}
		k := slices.IndexFunc(families, t.InFamily)
		if k < 0 && len(families) > 0 {
			continue
		}
		for i, f := range families {
			used[i] = used[i] || t.InFamily(f)
		}
		req.Offers = append(req.Offers, capacity.Offer{Type: t})
	}
	for i, f := range families {
		if !used[i] && o.families != "" {
			return nil, badInput("--families: no type of family %q is on offer with these limits", f)
		}
	}
	if len(req.Offers) == 0 {
		return nil, badInput("no instance type is on offer: --arch %s and --max-vcpu %d leave none", o.arch, o.maxVCPU)
	}
	data, err := readCSVInput(in, o.tasks)
	if err != nil {
		return nil, err
	}
	if req.Tasks, err = parseTasks(o.tasks, string(data), o.spread); err != nil {
		return nil, err
	}
	if o.existing != "" {
		if data, err = readCSVInput(in, o.existing); err != nil {
			return nil, err
		}
		if req.Existing, err = parseExisting(o.existing, string(data), types); err != nil {
			return nil, err
		}
	}
	return req, nil
}

func readCSVInput(in io.Reader, file string) ([]byte, error) {
	if file == "-" {
		data, err := io.ReadAll(in)
		if err != nil {
			return nil, fmt.Errorf("reading standard input: %w", err)
		}
		return data, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, exitWith(ExitBadInput, err)
	}
	return data, nil
}

func splitList(s string) []string {
	var out []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// cpuUnits is ECS CPU units for thousandths of a vCPU, rounded up so that the task surely fits.
func cpuUnits(milli int) int { return (milli*1024 + 999) / 1000 }

// csvTable reads a CSV file with a header line, by the names of the columns. Errors name file, line
// and column, from 1.
type csvTable struct {
	file   string
	r      *csv.Reader
	column map[string]int
	record []string
}

// aliases are other names of columns, as AWS's own tools write them.
var aliases = map[string]string{
	"instance_type": "type", "instance_id": "id", "az": "zone", "availability_zone": "zone", "used_cpu_milli": "cpu_used_milli", "used_memory_mib": "memory_used_mib",
	"gpus": "gpu",
}

// newCSVTable reads the header. Columns not named in required or optional are refused: a misspelt
// one would otherwise be ignored silently.
func newCSVTable(file, text string, required, optional []string) (*csvTable, error) {
	t := &csvTable{file: file, r: csv.NewReader(strings.NewReader(strings.TrimPrefix(text, "\ufeff"))), column: map[string]int{}}
	t.r.ReuseRecord = true
	t.r.TrimLeadingSpace = true
	header, err := t.r.Read()
	if errors.Is(err, io.EOF) {
		return nil, badInput("%s:1:1: the file is empty; the first line names the columns %s", file, strings.Join(required, ","))
	}
	if err != nil {
		return nil, t.bad(err)
	}
	for i, name := range header {
		line, col := t.r.FieldPos(i)
		name = strings.ToLower(strings.TrimSpace(name))
		if other, ok := aliases[name]; ok && slices.Contains(append(slices.Clone(required), optional...), other) {
			name = other
		}
		if !slices.Contains(required, name) && !slices.Contains(optional, name) {
			return nil, badInput("%s:%d:%d: unknown column %q; known are %s", file, line, col, name, strings.Join(append(slices.Clone(required), optional...), ", "))
		}
		if _, twice := t.column[name]; twice {
			return nil, badInput("%s:%d:%d: column %q is there twice", file, line, col, name)
		}
		t.column[name] = i
	}
	for _, name := range required {
		if _, ok := t.column[name]; !ok {
			return nil, badInput("%s:1:1: column %q is missing; the first line must name %s", file, name, strings.Join(required, ","))
		}
	}
	return t, nil
}

func (t *csvTable) bad(err error) error {
	var p *csv.ParseError
	if errors.As(err, &p) {
		if errors.Is(p.Err, csv.ErrFieldCount) {
			return badInput("%s:%d:%d: %d fields, the header has %d", t.file, p.Line, p.Column, len(t.record), len(t.column))
		}
		return badInput("%s:%d:%d: %w", t.file, p.Line, p.Column, p.Err)
	}
	return fmt.Errorf("reading %s: %w", t.file, err)
}

func (t *csvTable) next() (bool, error) {
	var err error
	t.record, err = t.r.Read()
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	if err != nil {
		return false, t.bad(err)
	}
	return true, nil
}

func (t *csvTable) text(name string) string {
	if i, ok := t.column[name]; ok {
		return strings.TrimSpace(t.record[i])
	}
	return ""
}

func (t *csvTable) fail(name, format string, args ...any) error {
	line, col := t.r.FieldPos(t.column[name]) // of a column that is not there: the line's first
	return badInput("%s:%d:%d: %s: %s", t.file, line, col, name, fmt.Sprintf(format, args...))
}

// number is a whole number in the column, from least; empty or no column is what is given.
func (t *csvTable) number(name string, least, missing int) (int, error) {
	s := t.text(name)
	if _, ok := t.column[name]; !ok || s == "" && missing >= least {
		return missing, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		f, ferr := strconv.ParseFloat(s, 64)
		if ferr != nil || f != math.Trunc(f) || math.Abs(f) > 1e9 {
			return 0, t.fail(name, "%q is not a whole number", s)
		}
		n = int(f)
	}
	if n < least || n > 1e9 {
		return 0, t.fail(name, "%d is out of range: %d to 1000000000", n, least)
	}
	return n, nil
}

// mostTasks is how many tasks one plan is for: about ten seconds and 4 GB.
const mostTasks = 10_000_000

// mostInstances is how many instances a cluster of a plan may have.
const mostInstances = 1_000_000

func parseTasks(file, text string, spread bool) ([]capacity.Task, error) {
	t, err := newCSVTable(file, text, []string{"name", "cpu_milli", "memory_mib"}, []string{"service", "count", "gpu"})
	if err != nil {
		return nil, err
	}
	var tasks []capacity.Task
	total := 0
	for {
		ok, err := t.next()
		if err != nil {
			return nil, err
		}
		if !ok {
			return tasks, nil
		}
		// Cloned: the record's memory is one string for the whole line.
		task := capacity.Task{Name: strings.Clone(t.text("name")), Service: strings.Clone(t.text("service")), Spread: spread}
		if task.Name == "" {
			return nil, t.fail("name", "is empty")
		}
		milli, err := t.number("cpu_milli", 0, -1)
		if err != nil {
			return nil, err
		}
		task.CPU = cpuUnits(milli)
		if task.Memory, err = t.number("memory_mib", 1, -1); err != nil {
			return nil, err
		}
		count, err := t.number("count", 0, 1)
		if err != nil {
			return nil, err
		}
		if task.GPU, err = t.number("gpu", 0, 0); err != nil {
			return nil, err
		}
		if task.Service == "" {
			task.Service = task.Name
		}
		if total += count; total > mostTasks {
			return nil, t.fail("count", "%d tasks up to here, %d are the most", total, mostTasks)
		}
		if count == 0 {
			continue
		}
		task.Count = count
		tasks = append(tasks, task)
	}
}

func parseExisting(file, text string, types []capacity.Type) ([]capacity.Instance, error) {
	t, err := newCSVTable(file, text, []string{"type"}, []string{"id", "zone", "count", "cpu_used_milli", "memory_used_mib", "gpu_used"})
	if err != nil {
		return nil, err
	}
	seen, total := map[string]bool{}, 0
	byName := map[string]capacity.Type{}
	for _, x := range types {
		byName[x.Name] = x
	}
	var out []capacity.Instance
	for {
		ok, err := t.next()
		if err != nil {
			return nil, err
		}
		if !ok {
			return out, nil
		}
		x, known := byName[t.text("type")]
		if !known {
			if x, known = capacity.TypeByName(t.text("type")); !known {
				return nil, t.fail("type", "%q is not a known instance type", t.text("type"))
			}
		}
		in := capacity.Instance{Capacity: x.Capacity(false), Price: x.PriceHour}
		in.ID, in.Type, in.Zone = strings.Clone(t.text("id")), x, strings.Clone(t.text("zone"))
		if in.ID != "" && seen[in.ID] {
			return nil, t.fail("id", "%q is there twice", in.ID)
		}
		seen[in.ID] = true
		count, err := t.number("count", 0, 1)
		if err != nil {
			return nil, err
		}
		if total += count; total > mostInstances {
			return nil, t.fail("count", "%d instances up to here, %d are the most", total, mostInstances)
		}
		milli, err := t.number("cpu_used_milli", 0, 0)
		if err != nil {
			return nil, err
		}
		in.Used.CPU = cpuUnits(milli)
		if in.Used.Memory, err = t.number("memory_used_mib", 0, 0); err != nil {
			return nil, err
		}
		if in.Used.GPU, err = t.number("gpu_used", 0, 0); err != nil {
			return nil, err
		}
		for n := range count {
			one := in
			if count > 1 && in.ID != "" {
				one.ID = fmt.Sprintf("%s-%d", in.ID, n+1)
			}
			out = append(out, one)
		}
	}
}

// capacityPlanJSON is the JSON form of a plan. Scripts read it: its keys are fixed.
type capacityPlanJSON struct {
	Tasks      int                    `json:"tasks"`
	Nodes      int                    `json:"nodes"`
	Cost       float64                `json:"cost_per_hour"`
	LowerBound float64                `json:"lower_bound_per_hour"`
	Ratio      *float64               `json:"ratio"`
	ElapsedMS  float64                `json:"elapsed_ms"`
	Instances  []capacityInstanceJSON `json:"instances"`
	Unplaced   []capacityUnplacedJSON `json:"unplaced"`
}

type capacityInstanceJSON struct {
	Type  string `json:"type"`
	Zone  string `json:"zone"`
	Count int    `json:"count"`
}

type capacityUnplacedJSON struct {
	Name    string `json:"name"`
	Service string `json:"service,omitempty"`
	Count   int    `json:"count"`
	Reason  string `json:"reason"`
}

func capacityJSON(req *capacity.Request, r *capacity.Result, elapsed time.Duration) capacityPlanJSON {
	out := capacityPlanJSON{
		Tasks: r.Tasks, Nodes: len(r.Launch), Cost: round6(r.Cost), LowerBound: round6(r.Bound.Cost),
		ElapsedMS: float64(elapsed.Microseconds()) / 1000, Instances: []capacityInstanceJSON{}, Unplaced: []capacityUnplacedJSON{},
	}
	if ratio := r.Ratio(); !math.IsInf(ratio, 0) {
		ratio = round6(ratio)
		out.Ratio = &ratio
	}
	for _, g := range r.Groups() {
		out.Instances = append(out.Instances, capacityInstanceJSON{g.Type, g.Zone, g.Count})
	}
	for _, u := range r.Unplaced {
		t := &req.Tasks[u.Task]
		out.Unplaced = append(out.Unplaced, capacityUnplacedJSON{t.Name, t.Service, u.Count, u.Reason})
	}
	return out
}

func round6(v float64) float64 { return math.Round(v*1e6) / 1e6 }

func printCapacityPlan(w io.Writer, req *capacity.Request, r *capacity.Result, elapsed time.Duration) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if groups := r.Groups(); len(groups) > 0 {
		fmt.Fprintln(tw, "TYPE\tZONE\tCOUNT\tUSD/HOUR\tCPU\tMEMORY")
		for _, g := range groups {
			fmt.Fprintf(tw, "%s\t%s\t%d\t%.4f\t%s\t%s\n", g.Type, g.Zone, g.Count, g.Cost,
				percentOf(g.Used.CPU, g.Capacity.CPU), percentOf(g.Used.Memory, g.Capacity.Memory))
		}
		if err := tw.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	before := 0.0
	for i := range req.Existing {
		before += req.Existing[i].Price
	}
	fmt.Fprintf(w, "%d tasks placed, %d instances to launch (%s)\n", r.Tasks, len(r.Launch), elapsed.Round(time.Microsecond))
	if len(req.Existing) > 0 {
		fmt.Fprintf(w, "existing     %d instances, %.4f USD/h; %d of them get tasks\n", len(req.Existing), before, len(r.Fill))
	}
	fmt.Fprintf(w, "cost         %.4f USD/h (%.2f USD in 730 h)\n", r.Cost, r.Cost*730)
	fmt.Fprintf(w, "lower bound  %.4f USD/h: no set of instances is cheaper\n", r.Bound.Cost)
	if ratio := r.Ratio(); !math.IsInf(ratio, 0) {
		fmt.Fprintf(w, "ratio        %.4f\n", ratio)
	}
	if req.Headroom.ZoneLoss {
		lost := "none can be proved"
		if len(r.Survives) > 0 {
			lost = strings.Join(r.Survives, ", ")
		}
		fmt.Fprintf(w, "zone loss    each alone may be lost: %s\n", lost)
	}
	for _, u := range r.Unplaced {
		t := &req.Tasks[u.Task]
		fmt.Fprintf(w, "not placed   %s (%d): %s\n", t.Name, u.Count, u.Reason)
	}
	return nil
}

func percentOf(part, whole int) string {
	if whole == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", 100*float64(part)/float64(whole))
}
