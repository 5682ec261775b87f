package metricmath

import (
	"math"
	"slices"
	"time"
)

// Point is a value of a series.
type Point struct {
	At    int64 // Unix seconds at which its period begins
	Value float64
}

// Series is a time series: points in the order of time, with none for what is missing.
type Series struct {
	ID     string // of the query it comes from
	Label  string
	Period time.Duration
	Points []Point
}

// Kind is what an expression gives.
type Kind int

// A number, a time series, an array of time series.
const (
	Scalar Kind = iota
	One
	Many
	text // an argument such as REPEAT
)

// Value is what an expression gives.
type Value struct {
	Kind   Kind
	Number float64  // of a Scalar
	List   []Series // one of a One
	text   string
}

func scalar(v float64) Value { return Value{Kind: Scalar, Number: v} }

func series(s Series) Value { return Value{Kind: One, List: []Series{s}} }

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// each makes a series of the same moments; what has no result (a division by zero) has no point.
func (s Series) each(f func(i int) float64) Series {
	out := Series{ID: s.ID, Label: s.Label, Period: s.Period}
	for i := range s.Points {
		if v := f(i); !math.IsNaN(v) && !math.IsInf(v, 0) {
			out.Points = append(out.Points, Point{s.Points[i].At, v})
		}
	}
	return out
}

func (s Series) at(moment int64) (float64, bool) {
	i, ok := slices.BinarySearchFunc(s.Points, moment, func(p Point, at int64) int { return int(p.At - at) })
	if !ok {
		return 0, false
	}
	return s.Points[i].Value, true
}

func (s Series) values() []float64 {
	out := make([]float64, len(s.Points))
	for i, p := range s.Points {
		out[i] = p.Value
	}
	return out
}

// together has a point where both have one.
func together(a, b Series, f func(x, y float64) float64) Series {
	out := Series{ID: a.ID, Label: a.Label, Period: max(a.Period, b.Period)}
	for _, p := range a.Points {
		y, ok := b.at(p.At)
		if v := f(p.Value, y); ok && !math.IsNaN(v) && !math.IsInf(v, 0) {
			out.Points = append(out.Points, Point{p.At, v})
		}
	}
	return out
}

// across combines what several series have at each moment.
func across(list []Series, f func([]float64) float64) Series {
	var out Series
	at := map[int64][]float64{}
	for _, s := range list {
		out.Period = max(out.Period, s.Period)
		for _, p := range s.Points {
			at[p.At] = append(at[p.At], p.Value)
		}
	}
	moments := make([]int64, 0, len(at))
	for m := range at {
		moments = append(moments, m)
	}
	slices.Sort(moments)
	for _, m := range moments {
		out.Points = append(out.Points, Point{m, f(at[m])})
	}
	return out
}

// moments are the beginnings of the periods between start and end.
func moments(start, end time.Time, period time.Duration) []int64 {
	step := max(int64(period/time.Second), 1)
	first := start.Unix()
	if r := first % step; r != 0 {
		first -= r
	}
	var out []int64
	for at := first; at < end.Unix() && len(out) < 1_000_000; at += step {
		out = append(out, at)
	}
	return out
}

func aggregate(name string) func([]float64) float64 {
	switch name {
	case "SUM":
		return sum
	case "AVG":
		return func(v []float64) float64 { return sum(v) / float64(len(v)) }
	case "MIN":
		return slices.Min[[]float64]
	case "MAX":
		return slices.Max[[]float64]
	case "STDDEV":
		return func(v []float64) float64 {
			mean, out := sum(v)/float64(len(v)), 0.0
			for _, x := range v {
				out += (x - mean) * (x - mean)
			}
			return math.Sqrt(out / float64(len(v)))
		}
	}
	return nil
}

func sum(v []float64) float64 {
	total := 0.0
	for _, x := range v {
		total += x
	}
	return total
}
