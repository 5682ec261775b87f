package registry

import (
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
)

// Replication is what becomes of an image in one destination. Key: ImageKey, destination's region and
// account, a slash apart.
type Replication struct {
	Repository, Digest string
	Tag                string // that was pushed last; empty: by digest
	Region, Account    string // destination
	Status             string // IN_PROGRESS, COMPLETE, FAILED
	Failure            string // failure code
	At                 time.Time
}

// Destination is where images go; Prefixes of repository names, none: all.
type Destination struct {
	Region, Account string
	Prefixes        []string
}

func (d Destination) covers(repository string) bool {
	if len(d.Prefixes) == 0 {
		return true
	}
	for _, p := range d.Prefixes {
		if strings.HasPrefix(repository, p) {
			return true
		}
	}
	return false
}

// Statuses of a replication.
const (
	ReplicationInProgress = "IN_PROGRESS"
	ReplicationComplete   = "COMPLETE"
	ReplicationFailed     = "FAILED"
)

func replicationKey(repository, digest, region, account string) string {
	return ImageKey(repository, digest) + "/" + region + "/" + account
}

// Replications are what became of an image in each destination.
func (s *Store) Replications(repository, digest string) (out []Replication) {
	_ = s.db.View(func(tx *state.Tx) error {
		for _, r := range s.t.replications.Prefix(tx, ImageKey(repository, digest)+"/") {
			out = append(out, *r)
		}
		return nil
	})
	return out
}

// replicate has an image that was pushed copied to where the registry's configuration says.
func (s *Store) replicate(im *Image, tag string) {
	if s.all == nil || s.all.cfg.Destinations == nil {
		return
	}
	for _, d := range s.all.cfg.Destinations(s) {
		if !d.covers(im.Repository) {
			continue
		}
		rec := Replication{Repository: im.Repository, Digest: im.Digest, Tag: tag, Region: d.Region, Account: d.Account, Status: ReplicationInProgress, At: s.now()}
		if err := s.putReplication(rec); err != nil {
			slog.Error("noting a replication", "repository", im.Repository, "error", err)
			continue
		}
		s.all.later(func() { s.copyTo(rec) })
	}
}

func (s *Store) putReplication(r Replication) error {
	return s.db.Update(func(tx *state.Tx) error {
		s.t.replications.Put(tx, replicationKey(r.Repository, r.Digest, r.Region, r.Account), &r)
		return nil
	})
}

// resumeReplication goes on with what an earlier process did not end.
func (s *Store) resumeReplication() {
	var left []Replication
	_ = s.db.View(func(tx *state.Tx) error {
		for _, r := range s.t.replications.All(tx) {
			if r.Status == ReplicationInProgress {
				left = append(left, *r)
			}
		}
		return nil
	})
	for _, r := range left {
		s.all.later(func() { s.copyTo(r) })
	}
}

// ReplicationEvent is the detail of an "ECR Replication Action" event.
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-eventbridge.html
type ReplicationEvent struct {
	Result         string `json:"result"`
	RepositoryName string `json:"repository-name"`
	ImageDigest    string `json:"image-digest"`
	SourceAccount  string `json:"source-account"`
	ActionType     string `json:"action-type"`
	SourceRegion   string `json:"source-region"`
	ImageTag       string `json:"image-tag,omitempty"`
}

// copyTo does one replication.
func (s *Store) copyTo(r Replication) {
	_, gone, err := s.Image(r.Repository, ImageID{Digest: r.Digest})
	if err != nil || gone != nil {
		_ = s.db.Update(func(tx *state.Tx) error { // it was deleted meanwhile: there is nothing to tell of it
			s.t.replications.Delete(tx, replicationKey(r.Repository, r.Digest, r.Region, r.Account))
			return nil
		})
		return
	}
	to, err := s.all.Make(r.Region, r.Account)
	if err == nil {
		err = s.copyImage(to, r)
	}
	r.Status, r.At = ReplicationComplete, s.now()
	if err != nil {
		r.Status, r.Failure = ReplicationFailed, "InternalError"
		var e *Error
		if errors.As(err, &e) {
			r.Failure = strings.TrimSuffix(e.Code, "Exception")
		}
		slog.Warn("replicating an image", "repository", r.Repository, "image", r.Digest, "to", r.Region+"/"+r.Account, "error", err)
	}
	if err := s.putReplication(r); err != nil {
		slog.Error("noting a replication", "repository", r.Repository, "error", err)
	}
	if r.Status == ReplicationComplete {
		to.tell("ECR Replication Action", r.Repository, ReplicationEvent{Result: "SUCCESS", RepositoryName: r.Repository, ImageDigest: r.Digest,
			SourceAccount: s.cfg.Account, ActionType: "REPLICATE", SourceRegion: s.cfg.Region, ImageTag: r.Tag})
	}
}

// copyImage copies an image with all it holds into another registry. The other account's registry
// policy must let this one's account do so.
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/replication.html#replication-considerations
func (s *Store) copyImage(to *Store, r Replication) error {
	if to.cfg.Account != s.cfg.Account && !to.grants(s.caller(), "ecr:ReplicateImage", r.Repository) {
		return errorf(CodeDenied, "the registry policy of %s does not let %s replicate %s", to.cfg.Account, s.cfg.Account, r.Repository)
	}
	creates := to.cfg.Account == s.cfg.Account || to.grants(s.caller(), "ecr:CreateRepository", r.Repository)
	err := to.db.Update(func(tx *state.Tx) error {
		if _, ok := to.t.repositories.Get(tx, r.Repository); ok {
			return nil
		}
		if !creates {
			return errorf(CodeDenied, "the registry policy of %s does not let %s create %s", to.cfg.Account, s.cfg.Account, r.Repository)
		}
		return to.create(tx, fromTemplate(r.Repository, to.template(tx, r.Repository, "REPLICATION")))
	})
	if err != nil {
		return err
	}
	return s.copyManifest(to, r.Repository, r.Digest, r.Tag)
}

func (s *Store) copyManifest(to *Store, repository, digest, tag string) error {
	im, f, err := s.Image(repository, ImageID{Digest: digest})
	if err != nil {
		return err
	}
	if f != nil {
		return errorf(CodeImageNotFound, "%s", f.Reason)
	}
	for _, child := range im.Manifests {
		if err := s.copyManifest(to, repository, child, ""); err != nil {
			return err
		}
	}
	for _, l := range im.Layers {
		if err := s.copyLayer(to, repository, l); err != nil {
			return err
		}
	}
	_, err = to.PutImage(Push{Repository: repository, Manifest: im.Body, MediaType: im.MediaType, Tag: tag, Again: true, replica: true})
	return err
}
