package rightsize

import (
	"fmt"
	"math"
)

// Within is how near a cluster's reservation is to be to what it uses, as a part of the use.
const Within = 0.10

// Fit is what all tasks of a cluster reserve, now and as recommended, beside the 95th percentile of what they
// use: CPU units and MiB, summed over services, whose peaks are taken to come together.
type Fit struct {
	HasCPU, WillCPU, UsedCPU          float64
	HasMemory, WillMemory, UsedMemory float64
}

// Add counts a container that so many tasks have. One that is to wait, or was not measured, is left out.
func (f *Fit) Add(u *Usage, has Reservation, r *Recommendation, tasks int) {
	if r.Action == Wait || u.cpu.Empty() || u.memory.Empty() {
		return
	}
	will, n := has, float64(tasks)
	if r.Action == Change {
		will = r.Target
	}
	f.HasCPU, f.WillCPU, f.UsedCPU = f.HasCPU+n*float64(has.CPU), f.WillCPU+n*float64(will.CPU), f.UsedCPU+n*u.cpu.Percentile(0.95)
	f.HasMemory, f.WillMemory, f.UsedMemory = f.HasMemory+n*float64(has.Memory), f.WillMemory+n*float64(will.Memory), f.UsedMemory+n*u.memory.Percentile(0.95)
}

// Sentences say for CPU and memory how far reservation and use are apart; empty without a measured container.
func (f *Fit) Sentences() []string {
	var out []string
	for _, x := range []struct {
		name, unit      string
		has, will, used float64
	}{{"CPU", "units", f.HasCPU, f.WillCPU, f.UsedCPU}, {"memory", "MiB", f.HasMemory, f.WillMemory, f.UsedMemory}} {
		if x.used <= 0 {
			continue
		}
		verdict := "the target, 10 % above or below, is met"
		if off := x.will/x.used - 1; math.Abs(off) > Within {
			verdict = fmt.Sprintf("the target is 10 %% above or below: another step follows when what is deployed was measured, or minima and margins (%+.0f %%) keep it", 100*off)
		}
		out = append(out, fmt.Sprintf("%s: reserved %.0f %s, of which the 95th percentile of use is %.0f (%.0f %%); as recommended %.0f (%.0f %%): %s",
			x.name, x.has, x.unit, x.used, 100*x.used/x.has, x.will, 100*x.used/max(x.will, 1), verdict))
	}
	return out
}
