package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/slipway-ecs/slipway/internal/build"
	"github.com/slipway-ecs/slipway/internal/image"
	"github.com/slipway-ecs/slipway/internal/pipeline"
	"github.com/slipway-ecs/slipway/internal/pipeline/report"
	"github.com/slipway-ecs/slipway/internal/registry"
	"github.com/slipway-ecs/slipway/internal/release"
)

// The stages up to the registry. Before an image is there, what a stage did is kept in the service's
// folder, where the next one may find it: a result of the tests, the image itself.

func (d *delivery) folder() (string, error) {
	dir := filepath.Join(d.pr.dir, ".slipway", "pipeline")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making the pipeline's folder: %w", err)
	}
	// Nothing of .slipway belongs in a commit.
	return dir, os.WriteFile(filepath.Join(d.pr.dir, ".slipway", ".gitignore"), []byte("*\n"), 0o644)
}

// testedFile says that the tests of the commit have passed here. It is written after they have.
func (d *delivery) testedFile() string {
	return filepath.Join(d.pr.dir, ".slipway", "pipeline", d.src.Commit+".tested")
}

func (d *delivery) testedHere() bool {
	data, err := os.ReadFile(d.testedFile())
	return err == nil && strings.TrimSpace(string(data)) == d.src.Commit
}

// look is find for stages that can do without an answer, and so do not wait long for it.
func (d *delivery) look(ctx context.Context) ([]release.Statement, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	return d.find(ctx)
}

func (d *delivery) test(ctx context.Context) (pipeline.Result, error) {
	own, err := d.look(ctx)
	if err != nil { // a machine that tests need not reach the registry
		d.pr.p.Line("whether they have passed already cannot be told: %v", err)
	}
	if t, ok := release.Last(own, release.Tested, ""); ok && t.Outcome == release.Succeeded {
		return pipeline.Result{Already: true, Said: "its tests have passed, " + t.At.UTC().Format(time.RFC3339)}, nil
	}
	if d.testedHere() {
		return pipeline.Result{Already: true, Said: "its tests have passed here"}, nil
	}
	said, err := d.runTests(ctx)
	if failed := (*build.TestFailure)(nil); errors.As(err, &failed) && d.digest != "" {
		err = errors.Join(err, d.pr.record(context.WithoutCancel(ctx), d.repo, release.Statement{Kind: release.Tested, Subject: d.digest, Outcome: release.Failed}))
	}
	if err != nil {
		return pipeline.Result{}, err
	}
	if d.digest != "" {
		err = d.pr.record(ctx, d.repo, release.Statement{Kind: release.Tested, Subject: d.digest, Outcome: release.Succeeded})
	}
	return pipeline.Result{Said: said}, err
}

// runTests runs them, writes the report and, if they pass, notes it.
func (d *delivery) runTests(ctx context.Context) (said string, err error) {
	pr, t := d.pr, d.pr.file.Test
	dir, err := d.folder()
	if err != nil {
		return "", err
	}
	if len(t.Command) == 0 {
		return "slipway.yaml names no tests", d.noteTested(dir)
	}
	if t.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, t.Timeout, fmt.Errorf("they took longer than %s", t.Timeout))
		defer cancel()
	}
	where := pr.dir
	if t.Folder != "" {
		where = pr.path(t.Folder)
	}
	command, out := t.Command, pr.details()
	var events report.GoTest
	goTest := len(pr.file.Pipeline.JUnit) == 0 && len(command) > 1 && command[0] == "go" && command[1] == "test"
	if goTest {
		command = append([]string{"go", "test", "-json"}, command[2:]...)
		show := out
		out = &lineWriter{f: func(line string) {
			if s := events.Line(line); strings.TrimSpace(s) != "" {
				_, _ = io.WriteString(show, s+"\n")
			}
		}}
	}
	for _, old := range d.junit() { // of a run before
		_ = os.Remove(old)
	}
	pr.p.Line("running %s", strings.Join(t.Command, " "))
	began := pr.now()
	failed := build.RunTests(ctx, where, command, out)
	suites := events.Suites()
	if len(suites) == 0 {
		c := report.Case{Name: strings.Join(t.Command, " "), Took: pr.now().Sub(began)}
		if failed != nil {
			c.Failed, c.Failure = true, failed.Error()
		}
		suites = []report.Suite{{Name: pr.file.Service, Cases: []report.Case{c}}}
	}
	said = "tests passed"
	if files := d.junit(); len(files) > 0 {
		err = d.copyReports(files)
	} else {
		err = d.writeJUnit("test.xml", suites)
		if all, _, skipped := report.Tests(suites); goTest {
			said = fmt.Sprintf("%d tests passed", all-skipped)
		}
	}
	if err := errors.Join(failed, err); err != nil {
		return "", err
	}
	return said, d.noteTested(dir)
}

// junit are the reports the tests have written.
func (d *delivery) junit() []string {
	var out []string
	for _, pattern := range d.pr.file.Pipeline.JUnit {
		found, err := filepath.Glob(filepath.Join(d.pr.dir, pattern))
		if err == nil { // else the definition would not have been read
			out = append(out, found...)
		}
	}
	return out
}

func (d *delivery) copyReports(files []string) error {
	for i, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return fmt.Errorf("reading the tests' report: %w", err)
		}
		name := "test.xml"
		if len(files) > 1 {
			name = fmt.Sprintf("test-%d.xml", i+1)
		}
		if err := d.writeReport(name, data); err != nil {
			return err
		}
	}
	return nil
}

func (d *delivery) noteTested(dir string) error {
	if err := writeWhole(filepath.Join(dir, d.src.Commit+".tested"), []byte(d.src.Commit+"\n")); err != nil {
		return fmt.Errorf("noting that the tests have passed: %w", err)
	}
	return nil
}

// writeWhole writes all of a file or nothing.
func writeWhole(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

func (d *delivery) writeReport(name string, data []byte) error {
	if err := os.MkdirAll(d.reports, 0o755); err != nil {
		return fmt.Errorf("making the reports' folder: %w", err)
	}
	if err := writeWhole(filepath.Join(d.reports, name), data); err != nil {
		return fmt.Errorf("writing a report: %w", err)
	}
	return nil
}

func (d *delivery) writeJUnit(name string, suites []report.Suite) error {
	data, err := report.JUnit(suites)
	if err != nil {
		return err
	}
	return d.writeReport(name, data)
}

// kept is the image of the commit as the stage build has left it.
func (d *delivery) kept() string {
	return filepath.Join(d.pr.dir, ".slipway", "pipeline", d.src.Commit+".image")
}

func (d *delivery) build(ctx context.Context) (pipeline.Result, error) {
	if _, err := d.look(ctx); err != nil { // nor one that builds
		d.pr.p.Line("whether it is pushed already cannot be told: %v", err)
	}
	if d.digest != "" {
		return pipeline.Result{Already: true, Said: fmt.Sprintf("the image of %s is in the registry: %s", d.hash, d.digest.Short())}, nil
	}
	if _, digest, err := openKept(d.kept()); err == nil {
		return pipeline.Result{Already: true, Said: fmt.Sprintf("built already: %s", digest.Short())}, nil
	}
	img, err := d.pr.build(ctx, d.src)
	if err != nil {
		return pipeline.Result{}, err
	}
	defer img.Close()
	if d.pr.file.Build.Image == "" { // one that is there already is copied by push
		if err := d.keep(img); err != nil {
			return pipeline.Result{}, fmt.Errorf("keeping the image for the next stage: %w", err)
		}
	}
	return pipeline.Result{Said: fmt.Sprintf("built %s from commit %s %s", img.Digest.Short(), d.hash, size(img))}, nil
}

// keep writes the image as an OCI layout, in one step for those who look.
func (d *delivery) keep(img *build.Image) error {
	dir, err := d.folder()
	if err != nil {
		return err
	}
	left, err := filepath.Glob(filepath.Join(dir, "*.image-tmp*")) // of runs that were killed
	if err != nil {
		return err
	}
	for _, l := range left {
		_ = os.RemoveAll(l)
	}
	tmp, err := os.MkdirTemp(dir, "*.image-tmp")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	path, err := layout.Write(tmp, empty.Index)
	if err != nil {
		return err
	}
	switch c := img.Content.(type) {
	case ggcr.Image:
		err = path.AppendImage(c)
	case ggcr.ImageIndex:
		err = path.AppendIndex(c)
	default:
		err = fmt.Errorf("%T is neither an image nor a list of images", c)
	}
	if err != nil {
		return err
	}
	_ = os.RemoveAll(d.kept())
	return os.Rename(tmp, d.kept())
}

func openKept(dir string) (registry.Image, image.Digest, error) {
	path, err := layout.FromPath(dir)
	if err != nil {
		return nil, "", err
	}
	index, err := path.ImageIndex()
	if err != nil {
		return nil, "", err
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, "", err
	}
	if len(m.Manifests) != 1 {
		return nil, "", fmt.Errorf("%s has %d images, not one", dir, len(m.Manifests))
	}
	h := m.Manifests[0].Digest
	var img registry.Image
	if m.Manifests[0].MediaType.IsIndex() {
		img, err = index.ImageIndex(h)
	} else {
		img, err = index.Image(h)
	}
	return img, image.Digest(h.String()), err
}

// push uploads the image once. A run that was killed between the upload and the ledger is gone on with:
// the image that has the commit's tag is the commit's image.
func (d *delivery) push(ctx context.Context) (pipeline.Result, error) {
	var r pipeline.Result
	own, err := d.find(ctx)
	if err != nil {
		return r, err
	}
	// Before the image is there, so that there is none whose tests are not known.
	if tested, ok := release.Last(own, release.Tested, ""); (!ok || tested.Outcome != release.Succeeded) && !d.tested && !d.testedHere() {
		d.pr.p.Line("it is not known here whether the tests of %s pass; running them", d.hash)
		if _, err := d.runTests(ctx); err != nil {
			return r, err
		}
	}
	if _, built := release.Last(own, release.Built, ""); built {
		r.Already, r.Said = true, fmt.Sprintf("pushed already: %s", d.digest.Short())
	} else {
		img, err := d.content(ctx)
		if err != nil {
			return r, err
		}
		defer img.Close()
		d.pr.p.Line("pushing %s", img.Digest.Short())
		repo, tags, err := d.pr.push(ctx, img, d.src, false)
		if err != nil {
			return r, err
		}
		d.digest = img.Digest
		r.Said = fmt.Sprintf("pushed %s@%s as %s", repo, img.Digest, strings.Join(tags, ", "))
	}
	if t, ok := release.Last(own, release.Tested, ""); !ok || t.Outcome != release.Succeeded {
		if err := d.pr.record(ctx, d.repo, release.Statement{Kind: release.Tested, Subject: d.digest, Outcome: release.Succeeded}); err != nil {
			return r, err
		}
	}
	_ = os.RemoveAll(d.kept())
	return r, nil
}

// content is the commit's image: from the registry, as it was kept, or built anew.
func (d *delivery) content(ctx context.Context) (*build.Image, error) {
	if d.digest != "" {
		img, err := d.pr.registry.Pull(ctx, d.repo+"@"+string(d.digest))
		if err != nil {
			return nil, err
		}
		return &build.Image{Content: img, Digest: d.digest}, nil
	}
	if img, digest, err := openKept(d.kept()); err == nil {
		return &build.Image{Content: img, Digest: digest}, nil
	}
	return d.pr.build(ctx, d.src)
}

// builtDetails are what later deliveries ask of this one: which came first on which branch.
func builtDetails(src build.Source) map[string]string {
	out := map[string]string{"committed": src.Time.UTC().Format(time.RFC3339)}
	if src.Branch != "" {
		out["branch"] = src.Branch
	}
	return out
}

// pushedImage is what the ledger tells of a pushed image.
func pushedImage(history []release.Statement, digest image.Digest) pipeline.Image {
	b, ok := release.Last(release.About(history, digest), release.Built, "")
	if !ok {
		return pipeline.Image{Digest: string(digest)}
	}
	at, _ := time.Parse(time.RFC3339, b.Details["committed"]) // zero if it is not recorded
	return pipeline.Image{Digest: string(digest), Commit: b.Commit, Branch: b.Details["branch"], Committed: at, Pushed: b.At}
}

// newer is the newest image of the same branch that is newer than ours.
func (d *delivery) newer(history []release.Statement) (pipeline.Image, bool) {
	var all []pipeline.Image
	for _, s := range history {
		if s.Kind == release.Built && s.Outcome == release.Succeeded && !s.Dirty {
			all = append(all, pushedImage(history, s.Subject))
		}
	}
	return pipeline.Newer(pushedImage(history, d.digest), all)
}

// describe is one line about the delivery.
func (d *delivery) describe(ctx context.Context) (string, map[string]any, error) {
	if _, err := d.find(ctx); err != nil {
		return "", nil, err
	}
	parts, facts := []string{d.name()}, map[string]any{"service": d.pr.file.Service, "commit": d.src.Commit}
	if d.digest == "" {
		return strings.Join(append(parts, "not pushed"), " · "), facts, nil
	}
	facts["digest"] = d.digest
	parts = append(parts, d.digest.Short())
	history, err := d.history(ctx)
	if err != nil {
		return "", nil, err
	}
	envs := map[string]string{}
	for _, env := range d.pr.file.Pipeline.Environments {
		state := ""
		if s, ok := release.Last(release.About(history, d.digest), release.DeployedTo, env); ok {
			state = map[release.Outcome]string{release.Succeeded: "was there", release.Failed: "failed"}[s.Outcome]
		}
		if now, ok := release.Current(history, env); ok && now.Digest == d.digest {
			state = "runs it"
		}
		if state != "" {
			envs[env] = state
			parts = append(parts, env+" "+state)
		}
	}
	facts["environments"] = envs
	return strings.Join(parts, " · "), facts, nil
}
