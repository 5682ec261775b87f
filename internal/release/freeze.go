package release

import (
	"fmt"
	"slices"
	"time"
)

// Freeze is a time in which nothing is deployed: once, from Start to End, or every week.
type Freeze struct {
	Name         string
	Environments []string // none = all
	Start, End   time.Time
	Weekly       *Weekly
}

// Weekly is a freeze that comes back. It begins on each of the days at From and lasts until To, both
// since midnight of the wall clock; To not after From means: until the next day.
type Weekly struct {
	Days     []time.Weekday
	From, To time.Duration  // 0 to 24h
	Location *time.Location // nil = UTC
}

// Until is the end of the freeze if it holds now.
func (f Freeze) Until(now time.Time) (time.Time, bool) {
	if f.Weekly == nil {
		return f.End, !now.Before(f.Start) && now.Before(f.End)
	}
	w := *f.Weekly
	loc := w.Location
	if loc == nil {
		loc = time.UTC
	}
	local := now.In(loc)
	for _, back := range []int{0, 1} {
		day := time.Date(local.Year(), local.Month(), local.Day()-back, 0, 0, 0, 0, loc)
		if !slices.Contains(w.Days, day.Weekday()) {
			continue
		}
		to := w.To
		if to <= w.From {
			to += 24 * time.Hour
		}
		start, end := clock(day, w.From), clock(day, to)
		if !now.Before(start) && now.Before(end) {
			return end, true
		}
	}
	return time.Time{}, false
}

// clock is the wall-clock time on a day, also where that day has 23 or 25 hours.
func clock(day time.Time, since time.Duration) time.Time {
	return time.Date(day.Year(), day.Month(), day.Day(), 0, 0, int(since/time.Second), 0, day.Location())
}

func ruleFreeze(c Candidate, p Policy, now time.Time) *Refusal {
	for _, f := range p.Freezes {
		if len(f.Environments) > 0 && !slices.Contains(f.Environments, c.To) {
			continue
		}
		if until, frozen := f.Until(now); frozen {
			return &Refusal{"freeze", fmt.Sprintf("%s is frozen (%s)", c.To, f.Name), "wait until " + stamp(until)}
		}
	}
	return nil
}
