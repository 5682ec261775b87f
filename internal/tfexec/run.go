package tfexec

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	tfjson "github.com/hashicorp/terraform-json"
)

// Runner runs Terraform in one root module.
type Runner struct {
	Tool       Tool
	Dir        string
	Env        []string  // nil = this process's
	ConfigFile string    // the CLI configuration; empty = an empty one
	Stdout     io.Writer // what people read; nil = nothing
	Event      func(Event)
	// Grace is how long Terraform may take to end after it was asked to; 0 = 10 minutes. It waits for
	// the provider, and what is half done is worse than what is late.
	Grace time.Duration
}

const defaultGrace = 10 * time.Minute

// Event is a line of Terraform's machine-readable output.
// https://developer.hashicorp.com/terraform/internals/machine-readable-ui
type Event struct {
	Level      string      `json:"@level"`
	Message    string      `json:"@message"`
	Type       string      `json:"type"`
	Diagnostic *Diagnostic `json:"diagnostic"`
	Changes    *Changes    `json:"changes"`
	Change     *struct {
		Resource Resource `json:"resource"`
		Action   string   `json:"action"`
	} `json:"change"`
	Hook *struct {
		Resource Resource `json:"resource"`
		Action   string   `json:"action"`
		Elapsed  float64  `json:"elapsed_seconds"`
	} `json:"hook"`
}

// Resource is where in the configuration.
type Resource struct {
	Address string `json:"addr"`
	Type    string `json:"resource_type"`
}

// Changes counts resources.
type Changes struct {
	Add    int `json:"add"`
	Change int `json:"change"`
	Import int `json:"import"`
	Remove int `json:"remove"`
}

// Any says whether there is anything to do.
func (c Changes) Any() bool { return c != Changes{} }

// Diagnostic is an error or a warning of Terraform or a provider.
type Diagnostic struct {
	Severity string `json:"severity"`
	Summary  string `json:"summary"`
	Detail   string `json:"detail"`
	Address  string `json:"address"`
	Range    *struct {
		Filename string `json:"filename"`
		Start    struct {
			Line   int `json:"line"`
			Column int `json:"column"`
		} `json:"start"`
	} `json:"range"`
}

func (d Diagnostic) String() string {
	s := d.Summary
	if d.Range != nil {
		s = fmt.Sprintf("%s:%d:%d: %s", d.Range.Filename, d.Range.Start.Line, d.Range.Start.Column, s)
	}
	return s + indent(d.Detail)
}

// Failure is Terraform that ended with an error.
type Failure struct {
	Tool        Tool
	Command     string
	ExitCode    int
	Diagnostics []Diagnostic // the errors
	Output      string       // the end of what it said where it has no diagnostics
}

func (f *Failure) Error() string {
	var said []string
	for _, d := range f.Diagnostics {
		said = append(said, d.String())
	}
	if len(said) == 0 {
		said = []string{strings.TrimSpace(f.Output)}
	}
	return fmt.Sprintf("%s %s ended with %d: %s", strings.ToLower(f.Tool.Name), f.Command, f.ExitCode, strings.Join(said, "\n"))
}

// environment is what Terraform gets: without what would change what a command means (TF_CLI_ARGS,
// another workspace) and with our configuration. TF_VAR_ and TF_LOG stay.
func environment(env []string, config string) []string {
	out := slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return strings.HasPrefix(name, "TF_CLI_ARGS") || slices.Contains([]string{"TF_CLI_CONFIG_FILE", "TERRAFORM_CONFIG", "TF_WORKSPACE", "TF_DATA_DIR", "TF_INPUT"}, name)
	})
	return append(out, "TF_CLI_CONFIG_FILE="+config, "TF_INPUT=0", "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1")
}

func (r Runner) env() []string {
	env, config := r.Env, r.ConfigFile
	if env == nil {
		env = os.Environ()
	}
	if config == "" {
		config = os.DevNull
	}
	return environment(env, config)
}

// run starts a command and gives its standard output to read as it comes. When ctx ends, Terraform is
// interrupted and given time to end well.
func (r Runner) run(ctx context.Context, read func(io.Reader), args ...string) error {
	cmd := exec.Command(r.Tool.Path, args...)
	// Not CommandContext's own start check alone: a command that was never wanted is not started.
	if err := ctx.Err(); err != nil {
		return err
	}
	cmd.Dir, cmd.Env = r.Dir, r.env()
	separate(cmd)
	var stderr tail
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", r.Tool.Path, err)
	}
	ended := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-ended:
			return
		case <-ctx.Done():
		}
		_ = interrupt(cmd.Process)
		grace := r.Grace
		if grace == 0 {
			grace = defaultGrace
		}
		t := time.NewTimer(grace)
		defer t.Stop()
		select {
		case <-ended:
		case <-t.C:
			reap(cmd.Process)
			_ = cmd.Process.Kill()
		}
	}()
	read(stdout)
	err = cmd.Wait()
	close(ended)
	<-watched
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit):
		f := &Failure{Tool: r.Tool, Command: args[0], ExitCode: exit.ExitCode(), Output: stderr.String()}
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", context.Cause(ctx), f)
		}
		return f
	}
	return fmt.Errorf("running %s %s: %w", r.Tool.Path, args[0], err)
}

// text runs a command whose output is for people, and shows it.
func (r Runner) text(ctx context.Context, args ...string) error {
	out := r.Stdout
	if out == nil {
		out = io.Discard
	}
	return r.run(ctx, func(p io.Reader) { copyAll(out, p) }, args...)
}

// output runs a command whose output is for us.
func (r Runner) output(ctx context.Context, args ...string) ([]byte, error) {
	var out bytes.Buffer
	err := r.run(ctx, func(p io.Reader) { copyAll(&out, p) }, args...)
	return out.Bytes(), err
}

// events runs a command that speaks machine-readable lines, shows their messages, and puts the errors
// among them into the Failure.
func (r Runner) events(ctx context.Context, args ...string) (Changes, error) {
	var sum Changes
	var errs []Diagnostic
	err := r.run(ctx, func(p io.Reader) {
		lines := bufio.NewReader(p)
		for {
			line, err := lines.ReadBytes('\n')
			var e Event
			if json.Unmarshal(line, &e) == nil && e.Message != "" {
				if e.Changes != nil {
					sum = *e.Changes
				}
				if e.Diagnostic != nil && e.Diagnostic.Severity == "error" {
					errs = append(errs, *e.Diagnostic)
				}
				r.show(e)
			}
			if err != nil {
				return
			}
		}
	}, args...)
	if f := (*Failure)(nil); errors.As(err, &f) {
		f.Diagnostics = errs
	}
	return sum, err
}

func (r Runner) show(e Event) {
	if r.Event != nil {
		r.Event(e)
	}
	if r.Stdout == nil || e.Type == "version" {
		return
	}
	text := e.Message
	if e.Diagnostic != nil && e.Diagnostic.Severity != "error" { // an error's detail is in the Failure
		text += indent(e.Diagnostic.Detail)
	}
	_, _ = fmt.Fprintln(r.Stdout, text)
}

// copyAll goes on reading where nobody listens any more: a full pipe would stop Terraform in mid-apply.
func copyAll(w io.Writer, r io.Reader) {
	if _, err := io.Copy(w, r); err != nil {
		_, _ = io.Copy(io.Discard, r)
	}
}

// Init gets the providers and the backend ready. Each of backendConfig is key=value.
func (r Runner) Init(ctx context.Context, backendConfig ...string) error {
	args := []string{"init", "-input=false", "-no-color"}
	for _, c := range backendConfig {
		args = append(args, "-backend-config="+c)
	}
	return r.text(ctx, args...)
}

// Output is the root module's outputs.
func (r Runner) Output(ctx context.Context) (map[string]tfjson.StateOutput, error) {
	data, err := r.output(ctx, "output", "-json", "-no-color")
	if err != nil {
		return nil, err
	}
	out := map[string]tfjson.StateOutput{}
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("reading Terraform's outputs: %w", err)
	}
	return out, nil
}

// State is what Terraform knows to exist.
func (r Runner) State(ctx context.Context) (*tfjson.State, error) {
	data, err := r.output(ctx, "show", "-json", "-no-color")
	if err != nil {
		return nil, err
	}
	var s tfjson.State
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("reading Terraform's state: %w", err)
	}
	return &s, nil
}

// Untaint has a resource whose creation failed changed by the next plan instead of replaced.
func (r Runner) Untaint(ctx context.Context, address string) error {
	_, err := r.output(ctx, "untaint", "-no-color", address)
	return err
}

// Destroy removes everything in the state.
func (r Runner) Destroy(ctx context.Context) error {
	_, err := r.events(ctx, "apply", "-destroy", "-auto-approve", "-json", "-input=false")
	return err
}

// tail keeps the end of what is written.
type tail struct{ b []byte }

const tailSize = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if n := len(t.b) - tailSize; n > 0 {
		t.b = append(t.b[:0], t.b[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.b) }
