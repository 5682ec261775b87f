package balancer

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// seen is what conditions look at.
type seen struct {
	r     *http.Request
	host  string // lower case, without the port
	path  string // as sent
	ip    netip.Addr
	query []KeyValue // decoded, lower case; made when first needed
	asked bool
}

func newSeen(r *http.Request, ip netip.Addr) seen {
	return seen{r: r, host: strings.ToLower(hostOnly(r.Host)), path: r.URL.EscapedPath(), ip: ip}
}

func hostOnly(hostport string) string {
	if !strings.Contains(hostport, ":") {
		return hostport
	}
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		return h
	}
	return strings.Trim(hostport, "[]")
}

func (s *seen) pairs() []KeyValue {
	if s.asked {
		return s.query
	}
	s.asked = true
	for part := range strings.SplitSeq(s.r.URL.RawQuery, "&") {
		if part == "" {
			continue
		}
		k, v, _ := strings.Cut(part, "=")
		s.query = append(s.query, KeyValue{unescape(k), unescape(v)})
	}
	return s.query
}

func unescape(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		s = u
	}
	return strings.ToLower(s)
}

type matcher func(s *seen) bool

// compile makes the test of a condition. Hosts, header values and query strings match without regard
// to case, paths with.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/rule-condition-types.html
func (c Condition) compile() (matcher, error) {
	switch c.Field {
	case "host-header":
		texts, err := newTexts(c.Values, c.Regex, true)
		return func(s *seen) bool { return texts.match(s.host) }, err
	case "path-pattern":
		texts, err := newTexts(c.Values, c.Regex, false)
		return func(s *seen) bool { return texts.match(s.path) }, err
	case "http-header":
		texts, err := newTexts(c.Values, c.Regex, true)
		name := http.CanonicalHeaderKey(c.Header)
		return func(s *seen) bool {
			return slices.ContainsFunc(s.r.Header[name], texts.match)
		}, err
	case "http-request-method":
		return func(s *seen) bool { return slices.Contains(c.Values, s.r.Method) }, nil
	case "query-string":
		want := make([]KeyValue, len(c.Query))
		for i, q := range c.Query {
			want[i] = KeyValue{strings.ToLower(q.Key), strings.ToLower(q.Value)}
		}
		return func(s *seen) bool {
			return slices.ContainsFunc(s.pairs(), func(have KeyValue) bool {
				return slices.ContainsFunc(want, func(q KeyValue) bool {
					return (q.Key == "" || glob(q.Key, have.Key)) && glob(q.Value, have.Value)
				})
			})
		}, nil
	case "source-ip":
		var nets []netip.Prefix
		for _, v := range c.Values {
			p, err := netip.ParsePrefix(v)
			if err != nil {
				return nil, fmt.Errorf("reading the source %q: %w", v, err)
			}
			nets = append(nets, p.Masked())
		}
		return func(s *seen) bool {
			return slices.ContainsFunc(nets, func(p netip.Prefix) bool { return p.Contains(s.ip) })
		}, nil
	}
	return nil, fmt.Errorf("condition field %q is not known", c.Field)
}

// texts are patterns for one string.
type texts struct {
	globs []string
	regex []*regexp.Regexp
	fold  bool
}

func newTexts(globs, regex []string, fold bool) (*texts, error) {
	t := &texts{fold: fold}
	for _, g := range globs {
		if fold {
			g = strings.ToLower(g)
		}
		t.globs = append(t.globs, g)
	}
	for _, text := range regex {
		if fold {
			text = "(?i)" + text
		}
		re, err := regexp.Compile(text)
		if err != nil {
			return nil, fmt.Errorf("reading the regular expression: %w", err)
		}
		t.regex = append(t.regex, re)
	}
	return t, nil
}

func (t *texts) match(v string) bool {
	if t.fold {
		v = strings.ToLower(v)
	}
	return slices.ContainsFunc(t.globs, func(g string) bool { return glob(g, v) }) ||
		slices.ContainsFunc(t.regex, func(re *regexp.Regexp) bool { return re.MatchString(v) })
}

// glob matches * (any characters, also none) and ? (exactly one): after a mismatch the last star
// takes one character more.
func glob(pattern, s string) bool {
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
