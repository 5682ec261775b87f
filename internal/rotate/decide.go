package rotate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/capacity"
)

// Action is one call to be made. Each may be made again without harm.
type Action struct {
	Kind     Kind
	Group    string
	Member   Member    // Drain, Reopen
	Drop     bool      // Drain: and make the group one smaller
	Deadline time.Time // Drain
	Force    bool      // Drain
	To       int       // SetDesired
	Version  string    // UseVersion
	Save     *Rotation // Save
	Why      string
}

// Kind tells actions apart.
type Kind string

// The kinds of actions.
const (
	UseVersion Kind = "use-version" // the group launches this version from now on
	SetDesired Kind = "set-desired" // only ever upwards: Auto Scaling would choose a victim that runs tasks
	Drain      Kind = "drain"       // empty the member, then terminate it
	Reopen     Kind = "reopen"      // the member takes tasks again
	Save       Kind = "save"        // write the rotation's tags
	Finish     Kind = "finish"      // remove them: it has ended
)

// Plan is what to do now, and how far the rotation is.
type Plan struct {
	Group    string
	Phase    Phase
	Old, New int // members still to be replaced, and right ones
	Done     int // of the rotation's total
	Total    int
	Draining int
	Waits    []string // whole sentences, why it does not go faster
	Actions  []Action
	Ended    bool
	ETA      time.Duration // an estimate of the time left; 0: not known
}

// Decide plans the next step of the group's rotation. It is pure.
//
// The invariant that makes it safe to be killed anywhere: the group's desired capacity is Base plus the
// surge, but never more surge than old members are left. So what is to be done follows from what is
// seen: raise it if it is less; drain old members beyond Base; let the last ones go without successor.
func Decide(g *Group, now time.Time) Plan {
	r := *g.Rotation
	d := &decider{g: g, r: &r, now: now, p: Plan{Group: g.Name, Phase: r.Phase, Total: r.Total}}
	d.sort()
	d.rebase()
	switch {
	case r.Phase == Aborting:
		d.abort()
	case d.failed():
	default:
		d.advance()
	}
	d.p.ETA = d.eta()
	return d.p
}

// decider is the work on one decision.
type decider struct {
	g      *Group
	r      *Rotation
	now    time.Time
	p      Plan
	old    []*Member // neither right nor ending
	right  []*Member // not ending
	ending int
}

func (d *decider) act(a Action) {
	a.Group = d.g.Name
	d.p.Actions = append(d.p.Actions, a)
}

func (d *decider) wait(format string, args ...any) {
	d.p.Waits = append(d.p.Waits, fmt.Sprintf(format, args...))
}

func (d *decider) sort() {
	for k := range d.g.Members {
		switch m := &d.g.Members[k]; {
		case strings.HasPrefix(m.Lifecycle, "Terminat"):
			d.ending++
		case m.Right:
			d.right = append(d.right, m)
		default:
			d.old = append(d.old, m)
		}
	}
	d.p.Old, d.p.New = len(d.old), len(d.right)
	d.p.Done = max(d.r.Total-len(d.old), 0)
	for _, m := range d.old {
		if m.Marked {
			d.p.Draining++
		}
	}
	// Zone by zone, the easy ones first; what may wait long comes last of all.
	slices.SortStableFunc(d.old, func(a, b *Member) int {
		return cmp.Or(boolCompare(a.Hard != "", b.Hard != ""), cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.Tasks, b.Tasks), cmp.Compare(a.EC2ID, b.EC2ID))
	})
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// rebase follows a size that someone else has set: it lies outside of what a rotation does.
func (d *decider) rebase() {
	base := d.r.Base
	switch n := d.g.Desired; {
	case n < base:
		base = n
	case n > base+d.r.Surge:
		base = n - min(d.r.Surge, len(d.old))
	}
	if base != d.r.Base {
		d.r.Base = base
		d.save("the group's size was changed from outside")
	}
}

func (d *decider) save(why string) {
	c := *d.r
	d.act(Action{Kind: Save, Save: &c, Why: why})
}

// failed looks at the gates that end a rotation, and reports whether one did.
func (d *decider) failed() bool {
	if d.r.Phase != Running || d.r.Rolled {
		return false
	}
	why := ""
	if a := d.g.Health.Alarms; len(a) > 0 {
		why = "alarm " + strings.Join(a, ", ") + " is in ALARM"
	}
	for _, m := range d.right {
		if m.Instance == "" && d.r.Join > 0 && !m.LaunchedAt.IsZero() && d.now.Sub(m.LaunchedAt) > d.r.Join {
			why = fmt.Sprintf("%s of version %s has not joined the cluster within %s", m.EC2ID, m.Version, d.r.Join)
		}
	}
	if d.r.Total > 0 && len(d.old) > d.r.Total {
		why = fmt.Sprintf("%d instances launched since it began are not of version %s", len(d.old)-d.r.Total, d.r.To)
	}
	if why == "" {
		return false
	}
	d.wait("%s", why)
	if d.r.OnFailure == Rollback && d.r.From != "" {
		*d.r = d.r.Back(d.now, len(d.right))
		d.r.Failed = why
		d.save(why + ": it is rolled back")
		return true
	}
	d.r.Phase, d.r.Failed = Paused, why
	d.p.Phase = Paused
	d.save(why + ": it is paused")
	return true
}

// Back is the rotation to where this one came from; there are so many instances to replace.
func (r *Rotation) Back(now time.Time, total int) Rotation {
	b := *r
	b.To, b.From = r.From, r.To
	b.Phase, b.Began, b.Total, b.Rolled, b.Failed = Running, now, total, !r.Rolled, ""
	b.Checkpoints, b.Passed, b.Reached, b.Alarms = nil, 0, time.Time{}, nil
	return b
}

// advance begins what may begin.
func (d *decider) advance() {
	if d.g.Version != d.r.To {
		d.act(Action{Kind: UseVersion, Version: d.r.To, Why: fmt.Sprintf("new instances are to be of version %s", d.r.To)})
	}
	for _, m := range d.right {
		if m.Ours && len(d.old) > 0 { // it was old before a rollback
			d.act(Action{Kind: Reopen, Member: *m, Why: "it is right"})
		}
	}
	surge := min(d.r.Surge, d.g.Max-d.r.Base)
	if surge < d.r.Surge && len(d.old) > 0 {
		d.wait("group %s may have %d instances at most, so %d more at a time, not %d", d.g.Name, d.g.Max, max(surge, 0), d.r.Surge)
	}
	if len(d.old) == 0 {
		d.finish()
		return
	}
	frozen := d.frozen()
	if frozen { // what comes now would only cost
		d.wait("a disruption budget lets none of its instances go now")
	}
	if want := d.r.Base + min(max(surge, 0), len(d.old)); d.g.Desired < want && d.r.Phase == Running && !frozen {
		d.act(Action{Kind: SetDesired, To: want, Why: fmt.Sprintf("%d new instances come before old ones go", want-d.g.Desired)})
	}
	for _, m := range d.old {
		if m.Marked {
			for _, w := range m.Waits {
				d.wait("%s: %s", m.EC2ID, w)
			}
		}
	}
	if d.r.Phase == Paused {
		d.wait("it is paused%s", because(d.r.Failed))
		return
	}
	left := d.untilCheckpoint()
	if !d.r.Ungated && len(d.g.Health.Services) > 0 {
		d.p.Waits = append(d.p.Waits, d.g.Health.Services...)
		return
	}
	d.drain(min(d.allowed(surge), left))
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

// allowed is how many more members may be drained now: as many as are ready beyond the base.
func (d *decider) allowed(surge int) int {
	ready, coming := d.ready(), 0
	for _, m := range d.right {
		if !m.Ready || m.Marked {
			coming++
		}
	}
	if coming > 0 {
		d.wait("%d new instances are on their way", coming)
	}
	if surge <= 0 { // in place, one by one: the drain proves that its tasks fit elsewhere
		return 1 - d.p.Draining - d.ending - coming
	}
	return min(ready-d.r.Base, surge-d.p.Draining)
}

// ready is how many members take tasks.
func (d *decider) ready() (n int) {
	for _, m := range append(slices.Clone(d.old), d.right...) {
		if m.Ready && !m.Marked {
			n++
		}
	}
	return n
}

// untilCheckpoint is how many members may be begun before the next checkpoint.
func (d *decider) untilCheckpoint() int {
	for _, percent := range d.r.Checkpoints {
		if percent <= d.r.Passed || percent >= 100 {
			continue
		}
		most := (d.r.Total*percent + 99) / 100
		switch {
		case d.p.Done < most:
			return most - d.p.Done - d.p.Draining
		case d.r.Reached.IsZero():
			d.r.Reached = d.now
			d.save(fmt.Sprintf("the checkpoint at %d %% is reached", percent))
		case d.now.Sub(d.r.Reached) >= d.r.Bake:
			d.r.Passed, d.r.Reached = percent, time.Time{}
			d.save(fmt.Sprintf("the checkpoint at %d %% is passed", percent))
			continue
		}
		d.wait("it rests at the checkpoint of %d %% until %s", percent, d.r.Reached.Add(d.r.Bake).UTC().Format(time.TimeOnly))
		return 0
	}
	return len(d.old)
}

// drain begins with so many old members.
func (d *decider) drain(n int) {
	unmarked, dropping := 0, 0
	for _, m := range d.old {
		switch {
		case !m.Marked:
			unmarked++
		case m.Drop:
			dropping++
		}
	}
	excess := d.g.Desired - d.r.Base
	budget, held := d.budget(), 0
	for _, m := range d.old {
		if n <= 0 {
			break
		}
		if m.Marked || m.Lifecycle != "InService" {
			continue
		}
		if m.Tasks > 0 && budget != capacity.NoLimit {
			if budget <= 0 {
				held++
				continue
			}
			budget--
		}
		drop := unmarked <= excess-dropping // the last ones have their successors already
		d.mark(m, drop, fmt.Sprintf("it is of version %s", m.Version))
		if drop {
			dropping++
		}
		unmarked--
		d.p.Draining++
		n--
	}
	if held > 0 {
		d.wait("%d instances with tasks wait for a disruption budget", held)
	}
}

// budget is how many more members with tasks may go now; NoLimit where no rule in force says.
func (d *decider) budget() int {
	leaving := 0
	for _, m := range d.old {
		if m.Marked && m.Tasks > 0 {
			leaving++
		}
	}
	return capacity.Allowed(d.g.Budgets, len(d.g.Members), leaving, d.now)
}

// frozen says that budgets let none of the members go that are left.
func (d *decider) frozen() bool {
	return capacity.Frozen(d.g.Budgets, d.now) != nil && !slices.ContainsFunc(d.old, func(m *Member) bool { return m.Marked || m.Tasks == 0 })
}

func (d *decider) mark(m *Member, drop bool, why string) {
	d.act(Action{Kind: Drain, Member: *m, Drop: drop, Deadline: d.now.Add(d.r.Deadline), Force: d.r.Force, Why: why})
}

// finish ends a rotation whose members are all right: at its own size.
func (d *decider) finish() {
	excess, marked := d.g.Desired-d.r.Base, 0
	for _, m := range d.right {
		if m.Marked && m.Drop {
			marked++
		}
	}
	switch {
	case marked > 0:
		d.wait("%d instances beyond the group's size are being emptied", marked)
	case excess > 0:
		// An old one ended by itself and was replaced: one successor too many.
		for _, m := range d.emptiest()[:max(min(excess, d.ready()-d.r.Base), 0)] {
			d.mark(m, true, "the group has one more than before")
		}
	case d.ending > 0:
		d.wait("%d instances are ending", d.ending)
	case len(d.right) < d.r.Base:
		d.wait("%d new instances are on their way", d.r.Base-len(d.right))
	default:
		d.p.Ended = true
		d.act(Action{Kind: Finish, Why: "every instance is right"})
	}
}

// emptiest is the right members that take tasks, those with the fewest first.
func (d *decider) emptiest() []*Member {
	out := slices.DeleteFunc(slices.Clone(d.right), func(m *Member) bool { return !m.Ready || m.Marked })
	slices.SortStableFunc(out, func(a, b *Member) int { return cmp.Compare(a.Tasks, b.Tasks) })
	return out
}

// abort brings the group to its own size and leaves the rest as it is.
func (d *decider) abort() {
	excess := d.g.Desired - d.r.Base
	marked := 0
	for _, m := range append(slices.Clone(d.old), d.right...) {
		if !m.Ours {
			continue
		}
		if marked < excess {
			marked++
			if !m.Drop {
				d.mark(m, true, "the rotation is aborted: the group gets its own size")
			}
			continue
		}
		d.act(Action{Kind: Reopen, Member: *m, Why: "the rotation is aborted"})
	}
	spare := d.ready() - d.r.Base
	for _, m := range append(slices.Clone(d.old), d.emptiest()...) {
		if marked < excess && spare > 0 && !m.Marked && m.Lifecycle == "InService" {
			marked++
			spare--
			d.mark(m, true, "the rotation is aborted: the group gets its own size")
		}
	}
	switch {
	case excess > 0:
		d.wait("the group has %d instances more than its own %d; they are emptied first", excess, d.r.Base)
	case d.ending > 0:
		d.wait("%d instances are ending", d.ending)
	default:
		d.p.Ended = true
		d.act(Action{Kind: Finish, Why: "it is aborted"})
	}
}

// eta goes by the pace so far, and by the usual one before there is any.
func (d *decider) eta() time.Duration {
	n := len(d.old)
	if n == 0 || d.r.Phase != Running {
		return 0
	}
	if done := d.p.Done; done > 0 && d.now.After(d.r.Began) {
		return d.now.Sub(d.r.Began) / time.Duration(done) * time.Duration(n)
	}
	waves := (n + max(d.r.Surge, 1) - 1) / max(d.r.Surge, 1)
	return time.Duration(waves) * (Usual.Launch + Usual.Drain)
}
