package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-ecs/slipway/internal/image"
)

// DockerfileOptions of Dockerfile.
type DockerfileOptions struct {
	Dockerfile string
	Context    string // folder; empty = the Dockerfile's
	Target     string
	Platforms  []string          // none = the engine's; with several the image is a list
	Args       map[string]string // no secrets: they stay in the image's history
	Secrets    map[string]string // id → file, or env:NAME; seen by RUN --mount=type=secret alone
	Source     Source
	Progress   io.Writer
	Engine     string // docker, podman or buildah; empty = the first that answers
}

// engine is a program that builds Dockerfiles.
type engine struct {
	name  string
	probe []string
	build []string
	save  func(id, tarball string) []string
}

var engines = []engine{
	{"docker", []string{"version", "--format", "{{.Server.Version}}"}, []string{"build"},
		func(id, to string) []string { return []string{"save", "--output", to, id} }},
	{"podman", []string{"version"}, []string{"build", "--format", "docker"},
		func(id, to string) []string {
			return []string{"save", "--format", "docker-archive", "--output", to, id}
		}},
	{"buildah", []string{"version"}, []string{"build", "--format", "docker"},
		func(id, to string) []string { return []string{"push", id, "docker-archive:" + to} }},
}

// findEngine asks each engine there is whether it works: a docker command without its daemon does not.
func findEngine(ctx context.Context, wanted string) (engine, error) {
	var why []string
	for _, e := range engines {
		if wanted != "" && e.name != wanted {
			continue
		}
		if _, err := exec.LookPath(e.name); err != nil {
			why = append(why, e.name+" is not on PATH")
			continue
		}
		out, err := exec.CommandContext(ctx, e.name, e.probe...).CombinedOutput()
		if err == nil {
			return e, nil
		}
		if ctx.Err() != nil {
			return engine{}, ctx.Err()
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		why = append(why, fmt.Sprintf("%s does not work (%s)", e.name, lines[len(lines)-1]))
	}
	if len(why) == 0 {
		return engine{}, fmt.Errorf("not supported: engine %q; there are docker, podman, buildah", wanted)
	}
	return engine{}, fmt.Errorf("a Dockerfile needs Docker, Podman or Buildah: %s; start or install one, or build a Go program with `build: { ko: . }`", strings.Join(why, ", "))
}

func (e engine) arguments(o DockerfileOptions, platform, idFile string) []string {
	args := append(slices.Clone(e.build), "--file", o.Dockerfile, "--iidfile", idFile)
	if o.Target != "" {
		args = append(args, "--target", o.Target)
	}
	if platform != "" {
		args = append(args, "--platform", platform)
	}
	for _, k := range slices.Sorted(maps.Keys(o.Args)) {
		args = append(args, "--build-arg", k+"="+o.Args[k])
	}
	for _, id := range slices.Sorted(maps.Keys(o.Secrets)) {
		from := "src=" + o.Secrets[id]
		if name, ok := strings.CutPrefix(o.Secrets[id], "env:"); ok {
			from = "env=" + name
		}
		args = append(args, "--secret", "id="+id+","+from)
	}
	labels := Labels(o.Source)
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		args = append(args, "--label", k+"="+labels[k])
	}
	return append(args, o.Context)
}

// Dockerfile builds with the engine that is there, with its own cache. The image is read out of the
// engine, so that it is pushed, checked and tagged as every other. Close it when it is pushed.
func Dockerfile(ctx context.Context, o DockerfileOptions) (*Image, error) {
	if _, err := os.Stat(o.Dockerfile); err != nil {
		return nil, fmt.Errorf("building a Dockerfile: %w", err)
	}
	if o.Context == "" {
		o.Context = filepath.Dir(o.Dockerfile)
	}
	e, err := findEngine(ctx, o.Engine)
	if err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp("", "slipway-build-")
	if err != nil {
		return nil, fmt.Errorf("building %s: %w", o.Dockerfile, err)
	}
	img, err := e.all(ctx, o, work)
	if err != nil {
		_ = os.RemoveAll(work)
		return nil, fmt.Errorf("building %s: %w", o.Dockerfile, err)
	}
	img.cleanup = func() { _ = os.RemoveAll(work) }
	return img, nil
}

// all builds the image of each platform, and of several a list.
func (e engine) all(ctx context.Context, o DockerfileOptions, work string) (*Image, error) {
	for id, from := range o.Secrets {
		if name, ok := strings.CutPrefix(from, "env:"); ok {
			if os.Getenv(name) == "" {
				return nil, fmt.Errorf("the build secret %s is not there: %s is not set", id, name)
			}
		} else if _, err := os.Stat(from); err != nil {
			return nil, fmt.Errorf("the build secret %s is not there: %w", id, err)
		}
	}
	platforms, err := dockerfilePlatforms(o.Platforms)
	if err != nil {
		return nil, err
	}
	if len(platforms) == 1 {
		return e.run(ctx, o, platforms[0], work)
	}
	list := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, platform := range platforms {
		dir, err := os.MkdirTemp(work, "platform-")
		if err != nil {
			return nil, err
		}
		p, err := v1.ParsePlatform(platform)
		if err != nil {
			return nil, err
		}
		img, fits, err := e.forPlatform(ctx, o, *p, dir)
		if err == nil && !fits { // an engine may take what it built from scratch for another platform
			again := e
			again.build = append(slices.Clone(e.build), "--no-cache")
			img, fits, err = again.forPlatform(ctx, o, *p, dir)
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("for %s: %w", platform, err)
		case !fits:
			return nil, fmt.Errorf("for %s: %s builds for another platform; it needs emulation (qemu-user-static), or a base image of that platform", platform, e.name)
		}
		list = mutate.AppendManifests(list, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: p}})
	}
	h, err := list.Digest()
	if err != nil {
		return nil, err
	}
	return &Image{Content: list, Digest: image.Digest(h.String())}, nil
}

// forPlatform builds for one platform of several, and says whether the image is for it.
func (e engine) forPlatform(ctx context.Context, o DockerfileOptions, p v1.Platform, dir string) (v1.Image, bool, error) {
	one, err := e.run(ctx, o, p.String(), dir)
	if err != nil {
		return nil, false, err
	}
	img, ok := one.Content.(v1.Image)
	if !ok {
		return nil, false, fmt.Errorf("%T is no image", one.Content)
	}
	f, err := img.ConfigFile()
	if err != nil {
		return nil, false, err
	}
	return img, f.Architecture == p.Architecture, nil
}

func dockerfilePlatforms(names []string) ([]string, error) {
	if len(names) == 0 {
		return []string{""}, nil
	}
	_, err := parsePlatforms(names)
	return names, err
}

func (e engine) run(ctx context.Context, o DockerfileOptions, platform, work string) (*Image, error) {
	out := o.Progress
	if out == nil {
		out = io.Discard
	}
	idFile, archive := filepath.Join(work, "id"), filepath.Join(work, "image.tar")
	kit, err := e.buildKit(ctx, o)
	if err != nil {
		return nil, err
	}
	env := append(os.Environ(), "DOCKER_BUILDKIT="+kit, "SOURCE_DATE_EPOCH="+strconv.FormatInt(o.Source.Time.Unix(), 10))
	if err := e.command(ctx, env, out, e.arguments(o, platform, idFile)...); err != nil {
		return nil, err
	}
	id, err := os.ReadFile(idFile)
	if err != nil {
		return nil, err
	}
	_ = os.Remove(archive) // of a build before this one: podman would not write over it
	if err := e.command(ctx, env, out, e.save(strings.TrimSpace(string(id)), archive)...); err != nil {
		return nil, err
	}
	img, err := tarball.ImageFromPath(archive, nil)
	if err != nil {
		return nil, fmt.Errorf("reading what %s saved: %w", e.name, err)
	}
	var h v1.Hash
	if h, err = img.Digest(); err != nil {
		return nil, fmt.Errorf("reading what %s saved: %w", e.name, err)
	}
	return &Image{Content: img, Digest: image.Digest(h.String())}, nil
}

// buildKit says whether to build with BuildKit, which gives the files it writes the commit's time and
// can hand secrets to a build. Docker's client has it in its buildx component, which is not always
// installed; the older builder does all the rest.
func (e engine) buildKit(ctx context.Context, o DockerfileOptions) (string, error) {
	if e.name != "docker" || exec.CommandContext(ctx, e.name, "buildx", "version").Run() == nil {
		return "1", nil
	}
	if len(o.Secrets) > 0 {
		return "", errors.New("build secrets need Docker's buildx component: install it (docker-buildx-plugin), or build with Podman")
	}
	return "0", nil
}

func (e engine) command(ctx context.Context, env []string, out io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, e.name, args...)
	cmd.Env, cmd.Stdout = env, out
	end := &lastLines{}
	cmd.Stderr = io.MultiWriter(out, end)
	group(cmd)
	cmd.Cancel = func() error { return terminate(cmd.Process) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &exit):
		return fmt.Errorf("%s %s ended with %d:\n%s", e.name, args[0], exit.ExitCode(), end)
	}
	return err
}

// lastLines keeps the end of what an engine says: the error is there.
type lastLines struct{ text string }

const lastLinesSize = 4 << 10

func (l *lastLines) Write(p []byte) (int, error) {
	l.text += string(p)
	if n := len(l.text) - lastLinesSize; n > 0 {
		l.text = l.text[n:]
	}
	return len(p), nil
}

func (l *lastLines) String() string { return strings.TrimSpace(l.text) }
