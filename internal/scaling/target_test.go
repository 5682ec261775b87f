package scaling

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestTracking(t *testing.T) {
	for _, c := range []struct {
		running, desired int
		metric           float64
		out, in          int
	}{
		{10, 10, 75, 15, 10}, // 50 % above a target of 50
		{10, 12, 75, 15, 12}, // counted from what runs, not from what is wanted
		{10, 10, 40, 10, 8},
		{10, 10, 50, 10, 10},
		{0, 0, 75, 0, 0},
		{4, 6, math.NaN(), 6, 4},
	} {
		if got := TrackOut(c.running, c.desired, c.metric, 50); got != c.out {
			t.Errorf("TrackOut(%d, %d, %v) = %d, want %d", c.running, c.desired, c.metric, got, c.out)
		}
		if got := TrackIn(c.running, c.desired, c.metric, 50); got != c.in {
			t.Errorf("TrackIn(%d, %d, %v) = %d, want %d", c.running, c.desired, c.metric, got, c.in)
		}
	}
}

func TestTrackingNeverGoesTheWrongWay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		running, desired := rapid.IntRange(0, 1000).Draw(t, "running"), rapid.IntRange(0, 1000).Draw(t, "desired")
		metric := rapid.Float64Range(0, 1000).Draw(t, "metric")
		if TrackOut(running, desired, metric, 50) < desired || TrackIn(running, desired, metric, 50) > desired {
			t.Fatal("scaled the wrong way")
		}
	})
}

func TestSteps(t *testing.T) {
	f := func(v float64) *float64 { return &v }
	steps := []Step{{f(0), f(10), 10}, {f(10), nil, 30}, {f(-10), f(0), 0}, {nil, f(-10), -30}}
	for _, c := range []struct {
		kind   string
		breach float64
		want   int
	}{
		{"PercentChangeInCapacity", 5, 11}, {"PercentChangeInCapacity", 10, 13}, {"PercentChangeInCapacity", -20, 7}, {"PercentChangeInCapacity", -5, 10},
		{"ChangeInCapacity", 5, 20}, {"ExactCapacity", 50, 30},
	} {
		if got, ok := StepTo(c.kind, steps, 0, 10, c.breach); got != c.want || !ok {
			t.Errorf("%s, breach %v: %d, want %d", c.kind, c.breach, got, c.want)
		}
	}
	if _, ok := StepTo("ChangeInCapacity", steps[:1], 0, 10, 50); ok {
		t.Error("a breach outside all steps was acted on")
	}
	if got, _ := StepTo("PercentChangeInCapacity", steps, 2, 10, 5); got != 12 {
		t.Errorf("minimum magnitude: %d, want 12", got)
	}
}
