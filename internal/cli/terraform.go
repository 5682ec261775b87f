package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/provider"
	"github.com/slipway-ecs/slipway/internal/secrets"
	"github.com/slipway-ecs/slipway/internal/service"
	"github.com/slipway-ecs/slipway/internal/service/render"
	"github.com/slipway-ecs/slipway/internal/tfexec"
)

// toolchain is the Terraform that is used and the provider's place. It is found when it is first
// needed.
type toolchain struct {
	tool   *tfexec.Tool
	dir    string // for the mirror and the configuration; "" = slipway in the user's cache folder
	getenv func(string) string
	// minimum is the oldest version that will do; empty: what every command needs.
	minimum string
}

// ready finds Terraform or builds OpenTofu, and installs this program as the provider.
func (t *toolchain) ready(ctx context.Context, p *printer) (tfexec.Tool, error) {
	if t.tool != nil {
		return *t.tool, nil
	}
	if t.getenv == nil {
		t.getenv = os.Getenv
	}
	tool, err := tfexec.Find(ctx, tfexec.Options{Getenv: t.getenv, Minimum: t.minimum, Progress: func(line string) { p.Detail("%s", line) }})
	if err != nil {
		return tool, err
	}
	if err := t.install(); err != nil {
		return tool, err
	}
	t.tool = &tool
	return tool, nil
}

// install puts this program into the mirror as the provider, and writes the configuration that uses it.
func (t *toolchain) install() error {
	if t.dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("finding the user's cache folder: %w", err)
		}
		if t.dir, err = ownFolder(filepath.Join(cache, "slipway", "programs"), time.Now()); err != nil {
			return err
		}
	}
	abs, err := filepath.Abs(t.dir)
	if err != nil {
		return err
	}
	t.dir = abs
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	if err := os.MkdirAll(t.dir, 0o755); err != nil {
		return fmt.Errorf("making the provider's folder: %w", err)
	}
	if err := tfexec.InstallProvider(t.mirror(), Version, self); err != nil {
		return err
	}
	return tfexec.WriteConfig(t.config(), t.mirror())
}

// unusedFor is how long the provider of a program that is not used stays in the cache.
const unusedFor = 3 * 24 * time.Hour

// ownFolder is the folder of this very program below the cache: another build of Slipway has another
// provider, and Terraform must not find that of one in the middle of a run of the other. What was not
// used for some days is removed.
func ownFolder(cache string, now time.Time) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding this program: %w", err)
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return "", fmt.Errorf("finding this program: %w", err)
	}
	info, err := os.Stat(self)
	if err != nil {
		return "", fmt.Errorf("looking at this program: %w", err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%d", self, info.Size(), info.ModTime().UnixNano()))
	dir := filepath.Join(cache, hex.EncodeToString(sum[:6]))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making the provider's folder: %w", err)
	}
	_ = os.Chtimes(dir, now, now) // says that it is used; if it cannot, it is made again in some days
	others, _ := os.ReadDir(cache)
	for _, o := range others {
		if info, err := o.Info(); err == nil && o.IsDir() && now.Sub(info.ModTime()) > unusedFor {
			_ = os.RemoveAll(filepath.Join(cache, o.Name())) // what is left goes next time
		}
	}
	return dir, nil
}

func (t *toolchain) mirror() string { return filepath.Join(t.dir, "providers") }
func (t *toolchain) config() string { return filepath.Join(t.dir, "terraform.rc") }

// runner runs Terraform in dir.
func (t *toolchain) runner(ctx context.Context, p *printer, dir string, env []string) (tfexec.Runner, error) {
	tool, err := t.ready(ctx, p)
	if err != nil {
		return tfexec.Runner{}, err
	}
	quiet := func(e tfexec.Event) {
		switch {
		case e.Diagnostic != nil && e.Diagnostic.Severity == "error", e.Type == "version", e.Type == "outputs", e.Type == "change_summary" && e.Changes != nil && !e.Changes.Any():
		default:
			p.Detail("%s", strings.TrimSpace(e.Message))
		}
	}
	return tfexec.Runner{Tool: tool, Dir: dir, Env: env, ConfigFile: t.config(), Event: quiet}, nil
}

// planned is a saved plan of an environment, ready to be applied.
type planned struct {
	runner tfexec.Runner
	plan   tfexec.Plan
	spec   service.Spec
	image  string
	copies []secrets.Copy // to be kept before it is applied
}

const planFile = "plan.tfplan"

// plan renders the environment's root module with the image and plans it to a file.
func (pr *project) plan(ctx context.Context, env, imageRef, releaseName string) (*planned, error) {
	spec, target, err := pr.spec(env)
	if err != nil {
		return nil, err
	}
	spec, copies, err := pr.resolveSecrets(ctx, spec)
	if err != nil {
		return nil, err
	}
	main, err := render.Render(spec, render.Options{Image: imageRef, Release: releaseName, Version: Version, Region: target.Region, State: target.State})
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(pr.dir, ".slipway", env)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the Terraform folder: %w", err)
	}
	// Nothing of .slipway belongs in a commit: state and plans are in it.
	if err := os.WriteFile(filepath.Join(pr.dir, ".slipway", ".gitignore"), []byte("*\n"), 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "main.tf"), main, 0o644); err != nil {
		return nil, fmt.Errorf("writing the root module: %w", err)
	}
	// The lock file pins the provider's checksum: that of this very program, whichever it is.
	_ = os.Remove(filepath.Join(dir, ".terraform.lock.hcl"))
	if target.State != nil { // in S3, locked by a file beside it
		pr.tools.minimum = tfexec.MinimumForLockFile
	}
	r, err := pr.tools.runner(ctx, pr.p, dir, pr.env)
	if err != nil {
		return nil, err
	}
	pr.p.Line("%s: %s", strings.ToLower(r.Tool.Name), filepath.Join(".slipway", env, "main.tf"))
	if err := r.Init(ctx); err != nil {
		return nil, err
	}
	var plan tfexec.Plan
	err = pr.unlocked(ctx, r, func() (err error) {
		if plan, err = r.Plan(ctx, planFile, tfexec.PlanOptions{}); err != nil || !tainted(plan) {
			return err
		}
		// Its first deployment was interrupted or failed. Terraform would delete what is there and begin
		// anew; the engine goes on from what is there.
		if err = r.Untaint(ctx, render.Resource); err != nil {
			return err
		}
		plan, err = r.Plan(ctx, planFile, tfexec.PlanOptions{})
		return err
	})
	if err != nil {
		return nil, err
	}
	return &planned{runner: r, plan: plan, spec: spec, image: imageRef, copies: copies}, nil
}

// tainted says that Terraform takes the service for half made.
func tainted(p tfexec.Plan) bool {
	if p.JSON == nil || p.JSON.PriorState == nil || p.JSON.PriorState.Values == nil || p.JSON.PriorState.Values.RootModule == nil {
		return false
	}
	for _, r := range p.JSON.PriorState.Values.RootModule.Resources {
		if r.Address == render.Resource && r.Tainted {
			return true
		}
	}
	return false
}

// apply applies a saved plan and says by the exit code how it ended.
func (pr *project) apply(ctx context.Context, p *planned) error {
	if err := pr.keepSecrets(ctx, p.spec.Environment, p.copies); err != nil {
		return err
	}
	events, stop, err := pr.p.eventsFile(ctx)
	if err != nil {
		return err
	}
	runner := p.runner
	if runner.Env == nil {
		runner.Env = os.Environ()
	}
	runner.Env = append(slices.Clone(runner.Env), provider.EventsVariable+"="+events)
	if pr.getenv("SLIPWAY_BY") == "" {
		runner.Env = append(runner.Env, "SLIPWAY_BY="+pr.who(ctx)) // who holds the service's lease
	}
	err = pr.unlocked(ctx, runner, func() error {
		_, err := runner.Apply(ctx, planFile)
		return err
	})
	stop()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		env := p.spec.Environment
		return exitWith(ExitStillGoing, fmt.Errorf("nobody waits any more; AWS goes on with what it was told\nFollow it with: slipway status %s --follow\nStop it with:   slipway stop %s\nGo on with:     slipway deploy %s, as before: it takes up what goes on", env, env, env))
	}
	var failure *tfexec.Failure
	if !errors.As(err, &failure) {
		return err
	}
	return exitWith(pr.howItEnded(ctx, p.spec, failure), err)
}

// howItEnded asks AWS what became of a deployment whose apply failed.
func (pr *project) howItEnded(ctx context.Context, spec service.Spec, f *tfexec.Failure) int {
	switch said := f.Error(); { // by the provider, see its failure
	case strings.Contains(said, "is in the hands of"), strings.Contains(said, "was taken over by"):
		return ExitRefused
	case strings.Contains(said, "what ran before runs again"):
		return ExitRolledBack
	case strings.Contains(said, "and was not rolled back"):
		return ExitNotRolledBack
	case strings.Contains(said, "is still going on in AWS"):
		return ExitStillGoing
	case !strings.Contains(said, "deployment of"):
		return ExitFailed
	}
	cloud, err := pr.cloudOf(spec.Environment)
	if err != nil {
		return ExitFailed
	}
	seen, err := cloud.Deploy().Read(context.WithoutCancel(ctx), deploy.Ref{Cluster: spec.Cluster, Service: deploy.ServiceName(spec)})
	switch {
	case err != nil || seen.Last == nil:
		return ExitFailed
	case seen.Last.Open():
		return ExitStillGoing
	case seen.Last.Status == "ROLLBACK_SUCCESSFUL":
		return ExitRolledBack
	}
	return ExitNotRolledBack
}
