//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-ecs/slipway/examples"
)

// refused checks that a run ended by one clear error.
func refused(t *testing.T, r result, code int, says ...string) {
	t.Helper()
	out := r.stdout + r.stderr
	if r.code != code {
		t.Errorf("exit code %d, not %d", r.code, code)
	}
	for _, want := range says {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if n := strings.Count(out, "slipway: ") + strings.Count(out, "✗"); n != 1 {
		t.Errorf("%d errors, not one", n)
	}
	if strings.Contains(out, "goroutine ") || strings.Contains(out, "demo ok") {
		t.Error("that is no error for people")
	}
	if t.Failed() {
		t.Log(r)
	}
}

// TestBadCommit deploys a commit whose tests fail, and one that does not compile. Nothing of AWS is
// touched: there is none.
func TestBadCommit(t *testing.T) {
	need(t, "git")
	for _, tt := range []struct {
		name, file, text string
		says             []string
	}{
		{"a test fails", "bad_test.go", "package main\n\nimport \"testing\"\n\nfunc TestBad(t *testing.T) { t.Fatal(\"two is not three\") }\n", []string{"bad_test.go:5", "two is not three"}},
		{"it does not compile", "bad.go", "package main\n\nvar answer int = \"forty-two\"\n", []string{"bad.go:3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tmp, before := t.TempDir(), bridges(t)
			if err := os.CopyFS(tmp, examples.IPLookup); err != nil {
				t.Fatal(err)
			}
			w := &team{t: t, tmp: tmp, work: filepath.Join(tmp, "iplookup")}
			w.env = environment(tmp, "AWS_ENDPOINT_URL=http://127.0.0.1:1", "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local", "AWS_MAX_ATTEMPTS=1")
			w.write("go.mod", "module iplookup\n\ngo 1.24\n")
			w.write(tt.file, tt.text)
			w.git("init", "-q", "-b", "main")
			w.git("add", "-A")
			w.git("commit", "-q", "-m", tt.name)
			refused(t, runCommand(t, 2*time.Minute, w.work, w.env, slipway, "deploy", "qa", "--build"), 1, tt.says...)
			if strings.HasSuffix(tt.file, "bad.go") {
				refused(t, runCommand(t, 2*time.Minute, w.work, w.env, slipway, "build"), 1, tt.says...)
			}
			if _, err := os.Stat(filepath.Join(w.work, ".slipway")); err == nil {
				t.Error("a plan was begun")
			}
			nothingLeft(t, tmp, before)
		})
	}
}

// TestOldTerraform runs the demo with a Terraform of years ago on PATH.
func TestOldTerraform(t *testing.T) {
	needSandbox(t)
	tmp, before, bin := t.TempDir(), bridges(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "terraform"), []byte("#!/bin/sh\necho '{\"terraform_version\":\"1.2.9\",\"platform\":\"linux_amd64\"}'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	env := environment(tmp, "PATH="+bin+":/usr/bin:/bin")
	r := runCommand(t, time.Minute, tmp, env, slipway, "demo", "--once", "--runtime", "sandbox", "--port", strconv.Itoa(freePort(t)))
	refused(t, r, 1, filepath.Join(bin, "terraform")+" is Terraform 1.2.9", "1.5.0 or newer is needed", "SLIPWAY_TERRAFORM")
	nothingLeft(t, tmp, before)
}

// TestNoRights runs the sandbox as a user who may not make namespaces.
func TestNoRights(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can take the right to make namespaces away")
	}
	setpriv := need(t, "setpriv")
	tmp, before := t.TempDir(), bridges(t)
	for _, dir := range []string{tmp, filepath.Dir(tmp), filepath.Dir(slipway)} {
		if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"demo", "--once", "--runtime", "sandbox", "--port", strconv.Itoa(freePort(t))},
		{"local", "up", "--runtime", "sandbox", "--dir", filepath.Join(tmp, "aws"), "--port", strconv.Itoa(freePort(t))},
	} {
		script := `echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"`
		ctx := t.Context()
		cmd := command(ctx, tmp, environment(tmp, "HOME="+tmp, "XDG_CACHE_HOME="+tmp, "XDG_DATA_HOME="+tmp), "/bin/sh",
			append([]string{"-c", script, "sh", setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", slipway}, args...)...)
		all := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 65536}}
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings, cmd.SysProcAttr.GidMappingsEnableSetgroups = all, all, true
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		if cmd.ProcessState == nil || strings.Contains(out.String(), "max_user_namespaces") && strings.Contains(out.String(), "sh:") {
			missing(t, "no user namespace without namespaces can be made here: %v %s", err, out.String())
		}
		t.Log(out.String())
		if code := cmd.ProcessState.ExitCode(); code != 1 && code != 2 {
			t.Errorf("exit code %d: %s", code, out.String())
		}
		if !strings.Contains(out.String(), "namespace") {
			t.Errorf("it does not say what is missing: %s", out.String())
		}
	}
	nothingLeft(t, tmp, before)
}
