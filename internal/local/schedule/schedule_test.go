package schedule

import (
	"testing"
	"time"
)

// The expressions are those of
// https://docs.aws.amazon.com/autoscaling/application/userguide/scheduled-scaling-using-cron-expressions.html
func TestSchedules(t *testing.T) {
	// A Monday.
	from := time.Date(2026, 11, 23, 10, 30, 0, 0, time.UTC)
	for _, c := range []struct{ expr, zone, want string }{
		{"at(2026-11-23T18:00:00)", "", "2026-11-23T18:00:00Z"},
		{"at(2026-11-23T18:00:00)", "Asia/Tokyo", ""}, // 09:00 UTC is past
		{"at(2026-11-23T20:00:00)", "Asia/Tokyo", "2026-11-23T11:00:00Z"},
		{"rate(5 minutes)", "", "2026-11-23T10:35:00Z"},
		{"rate(1 hour)", "", "2026-11-23T11:30:00Z"},
		{"rate(7 days)", "", "2026-11-30T10:30:00Z"},
		{"cron(0 9 * * ? *)", "", "2026-11-24T09:00:00Z"},
		{"cron(0 12 * * ? *)", "Europe/Vienna", "2026-11-23T11:00:00Z"},
		{"cron(0/15 * * * ? *)", "", "2026-11-23T10:45:00Z"},
		{"cron(0 18 ? * MON-FRI *)", "", "2026-11-23T18:00:00Z"},
		{"cron(0 9 ? * 2 *)", "", "2026-11-30T09:00:00Z"}, // 2 is Monday
		{"cron(0 9 ? * 1 *)", "", "2026-11-29T09:00:00Z"}, // 1 is Sunday
		{"cron(0 9 ? * 2-6 *)", "", "2026-11-24T09:00:00Z"},
		{"cron(0 8 1 * ? *)", "", "2026-12-01T08:00:00Z"},
		{"cron(0 8 1 JAN,JUL ? *)", "", "2027-01-01T08:00:00Z"},
		{"cron(30 23 31 12 ? *)", "", "2026-12-31T23:30:00Z"},
		{"cron(0 0 L * ? *)", "", "2026-11-30T00:00:00Z"},
		{"cron(0 0 1 1 ? 2028)", "", "2028-01-01T00:00:00Z"},
		{"cron(0 0 1 1 ? 2025)", "", ""},
		{"cron(0 0 ? * 6L *)", "", "2026-11-27T00:00:00Z"},  // the last Friday
		{"cron(0 0 ? * 3#1 *)", "", "2026-12-01T00:00:00Z"}, // the first Tuesday
		{"cron(0 0 29W * ? *)", "", "2026-11-30T00:00:00Z"}, // the 29th is a Sunday
	} {
		next, err := Parse(c.expr, c.zone)
		if err != nil {
			t.Errorf("%s: %v", c.expr, err)
			continue
		}
		got := ""
		if at := next(from); !at.IsZero() {
			got = at.UTC().Format(time.RFC3339)
		}
		if got != c.want {
			t.Errorf("%s in %q: next is %q, want %q", c.expr, c.zone, got, c.want)
		}
	}
	for _, bad := range []string{"", "every day", "at(tomorrow)", "rate(0 minutes)", "rate(5 fortnights)", "cron(0 9 * * ?)", "cron(0 99 * * ? *)", "cron(0 9 * * * *)", "cron(0 9 ? * ? *)", "cron(0 9 ? * 8 *)", "cron(0 0 ? * 2#6 *)"} {
		if _, err := Parse(bad, ""); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
	if _, err := Parse("rate(1 hour)", "Mars/Base"); err == nil {
		t.Error("an unknown time zone is accepted")
	}
}
