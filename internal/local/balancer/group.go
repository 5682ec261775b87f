package balancer

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"
)

// groupState is what of a target group lives across Configs.
type groupState struct {
	turn     atomic.Uint64
	counters counters
}

// group is a target group as one Config has it.
type group struct {
	TargetGroup
	*groupState
	eligible []*target // who gets requests
	bySticky map[string]*target
	slow     bool // some eligible targets may be in slow start
}

func newGroup(tg TargetGroup, st *groupState, targets []*target) *group {
	g := &group{TargetGroup: tg, groupState: st, bySticky: map[string]*target{}}
	var healthy, all []*target
	for i, t := range tg.Targets {
		switch t.State {
		case Healthy:
			healthy = append(healthy, targets[i])
			all = append(all, targets[i])
		case Unhealthy:
			all = append(all, targets[i])
		}
	}
	// Fail open: too few healthy targets get no more than the unhealthy ones.
	// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health.html
	least := max(cmp.Or(tg.MinHealthyCount, 1), (len(all)*tg.MinHealthyPercent+99)/100)
	if g.eligible = healthy; len(healthy) < least {
		g.eligible = all
	}
	for _, t := range g.eligible {
		g.bySticky[t.sticky] = t
		g.slow = g.slow || t.since.Load() != 0
	}
	return g
}

// pick chooses the target of a request; nil if there is none.
func (g *group) pick(now time.Time) *target {
	n := len(g.eligible)
	if n == 0 {
		return nil
	}
	if n == 1 {
		return g.eligible[0]
	}
	switch g.Algorithm {
	case "least_outstanding_requests":
		start := int(g.turn.Add(1) % uint64(n))
		best := g.eligible[start]
		for i := 1; i < n; i++ {
			if t := g.eligible[(start+i)%n]; t.outstanding.Load() < best.outstanding.Load() {
				best = t
			}
		}
		return best
	case "weighted_random":
		return g.eligible[rand.IntN(n)]
	}
	t := g.eligible[g.turn.Add(1)%uint64(n)]
	if !g.slow {
		return t
	}
	// In slow start a target passes on part of its turns.
	for range n {
		if share := t.share(g.SlowStart, now); share == 1 || rand.Float64() < share {
			return t
		}
		t = g.eligible[g.turn.Add(1)%uint64(n)]
	}
	return t
}

// stickyValue is the same for a target as long as it is registered, whatever process serves it.
func stickyValue(k TargetKey) string {
	sum := sha256.Sum256([]byte(k.TargetGroup + "\x00" + k.ID + "\x00" + strconv.Itoa(k.Port)))
	return base64.RawURLEncoding.EncodeToString(sum[:24])
}
