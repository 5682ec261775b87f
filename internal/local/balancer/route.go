package balancer

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
)

// route is what a listener's requests see: one Config of it.
type route struct {
	lb       *LoadBalancer
	ln       *Listener
	counters *counters
	rules    []rule
	tls      *tls.Config
}

type rule struct {
	priority int // 0: the default one
	match    []matcher
	action   action
	rewrites []rewrite
}

type action struct {
	Action
	groups []weighted
	total  int
}

type weighted struct {
	*group
	weight int
	cookie string
}

func newRoute(lb *LoadBalancer, ln *Listener, c *counters, groups map[string]*group) (*route, error) {
	rt := &route{lb: lb, ln: ln, counters: c}
	rules := slices.SortedStableFunc(slices.Values(ln.Rules), func(a, b Rule) int { return cmp.Compare(a.Priority, b.Priority) })
	for _, r := range append(rules, Rule{Actions: ln.Actions}) {
		out := rule{priority: r.Priority}
		for _, c := range r.Conditions {
			m, err := c.compile()
			if err != nil {
				return nil, fmt.Errorf("compiling rule %s: %w", r.ARN, err)
			}
			out.match = append(out.match, m)
		}
		for _, t := range r.Transforms {
			w, err := t.compile()
			if err != nil {
				return nil, fmt.Errorf("compiling rule %s: %w", r.ARN, err)
			}
			out.rewrites = append(out.rewrites, w)
		}
		if len(r.Actions) > 0 {
			out.action = newAction(r.Actions[len(r.Actions)-1], groups)
		}
		rt.rules = append(rt.rules, out)
	}
	if ln.Protocol == "HTTPS" || ln.Protocol == "TLS" {
		rt.tls = newTLS(lb, ln)
	}
	return rt, nil
}

func newAction(a Action, groups map[string]*group) action {
	out := action{Action: a}
	if a.Forward == nil {
		return out
	}
	for _, w := range a.Forward.Groups {
		if g := groups[w.ARN]; g != nil {
			out.groups = append(out.groups, weighted{g, w.Weight, groupCookie(w.ARN)})
			out.total += w.Weight
		}
	}
	return out
}

// find returns the first rule the request meets; the last one has no conditions.
func (rt *route) find(s *seen) *rule {
	for i := range rt.rules {
		r := &rt.rules[i]
		if !slices.ContainsFunc(r.match, func(m matcher) bool { return !m(s) }) {
			rt.counters.rules.Add(uint64(i + 1))
			return r
		}
	}
	return nil
}

// choose picks a target group by weight. With stickiness the cookie of an earlier choice wins.
func (a *action) choose(r *http.Request) *weighted {
	if len(a.groups) == 1 {
		return &a.groups[0]
	}
	if a.Forward.Sticky && r != nil {
		for _, name := range []string{cookieGroup, cookieGroup + "CORS"} {
			c, err := r.Cookie(name)
			if err != nil {
				continue
			}
			for i := range a.groups {
				if a.groups[i].cookie == c.Value {
					return &a.groups[i]
				}
			}
		}
	}
	if a.total == 0 {
		return nil
	}
	n := rand.IntN(a.total)
	for i := range a.groups {
		if n -= a.groups[i].weight; n < 0 {
			return &a.groups[i]
		}
	}
	return nil
}
