package rollout

import "time"

// Verdict is what the deployment circuit breaker decides.
type Verdict int

const (
	// Go on.
	Continue Verdict = iota
	// Fail the deployment: it starts no more tasks.
	Fail
	// RollBack fails the deployment and goes back to the last completed one.
	RollBack
)

// Breaker is the configured circuit breaker of a service.
type Breaker struct{ Enable, Rollback bool }

// Decide says what becomes of an IN_PROGRESS deployment after so many failed tasks. rollingBack
// is whether it is itself a rollback: that is never rolled back again.
func (b Breaker) Decide(failedTasks, desired int, rollingBack bool) Verdict {
	switch {
	case !b.Enable || failedTasks < BreakerThreshold(desired):
		return Continue
	case b.Rollback && !rollingBack:
		return RollBack
	}
	return Fail
}

// CountsAsFailed reports whether a stopped task counts against its deployment: it ended by itself or
// by its health checks before it ever was healthy. Tasks that a person or the scheduler stopped for
// another reason do not count.
func CountsAsFailed(everHealthy bool, stopCode string, sick bool) bool {
	if everHealthy {
		return false
	}
	switch stopCode {
	case "TaskFailedToStart", "EssentialContainerExited":
		return true
	}
	return sick
}

// Past is an earlier deployment.
type Past struct {
	ID          string
	CompletedAt time.Time // zero: never
	CreatedAt   time.Time
}

// RollbackTarget is the index of the deployment to roll back to: the one completed last, other than
// the failed one. -1: none has completed.
func RollbackTarget(past []Past, failed string) int {
	best := -1
	for k, d := range past {
		if d.ID == failed || d.CompletedAt.IsZero() {
			continue
		}
		if best < 0 || d.CompletedAt.After(past[best].CompletedAt) {
			best = k
		}
	}
	return best
}
