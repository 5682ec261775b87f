package localtest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// The services whose operations are told by method and path: Scheduler (rest-json) and S3 (rest-xml).

// signedFor is the service that a request was signed for.
func signedFor(r *http.Request) string {
	_, scope, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	scope, _, _ = strings.Cut(scope, ",")
	if parts := strings.Split(scope, "/"); len(parts) == 5 {
		return parts[3]
	}
	return ""
}

// rest finds the operation of such a service. Of several that the path fits it is the one that names most of the
// query.
func (m *models) rest(r *http.Request) (c call, ok bool) {
	name := signedFor(r)
	c.m = m.find(func(m *model) bool {
		return strings.HasPrefix(m.Metadata.Protocol, "rest-") && cmp.Or(m.Metadata.SigningName, m.Metadata.EndpointPrefix) == name
	})
	if c.m == nil {
		return c, false
	}
	best := -1
	for name, op := range c.m.Operations {
		if n := c.m.fit(op.HTTP.Method, op.HTTP.RequestURI, op.Input.Shape, r); n > best || n == best && n >= 0 && name < c.op {
			best, c.op = n, name
		}
	}
	return c, best >= 0
}

// fit is how much of a request's query an operation names; -1: the request is not for it.
func (m *model) fit(method, uri, input string, r *http.Request) (n int) {
	path, literal, _ := strings.Cut(uri, "?")
	if method != r.Method || !pathFits(path, r.URL.EscapedPath()) {
		return -1
	}
	have := r.URL.Query()
	want, err := url.ParseQuery(literal)
	if err != nil {
		return -1
	}
	for k, v := range want {
		switch {
		case have.Has(k) && (v[0] == "" || have.Get(k) == v[0]):
			n++
		case k != "x-id" || have.Has(k):
			return -1
		}
	}
	in := m.Shapes[input]
	for _, k := range in.Required {
		if in.Members[k].Location != "querystring" {
			continue
		}
		if !have.Has(in.Members[k].LocationName) {
			return -1
		}
		n++
	}
	return n
}

// pathFits reports whether a path is one of a template: {Name} stands for a part, {Name+} for all the rest.
func pathFits(template, path string) bool {
	have := strings.Split(strings.Trim(path, "/"), "/")
	for i, part := range strings.Split(strings.Trim(template, "/"), "/") {
		switch {
		case i >= len(have), have[i] == "" && part != "":
			return false
		case strings.HasSuffix(part, "+}"):
			return true
		case !strings.HasPrefix(part, "{") && part != have[i]:
			return false
		}
	}
	return strings.Count(strings.Trim(template, "/"), "/") == len(have)-1
}

// inBody is a structure without the members that go in headers.
func (s shape) inBody(name string) bool { return s.Members[name].Location == "" }

// checkREST checks an answer of such a service.
func (a *answers) checkREST(c call, r *recorded) {
	out, body := c.m.Operations[c.op].Output.Shape, r.body.Bytes()
	if c.m.Metadata.Protocol == "rest-json" {
		var v any
		d := json.NewDecoder(bytes.NewReader(body))
		d.UseNumber()
		if err := d.Decode(&v); err != nil && err != io.EOF {
			a.say(c, "the answer cannot be read: %v", err)
			return
		}
		switch {
		case r.status >= 300:
			a.failure(c, v, r.Header().Get("X-Amzn-Errortype"))
		case v != nil:
			a.json(c, c.op, out, v)
		case slices.ContainsFunc(c.m.Shapes[out].Required, c.m.Shapes[out].inBody):
			a.say(c, "there is no body")
		}
		return
	}
	s := c.m.Shapes[out]
	payload := s.Members[s.Payload].Shape
	if len(body) == 0 || r.status == http.StatusNotModified {
		return
	}
	if r.status < 300 && (c.op == "GetBucketLocation" || s.Payload != "" && c.m.Shapes[payload].Type != "structure") {
		return // the region alone, and what was stored
	}
	e, err := parseXML(body)
	switch {
	case err != nil:
		a.say(c, "the answer cannot be read: %v", err)
	case r.status >= 300 && (e.name != "Error" || e.child("Code") == nil || e.child("Message") == nil):
		a.say(c, "an error without code or message: %s", body)
	case r.status >= 300:
	case out == "":
		a.say(c, "an answer of an operation that has none: %s", body)
	default:
		a.xml(c, c.op, cmp.Or(payload, out), member{}, e)
	}
}
