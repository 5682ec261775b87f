package clusterinfra

import (
	"context"
	"errors"
)

var errSoon = errors.New("not supported: the engine's steps are being written")

// Apply makes AWS what the spec says and waits until the container instances have registered.
func (c *Clusters) Apply(ctx context.Context, want Spec, report func(Event)) (State, error) {
	return State{}, errSoon
}

// Read returns the cluster as AWS has it, or ErrNotFound.
func (c *Clusters) Read(ctx context.Context, name string) (State, error) { return State{}, errSoon }

// Delete takes away what Apply made, in the order AWS allows; what is gone already is not an error.
func (c *Clusters) Delete(ctx context.Context, name string, report func(Event)) error { return errSoon }

// Apply creates the repository or changes it.
func (r *Repositories) Apply(ctx context.Context, want Repository) (Repository, error) {
	return Repository{}, errSoon
}

// Read returns the repository, or ErrNotFound.
func (r *Repositories) Read(ctx context.Context, name string) (Repository, error) {
	return Repository{}, errSoon
}

// Delete deletes the repository; without force only an empty one (ErrNotEmpty).
func (r *Repositories) Delete(ctx context.Context, name string, force bool) error { return errSoon }
