package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-ecs/slipway/internal/build"
	"github.com/slipway-ecs/slipway/internal/image"
	"github.com/slipway-ecs/slipway/internal/registry"
	"github.com/slipway-ecs/slipway/internal/release"
)

// test runs the service's tests.
func (pr *project) test(ctx context.Context) error {
	t := pr.file.Test
	if len(t.Command) == 0 {
		pr.p.Line("slipway.yaml names no tests")
		return nil
	}
	if t.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, t.Timeout, fmt.Errorf("they took longer than %s", t.Timeout))
		defer cancel()
	}
	dir := pr.dir
	if t.Folder != "" {
		dir = pr.path(t.Folder)
	}
	pr.p.Line("running %s", strings.Join(t.Command, " "))
	if err := build.RunTests(ctx, dir, t.Command, pr.details()); err != nil {
		return err
	}
	pr.p.Done("tests passed")
	return nil
}

// build makes the image of the working tree.
func (pr *project) build(ctx context.Context, src build.Source) (*build.Image, error) {
	b := pr.file.Build
	switch {
	case b.Ko != "":
		o := build.GoOptions{Dir: pr.dir, Package: b.Ko, LDFlags: b.LDFlags, Source: src, Progress: pr.details()}
		o.Platforms = b.Platforms
		if b.Base != "" {
			base, err := pr.registry.Pull(ctx, b.Base)
			if err != nil {
				return nil, fmt.Errorf("pulling the base image: %w", err)
			}
			o.Base, o.BaseName = base, b.Base
		}
		return build.Go(ctx, o)
	case b.Dockerfile != "":
		o := build.DockerfileOptions{Dockerfile: pr.path(b.Dockerfile), Context: pr.path(b.Context), Target: b.Target, Platforms: b.Platforms, Args: b.Args,
			Secrets: map[string]string{}, Source: src, Progress: pr.details()}
		for id, from := range b.Secrets {
			if !strings.HasPrefix(from, "env:") {
				from = pr.path(from)
			}
			o.Secrets[id] = from
		}
		return build.Dockerfile(ctx, o)
	}
	img, err := pr.registry.Pull(ctx, b.Image)
	if err != nil {
		return nil, fmt.Errorf("reading the image that is built already: %w", err)
	}
	h, err := img.Digest()
	if err != nil {
		return nil, err
	}
	return &build.Image{Content: img, Digest: image.Digest(h.String())}, nil
}

func (pr *project) path(p string) string {
	if p == "" || strings.HasPrefix(p, "/") {
		return p
	}
	return pr.dir + "/" + p
}

// push uploads the image with its tags and records how it came to be.
func (pr *project) push(ctx context.Context, img *build.Image, src build.Source, tested bool) (repo string, tags []string, err error) {
	if repo, err = pr.repository(ctx); err != nil {
		return "", nil, err
	}
	tagging, err := pr.tagPolicy().Tags(src.Revision)
	if err != nil {
		return "", nil, exitWith(ExitBadInput, err)
	}
	for _, s := range tagging.Skipped {
		pr.p.Line("git tag %s is left out: %s", s.Tag, s.Reason)
	}
	for _, tag := range tagging.Tags {
		if tag == image.Latest {
			if forward, why := pr.latestMoves(ctx, repo, src); !forward {
				pr.p.Line("latest stays: %s", why)
				continue
			}
		}
		tags = append(tags, tag)
	}
	digest, err := pr.registry.Push(ctx, repo, img.Content, tags...)
	if err != nil {
		return "", nil, err
	}
	if err := pr.attachSBOM(ctx, repo, digest, img, src); err != nil {
		return "", nil, err
	}
	built := release.Statement{Kind: release.Built, Subject: digest, Outcome: release.Succeeded, Commit: src.Commit, GitTags: src.GitTags, Author: src.Author, Dirty: src.Dirty, Details: builtDetails(src)}
	if err := pr.recordOnce(ctx, repo, built); err != nil {
		return "", nil, err
	}
	if tested {
		if err := pr.recordOnce(ctx, repo, release.Statement{Kind: release.Tested, Subject: digest, Outcome: release.Succeeded}); err != nil {
			return "", nil, err
		}
	}
	return repo, tags, nil
}

// sbomType is the artifact type under which other tools look for a bill of materials.
const sbomType = "application/spdx+json"

// attachSBOM stores the bill of materials beside the image. The same image has the same, once.
func (pr *project) attachSBOM(ctx context.Context, repo string, digest image.Digest, img *build.Image, src build.Source) error {
	if len(img.SBOM) == 0 {
		return nil
	}
	_, err := pr.registry.Put(ctx, repo, digest, sbomType, map[string]string{release.AnnotationCreated: src.Time.UTC().Format(time.RFC3339)}, img.SBOM)
	return err
}

// recordOnce records what is not the last that is recorded of its kind already: pushing again adds
// nothing.
func (pr *project) recordOnce(ctx context.Context, repo string, s release.Statement) error {
	own, err := pr.ledger.Read(ctx, repo, s.Subject)
	if err == nil { // otherwise it is written once more, which does no harm
		last, ok := release.Last(own, s.Kind, s.Environment)
		if ok && (pr.ledger.Signer == nil || last.Signature.By != "") && last.Outcome == s.Outcome && last.Commit == s.Commit && last.Author == s.Author &&
			last.Dirty == s.Dirty && last.BuildURL == pr.buildURL() && slices.Equal(last.GitTags, s.GitTags) {
			return nil
		}
	}
	return pr.record(ctx, repo, s)
}

// latestMoves says whether latest may go to this commit: never back.
func (pr *project) latestMoves(ctx context.Context, repo string, src build.Source) (bool, string) {
	have, err := pr.registry.Describe(ctx, repo+":"+image.Latest)
	var none *registry.NotFoundError
	if errors.As(err, &none) {
		return true, ""
	}
	if err != nil {
		return false, err.Error()
	}
	from, to := image.PointOf(have.Labels), image.Point{Commit: src.Commit, At: src.Time}
	relation, err := build.Relation(ctx, pr.dir, from.Commit, to.Commit)
	if err != nil {
		relation = image.Unknown
	}
	return image.MovesForward(from, to, relation)
}

// resolve turns what a person says (a digest, a tag, "repo@sha256:…", nothing) into a digest. Nothing
// means the image of the commit that is checked out.
func (pr *project) resolve(ctx context.Context, repo, ref string) (image.Digest, error) {
	if d, err := image.ParseDigest(ref); err == nil {
		return d, nil
	}
	if ref == "" {
		src, err := pr.source(ctx)
		if err != nil {
			return "", err
		}
		if ref, err = pr.tagPolicy().Hash(src.Revision); err != nil {
			return "", err
		}
	}
	if !strings.ContainsAny(ref, ":@/") {
		ref = repo + ":" + ref
	}
	d, err := pr.registry.Resolve(ctx, ref)
	var none *registry.NotFoundError
	if errors.As(err, &none) {
		return "", badInput("there is no image %s; build and push it first with: slipway build --push", ref)
	}
	return d, err
}

// size is how large an image is, for people; empty if it can't be told.
func size(img *build.Image) string {
	im, ok := img.Content.(v1.Image)
	if !ok {
		return ""
	}
	layers, err := im.Layers()
	if err != nil {
		return ""
	}
	var n int64
	for _, l := range layers {
		if s, err := l.Size(); err == nil {
			n += s
		}
	}
	return fmt.Sprintf("%.1f MB compressed", float64(n)/1e6)
}
