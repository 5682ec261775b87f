package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"sync"

	"cuelabs.dev/go/oci/ociregistry"
	"cuelabs.dev/go/oci/ociregistry/ociserver"
)

// Server serves the OCI distribution protocol under /v2/.
type Server struct {
	pick   func(host string) *Store
	mu     sync.Mutex
	fronts map[*Store]http.Handler
	tokens *Tokens
	// RequireAuth refuses requests without a valid token, as ECR does. Without it every request is the
	// registry's own account's, unless a token says otherwise; but clients send none unless asked.
	RequireAuth bool
	// Allow decides whether somebody may do an action (an IAM action, as ecr:BatchGetImage) on a
	// repository: by the policies of the repository and the registry, unless set otherwise.
	Allow func(s *Store, c Caller, action string, r *Repository) bool
	// Permit tells why the policies of the caller itself do not let it do an action on a resource (an
	// ARN); nil: they are not asked.
	Permit func(ctx context.Context, c Caller, action, resource string) error
}

// NewServer makes the server of a store; tokens are what GetAuthorizationToken hands out.
func NewServer(s *Store, tokens *Tokens) *Server {
	return newServer(func(string) *Store { return s }, tokens)
}

// NewServers makes the server of all registries. Each is told by the host it is reached at.
func NewServers(r *Registries, tokens *Tokens) *Server { return newServer(r.At, tokens) }

func newServer(pick func(string) *Store, tokens *Tokens) *Server {
	return &Server{pick: pick, tokens: tokens, Allow: (*Store).Allows, fronts: map[*Store]http.Handler{}}
}

// front speaks the protocol for a store.
func (s *Server) front(store *Store) http.Handler {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.fronts[store]
	if h == nil {
		h = ociserver.New(&oci{s: store}, &ociserver.Options{MaxListPageSize: 1000})
		s.fronts[store] = h
	}
	return h
}

// Repository names may hold the words that follow them, so what follows is matched from the end.
var (
	uploadsPath   = regexp.MustCompile(`^/v2/(.+)/blobs/uploads(?:/[^/]*)?$`)
	objectPath    = regexp.MustCompile(`^/v2/(.+)/(blobs|manifests|tags|referrers)/[^/]+$`)
	referrersPath = regexp.MustCompile(`^/v2/(.+)/referrers/([^/]+)$`)
)

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	store := s.pick(r.Host)
	who, err := s.who(store, r)
	switch {
	case errors.Is(err, errExpired):
		writeError(w, "DENIED", http.StatusForbidden, "Your authorization token has expired. Reauthenticate and try again.")
		return
	case err != nil:
		// https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html#registry_auth_http
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Basic realm=%q,service=\"ecr.amazonaws.com\"", "http://"+r.Host+"/"))
		writeError(w, "UNAUTHORIZED", http.StatusUnauthorized, "no basic auth credentials; log in with: aws ecr get-login-password | docker login --username AWS --password-stdin "+r.Host)
		return
	}
	repo, kind := split(r.URL.Path)
	action := actionOf(r.Method, kind)
	pushing := r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch
	if repo != "" && s.Permit != nil {
		if err := s.Permit(r.Context(), who, action, store.ARN(repo)); err != nil {
			writeError(w, "DENIED", http.StatusForbidden, err.Error())
			return
		}
	}
	if repo != "" && pushing && who.Account == store.cfg.Account {
		if err := store.CreateForPush(repo); err != nil {
			_ = ociregistry.WriteError(w, ociError(err))
			return
		}
	}
	if repo != "" && !s.allowed(store, who, repo, action) {
		writeError(w, "DENIED", http.StatusForbidden, fmt.Sprintf("User: %s is not authorized to perform: %s on resource: %s because no resource-based policy allows the %[2]s action",
			who.arn(), action, store.ARN(repo)))
		return
	}
	switch {
	case r.Method == http.MethodGet && referrersPath.MatchString(r.URL.Path):
		s.referrers(store, w, r)
	case r.Method == http.MethodPost && kind == kindUploads:
		s.front(store).ServeHTTP(w, s.withoutVainMount(store, r, repo, who))
	default:
		s.front(store).ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, who)))
	}
}

type callerKey struct{}

func callerIn(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// who tells whose request it is. A layer's address that GetDownloadUrlForLayer gave out needs no more
// than itself.
func (s *Server) who(store *Store, r *http.Request) (Caller, error) {
	ip, _, _ := net.SplitHostPort(r.RemoteAddr)
	own := Caller{Account: store.cfg.Account, SourceIP: ip}
	if r.URL.RawQuery != "" && s.tokens.signedPath(r) {
		return own, nil
	}
	user, password, ok := r.BasicAuth()
	if ok && user == "AWS" {
		c, err := s.tokens.check(password)
		if err == nil || s.RequireAuth {
			c.SourceIP = ip
			return c, err
		}
	}
	if s.RequireAuth {
		return Caller{}, errNoToken
	}
	return own, nil
}

func (s *Server) allowed(store *Store, c Caller, repo, action string) bool {
	r, err := store.Repository(repo)
	return err != nil || s.Allow(store, c, action, r) // a missing repository is told by the request itself
}

const kindUploads = "uploads"

// split finds the repository a path is about, and what of it: blobs, uploads, manifests, tags,
// referrers. Both are empty for other paths.
func split(path string) (repo, kind string) {
	if m := uploadsPath.FindStringSubmatch(path); m != nil {
		return m[1], kindUploads
	}
	if m := objectPath.FindStringSubmatch(path); m != nil {
		return m[1], m[2]
	}
	return "", ""
}

// actionOf is the IAM action of a request on a repository.
func actionOf(method, kind string) string {
	read := method == http.MethodGet || method == http.MethodHead
	switch {
	case kind == kindUploads:
		switch method {
		case http.MethodPost:
			return "ecr:InitiateLayerUpload"
		case http.MethodPut:
			return "ecr:CompleteLayerUpload"
		}
		return "ecr:UploadLayerPart"
	case method == http.MethodDelete:
		return "ecr:BatchDeleteImage"
	case kind == "blobs" && method == http.MethodHead:
		return "ecr:BatchCheckLayerAvailability"
	case kind == "blobs":
		return "ecr:GetDownloadUrlForLayer"
	case kind == "manifests" && !read:
		return "ecr:PutImage"
	case kind == "tags":
		return "ecr:ListImages"
	}
	return "ecr:BatchGetImage"
}

// SettingMounting is the name of the account setting that keeps layers from being mounted across
// repositories: ENABLED (also if it is not set) or DISABLED.
const SettingMounting = "account/BLOB_MOUNTING"

// withoutVainMount drops a mount that cannot be done: the client then uploads the layer.
func (s *Server) withoutVainMount(store *Store, r *http.Request, repo string, c Caller) *http.Request {
	q := r.URL.Query()
	digest, from := q.Get("mount"), q.Get("from")
	if digest == "" {
		return r
	}
	if from != "" && store.Setting(SettingMounting) != "DISABLED" && s.allowed(store, c, from, "ecr:GetDownloadUrlForLayer") {
		_, err := store.Layer(from, digest)
		if err == nil && (s.Permit == nil || s.Permit(r.Context(), c, "ecr:GetDownloadUrlForLayer", store.ARN(from)) == nil) {
			return r
		}
	}
	q.Del("mount")
	q.Del("from")
	if _, err := store.Layer(repo, digest); err == nil { // there already: mounting it on itself answers so
		q.Set("mount", digest)
		q.Set("from", repo)
	}
	clone := r.Clone(r.Context())
	clone.URL.RawQuery = q.Encode()
	return clone
}

// referrers lists what refers to a digest. An empty list is a list, which the library's is not.
func (s *Server) referrers(store *Store, w http.ResponseWriter, r *http.Request) {
	m := referrersPath.FindStringSubmatch(r.URL.Path)
	if !ValidDigest(m[2]) {
		writeError(w, "DIGEST_INVALID", http.StatusBadRequest, "not a sha256 digest")
		return
	}
	images, err := store.Referrers(m[1], m[2])
	if err != nil {
		_ = ociregistry.WriteError(w, ociError(err))
		return
	}
	type entry struct {
		MediaType    string            `json:"mediaType"`
		Digest       string            `json:"digest"`
		Size         int               `json:"size"`
		ArtifactType string            `json:"artifactType,omitempty"`
		Annotations  map[string]string `json:"annotations,omitempty"`
	}
	list := []entry{}
	want := r.URL.Query().Get("artifactType")
	for _, im := range images {
		if want == "" || want == im.ArtifactType {
			list = append(list, entry{im.MediaType, im.Digest, len(im.Body), im.ArtifactType, im.Annotations})
		}
	}
	if want != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	w.Header().Set("Content-Type", typeOCIIndex)
	_ = json.NewEncoder(w).Encode(map[string]any{"schemaVersion": 2, "mediaType": typeOCIIndex, "manifests": list})
}

func writeError(w http.ResponseWriter, code string, status int, message string) {
	body, err := json.Marshal(ociregistry.WireErrors{Errors: []ociregistry.WireError{{Code_: code, Message: message}}})
	if err != nil { // strings always encode
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
