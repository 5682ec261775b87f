//go:build linux

package sandbox_test

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"testing"

	"github.com/slipway-ecs/slipway/internal/local/runtime"
	"github.com/slipway-ecs/slipway/internal/local/runtime/contract"
)

// What starts a container and its commands is this program, which is far larger than a small container
// may be: its memory is not the container's. What the container runs is, however it was started.
func TestSmallContainer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for memory limits")
	}
	rt, image := open(t), contract.Image(t)
	for _, reaper := range []bool{false, true} {
		task, err := rt.NewTask(t.Context(), runtime.TaskSpec{ID: "small" + strconv.FormatBool(reaper), NetworkMode: "bridge"})
		if err != nil {
			t.Fatal(err)
		}
		start := func(name, command string) runtime.Container {
			t.Helper()
			out := &contract.Output{}
			c, err := task.Start(t.Context(), runtime.ContainerSpec{Name: name, Image: image, Command: []string{command}, Env: []string{"GOMAXPROCS=1"}, Memory: 7, Init: reaper, Stdout: out, Stderr: out})
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		c := start("main", "serve")
		for range 5 {
			var out bytes.Buffer
			if code, err := c.Exec(t.Context(), []string{"/prog", "exit", "3"}, &out); code != 3 || err != nil {
				t.Errorf("reaper %t: a command in it ended with %d, %v: %s", reaper, code, err, &out)
			}
		}
		if s, err := c.Stats(t.Context()); err != nil || s.Memory <= 0 || s.Memory > 7<<20 {
			t.Errorf("reaper %t: it uses %d bytes, %v", reaper, s.Memory, err)
		}
		if e, err := start("hog", "hog").Wait(t.Context()); err != nil || !e.OOM {
			t.Errorf("reaper %t: a container without end ended with %+v, %v", reaper, e, err)
		}
		if err := task.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}
}
