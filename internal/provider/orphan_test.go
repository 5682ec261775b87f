package provider

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestOrphaned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var parent atomic.Int64
		parent.Store(17)
		start := time.Now()
		time.AfterFunc(time.Hour+500*time.Millisecond, func() { parent.Store(1) })
		orphaned(func() int { return int(parent.Load()) }, time.Second)
		if took := time.Since(start); took != time.Hour+time.Second {
			t.Errorf("noticed after %s", took)
		}
	})
}
