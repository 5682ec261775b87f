// Command prog is what the runtimes' tests run in containers.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

func main() {
	switch os.Args[1] {
	case "serve": // answers with its host name, ends on SIGTERM with code 0
		host, _ := os.Hostname()
		http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, os.Getenv("ANSWER"), " ", host) })
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		go func() {
			<-stop
			fmt.Println("bye")
			os.Exit(0)
		}()
		fmt.Println("ready")
		fmt.Println(http.ListenAndServe(":8080", nil))
	case "deaf": // ignores SIGTERM
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ready")
		time.Sleep(time.Hour)
	case "exit":
		fmt.Fprintln(os.Stderr, "going")
		n, _ := strconv.Atoi(os.Args[2])
		os.Exit(n)
	case "hog": // takes memory until it is killed
		var keep [][]byte
		for {
			b := make([]byte, 1<<20)
			for i := range b {
				b[i] = 1
			}
			keep = append(keep, b)
		}
	case "whoami":
		fmt.Println(os.Getuid(), os.Getgid(), os.Getenv("HOME"), os.Getpid())
	case "write":
		fmt.Println(os.WriteFile(os.Args[2], []byte("x"), 0o644))
	case "device": // makes a device file for the null device and opens it
		if err := syscall.Mknod(os.Args[2], syscall.S_IFCHR|0o666, 1<<8|3); err != nil {
			fmt.Println(err)
			return
		}
		_, err := os.OpenFile(os.Args[2], os.O_RDWR, 0)
		fmt.Println(err)
	case "terminal": // says the size of its terminal and what is typed, ends with 7
		in := bufio.NewReader(os.Stdin)
		line, err := in.ReadString('\n')
		var size [4]uint16
		_, _, no := syscall.Syscall(syscall.SYS_IOCTL, 0, syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&size)))
		fmt.Println(size[0], size[1], strings.TrimSpace(line), err, no)
		os.Exit(7)
	case "fetch": // says what answers at a URL
		resp, err := http.Get(os.ExpandEnv(os.Args[2]))
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		_, _ = io.Copy(os.Stdout, resp.Body)
	case "lookup":
		addresses, err := net.LookupHost(os.Args[2])
		fmt.Println(addresses, err)
	case "listen":
		_, err := net.Listen("tcp", os.Args[2])
		fmt.Println(err)
	case "caps":
		data, _ := os.ReadFile("/proc/self/status")
		for line := range strings.Lines(string(data)) {
			if strings.HasPrefix(line, "CapEff") || strings.HasPrefix(line, "CapBnd") || strings.HasPrefix(line, "NoNewPrivs") {
				fmt.Print(line)
			}
		}
	}
}
