// Package tfexec finds Terraform or OpenTofu, or builds OpenTofu, and runs it with a configuration of
// its own: the user's is never read or changed.
//
// It starts the process itself and not by terraform-exec: that library has the kernel kill Terraform
// when the thread that started it ends, and threads of a process that also runs containers do end.
package tfexec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	goversion "github.com/hashicorp/go-version"
)

// Minimum is the oldest Terraform that does what every command asks of it: provider protocol 6,
// machine-readable apply of a saved plan, checks in a plan's JSON. OpenTofu began at 1.6.
const Minimum = "1.5.0"

// MinimumForLockFile is the oldest that locks a state in S3 by a file beside it, for both.
const MinimumForLockFile = "1.10.0"

// EnvTool names the variable that says which binary to use.
const EnvTool = "SLIPWAY_TERRAFORM"

// Tool is a Terraform or OpenTofu that was found to work.
type Tool struct {
	Path    string
	Name    string // "Terraform" or "OpenTofu"
	Version string
}

func (t Tool) String() string { return t.Name + " " + t.Version }

// Options of Find. The zero value looks in this process's environment.
type Options struct {
	Getenv   func(string) string
	Minimum  string               // empty = Minimum
	CacheDir string               // where OpenTofu is built; empty = slipway in the user's cache folder
	Progress func(line string)    // may be nil
	NoBuild  bool                 // only what is there
	Build    func() (Tool, error) // for tests; nil = BuildOpenTofu
}

// TooOldError is a Terraform that cannot be used.
type TooOldError struct {
	Found  []Tool
	Needed string
}

func (e *TooOldError) Error() string {
	var found []string
	for _, t := range e.Found {
		found = append(found, fmt.Sprintf("%s is %s", t.Path, t))
	}
	return fmt.Sprintf("%s; %s or newer is needed: install one, or set %s to it", strings.Join(found, " and "), e.Needed, EnvTool)
}

// Find is the Terraform to use: $SLIPWAY_TERRAFORM, else terraform, else tofu on PATH, else OpenTofu
// built from its Go module, which is done once.
func Find(ctx context.Context, o Options) (Tool, error) {
	getenv := o.Getenv
	if getenv == nil {
		getenv = os.Getenv
	}
	if o.Minimum == "" {
		o.Minimum = Minimum
	}
	if path := getenv(EnvTool); path != "" {
		found, err := exec.LookPath(path)
		if err != nil {
			return Tool{}, fmt.Errorf("using %s=%s: %w", EnvTool, path, err)
		}
		if found, err = filepath.Abs(found); err != nil { // it will be started in another folder
			return Tool{}, fmt.Errorf("using %s=%s: %w", EnvTool, path, err)
		}
		t, err := probe(ctx, found)
		if err != nil {
			return Tool{}, fmt.Errorf("using %s=%s: %w", EnvTool, path, err)
		}
		if older(t.Version, o.Minimum) {
			return Tool{}, &TooOldError{[]Tool{t}, o.Minimum}
		}
		return t, nil
	}
	old := &TooOldError{Needed: o.Minimum}
	for _, name := range []string{"terraform", "tofu"} {
		path := lookPath(name, getenv("PATH"))
		if path == "" {
			continue
		}
		t, err := probe(ctx, path)
		if err != nil {
			return Tool{}, fmt.Errorf("using %s from PATH: %w", path, err)
		}
		if !older(t.Version, o.Minimum) {
			return t, nil
		}
		old.Found = append(old.Found, t)
	}
	switch {
	case len(old.Found) > 0:
		return Tool{}, old
	case o.NoBuild:
		return Tool{}, errors.New("there is no terraform and no tofu on PATH: install one, or set " + EnvTool)
	case o.Build != nil:
		return o.Build()
	}
	return BuildOpenTofu(ctx, o)
}

func lookPath(name, path string) string {
	for _, dir := range filepath.SplitList(path) {
		if dir == "" || !filepath.IsAbs(dir) {
			continue // never run what happens to lie in the working folder
		}
		if found, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return found
		}
	}
	return ""
}

// probe asks a binary for its version. An empty configuration keeps a broken one of the user's out of it.
func probe(ctx context.Context, path string) (Tool, error) {
	cmd := exec.CommandContext(ctx, path, "version", "-json")
	cmd.Env = environment(os.Environ(), os.DevNull)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return Tool{}, fmt.Errorf("asking for its version: %w%s", err, indent(stderr.String()))
	}
	var v struct {
		Version string `json:"terraform_version"`
	}
	if err := json.Unmarshal(out, &v); err != nil || v.Version == "" {
		return Tool{}, fmt.Errorf("asking for its version: it answers %.80q, which neither Terraform nor OpenTofu does", out)
	}
	// The JSON is the same for both; the text begins with the name.
	cmd = exec.CommandContext(ctx, path, "version")
	cmd.Env = environment(os.Environ(), os.DevNull)
	text, err := cmd.Output()
	if err != nil {
		return Tool{}, fmt.Errorf("asking for its version: %w", err)
	}
	t := Tool{Path: path, Name: "Terraform", Version: v.Version}
	if strings.HasPrefix(string(text), "OpenTofu") {
		t.Name = "OpenTofu"
	}
	return t, nil
}

// older compares versions; one that cannot be read is not older, because a build of somebody's own is
// more likely new than old.
func older(found, needed string) bool {
	f, err := goversion.NewVersion(found)
	if err != nil {
		return false
	}
	n, err := goversion.NewVersion(needed)
	return err == nil && f.Core().LessThan(n)
}

func indent(s string) string {
	if s = strings.TrimSpace(s); s == "" {
		return ""
	}
	return "\n  " + strings.ReplaceAll(s, "\n", "\n  ")
}
