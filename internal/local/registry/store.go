package registry

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/slipway-ecs/slipway/internal/image/lifecycle"
	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
)

// Config is what a Store needs.
type Config struct {
	DB      *state.DB
	Dir     string // for layers; created if needed
	Clock   clock.Clock
	Account string // registry id, 12 digits
	Region  string
	// Events is told of every image that was pushed, deleted or moved between storage classes. Nil:
	// nobody is.
	Events func(Event)
	// Tell is told of what happened to a repository (its ARN) otherwise: replications, scans and
	// pull-through updates, by the detail type of EventBridge's event. Nil: nobody is.
	Tell func(kind string, resources []string, detail any)
	// Destinations says where what is pushed to a registry is replicated to. Nil: nowhere.
	Destinations func(*Store) []Destination
	// Secret is the value of a secret, for upstream registries that want credentials. Nil: there are
	// none.
	Secret func(arn string) (string, error)

	tables string // after the names of the tables, beside the home registry's
}

// Store holds repositories, images and layers. It is safe for concurrent use.
type Store struct {
	cfg Config
	db  *state.DB
	t   *tables

	fileMu  sync.RWMutex // held for reading while a layer's file and record are put, for writing while files are removed
	partsMu sync.Mutex
	parts   map[string]*part // uploads under way in this process, by id
	fetches singleflight.Group

	all     *Registries // nil: it is the only one
	address string      // IP address of its own; empty: that of the local AWS
}

// New opens the registry in cfg.Dir.
func New(cfg Config) (*Store, error) {
	for _, d := range []string{blobsDir, uploadsDir} {
		if err := os.MkdirAll(filepath.Join(cfg.Dir, d), 0o700); err != nil {
			return nil, fmt.Errorf("creating the registry's directory: %w", err)
		}
	}
	t, err := newTables(cfg.DB, cfg.tables)
	if err != nil {
		return nil, fmt.Errorf("opening the registry's tables: %w", err)
	}
	return &Store{cfg: cfg, db: cfg.DB, t: t, parts: map[string]*part{}}, nil
}

// ARN is the ARN of a repository.
func (s *Store) ARN(name string) string {
	return fmt.Sprintf("arn:aws:ecr:%s:%s:repository/%s", s.cfg.Region, s.cfg.Account, name)
}

// Now is the time on the registry's clock.
func (s *Store) Now() time.Time { return s.now() }

func (s *Store) now() time.Time { return s.cfg.Clock.Now().UTC().Truncate(time.Millisecond) }

// Limits of ECR: https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html.
const (
	maxRepositories  = 100_000
	maxImages        = 100_000
	maxTagsOfImage   = 1_000
	maxManifestBytes = 4 << 20
)

var namePattern = regexp.MustCompile(`^(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*$`)

// CheckName tells what is wrong with a repository name.
func CheckName(name string) error {
	if len(name) < 2 || len(name) > 256 || !namePattern.MatchString(name) {
		return errorf(CodeInvalidParameter, "Invalid parameter at 'repositoryName' failed to satisfy constraint: 'must satisfy regular expression '(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*''")
	}
	return nil
}

// CreateRepository adds a repository; r.Name and what is not the default are set by the caller.
func (s *Store) CreateRepository(r Repository) (*Repository, error) {
	if err := CheckName(r.Name); err != nil {
		return nil, err
	}
	err := s.db.Update(func(tx *state.Tx) error { return s.create(tx, &r) })
	return &r, err
}

func (s *Store) create(tx *state.Tx, r *Repository) error {
	if _, ok := s.t.repositories.Get(tx, r.Name); ok {
		return errorf(CodeRepositoryExists, "The repository with name '%s' already exists in the registry with id '%s'", r.Name, s.cfg.Account)
	}
	if s.t.repositories.Len(tx) >= maxRepositories {
		return errorf(CodeLimitExceeded, "The registry has its maximum of %d repositories", maxRepositories)
	}
	r.ARN, r.CreatedAt = s.ARN(r.Name), s.now()
	if r.Mutability == "" {
		r.Mutability = Mutable
	}
	if r.EncryptionType == "" {
		r.EncryptionType = "AES256"
	}
	s.t.repositories.Put(tx, r.Name, r)
	return nil
}

// CreateForPush creates the repository if it is missing and a creation template says that a push
// creates it.
func (s *Store) CreateForPush(name string) error {
	if _, err := s.Repository(name); err == nil || CheckName(name) != nil {
		return nil
	}
	return s.db.Update(func(tx *state.Tx) error {
		if _, ok := s.t.repositories.Get(tx, name); ok {
			return nil
		}
		tpl := s.template(tx, name, "CREATE_ON_PUSH")
		if tpl == nil {
			return nil // the push itself says that there is no such repository
		}
		return s.create(tx, fromTemplate(name, tpl))
	})
}

// fromTemplate is a new repository as the template wants it; without one it has the defaults.
func fromTemplate(name string, t *Template) *Repository {
	if t == nil {
		return &Repository{Name: name}
	}
	return &Repository{Name: name, Mutability: t.Mutability, Exclusions: t.Exclusions, EncryptionType: t.EncryptionType,
		KMSKey: t.KMSKey, Tags: t.Tags, Policy: t.Policy, Lifecycle: t.Lifecycle}
}

// template is the creation template with the longest prefix that covers the name.
func (s *Store) template(tx *state.Tx, name, purpose string) *Template {
	var best *Template
	for prefix, t := range s.t.templates.All(tx) {
		covers := prefix == "ROOT" || strings.HasPrefix(name, strings.TrimSuffix(prefix, "/")+"/")
		if !covers || !slices.Contains(t.AppliedFor, purpose) {
			continue
		}
		if best == nil || best.Prefix == "ROOT" || prefix != "ROOT" && len(prefix) > len(best.Prefix) {
			best = t
		}
	}
	return best
}

// Repository returns a repository.
func (s *Store) Repository(name string) (r *Repository, err error) {
	err = s.db.View(func(tx *state.Tx) error {
		r, err = s.repository(tx, name)
		return err
	})
	return r, err
}

func (s *Store) repository(tx *state.Tx, name string) (*Repository, error) {
	r, ok := s.t.repositories.Get(tx, name)
	if !ok {
		return nil, errorf(CodeRepositoryNotFound, "The repository with name '%s' does not exist in the registry with id '%s'", name, s.cfg.Account)
	}
	return r, nil
}

// Repositories returns all repositories by name.
func (s *Store) Repositories() []*Repository {
	var out []*Repository
	_ = s.db.View(func(tx *state.Tx) error {
		for _, r := range s.t.repositories.All(tx) {
			out = append(out, r)
		}
		return nil
	})
	return out
}

// ChangeRepository puts a copy of the repository after f has changed it; an error of f changes nothing.
func (s *Store) ChangeRepository(name string, f func(r *Repository) error) (*Repository, error) {
	var changed *Repository
	err := s.db.Update(func(tx *state.Tx) error {
		old, err := s.repository(tx, name)
		if err != nil {
			return err
		}
		r := *old
		if err := f(&r); err != nil {
			return err
		}
		changed = &r
		s.t.repositories.Put(tx, name, changed)
		return nil
	})
	return changed, err
}

// DeleteRepository removes a repository, with its images if force is set.
func (s *Store) DeleteRepository(name string, force bool) (*Repository, error) {
	var r *Repository
	err := s.db.Update(func(tx *state.Tx) (err error) {
		if r, err = s.repository(tx, name); err != nil {
			return err
		}
		images := collect(s.t.images.Prefix(tx, name+"@"))
		if len(images) > 0 && !force {
			return errorf(CodeRepositoryNotEmpty, "The repository with name '%s' in registry with id '%s' cannot be deleted because it still contains images", name, s.cfg.Account)
		}
		for _, k := range images {
			s.t.images.Delete(tx, k)
		}
		for _, k := range collect(s.t.tags.Prefix(tx, name+":")) {
			s.t.tags.Delete(tx, k)
		}
		for _, k := range collect(s.t.layers.Prefix(tx, name+"@")) {
			s.t.layers.Delete(tx, k)
		}
		s.t.repositories.Delete(tx, name)
		return nil
	})
	return r, err
}

func collect[T any](rows func(yield func(string, *T) bool)) []string {
	var keys []string
	rows(func(k string, _ *T) bool {
		keys = append(keys, k)
		return true
	})
	return keys
}

// immutableTag tells whether the tag may not be moved.
func (r *Repository) immutableTag(tag string) bool {
	excluded := slices.ContainsFunc(r.Exclusions, func(f string) bool { return lifecycle.MatchPattern(f, tag) })
	switch r.Mutability {
	case Immutable:
		return true
	case ImmutableWithExclusion:
		return !excluded
	case MutableWithExclusion:
		return excluded
	}
	return false
}

// Setting returns a document of the registry, empty if it is not set.
func (s *Store) Setting(name string) string {
	var v string
	_ = s.db.View(func(tx *state.Tx) error {
		if r, ok := s.t.settings.Get(tx, name); ok {
			v = r.Value
		}
		return nil
	})
	return v
}

// PutSetting stores a document of the registry; an empty one removes it.
func (s *Store) PutSetting(name, value string) error {
	return s.db.Update(func(tx *state.Tx) error {
		if value == "" {
			s.t.settings.Delete(tx, name)
			return nil
		}
		s.t.settings.Put(tx, name, &Setting{name, value})
		return nil
	})
}
