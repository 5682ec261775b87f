//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

const behaviour = `package main

import (
	"fmt"
	"os"
	"time"
)

func init() {
	if len(os.Args) > 1 && os.Args[1] == "report" {
		fmt.Println("one-off for", os.Getenv("BATCH"))
		os.Exit(7)
	}
	if HANGS {
		time.Sleep(time.Hour)
	}
}
`

// exits runs a command that must end with this code.
func (w *team) exits(code int, args ...string) result {
	w.t.Helper()
	r := runCommand(w.t, 3*time.Minute, w.work, w.env, slipway, args...)
	if r.code != code {
		w.t.Fatalf("slipway %s: exit code %d, wanted %d: %s", strings.Join(args, " "), r.code, code, r)
	}
	return r
}

func (w *team) says(r result, wanted ...string) {
	w.t.Helper()
	for _, s := range wanted {
		if !strings.Contains(r.stdout+r.stderr, s) {
			w.t.Errorf("it does not say %q: %s", s, r)
		}
	}
}

// release pushes an image with a behaviour.
func (w *team) release(tag, hangs string) string {
	w.write("behaviour.go", strings.ReplaceAll(behaviour, "HANGS", hangs))
	return w.commitAndPush(tag)
}

// TestOperating is what somebody does with a service that runs.
func TestOperating(t *testing.T) {
	w := newTeam(t)
	good := w.release("v1", "false")
	w.says(w.exits(0, "check", "--online"), "qa image", "capacity demo")
	w.says(w.exits(2, "check", "--online", "--image", "v9"), "Push it")
	w.says(w.exits(1, "restart", "qa"), "qa is not deployed")
	w.exits(0, "deploy", "qa", "--image", "v1")

	w.says(w.exits(0, "scale", "qa", "1"), "qa runs 1 tasks (was 2)", "slipway.yaml says count: 2")
	w.says(w.exits(1, "drift", "qa"), "count: AWS has 1, slipway.yaml wants 2")
	w.exits(0, "deploy", "qa", "--image", "v1")
	w.says(w.exits(0, "drift", "qa"), "AWS has what slipway.yaml says")
	if _, err := w.ecs.UpdateService(t.Context(), &ecs.UpdateServiceInput{Cluster: aws.String(clusterName), Service: aws.String(serviceName),
		DeploymentConfiguration: &ecstypes.DeploymentConfiguration{MinimumHealthyPercent: aws.Int32(50), MaximumPercent: aws.Int32(150)}}); err != nil {
		t.Fatal(err)
	}
	w.says(w.exits(1, "drift", "qa", "--json"), `"Path":"minimum_healthy","From":"50","To":"100"`)
	w.exits(0, "deploy", "qa", "--image", "v1")
	w.exits(0, "drift", "qa")

	w.says(w.exits(7, "run", "qa", "--env", "BATCH=12", "--", "report"), "one-off for 12", "exit code 7")
	program := []string{"exec", "qa", "--", "/ko-app/iplookup", "report"}
	w.says(w.exits(6, program...), "say exec: true in slipway.yaml, then: slipway deploy qa")
	w.write("slipway.yaml", definition+"exec: true\n")
	w.exits(0, "deploy", "qa", "--image", "v1")
	w.says(w.exits(7, program...), "one-off for")
	w.exits(0, "drift", "qa")
	w.says(w.exits(0, "restart", "qa"), "qa has new tasks of iplookup-qa:2")
	w.says(w.exits(6, "stop", "qa"), "no deployment of iplookup-qa is going on")
	w.answers(20, "v1")

	t.Run("a stuck deployment", func(t *testing.T) { w.on(t).stuck(good) })

	w.says(w.exits(6, "delete", "qa"), "--yes")
	w.says(w.exits(0, "delete", "qa", "--yes"), "iplookup is deleted from qa", "still to stop")
	if s := w.service(); s != nil {
		t.Errorf("the service is still %s", aws.ToString(s.Status))
	}
	w.exits(0, "delete", "qa", "--yes") // nothing is there
}

// stuck deploys what never comes up: a second deployment is refused, and a rollback takes it over.
func (w *team) stuck(good string) {
	w.release("v2", "true")
	ctx, cancel := context.WithTimeout(w.t.Context(), 3*time.Minute)
	defer cancel()
	var said strings.Builder
	deploy := command(ctx, w.work, w.env, slipway, "deploy", "qa", "--image", "v2")
	deploy.Stdout, deploy.Stderr = &said, &said
	if err := deploy.Start(); err != nil {
		w.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- deploy.Wait() }()
	until(w.t, 30*time.Second, "the deployment begins", func() (bool, string) {
		s := w.service()
		return s != nil && len(s.Deployments) > 1 && s.Deployments[0].RunningCount > 0, "not yet"
	})
	w.says(w.exits(6, "deploy", "qa", "--image", "v1"), "by another run")
	w.says(w.exits(6, "restart", "qa"), "is in the hands of")
	w.says(w.exits(0, "rollback", "qa"), "is stopped and rolled back to what ran before", "qa runs "+good[:19])
	<-ended
	if code := deploy.ProcessState.ExitCode(); code != 3 {
		w.t.Errorf("the deployment that was stopped ends with %d:\n%s", code, said.String())
	}
	w.answers(20, "v1")
	var last event
	for line := range strings.Lines(w.exits(0, "history", "qa", "--json").stdout) {
		_ = json.Unmarshal([]byte(line), &last)
	}
	if last.Event != "statement" {
		w.t.Errorf("the history ends with %+v", last)
	}
}
