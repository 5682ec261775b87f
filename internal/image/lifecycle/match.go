package lifecycle

import "strings"

// MatchPattern tells whether the tag matches the pattern: "*" stands for any run of characters, the
// empty one included, everything else for itself; both ends are anchored and case counts.
func MatchPattern(pattern, tag string) bool {
	g := compile(pattern)
	return g.match(tag)
}

// glob is a compiled pattern: literal text between stars.
type glob struct {
	prefix, suffix string
	middle         []string // non-empty pieces between the first and the last star
	literal        bool     // no star: prefix is the whole tag
}

func compile(pattern string) glob {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return glob{prefix: pattern, literal: true}
	}
	g := glob{prefix: parts[0], suffix: parts[len(parts)-1]}
	for _, m := range parts[1 : len(parts)-1] {
		if m != "" {
			g.middle = append(g.middle, m)
		}
	}
	return g
}

func compilePrefix(prefix string) glob { return glob{prefix: prefix} }

func (g *glob) match(s string) bool {
	if g.literal {
		return s == g.prefix
	}
	if !strings.HasPrefix(s, g.prefix) {
		return false
	}
	s = s[len(g.prefix):]
	if !strings.HasSuffix(s, g.suffix) {
		return false
	}
	if len(g.middle) == 0 {
		return true
	}
	s = s[:len(s)-len(g.suffix)]
	for _, m := range g.middle {
		i := strings.Index(s, m)
		if i < 0 {
			return false
		}
		s = s[i+len(m):]
	}
	return true
}

func (g *glob) matchAny(tags []string) bool {
	for _, t := range tags {
		if g.match(t) {
			return true
		}
	}
	return false
}

// selector is a compiled selection; entries are positions in the matcher's globs.
type selector struct {
	status  TagStatus
	class   StorageClass
	entries []int
}

// matcher matches images against the selections of up to 64 rules at once. Rules share entries
// (the same prefix in many rules), and an entry is tried once an image.
type matcher struct {
	selectors []selector
	globs     []glob
	tried     []int64 // by glob: twice the image's turn, plus one if it matched
	turn      int64
}

// maskBits is how many rules one matcher takes.
const maskBits = 64

func newMatcher(rules []Rule) *matcher {
	m := &matcher{}
	known := map[string]int{}
	entry := func(key string, g glob) int {
		i, ok := known[key]
		if !ok {
			i = len(m.globs)
			known[key] = i
			m.globs = append(m.globs, g)
		}
		return i
	}
	for _, r := range rules {
		s := selector{status: r.Selection.TagStatus, class: r.Selection.StorageClass}
		for _, p := range r.Selection.TagPatterns {
			s.entries = append(s.entries, entry("*"+p, compile(p)))
		}
		for _, p := range r.Selection.TagPrefixes {
			s.entries = append(s.entries, entry("^"+p, compilePrefix(p)))
		}
		m.selectors = append(m.selectors, s)
	}
	m.tried = make([]int64, len(m.globs))
	return m
}

// match returns a bit for each rule that matches an image of the class with the tags.
func (m *matcher) match(c StorageClass, tags []string) uint64 {
	m.turn++
	var mask uint64
	for i := range m.selectors {
		s := &m.selectors[i]
		if s.class != c {
			continue
		}
		var hit bool
		switch s.status {
		case Any:
			hit = true
		case Untagged:
			hit = len(tags) == 0
		default:
			hit = len(tags) > 0 && m.all(s.entries, tags)
		}
		if hit {
			mask |= 1 << i
		}
	}
	return mask
}

func (m *matcher) all(entries []int, tags []string) bool {
	for _, e := range entries {
		if m.tried[e]>>1 != m.turn {
			m.tried[e] = m.turn << 1
			if m.globs[e].matchAny(tags) {
				m.tried[e]++
			}
		}
		if m.tried[e]&1 == 0 {
			return false
		}
	}
	return true
}
