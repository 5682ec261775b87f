package rollout

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-linear.html and …-canary.html
func TestShift(t *testing.T) {
	const m = time.Minute
	for _, c := range []struct {
		s       Shift
		since   time.Duration
		percent float64
		next    time.Duration
		done    bool
	}{
		{Shift{Strategy: "BLUE_GREEN"}, 0, 100, 0, true},
		{Shift{Strategy: "CANARY", StepPercent: 5, StepBake: 10 * m}, 0, 5, 10 * m, false},
		{Shift{Strategy: "CANARY", StepPercent: 5, StepBake: 10 * m}, 10 * m, 100, 0, true},
		{Shift{Strategy: "LINEAR", StepPercent: 10, StepBake: 6 * m}, 0, 10, 6 * m, false},
		{Shift{Strategy: "LINEAR", StepPercent: 10, StepBake: 6 * m}, 53 * m, 90, 54 * m, false},
		{Shift{Strategy: "LINEAR", StepPercent: 10, StepBake: 6 * m}, 54 * m, 100, 0, true},
		{Shift{Strategy: "LINEAR", StepPercent: 30, StepBake: m}, 2 * m, 90, 3 * m, false},
		{Shift{Strategy: "LINEAR", StepPercent: 30, StepBake: m}, 3 * m, 100, 0, true},
	} {
		p, next, done := c.s.At(c.since)
		if p != c.percent || next != c.next || done != c.done {
			t.Errorf("%+v after %v: %v %v %v", c.s, c.since, p, next, done)
		}
	}
	for p, want := range map[float64][2]int{0: {100, 0}, 5: {95, 5}, 100: {0, 100}, 0.1: {998, 1}, 12.5: {874, 125}} {
		if b, g := Weights(p); b != want[0] || g != want[1] {
			t.Errorf("%v %%: %d, %d", p, b, g)
		}
	}
	if (Shift{Strategy: "LINEAR", StepPercent: 2}).Check() == nil || (Shift{Strategy: "CANARY", StepPercent: 0.1, StepBake: 24 * time.Hour}).Check() != nil {
		t.Error("bounds are wrong")
	}
}

func TestStagesEndInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Shift{
			Strategy:    rapid.SampledFrom([]string{"BLUE_GREEN", "LINEAR", "CANARY"}).Draw(t, "strategy"),
			StepPercent: rapid.Float64Range(3, 100).Draw(t, "step"),
			StepBake:    time.Duration(rapid.IntRange(0, 60).Draw(t, "stepBake")) * time.Minute,
			Bake:        time.Duration(rapid.IntRange(0, 60).Draw(t, "bake")) * time.Minute,
		}
		var st Stage
		last, seen := 0.0, 0
		for range 1000 {
			if st.Name == ProductionTrafficShift {
				p, _, _ := s.At(st.Since)
				if p < last || p > 100 || math.IsNaN(p) {
					t.Fatalf("%v %% after %v %%", p, last)
				}
				last = p
			}
			next, wait := s.Next(st)
			switch {
			case next == "":
				if seen != len(stages) {
					t.Fatalf("%d stages", seen)
				}
				if last != 100 {
					t.Fatalf("ended with %v %% of the traffic", last)
				}
				return
			case next == st.Name && wait > 0:
				st.Since += wait
			case next == st.Name:
				st.GreenReady, st.BlueGone = true, true
			default:
				if stages[seen] != next {
					t.Fatalf("stage %s is not number %d", next, seen)
				}
				seen++
				st = Stage{Name: next}
			}
		}
		t.Fatal("does not end")
	})
}
