package capacity

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// ParseDisruption reads a rule as people write it: how many, as a number or in percent, and when the rule is in
// force: days, hours by the wall clock, and whose; each may be left out.
//
//	2
//	10%
//	0 mon-fri 08:00-18:30 Europe/Berlin
//	1 sat,sun UTC
//	50% 22:00-06:00
//
// Hours may go past midnight: the days are those on which they begin. zone finds a time zone by its IANA name;
// a window that names none is of UTC.
func ParseDisruption(text string, zone func(name string) (*time.Location, error)) (Disruption, error) {
	d := Disruption{Number: NoLimit, Percent: NoLimit}
	fields := strings.Fields(text)
	fault := func(format string, args ...any) (Disruption, error) {
		return d, fmt.Errorf("budget %q: %s", text, fmt.Sprintf(format, args...))
	}
	if len(fields) == 0 {
		return fault("it says no number; write one, or a part: 2 or 10%%")
	}
	if part, ok := strings.CutSuffix(fields[0], "%"); ok {
		p, err := strconv.ParseFloat(part, 64)
		if err != nil || !(p >= 0 && p <= 100) {
			return fault("%q is no part from 0%% to 100%%", fields[0])
		}
		d.Percent = p
	} else {
		n, err := strconv.Atoi(fields[0])
		if err != nil || n < 0 {
			return fault("%q is neither a number of instances nor a part of them such as 10%%", fields[0])
		}
		d.Number = n
	}
	if len(fields) == 1 {
		return d, nil
	}
	w := &Window{Length: 24 * time.Hour, Location: time.UTC}
	days, hours, place := false, false, false
	for _, f := range fields[1:] {
		switch {
		case isDays(f):
			if days || hours || place {
				return fault("days come once, and before hours and time zone")
			}
			days = true
			list, err := readDays(f)
			if err != nil {
				return fault("%v", err)
			}
			w.Days = list
		case f[0] >= '0' && f[0] <= '9':
			if hours || place {
				return fault("hours come once, and before the time zone")
			}
			hours = true
			from, to, _ := strings.Cut(f, "-")
			a, okA := readClock(from)
			b, okB := readClock(to)
			if !okA || !okB {
				return fault("%q are no hours such as 08:00-18:30", f)
			}
			if a == b {
				return fault("%q begins and ends at once; leave hours out for the whole day", f)
			}
			if w.Begin = a; b <= a {
				b += 24 * time.Hour
			}
			w.Length = b - a
		default:
			if place {
				return fault("%q is one time zone too many", f)
			}
			place = true
			l, err := zone(f)
			if err != nil || l == nil || f == "Local" {
				return fault("%q is neither a day (mon … sun) nor a time zone such as Europe/Berlin", f)
			}
			w.Location = l
		}
	}
	if !days && !hours {
		return fault("a time zone alone says no time: add days or hours")
	}
	d.Window = w
	return d, nil
}

// isDays reports whether the field can only be meant as days.
func isDays(f string) bool {
	return len(f) >= 3 && slices.Contains(weekdays, strings.ToLower(f[:3])) && (len(f) == 3 || strings.ContainsAny(f, "-,"))
}

func readDays(f string) (days []time.Weekday, err error) {
	day := func(name string) (int, error) {
		if k := slices.Index(weekdays, strings.ToLower(name)); k >= 0 {
			return k, nil
		}
		return 0, fmt.Errorf("%q is no day; days are mon, tue, wed, thu, fri, sat, sun", name)
	}
	for part := range strings.SplitSeq(f, ",") {
		from, to, isRange := strings.Cut(part, "-")
		a, err := day(from)
		if err != nil {
			return nil, err
		}
		b := a
		if isRange {
			if b, err = day(to); err != nil {
				return nil, err
			}
		}
		for k := a; ; k = (k + 1) % 7 {
			if d := time.Weekday(k); !slices.Contains(days, d) {
				days = append(days, d)
			}
			if k == b {
				break
			}
		}
	}
	return days, nil
}

// readClock is the time of day of hh:mm; 24:00 is the end of the day.
func readClock(text string) (time.Duration, bool) {
	h, m, ok := strings.Cut(text, ":")
	hour, err := strconv.Atoi(h)
	minute, err2 := strconv.Atoi(m)
	if !ok || err != nil || err2 != nil || len(m) != 2 || len(h) > 2 || hour < 0 || minute < 0 || minute > 59 || hour > 24 || hour == 24 && minute > 0 {
		return 0, false
	}
	return time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute, true
}

// String is the rule as ParseDisruption reads it.
func (r Disruption) String() string {
	var parts []string
	if r.Number >= 0 {
		parts = append(parts, strconv.Itoa(r.Number))
	}
	if r.Percent >= 0 {
		parts = append(parts, strconv.FormatFloat(r.Percent, 'g', -1, 64)+"%")
	}
	s := strings.Join(parts, " and ")
	w := r.Window
	if w == nil {
		return s
	}
	if len(w.Days) > 0 {
		names := make([]string, len(w.Days))
		for k, d := range w.Days {
			names[k] = weekdays[d]
		}
		s += " " + strings.Join(names, ",")
	}
	if w.Begin != 0 || w.Length != 24*time.Hour || len(w.Days) == 0 {
		end := (w.Begin + w.Length) % (24 * time.Hour)
		if w.Begin == end {
			end += 24 * time.Hour
		}
		s += " " + clockText(w.Begin) + "-" + clockText(end)
	}
	if w.Location != nil {
		s += " " + w.Location.String()
	}
	return s
}

func clockText(d time.Duration) string {
	return fmt.Sprintf("%02d:%02d", int(d.Hours()), int(d.Minutes())%60)
}
