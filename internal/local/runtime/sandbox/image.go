package sandbox

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/singleflight"
)

// images unpacks images once each into a folder by digest.
type images struct {
	dir   string
	login func(ref string) (user, password string)
	group singleflight.Group
}

// unpacked is an image ready to run.
type unpacked struct {
	root   string // folder with the files; never written to
	digest string
	config v1.Config
}

func (im *images) get(ctx context.Context, ref string) (unpacked, error) {
	// Others may wait for the same pull: it does not end with whoever happened to be the first.
	pulling := im.group.DoChan(ref, func() (any, error) { return im.pull(context.WithoutCancel(ctx), ref) })
	select {
	case r := <-pulling:
		if r.Err != nil {
			return unpacked{}, r.Err
		}
		return r.Val.(unpacked), nil
	case <-ctx.Done():
		return unpacked{}, ctx.Err()
	}
}

func (im *images) pull(ctx context.Context, ref string) (unpacked, error) {
	var opts []name.Option
	if loopback(ref) {
		opts = append(opts, name.Insecure)
	}
	r, err := name.ParseReference(ref, opts...)
	if err != nil {
		return unpacked{}, err
	}
	auth := authn.Anonymous
	if im.login != nil {
		if user, password := im.login(ref); user != "" {
			auth = &authn.Basic{Username: user, Password: password}
		}
	}
	img, err := remote.Image(r, remote.WithContext(ctx), remote.WithPlatform(platform()), remote.WithAuth(auth))
	if err != nil {
		return unpacked{}, err
	}
	digest, err := img.Digest()
	if err != nil {
		return unpacked{}, err
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return unpacked{}, fmt.Errorf("reading the image's configuration: %w", err)
	}
	if want := platform(); cfg.Architecture != "" && cfg.Architecture != want.Architecture {
		return unpacked{}, fmt.Errorf("image is for %s/%s, this machine is %s/%s", cfg.OS, cfg.Architecture, want.OS, want.Architecture)
	}
	out := unpacked{root: filepath.Join(im.dir, strings.ReplaceAll(digest.String(), ":", "-")), digest: digest.String(), config: cfg.Config}
	if _, err := os.Stat(out.root); err == nil {
		return out, nil
	}
	// Unpack beside and rename: a folder with the final name is complete.
	tmp, err := os.MkdirTemp(im.dir, "unpack-")
	if err != nil {
		return unpacked{}, err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return unpacked{}, err
	}
	layers, err := img.Layers()
	if err != nil {
		return unpacked{}, err
	}
	for i, l := range layers {
		if err := unpackLayer(tmp, l); err != nil {
			return unpacked{}, fmt.Errorf("unpacking layer %d: %w", i+1, err)
		}
	}
	if err := os.Rename(tmp, out.root); err != nil && !errors.Is(err, fs.ErrExist) {
		return unpacked{}, err
	}
	return out, nil
}

func loopback(ref string) bool {
	host, _, _ := strings.Cut(ref, "/")
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}

func unpackLayer(dir string, l v1.Layer) error {
	rc, err := l.Uncompressed()
	if err != nil {
		return err
	}
	defer rc.Close()
	// os.Root refuses every path and link that leaves the folder.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	u := unpacker{root: root, dir: dir, added: map[string]bool{}}
	for tr := tar.NewReader(rc); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			// The digest is checked when all has been read, and padding may follow the archive.
			_, err := io.Copy(io.Discard, rc)
			return err
		}
		if err != nil {
			return err
		}
		if err := u.entry(h, tr); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

// unpacker unpacks one layer over those below.
type unpacker struct {
	root  *os.Root
	dir   string
	added map[string]bool // by this layer: whiteouts do not hide them, whatever the order
}

// resolve is the path of a name in the image, with links in its folders taken as inside a
// container: /var/run may be a link to /run.
func (u *unpacker) resolve(name string) (string, error) {
	parent, base := path.Split(path.Clean("/" + name))
	if base == "" {
		return "", nil
	}
	real, err := securejoin.SecureJoin(u.dir, parent)
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(u.dir, real)
	return path.Join(rel, base), err
}

const whiteout = ".wh."

func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	root := u.root
	p, err := u.resolve(h.Name)
	if p == "" || err != nil {
		return err
	}
	parent, base := path.Split(p)
	if parent != "" {
		if err := root.MkdirAll(strings.TrimSuffix(parent, "/"), 0o755); err != nil {
			return err
		}
	}
	if base == whiteout+whiteout+".opq" { // the layers below show nothing of this folder
		return u.hide(path.Clean(parent))
	}
	if gone, ok := strings.CutPrefix(base, whiteout); ok {
		if gone = path.Join(parent, gone); u.added[gone] {
			return u.hide(gone)
		}
		return root.RemoveAll(path.Join(parent, strings.TrimPrefix(base, whiteout)))
	}
	for up := p; up != "." && !u.added[up]; up = path.Dir(up) {
		u.added[up] = true
	}
	mode := fs.FileMode(h.Mode).Perm()
	if old, err := root.Lstat(p); err == nil && !(old.IsDir() && h.Typeflag == tar.TypeDir) {
		if err := root.RemoveAll(p); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := root.MkdirAll(p, 0o755); err != nil {
			return err
		}
	case tar.TypeReg:
		f, err := root.OpenFile(p, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, content)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	case tar.TypeSymlink:
		return root.Symlink(h.Linkname, p)
	case tar.TypeLink:
		old, err := u.resolve(h.Linkname)
		if err != nil {
			return err
		}
		return root.Link(old, p)
	default: // devices and pipes: the sandbox makes its own /dev
		return nil
	}
	if os.Geteuid() == 0 {
		if err := root.Lchown(p, h.Uid, h.Gid); err != nil {
			return err
		}
	}
	if h.Typeflag == tar.TypeDir && os.Geteuid() != 0 {
		mode |= 0o700 // or nothing could be put in
	}
	return root.Chmod(p, mode|sticky(h.Mode))
}

// sticky translates tar's bits of set-user-id, set-group-id and sticky.
func sticky(mode int64) fs.FileMode {
	var m fs.FileMode
	if mode&0o4000 != 0 {
		m |= fs.ModeSetuid
	}
	if mode&0o2000 != 0 {
		m |= fs.ModeSetgid
	}
	if mode&0o1000 != 0 {
		m |= fs.ModeSticky
	}
	return m
}

// hide removes from a folder what the layers below have put there.
func (u *unpacker) hide(dir string) error {
	if st, err := u.root.Lstat(dir); err != nil || !st.IsDir() {
		return err
	}
	f, err := u.root.Open(dir)
	if err != nil {
		return err
	}
	names, err := f.Readdirnames(-1)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	for _, n := range names {
		p, remove := path.Join(dir, n), u.root.RemoveAll
		if u.added[p] {
			remove = u.hide
		}
		if err := remove(p); err != nil {
			return err
		}
	}
	return nil
}
