package loop

import (
	"fmt"
	"slices"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
	"github.com/slipway-ecs/slipway/internal/rollout"
)

// Traffic moves the traffic of listener rules between target groups.
type Traffic interface {
	// Shift has a listener rule, or the default action of a listener, forward by these weights
	// (0–999) by target group ARN.
	Shift(tx *state.Tx, rule string, weights map[string]int) error
}

// shift is how the service moves traffic to a new revision; false: it is a rolling one.
func (r *reconciliation) shift() (rollout.Shift, bool) {
	c := r.svc.Spec.DeploymentConfiguration
	if c == nil || c.Strategy == nil || *c.Strategy == "ROLLING" || isDaemon(r.svc) {
		return rollout.Shift{}, false
	}
	minutes := func(p *int32) time.Duration { return time.Duration(wire.Value(p)) * time.Minute }
	s := rollout.Shift{Strategy: *c.Strategy, Bake: minutes(c.BakeTimeInMinutes)}
	if l := c.LinearConfiguration; l != nil && s.Strategy == "LINEAR" {
		s.StepPercent, s.StepBake = wire.Value(l.StepPercent), minutes(l.StepBakeTimeInMinutes)
	}
	if l := c.CanaryConfiguration; l != nil && s.Strategy == "CANARY" {
		s.StepPercent, s.StepBake = wire.Value(l.CanaryPercent), minutes(l.CanaryBakeTimeInMinutes)
	}
	return s, true
}

// blue is the deployment that has the production traffic while the primary comes up; nil: none.
func (r *reconciliation) blue() *state.Deployment {
	for _, d := range r.deployments { // newest first
		if d.ID != r.primary.ID && d.Status == "ACTIVE" && !d.CompletedAt.IsZero() {
			return d
		}
	}
	return nil
}

// swap takes a blue/green, linear or canary deployment on, a stage at a time: writing the stage wakes
// the loop for the next.
func (r *reconciliation) swap(s rollout.Shift) error {
	sd, ok := r.s.cfg.State.ServiceDeployments.Get(r.tx, r.primary.ServiceDeployment)
	if !ok {
		return fmt.Errorf("service deployment %s is not there", r.primary.ServiceDeployment)
	}
	if problem := r.unsupported(s); problem != "" {
		return r.rollBack(problem, "ECS deployment "+r.primary.ID+" failed: "+problem, "")
	}
	blue := r.blue()
	st := rollout.Stage{Name: sd.LifecycleStage, Since: r.now.Sub(sd.UpdatedAt), First: blue == nil, GreenReady: r.ready(r.primary.ID), BlueGone: r.blueGone()}
	if st.Name == rollout.ProductionTrafficShift {
		if err := r.production(s, st.Since, blue); err != nil {
			return err
		}
	}
	next, wait := s.Next(st)
	if ready, done, err := r.runHooks(); done || err != nil {
		return err
	} else if !ready && next != st.Name { // the stage has done its work and waits for its hooks
		next, wait = st.Name, 0
	}
	switch {
	case next == "":
		r.conclude(rollout.Plan{Complete: true})
		return nil
	case next != st.Name:
		if err := r.enter(next, s, blue); err != nil {
			return err
		}
	case wait > 0:
		r.wake = earliest(r.wake, r.now.Add(wait))
	}
	return r.colours(next, blue)
}

// unsupported says what of the deployment this local AWS cannot do.
func (r *reconciliation) unsupported(s rollout.Shift) string {
	if err := s.Check(); err != nil {
		return err.Error()
	}
	for _, lb := range r.specOf(r.primary).LoadBalancers {
		if lb.AdvancedConfiguration != nil && r.s.cfg.Traffic == nil {
			return "not supported by this local AWS: shifting the traffic of listener rules"
		}
	}
	return ""
}

// enter does what a stage begins with.
func (r *reconciliation) enter(stage string, s rollout.Shift, blue *state.Deployment) error {
	var err error
	switch stage {
	case rollout.ReconcileService:
		r.resolve(blue)
		if blue != nil { // a deployment that was overtaken may have moved it
			err = r.traffic(false, 0)
		}
	case rollout.TestTrafficShift:
		err = r.traffic(true, 100)
	case rollout.ProductionTrafficShift:
		err = r.production(s, 0, blue)
	}
	r.saveRun(r.primary, func(sd *state.ServiceDeployment) { sd.LifecycleStage = stage })
	return err
}

// resolve gives the primary's revision the target group that has no production traffic.
func (r *reconciliation) resolve(blue *state.Deployment) {
	rev, ok := r.s.cfg.State.ServiceRevisions.Get(r.tx, r.primary.Revision)
	if !ok {
		return
	}
	next := *rev
	next.Spec.LoadBalancers = slices.Clone(rev.Spec.LoadBalancers)
	resolved := &ecsapi.ResolvedConfiguration{}
	for k := range next.Spec.LoadBalancers {
		lb := &next.Spec.LoadBalancers[k]
		if lb.AdvancedConfiguration == nil {
			continue
		}
		if other := wire.Value(lb.AdvancedConfiguration.AlternateTargetGroupArn); blue != nil && other != "" && r.groupOf(blue, lb) == wire.Value(lb.TargetGroupArn) {
			swapped := *lb.AdvancedConfiguration
			swapped.AlternateTargetGroupArn = lb.TargetGroupArn
			lb.TargetGroupArn, lb.AdvancedConfiguration = &other, &swapped
		}
		resolved.LoadBalancers = append(resolved.LoadBalancers, ecsapi.ServiceRevisionLoadBalancer{
			TargetGroupArn: lb.TargetGroupArn, ProductionListenerRule: lb.AdvancedConfiguration.ProductionListenerRule})
	}
	next.API.ResolvedConfiguration = resolved
	r.s.cfg.State.ServiceRevisions.Put(r.tx, rev.ARN, &next)
}

// groupOf is the target group a deployment uses behind the same production rule.
func (r *reconciliation) groupOf(d *state.Deployment, like *ecsapi.LoadBalancer) string {
	for _, lb := range r.specOf(d).LoadBalancers {
		if lb.AdvancedConfiguration != nil && like.AdvancedConfiguration != nil &&
			wire.Value(lb.AdvancedConfiguration.ProductionListenerRule) == wire.Value(like.AdvancedConfiguration.ProductionListenerRule) {
			return wire.Value(lb.TargetGroupArn)
		}
	}
	return ""
}

// production gives the primary its percentage of the production traffic after so long in the stage.
func (r *reconciliation) production(s rollout.Shift, since time.Duration, blue *state.Deployment) error {
	percent, _, _ := s.At(since)
	if blue == nil {
		percent = 100
	}
	return r.traffic(false, percent)
}

// traffic gives the primary's target groups their percentage behind the production or the test rules.
func (r *reconciliation) traffic(test bool, percent float64) error {
	for _, lb := range r.specOf(r.primary).LoadBalancers {
		a := lb.AdvancedConfiguration
		if a == nil {
			continue
		}
		rule := wire.Value(a.ProductionListenerRule)
		if test {
			rule = wire.Value(a.TestListenerRule)
		}
		if rule == "" {
			continue
		}
		old, green := rollout.Weights(percent)
		weights := map[string]int{wire.Value(lb.TargetGroupArn): green}
		if other := wire.Value(a.AlternateTargetGroupArn); other != "" {
			weights[other] = old
		}
		said := fmt.Sprint(weights)
		if r.s.weights[rule] == said {
			continue
		}
		if err := r.s.cfg.Traffic.Shift(r.tx, rule, weights); err != nil {
			return fmt.Errorf("shifting the traffic of %s: %w", rule, err)
		}
		r.s.weights[rule] = said
	}
	return nil
}

// ready reports whether a deployment has all its tasks, and all are healthy.
func (r *reconciliation) ready(id string) bool {
	n := 0
	for _, x := range r.plan {
		if x.Deployment == id {
			if !x.Running || x.Health != rollout.Healthy {
				return false
			}
			n++
		}
	}
	return n == r.svc.DesiredCount
}

// blueGone reports whether no task but the primary's takes traffic any more.
func (r *reconciliation) blueGone() bool {
	for _, t := range r.live {
		if t.DeploymentID != r.primary.ID {
			return false
		}
	}
	return !slices.ContainsFunc(r.leaving, func(t *state.Task) bool {
		return t.DeploymentID != r.primary.ID && (t.LastStatus == "RUNNING" || t.LastStatus == "ACTIVATING")
	})
}

// colours keeps both revisions at their size, each as if it were a service of its own; others go.
func (r *reconciliation) colours(stage string, blue *state.Deployment) error {
	before := []string{rollout.ReconcileService, rollout.PreScaleUp}
	var starts []rollout.Start
	var stops []rollout.Stop
	for _, d := range r.deployments {
		st := r.stateOf()
		st.Primary, st.Older, st.Tasks = deploymentOf(d), nil, nil
		for _, x := range r.plan {
			if x.Deployment == d.ID {
				st.Tasks = append(st.Tasks, x)
			}
		}
		switch {
		case d.ID == r.primary.ID && slices.Contains(before, stage), d.ID != r.primary.ID && (blue == nil || d.ID != blue.ID),
			d.ID != r.primary.ID && stage == rollout.CleanUp:
			st.Desired = 0
		}
		p := rollout.Rolling(st)
		starts, stops = append(starts, p.Starts...), append(stops, p.Stops...)
	}
	if len(starts) > 0 && r.throttled() {
		starts = nil
	}
	short, err := r.start(starts)
	if err != nil {
		return err
	}
	r.hungry = r.hungry || short
	r.stop(stops)
	r.conclude(rollout.Plan{})
	return nil
}

// backToBlue returns the production traffic to the revision the service was rolled back to.
func (r *reconciliation) backToBlue() error {
	if r.s.cfg.Traffic == nil {
		return nil
	}
	return r.traffic(false, 100)
}
