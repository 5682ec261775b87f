package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-ecs/slipway/internal/image"
	"github.com/slipway-ecs/slipway/internal/release"
)

// serve starts a registry that knows the referrers API, or one that does not.
func serve(t *testing.T, referrers bool, wrap func(http.Handler) http.Handler) string {
	t.Helper()
	h := ggcr.New(ggcr.WithReferrersSupport(referrers), ggcr.Logger(log.New(io.Discard, "", 0)))
	if wrap != nil {
		h = wrap(h)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func makeImage(t *testing.T) v1.Image {
	t.Helper()
	img, err := random.Image(300, 2)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func digestOf(t *testing.T, i Image) image.Digest {
	t.Helper()
	h, err := i.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return image.Digest(h.String())
}

func TestPush(t *testing.T) {
	var puts atomic.Int32
	repo := serve(t, true, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet && r.Method != http.MethodHead {
				puts.Add(1)
			}
			h.ServeHTTP(w, r)
		})
	}) + "/team/shop"
	ctx, c := t.Context(), Client{}
	one, two := makeImage(t), makeImage(t)
	d1, err := c.Push(ctx, repo, one, "c656597", "v1.0.1", "latest")
	if err != nil || d1 != digestOf(t, one) {
		t.Fatal(d1, err)
	}
	for _, ref := range []string{repo + ":c656597", repo + ":v1.0.1", repo + ":latest", repo + "@" + string(d1)} {
		if got, err := c.Resolve(ctx, ref); err != nil || got != d1 {
			t.Errorf("%s is %s, %v", ref, got, err)
		}
	}
	before := puts.Load()
	if _, err := c.Push(ctx, repo, one, "c656597", "v1.0.1", "latest"); err != nil || puts.Load() != before {
		t.Errorf("pushed again: %v, %d writes", err, puts.Load()-before)
	}
	// Latest moves; a version does not, and nothing of the push happens.
	_, err = c.Push(ctx, repo, two, "deadbee", "v1.0.1", "latest")
	var taken *TagTakenError
	if !errors.As(err, &taken) || taken.Tag != "v1.0.1" || taken.Has != d1 || !strings.Contains(err.Error(), string(d1)) || puts.Load() != before {
		t.Errorf("error %v, %d writes", err, puts.Load()-before)
	}
	d2, err := c.Push(ctx, repo, two, "deadbee", "latest")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Resolve(ctx, repo+":latest"); err != nil || got != d2 {
		t.Errorf("latest is %s, %v", got, err)
	}
	if err := c.Retag(ctx, repo, d1, "prod_c656597"); err != nil {
		t.Error(err)
	}
	if err := c.Retag(ctx, repo, d2, "prod_c656597"); !errors.As(err, &taken) {
		t.Errorf("retagged: %v", err)
	}
	tags, err := c.Tags(ctx, repo)
	slices.Sort(tags)
	if want := []string{"c656597", "deadbee", "latest", "prod_c656597", "v1.0.1"}; err != nil || !slices.Equal(tags, want) {
		t.Errorf("tags %q, %v", tags, err)
	}
	if got, err := c.Digests(ctx, repo); err != nil || len(got) != 2 || !slices.Contains(got, d1) || !slices.Contains(got, d2) {
		t.Errorf("digests %v, %v", got, err)
	}
	var missing *NotFoundError
	if _, err := c.Resolve(ctx, repo+":none"); !errors.As(err, &missing) {
		t.Errorf("error %v", err)
	}
	if _, err := c.Push(ctx, repo, one, "release/1"); err == nil {
		t.Error("a tag that is none was pushed")
	}
}

func TestPushOfHalfAnImage(t *testing.T) {
	half := struct{ Image }{makeImage(t)}
	if _, err := (Client{}).Push(t.Context(), serve(t, true, nil)+"/shop", half, "latest"); err == nil {
		t.Error("a manifest without its layers was pushed")
	}
}

// A repository whose tags are immutable answers as ECR does.
func TestImmutableRepository(t *testing.T) {
	var host string
	host = serve(t, true, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, tag, ok := strings.Cut(r.URL.Path, "/manifests/"); ok && r.Method == http.MethodPut && !strings.HasPrefix(tag, "sha256:") {
				if resp, err := http.Head("http://" + host + r.URL.Path); err == nil && resp.StatusCode == http.StatusOK {
					w.WriteHeader(http.StatusBadRequest)
					_, _ = fmt.Fprintf(w, `{"errors":[{"code":"TAG_INVALID","message":"The image tag '%s' already exists in the 'shop' repository and cannot be overwritten because the tag is immutable."}]}`, tag)
					return
				}
			}
			h.ServeHTTP(w, r)
		})
	})
	ctx, c, repo := t.Context(), Client{}, host+"/shop"
	d, err := c.Push(ctx, repo, makeImage(t), "latest")
	if err != nil {
		t.Fatal(err)
	}
	var taken *TagTakenError
	if _, err := c.Push(ctx, repo, makeImage(t), "latest"); !errors.As(err, &taken) || taken.Has != d {
		t.Errorf("error %v", err)
	}
}

func TestDescribe(t *testing.T) {
	ctx, c, repo := t.Context(), Client{}, serve(t, true, nil)+"/shop"
	platform := func(arch string) v1.Image {
		img := makeImage(t)
		f, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		f = f.DeepCopy()
		f.OS, f.Architecture = "linux", arch
		f.Config.Labels = map[string]string{"org.opencontainers.image.revision": "c656597"}
		if img, err = mutate.ConfigFile(img, f); err != nil {
			t.Fatal(err)
		}
		return img
	}
	arm, amd := platform("arm64"), platform("amd64")
	if _, err := c.Push(ctx, repo, arm, "one"); err != nil {
		t.Fatal(err)
	}
	got, err := c.Describe(ctx, repo+":one")
	if err != nil || got.Digest != digestOf(t, arm) || !slices.Equal(got.Platforms, []string{"linux/arm64"}) ||
		got.Labels["org.opencontainers.image.revision"] != "c656597" || got.Size < 600 {
		t.Errorf("%+v, %v", got, err)
	}
	list := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: arm}, mutate.IndexAddendum{Add: amd})
	d, err := c.Push(ctx, repo, list, "both")
	if err != nil {
		t.Fatal(err)
	}
	got, err = c.Describe(ctx, repo+"@"+string(d))
	if err != nil || got.Digest != d || !slices.Equal(got.Platforms, []string{"linux/arm64", "linux/amd64"}) {
		t.Errorf("%+v, %v", got, err)
	}
	again := serve(t, true, nil) + "/pulled"
	for _, ref := range []string{repo + ":one", repo + ":both"} {
		img, err := c.Pull(ctx, ref)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Push(ctx, again, img, "t-"+ref[len(repo)+1:]); err != nil {
			t.Error(err)
		}
	}
	if here, err := c.Resolve(ctx, again+":t-both"); err != nil || here != d {
		t.Errorf("pulled and pushed: %s, %v", here, err)
	}
	other := serve(t, true, nil) + "/mirror/shop"
	if err := c.Copy(ctx, repo, d, other); err != nil {
		t.Fatal(err)
	}
	if copied, err := c.Describe(ctx, other+"@"+string(d)); err != nil || !reflect.DeepEqual(copied, got) {
		t.Errorf("copied %+v, %v", copied, err)
	}
}

const kind = "application/vnd.example"

func TestReferrers(t *testing.T) {
	for api, supported := range map[string]bool{"with the API": true, "by tag": false} {
		t.Run(api, func(t *testing.T) {
			ctx, c, repo := t.Context(), Client{}, serve(t, supported, nil)+"/shop"
			d, err := c.Push(ctx, repo, makeImage(t), "c656597")
			if err != nil {
				t.Fatal(err)
			}
			if got, err := c.List(ctx, repo, d, kind); err != nil || len(got) != 0 {
				t.Errorf("found %v, %v before there is any", got, err)
			}
			big := strings.Repeat("x", inline+1)
			want := map[string]string{}
			for i, payload := range []string{"one", "two", "two", big} {
				at, err := c.Put(ctx, repo, d, kind, map[string]string{"n": payload[:1]}, []byte(payload))
				if err != nil {
					t.Fatal(i, err)
				}
				want[string(at)] = payload
			}
			if len(want) != 3 {
				t.Errorf("%d stored, want 3: the same thing twice is one", len(want))
			}
			if _, err := c.Put(ctx, repo, d, "application/vnd.other", nil, []byte("other")); err != nil {
				t.Fatal(err)
			}
			found := func(repo string) map[string]string {
				got, err := c.List(ctx, repo, d, kind)
				if err != nil {
					t.Fatal(err)
				}
				out := map[string]string{}
				for _, r := range got {
					if r.Annotations["n"] != string(r.Payload[:1]) {
						t.Errorf("annotations %v", r.Annotations)
					}
					out[string(r.Digest)] = string(r.Payload)
				}
				return out
			}
			if got := found(repo); !reflect.DeepEqual(got, want) {
				t.Errorf("found %v", got)
			}
			if tags, err := c.Tags(ctx, repo); err != nil || !slices.Equal(tags, []string{"c656597"}) {
				t.Errorf("tags %q, %v", tags, err)
			}
			// What was recorded goes along to a registry that may be of the other kind.
			other := serve(t, !supported, nil) + "/shop"
			for range 2 {
				if err := c.Copy(ctx, repo, d, other); err != nil {
					t.Fatal(err)
				}
			}
			if got := found(other); !reflect.DeepEqual(got, want) {
				t.Errorf("copied %v", got)
			}
			none := image.Digest("sha256:" + strings.Repeat("0", 64))
			var missing *NotFoundError
			if _, err := c.Put(ctx, repo, none, kind, nil, []byte("x")); !errors.As(err, &missing) {
				t.Errorf("recorded beside nothing: %v", err)
			}
		})
	}
}

// The tag that holds the list is read and written whole: one killed between its manifest and the list
// is listed when it runs again.
func TestReferrerIsListedWhenRunAgain(t *testing.T) {
	var broken atomic.Bool
	repo := serve(t, false, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if broken.Load() && r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/sha256-") {
				w.WriteHeader(http.StatusTeapot)
				return
			}
			h.ServeHTTP(w, r)
		})
	}) + "/shop"
	ctx, c := t.Context(), Client{}
	d, err := c.Push(ctx, repo, makeImage(t), "c656597")
	if err != nil {
		t.Fatal(err)
	}
	broken.Store(true)
	if _, err := c.Put(ctx, repo, d, kind, nil, []byte("one")); err == nil {
		t.Fatal("the list was not written, and nothing was said")
	}
	broken.Store(false)
	if _, err := c.Put(ctx, repo, d, kind, nil, []byte("one")); err != nil {
		t.Fatal(err)
	}
	if got, err := c.List(ctx, repo, d, kind); err != nil || len(got) != 1 {
		t.Errorf("found %v, %v", got, err)
	}
}

func TestLedgerInARegistry(t *testing.T) {
	ctx, c, repo := t.Context(), Client{}, serve(t, true, nil)+"/shop"
	ledger := release.Ledger{Referrers: c, Catalog: c}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var digests []image.Digest
	for i, tag := range []string{"aaaaaaa", "bbbbbbb"} {
		d, err := c.Push(ctx, repo, makeImage(t), tag)
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, d)
		for j, s := range []release.Statement{
			{Kind: release.Tested, Subject: d, Outcome: release.Succeeded},
			{Kind: release.DeployedTo, Subject: d, Environment: "qa", Outcome: release.Succeeded},
		} {
			s.At = now.Add(time.Duration(10*i+j) * time.Minute)
			if err := ledger.Append(ctx, repo, s); err != nil {
				t.Fatal(err)
			}
		}
	}
	history, err := ledger.History(ctx, repo)
	if err != nil || len(history) != 4 || history[3].Subject != digests[1] {
		t.Errorf("%+v, %v", history, err)
	}
	if qa, ok, err := ledger.Current(ctx, repo, "qa"); err != nil || !ok || qa.Digest != digests[1] {
		t.Errorf("%+v, %v, %v", qa, ok, err)
	}
	if r := release.CanPromote(release.Candidate{Digest: digests[1], To: "prod"}, history, release.Policy{From: "qa", Tests: true}, now.Add(time.Hour)); r != nil {
		t.Error(r)
	}
}

func TestCredentials(t *testing.T) {
	var mu sync.Mutex
	var users []string
	repo := serve(t, true, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, password, _ := r.BasicAuth()
			mu.Lock()
			users = append(users, user)
			mu.Unlock()
			if user != "AWS" || password != "secret" {
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			h.ServeHTTP(w, r)
		})
	}) + "/shop"
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	ask := func(password string) Credentials {
		return func(_ context.Context, registry string) (string, string, error) {
			if !strings.HasPrefix(repo, registry+"/") {
				return "", "", fmt.Errorf("asked for %q", registry)
			}
			return "AWS", password, nil
		}
	}
	if _, err := (Client{Credentials: ask("secret")}).Push(t.Context(), repo, makeImage(t), "c656597"); err != nil {
		t.Error(err)
	}
	var denied *DeniedError
	for name, c := range map[string]Client{"none": {}, "wrong": {Credentials: ask("wrong-password")}} {
		_, err := c.Resolve(t.Context(), repo+":c656597")
		if !errors.As(err, &denied) || strings.Contains(err.Error(), "wrong-password") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	broken := Client{Credentials: func(context.Context, string) (string, string, error) { return "", "", errors.New("no region") }}
	if _, err := broken.Resolve(t.Context(), repo+":c656597"); err == nil || !strings.Contains(err.Error(), "no region") {
		t.Errorf("error %v", err)
	}
}

func TestPlainHTTPOnlyOnLoopback(t *testing.T) {
	for repo, want := range map[string]string{
		"127.0.0.1:4566/shop": "http", "127.66.0.9:80/shop": "http", "localhost/shop": "http", "[::1]:5000/shop": "http",
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop": "https", "127.0.0.1.example.com/shop": "https",
	} {
		r, err := repository(repo)
		if err != nil || r.Scheme() != want {
			t.Errorf("%s: %s, %v", repo, r.Scheme(), err)
		}
	}
}

// What is pushed must be an image for others too.
func TestOthersPullIt(t *testing.T) {
	repo := serve(t, true, nil) + "/shop"
	img := makeImage(t)
	if _, err := (Client{}).Push(t.Context(), repo, img, "c656597"); err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(repo + ":c656597")
	if err != nil {
		t.Fatal(err)
	}
	got, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := got.Layers()
	if err != nil || len(layers) != 2 {
		t.Fatal(layers, err)
	}
	for _, l := range layers {
		rc, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, rc); err != nil {
			t.Error(err)
		}
		_ = rc.Close()
	}
}
