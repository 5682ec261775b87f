//go:build linux

package e2e

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func userNamespace() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
}

// nothingLeft checks what a run in the temporary folder tmp may have left: files, mounts, processes
// that have tmp in their environment, arguments or root, and bridges that were not there before.
func nothingLeft(t *testing.T, tmp string, bridgesBefore map[string]bool) {
	t.Helper()
	entries, err := os.ReadDir(tmp)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "slipway") {
			t.Errorf("left on disk: %s", filepath.Join(tmp, e.Name()))
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), tmp) {
		t.Errorf("left mounted, below %s:\n%s", tmp, mounts)
	}
	ctx := context.WithoutCancel(t.Context()) // a test's own is over when it cleans up
	if why, gone := poll(ctx, 5*time.Second, 50*time.Millisecond, func() (bool, string) {
		left := processesOf(tmp)
		return len(left) == 0, strings.Join(left, "\n")
	}); !gone {
		t.Errorf("left running:\n%s", why)
	}
	for name := range bridges(t) {
		if !bridgesBefore[name] {
			// Tests of other packages, which run beside this one, have bridges too; theirs go with them.
			if why, gone := poll(ctx, 2*time.Minute, 100*time.Millisecond, func() (bool, string) { return !bridges(t)[name], name }); !gone && alone() {
				t.Errorf("left as a network interface: %s", why)
			}
		}
	}
}

// alone says whether no other slipway runs on this machine.
func alone() bool {
	exes, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, exe := range exes {
		if to, err := os.Readlink(exe); err == nil && to != slipway && strings.Contains(filepath.Base(to), "slipway") {
			return false
		}
	}
	return true
}

func bridges(t *testing.T) map[string]bool {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, i := range all {
		if strings.HasPrefix(i.Name, "slw") {
			found[i.Name] = true
		}
	}
	return found
}

// processesOf lists the processes that belong to a folder: started with it in their environment or
// arguments, running a program below it, or with a mount of it.
func processesOf(dir string) []string {
	var found []string
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range all {
		if filepath.Base(p) == "self" {
			continue
		}
		args, _ := os.ReadFile(p + "/cmdline")
		env, _ := os.ReadFile(p + "/environ")
		exe, _ := os.Readlink(p + "/exe")
		mounts, _ := os.ReadFile(p + "/mountinfo") // a container's root is below the folder of its local AWS
		if bytes.Contains(args, []byte(dir)) || bytes.Contains(env, []byte(dir)) || strings.HasPrefix(exe, dir) || bytes.Contains(mounts, []byte(dir)) {
			if len(args) == 0 {
				continue // ended, not waited for yet
			}
			found = append(found, filepath.Base(p)+" "+strings.ReplaceAll(string(args), "\x00", " "))
		}
	}
	return found
}
