package cli

import (
	"context"
	"fmt"

	"github.com/slipway-ecs/slipway/internal/image"
	"github.com/slipway-ecs/slipway/internal/release"
)

// promote deploys to one environment what another one runs. Everything is decided while no other run
// changes the environment. Every step leaves what a second run finds and goes on from, so whoever was
// killed is run again.
func (pr *project) promote(ctx context.Context, from, to string) error {
	return pr.claiming(ctx, to, fmt.Sprintf("promotion from %s to %s", from, to), func(ctx context.Context) error {
		repo, err := pr.repositoryOf(ctx, from)
		if err != nil {
			return err
		}
		digest, err := pr.runningIn(ctx, from, repo)
		if err != nil {
			return err
		}
		if err := pr.allowed(ctx, to, from, repo, digest); err != nil {
			return err
		}
		own, err := pr.bring(ctx, repo, digest, to)
		if err != nil {
			return err
		}
		return pr.shipClaimed(ctx, to, own, digest, "")
	})
}

// bringTo deploys an image to an environment, from wherever it is.
func (pr *project) bringTo(ctx context.Context, env, ref string) error {
	repo, digest, err := pr.target(ctx, ref)
	if err != nil {
		return err
	}
	return pr.claiming(ctx, env, "deployment of "+digest.Short(), func(ctx context.Context) error {
		if err := pr.allowed(ctx, env, "", repo, digest); err != nil {
			return err
		}
		own, err := pr.bring(ctx, repo, digest, env)
		if err != nil {
			return err
		}
		return pr.shipClaimed(ctx, env, own, digest, "")
	})
}

// rollback deploys what ran before, or the image that is named.
func (pr *project) rollback(ctx context.Context, env, to string) error {
	repo, err := pr.repositoryOf(ctx, env)
	if err != nil {
		return err
	}
	return pr.claiming(ctx, env, "rollback", func(ctx context.Context) error {
		history, err := pr.ledger.History(ctx, repo)
		if err != nil {
			return err
		}
		now, running := release.Current(history, env)
		if left, ok := release.UnfinishedRollback(history, env); ok && to == "" {
			pr.p.Line("finishing the rollback from %s to %s, which was interrupted", left.Subject.Short(), left.To.Short())
			if err := pr.shipClaimed(ctx, env, repo, left.To, left.Subject); err != nil {
				return err
			}
			return pr.record(ctx, repo, left)
		}
		var digest image.Digest
		if to != "" {
			digest, err = pr.resolve(ctx, repo, to)
		} else if before, ok := release.Previous(history, env); ok {
			digest = before.Digest
		} else {
			err = exitWith(ExitRefused, fmt.Errorf("%s has run nothing else successfully; name an image with --to", env))
		}
		if err != nil {
			return err
		}
		if !running || now.Digest == digest {
			return pr.shipClaimed(ctx, env, repo, digest, "")
		}
		if err := pr.shipClaimed(ctx, env, repo, digest, now.Digest); err != nil {
			return err
		}
		return pr.record(ctx, repo, release.Statement{Kind: release.RolledBack, Subject: now.Digest, Environment: env, Outcome: release.Succeeded, To: digest})
	})
}
