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

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/singleflight"
)

// images unpacks images once each into a folder by digest.
type images struct {
	dir   string
	group singleflight.Group
}

// unpacked is an image ready to run.
type unpacked struct {
	root   string // folder with the files; never written to
	digest string
	config v1.Config
}

func (im *images) get(ctx context.Context, ref string) (unpacked, error) {
	v, err, _ := im.group.Do(ref, func() (any, error) { return im.pull(ctx, ref) })
	if err != nil {
		return unpacked{}, err
	}
	return v.(unpacked), nil
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
	img, err := remote.Image(r, remote.WithContext(ctx), remote.WithPlatform(platform()))
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
	for tr := tar.NewReader(rc); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := unpackEntry(root, h, tr); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

const whiteout = ".wh."

func unpackEntry(root *os.Root, h *tar.Header, content io.Reader) error {
	p := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	if p == "" {
		return nil
	}
	parent, base := path.Split(p)
	if parent != "" {
		if err := root.MkdirAll(strings.TrimSuffix(parent, "/"), 0o755); err != nil {
			return err
		}
	}
	if base == whiteout+whiteout+".opq" { // the layers below show nothing of this folder
		return clearDir(root, path.Clean(parent))
	}
	if gone, ok := strings.CutPrefix(base, whiteout); ok {
		return root.RemoveAll(path.Join(parent, gone))
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
		return root.Link(strings.TrimPrefix(path.Clean("/"+h.Linkname), "/"), p)
	default: // devices and pipes: the sandbox makes its own /dev
		return nil
	}
	if os.Geteuid() == 0 {
		if err := root.Lchown(p, h.Uid, h.Gid); err != nil {
			return err
		}
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

func clearDir(root *os.Root, dir string) error {
	f, err := root.Open(dir)
	if err != nil {
		return err
	}
	names, err := f.Readdirnames(-1)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	for _, n := range names {
		if err := root.RemoveAll(path.Join(dir, n)); err != nil {
			return err
		}
	}
	return nil
}
