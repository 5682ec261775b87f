package tfexec

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	tfjson "github.com/hashicorp/terraform-json"
)

// PlanOptions of Plan.
type PlanOptions struct {
	Destroy bool
	Vars    map[string]string // no secrets: they are seen in the process list
}

// Plan is a saved plan.
type Plan struct {
	File    string
	Changes Changes
	JSON    *tfjson.Plan
}

// Plan plans into a file. Beside it is written what the plan was made of, which Apply checks.
func (r Runner) Plan(ctx context.Context, file string, o PlanOptions) (Plan, error) {
	args := []string{"plan", "-json", "-input=false", "-out=" + file}
	if o.Destroy {
		args = append(args, "-destroy")
	}
	for _, name := range slices.Sorted(maps.Keys(o.Vars)) {
		args = append(args, "-var="+name+"="+o.Vars[name])
	}
	before, err := r.inputs("")
	if err != nil {
		return Plan{}, fmt.Errorf("planning: %w", err)
	}
	changes, err := r.events(ctx, args...)
	if err != nil {
		return Plan{}, err
	}
	// A plan holds every value, also the sensitive ones.
	if err := os.Chmod(r.path(file), 0o600); err != nil {
		return Plan{}, fmt.Errorf("planning: %w", err)
	}
	in, err := r.inputs(file)
	if err != nil {
		return Plan{}, fmt.Errorf("planning: %w", err)
	}
	for what, was := range before {
		if in[what] != was {
			return Plan{}, fmt.Errorf("planning: %s changed meanwhile; plan again", what)
		}
	}
	data, err := json.MarshalIndent(in, "", "  ")
	if err != nil {
		return Plan{}, fmt.Errorf("planning: %w", err)
	}
	if err := os.WriteFile(r.path(file)+inputsSuffix, data, 0o600); err != nil {
		return Plan{}, fmt.Errorf("planning: %w", err)
	}
	p, err := r.Show(ctx, file)
	if err != nil {
		return Plan{}, err
	}
	return Plan{File: file, Changes: changes, JSON: p}, nil
}

// Show reads a saved plan.
func (r Runner) Show(ctx context.Context, file string) (*tfjson.Plan, error) {
	data, err := r.output(ctx, "show", "-json", "-no-color", file)
	if err != nil {
		return nil, err
	}
	var p tfjson.Plan
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fmt.Errorf("reading the plan %s: %w", file, err)
	}
	return &p, nil
}

// ShowText is a saved plan as people read it.
func (r Runner) ShowText(ctx context.Context, file string) (string, error) {
	data, err := r.output(ctx, "show", "-no-color", file)
	return string(data), err
}

// Apply applies a saved plan, if what it was made of has not changed since. Terraform itself checks
// that the state has not.
func (r Runner) Apply(ctx context.Context, file string) (Changes, error) {
	data, err := os.ReadFile(r.path(file) + inputsSuffix)
	if err != nil {
		return Changes{}, fmt.Errorf("applying %s: it was not planned by slipway: %w", file, err)
	}
	var was map[string]string
	if err := json.Unmarshal(data, &was); err != nil {
		return Changes{}, fmt.Errorf("applying %s: reading what it was made of: %w", file, err)
	}
	is, err := r.inputs(file)
	if err != nil {
		return Changes{}, fmt.Errorf("applying: %w", err)
	}
	stale := &StalePlanError{File: file}
	for what := range maps.Keys(was) {
		if is[what] != was[what] {
			stale.Changed = append(stale.Changed, what)
		}
	}
	for what := range maps.Keys(is) {
		if _, ok := was[what]; !ok {
			stale.Changed = append(stale.Changed, what)
		}
	}
	if len(stale.Changed) > 0 {
		slices.Sort(stale.Changed)
		return Changes{}, stale
	}
	return r.events(ctx, "apply", "-json", "-input=false", file)
}

// StalePlanError is a plan made of something else than is there now.
type StalePlanError struct {
	File    string
	Changed []string
}

func (e *StalePlanError) Error() string {
	return fmt.Sprintf("applying %s: %s changed since it was planned; plan again", e.File, strings.Join(e.Changed, ", "))
}

const inputsSuffix = ".inputs.json"

// Where the plan would be applied. A plan made for one account must not be applied to another.
var inputVariables = []string{"AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ROLE_ARN"}

// inputs is what a plan is made of, by name; contents as hashes. The plan file itself is among them.
func (r Runner) inputs(plan string) (map[string]string, error) {
	in := map[string]string{"the program": r.Tool.String()}
	for _, kv := range r.env() {
		if name, value, _ := strings.Cut(kv, "="); slices.Contains(inputVariables, name) || strings.HasPrefix(name, "TF_VAR_") {
			in["the variable "+name] = hash([]byte(value))
		}
	}
	entries, err := os.ReadDir(r.Dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() || !slices.ContainsFunc([]string{".tf", ".tofu", ".tf.json", ".tofu.json", ".tfvars", ".tfvars.json", ".terraform.lock.hcl"}, func(s string) bool { return strings.HasSuffix(name, s) }) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(r.Dir, name))
		if err != nil {
			return nil, err
		}
		in[name] = hash(data)
	}
	if plan != "" {
		data, err := os.ReadFile(r.path(plan))
		if err != nil {
			return nil, err
		}
		in["the plan"] = hash(data)
	}
	return in, nil
}

func hash(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

func (r Runner) path(file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(r.Dir, file)
}
