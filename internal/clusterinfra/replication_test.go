package clusterinfra

import (
	"context"
	"reflect"
	"strings"
	"testing"
)

var (
	ireland   = Replica{"eu-west-1", "111111111111"}
	frankfurt = Replica{"eu-central-1", "111111111111"}
	partner   = Replica{"us-east-1", "222222222222"}
)

func rule(prefixes string, to ...Replica) ReplicationRule {
	return ReplicationRule{strings.Fields(prefixes), to}
}

func TestRulesWith(t *testing.T) {
	own := func(rules ...ReplicationRule) Registry { return Registry{"111111111111", "us-east-1", rules} }
	for name, c := range map[string]struct {
		have Registry
		to   []Replica
		want []ReplicationRule
	}{
		"first":                        {own(), []Replica{{Region: "eu-west-1"}}, []ReplicationRule{rule("app", ireland)}},
		"shares a rule":                {own(rule("web", ireland)), []Replica{ireland}, []ReplicationRule{rule("web app", ireland)}},
		"other places, another rule":   {own(rule("web", ireland)), []Replica{partner}, []ReplicationRule{rule("web", ireland), rule("app", partner)}},
		"once though named twice":      {own(), []Replica{ireland, {Region: "eu-west-1"}}, []ReplicationRule{rule("app", ireland)}},
		"moves":                        {own(rule("web app", ireland)), []Replica{frankfurt, ireland}, []ReplicationRule{rule("web", ireland), rule("app", frankfurt, ireland)}},
		"goes, and its rule with it":   {own(rule("app", ireland), rule("web", partner)), nil, []ReplicationRule{rule("web", partner)}},
		"goes, others stay":            {own(rule("web app", ireland)), nil, []ReplicationRule{rule("web", ireland)}},
		"rules for all stay":           {own(rule("", ireland)), []Replica{ireland}, []ReplicationRule{rule("", ireland), rule("app", ireland)}},
		"prefixes are somebody else's": {own(rule("ap", ireland)), nil, []ReplicationRule{rule("ap", ireland)}},
		"as it is":                     {own(rule("app web", ireland)), []Replica{ireland}, []ReplicationRule{rule("web app", ireland)}},
	} {
		t.Run(name, func(t *testing.T) {
			before := reflect.ValueOf(c.have).Interface().(Registry)
			got, err := rulesWith(c.have, "app", c.to)
			for i := range got {
				if len(got[i].Prefixes) == 0 {
					got[i].Prefixes = []string{}
				}
			}
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %v, %v\nwant %v", got, err, c.want)
			}
			again, err := rulesWith(Registry{c.have.Account, c.have.Region, got}, "app", c.to)
			if err != nil || !sameRuleSet(again, got) {
				t.Errorf("a second time it becomes %v, %v", again, err)
			}
			if !reflect.DeepEqual(before, c.have) {
				t.Error("what was read is changed")
			}
		})
	}
	full := own()
	for _, p := range strings.Fields("a b c d e f g h i j") {
		full.Rules = append(full.Rules, rule(p, partner))
	}
	for reason, to := range map[string]Replica{"is no region": {Region: "Ireland"}, "no 12 digits": {"eu-west-1", "me"}, "where it is": {Region: "us-east-1"}, "10 are allowed": ireland} {
		if _, err := rulesWith(full, "app", []Replica{to}); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%v: %v", to, err)
		}
	}
}

// shared is a registry that somebody else writes at the same time.
type shared struct {
	Registry
	others, writes int
}

type sharedPort struct{ *shared }

func (p sharedPort) Registry(context.Context) (Registry, error) { return p.shared.Registry, nil }
func (p sharedPort) PutReplication(_ context.Context, rules []ReplicationRule) error {
	p.writes++
	if p.others > 0 { // who came between read and write, and wrote what they had read before
		p.others--
		return nil
	}
	p.Rules = rules
	return nil
}

func TestWritesAtTheSameTime(t *testing.T) {
	s := &shared{Registry: Registry{"111111111111", "us-east-1", nil}, others: 2}
	r := NewRepositories(nil, sharedPort{s})
	if err := r.Replicate(t.Context(), "app", []Replica{ireland}); err != nil || s.writes != 3 || len(s.Rules) != 1 {
		t.Errorf("%v after %d writes: %v", err, s.writes, s.Rules)
	}
	if got, err := r.Replicas(t.Context(), "app"); err != nil || !reflect.DeepEqual(got, []Replica{{Region: "eu-west-1"}}) {
		t.Errorf("replicas %v, %v", got, err)
	}
	s.others = 100
	if err := r.Replicate(t.Context(), "app", nil); err == nil || !strings.Contains(err.Error(), "apply again") {
		t.Errorf("overwritten every time: %v", err)
	}
}
