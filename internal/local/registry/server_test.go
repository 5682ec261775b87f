package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-ecs/slipway/internal/local/state"
)

// handClock stands still until it is moved.
// Requests read it from other goroutines.
type handClock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *handClock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = t
}

func (c *handClock) After(time.Duration) <-chan time.Time { return nil }
func (c *handClock) Real(d time.Duration) time.Duration   { return d }

type fixture struct {
	*Store
	server *Server
	url    string // host:port
	clock  *handClock
	dir    string
}

func start(t *testing.T, dir string) *fixture {
	t.Helper()
	db, err := state.Open(filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	c := &handClock{t: time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)}
	s, err := New(Config{DB: db, Dir: filepath.Join(dir, "registry"), Clock: c, Account: "000000000000", Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	srv := NewServer(s, NewTokens(c.Now))
	ts := httptest.NewServer(srv)
	t.Cleanup(func() { ts.Close(); db.Close() })
	return &fixture{s, srv, strings.TrimPrefix(ts.URL, "http://"), c, dir}
}

func (f *fixture) create(t *testing.T, names ...string) {
	t.Helper()
	for _, n := range names {
		if _, err := f.CreateRepository(Repository{Name: n}); err != nil {
			t.Fatal(err)
		}
	}
}

func (f *fixture) ref(t *testing.T, s string) name.Reference {
	t.Helper()
	r, err := name.ParseReference(f.url + "/" + s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func image(t *testing.T, layers int64) v1.Image {
	t.Helper()
	im, err := random.Image(2048, layers)
	if err != nil {
		t.Fatal(err)
	}
	return im
}

func digestOf(t *testing.T, x interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	h, err := x.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

func TestPushAndPullByTagAndDigest(t *testing.T) {
	f := start(t, t.TempDir())
	f.create(t, "team/app")
	im := image(t, 3)
	tag := f.ref(t, "team/app:v1")
	if err := remote.Write(tag, im); err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, im); err != nil {
		t.Fatalf("pushing the same again: %v", err)
	}
	for _, r := range []name.Reference{tag, f.ref(t, "team/app@"+digestOf(t, im))} {
		got, err := remote.Image(r)
		if err != nil {
			t.Fatal(err)
		}
		if digestOf(t, got) != digestOf(t, im) {
			t.Errorf("%s has another digest", r)
		}
		layers, err := got.Layers()
		if err != nil || len(layers) != 3 {
			t.Fatal(len(layers), err)
		}
		for _, l := range layers {
			rc, err := l.Compressed() // verified against its digest by the client
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, rc); err != nil {
				t.Error(err)
			}
			rc.Close()
		}
	}
	got, fail, err := f.Image("team/app", ImageID{Tag: "v1"})
	if err != nil || fail != nil || !got.LastPulledAt.Equal(f.clock.Now()) || got.Size < 3*2048 {
		t.Errorf("image %+v, %v, %v", got, fail, err)
	}
	tags, err := remote.List(tag.Context())
	if err != nil || fmt.Sprint(tags) != "[v1]" {
		t.Error(tags, err)
	}
}

// Names that hold the protocol's own words.
func TestNamesLikePaths(t *testing.T) {
	f := start(t, t.TempDir())
	f.server.Allow = func(_ *Store, c Caller, _ string, _ *Repository) bool { return c.Account == "000000000000" }
	if err := f.PutTemplate(Template{Prefix: "ROOT", AppliedFor: []string{"CREATE_ON_PUSH"}}, true); err != nil {
		t.Fatal(err)
	}
	for _, repo := range []string{"team/tags/app", "a1/manifests/b2", "x1/blobs/uploads/y1", "referrers/z1"} {
		im := image(t, 1)
		if err := remote.Write(f.ref(t, repo+":v1"), im); err != nil {
			t.Errorf("%s: %v", repo, err)
			continue
		}
		if _, err := remote.Get(f.ref(t, repo+"@"+digestOf(t, im))); err != nil {
			t.Errorf("%s: %v", repo, err)
		}
	}
	if n := len(f.Repositories()); n != 4 {
		t.Errorf("%d repositories", n)
	}
}

func TestMissingRepositoryAndCreationTemplates(t *testing.T) {
	f := start(t, t.TempDir())
	err := remote.Write(f.ref(t, "auto/app:v1"), image(t, 1))
	if err == nil || !strings.Contains(err.Error(), "NAME_UNKNOWN") || !strings.Contains(err.Error(), "does not exist in the registry with id '000000000000'") {
		t.Fatalf("err = %v", err)
	}
	if err := f.PutTemplate(Template{Prefix: "auto", AppliedFor: []string{"CREATE_ON_PUSH"}, Mutability: Immutable}, true); err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(f.ref(t, "auto/app:v1"), image(t, 1)); err != nil {
		t.Fatal(err)
	}
	r, err := f.Repository("auto/app")
	if err != nil || r.Mutability != Immutable {
		t.Errorf("%+v, %v", r, err)
	}
	if err := remote.Write(f.ref(t, "automatic:v1"), image(t, 1)); err == nil {
		t.Error("the prefix auto covers automatic")
	}
}

func TestMovedTagLeavesTheOldImageUntagged(t *testing.T) {
	f := start(t, t.TempDir())
	f.create(t, "app")
	a, b := image(t, 1), image(t, 1)
	for _, im := range []v1.Image{a, b} {
		if err := remote.Write(f.ref(t, "app:latest"), im); err != nil {
			t.Fatal(err)
		}
	}
	images, err := f.Images("app")
	if err != nil || len(images) != 2 {
		t.Fatal(images, err)
	}
	for _, im := range images {
		want := "[]"
		if im.Digest == digestOf(t, b) {
			want = "[latest]"
		}
		if fmt.Sprint(im.Tags) != want {
			t.Errorf("%s has tags %v, want %s", im.Digest, im.Tags, want)
		}
	}
}

func TestImmutableTags(t *testing.T) {
	for _, c := range []struct {
		mutability string
		exclusions []string
		refused    string
	}{
		{Mutable, nil, ""},
		{Immutable, nil, "latest v1"},
		{ImmutableWithExclusion, []string{"latest*", "dev-*"}, "v1"},
		{MutableWithExclusion, []string{"v*"}, "v1"},
	} {
		t.Run(c.mutability, func(t *testing.T) {
			f := start(t, t.TempDir())
			if _, err := f.CreateRepository(Repository{Name: "app", Mutability: c.mutability, Exclusions: c.exclusions}); err != nil {
				t.Fatal(err)
			}
			var refused []string
			for _, tag := range []string{"latest", "v1"} {
				ref := f.ref(t, "app:"+tag)
				first := image(t, 1)
				if err := remote.Write(ref, first); err != nil {
					t.Fatal(err)
				}
				if err := remote.Write(ref, first); err != nil { // this client looks before it pushes; docker does not
					t.Errorf("the same image again: %v", err)
				}
				body, _ := first.RawManifest()
				_, err := f.PutImage(Push{Repository: "app", Tag: tag, Manifest: body, Again: true})
				if immutable := strings.Contains(c.refused, tag); (err != nil) != immutable {
					t.Errorf("the same manifest again on %s: %v", tag, err)
				}
				err = remote.Write(ref, image(t, 1))
				if err == nil {
					continue
				}
				refused = append(refused, tag)
				if want := "TAG_INVALID: The image tag '" + tag + "' already exists in the 'app' repository and cannot be overwritten because the tag is immutable."; !strings.Contains(err.Error(), want) {
					t.Errorf("err = %v, want %s", err, want)
				}
				if im, fail, err := f.Image("app", ImageID{Tag: tag}); err != nil || fail != nil || im.Digest != digestOf(t, first) {
					t.Errorf("the tag moved to %+v", im)
				}
			}
			if got := strings.Join(refused, " "); got != c.refused {
				t.Errorf("refused %q, want %q", got, c.refused)
			}
		})
	}
}

func TestIndexAndReferrers(t *testing.T) {
	f := start(t, t.TempDir())
	f.create(t, "app")
	ix, err := random.Index(512, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(f.ref(t, "app:multi"), ix); err != nil {
		t.Fatal(err)
	}
	im, _ := f.Repository("app")
	images, _ := f.Images(im.Name)
	if len(images) != 3 {
		t.Errorf("%d images, want the list and two", len(images))
	}
	subject, err := remote.Head(f.ref(t, "app:multi"))
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"application/vnd.slipway.test", "application/vnd.slipway.other"} {
		art := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.MediaType(kind)), types.OCIManifestSchema1)
		art = mutate.Annotations(art, map[string]string{"kind": kind}).(v1.Image)
		art = mutate.Subject(art, *subject).(v1.Image)
		if err := remote.Write(f.ref(t, "app@"+digestOf(t, art)), art); err != nil {
			t.Fatal(err)
		}
	}
	list, err := remote.Referrers(f.ref(t, "app@"+subject.Digest.String()).(name.Digest))
	if err != nil {
		t.Fatal(err)
	}
	m, err := list.IndexManifest()
	if err != nil || len(m.Manifests) != 2 || m.Manifests[0].ArtifactType == "" || m.Manifests[0].Annotations["kind"] != m.Manifests[0].ArtifactType {
		t.Fatalf("referrers %+v, %v", m, err)
	}
	res, err := http.Get("http://" + f.url + "/v2/app/referrers/" + subject.Digest.String() + "?artifactType=application/vnd.slipway.other")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var got struct {
		Manifests []struct{ ArtifactType string }
	}
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil || len(got.Manifests) != 1 || res.Header.Get("OCI-Filters-Applied") != "artifactType" {
		t.Errorf("filtered: %+v, %v, %v", got, res.Header, err)
	}
	none, err := http.Get("http://" + f.url + "/v2/app/referrers/sha256:" + strings.Repeat("0", 64))
	if err != nil {
		t.Fatal(err)
	}
	defer none.Body.Close()
	if body, _ := io.ReadAll(none.Body); !strings.Contains(string(body), `"manifests":[]`) {
		t.Errorf("no referrers: %s", body)
	}
}

func TestMounts(t *testing.T) {
	f := start(t, t.TempDir())
	f.create(t, "one", "two")
	im := image(t, 1)
	if err := remote.Write(f.ref(t, "one:v1"), im); err != nil {
		t.Fatal(err)
	}
	layers, _ := im.Layers()
	digest := digestOf(t, layers[0])
	post := func(query string) int {
		res, err := http.Post("http://"+f.url+"/v2/two/blobs/uploads/"+query, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	if got := post("?mount=" + digest + "&from=nowhere"); got != http.StatusAccepted {
		t.Errorf("from a repository that is missing: %d, want an upload", got)
	}
	if got := post("?mount=" + digest + "&from=one"); got != http.StatusCreated {
		t.Errorf("mount: %d", got)
	}
	// The client mounts by itself what it read from the same registry.
	pulled, err := remote.Image(f.ref(t, "one:v1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(f.ref(t, "two:v1"), pulled); err != nil {
		t.Fatal(err)
	}
}

func TestWrongContentIsRefused(t *testing.T) {
	f := start(t, t.TempDir())
	f.create(t, "app")
	put := func(method, path, contentType, body string) (int, string) {
		req, _ := http.NewRequest(method, "http://"+f.url+path, strings.NewReader(body))
		req.Header.Set("Content-Type", contentType)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(b)
	}
	zero := "sha256:" + strings.Repeat("0", 64)
	for name, c := range map[string]struct {
		method, path, contentType, body string
		status                          int
		want                            string
	}{
		"layer of another digest": {"POST", "/v2/app/blobs/uploads/?digest=" + zero, octetStream, "hello", 400, "DIGEST_INVALID"},
		"manifest without layers": {"PUT", "/v2/app/manifests/v1", typeOCIManifest, `{"schemaVersion":2,"mediaType":"` + typeOCIManifest + `","config":{"mediaType":"x","digest":"` + zero + `","size":1},"layers":[]}`, 404, "MANIFEST_BLOB_UNKNOWN"},
		"list of nothing there":   {"PUT", "/v2/app/manifests/v1", typeOCIIndex, `{"schemaVersion":2,"manifests":[{"mediaType":"` + typeOCIManifest + `","digest":"` + zero + `","size":1}]}`, 404, "MANIFEST_BLOB_UNKNOWN"},
		"not a manifest":          {"PUT", "/v2/app/manifests/v1", typeOCIManifest, `{"schemaVersion":2}`, 400, "MANIFEST_INVALID"},
		"schema 1":                {"PUT", "/v2/app/manifests/v1", "application/vnd.docker.distribution.manifest.v1+json", `{"schemaVersion":1}`, 400, "MANIFEST_INVALID"},
		"deleting a layer":        {"DELETE", "/v2/app/blobs/" + zero, "", "", 400, "UNSUPPORTED"},
		"deleting nothing":        {"DELETE", "/v2/app/manifests/v1", "", "", 404, "MANIFEST_UNKNOWN"},
		"missing manifest":        {"GET", "/v2/app/manifests/v1", "", "", 404, "MANIFEST_UNKNOWN"},
		"missing layer":           {"GET", "/v2/app/blobs/" + zero, "", "", 404, "BLOB_UNKNOWN"},
		"missing upload":          {"PATCH", "/v2/app/blobs/uploads/bm90aGluZw", octetStream, "x", 404, "BLOB_UPLOAD_UNKNOWN"},
	} {
		if status, body := put(c.method, c.path, c.contentType, c.body); status != c.status || !strings.Contains(body, `"code":"`+c.want+`"`) {
			t.Errorf("%s: %d %s, want %d %s", name, status, body, c.status, c.want)
		}
	}
	if files, _ := filepath.Glob(filepath.Join(f.dir, "registry", "*", "*", "*")); len(files) != 0 {
		t.Errorf("refused content is kept: %v", files)
	}
}

// Chunked uploads, as docker does them, also across a restart of the registry.
func TestChunksAndRestart(t *testing.T) {
	dir := t.TempDir()
	f := start(t, dir)
	f.create(t, "app")
	id, err := f.StartUpload("app")
	if err != nil {
		t.Fatal(err)
	}
	content := make([]byte, 200_000)
	for i := range content {
		content[i] = byte(rand.Uint32())
	}
	if n, err := f.AppendUpload("app", id, 0, bytes.NewReader(content[:70_000])); n != 70_000 || err != nil {
		t.Fatal(n, err)
	}
	if _, err := f.AppendUpload("app", id, 5, bytes.NewReader(content)); err == nil {
		t.Error("a part at the wrong place was taken")
	}
	im := image(t, 2)
	if err := remote.Write(f.ref(t, "app:v1"), im); err != nil {
		t.Fatal(err)
	}
	if err := f.db.Close(); err != nil {
		t.Fatal(err)
	}
	g := start(t, dir)
	if n, err := g.AppendUpload("app", id, 70_000, bytes.NewReader(content[70_000:])); n != 200_000 || err != nil {
		t.Fatal(n, err)
	}
	if _, err := g.FinishUpload("app", id, Digest(content)); err != nil {
		t.Fatal(err)
	}
	file, l, err := g.OpenLayer("app", Digest(content))
	if err != nil || l.Size != 200_000 {
		t.Fatal(l, err)
	}
	defer file.Close()
	if got, _ := io.ReadAll(file); !bytes.Equal(got, content) {
		t.Error("the layer has other content")
	}
	req, _ := http.NewRequest("GET", "http://"+g.url+"/v2/app/blobs/"+Digest(content), nil)
	req.Header.Set("Range", "bytes=100-199")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusPartialContent || !bytes.Equal(got, content[100:200]) {
		t.Errorf("range: %d, %d bytes", res.StatusCode, len(got))
	}
	if got, err := remote.Image(g.ref(t, "app@"+digestOf(t, im))); err != nil {
		t.Fatal(err)
	} else if ok, err := partial.Exists(layer(t, got)); !ok || err != nil {
		t.Error(ok, err)
	}
}

func layer(t *testing.T, im v1.Image) v1.Layer {
	t.Helper()
	l, err := im.Layers()
	if err != nil || len(l) == 0 {
		t.Fatal(err)
	}
	return l[0]
}

func TestAuth(t *testing.T) {
	f := start(t, t.TempDir())
	f.create(t, "app")
	im := image(t, 1)
	ref := f.ref(t, "app:v1")
	if err := remote.Write(ref, im); err != nil {
		t.Fatal(err)
	}
	f.server.RequireAuth = true
	get := func(auth authn.Authenticator) error {
		_, err := remote.Get(ref, remote.WithAuth(auth))
		return err
	}
	if err := get(authn.Anonymous); err == nil || !strings.Contains(err.Error(), "no basic auth credentials") {
		t.Errorf("anonymous: %v", err)
	}
	if err := get(&authn.Basic{Username: "AWS", Password: "x"}); err == nil {
		t.Error("a made-up token was accepted")
	}
	token, expires := f.server.tokens.Issue("000000000000")
	if err := get(&authn.Basic{Username: "AWS", Password: token}); err != nil {
		t.Error(err)
	}
	f.server.Allow = func(_ *Store, c Caller, action string, r *Repository) bool {
		return c.Account == "222222222222" && action == "ecr:BatchGetImage" && r.Name == "app"
	}
	friend, _ := f.server.tokens.Issue("222222222222")
	if err := get(&authn.Basic{Username: "AWS", Password: friend}); err != nil {
		t.Error(err)
	}
	stranger, _ := f.server.tokens.Issue("333333333333")
	if err := get(&authn.Basic{Username: "AWS", Password: stranger}); err == nil || !strings.Contains(err.Error(), "is not authorized to perform: ecr:BatchGetImage on resource: arn:aws:ecr:us-east-1:000000000000:repository/app") {
		t.Errorf("stranger: %v", err)
	}
	if err := remote.Write(f.ref(t, "app:v2"), im, remote.WithAuth(&authn.Basic{Username: "AWS", Password: friend})); err == nil {
		t.Error("a reader wrote")
	}
	f.clock.set(expires)
	if err := get(&authn.Basic{Username: "AWS", Password: token}); err == nil || !strings.Contains(err.Error(), "Your authorization token has expired. Reauthenticate and try again.") {
		t.Errorf("an expired token: %v", err)
	}
}

func TestLifecycleAndCleaning(t *testing.T) {
	f := start(t, t.TempDir())
	f.create(t, "app")
	for i := range 5 {
		f.clock.set(f.clock.Now().Add(time.Hour))
		im := image(t, 1)
		if err := remote.Write(f.ref(t, fmt.Sprintf("app:v%d", i)), im); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			head, err := remote.Head(f.ref(t, "app:v0"))
			if err != nil {
				t.Fatal(err)
			}
			sig := mutate.Subject(mutate.MediaType(empty.Image, types.OCIManifestSchema1), *head).(v1.Image)
			if err := remote.Write(f.ref(t, "app@"+digestOf(t, sig)), sig); err != nil {
				t.Fatal(err)
			}
		}
	}
	blobs := func() int {
		n, _ := filepath.Glob(filepath.Join(f.dir, "registry", blobsDir, "*", "*"))
		return len(n)
	}
	if _, err := f.ChangeRepository("app", func(r *Repository) error {
		r.Lifecycle = `{"rules":[{"rulePriority":1,"selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":3},"action":{"type":"expire"}}]}`
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	f.sweep()
	images, err := f.Images("app")
	if err != nil || len(images) != 3 {
		t.Fatalf("%d images are left, %v", len(images), err)
	}
	for _, im := range images {
		if im.Tags[0] < "v2" {
			t.Errorf("%v is left", im.Tags)
		}
	}
	f.clock.set(f.clock.Now().Add(2 * time.Hour))
	f.sweep()
	if n := blobs(); n != 6 {
		t.Errorf("%d files, want a config and a layer for each of three images", n)
	}
	if _, err := remote.Image(f.ref(t, "app:v4")); err != nil {
		t.Error(err)
	}
}

func TestDeletingImages(t *testing.T) {
	f := start(t, t.TempDir())
	f.create(t, "app")
	ix, _ := random.Index(256, 1, 1)
	if err := remote.WriteIndex(f.ref(t, "app:multi"), ix); err != nil {
		t.Fatal(err)
	}
	m, _ := ix.IndexManifest()
	child := m.Manifests[0].Digest.String()
	del := func(ids ...ImageID) string {
		deleted, failed, err := f.DeleteImages("app", ids)
		if err != nil {
			t.Fatal(err)
		}
		var codes []string
		for _, x := range failed {
			codes = append(codes, x.Code)
		}
		return fmt.Sprint(len(deleted), codes)
	}
	if got := del(ImageID{Digest: child}); got != "0 [ImageReferencedByManifestList]" {
		t.Error(got)
	}
	if got := del(ImageID{}, ImageID{Tag: "x"}, ImageID{Digest: "sha256:1"}, ImageID{Tag: "multi", Digest: child}); got != "0 [MissingDigestAndTag ImageNotFound InvalidImageDigest ImageTagDoesNotMatchDigest]" {
		t.Error(got)
	}
	if err := remote.Delete(f.ref(t, "app@"+child)); err == nil || !strings.Contains(err.Error(), "referenced by manifest list") {
		t.Errorf("deleting a child: %v", err)
	}
	if err := remote.Tag(f.ref(t, "app:second").(name.Tag), ix); err != nil {
		t.Fatal(err)
	}
	if err := remote.Delete(f.ref(t, "app:second")); err != nil {
		t.Error(err)
	}
	if _, err := remote.Head(f.ref(t, "app:multi")); err != nil {
		t.Errorf("deleting one of two tags deleted the image: %v", err)
	}
	if got := del(ImageID{Tag: "multi"}, ImageID{Digest: child}); got != "2 []" {
		t.Error(got)
	}
	if images, _ := f.Images("app"); len(images) != 0 {
		t.Errorf("%d images are left", len(images))
	}
}

func TestArchivedImagesAreNotPulled(t *testing.T) {
	f := start(t, t.TempDir())
	f.create(t, "app")
	if err := remote.Write(f.ref(t, "app:v1"), image(t, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.SetStorageClass("app", ImageID{Tag: "v1"}, true); err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Get(f.ref(t, "app:v1")); err == nil || !strings.Contains(err.Error(), "is archived") {
		t.Errorf("err = %v", err)
	}
	if im, err := f.SetStorageClass("app", ImageID{Tag: "v1"}, false); err != nil || im.Status != StatusActivating {
		t.Fatal(im, err)
	}
	if _, err := remote.Get(f.ref(t, "app:v1")); err == nil {
		t.Error("an image that is being restored was pulled")
	}
	f.clock.set(f.clock.Now().Add(restoring))
	if im, _, err := f.Image("app", ImageID{Tag: "v1"}); err != nil || im.Status != StatusActive || im.LastActivatedAt.IsZero() {
		t.Error(im, err)
	}
	if _, err := remote.Get(f.ref(t, "app:v1")); err != nil {
		t.Error(err)
	}
}

// Clients nobody here wrote have the last word, where they are installed.
func TestOtherClients(t *testing.T) {
	f := start(t, t.TempDir())
	f.create(t, "app")
	im := image(t, 2)
	if err := remote.Write(f.ref(t, "app:v1"), im); err != nil {
		t.Fatal(err)
	}
	ref := f.url + "/app:v1"
	run := func(t *testing.T, args ...string) {
		t.Helper()
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = os.Environ()
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	if _, err := exec.LookPath("crane"); err != nil && !testing.Short() {
		bin := t.TempDir()
		if out, err := exec.Command("go", "build", "-o", bin, "github.com/google/go-containerregistry/cmd/crane").CombinedOutput(); err != nil {
			t.Logf("crane cannot be built here: %v\n%s", err, out)
		}
		t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	}
	for tool, c := range map[string]struct {
		works []string
		steps [][]string
	}{
		"docker": {[]string{"docker", "info"}, [][]string{{"docker", "pull", ref}, {"docker", "pull", f.url + "/app@" + digestOf(t, im)},
			{"docker", "tag", ref, f.url + "/app:v2"}, {"docker", "push", f.url + "/app:v2"}, {"docker", "rmi", ref, f.url + "/app:v2"}}},
		"podman": {[]string{"podman", "version"}, [][]string{{"podman", "pull", "--tls-verify=false", ref}, {"podman", "push", "--tls-verify=false", ref, f.url + "/app:v3"}, {"podman", "rmi", ref}}},
		"skopeo": {[]string{"skopeo", "--version"}, [][]string{{"skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", "docker://" + ref, "docker://" + f.url + "/app:v4"}}},
		"crane":  {[]string{"crane", "version"}, [][]string{{"crane", "pull", "--insecure", ref, filepath.Join(t.TempDir(), "im.tar")}, {"crane", "copy", "--insecure", ref, f.url + "/app:v5"}}},
	} {
		t.Run(tool, func(t *testing.T) {
			if err := exec.Command(c.works[0], c.works[1:]...).Run(); err != nil {
				t.Skipf("%s does not work on this machine: %v", tool, err)
			}
			for _, step := range c.steps {
				run(t, step...)
			}
		})
	}
}

// BenchmarkPush pushes images with a layer of 16 MiB.
func BenchmarkPush(b *testing.B) {
	db, err := state.Open("")
	if err != nil {
		b.Fatal(err)
	}
	s, err := New(Config{DB: db, Dir: b.TempDir(), Clock: &handClock{t: time.Now()}, Account: "000000000000", Region: "us-east-1"})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := s.CreateRepository(Repository{Name: "app"}); err != nil {
		b.Fatal(err)
	}
	ts := httptest.NewServer(NewServer(s, NewTokens(time.Now)))
	defer ts.Close()
	ref, err := name.ParseReference(strings.TrimPrefix(ts.URL, "http://") + "/app:v1")
	if err != nil {
		b.Fatal(err)
	}
	const size = 16 << 20
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		im, err := random.Image(size, 1)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := remote.Write(ref, im); err != nil {
			b.Fatal(err)
		}
	}
}
