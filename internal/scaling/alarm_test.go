package scaling

import (
	"math"
	"testing"
)

// The tables of https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html:
// "Datapoints to alarm = 3 of 3" and "2 of 3"; X is breaching, 0 not, - missing; the range is five points.
func TestJudgeMissingData(t *testing.T) {
	const retain = AlarmState("retained")
	for _, c := range []struct {
		points                                   string
		m                                        int
		missing, ignore, breaching, notBreaching AlarmState
	}{
		{"0-X-X", 3, OK, OK, OK, OK},
		{"00---", 3, OK, OK, OK, OK},
		{"-----", 3, InsufficientData, retain, InAlarm, OK},
		{"0XX-X", 3, InAlarm, InAlarm, InAlarm, InAlarm},
		{"--X--", 3, retain, retain, InAlarm, OK},
		{"0-X-X", 2, InAlarm, InAlarm, InAlarm, InAlarm},
		{"00X-X", 2, InAlarm, InAlarm, InAlarm, InAlarm},
		{"-----", 2, InsufficientData, retain, InAlarm, OK},
	} {
		var points []float64
		for _, r := range c.points {
			points = append(points, map[rune]float64{'0': 0, 'X': 10, '-': math.NaN()}[r])
		}
		for missing, want := range map[Missing]AlarmState{MissingMissing: c.missing, Ignore: c.ignore, Breaching: c.breaching, NotBreaching: c.notBreaching} {
			a := Alarm{Comparison: "GreaterThanThreshold", Threshold: 5, Periods: 3, Datapoints: c.m, Missing: missing}
			if got := a.Judge(points, retain); got != want {
				t.Errorf("%s, %d of 3, %s: %s, want %s", c.points, c.m, missing, got, want)
			}
		}
	}
}
