package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/deploy"
)

// handOver is how long the run whose deployment was stopped may take to see its end.
const handOver = time.Minute

// rollBack ends what is going on, and deploys what ran before where that has not brought it back.
func (s inAWS) rollBack(ctx context.Context, to string) error {
	report, done := s.p.progress()
	out, err := s.engine.Stop(ctx, s.ref, deploy.StopOptions{}, report)
	done()
	var none *deploy.RefusedError
	switch {
	case errors.As(err, &none), errors.Is(err, deploy.ErrNotFound):
		return s.rollback(ctx, s.env, to)
	case err != nil:
		return s.told(err)
	}
	if to == "" {
		seen, err := s.engine.Read(ctx, s.ref)
		if err != nil {
			return s.told(err)
		}
		_, digest, ok := strings.Cut(seen.Image, "@")
		if out.Status != "ROLLBACK_SUCCESSFUL" || !ok {
			return exitWith(ExitRefused, fmt.Errorf("the deployment is stopped, and %s has run nothing before it; name an image with --to", s.env))
		}
		to = digest
	}
	for began := s.now(); ; {
		err := s.rollback(ctx, s.env, to)
		var other *awscloud.HeldError
		if !errors.As(err, &other) || s.now().Sub(began) > handOver {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}
