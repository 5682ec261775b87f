package dataplane

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/slipway-ecs/slipway/internal/listener"
)

// Counters count what a listener did, for CloudWatch.
type Counters struct {
	Requests, ELB4xx, ELB5xx, Redirects, Fixed atomic.Int64
}

// handle answers one request as the listener's rules say.
func (t *table) handle(w http.ResponseWriter, r *http.Request) {
	t.count.Requests.Add(1)
	req := requestOf(r)
	actions, rewrites := t.listener.Default, []Rewrite(nil)
	best := -1
	for i := range t.listener.Rules {
		rule := &t.listener.Rules[i]
		if (best < 0 || rule.Priority < t.listener.Rules[best].Priority) && rule.match(req, r) {
			best = i
		}
	}
	if best >= 0 {
		actions, rewrites = t.listener.Rules[best].Actions, t.listener.Rules[best].Rewrites
	}
	for _, a := range actions {
		switch {
		case a.Redirect != nil:
			t.count.Redirects.Add(1)
			w.Header().Set("Location", a.Redirect.location(r, t))
			w.WriteHeader(a.Redirect.Status)
			return
		case a.Fixed != nil:
			t.count.Fixed.Add(1)
			w.Header().Set("Content-Type", a.Fixed.ContentType)
			w.WriteHeader(a.Fixed.Status)
			_, _ = w.Write([]byte(a.Fixed.Body))
			return
		case len(a.Forward) > 0:
			t.forward(w, r, a, rewrites)
			return
		}
	}
	t.fail(w, http.StatusServiceUnavailable)
}

// fail answers as the load balancer itself does.
func (t *table) fail(w http.ResponseWriter, status int) {
	if status >= 500 {
		t.count.ELB5xx.Add(1)
	} else {
		t.count.ELB4xx.Add(1)
	}
	text := fmt.Sprintf("%d %s", status, http.StatusText(status))
	if status == http.StatusServiceUnavailable {
		text = "503 Service Temporarily Unavailable"
	}
	if status == http.StatusGatewayTimeout {
		text = "504 Gateway Time-out"
	}
	w.Header().Set("Server", "awselb/2.0")
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<html>\r\n<head><title>%[1]s</title></head>\r\n<body>\r\n<center><h1>%[1]s</h1></center>\r\n</body>\r\n</html>\r\n", text)
}

func requestOf(r *http.Request) listener.Request {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip, _ := netip.ParseAddrPort(r.RemoteAddr) // the server sets it
	return listener.Request{Host: host, Path: r.URL.EscapedPath(), Method: r.Method, Headers: r.Header, Query: r.URL.Query(), SourceIP: ip.Addr()}
}

func (r *Rule) match(req listener.Request, raw *http.Request) bool {
	if !r.Conditions.Match(req) {
		return false
	}
	for _, x := range r.Regexes {
		values := []string{req.Path}
		switch x.Field {
		case "host":
			values = []string{req.Host}
		case "header":
			values = raw.Header.Values(x.Header)
		}
		if !x.matches(values) {
			return false
		}
	}
	return true
}

func (x Regex) matches(values []string) bool {
	for _, p := range x.Patterns {
		for _, v := range values {
			if p.MatchString(v) {
				return true
			}
		}
	}
	return false
}

func (d *Redirect) location(r *http.Request, t *table) string {
	req := requestOf(r)
	protocol := "http"
	if t.https {
		protocol = "https"
	}
	port := strconv.Itoa(t.port)
	if _, p, err := net.SplitHostPort(r.Host); err == nil {
		port = p
	}
	fill := func(s, fallback string) string {
		if s == "" {
			s = fallback
		}
		return strings.NewReplacer("#{protocol}", protocol, "#{host}", req.Host, "#{port}", port, "#{path}", strings.TrimPrefix(r.URL.EscapedPath(), "/"), "#{query}", r.URL.RawQuery).Replace(s)
	}
	scheme := strings.ToLower(fill(d.Protocol, "#{protocol}"))
	to := scheme + "://" + fill(d.Host, "#{host}")
	if p := fill(d.Port, "#{port}"); !(scheme == "http" && p == "80" || scheme == "https" && p == "443") {
		to += ":" + p
	}
	to += fill(d.Path, "/#{path}")
	if q := fill(d.Query, "#{query}"); q != "" {
		to += "?" + q
	}
	return to
}

// pick chooses the target group of a forward action by weight, or by the cookie that remembers it.
func (t *table) pick(w http.ResponseWriter, r *http.Request, a Action) *group {
	if len(a.Forward) == 1 {
		return t.groups[a.Forward[0].Group]
	}
	const cookie = "AWSALBTG"
	if a.Sticky > 0 {
		if c, err := r.Cookie(cookie); err == nil {
			for _, f := range a.Forward {
				if f.Weight > 0 && hash(f.Group) == c.Value {
					return t.groups[f.Group]
				}
			}
		}
	}
	total := 0
	for _, f := range a.Forward {
		total += f.Weight
	}
	if total == 0 {
		return nil
	}
	n := mathrand.IntN(total)
	for _, f := range a.Forward {
		if n -= f.Weight; n < 0 {
			if a.Sticky > 0 {
				http.SetCookie(w, &http.Cookie{Name: cookie, Value: hash(f.Group), Path: "/", MaxAge: int(a.Sticky / time.Second)})
			}
			return t.groups[f.Group]
		}
	}
	return nil
}

// rewrite applies a rule's transforms to the request that goes to the target.
func rewrite(out *http.Request, rewrites []Rewrite) {
	for _, rw := range rewrites {
		replace := strings.NewReplacer("$", "${").Replace(rw.Replace)
		replace = bracePattern.ReplaceAllString(replace, "${$1}")
		if rw.Host {
			out.Host = rw.Pattern.ReplaceAllString(out.Host, replace)
			continue
		}
		u, err := url.ParseRequestURI(rw.Pattern.ReplaceAllString(out.URL.RequestURI(), replace))
		if err == nil {
			out.URL.Path, out.URL.RawPath, out.URL.RawQuery = u.Path, u.RawPath, u.RawQuery
		}
	}
}

// traceID is the root of an X-Amzn-Trace-Id.
func traceID() string {
	b := make([]byte, 12)
	_, _ = rand.Read(b) // never fails
	return fmt.Sprintf("Root=1-%08x-%s", time.Now().Unix(), hex.EncodeToString(b))
}
