package virtual_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/runtime"
	"github.com/slipway-ecs/slipway/internal/local/runtime/virtual"
)

func start(t *testing.T, b virtual.Behavior) (runtime.Task, runtime.Container) {
	t.Helper()
	rt := virtual.New(b)
	t.Cleanup(func() { _ = rt.Close(context.WithoutCancel(t.Context())) })
	task, err := rt.NewTask(t.Context(), runtime.TaskSpec{ID: "t"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := task.Start(t.Context(), runtime.ContainerSpec{Name: "main", Image: "r/i:1"})
	if err != nil {
		t.Fatal(err)
	}
	return task, c
}

func TestRunsUntilStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		_, c := start(t, virtual.Behavior{
			Start: func(runtime.TaskSpec, runtime.ContainerSpec) (time.Duration, error) { return 3 * time.Second, nil },
			Stop:  func(runtime.TaskSpec, runtime.ContainerSpec) (time.Duration, int) { return 5 * time.Second, 0 },
			Exec: func(_ runtime.TaskSpec, c runtime.ContainerSpec, cmd []string, w io.Writer) int {
				fmt.Fprint(w, c.Name, cmd)
				return len(cmd)
			},
		})
		if d := time.Since(begin); d != 3*time.Second {
			t.Errorf("started after %s", d)
		}
		if code, err := c.Exec(t.Context(), []string{"a", "b"}, nil); code != 2 || err != nil {
			t.Errorf("exec: %d, %v", code, err)
		}
		if err := c.Stop(t.Context(), 30*time.Second); err != nil {
			t.Fatal(err)
		}
		if e, err := c.Wait(t.Context()); err != nil || e.Code != 0 || e.At.Sub(begin) != 8*time.Second {
			t.Errorf("exit %+v, %v", e, err)
		}
		if _, err := c.Exec(t.Context(), []string{"a"}, nil); err == nil {
			t.Error("exec in an ended container succeeds")
		}
	})
}

func TestKilledAfterTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		_, c := start(t, virtual.Behavior{Stop: func(runtime.TaskSpec, runtime.ContainerSpec) (time.Duration, int) { return time.Hour, 0 }})
		if err := c.Stop(t.Context(), 30*time.Second); err != nil {
			t.Fatal(err)
		}
		if e, err := c.Wait(t.Context()); err != nil || e.Code != 137 || e.At.Sub(begin) != 30*time.Second {
			t.Errorf("exit %+v, %v", e, err)
		}
	})
}

func TestExitsAndFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := start(t, virtual.Behavior{Exit: func(runtime.TaskSpec, runtime.ContainerSpec) (time.Duration, int, bool) { return time.Minute, 3, true }})
		if e, err := c.Wait(t.Context()); err != nil || e.Code != 3 {
			t.Errorf("exit %+v, %v", e, err)
		}
		for _, cause := range []error{errors.New("boom"), &runtime.PullError{Image: "x", Err: errors.New("not found")}} {
			rt := virtual.New(virtual.Behavior{Start: func(runtime.TaskSpec, runtime.ContainerSpec) (time.Duration, error) { return 0, cause }})
			task, err := rt.NewTask(t.Context(), runtime.TaskSpec{ID: "t"})
			if err != nil {
				t.Fatal(err)
			}
			_, err = task.Start(t.Context(), runtime.ContainerSpec{Name: "main"})
			var pull, wantPull *runtime.PullError
			var st *runtime.StartError
			if errors.As(cause, &wantPull) != errors.As(err, &pull) || errors.As(err, &pull) == errors.As(err, &st) {
				t.Errorf("%v became %T", cause, err)
			}
		}
	})
}

func TestCloseEndsThousands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := virtual.New(virtual.Behavior{})
		var wg sync.WaitGroup
		for i := range 5000 {
			task, err := rt.NewTask(t.Context(), runtime.TaskSpec{ID: fmt.Sprint(i)})
			if err != nil {
				t.Fatal(err)
			}
			c, err := task.Start(t.Context(), runtime.ContainerSpec{Name: "main"})
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				if e, err := c.Wait(t.Context()); err != nil || e.Code != 137 {
					t.Errorf("exit %+v, %v", e, err)
				}
			})
		}
		if err := rt.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
	})
}
