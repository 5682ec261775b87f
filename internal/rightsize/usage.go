package rightsize

import "time"

// The memory of a day counts by its peak; peaks older than eight days count no more.
const (
	memoryWindow  = 24 * time.Hour
	memoryHistory = 8
)

// startup is how long after its start a task's use counts as what a start-up needs.
const startup = 2 * time.Minute

// Usage is what one container of a service, over all its tasks, was seen to use.
type Usage struct {
	cpu         *Histogram
	memory      *Histogram
	starts      *Histogram // CPU within the time of start-up
	peaks       []peak     // of the last days, the oldest first
	first, last time.Time
	covered     time.Duration // sum of what samples stand for
	startMemory float64       // the most seen while starting, MiB
	oomMemory   float64       // what the last out-of-memory asks for, MiB
	ooms        int
}

// peak is the most memory of a day.
type peak struct {
	begin  time.Time
	amount float64
	at     time.Time
}

// NewUsage is of a container not seen yet.
func NewUsage() *Usage { return &Usage{cpu: NewCPU(), memory: NewMemory(), starts: NewCPU()} }

// Sample is one observation.
type Sample struct {
	At     time.Time
	CPU    float64       // CPU units used, mean over the period
	Memory float64       // MiB, the most within the period
	Period time.Duration // what it stands for: 1 or 5 minutes of CloudWatch
	Age    time.Duration // of the task; 0: not known, long started
	// Reserved is the CPU units the container reserves: busy containers' samples count more, by it.
	Reserved float64
}

// Add counts a sample. Samples are to come about in the order of time: memory of days gone by is
// left out.
func (u *Usage) Add(s Sample) {
	if u.first.IsZero() || s.At.Before(u.first) {
		u.first = s.At
	}
	if s.At.After(u.last) {
		u.last = s.At
	}
	u.covered += s.Period
	if s.Age > 0 && s.Age <= startup {
		u.starts.Add(s.CPU, 1, s.At)
		u.startMemory = max(u.startMemory, s.Memory)
	}
	u.cpu.Add(s.CPU, max(s.Reserved, 0.1*1024), s.At)
	u.addMemory(s.Memory, s.At)
}

// AddOOM counts a container that was killed for want of memory while it had so many MiB: it needs
// at least 100 MiB and 20 % more.
func (u *Usage) AddOOM(memory float64, at time.Time) {
	u.ooms++
	u.oomMemory = max(memory*1.2, memory+100)
	u.addMemory(u.oomMemory, at)
	if u.first.IsZero() {
		u.first = at
	}
	if at.After(u.last) {
		u.last = at
	}
}

// addMemory keeps one peak a day in the histogram.
func (u *Usage) addMemory(amount float64, at time.Time) {
	if !(amount > 0) {
		return
	}
	n := len(u.peaks)
	if n == 0 {
		u.newPeak(amount, at, at)
		return
	}
	p := &u.peaks[n-1]
	switch {
	case at.Before(p.begin):
	case at.Sub(p.begin) >= memoryWindow:
		days := at.Sub(p.begin) / memoryWindow
		u.newPeak(amount, at, p.begin.Add(days*memoryWindow))
	case amount > p.amount:
		u.memory.Subtract(p.amount, 1, p.at)
		p.amount, p.at = amount, at
		u.memory.Add(amount, 1, at)
	}
}

func (u *Usage) newPeak(amount float64, at, begin time.Time) {
	u.memory.Add(amount, 1, at)
	u.peaks = append(u.peaks, peak{begin, amount, at})
	for len(u.peaks) > 1 && begin.Sub(u.peaks[0].begin) >= memoryHistory*memoryWindow {
		u.memory.Subtract(u.peaks[0].amount, 1, u.peaks[0].at)
		u.peaks = u.peaks[1:]
	}
}

// Peak is the most memory of the last eight days, MiB.
func (u *Usage) Peak() float64 {
	most := 0.0
	for _, p := range u.peaks {
		most = max(most, p.amount)
	}
	return most
}

// Confidence is the days of history, as far as samples cover them: at 1 the bounds are wide, at 8
// and more they are near the percentiles.
func (u *Usage) Confidence() float64 {
	days := u.last.Sub(u.first).Hours() / 24
	return min(days, u.covered.Hours()/24)
}
