package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
)

// list is a manifest list of nothing, told apart by an annotation: the smallest image there is.
func list(label string) []byte {
	return []byte(`{"schemaVersion":2,"mediaType":"` + typeOCIIndex + `","manifests":[],"annotations":{"label":"` + label + `"}}`)
}

func memory(t *testing.T, c clock.Clock, events func(Event)) *Store {
	t.Helper()
	db, err := state.Open("")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{DB: db, Dir: t.TempDir(), Clock: c, Account: "000000000000", Region: "us-east-1", Events: events})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const newestOnly = `{"rules":[{"rulePriority":1,"description":"newest","selection":{"tagStatus":"tagged","tagPatternList":["v*"],"countType":"imageCountMoreThan","countNumber":1},"action":{"type":"expire"}}]}`

func TestPoliciesAreAppliedEveryHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory(t, clock.Wall{}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = s.Run(ctx) })
		if _, err := s.CreateRepository(Repository{Name: "app", Lifecycle: newestOnly}); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if _, err := s.PutImage(Push{Repository: "app", Manifest: list(fmt.Sprint(i)), Tag: fmt.Sprintf("v%d", i)}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		count := func() int {
			images, err := s.Images("app")
			if err != nil {
				t.Fatal(err)
			}
			return len(images)
		}
		if n := count(); n != 3 {
			t.Errorf("%d images before the hour, want 3", n)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := count(); n != 1 {
			t.Errorf("%d images after the hour, want 1", n)
		}
		cancel()
		wg.Wait()
	})
}

func TestEvents(t *testing.T) {
	var got []Event
	c := &handClock{t: time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)}
	s := memory(t, c, func(e Event) { got = append(got, e) })
	if _, err := s.CreateRepository(Repository{Name: "app", Lifecycle: newestOnly}); err != nil {
		t.Fatal(err)
	}
	var digests []string
	for _, tag := range []string{"v1", "v2", "v2"} { // the last push changes nothing
		im, err := s.PutImage(Push{Repository: "app", Manifest: list(tag), Tag: tag, Again: true})
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, im.Digest)
		c.set(c.Now().Add(time.Minute))
	}
	if _, _, err := s.ApplyLifecycle("app"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.SetStorageClass("app", ImageID{Tag: "v2"}, true); err != nil {
			t.Fatal(err)
		}
	}
	var lines []string
	for _, e := range got {
		lines = append(lines, e.ActionType+" "+e.ImageTag+e.TargetStorageClass)
	}
	if want := []string{"PUSH v1", "PUSH v2", "DELETE v1", "UPDATE_STORAGE_CLASS ARCHIVE"}; !slices.Equal(lines, want) {
		t.Errorf("events %q, want %q", lines, want)
	}
	// The members of AWS's sample events.
	data, _ := json.Marshal(got[2])
	if want := `{"result":"SUCCESS","repository-name":"app","image-digest":"` + digests[0] + `","action-type":"DELETE","image-tag":"v1"}`; string(data) != want {
		t.Errorf("got %s, want %s", data, want)
	}
}

// Of many pushes of different images to one immutable tag exactly one wins, the others are told so.
func TestRaceForAnImmutableTag(t *testing.T) {
	s := memory(t, clock.Wall{}, nil)
	if _, err := s.CreateRepository(Repository{Name: "app", Mutability: Immutable}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	errs := make([]error, 20)
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = s.PutImage(Push{Repository: "app", Manifest: list(fmt.Sprint(i)), Tag: "v1", Again: true})
		})
	}
	wg.Wait()
	won := 0
	for i, err := range errs {
		var e *Error
		switch {
		case err == nil:
			won++
			if im, f, _ := s.Image("app", ImageID{Tag: "v1"}); f != nil || im.Digest != Digest(list(fmt.Sprint(i))) {
				t.Errorf("the tag is not at the winner's image")
			}
		case !errors.As(err, &e) || e.Code != CodeTagExists:
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d pushes won", won)
	}
	if images, _ := s.Images("app"); len(images) != 1 {
		t.Errorf("%d images: a refused push left its manifest", len(images))
	}
}

// Pushes that share layers, beside cleaning and deleting: whatever was pushed can be pulled.
func TestPushingBesideCleaning(t *testing.T) {
	f := start(t, t.TempDir())
	f.create(t, "app")
	base, err := random.Image(4096, 2)
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var sweeper, pushers sync.WaitGroup
	sweeper.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				f.sweep()
			}
		}
	})
	for i := range 8 {
		pushers.Go(func() {
			own, err := random.Layer(1024, types.DockerLayer)
			if err != nil {
				t.Error(err)
				return
			}
			im, err := mutate.AppendLayers(base, own)
			if err != nil {
				t.Error(err)
				return
			}
			ref := f.ref(t, fmt.Sprintf("app:v%d", i))
			if err := remote.Write(ref, im); err != nil {
				t.Error(err)
				return
			}
			if err := pullAll(remote.Image(ref)); err != nil {
				t.Error(err)
			}
		})
	}
	pushers.Wait()
	close(stop)
	sweeper.Wait()
}

func pullAll(im v1.Image, err error) error {
	if err != nil {
		return err
	}
	layers, err := im.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		rc, err := l.Compressed()
		if err != nil {
			return err
		}
		if _, err := rc.Read(make([]byte, 1)); err != nil {
			return err
		}
		if err := rc.Close(); err != nil && !strings.Contains(err.Error(), "verif") {
			return err
		}
	}
	return nil
}

func TestAbandonedUploadsGo(t *testing.T) {
	f := start(t, t.TempDir())
	f.create(t, "app")
	id, err := f.StartUpload("app")
	if err != nil {
		t.Fatal(err)
	}
	f.sweep()
	if _, err := f.UploadSize("app", id); err != nil {
		t.Errorf("a fresh upload was removed: %v", err)
	}
	f.clock.set(f.clock.Now().Add(25 * time.Hour))
	f.sweep()
	if _, err := f.UploadSize("app", id); err == nil {
		t.Error("an upload a day old is still there")
	}
	if files, _ := os.ReadDir(filepath.Join(f.dir, "registry", uploadsDir)); len(files) != 0 {
		t.Errorf("%d files are left", len(files))
	}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{"ab": true, "a/b": true, "team/app-1.x_y": true, "a": false, "App": false, "a//b": false, "/a": false,
		"a/": false, "a--b": false, strings.Repeat("a", 257): false, "": false} {
		if got := CheckName(name) == nil; got != ok {
			t.Errorf("%q: %v, want %v", name, got, ok)
		}
	}
}

func TestPullThrough(t *testing.T) {
	upstream := start(t, t.TempDir())
	upstream.create(t, "library/app")
	ix, err := random.Index(512, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(upstream.ref(t, "library/app:v1"), ix); err != nil {
		t.Fatal(err)
	}
	f := start(t, t.TempDir())
	if err := f.PutCacheRule(CacheRule{Prefix: "hub", UpstreamURL: upstream.url}, true); err != nil {
		t.Fatal(err)
	}
	if err := f.PutTemplate(Template{Prefix: "hub", AppliedFor: []string{"PULL_THROUGH_CACHE"}, Mutability: Immutable}, true); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			got, err := remote.Index(f.ref(t, "hub/library/app:v1"))
			if err != nil {
				t.Error(err)
				return
			}
			m, err := got.IndexManifest()
			if err != nil {
				t.Error(err)
				return
			}
			if err := pullAll(got.Image(m.Manifests[1].Digest)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	r, err := f.Repository("hub/library/app")
	if err != nil || r.Mutability != Immutable {
		t.Errorf("%+v, %v", r, err)
	}
	if images, _ := f.Images("hub/library/app"); len(images) != 3 {
		t.Errorf("%d images are cached, want the list and two", len(images))
	}
	upstream.clock.set(upstream.clock.Now().Add(time.Hour))
	if err := remote.Delete(upstream.ref(t, "library/app:v1")); err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Get(f.ref(t, "hub/library/app:v1")); err != nil {
		t.Errorf("what is cached was asked for upstream: %v", err)
	}
	for ref, want := range map[string]string{"hub/library/app:none": "MANIFEST_UNKNOWN", "hub/nothing:v1": "MANIFEST_UNKNOWN", "other:v1": "NAME_UNKNOWN"} {
		if _, err := remote.Get(f.ref(t, ref)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", ref, err, want)
		}
	}
	if _, err := f.Repository("hub/nothing"); err == nil {
		t.Error("a repository was made for an image that is not upstream")
	}
}
