//go:build linux

package pipeline

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// point is where a run is killed: when it says something, or when something is to be seen.
type point struct {
	name  string
	says  func(event) bool
	seen  func(a *app) bool
	whole bool // with all it has started, as when a machine goes away; else they live on
}

// begins is the point between the stage before and this one.
func begins(stage string) point {
	return point{name: "before " + stage, says: func(e event) bool { return e.Event == "stage" && e.Data.Stage == stage && e.Data.State == "begun" }}
}

func says(stage, text string) point {
	return point{name: "in " + stage + ": " + text, says: func(e event) bool { return e.Step == stage && strings.Contains(e.Message, text) }}
}

func sees(name string, seen func(a *app) bool) point { return point{name: name, seen: seen} }

func (p point) withAll() point {
	p.whole, p.name = true, p.name+", with all it has started"
	return p
}

// TestKill9 kills one delivery between and inside its stages, again and again, each time going on where it
// was. In the end it is delivered, and everything was done once.
func TestKill9(t *testing.T) {
	w := newWorld(t)
	a := w.newApp("kill")
	a.write("slipway.yaml", strings.Replace(a.definition(), "not_author: true", "not_author: true, max_severity: medium", 1))
	a.commit()
	if err := os.WriteFile(filepath.Join(w.tmp, "findings.json"), []byte(`{"kill": [{"name": "CVE-2026-7", "severity": "LOW"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	inService := func(env string, count int) func(*app) bool {
		return func(a *app) bool { s := a.service(env); return s != nil && len(s.Deployments) >= count }
	}
	migrates := func(env string) func(*app) bool {
		return func(a *app) bool { return len(a.migrations(env)) > 0 }
	}
	args := []string{"pipeline", "run", "--json", "--approve-as", "qa@example.com", "--note", "tested by hand"}
	for _, p := range []point{
		begins("test"), says("test", "running go test"),
		begins("build"), says("build", "Building"),
		begins("push"), says("push", "pushing"), sees("in push: the image is there", func(a *app) bool { return len(a.images()) > 0 }),
		begins("scan"), says("scan", "scanning"),
		begins("deploy-qa"), says("deploy-qa", "main.tf"), says("deploy-qa", "plan: ").withAll(), sees("in deploy-qa: the migration runs", migrates("qa")).withAll(), sees("in deploy-qa: the service is there", inService("qa", 1)),
		begins("smoke-qa"), says("smoke-qa", "smoke test"),
		begins("approve-prod"), says("approve-prod", "is approved"),
		begins("deploy-prod"), says("deploy-prod", "plan: "), sees("in deploy-prod: the migration runs", migrates("prod")), sees("in deploy-prod: the service is there", inService("prod", 1)).withAll(),
		begins("verify-prod"), says("verify-prod", "smoke test"),
	} {
		began := time.Now()
		if !a.killAt(p, args...) {
			// What an orphan of the last run has finished meanwhile has no inside any more; that is told
			// apart from a point that is never reached by what must be there.
			t.Logf("%s: the point was passed already", p.name)
			if p.seen == nil || !p.seen(a) {
				t.Fatalf("%s: never reached", p.name)
			}
		}
		t.Logf("killed %s, after %s", p.name, time.Since(began).Round(100*time.Millisecond))
	}
	out := a.runs(0, args...)
	if !strings.Contains(out, `"outcome":"delivered"`) {
		t.Errorf("not delivered:\n%s", out)
	}
	if images := a.images(); len(images) != 1 {
		t.Errorf("there are %d images: %v", len(images), images)
	}
	got := a.statements()
	slices.Sort(got)
	if want := []string{"approved-for prod succeeded", "built succeeded", "deployed-to prod succeeded", "deployed-to qa succeeded", "scanned succeeded", "tested succeeded"}; !slices.Equal(got, want) {
		t.Errorf("the ledger says %q, want %q", got, want)
	}
	for _, env := range []string{"qa", "prod"} {
		if n := len(a.migrations(env)); n != 1 {
			t.Errorf("%s: %d migrations", env, n)
		}
		family := aws.ToString(a.service(env).TaskDefinition)
		family = family[strings.LastIndex(family, "/")+1 : strings.LastIndex(family, ":")]
		revisions, err := a.ecs.ListTaskDefinitions(t.Context(), &ecs.ListTaskDefinitionsInput{FamilyPrefix: &family})
		if err != nil || len(revisions.TaskDefinitionArns) != 1 {
			t.Errorf("%s: revisions %v, %v", env, revisions.TaskDefinitionArns, err)
		}
		deployments, err := a.ecs.ListServiceDeployments(t.Context(), &ecs.ListServiceDeploymentsInput{Cluster: aws.String("main"), Service: a.service(env).ServiceName})
		if err != nil || len(deployments.ServiceDeployments) != 1 {
			t.Errorf("%s: %d deployments, %v", env, len(deployments.ServiceDeployments), err)
		}
	}
	told := a.told()
	if len(told) == 0 || told[len(told)-1] != "delivered verify-prod" || slices.ContainsFunc(told, func(s string) bool { return !strings.HasPrefix(s, "started") && !strings.HasPrefix(s, "delivered") }) {
		t.Errorf("told %q", told)
	}
}

// killAt runs until the point and kills; false if the run ended before.
func (a *app) killAt(p point, args ...string) bool {
	a.Helper()
	if p.says != nil {
		return a.runUntil(p.says, p.whole, args...)
	}
	if p.seen(a) {
		return false
	}
	ctx, cancel := context.WithTimeout(a.Context(), 4*time.Minute)
	defer cancel()
	cmd := a.command(ctx, args...)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		a.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			a.Logf("ended before its point:\n%s", said.String())
			return false
		case <-tick.C:
		}
		if p.seen(a) {
			kill(cmd.Process.Pid, p.whole)
			<-ended
			return true
		}
	}
}

func (a *app) service(env string) *types.Service {
	a.Helper()
	out, err := a.ecs.DescribeServices(a.Context(), &ecs.DescribeServicesInput{Cluster: aws.String("main"), Services: []string{a.name + "-" + env}})
	if err != nil {
		a.Fatal(err)
	}
	if len(out.Services) == 0 {
		return nil
	}
	return &out.Services[0]
}

// migrations are the one-off tasks of an environment, whether they run or have run.
func (a *app) migrations(env string) []string {
	a.Helper()
	var out []string
	for _, status := range []types.DesiredStatus{types.DesiredStatusRunning, types.DesiredStatusStopped} {
		list, err := a.ecs.ListTasks(a.Context(), &ecs.ListTasksInput{Cluster: aws.String("main"), DesiredStatus: status})
		if err != nil {
			a.Fatal(err)
		}
		if len(list.TaskArns) == 0 {
			continue
		}
		tasks, err := a.ecs.DescribeTasks(a.Context(), &ecs.DescribeTasksInput{Cluster: aws.String("main"), Tasks: list.TaskArns})
		if err != nil {
			a.Fatal(err)
		}
		for _, task := range tasks.Tasks {
			arn := aws.ToString(task.TaskArn)
			if strings.HasPrefix(aws.ToString(task.StartedBy), "slipway/") && strings.Contains(aws.ToString(task.TaskDefinitionArn), "/"+a.name+"-"+env) && !slices.Contains(out, arn) {
				out = append(out, arn)
			}
		}
	}
	return out
}
