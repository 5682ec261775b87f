package clusterinfra

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Replica is where ECR copies a repository's images to.
type Replica struct {
	Region  string
	Account string // 12 digits; empty: the registry's own
}

// Registry is the private registry of an account in a region, with the rules it replicates by.
type Registry struct {
	Account, Region string
	Rules           []ReplicationRule
}

// ReplicationRule copies images of repositories whose names begin so; without prefixes, of all.
type ReplicationRule struct {
	Prefixes     []string
	Destinations []Replica
}

// Registries hold the rules: one document for all repositories, written as a whole.
type Registries interface {
	Registry(ctx context.Context) (Registry, error)
	PutReplication(ctx context.Context, rules []ReplicationRule) error
}

var regionName = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$`)

// Replicas are where a repository's images are copied to by rules made for it: those that have its whole name for
// a prefix. Rules for all repositories, and for prefixes, are somebody else's.
func (r *Repositories) Replicas(ctx context.Context, name string) ([]Replica, error) {
	reg, err := r.registries.Registry(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading what the registry replicates: %w", err)
	}
	var out []Replica
	for _, rule := range reg.Rules {
		if !slices.Contains(rule.Prefixes, name) {
			continue
		}
		for _, d := range rule.Destinations {
			if d.Account == reg.Account {
				d.Account = ""
			}
			if !slices.Contains(out, d) {
				out = append(out, d)
			}
		}
	}
	slices.SortFunc(out, func(a, b Replica) int { return strings.Compare(a.Region+a.Account, b.Region+b.Account) })
	return out, nil
}

// writes is how often the rules are written when somebody else writes them at the same time: there is no
// condition to write them under.
const writes = 5

var errOverwritten = errors.New("somebody else writes the registry's rules of replication at the same time; apply again")

// replicate has the registry copy the repository's images to the replicas, and to nowhere else by a rule of its own.
func (r *Repositories) replicate(ctx context.Context, name string, to []Replica) error {
	r.mu.Lock() // of this process; Terraform keeps several repositories at once
	defer r.mu.Unlock()
	for range writes {
		reg, err := r.registries.Registry(ctx)
		if err != nil {
			return fmt.Errorf("reading what the registry replicates: %w", err)
		}
		rules, err := rulesWith(reg, name, to)
		if err != nil || sameRuleSet(rules, reg.Rules) {
			return err
		}
		if err := r.registries.PutReplication(ctx, rules); err != nil {
			return fmt.Errorf("keeping what the registry replicates: %w", err)
		}
	}
	return errOverwritten
}

// rulesWith are the registry's rules with those of a repository changed. Repositories that go to the same places
// share a rule: a registry has few.
// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ReplicationConfiguration.html
func rulesWith(reg Registry, name string, to []Replica) ([]ReplicationRule, error) {
	want := map[Replica]bool{}
	for _, d := range to {
		if d.Account == "" {
			d.Account = reg.Account
		}
		switch {
		case !regionName.MatchString(d.Region):
			return nil, refuse("repository %s is to be replicated to %q, which is no region", name, d.Region)
		case !accountID.MatchString(d.Account):
			return nil, refuse("repository %s is to be replicated to account %q, which has no 12 digits", name, d.Account)
		case d.Region == reg.Region && d.Account == reg.Account:
			return nil, refuse("repository %s is in %s already: it cannot be replicated to where it is", name, d.Region)
		}
		want[d] = true
	}
	var out []ReplicationRule
	placed := len(want) == 0
	for _, rule := range reg.Rules {
		all := len(rule.Prefixes) == 0
		prefixes := slices.DeleteFunc(slices.Clone(rule.Prefixes), func(p string) bool { return p == name })
		if !placed && !all && maps.Equal(want, set(rule.Destinations)) {
			prefixes, placed = append(prefixes, name), true
		}
		if all || len(prefixes) > 0 {
			out = append(out, ReplicationRule{prefixes, rule.Destinations})
		}
	}
	if !placed {
		destinations := slices.SortedFunc(maps.Keys(want), func(a, b Replica) int { return strings.Compare(a.Region+a.Account, b.Region+b.Account) })
		out = append(out, ReplicationRule{[]string{name}, destinations})
	}
	const most = 10
	if len(out) > most {
		return nil, refuse("repository %s cannot be replicated: the registry would have %d rules, and %d are allowed; let repositories go to the same places, or make a rule for a prefix by hand", name, len(out), most)
	}
	return out, nil
}

func set(list []Replica) map[Replica]bool {
	out := map[Replica]bool{}
	for _, d := range list {
		out[d] = true
	}
	return out
}

func sameRuleSet(a, b []ReplicationRule) bool {
	return slices.EqualFunc(a, b, func(x, y ReplicationRule) bool {
		return sameSet(x.Prefixes, y.Prefixes) && maps.Equal(set(x.Destinations), set(y.Destinations))
	})
}
