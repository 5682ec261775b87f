package balancer

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"time"
)

// The cookies of sticky sessions, each with a twin that browsers send across sites.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/sticky-sessions.html
const (
	cookieTarget = "AWSALB"
	cookieApp    = "AWSALBAPP-0"
	cookieGroup  = "AWSALBTG"
)

// stuck is the target a request's cookie names, if that gets requests.
func (g *group) stuck(r *http.Request) *target {
	name := ""
	switch g.Stickiness.Type {
	case "lb_cookie":
		name = cookieTarget
	case "app_cookie":
		name = cookieApp
	default:
		return nil
	}
	for _, c := range []string{name, name + "CORS"} {
		if got, err := r.Cookie(c); err == nil {
			if t := g.bySticky[got.Value]; t != nil {
				return t
			}
		}
	}
	return nil
}

// stick adds the cookies of a group's own stickiness to a response of t.
func (g *group) stick(resp *http.Response, t *target, now time.Time) {
	switch g.Stickiness.Type {
	case "lb_cookie":
		setCookie(resp.Header, cookieTarget, t.sticky, g.Stickiness.Duration, now)
	case "app_cookie":
		for _, c := range resp.Cookies() {
			if c.Name == g.Stickiness.Cookie {
				setCookie(resp.Header, cookieApp, t.sticky, g.Stickiness.Duration, now)
				return
			}
		}
	}
}

func setCookie(h http.Header, name, value string, keep time.Duration, now time.Time) {
	c := http.Cookie{Name: name, Value: value, Path: "/", Expires: now.Add(keep)}
	h.Add("Set-Cookie", c.String())
	c.Name += "CORS"
	c.SameSite = http.SameSiteNoneMode
	c.Secure = true
	h.Add("Set-Cookie", c.String())
}

func groupCookie(arn string) string {
	sum := sha256.Sum256([]byte(arn))
	return base64.RawURLEncoding.EncodeToString(sum[:18])
}
