package local

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// headroom is how much a process may allocate between two garbage collections at least, bytes.
const headroom = 64 << 20

// Roomy lets this process allocate at least 64 MiB between two garbage collections. By default the next
// begins when the heap has doubled, and that of a local AWS with little in it is so small that it would
// collect all the time. A large heap is collected as usual. It does nothing where GOGC is set.
func Roomy() { roomy.Do(roomier) }

var roomy sync.Once

func roomier() {
	if os.Getenv("GOGC") == "" {
		adjust(new([16]byte))
	}
}

// adjust sets when the next collection begins, and is called again after it: what it hangs on is garbage at once.
func adjust(hook *[16]byte) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	percent := 100
	if bytes := live[0].Value.Uint64(); bytes < headroom {
		percent = int(headroom * 100 / max(bytes, 4<<20))
	}
	debug.SetGCPercent(percent)
	runtime.SetFinalizer(hook, adjust)
}
