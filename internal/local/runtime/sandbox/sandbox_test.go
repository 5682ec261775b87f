//go:build linux

package sandbox_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/runtime"
	"github.com/slipway-ecs/slipway/internal/local/runtime/contract"
	"github.com/slipway-ecs/slipway/internal/local/runtime/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.MaybeInit()
	if dir := os.Getenv("SANDBOX_TEST_PARENT"); dir != "" {
		parent(dir)
	}
	os.Exit(m.Run())
}

func open(t *testing.T) runtime.Runtime {
	t.Helper()
	rt, err := sandbox.Open(t.Context(), runtime.Options{Dir: t.TempDir(), Owner: t.Name()})
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("the sandbox does not work here: %v", err)
	}
	t.Cleanup(func() {
		if err := rt.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return rt
}

func TestSandbox(t *testing.T) {
	root := os.Geteuid() == 0
	contract.Run(t, open(t), contract.Limits{Users: root, Memory: root})
}

// parent starts a container and waits to be killed.
func parent(dir string) {
	ctx := context.Background()
	rt, err := sandbox.Open(ctx, runtime.Options{Dir: dir, Owner: "killed"})
	if err == nil {
		var task runtime.Task
		if task, err = rt.NewTask(ctx, runtime.TaskSpec{ID: "t", NetworkMode: "bridge"}); err == nil {
			_, err = task.Start(ctx, runtime.ContainerSpec{Name: "main", Image: os.Getenv("SANDBOX_TEST_IMAGE"), Command: []string{"deaf"}, Env: []string{"MARK=" + dir}, Stdout: os.Stdout})
		}
	}
	if err != nil {
		_, _ = os.Stdout.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	time.Sleep(time.Minute)
}

// Nothing survives the death of the process that started it.
func TestKilledParentLeavesNothing(t *testing.T) {
	open(t) // skips where it does not work
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SANDBOX_TEST_PARENT="+dir, "SANDBOX_TEST_IMAGE="+contract.Image(t))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the container said %q", line)
	}
	if n := marked(t, dir); n == 0 {
		t.Fatal("the container's process was not found")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for deadline := time.Now().Add(5 * time.Second); marked(t, dir) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the container's process survived")
		}
	}
	// A successor with the same owner and folder starts, and cleans up.
	rt, err := sandbox.Open(t.Context(), runtime.Options{Dir: dir, Owner: "killed"})
	if err != nil {
		t.Fatal(err)
	}
	if err := rt.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// marked counts the processes whose environment holds the mark.
func marked(t *testing.T, mark string) int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		if env, err := os.ReadFile("/proc/" + e.Name() + "/environ"); err == nil && strings.Contains(string(env), "MARK="+mark+"\x00") {
			n++
		}
	}
	return n
}
