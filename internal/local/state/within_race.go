//go:build race

package state

import (
	"bytes"
	"runtime"
	"sync"
)

// within finds a transaction within another one, which deadlocks only when a writer comes between the
// two, so once in many runs.
type within struct{ goroutines sync.Map }

func (w *within) enter() (leave func()) {
	var buf [64]byte
	id := string(bytes.Fields(buf[:runtime.Stack(buf[:], false)])[1]) // "goroutine 7 [running]:"
	if _, nested := w.goroutines.LoadOrStore(id, true); nested {
		panic("state: a transaction within a transaction")
	}
	return func() { w.goroutines.Delete(id) }
}
