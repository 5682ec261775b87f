package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	ko "github.com/google/ko/pkg/build"
	"github.com/sigstore/cosign/v3/pkg/oci"

	"github.com/slipway-ecs/slipway/internal/image"
)

// Image is what was built.
type Image struct {
	Content ko.Result // a v1.Image or, for several platforms, a v1.ImageIndex: what is pushed
	Digest  image.Digest
	// SBOM is the software bill of materials in SPDX JSON; empty where the builder makes none.
	SBOM     []byte
	SBOMType string
	cleanup  func()
}

// Close removes what the image is read from.
func (i *Image) Close() {
	if i.cleanup != nil {
		i.cleanup()
	}
}

// GoOptions of Go.
type GoOptions struct {
	Dir       string   // of the module or inside it
	Package   string   // import path or folder, such as "." or "./cmd/shop"
	Platforms []string // linux/amd64, linux/arm64; none = linux and this machine's
	LDFlags   []string // beside those that set the version
	Version   string   // what main.version is set to; empty = the short hash
	Source    Source
	// Base is what the program is put on, from wherever it was pulled; nil = made here.
	Base     ko.Result
	BaseName string    // its reference, for people
	Progress io.Writer // lines; nil = none
}

// CompileError is a program that does not build. Its text is the compiler's.
type CompileError struct {
	Package string
	Output  string
}

func (e *CompileError) Error() string { return fmt.Sprintf("building %s:\n%s", e.Package, e.Output) }

// ko reports by the log package's own logger. While it builds, that is ours.
var koLog sync.Mutex

// Go builds the image of a Go main package. There is no daemon, and the same commit gives the same
// digest: times are the commit's, paths are trimmed, and nothing of the machine goes in.
func Go(ctx context.Context, o GoOptions) (*Image, error) {
	if _, err := exec.LookPath("go"); err != nil {
		return nil, errors.New("building a Go program needs go on PATH: install it from https://go.dev/dl, or build another way")
	}
	out := o.Progress
	if out == nil {
		out = io.Discard
	}
	platforms, err := parsePlatforms(o.Platforms)
	if err != nil {
		return nil, err
	}
	version := o.Version
	if version == "" {
		if version, err = image.DefaultPolicy().Hash(o.Source.Revision); err != nil {
			return nil, fmt.Errorf("building %s: %w", o.Package, err)
		}
	}
	created := v1.Time{Time: o.Source.Time.UTC()}
	base, baseName := o.Base, o.BaseName
	if base == nil {
		baseName = "scratch"
		if len(platforms) == 1 {
			base, err = scratchBase(platforms[0], created)
		} else {
			base, err = scratchIndex(platforms, created)
		}
		if err != nil {
			return nil, fmt.Errorf("building %s: %w", o.Package, err)
		}
	}
	baseRef, err := name.ParseReference(baseName)
	if err != nil {
		return nil, fmt.Errorf("building %s: base image: %w", o.Package, err)
	}
	env := []string{"CGO_ENABLED=0", "GOOS=linux"}
	if len(platforms) == 1 {
		env = append(env, "GOARCH="+platforms[0].Architecture)
	}
	var names []string
	for _, p := range platforms {
		names = append(names, p.String())
	}
	opts := []ko.Option{
		ko.WithBaseImages(func(context.Context, string) (name.Reference, ko.Result, error) { return baseRef, base, nil }),
		ko.WithPlatforms(names...), ko.WithJobs(1), ko.WithTrimpath(true),
		ko.WithCreationTime(created), ko.WithKoDataCreationTime(created),
		ko.WithDefaultEnv(env),
		// Git's facts are labels, not stamps: a git tag that is added later would change the program.
		ko.WithDefaultFlags([]string{"-trimpath", "-buildvcs=false"}),
		ko.WithLdflags(append([]string{"-s", "-w", "-buildid=", "-X main.version=" + version}, o.LDFlags...)),
		ko.WithSPDX("slipway"),
	}
	if o.Base == nil {
		opts = append(opts, ko.WithUser(User))
	}
	for k, v := range Labels(o.Source) {
		opts = append(opts, ko.WithLabel(k, v), ko.WithAnnotation(k, v))
	}

	koLog.Lock()
	defer koLog.Unlock()
	before, flags := log.Writer(), log.Flags()
	log.SetOutput(out)
	log.SetFlags(0)
	defer func() { log.SetOutput(before); log.SetFlags(flags) }()

	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("building %s: %w", o.Package, err)
	}
	b, err := ko.NewGo(ctx, dir, opts...)
	if err != nil {
		return nil, fmt.Errorf("building %s: %w", o.Package, err)
	}
	path, err := b.QualifyImport(local(dir, o.Package))
	if err != nil {
		return nil, fmt.Errorf("building %s: %w", o.Package, err)
	}
	if err := b.IsSupportedReference(path); err != nil {
		return nil, fmt.Errorf("building %s in %s: %w", o.Package, o.Dir, err)
	}
	start := time.Now()
	result, err := b.Build(ctx, path)
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("building %s: %w", o.Package, context.Cause(ctx))
		}
		if _, text, ok := strings.Cut(err.Error(), "go build: exit status "); ok {
			_, text, _ = strings.Cut(text, ": ")
			return nil, &CompileError{o.Package, strings.TrimSpace(text)}
		}
		return nil, fmt.Errorf("building %s: %w", o.Package, err)
	}
	h, err := result.Digest()
	if err != nil {
		return nil, fmt.Errorf("building %s: %w", o.Package, err)
	}
	img := &Image{Content: result, Digest: image.Digest(h.String())}
	if err := img.readSBOM(); err != nil {
		return nil, fmt.Errorf("building %s: reading its bill of materials: %w", o.Package, err)
	}
	_, _ = fmt.Fprintf(out, "Built %s for %s in %s: %s\n", strings.TrimPrefix(path, ko.StrictScheme), strings.Join(names, ", "),
		time.Since(start).Round(100*time.Millisecond), img.Digest)
	return img, nil
}

// local makes of a folder what the go command takes for one.
func local(dir, pkg string) string {
	if pkg == "" {
		return "."
	}
	if strings.HasPrefix(pkg, ".") || filepath.IsAbs(pkg) {
		return pkg
	}
	if info, err := os.Stat(filepath.Join(dir, pkg)); err == nil && info.IsDir() {
		return "./" + pkg
	}
	return pkg
}

var knownPlatforms = []string{"linux/amd64", "linux/arm64"}

func parsePlatforms(names []string) ([]v1.Platform, error) {
	if len(names) == 0 {
		names = []string{"linux/" + runtime.GOARCH}
	}
	var out []v1.Platform
	for _, n := range names {
		if !slices.Contains(knownPlatforms, n) {
			return nil, fmt.Errorf("not supported: platform %q; ECS runs %s", n, strings.Join(knownPlatforms, " and "))
		}
		p, err := v1.ParsePlatform(n)
		if err != nil {
			return nil, err
		}
		out = append(out, *p)
	}
	return out, nil
}

// Labels say in the image what it was made of.
func Labels(s Source) map[string]string {
	l := map[string]string{image.LabelRevision: s.Commit, image.LabelCreated: s.Time.UTC().Format(time.RFC3339)}
	if s.Dirty {
		l[image.LabelRevision] += image.DirtySuffix
	}
	if s.Remote != "" {
		l[image.LabelSource] = s.Remote
	}
	return l
}

func (i *Image) readSBOM() error {
	e, ok := i.Content.(oci.SignedEntity)
	if !ok {
		return nil
	}
	f, err := e.Attachment("sbom")
	if err != nil {
		return nil // none was made
	}
	if i.SBOM, err = f.Payload(); err != nil {
		return err
	}
	mt, err := f.FileMediaType()
	if err != nil {
		return err
	}
	i.SBOMType = string(mt)
	return nil
}
