package capacity

import (
	"testing"
	"time"
)

func TestAllowed(t *testing.T) {
	saturday := time.Date(2026, 3, 7, 12, 0, 0, 0, time.UTC)
	night := &Window{Begin: 22 * time.Hour, Length: 8 * time.Hour, Days: []time.Weekday{time.Friday}}
	for _, c := range []struct {
		name      string
		rules     []Disruption
		instances int
		already   int
		now       time.Time
		want      int
	}{
		{"no rule", nil, 100, 3, saturday, NoLimit},
		{"number", []Disruption{{Number: 5, Percent: NoLimit}}, 100, 3, saturday, 2},
		{"percent", []Disruption{{Number: NoLimit, Percent: 10}}, 100, 0, saturday, 10},
		{"a small cluster still moves", []Disruption{{Number: NoLimit, Percent: 10}}, 3, 0, saturday, 1},
		{"one at a time", []Disruption{{Number: NoLimit, Percent: 10}}, 3, 1, saturday, 0},
		{"the strictest", []Disruption{{Number: 5, Percent: NoLimit}, {Number: NoLimit, Percent: 2}}, 100, 0, saturday, 2},
		{"both in one", []Disruption{{Number: 5, Percent: 2}}, 100, 0, saturday, 2},
		{"freeze", []Disruption{{Number: 0, Percent: NoLimit}}, 100, 0, saturday, 0},
		{"window over", []Disruption{{Number: 0, Percent: NoLimit, Window: night}}, 100, 0, saturday, NoLimit},
		{"past midnight", []Disruption{{Number: 0, Percent: NoLimit, Window: night}}, 100, 0, saturday.Add(-7 * time.Hour), 0},
		{"its end", []Disruption{{Number: 0, Percent: NoLimit, Window: night}}, 100, 0, saturday.Add(-6 * time.Hour), NoLimit},
		{"another night", []Disruption{{Number: 0, Percent: NoLimit, Window: night}}, 100, 0, saturday.Add(11 * time.Hour), NoLimit},
	} {
		if got := Allowed(c.rules, c.instances, c.already, c.now); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestSlack(t *testing.T) {
	for _, c := range []struct{ desired, healthy, running, minimum, maximum, want int }{
		{10, 10, 10, 100, 200, 10}, // all can be started first
		{10, 10, 10, 50, 100, 5},
		{10, 8, 10, 50, 100, 3}, // two are unhealthy already
		{10, 10, 10, 100, 100, 0},
		{3, 3, 3, 50, 100, 1}, // at least ceil(1.5) stay
		{1, 1, 1, 100, 150, 0},
		{1, 1, 1, 100, 200, 1},
	} {
		if got := Slack(c.desired, c.healthy, c.running, c.minimum, c.maximum); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}
