package rollout

// Host is a container instance as a daemon service sees it.
type Host struct {
	ID string
	// Eligible: ACTIVE and matching the service's constraints, so it is to have one task.
	Eligible bool
	// Empty: it is not eligible and runs nothing but daemons, so the daemon may go last.
	Empty bool
}

// Daemons plans a daemon service: one task on every eligible host. maximumPercent is always 100 for
// daemons, so a host's task stops before its replacement starts; s.Desired is not used.
func Daemons(s State, hosts []Host) Plan {
	var plan Plan
	byHost := map[string][]Task{}
	healthy := 0
	for _, t := range s.Tasks {
		byHost[t.Host] = append(byHost[t.Host], t)
		if t.Running && t.Health == Healthy {
			healthy++
		}
	}
	desired := 0
	for _, h := range hosts {
		if h.Eligible {
			desired++
		}
	}
	bounds := RollingBounds(desired, s.MinimumHealthyPercent, 100)
	done := true
	stop := func(t Task, why Why) bool {
		if t.Running && t.Health == Healthy {
			// A host that leaves takes its daemon along whatever the minimum says.
			if why == Replaced && healthy <= bounds.Min {
				plan.Blocked = plan.Blocked || bounds.Min >= desired
				return false
			}
			healthy--
		}
		plan.Stops = append(plan.Stops, Stop{t, why})
		return true
	}
	for _, h := range hosts {
		tasks := byHost[h.ID]
		delete(byHost, h.ID)
		if !h.Eligible {
			for _, t := range tasks {
				if h.Empty || !t.Running {
					stop(t, Drained)
				}
			}
			continue
		}
		current, left := false, 0
		for _, t := range tasks {
			ok := t.Deployment == s.Primary.ID || s.Primary.Failed
			sick := t.Running && t.Health == Unhealthy
			switch {
			case ok && !sick && !current:
				current = true
				left++
				done = done && t.Running && t.Health == Healthy && t.Deployment == s.Primary.ID
			case sick:
				if !stop(t, Sick) {
					left++
				}
			case !stop(t, Replaced):
				left++
			}
		}
		if left == 0 && !s.Primary.Failed {
			plan.Starts = append(plan.Starts, Start{Deployment: s.Primary.ID, Count: 1, Host: h.ID})
		}
		done = done && current && left == 1
	}
	for _, tasks := range byHost { // on instances that are gone
		for _, t := range tasks {
			stop(t, Drained)
		}
	}
	done = done && len(plan.Starts)+len(plan.Stops) == 0
	plan.Complete = done && !s.Primary.Completed && !s.Primary.Failed
	plan.Steady = done && !s.Primary.Failed
	plan.Blocked = plan.Blocked && len(plan.Starts)+len(plan.Stops) == 0
	return plan
}
