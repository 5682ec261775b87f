package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
)

const resSecret = "secret copy"

// SecretCopies are the copies of other stores' secrets that slipway deploy keeps in Secrets Manager.
type SecretCopies interface {
	// SecretCopies names those kept for a service; ErrUnavailable where they may not be listed.
	SecretCopies(ctx context.Context, ref Ref) ([]string, error)
	// DeleteSecretCopy deletes one so that it can be restored for a week; one that is gone is no error.
	DeleteSecretCopy(ctx context.Context, name string) error
}

// PlanDelete names what Delete would take away, in its order, and changes nothing.
func (e *Engine) PlanDelete(ctx context.Context, ref Ref, opt DeleteOptions) ([]Change, error) {
	x := &removal{Engine: e, ref: ref, opt: opt}
	if err := x.look(ctx); err != nil {
		return nil, err
	}
	var out []Change
	add := func(resource, format string, args ...any) {
		out = append(out, Change{Resource: resource, Name: fmt.Sprintf(format, args...), Action: Delete})
	}
	if x.o.scaling != nil {
		add(resScaling, "%s", ref.Service)
	}
	if x.o.schedule != nil {
		add(resSchedule, "%s", x.o.schedule.Name)
	}
	for _, a := range x.o.alarms {
		add(resAlarm, "%s", a.Name)
	}
	if x.o.churn != nil {
		add(resEventRule, "%s", x.o.churn.Name)
	}
	if s := x.o.service; s != nil {
		add(resService, "%s (%s)", ref.Service, tasks(s.Running+s.Pending))
	}
	for _, r := range x.o.registries {
		add(resRegistry, "%s.%s", r.Name, r.Namespace)
	}
	for _, r := range x.o.rules {
		add(resRule, "%d: %s", r.Priority, r.Conditions.Canonical())
	}
	for _, tg := range x.o.targetGroups {
		add(resTargetGroup, "%s", tg.Name)
	}
	revisions, err := x.ownRevisions(ctx)
	if err != nil {
		return nil, err
	}
	for _, arn := range revisions {
		add(resDefinition, "%s", revisionName(arn))
	}
	for _, role := range x.o.roles() {
		add("role", "%s", role.Name)
	}
	secrets, err := x.ownSecrets(ctx)
	if err != nil && !errors.Is(err, ErrUnavailable) {
		return nil, err
	}
	for _, name := range secrets {
		add(resSecret, "%s", name)
	}
	groups, err := x.ownLogGroups(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range groups {
		add(resLogGroup, "%s", name)
	}
	return out, nil
}

// look reads all that a service, or a Delete of it that was killed, may have left.
func (x *removal) look(ctx context.Context) (err error) {
	if x.o, err = x.observe(ctx, x.ref); err != nil {
		return err
	}
	if x.o.service == nil { // a job has none
		if err := x.observeSchedule(ctx, x.ref, &x.o); err != nil {
			return err
		}
		return x.observeRegistries(ctx, x.ref, &x.o)
	}
	return nil
}

func (o observed) roles() []*Role {
	var out []*Role
	for _, role := range []*Role{o.executionRole, o.taskRole, o.trafficRole, o.volumeRole, o.scheduleRole} {
		if role != nil {
			out = append(out, role)
		}
	}
	return out
}

// ownRevisions are those made for this service, not for another cluster's of the same name.
func (x *removal) ownRevisions(ctx context.Context) ([]string, error) {
	arns, err := x.ports.TaskDefinitions.Revisions(ctx, x.ref.Service)
	if err != nil {
		return nil, fmt.Errorf("listing revisions of %s: %w", x.ref.Service, err)
	}
	var own []string
	for _, arn := range arns {
		td, err := found(x.ports.TaskDefinitions.TaskDefinition(ctx, arn))
		if err != nil {
			return nil, fmt.Errorf("reading task definition %s: %w", arn, err)
		}
		if td != nil && td.Tags[tagOwner] == x.ref.owner() {
			own = append(own, arn)
		}
	}
	return own, nil
}

// ownLogGroups are those made for this service alone.
func (x *removal) ownLogGroups(ctx context.Context) ([]string, error) {
	if x.opt.KeepLogs {
		return nil, nil
	}
	names := []string{x.ref.logGroupName()}
	if x.o.definition != nil {
		if g := cmp.Or(x.o.definition.LogOptions["awslogs-group"], x.o.definition.RouterLogs["awslogs-group"]); g != "" && g != names[0] {
			names = append(names, g)
		}
	}
	var own []string
	for _, name := range names {
		g, err := found(x.ports.Logs.LogGroup(ctx, name))
		if err != nil {
			return nil, fmt.Errorf("reading log group %s: %w", name, err)
		}
		if g != nil && g.Tags[tagOwner] == x.ref.owner() {
			own = append(own, name)
		}
	}
	return own, nil
}

func (x *removal) ownSecrets(ctx context.Context) ([]string, error) {
	if x.opt.KeepSecrets || x.ports.SecretCopies == nil {
		return nil, nil
	}
	names, err := x.ports.SecretCopies.SecretCopies(ctx, x.ref)
	if err != nil {
		return nil, fmt.Errorf("listing the copies of secrets of %s: %w", x.ref.Service, err)
	}
	return names, nil
}

// secrets come after the tasks, which read them when they start.
func (x *removal) secrets(ctx context.Context) error {
	names, err := x.ownSecrets(ctx)
	if errors.Is(err, ErrUnavailable) {
		x.event(x.report, Event{Kind: EventWarning, Resource: resSecret, Message: "copies of secrets may be left: " + firstLine(err.Error())})
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := x.ports.SecretCopies.DeleteSecretCopy(ctx, name); err != nil {
			return fmt.Errorf("deleting %s %s: %w", resSecret, name, err)
		}
		x.gone(resSecret, "%s %s, which can be restored for %d days", resSecret, name, SecretRecoveryDays)
	}
	return nil
}

// SecretRecoveryDays is how long a deleted copy can be restored: AWS's least.
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DeleteSecret.html
const SecretRecoveryDays = 7
