// Package listener decides which rule of a load balancer's listener a request meets, and which
// priority a new rule gets so that the more specific of two rules always wins.
//
// It is pure: the live rules are arguments, nothing is random, and the same rules give the same
// answer. Limits: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
package listener

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Limits of Elastic Load Balancing, per rule and per load balancer.
const (
	MaxRules        = 100   // rules of one load balancer, default rules not counted; adjustable
	MaxValues       = 5     // condition values of one rule, all conditions together
	MaxWildcards    = 5     // * and ? of one rule, all conditions together
	MaxValueLength  = 128   // characters of a host or path value
	MaxHeaderLength = 40    // characters of a header's name
	MinPriority     = 1     // the lowest number is evaluated first
	MaxPriority     = 50000 // the default rule comes after it
)

// Rule is one rule of a listener.
type Rule struct {
	Priority   int    // 1–50000; 0 = not placed yet
	Owner      string // who made it: the service and its environment; empty = not known
	ARN        string
	Conditions Conditions
}

// name says which rule is meant, in an error.
func (r Rule) name() string {
	switch {
	case r.Owner != "":
		return "rule " + strconv.Itoa(r.Priority) + " of " + r.Owner
	case r.ARN != "":
		return "rule " + strconv.Itoa(r.Priority) + " (" + r.ARN + ", owner unknown)"
	}
	return "rule " + strconv.Itoa(r.Priority) + " (owner unknown)"
}

// Conditions is what a request must meet: every kind that is set (AND), in any of its values (OR).
type Conditions struct {
	Hosts     []string            // * and ? are wildcards; case does not matter
	Paths     []string            // * and ? are wildcards; case matters
	Headers   map[string][]string // name → values with wildcards; every name must match
	Methods   []string            // exact, upper case
	Query     []QueryValue        // any of them
	SourceIPs []string            // CIDR
}

// QueryValue is a key=value of the query string, both with wildcards. An empty key means any key.
type QueryValue struct{ Key, Value string }

// Empty says whether nothing is asked of a request.
func (c Conditions) Empty() bool {
	return len(c.Hosts)+len(c.Paths)+len(c.Headers)+len(c.Methods)+len(c.Query)+len(c.SourceIPs) == 0
}

// Canonical is the same string for conditions that mean the same: order, repeated values and the
// case of hosts and header names do not matter.
func (c Conditions) Canonical() string {
	var parts []string
	add := func(kind string, values []string, fold bool) {
		if len(values) == 0 {
			return
		}
		values = slices.Clone(values)
		for i, v := range values {
			if fold {
				v = strings.ToLower(v)
			}
			values[i] = strconv.Quote(v)
		}
		sort.Strings(values)
		parts = append(parts, kind+" = "+strings.Join(slices.Compact(values), " or "))
	}
	add("host", c.Hosts, true)
	add("path", c.Paths, false)
	for _, name := range sortedKeys(c.Headers) {
		add("header "+strings.ToLower(name), c.Headers[name], true)
	}
	add("method", c.Methods, false)
	query := make([]string, len(c.Query))
	for i, q := range c.Query {
		query[i] = strings.ToLower(q.Key + "=" + q.Value)
	}
	add("query", query, false)
	add("source", c.SourceIPs, false)
	return strings.Join(parts, " and ")
}

// Validate checks the conditions against the limits of a rule and returns every fault.
func (c Conditions) Validate() []error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Empty() {
		fault("a rule needs at least one condition; \"/*\" as path takes every request")
	}
	values, wildcards := 0, 0
	count := func(v string) { values++; wildcards += strings.Count(v, "*") + strings.Count(v, "?") }
	for _, h := range c.Hosts {
		count(h)
		if err := checkHost(h); err != nil {
			errs = append(errs, err)
		}
	}
	for _, p := range c.Paths {
		count(p)
		if err := checkPath(p); err != nil {
			errs = append(errs, err)
		}
	}
	for _, name := range sortedKeys(c.Headers) {
		if name == "" || len(name) > MaxHeaderLength {
			fault("header name %q has %d characters: 1 to %d are allowed", name, len(name), MaxHeaderLength)
		}
		if strings.EqualFold(name, "host") {
			fault("header %q cannot be a condition: use hosts", name)
		}
		for _, v := range c.Headers[name] {
			count(v)
			if len(v) > MaxValueLength {
				fault("header value %q has %d characters: %d are allowed", v, len(v), MaxValueLength)
			}
		}
	}
	for _, m := range c.Methods {
		count(m)
		if m == "" || len(m) > 40 || strings.Trim(m, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-_") != "" {
			fault("method %q: 1 to 40 capital letters, - and _ are allowed", m)
		}
	}
	for _, q := range c.Query {
		count(q.Key + q.Value)
	}
	for _, s := range c.SourceIPs {
		count(s)
		if _, err := netip.ParsePrefix(s); err != nil {
			fault("source %q is not a CIDR block such as 10.0.0.0/8", s)
		}
	}
	if values > MaxValues {
		fault("%d condition values: a rule takes %d, hosts, paths, headers and methods together", values, MaxValues)
	}
	if wildcards > MaxWildcards {
		fault("%d wildcards: a rule takes %d", wildcards, MaxWildcards)
	}
	return errs
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

func checkHost(h string) error {
	switch {
	case h == "" || len(h) > MaxValueLength:
		return fmt.Errorf("host %q has %d characters: 1 to %d are allowed", h, len(h), MaxValueLength)
	case strings.Trim(h, letters+"-.*?") != "" || strings.ContainsAny(h, "/: "):
		return fmt.Errorf("host %q: letters, digits, - . * ? are allowed (no scheme, port or path)", h)
	case !strings.Contains(h, "."):
		return fmt.Errorf("host %q needs at least one dot", h)
	}
	return nil
}

func checkPath(p string) error {
	if p == "" || len(p) > MaxValueLength {
		return fmt.Errorf("path %q has %d characters: 1 to %d are allowed", p, len(p), MaxValueLength)
	}
	for _, r := range p {
		if !strings.ContainsRune(letters+"_-.$/~\"'@:+&*?", r) {
			return fmt.Errorf("path %q: the character %q is not allowed in a path condition", p, r)
		}
	}
	if p[0] != '/' && p[0] != '*' {
		return fmt.Errorf("path %q never matches: a path begins with /", p)
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
