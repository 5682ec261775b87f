// Package capacity decides which instances a cluster should have: what to buy for the tasks that
// are wanted, what to merge, what to drain, and what it costs.
package capacity

import (
	_ "embed"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
)

// Type is an EC2 instance type.
type Type struct {
	Name       string
	Arch       string // amd64 or arm64
	VCPU       int
	MemoryMiB  int // of the machine; RegisteredMemory is what ECS can place on
	GPUs       int
	MaxENIs    int
	BranchENIs int  // task ENIs with trunking
	Trunking   bool // whether the type can trunk
	BareMetal  bool
	PriceHour  float64 // USD an hour, on demand, us-east-1
}

// The prices and sizes of us-east-1 on 2026-07-20: 1,345 types.
//
//go:embed types.csv
var typesCSV string

// TypesDate is the day the built-in table was taken.
const TypesDate = "2026-07-20"

// Types is the built-in table, in the order of the names. It must not be changed.
var Types = sync.OnceValue(func() []Type {
	types, err := ParseTypes(typesCSV)
	if err != nil { // the file is part of the program
		panic(err)
	}
	return types
})

// TypeByName finds a type of the built-in table.
func TypeByName(name string) (Type, bool) {
	t, ok := typeIndex()[name]
	return t, ok
}

var typeIndex = sync.OnceValue(func() map[string]Type {
	m := map[string]Type{}
	for _, t := range Types() {
		m[t.Name] = t
	}
	return m
})

// ParseTypes reads a table like the built-in one: CSV with a header line; columns are found by name
// (type, arch, vcpu, memory_mib, gpus, max_enis, branch_enis, trunking_compatible, bare_metal,
// usd_per_hour_on_demand); type, vcpu, memory_mib and the price are required, others are ignored.
// The price's column may also be called usd_per_hour, price_per_hour or price. Types without a
// price are left out. Errors begin with line:column, both from 1.
func ParseTypes(text string) ([]Type, error) {
	lines := strings.Split(strings.TrimPrefix(strings.ReplaceAll(text, "\r", ""), "\ufeff"), "\n")
	column := map[string]int{}
	header := strings.Split(lines[0], ",")
	for i, name := range header {
		name = strings.ToLower(strings.TrimSpace(name))
		switch name {
		case "usd_per_hour", "price_per_hour", "price":
			name = "usd_per_hour_on_demand"
		}
		if _, twice := column[name]; twice {
			return nil, fmt.Errorf("1:%d: column %q is there twice", position(header, i), name)
		}
		column[name] = i
	}
	for _, name := range []string{"type", "vcpu", "memory_mib", "usd_per_hour_on_demand"} {
		if _, ok := column[name]; !ok {
			return nil, fmt.Errorf("1:1: the table of types has no column %q", name)
		}
	}
	var types []Type
	seen := map[string]int{}
	for n, line := range lines[1:] {
		if strings.TrimSpace(line) == "" {
			continue
		}
		fields := strings.Split(line, ",")
		if len(fields) != len(header) {
			return nil, fmt.Errorf("%d:1: %d fields, the header has %d", n+2, len(fields), len(header))
		}
		r := row{fields: fields, column: column}
		t := Type{Name: r.text("type"), Arch: r.text("arch"), VCPU: r.int("vcpu"), MemoryMiB: r.int("memory_mib"), GPUs: r.int("gpus"),
			MaxENIs: r.int("max_enis"), BranchENIs: r.int("branch_enis"), Trunking: r.text("trunking_compatible") == "true",
			BareMetal: r.text("bare_metal") == "true", PriceHour: r.float("usd_per_hour_on_demand")}
		if t.Name == "" {
			r.fail("type", "is empty")
		}
		if first, twice := seen[t.Name]; twice {
			r.fail("type", fmt.Sprintf("%q is also on line %d", t.Name, first))
		}
		if r.err != nil {
			return nil, fmt.Errorf("%d:%w", n+2, r.err)
		}
		seen[t.Name] = n + 2
		if t.Arch == "" {
			t.Arch = "amd64"
		}
		if t.PriceHour > 0 && t.VCPU > 0 && t.MemoryMiB > 0 {
			types = append(types, t)
		}
	}
	return types, nil
}

// position is the column, from 1, where a field begins.
func position(fields []string, i int) int {
	at := 1
	for _, f := range fields[:i] {
		at += len(f) + 1
	}
	return at
}

type row struct {
	fields []string
	column map[string]int
	err    error
}

func (r *row) text(name string) string {
	i, ok := r.column[name]
	if !ok {
		return ""
	}
	return strings.TrimSpace(r.fields[i])
}

func (r *row) fail(name, problem string) {
	if r.err == nil {
		r.err = fmt.Errorf("%d: %s: %s", position(r.fields, r.column[name]), name, problem)
	}
}

func (r *row) int(name string) int {
	v := r.float(name)
	if v != math.Trunc(v) {
		r.fail(name, fmt.Sprintf("%q is not a whole number", r.text(name)))
	}
	return int(v)
}

// float is a number from 0 to 1e9; an empty field is 0.
func (r *row) float(name string) float64 {
	s := r.text(name)
	if s == "" {
		return 0
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v >= 0 && v <= 1e9) {
		r.fail(name, fmt.Sprintf("%q is not a number from 0 to 1e9", s))
		return 0
	}
	return v
}

// InFamily reports whether the type belongs to a family as people name it: by the first letters
// (m: m5, m6i, m7a, but not mac), with the generation (m6: m6a, m6i, m6id), or in full (m6i).
func (t Type) InFamily(name string) bool {
	family, _, _ := strings.Cut(t.Name, ".")
	rest, ok := strings.CutPrefix(family, name)
	if !ok || name == "" {
		return false
	}
	if rest == "" || isDigit(name[len(name)-1]) {
		return rest == "" || !isDigit(rest[0])
	}
	// Letters alone go as far as the generation; after it the name must be the whole family's.
	return isDigit(rest[0]) && !strings.ContainsAny(name, "0123456789")
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

// RegisteredCPU is the CPU units the ECS agent registers for the type.
func (t Type) RegisteredCPU() int { return t.VCPU * 1024 }

// RegisteredMemory is the memory in MiB the ECS agent registers for the type: what the kernel leaves
// of the machine's memory, less the agent's reserve. AWS publishes no formula; about 3.5 % and
// 64 MiB fits reported values of the ECS-optimized images (inferred).
func (t Type) RegisteredMemory() int { return t.MemoryMiB - t.MemoryMiB*35/1000 - 64 }

// TaskENIs is how many awsvpc tasks an instance of the type takes: one ENI is the instance's own;
// with trunking the branch ENIs come on top
// (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/eni-trunking-supported-instance-types.html).
func (t Type) TaskENIs(trunking bool) int {
	if trunking && t.Trunking {
		return t.BranchENIs + max(t.MaxENIs-2, 0)
	}
	return max(t.MaxENIs-1, 0)
}
