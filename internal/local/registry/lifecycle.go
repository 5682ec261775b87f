package registry

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/image/lifecycle"
	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
)

// StartPreview evaluates a policy, of which text is the JSON, on a repository and keeps what it would
// do now.
func (s *Store) StartPreview(repository, text string, policy lifecycle.Policy) error {
	return s.db.Update(func(tx *state.Tx) error {
		r, err := s.repository(tx, repository)
		if err != nil {
			return err
		}
		res := lifecycle.Evaluate(policy, lifecycleImages(s.images(tx, repository)), s.now())
		changed := *r
		changed.Preview = &Preview{Policy: text, StartedAt: s.now(), Expired: previewed(res.Expired), Archived: previewed(res.Transitioned)}
		s.t.repositories.Put(tx, repository, &changed)
		return nil
	})
}

func previewed(marked []lifecycle.Marked) []PreviewedImage {
	var out []PreviewedImage
	for _, m := range marked {
		im := m.Image
		out = append(out, PreviewedImage{im.Digest, im.Tags, im.PushedAt, m.RulePriority, strings.ToUpper(string(im.StorageClass))})
	}
	return out
}

// ApplyLifecycle does what the repository's lifecycle policy says. It returns how many images it
// deleted and archived, those that follow their subject included.
func (s *Store) ApplyLifecycle(repository string) (deleted, archived int, err error) {
	var events []Event
	err = s.db.Update(func(tx *state.Tx) error {
		r, err := s.repository(tx, repository)
		if err != nil || r.Lifecycle == "" {
			return err
		}
		policy, violations := lifecycle.Parse(r.Lifecycle)
		if len(violations) > 0 {
			return nil // from a time when it was valid: ECR stops applying such policies
		}
		act := func(im *lifecycle.Image, action lifecycle.ActionType) {
			rec, ok := s.t.images.Get(tx, ImageKey(repository, im.Digest))
			switch {
			case !ok:
			case action == lifecycle.Transition:
				archived++
				events = append(events, moved(s.setArchived(tx, rec, true)))
			default:
				deleted++
				events = append(events, deletions(repository, s.deleteImage(tx, rec))...)
			}
		}
		res := lifecycle.Evaluate(policy, lifecycleImages(s.images(tx, repository)), s.now())
		for _, m := range res.Expired {
			act(m.Image, lifecycle.Expire)
		}
		for _, m := range res.Transitioned {
			act(m.Image, lifecycle.Transition)
		}
		for _, c := range res.Cascaded {
			act(c.Image, c.Action)
		}
		evaluated := *r
		evaluated.EvaluatedAt = s.now()
		s.t.repositories.Put(tx, repository, &evaluated)
		return nil
	})
	if err == nil {
		s.emit(events...)
	}
	return deleted, archived, err
}

func lifecycleImages(images []Tagged) []lifecycle.Image {
	out := make([]lifecycle.Image, len(images))
	for i, im := range images {
		out[i] = lifecycle.Image{
			Digest: im.Digest, Tags: im.Tags, PushedAt: im.PushedAt, LastPulledAt: im.LastPulledAt,
			LastActivatedAt: im.LastActivatedAt, LastArchivedAt: im.LastArchivedAt,
			StorageClass: lifecycle.Standard, Subject: im.Subject, Manifests: im.Manifests,
		}
		if im.Status == StatusArchived {
			out[i].StorageClass = lifecycle.Archive
		}
	}
	return out
}

// lifecycleEvery is how often policies are applied; ECR promises 24 hours.
const lifecycleEvery = time.Hour

// Run applies the lifecycle policies every hour of the registry's clock and cleans up, until ctx
// ends.
func (s *Store) Run(ctx context.Context) error {
	for {
		s.sweep()
		if err := clock.Sleep(ctx, s.cfg.Clock, lifecycleEvery); err != nil {
			return err
		}
	}
}

// settle keeps what settled shows: which images have been restored.
func (s *Store) settle() {
	err := s.db.Update(func(tx *state.Tx) error {
		done := map[string]*Image{}
		for key, im := range s.t.images.All(tx) {
			if now := s.settled(im); now != im {
				done[key] = now
			}
		}
		for key, im := range done {
			s.t.images.Put(tx, key, im)
		}
		return nil
	})
	if err != nil {
		slog.Error("restoring images", "error", err)
	}
}

func (s *Store) sweep() {
	s.settle()
	for _, r := range s.Repositories() {
		if r.Lifecycle == "" {
			continue
		}
		deleted, archived, err := s.ApplyLifecycle(r.Name)
		var gone *Error
		switch {
		case errors.As(err, &gone): // deleted meanwhile
		case err != nil:
			slog.Error("applying a lifecycle policy", "repository", r.Name, "error", err)
		case deleted+archived > 0:
			slog.Info("lifecycle policy applied", "repository", r.Name, "deleted", deleted, "archived", archived)
		}
	}
	if err := s.Clean(); err != nil {
		slog.Error("cleaning the registry", "error", err)
	}
}
