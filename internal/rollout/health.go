package rollout

import "time"

// Health is what the scheduler makes of a task's health checks.
type Health int

const (
	// Waiting: no verdict yet; the task counts neither as healthy nor as unhealthy.
	Waiting Health = iota
	Healthy
	Unhealthy
)

func (h Health) String() string {
	return [...]string{"waiting", "healthy", "unhealthy"}[h]
}

// Observation is what is known of a running task.
type Observation struct {
	RunningSince time.Time
	// ContainerCheck is whether an essential container has a health check; Container is its
	// verdict: Waiting while UNKNOWN.
	ContainerCheck bool
	Container      Health
	// Targets are the verdicts of every target group the task is registered in. A target that is
	// not registered yet, or initial, is Waiting; draining and unused are Waiting too.
	Targets []Health
	// Grace is healthCheckGracePeriodSeconds: failures are ignored so long after the start.
	Grace time.Duration
}

// Judge combines the checks: a task is healthy when all say so. wake, if not zero, is when time
// alone may change the verdict.
//
// Without a target group and a container check, a task counts after RunningWait.
func Judge(o Observation, now time.Time) (h Health, wake time.Time) {
	if o.RunningSince.IsZero() {
		return Waiting, time.Time{}
	}
	if !o.ContainerCheck && len(o.Targets) == 0 {
		if at := o.RunningSince.Add(RunningWait); now.Before(at) {
			return Waiting, at
		}
		return Healthy, time.Time{}
	}
	h = Healthy
	if o.ContainerCheck {
		h = worse(h, o.Container)
	}
	for _, t := range o.Targets {
		h = worse(h, t)
	}
	if end := o.RunningSince.Add(o.Grace); h == Unhealthy && now.Before(end) {
		return Waiting, end
	}
	return h, time.Time{}
}

func worse(a, b Health) Health {
	switch {
	case a == Unhealthy || b == Unhealthy:
		return Unhealthy
	case a == Waiting || b == Waiting:
		return Waiting
	}
	return Healthy
}
