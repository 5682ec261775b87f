package listener

import (
	"cmp"
	"slices"
	"strings"
)

// Specificity orders rules: of two rules where one takes only requests the other takes too, the
// narrower one compares greater. Rules where neither contains the other are ordered by host, then
// path, then the other conditions, so the order is total and never depends on chance.
type Specificity struct{ kinds [6]kindScore }

// kindScore is how much one kind of condition narrows. Several values are as narrow as the widest.
type kindScore struct {
	set    bool
	widest globScore
	names  int // headers: how many names must match
	values int // fewer values narrow more
}

// globScore is how much a pattern narrows. For patterns p, q: if p takes only what q takes, then p
// has more literal characters, or as many and fewer stars, or as many of both and at least as many
// question marks.
type globScore struct{ literals, stars, questions int }

func (g globScore) compare(h globScore) int {
	return cmp.Or(cmp.Compare(g.literals, h.literals), cmp.Compare(h.stars, g.stars), cmp.Compare(g.questions, h.questions))
}

func (k kindScore) compare(l kindScore) int {
	switch {
	case k.set && !l.set:
		return 1
	case !k.set && l.set:
		return -1
	}
	return cmp.Or(cmp.Compare(k.names, l.names), k.widest.compare(l.widest), cmp.Compare(l.values, k.values))
}

// Compare is positive if s is more specific than t.
func (s Specificity) Compare(t Specificity) int {
	for i := range s.kinds {
		if c := s.kinds[i].compare(t.kinds[i]); c != 0 {
			return c
		}
	}
	return 0
}

// SpecificityOf scores conditions.
func SpecificityOf(c Conditions) Specificity {
	query := make([]string, len(c.Query))
	for i, q := range c.Query {
		key := q.Key
		if key == "" {
			key = "*"
		}
		query[i] = key + "=" + q.Value
	}
	headers := kindScore{set: len(c.Headers) > 0, names: len(c.Headers)}
	for i, name := range sortedKeys(c.Headers) {
		h := scoreValues(c.Headers[name])
		headers.values += h.values
		if i == 0 || h.widest.compare(headers.widest) < 0 {
			headers.widest = h.widest
		}
	}
	return Specificity{kinds: [6]kindScore{
		scoreValues(c.Hosts), scoreValues(c.Paths), headers, scoreValues(c.Methods), scoreValues(query), scoreCIDRs(c.SourceIPs),
	}}
}

func scoreValues(values []string) kindScore {
	values = slices.Compact(slices.Sorted(slices.Values(values)))
	k := kindScore{set: len(values) > 0, values: len(values)}
	for i, v := range values {
		if g := scoreGlob(v); i == 0 || g.compare(k.widest) < 0 {
			k.widest = g
		}
	}
	return k
}

func scoreGlob(p string) globScore {
	var g globScore
	star := false // stars with only question marks between them count once
	for _, r := range p {
		switch r {
		case '*':
			if !star {
				g.stars++
			}
			star = true
		case '?':
			g.questions++
		default:
			g.literals++
			star = false
		}
	}
	return g
}

func scoreCIDRs(cidrs []string) kindScore {
	k := kindScore{set: len(cidrs) > 0, values: len(cidrs)}
	for i, c := range cidrs {
		bits := 0
		if _, after, ok := strings.Cut(c, "/"); ok {
			for _, d := range after {
				bits = bits*10 + int(d-'0')
			}
		}
		if g := (globScore{literals: bits}); i == 0 || g.compare(k.widest) < 0 {
			k.widest = g
		}
	}
	return k
}

// overlap says whether some request may meet both conditions. It errs on the side of true.
func overlap(a, b Conditions) bool {
	if disjoint(a.Hosts, b.Hosts, true) || disjoint(a.Paths, b.Paths, false) || disjoint(a.Methods, b.Methods, false) {
		return false
	}
	return true
}

func disjoint(a, b []string, fold bool) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	for _, p := range a {
		for _, q := range b {
			if fold {
				p, q = strings.ToLower(p), strings.ToLower(q)
			}
			if globsMeet(p, q) {
				return false
			}
		}
	}
	return true
}

// globsMeet says whether some string matches both patterns: a product of the two as automata,
// where reach[j] says that p's first i and q's first j characters can be used up together.
func globsMeet(p, q string) bool {
	reach := make([]bool, len(q)+1)
	next := make([]bool, len(q)+1)
	reach[0] = true
	for j := 0; j < len(q) && q[j] == '*'; j++ {
		reach[j+1] = true
	}
	for i := 0; i < len(p); i++ {
		for j := range next {
			next[j] = p[i] == '*' && reach[j]
			if j == 0 {
				continue
			}
			a, b := p[i], q[j-1]
			next[j] = next[j] ||
				a == '*' && next[j-1] || // the star takes what q's character stands for
				b == '*' && (reach[j] || next[j-1]) || // q's star takes p's character, or nothing
				reach[j-1] && (a == b || a == '?' || b == '?')
		}
		reach, next = next, reach
	}
	return reach[len(q)]
}
