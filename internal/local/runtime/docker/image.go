package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	cerrdefs "github.com/containerd/errdefs"
	"io"
	"net"
	"strings"

	"github.com/docker/docker/api/types/image"
	engineregistry "github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/client"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// pulled is an image in the engine.
type pulled struct {
	ref    string // what to create containers from
	digest string // of its manifest
}

// pull has the engine pull the image. Where the engine cannot reach this machine's loopback, because
// it is in a virtual machine or asks for TLS there, the image is fetched here and loaded into it.
func (e *engine) pull(ctx context.Context, ref string) (pulled, error) {
	_, digest, byDigest := strings.Cut(ref, "@")
	before, err := e.api.ImageInspect(ctx, ref)
	known := err == nil
	if known && byDigest { // it can be no other
		return pulled{ref: ref, digest: digest}, nil
	}
	if err := e.enginePull(ctx, ref); err != nil {
		if !loopback(ref) || ctx.Err() != nil || cerrdefs.IsNotFound(err) {
			return pulled{}, err
		}
		img, fetchErr := e.fetchAndLoad(ctx, ref)
		if fetchErr != nil {
			return pulled{}, fmt.Errorf("%w; and fetching it for the engine: %w", err, fetchErr)
		}
		return img, nil
	}
	after, err := e.api.ImageInspect(ctx, ref)
	if err != nil {
		return pulled{}, err
	}
	if !known || before.ID != after.ID {
		e.ours(ref)
	}
	if !byDigest {
		digest = repoDigest(after.RepoDigests, ref)
	}
	return pulled{ref: ref, digest: digest}, nil
}

func (e *engine) ours(ref string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.images[ref] = struct{}{}
}

func (e *engine) enginePull(ctx context.Context, ref string) error {
	var o image.PullOptions
	if user, password := e.login(ref); user != "" {
		host, _, _ := strings.Cut(ref, "/")
		var err error
		if o.RegistryAuth, err = engineregistry.EncodeAuthConfig(engineregistry.AuthConfig{Username: user, Password: password, ServerAddress: host}); err != nil {
			return fmt.Errorf("encoding the registry's credentials: %w", err)
		}
	}
	progress, err := e.api.ImagePull(ctx, ref, o)
	if err != nil {
		return err
	}
	defer progress.Close()
	return lastError(progress)
}

// lastError reads an engine's progress to its end; failures are one of its messages.
func lastError(progress io.Reader) error {
	for dec := json.NewDecoder(progress); ; {
		var m struct {
			Error string `json:"error"`
		}
		switch err := dec.Decode(&m); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("reading the engine's progress: %w", err)
		case m.Error != "":
			return errors.New(m.Error)
		}
	}
}

// repoDigest finds the digest under which ref's repository has the image.
func repoDigest(digests []string, ref string) string {
	r, err := name.ParseReference(ref)
	if err != nil {
		return ""
	}
	for _, d := range digests {
		if repo, digest, ok := strings.Cut(d, "@"); ok && (repo == r.Context().Name() || repo == r.Context().RepositoryStr()) {
			return digest
		}
	}
	return ""
}

func (e *engine) fetchAndLoad(ctx context.Context, ref string) (pulled, error) {
	r, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		return pulled{}, err
	}
	auth := authn.Anonymous
	if user, password := e.login(ref); user != "" {
		auth = &authn.Basic{Username: user, Password: password}
	}
	img, err := remote.Image(r, remote.WithContext(ctx), remote.WithPlatform(v1.Platform{OS: "linux", Architecture: e.arch}), remote.WithAuth(auth))
	if err != nil {
		return pulled{}, err
	}
	digest, err := img.Digest()
	if err != nil {
		return pulled{}, err
	}
	tag, err := name.NewTag("slipway.local/" + r.Context().RepositoryStr() + ":" + digest.Hex[:32])
	if err != nil {
		return pulled{}, err
	}
	if _, err := e.api.ImageInspect(ctx, tag.String()); err != nil {
		if err := e.load(ctx, tag, img); err != nil {
			return pulled{}, fmt.Errorf("loading: %w", err)
		}
	}
	return pulled{ref: tag.String(), digest: digest.String()}, nil
}

// load puts an image into the engine under a name.
func (e *engine) load(ctx context.Context, tag name.Tag, img v1.Image) error {
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(tarball.Write(tag, img, w)) }()
	defer r.Close()
	resp, err := e.api.ImageLoad(ctx, r, client.ImageLoadWithQuiet(true))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := lastError(resp.Body); err != nil {
		return err
	}
	e.ours(tag.String())
	return nil
}

func loopback(ref string) bool {
	host, _, _ := strings.Cut(ref, "/")
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}
