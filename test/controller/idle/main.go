// Command idle holds 40 MiB and does nothing, until it is told to end.
package main

import (
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

func main() {
	held := make([]byte, 40<<20)
	for k := range held {
		held[k] = byte(k) // a page that is not written is not held
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	<-end
	runtime.KeepAlive(held)
}
