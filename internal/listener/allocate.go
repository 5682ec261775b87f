package listener

import (
	"errors"
	"fmt"
	"slices"
)

// ConflictError says that another rule of the listener has the same conditions.
type ConflictError struct {
	Rule Rule // the one that has them
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s already takes the requests with %s; two rules cannot share conditions", e.Rule.name(), e.Rule.Conditions.Canonical())
}

// OrderError says that the live rules are in an order in which the new rule has no right place.
type OrderError struct {
	Narrower, Wider Rule // Narrower must come before the new rule, Wider after it, but Wider comes first
}

func (e *OrderError) Error() string {
	return fmt.Sprintf("no place for the rule: it must come after %s, which is more specific, and before %s, which is less specific, but these two are the wrong way round",
		e.Narrower.name(), e.Wider.name())
}

// FullError says that no rule can be added.
type FullError struct {
	Rules int // rules there are
	From  int // the priorities between which there is no free one; 0 = the number of rules is the limit
	To    int
}

func (e *FullError) Error() string {
	if e.From != 0 {
		return fmt.Sprintf("no free priority from %d to %d: renumber the listener's rules", e.From, e.To)
	}
	return fmt.Sprintf("the listener has %d rules and a load balancer takes %d: use another load balancer or have the quota raised", e.Rules, MaxRules)
}

// Allocate returns the priority for a rule among the live rules of its listener (the default rule
// left out). A rule of the same owner in existing is the wanted rule's earlier self: it keeps its
// priority for as long as that is right, so applying again changes nothing.
//
// The priority lies after every more specific rule that may match the same requests, and before
// every less specific one. In between, it is near a place that depends on the conditions only, so
// that rules created in another order come to lie alike.
func Allocate(existing []Rule, want Rule) (priority int, err error) {
	if errs := want.Conditions.Validate(); len(errs) > 0 {
		return 0, fmt.Errorf("rule of %s: %w", want.Owner, errors.Join(errs...))
	}
	canonical, own := want.Conditions.Canonical(), 0
	var others []Rule
	taken := map[int]bool{}
	for _, r := range sortedRules(existing) {
		if isOwn(r, want) {
			if own == 0 || r.Conditions.Canonical() == canonical {
				own = r.Priority
			}
			continue
		}
		if r.Conditions.Canonical() == canonical {
			return 0, &ConflictError{Rule: r}
		}
		others = append(others, r)
		taken[r.Priority] = true
	}
	lo, hi, err := bounds(others, want.Conditions)
	switch {
	case err != nil:
		return 0, err
	case own > lo && own < hi && !taken[own]:
		return own, nil
	case own == 0 && len(others) >= MaxRules:
		return 0, &FullError{Rules: len(others)}
	}
	ideal := min(max(idealPriority(want.Conditions), lo+1), hi-1)
	for _, step := range []int{128, 16, 1} { // leave room between rules for as long as there is some
		if p := nearestFree(ideal, lo, hi, step, taken); p != 0 {
			return p, nil
		}
	}
	return 0, &FullError{Rules: len(others), From: lo + 1, To: hi - 1}
}

// bounds are the priorities between which the rule belongs. Rules that Allocate placed are in the
// order of their specificity throughout. Rules made by hand may not be; then only those count that
// may match a request the new rule matches.
func bounds(others []Rule, want Conditions) (lo, hi int, err error) {
	score := SpecificityOf(want)
	for _, all := range []bool{true, false} {
		narrower, wider := Rule{Priority: MinPriority - 1}, Rule{Priority: MaxPriority + 1}
		for _, r := range others {
			if !all && !overlap(r.Conditions, want) {
				continue
			}
			switch c := SpecificityOf(r.Conditions).Compare(score); {
			case c > 0 && r.Priority > narrower.Priority:
				narrower = r
			case c < 0 && r.Priority < wider.Priority:
				wider = r
			}
		}
		if narrower.Priority < wider.Priority {
			return narrower.Priority, wider.Priority, nil
		}
		err = &OrderError{Narrower: narrower, Wider: wider}
	}
	return 0, 0, err
}

// nearestFree is the free priority nearest to ideal that is at least step away from lo and hi and
// from every taken priority, or 0.
func nearestFree(ideal, lo, hi, step int, taken map[int]bool) int {
	lo, hi = lo+step, hi-step
	if lo > hi {
		return 0
	}
	ideal = min(max(ideal, lo), hi)
	roomy := func(p int) bool {
		if p < lo || p > hi {
			return false
		}
		for d := range step {
			if taken[p-d] || taken[p+d] {
				return false
			}
		}
		return true
	}
	for d := 0; ideal-d >= lo || ideal+d <= hi; d++ {
		if roomy(ideal + d) {
			return ideal + d
		}
		if roomy(ideal - d) {
			return ideal - d
		}
	}
	return 0
}

func isOwn(r, want Rule) bool {
	return want.ARN != "" && r.ARN == want.ARN || want.Owner != "" && r.Owner == want.Owner
}

func sortedRules(rules []Rule) []Rule {
	rules = slices.Clone(rules)
	slices.SortStableFunc(rules, func(a, b Rule) int { return a.Priority - b.Priority })
	return rules
}

// idealPriority spreads rules over the priorities by what they ask: exact hosts first, then host
// patterns, then rules of any host; in each, longer paths first. Neighbours are some way apart, so
// that rules find room between them.
func idealPriority(c Conditions) int {
	s := SpecificityOf(c)
	host, path := s.kinds[0], s.kinds[1]
	p := 48000
	if host.set {
		p -= 16000
		if host.widest.stars+host.widest.questions == 0 {
			p -= 14000
		}
	}
	if path.set {
		p -= 100 * min(path.widest.literals, 128)
		if path.widest.stars == 0 {
			p -= 50
		}
	}
	for _, k := range s.kinds[2:] {
		if k.set {
			p -= 10
		}
	}
	return p
}

// Move is a new priority for a rule.
type Move struct {
	Rule Rule
	To   int
}

// Renumber spreads the rules over the priorities, more specific ones first, and returns those that
// move. All moves belong into one call that sets them together, so that no request meets a listener
// in between. It is the way out of a FullError or an OrderError.
func Renumber(rules []Rule) []Move {
	order := sortedRules(rules)
	slices.SortStableFunc(order, func(a, b Rule) int {
		return SpecificityOf(b.Conditions).Compare(SpecificityOf(a.Conditions))
	})
	var moves []Move
	step := MaxPriority / (len(order) + 1)
	for i, r := range order {
		if to := (i + 1) * step; r.Priority != to {
			moves = append(moves, Move{Rule: r, To: to})
		}
	}
	return moves
}
