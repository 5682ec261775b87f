package scaling

import "math"

// Target tracking of ECS services: facts from
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-autoscaling-targettracking.html.
// The high alarm needs 3 of 3 one-minute points above the target, the low alarm 15 of 15 below 90 %
// of it.
const (
	HighPeriods  = 3
	LowPeriods   = 15
	LowShare     = 0.9
	CooldownSecs = 300
)

// TrackOut is the capacity target tracking scales out to: the running capacity, not the desired one,
// times metric over target, rounded up. It never scales in.
func TrackOut(running, desired int, metric, target float64) int {
	return max(desired, trackTo(running, metric, target))
}

// TrackIn is the capacity target tracking scales in to. It never scales out.
func TrackIn(running, desired int, metric, target float64) int {
	return min(desired, trackTo(running, metric, target))
}

func trackTo(running int, metric, target float64) int {
	if target <= 0 || math.IsNaN(metric) {
		return running
	}
	return int(math.Ceil(float64(running)*metric/target - 1e-9))
}

// Step is one step adjustment: it applies where the breach (metric less threshold) is in
// [Lower, Upper); a nil bound is infinite.
type Step struct {
	Lower, Upper *float64
	Adjustment   int
}

// StepTo is the capacity a step policy scales to; ok is false if no step holds the breach
// (https://docs.aws.amazon.com/autoscaling/application/userguide/step-scaling-policy-overview.html).
func StepTo(kind string, steps []Step, minMagnitude, capacity int, breach float64) (to int, ok bool) {
	for _, s := range steps {
		if s.Lower != nil && breach < *s.Lower || s.Upper != nil && breach >= *s.Upper {
			continue
		}
		switch kind {
		case "ExactCapacity":
			return s.Adjustment, true
		case "PercentChangeInCapacity":
			change := float64(capacity) * float64(s.Adjustment) / 100
			n := int(change) // towards zero
			if change > 0 && change < 1 {
				n = 1
			}
			if change < 0 && change > -1 {
				n = -1
			}
			if abs := max(n, -n); abs < minMagnitude && n != 0 {
				n = n / abs * minMagnitude
			}
			return capacity + n, true
		}
		return capacity + s.Adjustment, true
	}
	return capacity, false
}
