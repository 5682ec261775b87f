package placement

import (
	"errors"
	"testing"
	"time"
)

func instance() *Instance {
	return &Instance{
		ID: "ci-1", EC2ID: "i-abcd1234", AZ: "us-east-1a", Type: "t2.small",
		Status: "ACTIVE", AgentConnected: true, AgentVersion: "1.94.0",
		RegisteredAt: time.Date(2018, 6, 18, 22, 28, 28, 500e6, time.UTC),
		Attributes:   map[string]string{"stack": "prod", "ssd": "", "slots": "10"},
		Registered:   Resources{2048, 4096, 0, 3}, Running: 1,
		Groups: map[string]int{"service:production": 1, "database": 2},
	}
}

// The examples of https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cluster-query-language.html
// and each operator on each kind of subject.
func TestExpressions(t *testing.T) {
	for expr, want := range map[string]bool{
		"attribute:ecs.instance-type == t2.small":                                               true,
		"attribute:ecs.availability-zone in [us-east-1a, us-east-1b]":                           true,
		"attribute:ecs.instance-type =~ g2.* and attribute:ecs.availability-zone != us-east-1d": false,
		"attribute:ecs.instance-type =~ t2.* and attribute:ecs.availability-zone != us-east-1d": true,
		"task:group == service:production":                                                      true,
		"not(task:group == database)":                                                           false,
		"runningTasksCount == 1":                                                                true,
		"runningTasksCount > 1":                                                                 false,
		"ec2InstanceId in ['i-abcd1234', 'i-wxyx7890']":                                         true,
		"agentConnected == true":                                                                true,
		"agentVersion >= 1.100.0":                                                               false,
		"agentVersion < 1.100":                                                                  true,
		"agentVersion equals 1.94":                                                              true,
		"registeredAt == 2018-06-18T22:28:28Z":                                                  true,
		"registeredAt == 2018-06-18T22:28:28+00:00":                                             true,
		"registeredAt >= 2018-06-18T22:28:28":                                                   true,
		"registeredAt less_than 2018-06-18":                                                     false,
		"attribute:stack exists":                                                                true,
		"attribute:ssd exists && attribute:gpu !exists":                                         true,
		"attribute:gpu not_exists":                                                              true,
		"attribute:stack !exists or attribute:slots > 9":                                        true,
		"attribute:stack!=prod":                                                                 false,
		"attribute:none != prod":                                                                true,
		"attribute:none == prod":                                                                false,
		"attribute:none not_in [a,b]":                                                           true,
		"attribute:stack !in [prod]":                                                            false,
		`attribute:stack == "prod"`:                                                             true,
		"attribute:stack matches p|q":                                                           false,
		"attribute:stack matches 'p.*|q'":                                                       true,
		"attribute:stack !~ pro":                                                                true,
		"task:group != database":                                                                false,
		"task:group not_in [web, api]":                                                          true,
		"task:group =~ service:.*":                                                              true,
		"not attribute:stack == prod or attribute:slots == 10":                                  true,
		"attribute:stack == prod || attribute:stack == qa && attribute:slots == 9":              true,
		"(attribute:stack == prod || attribute:stack == qa) && attribute:slots == 9":            false,
		"!(attribute:stack == qa)":                                                              true,
		"attribute:ecs.availability-zone==us-east-1a and attribute:ecs.instance-type not_equals x": true,
	} {
		e, err := Parse(expr)
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		if got := e.Match(instance()); got != want {
			t.Errorf("%s = %v, want %v", expr, got, want)
		}
	}
}

func TestSyntaxErrorsNameTheColumn(t *testing.T) {
	for expr, column := range map[string]int{
		"":                                     1,
		"attribute:":                           1,
		"atribute:x == 1":                      1,
		"attribute:x = 1":                      13,
		"attribute:x == ":                      16,
		"attribute:x == 1 attribute:y == 2":    18,
		"(attribute:x == 1":                    18,
		"attribute:x in a":                     16,
		"attribute:x in [a b]":                 19,
		"attribute:x == 'abc":                  16,
		"runningTasksCount == many":            22,
		"runningTasksCount in [1]":             19,
		"agentConnected > true":                16,
		"registeredAt > yesterday":             16,
		"attribute:x =~ '('":                   16,
		"attribute:x == 1 and":                 21,
		"task:group exists":                    12,
		"not":                                  4,
		"'attribute:x' == 1":                   1,
		"attribute:a == 1 or or attribute:b==": 21,
	} {
		_, err := Parse(expr)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("%q: %v, want a syntax error", expr, err)
		} else if syntax.Column != column {
			t.Errorf("%q: column %d, want %d: %v", expr, syntax.Column, column, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"attribute:a == 1 and not (task:group in [x, 'y z'] || runningTasksCount >= 3)",
		"!!!attribute:x !exists", "registeredAt<2020-01-01", "agentVersion=~1", "((((", "attribute:a !in [", "'", "\xff",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := Parse(s)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Column < 1 || syntax.Column > len(s)+1 {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		not, err := Parse("not (" + s + ")")
		if err != nil {
			t.Skip() // one nesting deeper than allowed
		}
		if e.Match(instance()) == not.Match(instance()) {
			t.Fatalf("%q and its negation agree", s)
		}
	})
}
