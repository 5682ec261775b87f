package bench

import (
	"os"
	"testing"

	"github.com/slipway-ecs/slipway/internal/local/runtime/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.MaybeInit() // does not return in a container's first process
	os.Exit(m.Run())
}
