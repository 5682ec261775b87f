package loop

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

// TestScale brings up many tasks, by default few enough for every run; SLIPWAY_SCALE=100000 is the
// size it is made for. Time in the bubble is free, so what is measured is the work.
func TestScale(t *testing.T) {
	tasks := 2000
	if n, err := strconv.Atoi(os.Getenv("SLIPWAY_SCALE")); err == nil {
		tasks = n
	}
	const perService = 500
	begin := time.Now()
	var mem runtime.MemStats
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.instances(tasks/20 + 1)
		w.update(func(tx *state.Tx) {
			for _, k := range keysOf(w.ecs.ContainerInstances, tx, "") {
				w.ecs.ContainerInstances.Modify(tx, k, func(ci *state.ContainerInstance) { ci.CPU, ci.Memory = 8192, 32768 })
			}
		})
		td := w.definition("web", 1, func(d *ecsapi.TaskDefinition) {})
		w.run()
		for k := range tasks / perService {
			w.deploy(fmt.Sprintf("s%03d", k), td, perService, nil)
		}
		after(2 * time.Minute)
		for k := range tasks / perService {
			if got := w.tasks(fmt.Sprintf("s%03d", k)); len(got["RUNNING"]) != perService {
				t.Fatalf("service %d: %d running, events %q", k, len(got["RUNNING"]), w.events(fmt.Sprintf("s%03d", k)))
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&mem)
		w.kill()
	})
	t.Logf("%d tasks running after %v of work, heap %d MiB, stacks %d MiB", tasks, time.Since(begin).Round(time.Millisecond), mem.HeapAlloc>>20, mem.StackInuse>>20)
}
