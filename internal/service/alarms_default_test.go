package service

import (
	"strings"
	"testing"
)

func TestDefaultAlarms(t *testing.T) {
	names := func(as []Alarm) string {
		var out []string
		for _, a := range as {
			out = append(out, a.Name+" "+strings.Join(a.Notify, ","))
		}
		return strings.Join(out, "; ")
	}
	const topic = "arn:aws:sns:us-east-1:111122223333:team"
	base := "service: shop\nbuild: { ko: . }\ncluster: demo\nenvironments: { qa: {} }\ncontainer: { port: 8080 }\ndefault_alarms: { notify: " + topic + ", rollback: true }\n"
	for name, c := range map[string]struct{ more, want, back string }{
		"with a route":          {"route: { listener: web }\n", "default-cpu T; default-memory T; default-churn T; default-errors T; default-latency T; default-unhealthy T", "default-cpu default-memory default-churn default-errors default-latency default-unhealthy"},
		"worker":                {"kind: worker\n", "default-cpu T; default-memory T; default-churn T", "default-cpu default-memory default-churn"},
		"one is the team's own": {"kind: worker\nalarms: { default-cpu: { metric: cpu, threshold: 50 } }\n", "default-cpu ; default-memory T; default-churn T", "default-cpu default-memory default-churn"},
	} {
		t.Run(name, func(t *testing.T) {
			f, faults := Parse("slipway.yaml", []byte(base+c.more))
			if err := faults.Err(); err != nil {
				t.Fatal(err)
			}
			s, _ := f.Spec("qa")
			if got := strings.ReplaceAll(names(s.Alarms), topic, "T"); got != c.want {
				t.Errorf("alarms %q, wanted %q", got, c.want)
			}
			if got := strings.Join(s.Deployment.RollbackOnAlarms, " "); got != c.back {
				t.Errorf("rollback on %q, wanted %q", got, c.back)
			}
		})
	}
	plain := "service: shop\nbuild: { ko: . }\ncluster: demo\ncontainer: { port: 8080 }\n"
	for name, c := range map[string]struct{ more, want string }{
		"nothing said":          {"", "default-cpu ; default-memory ; default-churn "},
		"switched off":          {"default_alarms: false\n", ""},
		"switched on":           {"default_alarms: true\n", "default-cpu ; default-memory ; default-churn "},
		"off in an environment": {"default_alarms: " + topic + "\nenvironments: { default: { default_alarms: false } }\n", ""},
		"a job has none":        {"kind: job\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f, faults := Parse("slipway.yaml", []byte(plain+c.more))
			if err := faults.Err(); err != nil {
				t.Fatal(err)
			}
			s, _ := f.Spec(DefaultEnvironment)
			if got := names(s.Alarms); got != c.want || len(s.Deployment.RollbackOnAlarms) > 0 {
				t.Errorf("alarms %q, wanted %q; rollback on %q", got, c.want, s.Deployment.RollbackOnAlarms)
			}
		})
	}
	if _, faults := Parse("slipway.yaml", []byte(strings.Replace(base, topic, "ops@example.com", 1))); !strings.Contains(faults.String(), "is not the ARN of an SNS topic") {
		t.Errorf("faults %v", faults)
	}
}
