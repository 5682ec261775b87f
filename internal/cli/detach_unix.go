//go:build unix

package cli

import "syscall"

// detached makes a process survive the terminal it was started from.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
