package tfexec

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// The module that OpenTofu is built from: its version, every dependency's and their checksums, so that
// the same sources are built everywhere. OpenTofu's go.mod has a replace directive, which counts only
// in the main module; that is why `go install` of it does not work and this module exists.
var (
	//go:embed opentofu/go.mod.txt
	opentofuMod []byte
	//go:embed opentofu/go.sum.txt
	opentofuSum []byte
)

const (
	// OpenTofuVersion is the one that is built.
	OpenTofuVersion = "1.12.6"
	opentofuMain    = "github.com/opentofu/opentofu/cmd/tofu"
	// How many packages it has, for the progress lines only.
	opentofuPackages = 1780
	lockPoll         = 500 * time.Millisecond
	workPrefix       = "build-"
)

// BuildOpenTofu returns the OpenTofu in the user's cache folder and builds it if there is none. Two
// that need it at once build it once.
func BuildOpenTofu(ctx context.Context, o Options) (Tool, error) {
	say := o.Progress
	if say == nil {
		say = func(string) {}
	}
	cache := o.CacheDir
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return Tool{}, fmt.Errorf("building OpenTofu: finding the user's cache folder: %w", err)
		}
		cache = filepath.Join(user, "slipway")
	}
	dir, err := filepath.Abs(filepath.Join(cache, "opentofu-"+OpenTofuVersion)) // it is built elsewhere
	if err != nil {
		return Tool{}, fmt.Errorf("building OpenTofu: %w", err)
	}
	path := filepath.Join(dir, "tofu"+exeSuffix())
	if t, err := probe(ctx, path); err == nil {
		return t, nil
	}
	goBinary, err := exec.LookPath("go")
	if err != nil {
		return Tool{}, fmt.Errorf("there is no terraform and no tofu on PATH, and no go to build OpenTofu with: install Terraform or OpenTofu (%s or newer), or set %s", Minimum, EnvTool)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Tool{}, fmt.Errorf("building OpenTofu: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(dir, "lock"), func() { say("waiting for another slipway that builds OpenTofu") })
	if err != nil {
		return Tool{}, fmt.Errorf("building OpenTofu: %w", err)
	}
	defer unlock()
	if t, err := probe(ctx, path); err == nil {
		return t, nil // the other one built it
	}
	if left, err := filepath.Glob(filepath.Join(dir, workPrefix+"*")); err == nil {
		for _, l := range left { // of one that was killed: nobody else builds while we have the lock
			_ = os.RemoveAll(l)
		}
	}
	if err := buildTofu(ctx, goBinary, dir, path, say); err != nil {
		return Tool{}, fmt.Errorf("building OpenTofu %s: %w", OpenTofuVersion, err)
	}
	return probe(ctx, path)
}

func exeSuffix() string {
	if runtime.GOOS == "windows" {
		return ".exe"
	}
	return ""
}

func buildTofu(ctx context.Context, goBinary, dir, path string, say func(string)) error {
	work, err := os.MkdirTemp(dir, workPrefix)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	for name, data := range map[string][]byte{"go.mod": opentofuMod, "go.sum": opentofuSum} {
		if err := os.WriteFile(filepath.Join(work, name), data, 0o644); err != nil {
			return err
		}
	}
	out := filepath.Join(work, "tofu"+exeSuffix())
	cmd := exec.CommandContext(ctx, goBinary, "build", "-v", "-mod=readonly", "-buildvcs=false", "-trimpath",
		"-ldflags=-s -w -X github.com/opentofu/opentofu/version.dev=no", "-o", out, opentofuMain)
	cmd.Dir = work
	// The user's flags are for the user's modules.
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "GO111MODULE=on", "CGO_ENABLED=0", "GOOS=", "GOARCH=")
	cmd.Cancel = func() error { return interrupt(cmd.Process) }
	cmd.WaitDelay = 10 * time.Second
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	say(fmt.Sprintf("no Terraform found: building OpenTofu %s from its Go module, once (some minutes)", OpenTofuVersion))
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	last := follow(stderr, say)
	if err := cmd.Wait(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("go build: %w%s", err, indent(last))
	}
	if _, err := probe(ctx, out); err != nil {
		return err
	}
	if err := os.Rename(out, path); err != nil {
		return err
	}
	say(fmt.Sprintf("OpenTofu %s is built, in %s", OpenTofuVersion, time.Since(start).Round(time.Second)))
	return nil
}

// follow turns the output of go build into a progress line a second, and returns the end of what was
// neither a package nor a download: the errors.
func follow(r io.Reader, say func(string)) string {
	var errs []string
	var said time.Time
	modules, packages := 0, 0
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "go: downloading "):
			modules++
		case !strings.ContainsAny(line, " :#") && line != "":
			packages++
		default:
			if errs = append(errs, line); len(errs) > 20 {
				errs = errs[1:]
			}
			continue
		}
		if time.Since(said) >= time.Second {
			said = time.Now()
			if packages == 0 {
				say(fmt.Sprintf("OpenTofu: %d modules downloaded", modules))
			} else {
				say(fmt.Sprintf("OpenTofu: %d of about %d packages compiled", packages, opentofuPackages))
			}
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, os.ErrClosed) {
		_, _ = io.Copy(io.Discard, r) // go on reading, or go build would block
	}
	return strings.Join(errs, "\n")
}
