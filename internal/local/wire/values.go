package wire

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// Ptr returns a pointer to a copy of v.
func Ptr[T any](v T) *T { return &v }

// Value is *p, or the zero value if p is nil.
func Value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// String returns a pointer to s.
func String(s string) *string { return &s }

// Bool returns a pointer to b.
func Bool(b bool) *bool { return &b }

// Int32 returns a pointer to n as the models' integers are.
func Int32(n int) *int32 { return Ptr(int32(n)) }

// Int64 returns a pointer to n as the models' longs are.
func Int64(n int) *int64 { return Ptr(int64(n)) }

// NonEmpty returns a pointer to s, nil if s is empty: for members AWS leaves out when unset.
func NonEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Time is a timestamp of the models: seconds since 1970 with milliseconds in JSON, tag 1 in CBOR,
// RFC 3339 in XML.
type Time struct{ time.Time }

// Timestamp is t for a member of an answer; nil if t is zero.
func Timestamp(t time.Time) *Time {
	if t.IsZero() {
		return nil
	}
	return &Time{t}
}

// TimeOf is the time of a timestamp; zero if p is nil.
func TimeOf(p *Time) time.Time {
	if p == nil {
		return time.Time{}
	}
	return p.Time
}

func (t Time) appendEpoch(b []byte) []byte {
	ms := t.UnixMilli()
	if ms < 0 {
		b, ms = append(b, '-'), -ms
	}
	b = strconv.AppendInt(b, ms/1000, 10)
	if ms %= 1000; ms != 0 {
		b = append(b, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
		b = bytes.TrimRight(b, "0")
	}
	return b
}

// MarshalJSON writes seconds since 1970.
func (t Time) MarshalJSON() ([]byte, error) { return t.appendEpoch(nil), nil }

// UnmarshalJSON reads seconds since 1970, or RFC 3339 in a string.
func (t *Time) UnmarshalJSON(data []byte) error {
	s := string(data)
	if s == "null" {
		return nil
	}
	parsed, err := parseTime(strings.Trim(s, `"`))
	if err != nil {
		return err
	}
	t.Time = parsed
	return nil
}

// MarshalCBOR writes tag 1 with the seconds since 1970 as a double.
func (t Time) MarshalCBOR() ([]byte, error) {
	return cbor.Marshal(cbor.Tag{Number: 1, Content: float64(t.UnixMilli()) / 1000})
}

// UnmarshalCBOR reads tag 1, or a bare number of seconds since 1970.
func (t *Time) UnmarshalCBOR(data []byte) error {
	var raw cbor.RawTag
	if err := cbor.Unmarshal(data, &raw); err == nil {
		if raw.Number != 1 {
			return fmt.Errorf("tag %d is not a timestamp", raw.Number)
		}
		data = raw.Content
	}
	var secs float64
	if err := cbor.Unmarshal(data, &secs); err != nil {
		return err
	}
	parsed, err := epoch(secs)
	if err != nil {
		return err
	}
	t.Time = parsed
	return nil
}

// format is the form of timestamps in XML.
func (t Time) format() string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func epoch(secs float64) (time.Time, error) {
	// The bound is the year 9999: RFC 3339 has no later one.
	if math.IsNaN(secs) || math.Abs(secs) > 253402300799 {
		return time.Time{}, fmt.Errorf("%v is not a timestamp", secs)
	}
	return time.UnixMilli(int64(math.Round(secs * 1000))).UTC(), nil
}

// parseTime reads what clients send for a timestamp.
func parseTime(s string) (time.Time, error) {
	if secs, err := strconv.ParseFloat(s, 64); err == nil {
		return epoch(secs)
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a timestamp", s)
}
