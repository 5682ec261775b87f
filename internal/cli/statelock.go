package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/tfexec"
)

// stateLock is what Terraform says of whoever has locked the state.
type stateLock struct {
	ID, Who string
	Created time.Time
}

var lockLine = regexp.MustCompile(`(?m)^\s*(ID|Who|Created):\s*(.+?)\s*$`)

// lockedBy reads the lock out of an error.
func lockedBy(err error) (stateLock, bool) {
	var f *tfexec.Failure
	if !errors.As(err, &f) || !strings.Contains(f.Error(), "acquiring the state lock") {
		return stateLock{}, false
	}
	var l stateLock
	for _, m := range lockLine.FindAllStringSubmatch(f.Error(), -1) {
		switch m[1] {
		case "ID":
			l.ID = m[2]
		case "Who":
			l.Who = m[2]
		case "Created":
			l.Created, _ = time.Parse("2006-01-02 15:04:05.999999999 -0700 MST", m[2])
		}
	}
	return l, true
}

// How long a locked state is waited for where nothing is known of who locked it, and after which time
// the lock of a run that was killed on another machine is taken for left: no apply takes so long.
const (
	lockPatience = 20 * time.Second
	lockIsLeft   = 30 * time.Minute
)

// unlocked runs a command of Terraform. A run that was killed may have left its Terraform at work, which
// is waited for, or its lock, which is removed: the claim says that there is no other run.
func (pr *project) unlocked(ctx context.Context, r tfexec.Runner, f func() error) error {
	told := false
	for began := time.Now(); ; {
		err := f()
		lock, locked := lockedBy(err)
		if !locked {
			return err
		}
		if !told {
			told = true
			pr.p.Line("the state is locked by a Terraform of %s since %s; waiting for it", lock.Who, lock.Created.Local().Format(time.TimeOnly))
		}
		here := false
		if pr.took != nil {
			_, here = sameMachine(pr.took.Owner)
		}
		switch {
		case atWorkIn(r.Dir): // it ends by itself, and well
		case pr.took != nil && ourLock(lock) && here,
			pr.took != nil && !lock.Created.IsZero() && pr.now().Sub(lock.Created) > lockIsLeft:
			if err := unlock(ctx, r, lock); err != nil {
				return err
			}
			pr.p.Line("removed the lock that the interrupted run had left")
		case pr.took == nil && time.Since(began) > lockPatience:
			return exitWith(ExitRefused, fmt.Errorf("the state of %s is locked by a Terraform of %s since %s; if it was killed, remove its lock with: %s -chdir=%s force-unlock %s",
				filepath.Base(r.Dir), lock.Who, lock.Created.Local().Format(time.DateTime), strings.ToLower(r.Tool.Name), r.Dir, lock.ID))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// ourLock says that the lock was made on this machine.
func ourLock(l stateLock) bool {
	host, err := os.Hostname()
	_, at, ok := strings.Cut(l.Who, "@")
	return err == nil && ok && at == host && l.ID != ""
}

// atWorkIn says that a process of this machine works in the folder: the Terraform of a run that was
// killed itself. Where processes cannot be looked at, one might.
func atWorkIn(dir string) bool {
	processes, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil || len(processes) == 0 {
		return true
	}
	want, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false
	}
	for _, p := range processes {
		if at, err := os.Readlink(p); err == nil && at == want {
			return true
		}
	}
	return false
}

func unlock(ctx context.Context, r tfexec.Runner, l stateLock) error {
	cmd := exec.CommandContext(ctx, r.Tool.Path, "force-unlock", "-force", l.ID)
	cmd.Dir, cmd.Env = r.Dir, r.Env
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, "TF_CLI_CONFIG_FILE="+r.ConfigFile, "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("removing the state lock an interrupted run has left: %w\n%s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
