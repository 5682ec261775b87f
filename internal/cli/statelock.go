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

// holder is who has locked the state, and when, as far as Terraform tells.
func (l stateLock) holder(now time.Time) string {
	text := "somebody who is not named"
	if l.Who != "" {
		text = l.Who
	}
	if l.Created.IsZero() {
		return text
	}
	return fmt.Sprintf("%s since %s (%s ago)", text, l.Created.Local().Format(time.DateTime), now.Sub(l.Created).Round(time.Second))
}

// How long a locked state is waited for where nothing is known of who locked it, after which time the lock of a
// run that was killed on another machine is taken for left (no apply takes so long), and how often people are
// told that it is waited for.
const (
	lockPatience = 20 * time.Second
	lockIsLeft   = 30 * time.Minute
	lockTell     = 15 * time.Second
)

// lockSight is what is known when the state is found locked.
type lockSight struct {
	Age    time.Duration // of the lock; 0: not known
	Waited time.Duration
	Took   bool // this run has the place of one that was killed: no other run of slipway is at work
	Here   bool // and that, and the lock, were of this machine
	AtWork bool // a process of this machine works in the folder, or might
}

type lockStep int

const (
	lockWait lockStep = iota
	lockRemove
	lockRefuse
)

// next says what to do about the lock, and what is waited for.
func (s lockSight) next() (lockStep, string) {
	left := s.Age > lockIsLeft || s.Age == 0 && s.Waited > lockIsLeft
	switch {
	case s.Took && s.AtWork && s.Waited > lockIsLeft:
		return lockRefuse, "" // its state would be written by two at once
	case s.Took && s.AtWork:
		return lockWait, "a Terraform is still at work in its folder, and ends by itself"
	case s.Took && (s.Here && !s.AtWork || left):
		return lockRemove, ""
	case s.Took:
		return lockWait, fmt.Sprintf("it was taken on another machine; after %s it is taken for left, and removed", lockIsLeft)
	case s.Waited > lockPatience:
		return lockRefuse, ""
	}
	return lockWait, fmt.Sprintf("for %s", lockPatience)
}

// unlocked runs a command of Terraform. A run that was killed may have left its Terraform at work, which
// is waited for, or its lock, which is removed: the claim says that there is no other run.
func (pr *project) unlocked(ctx context.Context, r tfexec.Runner, f func() error) error {
	var told time.Time
	for began := pr.now(); ; {
		err := f()
		lock, locked := lockedBy(err)
		if !locked {
			return err
		}
		now := pr.now()
		sight := lockSight{Waited: now.Sub(began), Took: pr.took != nil, AtWork: atWorkIn(r.Dir)}
		if !lock.Created.IsZero() {
			sight.Age = max(now.Sub(lock.Created), 1)
		}
		if pr.took != nil {
			_, here := sameMachine(pr.took.Owner)
			sight.Here = here && ourLock(lock)
		}
		step, why := sight.next()
		switch step {
		case lockRemove:
			if err := unlock(ctx, r, lock); err != nil {
				return err
			}
			pr.p.Line("removed the lock that the interrupted run had left: it was of %s", lock.holder(now))
			continue
		case lockRefuse:
			return exitWith(ExitRefused, fmt.Errorf("the state of %s is locked by a Terraform of %s%s", filepath.Base(r.Dir), lock.holder(now), lock.remedy(r)))
		}
		if now.Sub(told) >= lockTell {
			told = now
			pr.p.Line("the state is locked by a Terraform of %s; waiting: %s", lock.holder(now), why)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// remedy is how the lock is removed by hand.
func (l stateLock) remedy(r tfexec.Runner) string {
	if l.ID == "" {
		return "; wait for it, or look who works on the state"
	}
	return fmt.Sprintf("; if it was killed, remove its lock with: %s -chdir=%s force-unlock %s", strings.ToLower(r.Tool.Name), r.Dir, l.ID)
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
	if l.ID == "" {
		return errors.New("the interrupted run has left a state lock, and Terraform does not say its ID; remove it by hand")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("removing the state lock an interrupted run has left: %w\n%s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
