package listener

import (
	"net/netip"
	"slices"
	"strings"
)

// Request is what a listener sees of a request.
type Request struct {
	Host     string // without the port
	Path     string // as sent, without the query string
	Method   string
	Headers  map[string][]string // any case of names
	Query    map[string][]string // decoded
	SourceIP netip.Addr
}

// Match returns the index of the rule the request meets: of those that match, the one with the
// lowest priority. It is -1 when only the default rule is left.
func Match(rules []Rule, req Request) int {
	best := -1
	for i, r := range rules {
		if (best < 0 || r.Priority < rules[best].Priority) && r.Conditions.Match(req) {
			best = i
		}
	}
	return best
}

// Match says whether the request meets the conditions.
func (c Conditions) Match(req Request) bool {
	if len(c.Hosts) > 0 && !anyGlob(c.Hosts, req.Host, true) {
		return false
	}
	if len(c.Paths) > 0 && !anyGlob(c.Paths, req.Path, false) {
		return false
	}
	for name, want := range c.Headers {
		if !slices.ContainsFunc(header(req.Headers, name), func(v string) bool { return anyGlob(want, v, true) }) {
			return false
		}
	}
	if len(c.Methods) > 0 && !slices.Contains(c.Methods, req.Method) {
		return false
	}
	if len(c.Query) > 0 && !slices.ContainsFunc(c.Query, func(q QueryValue) bool { return q.match(req.Query) }) {
		return false
	}
	if len(c.SourceIPs) == 0 {
		return true
	}
	return slices.ContainsFunc(c.SourceIPs, func(cidr string) bool {
		p, err := netip.ParsePrefix(cidr)
		return err == nil && p.Contains(req.SourceIP.Unmap())
	})
}

func (q QueryValue) match(query map[string][]string) bool {
	for key, values := range query {
		if q.Key != "" && !glob(q.Key, key, true) {
			continue
		}
		for _, v := range values {
			if glob(q.Value, v, true) {
				return true
			}
		}
	}
	return false
}

func header(headers map[string][]string, name string) []string {
	var values []string
	for k, v := range headers {
		if strings.EqualFold(k, name) {
			values = append(values, v...)
		}
	}
	return values
}

func anyGlob(patterns []string, s string, fold bool) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return glob(p, s, fold) })
}

// glob matches * (any characters, also none) and ? (exactly one). It needs no recursion: after a
// mismatch, the last star takes one character more.
func glob(pattern, s string, fold bool) bool {
	if fold {
		pattern, s = strings.ToLower(pattern), strings.ToLower(s)
	}
	p, i, star, from := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			from++
			p, i = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
