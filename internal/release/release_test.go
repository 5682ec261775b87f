package release

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ecs/slipway/internal/image"
)

var (
	day = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC) // a Monday
	one = image.Digest("sha256:" + strings.Repeat("1", 64))
	two = image.Digest("sha256:" + strings.Repeat("2", 64))
)

func at(minutes int) time.Time { return day.Add(time.Duration(minutes) * time.Minute) }

func built(d image.Digest, m int) Statement {
	return Statement{Kind: Built, Subject: d, Outcome: Succeeded, At: at(m), By: "ci", Author: "Ann <ann@example.com>", Commit: strings.Repeat("a", 40)}
}
func tested(d image.Digest, m int, o Outcome) Statement {
	return Statement{Kind: Tested, Subject: d, Outcome: o, At: at(m)}
}
func deployed(d image.Digest, env string, m int, o Outcome) Statement {
	return Statement{Kind: DeployedTo, Subject: d, Environment: env, Outcome: o, At: at(m)}
}
func approved(d image.Digest, env, by string, m int, o Outcome) Statement {
	return Statement{Kind: ApprovedFor, Subject: d, Environment: env, Outcome: o, At: at(m), By: by}
}
func rolledBack(d, to image.Digest, env string, m int) Statement {
	return Statement{Kind: RolledBack, Subject: d, To: to, Environment: env, Outcome: Succeeded, At: at(m)}
}
func scanned(d image.Digest, s Severity, m int) Statement {
	return Statement{Kind: Scanned, Subject: d, Severity: s, Outcome: Succeeded, At: at(m)}
}

func TestStatementsComeBackAsTheyWere(t *testing.T) {
	for _, s := range []Statement{
		built(one, 0), tested(one, 1, Failed), deployed(one, "qa", 2, Succeeded), approved(one, "prod", "bob", 3, Withdrawn),
		rolledBack(one, two, "prod", 4), scanned(one, "HIGH", 5),
		{Kind: DeployedTo, Subject: one, Repository: "shop", Environment: "prod", Outcome: Succeeded, At: day, By: "x", BuildURL: "https://ci/1",
			Revision: "arn:aws:ecs:…:1", GitTags: []string{"v1"}, Details: map[string]string{"a": "b"}},
	} {
		payload, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(one, payload)
		if err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("got %+v, %v\nwant %+v", got, err, s)
		}
		if _, err := Decode(two, payload); err == nil {
			t.Errorf("%s of one image is taken for another's", s.Kind)
		}
	}
}

func TestStatementsThatCannotBeReliedUpon(t *testing.T) {
	for name, s := range map[string]Statement{
		"no subject":     {Kind: Built, Outcome: Succeeded, At: day},
		"no time":        {Kind: Built, Subject: one, Outcome: Succeeded},
		"no outcome":     {Kind: Built, Subject: one, At: day},
		"no environment": {Kind: DeployedTo, Subject: one, Outcome: Succeeded, At: day},
		"by nobody":      approved(one, "prod", " ", 0, Succeeded),
		"unknown kind":   {Kind: "blessed", Subject: one, Outcome: Succeeded, At: day},
		"severity":       scanned(one, "BAD", 0),
		"withdrawn test": tested(one, 0, Withdrawn),
		"to a tag":       rolledBack(one, "latest", "prod", 0),
	} {
		if _, err := s.Encode(); err == nil {
			t.Errorf("%s: is recorded", name)
		}
	}
	for _, text := range []string{"", "{}", `{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://slsa.dev/provenance/v1"}`} {
		if _, err := Decode(one, []byte(text)); err == nil {
			t.Errorf("%q is read", text)
		}
	}
}

func TestCurrentAndPrevious(t *testing.T) {
	three := image.Digest("sha256:" + strings.Repeat("3", 64))
	tests := map[string]struct {
		history           []Statement
		current, previous image.Digest
		since             int
	}{
		"nothing":             {nil, "", "", 0},
		"another environment": {[]Statement{deployed(one, "qa", 0, Succeeded)}, "", "", 0},
		"deployed":            {[]Statement{deployed(one, "prod", 0, Succeeded)}, one, "", 0},
		"in any order":        {[]Statement{deployed(two, "prod", 5, Succeeded), deployed(one, "prod", 0, Succeeded)}, two, one, 5},
		"again":               {[]Statement{deployed(one, "prod", 0, Succeeded), deployed(one, "prod", 9, Succeeded)}, one, "", 0},
		"failed":              {[]Statement{deployed(one, "prod", 0, Succeeded), deployed(two, "prod", 5, Failed)}, one, "", 0},
		"rolled back":         {[]Statement{deployed(one, "prod", 0, Succeeded), deployed(two, "prod", 5, Succeeded), rolledBack(two, one, "prod", 7)}, one, "", 7},
		"never back to what was rolled back": {[]Statement{deployed(one, "prod", 0, Succeeded), deployed(two, "prod", 1, Succeeded), rolledBack(two, one, "prod", 2),
			deployed(three, "prod", 3, Succeeded)}, three, one, 3},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			now, ok := Current(tt.history, "prod")
			if now.Digest != tt.current || ok != (tt.current != "") || ok && !now.Since.Equal(at(tt.since)) {
				t.Errorf("current %s since %s, %v", now.Digest, now.Since, ok)
			}
			if before, _ := Previous(tt.history, "prod"); before.Digest != tt.previous {
				t.Errorf("previous %s, want %s", before.Digest, tt.previous)
			}
		})
	}
}

func TestCanPromote(t *testing.T) {
	all := Policy{From: "qa", Soak: 10 * time.Minute, Tests: true, Approvals: 1, NotAuthor: true, MaxSeverity: "MEDIUM"}
	good := []Statement{built(one, 0), tested(one, 1, Succeeded), scanned(one, "LOW", 2), deployed(one, "qa", 3, Succeeded), approved(one, "prod", "bob", 4, Succeeded)}
	with := func(more ...Statement) []Statement { return append(append([]Statement{}, good...), more...) }
	without := func(k Kind) (out []Statement) {
		for _, s := range good {
			if s.Kind != k {
				out = append(out, s)
			}
		}
		return out
	}
	policy := func(f func(*Policy)) Policy { p := all; f(&p); return p }
	christmas := Freeze{Name: "year's end", Start: at(0), End: at(600)}
	tests := map[string]struct {
		history []Statement
		policy  Policy
		now     int
		want    []string // rules
		says    string   // in the first refusal
	}{
		"good":                      {good, all, 20, nil, ""},
		"nothing asked":             {nil, Policy{}, 0, nil, ""},
		"nothing there":             {nil, all, 20, []string{"tests", "scan", "running", "approval"}, "slipway test"},
		"dirty":                     {with(Statement{Kind: Built, Subject: one, Outcome: Succeeded, At: at(1), Dirty: true, Author: "ann@example.com"}), all, 20, []string{"clean"}, "commit"},
		"dirty allowed":             {with(Statement{Kind: Built, Subject: one, Outcome: Succeeded, At: at(1), Dirty: true, Author: "ann@example.com"}), policy(func(p *Policy) { p.AllowDirty = true }), 20, nil, ""},
		"no tests":                  {without(Tested), all, 20, []string{"tests"}, ""},
		"tests failed later":        {with(tested(one, 5, Failed)), all, 20, []string{"tests"}, "09:05"},
		"tests of another":          {append(without(Tested), tested(two, 1, Succeeded)), all, 20, []string{"tests"}, ""},
		"found later":               {with(scanned(one, "CRITICAL", 5)), all, 20, []string{"scan"}, "CRITICAL"},
		"as bad as allowed":         {with(scanned(one, "MEDIUM", 5)), all, 20, nil, ""},
		"too soon":                  {good, all, 12, []string{"soak"}, "wait until 2026-03-02T09:13:00Z"},
		"to the second":             {good, all, 13, nil, ""},
		"not in qa":                 {without(DeployedTo), all, 20, []string{"running"}, "never"},
		"failed in qa":              {append(without(DeployedTo), deployed(one, "qa", 3, Failed)), all, 20, []string{"running"}, "failed"},
		"failed when deployed anew": {with(deployed(one, "qa", 5, Failed)), all, 20, nil, ""},
		"replaced in qa":            {with(deployed(two, "qa", 6, Succeeded)), all, 20, []string{"running"}, "qa runs sha256:222222222222 since"},
		"replaced, allowed":         {with(deployed(two, "qa", 6, Succeeded)), policy(func(p *Policy) { p.AllowReplace = true }), 20, nil, ""},
		"rolled back in qa":         {with(rolledBack(one, two, "qa", 6)), all, 20, []string{"running"}, "rolled back"},
		"not approved":              {without(ApprovedFor), all, 20, []string{"approval"}, "0 of 1"},
		"by the author":             {append(without(ApprovedFor), approved(one, "prod", "ANN@example.com ", 4, Succeeded)), all, 20, []string{"approval"}, "wrote the commit"},
		"author unknown":            {append(without(Built), Statement{Kind: Built, Subject: one, Outcome: Succeeded, At: at(0)}), all, 20, []string{"approval"}, "not recorded"},
		"for another digest":        {append(without(ApprovedFor), approved(two, "prod", "bob", 4, Succeeded)), all, 20, []string{"approval"}, "sha256:222222222222, which is another image"},
		"for another environment":   {append(without(ApprovedFor), approved(one, "stage", "bob", 4, Succeeded)), all, 20, []string{"approval"}, ""},
		"withdrawn":                 {with(approved(one, "prod", "bob", 5, Withdrawn)), all, 20, []string{"approval"}, "withdrew"},
		"withdrawn, given again":    {with(approved(one, "prod", "bob", 5, Withdrawn), approved(one, "prod", "bob", 6, Succeeded)), all, 20, nil, ""},
		"twice by one":              {with(approved(one, "prod", "Bob", 5, Succeeded)), policy(func(p *Policy) { p.Approvals = 2 }), 20, []string{"approval"}, "1 of 2"},
		"by two":                    {with(approved(one, "prod", "eve", 5, Succeeded)), policy(func(p *Policy) { p.Approvals = 2 }), 20, nil, ""},
		"not an approver":           {good, policy(func(p *Policy) { p.Approvers = []string{"eve"} }), 20, []string{"approval"}, "not one of"},
		"an approver":               {good, policy(func(p *Policy) { p.Approvers = []string{"Bob"} }), 20, nil, ""},
		"used up by a rollback":     {with(deployed(one, "prod", 5, Succeeded), rolledBack(one, two, "prod", 6)), all, 20, []string{"approval"}, "rollback"},
		"approved after a rollback": {with(rolledBack(one, two, "prod", 6), approved(one, "prod", "bob", 7, Succeeded)), all, 20, nil, ""},
		"frozen":                    {good, policy(func(p *Policy) { p.Freezes = []Freeze{christmas} }), 20, []string{"freeze"}, "2026-03-02T19:00:00Z"},
		"frozen elsewhere":          {good, policy(func(p *Policy) { f := christmas; f.Environments = []string{"eu"}; p.Freezes = []Freeze{f} }), 20, nil, ""},
		"no longer frozen":          {good, policy(func(p *Policy) { p.Freezes = []Freeze{christmas} }), 600, nil, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := CanPromote(Candidate{one, "prod"}, tt.history, tt.policy, at(tt.now))
			var rules []string
			for _, r := range got {
				rules = append(rules, r.Rule)
				if r.Reason == "" || r.Remedy == "" {
					t.Errorf("%+v leaves the reader alone", r)
				}
			}
			if !reflect.DeepEqual(rules, tt.want) {
				t.Fatalf("refused by %q, want %q: %v", rules, tt.want, got)
			}
			if len(got) > 0 && !strings.Contains(got[0].String(), tt.says) {
				t.Errorf("says %q, not %q", got[0], tt.says)
			}
		})
	}
}

func TestWeeklyFreeze(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip(err)
	}
	weekend := Freeze{Weekly: &Weekly{Days: []time.Weekday{time.Friday}, From: 16 * time.Hour, To: 8 * time.Hour, Location: berlin}}
	tests := map[string]string{ // now → until
		"2026-03-06T15:59:59+01:00": "",
		"2026-03-06T16:00:00+01:00": "2026-03-07T08:00:00+01:00",
		"2026-03-07T07:59:59+01:00": "2026-03-07T08:00:00+01:00",
		"2026-03-07T08:00:00+01:00": "",
		"2026-03-06T15:00:00Z":      "2026-03-07T08:00:00+01:00",
	}
	for now, want := range tests {
		n, _ := time.Parse(time.RFC3339, now)
		until, frozen := weekend.Until(n)
		if frozen != (want != "") || frozen && until.Format(time.RFC3339) != want {
			t.Errorf("%s: %v %s, want %q", now, frozen, until, want)
		}
	}
}

// memory is a registry that keeps referrers, and nothing of what they are about.
type memory map[image.Digest][]Referrer

func (m memory) Put(_ context.Context, _ string, d image.Digest, _ string, a map[string]string, p []byte) (image.Digest, error) {
	m[d] = append(m[d], Referrer{Digest: two, Annotations: a, Payload: p})
	return two, nil
}
func (m memory) List(_ context.Context, _ string, d image.Digest, _ ...string) ([]Referrer, error) {
	return m[d], nil
}
func (m memory) Digests(context.Context, string) ([]image.Digest, error) {
	return []image.Digest{one, two}, nil
}

func TestLedger(t *testing.T) {
	ctx, m := context.Background(), memory{}
	l := Ledger{Referrers: m, Catalog: m}
	for _, s := range []Statement{deployed(two, "qa", 5, Succeeded), tested(one, 1, Succeeded), deployed(one, "qa", 3, Succeeded)} {
		if err := l.Append(ctx, "r/shop", s); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Append(ctx, "r/shop", Statement{Kind: Built}); err == nil {
		t.Error("an empty statement is recorded")
	}
	m[one] = append(m[one], Referrer{Digest: two, Payload: []byte("a signature of another tool")})
	history, err := l.History(ctx, "r/shop")
	if err != nil || len(history) != 3 || history[0].Kind != Tested || history[2].Subject != two {
		t.Errorf("history %+v, %v", history, err)
	}
	now, ok, err := l.Current(ctx, "r/shop", "qa")
	if err != nil || !ok || now.Digest != two {
		t.Errorf("qa runs %+v, %v, %v", now, ok, err)
	}
	// An approval copied from another digest is found out, and what is good is still told.
	stolen, err := approved(two, "prod", "bob", 4, Succeeded).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Put(ctx, "", one, ArtifactType, map[string]string{AnnotationKind: "approved-for"}, stolen); err != nil {
		t.Fatal(err)
	}
	got, err := l.Read(ctx, "r/shop", one)
	if err == nil || len(got) != 2 || errors.Is(err, context.Canceled) {
		t.Errorf("read %+v, %v", got, err)
	}
}
