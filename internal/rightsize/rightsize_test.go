package rightsize

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var start = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func TestBuckets(t *testing.T) {
	// The Vertical Pod Autoscaler's: bucket n of CPU begins at 0.01·(1.05ⁿ−1)/0.05 cores.
	h := NewCPU()
	for i, want := range []float64{0.01, 0.0205, 0.031525, 0.04310125} {
		if got := h.end(i) / 1024; math.Abs(got-want) > 1e-12 {
			t.Errorf("bucket %d ends at %v cores, want %v", i, got, want)
		}
	}
}

func TestPercentileIsNearAndNeverBelow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		amounts := rapid.SliceOfN(rapid.Float64Range(0, 50_000), 1, 200).Draw(t, "amounts")
		p := rapid.Float64Range(0.01, 1).Draw(t, "p")
		h := NewCPU()
		for _, a := range amounts {
			h.Add(a, 1, start)
		}
		slices.Sort(amounts)
		exact := amounts[max(int(math.Ceil(p*float64(len(amounts))-1e-9))-1, 0)]
		if got := h.Percentile(p); got < exact || got > exact*1.05+h.first*1.0001 {
			t.Fatalf("percentile %v = %v, exactly %v", p, got, exact)
		}
	})
}

func TestDecay(t *testing.T) {
	h := NewCPU()
	h.Add(1000, 1, start)
	h.Add(100, 1, start.Add(HalfLife)) // counts twice as much
	if got := h.Percentile(0.66); got > 116 {
		t.Errorf("two thirds of the weight are at 100, percentile 0.66 = %v", got)
	}
	if got := h.Percentile(0.68); got < 1000 {
		t.Errorf("percentile 0.68 = %v", got)
	}
	h.Add(10, 1, start.Add(300*HalfLife)) // beyond what the scale holds: shifted
	if got := h.Percentile(0.99); got > 20 || math.IsNaN(got) {
		t.Errorf("after 300 half-lives percentile 0.99 = %v", got)
	}
}

func TestMemoryCountsByDailyPeaks(t *testing.T) {
	u := NewUsage()
	for h := range 24 * 20 {
		memory := 200.0
		if h%24 == 5 {
			memory = 500 // an hour a day
		}
		if h == 30 {
			memory = 4000 // once, long ago
		}
		u.Add(Sample{At: start.Add(time.Duration(h) * time.Hour), CPU: 100, Memory: memory, Period: time.Hour})
	}
	if got := u.memory.Percentile(0.5); got < 500 || got > 540 {
		t.Errorf("median of daily peaks = %v, want about 500", got)
	}
	if got := u.Peak(); got != 500 {
		t.Errorf("peak of eight days = %v, want 500: the one of day two is too old", got)
	}
}

// days feeds so many days of minutes.
func days(n int, cpu func(minute int) float64, memory float64) *Usage {
	u := NewUsage()
	for m := range n * 1440 {
		u.Add(Sample{At: start.Add(time.Duration(m) * time.Minute), CPU: cpu(m), Memory: memory, Period: time.Minute, Reserved: 512})
	}
	return u
}

func TestRecommend(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	steady := func(int) float64 { return 200 + 20*r.Float64() }
	for _, c := range []struct {
		name     string
		usage    *Usage
		has      Reservation
		action   Action
		cpu, mem [2]int // range of the target
		reason   string
	}{
		{"over-reserved goes down, by half at most", days(9, steady, 300), Reservation{2048, 2048, 4096}, Change, [2]int{1024, 1024}, [2]int{1024, 1024}, "no more than 50 %"},
		{"near enough stays", days(9, steady, 300), Reservation{255, 355, 512}, Keep, [2]int{245, 275}, [2]int{345, 370}, "within 10 %"},
		{"under-reserved goes up", days(9, steady, 900), Reservation{64, 128, 2048}, Change, [2]int{245, 275}, [2]int{1035, 1095}, ""},
		{"an hour is too little", days(0, steady, 0), Reservation{64, 128, 2048}, Wait, [2]int{10, 64}, [2]int{32, 128}, "1.0 are needed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Recommend(c.usage, c.has, DefaultPolicy())
			if got.Action != c.action || got.Target.CPU < c.cpu[0] || got.Target.CPU > c.cpu[1] || got.Target.Memory < c.mem[0] || got.Target.Memory > c.mem[1] {
				t.Errorf("%+v, want %s, CPU %v, memory %v", got, c.action, c.cpu, c.mem)
			}
			if !strings.Contains(strings.Join(got.Reasons, " "), c.reason) {
				t.Errorf("reasons %q, want %q", got.Reasons, c.reason)
			}
			if got.Target.MemoryLimit < got.Target.Memory {
				t.Errorf("limit %d is below the reservation %d", got.Target.MemoryLimit, got.Target.Memory)
			}
		})
	}
}

func TestOutOfMemoryActsAtOnce(t *testing.T) {
	u := NewUsage()
	u.Add(Sample{At: start, CPU: 50, Memory: 400, Period: time.Minute})
	u.AddOOM(512, start.Add(time.Minute))
	got := Recommend(u, Reservation{128, 512, 512}, DefaultPolicy())
	if got.Action != Change || float64(got.Target.Memory) < 614 || float64(got.Target.MemoryLimit) < 614 {
		t.Errorf("%+v: killed at 512 MiB it needs 512·1.2", got)
	}
	u = NewUsage()
	u.AddOOM(64, start)
	if u.oomMemory != 164 {
		t.Errorf("killed at 64 MiB: %v, want 100 MiB more", u.oomMemory)
	}
}

func TestStartUpIsNeverCut(t *testing.T) {
	u := days(9, func(int) float64 { return 50 }, 200)
	u.Add(Sample{At: start.Add(9 * 24 * time.Hour), CPU: 900, Memory: 700, Period: time.Minute, Age: time.Minute})
	got := Recommend(u, Reservation{1024, 1024, 1024}, DefaultPolicy())
	if got.Target.CPU < 900 || got.Target.Memory < 700 {
		t.Errorf("%+v: starting takes 900 CPU units and 700 MiB", got.Target)
	}
}

func TestRecommendationIsOrdered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := NewUsage()
		for i := range rapid.IntRange(1, 300).Draw(t, "samples") {
			u.Add(Sample{
				At: start.Add(time.Duration(i) * 5 * time.Minute), CPU: rapid.Float64Range(0, 8000).Draw(t, "cpu"),
				Memory: rapid.Float64Range(0, 30_000).Draw(t, "memory"), Period: 5 * time.Minute, Age: time.Duration(i) * time.Minute,
			})
		}
		has := Reservation{rapid.IntRange(0, 8000).Draw(t, "has cpu"), rapid.IntRange(1, 9000).Draw(t, "has memory"), 10_000}
		r := Recommend(u, has, DefaultPolicy())
		if r.Lower.CPU > r.Target.CPU || r.Lower.Memory > r.Target.Memory || r.Lower.CPU > r.Upper.CPU || r.Lower.Memory > r.Upper.Memory {
			t.Fatalf("%+v", r)
		}
		if r.Target.MemoryLimit < r.Target.Memory || float64(r.Target.MemoryLimit) < u.Peak() {
			t.Fatalf("limit below reservation or peak %v: %+v", u.Peak(), r)
		}
		if r.Target.CPU < has.CPU/2 || r.Target.Memory < has.Memory/2 {
			t.Fatalf("from %+v to %+v: more than half in one step", has, r.Target)
		}
	})
}

func TestSaving(t *testing.T) {
	if got := Saving(Reservation{1024, 2048, 0}, Reservation{512, 1024, 0}, 10, 0.00002, 0.000004); math.Abs(got-10*(512*0.00002+1024*0.000004)) > 1e-12 {
		t.Error(got)
	}
}

// Of few samples the upper bound is very wide; the limit is not.
func TestLimitOfFewSamples(t *testing.T) {
	u := NewUsage()
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	u.Add(Sample{At: at, CPU: 5, Memory: 50, Period: 5 * time.Minute, Reserved: 256})
	p := DefaultPolicy()
	p.MinConfidence = 0
	r := Recommend(u, Reservation{CPU: 256, Memory: 512, MemoryLimit: 512}, p)
	if r.Target.MemoryLimit != 512 || r.Upper.Memory < 1000 {
		t.Errorf("%+v", r)
	}
	if r = Recommend(u, Reservation{CPU: 256, Memory: 40, MemoryLimit: 40}, p); r.Target.MemoryLimit < r.Target.Memory || r.Target.MemoryLimit > 150 {
		t.Errorf("%+v", r)
	}
}
