// Command app is the service of the deploy tests. MODE says how it goes wrong.
package main

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	mode := os.Getenv("MODE")
	fmt.Println("starting in mode", mode)
	switch mode {
	case "crash":
		panic("no database at db.internal:5432")
	case "exit":
		return
	case "disk":
		if _, err := os.Stat("/data/mine"); err == nil {
			panic("the disk is another task's")
		}
		mounts, err := os.ReadFile("/proc/mounts")
		if err != nil || !strings.Contains(string(mounts), " /data ") {
			panic(fmt.Sprint("there is no disk: ", err))
		}
		if err := os.WriteFile("/data/mine", []byte("x"), 0o600); err != nil {
			panic(err)
		}
	case "later": // long enough to be taken for good
		time.AfterFunc(6*time.Second, func() { os.Exit(1) })
	case "memory":
		var hold [][]byte
		for {
			b := make([]byte, 8<<20)
			for i := range b {
				b[i] = 1
			}
			hold = append(hold, b)
			_ = hold
		}
	}
	http.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		switch mode {
		case "500":
			w.WriteHeader(http.StatusInternalServerError)
		case "slow":
			time.Sleep(time.Minute)
		}
		fmt.Fprintln(w, "ok")
	})
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "version", os.Getenv("VERSION")) })
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		os.Exit(0)
	}()
	if err := http.ListenAndServe(":8080", nil); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
