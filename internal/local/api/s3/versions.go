package s3

import (
	"strings"

	"github.com/johannesboyne/gofakes3"

	"github.com/slipway-ecs/slipway/internal/local/state"
)

// VersioningConfiguration tells whether a bucket keeps versions.
func (s *Service) VersioningConfiguration(bucket string) (gofakes3.VersioningConfiguration, error) {
	var out gofakes3.VersioningConfiguration
	return out, s.db.View(func(tx *state.Tx) error {
		b, ok := s.buckets.Get(tx, bucket)
		if !ok {
			return gofakes3.BucketNotFound(bucket)
		}
		out.Status = gofakes3.VersioningStatus(b.Versioning)
		return nil
	})
}

// SetVersioningConfiguration turns versioning on, or suspends it.
func (s *Service) SetVersioningConfiguration(bucket string, v gofakes3.VersioningConfiguration) error {
	if v.MFADelete.Enabled() {
		return gofakes3.ErrorMessage(gofakes3.ErrNotImplemented, "not supported: MFA delete")
	}
	return s.db.Update(func(tx *state.Tx) error {
		if !s.buckets.Modify(tx, bucket, func(b *Bucket) { b.Versioning = string(v.Status) }) {
			return gofakes3.BucketNotFound(bucket)
		}
		return nil
	})
}

// DeleteObjectVersion removes a version for good.
func (s *Service) DeleteObjectVersion(bucket, key string, version gofakes3.VersionID) (gofakes3.ObjectDeleteResult, error) {
	var out gofakes3.ObjectDeleteResult
	var dropped string
	err := s.db.Update(func(tx *state.Tx) error {
		if _, ok := s.buckets.Get(tx, bucket); !ok {
			return gofakes3.BucketNotFound(bucket)
		}
		o := s.find(tx, bucket, key, string(version))
		if o == nil {
			return nil
		}
		out = gofakes3.ObjectDeleteResult{IsDeleteMarker: o.Marker, VersionID: version}
		dropped = o.Blob
		s.objects.Delete(tx, objectKey(bucket, key, o.Seq))
		return nil
	})
	if err == nil {
		s.drop(dropped)
	}
	return out, err
}

// ListBucketVersions lists all versions, by key, the newest first.
func (s *Service) ListBucketVersions(bucket string, prefix *gofakes3.Prefix, page *gofakes3.ListBucketVersionsPage) (*gofakes3.ListBucketVersionsResult, error) {
	if prefix == nil {
		prefix = &gofakes3.Prefix{}
	}
	if page == nil {
		page = &gofakes3.ListBucketVersionsPage{}
	}
	limit := int(page.MaxKeys)
	if limit <= 0 {
		limit = 1000
	}
	out := gofakes3.NewListBucketVersionsResult(bucket, prefix, page)
	out.MaxKeys = int64(limit)
	return out, s.db.View(func(tx *state.Tx) error {
		if _, ok := s.buckets.Get(tx, bucket); !ok {
			return gofakes3.BucketNotFound(bucket)
		}
		from := prefix.Prefix
		if page.HasKeyMarker && page.KeyMarker >= from {
			from = page.KeyMarker + zero
			if !page.HasVersionIDMarker {
				from += "~"
			}
		}
		skipping := page.HasVersionIDMarker
		lastKey, last, seen := page.KeyMarker, (*Object)(nil), map[string]bool{}
		if !skipping {
			lastKey = ""
		}
		for k, o := range s.objects.From(tx, bucket+zero+from) {
			if !strings.HasPrefix(k, bucket+zero+prefix.Prefix) {
				break
			}
			latest := o.Key != lastKey
			lastKey = o.Key
			if skipping && o.Key == page.KeyMarker {
				if show(o.VersionID) == string(page.VersionIDMarker) {
					skipping = false
				}
				continue
			}
			var m gofakes3.PrefixMatch
			if !prefix.Match(o.Key, &m) || m.CommonPrefix && seen[m.MatchedPart] {
				continue
			}
			if len(out.Versions)+len(out.CommonPrefixes) >= limit {
				out.IsTruncated = true
				if last != nil {
					out.NextKeyMarker, out.NextVersionIDMarker = last.Key, gofakes3.VersionID(show(last.VersionID))
				}
				break
			}
			last = o
			switch at := gofakes3.NewContentTime(o.At); {
			case m.CommonPrefix:
				seen[m.MatchedPart] = true
				out.AddPrefix(m.MatchedPart)
			case o.Marker:
				out.Versions = append(out.Versions, &gofakes3.DeleteMarker{Key: o.Key, VersionID: gofakes3.VersionID(o.VersionID), IsLatest: latest, LastModified: at, Owner: owner})
			default:
				out.Versions = append(out.Versions, &gofakes3.Version{Key: o.Key, VersionID: gofakes3.VersionID(o.VersionID), IsLatest: latest, LastModified: at, Size: o.Size,
					StorageClass: "STANDARD", ETag: gofakes3.FormatETag(o.MD5), Owner: owner})
			}
		}
		return nil
	})
}

func show(version string) string {
	if version == "" {
		return "null"
	}
	return version
}
