package registry

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-ecs/slipway/internal/image"
	"github.com/slipway-ecs/slipway/internal/release"
)

var (
	_ release.Referrers = Client{}
	_ release.Catalog   = Client{}
)

// The empty configuration of an artifact that has none.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md#guidance-for-an-empty-descriptor
const emptyType = types.MediaType("application/vnd.oci.empty.v1+json")

var emptyJSON = []byte("{}")

// Requests at a time. ECR allows far more; this is for the one on the other side of a slow line.
const parallel = 8

// Payloads larger than this do not go into the manifest itself, only into their blob. A statement is
// far smaller, and is then read by one request.
const inline = 16 << 10

// raw is a manifest as bytes.
type raw struct {
	data      []byte
	mediaType types.MediaType
}

func (r raw) RawManifest() ([]byte, error)        { return r.data, nil }
func (r raw) MediaType() (types.MediaType, error) { return r.mediaType, nil }

// Put stores a payload beside an image. The same payload is stored once.
func (c Client) Put(ctx context.Context, repo string, subject image.Digest, artifactType string, annotations map[string]string, payload []byte) (image.Digest, error) {
	r, err := repository(repo)
	if err != nil {
		return "", err
	}
	d, err := c.attach(ctx, r, subject, artifactType, annotations, payload)
	if err != nil {
		return "", fmt.Errorf("recording beside %s@%s: %w", repo, subject.Short(), err)
	}
	return d, nil
}

func (c Client) attach(ctx context.Context, r name.Repository, subject image.Digest, artifactType string, annotations map[string]string, payload []byte) (image.Digest, error) {
	ref := r.Digest(string(subject))
	of, err := remote.Head(ref, c.options(ctx)...)
	if err != nil {
		return "", fault(ref, err)
	}
	config, layer := static.NewLayer(emptyJSON, emptyType), static.NewLayer(payload, types.MediaType(artifactType))
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: artifactType, Annotations: annotations,
		Subject: &v1.Descriptor{MediaType: of.MediaType, Size: of.Size, Digest: of.Digest}}
	for _, blob := range []struct {
		layer v1.Layer
		data  []byte
		to    func(v1.Descriptor)
	}{
		{config, emptyJSON, func(d v1.Descriptor) { m.Config = d }},
		{layer, payload, func(d v1.Descriptor) { m.Layers = []v1.Descriptor{d} }},
	} {
		if err := remote.WriteLayer(r, blob.layer, c.options(ctx)...); err != nil {
			return "", fault(ref, err)
		}
		h, size, err := v1.SHA256(bytes.NewReader(blob.data))
		if err != nil {
			return "", err
		}
		mt, err := blob.layer.MediaType()
		if err != nil {
			return "", err
		}
		d := v1.Descriptor{MediaType: mt, Size: size, Digest: h}
		if len(blob.data) <= inline {
			d.Data = blob.data
		}
		blob.to(d)
	}
	data, err := json.Marshal(m)
	if err != nil {
		return "", err
	}
	h, size, err := v1.SHA256(bytes.NewReader(data))
	if err != nil {
		return "", err
	}
	to := r.Digest(h.String())
	if err := remote.Put(to, raw{data, types.OCIManifestSchema1}, c.options(ctx)...); err != nil {
		return "", fault(to, err)
	}
	desc := v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: size, Digest: h, ArtifactType: artifactType, Annotations: annotations}
	if err := c.ensureListed(ctx, r, subject, desc); err != nil {
		return "", err
	}
	return image.Digest(h.String()), nil
}

// Where a registry has no list of referrers, a tag holds it, and everyone who adds to it reads and
// writes the whole. Whoever was overwritten meanwhile, or was killed between the two writes, adds
// itself again.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#referrers-tag-schema
const listTries = 5

func (c Client) ensureListed(ctx context.Context, r name.Repository, subject image.Digest, desc v1.Descriptor) error {
	for range listTries {
		all, err := c.referrers(ctx, r, subject)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(all, func(d v1.Descriptor) bool { return d.Digest == desc.Digest }) {
			return nil
		}
		all = append(all, desc)
		slices.SortFunc(all, func(a, b v1.Descriptor) int { return cmp.Compare(a.Digest.String(), b.Digest.String()) })
		data, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: all})
		if err != nil {
			return err
		}
		t := r.Tag(fallbackTag(subject))
		if err := remote.Tag(t, raw{data, types.OCIImageIndex}, c.options(ctx)...); err != nil {
			return fault(t, err)
		}
	}
	return fmt.Errorf("the registry does not list it as a referrer of %s", subject.Short())
}

func fallbackTag(d image.Digest) string { return strings.Replace(string(d), ":", "-", 1) }

var fallbackForm = regexp.MustCompile(`^sha256-[0-9a-f]{64}$`)

func isFallbackTag(tag string) bool { return fallbackForm.MatchString(tag) }

// referrers are the descriptors of what is beside an image.
func (c Client) referrers(ctx context.Context, r name.Repository, d image.Digest) ([]v1.Descriptor, error) {
	ref := r.Digest(string(d))
	idx, err := remote.Referrers(ref, c.options(ctx)...)
	if err != nil {
		return nil, fault(ref, err)
	}
	m, err := idx.IndexManifest()
	if err != nil {
		return nil, err
	}
	return slices.Clone(m.Manifests), nil
}

// List reads what is stored beside an image, of these types.
func (c Client) List(ctx context.Context, repo string, subject image.Digest, artifactTypes ...string) ([]release.Referrer, error) {
	r, err := repository(repo)
	if err != nil {
		return nil, err
	}
	descs, err := c.referrers(ctx, r, subject)
	if err != nil {
		return nil, fmt.Errorf("listing what is beside %s@%s: %w", repo, subject.Short(), err)
	}
	// A registry that does not know artifactType gives the configuration's type.
	descs = slices.DeleteFunc(descs, func(d v1.Descriptor) bool {
		return !slices.Contains(artifactTypes, d.ArtifactType) && d.ArtifactType != "" && d.ArtifactType != string(emptyType)
	})
	out := make([]*release.Referrer, len(descs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, d := range descs {
		g.Go(func() (err error) {
			out[i], err = c.read(ctx, r, d, artifactTypes)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("reading what is beside %s@%s: %w", repo, subject.Short(), err)
	}
	var found []release.Referrer
	for _, f := range out {
		if f != nil {
			found = append(found, *f)
		}
	}
	return found, nil
}

// Statements are small; more is not read.
const payloadLimit = 4 << 20

// read fetches one; nil if it is of another type, or gone since it was listed.
func (c Client) read(ctx context.Context, r name.Repository, d v1.Descriptor, artifactTypes []string) (*release.Referrer, error) {
	ref := r.Digest(d.Digest.String())
	got, err := remote.Get(ref, c.options(ctx)...)
	if err != nil {
		if missing := (*NotFoundError)(nil); errors.As(fault(ref, err), &missing) {
			return nil, nil
		}
		return nil, fault(ref, err)
	}
	var m v1.Manifest
	if err := json.Unmarshal(got.Manifest, &m); err != nil {
		return nil, fmt.Errorf("reading %s: %w", ref, err)
	}
	if !slices.Contains(artifactTypes, m.ArtifactType) || len(m.Layers) != 1 {
		return nil, nil
	}
	out := &release.Referrer{Digest: image.Digest(d.Digest.String()), Annotations: m.Annotations}
	l := m.Layers[0]
	if l.Size > payloadLimit {
		return nil, fmt.Errorf("reading %s: it has %d bytes; at most %d are read", ref, l.Size, payloadLimit)
	}
	if h, size, err := v1.SHA256(bytes.NewReader(l.Data)); err == nil && h == l.Digest && size == l.Size {
		out.Payload = l.Data
		return out, nil
	}
	layer, err := remote.Layer(r.Digest(l.Digest.String()), c.options(ctx)...)
	if err != nil {
		return nil, fault(ref, err)
	}
	rc, err := layer.Compressed() // it checks the digest as it reads
	if err != nil {
		return nil, fault(ref, err)
	}
	defer func() { _ = rc.Close() }()
	if out.Payload, err = io.ReadAll(io.LimitReader(rc, payloadLimit+1)); err != nil {
		return nil, fmt.Errorf("reading %s: %w", ref, err)
	}
	return out, nil
}

// Digests are the images of a repository that have a tag.
func (c Client) Digests(ctx context.Context, repo string) ([]image.Digest, error) {
	tags, err := c.Tags(ctx, repo)
	if err != nil {
		return nil, err
	}
	r, err := repository(repo)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	seen := map[image.Digest]bool{}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, tag := range tags {
		g.Go(func() error {
			d, err := remote.Head(r.Tag(tag), c.options(ctx)...)
			var t *transport.Error
			if errors.As(err, &t) && t.StatusCode == http.StatusNotFound {
				return nil // deleted since it was listed
			}
			if err != nil {
				return fmt.Errorf("listing the images of %s: %w", repo, fault(r.Tag(tag), err))
			}
			mu.Lock()
			defer mu.Unlock()
			seen[image.Digest(d.Digest.String())] = true
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	out := make([]image.Digest, 0, len(seen))
	for d := range seen {
		out = append(out, d)
	}
	slices.Sort(out)
	return out, nil
}
