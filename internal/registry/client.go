// Package registry reads and writes OCI registries: ECR, the local one, any other.
package registry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/slipway-ecs/slipway/internal/image"
)

// Credentials gives the user and password of a registry, such as ECR's authorization token. An empty
// user means: it knows none.
type Credentials func(ctx context.Context, registry string) (user, password string, err error)

// Client of all registries.
type Client struct {
	Credentials Credentials       // asked first; nil = none
	Transport   http.RoundTripper // nil = the default
}

// NotFoundError is an image or repository that is not there.
type NotFoundError struct{ Reference string }

func (e *NotFoundError) Error() string { return e.Reference + " is not in the registry" }

// TagTakenError is a tag that is on another image and may not move.
type TagTakenError struct {
	Repository, Tag string
	Has, Wanted     image.Digest
}

func (e *TagTakenError) Error() string {
	return fmt.Sprintf("tag %s of %s is on %s already and stays there; it was not put on %s", e.Tag, e.Repository, e.Has, e.Wanted.Short())
}

// DeniedError is a registry that does not let us.
type DeniedError struct {
	Registry string
	Err      error
}

func (e *DeniedError) Error() string {
	return fmt.Sprintf("the registry %s refuses: %v; check the credentials and the repository's policy", e.Registry, e.Err)
}

func (e *DeniedError) Unwrap() error { return e.Err }

func (c Client) options(ctx context.Context) []remote.Option {
	o := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(keychain{c.Credentials}), remote.WithUserAgent("slipway")}
	if c.Transport != nil {
		o = append(o, remote.WithTransport(c.Transport))
	}
	return o
}

// keychain asks our port first, then what docker would ask.
type keychain struct{ ask Credentials }

func (k keychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	return k.ResolveContext(context.Background(), r)
}

func (k keychain) ResolveContext(ctx context.Context, r authn.Resource) (authn.Authenticator, error) {
	if k.ask != nil {
		user, password, err := k.ask(ctx, r.RegistryStr())
		if err != nil {
			return nil, fmt.Errorf("logging in to %s: %w", r.RegistryStr(), err)
		}
		if user != "" {
			return &authn.Basic{Username: user, Password: password}, nil
		}
	}
	return authn.Resolve(ctx, authn.DefaultKeychain, r)
}

// repository reads host/name. Registries on loopback speak plain HTTP, others never do because of a name.
func repository(repo string) (name.Repository, error) {
	var o []name.Option
	if host, _, _ := strings.Cut(repo, "/"); loopback(host) {
		o = append(o, name.Insecure)
	}
	r, err := name.NewRepository(repo, o...)
	if err != nil {
		return name.Repository{}, fmt.Errorf("repository %q: %w", repo, err)
	}
	return r, nil
}

func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// reference reads what image.Reference writes, and what docker takes: "nginx" is on Docker Hub.
func reference(s string) (name.Reference, error) {
	var o []name.Option
	if host, _, _ := strings.Cut(s, "/"); loopback(host) {
		o = append(o, name.Insecure)
	}
	r, err := name.ParseReference(s, o...)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", s, err)
	}
	return r, nil
}

// fault makes the registry's answer one that callers can act upon.
func fault(ref name.Reference, err error) error {
	var t *transport.Error
	if !errors.As(err, &t) {
		return err
	}
	switch t.StatusCode {
	case http.StatusNotFound:
		return &NotFoundError{ref.Name()}
	case http.StatusUnauthorized, http.StatusForbidden:
		return &DeniedError{ref.Context().RegistryStr(), err}
	}
	return err
}

// Resolve is the digest a reference stands for now: of the manifest list where there is one.
func (c Client) Resolve(ctx context.Context, ref string) (image.Digest, error) {
	r, err := reference(ref)
	if err != nil {
		return "", err
	}
	d, err := remote.Head(r, c.options(ctx)...)
	if err != nil {
		return "", fmt.Errorf("resolving %s: %w", ref, fault(r, err))
	}
	return image.Digest(d.Digest.String()), nil
}

// Tags of a repository, in the registry's order. Those that hold referrers are no tags of anybody's.
func (c Client) Tags(ctx context.Context, repo string) ([]string, error) {
	r, err := repository(repo)
	if err != nil {
		return nil, err
	}
	all, err := remote.List(r, c.options(ctx)...)
	if err != nil {
		return nil, fmt.Errorf("listing the tags of %s: %w", repo, fault(r.Tag("latest"), err))
	}
	var out []string
	for _, t := range all {
		if !isFallbackTag(t) {
			out = append(out, t)
		}
	}
	return out, nil
}

// Info is what an image says of itself.
type Info struct {
	Digest    image.Digest
	MediaType string
	Size      int64 // of the compressed layers, in bytes; of a list, those of all its images
	Labels    map[string]string
	Platforms []string
}

// Describe reads an image's labels and size without its layers.
func (c Client) Describe(ctx context.Context, ref string) (Info, error) {
	r, err := reference(ref)
	if err != nil {
		return Info{}, err
	}
	d, err := remote.Get(r, c.options(ctx)...)
	if err != nil {
		return Info{}, fmt.Errorf("describing %s: %w", ref, fault(r, err))
	}
	out := Info{Digest: image.Digest(d.Digest.String()), MediaType: string(d.MediaType), Labels: map[string]string{}}
	var images []v1.Image
	if d.MediaType.IsIndex() {
		idx, err := d.ImageIndex()
		if err != nil {
			return Info{}, fmt.Errorf("describing %s: %w", ref, err)
		}
		m, err := idx.IndexManifest()
		if err != nil {
			return Info{}, fmt.Errorf("describing %s: %w", ref, err)
		}
		for _, child := range m.Manifests {
			if !child.MediaType.IsImage() {
				continue
			}
			img, err := idx.Image(child.Digest)
			if err != nil {
				return Info{}, fmt.Errorf("describing %s: %w", ref, err)
			}
			images = append(images, img)
		}
	} else {
		img, err := d.Image()
		if err != nil {
			return Info{}, fmt.Errorf("describing %s: %w", ref, err)
		}
		images = append(images, img)
	}
	for _, img := range images {
		if err := out.add(img); err != nil {
			return Info{}, fmt.Errorf("describing %s: %w", ref, err)
		}
	}
	return out, nil
}

func (i *Info) add(img v1.Image) error {
	m, err := img.Manifest()
	if err != nil {
		return err
	}
	for _, l := range m.Layers {
		i.Size += l.Size
	}
	f, err := img.ConfigFile()
	if err != nil {
		return err
	}
	for k, v := range f.Config.Labels {
		i.Labels[k] = v
	}
	if p := f.Platform(); p != nil {
		i.Platforms = append(i.Platforms, p.String())
	}
	return nil
}
