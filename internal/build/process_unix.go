//go:build unix

package build

import (
	"os"
	"os/exec"
	"syscall"
)

// group gives the command and what it starts a process group, so that all of it can be ended.
func group(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func terminate(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGTERM) }

func reap(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }
