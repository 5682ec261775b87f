// Package loop is what happens in the local ECS: the service loop decides which tasks a service is
// to have and where they run, the task loop takes each task through its life.
//
// The loops share nothing but the state: the service loop creates tasks and sets what is desired of
// them, the task loop writes what has become of them. Both wake on changes, and look at everything
// when they start, so that they go on from whatever a dead process left.
package loop

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math/big"
	"net/netip"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
)

// Subnets looks up subnets for tasks in awsvpc mode.
type Subnets interface {
	// Subnet returns the zone and the addresses of a subnet.
	Subnet(tx *state.Tx, id string) (zone string, cidr netip.Prefix, ok bool)
}

// keepStopped is how long a stopped task and an INACTIVE service can still be described.
const keepStopped = time.Hour

// provisioningLimit is how many tasks of a cluster may wait for capacity.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cluster-auto-scaling.html
const provisioningLimit = 500

func hexID(n int) string {
	b := make([]byte, (n+1)/2)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)[:n]
}

func uuid() string {
	h := hexID(32)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func randomInt(n int) int {
	v, _ := rand.Int(rand.Reader, big.NewInt(int64(n))) // never fails
	return int(v.Int64())
}

// taskARN makes the ARN of a kind of resource from that of its cluster.
func siblingARN(clusterARN, kind, rest string) string {
	before, _, _ := strings.Cut(clusterARN, ":cluster/")
	return before + ":" + kind + "/" + rest
}

// lastPart is what follows the last slash.
func lastPart(s string) string { return s[strings.LastIndexByte(s, '/')+1:] }

// definitionKey is the key of the task definition with the ARN.
func definitionKey(arn string) string {
	family, revision, ok := strings.Cut(lastPart(arn), ":")
	n := 0
	if _, err := fmt.Sscanf(revision, "%d", &n); !ok || err != nil {
		return arn
	}
	return state.TaskDefinitionKey(family, n)
}

// waitFor sleeps until the watch has something, the clock reaches at (zero: never) or ctx ends.
func waitFor(ctx context.Context, clk clock.Clock, w *state.Watch, at time.Time) error {
	var timer <-chan time.Time
	if !at.IsZero() {
		timer = clk.After(max(0, at.Sub(clk.Now())))
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-w.C:
	case <-timer:
	}
	return nil
}

func discardLog(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}

// earliest is the earlier of two times, of which zero means never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
