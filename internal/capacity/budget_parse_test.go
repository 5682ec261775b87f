package capacity

import (
	"reflect"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the zones, wherever the tests run
)

func TestParseDisruption(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	week := []time.Weekday{1, 2, 3, 4, 5}
	for text, want := range map[string]Disruption{
		"2":                                   {Number: 2, Percent: NoLimit},
		"0":                                   {Number: 0, Percent: NoLimit},
		"10%":                                 {Number: NoLimit, Percent: 10},
		"2.5%":                                {Number: NoLimit, Percent: 2.5},
		"0 mon-fri 08:00-18:30 Europe/Berlin": {Number: 0, Percent: NoLimit, Window: &Window{Days: week, Begin: 8 * time.Hour, Length: 10*time.Hour + 30*time.Minute, Location: berlin}},
		"1 sat,sun":                           {Number: 1, Percent: NoLimit, Window: &Window{Days: []time.Weekday{6, 0}, Length: 24 * time.Hour, Location: time.UTC}},
		"1 Fri-Mon":                           {Number: 1, Percent: NoLimit, Window: &Window{Days: []time.Weekday{5, 6, 0, 1}, Length: 24 * time.Hour, Location: time.UTC}},
		"50% 22:00-6:00":                      {Number: NoLimit, Percent: 50, Window: &Window{Begin: 22 * time.Hour, Length: 8 * time.Hour, Location: time.UTC}},
		"3 18:00-24:00 UTC":                   {Number: 3, Percent: NoLimit, Window: &Window{Begin: 18 * time.Hour, Length: 6 * time.Hour, Location: time.UTC}},
	} {
		got, err := ParseDisruption(text, time.LoadLocation)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", text, got, err, want)
			continue
		}
		if again, err := ParseDisruption(got.String(), time.LoadLocation); err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%s is written %q, which is %+v, %v", text, got, again, err)
		}
	}
	for text, want := range map[string]string{
		"":                           "says no number",
		"many":                       `"many" is neither a number of instances nor a part`,
		"-1":                         "neither a number",
		"101%":                       "no part from 0% to 100%",
		"NaN%":                       "no part from 0% to 100%",
		"1 08:00":                    "no hours such as",
		"1 8-18":                     "no hours such as",
		"1 25:00-26:00":              "no hours such as",
		"1 08:60-09:00":              "no hours such as",
		"1 24:30-01:00":              "no hours such as",
		"1 08:00-08:00":              "leave hours out",
		"1 mon-fr":                   `"fr" is no day; days are mon`,
		"1 monday":                   `"monday" is neither a day (mon … sun) nor a time zone`,
		"1 08:00-09:00 mon":          "days come once, and before hours",
		"1 mon tue":                  "days come once",
		"1 mon 01:00-02:00 Mars/Sea": `"Mars/Sea" is neither`,
		"1 mon Local":                `"Local" is neither`,
		"1 mon UTC Europe/Berlin":    "one time zone too many",
		"1 Europe/Berlin":            "add days or hours",
	} {
		if _, err := ParseDisruption(text, time.LoadLocation); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "budget ") {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
}

// Windows are by the wall clock of their place, on days when clocks are changed too. In Berlin of 2026 they go
// forward on 29 March (02:00 is 03:00, 01:00 UTC) and back on 25 October (03:00 is 02:00, 01:00 UTC).
func TestWindowOverClockChanges(t *testing.T) {
	for _, c := range []struct {
		rule, at string
		in       bool
	}{
		// The same clock time is another UTC time in summer.
		{"0 mon-fri 08:00-18:00 Europe/Berlin", "2026-01-12T06:59:59Z", false},
		{"0 mon-fri 08:00-18:00 Europe/Berlin", "2026-01-12T07:00:00Z", true},
		{"0 mon-fri 08:00-18:00 Europe/Berlin", "2026-07-13T05:59:59Z", false},
		{"0 mon-fri 08:00-18:00 Europe/Berlin", "2026-07-13T06:00:00Z", true},
		{"0 mon-fri 08:00-18:00 Europe/Berlin", "2026-07-13T16:00:00Z", false},
		// The day is that of the place: Sunday evening in UTC is Monday in Tokyo.
		{"0 mon Asia/Tokyo", "2026-07-12T15:00:00Z", true},
		{"0 mon Asia/Tokyo", "2026-07-13T15:00:00Z", false},
		{"0 mon America/Los_Angeles", "2026-07-14T06:59:00Z", true},
		// Forward: 01:00-04:00 is two hours long, and ends when the clock shows 04:00.
		{"0 01:00-04:00 Europe/Berlin", "2026-03-28T23:59:59Z", false},
		{"0 01:00-04:00 Europe/Berlin", "2026-03-29T00:00:00Z", true},
		{"0 01:00-04:00 Europe/Berlin", "2026-03-29T01:59:59Z", true},
		{"0 01:00-04:00 Europe/Berlin", "2026-03-29T02:00:00Z", false},
		// A window in the hour that is left out.
		{"0 02:00-02:59 Europe/Berlin", "2026-03-29T00:59:59Z", false},
		{"0 02:00-02:59 Europe/Berlin", "2026-03-29T01:00:00Z", false},
		{"0 02:00-02:59 Europe/Berlin", "2026-03-30T00:30:00Z", true},
		// Back: the hour comes twice, and the window too.
		{"0 02:00-02:30 Europe/Berlin", "2026-10-25T00:15:00Z", true},
		{"0 02:00-02:30 Europe/Berlin", "2026-10-25T00:45:00Z", false},
		{"0 02:00-02:30 Europe/Berlin", "2026-10-25T01:15:00Z", true},
		{"0 02:00-02:30 Europe/Berlin", "2026-10-25T01:45:00Z", false},
		// Past midnight, over the change, on the day it began.
		{"0 sat 22:00-06:00 Europe/Berlin", "2026-03-28T21:00:00Z", true},
		{"0 sat 22:00-06:00 Europe/Berlin", "2026-03-29T03:59:59Z", true},
		{"0 sat 22:00-06:00 Europe/Berlin", "2026-03-29T04:00:00Z", false},
		{"0 sat 22:00-06:00 Europe/Berlin", "2026-10-25T04:59:59Z", true},
		{"0 sat 22:00-06:00 Europe/Berlin", "2026-10-25T05:00:00Z", false},
		{"0 sat 22:00-06:00 Europe/Berlin", "2026-03-29T21:00:00Z", false},
		// A zone of a half hour.
		{"0 09:00-10:00 Asia/Kolkata", "2026-05-01T03:30:00Z", true},
		{"0 09:00-10:00 Asia/Kolkata", "2026-05-01T04:30:00Z", false},
	} {
		d, err := ParseDisruption(c.rule, time.LoadLocation)
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		if in := d.Window.Contains(at); in != c.in {
			t.Errorf("%s at %s: %v", c.rule, c.at, in)
		}
		// Whoever asks, and in which zone: the moment is the same.
		if in := d.Window.Contains(at.In(time.FixedZone("x", -5*3600))); in != c.in {
			t.Errorf("%s at %s asked elsewhere: %v", c.rule, c.at, in)
		}
		if rule := Frozen([]Disruption{{Number: 3, Percent: NoLimit}, d}, at); (rule != nil) != c.in {
			t.Errorf("%s at %s: frozen by %v", c.rule, c.at, rule)
		}
	}
}
