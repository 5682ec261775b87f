package local

import (
	"bytes"
	"fmt"
	"io"

	"github.com/johannesboyne/gofakes3"

	"github.com/slipway-ecs/slipway/internal/local/api/s3"
)

// storage is S3 for the services that keep files in it: load balancers' logs and trust stores.
type storage struct{ s3 *s3.Service }

func (s storage) BucketExists(bucket string) (bool, error) { return s.s3.BucketExists(bucket) }

func (s storage) Read(bucket, key, version string, limit int64) ([]byte, error) {
	if version == "" {
		return s.s3.Read(bucket, key, limit)
	}
	o, err := s.s3.GetObjectVersion(bucket, key, gofakes3.VersionID(version), nil)
	if err != nil {
		return nil, fmt.Errorf("reading s3://%s/%s: %w", bucket, key, err)
	}
	defer o.Contents.Close()
	if o.Size > limit {
		return nil, fmt.Errorf("s3://%s/%s has %d bytes, more than %d", bucket, key, o.Size, limit)
	}
	return io.ReadAll(o.Contents)
}

func (s storage) Write(bucket, key string, body []byte) error {
	if _, err := s.s3.PutObject(bucket, key, map[string]string{}, bytes.NewReader(body), int64(len(body)), nil); err != nil {
		return fmt.Errorf("writing s3://%s/%s: %w", bucket, key, err)
	}
	return nil
}
