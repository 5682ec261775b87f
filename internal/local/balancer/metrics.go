package balancer

import (
	"sync/atomic"
	"time"
)

// Counters of one load balancer, target group or target since the start, named as the metrics of
// CloudWatch are.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html
type Counters struct {
	RequestCount                                           uint64
	Target2XX, Target3XX, Target4XX, Target5XX             uint64
	ELB3XX, ELB4XX, ELB5XX, ELB500, ELB502, ELB503, ELB504 uint64
	TargetConnectionErrorCount                             uint64
	FixedResponseCount, RedirectCount, RuleEvaluations     uint64
	NewConnectionCount                                     uint64
	ActiveConnectionCount                                  int64 // now
	Outstanding                                            int64 // requests in flight now
	ProcessedBytes                                         uint64
	ResponseTime                                           time.Duration // sum of TargetResponseTime
	Responses                                              uint64        // how many are in the sum
}

// Snapshot is the counters of everything the data plane has carried, by ARN.
type Snapshot struct {
	LoadBalancers map[string]Counters
	TargetGroups  map[string]Counters
	Targets       map[TargetKey]Counters
}

// TargetKey names a target of a target group.
type TargetKey struct {
	TargetGroup, ID string
	Port            int
}

type counters struct {
	requests                               atomic.Uint64
	target                                 [6]atomic.Uint64 // by hundreds
	elb                                    [6]atomic.Uint64
	e500, e502, e503, e504                 atomic.Uint64
	connectErrors                          atomic.Uint64
	fixed, redirects, rules, opened, bytes atomic.Uint64
	open, outstanding                      atomic.Int64
	time                                   atomic.Int64
	responses                              atomic.Uint64
}

func (c *counters) own(status int) {
	c.elb[min(status/100, 5)].Add(1)
	switch status {
	case 500:
		c.e500.Add(1)
	case 502:
		c.e502.Add(1)
	case 503:
		c.e503.Add(1)
	case 504:
		c.e504.Add(1)
	}
}

func (c *counters) response(status int, d time.Duration) {
	c.target[min(status/100, 5)].Add(1)
	c.time.Add(int64(d))
	c.responses.Add(1)
}

func (c *counters) read() Counters {
	return Counters{
		RequestCount: c.requests.Load(),
		Target2XX:    c.target[2].Load(), Target3XX: c.target[3].Load(), Target4XX: c.target[4].Load(), Target5XX: c.target[5].Load(),
		ELB3XX: c.elb[3].Load(), ELB4XX: c.elb[4].Load(), ELB5XX: c.elb[5].Load(),
		ELB500: c.e500.Load(), ELB502: c.e502.Load(), ELB503: c.e503.Load(), ELB504: c.e504.Load(),
		TargetConnectionErrorCount: c.connectErrors.Load(), FixedResponseCount: c.fixed.Load(), RedirectCount: c.redirects.Load(),
		RuleEvaluations: c.rules.Load(), NewConnectionCount: c.opened.Load(), ActiveConnectionCount: c.open.Load(),
		Outstanding: c.outstanding.Load(), ProcessedBytes: c.bytes.Load(), ResponseTime: time.Duration(c.time.Load()), Responses: c.responses.Load(),
	}
}

// Snapshot returns the counters.
func (b *Balancer) Snapshot() Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Snapshot{LoadBalancers: map[string]Counters{}, TargetGroups: map[string]Counters{}, Targets: map[TargetKey]Counters{}}
	for arn, c := range b.lbCounters {
		s.LoadBalancers[arn] = c.read()
	}
	for arn, g := range b.groups {
		s.TargetGroups[arn] = g.counters.read()
	}
	for _, t := range b.targets {
		s.Targets[t.key] = t.counters.read()
	}
	return s
}
