package deploy

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// tidy runs after a deployment that succeeded: it gives the traffic to a target group that stood
// by, and takes away what the service no longer uses.
func (r *run) tidy(ctx context.Context) error {
	if r.d.rule != nil {
		if have := r.o.rule(r.d.rule.Listener); have != nil && have.TargetGroup != r.d.targetGroup.ARN && r.d.alternate == nil {
			want := *r.d.rule
			want.ARN, want.Priority, want.TargetGroup = r.out.Rule, r.out.Priority, r.d.targetGroup.ARN
			if _, err := r.ports.Rules.PutRule(ctx, want); err != nil {
				return fmt.Errorf("giving the traffic to target group %s: %w", r.d.targetGroup.Name, err)
			}
			r.step(resRule, Update, "listener rule %d forwards to %s", want.Priority, r.d.targetGroup.Name)
		}
	}
	for _, x := range []struct{ want, have *Role }{{r.d.executionRole, r.o.executionRole}, {r.d.taskRole, r.o.taskRole}} {
		if x.want == nil || x.have == nil || !r.plan.Rollout || canonicalJSON(x.have.Policy) == canonicalJSON(x.want.Policy) {
			continue
		}
		if _, err := r.ports.Roles.PutRole(ctx, *x.want); err != nil {
			return fmt.Errorf("taking what the old version needed off role %s: %w", x.want.Name, err)
		}
	}
	for _, c := range r.plan.Changes {
		if c.Action != Delete {
			continue
		}
		var err error
		switch c.Resource {
		case resRule:
			err = r.ports.Rules.DeleteRule(ctx, c.Name)
		case resTargetGroup:
			if tg := r.o.targetGroup(c.Name); tg != nil {
				err = r.ports.TargetGroups.DeleteTargetGroup(ctx, tg.ARN)
			}
			if errors.Is(err, ErrInUse) {
				err = nil // draining; the next Apply takes it
				continue
			}
		case resAlarm:
			err = r.ports.Alarms.DeleteAlarms(ctx, []string{c.Name})
		case resEventRule:
			err = r.ports.EventRules.DeleteEventRule(ctx, c.Name)
		case resRegistry:
			if err = r.ports.Registries.DeleteRegistry(ctx, c.Name); errors.Is(err, ErrInUse) {
				err = nil // tasks are still being deregistered; the next Apply takes it
				continue
			}
		case resSchedule:
			err = r.ports.Schedules.DeleteSchedule(ctx, c.Name)
		case resExecutionRole, resTaskRole, resTrafficRole, resVolumeRole, resScheduleRole:
			err = r.ports.Roles.DeleteRole(ctx, c.Name)
		default:
			continue
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("deleting %s %s: %w", c.Resource, c.Name, err)
		}
		r.step(c.Resource, Delete, "%s %s", c.Resource, c.Name)
	}
	return nil
}

// resourceLabel is ALBRequestCountPerTarget's: app/name/id/targetgroup/name/id.
// https://docs.aws.amazon.com/autoscaling/application/APIReference/API_PredefinedMetricSpecification.html
func resourceLabel(balancer, targetGroup string) string {
	_, lb, _ := strings.Cut(balancer, ":loadbalancer/")
	i := strings.Index(targetGroup, "targetgroup/")
	if lb == "" || i < 0 {
		return ""
	}
	return lb + "/" + targetGroup[i:]
}

// URL is where the listener answers.
func (l Listener) URL() string {
	scheme := strings.ToLower(l.Protocol)
	if l.Protocol == "TLS" || l.Protocol == "TCP" || l.Protocol == "UDP" {
		scheme = "tcp"
	}
	url := scheme + "://" + l.DNSName
	if (l.Protocol == "HTTP" && l.Port == 80) || (l.Protocol == "HTTPS" && l.Port == 443) {
		return url
	}
	return url + ":" + itoa(l.Port)
}
