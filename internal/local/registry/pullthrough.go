package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

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
		auth, err := s.Credentials(rule)
		if err != nil {
			return nil, errorf(CodeUpstream, "%v", err)
		}
		options := []remote.Option{remote.WithContext(ctx), remote.WithAuth(auth)}
		found, err := remote.Head(source, options...)
		if err != nil {
			return nil, fmt.Errorf("asking for %s: %w", source, err)
		}
		if err := s.createCached(repository); err != nil {
			return nil, err
		}
		if err := s.fetch(repository, source, id.Tag, options); err != nil {
			return nil, err
		}
		s.tell("ECR Pull Through Cache Action", repository, CacheEvent{RuleVersion: "1", SyncStatus: "SUCCESS", Prefix: rule.Prefix, Repository: repository,
			UpstreamURL: rule.UpstreamURL, ImageTag: id.Tag, ImageDigest: found.Digest.String()})
		return nil, nil
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
func (s *Store) fetch(repository string, source name.Reference, tag string, options []remote.Option) error {
	got, err := remote.Get(source, options...)
	if err != nil {
		return fmt.Errorf("getting %s: %w", source, err)
	}
	im, err := parseManifest(repository, got.Manifest, string(got.MediaType))
	if err != nil {
		return err
	}
	for _, d := range im.Manifests {
		if err := s.fetch(repository, source.Context().Digest(d), "", options); err != nil {
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
	_, err = s.PutImage(Push{Repository: repository, Manifest: got.Manifest, MediaType: string(got.MediaType), Tag: tag, Again: true, fetched: true})
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

// refreshEvery is how often upstream is asked whether a tag names another image by now.
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/pull-through-cache.html
const refreshEvery = 24 * time.Hour

// refresh asks upstream for a tag that was cached, if that was long ago, and tells whether the image
// may be another one now. While upstream cannot be asked, what was cached is served.
func (s *Store) refresh(ctx context.Context, repository string, id ImageID) bool {
	if id.Tag == "" || id.Digest != "" {
		return false
	}
	due := false
	_ = s.db.View(func(tx *state.Tx) error {
		t, ok := s.t.tags.Get(tx, TagKey(repository, id.Tag))
		due = ok && !t.CheckedAt.IsZero() && s.now().Sub(t.CheckedAt) >= refreshEvery
		return nil
	})
	if !due {
		return false
	}
	if err := s.Fetch(ctx, repository, id); err != nil {
		slog.Warn("asking upstream for a newer image", "repository", repository, "tag", id.Tag, "error", err)
		return false
	}
	return true
}

// Codes of errors about the secret of a cache rule.
const (
	CodeSecretNotFound = "SecretNotFoundException"
	CodeSecretAccess   = "UnableToAccessSecretException"
	CodeSecretContent  = "UnableToDecryptSecretValueException"
)

// secretPrefix begins the name of the secrets that cache rules may use.
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/pull-through-cache-creating-secret.html
const secretPrefix = "ecr-pullthroughcache/"

// Credentials are what a rule's upstream registry is asked with: those in its secret, or none.
func (s *Store) Credentials(r *CacheRule) (authn.Authenticator, error) {
	if r.CredentialARN == "" {
		return authn.Anonymous, nil
	}
	if _, secret, ok := strings.Cut(r.CredentialARN, ":secret:"); !ok || !strings.HasPrefix(secret, secretPrefix) {
		return nil, errorf(CodeInvalidParameter, "Invalid parameter at 'credentialArn' failed to satisfy constraint: 'The secret name must begin with %s'", secretPrefix)
	}
	if s.cfg.Secret == nil {
		return nil, errorf(CodeSecretAccess, "not supported: there are no secrets here")
	}
	text, err := s.cfg.Secret(r.CredentialARN)
	if err != nil {
		return nil, errorf(CodeSecretNotFound, "The secret '%s' cannot be read: %v", r.CredentialARN, err)
	}
	var login struct{ Username, AccessToken string }
	if json.Unmarshal([]byte(text), &login) != nil || login.Username == "" || login.AccessToken == "" {
		return nil, errorf(CodeSecretContent, "The secret '%s' must hold the keys username and accessToken", r.CredentialARN)
	}
	return &authn.Basic{Username: login.Username, Password: login.AccessToken}, nil
}

// CheckUpstream tells what keeps the upstream registry of a rule from being asked; nil: nothing.
func (s *Store) CheckUpstream(ctx context.Context, r *CacheRule) error {
	auth, err := s.Credentials(r)
	if err != nil {
		return err
	}
	registry, err := name.NewRegistry(r.UpstreamURL)
	if err != nil {
		return fmt.Errorf("reading the upstream registry's URL: %w", err)
	}
	rt, err := transport.NewWithContext(ctx, registry, auth, remote.DefaultTransport, nil)
	if err != nil {
		return fmt.Errorf("asking the upstream registry: %w", err)
	}
	if auth == authn.Anonymous { // what it lets anybody read is not known before
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, registry.Scheme()+"://"+registry.RegistryStr()+"/v2/", nil)
	if err != nil {
		return fmt.Errorf("asking the upstream registry: %w", err)
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("asking the upstream registry: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the upstream registry refuses the credentials: %s", resp.Status)
	}
	return nil
}
