// Package schedule reads the at(…), rate(…) and cron(…) expressions of AWS's schedulers.
package schedule

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

var (
	atExpr   = regexp.MustCompile(`^at\((.+)\)$`)
	rateExpr = regexp.MustCompile(`^rate\((\d+) (minute|minutes|hour|hours|day|days)\)$`)
	cronExpr = regexp.MustCompile(`^cron\((.+)\)$`)
)

// Parse reads an expression in a time zone; UTC if the zone is empty. The function it returns tells
// the next time after another, and the zero time if there is none
// (https://docs.aws.amazon.com/autoscaling/application/userguide/scheduled-scaling-using-cron-expressions.html).
func Parse(expr, zone string) (next func(after time.Time) time.Time, err error) {
	loc, err := time.LoadLocation(zone)
	if err != nil || zone == "Local" {
		return nil, fmt.Errorf("the time zone %q is not known", zone)
	}
	if m := atExpr.FindStringSubmatch(expr); m != nil {
		at, err := time.ParseInLocation("2006-01-02T15:04:05", m[1], loc)
		if err != nil {
			return nil, fmt.Errorf("at(%s) is not a time like at(2026-11-23T18:00:00)", m[1])
		}
		return func(after time.Time) time.Time {
			if at.After(after) {
				return at
			}
			return time.Time{}
		}, nil
	}
	if m := rateExpr.FindStringSubmatch(expr); m != nil {
		n, err := strconv.Atoi(m[1])
		if err != nil || n == 0 || n > 1_000_000 {
			return nil, fmt.Errorf("the rate of %s must be positive", expr)
		}
		every := time.Duration(n) * map[byte]time.Duration{'m': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}[m[2][0]]
		return func(after time.Time) time.Time { return after.Add(every) }, nil
	}
	m := cronExpr.FindStringSubmatch(expr)
	if m == nil {
		return nil, fmt.Errorf("the schedule %q is none of at(…), rate(…) and cron(…)", expr)
	}
	c, err := parseCron(m[1])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	return func(after time.Time) time.Time { return c.next(after.In(loc)) }, nil
}

// cron is a parsed expression. A nil list matches everything.
type cron struct {
	minutes, hours, months, years []int
	day                           func(d time.Time) bool
}

var (
	monthNames = strings.Fields("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC")
	dayNames   = strings.Fields("SUN MON TUE WED THU FRI SAT")
)

func parseCron(text string) (*cron, error) {
	f := strings.Fields(strings.ToUpper(text))
	if len(f) != 6 {
		return nil, fmt.Errorf("it must have six fields: minutes hours day-of-month month day-of-week year")
	}
	c := &cron{}
	for _, part := range []struct {
		into   *[]int
		text   string
		lo, hi int
		names  []string
	}{{&c.minutes, f[0], 0, 59, nil}, {&c.hours, f[1], 0, 23, nil}, {&c.months, f[3], 1, 12, monthNames}, {&c.years, f[5], 1970, 2199, nil}} {
		list, err := values(part.text, part.lo, part.hi, part.names)
		if err != nil {
			return nil, err
		}
		*part.into = list
	}
	if (f[2] == "?") == (f[4] == "?") {
		return nil, fmt.Errorf("one of day-of-month and day-of-week must be ?, the other must not")
	}
	var err error
	if f[4] == "?" {
		c.day, err = dayOfMonth(f[2])
	} else {
		c.day, err = dayOfWeek(f[4])
	}
	return c, err
}

// values reads lists, ranges and increments; nil is every value.
func values(text string, lo, hi int, names []string) ([]int, error) {
	if text == "*" {
		return nil, nil
	}
	number := func(s string) (int, error) {
		if i := slices.Index(names, s); i >= 0 {
			return i + lo, nil
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < lo || n > hi {
			return 0, fmt.Errorf("%q is not between %d and %d", s, lo, hi)
		}
		return n, nil
	}
	var out []int
	for item := range strings.SplitSeq(text, ",") {
		span, by, stepped := strings.Cut(item, "/")
		first, last, ranged := strings.Cut(span, "-")
		from, to, step := lo, hi, 1
		var err error
		if span != "*" {
			if from, err = number(first); err != nil {
				return nil, err
			}
			if !stepped {
				to = from
			}
		}
		if ranged {
			if to, err = number(last); err != nil {
				return nil, err
			}
		}
		if stepped {
			if step, err = strconv.Atoi(by); err != nil || step < 1 {
				return nil, fmt.Errorf("%q is not an increment", by)
			}
		}
		if to < from { // FRI-MON goes over the end
			for v := from; v <= hi; v += step {
				out = append(out, v)
			}
			from = lo
		}
		for v := from; v <= to; v += step {
			out = append(out, v)
		}
	}
	return out, nil
}

func daysIn(d time.Time) int { return time.Date(d.Year(), d.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day() }

func dayOfMonth(text string) (func(time.Time) bool, error) {
	if text == "L" {
		return func(d time.Time) bool { return d.Day() == daysIn(d) }, nil
	}
	if near, ok := strings.CutSuffix(text, "W"); ok {
		n, err := values(near, 1, 31, nil)
		if err != nil || len(n) != 1 {
			return nil, fmt.Errorf("%q is not a day with W", text)
		}
		return func(d time.Time) bool { return n[0] <= daysIn(d) && d.Day() == workdayNear(d, n[0]) }, nil
	}
	list, err := values(text, 1, 31, nil)
	return func(d time.Time) bool { return list == nil || slices.Contains(list, d.Day()) }, err
}

// workdayNear is the working day of d's month that is nearest to a day of it.
func workdayNear(d time.Time, day int) int {
	switch time.Date(d.Year(), d.Month(), day, 0, 0, 0, 0, time.UTC).Weekday() {
	case time.Saturday:
		if day == 1 {
			return 3
		}
		return day - 1
	case time.Sunday:
		if day == daysIn(d) {
			return day - 2
		}
		return day + 1
	}
	return day
}

func dayOfWeek(text string) (func(time.Time) bool, error) {
	name, nth, hash := strings.Cut(text, "#")
	if last, ok := strings.CutSuffix(text, "L"); ok && last != "" || hash {
		if !hash {
			name = last
		}
		day, err := values(name, 1, 7, dayNames)
		if err != nil || len(day) != 1 {
			return nil, fmt.Errorf("%q is not a weekday with L or #", text)
		}
		if !hash {
			return func(d time.Time) bool { return int(d.Weekday())+1 == day[0] && d.Day()+7 > daysIn(d) }, nil
		}
		n, err := strconv.Atoi(nth)
		if err != nil || n < 1 || n > 5 {
			return nil, fmt.Errorf("%q is not one of the five weeks of a month", nth)
		}
		return func(d time.Time) bool { return int(d.Weekday())+1 == day[0] && (d.Day()-1)/7+1 == n }, nil
	}
	if text == "L" {
		text = "7"
	}
	list, err := values(text, 1, 7, dayNames)
	return func(d time.Time) bool { return list == nil || slices.Contains(list, int(d.Weekday())+1) }, err
}

func has(list []int, v int) bool { return list == nil || slices.Contains(list, v) }

// next goes by days to the first that matches, then by minutes of that day's clock.
func (c *cron) next(after time.Time) time.Time {
	y, m, d := after.Date()
	for range 366 * 8 { // 29 February comes at least every eight years
		day := time.Date(y, m, d, 12, 0, 0, 0, time.UTC)
		if c.years != nil && day.Year() > slices.Max(c.years) {
			return time.Time{}
		}
		if len(c.years) > 0 && day.Year() < slices.Min(c.years) {
			y, m, d = slices.Min(c.years), time.January, 1
			continue
		}
		if has(c.years, day.Year()) && has(c.months, int(day.Month())) && c.day(day) {
			for minute := range 24 * 60 {
				if !has(c.hours, minute/60) || !has(c.minutes, minute%60) {
					continue
				}
				at := time.Date(y, m, d, minute/60, minute%60, 0, 0, after.Location())
				if at.After(after) {
					return at
				}
			}
		}
		y, m, d = day.AddDate(0, 0, 1).Date()
	}
	return time.Time{}
}
