//go:build !unix

package build

import (
	"os"
	"os/exec"
)

func group(*exec.Cmd) {}

func terminate(p *os.Process) error { return p.Kill() }

func reap(*os.Process) {}
