//go:build linux

package e2e

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Ctrl-C in the middle of a deployment, as a terminal sends it: to everything that was started. The
// command ends by itself, says that AWS goes on and how to follow and stop it; nothing of it stays; and
// the same command again takes the deployment up where it is.
func TestCtrlC(t *testing.T) {
	w := newTeam(t)
	w.commitAndPush("v1.0.0")
	// In the first deployment of all, which makes the service.
	w.interrupted("v1.0.0", func() (bool, string) { return w.service() != nil, "there is no service yet" })
	made := w.service().CreatedAt
	w.slipway("deploy", "qa", "--image", "v1.0.0")
	if s := w.service(); !s.CreatedAt.Equal(*made) || s.RunningCount != s.DesiredCount {
		t.Errorf("the first deployment was not gone on with: made %s, now %s; %d of %d run", made, s.CreatedAt, s.RunningCount, s.DesiredCount)
	}
	first := aws.ToString(w.service().TaskDefinition)
	w.commitAndPush("v2.0.0")
	w.interrupted("v2.0.0", func() (bool, string) {
		s := w.service()
		return s != nil && aws.ToString(s.TaskDefinition) != first && len(s.Deployments) > 1, "it rolls out nothing yet"
	})
	second := aws.ToString(w.service().TaskDefinition)
	if second == first {
		t.Fatalf("AWS does not go on: it runs %s", first)
	}

	again := w.slipway("deploy", "qa", "--image", "v2.0.0")
	if got := aws.ToString(w.service().TaskDefinition); got != second {
		t.Errorf("the second run made a revision of its own: %s after %s\n%s", got, second, again)
	}
	s := w.service()
	if len(s.Deployments) != 1 || s.RunningCount != s.DesiredCount {
		t.Errorf("it did not wait for the end: %d deployments, %d of %d run\n%s", len(s.Deployments), s.RunningCount, s.DesiredCount, again)
	}
	if r := w.slipway("deploy", "qa", "--image", "v2.0.0"); !strings.Contains(r.stdout, "nothing to change") {
		t.Errorf("something is left to change: %s", r)
	}
}

// interrupted deploys and sends Ctrl-C when the time has come.
func (w *team) interrupted(release string, point func() (bool, string)) {
	t := w.t
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var said strings.Builder
	deploy := command(ctx, w.work, w.env, slipway, "deploy", "qa", "--image", release)
	deploy.Stdout, deploy.Stderr = &said, &said
	if err := deploy.Start(); err != nil {
		t.Fatal(err)
	}
	if why, met := poll(ctx, time.Minute, 5*time.Millisecond, point); !met {
		t.Fatal(why)
	}
	began := time.Now()
	if err := syscall.Kill(-deploy.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	err := deploy.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 5 {
		t.Errorf("it ended with %v, wanted exit code 5 (still going on):\n%s", err, said.String())
	}
	t.Logf("ended %s after Ctrl-C:\n%s", time.Since(began).Round(time.Millisecond), said.String())
	for _, want := range []string{"slipway status qa --follow", "slipway stop qa", "slipway deploy qa"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, said.String())
		}
	}
	for _, not := range []string{"panic", "goroutine ", "signal: interrupt"} {
		if strings.Contains(said.String(), not) {
			t.Errorf("it says %q:\n%s", not, said.String())
		}
	}
}
