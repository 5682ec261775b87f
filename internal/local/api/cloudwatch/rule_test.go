package cloudwatch

import (
	"slices"
	"strings"
	"testing"
)

func TestRule(t *testing.T) {
	states := map[string]string{"a": "ALARM", "b": "OK", "c d": "INSUFFICIENT_DATA", "e(1": "ALARM"}
	state := func(name string) string { return states[name] }
	for text, want := range map[string]bool{
		"ALARM(a)": true, `ALARM("a")`: true, "OK(a)": false, "ALARM(a) AND ALARM(b)": false, "ALARM(a) OR ALARM(b)": true, "NOT ALARM(b)": true,
		"ALARM(a) AND NOT (OK(b) AND TRUE)": false, "(ALARM(a) OR ALARM(b)) AND OK(b)": true, "ALARM(a) OR ALARM(b) AND ALARM(b)": true, // AND binds tighter
		`INSUFFICIENT_DATA("c d")`: true, "INSUFFICIENT_DATA( c d )": true, "TRUE": true, "FALSE": false, "false": false, "NOT NOT TRUE": true,
		"ALARM(arn:aws:cloudwatch:us-east-1:000000000000:alarm:a)": true, `ALARM("e(1")`: true, "\n(\tALARM(a)\n)": true,
		"AT_LEAST(2, ALARM, (a, b, \"e(1\"))": true, "AT_LEAST(2, OK, (a, b))": false, "AT_LEAST(50%, ALARM, (a, b))": true, "AT_LEAST(51%, ALARM, (a, b))": false,
		"AT_LEAST( 2 , NOT OK , ( a, \"c d\", b ) ) AND OK(b)": true, "NOT AT_LEAST(1, INSUFFICIENT_DATA, (a,arn:aws:cloudwatch:us-east-1:000000000000:alarm:b))": true,
	} {
		r, err := parseRule(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := r.holds(state); got != want {
			t.Errorf("%s is %v", text, got)
		}
	}
	for _, bad := range []string{"", "ALARM", "ALARM(", "ALARM()", "ALARM(a) AND", "AND ALARM(a)", "(ALARM(a)", "ALARM(a))", "HOT(a)", "ALARM(a) ALARM(b)", `ALARM("a)`, "NOT", "AT_LEAST", "AT_LEAST(0, OK, (a))", "AT_LEAST(3, OK, (a, b))", "AT_LEAST(101%, OK, (a))", "AT_LEAST(1, OK, a)", "AT_LEAST(1, OK, ())", "AT_LEAST(1, OK, (a)", "AT_LEAST(1, HOT, (a))", "AT_LEAST(1 OK (a))", strings.Repeat("(", 600) + "TRUE" + strings.Repeat(")", 600)} {
		if _, err := parseRule(bad); err == nil {
			t.Errorf("%.30s is accepted", bad)
		}
	}
	r, err := parseRule("ALARM(a) OR OK(a) AND NOT ALARM(z)")
	if err != nil || !slices.Equal(r.children(), []string{"a", "z"}) {
		t.Errorf("children %v, %v", r.children(), err)
	}
}

func TestOrderOfComposites(t *testing.T) {
	rules := map[string]*rule{}
	for name, text := range map[string]string{"top": "ALARM(middle)", "middle": "ALARM(metric)", "x": "ALARM(y)", "y": "ALARM(x)", "above": "ALARM(x) OR ALARM(middle)"} {
		r, err := parseRule(text)
		if err != nil {
			t.Fatal(err)
		}
		rules[name] = r
	}
	if got := inOrder(rules); !slices.Equal(got, []string{"middle", "top"}) {
		t.Errorf("order %v", got)
	}
}

func FuzzRule(f *testing.F) {
	for _, s := range []string{"ALARM(a) AND (OK(\"b\") OR NOT INSUFFICIENT_DATA(c))", "TRUE", "NOT(FALSE)", "AT_LEAST(50%, NOT OK, (a, \"b\"))", "ALARM(arn:aws:cloudwatch:r:1:alarm:x)"} {
		f.Add(s)
	}
	f.Fuzz(func(_ *testing.T, s string) {
		if r, err := parseRule(s); err == nil {
			r.holds(func(string) string { return "ALARM" })
		}
	})
}

func FuzzSearch(f *testing.F) {
	for _, s := range []string{`{AWS/ECS,ClusterName} MetricName="CPUUtilization" NOT (a OR b)`, "{A}", "a AND b=c", `"whole"`} {
		f.Add(s)
	}
	m := &series{namespace: "AWS/ECS", name: "CPUUtilization", dims: []Dimension{{"ClusterName", "c"}}}
	f.Fuzz(func(_ *testing.T, s string) {
		if match, err := parseSearch(s); err == nil {
			match(m)
		}
	})
}

func TestSearch(t *testing.T) {
	m := &series{namespace: "AWS/ECS", name: "CPUUtilization", dims: []Dimension{{"ClusterName", "prod"}, {"ServiceName", "web"}}}
	for text, want := range map[string]bool{
		`{AWS/ECS,ServiceName,ClusterName} MetricName="CPUUtilization"`: true, "{AWS/ECS,ClusterName} cpu": false, "cpu": true, `"CPU"`: false, "ServiceName=web NOT prod": false,
		"ServiceName=web (memory OR cpu)": true, "Namespace=ecs AND ServiceName=api": false, "": true,
	} {
		match, err := parseSearch(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if match(m) != want {
			t.Errorf("%s is not %v", text, want)
		}
	}
}
