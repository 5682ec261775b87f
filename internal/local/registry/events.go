package registry

// Event is the detail of an "ECR Image Action" event, as EventBridge gets it:
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-eventbridge.html.
type Event struct {
	Result             string `json:"result"`
	RepositoryName     string `json:"repository-name"`
	ImageDigest        string `json:"image-digest"`
	ActionType         string `json:"action-type"` // PUSH, DELETE, UPDATE_STORAGE_CLASS
	ImageTag           string `json:"image-tag,omitempty"`
	TargetStorageClass string `json:"target-storage-class,omitempty"`
	ManifestMediaType  string `json:"manifest-media-type,omitempty"`
	ArtifactMediaType  string `json:"artifact-media-type,omitempty"`
}

func pushed(im *Image, tag string) Event {
	return Event{Result: "SUCCESS", RepositoryName: im.Repository, ImageDigest: im.Digest, ActionType: "PUSH", ImageTag: tag,
		ManifestMediaType: im.MediaType, ArtifactMediaType: im.ArtifactType}
}

func deletions(repository string, ids []ImageID) []Event {
	out := make([]Event, len(ids))
	for i, id := range ids {
		out[i] = Event{Result: "SUCCESS", RepositoryName: repository, ImageDigest: id.Digest, ActionType: "DELETE", ImageTag: id.Tag}
	}
	return out
}

func moved(im *Image) Event {
	class := "STANDARD"
	if im.Status == StatusArchived {
		class = "ARCHIVE"
	}
	return Event{Result: "SUCCESS", RepositoryName: im.Repository, ImageDigest: im.Digest, ActionType: "UPDATE_STORAGE_CLASS",
		TargetStorageClass: class, ManifestMediaType: im.MediaType, ArtifactMediaType: im.ArtifactType}
}

// emit tells what has happened; it is called once it is stored.
func (s *Store) emit(events ...Event) {
	if s.cfg.Events == nil || s.address != "" { // the local EventBridge is that of the home registry
		return
	}
	for _, e := range events {
		s.cfg.Events(e)
	}
}

// ScanOnPush has f scan what is pushed to repositories that are scanned on push; f says which those
// are. It is called in the background, by Registries.Run.
func (r *Registries) ScanOnPush(f func(s *Store, im *Image)) { r.scan = f }

func (s *Store) scanOnPush(im *Image) {
	if s.all != nil && s.all.scan != nil {
		s.all.later(func() { s.all.scan(s, im) })
	}
}

// ScanEvent is the detail of an "ECR Image Scan" event.
type ScanEvent struct {
	ScanStatus     string         `json:"scan-status"`
	RepositoryName string         `json:"repository-name"`
	Counts         map[string]int `json:"finding-severity-counts"`
	ImageDigest    string         `json:"image-digest"`
	ImageTags      []string       `json:"image-tags"`
}

// CacheEvent is the detail of an "ECR Pull Through Cache Action" event.
type CacheEvent struct {
	RuleVersion   string `json:"rule-version"`
	SyncStatus    string `json:"sync-status"`
	FailureReason string `json:"failure-reason,omitempty"`
	Prefix        string `json:"ecr-repository-prefix"`
	Repository    string `json:"repository-name"`
	UpstreamURL   string `json:"upstream-registry-url"`
	ImageTag      string `json:"image-tag,omitempty"`
	ImageDigest   string `json:"image-digest,omitempty"`
}
