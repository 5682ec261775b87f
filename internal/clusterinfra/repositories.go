package clusterinfra

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
)

var repositoryName = regexp.MustCompile(`^(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*$`)

var accountID = regexp.MustCompile(`^[0-9]{12}$`)

// Apply creates the repository or changes it.
func (r *Repositories) Apply(ctx context.Context, want Repository) (Repository, error) {
	switch {
	case len(want.Name) < 2 || len(want.Name) > 256 || !repositoryName.MatchString(want.Name):
		return Repository{}, refuse("%q is no repository name: 2 to 256 small letters, digits, and - _ . / between them", want.Name)
	case len(want.Mutable) > 5:
		return Repository{}, refuse("repository %s has %d patterns of movable tags: 5 are allowed", want.Name, len(want.Mutable))
	case len(want.Mutable) > 0 && !want.Immutable:
		return Repository{}, refuse("repository %s: patterns of movable tags mean something only with immutable tags", want.Name)
	}
	if k := want.KeepReleases; k != nil {
		switch {
		case want.Lifecycle != "":
			return Repository{}, refuse("repository %s has a lifecycle policy and keep_releases, which makes one: leave one of them out", want.Name)
		case k.Newest < 1 || k.Days < 1:
			return Repository{}, refuse("repository %s: keep_releases keeps at least 1 image and the rest for at least 1 day, not %d and %d", want.Name, k.Newest, k.Days)
		}
		want.Lifecycle = k.Text()
	}
	for _, a := range want.PullAccounts {
		if !accountID.MatchString(a) {
			return Repository{}, refuse("repository %s: %q is no account id (12 digits)", want.Name, a)
		}
	}
	have, err := r.images.Repository(ctx, want.Name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Repository{}, fmt.Errorf("reading repository %s: %w", want.Name, err)
	}
	if err == nil && want.Encryption != "" && have.Encryption != want.Encryption {
		return Repository{}, refuse("repository %s is encrypted with %s, which cannot change: make another one", want.Name, have.Encryption)
	}
	// Not asked for a policy that is there already: ECR has acted on it, and refusing would only keep
	// other changes from being made.
	if err == nil && r.guard != nil && want.Lifecycle != "" && want.Lifecycle != have.Lifecycle {
		if err := r.guard.CheckLifecycle(ctx, want.Name, have.URI, want.Lifecycle); err != nil {
			return Repository{}, fmt.Errorf("keeping repository %s: %w", want.Name, err)
		}
	}
	got, err := r.images.PutRepository(ctx, want)
	if err != nil {
		return got, fmt.Errorf("keeping repository %s: %w", want.Name, err)
	}
	return got, nil
}

// Replicate has ECR copy the images that are pushed from now on to the places, and by no rule of the repository's
// own to others.
func (r *Repositories) Replicate(ctx context.Context, name string, to []Replica) error {
	if err := r.replicate(ctx, name, to); err != nil {
		return fmt.Errorf("keeping repository %s: %w", name, err)
	}
	return nil
}

// Read returns the repository, or ErrNotFound.
func (r *Repositories) Read(ctx context.Context, name string) (Repository, error) {
	got, err := r.images.Repository(ctx, name)
	if err != nil {
		return got, fmt.Errorf("reading repository %s: %w", name, err)
	}
	slices.Sort(got.PullAccounts)
	slices.Sort(got.PullRoles)
	slices.Sort(got.PushRoles)
	return got, nil
}

// Delete deletes the repository; without force only an empty one (ErrNotEmpty). With force it is
// refused where images are in use.
func (r *Repositories) Delete(ctx context.Context, name string, force bool) error {
	if force && r.guard != nil {
		have, err := r.images.Repository(ctx, name)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading repository %s: %w", name, err)
		}
		if have.Images > 0 {
			if err := r.guard.CheckDeletion(ctx, name, have.URI); err != nil {
				return fmt.Errorf("deleting repository %s: %w", name, err)
			}
		}
	}
	err := r.images.DeleteRepository(ctx, name, force)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("deleting repository %s: %w", name, err)
	}
	return nil
}
