// Package registry is the image registry of the local AWS: repositories with ECR's rules, an OCI
// distribution server on top of them, and lifecycle policies that really delete.
//
// Layers are files, named by their digest, under a directory; everything else is in the state
// store. Both survive the process.
package registry

import (
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
)

// Names of the tables, for watches.
const (
	TableRepositories = "ecr.repositories"
	TableImages       = "ecr.images"
	TableTags         = "ecr.tags"
	TableLayers       = "ecr.layers"
	TableUploads      = "ecr.uploads"
	TableTemplates    = "ecr.templates"
	TableCacheRules   = "ecr.cacherules"
	TableSettings     = "ecr.settings"
	TableReplications = "ecr.replications"
)

// Tag mutability of a repository.
const (
	Mutable                = "MUTABLE"
	Immutable              = "IMMUTABLE"
	MutableWithExclusion   = "MUTABLE_WITH_EXCLUSION"
	ImmutableWithExclusion = "IMMUTABLE_WITH_EXCLUSION"
)

// Image statuses.
const (
	StatusActive   = "ACTIVE"
	StatusArchived = "ARCHIVED"
	// StatusActivating is the status of an image that is being restored.
	StatusActivating = "ACTIVATING"
)

// Repository is an ECR repository. Key: name.
type Repository struct {
	Name, ARN      string
	CreatedAt      time.Time
	Mutability     string
	Exclusions     []string // wildcard filters of the tags that are the other way round
	ScanOnPush     bool
	EncryptionType string // AES256, KMS, KMS_DSSE
	KMSKey         string
	Tags           map[string]string
	Policy         string // repository policy, JSON
	Lifecycle      string // lifecycle policy, JSON
	EvaluatedAt    time.Time
	Preview        *Preview
}

// Preview is the last lifecycle policy preview of a repository.
type Preview struct {
	Policy    string
	StartedAt time.Time
	Expired   []PreviewedImage
	Archived  []PreviewedImage
}

// PreviewedImage is an image a previewed policy would act on.
type PreviewedImage struct {
	Digest       string
	Tags         []string
	PushedAt     time.Time
	RulePriority int
	StorageClass string // STANDARD, ARCHIVE
}

// Image is a manifest in a repository. Key: ImageKey.
type Image struct {
	Repository, Digest string
	MediaType          string
	ArtifactType       string // artifactType, or the config's media type
	Body               []byte // the manifest, byte for byte
	Size               int64  // bytes of config and layers; of a list, of its largest manifest
	Layers             []string
	Manifests          []string // digests a manifest list holds
	Subject            string
	SubjectGoneAt      time.Time // when the subject was deleted: the image follows
	Annotations        map[string]string
	PushedAt           time.Time
	LastPulledAt       time.Time
	Status             string
	LastArchivedAt     time.Time
	LastActivatedAt    time.Time
	ActiveFrom         time.Time // when one that is ACTIVATING will be active
	Scan               *Scan
}

// Scan is the result of the last scan of an image.
type Scan struct {
	Status      string // COMPLETE, FAILED
	Description string
	At          time.Time
	Findings    []Finding
}

// Finding is a weakness a scan has found.
type Finding struct {
	Name, Severity, Description, URI string
	Attributes                       map[string]string // such as package_name
}

// Tag points at an image. Key: TagKey.
type Tag struct {
	Repository, Name, Digest string
	CheckedAt                time.Time // when upstream was last asked for it, in a pull-through cache
}

// Layer makes a blob part of a repository. Key: LayerKey.
type Layer struct {
	Repository, Digest string
	Size               int64
	// TouchedAt is when it was last uploaded, mounted or asked for: what a push under way relies on
	// is not cleaned up.
	TouchedAt time.Time
}

// Upload is a layer upload under way; its bytes are in a file of its id. Key: id.
type Upload struct {
	ID, Repository string
	StartedAt      time.Time
}

// Template is a repository creation template. Key: prefix, "ROOT" for all.
type Template struct {
	Prefix, Description    string
	AppliedFor             []string // CREATE_ON_PUSH, PULL_THROUGH_CACHE, REPLICATION
	Mutability             string
	Exclusions             []string
	EncryptionType, KMSKey string
	Tags                   map[string]string
	Policy, Lifecycle      string
	CustomRoleARN          string
	CreatedAt, UpdatedAt   time.Time
}

// CacheRule is a pull-through cache rule. Key: prefix.
type CacheRule struct {
	Prefix, UpstreamURL, UpstreamRegistry, UpstreamPrefix string
	CredentialARN, CustomRoleARN                          string
	CreatedAt, UpdatedAt                                  time.Time
}

// Setting is a document of the registry: policy, scanning, replication, signing, account settings.
// Key: name.
type Setting struct{ Name, Value string }

// ImageKey is the key of an Image record.
func ImageKey(repository, digest string) string { return repository + "@" + digest }

// TagKey is the key of a Tag record.
func TagKey(repository, tag string) string { return repository + ":" + tag }

// LayerKey is the key of a Layer record.
func LayerKey(repository, digest string) string { return repository + "@" + digest }

type tables struct {
	repositories *state.Table[Repository]
	images       *state.Table[Image]
	tags         *state.Table[Tag]
	layers       *state.Table[Layer]
	uploads      *state.Table[Upload]
	templates    *state.Table[Template]
	cacheRules   *state.Table[CacheRule]
	settings     *state.Table[Setting]
	replications *state.Table[Replication]

	tagsByImage     *state.Index[Tag]   // by ImageKey
	imagesBySubject *state.Index[Image] // by ImageKey of the subject
	listsByManifest *state.Index[Image] // by ImageKey of a held manifest
	imagesByLayer   *state.Index[Image] // by LayerKey
	layersByDigest  *state.Index[Layer] // by digest
}

func newTables(db *state.DB, suffix string) (*tables, error) {
	t := &tables{
		tagsByImage: state.NewIndex(func(t *Tag) []string { return []string{ImageKey(t.Repository, t.Digest)} }),
		imagesBySubject: state.NewIndex(func(i *Image) []string {
			if i.Subject == "" {
				return nil
			}
			return []string{ImageKey(i.Repository, i.Subject)}
		}),
		listsByManifest: state.NewIndex(func(i *Image) []string { return keysOf(i.Repository, i.Manifests) }),
		imagesByLayer:   state.NewIndex(func(i *Image) []string { return keysOf(i.Repository, i.Layers) }),
		layersByDigest:  state.NewIndex(func(l *Layer) []string { return []string{l.Digest} }),
	}
	var err error
	add(&err, db, &t.repositories, TableRepositories+suffix)
	add(&err, db, &t.images, TableImages+suffix, t.imagesBySubject, t.listsByManifest, t.imagesByLayer)
	add(&err, db, &t.tags, TableTags+suffix, t.tagsByImage)
	add(&err, db, &t.layers, TableLayers+suffix, t.layersByDigest)
	add(&err, db, &t.uploads, TableUploads+suffix)
	add(&err, db, &t.templates, TableTemplates+suffix)
	add(&err, db, &t.cacheRules, TableCacheRules+suffix)
	add(&err, db, &t.settings, TableSettings+suffix)
	add(&err, db, &t.replications, TableReplications+suffix)
	return t, err
}

func add[T any](err *error, db *state.DB, into **state.Table[T], name string, indexes ...*state.Index[T]) {
	if *err == nil {
		*into, *err = state.NewTable(db, name, indexes...)
	}
}

func keysOf(repository string, digests []string) []string {
	keys := make([]string, len(digests))
	for i, d := range digests {
		keys[i] = ImageKey(repository, d)
	}
	return keys
}
