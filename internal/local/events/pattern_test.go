package events

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

func TestPatterns(t *testing.T) {
	event := `{"source":"aws.ecs","n":5,"ok":true,"none":null,"ip":"10.0.0.7","list":["a","b"],"empty":[],"detail":{"state":"RUNNING","file":"a/b.PNG","tags":[{"k":"env","v":"qa"},{"k":"team","v":"x"}]}}`
	for _, c := range []struct {
		pattern string
		want    bool
	}{
		{`{"source":["aws.ecs"]}`, true},
		{`{"source":["aws.ec2","aws.ecs"],"n":[5]}`, true},
		{`{"source":["aws.ec2"]}`, false},
		{`{"n":[5.0]}`, true},
		{`{"n":["5"]}`, false},
		{`{"ok":[true],"none":[null]}`, true},
		{`{"missing":[null]}`, false},
		{`{"list":["b"]}`, true},
		{`{"detail":{"state":[{"prefix":"RUN"}]}}`, true},
		{`{"detail":{"state":[{"prefix":{"equals-ignore-case":"run"}}]}}`, true},
		{`{"detail":{"file":[{"suffix":".PNG"}]}}`, true},
		{`{"detail":{"file":[{"suffix":".png"}]}}`, false},
		{`{"detail":{"state":[{"equals-ignore-case":"running"}]}}`, true},
		{`{"detail":{"file":[{"wildcard":"a/*.P*"}]}}`, true},
		{`{"detail":{"file":[{"wildcard":"*x*"}]}}`, false},
		{`{"detail":{"state":[{"anything-but":"STOPPED"}]}}`, true},
		{`{"detail":{"state":[{"anything-but":["STOPPED","RUNNING"]}]}}`, false},
		{`{"detail":{"state":[{"anything-but":{"prefix":"RUN"}}]}}`, false},
		{`{"detail":{"state":[{"anything-but":{"suffix":["x","y"]}}]}}`, true},
		{`{"missing":[{"anything-but":"x"}]}`, false},
		{`{"n":[{"numeric":[">",0,"<=",5]}]}`, true},
		{`{"n":[{"numeric":["<",5]}]}`, false},
		{`{"ip":[{"cidr":"10.0.0.0/24"}]}`, true},
		{`{"ip":[{"cidr":"10.0.1.0/24"}]}`, false},
		{`{"missing":[{"exists":false}],"n":[{"exists":true}]}`, true},
		{`{"empty":[{"exists":true}]}`, false},
		{`{"detail":[{"exists":true}]}`, false},
		{`{"$or":[{"n":[9]},{"source":["aws.ecs"]}]}`, true},
		{`{"n":[5],"$or":[{"n":[9]},{"source":["x"]}]}`, false},
		{`{"detail":{"tags":{"k":["env"],"v":["qa"]}}}`, true},
		{`{"detail":{"tags":{"k":["env"],"v":["x"]}}}`, false}, // of different elements
	} {
		p, err := Parse(c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		var e any
		if err := json.Unmarshal([]byte(event), &e); err != nil {
			t.Fatal(err)
		}
		if got := p.Match(e); got != c.want {
			t.Errorf("%s matches: %v, want %v", c.pattern, got, c.want)
		}
	}
	for _, bad := range []string{`[]`, `{}`, `x`, `{"a":"b"}`, `{"a":[]}`, `{"a":{}}`, `{"a":[{"like":"b"}]}`, `{"a":[{"numeric":["~",1]}]}`, `{"a":[[1]]}`, `{"$or":[{"a":[1]}]}`, `{"a":[{"prefix":1}]}`} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

func TestTransform(t *testing.T) {
	var e any
	_ = json.Unmarshal([]byte(`{"detail":{"id":"i-1","say":"a \"b\"","n":[1,2],"o":{"x":1}}}`), &e)
	paths := map[string]string{"id": "$.detail.id", "say": "$.detail.say", "n": "$.detail.n[1]", "o": "$.detail.o", "none": "$.detail.none"}
	for template, want := range map[string]string{
		`{"instance": <id>, "n": <n>}`:    `{"instance": "i-1", "n": 2}`,
		`"instance <id> says <say>"`:      `"instance i-1 says a \"b\""`,
		`{"o": <o>, "t": "x<none>y"}`:     `{"o": {"x":1}, "t": "xy"}`,
		`{"rule": <aws.events.rule-arn>}`: `{"rule": "arn:r"}`,
	} {
		if got := Transform(e, paths, template, map[string]string{"aws.events.rule-arn": "arn:r"}); got != want {
			t.Errorf("%s → %s, want %s", template, got, want)
		}
	}
	if CheckTemplate(paths, "<other>") == nil {
		t.Error("a name without a path is accepted")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"a":[{"anything-but":{"wildcard":"*a*"}}]}`, `{"a":"b"}`)
	f.Fuzz(func(_ *testing.T, pattern, event string) {
		p, err := Parse(pattern)
		var e any
		if err == nil && json.Unmarshal([]byte(event), &e) == nil {
			p.Match(e)
		}
	})
}

// The documented samples are found by the patterns written for them.
func TestSamples(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.json")
	if len(files) == 0 {
		t.Fatal("no samples")
	}
	p, err := Parse(`{"source":["aws.ecs"],"detail-type":["ECS Task State Change","ECS Deployment State Change","ECS Service Action","ECS Container Instance State Change"]}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, _ := os.ReadFile(f)
		var sample struct{ Event any }
		if err := json.Unmarshal(data, &sample); err != nil {
			t.Fatal(err)
		}
		if !p.Match(sample.Event) {
			t.Errorf("%s is not found", f)
		}
	}
}
