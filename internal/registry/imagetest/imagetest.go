// Package imagetest makes images for tests, from files and nothing else, and pushes them.
package imagetest

import (
	"archive/tar"
	"bytes"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Push pushes an image for this machine's architecture to ref, a repository with a tag of a registry that speaks
// plain HTTP, and returns the repository with the digest. files are programs, by their path in the image: where
// each is here.
func Push(t *testing.T, ref, user, password string, files map[string]string, config v1.Config) string {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("an image for %s: %v", ref, err)
		}
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, at := range slices.Sorted(maps.Keys(files)) {
		data, err := os.ReadFile(files[at])
		must(err)
		must(w.WriteHeader(&tar.Header{Name: at, Mode: 0o755, Size: int64(len(data)), Typeflag: tar.TypeReg}))
		_, err = w.Write(data)
		must(err)
	}
	must(w.Close())
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	must(err)
	img, err := mutate.AppendLayers(empty.Image, l)
	must(err)
	file, err := img.ConfigFile()
	must(err)
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", runtime.GOARCH, config
	img, err = mutate.ConfigFile(img, file)
	must(err)
	tag, err := name.ParseReference(ref, name.Insecure)
	must(err)
	must(remote.Write(tag, img, remote.WithAuth(&authn.Basic{Username: user, Password: password})))
	digest, err := img.Digest()
	must(err)
	return tag.Context().Name() + "@" + digest.String()
}
