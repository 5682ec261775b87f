package listener

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The examples of the conditions page:
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/rule-condition-types.html
func TestMatch(t *testing.T) {
	for _, tc := range []struct {
		name string
		c    Conditions
		req  Request
		want bool
	}{
		{"host pattern", Conditions{Hosts: []string{"*.example.com"}}, Request{Host: "test.example.com"}, true},
		{"host pattern, not the bare name", Conditions{Hosts: []string{"*.example.com"}}, Request{Host: "example.com"}, false},
		{"host ignores case", Conditions{Hosts: []string{"Api.Example.com"}}, Request{Host: "api.example.COM"}, true},
		{"path keeps case", Conditions{Paths: []string{"/img/*"}}, Request{Path: "/IMG/a.png"}, false},
		{"star crosses slashes", Conditions{Paths: []string{"/img/*/pics"}}, Request{Path: "/img/a/b/pics"}, true},
		{"exact path, no prefix", Conditions{Paths: []string{"/img"}}, Request{Path: "/img/a"}, false},
		{"question mark is one character", Conditions{Paths: []string{"/v?/x"}}, Request{Path: "/v1/x"}, true},
		{"question mark is not none", Conditions{Paths: []string{"/v?/x"}}, Request{Path: "/v/x"}, false},
		{"one of several values", Conditions{Paths: []string{"/a", "/b"}}, Request{Path: "/b"}, true},
		{"all kinds", Conditions{Paths: []string{"/a"}, Methods: []string{"GET"}}, Request{Path: "/a", Method: "POST"}, false},
		{"header", Conditions{Headers: map[string][]string{"User-Agent": {"*Chrome*"}}},
			Request{Headers: map[string][]string{"user-agent": {"Mozilla chrome/99"}}}, true},
		{"every header name", Conditions{Headers: map[string][]string{"X-A": {"1"}, "X-B": {"1"}}},
			Request{Headers: map[string][]string{"X-A": {"1"}}}, false},
		{"query", Conditions{Query: []QueryValue{{Key: "version", Value: "v1"}, {Value: "*example*"}}},
			Request{Query: map[string][]string{"q": {"an example"}}}, true},
		{"source", Conditions{SourceIPs: []string{"192.0.2.0/24"}}, Request{SourceIP: netip.MustParseAddr("192.0.2.7")}, true},
		{"other source", Conditions{SourceIPs: []string{"192.0.2.0/24"}}, Request{SourceIP: netip.MustParseAddr("198.51.100.7")}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.c.Match(tc.req); got != tc.want {
				t.Errorf("Match = %v, want %v", got, tc.want)
			}
		})
	}
}

func TestMatchTakesTheLowestPriority(t *testing.T) {
	rules := []Rule{
		{Priority: 30, Conditions: Conditions{Paths: []string{"/*"}}},
		{Priority: 10, Conditions: Conditions{Paths: []string{"/api/*"}}},
		{Priority: 20, Conditions: Conditions{Paths: []string{"/api/v1"}}},
	}
	if got := Match(rules, Request{Path: "/api/v1"}); got != 1 {
		t.Errorf("met rule %d, want 1", got)
	}
	if got := Match(rules[1:], Request{Path: "/other"}); got != -1 {
		t.Errorf("met rule %d, want the default rule", got)
	}
}

func TestAllocateOrders(t *testing.T) {
	all := Rule{Owner: "web", Conditions: Conditions{Paths: []string{"/*"}}}
	api := Rule{Owner: "api", Conditions: Conditions{Paths: []string{"/api/*"}}}
	v1 := Rule{Owner: "v1", Conditions: Conditions{Paths: []string{"/api/v1/*"}}}
	host := Rule{Owner: "host", Conditions: Conditions{Hosts: []string{"a.example.com"}}}
	for _, order := range [][]Rule{{all, api, v1, host}, {v1, host, api, all}, {host, all, v1, api}} {
		var live []Rule
		for _, r := range order {
			p, err := Allocate(live, r)
			if err != nil {
				t.Fatal(err)
			}
			r.Priority = p
			live = append(live, r)
		}
		var names []string
		for _, r := range sortedRules(live) {
			names = append(names, r.Owner)
		}
		if got := strings.Join(names, " "); got != "host v1 api web" {
			t.Errorf("order of evaluation: %s", got)
		}
	}
}

func TestAllocateConflictNamesTheOwner(t *testing.T) {
	live := []Rule{{Priority: 7, Owner: "billing/prod", Conditions: Conditions{Hosts: []string{"B.example.com", "a.example.com"}}}}
	_, err := Allocate(live, Rule{Owner: "shop/prod", Conditions: Conditions{Hosts: []string{"a.example.com", "b.example.com"}}})
	var conflict *ConflictError
	if !errors.As(err, &conflict) || !strings.Contains(err.Error(), "rule 7 of billing/prod") {
		t.Errorf("error %v", err)
	}
}

func TestAllocateWrongOrder(t *testing.T) {
	live := []Rule{
		{Priority: 1, Owner: "wide", Conditions: Conditions{Paths: []string{"/*"}}},
		{Priority: 2, Owner: "narrow", Conditions: Conditions{Paths: []string{"/a/b/*"}}},
	}
	_, err := Allocate(live, Rule{Owner: "mid", Conditions: Conditions{Paths: []string{"/a/*"}}})
	var order *OrderError
	if !errors.As(err, &order) || order.Narrower.Owner != "narrow" || order.Wider.Owner != "wide" {
		t.Fatalf("error %v", err)
	}
	for _, m := range Renumber(live) {
		for i := range live {
			if live[i].Owner == m.Rule.Owner {
				live[i].Priority = m.To
			}
		}
	}
	if _, err := Allocate(live, Rule{Owner: "mid", Conditions: Conditions{Paths: []string{"/a/*"}}}); err != nil {
		t.Errorf("after renumbering: %v", err)
	}
}

func TestAllocateLimits(t *testing.T) {
	var live []Rule
	for i := range MaxRules {
		r := Rule{Owner: fmt.Sprint(i), Conditions: Conditions{Hosts: []string{fmt.Sprintf("h%d.example.com", i)}}}
		p, err := Allocate(live, r)
		if err != nil {
			t.Fatal(err)
		}
		r.Priority = p
		live = append(live, r)
	}
	var full *FullError
	if _, err := Allocate(live, Rule{Owner: "one more", Conditions: Conditions{Paths: []string{"/x"}}}); !errors.As(err, &full) {
		t.Errorf("the 101st rule: %v", err)
	}
	if p, err := Allocate(live, live[3]); err != nil || p != live[3].Priority {
		t.Errorf("a rule that is there: %d, %v", p, err)
	}
	for _, c := range []Conditions{
		{},
		{Paths: []string{"/1", "/2", "/3", "/4", "/5", "/6"}},
		{Paths: []string{"/*?*?*?"}},
		{Paths: []string{"api/*"}},
		{Paths: []string{"/a b"}},
		{Hosts: []string{"localhost"}},
		{Hosts: []string{"http://a.example.com"}},
		{Headers: map[string][]string{"Host": {"x"}}},
		{Methods: []string{"get"}},
		{SourceIPs: []string{"10.0.0.1"}},
	} {
		if _, err := Allocate(nil, Rule{Owner: "x", Conditions: c}); err == nil {
			t.Errorf("conditions %+v were accepted", c)
		}
	}
}

func genPattern(first string) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return first + rapid.StringOfN(rapid.RuneFrom([]rune("ab/*?")), 0, 4, -1).Draw(t, "pattern")
	})
}

func genConditions() *rapid.Generator[Conditions] {
	return rapid.Custom(func(t *rapid.T) Conditions {
		c := Conditions{Paths: rapid.SliceOfN(genPattern("/"), 1, 2).Draw(t, "paths")}
		if rapid.Bool().Draw(t, "has host") {
			c.Hosts = []string{rapid.SampledFrom([]string{"a.x", "b.x", "*.x", "?.x"}).Draw(t, "host")}
		}
		if rapid.Bool().Draw(t, "has method") {
			c.Methods = []string{rapid.SampledFrom([]string{"GET", "PUT"}).Draw(t, "method")}
		}
		return c
	})
}

// No priority is given twice, every rule keeps its own when applied again, and the order of
// evaluation agrees with specificity wherever two rules may match the same request.
func TestAllocateProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var live []Rule
		for i, c := range rapid.SliceOfN(genConditions(), 1, 30).Draw(t, "rules") {
			r := Rule{Owner: fmt.Sprint("s", i), Conditions: c}
			p, err := Allocate(live, r)
			var full *FullError
			if errors.As(err, &full) {
				for _, m := range Renumber(live) {
					at := slices.IndexFunc(live, func(l Rule) bool { return l.Owner == m.Rule.Owner })
					live[at].Priority = m.To
				}
				p, err = Allocate(live, r)
			}
			if err != nil {
				var conflict *ConflictError
				if errors.As(err, &conflict) || len(c.Validate()) > 0 {
					continue
				}
				t.Fatalf("%v", err)
			}
			if p < MinPriority || p > MaxPriority {
				t.Fatalf("priority %d", p)
			}
			if slices.ContainsFunc(live, func(o Rule) bool { return o.Priority == p }) {
				t.Fatalf("priority %d twice", p)
			}
			r.Priority = p
			live = append(live, r)
		}
		for _, r := range live {
			again, err := Allocate(live, r)
			if err != nil || again != r.Priority {
				t.Fatalf("applied again: %d → %d, %v", r.Priority, again, err)
			}
		}
		for _, a := range live {
			for _, b := range live {
				if overlap(a.Conditions, b.Conditions) && SpecificityOf(a.Conditions).Compare(SpecificityOf(b.Conditions)) > 0 && a.Priority > b.Priority {
					t.Fatalf("%v (%d) is more specific than %v (%d) and comes later", a.Conditions, a.Priority, b.Conditions, b.Priority)
				}
			}
		}
	})
}

// A request that a narrowed rule takes goes to it and not to the rule it was narrowed from.
func TestMoreSpecificWins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		wide := genConditions().Filter(func(c Conditions) bool { return len(c.Validate()) == 0 }).Draw(t, "wide")
		narrow := wide
		switch rapid.IntRange(0, 2).Draw(t, "narrowed by") {
		case 0:
			narrow.Paths = []string{strings.NewReplacer("*", "b", "?", "a").Replace(wide.Paths[0])}
		case 1:
			narrow.Headers = map[string][]string{"X-Test": {"1"}}
		case 2:
			narrow.SourceIPs = []string{"10.0.0.0/8"}
		}
		if narrow.Canonical() == wide.Canonical() || len(narrow.Validate()) > 0 {
			t.Skip("nothing narrowed")
		}
		rules := []Rule{{Owner: "wide", Conditions: wide}, {Owner: "narrow", Conditions: narrow}}
		if rapid.Bool().Draw(t, "other way round") {
			slices.Reverse(rules)
		}
		for i := range rules {
			p, err := Allocate(rules[:i], rules[i])
			if err != nil {
				t.Fatal(err)
			}
			rules[i].Priority = p
		}
		host := "a.x"
		if len(wide.Hosts) > 0 {
			host = strings.NewReplacer("*", "a", "?", "a").Replace(wide.Hosts[0])
		}
		method := "GET"
		if len(wide.Methods) > 0 {
			method = wide.Methods[0]
		}
		req := Request{Host: host, Method: method, Path: strings.NewReplacer("*", "b", "?", "a").Replace(wide.Paths[0]),
			Headers: map[string][]string{"X-Test": {"1"}}, SourceIP: netip.MustParseAddr("10.1.2.3")}
		if got := Match(rules, req); rules[got].Owner != "narrow" {
			t.Fatalf("%+v met %s", req, rules[got].Owner)
		}
	})
}

// Two patterns meet if a string exists that both match: found here by trying all short ones.
func TestGlobsMeet(t *testing.T) {
	var words []string
	for n, level := 0, []string{""}; n <= 5; n++ {
		words = append(words, level...)
		var next []string
		for _, w := range level {
			next = append(next, w+"a", w+"b")
		}
		level = next
	}
	rapid.Check(t, func(t *rapid.T) {
		gen := rapid.StringOfN(rapid.RuneFrom([]rune("ab*?")), 0, 3, -1)
		p, q := gen.Draw(t, "p"), gen.Draw(t, "q")
		want := slices.ContainsFunc(words, func(w string) bool { return glob(p, w, false) && glob(q, w, false) })
		if got := globsMeet(p, q); got != want {
			t.Fatalf("globsMeet(%q, %q) = %v", p, q, got)
		}
	})
}
