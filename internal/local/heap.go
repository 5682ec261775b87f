package local

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

const (
	headroom  = 64 << 20  // what may be allocated between two garbage collections at least, bytes
	roomyUpTo = 512 << 20 // to what the heap may grow by more than double, bytes
)

// Roomy lets this process collect its garbage less often than by default, which is when the heap has doubled:
// that of a local AWS with little in it would be collected all the time. A heap of more than 256 MiB is
// collected as usual. It does nothing where GOGC is set.
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
	bytes := max(live[0].Value.Uint64(), 4<<20)
	percent := max(100, headroom*100/bytes)
	if bytes < roomyUpTo { // to four times as much, where that is not much
		percent = max(percent, min(300, (roomyUpTo-bytes)*100/bytes))
	}
	debug.SetGCPercent(int(percent))
	runtime.SetFinalizer(hook, adjust)
}
