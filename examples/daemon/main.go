// Daemon follows the log files of its instance and writes every new line to its own output, as JSON.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	host, _ := os.Hostname()
	out := json.NewEncoder(os.Stdout)
	read := map[string]int64{} // bytes of each file that were written out
	for ctx.Err() == nil {
		files, _ := filepath.Glob("/host/log/*.log") // the pattern is good
		for _, file := range files {
			if err := follow(file, read, func(line string) error {
				return out.Encode(map[string]string{"host": host, "file": filepath.Base(file), "line": line})
			}); err != nil {
				fmt.Fprintln(os.Stderr, "error:", err)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// follow writes the whole lines that a file got since the last look. A file that became shorter is a new one.
func follow(file string, read map[string]int64, write func(string) error) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return err
	} else if info.Size() < read[file] {
		read[file] = 0
	}
	if _, err := f.Seek(read[file], io.SeekStart); err != nil {
		return err
	}
	for r := bufio.NewReader(f); ; {
		line, err := r.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return nil // the rest is not a whole line yet
		}
		if err != nil {
			return err
		}
		if err := write(line[:len(line)-1]); err != nil {
			return err
		}
		read[file] += int64(len(line))
	}
}
