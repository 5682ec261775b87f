package cli

import (
	"errors"
	"fmt"
)

// The exit codes of every command. Scripts and CI act on them.
const (
	ExitOK            = 0
	ExitFailed        = 1 // anything not told apart below
	ExitBadInput      = 2 // wrong flags, a slipway.yaml or policy that does not hold
	ExitRolledBack    = 3 // the deployment failed and what ran before runs again
	ExitNotRolledBack = 4 // the deployment failed and was not rolled back
	ExitStillGoing    = 5 // timed out; AWS goes on deploying
	ExitRefused       = 6 // a policy refuses it: approval missing, freeze, image in use
	ExitWaiting       = 7 // the pipeline waits for an approval
	ExitSuperseded    = 8 // a newer commit took the delivery's place
	ExitRejected      = 9 // somebody rejected the delivery
)

// exitError is an error with the exit code it ends the command with.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func exitWith(code int, err error) error { return &exitError{code, err} }

func badInput(format string, args ...any) error {
	return exitWith(ExitBadInput, fmt.Errorf(format, args...))
}

// exitCode is the code a command's error ends the process with.
func exitCode(err error) int {
	var e *exitError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &e):
		return e.code
	}
	return ExitFailed
}
