package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
)

// Media types of manifests.
const (
	typeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	typeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	typeOCIManifest    = "application/vnd.oci.image.manifest.v1+json"
	typeOCIIndex       = "application/vnd.oci.image.index.v1+json"
)

var (
	tagPattern    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// ValidDigest tells whether d is a digest as ECR takes it: sha256 in hexadecimal.
func ValidDigest(d string) bool { return digestPattern.MatchString(d) }

// Digest is the digest of content.
func Digest(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

type descriptor struct {
	MediaType string   `json:"mediaType"`
	Digest    string   `json:"digest"`
	Size      int64    `json:"size"`
	URLs      []string `json:"urls"`
}

type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *descriptor       `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Manifests     []descriptor      `json:"manifests"`
	Subject       *descriptor       `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

// Push is an image to put.
type Push struct {
	Repository string
	Manifest   []byte
	MediaType  string // may be empty: the manifest says it, or its form does
	Tag        string // may be empty
	Digest     string // may be empty; otherwise it must be the manifest's
	// Again says that putting what is there already is no error, as docker clients expect. ECR
	// refuses them an immutable tag even then: https://github.com/aws/containers-roadmap/issues/2179.
	Again bool
	// replica is an image that comes from another registry: it goes no further.
	replica bool
	// fetched is one that comes from upstream, now.
	fetched bool
}

// parseManifest reads a manifest into an image record.
func parseManifest(repository string, body []byte, mediaType string) (*Image, error) {
	bad := func(format string, args ...any) (*Image, error) {
		return nil, errorf(CodeInvalidParameter, "Invalid parameter at 'imageManifest' failed to satisfy constraint: '%s'", fmt.Sprintf(format, args...))
	}
	if len(body) == 0 || len(body) > maxManifestBytes {
		return bad("Member must have length between 1 and %d", maxManifestBytes)
	}
	var m manifest
	if err := json.Unmarshal(body, &m); err != nil {
		return bad("Invalid JSON syntax")
	}
	if m.SchemaVersion != 2 {
		return bad("schemaVersion must be 2")
	}
	if mediaType == "" || mediaType == "application/octet-stream" {
		mediaType = m.MediaType
	}
	if mediaType == "" { // OCI leaves it out
		if mediaType = typeOCIManifest; m.Config == nil {
			mediaType = typeOCIIndex
		}
	}
	if m.MediaType != "" && m.MediaType != mediaType {
		return bad("mediaType in manifest should be '%s' not '%s'", mediaType, m.MediaType)
	}
	im := &Image{Repository: repository, Digest: Digest(body), MediaType: mediaType, Body: body,
		ArtifactType: m.ArtifactType, Annotations: m.Annotations, Status: StatusActive}
	if m.Subject != nil {
		im.Subject = m.Subject.Digest
	}
	switch mediaType {
	case typeOCIManifest, typeDockerManifest:
		if m.Config == nil || m.Config.Digest == "" {
			return bad("manifest has no config")
		}
		if im.ArtifactType == "" {
			im.ArtifactType = m.Config.MediaType
		}
		for _, l := range append([]descriptor{*m.Config}, m.Layers...) {
			if len(l.URLs) > 0 && !strings.HasPrefix(l.MediaType, "application/vnd.oci.image.layer.v1") {
				continue // kept elsewhere
			}
			if !ValidDigest(l.Digest) {
				return bad("layer digest '%s' is not a sha256 digest", l.Digest)
			}
			im.Layers = append(im.Layers, l.Digest)
		}
	case typeOCIIndex, typeDockerList:
		for _, c := range m.Manifests {
			if !ValidDigest(c.Digest) {
				return bad("manifest digest '%s' is not a sha256 digest", c.Digest)
			}
			im.Manifests = append(im.Manifests, c.Digest)
		}
	default:
		return bad("unsupported manifest media type '%s'", mediaType)
	}
	if im.Subject != "" && !ValidDigest(im.Subject) {
		return bad("subject digest '%s' is not a sha256 digest", im.Subject)
	}
	im.Layers, im.Manifests = distinct(im.Layers), distinct(im.Manifests)
	return im, nil
}

func distinct(in []string) []string {
	slices.Sort(in)
	return slices.Compact(in)
}

// PutImage stores a manifest and, if asked, points a tag at it. A tag that pointed at another image
// moves, unless it is immutable; the other image stays.
func (s *Store) PutImage(p Push) (*Image, error) {
	if p.Tag != "" && !tagPattern.MatchString(p.Tag) {
		return nil, errorf(CodeInvalidParameter, "Invalid parameter at 'imageTag' failed to satisfy constraint: 'must satisfy regular expression '[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}''")
	}
	im, err := parseManifest(p.Repository, p.Manifest, p.MediaType)
	if err != nil {
		return nil, err
	}
	if p.Digest != "" && p.Digest != im.Digest {
		return nil, errorf(CodeDigestMismatch, "The digest '%s' does not match the manifest's digest '%s'", p.Digest, im.Digest)
	}
	changed := false
	err = s.db.Update(func(tx *state.Tx) error {
		repo, err := s.repository(tx, p.Repository)
		if err != nil {
			return err
		}
		key := ImageKey(p.Repository, im.Digest)
		old, known := s.t.images.Get(tx, key)
		changed = !known
		if known {
			im = old
		} else if err := s.putNew(tx, im); err != nil {
			return err
		}
		if p.Tag == "" {
			if known && !p.Again {
				return errorf(CodeImageExists, "Image with digest '%s' already exists in the repository with name '%s' in registry with id '%s'", im.Digest, p.Repository, s.cfg.Account)
			}
			return nil
		}
		moved, err := s.putTag(tx, repo, p, im.Digest)
		changed = changed || moved
		return err
	})
	if err == nil && changed {
		if !p.replica {
			s.emit(pushed(im, p.Tag))
			s.replicate(im, p.Tag)
		}
		s.scanOnPush(im)
	}
	return im, err
}

func (s *Store) putNew(tx *state.Tx, im *Image) error {
	var missing []string
	for _, d := range im.Layers {
		l, ok := s.t.layers.Get(tx, LayerKey(im.Repository, d))
		if !ok {
			missing = append(missing, d)
			continue
		}
		im.Size += l.Size
	}
	if len(missing) > 0 {
		return errorf(CodeLayersNotFound, "Layers with digests '[%s]' required for pushing image into repository with name '%s' in the registry with id '%s' do not exist",
			strings.Join(missing, ", "), im.Repository, s.cfg.Account)
	}
	for _, d := range im.Manifests {
		child, ok := s.t.images.Get(tx, ImageKey(im.Repository, d))
		if !ok {
			missing = append(missing, d)
			continue
		}
		im.Size = max(im.Size, child.Size)
	}
	if len(missing) > 0 {
		return errorf(CodeReferencedNotFound, "Images with digests '[%s]' required for pushing image into repository with name '%s' in the registry with id '%s' do not exist",
			strings.Join(missing, ", "), im.Repository, s.cfg.Account)
	}
	if s.count(tx, im.Repository) >= maxImages {
		return errorf(CodeLimitExceeded, "The repository with name '%s' has its maximum of %d images", im.Repository, maxImages)
	}
	im.PushedAt = s.now()
	s.t.images.Put(tx, ImageKey(im.Repository, im.Digest), im)
	return nil
}

func (s *Store) count(tx *state.Tx, repository string) int {
	if s.t.images.Len(tx) < maxImages {
		return 0 // all repositories together are below the limit of one
	}
	n := 0
	for range s.t.images.Prefix(tx, repository+"@") {
		n++
	}
	return n
}

// putTag points the tag at the digest; false if it did so before.
func (s *Store) putTag(tx *state.Tx, repo *Repository, p Push, digest string) (bool, error) {
	key := TagKey(p.Repository, p.Tag)
	old, ok := s.t.tags.Get(tx, key)
	switch {
	case ok && old.Digest == digest && (p.replica || p.fetched || p.Again && !repo.immutableTag(p.Tag)):
		if p.fetched {
			s.t.tags.Put(tx, key, &Tag{Repository: p.Repository, Name: p.Tag, Digest: digest, CheckedAt: s.now()})
		}
		return false, nil
	case ok && old.Digest == digest && !p.Again:
		return false, errorf(CodeImageExists, "Image with digest '%s' and tag '%s' already exists in the repository with name '%s' in registry with id '%s'", digest, p.Tag, p.Repository, s.cfg.Account)
	case ok && repo.immutableTag(p.Tag):
		return false, errorf(CodeTagExists, "The image tag '%s' already exists in the '%s' repository and cannot be overwritten because the tag is immutable.", p.Tag, p.Repository)
	case s.t.tagsByImage.Count(tx, ImageKey(p.Repository, digest)) >= maxTagsOfImage:
		return false, errorf(CodeLimitExceeded, "The image with digest '%s' has its maximum of %d tags", digest, maxTagsOfImage)
	}
	t := &Tag{Repository: p.Repository, Name: p.Tag, Digest: digest}
	if p.fetched {
		t.CheckedAt = s.now()
	}
	s.t.tags.Put(tx, key, t)
	return true, nil
}

// ImageID names an image: by digest, by tag, or by both, which must then agree.
type ImageID struct{ Digest, Tag string }

// Failure says why an image could not be used; Code is one of ECR's image failure codes.
type Failure struct {
	ID           ImageID
	Code, Reason string
}

// resolve finds an image.
func (s *Store) resolve(tx *state.Tx, repository string, id ImageID) (*Image, *Failure) {
	fail := func(code, reason string) (*Image, *Failure) { return nil, &Failure{id, code, reason} }
	switch {
	case id.Digest == "" && id.Tag == "":
		return fail("MissingDigestAndTag", "Invalid request parameters: both tag and digest cannot be null")
	case id.Digest != "" && !ValidDigest(id.Digest):
		return fail("InvalidImageDigest", "Invalid request parameters: image digest should satisfy the regex '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'")
	case id.Tag != "" && !tagPattern.MatchString(id.Tag):
		return fail("InvalidImageTag", "Invalid request parameters: image tag should satisfy the regex '[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}'")
	}
	digest := id.Digest
	if id.Tag != "" {
		t, ok := s.t.tags.Get(tx, TagKey(repository, id.Tag))
		switch {
		case !ok:
			return fail("ImageNotFound", "Requested image not found")
		case digest != "" && t.Digest != digest:
			return fail("ImageTagDoesNotMatchDigest", "Requested image tag does not match digest")
		}
		digest = t.Digest
	}
	im, ok := s.t.images.Get(tx, ImageKey(repository, digest))
	if !ok {
		return fail("ImageNotFound", "Requested image not found")
	}
	return s.settled(im), nil
}

// settled is an image whose restoring has ended, or the image as it is.
func (s *Store) settled(im *Image) *Image {
	if im.Status != StatusActivating || s.now().Before(im.ActiveFrom) {
		return im
	}
	out := *im
	out.Status, out.LastActivatedAt = StatusActive, im.ActiveFrom
	return &out
}

// Image returns an image. An error is RepositoryNotFound; a failure is about the image.
func (s *Store) Image(repository string, id ImageID) (im *Image, f *Failure, err error) {
	err = s.db.View(func(tx *state.Tx) error {
		if _, err := s.repository(tx, repository); err != nil {
			return err
		}
		im, f = s.resolve(tx, repository, id)
		return nil
	})
	return im, f, err
}

// Tagged is an image with its tags.
type Tagged struct {
	*Image
	Tags []string // in order; nil if there are none
}

// Images returns all images of a repository by digest.
func (s *Store) Images(repository string) (out []Tagged, err error) {
	err = s.db.View(func(tx *state.Tx) error {
		if _, err := s.repository(tx, repository); err != nil {
			return err
		}
		out = s.images(tx, repository)
		return nil
	})
	return out, err
}

// TaggedImage is Image with the image's tags.
func (s *Store) TaggedImage(repository string, id ImageID) (out Tagged, f *Failure, err error) {
	err = s.db.View(func(tx *state.Tx) error {
		if _, err := s.repository(tx, repository); err != nil {
			return err
		}
		if out.Image, f = s.resolve(tx, repository, id); f != nil {
			return nil
		}
		for _, t := range s.t.tagsByImage.Get(tx, ImageKey(repository, out.Digest)) {
			out.Tags = append(out.Tags, t.Name)
		}
		return nil
	})
	return out, f, err
}

func (s *Store) images(tx *state.Tx, repository string) []Tagged {
	tags := map[string][]string{}
	for _, t := range s.t.tags.Prefix(tx, repository+":") {
		tags[t.Digest] = append(tags[t.Digest], t.Name)
	}
	var out []Tagged
	for _, im := range s.t.images.Prefix(tx, repository+"@") {
		out = append(out, Tagged{s.settled(im), tags[im.Digest]})
	}
	return out
}

// Referrers returns the images of a repository that refer to the digest.
func (s *Store) Referrers(repository, digest string) (out []*Image, err error) {
	err = s.db.View(func(tx *state.Tx) error {
		if _, err := s.repository(tx, repository); err != nil {
			return err
		}
		for _, im := range s.t.imagesBySubject.Get(tx, ImageKey(repository, digest)) {
			out = append(out, s.settled(im))
		}
		return nil
	})
	return out, err
}

// Pulled notes that an image was pulled, unless pulls of who did so do not count.
func (s *Store) Pulled(c Caller, repository, digest string) error {
	if s.excluded(c) {
		return nil
	}
	return s.db.Update(func(tx *state.Tx) error {
		s.t.images.Modify(tx, ImageKey(repository, digest), func(im *Image) { im.LastPulledAt = s.now() })
		return nil
	})
}

// DeleteImages deletes images, or only tags: an image goes when it is named by digest or by its last
// tag. It returns what was deleted.
func (s *Store) DeleteImages(repository string, ids []ImageID) (deleted []ImageID, failures []Failure, err error) {
	err = s.db.Update(func(tx *state.Tx) error {
		if _, err := s.repository(tx, repository); err != nil {
			return err
		}
		for _, id := range ids {
			im, f := s.resolve(tx, repository, id)
			if f != nil {
				failures = append(failures, *f)
				continue
			}
			key := ImageKey(repository, im.Digest)
			if id.Tag != "" && s.t.tagsByImage.Count(tx, key) > 1 {
				s.t.tags.Delete(tx, TagKey(repository, id.Tag))
				deleted = append(deleted, ImageID{im.Digest, id.Tag})
				continue
			}
			if lists := s.holders(tx, key); len(lists) > 0 {
				failures = append(failures, Failure{id, "ImageReferencedByManifestList", "Requested image referenced by manifest list: [" + strings.Join(lists, ", ") + "]"})
				continue
			}
			deleted = append(deleted, s.deleteImage(tx, im)...)
		}
		return nil
	})
	if err == nil {
		s.emit(deletions(repository, deleted)...)
	}
	return deleted, failures, err
}

// holders are the digests of the manifest lists that hold an image.
func (s *Store) holders(tx *state.Tx, key string) []string {
	var out []string
	for _, list := range s.t.listsByManifest.Get(tx, key) {
		out = append(out, list.Digest)
	}
	return out
}

func (s *Store) deleteImage(tx *state.Tx, im *Image) []ImageID {
	key := ImageKey(im.Repository, im.Digest)
	var gone []ImageID
	for _, t := range slices.Collect(values(s.t.tagsByImage.Get(tx, key))) {
		s.t.tags.Delete(tx, TagKey(im.Repository, t.Name))
		gone = append(gone, ImageID{im.Digest, t.Name})
	}
	s.t.images.Delete(tx, key)
	for _, r := range slices.Collect(values(s.t.imagesBySubject.Get(tx, key))) {
		s.t.images.Modify(tx, ImageKey(r.Repository, r.Digest), func(r *Image) { r.SubjectGoneAt = s.now() })
	}
	if len(gone) == 0 {
		gone = []ImageID{{Digest: im.Digest}}
	}
	return gone
}

func values[T any](rows func(yield func(string, *T) bool)) func(yield func(*T) bool) {
	return func(yield func(*T) bool) {
		rows(func(_ string, v *T) bool { return yield(v) })
	}
}

// SetStorageClass archives an image or restores it.
func (s *Store) SetStorageClass(repository string, id ImageID, archive bool) (*Image, error) {
	var out *Image
	changed := false
	err := s.db.Update(func(tx *state.Tx) error {
		if _, err := s.repository(tx, repository); err != nil {
			return err
		}
		im, f := s.resolve(tx, repository, id)
		if f != nil {
			return errorf(CodeImageNotFound, "The image with imageId {imageDigest:'%s', imageTag:'%s'} does not exist within the repository with name '%s' in the registry with id '%s'",
				id.Digest, id.Tag, repository, s.cfg.Account)
		}
		out = s.setArchived(tx, im, archive)
		changed = out != im
		return nil
	})
	if err == nil && changed {
		s.emit(moved(out))
	}
	return out, err
}

// restoring is how long it takes to restore an archived image: up to 20 minutes.
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/archive_restore_image.html
const restoring = 20 * time.Minute

func (s *Store) setArchived(tx *state.Tx, im *Image, archive bool) *Image {
	if (im.Status == StatusArchived) == archive {
		return im
	}
	changed := *im
	if archive {
		changed.Status, changed.LastArchivedAt = StatusArchived, s.now()
	} else {
		changed.Status, changed.ActiveFrom = StatusActivating, s.now().Add(restoring)
	}
	s.t.images.Put(tx, ImageKey(im.Repository, im.Digest), &changed)
	return &changed
}

// Scanned notes the result of a scan of an image.
func (s *Store) Scanned(repository, digest string, scan Scan) error {
	event := ScanEvent{ScanStatus: scan.Status, RepositoryName: repository, ImageDigest: digest, Counts: map[string]int{}, ImageTags: []string{}}
	for _, f := range scan.Findings {
		event.Counts[f.Severity]++
	}
	err := s.db.Update(func(tx *state.Tx) error {
		scan.At = s.now()
		s.t.images.Modify(tx, ImageKey(repository, digest), func(im *Image) { im.Scan = &scan })
		for _, t := range s.t.tagsByImage.Get(tx, ImageKey(repository, digest)) {
			event.ImageTags = append(event.ImageTags, t.Name)
		}
		return nil
	})
	if err == nil {
		s.tell("ECR Image Scan", repository, event)
	}
	return err
}
