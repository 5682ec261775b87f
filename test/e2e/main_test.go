//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// slipway is the binary under test.
var slipway string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "slipway-e2e-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if slipway = os.Getenv("SLIPWAY_E2E_BINARY"); slipway != "" {
		return m.Run() // one that is built already, as a release is
	}
	slipway = filepath.Join(dir, "slipway")
	build := exec.Command("go", "build", "-o", slipway, "github.com/slipway-ecs/slipway/cmd/slipway")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building slipway: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// missing skips where something is not installed; in CI it is a failure, because there a test that
// does not run is one that cannot fail.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("in CI nothing may be skipped: "+format, args...)
	}
	t.Skipf(format, args...)
}

func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		missing(t, "%s is not on PATH", program)
	}
	return path
}

// needSandbox skips where containers cannot run without an engine.
func needSandbox(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	cmd := exec.Command("/bin/true")
	cmd.SysProcAttr = userNamespace()
	if err := cmd.Run(); err != nil {
		missing(t, "this user may not make namespaces: %v", err)
	}
}

// freePort is one nobody listens on now.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// environment is this process's without anything of AWS, CI or Terraform, and with a temporary folder
// of its own, so that what is left there can be seen.
func environment(tmp string, more ...string) []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch {
		case strings.HasPrefix(name, "AWS_"), strings.HasPrefix(name, "TF_"), strings.HasPrefix(name, "SLIPWAY_"), strings.HasPrefix(name, "GIT_"):
		case name == "TMPDIR", name == "BUILD_URL", name == "GOTMPDIR":
		default:
			env = append(env, kv)
		}
	}
	return append(append(env, "TMPDIR="+tmp), more...)
}

// result is how a program ended.
type result struct {
	code           int
	stdout, stderr string
	took           time.Duration
}

func (r result) String() string {
	return fmt.Sprintf("exit code %d after %s\nstdout:\n%s\nstderr:\n%s", r.code, r.took.Round(time.Millisecond), r.stdout, r.stderr)
}

// command is a program in a process group of its own, which ends as a whole with the test.
func command(ctx context.Context, dir string, env []string, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

func runCommand(t *testing.T, limit time.Duration, dir string, env []string, name string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var out, errs strings.Builder
	cmd := command(ctx, dir, env, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	began := time.Now()
	err := cmd.Run()
	r := result{stdout: out.String(), stderr: errs.String(), took: time.Since(began)}
	if cmd.ProcessState == nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	if r.code = cmd.ProcessState.ExitCode(); ctx.Err() != nil {
		t.Fatalf("%s %s did not end within %s\n%s", name, strings.Join(args, " "), limit, r)
	}
	return r
}

// until polls a condition; what it says last is why it failed.
func until(t *testing.T, limit time.Duration, what string, ok func() (bool, string)) {
	t.Helper()
	if why, met := poll(t.Context(), limit, 20*time.Millisecond, ok); !met {
		t.Fatalf("%s: not within %s: %s", what, limit, why)
	}
}

func poll(ctx context.Context, limit, every time.Duration, ok func() (bool, string)) (string, bool) {
	deadline := time.Now().Add(limit)
	for {
		met, why := ok()
		if met {
			return "", true
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return why, false
		}
		time.Sleep(every)
	}
}
