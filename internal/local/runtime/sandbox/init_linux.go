package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// containerInit is the first process of a container: it makes the file system, gives up what a
// container may not have, and becomes the command.
func containerInit() error {
	goruntime.LockOSThread() // rights, namespaces and the parent-death signal belong to a thread
	failed := os.NewFile(4, "failure")
	unix.CloseOnExec(4)
	err := func() error {
		cfg, err := readConfig()
		if err != nil {
			return err
		}
		groups, err := openEntrances(cfg)
		if err != nil {
			return err
		}
		if err := makeRoot(cfg); err != nil {
			return err
		}
		if cfg.Hostname != "" {
			if err := unix.Sethostname([]byte(cfg.Hostname)); err != nil {
				return fmt.Errorf("setting the host name: %w", err)
			}
		}
		if err := setLimits(cfg); err != nil {
			return err
		}
		if cfg.Reaper {
			return reap(cfg, groups, failed)
		}
		return become(cfg, groups)
	}()
	_, _ = failed.WriteString(err.Error())
	os.Exit(125)
	return nil
}

func readConfig() (initConfig, error) {
	var cfg initConfig
	f := os.NewFile(3, "config")
	err := json.NewDecoder(f).Decode(&cfg)
	return cfg, errors.Join(err, f.Close())
}

// execInit runs a command inside a container that runs.
func execInit() error {
	goruntime.LockOSThread()
	unix.CloseOnExec(4)
	cfg, err := readConfig()
	if err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil { // entering a mount namespace needs a root of one's own
		return fmt.Errorf("leaving the shared root: %w", err)
	}
	groups, err := openEntrances(cfg)
	if err != nil {
		return err
	}
	var namespaces []*os.File
	for _, ns := range []string{"uts", "ipc", "pid", "mnt"} { // mnt last: /proc changes with it
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", cfg.Pid, ns))
		if err != nil {
			return fmt.Errorf("finding the container: %w", err)
		}
		namespaces = append(namespaces, f)
	}
	for _, f := range namespaces {
		if err := unix.Setns(int(f.Fd()), 0); err != nil {
			return fmt.Errorf("entering the container: %w", err)
		}
	}
	// This process is outside the pid namespace, a child of it is inside.
	path, err := lookPath(cfg.Args[0], cfg.Env, workDir(cfg))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(127)
	}
	id, err := lookupUser(cfg)
	if err != nil {
		return err
	}
	cmd := &exec.Cmd{Path: path, Args: cfg.Args, Env: withHome(cfg.Env, id.home), Dir: workDir(cfg), Stdout: os.Stdout, Stderr: os.Stderr}
	// No parent-death signal: the parent is outside the pid namespace and looks dead from inside. The
	// supervisor ends the process group instead.
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if cfg.Terminal {
		cmd.Stdin = os.Stdin
		cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	}
	if !cfg.Unprivileged && id.uid != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(id.uid), Gid: uint32(id.gid)}
	}
	if err := groups.enter(); err != nil {
		return err
	}
	if err := dropBounding(); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	_ = cmd.Wait()
	os.Exit(code(cmd.ProcessState))
	return nil
}

// reap stays as the first process: it starts the command, passes signals on and buries what is left
// behind by others.
func reap(cfg initConfig, groups entrances, failed *os.File) error {
	id, err := lookupUser(cfg)
	if err != nil {
		return err
	}
	path, err := lookPath(cfg.Args[0], cfg.Env, cfg.Dir)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals)
	attr := &os.ProcAttr{Dir: workDir(cfg), Env: withHome(cfg.Env, id.home), Files: []*os.File{nil, os.Stdout, os.Stderr}, Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}}
	if !cfg.Unprivileged && id.uid != 0 {
		attr.Sys.Credential = &syscall.Credential{Uid: uint32(id.uid), Gid: uint32(id.gid)}
	}
	if err := groups.enter(); err != nil {
		return err
	}
	if err := dropBounding(); err != nil {
		return err
	}
	p, err := os.StartProcess(path, cfg.Args, attr)
	if err != nil {
		return err
	}
	_ = failed.Close() // started: nothing can fail any more
	for s := range signals {
		if sig := s.(syscall.Signal); sig != syscall.SIGCHLD && sig != syscall.SIGURG {
			_ = syscall.Kill(p.Pid, sig)
			continue
		}
		for {
			var ws syscall.WaitStatus
			pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
			if pid <= 0 || err != nil {
				break
			}
			if pid == p.Pid {
				if ws.Signaled() {
					os.Exit(128 + int(ws.Signal()))
				}
				os.Exit(ws.ExitStatus())
			}
		}
	}
	return nil
}

// become gives up all rights a container does not have and replaces this process by the command.
func become(cfg initConfig, groups entrances) error {
	id, err := lookupUser(cfg)
	if err != nil {
		return err
	}
	dir := workDir(cfg)
	if err := os.Chdir(dir); err != nil {
		return fmt.Errorf("entering the working directory: %w", err)
	}
	path, err := lookPath(cfg.Args[0], cfg.Env, dir)
	if err != nil {
		return err
	}
	if err := groups.enter(); err != nil {
		return err
	}
	if err := dropBounding(); err != nil {
		return err
	}
	if err := dropRights(cfg, id); err != nil {
		return err
	}
	// Changing the user clears it.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("tying the container to its supervisor: %w", err)
	}
	return fmt.Errorf("executing %s: %w", path, unix.Exec(path, cfg.Args, withHome(cfg.Env, id.home)))
}

func workDir(cfg initConfig) string {
	if cfg.Dir == "" {
		return "/"
	}
	_ = os.MkdirAll(cfg.Dir, 0o755) // entering it tells if that failed
	return cfg.Dir
}

func withHome(env []string, home string) []string {
	for _, kv := range env {
		if strings.HasPrefix(kv, "HOME=") {
			return env
		}
	}
	return append(env, "HOME="+home)
}

// lookPath finds the command in the container's own PATH.
func lookPath(name string, env []string, dir string) (string, error) {
	if strings.Contains(name, "/") {
		p := name
		if !filepath.IsAbs(p) {
			p = filepath.Join(dir, p)
		}
		return p, executable(p, name)
	}
	for _, kv := range env {
		list, ok := strings.CutPrefix(kv, "PATH=")
		if !ok {
			continue
		}
		for _, d := range filepath.SplitList(list) {
			if p := filepath.Join(d, name); executable(p, name) == nil {
				return p, nil
			}
		}
	}
	return "", fmt.Errorf("exec: %q: executable file not found in $PATH", name)
}

func executable(p, name string) error {
	st, err := os.Stat(p)
	switch {
	case err != nil:
		return fmt.Errorf("exec: %q: stat %s: no such file or directory", name, p)
	case st.IsDir() || st.Mode()&0o111 == 0:
		return fmt.Errorf("exec: %q: permission denied", name)
	}
	return nil
}

var rlimits = map[string]int{"core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA, "fsize": unix.RLIMIT_FSIZE, "locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK,
	"msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE, "nofile": unix.RLIMIT_NOFILE, "nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS, "rtprio": unix.RLIMIT_RTPRIO,
	"rttime": unix.RLIMIT_RTTIME, "sigpending": unix.RLIMIT_SIGPENDING, "stack": unix.RLIMIT_STACK}

func setLimits(cfg initConfig) error {
	for _, u := range cfg.Ulimits {
		which, ok := rlimits[u.Name]
		if !ok {
			return fmt.Errorf("the limit %q does not exist", u.Name)
		}
		if err := syscall.Setrlimit(which, &syscall.Rlimit{Cur: u.Soft, Max: u.Hard}); err != nil {
			return fmt.Errorf("setting the limit %s: %w", u.Name, err)
		}
	}
	return nil
}
