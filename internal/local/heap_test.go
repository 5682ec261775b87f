package local

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

// With little in the heap there are few collections; they go on being adjusted; a large heap is collected
// as usual.
func TestRoomy(t *testing.T) {
	t.Setenv("GOGC", "")
	defer debug.SetGCPercent(100)
	roomier()
	percent := func() int {
		p := debug.SetGCPercent(-1)
		debug.SetGCPercent(p)
		return p
	}
	if p := percent(); p <= 100 {
		t.Errorf("a small heap grows by %d %%", p)
	}
	kept := make([]byte, roomyUpTo*3/4)
	reached := func(what string, ok func(int) bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !ok(percent()); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: it grows by %d %%", what, percent())
			}
			runtime.GC()
		}
	}
	reached("large", func(p int) bool { return p == 100 })
	runtime.KeepAlive(kept)
	kept = nil
	reached("small again", func(p int) bool { return p > 100 })
}
