//go:build !linux

package sandbox

import (
	"context"
	"errors"

	"github.com/slipway-ecs/slipway/internal/local/runtime"
)

// MaybeInit does nothing where there is no sandbox.
func MaybeInit() {}

// Open fails: the sandbox needs Linux.
func Open(context.Context, runtime.Options) (runtime.Runtime, error) {
	return nil, errors.New("not supported: the sandbox needs Linux; start Docker or Podman")
}
