//go:build linux

package sandbox

import (
	"archive/tar"
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// entry is a file with its name as content, unless it is a folder or a link.
type entry struct {
	name string
	kind byte   // 0: file
	link string // of links
	mode int64
}

func layerOf(t *testing.T, entries []entry) v1.Layer {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Mode: e.mode, Uid: os.Getuid(), Gid: os.Getgid()}
		if e.kind == 0 {
			h.Typeflag, h.Size = tar.TypeReg, int64(len(e.name))
		}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if e.kind == 0 {
			if _, err := w.Write([]byte(e.name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Layers follow https://github.com/opencontainers/image-spec/blob/main/layer.md
func TestUnpack(t *testing.T) {
	for _, c := range []struct {
		name   string
		layers [][]entry
		want   []string // files, folders without content, links; sorted
	}{
		{"whiteout", [][]entry{{{name: "a"}, {name: "d/b"}, {name: "d/c"}}, {{name: ".wh.a"}, {name: "d/.wh.b"}}}, []string{"d/c"}},
		{"whiteout of a folder", [][]entry{{{name: "d/e/f"}}, {{name: ".wh.d"}}}, nil},
		{"whiteout after its successor", [][]entry{{{name: "d/old"}}, {{name: "d/new"}, {name: ".wh.d"}}}, []string{"d/new"}},
		{"opaque first", [][]entry{{{name: "d/old"}}, {{name: "d/.wh..wh..opq"}, {name: "d/new"}}}, []string{"d/new"}},
		{"opaque last", [][]entry{{{name: "d/old"}, {name: "d/e/old"}}, {{name: "d/new"}, {name: "d/e/new"}, {name: "d/.wh..wh..opq"}}}, []string{"d/e/new", "d/new"}},
		{"file over folder", [][]entry{{{name: "d/old"}}, {{name: "d"}}}, []string{"d"}},
		{"folder over file", [][]entry{{{name: "d"}}, {{name: "d", kind: tar.TypeDir}, {name: "d/x"}}}, []string{"d/x"}},
		{"through an absolute link", [][]entry{{{name: "run", kind: tar.TypeDir}, {name: "var/run", kind: tar.TypeSymlink, link: "/run"}}, {{name: "var/run/x"}}}, []string{"run/x", "var/run"}},
		{"hard link", [][]entry{{{name: "a"}, {name: "b", kind: tar.TypeLink, link: "a"}}}, []string{"a", "b"}},
		{"closed folder", [][]entry{{{name: "d", kind: tar.TypeDir, mode: 0o555}, {name: "d/x"}}}, []string{"d/x"}},
		{"names that climb", [][]entry{{{name: "../../x"}, {name: "/y"}}}, []string{"x", "y"}},
		{"link that climbs", [][]entry{{{name: "out", kind: tar.TypeSymlink, link: "../../.."}, {name: "out/x"}}}, []string{"out", "x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			outside := t.TempDir()
			dir := filepath.Join(outside, "a", "image")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			for _, l := range c.layers {
				if err := unpackLayer(dir, layerOf(t, l)); err != nil {
					t.Fatal(err)
				}
			}
			if got := tree(t, outside, dir); !slices.Equal(got, c.want) {
				t.Errorf("unpacked %q, want %q", got, c.want)
			}
			copied := filepath.Join(outside, "a", "image", "..", "..", "copy")
			if err := copyTree(copied, dir, os.Geteuid() == 0); err != nil {
				t.Fatal(err)
			}
			if got := tree(t, copied, copied); !slices.Equal(got, c.want) {
				t.Errorf("copied %q, want %q", got, c.want)
			}
		})
	}
}

// tree lists what is in dir, and fails if there is something in top outside of it.
func tree(t *testing.T, top, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, p)
			list = append(list, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestUnpackRefusesLinksOut(t *testing.T) {
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	dir := filepath.Join(outside, "image")
	if err := os.WriteFile(secret, []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, l := range [][]entry{
		{{name: "hard", kind: tar.TypeLink, link: "../secret"}},
		{{name: "up", kind: tar.TypeSymlink, link: outside}, {name: "hard", kind: tar.TypeLink, link: "up/secret"}},
	} {
		if err := unpackLayer(dir, layerOf(t, l)); err == nil {
			t.Errorf("%v is unpacked", l)
		}
		if err := os.RemoveAll(filepath.Join(dir, "up")); err != nil {
			t.Fatal(err)
		}
	}
	// A file in the place of a link replaces the link, not what it points to.
	if err := unpackLayer(dir, layerOf(t, []entry{{name: "s", kind: tar.TypeSymlink, link: secret}})); err != nil {
		t.Fatal(err)
	}
	if err := unpackLayer(dir, layerOf(t, []entry{{name: "s"}})); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(secret); err != nil || string(data) != "s" {
		t.Errorf("the file outside is now %q, %v", data, err)
	}
}
