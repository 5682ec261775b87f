//go:build linux

package pipeline

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// TestSystems carries out what "ci init" writes for GitHub and GitLab, as far as it is commands: each job in a
// fresh clone, with the variables those systems give it. A key or an action that is not below is refused.
// The ledger and what runs are as with the Jenkinsfile.
func TestSystems(t *testing.T) {
	w := newWorld(t)
	want := []string{"approved-for prod succeeded", "built succeeded", "deployed-to prod succeeded", "deployed-to qa succeeded", "tested succeeded"}
	for name, carryOut := range map[string]func(*app) error{"github": (*app).github, "gitlab": (*app).gitlab} {
		t.Run(name, func(t *testing.T) {
			a := w.on(t).newApp(name)
			a.runs(0, "ci", "init", name)
			a.commit()
			if err := carryOut(a); err != nil {
				t.Fatal(err)
			}
			got := a.statements()
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("the ledger says %q, want %q", got, want)
			}
			if out := a.runs(0, "why", "prod"); !strings.Contains(out, "approved by lead") {
				t.Errorf("whoever approved is not in the ledger:\n%s", out)
			}
			if out := a.runs(0, "pipeline", "describe"); !strings.Contains(out, "qa runs it · prod runs it") {
				t.Errorf("described as %s", out)
			}
		})
	}
}

// job is a clone of the repository in which commands run.
type job struct {
	*app
	folder string
	env    []string
}

func (a *app) job(name string, env ...string) *job {
	a.Helper()
	j := &job{app: a, folder: filepath.Join(a.TempDir(), name), env: append(slices.Clone(a.env), env...)}
	a.git("clone", "-q", a.dir, j.folder)
	for i, kv := range j.env {
		if path, ok := strings.CutPrefix(kv, "PATH="); ok {
			j.env[i] = "PATH=" + a.tmp + ":" + path
		}
	}
	return j
}

func (j *job) shell(folder, script string, env ...string) error {
	cmd := exec.CommandContext(j.Context(), "bash", "-e", "-o", "pipefail", "-c", script)
	cmd.Dir, cmd.Env = filepath.Join(j.folder, folder), append(slices.Clone(j.env), env...)
	out, err := cmd.CombinedOutput()
	j.Logf("%s\n%s", script, out)
	return err
}

type workflow struct {
	Name string
	On   struct {
		Push struct{ Branches []string }
	}
	Permissions map[string]string
	Jobs        yaml.MapSlice
}

type workflowJob struct {
	RunsOn                          string `yaml:"runs-on"`
	Needs, Environment, Concurrency string
	Defaults                        struct {
		Run struct {
			Folder string `yaml:"working-directory"`
		}
	}
	Steps []struct {
		Uses, Run, If string
		With, Env     map[string]any
	}
}

// github runs the jobs in order. The actions it names do here what the clone and PATH do already.
func (a *app) github() error {
	data, err := os.ReadFile(filepath.Join(a.dir, ".github/workflows/deliver.yml"))
	if err != nil {
		return err
	}
	var w workflow
	if err := yaml.UnmarshalWithOptions(data, &w, yaml.DisallowUnknownField()); err != nil {
		return err
	}
	if !slices.Equal(w.On.Push.Branches, []string{"main"}) || w.Permissions["id-token"] != "write" || w.Permissions["actions"] != "read" {
		return fmt.Errorf("it runs on %v with %v", w.On, w.Permissions)
	}
	// gh stands for GitHub's, which is on its runners: it is asked who approved.
	gh := "#!/bin/sh\n[ \"$GH_TOKEN\" = token ] && [ \"$1 $2 $3\" = 'api repos/acme/shop/actions/runs/7/approvals --jq' ] && echo lead\n"
	if err := os.WriteFile(filepath.Join(a.tmp, "gh"), []byte(gh), 0o755); err != nil {
		return err
	}
	known := map[string]string{"vars.AWS_ROLE_ARN": "arn:aws:iam::000000000000:role/ci", "vars.AWS_REGION": "us-east-1", "github.token": "token",
		"github.server_url": "https://github.test", "github.repository": "acme/shop", "github.run_id": "7"}
	expression := regexp.MustCompile(`\$\{\{ *([\w.]+) *\}\}`)
	before := ""
	for _, item := range w.Jobs {
		name := fmt.Sprint(item.Key)
		text, err := yaml.Marshal(item.Value)
		if err != nil {
			return err
		}
		var wj workflowJob
		if err := yaml.UnmarshalWithOptions(text, &wj, yaml.DisallowUnknownField()); err != nil {
			return err
		}
		if wj.RunsOn != "ubuntu-latest" || wj.Needs != before || strings.HasPrefix(name, "approve-") != (wj.Environment != "") || strings.HasPrefix(name, "deploy-") != (wj.Concurrency != "") {
			return fmt.Errorf("job %s: %+v", name, wj)
		}
		before = name
		j := a.job(name, "GITHUB_ACTIONS=true", "GITHUB_ACTOR=dev", "GITHUB_REPOSITORY=acme/shop", "GITHUB_RUN_ID=7", "GITHUB_SERVER_URL=https://github.test", "GITHUB_REF_NAME=main")
		for _, s := range wj.Steps {
			if s.Uses != "" {
				if !slices.Contains([]string{"actions/checkout@v4", "actions/setup-go@v5", "aws-actions/configure-aws-credentials@v4", "actions/upload-artifact@v4"}, s.Uses) {
					return fmt.Errorf("there is no action %s", s.Uses)
				}
				continue
			}
			if s.If == "failure()" || strings.HasPrefix(s.Run, "go install ") {
				continue // nothing failed; slipway is there
			}
			var env []string
			for k, v := range s.Env {
				value := expression.ReplaceAllStringFunc(fmt.Sprint(v), func(m string) string {
					v, ok := known[expression.FindStringSubmatch(m)[1]]
					if !ok {
						err = errors.Join(err, fmt.Errorf("there is no %s", m))
					}
					return v
				})
				env = append(env, k+"="+value)
			}
			if err == nil {
				err = j.shell(wj.Defaults.Run.Folder, s.Run, env...)
			}
			if err != nil {
				return fmt.Errorf("job %s: %w", name, err)
			}
		}
	}
	return nil
}

type gitlabJob struct {
	Stage         string
	When          string
	AllowFailure  *bool  `yaml:"allow_failure"`
	ResourceGroup string `yaml:"resource_group"`
	Environment   string
	Script        []string
	AfterScript   []string `yaml:"after_script"`
	Artifacts     struct {
		When    string
		Paths   []string
		Reports map[string]string
	}
}

// gitlab runs the jobs in the order of their stages; somebody starts the manual ones.
func (a *app) gitlab() error {
	data, err := os.ReadFile(filepath.Join(a.dir, ".gitlab-ci.yml"))
	if err != nil {
		return err
	}
	var all map[string]any
	if err := yaml.Unmarshal(data, &all); err != nil {
		return err
	}
	decode := func(key string, to any) error {
		text, err := yaml.Marshal(all[key])
		if err != nil {
			return err
		}
		delete(all, key)
		return yaml.UnmarshalWithOptions(text, to, yaml.DisallowUnknownField())
	}
	var stages []string
	var defaults struct {
		IDTokens     map[string]map[string]string `yaml:"id_tokens"`
		BeforeScript []string                     `yaml:"before_script"`
	}
	var variables map[string]string
	var rules struct{ Rules []struct{ If string } }
	for key, to := range map[string]any{"stages": &stages, "default": &defaults, "variables": &variables, "workflow": &rules} {
		if err := decode(key, to); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	if variables["GIT_DEPTH"] != "0" || len(defaults.IDTokens) != 1 {
		return fmt.Errorf("variables %v, tokens %v", variables, defaults.IDTokens)
	}
	for _, stage := range stages {
		var gj gitlabJob
		if err := decode(stage, &gj); err != nil || gj.Stage != stage {
			return fmt.Errorf("job %s of stage %s: %w", stage, gj.Stage, err)
		}
		if strings.HasPrefix(stage, "approve-") != (gj.When == "manual" && gj.AllowFailure != nil && !*gj.AllowFailure) || strings.HasPrefix(stage, "deploy-") != (gj.ResourceGroup != "") {
			return fmt.Errorf("job %s: %+v", stage, gj)
		}
		who := "dev@example.com"
		if gj.When == "manual" {
			who = "lead@example.com"
		}
		j := a.job(stage, "GITLAB_CI=true", "GITLAB_USER_EMAIL="+who, "CI_JOB_URL=https://gitlab.test/acme/shop/-/jobs/7", "CI_COMMIT_BRANCH=main", "AWS_ID_TOKEN=token")
		script := strings.Join(append(slices.Clone(defaults.BeforeScript), gj.Script...), "\n")
		// The keys of the local AWS go before the token, which nobody here exchanges.
		if err := j.shell(".", script, "CI_PROJECT_DIR="+j.folder); err != nil {
			return fmt.Errorf("job %s: %w", stage, err)
		}
		for _, after := range gj.AfterScript {
			if err := j.shell(".", after, "CI_PROJECT_DIR="+j.folder, "CI_JOB_STATUS=success"); err != nil {
				return fmt.Errorf("after job %s: %w", stage, err)
			}
		}
	}
	if len(all) > 0 {
		return fmt.Errorf("jobs of no stage: %v", all)
	}
	return nil
}
