package build

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// User is who the program runs as: nobody with rights.
const User = "65532:65532"

const certificates = "etc/ssl/certs/ca-certificates.crt"

// scratchBase is what a static Go program needs of a system and nothing else: a user, a folder for
// temporary files and the certificates of public authorities. It is made here, of pinned parts and not
// of this machine's, so that no registry is asked and the same commit gives the same image anywhere.
func scratchBase(p v1.Platform, created v1.Time) (v1.Image, error) {
	var roots bytes.Buffer
	for root := range bundle.Roots() {
		if err := pem.Encode(&roots, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return nil, err
		}
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range []struct {
		name string
		mode int64
		data []byte
		uid  int
	}{
		{"tmp/", 0o1777, nil, 0},
		{"home/", 0o755, nil, 0},
		{"home/nonroot/", 0o700, nil, 65532},
		{"etc/", 0o755, nil, 0},
		{"etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"), 0},
		{"etc/group", 0o644, []byte("root:x:0:\nnonroot:x:65532:\n"), 0},
		{"etc/nsswitch.conf", 0o644, []byte("hosts: files dns\n"), 0},
		{"etc/ssl/", 0o755, nil, 0},
		{"etc/ssl/certs/", 0o755, nil, 0},
		{certificates, 0o644, roots.Bytes(), 0},
	} {
		h := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data)), Typeflag: tar.TypeReg, Uid: f.uid, Gid: f.uid, ModTime: created.Time}
		if f.data == nil {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if img, err = mutate.Append(img, mutate.Addendum{Layer: layer, MediaType: types.OCILayer,
		History: v1.History{CreatedBy: "slipway", Created: created, Comment: "user, temporary folder, certificates"}}); err != nil {
		return nil, err
	}
	f, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	f = f.DeepCopy()
	f.OS, f.Architecture, f.Variant, f.Created = p.OS, p.Architecture, p.Variant, created
	f.Config.User, f.Config.WorkingDir = User, "/"
	f.Config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/home/nonroot", "SSL_CERT_FILE=/" + certificates}
	return mutate.ConfigFile(img, f)
}

// scratchIndex is the base of an image for several platforms.
func scratchIndex(platforms []v1.Platform, created v1.Time) (v1.ImageIndex, error) {
	idx := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range platforms {
		img, err := scratchBase(p, created)
		if err != nil {
			return nil, fmt.Errorf("making the base for %s: %w", p, err)
		}
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &p}})
	}
	return idx, nil
}
