package deploy

import (
	"context"
	"errors"
)

var errSoon = errors.New("not supported: the engine's steps are being written")

// Plan says what Apply would do, changing nothing.
func (e *Engine) Plan(ctx context.Context, t Target) (Plan, error) { return Plan{}, errSoon }

// Apply makes AWS what the target says and waits for the truth. A deployment that did not succeed
// is a *Failure. report may be nil; it is called from one goroutine.
func (e *Engine) Apply(ctx context.Context, t Target, report func(Event)) (Outcome, error) {
	return Outcome{}, errSoon
}

// Read returns the service as AWS has it, or ErrNotFound.
func (e *Engine) Read(ctx context.Context, ref Ref) (Observed, error) { return Observed{}, errSoon }

// Delete takes the service and all that was made for it away, in the order AWS allows. What is gone
// already is not an error, so a killed Delete is continued by the next.
func (e *Engine) Delete(ctx context.Context, ref Ref, o DeleteOptions, report func(Event)) error {
	return errSoon
}

// Status is a service with its tasks, targets and last deployments.
func (e *Engine) Status(ctx context.Context, ref Ref) (Status, error) { return Status{}, errSoon }

// Watch follows the newest deployment of a service to its end, as Apply does.
func (e *Engine) Watch(ctx context.Context, ref Ref, report func(Event)) (Outcome, error) {
	return Outcome{}, errSoon
}

// Rollback goes back to what a service revision or task definition ran (to: an ARN), or with an
// empty to the last that succeeded before the present one; a deployment going on is taken over.
func (e *Engine) Rollback(ctx context.Context, ref Ref, to string, report func(Event)) (Outcome, error) {
	return Outcome{}, errSoon
}
