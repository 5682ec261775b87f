package balancer

import (
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// rewrite is a compiled transform.
type rewrite struct {
	host    bool
	re      *regexp.Regexp
	replace string
}

var groupRef = regexp.MustCompile(`\$(\d+)`)

func (t Transform) compile() (rewrite, error) {
	re, err := regexp.Compile(t.Regex)
	if err != nil {
		return rewrite{}, fmt.Errorf("reading the regular expression of a transform: %w", err)
	}
	// $1x means group 1 and an x; Go would look for a group "1x".
	return rewrite{host: t.Type == "host-header-rewrite", re: re, replace: groupRef.ReplaceAllString(t.Replace, "$${$1}")}, nil
}

// apply replaces the first match of a transform in the host, or in the path with its query string.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/rule-transforms.html
func (t rewrite) apply(host, uri string) (string, string) {
	in := uri
	if t.host {
		in = host
	}
	m := t.re.FindStringSubmatchIndex(in)
	if m == nil {
		return host, uri
	}
	out := in[:m[0]] + string(t.re.ExpandString(nil, t.replace, in, m)) + in[m[1]:]
	if t.host {
		return out, uri
	}
	return host, out
}

// location is the URL of a redirect. The port is always shown, as an Application Load Balancer does.
func (a *Redirect) location(r *http.Request, secure bool, port int) string {
	protocol := "http"
	if secure {
		protocol = "https"
	}
	fill := strings.NewReplacer("#{protocol}", protocol, "#{host}", hostOnly(r.Host), "#{port}", strconv.Itoa(port),
		"#{path}", strings.TrimPrefix(r.URL.EscapedPath(), "/"), "#{query}", r.URL.RawQuery)
	part := func(text, otherwise string) string {
		if text == "" {
			text = otherwise
		}
		return fill.Replace(text)
	}
	u := strings.ToLower(part(a.Protocol, "#{protocol}")) + "://" + net.JoinHostPort(strings.Trim(part(a.Host, "#{host}"), "[]"), part(a.Port, "#{port}")) + part(a.Path, "/#{path}")
	if q := part(a.Query, "#{query}"); q != "" {
		u += "?" + q
	}
	return u
}

// answer writes a response of the balancer's own.
func answer(w http.ResponseWriter, status int) {
	text := strconv.Itoa(status)
	switch t := http.StatusText(status); {
	case status == http.StatusServiceUnavailable:
		text += " Service Temporarily Unavailable"
	case status == http.StatusGatewayTimeout:
		text += " Gateway Time-out"
	case t != "":
		text += " " + t
	}
	h := w.Header()
	h.Set("Server", "awselb/2.0")
	h.Set("Content-Type", "text/html")
	body := "<html>\r\n<head><title>" + text + "</title></head>\r\n<body>\r\n<center><h1>" + text + "</h1></center>\r\n</body>\r\n</html>\r\n"
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // the client may be gone
}

func (a *FixedResponse) answer(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Server", "awselb/2.0")
	if a.ContentType != "" {
		h.Set("Content-Type", a.ContentType)
	} else {
		h.Set("Content-Type", "text/plain")
	}
	if a.Body != "" {
		h.Set("Content-Type", h.Get("Content-Type")+"; charset=utf-8")
	}
	h.Set("Content-Length", strconv.Itoa(len(a.Body)))
	w.WriteHeader(a.Status)
	_, _ = w.Write([]byte(a.Body)) // the client may be gone
}
