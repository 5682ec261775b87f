// Package dataplane carries the traffic of the local AWS's load balancers: it listens, chooses a rule
// and a target as an Application Load Balancer does, and checks the health of targets.
//
// It keeps nothing: Apply gives it the whole configuration, and it reports health and counters.
package dataplane

import (
	"crypto/tls"
	"regexp"
	"time"

	"github.com/slipway-ecs/slipway/internal/listener"
)

// Config is everything the balancer serves.
type Config struct {
	Balancers []LoadBalancer
	Groups    []TargetGroup
}

// LoadBalancer is one balancer with its own loopback address.
type LoadBalancer struct {
	ARN, Name   string
	Address     string        // 127.66.x.y
	IdleTimeout time.Duration // 0: 60 s
	Listeners   []Listener
}

// Listener is a port of a balancer.
type Listener struct {
	ARN      string
	Port     int
	Protocol string // HTTP, HTTPS, TCP
	TLS      *tls.Config
	Rules    []Rule // in any order, without the default rule
	Default  []Action
}

// Rule is a listener's rule.
type Rule struct {
	ARN        string
	Priority   int
	Conditions listener.Conditions
	Regexes    []Regex // conditions with regular expressions, all of which must hold
	Rewrites   []Rewrite
	Actions    []Action
}

// Regex is a condition by regular expressions on the host, the path or a header.
type Regex struct {
	Field    string // host, path, header
	Header   string
	Patterns []*regexp.Regexp
}

// Rewrite changes the URL or the host before forwarding.
type Rewrite struct {
	Host    bool // else the URL's path and query
	Pattern *regexp.Regexp
	Replace string // $1 … are groups
}

// Action is what a rule does; exactly one of the fields is set.
type Action struct {
	Forward  []Weighted
	Sticky   time.Duration // of the target group, between several
	Redirect *Redirect
	Fixed    *Fixed
}

// Weighted is a target group with its share of the traffic, 0 to 999.
type Weighted struct {
	Group  string
	Weight int
}

// Redirect sends the client elsewhere; #{protocol}, #{host}, #{port}, #{path} and #{query} stand for
// those of the request.
type Redirect struct {
	Protocol, Host, Port, Path, Query string
	Status                            int
}

// Fixed is an answer without a target.
type Fixed struct {
	Status            int
	ContentType, Body string
}

// TargetGroup is a set of targets and how they are checked and chosen.
type TargetGroup struct {
	ARN        string
	Protocol   string // HTTP, HTTPS, TCP
	Version    string // HTTP1, HTTP2, GRPC
	Algorithm  string // round_robin, least_outstanding_requests, weighted_random
	SlowStart  time.Duration
	Sticky     time.Duration // 0: off
	StickyName string        // application cookie; "" = the balancer's own
	Delay      time.Duration // deregistration delay
	InUse      bool          // a rule forwards to it
	Check      Check
	Targets    []Target
}

// Target is one registered target.
type Target struct {
	Key      string // unique: of the target's record
	ID       string
	Port     int
	Addr     string // real address; "": nothing is there
	Draining time.Time
}

// Check is a target group's health check.
type Check struct {
	Enabled            bool
	Protocol           string // HTTP, HTTPS, TCP
	Path               string
	Port               int // 0: the traffic port
	GRPC               bool
	Match              func(code int) bool
	Interval, Timeout  time.Duration
	Healthy, Unhealthy int
}

// Health is a target's state with AWS's reason code and description.
type Health struct{ State, Reason, Description string }
