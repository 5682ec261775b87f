package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slipway-ecs/slipway/internal/cli"
	"github.com/slipway-ecs/slipway/internal/local/runtime/sandbox"
)

// TestMain lets the test binary be slipway: scripts start it under that name, as a process of its own.
func TestMain(m *testing.M) {
	sandbox.MaybeInit()
	testscript.Main(m, map[string]func(){"slipway": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		os.Exit(cli.Run(ctx, os.Args[1:], cli.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
	}})
}

// TestScript runs the command lines of testdata/script, each in a folder of its own, without AWS
// settings of whoever runs it.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			port, err := freePort()
			if err != nil {
				return err
			}
			env.Setenv("PORT", strconv.Itoa(port))
			env.Setenv("DIR", env.WorkDir+"/aws")
			env.Setenv("XDG_CACHE_HOME", env.WorkDir+"/cache")
			env.Setenv("XDG_DATA_HOME", env.WorkDir+"/data")
			// What a script has left running ends with it, however it ends.
			self, err := exec.LookPath("slipway")
			if err != nil {
				return fmt.Errorf("finding slipway on the path the scripts have: %w", err)
			}
			env.Defer(func() {
				if out, err := exec.Command(self, "local", "down", "--dir", env.WorkDir+"/aws").CombinedOutput(); err != nil {
					t.Errorf("ending the local AWS of a script: %v\n%s", err, out)
				}
			})
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":  exits,
			"occupy": occupy,
			"json":   isJSON,
			"plain":  isPlain,
		},
	})
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// exits CODE PROGRAM [ARG…] runs a program that must end with this very exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARG…]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	switch {
	case asExit(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, not %d", got, want)
	}
}

func asExit(err error, to **exec.ExitError) bool {
	e, ok := err.(*exec.ExitError)
	*to = e
	return ok
}

// occupy listens on $PORT until the script ends.
func occupy(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: occupy")
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+ts.Getenv("PORT"))
	ts.Check(err)
	ts.Defer(func() { l.Close() })
}

// json FILE checks that each line is one JSON value, or that the whole is.
func isJSON(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: json FILE")
	}
	data := []byte(ts.ReadFile(args[0]))
	if len(bytes.TrimSpace(data)) == 0 {
		ts.Fatalf("%s is empty", args[0])
	}
	if json.Valid(data) {
		return
	}
	for line := range bytes.Lines(data) {
		if !json.Valid(line) {
			ts.Fatalf("%s: not JSON: %s", args[0], line)
		}
	}
}

// plain FILE checks that there is no escape sequence: no colour, no cursor movement.
func isPlain(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: plain FILE")
	}
	if data := ts.ReadFile(args[0]); bytes.ContainsRune([]byte(data), '\x1b') {
		ts.Fatalf("%s has escape sequences: %q", args[0], data)
	}
}
