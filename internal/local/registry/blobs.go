package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/slipway-ecs/slipway/internal/local/state"
)

const (
	blobsDir   = "blobs"
	uploadsDir = "uploads"
)

// path is where the blob with the digest is, sha256:hex.
func (s *Store) path(digest string) string {
	hex := strings.TrimPrefix(digest, "sha256:")
	return filepath.Join(s.cfg.Dir, blobsDir, hex[:2], hex)
}

func (s *Store) uploadPath(id string) string { return filepath.Join(s.cfg.Dir, uploadsDir, id) }

// part is what this process knows of an upload: the hash of the first bytes of its file. An upload
// begun by a process that is gone has none, and is read again when it is completed.
type part struct {
	mu     sync.Mutex
	hash   hash.Hash
	hashed int64
}

// StartUpload begins an upload and returns its id.
func (s *Store) StartUpload(repository string) (string, error) {
	id := uuid.NewString()
	f, err := os.OpenFile(s.uploadPath(id), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", fmt.Errorf("beginning an upload: %w", err)
	}
	if err := f.Close(); err != nil {
		return "", fmt.Errorf("beginning an upload: %w", err)
	}
	err = s.db.Update(func(tx *state.Tx) error {
		if _, err := s.repository(tx, repository); err != nil {
			return err
		}
		s.t.uploads.Put(tx, id, &Upload{ID: id, Repository: repository, StartedAt: s.now()})
		return nil
	})
	if err != nil {
		_ = os.Remove(s.uploadPath(id))
		return "", err
	}
	s.partsMu.Lock()
	s.parts[id] = &part{hash: sha256.New()}
	s.partsMu.Unlock()
	return id, nil
}

func (s *Store) part(id string) *part {
	s.partsMu.Lock()
	defer s.partsMu.Unlock()
	p, ok := s.parts[id]
	if !ok {
		p = &part{hash: sha256.New()}
		s.parts[id] = p
	}
	return p
}

// UploadSize returns how many bytes an upload has.
func (s *Store) UploadSize(repository, id string) (int64, error) {
	var known bool
	err := s.db.View(func(tx *state.Tx) error {
		if _, err := s.repository(tx, repository); err != nil {
			return err
		}
		u, ok := s.t.uploads.Get(tx, id)
		known = ok && u.Repository == repository
		return nil
	})
	if err != nil {
		return 0, err
	}
	if known {
		info, err := os.Stat(s.uploadPath(id))
		if err == nil {
			return info.Size(), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("looking at an upload: %w", err)
		}
	}
	return 0, errorf(CodeUploadNotFound, "The upload with id '%s' was not found in the repository with name '%s'", id, repository)
}

// AppendUpload adds what r holds to an upload, which must have offset bytes; it returns the new size.
func (s *Store) AppendUpload(repository, id string, offset int64, r io.Reader) (int64, error) {
	if _, err := s.UploadSize(repository, id); err != nil {
		return 0, err
	}
	p := s.part(id)
	p.mu.Lock()
	defer p.mu.Unlock()
	size, err := s.UploadSize(repository, id) // another part may have come meanwhile
	if err != nil {
		return 0, err
	}
	if size != offset {
		return size, errorf(CodeInvalidLayerPart, "The layer part begins at byte %d and the upload has %d bytes", offset, size)
	}
	f, err := os.OpenFile(s.uploadPath(id), os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return size, fmt.Errorf("writing an upload: %w", err)
	}
	defer f.Close()
	var w io.Writer = f
	if p.hashed == size {
		w = io.MultiWriter(f, p.hash)
	}
	n, err := io.Copy(w, r)
	if p.hashed == size {
		p.hashed += n
	}
	if err != nil {
		p.hashed = -1 // what reached the file and the hash may differ: read it again
		return size + n, fmt.Errorf("writing an upload: %w", err)
	}
	return size + n, f.Close()
}

// FinishUpload makes an upload a layer of its repository, if it has the digest.
func (s *Store) FinishUpload(repository, id, digest string) (int64, error) {
	if _, err := s.UploadSize(repository, id); err != nil {
		return 0, err
	}
	p := s.part(id)
	p.mu.Lock()
	defer p.mu.Unlock()
	size, err := s.UploadSize(repository, id)
	if err != nil {
		return 0, err
	}
	got, err := s.uploadDigest(p, id, size)
	if err != nil {
		return 0, err
	}
	if got != digest {
		s.CancelUpload(id)
		return 0, errorf(CodeInvalidLayer, "The layer's digest is '%s', not '%s'", got, digest)
	}
	s.fileMu.RLock()
	defer s.fileMu.RUnlock()
	if err := os.MkdirAll(filepath.Dir(s.path(digest)), 0o700); err != nil {
		return 0, fmt.Errorf("storing a layer: %w", err)
	}
	if err := os.Rename(s.uploadPath(id), s.path(digest)); err != nil {
		return 0, fmt.Errorf("storing a layer: %w", err)
	}
	err = s.db.Update(func(tx *state.Tx) error {
		s.t.uploads.Delete(tx, id)
		if _, err := s.repository(tx, repository); err != nil {
			return err
		}
		s.t.layers.Put(tx, LayerKey(repository, digest), &Layer{Repository: repository, Digest: digest, Size: size, TouchedAt: s.now()})
		return nil
	})
	s.partsMu.Lock()
	delete(s.parts, id)
	s.partsMu.Unlock()
	return size, err
}

func (s *Store) uploadDigest(p *part, id string, size int64) (string, error) {
	if p.hashed != size {
		f, err := os.Open(s.uploadPath(id))
		if err != nil {
			return "", fmt.Errorf("reading an upload: %w", err)
		}
		defer f.Close()
		p.hash = sha256.New()
		if _, err := io.Copy(p.hash, f); err != nil {
			return "", fmt.Errorf("reading an upload: %w", err)
		}
	}
	return "sha256:" + hex.EncodeToString(p.hash.Sum(nil)), nil
}

// CancelUpload forgets an upload.
func (s *Store) CancelUpload(id string) {
	known := false
	_ = s.db.Update(func(tx *state.Tx) error {
		known = s.t.uploads.Delete(tx, id)
		return nil
	})
	if !known { // ids come from clients: none names another file
		return
	}
	_ = os.Remove(s.uploadPath(id))
	s.partsMu.Lock()
	delete(s.parts, id)
	s.partsMu.Unlock()
}

// Layer returns a layer of a repository. Error: RepositoryNotFound, LayersNotFound.
func (s *Store) Layer(repository, digest string) (l *Layer, err error) {
	err = s.db.View(func(tx *state.Tx) error {
		if _, err := s.repository(tx, repository); err != nil {
			return err
		}
		var ok bool
		if l, ok = s.t.layers.Get(tx, LayerKey(repository, digest)); !ok {
			return errorf(CodeLayersNotFound, "The layer with digest '%s' does not exist in the repository with name '%s'", digest, repository)
		}
		return nil
	})
	if err == nil && s.now().Sub(l.TouchedAt) > grace/4 {
		err = s.db.Update(func(tx *state.Tx) error {
			s.t.layers.Modify(tx, LayerKey(repository, digest), func(l *Layer) { l.TouchedAt = s.now() })
			return nil
		})
	}
	return l, err
}

// OpenLayer opens the content of a layer of a repository.
func (s *Store) OpenLayer(repository, digest string) (*os.File, *Layer, error) {
	l, err := s.Layer(repository, digest)
	if err != nil {
		return nil, nil, err
	}
	f, err := os.Open(s.path(digest))
	if err != nil {
		return nil, nil, fmt.Errorf("opening a layer: %w", err)
	}
	return f, l, nil
}

// MountLayer makes a layer of one repository part of another, without copying. Error: as Layer.
func (s *Store) MountLayer(from, to, digest string) (*Layer, error) {
	s.fileMu.RLock()
	defer s.fileMu.RUnlock()
	var l *Layer
	err := s.db.Update(func(tx *state.Tx) error {
		if _, err := s.repository(tx, to); err != nil {
			return err
		}
		src, ok := s.t.layers.Get(tx, LayerKey(from, digest))
		if !ok {
			return errorf(CodeLayersNotFound, "The layer with digest '%s' does not exist in the repository with name '%s'", digest, from)
		}
		l = &Layer{Repository: to, Digest: digest, Size: src.Size, TouchedAt: s.now()}
		s.t.layers.Put(tx, LayerKey(to, digest), l)
		return nil
	})
	return l, err
}

// grace is how long a layer no image has is kept, and an upload nobody continues.
const grace = time.Hour

// Clean removes layers no image has any more, uploads nobody continues, and referrers whose subject
// was deleted.
func (s *Store) Clean() error {
	var abandoned []string
	var events []Event
	err := s.db.Update(func(tx *state.Tx) error {
		old := s.now().Add(-grace)
		for _, im := range s.orphans(tx) {
			events = append(events, deletions(im.Repository, s.deleteImage(tx, im))...)
		}
		var unused []string
		for k, l := range s.t.layers.All(tx) {
			if l.TouchedAt.Before(old) && s.t.imagesByLayer.Count(tx, k) == 0 {
				unused = append(unused, k)
			}
		}
		for _, k := range unused {
			s.t.layers.Delete(tx, k)
		}
		for id, u := range s.t.uploads.All(tx) {
			if info, err := os.Stat(s.uploadPath(id)); u.StartedAt.Before(old.Add(-23*grace)) || err != nil && info == nil {
				abandoned = append(abandoned, id)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cleaning the registry: %w", err)
	}
	s.emit(events...)
	for _, id := range abandoned {
		s.CancelUpload(id)
	}
	return s.cleanFiles()
}

// orphans are referrers whose subject was deleted, unless a manifest list holds them.
func (s *Store) orphans(tx *state.Tx) []*Image {
	var out []*Image
	for key, im := range s.t.images.All(tx) {
		if im.SubjectGoneAt.IsZero() {
			continue
		}
		if _, back := s.t.images.Get(tx, ImageKey(im.Repository, im.Subject)); !back && len(s.holders(tx, key)) == 0 {
			out = append(out, im)
		}
	}
	return out
}

// cleanFiles removes the files of layers that are in no repository.
func (s *Store) cleanFiles() error {
	s.fileMu.Lock()
	defer s.fileMu.Unlock()
	err := filepath.WalkDir(filepath.Join(s.cfg.Dir, blobsDir), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		var used bool
		_ = s.db.View(func(tx *state.Tx) error {
			used = s.t.layersByDigest.Count(tx, "sha256:"+d.Name()) > 0
			return nil
		})
		if used {
			return nil
		}
		return os.Remove(path)
	})
	if err != nil {
		return fmt.Errorf("removing unused layers: %w", err)
	}
	return nil
}
