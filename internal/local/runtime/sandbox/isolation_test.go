//go:build linux

package sandbox_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-ecs/slipway/internal/local/runtime"
	"github.com/slipway-ecs/slipway/internal/local/runtime/contract"
	"github.com/slipway-ecs/slipway/internal/local/runtime/sandbox"
)

// output runs a container to its end and returns what it wrote.
func output(t *testing.T, rt runtime.Runtime, spec runtime.ContainerSpec) string {
	t.Helper()
	task, err := rt.NewTask(t.Context(), runtime.TaskSpec{ID: filepath.Base(t.TempDir()) + spec.Command[0], NetworkMode: "bridge"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = task.Close(context.WithoutCancel(t.Context())) }()
	out := &contract.Output{}
	spec.Name, spec.Stdout, spec.Stderr = "main", out, out
	c, err := task.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// Root in a container may make device files, but they give access to no device.
func TestDevicesAreOutOfReach(t *testing.T) {
	rt, image := open(t), contract.Image(t)
	volume := t.TempDir()
	for _, dir := range []string{"/", "/dev", "/volume", "/memory"} {
		got := output(t, rt, runtime.ContainerSpec{Image: image, Command: []string{"device", filepath.Join(dir, "d")},
			Mounts: []runtime.Mount{{Source: volume, Target: "/volume"}, {Target: "/memory", Tmpfs: 1}}})
		if !strings.Contains(got, "permission denied") && !strings.Contains(got, "not permitted") {
			t.Errorf("in %s: %s", dir, got)
		}
	}
}

func TestMounts(t *testing.T) {
	rt, image := open(t), contract.Image(t)
	volume := t.TempDir()
	for _, c := range []struct {
		ro        bool
		want, got string
	}{{false, "<nil>", "x"}, {true, "read-only file system", ""}} {
		_ = os.Remove(filepath.Join(volume, "x"))
		got := output(t, rt, runtime.ContainerSpec{Image: image, Command: []string{"write", "/deep/mount/x"}, Mounts: []runtime.Mount{{Source: volume, Target: "/deep/mount", ReadOnly: c.ro}}})
		data, _ := os.ReadFile(filepath.Join(volume, "x"))
		if !strings.Contains(got, c.want) || !bytes.Equal(data, []byte(c.got)) {
			t.Errorf("read-only %t: said %q, the file holds %q", c.ro, got, data)
		}
	}
}

// Inside a container of some other engine, the state folder often lies on an overlay itself, which
// cannot carry another.
func TestOnAnOverlay(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting an overlay to work on needs root")
	}
	base := t.TempDir()
	for _, d := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(base, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	at := func(d string) string { return filepath.Join(base, d) }
	if err := unix.Mount("overlay", at("merged"), "overlay", 0, "lowerdir="+at("lower")+",upperdir="+at("upper")+",workdir="+at("work")); err != nil {
		t.Skipf("no overlay here: %v", err)
	}
	defer func() { _ = unix.Unmount(at("merged"), unix.MNT_DETACH) }()
	rt, err := sandbox.Open(t.Context(), runtime.Options{Dir: at("merged"), Owner: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := rt.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	if got := output(t, rt, runtime.ContainerSpec{Image: contract.Image(t), Command: []string{"write", "/x"}}); got != "<nil>\n" {
		t.Errorf("writing said %q", got)
	}
}

// As with Docker, a user who is not root may serve on a low port.
func TestLowPort(t *testing.T) {
	rt, image := open(t), contract.Image(t)
	user := "app"
	if os.Geteuid() != 0 {
		user = ""
	}
	if got := output(t, rt, runtime.ContainerSpec{Image: image, User: user, Command: []string{"listen", ":80"}}); got != "<nil>\n" {
		t.Errorf("listening said %q", got)
	}
}
