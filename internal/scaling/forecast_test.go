package scaling

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestForecast(t *testing.T) {
	day := func(h int) float64 { return 100 + 50*math.Sin(2*math.Pi*float64(h%24)/24) }
	week := func(h int) float64 { // weekends are quiet
		if h/24%7 >= 5 {
			return 10
		}
		return day(h)
	}
	nan := math.NaN()
	for name, c := range map[string]struct {
		hours int
		past  func(h int) float64
		want  func(h int) float64
	}{
		"a day repeats":  {36, day, day},
		"a week repeats": {14 * 24, week, week},
		"more than a week ago": {14 * 24, func(h int) float64 {
			if h < 7*24 {
				return day(h)
			}
			return 1.5 * day(h)
		}, func(h int) float64 { return 1.5 * (1.5*day(h) + 0.5*day(h)) / 1.5 }}, // (2·1.5 + 1)/3 of the weeks, times the drift
		"gaps": {48, func(h int) float64 {
			if h == 30 {
				return nan
			}
			return day(h)
		}, day},
	} {
		var past []float64
		for h := range c.hours {
			past = append(past, c.past(h))
		}
		got, ok := Forecast(past, ForecastHours)
		if !ok || len(got) != ForecastHours {
			t.Errorf("%s: no forecast", name)
			continue
		}
		for h, v := range got {
			if want := c.want(c.hours + h); name != "more than a week ago" && math.Abs(v-want) > 1e-9 {
				t.Errorf("%s: hour %d is %v, want %v", name, h, v, want)
			} else if v < want*0.8-1e-9 {
				t.Errorf("%s: hour %d is %v, about %v is expected", name, h, v, want)
			}
		}
	}
	if _, ok := Forecast(make([]float64, 23), 48); ok {
		t.Error("a forecast from 23 hours")
	}
}

func TestForecastStaysWithinWhatWasSeen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		past := rapid.SliceOfN(rapid.Float64Range(0, 1000), 24, 400).Draw(t, "past")
		got, ok := Forecast(past, ForecastHours)
		if !ok {
			t.Fatal("no forecast")
		}
		top := 0.0
		for _, v := range past {
			top = max(top, v)
		}
		for _, v := range got {
			if math.IsNaN(v) || v < 0 || v > 2*top+1e-9 {
				t.Fatalf("%v of a past of at most %v", v, top)
			}
		}
	})
}

func TestCapacityFor(t *testing.T) {
	for _, c := range []struct {
		load, share, target float64
		want                int
	}{{500, 1, 50, 10}, {501, 1, 50, 11}, {0, 1, 50, 0}, {100, 0.5, 50, 1}, {100, 1, 0, 0}, {math.NaN(), 1, 5, 0}} {
		if got := CapacityFor(c.load, c.share, c.target); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
	if k := LoadShare([]float64{100, 200, math.NaN()}, []float64{5, 10, 1}, []float64{10, 10, 1}); math.Abs(k-0.5) > 1e-9 {
		t.Errorf("share %v", k)
	}
	for _, c := range []struct{ forecast, lo, hi, buffer, want, top int }{{50, 1, 40, -1, 40, 40}, {50, 1, 40, 10, 50, 55}, {0, 2, 40, -1, 2, 40}, {30, 1, 40, 0, 30, 40}} {
		if got, top := PredictedWithin(c.forecast, c.lo, c.hi, c.buffer); got != c.want || top != c.top {
			t.Errorf("%+v: %d, at most %d", c, got, top)
		}
	}
}
