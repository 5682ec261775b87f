package balancer

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"time"
)

// Config is everything the data plane is to do. Durations are on the machine's clock.
type Config struct {
	LoadBalancers []LoadBalancer
	TargetGroups  []TargetGroup
}

// LoadBalancer is an Application or Network Load Balancer.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html
type LoadBalancer struct {
	ARN     string
	Network bool
	Address netip.Addr // its own loopback address

	IdleTimeout        time.Duration // idle_timeout.timeout_seconds, 1–4000 s; 0: 60 s, 350 s for a network one
	PreserveHost       bool          // routing.http.preserve_host_header.enabled
	DropInvalidHeaders bool          // routing.http.drop_invalid_header_fields.enabled
	ForwardedFor       string        // routing.http.xff_header_processing.mode: append (also ""), preserve, remove
	ForwardedForPort   bool          // routing.http.xff_client_port.enabled
	NoHTTP2            bool          // routing.http2.enabled is false
	KeepAlive          time.Duration // client_keep_alive.seconds, 60–604,800 s; 0: no limit
	TLSHeaders         bool          // routing.http.x_amzn_tls_version_and_cipher_suite.enabled

	// AccessLog and ConnectionLog take the lines of the logs; nil: none are written.
	AccessLog, ConnectionLog func(line string)

	Listeners []Listener
}

// Listener accepts connections on a port.
type Listener struct {
	ARN          string
	Protocol     string // HTTP, HTTPS; TCP, TLS
	Port         int    // 1–65535
	Certificates []tls.Certificate
	// CertificateARN is what the access log names the default certificate.
	CertificateARN string
	Security       Security
	Clients        *Clients          // how clients prove who they are; nil: not asked (mutual TLS is off)
	RequestHeaders map[string]string // other names for the headers about TLS, by X-Amzn-…
	Headers        map[string]string // put into every response
	HideServer     bool              // routing.http.response.server.enabled is false
	IdleTimeout    time.Duration     // tcp.idle_timeout.seconds, 60–6,000 s, for TCP; 0: the load balancer's
	Actions        []Action          // of the default rule
	Rules          []Rule
}

// Security is a security policy: which versions and ciphers of TLS are spoken.
type Security struct {
	Least, Most uint16   // tls.VersionTLS10 …; 0: from TLS 1.2, to the latest
	Ciphers     []uint16 // below TLS 1.3, the first is the best; nil: Go's
}

// Clients says how the certificates of clients are treated.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/mutual-authentication.html
type Clients struct {
	Verify       bool // refuse who has none that the roots vouch for; otherwise it is only passed on
	Roots        []*x509.Certificate
	Revoked      []*x509.RevocationList
	IgnoreExpiry bool
	Advertise    bool // tell clients the names of the roots
}

// Rule is a rule of a listener. All conditions must hold.
type Rule struct {
	ARN        string
	Priority   int // 1–50000, the lowest first
	Conditions []Condition
	Actions    []Action
	Transforms []Transform
}

// Condition holds if any of its values matches.
type Condition struct {
	Field  string   // host-header, path-pattern, http-header, http-request-method, query-string, source-ip
	Header string   // name, for http-header
	Values []string // with * and ?; methods exact, source-ip as CIDR
	Regex  []string // for host-header, path-pattern and http-header
	Query  []KeyValue
}

// KeyValue is a part of a query string, both sides with * and ?. An empty key means any key.
type KeyValue struct{ Key, Value string }

// Action is what becomes of a request. Exactly one of its members is set.
type Action struct {
	Forward  *Forward
	Redirect *Redirect
	Fixed    *FixedResponse
}

// Forward sends a request to one of some target groups by weight.
type Forward struct {
	Groups     []WeightedGroup
	Sticky     bool
	StickyTime time.Duration // 1 s–7 days
}

// WeightedGroup is a target group of a Forward.
type WeightedGroup struct {
	ARN    string
	Weight int // 0–999
}

// Redirect answers with another URL. Members may hold #{protocol}, #{host}, #{port}, #{path}, #{query}.
type Redirect struct {
	Protocol, Host, Port, Path, Query string
	Status                            int // 301, 302
}

// FixedResponse answers without a target.
type FixedResponse struct {
	Status      int // 2XX, 4XX, 5XX
	ContentType string
	Body        string
}

// Transform rewrites a request before it goes to a target.
type Transform struct {
	Type           string // url-rewrite, host-header-rewrite
	Regex, Replace string
}

// TargetGroup is where requests can go.
type TargetGroup struct {
	ARN             string
	Protocol        string // HTTP, HTTPS; TCP, TLS
	ProtocolVersion string // HTTP1, HTTP2, GRPC
	Algorithm       string // round_robin (also ""), least_outstanding_requests, weighted_random
	SlowStart       time.Duration
	Stickiness      Stickiness
	ProxyProtocol   bool // proxy_protocol_v2.enabled
	// MinHealthyCount and MinHealthyPercent (0: off): with fewer healthy targets traffic goes to all.
	// target_group_health.unhealthy_state_routing.minimum_healthy_targets.*
	MinHealthyCount, MinHealthyPercent int
	Targets                            []Target
}

// Stickiness binds a client to a target.
type Stickiness struct {
	Type     string        // "" (off), lb_cookie, app_cookie, source_ip
	Cookie   string        // name, for app_cookie
	Duration time.Duration // 1 s–7 days
}

// Target is a registered target.
type Target struct {
	ID    string
	Port  int
	AZ    string
	Addr  string // real address, "" if there is none (yet)
	State State
}

// State says which requests a target gets.
type State int

// The states of a target as the data plane tells them apart.
const (
	Unhealthy State = iota // also initial: requests only when too few are healthy
	Healthy
	Draining // no new requests
	Unused   // none at all
)
