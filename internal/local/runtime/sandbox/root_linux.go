package sandbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"

	"github.com/slipway-ecs/slipway/internal/local/runtime"
)

// makeRoot builds the container's file system and makes it the root.
func makeRoot(cfg initConfig) error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("leaving the machine's mounts: %w", err)
	}
	if err := mountImage(cfg); err != nil {
		return err
	}
	if err := writeFiles(cfg); err != nil {
		return err
	}
	for _, m := range cfg.Mounts {
		if err := mountVolume(cfg.Root, m); err != nil {
			return fmt.Errorf("mounting %s: %w", m.Target, err)
		}
	}
	if err := mountSystem(cfg.Root); err != nil {
		return err
	}
	if err := unix.Chdir(cfg.Root); err != nil {
		return err
	}
	// The old root ends up on top of the new one, and is then taken away.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("changing the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leaving the old root: %w", err)
	}
	if cfg.ReadOnly {
		if err := restrict("/", unix.MS_RDONLY|unix.MS_NODEV); err != nil {
			return fmt.Errorf("making the root read-only: %w", err)
		}
	}
	return unix.Chdir("/")
}

// mountImage lays a writable layer over the image. Where the folder's file system cannot carry
// one (it is itself such an overlay, in a container) the layer is in memory; where the kernel cannot
// at all, the image is copied.
func mountImage(cfg initConfig) error {
	if overlay(cfg) == nil {
		return nil
	}
	dir := filepath.Dir(cfg.Upper)
	if unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NODEV, "mode=755") == nil {
		var err error
		for _, d := range []string{cfg.Upper, cfg.Work, cfg.Root} {
			err = errors.Join(err, os.Mkdir(d, 0o755))
		}
		if err == nil && overlay(cfg) == nil {
			return nil
		}
		if err := unix.Unmount(dir, 0); err != nil {
			return fmt.Errorf("unmounting the layer in memory: %w", err)
		}
	}
	if err := copyTree(cfg.Upper, cfg.Image, !cfg.Unprivileged); err != nil {
		return fmt.Errorf("copying the image: %w", err)
	}
	if err := unix.Mount(cfg.Upper, cfg.Root, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting the image's copy: %w", err)
	}
	return restrict(cfg.Root, unix.MS_NODEV)
}

func overlay(cfg initConfig) error {
	if strings.ContainsAny(cfg.Image+cfg.Upper, ",:") {
		return errors.New("the path has the separators of mount options")
	}
	opts := "lowerdir=" + cfg.Image + ",upperdir=" + cfg.Upper + ",workdir=" + cfg.Work
	if cfg.Unprivileged {
		opts += ",userxattr"
	}
	return unix.Mount("overlay", cfg.Root, "overlay", unix.MS_NODEV, opts)
}

// copyTree copies files, folders and links with their modes, and as root with their owners.
func copyTree(to, from string, owners bool) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case st.IsDir():
			err = os.MkdirAll(target, 0o755)
		case st.Mode()&fs.ModeSymlink != 0:
			var link string
			if link, err = os.Readlink(p); err == nil {
				err = os.Symlink(link, target)
			}
		default:
			err = copyFile(target, p)
		}
		if sys, ok := st.Sys().(*syscall.Stat_t); err == nil && owners && ok {
			err = os.Lchown(target, int(sys.Uid), int(sys.Gid))
		}
		if err == nil && st.Mode()&fs.ModeSymlink == 0 {
			err = os.Chmod(target, st.Mode()) // after the owner: changing it clears set-user-id
		}
		return err
	})
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// restrict adds flags to a mount. The ones it has stay: inside a user namespace the kernel refuses
// to lift those that came from outside, and nobody wants them lifted.
func restrict(at string, flags uintptr) error {
	var st unix.Statfs_t
	if err := unix.Statfs(at, &st); err != nil {
		return err
	}
	for is, set := range map[int64]uintptr{unix.ST_RDONLY: unix.MS_RDONLY, unix.ST_NOSUID: unix.MS_NOSUID, unix.ST_NODEV: unix.MS_NODEV, unix.ST_NOEXEC: unix.MS_NOEXEC,
		unix.ST_NOATIME: unix.MS_NOATIME, unix.ST_NODIRATIME: unix.MS_NODIRATIME, unix.ST_RELATIME: unix.MS_RELATIME} {
		if int64(st.Flags)&is != 0 {
			flags |= set
		}
	}
	return unix.Mount("", at, "", unix.MS_REMOUNT|unix.MS_BIND|flags, "")
}

// writeFiles writes what an engine puts into /etc, following no link out of the container.
func writeFiles(cfg initConfig) error {
	root, err := os.OpenRoot(cfg.Root)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, d := range []string{"etc", "proc", "dev", "sys", "tmp"} {
		if err := root.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("making /%s: %w", d, err)
		}
	}
	if st, err := root.Stat("tmp"); err == nil && st.Mode().Perm() == 0o755 {
		_ = root.Chmod("tmp", 0o777|os.ModeSticky) // made here, or as closed as that: programs expect to write there
	}
	hosts := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	if cfg.Hostname != "" {
		addr := cfg.Address
		if addr == "" {
			addr = "127.0.0.1"
		}
		hosts += addr + "\t" + cfg.Hostname + "\n"
	}
	for _, h := range cfg.Hosts {
		hosts += h.Address + "\t" + h.Name + "\n"
	}
	resolv, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		resolv = nil // a machine without one has no names to resolve
	}
	if cfg.Nameserver != "" {
		resolv = []byte("nameserver " + cfg.Nameserver + "\n")
	}
	for name, text := range map[string]string{"etc/hosts": hosts, "etc/hostname": cfg.Hostname + "\n", "etc/resolv.conf": string(resolv)} {
		_ = root.Remove(name) // it may be a link
		if err := root.WriteFile(name, []byte(text), 0o644); err != nil {
			return fmt.Errorf("writing /%s: %w", name, err)
		}
	}
	return nil
}

// inside makes the folder or file a mount goes on and returns its real path, which lies in root.
func inside(root, target string, dir bool) (string, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return "", err
	}
	defer r.Close()
	real, err := securejoin.SecureJoin(root, target) // links mean what they mean inside
	if err != nil {
		return "", err
	}
	rel := strings.TrimPrefix(strings.TrimPrefix(real, root), "/")
	if rel == "" {
		return "", errors.New("a mount cannot replace the root")
	}
	if dir {
		err = r.MkdirAll(rel, 0o755)
	} else if err = r.MkdirAll(filepath.Dir(rel), 0o755); err == nil {
		var f *os.File
		if f, err = r.OpenFile(rel, os.O_CREATE|os.O_RDONLY, 0o644); err == nil {
			err = f.Close()
		}
	}
	if err != nil {
		return "", err
	}
	return real, nil
}

func mountVolume(root string, m runtime.Mount) error {
	if m.Tmpfs > 0 {
		at, err := inside(root, m.Target, true)
		if err != nil {
			return err
		}
		return unix.Mount("tmpfs", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("size=%dm,mode=1777", m.Tmpfs))
	}
	st, err := os.Stat(m.Source)
	if err != nil {
		return err
	}
	at, err := inside(root, m.Target, st.IsDir())
	if err != nil {
		return err
	}
	if err := unix.Mount(m.Source, at, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	// A container may make device files; what it can write to must not honour them.
	flags := uintptr(unix.MS_NODEV)
	if m.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	return restrict(at, flags)
}

// mountSystem gives the container /proc, /dev and /sys.
func mountSystem(root string) error {
	at := func(p string) string { return filepath.Join(root, p) }
	if err := unix.Mount("proc", at("proc"), "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	if err := unix.Mount("tmpfs", at("dev"), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_STRICTATIME, "mode=755,size=65536k"); err != nil {
		return fmt.Errorf("mounting /dev: %w", err)
	}
	for _, d := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		f, err := os.OpenFile(at("dev/"+d), os.O_CREATE, 0o666)
		if err != nil {
			return err
		}
		_ = f.Close()
		if err := unix.Mount("/dev/"+d, at("dev/"+d), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("making /dev/%s: %w", d, err)
		}
	}
	for link, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		if err := os.Symlink(to, at("dev/"+link)); err != nil {
			return err
		}
	}
	if err := os.Mkdir(at("dev/shm"), 0o1777); err != nil {
		return err
	}
	if err := unix.Mount("shm", at("dev/shm"), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=1777,size=65536k"); err != nil {
		return fmt.Errorf("mounting /dev/shm: %w", err)
	}
	// Not every kernel lets an unprivileged user have one; few programs need it.
	_ = unix.Mount("sysfs", at("sys"), "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_RDONLY, "")
	// What would let a container reach into the machine is hidden or read-only.
	for _, p := range []string{"proc/kcore", "proc/keys", "proc/timer_list"} {
		_ = unix.Mount("/dev/null", at(p), "", unix.MS_BIND, "")
	}
	for _, p := range []string{"proc/sys", "proc/sysrq-trigger", "proc/irq", "proc/bus"} {
		if unix.Mount(at(p), at(p), "", unix.MS_BIND|unix.MS_REC, "") == nil {
			_ = unix.Mount("", at(p), "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
		}
	}
	return nil
}
