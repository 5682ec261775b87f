// Package scaling holds the arithmetic of scaling: how CloudWatch alarms judge their points, and what
// target tracking, step and scheduled policies make of a metric.
package scaling

import "math"

// AlarmState is the state of an alarm.
type AlarmState string

// The states of an alarm.
const (
	OK               AlarmState = "OK"
	InAlarm          AlarmState = "ALARM"
	InsufficientData AlarmState = "INSUFFICIENT_DATA"
)

// Missing says what an alarm makes of a missing point.
type Missing string

// The treatments of missing data
// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html).
const (
	MissingMissing Missing = "missing"
	NotBreaching   Missing = "notBreaching"
	Breaching      Missing = "breaching"
	Ignore         Missing = "ignore"
)

// Alarm is what decides an alarm's state.
type Alarm struct {
	Comparison string // GreaterThanThreshold, GreaterThanOrEqualToThreshold, LessThanThreshold, LessThanOrEqualToThreshold
	Threshold  float64
	Periods    int // evaluation periods, N
	Datapoints int // datapoints to alarm, M; 0 = Periods
	Missing    Missing
}

// Breaches tells whether one point is beyond the threshold.
func (a Alarm) Breaches(v float64) bool {
	switch a.Comparison {
	case "GreaterThanThreshold":
		return v > a.Threshold
	case "GreaterThanOrEqualToThreshold":
		return v >= a.Threshold
	case "LessThanThreshold":
		return v < a.Threshold
	case "LessThanOrEqualToThreshold":
		return v <= a.Threshold
	}
	return false
}

// Judge returns the new state from the points of the evaluation range, newest last; NaN is a missing
// point. The range may be longer than Periods: CloudWatch looks back further so that points that are
// only late are not taken for missing. With enough real points it uses the newest ones of those.
func (a Alarm) Judge(points []float64, now AlarmState) AlarmState {
	m := a.Datapoints
	if m == 0 {
		m = a.Periods
	}
	var real []float64
	for _, p := range points {
		if !math.IsNaN(p) {
			real = append(real, p)
		}
	}
	if len(real) == 0 {
		switch a.Missing {
		case Breaching:
			return InAlarm
		case NotBreaching:
			return OK
		case Ignore:
			return now
		}
		return InsufficientData
	}
	window := points[max(0, len(points)-a.Periods):]
	breaching, good, missing := 0, 0, a.Periods-len(window)
	for _, p := range window {
		switch {
		case math.IsNaN(p):
			missing++
		case a.Breaches(p):
			breaching++
		default:
			good++
		}
	}
	// Missing points in the window are filled with the newest real points before it.
	if before := len(points) - len(window); missing > 0 {
		for i := before - 1; i >= 0 && missing > 0; i-- {
			switch p := points[i]; {
			case math.IsNaN(p):
				continue
			case a.Breaches(p):
				breaching++
			default:
				good++
			}
			missing--
		}
	}
	switch a.Missing {
	case Breaching:
		breaching += missing
	case NotBreaching:
		good += missing
	}
	switch {
	case breaching >= m:
		return InAlarm
	case a.Missing == Ignore && missing > 0 && good == 0:
		return now
	case a.Missing == MissingMissing && missing > 0 && good == 0 && breaching > 0:
		// Only breaching points, too few of them: the missing ones keep the state from changing.
		return now
	}
	return OK
}
