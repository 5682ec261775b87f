package metricmath

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC) // a Monday

// minutes is a metric with a point a minute from start on; "-" is a missing one.
func minutes(id, values string) Query {
	s := Series{ID: id, Label: id, Period: time.Minute}
	for i, f := range strings.Fields(values) {
		var v float64
		if _, err := fmt.Sscan(f, &v); err == nil {
			s.Points = append(s.Points, Point{start.Add(time.Duration(i) * time.Minute).Unix(), v})
		}
	}
	return Query{ID: id, Metric: s}
}

func show(v Value) string {
	if v.Kind == Scalar {
		return fmt.Sprint(v.Number)
	}
	var out []string
	for _, s := range v.List {
		var line []string
		for at := start.Unix(); at < start.Add(4*time.Minute).Unix(); at += 60 {
			if x, ok := s.at(at); ok {
				line = append(line, fmt.Sprint(x))
			} else {
				line = append(line, "-")
			}
		}
		out = append(out, strings.Join(line, " "))
	}
	return strings.Join(out, " | ")
}

func evaluate(expressions ...string) (Value, error) {
	queries := []Query{minutes("m1", "1 2 - 8"), minutes("m2", "10 0 30 40"), minutes("errors1", "- - - -")}
	for i, e := range expressions {
		queries = append(queries, Query{ID: fmt.Sprint("e", i+1), Expression: e})
	}
	found := func(what, stat string, period time.Duration) ([]Series, error) {
		return []Series{minutes("s1", "5 5 5 5").Metric, {Label: what + stat + period.String()}}, nil
	}
	out, err := Evaluate(queries, Range{start, start.Add(4 * time.Minute)}, found)
	return out["e1"], err
}

func TestExpressions(t *testing.T) {
	for _, c := range []struct{ expr, want string }{
		{"m1+m2", "11 2 - 48"},
		{"m1 * 2 - 1", "1 3 - 15"},
		{"100 * m1/m2", "10 - - 20"}, // nothing where it is divided by zero
		{"-m1^2", "-1 -4 - -64"},
		{"2^3^2", "512"},
		{"(1+2)*3 - 4/2", "7"},
		{"1.5e2 + .5", "150.5"},
		{"SUM([m1,m2])", "11 2 30 48"}, // a sum of an array takes what is there
		{"SUM(METRICS())", "11 2 30 48"},
		{"AVG([m1, m2])", "5.5 1 30 24"},
		{"MAX([m1,m2])", "10 2 30 40"},
		{"MIN([m1,m2])", "1 0 30 8"},
		{"m2 - AVG(m2)", "-10 -20 10 20"},
		{"m2/MAX(m2)", "0.25 0 0.75 1"},
		{"STDDEV(m2)", "15.811388300841896"},
		{"m1 > 1", "0 1 - 1"},
		{"m1 > 1 AND m2 > 0 || m2 == 10", "1 0 - 1"},
		{"IF(m2 > 5, m2, 0)", "10 0 30 40"},
		{"IF(m2 > 5, m1)", "1 - - 8"},
		{"IF(1 > 2, m1, m2)", "10 0 30 40"},
		{"IF(m1 >= 2, 1, 0)", "0 1 - 1"},
		{"FILL(m1, 0)", "1 2 0 8"},
		{"FILL(m1, REPEAT)", "1 2 2 8"},
		{"FILL(m1, LINEAR)", "1 2 5 8"},
		{"FILL(m1, m2)", "1 2 30 8"},
		{"FILL(errors1, 0)", "0 0 0 0"},
		{"FILL(errors1, REPEAT)", "- - - -"},
		{"RATE(m1)*60", "- 1 - 3"}, // 6 in two minutes
		{"DIFF(m2)", "- -10 30 10"},
		{"DIFF_TIME(m1)", "- 60 - 120"},
		{"m1/PERIOD(m1)*60", "1 2 - 8"},
		{"RUNNING_SUM(m2)", "10 10 40 80"},
		{"ABS(-m1)", "1 2 - 8"},
		{"CEIL(m2/7) + FLOOR(0.5)", "2 0 5 6"},
		{"LOG10(m2)", "1 - 1.4771212547196624 1.6020599913279623"},
		{"TIME_SERIES(7)", "7 7 7 7"},
		{"METRIC_COUNT(METRICS())", "3"},
		{"METRIC_COUNT(REMOVE_EMPTY(METRICS()))", "2"},
		{"METRICS('m')", "1 2 - 8 | 10 0 30 40"},
		{"METRICS() * 2", "2 4 - 16 | 20 0 60 80 | - - - -"},
		{"DATAPOINT_COUNT(m1)", "3"},
		{"DATAPOINT_COUNT(METRICS())", "2 2 1 2"},
		{"FIRST(SORT(METRICS(), MAX, DESC))", "10 0 30 40"},
		{"SORT(METRICS(), AVG, ASC, 1)", "1 2 - 8"},
		{"SLICE(METRICS(), 1, 2)", "10 0 30 40"},
		{"LAST(METRICS('m'))", "10 0 30 40"},
		{"MINUTE(m2)", "0 1 2 3"},
		{"IF(DAY(m1) < 6 AND HOUR(m1) == 10, m1)", "1 2 - 8"},
		{"DATE(m1) + 100*MONTH(m1)", "302 302 - 302"},
		{"YEAR(m1)", "2026 2026 - 2026"},
		{"SUM(SEARCH('{A,B} x', 'Average', 60))", "5 5 5 5"},
		{"AVG(errors1) + m1", "- - - -"},
	} {
		v, err := evaluate(c.expr)
		if err != nil {
			t.Errorf("%s: %v", c.expr, err)
		} else if got := show(v); got != c.want {
			t.Errorf("%s = %s, want %s", c.expr, got, c.want)
		}
	}
	if v, err := evaluate("e2 * 2", "m1 + 1"); err != nil || show(v) != "4 6 - 18" {
		t.Errorf("an expression of an expression: %v, %v", show(v), err)
	}
}

func TestRefused(t *testing.T) {
	for expr, want := range map[string]string{
		"m1 +": "unexpected", "m9": `"m9" is not the id`, "m1 $ 2": "unexpected", "NOPE(m1)": "no function NOPE", "m1 m2": "unexpected", "(m1": "expected",
		"SUM(1)": "takes a time series", "SUM(m1, m2)": "takes one argument", "FILL(m1)": "takes 2 arguments", "FILL(m1, TWICE)": "not the id", "[1]": "may hold time series only",
		"e1 + 1": "in a circle", "ANOMALY_DETECTION_BAND(m1)": "not supported", "METRICS() + METRICS()": "between two arrays", "PERIOD(3)": "takes a time series", "1/0": "is no number",
		"'x' + 1": "does not take", "SORT(METRICS(), X, ASC)": "not the id", "SLICE(METRICS(), 0.5)": "whole number", "'x": "no end", "AND": "unexpected",
		strings.Repeat("(", 100): "nests deeper",
	} {
		_, err := evaluate(expr)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "Error in expression 'e1' [") {
			t.Errorf("%s: said %v, want %s", expr, err, want)
		}
	}
	if _, err := evaluate("m1", "nope("); err == nil || !strings.Contains(err.Error(), "'e2'") {
		t.Errorf("another one's fault: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"m1+m2*3", "IF(m1>2 AND m2<3, FILL(m1, REPEAT), -m2^2)", "SORT(METRICS('e'), MAX, DESC, 3)", "SUM([m1,m2])/PERIOD(m1)", "SLICE(METRICS(),1,2)", "SEARCH('{A,B} x', 'Sum', 60)", "1e9999", "RATE(RUNNING_SUM(m1))", "[[m1],m2]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := evaluate(s)
		if err != nil {
			return
		}
		for _, x := range v.List {
			for i := 1; i < len(x.Points); i++ {
				if x.Points[i].At <= x.Points[i-1].At {
					t.Fatalf("%q: points are not in order", s)
				}
			}
		}
	})
}
