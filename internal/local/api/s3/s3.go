// Package s3 is S3 of the local AWS: buckets, objects with versions and conditional writes, and
// multipart uploads. The protocol is gofakes3's; the store is our own, so that an acknowledged write
// survives the death of the process and a condition is judged in the transaction that writes.
package s3

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/johannesboyne/gofakes3"

	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
)

// Bucket is a bucket. Key: name.
type Bucket struct {
	Name       string
	CreatedAt  time.Time
	Versioning string            // "", Enabled, Suspended
	Configs    map[string]string // XML or JSON of the subresources that are kept as they came: policy, tagging, …
}

// Object is one version of an object, or a delete marker. Key: see objectKey; the newest comes first.
type Object struct {
	Bucket, Key string
	VersionID   string // "" is the null version
	Seq         uint64 // grows with each write
	Marker      bool   // a delete marker
	Size        int64
	MD5         []byte
	Meta        map[string]string
	Tags        string // XML, as put
	Blob        string // file name of the contents
	At          time.Time
}

// Upload is a multipart upload that is not finished. Key: bucket, key and id, a zero byte apart.
type Upload struct {
	Bucket, Key, ID string
	Meta            map[string]string
	Parts           map[int]Part
	At              time.Time
}

// Part is an uploaded part.
type Part struct {
	Blob, ETag string
	Size       int64
	At         time.Time
}

// Service is S3.
type Service struct {
	db      *state.DB
	buckets *state.Table[Bucket]
	objects *state.Table[Object]
	uploads *state.Table[Upload]
	clock   clock.Clock
	log     *slog.Logger
	dir     string
	region  string
	front   http.Handler
}

// Config is what the service needs to know.
type Config struct {
	DB     *state.DB
	Dir    string // folder of the objects' contents, made if needed
	Clock  clock.Clock
	Log    *slog.Logger
	Region string
}

// Register opens the tables, drops contents that no acknowledged write refers to, and adds the operations.
func Register(svc *wire.Service, c Config) (*Service, error) {
	s := &Service{db: c.DB, clock: c.Clock, log: c.Log, dir: c.Dir, region: cmp.Or(c.Region, "us-east-1")}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if s.buckets, err = state.NewTable[Bucket](c.DB, "s3.buckets"); err != nil {
		return nil, err
	}
	if s.objects, err = state.NewTable[Object](c.DB, "s3.objects"); err != nil {
		return nil, err
	}
	if s.uploads, err = state.NewTable[Upload](c.DB, "s3.uploads"); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of S3 objects: %w", err)
	}
	if err := s.sweep(); err != nil {
		return nil, fmt.Errorf("dropping unfinished S3 writes: %w", err)
	}
	// No limit on skew: the clock here may run faster than the client's.
	s.front = gofakes3.New(s, gofakes3.WithTimeSource(now{s.clock}), gofakes3.WithTimeSkewLimit(0)).Server()
	s.handle(svc)
	return s, nil
}

type now struct{ clock.Clock }

func (n now) Since(t time.Time) time.Duration { return n.Now().Sub(t) }

// sweep removes the files that a process left between writing contents and acknowledging them.
func (s *Service) sweep() error {
	used := map[string]bool{}
	_ = s.db.View(func(tx *state.Tx) error {
		for _, o := range s.objects.All(tx) {
			used[o.Blob] = true
		}
		for _, u := range s.uploads.All(tx) {
			for _, p := range u.Parts {
				used[p.Blob] = true
			}
		}
		return nil
	})
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !used[e.Name()] {
			if err := os.Remove(filepath.Join(s.dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// ErrNoObject means that there is no such object, or no such bucket.
var ErrNoObject = errors.New("the object does not exist")

// Read returns an object's contents, of at most limit bytes: for environment files of tasks.
func (s *Service) Read(bucket, key string, limit int64) ([]byte, error) {
	var o *Object
	_ = s.db.View(func(tx *state.Tx) error { o = s.newest(tx, bucket, key); return nil })
	if o == nil || o.Marker {
		return nil, fmt.Errorf("s3://%s/%s: %w", bucket, key, ErrNoObject)
	}
	if o.Size > limit {
		return nil, fmt.Errorf("s3://%s/%s has %d bytes, more than %d", bucket, key, o.Size, limit)
	}
	b, err := os.ReadFile(s.path(o.Blob))
	if err != nil {
		return nil, fmt.Errorf("reading s3://%s/%s: %w", bucket, key, err)
	}
	return b, nil
}

func (s *Service) path(blob string) string { return filepath.Join(s.dir, blob) }

// store writes contents to a new file and returns its name. The record that names it makes it count.
func (s *Service) store(input io.Reader, size int64) (blob string, err error) {
	blob = newID(16)
	f, err := os.OpenFile(s.path(blob), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", fmt.Errorf("making the file of an object: %w", err)
	}
	n, err := io.Copy(f, input)
	err = errors.Join(err, f.Close())
	if err == nil && n != size {
		err = gofakes3.ErrIncompleteBody
	}
	if err != nil {
		s.drop(blob)
		return "", err
	}
	return blob, nil
}

// drop removes contents that nothing refers to any more; whoever reads them keeps the open file.
func (s *Service) drop(blobs ...string) {
	for _, b := range blobs {
		if b == "" {
			continue
		}
		if err := os.Remove(s.path(b)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("removing the contents of an S3 object", "error", err) // the next start tries again
		}
	}
}

func newID(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

const zero = "\x00"

// objectKey sorts the versions of an object newest first, and objects by their keys.
func objectKey(bucket, key string, seq uint64) string {
	return fmt.Sprintf("%s%s%s%s%020d", bucket, zero, key, zero, ^seq)
}

func uploadKey(bucket, key, id string) string {
	return strings.Join([]string{bucket, key, id}, zero)
}
