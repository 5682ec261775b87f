package clusterinfra

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestArchitectureOfType(t *testing.T) {
	for typ, want := range map[string]string{"m7g.large": "arm64", "c6gn.xlarge": "arm64", "t4g.micro": "arm64", "a1.large": "arm64", "im4gn.large": "arm64", "x2gd.medium": "arm64",
		"m7i.large": "x86_64", "g5.xlarge": "x86_64", "c6a.large": "x86_64", "t3.micro": "x86_64", "u-6tb1.metal": "x86_64"} {
		if got := architectureOf(Instances{Type: typ}); got != want {
			t.Errorf("%s: %s, wanted %s", typ, got, want)
		}
	}
	if got := architectureOf(Instances{Type: "m7i.large", Architecture: "ARM64"}); got != "arm64" {
		t.Errorf("a stated architecture is not taken: %s", got)
	}
}

func TestOneSubnetAZone(t *testing.T) {
	all := []Subnet{{ID: "s-4", Zone: "b"}, {ID: "s-1", Zone: "a"}, {ID: "s-2", Zone: "a", DefaultOfZone: true}, {ID: "s-3", Zone: "c"}, {ID: "s-5", Zone: "d"}}
	if got := spread(all, 3); !slices.Equal(got, []string{"s-2", "s-4", "s-3"}) {
		t.Errorf("subnets %q", got)
	}
}

func TestNamesHaveLimits(t *testing.T) {
	n := names{cluster: strings.Repeat("long-", 12) + "a"}
	other := names{cluster: strings.Repeat("long-", 12) + "b"}
	if len(n.balancer()) > 32 || len(n.role()) > 64 || n.balancer() == other.balancer() {
		t.Errorf("balancer %q, role %q", n.balancer(), n.role())
	}
	if got := (names{cluster: "main"}).balancer(); got != "slipway-main" {
		t.Errorf("a short name is changed: %q", got)
	}
}

func TestUserDataCarriesTheClusterFirst(t *testing.T) {
	data := userData(names{cluster: "main"}, "echo more\n")
	if !strings.HasPrefix(data, "#!/bin/bash\n") || !strings.Contains(data, "\nECS_CLUSTER=main\n") || !strings.HasSuffix(data, "\necho more\n") {
		t.Errorf("user data:\n%s", data)
	}
}

func TestSpecsThatAreRefused(t *testing.T) {
	ok := Instances{Type: "m7i.large", Min: 1, Max: 3}
	for name, s := range map[string]Spec{
		"no name":            {},
		"no type":            {Name: "c", Instances: &Instances{Max: 1}},
		"max below min":      {Name: "c", Instances: &Instances{Type: "m7i.large", Min: 3, Max: 2}},
		"desired out of it":  {Name: "c", Instances: &Instances{Type: "m7i.large", Min: 1, Max: 2, Desired: 5}},
		"no port":            {Name: "c", Instances: &ok, Balancer: &Balancer{Listeners: map[string]Listener{"web": {}}}},
		"a port twice":       {Name: "c", Balancer: &Balancer{Listeners: map[string]Listener{"a": {Port: 80}, "b": {Port: 80}}}},
		"HTTPS without cert": {Name: "c", Balancer: &Balancer{Listeners: map[string]Listener{"a": {Port: 443, Protocol: "HTTPS"}}}},
		"TCP":                {Name: "c", Balancer: &Balancer{Listeners: map[string]Listener{"a": {Port: 443, Protocol: "TCP"}}}},
	} {
		var refused *RefusedError
		if err := s.check(); !errors.As(err, &refused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (Spec{Name: "c", Instances: &ok, Balancer: &Balancer{Listeners: map[string]Listener{"web": {Port: 80}}}}).check(); err != nil {
		t.Error(err)
	}
}

func TestRepositoriesThatAreRefused(t *testing.T) {
	for name, r := range map[string]Repository{
		"capitals": {Name: "Team/App"}, "too short": {Name: "a"}, "account": {Name: "app", PullAccounts: []string{"123"}},
		"patterns without immutable": {Name: "app", Mutable: []string{"latest"}}, "six patterns": {Name: "app", Immutable: true, Mutable: make([]string, 6)},
	} {
		var refused *RefusedError
		if _, err := NewRepositories(nil, nil).Apply(t.Context(), r); !errors.As(err, &refused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
