// Package rollout is the arithmetic of ECS deployments: which tasks of a service may start and stop
// now, when a deployment is complete, and when it has failed.
//
// Sources: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-ecs.html,
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html
package rollout

import "time"

// Bounds are how many tasks a service may have while tasks are exchanged.
type Bounds struct {
	Min int // healthy tasks, at least
	Max int // starting and running tasks, at most
}

// RollingBounds rounds the minimum up and the maximum down, as ECS does. Percents below 0 count
// as 0; desired is 0–5000.
func RollingBounds(desired, minimumHealthyPercent, maximumPercent int) Bounds {
	lo, hi := max(0, minimumHealthyPercent), max(0, maximumPercent)
	return Bounds{Min: (desired*lo + 99) / 100, Max: desired * hi / 100}
}

// BreakerThreshold is how many failed tasks trip the deployment circuit breaker: half the desired
// count, at least 3 and at most 200.
//
// Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
func BreakerThreshold(desired int) int {
	return min(200, max(3, (desired+1)/2))
}

// RunningWait is how long a task without any health check must run before it counts as healthy.
const RunningWait = 40 * time.Second

// StartDelay is how long to wait after the last of so many tasks in a row that failed to start.
// The first ten follow each other at once, then the wait doubles from 1 s to 15 min.
func StartDelay(failedInARow int) time.Duration {
	const free, most = 10, 15 * time.Minute
	if failedInARow <= free {
		return 0
	}
	n := min(failedInARow-free-1, 20)
	return min(most, time.Second<<n)
}
