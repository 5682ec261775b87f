package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// TestFailure is a test command that ended with an error.
type TestFailure struct {
	Command  []string
	ExitCode int // -1 = killed
}

func (e *TestFailure) Error() string {
	return fmt.Sprintf("the tests failed: %s ended with %d", strings.Join(e.Command, " "), e.ExitCode)
}

// How long tests that are to stop may take to do so.
const testGrace = 10 * time.Second

// RunTests runs a service's own test command in its folder. What it starts ends with it.
func RunTests(ctx context.Context, dir string, command []string, out io.Writer) error {
	if len(command) == 0 {
		return errors.New("running the tests: there is no command")
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
	cmd.Env = os.Environ()
	group(cmd)
	cmd.Cancel = func() error { return terminate(cmd.Process) }
	cmd.WaitDelay = testGrace
	err := cmd.Run()
	if cmd.Process != nil {
		reap(cmd.Process)
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("running the tests: %w", context.Cause(ctx))
	case errors.As(err, &exit):
		return &TestFailure{command, exit.ExitCode()}
	}
	return fmt.Errorf("running the tests: %w", err)
}
