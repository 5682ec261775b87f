package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/slipway-ecs/slipway/internal/local/state"
)

// CodeUpstream is the code of an error about an image that could not be got from upstream.
const CodeUpstream = "UnableToGetUpstreamImageException"

// cacheRule is the pull-through cache rule with the longest prefix that covers a repository, and
// the repository's name upstream.
func (s *Store) cacheRule(repository string) (*CacheRule, string) {
	var best *CacheRule
	rest := ""
	for _, r := range s.CacheRules() {
		if r.Prefix == "ROOT" {
			if best == nil {
				best, rest = r, repository
			}
			continue
		}
		after, ok := strings.CutPrefix(repository, r.Prefix+"/")
		if ok && (best == nil || best.Prefix == "ROOT" || len(r.Prefix) > len(best.Prefix)) {
			best, rest = r, after
		}
	}
	if best != nil && best.UpstreamPrefix != "" && best.UpstreamPrefix != "ROOT" {
		rest = best.UpstreamPrefix + "/" + rest
	}
	return best, rest
}

// Fetch gets an image that is not there from the upstream registry, if a pull-through cache rule
// covers the repository; otherwise it does nothing. Requests for the same image share one fetch.
func (s *Store) Fetch(ctx context.Context, repository string, id ImageID) error {
	rule, upstream := s.cacheRule(repository)
	if rule == nil || CheckName(repository) != nil {
		return nil
	}
	ref := fmt.Sprintf("%s/%s:%s", rule.UpstreamURL, upstream, id.Tag)
	if id.Digest != "" {
		ref = fmt.Sprintf("%s/%s@%s", rule.UpstreamURL, upstream, id.Digest)
	}
	source, err := name.ParseReference(ref)
	if err != nil {
		return errorf(CodeUpstream, "%s is not an image upstream: %v", ref, err)
	}
	ctx = context.WithoutCancel(ctx) // others may wait for it, too
	_, err, _ = s.fetches.Do(repository+" "+source.Identifier(), func() (any, error) {
		if _, err := remote.Head(source, remote.WithContext(ctx)); err != nil {
			return nil, fmt.Errorf("asking for %s: %w", source, err)
		}
		if err := s.createCached(repository); err != nil {
			return nil, err
		}
		return nil, s.fetch(ctx, repository, source, id.Tag)
	})
	var refused *transport.Error
	if errors.As(err, &refused) {
		if refused.StatusCode == http.StatusNotFound {
			return errorf(CodeImageNotFound, "The image %s does not exist upstream", ref)
		}
		return errorf(CodeUpstream, "The upstream registry refused %s: %v", ref, refused)
	}
	return err
}

// createCached creates the repository if it is missing, by the template for pull-through caches.
func (s *Store) createCached(repository string) error {
	return s.db.Update(func(tx *state.Tx) error {
		if _, ok := s.t.repositories.Get(tx, repository); ok {
			return nil
		}
		return s.create(tx, fromTemplate(repository, s.template(tx, repository, "PULL_THROUGH_CACHE")))
	})
}

// fetch copies one manifest with all it holds.
func (s *Store) fetch(ctx context.Context, repository string, source name.Reference, tag string) error {
	options := []remote.Option{remote.WithContext(ctx), remote.WithAuth(authn.Anonymous)}
	got, err := remote.Get(source, options...)
	if err != nil {
		return fmt.Errorf("getting %s: %w", source, err)
	}
	im, err := parseManifest(repository, got.Manifest, string(got.MediaType))
	if err != nil {
		return err
	}
	for _, d := range im.Manifests {
		if err := s.fetch(ctx, repository, source.Context().Digest(d), ""); err != nil {
			return err
		}
	}
	for _, d := range im.Layers {
		if _, err := s.Layer(repository, d); err == nil {
			continue
		}
		if err := s.fetchLayer(repository, source.Context().Digest(d), options); err != nil {
			return err
		}
	}
	_, err = s.PutImage(Push{Repository: repository, Manifest: got.Manifest, MediaType: string(got.MediaType), Tag: tag, Again: true})
	return err
}

func (s *Store) fetchLayer(repository string, source name.Digest, options []remote.Option) error {
	layer, err := remote.Layer(source, options...)
	if err != nil {
		return fmt.Errorf("getting %s: %w", source, err)
	}
	content, err := layer.Compressed()
	if err != nil {
		return fmt.Errorf("getting %s: %w", source, err)
	}
	defer content.Close()
	id, err := s.StartUpload(repository)
	if err != nil {
		return err
	}
	if _, err := s.AppendUpload(repository, id, 0, content); err != nil {
		s.CancelUpload(id)
		return err
	}
	_, err = s.FinishUpload(repository, id, source.DigestStr())
	return err
}

// CheckUpstream tells what keeps the upstream registry of a rule from being asked; nil: nothing.
func (r *CacheRule) CheckUpstream(ctx context.Context) error {
	registry, err := name.NewRegistry(r.UpstreamURL)
	if err != nil {
		return fmt.Errorf("reading the upstream registry's URL: %w", err)
	}
	if _, err := transport.Ping(ctx, registry, remote.DefaultTransport); err != nil {
		return fmt.Errorf("asking the upstream registry: %w", err)
	}
	return nil
}
