package capacity

import (
	"slices"
	"time"
)

// Disruption is one rule of how many instances with tasks may be on their way out at a time. Of the
// rules in force the strictest holds.
type Disruption struct {
	Number  int     // of instances; NoLimit: as Percent says
	Percent float64 // of all instances, rounded down but not below 1 if it is above 0; NoLimit: as Number says
	Window  *Window // when the rule is in force; nil: always
}

// Window is a time of the week, by the wall clock: where clocks are put forward or back within it, it is
// shorter or longer by that, and its begin and end are when the clock shows them. A window within the hour
// that is left out is left out that day; one in the hour that comes twice is in force twice.
type Window struct {
	Days     []time.Weekday // on which it begins; none: each day
	Begin    time.Duration  // after midnight
	Length   time.Duration  // by the clock, at most 24 hours; it may go past midnight
	Location *time.Location // whose clock; nil: that of the time asked about
}

// Contains reports whether the time lies in the window. Its end does not.
func (w *Window) Contains(now time.Time) bool {
	if w.Location != nil {
		now = now.In(w.Location)
	}
	clock := time.Duration(now.Hour())*time.Hour + time.Duration(now.Minute())*time.Minute +
		time.Duration(now.Second())*time.Second + time.Duration(now.Nanosecond())
	on := func(d time.Weekday) bool { return len(w.Days) == 0 || slices.Contains(w.Days, d) }
	today, yesterday := now.Weekday(), (now.Weekday()+6)%7
	return on(today) && clock >= w.Begin && clock < w.Begin+w.Length ||
		on(yesterday) && clock+24*time.Hour >= w.Begin && clock+24*time.Hour < w.Begin+w.Length
}

// Allowed is how many more of the instances may be disrupted now, when some already are; NoLimit if
// no rule in force limits it.
func Allowed(rules []Disruption, instances, already int, now time.Time) int {
	most := NoLimit
	limit := func(n int) {
		if most == NoLimit || n < most {
			most = n
		}
	}
	for i := range rules {
		r := &rules[i]
		if r.Window != nil && !r.Window.Contains(now) {
			continue
		}
		if r.Number >= 0 {
			limit(r.Number)
		}
		if r.Percent >= 0 {
			n := int(float64(instances) * r.Percent / 100)
			if r.Percent > 0 {
				n = max(n, 1)
			}
			limit(n)
		}
	}
	if most == NoLimit {
		return NoLimit
	}
	return max(most-already, 0)
}

// Frozen is the rule in force that permits no disruption at all; nil if none does so.
func Frozen(rules []Disruption, now time.Time) *Disruption {
	for i := range rules {
		if r := &rules[i]; (r.Number == 0 || r.Percent == 0) && (r.Window == nil || r.Window.Contains(now)) {
			return r
		}
	}
	return nil
}

// Slack is how many of a service's tasks may be stopped and started elsewhere at a time, by its
// deployment's bounds in percent: those above the minimum that are healthy, or, where more than
// desired may run, as many as can be started first. Zero with 100/100: ECS itself never moves such.
func Slack(desired, healthy, running, minimumHealthyPercent, maximumPercent int) int {
	least := (desired*minimumHealthyPercent + 99) / 100
	most := desired * maximumPercent / 100
	return max(healthy-least, most-running, 0)
}
