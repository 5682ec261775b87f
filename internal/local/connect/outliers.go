package connect

import (
	"sync"
	"time"
)

// A task on which five connections failed within thirty seconds gets no new ones for as long, and for longer each
// time it happens again, up to five minutes.
//
// Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-connect-concepts-deploy.html (outlier detection)
const (
	outlierFailures = 5
	outlierWindow   = 30 * time.Second
	leastEjection   = 30 * time.Second
	mostEjection    = 300 * time.Second
)

// outliers remembers on which hosts connections failed.
type outliers struct {
	mu    sync.Mutex
	hosts map[string]*outlier
}

type outlier struct {
	failures []time.Time
	times    int // ejected
	until    time.Time
}

func (o *outliers) failed(host string, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.hosts == nil {
		o.hosts = map[string]*outlier{}
	}
	h := o.hosts[host]
	if h == nil {
		h = &outlier{}
		o.hosts[host] = h
	}
	h.failures = append(h.failures, now)
	for len(h.failures) > 0 && now.Sub(h.failures[0]) > outlierWindow {
		h.failures = h.failures[1:]
	}
	if len(h.failures) >= outlierFailures {
		h.times++
		h.failures, h.until = nil, now.Add(min(time.Duration(h.times)*leastEjection, mostEjection))
	}
}

// keep is the hosts that are not ejected; all of them, if all are.
func (o *outliers) keep(all []string, now time.Time) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	there := map[string]bool{}
	var out []string
	for _, host := range all {
		there[host] = true
		if h := o.hosts[host]; h == nil || !now.Before(h.until) {
			out = append(out, host)
		}
	}
	for host := range o.hosts { // tasks that have gone
		if !there[host] {
			delete(o.hosts, host)
		}
	}
	if len(out) == 0 {
		return all
	}
	return out
}
