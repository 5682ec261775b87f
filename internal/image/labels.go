package image

import (
	"strings"
	"time"
)

// Labels say in an image what it was made of.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/annotations.md
const (
	LabelRevision = "org.opencontainers.image.revision"
	LabelSource   = "org.opencontainers.image.source"
	LabelCreated  = "org.opencontainers.image.created" // the commit's time
)

// PointOf is the commit an image says it was made of; parts are empty where it does not say.
func PointOf(labels map[string]string) Point {
	p := Point{Commit: strings.TrimSuffix(labels[LabelRevision], DirtySuffix)}
	if t, err := time.Parse(time.RFC3339, labels[LabelCreated]); err == nil {
		p.At = t
	}
	return p
}
