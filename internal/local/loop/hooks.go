package loop

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
	"github.com/slipway-ecs/slipway/internal/rollout"
)

// Hooks calls the functions of lifecycle hooks.
type Hooks interface {
	// Call invokes a function and returns what it says: SUCCEEDED, FAILED or IN_PROGRESS, and after
	// how long an IN_PROGRESS one wants to be called again.
	Call(ctx context.Context, function string, payload []byte) (status string, again time.Duration, err error)
}

// How long a hook may take that names no time of its own: a function 24 hours
// (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-lifecycle-hooks.html); AWS
// names none for a pause, so it is the same.
const hookTimeout = 24 * time.Hour

// runHooks runs the hooks of the stage the deployment is in and reports whether it may go on. After a
// failure the deployment is rolled back, and done is true.
func (r *reconciliation) runHooks() (ready, done bool, err error) {
	sd, ok := r.s.cfg.State.ServiceDeployments.Get(r.tx, r.primary.ServiceDeployment)
	if !ok || sd.LifecycleStage == "" {
		return true, false, nil
	}
	runs := slices.Clone(sd.Hooks)
	for k, h := range r.svc.Spec.DeploymentConfiguration.LifecycleHooks {
		there := slices.ContainsFunc(runs, func(x state.HookRun) bool { return x.Hook == k && x.Stage == sd.LifecycleStage })
		if !there && slices.Contains(h.LifecycleStages, sd.LifecycleStage) {
			runs = append(runs, r.newHook(k, h, sd.LifecycleStage))
		}
	}
	ready = true
	failed := ""
	for k := range runs {
		x := &runs[k]
		if x.Stage != sd.LifecycleStage {
			continue
		}
		if (x.Status == "AWAITING_ACTION" || x.Status == "IN_PROGRESS") && !r.now.Before(x.ExpiresAt) {
			x.Status = "TIMED_OUT"
		}
		switch x.Status {
		case "AWAITING_ACTION":
			ready = false
			r.wake = earliest(r.wake, x.ExpiresAt)
		case "IN_PROGRESS":
			ready = false
			r.wake = earliest(r.wake, x.ExpiresAt)
			if r.now.Before(x.CallAt) {
				r.wake = earliest(r.wake, x.CallAt)
			} else {
				r.calls = append(r.calls, hookCall{r.s, sd.ARN, x.ID, x.TargetARN, r.payload(sd, x)})
			}
		case "FAILED":
			failed = "a lifecycle hook of the stage " + x.Stage + " failed."
			if x.Reason != "" {
				failed = "a lifecycle hook of the stage " + x.Stage + " failed: " + x.Reason
			}
		case "TIMED_OUT":
			if x.TimeoutAction == "ROLLBACK" {
				failed = "a lifecycle hook of the stage " + x.Stage + " timed out."
			}
		}
	}
	r.saveRun(r.primary, func(sd *state.ServiceDeployment) { sd.Hooks = runs })
	if failed != "" {
		why := "Service deployment rolled back because " + failed
		return false, true, r.rollBack(why, "ECS deployment "+r.primary.ID+" failed: "+failed, "")
	}
	return ready, false, nil
}

func (r *reconciliation) newHook(k int, h ecsapi.DeploymentLifecycleHook, stage string) state.HookRun {
	x := state.HookRun{ID: uuid(), Stage: stage, Hook: k, TargetType: "AWS_LAMBDA", TargetARN: wire.Value(h.HookTargetArn), Status: "IN_PROGRESS", TimeoutAction: "ROLLBACK", ExpiresAt: r.now.Add(hookTimeout), CallAt: r.now}
	if wire.Value(h.TargetType) == "PAUSE" {
		x.TargetType, x.Status = "PAUSE", "AWAITING_ACTION"
	}
	if t := h.TimeoutConfiguration; t != nil {
		if t.TimeoutInMinutes != nil {
			x.ExpiresAt = r.now.Add(time.Duration(*t.TimeoutInMinutes) * time.Minute)
		}
		if t.Action != nil {
			x.TimeoutAction = *t.Action
		}
	}
	if x.TargetType == "AWS_LAMBDA" && r.s.cfg.Hooks == nil {
		x.Status, x.Reason = "FAILED", "not supported: functions of lifecycle hooks"
	}
	return x
}

// payload is what a function is told.
func (r *reconciliation) payload(sd *state.ServiceDeployment, x *state.HookRun) []byte {
	production, test := map[string]float64{}, map[string]float64{}
	switch sd.LifecycleStage {
	case rollout.PostProductionTrafficShift, rollout.BakeTime:
		production[sd.Target] = 100
	case rollout.ProductionTrafficShift:
		if how, ok := r.shift(); ok {
			production[sd.Target], _, _ = how.At(r.now.Sub(sd.UpdatedAt))
		}
	}
	switch sd.LifecycleStage {
	case rollout.TestTrafficShift, rollout.PostTestTrafficShift, rollout.PreProductionTrafficShift:
		test[sd.Target] = 100
	}
	event := map[string]any{
		"executionId": x.ID, "lifecycleStage": x.Stage, "resourceArn": sd.ARN,
		"executionDetails": map[string]any{"serviceArn": sd.ServiceARN, "targetServiceRevisionArn": sd.Target, "productionTrafficWeights": production, "testTrafficWeights": test},
	}
	if hooks := r.svc.Spec.DeploymentConfiguration.LifecycleHooks; x.Hook < len(hooks) && hooks[x.Hook].HookDetails != nil {
		event["hookDetails"] = hooks[x.Hook].HookDetails
	}
	b, err := json.Marshal(event)
	if err != nil { // hookDetails came as JSON
		return []byte("{}")
	}
	return b
}

// hookCall is a call to be made once the transaction is through.
type hookCall struct {
	s                          *Services
	deployment, hook, function string
	payload                    []byte
}

// begin makes the call in the background, unless it is under way, and writes what the function says.
func (c hookCall) begin() {
	s := c.s
	s.callMu.Lock()
	defer s.callMu.Unlock()
	if s.calling[c.hook] || s.life == nil || s.life.Err() != nil {
		return
	}
	s.calling[c.hook] = true
	s.wg.Go(func() {
		status, again, err := s.cfg.Hooks.Call(s.life, c.function, c.payload)
		defer func() {
			s.callMu.Lock()
			defer s.callMu.Unlock()
			delete(s.calling, c.hook)
		}()
		if s.life.Err() != nil {
			return // called again by the next process
		}
		now := s.cfg.Clock.Now()
		err2 := s.cfg.State.DB.Update(func(tx *state.Tx) error {
			s.cfg.State.ServiceDeployments.Modify(tx, c.deployment, func(sd *state.ServiceDeployment) {
				sd.Hooks = slices.Clone(sd.Hooks)
				for k := range sd.Hooks {
					x := &sd.Hooks[k]
					if x.ID != c.hook || x.Status != "IN_PROGRESS" {
						continue
					}
					switch {
					case err != nil:
						x.Status, x.Reason = "FAILED", err.Error()
					case status == "IN_PROGRESS":
						x.CallAt = now.Add(again)
					default:
						x.Status = status
					}
				}
			})
			return nil
		})
		if err2 != nil {
			s.cfg.Log.Error("writing what a lifecycle hook said", "deployment", c.deployment, "err", err2)
		}
	})
}
