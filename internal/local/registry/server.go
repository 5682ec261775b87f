package registry

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"cuelabs.dev/go/oci/ociregistry"
	"cuelabs.dev/go/oci/ociregistry/ociserver"
)

// Server serves the OCI distribution protocol under /v2/.
type Server struct {
	store  *Store
	next   http.Handler
	tokens *Tokens
	// RequireAuth refuses requests without a valid token. Without it every request is the
	// registry's own account's, unless a token says otherwise.
	RequireAuth bool
	// Allow decides whether another account may do an action (an IAM action, as ecr:BatchGetImage)
	// on a repository: by the repository's policy, unless set otherwise.
	Allow func(account, action string, r *Repository) bool
}

// NewServer makes the server of a store; tokens are what GetAuthorizationToken hands out.
func NewServer(s *Store, tokens *Tokens) *Server {
	return &Server{store: s, tokens: tokens, Allow: func(account, action string, r *Repository) bool { return r.Allows(account, action) }, next: ociserver.New(&oci{s: s}, &ociserver.Options{MaxListPageSize: 1000})}
}

// TokenLifetime is how long a token is good: 12 hours.
const TokenLifetime = 12 * time.Hour

// Tokens makes and checks authorization tokens. They are good as long as the process that made
// them: nothing secret is stored.
type Tokens struct {
	key []byte
	now func() time.Time
}

// NewTokens makes Tokens that expire by now.
func NewTokens(now func() time.Time) *Tokens {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return &Tokens{key, now}
}

// Issue returns a password for the user AWS and when it expires.
func (t *Tokens) Issue(account string) (password string, expires time.Time) {
	expires = t.now().Add(TokenLifetime).Truncate(time.Millisecond)
	text := account + ":" + strconv.FormatInt(expires.Unix(), 10)
	return base64.RawURLEncoding.EncodeToString([]byte(text + ":" + t.sign(text))), expires
}

func (t *Tokens) sign(text string) string {
	m := hmac.New(sha256.New, t.key)
	m.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// check returns the account a password was issued to.
func (t *Tokens) check(password string) (account string, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(password)
	if err != nil {
		return "", false
	}
	text, mac, ok := cutLast(string(raw))
	account, expires, ok2 := strings.Cut(text, ":")
	sec, err := strconv.ParseInt(expires, 10, 64)
	if !ok || !ok2 || err != nil || !hmac.Equal([]byte(mac), []byte(t.sign(text))) {
		return "", false
	}
	return account, t.now().Unix() < sec
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
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
	account, ok := s.account(r)
	if !ok {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Basic realm=%q,service=\"ecr.amazonaws.com\"", "http://"+r.Host+"/"))
		writeError(w, "UNAUTHORIZED", http.StatusUnauthorized, "authentication required")
		return
	}
	repo, kind := split(r.URL.Path)
	action := actionOf(r.Method, kind)
	pushing := r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch
	if repo != "" && pushing && account == s.store.cfg.Account {
		if err := s.store.CreateForPush(repo); err != nil {
			_ = ociregistry.WriteError(w, ociError(err))
			return
		}
	}
	if repo != "" && !s.allowed(account, repo, action) {
		writeError(w, "DENIED", http.StatusForbidden, fmt.Sprintf("User: arn:aws:iam::%s:root is not authorized to perform: %s on resource: %s because no resource-based policy allows the %[2]s action",
			account, action, s.store.ARN(repo)))
		return
	}
	switch {
	case r.Method == http.MethodGet && referrersPath.MatchString(r.URL.Path):
		s.referrers(w, r)
	case r.Method == http.MethodPost && kind == kindUploads:
		s.next.ServeHTTP(w, s.withoutVainMount(r, repo, account))
	default:
		s.next.ServeHTTP(w, r)
	}
}

// account tells whose request it is.
func (s *Server) account(r *http.Request) (string, bool) {
	if user, password, ok := r.BasicAuth(); ok && user == "AWS" {
		if account, ok := s.tokens.check(password); ok {
			return account, true
		}
	}
	return s.store.cfg.Account, !s.RequireAuth
}

func (s *Server) allowed(account, repo, action string) bool {
	if account == s.store.cfg.Account {
		return true
	}
	r, err := s.store.Repository(repo)
	return err != nil || s.Allow(account, action, r) // a missing repository is told by the request itself
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

// withoutVainMount drops a mount that cannot be done: the client then uploads the layer.
func (s *Server) withoutVainMount(r *http.Request, repo, account string) *http.Request {
	q := r.URL.Query()
	digest, from := q.Get("mount"), q.Get("from")
	if digest == "" {
		return r
	}
	if from != "" && s.allowed(account, from, "ecr:GetDownloadUrlForLayer") {
		if _, err := s.store.Layer(from, digest); err == nil {
			return r
		}
	}
	q.Del("mount")
	q.Del("from")
	if _, err := s.store.Layer(repo, digest); err == nil { // there already: mounting it on itself answers so
		q.Set("mount", digest)
		q.Set("from", repo)
	}
	clone := r.Clone(r.Context())
	clone.URL.RawQuery = q.Encode()
	return clone
}

// referrers lists what refers to a digest. An empty list is a list, which the library's is not.
func (s *Server) referrers(w http.ResponseWriter, r *http.Request) {
	m := referrersPath.FindStringSubmatch(r.URL.Path)
	if !ValidDigest(m[2]) {
		writeError(w, "DIGEST_INVALID", http.StatusBadRequest, "not a sha256 digest")
		return
	}
	images, err := s.store.Referrers(m[1], m[2])
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
