package tfexec

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

const module = `
variable "x" { default = "1" }
resource "terraform_data" "a" {
  input = var.x
  lifecycle {
    precondition {
      condition     = var.x != "bad"
      error_message = "x must not be bad"
    }
  }
}
output "x" { value = terraform_data.a.output }
`

// tool is the Terraform that is there; these tests are about real ones.
func tool(t *testing.T) Tool {
	t.Helper()
	found, err := Find(t.Context(), Options{NoBuild: true})
	if err != nil {
		t.Skip(err)
	}
	return found
}

func runner(t *testing.T, text string) Runner {
	t.Helper()
	// What is set in the environment of whoever runs this must not matter.
	t.Setenv("TF_CLI_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("TF_CLI_ARGS", "-this-is-no-flag")
	t.Setenv("TF_WORKSPACE", "another")
	r := Runner{Tool: tool(t), Dir: t.TempDir()}
	write(t, filepath.Join(r.Dir, "main.tf"), text, 0o644)
	if err := r.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func TestPlanIsAppliedAsItWasMade(t *testing.T) {
	r := runner(t, module)
	var out bytes.Buffer
	r.Stdout = &out
	p, err := r.Plan(t.Context(), "plan", PlanOptions{Vars: map[string]string{"x": "2"}})
	if err != nil {
		t.Fatal(err)
	}
	if p.Changes != (Changes{Add: 1}) || len(p.JSON.ResourceChanges) != 1 || p.JSON.ResourceChanges[0].Address != "terraform_data.a" {
		t.Errorf("plan %+v", p)
	}
	if info, err := os.Stat(filepath.Join(r.Dir, "plan")); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("others may read the plan: %v, %v", info.Mode(), err)
	}
	if text, err := r.ShowText(t.Context(), "plan"); err != nil || !strings.Contains(text, "+ resource \"terraform_data\" \"a\"") {
		t.Errorf("%v: %s", err, text)
	}
	if c, err := r.Apply(t.Context(), "plan"); err != nil || c != (Changes{Add: 1}) {
		t.Fatal(c, err)
	}
	if !strings.Contains(out.String(), "terraform_data.a: Creation complete") {
		t.Errorf("shown:\n%s", &out)
	}
	outputs, err := r.Output(t.Context())
	if err != nil || outputs["x"].Value != "2" {
		t.Errorf("outputs %v, %v", outputs, err)
	}
	if s, err := r.State(t.Context()); err != nil || len(s.Values.RootModule.Resources) != 1 {
		t.Errorf("state %+v, %v", s, err)
	}
	if _, err := r.Apply(t.Context(), "plan"); err == nil || !strings.Contains(err.Error(), "stale") {
		t.Errorf("applied twice: %v", err)
	}
	if p, err := r.Plan(t.Context(), "plan", PlanOptions{Vars: map[string]string{"x": "2"}}); err != nil || p.Changes.Any() {
		t.Errorf("planned again: %+v, %v", p, err)
	}
	if err := r.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s, err := r.State(t.Context()); err != nil || s.Values != nil && len(s.Values.RootModule.Resources) > 0 {
		t.Errorf("left: %+v, %v", s, err)
	}
}

func TestPlanOfSomethingElseIsNotApplied(t *testing.T) {
	changes := map[string]struct {
		change func(t *testing.T, r Runner)
		says   string
	}{
		"the configuration": {func(t *testing.T, r Runner) { write(t, filepath.Join(r.Dir, "main.tf"), module+"\n", 0o644) }, "main.tf changed"},
		"another file":      {func(t *testing.T, r Runner) { write(t, filepath.Join(r.Dir, "more.tf"), "", 0o644) }, "more.tf changed"},
		"a variable":        {func(t *testing.T, r Runner) { t.Setenv("TF_VAR_x", "3") }, "TF_VAR_x changed"},
		"where":             {func(t *testing.T, r Runner) { t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1") }, "AWS_ENDPOINT_URL changed"},
		"the plan": {func(t *testing.T, r Runner) {
			if err := os.Truncate(filepath.Join(r.Dir, "plan"), 10); err != nil {
				t.Fatal(err)
			}
		}, "the plan changed"},
		"a plan of somebody else's": {func(t *testing.T, r Runner) {
			if err := os.Remove(filepath.Join(r.Dir, "plan"+inputsSuffix)); err != nil {
				t.Fatal(err)
			}
		}, "not planned by slipway"},
	}
	for name, tt := range changes {
		t.Run(name, func(t *testing.T) {
			r := runner(t, module)
			if _, err := r.Plan(t.Context(), "plan", PlanOptions{}); err != nil {
				t.Fatal(err)
			}
			tt.change(t, r)
			if _, err := r.Apply(t.Context(), "plan"); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want %q", err, tt.says)
			}
			if _, err := os.Stat(filepath.Join(r.Dir, "terraform.tfstate")); err == nil {
				t.Error("something was applied")
			}
		})
	}
}

func TestFailureSaysWhatTerraformSaid(t *testing.T) {
	r := runner(t, module)
	_, err := r.Plan(t.Context(), "plan", PlanOptions{Vars: map[string]string{"x": "bad"}})
	var f *Failure
	if !errors.As(err, &f) || f.ExitCode != 1 || len(f.Diagnostics) != 1 || f.Diagnostics[0].Detail != "x must not be bad" {
		t.Fatalf("%+v", err)
	}
	if want := "main.tf:7:23: Resource precondition failed\n  x must not be bad"; !strings.Contains(err.Error(), want) {
		t.Errorf("%v; want %q", err, want)
	}
	write(t, filepath.Join(r.Dir, "main.tf"), "nonsense", 0o644)
	if err := r.Init(t.Context()); !errors.As(err, &f) || f.Command != "init" || !strings.Contains(err.Error(), "main.tf") {
		t.Errorf("init: %v", err)
	}
}

func TestInterruptedApplyEndsWell(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no SIGINT to send")
	}
	r := runner(t, `
resource "terraform_data" "first" { input = 1 }
resource "terraform_data" "slow" {
  depends_on = [terraform_data.first]
  provisioner "local-exec" { command = "echo started; exec sleep 60" }
}`)
	if _, err := r.Plan(t.Context(), "plan", PlanOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r.Event = func(e Event) {
		if e.Type == "provision_progress" {
			cancel()
		}
	}
	_, err := r.Apply(ctx, "plan")
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	// Killed, it would have written no state.
	if s, err := r.State(t.Context()); err != nil || s.Values == nil || s.Values.RootModule.Resources[0].Address != "terraform_data.first" {
		t.Errorf("state %+v, %v", s, err)
	}
	if _, err := r.Plan(t.Context(), "plan", PlanOptions{}); err != nil {
		t.Errorf("the state is still locked: %v", err)
	}
}

func script(t *testing.T, dir, name, text string) string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("a shell script stands for another Terraform")
	}
	path := filepath.Join(dir, name)
	write(t, path, "#!/bin/sh\n"+text+"\n", 0o755)
	return path
}

// version is a Terraform that knows its version and nothing else.
func version(name, v string) string {
	return `if [ "$2" = -json ]; then echo '{"terraform_version":"` + v + `"}'; else echo '` + name + ` v` + v + `'; fi`
}

func TestFind(t *testing.T) {
	built := Tool{Path: "/built", Name: "OpenTofu", Version: OpenTofuVersion}
	tests := map[string]struct {
		onPath  map[string]string // name → script
		env     string            // script that $SLIPWAY_TERRAFORM names
		minimum string
		want    string
		err     string
	}{
		"terraform":            {onPath: map[string]string{"terraform": version("Terraform", "1.11.4"), "tofu": version("OpenTofu", "1.9.0")}, want: "Terraform 1.11.4"},
		"tofu":                 {onPath: map[string]string{"tofu": version("OpenTofu", "1.9.0")}, want: "OpenTofu 1.9.0"},
		"too old":              {onPath: map[string]string{"terraform": version("Terraform", "1.4.7")}, err: "is Terraform 1.4.7; 1.5.0 or newer is needed"},
		"too old, but tofu":    {onPath: map[string]string{"terraform": version("Terraform", "0.11.15"), "tofu": version("OpenTofu", "1.9.0")}, want: "OpenTofu 1.9.0"},
		"as old as allowed":    {onPath: map[string]string{"terraform": version("Terraform", "1.5.0")}, want: "Terraform 1.5.0"},
		"a candidate":          {onPath: map[string]string{"terraform": version("Terraform", "1.12.0-rc1")}, want: "Terraform 1.12.0-rc1"},
		"for a lock file":      {onPath: map[string]string{"terraform": version("Terraform", "1.9.8")}, minimum: MinimumForLockFile, err: "1.10.0 or newer"},
		"none":                 {want: "OpenTofu " + OpenTofuVersion},
		"said":                 {env: version("OpenTofu", "1.8.0"), onPath: map[string]string{"terraform": version("Terraform", "1.11.4")}, want: "OpenTofu 1.8.0"},
		"said, too old":        {env: version("Terraform", "1.2.0"), onPath: map[string]string{"terraform": version("Terraform", "1.11.4")}, err: "1.5.0 or newer"},
		"said, something else": {env: "echo hello", err: "neither Terraform nor OpenTofu"},
		"broken":               {onPath: map[string]string{"terraform": "echo no library >&2; exit 127"}, err: "no library"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range tt.onPath {
				script(t, dir, file, text)
			}
			env := map[string]string{"PATH": dir}
			if tt.env != "" {
				env[EnvTool] = script(t, t.TempDir(), "mine", tt.env)
			}
			got, err := Find(t.Context(), Options{Minimum: tt.minimum, Getenv: func(k string) string { return env[k] },
				Build: func() (Tool, error) { return built, nil }})
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("%+v, error %v; want %q", got, err, tt.err)
				}
				return
			}
			if err != nil || got.String() != tt.want {
				t.Errorf("%+v, %v; want %s", got, err, tt.want)
			}
		})
	}
}

func TestNoTerraformAndNoGo(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Find(t.Context(), Options{CacheDir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "install Terraform or OpenTofu") {
		t.Errorf("error %v", err)
	}
}

// The pinned module must be the version it is said to be, or the cache would lie.
func TestPinnedOpenTofu(t *testing.T) {
	if want := "github.com/opentofu/opentofu v" + OpenTofuVersion + " // indirect\n"; !strings.Contains(string(opentofuMod), want) {
		t.Errorf("go.mod.txt does not require %q", want)
	}
	if want := "github.com/opentofu/opentofu v" + OpenTofuVersion + " h1:"; !strings.Contains(string(opentofuSum), want) {
		t.Errorf("go.sum.txt has no sum of %s", want)
	}
}

// Building takes minutes: only when asked for, as the release checks do.
func TestBuildOpenTofu(t *testing.T) {
	cache := os.Getenv("SLIPWAY_TEST_OPENTOFU")
	if cache == "" {
		t.Skip("set SLIPWAY_TEST_OPENTOFU to a folder to build OpenTofu in")
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip(err)
	}
	got, err := BuildOpenTofu(t.Context(), Options{CacheDir: cache, Progress: func(s string) { t.Log(s) }})
	if err != nil || got.Name != "OpenTofu" || got.Version != OpenTofuVersion {
		t.Fatalf("%+v, %v", got, err)
	}
	t.Setenv(EnvTool, got.Path)
	t.Run("plan", TestPlanIsAppliedAsItWasMade)
	t.Run("failure", TestFailureSaysWhatTerraformSaid)
	t.Run("interrupt", TestInterruptedApplyEndsWell)
	t.Run("provider", TestProviderComesFromTheMirror)
}

func TestFollowTellsErrorsFromProgress(t *testing.T) {
	var said []string
	errs := follow(strings.NewReader("go: downloading example.com/a v1.0.0\nexample.com/a\n# example.com/b\nb.go:1:2: undefined: x\n"),
		func(s string) { said = append(said, s) })
	if errs != "# example.com/b\nb.go:1:2: undefined: x" || len(said) != 1 {
		t.Errorf("errors %q, said %q", errs, said)
	}
}

func TestInstallProvider(t *testing.T) {
	mirror, binary := t.TempDir(), filepath.Join(t.TempDir(), "slipway")
	for _, content := range []string{"one", "two", "two"} {
		write(t, binary, content, 0o755)
		if err := InstallProvider(mirror, "v0.1.0", binary); err != nil {
			t.Fatal(err)
		}
		for _, host := range []string{"registry.terraform.io", "registry.opentofu.org"} {
			path := filepath.Join(mirror, host, "slipway", "slipway", "0.1.0", runtime.GOOS+"_"+runtime.GOARCH, "terraform-provider-slipway_v0.1.0"+exeSuffix())
			got, err := os.ReadFile(path)
			if err != nil || string(got) != content {
				t.Errorf("%s: %q, %v", path, got, err)
			}
			if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
				t.Errorf("%v is left behind", entries)
			}
		}
	}
	if err := InstallProvider(mirror, "0.1.0", filepath.Join(mirror, "none")); err == nil {
		t.Error("what is not there was installed")
	}
}

// Terraform's own init is the judge of the mirror's layout. Init does not start the provider.
func TestProviderComesFromTheMirror(t *testing.T) {
	r := runner(t, "")
	home := t.TempDir()
	mirror, config := filepath.Join(home, "mirror"), filepath.Join(home, "terraform.rc")
	binary := filepath.Join(home, "slipway")
	write(t, binary, "a provider", 0o755)
	if err := InstallProvider(mirror, "0.1.0", binary); err != nil {
		t.Fatal(err)
	}
	if err := WriteConfig(config, mirror); err != nil {
		t.Fatal(err)
	}
	r.ConfigFile = config
	write(t, filepath.Join(r.Dir, "main.tf"), "terraform {\n  required_providers {\n    slipway = {\n      source  = \"slipway/slipway\"\n      version = \"0.1.0\"\n    }\n  }\n}\n", 0o644)
	var out bytes.Buffer
	r.Stdout = &out
	if err := r.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "Installed slipway/slipway v0.1.0") {
		t.Errorf("init says:\n%s", &out)
	}
}
