// Package choose opens the runtime a user has asked for, among all there are.
package choose

import (
	"context"

	"github.com/slipway-ecs/slipway/internal/local/runtime"
	"github.com/slipway-ecs/slipway/internal/local/runtime/docker"
	"github.com/slipway-ecs/slipway/internal/local/runtime/sandbox"
	"github.com/slipway-ecs/slipway/internal/local/runtime/virtual"
)

// Open opens the runtime named by choice: docker, sandbox or virtual, or with auto an engine if one
// answers and the sandbox otherwise. Its error is one sentence that says what to install or allow.
func Open(ctx context.Context, choice string, o runtime.Options) (runtime.Runtime, error) {
	return runtime.Detect(ctx, choice, o,
		runtime.Kind{Name: "docker", Open: docker.Open},
		runtime.Kind{Name: "sandbox", Open: sandbox.Open},
		runtime.Kind{Name: "virtual", Open: virtual.Open})
}
