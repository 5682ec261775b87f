package local

import (
	"context"
	"path/filepath"

	"github.com/slipway-ecs/slipway/internal/local/api/s3"
)

// around is the services around ECS: storage, queues, topics, events, schedules, names.
type around struct {
	s3   *s3.Service
	runs []func(context.Context) error // their loops
}

// registerAround adds the services around ECS; the others are there already.
func (l *Local) registerAround(files string) error {
	cfg, a := &l.cfg, &l.around
	var err error
	if a.s3, err = s3.New(s3.Config{DB: l.db, Dir: filepath.Join(files, "s3"), Clock: l.clock, Log: cfg.Log, Region: cfg.Region}); err != nil {
		return err
	}
	l.server.Fallback("/", a.s3) // what is signed for S3, and what is no other service's
	return nil
}
