package managedinstances

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/capacity"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

// Check refuses requirements that nothing is known of here.
func Check(r *ecsapi.InstanceRequirementsRequest) error {
	switch {
	case r == nil:
		return nil
	case wire.Value(wire.Value(r.VCpuCount).Min) < 0 || wire.Value(wire.Value(r.MemoryMiB).Min) < 0:
		return fmt.Errorf("the minimum of vCpuCount and memoryMiB must not be negative")
	case len(r.AllowedInstanceTypes) > 0 && len(r.ExcludedInstanceTypes) > 0:
		return fmt.Errorf("allowedInstanceTypes and excludedInstanceTypes cannot be used together")
	}
	for name, set := range map[string]bool{
		"totalLocalStorageGB": r.TotalLocalStorageGB != nil, "baselineEbsBandwidthMbps": r.BaselineEbsBandwidthMbps != nil,
		"networkBandwidthGbps": r.NetworkBandwidthGbps != nil, "acceleratorTotalMemoryMiB": r.AcceleratorTotalMemoryMiB != nil,
		"localStorageTypes": len(r.LocalStorageTypes) > 0, "requireHibernateSupport": wire.Value(r.RequireHibernateSupport),
	} {
		if set {
			return fmt.Errorf("not supported: instance requirements by %s", name)
		}
	}
	return nil
}

// Candidates are the instance types that meet the requirements, the cheapest first. Without
// requirements they are current general types, as AWS chooses itself.
//
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_InstanceRequirementsRequest.html
func Candidates(r *ecsapi.InstanceRequirementsRequest) []capacity.Type {
	var out []capacity.Type
	for _, t := range capacity.Types() {
		if meets(t, r) {
			out = append(out, t)
		}
	}
	slices.SortStableFunc(out, func(a, b capacity.Type) int { return cmp.Compare(a.PriceHour, b.PriceHour) })
	if r != nil && r.OnDemandMaxPricePercentageOverLowestPrice != nil && len(out) > 0 {
		most := out[0].PriceHour * (1 + float64(*r.OnDemandMaxPricePercentageOverLowestPrice)/100)
		out = slices.DeleteFunc(out, func(t capacity.Type) bool { return t.PriceHour > most })
	}
	return out
}

func meets(t capacity.Type, r *ecsapi.InstanceRequirementsRequest) bool {
	n := parse(t.Name)
	if r == nil {
		return t.Arch == "amd64" && !t.BareMetal && t.GPUs == 0 && strings.Contains("cmr", n.letters) && len(n.letters) == 1 && n.generation >= 5 && (n.extra == "" || n.extra == "i" || n.extra == "a")
	}
	within := func(v float64, lo, hi *float64) bool { return (lo == nil || v >= *lo) && (hi == nil || v <= *hi) }
	whole := func(v int, lo, hi *int32) bool { return (lo == nil || v >= int(*lo)) && (hi == nil || v <= int(*hi)) }
	wanted := func(is bool, want *string) bool { // excluded unless it is said
		switch wire.Value(want) {
		case "included":
			return true
		case "required":
			return is
		}
		return !is
	}
	if v := r.VCpuCount; v != nil && !whole(t.VCPU, v.Min, v.Max) {
		return false
	}
	if v := r.MemoryMiB; v != nil && !whole(t.MemoryMiB, v.Min, v.Max) {
		return false
	}
	if v := r.MemoryGiBPerVCpu; v != nil && !within(float64(t.MemoryMiB)/1024/float64(t.VCPU), v.Min, v.Max) {
		return false
	}
	if v := r.NetworkInterfaceCount; v != nil && !whole(t.MaxENIs, v.Min, v.Max) {
		return false
	}
	if v := r.AcceleratorCount; v != nil && !whole(t.GPUs, v.Min, v.Max) {
		return false
	}
	like := func(patterns []string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool {
			ok, err := path.Match(p, t.Name)
			return ok && err == nil
		})
	}
	accelerator, name, maker := n.accelerator()
	if accelerator != "" && r.AcceleratorCount == nil && len(r.AcceleratorTypes) == 0 && len(r.AcceleratorNames) == 0 && len(r.AcceleratorManufacturers) == 0 && len(r.AllowedInstanceTypes) == 0 {
		return false // nobody pays for one by accident
	}
	listed := func(list []string, v string) bool { return len(list) == 0 || slices.Contains(list, v) }
	generation := "current"
	if n.generation < 3 || n.generation == 3 && strings.Contains("cmr", n.letters) {
		generation = "previous"
	}
	localStorage := wire.Value(r.LocalStorage)
	return listed(r.CpuManufacturers, n.maker(t.Arch)) && listed(r.InstanceGenerations, generation) &&
		listed(r.AcceleratorTypes, accelerator) && listed(r.AcceleratorNames, name) && listed(r.AcceleratorManufacturers, maker) &&
		(len(r.AllowedInstanceTypes) == 0 || like(r.AllowedInstanceTypes)) && !like(r.ExcludedInstanceTypes) &&
		wanted(t.BareMetal, r.BareMetal) && (wanted(n.letters == "t", r.BurstablePerformance) || r.BurstablePerformance == nil && like(r.AllowedInstanceTypes)) &&
		(localStorage == "" || localStorage == "included" || (localStorage == "required") == n.storage())
}

// named is what the name of an instance type says
// (https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html).
type named struct {
	letters    string // m
	generation int    // 6
	extra      string // gd
}

func parse(name string) named {
	family, _, _ := strings.Cut(name, ".")
	k := strings.IndexAny(family, "0123456789")
	if k < 0 {
		return named{letters: family}
	}
	return named{family[:k], int(family[k] - '0'), family[k+1:]}
}

func (n named) maker(arch string) string {
	switch {
	case arch == "arm64":
		return "amazon-web-services"
	case strings.Contains(n.extra, "a"):
		return "amd"
	}
	return "intel"
}

// storage reports whether the type has disks of its own.
func (n named) storage() bool {
	return strings.Contains(n.extra, "d") || slices.Contains([]string{"i", "d", "h", "im", "is"}, n.letters)
}

func (n named) accelerator() (kind, name, maker string) {
	family := fmt.Sprintf("%s%d", n.letters, n.generation)
	switch {
	case family == "g4" && strings.HasPrefix(n.extra, "ad"):
		return "gpu", "radeon-pro-v520", "amd"
	case family == "g5" && strings.HasPrefix(n.extra, "g"):
		return "gpu", "t4g", "nvidia"
	case n.letters == "inf":
		return "inference", "inferentia", "amazon-web-services"
	case n.letters == "trn":
		return "inference", "", "amazon-web-services"
	case n.letters == "dl":
		return "inference", "", "habana"
	case n.letters == "f":
		return "fpga", "vu9p", "xilinx"
	case n.letters == "g" || n.letters == "gr" || n.letters == "p":
		return "gpu", map[string]string{"g2": "k520", "g3": "m60", "g4": "t4", "g5": "a10g", "p2": "k80", "p3": "v100", "p4": "a100", "p5": "h100"}[family], "nvidia"
	}
	return "", "", ""
}
