package web

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// town is a source of two services and a cluster.
type town struct {
	picture *Picture
	err     error
	looks   int
	heard   []Verdict
}

func (s *town) Look(context.Context) (*Picture, error) { s.looks++; return s.picture, s.err }
func (s *town) Decide(_ context.Context, v Verdict) error {
	if v.Service != "shop" {
		return errors.New("there is no service " + v.Service)
	}
	s.heard = append(s.heard, v)
	return nil
}

const one, two = "sha256:1111111111111111111111111111111111111111111111111111111111111111", "sha256:2222222222222222222222222222222222222222222222222222222222222222"

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func aTown() *town {
	return &town{picture: &Picture{At: noon, Account: "111122223333", Region: "eu-west-1", You: "ann@example.com",
		Services: []Service{
			{Name: "shop", Team: "web", Environments: []Environment{
				{Name: "qa", State: Serving, Digest: two, Release: "v2", Running: 1, Desired: 1, Cluster: "c1", URL: "javascript:alert(1)"},
				{Name: "prod", State: RolledBack, Says: "3 tasks exited with code 1", Digest: one, Release: "v1", Running: 3, Desired: 3,
					Next: &Candidate{From: "qa", Release: "v2", Digest: two, Asks: true, Refusals: []Refusal{{"approval", "0 of 1", "approve it"}}, Command: "slipway promote --from qa --to prod"}}},
				History: []Event{{At: noon, What: "built", Release: "v2", Digest: two, Outcome: "succeeded", By: "<script>alert(1)</script>", Link: "https://ci.example.com/1"}}},
			{Name: "job/ä", Problem: "the ledger could not be read: gone", Environments: []Environment{{Name: "nightly", State: OnDemand}}},
		},
		Clusters: []Cluster{{Name: "c1", CPU: Amount{1024, 2048}, Memory: Amount{512, 2048}, Groups: []string{"service:shop"}, Notices: []string{"i-1 drains: 2 tasks left"},
			Instances: []Instance{{ID: "i-1", Type: "m5.large", State: "ACTIVE", CPU: Amount{1024, 2048}, Memory: Amount{512, 2048}, Shares: []Share{{"service:shop", 2, 1024, 512}}}}}}}}
}

type client struct {
	t    *testing.T
	h    http.Handler
	with map[string]string
}

func (c client) do(method, target, body string) (int, string, http.Header) {
	c.t.Helper()
	r := httptest.NewRequest(method, "http://127.0.0.1:4570"+target, strings.NewReader(body))
	r.AddCookie(&http.Cookie{Name: cookieName, Value: "k"})
	if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for k, v := range c.with {
		if r.Header.Set(k, v); k == "Host" {
			r.Host = v
		}
	}
	w := httptest.NewRecorder()
	c.h.ServeHTTP(w, r)
	data, err := io.ReadAll(w.Result().Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return w.Code, string(data), w.Header()
}

func open(t *testing.T, src Source) client {
	return client{t: t, h: New(src, "k", time.Second, func(err error) { t.Error(err) }).Handler()}
}

func contains(t *testing.T, body string, all ...string) {
	t.Helper()
	for _, want := range all {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in\n%s", want, body)
		}
	}
}

func TestPages(t *testing.T) {
	c := open(t, aTown())
	code, body, header := c.do("GET", "/", "")
	if code != 200 || !strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("%d %v", code, header)
	}
	contains(t, body, "<th>qa</th><th>prod</th><th>nightly</th>", "rolled back", "v2 of qa waits for approval", "could not be read: gone", `href="/services/job%2F%C3%A4"`, "111122223333")
	_, body, _ = c.do("GET", "/services/shop", "")
	contains(t, body, "3 tasks exited with code 1", "<b>approval</b>: 0 of 1; approve it", `name="digest" value="`+two+`"`, "Approve for prod", "&lt;script&gt;alert(1)", `href="https://ci.example.com/1"`)
	if strings.Contains(body, "javascript:") || strings.Contains(body, "<script>alert") {
		t.Errorf("what others wrote became part of the page:\n%s", body)
	}
	code, body, _ = c.do("GET", "/services/job%2F%C3%A4", "")
	if code != 200 {
		t.Errorf("a name with a slash: %d %s", code, body)
	}
	_, body, _ = c.do("GET", "/clusters/c1", "")
	contains(t, body, "CPU 50 %, memory 25 %", `<rect x="0.00%" width="50.00%" height="18" class="c0"><title>service:shop: 2 tasks, 1024 CPU units`, "i-1 drains")
	for _, target := range []string{"/services/none", "/clusters/none", "/none", "/assets/none"} {
		if code, _, _ := c.do("GET", target, ""); code != 404 {
			t.Errorf("%s: %d, want 404", target, code)
		}
	}
	for _, asset := range []string{"dashboard.css", "dashboard.js", "icon.svg"} {
		if code, _, _ := c.do("GET", "/assets/"+asset, ""); code != 200 {
			t.Errorf("%s: %d", asset, code)
		}
	}
	_, body, _ = c.do("GET", "/picture.json", "")
	var p Picture
	if err := json.Unmarshal([]byte(body), &p); err != nil || p.Services[0].Environments[1].Next.Digest != two {
		t.Errorf("%v: %s", err, body)
	}
}

func TestWhoIsLetIn(t *testing.T) {
	src := aTown()
	c := open(t, src)
	form := url.Values{"digest": {two}, "verdict": {"approve"}}.Encode()
	for name, with := range map[string]map[string]string{
		"a name that was bound to this address": {"Host": "evil.example:4570"},
		"another address":                       {"Host": "192.0.2.1"},
		"no key":                                {"Cookie": ""},
		"a wrong key":                           {"Cookie": cookieName + "=K"},
		"another site's form":                   {"Origin": "http://evil.example"},
		"another site's form, newer browsers":   {"Sec-Fetch-Site": "cross-site"},
	} {
		c.with = with
		if code, body, _ := c.do("POST", "/services/shop/environments/prod/verdict", form); code != 403 && code != 401 {
			t.Errorf("%s: %d %s", name, code, body)
		}
	}
	for _, host := range []string{"localhost:4570", "LOCALHOST", "127.0.0.1", "[::1]:4570", "127.9.9.9:1"} {
		c.with = map[string]string{"Host": host}
		if code, body, _ := c.do("GET", "/", ""); code != 200 {
			t.Errorf("%s: %d %s", host, code, body)
		}
	}
	c.with = map[string]string{"Cookie": ""}
	if code, _, _ := c.do("GET", "/?key=wrong", ""); code != 401 {
		t.Errorf("a wrong key in the address: %d", code)
	}
	code, _, header := c.do("GET", "/?key=k", "")
	if code != 303 || header.Get("Location") != "/" || !strings.Contains(header.Get("Set-Cookie"), "HttpOnly; SameSite=Strict") {
		t.Errorf("the key in the address: %d %v", code, header)
	}
	if len(src.heard) != 0 {
		t.Errorf("verdicts were taken: %v", src.heard)
	}
}

func TestVerdicts(t *testing.T) {
	src := aTown()
	c := open(t, src)
	const target = "/services/shop/environments/prod/verdict"
	code, _, header := c.do("POST", target, url.Values{"digest": {two}, "verdict": {"approve"}, "note": {" by hand "}}.Encode())
	if code != 303 || header.Get("Location") != "/services/shop" {
		t.Errorf("%d %v", code, header)
	}
	if code, _, _ := c.do("POST", target, url.Values{"digest": {one}, "verdict": {"reject"}}.Encode()); code != 303 {
		t.Errorf("rejecting: %d", code)
	}
	want := []Verdict{{"shop", "prod", two, true, "by hand"}, {"shop", "prod", one, false, ""}}
	if len(src.heard) != 2 || src.heard[0] != want[0] || src.heard[1] != want[1] {
		t.Errorf("heard %v, want %v", src.heard, want)
	}
	for body, want := range map[string]int{"verdict=maybe": 400, "": 400, "%zz": 400, "note=" + strings.Repeat("x", 1<<17): 400} {
		if code, _, _ := c.do("POST", target, body); code != want {
			t.Errorf("%.20q: %d, want %d", body, code, want)
		}
	}
	code, body, _ := c.do("POST", "/services/other/environments/prod/verdict", "verdict=approve")
	if code != 409 {
		t.Errorf("a service that is not there: %d", code)
	}
	contains(t, body, "there is no service other")
	if code, _, _ := c.do("GET", target, ""); code != 404 && code != 405 {
		t.Errorf("a verdict by GET: %d", code)
	}
}

// A page that is open in many browsers costs one look each interval; a verdict is seen at once.
func TestLooks(t *testing.T) {
	src := aTown()
	s := New(src, "k", 5*time.Second, func(err error) { t.Error(err) })
	now := noon
	s.now = func() time.Time { return now }
	c := client{t: t, h: s.Handler()}
	get := func() int { code, _, _ := c.do("GET", "/", ""); return code }
	get()
	now = now.Add(4 * time.Second)
	get()
	if src.looks != 1 {
		t.Errorf("%d looks within the interval", src.looks)
	}
	c.do("POST", "/services/shop/environments/prod/verdict", "verdict=approve&digest="+two)
	get()
	if src.looks != 2 {
		t.Errorf("%d looks, want one more after the verdict", src.looks)
	}
	now = now.Add(6 * time.Second)
	src.err = errors.New("no credentials")
	if code, body, _ := c.do("GET", "/", ""); code != 502 || !strings.Contains(body, "no credentials") {
		t.Errorf("%d %s", code, body)
	}
	if code, body, _ := c.do("GET", "/picture.json", ""); code != 502 || !strings.Contains(body, "no credentials") {
		t.Errorf("%d %s", code, body)
	}
	src.err, src.picture = nil, &Picture{At: noon}
	if code, body, _ := c.do("GET", "/", ""); code != 200 || !strings.Contains(body, "There is no service here") {
		t.Errorf("%d %s", code, body)
	}
}
