package local

import (
	"github.com/slipway-ecs/slipway/internal/local/runtime"
	"github.com/slipway-ecs/slipway/internal/local/runtime/docker"
	"github.com/slipway-ecs/slipway/internal/local/runtime/sandbox"
	"github.com/slipway-ecs/slipway/internal/local/runtime/virtual"
)

// kinds are the runtimes in order of preference: an engine if one answers, else the sandbox. The
// virtual one runs nothing and is only taken when it is asked for.
func kinds() []runtime.Kind {
	return []runtime.Kind{{Name: "docker", Open: docker.Open}, {Name: "sandbox", Open: sandbox.Open}, {Name: "virtual", Open: virtual.Open}}
}
