//go:build !unix

package tfexec

import (
	"context"
	"os"
	"os/exec"
)

// lock does nothing here: two that build at once build twice, and the last rename wins.
func lock(context.Context, string, func()) (unlock func(), err error) { return func() {}, nil }

func separate(*exec.Cmd) {}

// interrupt: there is no SIGINT to send to one process.
func interrupt(p *os.Process) error { return p.Kill() }

func reap(*os.Process) {}
