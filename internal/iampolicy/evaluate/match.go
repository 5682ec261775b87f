package evaluate

import "strings"

// glob is a pattern: each element a character that stands for itself, or a wildcard.
type glob []symbol

type symbol struct {
	c    rune
	wild byte // '*', '?', or 0 for c itself
}

// pattern reads a pattern without variables.
func pattern(s string) glob {
	g := make(glob, 0, len(s))
	for _, c := range s {
		g = append(g, wildcard(c))
	}
	return g
}

func wildcard(c rune) symbol {
	if c == '*' || c == '?' {
		return symbol{wild: byte(c)}
	}
	return symbol{c: c}
}

func literal(s string) glob {
	g := make(glob, 0, len(s))
	for _, c := range s {
		g = append(g, symbol{c: c})
	}
	return g
}

// match reports whether all of s is as g says. Linear but for the stars, which go back once each.
func (g glob) match(s string) bool {
	runes := []rune(s)
	i, j, star, mark := 0, 0, -1, 0
	for i < len(runes) {
		switch {
		case j < len(g) && g[j].wild == '*':
			star, mark = j, i
			j++
			continue
		case j < len(g) && (g[j].wild == '?' || g[j].wild == 0 && g[j].c == runes[i]):
			i, j = i+1, j+1
			continue
		case star < 0:
			return false
		}
		mark++
		i, j = mark, star+1
	}
	for j < len(g) && g[j].wild == '*' {
		j++
	}
	return j == len(g)
}

// matchARN compares the six parts of an ARN one by one, as the Arn operators do.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html#Conditions_ARN
func (g glob) matchARN(arn string) bool {
	parts := strings.SplitN(arn, ":", 6)
	for i, part := range parts {
		end := len(g)
		if i < 5 {
			if end = g.index(':'); end < 0 {
				// A star that ends the pattern stands for the parts that are left out too.
				return len(g) > 0 && g[len(g)-1].wild == '*' && g.match(strings.Join(parts[i:], ":"))
			}
		}
		if !g[:end].match(part) {
			return false
		}
		g = g[min(end+1, len(g)):]
	}
	return len(parts) == 6
}

func (g glob) index(c rune) int {
	for i, s := range g {
		if s.wild == 0 && s.c == c {
			return i
		}
	}
	return -1
}

// matchAction compares without regard to case.
func matchAction(p, action string) bool {
	return pattern(strings.ToLower(p)).match(strings.ToLower(action))
}

// expand puts the values of variables into a pattern. What a variable stands for has no wildcards. ok is
// false if a variable has no value and no default: then nothing matches.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
func expand(s, version string, lookup func(key string) (string, bool)) (g glob, ok bool) {
	if version != "2012-10-17" || !strings.Contains(s, "${") {
		return pattern(s), true
	}
	for {
		before, rest, found := strings.Cut(s, "${")
		g = append(g, pattern(before)...)
		if !found {
			return g, true
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return append(g, literal("${"+rest)...), true
		}
		s = after
		if name == "*" || name == "?" || name == "$" {
			g = append(g, literal(name)...)
			continue
		}
		key, fallback, has := strings.Cut(name, ",")
		v, ok := lookup(strings.TrimSpace(key))
		if !ok {
			fallback = strings.TrimSpace(fallback)
			if !has || len(fallback) < 2 || fallback[0] != '\'' || fallback[len(fallback)-1] != '\'' {
				return nil, false
			}
			v = fallback[1 : len(fallback)-1]
		}
		g = append(g, literal(v)...)
	}
}

// variables lists the keys of the variables in s.
func variables(s string) []string {
	var out []string
	for {
		_, rest, found := strings.Cut(s, "${")
		if !found {
			return out
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return out
		}
		key, _, _ := strings.Cut(name, ",")
		if key = strings.TrimSpace(key); strings.Contains(key, ":") {
			out = append(out, key)
		}
		s = after
	}
}
