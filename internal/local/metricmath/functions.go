package metricmath

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// notHere are functions of CloudWatch that need what the local AWS has not.
var notHere = []string{"ANOMALY_DETECTION_BAND", "DB_PERF_INSIGHTS", "INSIGHT_RULE_METRIC", "LAMBDA", "SERVICE_QUOTA"}

// clocks are the functions that tell the time of each point, in UTC.
var clocks = map[string]func(t time.Time) float64{
	"MINUTE": func(t time.Time) float64 { return float64(t.Minute()) },
	"HOUR":   func(t time.Time) float64 { return float64(t.Hour()) },
	"DAY":    func(t time.Time) float64 { return float64((int(t.Weekday())+6)%7 + 1) }, // Monday is 1
	"DATE":   func(t time.Time) float64 { return float64(t.Day()) },
	"MONTH":  func(t time.Time) float64 { return float64(t.Month()) },
	"YEAR":   func(t time.Time) float64 { return float64(t.Year()) },
	"EPOCH":  func(t time.Time) float64 { return float64(t.Unix()) },
}

// others are the functions that are neither pointwise, aggregates nor clocks.
var others = []string{"DIFF", "DIFF_TIME", "RATE", "RUNNING_SUM", "PERIOD", "METRICS", "SEARCH", "IF", "FILL", "TIME_SERIES", "DATAPOINT_COUNT", "METRIC_COUNT", "FIRST", "LAST", "REMOVE_EMPTY", "SLICE", "SORT"}

var pointwise = map[string]func(float64) float64{"ABS": math.Abs, "CEIL": math.Ceil, "FLOOR": math.Floor, "LOG": math.Log, "LOG10": math.Log10}

// call evaluates a function
// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html#metric-math-syntax-functions-list).
func (r *run) call(e *Expr) (Value, error) {
	if slices.Contains(notHere, e.name) {
		return Value{}, fmt.Errorf("not supported: the function %s", e.name)
	}
	if pointwise[e.name] == nil && aggregate(e.name) == nil && clocks[e.name] == nil && !slices.Contains(others, e.name) {
		return Value{}, fmt.Errorf("there is no function %s", e.name)
	}
	args := make([]Value, 0, len(e.args))
	for _, a := range e.args {
		v, err := r.eval(a)
		if err != nil {
			return Value{}, err
		}
		args = append(args, v)
	}
	need := func(least, most int) error {
		if len(args) < least || len(args) > most {
			return fmt.Errorf("%s takes %s, not %d", e.name, many(least, most), len(args))
		}
		return nil
	}
	if f := pointwise[e.name]; f != nil {
		if err := need(1, 1); err != nil {
			return Value{}, err
		}
		return mapped(e.name, args[0], f)
	}
	if f := aggregate(e.name); f != nil {
		if err := need(1, 1); err != nil {
			return Value{}, err
		}
		return aggregated(e.name, args[0], f)
	}
	if f := clocks[e.name]; f != nil {
		return onSeries(e.name, args, func(s Series) Series {
			return s.each(func(i int) float64 { return f(time.Unix(s.Points[i].At, 0).UTC()) })
		})
	}
	switch e.name {
	case "DIFF", "DIFF_TIME", "RATE":
		return onSeries(e.name, args, func(s Series) Series { return change(s, e.name) })
	case "RUNNING_SUM":
		return onSeries(e.name, args, func(s Series) Series {
			total := 0.0
			return s.each(func(i int) float64 { total += s.Points[i].Value; return total })
		})
	case "PERIOD":
		if err := need(1, 1); err != nil {
			return Value{}, err
		}
		if args[0].Kind != One {
			return Value{}, errors.New("PERIOD takes a time series")
		}
		return scalar(args[0].List[0].Period.Seconds()), nil
	case "METRICS":
		return r.metrics(args)
	case "SEARCH":
		return r.searched(args)
	case "IF":
		if err := need(2, 3); err != nil {
			return Value{}, err
		}
		return r.choose(args)
	case "FILL":
		if err := need(2, 2); err != nil {
			return Value{}, err
		}
		return r.fill(args[0], args[1])
	case "TIME_SERIES":
		if err := need(1, 1); err != nil {
			return Value{}, err
		}
		if args[0].Kind != Scalar {
			return Value{}, errors.New("TIME_SERIES takes a number")
		}
		return series(r.constant(args[0].Number, r.period)), nil
	case "DATAPOINT_COUNT":
		if err := need(1, 1); err != nil {
			return Value{}, err
		}
		if args[0].Kind == One {
			return scalar(float64(len(args[0].List[0].Points))), nil
		}
		return aggregated(e.name, args[0], func(v []float64) float64 { return float64(len(v)) })
	}
	return array(e.name, args, need)
}

func many(least, most int) string {
	switch {
	case least == most && least == 1:
		return "one argument"
	case least == most:
		return fmt.Sprintf("%d arguments", least)
	}
	return fmt.Sprintf("%d to %d arguments", least, most)
}

// array evaluates the functions that are for arrays.
func array(name string, args []Value, need func(least, most int) error) (Value, error) {
	most := map[string]int{"METRIC_COUNT": 1, "FIRST": 1, "LAST": 1, "REMOVE_EMPTY": 1, "SLICE": 3, "SORT": 4}[name]
	least := map[string]int{"SLICE": 2, "SORT": 3}[name]
	if err := need(max(1, least), most); err != nil {
		return Value{}, err
	}
	if args[0].Kind != Many && args[0].Kind != One {
		return Value{}, fmt.Errorf("%s takes an array of time series", name)
	}
	list := slices.Clone(args[0].List)
	number := func(i, otherwise int) (int, error) {
		if i >= len(args) {
			return otherwise, nil
		}
		if args[i].Kind != Scalar || args[i].Number < 0 || args[i].Number != math.Trunc(args[i].Number) {
			return 0, fmt.Errorf("argument %d of %s must be a whole number", i+1, name)
		}
		return int(min(args[i].Number, 1e6)), nil
	}
	switch name {
	case "METRIC_COUNT":
		return scalar(float64(len(list))), nil
	case "FIRST", "LAST":
		if len(list) == 0 {
			return series(Series{}), nil
		}
		if name == "FIRST" {
			return series(list[0]), nil
		}
		return series(list[len(list)-1]), nil
	case "REMOVE_EMPTY":
		return Value{Kind: Many, List: slices.DeleteFunc(list, func(s Series) bool { return len(s.Points) == 0 })}, nil
	case "SLICE":
		from, err := number(1, 0)
		if err != nil {
			return Value{}, err
		}
		to, err := number(2, len(list))
		if err != nil {
			return Value{}, err
		}
		to = min(to, len(list))
		return Value{Kind: Many, List: list[min(from, to):to]}, nil
	}
	f := aggregate(args[1].text)
	if args[1].Kind != text || f == nil || args[2].Kind != text || args[2].text != "ASC" && args[2].text != "DESC" {
		return Value{}, errors.New("SORT takes an array, one of AVG, MIN, MAX and SUM, and ASC or DESC")
	}
	n, err := number(3, len(list))
	if err != nil {
		return Value{}, err
	}
	list = slices.DeleteFunc(list, func(s Series) bool { return len(s.Points) == 0 })
	slices.SortStableFunc(list, func(a, b Series) int {
		c := cmp.Compare(f(a.values()), f(b.values()))
		if args[2].text == "DESC" {
			return -c
		}
		return c
	})
	return Value{Kind: Many, List: list[:min(n, len(list))]}, nil
}

// aggregated makes a number of a series, and a series of an array.
func aggregated(name string, v Value, f func([]float64) float64) (Value, error) {
	switch v.Kind {
	case One:
		if len(v.List[0].Points) == 0 {
			return series(Series{Period: v.List[0].Period}), nil // a number that is missing leaves nothing
		}
		return scalar(f(v.List[0].values())), nil
	case Many:
		return series(across(v.List, f)), nil
	}
	return Value{}, fmt.Errorf("%s takes a time series or an array of them", name)
}

func onSeries(name string, args []Value, f func(Series) Series) (Value, error) {
	if len(args) != 1 || args[0].Kind != One && args[0].Kind != Many {
		return Value{}, fmt.Errorf("%s takes one time series or an array of them", name)
	}
	out := Value{Kind: args[0].Kind}
	for _, s := range args[0].List {
		out.List = append(out.List, f(s))
	}
	return out, nil
}

// change is what a point differs in from the one before: in value, in seconds, or the one by the other.
func change(s Series, name string) Series {
	return s.each(func(i int) float64 {
		if i == 0 {
			return math.NaN()
		}
		value, seconds := s.Points[i].Value-s.Points[i-1].Value, float64(s.Points[i].At-s.Points[i-1].At)
		switch name {
		case "DIFF":
			return value
		case "DIFF_TIME":
			return seconds
		}
		return value / seconds
	})
}

// metrics are the metrics of the request, not its expressions; with an argument those whose id holds it.
func (r *run) metrics(args []Value) (Value, error) {
	part := ""
	if len(args) > 1 || len(args) == 1 && args[0].Kind != text {
		return Value{}, errors.New("METRICS takes no argument or a string")
	}
	if len(args) == 1 {
		part = args[0].text
	}
	out := Value{Kind: Many}
	for _, q := range r.order {
		if q.Expression == "" && strings.Contains(q.ID, part) {
			out.List = append(out.List, q.Metric)
		}
	}
	return out, nil
}

func (r *run) searched(args []Value) (Value, error) {
	if len(args) < 2 || len(args) > 3 || args[0].Kind != text || args[1].Kind != text || len(args) == 3 && args[2].Kind != Scalar {
		return Value{}, errors.New("SEARCH takes a search expression, a statistic and a period")
	}
	if r.search == nil {
		return Value{}, errors.New("SEARCH cannot be used here")
	}
	period := r.period
	if len(args) == 3 {
		if args[2].Number < 1 || args[2].Number > 86400 {
			return Value{}, errors.New("the period of SEARCH must be between 1 and 86400 seconds")
		}
		period = time.Duration(args[2].Number) * time.Second
	}
	list, err := r.search(args[0].text, args[1].text, period)
	return Value{Kind: Many, List: list}, err
}

// constant has the value at each period of the range.
func (r *run) constant(v float64, period time.Duration) Series {
	out := Series{Period: period}
	for _, at := range moments(r.span.Start, r.span.End, period) {
		out.Points = append(out.Points, Point{at, v})
	}
	return out
}

// choose is IF: the second value where the first is not zero, else the third, where there is one. A
// point that the condition lacks is lacking in the result.
func (r *run) choose(args []Value) (Value, error) {
	for _, a := range args {
		if a.Kind == Many || a.Kind == text {
			return Value{}, errors.New("IF takes numbers and single time series")
		}
	}
	cond := args[0]
	if cond.Kind == Scalar {
		if cond.Number != 0 {
			return args[1], nil
		}
		if len(args) == 3 {
			return args[2], nil
		}
		return series(Series{Period: r.period}), nil
	}
	pick := func(v Value, at int64) float64 {
		if v.Kind == Scalar {
			return v.Number
		}
		if x, ok := v.List[0].at(at); ok {
			return x
		}
		return math.NaN()
	}
	s := cond.List[0]
	out := s.each(func(i int) float64 {
		switch {
		case s.Points[i].Value != 0:
			return pick(args[1], s.Points[i].At)
		case len(args) == 3:
			return pick(args[2], s.Points[i].At)
		}
		return math.NaN()
	})
	return series(out), nil
}

// fill gives the periods of the range that have no point one: a number, the same period of another
// series, the last value before (REPEAT), or what lies on the line between the neighbours (LINEAR).
func (r *run) fill(v, with Value) (Value, error) {
	if v.Kind != One && v.Kind != Many {
		return Value{}, errors.New("FILL takes a time series or an array of them")
	}
	if with.Kind == Many || with.Kind == text && with.text != "REPEAT" && with.text != "LINEAR" {
		return Value{}, errors.New("FILL fills with a number, a time series, REPEAT or LINEAR")
	}
	out := Value{Kind: v.Kind}
	for _, s := range v.List {
		out.List = append(out.List, r.filled(s, with))
	}
	return out, nil
}

func (r *run) filled(s Series, with Value) Series {
	out := Series{ID: s.ID, Label: s.Label, Period: cmp.Or(s.Period, r.period)}
	next := 0
	for _, at := range moments(r.span.Start, r.span.End, out.Period) {
		for next < len(s.Points) && s.Points[next].At < at {
			next++
		}
		v := math.NaN()
		switch {
		case next < len(s.Points) && s.Points[next].At == at:
			v = s.Points[next].Value
		case with.Kind == Scalar:
			v = with.Number
		case with.Kind == One:
			if x, ok := with.List[0].at(at); ok {
				v = x
			}
		case with.text == "REPEAT" && next > 0:
			v = s.Points[next-1].Value
		case with.text == "LINEAR" && next > 0 && next < len(s.Points):
			a, b := s.Points[next-1], s.Points[next]
			v = a.Value + (b.Value-a.Value)*float64(at-a.At)/float64(b.At-a.At)
		}
		if !math.IsNaN(v) {
			out.Points = append(out.Points, Point{at, v})
		}
	}
	return out
}
