package ecs

import (
	"context"
	"slices"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
	"github.com/slipway-ecs/slipway/internal/rollout"
)

// hookStages are the stages a lifecycle hook may name.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentLifecycleHook.html
var hookStages = []string{
	rollout.ReconcileService, rollout.PreScaleUp, rollout.PostScaleUp, rollout.TestTrafficShift, rollout.PostTestTrafficShift,
	rollout.PreProductionTrafficShift, rollout.ProductionTrafficShift, rollout.PostProductionTrafficShift,
}

func checkHooks(c *ecsapi.DeploymentConfiguration) error {
	if len(c.LifecycleHooks) > 0 && *c.Strategy == "ROLLING" {
		return invalid("Lifecycle hooks are not supported with the ROLLING deployment strategy.")
	}
	for _, h := range c.LifecycleHooks {
		switch kind := wire.Value(or(h.TargetType, "AWS_LAMBDA")); {
		case kind != "AWS_LAMBDA" && kind != "PAUSE":
			return invalid("Unknown target type of a lifecycle hook: %s", kind)
		case kind == "AWS_LAMBDA" && (wire.Value(h.HookTargetArn) == "" || wire.Value(h.RoleArn) == ""):
			return invalid("hookTargetArn and roleArn are required for lifecycle hooks of the type AWS_LAMBDA.")
		case kind == "PAUSE" && wire.Value(h.HookTargetArn) != "":
			return invalid("hookTargetArn is not valid for lifecycle hooks of the type PAUSE.")
		case len(h.LifecycleStages) == 0:
			return invalid("lifecycleStages of a lifecycle hook cannot be empty.")
		}
		for _, s := range h.LifecycleStages {
			if !slices.Contains(hookStages, s) {
				return invalid("Unknown lifecycle stage: %s", s)
			}
		}
		if t := h.TimeoutConfiguration; t != nil {
			if t.TimeoutInMinutes != nil && (*t.TimeoutInMinutes < 1 || *t.TimeoutInMinutes > 20160) {
				return invalid("timeoutInMinutes must be between 1 and 20160.")
			}
			if t.Action != nil && *t.Action != "ROLLBACK" && *t.Action != "CONTINUE" {
				return invalid("Unknown timeout action: %s", *t.Action)
			}
		}
	}
	return nil
}

func showHooks(runs []state.HookRun) []ecsapi.DeploymentLifecycleHookDetail {
	var out []ecsapi.DeploymentLifecycleHookDetail
	for _, x := range runs {
		out = append(out, ecsapi.DeploymentLifecycleHookDetail{HookId: wire.String(x.ID), TargetType: wire.String(x.TargetType), TargetArn: wire.NonEmpty(x.TargetARN),
			Status: wire.String(x.Status), ExpiresAt: wire.Timestamp(x.ExpiresAt), TimeoutAction: wire.NonEmpty(x.TimeoutAction)})
	}
	return out
}

// continueServiceDeployment lets a deployment go on that a hook has paused, or has it rolled back.
func (a *API) continueServiceDeployment(_ context.Context, in *ecsapi.ContinueServiceDeploymentInput) (*ecsapi.ContinueServiceDeploymentOutput, error) {
	action := wire.Value(or(in.Action, "CONTINUE"))
	if action != "CONTINUE" && action != "ROLLBACK" {
		return nil, invalid("Unknown action: %s", action)
	}
	return update(a, func(tx *state.Tx) (*ecsapi.ContinueServiceDeploymentOutput, error) {
		old, ok := a.State.ServiceDeployments.Get(tx, *in.ServiceDeploymentArn)
		if !ok {
			return nil, wire.Errorf("ServiceDeploymentNotFoundException", "Service deployment not found.")
		}
		k := slices.IndexFunc(old.Hooks, func(x state.HookRun) bool { return x.ID == *in.HookId })
		switch {
		case k < 0:
			return nil, invalid("The lifecycle hook %s was not found in the service deployment.", *in.HookId)
		case old.Hooks[k].Status != "AWAITING_ACTION" || !open(old.Status):
			return nil, invalid("The lifecycle hook %s is not awaiting an action.", *in.HookId)
		}
		sd := *old
		sd.Hooks = slices.Clone(old.Hooks)
		sd.Hooks[k].Status = "SUCCEEDED"
		if action == "ROLLBACK" {
			sd.Hooks[k].Status, sd.Hooks[k].Reason = "FAILED", "a request to roll back."
		}
		a.State.ServiceDeployments.Put(tx, sd.ARN, &sd)
		return &ecsapi.ContinueServiceDeploymentOutput{ServiceDeploymentArn: &sd.ARN}, nil
	})
}
