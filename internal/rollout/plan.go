package rollout

// Task is a task of the service that nobody has asked to stop.
type Task struct {
	ID         string
	Deployment string
	// Running is whether it has reached RUNNING; before, it is starting.
	Running bool
	Health  Health // of a running task
	// Draining is whether its container instance is DRAINING.
	Draining bool
	// Protected is whether scale-in protection holds now.
	Protected bool
	// Host is the container instance, for daemons.
	Host string
}

// Deployment is a deployment of the service that still matters.
type Deployment struct {
	ID string
	// Failed deployments start no tasks.
	Failed bool
	// Completed is whether it completed before.
	Completed bool
}

// State is a service at one moment.
type State struct {
	Desired               int // 0–5000
	MinimumHealthyPercent int
	MaximumPercent        int
	// Primary is the newest deployment, where all tasks shall end; Older are the ACTIVE ones it
	// replaces, newest first.
	Primary Deployment
	Older   []Deployment
	Tasks   []Task
	// NoRoom says that the last attempt to place a task failed, so that starting first will not
	// work now: where the minimum allows, tasks are stopped to make room.
	NoRoom bool
	// Surge is how many tasks beyond Desired are there on purpose: see Rebalance.
	Surge int
	// Victim chooses which of equal tasks to stop; nil takes the last. It returns an index.
	Victim func([]Task) int
}

// Why says why a task is stopped.
type Why int

const (
	// Replaced: a task of the new deployment has taken its place, or needs its room.
	Replaced Why = iota
	// ScaledIn: there are more tasks than desired.
	ScaledIn
	// Sick: it failed its health checks.
	Sick
	// Drained: its container instance is draining.
	Drained
)

// Stop is a task to stop.
type Stop struct {
	Task Task
	Why  Why
}

// Start is tasks to start.
type Start struct {
	Deployment string
	Count      int
	Host       string // daemons: the instance to start on
}

// Plan is what may be done now. Starts and stops are safe together and in any order.
type Plan struct {
	Starts []Start
	Stops  []Stop
	// Complete is whether the primary deployment has just fulfilled all conditions.
	Complete bool
	// Steady is whether nothing is left to do and all tasks are healthy.
	Steady bool
	// Blocked is whether the percents forbid every move although moves are needed.
	Blocked bool
	// HeldByProtection counts the tasks that would be stopped if they were not protected.
	HeldByProtection int
}

// Rolling plans a replica service.
func Rolling(s State) Plan {
	p := planner{s: s, bounds: RollingBounds(s.Desired, s.MinimumHealthyPercent, s.MaximumPercent)}
	p.count()
	p.start()
	p.stop()
	p.conclude()
	return p.plan
}

type planner struct {
	s      State
	bounds Bounds
	plan   Plan

	primary, older []Task // not chosen to stop
	healthy        int    // of both, not chosen to stop
	total          int    // of both, not chosen to stop
	wanted         int    // tasks the service lacks
	started        int
}

func (p *planner) count() {
	for _, t := range p.s.Tasks {
		if t.Deployment == p.s.Primary.ID {
			p.primary = append(p.primary, t)
		} else {
			p.older = append(p.older, t)
		}
		if t.Running && t.Health == Healthy {
			p.healthy++
		}
	}
	p.total = len(p.s.Tasks)
}

// sound is whether a task counts towards the tasks its deployment is to have: a sick one and one on
// a draining instance are to be replaced.
func sound(t Task) bool { return !t.Draining && !(t.Running && t.Health == Unhealthy) }

func countIf(tasks []Task, f func(Task) bool) (n int) {
	for _, t := range tasks {
		if f(t) {
			n++
		}
	}
	return n
}

// start fills the primary deployment up as far as the maximum allows. If it has failed, lost tasks
// are replaced in the newest older deployment, so that a failed deployment never costs capacity.
func (p *planner) start() {
	id, have := p.s.Primary.ID, countIf(p.primary, sound)
	if p.s.Primary.Failed {
		id = ""
		for _, d := range p.s.Older {
			if d.Completed && !d.Failed {
				id = d.ID
				break
			}
		}
		have += countIf(p.older, sound)
		if id == "" {
			return
		}
	}
	p.wanted = max(0, p.s.Desired-have)
	if n := min(p.wanted, p.bounds.Max-p.total); n > 0 {
		p.plan.Starts = append(p.plan.Starts, Start{Deployment: id, Count: n})
		p.started = n
	}
}

// stop chooses what to stop. Healthy tasks go only while the rest stays at the minimum.
func (p *planner) stop() {
	spare := p.healthy - p.bounds.Min // healthy tasks that may go, at most
	// Room that must be made for tasks that may not start otherwise.
	short := p.wanted - p.started
	if p.s.NoRoom {
		short = p.wanted
	}
	take := func(tasks *[]Task, ok func(Task) bool, n int, why Why, protectable bool) int {
		taken := 0
		for taken < n {
			k := p.pick(*tasks, ok, protectable)
			if k < 0 {
				break
			}
			t := (*tasks)[k]
			*tasks = append((*tasks)[:k:k], (*tasks)[k+1:]...)
			p.plan.Stops = append(p.plan.Stops, Stop{t, why})
			p.total--
			if t.Running && t.Health == Healthy {
				p.healthy--
				spare--
			}
			taken++
		}
		return taken
	}
	isStarting := func(t Task) bool { return !t.Running }
	isSick := func(t Task) bool { return t.Running && t.Health == Unhealthy }
	isWaiting := func(t Task) bool { return t.Running && t.Health == Waiting }
	isHealthy := func(t Task) bool { return t.Running && t.Health == Healthy }
	onDraining := func(f func(Task) bool) func(Task) bool {
		return func(t Task) bool { return t.Draining && f(t) }
	}

	// A task that has not started on a draining instance never will.
	take(&p.primary, onDraining(isStarting), p.total, Drained, false)
	take(&p.older, onDraining(isStarting), p.total, Drained, false)

	// Older deployments start nothing any more, unless the newer one has failed.
	if !p.s.Primary.Failed {
		short -= take(&p.older, isStarting, p.total, Replaced, true)
		// One goes for each task that is healthy beyond the desired count; more go to make room.
		excess := func() int { return max(p.healthy-p.s.Desired, min(short, spare)) }
		if p.healthy >= p.s.Desired {
			take(&p.older, isSick, p.total, Sick, true)
			take(&p.older, isWaiting, p.total, Replaced, true)
		}
		short -= take(&p.older, isSick, short, Sick, true)
		if p.healthy >= p.bounds.Min {
			short -= take(&p.older, isWaiting, short, Replaced, true)
		}
		for excess() > 0 && spare > 0 {
			if take(&p.older, onDraining(isHealthy), 1, Drained, false) == 0 &&
				take(&p.older, isHealthy, 1, Replaced, true) == 0 {
				break
			}
			short--
		}
	}

	// Sick tasks of the primary go when replacements are healthy, or one by one to make room.
	keep := countIf(p.primary, isHealthy)
	take(&p.primary, isSick, keep+countIf(p.primary, isSick)-p.s.Desired, Sick, false)
	moving := countIf(p.primary, func(t Task) bool { return isStarting(t) || isWaiting(t) }) > 0 || len(p.plan.Stops) > 0 || p.started > 0 && !p.s.NoRoom
	if short > 0 && !moving {
		short -= take(&p.primary, isSick, 1, Sick, false)
	}

	// Tasks on draining instances go when replacements are healthy, or before where the minimum
	// allows and the maximum does not let the replacements start.
	for spare > 0 && (p.healthy > p.s.Desired || short > 0) {
		if take(&p.primary, onDraining(isHealthy), 1, Drained, false) == 0 &&
			take(&p.older, onDraining(isHealthy), 1, Drained, false) == 0 {
			break
		}
		short--
	}
	if p.healthy >= p.s.Desired {
		take(&p.primary, onDraining(isWaiting), p.total, Drained, false)
	} else if short > 0 {
		take(&p.primary, onDraining(isWaiting), short, Drained, false)
	}

	// Scale-in: the least advanced first.
	surplus := countIf(p.primary, sound) - p.s.Desired - p.s.Surge
	if p.s.Primary.Failed {
		surplus += countIf(p.older, sound)
	}
	for k, in := range []func(Task) bool{isStarting, isWaiting, isHealthy} {
		f := func(t Task) bool { return sound(t) && in(t) }
		n := surplus
		if k == 2 {
			n = min(n, spare)
		}
		if n <= 0 {
			continue
		}
		done := take(&p.primary, f, n, ScaledIn, true)
		if p.s.Primary.Failed {
			done += take(&p.older, f, n-done, ScaledIn, true)
		}
		surplus -= done
	}
	if surplus > 0 {
		p.plan.HeldByProtection = surplus
	}
	if p.s.Desired == 0 { // what is sick or draining needs no replacement then
		all := func(Task) bool { return true }
		take(&p.primary, all, p.total, ScaledIn, true)
		take(&p.older, all, p.total, ScaledIn, true)
	}
}

// pick is the index of the task to stop among those that are ok, or -1.
func (p *planner) pick(tasks []Task, ok func(Task) bool, protectable bool) int {
	var from []int
	var list []Task
	for k, t := range tasks {
		if ok(t) && !(protectable && t.Protected) {
			from = append(from, k)
			list = append(list, t)
		}
	}
	switch {
	case len(list) == 0:
		return -1
	case p.s.Victim == nil || len(list) == 1:
		return from[len(from)-1]
	}
	return from[p.s.Victim(list)]
}

func (p *planner) conclude() {
	s := p.s
	done := len(p.plan.Starts)+len(p.plan.Stops) == 0 && len(p.older) == 0 && len(p.primary) == s.Desired
	for _, t := range p.primary {
		done = done && t.Running && t.Health == Healthy && !t.Draining
	}
	p.plan.Complete = done && !s.Primary.Completed && !s.Primary.Failed
	p.plan.Steady = done && !s.Primary.Failed
	// Blocked: something must change, nothing moves, and nothing is on its way that could change it.
	moving := countIf(s.Tasks, func(t Task) bool { return !t.Running || t.Health == Waiting }) > 0
	needs := p.wanted > 0 || len(p.older) > 0 && !s.Primary.Failed
	p.plan.Blocked = needs && !moving && !s.NoRoom && len(p.plan.Starts)+len(p.plan.Stops) == 0 && p.bounds.Min >= p.bounds.Max
}
