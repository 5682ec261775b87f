package registry

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/slipway-ecs/slipway/internal/local/state"
)

// copyLayer makes a layer of a repository here one of a repository in another registry. Its file is
// shared where the file system can.
func (s *Store) copyLayer(to *Store, repository, digest string) error {
	if _, err := to.Layer(repository, digest); err == nil {
		return nil
	}
	f, l, err := s.OpenLayer(repository, digest)
	if err != nil {
		return err
	}
	defer f.Close()
	to.fileMu.RLock()
	defer to.fileMu.RUnlock()
	target := to.path(digest)
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return fmt.Errorf("copying a layer: %w", err)
	}
	if err := os.Link(s.path(digest), target); err != nil && !errors.Is(err, fs.ErrExist) {
		if err := writeWhole(target, f); err != nil {
			return fmt.Errorf("copying a layer: %w", err)
		}
	}
	return to.db.Update(func(tx *state.Tx) error {
		if _, err := to.repository(tx, repository); err != nil {
			return err
		}
		to.t.layers.Put(tx, LayerKey(repository, digest), &Layer{Repository: repository, Digest: digest, Size: l.Size, TouchedAt: to.now()})
		return nil
	})
}

// writeWhole makes a file that is there with all of its content, or not at all.
func writeWhole(path string, content io.Reader) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".copy-")
	if err != nil {
		return err
	}
	_, err = io.Copy(tmp, content)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name()) // the error is told
	}
	return err
}
