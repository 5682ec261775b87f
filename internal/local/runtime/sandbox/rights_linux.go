package sandbox

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The capabilities a container has by default with Docker
// (https://docs.docker.com/engine/security/#linux-kernel-capabilities).
var defaultCapabilities = []uintptr{unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FSETID, unix.CAP_FOWNER, unix.CAP_MKNOD, unix.CAP_NET_RAW, unix.CAP_SETGID, unix.CAP_SETUID,
	unix.CAP_SETFCAP, unix.CAP_SETPCAP, unix.CAP_NET_BIND_SERVICE, unix.CAP_SYS_CHROOT, unix.CAP_KILL, unix.CAP_AUDIT_WRITE}

func isDefault(c uintptr) bool {
	for _, d := range defaultCapabilities {
		if c == d {
			return true
		}
	}
	return false
}

// dropBounding takes from this thread, and all it becomes, every capability a container lacks, and
// the way to get one back.
func dropBounding() error {
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if isDefault(c) {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && err != unix.EINVAL { // EINVAL: an older kernel without it
			return fmt.Errorf("dropping capability %d: %w", c, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("forbidding new privileges: %w", err)
	}
	return nil
}

// dropRights makes this thread the container's user with Docker's capabilities at most.
func dropRights(cfg initConfig, id identity) error {
	if !cfg.Unprivileged {
		groups := make([]int, 0, 1)
		groups = append(groups, id.gid)
		if err := unix.Setgroups(groups); err != nil {
			return fmt.Errorf("setting groups: %w", err)
		}
		if err := unix.Setresgid(id.gid, id.gid, id.gid); err != nil {
			return fmt.Errorf("becoming group %d: %w", id.gid, err)
		}
		if err := unix.Setresuid(id.uid, id.uid, id.uid); err != nil {
			return fmt.Errorf("becoming user %d: %w", id.uid, err)
		}
		if id.uid != 0 {
			return nil // the kernel has taken all capabilities with the user
		}
	}
	var bits [2]uint32
	for _, c := range defaultCapabilities {
		bits[c/32] |= 1 << (c % 32)
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{{Effective: bits[0], Permitted: bits[0], Inheritable: 0}, {Effective: bits[1], Permitted: bits[1], Inheritable: 0}}
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		return fmt.Errorf("dropping capabilities: %w", err)
	}
	return nil
}

type identity struct {
	uid, gid int
	home     string
}

// lookupUser reads USER, USER:GROUP or numbers from the container's own files; call it inside.
func lookupUser(cfg initConfig) (identity, error) {
	user, group, _ := strings.Cut(cfg.User, ":")
	id := identity{home: "/"}
	if user == "" {
		user = "0"
	}
	n, numErr := strconv.Atoi(user)
	found := false
	for _, f := range fields("/etc/passwd", 7) {
		if f[0] == user || numErr == nil && f[2] == user {
			id.uid, _ = strconv.Atoi(f[2])
			id.gid, _ = strconv.Atoi(f[3])
			id.home, found = f[5], true
			break
		}
	}
	switch {
	case !found && numErr != nil:
		return id, fmt.Errorf("unable to find user %s: no matching entries in passwd file", user)
	case !found:
		id.uid = n
	}
	if id.uid == 0 && id.home == "/" {
		id.home = "/root"
	}
	if group == "" {
		return id, nil
	}
	if g, err := strconv.Atoi(group); err == nil {
		id.gid = g
		return id, nil
	}
	for _, f := range fields("/etc/group", 4) {
		if f[0] == group {
			id.gid, _ = strconv.Atoi(f[2])
			return id, nil
		}
	}
	return id, fmt.Errorf("unable to find group %s: no matching entries in group file", group)
}

func fields(path string, n int) [][]string {
	f, err := os.Open(path)
	if err != nil {
		return nil // an image may have none
	}
	defer f.Close()
	var out [][]string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if parts := strings.Split(lines.Text(), ":"); len(parts) >= n {
			out = append(out, parts)
		}
	}
	return out
}
