package rightsize

import (
	"fmt"
	"math"
)

// Policy is how usage becomes reservations.
type Policy struct {
	Target, Lower, Upper float64 // percentiles, 0–1
	Margin               float64 // on top, as a part
	MinCPU, MinMemory    float64 // CPU units and MiB never to go below
	MaxCPU, MaxMemory    float64 // never to go above; 0: no limit
	MinConfidence        float64 // days of samples before anything is recommended
	// MaxCut is the largest part a reservation may shrink by in one step: what is seen so far may
	// not be all.
	MaxCut float64
	// Tolerance is the part by which a reservation may be off before it is worth a deployment.
	Tolerance float64
}

// DefaultPolicy is the percentiles and the margin of the Vertical Pod Autoscaler.
func DefaultPolicy() Policy {
	return Policy{
		Target: 0.90, Lower: 0.50, Upper: 0.95, Margin: 0.15, MinCPU: 10, MinMemory: 32,
		MinConfidence: 1, MaxCut: 0.5, Tolerance: 0.10,
	}
}

// Reservation is what a container reserves, or is limited to.
type Reservation struct {
	CPU         int // CPU units, 1024 to a vCPU
	Memory      int // MiB reserved: memoryReservation
	MemoryLimit int // MiB at which it is killed: memory
}

// Action is what to do about a container.
type Action string

// The actions.
const (
	Keep   Action = "keep"   // the reservation is near enough
	Change Action = "change" // to what is recommended
	Wait   Action = "wait"   // for more samples
)

// Recommendation is what a container should reserve, and why.
type Recommendation struct {
	Action       Action
	Target       Reservation
	Lower, Upper Reservation // below the one it is short, above the other wasteful; limits are not set
	Confidence   float64     // days
	Reasons      []string    // whole sentences, the weightiest first
}

// Recommend says what a container that has the given reservation should have.
func Recommend(u *Usage, has Reservation, p Policy) Recommendation {
	r := Recommendation{Confidence: u.Confidence()}
	at := func(percentile float64) (cpu, memory float64) {
		return u.cpu.Percentile(percentile) * (1 + p.Margin), u.memory.Percentile(percentile) * (1 + p.Margin)
	}
	lowC, lowM := at(p.Lower)
	cpu, memory := at(p.Target)
	upC, upM := at(p.Upper)
	c := max(r.Confidence, 1e-6)
	narrow, wide := math.Pow(1+0.001/c, -2), 1+1/c
	r.Lower = p.bounded(lowC*narrow, lowM*narrow)
	r.Upper = p.bounded(max(upC*wide, cpu), max(upM*wide, memory))

	if need := u.starts.Percentile(p.Upper); need > cpu {
		r.because("starting takes %.0f CPU units, more than %.0f later: the start decides.", need, cpu)
		cpu = need
	}
	if u.startMemory*(1+p.Margin) > memory {
		memory = u.startMemory * (1 + p.Margin)
		r.because("starting takes %.0f MiB: the start decides.", u.startMemory)
	}
	if u.oomMemory > memory && u.ooms > 0 {
		memory = u.oomMemory
		r.because("it was killed for want of memory %d times; the last time asks for %.0f MiB.", u.ooms, u.oomMemory)
	}
	cpu, memory = r.cautious(u, has, p, cpu, memory)
	r.Target = p.bounded(cpu, memory)
	// The upper bound is as wide as samples are few: beyond twice what was seen it is no limit to set, only
	// a reason to keep the one there is.
	limit := max(min(float64(r.Upper.Memory), 2*max(upM, memory)), u.Peak()*(1+p.Margin), float64(r.Target.Memory), u.oomMemory)
	if r.Confidence < memoryHistory {
		limit = max(limit, float64(has.MemoryLimit)) // a limit is lowered only by a full history
	}
	r.Target.MemoryLimit = int(math.Ceil(limit))
	if p.MaxMemory > 0 {
		r.Target.MemoryLimit = min(r.Target.MemoryLimit, int(p.MaxMemory))
	}
	r.decide(u, has, p)
	return r
}

func (r *Recommendation) because(format string, args ...any) {
	r.Reasons = append(r.Reasons, fmt.Sprintf(format, args...))
}

// cautious limits how far one step goes down.
func (r *Recommendation) cautious(u *Usage, has Reservation, p Policy, cpu, memory float64) (float64, float64) {
	// Of what was never measured nothing is known: it stays.
	if u.cpu.Empty() {
		cpu = max(cpu, float64(has.CPU))
	}
	if u.memory.Empty() {
		memory = max(memory, float64(has.Memory))
	}
	if p.MaxCut <= 0 {
		return cpu, memory
	}
	if least := float64(has.CPU) * (1 - p.MaxCut); cpu < least && !u.cpu.Empty() {
		cpu = least
		r.because("CPU goes down by no more than %.0f %% at a time.", 100*p.MaxCut)
	}
	if least := float64(has.Memory) * (1 - p.MaxCut); memory < least && !u.memory.Empty() {
		memory = least
		r.because("memory goes down by no more than %.0f %% at a time.", 100*p.MaxCut)
	}
	return cpu, memory
}

func (r *Recommendation) decide(u *Usage, has Reservation, p Policy) {
	killed := u.ooms > 0 && float64(has.MemoryLimit) < u.oomMemory
	switch {
	case killed:
		r.Action = Change // at once, however little is known
	case r.Confidence < p.MinConfidence || u.cpu.Empty() || u.memory.Empty():
		r.Action = Wait
		r.because("samples cover %.1f days, %.1f are needed.", max(r.Confidence, 0), p.MinConfidence)
	case off(has.CPU, r.Target.CPU, p.Tolerance) || off(has.Memory, r.Target.Memory, p.Tolerance):
		r.Action = Change
	default:
		r.Action = Keep
		r.because("it is within %.0f %% of what it needs.", 100*p.Tolerance)
	}
}

func off(has, want int, tolerance float64) bool {
	return math.Abs(float64(has-want)) > tolerance*float64(max(has, 1))
}

func (p *Policy) bounded(cpu, memory float64) Reservation {
	cpu, memory = max(cpu, p.MinCPU), max(memory, p.MinMemory)
	if p.MaxCPU > 0 {
		cpu = min(cpu, p.MaxCPU)
	}
	if p.MaxMemory > 0 {
		memory = min(memory, p.MaxMemory)
	}
	return Reservation{CPU: int(math.Ceil(cpu)), Memory: int(math.Ceil(memory))}
}

// Saving is what a change of reservation saves for so many tasks, in USD an hour, at prices of one
// CPU unit and one MiB for an hour: the dual prices of the capacity planner. Negative: it costs.
func Saving(has, want Reservation, tasks int, perCPU, perMiB float64) float64 {
	return float64(tasks) * (float64(has.CPU-want.CPU)*perCPU + float64(has.Memory-want.Memory)*perMiB)
}
