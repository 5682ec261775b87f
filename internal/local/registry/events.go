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
	if s.cfg.Events == nil {
		return
	}
	for _, e := range events {
		s.cfg.Events(e)
	}
}
