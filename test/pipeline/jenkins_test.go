//go:build linux

package pipeline

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
)

// groovy runs the Jenkinsfile in the harness and returns how it ended, with all that was said.
func (a *app) groovy(file string, answers map[string]any) (result, said string) {
	a.Helper()
	groovy, err := exec.LookPath("groovy")
	if err != nil {
		if os.Getenv("CI") == "true" {
			a.Fatal("groovy is not installed")
		}
		a.Skip("groovy is not installed")
	}
	work := a.TempDir()
	data, err := json.Marshal(answers)
	if err != nil {
		a.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(work, "answers.json"), data, 0o644); err != nil {
		a.Fatal(err)
	}
	harness, err := filepath.Abs("testdata/harness.groovy")
	if err != nil {
		a.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(a.Context(), 6*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, groovy, harness, file, a.dir, work, filepath.Join(work, "answers.json"))
	cmd.Env = append(slices.Clone(a.env), "BRANCH_NAME=main")
	for i, kv := range cmd.Env {
		if path, ok := strings.CutPrefix(kv, "PATH="); ok {
			cmd.Env[i] = "PATH=" + a.tmp + ":" + path
		}
	}
	cmd.Env = append(cmd.Env, "LC_ALL=C.UTF-8") // Jenkins reads what commands say as UTF-8; Java goes by the locale
	if homes, _ := filepath.Glob("/usr/lib/jvm/java-*"); os.Getenv("JAVA_HOME") == "" && len(homes) > 0 {
		cmd.Env = append(cmd.Env, "JAVA_HOME="+homes[0])
	}
	cmd.WaitDelay = 5 * time.Second
	out, _ := cmd.CombinedOutput() // its last line tells
	m := regexp.MustCompile(`(?m)^Finished: (\w+)$`).FindSubmatch(out)
	if m == nil {
		a.Fatalf("the harness did not end:\n%s", out)
	}
	return string(m[1]), string(out)
}

// jenkinsfile writes the service's Jenkinsfile, commits it and returns its path.
func (a *app) jenkinsfile() string {
	a.Helper()
	a.runs(0, "ci", "init", "jenkins", "--force", "--label", "slipway")
	a.commit()
	return filepath.Join(a.dir, "Jenkinsfile")
}

// runningDigest is of the image all tasks of an environment run.
func (a *app) runningDigest(env string) string {
	a.Helper()
	list, err := a.ecs.ListTasks(a.Context(), &ecs.ListTasksInput{Cluster: aws.String("main"), ServiceName: aws.String(a.name + "-" + env)})
	if err != nil || len(list.TaskArns) == 0 {
		a.Fatalf("tasks in %s: %v, %v", env, list, err)
	}
	tasks, err := a.ecs.DescribeTasks(a.Context(), &ecs.DescribeTasksInput{Cluster: aws.String("main"), Tasks: list.TaskArns})
	if err != nil {
		a.Fatal(err)
	}
	digest := ""
	for _, task := range tasks.Tasks {
		d := aws.ToString(task.Containers[0].ImageDigest)
		if digest != "" && d != digest {
			a.Errorf("%s runs %s and %s", env, digest, d)
		}
		digest = d
	}
	return digest
}

// TestJenkins: the generated Jenkinsfile and the shared library's step, in the Groovy that Jenkins embeds,
// with every sh carried out, each stage in a workspace of its own.
func TestJenkins(t *testing.T) {
	w := newWorld(t)
	yes := map[string]any{"approve-prod": map[string]any{"submitter": "qa@example.com", "DECISION": "approve", "NOTE": "tested by hand"}}

	a := w.newApp("jenkins")
	file := a.jenkinsfile()
	t.Run("delivered", func(t *testing.T) {
		a := a.on(t)
		result, said := a.groovy(file, yes)
		if result != "SUCCESS" || !strings.Contains(said, "input: Deliver jenkins to prod?") || !strings.Contains(said, "junit: test.xml smoke-qa.xml verify-prod.xml") ||
			!strings.Contains(said, "qa runs it · prod runs it") || !strings.Contains(said, " slipway\n") {
			t.Fatalf("%s:\n%s", result, said)
		}
		if out := a.runs(0, "pipeline", "describe"); !strings.Contains(out, "qa runs it · prod runs it") {
			t.Errorf("described as %s", out)
		}
		if out := a.runs(0, "why", "prod"); !strings.Contains(out, "qa@example.com") {
			t.Errorf("the submitter is not in the ledger:\n%s", out)
		}
	})
	t.Run("as on a laptop", func(t *testing.T) {
		// The same commits on another local AWS: the same digests, by which nothing but the way differs.
		other := newWorld(t)
		other.mail = w.mail
		b := other.newApp("jenkins")
		b.jenkinsfile()
		b.runs(0, "pipeline", "run", "--until", "smoke-qa")
		b.runs(0, "pipeline", "run", "--stage", "approve-prod", "--approve-as", "qa@example.com", "--note", "tested by hand")
		b.runs(0, "pipeline", "run", "--from", "approve-prod")
		sorted := func(all []string) []string { slices.Sort(all); return all }
		if j, l := sorted(a.on(t).statements()), sorted(b.statements()); !slices.Equal(j, l) {
			t.Errorf("the ledgers differ:\n%q\n%q", j, l)
		}
		for _, env := range []string{"qa", "prod"} {
			if j, l := a.on(t).runningDigest(env), b.runningDigest(env); j != l || j == "" {
				t.Errorf("%s runs %s by Jenkins and %s from a laptop", env, j, l)
			}
		}
	})
	t.Run("rejected", func(t *testing.T) {
		a := a.on(t)
		a.commit()
		result, said := a.groovy(file, map[string]any{"approve-prod": map[string]any{"submitter": "qa@example.com", "DECISION": "reject", "NOTE": "the basket is empty"}})
		if result != "FAILURE" || !strings.Contains(said, "the basket is empty") || strings.Contains(said, "stage deploy-prod\n") {
			t.Errorf("%s:\n%s", result, said)
		}
	})
	t.Run("aborted", func(t *testing.T) {
		a := a.on(t)
		a.commit()
		result, said := a.groovy(file, map[string]any{"approve-prod": "abort"})
		if result != "ABORTED" || strings.Contains(said, "stage deploy-prod\n") {
			t.Errorf("%s:\n%s", result, said)
		}
	})
	t.Run("tests fail", func(t *testing.T) {
		a := a.on(t)
		a.write("main.go", strings.Replace(program, `"hello" }`, `"hallo" }`, 1))
		a.commit()
		result, said := a.groovy(file, yes)
		if result != "FAILURE" || !strings.Contains(said, `hello() is "hallo"`) || !strings.Contains(said, "junit: test.xml\n") || strings.Contains(said, "stage build\n") {
			t.Errorf("%s:\n%s", result, said)
		}
		a.write("main.go", program)
	})
	t.Run("shared library", func(t *testing.T) {
		a := a.on(t)
		a.runs(0, "ci", "init", "jenkins", "--library")
		a.commit()
		result, said := a.groovy(filepath.Join(a.dir, "vars", "slipwayPipeline.groovy"), yes)
		if result != "SUCCESS" {
			t.Errorf("%s:\n%s", result, said)
		}
		if out := a.runs(0, "pipeline", "describe"); !strings.Contains(out, "qa runs it · prod runs it") {
			t.Errorf("described as %s", out)
		}
	})
	t.Run("shared library, aborted", func(t *testing.T) {
		a := a.on(t)
		a.commit()
		result, said := a.groovy(filepath.Join(a.dir, "vars", "slipwayPipeline.groovy"), map[string]any{"approve-prod": "abort"})
		if result != "ABORTED" || strings.Contains(said, "stage deploy-prod\n") || !strings.Contains(said, "pipeline notify rejected") {
			t.Errorf("%s:\n%s", result, said)
		}
	})
	t.Run("only approvers are let answer", func(t *testing.T) {
		a := a.on(t)
		a.write("slipway.yaml", strings.Replace(a.definition(), "approvals: 1", "approvals: 1, approvers: [lead@example.com]", 1))
		a.jenkinsfile()
		if result, said := a.groovy(file, yes); result != "REFUSED" || !strings.Contains(said, "qa@example.com may not answer approve-prod") {
			t.Errorf("%s:\n%s", result, said)
		}
	})
	t.Run("unknown", func(t *testing.T) {
		a := a.on(t)
		odd := filepath.Join(t.TempDir(), "Jenkinsfile")
		for _, text := range []string{"pipeline { agent none\n stages { stage('x') { agent any\n steps { shell 'true' } } } }", "pipeline { agent none\n option { timestamps() } }", "pipeline { agent none\n options { retries(3) } }"} {
			if err := os.WriteFile(odd, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if result, said := a.groovy(odd, nil); result != "REFUSED" {
				t.Errorf("%s is not refused: %s\n%s", text, result, said)
			}
		}
	})
}
