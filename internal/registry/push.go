package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-ecs/slipway/internal/image"
)

// Image is an image or a manifest list, from whatever made it.
type Image interface {
	remote.Taggable
	Digest() (v1.Hash, error)
	MediaType() (types.MediaType, error)
	Size() (int64, error)
}

// Push uploads an image and puts tags on it. Run again it does nothing. A tag that does not move (see
// image.Moves) and is on another image fails it before anything is uploaded. Layers go first, then the
// first tag, and the last tag last: latest is never on what is not there.
func (c Client) Push(ctx context.Context, repo string, img Image, tags ...string) (image.Digest, error) {
	switch img.(type) {
	case v1.Image, v1.ImageIndex:
	default: // of which only the manifest would be pushed
		return "", fmt.Errorf("pushing to %s: %T is neither an image nor a list of images", repo, img)
	}
	h, err := img.Digest()
	if err != nil {
		return "", fmt.Errorf("pushing to %s: %w", repo, err)
	}
	d := image.Digest(h.String())
	r, err := repository(repo)
	if err != nil {
		return "", err
	}
	for _, tag := range tags {
		if _, err := c.check(ctx, r, tag, d); err != nil {
			return "", fmt.Errorf("pushing to %s: %w", repo, err)
		}
	}
	// By digest, so that a push without tags works and the check of each tag stays in one place.
	ref := r.Digest(string(d))
	if err := remote.Push(ref, img, c.options(ctx)...); err != nil {
		return "", fmt.Errorf("pushing %s: %w", ref, fault(ref, err))
	}
	for _, tag := range tags {
		if err := c.put(ctx, r, tag, d, img); err != nil {
			return "", err
		}
	}
	return d, nil
}

// Pull is an image of any registry, read when it is needed: to build on, or to push elsewhere.
func (c Client) Pull(ctx context.Context, ref string) (Image, error) {
	r, err := reference(ref)
	if err != nil {
		return nil, err
	}
	d, err := remote.Get(r, c.options(ctx)...)
	if err != nil {
		return nil, fmt.Errorf("pulling %s: %w", ref, fault(r, err))
	}
	var img Image
	if d.MediaType.IsIndex() {
		img, err = d.ImageIndex()
	} else {
		img, err = d.Image()
	}
	if err != nil {
		return nil, fmt.Errorf("pulling %s: %w", ref, err)
	}
	return img, nil
}

// Retag puts a tag on an image that is in the repository.
func (c Client) Retag(ctx context.Context, repo string, d image.Digest, tag string) error {
	r, err := repository(repo)
	if err != nil {
		return err
	}
	ref := r.Digest(string(d))
	desc, err := remote.Get(ref, c.options(ctx)...)
	if err != nil {
		return fmt.Errorf("tagging %s with %s: %w", ref, tag, fault(ref, err))
	}
	return c.put(ctx, r, tag, d, desc)
}

// check says whether the tag is on the image already; it is an error if it is on another and does not move.
func (c Client) check(ctx context.Context, r name.Repository, tag string, d image.Digest) (bool, error) {
	if err := image.CheckTag(tag); err != nil {
		return false, err
	}
	t := r.Tag(tag)
	has, err := remote.Head(t, c.options(ctx)...)
	if err != nil {
		if missing := (*NotFoundError)(nil); errors.As(fault(t, err), &missing) {
			return false, nil
		}
		return false, fault(t, err)
	}
	switch {
	case has.Digest.String() == string(d):
		return true, nil
	case image.Moves(tag):
		return false, nil
	}
	return false, &TagTakenError{r.Name(), tag, image.Digest(has.Digest.String()), d}
}

func (c Client) put(ctx context.Context, r name.Repository, tag string, d image.Digest, t remote.Taggable) error {
	there, err := c.check(ctx, r, tag, d)
	if err != nil {
		return fmt.Errorf("tagging %s with %s: %w", d.Short(), tag, err)
	}
	if there {
		return nil
	}
	if err := remote.Tag(r.Tag(tag), t, c.options(ctx)...); err != nil {
		if has := c.taken(ctx, r, tag, d, err); has != nil {
			err = has
		}
		return fmt.Errorf("tagging %s with %s: %w", d.Short(), tag, fault(r.Tag(tag), err))
	}
	return nil
}

// taken finds out that somebody was faster, or that the repository lets no tag move at all: ECR
// answers a put on an immutable tag with 400 and its own words.
func (c Client) taken(ctx context.Context, r name.Repository, tag string, d image.Digest, err error) *TagTakenError {
	var t *transport.Error
	if !errors.As(err, &t) || t.StatusCode != http.StatusBadRequest && t.StatusCode != http.StatusConflict {
		return nil
	}
	has, err := remote.Head(r.Tag(tag), c.options(ctx)...)
	if err != nil || has.Digest.String() == string(d) || !strings.Contains(strings.ToLower(t.Error()), "immutable") && !strings.Contains(t.Error(), "TAG_INVALID") {
		return nil
	}
	return &TagTakenError{r.Name(), tag, image.Digest(has.Digest.String()), d}
}

// Copy copies an image by digest, with what was recorded beside it, between repositories, registries
// and accounts. The tags stay behind.
func (c Client) Copy(ctx context.Context, from string, d image.Digest, to string) error {
	src, err := repository(from)
	if err != nil {
		return err
	}
	dst, err := repository(to)
	if err != nil {
		return err
	}
	if err := c.copyOne(ctx, src, d, dst); err != nil {
		return fmt.Errorf("copying %s from %s to %s: %w", d.Short(), from, to, err)
	}
	descs, err := c.referrers(ctx, src, d)
	if err != nil {
		return fmt.Errorf("copying %s from %s to %s: %w", d.Short(), from, to, err)
	}
	for _, desc := range descs {
		if err := c.copyOne(ctx, src, image.Digest(desc.Digest.String()), dst); err != nil {
			return fmt.Errorf("copying what is recorded of %s from %s to %s: %w", d.Short(), from, to, err)
		}
		if err := c.ensureListed(ctx, dst, d, desc); err != nil {
			return fmt.Errorf("copying what is recorded of %s from %s to %s: %w", d.Short(), from, to, err)
		}
	}
	return nil
}

func (c Client) copyOne(ctx context.Context, src name.Repository, d image.Digest, dst name.Repository) error {
	ref := src.Digest(string(d))
	desc, err := remote.Get(ref, c.options(ctx)...)
	if err != nil {
		return fault(ref, err)
	}
	to := dst.Digest(string(d))
	if err := remote.Push(to, desc, c.options(ctx)...); err != nil {
		return fault(to, err)
	}
	return nil
}
